//! The threads that hash blocks: rayon's.

use std::error::Error;
use std::sync::OnceLock;

use super::budget::Budget;
use crate::report::{Meter, Totals};

/// Has rayon's threads do something. The caller does it itself where they cannot be made, which
/// rayon would panic about, and `meter` counts.
pub fn spawn(budget: Budget, meter: &Meter, work: impl FnOnce() + Send + 'static) {
    static HAS_THREADS: OnceLock<bool> = OnceLock::new();
    // 0 is as many as there are cores.
    let threads = || {
        let threads = budget.hashers(meter).unwrap_or(0);
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()
    };
    let make = || match threads() {
        Ok(()) => true,
        // That they are there has no further cause.
        Err(error) => error.source().is_none(),
    };
    if *HAS_THREADS.get_or_init(make) {
        rayon::spawn(work);
    } else {
        Totals::add(&meter.missing_threads, 1);
        work();
    }
}
