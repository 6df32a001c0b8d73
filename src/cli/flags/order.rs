//! The order of flags on a command line, where the last one counts.

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Which of some flags came last on the command line.
pub fn last_of<'a>(matches: &ArgMatches, flags: &[&'a str]) -> Option<&'a str> {
    let given =
        flags.iter().filter(|flag| matches.value_source(flag) == Some(ValueSource::CommandLine));
    given.max_by_key(|flag| matches.indices_of(flag).and_then(Iterator::last)).copied()
}
