//! Whether two names lead to one file. Device and inode number only say that they may: a number is
//! used again when its file is gone, and a filesystem that answers for several others shows their
//! numbers as they are.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use crate::sys::call::{self as fs, AtFlags, StatxFlags};
use rustix::io::Errno;

use super::facts::{
    BTRFS_MAGIC, EXFAT_MAGIC, EXT4_MAGIC, F2FS_MAGIC, MSDOS_MAGIC, TMPFS_MAGIC, XFS_MAGIC,
    filesystem_magic, numbers_are_fleeting,
};
use super::io::read_full_at;
use super::open::{list, open_path, open_path_behind, open_to_read, open_to_read_behind};
use super::stat::{FileType, Stat, stat};
use super::times::{Moment, is_long_ago};
use crate::sys::handle::file_handle;

/// Filesystems whose inodes have numbers of their own and handles with a generation.
const OWN_NUMBERS: [u64; 5] = [BTRFS_MAGIC, TMPFS_MAGIC, EXT4_MAGIC, XFS_MAGIC, F2FS_MAGIC];

/// Bytes read at once where contents are compared.
const COMPARE_BYTES: usize = 1 << 18;

/// What an inode number is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// Two files that are there at one time have two numbers, and so has one file for ever.
    Own,
    /// It is not known whether they have.
    Lasting,
    /// A file may have another number after the next mount, and two files one number.
    Fleeting,
}

/// What the answers of a filesystem's stat are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Its inode numbers.
    pub numbers: Numbers,
    /// Whether a change time is the same after the next mount. FAT and exFAT keep none.
    pub keeps_change_times: bool,
    /// Whether a file's list of extended attributes names its ACL, if it has one.
    pub lists_acls: bool,
}

impl Trust {
    /// What a filesystem's kind says; nothing is known of one that does not tell its kind.
    fn of_magic(magic: Option<u64>) -> Self {
        let numbers = match magic {
            Some(magic) if OWN_NUMBERS.contains(&magic) => Numbers::Own,
            Some(magic) if numbers_are_fleeting(magic) => Numbers::Fleeting,
            _ => Numbers::Lasting,
        };
        let keeps_change_times = !matches!(magic, Some(EXFAT_MAGIC | MSDOS_MAGIC));
        // All of these keep ACLs as attributes; those that pass on what others say may not.
        Self { numbers, keeps_change_times, lists_acls: numbers == Numbers::Own }
    }
}

/// What the answers of the filesystem that holds `file` are worth.
pub fn trust(file: impl AsFd) -> Trust {
    Trust::of_magic(filesystem_magic(file).ok())
}

/// Device and inode number. Different ones are those of different files; equal ones have to be
/// looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// The numbers in an answer.
    pub fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }
}

/// Whether two looks were at one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sameness {
    /// It is shown that they were.
    Same,
    /// Numbers, size and times agree, and no more is known: contents decide.
    Unclear,
    /// The filesystem calls them by two names of its own, as some do with one file too.
    Unlikely,
    /// They were not, or the file was written to in between.
    Different,
}

impl Sameness {
    /// Whether it is the one to be believed where that loses nothing.
    pub fn is_likely(self) -> bool {
        matches!(self, Self::Same | Self::Unclear)
    }
}

/// The first half of a hash of a file handle.
type HandleHash = [u8; 16];

/// What one look at a file found, for comparison with a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    id: FileId,
    mode: u32,
    owner: (u32, u32),
    device: u64,
    size_bytes: i64,
    modified: Moment,
    changed: Moment,
    born: Option<Moment>,
    handle: Option<HandleHash>,
    numbers: Numbers,
    /// When it was looked at.
    seen: Moment,
}

impl Identity {
    /// An open file that answered `stat`, on a filesystem with such numbers. Costs one system
    /// call, and a second one where the handle alone would prove nothing.
    pub fn of(file: impl AsFd, stat: &Stat, numbers: Numbers) -> Self {
        Self::at(file, OsStr::new(""), stat, numbers)
    }

