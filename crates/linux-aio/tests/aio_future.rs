//! Operations that are awaited.
#![cfg(feature = "async")]

mod common;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::aio::*;
use common::future::*;
use common::*;
use linux_aio::future::{AsyncHandle, Driver, Operation, PollableDriver};
use linux_aio::{Buffer, Op, PARTS_MAX, PollFlags, Pool, ReadWriteFlags, SharedBuffer};

fn zeros() -> Arc<OwnedFd> {
    shared(File::open("/dev/zero").unwrap())
}

/// A poll of what is never readable.
fn never(handle: &AsyncHandle) -> Operation<io::Result<PollFlags>> {
    handle.poll(silent_eventfd(), PollFlags::IN)
}

fn code<T>(result: &io::Result<T>) -> Option<i32> {
    result.as_ref().err().and_then(io::Error::raw_os_error)
}

#[test]
fn each_kind_of_operation_gives_its_buffer_back_and_says_how_it_ended() {
    let folder = folder();
    let pool = Pool::new(2, 8192).unwrap();
    for mut driver in drivers(3) {
        let file = file_with(&folder.path().join("f"), b"");
        let handle = driver.handle();
        driver.block_on(async {
            let (result, text) = handle.write(&file, b"some ".to_vec(), 0).await;
            assert_eq!((result.unwrap(), text), (5, b"some ".to_vec()));
            let texts = vec![&b"more "[..], b"", b"text"];
            let (result, texts) = handle.write_vectored(&file, texts, 5).await;
            assert_eq!((result.unwrap(), texts.concat()), (9, b"more text".to_vec()));
            assert_eq!(handle.fdatasync(&file).await.unwrap(), ());
            assert_eq!(handle.fsync(&file).await.unwrap(), ());
            let (result, bytes) = handle.read(&file, vec![7; 10], 5).await;
            assert_eq!((result.unwrap(), bytes), (9, b"more text\x07".to_vec()));
            let buffers = vec![vec![7; 2].into_boxed_slice(), vec![7; 5].into()];
            let (result, buffers) = handle.read_vectored(&file, buffers, 1).await;
            assert_eq!((result.unwrap(), buffers.concat()), (7, b"ome mor".to_vec()));
            let (result, buffer) = handle.read(&file, pool.get().unwrap(), 0).await;
            assert_eq!((result.unwrap(), &buffer[..14]), (14, &b"some more text"[..]));
            let (result, shared) = handle.write(&file, buffer.freeze(), 1).await;
            assert_eq!((result.unwrap(), shared.len()), (8192, 8192));
            assert!(SharedBuffer::thaw(shared).is_ok(), "there is no other hold");
            // A part of a pool's buffer is the same part again, though another one is in use.
            let mut rest = pool.get().unwrap();
            let first: Buffer = rest.split_to(4096).unwrap();
            let (result, first) = handle.write(&file, first, 0).await;
            assert_eq!((result.unwrap(), first.len(), rest.len()), (4096, 4096, 4096));
            let (result, parts) = handle.write_vectored(&file, vec![first, rest], 0).await;
            assert_eq!((result.unwrap(), parts.len(), parts[1].len()), (8192, 2, 4096));
            let (reader, writer) = pipe();
            write_to(&writer, b"x");
            let ready = handle.poll(&reader, PollFlags::IN | PollFlags::PRI).await.unwrap();
            assert!(ready.contains(PollFlags::IN) && !ready.contains(PollFlags::PRI));
            let event = silent_eventfd();
            let op = Op::read(&reader, vec![0; 9], 0).tag(u64::MAX).eventfd(event.clone());
            let done = handle.op(op).await;
            assert_eq!((done.bytes(), done.op.tag), (Some(&b"x"[..]), u64::MAX));
            assert!(done.op.eventfd.is_some_and(|eventfd| Arc::ptr_eq(&eventfd, &event)));
            assert_eq!(take_count(&event), 1);
        });
        assert_eq!(free_buffers(&pool).len(), 2);
    }
}

