//! Copies in which one system call fails: each call, with each error, at each of its occurrences.
//!
//! ```sh
//! cargo test --test sweep                              # a sample, with a printed seed
//! AIOCP_SEED=... cargo test --test sweep               # the same sample again
//! AIOCP_SWEEP=all cargo test --test sweep              # everything, which takes an hour
//! AIOCP_SWEEP=fsync,linkat cargo test --test sweep     # all of these calls
//! ```
//!
//! strace(1) makes the calls fail. It counts each thread's calls by themselves, so that one case
//! may be several failures. What has to hold after each of them:
//!
//! - The exit code is 0 or 1, within two minutes, and nothing panicked.
//! - It is 0 after EINTR of a call that is made again.
//! - 0: what is there is what was to be copied, whatever a line says.
//! - 1: a line says why, and each name has its old contents or its new ones, whole.
//! - No hidden file is left, but for `--resume`, which the next run finishes and leaves none.

mod common;

use std::collections::BTreeMap;

use common::faults::{self, Place};
use common::{aiocp, have_strace, litter, run_limited, stderr, trace};

/// The errors that a call can answer with anywhere: of devices, of rights, of room, of sandboxes
/// and of filesystems that cannot.
const ERRORS: [&str; 11] = [
    "EIO",
    "ENOSPC",
    "EACCES",
    "EPERM",
    "EINTR",
    "ENOMEM",
    "EMFILE",
    "ENOSYS",
    "EOPNOTSUPP",
    "EINVAL",
    "EDQUOT",
];

/// Calls that do not fail: those that end threads and the process, those that answer from the
/// process's own facts, and those by which the loader and the runtimes of threads and signals keep
/// their memory, which limits.rs tests.
const NEVER: [&str; 26] = [
    "geteuid",
    "getegid",
    "getrandom",
    "prlimit64",
    "recvfrom",
    "execve",
    "exit",
    "exit_group",
    "brk",
    "mmap",
    "munmap",
    "mprotect",
    "madvise",
    "futex",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "set_robust_list",
    "set_tid_address",
    "rseq",
    "arch_prctl",
    "gettid",
    "getpid",
    "sched_yield",
    "restart_syscall",
];

/// Calls that are made again when a signal interrupts them, so that the copy does not fail.
const AGAIN: [&str; 43] = [
    "eventfd2",
    "faccessat2",
    "fadvise64",
    "fallocate",
    "fchmod",
    "fchown",
    "fcntl",
    "fgetxattr",
    "flistxattr",
    "flock",
    "fremovexattr",
    "fsetxattr",
    "fstat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "getdents64",
    "getxattr",
    "io_getevents",
    "io_setup",
    "io_submit",
    "ioctl",
    "lgetxattr",
    "linkat",
    "lseek",
    "mkdirat",
    "name_to_handle_at",
    "newfstatat",
    "openat",
    "openat2",
    "poll",
    "ppoll",
    "pread64",
    "pwrite64",
    "read",
    "readlinkat",
    "renameat2",
    "statx",
    "symlinkat",
    "syncfs",
    "unlinkat",
    "utimensat",
    "write",
];

/// What the process calls first of all by itself. Before it, the loader's failures are the
/// loader's.
const BEGINNING: &str = "rt_sigaction(SIGXFSZ";

/// How many cases of each call are in a sample.
const SAMPLED: usize = 2;

/// A copy whose calls fail.
struct Sweep {
    options: &'static [&'static str],
    seed: String,
}

/// One way in which it fails.
#[derive(Clone, Debug)]
struct Fault {
    call: String,
    error: &'static str,
    occurrence: usize,
}

