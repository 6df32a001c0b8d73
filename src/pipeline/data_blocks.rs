//! Where a file holds data, in memory that does not grow with it: pure.

use std::ops::Range;

use super::sizes::DATA_BITS_MAX;

/// Which blocks of a file hold data: a bit for each, or for each few that lie side by side. Of
/// those all are taken for data if one is.
#[derive(Clone, Debug)]
pub struct DataBlocks {
    /// The logarithm of the number of blocks that have one bit.
    level: u32,
    bits: Vec<u64>,
}

impl DataBlocks {
    /// Of a file of this many blocks, which is all hole.
    pub fn none(block_count: u64) -> Self {
        let blocks_per_bit = block_count.div_ceil(DATA_BITS_MAX).next_power_of_two();
        let bits = vec![0; block_count.div_ceil(blocks_per_bit).div_ceil(64) as usize];
        Self { level: blocks_per_bit.ilog2(), bits }
    }

    /// How many blocks have one bit.
    pub fn blocks_per_bit(&self) -> u64 {
        1 << self.level
    }

    /// These blocks hold data.
    pub fn add(&mut self, blocks: Range<u64>) {
        if !blocks.is_empty() {
            for bit in blocks.start >> self.level..=(blocks.end - 1) >> self.level {
                self.bits[(bit / 64) as usize] |= 1 << (bit % 64);
            }
        }
    }

    /// Whether a block may hold data.
    pub fn has(&self, block: u64) -> bool {
        let bit = block >> self.level;
        self.bits[(bit / 64) as usize] >> (bit % 64) & 1 == 1
    }

    /// Whether the file is all hole.
    pub fn is_blank(&self) -> bool {
        self.bits.iter().all(|&bits| bits == 0)
    }

    /// The first block from `block` on that may hold data, or one behind the end of the file.
    pub fn next(&self, block: u64) -> u64 {
        let bit = block >> self.level;
        let (word, below) = (bit / 64, (1 << (bit % 64)) - 1);
        let words = (word..).zip(self.bits.iter().skip(word as usize));
        let mut words =
            words.map(|(at, &bits)| (at, if at == word { bits & !below } else { bits }));
        match words.find(|&(_, bits)| bits != 0) {
            Some((at, bits)) => {
                ((at * 64 + u64::from(bits.trailing_zeros())) << self.level).max(block)
            }
            None => (self.bits.len() as u64 * 64) << self.level,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_data_is_found_and_a_vast_file_takes_no_more_memory() {
        for count in [1, 63, 64, 65, 1000, DATA_BITS_MAX, DATA_BITS_MAX + 1, 1 << 27] {
            let mut blocks = DataBlocks::none(count);
            assert!(blocks.is_blank() && blocks.next(0) >= count);
            assert!(blocks.bits.len() as u64 * 64 <= DATA_BITS_MAX);
            blocks.add(0..0);
            assert!(blocks.is_blank());
            let (first, last) = (count / 3, count - 1);
            blocks.add(first..first + 1);
            blocks.add(last..count);
            let before = first - first % blocks.blocks_per_bit();
            assert_eq!(blocks.next(0), before, "{count} blocks");
            assert!(blocks.has(first) && blocks.has(last) && blocks.next(first) == first);
            let behind = before + blocks.blocks_per_bit();
            let after = (last - last % blocks.blocks_per_bit()).max(behind.min(last));
            assert_eq!(blocks.next(behind.min(last)), after, "{count} blocks");
        }
    }
}
