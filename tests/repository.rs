//! What the repository promises about itself. With AIOCP_UPDATE=1 the generated files are written
//! instead of compared.

use std::fs;
use std::path::{Path, PathBuf};
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

#[test]
fn mandoc_has_nothing_to_say_about_the_man_pages() {
    if !common::have("mandoc") {
        return;
    }
    for name in ["aiocp.1", "aiosum.1"] {
        let mut lint = Command::new("mandoc");
        let output = common::run(
            lint.args(["-T", "lint", "-W", "warning"]).arg(root().join("man").join(name)),
            0,
        );
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let entries = walkdir::WalkDir::new(root().join("src"))
        .into_iter()
        .map(|entry| entry.unwrap().into_path());
    let rust = entries.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let named = |path: PathBuf| {
        (
            path.strip_prefix(root().join("src")).unwrap().to_owned(),
            fs::read_to_string(path).unwrap(),
        )
    };
    rust.map(named).collect()
}

#[test]
fn rooms_import_only_what_stands_below_them() {
    /// Each room and what it may import, as ARCHITECTURE.md has it. `sys` and `digest` stand at the
    /// bottom.
    const MAY_IMPORT: [(&str, &[&str]); 11] = [
        ("error.rs", &[]),
        ("digest.rs", &[]),
        ("sys", &["error"]),
        ("fs", &["error", "sys"]),
        ("aio", &["sys"]),
        ("report", &["error", "digest"]),
        ("tree", &["error", "fs"]),
        ("sum", &["digest", "error", "fs", "pipeline", "report", "tree"]),
        ("pipeline", &["aio", "digest", "error", "fs", "report", "sys"]),
        ("copy", &["digest", "error", "fs", "pipeline", "report", "tree"]),
        ("cli", &["copy", "digest", "error", "fs", "report", "sum", "sys"]),
    ];
    let mut checked = 0;
    for (path, text) in sources() {
        let room = path.iter().next().unwrap().to_str().unwrap();
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            continue;
        };
        let own = room.trim_end_matches(".rs");
        for (n, line) in
            text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for (at, _) in line.match_indices("crate::") {
                let module: String = line[at + 7..]
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let here = format!("{}:{}", path.display(), n + 1);
                assert!(
                    module == own || allowed.contains(&&*module),
                    "{here}: {own} imports {module}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "the imports were found");
}

#[test]
fn unsafe_code_lives_in_sys_alone_and_files_stay_readable() {
    for (path, text) in sources() {
        let unsafe_lines = text
            .lines()
            .filter(|line| line.contains("unsafe ") && !line.trim_start().starts_with("//"));
        assert!(path.starts_with("sys") || unsafe_lines.count() == 0, "{path:?} has unsafe code");
        assert!(text.lines().count() <= 620, "{path:?} is too long to be read");
    }
}
