//! Makes what many workers wrote durable at once: one syncfs(2) for all of it, instead of an
//! fsync(2) for each file.
//!
//! A worker that comes while a round is under way waits for the next, which covers what was written
//! before it began. One descriptor for each filesystem, open since before anything was written
//! there, hears of every error since then, though not in which file. After an error, and where a
//! round would make other programs write as well, each file is fsynced instead.
//!
//! Where the answer of syncfs proves nothing, each file is fsynced in any case. A round before that
//! has the data written at once, so that the fsyncs find little to do.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::fs::call::{StatVfsMountFlags, fstatvfs, fsync, syncfs};
use rustix::io::Errno;

use crate::fs::{self, Journal};
use crate::tree::OpenDir;

/// With so much to be written in the whole system, some of it may be of others, who shall neither
/// be made to write it now nor be waited for. Files that are so large that the copy's own come to
/// as much gain little from a round.
const DIRTY_BYTES_MAX: u64 = 256 << 20;
/// Beyond so many filesystems, such as the subvolumes of a btrfs, each of which would hold a
/// descriptor, there is fsync.
const FILESYSTEMS_MAX: usize = 16;

/// The filesystems that are written to.
#[derive(Default)]
pub struct Filesystems {
    known: Mutex<Vec<Arc<Filesystem>>>,
    /// Whether one of them keeps less than [`Journal::Ordered`].
    any_unordered: AtomicBool,
}

/// One filesystem.
pub struct Filesystem {
    device: u64,
    pub journal: Journal,
    /// The first directory entered there.
    pub path: PathBuf,
    /// That directory, open since before anything was written there; nothing where there are too
    /// many filesystems.
    root: Option<Arc<OwnedFd>>,
    worth: Worth,
    /// A round; false if others have much to write.
    round: fn(&OwnedFd) -> io::Result<bool>,
    state: Mutex<RoundState>,
    over: Condvar,
    /// Whether something was made there that only a sync of the whole filesystem keeps.
    pub is_owed: AtomicBool,
}

/// What a round is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    /// What it covered is durable.
    Proof,
    /// What it covered is written, and fsync proves it.
    Speed,
    /// There are no rounds.
    Nothing,
}

/// Rounds are numbered from 1.
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
    pub fn begin(&self, dir: &OpenDir) {
        let device = dir.devices().target;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.iter().any(|known| known.device == device) {
            return;
        }
        let journal = Journal::of(&dir.target);
        if journal != Journal::Ordered {
            self.any_unordered.store(true, Ordering::Release);
        }
        // A folder that may not be listed is open as a place alone, which syncs nothing.
        let has_room = known.len() < FILESYSTEMS_MAX;
        let can_sync = has_room && !fs::is_path_only(&dir.target).unwrap_or(true);
        let root = can_sync.then(|| Arc::clone(&dir.target));
        let (worth, round): (_, fn(&OwnedFd) -> _) = match &root {
            // Where that cannot be found out, fsync is never wrong.
            Some(root) if fs::syncs_whole(root).unwrap_or(false) => (Worth::Proof, round),
            Some(_) if !journal.keeps_new_names() => (Worth::Speed, round_ahead),
            _ => (Worth::Nothing, round),
        };
        let path = dir.target_path(OsStr::new(""));
        let filesystem =
            Filesystem { path, root, worth, ..Filesystem::new(device, journal, round) };
        known.push(Arc::new(filesystem));
    }

    /// Whether there is one that keeps less than [`Journal::Ordered`].
    pub fn any_unordered(&self) -> bool {
        self.any_unordered.load(Ordering::Acquire)
    }

    /// The one on a device.
    pub fn find(&self, device: u64) -> Option<Arc<Filesystem>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|known| known.device == device).map(Arc::clone)
    }

    /// An earlier run may have made something on a device, and was killed before it synced the
    /// whole filesystem. Where that is needed, this run does it in its place.
    pub fn owe_what_was_made(&self, device: u64) {
        let found = self.find(device);
        let unordered = found.filter(|filesystem| filesystem.journal != Journal::Ordered);
        unordered.iter().for_each(|filesystem| filesystem.is_owed.store(true, Ordering::Release));
    }

    /// Those that are to be synced as a whole.
    pub fn take_owed(&self) -> Vec<Arc<Filesystem>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_owed = |known: &&Arc<Filesystem>| known.is_owed.swap(false, Ordering::AcqRel);
        known.iter().filter(is_owed).map(Arc::clone).collect()
    }

    /// Blocks until all that was written to a filesystem before the call is durable; false if the
    /// caller has to see to that itself. So it has after an error, which is told to one caller.
    pub fn sync(&self, device: u64) -> io::Result<bool> {
        self.find(device).map_or(Ok(false), |filesystem| filesystem.sync())
    }
}

