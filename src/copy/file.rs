//! One file from opening to the moment before its fsync: a small one by plain writes of what was
//! read plainly or with its neighbours, a big one through the pipeline.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use super::instead::Make;
use super::parts::Parts;
use super::stream::Streaming;
use super::worker::Run;
use super::{Options, Sparse};
use crate::digest::{Hashing, Mode};
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::Node;
use crate::fs::{self, FileType, Stat, Target};
use crate::pipeline::route::{self, Access};
use crate::pipeline::{Endpoint, Failure, Moved, Progress, Shape, Side, Transfer};
use crate::report::{Route, Totals, Way};
use crate::tree::{Entry, Metadata, OpenDir};

/// A source that was opened and found to be what was listed.
pub struct Source {
    pub file: Arc<OwnedFd>,
    pub stat: Stat,
    /// Bytes of it that were counted as handled.
    pub handled_bytes: Arc<AtomicU64>,
}

impl Source {
    /// A file that was just opened.
    pub fn new(file: OwnedFd, stat: Stat) -> Self {
        Self { file: Arc::new(file), stat, handled_bytes: Arc::default() }
    }

    /// The file's size when it was opened.
    pub fn size_bytes(&self) -> u64 {
        self.stat.st_size as u64
    }

    /// Whether size, modification time and change time are what they were when it was opened. A
    /// name more or less changes the last one too: the copy takes one from it where it replaces
    /// what was a name of this file.
    pub fn is_unchanged(&self) -> io::Result<bool> {
        let (now, then) = (fs::stat(&*self.file)?, &self.stat);
        let written = |s: &Stat| (s.st_size, s.st_mtime, s.st_mtime_nsec);
        let changed = |s: &Stat| (s.st_ctime, s.st_ctime_nsec);
        Ok(written(&now) == written(then)
            && (changed(&now) == changed(then) || now.st_nlink != then.st_nlink))
    }
}

/// A destination whose data and metadata are written, but not durable and without its name.
pub struct Filled {
    pub target: Target,
    pub moved: Moved,
    pub cloned_bytes: u64,
    pub size_bytes: u64,
    pub route: Route,
    pub begun: Instant,
    /// What the source had when it was opened.
    pub source: Stat,
    /// Whether all of its metadata was kept.
    pub kept: bool,
    /// Whether the temporary outlives the run.
    pub in_parts: bool,
}

/// A big file that is moved, and how.
struct Moving<'a> {
    source: &'a Source,
    /// What is read: the source, or its clone.
    read: &'a Arc<OwnedFd>,
    /// What is written, unless it is a clone.
    target: Option<&'a Target>,
    from: Access,
    to: Access,
    sparse: bool,
}

/// What is to be done with a destination that was just made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// Its data is moved.
    Copy,
    /// It is cloned and has its data, which is only hashed.
    HashOnly,
}

