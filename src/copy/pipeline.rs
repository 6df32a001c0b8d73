//! The loop that moves the blocks of big files: one thread, one kernel AIO context, one place to wait.
//!
//! A free buffer is filled by a read; the completed block is written through the same context and hashed by rayon at
//! the same time; when both have let go of the buffer it is free again. Files follow each other without a gap: the
//! first file that has blocks left to start gets the next free buffer. Fsyncs of whole batches of files go through the same
//! context. Descriptors that are not direct are served by threads, since io_submit would block on them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::job::{Failure, Flight, Job, Moved, Next, Shape, Step};
use crate::aio::{Buffer, Done, Engine, Kernel, Op, OpKind, Pool, SharedBuffer, Threads, Waker};
use crate::digest::{self, Leaf};
use crate::error::Cause;

/// Fsyncs that may be in the context beside the data.
const SYNCS_MAX: usize = 256;
/// Threads for what is not direct: enough to hide the latency of a network filesystem, and cheap when idle.
const IO_THREADS: usize = 16;

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
pub struct Side {
    /// The open file.
    pub file: Arc<OwnedFd>,
    /// Whether it has `O_DIRECT`.
    pub direct: bool,
}

/// A file to be moved.
pub struct Transfer {
    /// Where it is read.
    pub source: Side,
    /// Where it is written.
    pub target: Side,
    /// What is moved.
    pub shape: Shape,
}

enum Message {
    Transfer(Transfer, Sender<Result<Moved, Failure>>),
    Sync(Vec<Arc<OwnedFd>>, Sender<Vec<io::Result<()>>>),
    Hashed { job: usize, block: u64, leaf: Leaf, hole: bool },
    Close,
}

/// The loop's thread, and the way to talk to it. Dropping it waits for what is in flight.
pub struct Pipeline {
    messages: Sender<Message>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    no_kernel: Option<String>,
}

