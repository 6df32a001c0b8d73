//! What is written beside a copy: what cannot be written is refused before anything is copied, and
//! whose a file was it stays.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

use common::elsewhere::Elsewhere;
use common::hard::{ACCESS, acl, set_mode, set_xattr, xattr};
use common::*;

const FLAGS: [&str; 3] = ["--manifest", "--failed-list", "--report"];

/// A folder with a tree `s` of two files, in which everyone may write.
struct Scene {
    folder: Elsewhere,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { folder: Elsewhere::new() };
        set_mode(scene.folder.path(), 0o777);
        fs::create_dir(scene.at("s")).unwrap();
        fs::write(scene.at("s/f"), "f").unwrap();
        fs::write(scene.at("s/g"), "g").unwrap();
        scene
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn cp(&self, args: &[&str], code: i32) -> Output {
        run(aiocp().current_dir(self.folder.path()).args(args), code)
    }

    /// Runs it as a user without rights.
    fn cp_as_user(&self, args: &[&str], code: i32) -> Output {
        run(self.folder.as_user(65534).arg(self.folder.aiocp()).args(args), code)
    }
}

/// Whether there is a user without rights to be tried as.
fn have_user() -> bool {
    can_mount("tmpfs") && have("setpriv")
}

#[test]
fn what_cannot_be_written_at_the_end_is_refused_before_anything_is_copied() {
    if !have_user() {
        return;
    }
    let scene = Scene::new();
    fs::create_dir(scene.at("ro")).unwrap();
    fs::write(scene.at("ro/private"), "").unwrap();
    for flag in FLAGS {
        for place in ["ro/new", "ro/private", "nowhere/new", "s"] {
            let text = stderr(&scene.cp_as_user(&[flag, place, "-T", "s", "d"], 1));
            assert!(text.contains(&format!("cannot write '{place}': ")), "{flag} {text}");
            assert!(!scene.at("d").exists(), "{flag} {place}");
        }
    }
    let text = stderr(&scene.cp_as_user(&["--log-file=ro/new", "-T", "s", "d"], 1));
    assert!(text.contains("cannot open the log 'ro/new': Permission denied"), "{text}");
    assert!(!scene.at("d").exists());
}

#[test]
fn what_may_be_written_and_not_replaced_is_written_over() {
    if !have_user() {
        return;
    }
    let scene = Scene::new();
    for (folder, mode) in [("ro", 0o755), ("sticky", 0o1777)] {
        fs::create_dir(scene.at(folder)).unwrap();
        set_mode(&scene.at(folder), mode);
        for flag in FLAGS {
            let file = scene.at(folder).join("m");
            fs::write(&file, "old ".repeat(1 << 20)).unwrap();
            set_mode(&file, 0o666);
            let number = fs::metadata(&file).unwrap().ino();
            let place = format!("{folder}/m");
            scene.cp_as_user(&[flag, &place, "-T", "s", "d"], 0);
            let (text, stat) = (fs::read_to_string(&file).unwrap(), fs::metadata(&file).unwrap());
            assert!(!text.contains("old "), "{place} {flag}");
            assert_eq!(text.is_empty(), flag == "--failed-list");
            assert_eq!((stat.uid(), stat.ino()), (0, number), "{place} {flag}");
            fs::remove_dir_all(scene.at("d")).unwrap();
        }
    }
    // A mount point cannot be replaced either.
    fs::write(scene.at("m"), "old").unwrap();
    fs::write(scene.at("below"), "old").unwrap();
    let bind = program("mount")
        .args(["--bind", "below", "m"])
        .current_dir(scene.folder.path())
        .status()
        .unwrap();
    assert!(bind.success());
    let output = aiocp()
        .current_dir(scene.folder.path())
        .args(["--manifest=m", "-T", "s", "d"])
        .output()
        .unwrap();
    unmount(&scene.at("m"));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read_to_string(scene.at("below")).unwrap().lines().count(), 2);
}

#[test]
fn a_file_that_is_replaced_stays_whose_it_was() {
    if !is_root("another owner") {
        return;
    }
    let scene = Scene::new();
    for flag in FLAGS {
        let file = scene.at("m");
        for (mode, wanted) in [(0o600, 0o600), (0o4640, 0o640), (0o444, 0o444)] {
            fs::write(&file, "old").unwrap();
            chown(&file, Some(1), Some(2)).unwrap();
            set_mode(&file, mode);
            scene.cp(&[flag, "m", "-T", "s", "d"], 0);
            let stat = fs::metadata(&file).unwrap();
            assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (1, 2, wanted), "{flag}");
            fs::remove_file(&file).unwrap();
            fs::remove_dir_all(scene.at("d")).unwrap();
        }
        // User 1 may read it, and the group may not.
        let list = acl([6, 4, 0, 0, 4, 0]);
        fs::write(&file, "old").unwrap();
        set_xattr(&file, ACCESS, &list);
        scene.cp(&[flag, "m", "-T", "s", "d"], 0);
        assert_eq!(xattr(&file, ACCESS), Some(list), "{flag}");
        fs::remove_file(&file).unwrap();
        fs::remove_dir_all(scene.at("d")).unwrap();
        // A new one is as open(2) makes it.
        scene.cp(&[flag, "m", "-T", "s", "d"], 0);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o137, 0o004, "{flag}");
        fs::remove_file(&file).unwrap();
        fs::remove_dir_all(scene.at("d")).unwrap();
    }
}

