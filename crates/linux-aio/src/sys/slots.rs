//! The places of a context's operations, from being queued until they are taken.
//!
//! A place is filled before the kernel gets to know its operation, and is emptied when the kernel
//! has given it back or never had it. In between it owns all that the kernel may touch.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::abi::{IoEvent, Iocb};
use super::done::Done;
use super::eventfd;
use super::iocb::describe;
use super::op::{Op, OpKind, Submitted};
use super::place;
use super::ring::Ring;
use super::slot::{Slot, Stage, Tally, Way};
use super::ticket::{Cancel, Mark, Ticket};

/// How often an empty context submits again when the kernel has no memory for it, and how long it
/// waits in between: a second in all.
const SUBMIT_TRIES: u32 = 1000;
const SUBMIT_PAUSE: Duration = Duration::from_millis(1);

/// The number of the next context.
static NEXT_CONTEXT: AtomicU64 = AtomicU64::new(0);

/// Who ended an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// The kernel, which has signalled its eventfd.
    ByKernel,
    /// This side: it was refused or withdrawn.
    Here,
}

/// All places of a context, and what is over and not yet taken.
pub struct Slots<C> {
    /// The context's number, so that another one's ticket names nothing.
    context: u64,
    slots: Box<[Slot<C>]>,
    /// The kernel reads and writes one while it is submitted or cancelled, and other threads may
    /// use the others meanwhile.
    iocbs: Box<[UnsafeCell<Iocb>]>,
    free: Vec<u32>,
    /// What is not yet with the kernel, in the order of its arrival. A ticket whose operation was
    /// withdrawn stays, and names nothing.
    queue: Vec<Ticket>,
    /// How many such tickets there are.
    withdrawn: usize,
    queued: Tally,
    submitted: Tally,
    /// An empty one, whose memory is used again.
    spare_batch: Option<Batch>,
    /// Operations that are over and not taken yet, refused ones among them.
    finished: VecDeque<Done>,
    /// Those that have callbacks, with them.
    callbacks: VecDeque<(C, Done)>,
    /// What operations signal that have no eventfd of their own.
    eventfd: Option<Arc<OwnedFd>>,
}

// SAFETY: the raw pointers in the iovecs name what the operation beside them owns. Those of the
// spare batch are gone. Any thread of the process may use a context of the kernel.
unsafe impl<C: Send> Send for Slots<C> {}

/// Operations that are handed to the kernel together.
#[derive(Default)]
pub struct Batch {
    tickets: Vec<Ticket>,
    pointers: Vec<*mut Iocb>,
    /// How many the kernel has taken or refused.
    from: usize,
    tries: u32,
    outcome: Submitted,
}

/// What comes after an io_submit(2).
pub enum Next {
    /// The next one.
    Again,
    /// The next one, after a while.
    Pause(Duration),
    /// Nothing.
    Stop,
}

impl Batch {
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty()
    }

    /// io_submit(2) of what is left.
    ///
    /// # Safety
    /// The [`Slots`] that the batch is of live, with all that is in them, until the operations have
    /// come back through [`Slots::absorb`] or io_destroy(2).
    pub unsafe fn submit(&mut self, ring: &Ring) -> io::Result<usize> {
        // SAFETY: the iocbs live as long as the slots. Those that are left are the kernel's alone:
        // a place is filled again only when its operation is over. What they name is owned by the
        // op in their place: reads have an exclusive `Buffer`, writes a `SharedBuffer` that cannot
        // be changed. The op leaves it only after its event was taken, its submission refused, or
        // io_destroy.
        unsafe { ring.submit(&mut self.pointers[self.from..]) }
    }

    fn clear(&mut self) {
        self.tickets.clear();
        self.pointers.clear();
        (self.from, self.tries) = (0, 0);
        self.outcome = Submitted::default();
    }
}

impl<C> Slots<C> {
    pub fn new(capacity: u32) -> Self {
        let count = capacity as usize;
        let empty = |_| Slot {
            stage: Stage::Empty,
            op: None,
            callback: None,
            generation: 0,
            iovecs: Vec::new(),
        };
        Self {
            // Relaxed: that each is taken once is all.
            context: NEXT_CONTEXT.fetch_add(1, Ordering::Relaxed),
            slots: (0..count).map(empty).collect(),
            iocbs: (0..count).map(|_| UnsafeCell::default()).collect(),
            free: (0..capacity).rev().collect(),
            queue: Vec::with_capacity(count),
            withdrawn: 0,
            queued: Tally::default(),
            submitted: Tally::default(),
            spare_batch: None,
            finished: VecDeque::new(),
            callbacks: VecDeque::new(),
            eventfd: None,
        }
    }

