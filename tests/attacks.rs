//! An attacker with write access to the source's or the destination's folders exchanges names
//! while they are copied or hashed. strace holds one system call, so that the exchange happens at
//! the moment that matters.

mod common;

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use common::hard::{mknod, set_mode, set_xattr, xattr};
use common::held::{has_listed, is_in, is_in_call, traced, while_held};
use common::sandbox::without_unnamed_files;
use common::*;
use rustix::fs::FileType;
use rustix::process::Pid;
use tempfile::TempDir;

/// How long a held system call waits, within which that is seen. Then it waits for the attack.
const HELD_S: u64 = 3;

/// Folders for a source, a destination, and a secret that must stay untouched.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let folder = folder();
        for name in ["source", "elsewhere"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("elsewhere/secret"), "secret").unwrap();
        Self { folder }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Copies `source` to `target` with each `call` held on entry or exit ("delay_enter",
    /// "delay_exit"). The attack begins as soon as `sign` exists and the call is held.
    fn copy(
        &self,
        (call, delay): (&str, &str),
        args: &[&str],
        sign: &str,
        attack: impl FnOnce(),
    ) -> Output {
        let inject = format!("inject={call}:{delay}={}", HELD_S * 1_000_000);
        let (trace, source) = (format!("trace={call}"), self.at("source"));
        let mut options = vec!["-e", &*trace, "-e", &*inject];
        // New directories are listed too, to see that they are empty.
        if call == "getdents64" {
            options.extend(["-P", source.to_str().unwrap()]);
        }
        let mut command = strace(&options, &self.at("trace"));
        command.args(args).args(["-T", "source", "target"]);
        let number = match call {
            "getdents64" => libc::SYS_getdents64,
            "linkat" => libc::SYS_linkat,
            "mkdirat" => libc::SYS_mkdirat,
            "mknodat" => libc::SYS_mknodat,
            "symlinkat" => libc::SYS_symlinkat,
            _ => panic!("a call of no attack: {call}"),
        };
        // What is held on exit has been done when it shows.
        let is_done = |process: Option<Pid>| match (call, delay) {
            ("getdents64", "delay_exit") => has_listed(process, &source),
            ("linkat", "delay_exit") => fs::read_dir(self.at(sign)).unwrap().next().is_some(),
            _ => true,
        };
        let is_held = |process| is_in(process, &[number]) && is_done(process);
        let is_there = || self.at(sign).symlink_metadata().is_ok();
        self.attacked(command, |process| is_there() && is_held(process), attack)
    }

    /// Hashes `source` with each getdents64(2) held on exit, and attacks once the directory is
    /// open.
    fn sum(&self, attack: impl FnOnce()) -> Output {
        let inject = format!("inject=getdents64:delay_exit={}", HELD_S * 1_000_000);
        let trace = self.at("trace");
        let mut command = program("strace");
        command.args(["-f", "-e", "trace=openat,getdents64", "-e", &inject, "-o"]).arg(&trace);
        command.arg(assert_cmd::cargo::cargo_bin!("aiosum")).arg("source");
        let is_held = |process| {
            is_in(process, &[libc::SYS_getdents64]) && has_listed(process, &self.at("source"))
        };
        self.attacked(command, is_held, attack)
    }

    /// Runs `command` in the folder, and attacks as soon as a call is held.
    fn attacked(
        &self,
        mut command: Command,
        is_held: impl Fn(Option<Pid>) -> bool,
        attack: impl FnOnce(),
    ) -> Output {
        command.current_dir(self.folder.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        while_held(&child, || is_held(traced(&child)), attack);
        child.wait_with_output().unwrap()
    }

    /// Asserts that the copy contains nothing of the secret, neither as a file nor through a link.
    fn assert_secret_is_kept(&self, output: &Output) {
        for entry in walkdir::WalkDir::new(self.at("target")) {
            let entry = entry.unwrap();
            if entry.file_type().is_file() {
                assert_ne!(
                    fs::read(entry.path()).unwrap(),
                    b"secret",
                    "{:?}: {output:?}",
                    entry.path()
                );
            }
        }
        let elsewhere: Vec<_> =
            fs::read_dir(self.at("elsewhere")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(elsewhere, ["secret"], "{output:?}");
    }
}

/// Whether a process under strace is inside ioctl_ficlone(2).
fn is_cloning(strace: &Child) -> bool {
    const FICLONE: &str = "0x40049409";
    is_in_call(traced(strace), |call| call.get(2).is_some_and(|argument| *argument == FICLONE))
}

fn exchange(path: &Path, put: impl FnOnce(&Path)) {
    fs::rename(path, path.with_extension("away")).unwrap();
    put(path);
}

#[test]
fn names_exchanged_between_listing_and_opening_are_refused() {
    if !have_strace() {
        return;
    }
    let stage = Stage::new();
    for name in ["dir-link", "dir-dir"] {
        fs::create_dir(stage.at("source").join(name)).unwrap();
        fs::write(stage.at("source").join(name).join("inside"), "x").unwrap();
    }
    for name in ["file-link", "file-fifo", "file-file", "file-dir"] {
        fs::write(stage.at("source").join(name), "x").unwrap();
    }
    symlink("harmless", stage.at("source/link-file")).unwrap();
    mknod(&stage.at("source/fifo-link"), FileType::Fifo, 0);
    let output = stage.copy(("getdents64", "delay_exit"), &["-a"], "target", || {
        let secret = stage.at("elsewhere/secret");
        let at = |name: &str| stage.at("source").join(name);
        exchange(&at("dir-link"), |path| symlink("../elsewhere", path).unwrap());
        exchange(&at("dir-dir"), |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("inside"), "secret").unwrap();
        });
        exchange(&at("file-link"), |path| symlink(&secret, path).unwrap());
        exchange(&at("file-fifo"), |path| mknod(path, FileType::Fifo, 0));
        exchange(&at("file-file"), |path| fs::hard_link(&secret, path).unwrap());
        exchange(&at("file-dir"), |path| fs::create_dir(path).unwrap());
        exchange(&at("link-file"), |path| fs::hard_link(&secret, path).unwrap());
        exchange(&at("fifo-link"), |path| symlink(&secret, path).unwrap());
    });
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = stderr(&output);
    for name in [
        "dir-link",
        "dir-dir",
        "file-link",
        "file-fifo",
        "file-file",
        "file-dir",
        "link-file",
        "fifo-link",
    ] {
        let line =
            text.lines().find(|line| line.contains(&format!("source/{name}'"))).unwrap_or_default();
        assert!(line.ends_with("it was replaced after the directory was listed"), "{name}: {text}");
        assert!(stage.at("target").join(name).symlink_metadata().is_err(), "{name} was copied");
    }
    stage.assert_secret_is_kept(&output);
}

