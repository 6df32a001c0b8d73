//! Copying: operands become pairs of open directories, a walker hands out their entries, workers
//! copy the small ones, and one [pipeline](crate::pipeline) moves the blocks of the big ones.

mod backup;
mod blocks;
mod clone;
mod compare;
mod durable;
mod existing;
mod file;
mod hardlinks;
mod instead;
mod journal;
mod link;
mod lookup;
mod operands;
mod pairs;
mod parts;
mod plan;
mod queue;
mod readback;
mod record;
mod resume;
mod rounds;
mod stop;
mod stream;
mod verify;
mod worker;

use std::ffi::OsStr;
use std::io;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Once};

use rustix::fs::Mode;
use rustix::io::Errno;

use crate::error::{Error, Operation, Result};
use crate::fs;
pub use crate::pipeline::EngineKind;
use crate::pipeline::crew::Crew;
pub use crate::pipeline::route::DirectMode;
use crate::pipeline::{Limits, Pace, Pipeline, Traffic};
use crate::report::{self, Event, Sink, Totals, What};
use crate::tree::{self, Counterpart, Keeper, OpenDirs};

pub use crate::fs::Target;
pub use crate::tree::{Filter, Follow, List, Preserve};
pub use backup::{Backup, BackupNames};
use existing::Made;
pub use existing::{Existing, OnExisting};
use hardlinks::HardLinks;
pub use instead::Make;
pub use operands::{Destination, Operands};
use pairs::Pairs;
use queue::Queue;
use resume::Journal;
use rounds::Rounds;
pub use stop::Stop;
use worker::Run;

/// What becomes of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparse {
    /// Holes stay holes.
    Auto,
    /// Every block of zeros becomes a hole.
    Always,
    /// The destination is allocated whole.
    Never,
}

/// Whether data is shared instead of copied, where the filesystem can (xfs, btrfs and others).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reflink {
    /// Where it is possible, and unless holes are to be made or filled.
    Auto,
    /// Or the file fails.
    Always,
    /// Every file gets data of its own.
    Never,
}

/// How to copy.
#[derive(Clone, Debug)]
pub struct Options {
    /// Direct I/O.
    pub direct: DirectMode,
    /// Holes.
    pub sparse: Sparse,
    /// What becomes of files that stand in the destination.
    pub existing: Existing,
    /// What is made of each file.
    pub make: Make,
    /// Which symbolic links are followed in the source.
    pub follow: Follow,
    /// Whether directories on other filesystems than the one above are left empty.
    pub one_file_system: bool,
    /// Whether the folders in a source's path are made again in the destination, which has to be a
    /// directory then.
    pub parents: bool,
    /// What is left out.
    pub filter: Filter,
    /// What alone is copied below each source, if it is not everything.
    pub list: Option<List>,
    /// Clones.
    pub reflink: Reflink,
    /// What is kept besides the contents.
    pub preserve: Preserve,
    /// Whether to compute BLAKE3 hashes.
    pub hash: bool,
    /// Whether data and names are made durable.
    pub sync: bool,
    /// Whether nothing is made or changed, and the events tell what would be.
    pub dry_run: bool,
    /// Whether each file is read back from the device before it gets its name. It implies `hash`,
    /// and is worth nothing without `sync`.
    pub verify: bool,
    /// Whether what differs is written again: more than once with `verify`, and at all with
    /// [`Make::Nothing`].
    pub repair: bool,
    /// Who moves the blocks.
    pub engine: EngineKind,
    /// Blocks in flight.
    pub queue_depth: usize,
    /// Bytes a block: a power of two, at least 4096.
    pub block_bytes: u64,
    /// How many bytes a second are read at most, from sources and in verification together.
    pub rate_bytes_per_s: Option<NonZeroU64>,
    /// Workers, each with one small file or one batch at a time.
    pub threads: usize,
    /// Whether to go on where an earlier run was interrupted, and to keep a journal for the next.
    /// It hashes and syncs, whatever else is asked for, and is of use for copies alone.
    pub resume: bool,
    /// How many bytes of a big file may have to be copied again after an interruption.
    pub journal_interval_bytes: u64,
    /// What ends the copy early.
    pub stop: Arc<Stop>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            direct: DirectMode::Auto,
            sparse: Sparse::Auto,
            existing: Existing::default(),
            make: Make::Copy,
            follow: Follow::Never,
            one_file_system: false,
            parents: false,
            filter: Filter::default(),
            list: None,
            reflink: Reflink::Auto,
            preserve: Preserve::default(),
            hash: false,
            sync: true,
            dry_run: false,
            verify: false,
            repair: false,
            engine: EngineKind::Auto,
            queue_depth: 32,
            block_bytes: 1 << 20,
            rate_bytes_per_s: None,
            threads: 32,
            resume: false,
            journal_interval_bytes: 256 << 20,
            stop: Arc::default(),
        }
    }
}

