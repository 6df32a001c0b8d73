//! What libaio's own harness checks (`harness/cases`), of this interface.
//!
//! | case | what it checks | here |
//! | --- | --- | --- |
//! | 2 | contexts of no, of too many operations, at bad addresses | `aio_kernel`:
//! `a_context_of_no_or_too_many_operations_says_what_is_wrong`; a context has no address to give,
//! and is made once | | 3 | batches at bad addresses, of contexts that are none, of none |
//! `aio_context`: `every_operation_that_ends_is_counted_and_signals_its_eventfd` submits nothing;
//! addresses and contexts are never the caller's | | 4 | descriptors without the right, `O_APPEND`
//! | `aio_kernel`: `a_refused_operation_comes_back_from_any_place_in_the_batch_and_stops_no_other`;
//! appending below | | 5 | a file written from a mapping of itself | below; a mapping that may not
//! be written is no `IoBufMut`, which a read needs | | 6 | huge reads and writes | below | | 7 |
//! writes over the limit of RLIMIT_FSIZE | below | | 8 | writes over the largest offset of the
//! filesystem | below | | 9 | libaio has none | | | 10 | writes to a filesystem that fills | below
//! | | 11 | one page read and written many times | below | | 12 | a context in a forked child |
//! `signals_and_forks`: `a_forked_child_cannot_steal_an_event_or_destroy_the_context` | | 13 |
//! several large writes at once | below | | 14 | a process that ends with operations in flight |
//! below | | 15 | vectors | `aio_kernel`:
//! `vectors_are_read_and_written_in_order_and_up_to_1024_parts` | | 16 | an eventfd | `aio_kernel`:
//! `an_eventfd_counts_the_completions` | | 17 | more operations than the ring has places |
//! `aio_reap`: `what_a_full_ring_does_not_take_stays_queued_and_goes_next_time`,
//! `the_ring_wraps_around_and_loses_nothing` | | 18 | contexts destroyed in flight, in many threads
//! | below | | 19 | a ring that is moved by mremap(2) | the ring has no address that safe code
//! could move it by | | 20 | the accounting of `aio-max-nr`, by taking all of it | it is the
//! kernel's, and all other programs would be refused meanwhile | | 21 | `RWF_NOWAIT` | below;
//! `aio_kernel`: `flags_do_what_preadv2_says` | | 22 | polls, and waits that let a signal through |
//! `aio_kernel`: `a_poll_ends_when_its_event_is_there_and_says_which`; `signals_and_forks`:
//! `a_masked_wait_lets_through_what_the_thread_blocks_and_nothing_else` | | 23 | a poll while a
//! pipe empties and fills again | below |
#![allow(unsafe_code, reason = "a mapping of a file is made and lent")]

mod common;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Command;
use std::sync::{Arc, Barrier};

use common::aio::*;
use common::skip::skip_for_kernel;
use common::*;
use linux_aio::{Context, Done, IoBuf, IoBufMut, Op, OpKind, PollFlags, Pool, ReadWriteFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What one operation came to: its count, or its error number.
fn outcome(done: &Done) -> Result<usize, i32> {
    done.result.as_ref().copied().map_err(|error| error.raw_os_error().unwrap())
}

/// One operation of a context.
fn one(context: &mut Context, op: Op) -> Done {
    queue(context, op);
    drain(context).pop().unwrap()
}

/// Sizes of what is written over a limit.
const SIZE: usize = 8192;

/// A write and a read that end at `limit`, that pass it, and that begin there.
fn at_the_limit(file: &Arc<OwnedFd>, limit: u64, beyond: i32) {
    let mut context = Context::new(1).unwrap();
    let mut write = |size, at| outcome(&one(&mut context, Op::write(file, vec![7; size], at)));
    let begin = limit - SIZE as u64;
    assert_eq!(write(SIZE, begin), Ok(SIZE), "it ends there");
    rustix::fs::ftruncate(file, 0).unwrap();
    assert_eq!(write(SIZE, begin + 1), Ok(SIZE - 1), "it passes it by a byte");
    assert_eq!(write(SIZE, limit), Err(beyond), "it begins there");
    assert_eq!(write(0, limit), Ok(0), "nothing is written there");
    let mut read = |at| {
        let done = one(&mut context, Op::read(file, vec![0; SIZE], at));
        assert!(done.bytes().unwrap().iter().all(|&byte| byte == 7));
        outcome(&done)
    };
    assert_eq!((read(begin + 1), read(limit)), (Ok(SIZE - 1), Ok(0)));
}

/// Runs a test of this program again as a process of its own, in which [`is_again`] is true.
/// SIGXFSZ is ignored there.
fn again(test: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" --exact \"$1\""]);
    run(command.arg(std::env::current_exe().unwrap()).arg(test).env("LINUX_AIO_AGAIN", "1"), 0);
}