#[test]
fn names_exchanged_while_a_tree_is_hashed_are_refused() {
    if !have_strace() {
        return;
    }
    let stage = Stage::new();
    fs::create_dir(stage.at("source/dir-link")).unwrap();
    for name in ["dir-link/inside", "file-link", "kept"] {
        fs::write(stage.at("source").join(name), "x").unwrap();
    }
    let output = stage.sum(|| {
        let at = |name: &str| stage.at("source").join(name);
        exchange(&at("dir-link"), |path| symlink("../elsewhere", path).unwrap());
        exchange(&at("file-link"), |path| symlink("../elsewhere/secret", path).unwrap());
    });
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = stderr(&output);
    for name in ["dir-link", "file-link"] {
        let line =
            text.lines().find(|line| line.contains(&format!("source/{name}'"))).unwrap_or_default();
        assert!(line.ends_with("it was replaced after the directory was listed"), "{name}: {text}");
    }
    let sums = String::from_utf8_lossy(&output.stdout);
    assert!(sums.ends_with("  source/kept\n") && sums.lines().count() == 1, "{sums}");
}

#[test]
fn a_new_directory_exchanged_for_a_link_leads_nowhere() {
    if !have_strace() {
        return;
    }
    let stage = Stage::new();
    fs::create_dir(stage.at("source/dir")).unwrap();
    fs::write(stage.at("source/dir/file"), "x").unwrap();
    let output = stage.copy(("mkdirat", "delay_exit"), &[], "target/dir", || {
        exchange(&stage.at("target/dir"), |path| symlink("../elsewhere", path).unwrap());
    });
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("cannot create directory 'target/dir'"), "{output:?}");
    stage.assert_secret_is_kept(&output);
}

#[test]
fn a_directory_exchanged_while_it_is_written_into_leads_nowhere() {
    if !have_strace() {
        return;
    }
    let stage = Stage::new();
    fs::create_dir(stage.at("source/dir")).unwrap();
    for n in 0..3 {
        fs::write(stage.at(&format!("source/dir/{n}")), "x").unwrap();
    }
    let output = stage.copy(("linkat", "delay_enter"), &[], "target/dir", || {
        exchange(&stage.at("target/dir"), |path| symlink("../elsewhere", path).unwrap());
    });
    stage.assert_secret_is_kept(&output);
    assert_eq!(
        fs::read_dir(stage.at("target/dir.away")).unwrap().count(),
        3,
        "they are in their directory"
    );
}

