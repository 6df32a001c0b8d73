//! Makes files durable, with the directories and the journal whose turn it is.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::syncfs::Filesystems;
use crate::copy::events::Events;
use crate::copy::metadata::MetadataCopier;
use crate::copy::options::Options;
use crate::copy::resume::{Due, Records, Resume, Trusts};
use crate::error::{Error, Operation};
use crate::fs::{self, NameSync, Stat};
use crate::pipeline::Pipeline;
use crate::tree::{Dir, OpenDir};

/// So many files at least are made durable by one call for the whole filesystem; for fewer, fsync
/// is less work in all.
pub(super) const MANY: usize = 16;

/// A directory whose names are not durable yet.
pub(super) struct Unsynced {
    pub dir: Arc<Dir>,
    pub target: Arc<OwnedFd>,
    /// How that is done where it may not be listed.
    pub unlisted: Option<NameSync>,
    /// Whether nothing more is to be done in it: all that is in it was gone through, and its
    /// metadata was kept.
    pub is_finished: bool,
    /// What is needed to record it, if there is a journal.
    pub trusts: Option<Trusts>,
}

/// What had names in a directory before, open so that the filesystem gives its blocks and its inode
/// to nothing else.
pub(super) struct Held {
    pub dir: Unsynced,
    pub old: Vec<OwnedFd>,
}

/// What makes the run's work durable.
pub struct Durable<'a> {
    pub(super) options: &'a Options,
    pub(super) events: &'a Events<'a>,
    pub(super) metadata: &'a MetadataCopier<'a>,
    pub(super) resume: &'a Resume<'a>,
    pub(super) pipeline: &'a Pipeline<'a>,
    pub(super) filesystems: Filesystems,
    /// Finished directories, with the descriptors to sync them.
    unsynced: Mutex<Vec<Unsynced>>,
    /// How many of them may wait; the worker that adds one more carries them out.
    pub(super) unsynced_max: usize,
    /// What was replaced where there is no journal, until the names that replaced it are durable.
    pub(super) held: Mutex<Vec<Held>>,
    /// How many files got a name that is not durable with their directory.
    pub(super) named: AtomicUsize,
    /// What the directories answered that a comparison mends.
    pub(super) times_before: Mutex<HashMap<PathBuf, Stat>>,
}

impl<'a> Durable<'a> {
    pub fn new(
        options: &'a Options,
        events: &'a Events<'a>,
        metadata: &'a MetadataCopier<'a>,
        resume: &'a Resume<'a>,
        pipeline: &'a Pipeline<'a>,
        unsynced_max: usize,
    ) -> Self {
        let (filesystems, unsynced) = (Filesystems::default(), Mutex::default());
        let (held, named) = (Mutex::default(), AtomicUsize::new(0));
        let times_before = Mutex::default();
        Self {
            options,
            events,
            metadata,
            resume,
            pipeline,
            filesystems,
            unsynced,
            unsynced_max,
            held,
            named,
            times_before,
        }
    }

    /// Takes note of a directory in which this run has written nothing yet.
    pub fn begin(&self, dir: &OpenDir) {
        if self.options.sync && !self.options.dry_run {
            self.filesystems.begin(dir);
            if self.resume.has_predecessor() {
                self.filesystems.owe_what_was_made(dir.devices().target);
            }
        }
    }

    /// Makes files in a directory durable, and with them the directories that wait for it and the
    /// journal, if it is time. Blocks until each has its answer, in the same order.
    pub fn sync(&self, dir: &Dir, files: Vec<Arc<OwnedFd>>) -> Vec<io::Result<()>> {
        self.sync_with_dirs(Some(dir), files)
    }

    /// Makes one file in a directory durable.
    pub fn sync_one(&self, dir: &Dir, file: Arc<OwnedFd>) -> io::Result<()> {
        self.sync(dir, vec![file]).into_iter().collect()
    }

    /// Makes a file durable that is mounted where it stands: what is done for all of its directory
    /// does not reach it.
    pub fn sync_mounted(&self, file: &Arc<OwnedFd>) -> io::Result<()> {
        if !self.options.sync {
            return Ok(());
        }
        self.pipeline.sync(vec![Arc::clone(file)]).into_iter().collect()
    }

