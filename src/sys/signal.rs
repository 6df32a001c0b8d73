//! What the process does about signals.

use std::io;

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

/// Does what the system does by itself about a signal that is caught here, and returns where the
/// process goes on: when it has been stopped, or where the signal does nothing, as SIGTSTP in a
/// group of processes that no shell would wake.
pub fn act_by_default(signal: i32) -> io::Result<()> {
    // SAFETY: all fields of a sigaction are numbers or pointers that may be null.
    let (mut caught, mut default): (libc::sigaction, libc::sigaction) =
        unsafe { std::mem::zeroed() };
    default.sa_sigaction = libc::SIG_DFL;
    // SAFETY: both actions are live and of the right type, and the new one calls nothing.
    if unsafe { libc::sigaction(signal, &raw const default, &raw mut caught) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it goes to this thread alone, and has acted when it returns.
    let raised = match unsafe { libc::raise(signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: the action is the one that the process had, so that its handler may be called.
    match unsafe { libc::sigaction(signal, &raw const caught, std::ptr::null_mut()) } {
        0 => raised,
        _ => Err(io::Error::last_os_error()),
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
}
