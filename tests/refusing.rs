//! Filesystems that refuse one operation each, in each way, as the source and as the destination.
//! What only chose a way is done in the plain one. What was asked for and cannot be had is told
//! once. `AIOCP_SWEEP` and `AIOCP_SEED` are those of refusals.rs, with operations for calls.

mod common;

use std::cell::RefCell;
use std::fs;

use common::faults::{self, Place};
use common::passing::{Passed, Refusal};
use common::verdict::{ERRORS, MODES, Refused, Verdict, judge};
use common::{aiocp, can_mount_fuse, cold_file, folder, run, run_limited, stderr};

use Verdict::{Fails, Plain, Told, Warned};

/// How many cases of each row are in a sample.
const SAMPLED: usize = 2;

/// Which side of a copy is on the filesystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

/// What comes of ENOSYS, EPERM, EOPNOTSUPP, EINVAL and EIO.
struct Row {
    side: Side,
    operation: &'static str,
    /// In a plain copy, and under `--verify` and `--resume`.
    plain: [Verdict; 5],
    /// Under `-a`.
    archive: [Verdict; 5],
}

/// A question, of which any answer does.
const fn question(side: Side, operation: &'static str) -> Row {
    Row { side, operation, plain: [Plain; 5], archive: [Plain; 5] }
}

/// What can be done in another way; what a device says is told.
const fn way(side: Side, operation: &'static str) -> Row {
    let verdicts = [Plain, Plain, Plain, Plain, Fails];
    Row { side, operation, plain: verdicts, archive: verdicts }
}

/// What a copy does not come about without.
const fn needed(side: Side, operation: &'static str) -> Row {
    Row { side, operation, plain: [Fails; 5], archive: [Fails; 5] }
}

/// What is kept of a file where that can be: not demanded in a plain copy.
const fn kept(operation: &'static str, line: &'static str) -> Row {
    let (plain, archive) = (Warned(line), Told(line));
    Row {
        side: Side::Target,
        operation,
        plain: [plain, plain, plain, plain, Fails],
        archive: [archive, archive, archive, archive, Fails],
    }
}

const OWNER: Verdict = Told("cannot set owner of '");
const LIST: Verdict = Told("cannot list attributes of '");
const ACL_WARNED: Verdict = Warned("cannot read ACL of '");
const ACL_TOLD: Verdict = Told("cannot read ACL of '");

/// The table.
const TABLE: [Row; 32] = [
    kept("chmod", "cannot set mode of '"),
    kept("utimens", "cannot set times of '"),
    kept("link", "cannot link '"),
    Row { plain: [Plain; 5], archive: [OWNER, OWNER, OWNER, OWNER, Fails], ..kept("chown", "") },
    way(Side::Target, "truncate"),
    way(Side::Target, "fsync"),
    way(Side::Target, "fsyncdir"),
    question(Side::Target, "statfs"),
    // Of what is replaced, whose ACL a plain copy takes over.
    Row {
        plain: [Plain, ACL_WARNED, Plain, ACL_WARNED, Fails],
        ..question(Side::Target, "getxattr")
    },
    question(Side::Target, "listxattr"),
    question(Side::Target, "fallocate"),
    question(Side::Target, "lseek"),
    question(Side::Target, "access"),
    // Without the operation the kernel takes it for done.
    Row {
        plain: [Plain, Fails, Fails, Fails, Fails],
        archive: [Plain, Fails, Fails, Fails, Fails],
        ..needed(Side::Target, "flush")
    },
    needed(Side::Target, "rename"),
    needed(Side::Target, "mkdir"),
    needed(Side::Target, "create"),
    needed(Side::Target, "write"),
    needed(Side::Target, "symlink"),
    needed(Side::Source, "getattr"),
    needed(Side::Source, "lookup"),
    needed(Side::Source, "read"),
    needed(Side::Source, "readdir"),
    needed(Side::Source, "readlink"),
    question(Side::Source, "statfs"),
    question(Side::Source, "lseek"),
    question(Side::Source, "access"),
    question(Side::Source, "flush"),
    question(Side::Source, "release"),
    Row {
        plain: [Plain, ACL_WARNED, Plain, ACL_WARNED, Fails],
        archive: [Plain, ACL_TOLD, Plain, ACL_TOLD, Fails],
        ..question(Side::Source, "getxattr")
    },
    Row { archive: [Plain, LIST, Plain, LIST, Fails], ..question(Side::Source, "listxattr") },
    question(Side::Source, "fsync"),
];

