//! What this run made and could overwrite itself.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fs::{FileId, Stat};

/// The files that were made and could be overwritten: operands' copies by a later operand, and
/// those that have a name as backups have by a backup.
#[derive(Default)]
pub struct MadeFiles {
    files: Mutex<HashSet<FileId>>,
    /// The files of which backups were made.
    backed_up: Mutex<HashSet<FileId>>,
    /// Held while a backup is made and a copy gets its name, if there are backups: what stands
    /// there is looked at first.
    turn: Mutex<()>,
    /// The names of those that a dry run would make.
    planned: Mutex<HashSet<PathBuf>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MadeFiles {
    pub fn add(&self, stat: &Stat) {
        lock(&self.files).insert(FileId::of(stat));
    }

    pub fn has(&self, stat: &Stat) -> bool {
        lock(&self.files).contains(&FileId::of(stat))
    }

    /// Remembers a file that has a backup's name now.
    pub fn back_up(&self, stat: &Stat) {
        lock(&self.backed_up).insert(FileId::of(stat));
    }

    pub fn has_backed_up(&self, stat: &Stat) -> bool {
        lock(&self.backed_up).contains(&FileId::of(stat))
    }

    /// The right to make a backup and to take its name, until it is dropped.
    pub fn turn(&self) -> MutexGuard<'_, ()> {
        lock(&self.turn)
    }

    /// False if the name is planned already.
    pub fn plan(&self, path: PathBuf) -> bool {
        lock(&self.planned).insert(path)
    }
}
