//! Kernel AIO on the real kernel: waiting, the ring in memory, cancelling, and callbacks.

mod common;

use std::fs;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::aio::*;
use common::*;
use linux_aio::kernel::Cancel;
use linux_aio::{Context, Done, Op, OpKind, PollFlags, Pool, Submitted};

fn poll(file: &Arc<OwnedFd>) -> Op {
    Op::new(Arc::clone(file), OpKind::Poll(PollFlags::IN))
}

/// A context that reads the ring, or that never does.
fn context(capacity: u32, system_calls_only: bool) -> Context {
    let mut context = Context::new(capacity).unwrap();
    context.set_system_calls_only(system_calls_only);
    assert_eq!(context.reads_the_ring(), !system_calls_only);
    context
}

#[test]
fn a_wait_ends_when_its_time_is_over() {
    for system_calls_only in [false, true] {
        let mut context = context(2, system_calls_only);
        let mut done = Vec::new();
        assert_eq!(context.reap(1, None, &mut done).unwrap(), 0, "an empty context does not wait");
        let never = silent_eventfd();
        queue(&mut context, poll(&never));
        context.submit();
        for timeout in [Duration::ZERO, Duration::from_nanos(1), Duration::from_millis(150)] {
            let before = Instant::now();
            assert_eq!(context.reap(1, Some(timeout), &mut done).unwrap(), 0);
            assert!(before.elapsed() >= timeout, "{timeout:?}");
        }
        let before = Instant::now();
        assert_eq!(context.reap(0, None, &mut done).unwrap(), 0, "a minimum of zero does not wait");
        assert!(before.elapsed() < Duration::from_secs(60));
        // The longest possible timeout; a write ends the wait.
        let thread = std::thread::spawn({
            let never = Arc::clone(&never);
            move || {
                std::thread::sleep(Duration::from_millis(20));
                write_to(&never, &1u64.to_ne_bytes());
            }
        });
        assert_eq!(context.reap(1, Some(Duration::MAX), &mut done).unwrap(), 1);
        thread.join().unwrap();
    }
}

#[test]
fn a_wait_is_for_as_many_as_were_asked_for_and_no_more_than_there_are() {
    for system_calls_only in [false, true] {
        let mut context = context(4, system_calls_only);
        let events: Vec<_> = (0..4).map(|_| silent_eventfd()).collect();
        for (tag, event) in events.iter().enumerate() {
            queue(&mut context, poll(event).tag(tag as u64));
        }
        context.submit();
        let mut done = Vec::new();
        write_to(&events[2], &1u64.to_ne_bytes());
        assert_eq!(
            context.reap(2, Some(Duration::from_millis(50)), &mut done).unwrap(),
            1,
            "one of two within the timeout"
        );
        let thread = std::thread::spawn({
            let events = events.clone();
            move || {
                for n in [0, 3, 1] {
                    std::thread::sleep(Duration::from_millis(10));
                    write_to(&events[n], &1u64.to_ne_bytes());
                }
            }
        });
        assert!(context.reap(2, None, &mut done).unwrap() >= 2, "two were asked for");
        while done.len() < 4 {
            context.reap(1000, None, &mut done).unwrap();
        }
        thread.join().unwrap();
        each_once(&done, 4);
        assert_eq!(context.in_flight(), 0);
    }
}

