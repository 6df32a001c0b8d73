//! Random operations through each engine equal plain pread and pwrite, whatever their length, alignment, order and company.

mod common;

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;

use aiocp::aio::sim::{Faults, Sim};
use aiocp::aio::{Buffer, Context, Done, Engine, Op, OpKind, Part, Pool, Posix, Threads};
use aiocp::sys::fs::{DirectIo, direct_io, set_direct};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

const DEPTH: usize = 16;
const BUFFER_BYTES: usize = 16 << 10;
/// Each operation has a stretch of the file to itself, since the order among those in flight is anybody's.
const STRETCH_BYTES: usize = 16 << 10;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Read,
    Write,
    Fsync,
    Fdatasync,
}

/// One operation in its stretch: lengths of the parts, where they begin in file and buffer.
#[derive(Clone, Debug)]
struct Wish {
    kind: Kind,
    /// Several parts make it a vectored operation, where the engine has these.
    parts_bytes: Vec<usize>,
    file_skip_bytes: usize,
    buffer_skip_bytes: usize,
    seed: u64,
}

#[derive(Clone, Debug)]
struct Case {
    direct: bool,
    size_bytes: usize,
    batches: Vec<Vec<Wish>>,
    seed: u64,
}

fn wish(align: usize) -> impl Strategy<Value = Wish> {
    let kind = prop_oneof![
        4 => Just(Kind::Read),
        4 => Just(Kind::Write),
        1 => Just(Kind::Fsync),
        1 => Just(Kind::Fdatasync),
    ];
    let part = 1..=(4096 / align.min(4096));
    let parts = prop::collection::vec(part.prop_map(move |units| units * align), 1..4);
    let skip = 0..(4096 / align).max(1);
    let wish = (kind, parts, skip.clone(), skip, any::<u64>());
    wish.prop_map(move |(kind, parts_bytes, file_skip, buffer_skip, seed)| Wish {
        kind,
        parts_bytes,
        file_skip_bytes: file_skip * align,
        buffer_skip_bytes: buffer_skip * align,
        seed,
    })
}

fn case() -> impl Strategy<Value = Case> {
    any::<bool>().prop_flat_map(|direct| {
        let align = if direct { 4096 } else { 1 };
        let batches = prop::collection::vec(prop::collection::vec(wish(align), 1..DEPTH / 3), 1..4);
        let size = (0..DEPTH * STRETCH_BYTES).prop_map(move |size| if direct { size / 4096 * 4096 } else { size });
        (size, batches, any::<u64>()).prop_map(move |(size_bytes, batches, seed)| Case {
            direct,
            size_bytes,
            batches,
            seed,
        })
    })
}

/// What has to be seen: the file as plain pread and pwrite would leave it, in memory.
struct Model(Vec<u8>);

impl Model {
    fn read(&self, range: Range<usize>) -> &[u8] {
        &self.0[range.start.min(self.0.len())..range.end.min(self.0.len())]
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.0.resize(self.0.len().max(end), 0);
        self.0[at..end].copy_from_slice(bytes);
    }
}

/// An engine under test, and whether it has vectored operations.
struct Subject {
    name: &'static str,
    engine: Box<dyn Engine>,
    vectors: bool,
}

/// One part of a wish on its way: what is left of it.
struct Piece {
    at: usize,
    bytes: Vec<u8>,
}

fn take(pool: &Pool) -> Buffer {
    pool.get().expect("each operation gives its buffers back")
}

/// The operations of a wish, with tags that name `index` and the part.
fn ops(wish: &Wish, index: usize, file: &Arc<OwnedFd>, pool: &Pool, vectors: bool) -> Vec<(Op, Vec<Piece>)> {
    let start = index * STRETCH_BYTES + wish.file_skip_bytes;
    let mut at = start;
    let pieces = wish.parts_bytes.iter().enumerate().map(|(n, &len)| {
        let piece = Piece { at, bytes: common::noise(len, wish.seed ^ n as u64) };
        at += len;
        piece
    });
    let pieces: Vec<_> = pieces.collect();
    let range = |len: usize| wish.buffer_skip_bytes..wish.buffer_skip_bytes + len;
    let read = |piece: &Piece| {
        let mut buffer = take(pool);
        buffer.fill(0xEE);
        Part::new(buffer, range(piece.bytes.len()))
    };
    let write = |piece: &Piece| {
        let mut buffer = take(pool);
        buffer[range(piece.bytes.len())].copy_from_slice(&piece.bytes);
        Part::new(buffer.freeze(), range(piece.bytes.len()))
    };
    let op = |kind, at: usize| Op::new(Arc::clone(file), kind).at(at as u64).tag(index as u64);
    match wish.kind {
        Kind::Fsync => vec![(op(OpKind::Fsync, 0), Vec::new())],
        Kind::Fdatasync => vec![(op(OpKind::Fdatasync, 0), Vec::new())],
        Kind::Read if vectors && pieces.len() > 1 => {
            vec![(op(OpKind::ReadVectored(pieces.iter().map(read).collect()), start), pieces)]
        }
        Kind::Write if vectors && pieces.len() > 1 => {
            vec![(op(OpKind::WriteVectored(pieces.iter().map(write).collect()), start), pieces)]
        }
        Kind::Read => pieces.into_iter().map(|p| (op(OpKind::Read(read(&p)), p.at), vec![p])).collect(),
        Kind::Write => pieces.into_iter().map(|p| (op(OpKind::Write(write(&p)), p.at), vec![p])).collect(),
    }
}

