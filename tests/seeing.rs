//! What a run shows of itself: dry runs, lists of failures, JSON, logs, progress.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::*;

/// Everything about a tree that a run could change. Reading leaves access times alone here.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| entry.unwrap());
    let line = |meta: fs::Metadata| {
        let (m, c) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
        format!("{} {:o} {} {m:?} {c:?} {}", meta.ino(), meta.mode(), meta.len(), meta.nlink())
    };
    entries.map(|entry| (entry.path().to_owned(), line(entry.metadata().unwrap()))).collect()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn in_folder(folder: &Path) -> Command {
    let mut command = aiocp();
    command.current_dir(folder);
    command
}

fn write(path: impl AsRef<Path>, contents: &str) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    write(at("from/a"), "12345");
    write(at("from/deep/er/b"), "123");
    write(at("from/old"), "new");
    fs::hard_link(at("from/a"), at("from/deep/er/second")).unwrap();
    symlink("nowhere", at("from/link")).unwrap();
    write(at("to/old"), "old");
    write(at("to/deep/unrelated"), "x");
    let before = snapshot(folder.path());
    let output = run(in_folder(folder.path()).args(["--dry-run", "-T", "from", "to"]), 0);
    let out = stdout(&output);
    let (first, second) = if out.contains("copy 'from/a'") {
        ("a", "deep/er/second")
    } else {
        ("deep/er/second", "a")
    };
    let mut expected = vec![
        format!("would copy 'from/{first}' -> 'to/{first}' (5 bytes)"),
        "would copy 'from/deep/er/b' -> 'to/deep/er/b' (3 bytes)".to_owned(),
        "would copy 'from/old' -> 'to/old' (3 bytes), replacing what is there".to_owned(),
        format!("would link 'from/{second}' -> 'to/{second}' (5 bytes)"),
        "would make directory 'to/deep/er'".to_owned(),
        "would make symbolic link 'to/link'".to_owned(),
        "would copy 3 files (11 B); make 1 directory, 1 link, 1 hard link".to_owned(),
    ];
    expected.sort();
    assert_eq!(sorted(&out), expected);
    assert_eq!(stderr(&output), "");
    assert_eq!(snapshot(folder.path()), before, "nothing was touched");

    let out =
        stdout(&run(in_folder(folder.path()).args(["--dry-run", "-n", "-T", "from", "to"]), 0));
    assert!(
        out.contains("would skip 'to/old': it exists\n") && out.ends_with("; skip 1\n"),
        "{out}"
    );
    let out = stdout(&run(in_folder(folder.path()).args(["--dry-run", "from", "fresh"]), 0));
    assert!(
        out.contains("would make directory 'fresh/deep/er'\n") && out.contains("'fresh/deep/er/b'"),
        "{out}"
    );
    let out =
        stdout(&run(in_folder(folder.path()).args(["--dry-run", "-l", "from/a", "fresh"]), 0));
    assert!(out.starts_with("would make hard link 'fresh'\n"), "{out}");
    let out = stdout(&run(
        in_folder(folder.path()).args(["--dry-run", "--parents", "from/deep/er/b", "to"]),
        0,
    ));
    assert!(out.contains("would make directory 'to/from/deep/er'\n"), "{out}");
    assert_eq!(snapshot(folder.path()), before, "nothing was touched");
}

#[test]
fn a_dry_run_fails_where_the_copy_would() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    write(at("from/is a file"), "x");
    write(at("from/is a folder/x"), "x");
    write(at("other/is a file"), "y");
    write(at("to/is a file/x"), "");
    write(at("to/is a folder"), "");
    fs::create_dir(at("into")).unwrap();
    let before = snapshot(folder.path());
    for dry in [true, false] {
        let dry_run = if dry { &["--dry-run"][..] } else { &[] };
        let output = run(in_folder(folder.path()).args(dry_run).args(["-T", "from", "to"]), 1);
        let text = stderr(&output);
        assert!(
            text.contains("cannot create directory 'to/is a folder': a non-directory"),
            "{text}"
        );
        assert!(text.contains("cannot replace 'to/is a file': a directory cannot be"), "{text}");
        let output = run(
            in_folder(folder.path()).args(dry_run).args([
                "from/is a file",
                "other/is a file",
                "into",
            ]),
            1,
        );
        assert!(
            stderr(&output)
                .contains("cannot copy 'other/is a file': another source has the same name"),
            "{output:?}"
        );
        assert!(!dry || snapshot(folder.path()) == before, "nothing was touched");
    }
}