#[test]
fn a_new_link_exchanged_for_another_file_gives_that_file_no_new_owner() {
    if !is_root("giving files away") || !have_strace() {
        return;
    }
    for kind in ["link", "fifo"] {
        let stage = Stage::new();
        let (source, call) =
            (stage.at("source/made"), if kind == "link" { "symlinkat" } else { "mknodat" });
        match kind {
            "link" => symlink("anywhere", &source).unwrap(),
            _ => mknod(&source, FileType::Fifo, 0),
        }
        std::os::unix::fs::lchown(&source, Some(5), Some(5)).unwrap();
        // A second name makes even a file of the right kind suspicious.
        let victim = stage.at("victim");
        match kind {
            "link" => fs::write(&victim, "x").unwrap(),
            _ => mknod(&victim, FileType::Fifo, 0),
        }
        let output = stage.copy((call, "delay_exit"), &["-a"], "target/made", || {
            fs::remove_file(stage.at("target/made")).unwrap();
            fs::hard_link(&victim, stage.at("target/made")).unwrap();
        });
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("it was replaced after"), "{output:?}");
        assert_eq!(fs::metadata(&victim).unwrap().uid(), 0, "{kind}");
    }
}

#[test]
fn a_first_name_exchanged_before_the_second_is_linked_is_refused() {
    if !have_strace() {
        return;
    }
    let stage = Stage::new();
    fs::write(stage.at("source/1"), "x").unwrap();
    fs::hard_link(stage.at("source/1"), stage.at("source/2")).unwrap();
    // Each linkat is held on exit: when one name exists, the other has not been looked up yet.
    let output = stage.copy(("linkat", "delay_exit"), &["--threads=1"], "target", || {
        let first = fs::read_dir(stage.at("target")).unwrap().next().unwrap().unwrap().path();
        fs::remove_file(&first).unwrap();
        fs::hard_link(stage.at("elsewhere/secret"), &first).unwrap();
    });
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("cannot link 'target/"), "{output:?}");
    let contents: Vec<_> = fs::read_dir(stage.at("target"))
        .unwrap()
        .map(|e| fs::read(e.unwrap().path()).unwrap())
        .collect();
    assert!(contents.contains(&b"x".to_vec()), "the data is still copied: {output:?}");
    assert_eq!(
        fs::metadata(stage.at("elsewhere/secret")).unwrap().nlink(),
        2,
        "and the secret has no third name"
    );
}

#[test]
fn nothing_can_be_read_by_others_before_it_is_finished() {
    if !have_strace() {
        return;
    }
    let stage = Stage::new();
    fs::create_dir(stage.at("source/dir")).unwrap();
    fs::write(stage.at("source/dir/file"), "x").unwrap();
    set_mode(&stage.at("source/dir"), 0o777);
    set_mode(&stage.at("source"), 0o777);
    let output = stage.copy(("linkat", "delay_enter"), &[], "target/dir", || {
        for name in ["target", "target/dir"] {
            assert_eq!(fs::metadata(stage.at(name)).unwrap().mode() & 0o7777, 0o700, "{name}");
        }
    });
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for name in ["target", "target/dir"] {
        assert_eq!(fs::metadata(stage.at(name)).unwrap().mode() & 0o7777, 0o777, "{name}");
    }
    // A file with a temporary name, and a special file, which has its final name from the
    // beginning.
    fs::remove_dir_all(stage.at("target")).unwrap();
    mknod(&stage.at("source/fifo"), FileType::Fifo, 0);
    fs::hard_link(stage.at("source/dir/file"), stage.at("source/dir/again")).unwrap();
    let calls = ["-e", "trace=openat,mknodat,mkdirat"];
    let mut command = without_unnamed_files(strace(&calls, &stage.at("trace")));
    run(command.args(["-a", "source", "target"]).current_dir(stage.folder.path()), 0);
    let calls = trace::calls(&stage.at("trace"));
    let made = |name: &str, flag: &str, mode: &str| {
        let is_one = |call: &&String| trace::name_of(call) == name && call.contains(flag);
        let lines: Vec<_> = calls.iter().filter(is_one).collect();
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line.contains(mode)),
            "{name}: {lines:?}"
        );
    };
    made("openat", "O_EXCL", ", 0600)");
    made("mknodat", "S_IFIFO", "S_IFIFO|0600)");
    made("mkdirat", "", ", 0700)");
}

