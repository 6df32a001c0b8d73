//! Hashes many files at once: small ones by workers, big ones block by block through the pipeline.
//!
//! A feeder hands in [`Item`]s. Each comes back to a [`HashSink`] with its output or its error, in
//! any order.

use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::algorithm::Function;
use super::left_out::{LeftOut, Reason};
use super::location::{Location, OpenFile};
use crate::digest::Output;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, ReadFrom, Stat};
use crate::pipeline::route::{self, Access, DirectMode};
use crate::pipeline::small::read_whole;
use crate::pipeline::{
    BatchFile, BatchWay, Budget, Endpoint, EngineKind, Failure, Limits, Outlook, Pipeline,
    Progress, Shape, Started, Traffic, Transfer,
};
use crate::report::{CurrentFile, Totals, Way};
use crate::tree::OpenDirs;
use crate::workers::{Work, Workers};

/// Files that one worker takes at once: their data is asked for before the first is read.
const BATCH_ITEMS: usize = 64;

/// How to hash.
#[derive(Clone, Debug)]
pub struct HashOptions {
    /// Direct I/O.
    pub direct: DirectMode,
    /// Blocks in flight.
    pub queue_depth: usize,
    /// Bytes a block: a power of two, at least 4096.
    pub block_bytes: u64,
    /// Workers.
    pub threads: usize,
    /// Threads that hash blocks; none for as many as there are cores.
    pub hashers: Option<NonZeroUsize>,
}

impl Default for HashOptions {
    fn default() -> Self {
        Self {
            direct: DirectMode::Auto,
            queue_depth: 32,
            block_bytes: 1 << 20,
            threads: 32,
            hashers: None,
        }
    }
}

/// A file to be hashed, and what its owner needs to know it again.
pub struct Item<T> {
    /// Where it is.
    pub location: Location,
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

/// What became of a file that could be opened and read.
#[derive(Debug)]
pub enum Looked {
    /// It has a hash.
    Hashed(Hashed),
    /// It is none of those that are hashed.
    LeftOut(Reason),
}

/// Takes the results, from many threads; it may block them.
pub trait HashSink<T>: Sync {
    /// One file is over.
    fn done(&self, location: Location, ticket: T, result: Result<Looked>);
    /// Kernel AIO is not to be had, for this reason; threads do its work.
    fn no_kernel_aio(&self, reason: &str);
    /// A worker panicked, and some files will never be done. The panic leaves [`run`] when the
    /// feeding is over.
    fn panicked(&self);
}

/// Reports a panic while it unwinds.
struct PanicWatch<'a, T>(&'a dyn HashSink<T>);

impl<T> Drop for PanicWatch<'_, T> {
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
    open_dirs: Arc<OpenDirs>,
}

impl<T> Feeder<'_, T> {
    /// The directories that a walk keeps open until their files are hashed.
    pub fn open_dirs(&self) -> Arc<OpenDirs> {
        Arc::clone(&self.open_dirs)
    }

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
            // Without workers, which only a panic ends early, nothing is left to be done. The panic
            // goes on when they are joined.
            drop(self.batches.send(std::mem::take(&mut self.batch)));
        }
    }
}

/// Hashes what `feed` pushes, and blocks until all of it is done. `totals` says meanwhile how far
/// it is. The error is for what kept it from beginning: threads or descriptors.
pub fn run<T: Send, R>(
    options: &HashOptions,
    left_out: LeftOut<'_>,
    totals: &Totals,
    sink: &dyn HashSink<T>,
    feed: impl FnOnce(&mut Feeder<T>) -> R,
) -> io::Result<R> {
    let block_bytes = usize::try_from(options.block_bytes).unwrap_or(usize::MAX);
    let budget = Budget::of_process().with_hashers(options.hashers);
    let queue_depth = budget.blocks(options.queue_depth, block_bytes, &totals.meter);
    let limits = Limits { queue_depth, block_bytes, budget };
    let traffic = Traffic { meter: Arc::clone(&totals.meter), pace: None };
    let pipeline =
        Pipeline::start(limits, EngineKind::Auto, traffic, |reason| sink.no_kernel_aio(reason))?;
    let open_dirs = open_dirs();
    // While a batch waits, the directory of its files stays open.
    let (batches, inbox) = bounded(open_dirs.batches_max());
    let (workers, batch_items) = shares(budget.workers(options.threads, &totals.meter));
    let mut feeder = Feeder { batch: Vec::new(), batch_items, batches, totals, open_dirs };
    let workers = Workers::new("aiosum", workers, Arc::clone(&totals.meter));
    std::thread::scope(|scope| {
        let pipeline = &pipeline;
        workers.hire(scope, Worker { options, left_out, totals, pipeline, sink, inbox })?;
        let fed = feed(&mut feeder);
        feeder.flush();
        drop(feeder);
        totals.walked.store(true, Ordering::Release);
        Ok(fed)
    })
}

