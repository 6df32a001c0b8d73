//! Requests that were dropped in progress, until they end.

use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::cell::{Cell, LIST_MAX, control, error_code, free, in_forked_child};
use super::raw::{self, timespec};
use crate::sys::op::Op;

/// A cell that was dropped in progress.
pub(super) struct Orphan(pub(super) NonNull<Cell>);

// SAFETY: glibc alone has the pointer besides, and its functions may be called by any thread.
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
///
/// ```
/// use linux_aio::{Op, posix::{Notify, Request, orphans}};
/// use std::os::fd::OwnedFd;
///
/// let (reader, writer) = std::io::pipe()?;
/// let read = Op::read(OwnedFd::from(reader), vec![0; 10], 0);
/// drop(Request::start(read, Notify::None, 0)?);
/// assert_eq!(orphans(), 1);
/// // The pipe ends, and with it the request.
/// drop(writer);
/// while orphans() > 0 {
///     std::thread::yield_now();
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
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
pub(super) fn abandon(cell: NonNull<Cell>) {
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