/// A file without a name may have the mode that it is to have: only who may look into the process
/// gets at it, which is its user.
#[test]
fn a_file_without_a_name_is_reached_by_no_other_user() {
    const NOBODY: u32 = 65534;
    if !is_root("acting as another user") || !have_strace() {
        return;
    }
    let stage = Stage::new();
    set_mode(stage.folder.path(), 0o777);
    fs::write(stage.at("source/file"), "the data").unwrap();
    set_mode(&stage.at("source/file"), 0o666);
    let inject = format!("inject=linkat:delay_enter={}", HELD_S * 1_000_000);
    let mut command = strace(&["-e", "trace=linkat", "-e", &inject], &stage.at("trace"));
    command.args(["-aT", "source", "target"]);
    let held = Cell::new(None);
    let is_held = |process: Option<Pid>| {
        held.set(process);
        is_in(process, &[libc::SYS_linkat])
    };
    let output = stage.attacked(command, is_held, || {
        let files = format!("/proc/{}/fd", held.get().unwrap().as_raw_nonzero());
        let are_unnamed = |file: &PathBuf| {
            fs::metadata(file).is_ok_and(|found| found.is_file() && found.nlink() == 0)
        };
        let unnamed: Vec<_> = fs::read_dir(files)
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(are_unnamed)
            .collect();
        assert!(unnamed.iter().any(|file| fs::read(file).unwrap() == b"the data"), "{unnamed:?}");
        for file in unnamed {
            // A shell that cannot read the file says so and fails.
            let mut other = Command::new("sh");
            other.args(["-c", "read line <\"$0\" || test -n \"$line\""]).arg(&file);
            let other = other.uid(NOBODY).gid(NOBODY).output().unwrap();
            assert!(!other.status.success(), "{other:?}");
            assert!(stderr(&other).contains("ermission denied"), "{other:?}");
        }
    });
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let copy = fs::metadata(stage.at("target/file")).unwrap();
    assert_eq!(copy.mode() & 0o7777, 0o666);
}

#[test]
fn a_source_that_grows_while_it_is_cloned_is_an_error() {
    if !have_strace() {
        return;
    }
    let Some(mounted) = Mounted::new("xfs", 512) else { return };
    let (source, target) = (mounted.path.join("source"), mounted.path.join("target"));
    fs::write(&source, noise(1 << 20, 1)).unwrap();
    fs::write(&target, "old").unwrap();
    let trace = mounted.path.join("trace");
    let inject = format!("inject=ioctl:delay_enter={}", HELD_S * 1_000_000);
    let mut command = strace(&["-e", "trace=ioctl", "-e", &inject], &trace);
    let child = command.arg(&source).arg(&target).stderr(Stdio::piped()).spawn().unwrap();
    let grow = || {
        let mut file = fs::OpenOptions::new().append(true).open(&source).unwrap();
        std::io::Write::write_all(&mut file, b"more").unwrap();
    };
    while_held(&child, || is_cloning(&child), grow);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("the source changed while it was being copied"), "{output:?}");
    assert_eq!(fs::read(&target).unwrap(), b"old");
}

#[test]
fn setuid_outlives_the_change_of_owner_and_is_not_kept_without_it() {
    if !is_root("giving files away") || !have_strace() {
        return;
    }
    let stage = Stage::new();
    let capability = [0x0200_0001u32, 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat();
    for name in ["source/a", "source/b"] {
        fs::write(stage.at(name), "x").unwrap();
        chown(stage.at(name), Some(7), Some(7)).unwrap();
        set_xattr(&stage.at(name), "security.capability", &capability);
        set_mode(&stage.at(name), 0o6755);
    }
    run(aiocp().args(["-a", "source/a", "a"]).current_dir(stage.folder.path()), 0);
    let meta = fs::metadata(stage.at("a")).unwrap();
    assert_eq!((meta.uid(), meta.mode() & 0o7777), (7, 0o6755));
    assert_eq!(xattr(&stage.at("a"), "security.capability"), Some(capability));
    let inject = ["-e", "trace=fchown", "-e", "inject=fchown:error=EPERM"];
    let mut command = strace(&inject, &stage.at("trace"));
    let output = run(command.args(["-a", "source/b", "b"]).current_dir(stage.folder.path()), 1);
    assert!(
        stderr(&output).starts_with("aiocp: cannot set owner of 'b': Operation not permitted"),
        "{output:?}"
    );
    assert_eq!(fs::metadata(stage.at("b")).unwrap().mode() & 0o7777, 0o755);
}
