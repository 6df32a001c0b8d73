//! Calls that are not available: each, refused in each way, from its first use on and from its
//! second. What only chose a way is done in the plain one. What was asked for and cannot be had is
//! told once.
//!
//! ```sh
//! cargo test --test refusals                              # a sample, with a printed seed
//! AIOCP_SEED=... cargo test --test refusals               # the same sample again
//! AIOCP_SWEEP=all cargo test --test refusals              # everything, which takes minutes
//! AIOCP_SWEEP=statx,linkat cargo test --test refusals     # all of these calls
//! ```
//!
//! A seccomp filter refuses all uses of a call, as a sandbox does; strace(1) refuses those after
//! the first of each thread. In refusing.rs it is a filesystem that cannot.

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::faults::{self, Place};
use common::hard::{ACCESS, acl, set_xattr};
use common::lease::Lease;
use common::verdict::{ERRORS, MODES, Refused, Verdict, judge};
use common::*;

use Verdict::{Fails, Plain, Told, Warned};

/// A call that may be refused, and what the copy comes to then.
struct Row {
    /// One call, or several that are refused together.
    calls: &'static str,
    /// What comes of ENOSYS, EPERM, EOPNOTSUPP, EINVAL and EIO in a plain copy, and under
    /// `--verify` and `--resume`.
    plain: [Verdict; 5],
    /// The same under `-a`.
    archive: [Verdict; 5],
}

/// From which use of a call on it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    First,
    Second,
}

/// How many cases of each row are in a sample.
const SAMPLED: usize = 2;

/// A question, of which any answer does.
const fn question(calls: &'static str) -> Row {
    Row { calls, plain: [Plain; 5], archive: [Plain; 5] }
}

/// What can be done in another way; what a device says is told.
const fn way(calls: &'static str) -> Row {
    let verdicts = [Plain, Plain, Plain, Plain, Fails];
    Row { calls, plain: verdicts, archive: verdicts }
}

/// What is kept of a file where that can be: not demanded in a plain copy.
const fn kept(calls: &'static str, warning: &'static str, line: &'static str) -> Row {
    let (plain, archive) = (Warned(warning), Told(line));
    Row {
        calls,
        plain: [plain, plain, plain, plain, Fails],
        archive: [archive, archive, archive, archive, Fails],
    }
}

/// The table. A call that is not in it is one that nothing can be done without.
const TABLE: [Row; 35] = [
    question("statx"),
    question("fstatfs"),
    question("statx,fstatfs"),
    question("name_to_handle_at"),
    question("cachestat"),
    question("fadvise64"),
    question("ioctl"),
    question("lseek"),
    question("openat2"),
    question("fcntl"),
    question("io_setup"),
    question("sched_getaffinity"),
    question("prctl"),
    question("madvise"),
    question("fallocate"),
    question("flock"),
    question("faccessat2"),
    question("prlimit64"),
    question("sysinfo"),
    question("fallocate,statx,fstatfs,fadvise64,ioctl,lseek,openat2,io_setup"),
    question("O_TMPFILE"),
    way("renameat2"),
    Row { plain: [Fails; 5], archive: [Fails; 5], ..way("renameat2,renameat") },
    way("ftruncate"),
    way("ftruncate,fallocate"),
    way("fsync"),
    way("fsync,syncfs"),
    way("syncfs"),
    kept("linkat", "cannot link '", "cannot link '"),
    Row {
        plain: [Plain, SET_MODE, SET_MODE, SET_MODE, Fails],
        archive: [Plain, NO_MODE, NO_MODE, NO_MODE, Fails],
        ..kept("fchmod", "", "")
    },
    kept("fchmod,fchmodat", "cannot set mode of '", "cannot set mode of '"),
    kept("utimensat", "cannot set times of '", "cannot set times of '"),
    Row {
        plain: [Plain; 5],
        archive: [Plain, NO_OWNER, NO_OWNER, NO_OWNER, Fails],
        ..kept("fchown", "", "")
    },
    Row {
        plain: [Plain, READ_ACL, Plain, READ_ACL, Fails],
        archive: [Plain, NO_ACL, Plain, NO_ACL, Fails],
        ..kept("fgetxattr", "", "")
    },
    Row {
        plain: [Plain; 5],
        archive: [Plain, NO_LIST, Plain, NO_LIST, Fails],
        ..kept("flistxattr", "", "")
    },
];

