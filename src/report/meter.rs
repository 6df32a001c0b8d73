//! Counters that run while data moves, for any observer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the movers of data count as they go, also of files that fail later. Reading it orders
/// nothing.
#[derive(Debug, Default)]
pub struct Meter {
    /// Bytes read, from sources and in verification.
    pub read_bytes: AtomicU64,
    /// Bytes that writes have answered for. They are not durable yet.
    pub written_bytes: AtomicU64,
    /// Of the bytes of files that were found: those that are over, be they written, holes, cloned,
    /// compared or given up.
    pub handled_bytes: AtomicU64,
    /// Of the handled ones, those of big files that an earlier run had copied in part.
    pub kept_bytes: AtomicU64,
    /// Bytes of such parts that are being read back to see whether they can be kept.
    pub checking_bytes: AtomicU64,
    /// Bytes that were read back, or of a destination that is compared.
    pub proved_bytes: AtomicU64,
    /// Blocks of big files that are being read or written at the moment.
    pub blocks_in_flight: AtomicU64,
    /// Threads that could not be made, so that others do their work.
    pub missing_threads: AtomicU64,
    /// Threads and buffers that a limit of memory has made fewer.
    pub missing_memory: AtomicU64,
    latencies: OnceLock<Box<Latencies>>,
}

/// How long single reads and writes took.
#[derive(Debug, Default)]
pub struct Latencies {
    /// Reads: of blocks from their queueing to their completion, of small files each pread(2), or
    /// all that are read together until the last has come.
    pub reads: Histogram,
    /// Writes: of blocks in the same way, of small files each pwrite(2).
    pub writes: Histogram,
}

impl Meter {
    /// Has times taken from now on. Without this call the clock is not read.
    pub fn take_times(&self) {
        self.latencies.get_or_init(Box::default);
    }

    /// The times, if they are taken.
    pub fn latencies(&self) -> Option<&Latencies> {
        self.latencies.get().map(|latencies| &**latencies)
    }

    /// Now, if times are taken.
    pub fn start(&self) -> Option<Instant> {
        self.latencies().map(|_| Instant::now())
    }

    /// A read that began at `start` brought `bytes`.
    pub fn read(&self, bytes: u64, start: Option<Instant>) {
        // Relaxed, here and below: the counters order nothing.
        self.read_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.record(start, |latencies| &latencies.reads);
    }

    /// A write that began at `start` took `bytes`.
    pub fn wrote(&self, bytes: u64, start: Option<Instant>) {
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.record(start, |latencies| &latencies.writes);
    }

    fn record(&self, start: Option<Instant>, which: impl FnOnce(&Latencies) -> &Histogram) {
        if let (Some(latencies), Some(start)) = (self.latencies(), start) {
            which(latencies).record(start.elapsed());
        }
    }
}

/// A histogram of durations with 16 steps to each power of two, so that what it tells is at most a
/// sixteenth too long.
#[derive(Debug)]
pub struct Histogram(Box<[AtomicU64]>);

/// Of nanoseconds in 64 bits: 16 single ones, and 16 steps for each of the 60 powers from 2⁴ to
/// 2⁶³.
const STEPS: usize = 16 * 61;

impl Default for Histogram {
    fn default() -> Self {
        Self((0..STEPS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Histogram {
    /// Adds a duration.
    pub fn record(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.0[step(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.0.iter().map(|step| step.load(Ordering::Relaxed)).sum()
    }

    /// The duration that this share of them, 0 to 1, does not exceed; nothing if there are none.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        let wanted = ((count as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let found = self.0.iter().position(|step| {
            seen += step.load(Ordering::Relaxed);
            seen >= wanted
        });
        found.filter(|_| count > 0).map(|step| Duration::from_nanos(longest(step)))
    }
}

/// Where a duration is counted. 100 ns is 0b1100100: power 6, and 0b1001 after its first bit, so
/// step 16 × 3 + 9 = 57.
fn step(nanos: u64) -> usize {
    match nanos.checked_ilog2() {
        Some(power @ 4..) => 16 * (power as usize - 3) + (nanos >> (power - 4) & 15) as usize,
        _ => nanos as usize,
    }
}

/// The longest duration of a step, in nanoseconds.
fn longest(step: usize) -> u64 {
    match step / 16 {
        0 => step as u64,
        group => {
            let first = (16 + step as u64 % 16) << (group - 1);
            first + ((1 << (group - 1)) - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_has_a_step_that_is_close_to_it() {
        for nanos in (0..10_000).chain([1 << 40, (1 << 40) + 1, u64::MAX - 1, u64::MAX]) {
            let longest = longest(step(nanos));
            assert!(
                longest >= nanos && longest - nanos <= nanos / 16,
                "{nanos} is told as {longest}"
            );
            assert!(step(nanos) < STEPS);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        let mut all: Vec<u64> = (0..1000).map(|n| n * n * 17 + n).collect();
        all.iter().for_each(|&nanos| histogram.record(Duration::from_nanos(nanos)));
        all.sort_unstable();
        for share in [0.001, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = all[(1000.0 * share) as usize - 1] as f64;
            let told = histogram.quantile(share).unwrap().as_nanos() as f64;
            assert!((exact..=exact * 17.0 / 16.0).contains(&told), "{share}: {told} for {exact}");
        }
        assert_eq!(histogram.count(), 1000);
    }
}
