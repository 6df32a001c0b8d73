//! The C library's calls. In glibc they are those whose offsets have 64 bits on every machine.

use std::time::Duration;

use crate::sys::abi::FOR_EVER;

#[cfg(target_env = "gnu")]
pub use gnu::*;
#[cfg(not(target_env = "gnu"))]
pub use libc::{
    aio_cancel, aio_error, aio_fsync, aio_read, aio_return, aio_suspend, aio_write, aiocb as Aiocb,
};

/// `struct aiocb64` of glibc's aio.h. The libc crate's `aiocb` has an offset of 32 bits where
/// addresses have 32.
#[cfg(target_env = "gnu")]
mod gnu {
    use libc::{c_int, off64_t, sigevent, size_t, ssize_t, timespec};

    #[repr(C)]
    pub struct Aiocb {
        pub aio_fildes: c_int,
        pub aio_lio_opcode: c_int,
        pub aio_reqprio: c_int,
        pub aio_buf: *mut libc::c_void,
        pub aio_nbytes: size_t,
        pub aio_sigevent: sigevent,
        next_prio: *mut Aiocb,
        abs_prio: c_int,
        policy: c_int,
        /// What aio_error(3) answers; glibc's from when it takes the request.
        pub error_code: c_int,
        return_value: ssize_t,
        pub aio_offset: off64_t,
        glibc_reserved: [libc::c_char; 32],
    }

    // Where addresses have 64 bits, the two structures are one.
    #[cfg(target_pointer_width = "64")]
    const _: () = {
        assert!(size_of::<Aiocb>() == size_of::<libc::aiocb>());
        assert!(
            std::mem::offset_of!(Aiocb, aio_offset)
                == std::mem::offset_of!(libc::aiocb, aio_offset)
        );
    };

    unsafe extern "C" {
        #[link_name = "aio_read64"]
        pub fn aio_read(control: *mut Aiocb) -> c_int;
        #[link_name = "aio_write64"]
        pub fn aio_write(control: *mut Aiocb) -> c_int;
        #[link_name = "aio_fsync64"]
        pub fn aio_fsync(kind: c_int, control: *mut Aiocb) -> c_int;
        #[link_name = "aio_error64"]
        pub fn aio_error(control: *const Aiocb) -> c_int;
        #[link_name = "aio_return64"]
        pub fn aio_return(control: *mut Aiocb) -> ssize_t;
        #[link_name = "aio_cancel64"]
        pub fn aio_cancel(fd: c_int, control: *mut Aiocb) -> c_int;
        #[link_name = "aio_suspend64"]
        pub fn aio_suspend(
            list: *const *const Aiocb,
            count: c_int,
            timeout: *const timespec,
        ) -> c_int;
        #[link_name = "lio_listio64"]
        pub fn lio_listio(
            mode: c_int,
            list: *const *mut Aiocb,
            count: c_int,
            event: *mut sigevent,
        ) -> c_int;
    }
}

/// A time as C has it; none for one that is [for ever](FOR_EVER).
pub fn timespec(time: Option<Duration>) -> Option<libc::timespec> {
    let time = time.filter(|&time| time < FOR_EVER)?;
    // SAFETY: a C struct of numbers, for which zeros are a value.
    let mut spec: libc::timespec = unsafe { std::mem::zeroed() };
    // The types are of different widths on different machines; these numbers fit into all.
    spec.tv_sec = time.as_secs() as _;
    spec.tv_nsec = time.subsec_nanos() as _;
    Some(spec)
}
