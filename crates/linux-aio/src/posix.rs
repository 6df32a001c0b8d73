//! POSIX AIO: glibc's whole family (aio(7)) in safe Rust.
//!
//! | POSIX | here |
//! | --- | --- |
//! | `aio_read`, `aio_write`, `aio_fsync` | [`Request::start`], by the kind of the operation |
//! | `aio_error` | [`Request::status`] |
//! | `aio_return` | [`Request::finish`], which consumes the request; [`Request::wait`] |
//! | `aio_suspend` | [`suspend`] |
//! | `aio_cancel` | [`Request::cancel`], [`cancel_all`] |
//! | `lio_listio` | [`list_and_go`]; [`list_and_wait`], which is more than glibc's `LIO_WAIT` |
//! | `sigevent` | [`Notify`]; [`Request::start_with`], whose callback gets the completion |
//! | `aio_init` | [`set_threads`] |
//!
//! The page [`posix_aio`](crate::guide::posix_aio) has each call, its errors and an example.
//!
//! # What it is good for
//!
//! Programs that have to run where only POSIX is given, and files, pipes and sockets alike. It is
//! threads in user space, at most 20 for the process unless [`set_threads`] says otherwise. They
//! serve the requests of one descriptor **one at a time**, in order. So one file gets depth only
//! through duplicated descriptors: [`Posix`] gives each operation a duplicate of its own (dup(2)
//! keeps `O_DIRECT`), and reaches a depth of as many as there are threads, [`ENGINE_THREADS`]. With
//! 1 MiB blocks it reads a disk as fast as kernel AIO, for five times the processor time. With 4
//! KiB blocks it reads 0.4 of what kernel AIO does. The table is in [the package's
//! page](super#which-engine). Other [`Request`]s on one descriptor wait for each other, however
//! many there are.
//!
//! With musl each request has a thread, and [`Request::cancel`] ends one that runs. musl reads what
//! has no places, but an lseek(2) that succeeds, as an eventfd, with pread(2): ESPIPE. It asks once
//! for a descriptor's number, and forgets the answer a moment after the last [`Request`] there is
//! over. Until then the number shall not become another file's. Close the descriptor after a
//! [`Notify`], which comes later; [`Posix`] does so.
//!
//! # A file copy
//!
//! `examples/copy_posix.rs` writes one block while the next is being read:
//!
//! ```no_run
#![doc = include_str!("../examples/copy_posix.rs")]
//! ```
//!
//! # What the compiler refuses
//!
//! The result is taken once:
//!
//! ```compile_fail,E0382
//! # use std::{fs::File, os::fd::OwnedFd, sync::Arc};
//! # use linux_aio::{Op, Pool, posix::{Notify, Request}};
//! let file = Arc::new(OwnedFd::from(File::open("/dev/null").unwrap()));
//! let buffer = Pool::new(1, 4096).unwrap().get().unwrap();
//! let request = Request::start(Op::read(file, buffer, 0), Notify::None, 0).unwrap();
//! request.wait();
//! request.wait();
//! ```
//!
//! And its buffer cannot be seen before:
//!
//! ```compile_fail,E0382
//! # use std::{fs::File, os::fd::OwnedFd, sync::Arc};
//! # use linux_aio::{Op, Pool, posix::{Notify, Request}};
//! let file = Arc::new(OwnedFd::from(File::open("/dev/null").unwrap()));
//! let buffer = Pool::new(1, 4096).unwrap().get().unwrap();
//! let request = Request::start(Op::read(file, buffer, 0), Notify::None, 0).unwrap();
//! println!("{}", buffer[0]);
//! ```
//!
//! Nor can it be taken out of the request, which is in progress:
//!
//! ```compile_fail,E0616
//! # use std::{fs::File, os::fd::OwnedFd, sync::Arc};
//! # use linux_aio::{Op, Pool, posix::{Notify, Request}};
//! let file = Arc::new(OwnedFd::from(File::open("/dev/null").unwrap()));
//! let buffer = Pool::new(1, 4096).unwrap().get().unwrap();
//! let request = Request::start(Op::read(file, buffer, 0), Notify::None, 0).unwrap();
//! let cell = request.0;
//! ```
//!
//! An operation is handed over once:
//!
//! ```compile_fail,E0382
//! # use std::{fs::File, os::fd::OwnedFd, sync::Arc};
//! # use linux_aio::{Op, OpKind, posix::{Notify, Request}};
//! let op = Op::new(Arc::new(OwnedFd::from(File::open("/dev/null").unwrap())), OpKind::Fsync);
//! let first = Request::start(op, Notify::None, 0);
//! let second = Request::start(op, Notify::None, 0);
//! ```
//!
//! A request cannot be finished while it is waited for:
//!
//! ```compile_fail,E0505
//! # use std::{fs::File, os::fd::OwnedFd, sync::Arc};
//! # use linux_aio::{Op, OpKind, posix::{Notify, Request, suspend}};
//! let op = Op::new(Arc::new(OwnedFd::from(File::open("/dev/null").unwrap())), OpKind::Fsync);
//! let request = Request::start(op, Notify::None, 0).unwrap();
//! let list = [&request];
//! request.wait();
//! suspend(&list, None).unwrap();
//! ```
//!
//! And a callback, which glibc calls on a thread of its own, may take nothing along that may not go
//! there:
//!
//! ```compile_fail,E0277
//! # use std::rc::Rc;
//! # use linux_aio::posix::Notify;
//! let seen = Rc::new(());
//! let notify = Notify::Callback(Box::new(move || drop(seen)));
//! ```

