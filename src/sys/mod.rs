//! Everything that touches the kernel's memory contract: the only room with `unsafe` in it.
//!
//! What leaves this room is safe: owned buffers, a context that owns what it lent to the kernel, and system
//! calls with checked results.
#![allow(unsafe_code)]

mod abi;
mod buffer;
mod context;
pub mod fs;

pub use buffer::{Buffer, Pool, SharedBuffer};
pub use context::{Context, Done, Op, OpKind};