    /// What has a name that is not followed, and answered `stat`.
    pub fn at(dir: impl AsFd, name: &OsStr, stat: &Stat, numbers: Numbers) -> Self {
        let handle = handle(dir.as_fd(), name);
        let is_proof = numbers == Numbers::Own && handle.is_some();
        let born = if is_proof { None } else { born(dir, name) };
        Self {
            id: FileId::of(stat),
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
            device: stat.st_rdev,
            size_bytes: stat.st_size,
            modified: Moment::modified(stat),
            changed: Moment::changed(stat),
            born,
            handle,
            numbers,
            seen: Moment::now(),
        }
    }

    /// Device and inode number.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Whether a `later` look was at the file of this one, which may be gone by then.
    ///
    /// A name more or less changes the change time alone. So a handle that names a generation
    /// proves without it, and only where there is none the change time has to be the same.
    pub fn compare(&self, later: &Self) -> Sameness {
        let kind = |look: &Self| FileType::from_raw_mode(look.mode);
        let facts = |look: &Self| (look.id, look.device, look.size_bytes, look.modified);
        if facts(self) != facts(later) || kind(self) != kind(later) {
            return Sameness::Different;
        }
        let births = self.born.zip(later.born).map(|(one, other)| one == other);
        if births == Some(false) {
            return Sameness::Different;
        }
        // What came after the first look has a later time than one that was settled then.
        let is_settled = |change: Moment| is_long_ago(change, self.seen);
        let is_untouched = self.changed == later.changed && is_settled(self.changed);
        let is_of_one_birth = births == Some(true) && self.born.is_some_and(is_settled);
        let handles = self.handle.zip(later.handle).map(|(one, other)| one == other);
        match (self.numbers, handles) {
            (Numbers::Own, Some(true)) => Sameness::Same,
            (Numbers::Own, Some(false)) => Sameness::Different,
            (Numbers::Own, None) if is_untouched || is_of_one_birth => Sameness::Same,
            (_, Some(true)) if is_untouched => Sameness::Same,
            _ if (self.mode, self.owner) != (later.mode, later.owner) => Sameness::Different,
            _ => Sameness::Unclear,
        }
    }
}

/// An [`Identity`] as bytes, to be compared after it was out of memory.
pub type IdentityBytes = [u8; 109];

impl Identity {
    /// As bytes.
    pub fn to_bytes(self) -> IdentityBytes {
        let Self { id, mode, owner, device, size_bytes, modified, changed, born, .. } = self;
        let times = [modified, changed, born.unwrap_or_default(), self.seen];
        let large = times.map(|time| time.seconds.to_le_bytes());
        let size = size_bytes.to_le_bytes();
        let numbers = [id.device, id.inode, device].map(u64::to_le_bytes);
        let nanos = times.map(|time| time.nanos.to_le_bytes());
        let small = [mode, owner.0, owner.1].map(u32::to_le_bytes);
        let trust = match self.numbers {
            Numbers::Own => 0,
            Numbers::Lasting => 1,
            Numbers::Fleeting => 2,
        };
        let known = trust | u8::from(born.is_some()) << 2 | u8::from(self.handle.is_some()) << 3;
        let handle = self.handle.unwrap_or_default();
        let parts = [large.as_flattened(), &size, numbers.as_flattened(), nanos.as_flattened()];
        let parts = [&parts.concat()[..], small.as_flattened(), &handle, &[known]];
        parts.concat().try_into().expect("the parts of an identity")
    }

    /// What it found as bytes, without when that was.
    pub fn facts(self) -> IdentityBytes {
        Self { seen: Moment::default(), ..self }.to_bytes()
    }

    /// What [`to_bytes`](Self::to_bytes) made.
    pub fn of_bytes(bytes: &IdentityBytes) -> Self {
        let (large, rest) = bytes.split_at(5 * 8);
        let (numbers, rest) = rest.split_at(3 * 8);
        let (small, rest) = rest.split_at(7 * 4);
        let (handle, known) = rest.split_at(16);
        let number = |at: usize| u64::from_le_bytes(take(numbers, at));
        let large = |at: usize| i64::from_le_bytes(take(large, at));
        let small = |at: usize| u32::from_le_bytes(take(small, at));
        let time = |at: usize| Moment { seconds: large(at), nanos: small(at) };
        let known = known[0];
        Self {
            id: FileId { device: number(0), inode: number(1) },
            mode: small(4),
            owner: (small(5), small(6)),
            device: number(2),
            size_bytes: large(4),
            modified: time(0),
            changed: time(1),
            born: (known & 4 != 0).then(|| time(2)),
            handle: (known & 8 != 0).then(|| take(handle, 0)),
            numbers: match known & 3 {
                0 => Numbers::Own,
                1 => Numbers::Lasting,
                _ => Numbers::Fleeting,
            },
            seen: time(3),
        }
    }
}

