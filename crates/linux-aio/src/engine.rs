//! What all engines have in common.

use std::io;
use std::time::Duration;

use crate::sys::{Done, Full, Op, Submitted};

#[cfg(doc)]
use crate::sys::Context;

/// Something that carries out operations, in any order: what io_submit(2) and io_getevents(2) are
/// to kernel AIO, for all the engines.
///
/// ```
/// use std::{fs::File, os::fd::OwnedFd, sync::Arc};
/// use linux_aio::{Context, Engine, Op, Pool};
///
/// # fn main() -> std::io::Result<()> {
/// let file = Arc::new(OwnedFd::from(File::open("/dev/zero")?));
/// // Any other engine does, such as `Threads::new(1, 4, None)`.
/// let mut engine: Box<dyn Engine> = Box::new(Context::new(4)?);
/// let buffer = Pool::new(1, 4096)?.get().expect("a new pool has buffers");
/// engine.queue(Op::read(file, buffer, 0))?;
/// let mut done = Vec::new();
/// while engine.in_flight() > 0 {
///     engine.submit_and_reap(1, None, &mut done)?;
/// }
/// assert_eq!(*done[0].result.as_ref().unwrap(), 4096);
/// # Ok(())
/// # }
/// ```
pub trait Engine: Send {
    /// Takes an operation. Never blocks. A full engine gives it back in [`Full`], which is no
    /// error: `?` drops it then, and a `match` keeps it.
    ///
    /// ```
    /// use linux_aio::{Context, Engine, Full, Op};
    /// use std::{fs::File, sync::Arc};
    ///
    /// /// Queues as many as there is room for, and keeps the rest.
    /// fn fill(engine: &mut dyn Engine, waiting: &mut Vec<Op>) {
    ///     while let Some(op) = waiting.pop() {
    ///         if let Err(Full(op)) = engine.queue(op) {
    ///             waiting.push(op);
    ///             break;
    ///         }
    ///     }
    /// }
    ///
    /// let file = Arc::new(File::open("/dev/zero")?);
    /// let mut waiting: Vec<Op> = (0..3).map(|n| Op::read(&file, vec![1; 3], n)).collect();
    /// let mut context = Context::new(2)?;
    /// fill(&mut context, &mut waiting);
    /// assert_eq!((context.in_flight(), waiting.len()), (2, 1));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    // The operation is what a caller must not lose; it is as large as it is.
    #[allow(clippy::result_large_err)]
    fn queue(&mut self, op: Op) -> Result<(), Full>;

    /// Starts what is queued. What is refused comes back through [`reap`](Self::reap), with its
    /// error, like all the rest. [`Context`] may block where the kernel does, see io_submit(2); the
    /// others do not.
    fn submit(&mut self) -> Submitted;

    /// Moves finished operations to the end of `out` and says how many. It waits for `min` of them,
    /// or until `timeout` is over, for ever without one. It may return early with fewer, as when a
    /// signal handler runs, and waits for no more than were submitted. With a `min` of 0 it does
    /// not block. The errors of operations are in their [`Done`]. EDEADLK where nothing can come,
    /// since what is in flight was not [submitted](Self::submit): a loop would spin. Another error
    /// of its own is io_getevents(2)'s or aio_suspend(3)'s. They name none for calls as the engines
    /// make them, but a filter of system calls may.
    ///
    /// ```
    /// use linux_aio::{Context, Done, Engine, Op};
    /// use std::fs::File;
    ///
    /// /// Waits for all that was submitted.
    /// fn drain(engine: &mut dyn Engine) -> std::io::Result<Vec<Done>> {
    ///     let mut done = Vec::new();
    ///     while engine.in_flight() > 0 {
    ///         engine.reap(1, None, &mut done)?;
    ///     }
    ///     Ok(done)
    /// }
    ///
    /// let mut context = Context::new(1)?;
    /// context.queue(Op::read(File::open("/dev/zero")?, vec![1; 3], 0))?;
    /// context.submit();
    /// assert_eq!(drain(&mut context)?.len(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize>;

    /// [Submits](Self::submit) and then [reaps](Self::reap): the loop that forgets neither.
    fn submit_and_reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        self.submit();
        self.reap(min, timeout, out)
    }

    /// How many operations are inside: queued, running, or finished and not yet reaped. Never
    /// blocks.
    fn in_flight(&self) -> usize;
}

/// EDEADLK where an engine would wait for what was not submitted.
#[cfg(any(feature = "posix", feature = "sim", feature = "threads"))]
pub(crate) fn check_submitted(min: usize, over: usize, queued: usize) -> io::Result<()> {
    match min > 0 && over == 0 && queued > 0 {
        true => Err(io::Error::from_raw_os_error(libc::EDEADLK)),
        false => Ok(()),
    }
}
