//! Linux kernel AIO as an [`Engine`]: io_setup(2), io_submit(2), io_getevents(2), io_destroy(2).
//!
//! Give it descriptors with `O_DIRECT` (on any other, io_submit does the whole work itself), fsyncs, and
//! polls. Dropping it waits for everything in flight.

use std::io;
use std::time::Duration;

use super::{Done, Engine, Op};
use crate::sys::Context;

/// One kernel AIO context.
pub struct Kernel(Context);

impl Kernel {
    /// A context for `capacity` operations. The error tells what can be done: EAGAIN names
    /// `/proc/sys/fs/aio-max-nr`, its value, and what was asked for.
    pub fn new(capacity: u32) -> io::Result<Self> {
        Context::new(capacity).map(Self).map_err(|error| match error.raw_os_error() {
            Some(libc::EAGAIN) => io::Error::new(error.kind(), too_many(capacity)),
            Some(libc::ENOSYS) => io::Error::new(error.kind(), "this kernel has no AIO (io_setup: ENOSYS)"),
            Some(libc::EPERM) => io::Error::new(error.kind(), "a sandbox forbids kernel AIO (io_setup: EPERM)"),
            _ => error,
        })
    }
}

fn too_many(capacity: u32) -> String {
    const LIMIT: &str = "/proc/sys/fs/aio-max-nr";
    let limit = std::fs::read_to_string(LIMIT).map_or_else(|error| error.to_string(), |text| text.trim().to_owned());
    format!("io_setup for {capacity} operations would pass {LIMIT} ({limit}); raise it with sysctl fs.aio-max-nr")
}

impl Engine for Kernel {
    fn queue(&mut self, op: Op) -> Result<(), Op> {
        self.0.queue(op)
    }

    fn submit(&mut self) -> io::Result<()> {
        self.0.submit()
    }

    fn reap(&mut self, min: usize, timeout: Option<Duration>, out: &mut Vec<Done>) -> io::Result<usize> {
        self.0.reap(min, timeout, out)
    }

    fn in_flight(&self) -> usize {
        self.0.in_flight()
    }
}
