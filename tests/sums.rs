//! `aiosum` and the tools of coreutils: BLAKE2b of any length.

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
