//! A directory of a walk: the names that are left in it, and the batch that is being filled.

use std::ffi::{OsStr, OsString};
use std::io;
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;

use super::dir::{Dir, OpenDir};
use super::entry::{BATCH_ENTRIES, Batch, Entry};
use super::listing::{ListedName, Listing, Remembered};
use super::visitor::Follow;
use crate::error::{Error, Operation};
use crate::fs::{self, FileType, Stat};

/// Where a walk takes the names in a directory from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamesFrom {
    /// The directory's listing.
    Listing,
    /// A list of paths: the walk looks up each name that it wants.
    List,
}

/// A directory that was entered and is not finished.
pub struct Level {
    /// The directory.
    pub dir: Arc<Dir>,
    /// The length of its path below the operand.
    pub path_bytes: usize,
    /// How many bytes of names were remembered.
    pub remembered_bytes: usize,
    names: NamesLeft,
    batch: Vec<Entry>,
}

/// The names that are left in a directory.
enum NamesLeft {
    Open(Listing),
    Remembered(Remembered),
}

impl NamesLeft {
    fn none() -> Self {
        Self::Remembered(Remembered::default())
    }
}

impl Level {
    /// A directory that was just entered.
    pub fn new(dir: &OpenDir, names: NamesFrom, path_bytes: usize) -> Result<Self, Error> {
        let names = match names {
            NamesFrom::Listing => NamesLeft::Open(
                Listing::of(&dir.source).map_err(|cause| list_error(dir.dir(), cause))?,
            ),
            NamesFrom::List => NamesLeft::none(),
        };
        let (dir, batch) = (Arc::clone(dir.dir()), Vec::new());
        Ok(Self { dir, path_bytes, remembered_bytes: 0, names, batch })
    }

    /// The next name. A listing that was broken off is opened again for it.
    pub fn next_name(&mut self) -> Option<Result<ListedName, Error>> {
        if let NamesLeft::Remembered(names) = &mut self.names
            && names.has_rest()
        {
            let rest = self.dir.open().and_then(|dir| {
                names.rest(&dir.source).map_err(|cause| list_error(&self.dir, cause))
            });
            match rest {
                Ok(listing) => self.names = NamesLeft::Open(listing),
                Err(error) => {
                    self.names = NamesLeft::none();
                    return Some(Err(error));
                }
            }
        }
        let listed = match &mut self.names {
            NamesLeft::Open(listing) => listing.next_name(),
            NamesLeft::Remembered(names) => names.next_name(),
        };
        listed.map(|listed| listed.map_err(|cause| list_error(&self.dir, cause)))
    }

    /// Whether the listing is open.
    pub fn is_listing(&self) -> bool {
        matches!(self.names, NamesLeft::Open(_))
    }

    /// Closes the listing, if it is open, and remembers up to `bytes_max` of it.
    pub fn remember(&mut self, bytes_max: usize) {
        self.names = match mem::replace(&mut self.names, NamesLeft::none()) {
            NamesLeft::Open(listing) => {
                let names = listing.remember(bytes_max);
                self.remembered_bytes = names.len_bytes();
                NamesLeft::Remembered(names)
            }
            names => names,
        };
    }

    /// Adds an entry to the batch, and answers with the batch once it is full.
    pub fn push(&mut self, entry: Entry) -> Option<Batch> {
        self.batch.push(entry);
        if self.batch.len() == BATCH_ENTRIES { self.take_batch() } else { None }
    }

    /// The batch as far as it is filled, with a hold on the directory.
    pub fn take_batch(&mut self) -> Option<Batch> {
        if self.batch.is_empty() {
            return None;
        }
        self.dir.hold();
        Some(Batch { dir: Arc::clone(&self.dir), entries: mem::take(&mut self.batch) })
    }

    /// Stat of a name in the source, which has to be there.
    pub fn stat(&self, name: &OsStr) -> Result<Stat, Error> {
        fs::stat_at(&self.dir.open()?.source, name)
            .and_then(|stat| stat.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
            .map_err(|cause| Error::new(Operation::Stat, self.dir.source_path(name), cause))
    }

    /// Looks for a path below, without opening any directory to be listed.
    pub fn look_for(&self, path: &[OsString], follow: Follow) -> Result<(), Error> {
        let Some((last, folders)) = path.split_last() else { return Ok(()) };
        let mut dir = Arc::clone(&self.dir.open()?.source);
        let found = folders.iter().try_for_each(|name| {
            dir = Arc::new(match follow {
                Follow::Always => fs::open_path_behind(&*dir, name)?,
                Follow::Never | Follow::Operands => fs::open_path(&*dir, name)?,
            });
            Ok(())
        });
        found
            .and_then(|()| fs::stat_at(&*dir, last))
            .and_then(|stat| stat.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
            .map(drop)
            .map_err(|cause| {
                let below: PathBuf = path.iter().collect();
                Error::new(Operation::Stat, self.dir.source_path(below.as_os_str()), cause)
            })
    }

    /// The kind of what a symbolic link in the source leads to.
    pub fn kind_behind(&self, name: &OsStr) -> Result<FileType, Error> {
        let stat = fs::stat_following(&self.dir.open()?.source, name).map_err(|cause| {
            Error::new(Operation::FollowLink, self.dir.source_path(name), cause)
        })?;
        Ok(FileType::from_raw_mode(stat.st_mode))
    }
}

fn list_error(dir: &Dir, cause: io::Error) -> Error {
    Error::new(Operation::ListDirectory, dir.source_path(OsStr::new("")), cause)
}
