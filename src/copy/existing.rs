//! What becomes of a file that stands where a copy has to go: cp(1)'s rules. All of it is decided
//! before any data of the source is read, and what is to be replaced goes only in the moment in
//! which the new file takes its name.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Options;
use super::backup::{Backup, BackupNames};
use super::instead::Make;
use super::worker::Run;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileType, Stat};
use crate::report::{Event, Skip, Totals};
use crate::tree::{Dir, Entry, EntryKind, OpenDir};

/// What is done about a file that stands there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExisting {
    /// It is replaced.
    #[default]
    Replace,
    /// [`Sink::confirm`](crate::report::Sink::confirm) is asked.
    Ask,
    /// It stays, and that is no failure.
    Skip,
    /// It stays, and that is a failure.
    Refuse,
}

/// How existing files are treated.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// What is done about them.
    pub rule: OnExisting,
    /// Only those that were modified before the source are replaced.
    pub only_older: bool,
    /// How replaced ones are kept.
    pub backup: Option<Backup>,
    /// Links made instead of copies may replace them.
    pub force: bool,
    /// They may be FIFOs and devices, and a link that is named as destination is replaced instead
    /// of followed.
    pub remove: bool,
}

impl Existing {
    /// Whether a link that is named as destination is itself what is replaced.
    pub fn replaces_links(&self) -> bool {
        self.remove || self.backup.is_some()
    }

    /// Whether every file that is replaced gets a backup of its own.
    fn keeps_all(&self) -> bool {
        self.backup.as_ref().is_some_and(|backup| backup.names == BackupNames::Numbered)
    }

    /// Whether what appears between decision and publishing may be replaced too.
    pub fn is_plain(&self) -> bool {
        self.replaces_all() && self.backup.is_none()
    }

    /// Whether everything is replaced, with a backup or without.
    fn replaces_all(&self) -> bool {
        self.rule == OnExisting::Replace && !self.only_older
    }
}

/// A name in the destination that was found fit for a copy.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    /// Something stands there, and is to go.
    pub occupied: bool,
    may_replace: bool,
    /// It is the name of a backup, which is what the copy is to be.
    pub is_backup: bool,
}

impl Spot {
    fn free(may_replace: bool) -> Self {
        Self { occupied: false, may_replace, is_backup: false }
    }
}

/// A copy got its name.
pub struct Put {
    /// Something stood under it.
    pub replaced: bool,
    /// The other name of what it replaced.
    pub backup: Option<OsString>,
}

impl Put {
    /// What it comes to where no backup is made.
    pub fn of(entry: &Admitted) -> Self {
        Self { replaced: entry.spot.occupied, backup: None }
    }
}

/// The files that were made and could be overwritten: for operands by a later operand, and those
/// that have a name as backups have by a backup.
#[derive(Default)]
pub struct Made {
    /// Device and inode of each.
    files: Mutex<HashSet<(u64, u64)>>,
    /// The same of the files of which backups were made.
    backed_up: Mutex<HashSet<(u64, u64)>>,
    /// Held while a backup is made and a copy gets its name, if there are backups: what stands
    /// there is looked at first.
    turn: Mutex<()>,
    /// The names of those that a dry run would make.
    planned: Mutex<HashSet<PathBuf>>,
}

enum Verdict {
    Replace,
    Skip(Skip),
    /// The file is named as its own copy: the copy is its backup.
    BackUp,
}

/// An entry that is to be copied, since its name is fit for it.
#[derive(Debug)]
pub struct Admitted {
    entry: Entry,
    /// The name.
    pub spot: Spot,
}

impl Admitted {
    /// An entry whose copy stands already. It may be replaced, and is nothing to make a backup of.
    pub fn standing(entry: Entry) -> Self {
        Self { entry, spot: Spot::free(true) }
    }
}

#[cfg(test)]
impl Admitted {
    /// An entry of a directory that the copy itself made.
    pub fn to_fresh(entry: Entry) -> Self {
        Self { entry, spot: Spot::free(false) }
    }
}

impl Deref for Admitted {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

impl Run<'_> {
    /// Lets an entry through whose source has `source` unless it is left out or its name is not
    /// fit. `None` if it is to be left alone.
    pub fn admit(
        &self,
        dir: &OpenDir,
        mut entry: Entry,
        source: &Stat,
    ) -> Result<Option<Admitted>> {
        if entry.kind == EntryKind::File && self.options.filter.excludes_size(source.st_size as u64)
        {
            return Ok(None);
        }
        let spot = self.place(dir, &mut entry, source)?;
        if spot.is_some() && self.options.dry_run {
            self.plan_name(dir, &entry)?;
        }
        Ok(spot.map(|spot| Admitted { entry, spot }))
    }

