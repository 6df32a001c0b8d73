//! A kernel context that several threads use at once.

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::aio::*;
use common::*;
use linux_aio::kernel::{Cancel, Handle, HandleCallback};
use linux_aio::{Done, Op, OpKind, PollFlags, Pool, Submitted};

fn zeros() -> Arc<OwnedFd> {
    shared(File::open("/dev/zero").unwrap())
}

fn poll(file: &Arc<OwnedFd>) -> Op {
    Op::new(Arc::clone(file), OpKind::Poll(PollFlags::IN))
}

/// Waits for `min` operations on a thread of its own.
fn waiter(handle: &Handle, min: usize) -> thread::JoinHandle<Vec<Done>> {
    let handle = handle.clone();
    thread::spawn(move || {
        let mut done = Vec::new();
        handle.reap(min, None, &mut done).unwrap();
        done
    })
}

#[test]
fn one_thread_waits_for_what_another_one_submits_later() {
    fn is_shared<T: Clone + Send + Sync>(_: &T) {}
    let pool = Pool::new(3, 4096).unwrap();
    let zeros = zeros();
    let handle = Handle::new(3).unwrap();
    is_shared(&handle);
    assert_eq!((handle.capacity(), handle.in_flight()), (3, 0));
    for round in 0..50 {
        let waiter = waiter(&handle, 3);
        // In some rounds it waits before there is anything in flight.
        if round % 2 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        for tag in 0..3 {
            handle.queue(read(&zeros, &pool, 0).tag(tag)).unwrap();
            assert_eq!(handle.submit(), Submitted::default().accepted(1));
        }
        let done = waiter.join().unwrap();
        each_once(&done, 3);
        assert!(done.iter().all(|done| read_bytes(done) == [0; 4096]));
    }
    for tag in 0..3 {
        handle.queue(read(&zeros, &pool, 0).tag(tag)).unwrap();
    }
    let full = handle.queue(Op::new(zeros.clone(), OpKind::Fsync).tag(9)).unwrap_err();
    assert_eq!((full.0.tag, handle.in_flight()), (9, 3));
}

#[test]
fn a_wait_ends_with_what_another_thread_withdraws_or_the_kernel_refuses() {
    let pool = Pool::new(2, 4096).unwrap();
    let write_only = shared(File::create("/dev/null").unwrap());
    let never = silent_eventfd();
    let handle = Handle::new(3).unwrap();
    for round in 0..50 {
        let pause = || thread::sleep(Duration::from_millis(round % 2));
        handle.queue(poll(&never)).unwrap();
        handle.submit();
        let first = waiter(&handle, 1);
        pause();
        let ticket = handle.queue(read(&write_only, &pool, 0)).unwrap();
        assert_eq!(handle.cancel(ticket).unwrap(), Cancel::Withdrawn);
        assert_eq!(errno(&first.join().unwrap()[0]), Some(libc::ECANCELED));
        let second = waiter(&handle, 1);
        pause();
        handle.queue(read(&write_only, &pool, 0)).unwrap();
        assert_eq!(handle.submit(), Submitted::default().refused(1));
        assert_eq!(errno(&second.join().unwrap()[0]), Some(libc::EBADF));
        // The poll is still there, until it is taken.
        write_to(&never, &1u64.to_ne_bytes());
        assert!(waiter(&handle, 1).join().unwrap()[0].result.is_ok());
        assert_eq!((take_count(&never), handle.in_flight()), (1, 0));
    }
}

#[test]
fn waking_ends_one_wait_the_present_one_or_the_next() {
    let handle = Handle::new(1).unwrap();
    let mut done = Vec::new();
    for round in 0..50 {
        handle.wake();
        handle.wake();
        assert_eq!(handle.reap(0, None, &mut done).unwrap(), 0, "a look is no wait");
        assert_eq!(handle.reap(1, None, &mut done).unwrap(), 0);
        let short = Duration::from_millis(5);
        let before = Instant::now();
        assert_eq!(handle.reap(1, Some(short), &mut done).unwrap(), 0);
        assert!(before.elapsed() >= short, "only one");
        let waiters = [waiter(&handle, 1), waiter(&handle, 1)];
        thread::sleep(Duration::from_millis(round % 2));
        // As many wakes as waits, each when the one before has shown.
        handle.wake();
        while !waiters.iter().any(thread::JoinHandle::is_finished) {
            thread::yield_now();
        }
        handle.wake();
        for waiter in waiters {
            assert!(waiter.join().unwrap().is_empty());
        }
    }
}

/// Submits on a thread of its own, and returns when io_submit(2) waits there: for a pipe's bytes.
fn blocked_submit(handle: &Handle) -> thread::JoinHandle<Submitted> {
    let (sender, thread_folder) = mpsc::channel();
    let submitting = thread::spawn({
        let handle = handle.clone();
        move || {
            sender.send(std::fs::read_link("/proc/thread-self").unwrap()).unwrap();
            handle.submit()
        }
    });
    let call = Path::new("/proc").join(thread_folder.recv().unwrap()).join("syscall");
    let number = format!("{} ", libc::SYS_io_submit);
    while !std::fs::read_to_string(&call).unwrap_or_default().starts_with(&number) {
        thread::yield_now();
    }
    submitting
}

