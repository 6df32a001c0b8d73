//! What is seen while a run goes on: the line of progress, messages beside it, and what signals do.

mod picture;
pub mod progress;
pub mod signals;
pub mod terminal;
pub mod watch;

pub(crate) use crate::units;
