//! Which source files have several names, and what became of the first that was met. Pure: it makes
//! no link itself.
//!
//! A file that is met again while its first name is in the making waits in the table, so that no
//! worker does: whoever publishes the first name links the others to it. A first name that fails
//! hands its role to the next.
//!
//! Numbers that were met before do not make a file the same: it is what its [`Identity`] shows. Of
//! several files with one number each has a place in the table; a name that may be one of theirs,
//! and of which no more is known, is in doubt, and the caller looks at contents.

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::names::Admitted;
use crate::digest::Hash;
use crate::fs::{FileId, Identity, Sameness, Stat};
use crate::tree::Dir;

/// The first name of a copy, which stands.
pub struct Original {
    /// Where.
    pub dir: Arc<Dir>,
    /// Its name there.
    pub name: OsString,
    /// The copy; nothing in a dry run.
    pub copy: Option<Identity>,
    /// The copy's size.
    pub size_bytes: u64,
    /// The hash of its contents, if there is one.
    pub hash: Option<Hash>,
    /// Whether all of its metadata was kept.
    pub kept: bool,
}

/// A name whose source was looked at.
pub struct FoundName {
    /// Where.
    pub dir: Arc<Dir>,
    /// What.
    pub entry: Admitted,
    /// What its source answered.
    pub source: Stat,
    /// What shows which file that is.
    pub identity: Identity,
    /// How many other names the source has.
    pub others: u64,
}

/// The place of a file in the table; later files have greater ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(u64);

/// Whether a name is one of a file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certainty {
    Shown,
    /// It may be one of the file's that has this place.
    InDoubt(Place),
}

/// A name that waits for the first one. It counts as one hold on the directory.
pub struct Waiting {
    pub name: FoundName,
    pub certainty: Certainty,
}

/// The right and the duty to make the first name of a copy: it ends in [`HardLinks::made`] or
/// [`HardLinks::failed`].
#[must_use]
pub struct Claim {
    id: FileId,
    place: Place,
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

impl Reach {
    /// How many other names a source may have.
    pub fn others(self, stat: &Stat) -> u64 {
        match self {
            Self::ByLinks => u64::MAX,
            Self::ByNames => u64::from(stat.st_nlink as u32).saturating_sub(1),
        }
    }
}

/// Whether the copy may be made under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRole {
    MayBeFirst,
    /// An earlier run began or finished the copy under another name.
    Further,
    /// An earlier run finished it. In doubt it stays what it is.
    Finished,
}

/// What to do with a name.
pub enum Turn {
    /// Copy the file, and tell what became of it if there is a claim.
    Copy(Admitted, Option<Claim>),
    /// Link it to this one, in doubt if it has its contents.
    Link(Box<FoundName>, Arc<Original>, Certainty),
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

/// One of the files that have a number.
struct KnownFile {
    place: Place,
    identity: Identity,
    state: LinkState,
}

impl KnownFile {
    /// Another look at the first name, or one at another that is to be the first. What waits was
    /// compared with the look before.
    fn look_again(&mut self, identity: Identity, certainty: Certainty) {
        self.identity = identity;
        if certainty == Certainty::Shown {
            return;
        }
        if let LinkState::Making(waiting) | LinkState::Awaited(waiting, _) = &mut self.state {
            waiting.iter_mut().for_each(|waiting| waiting.certainty = certainty);
        }
    }
}

#[derive(Default)]
struct Table {
    files: HashMap<FileId, Vec<KnownFile>>,
    last: Place,
}

/// The table of files with several names.
#[derive(Default)]
pub struct HardLinks(Mutex<Table>);

impl HardLinks {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next step for a name, whose file is none of those in doubt up to the place
    /// `passed`. A further name waits for the first one, or until [`unclaimed`](Self::unclaimed)
    /// gives that up.
    pub fn claim(&self, name: FoundName, role: NameRole, passed: Place) -> Turn {
        let (id, others) = (name.identity.id(), name.others);
        if others == 0 {
            return Turn::Copy(name.entry, None);
        }
        let mut table = self.lock();
        let files = table.files.entry(id).or_default();
        let Some((at, certainty)) = find(files, &name.identity, passed) else {
            return table.add(name, role);
        };
        if role == NameRole::Finished && certainty != Certainty::Shown {
            return Turn::Copy(name.entry, None);
        }
        let file = &mut files[at];
        match &mut file.state {
            LinkState::Awaited(waiting, _) if role != NameRole::Further => {
                file.state = LinkState::Making(std::mem::take(waiting));
                file.look_again(name.identity, certainty);
                Turn::Copy(name.entry, Some(Claim { id, place: file.place, others }))
            }
            LinkState::Making(waiting) | LinkState::Awaited(waiting, _) => {
                name.dir.hold();
                waiting.push(Waiting { name, certainty });
                Turn::Wait
            }
            LinkState::Made { original, others_left } => {
                let original = Arc::clone(original);
                if certainty == Certainty::Shown {
                    *others_left = others_left.saturating_sub(1);
                }
                // All names were seen, so that nothing asks again.
                if *others_left == 0 {
                    table.remove(id, at);
                }
                Turn::Link(Box::new(name), original, certainty)
            }
        }
    }

