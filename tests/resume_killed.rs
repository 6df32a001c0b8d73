//! `--resume` after a run that was killed at one of its system calls, for each of them.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::interrupted::*;
use common::*;

/// The calls whose effects outlive the process. Between two of these, all moments are alike.
const CHANGES: [libc::c_long; 22] = [
    libc::SYS_openat,
    libc::SYS_mkdirat,
    libc::SYS_write,
    libc::SYS_pwrite64,
    libc::SYS_io_submit,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_mknodat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    libc::SYS_fallocate,
    libc::SYS_ftruncate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fsetxattr,
    libc::SYS_utimensat,
    libc::SYS_fsync,
    libc::SYS_flock,
    libc::SYS_exit_group,
];

/// Makes a tree with a little of everything, and an older version of it.
fn make_tiny_trees(source: &Path, old: &Path) {
    for (root, seed) in [(source, 1), (old, 2)] {
        fs::create_dir_all(root.join("d")).unwrap();
        for n in 0..3 {
            fs::write(root.join(format!("d/{n}")), noise(n * 999 + seed, n as u64)).unwrap();
        }
        fs::write(root.join("big"), noise(1300 * KIB + seed, seed as u64)).unwrap();
    }
    fs::hard_link(source.join("d/1"), source.join("twice")).unwrap();
    symlink("big", source.join("link")).unwrap();
}

/// Asserts that every file with its final name is whole: the new file or the old one.
fn all_are_whole(source: &Path, old: &Path, target: &Path) {
    let (new, old) = (describe(source), describe(old));
    for (path, what) in describe(target) {
        let contents = |line: &str| line.splitn(3, ' ').nth(2).unwrap().to_owned();
        let is = |tree: &BTreeMap<PathBuf, String>, name: &str| {
            tree.get(Path::new(name)).is_some_and(|line| contents(line) == contents(&what))
        };
        let name = path.to_str().unwrap();
        let is_whole = match name.strip_suffix('~') {
            // A kill between making a new link and recording it leaves the link. The next run takes
            // it for an older one.
            Some("link") => true,
            Some(name) => is(&old, name),
            None => is(&new, name) || is(&old, name) || path.file_name().is_some_and(is_ours),
        };
        assert!(is_whole, "{path:?} is not whole: {what}");
    }
}

fn is_ours(name: &std::ffi::OsStr) -> bool {
    name.to_string_lossy().starts_with(".aiocp-")
}

#[test]
fn killed_at_each_system_call_it_goes_on() {
    kill_at_each_system_call(false);
}

#[test]
fn killed_at_each_system_call_of_a_merge_it_goes_on() {
    kill_at_each_system_call(true);
}

