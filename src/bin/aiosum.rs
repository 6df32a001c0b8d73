//! The command `aiosum`: parse, run, exit code.

use std::process::ExitCode;

use aiocp::cli::process;

/// Ends the process in good order where no memory is left.
#[global_allocator]
static ALLOCATOR: process::Allocator = process::Allocator::new(
    "aiosum: cannot go on: Cannot allocate memory; files without a line were not hashed\n",
);

fn main() -> ExitCode {
    process::run("aiosum", aiocp::cli::aiosum::run)
}
