//! Any number of paths in order.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use itertools::Itertools;

use crate::sum::sorter::Sorter;

/// Any number of paths.
#[derive(Default)]
pub struct Paths {
    sorter: Sorter,
    /// The first failure of keeping one.
    fault: Option<io::Error>,
}

/// What a path is sorted by. Its separators are the least bytes, so that what is in a directory
/// follows it.
pub fn key(path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect()
}

impl Paths {
    /// Adds a path.
    pub fn add(&mut self, path: &Path) {
        if self.fault.is_none() {
            self.fault = self.sorter.push(key(path), Vec::new()).err();
        }
    }

    /// All of them in order, each once.
    pub fn sorted(self) -> io::Result<impl Iterator<Item = io::Result<PathBuf>>> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let records = self.sorter.sorted()?.dedup_by(|one, next| match (one, next) {
            (Ok(one), Ok(next)) => one.key == next.key,
            _ => false,
        });
        Ok(records.map(|record| {
            let mut path = record?.key;
            path.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b'/');
            Ok(PathBuf::from(OsStr::from_bytes(&path)))
        }))
    }
}
