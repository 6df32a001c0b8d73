//! Properties that hold for every engine behind the trait, and for the pool of threads.
#![cfg(all(feature = "posix", feature = "sim", feature = "threads"))]

mod common;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::aio::*;
use common::{folder, noise};
use linux_aio::kernel::Priority;
use linux_aio::sim::{Faults, Sim};
use linux_aio::{
    Context, Done, Engine, Full, Op, OpKind, PARTS_MAX, Part, PollFlags, Pool, Posix, Submitted,
    Threads, Wakeup,
};

const DEPTH: usize = 4;

fn engines() -> [(&'static str, Box<dyn Engine>); 4] {
    [
        ("kernel", Box::new(Context::new(DEPTH as u32).unwrap())),
        ("posix", Box::new(Posix::new(DEPTH, None))),
        ("threads", Box::new(Threads::new(2, DEPTH, None).unwrap())),
        ("sim", Box::new(Sim::new(3, DEPTH, Faults::default()))),
    ]
}

/// Runs one operation alone.
fn one(engine: &mut dyn Engine, op: Op) -> Done {
    engine.queue(op).expect("there is room");
    engine.submit();
    let mut done = Vec::new();
    while engine.in_flight() > 0 {
        engine.reap(1, None, &mut done).unwrap();
    }
    assert_eq!(done.len(), 1);
    done.pop().unwrap()
}

#[test]
fn a_full_engine_gives_the_operation_back_and_each_comes_back_once() {
    let zeros = shared(File::open("/dev/zero").unwrap());
    let pool = Pool::new(DEPTH + 1, 4096).unwrap();
    for (name, mut engine) in engines() {
        let mut done = Vec::new();
        assert_eq!(
            engine.reap(1, None, &mut done).unwrap(),
            0,
            "{name}: an empty engine does not wait"
        );
        assert_eq!(engine.submit(), Submitted::default(), "{name}");
        for tag in 0..DEPTH as u64 {
            engine.queue(read(&zeros, &pool, 0).tag(tag)).unwrap();
        }
        let Full(back) =
            engine.queue(read(&zeros, &pool, 0).tag(99)).expect_err("the engine is full");
        assert_eq!((back.tag, engine.in_flight()), (99, DEPTH), "{name}");
        drop(back);
        assert_eq!(engine.submit(), Submitted::default().accepted(DEPTH), "{name}");
        while engine.in_flight() > 0 {
            let before = done.len();
            assert_eq!(engine.reap(2, None, &mut done).unwrap(), done.len() - before, "{name}");
        }
        each_once(&done, DEPTH as u64);
        assert!(done.iter().all(|done| read_bytes(done) == [0; 4096]), "{name}");
    }
    assert_eq!(free_buffers(&pool).len(), DEPTH + 1);
}

#[test]
fn what_an_engine_has_no_word_for_is_refused() {
    let zeros = shared(File::open("/dev/zero").unwrap());
    let pool = Pool::new(PARTS_MAX + 1, 4096).unwrap();
    for (name, mut engine) in engines() {
        let plain = || read(&zeros, &pool, 0);
        let elsewhere = if name == "kernel" { None } else { Some(libc::EOPNOTSUPP) };
        let event = silent_eventfd();
        for op in [
            Op::new(zeros.clone(), OpKind::Poll(PollFlags::IN)),
            plain().priority(Priority::Idle),
            plain().eventfd(event.clone()),
        ] {
            assert_eq!(errno(&one(&mut *engine, op)), elsewhere, "{name}");
        }
        // The signal may be a moment later than the completion.
        while take_count(&event) == 0 {
            std::thread::yield_now();
        }
        for (count, expected) in [(PARTS_MAX, None), (PARTS_MAX + 1, Some(libc::EINVAL))] {
            let expected = if name == "posix" { Some(libc::EOPNOTSUPP) } else { expected };
            let parts = |_| Part::new(pool.get().unwrap(), 0..1);
            let kind = OpKind::ReadVectored((0..count).map(parts).collect());
            let done = one(&mut *engine, Op::new(zeros.clone(), kind));
            assert_eq!(errno(&done), expected, "{name}: {count} parts");
            assert!(expected.is_some() || *done.result.as_ref().unwrap() == count, "{name}");
            drop(done);
            let parts = |_| Part::new(filled(&pool, b"x"), 0..1);
            let kind = OpKind::WriteVectored((0..count).map(parts).collect());
            let null = shared(File::create("/dev/null").unwrap());
            assert_eq!(
                errno(&one(&mut *engine, Op::new(null, kind))),
                expected,
                "{name}: {count} parts"
            );
        }
    }
    assert_eq!(free_buffers(&pool).len(), PARTS_MAX + 1);
}

#[test]
fn a_loop_that_forgets_to_submit_is_an_error() {
    let zeros = shared(File::open("/dev/zero").unwrap());
    let pool = Pool::new(2, 4096).unwrap();
    for (name, mut engine) in engines() {
        let mut done = Vec::new();
        for timeout in [None, Some(Duration::from_secs(60))] {
            engine.queue(read(&zeros, &pool, 0)).map_err(drop).unwrap();
            let error = engine.reap(1, timeout, &mut done).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EDEADLK), "{name}");
            assert_eq!(engine.reap(0, timeout, &mut done).unwrap(), 0, "{name}: a look is no wait");
            while engine.in_flight() > 0 {
                engine.submit_and_reap(1, timeout, &mut done).unwrap();
            }
        }
        assert_eq!(done.len(), 2, "{name}");
    }
}

