//! A big file under `--resume`: it is copied part by part into a temporary that has a name, and
//! after each part the journal says how far it is durable. The next run reads that much back,
//! compares, and goes on behind it.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::file::{Journal, is_as_begun};
use super::format::{Begun, Reached, Record};
use super::known::{self, is_same, temporary_number};
use super::recovered::Half;
use super::session::Resume;
use crate::copy::entry::{At, Source};
use crate::copy::events::Copying;
use crate::digest::{Leaf, LeafHash, Mode, Output, Run, Tree};
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, Leftover, Stat, Target, Trust};
use crate::pipeline::route::Access;
use crate::pipeline::{
    Endpoint, Failure, Leaves, Moved, Progress, Shape, Started, Transfer, leaf_bytes,
};
use crate::report::Totals;

/// How many parts there are to a journal interval: two are in the loop, and the record of one
/// before them may not be durable.
const PARTS_PER_INTERVAL: u64 = 4;

/// Leaves in one record: 32 MiB, which is half of what a frame of the journal may have.
const RECORD_LEAVES_MAX: usize = 1 << 20;

/// How far a big file has come.
pub struct Partial<'a> {
    journal: &'a Journal,
    begun: Begun,
    /// What the journal says is durable, until that is proved.
    claimed: Vec<LeafHash>,
    /// The leaves of the first blocks, which are durable.
    leaves: Vec<LeafHash>,
    part_leaves: u64,
}

impl Partial<'_> {
    /// Whether it would be a loss to throw the temporary away after this error. After a failed
    /// fsync it is unknown what is on the device.
    pub fn is_worth_keeping(&self, error: &Error) -> bool {
        !self.leaves.is_empty()
            && error.op != Operation::Fsync
            && !matches!(error.cause, Cause::SourceChanged)
    }

    fn first(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Bytes of the first blocks, which are durable.
    pub fn reached_bytes(&self, source: &Source) -> u64 {
        self.bytes_of(self.first(), source.size_bytes())
    }

    /// Bytes that so many leaves stand for, of a file that is to have `size_bytes`.
    fn bytes_of(&self, leaves: u64, size_bytes: u64) -> u64 {
        (leaves * self.begun.block_bytes).min(size_bytes)
    }

    fn reached(&self, first_block: u64, leaves: Vec<LeafHash>) -> Record {
        Record::Reached(Reached { name: self.begun.name, first_block, leaves })
    }

    /// How to read what so many leaves stand for back, of a file with this shape.
    fn read_back(
        &self,
        file: &Arc<OwnedFd>,
        access: Access,
        whole: Shape,
        leaves: u64,
    ) -> Transfer {
        let whole = Shape { leaves: Leaves::Kept, ..whole };
        let shape = whole.part(0..self.bytes_of(leaves, whole.size_bytes));
        let source = Endpoint::new(file, access);
        Transfer { source, target: None, shape, progress: Progress::Earlier }
    }
}

/// Why a half-copied file is copied from the start.
fn why_not(half: &Begun, now: &Begun, temporary: &Stat, trust: Trust) -> Option<&'static str> {
    match () {
        () if !is_same(&half.source, &now.source.key) => {
            Some("the source changed since it was begun; it is copied from the start")
        }
        () if !is_as_begun(temporary, half, trust) => {
            Some("its temporary file was replaced; it is copied from the start")
        }
        () if half.block_bytes != now.block_bytes => {
            Some("the block size changed; it is copied from the start")
        }
        () => None,
    }
}

