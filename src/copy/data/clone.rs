//! Clones: a destination that shares its source's blocks.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::copy::entry::{At, Source};
use crate::copy::options::{Action, Options, Reflink, Sparse};
use crate::error::{Cause, Operation, Result};
use crate::fs::{self, Target};
use crate::tree::{Devices, OpenDir};

/// So many workers at most make clones that become durable with their names: more of them wait for
/// the locks of the filesystem's inodes, and take processors from those that hold them.
const CLONERS_MAX: usize = 8;

/// What makes clones, and remembers where none can be made.
pub struct Clones<'a> {
    options: &'a Options,
    /// Whether the files of the last directory that was found are to be such clones.
    are_next: AtomicBool,
    /// How many workers are of use then.
    workers_max: usize,
    /// Devices of sources and destinations between which nothing is cloned.
    unclonable: Mutex<HashSet<Devices>>,
    /// Whether there are any of these.
    has_unclonable: AtomicBool,
}

impl<'a> Clones<'a> {
    pub fn new(options: &'a Options) -> Self {
        let (unclonable, has_unclonable) = (Mutex::default(), AtomicBool::new(false));
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers_max = (cores + 1).min(CLONERS_MAX);
        Self { options, are_next: AtomicBool::new(false), workers_max, unclonable, has_unclonable }
    }

    /// Takes note of a directory whose files come next. `comes_with_name` says whether a clone
    /// there becomes durable with its name.
    pub fn entered(&self, dir: &OpenDir, comes_with_name: bool) {
        let devices = dir.devices();
        // What is proved is waited for.
        let are_next = comes_with_name
            && !self.options.verify
            && devices.source == devices.target
            && self.are_wanted()
            && !self.is_unclonable(dir);
        // Relaxed: it says how many threads are worth making, and nothing hangs on it.
        self.are_next.store(are_next, Ordering::Relaxed);
    }

    /// How many workers are of use. Clones keep each of them busy, and nothing of theirs is waited
    /// for.
    pub fn workers_max(&self) -> usize {
        let are_next = self.are_next.load(Ordering::Relaxed);
        if !are_next || self.has_unclonable.load(Ordering::Relaxed) {
            return usize::MAX;
        }
        self.workers_max
    }

    /// Tries to clone a source into its destination; false if the data has to be moved. What is
    /// written into shares blocks only if that is demanded.
    pub fn try_clone(&self, at: At<'_>, source: &Source, target: &Target) -> Result<bool> {
        let error = |cause: Cause| at.source_error(Operation::Clone, cause);
        let is_spared = target.is_in_place() && self.options.reflink != Reflink::Always;
        if is_spared || !self.may_clone(at.dir, source) {
            return Ok(false);
        }
        let cloned = match target.is_in_place() {
            true => clone_over(source, target),
            false => fs::clone(&source.file, target.file()),
        };
        let target = &**target.file();
        match cloned.and_then(|()| Ok(fs::stat(target)?.st_size as u64)) {
            Ok(cloned_bytes) if cloned_bytes == source.size_bytes() => Ok(true),
            Ok(_) => Err(error(Cause::SourceChanged)),
            Err(cause) if self.options.reflink == Reflink::Always => {
                Err(error(Cause::NoClone(cause)))
            }
            Err(cause) => self
                .start_afresh(at.dir, &cause, target)
                .map(|()| false)
                .map_err(|cause| at.target_error(Operation::SetSize, cause)),
        }
    }

    /// Whether a clone of a new file is tried.
    pub fn may_clone(&self, dir: &OpenDir, source: &Source) -> bool {
        // What says that it is empty either is, or has contents that only reading shows, as in
        // /proc.
        source.size_bytes() > 0 && self.are_wanted() && !self.is_unclonable(dir)
    }

    fn are_wanted(&self) -> bool {
        match self.options.reflink {
            _ if self.options.action == Action::Attributes => false,
            Reflink::Never => false,
            Reflink::Auto => self.options.sparse == Sparse::Auto,
            Reflink::Always => true,
        }
    }

    /// A clone that failed on its way has left something behind, which a hole of the copy must not
    /// show.
    fn start_afresh(&self, dir: &OpenDir, cause: &io::Error, target: &OwnedFd) -> io::Result<()> {
        match cause.raw_os_error() {
            // Answered before anything is done: no such call here, or not between these two, nor
            // between others like them.
            Some(libc::EOPNOTSUPP | libc::EXDEV | libc::ENOTTY | libc::ENOSYS) => {
                self.unclonable().insert(dir.devices());
                // Relaxed: who reads it too early tries one more clone in vain.
                self.has_unclonable.store(true, Ordering::Relaxed);
                Ok(())
            }
            // Answered before anything is done, but only of these two files.
            Some(libc::EINVAL | libc::EPERM) => Ok(()),
            _ => fs::set_size(target, 0),
        }
    }

    /// Whether nothing is cloned from and into this directory, so that no clone need be tried. The
    /// filesystem's kind says so, or an earlier file has shown it.
    fn is_unclonable(&self, dir: &OpenDir) -> bool {
        if self.options.reflink != Reflink::Auto {
            return false;
        }
        // Every file asks, so that none may wait here for another.
        if dir.never_clones() {
            return true;
        }
        let is_refused = self.has_unclonable.load(Ordering::Relaxed)
            && self.unclonable().contains(&dir.devices());
        if is_refused {
            dir.clones_no_more();
        }
        is_refused
    }

    fn unclonable(&self) -> MutexGuard<'_, HashSet<Devices>> {
        self.unclonable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has a file that holds something share all that its source has. A longer one has to be cut first
/// where its source ends within a block.
fn clone_over(source: &Source, target: &Target) -> io::Result<()> {
    let (size_bytes, file) = (source.size_bytes(), &**target.file());
    let was_bytes = fs::stat(file)?.st_size as u64;
    match fs::clone(&source.file, file) {
        Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) && was_bytes > size_bytes => {
            target.begin();
            fs::set_size(file, size_bytes)?;
            fs::clone(&source.file, file)
        }
        // It did nothing.
        Err(cause) if is_answered_before(&cause) => Err(cause),
        cloned => {
            target.begin();
            cloned.and_then(|()| fs::set_size(file, size_bytes))
        }
    }
}

/// Whether a clone was refused before anything was done: there is no such call, or not between
/// these two files.
fn is_answered_before(cause: &io::Error) -> bool {
    let errno = cause.raw_os_error();
    matches!(errno, Some(libc::EOPNOTSUPP | libc::EXDEV | libc::ENOTTY | libc::EINVAL))
}
