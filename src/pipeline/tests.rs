//! The whole of the pipeline over the seeded fake: any order, short counts, failures.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::batch::{BatchFile, BatchWay};
use super::budget::Budget;
use super::data_blocks::DataBlocks;
use super::engines::{EngineKind, Engines};
use super::handle::{Pipeline, Setup};
use super::route::Access;
use super::shape::{Leaves, Shape};
use super::sizes::BLOCKS_MAX;
use super::traffic::{Pace, Traffic};
use super::transfer::{Endpoint, Limits, Progress, Transfer};
use crate::digest::{self, Mode, Output};
use crate::error::{Cause, Operation};
use crate::fs;
use crate::report::{Totals, Way};
use linux_aio::sim::{Faults, Sim};
use linux_aio::{Done, Engine, Full, Op, Submitted, Wakeup};

/// The fake, which never sleeps: where nothing was over it wakes the loop at once.
struct Restless(Sim, Arc<Wakeup>, Arc<AtomicU64>);

impl Engine for Restless {
    fn queue(&mut self, op: Op) -> Result<(), Full> {
        self.0.queue(op)
    }
    fn submit(&mut self) -> Submitted {
        self.0.submit()
    }
    fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        self.2.fetch_add(1, Ordering::Relaxed);
        let count = self.0.reap(min, timeout, out)?;
        if count == 0 && self.0.in_flight() > 0 {
            self.1.wake();
        }
        Ok(count)
    }
    fn in_flight(&self) -> usize {
        self.0.in_flight()
    }
}

/// The fake, whose waiting fails after a number of times.
struct Breaking {
    engine: Restless,
    reaps_left: u32,
}

impl Engine for Breaking {
    fn queue(&mut self, op: Op) -> Result<(), Full> {
        self.engine.queue(op)
    }
    fn submit(&mut self) -> Submitted {
        self.engine.submit()
    }
    fn reap(
        &mut self,
        min: usize,
        timeout: Option<Duration>,
        out: &mut Vec<Done>,
    ) -> io::Result<usize> {
        let Some(left) = self.reaps_left.checked_sub(1) else {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        };
        self.reaps_left = left;
        self.engine.reap(min, timeout, out)
    }
    fn in_flight(&self) -> usize {
        self.engine.in_flight()
    }
}

fn breaking(seed: u64, reaps_left: u32, traffic: Traffic) -> Pipeline<'static> {
    let wakeup = Arc::new(Wakeup::new().unwrap());
    let sim = Sim::new(seed, 8, Faults::default().delay(0.5));
    let engine = Restless(sim, Arc::clone(&wakeup), Arc::default());
    over(Box::new(Breaking { engine, reaps_left }), wakeup, traffic)
}

const BLOCK_BYTES: usize = 4096;

fn pipeline(seed: u64, faults: Faults) -> Pipeline<'static> {
    metered(seed, faults, Traffic::default())
}

fn metered(seed: u64, faults: Faults, traffic: Traffic) -> Pipeline<'static> {
    counted(seed, faults, traffic, Arc::default())
}

/// A pipeline whose engine counts how often it is asked.
fn counted(
    seed: u64,
    faults: Faults,
    traffic: Traffic,
    reaps: Arc<AtomicU64>,
) -> Pipeline<'static> {
    let wakeup = Arc::new(Wakeup::new().unwrap());
    let engine = Restless(Sim::new(seed, 8, faults), Arc::clone(&wakeup), reaps);
    over(Box::new(engine), wakeup, traffic)
}

fn over(engine: Box<dyn Engine>, wakeup: Arc<Wakeup>, traffic: Traffic) -> Pipeline<'static> {
    let limits = Limits { queue_depth: 8, block_bytes: BLOCK_BYTES, budget: Budget::default() };
    let engines = Engines::of(engine, limits, Arc::clone(&wakeup));
    let setup = Setup { limits, engines, has_context: false.into(), wakeup, traffic };
    Pipeline::run(setup, Box::new(|_| ())).unwrap()
}

