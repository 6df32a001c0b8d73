//! A pool of threads that call pread(2), pwrite(2) and fsync(2): the [`Engine`] for files that the
//! page cache serves.
//!
//! # What it is good for
//!
//! Every descriptor for which [`Context::submit`](super::Context::submit) would do the work itself:
//! buffered files, tmpfs, btrfs with checksums, FUSE, network filesystems. Also where a sandbox
//! forbids kernel AIO. Vectors and `RWF_*` flags are carried out (preadv2(2), pwritev2(2)); polls,
//! priorities and eventfds are refused (EOPNOTSUPP). Its depth on one file is its number of
//! threads. At 1 MiB × 16 it read a disk direct as fast as kernel AIO. At 4 KiB × 128 it did 72,000
//! operations a second with 0.90 of a core, and kernel AIO 185,000 with 0.39. The table is in
//! [the package's page](super#which-engine).

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::engine::{Engine, check_submitted};
use crate::sys::{Done, Full, Op, Submitted, process_number};
use crate::wakeup::Wakeup;

/// Operations that are over, and the way to wait for them.
struct Completions {
    list: Mutex<Vec<Done>>,
    arrived: Condvar,
    wakeup: Option<Arc<Wakeup>>,
}

impl Completions {
    fn add(&self, done: Done) {
        let eventfd = done.op.eventfd.clone();
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(done);
        self.arrived.notify_one();
        if let Some(wakeup) = &self.wakeup {
            wakeup.wake();
        }
        // The operation was refused for it, and who has it may wait for it.
        if let Some(eventfd) = eventfd {
            crate::sys::signal(&eventfd);
        }
    }
}

/// A pool of threads; see pthreads(7). Dropping it waits for the operations in flight, and drops
/// them. A forked child has no threads: there, all but a drop panics, and a drop leaks.
///
/// ```
/// use linux_aio::{Engine, Op, Threads};
/// use std::{fs::File, sync::Arc};
///
/// let file = Arc::new(File::open("/proc/self/status")?);
/// let mut engine = Threads::new(2, 4, None)?;
/// for offset_bytes in [0, 4] {
///     engine.queue(Op::read(&file, vec![0; 4], offset_bytes).tag(offset_bytes))?;
/// }
/// let mut done = Vec::new();
/// while engine.in_flight() > 0 {
///     engine.submit_and_reap(1, None, &mut done)?;
/// }
/// // They come back in any order.
/// done.sort_by_key(|done| done.op.tag);
/// assert_eq!(done[0].bytes(), Some(&b"Name"[..]));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Threads {
    work: Option<Sender<Op>>,
    finished: Arc<Completions>,
    threads: Vec<JoinHandle<()>>,
    capacity: usize,
    queued: Vec<Op>,
    /// Submitted and not reaped.
    running: usize,
    /// The process whose threads these are.
    owner: u64,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Threads")
            .field("capacity", &self.capacity)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Threads {
    /// Makes `threads` threads for at most `capacity` operations. `wakeup` is signalled after each
    /// one that ends, for those who wait elsewhere than in [`reap`](Engine::reap). EAGAIN when a
    /// thread cannot be made, see pthread_create(3). Without a thread every operation is refused
    /// (ECANCELED).
    ///
    /// ```
    /// use linux_aio::{Engine, Op, OpKind, Threads, Wakeup};
    /// use std::sync::Arc;
    ///
    /// // Woken after each operation, the thread may wait for other things too.
    /// let wakeup = Arc::new(Wakeup::new()?);
    /// let mut engine = Threads::new(1, 1, Some(Arc::clone(&wakeup)))?;
    /// engine.queue(Op::new(tempfile::tempfile()?, OpKind::Fsync))?;
    /// engine.submit();
    /// let mut done = Vec::new();
    /// wakeup.arm();
    /// while engine.reap(0, None, &mut done)? == 0 {
    ///     wakeup.wait(None)?;
    ///     wakeup.disarm()?;
    ///     wakeup.arm();
    /// }
    /// assert_eq!(done.len(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(threads: usize, capacity: usize, wakeup: Option<Arc<Wakeup>>) -> io::Result<Self> {
        let (work, todo) = unbounded();
        let finished =
            Arc::new(Completions { list: Mutex::default(), arrived: Condvar::new(), wakeup });
        let spawn = |n| {
            let (todo, finished) = (Receiver::clone(&todo), Arc::clone(&finished));
            std::thread::Builder::new()
                .name(format!("linux-aio-{n}"))
                .spawn(move || serve(&todo, &finished))
        };
        let threads = (0..threads).map(spawn).collect::<io::Result<_>>()?;
        let (queued, owner) = (Vec::new(), process_number());
        Ok(Self { work: Some(work), finished, threads, capacity, queued, running: 0, owner })
    }

    fn assert_owner(&self) {
        assert_eq!(self.owner, process_number(), "a forked child cannot use its parent's threads");
    }
}

fn serve(todo: &Receiver<Op>, finished: &Completions) {
    for op in todo {
        finished.add(op.perform());
    }
}

impl Engine for Threads {
    fn queue(&mut self, op: Op) -> Result<(), Full> {
        self.assert_owner();
        if self.in_flight() == self.capacity {
            return Err(Full(op));
        }
        self.queued.push(op);
        Ok(())
    }

    fn submit(&mut self) -> Submitted {
        self.assert_owner();
        let accepted = self.queued.len();
        for op in self.queued.drain(..) {
            // The threads end only when the sender is dropped, so the send succeeds. If it did not,
            // the operation would come back with an error.
            if let Some(Err(refused)) = self.work.as_ref().map(|work| work.send(op)) {
                let result = Err(io::Error::from_raw_os_error(libc::ECANCELED));
                self.finished.add(Done::new(refused.0, result));
            }
        }
        self.running += accepted;
        Submitted { accepted, ..Submitted::default() }
    }

    fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        self.assert_owner();
        if self.running == 0 {
            check_submitted(min, 0, self.queued.len())?;
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut list = self.finished.list.lock().unwrap_or_else(PoisonError::into_inner);
        while list.len() < min.min(self.running) {
            list = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
            {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.finished
                        .arrived
                        .wait_timeout(list, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.finished.arrived.wait(list).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let count = list.len();
        out.append(&mut list);
        self.running -= count;
        Ok(count)
    }

    fn in_flight(&self) -> usize {
        self.queued.len() + self.running
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if self.owner != process_number() {
            // None of these threads is here, and locks that they held are never free.
            std::mem::forget(self.work.take());
            self.threads.drain(..).for_each(std::mem::forget);
            return;
        }
        // Without a sender the threads end after what is queued.
        self.work = None;
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "an I/O thread panicked");
        }
    }
}
