//! A command as a process: what its signals and its panics do, and its exit code.

use std::io::Write;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

use super::exit;
use super::screen::terminal::is_unread;
use crate::error::Error;
use crate::fs;
use crate::sys::{memory, signal};

pub use crate::sys::memory::Allocator;

/// Of the addresses that a limit leaves, the heap gets this part before any thread is made.
const HEAP_PART: u64 = 8;
/// More would only be kept from others.
const HEAP_BYTES_MAX: u64 = 64 << 20;

/// Whether a thread panicked.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Runs a command and answers with its exit code. A panic on any thread is one line, and ends the
/// run with [`exit::FAILED`] after everything in the making was given back.
pub fn run(name: &'static str, command: fn() -> anyhow::Result<u8>) -> ExitCode {
    tell_panics(name);
    let ran = || {
        // Without this, a file beyond `ulimit -f` ends the process; with it, its write is EFBIG.
        signal::ignore(libc::SIGXFSZ).context("cannot ignore SIGXFSZ")?;
        if let Some(left_bytes) = fs::addresses_left_bytes() {
            let reserve_bytes = (left_bytes / HEAP_PART).min(HEAP_BYTES_MAX);
            memory::share_one_heap(reserve_bytes as usize);
        }
        command()
    };
    let code = match catch_unwind(AssertUnwindSafe(ran)) {
        // A panic of a thread that nothing waits for.
        Ok(Ok(exit::DONE)) if PANICKED.load(Ordering::Acquire) => exit::FAILED,
        Ok(Ok(code)) => code,
        // The reader has what it wanted.
        Ok(Err(error)) if is_unread(&error) => exit::UNREAD,
        Ok(Err(error)) => {
            say_last(name, &error);
            exit::FAILED
        }
        // The hook has said it.
        Err(_) => exit::FAILED,
    };
    ExitCode::from(code)
}

/// Says what kept a run from beginning or ending. Where standard error is closed too, only the exit
/// code says it.
pub fn say_last(name: &str, error: &anyhow::Error) {
    drop(std::io::stderr().write_all(last_lines(name, error).as_bytes()));
}

/// What kept a run from beginning or ending, and what helps.
fn last_lines(name: &str, error: &anyhow::Error) -> String {
    let hint = error.downcast_ref::<Error>().and_then(Error::hint);
    let hint = hint.map(|hint| format!("{name}: hint: {hint}\n")).unwrap_or_default();
    format!("{name}: {error:#}\n{hint}")
}

/// Has the first panic say one line. Others follow from it. `RUST_BACKTRACE` has all of them said
/// in full.
fn tell_panics(name: &'static str) {
    let in_full = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !PANICKED.swap(true, Ordering::AcqRel) {
            drop(std::io::stderr().write_all(line(name, panic).as_bytes()));
        }
        if in_full {
            default(panic);
        }
    }));
}

fn line(name: &str, panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let what = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown")
        .replace('\n', " ");
    let place = panic.location().map(|at| format!(" at {at}")).unwrap_or_default();
    format!("{name}: cannot go on: internal error{place}: {what}; please report it\n")
}
