//! Readers and writers of one format agree: what is written is read by whoever reads the format,
//! and what other programs read of it is read as they do.

mod common;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use proptest::prelude::*;
use rustix::fs::{Mode, OFlags};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Makes folders in each other with names of this length, and a file in each of the last ones.
fn make_deep(root: &Path, levels: usize, name_len: usize, files: usize) {
    fs::create_dir(root).unwrap();
    let mut dir: OwnedFd = fs::File::open(root).unwrap().into();
    for level in 0..levels {
        let name = format!("{level:0name_len$}");
        rustix::fs::mkdirat(&dir, &name, Mode::from_raw_mode(0o755)).unwrap();
        dir = rustix::fs::openat(&dir, &name, OFlags::RDONLY, Mode::empty()).unwrap();
        if level + files >= levels {
            let flags = OFlags::CREATE | OFlags::WRONLY;
            let file = rustix::fs::openat(&dir, "file", flags, Mode::from_raw_mode(0o644)).unwrap();
            rustix::io::write(file, format!("level {level}\n").as_bytes()).unwrap();
        }
    }
}

/// Removes a tree of any depth.
fn remove(root: &Path) {
    must(Command::new("rm").arg("-rf").arg(root));
}

#[test]
fn lines_of_paths_of_any_length_are_read_by_checks() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    // Just beyond PATH_MAX, and beyond what a line may take in a small buffer.
    for (levels, name_len) in [(42, 100), (90, 250), (600, 200)] {
        make_deep(&at("t"), levels, name_len, 3);
        for flags in [&[][..], &["--zero"], &["--algorithm=sha256"], &["--tag"]] {
            let sums = run(aiosum().current_dir(folder.path()).args(flags).arg("t"), 0).stdout;
            assert!(sums.len() > 2 * levels * name_len, "{levels} levels, {flags:?}");
            fs::write(at("sums"), &sums).unwrap();
            let flags: Vec<_> = flags.iter().filter(|flag| **flag != "--tag").collect();
            for audit in [&[][..], &["--audit", "t"]] {
                let mut check = aiosum();
                check.current_dir(folder.path()).args(&flags).arg("--check").args(audit);
                let output = run(check.arg("sums"), 0);
                assert_eq!(stdout(&output).matches(": OK").count(), 3, "{flags:?} {audit:?}");
            }
        }
        let copy = ["--no-sync", "--manifest=m", "-T", "t", "c"];
        run(aiocp().current_dir(folder.path()).args(copy), 0);
        let output = run(aiosum().current_dir(at("c")).args(["--check", "../m"]), 0);
        assert_eq!(stdout(&output).matches(": OK").count(), 3);
        // A missing one is missing, and a changed one differs.
        let text = fs::read_to_string(at("sums")).unwrap().replace("/file", "/none");
        fs::write(at("sums"), text.replacen("BLAKE3 (t", "BLAKE3 (./t", 1)).unwrap();
        let output = run(aiosum().current_dir(folder.path()).args(["--check", "sums"]), 1);
        assert_eq!(stdout(&output).matches("FAILED (No such file").count(), 3, "{output:?}");
        remove(&at("t"));
        remove(&at("c"));
    }
}

#[test]
fn thousands_of_levels_need_few_open_files() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    make_deep(&at("t"), 5000, 20, 5);
    let limited = |command: &str| {
        let mut shell = Command::new("sh");
        shell.current_dir(folder.path()).arg("-c").arg(format!("ulimit -n 64; exec {command}"));
        shell.env("S", assert_cmd::cargo::cargo_bin!("aiosum"));
        shell
    };
    let sums = run(&mut limited("\"$S\" t"), 0).stdout;
    assert_eq!(sums.iter().filter(|&&byte| byte == b'\n').count(), 5);
    fs::write(at("sums"), sums).unwrap();
    let output = run(&mut limited("\"$S\" --check --audit t sums"), 0);
    assert_eq!(stdout(&output).matches(": OK").count(), 5);
    remove(&at("t"));
}

