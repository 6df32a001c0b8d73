//! Streams of operations.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::registry::{LaneId, Owner};
use super::shared::Link;
use crate::sys::{Done, Op};

/// In which order a stream gives its operations back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// As they are over.
    Completed,
    /// As they were pushed.
    Pushed,
}

/// Operations that are under way, and a [`Stream`] of what came of them. It ends when it has given
/// back all, and goes on when more are pushed.
///
/// Pushed operations are in line without being polled. Dropped, it leaves its operations as a
/// dropped [`Operation`](super::Operation) does.
///
/// ```
/// use linux_aio::{Op, OpKind, Pool, future::{Driver, Order}};
/// use std::fs::File;
///
/// # fn main() -> std::io::Result<()> {
/// let mut driver = Driver::new(16)?;
/// let mut reads = driver.handle().completions(Order::Completed);
/// let file = std::sync::Arc::new(File::open("/dev/zero")?);
/// let pool = Pool::new(16, 4096)?;
/// while let Some(buffer) = pool.get() {
///     reads.push(Op::read(&file, buffer, 0));
/// }
/// let mut left = 100;
/// driver.block_on(async {
///     while let Some(done) = reads.next().await {
///         assert_eq!(done.result.as_ref().ok(), Some(&4096));
///         if left > 0 {
///             left -= 1;
///             // The same buffer again.
///             reads.push(done.op);
///         }
///     }
/// })?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct Completions {
    link: Arc<Link>,
    lane: LaneId,
    order: Order,
    /// How many were pushed.
    pushed: u64,
    /// How many were given back.
    given: u64,
    /// What is over, each with its place, as it came.
    arrived: VecDeque<(u64, Done)>,
    /// What comes next in order, where it is there.
    sorted: VecDeque<Option<Done>>,
}

impl fmt::Debug for Completions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completions")
            .field("order", &self.order)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl Completions {
    pub(super) fn new(link: Arc<Link>, order: Order) -> Self {
        let lane = link.0.lock().open_lane();
        let (arrived, sorted) = (VecDeque::new(), VecDeque::new());
        Self { link, lane, order, pushed: 0, given: 0, arrived, sorted }
    }

    /// Puts an operation in line. Without a driver it is over, with ECANCELED.
    ///
    /// # Panics
    /// In a forked child.
    pub fn push(&mut self, op: Op) {
        let place = self.pushed;
        self.pushed += 1;
        if let Err(done) = self.link.0.insert(op, Owner::Lane(self.lane, place)) {
            self.arrived.push_back((place, done));
        }
    }

    /// How many were pushed and not given back.
    pub fn len(&self) -> usize {
        (self.pushed - self.given) as usize
    }

    /// Whether all that were pushed were given back.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next one that is over, or none when all were given back.
    ///
    /// # Panics
    /// As [`Operation`](super::Operation) does.
    pub async fn next(&mut self) -> Option<Done> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// The next one in order, if it has arrived.
    fn get_sorted(&mut self) -> Option<Done> {
        for (place, done) in self.arrived.drain(..) {
            let at = (place - self.given) as usize;
            if self.sorted.len() <= at {
                self.sorted.resize_with(at + 1, || None);
            }
            self.sorted[at] = Some(done);
        }
        let done = self.sorted.front_mut()?.take()?;
        self.sorted.pop_front();
        Some(done)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Done>> {
        loop {
            let next = match self.order {
                Order::Completed => self.arrived.pop_front().map(|(_, done)| done),
                Order::Pushed => self.get_sorted(),
            };
            if next.is_some() {
                self.given += 1;
                return Poll::Ready(next);
            }
            if self.is_empty() {
                return Poll::Ready(None);
            }
            let (lane, arrived) = (self.lane, &mut self.arrived);
            ready!(self.link.0.look(cx, |registry| {
                let lane = registry.lane(lane);
                assert!(!lane.has_lost, "the kernel did not give an operation back");
                if lane.over.is_empty() {
                    return Err(&mut lane.waker);
                }
                // The other one is empty, and its memory is used again.
                std::mem::swap(&mut lane.over, arrived);
                Ok(())
            }));
        }
    }
}

impl Stream for Completions {
    type Item = Done;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Done>> {
        self.poll(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.len(), Some(self.len()))
    }
}

impl Drop for Completions {
    fn drop(&mut self) {
        // In a forked child another thread may have had the lock.
        if !self.link.0.is_inherited() {
            let lane = self.lane;
            self.link.0.change(|registry, outbox| registry.close_lane(lane, outbox));
        }
    }
}

/// A [`Stream`] of the operations of an iterator, of which some at a time are under way. See
/// [`AsyncHandle::buffered`](super::AsyncHandle::buffered), which has an example.
#[must_use = "a stream does nothing unless it is polled"]
pub struct Buffered<I> {
    completions: Completions,
    depth: usize,
    ops: I,
}

impl<I> fmt::Debug for Buffered<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffered")
            .field("completions", &self.completions)
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl<I: Iterator<Item = Op>> Buffered<I> {
    pub(super) fn new(completions: Completions, depth: usize, ops: I) -> Self {
        Self { completions, depth: depth.max(1), ops }
    }

    /// The next one that is over, or none when the iterator has none and all were given back.
    ///
    /// # Panics
    /// As [`Operation`](super::Operation) does.
    pub async fn next(&mut self) -> Option<Done> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Done>> {
        while self.completions.len() < self.depth
            && let Some(op) = self.ops.next()
        {
            self.completions.push(op);
        }
        self.completions.poll(cx)
    }
}

impl<I: Iterator<Item = Op> + Unpin> Stream for Buffered<I> {
    type Item = Done;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Done>> {
        self.poll(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let under_way = self.completions.len();
        (under_way.saturating_add(self.ops.size_hint().0), None)
    }
}
