//! What a driver shares with its handles, futures and streams.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{self, Context, Poll};

use super::outbox::Outbox;
use super::registry::{Id, Owner, Registry, end_unrun};
use crate::sys::{Done, Op, process_number};
use crate::wakeup::Wakeup;

/// The registry, and the bell that ends the driver's wait.
pub struct Shared {
    registry: Mutex<Registry>,
    pub bell: Wakeup,
    /// One wait of the driver is to end early: the present one or the next.
    is_roused: AtomicBool,
    /// The process whose driver it is.
    owner: u64,
}

impl Shared {
    pub fn new(bell: Wakeup) -> Self {
        let (registry, is_roused) = (Mutex::default(), AtomicBool::new(false));
        Self { registry, bell, is_roused, owner: process_number() }
    }

    /// Whether this is a forked child, in which the driver does not exist.
    pub fn is_inherited(&self) -> bool {
        self.owner != process_number()
    }

    /// The registry. What holds the lock calls no code of others.
    ///
    /// # Panics
    /// In a forked child, whose lock may never be free.
    pub fn lock(&self) -> MutexGuard<'_, Registry> {
        assert!(!self.is_inherited(), "a forked child cannot use its parent's driver");
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends one wait of the driver early: the present one, or else the next. In a forked child it
    /// does nothing.
    pub fn rouse(&self) {
        // Relaxed: the bell's fence orders it.
        self.is_roused.store(true, Ordering::Relaxed);
        self.ring();
    }

    /// Has the driver look for what there is to do, if it waits. In a forked child it does nothing.
    pub fn ring(&self) {
        if !self.is_inherited() {
            self.bell.wake();
        }
    }

    /// Whether a wait is to end early, which this one then is.
    pub fn take_roused(&self) -> bool {
        // Relaxed, and first a load: the bell's fence orders it.
        self.is_roused.load(Ordering::Relaxed) && self.is_roused.swap(false, Ordering::Relaxed)
    }

    /// Puts an operation in line. Without a driver it is over.
    // The completion is what the owner must not lose; it is as large as it is.
    #[allow(clippy::result_large_err)]
    pub fn insert(&self, op: Op, owner: Owner) -> Result<Id, Done> {
        let inserted = self.lock().insert(op, owner);
        let (id, is_only) = inserted.map_err(|(op, _owner)| end_unrun(op))?;
        // For another one the bell was rung, or the driver has no place.
        if is_only {
            self.bell.wake();
        }
        Ok(id)
    }

    /// Changes something that the driver may have to act upon.
    pub fn change(&self, change: impl FnOnce(&mut Registry, &mut Outbox)) {
        let mut outbox = Outbox::default();
        let has_work = {
            let mut registry = self.lock();
            change(&mut registry, &mut outbox);
            registry.has_work(0)
        };
        if has_work {
            self.bell.wake();
        }
        outbox.send();
    }

    /// Looks for what a task waits for. Where it is not there yet, the task's waker is left in the
    /// place that the look names. It is cloned and dropped without the lock.
    pub fn look<T>(
        &self,
        cx: &Context<'_>,
        mut look: impl FnMut(&mut Registry) -> Result<T, &mut Option<task::Waker>>,
    ) -> Poll<T> {
        let mut own = None;
        loop {
            let mut registry = self.lock();
            let known = match look(&mut registry) {
                Ok(found) => return Poll::Ready(found),
                Err(place) => place,
            };
            if known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            if let Some(own) = own.take() {
                let other = known.replace(own);
                drop(registry);
                drop(other);
                return Poll::Pending;
            }
            drop(registry);
            own = Some(cx.waker().clone());
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if self.is_inherited() {
            // Another thread may have been changing what this child has a copy of.
            let registry = self.registry.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::take(registry));
        }
    }
}

/// What keeps a driver running: handles, futures and streams.
pub struct Link(pub Arc<Shared>);

impl Drop for Link {
    fn drop(&mut self) {
        // The driver may wait for nothing else.
        self.0.rouse();
    }
}
