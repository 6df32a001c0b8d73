//! What failed: named once more at the end, and written where `--files-from` reads it.

use std::io::{self, Write};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::file::OutputFile;
use super::paths::Paths;
use super::repeats::Telling;
use crate::cli::flags::selection::NameEnd;
use crate::copy::Operands;
use crate::error::{Cause, Error, Operation, Result};
use crate::report::{Difference, What};

/// How many failures are repeated at the end.
const REPEATED_MAX: usize = 100;

/// The failures of a run.
#[derive(Default)]
pub struct Failures {
    /// Whether their paths are wanted.
    listed: bool,
    noted: Mutex<Noted>,
    any: AtomicBool,
    /// Something was printed after a failure.
    buried: AtomicBool,
    /// A difference that was set right was printed after one that was not.
    buried_difference: AtomicBool,
}

#[derive(Default)]
struct Noted {
    lines: Vec<String>,
    differences: Vec<String>,
    paths: Paths,
}

impl Failures {
    /// None yet. `listed` says whether a list of their paths is wanted.
    pub fn new(listed: bool) -> Self {
        Self { listed, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a failure.
    pub fn add(&self, error: &Error, telling: Telling) {
        self.any.store(true, Ordering::Relaxed);
        let mut noted = self.lock();
        if telling == Telling::First && noted.lines.len() < REPEATED_MAX {
            noted.lines.push(error.to_string());
        }
        if self.listed {
            noted.paths.add(&error.path);
        }
    }

    /// Takes note of a difference. What was not set right is to be copied too, if there is
    /// something to copy.
    pub fn add_difference(&self, difference: &Difference) {
        let mut noted = self.lock();
        match difference.mended {
            true => {
                _ = self
                    .buried_difference
                    .fetch_or(!noted.differences.is_empty(), Ordering::Relaxed)
            }
            false if noted.differences.len() < REPEATED_MAX => {
                noted.differences.push(difference.to_string())
            }
            false => {}
        }
        if self.listed && !difference.mended && difference.what != What::Extra {
            noted.paths.add(&difference.path);
        }
    }

    /// Notes that something else is printed: what failed before is no longer the last thing on the
    /// screen.
    pub fn bury(&self) {
        if self.any.load(Ordering::Relaxed) {
            self.buried.store(true, Ordering::Relaxed);
        }
    }

    /// The first failures, if something was printed after one of them.
    pub fn to_repeat(&self) -> Vec<String> {
        if self.buried.load(Ordering::Relaxed) { self.first() } else { Vec::new() }
    }

    /// The first differences that are left, if one that was set right was printed after one of
    /// them.
    pub fn differences_to_repeat(&self) -> Vec<String> {
        if self.buried_difference.load(Ordering::Relaxed) { self.differences() } else { Vec::new() }
    }

    /// The first differences that are left.
    pub fn differences(&self) -> Vec<String> {
        self.lock().differences.clone()
    }

    /// The first failures.
    pub fn first(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// Writes the paths of what failed as `--files-from` reads them, relative to the one source,
    /// and answers with what could not be listed or written.
    ///
    /// The list has the whole source, `.`, where a path is not below the source, as of a failure of
    /// the source itself. Without `operands`, nothing could be copied, and it has `.` too. A name
    /// that a list of lines cannot hold is told, and keeps no other from being written.
    pub fn write(
        &self,
        to: &OutputFile,
        name_end: NameEnd,
        operands: Option<&Operands>,
        sync: bool,
    ) -> Vec<Error> {
        let (mut paths, mut unlisted) = (Paths::default(), Vec::new());
        let name = to.path().unwrap_or(Path::new("stdout"));
        let cannot = |cause: io::Error| Error::new(Operation::Write, name, cause);
        if operands.is_none() {
            paths.add(Path::new("."));
        }
        let mut list = |path: io::Result<PathBuf>| -> Result<()> {
            let path = path.map_err(cannot)?;
            let below = operands.map(|operands| operands.below_source(&path)).unwrap_or_default();
            if below.is_empty() {
                paths.add(Path::new("."));
            }
            for path in below {
                if name_end == NameEnd::Newline && has_line_break(&path) {
                    unlisted.push(Error::new(Operation::ListAsFailed, path, Cause::LineBreak));
                } else {
                    paths.add(&path);
                }
            }
            Ok(())
        };
        let failed = mem::take(&mut self.lock().paths).sorted().map_err(cannot);
        let listed = failed.and_then(|mut failed| failed.try_for_each(&mut list));
        let written = listed.and_then(|()| {
            let line =
                |out: &mut dyn Write, path: io::Result<PathBuf>| write_line(out, &path?, name_end);
            to.write(sync, |out| paths.sorted()?.try_for_each(|path| line(out, path)))
        });
        unlisted.extend(written.err());
        unlisted
    }
}

fn has_line_break(path: &Path) -> bool {
    path.as_os_str().as_bytes().iter().any(|byte| b"\n\r".contains(byte))
}

/// Writes a name. One that begins like a comment gets the `./` that makes it none.
fn write_line(out: &mut dyn Write, path: &Path, name_end: NameEnd) -> io::Result<()> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.starts_with(b"#") || bytes.starts_with(b";") {
        out.write_all(b"./")?;
    }
    out.write_all(bytes)?;
    out.write_all(match name_end {
        NameEnd::Newline => b"\n",
        NameEnd::Nul => b"\0",
    })
}
