//! Flags that both commands share or that are a subject of their own, and how a command line is
//! read, explained and completed.

pub mod abbreviations;
mod completions;
pub mod config;
pub mod existing;
mod foreign;
pub mod general;
pub mod help;
pub mod order;
mod pager;
pub mod preserve;
pub mod seeing;
pub mod selection;
pub mod size;
pub mod tuning;
pub mod usage;

pub use completions::completions;
