//! What is told of a copy, and what is counted.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::entry::{At, Source};
use super::full::Full;
use super::options::Options;
use crate::digest::Hash;
use crate::error::{Cause, Error};
use crate::fs::Stat;
use crate::pipeline::Moved;
use crate::report::{
    Copied, Difference, Event, Made, Meter, Proof, Route, Sink, Skip, Totals, Way, What,
};
use crate::tree::{Dir, OpenDir, Rights};

/// Where a copy differs.
pub type Ranges = Vec<Range<u64>>;

/// Whether a difference that is told was set right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mended {
    Yes,
    No,
}

/// A copy that got its name.
pub struct Published {
    /// Something stood under it.
    pub replaced: bool,
    /// That was written into.
    pub in_place: bool,
    /// The other name of what it replaced.
    pub backup: Option<OsString>,
    /// What it answered then, asked of the file itself. Known where it is to be known again.
    pub stat: Option<Stat>,
}

/// What became of a regular file.
pub struct Outcome {
    pub size_bytes: u64,
    pub hash: Option<Hash>,
    pub route: Route,
    pub proof: Option<Proof>,
    pub elapsed: Duration,
    /// Of that what it only waited for others.
    pub waited: Duration,
}

impl Outcome {
    /// Of one whose data stayed where it is.
    pub fn unmoved(size_bytes: u64, route: Route) -> Self {
        let (elapsed, waited) = (Duration::ZERO, Duration::ZERO);
        Self { size_bytes, hash: None, route, proof: None, elapsed, waited }
    }
}

/// A regular file that is being copied.
#[derive(Clone, Copy)]
pub struct Copying<'a> {
    pub at: At<'a>,
    pub source: &'a Source,
    /// The file that it replaces as if it was written into.
    pub replaced: Option<Rights>,
    pub counted: &'a Counted,
}

/// What the run tells its sink, and adds to its totals.
pub struct Events<'a> {
    sink: &'a dyn Sink,
    pub totals: &'a Totals,
    /// What reported relative paths are relative to.
    base: PathBuf,
    syncs: bool,
    proves: bool,
    /// Whether the destination takes anything more.
    pub full: Full,
    /// Where files differ that are to be replaced.
    differing: Mutex<HashMap<PathBuf, Ranges>>,
}

impl<'a> Events<'a> {
    pub fn new(options: &Options, sink: &'a dyn Sink, totals: &'a Totals, base: PathBuf) -> Self {
        let (syncs, proves) = (options.sync, options.proves());
        let (full, differing) = (Full::default(), Mutex::default());
        Self { sink, totals, base, syncs, proves, full, differing }
    }

    /// Reports a failure. An interruption is told once, by the caller that asked for it.
    pub fn fail(&self, error: Error) {
        if matches!(error.cause, Cause::Interrupted) {
            return;
        }
        let totals = self.totals;
        match error.cause {
            Cause::NoSpace { needed_bytes, left_bytes } => {
                self.full.add_failure(needed_bytes, left_bytes);
                Totals::add(&totals.unfit_bytes, needed_bytes);
            }
            Cause::Full { needed_bytes } => Totals::add(&totals.unfit_bytes, needed_bytes),
            // A name that does not fit needs no more than itself. What lies behind it is not known.
            _ => match error.errno() {
                Some(libc::ENOSPC) => {
                    self.full.add_failure(0, 0);
                    Totals::add(&totals.unfit_names, 1);
                }
                Some(libc::EDQUOT) => Totals::add(&totals.unfit_names, 1),
                _ => {}
            },
        }
        Totals::add(&self.totals.failed, 1);
        self.sink.event(Event::Failed(error));
    }

    /// Reports what is no failure.
    pub fn warn(&self, error: Error) {
        self.sink.event(Event::Warning(error));
    }

    /// Reports that kernel AIO cannot be had.
    pub fn no_kernel_aio(&self, reason: &str) {
        self.sink.event(Event::NoKernelAio(reason.to_owned()));
    }

    /// Reports what is left alone.
    pub fn skip(&self, at: At<'_>, why: Skip) {
        Totals::add(&self.totals.skipped, 1);
        self.sink.event(Event::Skipped(at.target_path(), why));
    }

    /// Asks whether a file may be replaced; blocks until there is an answer.
    pub fn confirm(&self, path: &Path, overridden_mode: Option<u32>) -> std::io::Result<bool> {
        self.sink.confirm(path, overridden_mode)
    }

