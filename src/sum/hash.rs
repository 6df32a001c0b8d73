//! Hashes many files at once: small ones by workers, big ones block by block through the pipeline.
//!
//! Whoever feeds it hands in [`Item`]s; each comes back through `done` with its output or its
//! error, in any order.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::fs::{CWD, Mode, OFlags};

use super::algorithm::Function;
use crate::digest::Output;
use crate::error::{Cause, Error, Operation, Result, SpecialKind};
use crate::fs::{self, FileType, Stat};
use crate::pipeline::route::{self, Access, DirectMode};
use crate::pipeline::small::read_whole;
use crate::pipeline::{
    BatchFile, BatchWay, Endpoint, EngineKind, Failure, Limits, Pipeline, Progress, Shape, Started,
    Traffic, Transfer,
};
use crate::report::{Totals, Way};
use crate::tree::{EntryKind, Folder};
use crate::workers::{Work, Workers};

/// Files that one worker takes at once: their data is asked for before the first is read.
const BATCH_ITEMS: usize = 64;
/// Batches that wait at most; then the feeder does.
const BATCHES_MAX: usize = 64;
/// How to hash.
#[derive(Clone, Debug)]
pub struct Options {
    /// Direct I/O.
    pub direct: DirectMode,
    /// Blocks in flight.
    pub queue_depth: usize,
    /// Bytes a block: a power of two, at least 4096.
    pub block_bytes: u64,
    /// Workers.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { direct: DirectMode::Auto, queue_depth: 32, block_bytes: 1 << 20, threads: 32 }
    }
}

/// Where a file is.
#[derive(Clone)]
pub enum Place {
    /// Standard input.
    Stdin,
    /// What the user named: anything that can be read, links followed.
    Named(PathBuf),
    /// What a manifest names: a regular file, links followed.
    Listed(PathBuf),
    /// What a manifest names, found beneath a directory, out of which no link leads.
    Beneath(Arc<OwnedFd>, PathBuf),
    /// A file that a walk met.
    In(Arc<Folder>, OsString),
}

impl Place {
    /// The path as the user would write it.
    pub fn path(&self) -> PathBuf {
        match self {
            Self::Stdin => "-".into(),
            Self::Named(path) | Self::Listed(path) | Self::Beneath(_, path) => path.clone(),
            Self::In(dir, name) => dir.path.join(name),
        }
    }

    /// Whether it has no offsets, and may keep its reader waiting. What cannot be looked at cannot
    /// be opened either, and that is told then.
    fn is_stream(&self) -> bool {
        match self {
            Self::Stdin => true,
            Self::Named(path) => {
                path.metadata().is_ok_and(|stat| !stat.is_file() && !stat.is_dir())
            }
            _ => false,
        }
    }

    fn open_stream(&self) -> io::Result<File> {
        match self {
            Self::Stdin => Ok(io::stdin().as_fd().try_clone_to_owned()?.into()),
            place => File::open(place.path()),
        }
    }

    /// Opens what should be a regular file. A FIFO is not waited for, and the access time is left
    /// alone where that is allowed.
    fn open_file(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match self {
            Self::Stdin => unreachable!("standard input is a stream"),
            Self::Named(path) | Self::Listed(path) => {
                match rustix::fs::openat(CWD, path, flags | OFlags::NOATIME, Mode::empty()) {
                    // Only a file's owner may read it without a trace.
                    Err(rustix::io::Errno::PERM) => {
                        Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
                    }
                    other => Ok(other?),
                }
            }
            Self::Beneath(root, path) => fs::open_path_beneath(root, path, flags),
            Self::In(dir, name) => fs::open_to_read(&dir.file, name),
        }
    }
}

/// A file to be hashed, and what its owner needs to know it again.
pub struct Item<T> {
    /// Where it is.
    pub place: Place,
    /// The hash that is wanted.
    pub function: Function,
    /// Comes back with the result.
    pub ticket: T,
}

/// A file's hash, and the way that its data took.
#[derive(Debug)]
pub struct Hashed {
    /// The hash.
    pub output: Output,
    /// Direct or buffered.
    pub way: Way,
}

/// Who takes the results, from many threads; it may block them.
pub trait Done<T>: Sync {
    /// One file is over.
    fn done(&self, place: Place, ticket: T, result: Result<Hashed>);
    /// Kernel AIO is not to be had, for this reason; threads do its work.
    fn no_kernel_aio(&self, reason: &str);
    /// A worker panicked, and some files will never be done. The panic gets out of [`run`] when the
    /// feeding is over.
    fn panicked(&self);
}

