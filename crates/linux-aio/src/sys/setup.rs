//! Why there is no context.

use std::error::Error;
use std::fmt;
use std::io;

/// Why io_setup(2) has made no context, and what can be done about it.
///
/// It becomes an [`io::Error`] by `?`, which keeps it inside. That has the kind and the text, and
/// no errno: [`raw_os_error`](Self::raw_os_error) has.
#[derive(Debug)]
pub struct SetupError {
    source: io::Error,
    capacity: u32,
    /// What `aio-nr` and `aio-max-nr` said, where they are to blame.
    limits: Option<[String; 2]>,
}

impl SetupError {
    pub(super) fn new(source: io::Error, capacity: u32) -> Self {
        let read = |path| {
            let text = std::fs::read_to_string(path);
            text.map_or_else(|error| error.to_string(), |text| text.trim().to_owned())
        };
        let limits =
            (source.raw_os_error() == Some(libc::EAGAIN)).then(|| [TAKEN, LIMIT].map(read));
        Self { source, capacity, limits }
    }

    /// The kernel's error number: EAGAIN, EINVAL, ENOMEM, ENOSYS or EPERM.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.source.raw_os_error()
    }

    /// What kind of error it is.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Places that all contexts of the machine may have, and those that they have.
const LIMIT: &str = "/proc/sys/fs/aio-max-nr";
const TAKEN: &str = "/proc/sys/fs/aio-nr";

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.raw_os_error(), &self.limits) {
            (_, Some([taken, limit])) => write!(
                f,
                "io_setup for {} operations would pass {LIMIT} ({limit}), of which {TAKEN} are \
                 taken ({taken})",
                self.capacity
            ),
            (Some(libc::ENOSYS), _) => f.write_str("this kernel has no AIO (io_setup: ENOSYS)"),
            (Some(libc::EPERM), _) => f.write_str("a sandbox forbids kernel AIO (io_setup: EPERM)"),
            _ => self.source.fmt(f),
        }
    }
}

impl Error for SetupError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

impl From<SetupError> for io::Error {
    fn from(error: SetupError) -> Self {
        Self::new(error.kind(), error)
    }
}
