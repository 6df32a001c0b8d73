//! The command `aiocp`: parse, run, exit code.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match aiocp::cli::aiocp::run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Where standard error is closed too, only the exit code says it.
            drop(writeln!(std::io::stderr(), "aiocp: {error:#}"));
            ExitCode::from(aiocp::cli::exit::FAILED)
        }
    }
}
