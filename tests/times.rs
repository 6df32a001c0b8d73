//! Times as filesystems store them: in steps of 1 ns to 2 s. What was cut off is no change, and
//! what was changed within a step is no proof.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::folding::{Foreign, Names, Times};
use common::place::fifo;
use common::*;

const NANOS: [u64; 5] = [1, 100, 10_000_000, 1_000_000_000, 2_000_000_000];

/// Filesystems with steps from 1 ns to 2 s, whose change time tells something or nothing.
fn foreign_filesystems() -> impl Iterator<Item = (Times, Foreign)> {
    let all = NANOS.into_iter().flat_map(|nanos| [(nanos, false), (nanos, true)]);
    all.map_while(|(nanos, repeats)| {
        let times = Times { step: Duration::from_nanos(nanos), repeats };
        Some((times, Foreign::new(Names::Exact, times)?))
    })
}

fn copy(options: &[&str], source: &Path, target: &Path) -> String {
    let output = run(aiocp().args(options).arg("-T").arg(source).arg(target), 0);
    String::from_utf8(output.stdout).unwrap()
}

/// Sources whose times are hard to store, and the second from which they are.
fn make_sources(root: &Path) -> Vec<PathBuf> {
    fs::create_dir(root).unwrap();
    let times = [(1_700_000_000, 1), (1_700_000_001, 678_901_234), (1_700_000_001, 999_999_999)];
    let mut files = Vec::new();
    for (n, (seconds, nanos)) in times.into_iter().enumerate() {
        let file = root.join(n.to_string());
        fs::write(&file, "one").unwrap();
        set_times(&file, seconds, nanos);
        files.push(file);
    }
    files
}

#[test]
fn u_copies_nothing_again_for_what_the_destination_cannot_store() {
    for (times, foreign) in foreign_filesystems() {
        let folder = folder();
        let source = folder.path().join("s");
        let files = make_sources(&source);
        let target = foreign.path.join("t");
        copy(&["-u"], &source, &target);
        for options in [&["-u", "-v"][..], &["-u", "-b", "-v"], &["-u", "--dry-run"]] {
            let told = copy(options, &source, &target);
            // A dry run makes no file to find out whether seconds are even for want of a better.
            let is_known = options[1] != "--dry-run" || times.step.as_secs() < 2;
            let copied = told.lines().filter(|line| line.contains("->")).count();
            assert!(copied == 0 || !is_known, "{times:?} {options:?}: {told}");
            assert_eq!(fs::read_dir(&target).unwrap().count(), files.len(), "{times:?}: {told}");
        }
        // What is newer by a step is newer.
        for (n, file) in files.iter().enumerate() {
            let modified = file.metadata().unwrap().modified().unwrap();
            fs::write(file, "two").unwrap();
            let later = modified + times.step;
            File::options().write(true).open(file).unwrap().set_modified(later).unwrap();
            copy(&["-u"], &source, &target);
            let copy = fs::read_to_string(target.join(n.to_string())).unwrap();
            assert_eq!(copy, "two", "{times:?}: later by a step");
        }
        assert!(litter(&foreign.path).is_empty());
    }
}

#[test]
fn a_second_that_was_set_by_hand_is_older_than_its_fraction() {
    let times = Times { step: Duration::from_nanos(1), repeats: false };
    let repeating = Times { repeats: true, ..times };
    let foreign = [times, repeating].map(|times| Foreign::new(Names::Exact, times));
    let ours = folder();
    let foreign_paths = foreign.iter().flatten().map(|foreign| foreign.path.as_path());
    for path in foreign_paths.chain([ours.path()]) {
        let (source, target) = (path.join("s"), path.join("t"));
        fs::write(&source, "new").unwrap();
        fs::write(&target, "old").unwrap();
        set_times(&source, 1_700_000_000, 5_000_000);
        set_times(&target, 1_700_000_000, 0);
        copy(&["-u"], &source, &target);
        assert_eq!(fs::read_to_string(&target).unwrap(), "new", "{path:?}");
    }
}

/// An ext4 whose inodes have no room for fractions of a second.
fn whole_seconds() -> Option<Seconds> {
    if !can_mount("ext4") {
        return None;
    }
    let folder = folder();
    let (image, path) = (folder.path().join("image"), folder.path().join("m"));
    File::create(&image).unwrap().set_len(64 << 20).unwrap();
    fs::create_dir(&path).unwrap();
    must(program("mkfs.ext4").args(["-q", "-F", "-I", "128"]).arg(&image));
    must(program("mount").args(["-o", "loop"]).arg(&image).arg(&path));
    Some(Seconds { path, _folder: folder })
}

struct Seconds {
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Drop for Seconds {
    fn drop(&mut self) {
        unmount(&self.path);
    }
}

/// Sleeps until a second has just begun.
fn wait_for_a_second() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let left = Duration::from_secs(1) - Duration::from_nanos(now.subsec_nanos().into());
    std::thread::sleep(left + Duration::from_millis(20));
}

#[test]
fn u_copies_nothing_again_to_whole_seconds() {
    let Some(seconds) = whole_seconds() else { return };
    let folder = folder();
    let (source, target) = (folder.path().join("s"), seconds.path.join("t"));
    make_sources(&source);
    copy(&["-u"], &source, &target);
    for options in [&["-u", "-v"][..], &["-ub", "-v"], &["-u", "--stats"]] {
        let told = copy(options, &source, &target);
        assert!(!told.contains("->"), "{told}");
    }
    assert_eq!(fs::read_dir(&target).unwrap().count(), 3);
}

