//! The further names of what is copied: linked to the first, or copied where that fails.

use std::sync::Arc;

use super::services::Services;
use crate::copy::entry::At;
use crate::copy::events::{Outcome, Published};
use crate::copy::hardlinks::{Claim, NameRole, Original, Reach, Turn, Waiting};
use crate::copy::names::Admitted;
use crate::copy::queue::Single;
use crate::copy::resume::Sides;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, Appearance, FileId, Stat};
use crate::report::{Route, Totals};
use crate::tree::{Dir, EntryKind, OpenDir};

impl Services<'_> {
    /// What is to be copied of an entry whose source answered `stat`. Nothing if it is one more
    /// name of something: it is linked now, or by the worker that publishes the first name.
    pub(super) fn claim(
        &self,
        dir: &OpenDir,
        entry: Admitted,
        stat: &Stat,
    ) -> Option<(Admitted, Option<Claim>)> {
        if !self.metadata.preserve().links {
            return Some((entry, None));
        }
        let role = match self.resume.is_first_name(At::new(dir, &entry), stat) {
            true => NameRole::MayBeFirst,
            false => NameRole::Further,
        };
        match self.hard_links.claim(stat, self.reach(dir), role, dir.dir(), entry) {
            Turn::Copy(entry, claim) => Some((entry, claim)),
            Turn::Wait => None,
            Turn::Link(entry, original) => match self.link(dir, &entry, &original) {
                Ok(()) => None,
                Err(error) => {
                    // The data is not lost with the link.
                    self.events.fail(error);
                    Some((entry, None))
                }
            },
        }
    }

    /// How the files of a directory can be met once more.
    pub(super) fn reach(&self, dir: &Dir) -> Reach {
        if self.options.follows_links(dir) { Reach::ByLinks } else { Reach::ByNames }
    }

    /// Gives a copy one more name.
    pub(super) fn link(&self, dir: &OpenDir, entry: &Admitted, original: &Original) -> Result<()> {
        if self.options.dry_run {
            self.linked(At::new(dir, entry), entry.planned(), original);
            return Ok(());
        }
        let at = At::new(dir, entry);
        let error = |cause: Cause| at.target_error(Operation::Link, cause);
        let io_error = |cause: std::io::Error| error(cause.into());
        let first = original.dir.open()?;
        let file = fs::open_path(&first.target, &original.name).map_err(io_error)?;
        let stat = fs::stat(&file).map_err(io_error)?;
        if Some(FileId::of(&stat)) != original.id {
            return Err(error(Cause::Swapped));
        }
        let mark = self.resume.mark();
        let source = self.resume.stat_to_record(at);
        if let Some(source) = &source {
            let sides = Sides { source, target: &stat };
            self.resume.record_unnamed_link(at, sides, original.kept, original.hash);
        }
        let stands = match entry.spot.occupied {
            true => at.stat_target().map_err(io_error)?,
            false => None,
        };
        let published = match stands.is_some_and(|stands| fs::same_file(&stands, &stat)) {
            // An earlier run made it. Its backup would be the copy itself, in the place of the
            // backup of what was replaced.
            true => {
                self.names.add_earlier(dir, &stat);
                Some(Published { replaced: true, backup: None })
            }
            false => self.names.publish(dir, entry, Operation::Link, |if_taken| {
                let (dir, name) = (&dir.target, entry.target_name());
                let at = Appearance { dir, name, if_taken, mark };
                fs::publish_hard_link(&file, at)
            })?,
        };
        if let Some(published) = published {
            if let Some(source) = &source {
                self.resume.record_alone(at, source, original.kept, original.hash);
            }
            self.linked(at, published, original);
        }
        Ok(())
    }

    fn linked(&self, at: At<'_>, published: Published, original: &Original) {
        Totals::add(&self.events.totals.hard_links, 1);
        if at.entry.kind == EntryKind::File {
            let unmoved = Outcome::unmoved(original.size_bytes, Route::LINKED);
            self.events.copied(at, published, Outcome { hash: original.hash, ..unmoved });
        }
    }

    /// A copy stands under its first name: those that waited for it are linked.
    pub(super) fn keep_claim(&self, claim: Option<Claim>, original: impl FnOnce() -> Original) {
        let Some(claim) = claim else { return };
        let original = Arc::new(original());
        for Waiting { dir, entry } in self.hard_links.made(claim, &original) {
            match dir.open().and_then(|open| self.link(&open, &entry, &original)) {
                Ok(()) => self.durable.release(dir),
                Err(error) => {
                    self.events.fail(error);
                    self.queue.push_single(Single { dir, entry, claim: None, counted: None });
                }
            }
        }
    }

    /// Reports a failure of something that others may wait for: the next of them is copied instead.
    pub(super) fn give_up(&self, claim: Option<Claim>, error: Error) {
        self.events.fail(error);
        self.pass_on(claim);
    }

    /// The next name that waits is copied instead of one that is not.
    pub(super) fn pass_on(&self, claim: Option<Claim>) {
        let next = claim.and_then(|claim| self.hard_links.failed(claim));
        next.into_iter().for_each(|(waiting, claim)| self.push_waiting(waiting, claim));
    }

    /// Sees to the names that waited for another one that an earlier run copied, and that is left
    /// out of this one. Called when everything was gone through.
    pub fn release_unclaimed(&self) {
        if self.resume.is_on() {
            self.queue.drain();
            for (waiting, claim) in self.hard_links.unclaimed() {
                self.push_waiting(waiting, claim);
            }
        }
    }

    fn push_waiting(&self, Waiting { dir, entry }: Waiting, claim: Claim) {
        self.queue.push_single(Single { dir, entry, claim: Some(claim), counted: None });
    }
}
