//! Requests that are handed over at once: lio_listio(3).

use std::io;
use std::ptr;

use super::notify::{Notify, sigevent, silent};
use super::request::{LIST_MAX, Request, Status, Suspended, control, suspend};
use super::request::{in_forked_child, no_threads, orphans};
use crate::sys::op::{Done, Op, OpKind};

/// What became of a list; see lio_listio(3).
pub struct ListedRequests {
    /// What became of each place: nothing for one without an operation, a request that glibc has,
    /// or an operation that was refused before. A request that failed at once says so by its
    /// status.
    pub requests: Vec<Option<Result<Request, Done>>>,
    /// EIO when some request was refused or has failed; EAGAIN when not all could be queued; EINTR
    /// when the waiting was interrupted; EINVAL for more than [`LIST_MAX`] places, or a number that
    /// is no signal.
    pub outcome: io::Result<()>,
}

/// Reads, writes, and places without an operation, handed over at once, and then waited for until
/// all are over: lio_listio(3) as with `LIO_WAIT`.
///
/// It is `LIO_NOWAIT` and aio_suspend(3). glibc's `LIO_WAIT` leaves pointers to its stack in the
/// requests when a signal interrupts it, and follows them when they end.
///
/// It blocks until all are over, or a signal handler has run (EINTR): then some requests may be in
/// progress still. In a forked child of a process that has used POSIX AIO all are refused, here and
/// below.
pub fn list_and_wait(ops: Vec<Option<Op>>) -> ListedRequests {
    let mut listed = list_and_go(ops, Notify::None);
    for request in listed.requests.iter().flatten().flatten() {
        while matches!(request.status(), Status::InProgress) {
            match suspend(&[request], None) {
                Ok(Suspended::Interrupted) => {
                    listed.outcome = Err(io::Error::from_raw_os_error(libc::EINTR));
                    return listed;
                }
                Ok(Suspended::Finished | Suspended::TimedOut) => {}
                Err(error) => {
                    listed.outcome = Err(error);
                    return listed;
                }
            }
        }
        if listed.outcome.is_ok() && !matches!(request.status(), Status::Finished) {
            listed.outcome = Err(io::Error::from_raw_os_error(libc::EIO));
        }
    }
    listed
}

/// Reads, writes, and places without an operation, handed over at once: lio_listio(3) with
/// `LIO_NOWAIT`. `notify` says how the end of the last one is notified. It does not block.
pub fn list_and_go(ops: Vec<Option<Op>>, notify: Notify) -> ListedRequests {
    let errno = io::Error::from_raw_os_error;
    let event = match ops.len() {
        _ if in_forked_child() => Err(no_threads()),
        0..=LIST_MAX => sigevent(notify),
        _ => Err(errno(libc::EINVAL)),
    };
    let mut event = match event {
        // glibc calls the callback also when nothing could be queued; without memory for that it
        // never does, and the callback leaks.
        Ok((event, _left_to_glibc)) => event,
        Err(error) => {
            let again = || error.raw_os_error().map_or_else(no_threads, errno);
            let refuse = |op| Err(Done { op, result: Err(again()) });
            return ListedRequests {
                requests: ops.into_iter().map(|op| op.map(refuse)).collect(),
                outcome: Err(again()),
            };
        }
    };
    orphans();
    let make = |op: Op| match op.kind {
        // POSIX has no opcode for a sync in a list.
        OpKind::Fsync | OpKind::Fdatasync => Err(Done { op, result: Err(errno(libc::EOPNOTSUPP)) }),
        _ => Request::cell(op, 0, silent()).map(Request),
    };
    let requests: Vec<_> = ops.into_iter().map(|op| op.map(make)).collect();
    // A null pointer is a place without an operation, as LIO_NOP is.
    let pointer = |place: &Option<Result<Request, Done>>| match place {
        Some(Ok(request)) => control(request.0),
        _ => ptr::null_mut(),
    };
    let pointers: Vec<*mut libc::aiocb> = requests.iter().map(pointer).collect();
    let count = pointers.len() as libc::c_int;
    // SAFETY: each pointer is null or names an aiocb that lives as `Request::start` says, from here
    // on.
    let result =
        unsafe { libc::lio_listio(libc::LIO_NOWAIT, pointers.as_ptr(), count, &raw mut event) };
    let mut outcome = if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    if outcome.is_ok() && requests.iter().flatten().any(Result::is_err) {
        outcome = Err(errno(libc::EIO));
    }
    ListedRequests { requests, outcome }
}