/// Edits a file in place again and again, each time all of it with the next letter, and gives it
/// its time back.
fn edit(path: &Path, stop: &AtomicBool) {
    let file = File::options().write(true).open(path).unwrap();
    let bytes = path.metadata().unwrap().len() as usize;
    for letter in (b'a'..=b'z').cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        file.write_all_at(&vec![letter; bytes], 0).unwrap();
        std::thread::sleep(Duration::from_micros(300));
    }
}

fn is_of_one_letter(copy: &[u8]) -> bool {
    copy.iter().all(|byte| *byte == copy[0])
}

/// A copy that a run called good is no mixture, though all edits lie within a second.
#[test]
fn a_file_that_is_edited_while_it_is_copied_is_whole_or_fails() {
    let Some(seconds) = whole_seconds() else { return };
    let ours = folder();
    let foreign =
        Foreign::new(Names::Exact, Times { step: Duration::from_secs(2), repeats: false });
    let foreign = foreign.iter().map(|foreign| foreign.path.as_path());
    let paths = [seconds.path.as_path(), ours.path()].into_iter().chain(foreign);
    let sizes = [300_000, 3 << 20];
    all_at_once(paths.flat_map(|path| sizes.map(|bytes| (path, bytes))), |(path, bytes)| {
        let (source, target) =
            (path.join(format!("edited-{bytes}")), path.join(format!("copy-{bytes}")));
        let mut good = 0;
        for _ in 0..3 {
            fs::write(&source, vec![b'_'; bytes]).unwrap();
            wait_for_a_second();
            let stop = AtomicBool::new(false);
            let output: Output = std::thread::scope(|scope| {
                scope.spawn(|| {
                    edit(&source, &stop);
                });
                let output = aiocp().arg("--verify").arg(&source).arg(&target).output();
                stop.store(true, Ordering::Relaxed);
                output.unwrap()
            });
            if output.status.success() {
                good += 1;
                assert!(is_of_one_letter(&fs::read(&target).unwrap()), "{path:?}: a mixture");
            } else {
                assert!(stderr(&output).contains("changed"), "{output:?}");
            }
        }
        writeln!(std::io::stderr(), "{path:?}, {bytes} bytes: {good} of 3 copied").unwrap();
    });
}

/// Leaves a run with `--resume` unfinished, since one file of it fails.
fn leave_unfinished(source: &Path, target: &Path) {
    let pipe = source.join("pipe");
    fifo(&pipe);
    run(aiocp().args(["--resume", "-T"]).arg(source).arg(target), 1);
    fs::remove_file(pipe).unwrap();
}

fn resume(source: &Path, target: &Path) -> u64 {
    let output = run(aiocp().args(["--resume", "--stats", "-T"]).arg(source).arg(target), 0);
    figure(&String::from_utf8(output.stdout).unwrap(), "finished earlier")
}

#[test]
fn resume_does_not_believe_what_was_edited_in_the_same_second() {
    let Some(seconds) = whole_seconds() else { return };
    let (source, target) = (seconds.path.join("s"), seconds.path.join("t"));
    for round in 0..3 {
        fs::create_dir(&source).unwrap();
        wait_for_a_second();
        fs::write(source.join("a"), "AAAA").unwrap();
        leave_unfinished(&source, &target);
        fs::write(source.join("a"), "BBBB").unwrap();
        resume(&source, &target);
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "BBBB", "round {round}");
        fs::remove_dir_all(&source).unwrap();
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn resume_believes_what_was_copied_at_every_step() {
    all_at_once(foreign_filesystems(), |(times, foreign)| {
        let folder = folder();
        let ours = folder.path().join("s");
        make_sources(&ours);
        // From there to here, and from here to there.
        let theirs = foreign.path.join("s");
        copy(&[], &ours, &theirs);
        std::thread::sleep(Duration::from_millis(100));
        for (source, target) in
            [(&ours, foreign.path.join("t")), (&theirs, folder.path().join("t"))]
        {
            leave_unfinished(source, &target);
            let resumed = resume(source, &target);
            assert_eq!(resumed, 3, "{times:?}: {source:?}");
        }
    });
}

#[test]
fn a_copy_that_was_edited_between_two_runs_is_copied_again() {
    for (name, options) in [("linked", &["--resume"][..]), ("followed", &["--resume", "-L"])] {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let (source, target) = (at("s"), at("t"));
        fs::create_dir(&source).unwrap();
        fs::write(source.join("a"), "good contents").unwrap();
        match name {
            "linked" => fs::hard_link(source.join("a"), at("other")).unwrap(),
            _ => symlink("a", source.join("b")).unwrap(),
        }
        let pipe = source.join("pipe");
        fifo(&pipe);
        run(aiocp().args(options).arg("-T").arg(&source).arg(&target), 1);
        fs::remove_file(pipe).unwrap();
        if name == "followed" {
            // Its copies are two names of one file; without the second, its change time counts.
            fs::remove_file(target.join("b")).unwrap();
        }
        let stat = target.join("a").metadata().unwrap();
        let file = File::options().write(true).open(target.join("a")).unwrap();
        file.write_all_at(b"BAD!", 0).unwrap();
        file.set_modified(stat.modified().unwrap()).unwrap();
        assert_eq!(target.join("a").metadata().unwrap().mtime_nsec(), stat.mtime_nsec());
        run(aiocp().args(options).arg("-T").arg(&source).arg(&target), 0);
        assert_eq!(fs::read_to_string(target.join("a")).unwrap(), "good contents", "{name}");
    }
}
