//! What is asked of names, and done to them, by the file that has them.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, linkat, statx, unlinkat};
use rustix::io::Errno;

use super::facts::numbers_are_kept;
use super::identity::FileId;
use super::stat::stat_at;

/// linkat(2) of an open file. Linking by descriptor needs a right that not every process has; by
/// the name in /proc, any may.
pub(super) fn link_open(file: &OwnedFd, dir: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    match linkat(file, c"", dir.as_fd(), name, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
        }
        other => other,
    }
}

/// Whether a file has a name. Where the filesystem makes numbers up as it goes, another number says
/// nothing. What cannot be asked is asked once more, so that no name stays for it.
pub(super) fn stands(dir: &OwnedFd, name: &OsStr, id: FileId) -> io::Result<bool> {
    Ok(match stat_at(dir, name).or_else(|_| stat_at(dir, name))? {
        None => false,
        Some(stat) => FileId::of(&stat) == id || !numbers_are_kept(dir)?,
    })
}

/// Removes a name, if this file has it.
pub fn unlink_if(dir: &OwnedFd, name: &OsStr, id: FileId) -> io::Result<()> {
    if !stands(dir, name, id)? {
        return Ok(());
    }
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether a folder lets no name go that it has (`chattr +a`): nothing that is to go again may be
/// made in it. Each thread asks once for each folder.
pub fn keeps_names(dir: &Arc<OwnedFd>) -> io::Result<bool> {
    thread_local! {
        static LAST: RefCell<(Weak<OwnedFd>, bool)> = const { RefCell::new((Weak::new(), false)) };
    }
    // A folder that is still referred to has its address for itself.
    let known = LAST.with_borrow(|(last, keeps)| {
        std::ptr::eq(last.as_ptr(), Arc::as_ptr(dir)).then_some(*keeps)
    });
    if let Some(keeps) = known {
        return Ok(keeps);
    }
    let keeps = is_append_only(dir)?;
    LAST.set((Arc::downgrade(dir), keeps));
    Ok(keeps)
}

/// Whether a folder is append-only. One that does not say so is not.
pub fn is_append_only(dir: impl AsFd) -> io::Result<bool> {
    match statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::empty()) {
        Ok(answer) => Ok(answer.stx_attributes.contains(StatxAttributes::APPEND)),
        Err(Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