#[test]
fn the_lines_go_to_a_file_that_has_none_itself() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("t")).unwrap();
    fs::write(at("t/a"), "a").unwrap();
    let sum_to = |append: bool, args: &[&str]| {
        let file = fs::File::options()
            .create(true)
            .write(true)
            .append(append)
            .truncate(!append)
            .open(at("t/sums"))
            .unwrap();
        let mut command = aiosum();
        command.current_dir(at("t")).args(args).stdout(file).stderr(Stdio::piped());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(stderr(&output).contains("sums': the lines are written to it"), "{output:?}");
        fs::read_to_string(at("t/sums")).unwrap()
    };
    let line = format!("{}  ./a\n", blake3::hash(b"a"));
    // From the second time on the file is there before, and has contents.
    for _ in 0..2 {
        assert_eq!(sum_to(false, &["."]), line);
        run(aiosum().current_dir(at("t")).args(["--check", "--audit", ".", "sums"]), 0);
    }
    assert_eq!(sum_to(true, &["."]), line.repeat(2));
    // A shell's pattern names it too; and it has other names.
    assert_eq!(sum_to(false, &["./a", "sums"]), line);
    fs::hard_link(at("t/sums"), at("t/other")).unwrap();
    assert_eq!(sum_to(false, &["."]), line);
    // A check reads what its lines name.
    fs::write(at("manifest"), format!("{}  t/sums\n", blake3::hash(b""))).unwrap();
    let file = fs::File::create(at("t/sums")).unwrap();
    let mut check = aiosum();
    let check = check.current_dir(folder.path()).args(["--check", "manifest"]).stdout(file);
    assert_eq!(check.status().unwrap().code(), Some(0));
}

/// A line that may be one of coreutils': pieces in an order that may make sense.
fn sha256_line() -> impl Strategy<Value = String> {
    let hash = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    let blank = || prop::sample::select(vec!["", " ", "  ", "\t", " \t", " *"]);
    let name = || prop::sample::select(vec!["f", " f", "*f", "f) = x", "a b", "\\\\", "f\r"]);
    let tag = prop::sample::select(vec!["SHA256", "SHA256 ", "sha256 ", "MD5 ", "SHA512 "]);
    let hash = prop::sample::select(vec![hash.to_owned(), hash.to_uppercase(), hash[2..].into()]);
    let escape = || prop::sample::select(vec!["", "", "\\"]);
    let plain = (blank(), escape(), hash.clone(), blank(), name());
    let plain = plain.prop_map(|(a, b, c, d, e)| [a, b, &c, d, e].concat());
    let tagged = (blank(), escape(), tag, name(), blank(), blank(), hash)
        .prop_map(|(a, b, tag, name, c, d, hash)| format!("{a}{b}{tag}({name}){c}={d}{hash}"));
    prop_oneof![plain, tagged]
}

#[test]
fn random_lines_that_sha256sum_reads_are_read() {
    if !have("sha256sum") {
        return;
    }
    let folder = folder();
    for name in ["f", " f", "*f", "f) = x", "a b", "\\"] {
        fs::write(folder.path().join(name), "hello").unwrap();
    }
    let (good, count) = (AtomicUsize::new(0), AtomicUsize::new(0));
    random::property(
        1000,
        || prop::collection::vec(sha256_line(), 1..4),
        |lines| {
            let manifest = format!("{}.sums", count.fetch_add(1, Ordering::Relaxed));
            fs::write(folder.path().join(&manifest), lines.join("\n") + "\n").unwrap();
            let sha256sum = program("sha256sum")
                .current_dir(folder.path())
                .args(["--check", "--strict", &manifest])
                .output()
                .unwrap();
            if sha256sum.status.success() {
                good.fetch_add(1, Ordering::Relaxed);
                let mut check = aiosum();
                check.current_dir(folder.path()).args(["--algorithm=sha256", "--check"]);
                let output = check.arg(&manifest).output().unwrap();
                prop_assert!(output.status.success(), "{lines:?} {output:?} {sha256sum:?}");
                // Names are escaped in other ways.
                let files = |output: &Output| stdout(output).matches(": OK\n").count();
                prop_assert_eq!(files(&output), files(&sha256sum), "{:?}", lines);
            }
            Ok(())
        },
    );
    assert!(good.load(Ordering::Relaxed) > 40, "sha256sum reads some of them: {good:?}");
}

