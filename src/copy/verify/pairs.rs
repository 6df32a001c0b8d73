//! What a comparison does about files with several names. Two that were compared under one pair of
//! names need not be compared under another. None is mended in place: some of its names may be
//! strangers, names in SOURCE, or those of a good copy of another file. It is copied anew, and its
//! other names are linked to the copy. Pure.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::copy::events::Ranges;
use crate::fs::{FileId, Identity, Sameness};
use crate::tree::{Dir, Entry};

/// What was found of a source and of its counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePair {
    pub source: Identity,
    pub target: Identity,
}

impl FilePair {
    /// What stands for them in memory when they were compared; nothing if no later look can show
    /// that they are the same.
    fn mark(&self) -> Option<PairMark> {
        let bytes = [self.source.facts(), self.target.facts()];
        let hash = blake3::hash(bytes.as_flattened());
        self.is(self).then(|| *hash.as_bytes().first_chunk().expect("it has more bytes"))
    }

    fn numbers(&self) -> PairNumbers {
        (self.source.id(), self.target.id())
    }

    /// Whether both files are shown to be those of a later look.
    fn is(&self, later: &Self) -> bool {
        let is_one = |one: &Identity, other| one.compare(other) == Sameness::Same;
        is_one(&self.source, &later.source) && is_one(&self.target, &later.target)
    }
}

/// The first bytes of a hash of what two looks found.
type PairMark = [u8; 16];

/// Of source and counterpart.
type PairNumbers = (FileId, FileId);

/// A name whose files are being compared under another one. It counts as one hold on the directory.
pub struct Other {
    /// Where.
    pub dir: Arc<Dir>,
    /// What.
    pub entry: Entry,
}

enum PairState {
    Comparing(Vec<Other>),
    Differs(Ranges),
}

#[derive(Default)]
struct PairTable {
    known: HashMap<PairNumbers, Vec<(FilePair, PairState)>>,
    /// Those that are the same, or of which it was told why that is not known. Their other names
    /// may never come, so that no more than a mark is kept of them.
    over: HashSet<PairMark>,
}

/// How many names a copy has when it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameCount {
    One,
    Several,
}

/// What is to be done under a name.
#[derive(Debug)]
pub enum PairTurn {
    /// Its files are to be compared, and others wait for it if they are such a pair.
    Compare(Entry, Option<Box<FilePair>>),
    /// They differ, and it is to be linked to a copy of the source.
    Differs(Entry, Ranges),
    /// Nothing before it is known of another name whether they differ.
    Waits,
    /// Nothing any more.
    Done,
}

/// The files of which both have several names, and what came of comparing them.
pub struct Pairs {
    table: Mutex<PairTable>,
    /// Whether further names wait for the comparison, since what differs is replaced.
    repairs: bool,
}

impl Pairs {
    pub fn new(repairs: bool) -> Self {
        Self { table: Mutex::default(), repairs }
    }

    fn lock(&self) -> MutexGuard<'_, PairTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next step for a name. Once the first of two names was replaced, the other one
    /// alone is left of what they were. So the count matters for the first alone. What is compared
    /// ends with [`end`](Self::end).
    pub fn claim(
        &self,
        pair: FilePair,
        names: NameCount,
        dir: &Arc<Dir>,
        entry: Entry,
    ) -> PairTurn {
        let mut table = self.lock();
        let PairTable { known, over } = &mut *table;
        let found = known.get_mut(&pair.numbers());
        let found = found.and_then(|known| known.iter_mut().find(|(known, _)| known.is(&pair)));
        match found.map(|(_, state)| state) {
            None if pair.mark().is_some_and(|mark| over.contains(&mark)) => PairTurn::Done,
            None if names == NameCount::One => PairTurn::Compare(entry, None),
            None => {
                let known = known.entry(pair.numbers()).or_default();
                known.push((pair, PairState::Comparing(Vec::new())));
                PairTurn::Compare(entry, Some(Box::new(pair)))
            }
            Some(PairState::Differs(ranges)) => PairTurn::Differs(entry, ranges.clone()),
            Some(PairState::Comparing(others)) if self.repairs => {
                dir.hold();
                others.push(Other { dir: Arc::clone(dir), entry });
                PairTurn::Waits
            }
            Some(PairState::Comparing(_)) => PairTurn::Done,
        }
    }

