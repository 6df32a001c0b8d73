//! One file from its opened source to the moment before its fsync.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::big::{BigFile, BigFiles, cut};
use super::clone::Clones;
use super::room::Room;
use super::small::{SmallFile, SmallFiles};
use crate::copy::entry::{At, Source};
use crate::copy::events::{Copying, Events};
use crate::copy::metadata::MetadataCopier;
use crate::copy::options::{Action, Options};
use crate::copy::resume::{Partial, Resume};
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, Node, Seen, Target};
use crate::pipeline::{BatchWay, Moved, Outlook, Pipeline, Traffic, route};
use crate::report::{Route, Totals, Way};
use crate::tree::{Before, Kept, Looked, Made, Metadata, OpenDir, Replaced};
use crate::workers::BUFFER_BYTES;

/// A destination whose data and metadata are written, but not durable and without its name.
pub struct Filled {
    pub target: Target,
    pub moved: Moved,
    pub cloned_bytes: u64,
    pub size_bytes: u64,
    pub route: Route,
    pub begun: Instant,
    /// How long it was worked on until it waits for the others of its batch, if there are any.
    pub took: Option<Duration>,
    /// What the source answered when it was opened.
    pub source: Seen,
    /// How much of its metadata was kept.
    pub kept: Kept,
    /// Whether it was copied part by part, into a temporary that the next run could find.
    pub is_partial: bool,
    /// Whether another file has shown what it had when it was made.
    pub is_made_as_another: bool,
}

impl Filled {
    /// Whether there is data of this file that may not be on its device. A clone has its source's,
    /// which the kernel writes out before it is shared, and what is empty has none. What was
    /// written into may hold older data.
    pub fn has_own_data(&self) -> bool {
        self.target.is_in_place() || self.route != Route::CLONED && self.size_bytes > 0
    }
}

/// What becomes of a file that does not get its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is thrown away.
    Discard,
    /// It stays for the next run.
    Leave,
}

/// The route of a big file that holds less than its size says, or more.
const ODD_SIZE: Route = Route::buffered("it does not hold what its size says");

/// A file in the making.
struct Begun<'a> {
    target: Target,
    partial: Option<Partial<'a>>,
    /// What its source has that is to be kept.
    looked: Looked,
    /// What it has had since it was made, where that is known.
    made: Option<Made>,
    /// When it was begun.
    at: Instant,
}

/// What a new file has got.
struct FillOutcome {
    moved: Moved,
    cloned_bytes: u64,
    size_bytes: u64,
    route: Route,
}

impl FillOutcome {
    /// Shared with the source, whose hash was read if that was wanted.
    fn cloned(size_bytes: u64, hashed: Option<Moved>) -> Self {
        let hash = hashed.and_then(|moved| moved.hash);
        let moved = Moved { hash, ..Moved::default() };
        Self { moved, cloned_bytes: size_bytes, size_bytes, route: Route::CLONED }
    }
}

/// What fills new files.
pub struct Data<'a> {
    options: &'a Options,
    events: &'a Events<'a>,
    metadata: &'a MetadataCopier<'a>,
    resume: &'a Resume<'a>,
    pipeline: &'a Pipeline<'a>,
    pub clones: Clones<'a>,
    small: SmallFiles<'a>,
    big: BigFiles<'a>,
}

impl<'a> Data<'a> {
    pub fn new(
        options: &'a Options,
        events: &'a Events<'a>,
        metadata: &'a MetadataCopier<'a>,
        resume: &'a Resume<'a>,
        pipeline: &'a Pipeline<'a>,
        traffic: Traffic,
    ) -> Self {
        let clones = Clones::new(options);
        let small = SmallFiles { traffic, stop: &options.stop, totals: events.totals };
        let big = BigFiles { options, resume, pipeline };
        Self { options, events, metadata, resume, pipeline, clones, small, big }
    }

    /// What is known of how the small sources of a batch are read: nothing yet.
    pub fn outlook(&self) -> Outlook {
        Outlook::new(self.options.direct, self.pipeline.merges())
    }

