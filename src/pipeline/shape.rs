//! What of a file is moved, and how: pure.

use std::ops::Range;
use std::sync::Arc;

use super::data_blocks::DataBlocks;
use super::route::Access;
use super::sizes::{HOLE_BYTES, leaf_bytes};
use crate::digest::{Hashing, KeptLeaves, LeafHash, Mode, Run};

/// Whether the leaves of a file are kept beside its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaves {
    /// They are merged as they come, so that a file takes no memory for its size.
    Merged,
    /// They are answered with: what differs is to be found, or a journal says how far a file is.
    Kept,
}

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
    /// Offsets, lengths and memory of writes are multiples of this; 1 when the page cache takes
    /// them.
    pub write_align: u64,
    /// How the data is hashed.
    pub hash: Hashing,
    /// Whether runs of zeros are left out of the destination, which is all hole to begin with.
    pub sparse: bool,
    /// Which blocks hold data; `None` when all do.
    pub data_blocks: Option<DataBlocks>,
    /// Whether leaves are kept.
    pub leaves: Leaves,
    /// How much a leaf stands for that is kept or known: a block times a power of two.
    pub leaf_bytes: u64,
    /// The leaves that are known already, all or none at all. Their blocks are neither read, hashed
    /// nor written. A file of one leaf has none that is known: its hash is that of a whole.
    pub known: Arc<[Option<LeafHash>]>,
    /// The blocks that are moved, if not all of them; the others are left alone.
    pub blocks: Option<Range<u64>>,
}

impl Shape {
    /// Reads all blocks of a file in this access, and hashes them as BLAKE3's tree.
    pub fn read(size_bytes: u64, block_bytes: u64, access: Access) -> Self {
        Self {
            size_bytes,
            block_bytes,
            read_align: access.align_bytes,
            write_align: 1,
            hash: Hashing::Tree(Mode::Hash),
            sparse: false,
            data_blocks: None,
            leaves: Leaves::Merged,
            leaf_bytes: leaf_bytes(size_bytes, block_bytes),
            known: Arc::default(),
            blocks: None,
        }
    }

    /// Reads all blocks of a file in the access `from`, hashes them as BLAKE3's tree, and writes
    /// them in the access `to`.
    pub fn write(size_bytes: u64, block_bytes: u64, from: Access, to: Access) -> Self {
        Self { write_align: to.align_bytes, ..Self::read(size_bytes, block_bytes, from) }
    }

    /// How many blocks there are; an empty file has one, which is empty.
    pub fn block_count(&self) -> u64 {
        self.size_bytes.div_ceil(self.block_bytes).max(1)
    }

