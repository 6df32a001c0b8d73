//! The exit codes of the contract.

/// Everything is copied and durable; hashed; or as the manifests say.
pub const DONE: u8 = 0;
/// Some file was not copied, or not with all its metadata; not hashed; or does not match its line.
pub const FAILED: u8 = 1;
/// A verification found a difference that is still there. It takes precedence over 1.
pub const DIFFERS: u8 = 3;
/// The command line makes no sense; nothing was touched. It is also what clap exits with.
pub const USAGE: u8 = 2;
/// Added to the number of the signal that ended the run early: 130 for SIGINT, 143 for SIGTERM.
pub const SIGNAL: u8 = 128;
/// The reader of what was printed has gone: as of a process that SIGPIPE ended.
pub const UNREAD: u8 = SIGNAL + libc::SIGPIPE as u8;
