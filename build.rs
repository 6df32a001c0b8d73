//! Says which commit is built, so that `--version` can.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    // A debug build asks for no commit, which spares building everything again after each one.
    println!("cargo::rerun-if-changed=build.rs");
    let version = env::var("CARGO_PKG_VERSION").expect("cargo sets it");
    let is_release = env::var("PROFILE").expect("cargo sets it") == "release";
    let version = match if is_release { commit() } else { Some("debug build".to_owned()) } {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo::rustc-env=AIOCP_VERSION={version}");
}

/// The commit, and whether it is what is built; none outside of a checkout of this very project.
fn commit() -> Option<String> {
    let top = git(&["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != Path::new(".").canonicalize().ok()? {
        return None;
    }
    // The list of what is looked at may name only what there is, or cargo would run this each time.
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

/// What git answers, or none if there is no git or it knows nothing here.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}
