//! Reading many files at once. Direct, they are read together, so that neighbours on the device are
//! one request to it. Through the page cache, their data is asked for before.

use std::io;
use std::iter::Peekable;
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::handle::Pipeline;
use super::memory::ReadTurn;
use super::outcome::Failure;
use super::sizes::{READ_AHEAD_BYTES, TOGETHER_ALIGN_BYTES, TOGETHER_MIN};
use crate::fs;
use linux_aio::{Buffer, Done, Op, OpKind};

/// How a file of a batch is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchWay {
    /// Direct, with its neighbours. Its descriptor has `O_DIRECT`, and it is neither empty nor
    /// larger than a [small file](super::route::is_small).
    Together,
    /// By `each`, through the page cache, which is asked for its data before.
    Ahead,
    /// By `each`, from the page cache, which seems to have all of it.
    Cached,
    /// Not here.
    Elsewhere,
}

/// A file of a batch.
pub struct BatchFile<'a> {
    /// The open file.
    pub file: &'a Arc<OwnedFd>,
    /// Files are read in the order of these, and in their own where they are equal. Inodes stand
    /// for the order in which files were made. That is how they lie on the device, more often than
    /// how a directory lists them.
    pub order: u64,
    /// Its size.
    pub size_bytes: u64,
    /// How it is read.
    pub way: BatchWay,
}

/// What is read in one submission.
struct Round<'a, T> {
    files: Vec<T>,
    /// One for each of the files that are read direct.
    reads: Vec<Op>,
    turn: Option<ReadTurn<'a>>,
}

impl Pipeline<'_> {
    /// Hands each of `files` to `each`, in the order that `describe` gives them, and with its
    /// contents if they were read together. As many files as fit into one buffer are one
    /// submission. `describe` always says of a file what it said before.
    ///
    /// A file that could not be read like this comes without contents, and its descriptor without
    /// `O_DIRECT`: reading it in another way finds out why. It comes with a failure if the loop
    /// cannot wait for its read. Blocks for the reads, and for memory, so that `each` must not read
    /// a batch itself.
    pub fn read_batch<T>(
        &self,
        mut files: Vec<T>,
        describe: impl Fn(&T) -> BatchFile<'_>,
        mut each: impl FnMut(T, Result<Option<&[u8]>, Failure>),
    ) {
        files.sort_by_cached_key(|file| describe(file).order);
        for BatchFile { file, size_bytes, way, .. } in files.iter().map(&describe) {
            if way == BatchWay::Ahead {
                fs::read_ahead(&**file, size_bytes.min(READ_AHEAD_BYTES));
            }
        }
        let mut files = files.into_iter().peekable();
        while files.peek().is_some() {
            let Round { files, reads, turn } = self.next_round(&mut files, &describe);
            let (done, failure) = match self.read_all(reads) {
                Ok(done) => (done, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            let mut done = done.into_iter().peekable();
            for item in files {
                let BatchFile { file, size_bytes, way, .. } = describe(&item);
                if way != BatchWay::Together {
                    each(item, Ok(None));
                    continue;
                }
                if let Some(error) = &failure {
                    each(item, Err(Failure::waiting(error)));
                    continue;
                }
                let read = done.next_if(|done| done.op.file.as_raw_fd() == file.as_raw_fd());
                let read = read.and_then(|done| Contents::of(done, size_bytes));
                if read.is_none() {
                    // If this fails, so does what reads next, and says so.
                    let _off = fs::set_direct(file, false);
                }
                each(item, Ok(read.as_deref()));
            }
            drop(done);
            drop(turn);
        }
    }

    /// Takes files for as long as there is memory for them, which there always is for one.
    fn next_round<T>(
        &self,
        files: &mut Peekable<impl Iterator<Item = T>>,
        describe: impl Fn(&T) -> BatchFile<'_>,
    ) -> Round<'_, T> {
        let mut round = Round { files: Vec::new(), reads: Vec::new(), turn: None };
        // Asked for once: with none to be had, nothing of the round is read direct.
        let mut memory = None;
        while let Some(item) = files.peek() {
            let BatchFile { file, size_bytes, way, .. } = describe(item);
            if way == BatchWay::Together {
                let memory = memory.get_or_insert_with(|| {
                    let (turn, buffer) = self.memory().lend().unzip();
                    round.turn = turn;
                    buffer
                });
                if let Some(memory) = memory {
                    let len_bytes = size_bytes.next_multiple_of(TOGETHER_ALIGN_BYTES) as usize;
                    let Ok(buffer) = memory.split_to(len_bytes) else {
                        // A file that has grown beyond all of the memory is not read here.
                        if round.files.is_empty() {
                            round.files.extend(files.next());
                        }
                        break;
                    };
                    round.reads.push(Op::read(Arc::clone(file), buffer, 0));
                }
            }
            round.files.extend(files.next());
        }
        round
    }

    /// Carries reads out, in one submission if there are many.
    fn read_all(&self, reads: Vec<Op>) -> io::Result<Vec<Done>> {
        let read = |reads| {
            let begun = self.meter().start();
            let done = self.carry_out(reads)?;
            for count in done.iter().filter_map(|done| done.result.as_ref().ok()) {
                self.meter().read(*count as u64, begun);
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

/// What a read brought, if that is the file: of one that has grown, as much as it had.
struct Contents {
    buffer: Buffer,
    len_bytes: usize,
}

impl Contents {
    fn of(Done { op, result, .. }: Done, size_bytes: u64) -> Option<Self> {
        match (op.kind, result) {
            (OpKind::Read(part), Ok(count)) if count as u64 >= size_bytes => {
                Some(Self { buffer: part.buffer, len_bytes: size_bytes as usize })
            }
            _ => None,
        }
    }
}

impl Deref for Contents {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.len_bytes]
    }
}
