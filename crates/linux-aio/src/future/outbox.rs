//! What is done when no lock is held, since it calls code of others.

use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::Waker;

use crate::sys::{self, Done, Op};

/// What is to be woken, signalled and dropped.
#[derive(Default)]
pub struct Outbox {
    pub wakers: Vec<Waker>,
    /// Those of operations that are over.
    pub eventfds: Vec<Arc<OwnedFd>>,
    /// What is waited for no longer.
    pub unwanted: Vec<Done>,
    pub withdrawn: Vec<Op>,
    pub unused: Vec<Waker>,
}

impl Outbox {
    /// Empties it. A panic in one waker loses no other.
    ///
    /// # Panics
    /// As the wakers do.
    pub fn send(&mut self) {
        for eventfd in self.eventfds.drain(..) {
            sys::signal(&eventfd);
        }
        let mut panicked = None;
        for waker in self.wakers.drain(..) {
            let woken = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            panicked = panicked.or(woken.err());
        }
        self.unwanted.clear();
        self.withdrawn.clear();
        self.unused.clear();
        // A second panic while one unwinds would end the process.
        if let Some(panic) = panicked.filter(|_| !std::thread::panicking()) {
            resume_unwind(panic);
        }
    }
}