#[test]
fn a_maximum_leaves_the_rest_for_the_next_call() {
    for system_calls_only in [false, true] {
        let zeros = shared(fs::File::open("/dev/zero").unwrap());
        let write_only = shared(fs::File::options().write(true).open("/dev/null").unwrap());
        let pool = Pool::new(8, 4096).unwrap();
        let mut context = context(8, system_calls_only);
        for tag in 0..8 {
            // Refused operations never enter the ring, and still no more come back than were asked
            // for.
            let file = if tag % 2 == 0 { &zeros } else { &write_only };
            queue(&mut context, read(file, &pool, 0).tag(tag));
        }
        assert_eq!(context.submit(), Submitted::default().accepted(4).refused(4));
        let mut done = Vec::new();
        let too_few = context.reap_up_to(3, 2, None, &mut done).unwrap_err();
        assert_eq!(too_few.raw_os_error(), Some(libc::EINVAL), "as io_getevents reports it");
        assert_eq!(context.reap_up_to(0, 0, None, &mut done).unwrap(), 0);
        assert_eq!((done.len(), context.in_flight()), (0, 8));
        for (min, max, expected) in [(0, 1, 1), (1, 2, 2), (3, 3, 3), (0, usize::MAX, 2), (2, 2, 0)]
        {
            assert_eq!(
                context.reap_up_to(min, max, None, &mut done).unwrap(),
                expected,
                "{min} to {max}"
            );
        }
        each_once(&done, 8);
        for done in &done {
            assert_eq!(errno(done), (done.op.tag % 2 == 1).then_some(libc::EBADF));
        }
    }
}

#[test]
fn a_poll_that_is_only_queued_does_not_end_the_wait_for_a_read() {
    let folder = folder();
    let path = folder.path().join("f");
    fs::write(&path, noise(32 << 20, 1)).unwrap();
    let pool = Pool::new(1, 32 << 20).unwrap();
    let mut context = Context::new(2).unwrap();
    queue(&mut context, read(&cold(&path), &pool, 0));
    context.submit();
    queue(&mut context, poll(&silent_eventfd()));
    let mut done = Vec::new();
    assert_eq!(context.reap(1, None, &mut done).unwrap(), 1);
    assert!(read_bytes(&done[0]) == noise(32 << 20, 1));
}

/// How an operation ended: its tag, the count or errno, and the bytes of a read.
type Outcome = (u64, Result<usize, Option<i32>>, Vec<u8>);

/// The outcomes of a few thousand operations of every kind, by tag.
fn outcomes(folder: &Path, system_calls_only: bool) -> Vec<Outcome> {
    let path = folder.join("f");
    let file = file_with(&path, &noise(100_000, 2));
    let direct = cold(&path);
    let (reader, _writer) = pipe();
    rustix::fs::fcntl_setfl(&*reader, rustix::fs::OFlags::NONBLOCK).unwrap();
    let pool = Pool::new(7, 4096).unwrap();
    let mut context = context(7, system_calls_only);
    let (mut outcomes, mut done, mut tag) = (Vec::new(), Vec::new(), 0);
    while tag < 5000 || context.in_flight() > 0 {
        while tag < 5000
            && let Some(buffer) = pool.get()
        {
            let op = match tag % 5 {
                0 => Op::read(reader.clone(), buffer, 0),
                1 => Op::read(direct.clone(), buffer, tag % 30 * 4096),
                2 => Op::new(file.clone(), OpKind::Fdatasync),
                3 => Op::read(file.clone(), buffer, tag * 31),
                _ => Op::read(file.clone(), buffer, u64::MAX),
            };
            if context.queue(op.tag(tag)).is_err() {
                break;
            }
            tag += 1;
        }
        context.submit();
        context.reap(1, None, &mut done).unwrap();
        for done in done.drain(..) {
            let read = matches!(done.op.kind, OpKind::Read(_)) && done.result.is_ok();
            let bytes = if read { read_bytes(&done).to_vec() } else { Vec::new() };
            outcomes.push((done.op.tag, done.result.map_err(|error| error.raw_os_error()), bytes));
        }
    }
    outcomes.sort_by_key(|&(tag, ..)| tag);
    outcomes
}

#[test]
fn the_ring_tells_what_the_system_call_tells() {
    let folder = folder();
    let from_ring = outcomes(folder.path(), false);
    assert_eq!(from_ring.len(), 5000);
    assert!(from_ring.iter().map(|&(tag, ..)| tag).eq(0..5000));
    assert!(from_ring == outcomes(folder.path(), true));
}

