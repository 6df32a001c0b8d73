//! What stands where something is written when the copy is over: whether it may be replaced, and
//! whose it stays.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::fs::call::CWD;
use crate::fs::{self, FileType, Node, Stat, umask};

/// The rights of all but the owner that a mode gives to the group, and to others.
const GROUP_BITS_SHIFT: u32 = 3;
const BITS: u32 = 0o7;

/// How a file gets what is written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// It appears, or takes the place of one, in one step.
    Replace,
    /// It is written over, since nothing may take its place: its folder may not be written, or is
    /// sticky, or the file is a mount point.
    Over,
}

/// How `path` can be written, or the error that this would meet. What the copy makes or changes is
/// not foreseen, so that nothing is said of a folder in the `destination`.
pub fn foresee(path: &Path, destination: &Path) -> io::Result<Writing> {
    let Some(name) = path.file_name() else {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    };
    let is_of_copy = path.starts_with(destination);
    let folder = match fs::open_path_behind(CWD, folder_of(path).as_os_str()) {
        Err(_) if is_of_copy => return Ok(Writing::Replace),
        folder => folder?,
    };
    let stands = fs::stat_at(&folder, name)?.is_some();
    let replaced = fs::may_make(&folder)
        .and_then(|()| if stands { fs::may_replace(&folder, name) } else { Ok(()) });
    match replaced {
        Ok(()) => Ok(Writing::Replace),
        // A kernel or a sandbox that cannot be asked says nothing of the file.
        Err(cause) if cause.raw_os_error() == Some(libc::ENOSYS) => Ok(Writing::Replace),
        Err(_) if stands && open_over(path).is_ok() => Ok(Writing::Over),
        Err(_) if is_of_copy => Ok(Writing::Replace),
        Err(cause) => Err(cause),
    }
}

/// The folder that a path is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Opens a file that is written over. No link that stands there by now leads elsewhere.
pub fn open_over(path: &Path) -> io::Result<File> {
    File::options().write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

/// Gives a new file what open(2) would give it, or what the regular file has whose place it takes:
/// owner, mode and ACL. Where one of them cannot be kept, no one gets a right from that.
pub fn give_rights(file: &File, folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let node = Node::open(file);
    let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let Some(stands) = fs::stat_at(folder, name)?.filter(is_file) else {
        // No thread is left that makes files meanwhile.
        return set_mode(node, 0o666 & !umask());
    };
    let made = node.stat()?;
    let mut mode = stands.st_mode & 0o777;
    if (made.st_uid, made.st_gid) != (stands.st_uid, stands.st_gid)
        && node.set_owner(Some(stands.st_uid), stands.st_gid).is_err()
        && node.set_owner(None, stands.st_gid).is_err()
    {
        // Its group is another one, which gets what all others have.
        let others = mode & BITS;
        mode = mode & !(BITS << GROUP_BITS_SHIFT) | others << GROUP_BITS_SHIFT;
    }
    if !keeps_acl(node, folder, name).unwrap_or(false) {
        mode &= !(BITS << GROUP_BITS_SHIFT);
    }
    set_mode(node, mode)
}

/// Sets a mode; where none can be set, the file stays its owner's alone.
fn set_mode(node: Node<'_>, mode: u32) -> io::Result<()> {
    match node.set_mode(mode) {
        Err(cause) if fs::is_unavailable(&cause) => Ok(()),
        set => set,
    }
}

/// Gives a file the ACL of the one whose place it takes, and not what its folder passes on. False
/// if it cannot have that.
fn keeps_acl(node: Node<'_>, folder: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    Ok(match fs::attribute_at(folder, name, fs::ACL)? {
        Some(acl) => node.set_attribute(fs::ACL, &acl).is_ok(),
        None => match node.attribute(fs::ACL)? {
            Some(_) => node.remove_attribute(fs::ACL).is_ok(),
            None => true,
        },
    })
}
