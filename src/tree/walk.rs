//! The walker: it lists directories, opens pairs of them, and hands out the rest in batches.
//!
//! Each directory is opened beneath its parent's descriptor and listed from `/proc/self/fd/N`, so that neither a swapped link nor
//! a path longer than PATH_MAX can lead it astray. It holds one listing a level and one batch a level, never a tree.

use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

use rustix::fs::Mode;
use rustix::io::Errno;
use walkdir::WalkDir;

use super::dir::{Dir, Operand};
use crate::error::{Cause, Error};
use crate::sys::fs;

/// Entries that one worker takes at once: enough to share an fsync, few enough to spread a directory over workers.
pub const BATCH_ENTRIES: usize = 64;

/// What an entry is, as the listing said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// Anything else, by name.
    Special(&'static str),
}

impl EntryKind {
    /// The kind of something that is not a directory, by the type in its mode.
    pub fn of_mode(kind: fs::FileType) -> Self {
        match kind {
            fs::FileType::RegularFile => Self::File,
            fs::FileType::Symlink => Self::Link,
            fs::FileType::Fifo => Self::Special("FIFO"),
            fs::FileType::Socket => Self::Special("socket"),
            fs::FileType::BlockDevice => Self::Special("block device"),
            fs::FileType::CharacterDevice => Self::Special("character device"),
            _ => Self::Special("file of unknown kind"),
        }
    }

    /// The kind of a listed entry that is not a directory.
    pub fn of(kind: std::fs::FileType) -> Self {
        use fs::FileType as Raw;
        Self::of_mode(match kind {
            kind if kind.is_file() => Raw::RegularFile,
            kind if kind.is_symlink() => Raw::Symlink,
            kind if kind.is_fifo() => Raw::Fifo,
            kind if kind.is_socket() => Raw::Socket,
            kind if kind.is_block_device() => Raw::BlockDevice,
            kind if kind.is_char_device() => Raw::CharacterDevice,
            _ => Raw::Unknown,
        })
    }
}

/// A name in a directory that is to be copied.
#[derive(Debug)]
pub struct Entry {
    /// Its name in the source.
    pub name: OsString,
    /// Its name in the destination, where that is another.
    pub renamed: Option<OsString>,
    /// What the listing said it is.
    pub kind: EntryKind,
}

impl Entry {
    /// Its name in the destination.
    pub fn target_name(&self) -> &OsStr {
        self.renamed.as_deref().unwrap_or(&self.name)
    }
}

/// Some entries of one directory. It counts as one hold on the directory.
pub struct Batch {
    /// The directory.
    pub dir: Arc<Dir>,
    /// What to copy there.
    pub entries: Vec<Entry>,
}

/// Who takes what the walker finds.
pub trait Visitor {
    /// Takes a batch; it may block until there is room.
    fn batch(&self, batch: Batch);
    /// A directory was made or found in the destination.
    fn entered(&self);
    /// The walker lets go of a directory.
    fn release(&self, dir: Arc<Dir>);
    /// Something cannot be listed or made.
    fn failed(&self, error: Error);
}

struct Level {
    dir: Arc<Dir>,
    listing: walkdir::IntoIter,
    batch: Vec<Entry>,
}

/// Walks the directory `name` of `parent`, copying it to `target_name`; blocks until all of it is handed out.
pub fn walk(parent: &Arc<Dir>, name: &OsStr, target_name: &OsStr, visitor: &impl Visitor) {
    let mut levels: Vec<Level> = Vec::new();
    descend(&mut levels, parent, name, target_name, visitor);
    while let Some(level) = levels.last_mut() {
        match level.listing.next() {
            Some(Ok(found)) if found.file_type().is_dir() => {
                let dir = Arc::clone(&level.dir);
                let name = found.file_name();
                descend(&mut levels, &dir, name, name, visitor);
            }
            Some(Ok(found)) => {
                let (name, kind) = (found.file_name().to_owned(), EntryKind::of(found.file_type()));
                level.batch.push(Entry { name, renamed: None, kind });
                if level.batch.len() == BATCH_ENTRIES {
                    send(level, visitor);
                }
            }
            Some(Err(error)) => {
                let path = level.dir.source_path(OsStr::new(""));
                // The walker's own text would name /proc/self/fd.
                let cause = error.into_io_error().unwrap_or_else(|| std::io::ErrorKind::Other.into());
                visitor.failed(Error::new("list directory", path, cause));
            }
            None => {
                send(level, visitor);
                if let Some(level) = levels.pop() {
                    visitor.release(level.dir);
                }
            }
        }
    }
}

fn send(level: &mut Level, visitor: &impl Visitor) {
    if !level.batch.is_empty() {
        let entries = std::mem::take(&mut level.batch);
        level.dir.hold();
        visitor.batch(Batch { dir: Arc::clone(&level.dir), entries });
    }
}

/// Opens the pair of directories and puts its listing on top.
fn descend(levels: &mut Vec<Level>, parent: &Arc<Dir>, name: &OsStr, target_name: &OsStr, visitor: &impl Visitor) {
    let top = levels.first().map(|level| &*level.dir);
    match open_pair(parent, name, target_name, top) {
        Ok(dir) => {
            visitor.entered();
            let root = format!("/proc/self/fd/{}", dir.source.as_raw_fd());
            let listing = WalkDir::new(root).min_depth(1).max_depth(1).into_iter();
            levels.push(Level { dir, listing, batch: Vec::new() });
        }
        Err(error) => visitor.failed(error),
    }
}

/// Opens a directory of the source and makes its counterpart. `top` is the first pair of this walk: a source that
/// leads back into the top's destination, as a bind mount can, would never end.
fn open_pair(parent: &Arc<Dir>, name: &OsStr, target_name: &OsStr, top: Option<&Dir>) -> Result<Arc<Dir>, Error> {
    let source_error = |op, cause: Cause| Error::new(op, parent.source_path(name), cause);
    let target_error = |op, cause: Cause| Error::new(op, parent.target_path(target_name), cause);

    let source = fs::open_dir(&parent.source, name).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOTDIR | libc::ELOOP) => source_error("open directory", Cause::Swapped),
        _ => source_error("open directory", error.into()),
    })?;
    let stat = fs::stat(&source).map_err(|error| source_error("stat", error.into()))?;
    if let Some(top) = top {
        let target = fs::stat(&*top.target).map_err(|error| target_error("stat", error.into()))?;
        if fs::same_file(&stat, &target) {
            return Err(source_error("copy directory", Cause::IntoItself(top.source_path(OsStr::new("")))));
        }
    }
    // Nobody else may look in until it has its final mode.
    let fresh = match rustix::fs::mkdirat(&*parent.target, target_name, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(target_error("create directory", std::io::Error::from(error).into())),
    };
    let target = fs::open_dir(&*parent.target, target_name).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOTDIR | libc::ELOOP) => target_error("create directory", Cause::FileInTheWay),
        _ => target_error("open directory", error.into()),
    })?;
    parent.hold();
    let operand = Operand::Child {
        parent: Arc::clone(parent),
        source_name: name.to_owned(),
        target_name: target_name.to_owned(),
        stat: Box::new(stat),
    };
    Ok(Dir::new(source, target, fresh, operand))
}
