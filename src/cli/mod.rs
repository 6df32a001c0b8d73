//! What a person touches: flags, messages, exit codes.

pub mod aiocp;
pub mod aiosum;
mod args;
mod completions;
mod existing;
mod failures;
mod help;
mod json;
mod log;
mod output;
mod page;
mod preserve;
mod printer;
mod progress;
mod question;
mod screen;
mod seeing;
mod selection;
mod signals;
mod size;
mod slowest;
mod sum_args;
mod summary;
mod units;
mod usage;
mod watch;

pub use completions::completions;

/// The exit codes of the contract.
pub mod exit {
    /// Everything is copied and durable; hashed; or as the manifests say.
    pub const DONE: u8 = 0;
    /// Some file was not copied, or not with all its metadata; not hashed; or does not match its
    /// line.
    pub const FAILED: u8 = 1;
    /// A verification found a difference that is still there. It goes before 1.
    pub const DIFFERS: u8 = 3;
    /// The command line makes no sense; nothing was touched. It is also what clap exits with.
    pub const USAGE: u8 = 2;
    /// Added to the number of the signal that ended the run early: 130 for SIGINT, 143 for SIGTERM.
    pub const SIGNAL: u8 = 128;
}

/// Which version, of which commit, with which engines.
const VERSION: &str = concat!(env!("AIOCP_VERSION"), "\nengines: kernel, posix, threads");
