//! The sizes that decide how a file is read.

/// Files up to this size are copied by one worker with plain writes. Direct writes of the
/// destination would wait for each other, and a smaller request is not worth the detour.
pub const SMALL_BYTES_MAX: u64 = 1 << 20;

/// How many blocks of one file are held in memory as a hash or as a bit each: 128 TiB in blocks of
/// 1 MiB. A file of 8 EiB that is nothing but a hole must cost no more than its own copy.
pub const BLOCKS_MAX: u64 = 1 << 27;

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
