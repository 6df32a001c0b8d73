//! What was not looked at is told, and what cannot be heeded is refused before anything is touched.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::place::Place;
use common::*;
use proptest::prelude::*;
use rustix::process::{Pid, Signal, kill_process};

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn write(path: impl AsRef<Path>, contents: &str) {
    fs::create_dir_all(path.as_ref().parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// The names in a manifest.
fn names(manifest: &Path) -> Vec<String> {
    let text = fs::read_to_string(manifest).unwrap();
    text.lines().map(|line| line[66..].to_owned()).collect()
}

/// A folder with a tree `t` of three files and a link, and a command that runs in it.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: folder() };
        for name in ["t/a.log", "t/b.txt", "t/sub/c.txt"] {
            write(scene.at(name), name);
        }
        symlink("a.log", scene.at("t/link")).unwrap();
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cp(&self, args: &[&str], code: i32) -> String {
        stderr(&run(aiocp().current_dir(&self.folder).args(args), code))
    }

    fn sum(&self, args: &[&str], code: i32) -> Output {
        run(aiosum().current_dir(&self.folder).args(args), code)
    }
}

#[test]
fn a_manifest_of_what_has_no_lines_is_refused() {
    let scene = Scene::new();
    for flag in ["-l", "-s", "--attributes-only"] {
        let text = scene.cp(&[flag, "--manifest=m", "-T", "t", "d"], 2);
        assert!(text.contains("does not go with"), "{text}");
        assert!(!scene.at("d").exists() && !scene.at("m").exists());
    }
}

#[test]
fn a_manifest_says_how_many_files_it_lacks() {
    for flag in ["-u", "-n", "--update=none"] {
        let scene = Scene::new();
        let copy = [flag, "--manifest=m", "-T", "t", "d"];
        assert_eq!(scene.cp(&copy, 0), "");
        assert_eq!(names(&scene.at("m")), ["a.log", "b.txt", "sub/c.txt"]);
        write(scene.at("t/new"), "new");
        // The link was left alone too, but would have no line.
        let text = scene.cp(&copy, 0);
        assert!(text.contains("the manifest lacks 3 files that already existed"), "{text}");
        assert_eq!(names(&scene.at("m")), ["new"]);
    }
    // What another SOURCE of the run has copied has a line.
    let scene = Scene::new();
    write(scene.at("u/b.txt"), "other");
    assert_eq!(scene.cp(&["-n", "--manifest=m", "t/.", "u/.", "-t", "."], 0), "");
    assert_eq!(names(&scene.at("m")), ["a.log", "b.txt", "sub/c.txt"]);
}

#[test]
fn an_output_that_is_itself_copied_is_refused_before_anything_is() {
    for flag in ["--manifest", "--failed-list", "--report"] {
        let scene = Scene::new();
        let refused = |place: &str, more: &[&str]| {
            let before = fs::read(scene.at("t/b.txt")).unwrap();
            let args = [&[flag, place][..], more, &["-T", "t", "d"]].concat();
            let text = scene.cp(&args, 1);
            assert!(text.contains("would overwrite") && text.contains("--exclude"), "{text}");
            assert!(!scene.at("d").exists(), "{flag} {place}");
            assert_eq!(fs::read(scene.at("t/b.txt")).unwrap(), before);
        };
        refused("t/b.txt", &[]);
        refused("./t/sub/../b.txt", &[]);
        refused("d/b.txt", &[]);
        symlink("t/b.txt", scene.at("link")).unwrap();
        refused("link", &[]);
        refused("t/b.txt", &["--exclude=a.log"]);
        // Nothing is wrong with what is not copied: it is new, or it is left out.
        let copied = |place: &str, more: &[&str]| {
            let args = [&[flag, place][..], more, &["-T", "t", "d"]].concat();
            scene.cp(&args, 0);
            fs::remove_dir_all(scene.at("d")).unwrap();
        };
        copied("t/new", &[]);
        refused("t/new", &[]);
        copied("t/new", &["--exclude=/new"]);
        copied("t/new", &["--include=*.txt", "--include=*/", "--exclude=*"]);
        write(scene.at("list"), "sub\n");
        copied("t/new", &["--files-from=list"]);
        write(scene.at("list"), "sub\nnew\n");
        refused("t/new", &["--files-from=list"]);
    }
    // One file as SOURCE.
    let scene = Scene::new();
    scene.cp(&["--manifest=t/b.txt", "t/b.txt", "d"], 1);
    scene.cp(&["--manifest=d", "t/b.txt", "d"], 1);
    assert!(!scene.at("d").exists());
}

#[test]
fn a_second_resume_has_the_files_that_it_is_asked_for() {
    let scene = Scene::new();
    fs::write(scene.at("t/big"), noise(9000, 1)).unwrap();
    common::place::fifo(&scene.at("t/pipe"));
    let resume = |more: &[&str], code| {
        let args = [&["--resume"][..], more, &["-T", "t", "d"]].concat();
        scene.cp(&args, code)
    };
    resume(&[], 1);
    resume(&["--max-size=1K", "--manifest=m"], 1);
    assert_eq!(names(&scene.at("m")), ["a.log", "b.txt", "sub/c.txt"]);
    resume(&["--min-size=1K", "--manifest=m"], 1);
    assert_eq!(names(&scene.at("m")), ["big"]);
    let text = resume(&["--sparse=always", "--reflink=auto"], 1);
    assert!(text.contains("earlier run: --sparse changes nothing of what that made"), "{text}");
    assert!(!resume(&[], 1).contains("what that made"));
}

/// What is finished stays as it was made. A later run says which of its options change nothing of
/// that, and of how many files: those alone that were made otherwise.
#[test]
fn what_is_not_heeded_of_what_an_earlier_run_made_is_told_exactly() {
    let scene = Scene::new();
    // It fails, so that the journal stays.
    common::place::fifo(&scene.at("t/pipe"));
    let resume = |more: &[&str]| {
        let text = scene.cp(&[&["--resume"][..], more, &["-T", "t", "d"]].concat(), 1);
        let told = text.lines().filter(|line| line.contains("what that made"));
        told.map(|line| line.strip_prefix("aiocp: ").unwrap().to_owned()).collect::<Vec<_>>()
    };
    let line = |files: &str, option: &str| {
        format!("{files} finished by an earlier run: {option} changes nothing of what that made")
    };
    let nothing: [String; 0] = [];
    assert_eq!(resume(&["--sparse=always", "--exclude=b.txt"]), nothing);
    assert_eq!(resume(&["--sparse=always", "--exclude=b.txt"]), nothing);
    // b.txt is made by the run that has other options.
    assert_eq!(
        resume(&["--reflink=never"]),
        [line("2 files were", "leaving out --sparse"), line("2 files were", "--reflink"),]
    );
    assert_eq!(
        resume(&["--sparse=always"]),
        [line("1 file was", "--sparse"), line("1 file was", "leaving out --reflink"),]
    );
    assert_eq!(
        resume(&["--reflink=never", "-b"]),
        [
            line("2 files were", "leaving out --sparse"),
            line("2 files were", "--reflink"),
            line("3 files were", "--backup"),
        ]
    );
    assert_eq!(
        resume(&["--sparse=always", "--inplace"]),
        [
            line("1 file was", "--sparse"),
            line("1 file was", "leaving out --reflink"),
            line("3 files were", "--inplace"),
        ]
    );
    // A file that changed is made again, and then it is as this run makes it.
    write(scene.at("t/a.log"), "changed");
    let told = resume(&["--sparse=always", "--remove-destination"]);
    assert!(told.contains(&line("2 files were", "--remove-destination")), "{told:?}");
    let told = resume(&["--sparse=always", "--remove-destination"]);
    assert_eq!(told.last(), Some(&line("2 files were", "--remove-destination")));
    // Options that change no copy are not told of.
    let quiet = ["--sparse=always", "--remove-destination", "--threads=3", "--direct=never"];
    assert_eq!(resume(&quiet), told);
}

/// Metadata that is tried again makes no other copy of it.
#[test]
fn what_was_mended_is_still_as_it_was_made() {
    if !is_root("giving files away") || !have_strace() {
        return;
    }
    let scene = Scene::new();
    let trace = scene.at("trace");
    let mut command =
        strace(&["-e", "trace=utimensat", "-e", "inject=utimensat:error=EIO"], &trace);
    command.args(["--resume", "--sparse=always", "-T", "t", "d"]).current_dir(&scene.folder);
    run(&mut command, 1);
    common::place::fifo(&scene.at("t/pipe"));
    for _ in 0..2 {
        let text = scene.cp(&["--resume", "-T", "t", "d"], 1);
        let told = "3 files were finished by an earlier run: leaving out --sparse changes nothing";
        assert!(text.contains(told), "{text}");
    }
}

#[test]
fn a_filter_is_heeded_for_named_files_and_in_checks() {
    let scene = Scene::new();
    let listed = |args: &[&str]| {
        let text = stdout(&scene.sum(args, 0));
        text.lines().map(|line| line[66..].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(&["--exclude=*.log", "t/a.log", "t/b.txt"]), ["t/b.txt"]);
    assert_eq!(listed(&["--max-size=7", "t/a.log", "t/sub/c.txt"]), ["t/a.log"]);
    fs::write(scene.at("m"), stdout(&scene.sum(&["t"], 0))).unwrap();
    write(scene.at("t/a.log"), "a changed one");
    scene.sum(&["--check", "m"], 1);
    // A check of nothing proves nothing.
    for (filter, left_out, code) in [
        (&["--exclude=*.log"][..], "1 line was", 0),
        (&["--exclude=/t/a.log"], "1 line was", 0),
        (&["--exclude=t"], "3 lines were", 1),
        (&["--include=*.txt", "--include=*/", "--exclude=*"], "1 line was", 0),
        (&["--min-size=12", "--max-size=12"], "3 lines were", 1),
    ] {
        let output = scene.sum(&[filter, &["--check", "m"]].concat(), code);
        let said = format!("{left_out} not checked: the filter leaves the files out");
        assert!(stderr(&output).contains(&said), "{filter:?} {output:?}");
    }
    scene.sum(&["--exclude=*.txt", "--check", "m"], 1);
    // In an audit, paths are those below the directory.
    scene.sum(&["--exclude=/a.log", "--check", "--audit", "t", "m"], 0);
    scene.sum(&["--exclude=/t/a.log", "--check", "--audit", "t", "m"], 1);
}

#[test]
fn an_audit_knows_the_manifest_on_standard_input() {
    let scene = Scene::new();
    fs::write(scene.at("t/sums"), stdout(&scene.sum(&["t"], 0))).unwrap();
    let audit = |args: &[&str]| {
        let mut command = aiosum();
        command.current_dir(&scene.folder).args(["--check", "--audit", "t"]).args(args);
        command.stdin(fs::File::open(scene.at("t/sums")).unwrap()).output().unwrap()
    };
    for args in [&[][..], &["-"]] {
        let output = audit(args);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn one_standard_input_has_one_reader() {
    let scene = Scene::new();
    write(scene.at("list"), "b.txt\n");
    let stdin = || fs::File::open(scene.at("list")).unwrap();
    let list = ["--files-from", "--exclude-from", "--include-from"];
    for name in ["-", "/dev/stdin"] {
        for (one, other) in list.iter().flat_map(|one| list.iter().map(move |two| (one, two))) {
            if one == other && *one == "--files-from" {
                continue;
            }
            let args = [one, name, other, "-", "-T", "t", "d"];
            let output = run(aiocp().current_dir(&scene.folder).args(args).stdin(stdin()), 2);
            assert!(stderr(&output).contains("can be read only once"), "{output:?}");
        }
        let args = ["-i", "--files-from", name, "-T", "t", "d"];
        run(aiocp().current_dir(&scene.folder).args(args).stdin(stdin()), 2);
        for args in [
            &["--exclude-from", name, "-"][..],
            &["--exclude-from", name],
            &["--include-from", name, "--exclude-from", "-", "t"],
            &["--keyed", name],
            &["-", name],
            &["--check", name, "-"],
            &["--check", "--keyed", name],
        ] {
            run(aiosum().current_dir(&scene.folder).args(args).stdin(stdin()), 2);
        }
        // One reader is none too many.
        run(
            aiocp()
                .current_dir(&scene.folder)
                .args(["-nT", "--files-from", name, "t", "d"])
                .stdin(stdin()),
            0,
        );
        run(
            aiosum().current_dir(&scene.folder).args(["--exclude-from", name, "t"]).stdin(stdin()),
            0,
        );
        run(aiosum().current_dir(&scene.folder).args([name, "t"]).stdin(stdin()), 0);
    }
}

/// The exit code of a program whose stream of this number is closed, and what it said.
fn with_closed(scene: &Scene, stream: u8, program: &Command, args: &[&str]) -> Output {
    let close = if stream == 0 { "<&-" } else { ">&-" };
    let mut shell = Command::new("sh");
    shell.current_dir(&scene.folder).args(["-c", &format!("exec \"$0\" \"$@\" {close}")]);
    shell.arg(program.get_program()).args(args).stderr(Stdio::piped()).output().unwrap()
}

#[test]
fn a_stream_that_is_closed_is_no_empty_one() {
    let scene = Scene::new();
    let failed = |stream, program: &Command, args: &[&str]| {
        let output = with_closed(&scene, stream, program, args);
        assert_eq!(output.status.code(), Some(1), "{args:?} {output:?}");
        assert!(stderr(&output).contains("Bad file descriptor"), "{args:?} {output:?}");
    };
    let (cp, sum) = (aiocp(), aiosum());
    for args in [&[][..], &["-"], &["/dev/stdin"], &["--check"], &["--keyed", "t/b.txt"]] {
        failed(0, &sum, args);
    }
    failed(0, &sum, &["--exclude-from=-", "t"]);
    failed(0, &cp, &["--files-from=-", "-T", "t", "d"]);
    failed(0, &cp, &["--exclude-from=/dev/stdin", "-T", "t", "d"]);
    assert!(!scene.at("d").exists());
    write(scene.at("e"), "e");
    failed(0, &cp, &["-i", "t/b.txt", "e"]);
    for args in [&["t"][..], &["t/b.txt"], &["--help"], &["--version"], &["--completions=bash"]] {
        failed(1, &sum, args);
    }
    for args in [
        &["--manifest=-", "t/b.txt", "d1"][..],
        &["--failed-list=-", "t/b.txt", "d2"],
        &["--report=-", "t/b.txt", "d3"],
        &["--verbose", "t/b.txt", "d4"],
        &["--stats", "t/b.txt", "d5"],
        &["--json", "t/b.txt", "d6"],
        &["--dry-run", "t/b.txt", "d7"],
        &["--help"],
        &["--completions=bash"],
    ] {
        failed(1, &cp, args);
    }
    // A stream that is not needed may be closed, and /dev/null is open.
    for stream in [0, 1] {
        let output = with_closed(&scene, stream, &cp, &["t/b.txt", &format!("f{stream}")]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let null = || fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let mut sum = aiosum();
    sum.current_dir(&scene.folder).args(["-", "t"]).stdin(null()).stdout(null());
    assert_eq!(sum.status().unwrap().code(), Some(0));
}

#[test]
fn messages_that_cannot_be_written_cost_nothing_else() {
    let scene = Scene::new();
    fs::create_dir_all(scene.at("d/b.txt")).unwrap();
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    for flag in ["--progress=always", "--debug", "--progress=never"] {
        let outputs = [flag, "--manifest=m", "--failed-list=f", "--report=r"];
        let mut command = aiocp();
        command.current_dir(&scene.folder).args(outputs).args(["-T", "t", "d"]);
        let status = command.stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(1));
        assert_eq!(names(&scene.at("m")), ["a.log", "sub/c.txt"], "{flag}");
        assert_eq!(fs::read_to_string(scene.at("f")).unwrap(), "b.txt\n", "{flag}");
        assert!(fs::metadata(scene.at("r")).unwrap().len() > 1000, "{flag}");
        ["m", "f", "r"].iter().for_each(|name| fs::remove_file(scene.at(name)).unwrap());
    }
    for flag in ["--verbose", "--json"] {
        let mut command = aiocp();
        command.current_dir(&scene.folder).args([flag, "--manifest=m", "-T", "t", "d"]);
        let status = command.stdout(full()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1));
        assert_eq!(names(&scene.at("m")), ["a.log", "sub/c.txt"], "{flag}");
        fs::remove_file(scene.at("m")).unwrap();
    }
    // Lines are what aiosum is for.
    for flags in [&["--progress=always"][..], &["--debug"], &[]] {
        let mut command = aiosum();
        command.current_dir(&scene.folder).args(flags).args(["missing", "t", "t/b.txt"]);
        let output = command.stdout(Stdio::piped()).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(stdout(&output).lines().count(), 4, "{flags:?}");
    }
}

/// A path of few names, whose names begin with each other.
fn path() -> impl Strategy<Value = PathBuf> {
    let name = prop::sample::select(vec!["foo", "foofoo", "a", "b", "foo-b"]);
    prop::collection::vec(name, 1..4).prop_map(|names| names.into_iter().collect())
}

#[test]
fn a_name_on_a_list_that_is_not_there_is_told_as_in_rsync() {
    if !have("rsync") {
        return;
    }
    let cases = || {
        let files = prop::collection::vec(path(), 1..6);
        let exclude = prop::sample::select(vec!["", "foofoo", "a/", "/foo/b", "b"]);
        (files, prop::collection::vec(path(), 1..5), any::<bool>(), exclude)
    };
    random::property(200, cases, |(files, list, everything, exclude)| {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("s")).unwrap();
        for file in &files {
            let file = at("s").join(file);
            // Some are in the way of others.
            if fs::create_dir_all(file.parent().unwrap()).is_ok() && !file.exists() {
                fs::write(&file, "").unwrap();
            }
        }
        let mut lines: Vec<_> = list.iter().map(|path| path.display().to_string()).collect();
        if everything {
            lines.push("./".to_owned());
        }
        fs::write(at("list"), lines.join("\n") + "\n").unwrap();
        let args = ["-r", "--files-from=list", &format!("--exclude={exclude}")];
        let args = &args[..if exclude.is_empty() { 2 } else { 3 }];
        let mut rsync = program("rsync");
        let rsync = rsync.current_dir(&folder).args(args).args(["s/", "theirs"]).output().unwrap();
        let mut ours = aiocp();
        ours.current_dir(&folder).args(args).args(["--no-sync", "-T", "s", "ours"]);
        let ours = ours.output().unwrap();
        let are_told = !rsync.status.success();
        prop_assert_eq!(!ours.status.success(), are_told, "{:?} {:?}", ours, rsync);
        let missing: BTreeSet<_> =
            list.iter().filter(|path| at("s").join(path).symlink_metadata().is_err()).collect();
        prop_assert_eq!(missing.is_empty(), ours.status.success(), "{:?}", ours);
        Ok(())
    });
}

#[test]
fn a_run_in_place_that_is_interrupted_says_what_is_incomplete_and_how_to_continue() {
    let place = Place::new();
    fs::write(place.at("big"), noise(16 << 20, 1)).unwrap();
    fs::write(place.at("copy"), "old").unwrap();
    let next = "run the same command again to ";
    for (flag, wanted) in [
        ("--resume", "continue; a file that was being written into is incomplete until then\n"),
        ("--no-sync", "write into the rest\n"),
    ] {
        let mut command = place.command(&["--inplace", flag, "--bwlimit=100K", "big", "copy"]);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        while !catches(&child, Signal::TERM) {
            std::thread::sleep(Duration::from_millis(5));
        }
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let said = stderr(&child.wait_with_output().unwrap());
        // A warning may come before it, which names the file.
        let told = format!("aiocp: interrupted: no file copied; {next}{wanted}");
        assert!(said.ends_with(&told), "{flag}: {said}");
    }
}
