//! Sets of signals, which a wait may block or let through.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;

/// A set of signals, those that are blocked; see sigsetops(3).
///
/// ```
/// use linux_aio::kernel::SignalMask;
///
/// let mask = SignalMask::none().block(libc::SIGINT)?.block(libc::SIGTERM)?;
/// assert!(mask.blocks(libc::SIGTERM) && !mask.blocks(libc::SIGUSR1));
/// # Ok::<(), std::io::Error>(())
/// ```
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
    ///
    /// ```
    /// // The main thread starts with none blocked, unless its parent has blocked some.
    /// let mask = linux_aio::kernel::SignalMask::of_this_thread();
    /// assert!(!mask.blocks(libc::SIGKILL), "it cannot be");
    /// ```
    pub fn of_this_thread() -> Self {
        let mut mask = Self::none();
        // SAFETY: without a new set the call only writes the old one, which is live and of the
        // right type; it cannot fail then.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut mask.0) };
        mask
    }

    /// Blocks one more signal. EINVAL for a number that is no signal. The kernel
    /// lets SIGKILL and SIGSTOP through all the same.
    ///
    /// ```
    /// use linux_aio::kernel::SignalMask;
    ///
    /// assert!(SignalMask::none().block(libc::SIGINT)?.blocks(libc::SIGINT));
    /// assert_eq!(SignalMask::none().block(1000).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn block(mut self, signal: i32) -> io::Result<Self> {
        // SAFETY: the set is live and was made by sigemptyset; a number that is no signal is
        // answered with EINVAL.
        match unsafe { libc::sigaddset(&raw mut self.0, signal) } {
            0 => Ok(self),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Lets one signal through. EINVAL for a number that is no signal.
    ///
    /// ```
    /// use linux_aio::kernel::SignalMask;
    ///
    /// let blocked = SignalMask::none().block(libc::SIGINT)?;
    /// assert!(!blocked.unblock(libc::SIGINT)?.blocks(libc::SIGINT));
    /// # Ok::<(), std::io::Error>(())
    /// ```
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