#[test]
fn an_error_gives_the_buffer_back() {
    let write_only = shared(File::create("/dev/null").unwrap());
    for mut driver in drivers(2) {
        let handle = driver.handle();
        driver.block_on(async {
            let (result, buffer) = handle.read(&write_only, vec![7; 3], 0).await;
            assert_eq!((code(&result), buffer), (Some(libc::EBADF), vec![7; 3]));
            let (result, buffer) = handle.write(&write_only, vec![7; 3], u64::MAX).await;
            assert_eq!((code(&result), buffer), (Some(libc::EINVAL), vec![7; 3]));
            let texts = vec![&b"x"[..]; PARTS_MAX + 1];
            let (result, texts) = handle.write_vectored(&write_only, texts, 0).await;
            assert_eq!((code(&result), texts.len()), (Some(libc::EINVAL), PARTS_MAX + 1));
            let unknown = ReadWriteFlags::from_bits_retain(1 << 30);
            let done = handle.op(Op::read(zeros(), vec![7; 3], 0).flags(unknown)).await;
            assert_eq!(errno(&done), Some(libc::EOPNOTSUPP));
            assert_eq!(done.into_buffer::<Vec<u8>>().unwrap(), [7; 3]);
            let (reader, _writer) = pipe();
            assert_eq!(code(&handle.fsync(&reader).await), Some(libc::EINVAL));
        });
    }
}

#[test]
fn what_is_dropped_before_it_has_a_place_has_never_been() {
    let pool = Pool::new(2, 4096).unwrap();
    let (reader, writer) = pipe();
    for mut driver in drivers(1) {
        let handle = driver.handle();
        drop(handle.read(zeros(), pool.get().unwrap(), 0));
        let write = |text: &'static [u8]| handle.write(&writer, text, 0);
        let mut first = never(&handle);
        begin(&mut first);
        driver.look();
        let mut dropped = write(b"x");
        begin(&mut dropped);
        let mut read = handle.read(zeros(), pool.get().unwrap(), 0);
        begin(&mut read);
        let mut kept = write(b"y");
        begin(&mut kept);
        drop(dropped);
        assert_eq!(free_buffers(&pool).len(), 1);
        drop(read);
        assert_eq!(free_buffers(&pool).len(), 2, "its buffer is free at once");
        // A poll that is dropped gives its place free.
        drop(first);
        assert_eq!(driver.block_on(kept).0.unwrap(), 1);
        let mut bytes = [0; 9];
        assert_eq!(rustix::io::read(&*reader, &mut bytes), Ok(1));
        assert_eq!(bytes[0], b'y');
    }
}

#[test]
fn what_is_dropped_in_flight_gives_its_buffer_back_when_the_kernel_does() {
    let folder = folder();
    let path = folder.path().join("f");
    let contents = noise(32 << 12, 1);
    std::fs::write(&path, &contents).unwrap();
    let pool = Pool::new(32, 4096).unwrap();
    for mut driver in drivers(32) {
        for round in 0..30 {
            let (file, handle) = (cold(&path), driver.handle());
            let read = |n: u64| handle.read(&file, pool.get().unwrap(), n << 12);
            let mut reads: Vec<_> = (0..32).map(read).collect();
            reads.iter_mut().for_each(begin);
            if round % 2 == 0 {
                driver.look();
            }
            let mut random = fastrand::Rng::with_seed(round);
            let mut kept = Vec::new();
            for (n, read) in reads.into_iter().enumerate() {
                if random.bool() {
                    kept.push((n, read));
                }
            }
            for (n, read) in kept {
                let (result, buffer) = driver.block_on(read);
                assert_eq!(result.unwrap(), 4096);
                assert!(buffer[..] == contents[n << 12..][..4096], "block {n}");
            }
            let mut free = free_buffers(&pool);
            while free.len() < 32 {
                driver.turn();
                free.extend(free_buffers(&pool));
            }
        }
    }
}

