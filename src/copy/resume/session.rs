//! What a run records in its journal, and what it asks of it. Without `--resume` there is no
//! journal: nothing is recorded, and nothing is known.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use super::file::Journal;
use super::format::{DirOpened, Finished, Record, Standing};
use super::identity::JournalIdentity;
use super::index::Window;
use super::known::{self, Known, Looked, Sides, stat_key};
use super::manner::Manner;
use crate::copy::entry::At;
use crate::copy::events::Events;
use crate::copy::options::Options;
use crate::digest::Hash;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, Mark, Seen, Stat, Trust};
use crate::pipeline::Pipeline;
use crate::report::Unheeded;
use crate::tree::{Dir, Kept, OpenDir};

/// Records of small files that a power cut may cost, by the bytes of those files.
const UNSYNCED_BYTES_MAX: u64 = 64 << 20;

/// What a file counts besides its bytes, so that the records of many empty ones become durable too.
const FILE_BYTES: u64 = 4096;

/// What a batch has to record.
#[derive(Default)]
pub struct Records {
    records: Vec<Record>,
    /// How many of them the journal has already.
    written: usize,
    files_bytes: u64,
}

impl Records {
    /// What is no file of this run's.
    fn of(records: Vec<Record>) -> Self {
        Self { records, ..Self::default() }
    }
}

/// A durable file that is about to get its name.
pub struct Unnamed<'a> {
    pub at: At<'a>,
    pub file: &'a OwnedFd,
    /// What its source answered when it was opened.
    pub source: &'a Seen,
    /// How much of its metadata was kept.
    pub kept: Kept,
    pub hash: Option<Hash>,
    /// Whether it was copied part by part.
    pub is_partial: bool,
}

/// The name under which a copy stands.
pub struct FirstName<'a> {
    pub dir: &'a Dir,
    pub name: &'a OsStr,
    /// How much of the copy's metadata was kept.
    pub kept: Kept,
    pub hash: Option<Hash>,
}

/// Looks at a source and its copy.
#[derive(Clone, Copy)]
pub struct Looks<'a> {
    pub source: &'a Seen,
    pub target: &'a Seen,
}

fn looked(at: At<'_>, Looks { source, target }: Looks<'_>) -> Looked {
    Looked {
        source: known::look(source, at.source_trust(&source.stat)),
        target: known::look(target, at.target_trust()),
    }
}

/// What source and copy answer now.
fn sides(at: At<'_>, source: &Stat, target: &Stat) -> Sides {
    Sides {
        source: stat_key(source, at.source_trust(source)),
        target: stat_key(target, at.target_trust()),
        target_is_linked: target.st_nlink > 1,
    }
}

/// What the answers of both sides of a directory are worth.
#[derive(Clone, Copy)]
pub struct Trusts {
    source: Trust,
    target: Trust,
}

impl Trusts {
    /// Asks while the directory is open.
    pub fn of(dir: &OpenDir) -> Self {
        Self { source: dir.source_trust(), target: dir.target_trust() }
    }
}

fn dir_sides(dir: &Dir, target: &Stat, trusts: Trusts) -> Sides {
    Sides {
        source: stat_key(&dir.stat, trusts.source),
        target: stat_key(target, trusts.target),
        target_is_linked: false,
    }
}

/// When the journal is to be made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// If there is much to lose.
    IfMuch,
    /// If there is anything to lose.
    IfAny,
}

/// What the run has to do with its journal, if it has one.
pub struct Resume<'a> {
    pub(super) journal: Option<Journal>,
    /// How this run makes what it records.
    manner: Manner,
    pub(super) options: &'a Options,
    pub(super) events: &'a Events<'a>,
    pub(super) pipeline: &'a Pipeline<'a>,
}

impl<'a> Resume<'a> {
    /// Opens the journal of an interrupted run, or begins one. Without an identity there is none.
    pub fn open(
        identity: Option<JournalIdentity>,
        options: &'a Options,
        events: &'a Events<'a>,
        pipeline: &'a Pipeline<'a>,
    ) -> Result<Self> {
        let opened = identity.map(Journal::open).transpose()?;
        let journal = opened.map(|(journal, warning)| {
            warning.into_iter().for_each(|warning| events.warn(warning));
            journal
        });
        let manner = Manner::of(options);
        let is_on_record = journal.as_ref().is_some_and(|it| it.last_manner() == Some(&manner));
        let resume = Self { journal, manner, options, events, pipeline };
        if !is_on_record {
            resume.append(Records::of(vec![Record::Manner(resume.manner.clone())]));
        }
        Ok(resume)
    }

    /// The journal, when the run has ended.
    pub fn into_journal(self) -> Option<Journal> {
        self.journal
    }

