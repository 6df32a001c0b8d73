//! Copies a file in tasks of tokio: 16 of them, each of which reads a block and writes it.

use std::fs::{File, OpenOptions};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{error::Error, io, os::fd::AsFd, os::unix::fs::OpenOptionsExt, sync::Arc};

use linux_aio::future::{AsyncHandle, PollableDriver};
use linux_aio::{Buffer, Op, OpKind, Part, Pool};
use tokio::io::{Interest, unix::AsyncFd};

const BLOCK_BYTES: u64 = 1 << 20;
const ALIGN_BYTES: u64 = 4096;

/// Waits for the driver together with all else that the runtime waits for.
async fn drive(mut driver: PollableDriver) -> io::Result<()> {
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

/// What the tasks share.
struct Job {
    handle: AsyncHandle,
    from: Arc<File>,
    to: Arc<File>,
    size: u64,
    next: AtomicU64,
}

async fn copy(job: Arc<Job>, mut buffer: Buffer) -> io::Result<()> {
    loop {
        let at = job.next.fetch_add(BLOCK_BYTES, Ordering::Relaxed);
        if at >= job.size {
            return Ok(());
        }
        let (result, full) = job.handle.read(&job.from, buffer, at).await;
        let count = result?;
        if (count as u64) < BLOCK_BYTES.min(job.size - at) {
            return Err(io::Error::other("the file changed while it was being copied"));
        }
        // Direct writes need whole blocks. What lies beyond the end is cut when all are written.
        let part = Part::new(full.freeze(), 0..count.next_multiple_of(ALIGN_BYTES as usize));
        let mut write = Op::new(&job.to, OpKind::Write(part)).at(at);
        let mut done = loop {
            match job.handle.op(write).await.rest() {
                Ok(rest) => write = rest,
                Err(done) => break done,
            }
        };
        if std::mem::replace(&mut done.result, Ok(0))? == 0 {
            return Err(io::Error::other("nothing was written"));
        }
        buffer = done.into_buffer().expect("it was a pool's buffer");
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args().skip(1);
    let (Some(from), Some(to)) = (paths.next(), paths.next()) else {
        return Err("usage: async_tokio FROM TO".into());
    };
    let direct = |options: &mut OpenOptions, path| options.custom_flags(libc::O_DIRECT).open(path);
    let from = Arc::new(direct(File::options().read(true), &from)?);
    let size = from.metadata()?.len();
    File::create(&to)?.set_len(size.next_multiple_of(ALIGN_BYTES))?;
    let to = Arc::new(direct(File::options().write(true), &to)?);
    let (pool, driver) = (Pool::new(16, BLOCK_BYTES as usize)?, PollableDriver::new(16)?);
    let (handle, next) = (driver.handle(), AtomicU64::new(0));
    let job = Arc::new(Job { handle, from, to, size, next });
    let copying = async {
        let start = |buffer| tokio::spawn(copy(Arc::clone(&job), buffer));
        let tasks: Vec<_> = std::iter::from_fn(|| pool.get()).map(start).collect();
        for task in tasks {
            task.await??;
        }
        job.to.set_len(size)?;
        Ok(job.handle.fsync(&job.to).await?)
    };
    // The driver ends before it by an error alone.
    let driven = futures_lite::future::or(async { Ok(drive(driver).await?) }, copying);
    tokio::runtime::Builder::new_current_thread().enable_io().build()?.block_on(driven)
}
