//! A count that is larger than what was asked for is an error, and never believed.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::*;

/// What a program answers when a call on `path` claims to have moved far more than was asked for.
fn with_lie(program: &Command, call: &str, when: u32, path: &Path) -> (bool, Output) {
    let folder = folder();
    let trace = folder.path().join("trace");
    let inject = format!("inject={call}:retval=999999999:when={when}");
    let mut command = common::program("strace");
    command.args(["-f", "-o"]).arg(&trace).arg("-P").arg(path);
    command.args(["-e", &format!("trace={call}"), "-e", &inject]);
    command.arg(program.get_program()).args(program.get_args()).env_remove("RUST_BACKTRACE");
    let output = run_limited(&mut command);
    let is_told = trace::calls(&trace).iter().any(|call| call.ends_with("(INJECTED)"));
    (is_told, output)
}

/// The program failed with a line about the count, if there was a lie to be told.
fn is_refused((is_told, output): &(bool, Output), what: &str) {
    let text = stderr(output);
    if *is_told {
        assert_eq!(output.status.code(), Some(1), "{what}: {text}");
        assert!(text.contains("more bytes than were asked for"), "{what}: {text}");
        assert!(!text.contains("internal error"), "{what}: {text}");
    } else {
        assert_eq!(output.status.code(), Some(0), "{what}: {text}");
    }
}

#[test]
fn what_claims_to_have_moved_more_than_was_asked_for_is_an_error() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("small"), noise(5000, 1)).unwrap();
    fs::write(at("big"), noise((5 << 20) + 1, 2)).unwrap();
    let mut lies = 0;
    for name in ["small", "big"] {
        for when in 1..4 {
            let what = format!("{name}, read {when}");
            let mut sum = aiosum();
            sum.arg("--direct=never").arg(at(name));
            let summed = with_lie(&sum, "pread64", when, &at(name));
            is_refused(&summed, &what);
            for options in [&["--engine=threads", "--direct=never"][..], &["--direct=never"]] {
                let mut copy = aiocp();
                copy.args(options).args(["--reflink=never", "-T"]).arg(at(name)).arg(at("copy"));
                let copied = with_lie(&copy, "pread64", when, &at(name));
                is_refused(&copied, &what);
                lies += u32::from(copied.0);
                assert_eq!(at("copy").exists(), !copied.0, "{what}");
                if at("copy").exists() {
                    fs::remove_file(at("copy")).unwrap();
                }
                assert!(litter(folder.path()).is_empty());
            }
            lies += u32::from(summed.0);
        }
    }
    assert!(lies > 4, "{lies} lies were told");
}

#[test]
fn what_claims_to_have_been_written_and_was_not_is_an_error() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("source"), noise(5000, 1)).unwrap();
    let mut copy = aiocp();
    copy.args(["--reflink=never", "-T"]).arg(at("source")).arg(at("copy"));
    let trace = at("trace");
    let inject = "inject=pwrite64:retval=999999999:when=1";
    let mut command = program("strace");
    command.args(["-f", "-o"]).arg(&trace).args(["-e", "trace=pwrite64", "-e", inject]);
    command.arg(copy.get_program()).args(copy.get_args()).env_remove("RUST_BACKTRACE");
    let output = run_limited(&mut command);
    is_refused(&(true, output), "a write");
    assert!(!at("copy").exists() && litter(folder.path()).is_empty());
}