    /// Whether there is a journal.
    pub fn is_on(&self) -> bool {
        self.journal.is_some()
    }

    /// Whether an earlier run may have made something that is not durable yet.
    pub fn has_predecessor(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::has_predecessor)
    }

    /// Adds a copy that has its name, and how much of its metadata was kept. It answered
    /// `copy` itself: what has the name by now may be a stranger. One that could not be asked,
    /// which was told, is not recorded.
    pub fn record(
        &self,
        at: At<'_>,
        source: &Seen,
        copy: Option<&Stat>,
        kept: Kept,
        hash: Option<Hash>,
        records: &mut Records,
    ) {
        let (Some(journal), Some(&copy)) = (&self.journal, copy) else { return };
        let has_others = source.stat.st_nlink > 1 || self.options.follows_links(at.dir);
        let standing = match has_others {
            true => Standing::Linked,
            // A filesystem that has no O_TMPFILE keeps the hidden name of an open file.
            false if copy.st_nlink > 1 => Standing::Closing,
            false => Standing::Settled,
        };
        let target = at.dir.see_copy(copy);
        let looked = looked(at, Looks { source, target: &target });
        records.records.push(journal.finished(&self.relative(at), looked, standing, kept, hash));
        records.files_bytes += FILE_BYTES + source.stat.st_size as u64;
    }

    /// What was recorded of names in a directory, or is yet to be, may not be durable: the next run
    /// sees to that.
    pub fn doubt(&self, dir: &Dir, names: &[OsString], records: &mut Records) {
        let Some(journal) = &self.journal else { return };
        for name in names {
            let name = journal.name(&self.events.relative(dir, name));
            journal.doubt(name);
            // The journal has it already, and its change time tells nothing any more.
            let again = records.records[..records.written].iter().find_map(|record| match record {
                Record::Finished(finished) if finished.name == name => {
                    Some(Finished { standing: Standing::Retried, ..finished.clone() })
                }
                _ => None,
            });
            records.records.extend(again.map(Record::Finished));
        }
    }

    /// Nothing that was recorded until now may be durable: the next run sees to that.
    pub fn doubt_all(&self) {
        self.append(Records::of(vec![Record::Doubted]));
    }

    /// Records files where it would not do to copy them once more if the run is killed before it
    /// can record that they have their names. So it is with big ones, and with all where the next
    /// run would leave them alone as strangers, or make a backup of them.
    pub fn record_unnamed<'f>(&self, files: impl Iterator<Item = Unnamed<'f>>) {
        let Some(journal) = &self.journal else { return };
        let mut records = Vec::new();
        for Unnamed { at, file, source, kept, hash, is_partial } in files {
            if !is_partial && self.options.existing.is_plain() {
                continue;
            }
            match fs::stat(file) {
                Ok(stat) => {
                    let (relative, target) = (self.relative(at), at.dir.see_copy(stat));
                    let looked = looked(at, Looks { source, target: &target });
                    let standing = Standing::Unnamed;
                    records.push(journal.finished(&relative, looked, standing, kept, hash));
                }
                Err(cause) => self.events.fail(at.target_error(Operation::Stat, cause)),
            }
        }
        self.append_unnamed(journal, records);
    }

    /// Records a link or special file, or one more name of a file, that is about to get its name.
    pub fn record_unnamed_link(
        &self,
        at: At<'_>,
        looks: Looks<'_>,
        kept: Kept,
        hash: Option<Hash>,
    ) {
        if let Some(journal) = &self.journal
            && !self.options.existing.is_plain()
        {
            let (relative, looked) = (self.relative(at), looked(at, looks));
            let record = journal.finished(&relative, looked, Standing::Unnamed, kept, hash);
            self.append_unnamed(journal, vec![record]);
        }
    }

    /// Records that a copy is about to get a hidden name, which becomes the one of `at` or is
    /// removed: its change time tells nothing from now on. Both names have the source that was
    /// looked at.
    pub fn record_hidden_link(&self, at: At<'_>, looks: Looks<'_>, first: FirstName<'_>) {
        let Some(journal) = &self.journal else { return };
        let FirstName { dir, name, kept, hash } = first;
        let (relative, looked) = (self.events.relative(dir, name), looked(at, looks));
        let standing = match kept {
            Kept::All => Standing::Closing,
            Kept::Part => Standing::Retried,
        };
        let record = journal.finished(&relative, looked, standing, kept, hash);
        self.append(Records::of(vec![record]));
    }

    fn append_unnamed(&self, journal: &Journal, records: Vec<Record>) {
        let replaces = !records.is_empty() && self.options.existing.backup.is_some();
        self.append(Records::of(records));
        // The new file would take the place of the old one's backup: not even a power cut may leave
        // the name without the record.
        if replaces
            && let Some(Err(cause)) = self.pipeline.sync(vec![Arc::clone(journal.file())]).pop()
        {
            self.events.fail(Error::new(Operation::FsyncJournal, journal.path(), cause));
        }
    }

    /// Records that something finished stands, and that not all of its metadata was kept. Killed
    /// before that is tried again, the next run knows it by what stays the same.
    pub fn record_loss(&self, at: At<'_>, completed: &Completed) {
        if let Some(journal) = &self.journal {
            let Completed { source, target, hash, .. } = completed;
            let (relative, looked) = (self.relative(at), looked(at, Looks { source, target }));
            let record = journal.finished(&relative, looked, Standing::Retried, Kept::Part, *hash);
            self.append(self.made_earlier(completed, vec![record]));
        }
    }

    /// Records something finished once more, which has as much of its metadata now.
    pub fn record_again(&self, at: At<'_>, completed: &Completed, kept: Kept) {
        let mut records = Records::default();
        let Completed { source, target, hash, .. } = completed;
        self.record(at, source, Some(&target.stat), kept, *hash, &mut records);
        self.append(self.made_earlier(completed, records.records));
    }

    /// Records of what an earlier run made, in its manner.
    fn made_earlier(&self, completed: &Completed, mut records: Vec<Record>) -> Records {
        if let Some(manner) = &completed.otherwise {
            records.insert(0, Record::Manner(manner.clone()));
            records.push(Record::Manner(self.manner.clone()));
        }
        Records::of(records)
    }

    /// What this run's options change nothing of.
    pub fn unheeded(&self, completed: &Completed) -> Vec<Unheeded> {
        let earlier = completed.otherwise.as_ref();
        earlier.map(|earlier| self.manner.unheeded(earlier).collect()).unwrap_or_default()
    }

    /// Records one entry by itself.
    pub fn record_alone(
        &self,
        at: At<'_>,
        source: &Seen,
        copy: Option<&Stat>,
        kept: Kept,
        hash: Option<Hash>,
    ) {
        let mut records = Records::default();
        self.record(at, source, copy, kept, hash, &mut records);
        self.append(records);
    }

    /// Adds a directory whose metadata and names are durable.
    pub fn record_dir(&self, dir: &Dir, target: &OwnedFd, trusts: Trusts, records: &mut Records) {
        let (Some(journal), true) = (&self.journal, dir.parent().is_some()) else { return };
        match fs::stat(target) {
            Ok(stat) => {
                let relative = self.events.relative(dir, OsStr::new(""));
                let source = Seen { stat: dir.stat, settled: dir.settled };
                let target = Seen::copy(stat, || fs::clock_of(target));
                let looked = Looked {
                    source: known::look(&source, trusts.source),
                    target: known::look(&target, trusts.target),
                };
                let record =
                    journal.finished(&relative, looked, Standing::Settled, Kept::All, None);
                records.records.push(record);
                records.files_bytes += FILE_BYTES;
            }
            Err(cause) => {
                let path = dir.target_path(OsStr::new(""));
                self.events.fail(Error::new(Operation::Stat, path, cause));
            }
        }
    }

    /// Gives the owner of a directory the rights that the work needs, see [`OpenDir::open_up`]. The
    /// next run knows the mode before, should this one be killed.
    pub fn open_up(&self, dir: &OpenDir) -> Result<()> {
        dir.open_up(|| {
            let mode = self.mode_before(dir);
            if let Some(journal) = &self.journal {
                let name = journal.name(&self.events.relative(dir, OsStr::new("")));
                let record = Record::Opened(DirOpened { name, mode });
                self.append(Records::of(vec![record]));
            }
            mode
        })
    }

    /// The mode that a directory of the destination had before a run gave its owner more rights.
    pub fn mode_before(&self, dir: &Dir) -> u32 {
        let mode = dir.target_stat.st_mode & 0o7777;
        let journal = self.journal.as_ref().filter(|_| dir.parent().is_some());
        let before = journal
            .and_then(|journal| journal.mode_before(&self.events.relative(dir, OsStr::new(""))));
        before.filter(|before| before | fs::ALL_OF_OWNER == mode).unwrap_or(mode)
    }

    /// Writes to the journal. Where that fails the next run has more to do, and this one has
    /// failed, but no file has.
    pub fn append(&self, mut records: Records) {
        self.append_now(&mut records);
    }

    /// Writes what a batch has to record so far, before something else is recorded of it.
    pub fn append_now(&self, records: &mut Records) {
        if let Some(journal) = &self.journal {
            let Records { records, written, files_bytes } = records;
            let appended = journal.append(&mut records[*written..], std::mem::take(files_bytes));
            *written = records.len();
            appended.unwrap_or_else(|error| self.events.fail(error));
        }
    }

    /// The journal, if it is time to make it durable.
    pub fn due(&self, due: Due) -> Option<&Journal> {
        let bytes_max = match due {
            Due::IfAny => 1,
            Due::IfMuch => UNSYNCED_BYTES_MAX.min(self.options.journal_interval_bytes),
        };
        self.journal.as_ref().filter(|journal| journal.is_due(bytes_max))
    }

    /// Whether an entry is the one of its source's names to be copied.
    pub fn is_first_name(&self, at: At<'_>, source: &Stat) -> bool {
        let known = self.journal.as_ref().filter(|journal| journal.has_first_names());
        known.is_none_or(|journal| {
            let source = stat_key(source, at.source_trust(source));
            journal.is_first_name(&self.relative(at), &source)
        })
    }

    /// Whether an earlier run finished this directory, and nothing has changed in it since.
    pub fn is_finished_dir(&self, dir: &OpenDir) -> bool {
        let Some(journal) = &self.journal else { return false };
        let relative = self.events.relative(dir, OsStr::new(""));
        let found = journal.find(&relative, &mut Window::narrow());
        let Ok(Some((record, _))) = found else { return false };
        let known = fs::stat(&*dir.target)
            .map(|target| journal.known(&record, &dir_sides(dir, &target, Trusts::of(dir))));
        matches!(known, Ok(Known::Finished(_)))
    }

    /// Whether an earlier run finished a copy of this name.
    pub fn is_on_record(&self, dir: &Dir, target_name: &OsStr) -> io::Result<bool> {
        let Some(journal) = &self.journal else { return Ok(false) };
        let relative = self.events.relative(dir, target_name);
        Ok(journal.find(&relative, &mut Window::narrow())?.is_some())
    }

    /// For looking up the entries of a directory, if there is a journal.
    pub fn earlier(&self, dir: &OpenDir) -> Option<Earlier<'_>> {
        let journal = self.journal.as_ref()?;
        let path = self.events.relative(dir, OsStr::new(""));
        Some(Earlier { journal, manner: &self.manner, window: Window::wide(), path })
    }

    /// Tells that something which was copied before is copied again.
    pub fn warn_not_resumed(&self, at: At<'_>, why: &'static str) {
        self.events.warn(at.target_error(Operation::Resume, Cause::NotResumed(why)));
    }

    /// What hidden names are marked with, so that the next run finds them.
    pub fn mark(&self) -> Option<Mark> {
        self.journal.as_ref().map(Journal::mark)
    }

    pub(super) fn relative(&self, at: At<'_>) -> PathBuf {
        self.events.relative(at.dir, at.target_name())
    }
}

