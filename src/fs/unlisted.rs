//! Making names durable, also in folders that may be written into and not listed.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::sys::call::{Mode, OFlags, openat, syncfs};
use rustix::io::Errno;

use super::sync::{sync_file, sync_filesystem};
use super::target::Target;

/// What makes the names in a directory durable that is open as a place alone. It is held while the
/// rights last, which the directory's final mode may take away.
pub enum NameSync {
    /// It may be listed after all, and so be synced.
    Folder(OwnedFd),
    /// It may not. A file without a name in it takes syncfs(2) to its filesystem, names and all.
    Filesystem(Target),
    /// It may not, and a file in it has a name, which changes the directory and has to go before
    /// the rights do: all was synced at once, but for what is done from now on.
    Done,
    /// Nothing may be made in it, so that no name in it is this run's.
    Nothing,
}

impl NameSync {
    /// Finds out what may be done in a directory.
    pub fn hold(dir: &Arc<OwnedFd>) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(dir, c".", flags, Mode::empty()) {
            Err(Errno::ACCESS) => {}
            other => return Ok(Self::Folder(other?)),
        }
        match Target::create(dir, None) {
            Ok(file) if file.is_named() => {
                let synced = syncfs(file.file());
                let discarded = file.discard();
                synced?;
                discarded.map(|()| Self::Done)
            }
            Ok(file) => Ok(Self::Filesystem(file)),
            Err(error) => match error.raw_os_error() {
                Some(libc::EACCES | libc::EPERM | libc::EROFS) => Ok(Self::Nothing),
                _ => Err(error),
            },
        }
    }

    /// Makes the names durable, and the directory's metadata.
    pub fn sync(self) -> io::Result<()> {
        match self {
            Self::Folder(folder) => sync_file(folder),
            Self::Filesystem(file) => {
                let synced = sync_filesystem(file.file());
                let discarded = file.discard();
                synced?;
                discarded
            }
            Self::Done | Self::Nothing => Ok(()),
        }
    }
}

/// Makes the names in a folder durable, where there is such a thing.
pub fn sync_folder(folder: &OwnedFd) -> io::Result<()> {
    match sync_file(folder) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => {
            NameSync::hold(&Arc::new(folder.try_clone()?))?.sync()
        }
        other => other,
    }
}
