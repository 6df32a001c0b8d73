//! The driver of futures on a thread that waits for nothing else.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{self, Poll, Wake};
use std::time::Duration;

use super::handle::AsyncHandle;
use super::reactor::Reactor;
use super::shared::Shared;
use crate::kernel::Context;
use crate::sys::{Op, OpKind, PollFlags};
use crate::wakeup::Wakeup;

/// Carries out the operations of an [`AsyncHandle`], with kernel AIO, and wakes those who await
/// them. It is an executor of one future, [`block_on`](Self::block_on); or a part of another
/// executor, [`turn`](Self::turn); or has a thread to itself, [`run`](Self::run).
///
/// Operations that are queued between two turns are submitted together. It needs polls, which the
/// kernel has since 4.19.
///
/// Dropping it waits for what the kernel has, as dropping a [`Context`] does. Futures and streams
/// that wait get what came of their operations; those that the kernel did not have end with
/// ECANCELED, and so do all later ones.
///
/// ```
/// use linux_aio::future::Driver;
/// use std::{fs::File, sync::Arc};
///
/// # fn main() -> std::io::Result<()> {
/// let mut driver = Driver::new(16)?;
/// let handle = driver.handle();
/// let file = Arc::new(File::open("/dev/zero")?);
/// let (result, buffer) = driver.block_on(handle.read(&file, vec![1; 100], 0))?;
/// assert_eq!((result?, buffer), (100, vec![0; 100]));
/// # Ok(())
/// # }
/// ```
pub struct Driver {
    reactor: Reactor,
    /// Whether the context polls the bell.
    is_polled: bool,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("capacity", &self.capacity()).finish_non_exhaustive()
    }
}

/// The waker of the future that a driver is blocked on.
struct Root {
    is_woken: AtomicBool,
    shared: Arc<Shared>,
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Release, and acquire where it is taken: the future sees what happened before the wake.
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.shared.ring();
        }
    }
}

impl Driver {
    /// A driver with a context of its own, for `capacity` operations at a time; more wait for a
    /// place, the first one first. The errors are those of [`Context::new`], and EMFILE or ENFILE
    /// without a descriptor for an eventfd(2); EINVAL where the kernel has no polls.
    pub fn new(capacity: u32) -> io::Result<Self> {
        // One place more, for the poll.
        let context = Context::new(capacity.saturating_add(u32::from(capacity > 0)))?;
        let reactor = Reactor::new(context, capacity, Wakeup::new()?);
        let mut driver = Self { reactor, is_polled: false };
        // A kernel without polls says so now.
        driver.turn(Some(Duration::ZERO))?;
        Ok(driver)
    }

    /// How many operations fit. Never blocks.
    pub fn capacity(&self) -> usize {
        self.reactor.capacity()
    }

    /// What makes operations, for this thread and for others. Never blocks.
    pub fn handle(&self) -> AsyncHandle {
        self.reactor.handle()
    }

