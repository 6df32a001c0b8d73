//! How an open file goes through the page cache, or past it.

use std::io;
use std::os::fd::AsFd;

use crate::sys::call::{self as fs, AtFlags, OFlags, StatxFlags};

use rustix::io::Errno;

use super::facts::direct_align_bytes;
use super::open::open_flags;
use super::stat::{Stat, is_unchanged, is_unchanged_in};

pub use crate::sys::file::cached_bytes;

/// Turns `O_DIRECT` on or off for an open file, unless it is: `open(O_CREAT | O_DIRECT)` may fail
/// and leave the file behind.
pub fn set_direct(file: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = open_flags(file.as_fd())?;
    if flags.contains(OFlags::DIRECT) == on {
        return Ok(());
    }
    flags.set(OFlags::DIRECT, on);
    Ok(fs::fcntl_setfl(file, flags)?)
}

/// Turns `O_DIRECT` on for an open file, and has its reads leave its access time alone, as
/// [`leave_access_time`] does.
pub fn set_direct_without_trace(file: impl AsFd) -> io::Result<()> {
    let flags = open_flags(file.as_fd())? | OFlags::DIRECT;
    match fs::fcntl_setfl(file.as_fd(), flags | OFlags::NOATIME) {
        Err(Errno::PERM) => Ok(fs::fcntl_setfl(file, flags)?),
        set => Ok(set?),
    }
}

/// From now on reads of an open file leave its access time alone: `O_NOATIME`, see open(2). Only
/// its owner may ask for that; every other reader leaves a trace, so that the answer decides
/// nothing.
pub fn leave_access_time(file: impl AsFd) {
    if let Ok(flags) = fs::fcntl_getfl(file.as_fd()) {
        let _asked = fs::fcntl_setfl(file, flags | OFlags::NOATIME);
    }
}

/// A later look at a file that was read past the page cache.
pub struct DirectLook {
    /// Whether it is what it was; see [`is_unchanged`].
    pub is_unchanged: bool,
    /// Whether its filesystem has no direct I/O for it, and used the page cache.
    pub is_refused: bool,
}

/// Looks at a file that was read past the page cache and answered `then` before: statx(2), or
/// fstat(2) where that gives no answer.
pub fn look_after_direct(file: impl AsFd, then: &Stat) -> io::Result<DirectLook> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::DIOALIGN;
    match fs::statx(file.as_fd(), c"", AtFlags::EMPTY_PATH, wanted) {
        Err(_) => {
            let is_unchanged = is_unchanged(file, then)?;
            Ok(DirectLook { is_unchanged, is_refused: false })
        }
        Ok(now) => Ok(DirectLook {
            is_unchanged: is_unchanged_in(then, &now),
            is_refused: direct_align_bytes(&now) == Some(0),
        }),
    }
}

/// Starts reading the first `len_bytes` into the page cache: posix_fadvise(2) with
/// `POSIX_FADV_WILLNEED`. It does not wait, and a refusal costs speed alone, so its answer decides
/// nothing.
pub fn read_ahead(file: impl AsFd, len_bytes: u64) {
    if let Some(len_bytes) = std::num::NonZeroU64::new(len_bytes) {
        let _advice = fs::fadvise(file, 0, Some(len_bytes), fs::Advice::WillNeed);
    }
}

/// Drops a file's clean pages from the page cache: posix_fadvise(2) with `POSIX_FADV_DONTNEED`.
/// What came of it, only [`cached_bytes`] tells, so its answer decides nothing.
pub fn drop_cache(file: impl AsFd) {
    let _advice = fs::fadvise(file, 0, None, fs::Advice::DontNeed);
}
