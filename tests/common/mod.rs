//! Helpers of all tests: the command, trees to copy, a comparison, and fresh filesystems.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod random;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, UNIX_EPOCH};

pub mod elsewhere;
pub mod faults;
pub mod folding;
pub mod hard;
pub mod held;
pub mod in_place;
pub mod interrupted;
pub mod json;
pub mod lease;
pub mod lying;
pub mod mounted;
pub mod odd;
pub mod passing;
pub mod place;
pub mod power;
pub mod sandbox;
pub mod skip;
pub mod trace;
pub mod tracer;
pub mod verdict;

#[allow(unused_imports, reason = "each test file uses a part of them")]
pub use mounted::{Mounted, folder, must, unmount};
#[allow(unused_imports, reason = "each test file uses a part of them")]
pub use skip::{
    can_mount, can_mount_fuse, have, have_fuse, have_strace, is_root, program, skip,
    skip_for_kernel, tool,
};

/// The command under test, without the options that the user has for every run.
pub fn aiocp() -> Command {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("aiocp"));
    command.env_remove("AIOCP_CONFIG_PATH");
    command
}

/// The second command under test.
pub fn aiosum() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("aiosum"))
}

/// Makes an uncached file of `mib` MiB and 5 bytes.
pub fn cold_file(path: &Path, mib: usize) {
    fs::write(path, noise((mib << 20) + 5, 9)).unwrap();
    let file = fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

/// Runs the command with `input` on standard input.
pub fn run_with(command: &mut Command, input: &[u8], code: i32) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        // A command may close the pipe before it has read everything.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().unwrap()
    });
    assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
    output
}

/// Runs the command, and shows its output if the exit code differs.
pub fn run(command: &mut Command, code: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
    output
}

/// Runs it for at most two minutes, which no command takes on a busy machine either. Then it is
/// killed with its children, which is a failure.
pub fn run_limited(command: &mut Command) -> Output {
    use std::os::unix::process::CommandExt;
    let child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let group = rustix::process::Pid::from_child(&child);
    let (send, ended) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let output = child.wait_with_output();
        send.send(()).unwrap();
        output
    });
    let in_time = ended.recv_timeout(Duration::from_secs(120)).is_ok();
    if !in_time {
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    }
    let output = waiting.join().unwrap().unwrap();
    assert!(in_time, "{command:?} hangs: {output:?}");
    output
}

/// Does this with all of them at the same time, each on a thread of its own. It is for what waits
/// most of its time: for a device, a clock, or a limit.
pub fn all_at_once<T: Send>(all: impl IntoIterator<Item = T>, act: impl Fn(T) + Sync) {
    // What is left out is said in the name of the test.
    let name = std::thread::current().name().unwrap_or("main").to_owned();
    std::thread::scope(|scope| {
        let begin = |one| {
            let thread = std::thread::Builder::new().name(name.clone());
            thread.spawn_scoped(scope, || act(one)).unwrap()
        };
        let threads: Vec<_> = all.into_iter().map(begin).collect();
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
}

/// Runs the command without its output, and says how many KiB of memory it had at most.
pub fn peak_of(command: &mut Command, code: i32) -> u64 {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        peak = peak_kib(child.id()).unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(status.code(), Some(code), "{command:?}");
    assert!(peak > 0, "{command:?} was seen while it ran");
    peak
}

/// The peak memory of a running process in KiB: VmHWM in proc_pid_status(5).
fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// aiocp under strace with these options, writing to `trace`.
pub fn strace(options: &[&str], trace: &Path) -> Command {
    let mut command = program("strace");
    command.args(["-f", "-o"]).arg(trace).args(options).arg(assert_cmd::cargo::cargo_bin!("aiocp"));
    command
}

/// Bytes without a pattern, so that misplaced blocks show.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut reader = blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof();
    let mut bytes = vec![0; len];
    reader.fill(&mut bytes);
    bytes
}

pub fn set_times(path: &Path, seconds: u64, nanos: u32) {
    let time = UNIX_EPOCH + Duration::new(seconds, nanos);
    let file = fs::File::open(path).unwrap();
    file.set_times(fs::FileTimes::new().set_modified(time).set_accessed(time)).unwrap();
}

/// Makes a tree with everything that a default copy keeps: sizes around every boundary, modes,
/// times, links, holes, empty directories.
pub fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("nested/deeper/still")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::create_dir(root.join("many")).unwrap();
    const MIB: usize = 1 << 20;
    for (n, len) in [0, 1, 4095, 4096, 4097, 262_144, MIB - 1, MIB, MIB + 1, 3 * MIB + 5, 9 * MIB]
        .into_iter()
        .enumerate()
    {
        fs::write(root.join(format!("nested/size-{len}")), noise(len, n as u64)).unwrap();
    }
    for n in 0..300 {
        fs::write(root.join(format!("many/{n}")), noise(n * 7, n as u64)).unwrap();
    }
    for (name, at, len) in
        [("hole-small", 40_960, 65_536), ("hole-big", 5 << 20, 12 << 20), ("hole-only", 0, 7 << 20)]
    {
        let file = fs::File::create(root.join(name)).unwrap();
        file.set_len(len).unwrap();
        if at > 0 {
            file.write_all_at(b"data", at).unwrap();
        }
    }
    fs::write(root.join("odd \n name \\"), "x").unwrap();
    symlink("nested/size-1", root.join("link")).unwrap();
    symlink("/nowhere/at all", root.join("dangling")).unwrap();
    fs::set_permissions(root.join("nested/size-1"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(root.join("nested/size-4096"), fs::Permissions::from_mode(0o400)).unwrap();
    set_times(&root.join("nested/size-1"), 1_000_000_001, 123_456_789);
    set_times(&root.join("nested/size-9437184"), 2, 1);
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o1710)).unwrap();
    set_times(&root.join("empty"), 1_234_567_890, 5);
    set_times(&root.join("nested"), 1_111_111_111, 999_999_999);
    set_times(root, 999_999_999, 42);
}

