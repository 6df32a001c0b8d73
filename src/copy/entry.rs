//! One entry on its way: where it is on both sides, how a failure of it is told, and its source.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::stop::Stop;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{
    self, DirectLook, FileType, Identity, Moment, Name, ReadFrom, Seen, Settled, Stat, Trust,
};
use crate::pipeline::small::read_whole;
use crate::pipeline::{Failure, Side};
use crate::tree::{Entry, EntryKind, OpenDir};
use crate::workers::BUFFER_BYTES;

/// An entry in the pair of open directories that it is copied between.
#[derive(Clone, Copy)]
pub struct At<'a> {
    /// The directories.
    pub dir: &'a OpenDir,
    /// The entry.
    pub entry: &'a Entry,
}

impl<'a> At<'a> {
    pub fn new(dir: &'a OpenDir, entry: &'a Entry) -> Self {
        Self { dir, entry }
    }

    /// Its name in the destination.
    pub fn target_name(self) -> &'a OsStr {
        self.entry.target_name()
    }

    /// Where its source is.
    pub fn source_place(self) -> Name<'a> {
        let Entry { name, followed, .. } = self.entry;
        Name { dir: &self.dir.source, name, is_followed: *followed }
    }

    /// Where its copy is, or something in its place.
    pub fn target_place(self) -> Name<'a> {
        Name { dir: &self.dir.target, name: self.target_name(), is_followed: false }
    }

    /// What the answers of its source are worth, which may lie on another filesystem than its
    /// directory: behind a link, or where a file is mounted.
    pub fn source_trust(self, stat: &Stat) -> Trust {
        let dir = self.dir.source_trust();
        let is_elsewhere = stat.st_dev != self.dir.stat.st_dev;
        let elsewhere = is_elsewhere.then(|| self.open_source_path().ok()).flatten();
        elsewhere.map_or(dir, fs::trust)
    }

    /// What shows which file its open source is, which answered `stat`.
    pub fn identify(self, file: &OwnedFd, stat: &Stat) -> Identity {
        let is_elsewhere = stat.st_dev != self.dir.stat.st_dev;
        let trust = if is_elsewhere { fs::trust(file) } else { self.dir.source_trust() };
        Identity::of(file, stat, trust.numbers)
    }

    /// What shows which file its source is, which answered `stat` and is not open.
    pub fn identify_source(self, stat: &Stat) -> io::Result<Identity> {
        Ok(self.identify(&self.open_source_path()?, stat))
    }

    /// What the answers of what stands at its name are worth.
    pub fn target_trust(self) -> Trust {
        self.dir.target_trust()
    }

    pub fn source_path(self) -> PathBuf {
        self.dir.source_path(&self.entry.name)
    }

    pub fn target_path(self) -> PathBuf {
        self.dir.target_path(self.entry.target_name())
    }

    pub fn source_error(self, op: Operation, cause: impl Into<Cause>) -> Error {
        Error::new(op, self.source_path(), cause)
    }

    pub fn target_error(self, op: Operation, cause: impl Into<Cause>) -> Error {
        Error::new(op, self.target_path(), cause)
    }

    /// Why the copy cannot have its name. What may be written and not replaced is told as that: a
    /// mount point, or a file in a folder that may not be written, or that keeps what is others'.
    pub fn replace_error(self, op: Operation, cause: io::Error) -> Error {
        use crate::fs::call::{Access, AtFlags, accessat};
        let is_refused =
            matches!(cause.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EBUSY));
        let is_file = || {
            self.stat_target().is_ok_and(|stands| {
                stands.is_some_and(|stands| {
                    FileType::from_raw_mode(stands.st_mode) == FileType::RegularFile
                })
            })
        };
        let (dir, name) = (&*self.dir.target, self.target_name());
        let may_write = || accessat(dir, name, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
        match self.entry.kind == EntryKind::File && is_refused && is_file() && may_write() {
            true => self.target_error(op, Cause::OnlyWritten(cause)),
            false => self.target_error(op, fs::why_not_made(dir, cause)),
        }
    }

    /// Why it is not copied where another name of the source is the same name.
    pub fn clash(self, other: &OsStr) -> Error {
        self.dir.clash(Operation::Copy, &self.entry.name, other)
    }

    /// A failure in moving the data, as an error of the file that it happened to.
    pub fn data_error(self, failure: Failure) -> Error {
        let path = match failure.side {
            Side::Source => self.source_path(),
            Side::Target => self.target_path(),
        };
        failure.of(path)
    }

    /// Why it is not copied once the run is to stop.
    pub fn interrupted(self) -> Error {
        self.source_error(Operation::Copy, Cause::Interrupted)
    }

    /// The source, if it is there: of what a link leads to if that is followed.
    pub fn stat_source(self) -> io::Result<Option<Stat>> {
        match self.entry.followed {
            true => fs::stat_behind(&self.dir.source, &self.entry.name),
            false => fs::stat_at(&self.dir.source, &self.entry.name),
        }
    }

    /// The source, and what that look at it is worth.
    pub fn see_source(self) -> io::Result<Option<Seen>> {
        let clock = || self.dir.source_clock();
        Ok(self.stat_source()?.map(|stat| Seen::now(stat, clock)))
    }

    /// What stands at its name in the destination.
    pub fn stat_target(self) -> io::Result<Option<Stat>> {
        fs::stat_at(&*self.dir.target, self.target_name())
    }

    /// Opens a regular file to be read, which has to be the one that was listed.
    pub fn open_source(self, stop: &Stop) -> Result<Source> {
        self.open_source_for(stop, ReadFrom::Anywhere)
    }

    /// Opens a source that is to be read from there, if that can be had.
    pub fn open_source_for(self, stop: &Stop, read_from: ReadFrom) -> Result<Source> {
        let error = |op, cause: Cause| self.source_error(op, cause);
        let opened = open_unleased(stop, || self.open_to_read(read_from));
        let (file, is_direct) = opened.map_err(|cause| match &cause {
            // The listing said that it is a file; a link is never followed, and a socket or a
            // device without a driver has nothing to read.
            Cause::Os(refused)
                if matches!(
                    refused.raw_os_error(),
                    Some(libc::ELOOP | libc::ENXIO | libc::ENODEV)
                ) =>
            {
                error(Operation::Open, Cause::Swapped)
            }
            Cause::Interrupted => self.interrupted(),
            _ => error(Operation::Open, cause),
        })?;
        let stat = fs::stat(&file).map_err(|cause| error(Operation::Stat, cause.into()))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_stream = matches!(kind, FileType::Fifo | FileType::CharacterDevice);
        if !(kind == FileType::RegularFile || (self.entry.is_stream && is_stream))
            || !self.is_as_listed(&file, &stat)
        {
            return Err(error(Operation::Open, Cause::Swapped));
        }
        // What has more names may have to be compared with another file, in memory as it comes;
        // when that is over, it can be read direct.
        let has_names = stat.st_nlink > 1;
        if is_direct && has_names {
            fs::set_direct(&file, false).map_err(|cause| error(Operation::Open, cause.into()))?;
        }
        let clock = || self.dir.clock_of_source(&file, &stat);
        let settled = match kind {
            FileType::RegularFile => Settled::at(&stat, Moment::now(), clock),
            // A stream is read once, and whatever comes.
            _ => Settled::LONG,
        };
        Ok(Source { is_direct: is_direct && !has_names, ..Source::new(file, stat, settled) })
    }

    /// Opens it, and says whether it has `O_DIRECT`.
    fn open_to_read(self, read_from: ReadFrom) -> io::Result<(OwnedFd, bool)> {
        let (dir, name) = (&self.dir.source, &self.entry.name);
        if self.entry.followed {
            return Ok((fs::open_to_read_behind(dir, name)?, false));
        }
        fs::open_to_read_from(read_from, dir, name)
    }

    /// Opens anything but a regular file, which has to be the one that was listed.
    pub fn open_unread_source(self) -> Result<UnreadSource> {
        let file =
            self.open_source_path().map_err(|cause| self.source_error(Operation::Open, cause))?;
        let stat = fs::stat(&file).map_err(|cause| self.source_error(Operation::Stat, cause))?;
        let kind = EntryKind::of_mode(FileType::from_raw_mode(stat.st_mode));
        if kind != self.entry.kind || !self.is_as_listed(&file, &stat) {
            return Err(self.source_error(Operation::Open, Cause::Swapped));
        }
        let seen = Seen::now(stat, || self.dir.clock_of_source(&file, &stat));
        Ok(UnreadSource { file, seen })
    }

    /// Opens a source as a place whose metadata can be reached, and which is never read.
    pub fn open_source_path(self) -> io::Result<OwnedFd> {
        let open = if self.entry.followed { fs::open_path_behind } else { fs::open_path };
        open(&self.dir.source, &self.entry.name)
    }

    /// Whether an open file is the one that the listing named.
    pub fn is_as_listed(self, file: &OwnedFd, stat: &Stat) -> bool {
        self.entry.ino.is_none_or(|ino| fs::is_as_listed(&self.dir.source, file, stat, ino))
    }
}

