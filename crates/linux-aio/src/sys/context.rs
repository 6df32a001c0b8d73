//! A kernel AIO context that owns what it has lent to the kernel.
//!
//! An [`Op`] moves in with its buffer and its file; a [`Done`] gives both back. Dropping the
//! context destroys the ring before the slots, which waits for the kernel to let go of every
//! buffer. Leaking the context leaks its buffers, which is safe.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::abi::{self, IoEvent, Iocb};
use super::done::Done;
use super::op::{Op, OpKind, PARTS_MAX, Submitted};
use super::refused::Full;
use super::ring::Ring;
use super::signal::SignalMask;
use super::ticket::Ticket;

/// How often an empty context submits again when the kernel has no memory for it, and how long it
/// waits in between: a second in all.
const SUBMIT_TRIES: u32 = 1000;
const SUBMIT_PAUSE: Duration = Duration::from_millis(1);

/// What is called with an operation that is over, on the thread that calls [`Context::run`];
/// libaio's `io_set_callback`.
pub type Callback = Box<dyn FnOnce(Done) + Send>;

/// What came of an attempt to cancel; see io_cancel(2). In no case is a buffer free before its
/// operation comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancel {
    /// It had not been submitted: it comes back with ECANCELED.
    Withdrawn,
    /// The kernel cancels it; it comes back like any other, with whatever result the kernel gives
    /// (a poll: no events).
    InProgress,
    /// The kernel cannot cancel this operation, as with every read and write of a disk, or it is
    /// over already (EINVAL).
    NotCancelled,
    /// The ticket's operation has come back before.
    Unknown,
}

/// A place for one operation.
#[derive(Default)]
struct Slot {
    op: Option<Op>,
    callback: Option<Callback>,
    /// How many operations it had before, so that an old ticket names nothing.
    generation: u32,
    /// What a vectored operation's iocb points to.
    iovecs: Vec<libc::iovec>,
}

/// A context of a fixed capacity; see io_setup(2). It may go from thread to thread, and is used by
/// one at a time. Dropping it waits for everything in flight, see io_destroy(2): for a device that
/// hangs, for ever. What is over and was not taken is dropped with it, callbacks uncalled.
pub struct Context {
    ring: Ring,
    slots: Box<[Slot]>,
    iocbs: Box<[Iocb]>,
    free: Vec<u32>,
    /// Slots that are filled but not yet with the kernel, in the order of their arrival.
    queued: Vec<u32>,
    pointers: Vec<*mut Iocb>,
    events: Box<[IoEvent]>,
    /// Operations that are over and not taken yet, refused ones among them.
    finished: Vec<Done>,
    /// Those that have callbacks, with them.
    callbacks: VecDeque<(Callback, Done)>,
    /// Polls among the operations, queued ones too. They may stay for ever, so that waiting for
    /// them alone could last for ever.
    polls: usize,
    system_calls_only: bool,
}

// SAFETY: the raw pointers in `pointers` and in the iovecs are rebuilt before each use, and are
// dead otherwise. Any thread of the process may use a context of the kernel.
unsafe impl Send for Context {}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("capacity", &self.capacity())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Context {
    /// A context for `capacity` operations. EAGAIN when `/proc/sys/fs/aio-max-nr` would be passed,
    /// which the error names with its value. ENOSYS without kernel AIO; EPERM under some seccomp
    /// filters; EINVAL for 0 or a number that no kernel takes; ENOMEM. It does not wait for other
    /// contexts to go.
    pub fn new(capacity: u32) -> io::Result<Self> {
        let ring = Ring::new(capacity).map_err(|error| explain_setup(error, capacity))?;
        let count = capacity as usize;
        Ok(Self {
            ring,
            slots: (0..count).map(|_| Slot::default()).collect(),
            iocbs: vec![Iocb::default(); count].into(),
            free: (0..capacity).rev().collect(),
            queued: Vec::with_capacity(count),
            pointers: Vec::with_capacity(count),
            events: vec![IoEvent::default(); count].into(),
            finished: Vec::new(),
            callbacks: VecDeque::new(),
            polls: 0,
            system_calls_only: false,
        })
    }

