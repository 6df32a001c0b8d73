//! The driver of futures in another loop.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use super::handle::AsyncHandle;
use super::reactor::Reactor;
use crate::sys::Context;
use crate::wakeup::Wakeup;

/// A [`Driver`](super::Driver) that another loop waits for: poll(2), epoll(7), or a runtime's. It
/// has an eventfd(2) that is readable when there is something to do, which [`turn`](Self::turn)
/// does. So it needs no thread of its own.
///
/// ```
/// use linux_aio::future::PollableDriver;
/// use rustix::event::{PollFd, PollFlags, poll};
/// use std::{fs::File, future::Future, os::fd::AsFd, pin::pin, task};
///
/// # fn main() -> std::io::Result<()> {
/// let mut driver = PollableDriver::new(16)?;
/// let mut read = pin!(driver.handle().read(File::open("/dev/zero")?, vec![1; 100], 0));
/// let mut cx = task::Context::from_waker(task::Waker::noop());
/// while read.as_mut().poll(&mut cx).is_pending() {
///     // Other descriptors may stand beside it.
///     poll(&mut [PollFd::new(&driver.as_fd(), PollFlags::IN)], None)?;
///     driver.turn()?;
/// }
/// # Ok(())
/// # }
/// ```
///
/// With tokio, a task waits for it with an `AsyncFd`:
///
/// ```no_run
#[doc = include_str!("../../examples/async_tokio.rs")]
/// ```
///
/// With smol it does so with an `Async`, of a duplicate of the descriptor:
///
/// ```no_run
#[doc = include_str!("../../examples/async_smol.rs")]
/// ```
///
/// Dropping it is as dropping a [`Driver`](super::Driver). The executor has to drop its futures and
/// the driver, in any order: who waits for the others to end first drops the driver last.
pub struct PollableDriver {
    reactor: Reactor,
}

impl fmt::Debug for PollableDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PollableDriver").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

impl PollableDriver {
    /// A driver with a context of its own, for `capacity` operations at a time; more wait for a
    /// place, the first one first. The errors are those of
    /// [`Context::new`](crate::Context::new), and EMFILE or ENFILE without a descriptor for the
    /// eventfd.
    pub fn new(capacity: u32) -> io::Result<Self> {
        let context = Context::with_eventfd(capacity)?;
        let eventfd = context.eventfd().expect("it was made with one");
        let bell = Wakeup::of(Arc::clone(eventfd));
        bell.arm();
        Ok(Self { reactor: Reactor::signalling(context, capacity, bell) })
    }

    /// How many operations fit. Never blocks.
    pub fn capacity(&self) -> usize {
        self.reactor.capacity()
    }

    /// What makes operations, for this thread and for others. Never blocks.
    pub fn handle(&self) -> AsyncHandle {
        self.reactor.handle()
    }

    /// Submits what is queued, and wakes who awaits what is over. Returns how many operations were
    /// over. It waits for none, and makes the descriptor unreadable until there is more to do. It
    /// blocks where io_submit(2) does, see [`Context::submit`](crate::Context::submit). The errors
    /// are those of io_getevents(2), and of the write(2) that wakes the driver. None is to be
    /// expected.
    ///
    /// # Panics
    /// In a forked child, and as the wakers do.
    pub fn turn(&mut self) -> io::Result<usize> {
        let shared = Arc::clone(&self.reactor.shared);
        let lowered = shared.bell.lower();
        let _is_now = shared.take_roused();
        self.reactor.submit();
        let reaped = self.reactor.reap(0, None);
        if self.reactor.has_work() {
            // There are places again.
            self.reactor.submit();
        }
        shared.bell.arm();
        if shared.take_roused() || self.reactor.has_work() {
            shared.bell.wake();
        }
        self.reactor.wake();
        lowered.and(reaped.map(|(count, _)| count))
    }
}

impl AsFd for PollableDriver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.shared.bell.event().as_fd()
    }
}

impl AsRawFd for PollableDriver {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no kernel AIO")]
    fn a_wake_that_cannot_be_written_is_told() {
        // It is not open for writing.
        let bell = Wakeup::of(Arc::new(File::open("/dev/null").unwrap().into()));
        bell.arm();
        let context = Context::with_eventfd(2).unwrap();
        let mut driver = PollableDriver { reactor: Reactor::signalling(context, 2, bell) };
        driver.handle().wake();
        let error = driver.turn().unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
