//! What failed, to be named once more in the end and written where `--files-from` reads it.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::output::Output;
use crate::copy::Operands;
use crate::error::{Cause, Error, Operation, Result};
use crate::report::{Difference, What};

/// So many failures are repeated in the end.
const REPEATED_MAX: usize = 100;

/// The failures of a run.
#[derive(Default)]
pub(super) struct Failures {
    /// Whether their paths are wanted.
    listed: bool,
    known: Mutex<Known>,
    any: AtomicBool,
    buried: AtomicBool,
    /// A difference that was set right was told after one that was not.
    buried_difference: AtomicBool,
}

#[derive(Default)]
struct Known {
    lines: Vec<String>,
    differences: Vec<String>,
    paths: BTreeSet<PathBuf>,
}

impl Failures {
    pub(super) fn new(listed: bool) -> Self {
        Self { listed, ..Self::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, error: &Error) {
        self.any.store(true, Ordering::Relaxed);
        let mut known = self.lock();
        if known.lines.len() < REPEATED_MAX {
            known.lines.push(error.to_string());
        }
        if self.listed {
            known.paths.insert(error.path.clone());
        }
    }

    /// What differs and was not set right is to be copied too, if there is something to copy.
    pub(super) fn add_difference(&self, difference: &Difference) {
        let mut known = self.lock();
        match difference.mended {
            true => {
                _ = self
                    .buried_difference
                    .fetch_or(!known.differences.is_empty(), Ordering::Relaxed)
            }
            false if known.differences.len() < REPEATED_MAX => {
                known.differences.push(difference.to_string())
            }
            false => {}
        }
        if self.listed && !difference.mended && difference.what != What::Extra {
            known.paths.insert(difference.path.clone());
        }
    }

    /// Something else is printed, so that what failed before is no longer the last thing to be
    /// seen.
    pub(super) fn bury(&self) {
        if self.any.load(Ordering::Relaxed) {
            self.buried.store(true, Ordering::Relaxed);
        }
    }

    /// The first failures, if something was printed after one of them.
    pub(super) fn to_repeat(&self) -> Vec<String> {
        if self.buried.load(Ordering::Relaxed) { self.first() } else { Vec::new() }
    }

    /// The first differences that are left, if some that are not were told after one of them.
    pub(super) fn differences_to_repeat(&self) -> Vec<String> {
        if self.buried_difference.load(Ordering::Relaxed) {
            self.lock().differences.clone()
        } else {
            Vec::new()
        }
    }

    /// The first failures.
    pub(super) fn first(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// Writes the paths of what failed as `--files-from` reads them, relative to the one source.
    /// What cannot be found there, a failure of the source itself for example, is the whole source,
    /// `.`; the whole too where `operands` came to nothing.
    pub(super) fn write(
        &self,
        to: &Output,
        nul: bool,
        operands: Option<&Operands>,
        sync: bool,
    ) -> Result<()> {
        let mut paths = BTreeSet::new();
        if operands.is_none() {
            paths.insert(PathBuf::from("."));
        }
        for path in &self.lock().paths {
            let below = operands.map(|operands| operands.below_source(path)).unwrap_or_default();
            if below.is_empty() {
                paths.insert(PathBuf::from("."));
            }
            paths.extend(below);
        }
        let unwritable = paths.iter().find(|path| {
            !nul && path.as_os_str().as_bytes().iter().any(|byte| b"\n\r".contains(byte))
        });
        if let Some(path) = unwritable {
            return Err(Error::new(Operation::ListAsFailed, path, Cause::LineBreak));
        }
        to.write(sync, |out| paths.iter().try_for_each(|path| write_line(out, path, nul)))
    }
}

/// A name that begins like a comment gets the `./` that makes it none.
fn write_line(out: &mut dyn Write, path: &Path, nul: bool) -> io::Result<()> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.starts_with(b"#") || bytes.starts_with(b";") {
        out.write_all(b"./")?;
    }
    out.write_all(bytes)?;
    out.write_all(if nul { b"\0" } else { b"\n" })
}
