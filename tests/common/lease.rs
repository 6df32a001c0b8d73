//! A lease on a file, see F_SETLEASE in fcntl(2).
#![allow(unsafe_code, reason = "no safe crate wraps leases")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use super::held::wait_for;

/// What the libc crate lacks.
const F_SETSIG: i32 = 10;

/// A lease that lets no one else open the file.
pub struct Lease(File);

impl Lease {
    /// Takes one. Opening the file sends this process SIGURG, which does nothing.
    pub fn take(path: &Path) -> Self {
        let lease = Self(File::options().read(true).write(true).open(path).unwrap());
        lease.call(F_SETSIG, libc::SIGURG).unwrap();
        // A child that another thread forks has what wrote the file open until its exec.
        wait_for("no one else has the file open", || {
            match lease.call(libc::F_SETLEASE, libc::F_WRLCK) {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => false,
                taken => {
                    taken.unwrap();
                    true
                }
            }
        });
        lease
    }

    /// Gives it back.
    pub fn give_back(self) {
        self.call(libc::F_SETLEASE, libc::F_UNLCK).unwrap();
    }

    fn call(&self, command: i32, value: i32) -> io::Result<()> {
        // SAFETY: both commands take a number.
        match unsafe { libc::fcntl(self.0.as_raw_fd(), command, value) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
