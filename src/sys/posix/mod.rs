//! glibc's POSIX AIO (aio(7)): requests that own their buffer and their descriptor, and that never
//! move.
//!
//! glibc's threads hold a pointer to each request's `aiocb` until it is over. So a request is one
//! allocation, reached through a raw pointer, and freed only when `aio_error` has said that it is
//! over and glibc's lock, under which it finishes a request, has been taken since: by then nothing
//! in glibc looks at it any more. Whoever drops a request that is not over leaves it in a registry,
//! which outlives it; whoever leaks one leaks its buffer, which is safe.
//!
//! A forked child has the requests but not the threads, and glibc's lock as it stood. So nothing
//! here asks glibc for anything in a child of a process that has.

mod list;
mod notify;
mod request;

pub use list::{ListedRequests, list_and_go, list_and_wait};
pub use notify::{Notify, NotifyCallback};
pub(crate) use request::in_forked_child;
pub use request::{
    Cancelled, LIST_MAX, Request, Status, Suspended, cancel_all, orphans, set_threads, suspend,
};
