//! How far a run has come, as one line.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::units::{self, count};
use crate::report::Totals;

/// The time over which the rate is taken.
const RATE_WINDOW: Duration = Duration::from_secs(5);
/// How much time has to pass until the rate says how long the rest will take.
const RATE_AGE_MIN: Duration = Duration::from_secs(1);

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunKind {
    /// It copies or compares files.
    Copy {
        /// Copies become durable.
        syncs: bool,
        /// Copies are read back.
        verifies: bool,
    },
    /// It reads and hashes files, and writes nothing.
    Hash,
}

impl Default for RunKind {
    fn default() -> Self {
        Self::Copy { syncs: true, verifies: false }
    }
}

/// A part of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// How much it matters.
    pub rank: Rank,
    /// What is shown.
    pub text: String,
}

/// How much a part of the line matters, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// How much is done, or that the run ends early.
    Share,
    /// How many bytes that is.
    Handled,
    /// How fast it goes.
    Rate,
    /// How long it takes.
    Left,
    /// What was read back.
    Verified,
    /// What a power cut leaves.
    Durable,
    /// How many files are done.
    Files,
}

/// The parts that matter most, in at most `width` columns.
pub fn fitted(mut parts: Vec<Part>, width: Option<usize>) -> Vec<Part> {
    while let Some(width) = width
        && join(&parts).len() > width
        && let Some(last) = parts.iter().map(|part| part.rank).max()
    {
        parts.retain(|part| part.rank != last);
    }
    parts
}

/// Parts as a line.
pub fn join(parts: &[Part]) -> String {
    parts.iter().map(|part| part.text.as_str()).collect::<Vec<_>>().join(", ")
}

/// What is known of the files whose sizes are not known yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Awaited {
    /// There are none: all is found.
    None,
    /// The walk has ended. So many bytes they have if they are as large as those that were found.
    About(u64),
    /// Nothing.
    #[default]
    Unknown,
}

/// What the line shows, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// What the run does.
    pub kind: RunKind,
    /// The run was asked to end early.
    pub stopping: bool,
    /// The time since the run began.
    pub elapsed: Duration,
    /// Names that the walk has met.
    pub listed: u64,
    /// Bytes of the files that were found.
    pub found_bytes: u64,
    /// Bytes of the files that will be found.
    pub awaited: Awaited,
    /// Bytes of the found files that are done with.
    pub handled_bytes: u64,
    /// Handled bytes that an earlier run had copied.
    pub kept_bytes: u64,
    /// Bytes of an earlier run that are being read back.
    pub checking_bytes: u64,
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Bytes that are durable. Nothing where nothing becomes durable, as in a comparison.
    pub durable_bytes: Option<u64>,
    /// With `--verify`, bytes that were read back.
    pub verified_bytes: Option<u64>,
    /// Files that are done.
    pub files: u64,
}

