//! Completions as a user meets them: installed by `make install` and typed in real shells on a
//! terminal.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{folder, have, program, run, skip};

mod common;

/// The text before the tab key, and the resulting words.
const TYPED: [(&str, &[&str]); 13] = [
    ("aiocp --exclude-f", &["--exclude-from"]),
    ("aiocp --direct=al", &["--direct=always"]),
    ("aiocp --direct al", &["--direct", "always"]),
    ("aiocp --update=ol", &["--update=older"]),
    ("aiocp --preserve=ow", &["--preserve=ownership"]),
    ("aiocp --preserve=mode,ow", &["--preserve=mode,ownership"]),
    ("aiocp odd", &["odd name"]),
    ("aiocp -a odd", &["-a", "odd name"]),
    // An optional value is not a word of its own.
    ("aiocp --preserve mo", &["--preserve", "more"]),
    ("aiocp --update odd", &["--update", "odd name"]),
    ("aiocp -t fol", &["-t", "folder here"]),
    ("aiosum --algorithm=sha25", &["--algorithm=sha256"]),
    ("aiosum --check odd", &["--check", "odd name"]),
];

/// Stands in for the commands in a shell under test, and shows their words.
const SHOWING: &str = "printf '<%s>'";

/// What bash needs to load completions as they are asked for.
const BASH_COMPLETION: &str = "/usr/share/bash-completion/bash_completion";

fn has_bash_completion() -> bool {
    let is_there = Path::new(BASH_COMPLETION).exists();
    if !is_there {
        skip("bash-completion is missing (Debian package bash-completion)");
    }
    is_there
}

fn make(target: &str, destination: &Path) {
    let binaries = Path::new(assert_cmd::cargo::cargo_bin!("aiocp")).parent().unwrap();
    let mut command = program("make");
    command.args(["-C", env!("CARGO_MANIFEST_DIR"), "PREFIX=/usr", target]);
    command
        .arg(format!("DESTDIR={}", destination.display()))
        .arg(format!("BIN={}", binaries.display()));
    run(&mut command, 0);
}

fn files(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    files.map(|entry| entry.path().strip_prefix(folder).unwrap().display().to_string()).collect()
}

/// Types every line into an interactive shell, with a tab key at its end, and checks the resulting
/// words.
fn complete(shell: &str, home: &Path) {
    let work = home.join("work");
    fs::create_dir_all(work.join("folder here")).unwrap();
    fs::write(work.join("odd name"), "").unwrap();
    fs::write(work.join("more"), "").unwrap();
    let mut terminal = program("script")
        .args(["-qfec", shell, "/dev/null"])
        .current_dir(&work)
        .env("HOME", home)
        .env("ZDOTDIR", home)
        .env("XDG_CONFIG_HOME", home)
        .env("XDG_DATA_DIRS", home.join("usr/share"))
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let keys: String = TYPED.iter().map(|(typed, _)| format!("{typed}\t\n")).collect();
    terminal.stdin.take().unwrap().write_all(format!("{keys}exit\n").as_bytes()).unwrap();
    let output = terminal.wait_with_output().unwrap();
    let screen = String::from_utf8(output.stdout).unwrap();
    let shown: Vec<_> =
        screen.lines().filter_map(|line| Some(&line[line.find('<')?..=line.rfind('>')?])).collect();
    // Some shells keep the slash at the end of a folder, and some remove it.
    let shown: Vec<_> = shown.into_iter().map(|words| words.replace("/>", ">")).collect();
    let wanted: Vec<String> = TYPED
        .iter()
        .map(|(_, words)| words.iter().map(|word| format!("<{word}>")).collect())
        .collect();
    assert_eq!(shown, wanted, "{shell} showed {screen}");
}

#[test]
fn flags_values_and_paths_complete_in_bash() {
    if !has_bash_completion() || !["bash", "script", "make"].into_iter().all(have) {
        return;
    }
    let home = folder();
    make("install", home.path());
    let functions = ["aiocp", "aiosum"]
        .map(|name| format!("{name}() {{ {SHOWING} \"$@\"; echo; }}\n"))
        .concat();
    let rc = home.path().join("rc");
    fs::write(&rc, format!(". {BASH_COMPLETION}\nPS1='$ '\n{functions}")).unwrap();
    complete(&format!("bash --noprofile --rcfile '{}' -i", rc.display()), home.path());
}

#[test]
fn flags_values_and_paths_complete_in_zsh() {
    if !["zsh", "script", "make"].into_iter().all(have) {
        return;
    }
    let home = folder();
    make("install", home.path());
    let functions = ["aiocp", "aiosum"]
        .map(|name| format!("{name}() {{ {SHOWING} \"$@\"; echo; }}\n"))
        .concat();
    let place = home.path().join("usr/share/zsh/site-functions");
    let rc = format!(
        "fpath=('{}' $fpath)\nautoload -Uz compinit\ncompinit -u -D\nPS1='$ '\n",
        place.display()
    );
    fs::write(home.path().join(".zshrc"), rc + &functions).unwrap();
    complete("zsh -i", home.path());
}

#[test]
fn flags_values_and_paths_complete_in_fish() {
    if !["fish", "script", "make"].into_iter().all(have) {
        return;
    }
    let home = folder();
    make("install", home.path());
    let functions = ["aiocp", "aiosum"]
        .map(|name| format!("function {name}; {SHOWING} $argv; echo; end\n"))
        .concat();
    fs::create_dir(home.path().join("fish")).unwrap();
    let rc = format!("set fish_greeting\nfunction fish_prompt; echo '$ '; end\n{functions}");
    fs::write(home.path().join("fish/config.fish"), rc).unwrap();
    complete("fish -i", home.path());
}

#[test]
fn make_puts_everything_in_its_place_and_takes_it_away() {
    if !have("make") {
        return;
    }
    let place = folder();
    make("install", place.path());
    let share = [
        "bash-completion/completions/NAME",
        "elvish/lib/NAME.elv",
        "fish/vendor_completions.d/NAME.fish",
    ]
    .into_iter()
    .chain(["man/man1/NAME.1", "zsh/site-functions/_NAME"])
    .map(|file| format!("usr/share/{file}"));
    let all = share.chain(["usr/bin/NAME".to_owned()]);
    let mut wanted: Vec<_> =
        all.flat_map(|file| ["aiocp", "aiosum"].map(|name| file.replace("NAME", name))).collect();
    wanted.sort();
    let mut found = files(place.path());
    found.sort();
    assert_eq!(found, wanted);
    let version = run(Command::new(place.path().join("usr/bin/aiosum")).arg("--version"), 0);
    assert!(version.stdout.starts_with(b"aiosum "), "{version:?}");
    make("uninstall", place.path());
    assert!(files(place.path()).is_empty());
}
