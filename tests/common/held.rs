//! Processes that wait in a system call, or under strace(1) are held up in one: whether the moment
//! has come.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// Waits for what a machine with much else to do may take long for.
pub fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_there() {
        assert!(begun.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that does not go on before this is dropped, nor what it traces when that stops.
struct Stopped(Pid);

impl Stopped {
    fn new(child: &Child) -> Self {
        let process = Pid::from_child(child);
        rustix::process::kill_process(process, Signal::STOP).unwrap();
        let stopped = Self(process);
        wait_for("all of its threads stop", || {
            entries(Some(process), "task").iter().all(|task| has_stopped(task))
        });
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let sent = rustix::process::kill_process(self.0, Signal::CONT);
        assert!(sent.is_ok() || std::thread::panicking(), "{sent:?}");
    }
}

/// Whether a thread has stopped or ended, see the third field in proc_pid_stat(5).
fn has_stopped(task: &Path) -> bool {
    let stat = proc(&task.join("stat"));
    let state = stat.rsplit_once(") ").map(|(_, fields)| &fields[..1]);
    state.is_none_or(|state| ["T", "t", "Z", "X"].contains(&state))
}

/// Does this while a process is stopped: it is where it was, however long this takes.
pub fn while_stopped<T>(child: &Child, act: impl FnOnce() -> T) -> T {
    let _stopped = Stopped::new(child);
    act()
}

/// Waits until strace holds a call, and does this while strace itself is stopped: the call stays
/// held, however long this takes.
pub fn while_held<T>(
    strace: &Child,
    mut is_held: impl FnMut() -> bool,
    act: impl FnOnce() -> T,
) -> T {
    let mut stopped = None;
    wait_for("a call is held", || {
        if is_held() {
            stopped = Some(Stopped::new(strace));
            // It may have let the call go before it stopped.
            if !is_held() {
                stopped = None;
            }
        }
        stopped.is_some()
    });
    act()
}

/// A file of proc(5), which is empty when the process has gone.
fn proc(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The process that strace runs, once it does.
pub fn traced(strace: &Child) -> Option<Pid> {
    let children = format!("/proc/{0}/task/{0}/children", strace.id());
    Pid::from_raw(proc(Path::new(&children)).split_whitespace().next()?.parse().ok()?)
}

/// What a folder of a process in proc(5) holds.
fn entries(process: Option<Pid>, folder: &str) -> Vec<PathBuf> {
    let Some(process) = process else { return Vec::new() };
    let entries = fs::read_dir(format!("/proc/{}/{folder}", process.as_raw_nonzero()));
    entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Whether a thread is in a call whose number and arguments are so; see proc_pid_syscall(5).
pub fn is_in_call(process: Option<Pid>, is_it: impl Fn(&[&str]) -> bool) -> bool {
    entries(process, "task")
        .iter()
        .any(|task| is_it(&proc(&task.join("syscall")).split_whitespace().collect::<Vec<_>>()))
}

/// Whether a thread is in one of these calls.
pub fn is_in(process: Option<Pid>, calls: &[libc::c_long]) -> bool {
    let is_one = |number: &str| calls.iter().any(|call| call.to_string() == number);
    is_in_call(process, |call| call.first().is_some_and(|number| is_one(number)))
}

/// Whether names were read from an open directory, whose position has moved then.
pub fn has_listed(process: Option<Pid>, dir: &Path) -> bool {
    let Ok(dir) = fs::canonicalize(dir) else { return false };
    entries(process, "fd").iter().any(|fd| {
        let info = fd.parent().unwrap().with_file_name("fdinfo").join(fd.file_name().unwrap());
        let is_at_start = || proc(&info).lines().any(|line| line == "pos:\t0");
        fs::read_link(fd).is_ok_and(|path| path == dir) && !is_at_start()
    })
}

/// Sends a signal again and again until a child ends, as a user would who is in a hurry: one that
/// comes before the last was handled is lost. `process` is the child, or what it traces.
pub fn signal_until_it_ends(child: &mut Child, process: Pid, signal: Signal) -> ExitStatus {
    loop {
        let sent = rustix::process::kill_process(process, signal);
        assert!(matches!(sent, Ok(()) | Err(rustix::io::Errno::SRCH)), "{sent:?}");
        std::thread::sleep(Duration::from_millis(300));
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
    }
}
