//! What a kernel context promises of its loops: each operation is counted and signalled, no loop
//! spins, callbacks go on by themselves, and nothing is lost at the end.

mod common;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::aio::*;
use common::*;
use linux_aio::kernel::{Callback, Cancel, Priority};
use linux_aio::{Context, Done, Op, OpKind, Part, PollFlags, Pool, Submitted};

fn zeros() -> Arc<OwnedFd> {
    shared(File::open("/dev/zero").unwrap())
}

fn poll(file: &Arc<OwnedFd>) -> Op {
    Op::new(Arc::clone(file), OpKind::Poll(PollFlags::IN))
}

fn with(op: Op, eventfd: &Arc<OwnedFd>) -> Op {
    op.eventfd(Arc::clone(eventfd))
}

#[test]
fn every_operation_that_ends_is_counted_and_signals_its_eventfd() {
    let folder = folder();
    let file = file_with(&folder.path().join("f"), b"text");
    let write_only = shared(File::create("/dev/null").unwrap());
    let pool = Pool::new(8, 4096).unwrap();
    let event = silent_eventfd();
    let mut context = Context::new(8).unwrap();
    let impossible = Op::new(file.clone(), OpKind::Read(Part::new(pool.get().unwrap(), 0..5000)));
    let ops = [
        read(&file, &pool, 0),
        impossible,
        read(&write_only, &pool, 0),
        read(&file, &pool, 1 << 63),
        read(&file, &pool, 0).priority(Priority::BestEffort(8)),
    ];
    for (tag, op) in ops.into_iter().enumerate() {
        queue(&mut context, with(op.tag(tag as u64), &event));
    }
    let withdrawn = queue(&mut context, with(read(&file, &pool, 0).tag(5), &event));
    assert_eq!(take_count(&event), 0, "none is over before it was submitted");
    assert_eq!(context.cancel(withdrawn).unwrap(), Cancel::Withdrawn);
    assert_eq!(take_count(&event), 1);
    assert_eq!(context.submit(), Submitted::default().accepted(1).refused(4));
    let done = drain(&mut context);
    each_once(&done, 6);
    assert_eq!(take_count(&event), 5);
    // An impossible operation can be withdrawn like the others.
    let op = with(read(&file, &pool, 1 << 63), &event);
    let ticket = queue(&mut context, op);
    assert_eq!(context.cancel(ticket).unwrap(), Cancel::Withdrawn);
    assert_eq!(context.submit(), Submitted::default());
    assert_eq!((errno(&drain(&mut context)[0]), take_count(&event)), (Some(libc::ECANCELED), 1));
}

#[test]
fn what_is_given_for_an_eventfd_and_is_none_is_not_written_to() {
    let folder = folder();
    let path = folder.path().join("f");
    let file = file_with(&path, b"text");
    let pool = Pool::new(1, 4096).unwrap();
    let mut context = Context::new(1).unwrap();
    queue(&mut context, with(read(&file, &pool, 0), &file));
    assert_eq!(errno(&drain(&mut context)[0]), Some(libc::EINVAL));
    assert_eq!(std::fs::read(&path).unwrap(), b"text");
}

