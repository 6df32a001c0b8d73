//! A request that glibc carries out, from its start to its end.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

#[cfg(target_env = "gnu")]
use super::cell::UNSTARTED;
use super::cell::{
    Cancelled, Cell, LIST_MAX, assert_owner, cancel, control, error_code, fildes, free,
    in_forked_child, make, no_threads, reclaim, result, settle,
};
use super::notify::{Notify, free_callback, sigevent};
use super::orphans::{Orphan, abandon, orphans};
use super::raw::{self, Aiocb, timespec};
use crate::sys::done::Done;
use crate::sys::op::{Op, OpKind};
use crate::sys::refused::Refused;

/// How a request stands; see aio_error(3), which knows no more than these.
///
/// ```
/// use linux_aio::{Op, posix::{Notify, Request, Status}};
/// use std::os::fd::OwnedFd;
///
/// let (reader, writer) = std::io::pipe()?;
/// let read = Op::read(OwnedFd::from(reader), vec![0; 10], 0);
/// let request = Request::start(read, Notify::None, 0)?;
/// assert!(matches!(request.status(), Status::InProgress));
/// // The pipe ends.
/// drop(writer);
/// assert_eq!(request.wait().result?, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub enum Status {
    /// Queued or running (EINPROGRESS).
    InProgress,
    /// Over, without an error.
    Finished,
    /// Cancelled before it ran (ECANCELED).
    Cancelled,
    /// Over, with this error.
    Failed(io::Error),
}

/// How a wait ended; see aio_suspend(3), which knows no more than these.
///
/// ```
/// use linux_aio::{Op, posix::{Notify, Request, Suspended, suspend}};
/// use std::{os::fd::OwnedFd, time::Duration};
///
/// let (reader, writer) = std::io::pipe()?;
/// let read = Op::read(OwnedFd::from(reader), vec![0; 10], 0);
/// let request = Request::start(read, Notify::None, 0)?;
/// assert_eq!(suspend(&[&request], Some(Duration::ZERO))?, Suspended::TimedOut);
/// drop(writer);
/// while suspend(&[&request], None)? != Suspended::Finished {}
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspended {
    /// At least one of the requests is over.
    Finished,
    /// The time is over (EAGAIN).
    TimedOut,
    /// A signal handler ran (EINTR).
    Interrupted,
}

/// A request that was handed to glibc, the `struct aiocb` of aio(7), with its operation. glibc
/// keeps its address, so it stays where it is: what is moved is a pointer.
///
/// ```
/// use linux_aio::{Op, posix::{Notify, Request}};
/// use std::{fs::File, sync::Arc};
///
/// let file = Arc::new(File::open("/dev/zero")?);
/// let start = |len_bytes| Request::start(Op::read(&file, vec![1; len_bytes], 0), Notify::None, 0);
/// let (first, second) = (start(3)?, start(4)?);
/// assert_eq!((first.wait().result?, second.wait().result?), (3, 4));
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Request(pub(super) NonNull<Cell>);

// SAFETY: the cell is reached by glibc through functions that any thread may call, and by the owner
// of the `Request`.
unsafe impl Send for Request {}
// SAFETY: `&Request` gives only the address of `control` to functions of glibc that lock.
unsafe impl Sync for Request {}

/// It asks the C library for nothing, so that a forked child may print it too.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").finish_non_exhaustive()
    }
}

#[cfg(target_env = "gnu")]
#[repr(C)]
struct AioInit {
    threads: libc::c_int,
    num: libc::c_int,
    unused: [libc::c_int; 4],
    idle_s: libc::c_int,
    reserved: libc::c_int,
}

#[cfg(target_env = "gnu")]
unsafe extern "C" {
    fn aio_init(init: *const AioInit);
}

/// Asks for at most `threads` threads, which without this are 20: aio_init(3). Only the last call
/// before the first request of the process has an effect, and `Posix::new` is one; with other C
/// libraries than glibc there is none. Never blocks and never fails; glibc takes a number below 1
/// for 1.
///
/// ```
/// use linux_aio::posix::{Notify, Request, set_threads};
///
/// set_threads(8);
/// let read = linux_aio::Op::read(std::fs::File::open("/dev/zero")?, vec![1; 3], 0);
/// assert_eq!(Request::start(read, Notify::None, 0)?.wait().result?, 3);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn set_threads(threads: usize) {
    #[cfg(target_env = "gnu")]
    if !in_forked_child() {
        let threads = libc::c_int::try_from(threads).unwrap_or(libc::c_int::MAX);
        // `num` is how many requests are expected, 64 without this; the idle time, in seconds, is
        // glibc's own.
        let init = AioInit { threads, num: 64, unused: [0; 4], idle_s: 1, reserved: 0 };
        // SAFETY: glibc reads one live struct of its own layout, under its lock.
        unsafe { aio_init(&raw const init) }
    }
    #[cfg(not(target_env = "gnu"))]
    let _unheeded = threads;
}