/// Opens a file without blocking, once no other process holds a lease on it that is in the way; not
/// any more when the run is to stop.
pub fn open_unleased<T>(
    stop: &Stop,
    open: impl Fn() -> io::Result<T>,
) -> std::result::Result<T, Cause> {
    let pause = |moment| {
        stop.sleep_until(moment);
        !stop.is_requested()
    };
    fs::wait_for_lease(open, pause).map_err(|cause| match cause.kind() {
        io::ErrorKind::WouldBlock if stop.is_requested() => Cause::Interrupted,
        _ => cause.into(),
    })
}

/// A source that is reached but never opened for reading.
pub struct UnreadSource {
    pub file: OwnedFd,
    /// The look at it then.
    pub seen: Seen,
}

/// A regular file that was opened to be read.
pub struct Source {
    pub file: Arc<OwnedFd>,
    /// What it answered then.
    pub stat: Stat,
    /// How many bytes it was found to hold, if that was looked at.
    held_bytes: Option<u64>,
    /// What that is worth.
    pub settled: Settled,
    /// It was changed at every look.
    is_restless: bool,
    /// Whether it was opened with `O_DIRECT`.
    pub is_direct: bool,
}

/// Waits until a change of any of these files would show in their times, and looks at them once
/// more. Those that were changed in the last tick of their clock could be changed unseen while they
/// are read. What is changed at every look counts as changed. `sleep` may end early.
pub fn settle<'s>(sources: impl Iterator<Item = &'s mut Source>, sleep: impl Fn(Duration)) {
    /// The kernel's clock goes on tick by tick, of at most this length.
    const TICK: Duration = Duration::from_millis(10);
    const LOOKS_MAX: usize = 2;
    let mut unsettled: Vec<_> = sources.filter(|source| !source.settled.is_settled()).collect();
    let clock = |source: &Source| fs::clock_of(&*source.file);
    let settles_at = |source: &Source| fs::settles_at(&source.stat, Moment::now(), clock(source));
    for _ in 0..LOOKS_MAX {
        unsettled.retain(|source| settles_at(source).is_some());
        let Some(last) = unsettled.iter().filter_map(|source| settles_at(source)).max() else {
            return;
        };
        sleep(Moment::now().until(last) + TICK);
        for source in &mut unsettled {
            // One that cannot be asked any more fails when it has been read.
            if let Ok(stat) = fs::stat(&*source.file) {
                let settled = Settled::at(&stat, Moment::now(), || clock(source));
                (source.stat, source.settled) = (stat, settled);
            }
        }
    }
    for source in unsettled {
        source.is_restless = !source.settled.is_settled();
    }
}

