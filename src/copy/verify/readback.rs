//! Reading a file back from its device: direct, or after its pages were dropped from the page
//! cache, or else with the word that it came from memory.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use crate::digest::LeafHash;
use crate::error::{Cause, Operation};
use crate::fs;
use crate::pipeline::route::{self, Access};
use crate::pipeline::{
    BatchFile, BatchWay, DataBlocks, Endpoint, Failure, Leaves, Moved, Pipeline, Progress,
    SMALL_BYTES_MAX, Shape, Started, TOGETHER_ALIGN_BYTES, Transfer,
};
use crate::report::{Proof, Way};

/// Reads files back.
#[derive(Clone)]
pub struct Reader<'a> {
    pub pipeline: &'a Pipeline<'a>,
    /// What the bytes count as.
    pub progress: Progress,
    pub direct: route::DirectMode,
    pub block_bytes: u64,
}

/// What of a file is read.
#[derive(Clone)]
pub struct Extent {
    /// This number of its first bytes, as if it had no more.
    pub size_bytes: u64,
    /// How much a leaf stands for.
    pub leaf_bytes: u64,
    /// The leaves of what need not be read; see [`Shape::known`].
    pub known: Arc<[Option<LeafHash>]>,
}

impl Extent {
    /// How many leaves there are.
    pub fn leaf_count(&self) -> u64 {
        self.size_bytes.div_ceil(self.leaf_bytes)
    }
}

/// A file that is being read back.
pub struct Reading<'a> {
    reader: Reader<'a>,
    file: Arc<OwnedFd>,
    extent: Extent,
    access: Access,
    under_way: UnderWay,
}

/// A reading in the loop.
struct UnderWay {
    /// Whether the page cache was seen to hold nothing of the file.
    dropped: bool,
    /// Whether the file is empty or all hole.
    blank: bool,
    started: Started,
}

/// Files of one pipeline that are read back: from now on those that are alone, and the small ones
/// together in the end.
#[derive(Default)]
pub struct Readings<'a>(Vec<ToReadBack<'a>>);

struct ToReadBack<'a> {
    reader: Reader<'a>,
    file: Arc<OwnedFd>,
    extent: Extent,
    way: Result<ReadBack<'a>, Failure>,
}

/// How one of several files is read back.
enum ReadBack<'a> {
    /// With its neighbours, when it is their turn.
    Together,
    /// Alone, and it has begun.
    Started(Reading<'a>),
}

impl ToReadBack<'_> {
    /// They were made in the order in which they come.
    fn describe(&self) -> BatchFile<'_> {
        let way = match self.way {
            Ok(ReadBack::Together) => BatchWay::Together,
            _ => BatchWay::Elsewhere,
        };
        BatchFile { file: &self.file, order: 0, size_bytes: self.extent.size_bytes, way }
    }

    fn finish(self, contents: Result<Option<&[u8]>, Failure>) -> Result<(Moved, Proof), Failure> {
        let Self { reader, file, extent, way } = self;
        match (way?, contents?) {
            (_, Some(bytes)) => {
                reader.pipeline.count(&reader.progress, bytes.len() as u64);
                Ok((Moved::read(bytes, extent.leaf_bytes), Proof::Direct))
            }
            (ReadBack::Started(reading), None) => reading.finish(),
            // That did not go; this will find out why.
            (ReadBack::Together, None) => reader.start(&file, extent)?.finish(),
        }
    }
}

impl<'a> Readings<'a> {
    /// Adds a file, and starts reading it unless it is small.
    pub fn push(&mut self, reader: Reader<'a>, file: &Arc<OwnedFd>, extent: Extent) {
        let way = match reader.goes_together(file, &extent) {
            Ok(true) => Ok(ReadBack::Together),
            Ok(false) => reader.clone().start(file, extent.clone()).map(ReadBack::Started),
            Err(failure) => Err(failure),
        };
        self.0.push(ToReadBack { reader, file: Arc::clone(file), extent, way });
    }

    /// Blocks until all are read; they come in the order in which they were added.
    pub fn finish(self) -> Vec<Result<(Moved, Proof), Failure>> {
        let mut read = Vec::with_capacity(self.0.len());
        if let Some(pipeline) = self.0.first().map(|first| first.reader.pipeline) {
            pipeline.read_batch(self.0, ToReadBack::describe, |file, contents| {
                read.push(file.finish(contents))
            });
        }
        read
    }
}

