//! POSIX AIO on the real C library.
#![cfg(feature = "posix")]

mod common;

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use common::aio::*;
use common::posix::*;
use common::*;
use linux_aio::posix::{
    Cancelled, LIST_MAX, Notify, Request, Status, Suspended, cancel_all, list_and_go,
    list_and_wait, orphans, suspend,
};
use linux_aio::{
    Done, Engine, Full, Op, OpKind, Part, PollFlags, Pool, Posix, ReadWriteFlags, Refused,
};

fn write(file: &Arc<OwnedFd>, pool: &Pool, bytes: &[u8], offset_bytes: u64) -> Op {
    let part = Part::new(filled(pool, bytes), 0..bytes.len());
    Op::new(Arc::clone(file), OpKind::Write(part)).at(offset_bytes)
}

fn refused(op: Op, notify: Notify, reqprio: i32) -> Option<i32> {
    let done = Request::start(op, notify, reqprio).map(Request::wait);
    done.err().and_then(|refused| refused.error.raw_os_error())
}

/// Serializes the tests that count the requests in progress.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn files_are_read_written_and_synced() {
    let folder = folder();
    let path = folder.path().join("f");
    let file = file_with(&path, &noise(5000, 1));
    let pool = Pool::new(4, 4096).unwrap();
    for (offset, count) in [(0, 4096), (4096, 904), (5000, 0), (1 << 40, 0)] {
        let done = start(read(&file, &pool, offset)).wait();
        assert_eq!(read_bytes(&done), &noise(5000, 1)[5000.min(offset as usize)..][..count]);
    }
    let done = start(write(&file, &pool, b"hello", 5001).tag(7)).wait();
    assert!(matches!(done, Done { op: Op { tag: 7, .. }, result: Ok(5), .. }));
    for kind in [OpKind::Fsync, OpKind::Fdatasync] {
        assert!(matches!(start(Op::new(file.clone(), kind)).wait().result, Ok(0)));
    }
    let directory = shared(File::open(folder.path()).unwrap());
    assert!(matches!(start(Op::new(directory, OpKind::Fsync)).wait().result, Ok(0)));
    assert_eq!(fs::read(&path).unwrap()[4999..], [&noise(5000, 1)[4999..], b"\0hello"].concat());
    // A part in the middle of a buffer.
    let part = Part::new(pool.get().unwrap(), 10..15);
    let done = start(Op::new(file, OpKind::Read(part)).at(5001)).wait();
    assert_eq!(read_bytes(&done), b"hello");
}

#[test]
fn an_empty_pipe_is_in_progress_until_something_is_written() {
    let pool = Pool::new(2, 4096).unwrap();
    let (left, right) = UnixStream::pair().unwrap();
    for (reader, writer) in [pipe(), (shared(left), shared(right))] {
        let mut request = start(read(&reader, &pool, 0).tag(9));
        for _ in 0..3 {
            assert!(matches!(request.status(), Status::InProgress));
            request = request.finish().expect_err("it comes back unfinished");
        }
        assert!(matches!(start(write(&writer, &pool, b"now", 0)).wait().result, Ok(3)));
        assert_eq!(suspend(&[&request], LONG).unwrap(), Suspended::Finished);
        assert!(matches!(request.status(), Status::Finished));
        let done = request.finish().map_err(drop).expect("it is over");
        assert_eq!((done.op.tag, read_bytes(&done)), (9, &b"now"[..]));
    }
    assert_eq!(free_buffers(&pool).len(), 2);
}

