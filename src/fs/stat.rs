//! What stat(2) and statx(2) tell of a file.

use super::times::Moment;
use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;

use crate::sys::call::{self as fs, AtFlags, StatxFlags};
use rustix::io::Errno;

pub use crate::sys::call::{FileType, Stat, Timespec};

use super::facts::{is_kernels_own, keeps_sizes, numbers_are_kept, numbers_truly};

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

/// fstatat(2) of what a link leads to; `None` when it leads nowhere.
pub fn stat_behind(dir: impl AsFd, name: &OsStr) -> io::Result<Option<Stat>> {
    match fs::statat(dir, name, AtFlags::empty()) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS | Errno::NOTDIR | Errno::NAMETOOLONG) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// fstatat(2) of what a link leads to, as far as that can be reached. A link may hold anything, and
/// lead to a mount that is dead.
pub fn stat_if_reached(dir: impl AsFd, name: &OsStr) -> Option<Stat> {
    fs::statat(dir, name, AtFlags::empty()).ok()
}

/// How many bytes a file's filesystem says that it takes. Some say 0 of every file.
pub fn allocated_bytes(stat: &Stat) -> u64 {
    // st_blocks counts 512 bytes whatever the filesystem's block is, see inode(7).
    (stat.st_blocks as u64).saturating_mul(512)
}

/// Whether a file holds what its size says. It does on a filesystem that lies on a block device of
/// its own. FUSE, /proc and /sys say what they please; btrfs and tmpfs look like these, see
/// [`holds_what_it_says`].
pub fn size_is_believed(stat: &Stat) -> bool {
    fs::major(stat.st_dev) != 0
}

/// Whether an open file holds what its size says. Its filesystem is asked where stat does not show
/// it, by each thread once for the files of one device that follow each other.
pub fn holds_what_it_says(file: impl AsFd, stat: &Stat) -> bool {
    thread_local! {
        static LAST: Cell<Option<(u64, bool)>> = const { Cell::new(None) };
    }
    if size_is_believed(stat) {
        return true;
    }
    match LAST.get() {
        Some((device, holds)) if device == stat.st_dev => holds,
        _ => {
            let holds = keeps_sizes(file);
            LAST.set(Some((stat.st_dev, holds)));
            holds
        }
    }
}

/// Whether size, modification time and change time of an open file are what they were. A name more
/// or less changes the last one too. Those of what the kernel makes say nothing of its contents: it
/// gives a file of /sys new ones when someone first lists its attributes.
pub fn is_unchanged(file: impl AsFd, then: &Stat) -> io::Result<bool> {
    let now = stat(&file)?;
    let changed = |stat: &Stat| (stat.st_ctime, stat.st_ctime_nsec);
    let is_as_then = is_as_written(then, &now)
        && (changed(&now) == changed(then) || now.st_nlink != then.st_nlink);
    Ok(is_as_then || (now.st_size == then.st_size && is_kernels_own(file)))
}

/// Whether an answer of statx(2) shows an [unchanged](is_unchanged) file.
pub(super) fn is_unchanged_in(then: &Stat, now: &fs::Statx) -> bool {
    let moment = |time: fs::StatxTimestamp| Moment { seconds: time.tv_sec, nanos: time.tv_nsec };
    now.stx_size == then.st_size as u64
        && moment(now.stx_mtime) == Moment::modified(then)
        && (moment(now.stx_ctime) == Moment::changed(then) || now.stx_nlink != then.st_nlink as u32)
}

/// Whether size and modification time are what they were.
pub fn is_as_written(then: &Stat, now: &Stat) -> bool {
    let written = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    written(now) == written(then)
}

/// What tells a file from all others that have or had its name: when it was born. Where the
/// filesystem does not say, it is the inode number, which may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Birth([u8; 13]);

impl Birth {
    fn of(statx: &fs::Statx) -> Self {
        let is_known = statx.stx_mask & StatxFlags::BTIME.bits() != 0;
        match (statx.stx_btime.tv_sec, statx.stx_btime.tv_nsec) {
            born if is_known && born != (0, 0) => Self::new(b't', born.0 as u64, born.1),
            _ => Self::new(b'i', statx.stx_ino, 0),
        }
    }

    fn new(kind: u8, number: u64, nanos: u32) -> Self {
        let mut bytes = [kind; 13];
        bytes[1..9].copy_from_slice(&number.to_le_bytes());
        bytes[9..].copy_from_slice(&nanos.to_le_bytes());
        Self(bytes)
    }

    /// Whether the file keeps it also when its filesystem is mounted anew.
    pub fn is_lasting(&self, file: impl AsFd) -> io::Result<bool> {
        if self.0[0] == b't' { Ok(true) } else { numbers_are_kept(file) }
    }

    /// What is the same also when the filesystem is mounted anew: nothing, where all of it changes.
    pub fn lasting(self, file: impl AsFd) -> io::Result<Self> {
        Ok(if self.is_lasting(file)? { self } else { Self::new(b'n', 0, 0) })
    }

    /// The bytes that stand for it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The birth of an open file. Without an answer it is the inode number.
pub fn birth(file: impl AsFd) -> io::Result<Birth> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    match fs::statx(file.as_fd(), c"", AtFlags::EMPTY_PATH, wanted) {
        Ok(answer) => Ok(Birth::of(&answer)),
        Err(_) => Ok(Birth::new(b'i', stat(file)?.st_ino, 0)),
    }
}

/// The birth of what has a name; `None` when there is nothing of that name.
pub fn birth_at(dir: impl AsFd, name: &OsStr) -> io::Result<Option<Birth>> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    match fs::statx(dir.as_fd(), name, AtFlags::SYMLINK_NOFOLLOW, wanted) {
        Ok(answer) => Ok(Some(Birth::of(&answer))),
        Err(Errno::NOENT) => Ok(None),
        Err(_) => Ok(stat_at(dir, name)?.map(|stat| Birth::new(b'i', stat.st_ino, 0))),
    }
}

/// Whether an open file, whose answer to stat is given, is the one that its directory listed under
/// the inode number `ino`.
///
/// Listings do not tell what is mounted over a name, nor the inode number of a btrfs subvolume's
/// root. Overlays and FUSE may make up numbers as they go. So a difference counts only where it
/// proves that the name was exchanged.
pub fn is_as_listed(dir: impl AsFd, file: impl AsFd, stat: &Stat, ino: u64) -> bool {
    if stat.st_ino == ino || !numbers_truly(file.as_fd(), stat.st_ino) {
        return true;
    }
    let (file, dir) = (mount(file), mount(dir));
    file.is_none() || file != dir
}

/// The number of the mount that a file was reached through; nothing where it is not told, as by
/// kernels before 5.8.
pub(super) fn mount(file: impl AsFd) -> Option<u64> {
    let statx = fs::statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
    (statx.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(statx.stx_mnt_id)
}