    /// How many operations fit: what io_setup(2) was asked for. Never blocks, as none of the
    /// questions below.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How many operations are inside: queued, with the kernel, or over and not yet taken.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len() + self.finished.len() + self.callbacks.len()
    }

    /// Says whether completions are always reaped with io_getevents(2), also where the ring could
    /// be read without it.
    pub fn set_system_calls_only(&mut self, on: bool) {
        self.system_calls_only = on;
    }

    /// Whether completions are reaped from the ring in the process's memory where there are enough.
    pub fn reads_the_ring(&self) -> bool {
        self.ring.is_readable() && !self.system_calls_only
    }

    /// Takes an operation for the next [`submit`](Self::submit); it comes back from
    /// [`reap`](Self::reap). Never blocks. A full context gives it back.
    // The operation is what a caller must not lose; it is as large as it is.
    #[allow(clippy::result_large_err)]
    pub fn queue(&mut self, op: Op) -> Result<Ticket, Full> {
        self.insert(op, None).map_err(|(op, _)| Full(op))
    }

    /// Takes an operation with a callback, which [`run`](Self::run) calls. Never blocks. A full
    /// context gives both back.
    #[allow(clippy::result_large_err)]
    pub fn queue_with(
        &mut self,
        op: Op,
        callback: Callback,
    ) -> Result<Ticket, Full<(Op, Callback)>> {
        self.insert(op, Some(callback)).map_err(|(op, callback)| {
            Full((op, callback.expect("a callback that was given comes back")))
        })
    }

    #[allow(clippy::result_large_err)]
    fn insert(
        &mut self,
        mut op: Op,
        callback: Option<Callback>,
    ) -> Result<Ticket, (Op, Option<Callback>)> {
        // What is over and not yet taken counts too, or a caller who never reaps could fill the
        // memory.
        if self.in_flight() >= self.capacity() {
            return Err((op, callback));
        }
        let Some(index) = self.free.pop() else { return Err((op, callback)) };
        let slot = &mut self.slots[index as usize];
        let ticket = Ticket { slot: index, generation: slot.generation };
        let described = describe(&mut op, &mut slot.iovecs);
        self.polls += usize::from(matches!(op.kind, OpKind::Poll(_)));
        (slot.op, slot.callback) = (Some(op), callback);
        match described {
            Some(iocb) => {
                self.iocbs[index as usize] = Iocb { data: ticket.pack(), ..iocb };
                self.queued.push(index);
            }
            None => self.finish(index, Err(io::Error::from_raw_os_error(libc::EINVAL))),
        }
        Ok(ticket)
    }

    /// Hands the queued operations to the kernel in as few io_submit(2) calls as it allows, and
    /// says what became of them. An operation that is refused (EBADF, EINVAL, EOPNOTSUPP...) comes
    /// back with its own error, and those behind it are submitted all the same. It may block, see
    /// io_submit(2). It does the whole work itself where the file is not direct, and waits for data
    /// where a pipe or a socket has none. Without room in the ring (EAGAIN) the rest stays queued.
    /// If nothing is in flight that could make room, it tries for a second and then refuses.
    ///
    /// # Panics
    /// In a forked child.
    pub fn submit(&mut self) -> Submitted {
        self.ring.assert_owner();
        let mut outcome = Submitted::default();
        let (mut from, mut tries) = (0, 0);
        while from < self.queued.len() {
            self.pointers.clear();
            for &slot in &self.queued[from..] {
                self.pointers.push(&raw mut self.iocbs[slot as usize]);
            }
            // SAFETY: the iocbs live in a boxed slice of this context. What they name is owned by
            // the op in their slot: reads have an exclusive `Buffer`, writes a `SharedBuffer` that
            // cannot be changed. The op is dropped only after its event was reaped, its submission
            // refused, or io_destroy.
            match unsafe { self.ring.submit(&mut self.pointers) } {
                Ok(taken) => {
                    // No more than there are can have been taken.
                    let taken = taken.min(self.pointers.len());
                    outcome.accepted += taken;
                    from += taken;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // No ring slot, though we never exceed the capacity: completions have to be reaped
                // first.
                Err(error)
                    if error.raw_os_error() == Some(libc::EAGAIN) && self.sure_to_end(from) > 0 =>
                {
                    break;
                }
                // Nothing to reap either: the kernel is out of memory for the moment. It is given
                // one before the operation counts as refused.
                Err(error)
                    if error.raw_os_error() == Some(libc::EAGAIN) && tries < SUBMIT_TRIES =>
                {
                    tries += 1;
                    std::thread::sleep(SUBMIT_PAUSE);
                }
                // An error speaks of the first operation alone; the others are still ours to
                // submit.
                Err(error) => {
                    self.finish(self.queued[from], Err(error));
                    outcome.refused += 1;
                    from += 1;
                }
            }
        }
        self.queued.drain(..from);
        Submitted { waiting: self.queued.len(), ..outcome }
    }

    /// How many operations the kernel holds once the first `dealt_with` of the queued ones left the
    /// queue.
    fn with_the_kernel(&self, dealt_with: usize) -> usize {
        // A refused operation is in `queued` until the drain, but its slot is free already.
        let queued = self.queued[dealt_with..].len();
        self.slots.len() - self.free.len() - queued
    }

    /// How many of those end by themselves: all but the polls.
    fn sure_to_end(&self, dealt_with: usize) -> usize {
        let is_poll = |&&slot: &&u32| {
            matches!(self.slots[slot as usize].op, Some(Op { kind: OpKind::Poll(_), .. }))
        };
        let polls = self.polls - self.queued[dealt_with..].iter().filter(is_poll).count();
        self.with_the_kernel(dealt_with) - polls
    }

    /// Moves finished operations to the end of `out`, waiting until there are at least `min` or
    /// `timeout` is over; see io_getevents(2). EINTR is not an error: it ends the wait early, and
    /// no other error is to be expected of a live context. Returns how many were moved. Operations
    /// with callbacks are not among them, though they end the wait. It waits for no more than were
    /// submitted.
    ///
    /// # Panics
    /// In a forked child.
    pub fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        self.reap_up_to(min, usize::MAX, timeout, out)
    }

    /// [Reaps](Self::reap) at most `max` operations. What else is over stays for the next call.
    /// EINVAL if `min` is larger.
    ///
    /// # Panics
    /// In a forked child.
    pub fn reap_up_to(
        &mut self,
        min: usize,
        max: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        self.gather(min, max, timeout, None)?;
        Ok(self.hand_over(max, out))
    }

    /// [Reaps](Self::reap_up_to) while the signals of `mask` are blocked, in place of those that
    /// the thread blocks: io_pgetevents(2). A signal that is let through only here ends the wait,
    /// and none can come unnoticed between a look and the wait. It always makes the system call;
    /// ENOSYS before Linux 4.18.
    ///
    /// # Panics
    /// In a forked child.
    pub fn reap_masked(
        &mut self,
        min: usize,
        max: usize,
        timeout: Option<Duration>,
        mask: &SignalMask,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        self.gather(min, max, timeout, Some(mask))?;
        Ok(self.hand_over(max, out))
    }

    fn hand_over(&mut self, max: usize, out: &mut Vec<Done>) -> usize {
        let count = self.finished.len().min(max);
        out.extend(self.finished.drain(..count));
        count
    }

    /// Waits like [`reap`](Self::reap) and calls the callbacks of the operations that are over, one
    /// after the other: libaio's `io_queue_run`. All are taken off the ring before the first is
    /// called. So a panic in one loses nothing: the next call goes on with the others. Returns how
    /// many were called. It blocks for as long as the wait and the callbacks take; its errors are
    /// those of io_getevents(2) but EINTR.
    ///
    /// # Panics
    /// In a forked child, and as the callbacks do.
    pub fn run(&mut self, min: usize, timeout: Option<Duration>) -> io::Result<usize> {
        self.gather(min, usize::MAX, timeout, None)?;
        let mut count = 0;
        while let Some((callback, done)) = self.callbacks.pop_front() {
            count += 1;
            callback(done);
        }
        Ok(count)
    }

    /// Takes what is over off the ring, but no more than what makes `max` together with what is
    /// over already.
    fn gather(
        &mut self,
        min: usize,
        max: usize,
        timeout: Option<Duration>,
        mask: Option<&SignalMask>,
    ) -> io::Result<()> {
        self.ring.assert_owner();
        if min > max {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let room = max.saturating_sub(self.finished.len()).min(self.events.len());
        // Waiting for more than the kernel has would be for ever. So may be waiting for a poll,
        // while operations are queued that could not be submitted.
        let sure =
            if self.queued.is_empty() { self.with_the_kernel(0) } else { self.sure_to_end(0) };
        let min = min.saturating_sub(self.finished.len() + self.callbacks.len()).min(sure);
        let events = &mut self.events[..room];
        let taken = if self.system_calls_only || mask.is_some() {
            None
        } else {
            self.ring.take(min, events)
        };
        let count = match taken.map_or_else(|| self.ring.wait(min, events, timeout, mask), Ok) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        assert!(count <= room, "the kernel writes no more events than there is room for");
        for index in 0..count {
            let IoEvent { data, res, .. } = self.events[index];
            let ticket = Ticket::unpack(data);
            let slot = &self.slots[ticket.slot as usize];
            assert_eq!(
                ticket.generation, slot.generation,
                "the kernel gives each operation back once"
            );
            self.finish(ticket.slot, outcome(res));
        }
        Ok(())
    }

    /// Frees a slot; its operation is over.
    fn finish(&mut self, index: u32, result: io::Result<usize>) {
        let slot = &mut self.slots[index as usize];
        let op = slot.op.take().expect("a ticket names a slot that is in use");
        let ticket = Ticket { slot: index, generation: slot.generation };
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        self.polls -= usize::from(matches!(op.kind, OpKind::Poll(_)));
        let done = Done { ticket: Some(ticket), ..Done::new(op, result) };
        match slot.callback.take() {
            Some(callback) => self.callbacks.push_back((callback, done)),
            None => self.finished.push(done),
        }
    }

    /// Asks for an operation to be cancelled; see io_cancel(2). It comes back in any case, and only
    /// then is its buffer free. EAGAIN when the kernel could not cancel it this time. It does not
    /// wait for the operation.
    ///
    /// # Panics
    /// In a forked child.
    pub fn cancel(&mut self, ticket: Ticket) -> io::Result<Cancel> {
        self.ring.assert_owner();
        let slot = self.slots.get(ticket.slot as usize);
        if slot.is_none_or(|slot| slot.generation != ticket.generation || slot.op.is_none()) {
            return Ok(Cancel::Unknown);
        }
        if let Some(at) = self.queued.iter().position(|&slot| slot == ticket.slot) {
            self.queued.remove(at);
            self.finish(ticket.slot, Err(io::Error::from_raw_os_error(libc::ECANCELED)));
            return Ok(Cancel::Withdrawn);
        }
        match self
            .ring
            .cancel(&mut self.iocbs[ticket.slot as usize])
            .map_err(|error| (error.raw_os_error(), error))
        {
            Ok(()) | Err((Some(libc::EINPROGRESS), _)) => Ok(Cancel::InProgress),
            Err((Some(libc::EINVAL), _)) => Ok(Cancel::NotCancelled),
            Err((_, error)) => Err(error),
        }
    }
}

