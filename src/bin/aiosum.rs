//! The command `aiosum`: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    match aiocp::cli::aiosum::run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("aiosum: {error:#}");
            ExitCode::from(aiocp::cli::exit::FAILED)
        }
    }
}