#[test]
fn what_cannot_be_asked_for_is_refused_at_once_and_a_bad_descriptor_later() {
    let folder = folder();
    let path = folder.path().join("f");
    let file = file_with(&path, b"text");
    let pool = Pool::new(3, 4096).unwrap();
    let good = || read(&file, &pool, 0);
    for reqprio in [-1, 21, i32::MIN, i32::MAX] {
        assert_eq!(refused(good(), Notify::None, reqprio), Some(libc::EINVAL), "{reqprio}");
        let sync = Op::new(file.clone(), OpKind::Fsync);
        assert_eq!(refused(sync, Notify::None, reqprio), Some(libc::EINVAL), "{reqprio}");
    }
    for reqprio in [0, 20] {
        assert_eq!(refused(good(), Notify::None, reqprio), None, "{reqprio}");
        assert_eq!(
            refused(Op::new(file.clone(), OpKind::Fsync), Notify::None, reqprio),
            None,
            "{reqprio}"
        );
    }
    for number in [0, -1, 32, 33, 65, i32::MAX] {
        let notify = Notify::Signal { number, value: 0 };
        assert_eq!(refused(good(), notify, 0), Some(libc::EINVAL), "signal {number}");
    }
    let part = Part::new(pool.get().unwrap(), 1..4097);
    assert_eq!(
        refused(Op::new(file.clone(), OpKind::Read(part)), Notify::None, 0),
        Some(libc::EINVAL)
    );
    assert_eq!(refused(good().at(1 << 63), Notify::None, 0), Some(libc::EINVAL));
    let unknown = [
        Op::new(file.clone(), OpKind::Poll(PollFlags::IN)),
        Op::new(file.clone(), OpKind::ReadVectored(Vec::new())),
        Op::new(file.clone(), OpKind::WriteVectored(Vec::new())),
        good().flags(ReadWriteFlags::DSYNC),
        good().eventfd(silent_eventfd()),
        good().priority(linux_aio::kernel::Priority::Idle),
    ];
    for op in unknown {
        assert_eq!(refused(op, Notify::None, 0), Some(libc::EOPNOTSUPP));
    }
    // A callback that is never called is dropped.
    let held = Arc::new(());
    let copy = Arc::clone(&held);
    assert!(refused(good(), Notify::Callback(Box::new(move || drop(copy))), 21).is_some());
    assert_eq!(Arc::strong_count(&held), 1);

    bad_descriptors_fail_later(&path, &file, &pool);
    assert_eq!(free_buffers(&pool).len(), 3, "every buffer came back");
}

/// Errors that glibc finds only when it serves a request.
fn bad_descriptors_fail_later(path: &Path, file: &Arc<OwnedFd>, pool: &Pool) {
    let write_only = shared(File::options().write(true).open(path).unwrap());
    let request = start(read(&write_only, pool, 0));
    assert_eq!(suspend(&[&request], LONG).unwrap(), Suspended::Finished);
    assert!(matches!(
        request.status(),
        Status::Failed(error) if error.raw_os_error() == Some(libc::EBADF)
    ));
    assert_eq!(errno(&request.wait()), Some(libc::EBADF));
    let (_reader, writer) = pipe();
    assert_eq!(errno(&start(Op::new(writer, OpKind::Fsync)).wait()), Some(libc::EINVAL));
    let beyond = write(file, pool, b"x", i64::MAX as u64);
    assert_eq!(refused(beyond, Notify::None, 0), Some(libc::EINVAL));
}

#[test]
fn suspend_waits_for_any_of_several_and_for_no_longer_than_asked() {
    let pool = Pool::new(3, 4096).unwrap();
    let pipes = [pipe(), pipe(), pipe()];
    let requests = pipes.each_ref().map(|(reader, _)| start(read(reader, &pool, 0)));
    let all = requests.each_ref();
    for timeout in [Duration::ZERO, Duration::from_millis(100)] {
        let before = Instant::now();
        assert_eq!(suspend(&all, Some(timeout)).unwrap(), Suspended::TimedOut);
        assert!(before.elapsed() >= timeout);
    }
    write_to(&pipes[1].1, b"second");
    assert_eq!(suspend(&all, LONG).unwrap(), Suspended::Finished);
    let over = requests.each_ref().map(|request| matches!(request.status(), Status::Finished));
    assert_eq!(over, [false, true, false]);
    assert_eq!(
        suspend(&[all[0], all[1]], None).unwrap(),
        Suspended::Finished,
        "one has finished already"
    );
    assert_eq!(
        suspend(&[all[0], all[0], all[2]], Some(Duration::ZERO)).unwrap(),
        Suspended::TimedOut
    );
    assert_eq!(suspend(&[], None).unwrap(), Suspended::Finished);
    assert_eq!(suspend(&[], LONG).unwrap(), Suspended::Finished);
    assert_eq!(suspend(&vec![all[1]; LIST_MAX], None).unwrap(), Suspended::Finished);
    assert_eq!(
        suspend(&vec![all[1]; LIST_MAX + 1], None).unwrap_err().raw_os_error(),
        Some(libc::EINVAL)
    );
    write_to(&pipes[0].1, b"first");
    write_to(&pipes[2].1, b"third");
    let texts = requests.map(|request| read_bytes(&request.wait()).to_vec());
    assert_eq!(texts, [&b"first"[..], b"second", b"third"]);
}

