//! Random operations of any shape, order and concurrency through each engine equal plain calls.
#![cfg(all(feature = "posix", feature = "sim", feature = "threads"))]

mod common;

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;

use common::aio::shared;
use linux_aio::sim::{Faults, Sim};
use linux_aio::{
    Buffer, Context, Done, Engine, Full, Op, OpKind, Part, Pool, Posix, ReadWriteFlags,
    SharedBuffer, Threads,
};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use rustix::fs::{AtFlags, StatxFlags, fstatfs, statx};
use rustix::io::{pread, preadv, preadv2, pwrite, pwritev, pwritev2};

const DEPTH: usize = 8;
const BUFFER_BYTES: usize = 16 << 10;
/// Each operation has its own stretch of the file, since operations in flight may run in any order.
const STRETCH_BYTES: usize = 16 << 10;
const PARTS_MAX: usize = 3;
/// The bytes of a buffer before a read.
const UNTOUCHED: u8 = 0xEE;

/// The outcome of a plain call: a count or an `errno`.
type Outcome = Result<usize, i32>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Read,
    Write,
    ReadVectored,
    WriteVectored,
    Fsync,
    Fdatasync,
}

impl Kind {
    fn is_read(self) -> bool {
        matches!(self, Self::Read | Self::ReadVectored)
    }

    fn is_vectored(self) -> bool {
        matches!(self, Self::ReadVectored | Self::WriteVectored)
    }

    fn is_sync(self) -> bool {
        matches!(self, Self::Fsync | Self::Fdatasync)
    }
}

/// What is special about an operation; one thing only, since engines may report either of two.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Oddity {
    Nothing,
    Flags(ReadWriteFlags),
    /// The descriptor is open for the other direction only.
    WrongDescriptor,
    /// The last part ends beyond its buffer.
    BadRange,
    /// An offset that no file reaches, or that is invalid.
    Offset(u64),
}

/// One operation in its stretch.
#[derive(Clone, Debug)]
struct Wish {
    kind: Kind,
    /// Each part's start in its buffer, and its length.
    parts: Vec<(usize, usize)>,
    file_skip_bytes: usize,
    oddity: Oddity,
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Buffered,
    /// `O_DIRECT`, with all multiples of 4096.
    Direct,
    /// `O_DIRECT`, with arbitrary values, valid or not.
    DirectMisaligned,
}

#[derive(Clone, Debug)]
struct Case {
    mode: Mode,
    size_bytes: usize,
    batches: Vec<Vec<Wish>>,
    seed: u64,
}

fn oddity() -> impl Strategy<Value = Oddity> {
    let unknown = ReadWriteFlags::from_bits_retain(1 << 30);
    prop_oneof![
        14 => Just(Oddity::Nothing),
        1 => prop::sample::select(vec![ReadWriteFlags::DSYNC, ReadWriteFlags::SYNC])
            .prop_map(Oddity::Flags),
        2 => Just(Oddity::Flags(ReadWriteFlags::NOWAIT)),
        1 => Just(Oddity::Flags(unknown)),
        1 => Just(Oddity::WrongDescriptor),
        1 => Just(Oddity::BadRange),
        1 => prop::sample::select(vec![1 << 60, i64::MAX as u64, 1 << 63, u64::MAX])
            .prop_map(Oddity::Offset),
    ]
}