    /// The source of a claim was opened once more. What waits for it is in doubt if that may be
    /// another file by now.
    pub fn opened_again(&self, claim: &Claim, identity: Identity) {
        if let Some(file) = self.lock().find(claim) {
            let certainty = match file.identity.compare(&identity) {
                Sameness::Same => Certainty::Shown,
                Sameness::Unclear | Sameness::Unlikely | Sameness::Different => {
                    Certainty::InDoubt(claim.place)
                }
            };
            file.look_again(identity, certainty);
        }
    }

    /// The first name stands. The caller links those that waited for it.
    pub fn made(&self, claim: Claim, original: &Arc<Original>) -> Vec<Waiting> {
        let mut table = self.lock();
        let Some(file) = table.find(&claim) else { return Vec::new() };
        let LinkState::Making(waiting) = &mut file.state else { return Vec::new() };
        let waiting = std::mem::take(waiting);
        let seen = waiting.iter().filter(|waiting| waiting.certainty == Certainty::Shown).count();
        let others_left = claim.others.saturating_sub(seen as u64);
        file.state = LinkState::Made { original: Arc::clone(original), others_left };
        if others_left == 0 && seen == waiting.len() {
            table.forget(&claim);
        }
        waiting
    }

    /// The first name could not be made; the next one that waits has the claim now. The caller sees
    /// to it.
    pub fn failed(&self, claim: Claim) -> Option<(Waiting, Claim)> {
        let mut table = self.lock();
        if let Some(file) = table.find(&claim)
            && let LinkState::Making(waiting) = &mut file.state
            && let Some(next) = waiting.pop()
        {
            file.look_again(next.name.identity, next.certainty);
            let others = claim.others.saturating_sub(1);
            return Some((next, Claim { others, ..claim }));
        }
        table.forget(&claim);
        None
    }

    /// Of each source whose first name was never met, the name that is to be the first instead. The
    /// caller sees to it.
    pub fn unclaimed(&self) -> Vec<(Waiting, Claim)> {
        let mut found = Vec::new();
        for (&id, files) in &mut self.lock().files {
            for file in files {
                if let LinkState::Awaited(waiting, others) = &mut file.state
                    && let Some(next) = waiting.pop()
                {
                    let (place, others) = (file.place, *others);
                    file.state = LinkState::Making(std::mem::take(waiting));
                    file.look_again(next.name.identity, next.certainty);
                    found.push((next, Claim { id, place, others }));
                }
            }
        }
        found
    }
}

/// The file of a name: the one that it is shown to be, or else the next after the place `passed`
/// that it may be.
fn find(files: &[KnownFile], name: &Identity, passed: Place) -> Option<(usize, Certainty)> {
    let mut in_doubt = None;
    for (at, KnownFile { place, identity, .. }) in files.iter().enumerate() {
        match identity.compare(name) {
            Sameness::Same => return Some((at, Certainty::Shown)),
            Sameness::Unclear if *place > passed && in_doubt.is_none() => {
                in_doubt = Some((at, Certainty::InDoubt(*place)));
            }
            Sameness::Unclear | Sameness::Unlikely | Sameness::Different => {}
        }
    }
    in_doubt
}

impl Table {
    /// Adds a file that is none of those with its number.
    fn add(&mut self, name: FoundName, role: NameRole) -> Turn {
        let FoundName { identity, others, .. } = name;
        let (id, place) = (identity.id(), Place(self.last.0 + 1));
        self.last = place;
        let (state, turn) = match role {
            NameRole::Further => {
                name.dir.hold();
                let certainty = Certainty::Shown;
                (LinkState::Awaited(vec![Waiting { name, certainty }], others), Turn::Wait)
            }
            NameRole::MayBeFirst | NameRole::Finished => {
                let claim = Claim { id, place, others };
                (LinkState::Making(Vec::new()), Turn::Copy(name.entry, Some(claim)))
            }
        };
        self.files.entry(id).or_default().push(KnownFile { place, identity, state });
        turn
    }

    fn find(&mut self, claim: &Claim) -> Option<&mut KnownFile> {
        self.files.get_mut(&claim.id)?.iter_mut().find(|file| file.place == claim.place)
    }