fn is_again() -> bool {
    std::env::var_os("LINUX_AIO_AGAIN").is_some()
}

/// Case 4.
#[test]
fn writes_to_a_file_that_is_open_for_appending_are_appended() {
    let folder = folder();
    let path = folder.path().join("f");
    let file = File::options().read(true).append(true).create(true).open(path);
    let file = shared(file.unwrap());
    let mut context = Context::new(1).unwrap();
    assert_eq!(outcome(&one(&mut context, Op::read(&file, vec![0; 512], 0))), Ok(0));
    for text in [&b"1234"[..], b"5678"] {
        assert_eq!(outcome(&one(&mut context, Op::write(&file, text, 0))), Ok(4));
    }
    let done = one(&mut context, Op::read(&file, vec![0; 512], 0));
    assert_eq!(done.bytes(), Some(&b"12345678"[..]));
}

/// A page of a file, shared with it.
struct Mapping(*mut u8);

const PAGE_BYTES: usize = 4096;

impl Mapping {
    fn of(file: &OwnedFd, protection: i32) -> Self {
        let fd = std::os::fd::AsRawFd::as_raw_fd(file);
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let page = unsafe {
            libc::mmap(std::ptr::null_mut(), PAGE_BYTES, protection, libc::MAP_SHARED, fd, 0)
        };
        assert_ne!(page, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        Self(page.cast())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is this value's own mapping, of that length.
        assert_eq!(unsafe { libc::munmap(self.0.cast(), PAGE_BYTES) }, 0);
    }
}

// SAFETY: the mapping is this value's own.
unsafe impl Send for Mapping {}

// SAFETY: the mapping stays where it is until the value is dropped. Its bytes are as many as the
// file has, and are changed by operations alone, one after the other.
unsafe impl IoBuf for Mapping {
    fn stable_ptr(&self) -> *const u8 {
        self.0
    }
    fn len_bytes(&self) -> usize {
        512
    }
}

// SAFETY: as above; a mapping that is read into may be written.
unsafe impl IoBufMut for Mapping {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0
    }
}

/// Case 5.
#[test]
fn a_file_is_written_from_a_mapping_of_itself_and_read_into_it() {
    let folder = folder();
    let contents = noise(512, 5);
    let file = file_with(&folder.path().join("f"), &contents);
    let mut context = Context::new(1).unwrap();
    let both = libc::PROT_READ | libc::PROT_WRITE;
    // Its page is not there yet, whichever comes first.
    for is_write_first in [true, false] {
        let mut mapping = Mapping::of(&file, both);
        for is_write in [is_write_first, !is_write_first] {
            let op = match is_write {
                true => Op::write(&file, mapping, 0),
                false => Op::read(&file, mapping, 0),
            };
            let done = one(&mut context, op);
            assert_eq!(done.bytes(), Some(&contents[..]));
            mapping = done.into_buffer().unwrap();
        }
    }
    let read_only = Mapping::of(&file, libc::PROT_READ);
    assert_eq!(outcome(&one(&mut context, Op::write(&file, read_only, 0))), Ok(512));
}

