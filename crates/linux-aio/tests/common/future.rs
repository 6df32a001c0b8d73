//! Helpers of the tests of what is awaited.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use linux_aio::future::{AsyncHandle, Driver, PollableDriver};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A driver of either kind.
#[derive(Debug)]
pub enum AnyDriver {
    Own(Driver),
    Pollable(PollableDriver),
}

/// One of each kind.
pub fn drivers(capacity: u32) -> [AnyDriver; 2] {
    [
        AnyDriver::Own(Driver::new(capacity).unwrap()),
        AnyDriver::Pollable(PollableDriver::new(capacity).unwrap()),
    ]
}

/// The waker of [`AnyDriver::block_on`].
struct Root(AtomicBool, AsyncHandle);

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
        self.1.wake();
    }
}

pub fn is_readable(driver: &PollableDriver, timeout: Option<&Timespec>) -> bool {
    let mut fds = [PollFd::new(driver, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, timeout)).unwrap() == 1
}

pub const NOW: Option<&Timespec> = Some(&Timespec { tv_sec: 0, tv_nsec: 0 });

impl AnyDriver {
    pub fn handle(&self) -> AsyncHandle {
        match self {
            Self::Own(driver) => driver.handle(),
            Self::Pollable(driver) => driver.handle(),
        }
    }

    /// Waits until there is something to do, and does it.
    pub fn turn(&mut self) -> usize {
        match self {
            Self::Own(driver) => driver.turn(None).unwrap(),
            Self::Pollable(driver) => {
                is_readable(driver, None);
                driver.turn().unwrap()
            }
        }
    }

    /// Does what there is to do now.
    pub fn look(&mut self) -> usize {
        match self {
            Self::Own(driver) => driver.turn(Some(Duration::ZERO)).unwrap(),
            Self::Pollable(driver) => driver.turn().unwrap(),
        }
    }

    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        let driver = match self {
            Self::Own(driver) => return driver.block_on(future).unwrap(),
            Self::Pollable(driver) => driver,
        };
        let root = Arc::new(Root(AtomicBool::new(true), driver.handle()));
        let waker = Waker::from(Arc::clone(&root));
        let mut future = pin!(future);
        loop {
            if root.0.swap(false, Ordering::SeqCst)
                && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
            {
                return output;
            }
            is_readable(driver, None);
            driver.turn().unwrap();
        }
    }
}

/// A waker that counts.
#[derive(Default)]
pub struct Count(pub AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Count {
    pub fn new() -> (Arc<Self>, Waker) {
        let count = Arc::new(Self::default());
        (Arc::clone(&count), Waker::from(count))
    }

    pub fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// Polls once.
pub fn poll_with<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(waker))
}

/// Polls once, and expects it not to be ready.
pub fn begin<F: Future + Unpin>(future: &mut F) {
    assert!(poll_with(future, Waker::noop()).is_pending());
}

/// Awaits all, at the same time.
pub async fn all<F: Future + Unpin>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (future, None)).collect();
    std::future::poll_fn(|cx| {
        for (future, output) in &mut futures {
            if output.is_none()
                && let Poll::Ready(ready) = Pin::new(future).poll(cx)
            {
                *output = Some(ready);
            }
        }
        match futures.iter().all(|(_, output)| output.is_some()) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    futures.into_iter().map(|(_, output)| output.unwrap()).collect()
}