impl Source {
    pub fn new(file: OwnedFd, stat: Stat, settled: Settled) -> Self {
        let (is_restless, is_direct) = (false, false);
        Self { file: Arc::new(file), stat, settled, is_restless, is_direct, held_bytes: None }
    }

    /// The look at it.
    pub fn seen(&self) -> Seen {
        Seen { stat: self.stat, settled: self.settled }
    }

    /// The file's size when it was opened, or what it was [found to hold](Self::measure).
    pub fn size_bytes(&self) -> u64 {
        self.held_bytes.unwrap_or(self.stat.st_size as u64)
    }

    /// Whether the file seems to hold what its size says: it has no byte behind its last one, and,
    /// if `other_bytes` are expected, that one. A file that refuses to be read there, as those of
    /// /sys may, does not.
    pub fn seems_as_stated(&self, other_bytes: u64) -> bool {
        let size_bytes = self.size_bytes();
        let has_byte_at = |offset_bytes| fs::has_byte_at(&self.file, offset_bytes);
        let gets_there = |last_byte| {
            size_bytes == other_bytes || has_byte_at(last_byte).is_ok_and(|has_it| has_it)
        };
        fs::size_is_believed(&self.stat)
            || (has_byte_at(size_bytes).is_ok_and(|more| !more)
                && size_bytes.checked_sub(1).is_none_or(gets_there))
    }

    /// Reads the file to its end, to know how much it holds.
    pub fn measure(&mut self) -> std::result::Result<(), Failure> {
        let failure =
            |offset_bytes, cause: io::Error| Failure::source(Operation::Read, offset_bytes, cause);
        fs::set_direct(&*self.file, false).map_err(|cause| failure(0, cause))?;
        let read = |buffer: &mut [u8], offset_bytes, _| {
            fs::read_at(&self.file, buffer, offset_bytes)
                .map_err(|cause| failure(offset_bytes, cause))
        };
        let buffer = &mut vec![0; BUFFER_BYTES];
        let held_bytes = read_whole(&self.file, &self.stat, buffer, read, |_, _| Ok(()))?;
        self.held_bytes = Some(held_bytes);
        Ok(())
    }

    /// Whether size, modification time and change time are what they were when it was opened. A
    /// name more or less changes the last one too: the copy takes one from it where it replaces
    /// what was a name of this file.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        Ok(self.look_again()?.is_unchanged)
    }

    /// Whether it is [unchanged](Self::is_unchanged), and whether it was opened with `O_DIRECT` for
    /// nothing.
    pub fn look_again(&self) -> io::Result<DirectLook> {
        // A stream changes as it is written.
        if FileType::from_raw_mode(self.stat.st_mode) != FileType::RegularFile {
            return Ok(DirectLook { is_unchanged: true, is_refused: false });
        }
        let look = match self.is_direct {
            true => fs::look_after_direct(&*self.file, &self.stat)?,
            false => {
                let is_unchanged = fs::is_unchanged(&*self.file, &self.stat)?;
                DirectLook { is_unchanged, is_refused: false }
            }
        };
        Ok(DirectLook { is_unchanged: !self.is_restless && look.is_unchanged, ..look })
    }
}
