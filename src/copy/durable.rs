//! What makes files and the names in directories durable.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::instead::Make;
use super::record::Records;
use super::worker::Run;
use crate::error::{Error, Operation};
use crate::fs::{Node, Stat};
use crate::tree::{Dir, Metadata, OpenDir};

/// So many files at least are made durable by one call for the whole filesystem; for fewer, fsync
/// is less work for everybody.
const MANY: usize = 16;

/// A directory whose names are not durable yet.
pub struct Unsynced {
    dir: Arc<Dir>,
    target: Arc<OwnedFd>,
    /// Whether nothing more is to be done in it: all that is in it was gone through, and its
    /// metadata was kept.
    is_finished: bool,
}

impl Run<'_> {
    /// Takes note of a directory in which nothing was written yet.
    pub fn begin_syncs(&self, dir: &OpenDir) {
        if self.options.sync && !self.options.dry_run {
            self.rounds.begin(dir.devices()[1], &dir.target);
        }
    }

    /// Makes files in a directory durable, and with them the directories that wait for it and the
    /// journal, if it is time.
    pub fn sync(&self, dir: &Dir, files: Vec<Arc<OwnedFd>>) -> Vec<io::Result<()>> {
        self.sync_with_dirs(Some(dir), files)
    }

    fn sync_with_dirs(
        &self,
        dir: Option<&Dir>,
        mut files: Vec<Arc<OwnedFd>>,
    ) -> Vec<io::Result<()>> {
        let count = files.len();
        if !self.options.sync {
            return files.iter().map(|_| Ok(())).collect();
        }
        let journal = self.journal_due(count == 0);
        let dirs =
            std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        files.extend(dirs.iter().map(|unsynced| Arc::clone(&unsynced.target)));
        let all = dir.into_iter().chain(dirs.iter().map(|unsynced| &*unsynced.dir));
        // Few files may be mounted from elsewhere, each by itself.
        let at_once = count == 0 || count >= MANY;
        let mut results =
            if at_once { self.sync_at_once(all, files) } else { self.pipeline.sync(files) };
        results.extend(
            self.pipeline.sync(journal.iter().map(|journal| Arc::clone(journal.file())).collect()),
        );
        let mut others = results.drain(count..);
        let mut records = Records::default();
        for (Unsynced { dir, target, is_finished }, result) in dirs.iter().zip(&mut others) {
            match result {
                // EINVAL: a filesystem on which directories cannot be synced, see fsync(2); there
                // is no more to be had.
                Err(cause) if cause.raw_os_error() != Some(libc::EINVAL) => {
                    self.fail(Error::new(
                        Operation::FsyncDirectory,
                        dir.target_path(OsStr::new("")),
                        cause,
                    ));
                }
                _ if *is_finished => self.record_dir(dir, target, &mut records),
                _ => {}
            }
        }
        if let (Some(journal), Some(Err(cause))) = (journal, others.next()) {
            self.fail(Error::new(Operation::FsyncJournal, journal.path(), cause));
        }
        drop(others);
        self.append(records);
        results
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
        let device = first.devices()[1];
        let is_done = dirs.all(|dir| dir.devices()[1] == device)
            && self.rounds.sync(device).unwrap_or_else(|cause| {
                // It may be of others, or of nothing that fsync looks at.
                self.warn(Error::new(Operation::Syncfs, first.target_path(OsStr::new("")), cause));
                false
            });
        if is_done { files.iter().map(|_| Ok(())).collect() } else { self.pipeline.sync(files) }
    }

    /// Makes the names of all finished directories durable.
    pub fn sync_all_dirs(&self) {
        self.sync_with_dirs(None, Vec::new());
    }

    /// Lets go of a directory; the last one to do so finishes it, and then lets go of its parent.
    pub fn release_dir(&self, mut dir: Arc<Dir>) {
        while dir.release() {
            let parent = dir.parent().map(Arc::clone);
            match dir.open() {
                Ok(open) => self.finish_dir(&open),
                Err(error) => self.fail(error),
            }
            match parent {
                Some(parent) => dir = parent,
                None => return,
            }
        }
    }

    /// Gives a directory its source's metadata, now that nothing more will change in it, and sees
    /// that its names become durable.
    fn finish_dir(&self, dir: &OpenDir) {
        // Its final mode may be one that does not let us look up from it.
        Dir::open_parent(dir);
        if self.options.dry_run {
            return;
        }
        // One that was not gone through to its end is left as it is, but for the names in it.
        let mut is_finished = !self.stop.is_requested();
        // A comparison leaves directories as they are, unless it made them.
        if self.options.make == Make::Nothing && !dir.fresh {
            self.leave_times(dir);
        } else if is_finished && dir.parent().is_some() {
            if self.is_finished_dir(dir) {
                return;
            }
            let (source, target) = (Node::open(&dir.source), Node::open(&dir.target));
            let nothing = OsStr::new("");
            let metadata = Metadata { source, stat: &dir.stat, target, existed: !dir.fresh };
            is_finished = self.keep_named(dir, nothing, nothing, &metadata);
        }
        if !self.options.sync {
            return;
        }
        let waiting = {
            let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
            unsynced.push(Unsynced {
                dir: Arc::clone(dir.dir()),
                target: Arc::clone(&dir.target),
                is_finished,
            });
            unsynced.len()
        };
        if waiting >= self.unsynced_max {
            self.sync_all_dirs();
        }
    }

    /// Something missing is to be copied into a directory, which keeps the times that it had.
    pub fn begin_mending(&self, dir: &Dir) {
        // The folder that an operand goes into is the user's, and no part of the comparison; what
        // was made has its source's.
        if dir.parent().is_some() && !dir.fresh {
            self.times().entry(identity(dir)).or_insert(dir.target_stat);
        }
    }

    /// Gives them back. Several operands may lead into one directory, so that they are remembered
    /// to the end.
    fn leave_times(&self, dir: &OpenDir) {
        let Some(before) = self.times().get(&identity(dir)).copied() else { return };
        let set = Node::open(&dir.target).set_times(&before);
        let error = |cause| Error::new(Operation::SetTimes, dir.target_path(OsStr::new("")), cause);
        set.unwrap_or_else(|cause| self.warn(error(cause)));
    }

    fn times(&self) -> MutexGuard<'_, HashMap<(u64, u64), Stat>> {
        self.times_before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn identity(dir: &Dir) -> (u64, u64) {
    (dir.target_stat.st_dev, dir.target_stat.st_ino)
}
