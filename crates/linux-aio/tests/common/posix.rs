//! Helpers of the POSIX AIO tests.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use linux_aio::Op;
use linux_aio::posix::{Notify, Request};

/// Long enough for anything that finishes at all.
pub const LONG: Option<Duration> = Some(Duration::from_secs(60));

pub fn start(op: Op) -> Request {
    Request::start(op, Notify::None, 0).expect("it was accepted")
}

/// The number of this process's threads in read(2) on what `file` has open, through any descriptor.
pub fn threads_reading(file: &OwnedFd) -> usize {
    let target = |fd: i32| fs::read_link(format!("/proc/self/fd/{fd}")).ok();
    let wanted = target(file.as_raw_fd());
    let tasks =
        fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path().join("syscall"));
    // A thread may have exited meanwhile, and a running thread shows no numbers.
    let calls = tasks.filter_map(|path| fs::read_to_string(path).ok());
    let reads = calls.filter(|call| {
        let mut words = call.split_whitespace();
        let is_read = words.next().and_then(|number| number.parse().ok()) == Some(libc::SYS_read);
        let fd =
            words.next().and_then(|fd| i32::from_str_radix(fd.trim_start_matches("0x"), 16).ok());
        is_read && fd.and_then(target) == wanted
    });
    reads.count()
}

/// Waits until `threads` threads wait for `file`.
pub fn until_reading(file: &OwnedFd, threads: usize) {
    let before = Instant::now();
    while threads_reading(file) != threads {
        assert!(
            before.elapsed() < LONG.unwrap(),
            "{} of {threads} threads read",
            threads_reading(file)
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn until(mut condition: impl FnMut() -> bool) {
    let before = Instant::now();
    while !condition() {
        assert!(before.elapsed() < LONG.unwrap(), "it takes too long");
        std::thread::sleep(Duration::from_millis(1));
    }
}
