//! The examples of the package linux-aio work: the first programs of its field, a file copy for
//! each family, and one program for each kind of executor.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::folding::Foreign;
use common::*;

const MIB: usize = 1 << 20;

/// An example's command; `cargo test` builds it beside the tests.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(Path::parent).unwrap();
    let path: PathBuf = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "{path:?} is built: run `cargo test`, or `cargo build --examples` first"
    );
    Command::new(path)
}

#[test]
fn aior_prints_the_first_4096_bytes_or_as_many_as_there_are() {
    let folder = folder();
    let path = folder.path().join("f");
    for len in [0, 1, 511, 512, 513, 4095, 4096, 4097, 3 * MIB] {
        fs::write(&path, noise(len, 1)).unwrap();
        let output = run(example("aior").arg(&path), 0);
        assert!(output.stdout == noise(len, 1)[..len.min(4096)], "{len}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
    let file = fs::File::create(&path).unwrap();
    file.set_len(1 << 30).unwrap();
    file.write_all_at(b"x", 4095).unwrap();
    assert_eq!(
        run(example("aior").arg(&path), 0).stdout,
        [&[0; 4095][..], b"x"].concat(),
        "a hole is zeros"
    );
}

#[test]
fn aior_says_which_call_failed_and_why() {
    let folder = folder();
    let (missing, file) = (folder.path().join("missing"), folder.path().join("f"));
    fs::write(&file, "short, without a newline").unwrap();
    let fails = |command: &mut Command, start: &str| {
        let output = run(command, 1);
        let said = stderr(&output);
        assert!(
            said.starts_with(&format!("aior: {start}")) && said.lines().count() == 1,
            "{said:?}"
        );
        assert!(output.stdout.is_empty());
    };
    fails(example("aior").arg(&missing), "open: No such file or directory");
    fails(example("aior").arg(folder.path()), "");
    fails(&mut example("aior"), "usage: aior FILE");
    fails(example("aior").arg("/proc/self/status"), "open: Invalid argument");
    fails(example("aior").arg(file.join("below")), "open: Not a directory");
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    fails(example("aior").arg(&file).stdout(Stdio::from(full)), "write: No space left on device");
    if have_strace() {
        for (inject, start) in [
            (
                "io_setup:error=EAGAIN",
                "io_setup: io_setup for 1 operations would pass /proc/sys/fs/aio-max-nr",
            ),
            ("io_setup:error=ENOSYS", "io_setup: this kernel has no AIO"),
            ("io_submit:error=EBADF", "io_submit: Bad file descriptor"),
        ] {
            let mut strace = program("strace");
            strace.args(["-o", "/dev/null", "-e", &format!("inject={inject}")]);
            fails(strace.arg(example("aior").get_program()).arg(&file), start);
        }
    }
}

#[test]
fn the_copies_copy() {
    let folder = folder();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    for (name, seed) in [("copy_kernel", 2), ("copy_posix", 3), ("async_tokio", 7)] {
        for len in [
            0,
            1,
            4095,
            4096,
            4097,
            MIB - 1,
            MIB,
            MIB + 1,
            2 * MIB,
            16 * MIB,
            16 * MIB + 1,
            33 * MIB - 4097,
        ] {
            fs::write(&from, noise(len, seed)).unwrap();
            // The copy also replaces an older and longer file.
            fs::write(&to, noise(len + 5000, 4)).unwrap();
            let output = run(example(name).arg(&from).arg(&to), 0);
            assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
            assert!(fs::read(&to).unwrap() == noise(len, seed), "{name}, {len}");
        }
        let missing = folder.path().join("missing");
        for (first, second) in [
            (missing.as_os_str(), to.as_os_str()),
            (from.as_os_str(), OsStr::new("/nowhere/at/all")),
        ] {
            assert!(
                stderr(&run(example(name).arg(first).arg(second), 1)).contains("No such file"),
                "{name}"
            );
        }
        assert!(
            stderr(&run(example(name).arg(&from), 1)).contains(&format!("usage: {name} FROM TO"))
        );
    }
}

/// A filesystem may write less than it was given, and the rest has to follow.
#[test]
fn the_copies_write_what_a_short_count_leaves() {
    let folder = folder();
    let from = folder.path().join("from");
    let len = 3 * MIB + 4097;
    fs::write(&from, noise(len, 6)).unwrap();
    for name in ["copy_kernel", "copy_posix", "async_tokio"] {
        for write_bytes_max in [4096, 3 * 4096] {
            let Some(short) = Foreign::with_short_writes(write_bytes_max) else { return };
            let to = short.path.join("to");
            run(example(name).arg(&from).arg(&to), 0);
            assert!(fs::read(&to).unwrap() == noise(len, 6), "{name}, {write_bytes_max}");
        }
        let Some(stuck) = Foreign::with_short_writes(0) else { return };
        let output = run_limited(example(name).arg(&from).arg(stuck.path.join("to")));
        assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
    }
}

#[test]
fn copy_posix_copies_a_stream() {
    let folder = folder();
    let (fifo, to) = (folder.path().join("fifo"), folder.path().join("to"));
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        // A pipe holds 64 KiB, so the data comes in many pieces.
        move || fs::write(fifo, noise(3 * MIB + 7, 5)).unwrap()
    });
    run(example("copy_posix").arg(&fifo).arg(&to), 0);
    writer.join().unwrap();
    assert!(fs::read(to).unwrap() == noise(3 * MIB + 7, 5));
}

