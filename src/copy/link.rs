//! Everything that is neither a file nor a directory: symbolic links, FIFOs, sockets and devices.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, mknodat, readlinkat, symlinkat};

use super::existing::{Admitted, Put};
use super::hardlinks::{Claim, Original};
use super::worker::Run;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileType, Node, Stat};
use crate::report::Totals;
use crate::tree::{Entry, EntryKind, Metadata, OpenDir};

/// A source that is reached but never opened for reading.
struct Unread {
    file: OwnedFd,
    stat: Stat,
}

/// A copy that has its name.
struct MadeLink {
    /// Device and inode.
    identity: (u64, u64),
    /// Whether all of its metadata was kept.
    kept: bool,
    put: Put,
}

/// What a link or special file is made from.
enum Recipe {
    Link(CString),
    Special(FileType, u64),
}

impl Run<'_> {
    /// Copies a link or special file that was just met.
    pub fn meet_link(&self, dir: &OpenDir, entry: Entry) {
        let source = match self.reach_source(dir, &entry) {
            Ok(source) => source,
            Err(error) => return self.fail(error),
        };
        match self.admit(dir, entry, &source.stat) {
            Ok(Some(entry)) => {
                if let Some((entry, claim)) = self.meet(&source.stat, dir, entry) {
                    self.make_claimed_link(dir, entry, &source, claim);
                }
            }
            Ok(None) => {}
            Err(error) => self.fail(error),
        }
    }

    /// Copies a link or special file for which others may wait.
    pub fn copy_claimed_link(&self, dir: &OpenDir, entry: Admitted, claim: Option<Claim>) {
        match self.reach_source(dir, &entry) {
            Ok(source) => self.make_claimed_link(dir, entry, &source, claim),
            Err(error) => self.give_up(claim, error),
        }
    }

    fn make_claimed_link(
        &self,
        dir: &OpenDir,
        entry: Admitted,
        source: &Unread,
        claim: Option<Claim>,
    ) {
        let made = match self.options.dry_run {
            true => Ok(Some(MadeLink { identity: (0, 0), kept: true, put: Put::of(&entry) })),
            false => self.make_link(dir, &entry, source),
        };
        match made {
            Ok(None) => self.pass_on(claim),
            Ok(Some(MadeLink { identity, kept, put })) => {
                self.report_made(entry.kind.name(), dir, &entry, put);
                let counted = if entry.kind == EntryKind::Link {
                    &self.totals.links
                } else {
                    &self.totals.specials
                };
                Totals::add(counted, 1);
                let name = entry.target_name().to_owned();
                self.keep_claim(claim, || Original {
                    dir: dir.dir().clone(),
                    name,
                    identity,
                    size_bytes: 0,
                    hash: None,
                    kept,
                });
            }
            Err(error) => self.give_up(claim, error),
        }
    }

    fn reach_source(&self, dir: &OpenDir, entry: &Entry) -> Result<Unread> {
        let error = |op, cause: Cause| Error::new(op, dir.source_path(&entry.name), cause);
        if let EntryKind::Special(kind) = entry.kind
            && !self.keeper.preserve().specials
        {
            return Err(error(Operation::Copy, Cause::Special(kind)));
        }
        let open = if entry.followed { fs::open_path_behind } else { fs::open_path };
        let file =
            open(&dir.source, &entry.name).map_err(|cause| error(Operation::Open, cause.into()))?;
        let stat = fs::stat(&file).map_err(|cause| error(Operation::Stat, cause.into()))?;
        let kind = EntryKind::of_mode(FileType::from_raw_mode(stat.st_mode));
        if kind != entry.kind || !self.is_as_listed(dir, entry, &file, &stat)? {
            return Err(error(Operation::Open, Cause::Swapped));
        }
        Ok(Unread { file, stat })
    }

    /// Makes the copy; nothing if something that stays took its name.
    fn make_link(
        &self,
        dir: &OpenDir,
        entry: &Admitted,
        source: &Unread,
    ) -> Result<Option<MadeLink>> {
        let source_error = |op, cause: Cause| Error::new(op, dir.source_path(&entry.name), cause);
        let stat = &source.stat;
        let recipe = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                Recipe::Link(readlinkat(&source.file, c"", Vec::new()).map_err(|cause| {
                    source_error(Operation::ReadLink, io::Error::from(cause).into())
                })?)
            }
            kind => Recipe::Special(kind, stat.st_rdev),
        };
        let make = |name: &OsStr| match &recipe {
            Recipe::Link(contents) => symlinkat(contents.as_c_str(), &dir.target, name),
            // Nobody else may open it until it has its owner and its mode.
            Recipe::Special(kind, device) => {
                mknodat(&dir.target, name, *kind, Mode::RUSR | Mode::WUSR, *device)
            }
        };
        let (mut identity, mut kept) = ((0, 0), false);
        let prepare = |name: &OsStr| {
            let made = fs::open_path(&dir.target, name)?;
            let copy = fs::stat(&made)?;
            // Whoever may exchange names here must not get another file's owner and mode changed.
            if !is_ours(&copy, stat) {
                return Err(io::Error::other(Cause::Swapped));
            }
            identity = (copy.st_dev, copy.st_ino);
            let (source, target) = (Node::path_only(&source.file), Node::path_only(&made));
            kept = self.keep(dir, entry, &Metadata { source, stat, target, existed: false });
            self.record_unnamed_link(dir, entry, [stat, &fs::stat(&made)?], kept, None);
            Ok(())
        };
        let op = if entry.kind == EntryKind::Link {
            Operation::CreateLink
        } else {
            Operation::CreateSpecialFile
        };
        let temporary = self.temporary_name(entry);
        let put = self.put(dir, entry, op, |may_replace| {
            fs::publish_made(
                &dir.target,
                entry.target_name(),
                may_replace,
                temporary.as_deref(),
                make,
                prepare,
            )
        })?;
        if put.is_some() {
            self.record_alone(dir, entry, (stat, kept), None);
        }
        Ok(put.map(|put| MadeLink { identity, kept, put }))
    }
}

/// Whether what was found can be what was just made from `source`: of the same kind, and under no
/// other name.
fn is_ours(found: &Stat, source: &Stat) -> bool {
    let kind = |stat: &Stat| FileType::from_raw_mode(stat.st_mode);
    kind(found) == kind(source) && found.st_rdev == source.st_rdev && found.st_nlink == 1
}
