//! The file system calls that the copy stands on, each relative to a directory's descriptor.
//!
//! Names are single components: nothing here can be led out of its directory by a link that
//! somebody swaps in.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{self, AtFlags, FallocateFlags, Mode, OFlags, ResolveFlags, SeekFrom, StatxFlags};
use rustix::io::Errno;

pub use rustix::fs::{FileType, Stat, Timespec};

/// Block size below which no direct I/O is aligned on any filesystem that we know, when it does not
/// say itself.
pub const DIRECT_ALIGN_DEFAULT: u64 = 4096;

/// Opens `name` in `dir`, never through a link and never outside of `dir`: openat2(2) with
/// `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_MAGICLINKS`. Kernels and sandboxes
/// without openat2 get openat(2) with `O_NOFOLLOW`, which is as safe for the single component that
/// `name` is.
pub fn open_beneath(dir: impl AsFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    static NO_OPENAT2: AtomicBool = AtomicBool::new(false);
    if name.as_encoded_bytes().contains(&b'/') {
        return Err(Errno::INVAL.into());
    }
    // openat2 takes next to no flags beside O_PATH.
    let no_terminal = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | no_terminal;
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: a rename raced with the look-up and the kernel could not be sure, see openat2(2).
        for _ in 0..64 {
            match fs::openat2(dir.as_fd(), name, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => {
                    NO_OPENAT2.store(true, Ordering::Relaxed);
                    break;
                }
                // A seccomp filter answers EPERM, but so does O_NOATIME on somebody else's file:
                // openat tells.
                Err(Errno::PERM) => break,
                other => return Ok(other?),
            }
        }
    }
    Ok(fs::openat(dir.as_fd(), name, flags, Mode::empty())?)
}

/// Opens a file to be read: it never waits for a FIFO's writer, and it leaves the access time alone
/// where it may.
pub fn open_to_read(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK;
    match open_beneath(dir.as_fd(), name, flags | OFlags::NOATIME) {
        // Only a file's owner may read it without a trace.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => open_beneath(dir, name, flags),
        other => other,
    }
}

