//! Which route a file's data takes: the one place where that is decided.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::data_blocks::DataBlocks;
use super::outcome::Failure;
use super::sizes::{BLOCKS_MAX, SMALL_BYTES_MAX};
use crate::error::{Cause, Operation};
use crate::fs::{self, DirectIo};
use crate::report::{Route, Way};

/// Whether `O_DIRECT` is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectMode {
    /// Where it is real and a gain.
    Auto,
    /// Or the file fails.
    Always,
    /// Everything through the page cache.
    Never,
}

/// The route of small files.
pub const SMALL: Route = Route::buffered("small file");

/// Why a file is not read from its device, where memory holds it.
const CACHED: &str = "already in the page cache";

/// Whether a file of this size is one worker's job.
pub fn is_small(direct: DirectMode, size_bytes: u64) -> bool {
    // Files in /proc and the like say 0 and hold something: they cannot be planned in blocks.
    size_bytes == 0 || (size_bytes <= SMALL_BYTES_MAX && direct != DirectMode::Always)
}

/// One side's way, and the multiple that its offsets and lengths must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// Direct or not.
    pub way: Way,
    /// 1 where the page cache serves any length.
    pub align_bytes: u64,
}

impl Access {
    const fn buffered(reason: &'static str) -> Self {
        Self { way: Way::Buffered(reason), align_bytes: 1 }
    }

    /// Whether memory is believed to hold the file.
    pub fn is_cached(self) -> bool {
        self.way == Way::Buffered(CACHED)
    }

    /// Whether the descriptor has `O_DIRECT`.
    pub fn is_direct(self) -> bool {
        self.way == Way::Direct
    }
}

/// Chooses the source's access and turns `O_DIRECT` on if it is direct.
pub fn source_access(
    direct: DirectMode,
    block_bytes: u64,
    file: &OwnedFd,
    size_bytes: u64,
) -> Result<Access, Cause> {
    // Reading from the device what memory holds already would be slower and, where it is dirty,
    // wait for it.
    let cached =
        || fs::cached_bytes(file.as_fd(), size_bytes).is_some_and(|bytes| bytes > size_bytes / 2);
    if direct == DirectMode::Auto && cached() {
        return Ok(Access::buffered(CACHED));
    }
    access(direct, block_bytes, file)
}

/// Chooses the destination's access and turns `O_DIRECT` on if it is direct.
pub fn target_access(
    direct: DirectMode,
    block_bytes: u64,
    file: &OwnedFd,
) -> Result<Access, Cause> {
    access(direct, block_bytes, file)
}

/// Chooses the access in which a file is read back, and turns `O_DIRECT` on if it is direct. Its
/// reads leave its access time alone, which is the source's by now.
pub fn readback_access(
    direct: DirectMode,
    block_bytes: u64,
    file: &OwnedFd,
) -> Result<Access, Cause> {
    let access = access_by(direct, block_bytes, file, || fs::set_direct_without_trace(file))?;
    if !access.is_direct() {
        fs::leave_access_time(file);
    }
    Ok(access)
}

/// Chooses the access of a file and turns `O_DIRECT` on if it is direct.
pub(super) fn access(
    direct: DirectMode,
    block_bytes: u64,
    file: &OwnedFd,
) -> Result<Access, Cause> {
    access_by(direct, block_bytes, file, || fs::set_direct(file, true))
}

fn access_by(
    direct: DirectMode,
    block_bytes: u64,
    file: &OwnedFd,
    turn_on: impl FnOnce() -> io::Result<()>,
) -> Result<Access, Cause> {
    let refused = |reason| match direct {
        DirectMode::Always => Err(Cause::NoDirect(reason)),
        _ => Ok(Access::buffered(reason)),
    };
    if direct == DirectMode::Never {
        return Ok(Access::buffered("--direct=never"));
    }
    let align_bytes = match fs::direct_io(file) {
        // What was demanded is tried.
        DirectIo::Unsaid(_) if direct == DirectMode::Always => fs::DIRECT_ALIGN_DEFAULT,
        DirectIo::Unsaid(reason) | DirectIo::Refused(reason) => return refused(reason),
        DirectIo::Aligned(align_bytes) if align_bytes > block_bytes => {
            return refused("its alignment is larger than a block");
        }
        DirectIo::Aligned(align_bytes) => align_bytes,
    };
    match turn_on() {
        Ok(()) => Ok(Access { way: Way::Direct, align_bytes }),
        Err(_) => refused("the filesystem refuses O_DIRECT"),
    }
}

