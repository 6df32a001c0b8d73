//! How other threads wake the loop that waits in `io_getevents`: an eventfd(2) that the context
//! polls.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

/// An eventfd that is written only when its loop has announced that it is about to wait.
///
/// The protocol has two sides. A sender publishes its message, then calls [`wake`](Self::wake). The
/// loop calls [`arm`](Self::arm), looks once more for messages, and waits only if there are none.
/// Each side has a sequentially consistent fence between its store (message; `armed`) and its load
/// (`armed`; message). So at least one sees the other's store: the loop finds the message, or the
/// sender finds the announcement and writes.
///
/// ```
/// use linux_aio::Wakeup;
/// use std::{sync::{Arc, mpsc}, thread};
///
/// # fn main() -> std::io::Result<()> {
/// let wakeup = Arc::new(Wakeup::new()?);
/// let (sender, messages) = mpsc::channel();
/// let other = thread::spawn({
///     let wakeup = Arc::clone(&wakeup);
///     move || {
///         sender.send("hello").expect("the loop is there");
///         wakeup.wake();
///     }
/// });
/// let message = loop {
///     wakeup.arm();
///     let message = messages.try_recv().ok();
///     if message.is_none() {
///         // A loop with a context polls `wakeup.event()` there, and waits in `reap`.
///         wakeup.wait(None)?;
///     }
///     wakeup.disarm()?;
///     if let Some(message) = message {
///         break message;
///     }
/// };
/// assert_eq!(message, "hello");
/// # other.join().expect("no panic");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Wakeup {
    event: Arc<OwnedFd>,
    armed: AtomicBool,
    /// Why a sender could not write, which the loop hears when it disarms.
    failure: OnceLock<Errno>,
}

