//! What the loop knows of a file and of a block in flight, and what is to be done next. No I/O here: it is told what
//! happened and answers with a decision, so that every order and every failure can be tested.

use std::ops::Range;

use crate::digest::{self, Hash, Leaf};
use crate::error::Cause;

/// How often a short count is taken up again before the file is held to have changed.
const SHORT_COUNTS_MAX: u32 = 16;

/// What is to be moved, and how.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The file's size when it was opened.
    pub size_bytes: u64,
    /// A power of two.
    pub block_bytes: u64,
    /// Offsets, lengths and memory of reads are multiples of this; 1 when the page cache serves them.
    pub read_align: u64,
    /// The same for writes.
    pub write_align: u64,
    /// Whether the BLAKE3 hash is wanted.
    pub hash: bool,
    /// Whether runs of zeros are left out of the destination, which is all hole to begin with.
    pub sparse: bool,
    /// Which blocks hold data, a bit a block; `None` when all do.
    pub data_blocks: Option<Vec<u64>>,
}

impl Shape {
    /// How many blocks there are; an empty file has one, which is empty.
    pub fn block_count(&self) -> u64 {
        self.size_bytes.div_ceil(self.block_bytes).max(1)
    }

    /// How many bytes block `block` has. With blocks of 1 MiB, block 2 of a file of 2.5 MiB has 0.5 MiB.
    pub fn block_len(&self, block: u64) -> u64 {
        self.block_bytes.min(self.size_bytes - block * self.block_bytes)
    }

    fn has_data(&self, block: u64) -> bool {
        self.data_blocks.as_ref().is_none_or(|bits| bits[(block / 64) as usize] >> (block % 64) & 1 == 1)
    }
}

/// What is to be started next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Read this block.
    Read(u64),
    /// This block is a hole: nothing to move, but its zeros to hash if the hash is wanted.
    Hole(u64),
}

/// Why a file failed, without its path.
#[derive(Debug)]
pub struct Failure {
    /// `"read"`, `"write"`, …
    pub op: &'static str,
    /// Where in the file, in bytes.
    pub offset_bytes: u64,
    /// The cause.
    pub cause: Cause,
}

/// What was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The hash, if it was wanted.
    pub hash: Option<Hash>,
    /// Bytes written to the destination.
    pub written_bytes: u64,
    /// Bytes left out as holes.
    pub hole_bytes: u64,
}

/// One file on its way: Reading (blocks are left to start), then Draining (blocks are out), then over.
#[derive(Debug)]
pub struct Job {
    shape: Shape,
    next_block: u64,
    /// Reads, writes and hashes that are not back yet.
    parts_out: usize,
    leaves: Vec<Leaf>,
    written_bytes: u64,
    failure: Option<Failure>,
}

impl Job {
    /// A job about to read its first block.
    pub fn new(shape: Shape) -> Self {
        let leaf_count = if shape.hash { shape.block_count() as usize } else { 0 };
        Self { shape, next_block: 0, parts_out: 0, leaves: vec![[0; 32]; leaf_count], written_bytes: 0, failure: None }
    }

    /// What is moved.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether [`start_next`](Self::start_next) would need a buffer, would not need one, or has nothing left.
    pub fn next(&self) -> Option<Next> {
        let block = self.next_block;
        if self.failure.is_some() || block == self.shape.block_count() || self.shape.size_bytes == 0 {
            return None;
        }
        Some(if self.shape.has_data(block) { Next::Read(block) } else { Next::Hole(block) })
    }

    /// The next block is under way: one read, or one hash of a hole.
    pub fn start_next(&mut self) {
        debug_assert!(self.next().is_some(), "a block was left to start");
        self.next_block += 1;
    }

    /// One more read, write or hash is out.
    pub fn part_out(&mut self) {
        self.parts_out += 1;
    }

    /// A read, write or hash is back.
    pub fn part_back(&mut self) {
        self.parts_out = self.parts_out.checked_sub(1).expect("no more parts come back than went out");
    }

