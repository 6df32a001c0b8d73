//! What the user named: which source becomes which destination. Everything that can be refused is refused here, before
//! anything is touched.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::worker::Run;
use crate::error::{Cause, Error, Result};
use crate::sys::fs::{self, Stat};
use crate::tree::{self, Batch, Dir, Entry, EntryKind, Operand};

/// How the destination is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A directory if it is one, else the copy's own name.
    Either(PathBuf),
    /// It must be a directory, and the copies go into it (`-t`).
    Directory(PathBuf),
    /// It is the copy's own name, also if it is a directory (`-T`).
    Exact(PathBuf),
}

/// One source and where it goes.
struct Pair {
    source: Named,
    target: Named,
    stat: Stat,
}

/// A name in a folder.
#[derive(Debug, PartialEq, Eq)]
struct Named {
    folder: PathBuf,
    name: OsString,
}

impl Named {
    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    fn open_folder_with(&self, flags: OFlags) -> io::Result<OwnedFd> {
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        Ok(rustix::fs::openat(CWD, folder, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
    }

    /// The folder as a place to look names up in, which needs no right to list it.
    fn open_folder(&self) -> io::Result<OwnedFd> {
        self.open_folder_with(OFlags::PATH)
    }

    /// The folder as something that can be synced.
    fn open_folder_to_sync(&self) -> io::Result<OwnedFd> {
        self.open_folder_with(OFlags::RDONLY)
    }
}

/// What is to be copied where.
pub struct Operands {
    pairs: Vec<Pair>,
    /// What reported paths are relative to: the destination, or its folder where it is a file.
    pub base: PathBuf,
}

impl Operands {
    /// Looks at sources and destination. Sources that cannot be copied come back as errors beside the rest; a destination
    /// that cannot take any of them is the error.
    pub fn resolve(sources: &[PathBuf], destination: &Destination) -> Result<(Self, Vec<Error>)> {
        let (target, into) = match destination {
            Destination::Exact(path) => (path, false),
            Destination::Directory(path) => {
                let stat = std::fs::metadata(path).map_err(|cause| Error::new("copy into", path, cause))?;
                if !stat.is_dir() {
                    return Err(Error::new("copy into", path, io::Error::from_raw_os_error(libc::ENOTDIR)));
                }
                (path, true)
            }
            Destination::Either(path) => (path, path.is_dir()),
        };
        if sources.len() > 1 && !into {
            return Err(Error::new("copy several files into", target, io::Error::from_raw_os_error(libc::ENOTDIR)));
        }
        let (mut pairs, mut errors) = (Vec::new(), Vec::new());
        for source in sources {
            match resolve(source, target, into) {
                Ok(pair) if pairs.iter().any(|known: &Pair| known.target == pair.target) => {
                    errors.push(Error::new("copy", source, Cause::SameName));
                }
                Ok(pair) => pairs.push(pair),
                Err(error) => errors.push(error),
            }
        }
        let is_dir = |pair: &Pair| FileType::from_raw_mode(pair.stat.st_mode) == FileType::Directory;
        let base = match pairs.first() {
            Some(pair) if !into && !is_dir(pair) => pair.target.folder.clone(),
            _ => target.clone(),
        };
        Ok((Self { pairs, base }, errors))
    }

    /// Hands everything to the run, one operand after the other.
    pub(super) fn walk(&self, run: &Run<'_>) {
        for pair in &self.pairs {
            if let Err(error) = pair.walk(run) {
                run.fail(error);
            }
        }
    }
}

impl Pair {
    fn walk(&self, run: &Run<'_>) -> Result<()> {
        let Self { source, target, stat } = self;
        let source_fd = source.open_folder().map_err(|cause| Error::new("open directory", &source.folder, cause))?;
        let target_fd =
            target.open_folder_to_sync().map_err(|cause| Error::new("open directory", &target.folder, cause))?;
        let operand = Operand::Root { source: source.folder.clone(), target: target.folder.clone() };
        let root = Dir::new(source_fd, target_fd, false, operand);
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            tree::walk(&root, &source.name, &target.name, run);
        } else {
            root.hold();
            let renamed = (source.name != target.name).then(|| target.name.clone());
            let entry = Entry { name: source.name.clone(), renamed, kind: EntryKind::of_mode(kind) };
            run.queue.push_batch(Batch { dir: root.clone(), entries: vec![entry] });
        }
        run.release_dir(root);
        Ok(())
    }
}

fn resolve(source: &Path, target: &Path, into: bool) -> Result<Pair> {
    let source_error = |cause: io::Error| Error::new("open", source, cause);
    let (from, last) = split(source);
    let folder = from.open_folder().map_err(source_error)?;
    let stat = fs::stat_at(&folder, &from.name)
        .and_then(|stat| stat.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
        .map_err(|cause| Error::new("stat", source, cause))?;
    let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    if !is_dir && ends_with_slash(source) {
        return Err(source_error(io::Error::from_raw_os_error(libc::ENOTDIR)));
    }
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let to = match into {
        true => Named { folder: target.to_owned(), name: last },
        false => exact_target(target, is_dir, is_file)?,
    };
    if is_dir {
        refuse_own_inside(source, &stat, &to)?;
    }
    Ok(Pair { source: from, target: to, stat })
}

/// The destination as a name in a folder. A link is followed for a file, as the user named it, and refused if it leads
/// nowhere; a link or a directory takes the place of the link itself.
fn exact_target(target: &Path, source_is_dir: bool, source_is_file: bool) -> Result<Named> {
    let error = |cause: io::Error| Error::new("create", target, cause);
    if ends_with_slash(target) && !source_is_dir {
        return Err(error(io::Error::from_raw_os_error(libc::ENOTDIR)));
    }
    let is_link = target.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
    let followed = match is_link && source_is_file {
        true => target.canonicalize().map_err(|cause| Error::new("write through dangling link", target, cause))?,
        false => target.to_owned(),
    };
    let (named, _) = split(&followed);
    // A folder that is missing is told before anything is copied.
    named.open_folder().map_err(error)?;
    Ok(named)
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// A path as a name in a folder, and the name that a copy of it has in another folder. What ends in `.`, `..` or `/`-after-a-link is
/// the directory itself: `.` in it, and a copy of `dir/.` is merged into the destination, as in `cp`.
fn split(path: &Path) -> (Named, OsString) {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let trimmed = Path::new(OsStr::from_bytes(&bytes[..end]));
    let (folder, name) = match bytes[..end].iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&bytes[..=slash], &bytes[slash + 1..end]),
        None => (&bytes[..0], &bytes[..end]),
    };
    let name = OsStr::from_bytes(name).to_owned();
    let is_dots = matches!(name.as_bytes(), b"" | b"." | b"..");
    let followed = end < bytes.len() && trimmed.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
    if is_dots {
        (Named { folder: path.to_owned(), name: ".".into() }, ".".into())
    } else if followed {
        (Named { folder: path.to_owned(), name: ".".into() }, name)
    } else {
        (Named { folder: PathBuf::from(OsStr::from_bytes(folder)), name: name.clone() }, name)
    }
}

/// A directory cannot be copied onto itself, nor anywhere below itself: climbs from the destination to the root.
fn refuse_own_inside(source: &Path, stat: &Stat, target: &Named) -> Result<()> {
    let error = |cause: Cause| Error::new("copy directory to", target.path(), cause);
    let io_error = |cause: io::Error| error(cause.into());
    let mut folder = target.open_folder().map_err(io_error)?;
    let existing = fs::stat_at(&folder, &target.name).map_err(io_error)?;
    if existing.is_some_and(|existing| fs::same_file(&existing, stat)) {
        return Err(error(Cause::SameFile));
    }
    let mut here = fs::stat(&folder).map_err(io_error)?;
    loop {
        if fs::same_file(&here, stat) {
            return Err(error(Cause::IntoItself(source.to_owned())));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        folder = rustix::fs::openat(&folder, c"..", flags, Mode::empty()).map_err(|cause| io_error(cause.into()))?;
        let above = fs::stat(&folder).map_err(io_error)?;
        if fs::same_file(&above, &here) {
            return Ok(());
        }
        here = above;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
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
