//! The command `aiocp`: parse, run, exit code.

use std::process::ExitCode;

use aiocp::cli::process;

fn main() -> ExitCode {
    process::run("aiocp", aiocp::cli::aiocp::run)
}
