//! The way in: starting the loop, and handing it transfers, operations and the word to stop.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::bounded;

use super::engines::{EngineKind, Engines, is_data, open_context};
use super::event_loop::Loop;
use super::memory::Memory;
use super::message::{Mailbox, Message};
use super::outcome::{Failure, Moved, same};
use super::sizes::{BLOCKS_MAX, TOGETHER_MIN};
use super::traffic::Traffic;
use super::transfer::{Limits, Progress, Started, Transfer};
use crate::digest::Hashing;
use crate::error::{Cause, Operation};
use crate::fs;
use crate::report::{Meter, Totals};
use linux_aio::{Done, Op, OpKind, Wakeup};

/// The loop's thread, and the way to talk to it. Dropping it waits for what is in flight.
pub struct Pipeline<'a> {
    mailbox: Mailbox,
    thread: Option<JoinHandle<()>>,
    queue_depth: usize,
    /// Whether the loop has a context, once that is known. The kernel takes 32 ms to take one down,
    /// in io_destroy(2) or at the end of the process, which is longer than many a copy. So it is
    /// made when it is first needed.
    has_context: OnceLock<bool>,
    on_missing: OnMissing<'a>,
    meter: Arc<Meter>,
    /// For files that are read together.
    memory: Memory,
    is_paced: bool,
}

/// Hears why threads serve direct I/O too, if they do, when the first direct I/O is to be served.
pub(super) type OnMissing<'a> = Box<dyn Fn(&str) + Send + Sync + 'a>;

/// What a loop is made of.
pub(super) struct Setup {
    pub limits: Limits,
    pub engines: Engines,
    /// Whether the engines have a context, if that is known.
    pub has_context: OnceLock<bool>,
    pub wakeup: Arc<Wakeup>,
    pub traffic: Traffic,
}

impl<'a> Pipeline<'a> {
    /// Starts the loop. Without kernel AIO threads do its work, of which `on_missing` hears, unless
    /// the kernel's was demanded. Fails when there are too many open files or threads.
    pub fn start(
        limits: Limits,
        engine: EngineKind,
        traffic: Traffic,
        on_missing: impl Fn(&str) + Send + Sync + 'a,
    ) -> io::Result<Self> {
        let wakeup = Arc::new(Wakeup::new()?);
        let mut engines =
            Engines::new(engine, limits, Arc::clone(&wakeup), Arc::clone(&traffic.meter));
        let has_context = match engine {
            EngineKind::Auto => OnceLock::new(),
            EngineKind::Kernel => {
                engines.adopt(open_context(limits.queue_depth, &wakeup)?);
                true.into()
            }
            EngineKind::Posix | EngineKind::Threads => false.into(),
        };
        let setup = Setup { limits, engines, has_context, wakeup, traffic };
        Self::run(setup, Box::new(on_missing))
    }

    /// Starts a loop that is made of this.
    pub(super) fn run(setup: Setup, on_missing: OnMissing<'a>) -> io::Result<Self> {
        let Setup { limits, engines, has_context, wakeup, traffic } = setup;
        let (mailbox, inbox) = Mailbox::new(wakeup);
        let meter = Arc::clone(&traffic.meter);
        let memory = Memory::new(limits.budget, Arc::clone(&meter));
        let (queue_depth, is_paced) = (limits.queue_depth, traffic.pace.is_some());
        let state = Loop::new(limits, engines, mailbox.clone(), inbox, traffic);
        let thread =
            std::thread::Builder::new().name("aiocp-loop".to_owned()).spawn(move || state.run())?;
        let thread = Some(thread);
        Ok(Self { mailbox, thread, queue_depth, has_context, on_missing, meter, memory, is_paced })
    }

    /// Sees that the loop has a context, if it may have one. Later messages find it there.
    fn open_context(&self) {
        let open = || match open_context(self.queue_depth, self.mailbox.wakeup()) {
            Ok(context) => {
                self.mailbox.send(Message::Context(Box::new(context)));
                true
            }
            Err(error) => {
                (self.on_missing)(&error.to_string());
                false
            }
        };
        self.has_context.get_or_init(open);
    }