impl Options {
    fn scope(&self) -> tree::Scope<'_> {
        tree::Scope {
            follow: self.follow,
            one_file_system: self.one_file_system,
            filter: &self.filter,
            list: self.list.as_ref(),
            extra: self.make == Make::Nothing,
        }
    }

    /// With what the options imply.
    fn complete(mut self) -> Self {
        let compares = self.make == Make::Nothing;
        // What is missing and copied is proved like the rest.
        self.verify |= compares && self.repair;
        self.sync &= !compares || self.repair;
        self.resume &= self.make == Make::Copy;
        self.hash |= self.verify || self.resume;
        self.sync |= self.resume;
        self
    }

    /// Whether a regular file that is copied to a symbolic link takes the place of what the link
    /// leads to.
    fn writes_through_links(&self) -> bool {
        matches!(self.make, Make::Copy | Make::Attributes) && !self.existing.replaces_links()
    }
}

/// A copy that has ended.
pub struct Ended {
    journal: Option<Journal>,
}

impl Ended {
    /// Removes the journal, if there is one: to be called when everything succeeded, also whatever
    /// the caller does with the results. Without it the next run with [`Options::resume`] goes on
    /// where this one ended.
    pub fn finish(self) -> Result<()> {
        self.journal.map_or(Ok(()), Journal::remove)
    }
}

/// Copies `operands` and blocks until all is done or `options.stop` was requested, durable unless
/// that was given up, and told to `sink`. A file that fails does not stop the others;
/// `totals.failed` counts them. The error is for what kept the copy from beginning: threads or
/// descriptors.
pub fn copy(
    operands: &Operands,
    options: &Options,
    sink: &dyn Sink,
    totals: &Totals,
) -> io::Result<Ended> {
    let options = &options.clone().complete();
    // Where no source is there, nothing has a place.
    let resumes = options.resume && !operands.is_empty();
    let journal = match resumes.then(|| operands.bond(options).and_then(Journal::open)).transpose()
    {
        Ok(opened) => opened.map(|(journal, warning)| {
            warning.into_iter().for_each(|warning| sink.event(Event::Warning(warning)));
            journal
        }),
        Err(error) => {
            Totals::add(&totals.failed, 1);
            sink.event(Event::Failed(error));
            return Ok(Ended { journal: None });
        }
    };
    let keeper = Keeper::new(options.preserve);
    let block_bytes = usize::try_from(options.block_bytes).unwrap_or(usize::MAX);
    let limits = Limits { queue_depth: options.queue_depth, block_bytes };
    let pace = options.rate_bytes_per_s.map(|rate| Arc::new(Pace::new(rate)));
    let traffic = Traffic { meter: Arc::clone(&totals.meter), pace };
    let told = Once::new();
    let start = || {
        let tell =
            |reason: &str| told.call_once(|| sink.event(Event::NoKernelAio(reason.to_owned())));
        Pipeline::start(limits, options.engine, traffic.clone(), tell)
    };
    let pipeline = start()?;
    // Each side of a comparison has a loop of its own, so that two devices are read at once.
    let compares = options.make == Make::Nothing;
    let other = compares.then(start).transpose()?;
    let shares = Shares::of(fs::open_files_limit(), options.threads, if compares { 2 } else { 1 });
    let open_dirs = OpenDirs::new(shares.open_dirs);
    let queue = Queue::new(open_dirs.batches_max());
    let base = operands.base.clone();
    let run = Run {
        options,
        sink,
        totals,
        traffic,
        pipeline: &pipeline,
        target_pipeline: other.as_ref().unwrap_or(&pipeline),
        queue: &queue,
        base,
        keeper,
        hard_links: HardLinks::default(),
        open_dirs,
        rounds: Rounds::default(),
        made: Made::default(),
        times_before: Mutex::default(),
        pairs: Pairs::default(),
        differing: Mutex::default(),
        unsynced: Mutex::default(),
        unsynced_max: shares.unsynced,
        entries_max: shares.entries,
        unclonable: Mutex::default(),
        journal,
        stop: &options.stop,
    };
    let (stop_one, stop_other) = (pipeline.stopper(), other.as_ref().map(Pipeline::stopper));
    options.stop.on_request(move || {
        stop_one();
        stop_other.iter().for_each(|stop| stop());
    });
    let crew = Crew::new("aiocp", shares.workers, Arc::clone(&totals.meter));
    std::thread::scope(|scope| {
        // However the walk ends, the workers must learn that it did.
        struct Close<'a>(&'a Queue);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                self.0.close();
            }
        }
        let _close = Close(&queue);
        crew.hire(scope, &run)?;
        operands.walk(&run);
        totals.walked.store(true, Ordering::Release);
        run.release_unclaimed();
        io::Result::Ok(())
    })?;
    run.tell_not_replaced();
    run.sync_all_dirs();
    // What that found durable is recorded now.
    run.sync_all_dirs();
    pipeline.close();
    other.iter().for_each(Pipeline::close);
    Ok(Ended { journal: run.journal })
}

