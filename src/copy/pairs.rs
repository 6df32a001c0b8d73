//! What a comparison does about files with several names: two that were compared under one pair of
//! names need not be under another; and none is mended in place, since some of its names may be
//! somebody else's, of SOURCE even, or those of a good copy of another file. It is copied anew, and
//! its other names are linked to the copy.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::worker::Run;
use crate::fs::Stat;
use crate::report::{Totals, What};
use crate::tree::{Dir, Entry, OpenDir};

/// Device and inode of a source and of its counterpart.
pub type Pair = [(u64, u64); 2];

/// Where a copy differs.
pub type Ranges = Vec<Range<u64>>;

/// A name whose files are being compared under another one. It counts as one hold on the directory.
pub struct Other {
    /// Where.
    pub dir: Arc<Dir>,
    /// What.
    pub entry: Entry,
}

enum State {
    Comparing(Vec<Other>),
    /// They are the same, or it was told why that is not known.
    Over,
    Differs(Ranges),
}

/// What is to be done under a name.
#[derive(Debug)]
pub enum Met {
    /// Its files are to be compared, and others wait for it if they are such a pair.
    Compare(Entry, Option<Pair>),
    /// They differ, and it is to be linked to a copy of the source.
    Differs(Entry, Ranges),
    /// Nothing before it is known of another name whether they differ.
    Waits,
    /// Nothing any more.
    Done,
}

/// The files of which both have several names, and what came of comparing them.
#[derive(Default)]
pub struct Pairs(Mutex<HashMap<Pair, State>>);

impl Pairs {
    fn lock(&self) -> MutexGuard<'_, HashMap<Pair, State>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name was met, whose copy has others or had them when the first was met. Whoever is to
    /// compare its files ends that with [`over`](Self::over). With `repair` other names wait for
    /// it.
    fn meet(
        &self,
        pair: Pair,
        has_others: bool,
        repair: bool,
        dir: &Arc<Dir>,
        entry: Entry,
    ) -> Met {
        match self.lock().entry(pair) {
            Slot::Vacant(_) if !has_others => Met::Compare(entry, None),
            Slot::Vacant(slot) => {
                slot.insert(State::Comparing(Vec::new()));
                Met::Compare(entry, Some(pair))
            }
            Slot::Occupied(mut slot) => match slot.get_mut() {
                State::Differs(ranges) => Met::Differs(entry, ranges.clone()),
                State::Comparing(others) if repair => {
                    dir.hold();
                    others.push(Other { dir: Arc::clone(dir), entry });
                    Met::Waits
                }
                State::Comparing(_) | State::Over => Met::Done,
            },
        }
    }

    /// Two files were compared; the names come back that waited for it.
    fn over(&self, pair: Pair, differs: Option<Ranges>) -> Vec<Other> {
        let state = differs.map_or(State::Over, State::Differs);
        match self.lock().insert(pair, state) {
            Some(State::Comparing(others)) => others,
            _ => Vec::new(),
        }
    }
}

impl Run<'_> {
    /// What is to be done under a name whose source and counterpart answered so.
    pub fn meet_pair(&self, dir: &OpenDir, entry: Entry, stats: [&Stat; 2]) -> Met {
        let [source, target] = stats;
        if source.st_nlink == 1 && !self.follows_links(dir) {
            return Met::Compare(entry, None);
        }
        // Once the first of two names is replaced, the other one is the only one left of what they
        // were.
        let (pair, has_others) =
            (stats.map(|stat| (stat.st_dev, stat.st_ino)), target.st_nlink > 1);
        self.pairs.meet(pair, has_others, self.options.repair, dir.dir(), entry)
    }

    /// Two files were compared. If they differ, the names that waited for it come back, to be
    /// linked to a copy; those of the same, or where nothing is known, are done with.
    pub fn end_pair(&self, pair: Pair, differs: Option<&Ranges>) -> Vec<Other> {
        let others = self.pairs.over(pair, differs.cloned());
        match differs {
            Some(ranges) => {
                others
                    .iter()
                    .for_each(|other| self.replace_later(&other.dir, &other.entry, ranges.clone()));
                others
            }
            None => {
                Totals::add(&self.totals.met, others.len() as u64);
                others.into_iter().for_each(|other| self.release_dir(other.dir));
                Vec::new()
            }
        }
    }

    /// Remembers where something differs that is to be replaced, to tell it then.
    pub fn replace_later(&self, dir: &Dir, entry: &Entry, ranges: Ranges) {
        self.differing().insert(dir.target_path(entry.target_name()), ranges);
    }

    /// Tells that something was copied in a comparison: where it differed, if it was there.
    pub fn tell_copied(&self, path: PathBuf) {
        let ranges = self.differing().remove(&path);
        match ranges {
            Some(ranges) => self.tell_ranges_of(&path, &ranges, true),
            None => self.tell_difference(path, What::Missing, true),
        }
    }

    /// Tells where files differ that could not be replaced.
    pub fn tell_not_replaced(&self) {
        let mut left: Vec<_> = std::mem::take(&mut *self.differing()).into_iter().collect();
        left.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        left.iter().for_each(|(path, ranges)| self.tell_ranges_of(path, ranges, false));
    }

    fn differing(&self) -> MutexGuard<'_, HashMap<PathBuf, Ranges>> {
        self.differing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
