//! Names and manifests that strangers made: what is printed of them moves no cursor and turns no
//! letters around, and what they name is opened only if it is a file.

mod common;

use std::fs;

use common::hard::mknod;
use common::*;
use rustix::fs::FileType;

const NAMES: [(&str, &str); 4] = [
    ("invoice\u{202e}fdp.exe", "\\u{202e}"),
    ("\u{2066}isolated\u{2069}", "\\u{2066}"),
    ("zero\u{200b}width", "\\u{200b}"),
    ("esc\u{1b}[2Jape", "\\u{1b}"),
];

#[test]
fn messages_show_what_is_not_seen() {
    let folder = folder();
    fs::create_dir(folder.path().join("source")).unwrap();
    for (name, escaped) in NAMES {
        fs::write(folder.path().join("source").join(name), "x").unwrap();
        let path = format!("source/{name}");
        let output = run(aiocp().args(["-v", &path, "copy"]).current_dir(folder.path()), 0);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains(escaped) && !said.contains(name), "{said:?}");
        let missing = format!("source/no{name}");
        for mut command in [aiocp(), aiosum()] {
            let output = run(command.args([&missing, "copy"]).current_dir(folder.path()), 1);
            let said = stderr(&output);
            assert!(said.contains(escaped) && !said.contains(name), "{said:?}");
        }
    }
}

/// On a terminal; a pipe gets the lines that a check reads.
#[test]
fn sums_on_a_terminal_move_no_cursor() {
    if !have("script") {
        return;
    }
    let folder = folder();
    for (name, escaped) in NAMES {
        fs::write(folder.path().join(name), "x").unwrap();
        let lines = run(aiosum().arg(name).current_dir(folder.path()), 0).stdout;
        assert!(String::from_utf8(lines.clone()).unwrap().ends_with(&format!("  {name}\n")));
        fs::write(folder.path().join("sums"), lines).unwrap();
        for args in [&[name][..], &["--check", "sums"]] {
            let command = format!("\"$0\" {}", if args.len() == 1 { "\"$1\"" } else { "$1 $2" });
            let mut terminal = program("script");
            terminal.args(["-qec", &format!("sh -c '{command}' \"$PROGRAM\" \"$ONE\" $TWO")]);
            terminal.env("PROGRAM", assert_cmd::cargo::cargo_bin!("aiosum")).env("ONE", args[0]);
            terminal.env("TWO", args.get(1).unwrap_or(&"")).arg("/dev/null");
            let output = run(terminal.current_dir(folder.path()), 0);
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.contains(escaped) && !said.contains(name), "{said:?}");
            assert!(said.ends_with("\r\n"), "{said:?}");
        }
    }
}

/// Opening a device can rewind a tape or reset a machine; opening a FIFO wakes who waits at it.
#[test]
fn a_check_opens_nothing_but_files() {
    if !is_root("making devices") || !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    mknod(&at("pipe"), FileType::Fifo, 0);
    mknod(&at("null"), FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    std::os::unix::fs::symlink("/dev/zero", at("link")).unwrap();
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("file"), "contents").unwrap();
    let hash = blake3::hash(b"contents");
    let names = ["file", "pipe", "null", "link", "dir"];
    let lines: String = names.iter().map(|name| format!("{hash}  {name}\n")).collect();
    fs::write(at("sums"), lines).unwrap();
    for args in [&["--check", "sums"][..], &["--check", "--audit", ".", "sums"]] {
        let mut command = program("strace");
        command.args(["-f", "-o"]).arg(at("trace")).args(["-e", "trace=open,openat,openat2"]);
        command.arg(assert_cmd::cargo::cargo_bin!("aiosum")).args(args);
        let output = run(command.current_dir(folder.path()), 1);
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("file: OK") && said.matches("FAILED").count() >= 4, "{said}");
        for call in trace::calls(&at("trace")) {
            let is_other = ["\"pipe\"", "\"null\"", "\"link\"", "\"dir\""];
            let opens = is_other.iter().any(|name| call.contains(name));
            // An audit lists directories.
            assert!(!opens || call.contains("O_PATH") || call.contains("\"dir\""), "{call}");
        }
    }
}
