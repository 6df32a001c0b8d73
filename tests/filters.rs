//! What filters leave out: rules as rsync reads them, lists of paths, sizes.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use proptest::prelude::*;

fn tree(root: &Path, files: &[&str]) {
    for file in files {
        fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
        fs::write(root.join(file), file).unwrap();
    }
}

/// All paths below `root`.
fn paths(root: &Path) -> BTreeSet<PathBuf> {
    let entries = walkdir::WalkDir::new(root).min_depth(1).into_iter();
    entries.map(|entry| entry.unwrap().path().strip_prefix(root).unwrap().to_owned()).collect()
}

fn listed(paths: &[&str]) -> BTreeSet<PathBuf> {
    paths.iter().map(PathBuf::from).collect()
}

#[test]
fn rules_are_read_in_the_order_of_the_command_line() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    tree(
        &at("d"),
        &["a.c", "a.o", "keep.o", "sub/b.o", "sub/b.c", "build/x", "sub/build/y", ".git/z"],
    );
    fs::write(at("rules"), "# a comment\n; another\n\n/build/\n- .git/\n+ nothing\n").unwrap();
    fs::write(at("kept"), "keep.o").unwrap();
    let cp = |args: &[&str]| {
        run(aiocp().current_dir(folder.path()).args(args).args(["-T", "d", "to"]), 0);
        let copied = paths(&at("to"));
        fs::remove_dir_all(at("to")).unwrap();
        copied
    };
    let expected = listed(&["a.c", "keep.o", "sub", "sub/b.c", "sub/build", "sub/build/y"]);
    assert_eq!(cp(&["--include-from=kept", "--exclude=*.o", "--exclude-from=rules"]), expected);
    assert_eq!(
        cp(&["--exclude-from", "rules", "--include", "keep.o", "--exclude", "*.o"]),
        expected
    );
    // In the other order, the exclusion matches first.
    let without: BTreeSet<_> =
        expected.iter().filter(|path| !path.ends_with("keep.o")).cloned().collect();
    assert_eq!(cp(&["--exclude=*.o", "--include-from=kept", "--exclude-from=rules"]), without);
    fs::write(at("nul"), b"*.o\0sub\0#odd\0").unwrap();
    fs::write(at("d/#odd"), "").unwrap();
    assert_eq!(
        cp(&["-0", "--exclude-from=nul"]),
        listed(&["a.c", "build", "build/x", ".git", ".git/z"])
    );
    let output =
        run(aiocp().current_dir(folder.path()).args(["--exclude-from=none", "d", "to"]), 1);
    assert_eq!(stderr(&output), "aiocp: cannot read 'none': No such file or directory\n");
    assert!(!at("to").exists());
}

#[test]
fn a_named_file_is_filtered_by_its_name_and_a_named_directory_is_the_root() {
    let folder = folder();
    tree(folder.path(), &["a.o", "a.c", "d.o/x", "d.o/d.o/y"]);
    fs::create_dir(folder.path().join("to")).unwrap();
    run(aiocp().current_dir(folder.path()).args(["--exclude=*.o", "a.o", "a.c", "d.o", "to"]), 0);
    assert_eq!(paths(&folder.path().join("to")), listed(&["a.c", "d.o", "d.o/x"]));
}