impl Request {
    /// Hands an operation to glibc: aio_read(3), aio_write(3) or aio_fsync(3). It does not block,
    /// but it may wait for glibc's lock.
    ///
    /// `reqprio` lowers the request's priority, 0 to 20. Another one is refused (EINVAL), and so is
    /// a range that is not within the buffer. EAGAIN when there is no memory or no thread; EBADF
    /// from aio_fsync; EOPNOTSUPP for vectors, polls, `RWF_*` and eventfds, which POSIX does not
    /// have. In a forked child of a process that has used this, every operation is refused.
    /// [`status`](Self::status) alone reports a bad descriptor of a read or write.
    ///
    /// ```
    /// use linux_aio::{Op, posix::{Notify, Request}};
    ///
    /// let write = Op::write(tempfile::tempfile()?, b"hello".to_vec(), 0);
    /// assert_eq!(Request::start(write, Notify::None, 0)?.wait().result?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    // The operation is what a caller must not lose; it is as large as it is.
    #[allow(clippy::result_large_err)]
    pub fn start(op: Op, notify: Notify, reqprio: i32) -> Result<Self, Refused> {
        if in_forked_child() {
            return Err(Refused::new(op, no_threads()));
        }
        orphans();
        Self::hand_over(op, notify, reqprio, |_| ()).map(Self)
    }

    /// Starts an operation, and leaves it to `callback`, which is called when it is over, with its
    /// completion: as [`start`](Self::start) with
    /// [`Notify::Callback`](super::Notify::Callback), whose callback has to find the request.
    ///
    /// The callback is called on a thread that the C library makes for it. A panic in it is printed
    /// and ends there. Where no thread can be made, there is no call, and the operation is leaked.
    /// Of an operation that is refused the callback is dropped.
    ///
    /// ```
    /// use linux_aio::{Op, posix::Request};
    /// use std::{fs::File, sync::mpsc};
    ///
    /// let (sender, receiver) = mpsc::channel();
    /// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// Request::start_with(read, move |done| sender.send(done).unwrap(), 0)?;
    /// assert_eq!(receiver.recv().unwrap().bytes(), Some(&[0, 0, 0][..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[allow(clippy::result_large_err)]
    pub fn start_with(
        op: Op,
        callback: impl FnOnce(Done) + Send + 'static,
        reqprio: i32,
    ) -> Result<(), Refused> {
        if in_forked_child() {
            return Err(Refused::new(op, no_threads()));
        }
        orphans();
        // Filled before the request begins, and so before it can be over.
        let place = Arc::new(Mutex::new(None));
        let filled = Arc::clone(&place);
        let take = move || filled.lock().unwrap_or_else(PoisonError::into_inner).take();
        let call = move || {
            if let Some(Orphan(cell)) = take() {
                callback(Self(cell).wait());
            }
        };
        let fill = |cell| {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(Orphan(cell));
        };
        Self::hand_over(op, Notify::Callback(Box::new(call)), reqprio, fill).map(drop)
    }

    /// [`start`](Self::start) in a process that may, without a look at those that were dropped.
    #[allow(clippy::result_large_err)]
    pub(super) fn start_one(op: Op, notify: Notify) -> Result<Self, Refused> {
        Self::hand_over(op, notify, 0, |_| ()).map(Self)
    }

    /// Hands an operation to the C library. What is to be known of the request before it
    /// begins is told to `before`.
    #[allow(clippy::result_large_err)]
    fn hand_over(
        op: Op,
        notify: Notify,
        reqprio: i32,
        before: impl FnOnce(NonNull<Cell>),
    ) -> Result<NonNull<Cell>, Refused> {
        let start = starter(&op.kind);
        let (event, callback) = match sigevent(notify) {
            Ok(made) => made,
            Err(error) => return Err(Refused::new(op, error)),
        };
        let cell = match make(op, reqprio, event) {
            Ok(cell) => cell,
            Err(refused) => {
                free_callback(callback);
                return Err(refused);
            }
        };
        before(cell);
        // SAFETY: the aiocb lives until `aio_error` says that the request is over, and its
        // descriptor stays open. It owns the buffer that it names: an exclusive `Buffer` for a
        // read, a `SharedBuffer` that cannot be changed for a write.
        let result = unsafe { start(control(cell)) };
        if result == 0 {
            return Ok(cell);
        }
        let error = io::Error::last_os_error();
        free_callback(callback);
        Err(Refused::new(free(cell), error))
    }

