//! Calls on an open file that no crate wraps as the copy needs them.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd, OwnedFd};

use super::call::retried;

/// How many of the first `size_bytes` of a file are in the page cache: cachestat(2), Linux 6.5.
/// `None` where the kernel does not tell.
pub fn cached_bytes(file: BorrowedFd<'_>, size_bytes: u64) -> Option<u64> {
    #[repr(C)]
    struct Range {
        off: u64,
        len: u64,
    }
    #[repr(C)]
    #[derive(Default)]
    struct CacheStat {
        cache: u64,
        dirty: u64,
        writeback: u64,
        evicted: u64,
        recently_evicted: u64,
    }
    // The number is the same on every architecture but alpha.
    const SYS_CACHESTAT: libc::c_long = 451;
    let range = Range { off: 0, len: size_bytes };
    let mut stat = CacheStat::default();
    let mut ask = || {
        let (range, stat) = (&raw const range, &raw mut stat);
        // SAFETY: the kernel reads one range and writes one result, both live and of the layout in
        // linux/mman.h.
        match unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), range, stat, 0u32) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    retried(&mut ask).ok().map(|()| stat.cache * rustix::param::page_size() as u64)
}

/// Closes a descriptor and looks at the answer, which `Drop` cannot: a network filesystem may say
/// only now that a write failed. After EINTR the descriptor is closed all the same, see close(2).
pub fn close(file: OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor was owned, and ownership ends here.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
    }
}

/// Whether an xfs filesystem takes names that differ in case for one (`mkfs.xfs -n version=ci`):
/// its geometry says so, see ioctl_xfs_fsgeometry(2).
pub fn xfs_folds_case(file: BorrowedFd<'_>) -> io::Result<bool> {
    /// The first version of the structure, which every kernel knows.
    #[repr(C)]
    #[derive(Default)]
    struct Geometry {
        sizes: [u32; 8],
        counts: [u64; 4],
        uuid: [u8; 16],
        stripe: [u32; 2],
        version: i32,
        flags: u32,
        sectors: [u32; 3],
    }
    const FSGEOMETRY_V1: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<Geometry>(b'X', 100);
    const FLAG_DIRV2CI: u32 = 1 << 13;
    let mut geometry = Geometry::default();
    // SAFETY: the kernel writes one structure of the layout and size that the number names, and it
    // lives.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), FSGEOMETRY_V1 as _, &raw mut geometry) };
    match result {
        0 => Ok(geometry.flags & FLAG_DIRV2CI != 0),
        _ => Err(io::Error::last_os_error()),
    }
}
