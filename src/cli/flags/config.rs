//! Options for every run, in a file that `AIOCP_CONFIG_PATH` names. Its shape is ripgrep's: a line
//! is one argument, blanks at both ends and empty lines do not count, `#` begins a comment.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::{ArgMatches, Command};

use super::usage;
use crate::error::{quoted, reason, shown};

/// Names the file.
const VARIABLE: &str = "AIOCP_CONFIG_PATH";
/// Ignores the file. Behind all lines, it shows that they have left it to be an option.
const PROBE: &str = "--no-config";

/// The arguments of a file that was read.
pub struct Config {
    path: PathBuf,
    lines: Vec<Line>,
}

/// An argument, and where it stands.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    number: usize,
    word: OsString,
}

/// What is wrong with an argument, and what helps.
#[derive(PartialEq, Eq)]
struct Fault {
    what: String,
    hint: Option<String>,
}

impl Fault {
    fn new(what: String, hint: &str) -> Self {
        Self { what, hint: Some(hint.to_owned()) }
    }
}

impl Config {
    /// Reads the file, if one is named. The process ends here if it cannot be read, or if a line of
    /// it makes no sense.
    pub fn read(command: &Command) -> Option<Self> {
        let path = PathBuf::from(env::var_os(VARIABLE).filter(|path| !path.is_empty())?);
        let name = command.get_name();
        let bytes = std::fs::read(&path).unwrap_or_else(|error| {
            let what = format!("cannot read {}: {}", quoted(&path), reason(&error));
            usage::refuse(name, &what, Some(&format!("{VARIABLE} names it; {PROBE} ignores it")))
        });
        let config = Self { path, lines: lines(&bytes) };
        if let Some((line, fault)) = config.fault(command) {
            let path = quoted(&config.path);
            let what = format!("cannot use line {} of {path}: {}", line.number, fault.what);
            let hint = fault.hint.unwrap_or_else(|| format!("{PROBE} ignores the file"));
            usage::refuse(name, &what, Some(&hint))
        }
        Some(config)
    }

    /// The arguments, which stand before those of the command line.
    pub fn words(&self) -> impl Iterator<Item = &OsString> {
        self.lines.iter().map(|line| &line.word)
    }

    /// What helps where a command line makes no sense together with the file.
    pub fn hint(&self) -> String {
        format!("{} adds options ({VARIABLE}); {PROBE} ignores it", quoted(&self.path))
    }

    /// Which arguments the file adds, in one line.
    pub fn summary(&self) -> String {
        let words: Vec<_> = self.words().map(shown).collect();
        let what = if words.is_empty() { "nothing".to_owned() } else { words.join(" ") };
        format!("{} adds {what}", quoted(&self.path))
    }

    /// The first line that makes no sense, and why.
    fn fault(&self, command: &Command) -> Option<(&Line, Fault)> {
        let fault = judge(command, &self.lines)?;
        let mut count = self.lines.len();
        // A value may stand in the line after its option, so only the whole file can be judged.
        while count > 1 && judge(command, &self.lines[..count - 1]).as_ref() == Some(&fault) {
            count -= 1;
        }
        Some((&self.lines[count - 1], fault))
    }
}

/// The arguments of a file.
fn lines(bytes: &[u8]) -> Vec<Line> {
    let lines = bytes.split(|&byte| byte == b'\n').enumerate().map(|(index, line)| Line {
        number: index + 1,
        word: OsString::from_vec(line.trim_ascii().to_vec()),
    });
    lines.filter(|line| !matches!(line.word.as_bytes(), [] | [b'#', ..])).collect()
}

/// What is wrong with some lines, as a command line of their own.
fn judge(command: &Command, lines: &[Line]) -> Option<Fault> {
    let last = &lines.last()?.word;
    if let Some(fault) = lines.iter().find_map(|line| misshapen(&line.word)) {
        return Some(fault);
    }
    let parse = |end: Option<&OsStr>| {
        let words = lines.iter().map(|line| line.word.as_os_str());
        let name = OsStr::new(command.get_name());
        command.clone().try_get_matches_from([name].into_iter().chain(words).chain(end))
    };
    let is_alone = "it belongs on the command line, alone";
    match parse(Some(OsStr::new(PROBE))) {
        Err(error) if !error.use_stderr() => {
            Some(Fault::new("it asks for help or the version".to_owned(), is_alone))
        }
        Err(error) => {
            let (what, hint) = usage::explained(command, &error);
            Some(Fault { what, hint })
        }
        Ok(matches) => match operand(&matches) {
            Some(word) => {
                // Behind `--` the probe is an operand too.
                let word = if ignores_file(&matches) { word } else { OsStr::new("--") };
                let what = format!("{} is no option", quoted(word));
                Some(Fault::new(what, "SOURCE and DEST belong on the command line"))
            }
            None if !ignores_file(&matches) => Some(Fault {
                what: format!("{} needs a value", quoted(last)),
                hint: Some(AFTER_EQUALS.to_owned()),
            }),
            None if parse(None).is_ok_and(|matches| ignores_file(&matches)) => {
                Some(Fault::new(format!("{PROBE} ignores the file"), is_alone))
            }
            None => usage::rsync_negation(command, lines.iter().map(|line| &line.word))
                .map(|(what, hint)| Fault::new(what, hint)),
        },
    }
}

const AFTER_EQUALS: &str = "a value stands behind '=' or in the next line";

/// What is wrong with an argument, whatever stands around it.
fn misshapen(word: &OsStr) -> Option<Fault> {
    let bytes = word.as_bytes();
    let has_blank = |name: &[u8]| name.iter().any(u8::is_ascii_whitespace);
    let is_split = match bytes {
        [b'-', b'-', ..] => has_blank(bytes.split(|&byte| byte == b'=').next().unwrap_or_default()),
        [b'-', letter, blank, ..] => letter.is_ascii_alphabetic() && blank.is_ascii_whitespace(),
        _ => false,
    };
    if bytes.contains(&0) {
        Some(Fault { what: "there is a NUL byte in it".to_owned(), hint: None })
    } else if is_split {
        Some(Fault::new(format!("{} is more than one argument", quoted(word)), AFTER_EQUALS))
    } else {
        None
    }
}

/// The first word that is no option.
fn operand(matches: &ArgMatches) -> Option<&OsStr> {
    matches.get_raw("paths").and_then(|mut operands| operands.next())
}

/// Whether [`PROBE`] is among the options.
fn ignores_file(matches: &ArgMatches) -> bool {
    matches.get_flag("no_config")
}