/// Has `attempt` move data of `files` in their accesses, and once more through the page cache where
/// a filesystem accepts `O_DIRECT` and refuses the I/O. Its answer comes with the accesses that
/// were right.
pub fn or_buffered<T, const N: usize>(
    direct: DirectMode,
    files: [&OwnedFd; N],
    mut accesses: [Access; N],
    mut attempt: impl FnMut(&[Access; N]) -> Result<T, Failure>,
) -> Result<(T, [Access; N]), Failure> {
    loop {
        match attempt(&accesses) {
            Err(failure) if is_refusal(direct, &accesses, &failure) => {
                for file in files {
                    fs::set_direct(file, false).map_err(|cause| Failure {
                        offset_bytes: 0,
                        cause: cause.into(),
                        ..failure
                    })?;
                }
                accesses = [Access::buffered("direct I/O was accepted, then refused"); N];
            }
            Err(failure) if direct == DirectMode::Always && refuses_blocks(&accesses, &failure) => {
                let cause = Cause::NoDirect("it was accepted, then answered EINVAL");
                return Err(Failure { cause, ..failure });
            }
            result => return result.map(|moved| (moved, accesses)),
        }
    }
}

/// Whether direct I/O is to be given up because of a failure.
pub fn is_refusal(direct: DirectMode, accesses: &[Access], failure: &Failure) -> bool {
    // A direct copy is as large as whole blocks until it is cut.
    let refuses_size = failure.op == Operation::SetSize
        && matches!(&failure.cause, Cause::Os(error) if fs::is_unavailable(error));
    direct == DirectMode::Auto
        && (refuses_blocks(accesses, failure) || (refuses_size && any_direct(accesses)))
}

/// Whether a file that is direct answered EINVAL.
fn refuses_blocks(accesses: &[Access], failure: &Failure) -> bool {
    let refused =
        matches!(&failure.cause, Cause::Os(error) if error.raw_os_error() == Some(libc::EINVAL));
    // Where the loop cannot wait, direct I/O is not to blame.
    refused && failure.op != Operation::AwaitIo && any_direct(accesses)
}

fn any_direct(accesses: &[Access]) -> bool {
    accesses.iter().any(|access| access.is_direct())
}

/// Which blocks of a file are to be read, or `None` for all. Holes are left out where the
/// filesystem tells of them truly. Their zeros have to be hashed all the same.
pub fn data_blocks_of(file: &OwnedFd, size_bytes: u64, block_bytes: u64) -> Option<DataBlocks> {
    let has_holes = fs::stat(file).is_ok_and(|stat| fs::allocated_bytes(&stat) < size_bytes);
    if has_holes { data_blocks(file, size_bytes, block_bytes) } else { None }
}

/// Which blocks of a file hold data. `None` where the file does not tell, or is not believed, or
/// has more than [`BLOCKS_MAX`].
pub fn data_blocks(file: &OwnedFd, size_bytes: u64, block_bytes: u64) -> Option<DataBlocks> {
    let count = size_bytes.div_ceil(block_bytes);
    if count > BLOCKS_MAX || !fs::holes_are_believed(file) {
        return None;
    }
    let mut blocks = DataBlocks::none(count);
    let (bit_bytes, mut from) = (blocks.blocks_per_bit() * block_bytes, 0);
    while from < size_bytes {
        let Some((start, end)) = fs::next_data(file, from).ok()? else { break };
        blocks.add(start / block_bytes..end.min(size_bytes).div_ceil(block_bytes));
        // The next data that matters is where none is known of yet.
        from = end.next_multiple_of(bit_bytes);
    }
    Some(blocks)
}
