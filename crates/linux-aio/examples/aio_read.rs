//! Prints a file with POSIX AIO: a loop of aio_read, aio_error and aio_return.

use std::error::Error;
use std::fs::File;
use std::io::{Write, stdout};
use std::{sync::Arc, thread};

use linux_aio::Op;
use linux_aio::posix::{Notify, Request, Status};

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: aio_read FILE")?;
    let file = Arc::new(File::open(path)?);
    let (mut buffer, mut offset_bytes) = (vec![0; 64 << 10], 0);
    loop {
        // aio_read takes the buffer.
        let read = Op::read(&file, buffer, offset_bytes);
        let request = Request::start(read, Notify::None, 0)?;
        // aio_error says whether it is over. A program would do its work meanwhile.
        while let Status::InProgress = request.status() {
            thread::yield_now();
        }
        // aio_return gives the count, and the buffer back.
        let done = request.finish().map_err(|_| "it was over")?;
        let Some(bytes) = done.bytes() else { return Err(done.result.unwrap_err().into()) };
        if bytes.is_empty() {
            return Ok(stdout().flush()?);
        }
        stdout().write_all(bytes)?;
        offset_bytes += bytes.len() as u64;
        buffer = done.into_buffer().map_err(|_| "it was a vector")?;
    }
}
