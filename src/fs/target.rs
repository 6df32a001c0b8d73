//! The destination of a file while it is being made: without a name, or with a name that no one
//! takes for the real one.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::publish::link_open;
use super::temporary::{IfTaken, Temporary, Unpublished};
use super::{close, open_beneath};

const OWNER_ONLY: Mode = Mode::RUSR.union(Mode::WUSR);

const CREATE: OFlags = OFlags::RDWR
    .union(OFlags::CLOEXEC)
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW);

/// A file in the making, in the directory where it is to appear. It ends in
/// [`publish`](Self::publish), [`discard`](Self::discard) or [`leave`](Self::leave); dropped
/// before, it is gone.
pub struct Target {
    file: Arc<OwnedFd>,
    dir: Arc<OwnedFd>,
    /// Its temporary name, where the filesystem has no unnamed files.
    temporary: Option<Temporary>,
}

impl Target {
    /// Makes an empty file that only its owner may read: `O_TMPFILE` where the filesystem has it,
    /// so that not even SIGKILL leaves anything behind. Elsewhere it has the `known` name, or else
    /// a random hidden one, made with `O_EXCL`.
    pub fn create(dir: &Arc<OwnedFd>, known: Option<&OsStr>) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
        match openat(dir, c".", flags, OWNER_ONLY) {
            Ok(file) => Ok(Self { file: Arc::new(file), dir: Arc::clone(dir), temporary: None }),
            // Without O_TMPFILE the answer is one of these, depending on kernel and filesystem; see
            // open(2).
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT | Errno::INVAL) => {
                Self::create_named(dir, known)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes an empty file that only its owner may read, and that has a name in any case.
    pub fn create_named(dir: &Arc<OwnedFd>, known: Option<&OsStr>) -> io::Result<Self> {
        let (file, temporary) =
            Temporary::make(dir, known, |name| openat(dir, name, CREATE, OWNER_ONLY))?;
        Ok(Self { file: Arc::new(file), dir: Arc::clone(dir), temporary: Some(temporary) })
    }

    /// The open file.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Puts the file under its final name in one step. On failure nothing of the new file is left,
    /// and what has the name stands. An unnamed file is closed only when it has its name, so that
    /// an error of close(2), which nothing that was synced gives, comes too late.
    pub fn publish(
        self,
        name: &OsStr,
        if_taken: IfTaken,
        known: Option<&OsStr>,
    ) -> Result<(), Unpublished> {
        let Self { file, dir, temporary } = self;
        if let Some(temporary) = temporary {
            return match close_last(file) {
                Ok(()) => temporary.rename(name, if_taken),
                Err(cause) => Err(temporary.fail(cause)),
            };
        }
        match link_open(&file, &dir, name) {
            // Something stands there: a second name first, since only a rename replaces in one
            // step.
            Err(Errno::EXIST) if if_taken == IfTaken::Replace => {
                let link = |temporary: &OsStr| link_open(&file, &dir, temporary);
                let ((), temporary) = Temporary::make(&dir, known, link)?;
                temporary.rename(name, if_taken)?;
            }
            other => other?,
        }
        Ok(close_last(file)?)
    }

    /// Throws the file away.
    pub fn discard(self) -> io::Result<()> {
        self.temporary.map_or(Ok(()), Temporary::remove)?;
        close_last(self.file)
    }

    /// Leaves the file under its temporary name for the next run.
    pub fn leave(self) -> io::Result<()> {
        if let Some(temporary) = self.temporary {
            temporary.leave();
        }
        close_last(self.file)
    }
}

/// What stands under the temporary name that an earlier run would have used.
pub struct Leftover {
    file: Arc<OwnedFd>,
    dir: Arc<OwnedFd>,
    name: std::ffi::OsString,
}

impl Leftover {
    /// Opens what stands there, if anything. The caller has to look what it is; a link or a FIFO
    /// without a reader is nothing that a run left.
    pub fn find(dir: &Arc<OwnedFd>, name: &OsStr) -> io::Result<Option<Self>> {
        match open_beneath(dir, name, OFlags::RDWR | OFlags::NONBLOCK) {
            Ok(file) => {
                Ok(Some(Self { file: Arc::new(file), dir: Arc::clone(dir), name: name.to_owned() }))
            }
            Err(cause) => match cause.raw_os_error() {
                Some(libc::ENOENT | libc::ELOOP | libc::ENXIO) => Ok(None),
                _ => Err(cause),
            },
        }
    }

