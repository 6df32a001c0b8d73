//! What is printed, in which order, and when nothing is.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::process::{Command, Output, Stdio};

use common::place::{Place, fifo};
use common::*;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn quiet_says_nothing_but_what_went_wrong() {
    let place = Place::with(&[("s/a", "1"), ("s/b", "2"), ("t/b", "3"), ("t/c", "4")]);
    let said = |args: &[&str], code| {
        let output = run(&mut place.command(args), code);
        (stdout(&output), stderr(&output))
    };
    let nothing = (String::new(), String::new());
    assert_eq!(said(&["-q", "-T", "s", "u"], 0), nothing);
    // A warning is no error, and neither is what was left alone.
    assert_eq!(said(&["-q", "-u", "--manifest=m", "-T", "s", "u"], 0), nothing);
    assert_eq!(said(&["--quiet", "--dry-run", "-T", "s", "v"], 0), nothing);
    assert_eq!(said(&["-v", "--progress", "-q", "-T", "s", "v"], 0), nothing, "the last holds");
    assert_ne!(said(&["-q", "-v", "-T", "s", "w"], 0), nothing);
    let (json, rest) = said(&["-q", "--json", "-T", "s", "x"], 0);
    assert!(json.contains("\"event\":\"summary\"") && rest.is_empty(), "{json}{rest}");
    let (out, _) = said(&["-q", "--verify-only", "-T", "s", "t"], 3);
    assert!(out.contains("t/c: extra\n") && out.contains("t/a: missing\n"), "{out}");
    fifo(&place.at("s/pipe"));
    let (out, err) = said(&["-q", "-T", "s", "y"], 1);
    assert!(
        out.is_empty() && err.starts_with("aiocp: cannot copy 's/pipe': it is a FIFO"),
        "{err}"
    );
    for other in ["--stats", "--debug"] {
        let (_, err) = said(&["-q", other, "-T", "s", "z"], 2);
        assert!(err.contains("does not go with"), "{err}");
    }
}

#[test]
fn a_dry_run_says_the_same_each_time() {
    let place = Place::new();
    for n in 0..300 {
        let folder = place.at(&format!("s/{}/{}", n % 7, n % 3));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(n.to_string()), "x").unwrap();
        // Which of the names is linked to the other?
        fs::hard_link(folder.join(n.to_string()), place.at(&format!("s/{}/n{n}", n % 5))).unwrap();
    }
    let plan = |more: &[&str]| {
        let args = [&["--dry-run", "-T"][..], more, &["s", "t"]].concat();
        stdout(&run(&mut place.command(&args), 0))
    };
    let text = plan(&[]);
    let (lines, summary) = text.trim_end().rsplit_once('\n').unwrap();
    assert!(summary.starts_with("would copy 300 files"), "{summary}");
    let paths: Vec<_> = lines
        .lines()
        .map(|line| line.split('\'').rev().nth(1).unwrap().replace('/', "\0"))
        .collect();
    assert!(paths.len() > 600 && paths.is_sorted(), "{text}");
    let json = plan(&["--json"]);
    // The summary has the time.
    let events = |json: &str| json.lines().rev().skip(1).map(str::to_owned).collect::<Vec<_>>();
    for _ in 0..5 {
        assert_eq!(plan(&[]), text);
        assert_eq!(events(&plan(&["--json"])), events(&json));
    }
}

#[test]
fn the_summary_says_that_all_was_verified_and_not_how_it_went() {
    let place = Place::with(&[("s/a", "1"), ("s/b", "22")]);
    let summary = |args: &[&str]| {
        let said = stderr(&run(&mut place.command(&[&["--progress"], args].concat()), 0));
        let is_summary = |line: &&str| line.starts_with("aiocp: 2 files, 3 B in ");
        said.lines().find(is_summary).unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    let copied = summary(&["-T", "s", "t"]);
    assert!(copied.ends_with("B/s") && !copied.contains("verified"), "{copied}");
    let verified = summary(&["--verify", "--no-clobber", "-T", "s", "u"]);
    assert!(verified.ends_with("B/s, all verified"), "{verified}");
}

/// A command whose reader goes when it has read something.
fn with_impatient_reader(command: &mut Command) -> (Option<i32>, String) {
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut [0; 10]).unwrap();
    drop(out);
    let output = child.wait_with_output().unwrap();
    (output.status.code(), stderr(&output))
}