#[test]
fn the_ring_wraps_around_and_loses_nothing() {
    let zeros = shared(fs::File::open("/dev/zero").unwrap());
    let pool = Pool::new(3, 4096).unwrap();
    let mut context = Context::new(3).unwrap();
    let mut done: Vec<Done> = Vec::new();
    let (mut queued, mut expected) = (0, 0);
    // This wraps the ring of about a hundred slots a hundred times, and alternates both ways of
    // reaping.
    while expected < 40_000 {
        while let Some(buffer) = pool.get() {
            queue(&mut context, Op::read(zeros.clone(), buffer, 0).tag(queued));
            queued += 1;
        }
        context.set_system_calls_only(expected % 7 == 0);
        context.submit();
        context.reap(3, None, &mut done).unwrap();
        for done in done.drain(..) {
            // Reads of /dev/zero complete at once and in order.
            assert_eq!((done.op.tag, done.result.unwrap()), (expected, 4096));
            expected += 1;
        }
    }
}

#[test]
fn what_is_in_the_ring_is_taken_without_a_system_call() {
    let name = "what_is_in_the_ring_is_taken_without_a_system_call";
    if !is_under_strace() {
        if have_strace() {
            let mut calls = under_strace(name, &[]);
            // Each mark is a lone getppid. The thread that waits for the test has calls of its own.
            let is_mark = |call: &String| trace::name_of(call) == "getppid";
            let marked = calls.iter().find(|call| is_mark(call)).unwrap();
            let thread = trace::thread_of(marked).to_owned();
            calls.retain(|call| trace::thread_of(call) == thread);
            let parts: Vec<_> = calls.split(is_mark).collect();
            assert_eq!(parts.len(), 5, "{calls:#?}");
            for (part, rounds, names) in
                [(1, 100, &["io_submit"][..]), (3, 50, &["io_submit", "io_getevents"])]
            {
                let calls = parts[part];
                assert_eq!(calls.len(), rounds * names.len(), "no other system calls: {calls:#?}");
                for name in names {
                    assert_eq!(trace::count(calls, name), rounds, "{calls:#?}");
                }
            }
        }
        return;
    }
    let zeros = shared(fs::File::open("/dev/zero").unwrap());
    let pool = Pool::new(4, 4096).unwrap();
    for (system_calls_only, rounds) in [(false, 100), (true, 50)] {
        let mut context = context(4, system_calls_only);
        let mut done = Vec::with_capacity(4);
        let _mark = std::os::unix::process::parent_id();
        for _ in 0..rounds {
            for _ in 0..4 {
                queue(&mut context, read(&zeros, &pool, 0));
            }
            context.submit();
            assert_eq!(context.reap(4, None, &mut done).unwrap(), 4);
            done.clear();
        }
        let _mark = std::os::unix::process::parent_id();
    }
}

#[test]
fn what_a_full_ring_does_not_take_stays_queued_and_goes_next_time() {
    let name = "what_a_full_ring_does_not_take_stays_queued_and_goes_next_time";
    if !is_under_strace() {
        if have_strace() {
            // The second, fourth and sixth call.
            let options =
                ["-e", "trace=io_submit", "-e", "inject=io_submit:error=EAGAIN:when=2..6+2"];
            let calls = under_strace(name, &options);
            let counts = ["= -1 EAGAIN", "= 1", "= 2"]
                .map(|result| calls.iter().filter(|call| call.contains(result)).count());
            assert_eq!(counts, [3, 2, 2], "{calls:#?}");
        }
        return;
    }
    let zeros = shared(fs::File::open("/dev/zero").unwrap());
    let pool = Pool::new(3, 4096).unwrap();
    let mut context = Context::new(3).unwrap();
    let mut done = Vec::new();
    queue(&mut context, read(&zeros, &pool, 0).tag(0));
    assert_eq!(context.submit(), Submitted::default().accepted(1));
    for tag in 1..3 {
        queue(&mut context, read(&zeros, &pool, 0).tag(tag));
    }
    assert_eq!(context.submit(), Submitted::default().waiting(2));
    assert_eq!(context.reap(2, None, &mut done).unwrap(), 1, "only one could complete");
    assert_eq!(context.submit(), Submitted::default().accepted(2));
    assert_eq!(context.reap(2, None, &mut done).unwrap(), 2);
    each_once(&done, 3);
    done.clear();
    // No operation in flight could make room here: the kernel is short of memory, and gets a
    // moment.
    queue(&mut context, read(&zeros, &pool, 0));
    assert_eq!(context.submit(), Submitted::default().accepted(1));
    assert_eq!(context.reap(1, None, &mut done).unwrap(), 1);
    done.clear();
    queue(&mut context, read(&zeros, &pool, 0));
    queue(&mut context, read(&zeros, &pool, 0));
    assert_eq!(context.submit(), Submitted::default().accepted(2));
    assert_eq!(context.reap(2, None, &mut done).unwrap(), 2);
}

