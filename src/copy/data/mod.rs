//! How a new file gets its data: cloned, written by one worker, or moved through the pipeline.

mod big;
mod clone;
mod fill;
mod room;
mod small;

pub use big::cut;
pub use fill::{Data, Fate, Filled};
