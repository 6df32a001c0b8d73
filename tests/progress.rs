//! The line of progress, SIGUSR1, the rate limit, and the log.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::*;
use rustix::process::{Pid, Signal, kill_process};

/// Makes two files of a megabyte and one of three in `from`.
fn source() -> tempfile::TempDir {
    let folder = folder();
    fs::create_dir(folder.path().join("from")).unwrap();
    for (name, mib) in [("a", 1), ("b", 1), ("c", 3)] {
        fs::write(folder.path().join("from").join(name), noise(mib << 20, mib as u64)).unwrap();
    }
    folder
}

fn in_folder(folder: &Path, args: &[&str]) -> Command {
    let mut command = aiocp();
    command.current_dir(folder).args(args);
    command
}

/// The output of a command on a terminal of this size, overdrawn text included.
fn on_terminal(
    folder: &Path,
    (columns, rows): (u32, u32),
    environment: &str,
    args: &str,
) -> Option<String> {
    if !have("script") {
        return None;
    }
    let command = assert_cmd::cargo::cargo_bin!("aiocp").display().to_string();
    let typed = format!("stty cols {columns} rows {rows}; {environment} {command} {args}");
    let mut script = program("script");
    let script = script
        .args(["-qec", &typed, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR")
        .env("LC_ALL", "C");
    Some(String::from_utf8(run(script.current_dir(folder).stdin(Stdio::null()), 0).stdout).unwrap())
}

fn per_cents(text: &str) -> Vec<u64> {
    let numbers =
        text.split(" %").map(|before| before.rsplit(|c: char| !c.is_ascii_digit()).next().unwrap());
    let mut numbers: Vec<_> = numbers.collect();
    numbers.pop();
    numbers.into_iter().map(|number| number.parse().unwrap()).collect()
}

#[test]
fn into_a_pipe_it_is_a_line_now_and_then_and_never_says_100() {
    let folder = source();
    let output =
        run(&mut in_folder(folder.path(), &["--progress", "--bwlimit=2M", "from", "to"]), 0);
    let text = stderr(&output);
    let lines: Vec<_> = text.lines().collect();
    let (last, progress) = lines.split_last().unwrap();
    assert!(progress.len() >= 2, "{text}");
    for line in progress {
        assert!(line.starts_with("aiocp: ") && line.contains(" written, "), "{line}");
        assert!(!line.contains(" 0 B durable, "), "it says nothing: {line}");
    }
    let per_cents = per_cents(&text);
    assert!(
        !per_cents.is_empty() && per_cents.is_sorted() && per_cents.iter().all(|&n| n < 100),
        "{text}"
    );
    assert!(last.starts_with("aiocp: 3 files, 5.24 MB in ") && last.ends_with(" MB/s"), "{text}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn a_pipe_or_a_dumb_terminal_has_none_unless_it_is_asked_for() {
    let folder = source();
    let output = run(&mut in_folder(folder.path(), &["--bwlimit=2M", "from", "to"]), 0);
    assert_eq!((stderr(&output).as_str(), output.stdout.as_slice()), ("", &b""[..]));
    for (environment, args) in [("TERM=dumb", ""), ("", "--progress=never")] {
        let shown = on_terminal(
            folder.path(),
            (80, 24),
            environment,
            &format!("{args} -T --bwlimit=2M from to"),
        );
        assert!(shown.is_none_or(|shown| shown.is_empty()), "{environment} {args}");
    }
}

/// Text without what colours it and turns wrapping off and on.
fn plain(text: &str) -> String {
    let mut pieces = text.split("\u{1b}[");
    let mut plain = pieces.next().unwrap().to_owned();
    for piece in pieces {
        plain += &piece[piece.find(|c: char| c.is_ascii_alphabetic()).unwrap() + 1..];
    }
    plain
}

/// The pictures that were drawn one after the other, each in lines.
fn pictures(drawn: &str) -> Vec<Vec<String>> {
    let pictures = drawn.split("\r\u{1b}[J").map(plain);
    let lines = pictures.map(|picture| {
        picture.split('\n').map(|line| line.trim_end_matches('\r').to_owned()).collect()
    });
    lines.filter(|lines: &Vec<_>| lines.iter().any(|line| !line.is_empty())).collect()
}

#[test]
fn on_a_terminal_it_fits_and_a_summary_comes_in_the_end() {
    let folder = source();
    for (columns, rows, environment) in
        [(120, 24, "LC_ALL=C.UTF-8"), (80, 50, "NO_COLOR=1"), (120, 10, ""), (40, 24, "")]
    {
        let args = "-T --bwlimit=2M from to";
        let Some(shown) = on_terminal(folder.path(), (columns, rows), environment, args) else {
            return;
        };
        let (drawn, summary) = shown.rsplit_once("aiocp: ").expect("there is a summary");
        assert!(
            summary.starts_with("3 files, 5.24 MB in ") && summary.ends_with(" MB/s\r\n"),
            "{shown:?}"
        );
        assert!(drawn.ends_with("\r\u{1b}[J"), "nothing is left at the end: {shown:?}");
        let has_colours = drawn.contains("\u{1b}[32m") || drawn.contains("\u{1b}[2m");
        assert_eq!(has_colours, environment != "NO_COLOR=1", "{shown:?}");
        let pictures = pictures(drawn);
        let firsts: Vec<_> = pictures.iter().map(|lines| lines[0].as_str()).collect();
        let per_cents = per_cents(&firsts.join("\n"));
        assert!(
            per_cents.len() > 1 && per_cents.is_sorted() && *per_cents.last().unwrap() < 100,
            "{shown:?}"
        );
        for line in pictures.iter().flatten() {
            assert!(line.chars().count() < columns as usize, "{line:?}");
        }
        let bar = if environment == "LC_ALL=C.UTF-8" { "━━" } else { "==" };
        assert!(firsts.iter().any(|line| line.contains(bar)), "{shown:?}");
        let shows_file = |lines: &Vec<String>| {
            lines[1..].iter().any(|line| line.contains(" %  3.15 MB  from/c"))
        };
        assert_eq!(pictures.iter().any(shows_file), columns >= 60 && rows >= 12, "{shown:?}");
    }
    let Some(shown) = on_terminal(folder.path(), (80, 24), "", "-Tn from to") else { return };
    assert!(
        shown.starts_with("aiocp: 0 files, 0 B in ") && shown.ends_with(" s, 3 skipped\r\n"),
        "{shown:?}"
    );
    // A run that finishes at once shows only the summary.
    let Some(shown) = on_terminal(folder.path(), (80, 24), "", "-T --no-sync from to") else {
        return;
    };
    assert!(shown.starts_with("aiocp: 3 files, "), "{shown:?}");
}

#[test]
fn what_is_printed_meanwhile_does_not_meet_the_line() {
    let folder = source();
    let args = "-v --progress=always -T --bwlimit=4M from to";
    let Some(shown) = on_terminal(folder.path(), (80, 24), "", args) else { return };
    for name in ["a", "b", "c"] {
        let line = format!("'from/{name}' -> 'to/{name}'\r\n");
        let (before, _) = shown.split_once(&line).unwrap_or_else(|| panic!("{line}: {shown:?}"));
        assert!(
            before.is_empty() || before.ends_with(['\n', '\r', 'J']),
            "it begins a line: {shown:?}"
        );
    }
}

#[test]
fn sigusr1_prints_the_line_and_ends_nothing() {
    let folder = source();
    let mut command =
        in_folder(folder.path(), &["--progress=never", "--bwlimit=1M", "-T", "from", "to"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    // A handler that is there may not know yet what to do. What is copied comes after it.
    while !catches(&child, Signal::USR1) || !folder.path().join("to").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    for _ in 0..5 {
        kill_process(Pid::from_child(&child), Signal::USR1).unwrap();
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.starts_with("aiocp: ") && line.contains(" written, "), "{line}");
    }
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line per signal");
}

#[test]
fn a_file_that_is_not_opened_yet_is_not_all_there_is() {
    if !have_strace() {
        return;
    }
    let folder = source();
    // An observer at this moment knows of the operand, but not of its size.
    let options = ["-e", "trace=openat2", "-e", "inject=openat2:delay_enter=3000000:when=1"];
    let mut command = strace(&options, &folder.path().join("trace"));
    command.current_dir(folder.path()).args(["--progress=always", "-T", "from/a", "copy"]);
    let said = stderr(&run(&mut command, 0));
    let found = said.contains("aiocp: 0 B written, 1 file found");
    assert!(found && !said.contains("0 B of 0 B"), "{said}");
}

/// The first line of progress that is wanted; the command ends there.
fn line_of(command: &mut Command, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| wanted(line));
    child.kill().unwrap();
    child.wait().unwrap();
    line
}

/// Where there are more big files than workers, the last batches wait for long.
#[test]
fn the_share_is_told_before_every_file_was_looked_at() {
    let folder = folder();
    for side in ["from", "there"] {
        fs::create_dir(folder.path().join(side)).unwrap();
        for n in 0..200 {
            fs::write(folder.path().join(side).join(n.to_string()), vec![7; 2 << 20]).unwrap();
        }
    }
    // At this rate a run takes 20 seconds, and more for both sides.
    let limited = ["--bwlimit=20M", "--progress=always", "-T", "from"];
    let mut copy = in_folder(folder.path(), &limited);
    let is_about = |line: &str| line.starts_with("aiocp: ~") && line.contains(" of ~419 MB ");
    line_of(copy.args(["--threads=2", "to"]), is_about).expect("a share that is no exact one");
    // In a comparison a file is looked at before it is read.
    let mut comparison = in_folder(folder.path(), &limited);
    let is_exact = |line: &str| line.contains(" %, ") && !line.contains('~');
    let line = line_of(comparison.args(["--verify-only", "there"]), is_exact);
    let line = line.expect("an exact share");
    assert!(per_cents(&line)[0] < 50, "{line}");
}

#[test]
fn a_limited_copy_is_told_to_stop_as_fast_as_any_other() {
    let folder = source();
    // The small files' workers sleep until their turn; the big file's block waits in the loop.
    let mut command =
        in_folder(folder.path(), &["--progress=always", "--bwlimit=10", "-T", "from", "to"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let begun = Instant::now();
    assert_eq!(child.wait().unwrap().code(), Some(143));
    assert!(begun.elapsed() < Duration::from_secs(60), "at 10 KiB a second a block takes 100 s");
}

#[test]
fn a_rate_limit_holds_for_small_files_too() {
    let folder = folder();
    fs::create_dir(folder.path().join("from")).unwrap();
    for n in 0..40 {
        fs::write(folder.path().join(format!("from/{n}")), noise(25_000, n)).unwrap();
    }
    let begun = Instant::now();
    run(&mut in_folder(folder.path(), &["--bwlimit=1MB", "from", "to"]), 0);
    // A million bytes, of which the first file's are free.
    assert!(begun.elapsed() >= Duration::from_millis(975), "{:?}", begun.elapsed());
}

#[test]
fn the_log_has_everything_with_its_time_and_grows() {
    let folder = source();
    fs::write(folder.path().join("from/line\nbreak"), "x").unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("from/link")).unwrap();
    let log = folder.path().join("log");
    run(&mut in_folder(folder.path(), &["--log-file", "log", "--manifest", "m", "from", "to"]), 0);
    let first = fs::read_to_string(&log).unwrap();
    for line in first.lines() {
        let (time, _) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), &time[10..11], &time[23..]), (24, "T", "Z"), "{line}");
    }
    let texts: Vec<_> = first.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert!(
        texts[0].starts_with("begun: ")
            && texts[0].ends_with("aiocp --log-file log --manifest m from to")
    );
    assert!(
        texts.contains(&"made directory 'to'") && texts.contains(&"made symbolic link 'to/link'"),
        "{first}"
    );
    let hash = blake3::hash(b"x").to_hex();
    let line = format!(
        "copied 'from/line\\nbreak' -> 'to/line\\nbreak' (1 byte, buffered (small file), \
         blake3 {hash})"
    );
    assert!(texts.contains(&line.as_str()), "{first}");
    assert!(texts.last().unwrap().starts_with("ended with exit code 0: files 4, "), "{first}");

    run(&mut in_folder(folder.path(), &["--log-file", "log", "missing", "to"]), 1);
    let second = fs::read_to_string(&log).unwrap();
    let added = second.strip_prefix(&first).expect("what was there stays");
    assert!(
        added.contains(" failed: cannot stat 'missing': No such file or directory\n"),
        "{added}"
    );
    assert!(added.lines().last().unwrap().contains("ended with exit code 1: "), "{added}");
}

#[test]
fn a_log_that_cannot_be_written_is_told_before_or_after() {
    let folder = source();
    let output = run(&mut in_folder(folder.path(), &["--log-file", "no/log", "from", "to"]), 1);
    assert_eq!(stderr(&output), "aiocp: cannot open the log 'no/log': No such file or directory\n");
    assert!(!folder.path().join("to").exists(), "nothing was copied");
    let output = run(&mut in_folder(folder.path(), &["--log-file", "/dev/full", "from", "to"]), 1);
    assert!(
        stderr(&output).contains("cannot write the log '/dev/full': No space left on device"),
        "{output:?}"
    );
    // A copy would take the log's name.
    fs::write(folder.path().join("from/log"), "x").unwrap();
    fs::create_dir_all(folder.path().join("to")).unwrap();
    let output =
        run(&mut in_folder(folder.path(), &["-T", "--log-file", "to/log", "from", "to"]), 1);
    assert!(stderr(&output).contains("the log would overwrite 'to/log'"), "{output:?}");
    assert_eq!(fs::read_dir(folder.path().join("to")).unwrap().count(), 0, "nothing was copied");
}

#[test]
fn a_file_that_fails_is_counted_once() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for (name, seed) in [("first", 1), ("second", 2)] {
        fs::write(at(name), noise(8 << 20, seed)).unwrap();
    }
    fs::create_dir(at("to")).unwrap();
    // One worker takes one file after the other, each for four seconds. The second line comes after
    // one.
    let args = ["--progress", "--bwlimit=2M", "--threads=1", "first", "second", "to"];
    let mut child = in_folder(folder.path(), &args).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    for _ in 0..2 {
        lines.read_line(&mut String::new()).unwrap();
    }
    // All of it is moved before the change is seen.
    fs::File::open(at("first")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let mut said = String::new();
    lines.read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    let (_, after) =
        said.split_once("the source changed while it was being copied\n").expect(&said);
    let next = after.lines().find(|line| line.contains(" written, ")).expect(&said);
    assert!(
        next.contains(" of 16.8 MB") && !next.contains("16.8 MB of") && !next.contains("finishing"),
        "{said}"
    );
}

/// A terminal with a shell in it, whose size can change.
struct Terminal {
    socket: std::path::PathBuf,
}

impl Terminal {
    fn new(folder: &Path) -> Self {
        let terminal = Self { socket: folder.join("tmux") };
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "80",
            "-y",
            "24",
            "LC_ALL=C PS1='$ ' exec sh",
        ]);
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut command = program("tmux");
        let command = command
            .arg("-S")
            .arg(&self.socket)
            .args(args)
            .current_dir(self.socket.parent().unwrap());
        String::from_utf8(run(command.env_remove("TMUX"), 0).stdout).unwrap()
    }

    fn type_in(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// The lines that are not empty, once `are_wanted` holds.
    fn lines_when(&self, are_wanted: impl Fn(&[&str]) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let shown = self.tmux(&["capture-pane", "-p"]);
            let lines: Vec<_> = shown.lines().filter(|line| !line.trim().is_empty()).collect();
            if are_wanted(&lines) {
                return shown;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // If the server has gone already, another assertion has failed.
        let killed = program("tmux").arg("-S").arg(&self.socket).arg("kill-server").output();
        assert!(std::thread::panicking() || killed.is_ok_and(|output| output.status.success()));
    }
}

#[test]
fn nothing_of_the_line_is_left_when_the_terminal_becomes_narrower_or_the_run_is_interrupted() {
    if !have("tmux") {
        return;
    }
    let folder = folder();
    fs::write(folder.path().join("big"), noise(64 << 20, 1)).unwrap();
    let terminal = Terminal::new(folder.path());
    terminal.lines_when(|lines| lines == ["$"]);
    let program = assert_cmd::cargo::cargo_bin!("aiocp").display().to_string();
    let typed = format!("clear; {program} --progress=always --bwlimit=1M big copy");
    terminal.type_in(&[&typed, "Enter"]);
    let is_long = |lines: &[&str]| {
        matches!(lines, [line, file] if line.len() > 60
            && line.contains(" % =") && file.ends_with(" %  67.1 MB  big"))
    };
    terminal.lines_when(is_long);
    terminal.tmux(&["resize-window", "-x", "40"]);
    let is_short =
        |lines: &[&str]| matches!(lines, [line] if line.len() < 40 && line.contains(" % ="));
    terminal.lines_when(is_short);
    terminal.tmux(&["resize-window", "-x", "120"]);
    terminal.lines_when(is_long);
    terminal.type_in(&["C-c"]);
    let is_said = |line: &str| line.starts_with("aiocp: interrupted: no file copied");
    let ended = |lines: &[&str]| matches!(lines, [line, "$"] if is_said(line));
    terminal.lines_when(ended);
}

#[test]
fn a_run_that_is_stopped_takes_its_picture_away_and_draws_it_again() {
    if !have("tmux") {
        return;
    }
    let folder = folder();
    fs::write(folder.path().join("big"), noise(256 << 20, 1)).unwrap();
    let terminal = Terminal::new(folder.path());
    terminal.lines_when(|lines| lines == ["$"]);
    // A shell says what is stopped, which is to be shorter than the picture.
    let programs = Path::new(assert_cmd::cargo::cargo_bin!("aiocp")).parent().unwrap();
    let typed = format!(
        "PATH={}:$PATH; set -m; clear; aiocp --progress --bwlimit=4M big copy",
        programs.display()
    );
    terminal.type_in(&[&typed, "Enter"]);
    let is_file = |line: &&str| line.ends_with(" %   268 MB  big");
    let is_drawn = |lines: &[&str]| lines.iter().filter(|line| is_file(line)).count() == 1;
    terminal.lines_when(is_drawn);
    for key in ["C-z", "C-c"] {
        terminal.type_in(&[key]);
        let shown = terminal.lines_when(|lines| lines.last() == Some(&"$"));
        let is_left = ["268 MB", " written", "^Z"].iter().any(|part| shown.contains(part));
        assert!(!is_left, "{key}: {shown}");
        if key == "C-z" {
            terminal.type_in(&["clear; fg", "Enter"]);
            terminal.lines_when(is_drawn);
        }
    }
}

#[test]
fn in_the_background_there_is_no_line() {
    if !have("tmux") {
        return;
    }
    let folder = folder();
    fs::write(folder.path().join("big"), noise(256 << 20, 1)).unwrap();
    let terminal = Terminal::new(folder.path());
    terminal.lines_when(|lines| lines == ["$"]);
    let program = assert_cmd::cargo::cargo_bin!("aiocp").display().to_string();
    // A shell without job control leaves its jobs in the foreground.
    let typed = format!(
        "set -m; clear; {program} --progress=always --bwlimit=4M --log-file 'under way' big copy & \
         read x; clear; fg"
    );
    terminal.type_in(&[&typed, "Enter"]);
    let is_under_way = || {
        fs::read_dir(folder.path()).unwrap().any(|entry| entry.unwrap().file_name() == "under way")
    };
    held::wait_for("it has begun", is_under_way);
    std::thread::sleep(Duration::from_millis(700));
    let shown = terminal.tmux(&["capture-pane", "-p"]);
    assert!(!shown.contains(" written"), "{shown}");
    terminal.type_in(&["Enter"]);
    terminal.lines_when(|lines| lines.iter().any(|line| line.contains(" written, ")));
    terminal.type_in(&["C-c"]);
    terminal.lines_when(|lines| lines.iter().any(|line| line.starts_with("aiocp: interrupted: ")));
}

/// Asks again and again, until a line has this.
fn ask_until(child: &Child, lines: &mut impl BufRead, wanted: &str) {
    let (begun, mut line) = (Instant::now(), String::new());
    let (is_over, pid) = (AtomicBool::new(false), Pid::from_child(child));
    std::thread::scope(|scope| {
        // A signal may come while its handler is being installed, and get no answer.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                kill_process(pid, Signal::USR1).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let may_come =
            |line: &str| line.is_empty() || (line.starts_with("aio") && !line.contains(wanted));
        while may_come(&line) && begun.elapsed() < Duration::from_secs(60) {
            line.clear();
            if lines.read_line(&mut line).unwrap() == 0 {
                break;
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(line.contains(wanted), "{wanted} is not said: {line}");
}

#[test]
fn a_copy_from_a_pipe_counts_what_has_come_and_knows_no_end() {
    let folder = folder();
    let mut command = in_folder(folder.path(), &["--progress=never", "/dev/stdin", "copy"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut input = child.stdin.take().unwrap();
    while !catches(&child, Signal::USR1) {
        std::thread::sleep(Duration::from_millis(5));
    }
    for (part, wanted) in [("hello", "5 B of 5 B+ written, 0 files"), (" you", "9 B of 9 B+ ")] {
        std::io::Write::write_all(&mut input, part.as_bytes()).unwrap();
        ask_until(&child, &mut lines, wanted);
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read(folder.path().join("copy")).unwrap(), b"hello you");
}

#[test]
fn sums_show_it_too() {
    let folder = folder();
    let mut command = aiosum();
    let command = command.current_dir(folder.path()).args(["--progress=never"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"hello").unwrap();
    while !catches(&child, Signal::USR1) {
        std::thread::sleep(Duration::from_millis(5));
    }
    ask_until(&child, &mut lines, "aiosum: 5 B of 5 B+ hashed, 0 files");
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.ends_with(b"  -\n"), "{output:?}");

    fs::write(folder.path().join("a"), "x").unwrap();
    let output = run(aiosum().current_dir(folder.path()).args(["--progress", "a", "a"]), 0);
    assert!(stderr(&output).lines().all(|line| line.starts_with("aiosum: ")), "{output:?}");
    assert_eq!(output.stdout.iter().filter(|&&byte| byte == b'\n').count(), 2, "{output:?}");
    // Interrupted, it ends as any other program does.
    let mut child = aiosum().stdin(Stdio::piped()).spawn().unwrap();
    // `wait` would end the input, and a run that is done by then ends well.
    let input = child.stdin.take();
    while !catches(&child, Signal::TERM) {
        std::thread::sleep(Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    drop(input);
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(Signal::TERM.as_raw()),
        "{status}"
    );
}
