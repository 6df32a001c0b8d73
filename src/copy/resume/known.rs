//! What a record of the journal is worth, now that source and destination are what they are. Pure.

use super::format::{Finished, STAT_KEY_BYTES, Standing, StatKey};
use crate::digest::Hash;
use crate::fs::{Numbers, Stat, Trust};

/// The bytes of a change time at the end of a [`StatKey`].
const CTIME_BYTES: usize = 12;
/// The bytes of mode, owner and group before it.
const OWNER_BYTES: usize = 12;

/// Source and destination of something finished.
#[derive(Clone, Copy)]
pub struct Sides {
    pub source: StatKey,
    pub target: StatKey,
}

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

/// What a record says of two sides. With `is_begun` a copy of the path was begun after it.
pub fn judge(record: &Finished, sides: &Sides, is_begun: bool) -> Known {
    let same_source = record.source == sides.source;
    let lasting_bytes = lasting_bytes(record.standing, record.kept);
    match record.target[..lasting_bytes] == sides.target[..lasting_bytes] {
        true if same_source && record.kept => Known::Finished(record.hash),
        true if same_source => Known::FinishedWithLoss(record.hash),
        // It never got its name, or was begun once more since then.
        _ if record.standing == Standing::Unnamed || is_begun => Known::Nothing,
        _ if !same_source => {
            Known::Changed("the source changed since it was copied; it is copied again")
        }
        _ => Known::Changed("the copy changed since it was made; it is copied again"),
    }
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
pub fn lasting_ino(stat: &Stat, trust: Trust) -> u64 {
    if trust.numbers == Numbers::Fleeting { 0 } else { stat.st_ino }
}

/// How much of a destination's key has to stay: not its change time where it may get a further
/// name, nor then its mode and owner where not all of its metadata was kept.
fn lasting_bytes(standing: Standing, kept: bool) -> usize {
    match standing {
        Standing::Settled => STAT_KEY_BYTES,
        Standing::Linked | Standing::Unnamed if kept => STAT_KEY_BYTES - CTIME_BYTES,
        Standing::Linked | Standing::Unnamed => STAT_KEY_BYTES - CTIME_BYTES - OWNER_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that answers with numbers of its own.
    fn stat() -> Stat {
        let file = tempfile::tempfile().expect("a temporary file");
        crate::fs::stat(&file).expect("an open file")
    }

    const TRUST: Trust = Trust { numbers: Numbers::Own, keeps_change_times: true };

    fn sides(source: &Stat, target: &Stat) -> Sides {
        Sides { source: stat_key(source, TRUST), target: stat_key(target, TRUST) }
    }

    fn record(Sides { source, target }: Sides, standing: Standing, kept: bool) -> Finished {
        Finished { name: [1; 16], source, target, standing, kept, hash: Some([2; 32]) }
    }

    /// What changes in a destination, and what is known then of each standing, with all metadata
    /// kept and without.
    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn what_may_change_after_a_record_depends_on_its_standing() {
        let (source, target) = (stat(), stat());
        let changed = |change: fn(&mut Stat)| {
            let mut target = target;
            change(&mut target);
            target
        };
        let renamed = changed(|stat| stat.st_ctime += 1);
        let owned = changed(|stat| (stat.st_ctime, stat.st_uid) = (stat.st_ctime + 1, 7));
        let written = changed(|stat| stat.st_mtime += 1);
        let changed = Known::Changed("the copy changed since it was made; it is copied again");
        let whole = || Known::Finished(Some([2; 32]));
        let lossy = || Known::FinishedWithLoss(Some([2; 32]));
        let made = sides(&source, &target);
        for (standing, kept, now, known) in [
            (Standing::Settled, true, &target, whole()),
            (Standing::Settled, false, &target, lossy()),
            (Standing::Linked, true, &renamed, whole()),
            (Standing::Unnamed, true, &renamed, whole()),
            (Standing::Linked, false, &owned, lossy()),
            (Standing::Unnamed, true, &written, Known::Nothing),
            (Standing::Settled, true, &renamed, changed),
        ] {
            let record = record(made, standing, kept);
            let found = judge(&record, &sides(&source, now), false);
            assert_eq!(found, known, "{standing:?}, all metadata kept: {kept}");
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
            let trust = Trust { numbers, keeps_change_times };
            let known = stat_key(&before, trust);
            let found = [after, later, written].map(|now| stat_key(&now, trust) == known);
            assert_eq!(found, same, "{trust:?}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn a_source_that_changed_is_copied_again_and_one_begun_anew_needs_no_reason() {
        let (source, target) = (stat(), stat());
        let record = record(sides(&source, &target), Standing::Linked, true);
        let (mut source, mut replaced) = (source, target);
        source.st_size += 1;
        replaced.st_ino += 1;
        let now = sides(&source, &replaced);
        let why = "the source changed since it was copied; it is copied again";
        assert_eq!(judge(&record, &now, false), Known::Changed(why));
        assert_eq!(judge(&record, &now, true), Known::Nothing);
    }
}
