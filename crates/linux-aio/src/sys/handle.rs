//! A kernel context that several threads use at once.
//!
//! What the threads share is behind one lock, which no thread holds while the kernel works: neither
//! in io_submit(2), which may block, nor in io_getevents(2). One thread at a time is in the latter,
//! and takes the ring's reader with it. The others that wait do so for that one.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::abi::{self, IoEvent, Iocb};
use super::done::Done;
use super::eventfd;
use super::op::{Op, Submitted};
use super::refused::Full;
use super::ring::{Reader, Ring};
use super::setup::SetupError;
use super::slot::Way;
use super::slots::{Next, Slots};
use super::ticket::{Cancel, Ticket};

/// What is called with an operation that is over, on a thread that calls [`Handle::run`]. No lock
/// is held, so that it can queue and submit what comes next.
pub type HandleCallback = Box<dyn FnOnce(&Handle, Done) + Send>;

/// A kernel context that several threads use at once, as with libaio: one waits while another
/// submits. Clones are the same context; it goes with the last one, see
/// [`Context`](super::Context). A callback that has a clone keeps it until it is called.
///
/// It differs from a [`Context`](super::Context) in its waits: what ends them may be submitted
/// later, by another thread. So they last until then, also when nothing is in flight. It has no
/// `reap_masked`: of the threads that wait one alone is in the kernel, where a signal ends the
/// wait. It needs polls, which the kernel has since 4.19.
///
/// ```
/// use std::{fs::File, os::fd::OwnedFd, sync::Arc, thread};
/// use linux_aio::{Op, Pool, kernel::Handle};
///
/// # fn main() -> std::io::Result<()> {
/// let handle = Handle::new(4)?;
/// let waiter = thread::spawn({
///     let handle = handle.clone();
///     move || {
///         let mut done = Vec::new();
///         handle.reap(2, None, &mut done).map(|_| done)
///     }
/// });
/// let file = Arc::new(OwnedFd::from(File::open("/dev/zero")?));
/// let pool = Pool::new(2, 4096)?;
/// while let Some(buffer) = pool.get() {
///     handle.queue(Op::read(Arc::clone(&file), buffer, 0))?;
///     handle.submit();
/// }
/// assert_eq!(waiter.join().expect("no panic")?.len(), 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    ring: Ring,
    state: Mutex<State>,
    /// The thread that was in io_getevents(2) is back, or something ended without the kernel.
    changed: Condvar,
    /// The context polls it, to wake the thread that is in io_getevents(2).
    event: OwnedFd,
}

struct State {
    slots: Slots<HandleCallback>,
    /// What takes events off the ring, unless a thread waits with it.
    reading: Option<Box<Reading>>,
    /// One wait is to end early: the present one or the next.
    is_woken: bool,
    /// The poll of the eventfd. Checkers of memory look at it again when it is over.
    poll: Box<Iocb>,
    /// Whether the context has it.
    is_polled: bool,
    /// Whether the eventfd was written to, and the poll of it has not come back.
    is_signalled: bool,
}

struct Reading {
    reader: Reader,
    events: Box<[IoEvent]>,
}