#[test]
fn thousands_are_submitted_refused_and_withdrawn_in_any_order() {
    const COUNT: u32 = 8000;
    let null = shared(File::create("/dev/null").unwrap());
    let part = || OpKind::WriteVectored(Vec::new());
    let mut context = Context::new(COUNT).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    // Every second one is refused, so that each io_submit ends there; at an offset no sync is.
    let mut tickets: Vec<_> = (0..COUNT)
        .map(|n| match n % 2 {
            0 => Op::new(null.clone(), part()),
            _ => Op::new(null.clone(), OpKind::Fsync).at(1),
        })
        .map(|op| queue(&mut context, op))
        .collect();
    random.shuffle(&mut tickets);
    for &ticket in &tickets[..COUNT as usize / 2] {
        assert_eq!(context.cancel(ticket).unwrap(), Cancel::Withdrawn);
        assert_eq!(context.cancel(ticket).unwrap(), Cancel::Unknown);
    }
    let submitted = context.submit();
    assert_eq!(submitted.accepted + submitted.refused, COUNT as usize / 2, "{submitted:?}");
    let mut done = Vec::new();
    while context.in_flight() > 0 {
        assert_eq!(context.reap_up_to(1, 1, None, &mut done).unwrap(), 1);
    }
    let errors = |code| done.iter().filter(|done| errno(done) == code).count();
    assert_eq!(errors(Some(libc::ECANCELED)), COUNT as usize / 2);
    assert_eq!((errors(None), errors(Some(libc::EINVAL))), (submitted.accepted, submitted.refused));
    // Withdrawn operations leave nothing behind, however many there are between two submits.
    for _ in 0..3 * COUNT {
        let ticket = queue(&mut context, Op::new(null.clone(), OpKind::Fsync));
        assert_eq!(context.cancel(ticket).unwrap(), Cancel::Withdrawn);
        context.reap(1, None, &mut done).unwrap();
    }
    assert_eq!((context.in_flight(), context.submit()), (0, Submitted::default()));
}

/// Asserts that a wait says that it would be for ever.
fn is_stuck(waited: std::io::Result<usize>) {
    assert_eq!(waited.unwrap_err().raw_os_error(), Some(libc::EDEADLK));
}

fn silent() -> Callback {
    Box::new(|_, _| ())
}

#[test]
fn a_loop_that_would_spin_is_an_error() {
    let pool = Pool::new(4, 4096).unwrap();
    let zeros = zeros();
    for timeout in [None, Some(Duration::from_secs(60))] {
        let mut context = Context::new(4).unwrap();
        let mut done = Vec::new();
        assert_eq!(context.reap(1, timeout, &mut done).unwrap(), 0, "an empty one does not wait");
        assert_eq!(context.run(1, timeout).unwrap(), 0);
        // The submit is forgotten.
        queue(&mut context, read(&zeros, &pool, 0));
        is_stuck(context.reap(1, timeout, &mut done));
        is_stuck(context.run(1, timeout));
        assert_eq!(context.reap(0, timeout, &mut done).unwrap(), 0, "a look is no wait");
        // Nothing has a callback; then all have.
        context.submit();
        is_stuck(context.run(1, timeout));
        assert_eq!(context.reap(1, timeout, &mut done).unwrap(), 1);
        context.queue_with(read(&zeros, &pool, 0), silent()).unwrap();
        context.submit();
        is_stuck(context.reap(1, timeout, &mut done));
        assert_eq!(context.run(1, timeout).unwrap(), 1);
        // A poll is with the kernel, and what is queued could be what it waits for.
        queue(&mut context, poll(&silent_eventfd()));
        context.submit();
        queue(&mut context, read(&zeros, &pool, 0));
        is_stuck(context.reap(1, timeout, &mut done));
        assert_eq!(context.submit_and_reap(1, timeout, &mut done).unwrap(), 1);
    }
}

#[test]
fn each_way_of_taking_waits_for_its_own_operations() {
    let pool = Pool::new(2, 4096).unwrap();
    let (plain, called) = (silent_eventfd(), silent_eventfd());
    let mut context = Context::new(4).unwrap();
    let (mut done, short) = (Vec::new(), Some(Duration::from_millis(20)));
    queue(&mut context, poll(&plain));
    context.queue_with(poll(&called), silent()).unwrap();
    context.submit();
    // The other one's end does not end the wait.
    write_to(&plain, &1u64.to_ne_bytes());
    let before = Instant::now();
    assert_eq!(context.run(1, short).unwrap(), 0);
    assert!(before.elapsed() >= short.unwrap());
    write_to(&called, &1u64.to_ne_bytes());
    assert_eq!(context.run(1, None).unwrap(), 1);
    assert_eq!(context.reap(1, None, &mut done).unwrap(), 1);
    // A callback that is over already is left to `run`.
    context.queue_with(read(&zeros(), &pool, 0), silent()).unwrap();
    queue(&mut context, poll(&plain));
    assert_eq!(context.submit_and_reap(1, None, &mut done).unwrap(), 1);
    assert_eq!((context.run(1, None).unwrap(), context.in_flight()), (1, 0));
}