fn transfer(contents: &[u8], target: &File) -> Transfer {
    transfer_in(std::env::temp_dir(), contents, target)
}

/// A source in this folder, and how it is moved.
fn transfer_in(folder: impl AsRef<Path>, contents: &[u8], target: &File) -> Transfer {
    let mut source = tempfile::tempfile_in(folder).unwrap();
    source.write_all(contents).unwrap();
    let side = |file: File| {
        let (direct, is_cached) = (false, false);
        Endpoint { file: Arc::new(file.into()), direct, is_cached }
    };
    let cached = Access { way: Way::Buffered("a test"), align_bytes: 1 };
    let shape = Shape::write(contents.len() as u64, BLOCK_BYTES as u64, cached, cached);
    Transfer {
        source: side(source),
        target: Some(side(target.try_clone().unwrap())),
        shape,
        progress: Progress::Handled(Arc::default()),
    }
}

#[test]
fn short_counts_delays_and_any_order_give_the_same_bytes_and_hash() {
    let faults = Faults::default().shorten(0.2).delay(0.5);
    for seed in 0..100 {
        let contents: Vec<u8> =
            (0..fastrand::Rng::with_seed(seed).usize(1..100_000)).map(|n| n as u8).collect();
        let target = tempfile::tempfile().unwrap();
        let moved = pipeline(seed, faults).transfer(transfer(&contents, &target)).unwrap();
        assert_eq!(
            moved.hash.as_ref().map(Output::hash),
            Some(*blake3::hash(&contents).as_bytes()),
            "seed {seed}"
        );
        let mut copied = vec![0; contents.len()];
        target.read_exact_at(&mut copied, 0).unwrap();
        assert!(copied == contents, "seed {seed}");
    }
}

#[test]
fn a_stopped_pipeline_finishes_what_is_under_way_and_says_how_far_it_came() {
    let contents: Vec<u8> = (0..500 * BLOCK_BYTES).map(|n| (n / 3) as u8).collect();
    for seed in 0..100 {
        let pipeline = pipeline(seed, Faults::default().delay(0.9));
        let target = tempfile::tempfile().unwrap();
        let mut stopped = transfer(&contents, &target);
        stopped.shape.leaves = Leaves::Kept;
        let started = pipeline.start_transfer(stopped);
        pipeline.stopper()();
        let moved = started.wait_for_some().unwrap();
        for (n, leaf) in moved.leaves.iter().enumerate() {
            let at = n * BLOCK_BYTES;
            let block = &contents[at..at + BLOCK_BYTES];
            match digest::leaf(&Mode::Hash, block, at as u64, contents.len() as u64) {
                digest::Leaf::Inner(wanted) => assert_eq!(*leaf, wanted, "seed {seed}"),
                digest::Leaf::Whole(_) => panic!("it is a part"),
            }
            let mut copied = vec![0; BLOCK_BYTES];
            target.read_exact_at(&mut copied, at as u64).unwrap();
            assert!(copied == block, "seed {seed}");
        }
        assert_eq!(moved.whole, moved.leaves.len() == 500, "seed {seed}");
        let failure = pipeline.transfer(transfer(&contents, &target)).unwrap_err();
        assert!(matches!(failure.cause, Cause::Interrupted));
    }
}

