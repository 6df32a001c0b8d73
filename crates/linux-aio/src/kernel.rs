//! Linux kernel AIO: the whole of libaio's interface in safe Rust, by the kernel's own system
//! calls.
//!
//! | libaio | here |
//! | --- | --- |
//! | `io_setup`, `io_destroy` | [`Context::new`], and its drop or [`Context::close`] |
//! | `io_prep_pread`, `io_prep_pwrite` | [`Op::read`], [`Op::write`]; parts: [`OpKind`] |
//! | `io_prep_preadv`, `io_prep_pwritev` | [`OpKind::ReadVectored`], [`OpKind::WriteVectored`] |
//! | `io_prep_fsync`, `io_prep_fdsync` | [`OpKind::Fsync`], [`OpKind::Fdatasync`] |
//! | `io_prep_poll` | [`OpKind::Poll`] |
//! | `io_set_eventfd`, `RWF_*`, I/O priority | [`Op::eventfd`], [`Op::flags`], [`Op::priority`] |
//! | an eventfd for all | [`Context::with_eventfd`] |
//! | `io_submit` | [`Context::queue`], then [`Context::submit`] for the batch |
//! | `io_submit` and `io_getevents` | [`Context::submit_and_reap`] |
//! | `io_getevents` | [`Context::reap`], with a maximum [`Context::reap_up_to`] |
//! | `io_pgetevents` | [`Context::reap_masked`] |
//! | `io_cancel` | [`Context::cancel`] |
//! | `io_set_callback`, `io_queue_run` | [`Context::queue_with`], [`Context::run`] |
//!
//! The page [`libaio`](crate::guide::libaio) has each call, its errors and an example. Dropping a
//! context waits for everything in flight. Completions are read from the ring in memory
//! where that can be done, see [`Context::set_system_calls_only`].
//!
//! A [`Context`] is used by one thread at a time. A [`Handle`] is a context that threads share: one
//! waits while another submits.
//!
//! # What it is good for
//!
//! Descriptors with `O_DIRECT`, on filesystems where that is real (ext4, xfs), and files whose size
//! is set before they are written. There one thread keeps the device busy, and an operation costs
//! about a microsecond. On any other descriptor [`Context::submit`] does the whole work itself
//! before it returns: use [`Threads`](super::Threads). A few files have no asynchronous read at
//! all, such as those of /proc: there it is EINVAL, and the other engines read them. Fsyncs and
//! polls are good on any descriptor.
//!
//! Reading 4 KiB direct with 128 in flight, it did 185,000 operations a second with 0.39 of a core.
//! POSIX AIO did 70,000 with 1.05, threads 72,000 with 0.90, and `fio --ioengine=libaio` 106,000
//! with 0.57. That was on two cores and a virtio disk (`cargo bench --bench fio`).
//!
//! # The classic first program
//!
//! `examples/aior.rs` prints the first 4096 bytes of a file:
//!
//! ```no_run
#![doc = include_str!("../examples/aior.rs")]
//! ```
//!
//! # A file copy
//!
//! `examples/copy_kernel.rs` keeps 16 blocks in flight:
//!
//! ```no_run
#![doc = include_str!("../examples/copy_kernel.rs")]
//! ```
//!
//! # What the compiler refuses
//!
//! A buffer that was handed over cannot be looked at before it comes back:
//!
//! ```compile_fail,E0382
//! # use std::{fs::File, os::fd::OwnedFd, sync::Arc};
//! # use linux_aio::{Op, Pool, kernel::Context};
//! let file = Arc::new(OwnedFd::from(File::open("/dev/null").unwrap()));
//! let buffer = Pool::new(1, 4096).unwrap().get().unwrap();
//! let mut context = Context::new(1).unwrap();
//! context.queue(Op::read(file, buffer, 0)).unwrap();
//! println!("{}", buffer[0]);
//! ```
//!
//! Nor can a frozen buffer be changed while a write may read it:
//!
//! ```compile_fail,E0596
//! # use linux_aio::Pool;
//! let mut buffer = Pool::new(1, 4096).unwrap().get().unwrap();
//! buffer[0] = 1;
//! let frozen = buffer.freeze();
//! frozen.fill(2);
//! ```
//!
//! An operation goes in once:
//!
//! ```compile_fail,E0382
//! # use std::{fs::File, os::fd::OwnedFd, sync::Arc};
//! # use linux_aio::{Op, OpKind, kernel::Context};
//! let file = Arc::new(OwnedFd::from(File::open("/dev/null").unwrap()));
//! let mut context = Context::new(2).unwrap();
//! let op = Op::new(file, OpKind::Fsync);
//! context.queue(op).unwrap();
//! context.queue(op).unwrap();
//! ```
//!
//! And a callback may not look at what does not outlive the context:
//!
//! ```compile_fail,E0597
//! # use std::{fs::File, os::fd::OwnedFd, sync::Arc, sync::atomic::{AtomicU32, Ordering}};
//! # use linux_aio::{Op, OpKind, kernel::Context};
//! let file = Arc::new(OwnedFd::from(File::open("/dev/null").unwrap()));
//! let mut context = Context::new(1).unwrap();
//! {
//!     let count = AtomicU32::new(0);
//!     let seen = &count;
//!     let callback = Box::new(move |_: &mut Context, _| {
//!         seen.fetch_add(1, Ordering::Relaxed);
//!     });
//!     context.queue_with(Op::new(file, OpKind::Fsync), callback).unwrap();
//! }
//! context.run(1, None).unwrap();
//! ```
//!
//! nor at what may not go to another thread, to which a context may go:
//!
//! ```compile_fail,E0277
//! # use std::{cell::Cell, fs::File, os::fd::OwnedFd, rc::Rc, sync::Arc};
//! # use linux_aio::{Op, OpKind, kernel::{Callback, Context}};
//! let file = Arc::new(OwnedFd::from(File::open("/dev/null").unwrap()));
//! let mut context = Context::new(1).unwrap();
//! let seen = Rc::new(Cell::new(0));
//! let callback: Callback = Box::new(move |_, _| seen.set(1));
//! context.queue_with(Op::new(file, OpKind::Fsync), callback).unwrap();
//! ```
//!
//! Two threads cannot reap at once, so that the ring has one reader:
//!
//! ```compile_fail,E0499
//! # use linux_aio::kernel::Context;
//! let mut context = Context::new(1).unwrap();
//! std::thread::scope(|scope| {
//!     scope.spawn(|| context.reap(1, None, &mut Vec::new()));
//!     scope.spawn(|| context.reap(1, None, &mut Vec::new()));
//! });
//! ```
//!
//! And a context that is gone has no operations:
//!
//! ```compile_fail,E0382
//! # use linux_aio::kernel::Context;
//! let mut context = Context::new(1).unwrap();
//! drop(context);
//! context.submit();
//! ```

use std::io;
use std::time::Duration;

use crate::engine::Engine;
pub use crate::sys::{
    Callback, Cancel, Context, Handle, HandleCallback, Priority, SetupError, SignalMask, Ticket,
};
use crate::sys::{Done, Full, Op, Submitted};

#[cfg(doc)]
use crate::sys::OpKind;

impl Engine for Context {
    fn queue(&mut self, op: Op) -> Result<(), Full> {
        Context::queue(self, op).map(drop)
    }

    fn submit(&mut self) -> Submitted {
        Context::submit(self)
    }

    fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        Context::reap(self, min, timeout, out)
    }

    fn in_flight(&self) -> usize {
        Context::in_flight(self)
    }
}