/// Tells of a panic while it unwinds.
struct Watch<'a, T>(&'a dyn Done<T>);

impl<T> Drop for Watch<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.panicked();
        }
    }
}

/// The way in, for one thread.
pub struct Feeder<'a, T> {
    batch: Vec<Item<T>>,
    batch_items: usize,
    batches: Sender<Vec<Item<T>>>,
    totals: &'a Totals,
}

impl<T> Feeder<'_, T> {
    /// Takes a file; blocks while too many wait.
    pub fn push(&mut self, item: Item<T>) {
        Totals::add(&self.totals.listed, 1);
        self.batch.push(item);
        if self.batch.len() == self.batch_items {
            self.flush();
        }
    }

    /// Hands out what was taken, without waiting for a batch to be full.
    pub fn flush(&mut self) {
        if !self.batch.is_empty() {
            // Without workers, which only a panic ends early, nothing is left to be done; the panic
            // gets out when they are joined.
            drop(self.batches.send(std::mem::take(&mut self.batch)));
        }
    }
}

/// Hashes what `feed` pushes, and blocks until all of it is done; `totals` says meanwhile how far
/// it is. The error is for what kept it from beginning: threads or descriptors.
pub fn run<T: Send, R>(
    options: &Options,
    totals: &Totals,
    done: &dyn Done<T>,
    feed: impl FnOnce(&mut Feeder<T>) -> R,
) -> io::Result<R> {
    let block_bytes = usize::try_from(options.block_bytes).unwrap_or(usize::MAX);
    let limits = Limits { queue_depth: options.queue_depth, block_bytes };
    let traffic = Traffic { meter: Arc::clone(&totals.meter), pace: None };
    let pipeline =
        Pipeline::start(limits, EngineKind::Auto, traffic, |reason| done.no_kernel_aio(reason))?;
    let (batches, inbox) = bounded(BATCHES_MAX);
    let (workers, batch_items) = shares(options);
    let mut feeder = Feeder { batch: Vec::new(), batch_items, batches, totals };
    let workers = Workers::new("aiosum", workers, Arc::clone(&totals.meter));
    std::thread::scope(|scope| {
        workers.hire(scope, Worker { options, totals, pipeline: &pipeline, done, inbox })?;
        let fed = feed(&mut feeder);
        feeder.flush();
        drop(feeder);
        totals.walked.store(true, Ordering::Release);
        Ok(fed)
    })
}

/// As many workers as asked for, and how many files each may open at once: together not more than
/// half of what the process may have. The other half is for directories.
fn shares(options: &Options) -> (usize, usize) {
    let half = fs::open_files_limit().map_or(u64::MAX, |limit| limit / 2);
    let half = usize::try_from(half).unwrap_or(usize::MAX);
    (options.threads.min(half / BATCH_ITEMS).max(1), BATCH_ITEMS.min(half).max(1))
}

struct Worker<'a, T> {
    options: &'a Options,
    totals: &'a Totals,
    pipeline: &'a Pipeline<'a>,
    done: &'a dyn Done<T>,
    inbox: Receiver<Vec<Item<T>>>,
}

impl<T> Clone for Worker<'_, T> {
    fn clone(&self) -> Self {
        let Self { options, totals, pipeline, done, ref inbox } = *self;
        Self { options, totals, pipeline, done, inbox: inbox.clone() }
    }
}

impl<T: Send> Work for Worker<'_, T> {
    type Task = Vec<Item<T>>;

    fn take(&self) -> Option<Self::Task> {
        self.inbox.recv().ok()
    }

    fn carry_out(&self, batch: Self::Task, buffer: &mut [u8]) {
        let _watch = Watch(self.done);
        self.hash_batch(batch, buffer);
    }
}

/// A file that was opened.
struct Opened<T> {
    item: Item<T>,
    file: Arc<OwnedFd>,
    stat: Stat,
    /// Of its bytes those that are counted as handled already.
    handled_bytes: Arc<AtomicU64>,
}

impl<T> Opened<T> {
    fn size_bytes(&self) -> u64 {
        self.stat.st_size as u64
    }

    fn error(&self, op: Operation, cause: impl Into<Cause>) -> Error {
        Error::new(op, self.item.place.path(), cause)
    }
}

