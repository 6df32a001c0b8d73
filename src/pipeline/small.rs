//! A small file, read by one worker from its start to its end.

use super::outcome::Failure;
use crate::error::{Cause, Operation};

/// Reads a file that said it has `size_bytes`, and hands each step with its offset to `take`.
/// Answers with how many bytes there were. Files in /proc and the like say 0 and are read until
/// they end. One that does not end where it said has changed.
///
/// `read` is pread(2) or stands for it. It gets the offset, and how many bytes are left as far as
/// is known.
pub fn read_whole(
    size_bytes: u64,
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64, u64) -> Result<usize, Failure>,
    mut take: impl FnMut(&[u8], u64) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut offset_bytes = 0;
    loop {
        // One byte more than is left sees the end of the file in the same call, and that it grew.
        let left_bytes = size_bytes.saturating_sub(offset_bytes);
        let want = usize::try_from(left_bytes + 1).unwrap_or(usize::MAX);
        let want = if size_bytes == 0 { buffer.len() } else { want.min(buffer.len()) };
        let count = read(&mut buffer[..want], offset_bytes, left_bytes)?;
        if count == 0 {
            break;
        }
        take(&buffer[..count], offset_bytes)?;
        offset_bytes += count as u64;
        if size_bytes != 0
            && (offset_bytes > size_bytes || (offset_bytes == size_bytes && count < want))
        {
            break;
        }
    }
    if size_bytes != 0 && offset_bytes != size_bytes {
        return Err(Failure::source(Operation::Read, offset_bytes, Cause::SourceChanged));
    }
    Ok(offset_bytes)
}