/// The `at`th of the parts of some bytes that are as long as what is wanted.
fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at * N..(at + 1) * N].try_into().expect("it has this length")
}

#[cfg(test)]
impl Identity {
    /// Another file that looks the same but for its number.
    pub fn numbered(self, inode: u64) -> Self {
        Self { id: FileId { inode, ..self.id }, ..self }
    }

    /// As if nothing were known but what stat says.
    pub fn without_proof(self) -> Self {
        Self { handle: None, born: None, numbers: Numbers::Fleeting, ..self }
    }
}

/// What a file's filesystem calls it, if it says. A name is not followed; an empty one is the file
/// itself.
fn handle(dir: BorrowedFd<'_>, name: &OsStr) -> Option<HandleHash> {
    let (kind, bytes) = file_handle(dir, &CString::new(name.as_bytes()).ok()?)?;
    let hash = blake3::Hasher::new().update(&kind.to_le_bytes()).update(&bytes).finalize();
    hash.as_bytes().first_chunk().copied()
}

/// When a file was made, if that is known.
pub(super) fn born(dir: impl AsFd, name: &OsStr) -> Option<Moment> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW;
    let statx = fs::statx(dir, name, flags, StatxFlags::BTIME).ok()?;
    let is_known = statx.stx_mask & StatxFlags::BTIME.bits() != 0;
    let (seconds, nanos) = (statx.stx_btime.tv_sec, statx.stx_btime.tv_nsec);
    is_known.then_some(Moment { seconds, nanos })
}

/// Whether two descriptors lead to one file. Both files are there, so that numbers of their own
/// prove it.
pub fn compare(one: impl AsFd, other: impl AsFd) -> io::Result<Sameness> {
    let (one, other) = (one.as_fd(), other.as_fd());
    let (first, second) = (stat(one)?, stat(other)?);
    if FileId::of(&first) != FileId::of(&second) {
        return Ok(Sameness::Different);
    }
    let itself = OsStr::new("");
    if trust(one).numbers == Numbers::Own {
        return Ok(Sameness::Same);
    }
    let is_dir = FileType::from_raw_mode(first.st_mode) == FileType::Directory;
    let if_nothing_more = match handle(one, itself).zip(handle(other, itself)) {
        Some((one, other)) if one == other => return Ok(Sameness::Same),
        // A second name may have a node of its own.
        Some(_) if first.st_nlink == 1 || is_dir => Sameness::Unlikely,
        _ => Sameness::Unclear,
    };
    // Both were looked at just now. What changed between the two looks changed the first one too.
    let is_steady = all_of(&stat(one)?) == all_of(&first);
    let are_born_apart =
        born(one, itself).zip(born(other, itself)).is_some_and(|(one, other)| one != other);
    if are_born_apart || (is_steady && all_of(&first) != all_of(&second)) {
        return Ok(Sameness::Different);
    }
    // What cannot be listed shows nothing.
    let are_told_apart = is_dir && have_same_entries(one, other).is_ok_and(|are_same| !are_same);
    Ok(if are_told_apart { Sameness::Different } else { if_nothing_more })
}

