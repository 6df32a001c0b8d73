//! Everything that touches the kernel's memory contract: the only room with `unsafe` in it.
//!
//! What leaves this room is safe: owned buffers, a context that owns what it lent to the kernel,
//! and system calls with checked results.
#![allow(unsafe_code)]

mod abi;
mod buffer;
pub mod call;
mod context;
pub mod file;
mod fork;
pub mod handle;
pub mod limit;
pub mod memory;
mod op;
pub mod posix;
mod ring;
pub mod signal;
pub mod stdio;

pub use buffer::{Buffer, Pool, SharedBuffer};
pub use context::{Callback, Cancel, Context, Ticket};
pub use op::{
    Done, Op, OpKind, PARTS_MAX, Part, PollFlags, Priority, ReadWriteFlags, Submitted, believed,
};
pub use signal::SignalMask;
