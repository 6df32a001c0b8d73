//! glibc's POSIX AIO (aio(7)): requests that own their buffer and their descriptor, and that never
//! move.
//!
//! glibc's threads hold a pointer to each request's `aiocb` until it is over. So a request is one
//! allocation, reached through a raw pointer. It is freed when `aio_error` has said that it is
//! over, and glibc's lock has been taken since. glibc finishes a request under that lock, and does
//! not look at it later. A request that is dropped before it is over stays in a registry. One that
//! is leaked leaks its buffer, which is safe.
//!
//! A forked child has the requests but not the threads, and glibc's lock as it stood. So nothing
//! here asks glibc for anything in a child of a process that has.

mod cell;
mod list;
mod notify;
mod orphans;
mod raw;
mod request;

pub(crate) use cell::in_forked_child;
pub use cell::{Cancelled, LIST_MAX};
pub use list::{ListedRequests, list_and_go, list_and_wait};
pub use notify::{Notify, NotifyCallback};
pub use orphans::orphans;
pub use request::{Request, Status, Suspended, cancel_all, set_threads, suspend};
