//! Standard input has one reader, whatever name it is asked for by, and lines do not wait.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::*;

/// BLAKE3 of nothing: what is left of a stream that something else has read.
const NOTHING: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

/// What `aiosum` answers in `folder` with `input` in a pipe.
fn sum_of_pipe(folder: &tempfile::TempDir, args: &[&str], input: String) -> Output {
    let mut command = aiosum();
    command.current_dir(folder).args(args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        // A command that refuses reads nothing of it.
        drop(stdin.write_all(input.as_bytes()));
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_line_gets_no_standard_input_that_something_else_reads() {
    let folder = folder();
    let line = format!("{NOTHING}  -\n");
    let in_use = "-: FAILED (standard input is in use already)\n";
    fs::write(folder.path().join("sums"), &line).unwrap();
    fs::write(folder.path().join("two"), line.repeat(2)).unwrap();
    for list in ["--exclude-from=-", "--include-from=/dev/stdin"] {
        let output = sum_of_pipe(&folder, &["--check", list, "sums"], "pattern\n".to_owned());
        assert_eq!((stdout(&output).as_str(), output.status.code()), (in_use, Some(1)), "{list}");
    }
    // The first of two lines reads it, and the second would check what is left.
    let output = sum_of_pipe(&folder, &["--check", "two"], String::new());
    assert_eq!(stdout(&output), format!("-: OK\n{in_use}"));
    for name in ["-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "/proc/thread-self/fd/0"] {
        let output = sum_of_pipe(&folder, &["--check", name], line.clone());
        assert_eq!((stdout(&output).as_str(), output.status.code()), (in_use, Some(1)), "{name}");
    }
}

#[test]
fn a_manifest_on_standard_input_is_read_whole_by_any_name() {
    let folder = folder();
    fs::write(folder.path().join("empty"), "").unwrap();
    let lines = [format!("{NOTHING}  -\n"), format!("{NOTHING}  empty\n").repeat(2000)].concat();
    for name in ["-", "/dev/stdin", "/proc/thread-self/fd/0"] {
        let output = sum_of_pipe(&folder, &["--check", name], lines.clone());
        assert_eq!(stdout(&output).lines().count(), 2001, "{name}");
        assert_eq!(stdout(&output).matches("empty: OK\n").count(), 2000, "{name}");
    }
    // A pipe may have a name of its own.
    common::place::fifo(&folder.path().join("pipe"));
    let shell = "cat lines > pipe & exec \"$0\" --check pipe < pipe";
    fs::write(folder.path().join("lines"), lines).unwrap();
    let mut shell_command = Command::new("sh");
    shell_command.current_dir(&folder).args(["-c", shell]).arg(aiosum().get_program());
    assert_eq!(stdout(&run(&mut shell_command, 1)).matches("empty: OK\n").count(), 2000);
}

#[test]
fn two_readers_of_one_pipe_are_refused_by_any_name() {
    let folder = folder();
    for args in [
        &["-", "/proc/thread-self/fd/0"][..],
        &["--exclude-from=/proc/thread-self/fd/0", "-"],
        &["--check", "/dev/stdin", "/proc/thread-self/fd/0"],
    ] {
        let output = sum_of_pipe(&folder, args, "data".to_owned());
        assert_eq!(output.status.code(), Some(2), "{args:?} {output:?}");
    }
    // Each that opens a regular file, or the empty device, reads it from its start.
    fs::write(folder.path().join("file"), "data").unwrap();
    for file in ["file", "/dev/null"] {
        let input = fs::File::open(folder.path().join(file)).unwrap();
        run(aiosum().current_dir(&folder).args(["-", file]).stdin(input), 0);
    }
}

#[test]
fn a_line_does_not_wait_for_those_behind_it() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "").unwrap();
    fs::write(at("sums"), format!("{NOTHING}  file\n{NOTHING}  -\n")).unwrap();
    common::place::fifo(&at("fifo"));
    // The second one waits for its writer, which waits for the first line.
    for args in [&["file", "-"][..], &["file", "file", "fifo"], &["--check", "sums"]] {
        let mut command = aiosum();
        command.current_dir(&folder).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let fifo = args
            .contains(&"fifo")
            .then(|| fs::File::options().read(true).write(true).open(at("fifo")).unwrap());
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (send, come) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut first = String::new();
            lines.read_line(&mut first).unwrap();
            send.send(first).unwrap();
            let mut rest = String::new();
            lines.read_to_string(&mut rest).unwrap();
            rest
        });
        let first = come.recv_timeout(Duration::from_secs(20));
        drop((child.stdin.take(), fifo));
        assert!(child.wait().unwrap().success(), "{args:?}");
        let rest = reader.join().unwrap();
        assert!(first.is_ok_and(|first| first.contains("file")), "{args:?}");
        assert_eq!(rest.lines().count(), args.len() - 1, "{args:?}");
    }
}
