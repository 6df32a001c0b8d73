//! The walker: it lists directories, opens pairs of them, and hands out the rest in batches.
//!
//! Each directory is opened beneath its parent's descriptor, so that neither a swapped link nor a
//! path longer than PATH_MAX can lead it astray. It holds one batch a level and one listing a
//! level, never a tree; of a deep tree only the last listings are open, and of the others a few
//! names are remembered, and where the rest begins.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use super::dir::{Counterpart, Dir, OpenDir};
use super::filter::Filter;
use super::list::{Listed, Listing, Remembered};
use super::listed::List;
use crate::error::{Cause, Error, Operation, SpecialKind};
use crate::fs::{self, FileType};

/// Entries that one worker takes at once: enough to wait together until they are durable, few
/// enough to spread a directory over workers.
pub const BATCH_ENTRIES: usize = 64;

/// What an entry is, as the listing said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// Anything else, by name.
    Special(SpecialKind),
}

impl EntryKind {
    /// The kind of something that is not a directory, by the type in its mode.
    pub fn of_mode(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Special(SpecialKind::Fifo),
            FileType::Socket => Self::Special(SpecialKind::Socket),
            FileType::BlockDevice => Self::Special(SpecialKind::BlockDevice),
            FileType::CharacterDevice => Self::Special(SpecialKind::CharacterDevice),
            _ => Self::Special(SpecialKind::Unknown),
        }
    }

    /// What it is called in a message.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Link => "symbolic link",
            Self::Special(kind) => kind.name(),
        }
    }
}

/// A name in a directory that is to be copied.
#[derive(Debug)]
pub struct Entry {
    /// Its name in the source.
    pub name: OsString,
    /// Its name in the destination, where that is another.
    pub renamed: Option<OsString>,
    /// What the listing said it is.
    pub kind: EntryKind,
    /// The inode number that the listing gave it; nothing where it must not be compared.
    pub ino: Option<u64>,
    /// It is a symbolic link, and what it leads to is meant.
    pub followed: bool,
}

impl Entry {
    /// Its name in the destination.
    pub fn target_name(&self) -> &OsStr {
        self.renamed.as_deref().unwrap_or(&self.name)
    }
}

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// None: links are copied.
    #[default]
    Never,
    /// Those that the user named.
    Operands,
    /// All.
    Always,
}

/// What the walker looks at.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Which links it follows.
    pub follow: Follow,
    /// Whether it stays out of directories on other filesystems than the one above.
    pub one_file_system: bool,
    /// What it leaves out.
    pub filter: &'a Filter,
    /// The paths below the operand that are all it looks at, if there are such.
    pub list: Option<&'a List>,
    /// Whether what stands in the destination alone is told.
    pub extra: bool,
}

/// Some entries of one directory. It counts as one hold on the directory.
pub struct Batch {
    /// The directory.
    pub dir: Arc<Dir>,
    /// What to copy there.
    pub entries: Vec<Entry>,
}

/// Who takes what the walker finds.
pub trait Visitor {
    /// Makes the counterpart of a directory, finds it or plans it. Without one, nothing of the
    /// directory is looked at.
    fn counterpart(
        &self,
        parent: &OpenDir,
        target_name: &OsStr,
    ) -> Result<Option<Counterpart>, Error>;
    /// Something stands in the destination that has no counterpart in the source. Called only where
    /// the [`Scope`] asks for it.
    fn extra(&self, path: PathBuf);
    /// Takes a batch; it may block until there is room.
    fn batch(&self, batch: Batch);
    /// A directory was made or found in the destination, and nothing in it yet.
    fn entered(&self, dir: &OpenDir);
    /// The walker lets go of a directory.
    fn release(&self, dir: Arc<Dir>);
    /// Something cannot be listed or made.
    fn failed(&self, error: Error);
    /// Whether the walk is to end early: then nothing is entered any more, and what is open is
    /// released.
    fn is_stopped(&self) -> bool;
}

pub(super) struct Level {
    pub(super) dir: Arc<Dir>,
    names: Names,
    batch: Vec<Entry>,
    /// How long the path of this directory is.
    path_bytes: usize,
}

/// The names that are left in a directory.
enum Names {
    Open(Listing),
    Remembered(Remembered),
}

