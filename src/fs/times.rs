//! Times of files: how finely a filesystem stores them, and whether one that was just read can be
//! that of a later change as well. Pure but for the reading of clocks.

use std::time::Duration;

use crate::sys::call::{Stat, Timespec};
use rustix::time::{ClockId, clock_gettime};

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// After so long, no filesystem gives a change the time of an earlier one.
const SETTLED_AFTER_SECONDS: i64 = 3;

/// A point in time, as files have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Since 1970.
    pub seconds: i64,
    /// Less than a second.
    pub nanos: u32,
}

/// In what steps a filesystem stores times. What is finer is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grain {
    /// Most of Linux's own.
    Nanosecond,
    /// NTFS and SMB.
    HundredNanoseconds,
    /// UDF, some of FUSE.
    Microsecond,
    /// Some network filesystems.
    Millisecond,
    /// exFAT.
    TenMilliseconds,
    /// ext2, ext3, ext4 with small inodes, HFS+, SFTP.
    Second,
    /// FAT.
    TwoSeconds,
}

impl Grain {
    /// From the finest to the coarsest.
    pub const ALL: [Self; 7] = [
        Self::Nanosecond,
        Self::HundredNanoseconds,
        Self::Microsecond,
        Self::Millisecond,
        Self::TenMilliseconds,
        Self::Second,
        Self::TwoSeconds,
    ];

    /// As long as it is.
    fn duration(self) -> Duration {
        Duration::from_nanos(match self {
            Self::Nanosecond => 1,
            Self::HundredNanoseconds => 100,
            Self::Microsecond => 1_000,
            Self::Millisecond => 1_000_000,
            Self::TenMilliseconds => 10_000_000,
            Self::Second => 1_000_000_000,
            Self::TwoSeconds => 2_000_000_000,
        })
    }

    /// The coarsest grain that these times can be of.
    fn coarsest_of(times: &[Moment]) -> Self {
        let fits = |grain: &Self| times.iter().all(|time| time.cut(*grain) == *time);
        Self::ALL.into_iter().rev().find(fits).unwrap_or(Self::Nanosecond)
    }

    /// The finest grain to which `exact` was cut if it is `stored` now.
    pub fn of_cut(stored: Moment, exact: Moment) -> Option<Self> {
        Self::ALL.into_iter().find(|&grain| exact.cut(grain) == stored)
    }

    /// The grain that stores [`Moment::PROBE`] as `stored`.
    pub fn of_probe(stored: Moment) -> Self {
        // What is none of ours cuts off nothing that is known of.
        Self::of_cut(stored, Moment::PROBE).unwrap_or(Self::Nanosecond)
    }
}

impl Moment {
    /// A time that each grain cuts to another: an odd second, and nines behind it.
    pub const PROBE: Self = Self { seconds: 1_000_000_001, nanos: 999_999_999 };

    /// When contents were changed last.
    pub fn modified(stat: &Stat) -> Self {
        Self { seconds: stat.st_mtime as _, nanos: stat.st_mtime_nsec as _ }
    }

    /// When anything was changed last.
    pub fn changed(stat: &Stat) -> Self {
        Self { seconds: stat.st_ctime as _, nanos: stat.st_ctime_nsec as _ }
    }

    /// When contents were read last.
    pub fn accessed(stat: &Stat) -> Self {
        Self { seconds: stat.st_atime as _, nanos: stat.st_atime_nsec as _ }
    }

    /// What the kernel stamps a change with that happens now: `CLOCK_REALTIME_COARSE`.
    pub fn now() -> Self {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::RealtimeCoarse);
        Self { seconds: tv_sec as _, nanos: tv_nsec as _ }
    }

    /// As a filesystem of this grain stores it: -0.5 s becomes -1 s.
    pub fn cut(self, grain: Grain) -> Self {
        let Self { seconds, nanos } = self;
        let cut_to = |step: u32| Self { seconds, nanos: nanos - nanos % step };
        match grain {
            Grain::Nanosecond => self,
            Grain::HundredNanoseconds => cut_to(100),
            Grain::Microsecond => cut_to(1_000),
            Grain::Millisecond => cut_to(1_000_000),
            Grain::TenMilliseconds => cut_to(10_000_000),
            Grain::Second => Self { seconds, nanos: 0 },
            // Odd seconds are the even ones before them, those before 1970 too.
            Grain::TwoSeconds => Self { seconds: seconds & !1, nanos: 0 },
        }
    }

    fn plus(self, time: Duration) -> Self {
        let nanos = self.nanos + time.subsec_nanos();
        let seconds = time.as_secs() as i64 + i64::from(nanos / NANOS_PER_SECOND);
        Self { seconds: self.seconds.saturating_add(seconds), nanos: nanos % NANOS_PER_SECOND }
    }

    /// How long it is until `later`; nothing if that is over.
    pub fn until(self, later: Self) -> Duration {
        let since = |time: Self| Duration::new(time.seconds.abs_diff(i64::MIN), time.nanos);
        since(later).saturating_sub(since(self))
    }
}