#[test]
fn a_named_file_that_is_left_out_is_told_and_is_no_failure() {
    let folder = folder();
    tree(folder.path(), &["a.o", "b.o", "c.o", "a.c"]);
    fs::create_dir(folder.path().join("to")).unwrap();
    let copy = |args: &[&str], sources: &[&str]| {
        let mut command = aiocp();
        command.current_dir(folder.path()).args(args).args(sources).arg("to");
        let output = run(&mut command, 0);
        assert_eq!(paths(&folder.path().join("to")), listed(&[]), "{args:?}");
        (stderr(&output), String::from_utf8(output.stdout).unwrap())
    };
    let by_pattern = "excluded by a pattern of --exclude or --exclude-from\n";
    let first = format!("aiocp: skipped 'a.o': {by_pattern}");
    let all = ["a.o", "b.o", "c.o"];
    assert_eq!(copy(&["--exclude=*.o"], &all[..1]).0, first);
    // A shell's pattern may name thousands.
    let (said, out) = copy(&["--exclude=*.o", "--manifest=-"], &all);
    assert_eq!(said, format!("{first}aiocp: skipped 2 others too: {by_pattern}"));
    assert_eq!(out, "");
    let (said, _) = copy(&["-v", "--exclude=*.o"], &all);
    assert_eq!(said.matches(by_pattern).count(), 3, "{said}");
    let (said, _) = copy(&["--max-size=2"], &["a.c"]);
    assert_eq!(said, "aiocp: skipped 'a.c': excluded by --min-size or --max-size\n");
    assert_eq!(copy(&["-q", "--exclude=*.o"], &all), (String::new(), String::new()));
    let (said, json) = copy(&["--json", "--exclude=*.o"], &all);
    assert!(said.is_empty() && json.matches("\"reason\":\"excluded\"").count() == 3, "{json}");
    let (_, plan) = copy(&["--dry-run", "--exclude=*.o"], &all);
    assert_eq!(plan.matches("would skip '").count(), 3, "{plan}");
}

#[test]
fn an_excluded_directory_is_never_opened() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    tree(&at("d"), &["kept/x", "secret/y", "kept/secret/z"]);
    let programs =
        [assert_cmd::cargo::cargo_bin!("aiocp"), assert_cmd::cargo::cargo_bin!("aiosum")];
    for (program, target) in programs.into_iter().zip([Some("to"), None]) {
        let mut strace = common::program("strace");
        strace.args(["-f", "-e", "trace=file,desc", "-o"]).arg(at("trace"));
        strace.arg(program).args(["--exclude=secret/", "d"]).args(target);
        run(strace.current_dir(folder.path()), 0);
        let calls = trace::calls(&at("trace"));
        let touched: Vec<_> = calls.iter().filter(|call| call.contains("secret\"")).collect();
        assert!(touched.is_empty(), "{touched:?}");
        assert!(
            calls.iter().any(|call| call.contains("open") && call.contains("\"kept\"")),
            "the trace shows names"
        );
    }
    assert_eq!(paths(&at("to")), listed(&["kept", "kept/x"]));
}

#[test]
fn sizes_concern_regular_files_alone() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("d/empty")).unwrap();
    for len in [0, 1023, 1024, 2048, 2049, 2 << 20] {
        fs::write(at(&format!("d/{len}")), noise(len, 1)).unwrap();
    }
    symlink("x", at("d/link")).unwrap();
    for (n, flags) in [&[][..], &["-l"], &["--attributes-only"]].into_iter().enumerate() {
        let target = at(&n.to_string());
        run(
            aiocp()
                .args(flags)
                .args(["--min-size=1K", "--max-size=2KiB"])
                .arg(at("d"))
                .arg(&target),
            0,
        );
        assert_eq!(paths(&target), listed(&["1024", "2048", "empty", "link"]), "{flags:?}");
    }
    run(aiocp().args(["--max-size=1M"]).arg(at("d/2097152")).arg(at("big")), 0);
    assert!(!at("big").exists());
    let output = run(aiocp().args(["--max-size=1X"]).arg(at("d")).arg(at("big")), 2);
    assert!(stderr(&output).contains("unknown unit 'X'"));
}

/// A name made of few pieces, so that patterns of the same pieces match.
fn name() -> impl Strategy<Value = Vec<u8>> {
    let pieces: &'static [&'static [u8]] = &[
        b"a",
        b"b",
        b"foo",
        b".c",
        b"ab",
        b"-",
        b"]",
        b"[",
        b"\\",
        b"*",
        b"7",
        b" ",
        b"\xff",
        b"\xc3\xa9",
        b"\x01",
    ];
    prop::collection::vec(prop::sample::select(pieces), 1..4).prop_map(|pieces| pieces.concat())
}

fn path() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(name(), 1..5)
        .prop_map(|names| names.into_iter().map(OsString::from_vec).collect::<PathBuf>())
        .prop_filter("neither . nor ..", |path| {
            path.components().all(|c| matches!(c, std::path::Component::Normal(_)))
        })
}

