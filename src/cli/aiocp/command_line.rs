//! How the process's command line is read.

use clap::{ArgMatches, FromArgMatches};

use super::args::{Args, command};
use crate::cli::flags::{help, usage};

/// What `-h` shows, by id. It fits a terminal of 80 columns and 24 lines.
const COMMON: [&str; 15] = [
    "archive",
    "recursive",
    "target_directory",
    "no_target_directory",
    "no_clobber",
    "update_older",
    "exclude",
    "dry_run",
    "resume",
    "verify",
    "verify_only",
    "manifest",
    "progress",
    "verbose",
    "help",
];

/// What the process was asked for.
pub struct CommandLine {
    /// The values of the flags.
    pub args: Args,
    /// What clap knows of their order.
    pub matches: ArgMatches,
}

impl CommandLine {
    /// Reads it. The process ends here if it makes no sense, or asks for `--help`.
    pub fn read() -> Self {
        let mut command = help::with_help(command(), &COMMON);
        let words: Vec<_> = std::env::args_os().collect();
        if words.len() < 2 {
            usage::show(&command);
        }
        let matches = usage::matches(&mut command, &words);
        usage::refuse_rsync_negation(&command, &words);
        let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        Self { args, matches }
    }
}