#[test]
fn a_dry_run_of_a_deep_tree_decides_what_the_copy_does() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_tree(&source);
    let mut deep = source.clone();
    for n in 0..200 {
        deep.push(format!("level {n}"));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "x").unwrap();
    // With few open files, planned directories are closed and reopened.
    let limited = |dry: &str| {
        let script = format!("ulimit -n 100; exec \"$0\" -v {dry} \"$1\" \"$2\"");
        let mut command = Command::new("sh");
        command
            .env_remove("AIOCP_CONFIG_PATH")
            .args(["-c", &script])
            .arg(aiocp().get_program())
            .arg(&source)
            .arg(&target);
        stdout(&run(&mut command, 0))
    };
    let planned = limited("--dry-run");
    let paths = |line: &str| {
        line.rsplit_once(" '").map(|(_, path)| path.split('\'').next().unwrap().to_owned())
    };
    let mut planned: Vec<_> = planned.lines().filter_map(paths).collect();
    assert!(!target.exists());
    let mut copied: Vec<_> = limited("").lines().filter_map(paths).collect();
    planned.sort();
    copied.sort();
    assert_eq!(planned, copied);
}

#[test]
fn what_makes_no_sense_together_is_refused() {
    let folder = folder();
    write(folder.path().join("a"), "x");
    for (args, said) in [
        (&["--dry-run", "-i", "a", "b"][..], "does not go with"),
        (&["--dry-run", "--manifest=m", "a", "b"], "does not go with"),
        (&["--failed-list=l", "--parents", "a", "."], "does not go with"),
        (&["--failed-list=l", "a", "c", "."], "--failed-list goes with one SOURCE"),
    ] {
        let output = run(in_folder(folder.path()).args(args), 2);
        assert!(stderr(&output).contains(said), "{args:?}: {output:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made");
    }
    let help = stdout(&run(aiocp().arg("--help"), 0));
    assert!(
        help.contains("(-n is --no-clobber)") && help.contains("(rsync's -n is --dry-run)"),
        "{help}"
    );
}

/// Without `-0`, a name with a line break is told, and all others are listed.
fn a_line_break_needs_from0(folder: &Path) {
    let at = |name: &str| folder.join(name);
    let line_break = OsStr::from_bytes(b"line\nbreak");
    fs::write(at("from").join(line_break), "good").unwrap();
    fs::create_dir(at("to").join(line_break)).unwrap();
    fs::write(at("bad"), "an old list\n").unwrap();
    let output = run(in_folder(folder).args(["--failed-list=bad", "-T", "from", "to"]), 1);
    assert!(stderr(&output).contains(
        "cannot list as failed 'line\\nbreak': there is a line break in its name\n\
         aiocp: hint: -0 writes it"
    ));
    let listed = fs::read(at("bad")).unwrap();
    assert_eq!(
        listed,
        b"./#hash\nnot \xff utf8\nplain\nsub/ space \nsub/#odd\n",
        "{}",
        listed.escape_ascii()
    );
}

/// Removes everything in a directory.
fn empty(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
    }
}

/// A SOURCE that fails as a whole is a dot on the list.
fn the_source_itself_is_a_dot(folder: &Path) {
    let at = |name: &str| folder.join(name);
    fs::remove_dir_all(at("to")).unwrap();
    fs::create_dir_all(at("to/fine")).unwrap();
    run(in_folder(folder).args(["--failed-list=list", "-T", "from/fine", "to/fine"]), 1);
    assert_eq!(fs::read(at("list")).unwrap(), b".\n");
    fs::remove_dir(at("to/fine")).unwrap();
    run(
        in_folder(folder).args([
            "--files-from=list",
            "--failed-list=list",
            "-T",
            "from/fine",
            "to/fine",
        ]),
        0,
    );
    run(in_folder(folder).args(["--files-from=list", "-T", "from/fine", "to/not"]), 0);
    assert!(at("to/fine").is_file() && !at("to/not").exists(), "an empty list copies nothing");
    run(in_folder(folder).args(["--failed-list=list", "missing", "to"]), 1);
    assert_eq!(fs::read(at("list")).unwrap(), b".\n");
}

#[test]
fn the_list_of_what_failed_copies_just_that() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let names = [b"plain".as_slice(), b"sub/#odd", b"#hash", b"sub/ space ", b"not \xff utf8"]
        .map(OsStr::from_bytes);
    for name in names {
        fs::create_dir_all(at("from").join(name).parent().unwrap()).unwrap();
        fs::write(at("from").join(name), "good").unwrap();
        // A directory of the same name makes each file fail.
        fs::create_dir_all(at("to").join(name)).unwrap();
    }
    write(at("from/fine"), "good");
    for nul in [false, true] {
        let from0 = if nul { &["--from0"][..] } else { &[] };
        let list = if nul { "list0" } else { "list" };
        if nul {
            a_line_break_needs_from0(folder.path());
        }
        run(
            in_folder(folder.path()).args(from0).args(["--failed-list", list, "-T", "from", "to"]),
            1,
        );
        assert_eq!(
            fs::read(at(list)).unwrap().split(|&byte| byte == if nul { 0 } else { b'\n' }).count(),
            6 + usize::from(nul)
        );
        // Now only what is on the list may be copied.
        empty(&at("to"));
        run(
            in_folder(folder.path()).args(from0).args([
                "--files-from",
                list,
                "--failed-list",
                list,
                "-T",
                "from",
                "to",
            ]),
            0,
        );
        for name in names {
            assert_eq!(fs::read(at("to").join(name)).unwrap(), b"good");
        }
        assert!(!at("to/fine").exists(), "only what had failed is copied");
        assert_eq!(fs::read(at(list)).unwrap(), b"", "nothing failed this time");
        for name in names {
            fs::remove_file(at("to").join(name)).unwrap();
            fs::create_dir(at("to").join(name)).unwrap();
        }
    }
    the_source_itself_is_a_dot(folder.path());
}

