//! What happened, as data. It knows no terminal: the caller of a copy hands in a [`Sink`] and gets
//! events.

mod current;
mod meter;
mod series;

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub use current::{Current, CurrentFile, FileProgress, Look};
pub use meter::{Histogram, Latencies, Meter};
pub use series::{Sample, Series};

use crate::digest::Hash;
use crate::error::{Error, quoted, shown};

/// How one side of a file was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With `O_DIRECT`, past the page cache.
    Direct,
    /// Through the page cache, and why.
    Buffered(&'static str),
    /// Not at all: the filesystem lets both files share the data.
    Cloned,
    /// Not at all: the file is one more name of a copy that is there already.
    Linked,
    /// Not at all: the run only says what it would do.
    Planned,
    /// Not at all: an earlier run did it.
    Earlier,
}

/// The route that a file's data took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The source's side.
    pub read: Way,
    /// The destination's side.
    pub write: Way,
}

impl Route {
    /// Cloned.
    pub const CLONED: Self = Self { read: Way::Cloned, write: Way::Cloned };

    /// One more name of a copy.
    pub const LINKED: Self = Self { read: Way::Linked, write: Way::Linked };

    /// Nothing was done.
    pub const PLANNED: Self = Self { read: Way::Planned, write: Way::Planned };
    /// A copy that an earlier run finished.
    pub const EARLIER: Self = Self { read: Way::Earlier, write: Way::Earlier };

    /// Both sides through the page cache for one reason.
    pub const fn buffered(reason: &'static str) -> Self {
        Self { read: Way::Buffered(reason), write: Way::Buffered(reason) }
    }
}

impl Way {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Buffered(_) => "buffered",
            Self::Cloned => "cloned",
            Self::Linked => "linked",
            Self::Planned => "planned",
            Self::Earlier => "earlier",
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Buffered(reason) => write!(f, "buffered ({reason})"),
            Self::Earlier => f.write_str("finished earlier"),
            other => f.write_str(other.name()),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.read == self.write {
            write!(f, "{}", self.read)
        } else {
            write!(f, "read {}, written {}", self.read, self.write)
        }
    }
}

/// Where a copy was read back from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// From the device, with `O_DIRECT`.
    Direct,
    /// From the device, through the page cache that held nothing of it; and why not direct.
    Dropped(&'static str),
    /// From memory, as far as can be seen; and why not direct.
    Memory(&'static str),
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("verified direct"),
            Self::Dropped(reason) => write!(f, "verified with an emptied page cache ({reason})"),
            Self::Memory(reason) => write!(f, "verified from memory ({reason})"),
        }
    }
}

/// Something that is in the copy otherwise than in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where in the destination, as the user would write it.
    pub path: PathBuf,
    /// What.
    pub what: What,
    /// Whether it was set right.
    pub mended: bool,
}

/// In what a copy differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Bytes from the start of the range to just before its end, as exact as the blocks that were
    /// compared.
    Bytes(Range<u64>),
    /// Nothing stands there.
    Missing,
    /// Nothing stands in the source.
    Extra,
    /// It is of another kind than the source: a file, a directory and so on.
    Kind {
        /// Its kind.
        is: &'static str,
        /// The source's.
        was: &'static str,
    },
    /// It is a symbolic link that leads elsewhere.
    Link {
        /// Where it leads.
        to: PathBuf,
        /// Where the source leads.
        source: PathBuf,
    },
    /// It is another device.
    Device,
}

/// One line, which begins with the path.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", shown(&self.path))?;
        match (&self.what, self.mended) {
            (What::Bytes(Range { start, end }), false) => write!(f, "{start}..{end} differs"),
            (What::Bytes(Range { start, end }), true) => {
                write!(f, "{start}..{end} differed, written again")
            }
            (What::Missing, false) => f.write_str("missing"),
            (What::Missing, true) => f.write_str("missing, copied"),
            (What::Extra, _) => f.write_str("extra"),
            (What::Kind { is, was }, _) => write!(f, "is a {is}, was a {was}"),
            (What::Link { to, source }, _) => {
                write!(f, "leads to {}, not to {}", quoted(to), quoted(source))
            }
            (What::Device, _) => f.write_str("is another device"),
        }
    }
}

/// A regular file that stands under its final name, durable unless syncing was given up; or in a
/// dry run one that would.
#[derive(Debug)]
pub struct Copied {
    /// The source as the user would write it.
    pub source: PathBuf,
    /// The destination as the user would write it.
    pub target: PathBuf,
    /// Whether something stood under the name.
    pub replaced: bool,
    /// Whether that is still the file, which was written into.
    pub in_place: bool,
    /// What the file that it replaced is called now, if a backup was asked for.
    pub backup: Option<PathBuf>,
    /// The destination relative to the base that [`crate::copy::Operands`] found.
    pub relative: PathBuf,
    /// The file's size.
    pub size_bytes: u64,
    /// The BLAKE3 hash, if it was asked for.
    pub hash: Option<Hash>,
    /// How the data went.
    pub route: Route,
    /// Where the copy was read back from, if it was.
    pub proof: Option<Proof>,
    /// From the beginning of the copy to its name; small files of one batch wait until all are
    /// durable. Zero if nothing was moved.
    pub elapsed: Duration,
    /// Of that what it only waited for the other files of its batch.
    pub waited: Duration,
}