#[test]
fn what_is_dropped_when_it_is_over_gives_its_buffer_back_at_once() {
    let pool = Pool::new(1, 4096).unwrap();
    for mut driver in drivers(1) {
        let (count, waker) = Count::new();
        let mut read = driver.handle().read(zeros(), pool.get().unwrap(), 0);
        assert!(poll_with(&mut read, &waker).is_pending());
        assert_eq!(driver.turn(), 1);
        assert_eq!((count.get(), free_buffers(&pool).len()), (1, 0));
        drop(read);
        assert_eq!(free_buffers(&pool).len(), 1);
        assert_eq!(Arc::strong_count(&count), 2, "the waker and this");
    }
}

#[test]
fn more_futures_than_places_have_their_turn_in_the_order_of_their_arrival() {
    let (reader, writer) = pipe();
    for mut driver in drivers(3) {
        let handle = driver.handle();
        let write = |n: u8| handle.write(&writer, vec![n], 0);
        let written = driver.block_on(all((0..200).map(write).collect()));
        assert!(written.iter().all(|(result, _)| matches!(result, Ok(1))));
        let mut bytes = [0; 300];
        assert_eq!(rustix::io::read(&*reader, &mut bytes), Ok(200));
        assert!(bytes[..200].iter().copied().eq(0..200));
    }
}

#[test]
fn the_last_task_that_polled_is_woken_and_no_other() {
    for mut driver in drivers(1) {
        let (reader, writer) = pipe();
        let (first, second, third) = (Count::new(), Count::new(), Count::new());
        let mut poll = driver.handle().poll(&reader, PollFlags::IN);
        assert!(poll_with(&mut poll, &first.1).is_pending());
        assert!(poll_with(&mut poll, &second.1).is_pending());
        driver.look();
        assert!(poll_with(&mut poll, &third.1).is_pending());
        assert!(poll_with(&mut poll, &third.1).is_pending());
        write_to(&writer, b"x");
        while driver.turn() == 0 {}
        assert_eq!([first.0.get(), second.0.get(), third.0.get()], [0, 0, 1]);
        let Poll::Ready(ready) = poll_with(&mut poll, &first.1) else { panic!("it is over") };
        assert!(ready.unwrap().contains(PollFlags::IN));
        let again = catch_unwind(AssertUnwindSafe(|| poll_with(&mut poll, &first.1).is_ready()));
        assert!(again.is_err(), "it is awaited once");
    }
}

#[test]
fn without_a_driver_all_that_wait_end() {
    let pool = Pool::new(3, 4096).unwrap();
    for mut driver in drivers(2) {
        let handle = driver.handle();
        let (count, waker) = Count::new();
        let mut polls = [never(&handle), never(&handle)];
        polls.iter_mut().for_each(|poll| assert!(poll_with(poll, &waker).is_pending()));
        driver.look();
        let mut read = handle.read(zeros(), pool.get().unwrap(), 0);
        assert!(poll_with(&mut read, &waker).is_pending());
        let mut unpolled = handle.read(zeros(), pool.get().unwrap(), 0);
        let mut abandoned = handle.read(zeros(), pool.get().unwrap(), 0);
        begin(&mut abandoned);
        drop(abandoned);
        drop(driver);
        assert_eq!(count.get(), 3);
        for mut poll in polls {
            let Poll::Ready(found) = poll_with(&mut poll, &waker) else { panic!("it is over") };
            assert!(found.is_ok_and(|found| found.is_empty()), "the kernel cancelled it");
        }
        for read in [&mut read, &mut unpolled] {
            let Poll::Ready((result, buffer)) = poll_with(read, &waker) else {
                panic!("it is over")
            };
            assert_eq!((code(&result), buffer.len()), (Some(libc::ECANCELED), 4096));
        }
        assert_eq!(free_buffers(&pool).len(), 3);
    }
}

