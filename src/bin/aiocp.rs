//! The command `aiocp`: parse, run, exit code.

use std::process::ExitCode;

use aiocp::cli::process;

/// Ends the process in good order where no memory is left.
#[global_allocator]
static ALLOCATOR: process::Allocator = process::Allocator::new(concat!(
    "aiocp: cannot go on: Cannot allocate memory; finished files are whole, ",
    "and no manifest, list or report is written\n",
));

fn main() -> ExitCode {
    process::run("aiocp", aiocp::cli::aiocp::run)
}
