//! The loop: one thread, one kernel AIO context, one place to wait.
//!
//! A free buffer is filled by a read. The completed block is written through the same context, and
//! hashed by rayon at the same time. When both have let go of the buffer, it is free again. Files
//! follow each other without a gap: the first file that has blocks left to start gets the next free
//! buffer. The reads of small files, and fsyncs of many files, go through the same context.
//! [`engines`](super::engines) decides which engine carries out what.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::engines::{Engines, IoPath};
use super::flight::{Flight, Step};
use super::hashers::Hashers;
use super::job::{HashBlock, Job, Next};
use super::message::{Mailbox, Message};
use super::outcome::{Failure, Moved, same};
use super::slab::Slab;
use super::tag::Tag;
use super::traffic::Traffic;
use super::transfer::{Endpoint, Limits, Progress, Transfer};
use crate::digest::{Leaf, Run};
use crate::error::{Cause, Operation};
use crate::report::Totals;
use linux_aio::{Buffer, Done, Op, OpKind, Part, Pool, SharedBuffer};

/// A file in the loop.
struct ActiveJob {
    job: Job,
    source: Endpoint,
    target: Option<Endpoint>,
    progress: Progress,
    /// Bytes that were counted as progress.
    progress_bytes: u64,
    reply: Sender<Result<Moved, Failure>>,
}

/// Operations that were handed in together and are answered together.
struct OpBatch {
    left: usize,
    done: Vec<Option<Done>>,
    reply: Sender<io::Result<Vec<Done>>>,
}

/// The loop, which its thread [runs](Self::run).
pub struct Loop {
    limits: Limits,
    engines: Engines,
    /// Made with the first file.
    pool: Option<Pool>,
    inbox: Receiver<Message>,
    hashers: Hashers,
    jobs: Slab<ActiveJob>,
    /// Jobs with blocks left to start, the first one first.
    reading: VecDeque<usize>,
    /// Blocks, with their jobs, that memory was believed to hold, and which count as out.
    missed: VecDeque<(usize, u64)>,
    flights: Slab<Flight>,
    batches: Slab<OpBatch>,
    /// Operations that found the context full.
    backlog: VecDeque<Op>,
    /// Blocks that are counted as in flight.
    blocks_out: u64,
    done: Vec<Done>,
    traffic: Traffic,
    /// When the next block may be read, if there is a rate to keep to and its turn is not used yet.
    turn: Option<Instant>,
    closing: bool,
    stopped: bool,
}

impl ActiveJob {
    /// Whether its blocks are best read by who hashes them: memory holds them, and nothing else is
    /// done with them.
    fn is_hashed_alone(&self) -> bool {
        self.source.is_cached && self.target.is_none() && self.job.tree_mode().is_some()
    }
}

impl Loop {
    /// A loop with nothing in it. It reads `inbox`, the other end of `mailbox`.
    pub fn new(
        limits: Limits,
        engines: Engines,
        mailbox: Mailbox,
        inbox: Receiver<Message>,
        traffic: Traffic,
    ) -> Self {
        let hashers = Hashers::new(limits.budget, Arc::clone(&traffic.meter), mailbox);
        Self {
            limits,
            engines,
            pool: None,
            inbox,
            hashers,
            jobs: Slab::default(),
            reading: VecDeque::new(),
            missed: VecDeque::new(),
            flights: Slab::default(),
            batches: Slab::default(),
            backlog: VecDeque::new(),
            blocks_out: 0,
            done: Vec::new(),
            traffic,
            turn: None,
            closing: false,
            stopped: false,
        }
    }

