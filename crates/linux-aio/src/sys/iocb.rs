//! What the kernel is told of an operation.

use std::os::fd::AsRawFd;

use super::abi::{self, Iocb};
use super::op::{Op, OpKind, PARTS_MAX};

/// The iocb of an operation. It names the memory of the operation's buffers, and `iovecs` where
/// there are several. None if a range is not within its buffer, there are too many buffers, or the
/// offset or the priority is not one.
pub fn describe(op: &mut Op, iovecs: &mut Vec<libc::iovec>) -> Option<Iocb> {
    let mut iocb = Iocb {
        fildes: op.file.as_raw_fd() as u32,
        offset: i64::try_from(op.offset_bytes).ok()?,
        rw_flags: op.flags.bits(),
        ..Iocb::default()
    };
    if let Some(priority) = op.priority {
        iocb.flags |= abi::FLAG_IOPRIO;
        iocb.reqprio = priority.bits()?;
    }
    if let Some(eventfd) = &op.eventfd {
        iocb.flags |= abi::FLAG_RESFD;
        iocb.resfd = eventfd.as_raw_fd() as u32;
    }
    iovecs.clear();
    (iocb.opcode, iocb.buf, iocb.nbytes) = match &mut op.kind {
        OpKind::Read(part) => {
            let bytes = part.bytes_mut()?;
            (abi::CMD_PREAD, bytes.as_mut_ptr() as u64, bytes.len() as u64)
        }
        OpKind::Write(part) => {
            let bytes = part.bytes()?;
            (abi::CMD_PWRITE, bytes.as_ptr() as u64, bytes.len() as u64)
        }
        OpKind::ReadVectored(parts) => {
            for part in parts.iter_mut() {
                let bytes = part.bytes_mut()?;
                iovecs.push(libc::iovec {
                    iov_base: bytes.as_mut_ptr().cast(),
                    iov_len: bytes.len(),
                });
            }
            (abi::CMD_PREADV, iovecs.as_ptr() as u64, iovecs.len() as u64)
        }
        OpKind::WriteVectored(parts) => {
            for part in parts.iter() {
                let bytes = part.bytes()?;
                iovecs.push(libc::iovec {
                    iov_base: bytes.as_ptr().cast_mut().cast(),
                    iov_len: bytes.len(),
                });
            }
            (abi::CMD_PWRITEV, iovecs.as_ptr() as u64, iovecs.len() as u64)
        }
        OpKind::Fsync => (abi::CMD_FSYNC, 0, 0),
        OpKind::Fdatasync => (abi::CMD_FDSYNC, 0, 0),
        // A C library's `struct pollfd` has signed events, the kernel's does not.
        OpKind::Poll(events) => {
            (abi::CMD_POLL, u64::from(u16::from_ne_bytes(events.bits().to_ne_bytes())), 0)
        }
    };
    // The kernel would say EINVAL too, but of a number that a later version may raise.
    (iovecs.len() <= PARTS_MAX).then_some(iocb)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use super::super::{Buffer, Part, Pool, Priority};
    use super::*;

    fn null() -> Arc<OwnedFd> {
        Arc::new(std::fs::File::open("/dev/null").unwrap().into())
    }

    #[test]
    fn an_iocb_names_the_bytes_that_are_meant() {
        let pool = Pool::new(3, 4096).unwrap();
        let mut part = Part::new(pool.get().unwrap(), 8..24);
        let at = part.bytes_mut().unwrap().as_ptr() as u64;
        let mut iovecs = Vec::new();
        let mut op = Op {
            priority: Some(Priority::BestEffort(5)),
            ..Op::new(null(), OpKind::Read(part)).at(77)
        };
        let iocb = describe(&mut op, &mut iovecs).unwrap();
        assert_eq!((iocb.opcode, iocb.buf, iocb.nbytes, iocb.offset), (abi::CMD_PREAD, at, 16, 77));
        assert_eq!((iocb.flags, iocb.reqprio, iovecs.len()), (abi::FLAG_IOPRIO, 2 << 13 | 5, 0));
        let whole = |buffer: Buffer| Part::whole(buffer.freeze());
        let parts = vec![whole(pool.get().unwrap()), whole(pool.get().unwrap())];
        let mut op = Op::new(null(), OpKind::WriteVectored(parts));
        let iocb = describe(&mut op, &mut iovecs).unwrap();
        assert_eq!(
            (iocb.opcode, iocb.buf, iocb.nbytes),
            (abi::CMD_PWRITEV, iovecs.as_ptr() as u64, 2)
        );
        assert!(iovecs.iter().all(|part| part.iov_len == 4096));
        // Nothing of it is refused by the kernel's own hand, since it would be understood as
        // something else.
        for bad in [Priority::BestEffort(8), Priority::RealTime(255)] {
            assert!(
                describe(
                    &mut Op { priority: Some(bad), ..Op::new(null(), OpKind::Fsync) },
                    &mut iovecs
                )
                .is_none()
            );
        }
        assert!(describe(&mut Op::new(null(), OpKind::Fsync).at(1 << 63), &mut iovecs).is_none());
    }
}
