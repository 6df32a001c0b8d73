//! Which source files have several names, and what became of the first that was met. It makes no
//! link itself.
//!
//! A file that is met again while its first name is in the making waits in the table, so that no
//! worker does: the worker that publishes the first name links the others to it. A first name that
//! fails hands its role to the next.
//!
//! Numbers that were met before do not make a file the same: it is what its [`Identity`] shows. Of
//! several files with one number each has a place in the table; a name that may be one of theirs,
//! and of which no more is known, is in doubt, and the caller looks at contents.
//!
//! The other names of a file may lie outside of what is copied, and with followed links there may
//! always be one more. Only the last files that were copied are kept in memory for them, the others
//! in the [`archive`].

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::archive::Archive;
use self::original::MadeFile;
pub use self::original::{Original, Place};
use super::names::Admitted;
use crate::fs::{FileId, Identity, Sameness, Seen, Stat};
use crate::tree::Dir;

mod archive;
mod original;

/// How many files are in memory of which the copy stands: some 3 MiB.
const RECENT_MAX: usize = 4096;

/// A name whose source was looked at.
pub struct FoundName {
    /// Where.
    pub dir: Arc<Dir>,
    /// What.
    pub entry: Admitted,
    /// The look at its source.
    pub source: Seen,
    /// What shows which file that is.
    pub identity: Identity,
    /// How many other names the source has.
    pub others: u64,
}

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
    /// Files of which the copy stands, or did when they came here, the oldest one first.
    recent: VecDeque<(FileId, Place)>,
    archive: Archive,
    /// The archive takes no more, so that all that follow stay in memory.
    is_archive_full: bool,
    /// Why a file did not come back from the archive.
    fault: Option<io::Error>,
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
        self.lock().claim(name, role, passed)
    }

    /// Takes the next step for a name that an earlier run finished. If it is the first that is met,
    /// it is the `original` of those that waited, which the caller links, before any other name of
    /// the file can come.
    pub fn finished(&self, name: FoundName, original: &Arc<Original>) -> (Turn, Vec<Waiting>) {
        let mut table = self.lock();
        match table.claim(name, NameRole::Finished, Place::default()) {
            Turn::Copy(entry, Some(claim)) => {
                (Turn::Copy(entry, None), table.made(claim, original))
            }
            turn => (turn, Vec::new()),
        }
    }

    /// A name was found whose copy stands, and nothing is to be done about. Others are linked to it
    /// unless they have a copy of their own: the caller ends the claim with [`made`](Self::made).
    pub fn stands(&self, name: FoundName) -> Option<(Admitted, Claim)> {
        let (id, others) = (name.identity.id(), name.others);
        let mut table = self.lock();
        table.recall(id);
        let files = table.files.entry(id).or_default();
        let turn = match find(files, &name.identity, Place::default()) {
            None => table.add(name, NameRole::Finished),
            Some((at, Certainty::Shown)) => {
                let file = &mut files[at];
                let LinkState::Awaited(waiting, _) = &mut file.state else { return None };
                file.state = LinkState::Making(std::mem::take(waiting));
                Turn::Copy(name.entry, Some(Claim { id, place: file.place, others }))
            }
            Some(_) => return None,
        };
        match turn {
            Turn::Copy(entry, Some(claim)) => Some((entry, claim)),
            _ => None,
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
        self.lock().made(claim, original)
    }

    /// A copy can have no more names: takes the next step for one that it should have had. The
    /// first such name is a copy of its own, to which the others are linked.
    pub fn full(&self, mut name: FoundName, full: &Arc<Original>) -> Turn {
        // How many names are on their way to the full copy is not known.
        name.others = u64::MAX;
        let mut table = self.lock();
        let files = table.files.entry(name.identity.id()).or_default();
        let is_full = |file: &&mut KnownFile| match &file.state {
            LinkState::Made { original, .. } => Arc::ptr_eq(original, full),
            LinkState::Awaited(..) | LinkState::Making(_) => false,
        };
        if let Some(file) = files.iter_mut().find(is_full) {
            file.state = LinkState::Making(Vec::new());
            let (id, place, others) = (name.identity.id(), file.place, name.others);
            return Turn::Copy(name.entry, Some(Claim { id, place, others }));
        }
        drop(table);
        self.claim(name, NameRole::MayBeFirst, Place::default())
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

    /// Why some names were copied that may be further ones, if that is so.
    pub fn take_fault(&self) -> Option<io::Error> {
        self.lock().fault.take()
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
    /// See [`HardLinks::claim`].
    fn claim(&mut self, name: FoundName, role: NameRole, passed: Place) -> Turn {
        let (id, others) = (name.identity.id(), name.others);
        if others == 0 {
            return Turn::Copy(name.entry, None);
        }
        self.recall(id);
        let files = self.files.entry(id).or_default();
        let Some((at, certainty)) = find(files, &name.identity, passed) else {
            return self.add(name, role);
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
                    self.remove(id, at);
                }
                Turn::Link(Box::new(name), original, certainty)
            }
        }
    }

    /// See [`HardLinks::made`].
    fn made(&mut self, claim: Claim, original: &Arc<Original>) -> Vec<Waiting> {
        let Some(file) = self.find(&claim) else { return Vec::new() };
        let LinkState::Making(waiting) = &mut file.state else { return Vec::new() };
        let waiting = std::mem::take(waiting);
        let seen = waiting.iter().filter(|waiting| waiting.certainty == Certainty::Shown).count();
        let others_left = claim.others.saturating_sub(seen as u64);
        file.state = LinkState::Made { original: Arc::clone(original), others_left };
        match others_left == 0 && seen == waiting.len() {
            true => self.forget(&claim),
            false => self.keep(claim.id, claim.place),
        }
        waiting
    }

    /// Counts a file of which the copy stands to the last ones. The first of them goes to the
    /// archive, unless all of its names came, or its copy is full and another one is being made.
    fn keep(&mut self, id: FileId, place: Place) {
        if self.is_archive_full {
            return;
        }
        self.recent.push_back((id, place));
        while self.recent.len() > RECENT_MAX
            && let Some((id, place)) = self.recent.pop_front()
        {
            let files = self.files.get(&id).into_iter().flatten();
            let Some((at, file)) = files.enumerate().find(|(_, file)| file.place == place) else {
                continue;
            };
            if let LinkState::Made { original, others_left } = &file.state {
                let (identity, original) = (file.identity, Arc::clone(original));
                let made = MadeFile { place, identity, original, others_left: *others_left };
                // Without room for a temporary file there may still be memory.
                self.is_archive_full = self.archive.put(&made).is_err();
                if self.is_archive_full {
                    return;
                }
                self.remove(id, at);
            }
        }
    }

    /// Takes the files with these numbers out of the archive.
    fn recall(&mut self, id: FileId) {
        match self.archive.take(id) {
            Ok(made) => {
                for MadeFile { place, identity, original, others_left } in made {
                    let state = LinkState::Made { original, others_left };
                    let id = identity.id();
                    self.files.entry(id).or_default().push(KnownFile { place, identity, state });
                    self.keep(id, place);
                }
            }
            // A name of which nothing is known is copied, and the caller asks why in the end.
            Err(error) => self.fault = Some(error),
        }
    }

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
mod tests;