    /// A block's hash is known.
    pub fn hashed(&mut self, block: u64, leaf: Leaf) {
        self.leaves[block as usize] = leaf;
    }

    /// So many bytes of the file are written.
    pub fn written(&mut self, bytes: u64) {
        self.written_bytes += bytes;
    }

    /// The first failure counts; no new block is started after it.
    pub fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// Whether the file has failed, so that its blocks in flight need no more work.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether nothing is left to start and nothing is out.
    pub fn is_over(&self) -> bool {
        self.next().is_none() && self.parts_out == 0
    }

    /// The end of a job that [is over](Self::is_over): what was moved, or why not.
    pub fn finish(self) -> Result<Moved, Failure> {
        assert!(self.is_over(), "a job ends when all of its parts are back");
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let hash = match (self.shape.hash, self.shape.size_bytes) {
            (false, _) => None,
            (true, 0) => Some(digest::leaf(&[], 0, 0)),
            (true, _) => Some(digest::root(&self.leaves)),
        };
        let hole_bytes = self.shape.size_bytes - self.written_bytes;
        Ok(Moved { hash, written_bytes: self.written_bytes, hole_bytes })
    }
}

/// One block in flight. Its ranges are of bytes in the block's buffer.
#[derive(Clone, Debug)]
pub struct Flight {
    /// Index of the job in the loop's slab.
    pub job: usize,
    /// Index of the block in the file.
    pub block: u64,
    /// Where the block begins in the file.
    pub offset_bytes: u64,
    len: usize,
    align: usize,
    /// How far the present read or write has come.
    position: usize,
    /// Where the present run of data ends, when writing.
    run_end: usize,
    short_counts: u32,
}

/// What follows a completion.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Do the rest, in this range of the buffer: the count was short.
    Again(Range<usize>),
    /// All of it is done.
    Whole,
    /// It does not get any further.
    Stuck,
}

impl Flight {
    /// A block about to be read.
    pub fn new(job: usize, block: u64, shape: &Shape) -> Self {
        Self {
            job,
            block,
            offset_bytes: block * shape.block_bytes,
            len: shape.block_len(block) as usize,
            align: shape.read_align as usize,
            position: 0,
            run_end: 0,
            short_counts: 0,
        }
    }

    /// How many bytes of the file are in the block.
    pub fn len_bytes(&self) -> usize {
        self.len
    }

    /// The first range to read: the block, rounded up to the alignment. A last block of 5,000 bytes is asked for
    /// as 8,192, and the device answers 5,000.
    pub fn read_range(&self) -> Range<usize> {
        0..self.len.next_multiple_of(self.align)
    }

    /// `count` more bytes were read.
    pub fn read(&mut self, count: usize) -> Step {
        self.advance(count, self.len)
    }

    /// The reading is over, the writing begins.
    pub fn begin_writing(&mut self, shape: &Shape) {
        self.align = shape.write_align as usize;
        (self.position, self.run_end, self.short_counts) = (0, 0, 0);
    }

    /// The next range to write: the next run that is not zero if the file is sparse, or all at once. The buffer
    /// beyond the block's end is zero, so that the last range may be rounded up to the alignment.
    pub fn write_range(&mut self, buffer: &[u8], sparse: bool) -> Option<Range<usize>> {
        let from = self.run_end;
        let run = match sparse {
            true => next_data_run(&buffer[..self.len], from, ZERO_GRAIN_BYTES.max(self.align))?,
            false if from == 0 && self.len > 0 => 0..self.len,
            false => return None,
        };
        (self.position, self.run_end) = (run.start, run.end);
        Some(run.start..run.end.next_multiple_of(self.align))
    }

    /// `count` more bytes were written.
    pub fn written(&mut self, count: usize) -> Step {
        self.advance(count, self.run_end)
    }

    fn advance(&mut self, count: usize, end: usize) -> Step {
        let reached = self.position + count;
        if reached >= end {
            return Step::Whole;
        }
        // Go on at an aligned place: 5,000 bytes of 8,192 done with an alignment of 4,096 means again from 4,096.
        let from = reached - reached % self.align;
        self.short_counts += 1;
        if count == 0 || self.short_counts > SHORT_COUNTS_MAX {
            return Step::Stuck;
        }
        self.position = from;
        Step::Again(from..end.next_multiple_of(self.align))
    }
}

