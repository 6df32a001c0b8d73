//! What is known of filesystems by their kind, and what they tell of themselves.

use std::io;
use std::os::fd::AsFd;
use std::sync::OnceLock;

use crate::sys::call::{self as fs, AtFlags, IFlags, Statx, StatxFlags};
use rustix::io::Errno;

use super::times::{Clock, Grain};
use crate::error::Cause;
use crate::sys;

/// Block size below which no direct I/O is aligned on any filesystem that we know, when it does not
/// say itself.
pub const DIRECT_ALIGN_DEFAULT: u64 = 4096;

/// Why a file is read through the page cache where statx(2) says that it has no other way.
pub const NO_DIRECT_IO: &str = "the filesystem has no direct I/O for this file";

/// What a filesystem makes of `O_DIRECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectIo {
    /// Direct, in multiples of so many bytes of offset, length and memory.
    Aligned(u64),
    /// It does not say; multiples of [`DIRECT_ALIGN_DEFAULT`] may do. The reason not to try goes
    /// into the report.
    Unsaid(&'static str),
    /// Not for this file, or only pretended; the reason goes into the report.
    Refused(&'static str),
}

pub(super) const BTRFS_MAGIC: u64 = 0x9123_683e;
pub(super) const TMPFS_MAGIC: u64 = 0x0102_1994;
pub(super) const RAMFS_MAGIC: u64 = 0x8584_58f6;
pub(super) const EXT4_MAGIC: u64 = 0xef53;
pub(super) const XFS_MAGIC: u64 = 0x5846_5342;
pub(super) const F2FS_MAGIC: u64 = 0xf2f5_2010;
const PROC_MAGIC: u64 = 0x9fa0;
const OVERLAY_MAGIC: u64 = 0x794c_7630;
pub(super) const MSDOS_MAGIC: u64 = 0x4d44;
pub(super) const EXFAT_MAGIC: u64 = 0x2011_bab0;
/// ntfs, and ntfs3.
const NTFS_MAGICS: [u64; 2] = [0x5346_544e, 0x7366_746e];

/// Filesystems whose files may be stamped by another machine's clock: NFS, CIFS, SMB, SMB2, 9p,
/// Ceph, AFS, Lustre, GFS2, OCFS2, and FUSE, behind which anything may be.
const ELSEWHERE_STAMPED: [u64; 11] = [
    0x6969,
    0xff53_4d42,
    0x517b,
    0xfe53_4d42,
    0x0102_1997,
    0x00c3_6400,
    0x5346_414f,
    0x0bd0_0bd0,
    0x0116_1970,
    0x7461_636f,
    0x6573_5546,
];

/// Filesystems whose directories list the inode numbers that stat tells.
const NUMBERING_FILESYSTEMS: [u64; 5] =
    [BTRFS_MAGIC, TMPFS_MAGIC, EXT4_MAGIC, XFS_MAGIC, F2FS_MAGIC];

/// Filesystems that make numbers up at each mount, or show those of others: FUSE, exFAT, FAT, SMB
/// three times, 9p, overlayfs, vboxsf, eCryptfs, aufs, HGFS.
const FLEETING_NUMBERS: [u64; 12] = [
    0x6573_5546,
    EXFAT_MAGIC,
    MSDOS_MAGIC,
    0xff53_4d42,
    0xfe53_4d42,
    0x517b,
    0x0102_1997,
    OVERLAY_MAGIC,
    0x786f_4256,
    0xf15f,
    0x6175_6673,
    0xbacb_acbc,
];

/// The `f_type` of the filesystem that holds `file`; see fstatfs(2).
pub(super) fn filesystem_magic(file: impl AsFd) -> io::Result<u64> {
    // The magic numbers are 32 bits wide in a field whose width and sign differ between machines.
    Ok(fs::fstatfs(file)?.f_type as u32 as u64)
}

/// Filesystems in which the kernel makes all files: proc, sysfs, cgroup, cgroup2, debugfs, tracefs,
/// securityfs, selinuxfs, smackfs, bpf, pstore, devpts, binfmt_misc, configfs, fusectl,
/// rpc_pipefs, nfsd.
const KERNELS_OWN: [u64; 17] = [
    PROC_MAGIC,
    0x6265_6572,
    0x0027_e0eb,
    0x6367_7270,
    0x6462_6720,
    0x7472_6163,
    0x7363_6673,
    0xf97c_ff8c,
    0x4341_5d53,
    0xcafe_4a11,
    0x6165_676c,
    0x1cd1,
    0x4249_4e4d,
    0x6265_6570,
    0x6573_5543,
    0x6759_6969,
    0x6e66_7364,
];

/// Why something could not be made in `dir`.
pub fn why_not_made(dir: impl AsFd, cause: io::Error) -> Cause {
    let is_refused = matches!(
        cause.raw_os_error(),
        Some(libc::EACCES | libc::ENOENT | libc::EOPNOTSUPP | libc::EPERM)
    );
    match is_refused && is_kernels_own(dir) {
        true => Cause::KernelsFolder(cause),
        false => cause.into(),
    }
}

/// Whether a file or folder is of a filesystem in which the kernel makes all files.
pub(super) fn is_kernels_own(file: impl AsFd) -> bool {
    filesystem_magic(file).is_ok_and(|magic| KERNELS_OWN.contains(&magic))
}

/// Whether a file is one of /proc; nothing where its filesystem does not tell its kind.
pub(super) fn is_proc(file: impl AsFd) -> Option<bool> {
    filesystem_magic(file).ok().map(|magic| magic == PROC_MAGIC)
}

/// Whether a file's inode number is the one that its directory lists: not for the root of a btrfs
/// subvolume, nor for the empty directory that stands in its place in a snapshot of the subvolume
/// above it, nor where a filesystem makes numbers up as it goes, or does not tell its kind.
pub(super) fn numbers_truly(file: impl AsFd, inode: u64) -> bool {
    const BTRFS_EMPTY_SUBVOLUME_INO: u64 = 2;
    const BTRFS_SUBVOLUME_ROOT_INO: u64 = 256;
    let Ok(magic) = filesystem_magic(file) else { return false };
    let is_subvolume = magic == BTRFS_MAGIC
        && matches!(inode, BTRFS_EMPTY_SUBVOLUME_INO | BTRFS_SUBVOLUME_ROOT_INO);
    NUMBERING_FILESYSTEMS.contains(&magic) && !is_subvolume
}

/// Whether a filesystem without a device of its own is known to hold what its files' sizes say.
pub(super) fn keeps_sizes(file: impl AsFd) -> bool {
    matches!(filesystem_magic(file), Ok(BTRFS_MAGIC | TMPFS_MAGIC))
}

/// Whether a filesystem makes inode numbers up at each mount, or shows those of others.
pub(super) fn numbers_are_fleeting(magic: u64) -> bool {
    FLEETING_NUMBERS.contains(&magic)
}

/// Whether a file in this directory has one number for as long as it is there, so that another
/// number is another file's.
pub fn numbers_are_kept(dir: impl AsFd) -> io::Result<bool> {
    match filesystem_magic(dir.as_fd()) {
        Ok(magic) => Ok(!numbers_are_fleeting(magic) || magic == OVERLAY_MAGIC),
        // One that does not tell its kind is believed to keep them on a block device of its own.
        Err(_) => Ok(fs::major(fs::fstat(dir)?.st_dev) != 0),
    }
}

/// Whether syncfs(2) on `file` writes everything, and tells of the errors since the descriptor was
/// opened, which it does since Linux 5.8, and of those of the filesystem's own part of it, which it
/// does since 5.17; and where the filesystem itself is on the device. FUSE and overlays answer for
/// others.
pub fn syncs_whole(file: impl AsFd) -> io::Result<bool> {
    Ok(kernel_is(5, 17)? && matches!(filesystem_magic(file)?, EXT4_MAGIC | XFS_MAGIC | BTRFS_MAGIC))
}

/// Whether the kernel is of this version or a later one. It is asked once.
pub fn kernel_is(major: u32, minor: u32) -> io::Result<bool> {
    static VERSION: OnceLock<(u32, u32)> = OnceLock::new();
    if let Some(version) = VERSION.get() {
        return Ok(*version >= (major, minor));
    }
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    Ok(*VERSION.get_or_init(|| version) >= (major, minor))
}

/// The flag of directories that fold case, see ioctl_iflags(2).
const FS_CASEFOLD_FL: u32 = 0x4000_0000;

/// Which directories of a filesystem may take two names for one, as those are that differ in case
/// or in the form of their Unicode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folding {
    /// None.
    Never,
    /// Those that have the flag.
    Flagged,
    /// Any. It is so where nothing is known of the filesystem.
    Possible,
}

