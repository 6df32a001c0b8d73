//! The manifest of a copy, sorted by path, of any number of files in bounded memory.

use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::algorithm::Algorithm;
use super::line::{self, Style};
use super::sorter::Sorter;
use crate::digest::{Hash, Output};

/// Collects BLAKE3 hashes in any order and writes them as `b3sum`'s lines, sorted by the bytes of
/// their paths.
#[derive(Default)]
pub struct Manifest(Sorter);

impl Manifest {
    /// Adds a file. May write to a temporary file, and fails when that does.
    pub fn push(&mut self, path: PathBuf, hash: Hash) -> io::Result<()> {
        self.0.push(path.into_os_string().into_vec(), hash.to_vec())
    }

    /// Writes all lines, and answers with how many of them lead nobody to their file, see
    /// [`line::is_unprintable`].
    pub fn write(self, out: &mut impl Write) -> io::Result<u64> {
        let mut unprintable = 0;
        let style = Style { tag: false, zero: false, names: true };
        for record in self.0.sorted() {
            let (path, hash) = record?;
            let len_bytes = hash.len() as u64;
            unprintable += u64::from(line::is_unprintable(Algorithm::Blake3, style.zero, &path));
            line::write(
                out,
                style,
                Algorithm::Blake3,
                &path,
                (&Output::Fixed(hash), 0, len_bytes),
            )?;
        }
        Ok(unprintable)
    }
}
