//! What glibc's own tests of its asynchronous I/O check (`rt/tst-aio*.c`), of this interface.
//!
//! | case | what it checks | here |
//! | --- | --- | --- |
//! | tst-aio | writes, reads, a list, a sync and cancelling, ten at once | below |
//! | 2, 3 | the end of a list's request, which is notified by a thread | `aio_posix`:
//! `a_callback_is_called_once_on_another_thread`; a request of a list has no notification of its
//! own here, the list has | | 4 | the end of a request and of a list, notified by a signal |
//! `signals_and_forks`: `a_signal_tells_of_the_end_with_its_value` | | 5 | the end of a request and
//! of a list, notified by a thread | `aio_posix`: `a_callback_is_called_once_on_another_thread` | |
//! 6 | the time-out of a wait | `aio_posix`:
//! `suspend_waits_for_any_of_several_and_for_no_longer_than_asked` | | 7 | cancelling and syncing
//! what is no descriptor | a request's descriptor is its own, and open; `aio_posix`:
//! `what_cannot_be_asked_for_is_refused_at_once_and_a_bad_descriptor_later` | | 7 | a wait for two
//! of which one is over; a process that ends with a request in progress | `aio_posix`:
//! `suspend_waits_for_any_of_several_and_for_no_longer_than_asked`; the end below | | 8 | a list of
//! which one fails | below | | 9 | a signal ends a wait | `signals_and_forks`:
//! `a_signal_ends_suspend_and_wait_goes_on` | | 10 | a signal ends the wait for a list |
//! `signals_and_forks`: `a_list_that_a_signal_interrupts_leaves_nothing_of_the_stack_with_glibc` |
//! | tst-aio64 | what tst-aio does, by the calls for large files | below, behind 4 GiB |
#![cfg(feature = "posix")]

mod common;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::aio::*;
use common::posix::*;
use common::*;
use linux_aio::posix::{Notify, Request, cancel_all, list_and_wait};
use linux_aio::{Done, Op, OpKind, Pool};

const COUNT: usize = 10;
const BLOCK_BYTES: usize = 100;

/// Ten blocks of a file, one behind the other from an offset on.
struct Blocks {
    folder: tempfile::TempDir,
    file: Arc<OwnedFd>,
    from: u64,
}

impl Blocks {
    fn new(from: u64) -> Self {
        let folder = folder();
        let file = file_with(&folder.path().join("f"), b"");
        Self { folder, file, from }
    }

    fn at(&self, n: usize) -> u64 {
        self.from + (n * BLOCK_BYTES) as u64
    }

    fn writes(&self) -> impl Iterator<Item = Op> {
        let write = |n| Op::write(&self.file, vec![b'0' + n as u8; BLOCK_BYTES], self.at(n));
        // The last one first.
        (0..COUNT).rev().map(write)
    }

    fn empty(&self) {
        rustix::fs::ftruncate(&self.file, 0).unwrap();
    }

    fn assert_whole(&self) {
        let path: &Path = &self.folder.path().join("f");
        let whole = BLOCK_BYTES * COUNT;
        assert_eq!(path.metadata().unwrap().len(), self.from + whole as u64);
        let mut bytes = vec![0; whole];
        let file = std::fs::File::open(path).unwrap();
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, self.from).unwrap();
        let is_right = |(block, n): (&[u8], u8)| block.iter().all(|&byte| byte == b'0' + n);
        assert!(bytes.chunks(BLOCK_BYTES).zip(0..).all(is_right));
    }
}

fn is_full(done: &Done) -> bool {
    done.result.as_ref().is_ok_and(|&count| count == BLOCK_BYTES)
}

/// That what was to be cancelled is over, one way or the other.
fn assert_over(requests: Vec<Request>) {
    for request in requests {
        let done = request.wait();
        assert!(is_full(&done) || errno(&done) == Some(libc::ECANCELED), "{:?}", done.result);
    }
}

/// Ten at once, written, read, listed, synced and cancelled.
fn ten_at_once(from: u64) {
    let blocks = Blocks::new(from);
    let started = || blocks.writes().map(start).collect::<Vec<_>>();
    assert!(started().into_iter().all(|request| is_full(&request.wait())));
    blocks.assert_whole();
    let read = |n| Op::read(&blocks.file, vec![0; BLOCK_BYTES], blocks.at(n)).tag(n as u64);
    let reads: Vec<_> = (0..COUNT).rev().map(|n| start(read(n))).collect();
    for done in reads.into_iter().map(Request::wait) {
        assert_eq!(done.bytes(), Some(&[b'0' + done.op.tag as u8; BLOCK_BYTES][..]));
    }

    blocks.empty();
    let listed = list_and_wait(blocks.writes().map(Some).collect());
    assert!(listed.outcome.is_ok());
    blocks.assert_whole();

    // A sync is of all that was started before it.
    blocks.empty();
    let writes = started();
    let sync = start(Op::new(&blocks.file, OpKind::Fsync));
    assert!(sync.wait().result.is_ok());
    blocks.assert_whole();
    assert!(writes.into_iter().all(|request| is_full(&request.wait())));

    blocks.empty();
    let writes = started();
    cancel_all(&blocks.file).unwrap();
    assert_over(writes);

    // Each by itself, from the last on: see `Request::cancel` of the first.
    blocks.empty();
    let writes = started();
    for request in writes.iter().rev() {
        request.cancel().unwrap();
    }
    assert_over(writes);
}

/// tst-aio.
#[test]
fn ten_requests_at_once_are_carried_out_listed_synced_and_cancelled() {
    ten_at_once(0);
}

/// tst-aio64.
#[test]
fn offsets_beyond_four_gibibytes_are_as_good() {
    ten_at_once(5 << 30);
}

/// tst-aio7.
#[test]
fn a_process_may_end_with_a_request_in_progress() {
    const AGAIN: &str = "LINUX_AIO_AGAIN";
    if std::env::var_os(AGAIN).is_none() {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_process_may_end_with_a_request_in_progress"]);
        run(command.env(AGAIN, "1"), 0);
        return;
    }
    let (reader, _writer) = pipe();
    let pool = Pool::new(1, 4096).unwrap();
    let _request = start(read(&reader, &pool, 0));
    until_reading(&reader, 1);
    std::process::exit(0);
}

/// tst-aio8.
#[test]
fn a_list_fails_with_its_request() {
    let full = shared(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let listed = list_and_wait(vec![Some(Op::write(&full, &b"hello"[..], 0))]);
    assert_eq!(listed.outcome.unwrap_err().raw_os_error(), Some(libc::EIO));
    let mut requests = listed.requests;
    let done = requests.pop().unwrap().unwrap().unwrap().wait();
    assert_eq!(errno(&done), Some(libc::ENOSPC));
    // A request of its own says so itself.
    let done = Request::start(done.op, Notify::None, 0).unwrap().wait();
    assert_eq!(errno(&done), Some(libc::ENOSPC));
}