/// glibc serves the requests of one descriptor one after the other, and cancels none that runs.
#[cfg(target_env = "gnu")]
#[test]
fn one_request_is_cancelled_or_not_or_over() {
    let pool = Pool::new(3, 4096).unwrap();
    let (reader, writer) = pipe();
    let running = start(read(&reader, &pool, 0));
    until_reading(&reader, 1);
    let behind = start(read(&reader, &pool, 0).tag(5));
    let last = start(read(&reader, &pool, 0));
    assert_eq!(behind.cancel().unwrap(), Cancelled::Cancelled);
    assert!(matches!(behind.status(), Status::Cancelled));
    assert_eq!(behind.cancel().unwrap(), Cancelled::AllDone, "it has finished the second time");
    let done = behind.finish().map_err(drop).unwrap();
    assert_eq!((errno(&done), done.op.tag), (Some(libc::ECANCELED), 5));
    assert_eq!(running.cancel().unwrap(), Cancelled::NotCancelled);
    assert!(matches!(running.status(), Status::InProgress), "it goes on");
    write_to(&writer, b"x");
    let over = suspend(&[&running], LONG).unwrap();
    assert_eq!((over, running.cancel().unwrap()), (Suspended::Finished, Cancelled::AllDone));
    assert_eq!(read_bytes(&running.wait()), b"x");
    write_to(&writer, b"y");
    assert_eq!(read_bytes(&last.wait()), b"y", "the one behind the cancelled one is served");
}

#[cfg(target_env = "gnu")]
#[test]
fn a_whole_descriptor_is_cancelled_but_for_what_runs() {
    let pool = Pool::new(3, 4096).unwrap();
    let (reader, writer) = pipe();
    assert_eq!(cancel_all(&reader).unwrap(), Cancelled::AllDone, "there was no request");
    let running = start(read(&reader, &pool, 0));
    until_reading(&reader, 1);
    let queued = [(); 2].map(|()| start(read(&reader, &pool, 0)));
    assert_eq!(cancel_all(&reader).unwrap(), Cancelled::NotCancelled);
    for request in queued {
        assert_eq!(errno(&request.wait()), Some(libc::ECANCELED));
    }
    write_to(&writer, b"x");
    assert_eq!(read_bytes(&running.wait()), b"x");
    assert_eq!(cancel_all(&reader).unwrap(), Cancelled::AllDone);
}

