//! Sorts any number of records by their keys in bounded memory.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use itertools::Itertools;

use crate::error::{Error, Operation};

/// Bytes of records held in memory. Beyond them a sorted run goes to an unnamed file.
const RUN_BYTES_MAX: usize = 8 << 20;

/// How many runs are read at once. More are merged to longer ones, so that neither open files nor
/// the records that are next grow with the number of records.
const RUNS_MAX: usize = 16;

/// A key and its value.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortRecord {
    /// The bytes that give the record its place.
    pub key: Vec<u8>,
    /// What belongs to the key.
    pub value: Vec<u8>,
}

/// What is said of a failure: the folder that temporary files are in, see tempfile(3).
pub(super) fn error(cause: io::Error) -> Error {
    Error::new(Operation::UseTemporary, std::env::temp_dir(), cause)
}

/// Takes records in any order.
#[derive(Default)]
pub struct Sorter {
    records: Vec<SortRecord>,
    held_bytes: usize,
    /// Each has runs of some length, and the next one runs into which many of those were merged.
    levels: Vec<RunFile>,
}

impl Sorter {
    /// Adds a record. May write to a temporary file, and fails when that does.
    pub fn push(&mut self, key: Vec<u8>, value: Vec<u8>) -> io::Result<()> {
        self.held_bytes += key.len() + value.len() + size_of::<SortRecord>();
        self.records.push(SortRecord { key, value });
        if self.held_bytes > RUN_BYTES_MAX { self.spill() } else { Ok(()) }
    }

    /// Sorts what is held and moves it to a run.
    fn spill(&mut self) -> io::Result<()> {
        self.records.sort_unstable();
        let mut records = self.records.drain(..).map(Ok);
        level(&mut self.levels, 0)?.add_run(&mut records)?;
        drop(records);
        self.held_bytes = 0;
        for number in 0.. {
            match self.levels.get(number) {
                Some(file) if file.runs.len() == RUNS_MAX => self.merge(number)?,
                _ => break,
            }
        }
        Ok(())
    }

    /// Merges the runs of a level to one of the next.
    fn merge(&mut self, number: usize) -> io::Result<()> {
        let mut records = merged(level(&mut self.levels, number)?.readers());
        level(&mut self.levels, number + 1)?.add_run(&mut records)?;
        drop(records);
        self.levels[number] = RunFile::new()?;
        Ok(())
    }

    /// All records in order. The error is for a temporary file.
    pub fn sorted(mut self) -> io::Result<impl Iterator<Item = io::Result<SortRecord>>> {
        self.records.sort_unstable();
        for number in 0..self.levels.len() {
            let left = self.levels[number..].iter().map(|level| level.runs.len());
            if left.sum::<usize>() > RUNS_MAX {
                self.merge(number)?;
            }
        }
        let mut sources: Vec<Records> = Vec::new();
        self.levels.iter().for_each(|level| sources.extend(level.readers()));
        sources.push(Box::new(self.records.into_iter().map(Ok)));
        Ok(merged(sources))
    }
}

/// Records in order.
type Records = Box<dyn Iterator<Item = io::Result<SortRecord>>>;

/// The file of a level, which is made if there is none.
fn level(levels: &mut Vec<RunFile>, number: usize) -> io::Result<&mut RunFile> {
    if levels.len() == number {
        levels.push(RunFile::new()?);
    }
    Ok(&mut levels[number])
}

/// All records of several sources in order.
fn merged(sources: Vec<Records>) -> impl Iterator<Item = io::Result<SortRecord>> {
    // An error goes before everything, so that no record overtakes it.
    sources.into_iter().kmerge_by(|a, b| match (a, b) {
        (Ok(a), Ok(b)) => a < b,
        (a, _) => a.is_err(),
    })
}

/// How many bytes two keys begin with that are the same. They are compared block by block: the
/// paths of a deep tree share most of what they have, and are long.
fn shared_len(one: &[u8], other: &[u8]) -> usize {
    const BLOCK_BYTES: usize = 64;
    let blocks = one.chunks_exact(BLOCK_BYTES).zip(other.chunks_exact(BLOCK_BYTES));
    let whole = BLOCK_BYTES * blocks.take_while(|(one, other)| one == other).count();
    let rest = one[whole..].iter().zip(&other[whole..]);
    whole + rest.take_while(|(one, other)| one == other).count()
}

/// An unnamed file of sorted runs. Of a key, what the one before it begins with as well is left
/// out: the paths of a deep tree would fill the disk.
struct RunFile {
    file: Arc<File>,
    runs: Vec<Range<u64>>,
}

impl RunFile {
    fn new() -> io::Result<Self> {
        Ok(Self { file: Arc::new(tempfile::tempfile()?), runs: Vec::new() })
    }