#[test]
fn what_no_line_of_ours_is_gets_an_answer_that_helps() {
    let folder = folder();
    fs::write(folder.path().join("f"), "hello").unwrap();
    let check = |line: &str| {
        stderr(&run_with(aiosum().current_dir(folder.path()).arg("--check"), line.as_bytes(), 1))
    };
    for tag in ["SM3", "SHA3-256", "SHA2-512", "BLAKE2b-7", "BLAKE2b-520", "BLAKE2b-0", "CRC32"] {
        let said = check(&format!("{tag} (f) = {}\n", "ab".repeat(64)));
        assert!(said.contains(&format!(": unknown algorithm '{tag}'\n")), "{said}");
    }
    let sha256 = run(aiosum().current_dir(folder.path()).args(["-a", "sha256", "f"]), 0).stdout;
    let sha256 = String::from_utf8(sha256).unwrap();
    assert!(check(&sha256).contains("--algorithm says otherwise"));
    // A file that changed beside one that did not says nothing of algorithms.
    let good = format!("{}  f\n", blake3::hash(b"hello"));
    assert!(!check(&(good + &sha256)).contains("--algorithm"));
}

/// A tree of few names, in which files and links meet those of other trees.
fn small_tree() -> impl Strategy<Value = Vec<(usize, bool, u8)>> {
    prop::collection::vec((0..9_usize, prop::bool::weighted(0.2), any::<u8>()), 1..9)
}

#[test]
fn a_manifest_has_the_lines_of_what_stands_there() {
    const NAMES: [&str; 9] = ["x", "x~", "x~~", "x.~1~", "y", "sub/x", "sub/x~", "sub/y", "z"];
    const FLAGS: [&[&str]; 7] =
        [&[], &["-b"], &["--backup=numbered"], &["-n"], &["-u"], &["-b", "-S", ".old"], &["-bu"]];
    let (lines_seen, lacking_seen) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let cases = || (prop::collection::vec(small_tree(), 1..5), 0..FLAGS.len(), any::<bool>());
    random::property(200, cases, |(trees, flags, is_there)| {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let mut sources = Vec::new();
        for (n, tree) in trees.iter().enumerate() {
            for (name, is_link, contents) in tree {
                let path = at(&format!("s{n}")).join(NAMES[*name]);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                if path.symlink_metadata().is_ok() {
                    continue;
                }
                match is_link {
                    true => symlink("x", &path).unwrap(),
                    false => fs::write(&path, [*contents; 3]).unwrap(),
                }
            }
            sources.push(format!("s{n}/."));
        }
        fs::create_dir(at("d")).unwrap();
        let is_there = is_there && FLAGS[flags] != ["-n"];
        if is_there {
            fs::write(at("d/x"), "before").unwrap();
        }
        let mut command = aiocp();
        command.current_dir(folder.path()).args(["--no-sync", "--manifest=m"]).args(FLAGS[flags]);
        let output = command.args(&sources).arg("d").output().unwrap();
        prop_assert_eq!(output.status.code(), Some(0), "{:?}", output);
        let check = aiosum().current_dir(at("d")).args(["--check", "--quiet", "../m"]).output();
        let lines = fs::read_to_string(at("m")).unwrap();
        if !lines.is_empty() {
            let check = check.unwrap();
            prop_assert_eq!(check.status.code(), Some(0), "{:?}\n{}\n{:?}", check, lines, output);
        }
        let names: Vec<_> = lines.lines().map(|line| &line[66..]).collect();
        let once: BTreeSet<_> = names.iter().collect();
        prop_assert_eq!(once.len(), names.len(), "one line a file: {}", lines);
        let files = walkdir::WalkDir::new(at("d")).into_iter().map(std::result::Result::unwrap);
        let files = files.filter(|entry| entry.file_type().is_file());
        let copies = files.filter(|file| fs::read(file.path()).unwrap() != b"before").count();
        // What stood there before has no line, neither under its name nor as a backup.
        let text = stderr(&output);
        prop_assert_eq!(names.len(), copies, "{}{}", lines, text);
        let lacking = text.contains("the manifest lacks 1 file that already existed");
        let stayed = fs::read(at("d/x")).is_ok_and(|contents| contents == b"before");
        let meets = |n: usize| at(&format!("s{n}/x")).symlink_metadata().is_ok();
        prop_assert_eq!(lacking, stayed && (0..trees.len()).any(meets), "{}", text);
        lines_seen.fetch_add(names.len(), Ordering::Relaxed);
        lacking_seen.fetch_add(usize::from(lacking), Ordering::Relaxed);
        Ok(())
    });
    assert!(lines_seen.into_inner() > 300);
    assert!(lacking_seen.into_inner() > 3, "some already existed");
}