    /// Runs until it is closed and has nothing left to do. If it cannot wait any more, it answers
    /// everything with that error.
    pub fn run(mut self) {
        if let Err(error) = self.serve() {
            self.refuse_all(&error);
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        loop {
            while let Ok(message) = self.inbox.try_recv() {
                self.receive(message);
            }
            let due = self.start_blocks();
            if self.closing && self.jobs.is_empty() && self.batches.is_empty() {
                return Ok(());
            }
            let timeout = due.map(|due| due.saturating_duration_since(Instant::now()));
            self.engines.wait(|| !self.inbox.is_empty(), timeout, &mut self.done)?;
            let mut done = std::mem::take(&mut self.done);
            for done in done.drain(..) {
                self.complete(done);
            }
            self.done = done;
            for _ in 0..self.backlog.len() {
                let Some(op) = self.backlog.pop_front() else { break };
                self.queue(op);
            }
        }
    }

    /// Answers all that is in the loop, and what comes until it is closed, with the error that
    /// keeps it from waiting. What is in flight is waited for first, so that nothing is written to
    /// a file after its failure was answered.
    fn refuse_all(self, error: &io::Error) {
        let Self { engines, inbox, jobs, batches, traffic, blocks_out, mut closing, .. } = self;
        engines.end();
        Totals::take(&traffic.meter.blocks_in_flight, blocks_out);
        for ActiveJob { job, progress, progress_bytes, reply, .. } in jobs.into_values() {
            progress.sums(&traffic.meter).for_each(|sum| Totals::take(sum, progress_bytes));
            answer(&reply, Err(job.give_up(Failure::waiting(error))));
        }
        for OpBatch { reply, .. } in batches.into_values() {
            answer(&reply, Err(same(error)));
        }
        while !closing && let Ok(message) = inbox.recv() {
            match message {
                Message::Transfer(_, reply) => answer(&reply, Err(Failure::waiting(error))),
                Message::Ops(_, reply) => answer(&reply, Err(same(error))),
                Message::Close => closing = true,
                Message::Panicked(panic) => resume_unwind(panic),
                // Nothing is left that these could be about.
                Message::Context(_) | Message::Stop => {}
                Message::Hashed { .. } | Message::HoleHashed { .. } => {}
                Message::CachedHashed { .. } | Message::Updated { .. } => {}
            }
        }
    }

    fn receive(&mut self, message: Message) {
        match message {
            Message::Transfer(transfer, reply) => self.begin(transfer, reply),
            Message::Ops(ops, reply) => {
                let left = ops.len();
                let done = (0..left).map(|_| None).collect();
                let batch = self.batches.insert(OpBatch { left, done, reply });
                for (index, op) in ops.into_iter().enumerate() {
                    self.queue(op.tag(Tag::Ops { batch, index }.pack()));
                }
            }
            Message::Hashed { job, block, leaf } => {
                let active = self.jobs.get(job);
                active.job.hashed(Run::block(block), leaf);
                active.job.part_back();
                self.end_if_over(job);
            }
            Message::HoleHashed { job, hole, leaves } => {
                self.hashers.bufferless_back();
                let active = self.jobs.get(job);
                leaves.into_iter().for_each(|(run, leaf)| active.job.hashed(run, leaf));
                active.job.part_back();
                let bytes = active.job.shape().run_bytes(hole);
                self.progress(job, bytes);
                self.end_if_over(job);
            }
            Message::CachedHashed { job, block, leaf } => self.cached_hashed(job, block, leaf),
            Message::Stop => {
                self.stopped = true;
                // They are taken off the list of those with blocks left by `start_blocks`, which
                // comes next.
                for &index in &self.reading {
                    self.jobs.get(index).job.stop();
                }
            }
            Message::Updated { job, hasher } => {
                let active = self.jobs.get(job);
                active.job.hashed_in_order(hasher);
                active.job.part_back();
                self.hash_in_order(job);
                self.end_if_over(job);
            }
            Message::Context(context) => self.engines.adopt(*context),
            Message::Panicked(panic) => resume_unwind(panic),
            Message::Close => self.closing = true,
        }
    }

    /// Takes a file into the loop.
    fn begin(&mut self, transfer: Transfer, reply: Sender<Result<Moved, Failure>>) {
        let Transfer { source, target, shape, progress } = transfer;
        let mut job = Job::new(shape);
        if self.stopped {
            job.stop();
        }
        let active = ActiveJob { job, source, target, progress, progress_bytes: 0, reply };
        let index = self.jobs.insert(active);
        match self.make_pool() {
            Ok(()) => self.reading.push_back(index),
            Err(error) => self.fail(index, Failure::target(Operation::AllocateBuffers, 0, error)),
        }
        self.end_if_over(index);
    }

    /// With less memory than is wanted, there are fewer blocks in flight.
    fn make_pool(&mut self) -> io::Result<()> {
        let mut blocks = self.limits.queue_depth;
        while self.pool.is_none() {
            match Pool::new(blocks, self.limits.block_bytes) {
                Ok(pool) => self.pool = Some(pool),
                Err(error) if blocks == 1 => return Err(error),
                Err(_) => {
                    Totals::add(&self.traffic.meter.missing_memory, 1);
                    blocks /= 2;
                }
            }
        }
        Ok(())
    }

    /// Gives every free buffer to the first file that has a block left to read and may have one
    /// more. A file whose hole is being hashed, or which memory holds, lets the next one go first.
    /// Answers with the moment from which on there is more to start, if time is waited for.
    fn start_blocks(&mut self) -> Option<Instant> {
        self.read_missed();
        let in_order_max = (self.limits.queue_depth / 4).max(2);
        let (mut place, mut due) = (0, None);
        while let Some(&index) = self.reading.get(place) {
            let active = self.jobs.get(index);
            match active.job.next() {
                Some(_) if active.job.has_enough(in_order_max) => place += 1,
                Some(Next::HashHole(_)) if self.hashers.have_enough() => place += 1,
                Some(Next::Read(_)) if active.is_hashed_alone() && self.hashers.have_enough() => {
                    place += 1;
                }
                Some(Next::Read(block)) => {
                    if let Err(turn) = self.begin_block(index, block) {
                        // Files behind this one may need no buffer, or have no rate to keep to.
                        due = turn.or(due);
                        place += 1;
                    }
                }
                Some(Next::HashHole(hole)) => {
                    active.job.start_next();
                    self.hash_hole(index, hole);
                }
                Some(Next::PassHole(blocks)) => {
                    let bytes = active.job.shape().unknown_bytes(blocks);
                    active.job.start_next();
                    self.progress(index, bytes);
                }
                None => {
                    self.reading.remove(place);
                    self.end_if_over(index);
                }
            }
        }
        due
    }

    /// Begins with a file's next block, unless there is no buffer for it, or no turn. The error
    /// says when its turn is.
    fn begin_block(&mut self, index: usize, block: u64) -> Result<(), Option<Instant>> {
        let active = self.jobs.get(index);
        let flight = Flight::new(index, block, active.job.shape());
        let buffer = match active.is_hashed_alone() {
            true => None,
            false => Some(self.pool.as_ref().and_then(Pool::get).ok_or(None)?),
        };
        let is_paced = !matches!(active.progress, Progress::Earlier);
        if is_paced && !is_turn(&self.traffic, &mut self.turn, flight.len_bytes() as u64) {
            return Err(self.turn);
        }
        active.job.start_next();
        match buffer {
            Some(buffer) => {
                active.job.part_out();
                self.read_first(flight, buffer);
            }
            None => self.hash_cached(index, block),
        }
        Ok(())
    }

    fn read_first(&mut self, flight: Flight, buffer: Buffer) {
        let range = flight.read_range();
        let flight = self.flights.insert(flight);
        self.read(flight, buffer, range);
    }

    fn read(&mut self, flight: usize, buffer: Buffer, range: Range<usize>) {
        let Flight { job, offset_bytes, .. } = *self.flights.get(flight);
        let file = Arc::clone(&self.jobs.get(job).source.file);
        let offset_bytes = offset_bytes + range.start as u64;
        let kind = OpKind::Read(Part::new(buffer, range));
        self.queue(Op::new(file, kind).at(offset_bytes).tag(Tag::Flight(flight).pack()));
    }

    fn write(&mut self, flight: usize, buffer: SharedBuffer, range: Range<usize>) {
        let Flight { job, offset_bytes, .. } = *self.flights.get(flight);
        let target = self.jobs.get(job).target.as_ref();
        let file = Arc::clone(&target.expect("only what has a target is written").file);
        let offset_bytes = offset_bytes + range.start as u64;
        let kind = OpKind::Write(Part::new(buffer, range));
        self.queue(Op::new(file, kind).at(offset_bytes).tag(Tag::Flight(flight).pack()));
    }

    fn queue(&mut self, op: Op) {
        let path = match Tag::unpack(op.tag) {
            Tag::Ops { .. } => IoPath::Direct,
            Tag::Flight(flight) => {
                let job = self.flights.get(flight).job;
                let active = self.jobs.get(job);
                let side = match op.kind {
                    OpKind::Read(_) => Some(&active.source),
                    _ => active.target.as_ref(),
                };
                IoPath::of(side.is_some_and(|side| side.direct))
            }
        };
        let tag = op.tag;
        match self.engines.queue(op, path) {
            Some(refused) => self.backlog.push_back(refused),
            None => self.set_out(tag),
        }
    }

    /// An operation is on its way.
    fn set_out(&mut self, tag: u64) {
        if let Tag::Flight(flight) = Tag::unpack(tag) {
            Totals::add(&self.traffic.meter.blocks_in_flight, 1);
            self.blocks_out += 1;
            self.flights.get(flight).begun = self.traffic.meter.start();
        }
    }

    /// An operation is back.
    fn come_back(&mut self, flight: usize, kind: &OpKind, result: &io::Result<usize>) {
        let meter = &self.traffic.meter;
        Totals::take(&meter.blocks_in_flight, 1);
        self.blocks_out -= 1;
        if let Ok(count) = result {
            let begun = self.flights.get(flight).begun;
            match kind {
                OpKind::Read(_) => meter.read(*count as u64, begun),
                _ => meter.wrote(*count as u64, begun),
            }
        }
    }

    /// So many bytes of a file are over.
    fn progress(&mut self, job: usize, bytes: u64) {
        let active = self.jobs.get(job);
        active.progress_bytes += bytes;
        for sum in active.progress.sums(&self.traffic.meter) {
            Totals::add(sum, bytes);
        }
    }

    fn complete(&mut self, done: Done) {
        let flight = match Tag::unpack(done.op.tag) {
            Tag::Ops { batch, index } => return self.op_done(batch, index, done),
            Tag::Flight(flight) => flight,
        };
        let Done { op: Op { kind, file, .. }, result, .. } = done;
        // Who has the answer may close the file, and hear of what that says.
        drop(file);
        self.come_back(flight, &kind, &result);
        match kind {
            OpKind::Read(part) => self.read_done(flight, part.buffer, result),
            OpKind::Write(part) => self.write_done(flight, part.buffer, result),
            _ => unreachable!("a block is read or written"),
        }
    }

    fn op_done(&mut self, batch: usize, index: usize, done: Done) {
        let ops = self.batches.get(batch);
        ops.done[index] = Some(done);
        ops.left -= 1;
        if ops.left == 0 {
            let OpBatch { done, reply, .. } = self.batches.remove(batch);
            answer(&reply, Ok(done.into_iter().flatten().collect()));
        }
    }

    fn read_done(&mut self, index: usize, mut buffer: Buffer, result: io::Result<usize>) {
        let flight = self.flights.get(index);
        let (job, block) = (flight.job, flight.block);
        let step = match result {
            Ok(count) => flight.read(count),
            Err(error) => return self.abandon(index, Failure::source(Operation::Read, 0, error)),
        };
        match step {
            Step::Again(range) => return self.read(index, buffer, range),
            Step::Stuck => {
                return self
                    .abandon(index, Failure::source(Operation::Read, 0, Cause::SourceChanged));
            }
            Step::Whole => {}
        }
        let active = self.jobs.get(job);
        let shape = active.job.shape();
        let len = flight.len_bytes();
        flight.begin_writing(shape);
        // What stands beyond the file's end is cut off later, but must not carry another file's
        // bytes to the device.
        buffer[len..].fill(0);
        let buffer = buffer.freeze();
        match active.job.tree_mode().cloned() {
            Some(mode) => {
                active.job.part_out();
                let part = HashBlock { buffer: buffer.clone(), len_bytes: len };
                self.hashers.hash(job, block, part, mode, active.job.shape());
            }
            None => {
                let part = HashBlock { buffer: buffer.clone(), len_bytes: len };
                active.job.take_in_order(block, part);
                self.hash_in_order(job);
            }
        }
        self.write_next(index, buffer);
    }

    fn write_done(&mut self, index: usize, buffer: SharedBuffer, result: io::Result<usize>) {
        let flight = self.flights.get(index);
        match result.map(|count| flight.written(count)) {
            Ok(Step::Again(range)) => self.write(index, buffer, range),
            Ok(Step::Whole) => self.write_next(index, buffer),
            Ok(Step::Stuck) => {
                let error = io::Error::from(io::ErrorKind::WriteZero);
                self.abandon(index, Failure::target(Operation::Write, 0, error))
            }
            Err(error) => self.abandon(index, Failure::target(Operation::Write, 0, error)),
        }
    }

    /// Writes the block's next run of data; without one the block is done.
    fn write_next(&mut self, index: usize, buffer: SharedBuffer) {
        let flight = self.flights.get(index);
        let job = flight.job;
        let active = self.jobs.get(job);
        if !active.job.has_failed()
            && active.target.is_some()
            && let Some(range) = flight.write_range(&buffer)
        {
            active.job.written((flight.len_bytes().min(range.end) - range.start) as u64);
            return self.write(index, buffer, range);
        }
        active.job.part_back();
        let flight = self.flights.remove(index);
        self.progress(job, flight.len_bytes() as u64);
        self.end_if_over(job);
    }

    /// A block that failed fails its file, at the place where the block is.
    fn abandon(&mut self, index: usize, failure: Failure) {
        let flight = self.flights.remove(index);
        self.jobs.get(flight.job).job.part_back();
        self.fail(flight.job, Failure { offset_bytes: flight.offset_bytes, ..failure });
        self.end_if_over(flight.job);
    }

    fn fail(&mut self, job: usize, failure: Failure) {
        self.jobs.get(job).job.fail(failure);
    }

    /// Sends the file's hasher out with the next block, if both are here.
    fn hash_in_order(&mut self, job: usize) {
        if let Some((hasher, part)) = self.jobs.get(job).job.next_in_order() {
            self.hashers.hash_in_order(job, hasher, part);
        }
    }

    fn hash_hole(&mut self, job: usize, hole: Run) {
        let active = self.jobs.get(job);
        let Some(mode) = active.job.tree_mode().cloned() else { return };
        active.job.part_out();
        self.hashers.hash_hole(job, hole, mode, active.job.shape());
    }

    /// A block that memory holds is read by who hashes it, and takes no buffer.
    fn hash_cached(&mut self, job: usize, block: u64) {
        let active = self.jobs.get(job);
        let mode = active.job.tree_mode().cloned().expect("it is hashed as a tree");
        active.job.part_out();
        let file = Arc::clone(&active.source.file);
        self.hashers.hash_cached(job, block, file, mode, active.job.shape());
    }

    fn cached_hashed(&mut self, job: usize, block: u64, leaf: Option<Leaf>) {
        self.hashers.bufferless_back();
        let active = self.jobs.get(job);
        let Some(leaf) = leaf else {
            // Its neighbours are no more likely to be in memory.
            active.source.is_cached = false;
            return self.missed.push_back((job, block));
        };
        active.job.hashed(Run::block(block), leaf);
        active.job.part_back();
        let bytes = active.job.shape().block_len(block);
        self.progress(job, bytes);
        self.end_if_over(job);
    }

    /// Reads blocks that memory was believed to hold, for as long as there are buffers.
    fn read_missed(&mut self) {
        while let Some(&(job, block)) = self.missed.front() {
            let Some(buffer) = self.pool.as_ref().and_then(Pool::get) else { return };
            self.missed.pop_front();
            let flight = Flight::new(job, block, self.jobs.get(job).job.shape());
            self.read_first(flight, buffer);
        }
    }

    fn end_if_over(&mut self, index: usize) {
        let over = self.jobs.find(index).is_some_and(|active| active.job.is_over());
        if !over || self.reading.contains(&index) {
            return;
        }
        let ActiveJob { job, source, target, progress, progress_bytes, reply } =
            self.jobs.remove(index);
        drop((source, target));
        let result = job.finish();
        if result.is_err() {
            progress.sums(&self.traffic.meter).for_each(|sum| Totals::take(sum, progress_bytes));
        }
        answer(&reply, result);
    }
}

/// Sends an answer. The thread that asked may have panicked, and then the answer is for no one.
fn answer<T>(reply: &Sender<T>, result: T) {
    drop(reply.send(result));
}

/// Whether a block of `len_bytes` may be read now, and if not, when.
fn is_turn(traffic: &Traffic, turn: &mut Option<Instant>, len_bytes: u64) -> bool {
    let Some(pace) = &traffic.pace else { return true };
    let due = *turn.get_or_insert_with(|| pace.turn(len_bytes));
    let is_due = due <= Instant::now();
    if is_due {
        *turn = None;
    }
    is_due
}
