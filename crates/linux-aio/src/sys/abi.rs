//! The kernel AIO interface as `include/uapi/linux/aio_abi.h` has it, and the system calls, one
//! function each.

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
    loop {
        // SAFETY: the kernel writes one `aio_context_t` to a live, zeroed variable.
        match check(unsafe { libc::syscall(libc::SYS_io_setup, events, &raw mut id) }) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer.map(|_| id),
        }
    }
}

/// io_destroy(2); it waits for everything in flight.
pub fn io_destroy(id: ContextId) -> io::Result<()> {
    // SAFETY: no memory is handed over; a stale id is answered with EINVAL.
    check(unsafe { libc::syscall(libc::SYS_io_destroy, id) }).map(drop)
}

/// io_submit(2): how many of `iocbs` the kernel took.
///
/// # Safety
/// Each pointer must be valid for reads and writes during the call. The memory that its iocb names
/// must stay valid, and unaliased as the opcode demands, until its completion has been reaped.
pub unsafe fn io_submit(id: ContextId, iocbs: &mut [*mut Iocb]) -> io::Result<usize> {
    // SAFETY: the caller vouches for the iocbs; the array itself lives through the call.
    check(unsafe { libc::syscall(libc::SYS_io_submit, id, iocbs.len(), iocbs.as_mut_ptr()) })
}

/// A wait of 34 years is one without an end. Added to a clock's time, a longer one may exceed what
/// a C library or a kernel of 32 bits has numbers for, and would then be over at once.
pub const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// `struct timespec` as these calls of the kernel have it, whose numbers are `long`. That of a C
/// library may be wider.
#[repr(C)]
struct KernelTimespec {
    seconds: libc::c_long,
    nanoseconds: libc::c_long,
}

/// A time as the kernel has it; none for one that is [for ever](FOR_EVER).
fn timespec(time: Option<Duration>) -> Option<KernelTimespec> {
    time.filter(|&time| time < FOR_EVER).map(|time| KernelTimespec {
        seconds: time.as_secs() as libc::c_long,
        nanoseconds: time.subsec_nanos() as libc::c_long,
    })
}

/// io_getevents(2): fills the start of `events` and says how many.
pub fn io_getevents(
    id: ContextId,
    min: usize,
    events: &mut [IoEvent],
    timeout: Option<Duration>,
) -> io::Result<usize> {
    let timespec = timespec(timeout);
    let timespec = timespec.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the kernel writes at most `events.len()` events into a live slice, and reads a live
    // timespec or none.
    check(unsafe {
        libc::syscall(libc::SYS_io_getevents, id, min, events.len(), events.as_mut_ptr(), timespec)
    })
}

/// `struct __aio_sigset`: the signals that are blocked during the wait.
#[repr(C)]
struct AioSigset {
    mask: *const libc::sigset_t,
    bytes: usize,
}

/// The kernel's own set is shorter than a C library's, which begins with it. It has a bit a signal:
/// 128 on mips, 64 elsewhere.
const SIGSET_BYTES: usize = if cfg!(any(
    target_arch = "mips",
    target_arch = "mips64",
    target_arch = "mips32r6",
    target_arch = "mips64r6"
)) {
    16
} else {
    8
};

const _: () = assert!(SIGSET_BYTES <= size_of::<libc::sigset_t>());

/// The libc crate has no `SYS_io_pgetevents`. These are the numbers of
/// `arch/*/entry/syscalls/*.tbl`; -1, which the kernel answers with ENOSYS, elsewhere.
const SYS_IO_PGETEVENTS: libc::c_long =
    if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
        333
    } else if cfg!(target_arch = "x86") {
        385
    } else if cfg!(target_arch = "arm") {
        399
    } else if cfg!(target_arch = "powerpc64") {
        388
    } else if cfg!(target_arch = "s390x") {
        382
    } else if cfg!(any(
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "loongarch64"
    )) {
        292
    } else {
        -1
    };

/// io_pgetevents(2): io_getevents(2) with another signal mask for as long as it waits. Linux has it
/// since 4.18, else ENOSYS.
pub fn io_pgetevents(
    id: ContextId,
    min: usize,
    events: &mut [IoEvent],
    timeout: Option<Duration>,
    mask: &libc::sigset_t,
) -> io::Result<usize> {
    let timespec = timespec(timeout);
    let timespec = timespec.as_ref().map_or(ptr::null(), ptr::from_ref);
    let sigset = AioSigset { mask, bytes: SIGSET_BYTES };
    let (room, events) = (events.len(), events.as_mut_ptr());
    // SAFETY: as with io_getevents; the set and what it points to are live, and are read only.
    check(unsafe {
        libc::syscall(SYS_IO_PGETEVENTS, id, min, room, events, timespec, &raw const sigset)
    })
}

/// io_cancel(2) of the operation that was submitted from this iocb's address; the kernel reads its
/// `key`. EINPROGRESS is the kernel's word for success: the event comes through the ring.
///
/// # Safety
/// The pointer must be valid for reads during the call.
pub unsafe fn io_cancel(id: ContextId, iocb: *mut Iocb) -> io::Result<()> {
    let mut unused = IoEvent::default();
    // SAFETY: the caller vouches for the iocb. Up to Linux 3.10 the kernel writes one event into a
    // live variable.
    check(unsafe { libc::syscall(libc::SYS_io_cancel, id, iocb, &raw mut unused) }).map(drop)
}
