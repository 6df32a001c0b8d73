//! A kernel AIO context that owns what it has lent to the kernel.
//!
//! An [`Op`] moves in with its buffer and its file; a [`Done`] gives both back. The slab of slots is declared
//! after the ring, and the ring is destroyed first, which waits for the kernel to let go of every buffer. Leaking the
//! context leaks its buffers, which is safe.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::abi::{self, ContextId, IoEvent, Iocb};
use super::buffer::{Buffer, SharedBuffer};

/// What an operation does, with the memory that it needs.
pub enum OpKind {
    /// Read into `start..end` of the buffer; see pread(2).
    Read {
        /// The exclusive buffer that is read into.
        buffer: Buffer,
        /// First byte of the buffer to fill.
        start: usize,
        /// One past the last byte of the buffer to fill.
        end: usize,
    },
    /// Write `start..end` of the buffer; see pwrite(2).
    Write {
        /// The frozen buffer that is written from.
        buffer: SharedBuffer,
        /// First byte of the buffer to write.
        start: usize,
        /// One past the last byte of the buffer to write.
        end: usize,
    },
    /// Data and metadata to the device; see fsync(2).
    Fsync,
    /// Complete once when the descriptor is readable; see poll(2).
    PollReadable,
}

/// One operation: it owns all that it touches.
pub struct Op {
    /// What to do.
    pub kind: OpKind,
    /// The open file. The kernel takes its own reference, but the owner gets this one back.
    pub file: Arc<OwnedFd>,
    /// Where in the file, in bytes; nothing for syncs and polls.
    pub offset_bytes: u64,
    /// Whatever the submitter needs to know it again.
    pub tag: u64,
}

/// An operation that is over, and how it ended.
pub struct Done {
    /// The operation, with its buffer.
    pub op: Op,
    /// Bytes moved (0 for a sync, the ready events for a poll), or the error.
    pub result: io::Result<usize>,
}

/// How often an empty context submits again when the kernel has no memory for it, and how long it waits in between: a second in all.
const SUBMIT_TRIES: u32 = 1000;
const SUBMIT_PAUSE: Duration = Duration::from_millis(1);

/// The ring in the kernel. Dropping it blocks until nothing is in flight.
struct Ring(ContextId);

impl Drop for Ring {
    fn drop(&mut self) {
        // EINVAL would mean that the id is not ours any more, which nothing here can bring about.
        let result = abi::io_destroy(self.0);
        debug_assert!(result.is_ok(), "io_destroy: {result:?}");
    }
}

/// A context of a fixed capacity; see io_setup(2).
pub struct Context {
    // The ring is the first field, so that it drops before the buffers in the slots.
    ring: Ring,
    slots: Box<[Option<Op>]>,
    iocbs: Box<[Iocb]>,
    free: Vec<u32>,
    /// Slots that are filled but not yet with the kernel, in the order of their arrival.
    queued: Vec<u32>,
    pointers: Vec<*mut Iocb>,
    events: Box<[IoEvent]>,
    /// Operations that the kernel refused at submission.
    refused: Vec<Done>,
    /// Polls among the operations: they may stay for ever, so that nobody may wait for them alone.
    polls: usize,
    /// The process that made the ring: a forked child must not touch it.
    owner_pid: u32,
}

// SAFETY: the raw pointers in `pointers` are rebuilt from `iocbs` before each use and are dead otherwise; the kernel
// does not care which thread of the process uses a context.
unsafe impl Send for Context {}

impl Context {
    /// A context for `capacity` operations. EAGAIN when `/proc/sys/fs/aio-max-nr` would be passed, ENOSYS without
    /// kernel AIO, EPERM under some seccomp filters.
    pub fn new(capacity: u32) -> io::Result<Self> {
        let ring = Ring(abi::io_setup(capacity)?);
        let count = capacity as usize;
        Ok(Self {
            ring,
            slots: (0..count).map(|_| None).collect(),
            iocbs: vec![Iocb::default(); count].into(),
            free: (0..capacity).rev().collect(),
            queued: Vec::with_capacity(count),
            pointers: Vec::with_capacity(count),
            events: vec![IoEvent::default(); count].into(),
            refused: Vec::new(),
            polls: 0,
            owner_pid: std::process::id(),
        })
    }

