//! What a worker does with a batch, a link, a small file and a big file, from opening to publishing.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::job::{Failure, Moved, Shape, ZERO_GRAIN_BYTES, next_data_run};
use super::pipeline::{Pipeline, Side, Transfer};
use super::queue::{Queue, Task};
use super::road::{self, Lane};
use super::target::{self, Target};
use super::{Options, Sparse};
use crate::error::{Cause, Error, Result};
use crate::report::{Copied, Event, Road, Sink, Totals};
use crate::sys::fs::{self, FileType, Stat};
use crate::tree::{self, Batch, Dir, Entry, EntryKind, Operand};

/// What a worker reads at once from a small file: it stays in the core's cache between read, hash and write.
const STEP_BYTES: usize = 256 << 10;
/// How much of each small file is asked for ahead: with all workers at once at most 128 MiB.
const READ_AHEAD_BYTES: u64 = 64 << 10;
/// Directories that wait for an fsync at most; whoever adds one more carries them out.
const UNSYNCED_MAX: usize = 256;

/// Everything that the workers share.
pub struct Run<'a> {
    pub options: &'a Options,
    pub sink: &'a dyn Sink,
    pub totals: &'a Totals,
    pub pipeline: &'a Pipeline,
    pub queue: &'a Queue,
    /// What the reported relative paths are relative to.
    pub base: PathBuf,
    /// Finished directories whose names are not durable yet.
    pub unsynced: Mutex<Vec<Arc<Dir>>>,
}

/// A source that was opened and found to be what was listed.
struct Source {
    file: Arc<OwnedFd>,
    stat: Stat,
}

/// A file whose data and metadata are written, but not durable and without its name.
struct Written {
    entry: Entry,
    target: Target,
    moved: Moved,
    size_bytes: u64,
    road: Road,
}

