//! Sizes, room, holes and clones.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{self, FallocateFlags, SeekFrom};
use rustix::io::Errno;

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
/// run out of space. Where the filesystem cannot allocate ahead, only the size is set.
pub fn preallocate(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    loop {
        match fs::fallocate(file.as_fd(), FallocateFlags::empty(), 0, size_bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return set_size(file, size_bytes),
            other => return Ok(other?),
        }
    }
}

/// Allocates `0..size_bytes` and leaves the size alone, so that what is written there finds room
/// when the filesystem is full. Where the filesystem cannot allocate ahead, nothing is done.
pub fn reserve(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    match rustix::io::retry_on_intr(|| {
        fs::fallocate(file.as_fd(), FallocateFlags::KEEP_SIZE, 0, size_bytes)
    }) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        other => Ok(other?),
    }
}

/// Makes all of `target` share the blocks of `source`, without moving a byte: ioctl_ficlone(2).
pub fn clone(source: impl AsFd, target: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| fs::ioctl_ficlone(target.as_fd(), source.as_fd()))?)
}

/// How many bytes a file's filesystem has left for users other than root: fstatvfs(3).
pub fn free_bytes(file: impl AsFd) -> io::Result<u64> {
    let stat = fs::fstatvfs(file)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// ftruncate(2).
pub fn set_size(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| fs::ftruncate(file.as_fd(), size_bytes))?)
}