    /// Decides about the name of `entry`, whose source has `source`; blocks for an answer where
    /// somebody has to be asked. `None` if it is to be left alone, which has been reported.
    fn place(&self, dir: &OpenDir, entry: &mut Entry, source: &Stat) -> Result<Option<Spot>> {
        if dir.fresh {
            return Ok(Some(Spot::free(false)));
        }
        let name = entry.target_name();
        let stands = fs::stat_at(&*dir.target, name)
            .map_err(|cause| Error::new(Operation::Stat, dir.target_path(name), cause))?;
        let Some(stands) = stands else {
            return Ok(Some(Spot::free(self.options.existing.is_plain())));
        };
        match self.judge(dir, entry, source, &stands)? {
            Verdict::Replace => Ok(Some(Spot { occupied: true, ..Spot::free(true) })),
            Verdict::Skip(why) => {
                self.skip(dir, entry, why);
                Ok(None)
            }
            Verdict::BackUp => self.place_backup(dir, entry),
        }
    }

    /// Lets a file be copied to the name of its own backup, and stay what it is.
    fn place_backup(&self, dir: &OpenDir, entry: &mut Entry) -> Result<Option<Spot>> {
        let Some(backup) = &self.options.existing.backup else { return Ok(None) };
        let next =
            backup.next_name(&*dir.target, entry.target_name(), &|name| self.is_copy(dir, name));
        let (name, may_replace) = next.map_err(|cause| {
            Error::new(Operation::MakeBackup, dir.target_path(entry.target_name()), cause)
        })?;
        // What stands there is an older backup, of which none is made. Where no data is copied, it
        // keeps its own.
        let stands = || fs::stat_at(&*dir.target, &name).map(|stands| stands.is_some());
        let occupied = self.options.make == Make::Attributes
            && stands()
                .map_err(|cause| Error::new(Operation::Stat, dir.target_path(&name), cause))?;
        entry.renamed = Some(name);
        Ok(Some(Spot { is_backup: true, occupied, ..Spot::free(may_replace) }))
    }

    /// The rules in cp's order.
    fn judge(&self, dir: &OpenDir, entry: &Entry, source: &Stat, stands: &Stat) -> Result<Verdict> {
        let existing = &self.options.existing;
        let refuse = |cause: Cause| {
            Err(Error::new(Operation::Replace, dir.target_path(entry.target_name()), cause))
        };
        match existing.rule {
            OnExisting::Skip => return Ok(Verdict::Skip(Skip::Exists)),
            OnExisting::Refuse => return refuse(Cause::Exists),
            OnExisting::Replace | OnExisting::Ask => {}
        }
        let same = self.is_same_file(dir, entry, source, stands);
        match same.map_err(|cause| {
            Error::new(Operation::Compare, dir.target_path(entry.target_name()), cause)
        })? {
            Same::Other => {}
            Same::Done => return Ok(Verdict::Skip(Skip::SameFile)),
            Same::BackUp => return Ok(Verdict::BackUp),
            Same::Refused => return refuse(Cause::SameFile),
        }
        let modified = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
        if existing.only_older && modified(stands) >= modified(source) {
            return Ok(Verdict::Skip(Skip::NotOlder));
        }
        if existing.rule == OnExisting::Ask && !self.ask(dir, entry, stands)? {
            return if self.stop.is_requested() {
                Err(self.interrupted(dir, entry))
            } else {
                Ok(Verdict::Skip(Skip::Declined))
            };
        }
        let kind = FileType::from_raw_mode(stands.st_mode);
        if kind == FileType::Directory {
            return refuse(Cause::DirectoryInTheWay);
        }
        let numbered = existing.keeps_all();
        if dir.parent().is_none() && !numbered && self.made.has(stands) {
            return Err(same_name(dir, entry));
        }
        if existing.backup.is_none() && !existing.remove {
            let linked = matches!(self.options.make, Make::HardLink | Make::SymbolicLink);
            if linked
                && entry.kind == EntryKind::File
                && !existing.force
                && existing.rule != OnExisting::Ask
            {
                return refuse(Cause::LinkInstead);
            }
            if let (EntryKind::File, EntryKind::Special(what)) =
                (entry.kind, EntryKind::of_mode(kind))
            {
                return refuse(Cause::SpecialInTheWay(what));
            }
        }
        match &existing.backup {
            Some(backup) if self.is_own_backup(dir, entry, backup)? => {
                refuse(Cause::BackupIsSource)
            }
            _ => Ok(Verdict::Replace),
        }
    }

