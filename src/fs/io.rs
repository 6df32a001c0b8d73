//! Writing whole, and closing with a look at the answer.

use std::io;
use std::os::fd::OwnedFd;

pub use crate::sys::file::close;

/// Calls `write`, which is pwrite(2) or stands for it, until all is written. The error says where.
pub fn write_all(
    bytes: &[u8],
    offset_bytes: u64,
    write: impl Fn(&[u8], u64) -> rustix::io::Result<usize>,
) -> Result<(), (u64, io::Error)> {
    let mut done = 0;
    while done < bytes.len() {
        let at = offset_bytes + done as u64;
        match rustix::io::retry_on_intr(|| write(&bytes[done..], at)) {
            Ok(0) => return Err((at, io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) => return Err((at, error.into())),
        }
    }
    Ok(())
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
pub fn read_at(file: &OwnedFd, buffer: &mut [u8], offset_bytes: u64) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *buffer, offset_bytes))?)
}
