//! How the process's command line is read.

use clap::{ArgMatches, FromArgMatches};

use super::args::{Args, command};
use crate::cli::flags::config::Config;
use crate::cli::flags::usage;

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
    /// Those of the command line alone, without the file.
    pub typed: Args,
    /// What clap knows of their order.
    pub matches: ArgMatches,
    /// The file with more options, if there is one.
    pub config: Option<Config>,
}

impl CommandLine {
    /// Reads it. The process ends here if it makes no sense, or asks for `--help`.
    pub fn read() -> Self {
        let mut command = command();
        let mut words: Vec<_> = std::env::args_os().collect();
        if words.len() < 2 {
            usage::show(&command);
        }
        let mut matches = usage::matches(&mut command, &words, &COMMON);
        if let Some((what, hint)) = usage::rsync_negation(&command, words.iter()) {
            usage::refuse("aiocp", &what, Some(hint));
        }
        let read = |matches: &ArgMatches| {
            Args::from_arg_matches(matches).unwrap_or_else(|error| error.exit())
        };
        let typed = read(&matches);
        let is_ignored = matches.get_flag("no_config") || matches.contains_id("completions");
        let config = if is_ignored { None } else { Config::read(&command) };
        if let Some(config) = &config {
            words.splice(1..1, config.words().cloned());
            matches = command.try_get_matches_from_mut(&words).unwrap_or_else(|error| {
                let (what, _) = usage::explained(&command, &error);
                usage::refuse("aiocp", &what, Some(&config.hint()))
            });
        }
        Self { args: read(&matches), typed, matches, config }
    }
}
