//! How far a run has come, as one line.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::summary::count;
use super::units;
use crate::report::Totals;

/// The rate is that of so much time.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// Until then nobody knows how long the rest will take.
const RATE_AGE_MIN: Duration = Duration::from_secs(1);

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Copy {
        /// Copies become durable.
        syncs: bool,
        /// They are read back.
        verifies: bool,
    },
    /// Files are read and hashed, and nothing is written.
    Hash,
}

impl Default for Work {
    fn default() -> Self {
        Self::Copy { syncs: true, verifies: false }
    }
}

/// What the line tells, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct State {
    pub(super) work: Work,
    /// It was told to end early.
    pub(super) stopping: bool,
    /// Since the run began.
    pub(super) elapsed: Duration,
    /// Bytes of the files that were found.
    pub(super) found_bytes: u64,
    /// Whether there will be no more of them.
    pub(super) all_found: bool,
    /// Of them those that are over.
    pub(super) handled_bytes: u64,
    /// Of the handled ones those that an earlier run had copied.
    pub(super) kept_bytes: u64,
    /// Bytes of an earlier run that are being read back.
    pub(super) checking_bytes: u64,
    pub(super) written_bytes: u64,
    /// Nothing where nothing becomes durable, as in a comparison.
    pub(super) durable_bytes: Option<u64>,
    /// With `--verify`, bytes that were read back.
    pub(super) verified_bytes: Option<u64>,
    pub(super) files: u64,
}

impl State {
    pub(super) fn of(totals: &Totals, elapsed: Duration, work: Work, stopping: bool) -> Self {
        let (syncs, verifies) = match work {
            Work::Copy { syncs, verifies } => (syncs, verifies),
            Work::Hash => (false, false),
        };
        // The walker's end is read before the counts, and what it handed out before what was met,
        // so that nothing looks complete too early.
        let walked = totals.walked.load(Ordering::Acquire);
        let listed = Totals::get(&totals.listed);
        let all_found = walked && Totals::get(&totals.met) >= listed;
        let found_bytes = Totals::get(&totals.found_bytes);
        let handled_bytes = Totals::get(&totals.meter.handled_bytes).min(found_bytes);
        Self {
            work,
            stopping,
            elapsed,
            found_bytes,
            all_found,
            handled_bytes,
            kept_bytes: Totals::get(&totals.meter.kept_bytes).min(handled_bytes),
            checking_bytes: Totals::get(&totals.meter.checking_bytes),
            written_bytes: Totals::get(&totals.meter.written_bytes),
            durable_bytes: syncs.then(|| Totals::get(&totals.durable_bytes)),
            verified_bytes: verifies
                .then(|| Totals::get(&totals.meter.proved_bytes).min(found_bytes)),
            files: Totals::get(&totals.files)
                + Totals::get(&totals.verified_files) * u64::from(!verifies),
        }
    }

    /// Bytes to be moved and bytes to be read back count alike.
    fn work_bytes(&self) -> u64 {
        self.found_bytes.saturating_mul(if self.verified_bytes.is_some() { 2 } else { 1 })
    }

    fn done_bytes(&self) -> u64 {
        self.handled_bytes.saturating_add(self.verified_bytes.unwrap_or(0))
    }

    /// Never 100: that is said by the end of the run, when all is durable.
    fn per_cent(&self) -> Option<u64> {
        let per_cent = |work: u64| (u128::from(self.done_bytes()) * 100 / u128::from(work)) as u64;
        (self.all_found && self.work_bytes() > 0).then(|| per_cent(self.work_bytes()).min(99))
    }

    /// The line in at most `width` columns: what matters least is left out first.
    pub(super) fn line(&self, rate: Option<f64>, width: Option<usize>) -> String {
        let bytes = |bytes: u64| units::bytes(bytes as f64);
        // Each part with its rank.
        let mut parts = Vec::new();
        match self.stopping {
            true => parts.push((0, "stopping (again: at once)".to_owned())),
            false => parts.extend(self.per_cent().map(|per_cent| (0, format!("{per_cent} %")))),
        }
        let word = match self.work {
            Work::Hash => "hashed",
            // Holes, clones and what is only compared are never written.
            Work::Copy { .. } if self.written_bytes >= self.handled_bytes => "written",
            Work::Copy { .. } => "done",
        };
        let more = if self.all_found { "" } else { "+" };
        parts.push((
            1,
            format!("{} of {}{more} {word}", bytes(self.handled_bytes), bytes(self.found_bytes)),
        ));
        if self.checking_bytes > 0 {
            parts.push((2, format!("checking {} copied earlier", bytes(self.checking_bytes))));
        }
        parts.extend(self.durable_bytes.map(|durable| (5, format!("{} durable", bytes(durable)))));
        parts.extend(
            self.verified_bytes.map(|verified| (4, format!("{} verified", bytes(verified)))),
        );
        parts.push((6, count(self.files, "file", "files")));
        parts.extend(rate.map(|rate| (2, units::rate(rate))));
        parts.extend(self.left(rate).map(|left| (3, left)));
        loop {
            let line = parts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join(", ");
            let last = parts.iter().map(|&(rank, _)| rank).max();
            match (width, last) {
                (Some(width), Some(last)) if line.len() > width => {
                    parts.retain(|&(rank, _)| rank != last)
                }
                _ => return line,
            }
        }
    }

