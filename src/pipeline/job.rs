//! What the loop knows of a file and of a block in flight, and what is to be done next. No I/O
//! here: it is told what happened and answers with a decision, so that every order and every
//! failure can be tested.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use super::outcome::{Failure, Moved};
use super::route::Access;
use crate::aio::SharedBuffer;
use crate::digest::{Hashing, Leaf, LeafHash, Mode, Output, Serial, Tree};

/// How often a short count is taken up again before the file is held to have changed.
const SHORT_COUNTS_MAX: u32 = 16;

/// What is to be moved, and how.
#[derive(Debug)]
pub struct Shape {
    /// The file's size when it was opened.
    pub size_bytes: u64,
    /// A power of two.
    pub block_bytes: u64,
    /// Offsets, lengths and memory of reads are multiples of this; 1 when the page cache serves
    /// them.
    pub read_align: u64,
    /// The same for writes.
    pub write_align: u64,
    /// How the data is hashed.
    pub hash: Hashing,
    /// Whether runs of zeros are left out of the destination, which is all hole to begin with.
    pub sparse: bool,
    /// Which blocks hold data, a bit a block; `None` when all do.
    pub data_blocks: Option<Vec<u64>>,
    /// The leaves that are known already, one a block or none at all: their blocks are neither
    /// read, hashed nor written. A file of one block has no such leaf, since its hash is not one of
    /// a part.
    pub known: Vec<Option<LeafHash>>,
    /// The blocks that are moved, if not all of them; the others are left alone.
    pub blocks: Option<Range<u64>>,
}

impl Shape {
    /// A file of so many bytes that is read whole and hashed with BLAKE3.
    pub fn read(size_bytes: u64, block_bytes: u64, from: Access) -> Self {
        Self {
            size_bytes,
            block_bytes,
            read_align: from.align_bytes,
            write_align: 1,
            hash: Hashing::Tree(Mode::Hash),
            sparse: false,
            data_blocks: None,
            known: Vec::new(),
            blocks: None,
        }
    }

    /// A file that is also written, zeros too.
    pub fn write(size_bytes: u64, block_bytes: u64, from: Access, to: Access) -> Self {
        Self { write_align: to.align_bytes, ..Self::read(size_bytes, block_bytes, from) }
    }

    /// How many blocks there are; an empty file has one, which is empty.
    pub fn block_count(&self) -> u64 {
        self.size_bytes.div_ceil(self.block_bytes).max(1)
    }

    /// The same for some of the blocks, hashed as a tree.
    pub fn part(&self, blocks: Range<u64>) -> Self {
        let (hash, blocks) = (Hashing::Tree(Mode::Hash), Some(blocks));
        Self {
            hash,
            blocks,
            data_blocks: self.data_blocks.clone(),
            known: self.known.clone(),
            ..*self
        }
    }

    /// The blocks that are moved.
    pub fn block_range(&self) -> Range<u64> {
        self.blocks.clone().unwrap_or(0..self.block_count())
    }

    /// How many bytes block `block` has. With blocks of 1 MiB, block 2 of a file of 2.5 MiB has 0.5
    /// MiB.
    pub fn block_len(&self, block: u64) -> u64 {
        self.block_bytes.min(self.size_bytes - block * self.block_bytes)
    }

    fn has_data(&self, block: u64) -> bool {
        self.data_blocks
            .as_ref()
            .is_none_or(|bits| bits[(block / 64) as usize] >> (block % 64) & 1 == 1)
    }

    fn is_known(&self, block: u64) -> bool {
        self.known.get(block as usize).is_some_and(Option::is_some)
    }