impl Snapshot {
    /// What the counters say now.
    pub fn of(totals: &Totals, elapsed: Duration, kind: RunKind, stopping: bool) -> Self {
        let (syncs, verifies) = match kind {
            RunKind::Copy { syncs, verifies } => (syncs, verifies),
            RunKind::Hash => (false, false),
        };
        // Nothing may look complete too early: the walker's end is read before the counts, and what
        // it handed out before what was met.
        let walked = totals.walked.load(Ordering::Acquire);
        let listed = Totals::get(&totals.listed);
        let met = Totals::get(&totals.met);
        let unmet = listed.saturating_sub(met);
        let found_bytes = Totals::get(&totals.found_bytes);
        let awaited = match Totals::get(&totals.found_files) {
            // How much a stream holds, only its end says.
            _ if !walked || Totals::get(&totals.streams) > 0 => Awaited::Unknown,
            _ if unmet == 0 => Awaited::None,
            0 => Awaited::Unknown,
            // What is a link, or is passed over, adds nothing. A batch is met when it is opened.
            files => Awaited::About(share(unmet, found_bytes, files.max(met))),
        };
        let handled_bytes = Totals::get(&totals.meter.handled_bytes).min(found_bytes);
        Self {
            kind,
            stopping,
            elapsed,
            listed,
            found_bytes,
            awaited,
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

    fn all_found(&self) -> bool {
        self.awaited == Awaited::None
    }

    /// The bytes of all files, as far as they are known, or can be told from those that are.
    fn expected_bytes(&self) -> u64 {
        match self.awaited {
            Awaited::About(bytes) => self.found_bytes.saturating_add(bytes),
            Awaited::None | Awaited::Unknown => self.found_bytes,
        }
    }

    /// The bytes to be moved and to be read back, which count alike.
    fn work_bytes(&self) -> u64 {
        self.expected_bytes().saturating_mul(if self.verified_bytes.is_some() { 2 } else { 1 })
    }

    fn done_bytes(&self) -> u64 {
        self.handled_bytes.saturating_add(self.verified_bytes.unwrap_or(0))
    }

    /// The share that is done, never 100: the end of the run says that, when all is durable.
    pub fn per_cent(&self) -> Option<u64> {
        let (is_known, work_bytes) = (self.awaited != Awaited::Unknown, self.work_bytes());
        (is_known && work_bytes > 0).then(|| share(100, self.done_bytes(), work_bytes).min(99))
    }

    /// What stands before a number: a sign that it is no exact one.
    pub fn about(&self) -> &'static str {
        match self.awaited {
            Awaited::About(_) => "~",
            Awaited::None | Awaited::Unknown => "",
        }
    }

    /// What there is to say, each part with its rank.
    pub fn parts(&self, rate: Option<f64>) -> Vec<Part> {
        let bytes = |bytes: u64| units::bytes(bytes as f64);
        let mut parts = Vec::new();
        let mut add = |rank, text| parts.push(Part { rank, text });
        match (self.stopping, self.per_cent()) {
            (true, _) => add(Rank::Share, "stopping (again: at once)".to_owned()),
            (false, Some(per_cent)) => add(Rank::Share, format!("{}{per_cent} %", self.about())),
            (false, None) => {}
        }
        let word = match self.kind {
            RunKind::Hash => "hashed",
            // Holes, clones and what is only compared are never written.
            RunKind::Copy { .. } if self.written_bytes >= self.handled_bytes => "written",
            RunKind::Copy { .. } => "done",
        };
        let (handled, all) = (bytes(self.handled_bytes), bytes(self.expected_bytes()));
        let is_searching = self.found_bytes == 0 && !self.all_found();
        add(
            Rank::Handled,
            match self.awaited {
                _ if is_searching => format!("{handled} {word}"),
                Awaited::Unknown => format!("{handled} of {all}+ {word}"),
                Awaited::None | Awaited::About(_) => {
                    format!("{handled} of {}{all} {word}", self.about())
                }
            },
        );
        if self.checking_bytes > 0 {
            add(Rank::Rate, format!("checking {} copied earlier", bytes(self.checking_bytes)));
        }
        if let Some(durable) = self.durable_bytes.filter(|&durable| self.is_telling(durable)) {
            add(Rank::Durable, format!("{} durable", bytes(durable)));
        }
        if let Some(verified) = self.verified_bytes.filter(|&verified| self.is_telling(verified)) {
            add(Rank::Verified, format!("{} verified", bytes(verified)));
        }
        add(
            Rank::Files,
            match self.listed {
                _ if !is_searching => count(self.files, "file", "files"),
                0 => "searching".to_owned(),
                listed => format!("{} found", count(listed, "file", "files")),
            },
        );
        if let Some(rate) = rate {
            add(Rank::Rate, units::rate(rate));
        }
        if let Some(left) = self.left(rate) {
            add(Rank::Left, left);
        }
        parts
    }

    /// Whether it says anything that so much of what is done with is durable, or verified: neither
    /// none nor all of it. In the end, none says something too.
    fn is_telling(&self, bytes: u64) -> bool {
        let is_moved = self.all_found() && self.handled_bytes == self.found_bytes;
        bytes < self.handled_bytes && (bytes > 0 || is_moved)
    }

    /// The line in at most `width` columns: what matters least is left out first.
    pub fn line(&self, rate: Option<f64>, width: Option<usize>) -> String {
        join(&fitted(self.parts(rate), width))
    }

    /// The time that is left, once what is to be done is known, or nearly.
    fn left(&self, rate: Option<f64>) -> Option<String> {
        let left_bytes = self.work_bytes().saturating_sub(self.done_bytes());
        match rate {
            _ if self.awaited == Awaited::Unknown || self.stopping => None,
            _ if left_bytes == 0 && self.all_found() => Some("finishing".to_owned()),
            Some(rate) if rate > 0.0 => {
                let left = units::clock(left_bytes as f64 / rate);
                Some(format!("{}{left} left", self.about()))
            }
            _ => None,
        }
    }
}

/// So much of a whole as `part` is of `all`.
fn share(whole: u64, part: u64, all: u64) -> u64 {
    let share = u128::from(whole) * u128::from(part) / u128::from(all);
    u64::try_from(share).unwrap_or(u64::MAX)
}

/// How much was done by when, over the last seconds.
#[derive(Debug, Default)]
pub struct Rate(VecDeque<(Duration, u64)>);

impl Rate {
    /// Takes note of a snapshot, and answers with the bytes a second that were done lately; nothing
    /// if it is too early to say.
    pub fn update(&mut self, now: &Snapshot) -> Option<f64> {
        let done_now = now.done_bytes() - now.kept_bytes;
        if self.0.is_empty() {
            // At the first look, the beginning of the run is the other end of the window.
            self.0.push_back((Duration::ZERO, 0));
        }
        self.0.push_back((now.elapsed, done_now));
        // The first one that is old enough stays as the other end of the window.
        while self
            .0
            .get(1)
            .is_some_and(|&(then, _)| now.elapsed.saturating_sub(then) >= RATE_WINDOW)
        {
            self.0.pop_front();
        }
        let &(then, done) = self.0.front()?;
        let age = now.elapsed.saturating_sub(then);
        (age >= RATE_AGE_MIN).then(|| done_now.saturating_sub(done) as f64 / age.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            elapsed: Duration::from_secs(10),
            found_bytes: 4_290_000_000,
            awaited: Awaited::None,
            handled_bytes: 1_930_000_000,
            written_bytes: 1_930_000_000,
            durable_bytes: Some(1_200_000_000),
            verified_bytes: None,
            files: 120,
            ..Snapshot::default()
        }
    }