const SET_MODE: Verdict = Warned("cannot set mode of '");
const NO_MODE: Verdict = Told("cannot set mode of '");
const NO_OWNER: Verdict = Told("cannot set owner of '");
const READ_ACL: Verdict = Warned("cannot read ACL of '");
const NO_LIST: Verdict = Told("cannot list attributes of '");
const NO_ACL: Verdict = Told("cannot read ACL of '");

/// One copy.
struct Case {
    calls: &'static str,
    error: (&'static str, i32),
    from: From,
    options: &'static [&'static str],
    wanted: Verdict,
}

impl Row {
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        // strace knows no call that is newer than itself, nor any by its flags.
        let froms: &[From] = match self.calls {
            "cachestat" | "O_TMPFILE" => &[From::First],
            // What was rounded up while that could be cut stays so.
            "ftruncate" | "ftruncate,fallocate" => &[From::First],
            _ => &[From::First, From::Second],
        };
        for options in MODES {
            let verdicts = if options == ["-a"] { &self.archive } else { &self.plain };
            for (error, wanted) in ERRORS.into_iter().zip(verdicts) {
                for &from in froms {
                    let (calls, wanted) = (self.calls, *wanted);
                    cases.push(Case { calls, error, from, options, wanted });
                }
            }
        }
        cases
    }
}

impl Case {
    fn name(&self) -> String {
        let Self { calls, error, from, options, wanted } = self;
        format!("{options:?} {calls} {error:?} from {from:?} ({wanted:?})")
    }

    fn run(&self) -> Result<(), String> {
        let place = self.place();
        let output = match self.from {
            From::First => {
                let mut command = aiocp();
                command.args(self.options).args(place.arguments());
                self.refuse(&mut command);
                run_limited(&mut command)
            }
            From::Second => {
                let fault = format!("{}:error={}:when=2+", self.calls, self.error.0);
                faults::copy_with(&place, self.options, &[fault])
            }
        };
        let Self { options, wanted, from, .. } = *self;
        // A call that each thread makes once is never refused from its second use on.
        let may_be_plain = from == From::Second;
        let again = || run_limited(aiocp().args(options).args(place.arguments()));
        let refused = Refused { options, wanted, may_be_plain, again: &again };
        let judged = judge(&place, &refused, &output);
        let (name, status) = (self.name(), output.status);
        judged.map_err(|what| format!("{name}: {what}; {status:?}: {}", stderr(&output)))
    }

    /// A source that needs these calls: an owner is given to what has another one by itself, and an
    /// ACL is read where there is one.
    fn place(&self) -> Place {
        let place = Place::rich();
        let file = place.source().join("many/2");
        match self.calls {
            "fchown" => std::os::unix::fs::chown(file, Some(1), Some(1)).unwrap(),
            "fgetxattr" => set_xattr(&file, ACCESS, &acl([6, 4, 4, 4, 4, 4])),
            _ => {}
        }
        place
    }

    fn refuse(&self, command: &mut Command) {
        let (_, errno) = self.error;
        if self.calls == "O_TMPFILE" {
            return sandbox::without_unnamed(command, errno);
        }
        let numbers: Vec<_> = self.calls.split(',').map(number).collect();
        sandbox::refuse(command, &numbers, errno);
    }
}