#[test]
fn a_kernel_that_never_has_room_refuses_in_the_end() {
    let name = "a_kernel_that_never_has_room_refuses_in_the_end";
    if !is_under_strace() {
        if have_strace() {
            under_strace(name, &["-e", "trace=io_submit", "-e", "inject=io_submit:error=EAGAIN"]);
        }
        return;
    }
    let zeros = shared(fs::File::open("/dev/zero").unwrap());
    let pool = Pool::new(2, 4096).unwrap();
    let mut context = Context::new(2).unwrap();
    for tag in 0..2 {
        queue(&mut context, read(&zeros, &pool, 0).tag(tag));
    }
    assert_eq!(context.submit(), Submitted::default().refused(2));
    let mut done = Vec::new();
    assert_eq!(context.reap(2, None, &mut done).unwrap(), 2);
    each_once(&done, 2);
    assert!(done.iter().all(|done| errno(done) == Some(libc::EAGAIN)));
}

#[test]
fn a_context_that_may_not_be_destroyed_keeps_its_buffers() {
    let name = "a_context_that_may_not_be_destroyed_keeps_its_buffers";
    if !is_under_strace() {
        if have_strace() {
            let calls = under_strace(
                name,
                &["-e", "trace=io_destroy", "-e", "inject=io_destroy:error=EPERM"],
            );
            assert!(calls.iter().any(|call| call.contains("EPERM")), "{calls:#?}");
        }
        return;
    }
    let folder = folder();
    let file = file_with(&folder.path().join("f"), &noise(4096, 3));
    let pool = Pool::new(2, 4096).unwrap();
    let mut context = Context::new(2).unwrap();
    queue(&mut context, read(&file, &pool, 0));
    context.submit();
    drop(context);
    assert_eq!(free_buffers(&pool).len(), 1, "the kernel may still write into the other");
}

#[test]
fn what_is_only_queued_is_withdrawn() {
    let pool = Pool::new(3, 4096).unwrap();
    let zeros = shared(fs::File::open("/dev/zero").unwrap());
    let mut context = Context::new(3).unwrap();
    let tickets: Vec<_> =
        (0..3).map(|tag| queue(&mut context, read(&zeros, &pool, 0).tag(tag))).collect();
    assert_eq!(context.cancel(tickets[1]).unwrap(), Cancel::Withdrawn);
    assert_eq!(context.cancel(tickets[1]).unwrap(), Cancel::Unknown, "once");
    assert_eq!(context.submit().accepted, 2);
    let done = drain(&mut context);
    each_once(&done, 3);
    for done in &done {
        assert_eq!(errno(done), (done.op.tag == 1).then_some(libc::ECANCELED), "{}", done.op.tag);
    }
}

#[test]
fn a_poll_can_be_cancelled_and_then_ends_without_events() {
    let never = silent_eventfd();
    let mut context = Context::new(2).unwrap();
    let ticket = queue(&mut context, poll(&never).tag(1));
    context.submit();
    assert_eq!(context.reap(1, Some(Duration::from_millis(10)), &mut Vec::new()).unwrap(), 0);
    assert_eq!(context.cancel(ticket).unwrap(), Cancel::InProgress);
    assert_eq!(context.in_flight(), 1, "it is not back yet");
    let done = drain(&mut context);
    assert_eq!((done[0].op.tag, done[0].result.as_ref().unwrap()), (1, &0));
    assert_eq!(context.cancel(ticket).unwrap(), Cancel::Unknown, "it came back");
}

