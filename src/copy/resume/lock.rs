//! Opening and locking the journal's file: one run at a time.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::identity::{JournalIdentity, JournalPlace};
use crate::error::{Cause, Error, Operation, Result};
use crate::fs;

/// A journal that is open and locked.
pub struct Placed {
    /// Which of the places of its identity it lies in.
    pub place: usize,
    /// That place.
    pub folder: OwnedFd,
    /// The file.
    pub file: OwnedFd,
}

fn in_use(path: PathBuf) -> Error {
    Error::new(Operation::UseJournal, path, Cause::JournalInUse)
}

/// Opens and locks the journal that an earlier run left.
pub fn find(identity: &JournalIdentity) -> Result<Option<Placed>> {
    for (place, JournalPlace { folder, .. }) in identity.places.iter().enumerate() {
        match lock_existing(folder, &identity.journal_name()) {
            Ok(None) => {}
            Ok(Some((folder, file))) => return Ok(Some(Placed { place, folder, file })),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                return Err(in_use(identity.path(place)));
            }
            Err(cause) => {
                return Err(Error::new(Operation::OpenJournal, identity.path(place), cause));
            }
        }
    }
    Ok(None)
}

/// Makes a journal in the first place that takes it; nothing if there is one now.
pub fn make(identity: &JournalIdentity) -> Result<Option<Placed>> {
    let mut refused = None;
    for (place, JournalPlace { folder, .. }) in identity.places.iter().enumerate() {
        let made = fs::open_folder(folder, OFlags::RDONLY)
            .and_then(|folder| Ok((create(&folder, &identity.journal_name())?, folder)));
        match made {
            Ok((file, folder)) => return Ok(Some(Placed { place, folder, file })),
            Err(cause) if cause.raw_os_error() == Some(libc::EEXIST) => return Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                return Err(in_use(identity.path(place)));
            }
            Err(cause) => drop(refused.get_or_insert(Error::new(
                Operation::CreateJournal,
                identity.path(place),
                cause,
            ))),
        }
    }
    Err(refused.expect("there is a place for the journal"))
}

/// Makes and locks an empty journal: `WouldBlock` if another process was faster to lock it.
pub fn create(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
    lock(&file)?;
    match stands(folder, name, &file)? {
        true => Ok(file),
        // Empty as it was, another process has taken it for a damaged one and put its own in its
        // place.
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Where the filesystem has no locks (Lustre has to be asked for them), nobody is kept from copying
/// the same twice at once.
fn lock(file: &OwnedFd) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether it is this file that has the name.
fn stands(folder: &OwnedFd, name: &OsStr, file: &OwnedFd) -> io::Result<bool> {
    let stat = fs::stat(file)?;
    Ok(fs::stat_at(folder, name)?.is_some_and(|there| fs::same_file(&there, &stat)))
}

/// Opens and locks a journal, if there is one: `WouldBlock` if another process has it.
fn lock_existing(folder: &Path, name: &OsStr) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
    let folder = match fs::open_folder(folder, OFlags::RDONLY) {
        Ok(folder) => folder,
        Err(cause) if is_gone(&cause) => return Ok(None),
        Err(cause) => return Err(cause),
    };
    loop {
        let file = match fs::open_beneath(&folder, name, OFlags::RDWR | OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(cause) if cause.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(cause) => return Err(cause),
        };
        lock(&file)?;
        // Whoever had it may have removed it in between.
        if stands(&folder, name, &file)? {
            return Ok(Some((folder, file)));
        }
    }
}

/// Whether there is nothing of this name, on the way that was taken.
pub fn is_gone(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}