fn wish(mode: Mode) -> impl Strategy<Value = Wish> {
    let kind = prop_oneof![
        5 => Just(Kind::Read),
        5 => Just(Kind::Write),
        5 => Just(Kind::ReadVectored),
        5 => Just(Kind::WriteVectored),
        1 => Just(Kind::Fsync),
        1 => Just(Kind::Fdatasync),
    ];
    let align = match mode {
        Mode::Buffered => Just(1).boxed(),
        Mode::Direct => Just(4096).boxed(),
        Mode::DirectMisaligned => prop::sample::select(vec![4096, 4096, 512, 1]).boxed(),
    };
    (kind, align, oddity()).prop_flat_map(|(kind, align, oddity)| {
        let skip = 0..(4096 / align).max(2);
        let part = (skip.clone(), 0..=4096 / align)
            .prop_map(move |(skip, len)| (skip * align, len * align));
        let count = match kind {
            Kind::Fsync | Kind::Fdatasync => 0..=0,
            Kind::Read | Kind::Write => 1..=1,
            Kind::ReadVectored | Kind::WriteVectored => 0..=PARTS_MAX,
        };
        let skip = skip.prop_map(move |skip: usize| (skip * align).min(4096));
        (prop::collection::vec(part, count), skip, any::<u64>()).prop_map(
            move |(mut parts, file_skip_bytes, seed)| {
                let mut oddity = if kind.is_sync() { Oddity::Nothing } else { oddity };
                // A plain call that moves nothing checks no flag, and a write does not wait.
                if let Oddity::Flags(flags) = oddity
                    && (parts.iter().all(|&(_, len)| len == 0)
                        || !kind.is_read() && flags == ReadWriteFlags::NOWAIT)
                {
                    oddity = Oddity::Nothing;
                }
                if oddity == Oddity::BadRange {
                    match parts.last_mut() {
                        Some((skip, len)) => *len = BUFFER_BYTES + 1 - *skip,
                        None => oddity = Oddity::Nothing,
                    }
                }
                Wish { kind, parts, file_skip_bytes, oddity, seed }
            },
        )
    })
}

fn case() -> impl Strategy<Value = Case> {
    let mode = prop_oneof![
        2 => Just(Mode::Buffered),
        1 => Just(Mode::Direct),
        1 => Just(Mode::DirectMisaligned),
    ];
    mode.prop_flat_map(|mode| {
        let batches = prop::collection::vec(prop::collection::vec(wish(mode), 1..=DEPTH), 1..4);
        let round = if mode == Mode::Direct { 4096 } else { 1 };
        let size = (0..DEPTH * STRETCH_BYTES).prop_map(move |size| size / round * round);
        (size, batches, any::<u64>()).prop_map(move |(size_bytes, batches, seed)| Case {
            mode,
            size_bytes,
            batches,
            seed,
        })
    })
}

/// One file, with the descriptors that operations use.
struct Handles {
    both: Arc<OwnedFd>,
    read_only: Arc<OwnedFd>,
    write_only: Arc<OwnedFd>,
    /// Always buffered, to inspect the contents.
    plain: File,
}

/// Whether direct I/O on a file is real, and content with 4096: by `STATX_DIOALIGN` of statx(2), or
/// by the filesystem's kind before Linux 6.1.
fn is_direct(file: &File) -> bool {
    const EXT4_AND_XFS: [u64; 2] = [0xef53, 0x5846_5342];
    let mask = StatxFlags::DIOALIGN;
    let statx = statx(file, c"", AtFlags::EMPTY_PATH, mask).unwrap();
    match statx.stx_mask & mask.bits() {
        0 => EXT4_AND_XFS.contains(&(fstatfs(file).unwrap().f_type as u64)),
        _ => (1..=4096).contains(&statx.stx_dio_offset_align.max(statx.stx_dio_mem_align)),
    }
}

impl Handles {
    fn new(contents: &[u8], mode: Mode) -> Self {
        let plain = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        plain.write_all_at(contents, 0).unwrap();
        let direct = mode != Mode::Buffered && is_direct(&plain);
        let open = |read, write| {
            // A separate open file description: dup(2) would share the flags.
            let path = format!("/proc/self/fd/{}", plain.as_raw_fd());
            let flags = if direct { libc::O_DIRECT } else { 0 };
            shared(File::options().read(read).write(write).custom_flags(flags).open(path).unwrap())
        };
        Self {
            both: open(true, true),
            read_only: open(true, false),
            write_only: open(false, true),
            plain,
        }
    }

