//! A directory of the source and its counterpart in the destination.

use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::fs::call::OFlags;

use super::known::Known;
use super::taken::TakenNames;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileId, Moment, Numbers, OpenedUp, Settled, Stat};

/// How a directory is reached when it has to be opened again.
enum Origin {
    /// The folders that hold the user's operand and its copy. They are not copied themselves.
    Root {
        /// The source's folder as the user wrote it; empty for the working directory.
        source: PathBuf,
        /// The destination's folder as the user wrote it; empty for the working directory.
        target: PathBuf,
    },
    /// A directory that is copied.
    Child {
        /// Its name in the source.
        source_name: OsString,
        /// The name is a symbolic link to the directory.
        followed: bool,
        /// Its name in the destination.
        target_name: OsString,
    },
}

/// An open directory and its path.
pub struct Folder {
    /// The directory.
    pub file: OwnedFd,
    /// Its path as the user would write it; empty for the working directory.
    pub path: PathBuf,
}

/// A directory of the source and its counterpart, just opened.
pub struct ChildPair {
    /// The directory of the source.
    pub source: OwnedFd,
    /// Its name there.
    pub source_name: OsString,
    /// The name is a symbolic link to the directory.
    pub followed: bool,
    /// It is on the way to an operand, and others may take the same way.
    pub on_the_way: bool,
    /// The source's answer to stat.
    pub stat: Stat,
    /// The counterpart, or the directory that stands in its place.
    pub target: Arc<OwnedFd>,
    /// Its name in the destination.
    pub target_name: OsString,
    /// Its answer to stat.
    pub target_stat: Stat,
    /// Its origin.
    pub counterpart: Counterpart,
}

/// The devices that hold a pair of directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Devices {
    /// The device of the source.
    pub source: u64,
    /// The device of the destination.
    pub target: u64,
}

/// The origin of a directory's counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counterpart {
    /// It was there before the copy.
    Found,
    /// The copy made it.
    Made,
    /// The copy would make it. The next directory above that exists stands in its place.
    Planned,
}

/// A directory of the source and its counterpart.
///
/// Everything in them is reached through their two descriptors, which [`open`](Self::open) gives.
/// The descriptors are closed and opened again as their number demands.
pub struct Dir {
    /// Whether the copy itself made the destination, so that nothing can stand in its way there.
    pub fresh: bool,
    /// Whether the destination is only planned, which makes it `fresh` too. Nothing may be looked
    /// up or made in the descriptor that stands for it.
    pub planned: bool,
    /// The source's answer to stat when it was opened.
    pub stat: Stat,
    /// What that look is worth.
    pub settled: Settled,
    /// The destination's answer to stat when it was opened.
    pub target_stat: Stat,
    origin: Origin,
    parent: Option<Arc<Dir>>,
    descriptors: Mutex<Option<Descriptors>>,
    open_dirs: Arc<OpenDirs>,
    /// Whether the destination's owner was given rights that it had not.
    opened_up: Mutex<Option<OpenedUp>>,
    /// Holds: the walker's, one a batch, one a child directory.
    pending: AtomicUsize,
    /// Whether several operands may take names in what it holds.
    on_the_way: bool,
    /// Whether several operands may take names in it.
    shared: bool,
    /// The names that the run has taken in the destination.
    taken: Arc<Mutex<TakenNames>>,
    pub(super) known: Known,
}

/// Whether two answers of stat have the same numbers.
fn has_numbers_of(one: &Stat, other: &Stat) -> bool {
    FileId::of(one) == FileId::of(other)
}

/// Whether a directory that is opened again, and answers `now`, is not the one that answered
/// `before`. Where numbers are made up, another number does not say so.
fn is_swapped(dir: &OwnedFd, now: &Stat, before: &Stat) -> bool {
    !has_numbers_of(now, before) && fs::trust(dir).numbers != Numbers::Fleeting
}

#[derive(Clone)]
struct Descriptors {
    source: Arc<OwnedFd>,
    target: Arc<OwnedFd>,
}

