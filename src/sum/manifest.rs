//! A manifest, sorted by path, of any number of files in bounded memory.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use itertools::Itertools;

use crate::digest::Hash;

/// Bytes of paths and hashes held in memory; beyond them a sorted run goes to an unnamed file.
const RUN_BYTES_MAX: usize = 8 << 20;

type Record = (PathBuf, Hash);

/// Collects hashes in any order and writes them as lines sorted by the bytes of their paths.
#[derive(Default)]
pub struct Manifest {
    records: Vec<Record>,
    held_bytes: usize,
    runs: Vec<File>,
}

impl Manifest {
    /// Adds a file. May write to a temporary file, and fails when that does.
    pub fn push(&mut self, path: PathBuf, hash: Hash) -> io::Result<()> {
        self.held_bytes += path.as_os_str().len() + size_of::<Record>();
        self.records.push((path, hash));
        if self.held_bytes > RUN_BYTES_MAX { self.spill() } else { Ok(()) }
    }

    /// By bytes, as the runs are merged: paths compare by component, which puts `a/b` before `a b`.
    fn sort(&mut self) {
        self.records.sort_unstable_by(|a, b| a.0.as_os_str().as_bytes().cmp(b.0.as_os_str().as_bytes()));
    }

    /// Sorts what is held and moves it to a file of its own.
    fn spill(&mut self) -> io::Result<()> {
        self.sort();
        let mut run = BufWriter::new(tempfile::tempfile()?);
        for (path, hash) in self.records.drain(..) {
            let path = path.as_os_str().as_bytes();
            let len = u32::try_from(path.len()).map_err(io::Error::other)?;
            run.write_all(&len.to_le_bytes())?;
            run.write_all(path)?;
            run.write_all(&hash)?;
        }
        let mut run = run.into_inner().map_err(io::IntoInnerError::into_error)?;
        run.rewind()?;
        self.runs.push(run);
        self.held_bytes = 0;
        Ok(())
    }

    /// Writes all lines.
    pub fn write(mut self, out: &mut impl Write) -> io::Result<()> {
        self.sort();
        let mut sources: Vec<Box<dyn Iterator<Item = io::Result<Record>>>> = Vec::new();
        for run in self.runs {
            let mut run = BufReader::new(run);
            sources.push(Box::new(std::iter::from_fn(move || read_record(&mut run).transpose())));
        }
        sources.push(Box::new(self.records.into_iter().map(Ok)));
        // An error goes before everything, so that it is met and not overtaken.
        let is_before = |a: &io::Result<Record>, b: &io::Result<Record>| match (a, b) {
            (Ok(a), Ok(b)) => a.0.as_os_str().as_bytes() < b.0.as_os_str().as_bytes(),
            (a, _) => a.is_err(),
        };
        for record in sources.into_iter().kmerge_by(is_before) {
            let (path, hash) = record?;
            writeln!(out, "{}", line(&path, &hash))?;
        }
        Ok(())
    }
}

fn read_record(run: &mut impl Read) -> io::Result<Option<Record>> {
    let mut len = [0; 4];
    match run.read(&mut len[..1])? {
        0 => return Ok(None),
        _ => run.read_exact(&mut len[1..])?,
    }
    let mut path = vec![0; u32::from_le_bytes(len) as usize];
    run.read_exact(&mut path)?;
    let mut hash = [0; 32];
    run.read_exact(&mut hash)?;
    Ok(Some((OsString::from_vec(path).into(), hash)))
}

/// One line as `b3sum` prints it: a name with a backslash or a line break is escaped, and the line then begins with a
/// backslash; bytes that are not UTF-8 become U+FFFD, which no check accepts.
pub fn line(path: &Path, hash: &Hash) -> String {
    let name = path.to_string_lossy();
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    if name.contains(['\\', '\n', '\r']) {
        let name = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        format!("\\{hex}  {name}")
    } else {
        format!("{hex}  {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_by_bytes_also_across_spilled_runs() {
        let mut manifest = Manifest::default();
        let names = ["b", "a/c", "a", "a/b", "a b", "ä", "B", "a.b", "a/"];
        for (n, name) in names.iter().enumerate() {
            manifest.push(name.into(), [n as u8; 32]).unwrap();
            if n % 5 == 4 {
                manifest.spill().unwrap();
            }
        }
        let mut out = Vec::new();
        manifest.write(&mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        let got: Vec<&str> = out.lines().map(|line| &line[66..]).collect();
        let mut want = names;
        want.sort_unstable();
        assert_eq!(got, want);
        assert!(out.starts_with(&"06".repeat(32)));
    }

    #[test]
    fn odd_names_are_escaped_like_b3sum_does() {
        let zeros = "00".repeat(32);
        assert_eq!(line(Path::new("a\\b\nc\rd"), &[0; 32]), format!("\\{zeros}  a\\\\b\\nc\\rd"));
        assert_eq!(line(Path::new(" x"), &[0; 32]), format!("{zeros}   x"));
    }
}