/// Something other than the copy of a regular file that stands under its final name, or in a dry
/// run would.
#[derive(Debug)]
pub struct Made {
    /// What it is: `"directory"`, `"symbolic link"`, `"hard link"` (to the source), `"FIFO"` and so
    /// on, or `"attributes"` alone.
    pub kind: &'static str,
    /// The source as the user would write it.
    pub source: PathBuf,
    /// The destination as the user would write it.
    pub target: PathBuf,
    /// Whether something stood under the name.
    pub replaced: bool,
    /// What it replaced is called this now, if a backup was asked for.
    pub backup: Option<PathBuf>,
}

/// Why something was left alone, which is no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It exists, and existing files stay.
    Exists,
    /// It is not older than the source, and only older ones are replaced.
    NotOlder,
    /// The answer was no.
    Declined,
    /// It is the source already.
    SameFile,
    /// An operand named this source before.
    NamedTwice,
    /// It is a file that the user named, and a pattern excludes it.
    Excluded,
    /// It is a file that the user named, of another size than is copied.
    Size,
}

impl Skip {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Exists,
        Self::NotOlder,
        Self::Declined,
        Self::SameFile,
        Self::NamedTwice,
        Self::Excluded,
        Self::Size,
    ];

    /// Whether it is of a source, and says nothing about a destination.
    pub fn is_of_source(self) -> bool {
        matches!(self, Self::NamedTwice | Self::Excluded | Self::Size)
    }

    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exists => "exists",
            Self::NotOlder => "not_older",
            Self::Declined => "declined",
            Self::SameFile => "same_file",
            Self::NamedTwice => "named_twice",
            Self::Excluded => "excluded",
            Self::Size => "size",
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exists => "it exists",
            Self::NotOlder => "it is not older than the source",
            Self::Declined => "you answered no",
            Self::SameFile => "it is the source",
            Self::NamedTwice => "the source is named more than once",
            Self::Excluded => "excluded by a pattern of --exclude or --exclude-from",
            Self::Size => "excluded by --min-size or --max-size",
        })
    }
}

/// An option that changes nothing of what an earlier run made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unheeded {
    /// Holes are as they were made.
    Sparse,
    /// Data is shared or not, as it was made.
    Reflink,
    /// What was replaced has its backup or not.
    Backup,
    /// What was replaced gave the copy owner and rights, or did not.
    RemoveDestination,
    /// What stood there was written into, or replaced.
    InPlace,
}

impl Unheeded {
    /// Every one, in the order of [`Totals::unheeded`].
    pub const ALL: [Self; 5] =
        [Self::Sparse, Self::Reflink, Self::Backup, Self::RemoveDestination, Self::InPlace];

    /// The flag that says it.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Sparse => "--sparse",
            Self::Reflink => "--reflink",
            Self::Backup => "--backup",
            Self::RemoveDestination => "--remove-destination",
            Self::InPlace => "--inplace",
        }
    }
}

/// Something that happened. Events of different files come from different threads, in no order.
#[derive(Debug)]
pub enum Event {
    /// A file is done.
    Copied(Copied),
    /// A link or a directory was made. A directory that is merged into is no event.
    Made(Made),
    /// This destination, or [this source](Skip::is_of_source), is left alone.
    Skipped(PathBuf, Skip),
    /// Something was not copied, or not with all its metadata.
    Failed(Error),
    /// The destination's filesystem cannot hold a part of the metadata that was not demanded.
    Warning(Error),
    /// The copy is not what its source is, or was not.
    Differs(Difference),
    /// A file in the destination is what its source is; read from there.
    Same(PathBuf, Proof),
    /// Kernel AIO is not to be had, for this reason; threads do its work.
    NoKernelAio(String),
}

/// Where events go. Called from many threads, also while locks of the copy are not held; it may
/// block the caller.
pub trait Sink: Sync {
    /// Takes one event.
    fn event(&self, event: Event);
    /// Whether [`Event::Copied`] and [`Event::Made`] are wanted; a copy saves itself the paths if
    /// not.
    fn wants_files(&self) -> bool;
    /// Whether the file at `path` may be replaced. It may block until there is an answer, while
    /// other threads go on. `overridden_mode` is that of a file whose mode forbids writing. An
    /// error counts as a failure of the file.
    fn confirm(&self, _path: &Path, _overridden_mode: Option<u32>) -> io::Result<bool> {
        Ok(false)
    }
}

