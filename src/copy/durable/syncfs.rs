//! Makes what many workers wrote durable at once: one syncfs(2) for all of it, instead of an
//! fsync(2) for each file.
//!
//! A worker that comes while a round is under way waits for the next, which covers what was written
//! before it began. One descriptor for each filesystem, open since before anything was written
//! there, hears of every error since then, though not in which file. After an error, and where a
//! round would make other programs write as well, each file is fsynced instead.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{StatVfsMountFlags, fstatvfs, fsync, syncfs};
use rustix::io::Errno;

use crate::fs;

/// With so much to be written in the whole system, some of it may be of others, who shall neither
/// be made to write it now nor be waited for. Files that are so large that the copy's own come to
/// as much gain little from a round.
const DIRTY_BYTES_MAX: u64 = 256 << 20;
/// Beyond so many filesystems, such as the subvolumes of a btrfs, each of which would hold a
/// descriptor, there is fsync.
const FILESYSTEMS_MAX: usize = 16;

/// The filesystems that are written to.
#[derive(Default)]
pub struct Filesystems(Mutex<Vec<Arc<Filesystem>>>);

struct Filesystem {
    device: u64,
    /// A directory on it, open since before anything was written there.
    root: Arc<OwnedFd>,
    /// A round; false if others have much to write.
    round: fn(&OwnedFd) -> io::Result<bool>,
    state: Mutex<RoundState>,
    over: Condvar,
}

/// Filesystems are numbered from 1.
#[derive(Default)]
struct RoundState {
    begun: u64,
    is_running: bool,
    /// The last round that made all durable.
    done: u64,
    /// The last one that was left to fsync.
    left: u64,
    /// After an error there are no more rounds: a later one would not tell of it again.
    has_failed: bool,
}

impl Filesystems {
    /// Takes note of a directory before anything is written in it.
    pub fn begin(&self, device: u64, root: &Arc<OwnedFd>) {
        let mut filesystems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = filesystems.len() < FILESYSTEMS_MAX
            && filesystems.iter().all(|known| known.device != device);
        // Where that cannot be found out, fsync is never wrong.
        if is_new && fs::syncs_whole(root).unwrap_or(false) {
            filesystems.push(Arc::new(Filesystem::new(device, Arc::clone(root), round)));
        }
    }

    /// Blocks until all that was written to a filesystem before the call is durable; false if the
    /// caller has to see to that itself. So it has after an error, which is told to one caller.
    pub fn sync(&self, device: u64) -> io::Result<bool> {
        let filesystems = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let filesystem = filesystems.iter().find(|known| known.device == device).map(Arc::clone);
        drop(filesystems);
        filesystem.map_or(Ok(false), |filesystem| filesystem.sync())
    }
}

impl Filesystem {
    fn new(device: u64, root: Arc<OwnedFd>, round: fn(&OwnedFd) -> io::Result<bool>) -> Self {
        Self { device, root, round, state: Mutex::default(), over: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, RoundState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync(&self) -> io::Result<bool> {
        let mut state = self.lock();
        // The present one may have passed by what was written a moment ago.
        let mine = state.begun + 1;
        loop {
            if state.done >= mine {
                return Ok(true);
            }
            if state.left >= mine || state.has_failed {
                return Ok(false);
            }
            if state.is_running {
                state = self.over.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_running = true;
            state.begun += 1;
            let number = state.begun;
            drop(state);
            let synced = (self.round)(&self.root);
            state = self.lock();
            state.is_running = false;
            self.over.notify_all();
            match synced {
                Ok(true) => state.done = number,
                Ok(false) => state.left = number,
                Err(cause) => {
                    state.has_failed = true;
                    return Err(cause);
                }
            }
        }
    }
}

/// One round; false if others have much to write.
fn round(root: &OwnedFd) -> io::Result<bool> {
    if dirty_bytes()? > DIRTY_BYTES_MAX {
        return Ok(false);
    }
    syncfs(root)?;
    // Without a journal ext4 empties the device's cache before it writes its inodes; this does so
    // after it. And it says so where the journal was given up.
    fsync(root)?;
    // syncfs does nothing on what was made read-only by an error.
    match fstatvfs(root)?.f_flag.contains(StatVfsMountFlags::RDONLY) {
        true => Err(Errno::ROFS.into()),
        false => Ok(true),
    }
}

/// How much of the page cache is not on any device yet, see proc_meminfo(5).
fn dirty_bytes() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/meminfo")?;
    let kib = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.strip_suffix("kB"));
        line.and_then(|line| line.trim().parse::<u64>().ok())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    };
    Ok((kib("Dirty")? + kib("Writeback")?) << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filesystem(round: fn(&OwnedFd) -> io::Result<bool>) -> Filesystem {
        let root: OwnedFd = std::fs::File::open("/").unwrap().into();
        Filesystem::new(0, Arc::new(root), round)
    }

    #[test]
    fn a_round_that_was_under_way_is_not_enough() {
        let filesystem = filesystem(|_| Ok(true));
        *filesystem.lock() =
            RoundState { begun: 7, is_running: true, done: 6, ..RoundState::default() };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..4).map(|_| scope.spawn(|| filesystem.sync().unwrap())).collect();
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
        assert!(
            state.done >= 8 && state.begun == state.done && !state.is_running,
            "and for one of their own"
        );
    }

    #[test]
    fn whoever_waited_for_nothing_is_told_so() {
        let filesystem = filesystem(|_| Ok(false));
        assert!(!filesystem.sync().unwrap() && !filesystem.sync().unwrap());
        let RoundState { begun, left, has_failed, .. } = *filesystem.lock();
        assert_eq!(
            (begun, left, has_failed),
            (2, 2, false),
            "others have much to write, which may be over the next time"
        );
    }

    #[test]
    fn after_an_error_which_is_told_once_there_are_no_more_rounds() {
        let filesystem = filesystem(|_| Err(Errno::IO.into()));
        assert!(filesystem.sync().is_err());
        assert!(!filesystem.sync().unwrap());
        assert_eq!(filesystem.lock().begun, 1);
    }

    #[test]
    fn the_system_says_how_much_is_dirty() {
        assert!(dirty_bytes().unwrap() < 1 << 50);
    }
}
