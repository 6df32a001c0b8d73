//! The command line as clap reads it. One that makes no sense gets one line that says why, and a
//! second one that helps.

use std::error::Error as _;
use std::io::Write;
use std::process::exit;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{ArgMatches, Command};

use crate::cli::exit::{DONE, FAILED, USAGE};
use crate::error::shown;
use crate::fs;

/// Which version, of which commit, with which engines.
pub const VERSION: &str = concat!(env!("AIOCP_VERSION"), "\nengines: kernel, posix, threads");

/// The process's command line. The process ends here if it makes no sense, or asks for `--help` or
/// `--version`.
pub fn matches(command: Command) -> ArgMatches {
    let name = command.get_name().to_owned();
    command.try_get_matches().unwrap_or_else(|error| end(&name, &error))
}

fn end(name: &str, error: &Error) -> ! {
    if error.use_stderr() {
        let (what, hint) = explain(error);
        refuse(name, &what, hint.as_deref())
    }
    match fs::stdout().and_then(|_| error.print()) {
        Ok(()) => exit(DONE.into()),
        Err(cause) => {
            say(&format!("{name}: cannot write to stdout: {cause}\n"));
            exit(FAILED.into())
        }
    }
}

/// Ends the process with the exit code for a command line that makes no sense.
pub fn refuse(name: &str, what: &str, hint: Option<&str>) -> ! {
    let hint = hint.map_or_else(|| format!("'{name} --help' lists all options"), str::to_owned);
    say(&format!("{name}: {what}\n{name}: hint: {hint}\n"));
    exit(USAGE.into())
}

/// Prints on standard error. Where that is closed, the exit code says the same: the process ends
/// next.
fn say(text: &str) {
    drop(std::io::stderr().write_all(text.as_bytes()));
}

/// An option without the value that clap writes behind it, as in '--direct <WHEN>' or
/// '--update[=<WHICH>]'.
fn bare(option: &str) -> String {
    option.split([' ', '=']).next().unwrap_or_default().trim_end_matches('[').to_owned()
}

/// Options in a row. Where one of a group was given, clap names all of them.
fn alternatives(options: Option<&ContextValue>) -> String {
    let options = match options {
        Some(ContextValue::String(option)) => std::slice::from_ref(option),
        Some(ContextValue::Strings(options)) => options,
        _ => &[],
    };
    let quoted: Vec<_> = options.iter().map(|option| format!("'{}'", bare(option))).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// What is wrong, and what was probably meant.
fn explain(error: &Error) -> (String, Option<String>) {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => shown(text),
        Some(ContextValue::Strings(texts)) => shown(texts.join(", ")),
        _ => String::new(),
    };
    let name = |kind| bare(&text(kind));
    let (option, value) = (name(ContextKind::InvalidArg), text(ContextKind::InvalidValue));
    let what = match error.kind() {
        ErrorKind::UnknownArgument => format!("unknown option '{option}'"),
        ErrorKind::InvalidValue if value.is_empty() => format!("'{option}' needs a value"),
        ErrorKind::InvalidValue => format!("invalid value '{value}' for '{option}'"),
        ErrorKind::ValueValidation => {
            let reason = error.source().map(ToString::to_string).unwrap_or_default();
            format!("invalid value '{value}' for '{option}': {reason}")
        }
        ErrorKind::MissingRequiredArgument => missing(&text(ContextKind::InvalidArg)),
        ErrorKind::TooManyValues => format!("'{option}' takes no value, and '{value}' was given"),
        ErrorKind::ArgumentConflict => match name(ContextKind::PriorArg) {
            alone if alone.is_empty() => format!("'{option}' goes with nothing else"),
            _ => {
                let others = alternatives(error.get(ContextKind::PriorArg));
                format!("'{option}' does not go with {others}")
            }
        },
        // The first line of clap's message says what else it finds.
        _ => {
            let text = error.to_string();
            shown(text.lines().next().unwrap_or_default().trim_start_matches("error: "))
        }
    };
    let (meant, possible) = (text(ContextKind::SuggestedArg), text(ContextKind::ValidValue));
    let hint = match (meant.as_str(), possible.as_str()) {
        (meant, _) if is_misspelt(&option, meant) => Some(format!("did you mean '{meant}'?")),
        (_, "") => None,
        (_, possible) => Some(format!("expected one of: {possible}")),
    };
    (what, hint)
}

/// What is said of missing arguments. clap does not say which flag needs them, but only these flags
/// need any.
fn missing(what: &str) -> String {
    if what.contains("--verify") {
        "'--repair' needs '--verify' or '--verify-only'".to_owned()
    } else if what.contains("--check") {
        "'--check' is missing: '--audit', '--ignore-missing', '--status', '--strict' and '--warn' \
         go with it"
            .to_owned()
    } else {
        format!("{what} is missing")
    }
}

/// Whether one option is probably a slip for the other. clap's own measure takes `--quiet` for
/// `--direct`.
fn is_misspelt(typed: &str, meant: &str) -> bool {
    let (typed, meant) = (typed.trim_start_matches('-'), meant.trim_start_matches('-'));
    let slips = strsim::damerau_levenshtein(typed, meant);
    !meant.is_empty() && (slips <= 1.max(typed.len() / 3) || meant.starts_with(typed))
}