/// musl has a thread a request, and cancels it.
#[cfg(target_env = "musl")]
#[test]
fn what_runs_is_cancelled_alone_or_with_its_descriptor() {
    let pool = Pool::new(3, 4096).unwrap();
    let (reader, writer) = pipe();
    assert_eq!(cancel_all(&reader).unwrap(), Cancelled::AllDone, "there was no request");
    let [first, second, third] = [5, 6, 7].map(|tag| start(read(&reader, &pool, 0).tag(tag)));
    until_reading(&reader, 3);
    assert_eq!(second.cancel().unwrap(), Cancelled::Cancelled);
    until(|| !matches!(second.status(), Status::InProgress));
    assert!(matches!(second.status(), Status::Cancelled));
    assert_eq!(second.cancel().unwrap(), Cancelled::AllDone, "it has finished the second time");
    let done = second.finish().map_err(drop).unwrap();
    assert_eq!((errno(&done), done.op.tag), (Some(libc::ECANCELED), 6));
    until_reading(&reader, 2);
    assert_eq!(cancel_all(&reader).unwrap(), Cancelled::Cancelled);
    for request in [first, third] {
        assert_eq!(errno(&request.wait()), Some(libc::ECANCELED));
    }
    drop(done);
    let request = start(read(&reader, &pool, 0));
    write_to(&writer, b"x");
    assert_eq!(read_bytes(&request.wait()), b"x");
    assert_eq!(free_buffers(&pool).len(), 3);
}

#[test]
fn the_longest_times_are_waited_for_and_not_over_at_once() {
    let pool = Pool::new(1, 4096).unwrap();
    let seconds = [1 << 30, i32::MAX as u64, 1 << 32, i64::MAX as u64, u64::MAX];
    for time in seconds.map(Duration::from_secs).into_iter().chain([Duration::MAX]) {
        let (reader, writer) = pipe();
        let request = start(read(&reader, &pool, 0));
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| suspend(&[&request], Some(time)).unwrap());
            // A wait that is over at once has this long to show it.
            std::thread::sleep(Duration::from_millis(20));
            write_to(&writer, b"x");
            assert_eq!(waiter.join().unwrap(), Suspended::Finished, "{time:?}");
        });
        assert_eq!(read_bytes(&request.wait()), b"x");
    }
}

#[test]
fn a_request_that_is_dropped_in_progress_gives_its_buffer_back_when_it_ends() {
    let _alone = alone();
    let pool = Pool::new(1, 4096).unwrap();
    let (reader, writer) = pipe();
    assert_eq!(orphans(), 0);
    drop(start(read(&reader, &pool, 0)));
    assert_eq!(orphans(), 1);
    assert!(pool.get().is_none(), "it may still be written into");
    write_to(&writer, b"x");
    until(|| orphans() == 0);
    assert!(pool.get().is_some());
    // A finished request can be dropped without further work.
    let request = start(read(&shared(File::open("/dev/zero").unwrap()), &pool, 0));
    assert_eq!(suspend(&[&request], LONG).unwrap(), Suspended::Finished);
    drop(request);
    assert_eq!((orphans(), free_buffers(&pool).len()), (0, 1));
    // A new request frees those that have finished, even without a call that asks.
    drop(start(read(&reader, &pool, 0)));
    write_to(&writer, b"y");
    until(|| {
        start(Op::new(silent_eventfd(), OpKind::Fsync)).wait();
        pool.get().is_some()
    });
}

#[test]
fn what_is_dropped_in_progress_is_freed_when_it_ends_without_a_call() {
    let _alone = alone();
    const COUNT: usize = 50;
    let pool = Pool::new(COUNT, 4096).unwrap();
    for _ in 0..3 {
        let pipes: Vec<_> = (0..COUNT).map(|_| pipe()).collect();
        let requests: Vec<_> =
            pipes.iter().map(|(reader, _)| start(read(reader, &pool, 0))).collect();
        drop(requests);
        assert!(pool.get().is_none(), "they may still be written into");
        for (_, writer) in &pipes {
            write_to(writer, b"x");
        }
        let mut freed = Vec::new();
        until(|| {
            freed.extend(pool.get());
            freed.len() == COUNT
        });
    }
    // An engine leaves behind what runs, also what it has cancelled.
    let (reader, writer) = pipe();
    let mut engine = Posix::new(3, None);
    for _ in 0..3 {
        engine.queue(read(&reader, &pool, 0)).unwrap();
    }
    engine.submit();
    drop(engine);
    write_to(&writer, &[0; 3 * 4096]);
    let mut freed = Vec::new();
    until(|| {
        freed.extend(pool.get());
        freed.len() == COUNT
    });
    assert_eq!(orphans(), 0);
}