impl Resume<'_> {
    /// The temporary of a big file: the one that an earlier run left, if it is still what the
    /// journal says, or a new one. Nothing for a file that is no larger than what may be copied
    /// again anyway.
    pub fn begin_partial(
        &self,
        at: At<'_>,
        source: &Source,
    ) -> Result<Option<(Target, Partial<'_>)>> {
        let Some(journal) = &self.journal else { return Ok(None) };
        let (interval_bytes, block_bytes) =
            (self.options.journal_interval_bytes, self.options.block_bytes);
        if source.size_bytes() <= interval_bytes.max(block_bytes) {
            return Ok(None);
        }
        // What the journal calls a block is what one leaf stands for.
        let block_bytes = leaf_bytes(source.size_bytes(), block_bytes);
        let part_leaves =
            (interval_bytes / PARTS_PER_INTERVAL / block_bytes).clamp(1, RECORD_LEAVES_MAX as u64);
        let relative = self.relative(at);
        let name = journal.name(&relative);
        let path = relative.into_os_string().into_encoded_bytes();
        let look = known::look(&source.seen(), at.source_trust(&source.stat));
        let begun = Begun { name, source: look, temporary: 0, block_bytes, path };
        let trust = at.target_trust();
        let number = |target: &Target| {
            let stat = fs::stat(&**target.file());
            let stat = stat.map_err(|cause| at.target_error(Operation::Stat, cause))?;
            let number = target.hidden_name().and_then(|name| temporary_number(&stat, name, trust));
            // No temporary is known by 0.
            Ok(number.unwrap_or(0))
        };
        if let Some((target, half)) = self.find_half(at, journal, &begun)? {
            let (begun, claimed, leaves) = (half.begun, half.leaves, Vec::new());
            let mut partial = Partial { journal, begun, claimed, leaves, part_leaves };
            let temporary = number(&target)?;
            if partial.begun.temporary != temporary {
                // An entry of the source has the name that it had.
                partial.begun.temporary = temporary;
                self.begin_again(&partial, &partial.claimed);
            }
            return Ok(Some((target, partial)));
        }
        let create_error =
            |cause| at.target_error(Operation::Create, fs::why_not_made(&at.dir.target, cause));
        // A temporary that has a name could never go where a folder keeps every name.
        if fs::keeps_names(&at.dir.target) {
            return Ok(None);
        }
        let mut target =
            Target::create_named(&at.dir.target, Some(journal.mark())).map_err(create_error)?;
        let begun = Begun { temporary: number(&target)?, ..begun };
        let partial =
            Partial { journal, begun, claimed: Vec::new(), leaves: Vec::new(), part_leaves };
        self.append_partial(&partial, Record::Begun(partial.begun.clone()));
        target.keep_for_next_run();
        Ok(Some((target, partial)))
    }

    /// What an earlier run left of a file that is to be begun now, if it can be gone on with.
    fn find_half(
        &self,
        at: At<'_>,
        journal: &Journal,
        now: &Begun,
    ) -> Result<Option<(Target, Half)>> {
        let Some(half) = journal.take_half(&now.name) else { return Ok(None) };
        let Some(hidden) = &half.hidden else { return Ok(None) };
        let open_error = |cause| at.target_error(Operation::OpenTemporary, cause);
        let found = Leftover::find(&at.dir.target, hidden, journal.mark()).map_err(open_error)?;
        let Some(found) = found else { return Ok(None) };
        let stat = fs::stat(&**found.file())
            .map_err(|cause| at.target_error(Operation::StatTemporary, cause))?;
        let target = found.take_over().map_err(open_error)?;
        // What is behind the proved part could not be cut off.
        let can_cut = fs::truncate(&**target.file(), stat.st_size as u64)
            .map_or_else(|cause| !fs::is_unavailable(&cause), |()| true);
        let no_cut = "its size cannot be set here; it is copied from the start";
        let why = why_not(&half.begun, now, &stat, at.target_trust());
        match why.or_else(|| (!can_cut).then_some(no_cut)) {
            None => Ok(Some((target, half))),
            Some(why) => {
                self.warn_not_resumed(at, why);
                let removed = target.discard();
                removed.map_err(|cause| at.target_error(Operation::RemoveTemporary, cause))?;
                Ok(None)
            }
        }
    }

    /// Reads what the journal says is durable back from the temporary, and believes it up to the
    /// first block that differs.
    pub fn prove_partial(
        &self,
        copying: Copying<'_>,
        file: &Arc<OwnedFd>,
        access: Access,
        partial: &mut Partial<'_>,
    ) -> Result<()> {
        let Copying { at, source, counted, .. } = copying;
        let size_bytes = source.size_bytes();
        let mut claimed = std::mem::take(&mut partial.claimed);
        // A process that may write the journal may have sealed any number of blocks.
        claimed.truncate(size_bytes.div_ceil(partial.begun.block_bytes) as usize);
        if claimed.is_empty() {
            return forget_behind(at, file, 0);
        }
        let whole = Shape::read(size_bytes, self.options.block_bytes, access);
        let reading = partial.read_back(file, access, whole, claimed.len() as u64);
        let meter = &self.events.totals.meter;
        let checking_bytes = partial.bytes_of(claimed.len() as u64, size_bytes);
        Totals::add(&meter.checking_bytes, checking_bytes);
        let read = self.pipeline.transfer(reading);
        Totals::take(&meter.checking_bytes, checking_bytes);
        let found = match read {
            Ok(moved) => moved.leaves,
            Err(Failure { cause: Cause::Interrupted, .. }) => {
                // The next run proves it.
                partial.leaves = claimed;
                return Err(at.interrupted());
            }
            Err(_) => Vec::new(),
        };
        let proved =
            claimed.iter().zip(&found).take_while(|(claimed, found)| claimed == found).count();
        partial.leaves = claimed;
        if proved < partial.leaves.len() {
            partial.leaves.truncate(proved);
            self.warn_not_resumed(
                at,
                "a part of it is not what the journal says; it is copied again from there on",
            );
            self.begin_again(partial, &partial.leaves);
        }
        let earlier_bytes = partial.reached_bytes(source);
        // In this order, so that no rate takes them for what was done just now.
        Totals::add(&meter.kept_bytes, earlier_bytes);
        Totals::add(counted.handled_bytes(), earlier_bytes);
        Totals::add(&meter.handled_bytes, earlier_bytes);
        forget_behind(at, file, earlier_bytes)
    }

    /// Moves the blocks that are not durable yet, of a file of `size_bytes`. `transfer` says how to
    /// move a range of bytes.
    pub fn move_partial(
        &self,
        file: &Arc<OwnedFd>,
        partial: &mut Partial<'_>,
        size_bytes: u64,
        transfer: impl Fn(Range<u64>) -> Transfer,
    ) -> std::result::Result<Moved, Failure> {
        let mut moved = Moved { whole: true, ..Moved::default() };
        let mut started: VecDeque<Started> = VecDeque::new();
        let mut next_bytes = partial.bytes_of(partial.first(), size_bytes);
        let part_bytes = partial.part_leaves * partial.begun.block_bytes;
        let ended = loop {
            while next_bytes < size_bytes && started.len() < 2 {
                let end_bytes = (next_bytes + part_bytes).min(size_bytes);
                let part = transfer(next_bytes..end_bytes);
                started.push_back(self.pipeline.start_transfer(part));
                next_bytes = end_bytes;
            }
            let Some(part) = started.pop_front() else { break Ok(()) };
            let part = match part.wait_for_some() {
                Ok(part) => part,
                Err(failure) => break Err(failure),
            };
            moved.written_bytes += part.written_bytes;
            moved.hole_bytes += part.hole_bytes;
            let offset_bytes = partial.first() * partial.begun.block_bytes;
            if let Err(cause) = self.reach(file, partial, part.leaves) {
                break Err(Failure::target(Operation::Fsync, offset_bytes, cause));
            }
            if !part.whole {
                break Err(Failure::source(Operation::Copy, offset_bytes, Cause::Interrupted));
            }
        };
        // The loop must have let go of the file before the caller does anything else with it.
        for part in started {
            drop(part.wait_for_some());
        }
        ended?;
        Ok(Moved { hash: output(&partial.leaves), ..moved })
    }

    /// Makes the next blocks durable and has the journal say so. What it said before becomes
    /// durable at the same time.
    fn reach(
        &self,
        file: &Arc<OwnedFd>,
        partial: &mut Partial<'_>,
        leaves: Vec<LeafHash>,
    ) -> std::result::Result<(), Cause> {
        if leaves.is_empty() {
            return Ok(());
        }
        let files = vec![Arc::clone(file), Arc::clone(partial.journal.file())];
        let mut synced = self.pipeline.sync(files).into_iter();
        synced.next().unwrap_or(Ok(()))?;
        if let Some(Err(cause)) = synced.next() {
            // What it said before may be lost, which costs the next run time and no data.
            let path = partial.journal.path();
            self.events.fail(Error::new(Operation::FsyncJournal, path, cause));
        }
        let record = partial.reached(partial.first(), leaves.clone());
        partial.leaves.extend(leaves);
        self.append_partial(partial, record);
        Ok(())
    }

    /// Says anew that this part of a file is durable, since what was said last is not so.
    fn begin_again(&self, partial: &Partial<'_>, leaves: &[LeafHash]) {
        self.append_partial(partial, Record::Begun(partial.begun.clone()));
        for (n, leaves) in leaves.chunks(RECORD_LEAVES_MAX).enumerate() {
            let first_block = (n * RECORD_LEAVES_MAX) as u64;
            self.append_partial(partial, partial.reached(first_block, leaves.to_vec()));
        }
    }

    /// A journal that cannot be written costs the next run time, and this one a failure, but no
    /// data.
    fn append_partial(&self, partial: &Partial<'_>, record: Record) {
        let appended = partial.journal.append(&mut [record], 0);
        appended.unwrap_or_else(|error| self.events.fail(error));
    }
}

/// What stands behind what was proved is not relied upon, not even as zeros.
fn forget_behind(at: At<'_>, file: &OwnedFd, proved_bytes: u64) -> Result<()> {
    fs::set_size(file, proved_bytes).map_err(|cause| at.target_error(Operation::SetSize, cause))
}

/// Merges the leaves of a file of several blocks.
fn output(leaves: &[LeafHash]) -> Option<Output> {
    let mut tree = Tree::new(Mode::Hash, leaves.len() as u64, None);
    for (block, leaf) in (0..).zip(leaves) {
        tree.put(Run::block(block), Leaf::Inner(*leaf));
    }
    tree.finish().0
}
