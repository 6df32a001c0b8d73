//! What the process does about signals.

use std::io;

/// Whether a signal is ignored, as whoever started the process may have arranged; see sigaction(2).
pub fn is_ignored(signal: i32) -> io::Result<bool> {
    // SAFETY: all fields of a sigaction are numbers or pointers that may be null.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action the call only writes the old one, which is live and of the right type.
    match unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } {
        0 => Ok(action.sa_sigaction == libc::SIG_IGN),
        _ => Err(io::Error::last_os_error()),
    }
}
