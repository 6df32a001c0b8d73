//! Copies a file with kernel AIO: 16 blocks in flight, each written as soon as it has been read.

use std::fs::{File, OpenOptions};
use std::{error::Error, os::fd::OwnedFd, os::unix::fs::OpenOptionsExt, sync::Arc};

use linux_aio::{Context, Op, OpKind, Part, Pool};

const BLOCK_BYTES: u64 = 1 << 20;
const ALIGN_BYTES: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = std::env::args().skip(1);
    let (Some(from), Some(to)) = (paths.next(), paths.next()) else {
        return Err("usage: copy_kernel FROM TO".into());
    };
    let source = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(from)?;
    let size = source.metadata()?.len();
    // The file is created without O_DIRECT, which open may refuse after making the file. It gets
    // its size first, since writes that extend a file are synchronous.
    File::create(&to)?.set_len(size.next_multiple_of(ALIGN_BYTES as u64))?;
    let target = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT).open(&to)?;
    let (source, target) = (Arc::new(OwnedFd::from(source)), Arc::new(OwnedFd::from(target)));

    let pool = Pool::new(16, BLOCK_BYTES as usize)?;
    let mut context = Context::new(16)?;
    let (mut next, mut done) = (0, Vec::new());
    while next < size || context.in_flight() > 0 {
        while next < size
            && let Some(buffer) = pool.get()
        {
            context.queue(Op::read(Arc::clone(&source), buffer, next))?;
            next += BLOCK_BYTES;
        }
        context.submit();
        context.reap(1, None, &mut done)?;
        for done in done.drain(..) {
            let (count, offset) = (done.result?, done.op.offset_bytes);
            // Direct writes need whole blocks. What lies beyond the end is cut below.
            let whole = count.next_multiple_of(ALIGN_BYTES);
            let (part, at) = match done.op.kind {
                OpKind::Read(_) if (count as u64) < BLOCK_BYTES.min(size - offset) => {
                    return Err("the file changed while it was being copied".into());
                }
                OpKind::Read(part) => (Part::new(part.buffer.freeze(), 0..whole), offset),
                OpKind::Write(_) if count == 0 => return Err("nothing was written".into()),
                // A short count leaves the rest to be written.
                OpKind::Write(part) if part.start + count < part.end => {
                    (Part::new(part.buffer, part.start + count..part.end), offset + count as u64)
                }
                _ => continue,
            };
            let write = Op::new(Arc::clone(&target), OpKind::Write(part)).at(at);
            context.queue(write)?;
        }
    }
    let target = File::from(Arc::into_inner(target).ok_or("the target is still in use")?);
    target.set_len(size)?;
    Ok(target.sync_all()?)
}
