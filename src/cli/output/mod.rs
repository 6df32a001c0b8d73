//! What is written of a run besides the copy: JSON, the log, summaries, and files in the end.

pub mod failures;
pub mod file;
pub mod json;
pub mod log;
pub mod slowest;
pub mod summary;
