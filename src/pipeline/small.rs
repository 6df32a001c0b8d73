//! Small files: one after the other through the page cache, or many at once direct.

use std::io;
use std::iter::Peekable;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{Failure, Pipeline, route};
use crate::aio::{Buffer, Done, Op, OpKind, Pool};
use crate::error::{Cause, Operation};
use crate::fs;

/// What a worker reads at once: it stays in the core's cache between read, hash and write.
pub const STEP_BYTES: usize = 256 << 10;

/// How much of each small file is asked for ahead: with 32 workers and all files of their batches
/// at most 128 MiB.
pub const READ_AHEAD_BYTES: u64 = 64 << 10;

/// What is read together at most: any small file, and some 64 of the usual ones.
const TOGETHER_BYTES: usize = route::SMALL_BYTES_MAX as usize;

/// What the buffers of files that are read together begin at.
pub const TOGETHER_ALIGN_BYTES: u64 = 4096;

/// So many operations are worth a submission. The thread itself carries fewer out, without waking
/// another.
pub(super) const TOGETHER_MIN: usize = 4;

/// How many may read together at once: what keeps a device busy, or all cores.
const READERS_MIN: usize = 8;

/// Reads a file that said it has `size_bytes`, and hands each step with its offset to `take`.
/// Answers with how many bytes there were: files in /proc and the like say 0 and are read until
/// they end, and one that does not end where it said has changed.
///
/// `read` is pread(2) or stands for it; it gets the offset, and how many bytes are left as far as
/// is known.
pub fn read_whole(
    size_bytes: u64,
    buffer: &mut [u8],
    mut read: impl FnMut(&mut [u8], u64, u64) -> Result<usize, Failure>,
    mut take: impl FnMut(&[u8], u64) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let mut offset_bytes = 0;
    loop {
        // One byte more than is left sees the end of the file in the same call, and that it grew.
        let left_bytes = size_bytes.saturating_sub(offset_bytes);
        let want = usize::try_from(left_bytes + 1).unwrap_or(usize::MAX);
        let want = if size_bytes == 0 { buffer.len() } else { want.min(buffer.len()) };
        let count = read(&mut buffer[..want], offset_bytes, left_bytes)?;
        if count == 0 {
            break;
        }
        take(&buffer[..count], offset_bytes)?;
        offset_bytes += count as u64;
        if size_bytes != 0
            && (offset_bytes > size_bytes || (offset_bytes == size_bytes && count < want))
        {
            break;
        }
    }
    if size_bytes != 0 && offset_bytes != size_bytes {
        return Err(Failure::source(Operation::Read, offset_bytes, Cause::SourceChanged));
    }
    Ok(offset_bytes)
}

/// A small file whose descriptor has `O_DIRECT`.
pub struct DirectRead<'a> {
    /// The open file.
    pub file: &'a Arc<OwnedFd>,
    /// At most [`route::SMALL_BYTES_MAX`], and not 0.
    pub size_bytes: u64,
}

/// The memory for what is read together.
pub(super) struct Memory {
    /// Made when it is first needed.
    pool: Mutex<Option<Pool>>,
    /// There are as many turns as buffers.
    turns: (Sender<()>, Receiver<()>),
}

/// A turn with its buffer, whose parts have to be dropped before it.
struct Turn<'a>(&'a Memory);

impl Memory {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (give, take) = bounded(cores.max(READERS_MIN));
        while give.try_send(()).is_ok() {}
        Self { pool: Mutex::new(None), turns: (give, take) }
    }

    /// Waits for a turn. None if there is no memory.
    fn lend(&self) -> Option<(Turn<'_>, Buffer)> {
        let (_, take) = &self.turns;
        take.recv().expect("both ends are here");
        let turn = Turn(self);
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.is_none() {
            *pool = Some(Pool::new(take.capacity().unwrap_or(1), TOGETHER_BYTES).ok()?);
        }
        let buffer = pool.as_ref().and_then(Pool::get)?;
        Some((turn, buffer))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let (give, _) = &self.0.turns;
        give.try_send(()).expect("there is room for each turn that was taken");
    }
}

