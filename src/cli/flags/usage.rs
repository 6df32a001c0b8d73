//! The command line as clap reads it. One that makes no sense gets one line that says why, and a
//! second one that helps.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::process::exit;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{ArgMatches, Command};

use super::abbreviations::options_like;
use super::{abbreviations, foreign, help, pager};
use crate::cli::exit::{DONE, FAILED, USAGE};
use crate::error::shown;
use crate::fs;

/// Which version, of which commit, with which engines.
pub const VERSION: &str = concat!(env!("AIOCP_VERSION"), "\nengines: kernel, posix, threads");

/// The command line that these words are, with the name of the process as the first. The process
/// ends here if it makes no sense, or asks for `--version`, `--help` or `-h`, which shows the flags
/// of these ids.
pub fn matches(command: &mut Command, words: &[OsString], common: &[&str]) -> ArgMatches {
    let matched = command.try_get_matches_from_mut(words);
    matched.unwrap_or_else(|error| end(command, words, common, &error))
}

/// What is wrong with a word that has another meaning for rsync, and what helps.
pub fn rsync_negation<'a>(
    command: &Command,
    words: impl Iterator<Item = &'a OsString>,
) -> Option<(String, &'static str)> {
    let word = shown(abbreviations::rsync_negation(words)?);
    let meant = alternatives(&options_like(command, &word));
    let what = format!("'{word}' is an option of rsync's, and the beginning of {meant} here");
    Some((what, "write the option in full"))
}

/// Ends the process with how the command is called, as what was typed is less.
pub fn show(command: &Command) -> ! {
    let name = command.get_name();
    say(&format!(
        "{}{name}: hint: '{name} -h' lists the common options, '{name} --help' all of them\n",
        help::usage(command)
    ));
    exit(USAGE.into())
}

fn end(command: &Command, words: &[OsString], common: &[&str], error: &Error) -> ! {
    let name = command.get_name();
    let one_dash = one_dash(command, words);
    if let (true, Some((what, hint))) = (is_unknown_or_help(error), one_dash) {
        refuse(name, &what, Some(&hint))
    }
    if error.use_stderr() {
        let (what, hint) = explained(command, error);
        let hint = foreign_word(name, error).or(hint);
        refuse(name, &what, hint.as_deref())
    }
    let asking = asking_word(command, words).to_string_lossy();
    let letter = if error.kind() == ErrorKind::DisplayVersion { 'V' } else { 'h' };
    let is_long = asking.starts_with("--");
    if !is_long && asking.chars().count() > 2 {
        let what = format!("'{}' contains -{letter}, which stands alone", shown(&*asking));
        let hint = "leave out the h: sizes are human-readable without it";
        refuse(name, &what, (letter == 'h').then_some(hint))
    }
    let text = match error.kind() {
        ErrorKind::DisplayVersion => error.render().to_string(),
        _ => help::text(command, common, is_long),
    };
    let printed = if is_long { pager::print(&text) } else { write(&text) };
    match printed {
        // The reader has seen enough, as head(1).
        Err(cause) if cause.kind() == io::ErrorKind::BrokenPipe => exit(DONE.into()),
        Ok(()) => exit(DONE.into()),
        Err(cause) => {
            say(&format!("{name}: cannot write to stdout: {cause}\n"));
            exit(FAILED.into())
        }
    }
}

fn is_unknown_or_help(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnknownArgument | ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    )
}

/// A long option with one dash, as find(1) has them, and what was meant. It is a row of short ones.
fn one_dash(command: &Command, words: &[OsString]) -> Option<(String, String)> {
    let options = words.iter().skip(1).take_while(|word| *word != "--");
    options.map(|word| word.to_string_lossy()).find_map(|word| {
        let long = format!("-{word}");
        let is_long = word.len() > 2
            && word.starts_with('-')
            && !word.starts_with("--")
            && (["--help", "--version"].contains(&&*long)
                || options_like(command, &long).contains(&long));
        let what = format!("unknown option '{}'", shown(&*word));
        is_long.then(|| (what, format!("did you mean '{long}'?")))
    })
}

fn write(text: &str) -> io::Result<()> {
    let mut out = fs::stdout()?;
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The word that asks for help or the version: all words up to it ask, and no fewer do.
fn asking_word<'a>(command: &Command, words: &'a [OsString]) -> &'a OsStr {
    let asks = |count: usize| {
        let matched = command.clone().try_get_matches_from(&words[..count]);
        matched.is_err_and(|error| !error.use_stderr())
    };
    let counts: Vec<usize> = (1..words.len()).collect();
    &words[counts.partition_point(|&count| !asks(count))]
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

/// What is wrong with a command line, and what helps.
pub fn explained(command: &Command, error: &Error) -> (String, Option<String>) {
    ambiguous(command, error).unwrap_or_else(|| explain(error))
}

/// An option without the value that clap writes behind it, as in '--direct <WHEN>' or
/// '--update[=<WHICH>]'.
fn bare(option: &str) -> String {
    option.split([' ', '=']).next().unwrap_or_default().trim_end_matches('[').to_owned()
}

/// The words that clap gives as one of an error's parts.
fn words(error: &Error, kind: ContextKind) -> &[String] {
    match error.get(kind) {
        Some(ContextValue::String(word)) => std::slice::from_ref(word),
        Some(ContextValue::Strings(words)) => words,
        _ => &[],
    }
}

/// What is wrong with the beginning of several options, or of several values.
fn ambiguous(command: &Command, error: &Error) -> Option<(String, Option<String>)> {
    let [option] = words(error, ContextKind::InvalidArg) else { return None };
    let option = shown(bare(option));
    let (what, meant) = match (error.kind(), words(error, ContextKind::InvalidValue)) {
        (ErrorKind::UnknownArgument, _) => {
            (format!("ambiguous option '{option}'"), options_like(command, &option))
        }
        (ErrorKind::InvalidValue, [value]) if !value.is_empty() => {
            let meant = words(error, ContextKind::ValidValue).iter();
            let meant = meant.filter(|name| name.starts_with(value)).cloned().collect();
            (format!("ambiguous value '{}' for '{option}'", shown(value)), meant)
        }
        _ => return None,
    };
    (meant.len() > 1).then(|| (what, Some(format!("could be {}", alternatives(&meant)))))
}

/// Options in a row. Where one of a group was given, clap names all of them.
fn alternatives(options: &[String]) -> String {
    let quoted: Vec<_> = options.iter().map(|option| format!("'{}'", bare(option))).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// What is wrong, and what was probably meant.
fn explain(error: &Error) -> (String, Option<String>) {
    let text = |kind| shown(words(error, kind).join(", "));
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
        ErrorKind::TooManyValues => format!("'{option}' takes no value, but got '{value}'"),
        ErrorKind::ArgumentConflict => match name(ContextKind::PriorArg) {
            alone if alone.is_empty() => format!("'{option}' goes with nothing else"),
            _ => {
                let others = alternatives(words(error, ContextKind::PriorArg));
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

/// What helps users of cp and rsync whose option this command has not.
fn foreign_word(name: &str, error: &Error) -> Option<String> {
    let [option] = words(error, ContextKind::InvalidArg) else { return None };
    let is_unknown = name == "aiocp" && error.kind() == ErrorKind::UnknownArgument;
    foreign::word(&bare(option)).filter(|_| is_unknown).map(str::to_owned)
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