/// How the files that the process may have open are shared out.
struct Shares {
    workers: usize,
    /// Entries of a batch that are open at the same time.
    entries: usize,
    /// Pairs of directories that are kept open.
    open_dirs: usize,
    /// Directories that are kept open until they are synced.
    unsynced: usize,
}

impl Shares {
    /// Half for the workers, an eighth for pairs of directories, a sixteenth for those that wait
    /// for their sync. With a limit of 1,024 that is 7 workers, 64 pairs, and 64 that wait; with 64
    /// it is one worker, which opens 28 files at a time.
    fn of(limit: Option<u64>, threads: usize, sides: u64) -> Self {
        // The sources of a batch, all of which may be open at once (with their counterparts where
        // they are compared), a destination, the pair that they are in, and one for a link's first
        // name.
        const OTHERS: u64 = 4;
        let files_per_worker = tree::BATCH_ENTRIES as u64 * sides + OTHERS;
        let part = |count: u64, max: usize| {
            usize::try_from(count).map_or(max, |count| count.clamp(1, max))
        };
        let limit = limit.unwrap_or(u64::MAX);
        Self {
            workers: part(limit / 2 / files_per_worker, threads.max(1)),
            entries: part((limit / 2).saturating_sub(OTHERS) / sides, tree::BATCH_ENTRIES),
            open_dirs: part(limit / 16, 256),
            unsynced: part(limit / 16, 256),
        }
    }
}

impl tree::Visitor for Run<'_> {
    fn counterpart(
        &self,
        parent: &tree::OpenDir,
        target_name: &OsStr,
    ) -> Result<Option<Counterpart>> {
        if self.options.dry_run {
            return self.plan_dir(parent, target_name).map(Some);
        }
        if self.options.make == Make::Nothing {
            return self.find_counterpart(parent, target_name);
        }
        self.make_dir(parent, target_name).map(Some)
    }

    fn extra(&self, path: PathBuf) {
        self.tell_difference(path, What::Extra, false);
    }

    fn batch(&self, batch: tree::Batch) {
        Totals::add(&self.totals.listed, batch.entries.len() as u64);
        self.queue.push_batch(batch);
    }

    fn entered(&self, dir: &tree::OpenDir) {
        self.begin_syncs(dir);
        Totals::add(&self.totals.directories, 1);
        Totals::add(&self.totals.made_directories, u64::from(dir.fresh));
        if dir.fresh && self.sink.wants_files() {
            let (source, target) =
                (dir.source_path(OsStr::new("")), dir.target_path(OsStr::new("")));
            let kind = "directory";
            self.sink.event(Event::Made(report::Made {
                kind,
                source,
                target,
                replaced: false,
                backup: None,
            }));
        }
    }

    fn release(&self, dir: std::sync::Arc<tree::Dir>) {
        self.release_dir(dir);
    }

    fn failed(&self, error: Error) {
        self.fail(error);
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_requested()
    }
}

impl Run<'_> {
    /// Makes a directory if there is none.
    pub fn make_dir(&self, parent: &tree::OpenDir, name: &OsStr) -> Result<Counterpart> {
        // Nobody else may look in until it has its final mode.
        match rustix::fs::mkdirat(&*parent.target, name, Mode::RWXU) {
            Ok(()) => Ok(Counterpart::Made),
            Err(Errno::EXIST) => Ok(Counterpart::Found),
            Err(cause) => Err(Error::new(
                Operation::CreateDirectory,
                parent.target_path(name),
                io::Error::from(cause),
            )),
        }
    }
}
