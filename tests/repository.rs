//! What the repository promises about itself. With AIOCP_UPDATE=1 the generated files are written instead of compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use aiocp::cli;
use clap_complete::Shell;

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

#[test]
fn completions_are_current() {
    for (shell, name) in [
        (Shell::Bash, "aiocp.bash"),
        (Shell::Zsh, "_aiocp"),
        (Shell::Fish, "aiocp.fish"),
        (Shell::Elvish, "aiocp.elv"),
        (Shell::PowerShell, "_aiocp.ps1"),
    ] {
        let script = cli::completions(&mut cli::aiocp::command(), shell);
        is_current(&format!("completions/{name}"), &script);
        let output = Command::new(assert_cmd::cargo::cargo_bin!("aiocp"))
            .args(["--completions", &shell.to_string()])
            .output()
            .unwrap();
        assert!(output.status.success() && output.stdout == script, "--completions {shell} prints the same script");
    }
}

#[test]
fn the_man_page_is_current() {
    let man = clap_mangen::Man::new(cli::aiocp::command()).date("2026-11-23");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    man.render_name_section(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    page.extend(fs::read(root().join("man/aiocp.sections.roff")).unwrap());
    is_current("man/aiocp.1", &page);
}

fn sources() -> Vec<(PathBuf, String)> {
    let entries = walkdir::WalkDir::new(root().join("src")).into_iter().map(|entry| entry.unwrap().into_path());
    let rust = entries.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let named =
        |path: PathBuf| (path.strip_prefix(root().join("src")).unwrap().to_owned(), fs::read_to_string(path).unwrap());
    rust.map(named).collect()
}

#[test]
fn rooms_import_only_what_stands_below_them() {
    /// Each room and what it may import, as ARCHITECTURE.md has it. `sys` and `digest` stand at the bottom.
    const MAY_IMPORT: [(&str, &[&str]); 9] = [
        ("error.rs", &[]),
        ("digest.rs", &[]),
        ("sys", &["error"]),
        ("aio", &["sys"]),
        ("report.rs", &["error", "digest"]),
        ("tree", &["error", "sys"]),
        ("sum", &["digest", "error"]),
        ("copy", &["aio", "digest", "error", "report", "sys", "tree"]),
        ("cli", &["copy", "error", "report", "sum", "sys"]),
    ];
    let mut checked = 0;
    for (path, text) in sources() {
        let room = path.iter().next().unwrap().to_str().unwrap();
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else { continue };
        let own = room.trim_end_matches(".rs");
        for (n, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for (at, _) in line.match_indices("crate::") {
                let module: String = line[at + 7..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let here = format!("{}:{}", path.display(), n + 1);
                assert!(module == own || allowed.contains(&&*module), "{here}: {own} imports {module}");
                checked += 1;
            }
        }
    }
    assert!(checked > 30, "the imports were found");
}

#[test]
fn unsafe_code_lives_in_sys_alone_and_files_stay_readable() {
    for (path, text) in sources() {
        let unsafe_lines = text.lines().filter(|line| line.contains("unsafe ") && !line.trim_start().starts_with("//"));
        assert!(path.starts_with("sys") || unsafe_lines.count() == 0, "{path:?} has unsafe code");
        assert!(text.lines().count() <= 620, "{path:?} is too long to be read");
    }
}
