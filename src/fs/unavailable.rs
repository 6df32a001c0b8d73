//! Answers that say nothing of what was asked about.

use std::io;

use rustix::io::Errno;

pub use crate::error::is_unavailable;

/// [`is_unavailable`], of an error number.
pub(super) fn refuses(errno: Errno) -> bool {
    is_unavailable(&errno.into())
}

/// Whether an error answers nothing: of a call that can be left out, since what is done without it
/// fails as well if there is more behind it, as a device that fails.
pub fn is_no_answer(error: &io::Error) -> bool {
    is_unavailable(error) || error.raw_os_error() == Some(libc::EIO)
}

/// The same of an error number.
pub(super) fn answers_nothing(errno: Errno) -> bool {
    is_no_answer(&errno.into())
}
