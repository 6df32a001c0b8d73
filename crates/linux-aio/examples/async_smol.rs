//! Prints a file, with 16 blocks read ahead, on the executor of smol: its name for `block_on` is
//! `smol::block_on`, and so on.

use std::os::{fd::AsFd, unix::fs::OpenOptionsExt};
use std::{error::Error, fs::File, io, io::Write, sync::Arc};

use async_executor::LocalExecutor;
use async_io::Async;
use futures_lite::StreamExt;
use linux_aio::future::{AsyncHandle, Order, PollableDriver};
use linux_aio::{Op, Pool};

const BLOCK_BYTES: u64 = 1 << 20;
const AHEAD: usize = 16;

/// Waits for the driver together with all else that the executor waits for.
async fn drive(mut driver: PollableDriver) -> io::Result<()> {
    let event = Async::new(driver.as_fd().try_clone_to_owned()?)?;
    loop {
        event.readable().await?;
        driver.turn()?;
    }
}

async fn print(handle: AsyncHandle, file: File) -> Result<(), Box<dyn Error>> {
    let size = file.metadata()?.len();
    let (file, pool) = (Arc::new(file), Pool::new(AHEAD, BLOCK_BYTES as usize)?);
    let mut offsets = (0..size).step_by(BLOCK_BYTES as usize);
    let reads = std::iter::from_fn(|| {
        let buffer = pool.get()?;
        Some(Op::read(&file, buffer, offsets.next()?))
    });
    let mut blocks = handle.buffered(Order::Pushed, AHEAD, reads);
    while let Some(done) = StreamExt::next(&mut blocks).await {
        if done.result.as_ref().is_ok_and(|&count| count == 0) {
            return Err("the file became shorter".into());
        }
        io::stdout().write_all(done.bytes().unwrap_or_default())?;
        done.result?;
    }
    Ok(io::stdout().flush()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: async_smol FILE")?;
    let file = File::options().read(true).custom_flags(libc::O_DIRECT).open(path)?;
    let driver = PollableDriver::new(AHEAD as u32)?;
    let handle = driver.handle();
    let executor = LocalExecutor::new();
    let _driving = executor.spawn(drive(driver));
    async_io::block_on(executor.run(print(handle, file)))
}