/// Bytes that are looked at as one when zeros are sought: the usual block of a filesystem.
pub const ZERO_GRAIN_BYTES: usize = 4096;

/// The first run of grains of `grain_bytes` that are not all zero at or after `from`, a multiple of the grain, as a
/// range of `bytes`.
pub fn next_data_run(bytes: &[u8], from: usize, grain_bytes: usize) -> Option<Range<usize>> {
    const ZEROS: [u8; ZERO_GRAIN_BYTES] = [0; ZERO_GRAIN_BYTES];
    let is_zero = |grain: &[u8]| grain.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()]);
    let grains = |from: usize| bytes[from..].chunks(grain_bytes);
    let from = from.min(bytes.len());
    let start = from + grain_bytes * grains(from).position(|grain| !is_zero(grain))?;
    let end = grains(start).position(is_zero).map_or(bytes.len(), |count| start + grain_bytes * count);
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(size_bytes: u64) -> Shape {
        Shape {
            size_bytes,
            block_bytes: 1 << 20,
            read_align: 4096,
            write_align: 4096,
            hash: true,
            sparse: false,
            data_blocks: None,
        }
    }

    #[test]
    fn a_short_read_goes_on_at_an_aligned_place_and_gives_up_in_the_end() {
        let mut flight = Flight::new(0, 0, &shape(10_000));
        assert_eq!(flight.read_range(), 0..12_288);
        assert_eq!(flight.read(5000), Step::Again(4096..12_288));
        assert_eq!(flight.read(5904), Step::Whole);
        let mut flight = Flight::new(0, 0, &shape(10_000));
        assert_eq!(flight.read(0), Step::Stuck);
        let mut flight = Flight::new(0, 0, &shape(10_000));
        let steps = (0..100).take_while(|_| flight.read(1) != Step::Stuck).count();
        assert_eq!(steps as u32, SHORT_COUNTS_MAX);
    }

    #[test]
    fn a_file_that_grew_is_read_to_its_old_size() {
        let mut flight = Flight::new(0, 0, &shape(10_000));
        assert_eq!(flight.read(12_288), Step::Whole);
        assert_eq!(flight.len_bytes(), 10_000);
    }

    #[test]
    fn sparse_writes_leave_out_runs_of_zeros() {
        let mut shape = shape(5 * 4096 + 100);
        shape.sparse = true;
        let mut flight = Flight::new(0, 0, &shape);
        let mut buffer = vec![0; 1 << 20];
        buffer[4096] = 1;
        buffer[3 * 4096 - 1] = 1;
        buffer[5 * 4096 + 99] = 1;
        flight.begin_writing(&shape);
        assert_eq!(flight.write_range(&buffer, true), Some(4096..3 * 4096));
        assert_eq!(flight.written(4096), Step::Again(2 * 4096..3 * 4096));
        assert_eq!(flight.written(4096), Step::Whole);
        assert_eq!(flight.write_range(&buffer, true), Some(5 * 4096..6 * 4096));
        assert_eq!(flight.written(4096), Step::Whole);
        assert_eq!(flight.write_range(&buffer, true), None);
    }

    #[test]
    fn a_job_is_over_when_every_part_is_back_and_keeps_its_first_failure() {
        let mut job = Job::new(shape(3 << 20));
        for block in 0..3 {
            assert_eq!(job.next(), Some(Next::Read(block)));
            job.start_next();
            job.part_out();
        }
        assert!(job.next().is_none() && !job.is_over());
        for offset_bytes in [7, 8, 9] {
            job.fail(Failure { op: "read", offset_bytes, cause: Cause::SourceChanged });
            job.part_back();
        }
        assert!(job.is_over());
        assert_eq!(job.finish().unwrap_err().offset_bytes, 7);
    }
}
