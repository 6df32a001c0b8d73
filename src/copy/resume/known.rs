//! What a record of the journal is worth, now that source and destination are what they are. Pure.

use std::ffi::OsStr;

use super::format::{Finished, Look, STAT_KEY_BYTES, Standing, StatKey};
use crate::digest::Hash;
use crate::fs::{self, Grain, Moment, Numbers, Seen, Stat, Trust};
use crate::tree::Kept;

/// What of two keys has to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// All.
    Everything,
    /// Not the change time: something gave the file a name, or took one.
    AllButChange,
    /// Nor mode, owner and group: they were yet to be set.
    Contents,
}

/// Source and destination of something finished, as they answer now.
#[derive(Clone, Copy)]
pub struct Sides {
    pub source: StatKey,
    pub target: StatKey,
    /// Whether the destination has several names.
    pub target_is_linked: bool,
}

/// Looks at source and destination of something finished, as they are recorded.
#[derive(Clone, Copy)]
pub struct Looked {
    pub source: Look,
    pub target: Look,
}

/// Why a finished copy is made again.
pub const COPY_CHANGED: &str = "the copy changed since it was made; it is copied again";

/// What the journal says of a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// It was finished with this hash, and nothing has changed since.
    Finished(Option<Hash>),
    /// It was finished with this hash and without some of its metadata; nothing has changed since.
    FinishedWithLoss(Option<Hash>),
    /// It was finished, but not what stands there now.
    Changed(&'static str),
}

/// What a record says of two sides. Only if they are not what they were, `is_begun` is asked
/// whether a copy of the path was begun after it.
pub fn judge(record: &Finished, sides: &Sides, is_begun: impl FnOnce() -> bool) -> Known {
    let same_source = is_same(&record.source, &sides.source);
    let compared = compared(record, sides.target_is_linked);
    match agrees(&record.target, &sides.target, compared) {
        true if same_source && record.kept == Kept::All => Known::Finished(record.hash),
        true if same_source => Known::FinishedWithLoss(record.hash),
        // It never got its name, or was begun once more since then.
        _ if record.standing == Standing::Unnamed || is_begun() => Known::Nothing,
        // Nothing shows a change, but nothing would.
        _ if ![&record.source, &record.target].iter().all(|look| look.settled.is_settled()) => {
            Known::Nothing
        }
        _ if !same_source => {
            Known::Changed("the source changed since it was copied; it is copied again")
        }
        _ => Known::Changed(COPY_CHANGED),
    }
}

/// Whether a file is what it was at an earlier look.
pub fn is_same(look: &Look, now: &StatKey) -> bool {
    agrees(look, now, Compared::Everything)
}

/// A look at a file, as it is recorded.
pub fn look(seen: &Seen, trust: Trust) -> Look {
    Look { key: stat_key(&seen.stat, trust), settled: seen.settled }
}

/// What stands for a file, source or destination. What its filesystem does not keep beyond the next
/// mount is left out: size, times, mode and owner are believed then, under the path.
pub fn stat_key(stat: &Stat, trust: Trust) -> StatKey {
    let numbers =
        [lasting_ino(stat, trust), stat.st_size as u64, stat.st_mtime as u64].map(u64::to_le_bytes);
    let small =
        [stat.st_mtime_nsec as u32, stat.st_mode, stat.st_uid, stat.st_gid].map(u32::to_le_bytes);
    let (changed, changed_nanos) = match trust.keeps_change_times {
        true => (stat.st_ctime as u64, stat.st_ctime_nsec as u32),
        false => (0, 0),
    };
    let (changed, changed_nanos) = (changed.to_le_bytes(), changed_nanos.to_le_bytes());
    let parts = [numbers.as_flattened(), small.as_flattened(), &changed, &changed_nanos];
    parts.concat().try_into().expect("the parts of a key")
}

/// A file's inode number; 0, which is none, where the file has another one after the next mount.
fn lasting_ino(stat: &Stat, trust: Trust) -> u64 {
    if trust.numbers == Numbers::Fleeting { 0 } else { stat.st_ino }
}

/// The number by which the next run knows a temporary: that of its inode, or that in its hidden
/// name where it has another inode number after the next mount.
pub fn temporary_number(stat: &Stat, hidden: &OsStr, trust: Trust) -> Option<u64> {
    if trust.numbers == Numbers::Fleeting { fs::hidden_number(hidden) } else { Some(stat.st_ino) }
}

