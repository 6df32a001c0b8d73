//! The proof of a copy: what was made durable is read back from the device, and written again where
//! it differs.

use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Options;
use super::blocks;
use super::file::{Source, cut};
use super::instead::Make;
use super::readback::{Extent, Reader, Reading, Readings};
use super::worker::{Run, Written};
use crate::digest::{Hash, Hashing, LeafHash, Mode};
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::Node;
use crate::pipeline::route::{self, Access};
use crate::pipeline::{Endpoint, Failure, Moved, Pipeline, Progress, Shape, Transfer};
use crate::report::{Difference, Event, Proof, Totals, What};
use crate::tree::{Entry, Metadata, OpenDir};

/// How often bad ranges are written again without `--repair`.
const REWRITES: usize = 1;
/// And with it.
const REWRITES_TO_REPAIR: usize = 3;

impl Run<'_> {
    /// What reads files back, and counts that as `progress`.
    pub fn reader(&self, progress: Progress) -> Reader<'_> {
        self.reader_through(self.pipeline, progress)
    }

    /// The same for what goes through this one of the pipelines.
    pub fn reader_through<'a>(&'a self, pipeline: &'a Pipeline, progress: Progress) -> Reader<'a> {
        Reader {
            pipeline,
            progress,
            direct: self.options.direct,
            block_bytes: self.options.block_bytes,
        }
    }

    /// Reads durable files back and compares them with what was read from their sources. Those that
    /// are not proved are thrown away and told; the others come back with their proof. Without
    /// `--verify` all of them do, without one.
    pub fn prove(&self, dir: &OpenDir, written: Vec<Written>) -> Vec<(Written, Option<Proof>)> {
        if !self.options.verify || self.options.make == Make::Attributes {
            return written.into_iter().map(|file| (file, None)).collect();
        }
        let mut readings = Readings::default();
        for Written { filled, .. } in &written {
            readings.push(
                self.reader(Progress::Proved),
                filled.target.file(),
                Extent::whole(filled.size_bytes),
            );
        }
        let mut proved = Vec::with_capacity(written.len());
        for (file, found) in written.into_iter().zip(readings.finish()) {
            let result = match found {
                Ok((found, proof)) if found.root() == file.filled.moved.root() => Ok(proof),
                Ok((found, _)) => self.write_again(dir, &file, found),
                Err(failure) => {
                    self.never_proved(file.filled.size_bytes);
                    Err(self.read_back_error(dir, &file.entry, file.filled.size_bytes, failure))
                }
            };
            match result {
                Ok(proof) => {
                    self.count_proof(proof);
                    proved.push((file, Some(proof)));
                }
                Err(error) => self.reject(dir, file, error),
            }
        }
        proved
    }

    /// One more file is what it has to be.
    pub fn count_proof(&self, proof: Proof) {
        Totals::add(&self.totals.verified_files, 1);
        if let Proof::Memory(_) = proof {
            Totals::add(&self.totals.verified_from_memory, 1);
        }
    }

    /// A copy that is not what was read: finds out where, and writes that again.
    fn write_again(&self, dir: &OpenDir, file: &Written, found: Moved) -> Result<Proof> {
        let Written { entry, filled, .. } = file;
        let source_error = |op, cause: Cause| Error::new(op, dir.source_path(&entry.name), cause);
        let size_bytes = filled.size_bytes;
        let source = self.open_source(dir, entry)?;
        let reading = self.reader(Progress::Nothing).start(&source.file, Extent::whole(size_bytes));
        let reading = reading.and_then(Reading::finish);
        let (wanted, _) = reading.map_err(|failure| failure.of(dir.source_path(&entry.name)))?;
        if wanted.root() != filled.moved.root() {
            return Err(source_error(Operation::Copy, Cause::SourceChanged));
        }
        let bad = blocks::differing(&found.leaves, &wanted.leaves);
        self.mend(Broken {
            dir,
            entry,
            source: &source,
            target: filled.target.file(),
            size_bytes,
            hash: wanted.root(),
            wanted: wanted.leaves,
            found: found.leaves,
            ranges: blocks::ranges(&bad, size_bytes, self.options.block_bytes),
            bad,
        })
    }

    /// Writes the blocks that differ again, makes them durable and reads them back, until they are
    /// right or that was done often enough.
    pub fn mend(&self, mut broken: Broken<'_>) -> Result<Proof> {
        let Broken { dir, entry, target, size_bytes, .. } = broken;
        let rewrites = if self.options.repair { REWRITES_TO_REPAIR } else { REWRITES };
        for _ in 0..rewrites {
            let written = self.rewrite(&broken)?;
            self.tell_ranges(dir, entry, &broken.ranges, true);
            let extent = Extent { size_bytes, known: blocks::known(&broken.found, &broken.bad) };
            let reading =
                self.reader(Progress::Nothing).start(target, extent).and_then(Reading::finish);
            let (again, proof) =
                reading.map_err(|failure| self.read_back_error(dir, entry, size_bytes, failure))?;
            if again.root() == written.root() {
                return Ok(proof);
            }
            broken.bad = blocks::differing(&again.leaves, &written.leaves);
            broken.ranges = blocks::ranges(&broken.bad, size_bytes, self.options.block_bytes);
            (broken.found, broken.wanted) = (again.leaves, written.leaves);
        }
        self.tell_ranges(dir, entry, &broken.ranges, false);
        Err(Error::new(
            Operation::Verify,
            dir.target_path(entry.target_name()),
            Cause::NotAsWritten,
        ))
    }

    /// Writes the blocks that differ, and gives the file its metadata again, since writing takes
    /// away what a writer may not keep (setuid, for one) and sets the time. It is durable then.
    fn rewrite(&self, broken: &Broken<'_>) -> Result<Moved> {
        let Broken { dir, entry, source, target, size_bytes, .. } = *broken;
        let source_error = |op, cause: Cause| Error::new(op, dir.source_path(&entry.name), cause);
        let target_error =
            |op, cause: Cause| Error::new(op, dir.target_path(entry.target_name()), cause);
        let known = blocks::known(&broken.wanted, &broken.bad);
        let moved = self.transfer_blocks((&source.file, target), &Extent { size_bytes, known });
        let moved = moved.map_err(|failure| self.data_error(dir, entry, failure))?;
        if broken.hash.is_some_and(|hash| moved.root() != Some(hash)) {
            return Err(source_error(Operation::Copy, Cause::SourceChanged));
        }
        Totals::add(&self.totals.rewritten_bytes, moved.written_bytes);
        let (from, to) = (Node::open(&source.file), Node::open(target));
        self.keep(
            dir,
            entry,
            &Metadata { source: from, stat: &source.stat, target: to, existed: true },
        );
        let synced = self.sync(dir, vec![Arc::clone(target)]);
        synced
            .into_iter()
            .collect::<io::Result<()>>()
            .map_err(|cause| target_error(Operation::Fsync, cause.into()))?;
        Ok(moved)
    }

    /// Moves the blocks that are not known, in place, and leaves the target with the size of the
    /// source.
    fn transfer_blocks(
        &self,
        (source, target): (&Arc<OwnedFd>, &Arc<OwnedFd>),
        extent: &Extent,
    ) -> std::result::Result<Moved, Failure> {
        let Options { direct, block_bytes, .. } = *self.options;
        let accesses = [
            route::target_access(direct, block_bytes, source)
                .map_err(|cause| Failure::source(Operation::Read, 0, cause))?,
            route::target_access(direct, block_bytes, target)
                .map_err(|cause| Failure::target(Operation::Write, 0, cause))?,
        ];
        let side =
            |file, access: Access| Endpoint { file: Arc::clone(file), direct: access.is_direct() };
        let written = target;
        let (moved, _) = route::or_buffered(direct, [source, target], accesses, |&[from, to]| {
            let shape = Shape {
                size_bytes: extent.size_bytes,
                block_bytes,
                read_align: from.align_bytes,
                write_align: to.align_bytes,
                hash: Hashing::Tree(Mode::Hash),
                sparse: false,
                data_blocks: None,
                known: extent.known.clone(),
                blocks: None,
            };
            let (source, target, progress) =
                (side(source, from), Some(side(target, to)), Progress::Nothing);
            let moved = self.pipeline.transfer(Transfer { source, target, shape, progress });
            // A direct write of the tail is rounded up, also if another block failed.
            cut(written, extent.size_bytes)
                .map_err(|cause| Failure::target(Operation::SetSize, 0, cause))?;
            moved
        })?;
        Ok(moved)
    }

    /// What is said of a copy that cannot be read back. One that ends too early is not what was
    /// written either.
    fn read_back_error(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        size_bytes: u64,
        failure: Failure,
    ) -> Error {
        let path = dir.target_path(entry.target_name());
        match failure {
            Failure { offset_bytes, cause: Cause::ChangedWhileRead, .. } => {
                let missing = offset_bytes..size_bytes;
                self.tell_ranges(dir, entry, std::slice::from_ref(&missing), false);
                Error::new(Operation::Verify, path, Cause::NotAsWritten).at(offset_bytes)
            }
            Failure { op: Operation::Read, .. } => {
                Failure { op: Operation::ReadBack, ..failure }.of(path)
            }
            failure => failure.of(path),
        }
    }

    /// Names byte ranges of a copy that differ, or did until they were written again.
    pub fn tell_ranges(&self, dir: &OpenDir, entry: &Entry, ranges: &[Range<u64>], mended: bool) {
        self.tell_ranges_of(&dir.target_path(entry.target_name()), ranges, mended);
    }

    /// The same by the path.
    pub fn tell_ranges_of(&self, path: &Path, ranges: &[Range<u64>], mended: bool) {
        for range in ranges {
            self.tell_difference(path.to_owned(), What::Bytes(range.clone()), mended);
        }
    }

    /// Tells of a difference, and counts it unless it is mended.
    pub fn tell_difference(&self, path: PathBuf, what: What, mended: bool) {
        if !mended {
            Totals::add(&self.totals.differences, 1);
        }
        self.sink.event(Event::Differs(Difference { path, what, mended }));
    }
}

/// A copy that is to be mended in place. There is one leaf and one flag for each block of the
/// source.
pub struct Broken<'a> {
    pub dir: &'a OpenDir,
    pub entry: &'a Entry,
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
    pub ranges: Vec<Range<u64>>,
}