/// What an operation that moved `count` of its bytes still has to do; none if it is over.
fn rest(op: Op, count: usize) -> Option<Op> {
    fn cut<B>(parts: Vec<Part<B>>, mut count: usize) -> Vec<Part<B>> {
        let mut left = Vec::new();
        for Part { buffer, start, end } in parts {
            let done = count.min(end - start);
            count -= done;
            if start + done < end {
                left.push(Part { buffer, start: start + done, end });
            }
        }
        left
    }
    let offset_bytes = op.offset_bytes + count as u64;
    let kind = match op.kind {
        OpKind::Read(part) => OpKind::ReadVectored(cut(vec![part], count)),
        OpKind::ReadVectored(parts) => OpKind::ReadVectored(cut(parts, count)),
        OpKind::Write(part) => OpKind::WriteVectored(cut(vec![part], count)),
        OpKind::WriteVectored(parts) => OpKind::WriteVectored(cut(parts, count)),
        _ => return None,
    };
    let kind = match kind {
        OpKind::ReadVectored(mut parts) if parts.len() == 1 => OpKind::Read(parts.pop()?),
        OpKind::WriteVectored(mut parts) if parts.len() == 1 => OpKind::Write(parts.pop()?),
        OpKind::ReadVectored(parts) if parts.is_empty() => return None,
        OpKind::WriteVectored(parts) if parts.is_empty() => return None,
        kind => kind,
    };
    Some(Op { kind, offset_bytes, ..op })
}

/// Runs a batch to its end: short counts are gone on with, made-up failures tried again.
fn run_batch(subject: &mut Subject, batch: Vec<Op>, is_sim: bool) -> Vec<(u64, u64, usize)> {
    let engine = &mut subject.engine;
    let (mut waiting, mut out, mut finished) = (batch, Vec::new(), Vec::new());
    while engine.in_flight() > 0 || !waiting.is_empty() {
        while let Some(op) = waiting.pop() {
            if let Err(op) = engine.queue(op) {
                waiting.push(op);
                break;
            }
        }
        engine.submit();
        engine.reap(1, None, &mut out).unwrap();
        for Done { op, result } in out.drain(..) {
            match result {
                Ok(count) => {
                    finished.push((op.tag, op.offset_bytes, count));
                    // A read that moves nothing is at the end of the file.
                    waiting.extend((count > 0).then(|| rest(op, count)).flatten());
                }
                Err(error) if is_sim && error.raw_os_error() == Some(libc::EIO) => waiting.push(op),
                Err(error) => panic!("{}: {error}", subject.name),
            }
        }
    }
    finished
}

/// Carries out a case through one engine, comparing with the model as it goes.
fn check(subject: &mut Subject, case: &Case, pool: &Pool) -> Result<(), TestCaseError> {
    let file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut model = Model(common::noise(case.size_bytes, case.seed));
    file.write_all_at(&model.0, 0).unwrap();
    let handle = Arc::new(OwnedFd::from(file.try_clone().unwrap()));
    if case.direct && matches!(direct_io(&file).unwrap(), DirectIo::Aligned(align) if align <= 4096) {
        set_direct(&file, true).unwrap();
    }
    for batch in &case.batches {
        let before = Model(model.0.clone());
        let (mut started, mut expected_reads) = (Vec::new(), Vec::new());
        for (index, wish) in batch.iter().enumerate() {
            for (op, pieces) in ops(wish, index, &handle, pool, subject.vectors) {
                for piece in pieces {
                    match wish.kind {
                        Kind::Write => model.write(piece.at, &piece.bytes),
                        _ => expected_reads.push((index as u64, piece.at..piece.at + piece.bytes.len())),
                    }
                }
                started.push(op);
            }
        }
        let is_sim = subject.name == "sim";
        let moved = run_batch(subject, started, is_sim);
        for (tag, range) in expected_reads {
            // Bytes that a batch's own writes added to the file may or may not be there yet for its reads.
            let least = before.read(range.clone()).len();
            let got: usize = moved.iter().filter(|(t, ..)| *t == tag).map(|(.., count)| count).sum();
            prop_assert!(got >= least, "{}: read {got} of {least} bytes at {range:?}", subject.name);
        }
        // A second pass reads every stretch back through the engine itself, with nothing else in flight.
        let mut reads = Vec::new();
        for index in 0..DEPTH {
            let op = Op::read(Arc::clone(&handle), take(pool), (index * STRETCH_BYTES) as u64).tag(index as u64);
            reads.push(op);
        }
        compare_reads(subject, reads, &model)?;
    }
    set_direct(&file, false).unwrap();
    let mut contents = vec![0; model.0.len()];
    file.read_exact_at(&mut contents, 0).unwrap();
    prop_assert!(contents == model.0, "{}: the file differs", subject.name);
    prop_assert_eq!(file.metadata().unwrap().len(), model.0.len() as u64);
    Ok(())
}

