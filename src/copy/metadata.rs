//! Giving copies their sources' metadata, and telling what could not be kept.

use std::ffi::OsStr;
use std::path::PathBuf;

use super::entry::At;
use super::events::Events;
use crate::error::Error;
use crate::tree::{Keeper, Kept, Metadata, OpenDir, Preserve};

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

    /// Gives a copy its source's metadata.
    pub fn copy(&self, at: At<'_>, metadata: &Metadata<'_>) -> Kept {
        self.copy_between(&|| at.source_path(), &|| at.target_path(), metadata)
    }

    /// Gives a directory its source's metadata.
    pub fn copy_dir(&self, dir: &OpenDir, metadata: &Metadata<'_>) -> Kept {
        let nothing = OsStr::new("");
        let (source, target) = (|| dir.source_path(nothing), || dir.target_path(nothing));
        self.copy_between(&source, &target, metadata)
    }

    fn copy_between(
        &self,
        source: &dyn Fn() -> PathBuf,
        target: &dyn Fn() -> PathBuf,
        metadata: &Metadata<'_>,
    ) -> Kept {
        let mut kept = Kept::All;
        self.keeper.keep(metadata, &mut |loss| {
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
