//! A dry run: everything is looked at and decided as in a copy, up to the moment where something
//! would be made.

use std::ffi::OsStr;

use super::existing::{Admitted, Put};
use super::hardlinks::{Claim, Original};
use super::instead::Make;
use super::worker::{Outcome, Run};
use crate::error::{Error, Operation, Result};
use crate::fs::{self, Stat};
use crate::report::{Route, Totals};
use crate::tree::{Counterpart, OpenDir};

impl Run<'_> {
    /// Whether a directory is there or would be made.
    pub fn plan_dir(&self, parent: &OpenDir, name: &OsStr) -> Result<Counterpart> {
        let is_there = || {
            fs::stat_at(&*parent.target, name)
                .map_err(|cause| Error::new(Operation::Stat, parent.target_path(name), cause))
        };
        let found = !parent.planned && is_there()?.is_some();
        Ok(if found { Counterpart::Found } else { Counterpart::Planned })
    }

    /// Counts and tells a file that would be copied, and lets its further names be told as links.
    pub fn plan_file(&self, dir: &OpenDir, entry: &Admitted, claim: Option<Claim>, source: &Stat) {
        let size_bytes =
            if self.options.make == Make::Attributes { 0 } else { source.st_size as u64 };
        Totals::add(&self.totals.files, 1);
        Totals::add(&self.totals.planned_bytes, size_bytes);
        self.tell(dir, entry, Put::of(entry), Outcome::unmoved(size_bytes, Route::PLANNED));
        let (dir, name) = (dir.dir().clone(), entry.target_name().to_owned());
        self.keep_claim(claim, || Original {
            dir,
            name,
            identity: (0, 0),
            size_bytes,
            hash: None,
            kept: true,
        });
    }
}
