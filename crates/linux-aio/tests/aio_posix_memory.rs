//! POSIX AIO when glibc has no memory for requests. This is a program of its own, since it replaces
//! calloc(3), by which glibc makes room for more of them.
#![cfg(all(feature = "posix", target_env = "gnu"))]
#![allow(unsafe_code, reason = "no safe code replaces a function of the C library")]

mod common;

use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use common::aio::*;
use common::posix::*;
use linux_aio::posix::{ListedRequests, Notify, Request, list_and_go};
use linux_aio::{Pool, Refused};

static HAS_NO_MEMORY: AtomicBool = AtomicBool::new(false);

/// More than a thread needs of calloc(3), and less than glibc wants for requests.
const LARGE_BYTES: usize = 500;

// SAFETY: the program has no other function of this name, and this one does what calloc(3) says.
#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size_bytes: usize) -> *mut libc::c_void {
    let bytes = count.saturating_mul(size_bytes);
    let is_refused = HAS_NO_MEMORY.load(Ordering::SeqCst) && bytes > LARGE_BYTES;
    // SAFETY: the call takes a number; of such a one it fails, and says so in errno.
    let memory = unsafe { libc::malloc(if is_refused { usize::MAX } else { bytes }) };
    if !memory.is_null() {
        // SAFETY: the memory has so many bytes.
        unsafe { memory.cast::<u8>().write_bytes(0, bytes) };
    }
    memory
}

/// Reads `count` buffers of zeros without memory, and waits for the callback at the end.
fn list_without_memory(pool: &Pool, count: usize) -> ListedRequests {
    let zeros = shared(File::open("/dev/zero").unwrap());
    let ops = (0..count).map(|_| Some(read(&zeros, pool, 0))).collect();
    let (sender, receiver) = mpsc::channel();
    let notify = Notify::Callback(Box::new(move || sender.send(()).unwrap()));
    HAS_NO_MEMORY.store(true, Ordering::SeqCst);
    let listed = list_and_go(ops, notify);
    HAS_NO_MEMORY.store(false, Ordering::SeqCst);
    receiver.recv().unwrap();
    listed
}

#[test]
fn what_of_a_list_had_no_memory_comes_back_and_the_rest_is_carried_out() {
    const COUNT: usize = 300;
    let pool = Pool::new(COUNT + 1, 4096).unwrap();
    let is_short = |place: &Refused| place.error.raw_os_error() == Some(libc::EAGAIN);
    let listed = list_without_memory(&pool, 3);
    assert_eq!(listed.outcome.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
    let places = listed.requests.into_iter().map(Option::unwrap);
    assert!(
        places.map(|place| place.err()).all(|place| place.is_some_and(|place| is_short(&place)))
    );

    // Now glibc has a thread, and room for some.
    let (reader, writer) = pipe();
    let busy = start(read(&reader, &pool, 0));
    let listed = list_without_memory(&pool, COUNT);
    assert_eq!(listed.outcome.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
    let (started, refused): (Vec<_>, Vec<_>) =
        listed.requests.into_iter().map(Option::unwrap).partition(Result::is_ok);
    assert!(!started.is_empty() && !refused.is_empty(), "{} and {}", started.len(), refused.len());
    for request in started {
        assert_eq!(read_bytes(&request.map(Request::wait).unwrap()), [0; 4096]);
    }
    assert!(refused.iter().all(|place| place.as_ref().err().is_some_and(is_short)));
    drop(refused);
    write_to(&writer, b"x");
    assert_eq!(read_bytes(&busy.wait()), b"x");
    assert_eq!(free_buffers(&pool).len(), COUNT + 1);
}
