//! Directories of the destination: made, or taken where they stand.

use std::ffi::OsStr;
use std::io;

use crate::fs::call::Mode;
use rustix::io::Errno;

use crate::copy::resume::Resume;
use crate::error::{Error, Operation, Result};
use crate::fs;
use crate::tree::{Counterpart, NameHolder, OpenDir};

/// Makes a directory if there is none. One that stands for another directory of the source already
/// is not merged into.
pub(super) fn make_dir(resume: &Resume<'_>, parent: &OpenDir, name: &OsStr) -> Result<Counterpart> {
    resume.open_up(parent)?;
    let error = |op, cause: io::Error| Error::new(op, parent.target_path(name), cause);
    // No one else may look in until it has its final mode.
    let counterpart = match crate::fs::call::mkdirat(&*parent.target, name, Mode::RWXU) {
        Ok(()) => Counterpart::Made,
        Err(Errno::EXIST) => Counterpart::Found,
        Err(cause) => {
            let cause = fs::why_not_made(&parent.target, cause.into());
            return Err(Error::new(Operation::CreateDirectory, parent.target_path(name), cause));
        }
    };
    if counterpart == Counterpart::Found && parent.fresh {
        match parent.holder(name).map_err(|cause| error(Operation::Stat, cause))? {
            NameHolder::Other(other) => {
                return Err(parent.clash(Operation::CopyDirectory, name, &other));
            }
            NameHolder::Unknown => {
                return Err(error(Operation::CreateDirectory, Errno::EXIST.into()));
            }
            NameHolder::Stranger => {}
        }
    }
    take_dir(parent, name).map(|()| counterpart)
}

/// Takes the name of a directory that stands, for this directory of the source alone.
pub(super) fn take_dir(parent: &OpenDir, name: &OsStr) -> Result<()> {
    if parent.taken_names().is_none() {
        return Ok(());
    }
    let stands = fs::stat_at(&*parent.target, name);
    let other = stands.and_then(|stands| match stands {
        Some(stands) => parent.take_name(name, &stands),
        None => Ok(None),
    });
    match other.map_err(|cause| Error::new(Operation::Stat, parent.target_path(name), cause))? {
        Some(other) => Err(parent.clash(Operation::CopyDirectory, name, &other)),
        None => Ok(()),
    }
}
