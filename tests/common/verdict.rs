//! What a copy comes to where something is refused to it, and whether it did.

use std::process::Output;

use super::faults::{self, Place};
use super::{litter, stderr};

use Verdict::{Fails, Plain, Told, Warned};

/// What a copy comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It succeeds, is the same in everything, and says nothing.
    Plain,
    /// It succeeds, all data is there, and a warning that begins so says once what is not.
    Warned(&'static str),
    /// It fails, all data is there, and a line that begins so says once what is not.
    Told(&'static str),
    /// It fails, a line says why, and each name has its old contents or its new ones.
    Fails,
}

/// The ways to refuse something.
pub const ERRORS: [(&str, i32); 5] = [
    ("ENOSYS", libc::ENOSYS),
    ("EPERM", libc::EPERM),
    ("EOPNOTSUPP", libc::EOPNOTSUPP),
    ("EINVAL", libc::EINVAL),
    ("EIO", libc::EIO),
];

/// How a tree is copied.
pub const MODES: [&[&str]; 4] = [&[], &["-a"], &["--verify"], &["--resume"]];

/// A copy to which something was refused.
#[derive(Clone, Copy)]
pub struct Refused<'a> {
    /// How it was made.
    pub options: &'a [&'a str],
    /// What it is to come to.
    pub wanted: Verdict,
    /// Whether nothing may have been refused after all.
    pub may_be_plain: bool,
    /// Makes it once more, with nothing refused.
    pub again: &'a dyn Fn() -> Output,
}

/// Judges a copy that said `text`. Where not all uses were refused, it may be a plain one as well.
pub fn judge(place: &Place, copy: &Refused<'_>, output: &Output) -> Result<(), String> {
    let (code, text) = (output.status.code(), stderr(output));
    let (text, Refused { options, wanted, may_be_plain, again }) = (&*text, *copy);
    if faults::has_panicked(text) {
        return Err("it panicked".to_owned());
    }
    place.is_old_or_new()?;
    match (wanted, code) {
        (Plain, Some(0)) => is_plain(place, text)?,
        (Warned(_) | Told(_) | Fails, Some(0)) if may_be_plain && told(text).is_empty() => {
            is_plain(place, text)?;
        }
        (Warned(words), Some(0)) => {
            place.has_all_data()?;
            is_told_once(text, &format!("aiocp: warning: {words}"))?;
        }
        (Told(words), Some(1)) => {
            place.has_all_data()?;
            is_told_once(text, &format!("aiocp: {words}"))?;
        }
        (Fails, Some(1)) if text.contains("aiocp: cannot ") => {}
        _ => return Err("that is not what it is to come to".to_owned()),
    }
    if code == Some(1) && options == ["--resume"] {
        let again = again();
        if !again.status.success() {
            return Err(format!("and again: {}", stderr(&again)));
        }
        place.has_all_data().map_err(|what| format!("and again: {what}"))?;
    }
    match litter(place.root()) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?} is left")),
    }
}

/// What was said, but for what proofs are worth: not every filesystem can be read past its cache.
pub fn told(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.ends_with("verified from memory; --debug says why")).collect()
}

fn is_plain(place: &Place, text: &str) -> Result<(), String> {
    match told(text) {
        said if said.is_empty() => place.is_copied(),
        said => Err(format!("it says {said:?}")),
    }
}

/// Whether a line begins so, with a hint and at most one more line on how many others there are.
fn is_told_once(text: &str, words: &str) -> Result<(), String> {
    let begin = words.trim_end_matches('\'');
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with(begin)).collect();
    let is_first = lines.first().is_some_and(|line| line.starts_with(words));
    let is_counted = lines.get(1).is_none_or(|line| line.contains(" either: "));
    match is_first && is_counted && lines.len() <= 2 && text.contains("aiocp: hint: ") {
        true => Ok(()),
        false => Err(format!("'{words}' is not told once")),
    }
}
