//! What an earlier run finished is told of, and opened no more.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::links::is_full;
use super::services::Services;
use crate::copy::entry::At;
use crate::copy::events::{Outcome, Published};
use crate::copy::hardlinks::{FoundName, Original, Turn};
use crate::copy::names::Admitted;
use crate::copy::resume::{COPY_CHANGED, Completed, Earlier, Found};
use crate::error::{Cause, Operation, Result};
use crate::fs::call::readlinkat;
use crate::fs::{self, FileId, Node, Stat};
use crate::report::{Route, Totals};
use crate::tree::{Before, Entry, EntryKind, Kept, Metadata, OpenDir};

impl Services<'_> {
    /// Gives an entry back unless an earlier run finished it: then it is told of and counted.
    pub(super) fn unless_finished(
        &self,
        dir: &OpenDir,
        entry: Entry,
        earlier: &mut Earlier<'_>,
    ) -> Option<Entry> {
        let at = At::new(dir, &entry);
        let mut completed = match earlier.find(at) {
            Ok(Found::Nothing) => return Some(entry),
            Ok(Found::Changed(why)) => {
                self.resume.warn_not_resumed(at, why);
                return Some(entry);
            }
            Ok(Found::Finished(completed)) if self.is_left_out(&entry, &completed) => return None,
            // It is another file's copy by now, which was written into it by another name.
            Ok(Found::Finished(_)) if !self.names.keep_finished(at) => return Some(entry),
            Ok(Found::Finished(_)) if !leads_where_it_did(at) => {
                self.resume.warn_not_resumed(at, COPY_CHANGED);
                return Some(entry);
            }
            Ok(Found::Finished(completed)) => completed,
            Err(cause) => {
                // What is known is not worth a failure; if something is wrong with the file, its
                // copy will say so.
                self.events.warn(at.target_error(Operation::Resume, cause));
                return Some(entry);
            }
        };
        if completed.kept == Kept::Part {
            completed.kept = self.keep_again(at, &mut completed).unwrap_or_else(|error| {
                self.events.fail(error);
                Kept::Part
            });
        }
        self.pass_finished(dir, entry, *completed);
        None
    }

    /// Whether this run is for files of other sizes.
    fn is_left_out(&self, entry: &Entry, completed: &Completed) -> bool {
        let size_bytes = completed.source.stat.st_size as u64;
        entry.kind == EntryKind::File && self.options.filter.excludes_size(size_bytes)
    }

    /// Gives a finished copy its source's metadata once more, of which an earlier run could not
    /// keep all; what cannot be kept now either is told again. What the copy answers to stat is
    /// what it answers then.
    fn keep_again(&self, at: At<'_>, completed: &mut Completed) -> Result<Kept> {
        let (source_stat, target_stat) = (&completed.source.stat, &completed.target.stat);
        let source =
            at.open_source_path().map_err(|cause| at.source_error(Operation::Open, cause))?;
        let is_file = at.entry.kind == EntryKind::File;
        let open = if is_file { fs::open_to_read } else { fs::open_path };
        let target = open(&at.dir.target, at.target_name());
        let target = Arc::new(target.map_err(|cause| at.target_error(Operation::Open, cause))?);
        if !is(&source, source_stat).map_err(|cause| at.source_error(Operation::Open, cause))? {
            return Err(at.source_error(Operation::Open, Cause::Swapped));
        }
        if !is(&target, target_stat).map_err(|cause| at.target_error(Operation::Open, cause))? {
            return Err(at.target_error(Operation::Open, Cause::Swapped));
        }
        self.resume.record_loss(at, completed);
        let from = Node::path_only(&source);
        let to = if is_file { Node::open(&target) } else { Node::path_only(&target) };
        let metadata = Metadata {
            source: from,
            stat: source_stat,
            target: to,
            before: Before::Itself,
            made: None,
        };
        let kept = self.metadata.copy(at, &metadata);
        if !self.metadata.preserve().timestamps {
            // Its inode may not be on the device: only what was changed is written once more.
            to.set_times(target_stat)
                .map_err(|cause| at.target_error(Operation::SetTimes, cause))?;
        }
        let stat = fs::stat(&target).map_err(|cause| at.target_error(Operation::Stat, cause))?;
        completed.target = at.dir.see_copy(stat);
        // What is no file cannot be synced itself.
        let synced = match is_file {
            true => self.durable.sync_one(at.dir, target),
            false => {
                self.durable.made_special(at.dir);
                self.durable.sync_names(at.dir)
            }
        };
        synced.map_err(|cause| at.target_error(Operation::Fsync, cause))?;
        self.resume.record_again(at, completed, kept);
        Ok(kept)
    }

    /// Tells of a finished entry. Its other names, finished or not, are names of the same copy.
    fn pass_finished(&self, dir: &OpenDir, entry: Entry, completed: Completed) {
        let (size_bytes, hash) = (completed.target.stat.st_size as u64, completed.hash);
        if let Err(error) = self.names.add_earlier(At::new(dir, &entry), &completed.target.stat) {
            return self.events.fail(error);
        }
        let entry = Admitted::standing(entry);
        let Some(entry) = self.claim_finished(dir, entry, &completed) else { return };
        Totals::add(&self.events.totals.resumed, 1);
        if entry.kind != EntryKind::File {
            self.durable.made_special(dir);
        }
        if entry.kind == EntryKind::File {
            for unheeded in self.resume.unheeded(&completed) {
                Totals::add(&self.events.totals.unheeded[unheeded as usize], 1);
            }
            let published = Published { replaced: true, in_place: false, backup: None, stat: None };
            let unmoved = Outcome::unmoved(size_bytes, Route::EARLIER);
            self.events.copied(At::new(dir, &entry), published, Outcome { hash, ..unmoved });
        }
    }

    /// Links a finished name to another copy of its source, where there is one; else the name
    /// comes back, and others may be linked to it.
    fn claim_finished(
        &self,
        dir: &OpenDir,
        entry: Admitted,
        completed: &Completed,
    ) -> Option<Admitted> {
        let &Completed { source, target, hash, kept, .. } = completed;
        let others = self.reach(dir).others(&source.stat);
        if !self.metadata.preserve().links || others == 0 {
            return Some(entry);
        }
        let at = At::new(dir, &entry);
        let identity = match at.identify_source(&source.stat) {
            Ok(identity) => identity,
            Err(cause) => {
                self.events.warn(at.source_error(Operation::Open, cause));
                return Some(entry);
            }
        };
        let standing = Original::standing(dir, entry.target_name(), &target.stat);
        let standing = Arc::new(Original { hash, kept, ..standing });
        let name = FoundName { dir: Arc::clone(dir.dir()), entry, source, identity, others };
        let (turn, waiting) = self.hard_links.finished(name, &standing);
        self.link_waiting(waiting, &standing);
        match turn {
            Turn::Wait => None,
            Turn::Link(name, original, _) => {
                let numbers = original.copy.map(|copy| copy.id());
                if numbers == Some(FileId::of(&target.stat)) {
                    return Some(name.entry);
                }
                match self.link(dir, &name.entry, &source, &original) {
                    Ok(()) => None,
                    // An earlier run has begun another copy with it.
                    Err(error) if is_full(&error) => Some(name.entry),
                    Err(error) => {
                        self.events.fail(error);
                        None
                    }
                }
            }
            Turn::Copy(entry, _) => Some(entry),
        }
    }
}

/// Whether what is a symbolic link leads where its source does. Without a journal its inode may
/// outlive a power cut, and its text not.
fn leads_where_it_did(at: At<'_>) -> bool {
    if at.entry.kind != EntryKind::Link {
        return true;
    }
    let source = readlinkat(&at.dir.source, &*at.entry.name);
    source.is_ok_and(|source| readlinkat(&at.dir.target, at.target_name()) == Ok(source))
}

/// Whether an open file is the one that answered so.
fn is(file: &OwnedFd, stat: &Stat) -> std::io::Result<bool> {
    let now = fs::stat(file)?;
    Ok(FileId::of(&now) == FileId::of(stat) && fs::is_as_written(stat, &now))
}
