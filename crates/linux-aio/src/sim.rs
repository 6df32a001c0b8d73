//! A seeded fake of an engine: it does real reads and writes, but in a strange order, late, short,
//! and with failures that it makes up.
//!
//! Whatever stands on [`Engine`] can be driven through it: the same seed gives the same run. It
//! does what the other engines may do on a bad day, and nothing that they may not. Each operation
//! comes back once. Its count is what was really moved, and one that failed has moved nothing.
//!
//! ```
//! use std::{fs::File, os::fd::OwnedFd, sync::Arc};
//! use linux_aio::{Engine, Op, Pool, sim::{Faults, Sim}};
//!
//! # fn main() -> std::io::Result<()> {
//! let file = Arc::new(OwnedFd::from(File::open("/dev/zero")?));
//! let mut engine = Sim::new(7, 4, Faults::default().shorten(0.5));
//! let buffer = Pool::new(1, 4096)?.get().expect("a new pool has buffers");
//! engine.queue(Op::read(file, buffer, 0))?;
//! engine.submit();
//! let mut done = Vec::new();
//! while engine.reap(1, None, &mut done)? == 0 {}
//! assert!((1..=4096).contains(done[0].result.as_ref().unwrap()));
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::io;
use std::time::Duration;

use crate::engine::{Engine, check_submitted};
use crate::perform::perform_some;
use crate::sys::{Done, Full, Op, Submitted};

/// How bad the day is. Each figure is a probability from 0 to 1, an operation. None but a random
/// order without a wish.
///
/// ```
/// use linux_aio::sim::Faults;
///
/// let faults = Faults::default().shorten(0.5).delay(0.1).grain_bytes(512);
/// assert_eq!((faults.shorten, faults.fail), (0.5, 0.0));
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Faults {
    /// That a read or write moves fewer bytes than it was asked for, but at least one.
    pub shorten: f64,
    /// That an operation fails with EIO and moves nothing.
    pub fail: f64,
    /// That an operation that could be over is not yet; at 1 nothing ever ends.
    pub delay: f64,
    /// What short counts are a multiple of, in bytes, as a device's are; 0 is as 1.
    pub grain_bytes: usize,
}

impl Faults {
    /// Sets how probably a read or write moves too few bytes.
    pub fn shorten(self, shorten: f64) -> Self {
        Self { shorten, ..self }
    }

    /// Sets how probably an operation fails.
    pub fn fail(self, fail: f64) -> Self {
        Self { fail, ..self }
    }

    /// Sets how probably an operation is not over yet.
    pub fn delay(self, delay: f64) -> Self {
        Self { delay, ..self }
    }

    /// Sets what short counts are a multiple of, in bytes.
    pub fn grain_bytes(self, grain_bytes: usize) -> Self {
        Self { grain_bytes, ..self }
    }
}

impl Default for Faults {
    /// Nothing but a random order.
    fn default() -> Self {
        Self { shorten: 0.0, fail: 0.0, delay: 0.0, grain_bytes: 1 }
    }
}

