//! glibc's POSIX AIO (aio(7)): requests that own their buffer and their descriptor, and that never
//! move.
//!
//! glibc's threads hold a pointer to each request's `aiocb` until it is over. So a request is one
//! allocation, reached through a raw pointer, and freed only when `aio_error` has said that it is
//! over and glibc's lock, under which it finishes a request, has been taken since: by then nothing
//! in glibc looks at it any more. Whoever drops a request that is not over leaves it in a registry,
//! which outlives it; whoever leaks one leaks its buffer, which is safe.
//!
//! A forked child has the requests but not the threads, and glibc's lock as it stood. So nothing
//! here asks glibc for anything in a child of a process that has.

use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::abi::timespec;
use super::fork::process_number;
use super::op::{Done, Op, OpKind};

/// Requests that one aio_suspend(3) or lio_listio(3) may name, else EINVAL: glibc keeps arrays of
/// that length on the stack.
pub const LIST_MAX: usize = 1024;

/// `AIO_PRIO_DELTA_MAX`.
const REQPRIO_MAX: i32 = 20;

/// What is called when a request, or a list, is over, on a thread of its own; `SIGEV_THREAD` of
/// sigevent(7).
pub type Callback = Box<dyn FnOnce() + Send>;

/// How somebody is told that a request, or a list, is over; see sigevent(7).
#[derive(Default)]
pub enum Notify {
    /// Not at all.
    #[default]
    None,
    /// By a signal to the process, with `value` in its `si_value`. A number that is no signal is
    /// refused (EINVAL). Where the process may have no more signals queued, glibc says EAGAIN of
    /// the request, though it was carried out.
    Signal {
        /// The signal, for example `SIGUSR1`.
        number: i32,
        /// What the handler finds in `siginfo_t`.
        value: usize,
    },
    /// By a call on a thread that glibc makes for it. A panic in it is printed and ends there.
    /// Where no thread can be made, glibc says nothing and there is no call.
    Callback(Callback),
}

/// How a request stands; see aio_error(3).
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

/// What came of an attempt to cancel; see aio_cancel(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// All that was asked for (`AIO_CANCELED`).
    Cancelled,
    /// At least one runs already and goes on (`AIO_NOTCANCELED`).
    NotCancelled,
    /// They were over before (`AIO_ALLDONE`).
    AllDone,
}

/// How a wait ended; see aio_suspend(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suspended {
    /// At least one of the requests is over.
    Finished,
    /// The time is over (EAGAIN).
    TimedOut,
    /// A signal handler ran (EINTR).
    Interrupted,
}

/// What glibc points to, and what it owns.
struct Cell {
    control: libc::aiocb,
    op: Op,
}

/// The number of the process that asked glibc for something first, or 0.
static OWNER: AtomicU64 = AtomicU64::new(0);

/// Whether this is a forked child of the process that asked glibc for something first. Where nobody
/// has, this process is the first.
pub(crate) fn in_forked_child() -> bool {
    let process = process_number();
    // Relaxed: nothing else is published with the number. Threads of one process write the same;
    // fork copies it before the child runs.
    OWNER
        .compare_exchange(0, process, Ordering::Relaxed, Ordering::Relaxed)
        .is_err_and(|owner| owner != process)
}

fn assert_owner() {
    assert!(!in_forked_child(), "a forked child cannot use its parent's requests");
}

/// Why a forked child's requests are refused.
fn no_threads() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "glibc has no threads for POSIX AIO in a forked child",
    )
}

/// A request that was handed to glibc, the `struct aiocb` of aio(7), with its operation. glibc
/// keeps its address, so it stays where it is: what is moved is a pointer.
pub struct Request(NonNull<Cell>);

// SAFETY: the cell is reached by glibc through functions that any thread may call, and by the owner
// of the `Request`.
unsafe impl Send for Request {}
// SAFETY: `&Request` gives only the address of `control` to functions of glibc that lock.
unsafe impl Sync for Request {}

/// A cell that was dropped in progress.
struct Orphan(NonNull<Cell>);

// SAFETY: nobody else has the pointer but glibc, see `Request`.
unsafe impl Send for Orphan {}

/// Requests that were dropped in progress. Each new request frees those that are over by then.
static ORPHANS: Mutex<Vec<Orphan>> = Mutex::new(Vec::new());

/// How many dropped requests are still in progress, by aio_error(3); those that are over give their
/// buffers back now. It waits for glibc's lock and for no request. In a forked child there are
/// none.
pub fn orphans() -> usize {
    if in_forked_child() {
        return 0;
    }
    let mut orphans = ORPHANS.lock().unwrap_or_else(PoisonError::into_inner);
    orphans.retain(|&Orphan(cell)| {
        let over = error_code(cell) != libc::EINPROGRESS;
        if over {
            free(cell);
        }
        !over
    });
    orphans.len()
}

