//! What the kernel would say to a new name, or to a write, for those that only want to know.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use crate::sys::call::{Access, AtFlags, Statx, StatxAttributes, StatxFlags, accessat, statx};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::unavailable::answers_nothing;

const STICKY_BIT: u16 = 0o1000;

/// Whether a name may be given in `dir` to something new: the answer is the error that it would
/// meet there. What cannot be asked is not foreseen.
pub fn may_make(dir: impl AsFd) -> io::Result<()> {
    match accessat(dir.as_fd(), c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        // EPERM is the answer of a folder that is immutable.
        Err(error) if error != Errno::PERM && answers_nothing(error) => {}
        answer => answer?,
    }
    match look(dir, OsStr::new(""))?.is_some_and(|folder| has(&folder, StatxAttributes::IMMUTABLE))
    {
        true => Err(Errno::PERM.into()),
        false => Ok(()),
    }
}

/// Whether something new may take the `name` of something in `dir`, as far as that can be foreseen;
/// see rename(2).
pub fn may_replace(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    let Some((folder, stands)) = look(dir.as_fd(), OsStr::new(""))?.zip(look(dir, name)?) else {
        return Ok(());
    };
    if stands.stx_mnt_id != folder.stx_mnt_id {
        return Err(Errno::BUSY.into());
    }
    let user = geteuid();
    let is_kept = folder.stx_mode & STICKY_BIT != 0
        && !user.is_root()
        && ![folder.stx_uid, stands.stx_uid].contains(&user.as_raw());
    match is_kept || is_unchanging(&folder) || is_unchanging(&stands) {
        true => Err(Errno::PERM.into()),
        false => Ok(()),
    }
}

/// Whether what has the `name` in `dir` may be written into, as far as that can be foreseen; see
/// open(2).
pub fn may_write(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    match accessat(dir.as_fd(), name, Access::WRITE_OK, AtFlags::EACCESS) {
        // EPERM is the answer of a file that is immutable.
        Err(error) if error != Errno::PERM && answers_nothing(error) => {}
        answer => answer?,
    }
    match look(dir, name)?.is_some_and(|stands| is_unchanging(&stands)) {
        true => Err(Errno::PERM.into()),
        false => Ok(()),
    }
}

/// What statx(2) says; nothing where it gives no answer.
fn look(dir: impl AsFd, name: &OsStr) -> io::Result<Option<Statx>> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT;
    match statx(dir, name, flags, StatxFlags::BASIC_STATS | StatxFlags::MNT_ID) {
        Err(error) if answers_nothing(error) => Ok(None),
        answer => Ok(Some(answer?)),
    }
}

fn has(statx: &Statx, attribute: StatxAttributes) -> bool {
    statx.stx_attributes.contains(attribute)
}

/// Whether it may neither be replaced nor be written over.
fn is_unchanging(statx: &Statx) -> bool {
    has(statx, StatxAttributes::IMMUTABLE) || has(statx, StatxAttributes::APPEND)
}
