//! What a worker does with its tasks: it hands entries to their kind, makes what they wrote
//! durable, publishes and reports.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Options;
use super::durable::Unsynced;
use super::existing::{Admitted, Made, Put};
use super::file::{Filled, Source};
use super::hardlinks::{Claim, HardLinks, Met, Original, Waiting};
use super::instead::Make;
use super::pairs::{Other, Pairs, Ranges};
use super::queue::{Busy, Queue, Single, Task};
use super::record::Records;
use super::resume::Journal;
use super::rounds::Rounds;
use super::stop::Stop;
use crate::digest::Hash;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs;
use crate::pipeline::crew::Work;
use crate::pipeline::route::Access;
use crate::pipeline::small::{DirectRead, READ_AHEAD_BYTES};
use crate::pipeline::{Moved, Pipeline, Traffic, route};
use crate::report::{self, Copied, Event, Proof, Route, Sink, Totals, Way};
use crate::tree::{Batch, Dir, Entry, EntryKind, Follow, Keeper, Metadata, OpenDir, OpenDirs};

/// Everything that the workers share.
pub struct Run<'a> {
    pub options: &'a Options,
    pub sink: &'a dyn Sink,
    pub totals: &'a Totals,
    /// What the workers read and write is counted and paced here.
    pub traffic: Traffic,
    pub pipeline: &'a Pipeline<'a>,
    /// What reads the destination in a comparison; the same one otherwise.
    pub target_pipeline: &'a Pipeline<'a>,
    pub queue: &'a Queue,
    /// What the reported relative paths are relative to.
    pub base: PathBuf,
    pub keeper: Keeper,
    pub hard_links: HardLinks,
    pub open_dirs: Arc<OpenDirs>,
    /// What makes many small files durable.
    pub rounds: Rounds,
    /// What was made for operands.
    pub made: Made,
    /// What the directories had that a comparison mends, by device and inode.
    pub times_before: Mutex<HashMap<(u64, u64), fs::Stat>>,
    /// Files with several names that are compared.
    pub pairs: Pairs,
    /// Where files differ that are to be replaced.
    pub differing: Mutex<HashMap<PathBuf, Ranges>>,
    /// Finished directories whose names are not durable yet, with the descriptors to make them so.
    pub unsynced: Mutex<Vec<Unsynced>>,
    /// How many of them may wait; whoever adds one more carries them out.
    pub unsynced_max: usize,
    /// How many entries of a batch a worker may have open.
    pub entries_max: usize,
    /// Devices of sources and destinations between which nothing is cloned.
    pub unclonable: Mutex<HashSet<[u64; 2]>>,
    /// Under `--resume`.
    pub journal: Option<Journal>,
    pub stop: &'a Stop,
}

/// A small file that is opened, and how it is read.
struct Small {
    entry: Admitted,
    claim: Option<Claim>,
    source: Source,
    access: Access,
}

impl Small {
    fn direct(&self) -> Option<DirectRead<'_>> {
        let Source { file, .. } = &self.source;
        self.access.is_direct().then(|| DirectRead { file, size_bytes: self.source.size_bytes() })
    }
}

/// A file that is written, but without its name.
pub struct Written {
    pub entry: Admitted,
    pub claim: Option<Claim>,
    pub filled: Filled,
}

/// What became of a regular file.
pub struct Outcome {
    pub size_bytes: u64,
    pub hash: Option<Hash>,
    pub route: Route,
    pub proof: Option<Proof>,
    pub elapsed: Duration,
}

impl Outcome {
    /// Of one whose data stayed where it is.
    pub fn unmoved(size_bytes: u64, route: Route) -> Self {
        Self { size_bytes, hash: None, route, proof: None, elapsed: Duration::ZERO }
    }
}

impl<'a> Work for &'a Run<'_> {
    type Task = (Task, Busy<'a>);

    fn take(&self) -> Option<Self::Task> {
        self.queue.pop()
    }

    fn carry_out(&self, (task, _busy): Self::Task, buffer: &mut [u8]) {
        match task {
            // What is not begun is only let go of, so that directories get their last sync.
            Task::Batch(Batch { dir, .. }) if self.stop.is_requested() => self.release_dir(dir),
            Task::Single(Single { dir, entry, claim, .. }) if self.stop.is_requested() => {
                self.give_up(claim, self.interrupted(&dir, &entry));
                self.release_dir(dir);
            }
            Task::Batch(Batch { dir, entries }) => {
                match dir.open() {
                    Ok(open) => self.work_on_batch(&open, entries, buffer),
                    Err(error) => {
                        Totals::add(&self.totals.met, entries.len() as u64);
                        self.fail(error);
                    }
                }
                self.release_dir(dir);
            }
            Task::Single(Single { dir, entry, claim, found_bytes }) => {
                match dir.open() {
                    Ok(open) => self.copy_single(&open, entry, (claim, found_bytes), buffer),
                    Err(error) => {
                        self.over(found_bytes, &AtomicU64::new(0));
                        self.never_proved(found_bytes);
                        self.give_up(claim, error);
                    }
                }
                self.release_dir(dir);
            }
        }
    }
}