    /// A path relative to the base.
    pub fn relative(&self, dir: &Dir, target_name: &OsStr) -> PathBuf {
        let target = dir.target_path(target_name);
        // The base is empty where it is the working directory.
        if target == Path::new(".") {
            return PathBuf::new();
        }
        target.strip_prefix(&self.base).map_or_else(|_| target.clone(), Path::to_owned)
    }

    /// Counts a regular file whose data was moved, and tells of it.
    pub fn moved(&self, at: At<'_>, published: Published, moved: &Moved, outcome: Outcome) {
        let totals = self.totals;
        self.full.add_success();
        Totals::add(&totals.files, 1);
        Totals::add(&totals.written_bytes, moved.written_bytes);
        Totals::add(&totals.hole_bytes, moved.hole_bytes);
        if self.syncs {
            Totals::add(&totals.durable_bytes, outcome.size_bytes);
        }
        if outcome.route.write == Way::Direct {
            Totals::add(&totals.direct_files, 1);
            Totals::add(&totals.direct_bytes, moved.written_bytes);
        }
        self.copied(at, published, outcome);
    }

    /// Tells of a regular file that has its name.
    pub fn copied(&self, at: At<'_>, published: Published, outcome: Outcome) {
        if !self.sink.wants_files() {
            return;
        }
        let Outcome { size_bytes, hash, route, proof, elapsed, waited } = outcome;
        self.sink.event(Event::Copied(Copied {
            source: at.source_path(),
            target: at.target_path(),
            replaced: published.replaced,
            in_place: published.in_place,
            backup: published.backup.map(|name| at.dir.target_path(&name)),
            relative: self.relative(at.dir, at.target_name()),
            size_bytes,
            hash,
            route,
            proof,
            elapsed,
            waited,
        }));
    }

    /// Tells of what is no copy of a regular file.
    pub fn made(&self, kind: &'static str, at: At<'_>, published: Published) {
        if self.sink.wants_files() {
            self.sink.event(Event::Made(Made {
                kind,
                source: at.source_path(),
                target: at.target_path(),
                replaced: published.replaced,
                backup: published.backup.map(|name| at.dir.target_path(&name)),
            }));
        }
    }

    /// Counts a directory that was entered, and tells of it if it is new.
    pub fn entered(&self, dir: &OpenDir) {
        Totals::add(&self.totals.directories, 1);
        Totals::add(&self.totals.made_directories, u64::from(dir.fresh));
        if dir.fresh && self.sink.wants_files() {
            let nothing = OsStr::new("");
            let (source, target) = (dir.source_path(nothing), dir.target_path(nothing));
            let kind = "directory";
            self.sink.event(Event::Made(Made {
                kind,
                source,
                target,
                replaced: false,
                backup: None,
            }));
        }
    }

    /// Tells of a file in the destination that is what its source is.
    pub fn same(&self, path: PathBuf, proof: Proof) {
        self.proved(proof);
        if self.sink.wants_files() {
            self.sink.event(Event::Same(path, proof));
        }
    }

    /// Counts a file that was read back and is what it has to be.
    pub fn proved(&self, proof: Proof) {
        Totals::add(&self.totals.verified_files, 1);
        if let Proof::Memory(_) = proof {
            Totals::add(&self.totals.verified_from_memory, 1);
        }
    }

    /// Takes back that a file was read back: it is copied again.
    pub fn not_proved(&self, proof: Proof) {
        Totals::take(&self.totals.verified_files, 1);
        if let Proof::Memory(_) = proof {
            Totals::take(&self.totals.verified_from_memory, 1);
        }
    }

    /// Tells of a difference, and counts it unless it is mended.
    pub fn differs(&self, path: PathBuf, what: What, mended: Mended) {
        if mended == Mended::No {
            Totals::add(&self.totals.differences, 1);
        }
        self.sink.event(Event::Differs(Difference { path, what, mended: mended == Mended::Yes }));
    }

    /// Names byte ranges of a copy that differ, or did until they were written again.
    pub fn differs_in(&self, path: &Path, ranges: &[Range<u64>], mended: Mended) {
        for range in ranges {
            self.differs(path.to_owned(), What::Bytes(range.clone()), mended);
        }
    }

    /// Remembers where something differs that is to be replaced, to tell it then.
    pub fn differs_until_replaced(&self, path: PathBuf, ranges: Ranges) {
        self.differing().insert(path, ranges);
    }

    /// Tells what a comparison copied: where it differed, if it was there.
    pub fn replaced_what_differed(&self, path: &Path) {
        let ranges = self.differing().remove(path);
        match ranges {
            Some(ranges) => self.differs_in(path, &ranges, Mended::Yes),
            None => self.differs(path.to_owned(), What::Missing, Mended::Yes),
        }
    }

