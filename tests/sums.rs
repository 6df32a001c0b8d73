//! `aiosum` and the tools of coreutils: BLAKE2b of any length, -C, and what is said when.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
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
        let mut make = program("make");
        make.current_dir(folder.path()).args(["-s", "--no-print-directory", "-Ca", "-Cb"]);
        let entered = stdout(&run(&mut make, 0));
        assert_eq!(entered.trim_end(), at("a/b").canonicalize().unwrap().to_str().unwrap());
        let sum = stdout(&run(&mut ours(&["-Ca", "-Cb", "file"]), 0));
        assert!(sum.ends_with("  file\n"), "{sum}");
    }
}

/// The hints of a check of these lines.
fn hints(root: &Path, args: &[&str], lines: &str) -> Vec<String> {
    let mut command = aiosum();
    command.current_dir(root).arg("--check").args(args);
    let said = stderr(&run_with(&mut command, lines.as_bytes(), 1));
    let hints = said.lines().filter_map(|line| line.strip_prefix("aiosum: hint: "));
    hints.map(str::to_owned).collect()
}

#[test]
fn a_manifest_of_which_nothing_is_right_gets_a_hint() {
    let folder = folder();
    let root = folder.path();
    for name in ["a", "b"] {
        fs::write(root.join(name), name).unwrap();
    }
    fs::create_dir(root.join("sub")).unwrap();
    let sums = |args: &[&str], names: &[&str]| {
        let mut command = aiosum();
        stdout(&run(command.current_dir(root).args(args).args(names), 0))
    };
    let of = |algorithm: &str| sums(&["-a", algorithm], &["a", "b"]);
    let said = |args: &[&str], lines: &str| hints(root, args, lines).join("; ");
    let alike = |digits: u32, algorithms: &str| {
        format!("hashes of {digits} digits may be those of --algorithm {algorithms}")
    };
    let assumed = "lines without a tag are taken for BLAKE3's; --algorithm says otherwise, such \
                   as --algorithm sha256";
    assert_eq!(said(&[], &of("sha256")), assumed);
    assert_eq!(said(&["-asha256"], &of("blake3")), alike(64, "blake3"));
    assert_eq!(said(&["-asha512"], &of("blake2b")), alike(128, "blake2b"));
    assert_eq!(said(&[], &of("sha512")), alike(128, "sha512 or blake2b"));
    assert_eq!(said(&["-asha1"], &of("md5")), alike(32, "md5 or xxh128"));
    assert_eq!(said(&["-asha1"], &of("sha1").replace(' ', "0 ")), "");
    let first = |lines: String| lines.split_inclusive('\n').next().unwrap().to_owned();
    assert_eq!(said(&["-asha256"], &first(of("blake3"))), "", "one file alone may be damaged");
    let keyed = said(&["--derive-key=x"], &of("blake3"));
    assert_eq!(keyed, "these hashes may have another key or context");
    // What is right in part is of the right algorithm, and in the right place.
    let half = of("blake3") + &of("sha256");
    assert_eq!(said(&[], &half), "");
    let here = "none of the files is here; -C DIRECTORY enters the one that the names start from";
    for args in [&["-Csub"][..], &["-Csub", "--ignore-missing"]] {
        assert_eq!(said(args, &of("blake3")), here, "{args:?}");
    }
    assert_eq!(said(&["--quiet", "-Csub", "-asha1"], &of("sha1")), here);
    let absolute = of("blake3").replace("  ", "  /nowhere/");
    assert_eq!(said(&[], &absolute), "", "no directory makes it right");
    assert_eq!(said(&[], &(of("blake3") + &of("blake3").replace("  ", "  no"))), "");
    // A tag says the algorithm, and one file alone may be damaged.
    let tagged = sums(&["--tag"], &["a", "b"]).replace("(a", "(c").replace("(b", "(a");
    let tagged = tagged.replace("(c", "(b");
    let elsewhere = "no file is as its line says; -C DIRECTORY checks those of another one";
    assert_eq!(said(&[], &tagged), elsewhere);
    assert_eq!(said(&[], &first(tagged)), "");
    // Each manifest has its own.
    fs::write(root.join("one"), of("sha256")).unwrap();
    fs::write(root.join("two"), of("blake3")).unwrap();
    fs::write(root.join("three"), of("blake3").replace("  ", "  no")).unwrap();
    assert_eq!(said(&["one", "two", "three"], ""), [assumed, here].join("; "));
}

