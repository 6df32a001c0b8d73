//! What keeps a run from going on is one line with operation, path and reason, and costs no more
//! than it has to.

mod common;

use std::fs;
use std::process::Output;
use std::sync::atomic::{AtomicU32, Ordering};

use common::elsewhere::Elsewhere;
use common::*;

/// The command as a user who may have so many processes, or nothing where that cannot be tried.
fn with_processes(folder: &Elsewhere, count: u32, args: &[&str]) -> Option<Output> {
    if !is_root("a user of its own") || !have("setpriv") || !have("prlimit") {
        return None;
    }
    let copied = folder.path().join("program");
    if !copied.exists() {
        copy_program(aiosum().get_program(), &copied);
    }
    // What other tests run counts for users of their own.
    static USERS: AtomicU32 = AtomicU32::new(0);
    let user = 54_387 + USERS.fetch_add(1, Ordering::Relaxed);
    let mut command = folder.as_user(user);
    command.args(["prlimit", &format!("--nproc={count}")]).arg(copied).args(args);
    Some(run_limited(command.env_remove("RUST_BACKTRACE")))
}

#[test]
fn a_number_of_threads_that_cannot_be_had_is_a_wish() {
    let folder = Elsewhere::new();
    fs::write(folder.path().join("big"), noise(3 << 20, 1)).unwrap();
    let wanted = run(aiosum().current_dir(folder.path()).arg("big"), 0).stdout;
    let mut done = Vec::new();
    for threads in [&[][..], &["--num-threads=1"], &["--num-threads=2"], &["--num-threads=64"]] {
        for count in 2..9 {
            let args = [threads, &["big"]].concat();
            let Some(output) = with_processes(&folder, count, &args) else { return };
            let text = stderr(&output);
            assert!(!text.contains("internal error"), "{args:?} {text}");
            match output.status.code() {
                Some(0) => {
                    assert_eq!(output.stdout, wanted, "{args:?} {count}");
                    done.push((threads, count));
                }
                _ => {
                    assert_eq!(text.matches("temporarily unavailable").count(), 1, "{text}");
                    assert!(count < 5, "{args:?} with {count}: {text}");
                }
            }
        }
    }
    assert!(done.len() >= 16, "{done:?}");
}

#[test]
fn what_keeps_a_sum_from_going_on_has_operation_path_and_reason() {
    let folder = Elsewhere::new();
    fs::create_dir(folder.path().join("t")).unwrap();
    for n in 0..20 {
        fs::write(folder.path().join(format!("t/{n}")), "").unwrap();
    }
    let mut command = aiosum();
    command
        .current_dir(folder.path())
        .args(["--length=1048576", "t"])
        .env("TMPDIR", "/nonexistent");
    let text = stderr(&run(&mut command, 1));
    let wanted = "aiosum: cannot use a temporary file in '/nonexistent': ";
    assert!(text.starts_with(wanted) && text.lines().count() == 1, "{text}");
    assert!(!text.contains("os error"), "{text}");
    // Threads and descriptors.
    fs::write(folder.path().join("sums"), "").unwrap();
    for (args, what) in
        [(&["t"][..], "begin to hash 't'"), (&["--check", "sums"], "begin to check 'sums'")]
    {
        let Some(output) = with_processes(&folder, 3, args) else { return };
        let text = stderr(&output);
        let wanted = format!("aiosum: cannot {what}: Resource temporarily unavailable\n");
        assert!(text.starts_with(&wanted) && text.contains("hint: raise the limit"), "{text}");
    }
}

#[test]
fn a_reason_is_said_once() {
    let folder = folder();
    fs::write(folder.path().join("f"), "").unwrap();
    for args in [
        &["--log-file=/dev/full", "f", "d"][..],
        &["--verbose", "--log-file=/dev/full", "f", "d"],
        &["--dry-run", "--log-file=/dev/full", "f", "d"],
    ] {
        let text = stderr(&run(aiocp().current_dir(&folder).args(args), 1));
        assert_eq!(text.matches("No space left on device").count(), 1, "{args:?} {text}");
        assert!(text.contains("cannot write the log '/dev/full': No space"), "{text}");
        assert!(!folder.path().join("d").exists());
    }
}