impl Folding {
    /// What the filesystem of `dir` does.
    pub fn of(dir: impl AsFd) -> Self {
        let dir = dir.as_fd();
        match filesystem_magic(dir) {
            Ok(BTRFS_MAGIC | RAMFS_MAGIC) => Self::Never,
            Ok(EXT4_MAGIC | F2FS_MAGIC | TMPFS_MAGIC | OVERLAY_MAGIC) => Self::Flagged,
            Ok(XFS_MAGIC) if sys::file::xfs_folds_case(dir).is_ok_and(|folds| !folds) => {
                Self::Never
            }
            _ => Self::Possible,
        }
    }

    /// Whether `dir`, which is on that filesystem, may.
    pub fn may_fold(self, dir: impl AsFd) -> bool {
        match self {
            Self::Never => false,
            Self::Possible => true,
            Self::Flagged => match fs::ioctl_getflags(dir) {
                Ok(flags) => flags.bits() & FS_CASEFOLD_FL != 0,
                // What is open as a place alone cannot be asked.
                Err(Errno::BADF) => true,
                // Kernels that fold names in such a filesystem have the call.
                Err(_) => false,
            },
        }
    }
}

/// The grain of the times that the filesystem stores, where its kind says it.
pub fn grain_of_times(dir: impl AsFd) -> Option<Grain> {
    match filesystem_magic(dir) {
        Ok(MSDOS_MAGIC) => Some(Grain::TwoSeconds),
        Ok(EXFAT_MAGIC) => Some(Grain::TenMilliseconds),
        Ok(magic) if NTFS_MAGICS.contains(&magic) => Some(Grain::HundredNanoseconds),
        _ => None,
    }
}

