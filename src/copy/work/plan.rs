//! A dry run: everything is looked at and decided as in a copy, up to the moment where something
//! would be made.

use std::ffi::OsStr;
use std::sync::Arc;

use super::services::Services;
use super::take::take_dir;
use crate::copy::entry::At;
use crate::copy::events::Outcome;
use crate::copy::hardlinks::{Claim, Original};
use crate::copy::names::Admitted;
use crate::copy::options::Action;
use crate::error::{Error, Operation, Result};
use crate::fs::{self, Stat};
use crate::report::{Route, Totals};
use crate::tree::{Counterpart, Kept, OpenDir};

/// Whether a directory is there or would be made.
pub(super) fn plan_dir(parent: &OpenDir, name: &OsStr) -> Result<Counterpart> {
    let stands = match parent.planned {
        true => None,
        false => fs::stat_at(&*parent.target, name)
            .map_err(|cause| Error::new(Operation::Stat, parent.target_path(name), cause))?,
    };
    if stands.is_some() {
        return take_dir(parent, name).map(|()| Counterpart::Found);
    }
    if !parent.planned {
        parent.foresee_names().map_err(|cause| {
            Error::new(Operation::CreateDirectory, parent.target_path(name), cause)
        })?;
    }
    Ok(Counterpart::Planned)
}

impl Services<'_> {
    /// Counts and tells a file that would be copied, and lets its further names be told as links.
    pub(super) fn plan_file(
        &self,
        dir: &OpenDir,
        entry: &Admitted,
        claim: Option<Claim>,
        source: &Stat,
    ) {
        let has_data = self.options.action != Action::Attributes;
        let size_bytes = if has_data { source.st_size as u64 } else { 0 };
        Totals::add(&self.events.totals.files, 1);
        Totals::add(&self.events.totals.planned_bytes, size_bytes);
        let outcome = Outcome::unmoved(size_bytes, Route::PLANNED);
        self.events.copied(At::new(dir, entry), entry.planned(), outcome);
        let (dir, name) = (Arc::clone(dir.dir()), entry.target_name().to_owned());
        let original =
            || Original { dir, name, copy: None, size_bytes, hash: None, kept: Kept::All };
        self.keep_claim(claim, original);
    }
}
