//! Helpers of the asynchronous engines' tests.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use linux_aio::{Buffer, Context, Done, Op, OpKind, Pool, SharedBuffer};
use rustix::event::{EventfdFlags, eventfd};

/// Wraps a file as operations want it.
pub fn shared(file: impl Into<OwnedFd>) -> Arc<OwnedFd> {
    Arc::new(file.into())
}

/// A file with these contents, open for reading and writing.
pub fn file_with(path: &Path, contents: &[u8]) -> Arc<OwnedFd> {
    std::fs::write(path, contents).unwrap();
    shared(File::options().read(true).write(true).open(path).unwrap())
}

/// Opens a file for direct I/O and evicts it from the page cache. Opens it buffered where the
/// filesystem refuses direct I/O.
pub fn cold(path: &Path) -> Arc<OwnedFd> {
    let plain = File::open(path).unwrap();
    plain.sync_all().unwrap();
    rustix::fs::fadvise(&plain, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    let direct = File::options().read(true).custom_flags(libc::O_DIRECT).open(path);
    shared(direct.unwrap_or(plain))
}

/// A pipe's reading and writing end.
pub fn pipe() -> (Arc<OwnedFd>, Arc<OwnedFd>) {
    let (reader, writer) = std::io::pipe().unwrap();
    (shared(reader), shared(writer))
}

pub fn write_to(file: &OwnedFd, bytes: &[u8]) {
    assert_eq!(rustix::io::write(file, bytes), Ok(bytes.len()));
}

/// An eventfd with a counter of zero.
pub fn silent_eventfd() -> Arc<OwnedFd> {
    shared(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap())
}

/// Takes the eventfd's counter, which becomes zero.
pub fn take_count(eventfd: &OwnedFd) -> u64 {
    let mut bytes = [0; 8];
    match rustix::io::read(eventfd, &mut bytes) {
        Ok(8) => u64::from_ne_bytes(bytes),
        Err(rustix::io::Errno::AGAIN) => 0,
        other => panic!("eventfd: {other:?}"),
    }
}

/// A buffer with these bytes at its start, frozen.
pub fn filled(pool: &Pool, bytes: &[u8]) -> SharedBuffer {
    let mut buffer = pool.get().unwrap();
    buffer[..bytes.len()].copy_from_slice(bytes);
    buffer.freeze()
}

/// Takes all free buffers from the pool.
pub fn free_buffers(pool: &Pool) -> Vec<Buffer> {
    std::iter::from_fn(|| pool.get()).collect()
}

/// Submits and reaps until nothing is in flight.
pub fn drain(context: &mut Context) -> Vec<Done> {
    let mut done = Vec::new();
    while context.in_flight() > 0 {
        context.submit();
        context.reap(1, None, &mut done).unwrap();
    }
    done
}

/// The `errno` value of an operation that failed.
pub fn errno(done: &Done) -> Option<i32> {
    done.result.as_ref().err().and_then(std::io::Error::raw_os_error)
}

/// The bytes that a read brought.
pub fn read_bytes(done: &Done) -> &[u8] {
    let OpKind::Read(part) = &done.op.kind else { panic!("it is a read") };
    &part.bytes().unwrap()[..*done.result.as_ref().unwrap()]
}

/// Asserts that each of the tags `0..count` came back exactly once.
pub fn each_once(done: &[Done], count: u64) {
    let tags: BTreeSet<u64> = done.iter().map(|done| done.op.tag).collect();
    assert!(tags.into_iter().eq(0..count), "each operation comes back");
    assert_eq!(done.len() as u64, count, "and once");
}

/// A read of `file` with a buffer from the pool.
pub fn read(file: &Arc<OwnedFd>, pool: &Pool, offset_bytes: u64) -> Op {
    Op::read(Arc::clone(file), pool.get().unwrap(), offset_bytes)
}

/// Queues an operation for which there is room.
pub fn queue(context: &mut Context, op: Op) -> linux_aio::kernel::Ticket {
    context.queue(op).expect("there is room")
}

/// Runs one test of this program again under strace, with a variable that says so. Returns its
/// calls, see [`super::trace::calls`].
pub fn under_strace(test: &str, options: &[&str]) -> Vec<String> {
    let folder = super::folder();
    let trace = folder.path().join("trace");
    let mut command = super::program("strace");
    command.args(["-f", "-o"]).arg(&trace).args(options).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test]).env("AIOCP_UNDER_STRACE", "1");
    // AddressSanitizer's search for leaks is a tracer too, and there can be one.
    super::run(command.env("ASAN_OPTIONS", "detect_leaks=0"), 0);
    super::trace::calls(&trace)
}

/// Whether [`under_strace`] runs this test again.
pub fn is_under_strace() -> bool {
    std::env::var_os("AIOCP_UNDER_STRACE").is_some()
}
