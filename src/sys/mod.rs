//! System calls that no crate wraps safely: the only room with `unsafe` in it.
//!
//! What leaves this room is safe: calls with checked results. The asynchronous I/O is in the
//! package `linux-aio`, with a room `sys` of its own.
#![allow(unsafe_code)]

pub mod call;
pub mod file;
pub mod handle;
pub mod limit;
pub mod memory;
pub mod signal;
pub mod stdio;
