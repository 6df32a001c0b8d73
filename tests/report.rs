//! The page of `--report`: it needs no other file, and says what happened.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use common::*;

fn in_folder(folder: &Path, args: &[&str]) -> Command {
    let mut command = aiocp();
    command.current_dir(folder).args(args);
    command
}

/// The text that a reader sees: without tags and styles, with single spaces.
fn text(page: &str) -> String {
    let (_, body) = page.split_once("<body").unwrap();
    let pieces = body.split('<').map(|piece| piece.split_once('>').map_or("", |(_, text)| text));
    let text = pieces.collect::<Vec<_>>().join(" ").replace("&#39;", "'").replace('\u{a0}', " ");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_page_says_what_happened_and_asks_for_nothing_else() {
    let folder = folder();
    fs::create_dir(folder.path().join("from")).unwrap();
    fs::write(folder.path().join("from/big"), noise(5 << 20, 1)).unwrap();
    fs::write(folder.path().join("from/<script>alert(1)"), "x").unwrap();
    let args = ["--report", "run.html", "--direct=always", "--verify", "from", "to"];
    run(&mut in_folder(folder.path(), &args), 0);
    let page = fs::read_to_string(folder.path().join("run.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") || page.starts_with("<!doctype html>"));
    for foreign in ["<script", "http:", "https:", "src=", "@import", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let text = text(&page);
    for said in [
        "Everything was copied and is durable",
        "to/big",
        "direct",
        "Latency",
        "Queue depth",
        "nothing failed",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(text.contains("--report run.html --direct=always --verify from to"), "{text}");
    assert!(!page.contains("NaN") && !page.contains("inf,"), "{page}");
}

#[test]
fn failures_and_other_runs_are_told_as_what_they_are() {
    let folder = folder();
    fs::create_dir_all(folder.path().join("from/pipe")).unwrap();
    fs::write(folder.path().join("from/a"), "x").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path().join("from/fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    let page = |args: &[&str], code| {
        run(&mut in_folder(folder.path(), &[&["--report=run.html", "-T"], args].concat()), code);
        text(&fs::read_to_string(folder.path().join("run.html")).unwrap())
    };
    let failed = page(&["from", "to"], 1);
    assert!(
        failed.contains("cannot copy 'from/fifo': it is a FIFO, which is not copied"),
        "{failed}"
    );
    assert!(failed.contains("Exit code 1"), "{failed}");
    fs::remove_file(folder.path().join("from/fifo")).unwrap();
    fs::write(folder.path().join("to/a"), "y").unwrap();
    let compared = page(&["--verify-only", "from", "to"], 3);
    assert!(compared.contains("Exit code 3") && !compared.contains("was copied"), "{compared}");
    let planned = page(&["--dry-run", "from", "to"], 0);
    assert!(planned.contains("would") && !planned.contains("durable"), "{planned}");
}

#[test]
fn a_page_that_cannot_be_written_is_told() {
    let folder = folder();
    fs::write(folder.path().join("a"), "x").unwrap();
    let output = run(&mut in_folder(folder.path(), &["--report", "no/run.html", "a", "b"]), 1);
    assert_eq!(stderr(&output), "aiocp: cannot write 'no/run.html': No such file or directory\n");
    assert!(!folder.path().join("b").exists(), "it is refused before anything is copied");
    let output = run(&mut in_folder(folder.path(), &["--report=-", "-v", "a", "b"]), 2);
    assert!(stderr(&output).contains("--report=- needs stdout for itself"), "{output:?}");
    let output = run(&mut in_folder(folder.path(), &["--report=-", "a", "b"]), 0);
    assert!(output.stdout.ends_with(b"</html>\n"), "{output:?}");
    // The report does not take a copy's own name.
    let output = run(&mut in_folder(folder.path(), &["--report=b", "a", "b"]), 1);
    assert!(
        stderr(&output).contains("the report would overwrite 'b', and is not written"),
        "{output:?}"
    );
    assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"x");
}

#[test]
fn a_page_that_cannot_be_written_leaves_the_journal_and_counts() {
    let folder = folder();
    fs::write(folder.path().join("a"), "x").unwrap();
    // The report may lie in a folder that the copy makes; this copy makes none.
    let args = ["--resume", "--json", "--report=b/no/run.html", "a", "b"];
    let output = run(&mut in_folder(folder.path(), &args), 1);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.lines().last().unwrap().contains("\"failed\":1,"), "{said}");
    assert!(!litter(folder.path()).is_empty(), "the journal stays");
    run(&mut in_folder(folder.path(), &["--resume", "a", "b"]), 0);
    assert!(litter(folder.path()).is_empty(), "and goes with the run that had no failure");
}
