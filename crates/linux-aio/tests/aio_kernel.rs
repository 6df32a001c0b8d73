//! Kernel AIO on the real kernel: contexts, batches, refusals, every kind of operation, and what a
//! dropped context leaves behind.

mod common;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::aio::*;
use common::*;
use linux_aio::kernel::{Priority, SetupError};
use linux_aio::{Context, Full, Op, OpKind, Part, PollFlags, Pool, ReadWriteFlags, Submitted};
use rustix::fs::{Mode, OFlags};

#[test]
fn a_full_context_gives_the_operation_back() {
    let folder = folder();
    let file = file_with(&folder.path().join("f"), &noise(4096, 1));
    let pool = Pool::new(5, 4096).unwrap();
    let mut context = Context::new(3).unwrap();
    assert_eq!((context.capacity(), context.in_flight()), (3, 0));
    for tag in 0..3 {
        queue(&mut context, read(&file, &pool, 0).tag(tag));
    }
    let Full(back) = context.queue(read(&file, &pool, 0).tag(3)).expect_err("it is full");
    assert_eq!((back.tag, context.in_flight()), (3, 3));
    // A finished operation counts as in flight until it is reaped.
    assert_eq!(context.submit(), Submitted::default().accepted(3));
    let Full((back, callback)) =
        context.queue_with(back, Box::new(|_, _| panic!("not called"))).expect_err("it is full");
    drop(callback);
    let mut done = drain(&mut context);
    context.queue(back).expect("now there is room");
    done.extend(drain(&mut context));
    each_once(&done, 4);
    assert!(done.iter().all(|done| read_bytes(done) == noise(4096, 1)));
}

#[test]
fn what_was_refused_and_not_taken_counts_against_the_capacity() {
    let folder = folder();
    let path = folder.path().join("f");
    let write_only = shared(File::create(path).unwrap());
    let pool = Pool::new(9, 4096).unwrap();
    let mut context = Context::new(2).unwrap();
    for _ in 0..2 {
        queue(&mut context, read(&write_only, &pool, 0));
    }
    assert_eq!(context.submit(), Submitted::default().refused(2));
    assert_eq!(context.in_flight(), 2);
    assert!(context.queue(read(&write_only, &pool, 0)).is_err(), "two are in flight, and two fit");
    assert_eq!(drain(&mut context).len(), 2);
    assert!(context.queue(read(&write_only, &pool, 0)).is_ok());
}

#[test]
fn a_context_of_no_or_too_many_operations_says_what_is_wrong() {
    let none = Context::new(0).expect_err("a context needs a capacity");
    assert_eq!(none.raw_os_error(), Some(libc::EINVAL));
    let limit: u32 = fs::read_to_string("/proc/sys/fs/aio-max-nr").unwrap().trim().parse().unwrap();
    let error = Context::new(limit + 1).expect_err("beyond the limit");
    let text = error.to_string();
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    // How many are taken changes while other programs run.
    let taken = text.split("/proc/sys/fs/aio-nr are taken (").nth(1).unwrap();
    assert!(taken.trim_end_matches(')').parse::<u32>().is_ok(), "{text:?}");
    let as_io: io::Error = Context::new(limit + 1).map(drop).unwrap_err().into();
    let inner = as_io.get_ref().unwrap().downcast_ref::<SetupError>().unwrap();
    assert_eq!((as_io.kind(), inner.raw_os_error()), (error.kind(), Some(libc::EAGAIN)));
    for part in
        ["/proc/sys/fs/aio-max-nr", &format!("({limit})"), &format!("for {} operations", limit + 1)]
    {
        assert!(text.contains(part), "{part:?} is in {text:?}");
    }
    assert!(Context::new(u32::MAX).is_err());
}

