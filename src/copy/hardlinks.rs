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

use super::names::Admitted;
use crate::digest::Hash;
use crate::fs::{FileId, Stat};
use crate::tree::Dir;

/// The first name of a copy, which stands.
pub struct Original {
    /// Where.
    pub dir: Arc<Dir>,
    /// Its name there.
    pub name: OsString,
    /// The copy; nothing in a dry run.
    pub id: Option<FileId>,
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
    key: FileId,
    /// How many other names the source has.
    others: u64,
}

/// How the files of a directory can be met once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Under their names, which can be counted.
    ByNames,
    /// Also through symbolic links, of which there may be any number.
    ByLinks,
}

/// Whether the copy may be made under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRole {
    MayBeFirst,
    /// An earlier run began or finished the copy under another name.
    Further,
}

/// What to do with a name.
pub enum Turn {
    /// Copy the file, and tell what became of it if there is a claim.
    Copy(Admitted, Option<Claim>),
    /// Link it to this one.
    Link(Admitted, Arc<Original>),
    /// Nothing: it waits for the first name.
    Wait,
}

enum LinkState {
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
pub struct HardLinks(Mutex<HashMap<FileId, LinkState>>);

impl HardLinks {
    fn lock(&self) -> MutexGuard<'_, HashMap<FileId, LinkState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next step for a name whose file answered `stat`. A further name waits for the
    /// first one, or until [`unclaimed`](Self::unclaimed) gives that up.
    pub fn claim(
        &self,
        stat: &Stat,
        reach: Reach,
        role: NameRole,
        dir: &Arc<Dir>,
        entry: Admitted,
    ) -> Turn {
        let is_first = role == NameRole::MayBeFirst;
        let others = match reach {
            Reach::ByLinks => u64::MAX,
            Reach::ByNames => u64::from(stat.st_nlink as u32).saturating_sub(1),
        };
        if others == 0 {
            return Turn::Copy(entry, None);
        }
        let key = FileId::of(stat);
        match self.lock().entry(key) {
            Slot::Vacant(slot) if is_first => {
                slot.insert(LinkState::Making(Vec::new()));
                Turn::Copy(entry, Some(Claim { key, others }))
            }
            Slot::Vacant(slot) => {
                dir.hold();
                slot.insert(LinkState::Awaited(
                    vec![Waiting { dir: Arc::clone(dir), entry }],
                    others,
                ));
                Turn::Wait
            }
            Slot::Occupied(mut slot) => match slot.get_mut() {
                LinkState::Awaited(waiting, _) if is_first => {
                    let waiting = std::mem::take(waiting);
                    slot.insert(LinkState::Making(waiting));
                    Turn::Copy(entry, Some(Claim { key, others }))
                }
                LinkState::Making(waiting) | LinkState::Awaited(waiting, _) => {
                    dir.hold();
                    waiting.push(Waiting { dir: Arc::clone(dir), entry });
                    Turn::Wait
                }
                LinkState::Made { original, others_left } => {
                    let original = Arc::clone(original);
                    *others_left = others_left.saturating_sub(1);
                    // All names were seen, so that nobody will ask again.
                    if *others_left == 0 {
                        slot.remove();
                    }
                    Turn::Link(entry, original)
                }
            },
        }
    }

    /// The first name stands. The caller links those that waited for it.
    pub fn made(&self, Claim { key, others }: Claim, original: &Arc<Original>) -> Vec<Waiting> {
        let mut table = self.lock();
        let Some(LinkState::Making(waiting)) = table.remove(&key) else { return Vec::new() };
        let others_left = others.saturating_sub(waiting.len() as u64);
        if others_left > 0 {
            table.insert(key, LinkState::Made { original: Arc::clone(original), others_left });
        }
        waiting
    }

    /// The first name could not be made; the next one that waits has the claim now. The caller sees
    /// to it.
    pub fn failed(&self, claim: Claim) -> Option<(Waiting, Claim)> {
        let mut table = self.lock();
        if let Some(LinkState::Making(waiting)) = table.get_mut(&claim.key)
            && let Some(next) = waiting.pop()
        {
            let others = claim.others.saturating_sub(1);
            return Some((next, Claim { others, ..claim }));
        }
        table.remove(&claim.key);
        None
    }

