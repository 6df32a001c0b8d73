//! The places of a context's operations, from being queued until they are taken.
//!
//! A place is filled before the kernel gets to know its operation, and is emptied when the kernel
//! has given it back or never had it. In between it owns all that the kernel may touch.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::abi::{IoEvent, Iocb};
use super::done::Done;
use super::eventfd;
use super::iocb::describe;
use super::op::{Op, OpKind, Submitted};
use super::place;
use super::ring::Ring;
use super::ticket::{Cancel, Ticket};

/// How often an empty context submits again when the kernel has no memory for it, and how long it
/// waits in between: a second in all.
const SUBMIT_TRIES: u32 = 1000;
const SUBMIT_PAUSE: Duration = Duration::from_millis(1);

/// Where the operation of a place is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Empty,
    /// Not yet with the kernel.
    Queued,
    /// The kernel cannot be told of it: it is refused when it is submitted.
    Impossible,
    /// With the kernel.
    Submitted,
}

/// A place for one operation, with what is called at its end, if anything is.
struct Slot<C> {
    stage: Stage,
    op: Option<Op>,
    callback: Option<C>,
    /// How many operations it had before, so that an old ticket names nothing.
    generation: u32,
    /// What a vectored operation's iocb points to.
    iovecs: Vec<libc::iovec>,
}

impl<C> Slot<C> {
    fn is_poll(&self) -> bool {
        matches!(self.op, Some(Op { kind: OpKind::Poll(_), .. }))
    }
}

/// How an operation that is over is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is handed over.
    Plain = 0,
    /// Its callback is called.
    Callback = 1,
}

/// How many operations there are, by the way in which they are taken.
#[derive(Default)]
pub struct Tally {
    all: [usize; 2],
    /// Those among them that may stay for ever.
    polls: [usize; 2],
}

impl Tally {
    fn of<C>(slot: &Slot<C>) -> (usize, bool) {
        let way = if slot.callback.is_some() { Way::Callback } else { Way::Plain };
        (way as usize, slot.is_poll())
    }

    fn add<C>(&mut self, slot: &Slot<C>) {
        let (way, is_poll) = Self::of(slot);
        self.all[way] += 1;
        self.polls[way] += usize::from(is_poll);
    }

    fn remove<C>(&mut self, slot: &Slot<C>) {
        let (way, is_poll) = Self::of(slot);
        self.all[way] -= 1;
        self.polls[way] -= usize::from(is_poll);
    }

    pub fn all(&self) -> usize {
        self.all[0] + self.all[1]
    }