/// Where the filesystem does not read from memory alone, the engine does it.
#[test]
fn what_memory_holds_or_does_not_hold_has_the_same_hash_and_the_same_errors() {
    let faults = Faults::default().shorten(0.2).delay(0.5);
    for seed in 0..100 {
        let rng = &mut fastrand::Rng::with_seed(seed);
        let contents: Vec<u8> = (0..rng.usize(1..100_000)).map(|_| rng.u8(..)).collect();
        let traffic = Traffic::default();
        let (pipeline, size_bytes) =
            (metered(seed, faults, traffic.clone()), contents.len() as u64);
        let is_dropped = rng.bool();
        let cached = |stated_bytes: u64| {
            let mut read = transfer_in(".", &contents, &tempfile::tempfile().unwrap());
            if is_dropped {
                fs::sync_file(&*read.source.file).unwrap();
                fs::drop_cache(&*read.source.file);
            }
            (read.target, read.source.is_cached) = (None, true);
            read.shape = Shape { size_bytes: stated_bytes, ..read.shape };
            pipeline.transfer(read)
        };
        let moved = cached(size_bytes).unwrap();
        assert_eq!(moved.root(), Some(*blake3::hash(&contents).as_bytes()), "seed {seed}");
        let handled = || Totals::get(&traffic.meter.handled_bytes);
        assert_eq!(handled(), size_bytes, "seed {seed}");
        let failure = cached(size_bytes + 1).unwrap_err();
        assert!(matches!(failure.cause, Cause::SourceChanged), "seed {seed}: {}", failure.op);
        assert_eq!(failure.offset_bytes, size_bytes / BLOCK_BYTES as u64 * BLOCK_BYTES as u64);
        assert_eq!(handled(), size_bytes, "seed {seed}: what failed is taken back");
    }
}

/// A file of holes and data, as what is read of it and how it is described.
fn sparse(rng: &mut fastrand::Rng, target: &File) -> (Vec<u8>, Transfer) {
    let mut contents = vec![0; rng.usize(1..3000) * BLOCK_BYTES - rng.usize(0..BLOCK_BYTES)];
    let mut data_blocks = DataBlocks::none(contents.len().div_ceil(BLOCK_BYTES) as u64);
    for _ in 0..rng.usize(0..6) {
        let block = rng.usize(0..contents.len()) / BLOCK_BYTES;
        let end = contents.len().min((block + rng.usize(1..9)) * BLOCK_BYTES);
        contents[block * BLOCK_BYTES..end].fill_with(|| rng.u8(..));
        data_blocks.add(block as u64..end.div_ceil(BLOCK_BYTES) as u64);
    }
    let mut transfer = transfer(&contents, target);
    transfer.shape.sparse = true;
    transfer.shape.data_blocks = Some(data_blocks);
    transfer.shape.leaves = if rng.bool() { Leaves::Kept } else { Leaves::Merged };
    transfer.shape.leaf_bytes <<= rng.u32(0..4);
    (contents, transfer)
}

#[test]
fn holes_and_data_give_the_hash_of_the_whole_and_the_same_leaves_as_data_alone() {
    let faults = Faults::default().shorten(0.1).delay(0.5);
    for seed in 0..60 {
        let rng = &mut fastrand::Rng::with_seed(seed);
        let (pipeline, target) = (pipeline(seed, faults), tempfile::tempfile().unwrap());
        let (contents, transfer) = sparse(rng, &target);
        let read = Shape { data_blocks: None, ..transfer.shape.part(0..contents.len() as u64) };
        let read = Transfer { target: None, shape: read, ..self::transfer(&contents, &target) };
        let (wants_leaves, size_bytes) = (transfer.shape.leaves, contents.len() as u64);
        let leaf_count = size_bytes.div_ceil(transfer.shape.leaf_bytes);
        let (moved, read) = (pipeline.transfer(transfer).unwrap(), pipeline.transfer(read));
        let want = Some(*blake3::hash(&contents).as_bytes());
        assert_eq!(moved.root(), want, "seed {seed}");
        assert_eq!(moved.bytes(), size_bytes, "seed {seed}");
        assert_eq!(moved.leaves, read.unwrap().leaves, "seed {seed}");
        let leaf_count = if wants_leaves == Leaves::Kept { leaf_count } else { 0 };
        assert_eq!(moved.leaves.len() as u64, leaf_count, "seed {seed}");
    }
}