    /// Two files were compared; the names come back that waited for it.
    pub fn end(&self, pair: FilePair, differs: Option<Ranges>) -> Vec<Other> {
        let mut table = self.lock();
        let PairTable { known, over } = &mut *table;
        let Some(of_numbers) = known.get_mut(&pair.numbers()) else { return Vec::new() };
        let Some(at) = of_numbers.iter().position(|(known, _)| *known == pair) else {
            return Vec::new();
        };
        let (_, state) = of_numbers.swap_remove(at);
        match differs {
            Some(ranges) => of_numbers.push((pair, PairState::Differs(ranges))),
            None => over.extend(pair.mark()),
        }
        if of_numbers.is_empty() {
            known.remove(&pair.numbers());
        }
        match state {
            PairState::Comparing(others) => others,
            PairState::Differs(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::fs;
    use crate::tree::{EntryKind, Folder, OpenDirs};

    struct Fixture {
        folder: tempfile::TempDir,
        dir: Arc<Dir>,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let side = || Folder {
                file: File::open(folder.path()).unwrap().into(),
                path: folder.path().to_owned(),
            };
            let root = Dir::root(side(), side(), &OpenDirs::new(1)).unwrap();
            let dir = Arc::clone(root.dir());
            Self { folder, dir }
        }

        fn pair(&self) -> FilePair {
            let identity = |name: &str| {
                let file = File::create(self.folder.path().join(name)).unwrap();
                Identity::of(&file, &fs::stat(&file).unwrap(), fs::trust(&file).numbers)
            };
            let (source, target) = (identity("source"), identity("target"));
            FilePair { source, target }
        }
    }

    fn entry(name: &str) -> Entry {
        let kind = EntryKind::File;
        Entry {
            name: name.into(),
            renamed: None,
            kind,
            ino: None,
            followed: false,
            is_stream: false,
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn in_a_repair_names_wait_and_are_replaced_with_the_first() {
        let (place, pairs) = (Fixture::new(), Pairs::new(true));
        let pair = place.pair();
        let claim = |names, name| pairs.claim(pair, names, &place.dir, entry(name));
        assert!(matches!(claim(NameCount::Several, "1"), PairTurn::Compare(_, Some(_))));
        assert!(matches!(claim(NameCount::Several, "2"), PairTurn::Waits));
        let ranges = vec![0..4096, 8192..8193];
        let others = pairs.end(pair, Some(ranges.clone()));
        assert_eq!(others.iter().map(|other| &other.entry.name).collect::<Vec<_>>(), ["2"]);
        assert!(!place.dir.release(), "a name that waits holds its directory");
        let PairTurn::Differs(_, known) = claim(NameCount::One, "3") else {
            panic!("what is known of one name holds for all")
        };
        assert_eq!(known, ranges);
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_pair_is_compared_once() {
        let (place, pairs) = (Fixture::new(), Pairs::new(false));
        let pair = place.pair();
        let claim = |name| pairs.claim(pair, NameCount::Several, &place.dir, entry(name));
        assert!(matches!(claim("1"), PairTurn::Compare(_, Some(_))));
        assert!(matches!(claim("2"), PairTurn::Done), "no name waits where nothing is mended");
        assert!(pairs.end(pair, None).is_empty());
        assert!(pairs.lock().known.is_empty(), "a mark is kept of what is over");
        assert!(matches!(claim("3"), PairTurn::Done));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_copy_with_one_name_is_remembered_by_nothing() {
        let (place, pairs) = (Fixture::new(), Pairs::new(true));
        let pair = place.pair();
        for name in ["1", "2"] {
            let turn = pairs.claim(pair, NameCount::One, &place.dir, entry(name));
            assert!(matches!(turn, PairTurn::Compare(_, None)));
        }
        assert!(pairs.lock().known.is_empty() && pairs.lock().over.is_empty());
    }
}