    /// Of each source whose first name was never met, the name that is to be the first instead. The
    /// caller sees to it.
    pub fn unclaimed(&self) -> Vec<(Waiting, Claim)> {
        let mut found = Vec::new();
        for (&key, state) in self.lock().iter_mut() {
            if let LinkState::Awaited(waiting, others) = state
                && let Some(next) = waiting.pop()
            {
                found.push((next, Claim { key, others: *others }));
                *state = LinkState::Making(std::mem::take(waiting));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs;
    use crate::tree::{Entry, EntryKind, Folder, OpenDirs};
    use std::fs::File;

    fn dir(folder: &std::path::Path) -> Arc<Dir> {
        let side = || Folder { file: File::open(folder).unwrap().into(), path: folder.to_owned() };
        Arc::clone(Dir::root(side(), side(), &OpenDirs::new(1)).unwrap().dir())
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
            id: None,
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
        let Turn::Copy(_, Some(claim)) =
            table.claim(&stat, Reach::ByNames, NameRole::MayBeFirst, &dir, entry("1"))
        else {
            panic!("the first is copied")
        };
        assert!(matches!(
            table.claim(&stat, Reach::ByNames, NameRole::MayBeFirst, &dir, entry("2")),
            Turn::Wait
        ));
        let waiting = table.made(claim, &original(&dir));
        assert_eq!(
            waiting.iter().map(|waiting| waiting.entry.name.to_str().unwrap()).collect::<Vec<_>>(),
            ["2"]
        );
        assert!(!dir.release(), "a name that waits holds its directory");
        for name in ["3", "4"] {
            assert!(matches!(
                table.claim(&stat, Reach::ByNames, NameRole::MayBeFirst, &dir, entry(name)),
                Turn::Link(..)
            ));
        }
        assert!(table.lock().is_empty());
        assert!(dir.release(), "and a name that is linked at once does not");
    }

    #[test]
    fn the_next_name_takes_over_from_one_that_failed() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, stat, table) = (dir(folder.path()), stat(folder.path(), 3), HardLinks::default());
        let Turn::Copy(_, Some(claim)) =
            table.claim(&stat, Reach::ByNames, NameRole::MayBeFirst, &dir, entry("1"))
        else {
            panic!("the first is copied")
        };
        for name in ["2", "3"] {
            assert!(matches!(
                table.claim(&stat, Reach::ByNames, NameRole::MayBeFirst, &dir, entry(name)),
                Turn::Wait
            ));
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
            assert!(matches!(
                table.claim(&stat, Reach::ByNames, NameRole::Further, &dir, entry(name)),
                Turn::Wait
            ));
        }
        let Turn::Copy(first, Some(claim)) =
            table.claim(&stat, Reach::ByNames, NameRole::MayBeFirst, &dir, entry("1"))
        else {
            panic!("the first is copied")
        };
        assert_eq!(first.name, "1");
        assert!(matches!(
            table.claim(&stat, Reach::ByNames, NameRole::Further, &dir, entry("4")),
            Turn::Wait
        ));
        assert!(table.unclaimed().is_empty());
        assert_eq!(table.made(claim, &original(&dir)).len(), 3);
        assert!(table.lock().is_empty());
    }

    #[test]
    fn if_the_first_name_does_not_come_another_one_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, stat, table) = (dir(folder.path()), stat(folder.path(), 3), HardLinks::default());
        for name in ["2", "3"] {
            assert!(matches!(
                table.claim(&stat, Reach::ByNames, NameRole::Further, &dir, entry(name)),
                Turn::Wait
            ));
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
            table.claim(
                &stat(folder.path(), 1),
                Reach::ByNames,
                NameRole::MayBeFirst,
                &dir(folder.path()),
                entry("1")
            ),
            Turn::Copy(_, None)
        ));
        assert!(table.lock().is_empty());
    }

    #[test]
    fn names_that_links_lead_to_are_never_all_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, stat, table) = (dir(folder.path()), stat(folder.path(), 1), HardLinks::default());
        let Turn::Copy(_, Some(claim)) =
            table.claim(&stat, Reach::ByLinks, NameRole::MayBeFirst, &dir, entry("1"))
        else {
            panic!("the first is copied")
        };
        assert!(table.made(claim, &original(&dir)).is_empty());
        for name in ["2", "3", "4"] {
            assert!(matches!(
                table.claim(&stat, Reach::ByLinks, NameRole::MayBeFirst, &dir, entry(name)),
                Turn::Link(..)
            ));
        }
    }
}