/// Every way in which io_submit(2) refuses one operation, with its error.
fn refusals(folder: &std::path::Path, pool: &Pool) -> Vec<(&'static str, Op, i32)> {
    let path = folder.join("refusals");
    let both = file_with(&path, &noise(8192, 2));
    let write_only = shared(File::options().write(true).open(&path).unwrap());
    let read_only = shared(File::open(&path).unwrap());
    // With musl, std takes O_PATH for a part of the access mode, and leaves it out.
    let path_only = shared(rustix::fs::open(&path, OFlags::PATH, Mode::empty()).unwrap());
    let (_reader, writer) = pipe();
    let good = || read(&both, pool, 0);
    let write = |file| Op::write(file, filled(pool, b"x"), 0);
    vec![
        ("a read of a write-only file", read(&write_only, pool, 0), libc::EBADF),
        ("a write to a read-only file", write(read_only), libc::EBADF),
        ("a read through O_PATH", read(&path_only, pool, 0), libc::EBADF),
        (
            "flags that do not exist",
            good().flags(ReadWriteFlags::from_bits_retain(1 << 30)),
            libc::EOPNOTSUPP,
        ),
        ("an eventfd that is none", good().eventfd(both.clone()), libc::EINVAL),
        ("a level below the lowest", good().priority(Priority::BestEffort(8)), libc::EINVAL),
        ("a level far below", good().priority(Priority::RealTime(255)), libc::EINVAL),
        ("an fsync at an offset", Op::new(both.clone(), OpKind::Fsync).at(4096), libc::EINVAL),
        ("an fsync of a pipe", Op::new(writer, OpKind::Fsync), libc::EINVAL),
        ("a poll with flags", poll_op(both.clone()).flags(ReadWriteFlags::DSYNC), libc::EINVAL),
        ("an offset that is negative as the kernel sees it", good().at(1 << 63), libc::EINVAL),
        ("an offset beyond all files", good().at(i64::MAX as u64), libc::EINVAL),
        ("a range beyond the buffer", read_part(&both, pool, 4000, 4097), libc::EINVAL),
        ("a range that ends before it begins", read_part(&both, pool, 2, 1), libc::EINVAL),
    ]
}

fn poll_op(file: Arc<OwnedFd>) -> Op {
    Op::new(file, OpKind::Poll(PollFlags::IN))
}

fn read_part(file: &Arc<OwnedFd>, pool: &Pool, start: usize, end: usize) -> Op {
    Op::new(Arc::clone(file), OpKind::Read(Part { buffer: pool.get().unwrap(), start, end }))
}

#[test]
fn a_refused_operation_comes_back_from_any_place_in_the_batch_and_stops_no_other() {
    let folder = folder();
    let good = file_with(&folder.path().join("good"), &noise(4096, 3));
    let pool = Pool::new(32, 4096).unwrap();
    for place in [0, 2, 4] {
        for (what, bad, expected) in refusals(folder.path(), &pool) {
            let mut context = Context::new(5).unwrap();
            let mut bad = Some(bad);
            for tag in 0..5 {
                let op = if tag == place { bad.take().unwrap() } else { read(&good, &pool, 0) };
                queue(&mut context, op.tag(tag));
            }
            let submitted = Submitted::default().accepted(4).refused(1);
            assert_eq!(context.submit(), submitted, "{what}, {place}");
            let done = drain(&mut context);
            each_once(&done, 5);
            for done in &done {
                if done.op.tag == place {
                    assert_eq!(errno(done), Some(expected), "{what}, {place}: {:?}", done.result);
                } else {
                    assert_eq!(read_bytes(done), noise(4096, 3), "{what}, {place}");
                }
            }
        }
        assert_eq!(free_buffers(&pool).len(), 32, "every buffer came back");
    }
}

#[test]
fn what_io_submit_says_of_a_batch_is_exact() {
    let folder = folder();
    let path = folder.path().join("f");
    let good = file_with(&path, &noise(4096, 4));
    let bad = shared(File::options().write(true).open(&path).unwrap());
    let pool = Pool::new(64, 4096).unwrap();
    // One bit an operation: each set of refusals in a batch of six.
    for refused in 0..64u32 {
        let mut context = Context::new(6).unwrap();
        for place in 0..6 {
            let file = if refused >> place & 1 == 1 { &bad } else { &good };
            queue(&mut context, read(file, &pool, 0).tag(place));
        }
        let count = refused.count_ones() as usize;
        assert_eq!(
            context.submit(),
            Submitted::default().accepted(6 - count).refused(count),
            "{refused:b}"
        );
        let done = drain(&mut context);
        each_once(&done, 6);
        for done in &done {
            let expected = (refused >> done.op.tag & 1 == 1).then_some(libc::EBADF);
            assert_eq!(errno(done), expected, "{refused:b}: {}", done.op.tag);
        }
    }
}

