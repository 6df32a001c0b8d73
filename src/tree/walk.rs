//! The walker: it lists directories, opens pairs of them, and hands out the rest in batches.
//!
//! Each directory is opened beneath its parent's descriptor. Neither a swapped link nor a path
//! longer than PATH_MAX can lead it astray.
//!
//! The walker holds one batch and one listing a level, never a tree. Of a deep tree only the last
//! listings are open; of the others it remembers a few names, and where the rest begins. Of a tree
//! of thousands of levels, full or not, it remembers no more than of one of hundreds.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::clash::Reached;
use super::dir::{Dir, OpenDir};
use super::entry::{Entry, EntryKind};
use super::level::{Level, NamesFrom};
use super::list::List;
use super::listing::{ListedName, Listing, REMEMBERED_BYTES_MAX};
use super::pair::{FoundDir, open_pair};
use super::visitor::{Follow, Scope, Visitor};
use crate::error::{Cause, Error, Operation};
use crate::fs::{self, FileType};

/// How much of all listings is remembered at most.
const ALL_REMEMBERED_BYTES_MAX: usize = 4 << 20;

/// The directories from the operand down to the one that is being listed.
struct Walk<'a, V> {
    levels: Vec<Level>,
    /// The number of levels, from the first on, whose listings are closed.
    remembered: usize,
    /// What is left of [`ALL_REMEMBERED_BYTES_MAX`].
    room_bytes: usize,
    scope: &'a Scope<'a>,
    visitor: &'a V,
    /// The path from the operand to the entry, for the filter.
    path: Vec<u8>,
}

/// What an entry turned out to be.
struct SeenKind {
    kind: FileType,
    /// The entry is a symbolic link, and this is the kind of what it leads to.
    followed: bool,
}

/// Walks the directory that `top` names in `parent`. Blocks until all of it is handed out.
pub fn walk(parent: &Arc<Dir>, top: &Entry, scope: &Scope<'_>, visitor: &impl Visitor) {
    let (levels, remembered, room_bytes) = (Vec::new(), 0, ALL_REMEMBERED_BYTES_MAX);
    let mut walk = Walk { levels, remembered, room_bytes, scope, visitor, path: Vec::new() };
    let found = FoundDir {
        name: &top.name,
        target_name: top.target_name(),
        ino: top.ino,
        followed: top.followed,
        on_the_way: false,
    };
    match scope.list {
        None => walk.descend(parent, found, NamesFrom::Listing),
        Some(list) if list.is_everything() => {
            walk.descend(parent, found, NamesFrom::Listing);
            walk.look_for_listed(0, list.paths().iter());
        }
        Some(list) => {
            walk.descend(parent, found, NamesFrom::List);
            if !walk.levels.is_empty() {
                walk.walk_listed(list);
            }
        }
    }
    walk.finish_to(0);
}

