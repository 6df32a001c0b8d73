//! The answer to a question. A person may take their time for it; an interruption need not wait.

use std::io;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read};

/// How long it takes at most until an interruption is noticed.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Reads a line from `input` and answers with its first byte; nothing if the input ends before it,
/// or if `is_over` becomes true.
///
/// It takes not a byte more than the line. There may be no other reader meanwhile.
pub fn answer(input: impl AsFd, is_over: impl Fn() -> bool) -> io::Result<Option<u8>> {
    let mut first = None;
    loop {
        match poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&PATIENCE)) {
            Ok(0) | Err(Errno::INTR) if is_over() => return Ok(None),
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        let mut byte = [0];
        match rustix::io::retry_on_intr(|| read(&input, &mut byte))? {
            0 => return Ok(first),
            _ if byte[0] == b'\n' => return Ok(Some(first.unwrap_or(b'\n'))),
            _ => first = first.or(Some(byte[0])),
        }
    }
}

/// The nine rights in a mode, as ls(1) shows them.
pub fn rights(mode: u32) -> String {
    let right =
        |bit: u32| if mode & (1 << bit) != 0 { ['x', 'w', 'r'][bit as usize % 3] } else { '-' };
    (0..9).rev().map(right).collect()
}
