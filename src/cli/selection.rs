//! Flags about what is copied, and the lists that they name.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Args};

use super::size;
use crate::copy::{Filter, List};
use crate::error::{Error, Operation, Result};

/// What is left out of a tree: the same for copying and for hashing.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub(super) struct FilterArgs {
    /// Leave out what matches, as in rsync
    ///
    /// Of several patterns the first match counts.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<OsString>,

    /// Keep what matches, and a later --exclude would leave out
    #[arg(long, value_name = "PATTERN")]
    include: Vec<OsString>,

    /// Read --exclude patterns from a file, one a line ("-": stdin)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    exclude_from: Vec<PathBuf>,

    /// Read --include patterns from a file, one a line ("-": stdin)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    include_from: Vec<PathBuf>,

    /// What these files hold ends in NUL instead of newline
    #[arg(short = '0', long)]
    from0: bool,

    /// Leave out files that are smaller
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    min_size: Option<u64>,

    /// Leave out files that are larger
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    max_size: Option<u64>,
}

/// The same, and the list of what alone is copied.
#[derive(Debug, Args)]
#[command(next_help_heading = "Selection")]
pub(super) struct SelectionArgs {
    #[command(flatten)]
    filter: FilterArgs,

    /// Copy only the paths in a file, relative to SOURCE ("-": stdin)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "parents")]
    files_from: Option<PathBuf>,
}

impl FilterArgs {
    /// The patterns in the order of the command line, across all four flags.
    pub(super) fn read(&self, matches: &ArgMatches) -> Result<Filter> {
        let mut flags: Vec<(usize, bool, Source<'_>)> = Vec::new();
        for (id, include, patterns) in
            [("exclude", false, &self.exclude), ("include", true, &self.include)]
        {
            let indices = matches.indices_of(id).into_iter().flatten();
            flags.extend(
                indices
                    .zip(patterns)
                    .map(|(index, pattern)| (index, include, Source::Pattern(pattern.as_bytes()))),
            );
        }
        for (id, include, files) in [
            ("exclude_from", false, &self.exclude_from),
            ("include_from", true, &self.include_from),
        ] {
            let indices = matches.indices_of(id).into_iter().flatten();
            flags.extend(
                indices.zip(files).map(|(index, file)| (index, include, Source::File(file))),
            );
        }
        flags.sort_by_key(|&(index, ..)| index);
        let mut filter = Filter::of_sizes(self.min_size, self.max_size);
        for (_, include, source) in flags {
            let add = if include { Filter::include } else { Filter::exclude };
            match source {
                Source::Pattern(pattern) => add(&mut filter, pattern),
                Source::File(file) => {
                    for line in read_list(file, self.from0)? {
                        add(&mut filter, &line);
                    }
                }
            }
        }
        Ok(filter)
    }
}

impl SelectionArgs {
    /// Whether names in lists end in NUL.
    pub(super) fn from0(&self) -> bool {
        self.filter.from0
    }

    /// Whether there is a list of what is to be copied.
    pub(super) fn has_list(&self) -> bool {
        self.files_from.is_some()
    }

    /// What is left out, and the list of what is copied, if there is one; and the paths on it that
    /// would lead out of the source.
    pub(super) fn read(&self, matches: &ArgMatches) -> Result<(Selection, Vec<PathBuf>)> {
        let filter = self.filter.read(matches)?;
        let Some(file) = &self.files_from else { return Ok(((filter, None), Vec::new())) };
        let lines = read_list(file, self.filter.from0)?;
        let (list, outside) =
            List::new(lines.into_iter().map(|line| PathBuf::from(OsString::from_vec(line))));
        Ok(((filter, Some(list)), outside))
    }
}

/// What is left out, and what alone is copied.
type Selection = (Filter, Option<List>);

enum Source<'a> {
    Pattern(&'a [u8]),
    File(&'a Path),
}

/// The lines of a list. Empty ones and comments, which begin with `#` or `;`, are left out; what
/// ends in NUL has no comments, since programs write it.
fn read_list(path: &Path, nul: bool) -> Result<Vec<Vec<u8>>> {
    let error = |cause: io::Error| Error::new(Operation::Read, path, cause);
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(|cause| Error::new(Operation::Read, "stdin", cause))?;
    } else {
        bytes = std::fs::read(path).map_err(error)?;
    }
    let ends = |byte: &u8| if nul { *byte == 0 } else { matches!(byte, b'\n' | b'\r') };
    let is_said = |line: &&[u8]| !line.is_empty() && (nul || !matches!(line[0], b'#' | b';'));
    Ok(bytes.split(ends).filter(is_said).map(<[u8]>::to_vec).collect())
}
