//! Flags about what is copied, and the lists that they name.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args};

use super::size;
use crate::copy::{Filter, List};
use crate::error::{Error, Operation, Result};
use crate::fs;

/// What is said of two readers of one standard input: the second would find nothing.
pub const MANY_ON_STDIN: &str = "standard input can be read only once";

/// What is left out of a tree, both for copying and for hashing.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub struct FilterArgs {
    /// Exclude matching files, as in rsync
    ///
    /// Of several patterns the first match counts.
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    exclude: Vec<OsString>,

    /// Include files that a later --exclude matches
    #[arg(long, value_name = "PATTERN", allow_hyphen_values = true)]
    include: Vec<OsString>,

    /// Read --exclude patterns from FILE ("-": stdin)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    exclude_from: Vec<PathBuf>,

    /// Read --include patterns from FILE ("-": stdin)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    include_from: Vec<PathBuf>,

    /// Entries in list files end in NUL, not newline
    #[arg(short = '0', long)]
    from0: bool,

    /// Skip files smaller than SIZE
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    min_size: Option<u64>,

    /// Skip files larger than SIZE
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_size: Option<u64>,
}

/// What is left out of a tree, and the list of what alone is copied.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub struct SelectionArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// Copy only the paths listed in FILE, relative to SOURCE ("-": stdin)
    #[arg(
        long,
        value_name = "FILE",
        value_hint = clap::ValueHint::FilePath,
        conflicts_with = "parents"
    )]
    files_from: Option<PathBuf>,
}

impl FilterArgs {
    /// The patterns in the order of the command line, across all four flags.
    pub fn read(&self, matches: &ArgMatches) -> Result<Filter> {
        type Add = fn(&mut Filter, &[u8]);
        let mut flags: Vec<(usize, Add, Patterns<'_>)> = Vec::new();
        for (id, add, patterns) in [
            ("exclude", Filter::exclude as Add, &self.exclude),
            ("include", Filter::include, &self.include),
        ] {
            let indices = matches.indices_of(id).into_iter().flatten();
            let patterns = patterns.iter().map(|pattern| Patterns::Given(pattern.as_bytes()));
            flags.extend(indices.zip(patterns).map(|(index, patterns)| (index, add, patterns)));
        }
        for (id, add, files) in [
            ("exclude_from", Filter::exclude as Add, &self.exclude_from),
            ("include_from", Filter::include, &self.include_from),
        ] {
            let indices = matches.indices_of(id).into_iter().flatten();
            let patterns = files.iter().map(|file| Patterns::InFile(file));
            flags.extend(indices.zip(patterns).map(|(index, patterns)| (index, add, patterns)));
        }
        flags.sort_by_key(|&(index, ..)| index);
        let mut filter = Filter::of_sizes(self.min_size, self.max_size);
        for (_, add, patterns) in flags {
            match patterns {
                Patterns::Given(pattern) => add(&mut filter, pattern),
                Patterns::InFile(file) => {
                    for line in read_list(file, self.name_end())? {
                        add(&mut filter, &line);
                    }
                }
            }
        }
        Ok(filter)
    }

    /// How many of the lists are read from standard input.
    pub fn lists_on_stdin(&self) -> usize {
        let lists = self.exclude_from.iter().chain(&self.include_from);
        lists.filter(|list| fs::is_stdin(list)).count()
    }

    fn name_end(&self) -> NameEnd {
        if self.from0 { NameEnd::Nul } else { NameEnd::Newline }
    }
}

impl SelectionArgs {
    /// How names in lists end.
    pub fn name_end(&self) -> NameEnd {
        self.filter.name_end()
    }

    /// How many lists are read from standard input.
    pub fn lists_on_stdin(&self) -> usize {
        let list = self.files_from.as_ref().is_some_and(|list| fs::is_stdin(list));
        usize::from(list) + self.filter.lists_on_stdin()
    }

    /// Whether there is a list of what is to be copied.
    pub fn has_list(&self) -> bool {
        self.files_from.is_some()
    }

    /// What the flags select, with the files that they name read.
    pub fn read(&self, matches: &ArgMatches) -> Result<Selection> {
        let filter = self.filter.read(matches)?;
        let Some(file) = &self.files_from else {
            return Ok(Selection { filter, ..Selection::default() });
        };
        let lines = read_list(file, self.name_end())?;
        let (list, outside) =
            List::new(lines.into_iter().map(|line| PathBuf::from(OsString::from_vec(line))));
        Ok(Selection { filter, list: Some(list), outside })
    }
}

/// What is copied of the sources.
#[derive(Default)]
pub struct Selection {
    /// What is left out.
    pub filter: Filter,
    /// The only paths that are copied, if there is a list of them.
    pub list: Option<List>,
    /// The paths on the list that would lead out of the source.
    pub outside: Vec<PathBuf>,
}

/// How each name in a list ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameEnd {
    /// With its line. There can be comments.
    Newline,
    /// With NUL, as programs write it. There are no comments.
    Nul,
}

/// Patterns of the command line.
enum Patterns<'a> {
    Given(&'a [u8]),
    InFile(&'a Path),
}

/// The names in a list, without empty ones and comments, which begin with `#` or `;`.
fn read_list(path: &Path, name_end: NameEnd) -> Result<Vec<Vec<u8>>> {
    let error = |cause: io::Error| Error::new(Operation::Read, path, cause);
    let mut bytes = Vec::new();
    if fs::is_stdin(path) {
        fs::stdin()
            .and_then(|stdin| stdin.lock().read_to_end(&mut bytes))
            .map_err(|cause| Error::new(Operation::Read, "stdin", cause))?;
    } else {
        bytes = std::fs::read(path).map_err(error)?;
    }
    let ends = |byte: &u8| match name_end {
        NameEnd::Newline => matches!(byte, b'\n' | b'\r'),
        NameEnd::Nul => *byte == 0,
    };
    let is_comment = |line: &[u8]| name_end == NameEnd::Newline && matches!(line[0], b'#' | b';');
    let is_name = |line: &&[u8]| !line.is_empty() && !is_comment(line);
    Ok(bytes.split(ends).filter(is_name).map(<[u8]>::to_vec).collect())
}
