//! Standard input and output, if the process has them.

use std::io::{self, Stdin, Stdout};
use std::path::Path;

use super::identity::FileId;
use super::stat::{Stat, stat, stat_following};
use crate::sys::call::{CWD, FileType};
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

/// Whether reading a path would read standard input: `-`, one of the names that the kernel has for
/// it, or any other of a pipe.
pub fn is_stdin(path: &Path) -> bool {
    let names = ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"];
    names.iter().any(|name| path.as_os_str() == *name) || is_pipe_of_stdin(path)
}

/// A regular file has a place to read from for each that opens it; what is in a pipe is read once.
fn is_pipe_of_stdin(path: &Path) -> bool {
    stat_following(CWD, path.as_os_str()).is_ok_and(|found| {
        FileType::from_raw_mode(found.st_mode) == FileType::Fifo
            && stdin().and_then(stat).is_ok_and(|input| FileId::of(&input) == FileId::of(&found))
    })
}