/// Case 6.
#[test]
fn an_operation_may_be_huge() {
    const HUGE_BYTES: usize = 64 << 20;
    let folder = folder();
    let file = file_with(&folder.path().join("f"), b"");
    let mut context = Context::new(1).unwrap();
    let mut contents = vec![0; HUGE_BYTES];
    contents[HUGE_BYTES - 1] = 1;
    let done = one(&mut context, Op::write(&file, contents, 0));
    assert_eq!(outcome(&done), Ok(HUGE_BYTES));
    let contents: Vec<u8> = done.into_buffer().unwrap();
    let done = one(&mut context, Op::read(&file, vec![2; HUGE_BYTES], 0));
    assert!(done.bytes() == Some(&contents));
}

/// Case 7.
#[test]
fn a_write_ends_at_the_limit_of_file_sizes() {
    const LIMIT_BYTES: u64 = 16384;
    if !is_again() {
        return again("a_write_ends_at_the_limit_of_file_sizes");
    }
    let folder = folder();
    let file = file_with(&folder.path().join("f"), b"");
    let limit = Rlimit { current: Some(LIMIT_BYTES), ..getrlimit(Resource::Fsize) };
    setrlimit(Resource::Fsize, limit).unwrap();
    at_the_limit(&file, LIMIT_BYTES, libc::EFBIG);
}

/// The first offset of a file at which no byte can be written.
fn largest_offset(file: &File) -> u64 {
    let (mut writable, mut beyond) = (0, i64::MAX as u64);
    while beyond - writable > 1 {
        let middle = writable + (beyond - writable) / 2;
        match file.write_at(&[0], middle) {
            Ok(_) => writable = middle,
            Err(_) => beyond = middle,
        }
        file.set_len(0).unwrap();
    }
    beyond
}

/// Case 8.
#[test]
fn a_write_ends_at_the_largest_offset_of_the_filesystem() {
    let folder = folder();
    let path = folder.path().join("f");
    let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
    let limit = largest_offset(&file);
    if limit > 1 << 62 {
        return skip_for_kernel("this filesystem has offsets as large as numbers are");
    }
    at_the_limit(&shared(file), limit, libc::EFBIG);
}

/// Case 10.
#[test]
fn a_write_ends_where_the_filesystem_is_full() {
    let Some(mounted) = Mounted::memory("tmpfs", "size=8k") else { return };
    let file = file_with(&mounted.path.join("f"), b"");
    at_the_limit(&file, 8192, libc::ENOSPC);
}

/// Case 11.
#[test]
fn one_page_is_written_and_read_many_times() {
    let folder = folder();
    let file = file_with(&folder.path().join("f"), b"");
    let mut context = Context::new(1).unwrap();
    let mut buffer = noise(256, 11);
    let contents = buffer.clone();
    for _ in 0..2000 {
        let written = one(&mut context, Op::write(&file, buffer, 0));
        assert_eq!(outcome(&written), Ok(256));
        let read = one(&mut context, Op::read(&file, written.into_buffer::<Vec<u8>>().unwrap(), 0));
        assert_eq!(read.bytes(), Some(&contents[..]));
        buffer = read.into_buffer().unwrap();
    }
}

/// Case 13.
#[test]
fn several_large_writes_are_in_flight_at_once() {
    const COUNT: u64 = 8;
    const BYTES: usize = 1 << 20;
    let folder = folder();
    let path = folder.path().join("f");
    let file =
        File::options().write(true).create_new(true).custom_flags(libc::O_DIRECT).open(&path);
    // Not every filesystem has direct I/O.
    let file = shared(file.or_else(|_| File::create(&path)).unwrap());
    let pool = Pool::new(COUNT as usize, BYTES).unwrap();
    let mut context = Context::new(COUNT as u32).unwrap();
    for tag in 0..COUNT {
        let mut buffer = pool.get().unwrap();
        buffer.fill(tag as u8);
        queue(&mut context, Op::write(&file, buffer, tag * BYTES as u64).tag(tag));
    }
    let done = drain(&mut context);
    each_once(&done, COUNT);
    assert!(done.iter().all(|done| outcome(done) == Ok(BYTES)));
    let written = std::fs::read(&path).unwrap();
    let is_whole = |(block, number): (&[u8], u64)| block.iter().all(|&byte| byte == number as u8);
    assert!(written.len() == COUNT as usize * BYTES);
    assert!(written.chunks(BYTES).zip(0..).all(is_whole));
}

