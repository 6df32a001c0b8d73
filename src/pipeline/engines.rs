//! The engines behind the pipeline, and the one place where its loop waits.
//!
//! Direct descriptors, fsyncs and the wakeup's poll go to one kernel AIO context. Everything else
//! goes to a second engine, since io_submit would do it all itself before it returned. So does
//! everything where there is no context, or none yet.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::transfer::Limits;
use crate::report::{Meter, Totals};
use linux_aio::{Context, Done, Engine, Full, Op, OpKind, PollFlags, Posix, Threads, Wakeup};

/// Fsyncs that may be in the context beside the data.
pub const SYNCS_MAX: usize = 256;
/// Threads for what is not for the kernel: enough to hide the latency of a network filesystem, and
/// cheap when idle.
const IO_THREADS: usize = 16;
/// How often in a row the kernel may refuse the wakeup's poll before the loop gives up.
const POLL_REFUSALS_MAX: u32 = 8;
/// How long the loop waits at most while glibc's threads are at work: glibc loses a callback for
/// which it cannot make a thread.
const LOST_CALLBACK: Duration = Duration::from_millis(100);
/// The tag of the wakeup's poll, which no other operation has.
const WAKE_TAG: u64 = u64::MAX;

/// The engine that moves the blocks of big files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// Kernel AIO, or threads where it cannot be had.
    #[default]
    Auto,
    /// Kernel AIO for what is direct, or no copy.
    Kernel,
    /// glibc's POSIX AIO for everything that the loop carries out.
    Posix,
    /// Threads that call pread, pwrite and fsync for all of it.
    Threads,
}

/// Whether an operation's descriptor has `O_DIRECT`, or a page cache serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoPath {
    /// It goes to the device.
    Direct,
    /// It goes to the page cache.
    Cached,
}

impl IoPath {
    /// That of a descriptor that is direct, or is not.
    pub fn of(is_direct: bool) -> Self {
        if is_direct { Self::Direct } else { Self::Cached }
    }
}

/// The engines of one pipeline.
pub struct Engines {
    kernel: Option<Context>,
    /// Made with the first operation that is not for the kernel.
    other: Option<Box<dyn Engine>>,
    kind: EngineKind,
    limits: Limits,
    wakeup: Arc<Wakeup>,
    /// Whether the wakeup's poll is in the context.
    polling: bool,
    /// How often in a row it was refused.
    poll_refusals: u32,
    data_in_kernel: usize,
    /// Threads could not be made, so that the loop itself carries out what is not for the kernel.
    no_threads: bool,
    /// What it carried out.
    carried_out: Vec<Done>,
    meter: Arc<Meter>,
}

impl Engines {
    /// Those of a kind, without a context.
    pub fn new(kind: EngineKind, limits: Limits, wakeup: Arc<Wakeup>, meter: Arc<Meter>) -> Self {
        Self {
            kernel: None,
            other: None,
            kind,
            limits,
            wakeup,
            polling: false,
            poll_refusals: 0,
            data_in_kernel: 0,
            no_threads: false,
            carried_out: Vec::new(),
            meter,
        }
    }

    /// Takes a context, through which direct descriptors and syncs go from now on.
    pub fn adopt(&mut self, Polled { context, polling }: Polled) {
        self.kernel = Some(context);
        self.polling = polling;
    }

    /// One engine for everything, to test the loop with.
    #[cfg(test)]
    pub fn of(engine: Box<dyn Engine>, limits: Limits, wakeup: Arc<Wakeup>) -> Self {
        Self {
            other: Some(engine),
            ..Self::new(EngineKind::Threads, limits, wakeup, Arc::default())
        }
    }