/// Reads on from where the last read ended, and tells of the end of the file.
fn read_on(op: Op, mut text: Vec<u8>, over: mpsc::Sender<(ThreadId, Vec<u8>)>) {
    let next = move |done: Done| {
        let count = *done.result.as_ref().unwrap();
        text.extend_from_slice(read_bytes(&done));
        if count == 0 {
            return over.send((std::thread::current().id(), text)).unwrap();
        }
        let at = done.op.offset_bytes + count as u64;
        read_on(done.op.at(at), text, over);
    };
    Request::start_with(op, next, 0).unwrap();
}

#[test]
fn a_callback_gets_the_completion_and_starts_what_comes_next() {
    let folder = folder();
    let contents = noise(20_000, 3);
    let file = file_with(&folder.path().join("f"), &contents);
    // Each completion is dropped a moment after it was told of.
    let pool = Pool::new(4, 4096).unwrap();
    let (over, is_over) = mpsc::channel();
    read_on(read(&file, &pool, 0), Vec::new(), over);
    let (thread, text) = is_over.recv_timeout(LONG.unwrap()).unwrap();
    assert!(thread != std::thread::current().id() && text == contents);
    // An error is a completion too. Of what is refused the callback is dropped.
    let (tell, told) = mpsc::channel();
    let write_only = shared(File::options().write(true).open("/dev/null").unwrap());
    let teller = tell.clone();
    let op = read(&write_only, &pool, 0).tag(7);
    Request::start_with(op, move |done| teller.send((done.op.tag, errno(&done))).unwrap(), 0)
        .unwrap();
    assert_eq!(told.recv_timeout(LONG.unwrap()).unwrap(), (7, Some(libc::EBADF)));
    let op = read(&file, &pool, 0).tag(8);
    let refused = Request::start_with(op, move |_| tell.send((0, None)).unwrap(), 21).unwrap_err();
    assert_eq!((refused.op.tag, refused.error.raw_os_error()), (8, Some(libc::EINVAL)));
    assert!(told.recv_timeout(LONG.unwrap()).is_err(), "it was dropped with its sender");
    drop(refused);
    // One that panics harms nothing, and what it had is freed.
    Request::start_with(read(&file, &pool, 0), |done| std::panic::resume_unwind(Box::new(done)), 0)
        .unwrap();
    let mut freed = Vec::new();
    until(|| {
        freed.extend(pool.get());
        freed.len() == 4
    });
}

#[test]
fn a_request_that_is_forgotten_keeps_its_buffer_for_ever() {
    let pool = Pool::new(1, 4096).unwrap();
    let (reader, writer) = pipe();
    let request = start(read(&reader, &pool, 0));
    until_reading(&reader, 1);
    std::mem::forget(request);
    write_to(&writer, b"x");
    until(|| threads_reading(&reader) == 0);
    start(Op::new(silent_eventfd(), OpKind::Fsync)).wait();
    assert!(pool.get().is_none());
}

#[test]
fn a_request_can_be_watched_and_finished_from_other_threads() {
    let pool = Pool::new(1, 4096).unwrap();
    let (reader, writer) = pipe();
    let request = start(read(&reader, &pool, 0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(suspend(&[&request], LONG).unwrap(), Suspended::Finished));
            scope.spawn(|| until(|| matches!(request.status(), Status::Finished)));
        }
        write_to(&writer, b"x");
    });
    let done = std::thread::spawn(move || request.wait()).join().unwrap();
    assert_eq!(read_bytes(&done), b"x");
}

/// The outcome at each place: nothing, a count, or an errno.
fn outcomes(requests: Vec<Option<Result<Request, Refused>>>) -> Vec<Option<Result<usize, i32>>> {
    let outcome = |place: Result<Request, Refused>| {
        let done = place.map_or_else(Done::from, Request::wait);
        done.result.map_err(|error| error.raw_os_error().unwrap())
    };
    requests.into_iter().map(|place| place.map(outcome)).collect()
}

