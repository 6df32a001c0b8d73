//! Names that stand for a moment only, and go when they are no longer needed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, RenameFlags, linkat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::stat_at;

/// How many random names are tried before a directory full of them is believed.
const NAME_TRIES: usize = 16;

/// What is done where a name is taken already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfTaken {
    /// What has the name is replaced in one step, unless it is a directory.
    Replace,
    /// What has the name stays, and the answer is EEXIST.
    Refuse,
}

/// A new name could not be given.
#[derive(Debug)]
pub struct Unpublished {
    /// Why.
    pub cause: io::Error,
    /// Why the temporary name could not be removed either, if it is still there.
    pub left_behind: Option<io::Error>,
}

impl From<Unpublished> for io::Error {
    /// The cause. If a temporary name is left, the message says that too.
    fn from(Unpublished { cause, left_behind }: Unpublished) -> Self {
        match left_behind {
            None => cause,
            Some(left) => {
                let text = format!("{cause}; its temporary could not be removed: {left}");
                Self::new(cause.kind(), text)
            }
        }
    }
}

impl From<io::Error> for Unpublished {
    fn from(cause: io::Error) -> Self {
        Self { cause, left_behind: None }
    }
}

impl From<Errno> for Unpublished {
    fn from(cause: Errno) -> Self {
        io::Error::from(cause).into()
    }
}

/// A name that this run made. It is removed when it is dropped, unless it was renamed, removed or
/// left on purpose before.
pub struct Temporary {
    dir: Arc<OwnedFd>,
    /// Empty once the name was dealt with.
    name: Option<OsString>,
}

impl Temporary {
    /// Makes something under a `known` name, where nothing can stand but what a killed run left; or
    /// under a random hidden one.
    pub fn make<T>(
        dir: &Arc<OwnedFd>,
        known: Option<&OsStr>,
        make: impl Fn(&OsStr) -> rustix::io::Result<T>,
    ) -> io::Result<(T, Self)> {
        let (made, name) = match known {
            Some(name) => (make_known(dir, name, make)?, name.to_owned()),
            None => make_random(make)?,
        };
        Ok((made, Self::at(dir, name)))
    }

    /// Takes charge of a name that was just made, or that an earlier run left.
    pub(super) fn at(dir: &Arc<OwnedFd>, name: OsString) -> Self {
        Self { dir: Arc::clone(dir), name: Some(name) }
    }

    /// The name.
    pub fn name(&self) -> &OsStr {
        self.name.as_deref().expect("a name is dealt with by value")
    }

    /// Gives what has the name another one in the same directory. If that fails, it has neither.
    pub fn rename(self, name: &OsStr, if_taken: IfTaken) -> Result<(), Unpublished> {
        let renamed = match if_taken {
            IfTaken::Replace => self.rename_over(name),
            IfTaken::Refuse => self.rename_unless_taken(name),
        };
        match renamed {
            Ok(()) => {
                self.leave();
                Ok(())
            }
            Err(cause) => Err(self.fail(cause.into())),
        }
    }

    /// Kernels before 3.15 have no `renameat2`.
    fn rename_over(&self, name: &OsStr) -> rustix::io::Result<()> {
        let Self { dir, .. } = self;
        match renameat_with(dir, self.name(), dir, name, RenameFlags::empty()) {
            Err(Errno::INVAL | Errno::NOSYS) => renameat(dir, self.name(), dir, name),
            other => other,
        }
    }

    /// Where `renameat2` knows no flags (NFS, kernels before 3.15), a second name refuses what is
    /// taken. A filesystem without second names can only be asked a moment before.
    fn rename_unless_taken(&self, name: &OsStr) -> rustix::io::Result<()> {
        let Self { dir, .. } = self;
        match renameat_with(dir, self.name(), dir, name, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS) => {}
            other => return other,
        }
        match linkat(dir, self.name(), dir, name, AtFlags::empty()) {
            Ok(()) => return unlinkat(dir, self.name(), AtFlags::empty()),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(error) => return Err(error),
        }
        match stat_at(dir, name) {
            Ok(None) => renameat(dir, self.name(), dir, name),
            Ok(Some(_)) => Err(Errno::EXIST),
            Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::IO)),
        }
    }

    /// Removes the name because of a failure, which is told with what came of that.
    pub(super) fn fail(self, cause: io::Error) -> Unpublished {
        Unpublished { cause, left_behind: self.remove().err() }
    }

    /// Removes the name. One that is gone already needs no removing.
    pub fn remove(mut self) -> io::Result<()> {
        let Some(name) = self.name.take() else { return Ok(()) };
        match unlinkat(&self.dir, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Lets the name stand.
    pub fn leave(mut self) {
        self.name = None;
    }
}

impl Drop for Temporary {
    /// An error has nowhere to go here. Who can tell of it calls [`remove`](Self::remove).
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            let _untold = unlinkat(&self.dir, &name, AtFlags::empty());
        }
    }
}

fn make_known<T>(
    dir: &OwnedFd,
    name: &OsStr,
    make: impl Fn(&OsStr) -> rustix::io::Result<T>,
) -> rustix::io::Result<T> {
    match make(name) {
        Err(Errno::EXIST) => {
            unlinkat(dir, name, AtFlags::empty())?;
            make(name)
        }
        made => made,
    }
}

/// Tries names that no one can foresee until one is free.
fn make_random<T>(
    make: impl Fn(&OsStr) -> rustix::io::Result<T>,
) -> rustix::io::Result<(T, OsString)> {
    for _ in 0..NAME_TRIES {
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())?;
        let name = OsString::from(format!(".aiocp-{:016x}", u64::from_ne_bytes(random)));
        match make(&name) {
            Err(Errno::EXIST) => {}
            made => return Ok((made?, name)),
        }
    }
    Err(Errno::EXIST)
}

#[cfg(test)]
mod tests {
    use std::fs::{File, read, read_dir, write};

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_name_that_is_dropped_is_gone_and_one_that_is_left_stands() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let link = |name: &OsStr| rustix::fs::symlinkat(c"to", &*dir, name);
        for known in [None, Some(OsStr::new(".known"))] {
            let ((), temporary) = Temporary::make(&dir, known, link).unwrap();
            assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
            drop(temporary);
            assert_eq!(read_dir(folder.path()).unwrap().count(), 0);
        }
        let ((), temporary) = Temporary::make(&dir, None, link).unwrap();
        temporary.leave();
        assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_taken_name_is_replaced_or_refused_and_nothing_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let make = |name: &OsStr| {
            write(folder.path().join(name), "new")
                .map_err(|error| Errno::from_io_error(&error).expect("an error of a system call"))
        };
        write(folder.path().join("taken"), "old").unwrap();
        for (if_taken, contents) in [(IfTaken::Refuse, b"old"), (IfTaken::Replace, b"new")] {
            let ((), temporary) = Temporary::make(&dir, None, make).unwrap();
            let renamed = temporary.rename(OsStr::new("taken"), if_taken);
            let refused = renamed.err().and_then(|error| error.cause.raw_os_error());
            assert_eq!(refused, (if_taken == IfTaken::Refuse).then_some(libc::EEXIST));
            assert_eq!(read(folder.path().join("taken")).unwrap(), contents);
            assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
        }
    }
}
