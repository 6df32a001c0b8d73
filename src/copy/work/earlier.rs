//! What an earlier run finished is told of, and opened no more.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::services::Services;
use crate::copy::entry::At;
use crate::copy::events::{Outcome, Published};
use crate::copy::hardlinks::{NameRole, Original, Turn};
use crate::copy::names::Admitted;
use crate::copy::resume::{Completed, Earlier, Found, Sides};
use crate::error::{Cause, Operation, Result};
use crate::fs::{self, FileId, Node, Stat};
use crate::report::{Route, Totals};
use crate::tree::{Entry, EntryKind, Metadata, OpenDir};

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
            Ok(Found::Finished(completed)) => completed,
            Err(cause) => {
                // What is known is not worth a failure; if something is wrong with the file, its
                // copy will say so.
                self.events.warn(at.target_error(Operation::Resume, cause));
                return Some(entry);
            }
        };
        if !completed.kept {
            completed.kept = self.keep_again(at, &completed).unwrap_or_else(|error| {
                self.events.fail(error);
                false
            });
        }
        self.pass_finished(dir, entry, *completed);
        None
    }

    /// Gives a finished copy its source's metadata once more, of which an earlier run could not
    /// keep all; what cannot be kept now either is told again. True if nothing is missing now.
    fn keep_again(&self, at: At<'_>, completed: &Completed) -> Result<bool> {
        let Completed { source: source_stat, target: target_stat, hash, .. } = completed;
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
        let sides = Sides { source: source_stat, target: target_stat };
        self.resume.record_loss(at, sides, *hash);
        let from = Node::path_only(&source);
        let to = if is_file { Node::open(&target) } else { Node::path_only(&target) };
        let metadata = Metadata { source: from, stat: source_stat, target: to, existed: false };
        let kept = self.metadata.copy(at, &metadata);
        // What is no file cannot be synced itself.
        let to_sync = if is_file { target } else { Arc::clone(&at.dir.target) };
        let synced = self.durable.sync_one(at.dir, to_sync);
        synced.map_err(|cause| at.target_error(Operation::Fsync, cause))?;
        self.resume.record_alone(at, source_stat, kept, *hash);
        Ok(kept)
    }

    /// Tells of a finished entry. Its other names, finished or not, are names of the same copy.
    fn pass_finished(&self, dir: &OpenDir, entry: Entry, completed: Completed) {
        let Completed { source, target, hash, kept } = completed;
        let (id, size_bytes) = (Some(FileId::of(&target)), target.st_size as u64);
        self.names.add_earlier(dir, &target);
        let mut entry = Admitted::standing(entry);
        if self.metadata.preserve().links {
            let (reach, role) = (self.reach(dir), NameRole::MayBeFirst);
            entry = match self.hard_links.claim(&source, reach, role, dir.dir(), entry) {
                Turn::Wait => return,
                Turn::Link(entry, original) if original.id != id => {
                    let linked = self.link(dir, &entry, &original);
                    return linked.unwrap_or_else(|error| self.events.fail(error));
                }
                Turn::Link(entry, _) => entry,
                Turn::Copy(entry, claim) => {
                    let (dir, name) = (Arc::clone(dir.dir()), entry.target_name().to_owned());
                    self.keep_claim(claim, || Original { dir, name, id, size_bytes, hash, kept });
                    entry
                }
            };
        }
        Totals::add(&self.events.totals.resumed, 1);
        if entry.kind == EntryKind::File {
            let published = Published { replaced: true, backup: None };
            let unmoved = Outcome::unmoved(size_bytes, Route::EARLIER);
            self.events.copied(At::new(dir, &entry), published, Outcome { hash, ..unmoved });
        }
    }
}

/// Whether an open file is the one that answered so.
fn is(file: &OwnedFd, stat: &Stat) -> std::io::Result<bool> {
    Ok(fs::same_file(&fs::stat(file)?, stat))
}