#[test]
fn wrong_alignment_is_told_as_a_completion() {
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let path = mounted.path.join("f");
    fs::write(&path, noise(10_000, 5)).unwrap();
    let direct = shared(
        File::options().read(true).write(true).custom_flags(libc::O_DIRECT).open(&path).unwrap(),
    );
    let pool = Pool::new(8, 4096).unwrap();
    let mut context = Context::new(8).unwrap();
    let part = |start, end| read_part(&direct, &pool, start, end);
    let write =
        Op::new(direct.clone(), OpKind::Write(Part::new(pool.get().unwrap().freeze(), 0..100)));
    let ops = [
        part(0, 4096).at(1),
        part(0, 100),
        part(1, 4096),
        part(0, 0x1ff),
        write,
        part(0, 4096),
        part(0, 4096).at(8192),
    ];
    for (tag, op) in ops.into_iter().enumerate() {
        queue(&mut context, op.tag(tag as u64));
    }
    assert_eq!(context.submit(), Submitted::default().accepted(7));
    let mut done = drain(&mut context);
    each_once(&done, 7);
    done.sort_by_key(|done| done.op.tag);
    for done in &done[..5] {
        assert_eq!(errno(done), Some(libc::EINVAL), "{}: {:?}", done.op.tag, done.result);
    }
    assert_eq!(read_bytes(&done[5]), &noise(10_000, 5)[..4096]);
    assert_eq!(
        read_bytes(&done[6]),
        &noise(10_000, 5)[8192..],
        "a short count marks the end of the file"
    );
}

#[test]
fn reads_and_writes_tell_their_true_counts() {
    let folder = folder();
    let file = file_with(&folder.path().join("f"), &noise(5000, 6));
    let pool = Pool::new(8, 4096).unwrap();
    let mut context = Context::new(8).unwrap();
    for (tag, (offset, expected)) in
        [(0, 4096), (4096, 904), (4999, 1), (5000, 0), (1 << 40, 0)].into_iter().enumerate()
    {
        queue(&mut context, read(&file, &pool, offset).tag(tag as u64));
        let done = drain(&mut context);
        assert_eq!(
            read_bytes(&done[0]),
            &noise(5000, 6)[5000.min(offset as usize)..][..expected],
            "{offset}"
        );
    }
    let part = Part::new(filled(&pool, b"0123456789"), 2..7);
    queue(&mut context, Op::new(file.clone(), OpKind::Write(part)).at(5001));
    assert!(matches!(drain(&mut context)[0].result, Ok(5)));
    let contents = fs::read(folder.path().join("f")).unwrap();
    assert_eq!(contents[4999..], [&noise(5000, 6)[4999..], b"\0", b"23456"].concat());
    // This write lies beyond the largest file that the filesystem can hold.
    queue(&mut context, Op::write(file, filled(&pool, b"x"), 1 << 60));
    assert_eq!(context.submit().accepted, 1);
    assert_eq!(errno(&drain(&mut context)[0]), Some(libc::EFBIG));
}

