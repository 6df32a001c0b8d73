//! Counts the lines of files, all at once, in an executor by hand: a task for each file.

use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::{error::Error, fs::File, future::Future, io, pin::Pin};

use linux_aio::future::{AsyncHandle, Driver};

/// A task until it is over, which puts itself among those that can go on.
struct Task {
    future: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
    ready: mpsc::Sender<Arc<Task>>,
    handle: AsyncHandle,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let (ready, handle) = (self.ready.clone(), self.handle.clone());
        // Without a receiver the executor is over.
        if ready.send(self).is_ok() {
            handle.wake();
        }
    }
}

async fn count_lines(handle: &AsyncHandle, path: &str) -> io::Result<usize> {
    let file = Arc::new(File::open(path)?);
    let (mut buffer, mut at, mut lines) = (vec![0; 1 << 16], 0, 0);
    loop {
        let (result, bytes) = handle.read(&file, buffer, at).await;
        let count = result?;
        if count == 0 {
            return Ok(lines);
        }
        lines += bytes[..count].iter().filter(|&&byte| byte == b'\n').count();
        at += count as u64;
        buffer = bytes;
    }
}

async fn report(handle: AsyncHandle, path: String) {
    match count_lines(&handle, &path).await {
        Ok(lines) => println!("{lines} {path}"),
        Err(error) => eprintln!("{path}: {error}"),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut driver = Driver::new(64)?;
    let (ready, tasks) = mpsc::channel();
    let mut left = 0;
    for path in std::env::args().skip(1) {
        let future = Mutex::new(Some(Box::pin(report(driver.handle(), path)) as _));
        ready.send(Arc::new(Task { future, ready: ready.clone(), handle: driver.handle() }))?;
        left += 1;
    }
    while left > 0 {
        // All that can go on do so, and then what they queued is submitted at once.
        for task in tasks.try_iter() {
            let waker = Waker::from(Arc::clone(&task));
            let mut slot = task.future.lock().expect("no task panics");
            if let Some(future) = slot.as_mut()
                && future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
            {
                *slot = None;
                left -= 1;
            }
        }
        if left > 0 {
            driver.turn(None)?;
        }
    }
    Ok(())
}