/// How a stored time stands to the exact time of another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It is later or the same.
    NotOlder,
    /// It is earlier.
    Older,
    /// It is older, unless its filesystem cuts times to this grain, or to a coarser one that does
    /// the same to this time.
    OlderUnlessCut(Grain),
}

/// Whether what is `stored` was modified before `exact`, as far as the times of `stored` show. The
/// kernel stamps changes with all that the filesystem stores: one time that is finer than a grain
/// shows that nothing is cut to it. Times that are no finer show nothing, as a fine time ends in a
/// zero by chance: in 100 ns, every tenth is a whole microsecond.
pub fn age(stored: &Stat, exact: Moment) -> Age {
    let (modified, changed) = (Moment::modified(stored), Moment::changed(stored));
    if modified >= exact {
        return Age::NotOlder;
    }
    let coarsest = Grain::coarsest_of(&[modified, changed, Moment::accessed(stored)]);
    match Grain::of_cut(modified, exact) {
        Some(needed) if needed <= coarsest => Age::OlderUnlessCut(needed),
        _ => Age::Older,
    }
}

/// What stamps the changes of a filesystem's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// This kernel, which gives the change after a look a time of its own. It does so since Linux
    /// 6.13, where the filesystem stores nanoseconds.
    Fresh,
    /// This kernel, with its tick or what of it the filesystem stores: no coarser than this.
    Ticking {
        /// That.
        coarsest: Grain,
    },
    /// Maybe another machine, whose clock may be late.
    Elsewhere,
}

/// The coarsest grain at which a later change would have had other times than a look found.
/// Nothing where not even times that are stored exactly would show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled(Option<Grain>);

impl Settled {
    /// Whatever was seen, a later change may look the same.
    pub const NEVER: Self = Self(None);
    /// What was seen is older than every grain.
    pub const LONG: Self = Self(Some(Grain::TwoSeconds));

    /// What a look at `now` is worth that found `stat`. `clock` is asked only where it matters.
    pub fn at(stat: &Stat, now: Moment, clock: impl FnOnce() -> Clock) -> Self {
        Self::of(last_change(stat, now), now, clock)
    }

    /// The same of contents alone, whatever else may have been changed: the look was at a copy,
    /// whose last change was to give it its name.
    pub fn of_contents(stat: &Stat, now: Moment, clock: impl FnOnce() -> Clock) -> Self {
        match Moment::modified(stat) {
            modified if modified > now => Self::LONG,
            modified => Self::of(modified, now, clock),
        }
    }

    fn of(change: Moment, now: Moment, clock: impl FnOnce() -> Clock) -> Self {
        if is_long_ago(change, now) {
            return Self::LONG;
        }
        let (clock, whole) = (clock(), change.nanos == 0);
        let is_before = |grain: Grain| change.cut(grain) < now.cut(grain);
        let coarsest = Grain::ALL.into_iter().rev().find(|&grain| is_before(grain));
        match clock {
            Clock::Fresh if !whole => Self(Some(coarsest.unwrap_or(Grain::Nanosecond))),
            Clock::Elsewhere => Self::NEVER,
            _ => Self(coarsest.filter(|&coarsest| coarsest >= own_grain(clock, change))),
        }
    }

    /// Whether the times would show a later change, if they are stored as they were seen.
    pub fn is_settled(self) -> bool {
        self.0.is_some()
    }

    /// Whether they would, if they are cut to `grain` afterwards.
    pub fn allows(self, grain: Grain) -> bool {
        self.0.is_some_and(|settled| settled >= grain)
    }

    /// As a byte: 0 for nothing, else one more than the grain's place.
    pub fn to_byte(self) -> u8 {
        let place = |grain| Grain::ALL.iter().position(|&known| known == grain);
        self.0.and_then(place).map_or(0, |place| place as u8 + 1)
    }