#[test]
fn vectors_are_read_and_written_in_order_and_up_to_1024_parts() {
    let folder = folder();
    let path = folder.path().join("f");
    let file = file_with(&path, b"");
    let pool = Pool::new(1025, 4096).unwrap();
    let mut context = Context::new(1).unwrap();
    let mut one = |kind| {
        queue(&mut context, Op::new(file.clone(), kind).at(3));
        drain(&mut context).pop().unwrap()
    };
    for (parts, expected) in
        [(0, Ok(0)), (1, Ok(3)), (3, Ok(9)), (1024, Ok(3072)), (1025, Err(libc::EINVAL))]
    {
        fs::write(&path, "").unwrap();
        let write = |n: usize| Part::new(filled(&pool, &[b'<', n as u8, b'>', b'!']), 0..3);
        let done = one(OpKind::WriteVectored((0..parts).map(write).collect()));
        let outcome =
            done.result.as_ref().map(|&count| count).map_err(|error| error.raw_os_error().unwrap());
        assert_eq!(outcome, expected, "{parts}");
        drop(done);
        let read = |n: usize| Part::new(pool.get().unwrap(), n..n + 3);
        let done = one(OpKind::ReadVectored((0..parts).map(read).collect()));
        let outcome =
            done.result.as_ref().map(|&count| count).map_err(|error| error.raw_os_error().unwrap());
        assert_eq!(outcome, expected, "{parts}");
        let OpKind::ReadVectored(read) = done.op.kind else { panic!("it is a read") };
        assert_eq!(read.len(), parts, "all parts come back");
        for (n, part) in read.iter().enumerate().filter(|_| expected.is_ok()) {
            assert_eq!(part.bytes().unwrap(), [b'<', n as u8, b'>']);
        }
    }
    // One bad range among good ones, and parts of zero bytes.
    let done = one(OpKind::ReadVectored(vec![
        Part::whole(pool.get().unwrap()),
        Part::new(pool.get().unwrap(), 0..5000),
    ]));
    assert_eq!(errno(&done), Some(libc::EINVAL));
    drop(done);
    fs::write(&path, "---abcdef").unwrap();
    let done = one(OpKind::ReadVectored(
        [0..0, 0..2, 7..7, 0..4].map(|range| Part::new(pool.get().unwrap(), range)).into(),
    ));
    assert!(matches!(done.result, Ok(6)), "{:?}", done.result);
    drop(done);
    assert_eq!(free_buffers(&pool).len(), 1025);
}

#[test]
fn syncs_end_without_a_count() {
    let folder = folder();
    let file = file_with(&folder.path().join("f"), &noise(100_000, 7));
    let directory = shared(File::open(folder.path()).unwrap());
    let mut context = Context::new(4).unwrap();
    for file in [&file, &directory] {
        for kind in [OpKind::Fsync, OpKind::Fdatasync] {
            queue(&mut context, Op::new(Arc::clone(file), kind));
        }
    }
    assert_eq!(context.submit().accepted, 4);
    let done = drain(&mut context);
    assert_eq!(done.len(), 4);
    assert!(done.iter().all(|done| matches!(done.result, Ok(0))));
}

#[test]
fn a_poll_ends_when_its_event_is_there_and_says_which() {
    let (reader, writer) = pipe();
    let mut context = Context::new(2).unwrap();
    let mut done = Vec::new();
    let poll = |file: &Arc<OwnedFd>, flags| Op::new(Arc::clone(file), OpKind::Poll(flags));
    queue(&mut context, poll(&writer, PollFlags::OUT).tag(0));
    queue(&mut context, poll(&reader, PollFlags::IN).tag(1));
    assert_eq!(context.submit().accepted, 2);
    while done.is_empty() {
        context.reap(1, None, &mut done).unwrap();
    }
    let ready = |done: &linux_aio::Done| done.ready().unwrap();
    assert_eq!((done[0].op.tag, ready(&done[0]).contains(PollFlags::OUT)), (0, true));
    assert_eq!(
        context.reap(1, Some(Duration::from_millis(20)), &mut done).unwrap(),
        0,
        "nothing to read yet"
    );
    write_to(&writer, b"x");
    assert_eq!(context.reap(1, None, &mut done).unwrap(), 1);
    assert_eq!((done[1].op.tag, ready(&done[1]).contains(PollFlags::IN)), (1, true));
    // Poll reports a hang-up without being asked for it.
    assert_eq!(rustix::io::read(&*reader, &mut [0; 8]), Ok(1));
    queue(&mut context, poll(&reader, PollFlags::IN));
    context.submit();
    drop((done, writer));
    assert!(ready(&drain(&mut context)[0]).contains(PollFlags::HUP));
}