#[test]
fn where_the_reader_goes_the_run_ends_in_silence() {
    let place = Place::new();
    fs::create_dir(place.at("s")).unwrap();
    for n in 0..1500 {
        // More lines than a pipe holds.
        fs::write(place.at(&format!("s/{n:0100}")), [b'x'; 1024]).unwrap();
    }
    let silence = (Some(141), String::new());
    // The first would take 15 s to its end: one batch after the other.
    let flags: [&[&str]; 4] = [
        &["-v", "--threads=1", "--bwlimit=100K"],
        &["--json"],
        &["--dry-run"],
        &["-v", "--failed-list=list", "--resume"],
    ];
    for (n, flags) in flags.into_iter().enumerate() {
        let target = format!("t{n}");
        let args = [flags, &["-T", "s", &target]].concat();
        let mut command = place.command(&args);
        assert_eq!(with_impatient_reader(&mut command), silence, "{flags:?}");
    }
    // The copy has ended early, as that of cp, and leaves nothing half done.
    let copied = place.list("t0").len();
    assert!((1..1500).contains(&copied), "{copied}");
    assert!(litter(&place.at("t0")).is_empty());
    // The same command continues.
    place.cp(&["-v", "--failed-list=list", "--resume", "-T", "s", "t3"]);
    assert_eq!(place.list("t3").len(), 1500);
    let mut sums = aiosum();
    assert_eq!(with_impatient_reader(sums.arg(place.at("s"))), silence);
    // At the end of a copy that is whole.
    let mut command = place.command(&["--manifest=-", "-T", "s", "t5"]);
    assert_eq!(with_impatient_reader(&mut command), silence);
    assert_eq!(place.list("t5").len(), 1500);
}

#[test]
fn a_difference_or_a_failure_counts_for_more_than_a_reader_that_has_gone() {
    let place = Place::with(&[("s/", ""), ("t/", ""), ("one", "1")]);
    for n in 0..1500 {
        fs::write(place.at(&format!("s/{n:0100}")), "x").unwrap();
    }
    let mut command = place.command(&["--verify-only", "-T", "s", "t"]);
    assert_eq!(with_impatient_reader(&mut command), (Some(3), String::new()));
    // The report fails first, and then nothing takes the totals.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command(&["--report=/dev/full", "--stats", "one", "two"]);
    let output = command.stdout(writer).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("'/dev/full'"), "{said}");
    assert_eq!(place.read("two"), "1");
}

/// A command on a terminal, into which this is typed, and then ^D.
fn typed_into(place: &Place, command: &str, typed: &str) -> Option<String> {
    if !have("script") {
        return None;
    }
    // A command that waits for more is ended.
    let mut script = program("timeout");
    script
        .args(["120", "script", "-qec", command, "/dev/null"])
        .current_dir(place.at("."))
        .env("TERM", "xterm");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // At its end, script would type ^D once more.
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(format!("{typed}\n\x04").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(keyboard);
    assert!(output.status.success(), "{command}: {output:?}");
    Some(stdout(&output).replace('\r', ""))
}

#[test]
fn what_is_typed_is_asked_for_and_nothing_is_drawn_over_it() {
    let place = Place::with(&[("a", "one")]);
    let [sums, copies] = [aiosum(), aiocp()].map(|command| command.get_program().to_owned());
    let (sums, copies) = (sums.display(), copies.display());
    let hint = "aiosum: hint: reading standard input; ^D ends it, 'aiosum FILE' hashes a file\n";
    let hash = format!("{}  -\n", blake3::hash(b"words\n"));
    for (options, wants_hint) in [
        ("", true),
        ("--progress", true),
        ("--progress --quiet", false),
        ("--progress -", false),
        ("--progress -- - a", false),
    ] {
        let command = format!("{sums} {options}");
        let Some(shown) = typed_into(&place, &command, "words") else { return };
        assert!(shown.contains(&hash), "{options}: {shown:?}");
        assert_eq!(shown.contains(hint), wants_hint, "{options}: {shown:?}");
        assert!(!shown.contains("hashed") && !shown.contains('\x1b'), "{options}: {shown:?}");
    }
    let hint = "aiosum: hint: reading standard input; ^D ends it, 'aiosum -c FILE' reads a file\n";
    let line = format!("{}  a", blake3::hash(b"one"));
    let shown = typed_into(&place, &format!("{sums} --check --progress"), &line).unwrap();
    assert!(shown.contains(hint) && shown.contains("a: OK\n"), "{shown:?}");
    assert!(!shown.contains('\x1b'), "{shown:?}");
    let shown = typed_into(&place, &format!("! {sums} --check"), "words").unwrap();
    assert!(shown.contains("no line in it is properly formatted; line 1: "), "{shown:?}");
    let shown = typed_into(&place, &format!("{copies} --progress /dev/stdin b"), "words").unwrap();
    assert!(shown.contains("aiocp: 1 file, 6 B in ") && !shown.contains('\x1b'), "{shown:?}");
    assert_eq!(place.read("b"), "words\n");
    // Nothing waits for a pipe.
    let piped = run_with(&mut aiosum(), b"words\n", 0);
    assert_eq!((stdout(&piped), stderr(&piped)), (hash, String::new()));
}
