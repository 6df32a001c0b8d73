//! Blocks of `console` in a page: commands behind `$`, and what they print.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::common::folder;
use crate::common::verdict::told;

const FENCE: &str = "```console";

/// Ends the output of each command. No command prints it.
const END: &str = "\u{1e}\n";

/// A page as it is with what its commands print now. They run in one shell, in an empty folder.
pub fn with_output(page: &str) -> String {
    let lines = parsed(page);
    let commands = lines.iter().filter_map(|line| match line {
        Line::Command(command) => Some(*command),
        Line::Other(_) => None,
    });
    let mut outputs = printed_by(commands).into_iter();
    let mut text = String::new();
    for line in &lines {
        match line {
            Line::Command(command) => {
                text.push_str(&format!("$ {command}\n{}", outputs.next().expect("it has ended")));
            }
            Line::Other(line) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

enum Line<'a> {
    Command(&'a str),
    /// Everything but commands and their output, which is left out.
    Other(&'a str),
}

fn parsed(page: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut is_transcript = false;
    for line in page.lines() {
        match line.strip_prefix("$ ").filter(|_| is_transcript) {
            Some(command) => lines.push(Line::Command(command)),
            None if is_transcript && line != "```" => {}
            None => {
                is_transcript = line == FENCE;
                lines.push(Line::Other(line));
            }
        }
    }
    lines
}

/// What each command prints.
fn printed_by<'a>(commands: impl Iterator<Item = &'a str>) -> Vec<String> {
    let root = folder();
    let [bin, work] = ["bin", "work"].map(|name| root.path().join(name));
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&work).unwrap();
    symlink(assert_cmd::cargo::cargo_bin!("aiocp"), bin.join("aiocp")).unwrap();
    symlink(assert_cmd::cargo::cargo_bin!("aiosum"), bin.join("aiosum")).unwrap();
    let mut script = String::new();
    for command in commands {
        // `$?` stays that of the command before.
        script.push_str(&format!("{command}\n{{ code=$?; printf '\\036\\n'; (exit $code); }}\n"));
    }
    let said = root.path().join("said");
    let output = File::create(&said).unwrap();
    Command::new("sh")
        .args(["-c", &script])
        .current_dir(&work)
        .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()))
        .env("LC_ALL", "C")
        .env("TERM", "dumb")
        .env_remove("AIOCP_CONFIG_PATH")
        .stdin(Stdio::null())
        .stderr(output.try_clone().unwrap())
        .stdout(output)
        .status()
        .unwrap();
    let said = fs::read_to_string(said).unwrap();
    let lines = |said: &str| told(said).iter().map(|line| format!("{line}\n")).collect();
    said.split_terminator(END).map(lines).collect()
}

#[test]
fn what_commands_print_is_put_behind_them() {
    let page = "# A\n```console\n$ echo one; echo two >&2\nold\n$ false\n$ echo $?\n```\n$ text\n";
    let wanted = "# A\n```console\n$ echo one; echo two >&2\none\ntwo\n$ false\n$ echo $?\n1\n```\n\
                  $ text\n";
    assert_eq!(with_output(page), wanted);
}
