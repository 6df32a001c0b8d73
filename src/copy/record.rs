//! What the workers tell the journal, and what they spare themselves because of it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::existing::{Admitted, Put};
use super::hardlinks::{Met, Original, Waiting};
use super::journal::{Record, Standing};
use super::lookup::Window;
use super::queue::Single;
use super::resume::{Journal, Known};
use super::worker::{Outcome, Run, Written};
use crate::digest::Hash;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, Node, Stat};
use crate::report::{Route, Totals};
use crate::tree::{Dir, Entry, EntryKind, Metadata, OpenDir};

/// Records of small files that a power cut may cost, by the bytes of those files.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

/// What a file counts besides its bytes, so that the records of many empty ones become durable too.
const FILE_BYTES: u64 = 4096;

/// What a batch has to tell.
#[derive(Default)]
pub struct Records {
    records: Vec<Record>,
    files_bytes: u64,
}

/// What is needed to look up one entry of a directory after the other.
pub struct Earlier<'a> {
    journal: &'a Journal,
    window: Window,
    /// The directory's, relative to the base.
    path: PathBuf,
}

impl Earlier<'_> {
    /// What the journal says of an entry, and both sides, if it says anything and they are there.
    fn known(&mut self, dir: &OpenDir, entry: &Entry) -> io::Result<(Known, Option<[Stat; 2]>)> {
        self.path.push(entry.target_name());
        let record = self.journal.find(&self.path, &mut self.window);
        self.path.pop();
        let Some(record) = record? else { return Ok((Known::Nothing, None)) };
        let target = fs::stat_at(&*dir.target, entry.target_name())?;
        match (stat_source(dir, entry)?, target) {
            (Some(source), Some(target)) => {
                Ok((self.journal.known(&record, &source, &target), Some([source, target])))
            }
            // What is gone is copied again, and needs no explanation.
            _ => Ok((Known::Nothing, None)),
        }
    }
}

