//! Paths as the user wrote them, taken apart into a folder and a name in it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::fs::call::{FileType, OFlags};

use crate::error::{Cause, Error, Operation, Result};
use crate::fs;

/// A name in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub folder: PathBuf,
    pub name: OsString,
}

impl Named {
    pub fn path(&self) -> PathBuf {
        if self.name == "." { self.folder.clone() } else { self.folder.join(&self.name) }
    }

    /// 32 bytes that stand for the name, however it is spelled; also if its folder is missing.
    pub fn fingerprint(&self) -> Result<[u8; 32]> {
        let folder = canonical(&self.folder)
            .or_else(|error| std::path::absolute(&self.folder).map_err(|_| error))?;
        let mut fingerprint = blake3::Hasher::new();
        fingerprint.update(&(folder.as_os_str().len() as u64).to_le_bytes());
        fingerprint.update(folder.as_os_str().as_bytes()).update(self.name.as_bytes());
        Ok(*fingerprint.finalize().as_bytes())
    }

    /// The folder as a place to look names up in, which needs no right to list it.
    pub fn open_folder(&self) -> io::Result<OwnedFd> {
        fs::open_folder(&self.folder, OFlags::PATH)
    }

    /// The folder as something that can be written into, and synced where it may be listed.
    pub fn open_folder_to_fill(&self) -> io::Result<OwnedFd> {
        fs::open_folder_to_fill(&self.folder)
    }
}

/// A path without links, dots and double slashes.
pub fn canonical(path: &Path) -> Result<PathBuf> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    fs::canonical(path).map_err(|cause| Error::new(Operation::Resolve, path, cause))
}

/// What a copy to a symbolic link takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Through {
    /// What the link leads to, which has to be there.
    Links,
    /// The link itself.
    Nothing,
}

/// The destination as a name in a folder that is there. Only a directory may be named with a slash
/// at the end.
pub fn exact_target(target: &Path, source: FileType, through: Through) -> Result<Named> {
    let error = |cause: io::Error| Error::new(Operation::Create, target, cause);
    if ends_with_slash(target) && source != FileType::Directory {
        return Err(error(io::Error::from_raw_os_error(libc::ENOTDIR)));
    }
    let is_link = target.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
    let followed = match is_link && through == Through::Links {
        true => {
            refuse_what_is_open(target)?;
            fs::canonical(target)
                .map_err(|cause| Error::new(Operation::WriteThroughDanglingLink, target, cause))?
        }
        false => target.to_owned(),
    };
    let (named, _) = split(&followed);
    // A folder that is missing is told before anything is copied.
    named.open_folder().map_err(|cause| not_entered(Operation::Create, target, cause))?;
    Ok(named)
}

/// Why nothing can go into a folder of the destination's path. An empty path names none.
pub fn not_entered(op: Operation, path: &Path, cause: io::Error) -> Error {
    match cause.kind() == io::ErrorKind::NotFound && !path.as_os_str().is_empty() {
        true => Error::new(op, path, Cause::NoFolder),
        false => Error::new(op, path, cause),
    }
}

/// The file behind a standard stream has readers and writers already: a copy in its place would
/// take it from them.
fn refuse_what_is_open(target: &Path) -> Result<()> {
    let (named, _) = split(target);
    let is_open = named.open_folder().and_then(|folder| fs::is_magic_link(folder, &named.name));
    match is_open.map_err(|cause| Error::new(Operation::Create, target, cause))? {
        true => Err(Error::new(Operation::WriteTo, target, Cause::OpenFile)),
        false => Ok(()),
    }
}

pub fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// A path as a name in a folder, and the name that a copy of it has in another folder. What ends in
/// `.`, `..` or `/`-after-a-link is the directory itself: `.` in it, and a copy of `dir/.` is
/// merged into the destination, as in `cp`.
pub fn split(path: &Path) -> (Named, OsString) {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let trimmed = Path::new(OsStr::from_bytes(&bytes[..end]));
    let (folder, name) = match bytes[..end].iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&bytes[..=slash], &bytes[slash + 1..end]),
        None => (&bytes[..0], &bytes[..end]),
    };
    let name = OsStr::from_bytes(name).to_owned();
    let is_dots = matches!(name.as_bytes(), b"" | b"." | b"..");
    let followed =
        end < bytes.len() && trimmed.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
    if is_dots {
        (Named { folder: path.to_owned(), name: ".".into() }, ".".into())
    } else if followed {
        (Named { folder: path.to_owned(), name: ".".into() }, name)
    } else {
        (Named { folder: PathBuf::from(OsStr::from_bytes(folder)), name: name.clone() }, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn paths_split_into_folder_and_name() {
        let named = |folder: &str, name: &str| Named { folder: folder.into(), name: name.into() };
        for (path, folder, name, last) in [
            ("a", "", "a", "a"),
            ("a/b//", "a/", "b", "b"),
            ("/a", "/", "a", "a"),
            ("/", "/", ".", "."),
            (".", ".", ".", "."),
            ("a/.", "a/.", ".", "."),
            ("a/..", "a/..", ".", "."),
        ] {
            assert_eq!(split(Path::new(path)), (named(folder, name), last.into()), "{path}");
        }
    }
}