/// The directories that a walk keeps open: an eighth of the files that the process may have, two
/// for each.
pub fn open_dirs() -> Arc<OpenDirs> {
    const DIRS_MAX: usize = 256;
    let share = fs::open_files_limit().map_or(u64::MAX, |limit| limit / 16);
    OpenDirs::new(usize::try_from(share).map_or(DIRS_MAX, |share| share.min(DIRS_MAX)))
}

/// As many workers as asked for, and how many files each may open at once: together not more than
/// half of what the process may have. The other half is for directories.
fn shares(threads: usize) -> (usize, usize) {
    let half = fs::open_files_limit().map_or(u64::MAX, |limit| limit / 2);
    let half = usize::try_from(half).unwrap_or(usize::MAX);
    (threads.min(half / BATCH_ITEMS).max(1), BATCH_ITEMS.min(half).max(1))
}

struct Worker<'a, T> {
    options: &'a HashOptions,
    left_out: LeftOut<'a>,
    totals: &'a Totals,
    pipeline: &'a Pipeline<'a>,
    sink: &'a dyn HashSink<T>,
    inbox: Receiver<Vec<Item<T>>>,
}

impl<T> Clone for Worker<'_, T> {
    fn clone(&self) -> Self {
        let Self { options, left_out, totals, pipeline, sink, ref inbox } = *self;
        Self { options, left_out, totals, pipeline, sink, inbox: inbox.clone() }
    }
}

impl<T: Send> Work for Worker<'_, T> {
    type Task = Vec<Item<T>>;

    fn take(&self) -> Option<Self::Task> {
        self.inbox.recv().ok()
    }

    fn carry_out(&self, batch: Self::Task, buffer: &mut [u8]) {
        let _watch = PanicWatch(self.sink);
        self.hash_batch(batch, buffer);
    }
}

/// A file that was opened.
struct Opened<T> {
    item: Item<T>,
    file: Arc<OwnedFd>,
    stat: Stat,
    /// Whether it was opened with `O_DIRECT`.
    is_direct: bool,
    /// Of its bytes those that are counted as handled already.
    handled_bytes: Arc<AtomicU64>,
}

impl<T> Opened<T> {
    fn size_bytes(&self) -> u64 {
        self.stat.st_size as u64
    }

    fn error(&self, op: Operation, cause: impl Into<Cause>) -> Error {
        Error::new(op, self.item.location.path(), cause)
    }
}

/// A file for the worker itself.
struct SmallInput<T> {
    opened: Opened<T>,
    way: BatchWay,
}

impl<T> SmallInput<T> {
    fn describe(&self) -> BatchFile<'_> {
        let Self { opened, way } = self;
        BatchFile {
            file: &opened.file,
            order: opened.stat.st_ino,
            size_bytes: opened.size_bytes(),
            way: *way,
        }
    }
}

/// A file for the pipeline, and whether it could be handed in.
struct BigInput<'a, T> {
    opened: Opened<T>,
    current: Option<CurrentFile<'a>>,
    in_pipeline: std::result::Result<InPipeline, Failure>,
}

/// A file's way through the pipeline.
struct InPipeline {
    started: Started,
    access: Access,
}