/// A [`Dir`] whose descriptors stay open while this lives.
#[derive(Clone)]
pub struct OpenDir {
    dir: Arc<Dir>,
    /// The source, open for listing; a root only for looking names up.
    pub source: Arc<OwnedFd>,
    /// The destination, shared with the fsync in flight.
    pub target: Arc<OwnedFd>,
}

impl OpenDir {
    /// The directory, open or not.
    pub fn dir(&self) -> &Arc<Dir> {
        &self.dir
    }
}

impl Deref for OpenDir {
    type Target = Dir;

    fn deref(&self) -> &Dir {
        &self.dir
    }
}

/// The directories that are kept open. The oldest is closed when there are too many.
pub struct OpenDirs {
    dirs_max: usize,
    dirs: Mutex<VecDeque<Weak<Dir>>>,
    /// The names that were taken in directories into which several operands may lead.
    taken: Mutex<HashMap<FileId, Arc<Mutex<TakenNames>>>>,
}

impl OpenDirs {
    /// Keeps `dirs_max` pairs open, at least one, beside those that are in use at the moment.
    pub fn new(dirs_max: usize) -> Arc<Self> {
        let dirs_max = dirs_max.max(1);
        Arc::new(Self { dirs_max, dirs: Mutex::default(), taken: Mutex::default() })
    }

    /// How many batches may wait for workers, so that their directories are still open by then.
    /// Opening a directory again takes as many steps as it is deep.
    pub fn batches_max(&self) -> usize {
        (self.dirs_max / 4).clamp(1, 64)
    }

    /// How many listings may be open at once, so that their directories are still open too.
    pub fn listings_max(&self) -> usize {
        (self.dirs_max / 4).clamp(2, 16)
    }

    fn taken(&self, target: &Stat) -> Arc<Mutex<TakenNames>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(taken.entry(FileId::of(target)).or_default())
    }

    fn add(&self, dir: &Arc<Dir>) {
        let oldest = {
            let mut dirs = self.dirs.lock().unwrap_or_else(PoisonError::into_inner);
            dirs.push_back(Arc::downgrade(dir));
            if dirs.len() > self.dirs_max { dirs.pop_front() } else { None }
        };
        // No lock is held while descriptors are closed: the last hold on the directory may be this
        // one.
        if let Some(oldest) = oldest.as_ref().and_then(Weak::upgrade) {
            let closed = oldest.descriptors().take();
            drop(closed);
        }
    }
}

impl Dir {
    /// The folders of an operand and of its copy, with one hold, the caller's.
    pub fn root(source: Folder, target: Folder, open_dirs: &Arc<OpenDirs>) -> io::Result<OpenDir> {
        let (stat, target_stat) = (fs::stat(&source.file)?, fs::stat(&target.file)?);
        let dir = Self {
            fresh: false,
            planned: false,
            stat,
            settled: Settled::NEVER,
            target_stat,
            origin: Origin::Root { source: source.path, target: target.path },
            parent: None,
            descriptors: Mutex::default(),
            open_dirs: Arc::clone(open_dirs),
            opened_up: Mutex::default(),
            pending: AtomicUsize::new(1),
            on_the_way: true,
            shared: true,
            taken: open_dirs.taken(&target_stat),
            known: Known::default(),
        };
        Ok(Arc::new(dir).keep(source.file, Arc::new(target.file)))
    }

