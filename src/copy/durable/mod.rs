//! What makes files, and the names in directories, durable.

mod dirs;
mod names;
mod sync;
mod syncfs;

pub use names::Named;
pub use sync::Durable;