impl Run<'_> {
    /// Reports a failure. That it was interrupted is told once, by whoever did so.
    pub fn fail(&self, error: Error) {
        if matches!(error.cause, Cause::Interrupted) {
            return;
        }
        Totals::add(&self.totals.failed, 1);
        self.sink.event(Event::Failed(error));
    }

    /// Reports what is no failure.
    pub fn warn(&self, error: Error) {
        self.sink.event(Event::Warning(error));
    }

    /// Why a file is not copied once the run is to stop.
    pub fn interrupted(&self, dir: &Dir, entry: &Entry) -> Error {
        Error::new(Operation::Copy, dir.source_path(&entry.name), Cause::Interrupted)
    }

    /// Gives a copy its source's metadata, and tells what could not be kept. True if nothing of it
    /// was lost.
    pub fn keep(&self, dir: &Dir, entry: &Entry, metadata: &Metadata<'_>) -> bool {
        self.keep_named(dir, &entry.name, entry.target_name(), metadata)
    }

    pub fn keep_named(
        &self,
        dir: &Dir,
        source_name: &OsStr,
        target_name: &OsStr,
        metadata: &Metadata<'_>,
    ) -> bool {
        let mut kept = true;
        self.keeper.keep(metadata, &mut |loss| {
            let path = if loss.at_source {
                dir.source_path(source_name)
            } else {
                dir.target_path(target_name)
            };
            let error = Error::new(loss.op, path, loss.cause);
            kept &= loss.forgivable;
            if loss.forgivable { self.warn(error) } else { self.fail(error) }
        });
        kept
    }

    /// All of a batch at once, unless the process may not have so many files open.
    fn work_on_batch(&self, dir: &OpenDir, mut entries: Vec<Entry>, buffer: &mut [u8]) {
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(self.entries_max));
            let (to_copy, others) = match self.options.make {
                Make::Nothing => self.compare_batch(dir, entries),
                _ => (entries, Vec::new()),
            };
            self.copy_batch(dir, to_copy, buffer);
            for Other { dir, entry } in others {
                match dir.open() {
                    Ok(open) => self.copy_batch(&open, vec![entry], buffer),
                    Err(error) => {
                        Totals::add(&self.totals.met, 1);
                        self.fail(error);
                    }
                }
                self.release_dir(dir);
            }
            entries = rest;
        }
    }

    /// Opens all files of a batch before the first is read: the small ones are read together, or
    /// their data asked for, so that many neighbours are few requests for the device, instead of
    /// one after the other.
    fn copy_batch(&self, dir: &OpenDir, entries: Vec<Entry>, buffer: &mut [u8]) {
        let count = entries.len();
        let mut small = Vec::with_capacity(count);
        let mut earlier = self.earlier(dir);
        for entry in entries {
            if self.stop.is_requested() {
                continue;
            }
            let entry = match &mut earlier {
                Some(earlier) => self.unless_finished(dir, entry, earlier),
                None => Some(entry),
            };
            let Some(entry) = entry else { continue };
            if matches!(self.options.make, Make::HardLink | Make::SymbolicLink) {
                self.link_instead(dir, entry).unwrap_or_else(|error| self.fail(error));
                continue;
            }
            if entry.kind != EntryKind::File {
                self.meet_link(dir, entry);
                continue;
            }
            let (entry, source) = match self.open_admitted(dir, entry) {
                Ok(Some(opened)) => opened,
                Ok(None) => continue,
                Err(error) => {
                    self.fail(error);
                    continue;
                }
            };
            let Some((entry, claim)) = self.meet(&source.stat, dir, entry) else { continue };
            if self.options.dry_run {
                self.plan_file(dir, &entry, claim, &source.stat);
                continue;
            }
            let size_bytes = source.size_bytes();
            Totals::add(&self.totals.found_bytes, size_bytes);
            if self.is_small(size_bytes) {
                let access = self.small_access(dir, &source);
                small.push(Small { entry, claim, source, access });
            } else {
                dir.hold();
                let dir = Arc::clone(dir.dir());
                self.queue.push_single(Single { dir, entry, claim, found_bytes: size_bytes });
            }
        }
        Totals::add(&self.totals.met, count as u64);
        // As they were made, which is how they lie on the device more often than how a directory
        // lists them.
        small.sort_unstable_by_key(|small: &Small| small.source.stat.st_ino);
        for Small { source, access, .. } in &small {
            if !access.is_direct() {
                fs::read_ahead(&*source.file, source.size_bytes().min(READ_AHEAD_BYTES));
            }
        }
        let mut written = Vec::with_capacity(small.len());
        self.pipeline.read_together(
            small,
            Small::direct,
            |Small { entry, claim, source, .. }, contents| {
                if self.stop.is_requested() {
                    return self.give_up(claim, self.interrupted(dir, &entry));
                }
                let filled = self.copy_small(dir, &entry, &source, contents, buffer);
                self.over(source.size_bytes(), &source.handled_bytes);
                match filled {
                    Ok(filled) => written.push(Written { entry, claim, filled }),
                    Err(error) => {
                        self.never_proved(source.size_bytes());
                        self.give_up(claim, error);
                    }
                }
            },
        );
        self.settle(dir, written);
    }

    fn is_small(&self, size_bytes: u64) -> bool {
        self.options.make == Make::Attributes || route::is_small(self.options.direct, size_bytes)
    }

    /// Opens a source and decides whether it is copied. Nothing if it is not, or if its attributes
    /// were all that was to be copied.
    fn open_admitted(&self, dir: &OpenDir, entry: Entry) -> Result<Option<(Admitted, Source)>> {
        let source = self.open_source(dir, &entry)?;
        match self.admit(dir, entry, &source.stat)? {
            Some(entry) if self.keeps_data(entry.spot) => {
                self.copy_attributes(dir, &entry, &source)?;
                Ok(None)
            }
            entry => Ok(entry.map(|entry| (entry, source))),
        }
    }

    fn copy_single(
        &self,
        dir: &OpenDir,
        entry: Admitted,
        (claim, mut found_bytes): (Option<Claim>, u64),
        buffer: &mut [u8],
    ) {
        if entry.kind != EntryKind::File {
            return self.copy_claimed_link(dir, entry, claim);
        }
        let mut handled_bytes = Arc::default();
        let filled = self.open_source(dir, &entry).and_then(|source| {
            handled_bytes = Arc::clone(&source.handled_bytes);
            // A name that waited for another one is met as a file only now.
            Totals::add(&self.totals.found_bytes, source.size_bytes().saturating_sub(found_bytes));
            found_bytes = found_bytes.max(source.size_bytes());
            if self.is_small(source.size_bytes()) {
                self.copy_small(dir, &entry, &source, None, buffer)
            } else {
                self.copy_big(dir, &entry, &source)
            }
        });
        self.over(found_bytes, &handled_bytes);
        match filled {
            Ok(filled) => self.settle(dir, vec![Written { entry, claim, filled }]),
            Err(error) => {
                self.never_proved(found_bytes);
                self.give_up(claim, error);
            }
        }
    }

    /// Nothing more is done with a file's data, be it where it has to be or given up. What was not
    /// counted as it moved never moved: it was cloned, or small, or failed before.
    pub fn over(&self, found_bytes: u64, handled_bytes: &AtomicU64) {
        let left_bytes = found_bytes.saturating_sub(Totals::get(handled_bytes));
        Totals::add(&self.totals.meter.handled_bytes, left_bytes);
    }

    /// A file that was found will not be read back.
    pub fn never_proved(&self, found_bytes: u64) {
        if self.options.verify {
            Totals::add(&self.totals.meter.proved_bytes, found_bytes);
        }
    }

    /// Whether symbolic links may lead to what is in this directory.
    pub fn follows_links(&self, dir: &Dir) -> bool {
        match self.options.follow {
            Follow::Always => true,
            Follow::Operands => dir.parent().is_none(),
            Follow::Never => false,
        }
    }

    /// What is to be copied of an entry whose source answered `stat`: nothing if it is one more
    /// name of something, which is linked now, or by whoever publishes the first name.
    pub fn meet(
        &self,
        stat: &fs::Stat,
        dir: &OpenDir,
        entry: Admitted,
    ) -> Option<(Admitted, Option<Claim>)> {
        if !self.keeper.preserve().links {
            return Some((entry, None));
        }
        let is_first = self.is_first_name(dir, &entry, stat);
        match self.hard_links.meet(stat, self.follows_links(dir), is_first, dir.dir(), entry) {
            Met::Copy(entry, claim) => Some((entry, claim)),
            Met::Waits => None,
            Met::Link(entry, original) => match self.link(dir, &entry, &original) {
                Ok(()) => None,
                Err(error) => {
                    // The data is not lost with the link.
                    self.fail(error);
                    Some((entry, None))
                }
            },
        }
    }

    /// Gives a copy one more name.
    pub fn link(&self, dir: &OpenDir, entry: &Admitted, original: &Original) -> Result<()> {
        if self.options.dry_run {
            self.linked(dir, entry, Put::of(entry), original);
            return Ok(());
        }
        let error =
            |cause: Cause| Error::new(Operation::Link, dir.target_path(entry.target_name()), cause);
        let io_error = |cause: io::Error| error(cause.into());
        let first = original.dir.open()?;
        let file = fs::open_path(&first.target, &original.name).map_err(io_error)?;
        let stat = fs::stat(&file).map_err(io_error)?;
        if (stat.st_dev, stat.st_ino) != original.identity {
            return Err(error(Cause::Swapped));
        }
        let temporary = self.temporary_name(entry);
        let source = self.stat_to_record(dir, entry);
        if let Some(source) = &source {
            self.record_unnamed_link(dir, entry, [source, &stat], original.kept, original.hash);
        }
        let stands = match entry.spot.occupied {
            true => fs::stat_at(&*dir.target, entry.target_name()).map_err(io_error)?,
            false => None,
        };
        let put = match stands.is_some_and(|stands| fs::same_file(&stands, &stat)) {
            // An earlier run made it. Its backup would be the copy itself, in the place of the
            // backup of what was replaced.
            true => {
                self.made.add_earlier(dir, &stat);
                Some(Put { replaced: true, backup: None })
            }
            false => self.put(dir, entry, Operation::Link, |may_replace| {
                fs::publish_hard_link(
                    &file,
                    &dir.target,
                    entry.target_name(),
                    may_replace,
                    temporary.as_deref(),
                )
            })?,
        };
        if let Some(put) = put {
            if let Some(source) = &source {
                self.record_alone(dir, entry, (source, original.kept), original.hash);
            }
            self.linked(dir, entry, put, original);
        }
        Ok(())
    }

    fn linked(&self, dir: &Dir, entry: &Entry, put: Put, original: &Original) {
        Totals::add(&self.totals.hard_links, 1);
        if entry.kind == EntryKind::File {
            let Original { size_bytes, hash, .. } = *original;
            self.tell(
                dir,
                entry,
                put,
                Outcome { hash, ..Outcome::unmoved(size_bytes, Route::LINKED) },
            );
        }
    }

    /// A copy stands under its first name: those that waited for it are linked.
    pub fn keep_claim(&self, claim: Option<Claim>, original: impl FnOnce() -> Original) {
        let Some(claim) = claim else { return };
        let original = Arc::new(original());
        for Waiting { dir, entry } in self.hard_links.made(claim, &original) {
            match dir.open().and_then(|open| self.link(&open, &entry, &original)) {
                Ok(()) => self.release_dir(dir),
                Err(error) => {
                    self.fail(error);
                    self.queue.push_single(Single { dir, entry, claim: None, found_bytes: 0 });
                }
            }
        }
    }

    /// Reports a failure of something that others may wait for: the next of them is copied instead.
    pub fn give_up(&self, claim: Option<Claim>, error: Error) {
        self.fail(error);
        self.pass_on(claim);
    }

    /// The next name that waits is copied instead of one that is not.
    pub fn pass_on(&self, claim: Option<Claim>) {
        if let Some((Waiting { dir, entry }, claim)) =
            claim.and_then(|claim| self.hard_links.failed(claim))
        {
            self.queue.push_single(Single { dir, entry, claim: Some(claim), found_bytes: 0 });
        }
    }

    /// Makes written files durable, proves them if that is wanted, and gives them their names. A
    /// failed fsync is final for a file: the kernel has marked its pages clean, so that a second
    /// one would find nothing wrong.
    fn settle(&self, dir: &OpenDir, written: Vec<Written>) {
        let files = written.iter().map(|file| Arc::clone(file.filled.target.file())).collect();
        let synced = self.sync(dir, files);
        let mut durable = Vec::with_capacity(written.len());
        for (file, synced) in written.into_iter().zip(synced) {
            match synced {
                Ok(()) => durable.push(file),
                Err(cause) => {
                    let error = Error::new(
                        Operation::Fsync,
                        dir.target_path(file.entry.target_name()),
                        cause,
                    );
                    self.never_proved(file.filled.size_bytes);
                    self.reject(dir, file, error);
                }
            }
        }
        let mut records = Records::default();
        let proved = self.prove(dir, durable);
        self.record_unnamed(dir, proved.iter().map(|(file, _)| file));
        for (file, proof) in proved {
            self.publish(dir, file, proof, &mut records);
        }
        self.append(records);
    }

    fn publish(&self, dir: &OpenDir, file: Written, proof: Option<Proof>, records: &mut Records) {
        let Written { entry, claim, filled } = file;
        let Filled { target, moved, cloned_bytes, size_bytes, route, begun, source, kept, .. } =
            filled;
        let hash = moved.root();
        let identity = match identity(&target, claim.is_some()) {
            Ok(identity) => identity,
            Err(cause) => {
                return self.give_up(
                    claim,
                    Error::new(Operation::Stat, dir.target_path(entry.target_name()), cause),
                );
            }
        };
        let temporary = self.temporary_name(&entry);
        let publish = |may_replace| {
            target.publish(&*dir.target, entry.target_name(), may_replace, temporary.as_deref())
        };
        match self.put(dir, &entry, Operation::Publish, publish) {
            Ok(None) => self.pass_on(claim),
            Ok(Some(put)) => {
                self.record(dir, &entry, (&source, kept), hash, records);
                Totals::add(&self.totals.cloned_bytes, cloned_bytes);
                let elapsed = begun.elapsed();
                self.report(
                    dir,
                    &entry,
                    put,
                    &moved,
                    Outcome { size_bytes, hash, route, proof, elapsed },
                );
                let dir = dir.dir().clone();
                self.keep_claim(claim, || Original {
                    dir,
                    name: entry.target_name().to_owned(),
                    identity,
                    size_bytes,
                    hash,
                    kept,
                });
            }
            Err(error) => self.give_up(claim, error),
        }
    }

    /// Throws away a file that may not get its name. One that was merely interrupted stays for the
    /// next run, if that can find it.
    pub fn reject(&self, dir: &OpenDir, Written { entry, claim, filled }: Written, error: Error) {
        let stays = filled.in_parts && matches!(error.cause, Cause::Interrupted);
        Totals::add(&self.totals.left_bytes, if stays { filled.size_bytes } else { 0 });
        self.drop_target(dir, &entry, filled.target, stays);
        self.give_up(claim, error);
    }

    fn report(&self, dir: &Dir, entry: &Entry, put: Put, moved: &Moved, outcome: Outcome) {
        Totals::add(&self.totals.files, 1);
        Totals::add(&self.totals.written_bytes, moved.written_bytes);
        Totals::add(&self.totals.hole_bytes, moved.hole_bytes);
        if self.options.sync {
            Totals::add(&self.totals.durable_bytes, outcome.size_bytes);
        }
        if outcome.route.write == Way::Direct {
            Totals::add(&self.totals.direct_files, 1);
            Totals::add(&self.totals.direct_bytes, moved.written_bytes);
        }
        self.tell(dir, entry, put, outcome);
    }

    pub fn tell(&self, dir: &Dir, entry: &Entry, put: Put, outcome: Outcome) {
        if self.sink.wants_files() {
            let (target, relative) =
                (dir.target_path(entry.target_name()), self.relative(dir, entry.target_name()));
            let source = dir.source_path(&entry.name);
            let (replaced, backup) = (put.replaced, put.backup.map(|name| dir.target_path(&name)));
            let Outcome { size_bytes, hash, route, proof, elapsed } = outcome;
            self.sink.event(Event::Copied(Copied {
                source,
                target,
                replaced,
                backup,
                relative,
                size_bytes,
                hash,
                route,
                proof,
                elapsed,
            }));
        }
    }

    /// Reports what is no copy of a regular file.
    pub fn report_made(&self, kind: &'static str, dir: &Dir, entry: &Entry, put: Put) {
        if self.sink.wants_files() {
            let (source, target) =
                (dir.source_path(&entry.name), dir.target_path(entry.target_name()));
            let (replaced, backup) = (put.replaced, put.backup.map(|name| dir.target_path(&name)));
            self.sink.event(Event::Made(report::Made { kind, source, target, replaced, backup }));
        }
    }
}

/// Device and inode of a file in the making, if they are needed.
fn identity(target: &fs::Target, needed: bool) -> io::Result<(u64, u64)> {
    if !needed {
        return Ok((0, 0));
    }
    let stat = fs::stat(&**target.file())?;
    Ok((stat.st_dev, stat.st_ino))
}