/// Hashing the hole takes hours. The file behind it is read meanwhile, and a stop ends it soon.
#[test]
fn a_vast_hole_keeps_no_file_waiting_and_can_be_stopped() {
    let (traffic, target) = (Traffic::default(), tempfile::tempfile().unwrap());
    let pipeline = metered(7, Faults::default(), traffic.clone());
    let contents: Vec<u8> = (0..300 * BLOCK_BYTES).map(|n| (n / 5) as u8).collect();
    let mut hole = transfer(&[], &target);
    let access = Access { way: Way::Buffered("a test"), align_bytes: 1 };
    let vast = Shape::read((BLOCKS_MAX - 1) << 20, 1 << 20, access);
    let data_blocks = Some(DataBlocks::none(vast.block_count()));
    hole.shape = Shape { data_blocks, ..vast };
    hole.target = None;
    let hole = pipeline.start_transfer(hole);
    for _ in 0..3 {
        let moved = pipeline.transfer(transfer(&contents, &target)).unwrap();
        assert_eq!(moved.root(), Some(*blake3::hash(&contents).as_bytes()));
    }
    pipeline.stopper()();
    let moved = hole.wait_for_some().unwrap();
    assert!(!moved.whole && moved.hash.is_none() && moved.leaves.is_empty());
    assert!(moved.hole_bytes > 0, "some of the hole was hashed");
    assert!(Totals::get(&traffic.meter.handled_bytes) > moved.hole_bytes);
}

#[test]
fn a_failing_device_fails_the_file_with_its_place_and_nothing_hangs() {
    let contents = vec![7; 50 * BLOCK_BYTES];
    let faults = Faults::default().fail(0.2).delay(0.3);
    for seed in 0..100 {
        let pipeline = pipeline(seed, faults);
        let target = tempfile::tempfile().unwrap();
        let files = [&target, &target].map(|file| Arc::new(file.try_clone().unwrap().into()));
        let failure = pipeline
            .transfer(transfer(&contents, &target))
            .expect_err("a hundred operations cannot all succeed");
        assert!(
            [Operation::Read, Operation::Write].contains(&failure.op),
            "seed {seed}: {}",
            failure.op
        );
        assert!(
            failure.offset_bytes < contents.len() as u64
                && failure.offset_bytes.is_multiple_of(BLOCK_BYTES as u64)
        );
        assert_eq!(pipeline.sync(files.to_vec()).len(), 2);
    }
}

/// Whether this is what [`Breaking`] fails with.
fn is_the_error(cause: &Cause) -> bool {
    match cause {
        Cause::Os(error) => error.raw_os_error() == Some(libc::EIO),
        _ => false,
    }
}

#[test]
fn a_loop_that_cannot_wait_answers_all_that_is_in_it_and_all_that_comes_with_the_error() {
    let contents = vec![7; 50 * BLOCK_BYTES + 5];
    let mut failed_early = 0;
    for reaps_left in 0..60 {
        let traffic = Traffic::default();
        let pipeline = breaking(reaps_left.into(), reaps_left, traffic.clone());
        let target = tempfile::tempfile().unwrap();
        let file: Arc<OwnedFd> = Arc::new(target.try_clone().unwrap().into());
        std::thread::scope(|scope| {
            let (pipeline, contents, target) = (&pipeline, &contents, &target);
            for _ in 0..3 {
                scope.spawn(move || {
                    if let Err(failure) = pipeline.transfer(transfer(contents, target)) {
                        assert_eq!(failure.op, Operation::AwaitIo);
                        assert!(is_the_error(&failure.cause), "{:?}", failure.cause);
                    }
                });
            }
            let syncs = scope.spawn(|| pipeline.sync(vec![Arc::clone(&file); 5]));
            for synced in syncs.join().unwrap() {
                assert!(synced.is_ok() || is_the_error(&synced.unwrap_err().into()));
            }
            failed_early += usize::from(pipeline.sync(vec![Arc::clone(&file); 5])[0].is_err());
        });
        // Once it is sure to have failed, everything is answered with that.
        while pipeline.transfer(transfer(&contents, &target)).is_ok() {}
        assert!(pipeline.sync(vec![Arc::clone(&file); 5]).iter().all(Result::is_err));
        // Five reads are a submission.
        let files = (0..9).map(|n| Whole::of(vec![n; 5000], n % 2 == 0)).collect();
        let mut read = 0;
        pipeline.read_batch(files, Whole::describe, |file, contents| {
            read += 1;
            match contents {
                Ok(contents) => assert!(!file.is_direct && contents.is_none()),
                Err(failure) => assert!(file.is_direct && is_the_error(&failure.cause)),
            }
        });
        assert_eq!(read, 9);
        pipeline.stopper()();
        drop(pipeline);
        let in_flight = Totals::get(&traffic.meter.blocks_in_flight);
        let size_bytes = contents.len() as u64;
        let handled = Totals::get(&traffic.meter.handled_bytes);
        assert!(in_flight == 0 && handled.is_multiple_of(size_bytes), "{in_flight} {handled}");
    }
    assert!(failed_early > 10, "{failed_early} failed while others were in the loop");
}

