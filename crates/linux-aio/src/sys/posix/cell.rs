//! What glibc has the address of: a request's `aiocb`, with what it owns.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use super::raw::{self, Aiocb};
use crate::sys::fork::process_number;
use crate::sys::op::{Op, OpKind};
use crate::sys::place;
use crate::sys::refused::Refused;

/// Requests that one aio_suspend(3) or lio_listio(3) may name, else EINVAL: glibc keeps arrays of
/// that length on the stack.
pub const LIST_MAX: usize = 1024;

/// `AIO_PRIO_DELTA_MAX`.
const REQPRIO_MAX: i32 = 20;

/// What came of an attempt to cancel; see aio_cancel(3), which knows no more than these.
///
/// ```
/// use linux_aio::{Op, OpKind, posix::{Cancelled, Notify, Request}};
///
/// let sync = Op::new(tempfile::tempfile()?, OpKind::Fsync);
/// let request = Request::start(sync, Notify::None, 0)?;
/// match request.cancel()? {
///     Cancelled::Cancelled => println!("no thread had begun it"),
///     Cancelled::NotCancelled => println!("it goes on"),
///     Cancelled::AllDone => println!("it was over"),
/// }
/// // It has to be finished in any case.
/// println!("{:?}", request.wait().result);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// All that was asked for (`AIO_CANCELED`).
    Cancelled,
    /// At least one runs already and goes on (`AIO_NOTCANCELED`).
    NotCancelled,
    /// They were over before (`AIO_ALLDONE`).
    AllDone,
}

/// What glibc points to, and what it owns.
pub(super) struct Cell {
    control: Aiocb,
    op: Op,
}

/// The number of the process that asked glibc for something first, or 0.
static OWNER: AtomicU64 = AtomicU64::new(0);

/// Whether this is a forked child of the process that asked glibc for something first. Without such
/// a process this one is the first.
pub(crate) fn in_forked_child() -> bool {
    let process = process_number();
    // Relaxed: nothing else is published with the number. Threads of one process write the same;
    // fork copies it before the child runs.
    OWNER
        .compare_exchange(0, process, Ordering::Relaxed, Ordering::Relaxed)
        .is_err_and(|owner| owner != process)
}

pub(super) fn assert_owner() {
    assert!(!in_forked_child(), "a forked child cannot use its parent's requests");
}

/// Why a forked child's requests are refused.
pub(super) fn no_threads() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "glibc has no threads for POSIX AIO in a forked child",
    )
}

pub(super) fn control(cell: NonNull<Cell>) -> *mut Aiocb {
    // SAFETY: the cell is live until `free`, which takes the last pointer to it; no reference is
    // made.
    unsafe { &raw mut (*cell.as_ptr()).control }
}

pub(super) fn fildes(cell: NonNull<Cell>) -> libc::c_int {
    // SAFETY: the cell is live until `free`, and glibc never writes this field.
    unsafe { (*control(cell)).aio_fildes }
}

/// No error number: what [`mark_unstarted`] leaves for glibc to overwrite.
#[cfg(target_env = "gnu")]
pub(super) const UNSTARTED: libc::c_int = -1;

/// Marks a request that is to be handed to glibc with others, so that it can be told whether it
/// was.
#[cfg(target_env = "gnu")]
pub(super) fn mark_unstarted(cell: NonNull<Cell>) -> *mut Aiocb {
    let control = control(cell);
    // SAFETY: the cell is live, and glibc does not have it yet.
    unsafe { (*control).error_code = UNSTARTED };
    control
}

/// aio_error(3).
pub(super) fn error_code(cell: NonNull<Cell>) -> i32 {
    // SAFETY: the aiocb is live and was set up by `make`; glibc reads it under its lock.
    unsafe { raw::aio_error(control(cell)) }
}

/// Takes glibc's lock once, after which it has forgotten a request that is over.
///
/// glibc answers aio_error, before 2.34, and aio_return without its lock. So a thread may still be
/// notifying, and on a machine that reorders stores the result may not be there yet. A thread has
/// done with a request when it lets go of the lock, which each aio_cancel takes; what that answers
/// is known.
pub(super) fn settle(cell: NonNull<Cell>) {
    let over = cancel(fildes(cell), control(cell));
    debug_assert!(matches!(over, Ok(Cancelled::AllDone)), "aio_cancel of what is over: {over:?}");
}