impl Run<'_> {
    pub fn open_source(&self, dir: &OpenDir, entry: &Entry) -> Result<Source> {
        let error = |op, cause: Cause| Error::new(op, dir.source_path(&entry.name), cause);
        let open = if entry.followed { fs::open_to_read_behind } else { fs::open_to_read };
        let file = open(&dir.source, &entry.name).map_err(|cause| match cause.raw_os_error() {
            // The listing said that it is a file; a link is never followed, and a socket or a
            // device without a driver has nothing to read.
            Some(libc::ELOOP | libc::ENXIO | libc::ENODEV) => {
                error(Operation::Open, Cause::Swapped)
            }
            _ => error(Operation::Open, cause.into()),
        })?;
        let stat = fs::stat(&file).map_err(|cause| error(Operation::Stat, cause.into()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
            || !self.is_as_listed(dir, entry, &file, &stat)?
        {
            return Err(error(Operation::Open, Cause::Swapped));
        }
        Ok(Source::new(file, stat))
    }

    /// Whether an open file is the one that the listing named.
    pub fn is_as_listed(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        file: &OwnedFd,
        stat: &Stat,
    ) -> Result<bool> {
        let Some(ino) = entry.ino else { return Ok(true) };
        fs::is_as_listed(&dir.source, file, stat, ino)
            .map_err(|cause| Error::new(Operation::Stat, dir.source_path(&entry.name), cause))
    }

    /// Lets `fill` put the data into a new destination, and gives it the source's metadata.
    fn fill_target(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        source: &Source,
        (target, mut parts): (Target, Option<Parts<'_>>),
        fill: impl FnOnce(&Target, Fill, Option<&mut Parts<'_>>) -> Result<(Moved, Route)>,
    ) -> Result<Filled> {
        let begun = Instant::now();
        let filled = self.clone_contents(dir, entry, source, target.file()).and_then(|cloned| {
            let size_bytes = source.stat.st_size as u64;
            let filled = if cloned {
                let hash = match self.options.hash {
                    true => fill(&target, Fill::HashOnly, None)?.0.hash,
                    false => None,
                };
                let moved = Moved { hash, ..Moved::default() };
                (moved, size_bytes, Route::CLONED)
            } else {
                let (moved, route) = fill(&target, Fill::Copy, parts.as_mut())?;
                (moved, 0, route)
            };
            self.check_unchanged(dir, entry, source)?;
            Ok(filled)
        });
        match filled {
            Ok((moved, cloned_bytes, route)) => {
                let (from, to) = (Node::open(&source.file), Node::open(target.file()));
                let kept = self.keep(
                    dir,
                    entry,
                    &Metadata { source: from, stat: &source.stat, target: to, existed: false },
                );
                // What says 0 and holds something, as in /proc, is as large as what was read of it.
                let size_bytes =
                    if source.size_bytes() == 0 { moved.bytes() } else { source.size_bytes() };
                let in_parts = parts.is_some();
                let source = source.stat;
                Ok(Filled {
                    target,
                    moved,
                    cloned_bytes,
                    size_bytes,
                    route,
                    begun,
                    source,
                    kept,
                    in_parts,
                })
            }
            Err(mut error) => {
                if error.errno() == Some(libc::ENOSPC) {
                    error.cause = self.no_space(source, target.file()).map_err(|cause| {
                        Error::new(Operation::Stat, dir.target_path(entry.target_name()), cause)
                    })?;
                }
                let worth = parts.as_ref().filter(|parts| parts.are_worth_keeping(&error));
                let stays = worth.is_some();
                Totals::add(
                    &self.totals.left_bytes,
                    worth.map_or(0, |parts| parts.reached_bytes(source)),
                );
                self.drop_target(dir, entry, target, stays);
                Err(error)
            }
        }
    }

    /// What a full filesystem had, and what the file would have needed.
    fn no_space(&self, source: &Source, target: &OwnedFd) -> io::Result<Cause> {
        let allocated_bytes = |stat: &Stat| (stat.st_blocks as u64) * 512;
        let size_bytes = source.stat.st_size as u64;
        let needed_bytes = if self.is_sparse(&source.stat) {
            size_bytes.min(allocated_bytes(&source.stat))
        } else {
            size_bytes
        };
        let left_bytes = fs::free_bytes(target)? + allocated_bytes(&fs::stat(target)?);
        Ok(Cause::NoSpace { needed_bytes, left_bytes })
    }

    /// Throws a file in the making away, or leaves it for the next run.
    pub fn drop_target(&self, dir: &OpenDir, entry: &Entry, target: Target, stays: bool) {
        let (op, dropped) = match stays {
            true => (Operation::CloseTemporary, target.leave()),
            false => (Operation::RemoveTemporary, target.discard(&*dir.target)),
        };
        if let Err(cause) = dropped {
            self.fail(Error::new(op, dir.target_path(entry.target_name()), cause));
        }
    }

    fn create_target(&self, dir: &OpenDir, entry: &Entry) -> Result<Target> {
        Target::create(&*dir.target, self.temporary_name(entry).as_deref()).map_err(|cause| {
            Error::new(Operation::Create, dir.target_path(entry.target_name()), cause)
        })
    }

    /// Where the hash of a clone is read: what is to be proved by it must not be its own proof.
    fn hashed_of_clone<'a>(&self, source: &'a Source, target: &'a Target) -> &'a Arc<OwnedFd> {
        if self.options.verify { &source.file } else { target.file() }
    }

    fn check_unchanged(&self, dir: &OpenDir, entry: &Entry, source: &Source) -> Result<()> {
        let error = |cause: Cause| Error::new(Operation::Copy, dir.source_path(&entry.name), cause);
        match source.is_unchanged().map_err(|cause| error(cause.into()))? {
            true => Ok(()),
            false => Err(error(Cause::SourceChanged)),
        }
    }

    /// The access in which a small source is read. What may be cloned need not be read at all.
    pub fn small_access(&self, dir: &OpenDir, source: &Source) -> Access {
        let Options { direct, make, .. } = self.options;
        let merges =
            self.pipeline.merges() && *make != Make::Attributes && !self.may_clone(dir, source);
        route::small_source_access(*direct, merges, &source.file, source.size_bytes())
    }

    /// Copies a small file, whose `contents` may have been read already.
    pub fn copy_small(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        source: &Source,
        contents: Option<&[u8]>,
        buffer: &mut [u8],
    ) -> Result<Filled> {
        let target = self.create_target(dir, entry)?;
        self.fill_target(dir, entry, source, (target, None), |target, fill, _| {
            if self.options.make == Make::Attributes {
                return Ok((Moved::default(), route::SMALL));
            }
            let (from, to) = match fill {
                Fill::Copy => (&source.file, Some(&**target.file())),
                Fill::HashOnly => (self.hashed_of_clone(source, target), None),
            };
            let how = Streaming {
                size_bytes: source.stat.st_size as u64,
                hash: self.options.hash,
                sparse: self.is_sparse(&source.stat),
            };
            let moved = self.stream(from, to, how, contents, buffer);
            let moved = moved.map_err(|failure| self.data_error(dir, entry, failure))?;
            let read = if contents.is_some() { Way::Direct } else { route::SMALL.read };
            Ok((moved, Route { read, ..route::SMALL }))
        })
    }

    pub fn copy_big(&self, dir: &OpenDir, entry: &Entry, source: &Source) -> Result<Filled> {
        let target = match self.begin_parts(dir, entry, source)? {
            Some((target, parts)) => (target, Some(parts)),
            None => (self.create_target(dir, entry)?, None),
        };
        self.fill_target(dir, entry, source, target, |target, fill, parts| {
            self.fill_big(dir, entry, source, (target, fill), parts)
        })
    }

    fn fill_big(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        source: &Source,
        (target, fill): (&Target, Fill),
        mut parts: Option<&mut Parts<'_>>,
    ) -> Result<(Moved, Route)> {
        let error = |failure| self.data_error(dir, entry, failure);
        let (size_bytes, sparse) = (source.size_bytes(), self.is_sparse(&source.stat));
        let read =
            if fill == Fill::Copy { &source.file } else { self.hashed_of_clone(source, target) };
        let accesses = self.accesses(read, target.file(), size_bytes).map_err(error)?;
        if let Some(parts) = &mut parts {
            self.prove_parts(dir, entry, source, target.file(), accesses[1], parts)?;
        }
        let files = [&**read, &**target.file()];
        let (moved, [from, to]) =
            route::or_buffered(self.options.direct, files, accesses, |&[from, to]| {
                let moving = Moving {
                    source,
                    read,
                    target: (fill == Fill::Copy).then_some(target),
                    from,
                    to,
                    sparse,
                };
                let moved = self.move_big(&moving, parts.as_deref_mut())?;
                let cut = cut(target.file(), size_bytes);
                cut.map_err(|cause| Failure::target(Operation::SetSize, 0, cause))?;
                Ok(moved)
            })
            .map_err(error)?;
        Ok((moved, Route { read: from.way, write: to.way }))
    }

    /// The accesses of source and destination.
    fn accesses(
        &self,
        source: &OwnedFd,
        target: &OwnedFd,
        size_bytes: u64,
    ) -> std::result::Result<[Access; 2], Failure> {
        let Options { direct, block_bytes, .. } = *self.options;
        Ok([
            route::source_access(direct, block_bytes, source, size_bytes)
                .map_err(|cause| Failure::source(Operation::Read, 0, cause))?,
            route::target_access(direct, block_bytes, target)
                .map_err(|cause| Failure::target(Operation::Write, 0, cause))?,
        ])
    }

    fn move_big(
        &self,
        moving: &Moving<'_>,
        parts: Option<&mut Parts<'_>>,
    ) -> std::result::Result<Moved, Failure> {
        let seek_error = |cause| Failure::source(Operation::Seek, 0, cause);
        let &Moving { source, read, target, from, to, sparse } = moving;
        if let Some(target) = target {
            self.allocate(target, source.size_bytes(), to, sparse)
                .map_err(|cause| Failure::target(Operation::AllocateSpace, 0, cause))?;
        }
        let shape = self.shape(source, from, to).map_err(seek_error)?;
        let transfer = |shape| Transfer {
            source: Endpoint { file: Arc::clone(read), direct: from.is_direct() },
            target: target
                .map(|target| Endpoint { file: Arc::clone(target.file()), direct: to.is_direct() }),
            shape,
            progress: Progress::Handled(Arc::clone(&source.handled_bytes)),
        };
        match (parts, target) {
            (Some(parts), Some(target)) => {
                self.move_parts(target.file(), parts, shape.block_count(), |blocks| {
                    transfer(shape.part(blocks))
                })
            }
            _ if sparse && self.is_vast(source).map_err(seek_error)? => {
                self.move_stretches(read, &shape, transfer)
            }
            _ => self.pipeline.transfer(transfer(shape)),
        }
    }

    /// What is said of a failure in moving a file's data.
    pub fn data_error(&self, dir: &OpenDir, entry: &Entry, failure: Failure) -> Error {
        let path = match failure.side {
            Side::Target => dir.target_path(entry.target_name()),
            Side::Source => dir.source_path(&entry.name),
        };
        failure.of(path)
    }

    /// Moves what is data of a file that is nearly all hole, one stretch after the other, and goes
    /// over none of the blocks in between.
    fn move_stretches(
        &self,
        file: &OwnedFd,
        shape: &Shape,
        transfer: impl Fn(Shape) -> Transfer,
    ) -> std::result::Result<Moved, Failure> {
        let &Shape { size_bytes, block_bytes, .. } = shape;
        let (mut from, mut written_bytes) = (0, 0);
        while from < size_bytes {
            let data = fs::next_data(file, from);
            let data = data.map_err(|cause| Failure::source(Operation::Seek, from, cause))?;
            let Some((start, end)) = data.filter(|&(start, _)| start < size_bytes) else { break };
            let blocks = start / block_bytes..end.min(size_bytes).div_ceil(block_bytes);
            from = blocks.end * block_bytes;
            let stretch = Shape { blocks: Some(blocks), ..shape.part(0..0) };
            let transfer = Transfer {
                progress: Progress::Nothing,
                ..transfer(Shape { hash: Hashing::No, ..stretch })
            };
            written_bytes += self.pipeline.transfer(transfer)?.written_bytes;
        }
        Ok(Moved {
            whole: true,
            written_bytes,
            hole_bytes: size_bytes - written_bytes,
            ..Moved::default()
        })
    }

    /// Whether a file has more blocks than can be gone over one by one, and says truly where its
    /// data is.
    fn is_vast(&self, source: &Source) -> io::Result<bool> {
        let blocks = source.size_bytes().div_ceil(self.options.block_bytes);
        Ok(!self.options.hash
            && blocks > route::BLOCKS_MAX
            && fs::holes_are_believed(&*source.file)?)
    }

    fn is_sparse(&self, stat: &Stat) -> bool {
        match self.options.sparse {
            Sparse::Always => true,
            Sparse::Never => false,
            // st_blocks counts 512 bytes whatever the filesystem's block is, see inode(7).
            Sparse::Auto => (stat.st_blocks as u64) * 512 < stat.st_size as u64,
        }
    }

    /// Sets the size first, so that no write extends the file, and takes the space, so that a full
    /// disk is known before a byte is moved. The size is rounded up to what direct writes need; it
    /// is cut in the end.
    fn allocate(
        &self,
        target: &Target,
        size_bytes: u64,
        to: Access,
        sparse: bool,
    ) -> io::Result<()> {
        let file = &**target.file();
        // The largest file that there can be is no multiple of anything, see off_t in lseek(2).
        let rounded = size_bytes.next_multiple_of(to.align_bytes).min(i64::MAX as u64);
        if !sparse && fs::preallocation_helps(file)? {
            return fs::preallocate(file, rounded);
        }
        fs::set_size(file, rounded)
    }

    fn shape(&self, source: &Source, from: Access, to: Access) -> io::Result<Shape> {
        let sparse = self.is_sparse(&source.stat);
        let size_bytes = source.stat.st_size as u64;
        let block_bytes = self.options.block_bytes;
        // Elsewhere everything is read, and the zeros that are found are left out all the same.
        let data_blocks = match sparse && fs::holes_are_believed(&*source.file)? {
            true => route::data_blocks(&source.file, size_bytes, block_bytes)?,
            false => None,
        };
        Ok(Shape {
            size_bytes,
            block_bytes,
            read_align: from.align_bytes,
            write_align: to.align_bytes,
            hash: if self.options.hash { Hashing::Tree(Mode::Hash) } else { Hashing::No },
            sparse,
            data_blocks,
            known: Vec::new(),
            blocks: None,
        })
    }
}

/// Gives a file its exact size, after it was allocated in whole blocks.
pub fn cut(file: &OwnedFd, size_bytes: u64) -> io::Result<()> {
    if fs::stat(file)?.st_size as u64 == size_bytes {
        Ok(())
    } else {
        fs::set_size(file, size_bytes)
    }
}
