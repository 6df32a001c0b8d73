//! What the repository promises about its generated files. With AIOCP_UPDATE=1 they are written
//! instead of compared. `tests/house.rs` holds the rules for what people write.

use std::fs;
use std::path::Path;
use std::process::Command;

use aiocp::cli;
use clap_complete::Shell;

mod common;
mod pages;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Compares a generated file with the one in the repository.
fn is_current(name: &str, contents: &[u8]) {
    let path = root().join(name);
    if std::env::var_os("AIOCP_UPDATE").is_some() {
        fs::write(&path, contents).unwrap();
    }
    let current = fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert!(current == contents, "{name} is stale: AIOCP_UPDATE=1 cargo test --test repository");
}

/// Both commands: table of flags, and the binary.
fn commands() -> [(clap::Command, Command); 2] {
    [
        (cli::aiocp::command(), Command::new(assert_cmd::cargo::cargo_bin!("aiocp"))),
        (cli::aiosum::command(), Command::new(assert_cmd::cargo::cargo_bin!("aiosum"))),
    ]
}

#[test]
fn completions_are_current() {
    for (mut table, mut binary) in commands() {
        let command = table.get_name().to_owned();
        for (shell, name) in [
            (Shell::Bash, format!("{command}.bash")),
            (Shell::Zsh, format!("_{command}")),
            (Shell::Fish, format!("{command}.fish")),
            (Shell::Elvish, format!("{command}.elv")),
            (Shell::PowerShell, format!("_{command}.ps1")),
        ] {
            let script = cli::completions(&mut table, shell);
            is_current(&format!("completions/{name}"), &script);
            let output = binary.args(["--completions", &shell.to_string()]).output().unwrap();
            assert!(
                output.status.success() && output.stdout == script,
                "--completions {shell} prints the same script"
            );
            binary = Command::new(binary.get_program());
        }
    }
}

#[test]
fn the_man_pages_are_current() {
    for (table, _) in commands() {
        let command = table.get_name().to_owned();
        let sections =
            fs::read_to_string(root().join(format!("man/{command}.sections.roff"))).unwrap();
        let page = pages::page(table, &sections).into_bytes();
        is_current(&format!("man/{command}.1"), &page);
    }
}

#[test]
fn the_package_has_the_version_of_the_program() {
    let changelog = fs::read_to_string(root().join("packaging/changelog")).unwrap();
    assert!(
        changelog.starts_with(concat!("aiocp (", env!("CARGO_PKG_VERSION"), "-1) ")),
        "{changelog}"
    );
}

/// `make` with a target, for a prefix of its own and the commands under test.
fn make(target: &str, prefix: &Path) -> Command {
    let binaries = Path::new(assert_cmd::cargo::cargo_bin!("aiocp")).parent().unwrap();
    let mut make = common::program("make");
    make.args(["-C", env!("CARGO_MANIFEST_DIR"), target])
        .env_remove("DESTDIR")
        .arg(format!("PREFIX={}", prefix.display()))
        .arg(format!("BIN={}", binaries.display()));
    make
}

#[test]
fn make_uninstall_removes_the_folders_that_install_made_and_no_others() {
    if !common::have("make") {
        return;
    }
    let top = common::folder();
    let prefix = top.path().join("made/a prefix");
    // Installing twice makes no folder the second time, and forgets none of the first.
    common::run(&mut make("install", &prefix), 0);
    common::run(&mut make("install", &prefix), 0);
    assert!(prefix.join("share/zsh/site-functions/_aiocp").exists());
    common::run(&mut make("uninstall", &prefix), 0);
    assert_eq!(fs::read_dir(&top).unwrap().count(), 0, "all of its folders are gone");

    fs::create_dir_all(prefix.join("share/man")).unwrap();
    common::run(&mut make("install", &prefix), 0);
    fs::write(prefix.join("share/elvish/other"), "").unwrap();
    common::run(&mut make("uninstall", &prefix), 0);
    let left = walkdir::WalkDir::new(&prefix).min_depth(1).sort_by_file_name().into_iter();
    let left = left.map(|entry| entry.unwrap().path().strip_prefix(&prefix).unwrap().to_owned());
    let wanted = ["share", "share/elvish", "share/elvish/other", "share/man"];
    assert_eq!(left.collect::<Vec<_>>(), wanted.map(std::path::PathBuf::from));
}

#[test]
fn a_first_make_builds_and_make_install_installs_only_what_was_built() {
    if !common::have("make") {
        return;
    }
    let folder = common::folder();
    let mut plan = common::program("make");
    let output = common::run(plan.args(["-n", "-C", env!("CARGO_MANIFEST_DIR")]), 0);
    let planned = String::from_utf8(output.stdout).unwrap();
    let commands: Vec<_> = planned.lines().filter(|line| !line.starts_with("make")).collect();
    assert_eq!(commands, ["cargo build --locked --release"]);
    let mut install = make("install", &folder.path().join("prefix"));
    let output = common::run(install.arg(format!("BIN={}", folder.path().display())), 2);
    assert!(common::stderr(&output).contains("aiocp is missing: run 'make' first"), "{output:?}");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing was installed");
}

#[test]
fn mandoc_has_nothing_to_say_about_the_man_pages() {
    if !common::have("mandoc") {
        return;
    }
    for name in ["aiocp.1", "aiosum.1"] {
        let mut lint = common::program("mandoc");
        let output = common::run(
            lint.args(["-T", "lint", "-W", "warning"]).arg(root().join("man").join(name)),
            0,
        );
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
}

/// A test that leaves something out says so even while its output is captured. In CI it fails.
#[test]
fn what_is_left_out_is_said_and_fails_in_ci() {
    let lint = "mandoc_has_nothing_to_say_about_the_man_pages";
    let without_programs = || {
        let mut tests = Command::new(std::env::current_exe().unwrap());
        tests.args(["--exact", lint]).env("PATH", "").env_remove("CI");
        tests
    };
    let output = common::run(&mut without_programs(), 0);
    let said = common::stderr(&output);
    let reason = "SKIPPED: mandoc is missing (Debian package mandoc)";
    assert!([format!("{reason}\n"), format!("{reason}, in {lint}\n")].contains(&said), "{said}");
    common::run(without_programs().env("CI", "true"), 101);
}
