//! How other threads wake the loop that waits in `io_getevents`: an eventfd(2) that the context polls.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

/// An eventfd that is written only when somebody said that it is about to wait.
///
/// The protocol has two sides. A sender publishes its message, then calls [`wake`](Self::wake). The loop calls
/// [`arm`](Self::arm), looks once more for messages, and waits only if there are none. Each side has a sequentially
/// consistent fence between its store (message; `armed`) and its load (`armed`; message), so at least one of
/// them sees the other's: either the loop finds the message, or the sender finds it armed and writes.
pub struct Waker {
    event: Arc<OwnedFd>,
    armed: AtomicBool,
}

impl Waker {
    /// Makes the eventfd. EMFILE or ENFILE when there are too many open files.
    pub fn new() -> io::Result<Self> {
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        Ok(Self { event, armed: AtomicBool::new(false) })
    }

    /// The descriptor that becomes readable.
    pub fn event(&self) -> &Arc<OwnedFd> {
        &self.event
    }

    /// Ends the loop's wait, if it waits. Never blocks; without anybody waiting it makes no system call.
    pub fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.armed.swap(false, Ordering::Relaxed) {
            // A full counter (EAGAIN) is readable already, and nothing else can go wrong with an open eventfd.
            let written = rustix::io::retry_on_intr(|| rustix::io::write(&*self.event, &1u64.to_ne_bytes()));
            debug_assert!(matches!(written, Ok(8) | Err(Errno::AGAIN)), "eventfd: {written:?}");
        }
    }

    /// Announces that the caller is about to wait. Look for messages after this, and before waiting.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Takes the announcement back and makes the descriptor unreadable again. It reads also when nobody took the announcement:
    /// a sender that took an earlier one may have written only now.
    pub fn disarm(&self) -> io::Result<()> {
        self.armed.store(false, Ordering::Relaxed);
        match rustix::io::retry_on_intr(|| rustix::io::read(&*self.event, &mut [0u8; 8])) {
            // EAGAIN: nobody has written, or not yet; a late write ends the next wait early, once.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Blocks until woken: the wait of a loop without a kernel context.
    pub fn wait(&self) -> io::Result<()> {
        let mut fds = [PollFd::new(&*self.event, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