    /// Has each operation that comes from now on signal `eventfd`, unless it has one of its own.
    pub fn signal(&mut self, eventfd: Arc<OwnedFd>) {
        self.eventfd = Some(eventfd);
    }

    /// What operations signal that have no eventfd of their own.
    pub fn eventfd(&self) -> Option<&Arc<OwnedFd>> {
        self.eventfd.as_ref()
    }

    /// Makes that eventfd unreadable, before what is over is looked for: what ends later signals it
    /// again.
    pub fn clear_signal(&self) {
        if let Some(eventfd) = &self.eventfd {
            // EAGAIN: it was unreadable.
            let _count = rustix::io::retry_on_intr(|| rustix::io::read(eventfd, &mut [0u8; 8]));
        }
    }

    /// Makes it readable while something is over and not taken, or `may_be_more`.
    pub fn keep_signal(&self, may_be_more: bool) {
        let is_over = !self.finished.is_empty() || !self.callbacks.is_empty();
        if let Some(eventfd) = self.eventfd.as_ref().filter(|_| is_over || may_be_more) {
            eventfd::signal(eventfd);
        }
    }

    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Queued, with the kernel, or over and not yet taken.
    pub fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len() + self.finished.len() + self.callbacks.len()
    }

    /// How many are over and not yet taken.
    pub fn over(&self, way: Way) -> usize {
        match way {
            Way::Plain => self.finished.len(),
            Way::Callback => self.callbacks.len(),
        }
    }

    /// How many of the operations that are with the kernel can be waited for. While others are
    /// queued, a poll cannot: it may wait for what they do.
    pub fn can_end(&self, way: Way) -> usize {
        let submitted = self.submitted.all[way as usize];
        match self.queued.all() {
            0 => submitted,
            _ => submitted - self.submitted.polls[way as usize],
        }
    }

    /// What is over, the oldest first.
    pub fn take(&mut self) -> Option<Done> {
        self.finished.pop_front()
    }

    /// What is over and has a callback, the oldest first.
    pub fn take_callback(&mut self) -> Option<(C, Done)> {
        self.callbacks.pop_front()
    }

    /// Fills a place. Where there is none, operation and callback come back.
    #[allow(clippy::result_large_err)]
    pub fn insert(&mut self, mut op: Op, callback: Option<C>) -> Result<Ticket, (Op, Option<C>)> {
        // What is over and not yet taken counts too, or a caller who never reaps could fill the
        // memory.
        if self.in_flight() >= self.capacity() {
            return Err((op, callback));
        }
        let Some(index) = self.free.pop() else { return Err((op, callback)) };
        op.eventfd = op.eventfd.take().or_else(|| self.eventfd.clone());
        let ticket = self.ticket(index);
        let slot = &mut self.slots[index as usize];
        slot.stage = match describe(&mut op, &mut slot.iovecs) {
            Some(iocb) => {
                let data = Mark::of(index, slot.generation).pack();
                *self.iocbs[index as usize].get_mut() = Iocb { data, ..iocb };
                Stage::Queued
            }
            None => Stage::Impossible,
        };
        (slot.op, slot.callback) = (Some(op), callback);
        self.queued.add(slot);
        self.queue.push(ticket);
        Ok(ticket)
    }

    /// The name of the operation in a place.
    fn ticket(&self, index: u32) -> Ticket {
        let generation = self.slots[index as usize].generation;
        Ticket { context: self.context, slot: index, generation }
    }

    /// Whether a ticket names an operation here, in one of these stages.
    fn is(&self, ticket: Ticket, stages: &[Stage]) -> bool {
        let is_named =
            |slot: &Slot<C>| slot.generation == ticket.generation && stages.contains(&slot.stage);
        ticket.context == self.context && self.slots.get(ticket.slot as usize).is_some_and(is_named)
    }

    /// Takes what is queued for a batch. From now on it counts as the kernel's, which may give it
    /// back before io_submit(2) has returned.
    pub fn start_batch(&mut self) -> Batch {
        let mut batch = self.spare_batch.take().unwrap_or_default();
        self.withdrawn = 0;
        let mut queue = std::mem::take(&mut self.queue);
        for ticket in queue.drain(..) {
            if self.is(ticket, &[Stage::Impossible]) {
                batch.outcome.refused += 1;
                let invalid = io::Error::from_raw_os_error(libc::EINVAL);
                self.finish(ticket.slot, Err(invalid), Ended::Here);
            } else if self.is(ticket, &[Stage::Queued]) {
                let slot = &mut self.slots[ticket.slot as usize];
                slot.stage = Stage::Submitting;
                self.queued.remove(slot);
                self.submitted.add(slot);
                batch.tickets.push(ticket);
                batch.pointers.push(self.iocbs[ticket.slot as usize].get());
            }
        }
        self.queue = queue;
        batch
    }

    /// Notes what io_submit(2) has answered to a batch, and says whether it is to be asked again.
    pub fn judge(&mut self, ring: &Ring, batch: &mut Batch, answer: io::Result<usize>) -> Next {
        let is_full = |error: &io::Error| error.raw_os_error() == Some(libc::EAGAIN);
        match answer {
            Ok(taken) => {
                // No more than there are can have been taken.
                let taken = taken.min(batch.tickets.len() - batch.from);
                for at in batch.from..batch.from + taken {
                    self.accept(ring, batch.tickets[at]);
                }
                batch.outcome.accepted += taken;
                batch.from += taken;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // No ring slot, though we never exceed the capacity: completions have to be reaped
            // first.
            Err(error) if is_full(&error) && self.has_sure_to_end() => {
                return Next::Stop;
            }
            // Nothing to reap either: the kernel is out of memory for the moment. It is given one
            // before the operation counts as refused.
            Err(error) if is_full(&error) && batch.tries < SUBMIT_TRIES => {
                batch.tries += 1;
                return Next::Pause(SUBMIT_PAUSE);
            }
            // An error speaks of the first operation alone; the others are still ours to submit.
            Err(error) => {
                let index = batch.tickets[batch.from].slot;
                let error = self.explained(index, error);
                self.finish(index, Err(error), Ended::Here);
                batch.outcome.refused += 1;
                batch.from += 1;
            }
        }
        if batch.from < batch.tickets.len() { Next::Again } else { Next::Stop }
    }

    /// Notes that the kernel has an operation. It may have given it back by now.
    fn accept(&mut self, ring: &Ring, ticket: Ticket) {
        if self.is(ticket, &[Stage::Submitting, Stage::Cancelling]) {
            let slot = &mut self.slots[ticket.slot as usize];
            if std::mem::replace(&mut slot.stage, Stage::Submitted) == Stage::Cancelling {
                // What cannot be cancelled ends by itself.
                let _cancelled = self.cancel(ring, ticket);
            }
        }
    }

    /// A refusal as pread(2) would say it.
    fn explained(&self, index: u32, error: io::Error) -> io::Error {
        match &self.slots[index as usize].op {
            Some(Op { kind: OpKind::Read(_) | OpKind::ReadVectored(_), file, .. })
                if error.raw_os_error() == Some(libc::EINVAL) && place::is_directory(file) =>
            {
                io::Error::from_raw_os_error(libc::EISDIR)
            }
            _ => error,
        }
    }

    /// Whether the kernel has an operation that ends by itself. What another thread is handing over
    /// just now is not sure to be taken.
    fn has_sure_to_end(&self) -> bool {
        self.slots.iter().any(|slot| slot.stage == Stage::Submitted && !slot.is_poll())
    }

    /// What became of a batch. What is left of it is queued again, or withdrawn if it was to be
    /// cancelled.
    pub fn end_batch(&mut self, mut batch: Batch) -> Submitted {
        batch.tickets.drain(..batch.from);
        batch.tickets.retain(|ticket| {
            let slot = &mut self.slots[ticket.slot as usize];
            if slot.stage == Stage::Cancelling {
                self.finish(ticket.slot, Err(cancelled()), Ended::Here);
                return false;
            }
            slot.stage = Stage::Queued;
            self.submitted.remove(slot);
            self.queued.add(slot);
            true
        });
        self.queue.splice(..0, batch.tickets.iter().copied());
        let outcome = Submitted { waiting: batch.tickets.len(), ..batch.outcome };
        batch.clear();
        self.spare_batch = Some(batch);
        outcome
    }

    /// Takes the operations back that the kernel gives back.
    pub fn absorb(&mut self, events: &[IoEvent]) {
        for &IoEvent { data, res, .. } in events {
            let mark = Mark::unpack(data);
            let is_lent = |slot: &Slot<C>| {
                Mark::of(mark.slot, slot.generation) == mark && Stage::LENT.contains(&slot.stage)
            };
            assert!(
                self.slots.get(mark.slot as usize).is_some_and(is_lent),
                "the kernel gives each operation back once"
            );
            self.finish(mark.slot, outcome(res), Ended::ByKernel);
        }
    }

    /// Empties a place; its operation is over.
    fn finish(&mut self, index: u32, result: io::Result<usize>, ended: Ended) {
        let ticket = self.ticket(index);
        let slot = &mut self.slots[index as usize];
        let tally = match Stage::LENT.contains(&slot.stage) {
            true => &mut self.submitted,
            false => &mut self.queued,
        };
        tally.remove(slot);
        slot.stage = Stage::Empty;
        let mut op = slot.op.take().expect("a ticket names a slot that is in use");
        slot.generation += 1;
        self.free.push(index);
        let eventfd = op.eventfd.clone().filter(|_| ended == Ended::Here);
        // The operation goes back as it came.
        let is_own =
            |own: &Arc<OwnedFd>| op.eventfd.as_ref().is_some_and(|fd| Arc::ptr_eq(fd, own));
        if self.eventfd.as_ref().is_some_and(is_own) {
            op.eventfd = None;
        }
        let done = Done { ticket: Some(ticket), ..Done::new(op, result) };
        match slot.callback.take() {
            Some(callback) => self.callbacks.push_back((callback, done)),
            None => self.finished.push_back(done),
        }
        if let Some(eventfd) = eventfd {
            eventfd::signal(&eventfd);
        }
    }

    /// Asks for an operation to be cancelled, see [`Context::cancel`].
    ///
    /// [`Context::cancel`]: super::Context::cancel
    pub fn cancel(&mut self, ring: &Ring, ticket: Ticket) -> io::Result<Cancel> {
        if self.is(ticket, &[Stage::Queued, Stage::Impossible]) {
            self.finish(ticket.slot, Err(cancelled()), Ended::Here);
            self.withdrawn += 1;
            // The tickets of withdrawn operations are left out when they are most of the queue, so
            // that each costs little, and they do not pile up.
            if self.withdrawn > self.queue.len() / 2 {
                let mut queue = std::mem::take(&mut self.queue);
                queue.retain(|&ticket| self.is(ticket, &[Stage::Queued, Stage::Impossible]));
                (self.queue, self.withdrawn) = (queue, 0);
            }
            return Ok(Cancel::Withdrawn);
        }
        if !self.is(ticket, &Stage::LENT) {
            return Ok(Cancel::Unknown);
        }
        let iocb = self.iocbs[ticket.slot as usize].get();
        // SAFETY: the iocb lives; another thread's io_submit may have it, which is the kernel's to
        // order.
        match unsafe { ring.cancel(iocb) }.map_err(|error| (error.raw_os_error(), error)) {
            Ok(()) | Err((Some(libc::EINPROGRESS), _)) => Ok(Cancel::InProgress),
            Err((Some(libc::EINVAL), _)) => {
                let slot = &mut self.slots[ticket.slot as usize];
                if slot.stage == Stage::Submitted {
                    return Ok(Cancel::NotCancelled);
                }
                // The kernel may get it only now.
                slot.stage = Stage::Cancelling;
                Ok(Cancel::Deferred)
            }
            Err((_, error)) => Err(error),
        }
    }

    /// Asks for all operations to be cancelled that are queued or with the kernel. False if that
    /// was refused for a poll, which may then stay for ever; what else stays ends by itself.
    fn cancel_all(&mut self, ring: &Ring) -> bool {
        let mut is_asked = true;
        for index in (0..).take(self.slots.len()) {
            let slot = &self.slots[index as usize];
            if slot.stage != Stage::Empty {
                let is_poll = slot.is_poll();
                is_asked &= self.cancel(ring, self.ticket(index)).is_ok() || !is_poll;
            }
        }
        is_asked
    }

    /// Ends the context, and hands out all operations. `absorb` takes events off the ring, after a
    /// wait for as many as it is told.
    ///
    /// Where io_cancel(2) is refused, as by a sandbox, the polls are what is left at last. Then
    /// io_destroy(2) cancels them, and their answer is the one of a cancelled poll.
    pub fn end(
        &mut self,
        ring: &mut Ring,
        mut absorb: impl FnMut(&mut Self, usize) -> io::Result<()>,
    ) -> io::Result<Vec<Done>> {
        let can_cancel = self.cancel_all(ring);
        loop {
            let staying = if can_cancel { 0 } else { self.submitted.all_polls() };
            let ending = self.submitted.all() - staying;
            // Also the last time, since a poll may be over meanwhile.
            match absorb(self, ending.min(1)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                absorbed => absorbed?,
            }
            if ending == 0 {
                break;
            }
        }
        if self.submitted.all() > 0 {
            ring.destroy()?;
            for index in (0..).take(self.slots.len()) {
                if Stage::LENT.contains(&self.slots[index as usize].stage) {
                    self.finish(index, Ok(0), Ended::ByKernel);
                }
            }
        }
        Ok(self.take_all())
    }

    /// All that is over, with callbacks and without.
    fn take_all(&mut self) -> Vec<Done> {
        let called = self.callbacks.drain(..).map(|(_, done)| done);
        called.chain(self.finished.drain(..)).collect()
    }

    /// Leaks all, since the kernel may still write into some of it. Nothing of it is looked at: in
    /// a forked child another thread may have been changing it.
    pub fn leak(&mut self) {
        std::mem::forget(std::mem::replace(self, Self::new(0)));
    }
}