    /// How a small source is read. What only gets attributes or may be cloned need not be read,
    /// unless it is hashed.
    pub fn small_way(&self, dir: &OpenDir, source: &Source, outlook: &mut Outlook) -> BatchWay {
        let is_unread = self.options.action == Action::Attributes
            || (!self.options.hash && self.clones.may_clone(dir, source));
        match is_unread {
            true => BatchWay::Elsewhere,
            false => outlook.way(&source.file, &source.stat, source.is_direct),
        }
    }

    /// Copies a small file, whose `contents` may have been read already, into what stands there or
    /// into a new one.
    pub fn copy_small(
        &self,
        copying: Copying<'_>,
        in_place: Option<Target>,
        contents: Option<&[u8]>,
        buffer: &mut [u8],
    ) -> Result<Filled> {
        let begun = Instant::now();
        let Copying { at, source, .. } = copying;
        // Before its data is read: what changes from then on is seen when all of it has been.
        let looked = self.metadata.look(at, Node::open(&source.file), &source.stat);
        let (target, made) = match in_place {
            Some(target) => (target, None),
            None => self.create_small(copying, &looked)?,
        };
        let filled = self.fill_small(copying, &target, contents, buffer);
        let begun = Begun { target, partial: None, looked, made, at: begun };
        self.complete(copying, begun, filled)
    }

    /// Makes the target of a small file, if that is possible with the mode that it is to have.
    fn create_small(
        &self,
        Copying { at, source, replaced, .. }: Copying<'_>,
        looked: &Looked,
    ) -> Result<(Target, Option<Made>)> {
        let may_have_it = !at.entry.is_stream && at.dir.makes_files_alike();
        let keeps_mode = self.metadata.preserve().mode || replaced.is_none();
        let mode = self.metadata.mode_of_new(&source.stat, looked);
        let Some(mode) = mode.filter(|_| may_have_it && keeps_mode) else {
            return Ok((self.create_target(at)?, None));
        };
        let create = Target::create_with(&at.dir.target, self.resume.mark(), mode);
        let target = create.map_err(|cause| self.not_created(at, cause))?;
        let made = match target.is_named() {
            true => None,
            false => at.dir.made(target.file(), mode),
        };
        Ok((target, made))
    }

    fn fill_small(
        &self,
        Copying { at, source, .. }: Copying<'_>,
        target: &Target,
        contents: Option<&[u8]>,
        buffer: &mut [u8],
    ) -> Result<FillOutcome> {
        if self.options.action == Action::Attributes {
            let (moved, route) = (Moved::default(), route::SMALL);
            let size_bytes = source.size_bytes();
            return Ok(FillOutcome { moved, cloned_bytes: 0, size_bytes, route });
        }
        let is_cloned = self.clones.try_clone(at, source, target)?;
        if is_cloned && !self.options.hash {
            return Ok(FillOutcome::cloned(source.size_bytes(), None));
        }
        let sparse = self.options.is_sparse(&source.stat);
        if target.is_in_place() && !is_cloned {
            let room = Room { size_bytes: source.size_bytes(), sparse };
            room.make(target).map_err(|cause| at.target_error(Operation::AllocateSpace, cause))?;
        }
        let read = if contents.is_some() { Way::Direct } else { route::SMALL.read };
        let file = SmallFile {
            source: &source.file,
            target: (!is_cloned).then_some(target.file()),
            stat: &source.stat,
            contents,
            hash: self.options.hash,
            sparse,
        };
        let outcome = self.stream(at, &file, Route { read, ..route::SMALL }, buffer)?;
        if target.is_in_place() {
            cut(target.file(), outcome.size_bytes)
                .map_err(|cause| at.target_error(Operation::SetSize, cause))?;
        }
        Ok(outcome)
    }

    /// Moves a file from its start to its end. Without a target it is a clone, which is hashed, and
    /// which holds what its size says.
    fn stream(
        &self,
        at: At<'_>,
        file: &SmallFile<'_>,
        route: Route,
        buffer: &mut [u8],
    ) -> Result<FillOutcome> {
        let moved = self.small.transfer(file, buffer).map_err(|failure| at.data_error(failure))?;
        let (read_bytes, stated_bytes) = (moved.bytes(), file.stat.st_size as u64);
        match file.target {
            Some(_) => Ok(FillOutcome { moved, cloned_bytes: 0, size_bytes: read_bytes, route }),
            None if read_bytes == stated_bytes => {
                Ok(FillOutcome::cloned(stated_bytes, Some(moved)))
            }
            None => Err(at.source_error(Operation::Copy, Cause::SourceChanged)),
        }
    }

