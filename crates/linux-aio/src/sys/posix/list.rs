//! Requests that are handed over at once: lio_listio(3).

use std::io;
#[cfg(target_env = "gnu")]
use std::ptr;
#[cfg(not(target_env = "gnu"))]
use std::sync::Arc;

use super::cell::{LIST_MAX, in_forked_child, no_threads};
#[cfg(target_env = "gnu")]
use super::cell::{make, mark_unstarted};
#[cfg(not(target_env = "gnu"))]
use super::notify::Last;
use super::notify::{Notify, check};
#[cfg(target_env = "gnu")]
use super::notify::{sigevent, silent};
use super::orphans::orphans;
#[cfg(target_env = "gnu")]
use super::raw;
use super::request::{Request, Status, Suspended, suspend};
use crate::sys::op::{Op, OpKind};
use crate::sys::refused::Refused;

/// What became of a list; see lio_listio(3).
///
/// ```
/// use linux_aio::{Op, OpKind, posix::list_and_wait};
/// use std::sync::Arc;
///
/// let file = Arc::new(tempfile::tempfile()?);
/// let ops = [Op::write(&file, vec![7; 3], 0), Op::new(&file, OpKind::Fsync)];
/// let listed = list_and_wait(ops.map(Some).into());
/// // POSIX has no sync in a list.
/// assert_eq!(listed.outcome.unwrap_err().raw_os_error(), Some(libc::EIO));
/// let refused: Vec<_> =
///     listed.requests.iter().flatten().map(|place| place.is_err()).collect();
/// assert_eq!(refused, [false, true]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct ListedRequests {
    /// What became of each place: nothing for one without an operation, a request that is in
    /// progress or over, or an operation that was not started, with the error.
    pub requests: Vec<Option<Result<Request, Refused>>>,
    /// EAGAIN when not all could be started for want of memory or threads, or the end cannot be
    /// notified; EIO when some request was refused otherwise or has failed; EINTR when the waiting
    /// was interrupted; EINVAL for more than [`LIST_MAX`] places, or a number that is no signal.
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
///
/// ```
/// use linux_aio::{Op, posix::list_and_wait};
/// use std::{fs::File, sync::Arc};
///
/// let file = Arc::new(File::open("/dev/zero")?);
/// let reads = [0, 3].map(|offset_bytes| Some(Op::read(&file, vec![1; 3], offset_bytes)));
/// let listed = list_and_wait(reads.into());
/// listed.outcome?;
/// for request in listed.requests.into_iter().flatten() {
///     assert_eq!(request?.wait().bytes(), Some(&[0, 0, 0][..]));
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
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
/// `LIO_NOWAIT`. `notify` says how the end of the last one that was started is notified. It does
/// not block.
///
/// ```
/// use linux_aio::{Op, posix::{Notify, list_and_go}};
/// use std::{fs::File, sync::mpsc};
///
/// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
/// let (sender, receiver) = mpsc::channel();
/// let notify = Notify::Callback(Box::new(move || sender.send(()).unwrap()));
/// let listed = list_and_go(vec![Some(read)], notify);
/// listed.outcome?;
/// receiver.recv().expect("the list ends");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn list_and_go(ops: Vec<Option<Op>>, notify: Notify) -> ListedRequests {
    let refused = match ops.len() {
        _ if in_forked_child() => Err(no_threads()),
        0..=LIST_MAX => check(&notify),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    };
    if let Err(error) = refused {
        let again = || error.raw_os_error().map_or_else(no_threads, io::Error::from_raw_os_error);
        let refuse = |op| Err(Refused::new(op, again()));
        return ListedRequests {
            requests: ops.into_iter().map(|op| op.map(refuse)).collect(),
            outcome: Err(again()),
        };
    }
    orphans();
    match notify {
        // Each by itself: then each says whether it was started.
        Notify::None => {
            let requests = ops.into_iter().map(|op| op.map(|op| start(op, Notify::None))).collect();
            judged(requests, true)
        }
        notify => list_and_notify(ops, notify),
    }
}

/// POSIX has no opcode for a sync in a list.
#[allow(clippy::result_large_err)]
fn check_op(op: Op) -> Result<Op, Refused> {
    match op.kind {
        OpKind::Fsync | OpKind::Fdatasync => {
            Err(Refused::new(op, io::Error::from_raw_os_error(libc::EOPNOTSUPP)))
        }
        _ => Ok(op),
    }
}

#[allow(clippy::result_large_err)]
fn start(op: Op, notify: Notify) -> Result<Request, Refused> {
    check_op(op).and_then(|op| Request::start_one(op, notify))
}

/// What is to be said of a list as a whole.
fn judged(requests: Vec<Option<Result<Request, Refused>>>, is_notified: bool) -> ListedRequests {
    let refused = || requests.iter().flatten().filter_map(|place| place.as_ref().err());
    let lacked = |refused: &Refused| refused.error.raw_os_error() == Some(libc::EAGAIN);
    let outcome = if !is_notified || refused().any(lacked) {
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    } else if refused().next().is_some() {
        Err(io::Error::from_raw_os_error(libc::EIO))
    } else {
        Ok(())
    };
    ListedRequests { requests, outcome }
}

/// lio_listio(3), which notifies with one thread, where a counter of ours would need a thread a
/// request.
#[cfg(target_env = "gnu")]
fn list_and_notify(ops: Vec<Option<Op>>, notify: Notify) -> ListedRequests {
    let mut event = match sigevent(notify) {
        // glibc calls the callback also when nothing could be started. Without memory for the end
        // of the list it never does, and the callback leaks.
        Ok((event, _left_to_glibc)) => event,
        Err(_checked_before) => silent(),
    };
    let made = |op| check_op(op).and_then(|op| make(op, 0, silent()).map(Request));
    let mut requests: Vec<_> = ops.into_iter().map(|op| op.map(made)).collect();
    // A null pointer is a place without an operation, as LIO_NOP is.
    let pointer = |place: &Option<Result<Request, Refused>>| match place {
        Some(Ok(request)) => mark_unstarted(request.0),
        _ => ptr::null_mut(),
    };
    let pointers: Vec<_> = requests.iter().map(pointer).collect();
    let count = pointers.len() as libc::c_int;
    // SAFETY: each pointer is null or names an aiocb that lives as `Request::start` says, from here
    // on. glibc copies the sigevent.
    let result =
        unsafe { raw::lio_listio(libc::LIO_NOWAIT, pointers.as_ptr(), count, &raw mut event) };
    for place in &mut requests {
        *place = place.take().map(|place| place.and_then(Request::unless_unstarted));
    }
    judged(requests, result == 0)
}

/// Each by itself, with a hold on what notifies when the last hold is gone. musl's lio_listio keeps
/// pointers to the sigevent and to the aiocbs, for a thread of its own, when it has returned.
#[cfg(not(target_env = "gnu"))]
fn list_and_notify(ops: Vec<Option<Op>>, notify: Notify) -> ListedRequests {
    let last = Arc::new(Last::new(notify));
    let hold = || {
        let last = Arc::clone(&last);
        Notify::Callback(Box::new(move || drop(last)))
    };
    let requests = ops.into_iter().map(|op| op.map(|op| start(op, hold()))).collect();
    // All may be over already, or none was started.
    let notified = Arc::into_inner(last).map_or(Ok(()), Last::notify_elsewhere);
    judged(requests, notified.is_ok())
}
