//! What the records of an earlier run come to, one after the other. Pure.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::format::{Begun, DirOpened, Fingerprint, Finished, Reached, Record, Standing, StatKey};
use super::manner::Manner;
use crate::digest::LeafHash;

/// A big file of which a part is durable.
#[derive(Debug)]
pub struct Half {
    /// What it was begun with.
    pub begun: Begun,
    /// The chaining values of its first blocks, which are durable.
    pub leaves: Vec<LeafHash>,
    /// The name of its temporary, once that was found.
    pub hidden: Option<OsString>,
}

impl Half {
    /// The path of the file, relative to the destination.
    pub fn path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.begun.path))
    }
}

/// What an earlier run left on record.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The keys of finished names, as [`index_of`] makes them, with the places of their records.
    pub finished: Vec<(u64, u64)>,
    /// Up to which place of the journal what was finished may not have become durable.
    pub doubted_bytes: u64,
    /// Half-copied files by their names.
    pub halves: HashMap<Fingerprint, Half>,
    /// Under which name a source that may have several was begun or finished.
    pub first_names: HashMap<StatKey, Fingerprint>,
    /// How runs made what they recorded, with the places from which on that holds.
    pub manners: Manners,
    /// The modes of directories that were given more rights, and were not finished since.
    pub modes: HashMap<Fingerprint, u32>,
}

/// Manners, in the order of their places.
#[derive(Debug, Default)]
pub struct Manners(Vec<(u64, Manner)>);

impl Manners {
    /// That in which what stands on record at this place was made.
    pub fn at(&self, at_bytes: u64) -> Option<&Manner> {
        let later = self.0.partition_point(|(from_bytes, _)| *from_bytes < at_bytes);
        Some(&self.0[later.checked_sub(1)?].1)
    }

    /// That of what is recorded from here on, unless another one is recorded before it.
    pub fn last(&self) -> Option<&Manner> {
        self.0.last().map(|(_, manner)| manner)
    }
}

impl Recovered {
    /// Adds the next record, which stands at this place of the journal.
    pub fn add(&mut self, at_bytes: u64, record: Record) {
        match record {
            Record::Finished(Finished { name, source, standing, .. }) => {
                self.finished.push((index_of(&name), at_bytes));
                // Both are nearly always empty, and a look costs more than all else here.
                if !self.modes.is_empty() {
                    self.modes.remove(&name);
                }
                if !self.halves.is_empty() && standing != Standing::Unnamed {
                    self.halves.remove(&name);
                }
                match standing {
                    Standing::Settled | Standing::Closing => {}
                    Standing::Linked | Standing::Retried => {
                        self.first_names.insert(source.key, name);
                    }
                    // It may be that it was to be linked to the first one.
                    Standing::Unnamed => _ = self.first_names.entry(source.key).or_insert(name),
                }
            }
            Record::Begun(begun) => {
                self.first_names.insert(begun.source.key, begun.name);
                self.halves.insert(begun.name, Half { begun, leaves: Vec::new(), hidden: None });
            }
            Record::Manner(manner) => self.manners.0.push((at_bytes, manner)),
            Record::Reached(Reached { name, first_block, leaves }) => {
                // What does not follow on what is known belongs to nothing.
                let half = self.halves.get_mut(&name);
                let next = half.filter(|half| half.leaves.len() as u64 == first_block);
                next.into_iter().for_each(|half| half.leaves.extend(&leaves));
            }
            Record::Doubted => self.doubted_bytes = at_bytes,
            Record::Opened(DirOpened { name, mode }) => _ = self.modes.insert(name, mode),
        }
    }
}

/// The part of a name by which the index finds it.
pub fn index_of(name: &Fingerprint) -> u64 {
    u64::from_le_bytes(*name.first_chunk().expect("a fingerprint has 16 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::options::{Options, Sparse};
    use crate::copy::resume::format::{Look, STAT_KEY_BYTES};
    use crate::fs::Settled;
    use crate::tree::Kept;

    const SOURCE: Look = Look { key: [7; STAT_KEY_BYTES], settled: Settled::LONG };

    fn finished(name: u8, standing: Standing) -> Record {
        let target = Look { key: [8; STAT_KEY_BYTES], ..SOURCE };
        let name = [name; 16];
        Record::Finished(Finished {
            name,
            source: SOURCE,
            target,
            standing,
            kept: Kept::All,
            hash: None,
        })
    }

    fn begun(name: u8) -> Record {
        let (name, path) = ([name; 16], Vec::new());
        Record::Begun(Begun { name, source: SOURCE, temporary: 1, block_bytes: 4096, path })
    }

    fn reached(name: u8, first_block: u64, blocks: usize) -> Record {
        Record::Reached(Reached { name: [name; 16], first_block, leaves: vec![[9; 32]; blocks] })
    }

    fn recovered(records: impl IntoIterator<Item = Record>) -> Recovered {
        let mut recovered = Recovered::default();
        (0..).zip(records).for_each(|(at, record)| recovered.add(at, record));
        recovered
    }

    fn blocks(recovered: &Recovered, name: u8) -> Option<usize> {
        recovered.halves.get(&[name; 16]).map(|half| half.leaves.len())
    }

    #[test]
    fn a_half_copied_file_has_the_blocks_that_follow_each_other() {
        let records = [begun(1), reached(1, 0, 2), reached(1, 3, 5), reached(1, 2, 1)];
        assert_eq!(blocks(&recovered(records), 1), Some(3));
        let again = [begun(1), reached(1, 0, 2), begun(1), reached(2, 0, 1)];
        assert_eq!(blocks(&recovered(again), 1), Some(0), "begun anew it has none");
    }

    #[test]
    fn a_finished_file_is_no_half_one_unless_it_may_have_no_name() {
        for (standing, half) in
            [(Standing::Settled, None), (Standing::Linked, None), (Standing::Unnamed, Some(2))]
        {
            let records = [begun(1), reached(1, 0, 2), finished(1, standing)];
            let recovered = recovered(records);
            assert_eq!(blocks(&recovered, 1), half, "{standing:?}");
            assert_eq!(recovered.finished, [(index_of(&[1; 16]), 2)]);
        }
    }

    #[test]
    fn what_is_finished_was_made_in_the_manner_before_it() {
        let manner = |sparse| Manner::of(&Options { sparse, ..Options::default() });
        let (first, second) = (manner(Sparse::Auto), manner(Sparse::Never));
        let done = || finished(1, Standing::Settled);
        let records =
            [Record::Manner(first.clone()), done(), Record::Manner(second.clone()), done()];
        let manners = recovered(records).manners;
        assert_eq!([1, 3].map(|at| manners.at(at)), [Some(&first), Some(&second)]);
        assert_eq!(recovered([done()]).manners.at(0), None);
    }

    #[test]
    fn the_first_name_of_a_source_is_the_one_that_has_its_copy() {
        let first = |records: Vec<Record>| recovered(records).first_names.get(&SOURCE.key).copied();
        let (linked, unnamed) = (Standing::Linked, Standing::Unnamed);
        assert_eq!(first(vec![finished(1, Standing::Settled)]), None);
        assert_eq!(first(vec![finished(1, linked), finished(2, unnamed)]), Some([1; 16]));
        assert_eq!(first(vec![finished(2, unnamed), finished(1, linked)]), Some([1; 16]));
        assert_eq!(first(vec![finished(1, linked), begun(2)]), Some([2; 16]));
    }
}
