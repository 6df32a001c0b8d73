//! Giving copies their sources' metadata, and telling what could not be kept.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::entry::At;
use super::events::Events;
use crate::error::Error;
use crate::fs::{FileType, Node, Stat};
use crate::tree::{Keeper, Kept, Looked, Metadata, OpenDir, Preserve};

/// What gives copies their metadata.
pub struct MetadataCopier<'a> {
    keeper: Keeper,
    events: &'a Events<'a>,
}

impl<'a> MetadataCopier<'a> {
    pub fn new(preserve: Preserve, events: &'a Events<'a>) -> Self {
        Self { keeper: Keeper::new(preserve), events }
    }

    pub fn preserve(&self) -> &Preserve {
        self.keeper.preserve()
    }

    /// Looks at what a source has that is to be kept.
    pub fn look(&self, at: At<'_>, source: Node<'_>, stat: &Stat) -> Looked {
        let is_elsewhere = stat.st_dev != at.dir.stat.st_dev;
        let lists_acls = !is_elsewhere && at.dir.source_trust().lists_acls;
        self.keeper.look(source, FileType::from_raw_mode(stat.st_mode), lists_acls)
    }

    /// The mode with which the copy of a file is to be made, so that it has it already.
    pub fn mode_of_new(&self, stat: &Stat, looked: &Looked) -> Option<u32> {
        self.keeper.mode_of_new(stat, looked)
    }

    /// Gives a copy its source's metadata.
    pub fn copy(&self, at: At<'_>, metadata: &Metadata<'_>) -> Kept {
        self.copy_looked(at, metadata, self.look(at, metadata.source, metadata.stat))
    }

    /// Gives a copy the metadata of its source, which was looked at.
    pub fn copy_looked(&self, at: At<'_>, metadata: &Metadata<'_>, looked: Looked) -> Kept {
        self.copy_between(&|| at.source_path(), &|| at.target_path(), metadata, looked)
    }

    /// Gives a directory its source's metadata.
    pub fn copy_dir(&self, dir: &OpenDir, metadata: &Metadata<'_>) -> Kept {
        let nothing = OsStr::new("");
        let (source, target) = (|| dir.source_path(nothing), || dir.target_path(nothing));
        let lists_acls = dir.source_trust().lists_acls;
        let looked = self.keeper.look(metadata.source, FileType::Directory, lists_acls);
        self.copy_between(&source, &target, metadata, looked)
    }

    fn copy_between(
        &self,
        source: &dyn Fn() -> PathBuf,
        target: &dyn Fn() -> PathBuf,
        metadata: &Metadata<'_>,
        looked: Looked,
    ) -> Kept {
        let mut kept = Kept::All;
        self.keeper.keep(metadata, looked, &mut |loss| {
            let path = if loss.at_source { source() } else { target() };
            let error = Error::new(loss.op, path, loss.cause);
            if loss.forgivable {
                self.events.warn(error);
            } else {
                kept = Kept::Part;
                self.events.fail(error);
            }
        });
        kept
    }
}