fn pattern() -> impl Strategy<Value = OsString> {
    let pieces: &'static [&'static [u8]] = &[
        b"a",
        b"b",
        b"foo",
        b".c",
        b"*",
        b"*",
        b"**",
        b"***",
        b"?",
        b"/",
        b"/",
        b"/",
        b"[a-c]",
        b"[!a]",
        b"[^b-]",
        b"[]a]",
        b"[[:alpha:]]",
        b"[[:digit:][:space:]]",
        b"[\\]]",
        b"[",
        b"\\",
        b"\\*",
        b"\xff",
        b"ab",
        b"[[:nope:]]",
        b"[b-a]",
    ];
    prop::collection::vec(prop::sample::select(pieces), 1..6)
        .prop_map(|pieces| OsString::from_vec(pieces.concat()))
}

#[derive(Clone, Debug)]
struct Rules {
    /// Whether the rule includes, whether it stands in a file, and its pattern.
    rules: Vec<(bool, bool, OsString)>,
}

impl Rules {
    fn args(&self, folder: &Path) -> Vec<OsString> {
        let arg = |(n, (include, in_file, pattern)): (usize, &(bool, bool, OsString))| {
            let mut arg = OsString::from(if *include { "--include" } else { "--exclude" });
            if *in_file {
                let file = folder.join(format!("rules-{n}"));
                fs::write(&file, [b"# comment\n\n", pattern.as_bytes(), b"\n;\n"].concat())
                    .unwrap();
                arg.push("-from=");
                arg.push(file);
            } else {
                arg.push("=");
                arg.push(pattern);
            }
            arg
        };
        self.rules.iter().enumerate().map(arg).collect()
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    prop::collection::vec((prop::bool::weighted(0.3), prop::bool::weighted(0.3), pattern()), 1..5)
        .prop_map(|rules| Rules { rules })
}

#[test]
fn random_rules_leave_out_of_random_trees_what_rsync_leaves_out() {
    if !have("rsync") {
        return;
    }
    let cases = || (prop::collection::vec((path(), any::<bool>()), 1..25), rules());
    let (left_out, kept) = (AtomicUsize::new(0), AtomicUsize::new(0));
    random::property(400, cases, |(files, rules)| {
        let folder = folder();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        for (path, is_dir) in files {
            // A path may lead through a file, or exist already: then it stays as it is.
            let path = source.join(path);
            if fs::create_dir_all(path.parent().unwrap()).is_ok() {
                let made = if is_dir {
                    fs::create_dir(&path)
                } else {
                    fs::File::create_new(&path).map(drop)
                };
                assert!(made.is_ok() || path.exists() || path.parent().unwrap().is_file());
            }
        }
        let args = rules.args(folder.path());
        let (theirs, ours) = (folder.path().join("theirs"), folder.path().join("ours"));
        let mut from = source.clone().into_os_string();
        from.push("/");
        run(program("rsync").arg("-r").args(&args).arg(from).arg(&theirs), 0);
        run(aiocp().arg("--no-sync").args(&args).arg("-T").arg(&source).arg(&ours), 0);
        let (all, ours, theirs) = (paths(&source), paths(&ours), paths(&theirs));
        left_out.fetch_add(all.len() - ours.len(), Ordering::Relaxed);
        kept.fetch_add(ours.len(), Ordering::Relaxed);
        prop_assert_eq!(ours, theirs, "of {:?}", all);
        Ok(())
    });
    let (left_out, kept) = (left_out.into_inner(), kept.into_inner());
    assert!(left_out > 100 && kept > 100, "the rules meet names: {left_out} left out, {kept} kept");
}

/// Copies `d` to `to` with a list on standard input. Returns what was copied.
fn copied_from_list(
    folder: &Path,
    args: &[&str],
    list: &[u8],
    code: i32,
) -> (BTreeSet<PathBuf>, String) {
    let mut command = aiocp();
    command.current_dir(folder).args(["--files-from", "-"]).args(args).args(["-T", "d", "to"]);
    let output = run_with(&mut command, list, code);
    let copied =
        if folder.join("to").exists() { paths(&folder.join("to")) } else { BTreeSet::new() };
    run(Command::new("rm").arg("-rf").arg("to").current_dir(folder), 0);
    (copied, stderr(&output))
}

#[test]
fn a_list_names_what_is_copied() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    tree(&at("d"), &["a/b/c", "a/b/d", "a/x", "whole/1", "whole/sub/2", "e", "#odd", "z\nz"]);
    fs::create_dir(at("d/empty")).unwrap();
    fs::set_permissions(at("d/a/b"), fs::Permissions::from_mode(0o750)).unwrap();
    for (name, seconds) in [("d/a/b", 1000), ("d/a", 2000), ("d", 3000)] {
        set_times(&at(name), seconds, 7);
    }
    let list = "# a comment\n; another\n\na/b/c\n/e\nwhole/\nwhole/1\n./#odd\nempty\na/b/c\r\n";
    let expected =
        ["#odd", "a", "a/b", "a/b/c", "e", "empty", "whole", "whole/1", "whole/sub", "whole/sub/2"];
    assert_eq!(
        copied_from_list(folder.path(), &[], list.as_bytes(), 0),
        (listed(&expected), String::new())
    );
    // With NUL, a name may contain any byte.
    let (copied, _) = copied_from_list(folder.path(), &["-0"], b"z\nz\0#odd\0\0a/x\0", 0);
    assert_eq!(copied, listed(&["#odd", "a", "a/x", "z\nz"]));
    // The folders on the way keep their modes and times.
    fs::write(at("list"), "a/b/c").unwrap();
    run(aiocp().current_dir(folder.path()).args(["--files-from=list", "d", "to"]), 0);
    let meta = |name: &str| fs::metadata(at(name)).unwrap();
    assert_eq!((meta("to/a/b").mode() & 0o7777, meta("to/a/b").mtime()), (0o750, 1000));
    assert_eq!(
        (meta("to/a").mtime(), meta("to").mtime(), meta("to").mtime_nsec()),
        (2000, 3000, 7)
    );
    // If DEST exists, the tree goes into it, as without a list.
    run(aiocp().current_dir(folder.path()).args(["--files-from=list", "d", "to"]), 0);
    assert!(at("to/d/a/b/c").exists());
    // Filters apply to listed paths too, and an empty list copies the directory alone.
    fs::remove_dir_all(at("to")).unwrap();
    let (copied, _) =
        copied_from_list(folder.path(), &["--exclude=b/", "--exclude=/e"], b"a/b/c\na/x\ne\n", 0);
    assert_eq!(copied, listed(&["a", "a/x"]));
    assert_eq!(copied_from_list(folder.path(), &[], b"", 0), (BTreeSet::new(), String::new()));
    let everything = paths(&at("d"));
    assert_eq!(copied_from_list(folder.path(), &[], b"e\n./\n", 0).0, everything);
}

