//! A request that glibc carries out, from its start to its end.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::notify::{Notify, free_callback, sigevent};
use super::raw::{self, Aiocb, timespec};
use crate::sys::done::Done;
use crate::sys::fork::process_number;
use crate::sys::op::{Op, OpKind};
use crate::sys::place;
use crate::sys::refused::Refused;

/// Requests that one aio_suspend(3) or lio_listio(3) may name, else EINVAL: glibc keeps arrays of
/// that length on the stack.
pub const LIST_MAX: usize = 1024;

/// `AIO_PRIO_DELTA_MAX`.
const REQPRIO_MAX: i32 = 20;

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

fn assert_owner() {
    assert!(!in_forked_child(), "a forked child cannot use its parent's requests");
}

/// Why a forked child's requests are refused.
pub(super) fn no_threads() -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        "glibc has no threads for POSIX AIO in a forked child",
    )
}

/// A request that was handed to glibc, the `struct aiocb` of aio(7), with its operation. glibc
/// keeps its address, so it stays where it is: what is moved is a pointer.
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

/// A cell that was dropped in progress.
struct Orphan(NonNull<Cell>);

// SAFETY: glibc alone has the pointer besides, see `Request`.
unsafe impl Send for Orphan {}

/// Requests that were dropped in progress.
struct Orphans {
    /// Those that no thread attends to.
    left: Vec<Orphan>,
    /// How many the thread attends to.
    attended: usize,
    has_thread: bool,
}

static ORPHANS: Mutex<Orphans> =
    Mutex::new(Orphans { left: Vec::new(), attended: 0, has_thread: false });

/// How long a request that is dropped may wait for the thread that waits for others.
const ATTEND_PAUSE: Duration = Duration::from_millis(50);

/// How many dropped requests are still in progress, by aio_error(3). Each gives its buffer back
/// when it ends: a thread waits for them, for as long as there are some. Where none can be made,
/// this call and each new request free those that are over. It waits for the C library's lock and
/// for no request. In a forked child there are none.
pub fn orphans() -> usize {
    if in_forked_child() {
        return 0;
    }
    let mut orphans = lock_orphans();
    let over = free_over(&mut orphans.left);
    let count = orphans.left.len() + orphans.attended;
    drop(orphans);
    drop(over);
    count
}

fn lock_orphans() -> MutexGuard<'static, Orphans> {
    ORPHANS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes out those that are over. Their operations are for the caller to drop, without the lock: a
/// buffer's own code may run then.
fn free_over(orphans: &mut Vec<Orphan>) -> Vec<Op> {
    let is_over = |orphan: &mut Orphan| error_code(orphan.0) != libc::EINPROGRESS;
    orphans.extract_if(.., is_over).map(|Orphan(cell)| free(cell)).collect()
}

/// Leaves a request that is in progress to the thread that waits for such.
fn abandon(cell: NonNull<Cell>) {
    let mut orphans = lock_orphans();
    orphans.left.push(Orphan(cell));
    if !orphans.has_thread {
        let builder = std::thread::Builder::new().name("aio-orphans".to_owned());
        orphans.has_thread = builder.spawn(attend).is_ok();
    }
}

/// What that thread does. The requests that it waits for are its own meanwhile, so that no other
/// thread frees them.
fn attend() {
    block_signals();
    let mut own: Vec<Orphan> = Vec::new();
    loop {
        let mut orphans = lock_orphans();
        own.append(&mut orphans.left);
        orphans.attended = own.len();
        orphans.has_thread = !own.is_empty();
        drop(orphans);
        if own.is_empty() {
            return;
        }
        let waited = own.iter().take(LIST_MAX);
        let list: Vec<_> = waited.map(|orphan| control(orphan.0).cast_const()).collect();
        let pause = timespec(Some(ATTEND_PAUSE));
        let pause = pause.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: each pointer names a live aiocb, which only this thread frees; the time is live.
        // Whatever the answer, the requests are looked at again.
        let _answer = unsafe { raw::aio_suspend(list.as_ptr(), list.len() as libc::c_int, pause) };
        let over = free_over(&mut own);
        // A panic of a buffer's own code was printed by its hook, and is not this thread's end.
        drop(catch_unwind(AssertUnwindSafe(|| drop(over))));
    }
}

