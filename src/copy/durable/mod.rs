//! What makes files, and the names in directories, durable.

mod dirs;
mod names;
mod sync;
mod syncfs;

pub use names::{Named, NamedAhead};
pub use sync::Durable;
