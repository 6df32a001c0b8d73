//! Watches a run from beside it: draws the line of progress, answers SIGUSR1, and takes the samples
//! of a report.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::picture::Canvas;
use super::progress::{Rate, RunKind, Snapshot};
use super::terminal::{Screen, write_err};
use crate::cli::flags::seeing::ShowProgress;
use crate::copy::Stop;
use crate::fs;
use crate::report::{Sample, Series, Totals};

/// The time between two looks at the counters.
const TICK: Duration = Duration::from_millis(100);
/// A run that is shorter shows no line unless it was asked to.
const PATIENCE: Duration = Duration::from_secs(1);
/// Where a line cannot be changed, each is a line of its own. They come no closer than this.
const LINES_APART: Duration = Duration::from_secs(1);
/// How long the name of a small file is shown after it.
const NAME_STAYS: Duration = Duration::from_secs(1);
/// Samples of a report: more than a page has columns to draw them in.
const SAMPLES_MAX: usize = 2048;

/// The warning that threads could not be made.
const FEW_THREADS: &str = "warning: some threads could not be made, and the others took longer; \
                           raise the limit of processes (ulimit -u)";

/// The warning that there is little memory.
const LITTLE_MEMORY: &str = "warning: little memory (ulimit -v, ulimit -d or a cgroup) made fewer \
                             threads and buffers, which took longer";

/// How the line is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Not at all.
    Never,
    /// One line that changes, after some time.
    Drawn(Duration),
    /// Again and again.
    Printed,
}

impl Shown {
    /// The way that suits standard error.
    pub fn on_stderr(progress: ShowProgress) -> Self {
        let is_terminal = io::stderr().is_terminal();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        match progress {
            ShowProgress::Never => Self::Never,
            ShowProgress::Auto if is_terminal && !is_dumb => Self::Drawn(PATIENCE),
            ShowProgress::Auto => Self::Never,
            ShowProgress::Always if is_terminal && !is_dumb => Self::Drawn(Duration::ZERO),
            ShowProgress::Always => Self::Printed,
        }
    }

    /// Nothing where a run reads what is typed, which would be drawn over.
    pub fn unless_typed(self, paths: &[PathBuf]) -> Self {
        if is_typed(paths) { Self::Never } else { self }
    }
}

/// Whether one of what is read is what someone types on a terminal.
pub fn is_typed(paths: &[PathBuf]) -> bool {
    io::stdin().is_terminal() && paths.iter().any(|path| fs::is_stdin(path))
}

/// What is watched.
pub struct Watched {
    /// The command, as it begins its messages.
    name: &'static str,
    kind: RunKind,
    /// The counters of the run.
    pub totals: Arc<Totals>,
    /// The copy ends early once this is requested.
    stop: Arc<Stop>,
    /// When the run began.
    pub begun: Instant,
    /// When the run began, as a clock shows it.
    pub begun_at: SystemTime,
    /// Where the line is shown.
    pub screen: Arc<Screen>,
    rate: Mutex<Rate>,
    /// The name of a small file that was shown last, and since when.
    named: Mutex<Option<(PathBuf, Instant)>>,
}

impl Watched {
    /// A run that begins now.
    pub fn new(name: &'static str, kind: RunKind, stop: Arc<Stop>) -> Self {
        Self {
            name,
            kind,
            totals: Arc::default(),
            stop,
            begun: Instant::now(),
            begun_at: SystemTime::now(),
            screen: Arc::default(),
            rate: Mutex::default(),
            named: Mutex::default(),
        }
    }

    /// How far the run is, and at which rate.
    fn snapshot(&self) -> (Snapshot, Option<f64>) {
        // The snapshot is taken under the lock, so that the rate sees each after the one before.
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = self.begun.elapsed();
        let now = Snapshot::of(&self.totals, elapsed, self.kind, self.stop.is_requested());
        let rate = rate.update(&now);
        (now, rate)
    }