    /// A request that was [marked](mark_unstarted) and that glibc may have, or the operation that
    /// it had no memory for.
    #[cfg(target_env = "gnu")]
    #[allow(clippy::result_large_err)]
    pub(super) fn unless_unstarted(self) -> Result<Self, Refused> {
        let cell = self.0;
        if error_code(cell) != UNSTARTED {
            return Ok(self);
        }
        std::mem::forget(self);
        Err(Refused::new(free(cell), io::Error::from_raw_os_error(libc::EAGAIN)))
    }

    /// How it stands: aio_error(3). Does not block.
    ///
    /// ```
    /// use linux_aio::{Op, posix::{Notify, Request, Status}};
    /// use std::{fs::File, thread};
    ///
    /// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// let request = Request::start(read, Notify::None, 0)?;
    /// while let Status::InProgress = request.status() {
    ///     thread::yield_now();
    /// }
    /// assert!(matches!(request.status(), Status::Finished));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// In a forked child, where no request of the parent ever ends.
    pub fn status(&self) -> Status {
        assert_owner();
        match error_code(self.0) {
            libc::EINPROGRESS => Status::InProgress,
            0 => Status::Finished,
            libc::ECANCELED => Status::Cancelled,
            code => Status::Failed(io::Error::from_raw_os_error(code)),
        }
    }

    /// Takes the result and the operation with its buffer: aio_return(3), once. In progress, the
    /// request comes back. Does not block. The result is that of read(2), write(2) or fsync(2), or
    /// ECANCELED.
    ///
    /// ```
    /// use linux_aio::{Op, posix::{Notify, Request, suspend}};
    /// use std::fs::File;
    ///
    /// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// let mut request = Request::start(read, Notify::None, 0)?;
    /// let done = loop {
    ///     match request.finish() {
    ///         Ok(done) => break done,
    ///         Err(in_progress) => request = in_progress,
    ///     }
    ///     suspend(&[&request], None)?;
    /// };
    /// assert_eq!(done.bytes(), Some(&[0, 0, 0][..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// In a forked child.
    #[allow(clippy::result_large_err)]
    pub fn finish(self) -> Result<Done, Self> {
        let status = self.status();
        if matches!(status, Status::InProgress) {
            return Err(self);
        }
        let cell = self.0;
        std::mem::forget(self);
        settle(cell);
        let result = match status {
            Status::Cancelled => Err(io::Error::from_raw_os_error(libc::ECANCELED)),
            Status::Failed(error) => Err(error),
            Status::Finished | Status::InProgress => result(cell),
        };
        Ok(Done::new(reclaim(cell), result))
    }

    /// Blocks until it is over, signals or not, and takes the result: aio_suspend(3) and
    /// aio_return(3). From a silent pipe that is for ever.
    ///
    /// ```
    /// use linux_aio::{Op, OpKind, posix::{Notify, Request}};
    ///
    /// let sync = Op::new(tempfile::tempfile()?, OpKind::Fsync);
    /// assert_eq!(Request::start(sync, Notify::None, 0)?.wait().result?, 0);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// In a forked child.
    pub fn wait(mut self) -> Done {
        loop {
            match self.finish() {
                Ok(done) => return done,
                Err(request) => self = request,
            }
            let suspended = suspend(&[&self], None);
            debug_assert!(suspended.is_ok(), "aio_suspend: {suspended:?}");
        }
    }

    /// Asks for it to be cancelled: aio_cancel(3). Whatever the answer, the request still has to be
    /// finished. Does not block; of a descriptor that is open, as this one is, no error is known.
    ///
    /// glibc up to 2.36 has a fault here. While all its threads are busy, none serves this
    /// descriptor yet. Cancelling the first of several requests on it then leaves the others where
    /// no thread finds them, until they are cancelled too. [`cancel_all`] has no such fault, and
    /// neither has a request with a descriptor to itself.
    ///
    /// ```
    /// use linux_aio::{Op, posix::{Cancelled, Notify, Request}};
    /// use std::fs::File;
    ///
    /// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// let request = Request::start(read, Notify::None, 0)?;
    /// let is_cancelled = request.cancel()? == Cancelled::Cancelled;
    /// // In any case it is over only now.
    /// assert_eq!(request.wait().result.is_err(), is_cancelled);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Panics
    /// In a forked child.
    pub fn cancel(&self) -> io::Result<Cancelled> {
        assert_owner();
        cancel(fildes(self.0), control(self.0))
    }
}

