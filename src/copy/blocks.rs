//! Which blocks of two files differ, and where they are. Pure.

use std::ops::Range;

use crate::digest::LeafHash;

/// The blocks whose leaves differ, one flag a block. Both files have the same size.
pub fn differing(found: &[LeafHash], wanted: &[LeafHash]) -> Vec<bool> {
    debug_assert_eq!(found.len(), wanted.len(), "files of one size have as many blocks");
    found.iter().zip(wanted).map(|(found, wanted)| found != wanted).collect()
}

/// The leaves of the blocks that do not differ.
pub fn known(leaves: &[LeafHash], bad: &[bool]) -> Vec<Option<LeafHash>> {
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
    fn only_equal_blocks_are_known() {
        let (a, b) = ([1; 32], [2; 32]);
        let bad = differing(&[a, b, a], &[a, a, a]);
        assert_eq!(bad, [false, true, false]);
        assert_eq!(known(&[a, b, a], &bad), [Some(a), None, Some(a)]);
    }
}
