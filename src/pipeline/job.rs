//! What the loop knows of a file, and which block is next. No I/O here: it hears what happened and
//! answers with a decision, so that every order and every failure can be tested.

use std::collections::BTreeMap;
use std::ops::Range;

use super::outcome::{Failure, Moved};
use super::shape::Shape;
use crate::digest::{Hashing, Leaf, Mode, Output, Run, Serial, Tree};
use linux_aio::SharedBuffer;

/// What is to be started next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Read this block.
    Read(u64),
    /// The zeros of this hole are to be hashed.
    HashHole(Run),
    /// These blocks are a hole, of which nothing is wanted.
    PassHole(Range<u64>),
}

/// Blocks that are hashed in their order: those that came too early wait with their buffers.
struct InOrder {
    /// None while it is out with a block.
    hasher: Option<Box<dyn Serial>>,
    next_block: u64,
    waiting: BTreeMap<u64, HashBlock>,
}

/// A block that is to be hashed.
pub struct HashBlock {
    /// Its buffer.
    pub buffer: SharedBuffer,
    /// How many bytes of the buffer are the file's.
    pub len_bytes: usize,
}

impl HashBlock {
    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.len_bytes]
    }
}

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
                let mut tree = Tree::new(mode, shape.block_count(), shape.kept_leaves());
                shape.known_leaves().for_each(|(run, leaf)| tree.put(run, Leaf::Inner(leaf)));
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

    /// Starts no further block. Those that are under way are finished.
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

    /// Whether another file shall have the next buffer, since `parts_max` of this one are out. Only
    /// a file that is hashed in order has a limit. It keeps one core busy, and the blocks that wait
    /// for it would take all buffers from the others.
    pub fn has_enough(&self, parts_max: usize) -> bool {
        matches!(self.assembly, Assembly::InOrder(_)) && self.parts_out >= parts_max
    }

    /// Takes a block that was read, if it is to be hashed in order and the file has not failed. It
    /// counts as a part from now on.
    pub fn take_in_order(&mut self, block: u64, part: HashBlock) {
        if let Assembly::InOrder(in_order) = &mut self.assembly
            && self.failure.is_none()
        {
            in_order.waiting.insert(block, part);
            self.parts_out += 1;
        }
    }

    /// The hasher with the block that it has to see next, if both are here.
    pub fn next_in_order(&mut self) -> Option<(Box<dyn Serial>, HashBlock)> {
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

    /// What [`start_next`](Self::start_next) would start: a read, which needs a buffer, or a hole.
    pub fn next(&self) -> Option<Next> {
        let (block, end) = (self.next_block, self.end_block);
        if !self.has_next() {
            return None;
        }
        Some(match &self.assembly {
            _ if self.shape.has_data(block) => Next::Read(block),
            Assembly::Tree(_) => Next::HashHole(self.shape.hole_run(block, end)),
            _ => Next::PassHole(block..self.shape.hole_end(block, end)),
        })
    }

    fn has_next(&self) -> bool {
        self.failure.is_none() && self.next_block != self.end_block && self.shape.size_bytes > 0
    }

    /// What is next is under way: one read, or one hash of a hole.
    pub fn start_next(&mut self) {
        let behind = match self.next() {
            None => return,
            Some(Next::Read(block)) => block + 1,
            Some(Next::HashHole(run)) => run.first + run.count(),
            Some(Next::PassHole(blocks)) => blocks.end,
        };
        self.next_block = self.shape.next_unknown(behind);
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

    /// The leaf of some blocks is known.
    pub fn hashed(&mut self, run: Run, leaf: Leaf) {
        if let Assembly::Tree(tree) = &mut self.assembly {
            tree.put(run, leaf);
        }
    }

    /// Counts bytes of the file that are written.
    pub fn written(&mut self, bytes: u64) {
        self.written_bytes += bytes;
    }

    /// Takes a failure, of which the first one counts. No new block is started after it.
    pub fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
        // What waits for a block that will never come is dropped.
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
        !self.has_next() && self.parts_out == 0
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
        let (hash, mut leaves) = match assembly {
            Assembly::None => (None, Vec::new()),
            Assembly::Tree(tree) if shape.size_bytes == 0 => {
                (Some(Output::of(&tree.mode().hasher())), Vec::new())
            }
            // Of a part of the file only leaves are known.
            Assembly::Tree(tree) => tree.finish(),
            Assembly::InOrder(in_order) => {
                (in_order.hasher.map(|hasher| hasher.finish()), Vec::new())
            }
        };
        leaves.truncate(shape.whole_leaves(end_block) as usize);
        let whole = end_block == range.end;
        let moved_bytes = shape.unknown_bytes(range.start..end_block);
        Ok(Moved { hash, leaves, whole, written_bytes, hole_bytes: moved_bytes - written_bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::super::data_blocks::DataBlocks;
    use super::super::route::Access;
    use super::super::shape::Leaves;
    use super::*;
    use crate::digest;
    use crate::error::{Cause, Operation};
    use crate::report::Way;

    fn shape(size_bytes: u64) -> Shape {
        let access = Access { way: Way::Direct, align_bytes: 4096 };
        Shape::write(size_bytes, 1 << 20, access, access)
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
        let known = [value(0), None, value(2), value(3), None].into();
        let leaves = Leaves::Kept;
        let mut job = Job::new(Shape { known, leaves, ..shape(size_bytes) });
        for block in [1, 4] {
            assert_eq!(job.next(), Some(Next::Read(block)));
            job.start_next();
            job.part_out();
            job.hashed(Run::block(block), leaf(block as usize));
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
            let (blocks, leaves) = (Some(2..5), Leaves::Kept);
            let mut job = Job::new(Shape { blocks, leaves, ..shape(9 << 20) });
            for block in 2..4 {
                assert_eq!(job.next(), Some(Next::Read(block)));
                job.start_next();
                job.part_out();
            }
            if stop {
                job.stop();
            } else {
                job.start_next();
                job.hashed(Run::block(4), Leaf::Inner([4; 32]));
            }
            assert!(job.next().is_none() && !job.is_over());
            for block in [3, 2] {
                job.hashed(Run::block(block), Leaf::Inner([block as u8; 32]));
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

    /// Block 9 holds data. Runs begin at multiples of their length, and are at most 4 MiB.
    #[test]
    fn a_hole_is_hashed_in_aligned_runs_and_passed_at_once_where_nothing_is_hashed() {
        let mut data_blocks = DataBlocks::none(18);
        data_blocks.add(9..10);
        let sparse = || {
            let data_blocks = Some(data_blocks.clone());
            Shape { data_blocks, ..shape((17 << 20) + 5) }
        };
        let steps = |mut job: Job| {
            std::iter::from_fn(move || {
                let next = job.next();
                job.start_next();
                next
            })
            .collect::<Vec<_>>()
        };
        let hole = |first, level| Next::HashHole(Run { first, level });
        let hashed = [hole(0, 2), hole(4, 2), hole(8, 0), Next::Read(9), hole(10, 1)];
        let hashed = hashed.into_iter().chain([hole(12, 2), hole(16, 1)]);
        assert_eq!(steps(Job::new(sparse())), hashed.collect::<Vec<_>>());
        let unhashed = Shape { hash: Hashing::No, ..sparse() };
        let passed = [Next::PassHole(0..9), Next::Read(9), Next::PassHole(10..18)];
        assert_eq!(steps(Job::new(unhashed)), passed);
        // What is known is no part of a run, and neither is what follows the end of a part.
        let known = (0..18).map(|block| (block == 6).then_some([6; 32])).collect();
        let part = Shape { known, ..sparse().part(4 << 20..11 << 20) };
        let parts = [hole(4, 1), hole(7, 0), hole(8, 0), Next::Read(9), hole(10, 0)];
        assert_eq!(steps(Job::new(part)), parts);
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
            let pool = linux_aio::Pool::new(3, 4096).unwrap();
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
                    let part = HashBlock { buffer: buffer.freeze(), len_bytes: len };
                    job.take_in_order(block, part);
                } else {
                    job.fail(Failure::source(Operation::Read, 0, Cause::SourceChanged));
                }
                job.part_back();
                while let Some((mut hasher, part)) = job.next_in_order() {
                    hasher.update(part.bytes());
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
