//! What a person touches: flags, messages, exit codes.

pub mod aiocp;
pub mod aiosum;
pub mod exit;
mod flags;
mod output;
mod page;
pub mod process;
mod screen;

pub use flags::completions;
