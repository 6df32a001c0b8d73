//! Operations that are awaited: kernel AIO for `async` functions, without a runtime of its own.
//!
//! A [`Driver`] has a context of the kernel. Its [`AsyncHandle`] makes futures, of which each owns
//! its buffer and gives it back with the result:
//!
//! ```
//! use linux_aio::{Pool, future::Driver};
//! use std::{fs::File, sync::Arc};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut driver = Driver::new(16)?;
//! let handle = driver.handle();
//! let file = Arc::new(File::open("/dev/zero")?);
//! let buffer = Pool::new(1, 4096)?.get().expect("a new pool has buffers");
//! let count = driver.block_on(async {
//!     let (result, buffer) = handle.read(&file, buffer, 0).await;
//!     let (again, _buffer) = handle.read(&file, buffer, 4096).await;
//!     Ok::<_, std::io::Error>(result? + again?)
//! })??;
//! assert_eq!(count, 8192);
//! # Ok(())
//! # }
//! ```
//!
//! # Who drives it
//!
//! | | who waits | call |
//! | --- | --- | --- |
//! | [`Driver`] | this thread, for one future | [`block_on`](Driver::block_on) |
//! | [`Driver`] | this thread, between the tasks of an executor | [`turn`](Driver::turn) |
//! | [`Driver`] | a thread for it alone | [`run`](Driver::run) |
//! | [`PollableDriver`] | tokio, smol, or any loop | [`turn`](PollableDriver::turn) |
//!
//! All operations that were queued between two turns are one io_submit(2), and one io_getevents(2)
//! or a look at the ring gives back all that are over. The futures are `Send`, and so are handles
//! and drivers: a future may be awaited in any thread and any executor.
//!
//! A [`Driver`] waits in io_getevents(2), at the cost of a plain [`Context`](crate::Context). A
//! [`PollableDriver`] has its operations signal an eventfd(2), and the other loop makes a few
//! system calls more for each turn.
//!
//! Measured as in [the table of engines](crate#which-engine), on one thread, in seven alternating
//! rounds: at 4 KiB × 128 a stream read at 1.03 of the plain context's rate, and 128 tasks of an
//! executor at 0.94. At random places it was 1.00 and 0.98, and at 1 MiB × 16 1.00 and 1.05.
//!
//! # Many at once
//!
//! Futures are joined with whatever joins futures. For many operations of one task there are
//! streams: [`AsyncHandle::completions`], into which operations are pushed, and
//! [`AsyncHandle::buffered`], of an iterator. They give operations back in the order in which they
//! were pushed, or as they are over. They are a [`Stream`](futures_core::Stream), and have a `next`
//! of their own.
//!
//! When all places are taken, what comes is in line, the first one first. A poll has its place for
//! as long as nothing happens: have more places than polls.
//!
//! # What is dropped, and what ends
//!
//! - A future that is dropped before it had a place is as if it had never been. Later it leaves its
//!   operation to the driver, which asks the kernel to cancel it. The buffer lives until the kernel
//!   has let go of it, and is dropped then: it goes back to its pool. A read or write may well be
//!   carried out.
//! - A driver that is dropped waits for what the kernel has. All that wait hear of it.
//! - A driver that is forgotten with [`std::mem::forget`] leaves its futures waiting for ever.
//! - In a forked child, none of it can be used. A drop there leaks.
//!
//! # An executor by hand
//!
//! `examples/async_by_hand.rs` runs several tasks on one thread:
//!
//! ```no_run
#![doc = include_str!("../../examples/async_by_hand.rs")]
//! ```

mod completions;
mod driver;
mod handle;
mod operation;
mod outbox;
mod pollable;
mod reactor;
mod registry;
mod shared;

pub use completions::{Buffered, Completions, Order};
pub use driver::Driver;
pub use handle::AsyncHandle;
pub use operation::Operation;
pub use pollable::PollableDriver;
