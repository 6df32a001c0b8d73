//! What moves and hashes the blocks of big files, and reads small ones together: one thread with
//! one kernel AIO context, for whoever hands in a [`Transfer`] or calls
//! [`read_together`](Pipeline::read_together).
//!
//! A transfer without a target is only hashed. The [road] says which files come here, and direct or
//! not.

pub mod crew;
mod engines;
mod event_loop;
pub mod job;
mod outcome;
pub mod route;
mod slab;
pub mod small;
mod traffic;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::aio::{Done, Op, OpKind, Waker, perform};
use crate::digest::{Hashing, Leaf, Serial};
use crate::error::{Cause, Operation};
use crate::report::{Meter, Totals};
pub use engines::EngineKind;
use engines::{Engines, Polled, is_data, open_context};
use event_loop::Loop;
pub use job::Shape;
use outcome::same;
pub use outcome::{Failure, Moved, Side};
use small::{Memory, TOGETHER_MIN};
pub use traffic::{Pace, Traffic};

/// How much is in flight.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Buffers, which is also the number of reads and writes in flight.
    pub queue_depth: usize,
    /// Bytes a buffer: a power of two, at least 4096.
    pub block_bytes: usize,
}

/// One side of a transfer.
#[derive(Clone)]
pub struct Endpoint {
    /// The open file.
    pub file: Arc<OwnedFd>,
    /// Whether it has `O_DIRECT`.
    pub direct: bool,
}

/// A file to be moved.
pub struct Transfer {
    /// Where it is read.
    pub source: Endpoint,
    /// Where it is written; nowhere if it is only to be hashed.
    pub target: Option<Endpoint>,
    /// What is moved.
    pub shape: Shape,
    /// What its blocks count as.
    pub progress: Progress,
}

impl Transfer {
    fn sides(&self) -> impl Iterator<Item = &Endpoint> {
        [&self.source].into_iter().chain(&self.target)
    }
}

/// What the bytes of a transfer count as in the [`Meter`], block by block. Those of one that fails
/// are taken back.
#[derive(Clone, Debug)]
pub enum Progress {
    /// As handled, and in the sum of the file itself, so that whoever ends it knows what is left to
    /// be counted.
    Handled(Arc<AtomicU64>),
    /// As proved.
    Proved,
    /// As nothing, since they were counted before.
    Nothing,
}

impl Progress {
    /// Where it is counted.
    fn sums<'a>(&'a self, meter: &'a Meter) -> impl Iterator<Item = &'a AtomicU64> {
        let (all, own) = match self {
            Self::Handled(own) => (Some(&meter.handled_bytes), Some(&**own)),
            Self::Proved => (Some(&meter.proved_bytes), None),
            Self::Nothing => (None, None),
        };
        all.into_iter().chain(own)
    }
}

/// A file that is in the loop.
pub struct Started(Receiver<Result<Moved, Failure>>);

impl Started {
    /// Blocks until all of the file's blocks are over. A pipeline that was stopped before is an
    /// error, `Interrupted`.
    pub fn wait(self) -> Result<Moved, Failure> {
        match self.wait_for_some()? {
            moved if moved.whole => Ok(moved),
            _ => Err(Failure::source(Operation::Copy, 0, Cause::Interrupted)),
        }
    }

    /// Blocks until those blocks are over that were started, which are all unless the pipeline was
    /// stopped.
    pub fn wait_for_some(self) -> Result<Moved, Failure> {
        self.0.recv().unwrap_or(Err(Failure::source(Operation::Copy, 0, Cause::ThreadGone)))
    }
}

enum Message {
    Context(Box<Polled>),
    Transfer(Transfer, Sender<Result<Moved, Failure>>),
    Batch(Vec<Op>, Sender<io::Result<Vec<Done>>>),
    Stop,
    Hashed { job: usize, block: u64, leaf: Leaf, hole: bool },
    Updated { job: usize, hasher: Box<dyn Serial> },
    Close,
}

