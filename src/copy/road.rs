//! Which road a file's data takes: the one place where that is decided.

use std::os::fd::{AsFd, OwnedFd};

use super::{Direct, Options};
use crate::error::Cause;
use crate::report::{Road, Way};
use crate::sys::fs::{self, DirectIo};

/// Files up to this size are copied by one worker with plain reads and writes: the destination's direct writes would
/// wait for each other, and a device request of less than this is not worth the detour.
pub const SMALL_BYTES_MAX: u64 = 1 << 20;

/// The road of small files.
pub const SMALL: Road = Road::buffered("small file");

/// Whether a file of this size is one worker's job.
pub fn is_small(options: &Options, size_bytes: u64) -> bool {
    // Files in /proc and the like say 0 and hold something: they cannot be planned in blocks.
    size_bytes == 0 || (size_bytes <= SMALL_BYTES_MAX && options.direct != Direct::Always)
}

/// One side's way, and the multiple that its offsets and lengths must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// Direct or not.
    pub way: Way,
    /// 1 where the page cache serves any length.
    pub align_bytes: u64,
}

impl Lane {
    const fn buffered(reason: &'static str) -> Self {
        Self { way: Way::Buffered(reason), align_bytes: 1 }
    }

    /// Whether the descriptor has `O_DIRECT`.
    pub fn is_direct(self) -> bool {
        self.way == Way::Direct
    }
}

/// Chooses the source's lane and turns `O_DIRECT` on if it is direct.
pub fn source_lane(options: &Options, file: &OwnedFd, size_bytes: u64) -> Result<Lane, Cause> {
    // Reading from the device what memory holds already would be slower and, where it is dirty, wait for it.
    let cached = || fs::cached_bytes(file.as_fd(), size_bytes).is_some_and(|bytes| bytes > size_bytes / 2);
    if options.direct == Direct::Auto && cached() {
        return Ok(Lane::buffered("already in the page cache"));
    }
    lane(options, file)
}

/// Chooses the destination's lane and turns `O_DIRECT` on if it is direct.
pub fn target_lane(options: &Options, file: &OwnedFd) -> Result<Lane, Cause> {
    lane(options, file)
}

fn lane(options: &Options, file: &OwnedFd) -> Result<Lane, Cause> {
    let refused = |reason| match options.direct {
        Direct::Always => Err(Cause::NoDirect(reason)),
        _ => Ok(Lane::buffered(reason)),
    };
    if options.direct == Direct::Never {
        return Ok(Lane::buffered("--direct=never"));
    }
    let align_bytes = match fs::direct_io(file)? {
        DirectIo::Refused(reason) => return refused(reason),
        DirectIo::Aligned(align_bytes) if align_bytes > options.block_bytes => {
            return refused("its alignment is larger than a block");
        }
        DirectIo::Aligned(align_bytes) => align_bytes,
    };
    match fs::set_direct(file, true) {
        Ok(()) => Ok(Lane { way: Way::Direct, align_bytes }),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => refused("the filesystem refuses O_DIRECT"),
        Err(error) => Err(error.into()),
    }
}

/// Both lanes through the page cache, after direct I/O was accepted and then failed.
pub fn give_up_direct(source: &OwnedFd, target: &OwnedFd) -> Result<(Lane, Lane), Cause> {
    fs::set_direct(source, false)?;
    fs::set_direct(target, false)?;
    let lane = Lane::buffered("direct I/O was accepted, then answered EINVAL");
    Ok((lane, lane))
}
