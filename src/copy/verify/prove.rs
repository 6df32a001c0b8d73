//! Reads durable files back, and compares them with what was read from their sources.

use super::blocks;
use super::mend::Broken;
use super::readback::{Reading, Readings};
use super::service::Verify;
use crate::copy::data::Filled;
use crate::copy::entry::At;
use crate::copy::events::Counted;
use crate::error::{Cause, Error, Operation, Result};
use crate::pipeline::{Moved, Progress};
use crate::report::Proof;

/// A durable file that has no name yet.
pub struct ToProve<'a> {
    pub at: At<'a>,
    pub filled: &'a Filled,
    pub counted: &'a mut Counted,
}

impl Verify<'_> {
    /// Reads files back, big ones all in flight and small ones together. What is bad is written
    /// again. The answers come in the order of the files; without `--verify` there is no proof.
    pub fn prove(&self, files: Vec<ToProve<'_>>) -> Vec<Result<Option<Proof>>> {
        if !self.options.proves() {
            return files.iter().map(|_| Ok(None)).collect();
        }
        let mut readings = Readings::default();
        for ToProve { filled, .. } in &files {
            let reader = self.reader(self.readers.source, Progress::Proved);
            readings.push(reader, filled.target.file(), self.whole(filled.size_bytes));
        }
        let read = readings.finish();
        files.into_iter().zip(read).map(|(file, read)| self.judge(file, read).map(Some)).collect()
    }

    fn judge(
        &self,
        ToProve { at, filled, counted }: ToProve<'_>,
        read: std::result::Result<(Moved, Proof), crate::pipeline::Failure>,
    ) -> Result<Proof> {
        let (found, proof) =
            read.map_err(|failure| self.read_back_error(at, filled.size_bytes, failure))?;
        counted.was_read_back();
        let proof = match found.root() == filled.moved.root() {
            true => proof,
            false => self.write_again(at, filled, found)?,
        };
        self.events.proved(proof);
        Ok(proof)
    }

    /// A copy that is not what was read: finds out where, and writes that again.
    fn write_again(&self, at: At<'_>, filled: &Filled, found: Moved) -> Result<Proof> {
        let size_bytes = filled.size_bytes;
        let source = at.open_source(&self.options.stop)?;
        let reading = self.uncounted().start(&source.file, self.whole(size_bytes));
        let reading = reading.and_then(Reading::finish);
        let (wanted, _) = reading.map_err(|failure| failure.of(at.source_path()))?;
        if wanted.root() != filled.moved.root() {
            return Err(source_changed(at));
        }
        let bad = blocks::differing(&found.leaves, &wanted.leaves);
        self.mend(Broken {
            at,
            source: &source,
            target: filled.target.file(),
            size_bytes,
            hash: wanted.root(),
            wanted: wanted.leaves,
            found: found.leaves,
            ranges: blocks::ranges(&bad, size_bytes, self.leaf_bytes(size_bytes)),
            bad,
        })
    }
}

fn source_changed(at: At<'_>) -> Error {
    at.source_error(Operation::Copy, Cause::SourceChanged)
}