/// The loop's thread, and the way to talk to it. Dropping it waits for what is in flight.
pub struct Pipeline<'a> {
    messages: Sender<Message>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    queue_depth: usize,
    /// Whether the loop has a context, once that is known. The kernel takes 32 ms to take one down,
    /// in io_destroy(2) or at the end of the process, which is longer than many a copy, so that it
    /// is made for the first who needs it.
    has_context: OnceLock<bool>,
    on_missing: OnMissing<'a>,
    meter: Arc<Meter>,
    /// For small files.
    memory: Memory,
    is_paced: bool,
}

/// Hears why threads serve direct I/O too, if they do, when the first direct I/O is to be served.
pub type OnMissing<'a> = Box<dyn Fn(&str) + Send + Sync + 'a>;

impl<'a> Pipeline<'a> {
    /// Starts the loop. Without kernel AIO threads do its work, of which `on_missing` hears, unless
    /// the kernel's was demanded. Fails when there are too many open files or threads.
    pub fn start(
        limits: Limits,
        engine: EngineKind,
        traffic: Traffic,
        on_missing: impl Fn(&str) + Send + Sync + 'a,
    ) -> io::Result<Self> {
        let waker = Arc::new(Waker::new()?);
        let mut engines = Engines::new(
            engine,
            limits.queue_depth,
            Arc::clone(&waker),
            Arc::clone(&traffic.meter),
        );
        let has_context = match engine {
            EngineKind::Auto => OnceLock::new(),
            EngineKind::Kernel => {
                engines.adopt(open_context(limits.queue_depth, &waker)?);
                true.into()
            }
            EngineKind::Posix | EngineKind::Threads => false.into(),
        };
        Self::run(limits, (engines, has_context), (waker, traffic), Box::new(on_missing))
    }

    fn run(
        limits: Limits,
        (engines, has_context): (Engines, OnceLock<bool>),
        (waker, traffic): (Arc<Waker>, Traffic),
        on_missing: OnMissing<'a>,
    ) -> io::Result<Self> {
        let (messages, inbox) = unbounded();
        let (meter, memory) = (Arc::clone(&traffic.meter), Memory::new());
        let (queue_depth, is_paced) = (limits.queue_depth, traffic.pace.is_some());
        let state =
            Loop::new(limits, engines, (inbox, messages.clone()), Arc::clone(&waker), traffic);
        let thread =
            std::thread::Builder::new().name("aiocp-loop".to_owned()).spawn(move || state.run())?;
        let thread = Some(thread);
        Ok(Self {
            messages,
            waker,
            thread,
            queue_depth,
            has_context,
            on_missing,
            meter,
            memory,
            is_paced,
        })
    }

    /// Sees that the loop has a context, if it may have one. What is sent to it afterwards finds it
    /// there.
    fn open_context(&self) {
        self.has_context.get_or_init(|| match open_context(self.queue_depth, &self.waker) {
            Ok(context) => {
                self.send(Message::Context(Box::new(context)));
                true
            }
            Err(error) => {
                (self.on_missing)(&error.to_string());
                false
            }
        });
    }

    /// Whether [`read_together`](Self::read_together) makes one request of neighbours, so that
    /// small files are best read direct. As long as nothing needed kernel AIO it is taken for
    /// there.
    pub fn merges(&self) -> bool {
        self.has_context.get().is_none_or(|has_context| *has_context) && !self.is_paced
    }

    /// Whether it keeps to a rate: then small files too are read in steps, each when it is its
    /// turn.
    pub fn is_paced(&self) -> bool {
        self.is_paced
    }