#[test]
fn what_the_kernel_has_when_the_driver_goes_says_what_came_of_it() {
    let folder = folder();
    let path = folder.path().join("f");
    std::fs::write(&path, noise(16 << 12, 1)).unwrap();
    for mut driver in drivers(16) {
        let (file, handle) = (cold(&path), driver.handle());
        let pool = Pool::new(16, 4096).unwrap();
        let read = |n: u64| handle.read(&file, pool.get().unwrap(), n << 12);
        let mut reads: Vec<_> = (0..16).map(read).collect();
        reads.iter_mut().for_each(begin);
        driver.look();
        drop(driver);
        for (n, mut read) in reads.into_iter().enumerate() {
            let Poll::Ready((result, buffer)) = poll_with(&mut read, Waker::noop()) else {
                panic!("it is over")
            };
            assert_eq!(result.unwrap(), 4096);
            assert!(buffer[..] == noise(16 << 12, 1)[n << 12..][..4096], "block {n}");
        }
    }
}

#[test]
fn cancelled_it_ends_and_says_so() {
    for mut driver in drivers(1) {
        let handle = driver.handle();
        let mut unpolled = handle.read(zeros(), vec![7], 0);
        unpolled.cancel();
        let (result, buffer) = driver.block_on(unpolled);
        assert_eq!((code(&result), buffer), (Some(libc::ECANCELED), vec![7]));
        let mut running = never(&handle);
        begin(&mut running);
        driver.look();
        let (count, waker) = Count::new();
        let mut waiting = handle.read(zeros(), vec![7], 0);
        assert!(poll_with(&mut waiting, &waker).is_pending());
        waiting.cancel();
        assert_eq!(count.get(), 1);
        waiting.cancel();
        let (result, buffer) = driver.block_on(waiting);
        assert_eq!((code(&result), buffer), (Some(libc::ECANCELED), vec![7]));
        running.cancel();
        running.cancel();
        assert!(driver.block_on(running).is_ok_and(|found| found.is_empty()));
        // Its place is free, and its number names another one now.
        assert_eq!(driver.block_on(handle.read(zeros(), vec![7], 0)).0.unwrap(), 1);
    }
}

#[test]
fn a_panic_in_a_waker_loses_no_other() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("as wakers may");
        }
    }
    for mut driver in drivers(3) {
        let handle = driver.handle();
        let (count, waker) = Count::new();
        let read = || handle.read(zeros(), vec![7], 0);
        let mut reads = [read(), read(), read()];
        let wakers = [waker.clone(), Waker::from(Arc::new(Panics)), waker];
        for (read, waker) in reads.iter_mut().zip(&wakers) {
            assert!(poll_with(read, waker).is_pending());
        }
        assert!(catch_unwind(AssertUnwindSafe(|| driver.turn())).is_err());
        assert_eq!(count.get(), 2);
        for read in reads {
            assert_eq!(driver.block_on(read).0.unwrap(), 1);
        }
    }
}

/// A future that another thread makes ready.
fn told_by_a_thread() -> impl Future<Output = u32> {
    let (told, has_told) = mpsc::channel();
    let mut waker = None;
    std::future::poll_fn(move |cx| match (has_told.try_recv(), &waker) {
        (Ok(value), _) => Poll::Ready(value),
        (Err(_), None) => {
            let mine = waker.insert(cx.waker().clone()).clone();
            let told = told.clone();
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(5));
                told.send(5).unwrap();
                mine.wake();
            });
            Poll::Pending
        }
        (Err(_), Some(_)) => Poll::Pending,
    })
}

#[test]
fn a_wait_ends_with_what_another_thread_does() {
    for mut driver in drivers(2) {
        let handle = driver.handle();
        for _ in 0..10 {
            assert_eq!(driver.block_on(told_by_a_thread()), 5);
            // Another thread's operation, while this one waits for what never comes.
            let has_read = Arc::new(AtomicBool::new(false));
            let other = thread::spawn({
                let (handle, has_read) = (handle.clone(), Arc::clone(&has_read));
                move || {
                    let mut executor = Driver::new(1).unwrap();
                    let read = handle.read(zeros(), vec![7], 0);
                    let (result, buffer) = executor.block_on(read).unwrap();
                    has_read.store(true, Ordering::SeqCst);
                    handle.wake();
                    (result.unwrap(), buffer)
                }
            });
            let mut poll = never(&handle);
            begin(&mut poll);
            while !has_read.load(Ordering::SeqCst) {
                driver.turn();
            }
            assert_eq!(other.join().unwrap(), (1, vec![0]));
        }
    }
}

