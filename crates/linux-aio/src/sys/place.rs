//! What all engines say of an operation at a place that its file does not have, as the kernel's own
//! does.

use std::io;
use std::os::fd::AsFd;

use rustix::fs::{FileType, fstat};

use super::op::{Op, OpKind};

/// EINVAL for a sync at an offset, and for a transfer that would end beyond the last offset there
/// is.
pub fn check(op: &Op) -> io::Result<()> {
    let is_one = match op.kind {
        OpKind::Fsync | OpKind::Fdatasync | OpKind::Poll(_) => op.offset_bytes == 0,
        _ => {
            let len_bytes = op.kind.len_bytes().unwrap_or(0) as u64;
            let end = op.offset_bytes.checked_add(len_bytes);
            end.is_some_and(|end| i64::try_from(end).is_ok())
        }
    };
    if is_one { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
}

/// Whether it is a socket, of which the kernel refuses all offsets but 0 (ESPIPE). pread(2) refuses
/// that too, and a C library then reads without an offset.
pub fn is_socket(file: impl AsFd) -> bool {
    is_of_type(file, FileType::Socket)
}

/// Whether it is a directory, which is read with EISDIR. io_submit(2) says EINVAL, as of whatever
/// cannot be read asynchronously.
pub fn is_directory(file: impl AsFd) -> bool {
    is_of_type(file, FileType::Directory)
}

fn is_of_type(file: impl AsFd, kind: FileType) -> bool {
    fstat(file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
}
