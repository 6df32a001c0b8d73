//! The same tasks in tokio, in what smol is made of, and with a thread for the driver.
#![cfg(feature = "async")]

mod common;

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use async_executor::LocalExecutor;
use async_io::Async;
use common::aio::*;
use common::*;
use linux_aio::future::{AsyncHandle, Driver, Order, PollableDriver};
use linux_aio::{Op, PollFlags, Pool};
use tokio::io::{Interest, unix::AsyncFd};

const BLOCK_BYTES: usize = 4096;
const BLOCKS: u64 = 200;

/// Waits for one executor's sake.
async fn tokio_drive(mut driver: PollableDriver) -> io::Result<()> {
    let event = driver.as_fd().try_clone_to_owned()?;
    // New versions want an unsafe promise that the type keeps naming one open file. `OwnedFd` does.
    #[allow(deprecated)]
    let event = AsyncFd::with_interest(event, Interest::READABLE)?;
    loop {
        let mut ready = event.readable().await?;
        driver.turn()?;
        ready.clear_ready();
    }
}

async fn smol_drive(mut driver: PollableDriver) -> io::Result<()> {
    let event = Async::new(driver.as_fd().try_clone_to_owned()?)?;
    loop {
        event.readable().await?;
        driver.turn()?;
    }
}

/// What all the tasks have in common.
struct Job {
    handle: AsyncHandle,
    file: Arc<OwnedFd>,
    contents: Vec<u8>,
    pipe: (Arc<OwnedFd>, Arc<OwnedFd>),
}

impl Job {
    fn new(handle: AsyncHandle) -> Arc<Self> {
        let folder = folder();
        let path = folder.path().join("f");
        let contents = noise(BLOCK_BYTES * BLOCKS as usize, 4);
        std::fs::write(&path, &contents).unwrap();
        Arc::new(Self { handle, file: cold(&path), contents, pipe: pipe() })
    }

    fn assert_block(&self, block: u64, bytes: &[u8]) {
        let at = block as usize * BLOCK_BYTES;
        assert!(bytes == &self.contents[at..at + BLOCK_BYTES], "block {block}");
    }
}

/// Reads every eighth block, one after the other.
async fn read_some(job: Arc<Job>, first: u64) {
    let mut buffer = Pool::new(1, BLOCK_BYTES).unwrap().get().unwrap();
    for block in (first..BLOCKS).step_by(8) {
        let read = job.handle.read(&job.file, buffer, block * BLOCK_BYTES as u64);
        let (result, bytes) = read.await;
        assert_eq!(result.unwrap(), BLOCK_BYTES);
        job.assert_block(block, &bytes);
        buffer = bytes;
    }
}

async fn read_all_in_order(job: Arc<Job>) {
    let pool = Pool::new(16, BLOCK_BYTES).unwrap();
    let mut offsets = (0..BLOCKS).map(|block| block * BLOCK_BYTES as u64);
    let ops = std::iter::from_fn(|| {
        let buffer = pool.get()?;
        Some(Op::read(&job.file, buffer, offsets.next()?))
    });
    let mut stream = job.handle.buffered(Order::Pushed, 16, ops);
    let mut block = 0;
    while let Some(done) = stream.next().await {
        job.assert_block(block, done.bytes().unwrap());
        block += 1;
    }
    assert_eq!(block, BLOCKS);
}

/// Waits for what another task writes, and has one place meanwhile.
async fn listen(job: Arc<Job>) {
    let (reader, _) = &job.pipe;
    for _ in 0..20 {
        assert!(job.handle.poll(reader, PollFlags::IN).await.unwrap().contains(PollFlags::IN));
        let (result, bytes) = job.handle.read(reader, vec![0; 1], 0).await;
        assert_eq!((result.unwrap(), bytes), (1, b"x".to_vec()));
    }
}

async fn talk(job: Arc<Job>) {
    for _ in 0..20 {
        let (result, _) = job.handle.write(&job.pipe.1, &b"x"[..], 0).await;
        assert_eq!(result.unwrap(), 1);
    }
}

type Task = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn tasks(job: &Arc<Job>) -> Vec<Task> {
    let job = || Arc::clone(job);
    let mut tasks: Vec<Task> = (0..8).map(|first| Box::pin(read_some(job(), first)) as _).collect();
    tasks.push(Box::pin(read_all_in_order(job())));
    tasks.push(Box::pin(listen(job())));
    tasks.push(Box::pin(talk(job())));
    tasks
}

fn tokio_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap()
}

#[test]
fn tokio_drives_it_in_a_task() {
    for capacity in [2, 4, 64] {
        let driver = PollableDriver::new(capacity).unwrap();
        let job = Job::new(driver.handle());
        tokio_runtime().block_on(async {
            let driving = tokio::spawn(tokio_drive(driver));
            let started: Vec<_> = tasks(&job).into_iter().map(tokio::spawn).collect();
            for task in started {
                task.await.unwrap();
            }
            // A task that is aborted drops its future, and the next one has its place.
            let never = silent_eventfd();
            for _ in 0..3 * capacity {
                let handle = job.handle.clone();
                let poll = handle.poll(&never, PollFlags::IN);
                let waits = tokio::spawn(async move { poll.await.map(drop) });
                tokio::task::yield_now().await;
                waits.abort();
                assert!(waits.await.unwrap_err().is_cancelled());
            }
            read_some(Arc::clone(&job), 0).await;
            // Without its driver, what waits ends.
            driving.abort();
            assert!(driving.await.unwrap_err().is_cancelled());
            let error = job.handle.fsync(&job.file).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
        });
    }
}

#[test]
fn smol_drives_it_in_a_task() {
    for capacity in [2, 4, 64] {
        let driver = PollableDriver::new(capacity).unwrap();
        let job = Job::new(driver.handle());
        let executor = LocalExecutor::new();
        let driving = executor.spawn(smol_drive(driver));
        let started: Vec<_> = tasks(&job).into_iter().map(|task| executor.spawn(task)).collect();
        async_io::block_on(executor.run(async {
            for task in started {
                task.await;
            }
            assert!(driving.cancel().await.is_none());
            let error = job.handle.fsync(&job.file).await.unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
        }));
    }
}

#[test]
fn a_driver_runs_an_executor_on_its_own_thread() {
    for capacity in [2, 4, 64] {
        let mut driver = Driver::new(capacity).unwrap();
        let job = Job::new(driver.handle());
        let executor = LocalExecutor::new();
        let started: Vec<_> = tasks(&job).into_iter().map(|task| executor.spawn(task)).collect();
        let run = executor.run(async {
            for task in started {
                task.await;
            }
        });
        driver.block_on(run).unwrap();
    }
}

#[test]
fn a_driver_with_a_thread_of_its_own_serves_any_executor() {
    let mut driver = Driver::new(4).unwrap();
    let job = Job::new(driver.handle());
    let served = std::thread::spawn(move || driver.run());
    tokio_runtime().block_on(async {
        let started: Vec<_> = tasks(&job).into_iter().map(tokio::spawn).collect();
        for task in started {
            task.await.unwrap();
        }
    });
    let job_again = Job::new(job.handle.clone());
    drop(job);
    for task in tasks(&job_again) {
        // The talker comes after the listener.
        std::thread::spawn(|| futures_lite::future::block_on(task));
    }
    drop(job_again);
    served.join().unwrap().unwrap();
}
