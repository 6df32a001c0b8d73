//! What is made instead of a copy: a hard link, a symbolic link, or the attributes alone.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use crate::fs::call::{OFlags, symlinkat};

use super::services::Services;
use crate::copy::entry::{At, Source};
use crate::copy::events::Published;
use crate::copy::names::{Admitted, Spot};
use crate::copy::options::Action;
use crate::error::{Cause, Operation, Result};
use crate::fs::{self, Appearance, FileType, Node, Stat};
use crate::report::Totals;
use crate::tree::{Before, Entry, Metadata, OpenDir};

impl Services<'_> {
    /// Makes a link to the source.
    pub(super) fn link_instead(&self, dir: &OpenDir, entry: Entry) -> Result<()> {
        let at = At::new(dir, &entry);
        let source = Arc::new(
            at.open_source_path().map_err(|cause| at.source_error(Operation::Open, cause))?,
        );
        let stat = fs::stat(&source).map_err(|cause| at.source_error(Operation::Stat, cause))?;
        let Some(entry) = self.names.admit(dir, entry, &stat)? else { return Ok(()) };
        let published = match self.options.action {
            Action::SymbolicLink => self.link_to_path(dir, &entry, &stat)?,
            _ if self.options.dry_run => Some(entry.planned()),
            _ => self.publish_name(dir, &entry, Operation::CreateHardLink, |if_taken| {
                let (dir, name) = (&dir.target, entry.target_name());
                let at = Appearance { dir, name, if_taken, mark: None };
                fs::publish_hard_link(&source, at)
            })?,
        };
        if let Some(published) = published {
            match self.options.action {
                Action::SymbolicLink => self.durable.made_special(dir),
                _ => self.durable.made_link(dir),
            }
            Totals::add(&self.events.totals.links, 1);
            let is_symbolic = self.options.action == Action::SymbolicLink;
            let kind = if is_symbolic { "symbolic link" } else { "hard link" };
            self.events.made(kind, At::new(dir, &entry), published);
        }
        Ok(())
    }

    fn link_to_path(
        &self,
        dir: &OpenDir,
        entry: &Admitted,
        source: &Stat,
    ) -> Result<Option<Published>> {
        let (at, op) = (At::new(dir, entry), Operation::CreateSymbolicLink);
        let path = at.source_path();
        let in_working_directory = || {
            let here = fs::open_folder(Path::new("."), OFlags::PATH)?;
            io::Result::Ok(fs::compare(&dir.target, here)?.is_likely())
        };
        let is_found = path.is_absolute()
            || in_working_directory().map_err(|cause| at.target_error(op, cause))?;
        if !is_found {
            return Err(at.target_error(op, Cause::RelativeLink));
        }
        if self.options.dry_run {
            return Ok(Some(entry.planned()));
        }
        let make = |at: &OsStr| symlinkat(path.as_path(), &dir.target, at);
        let is_made = |own: &Stat| {
            FileType::from_raw_mode(own.st_mode) == FileType::Symlink && own.st_nlink == 1
        };
        let prepare = |made: &OwnedFd, own: &Stat| {
            // The times are the source's; all else is its own, as in cp.
            let mut stat = *source;
            (stat.st_mode, stat.st_uid, stat.st_gid) = (own.st_mode, own.st_uid, own.st_gid);
            let node = Node::path_only(made);
            let before = Before::Nothing;
            let metadata = Metadata { source: node, stat: &stat, target: node, before, made: None };
            self.metadata.copy(at, &metadata);
            Ok(())
        };
        self.publish_name(dir, entry, op, |if_taken| {
            let (dir, name) = (&dir.target, entry.target_name());
            fs::publish_made(Appearance { dir, name, if_taken, mark: None }, make, is_made, prepare)
        })
    }

    /// Gives the attributes of the source to the file that stands at the name, if that is all there
    /// is to do: it stays otherwise as it is.
    pub(super) fn copy_attributes(
        &self,
        dir: &OpenDir,
        entry: &Admitted,
        source: &Source,
    ) -> Result<()> {
        let at = At::new(dir, entry);
        if self.options.dry_run {
            self.gave_attributes(at, entry);
            return Ok(());
        }
        let name = entry.target_name();
        let open = |access| fs::open_beneath(&*dir.target, name, access | OFlags::NONBLOCK);
        let opened = open(OFlags::WRONLY).or_else(|cause| match cause.raw_os_error() {
            Some(libc::EACCES | libc::EROFS | libc::ETXTBSY) => open(OFlags::RDONLY),
            _ => Err(cause),
        });
        let file = opened.map_err(|cause| at.target_error(Operation::Open, cause))?;
        let stat = fs::stat(&file).map_err(|cause| at.target_error(Operation::Stat, cause))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(at.target_error(Operation::SetAttributes, Cause::Swapped));
        }
        let (from, to) = (Node::open(&source.file), Node::open(&file));
        let metadata = Metadata {
            source: from,
            stat: &source.stat,
            target: to,
            before: Before::Itself,
            made: None,
        };
        self.metadata.copy(at, &metadata);
        let synced = self.durable.sync_one(dir, Arc::new(file));
        synced.map_err(|cause| at.target_error(Operation::Fsync, cause))?;
        self.gave_attributes(at, entry);
        Ok(())
    }

    fn gave_attributes(&self, at: At<'_>, entry: &Admitted) {
        Totals::add(&self.events.totals.given_attributes, 1);
        self.events.made("attributes", at, entry.planned());
    }

    /// Whether the file at the name stays, and only gets attributes.
    pub(super) fn keeps_data(&self, spot: Spot) -> bool {
        let stays = spot.is_backup || !self.options.existing.replaces_links();
        spot.occupied && self.options.action == Action::Attributes && stays
    }
}