/// Sums of a run, which anyone may read while it goes on.
#[derive(Debug, Default)]
pub struct Totals {
    /// Regular files under their final names.
    pub files: AtomicU64,
    /// Directories made or merged into.
    pub directories: AtomicU64,
    /// Directories made.
    pub made_directories: AtomicU64,
    /// Symbolic links made.
    pub links: AtomicU64,
    /// What was left alone; see [`Skip`].
    pub skipped: AtomicU64,
    /// Further names given to files, links and special files that were copied under their first
    /// name.
    pub hard_links: AtomicU64,
    /// FIFOs, sockets and devices made.
    pub specials: AtomicU64,
    /// Files that stand, and got the attributes of their sources and nothing else.
    pub given_attributes: AtomicU64,
    /// Bytes that a dry run would copy.
    pub planned_bytes: AtomicU64,
    /// What an earlier run had finished.
    pub resumed: AtomicU64,
    /// Of that what is not as this run would make it, for each of [`Unheeded::ALL`].
    pub unheeded: [AtomicU64; 5],
    /// Bytes written.
    pub written_bytes: AtomicU64,
    /// Bytes that are holes in the destination.
    pub hole_bytes: AtomicU64,
    /// Bytes that were cloned, and neither written nor stored a second time.
    pub cloned_bytes: AtomicU64,
    /// Files whose destination was written direct.
    pub direct_files: AtomicU64,
    /// Bytes that were written direct.
    pub direct_bytes: AtomicU64,
    /// Files that were read back and are what was written.
    pub verified_files: AtomicU64,
    /// Of them those that were read back from memory, since there is nothing else or the filesystem
    /// does not let go of its pages.
    pub verified_from_memory: AtomicU64,
    /// Bytes written again because they differed.
    pub rewritten_bytes: AtomicU64,
    /// Differences reported and not mended.
    pub differences: AtomicU64,
    /// Failures reported.
    pub failed: AtomicU64,
    /// Entries that the walker handed out.
    pub listed: AtomicU64,
    /// Of them those that a worker has looked at, so that their bytes are found.
    pub met: AtomicU64,
    /// Whether the walker has come to its end.
    pub walked: AtomicBool,
    /// Bytes of the files that are to be copied, as far as they are known.
    pub found_bytes: AtomicU64,
    /// Those files.
    pub found_files: AtomicU64,
    /// Streams that are being read, of which no one knows how long they are.
    pub streams: AtomicU64,
    /// Bytes of files whose data is durable and that have their names. Without syncs there are
    /// none.
    pub durable_bytes: AtomicU64,
    /// Bytes of half-copied files that are durable and left for the next run.
    pub left_bytes: AtomicU64,
    /// Bytes of the files that did not fit into the destination.
    pub unfit_bytes: AtomicU64,
    /// Failures for want of space of which no one knows how much was wanted, as of a directory, or
    /// of one of several names.
    pub unfit_names: AtomicU64,
    /// What is counted while data moves.
    pub meter: Arc<Meter>,
    /// The files that are in hand.
    pub current: Current,
}

impl Totals {
    /// Every sum and its name, as programs read it.
    pub fn fields(&self) -> [(&'static str, &AtomicU64); 20] {
        [
            ("files", &self.files),
            ("direct_files", &self.direct_files),
            ("hard_links", &self.hard_links),
            ("directories", &self.directories),
            ("made_directories", &self.made_directories),
            ("links", &self.links),
            ("special_files", &self.specials),
            ("skipped", &self.skipped),
            ("finished_earlier", &self.resumed),
            ("planned_bytes", &self.planned_bytes),
            ("written_bytes", &self.written_bytes),
            ("direct_bytes", &self.direct_bytes),
            ("hole_bytes", &self.hole_bytes),
            ("cloned_bytes", &self.cloned_bytes),
            ("verified_files", &self.verified_files),
            ("verified_from_memory", &self.verified_from_memory),
            ("rewritten_bytes", &self.rewritten_bytes),
            ("differences", &self.differences),
            ("failed", &self.failed),
            ("given_attributes", &self.given_attributes),
        ]
    }

    /// Adds to one of the sums.
    pub fn add(sum: &AtomicU64, count: u64) {
        // Relaxed: the sums order nothing, and the last reading comes after the threads were
        // joined.
        sum.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes back what was added to one of the sums.
    pub fn take(sum: &AtomicU64, count: u64) {
        sum.fetch_sub(count, Ordering::Relaxed);
    }

    /// Reads one of the sums.
    pub fn get(sum: &AtomicU64) -> u64 {
        sum.load(Ordering::Relaxed)
    }
}