    /// A pair below `parent`, with one hold, the caller's. The parent is held for as long.
    pub fn child(parent: &Arc<Dir>, pair: ChildPair) -> OpenDir {
        let ChildPair { source, source_name, followed, on_the_way, .. } = pair;
        let ChildPair { stat, target, target_name, target_stat, counterpart, .. } = pair;
        let settled = Settled::at(&stat, Moment::now(), || fs::clock_of(&source));
        let known = Known::default();
        // What was just made folds names as what it was made in.
        if counterpart == Counterpart::Made
            && target_stat.st_dev == parent.target_stat.st_dev
            && let Some(&folds) = parent.known.folds.get()
        {
            known.folds.get_or_init(|| folds);
        }
        let shared = parent.on_the_way && !parent.is_of_one_name();
        let taken = match shared {
            true => parent.open_dirs.taken(&target_stat),
            false => Arc::default(),
        };
        let dir = Self {
            fresh: counterpart != Counterpart::Found,
            planned: counterpart == Counterpart::Planned,
            stat,
            settled,
            target_stat,
            origin: Origin::Child { source_name, followed, target_name },
            parent: Some(Arc::clone(parent)),
            descriptors: Mutex::default(),
            open_dirs: Arc::clone(&parent.open_dirs),
            opened_up: Mutex::default(),
            pending: AtomicUsize::new(1),
            on_the_way: on_the_way && shared,
            shared,
            taken,
            known,
        };
        let child = Arc::new(dir).keep(source, target);
        parent.hold();
        child
    }

    fn descriptors(&self) -> MutexGuard<'_, Option<Descriptors>> {
        self.descriptors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names that the run has taken in the destination.
    pub(super) fn taken(&self) -> &Mutex<TakenNames> {
        &self.taken
    }

    /// Whether several operands may take names here.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Whether the names that are taken here are remembered. Where the run made the directory, what
    /// has a name there has it from this run, and from this operand if no other leads there.
    pub fn remembers_names(&self) -> bool {
        !self.fresh || self.shared
    }

    /// A single operand takes a single name in its folder, which cannot clash.
    pub fn takes_one_name(&self) {
        self.known.one_name.get_or_init(|| ());
    }

    /// Whether it does so.
    pub(super) fn is_of_one_name(&self) -> bool {
        self.known.one_name.get().is_some()
    }

    /// Takes descriptors that were found to be its own.
    fn keep(self: &Arc<Self>, source: OwnedFd, target: Arc<OwnedFd>) -> OpenDir {
        let source = Arc::new(source);
        let kept = Descriptors { source: Arc::clone(&source), target: Arc::clone(&target) };
        let before = self.descriptors().replace(kept);
        drop(before);
        self.open_dirs.add(self);
        OpenDir { dir: Arc::clone(self), source, target }
    }

    /// The directory, if it is open already.
    pub fn if_open(self: &Arc<Self>) -> Option<OpenDir> {
        let Descriptors { source, target } = self.descriptors().clone()?;
        Some(OpenDir { dir: Arc::clone(self), source, target })
    }

    /// Opens the directory, unless it is open, beneath the next directory above that is. What is
    /// found must be what was there the first time.
    pub fn open(self: &Arc<Self>) -> Result<OpenDir> {
        let mut closed: Vec<&Arc<Dir>> = Vec::new();
        let mut dir = self;
        let mut open = loop {
            if let Some(open) = dir.if_open() {
                break open;
            }
            match &dir.parent {
                Some(parent) => {
                    closed.push(dir);
                    dir = parent;
                }
                None => break dir.open_again(None)?,
            }
        };
        while let Some(dir) = closed.pop() {
            open = dir.open_again(Some(&open))?;
        }
        Ok(open)
    }

