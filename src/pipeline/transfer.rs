//! What is handed to the loop, and how its answer is waited for.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crossbeam_channel::Receiver;

use super::budget::Budget;
use super::outcome::{Failure, Moved};
use super::route::Access;
use super::shape::Shape;
use crate::error::{Cause, Operation};
use crate::report::Meter;

/// How much is in flight.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Buffers, which is also the number of reads and writes in flight.
    pub queue_depth: usize,
    /// Bytes a buffer: a power of two, at least 4096.
    pub block_bytes: usize,
    /// What memory there is for them and for threads.
    pub budget: Budget,
}

/// One side of a transfer.
#[derive(Clone)]
pub struct Endpoint {
    /// The open file.
    pub file: Arc<OwnedFd>,
    /// Whether it has `O_DIRECT`.
    pub direct: bool,
    /// Whether memory is believed to hold what is read.
    pub is_cached: bool,
}

impl Endpoint {
    /// A file in its access.
    pub fn new(file: &Arc<OwnedFd>, access: Access) -> Self {
        let (direct, is_cached) = (access.is_direct(), access.is_cached());
        Self { file: Arc::clone(file), direct, is_cached }
    }
}

/// A file to be moved.
pub struct Transfer {
    /// Where it is read.
    pub source: Endpoint,
    /// Where it is written; nowhere if it is only to be hashed.
    pub target: Option<Endpoint>,
    /// What is moved.
    pub shape: Shape,
    /// What its blocks count as.
    pub progress: Progress,
}

impl Transfer {
    /// Whether a side of it needs kernel AIO.
    pub(super) fn is_direct(&self) -> bool {
        self.source.direct || self.target.as_ref().is_some_and(|target| target.direct)
    }
}

/// What the bytes of a transfer count as in the [`Meter`], block by block. Those of one that fails
/// are taken back.
#[derive(Clone, Debug)]
pub enum Progress {
    /// As handled, and in the sum of the file itself, so that its worker knows in the end what is
    /// left to be counted.
    Handled(Arc<AtomicU64>),
    /// As proved.
    Proved,
    /// As nothing, since they were counted before.
    Nothing,
    /// As nothing either, and no rate is kept to: what an earlier run moved would keep this one
    /// from moving anything.
    Earlier,
}

impl Progress {
    /// Where it is counted.
    pub(super) fn sums<'a>(&'a self, meter: &'a Meter) -> impl Iterator<Item = &'a AtomicU64> {
        let (all, own) = match self {
            Self::Handled(own) => (Some(&meter.handled_bytes), Some(&**own)),
            Self::Proved => (Some(&meter.proved_bytes), None),
            Self::Nothing | Self::Earlier => (None, None),
        };
        all.into_iter().chain(own)
    }
}

/// A file that is in the loop.
pub struct Started(pub(super) Receiver<Result<Moved, Failure>>);

impl Started {
    /// Blocks until all of the file's blocks are over. A pipeline that was stopped before is an
    /// error, `Interrupted`.
    pub fn wait(self) -> Result<Moved, Failure> {
        match self.wait_for_some()? {
            moved if moved.whole => Ok(moved),
            _ => Err(Failure::source(Operation::Copy, 0, Cause::Interrupted)),
        }
    }

    /// Blocks until those blocks are over that were started, which are all unless the pipeline was
    /// stopped.
    pub fn wait_for_some(self) -> Result<Moved, Failure> {
        self.0.recv().unwrap_or(Err(Failure::source(Operation::Copy, 0, Cause::ThreadGone)))
    }
}
