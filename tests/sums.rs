//! `aiosum` and the tools of coreutils: BLAKE2b of any length, -C, and what is said when.

mod common;

use std::fs;
use std::process::{Command, Output};

use common::*;

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn lengths_of_blake2b_go_both_ways() {
    let Some(b2sum) = tool("b2sum") else { return };
    let folder = folder();
    let names = ["empty", "small", "block", "odd\\name"];
    for (name, len) in names.into_iter().zip([0, 5, 256, 70_001]) {
        fs::write(folder.path().join(name), noise(len, 1)).unwrap();
    }
    let theirs = || {
        let mut command = Command::new(&b2sum);
        command.current_dir(folder.path());
        command
    };
    let ours = || {
        let mut command = aiosum();
        command.current_dir(folder.path()).args(["--algorithm=blake2b"]);
        command
    };
    for bytes in [1, 20, 32, 63, 64] {
        let (in_bits, in_bytes) = (format!("-l{}", 8 * bytes), format!("-l{bytes}"));
        for tag in [&[][..], &["--tag"]] {
            let lines = run(theirs().arg(&in_bits).args(tag).args(names), 0);
            let same = run(ours().arg(&in_bytes).args(tag).args(names), 0);
            assert_eq!(stdout(&same), stdout(&lines));
            run_with(theirs().arg("--check"), &lines.stdout, 0);
            let checked = run_with(ours().arg("--check"), &lines.stdout, 0);
            assert_eq!(stdout(&checked).matches(": OK\n").count(), 4, "{checked:?}");
            if !tag.is_empty() {
                run_with(aiosum().current_dir(folder.path()).arg("--check"), &lines.stdout, 0);
                // The tag says how long the hash is.
                let other = stdout(&lines).replace(") = ", ") = 00");
                let said = stderr(&run_with(ours().arg("--check"), other.as_bytes(), 1));
                let wanted = format!("the hash is not the {} hexadecimal digits of", 2 * bytes);
                assert!(said.contains(&wanted), "{said}");
            }
        }
    }
    for args in [&["-l0"][..], &["-l65"], &["--seek=1"], &["--keyed"], &["--derive-key=x"]] {
        run(ours().args(args).arg("small"), 2);
    }
    run(aiosum().current_dir(folder.path()).args(["-asha512", "-l5", "small"]), 2);
}

#[test]
fn paths_start_from_the_directory_that_is_entered_first() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::write(at("a/b/file"), "x").unwrap();
    fs::write(at("a/patterns"), "no such\n").unwrap();
    let ours = |args: &[&str]| {
        let mut command = aiosum();
        command.current_dir(folder.path()).args(args);
        command
    };
    let line = format!("{}  b/file\n", blake3::hash(b"x"));
    for args in [
        &["-C", "a", "b"][..],
        &["-Ca", "b/file"],
        &["--directory=a", "b/"],
        &["-C", "a/b", "-C", "..", "b"],
        &["-Ca", "--exclude-from=patterns", "b"],
    ] {
        assert_eq!(stdout(&run(&mut ours(args), 0)), line, "{args:?}");
    }
    fs::write(at("a/sums"), &line).unwrap();
    for args in [
        &["-C", "a", "-c", "sums"][..],
        &["-Ca", "-c", "--audit=b", "sums"],
        &["-c", "-C", "a", "-C", ".", "sums"],
    ] {
        assert_eq!(stdout(&run(&mut ours(args), 0)), "b/file: OK\n", "{args:?}");
    }
    let said = stdout(&run_with(&mut ours(&["-Ca", "-c"]), line.as_bytes(), 0));
    assert_eq!(said, "b/file: OK\n", "the shell has opened the manifest before");
    let failed = run(&mut ours(&["-C", "a", "-C", "none", "b"]), 1);
    let wanted = "aiosum: cannot change to directory 'none': No such file or directory\n";
    assert_eq!((stdout(&failed), stderr(&failed)), (String::new(), wanted.to_owned()));
    let failed = run(&mut ours(&["-C", "a/sums", "b"]), 1);
    assert_eq!(stderr(&failed), "aiosum: cannot change to directory 'a/sums': Not a directory\n");
    // make enters several in this way.
    if have("make") {
        fs::write(at("a/b/Makefile"), "all:\n\t@pwd\n").unwrap();
        let mut make = Command::new("make");
        make.current_dir(folder.path()).args(["-s", "--no-print-directory", "-Ca", "-Cb"]);
        let entered = stdout(&run(&mut make, 0));
        assert_eq!(entered.trim_end(), at("a/b").canonicalize().unwrap().to_str().unwrap());
        let sum = stdout(&run(&mut ours(&["-Ca", "-Cb", "file"]), 0));
        assert!(sum.ends_with("  file\n"), "{sum}");
    }
}
