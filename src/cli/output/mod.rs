//! What a run writes besides the copy: JSON, the log, summaries, and files at its end.

pub mod failures;
pub mod file;
pub mod json;
pub mod log;
pub mod object;
mod paths;
pub mod planned;
pub mod repeats;
pub mod slowest;
mod standing;
pub mod summary;
