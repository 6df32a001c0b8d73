//! Directories that are this process's own: those that it just made, and those whose rights it may
//! change.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::sys::call::{Access, AtFlags, accessat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::identity::born;
use super::{
    Clock, FileType, Grain, Moment, Node, Stat, Target, clock_of, grain_of_times, open_beneath,
    stat,
};

/// All rights of an owner.
pub const ALL_OF_OWNER: u32 = 0o700;

/// The rights of all others.
const ALL_OF_OTHERS: u32 = 0o077;

/// Whether a file's owner is this process's user, or what this filesystem makes of that user. NFS
/// maps root to nobody, and vfat has one owner for all: there a new file in `dir` tells.
pub fn is_own(dir: &Arc<OwnedFd>, found: &Stat) -> io::Result<bool> {
    if found.st_uid == geteuid().as_raw() {
        return Ok(true);
    }
    let probe = Target::create(dir, None)?;
    let owner = stat(probe.file()).map(|made| made.st_uid);
    probe.discard()?;
    Ok(owner? == found.st_uid)
}

/// Whether a directory can be the one that this process just made, and not `before` that moment:
/// its own, and empty or new. What an attacker puts in its place has another owner, or is older.
/// Another run of this user's may have put something into it already.
pub fn is_new_and_own(dir: &Arc<OwnedFd>, found: &Stat, before: Moment) -> io::Result<bool> {
    let is_dir = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    Ok(is_dir && is_own(dir, found)? && (is_empty(dir)? || is_born_since(dir, before)))
}

/// Whether a birth time shows that a directory is no older than a moment. Another machine's clock
/// shows nothing.
fn is_born_since(dir: &OwnedFd, moment: Moment) -> bool {
    let grain = grain_of_times(dir).unwrap_or(Grain::Nanosecond);
    let is_new = |born| born >= moment.cut(grain);
    clock_of(dir) != Clock::Elsewhere && born(dir, "".as_ref()).is_some_and(is_new)
}

fn is_empty(dir: &OwnedFd) -> io::Result<bool> {
    let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 512];
    let mut names = crate::sys::call::RawDir::new(dir, &mut buffer);
    while let Some(name) = names.next() {
        match name {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(name) if matches!(name.file_name().to_bytes(), b"." | b"..") => {}
            Ok(_) => return Ok(false),
        }
    }
    Ok(true)
}

/// Sees that a directory that was just made can be listed, and has all rights for its owner and
/// none for others. A umask may have taken rights away. A filesystem without modes has its own way
/// with both.
pub fn give_owner_all(dir: OwnedFd, made: &Stat) -> io::Result<OwnedFd> {
    use crate::sys::call::OFlags;
    let wanted = made.st_mode & !ALL_OF_OTHERS & 0o7777 | ALL_OF_OWNER;
    if made.st_mode & 0o7777 == wanted || made.st_uid != geteuid().as_raw() {
        return Ok(dir);
    }
    match Node::of(&dir)?.set_mode(wanted) {
        Err(error) if !super::is_unavailable(&error) => return Err(error),
        _ => {}
    }
    match super::is_path_only(&dir)? {
        true => open_beneath(&dir, ".".as_ref(), OFlags::RDONLY | OFlags::DIRECTORY),
        false => Ok(dir),
    }
}

/// Whether this process may not write into a directory, or may not look names up there, because its
/// mode, which is in `found`, keeps even its owner out.
pub fn needs_rights(dir: impl AsFd, found: &Stat) -> bool {
    found.st_mode & ALL_OF_OWNER != ALL_OF_OWNER
        && found.st_uid == geteuid().as_raw()
        && accessat(dir, c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_err()
}