    /// Takes an operation, or gives it back if there is no room before something has been waited
    /// for.
    pub fn queue(&mut self, op: Op, path: IoPath) -> Option<Op> {
        let is_data = is_data(&op.kind);
        match &mut self.kernel {
            Some(kernel) if path == IoPath::Direct || !is_data => {
                let refused = kernel.queue(op).err().map(|Full(op)| op);
                self.data_in_kernel += usize::from(is_data && refused.is_none());
                refused
            }
            _ => match self.other() {
                Some(other) => other.queue(op).err().map(|Full(op)| op),
                None => {
                    self.carried_out.push(op.perform());
                    None
                }
            },
        }
    }

    /// The second engine; none where its threads could not be made, which is tried once.
    fn other(&mut self) -> Option<&mut (dyn Engine + 'static)> {
        if self.other.is_none() && !self.no_threads {
            let capacity = self.limits.queue_depth + SYNCS_MAX;
            self.other = match self.kind {
                EngineKind::Posix => {
                    let wakeup = Some(Arc::clone(&self.wakeup));
                    Some(Box::new(Posix::new(capacity, wakeup)))
                }
                _ => self.make_threads(capacity).map(|threads| Box::new(threads) as _),
            };
            self.no_threads = self.other.is_none();
        }
        self.other.as_deref_mut()
    }

    /// As many threads as can be made.
    fn make_threads(&self, capacity: usize) -> Option<Threads> {
        let mut count = self.limits.budget.io_threads(IO_THREADS, &self.meter);
        while count > 0 {
            if let Ok(threads) = Threads::new(count, capacity, Some(Arc::clone(&self.wakeup))) {
                return Some(threads);
            }
            Totals::add(&self.meter.missing_threads, 1);
            count /= 2;
        }
        None
    }

    /// Hands out what is queued, waits until something is over or the wakeup is woken, and adds
    /// what is over to `done`. It does not wait if `has_news` says that there is something else to
    /// do. With much in the kernel it waits for several completions at once, so that the next
    /// submission is a batch. It waits no longer than `timeout`, if there is one.
    ///
    /// An error is one of waiting or of waking, and final: from then on nothing is sure to end a
    /// wait.
    pub fn wait(
        &mut self,
        has_news: impl Fn() -> bool,
        timeout: Option<Duration>,
        done: &mut Vec<Done>,
    ) -> io::Result<()> {
        done.append(&mut self.carried_out);
        if let Some(other) = &mut self.other {
            other.submit();
        }
        let patient = self.other.as_ref().is_none_or(|other| other.in_flight() == 0);
        let many =
            self.data_in_kernel >= self.limits.queue_depth.div_ceil(4) && self.data_in_kernel >= 2;
        if many && patient && done.is_empty() {
            return self.reap_kernel((self.data_in_kernel / 4).clamp(1, 8), timeout, done);
        }
        if let Some(kernel) = &mut self.kernel
            && !self.polling
        {
            // A full ring leaves no room for the poll, but then it has completions to wait for.
            self.polling = kernel.queue(wake_poll(&self.wakeup)).is_ok();
        }
        self.wakeup.arm();
        self.reap_other(done)?;
        let ready = !done.is_empty() || has_news();
        if self.kernel.is_some() {
            self.reap_kernel(usize::from(!ready), timeout, done)?;
        } else if !ready {
            self.wakeup.wait(self.bounded(timeout))?;
        }
        self.wakeup.disarm()?;
        self.reap_other(done)
    }

    /// The time-out of a wait that only a wake ends.
    fn bounded(&self, timeout: Option<Duration>) -> Option<Duration> {
        let in_flight = self.other.as_ref().is_some_and(|other| other.in_flight() > 0);
        match self.kind {
            EngineKind::Posix if in_flight => {
                Some(timeout.map_or(LOST_CALLBACK, |timeout| timeout.min(LOST_CALLBACK)))
            }
            _ => timeout,
        }
    }

