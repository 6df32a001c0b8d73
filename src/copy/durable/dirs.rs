//! The end of a directory: its metadata, when all that is in it is done, and then its names.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::sync::{Durable, Unsynced};
use crate::copy::options::Action;
use crate::copy::resume::Trusts;
use crate::error::{Error, Operation, Result};
use crate::fs::{ALL_OF_OWNER, NameSync, Node, Stat};
use crate::tree::{Before, Dir, Kept, Metadata, OpenDir};

impl Durable<'_> {
    /// Lets go of a directory; the last one to do so finishes it, and then lets go of its parent.
    pub fn release(&self, mut dir: Arc<Dir>) {
        while dir.release() {
            let parent = dir.parent().map(Arc::clone);
            match dir.open() {
                Ok(open) => self.finish(&open),
                Err(error) => self.events.fail(error),
            }
            match parent {
                Some(parent) => dir = parent,
                None => return,
            }
        }
    }

    /// Gives a directory its source's metadata, now that nothing more will change in it, and sees
    /// that its names become durable.
    fn finish(&self, dir: &OpenDir) {
        // Its final mode may be one that does not let us look up from it.
        Dir::open_parent(dir);
        if !self.options.dry_run {
            self.end(dir).unwrap_or_else(|error| self.events.fail(error));
        }
    }

    fn end(&self, dir: &OpenDir) -> Result<()> {
        let error =
            |op| move |cause: io::Error| Error::new(op, dir.target_path("".as_ref()), cause);
        // One that was not gone through to its end is left as it is, but for the names in it.
        let mut is_finished = !self.options.stop.is_requested();
        // A comparison leaves directories as they are, unless it made them.
        let is_left =
            self.options.action == Action::Compare && !dir.fresh && !self.was_left_opened_up(dir);
        let is_given = !is_left && is_finished && dir.parent().is_some();
        if is_given && self.resume.is_finished_dir(dir) {
            return Ok(());
        }
        let target = Node::of(&dir.target).map_err(error(Operation::FsyncDirectory))?;
        // While its mode lets us.
        let unlisted = match self.options.sync && target.is_path_only() {
            true => Some(NameSync::hold(&dir.target).map_err(error(Operation::FsyncDirectory))?),
            false => None,
        };
        if matches!(unlisted, Some(NameSync::Done)) {
            self.owe(dir);
        }
        if is_given {
            let (source, before) = (Node::open(&dir.source), Before::of_dir(dir.fresh));
            let made = dir.made_itself();
            let metadata = Metadata { source, stat: &dir.stat, target, before, made };
            is_finished = self.metadata.copy_dir(dir, &metadata) == Kept::All;
        } else if is_left {
            self.leave_times(dir);
        }
        let before = self.resume.mode_before(dir);
        let has_more_rights = dir.is_opened_up() || before != dir.target_stat.st_mode & 0o7777;
        if has_more_rights && !(is_given && self.metadata.preserve().mode) {
            target.set_mode(before).map_err(error(Operation::SetMode))?;
        }
        dir.close_up();
        if self.options.sync {
            let trusts = self.resume.is_on().then(|| Trusts::of(dir));
            let (target, dir) = (Arc::clone(&dir.target), Arc::clone(dir.dir()));
            self.sync_later(Unsynced { dir, target, unlisted, is_finished, trusts });
        }
        Ok(())
    }

    /// Whether a run that was killed while it mended something in a directory left its owner more
    /// rights than the source's has, and no other difference in the mode.
    fn was_left_opened_up(&self, dir: &Dir) -> bool {
        let mode = |stat: &Stat| stat.st_mode & 0o7777;
        let (source, target) = (mode(&dir.stat), mode(&dir.target_stat));
        self.options.repair
            && self.metadata.preserve().mode
            && source != target
            && source | ALL_OF_OWNER == target
    }

    /// Something missing is to be copied into a directory, which keeps the times that it had.
    pub fn begin_mending(&self, dir: &Dir) {
        // The folder that an operand goes into is the user's, and no part of the comparison; what
        // was made has its source's.
        if dir.parent().is_some() && !dir.fresh {
            let path = dir.target_path(OsStr::new(""));
            self.times().entry(path).or_insert(dir.target_stat);
        }
    }

    /// Gives them back. Several operands may lead into one directory, so that they are remembered
    /// to the end.
    fn leave_times(&self, dir: &OpenDir) {
        if self.times().is_empty() {
            return;
        }
        let path = dir.target_path(OsStr::new(""));
        let before = self.times().get(&path).copied();
        let Some(before) = before else { return };
        let given = Node::of(&dir.target).and_then(|target| target.set_times(&before));
        if let Err(cause) = given {
            self.events.warn(Error::new(Operation::SetTimes, path, cause));
        }
    }

    fn times(&self) -> MutexGuard<'_, HashMap<PathBuf, Stat>> {
        self.times_before.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