/// Case 14.
#[test]
fn a_process_may_end_with_operations_in_flight() {
    if !is_again() {
        return again("a_process_may_end_with_operations_in_flight");
    }
    let folder = folder();
    let path = folder.path().join("f");
    std::fs::write(&path, noise(16 << 20, 14)).unwrap();
    let file = cold(&path);
    let pool = Pool::new(16, 1 << 20).unwrap();
    let mut context = Context::new(16).unwrap();
    for n in 0..16 {
        queue(&mut context, read(&file, &pool, n << 20));
    }
    assert_eq!(context.submit().accepted, 16);
    folder.close().unwrap();
    std::process::exit(0);
}

/// Case 18.
#[test]
fn what_was_in_flight_is_over_when_its_context_is_dropped_in_whichever_thread() {
    let folder = folder();
    let path = folder.path().join("f");
    std::fs::write(&path, noise(4096, 18)).unwrap();
    let file = cold(&path);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let pool = Pool::new(1, 4096).unwrap();
                for _ in 0..50 {
                    let mut context = Context::new(1).unwrap();
                    queue(&mut context, read(&file, &pool, 0));
                    assert_eq!(context.submit().accepted, 1);
                    drop(context);
                    // The buffer is free, and stays as its next owner leaves it.
                    let mut buffer = pool.get().unwrap();
                    buffer.fill(b'2');
                    std::thread::yield_now();
                    assert!(buffer.iter().all(|&byte| byte == b'2'));
                }
            });
        }
    });
}

/// Case 21.
#[test]
fn what_would_have_to_wait_says_so_if_it_may_not() {
    let folder = folder();
    let path = folder.path().join("f");
    let contents = noise(4096, 21);
    std::fs::write(&path, &contents).unwrap();
    let mut context = Context::new(1).unwrap();
    let pool = Pool::new(1, 4096).unwrap();
    // What is in the page cache is there at once, unless the system needed the page.
    let buffered = shared(File::open(&path).unwrap());
    let mut without_waiting = |file| {
        let done = one(&mut context, read(file, &pool, 0).flags(ReadWriteFlags::NOWAIT));
        match outcome(&done) {
            Ok(_) => assert_eq!(done.bytes(), Some(&contents[..])),
            Err(errno) => assert!([libc::EAGAIN, libc::EOPNOTSUPP].contains(&errno), "{errno}"),
        }
    };
    without_waiting(&buffered);
    // A direct read has to wait for the page to be written.
    let direct = File::options().read(true).custom_flags(libc::O_DIRECT).open(&path);
    let Ok(direct) = direct else { return };
    without_waiting(&shared(direct));
    // Without the flag it waits.
    let done = one(&mut context, read(&cold(&path), &pool, 0));
    assert_eq!(done.bytes(), Some(&contents[..]));
}

/// Case 23.
#[test]
fn a_poll_misses_nothing_while_a_pipe_empties_and_fills_again() {
    const ROUNDS: usize = 500;
    let folder = folder();
    let byte = file_with(&folder.path().join("f"), b"X");
    let (reader, writer) = pipe();
    // A splice tells a poll that there is something, and not what.
    let splice = || {
        let flags = rustix::pipe::SpliceFlags::empty();
        assert_eq!(rustix::pipe::splice(&byte, Some(&mut 0), &writer, None, 1, flags), Ok(1));
    };
    let take = || assert_eq!(rustix::io::read(&reader, &mut [0]), Ok(1));
    let barrier = Barrier::new(3);
    let each_round = |what: &dyn Fn()| {
        for _ in 0..ROUNDS {
            barrier.wait();
            what();
            barrier.wait();
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| each_round(&splice));
        scope.spawn(|| {
            each_round(&|| {
                take();
                splice();
            });
        });
        let mut context = Context::new(1).unwrap();
        for _ in 0..ROUNDS {
            queue(&mut context, Op::new(&reader, OpKind::Poll(PollFlags::IN)));
            assert_eq!(context.submit().accepted, 1);
            barrier.wait();
            let done = drain(&mut context);
            assert!(done[0].ready().unwrap().contains(PollFlags::IN));
            barrier.wait();
            take();
        }
    });
}