/// The `data` of the poll that wakes; no ticket has it, since no context has so many slots.
const WAKE: u64 = u64::MAX;

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    /// A context for `capacity` operations. The errors are those of
    /// [`Context::new`](super::Context::new), and EMFILE or ENFILE without a descriptor for an
    /// eventfd(2); EINVAL where the kernel has no polls.
    ///
    /// ```
    /// use linux_aio::{Op, kernel::Handle};
    /// use std::{fs::File, thread};
    ///
    /// let handle = Handle::new(1)?;
    /// handle.queue(Op::read(File::open("/dev/zero")?, vec![1; 3], 0))?;
    /// thread::scope(|scope| scope.spawn(|| handle.submit()).join().expect("no panic"));
    /// assert_eq!(handle.reap(1, None, &mut Vec::new())?, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(capacity: u32) -> Result<Self, SetupError> {
        let event = eventfd::make().map_err(|error| SetupError::of_eventfd(error, capacity))?;
        // One place more, for the poll.
        let places = capacity.saturating_add(u32::from(capacity > 0));
        let (ring, reader) = Ring::new(places).map_err(|error| SetupError::new(error, places))?;
        let events = vec![IoEvent::default(); places as usize].into();
        let poll = Iocb {
            data: WAKE,
            opcode: abi::CMD_POLL,
            fildes: event.as_raw_fd() as u32,
            // They are signed where rustix goes by the C library.
            buf: u64::from(u16::from_ne_bytes(PollFlags::IN.bits().to_ne_bytes())),
            ..Iocb::default()
        };
        let mut shared = Shared {
            ring,
            state: Mutex::new(State {
                slots: Slots::new(capacity),
                reading: Some(Box::new(Reading { reader, events })),
                is_woken: false,
                poll: Box::new(poll),
                is_polled: false,
                is_signalled: false,
            }),
            changed: Condvar::new(),
            event,
        };
        let state = shared.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        state.poll(&shared.ring).map_err(|error| SetupError::of_poll(error, places))?;
        Ok(Self(Arc::new(shared)))
    }

    /// How many operations fit. It may wait for the lock, as all questions below, and for nothing
    /// else.
    pub fn capacity(&self) -> usize {
        self.0.lock().slots.capacity()
    }

    /// How many operations are inside: queued, with the kernel, or over and not yet taken.
    pub fn in_flight(&self) -> usize {
        self.0.lock().slots.in_flight()
    }

    /// Takes an operation for the next [`submit`](Self::submit), by whichever thread. A full
    /// context gives it back in [`Full`]: `?` drops it then, and a `match` keeps it.
    ///
    /// ```
    /// use linux_aio::{Op, kernel::Handle};
    /// use std::fs::File;
    ///
    /// let handle = Handle::new(1)?;
    /// let ticket = handle.queue(Op::read(File::open("/dev/zero")?, vec![1; 3], 0))?;
    /// handle.submit();
    /// let mut done = Vec::new();
    /// while handle.reap(1, None, &mut done)? == 0 {}
    /// assert_eq!(done[0].ticket, Some(ticket));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// In a forked child, as all calls here.
    #[allow(clippy::result_large_err)]
    pub fn queue(&self, op: Op) -> Result<Ticket, Full> {
        self.0.lock().slots.insert(op, None).map_err(|(op, _)| Full(op))
    }

    /// Takes an operation with a callback, which [`run`](Self::run) calls. A full context gives
    /// both back.
    ///
    /// ```
    /// use linux_aio::{Op, kernel::Handle};
    /// use std::{fs::File, sync::mpsc};
    ///
    /// let handle = Handle::new(1)?;
    /// let (sender, receiver) = mpsc::channel();
    /// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// handle.queue_with(read, Box::new(move |_, done| sender.send(done).unwrap()))?;
    /// handle.submit();
    /// while handle.run(1, None)? == 0 {}
    /// assert_eq!(receiver.recv().unwrap().bytes(), Some(&[0, 0, 0][..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[allow(clippy::result_large_err)]
    pub fn queue_with(
        &self,
        op: Op,
        callback: HandleCallback,
    ) -> Result<Ticket, Full<(Op, HandleCallback)>> {
        self.0.lock().slots.insert(op, Some(callback)).map_err(|(op, callback)| {
            Full((op, callback.expect("a callback that was given comes back")))
        })
    }

    /// Hands over what is queued, by whichever thread, as [`Context::submit`] does. Several threads
    /// can do so at once, and none holds another one up.
    ///
    /// [`Context::submit`]: super::Context::submit
    ///
    /// ```
    /// use linux_aio::{Op, kernel::Handle};
    /// use std::fs::File;
    ///
    /// let handle = Handle::new(1)?;
    /// handle.queue(Op::read(File::open("/dev/zero")?, vec![1; 3], 0))?;
    /// assert_eq!(handle.submit().accepted, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn submit(&self) -> Submitted {
        let mut state = self.0.lock();
        let mut batch = state.slots.start_batch();
        let mut next = if batch.is_empty() { Next::Stop } else { Next::Again };
        while !matches!(next, Next::Stop) {
            // What was refused so far is over, and io_submit may block for long.
            if state.over() > 0 {
                self.0.tell(&mut state);
            }
            drop(state);
            if let Next::Pause(pause) = next {
                std::thread::sleep(pause);
            }
            // SAFETY: the slots are dropped after io_destroy, when no handle is left; this is one.
            let answer = unsafe { batch.submit(&self.0.ring) };
            state = self.0.lock();
            next = state.slots.judge(&self.0.ring, &mut batch, answer);
        }
        let over = state.over();
        let outcome = state.slots.end_batch(batch);
        if outcome.refused > 0 || state.over() > over {
            self.0.tell(&mut state);
        }
        outcome
    }

    /// [Submits](Self::submit) and then [reaps](Self::reap).
    ///
    /// ```
    /// use linux_aio::{Op, kernel::Handle};
    /// use std::fs::File;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let handle = Handle::new(1)?;
    /// handle.queue(Op::read(File::open("/dev/zero")?, vec![1; 100], 0))?;
    /// let mut done = Vec::new();
    /// assert_eq!(handle.submit_and_reap(1, None, &mut done)?, 1);
    /// assert_eq!(done[0].bytes(), Some(&[0; 100][..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit_and_reap(
        &self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        self.submit();
        self.reap(min, timeout, out)
    }

    /// Moves finished operations to the end of `out`, waiting until there are at least `min`, or as
    /// many as the context has places for, or `timeout` is over. A signal handler on the thread
    /// that waits for the kernel, and [`wake`](Self::wake), end the wait early. Returns how many
    /// were moved. Operations with callbacks are not among them. The errors are those of
    /// io_getevents(2), none of which is to be expected.
    ///
    /// ```
    /// use linux_aio::kernel::Handle;
    /// use std::time::Duration;
    ///
    /// // Nothing is in flight, but another thread might submit something.
    /// let handle = Handle::new(1)?;
    /// assert_eq!(handle.reap(1, Some(Duration::from_millis(1)), &mut Vec::new())?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn reap(
        &self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        self.reap_up_to(min, usize::MAX, timeout, out)
    }

    /// [Reaps](Self::reap) at most `max` operations, so that threads share what is over. The rest
    /// stays for the next call, by whichever thread. EINVAL if `min` is larger.
    ///
    /// ```
    /// use linux_aio::{Op, kernel::Handle};
    /// use std::{fs::File, sync::Arc};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let handle = Handle::new(2)?;
    /// let file = Arc::new(File::open("/dev/zero")?);
    /// for _ in 0..2 {
    ///     handle.queue(Op::read(&file, vec![1; 100], 0))?;
    /// }
    /// handle.submit();
    /// let mut done = Vec::new();
    /// assert_eq!(handle.reap_up_to(1, 1, None, &mut done)?, 1);
    /// assert_eq!(handle.in_flight(), 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn reap_up_to(
        &self,
        min: usize,
        max: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        if min > max {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let mut state = self.0.wait(Way::Plain, min, timeout)?;
        let before = out.len();
        out.extend(std::iter::from_fn(|| state.slots.take()).take(max));
        Ok(out.len() - before)
    }

    /// Waits like [`reap`](Self::reap), for operations with callbacks, and calls the callbacks of
    /// those that are over. Several threads can do so at once: each callback is called by one.
    /// Returns how many this thread has called. A panic in one loses no other.
    ///
    /// ```
    /// use linux_aio::{Op, kernel::Handle};
    /// use std::fs::File;
    ///
    /// let handle = Handle::new(1)?;
    /// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// // A callback can queue and submit what comes next.
    /// handle.queue_with(read, Box::new(|handle, done| {
    ///     handle.queue(done.op).expect("there is room");
    ///     handle.submit();
    /// }))?;
    /// handle.submit();
    /// while handle.run(1, None)? == 0 {}
    /// assert_eq!(handle.reap(1, None, &mut Vec::new())?, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// As the callbacks do.
    pub fn run(&self, min: usize, timeout: Option<Duration>) -> io::Result<usize> {
        let state = self.0.wait(Way::Callback, min, timeout)?;
        let over = state.slots.over(Way::Callback);
        drop(state);
        let mut count = 0;
        for _ in 0..over {
            // Another thread, or another callback, may have called it.
            let Some((callback, done)) = self.0.lock().slots.take_callback() else { break };
            count += 1;
            callback(self, done);
        }
        Ok(count)
    }

    /// Asks for an operation to be cancelled, as [`Context::cancel`](super::Context::cancel) does.
    /// It may be on its way to the kernel, in another thread's [`submit`](Self::submit): then it is
    /// [`Cancel::Deferred`].
    ///
    /// ```
    /// use linux_aio::{Op, OpKind, PollFlags, kernel::{Cancel, Handle}};
    /// use std::os::fd::OwnedFd;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let (reader, _writer) = std::io::pipe()?;
    /// let handle = Handle::new(1)?;
    /// let ticket = handle.queue(Op::new(OwnedFd::from(reader), OpKind::Poll(PollFlags::IN)))?;
    /// assert_eq!(handle.cancel(ticket)?, Cancel::Withdrawn);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel(&self, ticket: Ticket) -> io::Result<Cancel> {
        let mut state = self.0.lock();
        let cancelled = state.slots.cancel(&self.0.ring, ticket)?;
        if cancelled == Cancel::Withdrawn {
            self.0.tell(&mut state);
        }
        Ok(cancelled)
    }

    /// Ends the context if this is its last handle, and hands back all operations that are in it,
    /// as [`Context::close`](super::Context::close) does. None where another handle is left, which
    /// keeps all: of several threads that close theirs, one gets the operations.
    ///
    /// ```
    /// use linux_aio::{Op, kernel::Handle};
    /// use std::fs::File;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let handle = Handle::new(1)?;
    /// handle.queue(Op::read(File::open("/dev/zero")?, vec![1; 100], 0))?;
    /// let other = handle.clone();
    /// assert!(handle.close()?.is_none());
    /// assert_eq!(other.close()?.expect("it was the last").len(), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// In a forked child.
    pub fn close(self) -> io::Result<Option<Vec<Done>>> {
        self.0.ring.assert_owner();
        Arc::into_inner(self.0).map(|mut shared| shared.end()).transpose()
    }

    /// Ends one wait early: a present one, or else the next. Does not wait.
    ///
    /// ```
    /// use linux_aio::kernel::Handle;
    /// use std::thread;
    ///
    /// let handle = Handle::new(1)?;
    /// let waiter = thread::spawn({
    ///     let handle = handle.clone();
    ///     // Nothing is in flight, and this waits until something is.
    ///     move || handle.reap(1, None, &mut Vec::new())
    /// });
    /// handle.wake();
    /// assert_eq!(waiter.join().expect("no panic")?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wake(&self) {
        let mut state = self.0.lock();
        state.is_woken = true;
        self.0.tell(&mut state);
    }
}

