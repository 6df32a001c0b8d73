//! What a page is made from.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::fs::Mount;
use crate::report::{Latencies, Route, Sample, Totals};

/// All that a page says of a run.
pub struct Page<'a> {
    /// The command line as it was given.
    pub command: String,
    /// The machine and its kernel.
    pub host: String,
    /// What the run read from and wrote to.
    pub places: &'a [Place],
    /// The version of the program, in lines.
    pub version: &'a str,
    /// What the run was to do.
    pub deed: Deed,
    /// When it began.
    pub begun: SystemTime,
    /// How long it took.
    pub elapsed: Duration,
    /// How it ended.
    pub exit_code: u8,
    /// Its counters.
    pub totals: &'a Totals,
    /// Samples of the counters, the last one from the end of the run.
    pub samples: &'a [Sample],
    /// How long reads and writes took, if times were taken.
    pub latencies: Option<&'a Latencies>,
    /// The slowest files, the slowest first.
    pub slowest: &'a [Slow],
    /// The first failures, a line each.
    pub failures: &'a [String],
    /// The number of all failures.
    pub failed: u64,
}

/// What the run was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Copy.
    Copy {
        /// And wait until the copy is durable.
        durable: bool,
    },
    /// Compare what is there already.
    Compare,
    /// Say what it would do.
    Plan,
}

/// An operand, and what it is on.
#[derive(Clone, Debug)]
pub struct Place {
    /// What it is to the run: "from" or "to".
    pub part: &'static str,
    /// Its path as it was given.
    pub path: PathBuf,
    /// The filesystem, if that is known.
    pub mount: Option<Mount>,
}

/// A file that took long.
#[derive(Clone)]
pub struct Slow {
    /// Its path in the destination.
    pub path: PathBuf,
    /// Its size.
    pub size_bytes: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// How it was copied.
    pub route: Route,
}
