//! Makes what many workers wrote durable at once: one syncfs(2) for all of it, instead of an fsync(2) for each file.
//!
//! Whoever comes while a round is under way waits for the next, which covers whatever was written before it began. That there was no error is known from one
//! descriptor for each filesystem, open since before anything was written there: syncfs tells it of every error since then. After an error, and where a round would
//! make others write as well, whoever waits has to fsync each file, which also says whose error it is.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::syncfs;

use crate::sys::fs;

/// With so much to be written in the whole system, most of it is of others, who shall neither be made to write it now nor be waited for.
const DIRTY_BYTES_MAX: u64 = 256 << 20;

/// The filesystems that are written to.
#[derive(Default)]
pub struct Rounds(Mutex<Vec<Arc<Filesystem>>>);

struct Filesystem {
    device: u64,
    /// A directory on it, open since before anything was written there.
    root: Arc<OwnedFd>,
    /// Nothing is there to be waited for where syncfs does not say whether it did all.
    is_honest: bool,
    /// What of the page cache is not on any device yet.
    dirty_bytes: fn() -> io::Result<u64>,
    state: Mutex<State>,
    over: Condvar,
}

/// Rounds are numbered from 1.
#[derive(Default)]
struct State {
    begun: u64,
    is_running: bool,
    /// The last round that made all durable.
    done: u64,
    /// The last one that was left to fsync.
    left: u64,
    /// After an error there are no more rounds: a later one would not tell of it again.
    has_failed: bool,
}

impl Rounds {
    /// Takes note of a directory before anything is written in it.
    pub fn begin(&self, device: u64, root: &Arc<OwnedFd>) {
        let mut filesystems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if filesystems.iter().all(|known| known.device != device) {
            // Where that cannot be found out, fsync is never wrong.
            let is_honest = fs::syncs_whole(root).unwrap_or(false);
            filesystems.push(Arc::new(Filesystem::new(device, Arc::clone(root), is_honest, dirty_bytes)));
        }
    }

    /// Blocks until all that was written to a filesystem before the call is durable; false if the caller has to see to that itself.
    pub fn sync(&self, device: u64) -> bool {
        let filesystems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let filesystem = filesystems.iter().find(|known| known.device == device && known.is_honest).map(Arc::clone);
        drop(filesystems);
        filesystem.is_some_and(|filesystem| filesystem.sync())
    }
}

impl Filesystem {
    fn new(device: u64, root: Arc<OwnedFd>, is_honest: bool, dirty_bytes: fn() -> io::Result<u64>) -> Self {
        Self { device, root, is_honest, dirty_bytes, state: Mutex::default(), over: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync(&self) -> bool {
        let mut state = self.lock();
        // The present one may have passed by what was written a moment ago.
        let mine = state.begun + 1;
        loop {
            if state.done >= mine {
                return true;
            }
            if state.left >= mine || state.has_failed {
                return false;
            }
            if state.is_running {
                state = self.over.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_running = true;
            state.begun += 1;
            let round = state.begun;
            drop(state);
            let synced = self.sync_now();
            state = self.lock();
            state.is_running = false;
            match synced {
                Ok(true) => state.done = round,
                Ok(false) => state.left = round,
                // Whose error it is, fsync tells.
                Err(_) => state.has_failed = true,
            }
            self.over.notify_all();
        }
    }

    /// One round; false if others have much to write.
    fn sync_now(&self) -> io::Result<bool> {
        if (self.dirty_bytes)()? > DIRTY_BYTES_MAX {
            return Ok(false);
        }
        syncfs(&*self.root)?;
        Ok(true)
    }
}

/// How much of the page cache is not on any device yet, see proc_meminfo(5).
fn dirty_bytes() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.strip_suffix("kB"));
        line.and_then(|line| line.trim().parse::<u64>().ok()).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    };
    Ok((kib("Dirty")? + kib("Writeback")?) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filesystem(dirty_bytes: fn() -> io::Result<u64>) -> (tempfile::TempDir, Filesystem) {
        let folder = tempfile::tempdir().unwrap();
        let root: OwnedFd = std::fs::File::open(folder.path()).unwrap().into();
        (folder, Filesystem::new(0, Arc::new(root), true, dirty_bytes))
    }

    #[test]
    fn a_round_that_was_under_way_is_not_enough() {
        let (_folder, filesystem) = filesystem(|| Ok(0));
        *filesystem.lock() = State { begun: 7, is_running: true, done: 6, ..State::default() };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| filesystem.sync())).collect();
            std::thread::sleep(std::time::Duration::from_millis(20));
            assert!(all.iter().all(|one| !one.is_finished()), "they wait for it");
            {
                let mut state = filesystem.lock();
                (state.is_running, state.done) = (false, 7);
            }
            filesystem.over.notify_all();
            assert!(all.into_iter().all(|one| one.join().unwrap()));
        });
        let state = filesystem.lock();
        assert!(state.done >= 8 && state.begun == state.done && !state.is_running, "and for one of their own");
    }

    #[test]
    fn whoever_waited_for_nothing_is_told_so() {
        let (_folder, filesystem) = filesystem(|| Ok(DIRTY_BYTES_MAX + 1));
        assert!(!filesystem.sync() && !filesystem.sync());
        let State { begun, left, has_failed, .. } = *filesystem.lock();
        assert_eq!(
            (begun, left, has_failed),
            (2, 2, false),
            "others have much to write, which may be over the next time"
        );
    }

    #[test]
    fn after_an_error_there_are_no_more_rounds() {
        let (_folder, filesystem) = filesystem(|| Err(io::Error::from_raw_os_error(libc::EIO)));
        assert!(!filesystem.sync() && !filesystem.sync());
        assert_eq!(filesystem.lock().begun, 1);
    }

    #[test]
    fn the_system_says_how_much_is_dirty() {
        assert!(dirty_bytes().unwrap() < 1 << 50);
    }
}