#[test]
fn a_silent_pipe_is_waited_for_as_long_as_asked() {
    let pool = Pool::new(2, 4096).unwrap();
    let threads: Box<dyn Engine> = Box::new(Threads::new(2, 2, None).unwrap());
    for mut engine in [threads, Box::new(Posix::new(2, None))] {
        let (reader, writer) = pipe();
        let byte = || OpKind::Read(Part::new(pool.get().unwrap(), 0..1));
        for tag in 0..2 {
            engine.queue(Op::new(reader.clone(), byte()).tag(tag)).unwrap();
        }
        assert_eq!(engine.submit().accepted, 2);
        let mut done = Vec::new();
        for (min, timeout) in
            [(0, None), (1, Some(Duration::ZERO)), (2, Some(Duration::from_millis(60)))]
        {
            let before = Instant::now();
            assert_eq!(engine.reap(min, timeout, &mut done).unwrap(), 0);
            assert!(before.elapsed() >= timeout.unwrap_or_default());
        }
        write_to(&writer, b"a");
        assert_eq!(engine.reap(1, Some(Duration::MAX), &mut done).unwrap(), 1);
        assert_eq!(
            engine.reap(1, Some(Duration::from_millis(20)), &mut done).unwrap(),
            0,
            "one is still there"
        );
        write_to(&writer, b"b");
        assert_eq!(engine.reap(9, None, &mut done).unwrap(), 1, "no more can complete");
        each_once(&done, 2);
        let mut bytes: Vec<_> = done.iter().map(|done| read_bytes(done)[0]).collect();
        bytes.sort_unstable();
        assert_eq!((bytes, engine.in_flight()), (b"ab".to_vec(), 0));
    }
}

#[test]
fn whoever_waits_elsewhere_is_woken() {
    let zeros = shared(File::open("/dev/zero").unwrap());
    let pool = Pool::new(1, 4096).unwrap();
    let wakeup = Arc::new(Wakeup::new().unwrap());
    let threads: Box<dyn Engine> = Box::new(Threads::new(1, 1, Some(Arc::clone(&wakeup))).unwrap());
    for mut engine in [threads, Box::new(Posix::new(1, Some(Arc::clone(&wakeup))))] {
        for _ in 0..20 {
            wakeup.arm();
            engine.queue(read(&zeros, &pool, 0)).unwrap();
            engine.submit();
            // This waits forever unless the wakeup was written.
            wakeup.wait(None).unwrap();
            wakeup.disarm().unwrap();
            assert_eq!(
                engine.reap(0, None, &mut Vec::new()).unwrap(),
                1,
                "the request is over when the wakeup is woken"
            );
        }
        // Refused operations are over too.
        wakeup.arm();
        let op = read(&zeros, &pool, 1 << 63);
        engine.queue(op).map_err(drop).unwrap();
        engine.submit();
        wakeup.wait(None).unwrap();
        wakeup.disarm().unwrap();
        let mut done = Vec::new();
        assert_eq!(engine.reap(0, None, &mut done).unwrap(), 1);
        assert_eq!(errno(&done[0]), Some(libc::EINVAL));
    }
}

