//! Watches a run from beside it: draws the line of progress, answers SIGUSR1, and takes the samples
//! of a report.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::progress::{Rate, State, Work};
use super::screen::{Screen, write_err};
use super::seeing::Progress;
use crate::copy::Stop;
use crate::report::{Sample, Series, Totals};

/// Between two looks at the counters.
const TICK: Duration = Duration::from_millis(100);
/// A run that is over by then shows no line unless it was asked to.
const PATIENCE: Duration = Duration::from_secs(1);
/// Where a line cannot be changed, each is a line of its own; they come no closer than this.
const LINES_APART: Duration = Duration::from_secs(1);
/// Samples of a report: more than a page has columns to draw them in.
const SAMPLES_MAX: usize = 2048;

/// How the line is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// Not at all.
    Never,
    /// One line that changes, after some time.
    Drawn(Duration),
    /// Again and again.
    Printed,
}

impl Shown {
    /// What suits standard error.
    pub(super) fn on_stderr(progress: Progress) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        match progress {
            Progress::Never => Self::Never,
            Progress::Auto if is_terminal && !is_dumb => Self::Drawn(PATIENCE),
            Progress::Auto => Self::Never,
            Progress::Always if is_terminal && !is_dumb => Self::Drawn(Duration::ZERO),
            Progress::Always => Self::Printed,
        }
    }
}

/// What is watched.
pub(super) struct Watched {
    /// The command, as it begins its messages.
    name: &'static str,
    work: Work,
    pub(super) totals: Arc<Totals>,
    /// The copy ends early once this is requested.
    stop: Arc<Stop>,
    pub(super) begun: Instant,
    /// The same, for people.
    pub(super) begun_at: SystemTime,
    pub(super) screen: Arc<Screen>,
    rate: Mutex<Rate>,
}

impl Watched {
    /// A run that begins now.
    pub(super) fn new(name: &'static str, work: Work, stop: Arc<Stop>) -> Self {
        Self {
            name,
            work,
            totals: Arc::default(),
            stop,
            begun: Instant::now(),
            begun_at: SystemTime::now(),
            screen: Arc::default(),
            rate: Mutex::default(),
        }
    }

    /// The present line, by the width that it may have.
    fn line(&self, width: Option<usize>) -> String {
        // The state is taken under the lock, so that the rate sees each after the one before.
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let state =
            State::of(&self.totals, self.begun.elapsed(), self.work, self.stop.is_requested());
        let rate = rate.update(&state);
        state.line(rate, width)
    }

    /// Prints the present line on standard error.
    fn tell(&self) -> anyhow::Result<()> {
        let before = format!("{}: ", self.name);
        let width = self.screen.width().map(|width| width.saturating_sub(before.len()));
        self.screen.err(&format!("{before}{}\n", self.line(width)))
    }

    /// What SIGUSR1 does.
    pub(super) fn answer(&self) {
        if let Err(error) = self.tell() {
            // Standard error cannot be written; then this cannot either, and there is nobody left
            // to be told.
            drop(write_err(&format!("{}: {error:#}\n", self.name)));
        }
    }

    fn sample(&self) -> Sample {
        let Totals { durable_bytes, meter, .. } = &*self.totals;
        Sample {
            elapsed: self.begun.elapsed(),
            read_bytes: Totals::get(&meter.read_bytes),
            written_bytes: Totals::get(&meter.written_bytes),
            durable_bytes: Totals::get(durable_bytes),
            depth: Totals::get(&meter.blocks_in_flight) as f64,
        }
    }
}

/// The thread that looks, if there is anything to look for.
pub(super) struct Watch {
    thread: Option<(Sender<()>, JoinHandle<anyhow::Result<Series>>)>,
}

impl Watch {
    /// Begins to watch. With `samples` the end has some.
    pub(super) fn begin(watched: &Arc<Watched>, shown: Shown, samples: bool) -> io::Result<Self> {
        if shown == Shown::Never && !samples {
            return Ok(Self { thread: None });
        }
        let (end, ended) = bounded(0);
        let watched = Arc::clone(watched);
        let thread = std::thread::Builder::new().name("watch".to_owned());
        let thread = thread.spawn(move || look(&watched, shown, &ended))?;
        Ok(Self { thread: Some((end, thread)) })
    }

    /// Takes the line away, and answers with the samples. The error is the first failure of
    /// printing.
    pub(super) fn end(self) -> anyhow::Result<Series> {
        let Some((end, thread)) = self.thread else { return Ok(Series::new(SAMPLES_MAX)) };
        drop(end);
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn look(watched: &Watched, shown: Shown, ended: &Receiver<()>) -> anyhow::Result<Series> {
    let mut series = Series::new(SAMPLES_MAX);
    let mut printed: Option<Instant> = None;
    let mut next = watched.begun;
    loop {
        series.push(watched.sample());
        match shown {
            Shown::Drawn(patience) if watched.begun.elapsed() >= patience => {
                watched.screen.draw(|width| watched.line(Some(width)));
            }
            Shown::Printed if printed.is_none_or(|then| then.elapsed() >= LINES_APART) => {
                watched.tell()?;
                printed = Some(Instant::now());
            }
            _ => {}
        }
        next = (next + TICK).max(Instant::now());
        // Nothing is ever sent: it ends when the other side is dropped.
        if let Err(crossbeam_channel::RecvTimeoutError::Disconnected) = ended.recv_deadline(next) {
            series.end(watched.sample());
            watched.screen.clear();
            return Ok(series);
        }
    }
}
