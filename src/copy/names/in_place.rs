//! Writing into what stands at a name, instead of replacing it.

use std::ffi::OsStr;
use std::io;

use super::made::Files;
use super::sources::SourceFiles;
use crate::copy::entry::At;
use crate::copy::options::Options;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileId, Numbers, Stands, Stat, Target, WriteAccess};
use crate::tree::{EntryKind, OpenDir};

/// What says whether something is written into, and opens it.
pub struct InPlace<'a> {
    options: &'a Options,
    sources: SourceFiles,
    /// What this run made or wrote, and may meet once more: it has further names, or there are
    /// several operands.
    known: Files,
}

impl<'a> InPlace<'a> {
    pub fn new(options: &'a Options, sources: SourceFiles) -> Self {
        Self { options, sources, known: Files::default() }
    }

    /// Opens what stands at a name to be written into: the file `stood`, and not the source, which
    /// answered `source`. Nothing where a new file has to take the name.
    pub fn open(&self, at: At<'_>, stood: FileId, source: &Stat) -> Result<Option<Target>> {
        let Some(stands) = self.look(at, stood, source)? else { return Ok(None) };
        let access = match self.options.verify {
            true => WriteAccess::ReadAndWrite,
            false => WriteAccess::WriteOnly,
        };
        let opened = stands.open(&at.dir.target, at.target_name(), access);
        opened.map(Some).map_err(|cause| write_error(at, cause))
    }

    /// Looks at what is to be written into. Nothing if it has to be replaced all the same: what has
    /// other names may be a file of SOURCE, or what this run made or wrote.
    pub fn look(&self, at: At<'_>, stood: FileId, source: &Stat) -> Result<Option<Stands>> {
        let error = |cause: Cause| at.target_error(Operation::WriteInto, cause);
        let stands = match Stands::look(&*at.dir.target, at.target_name()) {
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(None),
            stands => stands.map_err(|cause| error(cause.into()))?,
        };
        let id = FileId::of(stands.stat());
        // Elsewhere one file may have two numbers, and two files one.
        let has_own = fs::trust(stands.place()).numbers == Numbers::Own;
        if !stands.is_regular() || (has_own && id != stood) {
            return Err(error(Cause::Swapped));
        }
        if has_own && id == FileId::of(source) {
            return Err(error(Cause::SameFile));
        }
        if has_others(&stands) && self.sources.may_have(&stands) {
            return Ok(None);
        }
        Ok(self.claim(at, &stands).then_some(stands))
    }

    /// Takes a file for the copy of this name alone; false if it is that of another one.
    fn claim(&self, at: At<'_>, stands: &Stands) -> bool {
        let may_be_known = has_others(stands) || self.sources.are_several();
        !may_be_known || self.known.claim(at.dir, at.target_name(), stands.stat())
    }

    /// Takes what an earlier run finished for the copy of this name alone; false if this run has
    /// written into it by another one. What cannot be looked at is not believed to be finished.
    pub fn keep_finished(&self, at: At<'_>) -> bool {
        !self.options.existing.in_place
            || at.entry.kind != EntryKind::File
            || Stands::look(&*at.dir.target, at.target_name())
                .is_ok_and(|stands| self.claim(at, &stands))
    }

    /// Whether something may be written into, for a dry run: the answer is the error that opening
    /// it would meet.
    pub fn foresee(&self, at: At<'_>) -> Result<()> {
        let foreseen = fs::may_write(&at.dir.target, at.target_name());
        foreseen.map_err(|cause| write_error(at, cause))
    }

    /// Whether all that is made has to be remembered.
    pub fn remembers_all(&self) -> bool {
        self.options.existing.in_place && self.sources.are_several()
    }

    /// Remembers what this run made, so that nothing is written into it.
    pub fn keep(&self, dir: &OpenDir, name: &OsStr, stat: &Stat) {
        if self.options.existing.in_place {
            self.known.claim(dir, name, stat);
        }
    }
}

/// Whether a file may be met by another of its names.
fn has_others(stands: &Stands) -> bool {
    stands.stat().st_nlink > 1 || stands.is_mounted()
}

/// Why a file cannot be written into. What could be replaced is told as that.
fn write_error(at: At<'_>, cause: io::Error) -> Error {
    let is_refused = matches!(cause.raw_os_error(), Some(libc::EACCES | libc::ETXTBSY));
    let (dir, name) = (&at.dir.target, at.target_name());
    let may_replace = || fs::may_make(dir).and_then(|()| fs::may_replace(dir, name)).is_ok();
    match is_refused && may_replace() {
        true => at.target_error(Operation::WriteInto, Cause::NotWritten(cause)),
        false => at.target_error(Operation::WriteInto, cause),
    }
}