    /// Copies a big file, into what stands there or into a new one. What is written into is written
    /// from the start, also by a run that goes on.
    pub fn copy_big(&self, copying: Copying<'_>, in_place: Option<Target>) -> Result<Filled> {
        let begun = Instant::now();
        let Copying { at, source, .. } = copying;
        let looked = self.metadata.look(at, Node::open(&source.file), &source.stat);
        let (target, mut partial) = match in_place {
            Some(target) => (target, None),
            None => match self.resume.begin_partial(at, source)? {
                Some((target, partial)) => (target, Some(partial)),
                None => (self.create_target(at)?, None),
            },
        };
        let filled = self.fill_big(copying, &target, partial.as_mut());
        let begun = Begun { target, partial, looked, made: None, at: begun };
        self.complete(copying, begun, filled)
    }

    fn fill_big(
        &self,
        copying: Copying<'_>,
        target: &Target,
        partial: Option<&mut Partial<'_>>,
    ) -> Result<FillOutcome> {
        let Copying { at, source, .. } = copying;
        let is_cloned = self.clones.try_clone(at, source, target)?;
        if is_cloned && !self.options.hash {
            return Ok(FillOutcome::cloned(source.size_bytes(), None));
        }
        let read = self.to_read(source, target, is_cloned);
        let file = BigFile { copying, read, target, is_cloned };
        let partial = partial.filter(|_| !is_cloned);
        let size_bytes = source.size_bytes();
        match self.big.transfer(&file, partial)? {
            Some((moved, _)) if is_cloned => Ok(FillOutcome::cloned(size_bytes, Some(moved))),
            Some((moved, route)) => Ok(FillOutcome { moved, cloned_bytes: 0, size_bytes, route }),
            None => self.fill_to_the_end(&file),
        }
    }

    /// Copies a big file that does not hold what its size says, though nothing changed it: from its
    /// start to its end, wherever that is.
    fn fill_to_the_end(&self, file: &BigFile<'_>) -> Result<FillOutcome> {
        let &BigFile { copying: Copying { at, source, .. }, read, target, is_cloned } = file;
        if !source.is_unchanged().map_err(|cause| at.source_error(Operation::Copy, cause))? {
            return Err(at.source_error(Operation::Copy, Cause::SourceChanged));
        }
        let read_error = |cause| at.source_error(Operation::Read, cause);
        fs::set_direct(&**read, false).map_err(read_error)?;
        if !is_cloned {
            let emptied = fs::set_direct(&**target.file(), false)
                .and_then(|()| fs::set_size(&**target.file(), 0));
            emptied.map_err(|cause| at.target_error(Operation::SetSize, cause))?;
        }
        let file = SmallFile {
            source: read,
            target: (!is_cloned).then_some(target.file()),
            stat: &source.stat,
            contents: None,
            hash: self.options.hash,
            sparse: self.options.is_sparse(&source.stat),
        };
        self.stream(at, &file, ODD_SIZE, &mut vec![0; BUFFER_BYTES])
    }

