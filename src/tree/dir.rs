//! A directory of the source and its counterpart in the destination.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustix::fs::OFlags;

use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, Stat};

/// How a directory is reached when it has to be opened again.
pub enum Place {
    /// The folders that hold the user's operand and its copy. They are not copied themselves.
    Root {
        /// How the user wrote the source's folder; empty for the working directory.
        source: PathBuf,
        /// The same for the destination's.
        target: PathBuf,
    },
    /// A directory that is copied.
    Child {
        /// Its name in the source.
        source_name: OsString,
        /// That is a symbolic link to it.
        followed: bool,
        /// Its name in the destination.
        target_name: OsString,
    },
}

/// The two directories as stat tells them from all others: device and inode of each.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity([(u64, u64); 2]);

impl Identity {
    fn of(source: impl AsFd, target: impl AsFd) -> io::Result<Self> {
        Ok(Self::by(&fs::stat(source)?, &fs::stat(target)?))
    }

    fn by(source: &Stat, target: &Stat) -> Self {
        Self([(source.st_dev, source.st_ino), (target.st_dev, target.st_ino)])
    }
}

/// How a directory came by its counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counterpart {
    /// It was there.
    Found,
    /// The copy made it.
    Made,
    /// The copy would make it. In its place stands the next directory above that is there.
    Planned,
}

/// A directory of the source and its counterpart. Everything in them is reached through their two
/// descriptors, which [`open`](Self::open) gives; they are closed and opened again as their number
/// demands.
pub struct Dir {
    /// Whether the copy itself made the destination, so that nothing can stand in its way there.
    pub fresh: bool,
    /// Whether the destination is only planned, which is `fresh` too: nothing may be looked up or
    /// made in the descriptor that stands for it.
    pub planned: bool,
    /// What the source had when it was opened.
    pub stat: Stat,
    /// The same of the destination.
    pub target_stat: Stat,
    place: Place,
    parent: Option<Arc<Dir>>,
    identity: Identity,
    descriptors: Mutex<Option<Descriptors>>,
    open_dirs: Arc<OpenDirs>,
    /// Holds: the walker's, one a batch, one a child directory.
    pending: AtomicUsize,
}

type Descriptors = (Arc<OwnedFd>, Arc<OwnedFd>);

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

/// The directories that are kept open, the oldest of which is closed when there are too many.
pub struct OpenDirs {
    dirs_max: usize,
    dirs: Mutex<VecDeque<Weak<Dir>>>,
}

impl OpenDirs {
    /// Keeps `dirs_max` pairs open, at least one, beside those that are in use at the moment.
    pub fn new(dirs_max: usize) -> Arc<Self> {
        Arc::new(Self { dirs_max: dirs_max.max(1), dirs: Mutex::default() })
    }

    /// How many batches may wait for workers, so that their directories are still open by then:
    /// opening one again from far below the root takes as many steps as it is deep.
    pub fn batches_max(&self) -> usize {
        (self.dirs_max / 4).clamp(1, 64)
    }

    /// How many listings may be open at once, for the same reason.
    pub fn listings_max(&self) -> usize {
        (self.dirs_max / 4).clamp(2, 16)
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
    pub fn root(
        source: OwnedFd,
        target: OwnedFd,
        (source_path, target_path): (PathBuf, PathBuf),
        open_dirs: &Arc<OpenDirs>,
    ) -> io::Result<OpenDir> {
        let place = Place::Root { source: source_path, target: target_path };
        let stat = fs::stat(&source)?;
        Self::make(source, target, Counterpart::Found, stat, place, None, open_dirs)
    }

    /// A pair below `parent`, whose source answered `stat`, with one hold, the caller's; the parent
    /// is held for as long.
    pub fn child(
        parent: &Arc<Dir>,
        (source, source_name, followed): (OwnedFd, OsString, bool),
        (target, target_name): (OwnedFd, OsString),
        counterpart: Counterpart,
        stat: Stat,
    ) -> io::Result<OpenDir> {
        let place = Place::Child { source_name, followed, target_name };
        let child = Self::make(
            source,
            target,
            counterpart,
            stat,
            place,
            Some(Arc::clone(parent)),
            &parent.open_dirs,
        )?;
        parent.hold();
        Ok(child)
    }

    fn make(
        source: OwnedFd,
        target: OwnedFd,
        counterpart: Counterpart,
        stat: Stat,
        place: Place,
        parent: Option<Arc<Dir>>,
        open_dirs: &Arc<OpenDirs>,
    ) -> io::Result<OpenDir> {
        let target_stat = fs::stat(&target)?;
        let dir = Self {
            fresh: counterpart != Counterpart::Found,
            planned: counterpart == Counterpart::Planned,
            stat,
            target_stat,
            place,
            parent,
            identity: Identity::by(&stat, &target_stat),
            descriptors: Mutex::default(),
            open_dirs: Arc::clone(open_dirs),
            pending: AtomicUsize::new(1),
        };
        Ok(Arc::new(dir).keep(source, target))
    }

    fn descriptors(&self) -> MutexGuard<'_, Option<Descriptors>> {
        self.descriptors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes descriptors that were found to be its own.
    fn keep(self: &Arc<Self>, source: OwnedFd, target: OwnedFd) -> OpenDir {
        let (source, target) = (Arc::new(source), Arc::new(target));
        let before = self.descriptors().replace((Arc::clone(&source), Arc::clone(&target)));
        drop(before);
        self.open_dirs.add(self);
        OpenDir { dir: Arc::clone(self), source, target }
    }

    /// The directory, if it is open already.
    pub fn if_open(self: &Arc<Self>) -> Option<OpenDir> {
        let (source, target) = self.descriptors().clone()?;
        Some(OpenDir { dir: Arc::clone(self), source, target })
    }

    /// Opens the directory, unless it is open: beneath the next directory above that is. What is
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
        let (source, target) = match (&self.place, parent) {
            (Place::Child { source_name, followed, target_name }, Some(parent)) => {
                let open = if *followed { fs::open_dir_behind } else { fs::open_dir };
                let target = match self.planned {
                    true => parent.target.try_clone(),
                    false => fs::open_dir(&parent.target, target_name),
                };
                (open(&parent.source, source_name), target)
            }
            (Place::Root { source, target }, _) => {
                (fs::open_folder(source, OFlags::PATH), fs::open_folder(target, OFlags::RDONLY))
            }
            (Place::Child { .. }, None) => unreachable!("only a root has nothing above"),
        };
        let source = source.map_err(|cause| source_error(cause.into()))?;
        let target = target.map_err(|cause| target_error(cause.into()))?;
        let Identity([found_source, found_target]) =
            Identity::of(&source, &target).map_err(|cause| source_error(cause.into()))?;
        let Identity([known_source, known_target]) = self.identity;
        if found_source != known_source {
            return Err(source_error(Cause::Swapped));
        }
        if found_target != known_target {
            return Err(target_error(Cause::Swapped));
        }
        Ok(self.keep(source, target))
    }

