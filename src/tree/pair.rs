//! Opening a directory of the source together with its counterpart.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::dir::{ChildPair, Counterpart, Dir, OpenDir};
use super::visitor::{Follow, Scope, Visitor};
use crate::error::{Cause, Error, Operation};
use crate::fs::{self, FileId, Moment, Sameness, Stat};

/// A directory of the source and how it was found.
#[derive(Clone, Copy)]
pub struct FoundDir<'a> {
    /// Its name in the source.
    pub name: &'a OsStr,
    /// Its name in the destination.
    pub target_name: &'a OsStr,
    /// Its inode number, if a listing gave it.
    pub ino: Option<u64>,
    /// The name is a symbolic link to the directory.
    pub followed: bool,
    /// It is on the way to an operand, and others may take the same way.
    pub on_the_way: bool,
}

/// Opens the directory `name` of the source, also through a link, and its counterpart of the same
/// name. The caller has one hold on the pair.
pub fn enter(
    parent: &Arc<Dir>,
    name: &OsStr,
    scope: &Scope<'_>,
    visitor: &impl Visitor,
) -> Result<Option<OpenDir>, Error> {
    let found = FoundDir { name, target_name: name, ino: None, followed: true, on_the_way: true };
    open_pair(&parent.open()?, found, None, scope, visitor)
}

/// Opens a directory of the source and its counterpart. `top` is the first pair of this walk.
pub fn open_pair(
    parent: &OpenDir,
    found: FoundDir<'_>,
    top: Option<&Arc<Dir>>,
    scope: &Scope<'_>,
    visitor: &impl Visitor,
) -> Result<Option<OpenDir>, Error> {
    let FoundDir { name, target_name, followed, on_the_way, .. } = found;
    let target_error = |op, cause: Cause| Error::new(op, parent.target_path(target_name), cause);

    let (source, stat) = open_source(parent, found)?;
    if let Some(cause) = leads_back(parent, &source, &stat, top, scope.follow)? {
        let path = parent.source_path(name);
        return Err(Error::new(Operation::CopyDirectory, path, cause));
    }
    let before = Moment::now();
    let Some(counterpart) = visitor.counterpart(parent, target_name)? else { return Ok(None) };
    let (target, target_stat) = open_target(parent, target_name, counterpart, before)?;
    let is_source = || {
        let has_its_numbers = FileId::of(&target_stat) == FileId::of(&stat);
        // In doubt it is gone into: each file is looked at before it is replaced.
        Ok(has_its_numbers && fs::compare(&source, &target)?.is_likely())
    };
    if counterpart == Counterpart::Found
        && is_source().map_err(|error: io::Error| target_error(Operation::Stat, error.into()))?
    {
        return Err(target_error(Operation::CopyDirectoryTo, Cause::SameFile));
    }
    let pair = ChildPair {
        source,
        source_name: name.to_owned(),
        followed,
        on_the_way,
        stat,
        target,
        target_name: target_name.to_owned(),
        target_stat,
        counterpart,
    };
    Ok(Some(Dir::child(parent.dir(), pair)))
}

/// Opens the directory of the source, which has to be the one that was listed.
fn open_source(parent: &OpenDir, found: FoundDir<'_>) -> Result<(OwnedFd, Stat), Error> {
    let FoundDir { name, ino, followed, .. } = found;
    let error = |op, cause: Cause| Error::new(op, parent.source_path(name), cause);
    let open = if followed { fs::open_dir_behind } else { fs::open_dir };
    let source = open(&parent.source, name).map_err(|cause| match cause.raw_os_error() {
        Some(libc::ENOTDIR | libc::ELOOP) if !followed => {
            error(Operation::OpenDirectory, Cause::Swapped)
        }
        _ => error(Operation::OpenDirectory, cause.into()),
    })?;
    let stat = fs::stat(&source).map_err(|cause| error(Operation::Stat, cause.into()))?;
    if let Some(ino) = ino
        && !fs::is_as_listed(&parent.source, &source, &stat, ino)
    {
        return Err(error(Operation::OpenDirectory, Cause::Swapped));
    }
    Ok((source, stat))
}

/// Why the walk would never end in a directory of the source, if nothing shows that it would.
fn leads_back(
    parent: &OpenDir,
    source: &OwnedFd,
    stat: &Stat,
    top: Option<&Arc<Dir>>,
    follow: Follow,
) -> Result<Option<Cause>, Error> {
    let id = FileId::of(stat);
    let is_it = |dir: &Arc<Dir>, side: fn(&OpenDir) -> &OwnedFd| {
        let sameness = fs::compare(side(&dir.open()?), source);
        sameness
            .map(|sameness| sameness != Sameness::Different)
            .map_err(|cause| Error::new(Operation::Stat, dir.source_path(OsStr::new("")), cause))
    };
    // A bind mount can lead back into the destination of this walk.
    let top = top.filter(|top| !top.planned && FileId::of(&top.target_stat) == id);
    if let Some(top) = top
        && is_it(top, |open| &open.target)?
    {
        return Ok(Some(Cause::IntoItself(top.source_path(OsStr::new("")))));
    }
    // Only through followed links can a directory stand below itself.
    let mut above = Some(parent.dir()).filter(|_| follow == Follow::Always);
    while let Some(dir) = above.filter(|dir| dir.parent().is_some()) {
        if FileId::of(&dir.stat) == id && is_it(dir, |open| &open.source)? {
            return Ok(Some(Cause::Cycle));
        }
        above = dir.parent();
    }
    Ok(None)
}

/// Opens the counterpart, which was not made `before` that moment if it is new. The parent stands
/// in the place of one that is only planned.
///
/// Between its making and its opening, one who may write into the parent can put another directory
/// in its place: what was made is looked at before anything is trusted to it.
fn open_target(
    parent: &OpenDir,
    name: &OsStr,
    counterpart: Counterpart,
    before: Moment,
) -> Result<(Arc<OwnedFd>, Stat), Error> {
    let error = |op, cause: Cause| Error::new(op, parent.target_path(name), cause);
    let open_error = |cause: io::Error| match cause.raw_os_error() {
        Some(libc::ENOTDIR | libc::ELOOP) => error(Operation::CreateDirectory, Cause::FileInTheWay),
        _ => error(Operation::OpenDirectory, cause.into()),
    };
    if counterpart == Counterpart::Planned {
        return Ok((Arc::clone(&parent.target), parent.target_stat));
    }
    let mut target = fs::open_dir_to_fill(&*parent.target, name).map_err(open_error)?;
    let stat_error = |cause: io::Error| error(Operation::Stat, cause.into());
    let stat = fs::stat(&target).map_err(stat_error)?;
    if counterpart == Counterpart::Made {
        target = fs::give_owner_all(target, &stat).map_err(open_error)?;
    }
    let target = Arc::new(target);
    if counterpart == Counterpart::Made
        && !fs::is_new_and_own(&target, &stat, before).map_err(open_error)?
    {
        return Err(error(Operation::CreateDirectory, Cause::Exchanged));
    }
    Ok((target, stat))
}
