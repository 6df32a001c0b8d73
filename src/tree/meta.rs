//! Modes and times, set through open descriptors. The order is that of the facts: mode before times.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, Mode, Timespec, Timestamps};

use crate::sys::fs::{self, Stat};

const SET_ID_BITS: u32 = 0o6000;

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

/// Gives a finished file the mode and the times of its source.
///
/// setuid and setgid are kept only if the copy has the owner and group that they would speak for.
pub fn set_file_metadata(file: impl AsFd, source: &Stat) -> io::Result<()> {
    let mut mode = source.st_mode & 0o7777;
    if mode & SET_ID_BITS != 0 {
        let copy = fs::stat(file.as_fd())?;
        if (copy.st_uid, copy.st_gid) != (source.st_uid, source.st_gid) {
            mode &= !SET_ID_BITS;
        }
    }
    rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(mode))?;
    Ok(rustix::fs::futimens(file, &times(source))?)
}

/// Gives a directory the mode and the times of its source; to be done after everything in it.
pub fn set_dir_metadata(dir: impl AsFd, source: &Stat) -> io::Result<()> {
    rustix::fs::fchmod(dir.as_fd(), Mode::from_raw_mode(source.st_mode & 0o7777))?;
    Ok(rustix::fs::futimens(dir, &times(source))?)
}

/// Gives a symbolic link the times of its source.
pub fn set_link_times(dir: impl AsFd, name: &OsStr, source: &Stat) -> io::Result<()> {
    Ok(rustix::fs::utimensat(dir, name, &times(source), AtFlags::SYMLINK_NOFOLLOW)?)
}