    /// How much time is left, once all is known that is to be done.
    fn left(&self, rate: Option<f64>) -> Option<String> {
        let left_bytes = self.work_bytes().saturating_sub(self.done_bytes());
        match rate {
            _ if !self.all_found || self.stopping => None,
            _ if left_bytes == 0 => Some("finishing".to_owned()),
            Some(rate) if rate > 0.0 => {
                Some(format!("{} left", units::clock(left_bytes as f64 / rate)))
            }
            _ => None,
        }
    }
}

/// What was done when, over the last seconds.
#[derive(Debug, Default)]
pub(super) struct Rate(VecDeque<(Duration, u64)>);

impl Rate {
    /// Takes note of a state, and answers with the bytes a second that were done lately; nothing if
    /// it is too early to say.
    pub(super) fn update(&mut self, state: &State) -> Option<f64> {
        let done_now = state.done_bytes() - state.kept_bytes;
        if self.0.is_empty() {
            // Whenever somebody looks for the first time, the beginning is the other end of the
            // window.
            self.0.push_back((Duration::ZERO, 0));
        }
        self.0.push_back((state.elapsed, done_now));
        // The first one that is old enough stays as the other end of the window.
        while self
            .0
            .get(1)
            .is_some_and(|&(then, _)| state.elapsed.saturating_sub(then) >= RATE_WINDOW)
        {
            self.0.pop_front();
        }
        let &(then, done) = self.0.front()?;
        let age = state.elapsed.saturating_sub(then);
        (age >= RATE_AGE_MIN).then(|| done_now.saturating_sub(done) as f64 / age.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State {
            elapsed: Duration::from_secs(10),
            found_bytes: 4_290_000_000,
            all_found: true,
            handled_bytes: 1_930_000_000,
            written_bytes: 1_930_000_000,
            durable_bytes: Some(1_200_000_000),
            verified_bytes: None,
            files: 120,
            ..State::default()
        }
    }

    #[test]
    fn the_line_has_everything_and_loses_what_matters_least() {
        let line = |width| state().line(Some(812e6), width);
        let whole =
            "44 %, 1.93 GB of 4.29 GB written, 1.20 GB durable, 120 files, 812 MB/s, 0:03 left";
        assert_eq!(line(None), whole);
        assert_eq!(line(Some(whole.len())), whole);
        assert_eq!(
            line(Some(80)),
            "44 %, 1.93 GB of 4.29 GB written, 1.20 GB durable, 812 MB/s, 0:03 left"
        );
        assert_eq!(line(Some(55)), "44 %, 1.93 GB of 4.29 GB written, 812 MB/s, 0:03 left");
        assert_eq!(line(Some(50)), "44 %, 1.93 GB of 4.29 GB written, 812 MB/s");
        assert_eq!(line(Some(10)), "44 %");
        assert_eq!(line(Some(2)), "");
    }

    #[test]
    fn nothing_is_promised_before_it_is_known_and_100_is_never_said() {
        let searching = State { all_found: false, ..state() };
        assert_eq!(
            searching.line(Some(812e6), None),
            "1.93 GB of 4.29 GB+ written, 1.20 GB durable, 120 files, 812 MB/s"
        );
        let moved = State { handled_bytes: 4_290_000_000, written_bytes: 0, ..state() };
        assert_eq!(
            moved.line(None, None),
            "99 %, 4.29 GB of 4.29 GB done, 1.20 GB durable, 120 files, finishing"
        );
        let verifies = State { handled_bytes: 4_290_000_000, verified_bytes: Some(0), ..state() };
        assert!(verifies.line(Some(429e6), None).starts_with("50 %"));
        assert!(
            verifies
                .line(Some(429e6), None)
                .ends_with("0 B verified, 120 files, 429 MB/s, 0:10 left")
        );
        assert_eq!(State::default().line(None, None), "0 B of 0 B+ written, 0 files");
        let stopping = State { stopping: true, ..state() };
        assert_eq!(
            stopping.line(Some(812e6), Some(55)),
            "stopping (again: at once), 1.93 GB of 4.29 GB written"
        );
        let hashes = State { work: Work::Hash, durable_bytes: None, ..state() };
        assert_eq!(hashes.line(None, None), "44 %, 1.93 GB of 4.29 GB hashed, 120 files");
        let resumed = State { handled_bytes: 0, checking_bytes: 1_700_000_000, ..state() };
        assert!(resumed.line(None, Some(70)).contains("checking 1.70 GB copied earlier"));
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut rate = Rate::default();
        let at = |seconds: u64, handled_bytes: u64| State {
            elapsed: Duration::from_secs(seconds),
            found_bytes: u64::MAX / 4,
            handled_bytes,
            ..State::default()
        };
        assert_eq!(rate.update(&at(0, 0)), None);
        for second in 1..20 {
            assert_eq!(rate.update(&at(second, second * 100)), Some(100.0), "{second}");
        }
        for second in 20..40 {
            rate.update(&at(second, 1900));
        }
        assert_eq!(rate.update(&at(40, 1900)), Some(0.0));
        // What an earlier run did is no part of it.
        let kept = State { handled_bytes: 11_900, kept_bytes: 10_000, ..at(41, 0) };
        assert_eq!(rate.update(&kept), Some(0.0));
        // It does not go away a second after the first look.
        let mut late = Rate::default();
        assert_eq!(late.update(&at(1, 100)), Some(100.0));
        assert_eq!(late.update(&at(2, 200)), Some(100.0));
        // Asked once, with nobody watching before.
        assert_eq!(Rate::default().update(&at(10, 100)), Some(10.0));
    }
}