    fn contents(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.plain.metadata().unwrap().len() as usize];
        self.plain.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }
}

/// The operation of a wish; `index` is its tag and its stretch.
fn op(wish: &Wish, index: usize, file: &Handles, pool: &Pool) -> Op {
    fn range<B>(&(start, len): &(usize, usize), buffer: B) -> Part<B> {
        Part { buffer, start, end: start + len }
    }
    let take = || {
        let mut buffer = pool.get().expect("each operation gives its buffers back");
        buffer.fill(UNTOUCHED);
        buffer
    };
    let mut parts = wish.parts.iter();
    let read = |part: &(usize, usize)| range(part, take());
    let write = |part: &(usize, usize)| {
        let mut buffer = take();
        let noise = common::noise(BUFFER_BYTES, wish.seed ^ part.0 as u64);
        buffer.copy_from_slice(&noise);
        range(part, buffer.freeze())
    };
    let kind = match wish.kind {
        Kind::Read => OpKind::Read(parts.next().map(read).unwrap()),
        Kind::Write => OpKind::Write(parts.next().map(write).unwrap()),
        Kind::ReadVectored => OpKind::ReadVectored(parts.map(read).collect()),
        Kind::WriteVectored => OpKind::WriteVectored(parts.map(write).collect()),
        Kind::Fsync => OpKind::Fsync,
        Kind::Fdatasync => OpKind::Fdatasync,
    };
    let file = match wish.oddity {
        Oddity::WrongDescriptor if wish.kind.is_read() => &file.write_only,
        Oddity::WrongDescriptor => &file.read_only,
        _ => &file.both,
    };
    let offset_bytes = match wish.oddity {
        Oddity::Offset(offset_bytes) => offset_bytes,
        _ if wish.kind.is_sync() => 0,
        _ => (index * STRETCH_BYTES + wish.file_skip_bytes) as u64,
    };
    let flags =
        if let Oddity::Flags(flags) = wish.oddity { flags } else { ReadWriteFlags::empty() };
    Op::new(Arc::clone(file), kind).at(offset_bytes).flags(flags).tag(index as u64)
}

/// Runs an operation by plain system calls, at once.
fn plain(op: &mut Op) -> Outcome {
    if op.offset_bytes > i64::MAX as u64 {
        // preadv2 would give -1 another meaning.
        return Err(libc::EINVAL);
    }
    let (file, offset, flags) = (&op.file, op.offset_bytes, op.flags);
    let in_range =
        |parts: usize, whole: usize| if parts == whole { Ok(()) } else { Err(libc::EINVAL) };
    let moved = match &mut op.kind {
        OpKind::Fsync | OpKind::Fdatasync => Ok(0),
        OpKind::Read(part) => match part.bytes_mut() {
            Some(bytes) if flags.is_empty() => pread(file, bytes, offset),
            Some(bytes) => preadv2(file, &mut [IoSliceMut::new(bytes)], offset, flags),
            None => return Err(libc::EINVAL),
        },
        OpKind::Write(part) => match part.bytes() {
            Some(bytes) if flags.is_empty() => pwrite(file, bytes, offset),
            Some(bytes) => pwritev2(file, &[IoSlice::new(bytes)], offset, flags),
            None => return Err(libc::EINVAL),
        },
        OpKind::ReadVectored(parts) => {
            let whole = parts.len();
            let mut slices: Vec<_> =
                parts.iter_mut().filter_map(Part::bytes_mut).map(IoSliceMut::new).collect();
            in_range(slices.len(), whole)?;
            if flags.is_empty() {
                preadv(file, &mut slices, offset)
            } else {
                preadv2(file, &mut slices, offset, flags)
            }
        }
        OpKind::WriteVectored(parts) => {
            let slices: Vec<_> = parts.iter().filter_map(Part::bytes).map(IoSlice::new).collect();
            in_range(slices.len(), parts.len())?;
            if flags.is_empty() {
                pwritev(file, &slices, offset)
            } else {
                pwritev2(file, &slices, offset, flags)
            }
        }
        kind => panic!("no wish is {kind:?}"),
    };
    moved.map_err(rustix::io::Errno::raw_os_error)
}