    fn add_run(
        &mut self,
        records: &mut dyn Iterator<Item = io::Result<SortRecord>>,
    ) -> io::Result<()> {
        let start = self.runs.last().map_or(0, |run| run.end);
        let place = FilePlace { file: Arc::clone(&self.file), range: start..u64::MAX };
        let mut out = BufWriter::new(place);
        let mut before = Vec::new();
        for record in records {
            let SortRecord { key, value } = record?;
            let shared = shared_len(&key, &before);
            for len in [shared, key.len() - shared, value.len()] {
                out.write_all(&u32::try_from(len).map_err(io::Error::other)?.to_le_bytes())?;
            }
            out.write_all(&key[shared..])?;
            out.write_all(&value)?;
            before = key;
        }
        let place = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        self.runs.push(start..place.range.start);
        Ok(())
    }

    /// The records of each run.
    fn readers(&self) -> Vec<Records> {
        let reader = |run: &Range<u64>| -> Records {
            let place = FilePlace { file: Arc::clone(&self.file), range: run.clone() };
            let (mut run, mut before) = (BufReader::new(place), Vec::new());
            Box::new(std::iter::from_fn(move || read_record(&mut run, &mut before).transpose()))
        };
        self.runs.iter().map(reader).collect()
    }
}

/// The part of a file that is left to be read or written.
struct FilePlace {
    file: Arc<File>,
    range: Range<u64>,
}

impl Read for FilePlace {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let len = left.min(buffer.len());
        let count = self.file.read_at(&mut buffer[..len], self.range.start)?;
        self.range.start += count as u64;
        Ok(count)
    }
}

impl Write for FilePlace {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.file.write_at(buffer, self.range.start)?;
        self.range.start += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The next record of a run, whose key begins as the one `before` it.
fn read_record(run: &mut impl Read, before: &mut Vec<u8>) -> io::Result<Option<SortRecord>> {
    let mut lens = [0; 12];
    match run.read(&mut lens[..1])? {
        0 => return Ok(None),
        _ => run.read_exact(&mut lens[1..])?,
    }
    let [shared, rest, value] = std::array::from_fn(|n| {
        let len = lens[n * 4..].first_chunk().expect("there are three");
        u32::from_le_bytes(*len) as usize
    });
    before.truncate(shared);
    before.resize(shared + rest, 0);
    run.read_exact(&mut before[shared..])?;
    let mut value = vec![0; value];
    run.read_exact(&mut value)?;
    Ok(Some(SortRecord { key: before.clone(), value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_that_two_keys_begin_with_are_counted() {
        let long = [7; 200];
        for shared in 0..long.len() {
            let mut other = long;
            other[shared] = 8;
            assert_eq!(shared_len(&long, &other), shared);
            assert_eq!(shared_len(&long, &long[..shared]), shared);
            assert_eq!(shared_len(&other[..shared], &long), shared);
        }
    }

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
        let got: Vec<SortRecord> = sorter.sorted().unwrap().collect::<io::Result<_>>().unwrap();
        let mut want: Vec<SortRecord> = keys
            .iter()
            .enumerate()
            .map(|(n, key)| SortRecord { key: key.as_bytes().to_vec(), value: vec![n as u8; n] })
            .collect();
        want.sort_unstable();
        assert_eq!(got, want);
    }

    /// Paths of all levels of a tree, in any order, and each some times.
    #[test]
    #[cfg_attr(miri, ignore = "Miri takes minutes")]
    fn any_number_of_runs_is_merged_and_few_files_are_open() {
        for seed in 0..20 {
            println!("seed {seed}");
            let rng = &mut fastrand::Rng::with_seed(seed);
            let count = rng.usize(1..4000);
            let spill = rng.f32() / 4.0;
            let (mut sorter, mut want) = (Sorter::default(), Vec::new());
            for _ in 0..count {
                let key = "dir/".repeat(rng.usize(0..300)).into_bytes();
                let value = vec![rng.u8(..); rng.usize(0..9)];
                sorter.push(key.clone(), value.clone()).unwrap();
                want.push(SortRecord { key, value });
                if rng.f32() < spill {
                    sorter.spill().unwrap();
                    assert!(sorter.levels.len() <= 4);
                    assert!(sorter.levels.iter().all(|level| level.runs.len() < RUNS_MAX));
                }
            }
            want.sort_unstable();
            let got = sorter.sorted().unwrap().collect::<io::Result<Vec<_>>>().unwrap();
            assert!(got == want, "{count} records");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri takes minutes")]
    fn what_keys_have_in_common_takes_no_room_on_disk() {
        let mut sorter = Sorter::default();
        for level in (0..3000).rev() {
            sorter.push("0123456789/".repeat(level).into_bytes(), vec![0; 32]).unwrap();
        }
        sorter.spill().unwrap();
        let len_bytes = |level: &RunFile| level.file.metadata().unwrap().len();
        let total: u64 = sorter.levels.iter().map(len_bytes).sum();
        assert!(total < 1 << 20, "{total} bytes of 50 MB");
        assert_eq!(sorter.sorted().unwrap().count(), 3000);
    }
}
