//! A kernel context that another loop waits for.

mod common;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::aio::*;
use linux_aio::{Context, Op, OpKind, PollFlags, ReadWriteFlags};
use rustix::event::{PollFd, Timespec, poll};

fn zero() -> Op {
    Op::read(File::open("/dev/zero").unwrap(), vec![1; 10], 0)
}

/// Whether something may be over, or comes to be so within the time.
fn is_readable(context: &Context, timeout: Option<&Timespec>) -> bool {
    let mut fds = [PollFd::new(context.eventfd().unwrap(), PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, timeout)).unwrap() == 1
}

const NOW: Option<&Timespec> = Some(&Timespec { tv_sec: 0, tv_nsec: 0 });

#[test]
fn it_is_readable_while_something_is_over_that_was_not_taken() {
    let mut context = Context::with_eventfd(8).unwrap();
    assert!(!is_readable(&context, NOW));
    let mut done = Vec::new();
    for round in 0..50 {
        for tag in 0..4 {
            context.queue(zero().tag(tag)).unwrap();
        }
        assert!(!is_readable(&context, NOW), "nothing is submitted");
        context.submit();
        assert!(is_readable(&context, None));
        // Those that there was no room for are still over.
        assert_eq!(context.reap_up_to(1, 3, None, &mut done).unwrap(), 3);
        assert!(is_readable(&context, None));
        context.set_system_calls_only(round % 2 == 0);
        assert_eq!(context.reap(0, None, &mut done).unwrap(), 1);
        // A signal may come a moment after what it is for, and then says so once too often.
        while is_readable(&context, NOW) {
            assert_eq!(context.reap(0, None, &mut done).unwrap(), 0);
        }
        each_once(&done, 4);
        assert!(done.drain(..).all(|done| done.op.eventfd.is_none()), "it came without");
    }
}

#[test]
fn what_ends_later_makes_it_readable_and_so_does_what_the_kernel_never_had() {
    let mut context = Context::with_eventfd(4).unwrap();
    let (reader, writer) = pipe();
    context.queue(Op::new(&reader, OpKind::Poll(PollFlags::IN))).unwrap();
    context.submit();
    let mut done = Vec::new();
    assert_eq!(context.reap(0, None, &mut done).unwrap(), 0);
    assert!(!is_readable(&context, NOW));
    write_to(&writer, b"x");
    assert!(is_readable(&context, None));
    assert_eq!(context.reap(0, None, &mut done).unwrap(), 1);
    // Refused, impossible, withdrawn.
    context.queue(zero().flags(ReadWriteFlags::from_bits_retain(1 << 30))).unwrap();
    context.queue(zero().at(u64::MAX)).unwrap();
    context.submit();
    assert!(is_readable(&context, NOW));
    assert_eq!(context.reap(0, None, &mut done).unwrap(), 2);
    assert!(!is_readable(&context, NOW));
    let ticket = context.queue(zero()).unwrap();
    context.cancel(ticket).unwrap();
    assert!(is_readable(&context, NOW));
    assert_eq!(context.reap(0, None, &mut done).unwrap(), 1);
    assert!(!is_readable(&context, NOW));
}

#[test]
fn callbacks_that_were_not_called_keep_it_readable() {
    let mut context = Context::with_eventfd(4).unwrap();
    context.queue_with(zero(), Box::new(|_, _| panic!("as callbacks may"))).unwrap();
    context.queue_with(zero(), Box::new(|_, _| {})).unwrap();
    context.submit();
    let mut done = Vec::new();
    // Those that reap gathers are for run.
    assert_eq!(context.reap(0, None, &mut done).unwrap(), 0);
    assert!(is_readable(&context, NOW));
    assert!(catch_unwind(AssertUnwindSafe(|| context.run(1, None))).is_err());
    assert!(is_readable(&context, NOW), "one is left");
    assert_eq!(context.run(0, None).unwrap(), 1);
    while is_readable(&context, NOW) {
        assert_eq!(context.run(0, None).unwrap(), 0);
    }
}

#[test]
fn an_eventfd_of_its_own_is_an_operations_only_one() {
    let mut context = Context::with_eventfd(2).unwrap();
    let own = silent_eventfd();
    context.queue(zero().eventfd(own.clone())).unwrap();
    context.submit();
    let mut done = Vec::new();
    assert_eq!(context.reap(1, None, &mut done).unwrap(), 1);
    assert_eq!(take_count(&own), 1);
    assert!(!is_readable(&context, NOW));
    assert!(done[0].op.eventfd.as_ref().is_some_and(|fd| std::sync::Arc::ptr_eq(fd, &own)));
    assert_ne!(context.eventfd().unwrap().as_raw_fd(), own.as_raw_fd());
}

#[test]
fn its_eventfd_goes_where_it_goes_and_one_without_has_none() {
    let mut context = Context::with_eventfd(2).unwrap();
    let mut other = Context::new(2).unwrap();
    assert!(other.eventfd().is_none());
    std::mem::swap(&mut context, &mut other);
    assert!(context.eventfd().is_none());
    other.queue(zero()).unwrap();
    other.submit();
    assert!(is_readable(&other, None));
    // Who waits keeps the descriptor open by a hold of its own.
    let eventfd = std::sync::Arc::clone(other.eventfd().unwrap());
    let done = other.close().unwrap();
    assert_eq!((done.len(), done[0].bytes()), (1, Some(&[0; 10][..])));
    assert!(done[0].op.eventfd.is_none(), "it came without");
    assert_eq!(std::sync::Arc::strong_count(&eventfd), 1);
}
