//! What reads copies back.

use std::sync::Arc;

use super::pairs::Pairs;
use super::readback::{Extent, Reader};
use crate::copy::durable::Durable;
use crate::copy::events::Events;
use crate::copy::metadata::MetadataCopier;
use crate::copy::options::Options;
use crate::pipeline::{Pipeline, Progress, leaf_bytes};

/// What reads each side. In a comparison two devices are read at once.
#[derive(Clone, Copy)]
pub struct Readers<'a> {
    /// What reads sources, and copies that are to be proved.
    pub source: &'a Pipeline<'a>,
    /// What reads the destination in a comparison.
    pub target: &'a Pipeline<'a>,
}

/// What proves copies, compares and mends them.
pub struct Verify<'a> {
    pub(super) options: &'a Options,
    pub(super) events: &'a Events<'a>,
    pub(super) metadata: &'a MetadataCopier<'a>,
    pub(super) durable: &'a Durable<'a>,
    pub(super) readers: Readers<'a>,
    /// Files with several names that are compared.
    pub(super) pairs: Pairs,
}

impl<'a> Verify<'a> {
    pub fn new(
        options: &'a Options,
        events: &'a Events<'a>,
        metadata: &'a MetadataCopier<'a>,
        durable: &'a Durable<'a>,
        readers: Readers<'a>,
    ) -> Self {
        Self { options, events, metadata, durable, readers, pairs: Pairs::new(options.repair) }
    }

    /// What reads files through one of the pipelines, and counts that as `progress`.
    pub(super) fn reader(&self, pipeline: &'a Pipeline<'a>, progress: Progress) -> Reader<'a> {
        let Options { direct, block_bytes, .. } = *self.options;
        Reader { pipeline, progress, direct, block_bytes }
    }

    /// How much a leaf of a source of `size_bytes` stands for, and of its copy.
    pub(super) fn leaf_bytes(&self, size_bytes: u64) -> u64 {
        leaf_bytes(size_bytes, self.options.block_bytes)
    }

    /// All of a copy, or of its source.
    pub(super) fn whole(&self, size_bytes: u64) -> Extent {
        Extent { size_bytes, leaf_bytes: self.leaf_bytes(size_bytes), known: Arc::default() }
    }

    /// What reads files whose bytes were counted before.
    pub(super) fn uncounted(&self) -> Reader<'a> {
        self.reader(self.readers.source, Progress::Nothing)
    }
}
