//! The files that are in hand at the moment, for what watches a run. Nothing is noted unless
//! something watches.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is in hand.
#[derive(Debug, Default)]
pub struct Current {
    is_watched: AtomicBool,
    /// The next small file is to say its name. Small files are many, and a name costs more than a
    /// look at this.
    wants_name: AtomicBool,
    state: Mutex<CurrentState>,
}

#[derive(Debug, Default)]
struct CurrentState {
    /// The number of the next big file.
    next: u64,
    /// Big files by their numbers.
    big: BTreeMap<u64, BigFile>,
    /// The name of a small file, until it is looked at.
    name: Option<PathBuf>,
}

#[derive(Debug)]
struct BigFile {
    path: PathBuf,
    size_bytes: u64,
    handled_bytes: Arc<AtomicU64>,
}

/// How far a big file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileProgress {
    /// Its source as the user would write it.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// How much of it is done with.
    pub handled_bytes: u64,
}

/// What was seen in a look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// The largest of the big files, in the order in which they were begun.
    pub files: Vec<FileProgress>,
    /// A small file that came by since the look before.
    pub name: Option<PathBuf>,
}

/// A big file is in hand until this is dropped.
pub struct CurrentFile<'a> {
    current: &'a Current,
    number: u64,
}

impl Drop for CurrentFile<'_> {
    fn drop(&mut self) {
        self.current.lock().big.remove(&self.number);
    }
}

impl Current {
    fn lock(&self) -> MutexGuard<'_, CurrentState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has files noted from now on.
    pub fn watch(&self) {
        // Relaxed, here and below: what is seen a look later is as good.
        self.is_watched.store(true, Ordering::Relaxed);
        self.wants_name.store(true, Ordering::Relaxed);
    }

    /// A big file is begun, whose bytes count in `handled_bytes`.
    pub fn begin(
        &self,
        size_bytes: u64,
        handled_bytes: &Arc<AtomicU64>,
        path: impl FnOnce() -> PathBuf,
    ) -> Option<CurrentFile<'_>> {
        if !self.is_watched.load(Ordering::Relaxed) {
            return None;
        }
        let handled_bytes = Arc::clone(handled_bytes);
        let file = BigFile { path: path(), size_bytes, handled_bytes };
        let mut state = self.lock();
        let number = state.next;
        state.next += 1;
        state.big.insert(number, file);
        Some(CurrentFile { current: self, number })
    }

    /// A small file comes by.
    pub fn pass(&self, path: impl FnOnce() -> PathBuf) {
        if self.wants_name.load(Ordering::Relaxed) && self.wants_name.swap(false, Ordering::Relaxed)
        {
            self.lock().name = Some(path());
        }
    }

    /// What is in hand, of big files so many.
    pub fn look(&self, files_max: usize) -> Look {
        let mut state = self.lock();
        let name = state.name.take();
        let mut largest: Vec<_> =
            state.big.iter().map(|(number, file)| (file.size_bytes, *number)).collect();
        largest.sort_unstable_by(|(one, first), (other, second)| {
            other.cmp(one).then(first.cmp(second))
        });
        largest.truncate(files_max);
        largest.sort_unstable_by_key(|&(_, number)| number);
        let progress = |file: &BigFile| FileProgress {
            path: file.path.clone(),
            size_bytes: file.size_bytes,
            handled_bytes: file.handled_bytes.load(Ordering::Relaxed).min(file.size_bytes),
        };
        let files = largest.iter().filter_map(|(_, number)| state.big.get(number)).map(progress);
        let look = Look { files: files.collect(), name };
        drop(state);
        self.wants_name.store(true, Ordering::Relaxed);
        look
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_has_the_largest_files_in_their_order_and_one_name() {
        let (current, none) = (Current::default(), Arc::default());
        current.pass(|| panic!("nothing watches"));
        assert!(current.begin(1, &none, || panic!("nothing watches")).is_none());
        current.watch();
        let handled = Arc::new(AtomicU64::new(50));
        let begin = |size, name: &str| current.begin(size, &handled, || name.into());
        let (_small, large) = (begin(10, "small"), begin(1000, "large"));
        let (_larger, _other) = (begin(2000, "larger"), begin(1000, "other"));
        current.pass(|| "first".into());
        current.pass(|| panic!("one is enough"));
        let names = |look: &Look| {
            look.files.iter().map(|file| file.path.display().to_string()).collect::<Vec<_>>()
        };
        let look = current.look(2);
        assert_eq!(
            (names(&look), look.name),
            (vec!["large".into(), "larger".into()], Some("first".into()))
        );
        assert_eq!(look.files[0].handled_bytes, 50);
        drop(large);
        let look = current.look(9);
        assert_eq!(
            (names(&look), look.name),
            (vec!["small".into(), "larger".into(), "other".into()], None)
        );
        assert_eq!(look.files[0].handled_bytes, 10, "never more than all");
        current.pass(|| "next".into());
        assert_eq!(current.look(0), Look { files: Vec::new(), name: Some("next".into()) });
    }
}
