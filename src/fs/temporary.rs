//! Names that stand for a moment only, and go when they are no longer needed.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::sys::call::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::hidden::{Mark, name_for_new};
use super::identity::FileId;
use super::io::close_last;
use super::names::{keeps_names, link_open, look_at, move_by_link, rename, rename_unless_taken};
use super::registry::{self, Standing};
use super::stat::{Stat, birth, stat, stat_at};
use super::unavailable::refuses;
use crate::error::Cause;

/// How many hidden names are tried before a directory full of them is believed.
const NAME_TRIES: usize = 16;

const CREATE: OFlags = OFlags::RDWR
    .union(OFlags::CLOEXEC)
    .union(OFlags::CREATE)
    .union(OFlags::EXCL)
    .union(OFlags::NOFOLLOW);

/// What is done where a name is taken already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfTaken {
    /// What has the name is replaced in one step, unless it is a directory.
    Replace,
    /// What has the name stays, and the answer is EEXIST.
    Refuse,
}

/// A file that has its new name.
#[derive(Debug)]
pub struct Given {
    file: GivenFile,
    /// Why its temporary name could not be removed, if that is still there.
    pub left_behind: Option<io::Error>,
}

#[derive(Debug)]
enum GivenFile {
    /// Nothing but itself was asked of it yet.
    Open(Arc<OwnedFd>),
    /// It was closed, and what has the name was found to be it.
    Closed(Box<Stat>),
}

impl Given {
    /// To a file that is still open.
    pub(super) fn to(file: Arc<OwnedFd>) -> Self {
        Self { file: GivenFile::Open(file), left_behind: None }
    }

    /// The same of a file that is still open.
    pub(super) fn of(self, file: Arc<OwnedFd>) -> Self {
        Self { file: GivenFile::Open(file), ..self }
    }

    /// What the file answers, whatever has taken the name since. What cannot be asked is asked
    /// once more: it decides what may be replaced later.
    pub fn stat(&self) -> io::Result<Stat> {
        match &self.file {
            GivenFile::Open(file) => stat(file).or_else(|_| stat(file)),
            GivenFile::Closed(stat) => Ok(**stat),
        }
    }

