//! Streams of operations, and random futures and streams against plain reads.
#![cfg(feature = "async")]

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use common::aio::*;
use common::future::*;
use common::*;
use futures_lite::{Stream, StreamExt};
use linux_aio::future::{Completions, Driver, Operation, Order};
use linux_aio::{Done, Op, OpKind, PollFlags, Pool};
use proptest::prelude::*;

fn zeros() -> Arc<OwnedFd> {
    shared(File::open("/dev/zero").unwrap())
}

fn poll_op(file: &Arc<OwnedFd>) -> Op {
    Op::new(file, OpKind::Poll(PollFlags::IN))
}

/// Takes what is ready now.
fn ready_now(stream: &mut (impl Stream<Item = Done> + Unpin)) -> Vec<u64> {
    let mut cx = Context::from_waker(Waker::noop());
    std::iter::from_fn(|| match stream.poll_next(&mut cx) {
        Poll::Ready(done) => done,
        Poll::Pending => None,
    })
    .map(|done| done.op.tag)
    .collect()
}

#[test]
fn what_never_ran_signals_its_eventfd() {
    for mut driver in drivers(1) {
        let (handle, event) = (driver.handle(), silent_eventfd());
        let op = || Op::read(zeros(), vec![7], 0).eventfd(Arc::clone(&event));
        let mut unpolled = handle.op(op());
        unpolled.cancel();
        assert_eq!(take_count(&event), 1);
        let mut only_place = handle.op(poll_op(&silent_eventfd()));
        begin(&mut only_place);
        driver.look();
        let mut cancelled = handle.op(op());
        begin(&mut cancelled);
        cancelled.cancel();
        assert_eq!(take_count(&event), 1);
        let mut stream = handle.completions(Order::Pushed);
        stream.push(op());
        let mut in_line = handle.op(op());
        begin(&mut in_line);
        drop(driver);
        assert_eq!(take_count(&event), 2, "the driver went");
        stream.push(op());
        assert!(poll_with(&mut handle.op(op()), Waker::noop()).is_ready());
        assert_eq!(take_count(&event), 2, "there is no driver");
    }
}

#[test]
fn a_stream_that_has_none_ends_as_fast_after_many_operations_as_before() {
    let driver = Driver::new(1).unwrap();
    let handle = driver.handle();
    // The shortest of some times: another program may get the processor meanwhile.
    let time = || {
        let once = || {
            let begun = Instant::now();
            (0..4000).for_each(|_| drop(handle.completions(Order::Completed)));
            begun.elapsed()
        };
        (0..10).map(|_| once()).min().unwrap()
    };
    let before = time();
    let zeros = zeros();
    let mut reads: Vec<_> = (0..20_000).map(|_| handle.read(&zeros, Vec::new(), 0)).collect();
    reads.iter_mut().for_each(begin);
    let after = time();
    assert!(after < before * 20 + Duration::from_millis(100), "{before:?} and {after:?}");
}

#[test]
fn operations_come_as_they_are_over_or_as_they_were_pushed() {
    for order in [Order::Completed, Order::Pushed] {
        for mut driver in drivers(3) {
            let (reader, writer) = pipe();
            let mut stream = driver.handle().completions(order);
            assert!(stream.is_empty());
            assert!(driver.block_on(stream.next()).is_none(), "none was pushed");
            stream.push(poll_op(&reader).tag(1));
            stream.push(Op::read(zeros(), vec![7], 0).tag(2));
            stream.push(Op::read(zeros(), vec![7], 0).tag(3));
            assert_eq!((stream.len(), stream.size_hint()), (3, (3, Some(3))));
            let mut count = 0;
            while count < 2 {
                assert!(order == Order::Completed || ready_now(&mut stream).is_empty());
                count += driver.turn();
            }
            let first = ready_now(&mut stream);
            match order {
                Order::Completed => assert_eq!(first, [2, 3]),
                _ => assert_eq!(first, [0; 0]),
            }
            write_to(&writer, b"x");
            let mut tags = first;
            driver.block_on(async {
                while let Some(done) = stream.next().await {
                    assert!(done.result.is_ok());
                    tags.push(done.op.tag);
                }
            });
            match order {
                Order::Completed => assert_eq!(tags, [2, 3, 1]),
                _ => assert_eq!(tags, [1, 2, 3]),
            }
            // It goes on when more are pushed.
            stream.push(Op::new(zeros(), OpKind::Fsync).at(1).tag(4));
            let done = driver.block_on(stream.next()).unwrap();
            assert_eq!((done.op.tag, errno(&done)), (4, Some(libc::EINVAL)));
            assert!(driver.block_on(stream.next()).is_none());
        }
    }
}

