//! What the walker finds on its way: directories to be made, and batches for the workers.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use super::plan::plan_dir;
use super::services::Services;
use super::take::{make_dir, take_dir};
use crate::copy::events::Mended;
use crate::copy::options::{Action, Options};
use crate::copy::verify::DirInTarget;
use crate::error::{Error, Result};
use crate::report::{Totals, What};
use crate::tree::{Batch, Counterpart, Dir, OpenDir, Visitor};

/// The walker's end of a run.
pub struct Visit<'a> {
    services: Services<'a>,
}

impl<'a> Visit<'a> {
    pub fn new(services: Services<'a>) -> Self {
        Self { services }
    }

    /// What the run was asked for.
    pub fn options(&self) -> &'a Options {
        self.services.options
    }

    /// Begins with the pair of folders from which an operand is reached.
    pub fn begin_root(&self, root: &OpenDir) {
        self.begin(root);
    }

    /// Removes what earlier runs left hidden in the folder of an operand that is no directory.
    pub fn tidy_root(&self, root: &OpenDir) {
        self.services.resume.tidy(root);
    }

    /// Waits until the workers have done all that they were handed.
    pub fn drain(&self) {
        self.services.queue.drain();
    }
}

impl Visit<'_> {
    /// Takes note of a directory in which nothing was done yet.
    fn begin(&self, dir: &OpenDir) {
        let Services { durable, data, .. } = self.services;
        durable.begin(dir);
        data.clones.entered(dir, durable.comes_with_name(dir));
    }

    /// Finds the counterpart of a directory, and makes one that is missing if everything is to be
    /// mended.
    fn find_counterpart(
        &self,
        parent: &OpenDir,
        target_name: &OsStr,
    ) -> Result<Option<Counterpart>> {
        let Services { options, events, durable, verify, resume, .. } = self.services;
        match verify.find_dir(parent, target_name)? {
            DirInTarget::Directory => {
                take_dir(parent, target_name).map(|()| Some(Counterpart::Found))
            }
            DirInTarget::InTheWay => Ok(None),
            DirInTarget::Nothing if options.repair => {
                durable.begin_mending(parent);
                let made = make_dir(resume, parent, target_name)?;
                events.differs(parent.target_path(target_name), What::Missing, Mended::Yes);
                Ok(Some(made))
            }
            DirInTarget::Nothing => {
                events.differs(parent.target_path(target_name), What::Missing, Mended::No);
                Ok(None)
            }
        }
    }
}

impl Visitor for Visit<'_> {
    fn counterpart(&self, parent: &OpenDir, target_name: &OsStr) -> Result<Option<Counterpart>> {
        if self.services.options.dry_run {
            return plan_dir(parent, target_name).map(Some);
        }
        match self.services.options.action {
            Action::Compare => self.find_counterpart(parent, target_name),
            _ => make_dir(self.services.resume, parent, target_name).map(Some),
        }
    }

    fn extra(&self, path: PathBuf) {
        self.services.events.differs(path, What::Extra, Mended::No);
    }

    fn batch(&self, batch: Batch) {
        Totals::add(&self.services.events.totals.listed, batch.entries.len() as u64);
        self.services.queue.push_batch(batch);
    }

    fn entered(&self, dir: &OpenDir) {
        self.begin(dir);
        self.services.resume.tidy(dir);
        self.services.events.entered(dir);
    }

    fn release(&self, dir: Arc<Dir>) {
        self.services.durable.release(dir);
    }

    fn failed(&self, error: Error) {
        self.services.events.fail(error);
    }

    fn is_stopped(&self) -> bool {
        self.services.options.stop.is_requested()
    }
}
