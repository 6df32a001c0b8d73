//! Finds a name fit for a copy before any data of the source is read, and takes it when the copy is
//! whole. What is to be replaced goes only in the moment in which the new file takes its name.

use std::ffi::OsStr;
use std::io;
use std::ops::Deref;

use super::backup;
use super::grains::Grains;
use super::in_place::InPlace;
use super::made::MadeFiles;
use super::rules::{self, Facts, Relation, Verdict};
use super::sources::SourceFiles;
use crate::copy::entry::At;
use crate::copy::events::{Events, Published};
use crate::copy::options::{Action, Backup, BackupNames, OnExisting, Options};
use crate::copy::resume::Resume;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{
    self, Age, FileId, FileType, Given, IfTaken, Moment, Name, Sameness, Stat, Target, Unpublished,
};
use crate::report::Skip;
use crate::tree::{Dir, Entry, EntryKind, NameHolder, OpenDir, Rights, TakenNames};

const STICKY_BIT: u32 = 0o1000;

/// A name in the destination that was found fit for a copy.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    /// Something stands there, and is to go.
    pub occupied: bool,
    if_taken: IfTaken,
    /// It is the name of a backup, which is what the copy is to be.
    pub is_backup: bool,
    /// The file that cp would write into: the copy keeps what of it is not the source's.
    pub replaced: Option<Rights>,
    /// The file that the copy is written into.
    pub in_place: Option<FileId>,
}

impl Spot {
    fn free(if_taken: IfTaken) -> Self {
        Self { occupied: false, if_taken, is_backup: false, replaced: None, in_place: None }
    }
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
        Self { entry, spot: Spot::free(IfTaken::Replace) }
    }

    /// What its publishing comes to where no backup is made.
    pub fn planned(&self) -> Published {
        let Spot { occupied: replaced, in_place, .. } = self.spot;
        Published { replaced, in_place: in_place.is_some(), backup: None, stat: None }
    }
}

#[cfg(test)]
impl Admitted {
    /// An entry of a directory that the copy itself made.
    pub fn to_fresh(entry: Entry) -> Self {
        Self { entry, spot: Spot::free(IfTaken::Refuse) }
    }
}

impl Deref for Admitted {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.entry
    }
}

/// The names that copies get.
pub struct Names<'a> {
    options: &'a Options,
    events: &'a Events<'a>,
    resume: &'a Resume<'a>,
    in_place: InPlace<'a>,
    made: MadeFiles,
    grains: Grains,
}

impl<'a> Names<'a> {
    pub fn new(
        options: &'a Options,
        events: &'a Events<'a>,
        resume: &'a Resume<'a>,
        sources: SourceFiles,
    ) -> Self {
        let (in_place, made) = (InPlace::new(options, sources), MadeFiles::default());
        let grains = Grains::new(options.dry_run);
        Self { options, events, resume, in_place, made, grains }
    }

    /// Opens what stands at an entry's name to be written into, if that is wanted. Nothing where a
    /// new file takes the name.
    pub fn open_in_place(
        &self,
        dir: &OpenDir,
        entry: &Admitted,
        source: &Stat,
    ) -> Result<Option<Target>> {
        let Some(stood) = entry.spot.in_place else { return Ok(None) };
        let target = self.in_place.open(At::new(dir, entry), stood, source)?;
        if target.is_none() {
            self.resume.open_up(dir)?;
        }
        Ok(target)
    }

    /// Remembers what an earlier run finished, so that nothing is written into it. False if that
    /// was done by another of its names.
    pub fn keep_finished(&self, at: At<'_>) -> bool {
        self.in_place.keep_finished(at)
    }

    /// Remembers a copy that gets one more name: nothing is written into it by a later one.
    pub fn keep_linked(&self, dir: &OpenDir, name: &OsStr, stat: &Stat) {
        self.in_place.keep(dir, name, stat);
    }

