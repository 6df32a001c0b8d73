//! Copying: operands become pairs of open directories, a walker hands out their entries, workers copy the small
//! ones, and one [pipeline] moves the blocks of the big ones.

pub mod job;
mod operands;
pub mod pipeline;
mod queue;
mod road;
mod target;
mod worker;

use std::io;
use std::sync::Mutex;

use crate::report::{Event, Sink, Totals};
use crate::sys::fs;
use crate::tree;

pub use operands::{Destination, Operands};
use pipeline::{Limits, Pipeline};
use queue::Queue;
pub use target::Target;
use worker::Run;

/// Whether `O_DIRECT` is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direct {
    /// Where it is real and a gain.
    Auto,
    /// Or the file fails.
    Always,
    /// Everything through the page cache.
    Never,
}

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

/// How to copy.
#[derive(Clone, Debug)]
pub struct Options {
    /// Direct I/O.
    pub direct: Direct,
    /// Holes.
    pub sparse: Sparse,
    /// Whether to compute BLAKE3 hashes.
    pub hash: bool,
    /// Whether data and names are made durable.
    pub sync: bool,
    /// Blocks in flight.
    pub queue_depth: usize,
    /// Bytes a block: a power of two, at least 4096.
    pub block_bytes: u64,
    /// Workers, each with one small file or one batch at a time.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            direct: Direct::Auto,
            sparse: Sparse::Auto,
            hash: false,
            sync: true,
            queue_depth: 32,
            block_bytes: 1 << 20,
            threads: 32,
        }
    }
}

/// Copies `operands` and blocks until all is done, durable unless that was given up, and told to `sink`. A file that fails does not stop
/// the others; `totals.failed` counts them. The error is for what kept the copy from beginning: threads or descriptors.
pub fn copy(operands: &Operands, options: &Options, sink: &dyn Sink, totals: &Totals) -> io::Result<()> {
    let block_bytes = usize::try_from(options.block_bytes).unwrap_or(usize::MAX);
    let pipeline = Pipeline::start(Limits { queue_depth: options.queue_depth, block_bytes })?;
    let queue = Queue::default();
    let base = operands.base.clone();
    let run = Run { options, sink, totals, pipeline: &pipeline, queue: &queue, base, unsynced: Mutex::default() };
    if let Some(reason) = pipeline.no_kernel_aio() {
        sink.event(Event::NoKernelAio(reason.to_owned()));
    }
    std::thread::scope(|scope| {
        // However the walk ends, the workers must learn that it did.
        struct Close<'a>(&'a Queue);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                self.0.close();
            }
        }
        let _close = Close(&queue);
        for n in 0..workers(options) {
            let run = &run;
            std::thread::Builder::new().name(format!("aiocp-{n}")).spawn_scoped(scope, move || run.work())?;
        }
        operands.walk(&run);
        io::Result::Ok(())
    })?;
    run.sync_all_dirs();
    Ok(())
}

/// As many workers as asked for, unless their open files would take more than half of what the process may have: the other half
/// is for the directories in work. With a limit of 1,024 that is 4 workers.
fn workers(options: &Options) -> usize {
    /// A source and a destination for each entry of a batch.
    const FILES_PER_WORKER: u64 = 2 * tree::BATCH_ENTRIES as u64;
    let affordable = fs::open_files_limit().map_or(u64::MAX, |limit| limit / 2 / FILES_PER_WORKER);
    options.threads.min(usize::try_from(affordable).unwrap_or(usize::MAX)).max(1)
}

impl tree::Visitor for Run<'_> {
    fn batch(&self, batch: tree::Batch) {
        self.queue.push_batch(batch);
    }

    fn entered(&self) {
        Totals::add(&self.totals.directories, 1);
    }

    fn release(&self, dir: std::sync::Arc<tree::Dir>) {
        self.release_dir(dir);
    }

    fn failed(&self, error: crate::error::Error) {
        self.fail(error);
    }
}
