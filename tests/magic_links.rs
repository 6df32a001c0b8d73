//! A SOURCE that is named as what a process has open is what it leads to: files, also deleted ones,
//! directories, pipes and terminals. As links their copies would lead nowhere.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::held::wait_for;
use common::*;
use rustix::process::{Pid, Signal, kill_process};

const TUNINGS: [&[&str]; 7] = [
    &[],
    &["-a"],
    &["-L"],
    &["--verify"],
    &["--direct=always"],
    &["--resume"],
    &["--threads=1", "--no-sync", "--block-size=64K"],
];

/// A line of bash with aiocp as its first argument, in a folder.
fn bash(folder: &Path, line: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", line, "bash"]).arg(assert_cmd::cargo::cargo_bin!("aiocp"));
    command.current_dir(folder).env_remove("AIOCP_CONFIG_PATH");
    command
}

fn is_copy(path: &Path, contents: &[u8]) {
    assert!(fs::symlink_metadata(path).unwrap().is_file(), "{path:?}");
    assert!(fs::read(path).unwrap() == contents, "{path:?}");
}

#[test]
fn a_substituted_process_is_read_to_its_end() {
    if !have("bash") {
        return;
    }
    let folder = folder();
    fs::write(folder.path().join("data"), noise((5 << 20) + 3, 5)).unwrap();
    let contents = fs::read(folder.path().join("data")).unwrap();
    for tuning in TUNINGS {
        let tuning = tuning.join(" ");
        let line = format!("\"$1\" {tuning} <(sleep 0.1; cat data; sleep 0.1; echo end) copy");
        run(&mut bash(folder.path(), &line), 0);
        is_copy(&folder.path().join("copy"), &[&contents[..], b"end\n"].concat());
        fs::remove_file(folder.path().join("copy")).unwrap();
    }
    let line = "\"$1\" --manifest sums <(echo one) <(true) . && ls /dev/null";
    run(&mut bash(folder.path(), line), 0);
    let sums = fs::read_to_string(folder.path().join("sums")).unwrap();
    assert!(sums.contains(blake3::hash(b"one\n").to_hex().as_str()), "{sums}");
    assert!(sums.contains(blake3::hash(b"").to_hex().as_str()), "{sums}");
    assert_eq!(litter(folder.path()).len(), 0);
}

#[test]
fn standard_input_is_what_it_is() {
    let folder = folder();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    fs::write(&data, noise((3 << 20) + 1, 8)).unwrap();
    let contents = fs::read(&data).unwrap();
    for name in ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"] {
        for tuning in TUNINGS {
            run_with(aiocp().args(tuning).arg(name).arg(&copy), &contents, 0);
            is_copy(&copy, &contents);
            fs::remove_file(&copy).unwrap();
            let file = fs::File::open(&data).unwrap();
            run(aiocp().args(tuning).arg(name).arg(&copy).stdin(file), 0);
            is_copy(&copy, &contents);
            fs::remove_file(&copy).unwrap();
        }
        run_with(aiocp().args(["--dry-run", name]).arg(&copy), b"", 0);
        assert!(!copy.exists());
        run_with(aiocp().args([name]).arg(&copy), b"", 0);
        is_copy(&copy, b"");
        fs::remove_file(&copy).unwrap();
    }
}

#[test]
fn what_another_process_has_open_is_copied_also_if_it_was_deleted() {
    let folder = folder();
    let (data, copy) = (folder.path().join("data"), folder.path().join("copy"));
    for len in [10, (2 << 20) + 9] {
        fs::write(&data, noise(len, 1)).unwrap();
        let file = fs::File::open(&data).unwrap();
        fs::remove_file(&data).unwrap();
        let mut sleeper = Command::new("sleep").arg("60").stdin(file).spawn().unwrap();
        let link = format!("/proc/{}/fd/0", sleeper.id());
        run(aiocp().args(["--verify", &link]).arg(&copy), 0);
        is_copy(&copy, &noise(len, 1));
        run(aiocp().args(["--verify-only", &link]).arg(&copy), 0);
        run(aiocp().arg(&link).arg(folder.path()), 0);
        is_copy(&folder.path().join("0"), &noise(len, 1));
        sleeper.kill().unwrap();
        sleeper.wait().unwrap();
    }
}

#[test]
fn a_directory_is_copied_as_one() {
    let folder = folder();
    make_tree(&folder.path().join("tree"));
    let mut command = aiocp();
    command.args(["/proc/self/cwd", "../copy"]).current_dir(folder.path().join("tree"));
    run(&mut command, 0);
    assert_eq!(describe(&folder.path().join("tree")), describe(&folder.path().join("copy")));
}

#[test]
fn all_other_links_stay_links() {
    let folder = folder();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let links = ["/dev/stdin", "/proc/self/fd/0", "/dev/fd/1", "nowhere"];
    for (n, to) in links.iter().enumerate() {
        symlink(to, tree.join(n.to_string())).unwrap();
    }
    run(aiocp().args(["-T", "tree", "copy"]).current_dir(folder.path()), 0);
    run(aiocp().args(["tree/0", "tree/1", "/proc/mounts", "."]).current_dir(folder.path()), 0);
    for (n, to) in links.iter().enumerate() {
        let copy = folder.path().join("copy").join(n.to_string());
        assert_eq!(fs::read_link(copy).unwrap(), Path::new(to));
    }
    for (name, to) in [("0", links[0]), ("1", links[1]), ("mounts", "self/mounts")] {
        assert_eq!(fs::read_link(folder.path().join(name)).unwrap(), Path::new(to));
    }
}

#[test]
fn what_cannot_be_read_is_refused_and_leaves_nothing() {
    let folder = folder();
    let copy = folder.path().join("copy");
    let (ours, _theirs) = UnixStream::pair().unwrap();
    for args in [&[][..], &["-a"]] {
        let ours = std::os::fd::OwnedFd::from(ours.try_clone().unwrap());
        let output = run(aiocp().args(args).arg("/dev/stdin").arg(&copy).stdin(ours), 1);
        assert!(stderr(&output).contains("it is a socket"), "{output:?}");
    }
    let mut compare = aiocp();
    compare.args(["--verify-only", "/dev/stdin"]).arg(folder.path());
    let output = run_with(&mut compare, b"data", 1);
    assert!(stderr(&output).contains("it is a FIFO"), "{output:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Nothing writes: the wait ends with the first signal, and what came is thrown away.
#[test]
fn a_signal_ends_the_wait() {
    let folder = folder();
    let copy = folder.path().join("copy");
    let mut command = aiocp();
    command.args(["-v", "/dev/stdin"]).arg(&copy);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&noise(100_000, 1)).unwrap();
    wait_for("signals are handled", || catches(&child, Signal::INT));
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