    /// Closes the file. Where others hold it too, closing is theirs to do.
    pub fn close(self) -> io::Result<()> {
        match self.file {
            GivenFile::Open(file) => close_last(file),
            GivenFile::Closed(_) => Ok(()),
        }
    }
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

/// A name that this run made, and the file that it was made for. It is removed when it is dropped,
/// unless it was renamed, removed or left on purpose before. What another file has taken is neither
/// removed nor renamed.
pub struct Temporary {
    standing: Standing,
    /// Whether it may be a further name of a file.
    is_further: bool,
    /// Whether the name was dealt with.
    is_over: bool,
}

impl Temporary {
    /// Makes an empty file that only its owner may read, under a hidden name.
    pub fn open(dir: &Arc<OwnedFd>, mark: Option<Mark>) -> io::Result<(OwnedFd, Self)> {
        let open = |name: &OsStr| openat(dir, name, CREATE, Mode::RUSR | Mode::WUSR);
        let (file, temporary) = Self::make_as(
            dir,
            || name_for_new(mark),
            open,
            |file, name| match stat(file) {
                Ok(stat) => Ok(id_of(stat)),
                Err(_) => id_at(dir, name),
            },
        )?;
        match mark {
            None => Ok((file, temporary)),
            // Only now it is known which file it is, and it gets data only then.
            Some(mark) => match temporary.rename_for(mark, &file) {
                Ok(temporary) => Ok((file, temporary)),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// Gives an open file without a name a hidden one.
    pub fn link(dir: &Arc<OwnedFd>, mark: Option<Mark>, file: &OwnedFd) -> io::Result<Self> {
        let id = id_of(stat(file)?);
        let birth = mark.map(|mark| Ok::<_, io::Error>((mark, birth(file)?))).transpose()?;
        let name = || match &birth {
            Some((mark, birth)) => mark.name_for(dir, *birth),
            None => name_for_new(None),
        };
        let link = |name: &OsStr| link_open(file, dir, name);
        Ok(Self::make_as(dir, name, link, |(), _| Ok(id))?.1)
    }

    /// Makes something that holds no data, or a further name of the file `id`, under a hidden one.
    pub fn make<T>(
        dir: &Arc<OwnedFd>,
        mark: Option<Mark>,
        id: Option<FileId>,
        make: impl Fn(&OsStr) -> rustix::io::Result<T>,
    ) -> io::Result<(T, Self)> {
        let look = |_: &T, name: &OsStr| match id {
            Some(id) => Ok(id),
            None => id_at(dir, name),
        };
        let (made, mut temporary) = Self::make_as(dir, || name_for_new(mark), make, look)?;
        temporary.is_further = true;
        Ok((made, temporary))
    }

    /// Tries names until one is free. A folder that keeps every name gets none.
    fn make_as<T>(
        dir: &Arc<OwnedFd>,
        name: impl Fn() -> io::Result<OsString>,
        make: impl Fn(&OsStr) -> rustix::io::Result<T>,
        identify: impl Fn(&T, &OsStr) -> io::Result<FileId>,
    ) -> io::Result<(T, Self)> {
        if keeps_names(dir) {
            return Err(Errno::PERM.into());
        }
        for _ in 0..NAME_TRIES {
            let name = registry::Name::new(dir, name()?);
            // Held until it is known what is to be removed, should the process end at once.
            let mut shelf = registry::shelf();
            shelf.make_room()?;
            match make(&name.name) {
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
                Ok(made) => {
                    let id = identify(&made, &name.name)?;
                    let standing = shelf.put(name, id);
                    return Ok((made, Self { standing, is_further: false, is_over: false }));
                }
            }
        }
        Err(Errno::EXIST.into())
    }

    /// Takes charge of a name that was just made, or that an earlier run left.
    pub(super) fn at(dir: &Arc<OwnedFd>, name: OsString, id: FileId) -> Self {
        let name = registry::Name::new(dir, name);
        let standing = registry::shelf().put(name, id);
        Self { standing, is_further: false, is_over: false }
    }

    /// The name.
    pub fn name(&self) -> &OsStr {
        &self.standing.name
    }

    /// Whether it was made for the file that answered so.
    pub fn is_for(&self, stat: &Stat) -> bool {
        self.standing.id == FileId::of(stat)
    }

    /// Whether it is still the file that the name was made for that has it.
    pub fn stands(&self) -> io::Result<bool> {
        Ok(self.look_at(self.name())?.is_some())
    }

    fn look_at(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        look_at(&self.standing.dir, name, self.standing.id)
    }

    /// A process that ends at once is to leave it to the next run.
    pub fn keep_for_next_run(&mut self) {
        self.standing.withdraw();
    }

    /// Another hidden name, for this file alone.
    fn rename_for(self, mark: Mark, file: &OwnedFd) -> Result<Self, Unpublished> {
        let name = match birth(file).and_then(|birth| mark.name_for(file, birth)) {
            Ok(name) => name,
            Err(cause) => return Err(self.fail(cause)),
        };
        let (dir, id) = (Arc::clone(&self.standing.dir), self.standing.id);
        // It is registered before it stands.
        let new = Self::at(&dir, name.clone(), id);
        // Nothing has the new name, which no one can guess. Where `renameat2` knows no flags, to
        // refuse would unlink a name of an open file, which NFS and FUSE then keep under another.
        self.rename(&name, IfTaken::Replace).map(|_| new)
    }

    /// Gives what has the name another one in the same directory. If that fails, it has neither,
    /// unless it cannot even be asked what has the new one.
    pub fn rename(self, name: &OsStr, if_taken: IfTaken) -> Result<Given, Unpublished> {
        match self.stands() {
            Ok(true) => {}
            Ok(false) => {
                self.leave();
                return Err(swapped().into());
            }
            Err(cause) => return Err(self.fail(cause)),
        }
        let renamed = match if_taken {
            IfTaken::Replace => self.rename_over(name),
            IfTaken::Refuse => rename_unless_taken(&self.standing.dir, self.name(), name),
        };
        let stays = match renamed {
            Ok(stays) => stays,
            Err(cause) => return Err(self.fail(cause.into())),
        };
        // Between the look and the rename it may have been exchanged all the same.
        match self.look_at(name) {
            Ok(Some(stat)) => {
                let file = GivenFile::Closed(Box::new(stat));
                // rename(2) does nothing where both names are one file already, and leaves both.
                let left_behind = match self.is_further {
                    true => self.remove().err(),
                    false => {
                        self.leave();
                        stays.map(io::Error::from)
                    }
                };
                Ok(Given { file, left_behind })
            }
            Ok(None) => {
                self.leave();
                Err(swapped().into())
            }
            Err(cause) => Err(self.fail(cause)),
        }
    }

    /// Gives what has the name another one in the same directory, where something stands that may
    /// be the same file. Renaming one name of a file to another of its names does nothing, and
    /// leaves both, see rename(2).
    /// The answer is why the old name stays beside the new one.
    pub(super) fn rename_to_what_may_be_it(
        self,
        name: &OsStr,
    ) -> Result<Option<io::Error>, Unpublished> {
        match self.rename_over(name) {
            Ok(_) => Ok(self.remove().err()),
            Err(cause) => Err(self.fail(cause.into())),
        }
    }

    /// Where no rename is available, what is free can be had by a second name. What comes back with
    /// success is why the old name stays beside it.
    fn rename_over(&self, name: &OsStr) -> rustix::io::Result<Option<Errno>> {
        let dir = &self.standing.dir;
        match rename(dir, self.name(), name) {
            Err(error) if refuses(error) => move_by_link(dir, self.name(), name).or(Err(error)),
            renamed => renamed.map(|()| None),
        }
    }

    /// Removes the name because of a failure, which is told with what came of that.
    pub(super) fn fail(self, cause: io::Error) -> Unpublished {
        Unpublished { cause, left_behind: self.remove().err() }
    }

    /// Removes the name. One that is gone, or that another file has, already needs no removing.
    pub fn remove(mut self) -> io::Result<()> {
        self.is_over = true;
        self.standing.unlink()
    }

    /// Lets the name stand.
    pub fn leave(mut self) {
        self.is_over = true;
    }
}

impl Drop for Temporary {
    /// An error has nowhere to go here. Who can tell of it calls [`remove`](Self::remove).
    fn drop(&mut self) {
        if !self.is_over {
            let _untold = self.standing.unlink();
        }
    }
}

fn id_of(stat: Stat) -> FileId {
    FileId::of(&stat)
}

/// Which file has a name that was just made. What cannot be asked is asked once more: without an
/// answer the name would stay.
fn id_at(dir: &OwnedFd, name: &OsStr) -> io::Result<FileId> {
    let stat = stat_at(dir, name).or_else(|_| stat_at(dir, name))?;
    stat.map(id_of).ok_or_else(swapped)
}

pub(super) fn swapped() -> io::Error {
    io::Error::other(Cause::Swapped)
}