/// A size as someone may write it.
fn size() -> impl Strategy<Value = String> {
    let number =
        vec!["", "0", "1", "2", "1.5", ".5", "3.", "0.7", "1.5.5", "-1", "+1", " 1", "999"];
    let unit = vec!["", "b", "B", "k", "K", "kb", "Kb", "kib", "KiB", "kI", "m", "MB", "x", "bb"];
    let more = vec!["", "", "+1", "-1", "+2", "+", "1"];
    (prop::sample::select(number), prop::sample::select(unit), prop::sample::select(more))
        .prop_map(|(number, unit, more)| format!("{number}{unit}{more}"))
}

#[test]
fn random_sizes_are_what_rsync_takes_them_for() {
    if !have("rsync") {
        return;
    }
    let folder = folder();
    let source = folder.path().join("s");
    fs::create_dir(&source).unwrap();
    for size in [0, 1, 2, 3, 499, 500, 511, 512, 513, 716, 717, 999, 1000, 1001, 1023, 1024, 1025]
        .into_iter()
        .chain([1500, 1501, 1535, 1536, 1537, 2000, 2001, 2047, 2048, 2049, 999_999, 1_000_000])
        .chain([1_000_001, 1_048_575, 1_048_576, 1_048_577, 1_500_000, 1_572_864, 2_097_152])
    {
        fs::File::create(source.join(format!("{size}"))).unwrap().set_len(size).unwrap();
    }
    let copied = AtomicUsize::new(0);
    random::property(120, size, |size| {
        // rsync takes a unit without a number for nothing of it; here that is a mistake.
        let has_number = size.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let names = |output: &Output, before: &str| {
            let text = stdout(output);
            let lines = text.lines().filter(|line| line.starts_with(before));
            let name =
                |line: &str| line[before.len()..].split(['\'', ' ']).next().unwrap().to_owned();
            lines.map(name).filter(|name| !name.is_empty()).collect::<BTreeSet<_>>()
        };
        for flag in ["--max-size", "--min-size"] {
            let flag = format!("{flag}={size}");
            let rsync = program("rsync")
                .current_dir(folder.path())
                .args(["-rn", "--out-format=:%n ", &flag, "s/", "d"])
                .output()
                .unwrap();
            let mut ours = aiocp();
            let args = ["--dry-run", &flag, "-T", "s", "d"];
            let ours = ours.current_dir(folder.path()).args(args).output().unwrap();
            if !has_number {
                prop_assert_eq!(ours.status.code(), Some(2), "{:?}", ours);
                continue;
            }
            prop_assert_eq!(
                ours.status.success(),
                rsync.status.success(),
                "{:?} {:?}",
                ours,
                rsync
            );
            let theirs: BTreeSet<_> =
                names(&rsync, ":").into_iter().filter(|name| name != "./").collect();
            let ours = names(&ours, "would copy 's/");
            copied.fetch_add(ours.len(), Ordering::Relaxed);
            prop_assert_eq!(ours, theirs, "{}", flag);
        }
        Ok(())
    });
    assert!(copied.into_inner() > 50, "some sizes are sizes");
}

/// A pattern of classes.
fn class_pattern() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &'static [&'static [u8]] = &[
        b"[",
        b"[!",
        b"[^",
        b"]",
        b"]",
        b"\\",
        b"\\\\",
        b"-",
        b"a",
        b"c",
        b"^",
        b"_",
        b"[:",
        b":]",
        b"[:digit:]",
        b"[:none:]",
        b"*",
        b"?",
        b"7",
        b",",
    ];
    prop::collection::vec(prop::sample::select(pieces), 1..9).prop_map(|pieces| pieces.concat())
}