    fn open_again(self: &Arc<Self>, parent: Option<&OpenDir>) -> Result<OpenDir> {
        let nothing = OsStr::new("");
        let source_error =
            |cause: Cause| Error::new(Operation::OpenDirectory, self.source_path(nothing), cause);
        let target_error =
            |cause: Cause| Error::new(Operation::OpenDirectory, self.target_path(nothing), cause);
        let (source, target) = match (&self.origin, parent) {
            (Origin::Child { source_name, followed, target_name }, Some(parent)) => {
                let open = if *followed { fs::open_dir_behind } else { fs::open_dir };
                let target = match self.planned {
                    true => Ok(Arc::clone(&parent.target)),
                    false => fs::open_dir_to_fill(&parent.target, target_name).map(Arc::new),
                };
                (open(&parent.source, source_name), target)
            }
            (Origin::Root { source, target }, _) => (
                fs::open_folder(source, OFlags::PATH),
                fs::open_folder_to_fill(target).map(Arc::new),
            ),
            (Origin::Child { .. }, None) => unreachable!("only a root has nothing above"),
        };
        let source = source.map_err(|cause| source_error(cause.into()))?;
        let target = target.map_err(|cause| target_error(cause.into()))?;
        let found = fs::stat(&source).map_err(|cause| source_error(cause.into()))?;
        let found_target = fs::stat(&target).map_err(|cause| target_error(cause.into()))?;
        if is_swapped(&source, &found, &self.stat) {
            return Err(source_error(Cause::Swapped));
        }
        if is_swapped(&target, &found_target, &self.target_stat) {
            return Err(target_error(Cause::Swapped));
        }
        Ok(self.keep(source, target))
    }

    /// Opens the directory above through this one's `..`, if it is closed.
    ///
    /// A long way up costs one step a level; opening each from the root would cost the square.
    /// Where `..` is not what it was, nothing happens, and [`open`](Self::open) goes the long way.
    pub fn open_parent(open: &OpenDir) {
        let Some(parent) = &open.dir.parent else { return };
        if parent.parent.is_none() || parent.if_open().is_some() {
            return;
        }
        let target = match open.planned {
            true => Ok(Arc::clone(&open.target)),
            false => fs::open_above(&open.target).map(Arc::new),
        };
        if let (Ok(source), Ok(target)) = (fs::open_above(&open.source), target)
            && fs::stat(&source).is_ok_and(|stat| has_numbers_of(&stat, &parent.stat))
            && fs::stat(&target).is_ok_and(|stat| has_numbers_of(&stat, &parent.target_stat))
        {
            parent.keep(source, target);
        }
    }

    /// The directories that it is kept open with.
    pub fn open_dirs(&self) -> &Arc<OpenDirs> {
        &self.open_dirs
    }

    /// The devices of the source and of the destination.
    pub fn devices(&self) -> Devices {
        Devices { source: self.stat.st_dev, target: self.target_stat.st_dev }
    }

    /// Whether the destination's owner was given rights for the time of the work.
    pub fn is_opened_up(&self) -> bool {
        self.opened_up().is_some()
    }

    /// Its mode was set again.
    pub fn close_up(&self) {
        *self.opened_up() = None;
    }

