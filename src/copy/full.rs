//! Whether the destination takes anything more. A file that does not fit stops no other one, which
//! may be smaller. When even the least does not fit, a file is tried only where its filesystem has
//! room, until one fits again.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::fs;

/// Files that do not fit, one after the other, until the filesystem is asked first.
const FAILURES_MAX: u64 = 16;
/// What the least file takes: a block.
const BLOCK_BYTES: u64 = 4096;
/// A filesystem with less room has none: it keeps some for itself.
const ROOM_BYTES_MIN: u64 = 16 * BLOCK_BYTES;

/// What failed for want of space.
#[derive(Debug, Default)]
pub struct Full {
    /// Files that needed little, or found no room at all, since the last one that fitted.
    failures: AtomicU64,
    /// Big files in the making.
    big: AtomicU64,
    is_full: AtomicBool,
}

/// A big file in the making: it holds space that it may give back.
pub struct BigInMaking<'a>(&'a Full);

impl Drop for BigInMaking<'_> {
    fn drop(&mut self) {
        self.0.big.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Full {
    /// A big file is begun.
    pub fn begin_big(&self) -> BigInMaking<'_> {
        // Relaxed, here and below: the numbers order nothing, and a judgement that comes a file
        // later is as good.
        self.big.fetch_add(1, Ordering::Relaxed);
        BigInMaking(self)
    }

    /// A file did not fit that needed so much, of so much that was left.
    pub fn add_failure(&self, needed_bytes: u64, left_bytes: u64) {
        let had_room = needed_bytes > BLOCK_BYTES && left_bytes >= ROOM_BYTES_MIN;
        // What a big file in the making holds may be given back.
        if had_room || self.big.load(Ordering::Relaxed) > 0 {
            return;
        }
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX {
            self.is_full.store(true, Ordering::Relaxed);
        }
    }

    /// A file did fit, and may have given back the space of the one that it replaced.
    pub fn add_success(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.is_full.store(false, Ordering::Relaxed);
        }
    }

    /// Whether a file that holds something need not be tried in this directory. What failed may
    /// have been in another filesystem, or have met a limit of its own.
    pub fn is_full(&self, dir: impl AsFd) -> bool {
        self.is_full.load(Ordering::Relaxed)
            && fs::free_bytes(dir).is_ok_and(|left_bytes| left_bytes < ROOM_BYTES_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_full(full: &Full) -> bool {
        full.is_full.load(Ordering::Relaxed)
    }

    #[test]
    fn what_does_not_fit_stops_nothing_that_may_fit() {
        let full = Full::default();
        // A large file that does not fit says nothing of small ones.
        (0..100).for_each(|_| full.add_failure(1 << 40, 1 << 30));
        assert!(!is_full(&full));
        // What a big file holds may come back.
        let big = full.begin_big();
        (0..100).for_each(|_| full.add_failure(1, 0));
        assert!(!is_full(&full));
        drop(big);
        for _ in 0..100 {
            (1..FAILURES_MAX).for_each(|_| full.add_failure(1, 0));
            full.add_success();
        }
        assert!(!is_full(&full));
        // Nothing but failures: of what needs nothing, as a name, and of what finds nothing.
        (1..FAILURES_MAX).for_each(|_| full.add_failure(0, 1 << 30));
        assert!(!is_full(&full));
        full.add_failure(1 << 20, 0);
        assert!(is_full(&full));
        // A filesystem with room is tried, and one that took a file, too.
        assert!(!full.is_full(std::fs::File::open(std::env::temp_dir()).unwrap()));
        full.add_success();
        assert!(!is_full(&full));
    }
}