#[test]
fn every_byte_is_counted_once_and_those_of_a_file_that_fails_are_taken_back() {
    let contents = vec![7; 50 * BLOCK_BYTES + 5];
    for seed in 0..50 {
        let traffic = Traffic::default();
        traffic.meter.take_times();
        let fail = if seed % 2 == 0 { 0.0 } else { 0.2 };
        let faults = Faults::default().shorten(0.1).fail(fail).delay(0.3);
        let pipeline = metered(seed, faults, traffic.clone());
        let target = tempfile::tempfile().unwrap();
        let moved = pipeline.transfer(transfer(&contents, &target));
        drop(pipeline);
        let meter = &traffic.meter;
        let [read, written, handled, in_flight] = [
            &meter.read_bytes,
            &meter.written_bytes,
            &meter.handled_bytes,
            &meter.blocks_in_flight,
        ]
        .map(Totals::get);
        assert_eq!(in_flight, 0, "seed {seed}");
        if moved.is_ok() {
            let size_bytes = contents.len() as u64;
            assert!(
                read >= size_bytes && written >= size_bytes && handled == size_bytes,
                "seed {seed}"
            );
            assert!(meter.latencies().unwrap().writes.count() >= 51, "seed {seed}");
        } else {
            assert!(seed % 2 == 1 && handled == 0, "seed {seed}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no kernel AIO")]
fn a_context_that_is_made_while_something_moves_carries_on_with_it() {
    // Kernel AIO serves these descriptors too, though it would do so itself.
    let direct = |transfer: Transfer| {
        let [source, target] = [Some(transfer.source), transfer.target]
            .map(|side| side.map(|side| Endpoint { direct: true, ..side }));
        Transfer { source: source.unwrap(), target, ..transfer }
    };
    for seed in 0..100u8 {
        let limits = Limits { queue_depth: 8, block_bytes: BLOCK_BYTES, budget: Budget::default() };
        let pipeline =
            Pipeline::start(limits, EngineKind::Auto, Traffic::default(), |_| ()).unwrap();
        let contents: Vec<u8> =
            (0..50 * BLOCK_BYTES + usize::from(seed)).map(|n| (n / 3) as u8 ^ seed).collect();
        let targets = [(); 6].map(|()| tempfile::tempfile().unwrap());
        std::thread::scope(|scope| {
            for (n, target) in targets.iter().enumerate() {
                let (pipeline, contents) = (&pipeline, &contents);
                scope.spawn(move || {
                    let transfer = transfer(contents, target);
                    let moved = pipeline
                        .transfer(if n % 2 == 0 { transfer } else { direct(transfer) })
                        .unwrap();
                    let files =
                        (0..5).map(|_| Arc::new(target.try_clone().unwrap().into())).collect();
                    assert!(pipeline.sync(files).iter().all(Result::is_ok), "seed {seed}");
                    assert_eq!(
                        moved.root(),
                        Some(*blake3::hash(contents).as_bytes()),
                        "seed {seed}"
                    );
                });
            }
        });
        assert_eq!(pipeline.has_context(), Some(true));
    }
}

#[test]
fn a_rate_is_kept_to() {
    // 40 KiB at 256 KiB a second, of which the first block is free: 36 / 256 of a second,
    // however fast the machine.
    let contents = vec![7; 10 * BLOCK_BYTES];
    let pace = Some(Arc::new(Pace::new(NonZeroU64::new(256 << 10).unwrap())));
    let pipeline = metered(1, Faults::default(), Traffic { pace, ..Traffic::default() });
    let target = tempfile::tempfile().unwrap();
    let begun = Instant::now();
    pipeline.transfer(transfer(&contents, &target)).unwrap();
    assert!(begun.elapsed() >= Duration::from_micros(140_625), "{:?}", begun.elapsed());
}

#[test]
fn a_turn_that_is_not_taken_does_not_keep_the_loop_awake() {
    // The first block fails while the second waits for its turn, which comes and goes.
    let contents = vec![7; 10 * BLOCK_BYTES];
    let pace = Some(Arc::new(Pace::new(NonZeroU64::new(256 << 10).unwrap())));
    let (faults, reaps) = (Faults::default().fail(1.0), Arc::default());
    let pipeline = counted(1, faults, Traffic { pace, ..Traffic::default() }, Arc::clone(&reaps));
    let target = tempfile::tempfile().unwrap();
    pipeline.transfer(transfer(&contents, &target)).unwrap_err();
    let before = Totals::get(&reaps);
    std::thread::sleep(Duration::from_millis(100));
    let rounds = Totals::get(&reaps) - before;
    assert!(rounds < 20, "{rounds} rounds with nothing to do");
}

/// A small file, whether it is read direct, and the size that it is said to have.
struct Whole {
    file: Arc<OwnedFd>,
    contents: Vec<u8>,
    is_direct: bool,
    size_bytes: u64,
}

impl Whole {
    fn random(random: &mut fastrand::Rng) -> Self {
        // Many have the same size, and one page or two, and each has contents of its own.
        let len = match random.u8(..) {
            0..8 => random.usize(1..1 << 20),
            8..128 => random.usize(1..3) * 4096,
            _ => random.usize(1..20_000),
        };
        let begins = random.usize(..);
        let contents: Vec<u8> =
            (0..len).map(|n| (begins.wrapping_add(n * 31) >> 7) as u8).collect();
        // Some have shrunk or grown since their size was asked for.
        let size_bytes = match random.u8(..) {
            0..16 => len as u64 + 1,
            16..32 => (len as u64).div_ceil(2),
            _ => len as u64,
        };
        Self { size_bytes, ..Self::of(contents, random.u8(..) > 32) }
    }

    fn of(contents: Vec<u8>, is_direct: bool) -> Self {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&contents).unwrap();
        let size_bytes = contents.len() as u64;
        Self { file: Arc::new(file.into()), contents, is_direct, size_bytes }
    }

    fn describe(&self) -> BatchFile<'_> {
        let way = if self.is_direct { BatchWay::Together } else { BatchWay::Ahead };
        BatchFile { file: &self.file, order: 0, size_bytes: self.size_bytes, way }
    }
}