    /// The present line, by the width that it may have.
    fn line(&self, width: Option<usize>) -> String {
        let (now, rate) = self.snapshot();
        now.line(rate, width)
    }

    /// The present picture.
    fn picture(&self, canvas: Canvas) -> Vec<String> {
        let mut look = self.totals.current.look(canvas.files_max());
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        match look.name {
            Some(name) => *named = Some((name, Instant::now())),
            // A name of a moment ago stays, so that its line does not come and go.
            None => _ = named.take_if(|(_, then)| then.elapsed() > NAME_STAYS),
        }
        look.name = named.as_ref().map(|(name, _)| name.clone());
        let (now, rate) = self.snapshot();
        canvas.lines(&now, rate, &look)
    }

    /// Prints a warning if threads could not be made, or not for lack of memory.
    pub fn warn_of_few_threads(&self) -> anyhow::Result<()> {
        let meter = &self.totals.meter;
        let warning = match Totals::get(&meter.missing_memory) {
            0 if Totals::get(&meter.missing_threads) == 0 => return Ok(()),
            0 => FEW_THREADS,
            _ => LITTLE_MEMORY,
        };
        self.screen.err(&format!("{}: {warning}\n", self.name))
    }

    /// Prints the present line on standard error.
    fn tell(&self) -> anyhow::Result<()> {
        let before = format!("{}: ", self.name);
        let width = self.screen.width().map(|width| width.saturating_sub(before.len()));
        self.screen.err(&format!("{before}{}\n", self.line(width)))
    }

    /// Answers SIGUSR1.
    pub fn answer(&self) {
        if let Err(error) = self.tell() {
            // Standard error cannot be written, and this probably not either; no other place is
            // left.
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

/// Whether samples are taken for a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Samples are taken.
    On,
    /// No samples are taken.
    Off,
}

/// The samples that were taken, and the first failure of printing.
type Seen = (Series, anyhow::Result<()>);

/// The thread that watches a run, if there is anything to watch for.
pub struct Watcher {
    thread: Option<(Sender<()>, JoinHandle<Seen>)>,
}

impl Watcher {
    /// Begins to watch.
    pub fn begin(watched: &Arc<Watched>, shown: Shown, sampling: Sampling) -> io::Result<Self> {
        if shown == Shown::Never && sampling == Sampling::Off {
            return Ok(Self { thread: None });
        }
        if let Shown::Drawn(_) = shown {
            watched.totals.current.watch();
        }
        let (end, ended) = bounded(0);
        let watched = Arc::clone(watched);
        let thread = std::thread::Builder::new().name("watch".to_owned());
        let thread = thread.spawn(move || look(&watched, shown, &ended))?;
        Ok(Self { thread: Some((end, thread)) })
    }

    /// Takes the line away, and answers with the samples if they were taken, and with the first
    /// failure of printing. That costs nothing but the line.
    pub fn end(self) -> Seen {
        let Some((end, thread)) = self.thread else { return (Series::new(SAMPLES_MAX), Ok(())) };
        drop(end);
        match thread.join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn look(watched: &Watched, shown: Shown, ended: &Receiver<()>) -> Seen {
    let mut series = Series::new(SAMPLES_MAX);
    let (mut printed, mut result) = (None::<Instant>, Ok(()));
    let mut next = watched.begun;
    loop {
        series.push(watched.sample());
        match shown {
            Shown::Drawn(patience) if watched.begun.elapsed() >= patience => {
                watched.screen.draw(|canvas| watched.picture(canvas));
            }
            Shown::Printed
                if result.is_ok() && printed.is_none_or(|then| then.elapsed() >= LINES_APART) =>
            {
                result = watched.tell();
                printed = Some(Instant::now());
            }
            _ => {}
        }
        next = (next + TICK).max(Instant::now());
        // Nothing is ever sent: the watch ends when the other side is dropped.
        if let Err(crossbeam_channel::RecvTimeoutError::Disconnected) = ended.recv_deadline(next) {
            series.end(watched.sample());
            watched.screen.clear();
            return (series, result);
        }
    }
}