#[test]
fn what_failed_is_named_again_where_it_was_buried() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for n in 0..300 {
        write(at(&format!("from/{n}")), "x");
    }
    write(at("from/bad"), "x");
    fs::create_dir_all(at("to/bad")).unwrap();
    let line =
        "aiocp: cannot replace 'to/bad': a directory cannot be overwritten with a non-directory\n";
    let output = run(in_folder(folder.path()).args(["--debug", "-T", "from", "to"]), 1);
    let text = stderr(&output);
    assert!(
        text.ends_with(&format!("{line}aiocp: 1 failure, named above; 300 files were copied\n")),
        "{text}"
    );
    let text = stderr(&run(in_folder(folder.path()).args(["-T", "from", "to"]), 1));
    let hint = "aiocp: hint: rename or remove what is there, or choose another DEST\n";
    assert_eq!(
        text,
        format!("{line}{hint}aiocp: 1 failure, named above; 300 files were copied\n"),
        "once is enough"
    );
}

#[test]
fn an_output_never_takes_the_place_of_a_copy() {
    let folder = folder();
    write(folder.path().join("from/x"), "data");
    let output = run(in_folder(folder.path()).args(["--failed-list=to/x", "-T", "from", "to"]), 1);
    assert!(
        stderr(&output)
            .contains("the list of what failed would overwrite 'to/x', and is not written"),
        "{output:?}"
    );
    assert!(!folder.path().join("to").exists(), "it was refused before anything was copied");
    // The source is not overwritten either.
    let args = ["--failed-list=from/x", "--report=from/x", "-T", "from", "to"];
    run(in_folder(folder.path()).args(args), 1);
    assert_eq!(fs::read(folder.path().join("from/x")).unwrap(), b"data");
}

#[test]
fn an_output_is_written_into_what_is_no_file_and_behind_links() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    write(at("a"), "contents");
    write(at("list"), "old");
    for (link, leads_to) in [("stdout", "/proc/self/fd/1"), ("null", "/dev/null"), ("link", "list")]
    {
        symlink(leads_to, at(link)).unwrap();
    }
    let line = format!("{}  b\n", blake3::hash(b"contents"));
    for (output, said) in [("stdout", &*line), ("null", ""), ("link", "")] {
        let output = run(in_folder(folder.path()).args(["--manifest", output, "a", "b"]), 0);
        assert_eq!(stdout(&output), said);
    }
    assert_eq!(fs::read_to_string(at("list")).unwrap(), line);
    for link in ["stdout", "null", "link"] {
        assert!(at(link).is_symlink(), "{link}");
    }
    // If standard output is a file, the log is appended to it.
    let log = fs::File::create(at("log")).unwrap();
    std::io::Write::write_all(&mut &log, b"begun\n").unwrap();
    let status = in_folder(folder.path())
        .args(["--manifest", "stdout", "a", "b"])
        .stdout(log)
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(fs::read_to_string(at("log")).unwrap(), format!("begun\n{line}"));
    // A link that the copy itself makes leads nowhere. A link to a file of the copy is not written
    // through.
    fs::create_dir(at("tree")).unwrap();
    write(at("tree/data"), "data");
    symlink("../list", at("tree/sums")).unwrap();
    let output = run(in_folder(folder.path()).args(["--manifest=copy/sums", "tree", "copy"]), 1);
    assert!(
        stderr(&output).contains("would overwrite 'copy/sums', and is not written"),
        "{output:?}"
    );
    assert_eq!(fs::read_to_string(at("list")).unwrap(), line);
    symlink("tree/data", at("latest")).unwrap();
    let output = run(in_folder(folder.path()).args(["--manifest=latest", "-T", "tree", "copy"]), 1);
    assert!(
        stderr(&output).contains("would overwrite 'tree/data', and is not written"),
        "{output:?}"
    );
    assert_eq!(fs::read(at("tree/data")).unwrap(), b"data");
    symlink("nowhere", at("dangling")).unwrap();
    run(in_folder(folder.path()).args(["--manifest=dangling", "a", "c"]), 1);
    assert!(!at("c").exists());
    // A device in the folder itself, which only root can make.
    if is_root("making a device") {
        common::hard::mknod(
            &at("device"),
            rustix::fs::FileType::CharacterDevice,
            libc::makedev(1, 3),
        );
        run(in_folder(folder.path()).args(["--manifest", "device", "a", "b"]), 0);
        assert!(fs::metadata(at("device")).unwrap().file_type().is_char_device());
    }
}
