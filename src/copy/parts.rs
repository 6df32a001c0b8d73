//! A big file under `--resume`: it is copied part by part into a temporary that has a name, and
//! after each part the journal says how far it is durable. The next run reads that much back,
//! compares, and goes on behind it.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::file::Source;
use super::journal::{Begun, Reached, Record};
use super::resume::{self, Half, Journal};
use super::worker::Run;
use crate::digest::{Hashing, Leaf, LeafHash, Mode, Output, Tree};
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileType, Stat, Target};
use crate::pipeline::route::Access;
use crate::pipeline::{Endpoint, Failure, Moved, Progress, Shape, Started, Transfer};
use crate::report::Totals;
use crate::tree::{Entry, OpenDir};

/// How many parts there are to a journal interval: two are in the loop, and the record of one
/// before them may not be durable.
const PARTS_PER_INTERVAL: u64 = 4;

/// Leaves in one record: 32 MiB, which is half of what a frame of the journal may have.
const RECORD_LEAVES_MAX: usize = 1 << 20;

/// How far a big file has come.
pub struct Parts<'a> {
    journal: &'a Journal,
    begun: Begun,
    /// What the journal says is durable, until that is proved.
    claimed: Vec<LeafHash>,
    /// The leaves of the first blocks, which are durable.
    leaves: Vec<LeafHash>,
    part_blocks: u64,
}

impl Parts<'_> {
    /// Whether it would be a loss to throw the temporary away after this error. After a failed
    /// fsync nobody knows what is on the device.
    pub fn are_worth_keeping(&self, error: &Error) -> bool {
        !self.leaves.is_empty()
            && error.op != Operation::Fsync
            && !matches!(error.cause, Cause::SourceChanged)
    }

    fn first(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// Bytes of the first blocks, which are durable.
    pub fn reached_bytes(&self, source: &Source) -> u64 {
        (self.first() * self.begun.block_bytes).min(source.size_bytes())
    }

    fn append(&self, record: Record) -> Result<()> {
        self.journal.append(&[record], 0)
    }

    fn reached(&self, first_block: u64, leaves: Vec<LeafHash>) -> Record {
        Record::Reached(Reached { name: self.begun.name, first_block, leaves })
    }

    /// How to read so many of the first blocks back, of a file that is to have `size_bytes`.
    fn read_back(
        &self,
        file: &Arc<OwnedFd>,
        access: Access,
        size_bytes: u64,
        blocks: u64,
    ) -> Transfer {
        let shape = Shape {
            size_bytes,
            block_bytes: self.begun.block_bytes,
            read_align: access.align_bytes,
            write_align: 1,
            hash: Hashing::Tree(Mode::Hash),
            sparse: false,
            data_blocks: None,
            known: Vec::new(),
            blocks: Some(0..blocks),
        };
        let source = Endpoint { file: Arc::clone(file), direct: access.is_direct() };
        Transfer { source, target: None, shape, progress: Progress::Nothing }
    }

    /// Says anew how far the file has come, since what was said last is not so.
    fn begin_again(&self) -> Result<()> {
        self.append(Record::Begun(self.begun.clone()))?;
        for (n, leaves) in self.leaves.chunks(RECORD_LEAVES_MAX).enumerate() {
            self.append(self.reached((n * RECORD_LEAVES_MAX) as u64, leaves.to_vec()))?;
        }
        Ok(())
    }
}