    /// Makes the names in a directory durable, now.
    pub fn sync_names(&self, dir: &OpenDir) -> io::Result<()> {
        if self.options.sync { fs::sync_folder(&dir.target) } else { Ok(()) }
    }

    /// Makes the names of all finished directories durable.
    pub(super) fn sync_all_dirs(&self) {
        self.sync_with_dirs(None, Vec::new());
    }

    fn sync_with_dirs(&self, dir: Option<&Dir>, files: Vec<Arc<OwnedFd>>) -> Vec<io::Result<()>> {
        let count = files.len();
        if !self.options.sync {
            return files.iter().map(|_| Ok(())).collect();
        }
        let journal = self.resume.due(if count == 0 { Due::IfAny } else { Due::IfMuch });
        let dirs = std::mem::take(&mut *self.unsynced());
        let mut results = self.sync_files(dir, files, &dirs);
        // Between the files and the records of what became durable with them.
        let synced = journal.and_then(|journal| {
            self.pipeline
                .sync(vec![Arc::clone(journal.file())])
                .pop()
                .map(|synced| (journal, synced))
        });
        let mut records = Records::default();
        for (dir, synced) in dirs.iter().zip(results.drain(count..)) {
            self.end_dir(dir, synced, &mut records);
        }
        if let Some((journal, Err(cause))) = synced {
            self.events.fail(Error::new(Operation::FsyncJournal, journal.path(), cause));
        }
        self.resume.append(records);
        results
    }

    /// Syncs files, and then the directories that wait.
    fn sync_files(
        &self,
        dir: Option<&Dir>,
        mut files: Vec<Arc<OwnedFd>>,
        dirs: &[Unsynced],
    ) -> Vec<io::Result<()>> {
        // Few files may be mounted from elsewhere, each by itself.
        let at_once = files.is_empty() || files.len() >= MANY;
        files.extend(dirs.iter().map(|unsynced| Arc::clone(&unsynced.target)));
        let all = dir.into_iter().chain(dirs.iter().map(|unsynced| &*unsynced.dir));
        if at_once { self.sync_at_once(all, files) } else { self.pipeline.sync(files) }
    }

    /// Makes files durable that are in these directories, or are these directories: many on one
    /// filesystem by one call, others each by its own.
    fn sync_at_once<'d>(
        &self,
        mut dirs: impl Iterator<Item = &'d Dir>,
        files: Vec<Arc<OwnedFd>>,
    ) -> Vec<io::Result<()>> {
        let Some(first) = dirs.next().filter(|_| files.len() >= MANY) else {
            return self.pipeline.sync(files);
        };
        let device = first.devices().target;
        let is_done = dirs.all(|dir| dir.devices().target == device)
            && self.filesystems.sync(device).unwrap_or_else(|cause| {
                // It may be of others, or of nothing that fsync looks at.
                let path = first.target_path(OsStr::new(""));
                self.events.warn(Error::new(Operation::Syncfs, path, cause));
                false
            });
        if is_done { files.iter().map(|_| Ok(())).collect() } else { self.pipeline.sync(files) }
    }

    pub(super) fn end_dir(
        &self,
        unsynced: &Unsynced,
        synced: io::Result<()>,
        records: &mut Records,
    ) {
        let Unsynced { dir, target, is_finished, trusts, .. } = unsynced;
        match synced {
            Err(cause) => {
                let path = dir.target_path(OsStr::new(""));
                self.events.fail(Error::new(Operation::FsyncDirectory, path, cause));
            }
            Ok(()) => {
                if let Some(trusts) = trusts.filter(|_| *is_finished) {
                    self.resume.record_dir(dir, target, trusts, records);
                }
            }
        }
    }

    /// Has a directory's names made durable with the next files, or now if many wait.
    pub(super) fn sync_later(&self, mut unsynced: Unsynced) {
        if let Some(unlisted) = unsynced.unlisted.take() {
            let mut records = Records::default();
            self.end_dir(&unsynced, unlisted.sync(), &mut records);
            return self.resume.append(records);
        }
        let waiting = {
            let mut all = self.unsynced();
            all.push(unsynced);
            all.len()
        };
        if waiting >= self.unsynced_max {
            self.sync_all_dirs();
        }
    }

    fn unsynced(&self) -> MutexGuard<'_, Vec<Unsynced>> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
