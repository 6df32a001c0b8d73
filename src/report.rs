//! What happened, as data. It knows no terminal: whoever runs a copy hands in a [`Sink`] and gets events.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::digest::Hash;
use crate::error::Error;

/// How one side of a file was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With `O_DIRECT`, past the page cache.
    Direct,
    /// Through the page cache, and why.
    Buffered(&'static str),
}

/// The road that a file's data took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Road {
    /// The source's side.
    pub read: Way,
    /// The destination's side.
    pub write: Way,
}

impl Road {
    /// Both sides through the page cache for one reason.
    pub const fn buffered(reason: &'static str) -> Self {
        Self { read: Way::Buffered(reason), write: Way::Buffered(reason) }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Direct => f.write_str("direct"),
            Way::Buffered(reason) => write!(f, "buffered ({reason})"),
        }
    }
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.read == self.write {
            write!(f, "{}", self.read)
        } else {
            write!(f, "read {}, written {}", self.read, self.write)
        }
    }
}

/// A regular file that stands under its final name, durable unless syncing was given up.
#[derive(Debug)]
pub struct Copied {
    /// The source as the user would write it.
    pub source: PathBuf,
    /// The destination as the user would write it.
    pub target: PathBuf,
    /// The destination relative to the base that [`crate::copy::Operands`] found.
    pub relative: PathBuf,
    /// The file's size.
    pub size_bytes: u64,
    /// The BLAKE3 hash, if it was asked for.
    pub hash: Option<Hash>,
    /// How the data went.
    pub road: Road,
}

/// Something that happened. Events of different files come from different threads, in no order.
#[derive(Debug)]
pub enum Event {
    /// A file is done.
    Copied(Copied),
    /// Something was not copied, or not with all its metadata.
    Failed(Error),
    /// Kernel AIO is not to be had, for this reason; threads do its work.
    NoKernelAio(String),
}

/// Where events go. Called from many threads, also while locks of the copy are not held; it may block the caller.
pub trait Sink: Sync {
    /// Takes one event.
    fn event(&self, event: Event);
    /// Whether [`Event::Copied`] is wanted; a copy saves itself the paths if not.
    fn wants_files(&self) -> bool;
}

/// Sums of a run, which anyone may read while it goes on.
#[derive(Debug, Default)]
pub struct Totals {
    /// Regular files under their final names.
    pub files: AtomicU64,
    /// Directories made or merged into.
    pub directories: AtomicU64,
    /// Symbolic links made.
    pub links: AtomicU64,
    /// Bytes written.
    pub written_bytes: AtomicU64,
    /// Bytes that are holes in the destination.
    pub hole_bytes: AtomicU64,
    /// Files whose destination was written direct.
    pub direct_files: AtomicU64,
    /// Failures reported.
    pub failed: AtomicU64,
}

impl Totals {
    /// Adds to one of the sums.
    pub fn add(sum: &AtomicU64, count: u64) {
        // Relaxed: the sums order nothing, and the last reading comes after the threads were joined.
        sum.fetch_add(count, Ordering::Relaxed);
    }

    /// Reads one of the sums.
    pub fn get(sum: &AtomicU64) -> u64 {
        sum.load(Ordering::Relaxed)
    }
}
