//! A small file from its start to its end, with plain writes by one worker.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, retry_on_intr};

use crate::copy::stop::Stop;
use crate::digest::Output;
use crate::error::{Cause, Operation};
use crate::fs::{self, FileType, Stat};
use crate::pipeline::small::read_whole;
use crate::pipeline::zeros::{ZERO_GRAIN_BYTES, next_data_run};
use crate::pipeline::{Failure, Moved, SMALL_BYTES_MAX, Traffic};
use crate::report::Totals;

/// How long a stream is waited for until the wish to stop is looked at.
const STREAM_PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What moves small files. What it reads and writes is counted and paced.
pub struct SmallFiles<'a> {
    pub traffic: Traffic,
    pub stop: &'a Stop,
    pub totals: &'a Totals,
}

/// As long as this lives, not all that there is to copy has been found.
struct UnknownSize<'a>(&'a Totals);

impl<'a> UnknownSize<'a> {
    fn begin(totals: &'a Totals) -> Self {
        Totals::add(&totals.streams, 1);
        Self(totals)
    }
}

impl Drop for UnknownSize<'_> {
    fn drop(&mut self) {
        Totals::take(&self.0.streams, 1);
    }
}

/// A small file that is to be moved.
pub struct SmallFile<'a> {
    pub source: &'a OwnedFd,
    /// Where it is written; nowhere if it is only to be hashed.
    pub target: Option<&'a OwnedFd>,
    /// What it answered when it was opened.
    pub stat: &'a Stat,
    /// What it holds, if that was read already. Otherwise it is read through the page cache.
    pub contents: Option<&'a [u8]>,
    /// Whether it is hashed.
    pub hash: bool,
    /// Whether runs of zeros are left out.
    pub sparse: bool,
}

/// A small file on its way from one to the other.
struct Stream<'a> {
    traffic: &'a Traffic,
    totals: &'a Totals,
    target: Option<&'a OwnedFd>,
    sparse: bool,
    hasher: Option<blake3::Hasher>,
    written_bytes: u64,
    /// What counts as found of it: its size, and what came beyond that.
    found_bytes: u64,
}

impl SmallFiles<'_> {
    /// Moves a file, hashing on the way, in steps of the size of `buffer`.
    pub fn transfer(&self, file: &SmallFile<'_>, buffer: &mut [u8]) -> Result<Moved, Failure> {
        let is_regular = FileType::from_raw_mode(file.stat.st_mode) == FileType::RegularFile;
        let _unknown = (!is_regular).then(|| UnknownSize::begin(self.totals));
        let mut stream = Stream {
            traffic: &self.traffic,
            totals: self.totals,
            target: file.target,
            sparse: file.sparse,
            hasher: file.hash.then(blake3::Hasher::new),
            written_bytes: 0,
            found_bytes: file.stat.st_size as u64,
        };
        let read_bytes = match file.contents {
            Some(bytes) => {
                stream.take(bytes, 0)?;
                bytes.len() as u64
            }
            None => {
                let read = |buffer: &mut [u8], offset_bytes, left_bytes| {
                    self.read(file.source, buffer, offset_bytes, left_bytes)
                };
                let take = |bytes: &[u8], offset_bytes| stream.take(bytes, offset_bytes);
                read_whole(file.source, file.stat, buffer, read, take)?
            }
        };
        stream.end(read_bytes)
    }

    /// pread(2), when its turn has come; so many bytes are left as far as is known.
    fn read(
        &self,
        source: &OwnedFd,
        buffer: &mut [u8],
        offset_bytes: u64,
        left_bytes: u64,
    ) -> Result<usize, Failure> {
        if offset_bytes > SMALL_BYTES_MAX && self.stop.is_requested() {
            return Err(Failure::source(Operation::Copy, offset_bytes, Cause::Interrupted));
        }
        if let Some(pace) = &self.traffic.pace {
            self.stop.sleep_until(pace.turn(left_bytes.min(buffer.len() as u64)));
        }
        let begun = self.traffic.meter.start();
        let error = |cause: Cause| Failure::source(Operation::Read, offset_bytes, cause);
        let count = match fs::read_at(source, buffer, offset_bytes) {
            Err(cause) if matches!(cause.raw_os_error(), Some(libc::ESPIPE | libc::EAGAIN)) => {
                self.read_stream(source, buffer).map_err(error)?
            }
            read => read.map_err(|cause| error(cause.into()))?,
        };
        if count > 0 {
            self.traffic.meter.read(count as u64, begun);
        }
        Ok(count)
    }
}