    /// Submits what is queued, waits until an operation is over, and wakes who awaits it. Returns
    /// how many were over. The wait ends early after `timeout`, by [`AsyncHandle::wake`], by a
    /// signal handler, and when another thread has queued an operation. An executor calls it when
    /// none of its tasks can go on, or with a `timeout` of zero in between.
    ///
    /// ```
    /// use linux_aio::future::Driver;
    /// use std::{fs::File, future::Future, pin::pin, task, time::Duration};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut driver = Driver::new(4)?;
    /// let mut read = pin!(driver.handle().read(File::open("/dev/zero")?, vec![1; 100], 0));
    /// let mut cx = task::Context::from_waker(task::Waker::noop());
    /// assert!(read.as_mut().poll(&mut cx).is_pending());
    /// while driver.turn(Some(Duration::from_secs(1)))? == 0 {}
    /// assert!(read.poll(&mut cx).is_ready());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It blocks where io_submit(2) does, see [`Context::submit`]. The errors are those of
    /// io_getevents(2), none of which is to be expected.
    ///
    /// # Panics
    /// In a forked child, and as the wakers do.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        self.turn_unless(|| false, timeout)
    }

    /// A [turn](Self::turn) that does not wait if something is due that the bell was rung for.
    fn turn_unless(
        &mut self,
        is_due: impl FnOnce() -> bool,
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let shared = Arc::clone(&self.reactor.shared);
        if !self.is_polled {
            let poll = Op::new(shared.bell.event(), OpKind::Poll(PollFlags::IN));
            self.reactor.queue_own(poll);
            self.is_polled = true;
        }
        self.reactor.submit();
        shared.bell.arm();
        let is_due = is_due() || shared.take_roused() || self.reactor.has_work();
        let min = usize::from(!is_due && timeout != Some(Duration::ZERO));
        let reaped = self.reactor.reap(min, timeout);
        let lowered = shared.bell.lower();
        let (count, own) = reaped?;
        let rung = own.map_or(Ok(()), |poll| {
            self.is_polled = false;
            shared.bell.disarm().and(poll.result.map(drop))
        });
        // Last, since a waker may panic: the bell is polled again in the next turn all the same.
        self.reactor.wake();
        rung.and(lowered).map(|()| count)
    }

    /// Polls a future until it is ready, and drives what it awaits. The future may hold others,
    /// such as an executor's: all that can go on do so, then what they queued is submitted at once.
    /// Other operations of the driver's handles are driven meanwhile. What is in flight at the end
    /// stays so.
    ///
    /// ```
    /// use linux_aio::future::Driver;
    /// use std::{fs::File, sync::Arc};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut driver = Driver::new(4)?;
    /// let handle = driver.handle();
    /// let file = Arc::new(File::options().write(true).open("/dev/null")?);
    /// let written = driver.block_on(async {
    ///     let mut written = 0;
    ///     for text in ["some", "more"] {
    ///         let (result, _text) = handle.write(&file, text.as_bytes(), 0).await;
    ///         written += result?;
    ///     }
    ///     Ok::<_, std::io::Error>(written)
    /// })??;
    /// assert_eq!(written, 8);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The errors are those of [`turn`](Self::turn).
    ///
    /// # Panics
    /// In a forked child, and as the future and the wakers do.
    pub fn block_on<F: Future>(&mut self, future: F) -> io::Result<F::Output> {
        let shared = Arc::clone(&self.reactor.shared);
        let root = Arc::new(Root { is_woken: AtomicBool::new(true), shared });
        let waker = task::Waker::from(Arc::clone(&root));
        let mut cx = task::Context::from_waker(&waker);
        let mut future = pin!(future);
        loop {
            if root.is_woken.swap(false, Ordering::AcqRel)
                && let Poll::Ready(output) = future.as_mut().poll(&mut cx)
            {
                return Ok(output);
            }
            // Relaxed: the bell's fence orders it. A wake that the future has heard of already, as
            // that of the last turn, ends no wait.
            self.turn_unless(|| root.is_woken.load(Ordering::Relaxed), None)?;
        }
    }

    /// Drives until there is no handle, future or stream any more: what a thread of its own does,
    /// so that operations can be awaited in any executor.
    ///
    /// ```
    /// use linux_aio::future::Driver;
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut driver = Driver::new(4)?;
    /// let handle = driver.handle();
    /// let thread = std::thread::spawn(move || driver.run());
    /// // Any other executor would do.
    /// let mut executor = Driver::new(4)?;
    /// let file = std::fs::File::open("/dev/zero")?;
    /// let (result, _buffer) = executor.block_on(handle.read(file, vec![1], 0))?;
    /// assert_eq!(result?, 1);
    /// drop(handle);
    /// thread.join().expect("no panic")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The errors are those of [`turn`](Self::turn).
    ///
    /// # Panics
    /// In a forked child, and as the wakers do.
    pub fn run(&mut self) -> io::Result<()> {
        while self.reactor.is_wanted() {
            self.turn(None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;
    use std::time::Instant;

    use super::*;

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker's");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no kernel AIO")]
    fn what_woke_the_future_ends_no_later_wait() {
        let mut driver = Driver::new(4).unwrap();
        let handle = driver.handle();
        for _ in 0..10 {
            let read = handle.read(File::open("/dev/zero").unwrap(), vec![1], 0);
            assert_eq!(driver.block_on(read).unwrap().0.unwrap(), 1);
            let (reader, mut writer) = std::io::pipe().unwrap();
            let mut poll = pin!(handle.poll(OwnedFd::from(reader), PollFlags::IN));
            let mut cx = task::Context::from_waker(task::Waker::noop());
            assert!(poll.as_mut().poll(&mut cx).is_pending());
            let writing = thread::spawn(move || {
                thread::sleep(Duration::from_millis(20));
                writer.write_all(b"x").unwrap();
                writer
            });
            assert_eq!(driver.turn(None).unwrap(), 1, "it has waited for the poll");
            drop(writing.join().unwrap());
        }
    }

    /// The bell and an operation are over in the same turn, in which a waker panics.
    #[test]
    #[cfg_attr(miri, ignore = "Miri has no kernel AIO")]
    fn a_panic_in_a_waker_leaves_the_bell_polled() {
        let mut driver = Driver::new(4).unwrap();
        let handle = driver.handle();
        let mut read = pin!(handle.read(File::open("/dev/zero").unwrap(), vec![1], 0));
        let waker = task::Waker::from(Arc::new(Panics));
        assert!(read.as_mut().poll(&mut task::Context::from_waker(&waker)).is_pending());
        let bell = &driver.reactor.shared.bell;
        bell.arm();
        bell.wake();
        let turn = || driver.turn(Some(Duration::ZERO));
        assert!(catch_unwind(AssertUnwindSafe(turn)).is_err());
        // Another thread's wake still ends a wait, which has no other end.
        let (reader, _writer) = std::io::pipe().unwrap();
        let mut never = pin!(handle.poll(OwnedFd::from(reader), PollFlags::IN));
        let mut cx = task::Context::from_waker(task::Waker::noop());
        assert!(never.as_mut().poll(&mut cx).is_pending());
        driver.turn(Some(Duration::ZERO)).unwrap();
        driver.turn(Some(Duration::ZERO)).unwrap();
        let begun = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(50));
                handle.wake();
            });
            driver.turn(Some(Duration::from_secs(20))).unwrap();
        });
        assert!(begun.elapsed() < Duration::from_secs(10));
    }
}