    /// Lets an entry through whose source answered `source`, unless it is left out or its name is
    /// not fit. `None` if it is to be left alone, which was told where that is worth a word. Blocks
    /// for an answer where a question has to be asked.
    pub fn admit(
        &self,
        dir: &OpenDir,
        mut entry: Entry,
        source: &Stat,
    ) -> Result<Option<Admitted>> {
        let size_bytes = source.st_size as u64;
        if entry.kind == EntryKind::File && self.options.filter.excludes_size(size_bytes) {
            return Ok(None);
        }
        let Some(mut spot) = self.find_spot(dir, &mut entry, source)? else { return Ok(None) };
        if self.options.dry_run {
            let at = At::new(dir, &entry);
            let look = |stood| self.in_place.look(at, stood, source);
            if spot.in_place.map(look).transpose()?.flatten().is_none() {
                spot.in_place = None;
            }
            self.plan_name(at, spot)?;
        } else if spot.in_place.is_none() {
            self.resume.open_up(dir)?;
        }
        Ok(Some(Admitted { entry, spot }))
    }

    fn find_spot(&self, dir: &OpenDir, entry: &mut Entry, source: &Stat) -> Result<Option<Spot>> {
        if dir.fresh {
            return Ok(Some(Spot::free(IfTaken::Refuse)));
        }
        let at = At::new(dir, entry);
        let stands = at.stat_target().map_err(|cause| at.target_error(Operation::Stat, cause))?;
        let Some(stands) = stands else {
            let if_taken =
                if self.options.existing.is_plain() { IfTaken::Replace } else { IfTaken::Refuse };
            return Ok(Some(Spot::free(if_taken)));
        };
        if let Some(taken) = dir.taken_names() {
            self.refuse_clash(at, &taken, &stands)?;
        }
        match self.judge(at, source, &stands)? {
            Verdict::Skip(why) => {
                self.take_name(at, &stands)?;
                self.events.skip(at, why);
                Ok(None)
            }
            Verdict::BackUp => self.find_backup_spot(dir, entry),
            Verdict::Refuse(Cause::SameName) => Err(same_name(at)),
            Verdict::Refuse(cause) => Err(at.target_error(Operation::Replace, cause)),
            Verdict::Replace | Verdict::Ask | Verdict::FindGrain(_) => {
                self.take_name(at, &stands)?;
                let Options { existing, action, .. } = self.options;
                let are_files = at.entry.kind == EntryKind::File
                    && FileType::from_raw_mode(stands.st_mode) == FileType::RegularFile;
                let is_kept = are_files && !existing.replaces_links() && !is_planted(at, &stands);
                let replaced = is_kept.then(|| Rights::of(&stands));
                let is_written = are_files && existing.in_place && *action == Action::Copy;
                let in_place = is_written.then(|| FileId::of(&stands));
                let spot = Spot::free(IfTaken::Replace);
                Ok(Some(Spot { occupied: true, replaced, in_place, ..spot }))
            }
        }
    }

    /// Refuses an entry whose name leads to what was made under another name of the source.
    fn refuse_clash(&self, at: At<'_>, taken: &TakenNames, stands: &Stat) -> Result<()> {
        let other = at.dir.other_taken(taken, at.target_name(), stands);
        match other.map_err(|cause| at.target_error(Operation::Stat, cause))? {
            Some(other) => Err(at.clash(&other)),
            None => Ok(()),
        }
    }

    /// Takes a name under which something stands, for this entry alone.
    fn take_name(&self, at: At<'_>, stands: &Stat) -> Result<()> {
        let other = at.dir.take_name(at.target_name(), stands);
        match other.map_err(|cause| at.target_error(Operation::Stat, cause))? {
            Some(other) => Err(at.clash(&other)),
            None => Ok(()),
        }
    }

    /// Lets a file be copied to the name of its own backup, and stay what it is.
    fn find_backup_spot(&self, dir: &OpenDir, entry: &mut Entry) -> Result<Option<Spot>> {
        let Some(backup) = &self.options.existing.backup else { return Ok(None) };
        let at = At::new(dir, entry);
        let is_kept = |name: &OsStr| self.is_copy(dir, name);
        let next = backup.next_name(&*dir.target, at.target_name(), &is_kept);
        let (name, if_taken) =
            next.map_err(|cause| at.target_error(Operation::MakeBackup, cause))?;
        // What stands there is an older backup, of which none is made. Where no data is copied, it
        // keeps its own.
        let occupied = match self.options.action {
            Action::Attributes => fs::stat_at(&*dir.target, &name)
                .map_err(|cause| Error::new(Operation::Stat, dir.target_path(&name), cause))?
                .is_some(),
            _ => false,
        };
        entry.renamed = Some(name);
        Ok(Some(Spot { is_backup: true, occupied, ..Spot::free(if_taken) }))
    }

