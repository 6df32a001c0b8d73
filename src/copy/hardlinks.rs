//! Which source files have several names, and what became of the first that was met. Pure: it makes
//! no link itself.
//!
//! A file that is met again while its first name is in the making waits in the table, so that no
//! worker does: whoever publishes the first name links the others to it. A first name that fails
//! hands its role to the next.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::existing::Admitted;
use crate::digest::Hash;
use crate::fs::Stat;
use crate::tree::Dir;

/// Device and inode of a source.
type Key = (u64, u64);

/// The first name of a copy, which stands.
pub struct Original {
    /// Where.
    pub dir: Arc<Dir>,
    /// Its name there.
    pub name: OsString,
    /// The copy's device and inode.
    pub identity: (u64, u64),
    /// The copy's size.
    pub size_bytes: u64,
    /// The hash of its contents, if there is one.
    pub hash: Option<Hash>,
    /// Whether all of its metadata was kept.
    pub kept: bool,
}

/// A name that waits for the first one. It counts as one hold on the directory.
pub struct Waiting {
    /// Where.
    pub dir: Arc<Dir>,
    /// What.
    pub entry: Admitted,
}

/// The right and the duty to make the first name of a copy: it ends in [`HardLinks::made`] or
/// [`HardLinks::failed`].
#[must_use]
pub struct Claim {
    key: Key,
    /// How many other names the source has.
    others: u64,
}

/// What to do with a name.
pub enum Met {
    /// Copy the file, and tell what became of it if there is a claim.
    Copy(Admitted, Option<Claim>),
    /// Link it to this one.
    Link(Admitted, Arc<Original>),
    /// Nothing: it waits for the first name.
    Waits,
}

enum State {
    /// The first name is yet to be met; how many others there are.
    Awaited(Vec<Waiting>, u64),
    Making(Vec<Waiting>),
    Made {
        original: Arc<Original>,
        others_left: u64,
    },
}

/// The table of files with several names.
#[derive(Default)]
pub struct HardLinks(Mutex<HashMap<Key, State>>);

impl HardLinks {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name was met whose file answered `stat`. With `by_links`, symbolic links may lead to the
    /// file as well, so that its names cannot be counted. Unless it `is_first`, another one has to
    /// be the first name, and this one waits for it, or until [`unclaimed`](Self::unclaimed) gives
    /// it up.
    pub fn meet(
        &self,
        stat: &Stat,
        by_links: bool,
        is_first: bool,
        dir: &Arc<Dir>,
        entry: Admitted,
    ) -> Met {
        let others =
            if by_links { u64::MAX } else { u64::from(stat.st_nlink as u32).saturating_sub(1) };
        if others == 0 {
            return Met::Copy(entry, None);
        }
        let key = (stat.st_dev, stat.st_ino);
        match self.lock().entry(key) {
            Slot::Vacant(slot) if is_first => {
                slot.insert(State::Making(Vec::new()));
                Met::Copy(entry, Some(Claim { key, others }))
            }
            Slot::Vacant(slot) => {
                dir.hold();
                slot.insert(State::Awaited(vec![Waiting { dir: Arc::clone(dir), entry }], others));
                Met::Waits
            }
            Slot::Occupied(mut slot) => match slot.get_mut() {
                State::Awaited(waiting, _) if is_first => {
                    let waiting = std::mem::take(waiting);
                    slot.insert(State::Making(waiting));
                    Met::Copy(entry, Some(Claim { key, others }))
                }
                State::Making(waiting) | State::Awaited(waiting, _) => {
                    dir.hold();
                    waiting.push(Waiting { dir: Arc::clone(dir), entry });
                    Met::Waits
                }
                State::Made { original, others_left } => {
                    let original = Arc::clone(original);
                    *others_left = others_left.saturating_sub(1);
                    // All names were seen, so that nobody will ask again.
                    if *others_left == 0 {
                        slot.remove();
                    }
                    Met::Link(entry, original)
                }
            },
        }
    }

    /// The first name stands. The caller links those that waited for it.
    pub fn made(&self, Claim { key, others }: Claim, original: &Arc<Original>) -> Vec<Waiting> {
        let mut table = self.lock();
        let Some(State::Making(waiting)) = table.remove(&key) else { return Vec::new() };
        let others_left = others.saturating_sub(waiting.len() as u64);
        if others_left > 0 {
            table.insert(key, State::Made { original: Arc::clone(original), others_left });
        }
        waiting
    }

    /// The first name could not be made; the next one that waits has the claim now. The caller sees
    /// to it.
    pub fn failed(&self, claim: Claim) -> Option<(Waiting, Claim)> {
        let mut table = self.lock();
        if let Some(State::Making(waiting)) = table.get_mut(&claim.key)
            && let Some(next) = waiting.pop()
        {
            let others = claim.others.saturating_sub(1);
            return Some((next, Claim { others, ..claim }));
        }
        table.remove(&claim.key);
        None
    }
}