impl Run<'_> {
    /// The temporary of a big file: the one that an earlier run left, if it is still what the
    /// journal says, or a new one. Nothing for a file that is no larger than what may be copied
    /// again anyway.
    pub fn begin_parts(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        source: &Source,
    ) -> Result<Option<(Target, Parts<'_>)>> {
        let (Some(journal), interval_bytes) = (&self.journal, self.options.journal_interval_bytes)
        else {
            return Ok(None);
        };
        if source.size_bytes() <= interval_bytes.max(self.options.block_bytes) {
            return Ok(None);
        }
        let error =
            |op, cause: io::Error| Error::new(op, dir.target_path(entry.target_name()), cause);
        let relative = self.relative(dir, entry.target_name());
        let (name, state) = (journal.name(&relative), resume::state(&source.stat));
        let block_bytes = self.options.block_bytes;
        let part_blocks =
            (interval_bytes / PARTS_PER_INTERVAL / block_bytes).clamp(1, RECORD_LEAVES_MAX as u64);
        let hidden = journal.temporary_name(entry.target_name());
        let found = Target::find(&*dir.target, &hidden)
            .map_err(|cause| error(Operation::OpenTemporary, cause))?;
        if let Some(Half { begun, leaves }) = journal.take_half(&name)
            && let Some(target) = &found
        {
            let stat = fs::stat(&**target.file())
                .map_err(|cause| error(Operation::StatTemporary, cause))?;
            let why_not = match () {
                () if begun.source != state => {
                    Some("the source changed since it was begun; it is copied from the start")
                }
                () if !is_as_begun(&stat, &begun) => {
                    Some("its temporary was exchanged; it is copied from the start")
                }
                () if begun.block_bytes != block_bytes => {
                    Some("the block size is another now; it is copied from the start")
                }
                () => None,
            };
            match why_not {
                Some(why) => self.warn_not_resumed(dir, entry, why),
                None => {
                    let parts =
                        Parts { journal, begun, claimed: leaves, leaves: Vec::new(), part_blocks };
                    return Ok(found.map(|target| (target, parts)));
                }
            }
        }
        drop(found);
        let target = Target::create_named(&*dir.target, Some(&hidden))
            .map_err(|cause| error(Operation::Create, cause))?;
        let ino = fs::stat(&**target.file()).map_err(|cause| error(Operation::Stat, cause))?.st_ino;
        let path = relative.into_os_string().into_encoded_bytes();
        let begun = Begun { name, source: state, ino, block_bytes, path };
        let parts = Parts { journal, begun, claimed: Vec::new(), leaves: Vec::new(), part_blocks };
        parts.append(Record::Begun(parts.begun.clone()))?;
        Ok(Some((target, parts)))
    }

    /// Reads what the journal says is durable back from the temporary, and believes it up to the
    /// first block that differs.
    pub fn prove_parts(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        source: &Source,
        file: &Arc<OwnedFd>,
        to: Access,
        parts: &mut Parts<'_>,
    ) -> Result<()> {
        let mut claimed = std::mem::take(&mut parts.claimed);
        // Whoever may write the journal may have sealed whatever he likes.
        claimed.truncate(source.size_bytes().div_ceil(parts.begun.block_bytes) as usize);
        if claimed.is_empty() {
            return self.forget_behind(dir, entry, file, 0);
        }
        let reading = parts.read_back(file, to, source.size_bytes(), claimed.len() as u64);
        let checking_bytes =
            (claimed.len() as u64 * parts.begun.block_bytes).min(source.size_bytes());
        Totals::add(&self.totals.meter.checking_bytes, checking_bytes);
        let read = self.pipeline.transfer(reading);
        Totals::take(&self.totals.meter.checking_bytes, checking_bytes);
        let found = match read {
            Ok(moved) => moved.leaves,
            Err(Failure { cause: Cause::Interrupted, .. }) => {
                // The next run proves it.
                parts.leaves = claimed;
                return Err(self.interrupted(dir, entry));
            }
            Err(_) => Vec::new(),
        };
        let proved =
            claimed.iter().zip(&found).take_while(|(claimed, found)| claimed == found).count();
        parts.leaves = claimed;
        if proved < parts.leaves.len() {
            parts.leaves.truncate(proved);
            self.warn_not_resumed(
                dir,
                entry,
                "a part of it is not what the journal says; it is copied again from there on",
            );
            parts.begin_again()?;
        }
        let earlier_bytes = parts.reached_bytes(source);
        // In this order, so that no rate takes them for what was done just now.
        Totals::add(&self.totals.meter.kept_bytes, earlier_bytes);
        Totals::add(&source.handled_bytes, earlier_bytes);
        Totals::add(&self.totals.meter.handled_bytes, earlier_bytes);
        self.forget_behind(dir, entry, file, earlier_bytes)
    }

    /// Whatever stands behind what was proved is not relied upon, not even as zeros.
    fn forget_behind(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        file: &OwnedFd,
        proved_bytes: u64,
    ) -> Result<()> {
        fs::set_size(file, proved_bytes).map_err(|cause| {
            Error::new(Operation::SetSize, dir.target_path(entry.target_name()), cause)
        })
    }

    /// Moves the blocks that are not durable yet. `transfer` says how to move a range of blocks of
    /// a file of `size_bytes`.
    pub fn move_parts(
        &self,
        file: &Arc<OwnedFd>,
        parts: &mut Parts<'_>,
        block_count: u64,
        transfer: impl Fn(Range<u64>) -> Transfer,
    ) -> std::result::Result<Moved, Failure> {
        let mut moved = Moved { whole: true, ..Moved::default() };
        let mut started: VecDeque<Started> = VecDeque::new();
        let mut next = parts.first();
        let ended = loop {
            while next < block_count && started.len() < 2 {
                let end = (next + parts.part_blocks).min(block_count);
                started.push_back(self.pipeline.start_transfer(transfer(next..end)));
                next = end;
            }
            let Some(part) = started.pop_front() else { break Ok(()) };
            let part = match part.wait_for_some() {
                Ok(part) => part,
                Err(failure) => break Err(failure),
            };
            moved.written_bytes += part.written_bytes;
            moved.hole_bytes += part.hole_bytes;
            let offset_bytes = parts.first() * parts.begun.block_bytes;
            if let Err(cause) = self.reach(file, parts, part.leaves) {
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
        Ok(Moved { hash: Some(output(&parts.leaves)), leaves: parts.leaves.clone(), ..moved })
    }

    /// Makes the next blocks durable and has the journal say so. What it said before becomes
    /// durable at the same time.
    fn reach(
        &self,
        file: &Arc<OwnedFd>,
        parts: &mut Parts<'_>,
        leaves: Vec<LeafHash>,
    ) -> std::result::Result<(), Cause> {
        if leaves.is_empty() {
            return Ok(());
        }
        for result in self.pipeline.sync(vec![Arc::clone(file), Arc::clone(parts.journal.file())]) {
            result?;
        }
        let record = parts.reached(parts.first(), leaves.clone());
        parts.leaves.extend(leaves);
        // A journal that cannot be written costs the next run time, and this one a failure, but no
        // data.
        parts.append(record).unwrap_or_else(|error| self.fail(error));
        Ok(())
    }
}

/// Merges the leaves of a file of several blocks.
fn output(leaves: &[LeafHash]) -> Output {
    let mut tree = Tree::new(Mode::Hash, leaves.len() as u64);
    for (block, leaf) in leaves.iter().enumerate() {
        tree.put(block as u64, Leaf::Inner(*leaf));
    }
    tree.output()
}

/// Whether a temporary can be the one that was begun.
fn is_as_begun(stat: &Stat, begun: &Begun) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_ino == begun.ino
        && stat.st_nlink == 1
        && stat.st_uid == rustix::process::geteuid().as_raw()
}
