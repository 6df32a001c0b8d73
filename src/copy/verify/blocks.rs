//! Which blocks of two files differ, and where they are. Pure.

use std::ops::Range;
use std::sync::Arc;

use crate::digest::LeafHash;

/// The blocks whose leaves differ, one flag a block. Both files have the same size.
pub fn differing(found: &[LeafHash], wanted: &[LeafHash]) -> Vec<bool> {
    debug_assert_eq!(found.len(), wanted.len(), "files of one size have as many blocks");
    found.iter().zip(wanted).map(|(found, wanted)| found != wanted).collect()
}

/// The size that a file has to have, and the size that it had when it was compared.
#[derive(Clone, Copy, Debug)]
pub struct Resized {
    pub size_bytes: u64,
    pub was_bytes: u64,
}

/// The blocks to be written again of a file that is given another size. A file of one block has no
/// leaf of a part; and of one that grows only whole blocks are known to be right.
pub fn to_rewrite(
    wanted: &[LeafHash],
    found: &[LeafHash],
    Resized { size_bytes, was_bytes }: Resized,
    block_bytes: u64,
) -> Vec<bool> {
    let count = size_bytes.div_ceil(block_bytes).max(1);
    let (grows, common_bytes) = (size_bytes > was_bytes, size_bytes.min(was_bytes));
    let is_whole =
        |block: u64| (block + 1) * block_bytes <= common_bytes && common_bytes > block_bytes;
    let is_known =
        |block: u64| size_bytes == was_bytes || (count > 1 && (!grows || is_whole(block)));
    let leaf = |leaves: &[LeafHash], block: u64| leaves.get(block as usize).copied();
    (0..count).map(|block| !is_known(block) || leaf(wanted, block) != leaf(found, block)).collect()
}

/// The leaves of the blocks that do not differ.
pub fn known(leaves: &[LeafHash], bad: &[bool]) -> Arc<[Option<LeafHash>]> {
    leaves.iter().zip(bad).map(|(leaf, bad)| (!bad).then_some(*leaf)).collect()
}

/// The differing blocks of a file of `size_bytes` as byte ranges; those that touch are one.
pub fn ranges(bad: &[bool], size_bytes: u64, block_bytes: u64) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for (block, _) in bad.iter().enumerate().filter(|(_, bad)| **bad) {
        let start = block as u64 * block_bytes;
        push(&mut ranges, start..size_bytes.min(start + block_bytes));
    }
    ranges
}

/// Adds a range that begins at or after the end of the last one.
pub fn push(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_that_touch_are_one_range_and_the_last_ends_with_the_file() {
        let bad = [true, true, false, false, true, false, true];
        assert_eq!(ranges(&bad, 6 * 4096 + 5, 4096), [0..8192, 16_384..20_480, 24_576..24_581]);
        assert_eq!(ranges(&[true], 7, 4096), [Range { start: 0, end: 7 }]);
        assert_eq!(ranges(&[false, false], 8192, 4096), []);
    }

    #[test]
    fn of_a_file_with_another_size_only_whole_blocks_stay() {
        let leaves = |count: usize| vec![[1; 32]; count];
        let to_rewrite = |was_blocks: usize, was_bytes, blocks: usize, size_bytes| {
            // What was compared are the blocks that both have.
            let common = was_blocks.min(blocks);
            let resized = Resized { size_bytes, was_bytes };
            super::to_rewrite(&leaves(common), &leaves(common), resized, 4096)
        };
        assert_eq!(to_rewrite(2, 8192, 2, 8192), [false, false], "the same size");
        assert_eq!(to_rewrite(3, 12_288, 2, 8192), [false, false], "cut after two");
        assert_eq!(to_rewrite(2, 8192, 1, 4096), [true], "one block is no part");
        assert_eq!(to_rewrite(2, 8192, 3, 12_288), [false, false, true], "grown");
        assert_eq!(to_rewrite(2, 8191, 3, 12_288), [false, true, true], "half a block grew");
        assert_eq!(to_rewrite(1, 4096, 2, 8192), [true, true], "its leaf was a whole file's");
        assert_eq!(to_rewrite(1, 0, 1, 5), [true]);
        let differing = [[1; 32], [2; 32]];
        let resized = Resized { size_bytes: 8192, was_bytes: 8192 };
        assert_eq!(super::to_rewrite(&leaves(2), &differing, resized, 4096), [false, true]);
    }

    #[test]
    fn only_equal_blocks_are_known() {
        let (a, b) = ([1; 32], [2; 32]);
        let bad = differing(&[a, b, a], &[a, a, a]);
        assert_eq!(bad, [false, true, false]);
        assert_eq!(*known(&[a, b, a], &bad), [Some(a), None, Some(a)]);
    }
}
