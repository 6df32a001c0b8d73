//! Opening a directory of the source together with its counterpart.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::dir::{ChildPair, Counterpart, Dir, OpenDir};
use super::visitor::{Follow, Scope, Visitor};
use crate::error::{Cause, Error, Operation};
use crate::fs::{self, Stat};

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
}

/// Opens the directory `name` of the source, also through a link, and its counterpart of the same
/// name. The caller has one hold on the pair.
pub fn enter(
    parent: &Arc<Dir>,
    name: &OsStr,
    scope: &Scope<'_>,
    visitor: &impl Visitor,
) -> Result<Option<OpenDir>, Error> {
    let found = FoundDir { name, target_name: name, ino: None, followed: true };
    open_pair(&parent.open()?, found, None, scope, visitor)
}

/// Opens a directory of the source and its counterpart. `top` is the first pair of this walk.
pub fn open_pair(
    parent: &OpenDir,
    found: FoundDir<'_>,
    top: Option<&Dir>,
    scope: &Scope<'_>,
    visitor: &impl Visitor,
) -> Result<Option<OpenDir>, Error> {
    let FoundDir { name, target_name, followed, .. } = found;
    let target_error = |op, cause: Cause| Error::new(op, parent.target_path(target_name), cause);

    let (source, stat) = open_source(parent, found)?;
    refuse_endless(parent, name, &stat, top, scope.follow)?;
    let Some(counterpart) = visitor.counterpart(parent, target_name)? else { return Ok(None) };
    let target = open_target(parent, target_name, counterpart)?;
    if counterpart == Counterpart::Found
        && fs::same_file(
            &stat,
            &fs::stat(&target).map_err(|error| target_error(Operation::Stat, error.into()))?,
        )
    {
        return Err(target_error(Operation::CopyDirectoryTo, Cause::SameFile));
    }
    let pair = ChildPair {
        source,
        source_name: name.to_owned(),
        followed,
        stat,
        target,
        target_name: target_name.to_owned(),
        counterpart,
    };
    Dir::child(parent.dir(), pair)
        .map(Some)
        .map_err(|error| target_error(Operation::Stat, error.into()))
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
            .map_err(|cause| error(Operation::Stat, cause.into()))?
    {
        return Err(error(Operation::OpenDirectory, Cause::Swapped));
    }
    Ok((source, stat))
}

/// Refuses a directory of the source in which the walk would never end.
fn refuse_endless(
    parent: &OpenDir,
    name: &OsStr,
    stat: &Stat,
    top: Option<&Dir>,
    follow: Follow,
) -> Result<(), Error> {
    let refuse =
        |cause: Cause| Err(Error::new(Operation::CopyDirectory, parent.source_path(name), cause));
    // A bind mount can lead back into the destination of this walk.
    if let Some(top) = top
        && !top.planned
        && top.is_target(stat)
    {
        return refuse(Cause::IntoItself(top.source_path(OsStr::new(""))));
    }
    // Only through followed links can a directory stand below itself.
    let mut above = Some(parent.dir()).filter(|_| follow == Follow::Always);
    while let Some(dir) = above.filter(|dir| dir.parent().is_some()) {
        if fs::same_file(&dir.stat, stat) {
            return refuse(Cause::Cycle);
        }
        above = dir.parent();
    }
    Ok(())
}

/// Opens the counterpart. The parent stands in the place of one that is only planned.
fn open_target(parent: &OpenDir, name: &OsStr, counterpart: Counterpart) -> Result<OwnedFd, Error> {
    let error = |op, cause: Cause| Error::new(op, parent.target_path(name), cause);
    let target = match counterpart {
        Counterpart::Planned => parent.target.try_clone(),
        Counterpart::Found | Counterpart::Made => fs::open_dir(&*parent.target, name),
    };
    target.map_err(|cause| match cause.raw_os_error() {
        Some(libc::ENOTDIR | libc::ELOOP) => error(Operation::CreateDirectory, Cause::FileInTheWay),
        _ => error(Operation::OpenDirectory, cause.into()),
    })
}
