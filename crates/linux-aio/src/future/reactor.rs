//! The one who has the context: it takes operations from the line, and hands out what is over.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::handle::AsyncHandle;
use super::outbox::Outbox;
use super::registry::Id;
use super::shared::{Link, Shared};
use crate::kernel::{Context, Ticket};
use crate::sys::{Done, Op};
use crate::wakeup::Wakeup;

/// A context, and what its driver shares.
pub struct Reactor {
    pub shared: Arc<Shared>,
    link: Mutex<Weak<Link>>,
    context: Context,
    /// What the context's operations signal.
    eventfd: Option<Arc<OwnedFd>>,
    /// How many operations of futures and streams fit, and how many there are.
    capacity: usize,
    running: usize,
    /// Those of each entry that runs.
    tickets: Vec<Option<Ticket>>,
    done: Vec<Done>,
    outbox: Outbox,
}

impl Reactor {
    pub fn new(context: Context, capacity: u32, bell: Wakeup) -> Self {
        Self {
            shared: Arc::new(Shared::new(bell)),
            link: Mutex::default(),
            context,
            eventfd: None,
            capacity: capacity as usize,
            running: 0,
            tickets: Vec::new(),
            done: Vec::new(),
            outbox: Outbox::default(),
        }
    }

    /// One whose context signals the bell's eventfd.
    pub fn signalling(context: Context, capacity: u32, bell: Wakeup) -> Self {
        let eventfd = Arc::clone(bell.event());
        let mut reactor = Self::new(context, capacity, bell);
        reactor.eventfd = Some(eventfd);
        reactor
    }

    pub fn capacity(&self) -> usize {
        self.capacity
    }

    pub fn handle(&self) -> AsyncHandle {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let known = link.upgrade();
        AsyncHandle(known.unwrap_or_else(|| {
            let new = Arc::new(Link(Arc::clone(&self.shared)));
            *link = Arc::downgrade(&new);
            new
        }))
    }

    /// Whether there is a handle, a future or a stream.
    pub fn is_wanted(&self) -> bool {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).strong_count() > 0
    }

    /// Queues the driver's own operation, with the tag [`OWN`]. There has to be a place for it.
    pub fn queue_own(&mut self, op: Op) {
        self.context.queue(op.tag(OWN)).expect("the driver's own operation has a place");
    }

    /// Gives the context what there are places for, submits it, and cancels what is to be.
    pub fn submit(&mut self) {
        let mut registry = self.shared.lock();
        while self.running < self.capacity {
            let start = |id: Id, op| {
                if id >= self.tickets.len() {
                    self.tickets.resize(id + 1, None);
                }
                self.tickets[id] = Some(self.context.queue(op).expect("there is a place"));
            };
            if !registry.start(self.eventfd.as_ref(), start) {
                break;
            }
            self.running += 1;
        }
        let unwanted = registry.take_unwanted();
        drop(registry);
        self.context.submit();
        for id in unwanted {
            if let Some(ticket) = self.tickets[id] {
                self.cancel(ticket);
            }
        }
    }

    /// Asks for an operation to be cancelled.
    fn cancel(&mut self, ticket: Ticket) {
        // What cannot be cancelled ends by itself.
        let _cancelled = self.context.cancel(ticket);
    }

    /// Whether there is something to submit, or to cancel.
    pub fn has_work(&self) -> bool {
        self.shared.lock().has_work(self.capacity - self.running)
    }

    /// Takes from the context what is over, waiting for `min` operations. Hands back the driver's
    /// own, by its tag.
    pub fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
    ) -> io::Result<(usize, Option<Done>)> {
        self.context.reap(min, timeout, &mut self.done)?;
        Ok(self.hand_out())
    }

    /// Hands out what was taken from the context, and hands back the driver's own.
    fn hand_out(&mut self) -> (usize, Option<Done>) {
        let mut registry = self.shared.lock();
        let (mut count, mut own) = (0, None);
        for done in self.done.drain(..) {
            if done.op.tag == OWN {
                own = Some(done);
            } else {
                self.tickets[done.op.tag as Id] = None;
                registry.finish(done, &mut self.outbox);
                count += 1;
            }
        }
        self.running -= count;
        (count, own)
    }

    /// Wakes those who wait for what was reaped.
    ///
    /// # Panics
    /// As the wakers do.
    pub fn wake(&mut self) {
        self.outbox.send();
    }
}

/// The tag of the driver's own operation. No entry has such a number.
pub const OWN: u64 = u64::MAX;

impl Drop for Reactor {
    /// Blocks until the kernel has let go of every buffer.
    fn drop(&mut self) {
        // A forked child has no context.
        if self.shared.is_inherited() {
            return;
        }
        // Without io_getevents(2) the context's own drop waits, and keeps what is over.
        self.done.extend(self.context.end().into_iter().flatten());
        self.hand_out();
        self.shared.lock().close(&mut self.outbox);
        self.outbox.send();
    }
}
