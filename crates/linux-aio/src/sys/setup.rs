//! Why there is no context.

use std::error::Error;
use std::fmt;
use std::io;

/// Why there is no context, and what can be done about it: io_setup(2) has refused, or there is
/// none of what else it needs.
///
/// It becomes an [`io::Error`] by `?`, which keeps it inside. That has the kind and the text, and
/// no errno: [`raw_os_error`](Self::raw_os_error) has.
///
/// ```
/// use linux_aio::{Context, kernel::Handle};
/// use std::io::ErrorKind;
///
/// let errors = [
///     Context::new(0).map(drop).unwrap_err(),
///     Context::with_eventfd(0).map(drop).unwrap_err(),
///     Handle::new(0).map(drop).unwrap_err(),
/// ];
/// assert!(errors.iter().all(|error| error.kind() == ErrorKind::InvalidInput));
/// ```
#[derive(Debug)]
pub struct SetupError {
    source: io::Error,
    lack: Lack,
    capacity: u32,
    /// What `aio-nr` and `aio-max-nr` said, where they are to blame.
    limits: Option<[String; 2]>,
}

/// What could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Context,
    Eventfd,
    Poll,
}

impl SetupError {
    /// io_setup(2) has refused.
    pub(super) fn new(source: io::Error, capacity: u32) -> Self {
        let read = |path| {
            let text = std::fs::read_to_string(path);
            text.map_or_else(|error| error.to_string(), |text| text.trim().to_owned())
        };
        let limits =
            (source.raw_os_error() == Some(libc::EAGAIN)).then(|| [TAKEN, LIMIT].map(read));
        Self { source, lack: Lack::Context, capacity, limits }
    }

    /// There is no eventfd(2) for the context.
    pub(super) fn of_eventfd(source: io::Error, capacity: u32) -> Self {
        Self { source, lack: Lack::Eventfd, capacity, limits: None }
    }

    /// The context takes no polls.
    pub(super) fn of_poll(source: io::Error, capacity: u32) -> Self {
        Self { source, lack: Lack::Poll, capacity, limits: None }
    }

    /// The kernel's error number: EAGAIN, EINVAL, ENOMEM, ENOSYS or EPERM; of an eventfd EMFILE or
    /// ENFILE too.
    ///
    /// ```
    /// use linux_aio::Context;
    ///
    /// assert_eq!(Context::new(0).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    /// ```
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
        match self.lack {
            Lack::Context => {}
            Lack::Eventfd => return write!(f, "no eventfd for the context: {}", self.source),
            Lack::Poll => return write!(f, "the context takes no polls: {}", self.source),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_lacking_and_keeps_the_error_number() {
        let of = io::Error::from_raw_os_error;
        let errors = [
            (SetupError::of_eventfd(of(libc::EMFILE), 4), libc::EMFILE, "no eventfd"),
            (SetupError::of_poll(of(libc::EINVAL), 4), libc::EINVAL, "no polls"),
            (SetupError::new(of(libc::ENOSYS), 4), libc::ENOSYS, "no AIO"),
            (SetupError::new(of(libc::EPERM), 4), libc::EPERM, "a sandbox"),
            (SetupError::new(of(libc::EINVAL), 0), libc::EINVAL, "Invalid argument"),
        ];
        for (error, number, says) in errors {
            assert_eq!((error.raw_os_error(), error.kind()), (Some(number), of(number).kind()));
            assert!(error.to_string().contains(says), "{error}");
            let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
            assert_eq!(source.raw_os_error(), Some(number));
            assert!(io::Error::from(error).to_string().contains(says));
        }
    }
}