impl Filesystem {
    fn new(device: u64, journal: Journal, round: fn(&OwnedFd) -> io::Result<bool>) -> Self {
        Self {
            device,
            journal,
            path: PathBuf::new(),
            root: None,
            worth: Worth::Nothing,
            round,
            state: Mutex::default(),
            over: Condvar::new(),
            is_owed: AtomicBool::new(false),
        }
    }

    /// Makes all that is there durable, whatever others have to write: nothing else keeps links and
    /// special files, and names without a journal.
    pub fn sync_whole(&self) -> io::Result<()> {
        let Some(root) = &self.root else {
            crate::fs::call::sync();
            return Ok(());
        };
        fs::sync_filesystem(root)?;
        empty_cache(root).map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, RoundState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync(&self) -> io::Result<bool> {
        let Some(root) = self.root.as_ref().filter(|_| self.worth != Worth::Nothing) else {
            return Ok(false);
        };
        let mut state = self.lock();
        // The present one may have passed by what was written a moment ago.
        let mine = state.begun + 1;
        loop {
            if state.done >= mine {
                return Ok(self.worth == Worth::Proof);
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
            let synced = (self.round)(root);
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

/// One round; false if others have much to write, or if it proves nothing.
fn round(root: &OwnedFd) -> io::Result<bool> {
    Ok(round_ahead(root)? && empty_cache(root)?)
}

/// A round that has data written and proves nothing; false if others have much to write, or if it
/// cannot be had.
fn round_ahead(root: &OwnedFd) -> io::Result<bool> {
    // Without /proc nothing is known of others.
    if dirty_bytes().map_or(true, |bytes| bytes > DIRTY_BYTES_MAX) {
        return Ok(false);
    }
    match syncfs(root).map_err(io::Error::from) {
        Err(cause) if fs::is_unavailable(&cause) => Ok(false),
        synced => synced.map(|()| true),
    }
}

/// Ends a syncfs. Without a journal ext4 empties the device's cache before it writes its inodes;
/// this does so after it. And it says so where the journal was given up. False if that cannot be
/// known.
fn empty_cache(root: &OwnedFd) -> io::Result<bool> {
    let is_emptied = match fsync(root).map_err(io::Error::from) {
        // EINVAL: a filesystem on which directories cannot be synced, see fsync(2).
        Err(cause) if fs::is_unavailable(&cause) => cause.raw_os_error() == Some(libc::EINVAL),
        synced => synced.map(|()| true)?,
    };
    // syncfs does nothing on what was made read-only by an error.
    match fstatvfs(root) {
        Ok(stat) if stat.f_flag.contains(StatVfsMountFlags::RDONLY) => Err(Errno::ROFS.into()),
        Ok(_) => Ok(is_emptied),
        Err(_) => Ok(false),
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
        let (root, worth) = (Some(Arc::new(root)), Worth::Proof);
        Filesystem { root, worth, ..Filesystem::new(0, Journal::Ordered, round) }
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
    fn what_was_only_written_is_not_durable() {
        let filesystem = Filesystem { worth: Worth::Speed, ..filesystem(|_| Ok(true)) };
        assert!(!filesystem.sync().unwrap());
        assert_eq!(filesystem.lock().done, 1);
        let filesystem = Filesystem { worth: Worth::Nothing, ..filesystem };
        assert!(!filesystem.sync().unwrap());
        assert_eq!(filesystem.lock().done, 1, "there was no round");
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
