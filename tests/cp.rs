//! Runs each command with GNU cp and with aiocp, on random trees, over random destinations, with
//! random options. The resulting trees are the same, and so is whether the exit code is 0.

mod common;
mod cp_cases;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use cp_cases::differences::{DIFFERENCES, Then::Out};
use cp_cases::strategies::{any_case, case};
use cp_cases::world::{SOURCE_AGE, TARGET_AGE, describe_world, plant};
use proptest::prelude::*;

/// The options that make cp do what aiocp does by default.
const CP_DEFAULTS: [&str; 3] = ["-r", "-d", "--preserve=mode,timestamps,links"];

fn answer(mut command: Command, yes: bool) -> Output {
    command.env_remove("VERSION_CONTROL").env_remove("SIMPLE_BACKUP_SUFFIX").env("LC_ALL", "C");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that asks nothing may exit before the answer is written.
    let answered =
        child.stdin.take().unwrap().write_all("y\n".repeat(if yes { 100 } else { 0 }).as_bytes());
    assert!(
        answered.is_ok()
            || answered.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    );
    child.wait_with_output().unwrap()
}

#[test]
fn random_commands_do_what_cp_does() {
    let Some(mounted) = Mounted::new("tmpfs", 512) else { return };
    let (count, succeeded) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // About a quarter of the cases meets a deliberate difference and is left out.
    random::property(1_600, case, |case| {
        let world = tempfile::tempdir_in(&mounted.path).unwrap();
        let (theirs, ours) = (world.path().join("cp"), world.path().join("aiocp"));
        for side in [&theirs, &ours] {
            fs::create_dir(side).unwrap();
            plant(&side.join("src"), &case.source, SOURCE_AGE);
            plant(&side.join("dst"), &case.target, TARGET_AGE);
        }
        let mut cp = Command::new("/bin/cp");
        cp.args(CP_DEFAULTS).args(&case.options).args(&case.operands).current_dir(&theirs);
        let mut own = aiocp();
        own.args(["--no-sync", "--threads=2"])
            .args(&case.options)
            .args(&case.operands)
            .current_dir(&ours);
        let (cp, own) = (answer(cp, case.yes), answer(own, case.yes));
        let (cp_said, own_said) =
            (String::from_utf8_lossy(&cp.stderr), String::from_utf8_lossy(&own.stderr));
        let then = case.then(&cp_said);
        if then.contains(&Out) {
            return Ok(());
        }
        let destination = Path::new(case.sources_and_destination().1);
        let said = || format!("cp: {cp_said}\naiocp: {own_said}");
        let (have, want) = (
            describe_world(&ours, destination, &then),
            describe_world(&theirs, destination, &then),
        );
        let paths: BTreeSet<_> = have.keys().chain(want.keys()).collect();
        let differ: Vec<String> = paths
            .into_iter()
            .filter(|path| have.get(*path) != want.get(*path))
            .map(|path| {
                format!("{path:?}\n  cp:    {:?}\n  aiocp: {:?}", want.get(path), have.get(path))
            })
            .collect();
        prop_assert!(differ.is_empty(), "{}\n{}", differ.join("\n"), said());
        prop_assert_eq!(
            own.status.success(),
            cp.status.success(),
            "whether it succeeds\n{}",
            said()
        );
        prop_assert!(own.status.code().is_some_and(|code| code < 3), "{:?}", own);
        count.fetch_add(1, Ordering::Relaxed);
        succeeded.fetch_add(usize::from(cp.status.success()), Ordering::Relaxed);
        Ok(())
    });
    let (count, succeeded) = (count.into_inner(), succeeded.into_inner());
    assert!(
        count >= 1_000 && succeeded > count / 3,
        "{succeeded} of {count} commands did something"
    );
}

#[test]
fn every_deliberate_difference_stands_in_the_manual() {
    let sections =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/aiocp.sections.roff"))
            .unwrap();
    let plain = |line: &str| {
        line.strip_prefix(".B ").or(line.strip_prefix(".BR ")).unwrap_or(line).replace('\\', "")
    };
    let manual = sections.lines().map(plain).collect::<Vec<_>>().join(" ");
    for (name, ..) in DIFFERENCES {
        assert!(manual.contains(name), "the manual says: {name}");
    }
}

/// Otherwise the test would compare empty trees and commands without options.
#[test]
fn no_deliberate_difference_swallows_many_cases() {
    let cases = AtomicUsize::new(0);
    let (out, by_name) = (AtomicUsize::new(0), DIFFERENCES.map(|_| AtomicUsize::new(0)));
    random::property(1_000, any_case, |case| {
        cases.fetch_add(1, Ordering::Relaxed);
        for ((_, then, meets), count) in DIFFERENCES.iter().zip(&by_name) {
            count.fetch_add(usize::from(*then == Out && meets(&case, "")), Ordering::Relaxed);
        }
        out.fetch_add(usize::from(case.is_out("")), Ordering::Relaxed);
        Ok(())
    });
    let (cases, out) = (cases.into_inner(), out.into_inner());
    let counts =
        DIFFERENCES.iter().zip(by_name).map(|((name, ..), count)| (*name, count.into_inner()));
    let many: Vec<_> = counts.filter(|(_, count)| *count > cases / 3).collect();
    assert!(many.is_empty(), "of {cases} cases: {many:?}");
    assert!(out < cases / 2, "{out} of {cases} cases");
}
