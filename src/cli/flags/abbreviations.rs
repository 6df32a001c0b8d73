//! Unambiguous beginnings of long options and of their values, as GNU's programs take them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, Command, ValueEnum};

/// Reads a value of an enumeration, or the beginning of one that fits no other.
#[derive(Clone)]
pub struct Abbreviated<E: ValueEnum + Clone + Send + Sync + 'static> {
    whole: EnumValueParser<E>,
}

/// A reader of values that may be abbreviated.
pub fn abbreviated<E: ValueEnum + Clone + Send + Sync + 'static>() -> Abbreviated<E> {
    Abbreviated { whole: EnumValueParser::new() }
}

impl<E: ValueEnum + Clone + Send + Sync + 'static> TypedValueParser for Abbreviated<E> {
    type Value = E;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Self::Value, Error> {
        let text = value.to_str().unwrap_or_default();
        match meanings::<E>(text).as_slice() {
            [(value, _)] => Ok(value.clone()),
            [] => self.whole.parse_ref(command, arg, value),
            several => {
                let names = several.iter().map(|(_, name)| name.clone()).collect();
                let mut error = Error::new(ErrorKind::InvalidValue).with_cmd(command);
                let option = arg.map(ToString::to_string).unwrap_or_default();
                error.insert(ContextKind::InvalidArg, ContextValue::String(option));
                error.insert(ContextKind::InvalidValue, ContextValue::String(text.to_owned()));
                error.insert(ContextKind::ValidValue, ContextValue::Strings(names));
                Err(error)
            }
        }
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        self.whole.possible_values()
    }
}

/// The value that a text names or begins, if it is one alone.
pub fn value<E: ValueEnum>(text: &str) -> Option<E> {
    match <[_; 1]>::try_from(meanings(text)) {
        Ok([(value, _)]) => Some(value),
        Err(_) => None,
    }
}

/// The values that a text can stand for, each with the name that it begins. A whole name stands
/// for its value alone, and an empty text for none.
fn meanings<E: ValueEnum>(text: &str) -> Vec<(E, String)> {
    let named = |is_meant: &dyn Fn(&str) -> bool| {
        let values = E::value_variants().iter().filter_map(|value| {
            let possible = value.to_possible_value()?;
            let name = possible.get_name_and_aliases().find(|name| is_meant(name))?.to_owned();
            Some((value.clone(), name))
        });
        values.collect::<Vec<_>>()
    };
    match named(&|name| name == text) {
        whole if !whole.is_empty() => whole,
        _ if text.is_empty() => Vec::new(),
        _ => named(&|name| name.starts_with(text)),
    }
}

/// The long options that begin as this one, which is none of them.
pub fn options_like(command: &Command, typed: &str) -> Vec<String> {
    let beginning = typed.strip_prefix("--").unwrap_or_default();
    if beginning.is_empty() {
        return Vec::new();
    }
    let longs = command.get_arguments().filter_map(|arg| {
        let mut names = arg.get_long_and_visible_aliases().unwrap_or_default().into_iter();
        names.find(|name| name.starts_with(beginning))
    });
    longs.map(|long| format!("--{long}")).collect()
}

/// A word that is a whole option of rsync's, as `--no-t` for `--no-times`, and only the beginning
/// of one here.
pub fn rsync_negation<'a>(words: impl Iterator<Item = &'a OsString>) -> Option<&'a OsStr> {
    let is_negation = |word: &OsStr| {
        let rest = word.as_bytes().strip_prefix(b"--no-");
        matches!(rest, Some([letter]) if letter.is_ascii_alphabetic())
    };
    let options = words.map(OsString::as_os_str).take_while(|&word| word != "--");
    let mut negations = options.filter(|word| is_negation(word));
    negations.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
    enum Kind {
        None,
        NoneAtAll,
        #[value(alias = "never")]
        Simple,
    }

    #[test]
    fn a_beginning_stands_for_the_one_value_that_it_fits() {
        for (text, meant) in [
            ("none", Some(Kind::None)),
            ("none-", Some(Kind::NoneAtAll)),
            ("s", Some(Kind::Simple)),
            ("ne", Some(Kind::Simple)),
            ("never", Some(Kind::Simple)),
            ("non", None),
            ("n", None),
            ("", None),
            ("x", None),
            ("simpler", None),
        ] {
            assert_eq!(value::<Kind>(text), meant, "{text}");
        }
        let names: Vec<_> = meanings::<Kind>("n").into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["none", "none-at-all", "never"]);
    }
}
