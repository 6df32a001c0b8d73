//! What is asked of the filesystems of a pair of directories when it matters, once.

use std::sync::{Mutex, OnceLock};

use super::made::NewFiles;
use crate::fs::{Clock, Folding, Trust};

/// What was answered.
#[derive(Default)]
pub struct Known {
    /// How far the source's answers to stat are believed.
    pub source_trust: OnceLock<Trust>,
    /// How far the destination's are.
    pub target_trust: OnceLock<Trust>,
    /// What stamps changes in the source.
    pub source_clock: OnceLock<Clock>,
    /// What stamps changes in the destination.
    pub target_clock: OnceLock<Clock>,
    /// Which directories of the destination's filesystem may take two names for one.
    pub target_folding: OnceLock<Folding>,
    /// Whether the destination may.
    pub folds: OnceLock<bool>,
    /// Whether it takes two for one that differ in case, as two of them have shown.
    pub case_folding: OnceLock<bool>,
    /// Whether nothing is cloned into the destination, whatever it is.
    pub never_clones: OnceLock<bool>,
    /// Set where a clone from the source into the destination was refused for all of its files.
    pub refuses_clones: OnceLock<()>,
    /// Whether the destination gives new files what this user alone decides.
    pub makes_files_alike: OnceLock<bool>,
    /// What new files of the destination have, where all of them have it.
    pub new_files: OnceLock<Option<NewFiles>>,
    /// Set when it was found changed, so that its next files may have something else.
    pub changed: OnceLock<()>,
    /// Held by who gives many files their names in the destination.
    pub naming: Mutex<()>,
    /// Set where a single name is taken in the destination.
    pub one_name: OnceLock<()>,
}
