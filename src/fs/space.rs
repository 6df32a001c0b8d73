//! Sizes, room, holes and clones.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys::call::{self as fs, FallocateFlags, SeekFrom};
use rustix::io::Errno;

use super::io::write_all;
use super::unavailable::{answers_nothing, is_unavailable};

/// Where the next data begins and ends at or after `from_bytes`: lseek(2) with `SEEK_DATA`, then
/// `SEEK_HOLE`. `None` when only a hole follows. Of a file that is cut meanwhile, everything that
/// follows is data: reading shows what became of it.
pub fn next_data(file: impl AsFd, from_bytes: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match fs::seek(file.as_fd(), SeekFrom::Data(from_bytes)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match fs::seek(file, SeekFrom::Hole(start)) {
        Ok(end) => Ok(Some((start, end))),
        Err(Errno::NXIO) => Ok(Some((start, i64::MAX as u64))),
        Err(error) => Err(error.into()),
    }
}

/// Allocates `0..size_bytes` and sets the size, so that later writes neither extend the file nor
/// run out of space. Where the filesystem cannot allocate ahead, only the size is set. A device
/// that fails says so once more when it is written to.
pub fn preallocate(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    match fs::fallocate(file.as_fd(), FallocateFlags::empty(), 0, size_bytes) {
        Err(error) if answers_nothing(error) => set_size(file, size_bytes),
        allocated => Ok(allocated?),
    }
}

/// Allocates `0..size_bytes` and leaves the size alone, so that what is written there finds room
/// when the filesystem is full. Where the filesystem cannot allocate ahead, nothing is done.
pub fn reserve(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    match fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size_bytes) {
        Err(error) if answers_nothing(error) => Ok(()),
        reserved => Ok(reserved?),
    }
}

/// Makes all of `target` share the blocks of `source`, without moving a byte: ioctl_ficlone(2).
pub fn clone(source: impl AsFd, target: impl AsFd) -> io::Result<()> {
    Ok(fs::ioctl_ficlone(target, source)?)
}

/// How many bytes a file's filesystem has left for users other than root: fstatvfs(3).
pub fn free_bytes(file: impl AsFd) -> io::Result<u64> {
    let stat = fs::fstatvfs(file)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// ftruncate(2).
pub fn truncate(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    Ok(fs::ftruncate(file, size_bytes)?)
}

/// Gives a file its size. Where that call is not available, the last byte of what is to grow is
/// written.
pub fn set_size(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    let file = file.as_fd();
    match truncate(file, size_bytes) {
        Err(error) if is_unavailable(&error) => grow(file, size_bytes)?.ok_or(error),
        set => set,
    }
}

/// Writes the last byte of a file that is to have a size; nothing if it has more.
fn grow(file: BorrowedFd<'_>, size_bytes: u64) -> io::Result<Option<()>> {
    let now_bytes = fs::fstat(file)?.st_size as u64;
    if now_bytes < size_bytes {
        let last = |bytes: &[u8], at: u64| rustix::io::pwrite(file, bytes, at);
        write_all(&[0], size_bytes - 1, last).map_err(|(_, cause)| cause)?;
    }
    Ok((now_bytes <= size_bytes).then_some(()))
}