/// Reads, and compares each byte that came with the model's.
fn compare_reads(subject: &mut Subject, mut waiting: Vec<Op>, model: &Model) -> Result<(), TestCaseError> {
    let mut out = Vec::new();
    while subject.engine.in_flight() > 0 || !waiting.is_empty() {
        while let Some(op) = waiting.pop() {
            if let Err(op) = subject.engine.queue(op) {
                waiting.push(op);
                break;
            }
        }
        subject.engine.submit();
        subject.engine.reap(1, None, &mut out).unwrap();
        for Done { op, result } in out.drain(..) {
            let at = op.offset_bytes as usize;
            let Ok(count) = result else {
                waiting.push(op);
                continue;
            };
            let OpKind::Read(part) = &op.kind else { panic!("a read comes back a read") };
            let bytes = &part.bytes().unwrap()[..count];
            prop_assert!(bytes == model.read(at..at + count), "{}: {count} bytes at {at} differ", subject.name);
            let more = count > 0 && at + count < model.0.len();
            prop_assert!(count > 0 || at >= model.0.len(), "{}: nothing at {at}", subject.name);
            waiting.extend(more.then(|| rest(op, count)).flatten());
        }
    }
    Ok(())
}

#[test]
fn every_engine_equals_pread_and_pwrite() {
    const CASES: u32 = 1000;
    // One of each for all cases: destroying a context takes milliseconds.
    let mut by_system_call = Context::new(DEPTH as u32).unwrap();
    by_system_call.set_system_calls_only(true);
    let faults = |case: &Case| {
        let grain_bytes = if case.direct { 4096 } else { 1 };
        Faults { shorten: 0.3, fail: 0.1, delay: 0.3, grain_bytes }
    };
    let subject = |name, engine: Box<dyn Engine>, vectors| Subject { name, engine, vectors };
    let subjects = std::cell::RefCell::new([
        subject("kernel", Box::new(Context::new(DEPTH as u32).unwrap()), true),
        subject("kernel, system calls only", Box::new(by_system_call), true),
        subject("posix", Box::new(Posix::new(DEPTH, None)), false),
        subject("threads", Box::new(Threads::new(4, DEPTH, None).unwrap()), true),
        subject("sim", Box::new(Sim::new(1, DEPTH, Faults::default())), true),
    ]);
    let pool = Pool::new(3 * DEPTH, BUFFER_BYTES).unwrap();
    let mut runner = TestRunner::new(ProptestConfig { cases: CASES, failure_persistence: None, ..Default::default() });
    let result = runner.run(&case(), |case| {
        for subject in subjects.borrow_mut().iter_mut() {
            // The fake's choices are the case's own, so that a failure can be had again.
            if subject.name == "sim" {
                subject.engine = Box::new(Sim::new(case.seed, DEPTH, faults(&case)));
            }
            check(subject, &case, &pool)?;
        }
        Ok(())
    });
    if let Err(TestError::Fail(reason, case)) = &result {
        std::io::stderr().write_all(format!("{reason}\nthe case, with its seed: {case:#?}\n").as_bytes()).unwrap();
    }
    result.unwrap();
}

#[test]
fn each_engine_copies_the_same_tree_to_the_same_hashes() {
    let folder = common::folder();
    let source = folder.path().join("source");
    common::make_tree(&source);
    // Cold and large, so that the blocks go through the engine and not through a worker.
    for n in 0..3 {
        let file = File::create(source.join(format!("big{n}"))).unwrap();
        file.write_all_at(&common::noise((9 << 20) + n, n as u64), 0).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    let mut manifests = Vec::new();
    for engine in ["kernel", "posix", "threads"] {
        let (target, manifest) = (folder.path().join(engine), folder.path().join(format!("{engine}.b3")));
        let mut command: Command = common::aiocp();
        command.arg(format!("--engine={engine}")).arg("--manifest").arg(&manifest).arg(&source).arg(&target);
        common::run(&mut command, 0);
        assert_eq!(common::describe(&source), common::describe(&target), "{engine}");
        manifests.push(std::fs::read_to_string(manifest).unwrap());
        common::check_manifest(&manifests[0], &target);
    }
    assert!(manifests.iter().all(|manifest| *manifest == manifests[0]));
}