    /// The first block at or after `block` whose leaf is not known, or the end of those that are
    /// moved.
    fn next_unknown(&self, block: u64) -> u64 {
        let end = self.block_range().end;
        (block..end).find(|&block| !self.is_known(block)).unwrap_or(end)
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

/// Blocks that are hashed in their order: those that came too early wait with their buffers.
struct InOrder {
    /// None while it is out with a block.
    hasher: Option<Box<dyn Serial>>,
    next_block: u64,
    waiting: BTreeMap<u64, Part>,
}

/// A block that is to be hashed, and how many bytes of its buffer are the file's.
pub type Part = (SharedBuffer, usize);

/// What the hash is put together from.
enum Assembly {
    None,
    Tree(Tree),
    InOrder(InOrder),
}

/// One file on its way: Reading (blocks are left to start), then Draining (blocks are out), then
/// over.
pub struct Job {
    shape: Shape,
    next_block: u64,
    /// Where the blocks end that are started: at the last, unless the job was stopped.
    end_block: u64,
    /// Reads, writes and hashes that are not back yet.
    parts_out: usize,
    assembly: Assembly,
    written_bytes: u64,
    failure: Option<Failure>,
}

impl Job {
    /// A job about to read its first block.
    pub fn new(mut shape: Shape) -> Self {
        let range = shape.block_range();
        let assembly = match std::mem::take(&mut shape.hash) {
            Hashing::No => Assembly::None,
            Hashing::Tree(mode) => {
                let mut tree = Tree::new(mode, range.end - range.start);
                for (block, leaf) in shape.known.iter().skip(range.start as usize).enumerate() {
                    leaf.iter().for_each(|leaf| tree.put(block as u64, Leaf::Inner(*leaf)));
                }
                Assembly::Tree(tree)
            }
            Hashing::Serial(hasher) => {
                // Holes are read as the zeros that they are, in their place.
                shape.data_blocks = None;
                Assembly::InOrder(InOrder {
                    hasher: Some(hasher),
                    next_block: 0,
                    waiting: BTreeMap::new(),
                })
            }
        };
        let next_block = shape.next_unknown(range.start);
        Self {
            shape,
            next_block,
            end_block: range.end,
            parts_out: 0,
            assembly,
            written_bytes: 0,
            failure: None,
        }
    }

    /// No block is started any more; those that are under way are finished.
    pub fn stop(&mut self) {
        self.end_block = self.next_block;
    }

    /// The mode if the blocks are hashed as a tree.
    pub fn tree_mode(&self) -> Option<&Mode> {
        match &self.assembly {
            Assembly::Tree(tree) => Some(tree.mode()),
            _ => None,
        }
    }

    /// Whether so many parts are out that another file shall have the next buffer. Only a file that
    /// is hashed in order has a limit: it keeps one core busy, and the blocks that wait for it
    /// would take all buffers from the others.
    pub fn has_enough(&self, parts_max: usize) -> bool {
        matches!(self.assembly, Assembly::InOrder(_)) && self.parts_out >= parts_max
    }

    /// Takes a block that was read, if it is to be hashed in order and the file has not failed. It
    /// counts as a part from now on.
    pub fn take_in_order(&mut self, block: u64, part: Part) {
        if let Assembly::InOrder(in_order) = &mut self.assembly
            && self.failure.is_none()
        {
            in_order.waiting.insert(block, part);
            self.parts_out += 1;
        }
    }

    /// The hasher with the block that it has to see next, if both are here.
    pub fn next_in_order(&mut self) -> Option<(Box<dyn Serial>, Part)> {
        let Assembly::InOrder(in_order) = &mut self.assembly else { return None };
        if !in_order.waiting.contains_key(&in_order.next_block) {
            return None;
        }
        let hasher = in_order.hasher.take()?;
        let part = in_order.waiting.remove(&in_order.next_block)?;
        in_order.next_block += 1;
        Some((hasher, part))
    }

    /// The hasher is back from a block.
    pub fn hashed_in_order(&mut self, hasher: Box<dyn Serial>) {
        if let Assembly::InOrder(in_order) = &mut self.assembly {
            in_order.hasher = Some(hasher);
        }
    }

    /// What is moved.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Whether [`start_next`](Self::start_next) would need a buffer, would not need one, or has
    /// nothing left.
    pub fn next(&self) -> Option<Next> {
        let block = self.next_block;
        if self.failure.is_some() || block == self.end_block || self.shape.size_bytes == 0 {
            return None;
        }
        Some(if self.shape.has_data(block) { Next::Read(block) } else { Next::Hole(block) })
    }

    /// The next block is under way: one read, or one hash of a hole.
    pub fn start_next(&mut self) {
        debug_assert!(self.next().is_some(), "a block was left to start");
        self.next_block = self.shape.next_unknown(self.next_block + 1);
    }

    /// One more read, write or hash is out.
    pub fn part_out(&mut self) {
        self.parts_out += 1;
    }

    /// A read, write or hash is back.
    pub fn part_back(&mut self) {
        self.parts_out =
            self.parts_out.checked_sub(1).expect("no more parts come back than went out");
    }

    /// A block's hash is known.
    pub fn hashed(&mut self, block: u64, leaf: Leaf) {
        let first_block = self.shape.block_range().start;
        if let Assembly::Tree(tree) = &mut self.assembly {
            tree.put(block - first_block, leaf);
        }
    }

    /// So many bytes of the file are written.
    pub fn written(&mut self, bytes: u64) {
        self.written_bytes += bytes;
    }

    /// The first failure counts; no new block is started after it.
    pub fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        // What waits for a block that will never come is given up.
        if let Assembly::InOrder(in_order) = &mut self.assembly {
            self.parts_out -= in_order.waiting.len();
            in_order.waiting.clear();
        }
    }

    /// Whether the file has failed, so that its blocks in flight need no more work.
    pub fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Whether nothing is left to start and nothing is out.
    pub fn is_over(&self) -> bool {
        self.next().is_none() && self.parts_out == 0
    }

    /// The end of a job that can go no further: why it failed, `failure` if it had not before.
    pub fn give_up(self, failure: Failure) -> Failure {
        self.failure.unwrap_or(failure)
    }

    /// The end of a job that [is over](Self::is_over): what was moved, or why not.
    pub fn finish(self) -> Result<Moved, Failure> {
        assert!(self.is_over(), "a job ends when all of its parts are back");
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let Self { shape, end_block, assembly, written_bytes, .. } = self;
        let range = shape.block_range();
        let whole = end_block == range.end;
        let (hash, mut leaves) = match assembly {
            Assembly::None => (None, Vec::new()),
            Assembly::Tree(tree) if shape.size_bytes == 0 => {
                (Some(Output::of(&tree.mode().hasher())), Vec::new())
            }
            Assembly::Tree(tree) if whole && range == (0..shape.block_count()) => {
                let leaves = tree.leaves();
                (Some(tree.output()), leaves)
            }
            Assembly::Tree(tree) => (None, tree.leaves()),
            Assembly::InOrder(in_order) => {
                (in_order.hasher.map(|hasher| hasher.finish()), Vec::new())
            }
        };
        leaves.truncate((end_block - range.start) as usize);
        let moved_blocks = (range.start..end_block).filter(|&block| !shape.is_known(block));
        let moved_bytes: u64 = moved_blocks.map(|block| shape.block_len(block)).sum();
        Ok(Moved { hash, leaves, whole, written_bytes, hole_bytes: moved_bytes - written_bytes })
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
    /// When the present read or write was queued, if times are taken.
    pub begun: Option<Instant>,
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
            begun: None,
        }
    }

