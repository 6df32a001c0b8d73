//! Helpers of all tests. `mounted.rs`, `sandbox.rs`, `skip.rs` and `trace.rs` are links to files
//! that all packages share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::process::{Command, Output};

pub mod aio;
#[cfg(feature = "async")]
pub mod future;
pub mod mounted;
#[cfg(feature = "posix")]
pub mod posix;
pub mod sandbox;
pub mod skip;
pub mod trace;

#[allow(unused_imports, reason = "each test file uses a part of them")]
pub use mounted::{Mounted, folder};
#[allow(unused_imports, reason = "each test file uses a part of them")]
pub use skip::{have_strace, is_root, program};

/// Runs the command, and shows its output if the exit code differs.
pub fn run(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
    output
}

/// Bytes without a pattern, so that misplaced blocks show.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}
