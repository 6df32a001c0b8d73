//! What the process may have, and what it gives to new files.

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The process's umask, which can be asked for only by setting it: no other thread should be making
/// files meanwhile. See umask(2).
pub fn umask() -> u32 {
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.as_raw_mode()
}

/// Raises the process's limit of open files to the most that it may have; see getrlimit(2). A
/// refusal changes nothing.
pub fn raise_open_files_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Refused only where the hard limit was lowered meanwhile; then the old soft limit holds, and
    // EMFILE tells.
    let _unchanged =
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// How many files the process may have open: the soft limit of `RLIMIT_NOFILE`, if there is one.
pub fn open_files_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
