//! Everything that touches the kernel's memory contract: the only room with `unsafe` in it.
//!
//! What leaves this room is safe: owned buffers, and a context that owns what it lent to the
//! kernel.
#![allow(unsafe_code)]

mod abi;
mod buffer;
mod context;
mod done;
mod fork;
mod iobuf;
mod op;
#[cfg(feature = "posix")]
pub mod posix;
mod refused;
mod region;
mod ring;
mod signal;
mod ticket;

pub use buffer::{Buffer, Pool, SharedBuffer};
pub use context::{Callback, Cancel, Context};
pub use done::Done;
pub use iobuf::{IoBuf, IoBufMut};
pub use op::{Op, OpKind, PARTS_MAX, Part, PollFlags, Priority, ReadWriteFlags, Submitted};
pub use refused::{Full, Refused};
pub use signal::SignalMask;
pub use ticket::Ticket;
