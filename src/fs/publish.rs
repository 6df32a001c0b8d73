//! The destination of a file while it is being made: without a name, or with a name that nobody
//! takes for the real one.
//!
//! It ends in [`Target::publish`] or [`Target::discard`]; nothing is finalised in `Drop`, where an
//! error has nowhere to go.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, openat, renameat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::fs;

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

const CREATE: OFlags = OFlags::RDWR
    .union(OFlags::CLOEXEC)
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW);

/// How many random names are tried before a directory full of them is believed.
const NAME_TRIES: usize = 16;

/// A file in the making, in the directory where it is to appear.
pub struct Target {
    file: Arc<OwnedFd>,
    /// Its temporary name, where the filesystem has no unnamed files.
    name: Option<OsString>,
}

impl Target {
    /// Makes an empty file that only its owner may read: `O_TMPFILE` where the filesystem has it,
    /// so that not even SIGKILL leaves anything behind, and the `temporary` name, or else a random
    /// hidden one, with `O_EXCL` elsewhere.
    pub fn create(dir: impl AsFd, temporary: Option<&OsStr>) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
        match openat(dir.as_fd(), c".", flags, OWNER_ONLY) {
            Ok(file) => Ok(Self { file: Arc::new(file), name: None }),
            // Without O_TMPFILE the answer is one of these, depending on kernel and filesystem; see
            // open(2).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                Self::create_named(dir, temporary)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The same with a name in any case.
    pub fn create_named(dir: impl AsFd, temporary: Option<&OsStr>) -> io::Result<Self> {
        let dir = dir.as_fd();
        let (file, name) =
            with_temporary_name(dir, temporary, |name| openat(dir, name, CREATE, OWNER_ONLY))?;
        Ok(Self { file: Arc::new(file), name: Some(name) })
    }

    /// Opens what an earlier run left under a temporary name, if anything. The caller has to look
    /// what it is; a link or a FIFO without a reader it was not.
    pub fn find(dir: impl AsFd, name: &OsStr) -> io::Result<Option<Self>> {
        match fs::open_beneath(dir, name, OFlags::RDWR | OFlags::NONBLOCK) {
            Ok(file) => Ok(Some(Self { file: Arc::new(file), name: Some(name.to_owned()) })),
            Err(cause)
                if matches!(
                    cause.raw_os_error(),
                    Some(libc::ENOENT | libc::ELOOP | libc::ENXIO)
                ) =>
            {
                Ok(None)
            }
            Err(cause) => Err(cause),
        }
    }

    /// Leaves the file under its temporary name for the next run.
    pub fn leave(self) -> io::Result<()> {
        close(self.file)
    }

    /// The open file.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Puts the file under its final name in one step; what stood there is gone in the same step if
    /// it may be replaced, and EEXIST if not. On failure nothing of the new file is left, and the
    /// old one stands; but an unnamed file can be closed only after it has its name, so that an
    /// error of close(2), which nothing that was synced gives, comes too late.
    pub fn publish(
        self,
        dir: impl AsFd,
        name: &OsStr,
        may_replace: bool,
        temporary: Option<&OsStr>,
    ) -> io::Result<()> {
        let Self { file, name: own } = self;
        let dir = dir.as_fd();
        match own {
            Some(temporary) => {
                if let Err(error) = close(file) {
                    unlinkat(dir, &temporary, AtFlags::empty())?;
                    return Err(error);
                }
                rename_or_remove(dir, &temporary, name, may_replace)
            }
            None => {
                match link_open(&file, dir, name) {
                    // Something stands there: a second name first, since only a rename replaces in
                    // one step.
                    Err(Errno::EXIST) if may_replace => {
                        let link = |temporary: &OsStr| link_open(&file, dir, temporary);
                        let ((), temporary) = with_temporary_name(dir, temporary, link)?;
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

/// Makes something that is no regular file, replacing what stands there if it may; a directory is
/// never replaced. `make` makes it under the name that it is given, and `prepare` gets its
/// temporary or final name before it stands for good.
pub fn publish_made(
    dir: impl AsFd,
    name: &OsStr,
    may_replace: bool,
    temporary: Option<&OsStr>,
    make: impl Fn(&OsStr) -> rustix::io::Result<()>,
    prepare: impl FnOnce(&OsStr) -> io::Result<()>,
) -> io::Result<()> {
    let dir = dir.as_fd();
    let made = match make(name) {
        Err(Errno::EXIST) if may_replace => None,
        made => Some(made?),
    };
    let temporary = match made {
        Some(()) => None,
        None => Some(with_temporary_name(dir, temporary, make)?.1),
    };
    let at = temporary.as_deref().unwrap_or(name);
    if let Err(error) = prepare(at) {
        unlinkat(dir, at, AtFlags::empty())?;
        return Err(error);
    }
    temporary.map_or(Ok(()), |temporary| rename_or_remove(dir, &temporary, name, true))
}

/// Gives an open file one more name; what stood there is replaced in one step if it may be.
pub fn publish_hard_link(
    file: &OwnedFd,
    dir: impl AsFd,
    name: &OsStr,
    may_replace: bool,
    temporary: Option<&OsStr>,
) -> io::Result<()> {
    let dir = dir.as_fd();
    match link_open(file, dir, name) {
        Err(Errno::EXIST) if may_replace => {
            // Renaming one name of a file to another of its names does nothing at all, see
            // rename(2).
            if fs::stat_at(dir, name)?
                .is_some_and(|there| fs::stat(file).is_ok_and(|file| fs::same_file(&file, &there)))
            {
                return Ok(());
            }
            let link = |temporary: &OsStr| link_open(file, dir, temporary);
            let ((), temporary) = with_temporary_name(dir, temporary, link)?;
            rename_or_remove(dir, &temporary, name, true)
        }
        other => Ok(other?),
    }
}

fn close(file: Arc<OwnedFd>) -> io::Result<()> {
    // Every operation on the file has given its hold back by now. Were there another, closing would
    // be its to do.
    Arc::into_inner(file).map_or(Ok(()), fs::close)
}

/// linkat(2) of an open file. Linking by descriptor needs a right that not everybody has; by the
/// name in /proc, anybody may.
fn link_open(file: &OwnedFd, dir: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    match linkat(file, c"", dir.as_fd(), name, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
        }
        other => other,
    }
}

fn rename_or_remove(
    dir: impl AsFd,
    temporary: &OsStr,
    name: &OsStr,
    may_replace: bool,
) -> io::Result<()> {
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

/// Makes something under a known temporary name, where nothing can stand but what a killed run
/// left; or under a random one.
pub fn with_temporary_name<T>(
    dir: BorrowedFd<'_>,
    known: Option<&OsStr>,
    make: impl Fn(&OsStr) -> rustix::io::Result<T>,
) -> io::Result<(T, OsString)> {
    let Some(name) = known else { return with_random_name(make) };
    let made = match make(name) {
        Err(Errno::EXIST) => {
            unlinkat(dir, name, AtFlags::empty())?;
            make(name)
        }
        made => made,
    };
    Ok((made?, name.to_owned()))
}

/// Tries names that nobody can foresee until one is free.
fn with_random_name<T>(
    make: impl Fn(&OsStr) -> rustix::io::Result<T>,
) -> io::Result<(T, OsString)> {
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
    const BOTH: [Create; 2] =
        [|dir| Target::create(dir, None), |dir| Target::create_named(dir, None)];

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_published_file_replaces_the_old_one_and_leaves_nothing_else() {
        for create in BOTH {
            let folder = tempfile::tempdir().unwrap();
            let dir = File::open(folder.path()).unwrap();
            for contents in ["first", "second"] {
                let target = create(&dir).unwrap();
                rustix::io::write(target.file(), contents.as_bytes()).unwrap();
                target.publish(&dir, OsStr::new("name"), true, None).unwrap();
                assert_eq!(read(folder.path().join("name")).unwrap(), contents.as_bytes());
            }
            assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_is_discarded_or_cannot_be_published_leaves_nothing() {
        for create in BOTH {
            let folder = tempfile::tempdir().unwrap();
            let dir = File::open(folder.path()).unwrap();
            write(folder.path().join("old"), "old").unwrap();
            std::fs::create_dir(folder.path().join("dir")).unwrap();
            create(&dir).unwrap().discard(&dir).unwrap();
            let error =
                create(&dir).unwrap().publish(&dir, OsStr::new("dir"), true, None).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EISDIR));
            let error =
                create(&dir).unwrap().publish(&dir, OsStr::new("old"), false, None).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EEXIST));
            assert_eq!(read_dir(folder.path()).unwrap().count(), 2);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_file_in_the_making_is_its_owner_s_alone_and_is_written_through_no_link() {
        let (folder, known) = (tempfile::tempdir().unwrap(), OsStr::new(".known"));
        let dir = File::open(folder.path()).unwrap();
        write(folder.path().join("victim"), "victim").unwrap();
        for unnamed in [true, false] {
            std::os::unix::fs::symlink("victim", folder.path().join(known)).unwrap();
            let create = if unnamed { Target::create } else { Target::create_named };
            let target = create(dir.as_fd(), Some(known)).unwrap();
            assert_eq!(fs::stat(&**target.file()).unwrap().st_mode & 0o7777, 0o600);
            rustix::io::write(target.file(), b"new").unwrap();
            target.publish(&dir, OsStr::new("name"), true, Some(known)).unwrap();
            assert_eq!(read(folder.path().join("victim")).unwrap(), b"victim");
            assert_eq!(read(folder.path().join("name")).unwrap(), b"new");
            if folder.path().join(known).is_symlink() {
                std::fs::remove_file(folder.path().join(known)).unwrap();
            }
        }
    }

    #[test]
    fn what_a_killed_run_left_under_a_known_name_makes_place() {
        let (folder, known) = (tempfile::tempdir().unwrap(), OsStr::new(".known"));
        let dir = File::open(folder.path()).unwrap();
        for round in 0..2 {
            write(folder.path().join(known), "left").unwrap();
            let target = match round {
                0 => Target::create(&dir, Some(known)),
                _ => Target::create_named(&dir, Some(known)),
            };
            target.unwrap().publish(&dir, OsStr::new("name"), true, Some(known)).unwrap();
            write(folder.path().join(known), "left").unwrap();
            let link = |name: &OsStr| rustix::fs::symlinkat(c"to", &dir, name);
            publish_made(&dir, OsStr::new("name"), true, Some(known), link, |_| Ok(())).unwrap();
            write(folder.path().join(known), "left").unwrap();
            let file = File::open(folder.path()).unwrap();
            let made = Target::create(&file, None).unwrap();
            publish_hard_link(made.file(), &dir, OsStr::new("name"), true, Some(known)).unwrap();
            assert_eq!(read_dir(folder.path()).unwrap().count(), 1, "round {round}");
        }
    }
}