    fn reap_kernel(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        done: &mut Vec<Done>,
    ) -> io::Result<()> {
        let before = done.len();
        if let Some(kernel) = &mut self.kernel {
            kernel.submit();
            kernel.reap(min, timeout, done)?;
        }
        self.data_in_kernel -= done[before..].iter().filter(|done| is_data(&done.op.kind)).count();
        if let Some(at) = done.iter().position(|done| done.op.tag == WAKE_TAG) {
            self.polling = false;
            return self.judge_poll(done.swap_remove(at).result);
        }
        Ok(())
    }

    /// A poll that was refused is tried again, but not for ever: without it the loop would go round
    /// without a pause.
    fn judge_poll(&mut self, result: io::Result<usize>) -> io::Result<()> {
        match result {
            Ok(_) => self.poll_refusals = 0,
            // The context has tried for a second.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => return Err(error),
            Err(error) if self.poll_refusals == POLL_REFUSALS_MAX => return Err(error),
            Err(_) => self.poll_refusals += 1,
        }
        Ok(())
    }

    /// Blocks until every operation is over that was handed out, as far as the engines let it be
    /// known.
    pub fn end(self) {
        let Self { mut other, kernel, .. } = self;
        // The kernel's are waited for by io_destroy(2).
        drop(kernel);
        while let Some(other) = &mut other
            && other.in_flight() > 0
            && other.reap(other.in_flight(), None, &mut Vec::new()).is_ok()
        {}
    }

    fn reap_other(&mut self, done: &mut Vec<Done>) -> io::Result<()> {
        self.other.as_mut().map_or(Ok(0), |other| other.reap(0, None, done)).map(drop)
    }
}

/// Whether an operation moves data.
pub fn is_data(kind: &OpKind) -> bool {
    matches!(kind, OpKind::Read(_) | OpKind::Write(_))
}

/// A context that polls the wakeup.
pub struct Polled {
    context: Context,
    /// Whether it still does: it may have been woken already.
    polling: bool,
}

/// A context for the data, the syncs and the wakeup's poll; smaller when the host has few
/// operations left. The poll is in it already: without polls (Linux before 4.18, some sandboxes)
/// the loop could not be woken, and threads serve better.
pub fn open_context(queue_depth: usize, wakeup: &Wakeup) -> io::Result<Polled> {
    let capacity = |syncs: usize| u32::try_from(queue_depth + syncs + 1).unwrap_or(u32::MAX);
    let mut context = Context::new(capacity(SYNCS_MAX)).or_else(|_| Context::new(capacity(8)))?;
    let refused = context.queue(wake_poll(wakeup));
    debug_assert!(refused.is_ok(), "a new context has room");
    context.submit();
    let mut done = Vec::new();
    context.reap(0, None, &mut done)?;
    match done.pop() {
        Some(Done { result: Err(error), .. }) => Err(error),
        woken => Ok(Polled { context, polling: woken.is_none() }),
    }
}

fn wake_poll(wakeup: &Wakeup) -> Op {
    Op::new(Arc::clone(wakeup.event()), OpKind::Poll(PollFlags::IN)).tag(WAKE_TAG)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::pipeline::Budget;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no kernel AIO")]
    fn a_context_whose_poll_is_over_before_it_is_adopted_can_be_woken_again() {
        const LONG: Duration = Duration::from_secs(20);
        for woken_early in [false, true] {
            let wakeup = Arc::new(Wakeup::new().unwrap());
            let limits = Limits { queue_depth: 4, block_bytes: 4096, budget: Budget::default() };
            let mut engines =
                Engines::new(EngineKind::Auto, limits, Arc::clone(&wakeup), Arc::default());
            wakeup.arm();
            if woken_early {
                wakeup.wake();
            }
            let polled = open_context(4, &wakeup).unwrap();
            assert_eq!(polled.polling, !woken_early);
            wakeup.disarm().unwrap();
            engines.adopt(polled);
            let begun = Instant::now();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(20));
                    wakeup.wake();
                });
                engines.wait(|| false, Some(LONG), &mut Vec::new()).unwrap();
            });
            assert!(begun.elapsed() < LONG / 2, "woken early: {woken_early}");
        }
    }
}
