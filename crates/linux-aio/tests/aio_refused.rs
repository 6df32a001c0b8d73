//! A sandbox that refuses io_cancel(2), so that what polls is let go of otherwise, or
//! io_getevents(2), without which what is over is still handed out.
#![cfg(feature = "async")]

mod common;

use std::process::Command;
use std::task::{Poll, Waker};
use std::time::Duration;

use common::aio::*;
use common::future::*;
use common::sandbox;
use linux_aio::kernel::{Cancel, Handle};
use linux_aio::{Context, Done, Op, OpKind, PollFlags};

/// Says to a program of these tests that a call is refused to it.
const REFUSED: &str = "LINUX_AIO_REFUSED";

/// Runs a test again in programs that are refused a system call. True in such a program.
fn is_refused(call: libc::c_long, test: &str) -> bool {
    if std::env::var_os(REFUSED).is_some() {
        // A wait without an end fails the test.
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_secs(120));
            std::process::exit(1);
        });
        return true;
    }
    for errno in [libc::EPERM, libc::ENOSYS] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test]);
        sandbox::refuse(&mut command, &[call], errno);
        common::run(command.env(REFUSED, "1"), 0);
    }
    false
}

/// A poll that nothing ends.
fn endless() -> Op {
    Op::new(silent_eventfd(), OpKind::Poll(PollFlags::IN))
}

/// What came of [`endless`] polls and of one read, with the tags from 0 on, the read's first.
fn are_over(mut done: Vec<Done>, polls: u64) {
    each_once(&done, polls + 1);
    done.sort_unstable_by_key(|done| done.op.tag);
    assert_eq!(done[0].bytes(), Some(&[0; 10][..]));
    assert!(done[1..].iter().all(|done| done.ready() == Some(PollFlags::empty())));
}

fn zeros() -> Op {
    Op::read(std::fs::File::open("/dev/zero").unwrap(), vec![1; 10], 0)
}

#[test]
fn a_context_that_is_closed_gives_its_polls_back() {
    if !is_refused(libc::SYS_io_cancel, "a_context_that_is_closed_gives_its_polls_back") {
        return;
    }
    for system_calls_only in [false, true] {
        let mut context = Context::new(4).unwrap();
        context.set_system_calls_only(system_calls_only);
        queue(&mut context, zeros().tag(0));
        let ticket = queue(&mut context, endless().tag(1));
        context.queue_with(endless().tag(2), Box::new(|_, _| panic!("not called"))).unwrap();
        // One that is over by itself says what it has found.
        let (reader, writer) = pipe();
        queue(&mut context, Op::new(&reader, OpKind::Poll(PollFlags::IN)).tag(3));
        context.submit();
        assert!(context.cancel(ticket).is_err(), "it is refused");
        write_to(&writer, b"x");
        let mut done = context.close().unwrap();
        let found = done.iter().position(|done| done.op.tag == 3).unwrap();
        assert!(done.swap_remove(found).ready().unwrap().contains(PollFlags::IN));
        are_over(done, 2);
    }
    // The address of the one that is gone is the next one's, as a rule.
    let mut context = Context::new(4).unwrap();
    let ticket = queue(&mut context, zeros());
    assert_eq!(context.cancel(ticket).unwrap(), Cancel::Withdrawn);
    drop(context);
}

#[test]
fn the_last_handle_that_is_closed_gives_its_polls_back() {
    if !is_refused(libc::SYS_io_cancel, "the_last_handle_that_is_closed_gives_its_polls_back") {
        return;
    }
    let handle = Handle::new(4).unwrap();
    handle.queue(zeros().tag(0)).unwrap();
    handle.queue(endless().tag(1)).unwrap();
    handle.queue_with(endless().tag(2), Box::new(|_, _| panic!("not called"))).unwrap();
    handle.submit();
    are_over(handle.close().unwrap().unwrap(), 2);
}

#[test]
fn a_driver_that_is_dropped_ends_its_polls() {
    if !is_refused(libc::SYS_io_cancel, "a_driver_that_is_dropped_ends_its_polls") {
        return;
    }
    for mut driver in drivers(4) {
        let handle = driver.handle();
        let mut poll = handle.poll(silent_eventfd(), PollFlags::IN);
        let mut waiting: Vec<_> =
            (0..9).map(|_| handle.poll(silent_eventfd(), PollFlags::IN)).collect();
        let mut read = handle.op(zeros());
        begin(&mut read);
        begin(&mut poll);
        waiting.iter_mut().for_each(begin);
        driver.look();
        drop(driver);
        let Poll::Ready(found) = poll_with(&mut poll, Waker::noop()) else { panic!("it is over") };
        assert_eq!(found.unwrap(), PollFlags::empty());
        let Poll::Ready(done) = poll_with(&mut read, Waker::noop()) else { panic!("it is over") };
        assert_eq!(done.bytes(), Some(&[0; 10][..]));
        // The kernel had some of them, and none of the others.
        for mut poll in waiting {
            let Poll::Ready(found) = poll_with(&mut poll, Waker::noop()) else { panic!("over") };
            let errno = found.map_err(|error| error.raw_os_error());
            assert!([Ok(PollFlags::empty()), Err(Some(libc::ECANCELED))].contains(&errno));
        }
    }
}

#[test]
fn what_is_over_is_handed_out_where_the_kernel_cannot_be_asked_for_it() {
    let test = "what_is_over_is_handed_out_where_the_kernel_cannot_be_asked_for_it";
    if !is_refused(libc::SYS_io_getevents, test) {
        return;
    }
    let mut asking = Context::new(4).unwrap();
    asking.set_system_calls_only(true);
    queue(&mut asking, zeros());
    asking.submit();
    assert!(asking.reap(1, None, &mut Vec::new()).is_err(), "it is refused");
    let mut context = Context::new(4).unwrap();
    queue(&mut context, zeros().tag(0));
    context.submit();
    queue(&mut context, zeros().tag(1));
    let over = context.close().unwrap();
    each_once(&over, 2);
    let handle = Handle::new(4).unwrap();
    handle.queue(zeros().tag(0)).unwrap();
    handle.submit();
    each_once(&handle.close().unwrap().unwrap(), 1);
}