    fn forget(&mut self, claim: &Claim) {
        let files = self.files.get(&claim.id);
        let at = files.and_then(|files| files.iter().position(|file| file.place == claim.place));
        at.into_iter().for_each(|at| self.remove(claim.id, at));
    }

    fn remove(&mut self, id: FileId, at: usize) {
        if let Some(files) = self.files.get_mut(&id) {
            files.remove(at);
            if files.is_empty() {
                self.files.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::{self, Numbers};
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
            is_stream: false,
        })
    }

    fn original(dir: &Arc<Dir>) -> Arc<Original> {
        Arc::new(Original {
            dir: Arc::clone(dir),
            name: "1".into(),
            copy: None,
            size_bytes: 0,
            hash: None,
            kept: true,
        })
    }

    /// A file with `names` names, as it is found.
    fn file(folder: &std::path::Path, names: u32) -> (Stat, Identity) {
        let file = File::create(folder.join("1")).unwrap();
        for n in 2..=names {
            std::fs::hard_link(folder.join("1"), folder.join(n.to_string())).unwrap();
        }
        let stat = fs::stat(&file).unwrap();
        (stat, Identity::of(&file, &stat, fs::trust(&file).numbers))
    }

    /// What is to be done with one more name of a file.
    fn meet(
        table: &HardLinks,
        dir: &Arc<Dir>,
        (source, identity): (Stat, Identity),
        (reach, role): (Reach, NameRole),
        name: &str,
    ) -> Turn {
        let (dir, entry, others) = (Arc::clone(dir), entry(name), reach.others(&source));
        table.claim(FoundName { dir, entry, source, identity, others }, role, Place::default())
    }

