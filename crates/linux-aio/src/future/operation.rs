//! The future of an operation.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::registry::{Id, Owner, end_unrun};
use super::shared::Link;
use crate::sys::{Done, Op};

/// An operation that is awaited, and what it gives back: `T`.
///
/// It gets in line when it is first polled. Dropped, it leaves the line and gives its buffer free
/// at once; or, if the kernel has it, it is left to the driver. That asks for it to be cancelled,
/// see io_cancel(2), which ends a poll, and lets reads and writes run. Its buffer is free when the
/// kernel has let go of it.
///
/// Without its driver it ends with ECANCELED. A driver that is neither dropped nor driven leaves it
/// waiting.
///
/// # Panics
/// When it is polled after its end, or in a forked child. Also if the driver was dropped and the
/// kernel did not give the operation back, which none is known to do.
#[must_use = "an operation does nothing before it is polled"]
pub struct Operation<T = Done> {
    link: Arc<Link>,
    stage: Stage,
    finish: fn(Done) -> T,
}

enum Stage {
    /// Not yet in line.
    New(Op),
    /// In line, with the kernel, or over.
    Inside(Id),
    /// It never was in line.
    Cancelled(Done),
    Taken,
}

impl<T> fmt::Debug for Operation<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").finish_non_exhaustive()
    }
}

impl<T> Operation<T> {
    pub(super) fn new(link: Arc<Link>, op: Op, finish: fn(Done) -> T) -> Self {
        Self { link, stage: Stage::New(op), finish }
    }

    /// Asks for it to be cancelled; see io_cancel(2). It is awaited all the same, and says what
    /// came of it. One that the kernel does not have ends with ECANCELED. A poll ends with no
    /// events. Reads and writes that the kernel has run to their end.
    ///
    /// ```
    /// use linux_aio::{PollFlags, future::Driver};
    /// use std::{future::Future, os::fd::OwnedFd, pin::Pin, task};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let mut driver = Driver::new(4)?;
    /// let (reader, _writer) = std::io::pipe()?;
    /// let mut poll = driver.handle().poll(OwnedFd::from(reader), PollFlags::IN);
    /// let mut cx = task::Context::from_waker(task::Waker::noop());
    /// assert!(Pin::new(&mut poll).poll(&mut cx).is_pending());
    /// poll.cancel();
    /// assert!(driver.block_on(poll)?.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel(&mut self) {
        match std::mem::replace(&mut self.stage, Stage::Taken) {
            Stage::New(op) => self.stage = Stage::Cancelled(end_unrun(op)),
            Stage::Inside(id) => {
                self.stage = Stage::Inside(id);
                self.link.0.change(|registry, outbox| registry.cancel(id, outbox));
            }
            over => self.stage = over,
        }
    }
}

impl<T> Future for Operation<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        if let Stage::Inside(id) = self.stage {
            let done = ready!(self.link.0.look(cx, |registry| registry.take(id)));
            self.stage = Stage::Taken;
            return Poll::Ready((self.finish)(done));
        }
        let done = match std::mem::replace(&mut self.stage, Stage::Taken) {
            Stage::New(op) => match self.link.0.insert(op, Owner::Task(Some(cx.waker().clone()))) {
                Ok(id) => {
                    self.stage = Stage::Inside(id);
                    return Poll::Pending;
                }
                Err(done) => done,
            },
            Stage::Cancelled(done) => done,
            Stage::Inside(_) | Stage::Taken => panic!("an operation is awaited once"),
        };
        Poll::Ready((self.finish)(done))
    }
}

impl<T> Drop for Operation<T> {
    fn drop(&mut self) {
        // In a forked child another thread may have had the lock.
        if let Stage::Inside(id) = self.stage
            && !self.link.0.is_inherited()
        {
            self.link.0.change(|registry, outbox| registry.abandon(id, outbox));
        }
    }
}