impl<T> Worker<'_, T> {
    /// Opens all files, gives the big ones to the pipeline, and then reads the small ones. Many
    /// neighbours are few requests for the device.
    fn hash_batch(&self, batch: Vec<Item<T>>, buffer: &mut [u8]) {
        let (mut small, mut big, mut streams) =
            (Vec::with_capacity(batch.len()), Vec::new(), Vec::new());
        let mut outlook = Outlook::new(self.options.direct, self.pipeline.merges());
        for item in batch {
            if item.location.is_stream() {
                streams.push(item);
                continue;
            }
            let Some(opened) = self.open(item, outlook.read_from()) else { continue };
            let (direct, size_bytes) = (self.options.direct, opened.size_bytes());
            if route::is_small(direct, size_bytes) {
                let way = outlook.way(&opened.file, &opened.stat, opened.is_direct);
                small.push(SmallInput { opened, way });
            } else {
                let path = || opened.item.location.path();
                let files = &self.totals.current;
                let current = files.begin(size_bytes, &opened.handled_bytes, path);
                let in_pipeline = self.start_big(&opened);
                big.push(BigInput { opened, current, in_pipeline });
            }
        }
        self.pipeline.read_batch(small, SmallInput::describe, |SmallInput { opened, .. }, read| {
            self.totals.current.pass(|| opened.item.location.path());
            let hashed = read
                .map_err(|failure| read_error(&opened, failure))
                .and_then(|read| hash_small(&opened, read, buffer));
            self.end(opened, hashed);
        });
        for BigInput { opened, current: _in_hand, in_pipeline } in big {
            let result = self.finish_big(&opened, in_pipeline, buffer);
            self.end(opened, result);
        }
        // Each is opened when the one before it has ended: two FIFOs may be written one after the
        // other.
        for item in streams {
            let way = Way::Buffered("not a regular file");
            Totals::add(&self.totals.streams, 1);
            let result = self.hash_stream(&item, buffer).map(|output| Hashed { output, way });
            // A stream has no size, so that nothing of it counts as found before it has ended.
            Totals::add(&self.totals.met, 1);
            Totals::take(&self.totals.streams, 1);
            Totals::add(&self.totals.files, result.is_ok().into());
            self.sink.done(item.location, item.ticket, result.map(Looked::Hashed));
        }
    }

    /// Opens a regular file, or reports why it is not hashed.
    fn open(&self, item: Item<T>, read_from: ReadFrom) -> Option<Opened<T>> {
        let judged = item.location.open(read_from).map(|open| {
            let reason = self.left_out.judge(&open.stat);
            reason.map_or(Ok(open), Err)
        });
        let opened = match judged {
            Ok(Err(reason)) => {
                self.sink.done(item.location, item.ticket, Ok(Looked::LeftOut(reason)));
                None
            }
            Ok(Ok(OpenFile { file, stat, is_direct })) => {
                let (file, handled_bytes) = (Arc::new(file), Arc::default());
                let opened = Opened { item, file, stat, is_direct, handled_bytes };
                Totals::add(&self.totals.found_bytes, opened.size_bytes());
                Totals::add(&self.totals.found_files, 1);
                Some(opened)
            }
            Err(error) => {
                self.sink.done(item.location, item.ticket, Err(error));
                None
            }
        };
        Totals::add(&self.totals.met, 1);
        opened
    }

    /// Reports what became of a file that was opened.
    fn end(&self, opened: Opened<T>, result: Result<Hashed>) {
        let left_bytes = opened.size_bytes().saturating_sub(Totals::get(&opened.handled_bytes));
        Totals::add(&self.totals.meter.handled_bytes, left_bytes);
        Totals::add(&self.totals.files, result.is_ok().into());
        self.sink.done(opened.item.location, opened.item.ticket, result.map(Looked::Hashed));
    }

    /// Hands a file to the pipeline in the access that suits it.
    fn start_big(&self, opened: &Opened<T>) -> std::result::Result<InPipeline, Failure> {
        let HashOptions { direct, block_bytes, .. } = *self.options;
        if opened.is_direct {
            fs::set_direct(&*opened.file, false)
                .map_err(|cause| Failure::source(Operation::Read, 0, Cause::Os(cause)))?;
        }
        let access = route::source_access(direct, block_bytes, &opened.file, opened.size_bytes())
            .map_err(|cause| Failure::source(Operation::Read, 0, cause))?;
        Ok(InPipeline { started: self.start_in(opened, access), access })
    }

    fn start_in(&self, opened: &Opened<T>, access: Access) -> Started {
        let (file, size_bytes, block_bytes) =
            (&opened.file, opened.size_bytes(), self.options.block_bytes);
        let data_blocks = route::data_blocks_of(file, size_bytes, block_bytes);
        let hash = opened.item.function.hashing();
        let whole = Shape::read(size_bytes, block_bytes, access);
        let shape = Shape { hash, data_blocks, ..whole };
        let source = Endpoint::new(file, access);
        let progress = Progress::Handled(Arc::clone(&opened.handled_bytes));
        self.pipeline.start_transfer(Transfer { source, target: None, shape, progress })
    }

    fn finish_big(
        &self,
        opened: &Opened<T>,
        in_pipeline: std::result::Result<InPipeline, Failure>,
        buffer: &mut [u8],
    ) -> Result<Hashed> {
        let read = in_pipeline.and_then(|InPipeline { started, access }| {
            let mut started = Some(started);
            route::or_buffered(self.options.direct, [&opened.file], [access], |&[access]| {
                started.take().unwrap_or_else(|| self.start_in(opened, access)).wait()
            })
        });
        let (moved, [access]) = match read {
            Err(Failure { cause: Cause::SourceChanged, .. })
                if !fs::size_is_believed(&opened.stat) =>
            {
                return hash_to_the_end(opened, buffer);
            }
            read => read.map_err(|failure| read_error(opened, failure))?,
        };
        if holds_more(opened)? {
            return hash_to_the_end(opened, buffer);
        }
        check_unchanged(opened)?;
        let output = moved.hash.ok_or_else(|| opened.error(Operation::Read, Cause::ThreadGone))?;
        Ok(Hashed { output, way: access.way })
    }

    /// Reads what has no size and no offsets until it ends.
    fn hash_stream(&self, item: &Item<T>, buffer: &mut [u8]) -> Result<Output> {
        let mut hasher = item.function.serial();
        let mut file = item.location.open_stream()?;
        loop {
            match file.read(buffer).and_then(|count| fs::believed(count, buffer.len())) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => {
                    hasher.update(&buffer[..count]);
                    Totals::add(&self.totals.found_bytes, count as u64);
                    Totals::add(&self.totals.meter.handled_bytes, count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(Error::new(Operation::Read, item.location.path(), cause)),
            }
        }
    }
}