    #[test]
    fn names_wait_for_the_first_and_the_last_one_empties_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, file, table) = (dir(folder.path()), file(folder.path(), 4), HardLinks::default());
        let Turn::Copy(_, Some(claim)) =
            meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), "1")
        else {
            panic!("the first is copied")
        };
        assert!(matches!(
            meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), "2"),
            Turn::Wait
        ));
        let waiting = table.made(claim, &original(&dir));
        assert_eq!(
            waiting
                .iter()
                .map(|waiting| waiting.name.entry.name.to_str().unwrap())
                .collect::<Vec<_>>(),
            ["2"]
        );
        assert!(!dir.release(), "a name that waits holds its directory");
        for name in ["3", "4"] {
            assert!(matches!(
                meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), name),
                Turn::Link(..)
            ));
        }
        assert!(table.lock().files.is_empty());
        assert!(dir.release(), "and a name that is linked at once does not");
    }

    #[test]
    fn the_next_name_takes_over_from_one_that_failed() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, file, table) = (dir(folder.path()), file(folder.path(), 3), HardLinks::default());
        let Turn::Copy(_, Some(claim)) =
            meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), "1")
        else {
            panic!("the first is copied")
        };
        for name in ["2", "3"] {
            assert!(matches!(
                meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), name),
                Turn::Wait
            ));
        }
        let (_, claim) = table.failed(claim).unwrap();
        let (_, claim) = table.failed(claim).unwrap();
        assert!(table.failed(claim).is_none());
        assert!(table.lock().files.is_empty());
    }

    #[test]
    fn other_names_wait_for_the_one_that_has_to_be_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, file, table) = (dir(folder.path()), file(folder.path(), 4), HardLinks::default());
        for name in ["2", "3"] {
            assert!(matches!(
                meet(&table, &dir, file, (Reach::ByNames, NameRole::Further), name),
                Turn::Wait
            ));
        }
        let Turn::Copy(first, Some(claim)) =
            meet(&table, &dir, file, (Reach::ByNames, NameRole::MayBeFirst), "1")
        else {
            panic!("the first is copied")
        };
        assert_eq!(first.name, "1");
        assert!(matches!(
            meet(&table, &dir, file, (Reach::ByNames, NameRole::Further), "4"),
            Turn::Wait
        ));
        assert!(table.unclaimed().is_empty());
        assert_eq!(table.made(claim, &original(&dir)).len(), 3);
        assert!(table.lock().files.is_empty());
    }

    #[test]
    fn if_the_first_name_does_not_come_another_one_is_copied() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, file, table) = (dir(folder.path()), file(folder.path(), 3), HardLinks::default());
        for name in ["2", "3"] {
            assert!(matches!(
                meet(&table, &dir, file, (Reach::ByNames, NameRole::Further), name),
                Turn::Wait
            ));
        }
        let (next, claim) = table.unclaimed().pop().unwrap();
        assert_eq!(next.name.entry.name, "3");
        assert!(table.unclaimed().is_empty());
        let waiting = table.made(claim, &original(&dir));
        assert_eq!(
            waiting
                .iter()
                .map(|waiting| waiting.name.entry.name.to_str().unwrap())
                .collect::<Vec<_>>(),
            ["2"]
        );
    }

    #[test]
    fn a_file_with_one_name_needs_no_claim() {
        let folder = tempfile::tempdir().unwrap();
        let table = HardLinks::default();
        assert!(matches!(
            meet(
                &table,
                &dir(folder.path()),
                file(folder.path(), 1),
                (Reach::ByNames, NameRole::MayBeFirst),
                "1"
            ),
            Turn::Copy(_, None)
        ));
        assert!(table.lock().files.is_empty());
    }

    #[test]
    fn names_that_links_lead_to_are_never_all_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, file, table) = (dir(folder.path()), file(folder.path(), 1), HardLinks::default());
        let Turn::Copy(_, Some(claim)) =
            meet(&table, &dir, file, (Reach::ByLinks, NameRole::MayBeFirst), "1")
        else {
            panic!("the first is copied")
        };
        assert!(table.made(claim, &original(&dir)).is_empty());
        for name in ["2", "3", "4"] {
            assert!(matches!(
                meet(&table, &dir, file, (Reach::ByLinks, NameRole::MayBeFirst), name),
                Turn::Link(..)
            ));
        }
    }

    /// Another file with the numbers of one, as a look finds it.
    fn another(folder: &std::path::Path, numbers: Numbers, contents: &str) -> (Stat, Identity) {
        std::fs::write(folder.join("other"), contents).unwrap();
        let other = File::open(folder.join("other")).unwrap();
        let (mut stat, one) = (fs::stat(&other).unwrap(), File::open(folder.join("1")).unwrap());
        let one = fs::stat(&one).unwrap();
        (stat.st_dev, stat.st_ino, stat.st_nlink) = (one.st_dev, one.st_ino, one.st_nlink);
        (stat.st_mtime, stat.st_mtime_nsec) = (one.st_mtime, one.st_mtime_nsec);
        (stat, Identity::of(&other, &stat, numbers))
    }

    const FIRST: (Reach, NameRole) = (Reach::ByNames, NameRole::MayBeFirst);

    #[test]
    fn another_file_with_the_number_of_one_is_copied_by_itself_and_has_its_own_names() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, file, table) = (dir(folder.path()), file(folder.path(), 2), HardLinks::default());
        let Turn::Copy(_, Some(first)) = meet(&table, &dir, file, FIRST, "1") else {
            panic!("the first is copied")
        };
        // Of the size, and with the time: the handle tells. Of another size: that does.
        for (numbers, contents) in [(Numbers::Own, ""), (Numbers::Fleeting, "longer")] {
            let other = another(folder.path(), numbers, contents);
            let Turn::Copy(_, Some(second)) = meet(&table, &dir, other, FIRST, "other") else {
                panic!("it is no name of the first")
            };
            assert!(matches!(meet(&table, &dir, other, FIRST, "its other"), Turn::Wait));
            let waiting = table.made(second, &original(&dir));
            assert_eq!(waiting[0].certainty == Certainty::Shown, numbers == Numbers::Own);
        }
        assert!(table.made(first, &original(&dir)).is_empty());
        assert!(matches!(meet(&table, &dir, file, FIRST, "2"), Turn::Link(.., Certainty::Shown)));
        let in_doubt = table.lock().files.values().map(Vec::len).sum::<usize>();
        assert_eq!(in_doubt, 1, "one name may yet come");
    }

    #[test]
    fn a_name_of_which_no_more_is_known_is_in_doubt_and_asks_for_the_next_place() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, file, table) = (dir(folder.path()), file(folder.path(), 3), HardLinks::default());
        let file = (file.0, file.1.without_proof());
        let Turn::Copy(_, Some(first)) = meet(&table, &dir, file, FIRST, "1") else {
            panic!("the first is copied")
        };
        let (stat, identity) = another(folder.path(), Numbers::Fleeting, "");
        let other = (stat, identity.without_proof());
        assert!(matches!(meet(&table, &dir, other, FIRST, "2"), Turn::Wait));
        let [Waiting { certainty: Certainty::InDoubt(place), .. }] =
            &table.made(first, &original(&dir))[..]
        else {
            panic!("it waits in doubt")
        };
        let Turn::Link(name, _, Certainty::InDoubt(again)) = meet(&table, &dir, other, FIRST, "2")
        else {
            panic!("contents have to be looked at")
        };
        assert_eq!(again, *place);
        let Turn::Copy(_, Some(second)) = table.claim(*name, NameRole::MayBeFirst, again) else {
            panic!("it was found to be none of the first")
        };
        assert!(table.failed(second).is_none());
        // What an earlier run finished needs no contents.
        let finished = (Reach::ByNames, NameRole::Finished);
        assert!(matches!(meet(&table, &dir, other, finished, "2"), Turn::Copy(_, None)));
    }
}
