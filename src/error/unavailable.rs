//! Which errors speak of a call and not of what it was called for.

use std::io;

/// Whether an error says that a call is not available here: of a kernel that does not know it, of a
/// sandbox that forbids it, or of a filesystem that has no such thing. EPERM and EINVAL may mean
/// more, so that the plain way that is tried next has the last word.
pub fn is_unavailable(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(is_refusal)
}

/// The same of an error number.
pub(super) fn is_refusal(errno: i32) -> bool {
    matches!(errno, libc::ENOSYS | libc::EPERM | libc::EOPNOTSUPP | libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_device_or_the_limits_say_is_no_refusal() {
        for (errno, is) in [
            (libc::ENOSYS, true),
            (libc::EPERM, true),
            (libc::EOPNOTSUPP, true),
            (libc::EINVAL, true),
            (libc::EIO, false),
            (libc::ENOSPC, false),
            (libc::EACCES, false),
            (libc::EROFS, false),
        ] {
            assert_eq!(is_unavailable(&io::Error::from_raw_os_error(errno)), is, "{errno}");
        }
        assert!(!is_unavailable(&io::Error::other("no number")));
    }
}