impl Level {
    /// The next name; a listing that was broken off is opened again for it.
    fn next_name(&mut self) -> Option<Result<Listed, Error>> {
        let list_error = |dir: &Dir, cause| {
            Error::new(Operation::ListDirectory, dir.source_path(OsStr::new("")), cause)
        };
        if let Names::Remembered(names) = &mut self.names
            && names.has_rest()
        {
            let rest = self
                .dir
                .open()
                .and_then(|dir| names.rest(&dir.source).map_err(|cause| list_error(&dir, cause)));
            match rest {
                Ok(listing) => self.names = Names::Open(listing),
                Err(error) => {
                    self.names = Names::Remembered(Remembered::default());
                    return Some(Err(error));
                }
            }
        }
        let listed = match &mut self.names {
            Names::Open(listing) => listing.next_name(),
            Names::Remembered(names) => names.next_name(),
        };
        listed.map(|listed| listed.map_err(|cause| list_error(&self.dir, cause)))
    }

    /// Closes the listing, if it is open.
    fn remember(&mut self) {
        self.names =
            match std::mem::replace(&mut self.names, Names::Remembered(Remembered::default())) {
                Names::Open(listing) => Names::Remembered(listing.remember()),
                names => names,
            };
    }
}

/// The directories from the operand down to the one that is being listed.
pub(super) struct Walk<'a, V> {
    pub(super) levels: Vec<Level>,
    /// The listings of so many of the first levels are closed, and what is left of them is
    /// remembered.
    remembered: usize,
    scope: &'a Scope<'a>,
    pub(super) visitor: &'a V,
    /// The path from the operand to the entry, for the filter.
    path: Vec<u8>,
}

/// A directory of the source and how it was found.
struct Found<'a> {
    name: &'a OsStr,
    target_name: &'a OsStr,
    /// Its inode number, if there is a listing that says it.
    ino: Option<u64>,
    /// It is a link to the directory.
    followed: bool,
}

/// Walks the directory that `top` names in `parent`; blocks until all of it is handed out.
pub fn walk(parent: &Arc<Dir>, top: &Entry, scope: &Scope<'_>, visitor: &impl Visitor) {
    let mut walk = Walk { levels: Vec::new(), remembered: 0, scope, visitor, path: Vec::new() };
    let found = Found {
        name: &top.name,
        target_name: top.target_name(),
        ino: top.ino,
        followed: top.followed,
    };
    let list = scope.list.filter(|list| !list.is_everything());
    walk.descend(parent, found, list.is_none());
    if let Some(list) = list
        && !walk.levels.is_empty()
    {
        walk.walk_listed(list);
    }
    walk.finish_to(0);
}