    fn ask(&self, dir: &OpenDir, entry: &Entry, stands: &Stat) -> Result<bool> {
        use rustix::fs::{Access, AtFlags, accessat};
        let (name, path) = (entry.target_name(), dir.target_path(entry.target_name()));
        let is_link = FileType::from_raw_mode(stands.st_mode) == FileType::Symlink;
        let writable =
            is_link || accessat(&*dir.target, name, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
        let overridden = (!writable).then_some(stands.st_mode & 0o7777);
        self.sink
            .confirm(&path, overridden)
            .map_err(|cause| Error::new(Operation::AskAbout, path, cause))
    }

    /// Whether the backup would take the name of the source: `cp -b f~ f`.
    fn is_own_backup(&self, dir: &OpenDir, entry: &Entry, backup: &Backup) -> Result<bool> {
        let name = entry.target_name();
        if backup.names == BackupNames::Numbered || entry.name != backup.simple_name(name) {
            return Ok(false);
        }
        same_folder(dir)
            .map_err(|cause| Error::new(Operation::Compare, dir.target_path(name), cause))
    }

    fn is_same_file(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        source: &Stat,
        stands: &Stat,
    ) -> io::Result<Same> {
        let existing = &self.options.existing;
        let is_link = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let is_it = fs::same_file(source, stands);
        // A link over the very file that it leads to would lose the data.
        let leads_to_it = || -> io::Result<bool> {
            let behind =
                if is_link(source) { fs::stat_behind(&dir.source, &entry.name)? } else { None };
            Ok(behind.is_some_and(|behind| fs::same_file(&behind, stands)))
        };
        if !is_it && !leads_to_it()? {
            return Ok(Same::Other);
        }
        let same_name = entry.name == entry.target_name() && same_folder(dir)?;
        Ok(match () {
            // Asked for twice over: the copy becomes its backup, as in cp.
            () if same_name
                && existing.backup.is_some()
                && existing.force
                && entry.kind == EntryKind::File =>
            {
                Same::BackUp
            }
            () if self.options.make == Make::HardLink => Same::Done,
            () if same_name => Same::Refused,
            // Moving aside what a followed link leads to would leave the link without an end.
            () if existing.backup.is_some() && entry.followed => Same::Refused,
            () if existing.backup.is_some() => Same::Other,
            () if is_it && is_link(stands) => Same::Done,
            () if existing.remove && is_it && !entry.followed && stands.st_nlink > 1 => Same::Other,
            () => Same::Refused,
        })
    }

    /// Remembers the name that an operand's copy would take, and refuses it to a later one as if
    /// the first stood there.
    fn plan_name(&self, dir: &Dir, entry: &Entry) -> Result<()> {
        if dir.parent().is_some()
            || self.made.plan(dir.target_path(entry.target_name()))
            || self.options.existing.keeps_all()
        {
            return Ok(());
        }
        Err(same_name(dir, entry))
    }

    /// Keeps what stands at the name if that was asked for, and lets `publish` give the copy its
    /// name; it hears whether it may replace. `None` if something that must not be replaced took
    /// the name in between, which has been reported.
    pub fn put(
        &self,
        dir: &OpenDir,
        entry: &Admitted,
        op: Operation,
        publish: impl FnOnce(bool) -> io::Result<()>,
    ) -> Result<Option<Put>> {
        let name = entry.target_name();
        let error = |op, cause: io::Error| Error::new(op, dir.target_path(name), cause);
        let _turn = self.options.existing.backup.as_ref().map(|_| self.made.turn());
        let occupied = entry.spot.occupied
            || self
                .has_become_occupied(dir, entry)
                .map_err(|cause| error(Operation::Stat, cause))?;
        let backup = match &self.options.existing.backup {
            Some(backup) if occupied => {
                let stands = fs::stat_at(&*dir.target, name)
                    .map_err(|cause| error(Operation::Stat, cause))?;
                let temporary = self.temporary_name_of_backup(entry);
                let kept = backup.keep(&*dir.target, name, temporary.as_deref(), &|name| {
                    self.is_copy(dir, name)
                });
                let kept = kept.map_err(|cause| error(Operation::MakeBackup, cause))?;
                // Only now: a run that was killed may have given this very file its backup's name
                // already.
                self.made.back_up(stands.as_ref());
                Some(kept)
            }
            _ => None,
        };
        match publish(entry.spot.may_replace || occupied) {
            Err(cause)
                if cause.raw_os_error() == Some(libc::EEXIST)
                    && self.options.existing.rule == OnExisting::Skip =>
            {
                self.skip(dir, entry, Skip::Exists);
                return Ok(None);
            }
            published => published.map_err(|cause| error(op, cause))?,
        }
        if self.could_be_overwritten(dir, name) {
            let made =
                fs::stat_at(&*dir.target, name).map_err(|cause| error(Operation::Stat, cause))?;
            self.made.add(made.as_ref());
        }
        if self.options.make == Make::Nothing {
            self.tell_copied(dir.target_path(name));
        }
        Ok(Some(Put { replaced: occupied, backup }))
    }

    /// Whether a backup is to be made of what took the name after it was found free: the backup of
    /// another file, or, if the copy itself is one, another copy.
    fn has_become_occupied(&self, dir: &OpenDir, entry: &Admitted) -> io::Result<bool> {
        let Options { existing, .. } = self.options;
        if existing.backup.is_none() || dir.fresh {
            return Ok(false);
        }
        match entry.spot {
            Spot { is_backup: true, .. } => self.is_copy(dir, entry.target_name()),
            Spot { may_replace: false, .. } => {
                let stands = fs::stat_at(&*dir.target, entry.target_name())?;
                Ok(stands.is_some_and(|stands| {
                    existing.replaces_all() || self.made.has_backed_up(&stands)
                }))
            }
            _ => Ok(false),
        }
    }

    /// Whether a copy is to be remembered.
    fn could_be_overwritten(&self, dir: &Dir, name: &OsStr) -> bool {
        dir.parent().is_none()
            || self.options.existing.backup.as_ref().is_some_and(|backup| backup.may_be(name))
    }

    /// Whether what has a name is a copy, of this run or of the one that it goes on with, or a
    /// backup of this run: no backup takes its place.
    fn is_copy(&self, dir: &OpenDir, name: &OsStr) -> io::Result<bool> {
        let Some(stands) = fs::stat_at(&*dir.target, name)? else { return Ok(false) };
        Ok(self.made.has(&stands)
            || self.made.has_backed_up(&stands)
            || self.is_on_record(dir, name)?)
    }

    /// Reports what is left alone.
    pub fn skip(&self, dir: &Dir, entry: &Entry, why: Skip) {
        Totals::add(&self.totals.skipped, 1);
        self.sink.event(Event::Skipped(dir.target_path(entry.target_name()), why));
    }
}

fn same_name(dir: &Dir, entry: &Entry) -> Error {
    Error::new(Operation::Copy, dir.source_path(&entry.name), Cause::SameName)
}

/// Whether source and destination are in one directory.
fn same_folder(dir: &OpenDir) -> io::Result<bool> {
    Ok(fs::same_file(&fs::stat(&dir.source)?, &fs::stat(&dir.target)?))
}

/// What two names have to do with each other.
enum Same {
    /// One may replace the other.
    Other,
    /// There is nothing left to do.
    Done,
    /// One is to be copied to the name of its backup.
    BackUp,
    Refused,
}

impl Made {
    /// Adds a copy that an earlier run made, if it is an operand's.
    pub fn add_earlier(&self, dir: &Dir, stat: &Stat) {
        if dir.parent().is_none() {
            self.add(Some(stat));
        }
    }

    fn add(&self, stat: Option<&Stat>) {
        self.files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(stat.map(|stat| (stat.st_dev, stat.st_ino)));
    }

    fn back_up(&self, stat: Option<&Stat>) {
        let mut backed_up = self.backed_up.lock().unwrap_or_else(PoisonError::into_inner);
        backed_up.extend(stat.map(|stat| (stat.st_dev, stat.st_ino)));
    }

    fn has_backed_up(&self, stat: &Stat) -> bool {
        self.backed_up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&(stat.st_dev, stat.st_ino))
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, stat: &Stat) -> bool {
        self.files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&(stat.st_dev, stat.st_ino))
    }

    /// False if the name is planned already.
    fn plan(&self, path: PathBuf) -> bool {
        self.planned.lock().unwrap_or_else(PoisonError::into_inner).insert(path)
    }
}