impl Wakeup {
    /// Makes the eventfd, see eventfd(2). Never blocks. EMFILE or ENFILE when there are too many
    /// open files.
    pub fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event = Arc::new(rustix::io::retry_on_intr(|| eventfd(0, flags))?);
        Ok(Self { event, armed: AtomicBool::new(false), failure: OnceLock::new() })
    }

    /// One that writes to an eventfd that others write to as well.
    #[cfg(feature = "async")]
    pub(crate) fn of(event: Arc<OwnedFd>) -> Self {
        Self { event, armed: AtomicBool::new(false), failure: OnceLock::new() }
    }

    /// The descriptor that becomes readable, for an [`OpKind::Poll`](super::OpKind::Poll), or
    /// poll(2). Never blocks.
    ///
    /// ```
    /// use linux_aio::{Context, Op, OpKind, PollFlags, Wakeup};
    ///
    /// // A context that other threads wake.
    /// let wakeup = Wakeup::new()?;
    /// let mut context = Context::new(1)?;
    /// context.queue(Op::new(wakeup.event(), OpKind::Poll(PollFlags::IN)))?;
    /// context.submit();
    /// wakeup.arm();
    /// wakeup.wake();
    /// let mut done = Vec::new();
    /// while context.reap(1, None, &mut done)? == 0 {}
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn event(&self) -> &Arc<OwnedFd> {
        &self.event
    }

    /// Ends the loop's wait, if it waits. Never blocks. Without a waiting loop it makes no system
    /// call. A write that fails is the loop's error, see [`disarm`](Self::disarm).
    ///
    /// ```
    /// use linux_aio::Wakeup;
    ///
    /// let wakeup = Wakeup::new()?;
    /// wakeup.arm();
    /// wakeup.wake();
    /// // It was woken, so this does not block.
    /// wakeup.wait(None)?;
    /// wakeup.disarm()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wake(&self) {
        // Relaxed: the fence orders it after the message.
        fence(Ordering::SeqCst);
        if self.armed.swap(false, Ordering::Relaxed) {
            let one = 1u64.to_ne_bytes();
            match rustix::io::retry_on_intr(|| rustix::io::write(&*self.event, &one)) {
                // A full counter (EAGAIN) is readable already.
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => self.fail(error),
            }
        }
    }

    /// Keeps the first failure for the loop, and wakes it by another system call: a filter that
    /// refuses write(2) may let writev(2) pass.
    fn fail(&self, error: Errno) {
        self.failure.get_or_init(|| error);
        let one = 1u64.to_ne_bytes();
        let write = || rustix::io::writev(&*self.event, &[IoSlice::new(&one)]);
        // Without either there is no way to wake the loop. It hears of the first failure when
        // something else ends its wait.
        let _both_failed = rustix::io::retry_on_intr(write).is_err();
    }

    /// Announces that the caller is about to wait. Look for messages after this, and before
    /// waiting. Never blocks.
    pub fn arm(&self) {
        // Relaxed: the fence orders it before the caller's look for messages.
        self.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back, for who is told that the descriptor is readable and
    /// [disarms](Self::disarm) then. Never blocks. The error is that of a sender's write(2).
    #[cfg(feature = "async")]
    pub(crate) fn lower(&self) -> io::Result<()> {
        // Relaxed: as in `disarm`.
        self.armed.store(false, Ordering::Relaxed);
        self.sent()
    }

    /// Whether every sender could write.
    fn sent(&self) -> io::Result<()> {
        self.failure.get().map_or(Ok(()), |&error| Err(error.into()))
    }

    /// Takes the announcement back and makes the descriptor unreadable again. It reads in any case:
    /// a sender that took an earlier announcement may have written only now. Never blocks. The
    /// error is that of read(2), or that of a sender's write(2). Wakes may be lost from then on, so
    /// that the loop has to end.
    pub fn disarm(&self) -> io::Result<()> {
        // Relaxed: a sender that still finds it armed writes for nothing. No message is lost by one
        // that does not, since the loop looks for messages after each `arm`.
        self.armed.store(false, Ordering::Relaxed);
        match rustix::io::retry_on_intr(|| rustix::io::read(&*self.event, &mut [0u8; 8])) {
            // EAGAIN: there was no write, or not yet. A late one ends the next wait early, once.
            Ok(_) | Err(Errno::AGAIN) => self.sent(),
            Err(error) => Err(error.into()),
        }
    }

    /// Blocks until woken, until `timeout` is over, or until a signal handler has run: the wait of
    /// a loop without a kernel context, by poll(2). ENOMEM is its one error.
    ///
    /// ```
    /// use linux_aio::Wakeup;
    /// use std::time::Duration;
    ///
    /// let wakeup = Wakeup::new()?;
    /// wakeup.arm();
    /// // No other thread wakes it, so that the time ends it.
    /// wakeup.wait(Some(Duration::from_millis(1)))?;
    /// wakeup.disarm()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<()> {
        let mut fds = [PollFd::new(&*self.event, PollFlags::IN)];
        // More seconds than there are numbers for are for ever.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_written(wakeup: &Wakeup) -> bool {
        rustix::io::read(&*wakeup.event, &mut [0u8; 8]).is_ok()
    }

    #[test]
    fn only_who_announced_a_wait_is_woken_and_once() {
        let wakeup = Wakeup::new().unwrap();
        wakeup.wake();
        assert!(!is_written(&wakeup), "nothing waits");
        wakeup.arm();
        wakeup.wake();
        wakeup.wake();
        assert!(is_written(&wakeup) && !is_written(&wakeup));
        wakeup.arm();
        wakeup.disarm().unwrap();
        wakeup.wake();
        assert!(!is_written(&wakeup), "the announcement was taken back");
        wakeup.arm();
        wakeup.wake();
        wakeup.disarm().unwrap();
        assert!(!is_written(&wakeup), "disarming takes what was written");
    }

    /// The promise of the two fences: not both can miss the other. Miri tries the orders that a
    /// weaker machine may choose.
    #[test]
    fn a_message_is_seen_or_its_sender_wakes() {
        for round in 0..if cfg!(miri) { 40 } else { 2000 } {
            let wakeup = Wakeup::new().unwrap();
            // Relaxed: the test is of the fences of the wakeup.
            let message = AtomicBool::new(false);
            let send = || {
                message.store(true, Ordering::Relaxed);
                wakeup.wake();
            };
            let look = || {
                wakeup.arm();
                message.load(Ordering::Relaxed)
            };
            // A spawned thread comes later, as a rule, so each side is spawned in its rounds.
            let seen = std::thread::scope(|scope| {
                if round % 2 == 0 {
                    scope.spawn(send);
                    look()
                } else {
                    let seen = scope.spawn(look);
                    send();
                    seen.join().unwrap()
                }
            });
            assert!(seen || is_written(&wakeup), "the loop would wait for ever");
        }
    }
}
