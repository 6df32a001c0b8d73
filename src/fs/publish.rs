//! How something new gets its name without ever being half there.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, linkat};
use rustix::io::Errno;

use super::temporary::{IfTaken, Temporary, Unpublished};
use super::{same_file, stat, stat_at};

/// Where something new is to appear.
#[derive(Clone, Copy)]
pub struct Appearance<'a> {
    /// The directory.
    pub dir: &'a Arc<OwnedFd>,
    /// The name in it.
    pub name: &'a OsStr,
    /// What becomes of something that has the name.
    pub if_taken: IfTaken,
    /// The temporary name that the next run would find again, instead of a random one.
    pub known: Option<&'a OsStr>,
}

/// Makes something that is no regular file. `make` makes it under the name that it is given, and
/// `prepare` gets its temporary or final name before it stands for good.
pub fn publish_made(
    at: Appearance<'_>,
    make: impl Fn(&OsStr) -> rustix::io::Result<()>,
    prepare: impl FnOnce(&OsStr) -> io::Result<()>,
) -> Result<(), Unpublished> {
    let Appearance { dir, name, if_taken, known } = at;
    let is_taken = match make(name) {
        Err(Errno::EXIST) if if_taken == IfTaken::Replace => true,
        made => made.map(|()| false)?,
    };
    let temporary = match is_taken {
        true => Temporary::make(dir, known, make)?.1,
        false => Temporary::at(dir, name.to_owned()),
    };
    match prepare(temporary.name()) {
        Err(cause) => Err(temporary.fail(cause)),
        Ok(()) if is_taken => temporary.rename(name, if_taken),
        Ok(()) => {
            temporary.leave();
            Ok(())
        }
    }
}

/// Gives an open file one more name.
pub fn publish_hard_link(file: &OwnedFd, at: Appearance<'_>) -> Result<(), Unpublished> {
    let Appearance { dir, name, if_taken, known } = at;
    match link_open(file, dir, name) {
        Err(Errno::EXIST) if if_taken == IfTaken::Replace => {
            // Renaming one name of a file to another of its names does nothing at all, see
            // rename(2).
            let own = stat(file)?;
            if stat_at(dir, name)?.is_some_and(|stands| same_file(&own, &stands)) {
                return Ok(());
            }
            let link = |temporary: &OsStr| link_open(file, dir, temporary);
            let ((), temporary) = Temporary::make(dir, known, link)?;
            temporary.rename(name, if_taken)
        }
        other => Ok(other?),
    }
}

/// linkat(2) of an open file. Linking by descriptor needs a right that not every process has; by
/// the name in /proc, any may.
pub(super) fn link_open(file: &OwnedFd, dir: impl AsFd, name: &OsStr) -> rustix::io::Result<()> {
    match linkat(file, c"", dir.as_fd(), name, AtFlags::EMPTY_PATH) {
        Err(Errno::NOENT | Errno::PERM | Errno::INVAL) => {
            let path = format!("/proc/self/fd/{}", file.as_raw_fd());
            linkat(CWD, path, dir, name, AtFlags::SYMLINK_FOLLOW)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, read_dir, write};

    use super::*;
    use crate::fs::Target;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_a_killed_run_left_under_a_known_name_makes_place() {
        let (folder, known) = (tempfile::tempdir().unwrap(), OsStr::new(".known"));
        let dir = &Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let name = OsStr::new("name");
        let at = Appearance { dir, name, if_taken: IfTaken::Replace, known: Some(known) };
        let leave = || write(folder.path().join(known), "left").unwrap();
        for create in [Target::create, Target::create_named] {
            leave();
            let target = create(dir, Some(known)).unwrap();
            target.publish(name, IfTaken::Replace, Some(known)).unwrap();
            leave();
            publish_made(at, |name| rustix::fs::symlinkat(c"to", dir, name), |_| Ok(())).unwrap();
            leave();
            let made = Target::create(dir, None).unwrap();
            publish_hard_link(made.file(), at).unwrap();
            assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_cannot_be_prepared_leaves_nothing_and_what_stands_stays() {
        let folder = tempfile::tempdir().unwrap();
        let dir = &Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let make = |name: &OsStr| rustix::fs::symlinkat(c"to", dir, name);
        for count in [0, 1] {
            let name = OsStr::new("name");
            let at = Appearance { dir, name, if_taken: IfTaken::Replace, known: None };
            let refused = publish_made(at, make, |_| Err(Errno::IO.into())).unwrap_err();
            assert_eq!(refused.cause.raw_os_error(), Some(libc::EIO));
            assert_eq!(read_dir(folder.path()).unwrap().count(), count);
            publish_made(at, make, |_| Ok(())).unwrap();
        }
    }
}