#[test]
fn a_user_who_replaces_a_file_of_another_group_gives_that_no_rights() {
    if !have_user() {
        return;
    }
    let scene = Scene::new();
    fs::write(scene.at("m"), "old").unwrap();
    chown(scene.at("m"), Some(1), Some(2)).unwrap();
    set_mode(&scene.at("m"), 0o660);
    scene.cp_as_user(&["--manifest=m", "-T", "s", "d"], 0);
    let stat = fs::metadata(scene.at("m")).unwrap();
    assert_eq!((stat.uid(), stat.mode() & 0o777), (65534, 0o600));
}

#[test]
fn a_log_is_no_file_of_the_copy() {
    let scene = Scene::new();
    symlink("s/f", scene.at("link")).unwrap();
    let refused = |log: &str, more: &[&str]| {
        let args = [&["--log-file", log][..], more, &["-T", "s", "d"]].concat();
        let text = stderr(&scene.cp(&args, 1));
        assert!(text.contains("the log would overwrite '"), "{log} {text}");
        assert_eq!(fs::read(scene.at("s/f")).unwrap(), b"f", "{log}");
        assert!(!scene.at("d").exists() && !scene.at("s/new").exists(), "{log}");
    };
    for log in ["s/f", "./s/../s/f", "link", "s/new"] {
        refused(log, &[]);
        refused(log, &["--dry-run"]);
        refused(log, &["--exclude=g"]);
        refused(log, &["--resume"]);
    }
    fs::create_dir(scene.at("d")).unwrap();
    let text = stderr(&scene.cp(&["--log-file=d/f", "-T", "s", "d"], 1));
    assert!(text.contains("the log would overwrite 'd/f'"), "{text}");
    assert!(!scene.at("d/f").exists() && !scene.at("d/g").exists());
    // What is not copied may be the log, and so may what only the destination has.
    for (log, more) in [("s/log", &["--exclude=/log"][..]), ("d/log", &[]), ("log", &[])] {
        scene.cp(&[&["--log-file", log], more, &["-T", "s", "d"]].concat(), 0);
        let text = fs::read_to_string(scene.at(log)).unwrap();
        assert!(text.contains("begun: ") && text.contains("ended with exit code 0"), "{text}");
        fs::remove_file(scene.at(log)).unwrap();
    }
    // Nothing could be copied, and the log says why.
    scene.cp(&["--log-file=log", "missing", "d/x/y"], 1);
    let text = fs::read_to_string(scene.at("log")).unwrap();
    assert!(text.contains("begun: ") && text.contains("failed: cannot"), "{text}");
}

#[test]
fn a_dry_run_writes_over_no_source() {
    for flag in ["--failed-list", "--report"] {
        let scene = Scene::new();
        let text = stderr(&scene.cp(&["--dry-run", flag, "s/f", "-T", "s", "d"], 1));
        assert!(text.contains("would overwrite 's/f'"), "{text}");
        assert_eq!(fs::read(scene.at("s/f")).unwrap(), b"f");
    }
}

#[test]
fn log_and_report_say_the_exit_code_that_the_process_has() {
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    type Spoil = fn(&mut Command, fs::File);
    let out: Spoil = |command, file| _ = command.stdout(file);
    let err: Spoil = |command, file| _ = command.stderr(file);
    for (args, spoil) in [
        (&["--verbose"][..], out),
        (&["--stats"], out),
        (&["--json"], out),
        (&["--debug"], err),
        (&["--progress=always"], err),
        (&[], err),
    ] {
        let scene = Scene::new();
        let mut command = aiocp();
        command.current_dir(scene.folder.path()).args(args);
        command.args(["--log-file=log", "--report=r", "-T", "s", "d"]);
        spoil(&mut command, full());
        let code = command.status().unwrap().code().unwrap();
        let log = fs::read_to_string(scene.at("log")).unwrap();
        assert!(log.lines().last().unwrap().contains(&format!("exit code {code}: ")), "{log}");
        assert_eq!(log.contains("failed: cannot write to std"), code == 1, "{args:?} {log}");
        let page = fs::read_to_string(scene.at("r")).unwrap();
        assert_eq!(code_of(&page), code.to_string(), "{args:?}");
        assert_eq!(code, i32::from(!args.is_empty()), "{args:?}");
    }
}

/// The exit code that a report says.
fn code_of(page: &str) -> &str {
    let (_, rest) = page.split_once("Exit code").unwrap();
    let digits = rest.find(|c: char| c.is_ascii_digit()).unwrap();
    let rest = &rest[digits..];
    &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap()]
}

#[test]
fn a_manifest_that_is_lost_is_told_when_it_happens() {
    let scene = Scene::new();
    // Paths that are too many for memory, while there is no folder for temporary files.
    let deep = (0..12).fold(scene.at("s"), |path, _| path.join("d".repeat(240)));
    fs::create_dir_all(&deep).unwrap();
    for n in 0..2900 {
        fs::write(deep.join(format!("{n}{}", "y".repeat(200))), "").unwrap();
    }
    let mut command = aiocp();
    command.current_dir(scene.folder.path()).env("TMPDIR", "/nonexistent");
    command.args(["--no-sync", "--manifest=m", "--log-file=log", "-T", "s", "d"]);
    let text = stderr(&run(&mut command, 1));
    let told = "; the copy continues, and writes no manifest, list or report";
    assert_eq!(text.matches(told).count(), 1, "{text}");
    assert!(text.contains("a temporary file of the manifest in '/nonexistent'"), "{text}");
    assert!(!scene.at("m").exists() && scene.at("d/g").exists());
    let mut command = aiocp();
    command.current_dir(scene.folder.path()).env("TMPDIR", "/no'where");
    let text = stderr(&run(command.args(["--dry-run", "-T", "s", "e"]), 1));
    assert!(text.contains("cannot write a temporary file in \"/no'where\": "), "{text}");
}