    /// Gathers the facts, and asks if they call for it.
    fn judge(&self, at: At<'_>, source: &Stat, stands: &Stat) -> Result<Verdict> {
        let existing = &self.options.existing;
        let compare_error = |cause| at.target_error(Operation::Compare, cause);
        let relation = match existing.rule {
            // Where what stands there stays anyway, nothing more is asked about it.
            OnExisting::Skip | OnExisting::Refuse => Relation::Strangers,
            OnExisting::Replace | OnExisting::Ask => {
                relation(at, source, stands).map_err(compare_error)?
            }
        };
        let mut facts = Facts {
            existing,
            action: self.options.action,
            kind: at.entry.kind,
            is_followed: at.entry.followed,
            stands: FileType::from_raw_mode(stands.st_mode),
            stands_names: u64::from(stands.st_nlink as u32),
            age: fs::age(stands, Moment::modified(source)),
            relation,
            is_made: at.dir.parent().is_none() && self.made.has(at.dir, at.target_name(), stands),
            is_own_backup: self.is_own_backup(at).map_err(compare_error)?,
            answer: None,
        };
        let mut verdict = rules::judge(&facts);
        if let Verdict::FindGrain(needed) = verdict {
            let (exact, stored) = (Moment::modified(source), Moment::modified(stands));
            let is_cut = self.grains.cut(at.dir, exact, stored, needed);
            facts.age = if is_cut { Age::NotOlder } else { Age::Older };
            verdict = rules::judge(&facts);
        }
        if !matches!(verdict, Verdict::Ask) {
            return Ok(verdict);
        }
        facts.answer = Some(self.ask(at, stands)?);
        if facts.answer == Some(false) && self.options.stop.is_requested() {
            return Err(at.interrupted());
        }
        Ok(rules::judge(&facts))
    }

