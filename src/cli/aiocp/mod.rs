//! The command `aiocp`.

mod args;
mod command_line;
mod habits;
mod printer;
mod question;
mod run;
mod values;
mod words;

pub use args::command;
pub use run::run;
