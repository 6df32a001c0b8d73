//! The command `aiosum`: parse, run, exit code.

use std::process::ExitCode;

use aiocp::cli::process;

fn main() -> ExitCode {
    process::run("aiosum", aiocp::cli::aiosum::run)
}