impl<T> Worker<'_, T> {
    /// Opens all files, gives the big ones to the pipeline, and then reads the small ones, together
    /// or with their data asked for before: many neighbours are few requests for the device.
    fn hash_batch(&self, batch: Vec<Item<T>>, buffer: &mut [u8]) {
        let (mut small, mut big, mut streams) =
            (Vec::with_capacity(batch.len()), Vec::new(), Vec::new());
        for item in batch {
            if item.place.is_stream() {
                streams.push(item);
                continue;
            }
            match open(&item.place) {
                Err(error) => {
                    self.done.done(item.place, item.ticket, Err(error));
                    Totals::add(&self.totals.met, 1);
                }
                Ok((file, stat)) => {
                    let opened =
                        Opened { item, file: Arc::new(file), stat, handled_bytes: Arc::default() };
                    Totals::add(&self.totals.found_bytes, opened.size_bytes());
                    Totals::add(&self.totals.met, 1);
                    if route::is_small(self.options.direct, opened.size_bytes()) {
                        let Options { direct, .. } = *self.options;
                        let (file, size_bytes) = (&opened.file, opened.size_bytes());
                        let access = route::small_source_access(
                            direct,
                            self.pipeline.merges(),
                            file,
                            size_bytes,
                        );
                        small.push((opened, access));
                    } else {
                        let started = self.start_big(&opened);
                        big.push((opened, started));
                    }
                }
            }
        }
        self.pipeline.read_batch(small, describe, |(opened, _), contents| {
            let result = match contents {
                Ok(contents) => {
                    let way = if contents.is_some() { Way::Direct } else { route::SMALL.read };
                    let output = hash_small(&opened, contents, buffer);
                    output.map(|output| Hashed { output, way })
                }
                Err(failure) => Err(read_error(&opened, failure)),
            };
            self.over(opened, result);
        });
        for (opened, started) in big {
            let result = self.finish_big(&opened, started);
            self.over(opened, result);
        }
        // Each is opened when the one before it has ended: whoever writes into two FIFOs may do so
        // one after the other.
        for item in streams {
            let way = Way::Buffered("not a regular file");
            let result = self.hash_stream(&item, buffer).map(|output| Hashed { output, way });
            // Nobody knows how much comes, so that nothing is known to be found before it has
            // ended.
            Totals::add(&self.totals.met, 1);
            Totals::add(&self.totals.files, result.is_ok().into());
            self.done.done(item.place, item.ticket, result);
        }
    }

    /// A file that was opened is done with, whatever came of it.
    fn over(&self, opened: Opened<T>, result: Result<Hashed>) {
        let left_bytes = opened.size_bytes().saturating_sub(Totals::get(&opened.handled_bytes));
        Totals::add(&self.totals.meter.handled_bytes, left_bytes);
        Totals::add(&self.totals.files, result.is_ok().into());
        self.done.done(opened.item.place, opened.item.ticket, result);
    }

    /// Hands a file to the pipeline in the access that suits it.
    fn start_big(&self, opened: &Opened<T>) -> std::result::Result<(Started, Access), Failure> {
        let Options { direct, block_bytes, .. } = *self.options;
        let access = route::source_access(direct, block_bytes, &opened.file, opened.size_bytes());
        let access = access.map_err(|cause| Failure::source(Operation::Read, 0, cause))?;
        Ok((self.start_in(opened, access)?, access))
    }

    fn start_in(
        &self,
        opened: &Opened<T>,
        access: Access,
    ) -> std::result::Result<Started, Failure> {
        let (file, size_bytes, block_bytes) =
            (&opened.file, opened.size_bytes(), self.options.block_bytes);
        let data_blocks = route::data_blocks_of(file, size_bytes, block_bytes)
            .map_err(|cause| Failure::source(Operation::Seek, 0, cause))?;
        let shape = Shape::read(size_bytes, block_bytes, access)
            .hashed(opened.item.function.hashing())
            .with_data(data_blocks);
        let source = Endpoint::new(file, access);
        let progress = Progress::Handled(Arc::clone(&opened.handled_bytes));
        Ok(self.pipeline.start_transfer(Transfer { source, target: None, shape, progress }))
    }

    fn finish_big(
        &self,
        opened: &Opened<T>,
        started: std::result::Result<(Started, Access), Failure>,
    ) -> Result<Hashed> {
        let read = started.and_then(|(started, access)| {
            let mut started = Some(started);
            route::or_buffered(self.options.direct, [&opened.file], [access], |&[access]| {
                match started.take() {
                    Some(started) => started.wait(),
                    None => self.start_in(opened, access)?.wait(),
                }
            })
        });
        let (moved, [access]) = read.map_err(|failure| read_error(opened, failure))?;
        check_unchanged(opened)?;
        let output = moved.hash.ok_or_else(|| opened.error(Operation::Read, Cause::ThreadGone))?;
        Ok(Hashed { output, way: access.way })
    }

    /// Reads what has no size and no offsets until it ends.
    fn hash_stream(&self, item: &Item<T>, buffer: &mut [u8]) -> Result<Output> {
        let mut hasher = item.function.serial();
        let mut file = item.place.open_stream().map_err(|cause| open_error(&item.place, cause))?;
        loop {
            match file.read(buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    Totals::add(&self.totals.found_bytes, count as u64);
                    Totals::add(&self.totals.meter.handled_bytes, count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(Error::new(Operation::Read, item.place.path(), cause)),
            }
        }
    }
}