/// Whether two directories list the same names, and stat says the same of each.
fn have_same_entries(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> io::Result<bool> {
    let mut count = 0;
    for entry in list(one, 0)? {
        let entry = entry?;
        let (name, look) = (entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let second = match fs::statat(other, name, look) {
            Err(Errno::NOENT) => return Ok(false),
            answer => answer?,
        };
        let first = fs::statat(one, name, look)?;
        if FileId::of(&first) != FileId::of(&second) || all_of(&first) != all_of(&second) {
            return Ok(false);
        }
        count += 1;
    }
    let mut others = 0;
    for entry in list(other, 0)? {
        others += usize::from(!matches!(entry?.file_name().to_bytes(), b"." | b".."));
    }
    Ok(others == count)
}

/// All that stat says of a file but when it was last read, and its numbers.
fn all_of(stat: &Stat) -> impl PartialEq + use<> {
    let owner = (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    let times = (stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
    (owner, times, stat.st_nlink, stat.st_size)
}

/// Whether `above`, reached through `..` of a directory, is that directory itself, so that it is
/// the root. A directory that only has the number of the one above it is not.
pub fn end_of_climb(dir: impl AsFd, above: impl AsFd) -> io::Result<bool> {
    let (dir, above, itself) = (dir.as_fd(), above.as_fd(), OsStr::new(""));
    let are_numbers_equal = FileId::of(&stat(dir)?) == FileId::of(&stat(above)?);
    Ok(are_numbers_equal
        && handle(dir, itself).zip(handle(above, itself)).is_none_or(|(one, other)| one == other))
}

/// A name in an open directory.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    /// The directory.
    pub dir: &'a OwnedFd,
    /// The name in it.
    pub name: &'a OsStr,
    /// Whether what a symbolic link leads to is meant.
    pub is_followed: bool,
}

impl Name<'_> {
    fn open_path(self) -> io::Result<OwnedFd> {
        let open = if self.is_followed { open_path_behind } else { open_path };
        open(self.dir, self.name)
    }

    fn open_to_read(self) -> io::Result<OwnedFd> {
        match self.is_followed {
            true => open_to_read_behind(self.dir, self.name),
            false => open_to_read(self.dir, self.name),
        }
    }
}

/// Whether two names lead to one file. Where all else agrees, contents may show that they do not.
pub fn compare_names(one: Name<'_>, other: Name<'_>) -> io::Result<Sameness> {
    let (first, second) = (one.open_path()?, other.open_path()?);
    let sameness = compare(&first, &second)?;
    if matches!(sameness, Sameness::Same | Sameness::Different) {
        return Ok(sameness);
    }
    let are_equal = match FileType::from_raw_mode(stat(&first)?.st_mode) {
        FileType::RegularFile => same_contents(one.open_to_read()?, other.open_to_read()?)?,
        FileType::Symlink => same_contents(&first, &second)?,
        _ => true,
    };
    Ok(if are_equal { sameness } else { Sameness::Different })
}

/// Whether two open files, or two symbolic links that are open as places, hold the same.
pub fn same_contents(one: impl AsFd, other: impl AsFd) -> io::Result<bool> {
    if FileType::from_raw_mode(stat(one.as_fd())?.st_mode) == FileType::Symlink {
        let read = |link: BorrowedFd<'_>| fs::readlinkat(link, c"");
        return Ok(read(one.as_fd())? == read(other.as_fd())?);
    }
    let (mut at_bytes, mut buffers) = (0, [vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]]);
    loop {
        let [first, second] = &mut buffers;
        let (first, second) =
            (read_full(one.as_fd(), first, at_bytes)?, read_full(other.as_fd(), second, at_bytes)?);
        if first != second {
            return Ok(false);
        }
        if first.is_empty() {
            return Ok(true);
        }
        at_bytes += first.len() as u64;
    }
}

/// Reads as much as there is and fits.
fn read_full<'b>(file: BorrowedFd<'_>, bytes: &'b mut [u8], at: u64) -> io::Result<&'b [u8]> {
    let count = read_full_at(file, bytes, at)?;
    Ok(&bytes[..count])
}

/// What tells a file from all others of its filesystem, also after the next mount: its inode
/// number, and its birth time where there is one. Zeros where numbers are made up at each mount.
pub fn ino_and_birth(name: Name<'_>) -> io::Result<[u8; 20]> {
    let file = name.open_path()?;
    let mut bytes = [0; 20];
    if trust(&file).numbers != Numbers::Fleeting {
        let Moment { seconds, nanos } = born(&file, OsStr::new("")).unwrap_or_default();
        bytes[..8].copy_from_slice(&stat(&file)?.st_ino.to_le_bytes());
        bytes[8..16].copy_from_slice(&seconds.to_le_bytes());
        bytes[16..].copy_from_slice(&nanos.to_le_bytes());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, hard_link, write};

    use super::*;

    const fn at(seconds: i64, nanos: u32) -> Moment {
        Moment { seconds, nanos }
    }

    /// A look at a file that was found long ago.
    fn look(numbers: Numbers) -> Identity {
        let file = tempfile::tempfile().unwrap();
        let look = Identity::of(&file, &stat(&file).unwrap(), numbers);
        let (born, handle) = (Some(at(5, 6)), Some([7; 16]));
        Identity { modified: at(10, 1), changed: at(20, 2), born, handle, numbers, ..look }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn bytes_give_the_same_identity() {
        for numbers in [Numbers::Own, Numbers::Lasting, Numbers::Fleeting] {
            let known = look(numbers);
            let later = Identity { device: 3, mode: 0o100_644, owner: (1, 2), ..known };
            for look in [known, later, known.without_proof()] {
                assert_eq!(Identity::of_bytes(&look.to_bytes()), look);
            }
        }
    }

    /// What a later look finds, and what is shown then: with numbers of its own, and without.
    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn sameness_is_shown_or_in_doubt() {
        use Sameness::{Different, Same, Unclear};
        type Change = fn(&mut Identity);
        let cases: [(Change, Sameness, Sameness); 13] = [
            (|_| (), Same, Same),
            (|look| look.changed.nanos += 1, Same, Unclear),
            (|look| look.handle = Some([8; 16]), Different, Unclear),
            (|look| (look.handle, look.born) = (None, None), Same, Unclear),
            (|look| (look.handle, look.changed.seconds) = (None, 21), Same, Unclear),
            (
                |look| (look.handle, look.born, look.changed.seconds) = (None, None, 21),
                Unclear,
                Unclear,
            ),
            (|look| look.born = Some(at(5, 7)), Different, Different),
            (|look| look.modified.nanos += 1, Different, Different),
            (|look| look.size_bytes += 1, Different, Different),
            (|look| look.id.inode += 1, Different, Different),
            (|look| look.device += 1, Different, Different),
            (|look| look.mode ^= 0o170_000, Different, Different),
            (|look| (look.mode, look.changed.nanos) = (look.mode ^ 1, 3), Same, Different),
        ];
        for (row, (change, own, fleeting)) in cases.into_iter().enumerate() {
            for (numbers, wanted) in [(Numbers::Own, own), (Numbers::Fleeting, fleeting)] {
                let first = look(numbers);
                let mut later = first;
                change(&mut later);
                assert_eq!(first.compare(&later), wanted, "row {row}, {numbers:?}");
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn what_changed_just_before_the_look_proves_nothing() {
        let mut first = look(Numbers::Own);
        (first.handle, first.born, first.changed.seconds) = (None, None, first.seen.seconds - 1);
        assert_eq!(first.compare(&first), Sameness::Unclear);
        let seen = first.seen.seconds;
        (first.born, first.changed.seconds) = (Some(first.seen), seen - 10);
        assert_eq!(first.compare(&first), Sameness::Same);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn names_of_one_file_and_of_two() {
        let folder = tempfile::tempdir().unwrap();
        let dir = OwnedFd::from(File::open(folder.path()).unwrap());
        let at = |name: &str| folder.path().join(name);
        write(at("one"), "x").unwrap();
        write(at("other"), "x").unwrap();
        hard_link(at("one"), at("again")).unwrap();
        std::os::unix::fs::symlink("one", at("link")).unwrap();
        let name = |name: &'static str| Name { dir: &dir, name: name.as_ref(), is_followed: true };
        for (other, wanted) in
            [("again", Sameness::Same), ("link", Sameness::Same), ("other", Sameness::Different)]
        {
            assert_eq!(compare_names(name("one"), name(other)).unwrap(), wanted, "{other}");
        }
        let open = |name: &str| File::open(at(name)).unwrap();
        assert!(same_contents(open("one"), open("other")).unwrap());
        write(at("other"), "y").unwrap();
        assert!(!same_contents(open("one"), open("other")).unwrap());
    }
}