#[test]
fn random_classes_match_what_they_match_in_rsync() {
    if !have("rsync") {
        return;
    }
    let folder = folder();
    let source = folder.path().join("s");
    fs::create_dir(&source).unwrap();
    let bytes = b"abc7-]\\[^_!:,*?";
    let singles = bytes.iter().map(|&byte| vec![byte]);
    let pairs = bytes.iter().flat_map(|&a| b"a]\\7[".iter().map(move |&b| vec![a, b]));
    for name in singles.chain(pairs) {
        fs::write(source.join(OsStr::from_bytes(&name)), "").unwrap();
    }
    let (count, left_out) = (AtomicUsize::new(0), AtomicUsize::new(0));
    random::property(600, class_pattern, |pattern| {
        let n = count.fetch_add(1, Ordering::Relaxed);
        let mut exclude = OsString::from("--exclude=");
        exclude.push(OsString::from_vec(pattern));
        let copied = |command: &mut Command, from: &str, to: &str| {
            let to = folder.path().join(format!("{to}{n}"));
            run(command.current_dir(folder.path()).arg(&exclude).arg(from).arg(&to), 0);
            let names = |to: &Path| {
                let entries = fs::read_dir(to).unwrap();
                entries.map(|entry| entry.unwrap().file_name()).collect::<BTreeSet<_>>()
            };
            let names = names(&to);
            fs::remove_dir_all(&to).unwrap();
            names
        };
        let theirs = copied(program("rsync").arg("-r"), "s/", "theirs");
        let ours = copied(aiocp().args(["--no-sync", "-T"]), "s", "ours");
        left_out.fetch_add(usize::from(ours.len() < bytes.len() * 6), Ordering::Relaxed);
        prop_assert_eq!(ours, theirs);
        Ok(())
    });
    assert!(left_out.load(Ordering::Relaxed) > 50, "some patterns match: {left_out:?}");
}

#[test]
fn values_may_begin_with_a_dash() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("s/sub")).unwrap();
    for name in ["a.c", "b", "sub/c.c", "-x"] {
        fs::write(at("s").join(name), "").unwrap();
    }
    let copied = |args: &[&str]| {
        run(aiocp().current_dir(folder.path()).args(args).args(["-T", "s", "d"]), 0);
        let names = walkdir::WalkDir::new(at("d")).min_depth(1).into_iter();
        let names =
            names.map(|entry| entry.unwrap().path().strip_prefix(at("d")).unwrap().to_owned());
        let names: BTreeSet<PathBuf> = names.collect();
        fs::remove_dir_all(at("d")).unwrap();
        names
    };
    let set = |names: &[&str]| names.iter().map(PathBuf::from).collect::<BTreeSet<_>>();
    assert_eq!(
        copied(&["--include", "+ */", "--include", "*.c", "--exclude", "- *"]),
        set(&["a.c", "sub", "sub/c.c"])
    );
    assert_eq!(copied(&["--exclude", "-x", "--exclude", "sub"]), set(&["a.c", "b"]));
    assert_eq!(copied(&["--include", "- *.c"]), set(&["b", "sub", "-x"]));
    let sums = run(aiosum().current_dir(folder.path()).args(["--exclude", "- *.c", "s"]), 0);
    assert_eq!(stdout(&sums).lines().count(), 2);
    fs::write(at("old"), "old").unwrap();
    run(aiocp().current_dir(folder.path()).args(["-S", "-old", "s/b", "old"]), 0);
    assert_eq!(fs::read(at("old-old")).unwrap(), b"old");
}

#[test]
fn patterns_of_many_stars_cost_no_time() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    // A path in which every other byte is a place to begin.
    let deep = "a/".repeat(1500);
    must(Command::new("mkdir").args(["-p"]).arg(format!("s/{deep}")).current_dir(folder.path()));
    // The shell's limit is one of processor time, however busy the machine is.
    for pattern in ["a**a**a**b", "a**/a*a*a**b/c", "a**a*/a*a**b", "**a*a*a*b"] {
        let mut shell = Command::new("sh");
        shell.current_dir(folder.path()).args(["-c", "ulimit -t 20 && exec \"$0\" \"$@\""]);
        shell.arg(aiosum().get_program()).arg(format!("--exclude={pattern}")).arg("s");
        run(&mut shell, 0);
    }
    remove(&at("s"));
}
