//! `aiosum --check`: its flags, its verdicts, and hostile manifests.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Output, Stdio};

use common::*;
use proptest::prelude::*;

fn check(root: &Path, args: &[&str], manifest: &[u8], code: i32) -> Output {
    run_with(aiosum().current_dir(root).arg("--check").args(args), manifest, code)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn line(contents: &[u8], name: &str) -> String {
    format!("{}  {name}\n", blake3::hash(contents))
}

/// Makes files `a`, `b` and `c` with their names as contents.
fn three(root: &Path) -> String {
    for name in ["a", "b", "c"] {
        fs::write(root.join(name), name).unwrap();
    }
    ["a", "b", "c"].map(|name| line(name.as_bytes(), name)).concat()
}

#[test]
fn verdicts_come_in_the_manifests_order_and_the_flags_do_what_cksum_does() {
    let folder = folder();
    let root = folder.path();
    let good = three(root);
    assert_eq!(stdout(&check(root, &[], good.as_bytes(), 0)), "a: OK\nb: OK\nc: OK\n");
    let mixed = [&line(b"c", "c"), &line(b"x", "b"), &line(b"n", "none"), &line(b"a", "a")]
        .map(|s| s.as_str())
        .concat();
    let output = check(root, &[], mixed.as_bytes(), 1);
    assert_eq!(
        stdout(&output),
        "c: OK\nb: FAILED\nnone: FAILED (No such file or directory)\na: OK\n"
    );
    let warnings = "aiosum: WARNING: 1 listed file could not be read\n\
                    aiosum: WARNING: 1 computed checksum did NOT match\n";
    assert_eq!(stderr(&output), warnings);
    let output = check(root, &["--quiet"], mixed.as_bytes(), 1);
    assert_eq!(stdout(&output), "b: FAILED\nnone: FAILED (No such file or directory)\n");
    let output = check(root, &["--status"], mixed.as_bytes(), 1);
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let output = check(root, &["--ignore-missing", "--strict", "--warn"], mixed.as_bytes(), 1);
    assert_eq!(stdout(&output), "c: OK\nb: FAILED\na: OK\n");
    check(
        root,
        &["--ignore-missing"],
        [&good, &line(b"n", "none")].map(|s| s.as_str()).concat().as_bytes(),
        0,
    );
    let output = check(root, &["--ignore-missing"], line(b"n", "none").as_bytes(), 1);
    let said = "aiosum: cannot check: no file was there to be verified\naiosum: hint: none of the \
                files is here; -C DIRECTORY enters the one that the names start from\n";
    assert_eq!(stderr(&output), said);
    // Of several manifests one is missing; the others still count.
    fs::write(root.join("sums"), &good).unwrap();
    let output = check(root, &["sums", "gone", "-", "."], line(b"c", "c").as_bytes(), 1);
    assert_eq!(stdout(&output), "a: OK\nb: OK\nc: OK\nc: OK\n");
    assert!(
        stderr(&output).contains("cannot open 'gone': No such file or directory"),
        "{output:?}"
    );
    assert!(stderr(&output).contains("cannot read '.': Is a directory"), "{output:?}");
    // Standard input can be the file to check.
    fs::write(root.join("sums"), line(b"input", "-")).unwrap();
    assert_eq!(stdout(&check(root, &["sums"], b"input", 0)), "-: OK\n");
    check(root, &["sums"], b"other", 1);
    let output = check(root, &["-"], line(b"input", "-").as_bytes(), 1);
    assert_eq!(stdout(&output), "-: FAILED (standard input is in use already)\n");
}

#[test]
fn many_lines_keep_their_order_also_when_an_early_file_is_the_slowest() {
    let folder = folder();
    let root = folder.path();
    let big = noise(40 << 20, 1);
    fs::write(root.join("big"), &big).unwrap();
    let (mut manifest, mut want) = (line(&big, "big"), "big: OK\n".to_owned());
    for n in 0..6000 {
        if n < 200 {
            fs::write(root.join(n.to_string()), n.to_string()).unwrap();
        }
        let name = (n * 7 % 200).to_string();
        manifest +=
            &if n % 11 == 0 { "nonsense\n".to_owned() } else { line(name.as_bytes(), &name) };
        want += &if n % 11 == 0 { String::new() } else { format!("{name}: OK\n") };
    }
    let output = check(root, &[], manifest.as_bytes(), 1);
    assert_eq!(stdout(&output), want);
    let numbers: Vec<u32> = stderr(&output)
        .lines()
        .filter_map(|line| {
            line.strip_prefix("aiosum: cannot read line ")?.split(' ').next()?.parse().ok()
        })
        .collect();
    assert_eq!(numbers, (0..6000).step_by(11).map(|n| n + 2).collect::<Vec<_>>());
}

#[test]
fn keyed_and_derived_lines_are_checked_with_their_mode_alone() {
    let folder = folder();
    let root = folder.path();
    three(root);
    let key = noise(32, 7);
    let names = ["a", "b", "c"];
    let keyed = run_with(aiosum().current_dir(root).arg("--keyed").args(names), &key, 0).stdout;
    fs::write(root.join("keyed"), &keyed).unwrap();
    check(root, &["--keyed", "keyed"], &key, 0);
    check(root, &["--keyed", "keyed"], &noise(32, 8), 1);
    check(root, &["keyed"], b"", 1);
    let derived = run(aiosum().current_dir(root).args(["--derive-key=x"]).args(names), 0).stdout;
    check(root, &["--derive-key=x"], &derived, 0);
    check(root, &["--derive-key=y"], &derived, 1);
    // A line that needs no key does not bypass it.
    let plain =
        run(aiosum().current_dir(root).args(["--algorithm=sha256", "--tag"]).args(names), 0).stdout;
    fs::write(root.join("plain"), &plain).unwrap();
    check(root, &["plain"], b"", 0);
    let output = check(root, &["--keyed", "plain"], &key, 1);
    assert!(
        stderr(&output).contains("it is a line of SHA256, and BLAKE3 is asked for"),
        "{output:?}"
    );
}

#[test]
fn what_is_no_manifest_does_not_flood_the_terminal() {
    let folder = folder();
    three(folder.path());
    let (lines, good) = ("no line\n".repeat(900), line(b"a", "a"));
    let named =
        |args: &[&str], manifest: &str| stderr(&check(folder.path(), args, manifest.as_bytes(), 1));
    let none = "aiosum: cannot check '-': no line in it is properly formatted; line 1";
    let reason = "it is neither 'HASH  NAME' nor 'TAG (NAME) = HASH'";
    assert_eq!(named(&[], "no line\n"), format!("{none}: {reason}\n"));
    assert_eq!(named(&[], &lines), format!("{none} of 900: {reason}\n"));
    assert_eq!(named(&["--warn"], &lines).matches("aiosum: cannot read line ").count(), 900);
    assert_eq!(named(&["--status"], &lines), "");
    // One good line makes it a manifest.
    let said = named(&[], &(lines.clone() + &good));
    assert_eq!(said.matches("aiosum: cannot read line ").count(), 100, "{said}");
    assert!(
        said.contains("\naiosum: 800 more such lines are not named; --warn names all\n"),
        "{said}"
    );
    assert!(said.ends_with("\naiosum: WARNING: 900 lines are improperly formatted\n"), "{said}");
    // What is hardly one is not read to its end.
    let hint = "aiosum: hint: --warn reads it to its end, and names each line\n";
    let long = lines.repeat(2) + &good;
    assert_eq!(named(&[], &long), format!("{none} of the first 1000: {reason}\n{hint}"));
    let said = named(&["--warn"], &long);
    assert_eq!(said.matches("aiosum: cannot read line ").count(), 1800);
    assert!(said.ends_with("\naiosum: WARNING: 1800 lines are improperly formatted\n"), "{said}");
    let binary = format!("\0binary\n{lines}{good}");
    assert_eq!(named(&[], &binary), format!("{none}: {reason}\n{hint}"));
    // The other manifests are read all the same, and a hint follows.
    fs::write(folder.path().join("good"), &good).unwrap();
    let sha512 = format!("{}  a\n", "0".repeat(128)).repeat(3);
    let output = check(folder.path(), &["-", "good"], sha512.as_bytes(), 1);
    assert_eq!(stdout(&output), "a: OK\n");
    assert_eq!(
        stderr(&output),
        format!(
            "{none} of 3: the hash is not the 64 hexadecimal digits of BLAKE3 (see --algorithm)\n\
             aiosum: hint: hashes of 128 digits may be those of --algorithm sha512 or blake2b\n"
        )
    );
}

#[test]
fn a_large_file_that_is_no_manifest_is_not_read() {
    let folder = folder();
    // Reading it would take hours.
    fs::File::create(folder.path().join("disk")).unwrap().set_len(1 << 40).unwrap();
    let said = stderr(&check(folder.path(), &["disk"], b"", 1));
    assert!(
        said.starts_with(
            "aiosum: cannot check 'disk': no line in it is properly formatted; line 1: the line \
             is longer than 8388608 bytes\naiosum: hint: --warn "
        ),
        "{said}"
    );
}

#[test]
fn malformed_lines_are_each_named_and_fail() {
    let folder = folder();
    let root = folder.path();
    let good = three(root);
    let zeros = "00".repeat(32);
    for (bad, reason) in [
        ("\n".to_owned(), "the line is empty"),
        ("# comment\n".to_owned(), "it is neither 'HASH  NAME' nor 'TAG (NAME) = HASH'"),
        (format!("{zeros}\n"), "it is neither 'HASH  NAME' nor 'TAG (NAME) = HASH'"),
        (format!("{zeros}  \n"), "the name is empty"),
        (format!("{zeros}  a\0b\n"), "there is a NUL in the name (see --zero)"),
        (format!("\\{zeros}  a\\x\n"), "a backslash in the name begins no escape"),
        (
            format!("{}  a\n", &zeros[2..]),
            "the hash is not the 64 hexadecimal digits of BLAKE3 (see --algorithm)",
        ),
        (format!("{zeros}  {}\n", "x".repeat(9 << 20)), "the line is longer than 8388608 bytes"),
    ] {
        let manifest = [&good, &bad, &line(b"a", "a")].map(|s| s.as_str()).concat();
        let output = check(root, &[], manifest.as_bytes(), 1);
        assert_eq!(stdout(&output), "a: OK\nb: OK\nc: OK\na: OK\n");
        let said = format!(
            "aiosum: cannot read line 4 of '-': {reason}\n\
             aiosum: WARNING: 1 line is improperly formatted\n"
        );
        assert_eq!(stderr(&output), said);
        let output = check(root, &["--status"], manifest.as_bytes(), 1);
        assert!(output.stdout.is_empty() && output.stderr.is_empty());
    }
    for empty in [&b""[..], b"\n", b"junk", &noise(100_000, 5)] {
        let output = check(root, &[], empty, 1);
        assert!(
            stderr(&output).contains("cannot check '-': no line in it is properly formatted"),
            "{output:?}"
        );
        assert!(output.stdout.is_empty());
    }
    // Comments are accepted where coreutils accepts them.
    let sha = run(aiosum().current_dir(root).args(["--algorithm=sha256", "a"]), 0).stdout;
    check(root, &["--algorithm=sha256"], &[b"# comment\n", &sha[..]].concat(), 0);
    // Line ends of Windows, and a last line without one.
    check(root, &[], good.replace('\n', "\r\n").as_bytes(), 0);
    check(root, &[], good.trim_end().as_bytes(), 0);
}

#[test]
fn an_endless_line_takes_no_memory() {
    let folder = folder();
    three(folder.path());
    let mut command = aiosum();
    command
        .current_dir(folder.path())
        .arg("--check")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let chunk = vec![b'a'; 1 << 20];
    for _ in 0..300 {
        stdin.write_all(&chunk).unwrap();
    }
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    stdin.write_all(format!("\n{}", line(b"a", "a")).as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), "a: OK\n".to_owned()));
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .unwrap();
    assert!(peak.parse::<u64>().unwrap() < 64 << 10, "{peak} KiB");
}

