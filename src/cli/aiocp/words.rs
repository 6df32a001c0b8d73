//! The words of the process's command line, as a shell reads them.

use std::ffi::OsString;

use crate::error::{quoted, shown};

/// The command line.
pub fn command_line() -> String {
    pasted(std::env::args_os())
}

/// What was typed, with a destination behind it.
pub fn with_destination() -> String {
    let typed = std::env::args_os().skip(1);
    pasted(std::iter::once("aiocp".into()).chain(typed).chain(["/backup/".into()]))
}

/// Words in a row, each quoted where a shell would not read it as it is.
fn pasted(words: impl Iterator<Item = OsString>) -> String {
    let words = words.map(|word| match shown(&word) {
        plain if is_plain(&plain) => plain,
        _ => quoted(word),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Whether a shell reads a word as it is.
fn is_plain(word: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || "-_=+,./:@%^".contains(c);
    !word.is_empty() && word.chars().all(is_plain)
}
