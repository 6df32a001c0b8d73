//! Before anything is copied into a directory, what an earlier run left there goes, but for what is
//! gone on with.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use super::file::Journal;
use super::known::temporary_number;
use super::leftovers::{leftovers, unlink_leaving_times};
use super::session::Resume;
use crate::copy::options::Action;
use crate::error::{Error, Operation};
use crate::fs::{self, FileType, Stat, Target};
use crate::tree::OpenDir;

impl Resume<'_> {
    /// Sees to what an earlier run left in a directory. Nothing may have been copied into it yet.
    pub fn tidy(&self, dir: &OpenDir) {
        let Some(journal) = &self.journal else { return };
        // The folder of an operand may have any number of names that have nothing to do with it.
        let is_foreign = dir.parent().is_none() && !journal.has_predecessor();
        let is_left_alone = self.options.dry_run || self.options.action != Action::Copy;
        if is_left_alone || is_foreign || dir.fresh || self.is_finished_dir(dir) {
            return;
        }
        let path = dir.target_path(OsStr::new(""));
        let found = match leftovers(&dir.target, journal.mark()) {
            Ok(found) => found,
            // What may not be listed is gone without.
            Err(cause) if cause.raw_os_error() == Some(libc::EACCES) => return,
            Err(cause) => {
                return self.events.warn(Error::new(Operation::ListDirectory, path, cause));
            }
        };
        // Another operand of this run may be copied into the same folder by now.
        for (name, stat) in found.into_iter().filter(|(name, _)| !journal.mark().is_new(name)) {
            if let Err(cause) = see_to(journal, dir, &path, (&name, &stat)) {
                let path = path.join(&name);
                self.events.warn(Error::new(Operation::RemoveTemporary, path, cause));
            }
        }
    }
}

/// Keeps what is half-copied, and removes all else. What is kept stands in the way of no entry of
/// the source.
fn see_to(
    journal: &Journal,
    dir: &OpenDir,
    path: &Path,
    (name, stat): (&OsString, &Stat),
) -> io::Result<()> {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    let number = temporary_number(stat, name, dir.target_trust()).filter(|_| is_file);
    let Some(number) = number.filter(|&number| journal.keep_half(path, number, name)) else {
        return unlink_leaving_times(&dir.target, name, stat);
    };
    if fs::stat_at(&dir.source, name)?.is_none() {
        return Ok(());
    }
    let new = Target::hide_again(&dir.target, name, stat, journal.mark())?;
    journal.keep_half(path, number, &new);
    Ok(())
}