    /// How many operations are queued or with the kernel.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len() + self.refused.len()
    }

    /// Takes an operation for the next [`submit`](Self::submit). Never blocks. A full context gives it back.
    pub fn queue(&mut self, mut op: Op) -> Result<(), Op> {
        let Some(slot) = self.free.pop() else { return Err(op) };
        let index = slot as usize;
        self.iocbs[index] = describe(&mut op, slot);
        self.polls += usize::from(matches!(op.kind, OpKind::PollReadable));
        self.slots[index] = Some(op);
        self.queued.push(slot);
        Ok(())
    }

    /// Hands the queued operations to the kernel in as few io_submit(2) calls as it allows. An operation that
    /// is refused comes back from [`reap`](Self::reap) with its error. It may block, see io_submit(2); without
    /// room in the ring the rest stays queued.
    pub fn submit(&mut self) -> io::Result<()> {
        assert_eq!(self.owner_pid, std::process::id(), "a forked child cannot use its parent's context");
        let mut from = 0;
        let mut tries = 0;
        while from < self.queued.len() {
            self.pointers.clear();
            for &slot in &self.queued[from..] {
                self.pointers.push(&raw mut self.iocbs[slot as usize]);
            }
            // SAFETY: the iocbs live in a boxed slice of this context. What they name is owned by the op in their slot,
            // which is dropped only after its event was reaped or its submission refused, or after io_destroy:
            // reads have an exclusive `Buffer`, writes a `SharedBuffer` that nobody can change.
            match unsafe { abi::io_submit(self.ring.0, &mut self.pointers) } {
                Ok(taken) => from += taken,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // No ring slot, though we never exceed the capacity: completions have to be reaped first.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && self.with_the_kernel(from) > self.polls => {
                    break;
                }
                // Nothing to reap either: the kernel is out of memory for the moment. It is given one before the
                // operation counts as refused.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) && tries < SUBMIT_TRIES => {
                    tries += 1;
                    std::thread::sleep(SUBMIT_PAUSE);
                }
                // An error speaks of the first operation alone; the others are still ours to submit.
                Err(error) => {
                    let slot = self.queued[from];
                    let op = self.take(slot);
                    self.refused.push(Done { op, result: Err(error) });
                    from += 1;
                }
            }
        }
        self.queued.drain(..from);
        Ok(())
    }

    /// How many operations the kernel holds once the first `dealt_with` of the queued ones left the queue.
    fn with_the_kernel(&self, dealt_with: usize) -> usize {
        (self.slots.len() - self.free.len()) - (self.queued.len() - dealt_with)
    }

    /// Moves finished operations to `out`, waiting until there are at least `min` or `timeout` is over. EINTR is
    /// not an error: it ends the wait early. Returns how many were moved.
    pub fn reap(&mut self, min: usize, timeout: Option<Duration>, out: &mut Vec<Done>) -> io::Result<usize> {
        assert_eq!(self.owner_pid, std::process::id(), "a forked child cannot use its parent's context");
        let refused = self.refused.len();
        out.append(&mut self.refused);
        // Waiting for more than the kernel has would be for ever, and so may be waiting for a poll while operations
        // are queued that could not be submitted.
        let held = self.with_the_kernel(0);
        let sure = if self.queued.is_empty() { held } else { held.saturating_sub(self.polls) };
        let min = min.saturating_sub(refused).min(sure);
        let count = match abi::io_getevents(self.ring.0, min, &mut self.events, timeout) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        for index in 0..count {
            let event = self.events[index];
            // `data` is what `describe` put there: the slot. The kernel gives each back exactly once.
            let op = self.take(event.data as u32);
            out.push(Done { op, result: outcome(event.res) });
        }
        Ok(refused + count)
    }

    fn take(&mut self, slot: u32) -> Op {
        let op = self.slots[slot as usize].take().expect("an event names a slot that is in flight");
        self.free.push(slot);
        self.polls -= usize::from(matches!(op.kind, OpKind::PollReadable));
        op
    }
}

/// `res` of an event: a count, or a negated errno.
fn outcome(res: i64) -> io::Result<usize> {
    usize::try_from(res).map_err(|_| io::Error::from_raw_os_error(i32::try_from(-res).unwrap_or(libc::EIO)))
}

/// The iocb of an operation. It names the buffer's memory, which the slot keeps.
fn describe(op: &mut Op, slot: u32) -> Iocb {
    let mut iocb = Iocb {
        data: slot.into(),
        fildes: op.file.as_raw_fd() as u32,
        offset: op.offset_bytes as i64,
        ..Iocb::default()
    };
    match &mut op.kind {
        OpKind::Read { buffer, start, end } => {
            iocb.opcode = abi::CMD_PREAD;
            let bytes = &mut buffer[*start..*end];
            iocb.buf = bytes.as_mut_ptr() as u64;
            iocb.nbytes = bytes.len() as u64;
        }
        OpKind::Write { buffer, start, end } => {
            iocb.opcode = abi::CMD_PWRITE;
            let bytes = &buffer[*start..*end];
            iocb.buf = bytes.as_ptr() as u64;
            iocb.nbytes = bytes.len() as u64;
        }
        OpKind::Fsync => iocb.opcode = abi::CMD_FSYNC,
        OpKind::PollReadable => {
            iocb.opcode = abi::CMD_POLL;
            iocb.buf = libc::POLLIN as u64;
        }
    }
    iocb
}
