//! Writes the blocks of a copy again that differ, until they are right or that was done often
//! enough.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::blocks;
use super::readback::{Extent, Reading};
use super::service::Verify;
use crate::copy::data::cut;
use crate::copy::entry::{At, Source};
use crate::copy::events::{Mended, Ranges};
use crate::copy::options::Options;
use crate::digest::{Hash, LeafHash};
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::Node;
use crate::pipeline::{Endpoint, Failure, Leaves, Moved, Progress, Shape, Transfer, route};
use crate::report::{Proof, Totals};
use crate::tree::{Before, Metadata};

/// How often bad ranges are written again without `--repair`.
const REWRITES: usize = 1;
/// And with it.
const REWRITES_TO_REPAIR: usize = 3;

/// A copy that is to be mended in place. There is one flag for each leaf of the source: what it
/// stands for is called a block here.
pub struct Broken<'a> {
    pub at: At<'a>,
    pub source: &'a Source,
    pub target: &'a Arc<OwnedFd>,
    /// The source's.
    pub size_bytes: u64,
    /// The source's, if it is known.
    pub hash: Option<Hash>,
    /// The source's leaves. Those of blocks that differ may be anything.
    pub wanted: Vec<LeafHash>,
    /// The copy's leaves. Those of blocks that differ may be anything.
    pub found: Vec<LeafHash>,
    /// Which blocks differ.
    pub bad: Vec<bool>,
    /// Where they differ, to be told.
    pub ranges: Ranges,
}

impl Verify<'_> {
    /// Writes the blocks that differ again, makes them durable and reads them back.
    pub(super) fn mend(&self, mut broken: Broken<'_>) -> Result<Proof> {
        let Broken { at, target, size_bytes, .. } = broken;
        let rewrites = if self.options.repair { REWRITES_TO_REPAIR } else { REWRITES };
        for _ in 0..rewrites {
            let written = self.rewrite(&broken)?;
            self.events.differs_in(&at.target_path(), &broken.ranges, Mended::Yes);
            let known = blocks::known(&broken.found, &broken.bad);
            let extent = Extent { known, ..self.whole(size_bytes) };
            let reading = self.uncounted().start(target, extent).and_then(Reading::finish);
            let (again, proof) =
                reading.map_err(|failure| self.read_back_error(at, size_bytes, failure))?;
            if again.root() == written.root() {
                return Ok(proof);
            }
            broken.bad = blocks::differing(&again.leaves, &written.leaves);
            let leaf_bytes = self.leaf_bytes(size_bytes);
            broken.ranges = blocks::ranges(&broken.bad, size_bytes, leaf_bytes);
            (broken.found, broken.wanted) = (again.leaves, written.leaves);
        }
        self.events.differs_in(&at.target_path(), &broken.ranges, Mended::No);
        Err(at.target_error(Operation::Verify, Cause::NotAsWritten))
    }

    /// Writes the blocks that differ, and makes them durable. Writing takes away what a writer may
    /// not keep (setuid, for one) and sets the time, so the file gets its metadata again.
    fn rewrite(&self, broken: &Broken<'_>) -> Result<Moved> {
        let Broken { at, source, target, size_bytes, .. } = *broken;
        let known = blocks::known(&broken.wanted, &broken.bad);
        let extent = Extent { known, ..self.whole(size_bytes) };
        let moved = self.transfer_blocks(&source.file, target, extent);
        let moved = moved.map_err(|failure| at.data_error(failure))?;
        if broken.hash.is_some_and(|hash| moved.root() != Some(hash)) {
            return Err(at.source_error(Operation::Copy, Cause::SourceChanged));
        }
        Totals::add(&self.events.totals.rewritten_bytes, moved.written_bytes);
        let (from, to) = (Node::open(&source.file), Node::open(target));
        let metadata = Metadata {
            source: from,
            stat: &source.stat,
            target: to,
            before: Before::Itself,
            made: None,
        };
        self.metadata.copy(at, &metadata);
        let synced = self.durable.sync_one(at.dir, Arc::clone(target));
        synced.map_err(|cause| at.target_error(Operation::Fsync, cause))?;
        Ok(moved)
    }

    /// Moves the blocks that are not known, in place, and leaves the target with the size of the
    /// source.
    fn transfer_blocks(
        &self,
        source: &Arc<OwnedFd>,
        target: &Arc<OwnedFd>,
        extent: Extent,
    ) -> std::result::Result<Moved, Failure> {
        let Options { direct, block_bytes, .. } = *self.options;
        let (from, to) = (
            route::target_access(direct, block_bytes, source),
            route::target_access(direct, block_bytes, target),
        );
        let accesses = [
            from.map_err(|cause| Failure::source(Operation::Read, 0, cause))?,
            to.map_err(|cause| Failure::target(Operation::Write, 0, cause))?,
        ];
        let Extent { size_bytes, leaf_bytes, known } = extent;
        let moved = route::or_buffered(direct, [source, target], accesses, |&[from, to]| {
            let whole = Shape::write(size_bytes, block_bytes, from, to);
            let moved = self.readers.source.transfer(Transfer {
                source: Endpoint::new(source, from),
                target: Some(Endpoint::new(target, to)),
                shape: Shape {
                    known: Arc::clone(&known),
                    leaf_bytes,
                    leaves: Leaves::Kept,
                    ..whole
                },
                progress: Progress::Nothing,
            });
            // A direct write of the tail is rounded up, also if another block failed.
            cut(target, size_bytes)
                .map_err(|cause| Failure::target(Operation::SetSize, 0, cause))?;
            moved
        });
        moved.map(|(moved, _)| moved)
    }

    /// What is said of a copy that cannot be read back. One that ends too early is not what was
    /// written either.
    pub(super) fn read_back_error(&self, at: At<'_>, size_bytes: u64, failure: Failure) -> Error {
        match failure {
            Failure { offset_bytes, cause: Cause::ChangedWhileRead, .. } => {
                let missing: Range<u64> = offset_bytes..size_bytes;
                let path = at.target_path();
                self.events.differs_in(&path, std::slice::from_ref(&missing), Mended::No);
                at.target_error(Operation::Verify, Cause::NotAsWritten).at(offset_bytes)
            }
            Failure { op: Operation::Read, .. } => {
                Failure { op: Operation::ReadBack, ..failure }.of(at.target_path())
            }
            failure => failure.of(at.target_path()),
        }
    }
}
