//! Copying. Operands become pairs of open directories, and a walker hands out their entries.
//! Workers copy the small files, and one pipeline moves the blocks of the big ones.
//!
//! [`copy`] makes the services of a run. Each borrows only services made before it.

mod data;
mod durable;
mod entry;
mod events;
mod full;
mod hardlinks;
mod metadata;
mod names;
mod operands;
mod options;
mod queue;
mod resume;
mod stop;
mod verify;
mod work;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};

use crate::error::{Error, Operation, Result};
use crate::fs;
use crate::pipeline::{Budget, Limits, Pace, Pipeline, Traffic};
use crate::report::{Meter, Sink, Totals};
use crate::tree::{self, OpenDirs};
use crate::workers::Workers;
use data::Data;
use durable::Durable;
use events::Events;
use hardlinks::HardLinks;
use metadata::MetadataCopier;
use names::{Names, SourceFiles};
use queue::Queue;
use resume::{Journal, Resume};
use verify::{Readers, Verify};
use work::{Services, Visit};

pub use crate::pipeline::EngineKind;
pub use crate::pipeline::route::DirectMode;
pub use crate::tree::{Filter, Follow, List, Preserve};
pub use operands::{Appears, Destination, Operands};
pub use options::{Action, Backup, BackupNames, Existing, OnExisting, Options, Reflink, Sparse};
pub use stop::Stop;

/// A copy that has ended.
pub struct Ended {
    journal: Option<Journal>,
}

impl Ended {
    /// Removes the journal, if there is one: to be called when everything succeeded, also what the
    /// caller does with the results. Without it the next run with [`Options::resume`] goes on where
    /// this one ended.
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
    let events = Events::new(options, sink, totals, operands.base.clone());
    // Where no source is there, nothing has a place.
    let resumes = options.resume && !operands.is_empty();
    let identity = resumes.then(|| operands.journal_identity(options)).transpose();
    let pace = options.rate_bytes_per_s.map(|rate| Arc::new(Pace::new(rate)));
    let traffic = Traffic { meter: Arc::clone(&totals.meter), pace };
    let (told, limits) = (Once::new(), limits(options, &totals.meter));
    let on_missing = |reason: &str| told.call_once(|| events.no_kernel_aio(reason));
    let start = || Pipeline::start(limits, options.engine, traffic.clone(), on_missing);
    let pipeline = start()?;
    // Each side of a comparison has a loop of its own, so that two devices are read at once.
    let other = (options.action == Action::Compare).then(start).transpose()?;
    let shares = Shares::of(fs::open_files_limit(), limits.budget, options, &totals.meter);
    let metadata = MetadataCopier::new(options.preserve, &events);
    let resume =
        match identity.and_then(|identity| Resume::open(identity, options, &events, &pipeline)) {
            Ok(resume) => resume,
            Err(error) => {
                events.fail(error);
                return Ok(Ended { journal: None });
            }
        };
    {
        let sources = SourceFiles::new(operands.sources(), options.follow);
        let names = Names::new(options, &events, &resume, sources);
        let durable =
            Durable::new(options, &events, &metadata, &resume, &pipeline, shares.unsynced);
        let data = Data::new(options, &events, &metadata, &resume, &pipeline, traffic.clone());
        let readers = Readers { source: &pipeline, target: other.as_ref().unwrap_or(&pipeline) };
        let verify = Verify::new(options, &events, &metadata, &durable, readers);
        let open_dirs = OpenDirs::new(shares.open_dirs);
        let (hard_links, queue) = (HardLinks::default(), Queue::new(open_dirs.batches_max()));
        let services = Services {
            options,
            events: &events,
            metadata: &metadata,
            resume: &resume,
            names: &names,
            durable: &durable,
            data: &data,
            verify: &verify,
            hard_links: &hard_links,
            queue: &queue,
            pipeline: &pipeline,
            entries_max: shares.entries,
        };
        stop_with(options, &pipeline, other.as_ref());
        run(services, operands, &open_dirs, shares.workers)?;
        events.not_replaced();
        durable.sync_rest();
    }
    std::iter::once(&pipeline).chain(&other).for_each(Pipeline::close);
    Ok(Ended { journal: resume.into_journal() })
}

/// Tells why names were copied that may be further ones of other files, if that is so.
fn tell_fault(hard_links: &HardLinks, events: &Events<'_>) {
    if let Some(cause) = hard_links.take_fault() {
        events.fail(Error::new(Operation::ReadLinks, std::env::temp_dir(), cause));
    }
}

/// How many pipelines the copy has, and how many files are open of each that is compared.
fn sides(options: &Options) -> u64 {
    if options.action == Action::Compare { 2 } else { 1 }
}

fn limits(options: &Options, meter: &Meter) -> Limits {
    let budget = Budget::of_process().shared_by(sides(options));
    let block_bytes = usize::try_from(options.block_bytes).unwrap_or(usize::MAX);
    let queue_depth = budget.blocks(options.queue_depth, block_bytes, meter);
    Limits { queue_depth, block_bytes, budget }
}

/// Has the pipelines begin nothing more when the run is to stop.
fn stop_with(options: &Options, pipeline: &Pipeline<'_>, other: Option<&Pipeline<'_>>) {
    let (stop_one, stop_other) = (pipeline.stopper(), other.map(Pipeline::stopper));
    options.stop.on_request(move || {
        stop_one();
        stop_other.iter().for_each(|stop| stop());
    });
}

/// Walks through the operands, while workers do what the walk finds.
fn run(
    services: Services<'_>,
    operands: &Operands,
    open_dirs: &Arc<OpenDirs>,
    workers: usize,
) -> io::Result<()> {
    /// However the walk ends, the workers must learn that it did.
    struct Close<'a>(&'a Queue);
    impl Drop for Close<'_> {
        fn drop(&mut self) {
            self.0.close();
        }
    }
    let totals = services.events.totals;
    let workers = Workers::new("aiocp", workers, Arc::clone(&totals.meter));
    std::thread::scope(|scope| {
        let _close = Close(services.queue);
        workers.hire(scope, services)?;
        operands.walk(&Visit::new(services), open_dirs);
        totals.walked.store(true, Ordering::Release);
        services.release_unclaimed();
        Ok::<_, io::Error>(())
    })?;
    tell_fault(services.hard_links, services.events);
    Ok(())
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
    /// for their sync. With a limit of 1,024 that is 7 workers, 64 pairs, and 64 that wait. With 64
    /// it is one worker, which opens 28 files at a time.
    fn of(limit: Option<u64>, budget: Budget, options: &Options, meter: &Meter) -> Self {
        let (threads, sides) = (budget.workers(options.threads, meter), sides(options));
        // All sources of a batch may be open at once, with their counterparts where they are
        // compared. The others are a destination, the pair that they are in, and a link's first
        // name.
        const OTHERS: u64 = 4;
        let files_per_worker = tree::BATCH_ENTRIES as u64 * sides + OTHERS;
        let part = |count: u64, max: usize| {
            usize::try_from(count).map_or(max, |count| count.clamp(1, max))
        };
        let limit = limit.unwrap_or(u64::MAX);
        // In a dry run one after the other decides which of several names is linked to which, so
        // that the same tree gets the same answer.
        let threads = if options.dry_run { 1 } else { threads.max(1) };
        Self {
            workers: part(limit / 2 / files_per_worker, threads),
            entries: part((limit / 2).saturating_sub(OTHERS) / sides, tree::BATCH_ENTRIES),
            open_dirs: part(limit / 16, 256),
            unsynced: part(limit / 16, 256),
        }
    }
}
