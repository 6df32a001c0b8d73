//! What may be done in a directory of the destination, and the rights that its owner has for the
//! time of the work.

use std::ffi::OsStr;
use std::io;

use super::dir::OpenDir;
use crate::error::{Error, Operation, Result};
use crate::fs::{self, OpenedUp};

impl OpenDir {
    /// Whether names could be made in the destination: the answer is the error that they would
    /// meet.
    pub fn foresee_names(&self) -> io::Result<()> {
        match fs::may_make(&self.target) {
            // That is what `open_up` is for.
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
                let is_opened_up =
                    self.parent().is_some() && fs::needs_rights(&self.target, &self.target_stat);
                if is_opened_up { Ok(()) } else { Err(error) }
            }
            other => other,
        }
    }

    /// Whether not even the destination's owner may look names up in it.
    pub fn is_closed(&self) -> bool {
        self.target_stat.st_mode & 0o100 == 0
    }

    /// Gives the owner of a destination that was found all rights, if it is this process's own and
    /// has too few for the work. The end of the directory sets its mode again, which `announce`
    /// hears of before, and may know better.
    pub fn open_up(&self, announce: impl FnOnce() -> u32) -> Result<()> {
        // The folder that an operand goes into is the user's, and no part of the copy.
        let has_rights = self.target_stat.st_mode & fs::ALL_OF_OWNER == fs::ALL_OF_OWNER;
        if has_rights || self.fresh || self.parent().is_none() {
            return Ok(());
        }
        let mut opened_up = self.opened_up();
        if opened_up.is_none() && fs::needs_rights(&self.target, &self.target_stat) {
            let mode = self.target_stat.st_mode & 0o7777 | fs::ALL_OF_OWNER;
            let opened = OpenedUp::new(&self.target, mode, announce());
            *opened_up = Some(opened.map_err(|cause| {
                let path = self.target_path(OsStr::new(""));
                Error::new(Operation::SetMode, path, cause)
            })?);
        }
        Ok(())
    }
}
