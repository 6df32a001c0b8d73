//! Operations that are not taken: errors that give them back.

use std::error::Error;
use std::fmt;
use std::io;

use super::done::Done;
use super::op::Op;

/// There is no room for one more operation before another has been reaped. It is inside, with its
/// callback if it had one.
///
/// As an [`io::Error`], which `?` makes of it, it is [`WouldBlock`](io::ErrorKind::WouldBlock).
/// **The operation is dropped then**, with its buffer and its file: `?` is for who counts and knows
/// that there is room. Match on it to keep the operation:
///
/// ```
/// use linux_aio::{Context, Full, Op};
/// use std::{fs::File, sync::Arc};
///
/// # fn main() -> std::io::Result<()> {
/// let file = Arc::new(File::open("/dev/zero")?);
/// let mut context = Context::new(1)?;
/// context.queue(Op::read(&file, vec![1; 100], 0))?;
/// let mut done = Vec::new();
/// let mut op = Op::read(&file, vec![2; 200], 0);
/// while let Err(Full(back)) = context.queue(op) {
///     context.submit_and_reap(1, None, &mut done)?;
///     op = back;
/// }
/// context.submit_and_reap(1, None, &mut done)?;
/// assert_eq!(done[1].bytes().map(<[u8]>::len), Some(200));
/// # Ok(())
/// # }
/// ```
pub struct Full<T = Op>(pub T);

impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Full").finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no room for an operation before another one has been reaped")
    }
}

impl<T> Error for Full<T> {}

impl<T> From<Full<T>> for io::Error {
    fn from(full: Full<T>) -> Self {
        Self::new(io::ErrorKind::WouldBlock, full.to_string())
    }
}

/// An operation that was not started, and why.
///
/// As an [`io::Error`], which `?` makes of it, it is its cause, and the operation is dropped.
///
/// ```
/// # #[cfg(feature = "posix")] {
/// use linux_aio::{Op, posix::{Notify, Request}};
/// use std::fs::File;
///
/// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
/// let refused = Request::start(read, Notify::None, -1).unwrap_err();
/// assert_eq!(refused.error.raw_os_error(), Some(libc::EINVAL));
/// // With another priority it goes.
/// assert_eq!(Request::start(refused.op, Notify::None, 0)?.wait().result?, 3);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused {
    /// The operation, with its buffer.
    pub op: Op,
    /// Why it was not started.
    pub error: io::Error,
}

impl Refused {
    /// An operation, and why it is not started.
    ///
    /// ```
    /// use linux_aio::{Done, Op, Refused};
    /// use std::{fs::File, io};
    ///
    /// // What an engine of one's own says of an operation that it does not take.
    /// let op = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// let refused = Refused::new(op, io::Error::from_raw_os_error(libc::EOPNOTSUPP));
    /// assert!(Done::from(refused).result.is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(op: Op, error: io::Error) -> Self {
        Self { op, error }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the operation was not started")
    }
}

impl Error for Refused {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// It is over, with that error.
impl From<Refused> for Done {
    fn from(refused: Refused) -> Self {
        Self::new(refused.op, Err(refused.error))
    }
}

#[cfg(test)]
mod tests {

    use super::super::OpKind;
    use super::*;

    fn op() -> Op {
        Op::new(std::fs::File::open("/dev/null").unwrap(), OpKind::Fsync).tag(7)
    }

    #[test]
    fn what_is_not_taken_passes_through_a_question_mark_and_gives_its_operation_back() {
        fn asked<T>(answer: Result<(), T>) -> io::Result<()>
        where
            io::Error: From<T>,
        {
            Ok(answer?)
        }
        let eperm = || io::Error::from_raw_os_error(libc::EPERM);
        let full = asked(Err(Full(op()))).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        let refused = asked(Err(Refused::new(op(), eperm()))).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
        // Those that go to another thread, or into a larger error, are errors too.
        let errors: [Box<dyn Error + Send + Sync>; 2] =
            [Box::new(Full((op(), ()))), Box::new(Refused::new(op(), eperm()))];
        assert!(errors.iter().all(|error| !format!("{error}{error:?}").is_empty()));
        let refused = errors[1].downcast_ref::<Refused>().unwrap();
        assert_eq!(
            (refused.op.tag, refused.source().unwrap().to_string()),
            (7, eperm().to_string())
        );
        let done = Done::from(Refused::new(op(), eperm()));
        assert_eq!((done.op.tag, done.result.unwrap_err().raw_os_error()), (7, Some(libc::EPERM)));
    }
}