/// Everything below `root` that a copy keeps, by relative path.
pub fn describe(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        let what = match meta.file_type() {
            kind if kind.is_symlink() => {
                format!("link to {:?}", fs::read_link(entry.path()).unwrap())
            }
            kind if kind.is_dir() => "directory".to_owned(),
            _ => format!("{} bytes {}", meta.len(), blake3::hash(&fs::read(entry.path()).unwrap())),
        };
        let line = format!("{:o} {}.{:09} {what}", meta.mode(), meta.mtime(), meta.mtime_nsec());
        found.insert(entry.path().strip_prefix(root).unwrap().to_owned(), line);
    }
    found
}

/// The files below `root` with names of temporaries.
pub fn litter(root: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| entry.unwrap().into_path());
    entries
        .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".aiocp-"))
        .collect()
}

/// Checks that a manifest is sorted and complete, and that each hash is its file's.
pub fn check_manifest(manifest: &str, root: &Path) {
    let unescape = |name: &str| name.replace("\\n", "\n").replace("\\\\", "\\");
    let mut names = Vec::new();
    for line in manifest.lines() {
        let (hash, name) = line.trim_start_matches('\\').split_once("  ").unwrap();
        let name = if line.starts_with('\\') { unescape(name) } else { name.to_owned() };
        let contents = fs::read(root.join(&name)).unwrap();
        assert_eq!(blake3::hash(&contents).to_hex().as_str(), hash, "{name:?}");
        names.push(name);
    }
    assert!(names.is_sorted(), "the manifest is sorted by path");
    let files = walkdir::WalkDir::new(root)
        .into_iter()
        .filter(|e| e.as_ref().unwrap().file_type().is_file())
        .count();
    assert_eq!(names.len(), files, "every file is in the manifest");
}

/// Copies a program that is then run. Another thread's child holds what this process is writing
/// until it calls exec, and what is held so cannot be run ("Text file busy"): cp(1) writes it.
pub fn copy_program(program: impl AsRef<Path>, copy: impl AsRef<Path>) {
    must(Command::new("cp").args([program.as_ref(), copy.as_ref()]));
}

/// Unmounts a FUSE filesystem of the test's own, and waits for its end.
pub fn end_fuse(session: fuser::BackgroundSession, mount: &Path) {
    unmount(mount);
    let over = session.join();
    assert!(over.is_ok() || std::thread::panicking(), "the FUSE filesystem ends: {over:?}");
}

/// A number of `--stats`, which omits zeros.
pub fn figure(stats: &str, name: &str) -> u64 {
    assert!(stats.contains("\nseconds: "), "this is no output of --stats: {stats}");
    let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.map_or(0, |line| line.split_whitespace().next().unwrap().parse().unwrap())
}

/// Whether a process handles this signal, according to proc(5).
pub fn catches(child: &std::process::Child, signal: rustix::process::Signal) -> bool {
    has_signal(child, "SigCgt:", signal)
}

/// Whether a process ignores this signal.
pub fn ignores(child: &std::process::Child, signal: rustix::process::Signal) -> bool {
    has_signal(child, "SigIgn:", signal)
}

/// Whether a line of the process's status has the signal, see proc_pid_status(5).
fn has_signal(child: &std::process::Child, line: &str, signal: rustix::process::Signal) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    // What has ended has no signals.
    let Some(set) = status.lines().find_map(|text| text.strip_prefix(line)) else { return false };
    u64::from_str_radix(set.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1
}
