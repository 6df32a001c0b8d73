//! A small file from its start to its end, with plain writes by one worker.

use std::io;
use std::os::fd::OwnedFd;

use super::worker::Run;
use crate::digest::Output;
use crate::error::Operation;
use crate::fs;
use crate::pipeline::job::{ZERO_GRAIN_BYTES, next_data_run};
use crate::pipeline::small::read_whole;
use crate::pipeline::{Failure, Moved};

/// What is done with a file of this size.
#[derive(Clone, Copy)]
pub struct Streaming {
    pub size_bytes: u64,
    pub hash: bool,
    pub sparse: bool,
}

/// A small file on its way from one to the other.
struct Stream<'a> {
    run: &'a Run<'a>,
    target: Option<&'a OwnedFd>,
    sparse: bool,
    hasher: Option<blake3::Hasher>,
    written_bytes: u64,
}

impl Run<'_> {
    /// Copies a file, hashing on the way; without a target it only hashes. What is not in memory
    /// already, as its `contents`, is read through the page cache.
    pub fn stream(
        &self,
        source: &OwnedFd,
        target: Option<&OwnedFd>,
        Streaming { size_bytes, hash, sparse }: Streaming,
        contents: Option<&[u8]>,
        buffer: &mut [u8],
    ) -> Result<Moved, Failure> {
        let hasher = hash.then(blake3::Hasher::new);
        let mut stream = Stream { run: self, target, sparse, hasher, written_bytes: 0 };
        let read_bytes = match contents {
            Some(bytes) => stream.take(bytes, 0).map(|()| bytes.len() as u64),
            None => {
                let read = |buffer: &mut [u8], offset_bytes, left_bytes| {
                    self.read(source, buffer, offset_bytes, left_bytes)
                };
                read_whole(size_bytes, buffer, read, |bytes, offset_bytes| {
                    stream.take(bytes, offset_bytes)
                })
            }
        }?;
        stream.end(read_bytes)
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
        let count =
            rustix::io::retry_on_intr(|| rustix::io::pread(source, &mut *buffer, offset_bytes))
                .map_err(|cause| {
                    Failure::source(Operation::Read, offset_bytes, io::Error::from(cause))
                })?;
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

impl Stream<'_> {
    /// Hashes the next bytes, and writes what of them is to be written.
    fn take(&mut self, bytes: &[u8], offset_bytes: u64) -> Result<(), Failure> {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        let mut done = 0;
        while let Some(target) = self.target
            && let Some(run) = if self.sparse {
                next_data_run(bytes, done, ZERO_GRAIN_BYTES)
            } else {
                (done < bytes.len()).then_some(done..bytes.len())
            }
        {
            let at = offset_bytes + run.start as u64;
            fs::write_all(&bytes[run.clone()], at, |bytes, at| self.run.write(target, bytes, at))
                .map_err(|(offset_bytes, cause)| {
                Failure::target(Operation::Write, offset_bytes, cause)
            })?;
            self.written_bytes += run.len() as u64;
            done = run.end;
        }
        Ok(())
    }

    /// Gives the target its size if it ends with a hole.
    fn end(self, size_bytes: u64) -> Result<Moved, Failure> {
        let Self { target, hasher, written_bytes, .. } = self;
        if let Some(target) = target
            && written_bytes < size_bytes
        {
            let failed = |cause: io::Error| Failure::target(Operation::Write, size_bytes, cause);
            fs::set_size(target, size_bytes).map_err(failed)?;
        }
        let hash = hasher.as_ref().map(Output::of);
        Ok(Moved {
            hash,
            leaves: Vec::new(),
            whole: true,
            written_bytes,
            hole_bytes: size_bytes - written_bytes,
        })
    }
}
