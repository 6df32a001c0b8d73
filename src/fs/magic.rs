//! Links of /proc that lead to what is open, whatever their text says; see proc_pid_fd(5).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use crate::sys::call::{self as fs, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::facts::is_proc;
use super::unavailable::answers_nothing;

/// The links in /dev that lead to such a link by definition.
const STANDARD_STREAMS: [&str; 3] = ["stdin", "stdout", "stderr"];

/// Whether the symbolic link `name` in `dir` leads to something that is open: a link of /proc that
/// is more than its text, or the name in /dev of a standard stream. As a link, a copy of it would
/// lead nowhere.
pub fn is_magic_link(dir: impl AsFd, name: &OsStr) -> io::Result<bool> {
    let folder = || std::fs::read_link(format!("/proc/self/fd/{}", dir.as_fd().as_raw_fd()));
    let is_proc = match is_proc(dir.as_fd()) {
        Some(is_proc) => is_proc,
        None => folder()?.starts_with("/proc"),
    };
    if !is_proc {
        let is_stream = STANDARD_STREAMS.iter().any(|stream| name == *stream);
        return Ok(is_stream && folder()?.as_os_str() == "/dev");
    }
    let (flags, resolve) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::NO_MAGICLINKS);
    match fs::openat2(dir.as_fd(), name, flags, Mode::empty(), resolve) {
        Err(Errno::LOOP) => Ok(true),
        // Without openat2 the folder's name tells the most of them.
        Err(error) if answers_nothing(error) => Ok(folder()?.file_name() == Some(OsStr::new("fd"))),
        _ => Ok(false),
    }
}