    /// What [`to_byte`](Self::to_byte) wrote.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte.checked_sub(1) {
            None => Some(Self::NEVER),
            Some(place) => Grain::ALL.get(usize::from(place)).map(|&grain| Self(Some(grain))),
        }
    }
}

/// A look at a file: its answer to stat, and what that is worth.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The answer.
    pub stat: Stat,
    /// What it is worth.
    pub settled: Settled,
}

impl Seen {
    /// What was just answered.
    pub fn now(stat: Stat, clock: impl FnOnce() -> Clock) -> Self {
        Self { stat, settled: Settled::at(&stat, Moment::now(), clock) }
    }

    /// What a copy just answered that got its name, or is about to get it.
    pub fn copy(stat: Stat, clock: impl FnOnce() -> Clock) -> Self {
        Self { stat, settled: Settled::of_contents(&stat, Moment::now(), clock) }
    }
}

/// When a look at a file that answered `stat` will be settled, if it is not, and if that can be
/// waited for.
pub fn settles_at(stat: &Stat, now: Moment, clock: Clock) -> Option<Moment> {
    let change = last_change(stat, now);
    if Settled::of(change, now, || clock).is_settled() {
        return None;
    }
    let at = match clock {
        Clock::Elsewhere => {
            Moment { seconds: change.seconds + SETTLED_AFTER_SECONDS + 1, nanos: 0 }
        }
        clock => {
            let grain = own_grain(clock, change);
            change.cut(grain).plus(grain.duration())
        }
    };
    // A clock that is far ahead is not waited for.
    (at.seconds - now.seconds <= SETTLED_AFTER_SECONDS + 1).then_some(at)
}

/// What the times of a file that this clock stamped can be cut to.
fn own_grain(clock: Clock, change: Moment) -> Grain {
    let coarsest = match clock {
        Clock::Ticking { coarsest } => coarsest,
        Clock::Fresh => Grain::Second,
        Clock::Elsewhere => Grain::TwoSeconds,
    };
    Grain::coarsest_of(&[change]).min(coarsest)
}

/// The last change that the times of a file tell of. A modification time that is yet to come was
/// set by hand.
fn last_change(stat: &Stat, now: Moment) -> Moment {
    let (modified, changed) = (Moment::modified(stat), Moment::changed(stat));
    if modified > now { changed } else { changed.max(modified) }
}

