//! What is asked of names, and done to them, by the file that has them.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};

use crate::sys::call::{AtFlags, CWD, IFlags, StatxAttributes, StatxFlags};
use crate::sys::call::{
    RenameFlags, ioctl_getflags, linkat, renameat, renameat_with, statx, unlinkat,
};
use rustix::io::Errno;

use super::facts::numbers_are_kept;
use super::identity::FileId;
use super::stat::{Stat, stat_at};
use super::unavailable::refuses;

/// linkat(2) of an open file. Linking by descriptor needs a right that not every process has; by
/// the name in /proc, any may.
pub(super) fn link_open(file: &OwnedFd, dir: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    match linkat(file, c"", dir.as_fd(), name, AtFlags::EMPTY_PATH) {
        Err(error) if error == Errno::NOENT || refuses(error) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, &*path, dir, name, AtFlags::SYMLINK_FOLLOW)
        }
        other => other,
    }
}

/// Gives what has a name in a directory another one there, whatever has that. Kernels before 3.15
/// have no `renameat2`.
pub fn rename(dir: impl AsFd, name: &OsStr, other: &OsStr) -> rustix::io::Result<()> {
    let dir = dir.as_fd();
    match renameat_with(dir, name, dir, other, RenameFlags::empty()) {
        Err(error) if refuses(error) => renameat(dir, name, dir, other),
        renamed => renamed,
    }
}

/// Gives what has a name in a directory another one there, or answers EEXIST. What comes back with
/// success is why the old name stays beside the new one.
///
/// Where `renameat2` knows no flags (NFS, kernels before 3.15), a second name refuses what is
/// taken. A filesystem without second names can only be asked a moment before.
pub fn rename_unless_taken(
    dir: impl AsFd,
    name: &OsStr,
    other: &OsStr,
) -> rustix::io::Result<Option<Errno>> {
    let dir = dir.as_fd();
    match renameat_with(dir, name, dir, other, RenameFlags::NOREPLACE) {
        Err(error) if refuses(error) => {}
        renamed => return renamed.map(|()| None),
    }
    match move_by_link(dir, name, other) {
        Err(error) if refuses(error) => {}
        moved => return moved,
    }
    match stat_at(dir, other) {
        Ok(None) => renameat(dir, name, dir, other).map(|()| None),
        Ok(Some(_)) => Err(Errno::EXIST),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
    }
}

/// Gives what has a name in a directory a second one that is free, and takes the first away. What
/// comes back with success is why the first stays.
pub(super) fn move_by_link(
    dir: impl AsFd,
    name: &OsStr,
    other: &OsStr,
) -> rustix::io::Result<Option<Errno>> {
    let dir = dir.as_fd();
    linkat(dir, name, dir, other, AtFlags::empty())?;
    Ok(unlinkat(dir, name, AtFlags::empty()).err())
}

/// Whether a file has a name.
pub(super) fn stands(dir: &OwnedFd, name: &OsStr, id: FileId) -> io::Result<bool> {
    Ok(look_at(dir, name, id)?.is_some())
}

/// What a file answers under a name, if it has it. Where the filesystem makes numbers up as it
/// goes, another number says nothing. What cannot be asked is asked once more, so that no name
/// stays for it.
pub(super) fn look_at(dir: &OwnedFd, name: &OsStr, id: FileId) -> io::Result<Option<Stat>> {
    Ok(match stat_at(dir, name).or_else(|_| stat_at(dir, name))? {
        Some(stat) if FileId::of(&stat) == id || !numbers_are_kept(dir)? => Some(stat),
        _ => None,
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
pub fn keeps_names(dir: &Arc<OwnedFd>) -> bool {
    thread_local! {
        static LAST: RefCell<(Weak<OwnedFd>, bool)> = const { RefCell::new((Weak::new(), false)) };
    }
    // A folder that is still referred to has its address for itself.
    let known = LAST.with_borrow(|(last, keeps)| {
        std::ptr::eq(last.as_ptr(), Arc::as_ptr(dir)).then_some(*keeps)
    });
    if let Some(keeps) = known {
        return keeps;
    }
    let keeps = is_append_only(dir);
    LAST.set((Arc::downgrade(dir), keeps));
    keeps
}

/// Whether a folder is append-only: statx(2), or ioctl_iflags(2) without that. One that does not
/// say so is not.
pub fn is_append_only(dir: impl AsFd) -> bool {
    match statx(dir.as_fd(), c"", AtFlags::EMPTY_PATH, StatxFlags::empty()) {
        Ok(answer) => answer.stx_attributes.contains(StatxAttributes::APPEND),
        Err(_) => ioctl_getflags(dir).is_ok_and(|flags| flags.contains(IFlags::APPEND)),
    }
}
