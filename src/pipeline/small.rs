//! A small file, read by one worker from its start to its end.

use std::os::fd::OwnedFd;

use super::outcome::Failure;
use crate::error::{Cause, Operation};
use crate::fs::{self, Stat};

/// Reads a file that answered so until it ends, and hands each step with its offset to `take`.
/// Answers with how many bytes there were.
///
/// A file's size says how much to ask for, and no more: files of /proc say 0 and hold something,
/// those of /sys say a page and hold a line. Whether the file changed, its stat says afterwards.
/// One that grows is given up here, since it may never end, and one that ends before a size that
/// [is believed](fs::holds_what_it_says).
///
/// `read` is pread(2) or stands for it. It gets the offset, and how many bytes are left as far as
/// is known.
pub fn read_whole(
    file: &OwnedFd,
    stat: &Stat,
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64, u64) -> Result<usize, Failure>,
    mut take: impl FnMut(&[u8], u64) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let failure = |offset_bytes, cause| Failure::source(Operation::Read, offset_bytes, cause);
    let size_bytes = stat.st_size as u64;
    let is_believed = size_bytes > 0 && fs::holds_what_it_says(file, stat);
    let mut offset_bytes = 0;
    loop {
        // One byte more than is left sees the end of the file in the same call, and that it grew.
        let left_bytes = size_bytes.saturating_sub(offset_bytes);
        let want = usize::try_from(left_bytes + 1).unwrap_or(usize::MAX);
        let want = if left_bytes == 0 { buffer.len() } else { want.min(buffer.len()) };
        let count = read(&mut buffer[..want], offset_bytes, left_bytes)?;
        if count == 0 && offset_bytes < size_bytes && is_believed {
            return Err(failure(offset_bytes, Cause::SourceChanged));
        }
        if count == 0 {
            return Ok(offset_bytes);
        }
        take(&buffer[..count], offset_bytes)?;
        offset_bytes += count as u64;
        if offset_bytes == size_bytes && count < want && is_believed {
            return Ok(offset_bytes);
        }
        if offset_bytes > size_bytes {
            let now = fs::stat(file).map_err(|cause| failure(offset_bytes, cause.into()))?;
            if now.st_size != stat.st_size {
                return Err(failure(offset_bytes, Cause::SourceChanged));
            }
        }
    }
}