/// Opens a file to be read that a symbolic link leads to.
pub fn open_to_read_behind(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match fs::openat(dir.as_fd(), name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(fs::openat(dir, name, flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// Opens a directory to be listed that a symbolic link leads to.
pub fn open_dir_behind(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(fs::openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a relative path beneath `root`, out of which neither `..` nor any link leads: openat2(2)
/// with `RESOLVE_BENEATH`, EXDEV where something would. Without openat2 no link on the path is
/// followed at all.
pub fn open_path_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..64 {
        match fs::openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
            // A rename raced with the look-up and the kernel could not be sure.
            Err(Errno::AGAIN) => {}
            Err(Errno::NOSYS | Errno::PERM) => break,
            other => return Ok(other?),
        }
    }
    let mut parts = path.components().peekable();
    let mut dir: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(Errno::XDEV.into()) };
        let flags = if parts.peek().is_some() { OFlags::PATH | OFlags::DIRECTORY } else { flags };
        dir = Some(match dir {
            None => open_beneath(root.as_fd(), name, flags)?,
            Some(dir) => open_beneath(dir, name, flags)?,
        });
    }
    dir.ok_or_else(|| Errno::NOENT.into())
}

/// Opens a directory that is to be listed or written into.
pub fn open_dir(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    open_beneath(dir, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens a folder by a path that the user wrote, which may lead through links.
pub fn open_folder(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    Ok(fs::openat(fs::CWD, path, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens anything, also a symbolic link or a device, as a place whose metadata can be reached:
/// `O_PATH`, which calls no driver and waits for nobody.
pub fn open_path(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    open_beneath(dir, name, OFlags::PATH)
}

/// The same through a symbolic link.
pub fn open_path_behind(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(fs::openat(dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens the directory above. It may be any by now, so that the caller has to look whether it is
/// the one that was meant.
pub fn open_above(dir: impl AsFd) -> io::Result<OwnedFd> {
    Ok(fs::openat(dir, c"..", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens the names in a directory from a position on, 0 for all of them, leaving its access time
/// alone where that is allowed.
pub fn list(dir: impl AsFd, position: i64) -> io::Result<fs::Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let listing = match open_beneath(dir.as_fd(), OsStr::new("."), flags | OFlags::NOATIME) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            open_beneath(dir, OsStr::new("."), flags)?
        }
        other => other?,
    };
    if position != 0 {
        fs::seek(&listing, SeekFrom::Start(position as u64))?;
    }
    Ok(fs::Dir::new(listing)?)
}

/// Whether an open file, whose answer to stat is given, is the one that its directory listed under
/// the inode number `ino`.
///
/// Listings do not tell what is mounted over a name, nor the inode number of a btrfs subvolume's
/// root, and some filesystems (overlays, FUSE) make up numbers as they go: a difference counts only
/// where it proves that the name was exchanged.
pub fn is_as_listed(dir: impl AsFd, file: impl AsFd, stat: &Stat, ino: u64) -> io::Result<bool> {
    const BTRFS_SUBVOLUME_ROOT_INO: u64 = 256;
    if stat.st_ino == ino {
        return Ok(true);
    }
    let magic = filesystem_magic(file.as_fd())?;
    if !HONEST_FILESYSTEMS.contains(&magic)
        || (magic == BTRFS_MAGIC && stat.st_ino == BTRFS_SUBVOLUME_ROOT_INO)
    {
        return Ok(true);
    }
    let (file, dir) = (mount(file)?, mount(dir)?);
    // Kernels before 5.8 do not number mounts.
    Ok(file.is_none() || file != dir)
}

/// The number of the mount that a file was reached through.
fn mount(file: impl AsFd) -> io::Result<Option<u64>> {
    let statx = fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    Ok((statx.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(statx.stx_mnt_id))
}

/// The process's umask, which can be asked for only by setting it: no other thread should be making
/// files meanwhile. See umask(2).
pub fn umask() -> u32 {
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.as_raw_mode()
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

/// fstatat(2) of what a link leads to, which has to be there.
pub fn stat_following(dir: impl AsFd, name: &OsStr) -> io::Result<Stat> {
    Ok(fs::statat(dir, name, AtFlags::empty())?)
}

/// What tells a file from all others of its filesystem, as long as it lives: its inode number, and
/// its birth time where there is one. See statx(2).
pub fn ino_and_birth(dir: impl AsFd, name: &OsStr, follow: bool) -> io::Result<[u8; 20]> {
    let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    let statx = fs::statx(dir, name, flags, StatxFlags::INO | StatxFlags::BTIME)?;
    let born = statx.stx_mask & StatxFlags::BTIME.bits() != 0;
    let (seconds, nanos) =
        if born { (statx.stx_btime.tv_sec, statx.stx_btime.tv_nsec) } else { (0, 0) };
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&statx.stx_ino.to_le_bytes());
    bytes[8..16].copy_from_slice(&seconds.to_le_bytes());
    bytes[16..].copy_from_slice(&nanos.to_le_bytes());
    Ok(bytes)
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

/// Filesystems that are known to tell the truth about holes, also of data that is not on the device
/// yet, and about inode numbers.
const HONEST_FILESYSTEMS: [u64; 5] = [BTRFS_MAGIC, TMPFS_MAGIC, EXT4_MAGIC, XFS_MAGIC, F2FS_MAGIC];

/// The `f_type` of the filesystem that holds `file`; see fstatfs(2).
fn filesystem_magic(file: impl AsFd) -> io::Result<u64> {
    // The magic numbers are 32 bits wide in a field whose width and sign differ between machines.
    Ok(fs::fstatfs(file)?.f_type as u32 as u64)
}

/// Whether syncfs(2) on `file` writes everything, and tells of the errors since the descriptor was
/// opened, which it does since Linux 5.8, and of those of the filesystem's own part of it, which it
/// does since 5.17; and where the filesystem itself is on the device. FUSE and overlays answer for
/// others.
pub fn syncs_whole(file: impl AsFd) -> io::Result<bool> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Ok(version >= (5, 17)
        && matches!(filesystem_magic(file)?, EXT4_MAGIC | XFS_MAGIC | BTRFS_MAGIC))
}

/// Asks statx(2) for `STATX_DIOALIGN`, and the filesystem's kind where that says nothing.
pub fn direct_io(file: impl AsFd) -> io::Result<DirectIo> {
    let magic = filesystem_magic(file.as_fd())?;
    match magic {
        // Both accept the flag and then use the page cache (btrfs for every inode that has
        // checksums).
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
        (false, _) if matches!(magic, EXT4_MAGIC | XFS_MAGIC) => {
            DirectIo::Aligned(DIRECT_ALIGN_DEFAULT)
        }
        (false, _) => DirectIo::Refused("the filesystem does not say whether it has direct I/O"),
    })
}

/// Turns `O_DIRECT` on or off for an open file: `open(O_CREAT | O_DIRECT)` may fail and leave the
/// file behind.
pub fn set_direct(file: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = fs::fcntl_getfl(file.as_fd())?;
    flags.set(OFlags::DIRECT, on);
    Ok(fs::fcntl_setfl(file, flags)?)
}

/// From now on reads of an open file leave its access time alone: `O_NOATIME`, see open(2). Only
/// its owner may ask for that; whoever else reads leaves a trace, as with any reader, so that the
/// answer decides nothing.
pub fn leave_access_time(file: impl AsFd) {
    if let Ok(flags) = fs::fcntl_getfl(file.as_fd()) {
        let _asked = fs::fcntl_setfl(file, flags | OFlags::NOATIME);
    }
}

/// Whether the filesystem is known to answer `SEEK_HOLE` truly for data that is not on the device
/// yet.
pub fn holes_are_believed(file: impl AsFd) -> io::Result<bool> {
    Ok(HONEST_FILESYSTEMS.contains(&filesystem_magic(file)?))
}

/// Where the next data begins and ends at or after `from_bytes`: lseek(2) with `SEEK_DATA`, then
/// `SEEK_HOLE`. `None` when only a hole follows.
pub fn next_data(file: impl AsFd, from_bytes: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match fs::seek(file.as_fd(), SeekFrom::Data(from_bytes)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let end = fs::seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, end)))
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

/// Whether allocating ahead is a gain: on btrfs it turns compression off, on tmpfs it is the copy's
/// own work.
pub fn preallocation_helps(file: impl AsFd) -> io::Result<bool> {
    Ok(!matches!(filesystem_magic(file)?, BTRFS_MAGIC | TMPFS_MAGIC))
}

/// Whether the filesystem is known to have no clones. One that does not answer is not known.
pub fn never_clones(dir: impl AsFd) -> bool {
    matches!(filesystem_magic(dir), Ok(EXT4_MAGIC | TMPFS_MAGIC))
}

/// Makes all of `target` share the blocks of `source`, without moving a byte: ioctl_ficlone(2).
pub fn clone(source: impl AsFd, target: impl AsFd) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| fs::ioctl_ficlone(target.as_fd(), source.as_fd()))?)
}

/// How many bytes a file's filesystem has left for whoever is not root: fstatvfs(3).
pub fn free_bytes(file: impl AsFd) -> io::Result<u64> {
    let stat = fs::fstatvfs(file)?;
    Ok(stat.f_bavail * stat.f_frsize)
}

/// ftruncate(2).
pub fn set_size(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| fs::ftruncate(file.as_fd(), size_bytes))?)
}

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
    // SAFETY: the kernel reads one range and writes one result, both live and of the layout in
    // linux/mman.h.
    let result = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            &raw const range,
            &raw mut stat,
            0 as libc::c_uint,
        )
    };
    (result == 0).then(|| stat.cache * rustix::param::page_size() as u64)
}

/// Raises the process's limit of open files to the most that it may have; see getrlimit(2). A
/// refusal changes nothing.
pub fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused only where the hard limit was lowered meanwhile; then the old soft limit holds, and
    // EMFILE tells.
    let _unchanged =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How many files the process may have open: the soft limit of `RLIMIT_NOFILE`, if there is one.
pub fn open_files_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

/// Starts reading the first `len_bytes` into the page cache: posix_fadvise(2) with
/// `POSIX_FADV_WILLNEED`. It does not wait, and a refusal costs speed alone, so its answer decides
/// nothing.
pub fn read_ahead(file: impl AsFd, len_bytes: u64) {
    if let Some(len_bytes) = std::num::NonZeroU64::new(len_bytes) {
        let _advice = fs::fadvise(file, 0, Some(len_bytes), fs::Advice::WillNeed);
    }
}

/// Drops a file's clean pages from the page cache: posix_fadvise(2) with `POSIX_FADV_DONTNEED`.
/// What came of it, only [`cached_bytes`] tells, so its answer decides nothing.
pub fn drop_cache(file: impl AsFd) {
    let _advice = fs::fadvise(file, 0, None, fs::Advice::DontNeed);
}

/// Closes a descriptor and looks at the answer, which `Drop` cannot: a network filesystem may say
/// only now that a write failed. After EINTR the descriptor is closed all the same, see close(2).
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