    #[test]
    fn the_line_has_everything_and_loses_what_matters_least() {
        let line = |width| snapshot().line(Some(812e6), width);
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
        let searching = Snapshot { awaited: Awaited::Unknown, ..snapshot() };
        assert_eq!(
            searching.line(Some(812e6), None),
            "1.93 GB of 4.29 GB+ written, 1.20 GB durable, 120 files, 812 MB/s"
        );
        let listed = Snapshot { awaited: Awaited::About(4_290_000_000), ..snapshot() };
        assert_eq!(
            listed.line(Some(812e6), None),
            "~22 %, 1.93 GB of ~8.58 GB written, 1.20 GB durable, 120 files, 812 MB/s, ~0:09 left"
        );
        let moved = Snapshot { handled_bytes: 4_290_000_000, written_bytes: 0, ..snapshot() };
        assert_eq!(
            moved.line(None, None),
            "99 %, 4.29 GB of 4.29 GB done, 1.20 GB durable, 120 files, finishing"
        );
        let verifies =
            Snapshot { handled_bytes: 4_290_000_000, verified_bytes: Some(0), ..snapshot() };
        assert!(verifies.line(Some(429e6), None).starts_with("50 %"));
        assert!(
            verifies
                .line(Some(429e6), None)
                .ends_with("0 B verified, 120 files, 429 MB/s, 0:10 left")
        );
        assert_eq!(Snapshot::default().line(None, None), "0 B written, searching");
        let begun = |awaited| Snapshot { listed: 153, awaited, ..Snapshot::default() };
        assert_eq!(begun(Awaited::Unknown).line(None, None), "0 B written, 153 files found");
        assert_eq!(begun(Awaited::About(0)).line(None, None), "0 B written, 153 files found");
        assert_eq!(begun(Awaited::None).line(None, None), "0 B of 0 B written, 0 files, finishing");
        let stopping = Snapshot { stopping: true, ..snapshot() };
        assert_eq!(
            stopping.line(Some(812e6), Some(55)),
            "stopping (again: at once), 1.93 GB of 4.29 GB written"
        );
        let hashes = Snapshot { kind: RunKind::Hash, durable_bytes: None, ..snapshot() };
        assert_eq!(hashes.line(None, None), "44 %, 1.93 GB of 4.29 GB hashed, 120 files");
        let resumed = Snapshot { handled_bytes: 0, checking_bytes: 1_700_000_000, ..snapshot() };
        assert!(resumed.line(None, Some(70)).contains("checking 1.70 GB copied earlier"));
    }

