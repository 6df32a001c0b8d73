//! What may be had of the memory that a limit leaves: so much of it for threads and buffers that
//! something stays for everything else.

use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use super::sizes::TOGETHER_BYTES;
use crate::fs;
use crate::report::{Meter, Totals};

/// The addresses that a thread takes: its stack and what it allocates at once.
const THREAD_BYTES: u64 = 3 << 20;

/// What the process may still take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// The memory; none where nothing limits it.
    left_bytes: Option<u64>,
    /// The threads that hash, if their number was asked for.
    hashers: Option<NonZeroUsize>,
}

impl Budget {
    /// What limits of the process and of its cgroup leave. Reads a few files of `/proc` and `/sys`.
    pub fn of_process() -> Self {
        Self { left_bytes: fs::memory_left_bytes(), hashers: None }
    }

    /// That of each of several pipelines.
    pub fn shared_by(self, pipelines: u64) -> Self {
        Self { left_bytes: self.left_bytes.map(|left| left / pipelines), ..self }
    }

    /// With so many threads that hash, if there is memory for them.
    pub fn with_hashers(self, hashers: Option<NonZeroUsize>) -> Self {
        Self { hashers, ..self }
    }

    /// Workers: a quarter is for them.
    pub fn workers(self, wanted: usize, meter: &Meter) -> usize {
        self.part(4, THREAD_BYTES, wanted, meter).max(1)
    }

    /// Blocks of big files: a quarter.
    pub fn blocks(self, wanted: usize, block_bytes: usize, meter: &Meter) -> usize {
        self.part(4, block_bytes as u64, wanted, meter).max(1)
    }

    /// Turns of reading small files together: an eighth, or none.
    pub fn turns(self, wanted: usize, meter: &Meter) -> usize {
        self.part(8, TOGETHER_BYTES as u64, wanted, meter)
    }

    /// Threads that carry out operations: a sixteenth.
    pub fn io_threads(self, wanted: usize, meter: &Meter) -> usize {
        self.part(16, THREAD_BYTES, wanted, meter).max(1)
    }

    /// Threads that hash: a sixteenth. Nothing where they may be as many as there are cores.
    pub fn hashers(self, meter: &Meter) -> Option<usize> {
        let cores = available_parallelism().map_or(1, usize::from);
        let wanted = self.hashers.map_or(cores, usize::from);
        let hashers = self.part(16, THREAD_BYTES, wanted, meter).max(1);
        (self.hashers.is_some() || hashers < cores).then_some(hashers)
    }

    /// As many as fit into the `divisor`th part, and no more than are wanted.
    fn part(self, divisor: u64, each_bytes: u64, wanted: usize, meter: &Meter) -> usize {
        let fitting = self.left_bytes.map_or(u64::MAX, |left| left / divisor / each_bytes);
        let fitting = usize::try_from(fitting).unwrap_or(usize::MAX);
        Totals::add(&meter.missing_memory, (fitting < wanted).into());
        fitting.min(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_had_fits_and_leaves_a_quarter() {
        const MIB: u64 = 1 << 20;
        const BLOCK_BYTES: u64 = 1 << 20;
        let meter = Meter::default();
        let cores = available_parallelism().map_or(1, usize::from);
        for left in (0..4096).map(|n| n * MIB / 4) {
            let budget = Budget { left_bytes: Some(left), hashers: None };
            let hashers = budget.hashers(&meter).unwrap_or(cores);
            // What the work cannot do without is had whatever is left.
            let parts = [
                (budget.workers(500, &meter), THREAD_BYTES, 4, 1),
                (budget.blocks(4096, BLOCK_BYTES as usize, &meter), BLOCK_BYTES, 4, 1),
                (budget.turns(64, &meter), TOGETHER_BYTES as u64, 8, 0),
                (budget.io_threads(500, &meter), THREAD_BYTES, 16, 1),
                (hashers, THREAD_BYTES, 16, 1),
            ];
            for (count, each_bytes, divisor, least) in parts {
                let fits = count as u64 * each_bytes <= left / divisor;
                assert!(count == least || (count > least && fits), "{left}: {parts:?}");
            }
            let shares: f64 = parts.iter().map(|&(_, _, divisor, _)| 1.0 / divisor as f64).sum();
            assert!(shares <= 0.75, "{shares}");
        }
        assert!(Totals::get(&meter.missing_memory) > 0);
    }

    #[test]
    fn without_a_limit_everything_is_had() {
        let (meter, budget) = (Meter::default(), Budget::default().shared_by(2));
        assert_eq!(budget.workers(500, &meter), 500);
        assert_eq!(budget.blocks(4096, 64 << 20, &meter), 4096);
        assert_eq!(budget.turns(64, &meter), 64);
        assert_eq!(budget.hashers(&meter), None);
        assert_eq!(budget.with_hashers(NonZeroUsize::new(70)).hashers(&meter), Some(70));
        assert_eq!(Totals::get(&meter.missing_memory), 0);
    }
}