/// What of a destination's key has to stay: not its change time where it got its name after it was
/// looked at or lost one, or where it has several names now; nor mode and owner where those were
/// yet to be set.
fn compared(record: &Finished, is_linked: bool) -> Compared {
    match record.standing {
        Standing::Settled => Compared::Everything,
        Standing::Closing => Compared::AllButChange,
        Standing::Linked if !is_linked => Compared::Everything,
        Standing::Linked | Standing::Unnamed if record.kept == Kept::All => Compared::AllButChange,
        Standing::Linked | Standing::Unnamed | Standing::Retried => Compared::Contents,
    }
}

/// Whether a key is what it was at an earlier look, and that look was worth it. A filesystem that
/// was mounted anew may have cut its times to what it stores.
fn agrees(look: &Look, now: &StatKey, compared: Compared) -> bool {
    let (then, now) = (Parts::of(&look.key), Parts::of(now));
    let is_same = then.contents == now.contents
        && (compared == Compared::Contents || then.owner == now.owner);
    let is_cut = |grain: Grain| {
        then.modified.cut(grain) == now.modified
            && (compared != Compared::Everything || then.changed.cut(grain) == now.changed)
    };
    let grain = Grain::ALL.into_iter().find(|&grain| is_cut(grain));
    is_same && grain.is_some_and(|grain| look.settled.allows(grain))
}

/// A [`StatKey`], taken apart.
struct Parts<'a> {
    /// Inode number and size.
    contents: &'a [u8],
    modified: Moment,
    /// Mode, owner and group.
    owner: &'a [u8],
    changed: Moment,
}

impl<'a> Parts<'a> {
    fn of(key: &'a StatKey) -> Self {
        let (contents, rest) = key.split_at(16);
        let (modified, rest) = rest.split_at(12);
        let (owner, changed) = rest.split_at(STAT_KEY_BYTES - 16 - 12 - 12);
        Self { contents, modified: moment(modified), owner, changed: moment(changed) }
    }
}