fn control(cell: NonNull<Cell>) -> *mut libc::aiocb {
    // SAFETY: the cell is live until `free`, which takes the last pointer to it; no reference is
    // made.
    unsafe { &raw mut (*cell.as_ptr()).control }
}

fn fildes(cell: NonNull<Cell>) -> libc::c_int {
    // SAFETY: the cell is live until `free`, and glibc never writes this field.
    unsafe { (*control(cell)).aio_fildes }
}

/// aio_error(3).
fn error_code(cell: NonNull<Cell>) -> i32 {
    // SAFETY: the aiocb is live and was set up by `Request::new`; glibc reads it under its lock.
    unsafe { libc::aio_error(control(cell)) }
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

/// Asks for at most `threads` threads, which without this are 20: aio_init(3). Only the first call
/// before the first request of the process has an effect; with other C libraries than glibc there
/// is none. Never blocks and never fails; glibc takes a number below 1 for 1.
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

/// Gives the memory back, and with it the operation. The request must be over.
fn free(cell: NonNull<Cell>) -> Op {
    // glibc before 2.34 answers aio_error without its lock, perhaps while a thread is still
    // notifying. Each aio_cancel takes it; what it answers is known.
    let over = cancel(fildes(cell), control(cell));
    debug_assert!(matches!(over, Ok(Cancelled::AllDone)), "aio_cancel of what is over: {over:?}");
    // SAFETY: `aio_error` said that the request is over (or it never began), so glibc has forgotten
    // it; the pointer came from a box and whoever calls this has given up the only other copy.
    unsafe { Box::from_raw(cell.as_ptr()) }.op
}

/// The sigevent(7) that tells nobody.
fn silent() -> libc::sigevent {
    // SAFETY: a C struct of numbers and pointers, for which zeros are a value.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_NONE;
    event
}

/// Makes the sigevent(7), and the pointer that has to be freed if glibc never gets to use it.
/// EINVAL for a number that is no signal, or one that glibc keeps to itself: it would say so only
/// when the request is over, as if that had failed.
fn sigevent(notify: Notify) -> io::Result<(libc::sigevent, Option<NonNull<Callback>>)> {
    let mut event = silent();
    match notify {
        Notify::None => Ok((event, None)),
        Notify::Signal { number, .. }
            if !(1..32).contains(&number)
                && !(libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(&number) =>
        {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
        Notify::Signal { number, value } => {
            event.sigev_notify = libc::SIGEV_SIGNAL;
            event.sigev_signo = number;
            event.sigev_value = libc::sigval { sival_ptr: ptr::without_provenance_mut(value) };
            Ok((event, None))
        }
        Notify::Callback(callback) => {
            let pointer = NonNull::from(Box::leak(Box::new(callback)));
            event.sigev_notify = libc::SIGEV_THREAD;
            event.sigev_value = libc::sigval { sival_ptr: pointer.as_ptr().cast() };
            // `sigev_notify_function` is the first member of the union that the libc crate names by
            // its thread id.
            const AT: usize = offset_of!(libc::sigevent, sigev_notify_thread_id);
            const {
                assert!(AT.is_multiple_of(align_of::<usize>()) && AT + 2 * size_of::<usize>() <= 64)
            };
            // SAFETY: the offset is within the struct, with room for the function and its
            // attributes, which stay null.
            let function = unsafe { ptr::from_mut(&mut event).cast::<u8>().add(AT) };
            // SAFETY: as above; the place is aligned for a pointer.
            unsafe { function.cast::<extern "C" fn(libc::sigval)>().write(call) };
            Ok((event, Some(pointer)))
        }
    }
}

/// What glibc calls on a thread of its own.
extern "C" fn call(value: libc::sigval) {
    let pointer: *mut Callback = value.sival_ptr.cast();
    // SAFETY: `sigevent` leaked this box for exactly one call, and glibc notifies once.
    let callback = unsafe { Box::from_raw(pointer) };
    // The panic was printed by its hook, and may not unwind into glibc.
    drop(catch_unwind(AssertUnwindSafe(*callback)));
}

/// Frees a callback that glibc will not call.
fn free_callback(pointer: Option<NonNull<Callback>>) {
    if let Some(pointer) = pointer {
        // SAFETY: the box was leaked by `sigevent`, and the call that failed took no notice of it.
        drop(unsafe { Box::from_raw(pointer.as_ptr()) });
    }
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

impl Request {
    /// Hands an operation to glibc: aio_read(3), aio_write(3) or aio_fsync(3). It does not block,
    /// but it may wait for glibc's lock.
    ///
    /// `reqprio` lowers the request's priority, 0 to 20. The operation comes back with EINVAL for
    /// another one or for a range that is not within the buffer, with EAGAIN when there is no
    /// memory or no thread, with EOPNOTSUPP for what POSIX has no word for (vectors, polls,
    /// `RWF_*`, an eventfd), with EBADF from aio_fsync, and in a forked child of a process that has
    /// used this. A bad descriptor of a read or write is told later, by [`status`](Self::status).
    // The operation is what a caller must not lose; it is as large as it is.
    #[allow(clippy::result_large_err)]
    pub fn start(op: Op, notify: Notify, reqprio: i32) -> Result<Self, Done> {
        if in_forked_child() {
            return Err(Done { op, result: Err(no_threads()) });
        }
        orphans();
        let start = starter(&op.kind);
        let (event, callback) = match sigevent(notify) {
            Ok(made) => made,
            Err(error) => return Err(Done { op, result: Err(error) }),
        };
        let cell = match Self::cell(op, reqprio, event) {
            Ok(cell) => cell,
            Err(refused) => {
                free_callback(callback);
                return Err(refused);
            }
        };
        // SAFETY: the aiocb lives until `aio_error` says that the request is over, and owns the
        // buffer that it names: an exclusive `Buffer` for a read, a `SharedBuffer` that nobody can
        // change for a write; and its descriptor stays open.
        let result = unsafe { start(control(cell)) };
        if result == 0 {
            return Ok(Self(cell));
        }
        let error = io::Error::last_os_error();
        free_callback(callback);
        Err(Done { op: free(cell), result: Err(error) })
    }

    /// The pinned request, not handed over yet.
    #[allow(clippy::result_large_err)]
    fn cell(mut op: Op, reqprio: i32, event: libc::sigevent) -> Result<NonNull<Cell>, Done> {
        // SAFETY: a C struct of numbers and pointers, for which zeros are a value.
        let mut control: libc::aiocb = unsafe { std::mem::zeroed() };
        control.aio_fildes = op.file.as_raw_fd();
        control.aio_reqprio = reqprio;
        control.aio_sigevent = event;
        let mut describe = || {
            control.aio_lio_opcode = opcode(&op)?;
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
            Err(error) => Err(Done { op, result: Err(error) }),
        }
    }

    /// How it stands: aio_error(3). Does not block.
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
    /// # Panics
    /// In a forked child.
    #[allow(clippy::result_large_err)]
    pub fn finish(self) -> Result<Done, Self> {
        let result = match self.status() {
            Status::InProgress => return Err(self),
            // SAFETY: the request is over, and this consumes it, so the result is taken once.
            Status::Finished => Ok(unsafe { libc::aio_return(control(self.0)) }),
            Status::Cancelled => Err(io::Error::from_raw_os_error(libc::ECANCELED)),
            Status::Failed(error) => Err(error),
        };
        let cell = self.0;
        std::mem::forget(self);
        let result =
            result.and_then(|count| usize::try_from(count).map_err(|_| io::Error::last_os_error()));
        Ok(Done { op: free(cell), result })
    }

    /// Blocks until it is over, signals or not, and takes the result: aio_suspend(3) and
    /// aio_return(3). From a silent pipe that is for ever.
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
    /// A fault of glibc (2.36 and those before): where all its threads are busy, so that none
    /// serves this descriptor yet, cancelling the first of several requests on it leaves the others
    /// where no thread finds them, until they are cancelled too. [`cancel_all`] has no such fault,
    /// and neither has a request with a descriptor to itself.
    ///
    /// # Panics
    /// In a forked child.
    pub fn cancel(&self) -> io::Result<Cancelled> {
        assert_owner();
        cancel(fildes(self.0), control(self.0))
    }
}

impl Drop for Request {
    /// Never blocks. What is in progress goes on to its end in the registry, see [`orphans`]:
    /// cancelling it here could strand the other requests on its descriptor, see
    /// [`Request::cancel`].
    fn drop(&mut self) {
        if in_forked_child() {
            // Whether it is over cannot be known here, so it is leaked.
        } else if error_code(self.0) == libc::EINPROGRESS {
            ORPHANS.lock().unwrap_or_else(PoisonError::into_inner).push(Orphan(self.0));
        } else {
            free(self.0);
        }
    }
}

/// The call that hands a request to glibc.
fn starter(kind: &OpKind) -> unsafe fn(*mut libc::aiocb) -> libc::c_int {
    unsafe fn fsync(control: *mut libc::aiocb) -> libc::c_int {
        // SAFETY: the caller vouches for the aiocb.
        unsafe { libc::aio_fsync(libc::O_SYNC, control) }
    }
    unsafe fn fdatasync(control: *mut libc::aiocb) -> libc::c_int {
        // SAFETY: the caller vouches for the aiocb.
        unsafe { libc::aio_fsync(libc::O_DSYNC, control) }
    }
    unsafe fn read(control: *mut libc::aiocb) -> libc::c_int {
        // SAFETY: the caller vouches for the aiocb.
        unsafe { libc::aio_read(control) }
    }
    unsafe fn write(control: *mut libc::aiocb) -> libc::c_int {
        // SAFETY: the caller vouches for the aiocb.
        unsafe { libc::aio_write(control) }
    }
    match kind {
        OpKind::Fsync => fsync,
        OpKind::Fdatasync => fdatasync,
        OpKind::Read(_) => read,
        _ => write,
    }
}

fn cancel(fd: libc::c_int, control: *mut libc::aiocb) -> io::Result<Cancelled> {
    // SAFETY: `control` is null or a live aiocb of this descriptor.
    match unsafe { libc::aio_cancel(fd, control) } {
        libc::AIO_CANCELED => Ok(Cancelled::Cancelled),
        libc::AIO_NOTCANCELED => Ok(Cancelled::NotCancelled),
        libc::AIO_ALLDONE => Ok(Cancelled::AllDone),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Asks for all requests on a descriptor to be cancelled: aio_cancel(3) without a request. Each
/// still has to be finished. Does not block; of a descriptor that is open no error is known.
///
/// # Panics
/// In a forked child of a process that has used POSIX AIO.
pub fn cancel_all(file: &OwnedFd) -> io::Result<Cancelled> {
    assert_owner();
    cancel(file.as_raw_fd(), ptr::null_mut())
}

/// Blocks until one of the requests is over, or the time is: aio_suspend(3). Of no requests at all
/// it says at once that they are over. EINVAL for more than [`LIST_MAX`] requests.
///
/// # Panics
/// In a forked child, where no request of the parent ever ends.
pub fn suspend(requests: &[&Request], timeout: Option<Duration>) -> io::Result<Suspended> {
    assert_owner();
    if requests.len() > LIST_MAX {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let list: Vec<*const libc::aiocb> =
        requests.iter().map(|request| control(request.0).cast_const()).collect();
    let timespec = timespec(timeout);
    let timespec = timespec.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: each pointer names a live aiocb, whose `Request` is borrowed through the call; the
    // time is live or null.
    match unsafe { libc::aio_suspend(list.as_ptr(), list.len() as libc::c_int, timespec) } {
        0 => Ok(Suspended::Finished),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EAGAIN) => Ok(Suspended::TimedOut),
            error if error.kind() == io::ErrorKind::Interrupted => Ok(Suspended::Interrupted),
            error => Err(error),
        },
    }
}

/// What became of a list; see lio_listio(3).
pub struct Listed {
    /// Place by place what was asked for: nothing for a place without an operation, a request that
    /// glibc has (one that failed at once says so by its status), or an operation that was refused
    /// before.
    pub requests: Vec<Option<Result<Request, Done>>>,
    /// EIO when some request was refused or has failed, EAGAIN when not all could be queued, EINTR
    /// when the waiting was interrupted, EINVAL for more than [`LIST_MAX`] places or a number that
    /// is no signal.
    pub outcome: io::Result<()>,
}

/// Reads, writes, and places without an operation, handed over at once, and then waited for until
/// all are over: lio_listio(3) as with `LIO_WAIT`.
///
/// It is `LIO_NOWAIT` and aio_suspend(3), since glibc's `LIO_WAIT`, when a signal interrupts it,
/// leaves pointers to its stack in the requests and follows them when they end.
///
/// It blocks until all are over, or a signal handler has run (EINTR): then some requests may be in
/// progress still. In a forked child of a process that has used POSIX AIO all are refused, here and
/// below.
pub fn list_and_wait(ops: Vec<Option<Op>>) -> Listed {
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

/// The same without the wait: lio_listio(3) with `LIO_NOWAIT`; `notify` is told when all are over.
/// It does not block.
pub fn list_and_go(ops: Vec<Option<Op>>, notify: Notify) -> Listed {
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
            return Listed {
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
    Listed { requests, outcome }
}
