//! Flags about files that stand in the destination, and what they mean together.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use clap::{ArgMatches, Args, ValueEnum};

use super::abbreviations::{self, abbreviated};
use super::order::last_of;
use crate::copy::{Backup, BackupNames, Existing, OnExisting};

#[derive(Debug, Args)]
#[command(next_help_heading = "Existing files")]
pub struct ExistingArgs {
    /// Ask before replacing a file
    #[arg(short, long)]
    interactive: bool,

    /// Never replace (rsync's -n is --dry-run)
    ///
    /// An existing file stays as it is. It is no failure, and -v names it.
    #[arg(short = 'n', long)]
    no_clobber: bool,

    /// Replace only older files
    ///
    /// The same as --update.
    #[arg(short = 'u')]
    update_older: bool,

    /// Replace all, none, none-fail or older files
    #[arg(
        long,
        value_name = "WHICH",
        value_enum,
        value_parser = abbreviated::<Update>(),
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "older"
    )]
    update: Option<Update>,

    /// Replace existing files with -l or -s
    #[arg(short, long)]
    force: bool,

    /// Write into the files that are there instead of replacing them
    ///
    /// Their other names, owner and attributes stay. If it fails or is interrupted, what they held
    /// is gone.
    #[arg(
        long,
        conflicts_with_all = [
            "remove_destination",
            "link",
            "symbolic_link",
            "attributes_only"
        ]
    )]
    inplace: bool,

    /// Replace FIFOs, devices and links themselves too
    #[arg(long)]
    remove_destination: bool,

    /// Back up each file before replacing it
    #[arg(short = 'b', conflicts_with = "no_clobber")]
    keep_backup: bool,

    /// Same: none, numbered, existing or simple names
    #[arg(
        long,
        value_name = "CONTROL",
        value_enum,
        value_parser = abbreviated::<Control>(),
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        conflicts_with = "no_clobber"
    )]
    backup: Option<Option<Control>>,

    /// Suffix of simple backups [default: ~]
    #[arg(
        short = 'S',
        long,
        value_name = "SUFFIX",
        allow_hyphen_values = true,
        conflicts_with = "no_clobber"
    )]
    suffix: Option<OsString>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Update {
    All,
    None,
    NoneFail,
    Older,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Control {
    #[value(alias = "off")]
    None,
    #[value(alias = "t")]
    Numbered,
    #[value(alias = "nil")]
    Existing,
    #[value(alias = "never")]
    Simple,
}

impl ExistingArgs {
    /// What the flags mean together. As in cp, the last of `-i` and `-n` counts, and `-n` overrules
    /// `-u`.
    pub fn read(&self, matches: &ArgMatches) -> Result<Existing, String> {
        let existing = Existing {
            rule: self.rule(matches),
            only_older: matches!(self.last_update(matches), Some(Update::Older)),
            backup: self.backup()?,
            force: self.force,
            remove: self.remove_destination,
            in_place: self.inplace,
        };
        match existing {
            Existing { in_place: true, backup: Some(_), .. } => {
                Err("--inplace does not go with backups: the old file is the one that is written \
                     into; copy it first"
                    .to_owned())
            }
            // It would be left alone for good.
            Existing { in_place: true, only_older: true, rule, .. } if rule != OnExisting::Skip => {
                Err("--inplace does not go with -u: a file that an interruption left half-written \
                     is newer than its source"
                    .to_owned())
            }
            existing => Ok(existing),
        }
    }

    fn last_update(&self, matches: &ArgMatches) -> Option<Update> {
        match last_of(matches, &["update_older", "update"]) {
            Some("update_older") => Some(Update::Older),
            _ => self.update,
        }
    }

    fn rule(&self, matches: &ArgMatches) -> OnExisting {
        let asked = last_of(matches, &["interactive", "no_clobber"]);
        match (asked, self.last_update(matches)) {
            (Some("no_clobber"), _) | (_, Some(Update::None)) => OnExisting::Skip,
            (_, Some(Update::NoneFail)) => OnExisting::Refuse,
            (Some(_), _) => OnExisting::Ask,
            (None, _) => OnExisting::Replace,
        }
    }

    /// Whether questions are asked, whose answers are read from standard input.
    pub fn asks(&self, matches: &ArgMatches) -> bool {
        self.rule(matches) == OnExisting::Ask
    }

    fn backup(&self) -> Result<Option<Backup>, String> {
        if !self.keep_backup && self.backup.is_none() && self.suffix.is_none() {
            return Ok(None);
        }
        let control = match (self.backup.flatten(), std::env::var("VERSION_CONTROL")) {
            (Some(control), _) => control,
            (None, Ok(text)) if !text.is_empty() => {
                abbreviations::value(&text).ok_or_else(|| {
                    format!(
                        "invalid value '{text}' of VERSION_CONTROL: expected none, numbered, \
                         existing or simple"
                    )
                })?
            }
            _ => Control::Existing,
        };
        let names = match control {
            Control::None => return Ok(None),
            Control::Numbered => BackupNames::Numbered,
            Control::Existing => BackupNames::Existing,
            Control::Simple => BackupNames::Simple,
        };
        let suffix = self.suffix.clone().or_else(|| std::env::var_os("SIMPLE_BACKUP_SUFFIX"));
        let usable = |suffix: &OsString| !suffix.is_empty() && !suffix.as_bytes().contains(&b'/');
        Ok(Some(Backup { names, suffix: suffix.filter(usable).unwrap_or_else(|| "~".into()) }))
    }
}
