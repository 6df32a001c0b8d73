//! Copies a file, a pipe or a socket's stream with POSIX AIO, a block written while one is read.

use std::{fs::File, os::fd::OwnedFd, sync::Arc};

use linux_aio::posix::{Notify, Request};
use linux_aio::{Done, Op, OpKind, Part, Pool};

const BLOCK_BYTES: usize = 1 << 20;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn start(op: Op) -> std::io::Result<Request> {
    Ok(Request::start(op, Notify::None, 0)?)
}

fn main() -> Result<()> {
    let paths: Vec<String> = std::env::args().collect();
    let [_, from, to] = &paths[..] else { return Err("usage: copy_posix FROM TO".into()) };
    let source = Arc::new(OwnedFd::from(File::open(from)?));
    let target = Arc::new(OwnedFd::from(File::create(to)?));
    let pool = Pool::new(2, BLOCK_BYTES)?;
    let mut offset = 0;
    let mut writing: Option<Request> = None;
    loop {
        let buffer = pool.get().ok_or("both buffers are in use")?;
        let reading = start(Op::read(Arc::clone(&source), buffer, offset))?;
        if let Some(request) = writing.take() {
            finish_write(request.wait())?;
        }
        let Done { op, result, .. } = reading.wait();
        let (count, OpKind::Read(part)) = (result?, op.kind) else {
            return Err("a read comes back a read".into());
        };
        if count == 0 {
            break;
        }
        let part = Part::new(part.buffer.freeze(), 0..count);
        writing = Some(start(Op::new(Arc::clone(&target), OpKind::Write(part)).at(offset))?);
        offset += count as u64;
    }
    Ok(start(Op::new(target, OpKind::Fsync))?.wait().result.map(drop)?)
}

/// Writes the rest after a short count.
fn finish_write(mut done: Done) -> Result<()> {
    loop {
        done = match done.rest() {
            Ok(rest) => start(rest)?.wait(),
            Err(over) => match over.result? {
                0 => return Err("nothing was written".into()),
                _ => return Ok(()),
            },
        };
    }
}
