//! What makes files, and the names in directories, durable.

mod dirs;
mod sync;
mod syncfs;

pub use sync::Durable;
