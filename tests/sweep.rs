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

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{aiocp, describe, folder, have_strace, litter, noise, run_limited, stderr};

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
const AGAIN: [&str; 12] = [
    "fallocate",
    "fsync",
    "ftruncate",
    "getdents64",
    "io_getevents",
    "io_submit",
    "poll",
    "ppoll",
    "pread64",
    "pwrite64",
    "read",
    "write",
];

/// Faults after which not all of this holds, which is known to be wrong. Each is here until it is
/// mended: a sweep of everything fails if it no longer meets one of them.
const KNOWN: [(&str, &str); 3] = [
    // What cannot be asked of the copy's ACL is told as an ACL that cannot be set. The copy lacks
    // the rights of its group then, with exit code 0.
    ("fgetxattr", "ENOSYS"),
    // Whether a new directory is empty is not asked again.
    ("getdents64", "EINTR"),
    // A folder of the destination is not synced again.
    ("fsync", "EINTR"),
];

/// What the process calls first of all by itself. Before it, the loader's failures are the
/// loader's.
const BEGINNING: &str = "rt_sigaction(SIGXFSZ";

/// How many copies of each kind run at once. They mostly wait.
const THREADS: usize = 3;

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

/// The folder of one copy, in which an old one stands.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: folder() };
        let (source, target) = (place.source(), place.target());
        fs::create_dir_all(source.join("below/deeper")).unwrap();
        fs::create_dir_all(target.join("below")).unwrap();
        fs::write(source.join("below/small"), noise(5000, 1)).unwrap();
        fs::write(source.join("below/replaced"), noise(7000, 2)).unwrap();
        fs::write(source.join("below/deeper/empty"), "").unwrap();
        fs::write(source.join("big"), noise((1 << 20) + 4097, 3)).unwrap();
        fs::write(source.join("replaced-big"), noise(3 << 19, 4)).unwrap();
        fs::hard_link(source.join("below/small"), source.join("hard")).unwrap();
        symlink("below/small", source.join("link")).unwrap();
        fs::set_permissions(source.join("below/small"), fs::Permissions::from_mode(0o640)).unwrap();
        for name in ["below/small", "below/replaced", "big", "replaced-big"] {
            common::set_times(&source.join(name), 1_500_000_000, 123_456_789);
        }
        for name in ["below/replaced", "replaced-big"] {
            fs::write(target.join(name), "old").unwrap();
            common::set_times(&target.join(name), 1_400_000_000, 0);
        }
        for name in ["below/deeper", "below", ""] {
            common::set_times(&source.join(name), 1_300_000_000, 5);
        }
        place
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("copy")
    }

    fn arguments(&self) -> [PathBuf; 3] {
        ["-T".into(), self.source(), self.target()]
    }

    /// What the copy is to be like.
    fn is_copied(&self) -> Result<(), String> {
        let (wanted, found) = (describe(&self.source()), describe(&self.target()));
        let names = wanted.keys().chain(found.keys()).collect::<BTreeSet<_>>();
        for name in names {
            if wanted.get(name) != found.get(name) {
                let (wanted, found) = (wanted.get(name), found.get(name));
                return Err(format!("{name:?} is {found:?} and not {wanted:?}"));
            }
        }
        let stat = |name: &str| fs::metadata(self.target().join(name)).unwrap();
        match stat("hard").ino() == stat("below/small").ino() {
            true => Ok(()),
            false => Err("the hard link is a copy".to_owned()),
        }
    }

    /// Whether each name has its old contents or its new ones.
    fn is_old_or_new(&self) -> Result<(), String> {
        for entry in walkdir::WalkDir::new(self.target()) {
            let entry = entry.unwrap();
            let name = entry.path().strip_prefix(self.target()).unwrap();
            if name.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".aiocp-")) {
                continue;
            }
            let source = self.source().join(name);
            let Ok(wanted) = fs::symlink_metadata(&source) else {
                return Err(format!("{name:?} is new"));
            };
            if wanted.file_type() != entry.file_type() {
                return Err(format!("{name:?} is of another kind"));
            }
            if entry.file_type().is_file() {
                let found = fs::read(entry.path()).unwrap();
                let was_there = name.to_string_lossy().contains("replaced");
                if found != fs::read(&source).unwrap() && !(was_there && found == b"old") {
                    return Err(format!("{name:?} has {} bytes, and others", found.len()));
                }
            }
        }
        Ok(())
    }
}