/// Leaves all signals of the process to its other threads.
fn block_signals() {
    let mut all = MaybeUninit::uninit();
    // SAFETY: the call writes a whole set, into live memory of the right size, and cannot fail.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: the set was just written. The call changes this thread's mask alone, and cannot fail.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut()) };
}

pub(super) fn control(cell: NonNull<Cell>) -> *mut Aiocb {
    // SAFETY: the cell is live until `free`, which takes the last pointer to it; no reference is
    // made.
    unsafe { &raw mut (*cell.as_ptr()).control }
}

fn fildes(cell: NonNull<Cell>) -> libc::c_int {
    // SAFETY: the cell is live until `free`, and glibc never writes this field.
    unsafe { (*control(cell)).aio_fildes }
}

/// No error number: what [`mark_unstarted`] leaves for glibc to overwrite.
#[cfg(target_env = "gnu")]
const UNSTARTED: libc::c_int = -1;

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
fn error_code(cell: NonNull<Cell>) -> i32 {
    // SAFETY: the aiocb is live and was set up by `Request::new`; glibc reads it under its lock.
    unsafe { raw::aio_error(control(cell)) }
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
pub(super) fn free(cell: NonNull<Cell>) -> Op {
    // glibc before 2.34 answers aio_error without its lock, perhaps while a thread is still
    // notifying. Each aio_cancel takes it; what it answers is known.
    let over = cancel(fildes(cell), control(cell));
    debug_assert!(matches!(over, Ok(Cancelled::AllDone)), "aio_cancel of what is over: {over:?}");
    // SAFETY: `aio_error` said that the request is over (or it never began), so glibc has forgotten
    // it. The pointer came from a box, and the caller has given up the only other copy.
    unsafe { Box::from_raw(cell.as_ptr()) }.op
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
    /// `reqprio` lowers the request's priority, 0 to 20. Another one is refused (EINVAL), and so is
    /// a range that is not within the buffer. EAGAIN when there is no memory or no thread; EBADF
    /// from aio_fsync; EOPNOTSUPP for vectors, polls, `RWF_*` and eventfds, which POSIX does not
    /// have. In a forked child of a process that has used this, every operation is refused.
    /// [`status`](Self::status) alone reports a bad descriptor of a read or write.
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
        let cell = match Self::cell(op, reqprio, event) {
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

    /// The pinned request, not handed over yet.
    #[allow(clippy::result_large_err)]
    pub(super) fn cell(
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
            Status::Finished => Ok(unsafe { raw::aio_return(control(self.0)) }),
            Status::Cancelled => Err(io::Error::from_raw_os_error(libc::ECANCELED)),
            Status::Failed(error) => Err(error),
        };
        let cell = self.0;
        std::mem::forget(self);
        let result =
            result.and_then(|count| usize::try_from(count).map_err(|_| io::Error::last_os_error()));
        Ok(Done::new(free(cell), result))
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
    /// glibc up to 2.36 has a fault here. While all its threads are busy, none serves this
    /// descriptor yet. Cancelling the first of several requests on it then leaves the others where
    /// no thread finds them, until they are cancelled too. [`cancel_all`] has no such fault, and
    /// neither has a request with a descriptor to itself.
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

fn cancel(fd: libc::c_int, control: *mut Aiocb) -> io::Result<Cancelled> {
    // SAFETY: `control` is null or a live aiocb of this descriptor.
    match unsafe { raw::aio_cancel(fd, control) } {
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
pub fn cancel_all(file: impl AsFd) -> io::Result<Cancelled> {
    assert_owner();
    cancel(file.as_fd().as_raw_fd(), ptr::null_mut())
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