    /// What is read: of a clone itself, unless it is to be proved, since nothing is its own proof,
    /// or unless it may not be read, as what is written into may not.
    fn to_read<'f>(
        &self,
        source: &'f Source,
        target: &'f Target,
        is_cloned: bool,
    ) -> &'f Arc<OwnedFd> {
        let is_read_itself = is_cloned && !self.options.verify && !target.is_in_place();
        if is_read_itself { target.file() } else { &source.file }
    }

    /// Gives a file that has its data its source's metadata, or deals with one that has not.
    fn complete(
        &self,
        copying: Copying<'_>,
        begun: Begun<'_>,
        filled: Result<FillOutcome>,
    ) -> Result<Filled> {
        let Copying { at, source, replaced, .. } = copying;
        let Begun { target, partial, looked, made, at: begun } = begun;
        let filled = filled.and_then(|filled| check_unchanged(at, source, filled));
        let FillOutcome { moved, cloned_bytes, size_bytes, route } = match filled {
            Ok(contents) => contents,
            Err(error) => return Err(self.give_up(copying, target, partial, error)),
        };
        let (from, to) = (Node::open(&source.file), Node::open(target.file()));
        let look =
            |rights| Replaced::look(at.dir, at.target_name(), rights, self.metadata.preserve());
        let replaced = replaced.filter(|_| !target.is_in_place()).map(look);
        let before = match &replaced {
            _ if target.is_in_place() => Before::WrittenInto,
            Some(replaced) => Before::Replaced(replaced),
            None => Before::Nothing,
        };
        let metadata = Metadata { source: from, stat: &source.stat, target: to, before, made };
        let kept = self.metadata.copy_looked(at, &metadata, looked);
        let (is_partial, source) = (partial.is_some(), source.seen());
        let is_made_as_another = made.is_some_and(Made::is_taken_from_another);
        Ok(Filled {
            target,
            moved,
            cloned_bytes,
            size_bytes,
            route,
            begun,
            took: Some(begun.elapsed()),
            source,
            kept,
            is_partial,
            is_made_as_another,
        })
    }

    /// Throws away what cannot be completed, unless the next run can go on with it.
    fn give_up(
        &self,
        Copying { at, source, .. }: Copying<'_>,
        target: Target,
        partial: Option<Partial<'_>>,
        mut error: Error,
    ) -> Error {
        // Where the figures cannot be had, the error says without them that the disk is full.
        if error.errno() == Some(libc::ENOSPC)
            && let Ok(cause) = self.no_space(source, target.file())
        {
            error.cause = cause;
        }
        let worth = partial.filter(|partial| partial.is_worth_keeping(&error));
        let left_bytes = worth.as_ref().map_or(0, |partial| partial.reached_bytes(source));
        Totals::add(&self.events.totals.left_bytes, left_bytes);
        self.end_target(at, target, if worth.is_some() { Fate::Leave } else { Fate::Discard });
        error
    }

    /// What a full filesystem had, and what the file would have needed.
    fn no_space(&self, source: &Source, target: &OwnedFd) -> io::Result<Cause> {
        let needed_bytes = self.options.space_of(&source.stat);
        let left_bytes = fs::free_bytes(target)? + fs::allocated_bytes(&fs::stat(target)?);
        Ok(Cause::NoSpace { needed_bytes, left_bytes })
    }

    /// Ends a file in the making that does not get its name. What was written into has it, and is
    /// not what it was.
    pub fn end_target(&self, at: At<'_>, target: Target, fate: Fate) {
        if target.is_begun_in_place() {
            self.events.warn(at.target_error(Operation::Finish, Cause::HalfWritten));
        }
        let (op, ended) = match fate {
            Fate::Leave => (Operation::CloseTemporary, target.leave()),
            Fate::Discard => (Operation::RemoveTemporary, target.discard()),
        };
        if let Err(cause) = ended {
            self.events.fail(at.target_error(op, cause));
        }
    }

    fn create_target(&self, at: At<'_>) -> Result<Target> {
        // What can be read once has to get a name at the first attempt.
        let create = if at.entry.is_stream { Target::create_named } else { Target::create };
        let created = create(&at.dir.target, self.resume.mark());
        created.map_err(|cause| self.not_created(at, cause))
    }

    fn not_created(&self, at: At<'_>, cause: io::Error) -> Error {
        match self.options.existing.in_place {
            true => at.target_error(Operation::Create, fs::why_not_made(&at.dir.target, cause)),
            false => at.replace_error(Operation::Create, cause),
        }
    }
}

/// What was filled, if its source is still what it was. A filesystem that used the page cache for a
/// file that was opened for direct I/O is told as that.
fn check_unchanged(at: At<'_>, source: &Source, mut filled: FillOutcome) -> Result<FillOutcome> {
    let error = |cause: Cause| at.source_error(Operation::Copy, cause);
    let look = source.look_again().map_err(|cause| error(cause.into()))?;
    if look.is_refused && filled.route.read == Way::Direct {
        filled.route.read = Way::Buffered(fs::NO_DIRECT_IO);
    }
    if look.is_unchanged { Ok(filled) } else { Err(error(Cause::SourceChanged)) }
}
