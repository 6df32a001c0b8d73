//! The names in one directory, read as they are needed, or remembered so that the directory can be closed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::FileType;

use crate::sys::fs;

/// A name as the directory listed it.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name.
    pub name: OsString,
    /// Unknown where the filesystem does not list it.
    pub kind: FileType,
    /// The inode number.
    pub ino: u64,
}

/// A listing and how far it has been read.
pub enum Listing {
    /// Being read.
    Open(rustix::fs::Dir),
    /// Read to its end.
    Remembered(Remembered),
}

impl Listing {
    /// Of an open directory.
    pub fn of(dir: impl AsFd) -> io::Result<Self> {
        Ok(Self::Open(fs::list(dir)?))
    }

    /// Nothing.
    pub fn empty() -> Self {
        Self::Remembered(Remembered::default())
    }

    /// The next name that is not `.` or `..`.
    pub fn next_name(&mut self) -> Option<io::Result<Listed>> {
        match self {
            Self::Open(listing) => next_open(listing),
            Self::Remembered(names) => names.next().transpose(),
        }
    }

    /// Reads the rest and closes the directory. An error that ends the listing is met later, in its place.
    pub fn remember(&mut self) {
        if let Self::Open(listing) = self {
            let mut rest = Remembered::default();
            while let Some(listed) = next_open(listing) {
                rest.push(listed);
            }
            *self = Self::Remembered(rest);
        }
    }
}

fn next_open(listing: &mut rustix::fs::Dir) -> Option<io::Result<Listed>> {
    loop {
        let entry = match listing.read()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error.into())),
        };
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            let name = OsStr::from_bytes(name).to_owned();
            return Some(Ok(Listed { name, kind: entry.file_type(), ino: entry.ino() }));
        }
    }
}

/// Names in one piece of memory, since a million of them may wait for the end of a deep directory among them: inode number, kind,
/// length of the name, name.
#[derive(Default)]
pub struct Remembered {
    bytes: Vec<u8>,
    position: usize,
    error: Option<io::Error>,
}

impl Remembered {
    fn push(&mut self, listed: io::Result<Listed>) {
        match listed {
            Ok(Listed { name, kind, ino }) => {
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
        let (bytes, _) = self.bytes[self.position..].split_first_chunk().expect("a record is whole");
        self.position += N;
        *bytes
    }

    fn next(&mut self) -> io::Result<Option<Listed>> {
        if self.position == self.bytes.len() {
            self.bytes = Vec::new();
            self.position = 0;
            return self.error.take().map_or(Ok(None), Err);
        }
        let ino = u64::from_le_bytes(self.take());
        let kind = FileType::from_raw_mode(u32::from_le_bytes(self.take()));
        let len = usize::from(u16::from_le_bytes(self.take()));
        let name = OsString::from_vec(self.bytes[self.position..self.position + len].to_vec());
        self.position += len;
        Ok(Some(Listed { name, kind, ino }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_what_was_listed_and_an_error_comes_last() {
        let listed = |name: &[u8], ino| Listed { name: OsStr::from_bytes(name).to_owned(), kind: FileType::Fifo, ino };
        let mut names = Remembered::default();
        for round in 0..2 {
            names.push(Ok(listed(b"\xff\n", u64::MAX)));
            names.push(Ok(listed(&[b'x'; 255], round)));
            names.push(Err(io::Error::from_raw_os_error(libc::EIO)));
            assert_eq!(names.next().unwrap(), Some(listed(b"\xff\n", u64::MAX)));
            assert_eq!(names.next().unwrap(), Some(listed(&[b'x'; 255], round)));
            assert_eq!(names.next().unwrap_err().raw_os_error(), Some(libc::EIO));
            assert_eq!(names.next().unwrap(), None);
        }
    }
}