    /// This shape for the blocks of some bytes, hashed as a tree. If leaves are wanted, they are
    /// those of a whole number of leaves, or the last ones.
    pub fn part(&self, bytes: Range<u64>) -> Self {
        let blocks = bytes.start / self.block_bytes..bytes.end.div_ceil(self.block_bytes);
        let (hash, blocks) = (Hashing::Tree(Mode::Hash), Some(blocks));
        Self {
            hash,
            blocks,
            data_blocks: self.data_blocks.clone(),
            known: Arc::clone(&self.known),
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

    /// The logarithm of how many blocks have one leaf.
    fn leaf_level(&self) -> u32 {
        (self.leaf_bytes / self.block_bytes).ilog2()
    }

    /// Which leaves are kept.
    pub(super) fn kept_leaves(&self) -> Option<KeptLeaves> {
        let kept = KeptLeaves { level: self.leaf_level(), blocks: self.block_range() };
        (self.leaves == Leaves::Kept).then_some(kept)
    }

    /// How many of the leaves are whole when the blocks up to `end_block` are.
    pub(super) fn whole_leaves(&self, end_block: u64) -> u64 {
        let Range { start, end } = self.block_range();
        let level = self.leaf_level();
        let leaves = if end_block == end { end.div_ceil(1 << level) } else { end_block >> level };
        leaves.saturating_sub(start >> level)
    }

    /// The leaves that are known, and the blocks that each stands for.
    pub(super) fn known_leaves(&self) -> impl Iterator<Item = (Run, LeafHash)> {
        let (Range { start, end }, level) = (self.block_range(), self.leaf_level());
        let runs = (start >> level..).map(move |leaf| Run { first: leaf << level, level });
        let known = runs.zip(self.known.iter().skip((start >> level) as usize));
        let known = known.take_while(move |(run, _)| run.first < end);
        known.filter_map(|(run, leaf)| leaf.map(|leaf| (run, leaf)))
    }

    /// How many bytes of some blocks are not known.
    pub(super) fn unknown_bytes(&self, blocks: Range<u64>) -> u64 {
        let bytes = |blocks: Range<u64>| {
            let at = |block: u64| block.saturating_mul(self.block_bytes).min(self.size_bytes);
            at(blocks.end).saturating_sub(at(blocks.start))
        };
        let known = self.known_leaves().map(|(run, _)| {
            let end = (run.first + run.count()).min(blocks.end);
            bytes(run.first.max(blocks.start)..end)
        });
        bytes(blocks.clone()) - known.sum::<u64>()
    }

    /// Whether a block is no hole.
    pub(super) fn has_data(&self, block: u64) -> bool {
        self.data_blocks.as_ref().is_none_or(|blocks| blocks.has(block))
    }

    /// Where the hole ends that is there at `block`, at the latest at `end_block`.
    pub(super) fn hole_end(&self, block: u64, end_block: u64) -> u64 {
        let end = self.data_blocks.as_ref().map_or(block, |blocks| blocks.next(block));
        let end = end.min(end_block);
        if self.known.is_empty() {
            return end;
        }
        let level = self.leaf_level();
        let is_known = |leaf: &u64| self.is_known(*leaf << level);
        (block >> level..end.div_ceil(1 << level))
            .find(is_known)
            .map_or(end, |leaf| (leaf << level).max(block))
    }

    /// The blocks from `first` on, which is a hole, that are hashed as one: a [`Run`], up to
    /// [`HOLE_BYTES`].
    pub(super) fn hole_run(&self, first: u64, end_block: u64) -> Run {
        let mut run = Run::block(first);
        let blocks_max = (HOLE_BYTES / self.block_bytes).max(1);
        let hole_end = self.hole_end(first, end_block.min(first + blocks_max));
        // Where the file ends it may be shorter.
        let is_end = hole_end == self.block_count();
        loop {
            let larger = Run { level: run.level + 1, ..run };
            let is_run = first.is_multiple_of(larger.count())
                && larger.count() <= blocks_max
                && first + run.count() < hole_end
                && (is_end || first + larger.count() <= hole_end);
            if !is_run {
                return run;
            }
            run = larger;
        }
    }

    /// The runs of a hole that have a leaf each, which is hashed from its zeros.
    pub(super) fn leaf_runs(&self, hole: Run) -> impl Iterator<Item = Run> + use<> {
        let level = match self.leaves {
            Leaves::Merged => hole.level,
            Leaves::Kept => hole.level.min(self.leaf_level()),
        };
        let end = (hole.first + hole.count()).min(self.block_count());
        (hole.first..end).step_by(1 << level).map(move |first| Run { first, level })
    }

    /// How many bytes some blocks have.
    pub(super) fn run_bytes(&self, run: Run) -> u64 {
        let offset_bytes = run.first * self.block_bytes;
        (run.count() * self.block_bytes).min(self.size_bytes - offset_bytes)
    }

    /// Whether a block's leaf is known already.
    fn is_known(&self, block: u64) -> bool {
        self.known.get((block >> self.leaf_level()) as usize).is_some_and(Option::is_some)
    }

    /// The first block at or after `block` whose leaf is not known, or the end of those that are
    /// moved.
    pub(super) fn next_unknown(&self, block: u64) -> u64 {
        let (end, level) = (self.block_range().end, self.leaf_level());
        let mut block = block;
        while block < end && self.is_known(block) {
            block = ((block >> level) + 1) << level;
        }
        block.min(end)
    }
}
