//! The command `aiosum`.

mod args;
mod printer;
mod run;

pub use args::command;
pub use run::run;
