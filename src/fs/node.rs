//! Metadata of an open file of any kind, read and set through its descriptor alone, so that no
//! swapped name can lead astray.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use crate::sys::call::{
    self as fs, AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::{Errno, retry_on_intr};

use super::{Stat, is_path_only, open_to_read};

/// What most values of extended attributes and lists of their names fit into; larger ones take a
/// second call.
const ATTRIBUTE_BYTES: usize = 512;

/// The extended attribute that holds the ACL of a file; see acl(5).
pub const ACL: &CStr = c"system.posix_acl_access";

/// An open file.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    fd: BorrowedFd<'a>,
    path_only: bool,
}

impl<'a> Node<'a> {
    /// A file or directory that is open for reading or writing.
    pub fn open(file: &'a impl AsFd) -> Self {
        Self { fd: file.as_fd(), path_only: false }
    }

    /// A file that is open with `O_PATH`, as symbolic links and devices have to be. The calls that
    /// refuse such a descriptor get its name in /proc. That leads to the file itself, also if it is
    /// a link; see proc_pid_fd(5).
    pub fn path_only(file: &'a impl AsFd) -> Self {
        Self { fd: file.as_fd(), path_only: true }
    }

    /// A file that is open in either way, which is asked of its descriptor.
    pub fn of(file: &'a impl AsFd) -> io::Result<Self> {
        Ok(Self { fd: file.as_fd(), path_only: is_path_only(file)? })
    }

    /// Whether it is open with `O_PATH`.
    pub fn is_path_only(self) -> bool {
        self.path_only
    }

    fn proc_path(self) -> CString {
        CString::new(format!("/proc/self/fd/{}", self.fd.as_raw_fd())).expect("a number has no NUL")
    }

    /// fstat(2).
    pub fn stat(self) -> io::Result<Stat> {
        Ok(fs::fstat(self.fd)?)
    }

    /// fchown(2); `None` leaves the owner.
    pub fn set_owner(self, user: Option<u32>, group: u32) -> io::Result<()> {
        let (user, group) = (user.map(Uid::from_raw), Some(Gid::from_raw(group)));
        self.by_descriptor_or_path(
            |file| Ok(fs::fchown(file, user, group)?),
            |_| Ok(fs::chownat(self.fd, c"", user, group, AtFlags::EMPTY_PATH)?),
        )
    }

    /// fchmod(2). A symbolic link has no mode to set.
    pub fn set_mode(self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        self.by_descriptor_or_path(
            |file| Ok(fs::fchmod(file, mode)?),
            |path| Ok(fs::chmodat(CWD, path, mode, AtFlags::empty())?),
        )
    }

    /// Makes the call for the descriptor, or the one for its name in /proc where there is no such
    /// call for this descriptor, or none at all.
    fn by_descriptor_or_path<T>(
        self,
        by_descriptor: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
        by_path: impl FnOnce(&CStr) -> io::Result<T>,
    ) -> io::Result<T> {
        let done = match self.path_only {
            true => None,
            false => Some(by_descriptor(self.fd)),
        };
        let is_missing = |error: &io::Error| error.raw_os_error() == Some(libc::ENOSYS);
        match done {
            Some(done) if !done.as_ref().is_err_and(is_missing) => done,
            _ => by_path(&self.proc_path()),
        }
    }

    /// Access and modification time: futimens(3).
    pub fn set_times(self, stat: &Stat) -> io::Result<()> {
        let times = Timestamps {
            last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
            last_modification: Timespec {
                tv_sec: stat.st_mtime as _,
                tv_nsec: stat.st_mtime_nsec as _,
            },
        };
        match self.path_only {
            true => fs::utimensat(CWD, &*self.proc_path(), &times, AtFlags::empty()),
            false => fs::futimens(self.fd, &times),
        }
        .map_err(io::Error::from)
    }

    /// The names of its extended attributes, without those that only the kernel's own tools may
    /// see; see listxattr(2). A filesystem that has no attributes has no names.
    pub fn attributes(self) -> io::Result<Vec<CString>> {
        let list = self.by_descriptor_or_path(
            |file| growing(|buffer| fs::flistxattr(file, buffer)),
            |path| growing(|buffer| fs::listxattr(path, buffer)),
        )?;
        let names = list.unwrap_or_default();
        let names = names.split_inclusive(|&byte| byte == 0);
        Ok(names
            .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
            .map(CStr::to_owned)
            .collect())
    }

    /// The value of an extended attribute; `None` where there is no such attribute, or none at all
    /// on this filesystem. See getxattr(2).
    pub fn attribute(self, name: &CStr) -> io::Result<Option<Vec<u8>>> {
        self.by_descriptor_or_path(
            |file| growing(|buffer| fs::fgetxattr(file, name, buffer)),
            |path| growing(|buffer| fs::getxattr(path, name, buffer)),
        )
    }

    /// setxattr(2).
    pub fn set_attribute(self, name: &CStr, value: &[u8]) -> io::Result<()> {
        self.by_descriptor_or_path(
            |file| Ok(fs::fsetxattr(file, name, value, XattrFlags::empty())?),
            |path| Ok(fs::setxattr(path, name, value, XattrFlags::empty())?),
        )
    }

    /// removexattr(2). One that is not there is removed already.
    pub fn remove_attribute(self, name: &CStr) -> io::Result<()> {
        let removed = self.by_descriptor_or_path(
            |file| Ok(fs::fremovexattr(file, name)?),
            |path| Ok(fs::removexattr(path, name)?),
        );
        match removed {
            Err(error)
                if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) =>
            {
                Ok(())
            }
            removed => removed,
        }
    }
}

/// The value of an extended attribute of what `name` is in `dir`, a link itself if it is one, with
/// one call; see lgetxattr(2). Where there is no /proc a file is opened for it, if it may be read.
pub fn attribute_at(dir: impl AsFd, name: &OsStr, which: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).into_bytes();
    path.extend(name.as_bytes());
    growing(|buffer| fs::lgetxattr(&*path, which, buffer))
        .or_else(|_| Node::open(&open_to_read(dir, name)?).attribute(which))
}

/// Calls with a larger buffer until the answer fits. No answer where there is nothing to be had.
fn growing(
    mut call: impl FnMut(rustix::buffer::SpareCapacity<'_, u8>) -> rustix::io::Result<usize>,
) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(ATTRIBUTE_BYTES);
    loop {
        let done = retry_on_intr(|| call(rustix::buffer::spare_capacity(&mut bytes)));
        match done {
            Ok(_) => return Ok(Some(bytes)),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            // Neither a value nor a list is larger than 64 KiB, see xattr(7).
            Err(Errno::RANGE) if bytes.capacity() < 1 << 17 => bytes.reserve(bytes.capacity() * 4),
            Err(error) => return Err(error.into()),
        }
    }
}