    /// Counts bytes that somebody else than the loop is done with.
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
        if matches!(shape.hash, Hashing::Tree(_)) && shape.block_count() > route::BLOCKS_MAX {
            let failure = Failure::source(Operation::Hash, 0, Cause::TooManyBlocks);
            reply.send(Err(failure)).expect("the answer is waited for below");
        } else {
            if transfer.sides().any(|side| side.direct) {
                self.open_context();
            }
            self.send(Message::Transfer(transfer, reply));
        }
        Started(answer)
    }

    /// fsync(2) of all `files`, at once if they are many; blocks until each has its answer, in the
    /// same order.
    pub fn sync(&self, files: Vec<Arc<OwnedFd>>) -> Vec<io::Result<()>> {
        let count = files.len();
        let ops = files.into_iter().map(|file| Op::new(file, OpKind::Fsync)).collect();
        match self.carry_out(ops) {
            Ok(done) => done.into_iter().map(|done| done.result.map(drop)).collect(),
            Err(error) => (0..count).map(|_| Err(same(&error))).collect(),
        }
    }

    /// Carries out operations on direct descriptors, or syncs: many at once in the loop, few in
    /// this thread, one after the other. Blocks until all are over. They come back in the same
    /// order, or not at all if the loop cannot wait for them.
    fn carry_out(&self, ops: Vec<Op>) -> io::Result<Vec<Done>> {
        if ops.len() < TOGETHER_MIN {
            let carry_out = |mut op| Done { result: perform(&mut op, usize::MAX), op };
            return Ok(ops.into_iter().map(carry_out).collect());
        }
        if ops.iter().any(|op| is_data(&op.kind)) {
            self.open_context();
        }
        let (reply, answer) = bounded(1);
        self.send(Message::Batch(ops, reply));
        answer.recv().unwrap_or_else(|_| Err(io::Error::other(Cause::ThreadGone)))
    }

    /// What starts no more blocks when it is called, of files that are in the loop or come later.
    /// Blocks that are under way are finished, and syncs go on.
    pub fn stopper(&self) -> impl Fn() + Send + 'static {
        let (messages, waker) = (self.messages.clone(), Arc::clone(&self.waker));
        move || {
            // A loop that is gone has nothing left to stop.
            if messages.send(Message::Stop).is_ok() {
                waker.wake();
            }
        }
    }

    /// Has the loop end when it has nothing left to do. Dropping the pipeline does it too, and
    /// waits; what ends several tells all of them first.
    pub fn close(&self) {
        self.send(Message::Close);
    }

    fn send(&self, message: Message) {
        // The loop holds a receiver for as long as it runs; if it is gone, so is the reply's
        // sender, and that is told.
        if self.messages.send(message).is_ok() {
            self.waker.wake();
        }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::aio::sim::{Faults, Sim};
    use crate::aio::{Done, Engine, Op, Submitted};
    use crate::digest::{self, Mode, Output};

    /// The fake, which sleeps for nobody: where nothing was over it wakes the loop at once.
    struct Restless(Sim, Arc<Waker>, Arc<AtomicU64>);

    impl Engine for Restless {
        fn queue(&mut self, op: Op) -> Result<(), Op> {
            self.0.queue(op)
        }
        fn submit(&mut self) -> Submitted {
            self.0.submit()
        }
        fn reap(
            &mut self,
            min: usize,
            timeout: Option<Duration>,
            out: &mut Vec<Done>,
        ) -> io::Result<usize> {
            self.2.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let count = self.0.reap(min, timeout, out)?;
            if count == 0 && self.0.in_flight() > 0 {
                self.1.wake();
            }
            Ok(count)
        }
        fn in_flight(&self) -> usize {
            self.0.in_flight()
        }
    }

    /// The fake, whose waiting fails after a number of times.
    struct Breaking {
        engine: Restless,
        reaps_left: u32,
    }

    impl Engine for Breaking {
        fn queue(&mut self, op: Op) -> Result<(), Op> {
            self.engine.queue(op)
        }
        fn submit(&mut self) -> Submitted {
            self.engine.submit()
        }
        fn reap(
            &mut self,
            min: usize,
            timeout: Option<Duration>,
            out: &mut Vec<Done>,
        ) -> io::Result<usize> {
            let Some(left) = self.reaps_left.checked_sub(1) else {
                return Err(io::Error::from_raw_os_error(libc::EIO));
            };
            self.reaps_left = left;
            self.engine.reap(min, timeout, out)
        }
        fn in_flight(&self) -> usize {
            self.engine.in_flight()
        }
    }

    fn breaking(seed: u64, reaps_left: u32, traffic: Traffic) -> Pipeline<'static> {
        let waker = Arc::new(Waker::new().unwrap());
        let sim = Sim::new(seed, 8, Faults { delay: 0.5, ..Faults::default() });
        let engine = Restless(sim, Arc::clone(&waker), Arc::default());
        over(Box::new(Breaking { engine, reaps_left }), waker, traffic)
    }

    const BLOCK_BYTES: usize = 4096;

    fn pipeline(seed: u64, faults: Faults) -> Pipeline<'static> {
        metered(seed, faults, Traffic::default())
    }

    fn metered(seed: u64, faults: Faults, traffic: Traffic) -> Pipeline<'static> {
        counted(seed, faults, traffic, Arc::default())
    }

    /// A pipeline whose engine counts how often it is asked.
    fn counted(
        seed: u64,
        faults: Faults,
        traffic: Traffic,
        reaps: Arc<AtomicU64>,
    ) -> Pipeline<'static> {
        let waker = Arc::new(Waker::new().unwrap());
        let engine = Restless(Sim::new(seed, 8, faults), Arc::clone(&waker), reaps);
        over(Box::new(engine), waker, traffic)
    }

    fn over(engine: Box<dyn Engine>, waker: Arc<Waker>, traffic: Traffic) -> Pipeline<'static> {
        let limits = Limits { queue_depth: 8, block_bytes: BLOCK_BYTES };
        let engines = Engines::of(engine, limits.queue_depth, Arc::clone(&waker));
        Pipeline::run(limits, (engines, false.into()), (waker, traffic), Box::new(|_| ())).unwrap()
    }

    fn transfer(contents: &[u8], target: &std::fs::File) -> Transfer {
        use std::io::Write;
        let mut source = tempfile::tempfile().unwrap();
        source.write_all(contents).unwrap();
        let side = |file: std::fs::File| Endpoint { file: Arc::new(file.into()), direct: false };
        let shape = Shape {
            size_bytes: contents.len() as u64,
            block_bytes: BLOCK_BYTES as u64,
            read_align: 1,
            write_align: 1,
            hash: Hashing::Tree(Mode::Hash),
            sparse: false,
            data_blocks: None,
            known: Vec::new(),
            blocks: None,
        };
        Transfer {
            source: side(source),
            target: Some(side(target.try_clone().unwrap())),
            shape,
            progress: Progress::Handled(Arc::default()),
        }
    }

    #[test]
    fn short_counts_delays_and_any_order_give_the_same_bytes_and_hash() {
        use std::os::unix::fs::FileExt;
        let faults = Faults { shorten: 0.2, delay: 0.5, ..Faults::default() };
        for seed in 0..100 {
            let contents: Vec<u8> =
                (0..fastrand::Rng::with_seed(seed).usize(1..100_000)).map(|n| n as u8).collect();
            let target = tempfile::tempfile().unwrap();
            let moved = pipeline(seed, faults).transfer(transfer(&contents, &target)).unwrap();
            assert_eq!(
                moved.hash.as_ref().map(Output::hash),
                Some(*blake3::hash(&contents).as_bytes()),
                "seed {seed}"
            );
            let mut copied = vec![0; contents.len()];
            target.read_exact_at(&mut copied, 0).unwrap();
            assert!(copied == contents, "seed {seed}");
        }
    }

    #[test]
    fn a_stopped_pipeline_finishes_what_is_under_way_and_says_how_far_it_came() {
        let contents: Vec<u8> = (0..500 * BLOCK_BYTES).map(|n| (n / 3) as u8).collect();
        for seed in 0..100 {
            let pipeline = pipeline(seed, Faults { delay: 0.9, ..Faults::default() });
            let target = tempfile::tempfile().unwrap();
            let started = pipeline.start_transfer(transfer(&contents, &target));
            pipeline.stopper()();
            let moved = started.wait_for_some().unwrap();
            for (n, leaf) in moved.leaves.iter().enumerate() {
                let at = n * BLOCK_BYTES;
                let block = &contents[at..at + BLOCK_BYTES];
                match digest::leaf(&Mode::Hash, block, at as u64, contents.len() as u64) {
                    digest::Leaf::Inner(wanted) => assert_eq!(*leaf, wanted, "seed {seed}"),
                    digest::Leaf::Whole(_) => panic!("it is a part"),
                }
                let mut copied = vec![0; BLOCK_BYTES];
                std::os::unix::fs::FileExt::read_exact_at(&target, &mut copied, at as u64).unwrap();
                assert!(copied == block, "seed {seed}");
            }
            assert_eq!(moved.whole, moved.leaves.len() == 500, "seed {seed}");
            let failure = pipeline.transfer(transfer(&contents, &target)).unwrap_err();
            assert!(matches!(failure.cause, Cause::Interrupted));
        }
    }

    #[test]
    fn a_failing_device_fails_the_file_with_its_place_and_nothing_hangs() {
        let contents = vec![7; 50 * BLOCK_BYTES];
        let faults = Faults { fail: 0.2, delay: 0.3, ..Faults::default() };
        for seed in 0..100 {
            let pipeline = pipeline(seed, faults);
            let target = tempfile::tempfile().unwrap();
            let files = [&target, &target].map(|file| Arc::new(file.try_clone().unwrap().into()));
            let failure = pipeline
                .transfer(transfer(&contents, &target))
                .expect_err("a hundred operations cannot all succeed");
            assert!(
                [Operation::Read, Operation::Write].contains(&failure.op),
                "seed {seed}: {}",
                failure.op
            );
            assert!(
                failure.offset_bytes < contents.len() as u64
                    && failure.offset_bytes.is_multiple_of(BLOCK_BYTES as u64)
            );
            assert_eq!(pipeline.sync(files.to_vec()).len(), 2);
        }
    }

    #[test]
    fn a_loop_that_cannot_wait_answers_all_that_is_in_it_and_all_that_comes_with_the_error() {
        let contents = vec![7; 50 * BLOCK_BYTES + 5];
        let is_the_error = |cause: &Cause| matches!(cause, Cause::Os(error) if error.raw_os_error() == Some(libc::EIO));
        let mut failed_early = 0;
        for reaps_left in 0..60 {
            let traffic = Traffic::default();
            let pipeline = breaking(reaps_left.into(), reaps_left, traffic.clone());
            let target = tempfile::tempfile().unwrap();
            let file: Arc<OwnedFd> = Arc::new(target.try_clone().unwrap().into());
            std::thread::scope(|scope| {
                let (pipeline, contents, target) = (&pipeline, &contents, &target);
                for _ in 0..3 {
                    scope.spawn(move || {
                        if let Err(failure) = pipeline.transfer(transfer(contents, target)) {
                            assert_eq!(failure.op, Operation::AwaitIo);
                            assert!(is_the_error(&failure.cause), "{:?}", failure.cause);
                        }
                    });
                }
                let syncs = scope.spawn(|| pipeline.sync(vec![Arc::clone(&file); 5]));
                for synced in syncs.join().unwrap() {
                    assert!(synced.is_ok() || is_the_error(&synced.unwrap_err().into()));
                }
                failed_early += usize::from(pipeline.sync(vec![Arc::clone(&file); 5])[0].is_err());
            });
            // Once it is sure to have failed, everything is answered with that.
            while pipeline.transfer(transfer(&contents, &target)).is_ok() {}
            assert!(pipeline.sync(vec![Arc::clone(&file); 5]).iter().all(Result::is_err));
            // Five reads are a submission.
            let files = (0..9).map(|n| Whole::of(vec![n; 5000], n % 2 == 0)).collect();
            let mut read = 0;
            pipeline.read_together(files, Whole::direct, |file, contents| {
                read += 1;
                match contents {
                    Ok(contents) => assert!(!file.is_direct && contents.is_none()),
                    Err(failure) => assert!(file.is_direct && is_the_error(&failure.cause)),
                }
            });
            assert_eq!(read, 9);
            pipeline.stopper()();
            drop(pipeline);
            let in_flight = crate::report::Totals::get(&traffic.meter.blocks_in_flight);
            let size_bytes = contents.len() as u64;
            let handled = crate::report::Totals::get(&traffic.meter.handled_bytes);
            assert!(in_flight == 0 && handled.is_multiple_of(size_bytes), "{in_flight} {handled}");
        }
        assert!(failed_early > 10, "{failed_early} failed while others were in the loop");
    }

    #[test]
    fn every_byte_is_counted_once_and_those_of_a_file_that_fails_are_taken_back() {
        let contents = vec![7; 50 * BLOCK_BYTES + 5];
        for seed in 0..50 {
            let traffic = Traffic::default();
            traffic.meter.take_times();
            let fail = if seed % 2 == 0 { 0.0 } else { 0.2 };
            let faults = Faults { shorten: 0.1, fail, delay: 0.3, ..Faults::default() };
            let pipeline = metered(seed, faults, traffic.clone());
            let target = tempfile::tempfile().unwrap();
            let moved = pipeline.transfer(transfer(&contents, &target));
            drop(pipeline);
            let meter = &traffic.meter;
            let [read, written, handled, in_flight] = [
                &meter.read_bytes,
                &meter.written_bytes,
                &meter.handled_bytes,
                &meter.blocks_in_flight,
            ]
            .map(crate::report::Totals::get);
            assert_eq!(in_flight, 0, "seed {seed}");
            if moved.is_ok() {
                let size_bytes = contents.len() as u64;
                assert!(
                    read >= size_bytes && written >= size_bytes && handled == size_bytes,
                    "seed {seed}"
                );
                assert!(meter.latencies().unwrap().writes.count() >= 51, "seed {seed}");
            } else {
                assert!(seed % 2 == 1 && handled == 0, "seed {seed}");
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no kernel AIO")]
    fn a_context_that_is_made_while_something_moves_carries_on_with_it() {
        // Kernel AIO serves these descriptors too, though it would do so itself.
        let direct = |transfer: Transfer| {
            let [source, target] = [Some(transfer.source), transfer.target]
                .map(|side| side.map(|side| Endpoint { direct: true, ..side }));
            Transfer { source: source.unwrap(), target, ..transfer }
        };
        for seed in 0..100u8 {
            let limits = Limits { queue_depth: 8, block_bytes: BLOCK_BYTES };
            let pipeline =
                Pipeline::start(limits, EngineKind::Auto, Traffic::default(), |_| ()).unwrap();
            let contents: Vec<u8> =
                (0..50 * BLOCK_BYTES + usize::from(seed)).map(|n| (n / 3) as u8 ^ seed).collect();
            let targets = [(); 6].map(|()| tempfile::tempfile().unwrap());
            std::thread::scope(|scope| {
                for (n, target) in targets.iter().enumerate() {
                    let (pipeline, contents) = (&pipeline, &contents);
                    scope.spawn(move || {
                        let transfer = transfer(contents, target);
                        let moved = pipeline
                            .transfer(if n % 2 == 0 { transfer } else { direct(transfer) })
                            .unwrap();
                        let files =
                            (0..5).map(|_| Arc::new(target.try_clone().unwrap().into())).collect();
                        assert!(pipeline.sync(files).iter().all(Result::is_ok), "seed {seed}");
                        assert_eq!(
                            moved.root(),
                            Some(*blake3::hash(contents).as_bytes()),
                            "seed {seed}"
                        );
                    });
                }
            });
            assert_eq!(pipeline.has_context.get(), Some(&true));
        }
    }

    #[test]
    fn a_rate_is_kept_to() {
        // 40 KiB at 256 KiB a second, of which the first block is free: 36 / 256 of a second,
        // however fast the machine.
        let contents = vec![7; 10 * BLOCK_BYTES];
        let pace = Some(Arc::new(Pace::new(std::num::NonZeroU64::new(256 << 10).unwrap())));
        let pipeline = metered(1, Faults::default(), Traffic { pace, ..Traffic::default() });
        let target = tempfile::tempfile().unwrap();
        let begun = std::time::Instant::now();
        pipeline.transfer(transfer(&contents, &target)).unwrap();
        assert!(begun.elapsed() >= Duration::from_micros(140_625), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_turn_that_nobody_takes_keeps_nobody_awake() {
        // The first block fails while the second waits for its turn, which comes and goes.
        let contents = vec![7; 10 * BLOCK_BYTES];
        let pace = Some(Arc::new(Pace::new(std::num::NonZeroU64::new(256 << 10).unwrap())));
        let (faults, reaps) = (Faults { fail: 1.0, ..Faults::default() }, Arc::default());
        let pipeline =
            counted(1, faults, Traffic { pace, ..Traffic::default() }, Arc::clone(&reaps));
        let target = tempfile::tempfile().unwrap();
        pipeline.transfer(transfer(&contents, &target)).unwrap_err();
        let before = crate::report::Totals::get(&reaps);
        std::thread::sleep(Duration::from_millis(100));
        let rounds = crate::report::Totals::get(&reaps) - before;
        assert!(rounds < 20, "{rounds} rounds with nothing to do");
    }

    /// A small file, whether it is read direct, and the size that it is said to have.
    struct Whole {
        file: Arc<OwnedFd>,
        contents: Vec<u8>,
        is_direct: bool,
        size_bytes: u64,
    }

    impl Whole {
        fn random(random: &mut fastrand::Rng) -> Self {
            // Many have the same size, and one page or two, and each has contents of its own.
            let len = match random.u8(..) {
                0..8 => random.usize(1..1 << 20),
                8..128 => random.usize(1..3) * 4096,
                _ => random.usize(1..20_000),
            };
            let begins = random.usize(..);
            let contents: Vec<u8> =
                (0..len).map(|n| (begins.wrapping_add(n * 31) >> 7) as u8).collect();
            // Some have shrunk or grown since their size was asked for.
            let size_bytes = match random.u8(..) {
                0..16 => len as u64 + 1,
                16..32 => (len as u64).div_ceil(2),
                _ => len as u64,
            };
            Self { size_bytes, ..Self::of(contents, random.u8(..) > 32) }
        }

        fn of(contents: Vec<u8>, is_direct: bool) -> Self {
            use std::io::Write;
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&contents).unwrap();
            let size_bytes = contents.len() as u64;
            Self { file: Arc::new(file.into()), contents, is_direct, size_bytes }
        }

        fn direct(&self) -> Option<small::DirectRead<'_>> {
            self.is_direct
                .then_some(small::DirectRead { file: &self.file, size_bytes: self.size_bytes })
        }
    }

    #[test]
    fn small_files_come_in_their_order_and_with_all_of_their_contents_or_none() {
        let (mut read, mut failed) = (0, 0);
        for seed in 0..50 {
            let mut random = fastrand::Rng::with_seed(seed);
            let pipeline =
                pipeline(seed, Faults { shorten: 0.1, fail: 0.1, delay: 0.5, ..Faults::default() });
            let files: Vec<_> =
                (0..random.usize(0..150)).map(|n| (n, Whole::random(&mut random))).collect();
            let (count, mut next) = (files.len(), 0);
            pipeline.read_together(
                files,
                |(_, file)| file.direct(),
                |(n, file), contents| {
                    assert_eq!(n, next, "seed {seed}");
                    next += 1;
                    match contents.unwrap() {
                        Some(bytes) => {
                            assert!(
                                file.is_direct && bytes.len() as u64 == file.size_bytes,
                                "seed {seed}, file {n}"
                            );
                            assert!(file.contents.starts_with(bytes), "seed {seed}, file {n}");
                            read += 1;
                        }
                        None => failed += usize::from(file.is_direct),
                    }
                },
            );
            assert_eq!(next, count, "seed {seed}");
        }
        assert!(read > 1000 && failed > 100, "{read} read, {failed} failed");
    }

    #[test]
    fn more_readers_than_there_is_memory_for_take_turns() {
        let pipeline = pipeline(1, Faults { delay: 0.5, ..Faults::default() });
        let read = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for seed in 0..100 {
                let (pipeline, read) = (&pipeline, &read);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    let files = (0..10)
                        .map(|_| Whole { is_direct: true, ..Whole::random(&mut random) })
                        .collect();
                    pipeline.read_together(files, Whole::direct, |file, contents| {
                        let contents = contents.unwrap();
                        assert_eq!(
                            contents.is_some(),
                            file.size_bytes <= file.contents.len() as u64
                        );
                        assert!(
                            contents.is_none_or(|bytes| file.contents.starts_with(bytes)),
                            "seed {seed}"
                        );
                        read.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    });
                });
            }
        });
        assert_eq!(read.into_inner(), 1000);
    }
}
