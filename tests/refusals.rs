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
//! A seccomp filter refuses all uses of a call, as a sandbox does; strace(1) refuses those after the
//! first of each thread. In refusing.rs it is a filesystem that cannot.

mod common;

use std::process::Command;

use common::faults::{self, Place};
use common::{aiocp, have_strace, litter, run_limited, sandbox, stderr};

use Verdict::{Fails, Plain, Told, Warned};

/// What a copy comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It succeeds, is the same in everything, and says nothing.
    Plain,
    /// It succeeds, all data is there, and a warning that begins so says once what is not.
    Warned(&'static str),
    /// It fails, all data is there, and a line that begins so says once what is not.
    Told(&'static str),
    /// It fails, a line says why, and each name has its old contents or its new ones.
    Fails,
}

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

const ERRORS: [&str; 5] = ["ENOSYS", "EPERM", "EOPNOTSUPP", "EINVAL", "EIO"];

/// How a file is copied.
const MODES: [&[&str]; 4] = [&[], &["-a"], &["--verify"], &["--resume"]];

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
    error: &'static str,
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
        format!("{options:?} {calls} {error} from {from:?} ({wanted:?})")
    }

    fn run(&self) -> Result<(), String> {
        let place = Place::rich();
        let output = match self.from {
            From::First => {
                let mut command = aiocp();
                command.args(self.options).args(place.arguments());
                self.refuse(&mut command);
                run_limited(&mut command)
            }
            From::Second => {
                let fault = format!("{}:error={}:when=2+", self.calls, self.error);
                faults::copy_with(&place, self.options, &[fault])
            }
        };
        let (code, text) = (output.status.code(), stderr(&output));
        let judged = self.judge(&place, code, &text);
        judged.map_err(|what| format!("{}: {what}; {:?}: {text}", self.name(), output.status))
    }

    fn refuse(&self, command: &mut Command) {
        let errno = match self.error {
            "ENOSYS" => libc::ENOSYS,
            "EPERM" => libc::EPERM,
            "EOPNOTSUPP" => libc::EOPNOTSUPP,
            "EINVAL" => libc::EINVAL,
            _ => libc::EIO,
        };
        if self.calls == "O_TMPFILE" {
            return sandbox::without_unnamed(command, errno);
        }
        let numbers: Vec<_> = self.calls.split(',').map(number).collect();
        sandbox::refuse(command, &numbers, errno);
    }

    fn judge(&self, place: &Place, code: Option<i32>, text: &str) -> Result<(), String> {
        if faults::has_panicked(text) {
            return Err("it panicked".to_owned());
        }
        place.is_old_or_new()?;
        // A call that each thread makes once may never be refused.
        let may_be_plain = self.from == From::Second;
        match (self.wanted, code) {
            (Plain, Some(0)) => is_plain(place, text)?,
            (Warned(_) | Told(_) | Fails, Some(0)) if may_be_plain && told(text).is_empty() => {
                is_plain(place, text)?;
            }
            (Warned(words), Some(0)) => {
                place.has_all_data()?;
                is_told_once(text, &format!("aiocp: warning: {words}"))?;
            }
            (Told(words), Some(1)) => {
                place.has_all_data()?;
                is_told_once(text, &format!("aiocp: {words}"))?;
            }
            (Fails, Some(1)) if text.contains("aiocp: cannot ") => {}
            _ => return Err("that is not what it is to come to".to_owned()),
        }
        if code == Some(1) && self.options == ["--resume"] {
            let again = run_limited(aiocp().args(self.options).args(place.arguments()));
            if !again.status.success() {
                return Err(format!("and again: {}", stderr(&again)));
            }
            place.has_all_data().map_err(|what| format!("and again: {what}"))?;
        }
        match litter(place.root()) {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?} is left")),
        }
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

/// What was said, but for what proofs are worth.
fn told(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.ends_with("verified from memory; --debug says why")).collect()
}

fn is_plain(place: &Place, text: &str) -> Result<(), String> {
    match told(text) {
        said if said.is_empty() => place.is_copied(),
        said => Err(format!("it says {said:?}")),
    }
}

/// Whether a line begins so, with a hint and at most one more line on how many others there are.
fn is_told_once(text: &str, words: &str) -> Result<(), String> {
    let begin = words.trim_end_matches('\'');
    let lines: Vec<_> = text.lines().filter(|line| line.starts_with(begin)).collect();
    let is_first = lines.first().is_some_and(|line| line.starts_with(words));
    let is_counted = lines.get(1).is_none_or(|line| line.contains(" either: "));
    match is_first && is_counted && lines.len() <= 2 && text.contains("aiocp: hint: ") {
        true => Ok(()),
        false => Err(format!("'{words}' is not told once")),
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
