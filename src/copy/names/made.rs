//! What this run made and could overwrite itself.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fs::{self, FileId, Name, Sameness, Stat};
use crate::tree::{Dir, OpenDir};

/// Where a file was when it was remembered.
type Place = (Arc<Dir>, OsString);

/// Files by their numbers, and where they are: numbers alone do not say that a file is one of them.
#[derive(Default)]
pub struct Files(Mutex<HashMap<FileId, Vec<Place>>>);

impl Files {
    fn add(&self, dir: &OpenDir, name: &OsStr, stat: &Stat) {
        let place = (Arc::clone(dir.dir()), name.to_owned());
        let mut files = lock(&self.0);
        let places = files.entry(FileId::of(stat)).or_default();
        if !places.iter().any(|(known, name)| Arc::ptr_eq(known, &place.0) && *name == place.1) {
            places.push(place);
        }
    }

    /// Adds what answered `stat`, unless it is one of them. False if it is.
    pub fn claim(&self, dir: &OpenDir, name: &OsStr, stat: &Stat) -> bool {
        let is_known = match lock(&self.0).entry(FileId::of(stat)) {
            Entry::Occupied(_) => true,
            Entry::Vacant(place) => {
                place.insert(vec![(Arc::clone(dir.dir()), name.to_owned())]);
                false
            }
        };
        if is_known && self.has(dir, name, stat) {
            return false;
        }
        if is_known {
            self.add(dir, name, stat);
        }
        true
    }

    /// Whether what answered `stat` is one of them. If that cannot be found out it is: what is
    /// refused for it is not lost.
    fn has(&self, dir: &OpenDir, name: &OsStr, stat: &Stat) -> bool {
        let Some(places) = lock(&self.0).get(&FileId::of(stat)).cloned() else { return false };
        let here = Name { dir: &dir.target, name, is_followed: false };
        places.iter().any(|(dir, name)| {
            let sameness = dir.open().ok().map(|open| {
                fs::compare_names(Name { dir: &open.target, name, is_followed: false }, here)
            });
            !matches!(sameness, Some(Ok(Sameness::Different)))
        })
    }
}

/// The files that were made and could be overwritten: operands' copies by a later operand, and
/// those that have a name as backups have by a backup.
#[derive(Default)]
pub struct MadeFiles {
    files: Files,
    /// The files of which backups were made.
    backed_up: Files,
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
    /// Remembers a copy that has this name now.
    pub fn add(&self, dir: &OpenDir, name: &OsStr, stat: &Stat) {
        self.files.add(dir, name, stat);
    }

    /// Whether what has a name is such a copy.
    pub fn has(&self, dir: &OpenDir, name: &OsStr, stat: &Stat) -> bool {
        self.files.has(dir, name, stat)
    }

    /// Remembers a file that has this name now, which is a backup's.
    pub fn back_up(&self, dir: &OpenDir, name: &OsStr, stat: &Stat) {
        self.backed_up.add(dir, name, stat);
    }

    /// Whether what has a name is such a file.
    pub fn has_backed_up(&self, dir: &OpenDir, name: &OsStr, stat: &Stat) -> bool {
        self.backed_up.has(dir, name, stat)
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
