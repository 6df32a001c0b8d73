//! Files on which another process holds a lease, see F_SETLEASE in fcntl(2).

use std::io;
use std::time::{Duration, Instant};

/// The kernel's own default for how long a lease may be held on to.
const BREAK_TIME: Duration = Duration::from_secs(45);

/// The kernel takes a lease away when its time is up, a moment later.
const SLACK: Duration = Duration::from_secs(2);

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// Opens a file that is open without blocking once no lease on it is held any more: the first
/// attempt has its holder asked to give it back. `pause` sleeps until a moment, and says whether to
/// go on; the last answer is EAGAIN if it is not.
pub fn wait_for_lease<T>(
    open: impl Fn() -> io::Result<T>,
    pause: impl Fn(Instant) -> bool,
) -> io::Result<T> {
    let mut opened = open();
    if !is_leased(&opened) {
        return opened;
    }
    let (end, mut length) = (Instant::now() + break_time() + SLACK, FIRST_PAUSE);
    while is_leased(&opened) && Instant::now() < end && pause(Instant::now() + length) {
        length = (length * 2).min(LONGEST_PAUSE);
        opened = open();
    }
    opened
}

fn is_leased<T>(opened: &io::Result<T>) -> bool {
    opened.as_ref().is_err_and(|cause| cause.kind() == io::ErrorKind::WouldBlock)
}

/// How long the holder of a lease may keep it, from when it was asked on. The kernel waits for ever
/// if that is 0.
fn break_time() -> Duration {
    let text = std::fs::read_to_string("/proc/sys/fs/lease-break-time").unwrap_or_default();
    match text.trim().parse() {
        Ok(0) | Err(_) => BREAK_TIME,
        Ok(seconds) => Duration::from_secs(seconds),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_lease_is_waited_for_and_nothing_else_is() {
        let after = |refusals: u32, errno: i32| {
            let (tries, pauses) = (Cell::new(0), Cell::new(0));
            let open = || {
                tries.set(tries.get() + 1);
                match tries.get() > refusals {
                    true => Ok(()),
                    false => Err(io::Error::from_raw_os_error(errno)),
                }
            };
            let pause = |_| {
                pauses.set(pauses.get() + 1);
                pauses.get() < 5
            };
            let opened = wait_for_lease(open, pause).map_err(|cause| cause.raw_os_error());
            (opened, tries.get())
        };
        assert_eq!(after(0, libc::EAGAIN), (Ok(()), 1));
        assert_eq!(after(3, libc::EAGAIN), (Ok(()), 4));
        assert_eq!(after(9, libc::EAGAIN), (Err(Some(libc::EAGAIN)), 5), "no one wants to wait");
        assert_eq!(after(9, libc::EACCES), (Err(Some(libc::EACCES)), 1));
    }
}
