//! The entries of a directory that are to be copied, and the batches in which they are handed out.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use super::dir::Dir;
use crate::error::SpecialKind;
use crate::fs::FileType;

/// Entries that one worker takes at once.
///
/// They are enough to wait together until they are durable, and few enough to spread a directory
/// over workers.
pub const BATCH_ENTRIES: usize = 64;

/// What an entry is, as the listing said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// Anything else, by name.
    Special(SpecialKind),
}

impl EntryKind {
    /// The kind of something that is not a directory, by the type in its mode.
    pub fn of_mode(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Special(SpecialKind::Fifo),
            FileType::Socket => Self::Special(SpecialKind::Socket),
            FileType::BlockDevice => Self::Special(SpecialKind::BlockDevice),
            FileType::CharacterDevice => Self::Special(SpecialKind::CharacterDevice),
            _ => Self::Special(SpecialKind::Unknown),
        }
    }

    /// What it is called in a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Link => "symbolic link",
            Self::Special(kind) => kind.name(),
        }
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
    /// The inode number that the listing gave it; nothing where it must not be compared.
    pub ino: Option<u64>,
    /// The name is a symbolic link, and what it leads to is copied.
    pub followed: bool,
    /// What it leads to is a pipe or a terminal, which is read until it ends as if it was a file.
    pub is_stream: bool,
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