/// The buffers that an operation reads into.
fn read_parts(op: &Op) -> &[Part<Buffer>] {
    match &op.kind {
        OpKind::Read(part) => std::slice::from_ref(part),
        OpKind::ReadVectored(parts) => parts,
        _ => &[],
    }
}

/// The first `count` bytes that a read brought.
fn read_bytes(op: &Op, count: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        read_parts(op).iter().filter_map(Part::bytes).flatten().copied().collect();
    bytes.truncate(count);
    bytes
}

/// The rest of an operation that moved `count` of its bytes; `None` if it is complete.
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
    let some_read =
        |parts: Vec<Part<Buffer>>| (!parts.is_empty()).then_some(OpKind::ReadVectored(parts));
    let some_write = |parts: Vec<Part<SharedBuffer>>| {
        (!parts.is_empty()).then_some(OpKind::WriteVectored(parts))
    };
    let kind = match op.kind {
        OpKind::Read(part) => some_read(cut(vec![part], count)),
        OpKind::ReadVectored(parts) => some_read(cut(parts, count)),
        OpKind::Write(part) => some_write(cut(vec![part], count)),
        OpKind::WriteVectored(parts) => some_write(cut(parts, count)),
        _ => None,
    };
    let at = op.offset_bytes + count as u64;
    kind.map(|kind| Op::new(op.file, kind).at(at).tag(op.tag).flags(op.flags))
}

/// An engine under test.
struct Subject {
    name: &'static str,
    engine: Box<dyn Engine>,
}

impl Subject {
    /// True if the engine cannot express the operation and answers EOPNOTSUPP.
    fn refuses(&self, op: &Op) -> bool {
        let is_vectored = matches!(op.kind, OpKind::ReadVectored(_) | OpKind::WriteVectored(_));
        self.name == "posix" && (is_vectored || !op.flags.is_empty())
    }

    /// Runs a batch to its end. Returns each operation's outcome and bytes read, by tag. Retries
    /// what the fake cuts short or fails, and accepts neither from the others.
    fn run(&mut self, batch: Vec<Op>, mode: Mode) -> Vec<(Outcome, Vec<u8>)> {
        let is_sim = self.name == "sim";
        // A direct operation cannot continue from an end that is not aligned.
        let shortens = is_sim && mode != Mode::DirectMisaligned;
        let mut outcomes: Vec<Option<Outcome>> = vec![None; batch.len()];
        let mut read = vec![Vec::new(); batch.len()];
        let (mut waiting, mut out) = (batch, Vec::new());
        while self.engine.in_flight() > 0 || !waiting.is_empty() {
            while let Some(op) = waiting.pop() {
                if let Err(Full(op)) = self.engine.queue(op) {
                    waiting.push(op);
                    break;
                }
            }
            self.engine.submit();
            self.engine.reap(1, None, &mut out).unwrap();
            for Done { op, result, .. } in out.drain(..) {
                let tag = op.tag as usize;
                let result =
                    result.map_err(|error| error.raw_os_error().expect("the kernel's own"));
                // NOWAIT may bring only what is in memory. Such an operation runs again without.
                let would_wait = op.flags == ReadWriteFlags::NOWAIT
                    && !self.refuses(&op)
                    && match result {
                        Ok(count) => count < read_bytes(&op, usize::MAX).len(),
                        Err(code) => matches!(code, libc::EAGAIN | libc::EOPNOTSUPP),
                    };
                if would_wait {
                    waiting.push(op.flags(ReadWriteFlags::empty()));
                } else if is_sim && result == Err(libc::EIO) {
                    waiting.push(op);
                } else {
                    for part in read_parts(&op).iter().filter(|part| part.bytes().is_some()) {
                        let outside =
                            part.buffer[..part.start].iter().chain(&part.buffer[part.end..]);
                        let intact = shortens || outside.into_iter().all(|&byte| byte == UNTOUCHED);
                        assert!(intact, "{}: bytes outside the parts", self.name);
                    }
                    // A whole operation comes back once; the counts of a short one's pieces add up.
                    let before = outcomes[tag].replace(result);
                    assert!(before.is_none() || shortens, "{}: twice, {before:?}", self.name);
                    if let Ok(count) = result {
                        read[tag].extend(read_bytes(&op, count));
                        outcomes[tag] = Some(Ok(before.map_or(0, Result::unwrap) + count));
                        let left = (shortens && count > 0).then(|| rest(op, count)).flatten();
                        waiting.extend(left);
                    }
                }
            }
        }
        outcomes
            .into_iter()
            .map(|outcome| outcome.expect("each operation comes back"))
            .zip(read)
            .collect()
    }
}

