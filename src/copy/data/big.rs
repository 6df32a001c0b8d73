//! A big file through the pipeline, whole or part by part.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::room::Room;
use crate::copy::entry::Source;
use crate::copy::events::Copying;
use crate::copy::options::Options;
use crate::copy::resume::{Partial, Resume};
use crate::digest::Hashing;
use crate::error::{Cause, Operation, Result};
use crate::fs::{self, Target};
use crate::pipeline::route::{self, Access};
use crate::pipeline::{
    BLOCKS_MAX, Endpoint, Failure, Leaves, Moved, Pipeline, Progress, Shape, Transfer,
};
use crate::report::Route;

/// What moves big files.
pub struct BigFiles<'a> {
    pub options: &'a Options,
    pub resume: &'a Resume<'a>,
    pub pipeline: &'a Pipeline<'a>,
}

/// A big file that is to be moved.
pub struct BigFile<'a> {
    pub copying: Copying<'a>,
    /// What is read: the source, or its clone.
    pub read: &'a Arc<OwnedFd>,
    pub target: &'a Target,
    /// Whether the target is a clone, and has its data: it is only hashed then.
    pub is_cloned: bool,
}

/// A big file with the accesses that were chosen for it.
struct Moving<'a> {
    file: &'a BigFile<'a>,
    from: Access,
    to: Access,
    sparse: bool,
}

impl Moving<'_> {
    fn source(&self) -> &Source {
        self.file.copying.source
    }

    fn transfer(&self, shape: Shape) -> Transfer {
        let BigFile { copying, read, target, is_cloned } = self.file;
        let target = Endpoint::new(target.file(), self.to);
        Transfer {
            source: Endpoint::new(read, self.from),
            target: (!is_cloned).then_some(target),
            shape,
            progress: Progress::Handled(Arc::clone(copying.counted.handled_bytes())),
        }
    }
}