/// The number of a call.
fn number(name: &str) -> libc::c_long {
    match name {
        "statx" => libc::SYS_statx,
        "fstatfs" => libc::SYS_fstatfs,
        "name_to_handle_at" => libc::SYS_name_to_handle_at,
        "cachestat" => 451,
        "fadvise64" => libc::SYS_fadvise64,
        "ioctl" => libc::SYS_ioctl,
        "lseek" => libc::SYS_lseek,
        "openat2" => libc::SYS_openat2,
        "fcntl" => libc::SYS_fcntl,
        "io_setup" => libc::SYS_io_setup,
        "sched_getaffinity" => libc::SYS_sched_getaffinity,
        "prctl" => libc::SYS_prctl,
        "madvise" => libc::SYS_madvise,
        "fallocate" => libc::SYS_fallocate,
        "flock" => libc::SYS_flock,
        "faccessat2" => libc::SYS_faccessat2,
        "prlimit64" => libc::SYS_prlimit64,
        "sysinfo" => libc::SYS_sysinfo,
        "renameat2" => libc::SYS_renameat2,
        "renameat" => libc::SYS_renameat,
        "ftruncate" => libc::SYS_ftruncate,
        "fsync" => libc::SYS_fsync,
        "syncfs" => libc::SYS_syncfs,
        "linkat" => libc::SYS_linkat,
        "fchmod" => libc::SYS_fchmod,
        "fchmodat" => libc::SYS_fchmodat,
        "utimensat" => libc::SYS_utimensat,
        "fchown" => libc::SYS_fchown,
        "fgetxattr" => libc::SYS_fgetxattr,
        "flistxattr" => libc::SYS_flistxattr,
        _ => panic!("{name} has no number"),
    }
}

#[test]
fn what_is_not_available_is_done_without() {
    if !have_strace() {
        return;
    }
    let seed = faults::seed();
    let mut cases = Vec::new();
    for row in TABLE {
        let mut of_row = row.cases();
        match faults::is_wanted(row.calls) {
            Some(true) => {}
            Some(false) => continue,
            None => {
                faults::random(&seed, row.calls).shuffle(&mut of_row);
                of_row.truncate(SAMPLED);
            }
        }
        cases.extend(of_row);
    }
    println!("{} cases", cases.len());
    let failures = faults::try_all(&cases, Case::run);
    assert!(failures.is_empty(), "AIOCP_SEED={seed}:\n{}", failures.join("\n"));
}

/// Calls that may be interrupted at any of their uses.
const INTERRUPTED: [&str; 34] = [
    "openat",
    "openat2",
    "statx",
    "newfstatat",
    "fstat",
    "fstatfs",
    "linkat",
    "unlinkat",
    "renameat2",
    "mkdirat",
    "symlinkat",
    "readlinkat",
    "fchmod",
    "fchown",
    "utimensat",
    "fgetxattr",
    "getxattr",
    "lgetxattr",
    "flistxattr",
    "fallocate",
    "ftruncate",
    "lseek",
    "fcntl",
    "ioctl",
    "flock",
    "fsync",
    "syncfs",
    "pread64",
    "pwrite64",
    "getdents64",
    "io_setup",
    "io_submit",
    "io_getevents",
    "name_to_handle_at",
];

#[test]
fn a_call_that_is_interrupted_is_made_again() {
    if !have_strace() {
        return;
    }
    let seed = faults::seed();
    let mut cases = Vec::new();
    for call in INTERRUPTED {
        // The loader's own are not interrupted, nor are as many of each thread.
        for options in MODES {
            cases.extend([(call, "19+2", options), (call, "1+3", options)]);
        }
    }
    let by_loader = ["openat", "newfstatat", "pread64", "fstat"];
    cases.retain(|(call, when, _)| *when != "1+3" || !by_loader.contains(call));
    match faults::is_wanted("EINTR") {
        Some(true) => {}
        Some(false) => return,
        None => {
            faults::random(&seed, "EINTR").shuffle(&mut cases);
            cases.truncate(20);
        }
    }
    let failures = faults::try_all(&cases, |&(call, when, options)| {
        let place = Place::rich();
        let fault = format!("{call}:error=EINTR:when={when}");
        let output = faults::copy_with(&place, options, std::slice::from_ref(&fault));
        let again = || run_limited(aiocp().args(options).args(place.arguments()));
        let copy = Refused { options, wanted: Plain, may_be_plain: true, again: &again };
        judge(&place, &copy, &output)
            .map_err(|what| format!("{options:?} {fault}: {what}: {}", stderr(&output)))
    });
    assert!(failures.is_empty(), "AIOCP_SEED={seed}:\n{}", failures.join("\n"));
}

