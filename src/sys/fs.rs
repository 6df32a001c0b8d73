//! The file system calls that the copy stands on, each relative to a directory's descriptor.
//!
//! Names are single components: nothing here can be led out of its directory by a link that somebody swaps in.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags, ResolveFlags, SeekFrom, StatxFlags};
use rustix::io::Errno;

pub use rustix::fs::{FileType, Stat, Timespec};

/// Block size below which no direct I/O is aligned on any filesystem that we know, when it does not say itself.
pub const DIRECT_ALIGN_DEFAULT: u64 = 4096;

/// Opens `name` in `dir`, never through a link and never outside of `dir`: openat2(2) with `RESOLVE_BENEATH`,
/// `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_MAGICLINKS`. Kernels and sandboxes without openat2 get openat(2) with
/// `O_NOFOLLOW`, which is as safe for the single component that `name` is.
pub fn open_beneath(dir: impl AsFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    static NO_OPENAT2: AtomicBool = AtomicBool::new(false);
    if name.as_encoded_bytes().contains(&b'/') {
        return Err(Errno::INVAL.into());
    }
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: a rename raced with the look-up and the kernel could not be sure, see openat2(2).
        for _ in 0..64 {
            match fs::openat2(dir.as_fd(), name, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => {
                    NO_OPENAT2.store(true, Ordering::Relaxed);
                    break;
                }
                // A seccomp filter answers EPERM, but so does O_NOATIME on somebody else's file: openat tells.
                Err(Errno::PERM) => break,
                other => return Ok(other?),
            }
        }
    }
    Ok(fs::openat(dir.as_fd(), name, flags, Mode::empty())?)
}

/// Opens a file to be read: it never waits for a FIFO's writer, and it leaves the access time alone where it may.
pub fn open_to_read(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    match open_beneath(dir.as_fd(), name, flags | OFlags::NOATIME) {
        // Only a file's owner may read it without a trace.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => open_beneath(dir, name, flags),
        other => other,
    }
}

