//! The sizes that decide how a file is read.

/// Files up to this size are copied by one worker with plain writes. Direct writes of the
/// destination would wait for each other, and a smaller request is not worth the detour.
pub const SMALL_BYTES_MAX: u64 = 1 << 20;

/// How many blocks a file may have that is gone over block by block: 128 TiB in blocks of 1 MiB. A
/// file of 8 EiB that is nothing but a hole must cost no more than its own copy, and hashing it
/// would take years.
pub const BLOCKS_MAX: u64 = 1 << 27;

/// How many leaves of one file are held in memory at most: 4 MiB. In blocks of 1 MiB, one of up to
/// 128 GiB has a leaf a block.
pub const LEAVES_MAX: u64 = 1 << 17;

/// How many bits say where a file holds data: 32 KiB. In blocks of 1 MiB, one of up to 256 GiB has
/// a bit a block.
pub const DATA_BITS_MAX: u64 = 1 << 18;

/// How much of a hole is hashed at once. Whatever else is to be hashed waits no longer for it than
/// for a few blocks.
pub const HOLE_BYTES: u64 = 4 << 20;

/// How many bytes a leaf stands for in what is kept of a file: a block, or so many times 2 that the
/// file has no more leaves than fit.
pub fn leaf_bytes(size_bytes: u64, block_bytes: u64) -> u64 {
    let mut leaf_bytes = block_bytes;
    while size_bytes.div_ceil(leaf_bytes) > LEAVES_MAX {
        leaf_bytes *= 2;
    }
    leaf_bytes
}

/// How much of each small file is asked for ahead: with 32 workers and all files of their batches
/// at most 128 MiB.
pub const READ_AHEAD_BYTES: u64 = 64 << 10;

/// What is read together at most: any small file, and some 64 of the usual ones. There are as many
/// such buffers as cores, eight at least.
pub const TOGETHER_BYTES: usize = 1 << 20;

/// A batch would never end if one of its files fitted into no buffer.
const _: () = assert!(SMALL_BYTES_MAX as usize <= TOGETHER_BYTES);

/// The multiple at which the buffers of files that are read together begin.
pub const TOGETHER_ALIGN_BYTES: u64 = 4096;

/// As many operations are worth a submission. A thread carries fewer out by itself, without waking
/// another.
pub const TOGETHER_MIN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_a_leaf_a_block_until_they_are_too_many() {
        const MIB: u64 = 1 << 20;
        assert_eq!(leaf_bytes(0, MIB), MIB);
        assert_eq!(leaf_bytes(LEAVES_MAX * MIB, MIB), MIB);
        assert_eq!(leaf_bytes(LEAVES_MAX * MIB + 1, MIB), 2 * MIB);
        assert_eq!(leaf_bytes(i64::MAX as u64, 4096), 1 << 46);
    }
}