fn list_ops(folder: &Path, pool: &Pool) -> Vec<Option<Op>> {
    let path = folder.join("f");
    let file = file_with(&path, &noise(4096, 2));
    let write_only = shared(File::options().write(true).open(&path).unwrap());
    vec![
        None,
        Some(read(&file, pool, 0)),
        Some(write(&write_only, pool, b"tail", 4096)),
        None,
        Some(read(&write_only, pool, 0)),
        Some(Op::new(file.clone(), OpKind::Fsync)),
        Some(read(&file, pool, 1 << 63)),
    ]
}

#[test]
fn a_list_is_carried_out_and_says_which_place_failed() {
    let folder = folder();
    let pool = Pool::new(8, 4096).unwrap();
    let errors = [
        None,
        Some(Ok(4096)),
        Some(Ok(4)),
        None,
        Some(Err(libc::EBADF)),
        Some(Err(libc::EOPNOTSUPP)),
    ];
    let expected = [&errors[..], &[Some(Err(libc::EINVAL))]].concat();
    for wait in [true, false] {
        let ops = list_ops(folder.path(), &pool);
        let listed = if wait { list_and_wait(ops) } else { list_and_go(ops, Notify::None) };
        assert_eq!(listed.outcome.unwrap_err().raw_os_error(), Some(libc::EIO));
        let in_progress = |place: &Result<Request, Refused>| {
            place.as_ref().is_ok_and(|request| matches!(request.status(), Status::InProgress))
        };
        assert!(!wait || !listed.requests.iter().flatten().any(in_progress), "all have finished");
        assert_eq!(outcomes(listed.requests), expected);
    }
    // EIO also covers a list that was queued whole and of which one failed later: only waiting can
    // tell.
    let ops = list_ops(folder.path(), &pool).into_iter().take(5).collect();
    assert_eq!(list_and_wait(ops).outcome.unwrap_err().raw_os_error(), Some(libc::EIO));
    for (take, expected) in [(0, vec![]), (1, vec![None]), (4, errors[..4].to_vec())] {
        let listed = list_and_wait(list_ops(folder.path(), &pool).into_iter().take(take).collect());
        assert!(listed.outcome.is_ok(), "{take}");
        assert_eq!(outcomes(listed.requests), expected);
    }
    until(|| orphans() == 0);
    assert_eq!(free_buffers(&pool).len(), 8);
}

#[test]
fn a_list_has_a_longest_length() {
    let folder = folder();
    let file = file_with(&folder.path().join("f"), b"x");
    let pool = Pool::new(LIST_MAX + 1, 4096).unwrap();
    for (len, fits) in [(LIST_MAX, true), (LIST_MAX + 1, false)] {
        let listed = list_and_wait((0..len).map(|_| Some(read(&file, &pool, 0))).collect());
        assert_eq!(
            listed.outcome.err().and_then(|error| error.raw_os_error()),
            (!fits).then_some(libc::EINVAL)
        );
        let expected = if fits { Ok(1) } else { Err(libc::EINVAL) };
        assert_eq!(outcomes(listed.requests), vec![Some(expected); len]);
    }
    assert_eq!(free_buffers(&pool).len(), LIST_MAX + 1);
}

#[test]
fn what_of_a_list_could_not_be_started_comes_back() {
    let name = "what_of_a_list_could_not_be_started_comes_back";
    if !is_under_strace() {
        if have_strace() {
            // No thread can be made.
            let threads = "clone,?clone3";
            let inject = format!("inject={threads}:error=EAGAIN");
            under_strace(name, &["-e", &format!("trace={threads}"), "-e", &inject]);
        }
        return;
    }
    let pool = Pool::new(3, 4096).unwrap();
    let zeros = shared(File::open("/dev/zero").unwrap());
    for list in [list_and_wait, |ops| list_and_go(ops, Notify::None)] {
        let listed = list((0..3).map(|_| Some(read(&zeros, &pool, 0))).collect());
        assert_eq!(listed.outcome.unwrap_err().raw_os_error(), Some(libc::EAGAIN));
        let requests: Vec<_> = listed.requests.into_iter().flatten().collect();
        assert!(requests.iter().all(Result::is_err), "they are no requests");
        let requests = requests.into_iter().map(Some).collect();
        assert_eq!(outcomes(requests), [Some(Err(libc::EAGAIN)); 3]);
    }
    assert_eq!(free_buffers(&pool).len(), 3);
}