/// Seconds and nanoseconds as a key has them.
fn moment(bytes: &[u8]) -> Moment {
    let (seconds, nanos) = bytes.split_first_chunk().expect("twelve bytes");
    let nanos = nanos.first_chunk().expect("twelve bytes");
    Moment { seconds: i64::from_le_bytes(*seconds), nanos: u32::from_le_bytes(*nanos) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{Clock, Settled};

    /// A file that answers with numbers of its own, some time after it was changed last.
    fn stat() -> Stat {
        let file = tempfile::tempfile().expect("a temporary file");
        let mut stat = crate::fs::stat(&file).expect("an open file");
        (stat.st_mtime, stat.st_mtime_nsec) = (1_000_000_001, 123_456_789);
        (stat.st_ctime, stat.st_ctime_nsec) = (1_000_000_003, 987_654_321);
        stat
    }

    fn seen(stat: &Stat) -> Seen {
        Seen { stat: *stat, settled: Settled::LONG }
    }

    const TRUST: Trust =
        Trust { numbers: Numbers::Own, keeps_change_times: true, lists_acls: true };

    fn sides(source: &Stat, target: &Stat) -> Sides {
        Sides {
            source: stat_key(source, TRUST),
            target: stat_key(target, TRUST),
            target_is_linked: target.st_nlink > 1,
        }
    }

    fn record(source: &Stat, target: &Stat, standing: Standing, kept: Kept) -> Finished {
        let (source, target) = (look(&seen(source), TRUST), look(&seen(target), TRUST));
        Finished { name: [1; 16], source, target, standing, kept, hash: Some([2; 32]) }
    }

    fn changed(stat: &Stat, change: fn(&mut Stat)) -> Stat {
        let mut stat = *stat;
        change(&mut stat);
        stat
    }

    const CHANGED: Known = Known::Changed("the copy changed since it was made; it is copied again");

    /// What changes in a destination, and what is known then of each standing, with all metadata
    /// kept and without.
    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn what_may_change_after_a_record_depends_on_its_standing() {
        let (source, target) = (stat(), stat());
        let changed = |change| changed(&target, change);
        let renamed = changed(|stat| stat.st_ctime += 1);
        let linked = changed(|stat| (stat.st_ctime, stat.st_nlink) = (stat.st_ctime + 1, 2));
        let owned = changed(|stat| (stat.st_ctime, stat.st_uid) = (stat.st_ctime + 1, 7));
        let written = changed(|stat| stat.st_mtime += 1);
        let whole = || Known::Finished(Some([2; 32]));
        let lossy = || Known::FinishedWithLoss(Some([2; 32]));
        for (standing, kept, now, known) in [
            (Standing::Settled, Kept::All, &target, whole()),
            (Standing::Settled, Kept::Part, &target, lossy()),
            (Standing::Linked, Kept::All, &linked, whole()),
            (Standing::Linked, Kept::All, &renamed, CHANGED),
            (Standing::Linked, Kept::All, &target, whole()),
            (Standing::Linked, Kept::Part, &owned, CHANGED),
            (Standing::Unnamed, Kept::All, &renamed, whole()),
            (Standing::Retried, Kept::Part, &owned, lossy()),
            (Standing::Retried, Kept::Part, &written, CHANGED),
            (Standing::Unnamed, Kept::All, &written, Known::Nothing),
            (Standing::Settled, Kept::All, &renamed, CHANGED),
            (Standing::Closing, Kept::All, &renamed, whole()),
            (Standing::Closing, Kept::Part, &renamed, lossy()),
            (Standing::Closing, Kept::All, &owned, CHANGED),
            (Standing::Closing, Kept::All, &written, CHANGED),
        ] {
            let record = record(&source, &target, standing, kept);
            let found = judge(&record, &sides(&source, now), || false);
            assert_eq!(found, known, "{standing:?}, metadata kept: {kept:?}");
        }
    }

    /// After the next mount of a filesystem, what it keeps is compared, and nothing else.
    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn what_a_filesystem_does_not_keep_is_not_compared() {
        let (before, mut after) = (stat(), stat());
        (after.st_mtime, after.st_mtime_nsec) = (before.st_mtime, before.st_mtime_nsec);
        (after.st_ctime, after.st_ctime_nsec) = (before.st_ctime, before.st_ctime_nsec);
        after.st_ino = before.st_ino + 1;
        let (mut later, mut written) = (after, after);
        later.st_ctime += 1;
        written.st_size += 1;
        for (numbers, keeps_change_times, same) in [
            (Numbers::Own, true, [false, false, false]),
            (Numbers::Lasting, true, [false, false, false]),
            (Numbers::Fleeting, true, [true, false, false]),
            (Numbers::Fleeting, false, [true, true, false]),
        ] {
            let trust = Trust { numbers, keeps_change_times, lists_acls: false };
            let known = stat_key(&before, trust);
            let found = [after, later, written].map(|now| stat_key(&now, trust) == known);
            assert_eq!(found, same, "{trust:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn a_source_that_changed_is_copied_again_and_one_begun_anew_needs_no_reason() {
        let (source, target) = (stat(), stat());
        let record = record(&source, &target, Standing::Linked, Kept::All);
        let (mut source, mut replaced) = (source, target);
        source.st_size += 1;
        replaced.st_ino += 1;
        let now = sides(&source, &replaced);
        let why = "the source changed since it was copied; it is copied again";
        assert_eq!(judge(&record, &now, || false), Known::Changed(why));
        assert_eq!(judge(&record, &now, || true), Known::Nothing);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn times_that_were_cut_are_the_same_where_the_look_was_settled_for_that() {
        let stat = stat();
        let cut = |grain: Grain| {
            let mut cut = stat;
            let (modified, changed) = (Moment::modified(&stat), Moment::changed(&stat));
            (cut.st_mtime, cut.st_ctime) =
                (modified.cut(grain).seconds as _, changed.cut(grain).seconds as _);
            cut.st_mtime_nsec = modified.cut(grain).nanos.into();
            cut.st_ctime_nsec = changed.cut(grain).nanos.into();
            cut
        };
        for grain in Grain::ALL {
            let now = stat_key(&cut(grain), TRUST);
            let settled_at = |seconds, nanos| {
                let settled = Settled::at(&stat, Moment { seconds, nanos }, || Clock::Ticking {
                    coarsest: Grain::Second,
                });
                is_same(&Look { key: stat_key(&stat, TRUST), settled }, &now)
            };
            assert!(settled_at(1_000_000_013, 0), "{grain:?}: long after the change");
            let soon = settled_at(1_000_000_003, 999_999_999);
            assert_eq!(soon, grain < Grain::Second, "{grain:?}: in the same second");
            assert!(!settled_at(1_000_000_003, 987_654_321), "{grain:?}: in the same tick");
        }
        let later = changed(&stat, |stat| (stat.st_ctime, stat.st_ctime_nsec) = (1_000_000_004, 0));
        let look = Look { key: stat_key(&stat, TRUST), settled: Settled::LONG };
        assert!(!is_same(&look, &stat_key(&later, TRUST)), "no filesystem rounds up");
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn of_a_source_that_could_change_unseen_nothing_is_known() {
        let (source, target) = (stat(), stat());
        let mut record = record(&source, &target, Standing::Settled, Kept::All);
        record.source.settled = Settled::NEVER;
        assert_eq!(judge(&record, &sides(&source, &target), || false), Known::Nothing);
    }
}