/// Kills runs at each system call, and every second time the next run at some call too. With
/// `replaces`, the destination already has older files.
fn kill_at_each_system_call(replaces: bool) {
    // In memory: a kill leaves the page cache intact, and a thousand runs that wait for a device
    // would take minutes.
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| folder.path().join(name);
    let (source, old, target) = (at("source"), at("old"), at("target"));
    make_tiny_trees(&source, &old);
    fs::create_dir(at("lists")).unwrap();
    let command = || {
        let mut command = resume(&source, &target);
        command.args(["--threads=2", "--backup=simple", "--manifest"]).arg(at("lists/manifest"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let mut random = fastrand::Rng::with_seed(7);
    let mut killed = 0;
    for call in CHANGES {
        for nth in 1.. {
            if replaces {
                must(Command::new("cp").args(["-a", "-T"]).arg(&old).arg(&target));
            }
            if !tracer::kill_at(&mut command(), &[call], nth) {
                fs::remove_dir_all(&target).unwrap();
                break;
            }
            killed += 1;
            // Without a journal, and with what only the new tree has, the run had finished before
            // the kill.
            let is_over = || {
                journals(folder.path()).is_empty() && target.join("link").symlink_metadata().is_ok()
            };
            let look =
                || all_are_whole(&source, &old, if target.exists() { &target } else { &old });
            look();
            if killed % 2 == 0 && !is_over() {
                tracer::kill_at(&mut command(), &CHANGES, random.u64(1..200));
                look();
            }
            if !is_over() {
                run(&mut command(), 0);
            }
            is_right(
                &source,
                replaces.then_some(&*old),
                &target,
                &format!("{nth}. call of {call}"),
            );
            check_manifest(&fs::read_to_string(at("lists/manifest")).unwrap(), &target);
            // The manifest is first written beside its final name.
            let _gone = litter(&at("lists")).into_iter().map(fs::remove_file).count();
            assert!(
                litter(folder.path()).is_empty(),
                "{nth}. call of {call}: {:?}",
                litter(folder.path())
            );
            fs::remove_dir_all(&target).unwrap();
        }
    }
    assert!(killed > 150, "killed {killed} times");
}

/// Asserts that both trees are the same and that each replaced file has its backup. Removes the
/// backups.
fn is_right(source: &Path, replaced: Option<&Path>, target: &Path, when: &str) {
    let _gone = fs::remove_file(target.join("link~"));
    for name in ["big", "d/0", "d/1", "d/2"] {
        let backup = target.join(format!("{name}~"));
        assert_eq!(backup.exists(), replaced.is_some(), "{when}: {backup:?}");
        if let Some(old) = replaced {
            assert!(
                fs::read(&backup).unwrap() == fs::read(old.join(name)).unwrap(),
                "{when}: {backup:?} is the old file"
            );
            fs::remove_file(backup).unwrap();
        }
    }
    // Removing them changed the times of their folder.
    for folder in [target, &target.join("d"), source, &source.join("d")] {
        set_times(folder, 1, 1);
    }
    are_identical(source, target);
    let ino = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
    assert_eq!(ino("twice"), ino("d/1"), "two names of one file");
}

/// A further name that replaces a file is hidden first, and a kill may leave it so. What removes it
/// changes the change time of the copy, which is none the less what it was.
#[test]
fn killed_while_a_further_name_replaces_a_file_it_goes_on() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| folder.path().join(name);
    let (source, target) = (at("source"), at("target"));
    // The first name is met, and recorded, before the folder of the other is gone through.
    fs::create_dir_all(source.join("d")).unwrap();
    fs::write(source.join("a"), "new").unwrap();
    fs::hard_link(source.join("a"), source.join("d/b")).unwrap();
    set_times(&source.join("a"), 1_000_000_000, 1);
    for options in [&["--backup=simple"][..], &[]] {
        for call in [libc::SYS_linkat, libc::SYS_renameat, libc::SYS_renameat2, libc::SYS_unlinkat]
        {
            for nth in 1.. {
                fs::create_dir_all(target.join("d")).unwrap();
                for name in ["a", "d/b"] {
                    fs::write(target.join(name), "old").unwrap();
                }
                let command = || {
                    let mut command = resume(&source, &target);
                    command.arg("--threads=1").args(options);
                    command
                };
                let was_killed = tracer::kill_at(&mut command(), &[call], nth);
                let when = format!("{options:?}: {nth}. call of {call}");
                if was_killed {
                    assert_eq!(stderr(&run(&mut command(), 0)), "", "{when}");
                }
                let ino = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
                assert_eq!(ino("a"), ino("d/b"), "{when}");
                for name in ["a~", "d/b~"] {
                    let backup = fs::read_to_string(target.join(name)).ok();
                    assert_eq!(backup.as_deref(), options.first().map(|_| "old"), "{when}: {name}");
                }
                fs::remove_dir_all(&target).unwrap();
                if !was_killed {
                    break;
                }
            }
        }
    }
}

#[test]
fn what_has_its_name_and_no_record_is_in_the_manifest_all_the_same() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let at = |name: &str| folder.path().join(name);
    make_tiny_trees(&at("source"), &at("old"));
    for (flag, call) in [("--no-clobber", libc::SYS_linkat), ("--update", libc::SYS_pwrite64)] {
        let command = || {
            let mut command = resume(&at("source"), &at("target"));
            command.args([flag, "--threads=1", "--manifest"]).arg(at("manifest"));
            command
        };
        for nth in 1.. {
            let was_killed = tracer::kill_at(&mut command(), &[call], nth);
            if was_killed {
                run(&mut command(), 0);
            }
            check_manifest(&fs::read_to_string(at("manifest")).unwrap(), &at("target"));
            fs::remove_dir_all(at("target")).unwrap();
            if !was_killed {
                assert!(nth > 4, "{flag}: it was killed {nth} times");
                break;
            }
        }
    }
}

#[test]
fn a_copy_that_lost_metadata_is_not_made_a_backup_of_the_next_time() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    make_tiny_trees(&at("source"), &at("old"));
    for entry in walkdir::WalkDir::new(at("source")) {
        let path = entry.unwrap().into_path();
        if !path.is_symlink() {
            rustix::fs::setxattr(&path, "user.note", b"a note", rustix::fs::XattrFlags::empty())
                .unwrap();
        }
    }
    must(Command::new("cp").args(["-a", "-T"]).arg(at("old")).arg(at("target")));
    fs::write(at("target/twice"), "old").unwrap();
    let arguments = |command: &mut Command| {
        command.args(["--resume", "-T", "--backup=simple", "--preserve=xattr"]).args(TUNING);
        command.arg(at("source")).arg(at("target"));
    };
    // No attribute can be set, neither the first time nor the second.
    for _ in 0..2 {
        let calls =
            ["-e", "trace=setxattr,fsetxattr", "-e", "inject=setxattr,fsetxattr:error=ENOSPC"];
        let mut command = strace(&calls, &at("trace"));
        arguments(&mut command);
        let said = stderr(&run(&mut command, 1));
        for name in ["big", "d/0", "d/2", "d"] {
            let path = at("target").join(name);
            assert!(
                said.contains(&format!("cannot set attribute of '{}'", path.display())),
                "{name}: {said}"
            );
        }
        assert_eq!(journals(folder.path()).len(), 1);
    }
    let mut command = aiocp();
    arguments(command.arg("--stats"));
    let stats = run(&mut command, 0);
    assert_eq!(stderr(&stats), "");
    assert_eq!(written_bytes(&String::from_utf8(stats.stdout).unwrap()), 0);
    for name in ["big", "d", "d/0", "d/1", "d/2", "twice"] {
        let mut value = [0; 16];
        let len =
            rustix::fs::getxattr(at("target").join(name), "user.note", &mut value[..]).unwrap();
        assert_eq!(&value[..len], b"a note", "{name}");
    }
    assert_eq!(fs::read(at("target/twice~")).unwrap(), b"old");
    fs::remove_file(at("target/twice~")).unwrap();
    is_right(&at("source"), Some(&at("old")), &at("target"), "three runs");
    assert!(journals(folder.path()).is_empty());
}
