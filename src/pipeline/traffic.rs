//! What all movers of data share: what they count, and how fast they may read.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::report::Meter;

/// What is counted, and the rate that is kept to.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Readers and writers count here.
    pub meter: Arc<Meter>,
    /// Readers take turns here, if there is a limit.
    pub pace: Option<Arc<Pace>>,
}

/// Bytes a second that all readers share. What is not used is not saved up for later.
#[derive(Debug)]
pub struct Pace {
    bytes_per_s: NonZeroU64,
    /// When the next reader may read.
    next: Mutex<Instant>,
}

impl Pace {
    /// A limit of which nothing is used yet.
    pub fn new(bytes_per_s: NonZeroU64) -> Self {
        Self { bytes_per_s, next: Mutex::new(Instant::now()) }
    }

    /// Takes a turn for `bytes`, and says when that is. Never blocks. At 1 MiB a second, the first
    /// reader of 256 KiB may read at once, and the next one in a quarter of a second.
    pub fn turn(&self, bytes: u64) -> Instant {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = (*next).max(Instant::now());
        *next = turn + Duration::from_secs_f64(bytes as f64 / self.bytes_per_s.get() as f64);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_as_far_apart_as_their_bytes_take() {
        let pace = Pace::new(NonZeroU64::new(1 << 20).unwrap());
        let begun = Instant::now();
        let turns = [1 << 18, 1 << 20, 1].map(|bytes| pace.turn(bytes));
        assert!(turns[0] <= Instant::now(), "the first one is at once");
        assert_eq!(turns[1] - turns[0], Duration::from_millis(250));
        assert_eq!(turns[2] - turns[1], Duration::from_secs(1));
        assert!(turns[0] >= begun);
    }

    #[test]
    fn what_is_not_used_is_not_saved_up() {
        let pace = Pace::new(NonZeroU64::new(1 << 20).unwrap());
        pace.turn(1);
        std::thread::sleep(Duration::from_millis(20));
        let turn = pace.turn(1 << 10);
        assert!(pace.turn(1) - turn == Duration::from_secs_f64(1.0 / 1024.0));
    }
}