fn cancelled() -> io::Error {
    io::Error::from_raw_os_error(libc::ECANCELED)
}

/// `res` of an event: a count, or a negated errno.
fn outcome(res: i64) -> io::Result<usize> {
    usize::try_from(res)
        .map_err(|_| io::Error::from_raw_os_error(i32::try_from(-res).unwrap_or(libc::EIO)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no kernel AIO")]
    fn what_is_to_be_cancelled_and_found_no_room_is_withdrawn() {
        let (mut ring, _reader) = Ring::new(2).unwrap();
        let mut slots = Slots::<()>::new(2);
        let mut insert = || {
            let op = Op::new(std::fs::File::open("/dev/null").unwrap(), OpKind::Fsync);
            slots.insert(op, None).map_err(drop).expect("there is room")
        };
        let (first, second) = (insert(), insert());
        let batch = slots.start_batch();
        assert_eq!(slots.cancel(&ring, first).unwrap(), Cancel::Deferred);
        // The kernel has taken none of them.
        assert_eq!(slots.end_batch(batch), Submitted::default().waiting(1));
        let done = slots.take().unwrap();
        assert_eq!(done.ticket, Some(first));
        assert_eq!(done.result.unwrap_err().raw_os_error(), Some(libc::ECANCELED));
        assert_eq!(slots.cancel(&ring, second).unwrap(), Cancel::Withdrawn);
        assert_eq!(slots.take_all().len(), 1);
        assert_eq!((slots.in_flight(), slots.submitted.all()), (0, 0));
        ring.destroy().unwrap();
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no kernel AIO")]
    fn of_two_that_find_no_room_at_once_neither_waits_for_the_other() {
        let (mut ring, _reader) = Ring::new(2).unwrap();
        let mut slots = Slots::<()>::new(2);
        let mut start = || {
            let op = Op::new(std::fs::File::open("/dev/null").unwrap(), OpKind::Fsync);
            slots.insert(op, None).map_err(drop).expect("there is room");
            slots.start_batch()
        };
        let (mut first, mut second) = (start(), start());
        let full = || Err(io::Error::from_raw_os_error(libc::EAGAIN));
        assert!(matches!(slots.judge(&ring, &mut first, full()), Next::Pause(_)));
        // What the kernel has makes room when it ends.
        assert!(matches!(slots.judge(&ring, &mut second, Ok(1)), Next::Stop));
        assert!(matches!(slots.judge(&ring, &mut first, full()), Next::Stop));
        assert_eq!(slots.end_batch(first), Submitted::default().waiting(1));
        assert_eq!(slots.end_batch(second), Submitted::default().accepted(1));
        ring.destroy().unwrap();
    }

    #[test]
    fn a_result_is_a_count_or_a_negated_errno() {
        assert_eq!(outcome(4096).unwrap(), 4096);
        assert_eq!(outcome(-22).unwrap_err().raw_os_error(), Some(22));
        assert_eq!(outcome(-(1 << 40)).unwrap_err().raw_os_error(), Some(libc::EIO));
    }
}
