//! Sorts any number of records by their keys in bounded memory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use itertools::Itertools;

/// Bytes of records held in memory. Beyond them a sorted run goes to an unnamed file.
const RUN_BYTES_MAX: usize = 8 << 20;

/// A key and its value.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortRecord {
    /// The bytes that give the record its place.
    pub key: Vec<u8>,
    /// What belongs to the key.
    pub value: Vec<u8>,
}

/// Takes records in any order.
#[derive(Default)]
pub struct Sorter {
    records: Vec<SortRecord>,
    held_bytes: usize,
    runs: Vec<File>,
}

impl Sorter {
    /// Adds a record. May write to a temporary file, and fails when that does.
    pub fn push(&mut self, key: Vec<u8>, value: Vec<u8>) -> io::Result<()> {
        self.held_bytes += key.len() + value.len() + size_of::<SortRecord>();
        self.records.push(SortRecord { key, value });
        if self.held_bytes > RUN_BYTES_MAX { self.spill() } else { Ok(()) }
    }

    /// Sorts what is held and moves it to a file of its own.
    fn spill(&mut self) -> io::Result<()> {
        self.records.sort_unstable();
        let mut run = BufWriter::new(tempfile::tempfile()?);
        for SortRecord { key, value } in self.records.drain(..) {
            for part in [key, value] {
                let len = u32::try_from(part.len()).map_err(io::Error::other)?;
                run.write_all(&len.to_le_bytes())?;
                run.write_all(&part)?;
            }
        }
        let mut run = run.into_inner().map_err(io::IntoInnerError::into_error)?;
        run.rewind()?;
        self.runs.push(run);
        self.held_bytes = 0;
        Ok(())
    }

    /// All records in order.
    pub fn sorted(mut self) -> impl Iterator<Item = io::Result<SortRecord>> {
        self.records.sort_unstable();
        let mut sources: Vec<Box<dyn Iterator<Item = io::Result<SortRecord>>>> = Vec::new();
        for run in self.runs {
            let mut run = BufReader::new(run);
            sources.push(Box::new(std::iter::from_fn(move || read_record(&mut run).transpose())));
        }
        sources.push(Box::new(self.records.into_iter().map(Ok)));
        // An error goes before everything, so that no record overtakes it.
        sources.into_iter().kmerge_by(|a, b| match (a, b) {
            (Ok(a), Ok(b)) => a < b,
            (a, _) => a.is_err(),
        })
    }
}

fn read_record(run: &mut impl Read) -> io::Result<Option<SortRecord>> {
    let mut len = [0; 4];
    match run.read(&mut len[..1])? {
        0 => return Ok(None),
        _ => run.read_exact(&mut len[1..])?,
    }
    let mut key = vec![0; u32::from_le_bytes(len) as usize];
    run.read_exact(&mut key)?;
    run.read_exact(&mut len)?;
    let mut value = vec![0; u32::from_le_bytes(len) as usize];
    run.read_exact(&mut value)?;
    Ok(Some(SortRecord { key, value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_sorted_by_bytes_also_across_spilled_runs() {
        let mut sorter = Sorter::default();
        let keys = ["b", "a/c", "a", "a/b", "a b", "ä", "B", "a.b", "a/"];
        for (n, key) in keys.iter().enumerate() {
            sorter.push(key.as_bytes().to_vec(), vec![n as u8; n]).unwrap();
            if n % 4 == 3 {
                sorter.spill().unwrap();
            }
        }
        let got: Vec<SortRecord> = sorter.sorted().collect::<io::Result<_>>().unwrap();
        let mut want: Vec<SortRecord> = keys
            .iter()
            .enumerate()
            .map(|(n, key)| SortRecord { key: key.as_bytes().to_vec(), value: vec![n as u8; n] })
            .collect();
        want.sort_unstable();
        assert_eq!(got, want);
    }
}