/// One copy.
struct Case {
    side: Side,
    operation: &'static str,
    error: (&'static str, i32),
    options: &'static [&'static str],
    wanted: Verdict,
}

impl Row {
    fn cases(&self) -> Vec<Case> {
        let mut cases = Vec::new();
        for options in MODES {
            let verdicts = if options == ["-a"] { self.archive } else { self.plain };
            for (error, wanted) in ERRORS.into_iter().zip(verdicts) {
                let Self { side, operation, .. } = *self;
                cases.push(Case { side, operation, error, options, wanted });
            }
        }
        cases
    }
}

impl Case {
    fn run(&self) -> Result<(), String> {
        let Self { side, operation, error: (error, errno), options, wanted } = *self;
        let place = Place::rich();
        let refusal = Some(Refusal { operation, errno, only: None });
        let passed = Passed::refusing(place.root(), 0, refusal).expect("there is FUSE");
        let there = |name: &str| passed.path.join(name);
        let [source, target] = match side {
            Side::Source => [there("source"), place.target()],
            Side::Target => [place.source(), there("copy")],
        };
        let copy = || run_limited(aiocp().args(options).arg("-T").args([&source, &target]));
        let output = copy();
        let passed = RefCell::new(passed);
        let again = || {
            passed.borrow_mut().mount_again(place.root(), 0);
            run_limited(aiocp().args(options).arg("-T").args([&source, &target]))
        };
        let refused = Refused { options, wanted, may_be_plain: false, again: &again };
        judge(&place, &refused, &output).map_err(|what| {
            let (status, said) = (output.status, stderr(&output));
            let case = format!("{options:?} {side:?} {operation} {error} ({wanted:?})");
            format!("{case}: {what}; {status:?}: {said}")
        })
    }
}

#[test]
fn what_a_filesystem_refuses_is_done_without() {
    if !can_mount_fuse() {
        return;
    }
    let seed = faults::seed();
    let mut cases = Vec::new();
    for row in TABLE {
        let mut of_row = row.cases();
        match faults::is_wanted(row.operation) {
            Some(true) => {}
            Some(false) => continue,
            None => {
                let what = format!("{:?} {}", row.side, row.operation);
                faults::random(&seed, &what).shuffle(&mut of_row);
                of_row.truncate(SAMPLED);
            }
        }
        cases.extend(of_row);
    }
    println!("{} cases", cases.len());
    let failures = faults::try_all(&cases, Case::run);
    assert!(failures.is_empty(), "AIOCP_SEED={seed}:\n{}", failures.join("\n"));
}

#[test]
fn direct_io_that_is_demanded_is_tried_where_the_filesystem_does_not_name_its_alignment() {
    if !can_mount_fuse() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("behind")).unwrap();
    cold_file(&at("big"), 3);
    let passed = Passed::new(&at("behind"), 0).expect("there is FUSE");
    let (there, back) = (passed.path.join("copy"), at("back"));
    for (source, target) in [(&at("big"), &there), (&there, &back)] {
        let args = ["--direct=always", "--debug"];
        let said = stderr(&run(aiocp().args(args).args([source, target]), 0));
        assert!(said.lines().any(|line| line.ends_with(": direct")), "{said}");
        assert!(fs::read(at("big")).unwrap() == fs::read(target).unwrap(), "{target:?}");
    }
}