impl State {
    /// How many are over and not taken.
    fn over(&self) -> usize {
        self.slots.over(Way::Plain) + self.slots.over(Way::Callback)
    }

    /// Has the context poll the eventfd, unless it does.
    fn poll(&mut self, ring: &Ring) -> io::Result<()> {
        while !self.is_polled {
            // SAFETY: the iocb lives as long as the context, and names a descriptor and no memory.
            match unsafe { ring.submit(&mut [&raw mut *self.poll]) } {
                Ok(_) => self.is_polled = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Takes events, and says whether the poll of the eventfd is among them.
fn absorb(slots: &mut Slots<HandleCallback>, events: &mut [IoEvent]) -> bool {
    // The poll's place among the events is left to one of the others.
    let mut kept = 0;
    for at in 0..events.len() {
        if events[at].data != WAKE {
            events[kept] = events[at];
            kept += 1;
        }
    }
    slots.absorb(&events[..kept]);
    kept < events.len()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A forked child's lock may never be free.
        self.ring.assert_owner();
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who wait that something has changed without the kernel.
    fn tell(&self, state: &mut State) {
        self.changed.notify_all();
        // The reader's place is empty while a thread is in io_getevents(2), or on its way there.
        if state.reading.is_none() && !state.is_signalled {
            state.is_signalled = true;
            eventfd::signal(&self.event);
        }
    }

    /// Waits until `min` operations are over, the time is, or the wait is ended.
    fn wait(
        &self,
        way: Way,
        min: usize,
        timeout: Option<Duration>,
    ) -> io::Result<MutexGuard<'_, State>> {
        let begun = Instant::now();
        let mut state = self.lock();
        let min = min.min(state.slots.capacity());
        let mut is_first = true;
        loop {
            let is_enough = state.slots.over(way) >= min;
            let left = timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
            if !is_enough && std::mem::take(&mut state.is_woken) {
                return Ok(state);
            }
            let is_over = is_enough || left == Some(Duration::ZERO);
            // Even who does not wait has a look.
            if is_over && !is_first {
                return Ok(state);
            }
            is_first = false;
            let Some(reading) = state.reading.take() else {
                if is_over {
                    return Ok(state);
                }
                let changed = &self.changed;
                state = match left {
                    Some(left) => {
                        changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                    }
                    None => changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                };
                continue;
            };
            let was_interrupted;
            (state, was_interrupted) = self.read(state, reading, usize::from(!is_over), left)?;
            if was_interrupted {
                return Ok(state);
            }
        }
    }

    /// Takes what is on the ring, after a wait for `min` events without the lock. Says whether a
    /// signal handler has ended it.
    fn read<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        mut reading: Box<Reading>,
        min: usize,
        timeout: Option<Duration>,
    ) -> io::Result<(MutexGuard<'a, State>, bool)> {
        let Reading { reader, events } = &mut *reading;
        let (mut state, answer) = match reader.take(min, events) {
            Some(count) => (state, Ok(count)),
            None => {
                // Before the lock is free: who finds the reader's place empty counts on the poll.
                if min > 0
                    && let Err(error) = state.poll(&self.ring)
                {
                    state.reading = Some(reading);
                    return Err(error);
                }
                drop(state);
                let answer = reader.wait(min, events, timeout, None);
                (self.lock(), answer)
            }
        };
        let mut is_woken = false;
        if let Ok(count) = answer {
            is_woken = absorb(&mut state.slots, &mut events[..count]);
        }
        state.reading = Some(reading);
        // Others that wait may have what they wait for, or one of them has to wait for the kernel.
        self.changed.notify_all();
        if is_woken {
            (state.is_polled, state.is_signalled) = (false, false);
            rustix::io::retry_on_intr(|| rustix::io::read(&self.event, &mut [0u8; 8]))?;
        }
        match answer {
            Ok(_) => Ok((state, false)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok((state, true)),
            Err(error) => Err(error),
        }
    }
}

impl Shared {
    /// Waits for all that the kernel has, and takes all that is over.
    fn end(&mut self) -> io::Result<Vec<Done>> {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut reading = state.reading.take().expect("no thread waits without a handle");
        let Reading { reader, events } = &mut *reading;
        state.slots.end(&mut self.ring, |slots, min| {
            let taken = reader.take(min, events);
            let count = taken.map_or_else(|| reader.wait(min, events, None, None), Ok)?;
            absorb(slots, &mut events[..count]);
            Ok(())
        })
    }
}

impl Drop for Shared {
    /// Blocks until the kernel has let go of every buffer; see io_destroy(2).
    fn drop(&mut self) {
        if self.ring.destroy().is_err() {
            // io_destroy is forbidden, or the process is a forked child: the kernel may still write
            // into the buffers.
            let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            state.slots.leak();
        }
    }
}