/// Overwrites the stack that earlier calls have used.
#[inline(never)]
fn scribble(depth: usize) -> u8 {
    let bytes = std::hint::black_box([0xa5u8; 4096]);
    if depth == 0 { bytes[7] } else { scribble(depth - 1).wrapping_add(bytes[depth % 4096]) }
}

/// What the C library keeps of a list, after the call and when requests are gone, is its own.
#[test]
fn a_list_is_notified_of_when_its_stack_and_its_requests_are_gone() {
    let pool = Pool::new(4, 4096).unwrap();
    for round in 0..20 {
        let pipes = [pipe(), pipe(), pipe()];
        let ops = pipes.iter().map(|(reader, _)| Some(read(reader, &pool, 0))).collect();
        let (notify, told) = teller();
        let listed = list_and_go(ops, notify);
        assert!(listed.outcome.is_ok());
        std::hint::black_box(scribble(20));
        // The first are finished, and their memory is used again, before the last one ends.
        let mut requests: Vec<_> = listed.requests.into_iter().flatten().flatten().collect();
        let last = requests.pop().unwrap();
        for (request, (_, writer)) in requests.into_iter().zip(&pipes) {
            write_to(writer, b"x");
            assert_eq!(read_bytes(&request.wait()), b"x", "{round}");
        }
        let used_again: Vec<_> = (0..64).map(|n| vec![0xa5u8; 100 + 8 * n]).collect();
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty), "{round}");
        write_to(&pipes[2].1, b"y");
        told.recv_timeout(LONG.unwrap()).unwrap();
        assert_eq!(read_bytes(&last.wait()), b"y", "{round}");
        drop(used_again);
    }
    assert_eq!(free_buffers(&pool).len(), 4);
}

/// A callback that sends its thread's id.
fn teller() -> (Notify, mpsc::Receiver<ThreadId>) {
    let (sender, receiver) = mpsc::channel();
    (
        Notify::Callback(Box::new(move || sender.send(std::thread::current().id()).unwrap())),
        receiver,
    )
}

#[test]
fn a_callback_is_called_once_on_another_thread() {
    let folder = folder();
    let file = file_with(&folder.path().join("f"), b"text");
    let pool = Pool::new(8, 4096).unwrap();
    let (notify, told) = teller();
    let request = Request::start(read(&file, &pool, 0), notify, 0).unwrap();
    assert_ne!(told.recv_timeout(LONG.unwrap()).unwrap(), std::thread::current().id());
    assert!(matches!(request.status(), Status::Finished), "it has finished when the callback runs");
    assert_eq!(read_bytes(&request.wait()), b"text");
    assert!(told.recv_timeout(LONG.unwrap()).is_err(), "the callback was dropped with its sender");
    // Cancelled requests notify too. So does a list: when all of it has finished, and when it is
    // empty.
    let (reader, writer) = pipe();
    let running = start(read(&reader, &pool, 0));
    until_reading(&reader, 1);
    let (notify, told) = teller();
    let queued = Request::start(read(&reader, &pool, 0), notify, 0).unwrap();
    assert_eq!(queued.cancel().unwrap(), Cancelled::Cancelled);
    told.recv_timeout(LONG.unwrap()).unwrap();
    write_to(&writer, b"1");
    assert_eq!(read_bytes(&running.wait()), b"1");
    drop(queued);
    let (notify, told) = teller();
    let listed =
        list_and_go(vec![Some(read(&file, &pool, 0)), None, Some(read(&reader, &pool, 0))], notify);
    assert!(listed.outcome.is_ok());
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "one has not finished");
    write_to(&writer, b"2");
    told.recv_timeout(LONG.unwrap()).unwrap();
    assert_eq!(outcomes(listed.requests), [Some(Ok(4)), None, Some(Ok(1))]);
    let (notify, told) = teller();
    assert!(list_and_go(vec![None, None], notify).outcome.is_ok());
    told.recv_timeout(LONG.unwrap()).unwrap();
}