impl SmallFiles<'_> {
    /// read(2) of what has no offsets, when there is something to be read or it has ended. Its
    /// descriptor does not block, so that a request to stop is seen meanwhile. An end that comes
    /// after the request is none: the signal may have ended the writer as well.
    fn read_stream(
        &self,
        source: &OwnedFd,
        buffer: &mut [u8],
    ) -> std::result::Result<usize, Cause> {
        loop {
            match retry_on_intr(|| rustix::io::read(source, &mut *buffer)) {
                Err(Errno::AGAIN) => {}
                Ok(0) if self.stop.is_requested() => return Err(Cause::Interrupted),
                read => {
                    let read = read.map_err(io::Error::from);
                    return Ok(read.and_then(|count| fs::believed(count, buffer.len()))?);
                }
            }
            if self.stop.is_requested() {
                return Err(Cause::Interrupted);
            }
            let mut sources = [PollFd::new(source, PollFlags::IN)];
            retry_on_intr(|| poll(&mut sources, Some(&STREAM_PATIENCE)))
                .map_err(io::Error::from)?;
        }
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
            && let Some(run) = self.next_run(bytes, done)
        {
            let at = offset_bytes + run.start as u64;
            fs::write_all(&bytes[run.clone()], at, |bytes, at| self.write(target, bytes, at))
                .map_err(|(at, cause)| Failure::target(Operation::Write, at, cause))?;
            self.written_bytes += run.len() as u64;
            done = run.end;
        }
        self.count_beyond(offset_bytes + bytes.len() as u64);
        Ok(())
    }

    /// Counts what is done with and was not known of before it came.
    fn count_beyond(&mut self, end_bytes: u64) {
        let more_bytes = end_bytes.saturating_sub(self.found_bytes);
        if more_bytes > 0 {
            Totals::add(&self.totals.found_bytes, more_bytes);
            Totals::add(&self.traffic.meter.handled_bytes, more_bytes);
            self.found_bytes = end_bytes;
        }
    }

    /// The next bytes to be written.
    fn next_run(&self, bytes: &[u8], done: usize) -> Option<std::ops::Range<usize>> {
        match self.sparse {
            true => next_data_run(bytes, done, ZERO_GRAIN_BYTES),
            false => (done < bytes.len()).then_some(done..bytes.len()),
        }
    }

    /// One pwrite(2).
    fn write(&self, file: &OwnedFd, bytes: &[u8], offset_bytes: u64) -> rustix::io::Result<usize> {
        let begun = self.traffic.meter.start();
        let count = rustix::io::pwrite(file, bytes, offset_bytes)?;
        self.traffic.meter.wrote(count as u64, begun);
        Ok(count)
    }

    /// Gives the target its size if it ends with a hole.
    fn end(self, size_bytes: u64) -> Result<Moved, Failure> {
        let Self { target, hasher, written_bytes, .. } = self;
        if let Some(target) = target
            && written_bytes < size_bytes
        {
            fs::set_size(target, size_bytes)
                .map_err(|cause| Failure::target(Operation::Write, size_bytes, cause))?;
        }
        let hash = hasher.as_ref().map(Output::of);
        let hole_bytes = size_bytes - written_bytes;
        Ok(Moved { hash, leaves: Vec::new(), whole: true, written_bytes, hole_bytes })
    }
}
