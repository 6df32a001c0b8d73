//! Asynchronous file I/O for anyone: operations that own what they touch, and engines that carry them out.
//!
//! An [`Op`] moves into an [`Engine`] with its buffer and its file and comes back in a [`Done`], exactly once,
//! also when it could not be submitted. Nothing is ever lent by reference, so leaking an engine is safe.
//!
//! - [`kernel`] is Linux's own AIO, all of libaio's interface, for files opened with `O_DIRECT`;
//! - [`posix`] is glibc's POSIX AIO, the whole family, for files, pipes and sockets;
//! - [`threads`] is a pool that calls pread and pwrite, for everything that the kernel would only pretend to do asynchronously;
//! - [`sim`] is a seeded fake that reorders, delays, shortens and fails, to test what stands on an engine.

pub mod kernel;
mod perform;
pub mod posix;
pub mod sim;
pub mod threads;
mod waker;

use std::io;
use std::time::Duration;

pub use crate::sys::{Buffer, Done, Op, OpKind, Part, PollFlags, Pool, ReadWriteFlags, SharedBuffer, Submitted};
pub use kernel::Context;
pub use posix::Posix;
pub use threads::Threads;
pub use waker::Waker;

/// Something that carries out operations, in any order.
pub trait Engine: Send {
    /// Takes an operation. Never blocks. A full engine gives it back, which is no error.
    // The operation is what a caller must not lose; it is as large as it is.
    #[allow(clippy::result_large_err)]
    fn queue(&mut self, op: Op) -> Result<(), Op>;

    /// Starts what is queued. What is refused comes back through [`reap`](Self::reap), like all the rest. It may block where the
    /// kernel does, see `io_submit(2)`.
    fn submit(&mut self) -> Submitted;

    /// Moves finished operations to the end of `out` and says how many, after waiting for `min` of them or until
    /// `timeout` is over. It may return early with fewer, and waits for no more than were submitted.
    fn reap(&mut self, min: usize, timeout: Option<Duration>, out: &mut Vec<Done>) -> io::Result<usize>;

    /// How many operations are inside: queued, running, or finished and not yet reaped.
    fn in_flight(&self) -> usize;
}
