//! A file that stands where a copy has to go, and is to be written into.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use super::identity::FileId;
use super::open::{open_beneath, open_path};
use super::stat::{FileType, Stat, mount, stat};
use super::target::Target;
use super::temporary::swapped;
use crate::sys::call::{CWD, Mode, OFlags, openat};

/// How a file that is written into is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteAccess {
    /// It is written alone.
    WriteOnly,
    /// It is read back, too.
    ReadAndWrite,
}

impl WriteAccess {
    fn flags(self) -> OFlags {
        let access = match self {
            Self::WriteOnly => OFlags::WRONLY,
            Self::ReadAndWrite => OFlags::RDWR,
        };
        access | OFlags::CLOEXEC | OFlags::NOCTTY
    }
}

/// What has a name, reached and not yet opened, so that nothing was done to it.
pub struct Stands {
    place: OwnedFd,
    stat: Stat,
    /// Whether it is a mount point, so that it has a name elsewhere.
    is_mounted: bool,
}

impl Stands {
    /// Looks at what has a name, never through a link.
    pub fn look(dir: impl AsFd, name: &OsStr) -> io::Result<Self> {
        let place = open_path(dir.as_fd(), name)?;
        let answer = stat(&place)?;
        let is_mounted = match (mount(&place), mount(dir.as_fd())) {
            (Some(place), Some(dir)) => place != dir,
            // What is mounted from another filesystem shows it all the same.
            _ => stat(dir)?.st_dev != answer.st_dev,
        };
        Ok(Self { place, stat: answer, is_mounted })
    }

    /// What reaches it.
    pub fn place(&self) -> &OwnedFd {
        &self.place
    }

    /// What it answered.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Whether it is a regular file.
    pub fn is_regular(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::RegularFile
    }

    /// Whether it is mounted at the name from elsewhere.
    pub fn is_mounted(&self) -> bool {
        self.is_mounted
    }

    /// Opens it to be written into. It is the very file that was looked at, whatever has the name
    /// now. Since it is a regular one, it is waited for while a lease on it is held.
    pub fn open(self, dir: &Arc<OwnedFd>, name: &OsStr, access: WriteAccess) -> io::Result<Target> {
        let path = format!("/proc/self/fd/{}", self.place.as_raw_fd());
        let opened = openat(CWD, &*path, access.flags(), Mode::empty()).map_err(io::Error::from);
        let file = match opened {
            // There is no /proc.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                let file = open_beneath(&**dir, name, access.flags() | OFlags::NONBLOCK)?;
                if FileId::of(&stat(&file)?) != FileId::of(&self.stat) {
                    return Err(swapped());
                }
                file
            }
            opened => opened?,
        };
        Ok(Target::in_place(dir, file, self.is_mounted))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, read, read_dir, write};
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::fs::IfTaken;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_is_written_into_stays_the_file_that_it_was_however_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let name = OsStr::new("name");
        let at = folder.path().join(name);
        write(&at, "old").unwrap();
        let id = FileId::of(&stat(File::open(&at).unwrap()).unwrap());
        let ends: [fn(Target); 4] = [
            drop,
            |target| target.discard().unwrap(),
            |target| target.leave().unwrap(),
            |target| target.publish(OsStr::new("name"), IfTaken::Refuse).unwrap().close().unwrap(),
        ];
        for (end, contents) in ends.into_iter().zip(["one", "two", "six", "ten"]) {
            let stands = Stands::look(&*dir, name).unwrap();
            assert!(stands.is_regular() && !stands.is_mounted());
            let mut target = stands.open(&dir, name, WriteAccess::WriteOnly).unwrap();
            target.name_ahead(None).unwrap();
            assert!(target.is_in_place() && !target.is_begun_in_place());
            target.begin();
            assert!(target.is_begun_in_place());
            rustix::io::write(target.file(), contents.as_bytes()).unwrap();
            end(target);
            assert_eq!(read(&at).unwrap(), contents.as_bytes());
            assert_eq!(FileId::of(&stat(File::open(&at).unwrap()).unwrap()), id);
        }
        assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
        let fresh = Target::create(&dir, None).unwrap();
        fresh.begin();
        assert!(!fresh.is_begun_in_place());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn it_is_the_file_that_was_looked_at_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let (at, name) = (|name: &str| folder.path().join(name), OsStr::new("name"));
        write(at("name"), "old").unwrap();
        write(at("other"), "other").unwrap();
        let stands = Stands::look(&*dir, name).unwrap();
        std::fs::rename(at("name"), at("aside")).unwrap();
        symlink("other", at("name")).unwrap();
        let target = stands.open(&dir, name, WriteAccess::ReadAndWrite).unwrap();
        rustix::io::write(target.file(), b"new").unwrap();
        assert_eq!(read(at("aside")).unwrap(), b"new");
        assert_eq!(read(at("other")).unwrap(), b"other");
        assert!(!Stands::look(&*dir, name).unwrap().is_regular());
    }
}