impl<V: Visitor> Walk<'_, V> {
    /// Hands out what is on the list, below the directory that was just entered.
    fn walk_listed<'p>(&mut self, list: &'p List) {
        let mut open: &[OsString] = &[];
        // A directory that needs no more looks: it was copied whole, or could not be entered.
        let mut settled: Option<&[OsString]> = None;
        for (index, path) in list.paths().iter().enumerate() {
            if self.visitor.is_stopped() {
                return;
            }
            if settled.is_some_and(|settled| path.starts_with(settled)) {
                continue;
            }
            let Some((last, above)) = path.split_last() else { continue };
            let common = open.iter().zip(above).take_while(|(one, other)| one == other).count();
            self.finish_to(1 + common);
            open = &above[..common];
            let below = |names: &'p [OsString], first: usize| {
                let rest = list.paths()[first..].iter();
                rest.take_while(move |path| path.starts_with(names))
            };
            let mut is_there = true;
            while open.len() < above.len() && is_there {
                let next = self.look_up(&above[open.len()]);
                is_there = next.is_some();
                if !next.is_some_and(|dir| self.enter_unlisted(dir)) {
                    break;
                }
                open = &above[..open.len() + 1];
            }
            if open.len() < above.len() {
                let names = &above[..open.len() + 1];
                settled = Some(names);
                if is_there && self.leaves_out(names) {
                    self.look_for_listed(open.len(), below(names, index));
                }
            } else if let Some(listed) = self.look_up(last)
                && self.found(listed)
            {
                settled = Some(path);
                self.look_for_listed(path.len(), below(path, index + 1));
            }
        }
    }

    /// Whether the filter leaves out a directory, given by its names below the operand.
    fn leaves_out(&self, names: &[OsString]) -> bool {
        let filter = self.scope.filter;
        filter.has_rules()
            && filter.leaves_out(&names.iter().collect::<PathBuf>(), FileType::Directory)
    }

    /// Looks for what is listed below a directory that is left out or copied whole, and that
    /// nothing else looks for: what is not there is told of. `depth` is the number of names of the
    /// level from which the look begins.
    fn look_for_listed<'p>(
        &mut self,
        depth: usize,
        paths: impl Iterator<Item = &'p Vec<OsString>>,
    ) {
        // One that could not be entered was told of.
        let Some(level) = self.levels.get(depth) else { return };
        for path in paths.filter(|path| path.len() > depth) {
            if let Err(error) = level.look_for(&path[depth..], self.scope.follow) {
                self.visitor.failed(error);
            }
        }
    }

    /// A name as a listing of the last level would have it.
    fn look_up(&self, name: &OsStr) -> Option<ListedName> {
        match self.levels.last()?.stat(name) {
            Ok(stat) => {
                let kind = FileType::from_raw_mode(stat.st_mode);
                Some(ListedName { name: name.to_owned(), kind, ino: stat.st_ino })
            }
            Err(error) => {
                self.visitor.failed(error);
                None
            }
        }
    }

    /// Hands out what is left of all levels below the first `depth`.
    fn finish_to(&mut self, depth: usize) {
        while self.levels.len() > depth
            && let Some(level) = self.levels.last_mut()
        {
            if self.visitor.is_stopped() {
                self.ascend();
                continue;
            }
            let next = level.next_name();
            if level.is_listing() {
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
    fn found(&mut self, listed: ListedName) -> bool {
        let Some(SeenKind { kind, followed }) = self.look_at(&listed) else { return false };
        let ListedName { name, ino, .. } = listed;
        let Some(level) = self.levels.last_mut() else { return false };
        let ino = (!followed).then_some(ino);
        if kind == FileType::Directory {
            let dir = Arc::clone(&level.dir);
            let found =
                FoundDir { name: &name, target_name: &name, ino, followed, on_the_way: false };
            self.descend(&dir, found, NamesFrom::Listing);
            return true;
        }
        let kind = EntryKind::of_mode(kind);
        let full = level.push(Entry { name, renamed: None, kind, ino, followed, is_stream: false });
        if let Some(batch) = full {
            self.visitor.batch(batch);
        }
        false
    }

    /// Enters a directory of the last level without listing it. False if that failed or the
    /// directory is left out.
    fn enter_unlisted(&mut self, listed: ListedName) -> bool {
        let Some(SeenKind { kind, followed }) = self.look_at(&listed) else { return false };
        let Some(level) = self.levels.last() else { return false };
        if kind != FileType::Directory {
            let cause = match kind {
                FileType::Symlink => Cause::LinkOnTheWay,
                _ => io::Error::from_raw_os_error(libc::ENOTDIR).into(),
            };
            let path = level.dir.source_path(&listed.name);
            self.visitor.failed(Error::new(Operation::OpenDirectory, path, cause));
            return false;
        }
        let (dir, depth) = (Arc::clone(&level.dir), self.levels.len());
        let ino = (!followed).then_some(listed.ino);
        let found = FoundDir {
            name: &listed.name,
            target_name: &listed.name,
            ino,
            followed,
            on_the_way: false,
        };
        self.descend(&dir, found, NamesFrom::List);
        self.levels.len() > depth
    }

    /// What an entry of the last level is; nothing if it is left out or cannot be looked at.
    fn look_at(&mut self, listed: &ListedName) -> Option<SeenKind> {
        let name = &listed.name;
        let level = self.levels.last()?;
        let known = match listed.kind {
            FileType::Unknown => level.stat(name).map(|stat| FileType::from_raw_mode(stat.st_mode)),
            kind => Ok(kind),
        };
        let seen = match known {
            Ok(FileType::Symlink) if self.scope.follow == Follow::Always => {
                level.kind_behind(name).map(|kind| SeenKind { kind, followed: true })
            }
            known => known.map(|kind| SeenKind { kind, followed: false }),
        };
        let path_bytes = level.path_bytes;
        match seen {
            Ok(seen) => (!self.is_excluded(path_bytes, name, seen.kind)).then_some(seen),
            Err(error) => {
                self.visitor.failed(error);
                None
            }
        }
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
        self.scope.filter.excludes(&self.path, kind)
    }

    /// Reports what is in the destination alone of a directory that was just entered. It asks the
    /// source for each name instead of remembering any.
    fn report_extra(&mut self, dir: &OpenDir) {
        let error =
            |cause| Error::new(Operation::ListDirectory, dir.target_path(OsStr::new("")), cause);
        let mut listing = match Listing::of(&dir.target) {
            Ok(listing) => listing,
            Err(cause) => return self.visitor.failed(error(cause)),
        };
        let path_bytes = self.path.len();
        let mut reached = None;
        while let Some(listed) = listing.next_name() {
            let found = listed.and_then(|listed| {
                let is_extra = fs::stat_at(&dir.source, &listed.name)?.is_none()
                    && !is_reached(dir, &listed.name, &mut reached)?;
                Ok((is_extra, listed))
            });
            match found {
                Ok((true, ListedName { name, kind, .. }))
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

    /// Opens the pair of directories and makes it the last level.
    fn descend(&mut self, parent: &Arc<Dir>, found: FoundDir<'_>, names: NamesFrom) {
        let top = self.levels.first().map(|level| &level.dir);
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
        let names = if is_elsewhere { NamesFrom::List } else { names };
        if names == NamesFrom::Listing && self.scope.extra && !dir.fresh {
            self.report_extra(&dir);
        }
        match Level::new(&dir, names, self.path.len()) {
            Ok(level) => self.levels.push(level),
            Err(error) => {
                self.visitor.failed(error);
                self.visitor.release(Arc::clone(dir.dir()));
            }
        }
        if self.levels.len() - self.remembered > parent.open_dirs().listings_max() {
            let level = &mut self.levels[self.remembered];
            // It may have been remembered before, and opened again.
            self.room_bytes += level.remembered_bytes;
            level.remember(self.room_bytes.min(REMEMBERED_BYTES_MAX));
            self.room_bytes = self.room_bytes.saturating_sub(level.remembered_bytes);
            // While the directory is still open.
            let batch = level.take_batch();
            self.remembered += 1;
            if let Some(batch) = batch {
                self.visitor.batch(batch);
            }
        }
    }

    /// Releases the last directory, whose listing is at its end.
    fn ascend(&mut self) {
        let Some(mut level) = self.levels.pop() else { return };
        self.remembered = self.remembered.min(self.levels.len());
        self.room_bytes += level.remembered_bytes;
        if let Some(batch) = level.take_batch() {
            self.visitor.batch(batch);
        }
        if let Some(open) = level.dir.if_open() {
            Dir::open_parent(&open);
        }
        self.visitor.release(level.dir);
    }
}

/// Whether a name of the destination is another spelling of one of the source's. What those lead to
/// is looked up once.
fn is_reached(dir: &OpenDir, name: &OsStr, reached: &mut Option<Reached>) -> io::Result<bool> {
    if !dir.folds() {
        return Ok(false);
    }
    let known = match reached {
        Some(known) => known,
        None => reached.insert(dir.reached()?),
    };
    dir.is_reached(name, known)
}
