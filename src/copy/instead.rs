//! What can be made instead of a copy: a hard link, a symbolic link, or the attributes alone.

use std::ffi::OsStr;
use std::io;
use std::sync::Arc;

use rustix::fs::{OFlags, symlinkat};

use super::existing::{Admitted, Put, Spot};
use super::file::Source;
use super::worker::Run;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileType, Node, Stat};
use crate::report::Totals;
use crate::tree::{Entry, Metadata, OpenDir};

/// What is made of each entry that is not a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Make {
    /// A copy.
    #[default]
    Copy,
    /// A hard link to the source.
    HardLink,
    /// A symbolic link to the source, whose path has to be absolute unless the link is in the
    /// working directory.
    SymbolicLink,
    /// Nothing: what stands there is compared, and mended with
    /// [`Options::repair`](super::Options::repair).
    Nothing,
    /// Attributes: an existing file keeps its data, a new one is empty.
    Attributes,
}

impl Run<'_> {
    /// Makes a link to the source.
    pub fn link_instead(&self, dir: &OpenDir, entry: Entry) -> Result<()> {
        let source_error =
            |op, cause: io::Error| Error::new(op, dir.source_path(&entry.name), cause);
        let open = if entry.followed { fs::open_path_behind } else { fs::open_path };
        let source =
            open(&dir.source, &entry.name).map_err(|cause| source_error(Operation::Open, cause))?;
        let stat = fs::stat(&source).map_err(|cause| source_error(Operation::Stat, cause))?;
        let Some(entry) = self.admit(dir, entry, &stat)? else { return Ok(()) };
        let put = match self.options.make {
            _ if self.options.dry_run => Some(Put::of(&entry)),
            Make::SymbolicLink => self.link_to_path(dir, &entry, &stat)?,
            _ => self.put(dir, &entry, Operation::CreateHardLink, |may_replace| {
                fs::publish_hard_link(&source, &dir.target, entry.target_name(), may_replace, None)
            })?,
        };
        if let Some(put) = put {
            Totals::add(&self.totals.links, 1);
            let kind =
                if self.options.make == Make::SymbolicLink { "symbolic link" } else { "hard link" };
            self.report_made(kind, dir, &entry, put);
        }
        Ok(())
    }

    fn link_to_path(&self, dir: &OpenDir, entry: &Admitted, source: &Stat) -> Result<Option<Put>> {
        let name = entry.target_name();
        let error =
            |cause: Cause| Error::new(Operation::CreateSymbolicLink, dir.target_path(name), cause);
        let path = dir.source_path(&entry.name);
        let in_working_directory = || {
            let here = rustix::fs::stat(c".").map_err(io::Error::from)?;
            io::Result::Ok(fs::same_file(&fs::stat(&dir.target)?, &here))
        };
        if !path.is_absolute() && !in_working_directory().map_err(|cause| error(cause.into()))? {
            return Err(error(Cause::RelativeLink));
        }
        let make = |at: &OsStr| symlinkat(path.as_path(), &dir.target, at);
        let prepare = |at: &OsStr| {
            let made = fs::open_path(&dir.target, at)?;
            // The times are the source's; all else is its own, as in cp.
            let (own, mut stat) = (fs::stat(&made)?, *source);
            (stat.st_mode, stat.st_uid, stat.st_gid) = (own.st_mode, own.st_uid, own.st_gid);
            let node = Node::path_only(&made);
            self.keep(
                dir,
                entry,
                &Metadata { source: node, stat: &stat, target: node, existed: false },
            );
            Ok(())
        };
        self.put(dir, entry, Operation::CreateSymbolicLink, |may_replace| {
            fs::publish_made(&dir.target, name, may_replace, None, make, prepare)
        })
    }

    /// Gives the attributes of the source to the file that stands at the name, if that is all there
    /// is to do: it stays otherwise as it is.
    pub fn copy_attributes(&self, dir: &OpenDir, entry: &Admitted, source: &Source) -> Result<()> {
        if self.options.dry_run {
            self.report_made("attributes", dir, entry, Put::of(entry));
            return Ok(());
        }
        let name = entry.target_name();
        let error = |op, cause: io::Error| Error::new(op, dir.target_path(name), cause);
        let open = |access| fs::open_beneath(&*dir.target, name, access | OFlags::NONBLOCK);
        let file = open(OFlags::WRONLY)
            .or_else(|cause| match cause.raw_os_error() {
                Some(libc::EACCES | libc::EROFS | libc::ETXTBSY) => open(OFlags::RDONLY),
                _ => Err(cause),
            })
            .map_err(|cause| error(Operation::Open, cause))?;
        let stat = fs::stat(&file).map_err(|cause| error(Operation::Stat, cause))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::new(
                Operation::SetAttributes,
                dir.target_path(name),
                Cause::Swapped,
            ));
        }
        let (from, to) = (Node::open(&source.file), Node::open(&file));
        self.keep(
            dir,
            entry,
            &Metadata { source: from, stat: &source.stat, target: to, existed: true },
        );
        for synced in self.sync(dir, vec![Arc::new(file)]) {
            synced.map_err(|cause| error(Operation::Fsync, cause))?;
        }
        self.report_made("attributes", dir, entry, Put::of(entry));
        Ok(())
    }

    /// Whether the file at the name stays, and only gets attributes.
    pub fn keeps_data(&self, spot: Spot) -> bool {
        let stays = spot.is_backup || !self.options.existing.replaces_links();
        spot.occupied && self.options.make == Make::Attributes && stays
    }
}
