//! Writing whole, and closing with a look at the answer.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::ReadWriteFlags;

pub use crate::sys::file::close;

/// The count that the system answers of a transfer. More than was asked for is no count: what the
/// buffer holds is not known then, and an error.
pub fn believed(count: usize, asked_bytes: usize) -> io::Result<usize> {
    match count <= asked_bytes {
        true => Ok(count),
        false => Err(io::Error::other("the system answered with more bytes than were asked for")),
    }
}

/// Calls `write`, which is pwrite(2) or stands for it, until all is written. The error says where.
pub fn write_all(
    bytes: &[u8],
    offset_bytes: u64,
    write: impl Fn(&[u8], u64) -> rustix::io::Result<usize>,
) -> Result<(), (u64, io::Error)> {
    let mut done = 0;
    while done < bytes.len() {
        let at = offset_bytes + done as u64;
        let left = &bytes[done..];
        let written = rustix::io::retry_on_intr(|| write(left, at)).map_err(io::Error::from);
        match written.and_then(|count| believed(count, left.len())) {
            Ok(0) => return Err((at, io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) => return Err((at, error)),
        }
    }
    Ok(())
}

/// Closes a file whose operations have all given their holds back. Were there another hold, closing
/// would be its to do.
pub(super) fn close_last(file: Arc<OwnedFd>) -> io::Result<()> {
    Arc::into_inner(file).map_or(Ok(()), close)
}

/// Whether a file has a byte at `offset_bytes`. Where reading there is refused, as direct I/O may,
/// the file is taken to end there. Some files of /sys have nothing for a request of one byte.
pub fn has_byte_at(file: &OwnedFd, offset_bytes: u64) -> io::Result<bool> {
    match read_at(file, &mut [0; 512], offset_bytes) {
        Ok(count) => Ok(count > 0),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

/// pread(2).
pub fn read_at(file: impl AsFd, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
    let asked_bytes = buffer.len();
    let count = rustix::io::retry_on_intr(|| rustix::io::pread(&file, &mut *buffer, offset_bytes))?;
    believed(count, asked_bytes)
}

/// Of the bytes from `offset_bytes` on those that the page cache holds, without waiting for a
/// device: preadv2(2) with `RWF_NOWAIT`. An error where it holds none, and where the filesystem
/// does not know that flag.
pub fn read_cached_at(file: impl AsFd, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
    let (asked_bytes, flags) = (buffer.len(), ReadWriteFlags::NOWAIT);
    let count = rustix::io::retry_on_intr(|| {
        rustix::io::preadv2(&file, &mut [IoSliceMut::new(buffer)], offset_bytes, flags)
    })?;
    believed(count, asked_bytes)
}

/// Reads from `offset_bytes` on until the buffer is full or the file ends, and answers with how
/// much there was.
pub fn read_full_at(file: impl AsFd, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match read_at(&file, &mut buffer[done..], offset_bytes + done as u64)? {
            0 => break,
            count => done += count,
        }
    }
    Ok(done)
}