    /// Whether the loop has a context, once that is known.
    pub(super) fn has_context(&self) -> Option<bool> {
        self.has_context.get().copied()
    }

    /// Whether reading a batch makes one request of neighbours, so that small files are best read
    /// direct. As long as nothing needed kernel AIO it is taken for there.
    pub fn merges(&self) -> bool {
        self.has_context().is_none_or(|has_context| has_context) && !self.is_paced
    }

    /// Whether it keeps to a rate: then small files too are read in steps, each at its time.
    pub fn is_paced(&self) -> bool {
        self.is_paced
    }

    /// What is counted.
    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The memory for files that are read together.
    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Counts bytes that were handled outside of the loop.
    pub fn count(&self, progress: &Progress, bytes: u64) {
        progress.sums(&self.meter).for_each(|sum| Totals::add(sum, bytes));
    }

    /// Moves a file's data, and blocks until all of it is written and hashed. It is not durable by
    /// then.
    pub fn transfer(&self, transfer: Transfer) -> Result<Moved, Failure> {
        self.start_transfer(transfer).wait()
    }

    /// Hands a file in and does not wait for it.
    pub fn start_transfer(&self, transfer: Transfer) -> Started {
        let (reply, answer) = bounded(1);
        let shape = &transfer.shape;
        if matches!(shape.hash, Hashing::Tree(_)) && shape.block_count() > BLOCKS_MAX {
            let failure = Failure::source(Operation::Hash, 0, Cause::TooManyBlocks);
            reply.send(Err(failure)).expect("the answer is waited for below");
        } else {
            if transfer.is_direct() {
                self.open_context();
            }
            self.mailbox.send(Message::Transfer(transfer, reply));
        }
        Started(answer)
    }

    /// fsync(2) of all `files`, at once if they are many; see [`fs::sync_file`] for where that is
    /// not available. Blocks until each has its answer, in the order of `files`.
    pub fn sync(&self, files: Vec<Arc<OwnedFd>>) -> Vec<io::Result<()>> {
        let count = files.len();
        let ops = files.into_iter().map(|file| Op::new(file, OpKind::Fsync)).collect();
        let mut syncs = fs::Syncs::default();
        let mut synced = |Done { op, result, .. }| match result {
            Err(cause) if fs::is_unavailable(&cause) => syncs.sync_file(&op.file),
            result => result.map(drop),
        };
        match self.carry_out(ops) {
            Ok(done) => done.into_iter().map(&mut synced).collect(),
            Err(error) => (0..count).map(|_| Err(same(&error))).collect(),
        }
    }

    /// Carries out operations on direct descriptors, or syncs: many at once in the loop, few in
    /// this thread, one after the other. Blocks until all are over. They come back in their order,
    /// or not at all if the loop cannot wait for them.
    pub(super) fn carry_out(&self, ops: Vec<Op>) -> io::Result<Vec<Done>> {
        if ops.len() < TOGETHER_MIN {
            return Ok(ops.into_iter().map(Op::perform).collect());
        }
        if ops.iter().any(|op| is_data(&op.kind)) {
            self.open_context();
        }
        let (reply, answer) = bounded(1);
        self.mailbox.send(Message::Ops(ops, reply));
        answer.recv().unwrap_or_else(|_| Err(io::Error::other(Cause::ThreadGone)))
    }

    /// A call that has no more blocks started, of files that are in the loop or come later. Blocks
    /// that are under way are finished, and syncs go on.
    pub fn stopper(&self) -> impl Fn() + Send + 'static {
        let mailbox = self.mailbox.clone();
        move || mailbox.send(Message::Stop)
    }

    /// Has the loop end when it has nothing left to do. Dropping the pipeline does it too, and
    /// waits. Several pipelines end sooner if all are closed before the first is dropped.
    pub fn close(&self) {
        self.mailbox.send(Message::Close);
    }
}

impl Drop for Pipeline<'_> {
    fn drop(&mut self) {
        self.close();
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