impl Run<'_> {
    /// Adds what stands under its name now, and whether all of its metadata was kept.
    pub fn record(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        (source, kept): (&Stat, bool),
        hash: Option<Hash>,
        records: &mut Records,
    ) {
        let Some(journal) = &self.journal else { return };
        match fs::stat_at(&*dir.target, entry.target_name()) {
            Ok(Some(target)) => {
                let has_others = source.st_nlink > 1 || self.follows_links(dir);
                let standing = if has_others { Standing::Linked } else { Standing::Settled };
                let relative = self.relative(dir, entry.target_name());
                records.records.push(journal.finished(
                    &relative,
                    [source, &target],
                    (standing, kept),
                    hash,
                ));
                records.files_bytes += FILE_BYTES + source.st_size as u64;
            }
            // Removed already; the next run will see.
            Ok(None) => {}
            Err(cause) => {
                self.fail(Error::new(Operation::Stat, dir.target_path(entry.target_name()), cause))
            }
        }
    }

    /// Records durable files that are about to get their names, where it would not do to copy them
    /// once more if the run is killed before it can record that they have them: big ones, and all
    /// of them where the next run would leave them alone as somebody else's, or make a backup of
    /// them.
    pub fn record_unnamed<'a>(&self, dir: &OpenDir, files: impl Iterator<Item = &'a Written>) {
        let Some(journal) = &self.journal else { return };
        let mut records = Vec::new();
        for Written { entry, filled, .. } in files {
            if !filled.in_parts && self.options.existing.is_plain() {
                continue;
            }
            match fs::stat(&**filled.target.file()) {
                Ok(stat) => {
                    let (relative, hash) =
                        (self.relative(dir, entry.target_name()), filled.moved.root());
                    let standing = (Standing::Unnamed, filled.kept);
                    records.push(journal.finished(
                        &relative,
                        [&filled.source, &stat],
                        standing,
                        hash,
                    ));
                }
                Err(cause) => self.fail(Error::new(
                    Operation::Stat,
                    dir.target_path(entry.target_name()),
                    cause,
                )),
            }
        }
        self.append_unnamed(journal, records);
    }

    /// The same for a link or special file, or for one more name of a file: `made` is what gets the
    /// name.
    pub fn record_unnamed_link(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        [source, made]: [&Stat; 2],
        kept: bool,
        hash: Option<Hash>,
    ) {
        if let Some(journal) = &self.journal
            && !self.options.existing.is_plain()
        {
            let relative = self.relative(dir, entry.target_name());
            let record =
                journal.finished(&relative, [source, made], (Standing::Unnamed, kept), hash);
            self.append_unnamed(journal, vec![record]);
        }
    }

    fn append_unnamed(&self, journal: &Journal, records: Vec<Record>) {
        let replaces = !records.is_empty() && self.options.existing.backup.is_some();
        self.append(Records { records, files_bytes: 0 });
        // The new file would take the place of the old one's backup: not even a power cut may leave
        // the name without the record.
        if replaces
            && let Some(Err(cause)) = self.pipeline.sync(vec![Arc::clone(journal.file())]).pop()
        {
            self.fail(Error::new(Operation::FsyncJournal, journal.path(), cause));
        }
    }

    /// Whether an entry is the one of its source's names to be copied.
    pub fn is_first_name(&self, dir: &Dir, entry: &Entry, source: &Stat) -> bool {
        let is_first = |journal: &Journal| {
            journal.is_first_name(&self.relative(dir, entry.target_name()), source)
        };
        self.journal.as_ref().is_none_or(is_first)
    }

    /// Sees to the names that waited for another one that an earlier run copied, and that is left
    /// out of this one. Called when everything was gone through.
    pub fn release_unclaimed(&self) {
        if self.journal.is_some() {
            self.queue.drain();
            for (Waiting { dir, entry }, claim) in self.hard_links.unclaimed() {
                self.queue.push_single(Single { dir, entry, claim: Some(claim), found_bytes: 0 });
            }
        }
    }

    /// What the source of one more name of a copy has, if that is to be recorded.
    pub fn stat_to_record(&self, dir: &OpenDir, entry: &Entry) -> Option<Stat> {
        self.journal.as_ref()?;
        stat_source(dir, entry).unwrap_or_else(|cause| {
            self.fail(Error::new(Operation::Stat, dir.source_path(&entry.name), cause));
            None
        })
    }

    /// Records something for itself.
    pub fn record_alone(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        source: (&Stat, bool),
        hash: Option<Hash>,
    ) {
        let mut records = Records::default();
        self.record(dir, entry, source, hash, &mut records);
        self.append(records);
    }

    /// Adds a directory whose metadata and names are durable.
    pub fn record_dir(&self, dir: &Dir, target: &OwnedFd, records: &mut Records) {
        let (Some(journal), true) = (&self.journal, dir.parent().is_some()) else { return };
        match fs::stat(target) {
            Ok(stat) => {
                let relative = self.relative(dir, OsStr::new(""));
                records.records.push(journal.finished(
                    &relative,
                    [&dir.stat, &stat],
                    (Standing::Settled, true),
                    None,
                ));
                records.files_bytes += FILE_BYTES;
            }
            Err(cause) => {
                self.fail(Error::new(Operation::Stat, dir.target_path(OsStr::new("")), cause))
            }
        }
    }

    /// Writes to the journal. Where that fails the next run has more to do, and this one has
    /// failed, but no file has.
    pub fn append(&self, Records { records, files_bytes }: Records) {
        if let Some(journal) = &self.journal {
            journal.append(&records, files_bytes).unwrap_or_else(|error| self.fail(error));
        }
    }

    /// The journal, if it is time to make it durable; with `all` also if there is little to lose.
    pub fn journal_due(&self, all: bool) -> Option<&Journal> {
        let bytes_max =
            if all { 1 } else { UNSYNCED_BYTES_MAX.min(self.options.journal_interval_bytes) };
        self.journal.as_ref().filter(|journal| journal.is_due(bytes_max))
    }

    /// Whether an earlier run finished this directory, and nothing has changed in it since.
    pub fn is_finished_dir(&self, dir: &OpenDir) -> bool {
        let Some(journal) = &self.journal else { return false };
        let relative = self.relative(dir, OsStr::new(""));
        let Ok(Some(record)) = journal.find(&relative, &mut Window::narrow()) else { return false };
        let known = fs::stat(&*dir.target).map(|target| journal.known(&record, &dir.stat, &target));
        matches!(known, Ok(Known::Finished(_)))
    }

    /// Whether an earlier run finished a copy of this name.
    pub fn is_on_record(&self, dir: &Dir, target_name: &OsStr) -> io::Result<bool> {
        let Some(journal) = &self.journal else { return Ok(false) };
        Ok(journal.find(&self.relative(dir, target_name), &mut Window::narrow())?.is_some())
    }

    /// For looking up the entries of a directory, if there is a journal.
    pub fn earlier(&self, dir: &OpenDir) -> Option<Earlier<'_>> {
        let journal = self.journal.as_ref()?;
        Some(Earlier { journal, window: Window::wide(), path: self.relative(dir, OsStr::new("")) })
    }

    /// Gives an entry back unless an earlier run finished it: then it is told of and counted.
    pub fn unless_finished(
        &self,
        dir: &OpenDir,
        entry: Entry,
        earlier: &mut Earlier,
    ) -> Option<Entry> {
        let error = |cause: io::Error| {
            Error::new(Operation::Resume, dir.target_path(entry.target_name()), cause)
        };
        match earlier.known(dir, &entry).map_err(error) {
            Ok((Known::Nothing, _)) => Some(entry),
            Ok((Known::Changed(why), _)) => {
                self.warn_not_resumed(dir, &entry, why);
                Some(entry)
            }
            Ok((Known::Finished(hash), Some(sides))) => {
                self.pass_finished(dir, entry, (hash, true), sides)
            }
            Ok((Known::FinishedWithLoss(hash), Some(sides))) => {
                let kept = self.keep_again(dir, &entry, hash, &sides).unwrap_or_else(|error| {
                    self.fail(error);
                    false
                });
                self.pass_finished(dir, entry, (hash, kept), sides)
            }
            Ok((Known::Finished(_) | Known::FinishedWithLoss(_), None)) => Some(entry),
            Err(error) => {
                // What is known is not worth a failure; if something is wrong with the file, its
                // copy will say so.
                self.warn(error);
                Some(entry)
            }
        }
    }

    /// Gives a finished copy its source's metadata once more, of which an earlier run could not
    /// keep all; what cannot be kept now either is told again. True if nothing is missing now.
    fn keep_again(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        hash: Option<Hash>,
        sides: &[Stat; 2],
    ) -> Result<bool> {
        let (name, open) = (
            entry.target_name(),
            if entry.followed { fs::open_path_behind } else { fs::open_path },
        );
        let source_error =
            |cause: Cause| Error::new(Operation::Open, dir.source_path(&entry.name), cause);
        let target_error = |cause: Cause| Error::new(Operation::Open, dir.target_path(name), cause);
        let source = open(&dir.source, &entry.name).map_err(|cause| source_error(cause.into()))?;
        let is_file = entry.kind == EntryKind::File;
        let open = if is_file { fs::open_to_read } else { fs::open_path };
        let target = Arc::new(open(&dir.target, name).map_err(|cause| target_error(cause.into()))?);
        let is = |file: &OwnedFd, stat: &Stat| Ok(fs::same_file(&fs::stat(file)?, stat));
        if !is(&source, &sides[0]).map_err(|cause: io::Error| source_error(cause.into()))? {
            return Err(source_error(Cause::Swapped));
        }
        if !is(&target, &sides[1]).map_err(|cause: io::Error| target_error(cause.into()))? {
            return Err(target_error(Cause::Swapped));
        }
        if let Some(journal) = &self.journal {
            // Killed between the two, the next run knows it by what stays the same.
            let relative = self.relative(dir, name);
            let record = journal.finished(
                &relative,
                [&sides[0], &sides[1]],
                (Standing::Linked, false),
                hash,
            );
            self.append(Records { records: vec![record], files_bytes: 0 });
        }
        let from = Node::path_only(&source);
        let to = if is_file { Node::open(&target) } else { Node::path_only(&target) };
        let kept = self.keep(
            dir,
            entry,
            &Metadata { source: from, stat: &sides[0], target: to, existed: false },
        );
        // What is no file cannot be synced itself.
        let synced = self.sync(dir, vec![if is_file { target } else { Arc::clone(&dir.target) }]);
        let synced = synced.into_iter().collect::<io::Result<()>>();
        synced.map_err(|cause| Error::new(Operation::Fsync, dir.target_path(name), cause))?;
        self.record_alone(dir, entry, (&sides[0], kept), hash);
        Ok(kept)
    }

    /// Tells of a finished entry. Its other names, finished or not, are names of the same copy.
    fn pass_finished(
        &self,
        dir: &OpenDir,
        entry: Entry,
        (hash, kept): (Option<Hash>, bool),
        [source, target]: [Stat; 2],
    ) -> Option<Entry> {
        let identity = (target.st_dev, target.st_ino);
        let size_bytes = target.st_size as u64;
        let entry = Admitted::standing(entry);
        self.made.add_earlier(dir, &target);
        let entry = match self.keeper.preserve().links {
            false => entry,
            true => {
                match self.hard_links.meet(&source, self.follows_links(dir), true, dir.dir(), entry)
                {
                    Met::Waits => return None,
                    Met::Link(entry, original) if original.identity != identity => {
                        self.link(dir, &entry, &original).unwrap_or_else(|error| self.fail(error));
                        return None;
                    }
                    Met::Link(entry, _) => entry,
                    Met::Copy(entry, claim) => {
                        let (dir, name) = (dir.dir().clone(), entry.target_name().to_owned());
                        self.keep_claim(claim, || Original {
                            dir,
                            name,
                            identity,
                            size_bytes,
                            hash,
                            kept,
                        });
                        entry
                    }
                }
            }
        };
        Totals::add(&self.totals.resumed, 1);
        if entry.kind == EntryKind::File {
            self.tell(
                dir,
                &entry,
                Put { replaced: true, backup: None },
                Outcome { hash, ..Outcome::unmoved(size_bytes, Route::EARLIER) },
            );
        }
        None
    }

    /// Tells that something which was copied before is copied again.
    pub fn warn_not_resumed(&self, dir: &Dir, entry: &Entry, why: &'static str) {
        self.warn(Error::new(
            Operation::Resume,
            dir.target_path(entry.target_name()),
            Cause::NotResumed(why),
        ));
    }

    /// The temporary name of an entry that the next run would find again, where there may be one.
    pub fn temporary_name(&self, entry: &Entry) -> Option<OsString> {
        self.journal.as_ref().map(|journal| journal.temporary_name(entry.target_name()))
    }

    /// The same for the backup of what stands there, at the same time; no entry's own name has a
    /// NUL.
    pub fn temporary_name_of_backup(&self, entry: &Entry) -> Option<OsString> {
        let mut name = entry.target_name().to_owned();
        name.push("\0");
        self.journal.as_ref().map(|journal| journal.temporary_name(&name))
    }

    /// A path relative to the base.
    pub fn relative(&self, dir: &Dir, target_name: &OsStr) -> PathBuf {
        let target = dir.target_path(target_name);
        target.strip_prefix(&self.base).map_or_else(|_| target.clone(), Path::to_owned)
    }
}

fn stat_source(dir: &OpenDir, entry: &Entry) -> io::Result<Option<Stat>> {
    match entry.followed {
        true => fs::stat_behind(&dir.source, &entry.name),
        false => fs::stat_at(&dir.source, &entry.name),
    }
}
