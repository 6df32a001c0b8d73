//! Names on filesystems that do not keep them as a journal would: what they lead to has to be
//! synced once more, and what they replace may not be gone before they are durable.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::sync::{Durable, Held, MANY, Unsynced};
use super::syncfs::Filesystem;
use crate::copy::resume::Records;
use crate::error::{Error, Operation};
use crate::fs::{self, Journal};
use crate::tree::{Dir, OpenDir};

/// A file that has its name.
pub struct Named {
    pub name: OsString,
    pub file: Arc<OwnedFd>,
}

/// Which new files have to have a name when they are synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedAhead {
    /// None of them.
    Nothing,
    /// Those that replace something.
    WhatReplaces,
    /// All.
    All,
}

impl Durable<'_> {
    /// Where a directory lies, if that keeps less than a journal does.
    fn unordered(&self, dir: &Dir) -> Option<Arc<Filesystem>> {
        if !self.options.sync || !self.filesystems.any_unordered() {
            return None;
        }
        let found = self.filesystems.find(dir.devices().target);
        found.filter(|filesystem| filesystem.journal != Journal::Ordered)
    }

    /// Whether a file that has no data of its own to be written becomes durable with its name, so
    /// that it need not be synced before.
    pub fn comes_with_name(&self, dir: &Dir) -> bool {
        let found = self.filesystems.find(dir.devices().target);
        found.is_some_and(|filesystem| filesystem.journal == Journal::Ordered)
    }

    /// Which new files of this directory have to have a name when they are synced.
    pub fn named_ahead(&self, dir: &Dir) -> NamedAhead {
        match self.unordered(dir).map(|filesystem| filesystem.journal) {
            Some(Journal::None) => NamedAhead::WhatReplaces,
            Some(Journal::Linked) => NamedAhead::All,
            _ => NamedAhead::Nothing,
        }
    }

    /// Whether so many files have to be synced once more when they have their names. Where that
    /// would be many in all, the whole filesystem is, at the end.
    pub fn owes_names(&self, dir: &Dir, count: usize) -> bool {
        let Some(filesystem) = self.unordered(dir) else { return false };
        if filesystem.journal.keeps_new_names() || count == 0 {
            return false;
        }
        let is_few = self.named.fetch_add(count, Ordering::Relaxed) + count < MANY;
        if !is_few {
            filesystem.is_owed.store(true, Ordering::Release);
        }
        is_few
    }

    /// Syncs files of a directory once more, now that they have their names: by this thread, since
    /// there is only an inode to write for each. The names whose sync failed come back.
    pub fn sync_named(&self, dir: &Dir, named: Vec<Named>) -> Vec<OsString> {
        let mut failed = Vec::new();
        for Named { name, file } in named {
            if let Some(Err(cause)) = self.pipeline.sync(vec![file]).pop() {
                self.events.fail(Error::new(Operation::Fsync, dir.target_path(&name), cause));
                failed.push(name);
            }
        }
        failed
    }

    /// Something is done in a directory that only a sync of the whole filesystem keeps.
    pub(super) fn owe(&self, dir: &Dir) {
        let filesystem = self.filesystems.find(dir.devices().target);
        filesystem.iter().for_each(|filesystem| filesystem.is_owed.store(true, Ordering::Release));
    }

    /// A link or a special file was made in a directory, which no fsync can be called for.
    pub fn made_special(&self, dir: &Dir) {
        let filesystem = match self.unordered(dir) {
            // The metadata of a directory is set after that of all in it, and becomes durable
            // with it. The folder that an operand goes into gets none.
            None if self.options.sync && dir.parent().is_none() => {
                self.filesystems.find(dir.devices().target)
            }
            filesystem => filesystem,
        };
        filesystem.iter().for_each(|filesystem| filesystem.is_owed.store(true, Ordering::Release));
    }

    /// Something got one more name in a directory.
    pub fn made_link(&self, dir: &Dir) {
        let filesystem = self.unordered(dir);
        let filesystem = filesystem.filter(|filesystem| !filesystem.journal.keeps_new_names());
        filesystem.iter().for_each(|filesystem| filesystem.is_owed.store(true, Ordering::Release));
    }

    /// Opens what stands at names that are about to be replaced, where it has to be held.
    pub fn reach_old<'n>(
        &self,
        dir: &OpenDir,
        names: impl Iterator<Item = &'n OsStr>,
    ) -> Vec<OwnedFd> {
        if dir.fresh || self.named_ahead(dir) != NamedAhead::WhatReplaces {
            return Vec::new();
        }
        // What cannot be reached cannot be held, which is no reason not to replace it.
        names.filter_map(|name| fs::open_path(&dir.target, name).ok()).collect()
    }

    /// Holds what was replaced in a directory, until that is synced.
    pub fn hold_old(&self, dir: &OpenDir, old: Vec<OwnedFd>) {
        if old.is_empty() {
            return;
        }
        // What may not be listed is not synced with others.
        let synced = match fs::is_path_only(&dir.target) {
            Ok(false) => None,
            Ok(true) => Some(self.sync_names(dir)),
            Err(cause) => Some(Err(cause)),
        };
        if let Some(synced) = synced {
            if let Err(cause) = synced {
                let path = dir.target_path(OsStr::new(""));
                self.events.fail(Error::new(Operation::FsyncDirectory, path, cause));
            }
            return;
        }
        let (target, dir) = (Arc::clone(&dir.target), Arc::clone(dir.dir()));
        let held = Held {
            dir: Unsynced { dir, target, unlisted: None, is_finished: false, trusts: None },
            old,
        };
        let is_much = {
            let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(held);
            all.len() >= self.unsynced_max
        };
        if is_much {
            self.let_old_go();
        }
    }

    /// Makes the names durable that replaced something, and lets go of that.
    pub fn let_old_go(&self) {
        if !self.filesystems.any_unordered() {
            return;
        }
        let held = std::mem::take(&mut *self.held.lock().unwrap_or_else(PoisonError::into_inner));
        let mut dirs: Vec<&Unsynced> = held.iter().map(|held| &held.dir).collect();
        dirs.sort_by_key(|unsynced| Arc::as_ptr(&unsynced.dir));
        dirs.dedup_by_key(|unsynced| Arc::as_ptr(&unsynced.dir));
        let files = dirs.iter().map(|unsynced| Arc::clone(&unsynced.target)).collect();
        for (unsynced, synced) in dirs.into_iter().zip(self.pipeline.sync(files)) {
            self.end_dir(unsynced, synced, &mut Records::default());
        }
        held.into_iter().for_each(|held| drop(held.old));
    }

    /// Makes durable what nothing did yet. To be called when everything is done.
    pub fn sync_rest(&self) {
        self.sync_all_dirs();
        // What that found durable is recorded now.
        self.sync_all_dirs();
        self.let_old_go();
        for filesystem in self.filesystems.take_owed() {
            if let Err(cause) = filesystem.sync_whole() {
                self.events.fail(Error::new(Operation::Syncfs, &filesystem.path, cause));
                // It is told once: the next run would hear nothing of it.
                self.resume.doubt_all();
            }
        }
    }
}