/// The result of a request that is over and [settled](settle): aio_return(3), once.
pub(super) fn result(cell: NonNull<Cell>) -> io::Result<usize> {
    // SAFETY: the aiocb is live, and the request is over.
    let count = unsafe { raw::aio_return(control(cell)) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Gives the memory back, and with it the operation. The request must be over, and
/// [settled](settle).
pub(super) fn reclaim(cell: NonNull<Cell>) -> Op {
    // SAFETY: `aio_error` said that the request is over (or it never began), and glibc's lock was
    // taken since, so that glibc has forgotten it. The pointer came from a box, and the caller has
    // given up the only other copy.
    unsafe { Box::from_raw(cell.as_ptr()) }.op
}

/// [Settles](settle) and [reclaims](reclaim) a request that is over or never began.
pub(super) fn free(cell: NonNull<Cell>) -> Op {
    settle(cell);
    reclaim(cell)
}

/// What POSIX AIO does for an operation, or why it cannot.
fn opcode(op: &Op) -> io::Result<libc::c_int> {
    let unsupported = || io::Error::from_raw_os_error(libc::EOPNOTSUPP);
    if !op.flags.is_empty() || op.priority.is_some() || op.eventfd.is_some() {
        return Err(unsupported());
    }
    match op.kind {
        OpKind::Read(_) => Ok(libc::LIO_READ),
        OpKind::Write(_) => Ok(libc::LIO_WRITE),
        OpKind::Fsync | OpKind::Fdatasync => Ok(libc::LIO_NOP),
        OpKind::ReadVectored(_) | OpKind::WriteVectored(_) | OpKind::Poll(_) => Err(unsupported()),
    }
}

/// The pinned request, not handed over yet.
#[allow(clippy::result_large_err)]
pub(super) fn make(
    mut op: Op,
    reqprio: i32,
    event: libc::sigevent,
) -> Result<NonNull<Cell>, Refused> {
    // SAFETY: a C struct of numbers and pointers, for which zeros are a value.
    let mut control: Aiocb = unsafe { std::mem::zeroed() };
    control.aio_fildes = op.file.as_raw_fd();
    control.aio_reqprio = reqprio;
    control.aio_sigevent = event;
    let mut describe = || {
        control.aio_lio_opcode = opcode(&op)?;
        place::check(&op)?;
        if op.offset_bytes != 0 && place::is_socket(&op.file) {
            return Err(io::Error::from_raw_os_error(libc::ESPIPE));
        }
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        control.aio_offset = op.offset_bytes.try_into().map_err(|_| invalid())?;
        // glibc looks at it too, but not for a sync.
        if !(0..=REQPRIO_MAX).contains(&reqprio) {
            return Err(invalid());
        }
        (control.aio_buf, control.aio_nbytes) = match &mut op.kind {
            OpKind::Read(part) => {
                let bytes = part.bytes_mut().ok_or_else(invalid)?;
                (bytes.as_mut_ptr().cast(), bytes.len())
            }
            OpKind::Write(part) => {
                let bytes = part.bytes().ok_or_else(invalid)?;
                (bytes.as_ptr().cast_mut().cast(), bytes.len())
            }
            _ => (ptr::null_mut(), 0),
        };
        Ok(())
    };
    match describe() {
        Ok(()) => Ok(NonNull::from(Box::leak(Box::new(Cell { control, op })))),
        Err(error) => Err(Refused::new(op, error)),
    }
}

pub(super) fn cancel(fd: libc::c_int, control: *mut Aiocb) -> io::Result<Cancelled> {
    // SAFETY: `control` is null or a live aiocb of this descriptor.
    match unsafe { raw::aio_cancel(fd, control) } {
        libc::AIO_CANCELED => Ok(Cancelled::Cancelled),
        libc::AIO_NOTCANCELED => Ok(Cancelled::NotCancelled),
        libc::AIO_ALLDONE => Ok(Cancelled::AllDone),
        _ => Err(io::Error::last_os_error()),
    }
}
