//! Everything that is neither a file nor a directory: symbolic links, FIFOs, sockets and devices.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::fs::call::{Mode, mknodat, readlinkat, symlinkat};

use super::services::Services;
use crate::copy::entry::{At, UnreadSource};
use crate::copy::events::Published;
use crate::copy::hardlinks::{Claim, Original};
use crate::copy::names::Admitted;
use crate::copy::resume::Looks;
use crate::error::{Cause, Operation, Result};
use crate::fs::{self, Appearance, FileType, Identity, Node, Stat};
use crate::report::Totals;
use crate::tree::{Before, Entry, EntryKind, Kept, Metadata, OpenDir};

/// A copy that has its name.
struct MadeSpecial {
    /// The copy, if it may get further names; nothing in a dry run.
    copy: Option<Identity>,
    /// How much of its metadata was kept.
    kept: Kept,
    published: Published,
}

/// What a link or special file is made from.
enum Recipe {
    Link(CString),
    Special(FileType, u64),
}

impl Recipe {
    fn of(at: At<'_>, source: &UnreadSource) -> Result<Self> {
        match FileType::from_raw_mode(source.seen.stat.st_mode) {
            FileType::Symlink => readlinkat(&source.file, c"")
                .map(Self::Link)
                .map_err(|cause| at.source_error(Operation::ReadLink, io::Error::from(cause))),
            kind => Ok(Self::Special(kind, source.seen.stat.st_rdev)),
        }
    }

    fn make(&self, dir: &OwnedFd, name: &OsStr) -> rustix::io::Result<()> {
        match self {
            Self::Link(contents) => symlinkat(contents.as_c_str(), dir, name),
            // No one else may open it until it has its owner and its mode.
            Self::Special(kind, device) => {
                mknodat(dir, name, *kind, Mode::RUSR | Mode::WUSR, *device)
            }
        }
    }
}

impl Services<'_> {
    /// Copies a link or special file that was just met.
    pub(super) fn copy_special(&self, dir: &OpenDir, entry: Entry) -> Result<()> {
        let source = self.reach_source(At::new(dir, &entry))?;
        if let Some(entry) = self.names.admit(dir, entry, &source.seen.stat)?
            && let Some((entry, claim)) = self.claim(dir, entry, &source.file, &source.seen)
        {
            self.make_claimed_special(dir, entry, &source, claim);
        }
        Ok(())
    }

    /// Copies a link or special file for which others may wait.
    pub(super) fn copy_claimed_special(
        &self,
        dir: &OpenDir,
        entry: Admitted,
        claim: Option<Claim>,
    ) {
        match self.reach_source(At::new(dir, &entry)) {
            Ok(source) => {
                let at = At::new(dir, &entry);
                self.opened_again(at, claim.as_ref(), &source.file, &source.seen.stat);
                self.make_claimed_special(dir, entry, &source, claim);
            }
            Err(error) => self.give_up(claim, error),
        }
    }

    fn make_claimed_special(
        &self,
        dir: &OpenDir,
        entry: Admitted,
        source: &UnreadSource,
        claim: Option<Claim>,
    ) {
        let made = match self.options.dry_run {
            true => {
                Ok(Some(MadeSpecial { copy: None, kept: Kept::All, published: entry.planned() }))
            }
            false => self.make_special(dir, &entry, source),
        };
        match made {
            Ok(None) => self.pass_on(claim),
            Ok(Some(MadeSpecial { copy, kept, published })) => {
                self.events.made(entry.kind.name(), At::new(dir, &entry), published);
                let totals = self.events.totals;
                let is_link = entry.kind == EntryKind::Link;
                Totals::add(if is_link { &totals.links } else { &totals.specials }, 1);
                let (dir, name) = (Arc::clone(dir.dir()), entry.target_name().to_owned());
                let original = || Original { dir, name, copy, size_bytes: 0, hash: None, kept };
                self.keep_claim(claim, original);
            }
            Err(error) => self.give_up(claim, error),
        }
    }

    fn reach_source(&self, at: At<'_>) -> Result<UnreadSource> {
        if let EntryKind::Special(kind) = at.entry.kind
            && !self.metadata.preserve().specials
        {
            return Err(at.source_error(Operation::Copy, Cause::Special(kind)));
        }
        at.open_unread_source()
    }

    /// Makes the copy; nothing if something that stays took its name.
    fn make_special(
        &self,
        dir: &OpenDir,
        entry: &Admitted,
        source: &UnreadSource,
    ) -> Result<Option<MadeSpecial>> {
        let at = At::new(dir, entry);
        let recipe = Recipe::of(at, source)?;
        let (mut copy, mut kept) = (None, Kept::Part);
        // An attacker who exchanges names here must not get another file's owner and mode changed.
        let is_made = |made: &Stat| is_ours(made, &source.seen.stat);
        let prepare = |made: &OwnedFd, _: &Stat| {
            let stat;
            (stat, kept) = self.prepare_special(at, source, made)?;
            // Only what has further names is compared again.
            let has_others = source.seen.stat.st_nlink > 1 || self.options.follows_links(dir);
            let numbers = dir.target_trust().numbers;
            copy = has_others.then(|| Identity::of(made, &stat, numbers));
            Ok(())
        };
        let op = match entry.kind {
            EntryKind::Link => Operation::CreateLink,
            _ => Operation::CreateSpecialFile,
        };
        let mark = self.resume.mark();
        let published = self.publish_name(dir, entry, op, |if_taken| {
            let (dir, name) = (&dir.target, entry.target_name());
            let appearance = Appearance { dir, name, if_taken, mark };
            fs::publish_made(appearance, |name| recipe.make(dir, name), is_made, prepare)
        })?;
        if let Some(Published { stat, .. }) = &published {
            self.durable.made_special(dir);
            self.resume.record_alone(at, &source.seen, stat.as_ref(), kept, None);
        }
        Ok(published.map(|published| MadeSpecial { copy, kept, published }))
    }

    /// Gives what was made its metadata.
    fn prepare_special(
        &self,
        at: At<'_>,
        source: &UnreadSource,
        made: &OwnedFd,
    ) -> io::Result<(Stat, Kept)> {
        let UnreadSource { file, seen } = source;
        if !fs::is_own(&at.dir.target, &fs::stat(made)?)? {
            return Err(io::Error::other(Cause::Swapped));
        }
        let (from, to) = (Node::path_only(file), Node::path_only(made));
        let metadata = Metadata {
            source: from,
            stat: &seen.stat,
            target: to,
            before: Before::Nothing,
            made: None,
        };
        let kept = self.metadata.copy(at, &metadata);
        let copy = fs::stat(made)?;
        let looks = Looks { source: seen, target: &at.dir.see_copy(copy) };
        self.resume.record_unnamed_link(at, looks, kept, None);
        Ok((copy, kept))
    }
}

/// Whether what was found can be what was just made from `source`: of the same kind, and under no
/// other name.
fn is_ours(found: &Stat, source: &Stat) -> bool {
    let kind = |stat: &Stat| FileType::from_raw_mode(stat.st_mode);
    kind(found) == kind(source) && found.st_rdev == source.st_rdev && found.st_nlink == 1
}