#[test]
fn a_callback_that_panics_harms_nobody() {
    let pool = Pool::new(1, 4096).unwrap();
    let zeros = shared(File::open("/dev/zero").unwrap());
    for _ in 0..3 {
        let (sender, receiver) = mpsc::channel::<()>();
        let callback = move || {
            let _until_unwound = sender;
            std::panic::resume_unwind(Box::new("a callback's own panic"));
        };
        let notify = Notify::Callback(Box::new(callback));
        let request = Request::start(read(&zeros, &pool, 0), notify, 0).unwrap();
        assert_eq!(
            receiver.recv_timeout(LONG.unwrap()),
            Err(mpsc::RecvTimeoutError::Disconnected),
            "it was unwound"
        );
        assert_eq!(read_bytes(&request.wait()).len(), 4096);
    }
}

#[cfg(target_env = "gnu")]
#[test]
fn one_descriptor_has_one_thread() {
    let pool = Pool::new(8, 4096).unwrap();
    let (reader, writer) = pipe();
    let requests = [(); 8].map(|()| start(read(&reader, &pool, 0)));
    until_reading(&reader, 1);
    for request in &requests[1..] {
        assert_eq!(request.cancel().unwrap(), Cancelled::Cancelled, "it had no thread");
    }
    assert_eq!(requests[0].cancel().unwrap(), Cancelled::NotCancelled);
    write_to(&writer, b"x");
    drop(requests.map(Request::wait));
}

#[test]
fn the_engine_has_a_thread_an_operation() {
    let _alone = alone();
    let pool = Pool::new(8, 4096).unwrap();
    let (reader, writer) = pipe();
    let mut engine = Posix::new(8, None);
    let mut done = Vec::new();
    for tag in 0..8 {
        engine.queue(read(&reader, &pool, 0).tag(tag)).unwrap();
    }
    let Full(back) =
        engine.queue(Op::new(reader.clone(), OpKind::Fsync).tag(8)).expect_err("it is full");
    assert_eq!((back.tag, engine.submit().accepted, engine.in_flight()), (8, 8, 8));
    until_reading(&reader, 8);
    assert_eq!(engine.reap(1, Some(Duration::from_millis(20)), &mut done).unwrap(), 0);
    write_to(&writer, &[0; 8 * 4096]);
    while engine.in_flight() > 0 {
        engine.reap(3, None, &mut done).unwrap();
    }
    each_once(&done, 8);
    assert!(
        done.iter().all(|done| done.op.file.as_raw_fd() == reader.as_raw_fd()),
        "with their own descriptor"
    );
    done.clear();

    // A refused operation comes back like the others.
    engine.queue(read(&reader, &pool, 1 << 63).tag(0)).unwrap();
    assert_eq!(engine.submit().refused, 1);
    assert_eq!(
        (engine.reap(1, None, &mut done).unwrap(), errno(&done[0])),
        (1, Some(libc::EINVAL))
    );
    done.clear();
    // What runs when the engine is dropped ends by itself; musl cancels it.
    engine.queue(read(&reader, &pool, 0)).unwrap();
    engine.submit();
    until_reading(&reader, 1);
    drop(engine);
    if cfg!(target_env = "gnu") {
        assert_eq!((orphans(), free_buffers(&pool).len()), (1, 7));
    }
    write_to(&writer, b"x");
    until(|| orphans() == 0);
    assert_eq!(free_buffers(&pool).len(), 8);
}