impl Run<'_> {
    /// Takes tasks until there will be no more.
    pub fn work(&self) {
        let mut buffer = vec![0; STEP_BYTES];
        while let Some((task, _busy)) = self.queue.pop() {
            match task {
                Task::Batch(batch) => self.copy_batch(batch, &mut buffer),
                Task::Big(dir, entry) => {
                    match self.copy_big(&dir, entry) {
                        Ok(written) => self.settle(&dir, vec![written]),
                        Err(error) => self.fail(error),
                    }
                    self.release_dir(dir);
                }
            }
        }
    }

    /// Reports a failure.
    pub fn fail(&self, error: Error) {
        Totals::add(&self.totals.failed, 1);
        self.sink.event(Event::Failed(error));
    }

    /// Opens all files of a batch and asks for their data before the first is read: the device then sees many neighbours at
    /// once, which it merges, instead of one request after the other.
    fn copy_batch(&self, batch: Batch, buffer: &mut [u8]) {
        let Batch { dir, entries } = batch;
        let mut small = Vec::with_capacity(entries.len());
        for entry in entries {
            match entry.kind {
                EntryKind::Link => self.copy_link(&dir, &entry).unwrap_or_else(|error| self.fail(error)),
                EntryKind::Special(kind) => {
                    self.fail(Error::new("copy", dir.source_path(&entry.name), Cause::Special(kind)));
                }
                EntryKind::File => match self.open_source(&dir, &entry) {
                    Ok(source) if road::is_small(self.options, source.stat.st_size as u64) => {
                        fs::read_ahead(&*source.file, (source.stat.st_size as u64).min(READ_AHEAD_BYTES));
                        small.push((entry, source));
                    }
                    Ok(_) => {
                        dir.hold();
                        self.queue.push_big(Arc::clone(&dir), entry);
                    }
                    Err(error) => self.fail(error),
                },
            }
        }
        let mut written = Vec::with_capacity(small.len());
        for (entry, source) in small {
            match self.copy_small(&dir, entry, &source, buffer) {
                Ok(file) => written.push(file),
                Err(error) => self.fail(error),
            }
        }
        self.settle(&dir, written);
        self.release_dir(dir);
    }

    fn open_source(&self, dir: &Dir, entry: &Entry) -> Result<Source> {
        let error = |op, cause: Cause| Error::new(op, dir.source_path(&entry.name), cause);
        let file = fs::open_to_read(&dir.source, &entry.name).map_err(|cause| match cause.raw_os_error() {
            // The listing said that it is a file, and a link is never followed.
            Some(libc::ELOOP) => error("open", Cause::Swapped),
            _ => error("open", cause.into()),
        })?;
        let stat = fs::stat(&file).map_err(|cause| error("stat", cause.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(error("open", Cause::Swapped));
        }
        if !dir.fresh {
            let existing = fs::stat_at(&*dir.target, entry.target_name())
                .map_err(|cause| Error::new("stat", dir.target_path(entry.target_name()), cause))?;
            refuse_to_replace(existing.as_ref(), &stat)
                .map_err(|cause| Error::new("replace", dir.target_path(entry.target_name()), cause))?;
        }
        Ok(Source { file: Arc::new(file), stat })
    }

    /// Makes the destination, lets `fill` put the data into it, and gives it the source's metadata.
    fn make_target(
        &self,
        dir: &Dir,
        entry: Entry,
        source: &Source,
        fill: impl FnOnce(&Target) -> Result<(Moved, Road)>,
    ) -> Result<Written> {
        let target_error = |op, cause: io::Error| Error::new(op, dir.target_path(entry.target_name()), cause);
        let target = Target::create(&*dir.target).map_err(|cause| target_error("create", cause))?;
        let filled = fill(&target).and_then(|filled| {
            self.check_unchanged(dir, &entry, source)?;
            tree::set_file_metadata(&**target.file(), &source.stat)
                .map_err(|cause| target_error("set mode and times of", cause))?;
            Ok(filled)
        });
        match filled {
            Ok((moved, road)) => {
                let size_bytes = moved.written_bytes + moved.hole_bytes;
                Ok(Written { entry, target, moved, size_bytes, road })
            }
            Err(error) => {
                if let Err(cause) = target.discard(&*dir.target) {
                    self.fail(target_error("remove the temporary of", cause));
                }
                Err(error)
            }
        }
    }

    fn check_unchanged(&self, dir: &Dir, entry: &Entry, source: &Source) -> Result<()> {
        let error = |cause: Cause| Error::new("copy", dir.source_path(&entry.name), cause);
        let now = fs::stat(&*source.file).map_err(|cause| error(cause.into()))?;
        let key = |s: &Stat| (s.st_size, s.st_mtime, s.st_mtime_nsec, s.st_ctime, s.st_ctime_nsec);
        if key(&now) == key(&source.stat) { Ok(()) } else { Err(error(Cause::SourceChanged)) }
    }

    fn copy_small(&self, dir: &Dir, entry: Entry, source: &Source, buffer: &mut [u8]) -> Result<Written> {
        let name = entry.name.clone();
        let target_name = entry.target_name().to_owned();
        self.make_target(dir, entry, source, |target| {
            let sparse = self.is_sparse(&source.stat);
            let moved = stream(source, target.file(), self.options.hash, sparse, buffer).map_err(|failure| {
                let read = failure.op == "read";
                let path = if read { dir.source_path(&name) } else { dir.target_path(&target_name) };
                Error::new(failure.op, path, failure.cause).at(failure.offset_bytes)
            })?;
            Ok((moved, road::SMALL))
        })
    }

    fn copy_big(&self, dir: &Dir, entry: Entry) -> Result<Written> {
        let source = self.open_source(dir, &entry)?;
        let (name, target_name) = (entry.name.clone(), entry.target_name().to_owned());
        let source_error = |op, cause: Cause| Error::new(op, dir.source_path(&name), cause);
        let target_error = |op, cause: Cause| Error::new(op, dir.target_path(&target_name), cause);
        self.make_target(dir, entry, &source, |target| {
            let size_bytes = source.stat.st_size as u64;
            let mut from = road::source_lane(self.options, &source.file, size_bytes)
                .map_err(|cause| source_error("read", cause))?;
            let mut to =
                road::target_lane(self.options, target.file()).map_err(|cause| target_error("write", cause))?;
            let sparse = self.is_sparse(&source.stat);
            loop {
                self.allocate(target, size_bytes, to, sparse)
                    .map_err(|cause| target_error("allocate space for", cause.into()))?;
                let shape =
                    self.shape(&source, from, to, sparse).map_err(|cause| source_error("seek in", cause.into()))?;
                let source_side = Side { file: Arc::clone(&source.file), direct: from.is_direct() };
                let target_side = Side { file: Arc::clone(target.file()), direct: to.is_direct() };
                match self.pipeline.transfer(Transfer { source: source_side, target: target_side, shape }) {
                    Ok(moved) => {
                        cut(target.file(), size_bytes)
                            .map_err(|cause| target_error("set the size of", cause.into()))?;
                        return Ok((moved, Road { read: from.way, write: to.way }));
                    }
                    Err(failure) if self.may_retry(&failure, from, to) => {
                        (from, to) = road::give_up_direct(&source.file, target.file())
                            .map_err(|cause| source_error("read", cause))?;
                    }
                    Err(Failure { op: "write", offset_bytes, cause }) => {
                        return Err(target_error("write", cause).at(offset_bytes));
                    }
                    Err(Failure { op, offset_bytes, cause }) => {
                        return Err(source_error(op, cause).at(offset_bytes));
                    }
                }
            }
        })
    }

    /// Some filesystems accept `O_DIRECT` and refuse the I/O.
    fn may_retry(&self, failure: &Failure, from: Lane, to: Lane) -> bool {
        let refused = matches!(&failure.cause, Cause::Os(error) if error.raw_os_error() == Some(libc::EINVAL));
        refused && self.options.direct == super::Direct::Auto && (from.is_direct() || to.is_direct())
    }

    fn is_sparse(&self, stat: &Stat) -> bool {
        match self.options.sparse {
            Sparse::Always => true,
            Sparse::Never => false,
            // st_blocks counts 512 bytes whatever the filesystem's block is, see inode(7).
            Sparse::Auto => (stat.st_blocks as u64) * 512 < stat.st_size as u64,
        }
    }

    /// Sets the size first, so that no write extends the file, and takes the space, so that a full disk is known
    /// before a byte is moved. The size is rounded up to what direct writes need; it is cut in the end.
    fn allocate(&self, target: &Target, size_bytes: u64, to: Lane, sparse: bool) -> io::Result<()> {
        let file = &**target.file();
        let rounded = size_bytes.next_multiple_of(to.align_bytes);
        if !sparse && fs::preallocation_helps(file)? {
            return fs::preallocate(file, rounded);
        }
        fs::set_size(file, rounded)
    }

    fn shape(&self, source: &Source, from: Lane, to: Lane, sparse: bool) -> io::Result<Shape> {
        let size_bytes = source.stat.st_size as u64;
        let block_bytes = self.options.block_bytes;
        // Elsewhere everything is read, and the zeros that are found are left out all the same.
        let data_blocks = if sparse && fs::holes_are_believed(&*source.file)? {
            Some(data_blocks(&source.file, size_bytes, block_bytes)?)
        } else {
            None
        };
        Ok(Shape {
            size_bytes,
            block_bytes,
            read_align: from.align_bytes,
            write_align: to.align_bytes,
            hash: self.options.hash,
            sparse,
            data_blocks,
        })
    }

    fn copy_link(&self, dir: &Dir, entry: &Entry) -> Result<()> {
        let source_error = |op, cause: Cause| Error::new(op, dir.source_path(&entry.name), cause);
        let target_error = |op, cause: Cause| Error::new(op, dir.target_path(entry.target_name()), cause);
        let stat = fs::stat_at(&dir.source, &entry.name)
            .and_then(|stat| stat.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
            .map_err(|cause| source_error("stat", cause.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Err(source_error("read link", Cause::Swapped));
        }
        if !dir.fresh {
            let existing =
                fs::stat_at(&*dir.target, entry.target_name()).map_err(|cause| target_error("stat", cause.into()))?;
            // A link over the very file that it leads to would lose the data.
            let behind =
                fs::stat_behind(&dir.source, &entry.name).map_err(|cause| source_error("stat", cause.into()))?;
            refuse_to_replace(existing.as_ref(), &stat)
                .and_then(|()| refuse_to_replace(existing.as_ref(), &behind.unwrap_or(stat)))
                .map_err(|cause| target_error("replace", cause))?;
        }
        let contents = rustix::fs::readlinkat(&dir.source, &entry.name, Vec::new())
            .map_err(|cause| source_error("read link", io::Error::from(cause).into()))?;
        let times = |name: &OsStr| tree::set_link_times(&*dir.target, name, &stat);
        target::publish_link(&*dir.target, entry.target_name(), &contents, !dir.fresh, times)
            .map_err(|cause| target_error("create link", cause.into()))?;
        Totals::add(&self.totals.links, 1);
        Ok(())
    }

    /// Makes written files durable and gives them their names. A failed fsync is final for a file: the kernel has
    /// marked its pages clean, so that a second one would find nothing wrong.
    fn settle(&self, dir: &Dir, written: Vec<Written>) {
        let synced = self.sync(written.iter().map(|file| Arc::clone(file.target.file())).collect());
        for (file, synced) in written.into_iter().zip(synced) {
            let Written { entry, target, moved, size_bytes, road } = file;
            let error = |op, cause: io::Error| Error::new(op, dir.target_path(entry.target_name()), cause);
            if let Err(cause) = synced {
                self.fail(error("fsync", cause));
                if let Err(cause) = target.discard(&*dir.target) {
                    self.fail(error("remove the temporary of", cause));
                }
                continue;
            }
            match target.publish(&*dir.target, entry.target_name(), !dir.fresh) {
                Ok(()) => self.report(dir, &entry, moved, size_bytes, road),
                Err(cause) => self.fail(error("publish", cause)),
            }
        }
    }

    fn report(&self, dir: &Dir, entry: &Entry, moved: Moved, size_bytes: u64, road: Road) {
        Totals::add(&self.totals.files, 1);
        Totals::add(&self.totals.written_bytes, moved.written_bytes);
        Totals::add(&self.totals.hole_bytes, moved.hole_bytes);
        if road.write == crate::report::Way::Direct {
            Totals::add(&self.totals.direct_files, 1);
        }
        if self.sink.wants_files() {
            let target = dir.target_path(entry.target_name());
            let relative = target.strip_prefix(&self.base).unwrap_or(&target).to_owned();
            let source = dir.source_path(&entry.name);
            self.sink.event(Event::Copied(Copied { source, target, relative, size_bytes, hash: moved.hash, road }));
        }
    }

    /// Fsyncs the files, and with them the directories that wait for it.
    fn sync(&self, mut files: Vec<Arc<OwnedFd>>) -> Vec<io::Result<()>> {
        let count = files.len();
        if !self.options.sync {
            return files.iter().map(|_| Ok(())).collect();
        }
        let dirs = std::mem::take(&mut *self.unsynced.lock().unwrap_or_else(PoisonError::into_inner));
        files.extend(dirs.iter().map(|dir| Arc::clone(&dir.target)));
        let mut results = self.pipeline.sync(files);
        for (dir, result) in dirs.iter().zip(results.drain(count..)) {
            match result {
                // EINVAL: a filesystem on which directories cannot be synced, see fsync(2); there is no more to be had.
                Err(cause) if cause.raw_os_error() != Some(libc::EINVAL) => {
                    self.fail(Error::new("fsync directory", dir.target_path(OsStr::new("")), cause));
                }
                _ => {}
            }
        }
        results
    }

    /// Makes the names of all finished directories durable.
    pub fn sync_all_dirs(&self) {
        self.sync(Vec::new());
    }

    /// Lets go of a directory; the last one to do so finishes it, and then lets go of its parent.
    pub fn release_dir(&self, mut dir: Arc<Dir>) {
        while dir.release() {
            if let Operand::Child { stat, .. } = &dir.operand
                && let Err(cause) = tree::set_dir_metadata(&*dir.target, stat)
            {
                self.fail(Error::new("set mode and times of", dir.target_path(OsStr::new("")), cause));
            }
            let parent = dir.parent().map(Arc::clone);
            let waiting = {
                let mut unsynced = self.unsynced.lock().unwrap_or_else(PoisonError::into_inner);
                unsynced.push(dir);
                unsynced.len()
            };
            if waiting >= UNSYNCED_MAX {
                self.sync_all_dirs();
            }
            match parent {
                Some(parent) => dir = parent,
                None => return,
            }
        }
    }
}

/// A file replaces files and links, but not itself, and nothing that is more than its contents.
fn refuse_to_replace(existing: Option<&Stat>, source: &Stat) -> std::result::Result<(), Cause> {
    let Some(existing) = existing else { return Ok(()) };
    if fs::same_file(existing, source) {
        return Err(Cause::SameFile);
    }
    let kind = FileType::from_raw_mode(existing.st_mode);
    match (kind, EntryKind::of_mode(kind)) {
        (FileType::Directory, _) => Err(Cause::DirectoryInTheWay),
        (_, EntryKind::Special(kind)) => Err(Cause::SpecialInTheWay(kind)),
        _ => Ok(()),
    }
}

/// Gives a file its exact size, after it was allocated in whole blocks.
fn cut(file: &OwnedFd, size_bytes: u64) -> io::Result<()> {
    if fs::stat(file)?.st_size as u64 == size_bytes { Ok(()) } else { fs::set_size(file, size_bytes) }
}

/// Which blocks of a file hold data, a bit a block. A terabyte in blocks of 1 MiB takes 128 KiB.
fn data_blocks(file: &OwnedFd, size_bytes: u64, block_bytes: u64) -> io::Result<Vec<u64>> {
    let count = size_bytes.div_ceil(block_bytes);
    let mut bits = vec![0; count.div_ceil(64) as usize];
    let mut from = 0;
    while from < size_bytes {
        let Some((start, end)) = fs::next_data(file, from)? else { break };
        for block in start / block_bytes..end.min(size_bytes).div_ceil(block_bytes) {
            bits[(block / 64) as usize] |= 1u64 << (block % 64);
        }
        // The next data that matters is in a block that is not marked yet.
        from = end.next_multiple_of(block_bytes);
    }
    Ok(bits)
}

/// Copies a file through the page cache from its start to its end, hashing in between.
fn stream(
    source: &Source,
    target: &OwnedFd,
    hash: bool,
    sparse: bool,
    buffer: &mut [u8],
) -> std::result::Result<Moved, Failure> {
    let fail = |op, offset_bytes, cause: Cause| Failure { op, offset_bytes, cause };
    let mut hasher = hash.then(blake3::Hasher::new);
    let (mut offset, mut written_bytes) = (0u64, 0u64);
    let size_bytes = source.stat.st_size as u64;
    loop {
        // One byte more than is left sees the end of the file in the same call, and that it grew.
        let want = usize::try_from(size_bytes.saturating_sub(offset) + 1).unwrap_or(usize::MAX);
        let want = if size_bytes == 0 { buffer.len() } else { want.min(buffer.len()) };
        let count = rustix::io::retry_on_intr(|| rustix::io::pread(&*source.file, &mut buffer[..want], offset))
            .map_err(|cause| fail("read", offset, io::Error::from(cause).into()))?;
        if count == 0 {
            break;
        }
        let bytes = &buffer[..count];
        if let Some(hasher) = &mut hasher {
            hasher.update(bytes);
        }
        let mut done = 0;
        while let Some(run) =
            if sparse { next_data_run(bytes, done, ZERO_GRAIN_BYTES) } else { (done < count).then_some(done..count) }
        {
            write_all(target, &bytes[run.clone()], offset + run.start as u64)
                .map_err(|(at, cause)| fail("write", at, cause.into()))?;
            written_bytes += run.len() as u64;
            done = run.end;
        }
        offset += count as u64;
        // Files in /proc and the like say 0 and are read until they end; others end where they said, or have changed.
        if size_bytes != 0 && (offset > size_bytes || (offset == size_bytes && count < want)) {
            break;
        }
    }
    if offset != size_bytes && size_bytes != 0 {
        return Err(fail("read", offset, Cause::SourceChanged));
    }
    if written_bytes < offset {
        fs::set_size(target, offset).map_err(|cause| fail("write", offset, cause.into()))?;
    }
    let hash = hasher.map(|hasher| *hasher.finalize().as_bytes());
    Ok(Moved { hash, written_bytes, hole_bytes: offset - written_bytes })
}

/// pwrite(2) until all is written.
fn write_all(file: &OwnedFd, bytes: &[u8], offset_bytes: u64) -> std::result::Result<(), (u64, io::Error)> {
    let mut done = 0;
    while done < bytes.len() {
        let at = offset_bytes + done as u64;
        match rustix::io::retry_on_intr(|| rustix::io::pwrite(file, &bytes[done..], at)) {
            Ok(0) => return Err((at, io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) => return Err((at, error.into())),
        }
    }
    Ok(())
}
