//! Finding the record of a finished file in the journal.

use std::io;
use std::os::fd::OwnedFd;

use super::format::FINISHED_BYTES_MAX;
use crate::fs;

/// Where in the journal the records of names are: 17 bytes a record, one of them for the buckets.
#[derive(Default)]
pub struct Index {
    /// The keys, sorted, with the places.
    entries: Vec<(u64, u64)>,
    /// Where in `entries` the keys of each bucket begin, and at last where they end. Keys are
    /// evenly distributed, and the buckets stretches of their range.
    starts: Vec<u32>,
}

impl Index {
    /// An index of keys, which are parts of hashes, with places, of which later ones count more.
    ///
    /// # Panics
    /// If there are more than 4 billion.
    pub fn new(mut entries: Vec<(u64, u64)>) -> Self {
        entries.sort_unstable();
        let buckets = entries.len() / 4 + 1;
        let (mut starts, mut at) = (Vec::with_capacity(buckets + 1), 0);
        for bucket in 0..=buckets {
            while entries.get(at).is_some_and(|&(key, _)| bucket_of(key, buckets) < bucket) {
                at += 1;
            }
            starts.push(u32::try_from(at).expect("a journal has fewer records"));
        }
        Self { entries, starts }
    }

    /// The places of a key, the last one first.
    pub fn places(&self, key: u64) -> impl Iterator<Item = u64> {
        let buckets = self.starts.len().saturating_sub(1);
        let range = match buckets {
            0 => 0..0,
            _ => {
                let bucket = bucket_of(key, buckets);
                self.starts[bucket] as usize..self.starts[bucket + 1] as usize
            }
        };
        self.entries[range].iter().rev().filter(move |&&(found, _)| found == key).map(|&(_, at)| at)
    }
}

/// The stretch of the keys' range in which a key lies: of 4 buckets, the key 0x8000_0000_0000_0000
/// is in bucket 2.
fn bucket_of(key: u64, buckets: usize) -> usize {
    ((u128::from(key) * buckets as u128) >> 64) as usize
}

/// A stretch of the journal in memory. The records of one batch lie together, so that the first
/// that is looked for brings the others with it.
pub struct Window {
    start_bytes: u64,
    bytes: Vec<u8>,
    len_bytes: usize,
}

impl Window {
    /// For one record.
    pub fn narrow() -> Self {
        Self { start_bytes: 0, bytes: Vec::new(), len_bytes: FINISHED_BYTES_MAX }
    }

    /// For those of a batch, wherever in it the first one is.
    pub fn wide() -> Self {
        Self { len_bytes: 2 * 64 * FINISHED_BYTES_MAX, ..Self::narrow() }
    }

    /// What stands in the journal from `at_bytes` on: room for a finished file's record, zeros
    /// where the journal ends.
    pub fn at(
        &mut self,
        journal: &OwnedFd,
        at_bytes: u64,
    ) -> io::Result<&[u8; FINISHED_BYTES_MAX]> {
        let place =
            at_bytes.checked_sub(self.start_bytes).and_then(|place| usize::try_from(place).ok());
        let is_here = |place: &usize| place.saturating_add(FINISHED_BYTES_MAX) <= self.bytes.len();
        let place = match place.filter(is_here) {
            Some(place) => place,
            None => {
                // Nothing is here if the reading fails.
                self.bytes.clear();
                let start_bytes =
                    at_bytes.saturating_sub((self.len_bytes - FINISHED_BYTES_MAX) as u64 / 2);
                self.bytes = read_padded(journal, start_bytes, self.len_bytes)?;
                self.start_bytes = start_bytes;
                (at_bytes - start_bytes) as usize
            }
        };
        Ok(self.bytes[place..].first_chunk().expect("there is room for a record"))
    }
}

/// `len_bytes` of a file from a place on, those behind its end zero.
fn read_padded(file: &OwnedFd, start_bytes: u64, len_bytes: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len_bytes];
    fs::read_full_at(file, &mut bytes, start_bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn each_key_has_its_places_the_last_one_first() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let count = random.usize(0..300);
            // Some of them several times, and the ends of the range.
            let keys: Vec<u64> =
                [0, u64::MAX].into_iter().chain((0..count).map(|_| random.u64(..))).collect();
            let entries: Vec<(u64, u64)> =
                (0..count as u64).map(|at| (keys[random.usize(..keys.len())], at)).collect();
            let index = Index::new(entries.clone());
            for &key in keys.iter().chain(&[1, u64::MAX - 1]) {
                let wanted: Vec<u64> = entries
                    .iter()
                    .rev()
                    .filter(|entry| entry.0 == key)
                    .map(|entry| entry.1)
                    .collect();
                assert_eq!(index.places(key).collect::<Vec<_>>(), wanted, "seed {seed}");
            }
        }
        assert_eq!(Index::default().places(7).count(), 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no pread")]
    fn a_window_shows_what_stands_there_and_zeros_behind_the_end() {
        let mut file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n / 251) as u8 ^ n as u8).collect();
        file.write_all(&bytes).unwrap();
        let file = OwnedFd::from(file);
        let padded = [bytes, vec![0; FINISHED_BYTES_MAX]].concat();
        for make in [Window::narrow, Window::wide] {
            let (mut window, mut random) = (make(), fastrand::Rng::with_seed(1));
            for round in 0..1000 {
                let at = if round % 2 == 0 { random.usize(..=100_000) } else { round * 100 };
                assert!(
                    window.at(&file, at as u64).unwrap()[..] == padded[at..at + FINISHED_BYTES_MAX],
                    "byte {at}"
                );
            }
        }
    }
}