#[test]
fn a_list_that_names_what_is_below_a_link_is_told_that_it_is_one() {
    let folder = folder();
    tree(&folder.path().join("d"), &["real/a", "file"]);
    std::os::unix::fs::symlink("real", folder.path().join("d/link")).unwrap();
    let (copied, text) = copied_from_list(folder.path(), &[], b"link/a\nfile/a\n", 1);
    let wanted = "cannot open directory 'd/link': it is a symbolic link, and only -L follows it\n";
    assert!(text.contains(wanted), "{text}");
    assert!(text.contains("cannot open directory 'd/file': Not a directory\n"), "{text}");
    assert!(copied.is_empty(), "{copied:?}");
    let (copied, _) = copied_from_list(folder.path(), &["-L"], b"link/a\n", 0);
    assert_eq!(copied, listed(&["link", "link/a"]));
}

#[test]
fn a_hostile_list_never_leaves_the_source() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    tree(folder.path(), &["d/in", "secret", "d/sub/x", "d/etc/passwd"]);
    symlink("..", at("d/up")).unwrap();
    symlink("/", at("d/root")).unwrap();
    let list = b"../secret\nsub/../../secret\nup/secret\nroot/etc/passwd\n/etc/passwd\n\
                 none\nin/x\nsub/x\nup\n";
    let (copied, text) = copied_from_list(folder.path(), &[], list, 1);
    // The last entry is the link itself.
    assert_eq!(copied, listed(&["etc", "etc/passwd", "sub", "sub/x", "up"]));
    let mut lines: Vec<_> = text.lines().filter(|line| line.starts_with("aiocp: cannot")).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "aiocp: cannot copy 'd/../secret': '..' would lead outside",
            "aiocp: cannot copy 'd/sub/../../secret': '..' would lead outside",
            "aiocp: cannot open directory 'd/in': Not a directory",
            "aiocp: cannot open directory 'd/root': it is a symbolic link, and only -L follows it",
            "aiocp: cannot open directory 'd/up': it is a symbolic link, and only -L follows it",
            "aiocp: cannot stat 'd/none': No such file or directory",
        ]
    );
}