#[test]
fn a_stream_that_is_dropped_leaves_its_operations_as_a_future_does() {
    let pool = Pool::new(4, 4096).unwrap();
    for mut driver in drivers(2) {
        let handle = driver.handle();
        let mut stream = handle.completions(Order::Pushed);
        stream.push(poll_op(&silent_eventfd()));
        stream.push(read(&zeros(), &pool, 0));
        while driver.turn() == 0 {}
        stream.push(read(&zeros(), &pool, 0));
        stream.push(poll_op(&silent_eventfd()));
        stream.push(read(&zeros(), &pool, 0));
        let mut other = handle.completions(Order::Pushed);
        other.push(read(&zeros(), &pool, 0));
        drop(stream);
        assert_eq!(free_buffers(&pool).len(), 3, "only the other one's is in use");
        // Its lane and its places are for others now.
        let mut third = handle.completions(Order::Pushed);
        third.push(read(&zeros(), &pool, 0).tag(1));
        third.push(read(&zeros(), &pool, 0).tag(2));
        driver.block_on(async {
            assert_eq!(third.next().await.unwrap().op.tag, 1);
            assert_eq!(third.next().await.unwrap().op.tag, 2);
            assert!(other.next().await.is_some() && other.next().await.is_none());
        });
        assert_eq!(free_buffers(&pool).len(), 4);
    }
}

#[test]
fn without_a_driver_a_stream_gives_all_back() {
    for order in [Order::Completed, Order::Pushed] {
        for mut driver in drivers(2) {
            let mut stream = driver.handle().completions(order);
            stream.push(poll_op(&silent_eventfd()).tag(0));
            stream.push(Op::read(zeros(), vec![7], 0).tag(1));
            while driver.turn() == 0 {}
            stream.push(poll_op(&silent_eventfd()).tag(2));
            stream.push(Op::read(zeros(), vec![7], 0).tag(3));
            let (count, waker) = Count::new();
            if order == Order::Pushed {
                assert!(poll_with(&mut pin!(stream.next()), &waker).is_pending());
            }
            drop(driver);
            assert_eq!(count.get(), usize::from(order == Order::Pushed));
            stream.push(Op::read(zeros(), vec![7], 0).tag(4));
            let mut tags = BTreeSet::new();
            while let Poll::Ready(Some(done)) = poll_with(&mut pin!(stream.next()), &waker) {
                let is_cancelled = errno(&done) == Some(libc::ECANCELED);
                assert!(is_cancelled == (done.op.tag > 2) || done.op.tag == 2, "{done:?}");
                assert!(order == Order::Completed || done.op.tag == tags.len() as u64);
                tags.insert(done.op.tag);
            }
            assert!(tags.into_iter().eq(0..5));
        }
    }
}

#[test]
fn an_iterator_is_asked_for_as_many_as_may_be_under_way_and_again_after_it_had_none() {
    let folder = folder();
    let contents = noise(50 << 12, 2);
    let file = file_with(&folder.path().join("f"), &contents);
    // Fewer buffers than may be under way, and fewer places.
    for (depth, buffers, capacity) in [(1, 8, 8), (8, 3, 8), (8, 8, 2), (0, 1, 1)] {
        for mut driver in drivers(capacity) {
            let pool = Pool::new(buffers, 4096).unwrap();
            let mut offsets = (0..50).map(|block| block << 12);
            let ops = std::iter::from_fn(|| {
                let buffer = pool.get()?;
                Some(Op::read(&file, buffer, offsets.next()?))
            });
            let mut stream = driver.handle().buffered(Order::Pushed, depth, ops);
            let mut bytes = Vec::new();
            driver.block_on(async {
                while let Some(done) = StreamExt::next(&mut stream).await {
                    bytes.extend_from_slice(done.bytes().unwrap());
                }
            });
            drop(stream);
            assert!(bytes == contents, "{depth} {buffers} {capacity}");
        }
    }
    let [mut driver, _] = drivers(8);
    let taken = std::cell::Cell::new(0);
    let ops = (0..9).map(|_| {
        taken.set(taken.get() + 1);
        Op::read(zeros(), vec![7], 0)
    });
    let mut stream = driver.handle().buffered(Order::Completed, 4, ops);
    assert_eq!(taken.get(), 0);
    assert!(driver.block_on(stream.next()).is_some());
    assert_eq!((taken.get(), stream.size_hint()), (4, (8, None)));
    let text = format!("{stream:?}");
    assert!(text.contains("depth: 4") && text.contains("Completed"), "{text}");
}

/// What is done with a read.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Awaited,
    DroppedBeforeItsFirstPoll,
    Dropped,
    Cancelled,
}

