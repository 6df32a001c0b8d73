//! How the end of a request is notified: sigevent(7).

use std::fmt;
use std::io;
use std::mem::offset_of;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
#[cfg(not(target_env = "gnu"))]
use std::sync::{Mutex, PoisonError};

/// What is called when a request, or a list, is over, on a thread of its own; `SIGEV_THREAD` of
/// sigevent(7).
pub type NotifyCallback = Box<dyn FnOnce() + Send>;

/// How the end of a request, or of a list, is notified; see sigevent(7).
///
/// ```
/// use linux_aio::{Op, posix::{Notify, Request}};
/// use std::{fs::File, sync::mpsc};
///
/// let (sender, receiver) = mpsc::channel();
/// let notify = Notify::Callback(Box::new(move || sender.send("over").unwrap()));
/// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
/// let request = Request::start(read, notify, 0)?;
/// assert_eq!(receiver.recv().unwrap(), "over");
/// assert_eq!(request.wait().result?, 3);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
#[non_exhaustive]
pub enum Notify {
    /// Not at all.
    #[default]
    None,
    /// By a signal to the process, with `value` in its `si_value`. Its handler has to be there
    /// before: without one, most signals end the process. A number that is no signal is refused
    /// (EINVAL). Where the process may have no more signals queued, glibc says EAGAIN of the
    /// request, though it was carried out.
    Signal {
        /// The signal, for example `SIGUSR1`.
        number: i32,
        /// What the handler finds in `siginfo_t`.
        value: usize,
    },
    /// By a call on a thread that glibc makes for it. A panic in it is printed and ends there.
    /// Where no thread can be made, glibc says nothing and there is no call.
    Callback(NotifyCallback),
}

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Signal { number, value } => {
                f.debug_struct("Signal").field("number", number).field("value", value).finish()
            }
            Self::Callback(_) => f.debug_tuple("Callback").finish_non_exhaustive(),
        }
    }
}

/// The sigevent(7) of no notification.
pub(super) fn silent() -> libc::sigevent {
    // SAFETY: a C struct of numbers and pointers, for which zeros are a value.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_NONE;
    event
}

/// EINVAL for a number that is no signal, or one that the C library keeps to itself. glibc would
/// say so only when the request is over, as if that had failed.
pub(super) fn check(notify: &Notify) -> io::Result<()> {
    match notify {
        Notify::Signal { number, .. }
            if !(1..32).contains(number)
                && !(libc::SIGRTMIN()..=libc::SIGRTMAX()).contains(number) =>
        {
            Err(io::Error::from_raw_os_error(libc::EINVAL))
        }
        _ => Ok(()),
    }
}

/// Makes the sigevent(7), and the pointer that has to be freed if the C library never gets to use
/// it. The error is that of [`check`].
pub(super) fn sigevent(
    notify: Notify,
) -> io::Result<(libc::sigevent, Option<NonNull<NotifyCallback>>)> {
    check(&notify)?;
    let mut event = silent();
    match notify {
        Notify::None => Ok((event, None)),
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
    let pointer: *mut NotifyCallback = value.sival_ptr.cast();
    // SAFETY: `sigevent` leaked this box for exactly one call, and glibc notifies once.
    let callback = unsafe { Box::from_raw(pointer) };
    // The panic was printed by its hook, and may not unwind into glibc.
    drop(catch_unwind(AssertUnwindSafe(*callback)));
}

/// Frees a callback that glibc will not call.
pub(super) fn free_callback(pointer: Option<NonNull<NotifyCallback>>) {
    if let Some(pointer) = pointer {
        // SAFETY: the box was leaked by `sigevent`, and the call that failed took no notice of it.
        drop(unsafe { Box::from_raw(pointer.as_ptr()) });
    }
}

/// Notifies when it is dropped: each request of a list holds it, and the last one drops it.
#[cfg(not(target_env = "gnu"))]
pub(super) struct Last(Mutex<Notify>);

#[cfg(not(target_env = "gnu"))]
impl Last {
    pub(super) fn new(notify: Notify) -> Self {
        Self(Mutex::new(notify))
    }

    fn take(&mut self) -> Notify {
        std::mem::take(self.0.get_mut().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notifies of the end of a list that is over already. A callback is called on another thread,
    /// as always: this one may hold what it waits for. EAGAIN without a thread, and then there is
    /// no call.
    pub(super) fn notify_elsewhere(mut self) -> io::Result<()> {
        match self.take() {
            Notify::Callback(callback) => std::thread::Builder::new().spawn(callback).map(drop),
            notify => {
                drop(Self::new(notify));
                Ok(())
            }
        }
    }
}

#[cfg(not(target_env = "gnu"))]
impl Drop for Last {
    fn drop(&mut self) {
        unsafe extern "C" {
            fn sigqueue(
                process: libc::pid_t,
                signal: libc::c_int,
                value: libc::sigval,
            ) -> libc::c_int;
        }
        match self.take() {
            Notify::None => {}
            Notify::Callback(callback) => callback(),
            Notify::Signal { number, value } => {
                let value = libc::sigval { sival_ptr: ptr::without_provenance_mut(value) };
                // SAFETY: the call takes numbers. It fails where the process may have no more
                // signals queued, as it would for a request of its own.
                let _sent = unsafe { sigqueue(libc::getpid(), number, value) };
            }
        }
    }
}