use std::fmt;
use std::io;
use std::sync::Arc;
#[cfg(not(target_env = "gnu"))]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::engine::{Engine, check_submitted};
use crate::sys::posix::in_forked_child;
pub use crate::sys::posix::{
    Cancelled, LIST_MAX, ListedRequests, Notify, NotifyCallback, Request, Status, Suspended,
    cancel_all, list_and_go, list_and_wait, orphans, set_threads, suspend,
};
use crate::sys::{Done, Full, Op, Refused, SharedFd, Submitted};
use crate::wakeup::Wakeup;

/// Threads that an engine asks glibc for (aio_init(3)), and so its depth on one file or on all.
/// More made no copy faster.
pub const ENGINE_THREADS: usize = 32;

/// A request, and the descriptor that its operation came with.
struct Running {
    request: Request,
    file: SharedFd,
    /// It has a duplicate to itself.
    alone: bool,
    let_go: LetGo,
}

/// Whether the C library has let go of a duplicate, so that its number may become another file's.
///
/// musl knows by the number of a descriptor whether it has places, and forgets that after it has
/// said that the last request is over. A file that gets the number in between would be written
/// where it stands, as a pipe is, or a pipe at a place: ESPIPE. What notifies comes after that.
#[derive(Default)]
struct LetGo(#[cfg(not(target_env = "gnu"))] Arc<AtomicBool>);

#[cfg(target_env = "gnu")]
impl LetGo {
    /// glibc goes by the number of a descriptor only while it has a request.
    fn notify(&self, wakeup: Option<Arc<Wakeup>>) -> Notify {
        match wakeup {
            Some(wakeup) => Notify::Callback(Box::new(move || wakeup.wake())),
            None => Notify::None,
        }
    }

    fn wait(&self) {}
}

#[cfg(not(target_env = "gnu"))]
impl LetGo {
    /// musl calls this on the thread that carried the request out, whatever became of it.
    fn notify(&self, wakeup: Option<Arc<Wakeup>>) -> Notify {
        let let_go = Arc::clone(&self.0);
        Notify::Callback(Box::new(move || {
            let_go.store(true, Ordering::Release);
            wakeup.into_iter().for_each(|wakeup| wakeup.wake());
        }))
    }

    /// Blocks for the moment between the end of a request and its notification.
    fn wait(&self) {
        while !self.0.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    }
}

/// POSIX AIO (aio(7)) as an [`Engine`]. Each operation gets a duplicate of its descriptor, see
/// dup(2), and comes back with its own. Vectors, polls, flags, priorities and eventfds are refused
/// (EOPNOTSUPP). Dropping it cancels what no thread serves yet, and leaves the rest to end by
/// itself; it does not wait.
///
/// ```
/// use linux_aio::{Engine, Op, Posix};
/// use std::{fs::File, sync::Arc};
///
/// let file = Arc::new(File::open("/dev/zero")?);
/// let mut engine = Posix::new(8, None);
/// for offset_bytes in [0, 512] {
///     engine.queue(Op::read(&file, vec![1; 512], offset_bytes))?;
/// }
/// let mut done = Vec::new();
/// while engine.in_flight() > 0 {
///     engine.submit_and_reap(1, None, &mut done)?;
/// }
/// assert!(done.iter().all(|done| done.bytes() == Some(&[0; 512])));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Posix {
    capacity: usize,
    queued: Vec<Op>,
    running: Vec<Running>,
    refused: Vec<Done>,
    wakeup: Option<Arc<Wakeup>>,
}

