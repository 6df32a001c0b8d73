//! The manifest of a copy, sorted by path, of any number of files in bounded memory.

use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::algorithm::Algorithm;
use super::line::{self, LineEnd, OutputPart, Style};
use super::sorter::{SortRecord, Sorter};
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

    /// Writes all lines, and answers with how many of them do not lead to their file, see
    /// [`line::is_unprintable`].
    pub fn write(self, out: &mut impl Write) -> io::Result<u64> {
        let mut unprintable = 0;
        let style = Style { tag: false, end: LineEnd::Newline, names: true };
        for record in self.0.sorted() {
            let SortRecord { key: path, value: hash } = record?;
            let len_bytes = hash.len() as u64;
            unprintable += u64::from(line::is_unprintable(Algorithm::Blake3, style.end, &path));
            let part = OutputPart { output: &Output::Fixed(hash), seek_bytes: 0, len_bytes };
            line::write(out, style, Algorithm::Blake3, &path, part)?;
        }
        Ok(unprintable)
    }
}