/// The fake. As by [`Threads`](super::Threads), polls, priorities and eventfds are refused
/// (EOPNOTSUPP). It does its work in [`reap`](Engine::reap), in the calling thread (pread(2),
/// pwrite(2) and fsync(2), which may block), and never sleeps.
///
/// ```
/// use linux_aio::{Engine, Op, sim::{Faults, Sim}};
/// use std::{fs::File, sync::Arc};
///
/// /// The order in which four reads come back.
/// fn order(seed: u64) -> std::io::Result<Vec<u64>> {
///     let file = Arc::new(File::open("/dev/zero")?);
///     let mut engine = Sim::new(seed, 4, Faults::default());
///     for tag in 0..4 {
///         engine.queue(Op::read(&file, vec![1; 3], 0).tag(tag))?;
///     }
///     let mut done = Vec::new();
///     while engine.in_flight() > 0 {
///         engine.submit_and_reap(1, None, &mut done)?;
///     }
///     Ok(done.iter().map(|done| done.op.tag).collect())
/// }
///
/// assert_eq!(order(7)?, order(7)?, "a seed is a run");
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Sim {
    random: fastrand::Rng,
    capacity: usize,
    faults: Faults,
    queued: Vec<Op>,
    started: Vec<Op>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("capacity", &self.capacity)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Sim {
    /// A fake for `capacity` operations. Never blocks.
    ///
    /// ```
    /// use linux_aio::{Engine, Op, sim::{Faults, Sim}};
    /// use std::fs::File;
    ///
    /// let mut engine = Sim::new(7, 1, Faults::default().shorten(1.0));
    /// engine.queue(Op::read(File::open("/dev/zero")?, vec![1; 100], 0))?;
    /// let mut done = Vec::new();
    /// while engine.in_flight() > 0 {
    ///     engine.submit_and_reap(1, None, &mut done)?;
    /// }
    /// // What stands on an engine has to read the rest.
    /// assert!(done.pop().unwrap().rest().is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(seed: u64, capacity: usize, faults: Faults) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            capacity,
            faults: faults.grain_bytes(faults.grain_bytes.max(1)),
            queued: Vec::new(),
            started: Vec::new(),
        }
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.random.f64() < probability
    }

    fn finish(&mut self, mut op: Op) -> Done {
        // An operation with an eventfd is refused, and who has that may wait for it.
        if let Some(eventfd) = &op.eventfd {
            crate::sys::signal(eventfd);
        }
        if self.happens(self.faults.fail) {
            return Done::new(op, Err(io::Error::from_raw_os_error(libc::EIO)));
        }
        let mut limit_bytes = usize::MAX;
        if self.happens(self.faults.shorten) {
            let grains = op.kind.len_bytes().unwrap_or(0) / self.faults.grain_bytes;
            if grains > 1 {
                limit_bytes = self.random.usize(1..grains) * self.faults.grain_bytes;
            }
        }
        let result = perform_some(&mut op, limit_bytes);
        Done::new(op, result)
    }
}

impl Engine for Sim {
    fn queue(&mut self, op: Op) -> Result<(), Full> {
        if self.in_flight() == self.capacity {
            return Err(Full(op));
        }
        self.queued.push(op);
        Ok(())
    }

    fn submit(&mut self) -> Submitted {
        let accepted = self.queued.len();
        self.started.append(&mut self.queued);
        Submitted { accepted, ..Submitted::default() }
    }

    /// Finishes a random choice of what was submitted, in random order. It does not wait: with
    /// delays it may return fewer than `min`.
    fn reap(
        &mut self,
        min: usize,
        _timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        check_submitted(min, self.started.len(), self.queued.len())?;
        let wanted = min.max(self.random.usize(0..=self.started.len()));
        let before = out.len();
        for _ in 0..wanted.min(self.started.len()) {
            let op = self.started.swap_remove(self.random.usize(0..self.started.len()));
            if self.happens(self.faults.delay) {
                self.started.push(op);
            } else {
                out.push(self.finish(op));
            }
        }
        Ok(out.len() - before)
    }

    fn in_flight(&self) -> usize {
        self.queued.len() + self.started.len()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use super::*;
    use crate::sys::Pool;

    /// The order in which operations come back that all fail, so that none reaches the kernel.
    fn order(seed: u64) -> Vec<u64> {
        let pool = Pool::new(4, 4096).unwrap();
        let null: Arc<OwnedFd> = Arc::new(std::fs::File::open("/dev/null").unwrap().into());
        let mut engine = Sim::new(seed, 4, Faults { fail: 1.0, delay: 0.5, ..Faults::default() });
        let (mut done, mut tag) = (Vec::new(), 0);
        while tag < 20 || engine.in_flight() > 0 {
            while tag < 20
                && let Some(buffer) = pool.get()
            {
                engine
                    .queue(Op::read(Arc::clone(&null), buffer, 0).tag(tag))
                    .map_err(drop)
                    .expect("there is room");
                tag += 1;
            }
            engine.submit();
            let mut some = Vec::new();
            engine.reap(1, None, &mut some).unwrap();
            done.extend(some.into_iter().map(|done| {
                assert_eq!(done.result.unwrap_err().raw_os_error(), Some(libc::EIO));
                done.op.tag
            }));
        }
        done
    }

    #[test]
    fn each_comes_back_once_in_an_order_that_the_seed_decides() {
        for seed in 0..4 {
            let mut tags = order(seed);
            assert_eq!(tags, order(seed));
            assert_ne!(tags, order(seed + 1));
            tags.sort_unstable();
            assert!(tags.into_iter().eq(0..20));
        }
    }
}
