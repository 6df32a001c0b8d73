//! What the answers of the filesystems of a pair of directories are worth.

use std::os::fd::OwnedFd;

use super::dir::{Dir, OpenDir};
use crate::fs::{self, Clock, Seen, Stat, Trust};

impl OpenDir {
    /// How far the source's answers to stat are believed. It is asked once a filesystem.
    pub fn source_trust(&self) -> Trust {
        *self.known.source_trust.get_or_init(|| {
            let above = self.above_on_its_filesystem(|dir| dir.stat.st_dev);
            let known = above.and_then(|dir| dir.known.source_trust.get().copied());
            known.unwrap_or_else(|| fs::trust(&self.source))
        })
    }

    /// How far the destination's answers to stat are believed.
    pub fn target_trust(&self) -> Trust {
        *self.known.target_trust.get_or_init(|| {
            let above = self.above_on_its_filesystem(|dir| dir.target_stat.st_dev);
            let known = above.and_then(|dir| dir.known.target_trust.get().copied());
            known.unwrap_or_else(|| fs::trust(&self.target))
        })
    }

    fn above_on_its_filesystem(&self, device: impl Fn(&Dir) -> u64) -> Option<&Dir> {
        self.parent().map(|above| &**above).filter(|above| device(above) == device(self))
    }

    /// What stamps the changes of the files in the source.
    pub fn source_clock(&self) -> Clock {
        *self.known.source_clock.get_or_init(|| fs::clock_of(&*self.source))
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
        *self.known.target_clock.get_or_init(|| fs::clock_of(&*self.target))
    }
}
