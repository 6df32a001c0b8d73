//! A context that another loop can wait for.

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

use super::context::Context;

/// A [`Context`] with an eventfd(2) of its own, for a loop that waits elsewhere: poll(2), epoll(7),
/// or a runtime's.
///
/// The descriptor is readable when something may be over that was not taken yet, and
/// [`reap`](Context::reap) and [`run`](Context::run) make it unreadable when they have taken all.
/// Operations with an eventfd of their own signal that one and not this.
///
/// ```
/// use linux_aio::{Op, kernel::PollableContext};
/// use rustix::event::{PollFd, PollFlags, poll};
/// use std::{fs::File, os::fd::AsFd};
///
/// # fn main() -> std::io::Result<()> {
/// let mut context = PollableContext::new(4)?;
/// context.queue(Op::read(File::open("/dev/zero")?, vec![1; 100], 0))?;
/// context.submit();
/// // Other descriptors may stand beside it.
/// poll(&mut [PollFd::new(&context.as_fd(), PollFlags::IN)], None)?;
/// let mut done = Vec::new();
/// assert_eq!(context.reap(0, None, &mut done)?, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PollableContext {
    context: Context,
    event: Arc<OwnedFd>,
}

impl PollableContext {
    /// A context for `capacity` operations. The errors are those of [`Context::new`], and EMFILE or
    /// ENFILE without a descriptor for the eventfd.
    pub fn new(capacity: u32) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let event = Arc::new(rustix::io::retry_on_intr(|| eventfd(0, flags))?);
        let context = Context::signalling(capacity, Arc::clone(&event))?;
        Ok(Self { context, event })
    }
}

impl Deref for PollableContext {
    type Target = Context;
    fn deref(&self) -> &Context {
        &self.context
    }
}

impl DerefMut for PollableContext {
    fn deref_mut(&mut self) -> &mut Context {
        &mut self.context
    }
}

impl AsFd for PollableContext {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
