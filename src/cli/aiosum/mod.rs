//! The command `aiosum`.

mod args;
mod counts;
mod json;
mod lines;
mod printer;
mod run;

pub use args::command;
pub use run::run;