#[test]
fn a_completion_has_the_ticket_that_its_operation_was_given() {
    let zeros = shared(File::open("/dev/zero").unwrap());
    let pool = Pool::new(3, 4096).unwrap();
    let mut context = Context::new(3).unwrap();
    let mut tickets = HashMap::new();
    // Every slot is used again and again.
    for tag in 0..30 {
        let good = read(&zeros, &pool, 0);
        let op =
            if tag % 3 == 0 { good.flags(ReadWriteFlags::from_bits_retain(1 << 30)) } else { good };
        tickets.insert(queue(&mut context, op.tag(tag)), tag);
        for done in drain(&mut context) {
            assert_eq!(tickets.get(&done.ticket.unwrap()), Some(&done.op.tag));
        }
    }
    assert_eq!(tickets.len(), 30, "each has a name of its own");
}

#[test]
fn an_eventfd_counts_the_completions() {
    let folder = folder();
    let file = file_with(&folder.path().join("f"), &noise(4096, 8));
    let pool = Pool::new(16, 4096).unwrap();
    let (counted, silent) = (silent_eventfd(), silent_eventfd());
    let mut context = Context::new(16).unwrap();
    for n in 0..16 {
        let op = match n % 3 {
            0 => Op::new(file.clone(), OpKind::Fdatasync),
            1 => Op::write(file.clone(), filled(&pool, b"x"), 0),
            _ => read(&file, &pool, 0),
        };
        let op = if n < 11 { op.eventfd(counted.clone()) } else { op };
        queue(&mut context, op);
    }
    context.submit();
    assert_eq!(drain(&mut context).len(), 16);
    assert_eq!((take_count(&counted), take_count(&silent)), (11, 0));
}

#[test]
fn flags_do_what_preadv2_says() {
    let folder = folder();
    let path = folder.path().join("f");
    let file = file_with(&path, b"start,");
    let pool = Pool::new(4, 4096).unwrap();
    let mut context = Context::new(1).unwrap();
    let mut one = |op: Op, flags| {
        queue(&mut context, op.flags(flags));
        drain(&mut context).pop().unwrap()
    };
    let write = |text: &[u8]| {
        let part = Part::new(filled(&pool, text), 0..text.len());
        Op::new(file.clone(), OpKind::Write(part))
    };
    assert!(matches!(one(write(b"S"), ReadWriteFlags::DSYNC).result, Ok(1)));
    assert!(matches!(
        one(write(b"end"), ReadWriteFlags::APPEND | ReadWriteFlags::SYNC).result,
        Ok(3)
    ));
    assert_eq!(fs::read(&path).unwrap(), b"Start,end");
    // For a file outside the page cache, NOWAIT may answer that it would have to wait. No other
    // answer is allowed.
    fs::write(&path, noise(1 << 20, 9)).unwrap();
    drop(cold(&path));
    let done = one(read(&file, &pool, 0), ReadWriteFlags::NOWAIT);
    match errno(&done) {
        None => assert_eq!(read_bytes(&done), &noise(1 << 20, 9)[..4096]),
        Some(code) => assert_eq!(code, libc::EAGAIN, "{:?}", done.result),
    }
    let contradiction = one(read(&file, &pool, 0), ReadWriteFlags::from_bits_retain(1 << 30));
    assert_eq!(errno(&contradiction), Some(libc::EOPNOTSUPP));
}

#[test]
fn priorities_are_those_of_the_kernel() {
    let folder = folder();
    let file = file_with(&folder.path().join("f"), &noise(4096, 10));
    let pool = Pool::new(1, 4096).unwrap();
    let mut context = Context::new(1).unwrap();
    let mut one = |priority| {
        queue(&mut context, read(&file, &pool, 0).priority(priority));
        errno(&drain(&mut context)[0])
    };
    assert_eq!(one(Priority::Idle), None);
    for level in 0..8 {
        assert_eq!(one(Priority::BestEffort(level)), None, "{level}");
    }
    for level in [8, 9, 16, 255] {
        assert_eq!(one(Priority::BestEffort(level)), Some(libc::EINVAL), "{level}");
        assert_eq!(one(Priority::RealTime(level)), Some(libc::EINVAL), "{level}");
    }
    if is_root("a real-time priority") {
        assert_eq!(one(Priority::RealTime(7)), None);
    }
}