impl<'a> Reader<'a> {
    /// Whether a file is read direct with its neighbours; its descriptor has `O_DIRECT` then.
    fn goes_together(&self, file: &OwnedFd, extent: &Extent) -> Result<bool, Failure> {
        let is_small = (1..=SMALL_BYTES_MAX).contains(&extent.size_bytes);
        // What keeps to a rate is read block by block, and so is what need not be read whole.
        if !is_small || self.pipeline.is_paced() || extent.known.iter().any(Option::is_some) {
            return Ok(false);
        }
        match route::readback_access(self.direct, TOGETHER_ALIGN_BYTES, file) {
            Ok(access) => Ok(access.is_direct()),
            // Whole blocks may be aligned all the same.
            Err(Cause::NoDirect(_)) => Ok(false),
            Err(cause) => Err(Failure::source(Operation::ReadBack, 0, cause)),
        }
    }

    /// Starts reading a file that is durable, and does not wait.
    pub fn start(self, file: &Arc<OwnedFd>, extent: Extent) -> Result<Reading<'a>, Failure> {
        let access = route::readback_access(self.direct, self.block_bytes, file)
            .map_err(|cause| Failure::source(Operation::ReadBack, 0, cause))?;
        let under_way = self.start_in(file, &extent, access)?;
        Ok(Reading { reader: self, file: Arc::clone(file), extent, access, under_way })
    }

    fn start_in(
        &self,
        file: &Arc<OwnedFd>,
        extent: &Extent,
        access: Access,
    ) -> Result<UnderWay, Failure> {
        let mut dropped = false;
        if !access.is_direct() {
            dropped = drop_all(file, extent.size_bytes);
            if !dropped {
                // What is not on the device yet cannot be dropped.
                let synced = self
                    .pipeline
                    .sync(vec![Arc::clone(file)])
                    .into_iter()
                    .collect::<io::Result<()>>();
                synced.map_err(|cause| Failure::target(Operation::Fsync, 0, cause))?;
                dropped = drop_all(file, extent.size_bytes);
            }
        }
        let data_blocks = route::data_blocks_of(file, extent.size_bytes, self.block_bytes);
        let all_hole = data_blocks.as_ref().is_some_and(DataBlocks::is_blank);
        let blank = extent.size_bytes == 0 || all_hole;
        let whole = Shape::read(extent.size_bytes, self.block_bytes, access);
        let (known, leaf_bytes) = (Arc::clone(&extent.known), extent.leaf_bytes);
        // If they are not the right ones, it is to be found where.
        let leaves = Leaves::Kept;
        let shape = Shape { data_blocks, known, leaf_bytes, leaves, ..whole };
        let source = Endpoint::new(file, access);
        let started = self.pipeline.start_transfer(Transfer {
            source,
            target: None,
            shape,
            progress: self.progress.clone(),
        });
        Ok(UnderWay { dropped, blank, started })
    }
}

impl Reading<'_> {
    /// Blocks until all is read, and says from where.
    pub fn finish(self) -> Result<(Moved, Proof), Failure> {
        let Self { reader, file, extent, access, under_way } = self;
        let mut started = Some(under_way);
        let read = route::or_buffered(reader.direct, [&file], [access], |&[access]| {
            let UnderWay { dropped, blank, started } = match started.take() {
                Some(under_way) => under_way,
                None => reader.start_in(&file, &extent, access)?,
            };
            let moved = started.wait()?;
            let proof = match access.way {
                Way::Buffered(reason) if !blank => {
                    buffered_proof(&file, extent.size_bytes, dropped, reason)
                }
                Way::Buffered(reason) => Proof::Dropped(reason),
                _ => Proof::Direct,
            };
            Ok((moved, proof))
        });
        match read {
            Ok((read, _)) => Ok(read),
            Err(failure) if matches!(failure.cause, Cause::SourceChanged) => {
                Err(Failure { cause: Cause::ChangedWhileRead, ..failure })
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Drops a file's pages; true if the page cache was seen to hold nothing of it then.
fn drop_all(file: &OwnedFd, size_bytes: u64) -> bool {
    fs::drop_cache(file);
    fs::cached_bytes(file.as_fd(), size_bytes) == Some(0)
}

/// Where the bytes came from that were just read through the page cache. That it was empty before
/// proves something only if it is seen to be full now: an overlay, for one, keeps the pages where
/// it does not show them.
fn buffered_proof(file: &OwnedFd, size_bytes: u64, dropped: bool, reason: &'static str) -> Proof {
    let seen = fs::cached_bytes(file.as_fd(), size_bytes).is_some_and(|bytes| bytes > 0);
    if !(dropped && seen) {
        return Proof::Memory(reason);
    }
    // They were of use once.
    fs::drop_cache(file);
    Proof::Dropped(reason)
}
