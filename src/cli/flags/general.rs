//! The flags about the command itself, which both commands have.

use clap::{ArgAction, Args};

#[derive(Debug, Args)]
#[command(next_help_heading = "General")]
pub struct GeneralArgs {
    /// Print help; --help lists all options
    ///
    /// --help goes through a pager where it is longer than the terminal.
    #[arg(short, long, action = ArgAction::Help)]
    pub help: Option<bool>,

    /// Print the version, and the I/O engines
    #[arg(short = 'V', long, action = ArgAction::Version)]
    pub version: Option<bool>,
}
