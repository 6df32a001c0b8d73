//! What moves and hashes the blocks of big files, and reads small ones together: one thread with
//! one kernel AIO context.
//!
//! A [`Transfer`] with a target is a copy; without one it is only hashed. The [`route`] says which
//! files come here, and whether direct.

mod batch;
mod budget;
mod cached;
mod data_blocks;
mod engines;
mod event_loop;
mod flight;
mod handle;
mod hashers;
mod job;
mod memory;
mod message;
mod outcome;
mod outlook;
pub mod route;
mod shape;
mod sizes;
mod slab;
pub mod small;
mod tag;
mod traffic;
mod transfer;
pub mod zeros;

#[cfg(test)]
mod tests;

pub use batch::{BatchFile, BatchWay};
pub use budget::Budget;
pub use data_blocks::DataBlocks;
pub use engines::EngineKind;
pub use handle::Pipeline;
pub use outcome::{Failure, Moved, Side};
pub use outlook::Outlook;
pub use shape::{Leaves, Shape};
pub use sizes::{BLOCKS_MAX, LEAVES_MAX, SMALL_BYTES_MAX, TOGETHER_ALIGN_BYTES, leaf_bytes};
pub use traffic::{Pace, Traffic};
pub use transfer::{Endpoint, Limits, Progress, Started, Transfer};
