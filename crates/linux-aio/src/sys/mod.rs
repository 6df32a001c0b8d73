//! Everything that touches the kernel's memory contract: the only room with `unsafe` in it.
//!
//! What leaves this room is safe: owned buffers, and a context that owns what it lent to the
//! kernel.
#![allow(unsafe_code)]

mod abi;
mod buffer;
mod context;
mod done;
mod eventfd;
mod fork;
mod handle;
mod iobuf;
mod iocb;
mod op;
pub(crate) mod place;
#[cfg(feature = "posix")]
pub mod posix;
mod refused;
mod region;
mod ring;
mod setup;
mod shared_fd;
mod signal;
mod slot;
mod slots;
mod ticket;

pub use buffer::{Buffer, Pool, SharedBuffer};
pub use context::{Callback, Context};
pub use done::Done;
#[cfg(any(feature = "async", feature = "posix", feature = "sim", feature = "threads"))]
pub(crate) use eventfd::signal;
#[cfg(any(feature = "async", feature = "threads"))]
pub(crate) use fork::process_number;
pub use handle::{Handle, HandleCallback};
#[cfg(feature = "async")]
pub(crate) use iobuf::Lent;
pub use iobuf::{IoBuf, IoBufMut};
pub use op::{Op, OpKind, PARTS_MAX, Part, PollFlags, Priority, ReadWriteFlags, Submitted};
pub use refused::{Full, Refused};
pub use setup::SetupError;
pub use shared_fd::SharedFd;
pub use signal::SignalMask;
pub use ticket::{Cancel, Ticket};
