//! What is seen while a run goes on: the line of progress, messages beside it, and what signals do.

pub mod progress;
pub mod signals;
pub mod terminal;
pub mod units;
pub mod watch;