    /// Opens the directory above through this one's `..`, if it is closed: so a long way up costs
    /// one step a level, where opening each from the root would cost the square. Where `..` is not
    /// what it was, nothing happens, and [`open`](Self::open) goes the long way.
    pub fn open_parent(open: &OpenDir) {
        let Some(parent) = &open.dir.parent else { return };
        if parent.parent.is_none() || parent.if_open().is_some() {
            return;
        }
        let target =
            if open.planned { open.target.try_clone() } else { fs::open_above(&open.target) };
        if let (Ok(source), Ok(target)) = (fs::open_above(&open.source), target)
            && Identity::of(&source, &target).is_ok_and(|found| found == parent.identity)
        {
            parent.keep(source, target);
        }
    }

    /// Those that it is kept open with.
    pub fn open_dirs(&self) -> &OpenDirs {
        &self.open_dirs
    }

    /// The devices of the source and of the destination.
    pub fn devices(&self) -> [u64; 2] {
        self.identity.0.map(|(device, _)| device)
    }

    /// Whether `stat` speaks of the destination.
    pub fn is_target(&self, stat: &Stat) -> bool {
        self.identity.0[1] == (stat.st_dev, stat.st_ino)
    }

    /// One more thing is to be done in this directory.
    pub fn hold(&self) {
        // Relaxed: whoever adds a hold has one.
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// One thing less is to be done; true if it was the last, and the directory can be finished.
    #[must_use]
    pub fn release(&self) -> bool {
        // AcqRel: everything done under the other holds happens before the finishing.
        self.pending.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The directory above, if it is part of the copy or an operand's folder.
    pub fn parent(&self) -> Option<&Arc<Dir>> {
        self.parent.as_ref()
    }

    /// The source's path of `name` in this directory.
    pub fn source_path(&self, name: &OsStr) -> PathBuf {
        self.path(name, |place| match place {
            Place::Root { source, .. } => source,
            Place::Child { source_name, .. } => Path::new(source_name),
        })
    }

    /// The destination's path of `name` in this directory.
    pub fn target_path(&self, name: &OsStr) -> PathBuf {
        self.path(name, |place| match place {
            Place::Root { target, .. } => target,
            Place::Child { target_name, .. } => Path::new(target_name),
        })
    }

    fn path<'a>(&'a self, name: &OsStr, part: impl Fn(&'a Place) -> &'a Path) -> PathBuf {
        let mut parts = Vec::new();
        let mut dir = Some(self);
        while let Some(here) = dir {
            parts.extend(
                Some(part(&here.place)).filter(|part| here.parent.is_none() || *part != "."),
            );
            dir = here.parent.as_deref();
        }
        let mut path: PathBuf = parts.into_iter().rev().collect();
        if !name.is_empty() {
            path.push(name);
        }
        path
    }
}

impl Drop for Dir {
    /// One after the other, since thousands of levels that drop each other would overflow the
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
        let paths = (folder.join("from"), folder.join("to"));
        Dir::root(open(&paths.0), open(&paths.1), paths, open_dirs).unwrap()
    }

    fn child(parent: &OpenDir, folder: &Path, name: &str) -> OpenDir {
        let (source, target) =
            (parent.source_path(OsStr::new(name)), parent.target_path(OsStr::new(name)));
        assert!(source.starts_with(folder));
        let stat = fs::stat(open(&source)).unwrap();
        Dir::child(
            parent.dir(),
            (open(&source), name.into(), false),
            (open(&target), name.into()),
            Counterpart::Made,
            stat,
        )
        .unwrap()
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
            let names = (
                (same(&dir.source), OsString::from("x"), false),
                (same(&dir.target), OsString::from("x")),
            );
            dir = Dir::child(dir.dir(), names.0, names.1, Counterpart::Made, dir.stat).unwrap();
        }
        drop(dir);
    }
}
