//! The threads that hash blocks: rayon's.

use std::error::Error;
use std::sync::OnceLock;

use crate::report::{Meter, Totals};

/// Has rayon's threads do something. The caller does it itself where they cannot be made, which
/// rayon would panic about, and `meter` counts.
pub fn spawn(meter: &Meter, work: impl FnOnce() + Send + 'static) {
    static HAS_THREADS: OnceLock<bool> = OnceLock::new();
    let make = || match rayon::ThreadPoolBuilder::new().build_global() {
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
