//! Passes the commit to the build, for `--version`.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    // A debug build does not ask for the commit, so that a new commit rebuilds nothing.
    println!("cargo::rerun-if-changed=build.rs");
    let version = env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let is_release = env::var("PROFILE").expect("cargo sets it") == "release";
    let version = match if is_release { commit() } else { Some("debug build".to_owned()) } {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=AIOCP_VERSION={version}");
}

/// The commit, and whether the sources differ from it. `None` outside of this project's checkout.
fn commit() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(".").canonicalize().ok()? {
        return None;
    }
    // Only existing files may be listed: cargo would rerun this script each time for a missing one.
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"])?;
    for name in ["HEAD", "index", "packed-refs", &branch] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let sources = ["src", "man", "Cargo.toml", "Cargo.lock", "build.rs"];
    for path in sources {
        println!("cargo::rerun-if-changed={path}");
    }
    let changed = git(&[&["status", "--porcelain", "--"], &sources[..]].concat())?;
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    Some(if changed.is_empty() { commit } else { format!("{commit}, changed") })
}

/// The output of git; `None` if git is missing or fails.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
