//! Wakers whose own drop calls what they wake.
#![cfg(feature = "async")]
#![allow(unsafe_code, reason = "a waker with a clone of its own is made of a raw one")]

use std::fs::File;
use std::sync::mpsc;
use std::task::{Context, RawWaker, RawWakerVTable, Waker};
use std::time::Duration;
use std::{future::Future, pin::pin, thread};

use linux_aio::future::{AsyncHandle, Driver};

/// Each clone has a handle of its own, and wakes its driver when it is dropped.
static WAKES_WHEN_DROPPED: RawWakerVTable = RawWakerVTable::new(clone, drop_it, |_| {}, drop_it);

fn raw(handle: AsyncHandle) -> RawWaker {
    RawWaker::new(Box::into_raw(Box::new(handle)).cast_const().cast(), &WAKES_WHEN_DROPPED)
}

fn clone(data: *const ()) -> RawWaker {
    // SAFETY: the data of each such waker is a boxed handle, which lives until it is dropped.
    raw(unsafe { &*data.cast::<AsyncHandle>() }.clone())
}

fn drop_it(data: *const ()) {
    // SAFETY: as above, and a waker is dropped once.
    let handle = unsafe { Box::from_raw(data.cast_mut().cast::<AsyncHandle>()) };
    handle.wake();
}

#[test]
fn a_waker_that_is_not_used_is_dropped_without_the_lock() {
    let (over, is_over) = mpsc::channel();
    thread::spawn(move || {
        let driver = Driver::new(1).unwrap();
        let handle = driver.handle();
        drop(driver);
        // SAFETY: the functions are those of the data, and may be called in any thread.
        let waker = unsafe { Waker::from_raw(raw(handle.clone())) };
        let mut read = pin!(handle.read(File::open("/dev/zero").unwrap(), vec![7], 0));
        over.send(read.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()).unwrap();
    });
    // The thread would wait for the lock that it has.
    assert_eq!(is_over.recv_timeout(Duration::from_secs(20)), Ok(true));
}