impl<V: Visitor> Walk<'_, V> {
    /// Hands out what is left of all levels below the first `depth`.
    pub(super) fn finish_to(&mut self, depth: usize) {
        while self.levels.len() > depth
            && let Some(level) = self.levels.last_mut()
        {
            if self.visitor.is_stopped() {
                self.ascend();
                continue;
            }
            let next = level.next_name();
            if matches!(level.names, Names::Open(_)) {
                self.remembered = self.remembered.min(self.levels.len() - 1);
            }
            match next {
                Some(Ok(found)) => {
                    self.found(found);
                }
                Some(Err(error)) => self.visitor.failed(error),
                None => self.ascend(),
            }
        }
    }

    /// Hands out an entry of the last level, or enters it and lists it; true if it is a directory.
    pub(super) fn found(&mut self, listed: Listed) -> bool {
        let Some((kind, followed)) = self.look_at(&listed) else { return false };
        let Listed { name, ino, .. } = listed;
        let Some(level) = self.levels.last_mut() else { return false };
        let ino = (!followed).then_some(ino);
        if kind == FileType::Directory {
            let dir = Arc::clone(&level.dir);
            self.descend(&dir, Found { name: &name, target_name: &name, ino, followed }, true);
            return true;
        }
        level.batch.push(Entry {
            name,
            renamed: None,
            kind: EntryKind::of_mode(kind),
            ino,
            followed,
        });
        if level.batch.len() == BATCH_ENTRIES {
            send(level, self.visitor);
        }
        false
    }

    /// Enters a directory of the last level, but lists nothing in it. False if that failed or the
    /// directory is left out.
    pub(super) fn enter_unlisted(&mut self, listed: Listed) -> bool {
        let Some((kind, followed)) = self.look_at(&listed) else { return false };
        let Some(level) = self.levels.last() else { return false };
        if kind != FileType::Directory {
            let cause = std::io::Error::from_raw_os_error(libc::ENOTDIR);
            self.visitor.failed(Error::new(
                Operation::OpenDirectory,
                level.dir.source_path(&listed.name),
                cause,
            ));
            return false;
        }
        let (dir, depth) = (Arc::clone(&level.dir), self.levels.len());
        let ino = (!followed).then_some(listed.ino);
        self.descend(
            &dir,
            Found { name: &listed.name, target_name: &listed.name, ino, followed },
            false,
        );
        self.levels.len() > depth
    }

    /// What an entry of the last level is, and whether it is a link that is followed; nothing if it
    /// is left out or cannot be looked at.
    fn look_at(&mut self, Listed { name, kind, .. }: &Listed) -> Option<(FileType, bool)> {
        let level = self.levels.last()?;
        let known = match kind {
            FileType::Unknown => kind_by_stat(&level.dir, name),
            kind => Ok(*kind),
        };
        let kind = match known {
            Ok(FileType::Symlink) if self.scope.follow == Follow::Always => {
                kind_behind(&level.dir, name).map(|kind| (kind, true))
            }
            known => known.map(|kind| (kind, false)),
        };
        if let Err(error) = kind {
            self.visitor.failed(error);
            return None;
        }
        let (kind, followed) = kind.ok()?;
        let path_bytes = level.path_bytes;
        if self.is_excluded(path_bytes, name, kind) { None } else { Some((kind, followed)) }
    }

    /// Whether the filter leaves out `name` in the directory whose path is the first `path_bytes`
    /// of the present one. The path leads to the name afterwards.
    fn is_excluded(&mut self, path_bytes: usize, name: &OsStr, kind: FileType) -> bool {
        if !self.scope.filter.has_rules() {
            return false;
        }
        self.path.truncate(path_bytes);
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend(name.as_encoded_bytes());
        self.scope.filter.excludes(&self.path, kind == FileType::Directory)
    }

    /// Tells what is in the destination alone of a directory that was just entered. It asks the
    /// source for each name instead of remembering any.
    fn tell_extra(&mut self, dir: &OpenDir) {
        let error =
            |cause| Error::new(Operation::ListDirectory, dir.target_path(OsStr::new("")), cause);
        let mut listing = match Listing::of(&dir.target) {
            Ok(listing) => listing,
            Err(cause) => return self.visitor.failed(error(cause)),
        };
        let path_bytes = self.path.len();
        while let Some(listed) = listing.next_name() {
            let found =
                listed.and_then(|listed| Ok((fs::stat_at(&dir.source, &listed.name)?, listed)));
            match found {
                Ok((None, Listed { name, kind, .. }))
                    if !self.is_excluded(path_bytes, &name, kind) =>
                {
                    self.visitor.extra(dir.target_path(&name));
                }
                Ok(_) => {}
                Err(cause) => self.visitor.failed(error(cause)),
            }
        }
        self.path.truncate(path_bytes);
    }

    /// Opens the pair of directories and puts its listing on top.
    fn descend(&mut self, parent: &Arc<Dir>, found: Found<'_>, is_listed: bool) {
        let top = self.levels.first().map(|level| &*level.dir);
        let opened = parent
            .open()
            .and_then(|parent| open_pair(&parent, found, top, self.scope, self.visitor));
        let dir = match opened {
            Ok(Some(dir)) => dir,
            Ok(None) => return,
            Err(error) => return self.visitor.failed(error),
        };
        self.visitor.entered(&dir);
        let is_elsewhere =
            self.scope.one_file_system && top.is_some() && dir.stat.st_dev != parent.stat.st_dev;
        let is_listed = is_listed && !is_elsewhere;
        if is_listed && self.scope.extra && !dir.fresh {
            self.tell_extra(&dir);
        }
        let names = match is_listed {
            true => Listing::of(&dir.source).map(Names::Open),
            false => Ok(Names::Remembered(Remembered::default())),
        };
        match names {
            Ok(names) => self.levels.push(Level {
                dir: Arc::clone(dir.dir()),
                names,
                batch: Vec::new(),
                path_bytes: self.path.len(),
            }),
            Err(cause) => {
                self.visitor.failed(Error::new(
                    Operation::ListDirectory,
                    dir.source_path(OsStr::new("")),
                    cause,
                ));
                self.visitor.release(Arc::clone(dir.dir()));
            }
        }
        if self.levels.len() - self.remembered > parent.open_dirs().listings_max() {
            let level = &mut self.levels[self.remembered];
            level.remember();
            // While the directory is still open.
            send(level, self.visitor);
            self.remembered += 1;
        }
    }

    /// Lets go of the last directory, whose listing is at its end.
    fn ascend(&mut self) {
        let Some(mut level) = self.levels.pop() else { return };
        self.remembered = self.remembered.min(self.levels.len());
        send(&mut level, self.visitor);
        if let Some(open) = level.dir.if_open() {
            Dir::open_parent(&open);
        }
        self.visitor.release(level.dir);
    }
}