#[test]
fn status_prints_nothing_at_all() {
    let folder = folder();
    let root = folder.path();
    fs::write(root.join("a"), "a").unwrap();
    fs::create_dir(root.join("dir")).unwrap();
    let good = format!("{}  a\n", blake3::hash(b"a"));
    let zeros = "00".repeat(32);
    let silent = |args: &[&str], lines: &str, code: i32| {
        let mut command = aiosum();
        command.current_dir(root).args(["--check", "--status"]).args(args);
        let output = run_with(&mut command, lines.as_bytes(), code);
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}: {output:?}");
    };
    for (lines, code) in [
        (&*good, 0),
        (&*format!("{zeros}  a\n"), 1),
        (&*format!("{zeros}  none\n"), 1),
        (&*format!("{zeros}  dir\n"), 1),
        ("nonsense\n", 1),
        (&*"nonsense\n".repeat(200), 1),
        ("", 1),
        (&*format!("SM3 (a) = {zeros}\n"), 1),
        (&*(good.clone() + "nonsense\n"), 1),
    ] {
        silent(&[], lines, code);
        for args in [&["--warn"][..], &["--quiet"], &["--debug"], &["--progress"]] {
            silent(args, lines, code);
        }
    }
    for args in [
        &["none"][..],
        &["dir"],
        &["--audit=none"],
        &["--audit=."],
        &["-C", "none"],
        &["--exclude-from=none"],
        &["--keyed", "none"],
        &["--exclude=*"],
    ] {
        silent(args, if args == ["--audit=."] { "nonsense" } else { &good }, 1);
    }
    silent(&["--ignore-missing"], &format!("{zeros}  none\n"), 1);
    // A command line that makes no sense is said to be that.
    for args in [&["--tag"][..], &["-a", "sm3"], &["--no-such-option"], &["-", "-"]] {
        let mut command = aiosum();
        let output = run(command.args(["--check", "--status"]).args(args), 2);
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_check_that_checks_nothing_fails() {
    let folder = folder();
    let root = folder.path();
    for name in ["a", "b.log"] {
        fs::write(root.join(name), name).unwrap();
    }
    let sums = run(aiosum().current_dir(root).args(["a", "b.log"]), 0).stdout;
    let check = |args: &[&str], code: i32| {
        let mut command = aiosum();
        let output = run_with(command.current_dir(root).arg("--check").args(args), &sums, code);
        assert!(!stdout(&output).contains("FAILED"), "{output:?}");
        stderr(&output)
    };
    let nothing = "aiosum: cannot check: the filter leaves out every file\n\
                   aiosum: 2 lines were not checked: the filter leaves the files out\n";
    for filter in ["--exclude=*", "--min-size=1M", "--max-size=0"] {
        assert_eq!(check(&[filter], 1), nothing, "{filter}");
        assert_eq!(check(&["--quiet", filter], 1), nothing, "{filter}");
        assert_eq!(check(&["--status", filter], 1), "", "{filter}");
    }
    assert_eq!(
        check(&["--exclude=*.log"], 0),
        "aiosum: 1 line was not checked: the filter leaves the files out\n"
    );
    // Where some are left out and the others are not there, the latter is said.
    fs::create_dir(root.join("sub")).unwrap();
    let said = check(&["-Csub", "--ignore-missing", "--exclude=*.log"], 1);
    assert!(said.contains("aiosum: cannot check: no file was there to be verified\n"), "{said}");
    assert!(!said.contains("leaves out every file"), "{said}");
}

#[test]
fn quiet_leaves_lines_and_errors() {
    let folder = folder();
    let root = folder.path();
    fs::write(root.join("a"), "a").unwrap();
    fs::create_dir(root.join("odd")).unwrap();
    fs::write(root.join("odd").join(OsStr::from_bytes(b"\xff")), "").unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("odd/fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let sum = |args: &[&str], code: i32| {
        let mut command = aiosum();
        run(command.current_dir(root).args(args), code)
    };
    let loud = sum(&["odd", "a"], 0);
    assert_eq!(stderr(&loud).lines().count(), 2, "a FIFO, and a name: {loud:?}");
    for quiet in ["-q", "--quiet"] {
        let still = sum(&[quiet, "odd", "a"], 0);
        assert_eq!((stdout(&still), stderr(&still)), (stdout(&loud), String::new()));
    }
    let failed = sum(&["-q", "odd", "none", "a"], 1);
    let said = "aiosum: cannot open 'none': No such file or directory\n";
    assert_eq!((stdout(&failed), stderr(&failed)), (stdout(&loud), said.to_owned()));
    // The output is left out without a word.
    let mut command = aiosum();
    let out = fs::File::create(root.join("out")).unwrap();
    let output = command.current_dir(root).args(["-q", "out", "a"]).stdout(out);
    let output = output.stderr(std::process::Stdio::piped()).output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    assert_eq!(fs::read_to_string(root.join("out")).unwrap().lines().count(), 1);
    // A check goes on to say what it says with coreutils' --quiet.
    let sums = format!("{}  a\n{}  odd/none\n", blake3::hash(b"a"), "00".repeat(32));
    let mut command = aiosum();
    let output = run_with(command.current_dir(root).args(["-q", "-c"]), sums.as_bytes(), 1);
    assert_eq!(stdout(&output), "odd/none: FAILED (No such file or directory)\n");
    assert_eq!(stderr(&output), "aiosum: WARNING: 1 listed file could not be read\n");
}
