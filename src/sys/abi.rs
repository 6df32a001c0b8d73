//! The kernel AIO interface as `include/uapi/linux/aio_abi.h` has it, and the system calls, one function each.

use std::io;
use std::ptr;
use std::time::Duration;

/// `struct iocb`: 64 bytes, the layout of little-endian machines (`aio_key` before `aio_rw_flags`).
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Iocb {
    pub data: u64,
    #[cfg(target_endian = "little")]
    pub key: u32,
    pub rw_flags: u32,
    #[cfg(target_endian = "big")]
    pub key: u32,
    pub opcode: u16,
    pub reqprio: i16,
    pub fildes: u32,
    pub buf: u64,
    pub nbytes: u64,
    pub offset: i64,
    pub reserved2: u64,
    pub flags: u32,
    pub resfd: u32,
}

/// `struct io_event`: 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct IoEvent {
    pub data: u64,
    pub obj: u64,
    pub res: i64,
    pub res2: i64,
}

const _: () = assert!(size_of::<Iocb>() == 64 && size_of::<IoEvent>() == 32);

pub const CMD_PREAD: u16 = 0;
pub const CMD_PWRITE: u16 = 1;
pub const CMD_FSYNC: u16 = 2;
pub const CMD_FDSYNC: u16 = 3;
pub const CMD_POLL: u16 = 5;
pub const CMD_PREADV: u16 = 7;
pub const CMD_PWRITEV: u16 = 8;

/// `resfd` is an eventfd to be signalled.
pub const FLAG_RESFD: u32 = 1;
/// `reqprio` is an I/O priority.
pub const FLAG_IOPRIO: u32 = 2;

/// `aio_context_t`: the address of the completion ring.
pub type ContextId = libc::c_ulong;

fn check(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// io_setup(2).
pub fn io_setup(events: u32) -> io::Result<ContextId> {
    let mut id: ContextId = 0;
    // SAFETY: the kernel writes one `aio_context_t` to a live, zeroed variable.
    check(unsafe { libc::syscall(libc::SYS_io_setup, events, &raw mut id) })?;
    Ok(id)
}

/// io_destroy(2); it waits for everything in flight.
pub fn io_destroy(id: ContextId) -> io::Result<()> {
    // SAFETY: no memory is handed over; a stale id is answered with EINVAL.
    check(unsafe { libc::syscall(libc::SYS_io_destroy, id) }).map(drop)
}

/// io_submit(2): how many of `iocbs` the kernel took.
///
/// # Safety
/// Each pointer must be valid for reads and writes during the call, and the memory that its iocb names must stay
/// valid, and unaliased as the opcode demands, until its completion has been reaped.
pub unsafe fn io_submit(id: ContextId, iocbs: &mut [*mut Iocb]) -> io::Result<usize> {
    // SAFETY: the caller vouches for the iocbs; the array itself lives through the call.
    check(unsafe { libc::syscall(libc::SYS_io_submit, id, iocbs.len(), iocbs.as_mut_ptr()) })
}

/// io_getevents(2): fills the start of `events` and says how many.
pub fn io_getevents(id: ContextId, min: usize, events: &mut [IoEvent], timeout: Option<Duration>) -> io::Result<usize> {
    let timespec = timeout.map(|t| libc::timespec {
        tv_sec: t.as_secs().try_into().unwrap_or(libc::c_long::MAX),
        tv_nsec: t.subsec_nanos().into(),
    });
    let timespec = timespec.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the kernel writes at most `events.len()` events into a live slice, and reads a live timespec or none.
    check(unsafe { libc::syscall(libc::SYS_io_getevents, id, min, events.len(), events.as_mut_ptr(), timespec) })
}

/// io_cancel(2) of the operation that was submitted from this iocb's address; the kernel reads its `key`.
/// EINPROGRESS is the kernel's word for success: the event comes through the ring.
pub fn io_cancel(id: ContextId, iocb: &mut Iocb) -> io::Result<()> {
    let mut unused = IoEvent::default();
    // SAFETY: the kernel reads a live iocb and, up to Linux 3.10, writes one event into a live variable.
    check(unsafe { libc::syscall(libc::SYS_io_cancel, id, ptr::from_mut(iocb), &raw mut unused) }).map(drop)
}