#[test]
fn what_another_thread_is_handing_over_can_be_cancelled() {
    let pool = Pool::new(1, 4096).unwrap();
    let (reader, writer) = pipe();
    let handle = Handle::new(3).unwrap();
    for round in 0..20 {
        handle.queue(read(&reader, &pool, 0).tag(0)).unwrap();
        let ticket = handle.queue(poll(&silent_eventfd()).tag(1)).unwrap();
        let blocked = blocked_submit(&handle);
        // The kernel gets to the poll when it is done with the read.
        for _ in 0..=round % 2 {
            assert_eq!(handle.cancel(ticket).unwrap(), Cancel::Deferred);
        }
        write_to(&writer, b"x");
        assert_eq!(blocked.join().unwrap(), Submitted::default().accepted(2));
        let mut done = Vec::new();
        assert_eq!(handle.reap(2, None, &mut done).unwrap(), 2);
        each_once(&done, 2);
        let poll = done.iter().find(|done| done.op.tag == 1).unwrap();
        assert_eq!(poll.ready(), Some(PollFlags::empty()));
        assert_eq!(handle.cancel(ticket).unwrap(), Cancel::Unknown);
    }
}

#[test]
fn a_submit_that_blocks_holds_no_other_thread_up() {
    let pool = Pool::new(3, 4096).unwrap();
    let (reader, writer) = pipe();
    let handle = Handle::new(3).unwrap();
    handle.queue(read(&reader, &pool, 0).tag(1)).unwrap();
    let blocked = blocked_submit(&handle);
    let mut done = Vec::new();
    handle.queue(read(&zeros(), &pool, 0).tag(0)).unwrap();
    assert_eq!(handle.submit().accepted, 1);
    assert_eq!(handle.reap(1, None, &mut done).unwrap(), 1);
    assert_eq!((done[0].op.tag, handle.in_flight()), (0, 1));
    handle.queue(Op::write(writer, filled(&pool, b"x"), 0).tag(2)).unwrap();
    assert_eq!(handle.submit().accepted, 1);
    while done.len() < 3 {
        handle.reap(1, None, &mut done).unwrap();
    }
    each_once(&done, 3);
    assert_eq!(blocked.join().unwrap().accepted, 1);
}

/// Reads the next block into the same buffer, until the file ends, and counts the calls.
fn read_on(bytes: Arc<Mutex<Vec<u8>>>, is_over: mpsc::Sender<()>) -> HandleCallback {
    Box::new(move |handle, done| {
        let count = *done.result.as_ref().unwrap();
        bytes.lock().unwrap().extend_from_slice(read_bytes(&done));
        if count == 0 {
            return is_over.send(()).unwrap();
        }
        let at = done.op.offset_bytes + count as u64;
        handle.queue_with(done.op.at(at), read_on(bytes, is_over)).expect("there is room");
        // Another thread may have submitted it already.
        handle.submit();
    })
}

#[test]
fn callbacks_go_on_by_themselves_while_threads_run_them() {
    let folder = folder();
    let contents = noise(200_000, 1);
    let file = file_with(&folder.path().join("f"), &contents);
    let pool = Pool::new(4, 4096).unwrap();
    let handle = Handle::new(4).unwrap();
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !ends.load(Ordering::SeqCst) {
                    handle.run(1, Some(Duration::from_millis(20))).unwrap();
                }
            });
        }
        let texts: Vec<_> = (0..4).map(|_| Arc::new(Mutex::new(Vec::new()))).collect();
        let (over, is_over) = mpsc::channel();
        for text in &texts {
            let callback = read_on(Arc::clone(text), over.clone());
            handle.queue_with(read(&file, &pool, 0), callback).unwrap();
        }
        handle.submit();
        for _ in &texts {
            is_over.recv().unwrap();
        }
        assert!(texts.iter().all(|text| *text.lock().unwrap() == contents));
        ends.store(true, Ordering::SeqCst);
    });
    assert_eq!((handle.in_flight(), free_buffers(&pool).len()), (0, 4));
}

