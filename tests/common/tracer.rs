//! Kills a command at a chosen system call, counted over all of its threads. strace counts each
//! thread by itself. It never kills at a worker's first calls, because the main thread has made as
//! many before.
#![allow(unsafe_code, reason = "no safe crate wraps ptrace(2)")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The low byte of a stop's signal with PTRACE_O_TRACESYSGOOD; see ptrace(2).
const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

/// Runs the command and kills it on entry to the `nth` system call out of `calls`, which is not
/// carried out. False if the command ended first.
pub fn kill_at(command: &mut Command, calls: &[libc::c_long], nth: u64) -> bool {
    let trace_me = || {
        // SAFETY: the request takes nothing and writes nothing.
        match unsafe { libc::ptrace(libc::PTRACE_TRACEME) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    // SAFETY: ptrace(2) and errno alone are used between fork and exec.
    unsafe { command.pre_exec(trace_me) };
    let leader = command.spawn().unwrap().id() as i32;
    assert_eq!(wait(leader), (leader, stop_status(libc::SIGTRAP)), "it stops at exec");
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SETOPTIONS, leader, options as usize);
    go_on(leader, 0);
    let (mut count, mut killed) = (0, false);
    loop {
        let (thread, status) = wait(-1);
        if !libc::WIFSTOPPED(status) {
            match thread == leader {
                true => return killed,
                false => continue,
            }
        }
        let is_event = status >> 16 != 0;
        match libc::WSTOPSIG(status) {
            SYSCALL_STOP => {
                if entered_call(thread).is_some_and(|call| calls.contains(&(call as libc::c_long)))
                {
                    count += 1;
                    if count == nth {
                        killed = true;
                        // SAFETY: a plain system call.
                        unsafe { libc::kill(leader, libc::SIGKILL) };
                        continue;
                    }
                }
                go_on(thread, 0);
            }
            // A new thread begins with this stop.
            libc::SIGSTOP => go_on(thread, 0),
            _ if is_event => go_on(thread, 0),
            signal => go_on(thread, signal),
        }
    }
}

fn stop_status(signal: i32) -> i32 {
    signal << 8 | 0x7f
}

/// Waits for children of this thread, and not of other tests.
fn wait(pid: i32) -> (i32, i32) {
    let mut status = 0;
    // SAFETY: `status` lives until the call returns.
    let thread = unsafe { libc::waitpid(pid, &mut status, libc::__WALL | libc::__WNOTHREAD) };
    assert!(thread > 0, "{}", io::Error::last_os_error());
    (thread, status)
}

fn request(what: libc::c_uint, thread: i32, data: usize) -> i64 {
    // SAFETY: the requests used here take a number and write no memory.
    unsafe { libc::ptrace(what, thread, 0usize, data) }
}

/// Lets a thread run to its next stop. The thread may have been killed meanwhile.
fn go_on(thread: i32, signal: i32) {
    request(libc::PTRACE_SYSCALL, thread, signal as usize);
}

/// The number of the call that a thread is about to make. `None` at a call's exit, or if the thread
/// has gone.
fn entered_call(thread: i32) -> Option<u64> {
    // SAFETY: the struct consists of integers, for which zeros are valid.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of_val(&info);
    // SAFETY: the kernel writes at most `size` bytes to `info`, which lives until the call returns.
    let len = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, thread, size, &raw mut info) };
    if len <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: with this `op`, the kernel wrote this field of the union.
    Some(unsafe { info.u.entry.nr })
}