    fn sure_to_end(&self) -> usize {
        self.all() - self.polls[0] - self.polls[1]
    }
}

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

    /// With the kernel.
    pub fn submitted(&self) -> usize {
        self.submitted.all()
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
        let slot = &mut self.slots[index as usize];
        let ticket = Ticket { slot: index, generation: slot.generation };
        slot.stage = match describe(&mut op, &mut slot.iovecs) {
            Some(iocb) => {
                *self.iocbs[index as usize].get_mut() = Iocb { data: ticket.pack(), ..iocb };
                Stage::Queued
            }
            None => Stage::Impossible,
        };
        (slot.op, slot.callback) = (Some(op), callback);
        self.queued.add(slot);
        self.queue.push(ticket);
        Ok(ticket)
    }

    fn is(&self, ticket: Ticket, stages: &[Stage]) -> bool {
        self.slots.get(ticket.slot as usize).is_some_and(|slot| {
            slot.generation == ticket.generation && stages.contains(&slot.stage)
        })
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
                slot.stage = Stage::Submitted;
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
    pub fn judge(&mut self, batch: &mut Batch, answer: io::Result<usize>) -> Next {
        let is_full = |error: &io::Error| error.raw_os_error() == Some(libc::EAGAIN);
        match answer {
            Ok(taken) => {
                // No more than there are can have been taken.
                let taken = taken.min(batch.tickets.len() - batch.from);
                batch.outcome.accepted += taken;
                batch.from += taken;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // No ring slot, though we never exceed the capacity: completions have to be reaped
            // first.
            Err(error) if is_full(&error) && self.sure_to_end(batch) > 0 => {
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

    /// How many operations the kernel has, without what is left of a batch, that end by themselves.
    fn sure_to_end(&self, batch: &Batch) -> usize {
        let is_sure = |ticket: &&Ticket| !self.slots[ticket.slot as usize].is_poll();
        let left = batch.tickets[batch.from..].iter().filter(is_sure).count();
        self.submitted.sure_to_end() - left
    }

    /// What became of a batch. What is left of it is queued again.
    pub fn end_batch(&mut self, mut batch: Batch) -> Submitted {
        let left = &batch.tickets[batch.from..];
        for ticket in left {
            let slot = &mut self.slots[ticket.slot as usize];
            slot.stage = Stage::Queued;
            self.submitted.remove(slot);
            self.queued.add(slot);
        }
        self.queue.splice(..0, left.iter().copied());
        let outcome = Submitted { waiting: left.len(), ..batch.outcome };
        batch.clear();
        self.spare_batch = Some(batch);
        outcome
    }

    /// Takes the operations back that the kernel gives back.
    pub fn absorb(&mut self, events: &[IoEvent]) {
        for &IoEvent { data, res, .. } in events {
            let ticket = Ticket::unpack(data);
            assert!(
                self.is(ticket, &[Stage::Submitted]),
                "the kernel gives each operation back once"
            );
            self.finish(ticket.slot, outcome(res), Ended::ByKernel);
        }
    }

    /// Empties a place; its operation is over.
    fn finish(&mut self, index: u32, result: io::Result<usize>, ended: Ended) {
        let slot = &mut self.slots[index as usize];
        let tally = match slot.stage {
            Stage::Submitted => &mut self.submitted,
            _ => &mut self.queued,
        };
        tally.remove(slot);
        slot.stage = Stage::Empty;
        let mut op = slot.op.take().expect("a ticket names a slot that is in use");
        let ticket = Ticket { slot: index, generation: slot.generation };
        slot.generation = slot.generation.wrapping_add(1);
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
            let cancelled = io::Error::from_raw_os_error(libc::ECANCELED);
            self.finish(ticket.slot, Err(cancelled), Ended::Here);
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
        if !self.is(ticket, &[Stage::Submitted]) {
            return Ok(Cancel::Unknown);
        }
        let iocb = self.iocbs[ticket.slot as usize].get();
        // SAFETY: the iocb lives; another thread's io_submit may have it, which is the kernel's to
        // order.
        match unsafe { ring.cancel(iocb) }.map_err(|error| (error.raw_os_error(), error)) {
            Ok(()) | Err((Some(libc::EINPROGRESS), _)) => Ok(Cancel::InProgress),
            Err((Some(libc::EINVAL), _)) => Ok(Cancel::NotCancelled),
            Err((_, error)) => Err(error),
        }
    }

    /// The tickets of all operations that are queued or with the kernel.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        let used = self.slots.iter().zip(0..).filter(|(slot, _)| slot.stage != Stage::Empty);
        used.map(|(slot, index)| Ticket { slot: index, generation: slot.generation })
    }

    /// Leaks all, since the kernel may still write into some of it. Nothing of it is looked at: in
    /// a forked child another thread may have been changing it.
    pub fn leak(&mut self) {
        std::mem::forget(std::mem::replace(self, Self::new(0)));
    }
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
    fn a_result_is_a_count_or_a_negated_errno() {
        assert_eq!(outcome(4096).unwrap(), 4096);
        assert_eq!(outcome(-22).unwrap_err().raw_os_error(), Some(22));
        assert_eq!(outcome(-(1 << 40)).unwrap_err().raw_os_error(), Some(libc::EIO));
    }
}