/// Reads the next block into the same buffer, until the file ends.
fn read_on(bytes: Arc<Mutex<Vec<u8>>>) -> Callback {
    Box::new(move |context, done| {
        let count = *done.result.as_ref().unwrap();
        bytes.lock().unwrap().extend_from_slice(read_bytes(&done));
        if count > 0 {
            let at = done.op.offset_bytes + count as u64;
            context
                .queue_with(done.op.at(at), read_on(bytes))
                .map_err(drop)
                .expect("there is room");
            assert_eq!(context.submit().accepted, 1);
        }
    })
}

#[test]
fn a_callback_queues_and_submits_what_comes_next() {
    let folder = folder();
    let contents = noise(50_000, 1);
    let file = file_with(&folder.path().join("f"), &contents);
    let pool = Pool::new(1, 4096).unwrap();
    let mut context = Context::new(1).unwrap();
    let bytes = Arc::new(Mutex::new(Vec::new()));
    context.queue_with(read(&file, &pool, 0), read_on(bytes.clone())).unwrap();
    context.submit();
    let mut calls = 0;
    while context.in_flight() > 0 {
        let count = context.run(1, None).unwrap();
        assert_eq!(count, 1, "what a callback submits is for the next call");
        calls += count;
    }
    assert_eq!(calls, 14, "12 whole blocks, a part of one, and the end");
    assert!(*bytes.lock().unwrap() == contents);
    assert_eq!(free_buffers(&pool).len(), 1);
}

#[test]
fn a_callback_may_call_the_others() {
    let pool = Pool::new(3, 4096).unwrap();
    let zeros = zeros();
    let mut context = Context::new(3).unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    for tag in 0..3 {
        let calls = Arc::clone(&calls);
        let callback: Callback = Box::new(move |context, done| {
            calls.lock().unwrap().push(done.op.tag);
            context.run(0, None).unwrap();
        });
        context.queue_with(read(&zeros, &pool, 0).tag(tag), callback).unwrap();
    }
    context.submit();
    assert_eq!(context.run(3, None).unwrap(), 1, "the first has called the others");
    assert_eq!((calls.lock().unwrap().len(), context.in_flight()), (3, 0));
}

#[test]
fn closing_hands_back_all_that_is_in_a_context() {
    let folder = folder();
    let path = folder.path().join("f");
    std::fs::write(&path, noise(64 * 4096, 2)).unwrap();
    let file = cold(&path);
    let pool = Pool::new(66, 4096).unwrap();
    for system_calls_only in [false, true] {
        let mut context = Context::new(100).unwrap();
        context.set_system_calls_only(system_calls_only);
        let held = Arc::new(());
        for n in 0..64 {
            let op = read(&file, &pool, n * 4096).tag(n);
            if n % 3 == 0 {
                let held = Arc::clone(&held);
                context.queue_with(op, Box::new(move |_, _| drop(held))).unwrap();
            } else {
                queue(&mut context, op);
            }
        }
        queue(&mut context, poll(&silent_eventfd()).tag(64));
        assert_eq!(context.submit().accepted, 65);
        queue(&mut context, read(&file, &pool, 0).tag(65));
        let mut done: Vec<Done> = context.close().unwrap();
        each_once(&done, 66);
        done.sort_by_key(|done| done.op.tag);
        for (done, block) in done.iter().zip(noise(64 * 4096, 2).chunks(4096)) {
            assert!(read_bytes(done) == block);
        }
        assert!(matches!(done[64].result, Ok(0)), "the poll had no events");
        assert_eq!(errno(&done[65]), Some(libc::ECANCELED));
        assert_eq!(Arc::strong_count(&held), 1, "callbacks are dropped");
    }
}