    /// How many bytes of the file are in the block.
    pub fn len_bytes(&self) -> usize {
        self.len
    }

    /// The first range to read: the block, rounded up to the alignment. A last block of 5,000 bytes
    /// is asked for as 8,192, and the device answers 5,000.
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

    /// The next range to write: the next run that is not zero if the file is sparse, or all at
    /// once. The buffer beyond the block's end is zero, so that the last range may be rounded up to
    /// the alignment.
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
        // Go on at an aligned place: 5,000 bytes of 8,192 done with an alignment of 4,096 means
        // again from 4,096.
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

/// The first run of grains of `grain_bytes` that are not all zero at or after `from`, a multiple of
/// the grain, as a range of `bytes`.
pub fn next_data_run(bytes: &[u8], from: usize, grain_bytes: usize) -> Option<Range<usize>> {
    const ZEROS: [u8; ZERO_GRAIN_BYTES] = [0; ZERO_GRAIN_BYTES];
    let is_zero = |grain: &[u8]| grain.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()]);
    let grains = |from: usize| bytes[from..].chunks(grain_bytes);
    let from = from.min(bytes.len());
    let start = from + grain_bytes * grains(from).position(|grain| !is_zero(grain))?;
    let end =
        grains(start).position(is_zero).map_or(bytes.len(), |count| start + grain_bytes * count);
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest;
    use crate::error::{Cause, Operation};

    fn shape(size_bytes: u64) -> Shape {
        Shape {
            size_bytes,
            block_bytes: 1 << 20,
            read_align: 4096,
            write_align: 4096,
            hash: Hashing::Tree(Mode::Hash),
            sparse: false,
            data_blocks: None,
            known: Vec::new(),
            blocks: None,
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
    fn what_is_known_is_not_read_and_counts_in_the_hash() {
        let contents: Vec<u8> = (0..5 << 20).map(|n: u32| (n % 251) as u8).collect();
        let size_bytes = contents.len() as u64;
        let leaf = |block: usize| {
            let offset = block << 20;
            digest::leaf(
                &Mode::Hash,
                &contents[offset..offset + (1 << 20)],
                offset as u64,
                size_bytes,
            )
        };
        let value = |block| match leaf(block) {
            Leaf::Inner(value) => Some(value),
            Leaf::Whole(_) => panic!("it is a part"),
        };
        let known = vec![value(0), None, value(2), value(3), None];
        let mut job = Job::new(Shape { known, ..shape(size_bytes) });
        for block in [1, 4] {
            assert_eq!(job.next(), Some(Next::Read(block)));
            job.start_next();
            job.part_out();
            job.hashed(block, leaf(block as usize));
            job.written(1 << 20);
            job.part_back();
        }
        assert!(job.is_over());
        let moved = job.finish().unwrap();
        assert_eq!(moved.root(), Some(*blake3::hash(&contents).as_bytes()));
        assert_eq!(moved.leaves, [0, 1, 2, 3, 4].map(|block| value(block).unwrap()));
        assert_eq!((moved.written_bytes, moved.hole_bytes), (2 << 20, 0));
    }

    #[test]
    fn a_part_of_a_file_has_its_leaves_and_a_stopped_one_those_that_it_started() {
        for stop in [false, true] {
            let mut job = Job::new(Shape { blocks: Some(2..5), ..shape(9 << 20) });
            for block in 2..4 {
                assert_eq!(job.next(), Some(Next::Read(block)));
                job.start_next();
                job.part_out();
            }
            if stop {
                job.stop();
            } else {
                job.start_next();
                job.hashed(4, Leaf::Inner([4; 32]));
            }
            assert!(job.next().is_none() && !job.is_over());
            for block in [3, 2] {
                job.hashed(block, Leaf::Inner([block as u8; 32]));
                job.part_back();
            }
            let moved = job.finish().unwrap();
            let leaves = [[2; 32], [3; 32], [4; 32]];
            assert_eq!(moved.leaves, leaves[..if stop { 2 } else { 3 }]);
            assert_eq!(
                (moved.whole, moved.root(), moved.hole_bytes >> 20),
                (!stop, None, moved.leaves.len() as u64)
            );
        }
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
            job.fail(Failure::source(Operation::Read, offset_bytes, Cause::SourceChanged));
            job.part_back();
        }
        assert!(job.is_over());
        assert_eq!(job.finish().unwrap_err().offset_bytes, 7);
    }

    struct Seen(Vec<u8>);

    impl Serial for Seen {
        fn update(&mut self, bytes: &[u8]) {
            self.0.extend(bytes);
        }
        fn finish(&self) -> Output {
            Output::Fixed(self.0.clone())
        }
    }

    #[test]
    fn a_serial_hash_sees_the_blocks_in_order_however_they_come() {
        let orders = [[2, 0, 1], [1, 2, 0], [0, 1, 2], [0, 2, 1], [1, 0, 2], [2, 1, 0]];
        // Miri takes seconds for each.
        let orders = orders.into_iter().take(if cfg!(miri) { 1 } else { 6 });
        for (order, fails) in orders.flat_map(|order| [(order, false), (order, true)]) {
            let pool = crate::aio::Pool::new(3, 4096).unwrap();
            let mut shape = shape(3 * 4096 - 1);
            (shape.block_bytes, shape.hash) = (4096, Hashing::Serial(Box::new(Seen(Vec::new()))));
            let mut job = Job::new(shape);
            for _ in 0..3 {
                job.start_next();
                job.part_out();
            }
            for block in order {
                let mut buffer = pool.get().unwrap();
                buffer.fill(block as u8);
                let len = job.shape().block_len(block) as usize;
                if !(fails && block == 0) {
                    job.take_in_order(block, (buffer.freeze(), len));
                } else {
                    job.fail(Failure::source(Operation::Read, 0, Cause::SourceChanged));
                }
                job.part_back();
                while let Some((mut hasher, (buffer, len))) = job.next_in_order() {
                    hasher.update(&buffer[..len]);
                    job.hashed_in_order(hasher);
                    job.part_back();
                }
            }
            assert!(job.is_over(), "{order:?} {fails}");
            let wanted: Vec<u8> = (0..3 * 4096 - 1).map(|at| (at / 4096) as u8).collect();
            match job.finish() {
                Ok(moved) => assert_eq!(moved.hash.unwrap().bytes(0, 20_000), wanted, "{order:?}"),
                Err(_) => assert!(fails),
            }
            let free: Vec<_> = std::iter::from_fn(|| pool.get()).collect();
            assert_eq!(free.len(), 3, "every buffer is back");
        }
    }
}