#[test]
fn io_submit_waits_for_an_empty_pipe_itself() {
    let (reader, writer) = pipe();
    let pool = Pool::new(2, 4096).unwrap();
    let mut context = Context::new(2).unwrap();
    write_to(&writer, b"there");
    queue(&mut context, read(&reader, &pool, 0));
    assert_eq!(context.submit().accepted, 1);
    assert_eq!(read_bytes(&drain(&mut context)[0]), b"there");
    let written = Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn({
        let (written, writer) = (Arc::clone(&written), Arc::clone(&writer));
        move || {
            std::thread::sleep(Duration::from_millis(100));
            written.store(true, Ordering::SeqCst);
            write_to(&writer, b"late");
        }
    });
    queue(&mut context, read(&reader, &pool, 0));
    context.submit();
    assert!(written.load(Ordering::SeqCst), "io_submit returned before there was anything to read");
    assert_eq!(read_bytes(&drain(&mut context)[0]), b"late");
    thread.join().unwrap();
    // A nonblocking pipe reports that in the completion.
    rustix::fs::fcntl_setfl(&*reader, rustix::fs::OFlags::NONBLOCK).unwrap();
    queue(&mut context, read(&reader, &pool, 0));
    assert_eq!(context.submit().accepted, 1);
    assert_eq!(errno(&drain(&mut context)[0]), Some(libc::EAGAIN));
}

/// A context with a hundred uncached direct reads in flight, and the pool of their buffers.
fn a_hundred_in_flight(folder: &std::path::Path) -> (Context, Pool) {
    const BLOCK: usize = 256 << 10;
    fs::write(folder.join("f"), noise(100 * BLOCK, 11)).unwrap();
    let file = cold(&folder.join("f"));
    let pool = Pool::new(100, BLOCK).unwrap();
    let mut context = Context::new(101).unwrap();
    for n in 0..100 {
        queue(&mut context, read(&file, &pool, (n * BLOCK) as u64));
    }
    queue(&mut context, poll_op(silent_eventfd()));
    assert_eq!(context.submit().accepted, 101);
    (context, pool)
}

#[test]
fn a_context_dropped_with_a_hundred_operations_in_flight_gives_their_buffers_back() {
    let folder = folder();
    let (context, pool) = a_hundred_in_flight(folder.path());
    assert!(pool.get().is_none());
    std::thread::spawn(move || drop(context)).join().unwrap();
    let buffers = free_buffers(&pool);
    assert_eq!(buffers.len(), 100);
    // Nothing is in flight any more: a buffer with known contents keeps them.
    let expected = noise(100 * pool.buffer_bytes(), 11);
    let mut kept: Vec<_> = buffers;
    for buffer in &mut kept {
        buffer.fill(0x55);
    }
    std::thread::sleep(Duration::from_millis(50));
    assert!(kept.iter().all(|buffer| buffer.iter().all(|&byte| byte == 0x55)));
    assert_eq!(fs::read(folder.path().join("f")).unwrap(), expected);
}

#[test]
fn a_context_that_is_forgotten_keeps_its_buffers_for_ever() {
    let folder = folder();
    let (context, pool) = a_hundred_in_flight(folder.path());
    std::mem::forget(context);
    std::thread::sleep(Duration::from_millis(100));
    assert!(pool.get().is_none(), "the kernel may still be writing into them");
    drop(pool);
}

#[test]
fn an_operation_that_is_forgotten_after_it_came_back_keeps_its_buffer() {
    let folder = folder();
    let file = file_with(&folder.path().join("f"), b"x");
    let pool = Pool::new(1, 4096).unwrap();
    let mut context = Context::new(1).unwrap();
    queue(&mut context, read(&file, &pool, 0));
    std::mem::forget(drain(&mut context));
    drop(context);
    assert!(pool.get().is_none());
}