/// Whether every later change has another time, on any filesystem.
pub(super) fn is_long_ago(change: Moment, now: Moment) -> bool {
    change.seconds.saturating_add(SETTLED_AFTER_SECONDS) < now.seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: i64, nanos: u32) -> Moment {
        Moment { seconds, nanos }
    }

    /// A file with these times.
    fn stat(modified: Moment, changed: Moment) -> Stat {
        let mut stat = crate::sys::call::fstat(tempfile::tempfile().unwrap()).unwrap();
        (stat.st_mtime, stat.st_mtime_nsec) = (modified.seconds as _, modified.nanos.into());
        (stat.st_ctime, stat.st_ctime_nsec) = (changed.seconds as _, changed.nanos.into());
        (stat.st_atime, stat.st_atime_nsec) = (100, 0);
        stat
    }

    #[test]
    fn each_grain_cuts_what_it_cannot_store_and_the_probe_shows_which() {
        for (grain, seconds, nanos) in [
            (Grain::Nanosecond, 1_000_000_001, 999_999_999),
            (Grain::HundredNanoseconds, 1_000_000_001, 999_999_900),
            (Grain::Microsecond, 1_000_000_001, 999_999_000),
            (Grain::Millisecond, 1_000_000_001, 999_000_000),
            (Grain::TenMilliseconds, 1_000_000_001, 990_000_000),
            (Grain::Second, 1_000_000_001, 0),
            (Grain::TwoSeconds, 1_000_000_000, 0),
        ] {
            assert_eq!(Moment::PROBE.cut(grain), at(seconds, nanos));
            assert_eq!(Grain::of_probe(at(seconds, nanos)), grain);
        }
        assert_eq!(at(-1, 500_000_000).cut(Grain::Second), at(-1, 0));
        assert_eq!(at(-1, 500_000_000).cut(Grain::TwoSeconds), at(-2, 0));
        assert_eq!(Grain::of_probe(at(1_000_000_002, 0)), Grain::Nanosecond);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn a_time_may_be_older_for_what_its_filesystem_cut_off_alone() {
        let exact = at(1001, 678_901_234);
        let stamp = at(2000, 111_222_333);
        for (modified, changed, expected) in [
            (at(1001, 678_901_234), stamp, Age::NotOlder),
            (at(1002, 0), stamp, Age::NotOlder),
            (at(1001, 678_901_233), stamp, Age::Older),
            // The change time has nanoseconds, so that the whole second is what was set.
            (at(1001, 0), stamp, Age::Older),
            (at(1001, 678_901_200), stamp, Age::Older),
            (at(1001, 0), at(2000, 111_222_300), Age::Older),
            // No time is finer than the cut.
            (at(1001, 0), at(2001, 0), Age::OlderUnlessCut(Grain::Second)),
            (at(1001, 0), at(1001, 0), Age::OlderUnlessCut(Grain::Second)),
            (
                at(1001, 678_901_200),
                at(2000, 111_222_300),
                Age::OlderUnlessCut(Grain::HundredNanoseconds),
            ),
            // A second too early, or cut to an even one.
            (at(1000, 0), at(2000, 0), Age::OlderUnlessCut(Grain::TwoSeconds)),
            (at(1000, 0), at(2001, 0), Age::Older),
            (at(999, 0), at(2000, 0), Age::Older),
            (at(998, 0), at(2000, 0), Age::Older),
        ] {
            let found = age(&stat(modified, changed), exact);
            assert_eq!(found, expected, "{modified:?}, changed {changed:?}");
        }
    }

    const TICKING: Clock = Clock::Ticking { coarsest: Grain::Second };

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn a_look_is_settled_when_a_later_change_would_have_another_time() {
        let settled = |changed, now, clock| {
            let settled = Settled::at(&stat(at(50, 0), changed), now, || clock);
            Settled::from_byte(settled.to_byte()).map(|settled| settled.0).unwrap()
        };
        let (change, same_second) = (at(1001, 5_000_000), at(1001, 9_000_000));
        assert_eq!(settled(change, change, TICKING), None);
        assert_eq!(settled(change, same_second, TICKING), Some(Grain::Millisecond));
        assert_eq!(settled(change, at(1002, 0), TICKING), Some(Grain::TwoSeconds));
        assert_eq!(settled(at(1000, 1), at(1001, 0), TICKING), Some(Grain::Second));
        assert_eq!(settled(change, at(1005, 0), TICKING), Some(Grain::TwoSeconds));
        // A time without a fraction may be one of a filesystem that stores none.
        assert_eq!(settled(at(1001, 0), same_second, TICKING), None);
        assert_eq!(settled(at(1001, 0), same_second, Clock::Fresh), None);
        assert_eq!(settled(change, change, Clock::Fresh), Some(Grain::Nanosecond));
        assert_eq!(settled(change, at(1003, 0), Clock::Elsewhere), None);
        assert_eq!(settled(change, at(1005, 0), Clock::Elsewhere), Some(Grain::TwoSeconds));
        assert_eq!(Settled::from_byte(8), None);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn what_is_waited_for_settles_a_look() {
        let now = at(1001, 9_000_000);
        for clock in [TICKING, Clock::Ticking { coarsest: Grain::TwoSeconds }, Clock::Elsewhere] {
            for changed in [at(1001, 9_000_000), at(1001, 0), at(1000, 0), at(1001, 400)] {
                let file = stat(at(50, 0), changed);
                let Some(settled_at) = settles_at(&file, now, clock) else {
                    assert!(Settled::at(&file, now, || clock).is_settled());
                    continue;
                };
                let until = now.until(settled_at);
                assert!(until.as_secs() < 5, "{clock:?}, {changed:?}: {until:?}");
                let settled = Settled::at(&file, settled_at, || clock);
                assert!(settled.is_settled(), "{clock:?} {changed:?}");
            }
        }
        let ahead = stat(at(50, 0), at(5000, 0));
        assert_eq!(settles_at(&ahead, now, TICKING), None, "a clock that is far ahead");
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn a_modification_time_to_come_was_set_by_hand() {
        let file = stat(at(5000, 0), at(1001, 5_000_000));
        assert!(Settled::at(&file, at(1001, 9_000_000), || TICKING).is_settled());
        assert_eq!(Settled::of_contents(&file, at(1001, 0), || TICKING), Settled::LONG);
    }
}