#[test]
fn what_is_written_into_is_opened_again_after_an_interruption() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("new"), "new").unwrap();
    fs::write(at("old"), "old").unwrap();
    // The number of the descriptor is whatever is free.
    let places = (3..40).flat_map(|number| ["-P".into(), format!("/proc/self/fd/{number}")]);
    let fault = ["-e", "trace=openat", "-e", "inject=openat:error=EINTR:when=1"];
    let options: Vec<String> = fault.map(String::from).into_iter().chain(places).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut command = strace(&options, &at("trace"));
    run(command.arg("--inplace").args([at("new"), at("old")]), 0);
    assert!(trace::calls(&at("trace")).iter().any(|call| call.contains("INJECTED")));
    assert_eq!(fs::read(at("old")).unwrap(), b"new");
}

/// Security modules answer EACCES, also where they forbid all links.
#[test]
fn what_cannot_be_linked_has_a_name_from_the_beginning() {
    for errno in [libc::EACCES, libc::EPERM, libc::ENOSYS] {
        for options in [&[][..], &["-b"], &["--verify"], &["--backup=numbered"]] {
            // A backup that may not be made is none that cannot be made in another way.
            if errno == libc::EACCES && options.iter().any(|option| option.contains('b')) {
                continue;
            }
            let place = Place::rich();
            let (manifest, mut command) = (place.root().join("manifest"), aiocp());
            command.args(options).arg("--manifest").arg(&manifest).args(place.arguments());
            sandbox::refuse(&mut command, &[libc::SYS_linkat], errno);
            let said = stderr(&run(&mut command, 0));
            place.has_all_data().unwrap_or_else(|_| {
                let kept = ["below/replaced", "replaced-big"].map(|name| {
                    let is_kept = |suffix| place.target().join(format!("{name}{suffix}")).exists();
                    is_kept("~") || is_kept(".~1~")
                });
                assert!(options != [] as [&str; 0] && kept == [true; 2], "{options:?}: {said}");
            });
            let lines = fs::read_to_string(&manifest).unwrap();
            assert!(lines.lines().any(|line| line.ends_with("  many/1")), "{lines}");
            assert!(common::litter(place.root()).is_empty(), "{options:?}");
            assert!(said.contains("aiocp: warning: cannot link '"), "{said}");
        }
    }
}

/// The folder refuses hidden names, and takes others all the same.
#[test]
fn a_folder_that_keeps_every_name_takes_new_files_after_one_that_it_refuses() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for name in ["source", "copy"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("source/a"), "new").unwrap();
    fs::write(at("copy/a"), "old").unwrap();
    for n in 0..200 {
        fs::write(at(&format!("source/b{n}")), "new").unwrap();
    }
    let chattr = |flag| program("chattr").arg(flag).arg(at("copy")).output().unwrap();
    if !is_root("chattr") || !have("chattr") || !chattr("+a").status.success() {
        return;
    }
    let args = ["--threads=1", "-T", "source", "copy"];
    let output = aiocp().current_dir(folder.path()).args(args).output().unwrap();
    assert!(chattr("-a").status.success());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(fs::read(at("copy/a")).unwrap(), b"old");
    assert_eq!(fs::read_dir(at("copy")).unwrap().count(), 201, "{output:?}");
}

#[test]
fn a_file_under_a_lease_is_waited_for() {
    const HELD: Duration = Duration::from_millis(400);
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("leased"), noise(70_000, 1)).unwrap();
    fs::copy(at("leased"), at("same")).unwrap();
    let copy = || (aiocp(), vec!["-T", "leased", "copy"]);
    let compare = || (aiocp(), vec!["--verify-only", "-T", "same", "leased"]);
    let sum = || (aiosum(), vec!["leased"]);
    for (mut command, args) in [copy(), compare(), sum()] {
        let (lease, begun) = (Lease::take(&at("leased")), Instant::now());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(HELD);
                lease.give_back();
            });
            run(command.args(&args).current_dir(folder.path()), 0);
        });
        assert!(begun.elapsed() >= HELD, "{args:?}");
    }
    assert_eq!(fs::read(at("leased")).unwrap(), fs::read(at("copy")).unwrap());
}

#[test]
fn a_wait_for_a_lease_ends_with_the_run() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("leased"), "x").unwrap();
    let lease = Lease::take(&at("leased"));
    let mut command = aiocp();
    command.arg(at("leased")).arg(at("copy")).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    while !common::catches(&child, rustix::process::Signal::INT) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert!(!at("copy").exists());
    lease.give_back();
}