impl Sweep {
    fn new(options: &'static [&'static str]) -> Self {
        let seed = std::env::var("AIOCP_SEED").unwrap_or_else(|_| {
            let mut bytes = [0; 8];
            rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty()).unwrap();
            u64::from_ne_bytes(bytes).to_string()
        });
        println!("AIOCP_SEED={seed}");
        Self { options, seed }
    }

    fn run(&self) {
        if !have_strace() {
            return;
        }
        let faults = self.choose(self.occurrences());
        println!("{:?}: {} cases", self.options, faults.len());
        let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(what) = self.copy_with(fault) {
                    let inject = fault.inject();
                    let line = format!("{:?} {inject}: {what}", self.options);
                    eprintln!("{line}");
                    failures.lock().unwrap().push((fault, line));
                }
            }
        };
        std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
        self.is_as_known(&failures.into_inner().unwrap());
    }

    /// Fails if there are other failures than those that are known, or fewer.
    fn is_as_known(&self, failures: &[(&Fault, String)]) {
        let is = |fault: &Fault, known: &(&str, &str)| (&*fault.call, fault.error) == *known;
        let new = failures.iter().filter(|(fault, _)| !KNOWN.iter().any(|known| is(fault, known)));
        let lines: Vec<_> = new.map(|(_, line)| &**line).collect();
        assert!(lines.is_empty(), "AIOCP_SEED={}:\n{}", self.seed, lines.join("\n"));
        let is_met = |known: &&(_, _)| failures.iter().any(|(fault, _)| is(fault, known));
        let is_all = std::env::var("AIOCP_SWEEP").is_ok_and(|wanted| wanted == "all");
        let mended: Vec<_> = KNOWN.iter().filter(|known| is_all && !is_met(known)).collect();
        assert!(mended.is_empty(), "these are mended, and known no more: {mended:?}");
    }

    /// From which occurrence on, and up to which, each call can fail in a thread.
    fn occurrences(&self) -> BTreeMap<String, std::ops::RangeInclusive<usize>> {
        let place = Place::new();
        let trace = place.folder.path().join("trace");
        let mut command = common::strace(&[], &trace);
        let output = run_limited(command.args(self.options).args(place.arguments()));
        assert!(output.status.success(), "{output:?}");
        place.is_copied().unwrap();
        let (mut before, mut begun) = (BTreeMap::<String, usize>::new(), false);
        let mut counts = BTreeMap::<(String, String), usize>::new();
        for line in fs::read_to_string(trace).unwrap().lines() {
            let (thread, rest) = line.split_once(' ').unwrap();
            let rest = rest.trim_start();
            begun |= rest.starts_with(BEGINNING);
            let Some((call, _)) = rest.split_once('(') else { continue };
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
        let wanted = std::env::var("AIOCP_SWEEP").unwrap_or_default();
        let seed = blake3::hash(format!("{} {:?}", self.seed, self.options).as_bytes());
        let seed = u64::from_le_bytes(seed.as_bytes()[..8].try_into().unwrap());
        let mut random = fastrand::Rng::with_seed(seed);
        let mut faults = Vec::new();
        for (call, range) in occurrences {
            let mut of_call = Vec::new();
            for occurrence in range {
                let fault = |error| Fault { call: call.clone(), error, occurrence };
                of_call.extend(ERRORS.map(fault));
            }
            if wanted.is_empty() {
                random.shuffle(&mut of_call);
                of_call.truncate(SAMPLED);
            } else if wanted != "all" && !wanted.split(',').any(|name| name == call) {
                continue;
            }
            faults.extend(of_call);
        }
        faults
    }

    fn copy_with(&self, fault: &Fault) -> Result<(), String> {
        let place = Place::new();
        let (traced, inject) = (format!("trace={}", fault.call), fault.inject());
        let options = ["--seccomp-bpf", "-qq", "-e", &traced, "-e", &inject];
        let mut command = common::strace(&options, Path::new("/dev/null"));
        command.args(self.options).args(place.arguments()).env_remove("RUST_BACKTRACE");
        let output = run_limited(&mut command);
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
        for word in ["panicked", "internal error", "overflow", "memory allocation of"] {
            if text.contains(word) {
                return Err("it panicked".to_owned());
            }
        }
        // A line that cannot be written is not there.
        let is_mute = matches!(&*fault.call, "write" | "close");
        match code {
            Some(0) => place.is_copied()?,
            Some(1) if fault.error == "EINTR" && AGAIN.contains(&&*fault.call) => {
                return Err("the call was not made again".to_owned());
            }
            Some(1) if text.contains("aiocp: cannot ") || is_mute => place.is_old_or_new()?,
            Some(1) => return Err("no line says why".to_owned()),
            _ => return Err("that is no exit code of a copy".to_owned()),
        }
        let root = place.folder.path();
        if self.options.contains(&"--resume") {
            let again = run_limited(aiocp().args(self.options).args(place.arguments()));
            if !again.status.success() {
                return Err(format!("and again: {}", stderr(&again)));
            }
            place.is_copied().map_err(|what| format!("and again: {what}"))?;
        }
        match litter(root) {
            left if left.is_empty() || is_unremoved(fault) => Ok(()),
            left => Err(format!("{left:?} is left")),
        }
    }
}

/// Whether what is left could not be removed.
fn is_unremoved(fault: &Fault) -> bool {
    matches!(&*fault.call, "unlinkat" | "unlink")
}

impl Fault {
    fn inject(&self) -> String {
        let Self { call, error, occurrence } = self;
        format!("inject={call}:error={error}:when={occurrence}")
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