/// A hash of two states of a file would be of none.
fn check_unchanged<T>(opened: &Opened<T>) -> Result<()> {
    let is_unchanged = fs::is_unchanged(&*opened.file, &opened.stat);
    match is_unchanged.map_err(|cause| opened.error(Operation::Stat, cause))? {
        true => Ok(()),
        false => Err(opened.error(Operation::Read, Cause::ChangedWhileRead)),
    }
}

/// Whether a file goes on where its size says that it ends.
fn holds_more<T>(opened: &Opened<T>) -> Result<bool> {
    let size_bytes = opened.size_bytes();
    match fs::size_is_believed(&opened.stat) {
        true => Ok(false),
        false => fs::has_byte_at(&opened.file, size_bytes)
            .map_err(|cause| opened.error(Operation::Read, cause).at(size_bytes)),
    }
}

/// Hashes a big file that does not hold what its size says, though nothing changed it: from its
/// start to its end, wherever that is.
fn hash_to_the_end<T>(opened: &Opened<T>, buffer: &mut [u8]) -> Result<Hashed> {
    check_unchanged(opened)?;
    fs::set_direct(&*opened.file, false).map_err(|cause| opened.error(Operation::Read, cause))?;
    let Hashed { output, .. } = hash_small(opened, None, buffer)?;
    Ok(Hashed { output, way: Way::Buffered("it does not hold what its size says") })
}

/// Hashes a small file: its contents, or what is read through the page cache from its start to its
/// end.
fn hash_small<T>(opened: &Opened<T>, contents: Option<&[u8]>, buffer: &mut [u8]) -> Result<Hashed> {
    let mut hasher = opened.item.function.serial();
    if let Some(bytes) = contents {
        hasher.update(bytes);
        let way = look_after_direct(opened)?;
        return Ok(Hashed { output: hasher.finish(), way });
    }
    let read = |buffer: &mut [u8], offset_bytes, _| {
        fs::read_at(&opened.file, buffer, offset_bytes)
            .map_err(|cause| Failure::source(Operation::Read, offset_bytes, cause))
    };
    let take = |bytes: &[u8], _| {
        hasher.update(bytes);
        Ok(())
    };
    read_whole(&opened.file, &opened.stat, buffer, read, take).map_err(|failure| match failure
        .cause
    {
        // That it has another size says nothing of a place.
        Cause::SourceChanged => opened.error(failure.op, Cause::ChangedWhileRead),
        _ => read_error(opened, failure),
    })?;
    check_unchanged(opened)?;
    Ok(Hashed { output: hasher.finish(), way: route::SMALL.read })
}

/// How a file was read past the page cache, if it is what it was: its filesystem may have used the
/// page cache all the same.
fn look_after_direct<T>(opened: &Opened<T>) -> Result<Way> {
    if !opened.is_direct {
        // It was asked beforehand.
        return check_unchanged(opened).map(|()| Way::Direct);
    }
    let look = fs::look_after_direct(&*opened.file, &opened.stat);
    let look = look.map_err(|cause| opened.error(Operation::Stat, cause))?;
    match (look.is_unchanged, look.is_refused) {
        (false, _) => Err(opened.error(Operation::Read, Cause::ChangedWhileRead)),
        (true, true) => Ok(Way::Buffered(fs::NO_DIRECT_IO)),
        (true, false) => Ok(Way::Direct),
    }
}

/// Why a file could not be read.
fn read_error<T>(opened: &Opened<T>, failure: Failure) -> Error {
    let cause = match failure.cause {
        Cause::SourceChanged => Cause::ChangedWhileRead,
        cause => cause,
    };
    Failure { cause, ..failure }.of(opened.item.location.path())
}
