//! File handles: what a filesystem itself calls an inode, its generation included.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use super::call::retried;

/// `AT_HANDLE_FID`, Linux 6.5: a handle that identifies and need not open.
const AT_HANDLE_FID: libc::c_int = libc::AT_REMOVEDIR;

/// `MAX_HANDLE_SZ` of name_to_handle_at(2).
const HANDLE_BYTES_MAX: usize = 128;

/// A `struct file_handle` with room for its bytes.
#[repr(C)]
struct RawHandle {
    len_bytes: libc::c_uint,
    kind: libc::c_int,
    bytes: [u8; HANDLE_BYTES_MAX],
}

/// Whether a kernel has refused the flag.
static FID_IS_UNKNOWN: AtomicBool = AtomicBool::new(false);

/// What a filesystem calls a file: name_to_handle_at(2). Kind and bytes mean something to it
/// alone. `None` where there is no handle, or where it may not be asked for. An empty name is the
/// open file itself.
pub fn file_handle(dir: BorrowedFd<'_>, name: &CStr) -> Option<(i32, Vec<u8>)> {
    let ask = |flags| retried(|| ask(dir, name, flags));
    if !FID_IS_UNKNOWN.load(Ordering::Relaxed) {
        match ask(AT_HANDLE_FID) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            answer => return answer.ok(),
        }
    }
    let answer = ask(0).ok()?;
    // Only a kernel that has handles and refuses the flag does not know it.
    FID_IS_UNKNOWN.store(true, Ordering::Relaxed);
    Some(answer)
}

fn ask(dir: BorrowedFd<'_>, name: &CStr, flags: libc::c_int) -> io::Result<(i32, Vec<u8>)> {
    let mut handle =
        RawHandle { len_bytes: HANDLE_BYTES_MAX as _, kind: 0, bytes: [0; HANDLE_BYTES_MAX] };
    let mut mount: libc::c_int = 0;
    // SAFETY: the kernel reads a string, and writes one handle of the length that it says there is
    // room for and one number; all of them are live.
    let result = unsafe {
        libc::name_to_handle_at(
            dir.as_raw_fd(),
            name.as_ptr(),
            (&raw mut handle).cast(),
            &raw mut mount,
            flags | libc::AT_EMPTY_PATH,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    let len_bytes = (handle.len_bytes as usize).min(HANDLE_BYTES_MAX);
    Ok((handle.kind, handle.bytes[..len_bytes].to_vec()))
}