impl BigFiles<'_> {
    /// Moves a file's data, and says how it went. The target has its size then, and is not durable.
    /// Nothing if the source turned out to hold less than its size says, or more.
    pub fn transfer(
        &self,
        file: &BigFile<'_>,
        mut partial: Option<&mut Partial<'_>>,
    ) -> Result<Option<(Moved, Route)>> {
        let Copying { at, source, .. } = file.copying;
        let error = |failure| at.data_error(failure);
        let (size_bytes, target) = (source.size_bytes(), file.target.file());
        let accesses = self.accesses(file.read, target, size_bytes).map_err(error)?;
        if let Some(partial) = &mut partial {
            self.resume.prove_partial(file.copying, target, accesses[1], partial)?;
        }
        let (direct, files) = (self.options.direct, [&**file.read, &**target]);
        let sparse = self.options.is_sparse(&source.stat);
        let moved = route::or_buffered(direct, files, accesses, |&[from, to]| {
            let moving = Moving { file, from, to, sparse };
            let moved = self.move_blocks(&moving, partial.as_deref_mut())?;
            cut(target, size_bytes)
                .map_err(|cause| Failure::target(Operation::SetSize, 0, cause))?;
            Ok(moved)
        });
        let (moved, [from, to]) = match moved {
            Err(Failure { cause: Cause::SourceChanged, .. })
                if !fs::size_is_believed(&source.stat) =>
            {
                return Ok(None);
            }
            moved => moved.map_err(error)?,
        };
        let holds_more = !fs::size_is_believed(&source.stat)
            && fs::has_byte_at(file.read, size_bytes)
                .map_err(|cause| error(Failure::source(Operation::Read, size_bytes, cause)))?;
        Ok((!holds_more).then_some((moved, Route { read: from.way, write: to.way })))
    }

    /// The accesses of source and destination.
    fn accesses(
        &self,
        source: &OwnedFd,
        target: &OwnedFd,
        size_bytes: u64,
    ) -> std::result::Result<[Access; 2], Failure> {
        let Options { direct, block_bytes, .. } = *self.options;
        let from = route::source_access(direct, block_bytes, source, size_bytes);
        let to = route::target_access(direct, block_bytes, target);
        Ok([
            from.map_err(|cause| Failure::source(Operation::Read, 0, cause))?,
            to.map_err(|cause| Failure::target(Operation::Write, 0, cause))?,
        ])
    }

    fn move_blocks(
        &self,
        moving: &Moving<'_>,
        partial: Option<&mut Partial<'_>>,
    ) -> std::result::Result<Moved, Failure> {
        let BigFile { target, is_cloned, .. } = moving.file;
        if !is_cloned {
            allocate(moving)?;
        }
        let shape = self.shape(moving);
        match partial {
            Some(partial) if !is_cloned => {
                // The journal says of each how far the file is.
                let shape = Shape { leaves: Leaves::Kept, ..shape };
                let part = |bytes| moving.transfer(shape.part(bytes));
                self.resume.move_partial(target.file(), partial, shape.size_bytes, part)
            }
            _ if moving.sparse && self.is_vast(moving.source()) => {
                self.move_stretches(moving, &shape)
            }
            _ => self.pipeline.transfer(moving.transfer(shape)),
        }
    }

    /// Moves the data of a file that is nearly all hole, one stretch after the other. The blocks in
    /// between are passed over.
    fn move_stretches(
        &self,
        moving: &Moving<'_>,
        shape: &Shape,
    ) -> std::result::Result<Moved, Failure> {
        let &Shape { size_bytes, block_bytes, .. } = shape;
        let (mut from, mut written_bytes) = (0, 0);
        while from < size_bytes {
            let data = fs::next_data(moving.file.read, from)
                .map_err(|cause| Failure::source(Operation::Seek, from, cause))?;
            let Some((start, end)) = data.filter(|&(start, _)| start < size_bytes) else { break };
            let blocks = start / block_bytes..end.min(size_bytes).div_ceil(block_bytes);
            from = blocks.end * block_bytes;
            let stretch = shape.part(blocks.start * block_bytes..from);
            let stretch = Shape { hash: Hashing::No, ..stretch };
            let transfer = Transfer { progress: Progress::Nothing, ..moving.transfer(stretch) };
            written_bytes += self.pipeline.transfer(transfer)?.written_bytes;
        }
        let hole_bytes = size_bytes - written_bytes;
        Ok(Moved { whole: true, written_bytes, hole_bytes, ..Moved::default() })
    }

    /// Whether a file has more blocks than can be gone over one by one, and says truly where its
    /// data is.
    fn is_vast(&self, source: &Source) -> bool {
        let blocks = source.size_bytes().div_ceil(self.options.block_bytes);
        !self.options.hash && blocks > BLOCKS_MAX && fs::holes_are_believed(&*source.file)
    }

    fn shape(&self, moving: &Moving<'_>) -> Shape {
        let &Moving { from, to, sparse, .. } = moving;
        let (source, block_bytes) = (moving.source(), self.options.block_bytes);
        let size_bytes = source.size_bytes();
        // Elsewhere everything is read, and the zeros that are found are left out all the same.
        let data_blocks = match sparse {
            true => route::data_blocks(&source.file, size_bytes, block_bytes),
            false => None,
        };
        let whole = Shape::write(size_bytes, block_bytes, from, to);
        let shape = Shape { sparse, data_blocks, ..whole };
        if self.options.hash { shape } else { Shape { hash: Hashing::No, ..shape } }
    }
}

/// Makes room. The size is rounded up to what direct writes need; it is cut in the end.
fn allocate(moving: &Moving<'_>) -> std::result::Result<(), Failure> {
    let size_bytes = moving.source().size_bytes();
    // The largest file that there can be is no multiple of anything, see off_t in lseek(2).
    let rounded = size_bytes.next_multiple_of(moving.to.align_bytes).min(i64::MAX as u64);
    let target = moving.file.target;
    // What cannot be cut is not rounded up; what else is wrong shows below.
    if rounded != size_bytes
        && !target.is_in_place()
        && let Err(cause) = fs::truncate(&**target.file(), rounded)
        && fs::is_unavailable(&cause)
    {
        return Err(Failure::target(Operation::SetSize, 0, cause));
    }
    let made = Room { size_bytes: rounded, sparse: moving.sparse }.make(target);
    made.map_err(|cause| Failure::target(Operation::AllocateSpace, 0, cause))
}

/// Gives a file its exact size, after it was allocated in whole blocks.
pub fn cut(file: &OwnedFd, size_bytes: u64) -> io::Result<()> {
    match fs::stat(file)?.st_size as u64 {
        now_bytes if now_bytes == size_bytes => Ok(()),
        _ => fs::set_size(file, size_bytes),
    }
}