    /// Tells where files differ that could not be replaced.
    pub fn not_replaced(&self) {
        let mut left: Vec<_> = std::mem::take(&mut *self.differing()).into_iter().collect();
        left.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        left.iter().for_each(|(path, ranges)| self.differs_in(path, ranges, Mended::No));
    }

    fn differing(&self) -> MutexGuard<'_, HashMap<PathBuf, Ranges>> {
        self.differing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the bytes of a file that is to be copied.
    pub fn found(&self, size_bytes: u64) -> Counted {
        Totals::add(&self.totals.found_bytes, size_bytes);
        Totals::add(&self.totals.found_files, 1);
        Counted {
            meter: Arc::clone(&self.totals.meter),
            found_bytes: size_bytes,
            handled_bytes: Arc::default(),
            is_handled: false,
            owes_proof: self.proves,
        }
    }

    /// Counts what a file has grown by since it was found.
    pub fn found_more(&self, counted: &mut Counted, size_bytes: u64) {
        let more_bytes = size_bytes.saturating_sub(counted.found_bytes);
        Totals::add(&self.totals.found_bytes, more_bytes);
        counted.found_bytes += more_bytes;
    }

    /// Entries that a worker has in hand.
    pub fn in_hand(&self, entries: usize) -> InHand<'a> {
        InHand { totals: self.totals, entries: entries as u64 }
    }
}

/// What was found of a file. It counts as handled when its data is in place or given up, and as
/// proved when it will not be read back. Dropped, it counts what was not counted yet.
pub struct Counted {
    meter: Arc<Meter>,
    found_bytes: u64,
    /// Bytes that were counted as handled while they moved.
    handled_bytes: Arc<AtomicU64>,
    is_handled: bool,
    owes_proof: bool,
}

impl Counted {
    /// Where bytes that move are counted as this file's.
    pub fn handled_bytes(&self) -> &Arc<AtomicU64> {
        &self.handled_bytes
    }

    /// Nothing more is done with the data. What was not counted as it moved never moved: it was
    /// cloned, or small, or failed before.
    fn count_rest(&mut self) {
        if !std::mem::replace(&mut self.is_handled, true) {
            let moved_bytes = Totals::get(&self.handled_bytes);
            let rest_bytes = self.found_bytes.saturating_sub(moved_bytes);
            Totals::add(&self.meter.handled_bytes, rest_bytes);
        }
    }

    /// The file was read back, which counted its bytes as proved.
    pub fn was_read_back(&mut self) {
        self.owes_proof = false;
    }

    /// The file's data is in place, or it failed for a cause. What the wish to stop cut short is
    /// neither, and counts as nothing more.
    pub fn end(&mut self, failed: Option<&Cause>) {
        match failed {
            Some(Cause::Interrupted) => self.leave_undone(),
            _ => self.count_rest(),
        }
    }

    /// The file is not begun, or not gone on with, since the run is to stop: it counts as nothing
    /// more.
    pub fn left_undone(mut self) {
        self.leave_undone();
    }

    fn leave_undone(&mut self) {
        (self.is_handled, self.owes_proof) = (true, false);
    }

    /// The file will not be read back.
    fn count_unproved(&mut self) {
        if std::mem::take(&mut self.owes_proof) {
            Totals::add(&self.meter.proved_bytes, self.found_bytes);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count_rest();
        self.count_unproved();
    }
}

/// Entries that count as met when it is dropped.
pub struct InHand<'a> {
    totals: &'a Totals,
    entries: u64,
}

impl InHand<'_> {
    /// How many of them are met elsewhere.
    pub fn pass_on(&mut self, entries: usize) {
        self.entries -= entries as u64;
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        Totals::add(&self.totals.met, self.entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stop_cuts_short_is_not_counted_as_done() {
        let meter = Arc::<Meter>::default();
        let counted = || Counted {
            meter: Arc::clone(&meter),
            found_bytes: 100,
            handled_bytes: Arc::new(AtomicU64::new(30)),
            is_handled: false,
            owes_proof: true,
        };
        let end = |failed: Option<&Cause>| {
            let mut counted = counted();
            counted.end(failed);
            drop(counted);
            (Totals::get(&meter.handled_bytes), Totals::get(&meter.proved_bytes))
        };
        assert_eq!(end(Some(&Cause::Interrupted)), (0, 0));
        assert_eq!(end(Some(&Cause::SourceChanged)), (70, 100));
        assert_eq!(end(None), (140, 200));
        drop(counted());
        assert_eq!(Totals::get(&meter.handled_bytes), 210);
        counted().left_undone();
        assert_eq!(Totals::get(&meter.handled_bytes), 210);
    }
}