    /// The open file.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Goes on with it as with a file that this run made.
    pub fn take_over(self) -> Target {
        let temporary = Some(Temporary::at(&self.dir, self.name));
        Target { file: self.file, dir: self.dir, temporary }
    }
}

/// Closes a file whose operations have all given their holds back. Were there another hold, closing
/// would be its to do.
fn close_last(file: Arc<OwnedFd>) -> io::Result<()> {
    Arc::into_inner(file).map_or(Ok(()), close)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, read, read_dir, write};

    use super::*;
    use crate::fs;

    type Create = fn(&Arc<OwnedFd>) -> io::Result<Target>;
    const BOTH: [Create; 2] =
        [|dir| Target::create(dir, None), |dir| Target::create_named(dir, None)];

    fn open(folder: &tempfile::TempDir) -> Arc<OwnedFd> {
        Arc::new(File::open(folder.path()).unwrap().into())
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_published_file_replaces_the_old_one_and_leaves_nothing_else() {
        for create in BOTH {
            let folder = tempfile::tempdir().unwrap();
            let dir = open(&folder);
            for contents in ["first", "second"] {
                let target = create(&dir).unwrap();
                rustix::io::write(target.file(), contents.as_bytes()).unwrap();
                target.publish(OsStr::new("name"), IfTaken::Replace, None).unwrap();
                assert_eq!(read(folder.path().join("name")).unwrap(), contents.as_bytes());
            }
            assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_is_dropped_discarded_or_cannot_be_published_leaves_nothing() {
        for create in BOTH {
            let folder = tempfile::tempdir().unwrap();
            let dir = open(&folder);
            write(folder.path().join("old"), "old").unwrap();
            std::fs::create_dir(folder.path().join("dir")).unwrap();
            drop(create(&dir).unwrap());
            create(&dir).unwrap().discard().unwrap();
            let publish = |name: &str, if_taken| {
                let error = create(&dir).unwrap().publish(OsStr::new(name), if_taken, None);
                error.unwrap_err().cause.raw_os_error()
            };
            assert_eq!(publish("dir", IfTaken::Replace), Some(libc::EISDIR));
            assert_eq!(publish("old", IfTaken::Refuse), Some(libc::EEXIST));
            assert_eq!(read_dir(folder.path()).unwrap().count(), 2);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_file_in_the_making_is_its_owner_s_alone_and_is_written_through_no_link() {
        let (folder, known) = (tempfile::tempdir().unwrap(), OsStr::new(".known"));
        let dir = open(&folder);
        write(folder.path().join("victim"), "victim").unwrap();
        for unnamed in [true, false] {
            std::os::unix::fs::symlink("victim", folder.path().join(known)).unwrap();
            let create = if unnamed { Target::create } else { Target::create_named };
            let target = create(&dir, Some(known)).unwrap();
            assert_eq!(fs::stat(&**target.file()).unwrap().st_mode & 0o7777, 0o600);
            rustix::io::write(target.file(), b"new").unwrap();
            target.publish(OsStr::new("name"), IfTaken::Replace, Some(known)).unwrap();
            assert_eq!(read(folder.path().join("victim")).unwrap(), b"victim");
            assert_eq!(read(folder.path().join("name")).unwrap(), b"new");
            if folder.path().join(known).is_symlink() {
                std::fs::remove_file(folder.path().join(known)).unwrap();
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_is_found_is_left_alone_until_it_is_taken_over() {
        let (folder, known) = (tempfile::tempdir().unwrap(), OsStr::new(".known"));
        let dir = open(&folder);
        Target::create_named(&dir, Some(known)).unwrap().leave().unwrap();
        drop(Leftover::find(&dir, known).unwrap().expect("it was left"));
        assert!(folder.path().join(known).exists());
        drop(Leftover::find(&dir, known).unwrap().expect("it stands").take_over());
        assert!(Leftover::find(&dir, known).unwrap().is_none());
    }
}
