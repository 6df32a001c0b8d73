//! How something new gets its name without ever being half there.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;

use super::hidden::Mark;
use super::identity::{FileId, Sameness, compare};
use super::names::link_open;
use super::open::open_path;
use super::stat::{Stat, stat, stat_at};
use super::temporary::{Given, IfTaken, Temporary, Unpublished, swapped};

/// Where something new is to appear.
#[derive(Clone, Copy)]
pub struct Appearance<'a> {
    /// The directory.
    pub dir: &'a Arc<OwnedFd>,
    /// The name in it.
    pub name: &'a OsStr,
    /// What becomes of something that has the name.
    pub if_taken: IfTaken,
    /// What a hidden name is marked with, so that the next run of the copy finds it.
    pub mark: Option<Mark>,
}

/// Makes something that is no regular file. `make` makes it under the name that it is given.
/// `is_made` says whether an answer can be that of what was made. `prepare` gets it, open, before
/// it stands for good.
pub fn publish_made(
    at: Appearance<'_>,
    make: impl Fn(&OsStr) -> rustix::io::Result<()>,
    is_made: impl Fn(&Stat) -> bool,
    prepare: impl FnOnce(&OwnedFd, &Stat) -> io::Result<()>,
) -> Result<Given, Unpublished> {
    let Appearance { dir, name, if_taken, mark } = at;
    let is_taken = match make(name) {
        Err(Errno::EXIST) if if_taken == IfTaken::Replace => true,
        made => made.map(|()| false)?,
    };
    let temporary = match is_taken {
        true => Some(Temporary::make(dir, mark, None, make)?.1),
        false => None,
    };
    let made_name = temporary.as_ref().map_or(name, Temporary::name).to_owned();
    let made = open_path(dir, &made_name).and_then(|made| Ok((stat(&made)?, made)));
    let found = match &made {
        Ok((stat, _)) => Some(*stat),
        Err(_) => stat_at(dir, &made_name)?,
    };
    // What was exchanged right after it was made is not ours to remove.
    let is_for = |stat: &Stat| temporary.as_ref().is_none_or(|made| made.is_for(stat));
    let Some(found) = found.filter(|stat| is_made(stat) && is_for(stat)) else {
        temporary.into_iter().for_each(Temporary::leave);
        return Err(swapped().into());
    };
    let temporary = temporary.unwrap_or_else(|| Temporary::at(dir, made_name, FileId::of(&found)));
    match made.and_then(|(stat, made)| prepare(&made, &stat).map(|()| Arc::new(made))) {
        Err(cause) => Err(temporary.fail(cause)),
        Ok(made) if is_taken => Ok(temporary.rename(name, if_taken)?.of(made)),
        Ok(made) => {
            temporary.leave();
            Ok(Given::to(made))
        }
    }
}

/// Gives an open file one more name.
pub fn publish_hard_link(file: &Arc<OwnedFd>, at: Appearance<'_>) -> Result<Given, Unpublished> {
    let given = || Given::to(Arc::clone(file));
    let Appearance { dir, name, if_taken, mark } = at;
    match link_open(file, dir, name) {
        Err(Errno::EXIST) if if_taken == IfTaken::Replace => {
            let own = FileId::of(&stat(file)?);
            let may_be_it = stat_at(dir, name)?.is_some_and(|stands| FileId::of(&stands) == own);
            if may_be_it && compare(file, open_path(dir, name)?)? == Sameness::Same {
                return Ok(given());
            }
            let link = |temporary: &OsStr| link_open(file, dir, temporary);
            let ((), temporary) = Temporary::make(dir, mark, Some(own), link)?;
            match may_be_it {
                true => {
                    let mut given = given();
                    given.left_behind = temporary.rename_to_what_may_be_it(name)?;
                    Ok(given)
                }
                false => Ok(temporary.rename(name, if_taken)?.of(Arc::clone(file))),
            }
        }
        Ok(()) => Ok(given()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, read_dir, write};

    use super::*;
    use crate::fs::Target;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn whatever_is_published_over_a_taken_name_leaves_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let dir = &Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let name = OsStr::new("name");
        write(folder.path().join(name), "old").unwrap();
        for mark in [None, Some(Mark::new(1).unwrap())] {
            let at = Appearance { dir, name, if_taken: IfTaken::Replace, mark };
            for create in [Target::create, Target::create_named] {
                create(dir, mark).unwrap().publish(name, IfTaken::Replace).unwrap();
                publish_made(at, make(dir), |_| true, |_, _| Ok(())).unwrap();
                let made = Target::create(dir, None).unwrap();
                publish_hard_link(made.file(), at).unwrap();
                assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
            }
        }
    }

    fn make(dir: &OwnedFd) -> impl Fn(&OsStr) -> rustix::io::Result<()> {
        move |name| crate::sys::call::symlinkat(c"to", dir, name)
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_was_exchanged_right_after_it_was_made_is_neither_published_nor_removed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = &Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let name = OsStr::new("name");
        let at = Appearance { dir, name, if_taken: IfTaken::Replace, mark: None };
        let exchanged = |name: &OsStr| {
            write(folder.path().join(name), "precious").unwrap();
            Ok(())
        };
        let is_made = |stat: &Stat| stat.st_size != 8;
        let refused = publish_made(at, exchanged, is_made, |_, _| Ok(())).unwrap_err();
        assert!(refused.left_behind.is_none());
        assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), b"precious");
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_cannot_be_prepared_leaves_nothing_and_what_stands_stays() {
        let folder = tempfile::tempdir().unwrap();
        let dir = &Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        for count in [0, 1] {
            let name = OsStr::new("name");
            let at = Appearance { dir, name, if_taken: IfTaken::Replace, mark: None };
            let refused = publish_made(at, make(dir), |_| true, |_, _| Err(Errno::IO.into()));
            let refused = refused.unwrap_err();
            assert_eq!(refused.cause.raw_os_error(), Some(libc::EIO));
            assert_eq!(read_dir(folder.path()).unwrap().count(), count);
            publish_made(at, make(dir), |_| true, |_, _| Ok(())).unwrap();
        }
    }
}