#[test]
fn reads_of_a_disk_and_what_is_over_are_not_cancelled() {
    let folder = folder();
    let path = folder.path().join("f");
    fs::write(&path, noise(8 << 20, 4)).unwrap();
    let pool = Pool::new(2, 8 << 20).unwrap();
    let mut context = Context::new(2).unwrap();
    let running = queue(&mut context, read(&cold(&path), &pool, 0).tag(0));
    let over = queue(&mut context, Op::new(silent_eventfd(), OpKind::Poll(PollFlags::OUT)).tag(1));
    assert_eq!(context.submit().accepted, 2);
    for ticket in [running, over] {
        assert_eq!(context.cancel(ticket).unwrap(), Cancel::NotCancelled);
        assert_eq!(
            context.cancel(ticket).unwrap(),
            Cancel::NotCancelled,
            "however often it is asked"
        );
    }
    assert_eq!(context.in_flight(), 2);
    let mut done = drain(&mut context);
    each_once(&done, 2);
    done.sort_by_key(|done| done.op.tag);
    assert!(read_bytes(&done[0]) == noise(8 << 20, 4), "it ran to its end");
}

#[test]
fn a_ticket_names_nothing_after_its_operation_also_when_the_place_is_used_again() {
    let zeros = shared(fs::File::open("/dev/zero").unwrap());
    let never = silent_eventfd();
    let pool = Pool::new(1, 4096).unwrap();
    let mut context = Context::new(1).unwrap();
    let stale = queue(&mut context, read(&zeros, &pool, 0));
    assert_eq!(drain(&mut context).len(), 1);
    assert_eq!(context.cancel(stale).unwrap(), Cancel::Unknown);
    let fresh = queue(&mut context, poll(&never));
    assert_ne!(stale, fresh);
    assert_eq!(context.cancel(stale).unwrap(), Cancel::Unknown, "queued in the same place");
    context.submit();
    assert_eq!(context.cancel(stale).unwrap(), Cancel::Unknown, "submitted from the same place");
    assert_eq!(context.cancel(fresh).unwrap(), Cancel::InProgress);
    assert_eq!(drain(&mut context).len(), 1);
    // A slot that this context does not even have.
    let mut large = Context::new(9).unwrap();
    let far = (0..9)
        .map(|_| queue(&mut large, poll(&never)))
        .max_by_key(|ticket| format!("{ticket:?}"))
        .unwrap();
    assert_eq!(context.cancel(far).unwrap(), Cancel::Unknown);
}

#[test]
fn a_ticket_names_nothing_in_another_context() {
    let never = silent_eventfd();
    let [mut one, mut other] = [(); 2].map(|()| Context::new(1).unwrap());
    let (first, second) = (queue(&mut one, poll(&never)), queue(&mut other, poll(&never)));
    assert_ne!(first, second);
    assert_eq!(other.cancel(first).unwrap(), Cancel::Unknown);
    one.submit();
    other.submit();
    assert_eq!(one.cancel(second).unwrap(), Cancel::Unknown);
    assert_eq!(one.cancel(first).unwrap(), Cancel::InProgress);
    assert_eq!(drain(&mut one)[0].ticket, Some(first));
    assert_eq!(other.cancel(second).unwrap(), Cancel::InProgress);
    assert_eq!(drain(&mut other)[0].ticket, Some(second));
}

