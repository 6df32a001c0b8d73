//! What a test leaves out is said in one way, which `tests/rules/skips.rs` holds.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// It installs what tests call, and thus knows the packages. A source package does not have it.
const CI: &str = ".ci/run";

/// The repository, or the source package: a package of the repository lies below it.
fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().find(|folder| folder.join(CI).exists()).unwrap_or(package)
}

/// Says what is left out for lack of something that `.ci/run` installs or CI has. In CI it is a
/// failure.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "{reason}, and CI may leave nothing out");
    say_skipped(reason);
}

/// Says what is left out since this kernel cannot do it, which no package changes.
pub fn skip_for_kernel(reason: &str) {
    say_skipped(reason);
}

/// eprintln! would be captured by the test harness. A test has a thread of its name, unless there
/// is one thread for all.
fn say_skipped(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main");
    let test = test.map_or_else(String::new, |name| format!(", in {name}"));
    std::io::stderr().write_all(format!("SKIPPED: {reason}{test}\n").as_bytes()).unwrap();
}

/// Finds a program in the path, where `.ci/run` installs what Debian lacks, or where `su` does not
/// look.
pub fn find(name: &str) -> Option<PathBuf> {
    let installed = root().join("target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([installed, "/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// Finds a program. A missing one is reported; in CI it is a failure.
pub fn tool(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        skip(&missing(name));
    }
    found
}

/// That a program is missing, and what brings it.
fn missing(name: &str) -> String {
    let ci = std::fs::read_to_string(root().join(CI)).unwrap_or_default();
    let package = ci.lines().find_map(|line| {
        let (program, package) = line.strip_prefix("need ")?.split_once(' ')?;
        (program == name).then_some(package)
    });
    match package {
        Some(package) => format!("{name} is missing (Debian package {package})"),
        None if name == "b3sum" => format!("{name} is missing (cargo install {name})"),
        None => format!("{name} is missing"),
    }
}

/// A program that a test calls after it asked for it with [`have`]. Without it this is a failure.
/// What it runs has none of the options that the user has for every run.
pub fn program(name: &str) -> Command {
    let found = find(name).unwrap_or_else(|| panic!("{}, and no test asked", missing(name)));
    let mut command = Command::new(found);
    command.env_remove("AIOCP_CONFIG_PATH");
    command
}

/// Whether a program is installed; in CI it has to be.
pub fn have(program: &str) -> bool {
    tool(program).is_some()
}

/// Whether strace is installed; in CI it has to be.
pub fn have_strace() -> bool {
    have("strace")
}

/// Whether there is FUSE, and who is not root has what mounts it; in CI there has to be.
pub fn have_fuse() -> bool {
    if !Path::new("/dev/fuse").exists() {
        skip("there is no FUSE");
        return false;
    }
    rustix::process::geteuid().is_root() || have("fusermount3")
}

/// Whether a filesystem of this kind can be made and mounted; in CI it has to be.
pub fn can_mount(kind: &str) -> bool {
    let mkfs = match kind {
        "tmpfs" | "ramfs" => None,
        "overlay" => Some("mkfs.ext4".to_owned()),
        disk => Some(format!("mkfs.{disk}")),
    };
    let programs = ["mount", "umount"].into_iter().chain(mkfs.as_deref());
    is_root("mounting filesystems") && programs.into_iter().all(have)
}

/// Whether this process is root with root's rights, which `what` needs; in CI it has to be.
pub fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(&format!("{what} needs root"));
    } else if !may_administer() {
        skip(&format!("{what} needs rights that root lacks here, as in most containers"));
        return false;
    }
    root
}

/// Whether this process has CAP_SYS_ADMIN, number 21: see proc_pid_status(5).
fn may_administer() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(rights.trim(), 16).unwrap() >> 21 & 1 == 1
}

/// Whether filesystems can be mounted whose data a test of its own keeps; in CI they have to be.
pub fn can_mount_fuse() -> bool {
    is_root("mounting filesystems") && have_fuse() && have("umount")
}