#[test]
fn each_operation_comes_back_once_to_one_of_many_threads() {
    const THREADS: usize = 3;
    const EACH: usize = 1500;
    let null = shared(File::create("/dev/null").unwrap());
    let handle = Handle::new(16).unwrap();
    let taken = AtomicUsize::new(0);
    let tags = Mutex::new(BTreeSet::new());
    let (handle, null, taken, seen) = (&handle, &null, &taken, &tags);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread as u64);
                for n in 0..EACH {
                    // Some are refused, some are impossible, and some are withdrawn.
                    let (kind, at) = match random.usize(..5) {
                        0 => (OpKind::Fsync, 1),
                        1 => (OpKind::Fsync, 1 << 63),
                        _ => (OpKind::WriteVectored(Vec::new()), 0),
                    };
                    let tag = (thread * EACH + n) as u64;
                    let mut op = Op::new(Arc::clone(null), kind).at(at).tag(tag);
                    let ticket = loop {
                        match handle.queue(op) {
                            Ok(ticket) => break ticket,
                            Err(full) => op = full.0,
                        }
                        handle.submit();
                        thread::yield_now();
                    };
                    match random.usize(..4) {
                        0 => drop(handle.cancel(ticket).unwrap()),
                        1 => {}
                        _ => drop(handle.submit()),
                    }
                }
                handle.submit();
            });
            scope.spawn(move || {
                while taken.load(Ordering::SeqCst) < THREADS * EACH {
                    let mut done = Vec::new();
                    // The last ones may be another thread's.
                    let count = handle.reap(1, Some(Duration::from_millis(20)), &mut done).unwrap();
                    taken.fetch_add(count, Ordering::SeqCst);
                    let mut seen = seen.lock().unwrap();
                    assert!(done.into_iter().all(|done| seen.insert(done.op.tag)), "once");
                }
            });
        }
    });
    assert!(tags.into_inner().unwrap().into_iter().eq(0..(THREADS * EACH) as u64));
    assert_eq!(handle.in_flight(), 0);
}

#[test]
fn the_last_handle_gives_the_buffers_back() {
    let folder = folder();
    let path = folder.path().join("f");
    std::fs::write(&path, noise(64 * 4096, 2)).unwrap();
    let file = cold(&path);
    let pool = Pool::new(64, 4096).unwrap();
    let handle = Handle::new(65).unwrap();
    for n in 0..64 {
        handle.queue(read(&file, &pool, n * 4096)).unwrap();
    }
    handle.queue(poll(&silent_eventfd())).unwrap();
    assert_eq!(handle.submit().accepted, 65);
    let clone = handle.clone();
    drop(handle);
    assert!(pool.get().is_none());
    thread::spawn(move || drop(clone)).join().unwrap();
    assert_eq!(free_buffers(&pool).len(), 64);
}

#[test]
fn no_more_is_taken_than_was_asked_for() {
    let zeros = zeros();
    let pool = Pool::new(3, 4096).unwrap();
    let handle = Handle::new(3).unwrap();
    let mut done = Vec::new();
    let invalid = handle.reap_up_to(2, 1, None, &mut done).unwrap_err();
    assert_eq!(invalid.raw_os_error(), Some(libc::EINVAL));
    for tag in 0..3 {
        handle.queue(read(&zeros, &pool, 0).tag(tag)).unwrap();
    }
    assert_eq!(handle.submit_and_reap(0, None, &mut Vec::new()).unwrap(), 3);
    for tag in 0..3 {
        handle.queue(read(&zeros, &pool, 0).tag(tag)).unwrap();
    }
    handle.submit();
    assert_eq!(handle.reap_up_to(0, 0, None, &mut done).unwrap(), 0);
    assert_eq!(handle.reap_up_to(1, 2, None, &mut done).unwrap(), 2);
    assert_eq!(handle.in_flight(), 1);
    assert_eq!(handle.reap_up_to(1, 2, None, &mut done).unwrap(), 1);
    each_once(&done, 3);
}

#[test]
fn closing_the_last_handle_hands_back_all_that_is_in_it() {
    let pool = Pool::new(2, 4096).unwrap();
    let write_only = shared(File::create("/dev/null").unwrap());
    let callback = || -> HandleCallback { Box::new(|_, _| panic!("it is handed back")) };
    for round in 0..20 {
        let handle = Handle::new(6).unwrap();
        let clone = handle.clone();
        handle.queue(read(&zeros(), &pool, 0).tag(0)).unwrap();
        handle.queue(poll(&silent_eventfd()).tag(1)).unwrap();
        handle.queue_with(poll(&silent_eventfd()).tag(2), callback()).unwrap();
        handle.queue(Op::read(write_only.clone(), vec![0; 10], 0).tag(3)).unwrap();
        assert_eq!(handle.submit(), Submitted::default().accepted(3).refused(1));
        handle.queue(read(&zeros(), &pool, 0).tag(4)).unwrap();
        handle.queue_with(poll(&silent_eventfd()).tag(5), callback()).unwrap();
        // In some rounds something was taken off the ring before.
        if round % 2 == 0 {
            assert_eq!(handle.run(0, None).unwrap(), 0);
        }
        assert!(handle.close().unwrap().is_none(), "a clone has it");
        assert_eq!(clone.in_flight(), 6);
        let mut done = clone.close().unwrap().unwrap();
        each_once(&done, 6);
        done.sort_unstable_by_key(|done| done.op.tag);
        assert_eq!(read_bytes(&done[0]), [0; 4096]);
        let empty = Some(PollFlags::empty());
        assert_eq!((done[1].ready(), done[2].ready()), (empty, empty));
        let errnos: Vec<_> = done[3..].iter().map(errno).collect();
        assert_eq!(errnos, [libc::EBADF, libc::ECANCELED, libc::ECANCELED].map(Some));
        drop(done);
        assert_eq!(free_buffers(&pool).len(), 2);
    }
}