fn open(place: &Place) -> Result<(OwnedFd, Stat)> {
    let error = |op, cause: Cause| Error::new(op, place.path(), cause);
    let file = place.open_file().map_err(|cause| match (place, cause.raw_os_error()) {
        // The listing said that it is a file, and a link is never followed.
        (Place::In(..), Some(libc::ELOOP)) => error(Operation::Open, Cause::Swapped),
        // openat2 with RESOLVE_BENEATH says so.
        (Place::Beneath(..), Some(libc::EXDEV)) => error(Operation::Open, Cause::LeadsOutside),
        _ => open_error(place, cause),
    })?;
    let stat = fs::stat(&file).map_err(|cause| error(Operation::Stat, cause.into()))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok((file, stat)),
        FileType::Directory => {
            Err(error(Operation::Read, io::Error::from_raw_os_error(libc::EISDIR).into()))
        }
        kind => match EntryKind::of_mode(kind) {
            EntryKind::Special(kind) if !matches!(place, Place::In(..)) => {
                Err(error(Operation::Read, Cause::NotRegular(kind)))
            }
            _ => Err(error(Operation::Open, Cause::Swapped)),
        },
    }
}

fn open_error(place: &Place, cause: io::Error) -> Error {
    match cause.raw_os_error() {
        // What open(2) says to a socket or a device without a driver.
        Some(libc::ENXIO) => Error::new(
            Operation::Open,
            place.path(),
            Cause::NotRegular(SpecialKind::SocketOrDevice),
        ),
        _ => Error::new(Operation::Open, place.path(), cause),
    }
}

/// A hash of two states of a file would be of none.
fn check_unchanged<T>(opened: &Opened<T>) -> Result<()> {
    let now = fs::stat(&*opened.file).map_err(|cause| opened.error(Operation::Stat, cause))?;
    let key = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    if key(&now) == key(&opened.stat) {
        Ok(())
    } else {
        Err(opened.error(Operation::Read, Cause::ChangedWhileRead))
    }
}

/// How a small file is read.
fn describe<T>((opened, access): &(Opened<T>, Access)) -> BatchFile<'_> {
    BatchFile {
        file: &opened.file,
        order: opened.stat.st_ino,
        size_bytes: opened.size_bytes(),
        way: BatchWay::of(*access),
    }
}

/// Hashes a small file: its contents, or what is read through the page cache from its start to its
/// end.
fn hash_small<T>(opened: &Opened<T>, contents: Option<&[u8]>, buffer: &mut [u8]) -> Result<Output> {
    let mut hasher = opened.item.function.serial();
    if let Some(bytes) = contents {
        hasher.update(bytes);
        check_unchanged(opened)?;
        return Ok(hasher.finish());
    }
    let read = |buffer: &mut [u8], offset_bytes, _| {
        let read = rustix::io::retry_on_intr(|| {
            rustix::io::pread(&*opened.file, &mut *buffer, offset_bytes)
        });
        read.map_err(|cause| Failure::source(Operation::Read, offset_bytes, io::Error::from(cause)))
    };
    let take = |bytes: &[u8], _| {
        hasher.update(bytes);
        Ok(())
    };
    read_whole(opened.size_bytes(), buffer, read, take).map_err(|failure| match failure.cause {
        // That it has another size says nothing of a place.
        Cause::SourceChanged => opened.error(failure.op, Cause::ChangedWhileRead),
        _ => read_error(opened, failure),
    })?;
    if opened.size_bytes() != 0 {
        check_unchanged(opened)?;
    }
    Ok(hasher.finish())
}

/// What is said of a file that cannot be read.
fn read_error<T>(opened: &Opened<T>, failure: Failure) -> Error {
    let cause = match failure.cause {
        Cause::SourceChanged => Cause::ChangedWhileRead,
        cause => cause,
    };
    Failure { cause, ..failure }.of(opened.item.place.path())
}

/// Whether `path` is the name of standard input.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str().as_bytes() == b"-"
}
