//! A kernel AIO context that owns what it has lent to the kernel.
//!
//! An [`Op`] moves in with its buffer and its file; a [`Done`] gives both back. Dropping the
//! context destroys the ring before the slots, which waits for the kernel to let go of every
//! buffer. Leaking the context leaks its buffers, which is safe.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::abi::IoEvent;
use super::done::Done;
use super::eventfd;
use super::op::{Op, Submitted};
use super::refused::Full;
use super::ring::{Reader, Ring};
use super::setup::SetupError;
use super::signal::SignalMask;
use super::slot::Way;
use super::slots::{Next, Slots};
use super::ticket::{Cancel, Ticket};

/// What is called with an operation that is over, on the thread that calls [`Context::run`];
/// libaio's `io_set_callback`. It gets the context too, so that it can queue and submit what comes
/// next.
pub type Callback = Box<dyn FnOnce(&mut Context, Done) + Send>;

/// A context of a fixed capacity; see io_setup(2). It may go from thread to thread, and is used by
/// one at a time. Dropping it waits for everything in flight, see io_destroy(2): for a device that
/// hangs, for ever. What is over and was not taken is dropped with it, callbacks uncalled;
/// [`close`](Self::close) hands it back.
///
/// ```
/// use linux_aio::{Context, Op};
/// use std::{fs::File, sync::Arc};
///
/// let file = Arc::new(File::open("/dev/zero")?);
/// let mut context = Context::new(2)?;
/// for offset_bytes in [0, 512] {
///     context.queue(Op::read(&file, vec![1; 512], offset_bytes))?;
/// }
/// let mut done = Vec::new();
/// while context.in_flight() > 0 {
///     context.submit_and_reap(1, None, &mut done)?;
/// }
/// assert!(done.iter().all(|done| done.bytes() == Some(&[0; 512])));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Context {
    ring: Ring,
    reader: Reader,
    slots: Slots<Callback>,
    events: Box<[IoEvent]>,
    system_calls_only: bool,
}