impl Drop for Context {
    /// Blocks until the kernel has let go of every buffer; see io_destroy(2).
    fn drop(&mut self) {
        if !self.ring.destroy() {
            // io_destroy is forbidden, so the kernel may still write into the buffers: they are
            // leaked.
            self.slots.iter_mut().filter_map(|slot| slot.op.take()).for_each(std::mem::forget);
        }
    }
}

/// Says what can be done about an io_setup(2) that failed.
fn explain_setup(error: io::Error, capacity: u32) -> io::Error {
    const LIMIT: &str = "/proc/sys/fs/aio-max-nr";
    let text = match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            let limit = std::fs::read_to_string(LIMIT);
            let limit = limit.map_or_else(|error| error.to_string(), |text| text.trim().to_owned());
            format!("io_setup for {capacity} operations would pass {LIMIT} ({limit})")
        }
        Some(libc::ENOSYS) => "this kernel has no AIO (io_setup: ENOSYS)".to_owned(),
        Some(libc::EPERM) => "a sandbox forbids kernel AIO (io_setup: EPERM)".to_owned(),
        _ => return error,
    };
    io::Error::new(error.kind(), text)
}

/// `res` of an event: a count, or a negated errno.
fn outcome(res: i64) -> io::Result<usize> {
    usize::try_from(res)
        .map_err(|_| io::Error::from_raw_os_error(i32::try_from(-res).unwrap_or(libc::EIO)))
}

