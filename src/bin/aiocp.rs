//! The command `aiocp`: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    match aiocp::cli::aiocp::run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("aiocp: {error:#}");
            ExitCode::from(aiocp::cli::exit::FAILED)
        }
    }
}
