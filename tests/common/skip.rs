//! What a test leaves out is said in one way, which `tests/rules/skips.rs` holds.

use std::io::Write;
use std::path::{Path, PathBuf};

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

/// eprintln! would be captured by the test harness.
fn say_skipped(reason: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {reason}\n").as_bytes()).unwrap();
}

/// Finds a program in the path or where `.ci/run` installs what Debian lacks. A missing one is
/// reported; in CI it is a failure.
pub fn tool(name: &str) -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/bin");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([installed])
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("{name} is missing"));
    }
    found
}

/// Whether a program is installed; in CI it has to be.
pub fn have(program: &str) -> bool {
    tool(program).is_some()
}

/// Whether strace is installed; in CI it has to be.
pub fn have_strace() -> bool {
    have("strace")
}

/// Whether there is FUSE; in CI there has to be.
pub fn have_fuse() -> bool {
    let have = Path::new("/dev/fuse").exists();
    if !have {
        skip("there is no FUSE");
    }
    have
}

/// Whether this process is root, which `what` needs; in CI it has to be.
pub fn is_root(what: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(&format!("{what} needs root"));
    }
    root
}

/// Whether filesystems can be mounted whose data a test of its own keeps; in CI they have to be.
pub fn can_mount_fuse() -> bool {
    is_root("mounting filesystems") && have_fuse()
}