/// Opens a directory that is to be listed or written into.
pub fn open_dir(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    open_beneath(dir, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// fstat(2).
pub fn stat(file: impl AsFd) -> io::Result<Stat> {
    Ok(fs::fstat(file)?)
}

/// fstatat(2) with `AT_SYMLINK_NOFOLLOW`; `None` when there is nothing of that name.
pub fn stat_at(dir: impl AsFd, name: &OsStr) -> io::Result<Option<Stat>> {
    match fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// fstatat(2) of what a link leads to; `None` when it leads nowhere.
pub fn stat_behind(dir: impl AsFd, name: &OsStr) -> io::Result<Option<Stat>> {
    match fs::statat(dir, name, AtFlags::empty()) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Whether two answers of stat speak of one file.
pub fn same_file(one: &Stat, other: &Stat) -> bool {
    (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino)
}

/// What a filesystem makes of `O_DIRECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectIo {
    /// Direct, in multiples of so many bytes of offset, length and memory.
    Aligned(u64),
    /// Not for this file, or only pretended; the reason goes into the report.
    Refused(&'static str),
}

const BTRFS_MAGIC: u64 = 0x9123_683e;
const TMPFS_MAGIC: u64 = 0x0102_1994;
const EXT4_MAGIC: u64 = 0xef53;
const XFS_MAGIC: u64 = 0x5846_5342;
const F2FS_MAGIC: u64 = 0xf2f5_2010;

/// The `f_type` of the filesystem that holds `file`; see fstatfs(2).
fn filesystem_magic(file: impl AsFd) -> io::Result<u64> {
    // The magic numbers are 32 bits wide in a field whose width and sign differ between machines.
    Ok(fs::fstatfs(file)?.f_type as u32 as u64)
}

/// Asks statx(2) for `STATX_DIOALIGN`, and the filesystem's kind where that says nothing.
pub fn direct_io(file: impl AsFd) -> io::Result<DirectIo> {
    let magic = filesystem_magic(file.as_fd())?;
    match magic {
        // Both accept the flag and then use the page cache (btrfs for every inode that has checksums).
        BTRFS_MAGIC => return Ok(DirectIo::Refused("btrfs buffers direct I/O")),
        TMPFS_MAGIC => return Ok(DirectIo::Refused("tmpfs lives in the page cache")),
        _ => {}
    }
    let statx = fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
    let known = statx.stx_mask & StatxFlags::DIOALIGN.bits() != 0;
    Ok(match (known, statx.stx_dio_offset_align.max(statx.stx_dio_mem_align)) {
        (true, 0) => DirectIo::Refused("the filesystem has no direct I/O for this file"),
        (true, align) => DirectIo::Aligned(u64::from(align).max(DIRECT_ALIGN_DEFAULT)),
        // Before Linux 6.1 nobody sets the bit; these two are known to be direct.
        (false, _) if matches!(magic, EXT4_MAGIC | XFS_MAGIC) => DirectIo::Aligned(DIRECT_ALIGN_DEFAULT),
        (false, _) => DirectIo::Refused("the filesystem does not say whether it has direct I/O"),
    })
}

/// Turns `O_DIRECT` on or off for an open file: `open(O_CREAT | O_DIRECT)` may fail and leave the file behind.
pub fn set_direct(file: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = fs::fcntl_getfl(file.as_fd())?;
    flags.set(OFlags::DIRECT, on);
    Ok(fs::fcntl_setfl(file, flags)?)
}

/// Whether the filesystem is known to answer `SEEK_HOLE` truly for data that is not on the device yet.
pub fn holes_are_believed(file: impl AsFd) -> io::Result<bool> {
    let honest = [BTRFS_MAGIC, TMPFS_MAGIC, EXT4_MAGIC, XFS_MAGIC, F2FS_MAGIC];
    Ok(honest.contains(&filesystem_magic(file)?))
}

/// Where the next data begins and ends at or after `from_bytes`: lseek(2) with `SEEK_DATA`, then `SEEK_HOLE`.
/// `None` when only a hole follows.
pub fn next_data(file: impl AsFd, from_bytes: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match fs::seek(file.as_fd(), SeekFrom::Data(from_bytes)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = fs::seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, end)))
}

/// Allocates `0..size_bytes` and sets the size, so that later writes neither extend the file nor run out of space.
/// Where the filesystem cannot allocate ahead, only the size is set.
pub fn preallocate(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    loop {
        match fs::fallocate(file.as_fd(), FallocateFlags::empty(), 0, size_bytes) {
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return set_size(file, size_bytes),
            other => return Ok(other?),
        }
    }
}

/// Whether allocating ahead is a gain: on btrfs it turns compression off, on tmpfs it is the copy's own work.
pub fn preallocation_helps(file: impl AsFd) -> io::Result<bool> {
    Ok(!matches!(filesystem_magic(file)?, BTRFS_MAGIC | TMPFS_MAGIC))
}

/// ftruncate(2).
pub fn set_size(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| fs::ftruncate(file.as_fd(), size_bytes))?)
}

/// How many of the first `size_bytes` of a file are in the page cache: cachestat(2), Linux 6.5. `None` where the
/// kernel does not tell.
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
    // SAFETY: the kernel reads one range and writes one result, both live and of the layout in linux/mman.h.
    let result =
        unsafe { libc::syscall(SYS_CACHESTAT, file.as_raw_fd(), &raw const range, &raw mut stat, 0 as libc::c_uint) };
    (result == 0).then(|| stat.cache * rustix::param::page_size() as u64)
}

/// Raises the process's limit of open files to the most that it may have; see getrlimit(2). A refusal changes nothing.
pub fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused only where the hard limit was lowered meanwhile; then the old soft limit holds, and EMFILE tells.
    let _unchanged = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How many files the process may have open: the soft limit of `RLIMIT_NOFILE`, if there is one.
pub fn open_files_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Starts reading the first `len_bytes` into the page cache: posix_fadvise(2) with `POSIX_FADV_WILLNEED`. It does not wait, and a
/// refusal costs speed alone, so its answer decides nothing.
pub fn read_ahead(file: impl AsFd, len_bytes: u64) {
    if let Some(len_bytes) = std::num::NonZeroU64::new(len_bytes) {
        let _advice = fs::fadvise(file, 0, Some(len_bytes), fs::Advice::WillNeed);
    }
}

/// Closes a descriptor and looks at the answer, which `Drop` cannot: a network filesystem may say only now that a
/// write failed. After EINTR the descriptor is closed all the same, see close(2).
pub fn close(file: OwnedFd) -> io::Result<()> {
    use std::os::fd::IntoRawFd;
    // SAFETY: the descriptor was owned, and ownership ends here.
    match unsafe { libc::close(file.into_raw_fd()) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            error => Err(error),
        },
    }
}
