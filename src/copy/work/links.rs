//! The further names of what is copied: linked to the first, or copied where that fails.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::services::Services;
use crate::copy::entry::At;
use crate::copy::events::{Outcome, Published};
use crate::copy::hardlinks::{
    Certainty, Claim, FoundName, NameRole, Original, Place, Reach, Turn, Waiting,
};
use crate::copy::names::Admitted;
use crate::copy::options::Action;
use crate::copy::queue::Single;
use crate::copy::resume::{FirstName, Looks};
use crate::copy::verify::StandingName;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, Appearance, FileId, Identity, Sameness, Seen, Stat};
use crate::report::{Route, Totals};
use crate::tree::{Dir, EntryKind, OpenDir};

/// What is to be copied of an entry, and whether others may wait for it.
type ToCopy = (Admitted, Option<Claim>);

impl Services<'_> {
    /// What is to be copied of an entry whose open source was `seen` so. Nothing if it is one
    /// more name of something: it is linked now, or by the worker that publishes the first name.
    pub(super) fn claim(
        &self,
        dir: &OpenDir,
        entry: Admitted,
        file: &OwnedFd,
        seen: &Seen,
    ) -> Option<ToCopy> {
        let stat = &seen.stat;
        let others = self.reach(dir).others(stat);
        if !self.metadata.preserve().links || others == 0 {
            return Some((entry, None));
        }
        let at = At::new(dir, &entry);
        // What a comparison misses is linked to what stands, once that was compared.
        let is_missing = self.options.action == Action::Compare
            && !entry.spot.occupied
            && stat.st_nlink > 1
            && entry.kind == EntryKind::File;
        let role = match self.resume.is_first_name(at, stat) && !is_missing {
            true => NameRole::MayBeFirst,
            false => NameRole::Further,
        };
        let identity = at.identify(file, stat);
        let (dir_held, source) = (Arc::clone(dir.dir()), *seen);
        let mut name = FoundName { dir: dir_held, entry, source, identity, others };
        let mut passed = Place::default();
        loop {
            match self.hard_links.claim(name, role, passed) {
                Turn::Copy(entry, claim) => return Some((entry, claim)),
                Turn::Wait => return None,
                Turn::Link(other, original, Certainty::InDoubt(place))
                    if !self.has_contents_of(&original, file, stat) =>
                {
                    (name, passed) = (*other, place);
                }
                Turn::Link(name, original, _) => {
                    return self.link_or_copy(dir, *name, &original);
                }
            }
        }
    }

    /// How the files of a directory can be met once more.
    pub(super) fn reach(&self, dir: &Dir) -> Reach {
        if self.options.follows_links(dir) { Reach::ByLinks } else { Reach::ByNames }
    }

    /// Whether a source that is open, and answered `stat`, holds what a copy holds. What cannot be
    /// read is not shown to.
    fn has_contents_of(&self, original: &Original, file: &OwnedFd, stat: &Stat) -> bool {
        let is_file = fs::FileType::from_raw_mode(stat.st_mode) == fs::FileType::RegularFile;
        let compare = || -> Result<bool> {
            let dir = original.dir.open()?;
            let open = if is_file { fs::open_to_read } else { fs::open_path };
            let error = |cause| Error::new(Operation::Compare, &original.name, cause);
            let copy = open(&dir.target, &original.name).map_err(error)?;
            let is_equal = fs::same_contents(&copy, file).map_err(error)?;
            Ok(is_equal && fs::is_as_written(stat, &fs::stat(file).map_err(error)?))
        };
        !self.options.dry_run && compare().unwrap_or(false)
    }

    /// Links a name. If that fails it is to be copied.
    fn link_or_copy(
        &self,
        dir: &OpenDir,
        mut name: FoundName,
        original: &Arc<Original>,
    ) -> Option<ToCopy> {
        let mut original = Arc::clone(original);
        loop {
            let FoundName { entry, source, .. } = &name;
            match self.link(dir, entry, source, &original) {
                Ok(()) => return None,
                Err(error) if is_full(&error) => {
                    match self.hard_links.full(name, &original) {
                        Turn::Copy(entry, claim) => {
                            let at = At::new(dir, &entry);
                            let cause = Cause::TooManyNames;
                            self.events.warn(at.target_error(Operation::Link, cause));
                            return Some((entry, claim));
                        }
                        Turn::Wait => return None,
                        // Another worker has made the next copy.
                        Turn::Link(other, next, Certainty::Shown) => {
                            (name, original) = (*other, next);
                        }
                        Turn::Link(other, ..) => return Some((other.entry, None)),
                    }
                }
                Err(error) => {
                    // The data is not lost with the link, unless the name is another's.
                    let has_name = !matches!(error.cause, Cause::NameClash(_));
                    let is_forgiven =
                        error.missing().is_some() && !self.metadata.preserve().links_demanded;
                    if is_forgiven {
                        self.events.warn(error)
                    } else {
                        self.events.fail(error)
                    }
                    return has_name.then_some((name.entry, None));
                }
            }
        }
    }

    /// Gives a copy one more name, whose source was seen so.
    pub(super) fn link(
        &self,
        dir: &OpenDir,
        entry: &Admitted,
        source: &Seen,
        original: &Original,
    ) -> Result<()> {
        if self.options.dry_run {
            self.linked(At::new(dir, entry), entry.planned(), original);
            return Ok(());
        }
        self.resume.open_up(dir)?;
        let at = At::new(dir, entry);
        let error = |cause: Cause| at.target_error(Operation::Link, cause);
        let io_error = |cause: io::Error| error(cause.into());
        let first = original.dir.open()?;
        let file = Arc::new(fs::open_path(&first.target, &original.name).map_err(io_error)?);
        let stat = fs::stat(&file).map_err(io_error)?;
        let found = Identity::of(&file, &stat, first.target_trust().numbers);
        let is_it = |copy: Identity| copy.compare(&found) != Sameness::Different;
        if !original.copy.is_some_and(is_it) {
            return Err(error(Cause::Swapped));
        }
        let mark = self.resume.mark();
        let looks = Looks { source, target: &dir.see_copy(stat) };
        let is_linked = self.is_linked(at, entry, &file, &stat).map_err(io_error)?;
        if entry.spot.occupied && !is_linked {
            let Original { dir, name, kept, hash, .. } = original;
            let first = FirstName { dir, name, kept: *kept, hash: *hash };
            self.resume.record_hidden_link(at, looks, first);
        }
        self.resume.record_unnamed_link(at, looks, original.kept, original.hash);
        let published = match is_linked {
            // An earlier run made it. Its backup would be the copy itself, in the place of the
            // backup of what was replaced.
            true => {
                self.names.add_earlier(at, &stat)?;
                Some(Published { replaced: true, in_place: false, backup: None, stat: Some(stat) })
            }
            false => self.publish_name(dir, entry, Operation::Link, |if_taken| {
                let (dir, name) = (&dir.target, entry.target_name());
                let at = Appearance { dir, name, if_taken, mark };
                fs::publish_hard_link(&file, at)
            })?,
        };
        if let Some(published) = published {
            self.names.keep_linked(&first, &original.name, &stat);
            self.durable.made_link(dir);
            let copy = published.stat.as_ref();
            self.resume.record_alone(at, source, copy, original.kept, original.hash);
            self.linked(at, published, original);
        }
        Ok(())
    }

    /// Whether a name leads to an open file already.
    fn is_linked(
        &self,
        at: At<'_>,
        entry: &Admitted,
        file: &OwnedFd,
        stat: &Stat,
    ) -> io::Result<bool> {
        if !entry.spot.occupied {
            return Ok(false);
        }
        let stands = at.stat_target()?;
        if stands.is_none_or(|stands| FileId::of(&stands) != FileId::of(stat)) {
            return Ok(false);
        }
        let stands = fs::open_path(&at.dir.target, at.target_name())?;
        Ok(fs::compare(file, &stands)? == Sameness::Same)
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
        self.link_waiting(self.hard_links.made(claim, &original), &original);
    }

    /// Links names that waited to a copy that stands.
    pub(super) fn link_waiting(&self, waiting: Vec<Waiting>, original: &Arc<Original>) {
        for Waiting { name, certainty } in waiting {
            let dir = Arc::clone(&name.dir);
            let to_copy = match dir.open() {
                Ok(open) if certainty == Certainty::Shown => {
                    self.link_or_copy(&open, name, original)
                }
                Ok(open) => self.look_again(&open, name.entry).unwrap_or_else(|error| {
                    self.events.fail(error);
                    None
                }),
                Err(error) => {
                    self.events.fail(error);
                    Some((name.entry, None))
                }
            };
            match to_copy {
                None => self.durable.release(dir),
                Some((entry, claim)) => {
                    self.queue.push_single(Single { dir, entry, claim, counted: None });
                }
            }
        }
    }

    /// Has missing names linked to one that a comparison found as it should be.
    pub(super) fn link_others_to(
        &self,
        dir: &OpenDir,
        StandingName { entry, source }: StandingName,
    ) {
        let others = self.reach(dir).others(&source.stat);
        if !self.metadata.preserve().links || others == 0 {
            return;
        }
        let at = At::new(dir, &entry);
        let looks = at
            .identify_source(&source.stat)
            .map_err(|cause| at.source_error(Operation::Open, cause))
            .and_then(|identity| {
                let target = at.stat_target();
                let target = target.map_err(|cause| at.target_error(Operation::Stat, cause))?;
                Ok((identity, target))
            });
        let (identity, target) = match looks {
            Ok((identity, Some(target))) => (identity, target),
            // Missing names are copied then.
            Ok((_, None)) => return,
            Err(error) => return self.events.warn(error),
        };
        let entry = Admitted::standing(entry);
        let name = FoundName { dir: Arc::clone(dir.dir()), entry, source, identity, others };
        if let Some((entry, claim)) = self.hard_links.stands(name) {
            self.keep_claim(Some(claim), || Original::standing(dir, entry.target_name(), &target));
        }
    }

    /// What is to be copied of a name that may be one of a copy's, now that this stands.
    fn look_again(&self, dir: &OpenDir, entry: Admitted) -> Result<Option<ToCopy>> {
        let at = At::new(dir, &entry);
        if entry.kind == EntryKind::File {
            let source = at.open_source(&self.options.stop)?;
            return Ok(self.claim(dir, entry, &source.file, &source.seen()));
        }
        let source = at.open_unread_source()?;
        Ok(self.claim(dir, entry, &source.file, &source.seen))
    }

    /// The source of a claim was opened once more, and answered `stat`.
    pub(super) fn opened_again(
        &self,
        at: At<'_>,
        claim: Option<&Claim>,
        file: &OwnedFd,
        stat: &Stat,
    ) {
        if let Some(claim) = claim {
            self.hard_links.opened_again(claim, at.identify(file, stat));
        }
    }

    /// Reports a failure of something that others may wait for: the next of them is copied instead.
    pub(super) fn give_up(&self, claim: Option<Claim>, error: Error) {
        if claim.is_some() && error.errno() == Some(libc::ENOSPC) {
            // Its other names ask for the same space, and one of them may find it.
            Totals::add(&self.events.totals.unfit_names, 1);
        }
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
        if self.resume.is_on() || self.options.repair {
            self.queue.drain();
            for (waiting, claim) in self.hard_links.unclaimed() {
                self.push_waiting(waiting, claim);
            }
        }
    }

    fn push_waiting(
        &self,
        Waiting { name: FoundName { dir, entry, .. }, .. }: Waiting,
        claim: Claim,
    ) {
        self.queue.push_single(Single { dir, entry, claim: Some(claim), counted: None });
    }
}

/// Whether a link failed since the file can have no more names; see EMLINK in link(2).
pub(super) fn is_full(error: &Error) -> bool {
    let is_full = |cause: &io::Error| cause.raw_os_error() == Some(libc::EMLINK);
    error.op == Operation::Link && matches!(&error.cause, Cause::Os(cause) if is_full(cause))
}
