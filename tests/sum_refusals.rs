//! Filesystems that refuse one operation on one file, in each way, to `aiosum`: one line says which
//! file and why, the exit code is 1, and all others are hashed. A sandbox that refuses a question
//! changes nothing.

mod common;

use std::fs;
use std::path::Path;

use common::faults;
use common::passing::{Passed, Refusal};
use common::{aiosum, can_mount_fuse, folder, noise, run, run_limited, sandbox, stderr};

/// The ways to refuse something, and what they are called.
const ERRORS: [(i32, &str); 4] = [
    (libc::EIO, "Input/output error"),
    (libc::EACCES, "Permission denied"),
    (libc::EPERM, "Operation not permitted"),
    (libc::ENOTSUP, "Operation not supported"),
];

/// What is refused of which name, and the line without its reason. A big file has a place too.
const TABLE: [(&str, &str, &str); 9] = [
    ("open", "small", "cannot open 'tree/small': "),
    ("open", "big", "cannot open 'tree/big': "),
    ("read", "small", "cannot read 'tree/small' at byte 0: "),
    ("read", "big", "cannot read 'tree/big' at byte 0: "),
    ("getattr", "small", "cannot stat 'tree/small': "),
    ("getattr", "big", "cannot stat 'tree/big': "),
    ("lookup", "small", "cannot open 'tree/small': "),
    ("lookup", "sub", "cannot open directory 'tree/sub': "),
    ("readdir", "sub", "cannot list directory 'tree/sub': "),
];

/// The files, and how many bytes each has.
const FILES: [(&str, usize); 5] =
    [("a", 5), ("big", (2 << 20) + 5), ("small", 70_000), ("sub/b", 100), ("z-big", 3 << 20)];

/// How the files are named to aiosum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    /// By the directory that they are in.
    Tree,
    /// Each.
    Each,
    /// By a manifest.
    Check,
}

struct Case {
    operation: &'static str,
    name: &'static str,
    line: &'static str,
    error: (i32, &'static str),
    named: Named,
}

fn make_files(root: &Path) {
    fs::create_dir_all(root.join("tree/sub")).unwrap();
    for (seed, (name, len)) in FILES.into_iter().enumerate() {
        fs::write(root.join("tree").join(name), noise(len, seed as u64)).unwrap();
    }
}

/// The lines that all files have.
fn lines() -> Vec<String> {
    let line = |(seed, (name, len)): (usize, (&str, usize))| {
        format!("{}  tree/{name}", blake3::hash(&noise(len, seed as u64)))
    };
    FILES.into_iter().enumerate().map(line).collect()
}

impl Case {
    /// Whether a line or a path is of what is refused.
    fn is_refused(&self, path: &str) -> bool {
        path.ends_with(&format!("/{}", self.name)) || path.contains(&format!("/{}/", self.name))
    }

    fn run(&self) -> Result<(), String> {
        let Self { operation, name, error: (errno, _), named, .. } = *self;
        let folder = folder();
        make_files(folder.path());
        fs::write(folder.path().join("sums"), lines().join("\n") + "\n").unwrap();
        let refusal = Some(Refusal { operation, errno, only: Some(name) });
        let passed = Passed::refusing(folder.path(), 0, refusal).expect("there is FUSE");
        let mut command = aiosum();
        command.current_dir(&passed.path);
        match named {
            Named::Tree => command.arg("tree"),
            Named::Each => command.args(FILES.map(|(name, _)| format!("tree/{name}"))),
            Named::Check => command.args(["--check", "sums"]),
        };
        let output = run_limited(&mut command);
        // Any of the blocks may be the first that is missing.
        let first = |text: String| {
            let places = ["at byte 1048576:", "at byte 2097152:"];
            places.iter().fold(text, |text, place| text.replace(place, "at byte 0:"))
        };
        let out = first(String::from_utf8(output.stdout.clone()).unwrap());
        let said = first(stderr(&output));
        let judged = match output.status.code() {
            Some(1) if named == Named::Check => self.judge_check(&said, &out),
            Some(1) => self.judge_list(&said, &out),
            code => Err(format!("exit code {code:?}")),
        };
        let case = format!("{operation} {name} {errno} {named:?}");
        judged.map_err(|what| format!("{case}: {what}; it says {said:?} and prints {out:?}"))
    }

    fn judge_list(&self, said: &str, out: &str) -> Result<(), String> {
        let wanted = format!("aiosum: {}{}", self.line, self.error.1);
        let lines_said: Vec<_> =
            said.lines().filter(|line| !line.starts_with("aiosum: hint: ")).collect();
        if lines_said != [&*wanted] {
            return Err(format!("it does not say {wanted:?} alone"));
        }
        let others: Vec<_> = lines().into_iter().filter(|line| !self.is_refused(line)).collect();
        match out.lines().eq(others.iter().map(String::as_str)) {
            true => Ok(()),
            false => Err("the others have other lines".to_owned()),
        }
    }

    fn judge_check(&self, said: &str, out: &str) -> Result<(), String> {
        let place = if self.line.contains(" at byte 0") { "at byte 0: " } else { "" };
        let verdict = |(name, _): (&str, usize)| match self.is_refused(&format!("tree/{name}")) {
            true => format!("tree/{name}: FAILED ({place}{})", self.error.1),
            false => format!("tree/{name}: OK"),
        };
        let wanted = FILES.map(verdict);
        if !out.lines().eq(wanted.iter().map(String::as_str)) {
            return Err(format!("the verdicts are not {wanted:?}"));
        }
        match said == "aiosum: WARNING: 1 listed file could not be read\n" {
            true => Ok(()),
            false => Err("it does not count one".to_owned()),
        }
    }
}

#[test]
fn what_a_filesystem_refuses_of_one_file_is_one_line_and_all_others_are_hashed() {
    if !can_mount_fuse() {
        return;
    }
    let mut cases = Vec::new();
    for (operation, name, line) in TABLE {
        for error in ERRORS {
            for named in [Named::Tree, Named::Each, Named::Check] {
                // What is named itself needs no listing of the directory that it is in.
                if name != "sub" || named == Named::Tree {
                    cases.push(Case { operation, name, line, error, named });
                }
            }
        }
    }
    let failures = faults::try_all(&cases, Case::run);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn questions_that_a_sandbox_refuses_change_nothing() {
    let folder = folder();
    make_files(folder.path());
    let sum = |call: libc::c_long, errno: i32, code: i32| {
        let mut command = aiosum();
        command.current_dir(folder.path()).arg("tree");
        sandbox::refuse(&mut command, &[call], errno);
        run(&mut command, code)
    };
    for (errno, _) in ERRORS {
        for call in [
            libc::SYS_statx,
            libc::SYS_fstatfs,
            libc::SYS_openat2,
            libc::SYS_ioctl,
            libc::SYS_lseek,
            libc::SYS_fadvise64,
            libc::SYS_io_setup,
        ] {
            // A directory that may not be opened is answered with EACCES too.
            if call == libc::SYS_openat2 && errno == libc::EACCES {
                continue;
            }
            let output = sum(call, errno, 0);
            let out = String::from_utf8(output.stdout.clone()).unwrap();
            assert!(out.lines().eq(lines().iter().map(String::as_str)), "{call}: {output:?}");
            assert!(output.stderr.is_empty(), "{call} {errno}: {output:?}");
        }
    }
}