#[derive(Clone, Debug)]
struct Wish {
    offset_bytes: u64,
    len_bytes: usize,
    fate: Fate,
}

fn wish() -> impl Strategy<Value = Wish> {
    let fate = prop_oneof![
        6 => Just(Fate::Awaited),
        1 => Just(Fate::DroppedBeforeItsFirstPoll),
        2 => Just(Fate::Dropped),
        1 => Just(Fate::Cancelled),
    ];
    let wish = |(offset_bytes, len_bytes, fate)| Wish { offset_bytes, len_bytes, fate };
    (0..40_000_u64, 0..9_000_usize, fate).prop_map(wish)
}

const CONTENTS_BYTES: usize = 40_000;

/// What pread(2) reads.
fn plain(file: &File, wish: &Wish) -> Vec<u8> {
    let mut bytes = vec![7; wish.len_bytes];
    let mut count = 0;
    while count < bytes.len() {
        match file.read_at(&mut bytes[count..], wish.offset_bytes + count as u64).unwrap() {
            0 => break,
            more => count += more,
        }
    }
    bytes.truncate(count);
    bytes
}

type Read = Operation<(std::io::Result<usize>, Vec<u8>)>;

/// Awaits reads in an order, and among other turns, that the seed decides.
fn check_futures(driver: &mut AnyDriver, file: &Arc<File>, wishes: &[Wish], seed: u64) {
    let (handle, mut random) = (driver.handle(), fastrand::Rng::with_seed(seed));
    let read = |wish: &Wish| handle.read(file, vec![7; wish.len_bytes], wish.offset_bytes);
    let mut reads: Vec<(usize, Read)> = wishes.iter().map(read).enumerate().collect();
    reads.retain(|(n, _)| !matches!(wishes[*n].fate, Fate::DroppedBeforeItsFirstPoll));
    random.shuffle(&mut reads);
    for (_, read) in &mut reads {
        if random.bool() {
            begin(read);
        }
        if random.u8(..) < 40 {
            driver.look();
        }
    }
    random.shuffle(&mut reads);
    for (n, mut read) in reads {
        let wish = &wishes[n];
        match wish.fate {
            Fate::Dropped | Fate::DroppedBeforeItsFirstPoll => continue,
            Fate::Cancelled => read.cancel(),
            Fate::Awaited => {}
        }
        let (result, bytes) = driver.block_on(read);
        match result {
            Ok(count) => assert!(bytes[..count] == plain(file, wish), "{wish:?}"),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
                assert!(matches!(wish.fate, Fate::Cancelled), "{wish:?}");
            }
        }
        assert_eq!(bytes.len(), wish.len_bytes, "it is the buffer that went in");
    }
}

/// Pushes reads into streams of either order and takes them, as the seed decides.
fn check_streams(driver: &mut AnyDriver, file: &Arc<File>, wishes: &[Wish], seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut streams: Vec<Completions> = [Order::Completed, Order::Pushed, Order::Pushed]
        .into_iter()
        .map(|order| driver.handle().completions(order))
        .collect();
    let mut pushed = [const { Vec::new() }; 3];
    let mut given = [const { Vec::new() }; 3];
    let check = |done: Done| {
        let wish = &wishes[done.op.tag as usize];
        assert!(done.bytes().unwrap() == plain(file, wish), "{wish:?}");
        done.op.tag
    };
    for (n, wish) in wishes.iter().enumerate() {
        let at = random.usize(..3);
        let op = Op::read(file, vec![7; wish.len_bytes], wish.offset_bytes).tag(n as u64);
        streams[at].push(op);
        pushed[at].push(n as u64);
        let from = random.usize(..3);
        if random.bool() && !streams[from].is_empty() {
            given[from].push(check(driver.block_on(streams[from].next()).unwrap()));
        }
    }
    // The last one is dropped with all that it has.
    for at in 0..2 {
        while let Some(done) = driver.block_on(streams[at].next()) {
            given[at].push(check(done));
        }
    }
    drop(streams);
    assert_eq!(given[1], pushed[1]);
    given[0].sort_unstable();
    assert_eq!(given[0], pushed[0]);
    assert!(pushed[2].starts_with(&given[2]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn random_reads_equal_plain_ones(
        capacity in 1..9_u32,
        wishes in prop::collection::vec(wish(), 0..40),
        seed in any::<u64>(),
    ) {
        let folder = folder();
        let path = folder.path().join("f");
        std::fs::write(&path, noise(CONTENTS_BYTES, seed)).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        for mut driver in drivers(capacity) {
            check_futures(&mut driver, &file, &wishes, seed);
            check_streams(&mut driver, &file, &wishes, seed);
        }
    }
}
