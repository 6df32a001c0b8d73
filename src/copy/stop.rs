//! How a copy is told to stop: what is under way is finished, nothing else is begun.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

type Hook = Box<dyn Fn() + Send>;

/// The wish to stop, which any thread may utter at any time, also before the copy begins.
#[derive(Default)]
pub struct Stop {
    requested: AtomicBool,
    hook: Mutex<Option<Hook>>,
    /// Wakes those who sleep.
    uttered: Condvar,
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("requested", &self.is_requested()).finish_non_exhaustive()
    }
}

impl Stop {
    fn hook(&self) -> MutexGuard<'_, Option<Hook>> {
        self.hook.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the copy. Does not wait until it has.
    pub fn request(&self) {
        let hook = self.hook();
        self.requested.store(true, Ordering::Release);
        if let Some(hook) = &*hook {
            hook();
        }
        self.uttered.notify_all();
    }

    /// Blocks until `moment`, or until the copy is to stop.
    pub(super) fn sleep_until(&self, moment: Instant) {
        let mut hook = self.hook();
        while !self.is_requested()
            && let Some(left) =
                moment.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
        {
            hook = self.uttered.wait_timeout(hook, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Blocks for so long, or until the copy is to stop.
    pub(super) fn sleep(&self, wait: Duration) {
        self.sleep_until(Instant::now() + wait);
    }

    /// Whether the copy is to stop.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Has `hook` called when the copy is to stop; at once if that is known already.
    pub(super) fn on_request(&self, hook: impl Fn() + Send + 'static) {
        let mut place = self.hook();
        if self.is_requested() {
            hook();
        }
        *place = Some(Box::new(hook));
    }
}