#[test]
fn a_list_belongs_to_one_directory() {
    let folder = folder();
    tree(folder.path(), &["d/x", "e/x", "f"]);
    fs::write(folder.path().join("list"), "x").unwrap();
    let cp =
        |args: &[&str], code| stderr(&run(aiocp().current_dir(folder.path()).args(args), code));
    assert!(
        cp(&["--files-from=list", "d", "e", "to"], 2)
            .contains("'e' is one SOURCE too many for --files-from")
    );
    assert!(
        cp(&["--files-from=list", "f", "to"], 1)
            .contains("cannot copy from a list below 'f': Not a directory")
    );
    assert!(
        cp(&["--files-from=none", "d", "to"], 1)
            .contains("cannot read 'none': No such file or directory")
    );
}

/// A list for `-0`: existing paths, their folders, and paths that may not exist.
fn list_of(files: &[PathBuf], list: &[(PathBuf, bool)]) -> Vec<u8> {
    let mut lines = Vec::new();
    for (n, (path, is_there)) in list.iter().enumerate() {
        let there = &files[n % files.len()];
        let path = if *is_there {
            there.ancestors().nth(n % 2).filter(|path| *path != Path::new(""))
        } else {
            None
        }
        .unwrap_or(path);
        lines.extend([path.as_os_str().as_bytes(), b"\0"].concat());
    }
    lines
}

#[test]
fn random_lists_are_copied_as_rsync_copies_them() {
    if !have("rsync") {
        return;
    }
    let paths_of_list = || prop::collection::vec((path(), any::<bool>()), 1..12);
    random::property(
        160,
        || (prop::collection::vec(path(), 1..20), paths_of_list()),
        |(files, list)| {
            let folder = folder();
            let source = folder.path().join("source");
            fs::create_dir(&source).unwrap();
            for path in &files {
                let path = source.join(path);
                assert!(
                    fs::create_dir_all(path.parent().unwrap()).is_err()
                        || fs::write(&path, "").is_ok()
                        || path.is_dir()
                );
            }
            fs::write(folder.path().join("list"), list_of(&files, &list)).unwrap();
            let (theirs, ours) = (folder.path().join("theirs"), folder.path().join("ours"));
            fs::create_dir(&theirs).unwrap();
            let mut from = source.clone().into_os_string();
            from.push("/");
            let arg = format!("--files-from={}", folder.path().join("list").display());
            let rsync =
                program("rsync").args(["-r", "-0", &arg]).arg(from).arg(&theirs).output().unwrap();
            let own = aiocp()
                .args(["--no-sync", "-0", &arg, "-T"])
                .arg(&source)
                .arg(&ours)
                .output()
                .unwrap();
            // The folders on the way to a missing path may or may not be made.
            let counts =
                |root: &Path, path: &Path| own.status.success() || root.join(path).is_file();
            let there = |root: &Path| {
                paths(root).into_iter().filter(|path| counts(root, path)).collect::<BTreeSet<_>>()
            };
            prop_assert_eq!(there(&ours), there(&theirs), "{:?} {:?}", own, rsync);
            prop_assert_eq!(own.status.success(), rsync.status.success(), "{:?} {:?}", own, rsync);
            Ok(())
        },
    );
}
