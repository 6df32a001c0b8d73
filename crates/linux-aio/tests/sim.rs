//! The seeded fake: one seed always gives the same run, and the fake does nothing that an engine
//! may not.
#![cfg(all(feature = "sim", feature = "threads"))]

mod common;

use std::fs;
use std::path::Path;

use common::aio::*;
use common::*;
use linux_aio::sim::{Faults, Sim};
use linux_aio::{Engine, Full, Op, OpKind, Part, Pool, ReadWriteFlags, Threads};

fn bad_day() -> Faults {
    Faults::default().shorten(0.4).fail(0.2).delay(0.3).grain_bytes(512)
}

/// One operation as it came back: its tag, the bytes of a read, and the count or errno.
type Outcome = (u64, Vec<u8>, Result<usize, i32>);

/// Two hundred reads and writes of one file. Returns how each came back, in order, and the file's
/// contents.
fn run_of(seed: u64, faults: Faults, folder: &Path) -> (Vec<Outcome>, Vec<u8>) {
    let path = folder.join("f");
    let file = file_with(&path, &noise(400 * 4096, 1));
    let pool = Pool::new(16, 4096).unwrap();
    let mut engine = Sim::new(seed, 9, faults);
    let (mut outcomes, mut done, mut tag) = (Vec::new(), Vec::new(), 0);
    while tag < 200 || engine.in_flight() > 0 {
        while tag < 200 {
            let op = match tag % 2 {
                0 => read(&file, &pool, tag * 4096),
                _ => Op::write(file.clone(), filled(&pool, &noise(4096, 100 + tag)), tag * 4096),
            };
            match engine.queue(op.tag(tag)) {
                Ok(()) => tag += 1,
                Err(Full(back)) => {
                    assert_eq!(
                        (back.tag, engine.in_flight()),
                        (tag, 9),
                        "a full engine returns the operation"
                    );
                    break;
                }
            }
        }
        let submitted = engine.submit();
        assert_eq!((submitted.refused, submitted.waiting), (0, 0));
        let count = engine.reap(1, None, &mut done).unwrap();
        assert_eq!(count, done.len(), "its count matches its bytes");
        for done in done.drain(..) {
            let read = matches!(done.op.kind, OpKind::Read(_)) && done.result.is_ok();
            let bytes = if read { read_bytes(&done).to_vec() } else { Vec::new() };
            outcomes.push((
                done.op.tag,
                bytes,
                done.result.map_err(|error| error.raw_os_error().unwrap()),
            ));
        }
    }
    assert_eq!(free_buffers(&pool).len(), 16, "every buffer came back");
    (outcomes, fs::read(&path).unwrap())
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_another() {
    let folder = folder();
    for seed in 0..5 {
        assert!(
            run_of(seed, bad_day(), folder.path()) == run_of(seed, bad_day(), folder.path()),
            "seed {seed}"
        );
    }
    assert!(run_of(1, bad_day(), folder.path()).0 != run_of(2, bad_day(), folder.path()).0);
}

#[test]
fn each_operation_comes_back_once_and_its_count_is_what_it_moved() {
    let folder = folder();
    let before = noise(400 * 4096, 1);
    let (mut failed, mut short, mut out_of_order) = (0, 0, 0);
    for seed in 0..10 {
        let (outcomes, after) = run_of(seed, bad_day(), folder.path());
        let mut tags: Vec<u64> = outcomes.iter().map(|&(tag, ..)| tag).collect();
        out_of_order += usize::from(!tags.is_sorted());
        tags.sort_unstable();
        assert!(tags.into_iter().eq(0..200), "seed {seed}");
        let mut expected = before.clone();
        for (tag, bytes, result) in outcomes {
            let at = tag as usize * 4096;
            let count = match result {
                Ok(count) => count,
                Err(code) => {
                    assert_eq!(code, libc::EIO);
                    failed += 1;
                    0
                }
            };
            assert!(
                count % 512 == 0 && (result.is_err() || count > 0),
                "seed {seed}, {tag}: {result:?}"
            );
            short += usize::from(result.is_ok() && count < 4096);
            if tag % 2 == 0 {
                assert!(bytes == before[at..at + count], "seed {seed}, {tag}");
            } else {
                expected[at..at + count].copy_from_slice(&noise(4096, 100 + tag)[..count]);
            }
        }
        assert!(
            after == expected,
            "seed {seed}: failures move nothing, and short operations just their count"
        );
    }
    assert!(failed > 100 && short > 100 && out_of_order == 10, "{failed} {short} {out_of_order}");
}

#[test]
fn a_good_day_is_only_out_of_order() {
    let folder = folder();
    let (outcomes, _) = run_of(3, Faults::default(), folder.path());
    assert!(outcomes.iter().all(|(.., result)| *result == Ok(4096)));
    assert!(!outcomes.is_sorted_by_key(|&(tag, ..)| tag));
}

#[test]
fn a_grain_of_no_bytes_is_as_one_of_a_byte() {
    let contents = noise(4096, 1);
    let folder = folder();
    let file = file_with(&folder.path().join("f"), &contents);
    let mut engine = Sim::new(1, 1, Faults::default().shorten(1.0).grain_bytes(0));
    engine.queue(Op::read(&file, vec![0; 4096], 0)).unwrap();
    let mut done = Vec::new();
    while engine.in_flight() > 0 {
        engine.submit_and_reap(1, None, &mut done).unwrap();
    }
    let read = done[0].bytes().unwrap();
    assert!((1..4096).contains(&read.len()) && contents.starts_with(read));
}

#[test]
fn what_is_delayed_always_never_ends() {
    let zeros = shared(fs::File::open("/dev/zero").unwrap());
    let pool = Pool::new(1, 4096).unwrap();
    let mut engine = Sim::new(0, 1, Faults::default().delay(1.0));
    engine.queue(read(&zeros, &pool, 0)).unwrap();
    engine.submit();
    for _ in 0..100 {
        assert_eq!(engine.reap(1, None, &mut Vec::new()).unwrap(), 0);
    }
    assert_eq!(engine.in_flight(), 1);
    drop(engine);
    assert!(pool.get().is_some());
}

#[test]
fn an_offset_beyond_all_files_never_means_the_place_where_the_file_stands() {
    let folder = folder();
    let path = folder.path().join("f");
    let file = file_with(&path, b"text");
    let pool = Pool::new(4, 4096).unwrap();
    // preadv2 takes -1 for "the current position". For an offset of this type that is the largest
    // value.
    let plain: Box<dyn Engine> = Box::new(Sim::new(0, 4, Faults::default()));
    for mut engine in [plain, Box::new(Threads::new(1, 4, None).unwrap())] {
        let part = |text: &[u8]| Part::new(filled(&pool, text), 0..text.len());
        let ops = [
            Op::new(file.clone(), OpKind::Write(part(b"TE"))).flags(ReadWriteFlags::DSYNC),
            Op::new(file.clone(), OpKind::WriteVectored(vec![part(b"T"), part(b"E")])),
            Op::new(file.clone(), OpKind::ReadVectored(vec![Part::whole(pool.get().unwrap())])),
        ];
        for op in ops {
            engine.queue(op.at(u64::MAX)).unwrap();
        }
        engine.submit();
        let mut done = Vec::new();
        while engine.in_flight() > 0 {
            engine.reap(1, None, &mut done).unwrap();
        }
        assert!(
            done.iter().all(|done| errno(done) == Some(libc::EINVAL)),
            "{:?}",
            done.iter().map(errno).collect::<Vec<_>>()
        );
        assert_eq!(fs::read(&path).unwrap(), b"text");
    }
}