impl Pipeline {
    /// Starts the loop. Without kernel AIO (see [`no_kernel_aio`](Self::no_kernel_aio)) threads do its work. Fails when
    /// there are too many open files or threads.
    pub fn start(limits: Limits) -> io::Result<Self> {
        let waker = Arc::new(Waker::new()?);
        let (messages, inbox) = unbounded();
        let (kernel, no_kernel) = match open_context(limits.queue_depth, &waker) {
            Ok(kernel) => (Some(kernel), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let state = Loop::new(limits, kernel, inbox, messages.clone(), Arc::clone(&waker));
        let thread = std::thread::Builder::new().name("aiocp-loop".to_owned()).spawn(move || state.run())?;
        Ok(Self { messages, waker, thread: Some(thread), no_kernel })
    }

    /// Why threads serve direct I/O too, if they do.
    pub fn no_kernel_aio(&self) -> Option<&str> {
        self.no_kernel.as_deref()
    }

    /// Moves a file's data, and blocks until all of it is written and hashed. It is not durable by then.
    pub fn transfer(&self, transfer: Transfer) -> Result<Moved, Failure> {
        let (reply, answer) = bounded(1);
        self.send(Message::Transfer(transfer, reply));
        answer.recv().unwrap_or(Err(Failure { op: "copy", offset_bytes: 0, cause: Cause::ThreadGone }))
    }

    /// fsync(2) of all `files` at once; blocks until each has its answer, in the same order.
    pub fn sync(&self, files: Vec<Arc<OwnedFd>>) -> Vec<io::Result<()>> {
        let count = files.len();
        if count == 0 {
            return Vec::new();
        }
        let (reply, answer) = bounded(1);
        self.send(Message::Sync(files, reply));
        let gone = |_| (0..count).map(|_| Err(io::Error::other(Cause::ThreadGone))).collect();
        answer.recv().unwrap_or_else(gone)
    }

    fn send(&self, message: Message) {
        // The loop holds a receiver for as long as it runs; if it is gone, so is the reply's sender, and that is told.
        if self.messages.send(message).is_ok() {
            self.waker.wake();
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.send(Message::Close);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// A context for the data, the syncs and the waker's poll; smaller when the host has few operations left. The poll is in it
/// already: without polls (Linux before 4.18, some sandboxes) the loop could not be woken, and threads serve better.
fn open_context(queue_depth: usize, waker: &Waker) -> io::Result<Kernel> {
    let capacity = |syncs: usize| u32::try_from(queue_depth + syncs + 1).unwrap_or(u32::MAX);
    let mut kernel = Kernel::new(capacity(SYNCS_MAX)).or_else(|_| Kernel::new(capacity(8)))?;
    let refused = kernel.queue(wake_poll(waker));
    debug_assert!(refused.is_ok(), "a new context has room");
    kernel.submit()?;
    let mut done = Vec::new();
    kernel.reap(0, None, &mut done)?;
    match done.pop() {
        Some(Done { result: Err(error), .. }) => Err(error),
        _ => Ok(kernel),
    }
}

fn wake_poll(waker: &Waker) -> Op {
    let file = Arc::clone(waker.event());
    Op { kind: OpKind::PollReadable, file, offset_bytes: 0, tag: Tag::Wake.pack() }
}

/// A file in the loop.
struct Entry {
    job: Job,
    source: Side,
    target: Side,
    reply: Sender<Result<Moved, Failure>>,
}

/// A batch of fsyncs in the loop.
struct Syncs {
    left: usize,
    results: Vec<io::Result<()>>,
    reply: Sender<Vec<io::Result<()>>>,
}

/// A list whose places are used again, so that an index can be an operation's tag.
struct Slab<T>(Vec<Option<T>>, Vec<usize>);

impl<T> Slab<T> {
    fn insert(&mut self, value: T) -> usize {
        let index = self.1.pop().unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        });
        self.0[index] = Some(value);
        index
    }

    fn get(&mut self, index: usize) -> &mut T {
        self.0[index].as_mut().expect("the index is in use")
    }

    fn remove(&mut self, index: usize) -> T {
        self.1.push(index);
        self.0[index].take().expect("the index is in use")
    }

    fn is_empty(&self) -> bool {
        self.0.len() == self.1.len()
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self(Vec::new(), Vec::new())
    }
}

/// What a tag says: which block, which file of which sync, or the waker's poll.
enum Tag {
    Flight(usize),
    Sync(usize, usize),
    Wake,
}

impl Tag {
    fn pack(self) -> u64 {
        match self {
            Tag::Flight(index) => index as u64,
            Tag::Sync(batch, index) => 1 << 63 | (batch as u64) << 32 | index as u64,
            Tag::Wake => u64::MAX,
        }
    }

    fn unpack(tag: u64) -> Self {
        match tag {
            u64::MAX => Tag::Wake,
            tag if tag >> 63 == 0 => Tag::Flight(tag as usize),
            tag => Tag::Sync((tag << 1 >> 33) as usize, tag as u32 as usize),
        }
    }
}

struct Loop {
    limits: Limits,
    kernel: Option<Kernel>,
    /// Made with the first operation that is not for the kernel.
    threads: Option<Threads>,
    /// Made with the first file.
    pool: Option<Pool>,
    inbox: Receiver<Message>,
    /// For the hashers' answers.
    messages: Sender<Message>,
    waker: Arc<Waker>,
    polling: bool,
    jobs: Slab<Entry>,
    /// Jobs with blocks left to start, the first one first.
    reading: VecDeque<usize>,
    flights: Slab<Flight>,
    syncs: Slab<Syncs>,
    /// Operations that found the context full.
    backlog: VecDeque<Op>,
    data_in_kernel: usize,
    /// Blocks of holes that are being hashed.
    holes_out: usize,
    done: Vec<Done>,
    closing: bool,
}

impl Loop {
    fn new(
        limits: Limits,
        kernel: Option<Kernel>,
        inbox: Receiver<Message>,
        messages: Sender<Message>,
        waker: Arc<Waker>,
    ) -> Self {
        Self {
            limits,
            kernel,
            threads: None,
            pool: None,
            inbox,
            messages,
            waker,
            polling: true,
            jobs: Slab::default(),
            reading: VecDeque::new(),
            flights: Slab::default(),
            syncs: Slab::default(),
            backlog: VecDeque::new(),
            data_in_kernel: 0,
            holes_out: 0,
            done: Vec::new(),
            closing: false,
        }
    }

    /// Runs until it is told to close and has nothing left to do.
    ///
    /// # Panics
    /// If waiting fails, which with valid arguments on an own context or eventfd nothing can bring about.
    fn run(mut self) {
        loop {
            while let Ok(message) = self.inbox.try_recv() {
                self.receive(message);
            }
            self.start_blocks();
            if self.closing && self.jobs.is_empty() && self.syncs.is_empty() {
                return;
            }
            self.wait().expect("waiting for completions");
            let mut done = std::mem::take(&mut self.done);
            for Done { op, result } in done.drain(..) {
                self.complete(op, result);
            }
            self.done = done;
            for _ in 0..self.backlog.len() {
                let Some(op) = self.backlog.pop_front() else { break };
                self.queue(op);
            }
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Transfer(Transfer { source, target, shape }, reply) => {
                let index = self.jobs.insert(Entry { job: Job::new(shape), source, target, reply });
                match self.make_pool() {
                    Ok(()) => self.reading.push_back(index),
                    Err(error) => self.fail(index, "allocate buffers for", 0, error),
                }
                self.end_if_over(index);
            }
            Message::Sync(files, reply) => {
                let left = files.len();
                let results = (0..left).map(|_| Ok(())).collect();
                let batch = self.syncs.insert(Syncs { left, results, reply });
                for (index, file) in files.into_iter().enumerate() {
                    let tag = Tag::Sync(batch, index).pack();
                    self.queue(Op { kind: OpKind::Fsync, file, offset_bytes: 0, tag });
                }
            }
            Message::Hashed { job, block, leaf, hole } => {
                self.holes_out -= usize::from(hole);
                let entry = self.jobs.get(job);
                entry.job.hashed(block, leaf);
                entry.job.part_back();
                self.end_if_over(job);
            }
            Message::Close => self.closing = true,
        }
    }

    fn make_pool(&mut self) -> io::Result<()> {
        if self.pool.is_none() {
            self.pool = Some(Pool::new(self.limits.queue_depth, self.limits.block_bytes)?);
        }
        Ok(())
    }

    /// Gives every free buffer to the first file that has a block left to read.
    fn start_blocks(&mut self) {
        while let Some(&index) = self.reading.front() {
            let entry = self.jobs.get(index);
            match entry.job.next() {
                Some(Next::Read(block)) => {
                    let Some(buffer) = self.pool.as_ref().and_then(Pool::get) else { return };
                    entry.job.start_next();
                    entry.job.part_out();
                    let flight = Flight::new(index, block, entry.job.shape());
                    let range = flight.read_range();
                    let flight = self.flights.insert(flight);
                    self.read(flight, buffer, range);
                }
                Some(Next::Hole(block)) => {
                    // No buffer limits the hashing of holes, so that their number has to.
                    if self.holes_out == self.limits.queue_depth {
                        return;
                    }
                    entry.job.start_next();
                    if entry.job.shape().hash {
                        self.hash_hole(index, block);
                    }
                }
                None => {
                    self.reading.pop_front();
                    self.end_if_over(index);
                }
            }
        }
    }

    fn read(&mut self, flight: usize, buffer: Buffer, range: std::ops::Range<usize>) {
        let Flight { job, offset_bytes, .. } = *self.flights.get(flight);
        let file = Arc::clone(&self.jobs.get(job).source.file);
        let offset_bytes = offset_bytes + range.start as u64;
        let kind = OpKind::Read { buffer, start: range.start, end: range.end };
        self.queue(Op { kind, file, offset_bytes, tag: Tag::Flight(flight).pack() });
    }

    fn write(&mut self, flight: usize, buffer: SharedBuffer, range: std::ops::Range<usize>) {
        let Flight { job, offset_bytes, .. } = *self.flights.get(flight);
        let file = Arc::clone(&self.jobs.get(job).target.file);
        let offset_bytes = offset_bytes + range.start as u64;
        let kind = OpKind::Write { buffer, start: range.start, end: range.end };
        self.queue(Op { kind, file, offset_bytes, tag: Tag::Flight(flight).pack() });
    }

    /// Direct files and syncs go to the kernel, the rest to threads.
    fn queue(&mut self, op: Op) {
        let is_data = !matches!(op.kind, OpKind::Fsync);
        let direct = match Tag::unpack(op.tag) {
            Tag::Sync(..) | Tag::Wake => true,
            Tag::Flight(flight) => {
                let job = self.flights.get(flight).job;
                let entry = self.jobs.get(job);
                if matches!(op.kind, OpKind::Read { .. }) { entry.source.direct } else { entry.target.direct }
            }
        };
        let refused = match &mut self.kernel {
            Some(kernel) if direct => {
                let refused = kernel.queue(op).err();
                self.data_in_kernel += usize::from(is_data && refused.is_none());
                refused
            }
            _ => self.queue_to_threads(op),
        };
        self.backlog.extend(refused);
    }

    fn queue_to_threads(&mut self, op: Op) -> Option<Op> {
        if self.threads.is_none() {
            let capacity = self.limits.queue_depth + SYNCS_MAX;
            match Threads::new(IO_THREADS, capacity, Some(Arc::clone(&self.waker))) {
                Ok(threads) => self.threads = Some(threads),
                Err(error) => {
                    self.complete(op, Err(error));
                    return None;
                }
            }
        }
        self.threads.as_mut().and_then(|threads| threads.queue(op).err())
    }

    /// Hands out what is queued and waits. With much in the kernel it waits for several completions at once, so
    /// that the next submission is a batch; otherwise anything that happens ends the wait.
    fn wait(&mut self) -> io::Result<()> {
        let patient = self.threads.as_ref().is_none_or(|threads| threads.in_flight() == 0);
        let Some(kernel) = &mut self.kernel else {
            self.waker.arm();
            let ready = self.threads.as_ref().is_some_and(Threads::has_finished);
            if self.inbox.is_empty() && !ready {
                self.waker.wait()?;
            }
            self.waker.disarm()?;
            return self.reap_threads();
        };
        let many = self.data_in_kernel >= self.limits.queue_depth.div_ceil(4) && self.data_in_kernel >= 2;
        if many && patient {
            let min = (self.data_in_kernel / 4).clamp(1, 8);
            return self.reap_kernel(min);
        }
        if !self.polling {
            // A full ring leaves no room for the poll, but then it has completions to wait for.
            self.polling = kernel.queue(wake_poll(&self.waker)).is_ok();
        }
        self.waker.arm();
        let ready = self.threads.as_ref().is_some_and(Threads::has_finished) || !self.inbox.is_empty();
        self.reap_kernel(usize::from(!ready))?;
        self.waker.disarm()?;
        self.reap_threads()
    }

    fn reap_kernel(&mut self, min: usize) -> io::Result<()> {
        if let Some(kernel) = &mut self.kernel {
            kernel.submit()?;
            kernel.reap(min, None, &mut self.done)?;
        }
        let is_data = |done: &&Done| matches!(done.op.kind, OpKind::Read { .. } | OpKind::Write { .. });
        self.data_in_kernel -= self.done.iter().filter(is_data).count();
        Ok(())
    }

    fn reap_threads(&mut self) -> io::Result<()> {
        if let Some(threads) = &mut self.threads {
            threads.reap(0, None, &mut self.done)?;
        }
        Ok(())
    }

    fn complete(&mut self, op: Op, result: io::Result<usize>) {
        let Op { kind, tag, file, .. } = op;
        // The caller of a sync closes the file next, so this hold on it must be gone before the answer.
        drop(file);
        match (Tag::unpack(tag), kind) {
            (Tag::Wake, _) => self.polling = false,
            (Tag::Sync(batch, index), _) => self.synced(batch, index, result.map(drop)),
            (Tag::Flight(flight), OpKind::Read { buffer, .. }) => self.read_done(flight, buffer, result),
            (Tag::Flight(flight), OpKind::Write { buffer, .. }) => self.write_done(flight, buffer, result),
            (Tag::Flight(_), OpKind::Fsync | OpKind::PollReadable) => unreachable!("a block is read or written"),
        }
    }

    fn synced(&mut self, batch: usize, index: usize, result: io::Result<()>) {
        let syncs = self.syncs.get(batch);
        syncs.results[index] = result;
        syncs.left -= 1;
        if syncs.left == 0 {
            let syncs = self.syncs.remove(batch);
            // Whoever asked may have panicked; nobody else wants the answer.
            drop(syncs.reply.send(syncs.results));
        }
    }

    fn read_done(&mut self, index: usize, mut buffer: Buffer, result: io::Result<usize>) {
        let flight = self.flights.get(index);
        let (job, block, offset_bytes) = (flight.job, flight.block, flight.offset_bytes);
        let step = match result {
            Ok(count) => flight.read(count),
            Err(error) => return self.abandon(index, "read", error),
        };
        match step {
            Step::Again(range) => return self.read(index, buffer, range),
            Step::Stuck => return self.abandon(index, "read", Cause::SourceChanged),
            Step::Whole => {}
        }
        let entry = self.jobs.get(job);
        let shape = entry.job.shape();
        let (len, hash, size_bytes) = (flight.len_bytes(), shape.hash, shape.size_bytes);
        flight.begin_writing(shape);
        // What stands beyond the file's end is cut off later, but must not carry another file's bytes to the device.
        buffer[len..].fill(0);
        let buffer = buffer.freeze();
        if hash {
            entry.job.part_out();
            let shared = buffer.clone();
            self.spawn_hash(job, block, false, move || digest::leaf(&shared[..len], offset_bytes, size_bytes));
        }
        self.write_next(index, buffer);
    }

    fn write_done(&mut self, index: usize, buffer: SharedBuffer, result: io::Result<usize>) {
        let flight = self.flights.get(index);
        match result.map(|count| flight.written(count)) {
            Ok(Step::Again(range)) => self.write(index, buffer, range),
            Ok(Step::Whole) => self.write_next(index, buffer),
            Ok(Step::Stuck) => self.abandon(index, "write", io::Error::from(io::ErrorKind::WriteZero)),
            Err(error) => self.abandon(index, "write", error),
        }
    }

    /// Writes the block's next run of data; without one the block is done.
    fn write_next(&mut self, index: usize, buffer: SharedBuffer) {
        let flight = self.flights.get(index);
        let job = flight.job;
        let entry = self.jobs.get(job);
        let sparse = entry.job.shape().sparse;
        if !entry.job.has_failed()
            && let Some(range) = flight.write_range(&buffer, sparse)
        {
            entry.job.written((flight.len_bytes().min(range.end) - range.start) as u64);
            return self.write(index, buffer, range);
        }
        self.flights.remove(index);
        entry.job.part_back();
        self.end_if_over(job);
    }

    /// A block that failed fails its file.
    fn abandon(&mut self, index: usize, op: &'static str, cause: impl Into<Cause>) {
        let flight = self.flights.remove(index);
        self.jobs.get(flight.job).job.part_back();
        self.fail(flight.job, op, flight.offset_bytes, cause);
        self.end_if_over(flight.job);
    }

    fn fail(&mut self, job: usize, op: &'static str, offset_bytes: u64, cause: impl Into<Cause>) {
        self.jobs.get(job).job.fail(Failure { op, offset_bytes, cause: cause.into() });
    }

    fn hash_hole(&mut self, job: usize, block: u64) {
        let entry = self.jobs.get(job);
        entry.job.part_out();
        self.holes_out += 1;
        let shape = entry.job.shape();
        let (len, offset, size) = (shape.block_len(block), block * shape.block_bytes, shape.size_bytes);
        self.spawn_hash(job, block, true, move || digest::leaf_of_zeros(len, offset, size));
    }

    /// Hashes on rayon's threads. The buffer is let go of before the answer is sent, so that it is free when the loop wakes.
    fn spawn_hash(&self, job: usize, block: u64, hole: bool, hash: impl FnOnce() -> Leaf + Send + 'static) {
        let (messages, waker) = (self.messages.clone(), Arc::clone(&self.waker));
        rayon::spawn(move || {
            let leaf = hash();
            if messages.send(Message::Hashed { job, block, leaf, hole }).is_ok() {
                waker.wake();
            }
        });
    }

    fn end_if_over(&mut self, index: usize) {
        let over = |slot: &Option<Entry>| slot.as_ref().is_some_and(|entry| entry.job.is_over());
        if !self.jobs.0.get(index).is_some_and(over) || self.reading.contains(&index) {
            return;
        }
        let Entry { job, source, target, reply } = self.jobs.remove(index);
        drop((source, target));
        // Whoever asked may have panicked; nobody else wants the answer.
        drop(reply.send(job.finish()));
    }
}
