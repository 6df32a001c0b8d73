//! What the process may have at most, see getrlimit(2).

use std::mem::MaybeUninit;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Open files.
    Files,
    /// Addresses, in bytes.
    Addresses,
    /// Memory that may be written to, in bytes.
    Data,
}

/// A limit; none is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds.
    pub soft: Option<u64>,
    /// Up to where the process itself may raise it.
    pub hard: Option<u64>,
}

/// The limit of a resource. Where it may not be asked for, none is known.
pub fn limit(resource: Resource) -> Limit {
    let which = match resource {
        Resource::Files => libc::RLIMIT_NOFILE,
        Resource::Addresses => libc::RLIMIT_AS,
        Resource::Data => libc::RLIMIT_DATA,
    };
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the call writes one rlimit, into live memory of the right size, unless it fails.
    if unsafe { libc::getrlimit(which, limit.as_mut_ptr()) } != 0 {
        return Limit { soft: None, hard: None };
    }
    // SAFETY: it was just written.
    let limit = unsafe { limit.assume_init() };
    let finite = |value: libc::rlim_t| (value != libc::RLIM_INFINITY).then_some(value);
    Limit { soft: finite(limit.rlim_cur), hard: finite(limit.rlim_max) }
}