/// What is waited for, and for how long.
struct Wait<'a> {
    way: Way,
    min: usize,
    max: usize,
    timeout: Option<Duration>,
    mask: Option<&'a SignalMask>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("capacity", &self.capacity())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Context {
    /// A context for `capacity` operations. EAGAIN when `/proc/sys/fs/aio-max-nr` would be passed;
    /// the error names it, and how many are taken. ENOSYS without kernel AIO; EPERM under some
    /// seccomp filters; EINVAL for 0 or a number that no kernel takes; ENOMEM. It does not wait for
    /// other contexts to go.
    ///
    /// ```
    /// use linux_aio::Context;
    ///
    /// assert_eq!(Context::new(100)?.capacity(), 100);
    /// assert_eq!(Context::new(0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(capacity: u32) -> Result<Self, SetupError> {
        let (ring, reader) =
            Ring::new(capacity).map_err(|error| SetupError::new(error, capacity))?;
        Ok(Self {
            ring,
            reader,
            slots: Slots::new(capacity),
            events: vec![IoEvent::default(); capacity as usize].into(),
            system_calls_only: false,
        })
    }

    /// A context with an eventfd(2) of its own, for a loop that waits elsewhere: poll(2), epoll(7),
    /// or a runtime's. The errors are those of [`new`](Self::new), and EMFILE or ENFILE without a
    /// descriptor for the eventfd.
    ///
    /// The descriptor is readable when something may be over that was not taken yet, and
    /// [`reap`](Self::reap) and [`run`](Self::run) make it unreadable when they have taken all. So
    /// it is for waiting alone, and not to be read. Operations with an eventfd of their own signal
    /// that one and not this.
    ///
    /// ```
    /// use linux_aio::{Context, Op};
    /// use rustix::event::{PollFd, PollFlags, poll};
    /// use std::fs::File;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut context = Context::with_eventfd(4)?;
    /// context.queue(Op::read(File::open("/dev/zero")?, vec![1; 100], 0))?;
    /// context.submit();
    /// // Other descriptors may stand beside it.
    /// let eventfd = context.eventfd().expect("it was made with one");
    /// poll(&mut [PollFd::new(eventfd, PollFlags::IN)], None)?;
    /// let mut done = Vec::new();
    /// assert_eq!(context.reap(0, None, &mut done)?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn with_eventfd(capacity: u32) -> Result<Self, SetupError> {
        let mut context = Self::new(capacity)?;
        let made = eventfd::make().map_err(|error| SetupError::of_eventfd(error, capacity))?;
        context.slots.signal(Arc::new(made));
        Ok(context)
    }

    /// The eventfd of a context that was made [with one](Self::with_eventfd). It is `AsFd` and
    /// `AsRawFd`, and stays open for who keeps a hold on it.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// let context = linux_aio::Context::with_eventfd(4)?;
    /// // A runtime keeps this one, and is told to forget it when the context ends.
    /// let eventfd = context.eventfd().map(std::sync::Arc::clone).expect("it was made with one");
    /// drop(context);
    /// assert_eq!(std::sync::Arc::strong_count(&eventfd), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn eventfd(&self) -> Option<&Arc<OwnedFd>> {
        self.slots.eventfd()
    }

    /// How many operations fit: what io_setup(2) was asked for. Never blocks, as none of the
    /// questions below.
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// How many operations are inside: queued, with the kernel, or over and not yet taken.
    pub fn in_flight(&self) -> usize {
        self.slots.in_flight()
    }

    /// Says whether completions are always reaped with io_getevents(2), also where the ring could
    /// be read without it.
    ///
    /// ```
    /// let mut context = linux_aio::Context::new(1)?;
    /// context.set_system_calls_only(true);
    /// assert!(!context.reads_the_ring());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_system_calls_only(&mut self, on: bool) {
        self.system_calls_only = on;
    }

    /// Whether completions are reaped from the ring in the process's memory where there are enough.
    pub fn reads_the_ring(&self) -> bool {
        self.reader.is_readable() && !self.system_calls_only
    }

    /// Takes an operation for the next [`submit`](Self::submit); it comes back from
    /// [`reap`](Self::reap). Never blocks. A full context gives it back in [`Full`]: `?` drops it
    /// then, and a `match` keeps it.
    ///
    /// ```
    /// use linux_aio::{Context, Op};
    /// use std::fs::File;
    ///
    /// let mut context = Context::new(1)?;
    /// let ticket = context.queue(Op::read(File::open("/dev/zero")?, vec![1; 3], 0))?;
    /// let mut done = Vec::new();
    /// while context.in_flight() > 0 {
    ///     context.submit_and_reap(1, None, &mut done)?;
    /// }
    /// assert_eq!(done[0].ticket, Some(ticket));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    // The operation is what a caller must not lose; it is as large as it is.
    #[allow(clippy::result_large_err)]
    pub fn queue(&mut self, op: Op) -> Result<Ticket, Full> {
        self.slots.insert(op, None).map_err(|(op, _)| Full(op))
    }

    /// Takes an operation with a callback, which [`run`](Self::run) calls. Never blocks. A full
    /// context gives both back.
    ///
    /// ```
    /// use linux_aio::{Context, Op};
    /// use std::fs::File;
    ///
    /// let mut context = Context::new(1)?;
    /// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// // A callback can queue and submit what comes next.
    /// context.queue_with(read, Box::new(|context, done| {
    ///     context.queue(done.op).expect("there is room");
    ///     context.submit();
    /// }))?;
    /// context.submit();
    /// while context.run(1, None)? == 0 {}
    /// assert_eq!(context.in_flight(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[allow(clippy::result_large_err)]
    pub fn queue_with(
        &mut self,
        op: Op,
        callback: Callback,
    ) -> Result<Ticket, Full<(Op, Callback)>> {
        self.slots.insert(op, Some(callback)).map_err(|(op, callback)| {
            Full((op, callback.expect("a callback that was given comes back")))
        })
    }

    /// Hands the queued operations to the kernel in as few io_submit(2) calls as it allows, and
    /// says what became of them. An operation that is refused (EBADF, EINVAL, EOPNOTSUPP...) comes
    /// back with its own error, and those behind it are submitted all the same. It may block, see
    /// io_submit(2). It does the whole work itself where the file is not direct, and waits for data
    /// where a pipe or a socket has none. Without room in the ring (EAGAIN) the rest stays queued.
    /// If nothing is in flight that could make room, it tries for a second and then refuses.
    ///
    /// ```
    /// use linux_aio::{Context, Op, OpKind};
    /// use std::sync::Arc;
    ///
    /// let file = Arc::new(tempfile::tempfile()?);
    /// let mut context = Context::new(2)?;
    /// context.queue(Op::new(&file, OpKind::Fsync))?;
    /// // A sync is of a whole file, and takes no offset.
    /// context.queue(Op::new(&file, OpKind::Fsync).at(1))?;
    /// let submitted = context.submit();
    /// assert_eq!((submitted.accepted, submitted.refused), (1, 1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// In a forked child.
    pub fn submit(&mut self) -> Submitted {
        self.ring.assert_owner();
        let mut batch = self.slots.start_batch();
        let mut next = if batch.is_empty() { Next::Stop } else { Next::Again };
        while !matches!(next, Next::Stop) {
            if let Next::Pause(pause) = next {
                std::thread::sleep(pause);
            }
            // SAFETY: dropping the context calls io_destroy before it drops the slots.
            let answer = unsafe { batch.submit(&self.ring) };
            next = self.slots.judge(&self.ring, &mut batch, answer);
        }
        self.slots.end_batch(batch)
    }

    /// [Submits](Self::submit) and then [reaps](Self::reap): the loop that forgets neither.
    ///
    /// ```
    /// use linux_aio::{Context, Op};
    /// use std::fs::File;
    ///
    /// let mut context = Context::new(1)?;
    /// context.queue(Op::read(File::open("/dev/zero")?, vec![1; 3], 0))?;
    /// let mut done = Vec::new();
    /// while context.in_flight() > 0 {
    ///     context.submit_and_reap(1, None, &mut done)?;
    /// }
    /// assert_eq!(done[0].bytes(), Some(&[0, 0, 0][..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// In a forked child.
    pub fn submit_and_reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        self.submit();
        self.reap(min, timeout, out)
    }

    /// Moves finished operations to the end of `out`, waiting until there are at least `min` or
    /// `timeout` is over; see io_getevents(2). EINTR is not an error: it ends the wait early.
    /// Returns how many were moved. Operations with callbacks are not among them. It waits for no
    /// more than were submitted, and an empty context does not wait.
    ///
    /// EDEADLK where `min` is not 0 and none can come: what is in flight was not
    /// [submitted](Self::submit), or has callbacks, which [`run`](Self::run) calls. A loop would
    /// spin. No other error is to be expected of a live context.
    ///
    /// ```
    /// use linux_aio::{Context, Op};
    /// use std::{fs::File, time::Duration};
    ///
    /// let mut context = Context::new(1)?;
    /// context.queue(Op::read(File::open("/dev/zero")?, vec![1; 3], 0))?;
    /// let mut done = Vec::new();
    /// // It was not submitted, so that a wait would be for ever.
    /// let stuck = context.reap(1, None, &mut done).unwrap_err();
    /// assert_eq!(stuck.raw_os_error(), Some(libc::EDEADLK));
    /// context.submit();
    /// while context.reap(1, Some(Duration::from_secs(1)), &mut done)? == 0 {}
    /// assert_eq!(done.len(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
    /// ```
    /// use linux_aio::{Context, Op};
    /// use std::{fs::File, sync::Arc};
    ///
    /// let file = Arc::new(File::open("/dev/zero")?);
    /// let mut context = Context::new(3)?;
    /// for _ in 0..3 {
    ///     context.queue(Op::read(&file, vec![1; 3], 0))?;
    /// }
    /// context.submit();
    /// let mut done = Vec::new();
    /// assert_eq!(context.reap_up_to(1, 2, None, &mut done)?, 2);
    /// assert_eq!(context.in_flight(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
        self.gather(&Wait { way: Way::Plain, min, max, timeout, mask: None })?;
        Ok(self.hand_over(max, out))
    }

    /// [Reaps](Self::reap_up_to) while the signals of `mask` are blocked, in place of those that
    /// the thread blocks: io_pgetevents(2). A signal that is let through only here ends the wait,
    /// and none can come unnoticed between a look and the wait. It always makes the system call;
    /// ENOSYS before Linux 4.18.
    ///
    /// ```
    /// use linux_aio::{Context, Op, kernel::SignalMask};
    /// use std::fs::File;
    ///
    /// let mut context = Context::new(1)?;
    /// context.queue(Op::read(File::open("/dev/zero")?, vec![1; 3], 0))?;
    /// context.submit();
    /// // Only here SIGTERM comes through, if a program blocks it everywhere else.
    /// let mask = SignalMask::of_this_thread().unblock(libc::SIGTERM)?;
    /// let mut done = Vec::new();
    /// while context.reap_masked(1, 1, None, &mask, &mut done)? == 0 {}
    /// assert_eq!(done[0].bytes(), Some(&[0, 0, 0][..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
        self.gather(&Wait { way: Way::Plain, min, max, timeout, mask: Some(mask) })?;
        Ok(self.hand_over(max, out))
    }

    fn hand_over(&mut self, max: usize, out: &mut Vec<Done>) -> usize {
        let before = out.len();
        out.extend(std::iter::from_fn(|| self.slots.take()).take(max));
        let count = out.len() - before;
        // There may be more in the ring than there was room for.
        self.slots.keep_signal(count == max);
        count
    }

    /// Waits like [`reap`](Self::reap), for operations with callbacks, and calls the callbacks of
    /// those that are over, one after the other: libaio's `io_queue_run`. All are taken off the
    /// ring before the first is called. So a panic in one loses nothing: the next call goes on with
    /// the others. Returns how many were called. What the callbacks submit is for the next call. It
    /// blocks for as long as the wait and the callbacks take; its errors are those of `reap`,
    /// EDEADLK where no callback can be called.
    ///
    /// ```
    /// use linux_aio::{Context, Op};
    /// use std::{fs::File, sync::mpsc};
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let mut context = Context::new(1)?;
    /// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// context.queue_with(read, Box::new(move |_, done| sender.send(done).unwrap()))?;
    /// context.submit();
    /// while context.run(1, None)? == 0 {}
    /// assert_eq!(receiver.recv().unwrap().bytes(), Some(&[0, 0, 0][..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// In a forked child, and as the callbacks do.
    pub fn run(&mut self, min: usize, timeout: Option<Duration>) -> io::Result<usize> {
        let (way, max) = (Way::Callback, usize::MAX);
        self.gather(&Wait { way, min, max, timeout, mask: None })?;
        let mut count = 0;
        for _ in 0..self.slots.over(way) {
            // A callback may have called others.
            let Some((callback, done)) = self.slots.take_callback() else { break };
            count += 1;
            let called = catch_unwind(AssertUnwindSafe(|| callback(self, done)));
            if let Err(panic) = called {
                // The others are for the next call.
                self.slots.keep_signal(false);
                resume_unwind(panic);
            }
        }
        self.slots.keep_signal(false);
        Ok(count)
    }

    /// Takes what is over off the ring, but no more than what makes `max` together with what is
    /// over already.
    fn gather(&mut self, wait: &Wait<'_>) -> io::Result<()> {
        self.ring.assert_owner();
        if wait.min > wait.max {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        self.slots.clear_signal();
        let begun = wait.timeout.map(|timeout| (Instant::now(), timeout));
        loop {
            let lacking = wait.min.saturating_sub(self.slots.over(wait.way));
            // Waiting for more than the kernel has would be for ever.
            let min = lacking.min(self.slots.can_end(wait.way));
            let left = begun.map(|(begun, timeout)| timeout.saturating_sub(begun.elapsed()));
            let count = self.take_events(min, left, wait).inspect_err(|_| {
                // What is over is in the ring still.
                self.slots.keep_signal(true);
            })?;
            // What has ended may be of the other way, which is not waited for.
            if count == 0 || min == 0 || self.slots.over(wait.way) >= wait.min {
                break;
            }
        }
        let is_stuck = wait.min > 0
            && self.slots.over(wait.way) == 0
            && self.slots.can_end(wait.way) == 0
            && self.in_flight() > 0;
        if is_stuck {
            // What is over may have callbacks.
            self.slots.keep_signal(false);
            return Err(io::Error::from_raw_os_error(libc::EDEADLK));
        }
        Ok(())
    }

    /// Takes events off the ring, waiting for `min`, and says how many.
    fn take_events(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        wait: &Wait<'_>,
    ) -> io::Result<usize> {
        let room = wait.max.saturating_sub(self.slots.over(Way::Plain)).min(self.events.len());
        let events = &mut self.events[..room];
        let taken = match wait.mask {
            None if !self.system_calls_only => self.reader.take(min, events),
            _ => None,
        };
        let waited = taken.map_or_else(|| self.reader.wait(min, events, timeout, wait.mask), Ok);
        let count = match waited {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        assert!(count <= room, "the kernel writes no more events than there is room for");
        self.slots.absorb(&self.events[..count]);
        Ok(count)
    }

    /// Asks for an operation to be cancelled; see io_cancel(2). It comes back in any case, and only
    /// then is its buffer free. EAGAIN when the kernel could not cancel it this time. It does not
    /// wait for the operation.
    ///
    /// ```
    /// use linux_aio::{Context, Op, OpKind, PollFlags, kernel::Cancel};
    /// use std::os::fd::OwnedFd;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (reader, _writer) = std::io::pipe()?;
    /// let mut context = Context::new(1)?;
    /// let ticket = context.queue(Op::new(OwnedFd::from(reader), OpKind::Poll(PollFlags::IN)))?;
    /// context.submit();
    /// assert_eq!(context.cancel(ticket)?, Cancel::InProgress);
    /// let mut done = Vec::new();
    /// context.reap(1, None, &mut done)?;
    /// assert_eq!((done[0].ticket, done[0].ready()), (Some(ticket), Some(PollFlags::empty())));
    /// assert_eq!(context.cancel(ticket)?, Cancel::Unknown);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// In a forked child.
    pub fn cancel(&mut self, ticket: Ticket) -> io::Result<Cancel> {
        self.ring.assert_owner();
        self.slots.cancel(&self.ring, ticket)
    }

    /// Ends it, and hands back all operations that are in it: those that were queued (ECANCELED),
    /// those with the kernel when they are over, and those that are over already. The kernel is
    /// asked to cancel what it can, which is polls, by io_destroy(2) where io_cancel(2) is
    /// refused. It waits for the rest, as dropping does. Callbacks are not called. The errors are
    /// those of io_getevents(2) and io_destroy(2), none of which is to be expected.
    ///
    /// ```
    /// use linux_aio::{Context, Op, OpKind};
    /// use std::sync::Arc;
    ///
    /// let file = Arc::new(tempfile::tempfile()?);
    /// let mut context = Context::new(2)?;
    /// context.queue(Op::new(&file, OpKind::Fsync))?;
    /// context.submit();
    /// context.queue(Op::new(&file, OpKind::Fsync).tag(7))?;
    /// for done in context.close()? {
    ///     // What was not submitted is cancelled.
    ///     assert_eq!(done.result.is_err(), done.op.tag == 7);
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// In a forked child.
    pub fn close(mut self) -> io::Result<Vec<Done>> {
        self.end()
    }

    /// [Closes](Self::close) it. It is not used any more.
    pub(crate) fn end(&mut self) -> io::Result<Vec<Done>> {
        self.ring.assert_owner();
        let Self { ring, reader, slots, events, system_calls_only, .. } = self;
        slots.end(ring, |slots, min| {
            let taken = if *system_calls_only { None } else { reader.take(min, events) };
            let count = taken.map_or_else(|| reader.wait(min, events, None, None), Ok)?;
            slots.absorb(&events[..count]);
            Ok(())
        })
    }
}

impl Drop for Context {
    /// Blocks until the kernel has let go of every buffer; see io_destroy(2).
    fn drop(&mut self) {
        if self.ring.destroy().is_err() {
            // io_destroy is forbidden, or the process is a forked child: the kernel may still write
            // into the buffers.
            self.slots.leak();
        }
    }
}
