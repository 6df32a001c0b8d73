//! What of a file is moved, and how: pure.

use std::ops::Range;

use super::route::Access;
use crate::digest::{Hashing, LeafHash, Mode};

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
    /// Which blocks hold data, a bit a block; `None` when all do.
    pub data_blocks: Option<Vec<u64>>,
    /// The leaves that are known already, one a block or none at all. Their blocks are neither
    /// read, hashed nor written. A file of one block has no such leaf: its hash is that of a whole.
    pub known: Vec<Option<LeafHash>>,
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
            known: Vec::new(),
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

    /// This shape for some of the blocks, hashed as a tree.
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

    /// Whether a block is no hole.
    pub(super) fn has_data(&self, block: u64) -> bool {
        self.data_blocks
            .as_ref()
            .is_none_or(|bits| bits[(block / 64) as usize] >> (block % 64) & 1 == 1)
    }

    /// Whether a block's leaf is known already.
    pub(super) fn is_known(&self, block: u64) -> bool {
        self.known.get(block as usize).is_some_and(Option::is_some)
    }

    /// The first block at or after `block` whose leaf is not known, or the end of those that are
    /// moved.
    pub(super) fn next_unknown(&self, block: u64) -> u64 {
        let end = self.block_range().end;
        (block..end).find(|&block| !self.is_known(block)).unwrap_or(end)
    }
}
