//! A pool of threads that call pread(2), pwrite(2) and fsync(2): the [`Engine`] for files that the page cache serves.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::{Done, Engine, Op, OpKind, Waker};

/// Operations that are over, and those who wait for them.
struct Finished {
    list: Mutex<Vec<Done>>,
    arrived: Condvar,
    waker: Option<Arc<Waker>>,
}

/// A pool of threads. Dropping it waits for the operations in flight.
pub struct Threads {
    work: Option<Sender<Op>>,
    finished: Arc<Finished>,
    threads: Vec<JoinHandle<()>>,
    capacity: usize,
    in_flight: usize,
}

impl Threads {
    /// `threads` threads for at most `capacity` operations. `waker` is woken after each one that ends, for those who
    /// wait elsewhere than in [`reap`](Engine::reap). EAGAIN when a thread cannot be made.
    pub fn new(threads: usize, capacity: usize, waker: Option<Arc<Waker>>) -> io::Result<Self> {
        let (work, todo) = unbounded();
        let finished = Arc::new(Finished { list: Mutex::default(), arrived: Condvar::new(), waker });
        let spawn = |n| {
            let (todo, finished) = (Receiver::clone(&todo), Arc::clone(&finished));
            std::thread::Builder::new().name(format!("aiocp-io-{n}")).spawn(move || serve(&todo, &finished))
        };
        let threads = (0..threads).map(spawn).collect::<io::Result<_>>()?;
        Ok(Self { work: Some(work), finished, threads, capacity, in_flight: 0 })
    }

    /// Whether finished operations wait to be reaped.
    pub fn has_finished(&self) -> bool {
        !self.finished.list.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

fn serve(todo: &Receiver<Op>, finished: &Finished) {
    for mut op in todo {
        let result = perform(&mut op);
        finished.list.lock().unwrap_or_else(PoisonError::into_inner).push(Done { op, result });
        finished.arrived.notify_one();
        if let Some(waker) = &finished.waker {
            waker.wake();
        }
    }
}

/// Carries one operation out, once: a short count is the caller's to judge.
fn perform(op: &mut Op) -> io::Result<usize> {
    let (file, offset) = (&op.file, op.offset_bytes);
    let result = match &mut op.kind {
        OpKind::Read { buffer, start, end } => {
            rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut buffer[*start..*end], offset))
        }
        OpKind::Write { buffer, start, end } => {
            rustix::io::retry_on_intr(|| rustix::io::pwrite(file, &buffer[*start..*end], offset))
        }
        OpKind::Fsync => rustix::io::retry_on_intr(|| rustix::fs::fsync(file)).map(|()| 0),
        // Waiting for readiness would hold a thread for as long as nothing happens.
        OpKind::PollReadable => Err(rustix::io::Errno::OPNOTSUPP),
    };
    Ok(result?)
}

impl Engine for Threads {
    fn queue(&mut self, op: Op) -> Result<(), Op> {
        match &self.work {
            Some(work) if self.in_flight < self.capacity => {
                work.send(op).map_err(|refused| refused.0)?;
                self.in_flight += 1;
                Ok(())
            }
            _ => Err(op),
        }
    }

    fn submit(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reap(&mut self, min: usize, timeout: Option<Duration>, out: &mut Vec<Done>) -> io::Result<usize> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut list = self.finished.list.lock().unwrap_or_else(PoisonError::into_inner);
        while list.len() < min.min(self.in_flight) {
            list = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => break,
                Some(left) => self.finished.arrived.wait_timeout(list, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.finished.arrived.wait(list).unwrap_or_else(PoisonError::into_inner),
            };
        }
        let count = list.len();
        out.append(&mut list);
        self.in_flight -= count;
        Ok(count)
    }

    fn in_flight(&self) -> usize {
        self.in_flight
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Without a sender the threads end after what is queued.
        self.work = None;
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            debug_assert!(ended.is_ok(), "an I/O thread panicked");
        }
    }
}
