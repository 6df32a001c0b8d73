//! What the answers of the filesystems of a pair of directories are worth.

use std::os::fd::OwnedFd;
use std::sync::{MutexGuard, OnceLock, PoisonError};

use rustix::process::geteuid;

use super::acl;
use super::dir::{Dir, OpenDir};
use super::known::Known;
use super::made::{Made, NewFiles, Shown};
use super::meta::SETGID_BIT;
use crate::fs::{self, Clock, Folding, Node, Numbers, Seen, Stat, Trust};

impl OpenDir {
    /// How far the source's answers to stat are believed. It is asked once a filesystem.
    pub fn source_trust(&self) -> Trust {
        self.ask_source(|known| &known.source_trust, || fs::trust(&self.source))
    }

    /// How far the destination's answers to stat are believed.
    pub fn target_trust(&self) -> Trust {
        self.ask_target(|known| &known.target_trust, || fs::trust(&self.target))
    }

    fn ask_source<T: Copy>(
        &self,
        which: impl Fn(&Known) -> &OnceLock<T>,
        ask: impl FnOnce() -> T,
    ) -> T {
        self.ask_once(self.above_on_its_filesystem(|dir| dir.stat.st_dev), which, ask)
    }

    fn ask_target<T: Copy>(
        &self,
        which: impl Fn(&Known) -> &OnceLock<T>,
        ask: impl FnOnce() -> T,
    ) -> T {
        self.ask_once(self.above_on_its_filesystem(|dir| dir.target_stat.st_dev), which, ask)
    }

    /// What is known here or `above`, or is asked now, for the other directories there as well.
    fn ask_once<T: Copy>(
        &self,
        above: Option<&Dir>,
        which: impl Fn(&Known) -> &OnceLock<T>,
        ask: impl FnOnce() -> T,
    ) -> T {
        *which(&self.known).get_or_init(|| match above {
            Some(above) => *which(&above.known).get_or_init(ask),
            None => ask(),
        })
    }

    fn above_on_its_filesystem(&self, device: impl Fn(&Dir) -> u64) -> Option<&Dir> {
        self.parent().map(|above| &**above).filter(|above| device(above) == device(self))
    }

    /// What stamps the changes of the files in the source.
    pub fn source_clock(&self) -> Clock {
        self.ask_source(|known| &known.source_clock, || fs::clock_of(&*self.source))
    }

    /// What stamps the changes of an open file of the source, which may have been reached through a
    /// link or a mount.
    pub fn clock_of_source(&self, file: &OwnedFd, stat: &Stat) -> Clock {
        if stat.st_dev == self.stat.st_dev { self.source_clock() } else { fs::clock_of(file) }
    }

    /// A look at a copy in the destination, which got its name or is about to.
    pub fn see_copy(&self, stat: Stat) -> Seen {
        Seen::copy(stat, || self.target_clock())
    }

    /// What stamps the changes of the files in the destination.
    pub fn target_clock(&self) -> Clock {
        self.ask_target(|known| &known.target_clock, || fs::clock_of(&*self.target))
    }

    /// Whether nothing is cloned into the destination: its filesystem has no clones, or has
    /// [refused](Self::clones_no_more) those of files like these.
    pub fn never_clones(&self) -> bool {
        self.known.refuses_clones.get().is_some()
            || self.ask_target(|known| &known.never_clones, || fs::never_clones(&*self.target))
    }

    /// Remembers that clones are refused here.
    pub fn clones_no_more(&self) {
        self.known.refuses_clones.get_or_init(|| ());
    }

    /// Which directories of the destination's filesystem may take two names for one.
    pub(super) fn target_folding(&self) -> Folding {
        self.ask_target(|known| &known.target_folding, || Folding::of(&*self.target))
    }

    /// A turn to give many files their names in the destination. The kernel gives one name at a
    /// time in a directory, and who waits for it there takes a processor's time.
    pub fn naming_turn(&self) -> MutexGuard<'_, ()> {
        self.known.naming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenDir {
    /// Whether creating a file with a mode in the destination gives it that, less the umask, and
    /// what else it gets depends on this user alone.
    ///
    /// Who owns a folder may make it give new files another group or an ACL at any moment. In that
    /// of another user each file has to be asked.
    pub fn makes_files_alike(&self) -> bool {
        let makes_files_alike = *self.known.makes_files_alike.get_or_init(|| {
            self.target_trust().numbers == Numbers::Own
                && (self.is_made() || self.target_stat.st_uid == geteuid().as_raw())
        });
        makes_files_alike && self.known.changed.get().is_none()
    }

    /// Whether the destination passes on to new files what it did when the first one was looked at.
    /// This user, or root, may have changed that since. Then it makes no files alike any more.
    pub fn still_makes_files_alike(&self) -> bool {
        let passed_on = |stat: &Stat| (stat.st_gid, stat.st_mode & SETGID_BIT);
        let is_same = fs::stat(&self.target)
            .is_ok_and(|now| passed_on(&now) == passed_on(&self.target_stat))
            && self.passes_on_no_acl();
        if !is_same {
            self.known.changed.get_or_init(|| ());
        }
        self.makes_files_alike()
    }

    /// What the destination itself has, if this run made it there and it passes on no ACL. It is
    /// asked at the end: this user, or root, may have changed what it was made with.
    pub fn made_itself(&self) -> Option<Made> {
        let is_own = self.is_made() && self.makes_files_alike() && self.passes_on_no_acl();
        let now = is_own.then(|| fs::stat(&self.target).ok()).flatten()?;
        Some(NewFiles::of(&now).directory())
    }

    /// Whether the run made the destination, found it to be its own, and is still filling it.
    fn is_made(&self) -> bool {
        self.fresh && !self.planned
    }

    fn passes_on_no_acl(&self) -> bool {
        matches!(Node::open(&self.target).attribute(acl::DEFAULT), Ok(None))
    }

    /// What `file` has, which was just made in the destination with this `mode`. That is asked of
    /// one file for all. Nothing where another file may have something else.
    pub fn made(&self, file: &OwnedFd, mode: u32) -> Option<Made> {
        let mut shown = Shown::ByAnother;
        let files = *self.known.new_files.get_or_init(|| {
            shown = Shown::ByItself;
            self.look_at_new(file, mode)
        });
        files.filter(|_| self.makes_files_alike()).map(|files| files.file(mode, shown))
    }

    fn look_at_new(&self, file: &OwnedFd, mode: u32) -> Option<NewFiles> {
        if !self.makes_files_alike() {
            return None;
        }
        let made = fs::stat(file).ok()?;
        let is_as_asked = made.st_mode & 0o7777 == mode && made.st_dev == self.target_stat.st_dev;
        let has_no_acl = || matches!(Node::open(file).attribute(acl::ACCESS), Ok(None));
        (is_as_asked && self.passes_on_no_acl() && has_no_acl()).then(|| NewFiles::of(&made))
    }
}
