//! One operation carried out by the calling thread: what a pool's threads do, and what the fake
//! does.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsFd;

use rustix::io::{Errno, ReadWriteFlags, preadv2, pwritev2, retry_on_intr};

use crate::sys::{Done, Op, OpKind, PARTS_MAX, place};

impl Op {
    /// Carries it out in the calling thread, by pread(2), pwrite(2) or their like: what an engine
    /// is not worth its while for. Polls, priorities and eventfds are refused (EOPNOTSUPP). It
    /// blocks.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::Op;
    /// use std::fs::File;
    ///
    /// let done = Op::read(File::open("/dev/zero")?, vec![1; 3], 0).perform();
    /// assert_eq!(done.bytes(), Some(&[0, 0, 0][..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn perform(mut self) -> Done {
        let result = perform_some(&mut self, usize::MAX);
        Done::new(self, result)
    }
}

/// Carries an operation out, once, with at most `limit_bytes` of its bytes: a short count is the
/// caller's to judge. Blocks.
pub(crate) fn perform_some(op: &mut Op, limit_bytes: usize) -> io::Result<usize> {
    Ok(transfer(op, limit_bytes)?)
}

fn transfer(op: &mut Op, limit_bytes: usize) -> rustix::io::Result<usize> {
    if op.priority.is_some() || op.eventfd.is_some() {
        return Err(Errno::OPNOTSUPP);
    }
    // preadv2 would take the largest offset for -1, which means the place where the file stands.
    place::check(op).map_err(|_| Errno::INVAL)?;
    let is_sync = matches!(op.kind, OpKind::Fsync | OpKind::Fdatasync);
    if is_sync && !op.flags.is_empty() {
        return Err(Errno::INVAL);
    }
    // rustix would leave out those that are too many, where the kernel refuses.
    if op.kind.parts() > PARTS_MAX {
        return Err(Errno::INVAL);
    }
    let (file, offset, flags) = (&op.file, op.offset_bytes, op.flags);
    match &mut op.kind {
        OpKind::Read(part) => {
            let bytes = part.bytes_mut().ok_or(Errno::INVAL)?;
            let len = bytes.len().min(limit_bytes);
            read(file, &mut [IoSliceMut::new(&mut bytes[..len])], offset, flags)
        }
        OpKind::Write(part) => {
            let bytes = part.bytes().ok_or(Errno::INVAL)?;
            write(file, &[IoSlice::new(&bytes[..bytes.len().min(limit_bytes)])], offset, flags)
        }
        OpKind::ReadVectored(parts) => {
            let (mut slices, mut left) = (Vec::with_capacity(parts.len()), limit_bytes);
            for part in parts.iter_mut() {
                let bytes = part.bytes_mut().ok_or(Errno::INVAL)?;
                let len = bytes.len().min(left);
                left -= len;
                slices.push(IoSliceMut::new(&mut bytes[..len]));
            }
            read(file, &mut slices, offset, flags)
        }
        OpKind::WriteVectored(parts) => {
            let (mut slices, mut left) = (Vec::with_capacity(parts.len()), limit_bytes);
            for part in parts.iter() {
                let bytes = part.bytes().ok_or(Errno::INVAL)?;
                let len = bytes.len().min(left);
                left -= len;
                slices.push(IoSlice::new(&bytes[..len]));
            }
            write(file, &slices, offset, flags)
        }
        OpKind::Fsync => retry_on_intr(|| rustix::fs::fsync(file)).map(|()| 0),
        OpKind::Fdatasync => retry_on_intr(|| rustix::fs::fdatasync(file)).map(|()| 0),
        // Waiting for readiness would hold a thread for as long as nothing happens.
        OpKind::Poll(_) => Err(Errno::OPNOTSUPP),
    }
}

/// Where there are no places (ESPIPE), the bytes that come next are meant, as with the other
/// engines: preadv2(2) with -1 for the offset.
const NO_PLACE: u64 = u64::MAX;

/// Whether a transfer that was refused has to be tried without its place. That of a socket is 0.
fn is_without_place(answer: &rustix::io::Result<usize>, file: impl AsFd, offset: u64) -> bool {
    *answer == Err(Errno::SPIPE) && (offset == 0 || !place::is_socket(file))
}

fn read(
    file: impl AsFd + Copy,
    slices: &mut [IoSliceMut<'_>],
    offset: u64,
    flags: ReadWriteFlags,
) -> rustix::io::Result<usize> {
    let read = match slices {
        // The kernel does not get as far as to the kind of the file.
        [] if place::is_directory(file) => Err(Errno::ISDIR),
        [one] if flags.is_empty() => retry_on_intr(|| rustix::io::pread(file, &mut **one, offset)),
        _ => retry_on_intr(|| preadv2(file, slices, offset, flags)),
    };
    match is_without_place(&read, file, offset) {
        true => retry_on_intr(|| preadv2(file, slices, NO_PLACE, flags)),
        false => read,
    }
}

fn write(
    file: impl AsFd + Copy,
    slices: &[IoSlice<'_>],
    offset: u64,
    flags: ReadWriteFlags,
) -> rustix::io::Result<usize> {
    let written = match slices {
        [one] if flags.is_empty() => retry_on_intr(|| rustix::io::pwrite(file, one, offset)),
        several => retry_on_intr(|| pwritev2(file, several, offset, flags)),
    };
    match is_without_place(&written, file, offset) {
        true => retry_on_intr(|| pwritev2(file, slices, NO_PLACE, flags)),
        false => written,
    }
}
