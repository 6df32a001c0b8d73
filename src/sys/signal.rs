//! What the process does about signals.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;

/// Whether a signal is ignored, as the parent process may have arranged; see sigaction(2).
pub fn is_ignored(signal: i32) -> io::Result<bool> {
    // SAFETY: all fields of a sigaction are numbers or pointers that may be null.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action the call only writes the old one, which is live and of the right
    // type.
    match unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) } {
        0 => Ok(action.sa_sigaction == libc::SIG_IGN),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has the process ignore a signal, from now on and in what it executes; see sigaction(2). EINVAL
/// for a number that is no signal, and for SIGKILL and SIGSTOP.
pub fn ignore(signal: i32) -> io::Result<()> {
    // SAFETY: all fields of a sigaction are numbers or pointers that may be null.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = libc::SIG_IGN;
    // SAFETY: the new action is live, of the right type and calls nothing; the old one is not
    // asked for.
    match unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A set of signals, those that are blocked; see sigsetops(3).
#[derive(Clone, Copy)]
pub struct SignalMask(libc::sigset_t);

impl SignalMask {
    /// Blocks no signal.
    pub fn none() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: the call writes a whole set, into live memory of the right size, and cannot fail.
        unsafe { libc::sigemptyset(set.as_mut_ptr()) };
        // SAFETY: it was just written.
        Self(unsafe { set.assume_init() })
    }

    /// What the calling thread blocks now; see pthread_sigmask(3).
    pub fn of_this_thread() -> Self {
        let mut mask = Self::none();
        // SAFETY: without a new set the call only writes the old one, which is live and of the
        // right type; it cannot fail then.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut mask.0) };
        mask
    }

    /// Blocks one more signal. EINVAL for a number that is no signal. The kernel
    /// lets SIGKILL and SIGSTOP through all the same.
    pub fn block(mut self, signal: i32) -> io::Result<Self> {
        // SAFETY: the set is live and was made by sigemptyset; a number that is no signal is
        // answered with EINVAL.
        match unsafe { libc::sigaddset(&raw mut self.0, signal) } {
            0 => Ok(self),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Lets one signal through. EINVAL for a number that is no signal.
    pub fn unblock(mut self, signal: i32) -> io::Result<Self> {
        // SAFETY: as in `block`.
        match unsafe { libc::sigdelset(&raw mut self.0, signal) } {
            0 => Ok(self),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Whether a signal is blocked; no number that is no signal is.
    pub fn blocks(&self, signal: i32) -> bool {
        // SAFETY: the set is live and was made by sigemptyset; a number that is no signal is
        // answered with EINVAL.
        unsafe { libc::sigismember(&raw const self.0, signal) == 1 }
    }

    /// As the system calls want it.
    pub(super) fn as_raw(&self) -> &libc::sigset_t {
        &self.0
    }
}

impl fmt::Debug for SignalMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries((1..=libc::SIGRTMAX()).filter(|&signal| self.blocks(signal))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri knows no sigaction")]
    fn a_signal_is_ignored_once_it_is_to_be() {
        assert!(!is_ignored(libc::SIGURG).unwrap());
        ignore(libc::SIGURG).unwrap();
        assert!(is_ignored(libc::SIGURG).unwrap());
        for number in [0, libc::SIGKILL, i32::MAX] {
            assert_eq!(ignore(number).unwrap_err().raw_os_error(), Some(libc::EINVAL), "{number}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri knows no signal sets")]
    fn a_mask_has_the_signals_that_were_put_in() {
        let mask = SignalMask::none().block(libc::SIGINT).unwrap().block(libc::SIGRTMAX()).unwrap();
        assert!(
            mask.blocks(libc::SIGINT)
                && mask.blocks(libc::SIGRTMAX())
                && !mask.blocks(libc::SIGTERM)
        );
        assert_eq!(
            format!("{:?}", mask.unblock(libc::SIGRTMAX()).unwrap()),
            format!("{{{}}}", libc::SIGINT)
        );
        for number in [0, -1, 65, i32::MAX] {
            assert_eq!(
                mask.block(number).unwrap_err().raw_os_error(),
                Some(libc::EINVAL),
                "{number}"
            );
            assert_eq!(
                mask.unblock(number).unwrap_err().raw_os_error(),
                Some(libc::EINVAL),
                "{number}"
            );
            assert!(!mask.blocks(number));
        }
    }
}
