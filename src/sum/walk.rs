//! The walk through a directory whose files are hashed.
//!
//! Each directory is opened beneath its parent's descriptor and listed through it, as in a copy.
//! Links are not followed.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};

use crate::error::{Cause, Error, Operation, SpecialKind};
use crate::fs::{self, FileType, Stat};
use crate::tree::{EntryKind, Filter, Folder, ListedName, Listing};

/// What a walk meets.
pub enum WalkEvent {
    /// A regular file. Its directory stays open until the file is read.
    File(Arc<Folder>, OsString),
    /// The end of a directory's listing.
    DirEnd,
    /// Something without contents to hash, and its kind.
    Special(PathBuf, SpecialKind),
    /// The error of what cannot be listed.
    Failed(Error),
}

/// Walks the directory that the user named, and follows links on the way to it. Blocks until all of
/// it was met. The walk does not meet what `filter` excludes, and never opens an excluded
/// directory.
pub fn walk(root: &Path, filter: &Filter, meet: &mut dyn FnMut(WalkEvent)) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut levels = Vec::new();
    match rustix::fs::openat(CWD, root, flags, Mode::empty()) {
        Ok(file) => push(&mut levels, Folder { file, path: root.to_owned() }, meet),
        Err(cause) => meet(WalkEvent::Failed(Error::new(
            Operation::OpenDirectory,
            root,
            std::io::Error::from(cause),
        ))),
    }
    while let Some((dir, listing)) = levels.last_mut() {
        let listed = match listing.next_name() {
            Some(Ok(listed)) => listed,
            Some(Err(cause)) => {
                meet(WalkEvent::Failed(Error::new(Operation::ListDirectory, &dir.path, cause)));
                continue;
            }
            None => {
                meet(WalkEvent::DirEnd);
                levels.pop();
                continue;
            }
        };
        let kind = match kind(dir, &listed) {
            Ok(kind) => kind,
            Err(error) => {
                meet(WalkEvent::Failed(error));
                continue;
            }
        };
        match is_excluded(filter, root, dir, &listed, kind) {
            Ok(false) => {}
            Ok(true) => continue,
            Err(error) => {
                meet(WalkEvent::Failed(error));
                continue;
            }
        }
        match (kind, EntryKind::of_mode(kind)) {
            (FileType::Directory, _) => match descend(dir, &listed.name) {
                Ok(below) => push(&mut levels, below, meet),
                Err(error) => meet(WalkEvent::Failed(error)),
            },
            (_, EntryKind::File) => meet(WalkEvent::File(Arc::clone(dir), listed.name)),
            (_, EntryKind::Link) => {}
            (_, EntryKind::Special(kind)) => {
                meet(WalkEvent::Special(dir.path.join(listed.name), kind))
            }
        }
    }
}

fn is_excluded(
    filter: &Filter,
    root: &Path,
    dir: &Folder,
    listed: &ListedName,
    kind: FileType,
) -> Result<bool, Error> {
    if filter.has_rules() {
        let folder = dir.path.strip_prefix(root).unwrap_or(&dir.path);
        if filter.excludes(folder.join(&listed.name).as_os_str().as_bytes(), kind) {
            return Ok(true);
        }
    }
    if kind == FileType::RegularFile && filter.has_sizes() {
        return Ok(filter.excludes_size(stat(dir, listed)?.st_size as u64));
    }
    Ok(false)
}

/// The kind of an entry, also where the filesystem does not list it.
fn kind(dir: &Folder, listed: &ListedName) -> Result<FileType, Error> {
    match listed.kind {
        FileType::Unknown => Ok(FileType::from_raw_mode(stat(dir, listed)?.st_mode)),
        kind => Ok(kind),
    }
}

fn stat(dir: &Folder, listed: &ListedName) -> Result<Stat, Error> {
    let error = |cause| Error::new(Operation::Stat, dir.path.join(&listed.name), cause);
    let stat = fs::stat_at(&dir.file, &listed.name).map_err(error)?;
    stat.ok_or_else(|| error(std::io::Error::from_raw_os_error(libc::ENOENT)))
}

/// Lists a directory and makes it the last level.
fn push(levels: &mut Vec<(Arc<Folder>, Listing)>, dir: Folder, meet: &mut dyn FnMut(WalkEvent)) {
    match Listing::of(&dir.file) {
        Ok(listing) => levels.push((Arc::new(dir), listing)),
        Err(cause) => {
            meet(WalkEvent::Failed(Error::new(Operation::ListDirectory, &dir.path, cause)))
        }
    }
}

fn descend(parent: &Folder, name: &OsStr) -> Result<Folder, Error> {
    let path = parent.path.join(name);
    match fs::open_dir(&parent.file, name) {
        Ok(file) => Ok(Folder { file, path }),
        Err(error) => Err(match error.raw_os_error() {
            Some(libc::ENOTDIR | libc::ELOOP) => {
                Error::new(Operation::OpenDirectory, path, Cause::Swapped)
            }
            _ => Error::new(Operation::OpenDirectory, path, error),
        }),
    }
}