/// The clock that stamps what is changed in the filesystem of `file`.
pub fn clock_of(file: impl AsFd) -> Clock {
    match filesystem_magic(file) {
        Err(_) => Clock::Elsewhere,
        Ok(magic) if ELSEWHERE_STAMPED.contains(&magic) => Clock::Elsewhere,
        Ok(EXT4_MAGIC | XFS_MAGIC | BTRFS_MAGIC | TMPFS_MAGIC)
            if kernel_is(6, 13).is_ok_and(|is| is) =>
        {
            Clock::Fresh
        }
        Ok(EXT4_MAGIC) => Clock::Ticking { coarsest: Grain::Second },
        Ok(_) => Clock::Ticking { coarsest: Grain::TwoSeconds },
    }
}

/// Asks statx(2) for `STATX_DIOALIGN`, and the filesystem's kind where that says nothing. Without
/// an answer nothing is said.
pub fn direct_io(file: impl AsFd) -> DirectIo {
    let magic = filesystem_magic(file.as_fd()).ok();
    match magic {
        // Both accept the flag and then use the page cache (btrfs for every inode that has
        // checksums).
        Some(BTRFS_MAGIC) => return DirectIo::Refused("btrfs buffers direct I/O"),
        Some(TMPFS_MAGIC) => return DirectIo::Refused("tmpfs lives in the page cache"),
        _ => {}
    }
    let statx = fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN).ok();
    match statx.as_ref().and_then(direct_align_bytes) {
        Some(0) => DirectIo::Refused(NO_DIRECT_IO),
        Some(align) => DirectIo::Aligned(u64::from(align).max(DIRECT_ALIGN_DEFAULT)),
        // Before Linux 6.1 nothing sets the bit; these two are known to be direct.
        None if matches!(magic, Some(EXT4_MAGIC | XFS_MAGIC)) => {
            DirectIo::Aligned(DIRECT_ALIGN_DEFAULT)
        }
        None => DirectIo::Unsaid("the filesystem does not say whether it has direct I/O"),
    }
}

/// The alignment for direct I/O in an answer of statx(2), 0 without direct I/O, if it is told.
pub(super) fn direct_align_bytes(statx: &Statx) -> Option<u32> {
    (statx.stx_mask & StatxFlags::DIOALIGN.bits() != 0)
        .then(|| statx.stx_dio_offset_align.max(statx.stx_dio_mem_align))
}

/// Whether `SEEK_HOLE` is known to tell the truth of this file, also of data that is not on the
/// device yet. Without an answer it is not: reading is always right.
///
/// - ext4 does for inodes that map their blocks by extents. For those with indirect blocks, as
///   ext2 and ext3 made them, it calls data a hole that is not written back. ext2 and ext3 have
///   ext4's magic number.
/// - f2fs has called inline and compressed data holes, depending on the kernel.
/// - FUSE, overlays and network filesystems pass on what another one says.
pub fn holes_are_believed(file: impl AsFd) -> bool {
    /// `FS_EXTENT_FL` of linux/fs.h, which ext4 alone sets, and not where data is in the inode.
    const MAPS_EXTENTS: IFlags = IFlags::from_bits_retain(0x0008_0000);
    match filesystem_magic(file.as_fd()) {
        Ok(BTRFS_MAGIC | TMPFS_MAGIC | XFS_MAGIC) => true,
        Ok(EXT4_MAGIC) => fs::ioctl_getflags(file).is_ok_and(|flags| flags.contains(MAPS_EXTENTS)),
        _ => false,
    }
}

/// Whether allocating ahead is a gain: on btrfs it turns compression off, on tmpfs it is the copy's
/// own work. Where the filesystem does not tell its kind, it is tried.
pub fn preallocation_helps(file: impl AsFd) -> bool {
    !matches!(filesystem_magic(file), Ok(BTRFS_MAGIC | TMPFS_MAGIC))
}

/// Whether the filesystem is known to have no clones. One that does not answer is not known.
pub fn never_clones(dir: impl AsFd) -> bool {
    matches!(filesystem_magic(dir), Ok(EXT4_MAGIC | TMPFS_MAGIC))
}
