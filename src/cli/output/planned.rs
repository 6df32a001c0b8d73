//! What a dry run prints: in the order of the paths, whatever found them first.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::paths::key;
use crate::sum::sorter::Sorter;

/// The lines of a dry run, until it has ended. On disk where they would burst memory.
#[derive(Default)]
pub struct Planned(Mutex<Sorter>);

impl Planned {
    /// Keeps a line about a path.
    pub fn add(&self, path: &Path, line: &str) -> io::Result<()> {
        let mut sorter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sorter.push(key(path), line.into())
    }

    /// All lines, in the order of their paths.
    pub fn take(&self) -> io::Result<impl Iterator<Item = io::Result<Vec<u8>>>> {
        let mut sorter = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let sorted = std::mem::take(&mut *sorter).sorted()?;
        Ok(sorted.map(|record| record.map(|record| record.value)))
    }
}
