//! Prints the first 4096 bytes of a file, read past the page cache by kernel AIO.

use std::error::Error;
use std::fs::OpenOptions;
use std::io::{Write, stdout};
use std::os::{fd::OwnedFd, unix::fs::OpenOptionsExt};
use std::process::ExitCode;
use std::sync::Arc;

use linux_aio::{Context, Op, Pool};

fn aior(path: &str) -> Result<(), Box<dyn Error>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .map_err(failed("open"))?;
    let buffer = Pool::new(1, 4096).map_err(failed("mmap"))?.get().ok_or("an empty pool")?;
    let mut context = Context::new(1).map_err(failed("io_setup"))?;
    let pread = Op::read(Arc::new(OwnedFd::from(file)), buffer, 0);
    context.queue(pread)?;
    let submitted = context.submit();
    let mut done = Vec::new();
    while done.is_empty() {
        context.reap(1, None, &mut done).map_err(failed("io_getevents"))?;
    }
    let call = if submitted.refused > 0 { "io_submit" } else { "pread" };
    for done in done {
        match done.bytes() {
            Some(bytes) => stdout().write_all(bytes).map_err(failed("write"))?,
            None => drop(done.result.map_err(failed(call))?),
        }
    }
    // Otherwise the rest of the line buffer is written at exit, where an error is lost.
    stdout().flush().map_err(failed("write"))
}

/// Says which call failed, and why.
fn failed<E: Error>(call: &'static str) -> impl FnOnce(E) -> Box<dyn Error> {
    move |error| format!("{call}: {error}").into()
}

fn main() -> ExitCode {
    let outcome = match std::env::args().nth(1) {
        Some(path) => aior(&path),
        None => Err("usage: aior FILE".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aior: {error}");
            ExitCode::FAILURE
        }
    }
}