impl Drop for Request {
    /// Never blocks. What is in progress goes on to its end in the registry, see [`orphans`].
    /// Cancelling it here could strand the other requests on its descriptor, see
    /// [`Request::cancel`].
    fn drop(&mut self) {
        if in_forked_child() {
            // Whether it is over cannot be known here, so it is leaked.
        } else if error_code(self.0) == libc::EINPROGRESS {
            abandon(self.0);
        } else {
            free(self.0);
        }
    }
}

/// The call that hands a request to glibc.
fn starter(kind: &OpKind) -> unsafe fn(*mut Aiocb) -> libc::c_int {
    unsafe fn fsync(control: *mut Aiocb) -> libc::c_int {
        // SAFETY: the caller vouches for the aiocb.
        unsafe { raw::aio_fsync(libc::O_SYNC, control) }
    }
    unsafe fn fdatasync(control: *mut Aiocb) -> libc::c_int {
        // SAFETY: the caller vouches for the aiocb.
        unsafe { raw::aio_fsync(libc::O_DSYNC, control) }
    }
    unsafe fn read(control: *mut Aiocb) -> libc::c_int {
        // SAFETY: the caller vouches for the aiocb.
        unsafe { raw::aio_read(control) }
    }
    unsafe fn write(control: *mut Aiocb) -> libc::c_int {
        // SAFETY: the caller vouches for the aiocb.
        unsafe { raw::aio_write(control) }
    }
    match kind {
        OpKind::Fsync => fsync,
        OpKind::Fdatasync => fdatasync,
        OpKind::Read(_) => read,
        _ => write,
    }
}

/// Asks for all requests on a descriptor to be cancelled: aio_cancel(3) without a request. Each
/// still has to be finished. Does not block; of a descriptor that is open no error is known.
///
/// ```
/// use linux_aio::{Op, posix::{Cancelled, Notify, Request, cancel_all}};
/// use std::{fs::File, sync::Arc};
///
/// let file = Arc::new(File::open("/dev/zero")?);
/// let read = Request::start(Op::read(&file, vec![1; 3], 0), Notify::None, 0)?;
/// let done = read.wait();
/// assert_eq!((done.result?, cancel_all(&file)?), (3, Cancelled::AllDone));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// In a forked child of a process that has used POSIX AIO.
pub fn cancel_all(file: impl AsFd) -> io::Result<Cancelled> {
    assert_owner();
    cancel(file.as_fd().as_raw_fd(), ptr::null_mut())
}

/// Blocks until one of the requests is over, or the time is: aio_suspend(3). Of no requests at all
/// it says at once that they are over. EINVAL for more than [`LIST_MAX`] requests.
///
/// ```
/// use linux_aio::{Op, posix::{Notify, Request, Suspended, suspend}};
/// use std::fs::File;
///
/// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
/// let request = Request::start(read, Notify::None, 0)?;
/// // A signal handler may end it early.
/// while suspend(&[&request], None)? != Suspended::Finished {}
/// assert!(request.finish().is_ok());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// In a forked child, where no request of the parent ever ends.
pub fn suspend(requests: &[&Request], timeout: Option<Duration>) -> io::Result<Suspended> {
    assert_owner();
    if requests.len() > LIST_MAX {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // musl would wait for ever.
    if requests.is_empty() {
        return Ok(Suspended::Finished);
    }
    let list: Vec<*const Aiocb> =
        requests.iter().map(|request| control(request.0).cast_const()).collect();
    let timespec = timespec(timeout);
    let timespec = timespec.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: each pointer names a live aiocb, whose `Request` is borrowed through the call; the
    // time is live or null.
    match unsafe { raw::aio_suspend(list.as_ptr(), list.len() as libc::c_int, timespec) } {
        0 => Ok(Suspended::Finished),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EAGAIN) => Ok(Suspended::TimedOut),
            error if error.kind() == io::ErrorKind::Interrupted => Ok(Suspended::Interrupted),
            error => Err(error),
        },
    }
}
