//! Copies standard input to standard output, and says when nothing has come for a while:
//! aio_suspend with a time-out.

use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::os::fd::AsFd;
use std::{sync::Arc, time::Duration};

use linux_aio::Op;
use linux_aio::posix::{Notify, Request, Suspended, suspend};

const PATIENCE: Duration = Duration::from_millis(100);

fn main() -> Result<(), Box<dyn Error>> {
    let input = Arc::new(stdin().as_fd().try_clone_to_owned()?);
    // A pipe does not look at the offset.
    let (mut buffer, mut offset_bytes) = (vec![0; 64 << 10], 0);
    loop {
        let read = Op::read(&input, buffer, offset_bytes);
        let request = Request::start(read, Notify::None, 0)?;
        loop {
            match suspend(&[&request], Some(PATIENCE))? {
                Suspended::Finished => break,
                Suspended::TimedOut => eprintln!("nothing for {PATIENCE:?}"),
                // A signal handler has run.
                Suspended::Interrupted => {}
            }
        }
        let done = request.wait();
        let Some(bytes) = done.bytes() else { return Err(done.result.unwrap_err().into()) };
        if bytes.is_empty() {
            return Ok(());
        }
        stdout().write_all(bytes)?;
        stdout().flush()?;
        offset_bytes += bytes.len() as u64;
        buffer = done.into_buffer().map_err(|_| "it was a vector")?;
    }
}