impl HardLinks {
    /// Of each source whose first name was never met, the name that is to be the first instead. The
    /// caller sees to it.
    pub fn unclaimed(&self) -> Vec<(Waiting, Claim)> {
        let mut found = Vec::new();
        for (&key, state) in self.lock().iter_mut() {
            if let State::Awaited(waiting, others) = state
                && let Some(next) = waiting.pop()
            {
                found.push((next, Claim { key, others: *others }));
                *state = State::Making(std::mem::take(waiting));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;
    use crate::tree::{Entry, EntryKind, OpenDirs};
    use std::fs::File;

    fn dir(folder: &std::path::Path) -> Arc<Dir> {
        let open = || File::open(folder).unwrap().into();
        let paths = (folder.to_owned(), folder.to_owned());
        Arc::clone(Dir::root(open(), open(), paths, &OpenDirs::new(1)).unwrap().dir())
    }

    fn entry(name: &str) -> Admitted {
        Admitted::to_fresh(Entry {
            name: name.into(),
            renamed: None,
            kind: EntryKind::File,
            ino: None,
            followed: false,
        })
    }

    fn original(dir: &Arc<Dir>) -> Arc<Original> {
        Arc::new(Original {
            dir: Arc::clone(dir),
            name: "1".into(),
            identity: (0, 0),
            size_bytes: 0,
            hash: None,
            kept: true,
        })
    }

    /// A file with `names` names: what stat says of it.
    fn stat(folder: &std::path::Path, names: u32) -> Stat {
        let file = File::create(folder.join("1")).unwrap();
        for n in 2..=names {
            std::fs::hard_link(folder.join("1"), folder.join(n.to_string())).unwrap();
        }
        fs::stat(&file).unwrap()
    }

    #[test]
    fn names_wait_for_the_first_and_the_last_one_empties_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, stat, table) = (dir(folder.path()), stat(folder.path(), 4), HardLinks::default());
        let Met::Copy(_, Some(claim)) = table.meet(&stat, false, true, &dir, entry("1")) else {
            panic!("the first is copied")
        };
        assert!(matches!(table.meet(&stat, false, true, &dir, entry("2")), Met::Waits));
        let waiting = table.made(claim, &original(&dir));
        assert_eq!(
            waiting.iter().map(|waiting| waiting.entry.name.to_str().unwrap()).collect::<Vec<_>>(),
            ["2"]
        );
        assert!(!dir.release(), "a name that waits holds its directory");
        for name in ["3", "4"] {
            assert!(matches!(table.meet(&stat, false, true, &dir, entry(name)), Met::Link(..)));
        }
        assert!(table.lock().is_empty());
        assert!(dir.release(), "and a name that is linked at once does not");
    }

    #[test]
    fn the_next_name_takes_over_from_one_that_failed() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, stat, table) = (dir(folder.path()), stat(folder.path(), 3), HardLinks::default());
        let Met::Copy(_, Some(claim)) = table.meet(&stat, false, true, &dir, entry("1")) else {
            panic!("the first is copied")
        };
        for name in ["2", "3"] {
            assert!(matches!(table.meet(&stat, false, true, &dir, entry(name)), Met::Waits));
        }
        let (_, claim) = table.failed(claim).unwrap();
        let (_, claim) = table.failed(claim).unwrap();
        assert!(table.failed(claim).is_none());
        assert!(table.lock().is_empty());
    }

    #[test]
    fn other_names_wait_for_the_one_that_has_to_be_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, stat, table) = (dir(folder.path()), stat(folder.path(), 4), HardLinks::default());
        for name in ["2", "3"] {
            assert!(matches!(table.meet(&stat, false, false, &dir, entry(name)), Met::Waits));
        }
        let Met::Copy(first, Some(claim)) = table.meet(&stat, false, true, &dir, entry("1")) else {
            panic!("the first is copied")
        };
        assert_eq!(first.name, "1");
        assert!(matches!(table.meet(&stat, false, false, &dir, entry("4")), Met::Waits));
        assert!(table.unclaimed().is_empty());
        assert_eq!(table.made(claim, &original(&dir)).len(), 3);
        assert!(table.lock().is_empty());
    }

    #[test]
    fn if_the_first_name_does_not_come_another_one_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, stat, table) = (dir(folder.path()), stat(folder.path(), 3), HardLinks::default());
        for name in ["2", "3"] {
            assert!(matches!(table.meet(&stat, false, false, &dir, entry(name)), Met::Waits));
        }
        let (next, claim) = table.unclaimed().pop().unwrap();
        assert_eq!(next.entry.name, "3");
        assert!(table.unclaimed().is_empty());
        let waiting = table.made(claim, &original(&dir));
        assert_eq!(
            waiting.iter().map(|waiting| waiting.entry.name.to_str().unwrap()).collect::<Vec<_>>(),
            ["2"]
        );
    }

    #[test]
    fn a_file_with_one_name_needs_no_claim() {
        let folder = tempfile::tempdir().unwrap();
        let table = HardLinks::default();
        assert!(matches!(
            table.meet(&stat(folder.path(), 1), false, true, &dir(folder.path()), entry("1")),
            Met::Copy(_, None)
        ));
        assert!(table.lock().is_empty());
    }

    #[test]
    fn names_that_links_lead_to_are_never_all_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, stat, table) = (dir(folder.path()), stat(folder.path(), 1), HardLinks::default());
        let Met::Copy(_, Some(claim)) = table.meet(&stat, true, true, &dir, entry("1")) else {
            panic!("the first is copied")
        };
        assert!(table.made(claim, &original(&dir)).is_empty());
        for name in ["2", "3", "4"] {
            assert!(matches!(table.meet(&stat, true, true, &dir, entry(name)), Met::Link(..)));
        }
    }
}
