//! What earlier runs of the same copy left under hidden names, which say themselves whose they are.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use crate::fs::{self, FileId, Mark, Node, Stat};

/// What runs of the same copy made in a folder, and have not removed.
pub fn leftovers(folder: &OwnedFd, mark: Mark) -> io::Result<Vec<(OsString, Stat)>> {
    let mut found = Vec::new();
    for entry in fs::list(folder, 0)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if let Some(stat) = mark.find(folder, name)? {
            found.push((name.to_owned(), stat));
        }
    }
    Ok(found)
}

/// Removes a name that this file has from a folder that has its source's times already.
pub fn unlink_leaving_times(folder: &OwnedFd, name: &OsStr, file: &Stat) -> io::Result<()> {
    leaving_times(folder, || fs::unlink_if(folder, name, FileId::of(file)))
}

/// Changes a folder that has its source's times already, and gives it these once more.
pub fn leaving_times(folder: &OwnedFd, change: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let before = fs::stat(folder)?;
    change()?;
    match Node::of(folder)?.set_times(&before) {
        // Who may not set the folder's times has not given it the source's either.
        Err(cause) if cause.raw_os_error() == Some(libc::EPERM) => Ok(()),
        other => other,
    }
}