/// The outcomes of plain calls: reads before the batch's own writes, and everything after them.
struct Plain {
    early: Vec<Outcome>,
    late: Vec<(Outcome, Vec<u8>)>,
}

fn run_plainly(batch: &[Wish], refused: &[bool], twin_op: impl Fn(usize) -> Op) -> Plain {
    let is_read = |index: &usize| batch[*index].kind.is_read();
    // A read may or may not see how far the batch's own writes extend the file. So plain reads run
    // before and after them.
    let early: Vec<_> = (0..batch.len())
        .map(|n| if is_read(&n) { plain(&mut twin_op(n)) } else { Ok(0) })
        .collect();
    let mut late: Vec<(Outcome, Vec<u8>)> = vec![(Ok(0), Vec::new()); batch.len()];
    for index in (0..batch.len()).filter(|n| !is_read(n)).chain((0..batch.len()).filter(is_read)) {
        if !refused[index] {
            let mut op = twin_op(index);
            let outcome = plain(&mut op);
            late[index] = (outcome, read_bytes(&op, outcome.unwrap_or(0)));
        }
    }
    Plain { early, late }
}

/// Runs a case through one engine on one file, and by plain calls on another.
fn check(
    subject: &mut Subject,
    case: &Case,
    pool: &Pool,
    twin_pool: &Pool,
) -> Result<(), TestCaseError> {
    let contents = common::noise(case.size_bytes, case.seed);
    let (file, twin) = (Handles::new(&contents, case.mode), Handles::new(&contents, case.mode));
    for (number, batch) in case.batches.iter().enumerate() {
        let ops: Vec<Op> =
            batch.iter().enumerate().map(|(index, wish)| op(wish, index, &file, pool)).collect();
        let refused: Vec<bool> = ops.iter().map(|op| subject.refuses(op)).collect();
        let outcomes = subject.run(ops, case.mode);
        let twin_op = |index: usize| {
            let twin = op(&batch[index], index, &twin, twin_pool);
            match batch[index].oddity {
                Oddity::Flags(flags) if flags != ReadWriteFlags::NOWAIT => twin,
                // Only the engine may have to wait.
                _ => twin.flags(ReadWriteFlags::empty()),
            }
        };
        let is_read = |index: &usize| batch[*index].kind.is_read();
        let Plain { early, late } = run_plainly(batch, &refused, twin_op);
        for (index, (outcome, bytes)) in outcomes.into_iter().enumerate() {
            let name =
                format!("{}, batch {number}, wish {index}: {:?}", subject.name, batch[index]);
            let (latest, expected) = &late[index];
            match (outcome, early[index], *latest) {
                (outcome, ..) if refused[index] => {
                    prop_assert_eq!(outcome, Err(libc::EOPNOTSUPP), "{}", name)
                }
                (Ok(count), Ok(least), Ok(most)) if is_read(&index) => {
                    prop_assert!(
                        (least..=most).contains(&count),
                        "{name}: {count}, not {least} to {most}"
                    );
                    prop_assert!(bytes == expected[..count], "{name}: other bytes");
                }
                // A direct read beyond the end brings nothing. It may be an error once the file
                // reaches there.
                (outcome, earliest, latest) if is_read(&index) => {
                    prop_assert!(
                        outcome == earliest || outcome == latest,
                        "{name}: {outcome:?}, {earliest:?}, {latest:?}"
                    );
                }
                (outcome, _, latest) => prop_assert_eq!(outcome, latest, "{}", name),
            }
        }
    }
    prop_assert!(file.contents() == twin.contents(), "{}: the file differs", subject.name);
    Ok(())
}