fn kind_behind(dir: &Arc<Dir>, name: &OsStr) -> Result<FileType, Error> {
    let stat = fs::stat_following(&dir.open()?.source, name);
    let stat =
        stat.map_err(|cause| Error::new(Operation::FollowLink, dir.source_path(name), cause))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn kind_by_stat(dir: &Arc<Dir>, name: &OsStr) -> Result<FileType, Error> {
    let stat = fs::stat_at(&dir.open()?.source, name)
        .and_then(|stat| stat.ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENOENT)))
        .map_err(|cause| Error::new(Operation::Stat, dir.source_path(name), cause))?;
    Ok(FileType::from_raw_mode(stat.st_mode))
}

fn send(level: &mut Level, visitor: &impl Visitor) {
    if !level.batch.is_empty() {
        let entries = std::mem::take(&mut level.batch);
        level.dir.hold();
        visitor.batch(Batch { dir: Arc::clone(&level.dir), entries });
    }
}

/// Opens the directory `name` of the source, also through a link, and its counterpart of the same
/// name. The caller has one hold on the pair.
pub fn enter(
    parent: &Arc<Dir>,
    name: &OsStr,
    scope: &Scope<'_>,
    visitor: &impl Visitor,
) -> Result<Option<OpenDir>, Error> {
    let found = Found { name, target_name: name, ino: None, followed: true };
    open_pair(&parent.open()?, found, None, scope, visitor)
}

/// Opens a directory of the source and its counterpart. `top` is the first pair of this walk: a
/// source that leads back into the top's destination, as a bind mount can, would never end.
fn open_pair(
    parent: &OpenDir,
    found: Found<'_>,
    top: Option<&Dir>,
    scope: &Scope<'_>,
    visitor: &impl Visitor,
) -> Result<Option<OpenDir>, Error> {
    let Found { name, target_name, ino, followed } = found;
    let source_error = |op, cause: Cause| Error::new(op, parent.source_path(name), cause);
    let target_error = |op, cause: Cause| Error::new(op, parent.target_path(target_name), cause);

    let open = if followed { fs::open_dir_behind } else { fs::open_dir };
    let source = open(&parent.source, name).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOTDIR | libc::ELOOP) if !followed => {
            source_error(Operation::OpenDirectory, Cause::Swapped)
        }
        _ => source_error(Operation::OpenDirectory, error.into()),
    })?;
    let stat = fs::stat(&source).map_err(|error| source_error(Operation::Stat, error.into()))?;
    if let Some(ino) = ino
        && !fs::is_as_listed(&parent.source, &source, &stat, ino)
            .map_err(|error| source_error(Operation::Stat, error.into()))?
    {
        return Err(source_error(Operation::OpenDirectory, Cause::Swapped));
    }
    if let Some(top) = top
        && !top.planned
        && top.is_target(&stat)
    {
        return Err(source_error(
            Operation::CopyDirectory,
            Cause::IntoItself(top.source_path(OsStr::new(""))),
        ));
    }
    // Only through followed links can a directory stand below itself.
    let mut above = Some(parent.dir()).filter(|_| scope.follow == Follow::Always);
    while let Some(dir) = above.filter(|dir| dir.parent().is_some()) {
        if fs::same_file(&dir.stat, &stat) {
            return Err(source_error(Operation::CopyDirectory, Cause::Cycle));
        }
        above = dir.parent();
    }
    let Some(counterpart) = visitor.counterpart(parent, target_name)? else { return Ok(None) };
    let target = match counterpart {
        Counterpart::Planned => parent.target.try_clone(),
        Counterpart::Found | Counterpart::Made => fs::open_dir(&*parent.target, target_name),
    };
    let target = target.map_err(|error| match error.raw_os_error() {
        Some(libc::ENOTDIR | libc::ELOOP) => {
            target_error(Operation::CreateDirectory, Cause::FileInTheWay)
        }
        _ => target_error(Operation::OpenDirectory, error.into()),
    })?;
    let found = counterpart == Counterpart::Found;
    if found
        && fs::same_file(
            &stat,
            &fs::stat(&target).map_err(|error| target_error(Operation::Stat, error.into()))?,
        )
    {
        return Err(target_error(Operation::CopyDirectoryTo, Cause::SameFile));
    }
    Dir::child(
        parent.dir(),
        (source, name.to_owned(), followed),
        (target, target_name.to_owned()),
        counterpart,
        stat,
    )
    .map(Some)
    .map_err(|error| target_error(Operation::Stat, error.into()))
}