    fn ask(&self, at: At<'_>, stands: &Stat) -> Result<bool> {
        use crate::fs::call::{Access, AtFlags, accessat};
        let (target, name) = (&*at.dir.target, at.target_name());
        let is_link = FileType::from_raw_mode(stands.st_mode) == FileType::Symlink;
        let writable =
            is_link || accessat(target, name, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
        let overridden = (!writable).then_some(stands.st_mode & 0o7777);
        let answer = self.events.confirm(&at.target_path(), overridden);
        answer.map_err(|cause| at.target_error(Operation::AskAbout, cause))
    }

    /// Whether the backup would take the name of the source: `cp -b f~ f`.
    fn is_own_backup(&self, at: At<'_>) -> io::Result<bool> {
        let takes_it = |backup: &Backup| {
            let is_simple = match backup.names {
                BackupNames::Simple | BackupNames::Existing => true,
                BackupNames::Numbered => false,
            };
            is_simple && at.entry.name == backup.simple_name(at.target_name())
        };
        Ok(self.options.existing.backup.as_ref().is_some_and(takes_it) && is_one_folder(at.dir)?)
    }

    /// Remembers the name that an operand's copy would take, and refuses it to a later one as if
    /// the first stood there.
    fn plan_name(&self, at: At<'_>, spot: Spot) -> Result<()> {
        let changes_attributes = self.options.action == Action::Attributes && spot.occupied;
        if spot.in_place.is_some() {
            self.in_place.foresee(at)?;
        } else if !at.dir.planned && !changes_attributes {
            at.dir.foresee_names().map_err(|cause| at.target_error(Operation::Create, cause))?;
            if spot.occupied {
                fs::may_replace(&at.dir.target, at.target_name())
                    .map_err(|cause| self.replace_error(at, Operation::Create, cause))?;
            }
        }
        let is_free = at.dir.parent().is_some() || self.made.plan(at.target_path());
        if is_free || self.options.existing.keeps_all() { Ok(()) } else { Err(same_name(at)) }
    }

    /// Keeps what stands at the name if that was asked for, and lets `publish` give the copy its
    /// name; it hears what to do if that is taken. `None` if something that must not be replaced
    /// took the name in between, which was told.
    pub fn publish(
        &self,
        dir: &OpenDir,
        entry: &Admitted,
        op: Operation,
        publish: impl FnOnce(IfTaken) -> std::result::Result<Given, Unpublished>,
    ) -> Result<Option<Published>> {
        let at = At::new(dir, entry);
        let _turn = self.options.existing.backup.as_ref().map(|_| self.made.turn());
        // Without names that are refused in one step, two copies could take one at once.
        let mut turn = dir.turn();
        let taken = turn.as_deref_mut().filter(|_| dir.remembers_names());
        if let Some(taken) = &taken
            && let Some(stands) =
                at.stat_target().map_err(|cause| at.target_error(Operation::Stat, cause))?
        {
            self.refuse_clash(at, taken, &stands)?;
        }
        let replaced = entry.spot.occupied
            || self
                .needs_backup_now(dir, entry)
                .map_err(|cause| at.target_error(Operation::Stat, cause))?;
        let backup = match &self.options.existing.backup {
            Some(backup) if replaced => self.back_up(at, backup)?,
            _ => None,
        };
        let if_taken = if replaced { IfTaken::Replace } else { entry.spot.if_taken };
        let given = match publish(if_taken) {
            Ok(given) => given,
            Err(Unpublished { cause, left_behind }) => {
                backup.iter().for_each(|backup| self.put_back(at, backup));
                self.tell_left_behind(at, left_behind);
                let is_taken = cause.raw_os_error() == Some(libc::EEXIST);
                let is_stranger = !(is_taken && dir.fresh) || self.is_stranger(at)?;
                if is_taken && is_stranger && self.options.existing.rule == OnExisting::Skip {
                    self.events.skip(at, Skip::Exists);
                    return Ok(None);
                }
                return Err(self.replace_error(at, op, cause));
            }
        };
        let stat = self.remember(at, op, taken, given);
        if self.options.action == Action::Compare {
            self.events.replaced_what_differed(&at.target_path());
        }
        Ok(Some(Published { replaced, in_place: false, backup, stat }))
    }

    /// Why something cannot be replaced. What could be written into is told as that, unless it was
    /// asked for and is not done.
    fn replace_error(&self, at: At<'_>, op: Operation, cause: io::Error) -> Error {
        match self.options.existing.in_place {
            true => at.target_error(op, cause),
            false => at.replace_error(op, cause),
        }
    }

    /// Remembers a copy that has its name, as far as it is to be known again. What it answers is
    /// asked of the file: by now another one may have the name, which is no copy of this run. A
    /// failure of all that is told, and takes the name from no one.
    fn remember(
        &self,
        at: At<'_>,
        op: Operation,
        taken: Option<&mut TakenNames>,
        mut given: Given,
    ) -> Option<Stat> {
        self.tell_left_behind(at, given.left_behind.take());
        let (dir, name) = (at.dir, at.target_name());
        let is_to_be_known = self.in_place.remembers_all() || self.could_be_overwritten(dir, name);
        let mut stat = None;
        if is_to_be_known || taken.is_some() || self.resume.is_on() {
            match given.stat() {
                Ok(made) => stat = Some(made),
                Err(cause) => self.events.fail(at.target_error(Operation::Stat, cause)),
            }
        }
        if let Some(made) = &stat {
            taken.into_iter().for_each(|taken| taken.add(name, made));
            if is_to_be_known {
                self.made.add(dir, name, made);
                self.in_place.keep(dir, name, made);
            }
        }
        if let Err(cause) = given.close() {
            self.events.fail(at.target_error(op, cause));
        }
        stat
    }

    fn tell_left_behind(&self, at: At<'_>, left_behind: Option<io::Error>) {
        if let Some(cause) = left_behind {
            self.events.fail(at.target_error(Operation::RemoveTemporary, cause));
        }
    }

    /// Refuses an entry whose name has another name of the source in a directory that the run made.
    /// True if a stranger has taken it.
    fn is_stranger(&self, at: At<'_>) -> Result<bool> {
        let holder = at.dir.holder(at.target_name());
        match holder.map_err(|cause| at.target_error(Operation::Publish, cause))? {
            NameHolder::Other(other) => Err(at.clash(&other)),
            NameHolder::Unknown => Ok(false),
            NameHolder::Stranger => Ok(true),
        }
    }

    /// Gives what stands at the name its backup's name as well; nothing where what stood there has
    /// only that by now. So it has where files have no second names, when the copy is tried again.
    fn back_up(&self, at: At<'_>, backup: &Backup) -> Result<Option<std::ffi::OsString>> {
        let stands = at.stat_target().map_err(|cause| at.target_error(Operation::Stat, cause))?;
        let Some(stands) = stands else { return Ok(None) };
        let is_kept = |name: &OsStr| self.is_copy(at.dir, name);
        let kept = backup.keep(&at.dir.target, at.target_name(), self.resume.mark(), &is_kept);
        let kept = kept.map_err(|cause| at.target_error(Operation::MakeBackup, cause))?;
        // Only now: a run that was killed may have given this very file its backup's name already.
        self.made.back_up(at.dir, &kept, &stands);
        Ok(Some(kept))
    }

    /// A copy did not get its name: what stood there has it once more. Where that fails, the backup
    /// is named, since there is nothing else of it.
    fn put_back(&self, at: At<'_>, kept: &OsStr) {
        if let Err(cause) = backup::put_back(&at.dir.target, kept, at.target_name()) {
            let path = at.dir.target_path(kept);
            self.events.fail(Error::new(Operation::PutBack, path, cause));
        }
    }

    /// True if the name, free when judged, is now taken by something that needs a backup: by the
    /// backup of another file, or, if the copy itself is a backup, by another copy.
    fn needs_backup_now(&self, dir: &OpenDir, entry: &Admitted) -> io::Result<bool> {
        let existing = &self.options.existing;
        if existing.backup.is_none() || dir.fresh {
            return Ok(false);
        }
        match entry.spot {
            Spot { is_backup: true, .. } => self.is_copy(dir, entry.target_name()),
            Spot { if_taken: IfTaken::Refuse, .. } => {
                let stands = At::new(dir, entry).stat_target()?;
                Ok(stands.is_some_and(|stands| {
                    existing.replaces_all()
                        || self.made.has_backed_up(dir, entry.target_name(), &stands)
                }))
            }
            _ => Ok(false),
        }
    }

    /// Remembers a copy that an earlier run made.
    pub fn add_earlier(&self, at: At<'_>, stat: &Stat) -> Result<()> {
        if at.dir.parent().is_none() {
            self.made.add(at.dir, at.target_name(), stat);
        }
        self.take_name(at, stat)
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
        Ok(self.made.has(dir, name, &stands)
            || self.made.has_backed_up(dir, name, &stands)
            || self.resume.is_on_record(dir, name)?)
    }
}

/// Whether a file may have been planted in a shared folder: it gives no one a right.
fn is_planted(at: At<'_>, stands: &Stat) -> bool {
    let folder = &at.dir.target_stat;
    folder.st_mode & STICKY_BIT != 0
        && folder.st_mode & 0o022 != 0
        && stands.st_uid != folder.st_uid
}

fn same_name(at: At<'_>) -> Error {
    at.source_error(Operation::Copy, Cause::SameName)
}

/// Whether source and destination are in one directory.
fn is_one_folder(dir: &OpenDir) -> io::Result<bool> {
    Ok(fs::compare(&dir.source, &dir.target)?.is_likely())
}

/// What a source has to do with what stands at its copy's name. In doubt they are one file, which
/// is refused and costs nothing.
fn relation(at: At<'_>, source: &Stat, stands: &Stat) -> io::Result<Relation> {
    let are_one = |source, answer: &Stat| {
        let may_be = FileId::of(answer) == FileId::of(stands);
        let sameness = may_be.then(|| fs::compare_names(source, at.target_place())).transpose();
        Ok::<_, io::Error>(sameness?.is_some_and(Sameness::is_likely))
    };
    if are_one(at.source_place(), source)? {
        let is_one_name = at.entry.name == at.target_name() && is_one_folder(at.dir)?;
        return Ok(if is_one_name { Relation::SameName } else { Relation::SameFile });
    }
    if FileType::from_raw_mode(source.st_mode) != FileType::Symlink {
        return Ok(Relation::Strangers);
    }
    // What cannot be reached is not what stands there, which can.
    let behind = fs::stat_if_reached(&at.dir.source, &at.entry.name);
    let place = Name { is_followed: true, ..at.source_place() };
    let leads_to_it = behind.map(|behind| are_one(place, &behind)).transpose()?;
    Ok(if leads_to_it == Some(true) { Relation::LeadsToIt } else { Relation::Strangers })
}