impl fmt::Debug for Posix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Posix")
            .field("capacity", &self.capacity)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Posix {
    /// An engine for `capacity` operations, at most [`LIST_MAX`]. `wakeup` is signalled after each
    /// one that ends, on a thread that glibc makes for it, for those who wait elsewhere than in
    /// [`reap`](Engine::reap). That wait needs a time-out: glibc loses the call if it cannot make a
    /// thread for it. It asks for [`ENGINE_THREADS`] threads, see [`set_threads`]; none is made
    /// before the first operation. Never blocks and never fails.
    ///
    /// ```
    /// use linux_aio::{Engine, Op, OpKind, Posix, Wakeup};
    /// use std::sync::Arc;
    ///
    /// let wakeup = Arc::new(Wakeup::new()?);
    /// let mut engine = Posix::new(1, Some(Arc::clone(&wakeup)));
    /// engine.queue(Op::new(tempfile::tempfile()?, OpKind::Fsync))?;
    /// engine.submit();
    /// let mut done = Vec::new();
    /// wakeup.arm();
    /// while engine.reap(0, None, &mut done)? == 0 {
    ///     wakeup.wait(Some(std::time::Duration::from_secs(1)))?;
    ///     wakeup.disarm()?;
    ///     wakeup.arm();
    /// }
    /// assert_eq!(done.len(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(capacity: usize, wakeup: Option<Arc<Wakeup>>) -> Self {
        set_threads(ENGINE_THREADS);
        let capacity = capacity.min(LIST_MAX);
        Self { capacity, queued: Vec::new(), running: Vec::new(), refused: Vec::new(), wakeup }
    }

    fn start(&self, mut op: Op) -> Result<Running, Refused> {
        let file = op.file.clone();
        // Without a duplicate, for want of descriptors, it waits for the others on the same one.
        let duplicate = file.try_clone();
        let alone = duplicate.is_ok();
        if let Ok(duplicate) = duplicate {
            op.file = duplicate;
        }
        let let_go = LetGo::default();
        match Request::start(op, let_go.notify(self.wakeup.clone()), 0) {
            Ok(request) => Ok(Running { request, file, alone, let_go }),
            Err(Refused { op, error }) => Err(Refused::new(with_file(op, file), error)),
        }
    }

    /// Keeps what is over without having been a request. Its end is told like any other's.
    fn refuse(&mut self, done: Done) {
        let eventfd = done.op.eventfd.clone();
        self.refused.push(done);
        if let Some(wakeup) = &self.wakeup {
            wakeup.wake();
        }
        if let Some(eventfd) = eventfd {
            crate::sys::signal(&eventfd);
        }
    }

    fn collect(&mut self, out: &mut Vec<Done>) {
        out.append(&mut self.refused);
        for Running { request, file, alone, let_go } in std::mem::take(&mut self.running) {
            match request.finish() {
                Ok(done) => {
                    let_go.wait();
                    out.push(Done { op: with_file(done.op, file), ..done });
                }
                Err(request) => self.running.push(Running { request, file, alone, let_go }),
            }
        }
    }
}

/// The operation with the descriptor that it came with, in place of the duplicate.
fn with_file(op: Op, file: SharedFd) -> Op {
    Op { file, ..op }
}

impl Drop for Posix {
    fn drop(&mut self) {
        if in_forked_child() {
            return;
        }
        // Cancelling what shares its descriptor could strand other requests, see
        // `Request::cancel`.
        for Running { request, .. } in self.running.iter().filter(|running| running.alone) {
            // What runs already goes on, which is no error.
            let cancelled = request.cancel();
            debug_assert!(cancelled.is_ok(), "aio_cancel of an open descriptor: {cancelled:?}");
        }
    }
}

impl Engine for Posix {
    fn queue(&mut self, op: Op) -> Result<(), Full> {
        if self.in_flight() >= self.capacity {
            return Err(Full(op));
        }
        self.queued.push(op);
        Ok(())
    }

    fn submit(&mut self) -> Submitted {
        let mut outcome = Submitted::default();
        for op in std::mem::take(&mut self.queued) {
            match self.start(op) {
                Ok(running) => {
                    outcome.accepted += 1;
                    self.running.push(running);
                }
                Err(refused) => {
                    outcome.refused += 1;
                    self.refuse(refused.into());
                }
            }
        }
        outcome
    }

    fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let before = out.len();
        loop {
            self.collect(out);
            if out.len() - before >= min || self.running.is_empty() {
                check_submitted(min, out.len() - before, self.queued.len())?;
                break;
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let requests: Vec<_> = self.running.iter().map(|running| &running.request).collect();
            match suspend(&requests, left)? {
                Suspended::Finished => {}
                Suspended::TimedOut | Suspended::Interrupted => {
                    self.collect(out);
                    break;
                }
            }
        }
        Ok(out.len() - before)
    }

    fn in_flight(&self) -> usize {
        self.queued.len() + self.running.len() + self.refused.len()
    }
}