/// Counts what was tried, to show that nothing was left out.
#[derive(Default)]
struct Seen {
    wishes: usize,
    vectored: usize,
    odd: usize,
    misaligned_cases: usize,
}

#[test]
fn every_engine_equals_pread_and_pwrite() {
    const CASES: u32 = 1000;
    let seed: u64 = std::env::var("AIOCP_SEED")
        .map_or_else(|_| fastrand::u64(..), |text| text.parse().unwrap());
    // The harness shows this if the test fails.
    println!("the seed is {seed}; the same again with AIOCP_SEED={seed}");
    let mut seed_bytes = [0; 32];
    seed_bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed_bytes);

    // One engine of each kind serves all cases: destroying a context takes milliseconds.
    let mut by_system_call = Context::new(DEPTH as u32).unwrap();
    by_system_call.set_system_calls_only(true);
    let faults = |case: &Case| match case.mode {
        Mode::Buffered => Faults::default().shorten(0.3).fail(0.1).delay(0.3),
        Mode::Direct => Faults::default().shorten(0.3).fail(0.1).delay(0.3).grain_bytes(4096),
        // A piece of an operation that is wrong as a whole may be right.
        Mode::DirectMisaligned => Faults::default().fail(0.1).delay(0.3),
    };
    let subject = |name, engine: Box<dyn Engine>| Subject { name, engine };
    let subjects = std::cell::RefCell::new([
        subject("kernel", Box::new(Context::new(DEPTH as u32).unwrap())),
        subject("kernel, system calls only", Box::new(by_system_call)),
        subject("posix", Box::new(Posix::new(DEPTH, None))),
        subject("threads", Box::new(Threads::new(4, DEPTH, None).unwrap())),
        subject("sim", Box::new(Sim::new(1, DEPTH, Faults::default()))),
    ]);
    let pool = Pool::new(PARTS_MAX * DEPTH, BUFFER_BYTES).unwrap();
    let twin_pool = Pool::new(PARTS_MAX, BUFFER_BYTES).unwrap();
    let seen = std::cell::RefCell::new(Seen::default());
    let config = ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Default::default()
    };
    let result = TestRunner::new_with_rng(config, rng).run(&case(), |case| {
        for subject in subjects.borrow_mut().iter_mut() {
            // The fake's choices belong to the case, so that a failure can be reproduced.
            if subject.name == "sim" {
                subject.engine = Box::new(Sim::new(case.seed, DEPTH, faults(&case)));
            }
            check(subject, &case, &pool, &twin_pool)?;
        }
        let mut seen = seen.borrow_mut();
        let wishes = || case.batches.iter().flatten();
        seen.wishes += wishes().count();
        seen.vectored += wishes().filter(|wish| wish.kind.is_vectored()).count();
        seen.odd += wishes().filter(|wish| wish.oddity != Oddity::Nothing).count();
        seen.misaligned_cases += usize::from(case.mode == Mode::DirectMisaligned);
        Ok(())
    });
    // The message contains the shrunk case.
    result.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    let Seen { wishes, vectored, odd, misaligned_cases } = seen.into_inner();
    assert!(
        vectored > wishes / 4 && odd > wishes / 8 && misaligned_cases > 100,
        "{wishes} {vectored} {odd}"
    );
}