#[test]
fn dropping_a_pool_of_threads_waits_for_what_is_in_flight() {
    let pool = Pool::new(3, 4096).unwrap();
    let (reader, writer) = pipe();
    let mut engine = Threads::new(1, 3, None).unwrap();
    for _ in 0..3 {
        let byte = OpKind::Read(Part::new(pool.get().unwrap(), 0..1));
        engine.queue(Op::new(reader.clone(), byte)).unwrap();
    }
    engine.submit();
    let written = Arc::new(AtomicBool::new(false));
    let late = std::thread::spawn({
        let written = Arc::clone(&written);
        move || {
            std::thread::sleep(Duration::from_millis(100));
            written.store(true, Ordering::SeqCst);
            write_to(&writer, b"abc");
            writer
        }
    });
    std::thread::spawn(move || drop(engine)).join().unwrap();
    assert!(written.load(Ordering::SeqCst), "it did not wait for what they read");
    drop(late.join().unwrap());
    assert_eq!(free_buffers(&pool).len(), 3);
    assert_eq!(rustix::io::read(&*reader, &mut [0; 8]), Ok(0), "each has read its byte");
}

#[test]
fn an_engine_that_is_forgotten_keeps_what_it_has() {
    let threads: Box<dyn Engine> = Box::new(Threads::new(1, 1, None).unwrap());
    for mut engine in [threads, Box::new(Posix::new(1, None))] {
        let pool = Pool::new(1, 4096).unwrap();
        let (reader, writer) = pipe();
        engine.queue(read(&reader, &pool, 0)).unwrap();
        engine.submit();
        std::mem::forget(engine);
        write_to(&writer, b"x");
        // The request reads what was written, into memory that still exists.
        while rustix::io::ioctl_fionread(&*reader).unwrap() > 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(20));
        assert!(pool.get().is_none());
    }
}

#[test]
fn memory_of_other_owners_is_read_into_and_written_from() {
    let folder = folder();
    let path = folder.path().join("f");
    let file = file_with(&path, &noise(5000, 1));
    for (name, mut engine) in engines() {
        let done = one(&mut *engine, Op::read(file.clone(), vec![1; 6000], 0));
        assert_eq!(
            (read_bytes(&done), done.result.as_ref().ok()),
            (&noise(5000, 1)[..], Some(&5000))
        );
        let OpKind::Read(part) = done.op.kind else { panic!("it is a read") };
        let vector: Vec<u8> = part.buffer.into_inner().unwrap();
        assert_eq!(vector[4999..], [&noise(5000, 1)[4999..], &[1; 1000]].concat(), "{name}");
        let fixed: &'static [u8] = b"fixed";
        let done = one(&mut *engine, Op::write(file.clone(), fixed, 0));
        assert_eq!(done.result.unwrap(), 5, "{name}");
        let boxed = noise(5000, 1)[..5].to_vec().into_boxed_slice();
        assert_eq!(one(&mut *engine, Op::write(file.clone(), boxed, 0)).result.unwrap(), 5);
        assert_eq!(std::fs::read(&path).unwrap(), noise(5000, 1), "{name}");
        // What is inside of an engine that is dropped goes with it.
        let counted: Arc<[u8]> = [7; 5].into();
        engine.queue(Op::write(file.clone(), Arc::clone(&counted), 0)).unwrap();
        drop(engine);
        assert_eq!(Arc::strong_count(&counted), 1, "{name}");
    }
}

#[test]
fn a_file_stays_open_until_its_last_owner_lets_go() {
    let file = Arc::new(File::open("/dev/zero").unwrap());
    for (name, mut engine) in engines() {
        let done = one(&mut *engine, Op::read(&file, vec![1; 3], 0));
        assert_eq!((done.bytes(), Arc::strong_count(&file)), (Some(&[0; 3][..]), 2), "{name}");
        drop(done);
        assert_eq!(Arc::strong_count(&file), 1, "{name}");
        let given_away = Op::read(File::open("/dev/zero").unwrap(), vec![1; 3], 0);
        assert_eq!(one(&mut *engine, given_away).bytes(), Some(&[0; 3][..]), "{name}");
    }
}
