//! What came of a file in the loop.

use std::io;
use std::path::PathBuf;

use crate::digest::{self, Hash, KeptLeaves, LeafHash, Mode, Output, Run, Tree};
use crate::error::{Cause, Error, Operation};

/// Which of its two files a transfer failed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that is read.
    Source,
    /// The one that is written.
    Target,
}

/// Why a file failed, without its path.
#[derive(Debug)]
pub struct Failure {
    /// What could not be done.
    pub op: Operation,
    /// To which file.
    pub side: Side,
    /// Where in the file, in bytes.
    pub offset_bytes: u64,
    /// The cause.
    pub cause: Cause,
}

impl Failure {
    /// A failure on the file that is read.
    pub fn source(op: Operation, offset_bytes: u64, cause: impl Into<Cause>) -> Self {
        Self { op, side: Side::Source, offset_bytes, cause: cause.into() }
    }

    /// A failure on the file that is written.
    pub fn target(op: Operation, offset_bytes: u64, cause: impl Into<Cause>) -> Self {
        Self { op, side: Side::Target, offset_bytes, cause: cause.into() }
    }

    /// The loop cannot wait for what the file has in flight. That says nothing of a place in it.
    pub(super) fn waiting(error: &io::Error) -> Self {
        Self::source(Operation::AwaitIo, 0, same(error))
    }

    /// An error of the file at `path`, with its place if it has one.
    pub fn of(self, path: PathBuf) -> Error {
        let Self { op, offset_bytes, cause, .. } = self;
        let of_all = matches!(
            op,
            Operation::AwaitIo | Operation::Seek | Operation::AllocateSpace | Operation::SetSize
        );
        let of_all = of_all || matches!(cause, Cause::NoDirect(_));
        let error = Error::new(op, path, cause);
        if of_all { error } else { error.at(offset_bytes) }
    }
}

/// One more error like this one, for one more file.
pub(super) fn same(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

/// What was moved.
#[derive(Clone, Debug, Default)]
pub struct Moved {
    /// The hash, if it was wanted and all blocks were moved.
    pub hash: Option<Output>,
    /// The leaves of all that was to be moved, if they were to be kept.
    pub leaves: Vec<LeafHash>,
    /// Whether all blocks were moved that were to be; else the pipeline was stopped, and the leaves
    /// are those of the first ones, which were.
    pub whole: bool,
    /// Bytes written to the destination.
    pub written_bytes: u64,
    /// Bytes left out as holes.
    pub hole_bytes: u64,
}

impl Moved {
    /// What a transfer without a target would have answered for a file that is in memory, and not
    /// empty, with leaves that stand for `leaf_bytes`.
    pub fn read(bytes: &[u8], leaf_bytes: u64) -> Self {
        let (mode, size_bytes) = (Mode::Hash, bytes.len() as u64);
        let count = size_bytes.div_ceil(leaf_bytes);
        let kept = KeptLeaves { level: 0, blocks: 0..count };
        let mut tree = Tree::new(mode.clone(), count, Some(kept));
        for (n, part) in (0..).zip(bytes.chunks(leaf_bytes as usize)) {
            tree.put(Run::block(n), digest::leaf(&mode, part, n * leaf_bytes, size_bytes));
        }
        let (hash, leaves) = tree.finish();
        Self { hash, leaves, whole: true, written_bytes: 0, hole_bytes: size_bytes }
    }

    /// Bytes of the blocks that were moved or read: those of all that were not known before.
    pub fn bytes(&self) -> u64 {
        self.written_bytes + self.hole_bytes
    }

    /// The BLAKE3 hash that `b3sum` prints.
    pub fn root(&self) -> Option<Hash> {
        self.hash.as_ref().map(Output::hash)
    }
}