#[test]
fn a_waits_time_is_kept_and_waking_ends_one() {
    let mut driver = Driver::new(1).unwrap();
    let handle = driver.handle();
    let short = Duration::from_millis(5);
    let before = Instant::now();
    assert_eq!(driver.turn(Some(short)).unwrap(), 0);
    assert!(before.elapsed() >= short);
    for _ in 0..50 {
        handle.wake();
        handle.wake();
        assert_eq!(driver.turn(None).unwrap(), 0);
        let before = Instant::now();
        assert_eq!(driver.turn(Some(short)).unwrap(), 0);
        assert!(before.elapsed() >= short, "only one");
        let waker = thread::spawn({
            let handle = handle.clone();
            move || handle.wake()
        });
        assert_eq!(driver.turn(None).unwrap(), 0);
        waker.join().unwrap();
    }
}

/// Turns until so many operations are over, and then until it is unreadable: a signal may come a
/// moment after what it is for, and then says so once too often.
fn settle(driver: &mut PollableDriver, mut count: usize) {
    while count > 0 {
        assert!(is_readable(driver, None));
        count -= driver.turn().unwrap();
    }
    while is_readable(driver, NOW) {
        assert_eq!(driver.turn().unwrap(), 0);
    }
}

#[test]
fn it_is_readable_when_there_is_something_to_do() {
    let mut driver = PollableDriver::new(2).unwrap();
    let handle = driver.handle();
    let (reader, writer) = pipe();
    for _ in 0..50 {
        let mut poll = handle.poll(&reader, PollFlags::IN);
        begin(&mut poll);
        assert!(is_readable(&driver, NOW), "one is queued");
        settle(&mut driver, 0);
        write_to(&writer, b"x");
        settle(&mut driver, 1);
        assert!(poll_with(&mut poll, Waker::noop()).is_ready());
        let event = silent_eventfd();
        let mut read = handle.op(Op::read(&reader, vec![0; 9], 0).eventfd(event.clone()));
        begin(&mut read);
        settle(&mut driver, 1);
        assert!(poll_with(&mut read, Waker::noop()).is_ready());
        assert_eq!(take_count(&event), 1);
        handle.wake();
        assert!(is_readable(&driver, NOW));
        settle(&mut driver, 0);
        let mut poll = never(&handle);
        begin(&mut poll);
        settle(&mut driver, 0);
        drop(poll);
        assert!(is_readable(&driver, NOW), "one is to be cancelled");
        settle(&mut driver, 1);
        let mut polls = [never(&handle), never(&handle)];
        polls.iter_mut().for_each(begin);
        settle(&mut driver, 0);
        let mut third = handle.read(zeros(), vec![7], 0);
        begin(&mut third);
        settle(&mut driver, 0);
        drop(polls);
        settle(&mut driver, 3);
        assert!(poll_with(&mut third, Waker::noop()).is_ready());
    }
}

#[test]
fn a_thread_of_its_own_serves_many_and_ends_with_the_last_handle() {
    let folder = folder();
    let path = folder.path().join("f");
    let contents = Arc::new(noise(100_000, 3));
    let file = file_with(&path, &contents);
    for _ in 0..5 {
        let mut driver = Driver::new(4).unwrap();
        let handle = driver.handle();
        let served = thread::spawn(move || driver.run());
        let readers: Vec<_> = (0..3)
            .map(|seed| {
                let (handle, file, contents) = (handle.clone(), file.clone(), contents.clone());
                thread::spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    let mut executor = Driver::new(1).unwrap();
                    for _ in 0..100 {
                        let at = random.usize(..contents.len());
                        let read = handle.read(&file, vec![0; 1000], at as u64);
                        let (result, bytes) = executor.block_on(read).unwrap();
                        let count = result.unwrap();
                        assert!(count == 1000.min(contents.len() - at));
                        assert!(bytes[..count] == contents[at..at + count]);
                    }
                })
            })
            .collect();
        drop(handle);
        for reader in readers {
            reader.join().unwrap();
        }
        served.join().unwrap().unwrap();
    }
}