impl Sweep {
    fn new(options: &'static [&'static str]) -> Self {
        Self { options, seed: faults::seed() }
    }

    fn run(&self) {
        if !have_strace() {
            return;
        }
        let faults = self.choose(self.occurrences());
        println!("{:?}: {} cases", self.options, faults.len());
        let failures = faults::try_all(&faults, |fault| {
            let failed = |what| format!("{:?} {}: {what}", self.options, fault.inject());
            self.copy_with(fault).map_err(failed)
        });
        assert!(failures.is_empty(), "AIOCP_SEED={}:\n{}", self.seed, failures.join("\n"));
    }

    /// From which occurrence on, and up to which, each call can fail in a thread.
    fn occurrences(&self) -> BTreeMap<String, std::ops::RangeInclusive<usize>> {
        let place = Place::new();
        let trace = place.root().join("trace");
        let mut command = common::strace(&[], &trace);
        let output = run_limited(command.args(self.options).args(place.arguments()));
        assert!(output.status.success(), "{output:?}");
        place.is_copied().unwrap();
        let (mut before, mut begun) = (BTreeMap::<String, usize>::new(), false);
        let mut counts = BTreeMap::<(String, String), usize>::new();
        for line in trace::calls(&trace) {
            let (thread, call) = (trace::thread_of(&line), trace::name_of(&line));
            begun |= line.contains(BEGINNING);
            let is_call = |byte: u8| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte);
            // strace has no name for a call that is newer than itself, and cannot make it fail.
            let is_known = call.bytes().all(is_call) && !call.starts_with("syscall_0x");
            if !is_known || NEVER.contains(&call) {
                continue;
            }
            if !begun {
                *before.entry(call.to_owned()).or_default() += 1;
            }
            *counts.entry((thread.to_owned(), call.to_owned())).or_default() += 1;
        }
        assert!(begun, "no call {BEGINNING}");
        let mut occurrences = BTreeMap::new();
        for ((_, call), count) in counts {
            let first = before.get(&call).unwrap_or(&0) + 1;
            let range = occurrences.entry(call).or_insert(first..=0);
            *range = first..=count.max(*range.end());
        }
        occurrences.retain(|_, range| !range.is_empty());
        occurrences
    }

    /// The cases of this run.
    fn choose(&self, occurrences: BTreeMap<String, std::ops::RangeInclusive<usize>>) -> Vec<Fault> {
        let mut random = faults::random(&self.seed, &format!("{:?}", self.options));
        let mut faults = Vec::new();
        for (call, range) in occurrences {
            let mut of_call = Vec::new();
            for occurrence in range {
                let fault = |error| Fault { call: call.clone(), error, occurrence };
                of_call.extend(ERRORS.map(fault));
            }
            match faults::is_wanted(&call) {
                Some(true) => {}
                Some(false) => continue,
                None => {
                    random.shuffle(&mut of_call);
                    of_call.truncate(SAMPLED);
                }
            }
            faults.extend(of_call);
        }
        faults
    }

    fn copy_with(&self, fault: &Fault) -> Result<(), String> {
        let place = Place::new();
        let output = faults::copy_with(&place, self.options, &[fault.inject()]);
        let text = stderr(&output);
        let ended = self.judge(fault, &place, output.status.code(), &text);
        ended.map_err(|what| format!("{what}; {:?}: {text}", output.status))
    }

    fn judge(
        &self,
        fault: &Fault,
        place: &Place,
        code: Option<i32>,
        text: &str,
    ) -> Result<(), String> {
        if faults::has_panicked(text) {
            return Err("it panicked".to_owned());
        }
        // A line that cannot be written is not there.
        let is_mute = matches!(&*fault.call, "write" | "close");
        match code {
            Some(0) => match place.is_copied() {
                // What was not asked for, and is refused here, is told of and costs no data.
                Err(_) if is_refusal(fault) && text.contains("aiocp: warning: cannot ") => {
                    place.has_all_data()?;
                }
                copied => copied?,
            },
            Some(1) if fault.error == "EINTR" && AGAIN.contains(&&*fault.call) => {
                return Err("the call was not made again".to_owned());
            }
            Some(1) if text.contains("aiocp: cannot ") || is_mute => place.is_old_or_new()?,
            Some(1) => return Err("no line says why".to_owned()),
            _ => return Err("that is no exit code of a copy".to_owned()),
        }
        if self.options.contains(&"--resume") {
            let again = run_limited(aiocp().args(self.options).args(place.arguments()));
            if !again.status.success() {
                return Err(format!("and again: {}", stderr(&again)));
            }
            place.is_copied().map_err(|what| format!("and again: {what}"))?;
        }
        match litter(place.root()) {
            left if left.is_empty() || is_unremoved(fault) => Ok(()),
            left => Err(format!("{left:?} is left")),
        }
    }
}

/// Whether the error is one that says that a call cannot be had.
fn is_refusal(fault: &Fault) -> bool {
    matches!(fault.error, "ENOSYS" | "EPERM" | "EACCES" | "EOPNOTSUPP" | "EINVAL")
}

/// Whether what is left could not be removed.
fn is_unremoved(fault: &Fault) -> bool {
    matches!(&*fault.call, "unlinkat" | "unlink")
}

impl Fault {
    fn inject(&self) -> String {
        let Self { call, error, occurrence } = self;
        format!("{call}:error={error}:when={occurrence}")
    }
}

#[test]
fn a_plain_copy() {
    Sweep::new(&[]).run();
}

#[test]
fn a_copy_of_everything() {
    Sweep::new(&["-a"]).run();
}

#[test]
fn a_proved_copy() {
    Sweep::new(&["--verify"]).run();
}

#[test]
fn a_resumable_copy() {
    Sweep::new(&["--resume"]).run();
}