/// What is read in one submission.
struct Round<'a, T> {
    files: Vec<T>,
    /// One for each of the files that are read direct.
    reads: Vec<Op>,
    turn: Option<Turn<'a>>,
}

impl Pipeline<'_> {
    /// Hands each of `files` to `each`, in their order, and with its contents if `direct` says how
    /// to read it, always in the same way: as many of these as fit into 1 MiB are read together, in
    /// one submission, so that neighbours on the device become one request there.
    ///
    /// A file that could not be read so comes without contents, and its descriptor without
    /// `O_DIRECT`: reading it in another way finds out why. It comes with a failure where the loop
    /// cannot wait for its read. Blocks for the reads, and for memory, so that `each` must not read
    /// together itself.
    pub fn read_together<T>(
        &self,
        files: Vec<T>,
        direct: impl Fn(&T) -> Option<DirectRead<'_>>,
        mut each: impl FnMut(T, Result<Option<&[u8]>, Failure>),
    ) {
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            let Round { files, reads, turn } = self.next_round(&mut files, &direct);
            let (done, error) = match self.read_all(reads) {
                Ok(done) => (done, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            let mut done = done.into_iter().peekable();
            for file in files {
                if let Some(error) = error.as_ref().filter(|_| direct(&file).is_some()) {
                    each(file, Err(Failure::waiting(error)));
                    continue;
                }
                let read = direct(&file).and_then(|small| {
                    let read = done.next_if(|done| Arc::ptr_eq(&done.op.file, small.file));
                    let read = read.and_then(|done| contents(done, small.size_bytes));
                    if read.is_none() {
                        // If this fails, so does what reads next, and says so.
                        let _off = fs::set_direct(small.file, false);
                    }
                    read
                });
                each(file, Ok(read.as_deref()));
            }
            drop(done);
            drop(turn);
        }
    }

    /// Takes files for as long as there is memory for them, which there always is for one.
    fn next_round<T>(
        &self,
        files: &mut Peekable<impl Iterator<Item = T>>,
        direct: impl Fn(&T) -> Option<DirectRead<'_>>,
    ) -> Round<'_, T> {
        let mut round = Round { files: Vec::new(), reads: Vec::new(), turn: None };
        // Asked for once: with none to be had, nothing of the round is read direct.
        let mut memory = None;
        while let Some(file) = files.peek() {
            if let Some(small) = direct(file) {
                let memory = memory.get_or_insert_with(|| {
                    let (turn, buffer) = self.memory.lend().unzip();
                    round.turn = turn;
                    buffer
                });
                if let Some(memory) = memory {
                    let len_bytes =
                        small.size_bytes.next_multiple_of(TOGETHER_ALIGN_BYTES) as usize;
                    if len_bytes > memory.len() {
                        break;
                    }
                    round.reads.push(Op::read(
                        Arc::clone(small.file),
                        memory.split_to(len_bytes),
                        0,
                    ));
                }
            }
            round.files.extend(files.next());
        }
        round
    }

    /// Carries reads out, in one submission if there are many.
    fn read_all(&self, reads: Vec<Op>) -> io::Result<Vec<Done>> {
        let read = |reads| {
            let begun = self.meter.start();
            let done = self.carry_out(reads)?;
            for count in done.iter().filter_map(|done| done.result.as_ref().ok()) {
                self.meter.read(*count as u64, begun);
            }
            Ok(done)
        };
        match reads.len() {
            // One after the other, each takes its own time.
            ..TOGETHER_MIN => {
                let read = reads.into_iter().map(|op| read(vec![op]));
                Ok(read.collect::<io::Result<Vec<_>>>()?.into_iter().flatten().collect())
            }
            _ => read(reads),
        }
    }
}

/// What a read brought, if that is the file: of one that has grown, so much as it had.
struct Contents {
    buffer: Buffer,
    len_bytes: usize,
}

impl Deref for Contents {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.len_bytes]
    }
}

fn contents(Done { op, result }: Done, size_bytes: u64) -> Option<Contents> {
    match (op.kind, result) {
        (OpKind::Read(part), Ok(count)) if count as u64 >= size_bytes => {
            Some(Contents { buffer: part.buffer, len_bytes: size_bytes as usize })
        }
        _ => None,
    }
}