/// The iocb of an operation. It names the memory of the operation's buffers, and `iovecs` where
/// there are several. None if a range is not within its buffer, there are too many buffers, or the
/// offset or the priority is not one.
fn describe(op: &mut Op, iovecs: &mut Vec<libc::iovec>) -> Option<Iocb> {
    let mut iocb = Iocb {
        fildes: op.file.as_raw_fd() as u32,
        offset: i64::try_from(op.offset_bytes).ok()?,
        rw_flags: op.flags.bits(),
        ..Iocb::default()
    };
    if let Some(priority) = op.priority {
        iocb.flags |= abi::FLAG_IOPRIO;
        iocb.reqprio = priority.bits()?;
    }
    if let Some(eventfd) = &op.eventfd {
        iocb.flags |= abi::FLAG_RESFD;
        iocb.resfd = eventfd.as_raw_fd() as u32;
    }
    iovecs.clear();
    (iocb.opcode, iocb.buf, iocb.nbytes) = match &mut op.kind {
        OpKind::Read(part) => {
            let bytes = part.bytes_mut()?;
            (abi::CMD_PREAD, bytes.as_mut_ptr() as u64, bytes.len() as u64)
        }
        OpKind::Write(part) => {
            let bytes = part.bytes()?;
            (abi::CMD_PWRITE, bytes.as_ptr() as u64, bytes.len() as u64)
        }
        OpKind::ReadVectored(parts) => {
            for part in parts.iter_mut() {
                let bytes = part.bytes_mut()?;
                iovecs.push(libc::iovec {
                    iov_base: bytes.as_mut_ptr().cast(),
                    iov_len: bytes.len(),
                });
            }
            (abi::CMD_PREADV, iovecs.as_ptr() as u64, iovecs.len() as u64)
        }
        OpKind::WriteVectored(parts) => {
            for part in parts.iter() {
                let bytes = part.bytes()?;
                iovecs.push(libc::iovec {
                    iov_base: bytes.as_ptr().cast_mut().cast(),
                    iov_len: bytes.len(),
                });
            }
            (abi::CMD_PWRITEV, iovecs.as_ptr() as u64, iovecs.len() as u64)
        }
        OpKind::Fsync => (abi::CMD_FSYNC, 0, 0),
        OpKind::Fdatasync => (abi::CMD_FDSYNC, 0, 0),
        // A C library's `struct pollfd` has signed events, the kernel's does not.
        OpKind::Poll(events) => {
            (abi::CMD_POLL, u64::from(u16::from_ne_bytes(events.bits().to_ne_bytes())), 0)
        }
    };
    // The kernel would say EINVAL too, but of a number that a later version may raise.
    (iovecs.len() <= PARTS_MAX).then_some(iocb)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use super::super::{Buffer, Part, Pool, Priority};
    use super::*;

    fn null() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/dev/null").unwrap().into())
    }

    #[test]
    fn a_result_is_a_count_or_a_negated_errno() {
        assert_eq!(outcome(4096).unwrap(), 4096);
        assert_eq!(outcome(-22).unwrap_err().raw_os_error(), Some(22));
        assert_eq!(outcome(-(1 << 40)).unwrap_err().raw_os_error(), Some(libc::EIO));
    }

    #[test]
    fn an_iocb_names_the_bytes_that_are_meant() {
        let pool = Pool::new(3, 4096).unwrap();
        let mut part = Part::new(pool.get().unwrap(), 8..24);
        let at = part.bytes_mut().unwrap().as_ptr() as u64;
        let mut iovecs = Vec::new();
        let mut op = Op {
            priority: Some(Priority::BestEffort(5)),
            ..Op::new(null(), OpKind::Read(part)).at(77)
        };
        let iocb = describe(&mut op, &mut iovecs).unwrap();
        assert_eq!((iocb.opcode, iocb.buf, iocb.nbytes, iocb.offset), (abi::CMD_PREAD, at, 16, 77));
        assert_eq!((iocb.flags, iocb.reqprio, iovecs.len()), (abi::FLAG_IOPRIO, 2 << 13 | 5, 0));
        let whole = |buffer: Buffer| Part::whole(buffer.freeze());
        let parts = vec![whole(pool.get().unwrap()), whole(pool.get().unwrap())];
        let mut op = Op::new(null(), OpKind::WriteVectored(parts));
        let iocb = describe(&mut op, &mut iovecs).unwrap();
        assert_eq!(
            (iocb.opcode, iocb.buf, iocb.nbytes),
            (abi::CMD_PWRITEV, iovecs.as_ptr() as u64, 2)
        );
        assert!(iovecs.iter().all(|part| part.iov_len == 4096));
        // Nothing of it is refused by the kernel's own hand, since it would be understood as
        // something else.
        for bad in [Priority::BestEffort(8), Priority::RealTime(255)] {
            assert!(
                describe(
                    &mut Op { priority: Some(bad), ..Op::new(null(), OpKind::Fsync) },
                    &mut iovecs
                )
                .is_none()
            );
        }
        assert!(describe(&mut Op::new(null(), OpKind::Fsync).at(1 << 63), &mut iovecs).is_none());
    }
}
