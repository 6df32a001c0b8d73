//! The names in one directory, read as they are needed, or remembered so that the directory can be
//! closed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::fs::call::FileType;

use crate::fs;

/// A name as the directory listed it.
#[derive(Debug, PartialEq, Eq)]
pub struct ListedName {
    /// The name.
    pub name: OsString,
    /// Unknown where the filesystem does not list it.
    pub kind: FileType,
    /// The inode number.
    pub ino: u64,
}

/// How much of a listing is remembered at most. The rest is read from the directory afterwards, so
/// that a million names in one directory take no more memory than a few.
pub const REMEMBERED_BYTES_MAX: usize = 16 << 10;

/// The names in an open directory, and how far they have been read.
pub struct Listing {
    names: crate::fs::call::Dir,
    /// The place behind the last name that was read, as the filesystem numbers it; see telldir(3).
    position: i64,
}

impl Listing {
    /// From the first name of an open directory on.
    pub fn of(dir: impl AsFd) -> io::Result<Self> {
        Self::from(dir, 0)
    }

    fn from(dir: impl AsFd, position: i64) -> io::Result<Self> {
        Ok(Self { names: fs::list(dir, position)?, position })
    }

    /// The next name that is not `.` or `..`.
    pub fn next_name(&mut self) -> Option<io::Result<ListedName>> {
        loop {
            let entry = match self.names.read()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            self.position = entry.offset();
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                let name = OsStr::from_bytes(name).to_owned();
                return Some(Ok(ListedName { name, kind: entry.file_type(), ino: entry.ino() }));
            }
        }
    }

    /// Closes the directory, and remembers the next names, up to some `bytes_max` and one more, and
    /// where the others are. An error that ends the listing comes later, in its place.
    pub fn remember(mut self, bytes_max: usize) -> Remembered {
        let mut names = Remembered::default();
        loop {
            if names.bytes.len() >= bytes_max {
                names.rest = Some(self.position);
                break;
            }
            let Some(listed) = self.next_name() else { break };
            names.push(listed);
        }
        names.bytes.shrink_to_fit();
        names
    }
}

/// Names in one piece of memory: inode number, kind, length of the name, name.
#[derive(Default)]
pub struct Remembered {
    bytes: Vec<u8>,
    position: usize,
    error: Option<io::Error>,
    /// Where in the directory those names begin that are not remembered.
    rest: Option<i64>,
}

impl Remembered {
    /// The names that are not remembered, once the others are used up. `dir` is the same directory,
    /// opened again.
    pub fn rest(&mut self, dir: impl AsFd) -> io::Result<Listing> {
        Listing::from(dir, self.rest.take().unwrap_or_default())
    }

    /// How many bytes the names take.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether all that is remembered is used up, and [`rest`](Self::rest) has more.
    pub fn has_rest(&self) -> bool {
        self.position == self.bytes.len() && self.error.is_none() && self.rest.is_some()
    }

    fn push(&mut self, listed: io::Result<ListedName>) {
        match listed {
            Ok(ListedName { name, kind, ino }) => {
                // A name has at most 255 bytes, see readdir(3); FUSE may say 1,024.
                let len = u16::try_from(name.len()).unwrap_or(u16::MAX);
                self.bytes.extend(ino.to_le_bytes());
                self.bytes.extend(kind.as_raw_mode().to_le_bytes());
                self.bytes.extend(len.to_le_bytes());
                self.bytes.extend(&name.as_bytes()[..len.into()]);
            }
            Err(error) => self.error = Some(error),
        }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (bytes, _) =
            self.bytes[self.position..].split_first_chunk().expect("a record is whole");
        self.position += N;
        *bytes
    }

    /// The next name that is remembered.
    pub fn next_name(&mut self) -> Option<io::Result<ListedName>> {
        if self.position == self.bytes.len() {
            self.bytes = Vec::new();
            self.position = 0;
            return self.error.take().map(Err);
        }
        let ino = u64::from_le_bytes(self.take());
        let kind = FileType::from_raw_mode(u32::from_le_bytes(self.take()));
        let len = usize::from(u16::from_le_bytes(self.take()));
        let name = OsString::from_vec(self.bytes[self.position..self.position + len].to_vec());
        self.position += len;
        Some(Ok(ListedName { name, kind, ino }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fs::File;

    #[test]
    fn what_is_remembered_is_what_was_listed_and_an_error_comes_last() {
        let listed = |name: &[u8], ino| ListedName {
            name: OsStr::from_bytes(name).to_owned(),
            kind: FileType::Fifo,
            ino,
        };
        let mut names = Remembered::default();
        for round in 0..2 {
            names.push(Ok(listed(b"\xff\n", u64::MAX)));
            names.push(Ok(listed(&[b'x'; 255], round)));
            names.push(Err(io::Error::from_raw_os_error(libc::EIO)));
            assert_eq!(names.next_name().unwrap().unwrap(), listed(b"\xff\n", u64::MAX));
            assert_eq!(names.next_name().unwrap().unwrap(), listed(&[b'x'; 255], round));
            assert_eq!(names.next_name().unwrap().unwrap_err().raw_os_error(), Some(libc::EIO));
            assert!(names.next_name().is_none() && !names.has_rest());
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_listing_that_is_broken_off_again_and_again_has_each_name_once() {
        let folder = tempfile::tempdir().unwrap();
        let wanted: BTreeSet<OsString> = (0..3000).map(|n| format!("{n:0200}").into()).collect();
        wanted.iter().for_each(|name| drop(File::create(folder.path().join(name)).unwrap()));
        let dir = File::open(folder.path()).unwrap();
        let (mut listing, mut found, mut rounds) = (Listing::of(&dir).unwrap(), Vec::new(), 0);
        loop {
            found.extend(listing.next_name().map(|listed| listed.unwrap().name));
            // Where there is no room, no name is remembered, but where they are.
            let bytes_max = if rounds % 2 == 0 { REMEMBERED_BYTES_MAX } else { 0 };
            let mut names = listing.remember(bytes_max);
            assert!(names.bytes.capacity() <= bytes_max + 1024);
            found.extend(
                std::iter::from_fn(|| names.next_name()).map(|listed| listed.unwrap().name),
            );
            if !names.has_rest() {
                break;
            }
            listing = names.rest(&dir).unwrap();
            rounds += 1;
        }
        assert!(
            rounds > 10 && found.len() == wanted.len(),
            "{rounds} rounds, {} names",
            found.len()
        );
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), wanted);
    }
}