/// Sizes about those of a block of 64 KiB.
#[test]
fn aio_read_prints_a_file() {
    let folder = folder();
    let path = folder.path().join("f");
    for len in [0, 1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, MIB + 7] {
        fs::write(&path, noise(len, 7)).unwrap();
        let output = run(example("aio_read").arg(&path), 0);
        assert!(output.stdout == noise(len, 7) && output.stderr.is_empty(), "{len}");
    }
    let missing = folder.path().join("missing");
    assert!(stderr(&run(example("aio_read").arg(missing), 1)).contains("NotFound"));
    let says = stderr(&run(example("aio_read").arg(folder.path()), 1));
    assert!(says.contains("IsADirectory"), "{says}");
    assert!(stderr(&run(&mut example("aio_read"), 1)).contains("usage: aio_read FILE"));
}

#[test]
fn aio_suspend_says_that_nothing_came_and_copies_what_does() {
    let mut child = example("aio_suspend")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "nothing for 100ms\n");
    // What it says later, on a slow machine, has to go somewhere.
    let rest = std::thread::spawn(move || std::io::read_to_string(said).unwrap());
    child.stdin.take().unwrap().write_all(b"late").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"late"[..]));
    assert!(rest.join().unwrap().lines().all(|line| line == "nothing for 100ms"));
}

#[test]
fn lio_listio_is_waited_for_and_notified_by_signal_and_by_thread() {
    let folder = folder();
    let path = folder.path().join("f");
    let output = run(example("lio_listio").arg(&path), 0);
    let expected = format!(
        "waited for: [4, 8, 100]\n\
         notified by signal {}: [12, 8, 0]\n\
         notified by a thread: [12, 8, 0]\n",
        libc::SIGUSR1
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    assert_eq!(fs::read(path).unwrap(), b"headand body");
}

#[test]
fn event_loop_reads_into_two_buffers_and_cancels_a_poll() {
    let folder = folder();
    let path = folder.path().join("f");
    fs::write(&path, [b'x'; 5000]).unwrap();
    let output = run(example("event_loop").arg(&path), 0);
    let expected = "read 4096 bytes: \"xxxxxxxxxxxxxxxx\", and 4080 more\n\
                    the cancel: InProgress\n\
                    the poll found nothing: true\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn async_smol_prints_a_file() {
    let folder = folder();
    let path = folder.path().join("f");
    for len in [0, 1, 4095, 4096, MIB, MIB + 1, 33 * MIB - 4097] {
        fs::write(&path, noise(len, 8)).unwrap();
        let output = run(example("async_smol").arg(&path), 0);
        assert!(output.stdout == noise(len, 8) && output.stderr.is_empty(), "{len}");
    }
    let missing = run(example("async_smol").arg(folder.path().join("missing")), 1);
    assert!(stderr(&missing).contains("No such file"));
    assert!(stderr(&run(&mut example("async_smol"), 1)).contains("usage: async_smol FILE"));
}

#[test]
fn async_by_hand_counts_the_lines_of_many_files() {
    let folder = folder();
    let mut command = example("async_by_hand");
    let mut lines = Vec::new();
    for n in 0..100 {
        let path = folder.path().join(n.to_string());
        fs::write(&path, "a line\n".repeat(n * 300)).unwrap();
        command.arg(&path);
        lines.push(format!("{} {}", n * 300, path.display()));
    }
    let missing = folder.path().join("missing");
    let output = run(command.arg(&missing), 0);
    let stdout = String::from_utf8_lossy(&output.stdout);
    let mut said: Vec<_> = stdout.lines().map(str::to_owned).collect();
    said.sort();
    lines.sort();
    assert_eq!(said, lines);
    let errors = stderr(&output);
    assert!(errors.starts_with(&format!("{}: No such file", missing.display())), "{errors}");
}

#[test]
fn an_example_is_short() {
    for (name, lines_max) in [
        ("aior", 59),
        ("aio_read", 59),
        ("aio_suspend", 59),
        ("copy_kernel", 59),
        ("copy_posix", 59),
        ("event_loop", 59),
        ("lio_listio", 59),
        ("async_by_hand", 89),
        ("async_smol", 59),
        ("async_tokio", 89),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("crates/linux-aio/examples")
            .join(format!("{name}.rs"));
        let lines = fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= lines_max, "{name} has {lines} lines");
    }
}
