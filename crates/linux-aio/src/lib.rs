//! Asynchronous file I/O for anyone: operations that own what they touch, and engines that carry
//! them out.
//!
//! An [`Op`] moves into an [`Engine`] with its buffer and its file. It comes back in a [`Done`],
//! exactly once, also when it could not be submitted. Nothing is ever lent by reference, so leaking
//! an engine is safe.
//!
//! - [`kernel`] is Linux's own AIO, all of libaio's interface, for files opened with `O_DIRECT`;
//! - [`future`] is the same for `async` functions, in any executor;
//! - [`posix`] is glibc's POSIX AIO, the whole family, for files, pipes and sockets;
//! - [`threads`] is a pool that calls pread and pwrite, for everything that the kernel would only
//!   pretend to do asynchronously;
//! - [`sim`] is a seeded fake that reorders, delays, shortens and fails, to test what stands on an
//!   engine.
//!
//! The [`guide`] says how to use them well, and has a page for each interface: every call
//! [of libaio](guide::libaio) and [of POSIX AIO](guide::posix_aio), with examples.
//!
//! Four reads at once, past the page cache:
//!
//! ```
//! use linux_aio::{Context, Op, Pool};
//! use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, sync::Arc};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("big");
//! # std::fs::write(&path, vec![7; 4 << 20])?;
//! let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(&path);
//! # // tmpfs of older kernels has no direct files.
//! # let file = file.or_else(|_| std::fs::File::open(&path));
//! let file = Arc::new(file?);
//! let pool = Pool::new(4, 1 << 20)?;
//! let mut context = Context::new(4)?;
//! let mut offset_bytes = 0;
//! while let Some(buffer) = pool.get() {
//!     context.queue(Op::read(&file, buffer, offset_bytes))?;
//!     offset_bytes += 1 << 20;
//! }
//! let mut done = Vec::new();
//! while context.in_flight() > 0 {
//!     context.submit_and_reap(1, None, &mut done)?;
//! }
//! for done in done {
//!     println!("{} bytes at {}", done.result?, done.op.offset_bytes);
//! }
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # Which engine
//!
//! | | good for | what `submit` does | depth on one file |
//! | --- | --- | --- | --- |
//! | [`Context`] | direct descriptors | hands a batch over | its capacity |
//! | [`Posix`] | where only POSIX is given | starts glibc's threads | [`posix::ENGINE_THREADS`] |
//! | [`Threads`] | what the page cache serves | wakes its threads | its number of threads |
//!
//! A [`Context`] is for files on ext4 and xfs, and for fsyncs and polls of any descriptor. On other
//! descriptors its `submit` does the work itself. [`Posix`] serves pipes and sockets too.
//!
//! Measured on two cores and a virtio disk with ext4 (Linux 6.18, glibc 2.36): first the copy of a
//! 4 GiB file by `aiocp --engine`, hashed and durable. The other columns read a file direct, as
//! parts of the rate of `fio --ioengine=libaio` at the same block size and depth, in alternating
//! rounds (`cargo bench --bench fio`). fio did 432, 374 and 1,002 MB/s.
//!
//! | | copy, s | copy, CPU s/GB | 4 KiB × 128 | random | 1 MiB × 16 | CPU s/s at 4 KiB |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | [`Context`] | 2.89 | 0.28 | 1.81 | 0.98 | 2.66 | 0.39 |
//! | [`Posix`] | 3.51 | 0.49 | 0.71 | 0.74 | 2.62 | 1.05 |
//! | [`Threads`] | 2.98 | 0.35 | 0.76 | 0.78 | 2.67 | 0.90 |
//! | fio libaio | | | 1 | 1 | 1 | 0.57 |
//!
//! So kernel AIO takes the least processor time, at small blocks by far. With large blocks the
//! device is the bound of all three. Then huge pages matter, on which a [`Pool`]'s buffers are: a
//! buffer on scattered pages is several requests to the device.
//!
//! glibc serves the requests of one descriptor one at a time, so that [`posix::Request`]s on one
//! have a depth of 1. [`Posix`] gives each operation a duplicate of its descriptor, and with it a
//! thread. The depth on one file is the number of threads, 32 for the whole process, however much
//! is queued.
//!
//! # What the compiler refuses
//!
//! [`kernel`] and [`posix`] show what of theirs does not compile. With all engines, a buffer has
//! one owner,
//!
//! ```compile_fail,E0599
//! # use linux_aio::Pool;
//! let buffer = Pool::new(1, 4096).unwrap().get().unwrap();
//! let twice = buffer.clone();
//! ```
//!
//! frozen it stays frozen,
//!
//! ```compile_fail,E0382
//! # use linux_aio::Pool;
//! let mut buffer = Pool::new(1, 4096).unwrap().get().unwrap();
//! let frozen = buffer.freeze();
//! buffer[0] = 1;
//! ```
//!
//! what is shared cannot be read into,
//!
//! ```compile_fail,E0277
//! # use std::{fs::File, os::fd::OwnedFd, sync::Arc};
//! # use linux_aio::{Op, Pool};
//! let file = Arc::new(OwnedFd::from(File::open("/dev/null").unwrap()));
//! let buffer = Pool::new(1, 4096).unwrap().get().unwrap();
//! let op = Op::read(file, buffer.freeze(), 0);
//! ```
//!
//! memory that is only borrowed cannot be lent,
//!
//! ```compile_fail,E0597
//! # use std::{fs::File, os::fd::OwnedFd, sync::Arc};
//! # use linux_aio::Op;
//! let file = Arc::new(OwnedFd::from(File::open("/dev/null").unwrap()));
//! let bytes = [0; 4096];
//! let op = Op::write(file, &bytes[..], 0);
//! ```
//!
//! and a descriptor that is only borrowed, and may be closed elsewhere, is not taken:
//!
//! ```compile_fail,E0277
//! # use std::{fs::File, os::fd::AsFd, sync::Arc};
//! # use linux_aio::{Op, OpKind};
//! let file = File::open("/dev/null").unwrap();
//! let op = Op::new(Arc::new(file.as_fd()), OpKind::Fsync);
//! ```

#![warn(missing_debug_implementations)]

#[cfg(not(target_os = "linux"))]
compile_error!("linux-aio is for Linux: no other system has its kernel AIO");

mod engine;
#[cfg(feature = "async")]
pub mod future;
#[cfg(doc)]
pub mod guide;
pub mod kernel;
mod perform;
#[cfg(feature = "posix")]
pub mod posix;
#[cfg(feature = "sim")]
pub mod sim;
mod sys;
#[cfg(feature = "threads")]
pub mod threads;
mod wakeup;

/// The example of the README, for `cargo test --doc`.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

/// The events of a poll, `POLL*`; see poll(2).
pub use crate::sys::PollFlags;
/// What may be special about a read or write, `RWF_*`; see preadv2(2).
pub use crate::sys::ReadWriteFlags;
pub use crate::sys::{
    Buffer, Done, Full, IoBuf, IoBufMut, Op, OpKind, PARTS_MAX, Part, Pool, Refused, SharedBuffer,
    SharedFd, Submitted,
};
pub use engine::Engine;
#[doc(inline)]
pub use kernel::Context;
#[cfg(feature = "posix")]
#[doc(inline)]
pub use posix::Posix;
#[cfg(feature = "threads")]
#[doc(inline)]
pub use threads::Threads;
pub use wakeup::Wakeup;