/// The lines before the error were held back until a good one comes.
#[test]
fn what_was_read_before_an_error_is_told() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    fs::write(folder.path().join("sums"), "no line\nnor this\n").unwrap();
    let fault = ["-P", "sums", "-e", "trace=read", "-e", "inject=read:error=EIO:when=2"];
    let mut command = program("strace");
    command.args(["-f", "-o", "trace"]).args(fault).arg(assert_cmd::cargo::cargo_bin!("aiosum"));
    let output = run(command.args(["--check", "sums"]).current_dir(folder.path()), 1);
    let said = stderr(&output);
    for wanted in ["line 1", "line 2", "cannot read 'sums': Input/output error"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn a_check_reads_regular_files_alone_and_waits_for_nothing() {
    let folder = folder();
    let root = folder.path();
    three(root);
    fs::create_dir(root.join("dir")).unwrap();
    let fifo = root.join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    symlink("a", root.join("link")).unwrap();
    let above = format!("../{}/a", root.file_name().unwrap().to_str().unwrap());
    let absolute = root.join("a").to_str().unwrap().to_owned();
    let names = ["fifo", "/dev/zero", "/dev/stdin", "dir", "link", &above, &absolute, "a/b"];
    let manifest = names.map(|name| line(b"a", name)).concat();
    let output = check(root, &[], manifest.as_bytes(), 1);
    let want = format!(
        "fifo: FAILED (it is a FIFO, and no regular file)\n\
         /dev/zero: FAILED (it is a character device, and no regular file)\n\
         /dev/stdin: FAILED (it is a FIFO, and no regular file)\n\
         dir: FAILED (Is a directory)\nlink: OK\n{above}: OK\n{absolute}: OK\n\
         a/b: FAILED (Not a directory)\n"
    );
    assert_eq!(stdout(&output), want);
}

#[test]
fn an_audit_names_what_no_line_names_and_touches_nothing_outside() {
    let folder = folder();
    let root = folder.path().join("tree");
    fs::create_dir_all(root.join("sub/deep")).unwrap();
    three(&root);
    fs::write(root.join("sub/deep/x"), "x").unwrap();
    fs::write(folder.path().join("outside"), "outside").unwrap();
    symlink("../outside", root.join("out")).unwrap();
    symlink("sub", root.join("in")).unwrap();
    symlink("tree", folder.path().join("way")).unwrap();
    let all = run(aiosum().current_dir(&root).arg("."), 0).stdout;
    check(&root, &["--audit", "."], &all, 0);
    // The audit works however the directory and the names are written, and with the manifest
    // inside.
    for (cwd, dir) in [
        (folder.path(), "tree"),
        (folder.path(), "way"),
        (folder.path(), "./tree/"),
        (&*root, "../tree"),
    ] {
        let operand = if cwd == root { "." } else { dir };
        let lines = run(aiosum().current_dir(cwd).arg(operand), 0).stdout;
        fs::write(root.join("sums"), lines).unwrap();
        let manifest = root.join("sums");
        let output = check(cwd, &["--audit", dir, manifest.to_str().unwrap()], b"", 0);
        assert_eq!(stdout(&output).lines().count(), 4, "{dir}");
        fs::remove_file(manifest).unwrap();
    }
    fs::write(root.join("sub/new\nname"), "").unwrap();
    fs::write(root.join("b.new"), "").unwrap();
    let output =
        check(folder.path(), &["--audit", "tree", "-"], line(b"a", "tree/a").as_bytes(), 1);
    let want = "tree/a: OK\ntree/b: FAILED (no manifest names it)\n\
                tree/b.new: FAILED (no manifest names it)\n\
                tree/c: FAILED (no manifest names it)\n\
                tree/sub/deep/x: FAILED (no manifest names it)\n\
                \\tree/sub/new\\nname: FAILED (no manifest names it)\n";
    assert_eq!(stdout(&output), want);
    assert_eq!(stderr(&output), "aiosum: WARNING: 5 files are in no manifest\n");
    let outside = folder.path().join("outside").to_str().unwrap().to_owned();
    let names =
        ["../outside", "out", &outside, "/etc/passwd", "sub/../../outside", "in/deep/x", "-", "."];
    let manifest =
        names.map(|name| line(if name == "in/deep/x" { b"x" } else { b"outside" }, name)).concat();
    let output = check(&root, &["--audit", "."], manifest.as_bytes(), 1);
    let verdicts: Vec<String> = stdout(&output).lines().take(8).map(str::to_owned).collect();
    for (name, verdict) in names.iter().zip(&verdicts) {
        let want = match *name {
            "in/deep/x" => "OK",
            "-" => "FAILED (No such file or directory)",
            "." => "FAILED (Is a directory)",
            _ => "FAILED (it is outside the audited directory)",
        };
        assert_eq!(verdict, &format!("{name}: {want}"));
    }
    let output = check(&root, &["--audit", "gone"], &all, 1);
    assert_eq!(stderr(&output), "aiosum: cannot audit 'gone': No such file or directory\n");
}

const ALGORITHMS: &[&str] =
    &["blake3", "blake2b", "sha512", "sha384", "sha256", "sha224", "sha1", "md5", "xxh128"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    /// A manifest with arbitrarily changed bytes never causes a panic, and never yields OK for a
    /// file that differs.
    #[test]
    fn a_mutated_manifest_never_passes_what_differs(
        algorithm in prop::sample::select(ALGORITHMS),
        flags in prop::sample::select(vec![&[][..], &["--tag"], &["--zero"], &["--zero", "--tag"]]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..6),
    ) {
        let folder = folder();
        let root = folder.path();
        let names: [&[u8]; 4] = [b"a", b"b\\\n", b" c  d", b"e\xff"];
        for name in names {
            fs::write(root.join(OsStr::from_bytes(name)), name).unwrap();
        }
        let list = |names: &[&[u8]]| {
            let names = names.iter().map(|name| OsStr::from_bytes(name));
            let mut command = aiosum();
            command.current_dir(root).args(["--algorithm", algorithm]).args(flags).args(names);
            run(&mut command, 0).stdout
        };
        let original = list(&names);
        let mut mutated = original.clone();
        for (place, byte, what) in changes {
            let at = place.index(mutated.len() + 1);
            match what {
                0 if at < mutated.len() => mutated[at] = byte,
                1 if at < mutated.len() => drop(mutated.remove(at)),
                _ => mutated.insert(at, byte),
            }
        }
        let check = || {
            let mut command = aiosum();
            command.current_dir(root).args(["--check", "--algorithm", algorithm]);
            command.args(flags.iter().filter(|flag| **flag == "--zero"));
            command.arg("sums").output().unwrap()
        };
        fs::write(root.join("sums"), &mutated).unwrap();
        let output = check();
        prop_assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        prop_assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
        // Every OK names a file that really has the hash on its line.
        let lines = output.stdout.split(|byte| *byte == b'\n');
        let oks = lines.filter_map(|line| line.strip_suffix(b": OK"));
        for ok in oks {
            let name = match ok.strip_prefix(b"\\") {
                Some(escaped) => {
                    let text = String::from_utf8(escaped.to_vec()).unwrap();
                    text.replace("\\n", "\n").replace("\\\\", "\\").into_bytes()
                }
                None => ok.to_vec(),
            };
            let contents = fs::read(root.join(OsStr::from_bytes(&name))).unwrap();
            prop_assert_eq!(&contents, &name, "the file is one of ours");
        }
        // A file that differs is never OK, whatever happened to the manifest.
        for name in names {
            fs::write(root.join(OsStr::from_bytes(name)), b"other contents").unwrap();
        }
        let output = check();
        prop_assert_eq!(output.status.code(), Some(1));
        let mut lines = output.stdout.split(|byte| *byte == b'\n');
        prop_assert!(!lines.any(|line| line.ends_with(b": OK")), "{:?}", output);
    }
}