#[test]
fn a_file_that_has_grown_beyond_the_memory_of_a_batch_ends_it_no_less() {
    let pipeline = pipeline(1, Faults::default());
    let grown = Whole { size_bytes: 64 << 20, ..Whole::of(vec![2; 5000], true) };
    let files = vec![Whole::of(vec![1; 5000], true), grown, Whole::of(vec![3; 5000], true)];
    let mut read = Vec::new();
    pipeline.read_batch(files, Whole::describe, |file, contents| {
        read.push((file.contents[0], contents.unwrap().is_some()));
    });
    assert_eq!(read, [(1, true), (2, false), (3, true)]);
}

#[test]
fn small_files_come_in_their_order_and_with_all_of_their_contents_or_none() {
    let (mut read, mut failed) = (0, 0);
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let pipeline = pipeline(seed, Faults::default().shorten(0.1).fail(0.1).delay(0.5));
        let files: Vec<_> =
            (0..random.usize(0..150)).map(|n| (n, Whole::random(&mut random))).collect();
        let (count, mut next) = (files.len(), 0);
        pipeline.read_batch(
            files,
            |(n, file)| BatchFile { order: (n / 5) as u64, ..file.describe() },
            |(n, file), contents| {
                assert_eq!(n, next, "seed {seed}");
                next += 1;
                match contents.unwrap() {
                    Some(bytes) => {
                        assert!(
                            file.is_direct && bytes.len() as u64 == file.size_bytes,
                            "seed {seed}, file {n}"
                        );
                        assert!(file.contents.starts_with(bytes), "seed {seed}, file {n}");
                        read += 1;
                    }
                    None => failed += usize::from(file.is_direct),
                }
            },
        );
        assert_eq!(next, count, "seed {seed}");
    }
    assert!(read > 1000 && failed > 100, "{read} read, {failed} failed");
}

