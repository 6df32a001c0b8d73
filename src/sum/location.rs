//! Where a file to be hashed is, and how it is opened.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::fs::call::OFlags;

use crate::error::{Cause, Error, Operation, Result, SpecialKind};
use crate::fs::{self, FileType, ReadFrom, Stat};
use crate::tree::{Dir, EntryKind};

/// Where a file is.
#[derive(Clone)]
pub enum Location {
    /// Standard input.
    Stdin,
    /// What the user named: anything that can be read, links followed.
    Named(PathBuf),
    /// What a manifest names: a regular file, links followed.
    Listed(PathBuf),
    /// What a manifest names, found beneath a directory, out of which no link leads.
    Beneath(Arc<OwnedFd>, PathBuf),
    /// A file that a walk found.
    In(Arc<Dir>, OsString),
}

/// A regular file that was opened.
pub(super) struct OpenFile {
    pub file: OwnedFd,
    pub stat: Stat,
    /// Whether it has `O_DIRECT`.
    pub is_direct: bool,
}

impl Location {
    /// The path as the user would write it.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Stdin => "-".into(),
            Self::Named(path) | Self::Listed(path) | Self::Beneath(_, path) => path.clone(),
            Self::In(dir, name) => dir.source_path(name),
        }
    }

    /// Whether it has no offsets, and may keep its reader waiting. One whose metadata cannot be
    /// read cannot be opened either, which is an error then.
    pub(super) fn is_stream(&self) -> bool {
        match self {
            Self::Stdin => true,
            Self::Named(path) => {
                path.metadata().is_ok_and(|stat| !stat.is_file() && !stat.is_dir())
            }
            _ => false,
        }
    }

    /// Opens what is a stream.
    pub(super) fn open_stream(&self) -> Result<File> {
        let opened = match self {
            Self::Stdin => {
                fs::stdin().and_then(|stdin| stdin.as_fd().try_clone_to_owned()).map(File::from)
            }
            location => location.refuse_closed_stdin().and_then(|()| File::open(location.path())),
        };
        opened.map_err(|cause| self.open_error(cause))
    }

    /// Opens what has to be a regular file, to be read from there if it is in a tree.
    pub(super) fn open(&self, read_from: ReadFrom) -> Result<OpenFile> {
        let error = |op, cause: Cause| Error::new(op, self.path(), cause);
        let pause = |moment: Instant| {
            std::thread::sleep(moment.saturating_duration_since(Instant::now()));
            true
        };
        let opened = match self {
            // A directory that was closed meanwhile is opened again.
            Self::In(dir, name) => {
                let open = dir.open()?;
                let open = || fs::open_to_read_from(read_from, &open.source, name);
                fs::wait_for_lease(open, pause)
            }
            location => {
                fs::wait_for_lease(|| location.open_by_path(), pause).map(|file| (file, false))
            }
        };
        let (file, is_direct) = opened.map_err(|cause| match (self, cause.raw_os_error()) {
            // The listing said that it is a file, and a link is never followed.
            (Self::In(..), Some(libc::ELOOP)) => error(Operation::Open, Cause::Swapped),
            // openat2 with RESOLVE_BENEATH says so.
            (Self::Beneath(..), Some(libc::EXDEV)) => error(Operation::Open, Cause::LeadsOutside),
            _ => self.open_error(cause),
        })?;
        let stat = fs::stat(&file).map_err(|cause| error(Operation::Stat, cause.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(OpenFile { file, stat, is_direct }),
            FileType::Directory => {
                Err(error(Operation::Read, io::Error::from_raw_os_error(libc::EISDIR).into()))
            }
            kind => match EntryKind::of_mode(kind) {
                EntryKind::Special(kind) if !matches!(self, Self::In(..)) => {
                    Err(error(Operation::Read, Cause::NotRegular(kind)))
                }
                _ => Err(error(Operation::Open, Cause::Swapped)),
            },
        }
    }

    fn open_error(&self, cause: io::Error) -> Error {
        let path = self.path();
        match cause.raw_os_error() {
            // What open(2) says to a socket or a device without a driver.
            Some(libc::ENXIO) => {
                let cause = Cause::NotRegular(SpecialKind::SocketOrDevice);
                Error::new(Operation::Open, path, cause)
            }
            _ => Error::new(Operation::Open, path, cause),
        }
    }

    /// A standard input that was closed has no other name either.
    fn refuse_closed_stdin(&self) -> io::Result<()> {
        match self {
            Self::Named(path) | Self::Listed(path) if fs::is_stdin(path) => fs::stdin().map(drop),
            _ => Ok(()),
        }
    }

    /// Opens what should be a regular file. A FIFO is not waited for, and the access time is left
    /// alone where that is allowed.
    fn open_by_path(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match self {
            Self::Stdin | Self::In(..) => unreachable!("neither has a path of its own"),
            Self::Named(path) => {
                self.refuse_closed_stdin()?;
                open_untraced(path, flags)
            }
            Self::Listed(path) => {
                self.refuse_closed_stdin()?;
                open_regular(fs::open_any_length(path, OFlags::PATH | OFlags::CLOEXEC)?, flags)
            }
            Self::Beneath(root, path) => {
                let place = fs::open_path_beneath(root, path, OFlags::PATH | OFlags::CLOEXEC)?;
                open_regular(place, flags)
            }
        }
    }
}

fn open_untraced(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    match fs::open_any_length(path, flags | OFlags::NOATIME) {
        // Only a file's owner may read it without a trace.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => fs::open_any_length(path, flags),
        other => other,
    }
}

/// Opens what a manifest names if it is a regular file. Opening a device can do something, and a
/// manifest may be anybody's, so that anything else stays the place that it is.
fn open_regular(place: OwnedFd, flags: OFlags) -> io::Result<OwnedFd> {
    match FileType::from_raw_mode(fs::stat(&place)?.st_mode) {
        FileType::RegularFile => {
            let path = format!("/proc/self/fd/{}", place.as_raw_fd());
            open_untraced(Path::new(&path), flags)
        }
        _ => Ok(place),
    }
}

/// Whether `path` stands for standard input in a line, as b3sum prints it.
pub fn is_dash(path: &Path) -> bool {
    path.as_os_str().as_bytes() == b"-"
}
