//! Two names of the source that are one in the destination, whose filesystem folds case or
//! composes letters. No table knows what each filesystem folds: what stands under a name says it.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};

use super::dir::{Dir, OpenDir};
use super::listing::Listing;
use super::taken::{TakenNames, likeness};
use crate::error::{Cause, Error, Operation};
use crate::fs::{self, FileId, Stat};

/// What has a name.
#[derive(Debug, PartialEq, Eq)]
pub enum NameHolder {
    /// What has this name in the source.
    Other(OsString),
    /// Something under another spelling, of which the source has none.
    Unknown,
    /// Something of that very name, which the run did not make.
    Stranger,
}

/// What the names of the source lead to in the destination, and how the names are spelled there.
#[derive(Default)]
pub struct Reached {
    names: TakenNames,
    listed: HashSet<OsString>,
}

impl OpenDir {
    /// The turn to give a name here, and the names that the run has taken. Nothing where each name
    /// is its own.
    pub fn turn(&self) -> Option<MutexGuard<'_, TakenNames>> {
        let may_clash = !self.planned && !self.is_of_one_name() && self.folds();
        may_clash.then(|| self.dir().taken().lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The names that the run has taken here, if they are remembered.
    pub fn taken_names(&self) -> Option<MutexGuard<'_, TakenNames>> {
        if self.remembers_names() { self.turn() } else { None }
    }

    /// Whether the destination may take two names for one. It is asked once.
    pub fn folds(&self) -> bool {
        *self.known.folds.get_or_init(|| {
            let folds = self.target_folding().may_fold(&*self.target);
            if let Some(above) = self.made_in() {
                above.known.folds.get_or_init(|| folds);
            }
            folds
        })
    }

    /// The directory in which the run made the destination, whose names are folded alike.
    fn made_in(&self) -> Option<&Dir> {
        let is_made = self.fresh && !self.planned;
        let above = self.parent().filter(|_| is_made)?;
        (above.target_stat.st_dev == self.target_stat.st_dev).then_some(above)
    }

    /// Takes a name under which something answers `stat`, unless it is another name that was taken.
    /// The answer is that one.
    pub fn take_name(&self, name: &OsStr, stat: &Stat) -> io::Result<Option<Arc<OsStr>>> {
        let Some(mut taken) = self.taken_names() else { return Ok(None) };
        let other = self.other_taken(&taken, name, stat)?;
        if other.is_none() {
            taken.add(name, stat);
        }
        Ok(other)
    }

    /// The other name that was taken and leads to what answers `stat` under this one.
    pub fn other_taken(
        &self,
        taken: &TakenNames,
        name: &OsStr,
        stat: &Stat,
    ) -> io::Result<Option<Arc<OsStr>>> {
        for other in taken.others(name, stat) {
            if self.is_one_name(name, &other)? {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// What has a name that cannot be given any more, in a directory that the run made.
    pub fn holder(&self, name: &OsStr) -> io::Result<NameHolder> {
        let wanted = likeness(name);
        for alike in [true, false] {
            let mut listing = Listing::of(&self.source)?;
            while let Some(listed) = listing.next_name() {
                let other = listed?.name;
                if other != name
                    && (likeness(&other) == wanted) == alike
                    && (alike || self.has_one_number(name, &other)?)
                    && self.is_one_name(name, &other)?
                {
                    return Ok(NameHolder::Other(other));
                }
            }
        }
        let is_listed = self.count_listed([name, name])? > 0;
        Ok(if is_listed { NameHolder::Stranger } else { NameHolder::Unknown })
    }

    /// What the names of the source lead to in the destination.
    pub fn reached(&self) -> io::Result<Reached> {
        let (mut reached, mut listing) = (Reached::default(), Listing::of(&self.source)?);
        while let Some(listed) = listing.next_name() {
            let name = listed?.name;
            if let Some(stat) = fs::stat_at(&*self.target, &name)? {
                reached.names.add(&name, &stat);
            }
        }
        let mut listing = Listing::of(&self.target)?;
        while let Some(listed) = listing.next_name() {
            reached.listed.insert(listed?.name);
        }
        Ok(reached)
    }

    /// Whether a name of the destination is another spelling of one of the source's.
    pub fn is_reached(&self, name: &OsStr, reached: &Reached) -> io::Result<bool> {
        let Some(stat) = fs::stat_at(&*self.target, name)? else { return Ok(false) };
        for other in reached.names.others(name, &stat) {
            let both_listed = || Ok(reached.listed.contains(&*other));
            if self.is_one_name_unless(name, &other, both_listed)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether two spellings lead to one name of the destination. Hard links are two names.
    fn is_one_name(&self, one: &OsStr, other: &OsStr) -> io::Result<bool> {
        self.is_one_name_unless(one, other, || Ok(self.count_listed([one, other])? == 2))
    }

    /// The same, where something is known of whether both are listed as they are spelled. Numbers
    /// alone show nothing: hard links have one, and FUSE may give each spelling its own.
    fn is_one_name_unless(
        &self,
        one: &OsStr,
        other: &OsStr,
        both_listed: impl FnOnce() -> io::Result<bool>,
    ) -> io::Result<bool> {
        let stat = |name: &OsStr| fs::stat_at(&*self.target, name);
        let (Some(found), Some(stands)) = (stat(one)?, stat(other)?) else { return Ok(false) };
        // What is not alike in ASCII is one only where a filesystem without hard links gives short
        // names to long ones, as FAT does.
        let are_alike = likeness(one) == likeness(other) || !one.is_ascii() || !other.is_ascii();
        if !are_alike && (FileId::of(&found) != FileId::of(&stands) || found.st_nlink > 1) {
            return Ok(false);
        }
        let differ_in_case = one.is_ascii() && one.eq_ignore_ascii_case(other);
        if differ_in_case && let Some(&folds) = self.known.case_folding.get() {
            return Ok(folds);
        }
        let is_one = !both_listed()?;
        if differ_in_case {
            self.known.case_folding.get_or_init(|| is_one);
        }
        Ok(is_one)
    }

    /// Whether the same file stands under two names.
    fn has_one_number(&self, one: &OsStr, other: &OsStr) -> io::Result<bool> {
        let stat = |name: &OsStr| fs::stat_at(&*self.target, name);
        let both = stat(one)?.zip(stat(other)?);
        Ok(both.is_some_and(|(one, other)| FileId::of(&one) == FileId::of(&other)))
    }

    /// How many of two names are listed as they are spelled.
    fn count_listed(&self, names: [&OsStr; 2]) -> io::Result<usize> {
        let (mut count, mut listing) = (0, Listing::of(&self.target)?);
        while let Some(listed) = listing.next_name() {
            let listed = listed?.name;
            count += usize::from(names.contains(&listed.as_os_str()));
        }
        Ok(count)
    }

    /// The failure of an entry whose name is one with `other` in the destination. Where several
    /// operands lead, the other name may be that of another source.
    pub fn clash(&self, op: Operation, name: &OsStr, other: &OsStr) -> Error {
        let (path, other) = match self.is_shared() {
            true => (self.source_path(name), self.target_path(other)),
            false => (self.source_path(name), self.source_path(other)),
        };
        Error::new(op, path, Cause::NameClash(other))
    }
}
