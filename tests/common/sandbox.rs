//! Commands for which a system call is refused.
#![allow(unsafe_code, reason = "a filter is set between fork and exec")]

use std::os::unix::process::CommandExt;
use std::process::Command;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const HAS: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const ANSWER: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

fn step(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Answers `O_TMPFILE` as filesystems do that have no unnamed files.
pub fn without_unnamed_files(mut command: Command) -> Command {
    without_unnamed(&mut command, libc::EOPNOTSUPP);
    command
}

/// Answers `O_TMPFILE` with an error number.
pub fn without_unnamed(command: &mut Command, errno: i32) {
    // The bit that O_TMPFILE has beside O_DIRECTORY.
    let unnamed = (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
    let steps = vec![
        step(LOAD, 0, 0, 0),
        step(IS, 0, 2, libc::SYS_openat as u32),
        step(LOAD, 0, 0, 32),
        step(HAS, 1, 0, unnamed),
        step(ANSWER, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(ANSWER, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
    ];
    filter(command, steps);
}

/// Answers these calls with an error number, as a sandbox does.
pub fn refuse(command: &mut Command, calls: &[libc::c_long], errno: i32) {
    let mut steps = vec![step(LOAD, 0, 0, 0)];
    for &call in calls {
        steps.push(step(IS, 0, 1, call as u32));
        steps.push(step(ANSWER, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32));
    }
    steps.push(step(ANSWER, 0, 0, libc::SECCOMP_RET_ALLOW));
    filter(command, steps);
}

fn filter(command: &mut Command, steps: Vec<libc::sock_filter>) {
    let limit = move || {
        let mut steps = steps.clone();
        let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        // SAFETY: the call takes numbers.
        let is_limited = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } == 0;
        let mode = libc::SECCOMP_MODE_FILTER;
        // SAFETY: the pointer is to a program that is live and no longer than it says.
        let is_set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) } == 0;
        let done = is_limited && is_set;
        if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec it allocates, which glibc allows there.
    unsafe { command.pre_exec(limit) };
}
