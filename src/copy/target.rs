//! The destination of a file while it is being made: without a name, or with a name that nobody takes for the real one.
//!
//! It ends in [`Target::publish`] or [`Target::discard`]; nothing is finalised in `Drop`, where an error has nowhere to go.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::sys::fs;

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

/// How many random names are tried before a directory full of them is believed.
const NAME_TRIES: usize = 16;

/// A file in the making, in the directory where it is to appear.
pub struct Target {
    file: Arc<OwnedFd>,
    /// Its temporary name, where the filesystem has no unnamed files.
    name: Option<OsString>,
}

impl Target {
    /// Makes an empty file that only its owner may read: `O_TMPFILE` where the filesystem has it, so that not even
    /// SIGKILL leaves anything behind, and a random hidden name with `O_EXCL` elsewhere.
    pub fn create(dir: impl AsFd) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
        match openat(dir.as_fd(), c".", flags, OWNER_ONLY) {
            Ok(file) => Ok(Self { file: Arc::new(file), name: None }),
            // Without O_TMPFILE the answer is one of these, depending on kernel and filesystem; see open(2).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => Self::create_named(dir),
            Err(error) => Err(error.into()),
        }
    }

    fn create_named(dir: impl AsFd) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let (file, name) = with_random_name(|name| openat(dir.as_fd(), name, flags, OWNER_ONLY))?;
        Ok(Self { file: Arc::new(file), name: Some(name) })
    }

    /// The open file.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Puts the file under its final name in one step; what stood there is gone in the same step if it may be replaced,
    /// and EEXIST if not. On failure nothing of the new file is left, and the old one stands; but an unnamed file can be
    /// closed only after it has its name, so that an error of close(2), which nothing that was synced gives, comes too late.
    pub fn publish(self, dir: impl AsFd, name: &OsStr, may_replace: bool) -> io::Result<()> {
        let Self { file, name: temporary } = self;
        let dir = dir.as_fd();
        match temporary {
            Some(temporary) => {
                if let Err(error) = close(file) {
                    unlinkat(dir, &temporary, AtFlags::empty())?;
                    return Err(error);
                }
                rename_or_remove(dir, &temporary, name, may_replace)
            }
            None => {
                match link_unnamed(&file, dir, name) {
                    // Something stands there: a second name first, since only a rename replaces in one step.
                    Err(Errno::EXIST) if may_replace => {
                        let ((), temporary) = with_random_name(|temporary| link_unnamed(&file, dir, temporary))?;
                        rename_or_remove(dir, &temporary, name, true)?;
                    }
                    other => other?,
                }
                close(file)
            }
        }
    }

    /// Throws the file away.
    pub fn discard(self, dir: impl AsFd) -> io::Result<()> {
        if let Some(name) = &self.name {
            unlinkat(dir, &**name, AtFlags::empty())?;
        }
        close(self.file)
    }
}

/// Makes a symbolic link, replacing what stands there if it may; a directory is never replaced. `prepare` gets its temporary or final
/// name before the link stands for good.
pub fn publish_link(
    dir: impl AsFd,
    name: &OsStr,
    contents: &std::ffi::CStr,
    may_replace: bool,
    prepare: impl Fn(&OsStr) -> io::Result<()>,
) -> io::Result<()> {
    let dir = dir.as_fd();
    match symlinkat(contents, dir, name) {
        Ok(()) => prepare(name),
        Err(Errno::EXIST) if may_replace => {
            let ((), temporary) = with_random_name(|temporary| symlinkat(contents, dir, temporary))?;
            if let Err(error) = prepare(&temporary) {
                unlinkat(dir, &*temporary, AtFlags::empty())?;
                return Err(error);
            }
            rename_or_remove(dir, &temporary, name, true)
        }
        Err(error) => Err(error.into()),
    }
}

fn close(file: Arc<OwnedFd>) -> io::Result<()> {
    // Every operation on the file has given its hold back by now. Were there another, closing would be its to do.
    Arc::into_inner(file).map_or(Ok(()), fs::close)
}

/// linkat(2) of an open, unnamed file. Linking by descriptor needs a right that not everybody has; by the name in
/// /proc, anybody may.
fn link_unnamed(file: &OwnedFd, dir: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    match linkat(file, c"", dir.as_fd(), name, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
        }
        other => other,
    }
}

fn rename_or_remove(dir: impl AsFd, temporary: &OsStr, name: &OsStr, may_replace: bool) -> io::Result<()> {
    let flags = if may_replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    let dir = dir.as_fd();
    let renamed = match renameat_with(dir, temporary, dir, name, flags) {
        // NFS and others know no flags, and kernels before 3.15 no such call.
        Err(Errno::INVAL | Errno::NOSYS) => renameat(dir, temporary, dir, name),
        other => other,
    };
    let Err(error) = renamed else { return Ok(()) };
    unlinkat(dir, temporary, AtFlags::empty())?;
    Err(error.into())
}

/// Tries names that nobody can foresee until one is free.
fn with_random_name<T>(make: impl Fn(&OsStr) -> rustix::io::Result<T>) -> io::Result<(T, OsString)> {
    for _ in 0..NAME_TRIES {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())?;
        let name = OsString::from(format!(".aiocp-{:016x}", u64::from_ne_bytes(random)));
        match make(&name) {
            Ok(made) => return Ok((made, name)),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Errno::EXIST.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, read, read_dir, write};

    type Create = fn(&File) -> io::Result<Target>;
    const BOTH: [Create; 2] = [|dir| Target::create(dir), |dir| Target::create_named(dir)];

    #[test]
    fn a_published_file_replaces_the_old_one_and_leaves_nothing_else() {
        for create in BOTH {
            let folder = tempfile::tempdir().unwrap();
            let dir = File::open(folder.path()).unwrap();
            for contents in ["first", "second"] {
                let target = create(&dir).unwrap();
                rustix::io::write(target.file(), contents.as_bytes()).unwrap();
                target.publish(&dir, OsStr::new("name"), true).unwrap();
                assert_eq!(read(folder.path().join("name")).unwrap(), contents.as_bytes());
            }
            assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_is_discarded_or_cannot_be_published_leaves_nothing() {
        for create in BOTH {
            let folder = tempfile::tempdir().unwrap();
            let dir = File::open(folder.path()).unwrap();
            write(folder.path().join("old"), "old").unwrap();
            std::fs::create_dir(folder.path().join("dir")).unwrap();
            create(&dir).unwrap().discard(&dir).unwrap();
            let error = create(&dir).unwrap().publish(&dir, OsStr::new("dir"), true).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EISDIR));
            let error = create(&dir).unwrap().publish(&dir, OsStr::new("old"), false).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
            assert_eq!(read_dir(folder.path()).unwrap().count(), 2);
        }
    }
}