    pub(super) fn opened_up(&self) -> MutexGuard<'_, Option<OpenedUp>> {
        self.opened_up.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more thing to be done in this directory.
    pub fn hold(&self) {
        // Relaxed: the caller has a hold already.
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one thing as done; true if it was the last, and the directory can be finished.
    #[must_use]
    pub fn release(&self) -> bool {
        // AcqRel: everything done under the other holds happens before the finishing.
        self.pending.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The directory above, if it is part of the copy or an operand's folder.
    pub fn parent(&self) -> Option<&Arc<Dir>> {
        self.parent.as_ref()
    }

    /// The source's path of `name` in this directory; that of the directory without a name.
    pub fn source_path(&self, name: &OsStr) -> PathBuf {
        self.path(name, |origin| match origin {
            Origin::Root { source, .. } => source,
            Origin::Child { source_name, .. } => Path::new(source_name),
        })
    }

    /// The destination's path of `name` in this directory; that of the directory without a name.
    pub fn target_path(&self, name: &OsStr) -> PathBuf {
        self.path(name, |origin| match origin {
            Origin::Root { target, .. } => target,
            Origin::Child { target_name, .. } => Path::new(target_name),
        })
    }

    fn path<'a>(&'a self, name: &OsStr, part: impl Fn(&'a Origin) -> &'a Path) -> PathBuf {
        let (mut parts, mut len_bytes) = (Vec::with_capacity(8), name.len());
        let mut dir = Some(self);
        while let Some(here) = dir {
            let here_part = part(&here.origin).as_os_str();
            if here.parent.is_none() || here_part != "." {
                parts.push(here_part);
                len_bytes += here_part.len() + 1;
            }
            dir = here.parent.as_deref();
        }
        let mut path = PathBuf::with_capacity(len_bytes);
        path.extend(parts.into_iter().rev());
        if !name.is_empty() && name != "." {
            path.push(name);
        }
        // The working directory.
        if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
    }
}

impl Drop for Dir {
    /// Drops the levels one after the other: thousands that drop each other would overflow the
    /// stack.
    fn drop(&mut self) {
        let mut parent = self.parent.take();
        while let Some(mut dir) = parent.and_then(Arc::into_inner) {
            parent = dir.parent.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, create_dir, create_dir_all, rename};

    fn open(path: &Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    fn root(folder: &Path, open_dirs: &Arc<OpenDirs>) -> OpenDir {
        let side = |name| {
            let path = folder.join(name);
            Folder { file: open(&path), path }
        };
        Dir::root(side("from"), side("to"), open_dirs).unwrap()
    }

    fn pair(name: &str, source: OwnedFd, target: OwnedFd) -> ChildPair {
        ChildPair {
            stat: fs::stat(&source).unwrap(),
            source,
            source_name: name.into(),
            followed: false,
            target_stat: fs::stat(&target).unwrap(),
            on_the_way: false,
            target: Arc::new(target),
            target_name: name.into(),
            counterpart: Counterpart::Made,
        }
    }

    fn child(parent: &OpenDir, folder: &Path, name: &str) -> OpenDir {
        let (source, target) =
            (parent.source_path(OsStr::new(name)), parent.target_path(OsStr::new(name)));
        assert!(source.starts_with(folder));
        Dir::child(parent.dir(), pair(name, open(&source), open(&target)))
    }

    #[test]
    fn a_closed_directory_is_opened_again_if_it_is_still_the_same() {
        let folder = tempfile::tempdir().unwrap();
        for side in ["from", "to"] {
            create_dir_all(folder.path().join(side).join("a/b/c")).unwrap();
        }
        let open_dirs = OpenDirs::new(1);
        let root = root(folder.path(), &open_dirs);
        let a = child(&root, folder.path(), "a");
        let b = child(&a, folder.path(), "b");
        let c = child(&b, folder.path(), "c");
        let [a, b] = [a, b].map(|open| Arc::clone(open.dir()));
        assert!(
            a.if_open().is_none() && b.if_open().is_none() && c.dir().if_open().is_some(),
            "one is kept open"
        );
        // The way up, and the way down from the root.
        Dir::open_parent(&c);
        assert!(b.if_open().is_some());
        let c = Arc::clone(c.dir());
        assert!(a.open().is_ok() && c.open().is_ok());
        for (side, text) in [("to", "/to/a/b'"), ("from", "/from/a/b'")] {
            assert!(a.open().is_ok(), "so that the others are closed");
            let at = |name: &str| folder.path().join(side).join(name);
            rename(at("a/b"), at("away")).unwrap();
            create_dir(at("a/b")).unwrap();
            create_dir(at("a/b/c")).unwrap();
            let error = c.open().err().unwrap().to_string();
            assert!(
                error.contains(text) && error.ends_with(&Cause::Swapped.to_string()),
                "{error}"
            );
            assert!(b.open().is_err());
        }
    }

    #[test]
    fn a_chain_of_any_length_is_dropped_without_recursion() {
        let folder = tempfile::tempdir().unwrap();
        for side in ["from", "to"] {
            create_dir(folder.path().join(side)).unwrap();
        }
        let open_dirs = OpenDirs::new(1);
        let mut dir = root(folder.path(), &open_dirs);
        for _ in 0..100_000 {
            let same = |fd: &Arc<OwnedFd>| fd.try_clone().unwrap();
            dir = Dir::child(dir.dir(), pair("x", same(&dir.source), same(&dir.target)));
        }
        drop(dir);
    }
}
