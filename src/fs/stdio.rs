//! Standard input and output, if the process has them.

use std::io::{self, Stdin, Stdout};
use std::path::Path;

use super::stat::{Stat, stat};
use crate::sys::stdio::was_closed;

/// Standard input; EBADF if it was closed when the process began, see `sys::stdio`.
pub fn stdin() -> io::Result<Stdin> {
    if was_closed(0) { Err(io::Error::from_raw_os_error(libc::EBADF)) } else { Ok(io::stdin()) }
}

/// Standard output; EBADF if it was closed when the process began.
pub fn stdout() -> io::Result<Stdout> {
    if was_closed(1) { Err(io::Error::from_raw_os_error(libc::EBADF)) } else { Ok(io::stdout()) }
}

/// The file that standard output goes to; nothing where there is none.
pub fn stdout_file() -> Option<Stat> {
    stdout().and_then(stat).ok()
}

/// Whether a path leads to standard input: `-`, or one of the names that the kernel has for it.
pub fn is_stdin(path: &Path) -> bool {
    let names = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
    names.iter().any(|name| path.as_os_str() == *name)
}