/// Queues a read of zeros whose callback notes its tag, and panics if the tag is `bad`.
fn queue_noting(context: &mut Context, op: Op, bad: u64, called: &Arc<Mutex<Vec<u64>>>) {
    let called = Arc::clone(called);
    let note = move |_: &mut Context, done: Done| {
        called.lock().unwrap().push(done.op.tag);
        assert_eq!(read_bytes(&done).len(), 4096);
        // `panic!` would print a message that looks like a failure of this test.
        if done.op.tag == bad {
            std::panic::resume_unwind(Box::new(done.op.tag));
        }
    };
    context.queue_with(op, Box::new(note)).expect("there is room");
}

#[test]
fn callbacks_run_in_order_and_a_panic_in_one_loses_nothing() {
    for system_calls_only in [false, true] {
        let zeros = shared(fs::File::open("/dev/zero").unwrap());
        let pool = Pool::new(5, 4096).unwrap();
        let mut context = context(5, system_calls_only);
        let called = Arc::new(Mutex::new(Vec::new()));
        for round in 0..20 {
            for tag in 0..5 {
                queue_noting(&mut context, read(&zeros, &pool, 0).tag(tag), 1, &called);
            }
            assert_eq!(context.submit().accepted, 5);
            let panicked = catch_unwind(AssertUnwindSafe(|| context.run(5, None)));
            assert_eq!(
                panicked.unwrap_err().downcast_ref(),
                Some(&1u64),
                "it is the callback's own"
            );
            assert_eq!(*called.lock().unwrap(), [0, 1]);
            assert_eq!(context.in_flight(), 3, "round {round}");
            assert_eq!(context.run(1, None).unwrap(), 3, "the others are called without a wait");
            assert_eq!(std::mem::take(&mut *called.lock().unwrap()), [0, 1, 2, 3, 4]);
            assert_eq!(context.in_flight(), 0);
            assert_eq!(free_buffers(&pool).len(), 5, "the panicking one too");
        }
    }
}

#[test]
fn callbacks_and_plain_operations_mix() {
    let zeros = shared(fs::File::open("/dev/zero").unwrap());
    let pool = Pool::new(6, 4096).unwrap();
    let mut context = Context::new(6).unwrap();
    let called = Arc::new(Mutex::new(Vec::new()));
    for tag in 0..6 {
        let op = read(&zeros, &pool, 0).tag(tag);
        if tag % 2 == 0 {
            queue_noting(&mut context, op, u64::MAX, &called);
        } else {
            queue(&mut context, op);
        }
    }
    context.submit();
    let mut done = Vec::new();
    assert_eq!(context.reap(6, None, &mut done).unwrap(), 3);
    assert!(done.iter().map(|done| done.op.tag).eq([1, 3, 5]));
    assert!(called.lock().unwrap().is_empty(), "reap calls no callback");
    assert_eq!(context.in_flight(), 3);
    assert_eq!(context.run(1, None).unwrap(), 3);
    assert_eq!(*called.lock().unwrap(), [0, 2, 4]);
    // In the other direction, `run` leaves what has no callback to `reap`.
    queue(&mut context, Op::new(zeros.clone(), OpKind::Poll(PollFlags::IN)).tag(6));
    context.submit();
    assert_eq!((context.run(0, None).unwrap(), context.in_flight()), (0, 1));
    assert_eq!(context.reap(1, None, &mut done).unwrap(), 1);
    // A refused operation calls its callback too. One that is never called is dropped with the
    // context.
    let write_only = shared(fs::File::options().write(true).open("/dev/null").unwrap());
    let seen = Arc::new(Mutex::new(None));
    let note = Arc::clone(&seen);
    done.clear();
    let callback =
        Box::new(move |_: &mut Context, done: Done| *note.lock().unwrap() = errno(&done));
    context.queue_with(read(&write_only, &pool, 0), callback).unwrap();
    assert_eq!(context.submit().refused, 1);
    assert_eq!((context.run(1, None).unwrap(), *seen.lock().unwrap()), (1, Some(libc::EBADF)));
    queue_noting(&mut context, read(&zeros, &pool, 0), u64::MAX, &called);
    context.submit();
    drop(context);
    assert_eq!((Arc::strong_count(&called), free_buffers(&pool).len()), (1, 6));
}
