//! Which of the standard streams the process was given.
//!
//! Rust's runtime opens /dev/null in place of streams that are closed, before `main`. What was read
//! from there would pass for an empty input, and what was written for delivered. So they are looked
//! at before the runtime is: while the loader runs the program's constructors.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

/// One bit a descriptor: it was closed.
static CLOSED: AtomicU8 = AtomicU8::new(0);

extern "C" fn look() {
    for fd in 0..3 {
        // SAFETY: F_GETFD takes any number and touches no memory.
        let is_there = unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1;
        // A call that is refused says nothing of the stream.
        if !is_there && io::Error::last_os_error().raw_os_error() == Some(libc::EBADF) {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
}

// SAFETY: the loader calls what stands in this section once, with C's calling convention, before
// `main`; `look` needs nothing of Rust's runtime, and does not unwind.
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

/// Whether descriptor 0, 1 or 2 was closed when the process began.
pub fn was_closed(fd: u8) -> bool {
    fd < 3 && CLOSED.load(Ordering::Relaxed) & (1 << fd) != 0
}
