//! A small file from its start to its end, with plain reads and writes by one worker.

use std::io;
use std::os::fd::OwnedFd;

use super::worker::Run;
use crate::digest::Output;
use crate::error::Cause;
use crate::pipeline::job::{ZERO_GRAIN_BYTES, next_data_run};
use crate::pipeline::small::read_whole;
use crate::pipeline::{Failure, Moved};
use crate::sys::fs;

/// What the address of a worker's buffer is a multiple of, for direct reads.
pub const BUFFER_ALIGN_BYTES: usize = 4096;

/// What is done with a file of this size.
#[derive(Clone, Copy)]
pub struct Streaming {
    pub size_bytes: u64,
    pub hash: bool,
    pub sparse: bool,
}

impl Run<'_> {
    /// Copies a file through the page cache, hashing in between; without a target it only hashes.
    pub fn stream(
        &self,
        source: &OwnedFd,
        target: Option<&OwnedFd>,
        Streaming { size_bytes, hash, sparse }: Streaming,
        buffer: &mut [u8],
    ) -> Result<Moved, Failure> {
        let fail = |op, offset_bytes, cause: Cause| Failure { op, offset_bytes, cause };
        let mut hasher = hash.then(blake3::Hasher::new);
        let mut written_bytes = 0u64;
        let read = |buffer: &mut [u8], offset_bytes, left_bytes| self.read(source, buffer, offset_bytes, left_bytes);
        let offset = read_whole(size_bytes, buffer, read, |bytes, offset| {
            if let Some(hasher) = &mut hasher {
                hasher.update(bytes);
            }
            let mut done = 0;
            while let Some(target) = target
                && let Some(run) = if sparse {
                    next_data_run(bytes, done, ZERO_GRAIN_BYTES)
                } else {
                    (done < bytes.len()).then_some(done..bytes.len())
                }
            {
                let at = offset + run.start as u64;
                write_all(&bytes[run.clone()], at, |bytes, at| self.write(target, bytes, at))
                    .map_err(|(at, cause)| fail("write", at, cause.into()))?;
                written_bytes += run.len() as u64;
                done = run.end;
            }
            Ok(())
        })?;
        if let Some(target) = target
            && written_bytes < offset
        {
            fs::set_size(target, offset).map_err(|cause| fail("write", offset, cause.into()))?;
        }
        let hash = hasher.as_ref().map(Output::of);
        Ok(Moved { hash, leaves: Vec::new(), whole: true, written_bytes, hole_bytes: offset - written_bytes })
    }

    /// pread(2), when its turn has come; so many bytes are left as far as is known.
    pub fn read(
        &self,
        source: &OwnedFd,
        buffer: &mut [u8],
        offset_bytes: u64,
        left_bytes: u64,
    ) -> Result<usize, Failure> {
        if let Some(pace) = &self.traffic.pace {
            self.stop.sleep_until(pace.turn(left_bytes.min(buffer.len() as u64)));
        }
        let begun = self.traffic.meter.start();
        let count = rustix::io::retry_on_intr(|| rustix::io::pread(source, &mut *buffer, offset_bytes))
            .map_err(|cause| Failure { op: "read", offset_bytes, cause: io::Error::from(cause).into() })?;
        if count > 0 {
            self.traffic.meter.read(count as u64, begun);
        }
        Ok(count)
    }

    /// One pwrite(2).
    fn write(&self, file: &OwnedFd, bytes: &[u8], offset_bytes: u64) -> rustix::io::Result<usize> {
        let begun = self.traffic.meter.start();
        let count = rustix::io::pwrite(file, bytes, offset_bytes)?;
        self.traffic.meter.wrote(count as u64, begun);
        Ok(count)
    }
}

/// Calls `write`, which is pwrite(2) or stands for it, until all is written. The error says where.
pub fn write_all(
    bytes: &[u8],
    offset_bytes: u64,
    write: impl Fn(&[u8], u64) -> rustix::io::Result<usize>,
) -> Result<(), (u64, io::Error)> {
    let mut done = 0;
    while done < bytes.len() {
        let at = offset_bytes + done as u64;
        match rustix::io::retry_on_intr(|| write(&bytes[done..], at)) {
            Ok(0) => return Err((at, io::ErrorKind::WriteZero.into())),
            Ok(count) => done += count,
            Err(error) => return Err((at, error.into())),
        }
    }
    Ok(())
}
