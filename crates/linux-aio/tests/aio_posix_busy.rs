//! POSIX AIO when all of glibc's threads are busy. This is a program of its own, since it takes the
//! threads away from every other test.
#![cfg(all(feature = "posix", target_env = "gnu"))]

mod common;

use common::aio::*;
use common::posix::*;
use linux_aio::posix::{Cancelled, Request, Suspended, cancel_all, orphans, suspend};
use linux_aio::{Op, OpKind, Part, Pool};

/// The number of threads that glibc makes by default.
const THREADS: usize = 20;

#[test]
fn what_no_thread_serves_yet_can_all_be_cancelled_and_dropping_one_strands_no_other() {
    let pool = Pool::new(THREADS + 4, 4096).unwrap();
    let (reader, writer) = pipe();
    // Each request reads one byte on a descriptor of its own, hence on a thread of its own.
    let byte = |_| OpKind::Read(Part::new(pool.get().unwrap(), 0..1));
    let busy = (0..THREADS)
        .map(byte)
        .map(|kind| start(Op::new(shared(reader.try_clone().unwrap()), kind)));
    let busy: Vec<_> = busy.collect();
    until_reading(&reader, THREADS);

    let (first, second) = (pipe(), pipe());
    let cancelled = [(); 2].map(|()| start(read(&first.0, &pool, 0)));
    assert_eq!(cancel_all(&first.0).unwrap(), Cancelled::Cancelled);
    for request in cancelled {
        assert_eq!(errno(&request.wait()), Some(libc::ECANCELED));
    }
    let dropped = start(read(&second.0, &pool, 0));
    let kept = start(read(&second.0, &pool, 0));
    drop(dropped);

    write_to(&writer, &[0; THREADS]);
    for done in busy.into_iter().map(Request::wait) {
        assert_eq!(read_bytes(&done), [0]);
    }
    write_to(&second.1, b"a");
    until(|| orphans() == 0);
    write_to(&second.1, b"b");
    assert_eq!(suspend(&[&kept], LONG).unwrap(), Suspended::Finished, "a thread served it");
    assert_eq!(read_bytes(&kept.wait()), b"b");
    assert_eq!(free_buffers(&pool).len(), THREADS + 4);
}