#[test]
fn futures_and_handles_go_to_other_threads() {
    fn may_go<T: Send>(_: &T) {}
    fn is_shared<T: Clone + Send + Sync>(_: &T) {}
    let driver = Driver::new(1).unwrap();
    may_go(&driver);
    may_go(&PollableDriver::new(1).unwrap());
    is_shared(&driver.handle());
    may_go(&driver.handle().read(zeros(), vec![7], 0));
    let handle = driver.handle();
    may_go(&async move { handle.read(zeros(), vec![7], 0).await });
}

#[test]
fn what_is_queued_between_two_turns_is_submitted_at_once() {
    if !is_under_strace() {
        if !have_strace() {
            return;
        }
        let calls = under_strace(
            "what_is_queued_between_two_turns_is_submitted_at_once",
            &["-e", "trace=io_submit"],
        );
        // The poll of the bell, and twice all the reads.
        assert_eq!(calls.len(), 3, "{calls:?}");
        assert!(calls[1..].iter().all(|call| call.ends_with("= 128")), "{calls:?}");
        return;
    }
    let mut driver = Driver::new(128).unwrap();
    let (handle, zeros) = (driver.handle(), zeros());
    for _ in 0..2 {
        let reads = (0..128).map(|_| handle.read(&zeros, vec![7], 0)).collect();
        assert_eq!(driver.block_on(all(reads)).unwrap().len(), 128);
    }
}

#[test]
fn a_place_is_not_lost_when_a_number_is_used_again() {
    // An operation that is unwanted and ends before it is cancelled leaves the next one alone.
    for mut driver in drivers(2) {
        let handle = driver.handle();
        for _ in 0..100 {
            let mut read = handle.read(zeros(), vec![7], 0);
            begin(&mut read);
            read.cancel();
            let mut second = handle.poll(silent_eventfd(), PollFlags::IN);
            begin(&mut second);
            driver.look();
            drop(read);
            let (reader, writer) = pipe();
            let mut third = handle.poll(&reader, PollFlags::IN);
            begin(&mut third);
            driver.look();
            write_to(&writer, b"x");
            assert!(driver.block_on(third).unwrap().contains(PollFlags::IN));
            drop(second);
        }
    }
}

#[test]
fn a_capacity_that_no_kernel_gives_is_an_error() {
    for error in [Driver::new(0).unwrap_err(), PollableDriver::new(0).unwrap_err()] {
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let driver = Driver::new(3).unwrap();
    assert_eq!(driver.capacity(), 3);
    assert_eq!(PollableDriver::new(3).unwrap().capacity(), 3);
    let handle = driver.handle();
    let texts = format!("{driver:?} {handle:?} {:?}", handle.fsync(zeros()));
    assert!(texts.contains("capacity: 3"), "{texts}");
}

/// The future that is driven is woken once for all that is over, and by its own hand.
#[test]
fn a_future_that_wakes_itself_is_polled_again() {
    let mut driver = Driver::new(1).unwrap();
    let (mut left, has_read) = (100, AtomicBool::new(false));
    let handle = driver.handle();
    let mut read = handle.read(zeros(), vec![7], 0);
    let ready = driver.block_on(std::future::poll_fn(|cx| {
        if !has_read.load(Ordering::SeqCst) && poll_with(&mut read, cx.waker()).is_ready() {
            has_read.store(true, Ordering::SeqCst);
        }
        if left == 0 {
            return Poll::Ready(7);
        }
        left -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }));
    assert_eq!(ready.unwrap(), 7);
    assert!(has_read.into_inner(), "operations go on meanwhile");
}