/// What is needed to look up one entry of a directory after the other.
pub struct Earlier<'a> {
    journal: &'a Journal,
    /// How the run makes what it records.
    manner: &'a Manner,
    window: Window,
    /// The directory's, relative to the base.
    path: PathBuf,
}

/// What an earlier run made of an entry.
pub enum Found {
    /// Nothing that can be relied upon.
    Nothing,
    /// It copied it, but that is no longer what stands there.
    Changed(&'static str),
    /// It finished it, and nothing has changed since.
    Finished(Box<Completed>),
}

/// Something that an earlier run finished.
pub struct Completed {
    pub source: Seen,
    pub target: Seen,
    pub hash: Option<Hash>,
    /// How much of its metadata was kept.
    pub kept: Kept,
    /// How it was made, if that is not how this run would.
    pub otherwise: Option<Manner>,
}

impl Earlier<'_> {
    /// What the journal says of an entry, and what both sides say to that.
    pub fn find(&mut self, at: At<'_>) -> io::Result<Found> {
        self.path.push(at.target_name());
        let journal = self.journal;
        let record = journal.find(&self.path, &mut self.window);
        self.path.pop();
        let Some((record, manner)) = record? else { return Ok(Found::Nothing) };
        let otherwise = manner.filter(|manner| *manner != self.manner).cloned();
        let target = at.stat_target()?;
        let (Some(source), Some(target)) = (at.see_source()?, target) else {
            // What is gone is copied again, and needs no explanation.
            return Ok(Found::Nothing);
        };
        let known = self.journal.known(&record, &sides(at, &source.stat, &target));
        let target = at.dir.see_copy(target);
        let finished = |hash, kept| {
            Found::Finished(Box::new(Completed { source, target, hash, kept, otherwise }))
        };
        Ok(match known {
            Known::Nothing => Found::Nothing,
            Known::Changed(why) => Found::Changed(why),
            Known::Finished(hash) => finished(hash, Kept::All),
            Known::FinishedWithLoss(hash) => finished(hash, Kept::Part),
        })
    }
}