#[test]
fn a_batch_is_read_by_its_order_and_what_is_read_elsewhere_comes_without_contents() {
    let pipeline = pipeline(1, Faults::default());
    let ways = [BatchWay::Together, BatchWay::Ahead, BatchWay::Elsewhere];
    let files: Vec<_> = (0..30).map(|n| (n, Whole::of(vec![n; 5000], true))).collect();
    let way = |n: u8| ways[usize::from(n % 3)];
    let mut seen = Vec::new();
    pipeline.read_batch(
        files,
        |(n, file)| BatchFile { order: (30 - n).into(), way: way(*n), ..file.describe() },
        |(n, file), contents| {
            let wanted = (way(n) == BatchWay::Together).then_some(&file.contents[..]);
            assert_eq!(contents.unwrap(), wanted, "{n}");
            seen.push(n);
        },
    );
    assert!(seen.into_iter().eq((0..30).rev()));
}

#[test]
fn more_readers_than_there_is_memory_for_take_turns() {
    let pipeline = pipeline(1, Faults::default().delay(0.5));
    let read = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for seed in 0..100 {
            let (pipeline, read) = (&pipeline, &read);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let files = (0..10)
                    .map(|_| Whole { is_direct: true, ..Whole::random(&mut random) })
                    .collect();
                pipeline.read_batch(files, Whole::describe, |file, contents| {
                    let contents = contents.unwrap();
                    assert_eq!(contents.is_some(), file.size_bytes <= file.contents.len() as u64);
                    assert!(
                        contents.is_none_or(|bytes| file.contents.starts_with(bytes)),
                        "seed {seed}"
                    );
                    read.fetch_add(1, Ordering::Relaxed);
                });
            });
        }
    });
    assert_eq!(read.into_inner(), 1000);
}

/// Who gets the answer closes the file: a hold of the loop's would have it closed later, when no
/// one hears of an error.
#[test]
fn an_answer_comes_when_the_loop_has_let_go_of_the_file() {
    let pipeline = pipeline(1, Faults::default().fail(1.0));
    let target = tempfile::tempfile().unwrap();
    for round in 0..3000 {
        let transfer = transfer(b"contents", &target);
        let files = [&transfer.source, transfer.target.as_ref().unwrap()];
        let files = files.map(|side| Arc::downgrade(&side.file));
        assert!(pipeline.transfer(transfer).is_err());
        let holds = files.map(|file| file.strong_count());
        assert_eq!(holds, [0, 0], "round {round}");
    }
}
