//! What is asked of the filesystems of a pair of directories when it matters, once.

use std::sync::OnceLock;

use crate::fs::{Clock, Trust};

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
    /// Whether the destination may take two names for one.
    pub folding: OnceLock<bool>,
    /// Whether it takes two for one that differ in case, as two of them have shown.
    pub case_folding: OnceLock<bool>,
    /// Set where a single name is taken in the destination.
    pub one_name: OnceLock<()>,
}