    #[test]
    fn what_was_listed_and_not_looked_at_is_taken_to_be_as_large_as_what_was() {
        let totals = Totals::default();
        let now = || Snapshot::of(&totals, Duration::from_secs(1), RunKind::default(), false);
        Totals::add(&totals.listed, 100);
        Totals::add(&totals.met, 40);
        Totals::add(&totals.found_files, 20);
        Totals::add(&totals.found_bytes, 2_000);
        Totals::add(&totals.meter.handled_bytes, 800);
        assert_eq!((now().awaited, now().per_cent()), (Awaited::Unknown, None));
        totals.walked.store(true, Ordering::Release);
        assert_eq!((now().awaited, now().per_cent()), (Awaited::About(3_000), Some(16)));
        // Nothing is known of how much a stream holds.
        Totals::add(&totals.streams, 1);
        assert_eq!((now().awaited, now().per_cent()), (Awaited::Unknown, None));
        Totals::take(&totals.streams, 1);
        Totals::add(&totals.met, 60);
        assert_eq!((now().awaited, now().per_cent()), (Awaited::None, Some(40)));
    }

    #[test]
    fn durable_and_verified_are_shown_where_they_say_something() {
        let line = |handled_bytes, durable_bytes, verified_bytes| {
            let (durable_bytes, verified_bytes) = (Some(durable_bytes), Some(verified_bytes));
            Snapshot { handled_bytes, durable_bytes, verified_bytes, ..snapshot() }.line(None, None)
        };
        let none = line(1_000_000, 0, 0);
        assert!(!none.contains("durable") && !none.contains("verified"), "{none}");
        let some = line(2_000_000, 1_000_000, 1_500_000);
        assert!(some.contains(", 1.00 MB durable, 1.50 MB verified, "), "{some}");
        let all = line(2_000_000, 2_000_000, 2_000_000);
        assert!(!all.contains("durable") && !all.contains("verified"), "{all}");
        let moved = line(4_290_000_000, 0, 0);
        assert!(moved.contains(", 0 B durable, 0 B verified, "), "{moved}");
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut rate = Rate::default();
        let at = |seconds: u64, handled_bytes: u64| Snapshot {
            elapsed: Duration::from_secs(seconds),
            found_bytes: u64::MAX / 4,
            handled_bytes,
            ..Snapshot::default()
        };
        assert_eq!(rate.update(&at(0, 0)), None);
        for second in 1..20 {
            assert_eq!(rate.update(&at(second, second * 100)), Some(100.0), "{second}");
        }
        for second in 20..40 {
            rate.update(&at(second, 1900));
        }
        assert_eq!(rate.update(&at(40, 1900)), Some(0.0));
        // What an earlier run did does not count.
        let kept = Snapshot { handled_bytes: 11_900, kept_bytes: 10_000, ..at(41, 0) };
        assert_eq!(rate.update(&kept), Some(0.0));
        // It does not go away a second after the first look.
        let mut late = Rate::default();
        assert_eq!(late.update(&at(1, 100)), Some(100.0));
        assert_eq!(late.update(&at(2, 200)), Some(100.0));
        // Asked once, at the end.
        assert_eq!(Rate::default().update(&at(10, 100)), Some(10.0));
    }
}
