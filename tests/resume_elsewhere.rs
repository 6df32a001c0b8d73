//! `--resume` on filesystems whose files have no number that lasts: half-copied files are gone on
//! with all the same, and what was finished is known again.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::held::while_stopped;
use common::interrupted::{BIG_BYTES, journals, resume};
use common::passing::Passed;
use common::*;

/// What is kept at least of each of two files that are killed in the middle.
const KEPT_BYTES: u64 = 512 << 10;

/// Two big files in one directory, which are told apart by nothing but what they hold.
fn make_two(source: &Path) {
    fs::create_dir_all(source.join("d")).unwrap();
    for (name, seed) in [("one", 1), ("two", 2)] {
        let path = source.join("d").join(name);
        fs::write(&path, noise(BIG_BYTES, seed)).unwrap();
        set_times(&path, 1_000_000_000, 5);
    }
}

/// The temporaries in a directory.
fn temporaries(folder: &Path) -> Vec<PathBuf> {
    litter(folder).into_iter().filter(|path| !path.to_string_lossy().contains("journal")).collect()
}

/// Runs a command slowly, and kills it when its journal says that enough is durable. What a file
/// takes of the device is not told truly everywhere.
fn killed(mut command: Command, target: &Path) {
    const HEADER_BYTES: u64 = 96;
    const PART_RECORD_BYTES: u64 = 4 + 4 + 25 + 2 * 32 + 16;
    const PART_BYTES: u64 = 128 << 10;
    let recorded_bytes = || {
        let journal = journals(target.parent().unwrap()).pop();
        journal.and_then(|path| fs::metadata(path).ok()).map_or(0, |journal| journal.len())
    };
    // Room for the records that begin two files, and for as many parts of each.
    let wanted_bytes =
        recorded_bytes().max(HEADER_BYTES) + 600 + 2 * KEPT_BYTES / PART_BYTES * PART_RECORD_BYTES;
    let mut child =
        command.arg("--bwlimit=3M").stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    while recorded_bytes() < wanted_bytes {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(1));
    }
    // A kill in the middle of a call would tear the record that is being written through FUSE.
    let copy = rustix::process::Pid::from_child(&child);
    let kill = || rustix::process::kill_process(copy, rustix::process::Signal::KILL).unwrap();
    while_stopped(&child, kill);
    child.wait().unwrap();
}

/// Kills a copy of two files, and has it gone on with after `meanwhile`: nothing of what was
/// durable is copied again.
fn goes_on(source: &Path, target: &Path, meanwhile: impl FnOnce(&[PathBuf])) {
    killed(resume(source, target), target);
    let left = temporaries(target);
    assert!(!left.is_empty());
    meanwhile(&left);
    let output = run(resume(source, target).arg("--stats"), 0);
    let stats = String::from_utf8_lossy(&output.stdout);
    assert_eq!(stderr(&output), "", "nothing is copied again");
    assert!(figure(&stats, "bytes of half-copied files kept") >= KEPT_BYTES, "{stats}");
    let written = figure(&stats, "written bytes");
    assert!(written <= 2 * BIG_BYTES as u64 - KEPT_BYTES, "{written} bytes were copied again");
    assert_equal_contents(source, target);
    assert_eq!(litter(target.parent().unwrap()), Vec::<PathBuf>::new());
}

fn assert_equal_contents(source: &Path, target: &Path) {
    for entry in walkdir::WalkDir::new(source).into_iter().map(|entry| entry.unwrap()) {
        let copy = target.join(entry.path().strip_prefix(source).unwrap());
        if entry.file_type().is_file() {
            assert!(fs::read(entry.path()).unwrap() == fs::read(&copy).unwrap(), "{copy:?}");
        }
    }
}

#[test]
fn half_copied_files_are_gone_on_with_behind_fuse_also_with_other_numbers() {
    let (behind, from) = (folder(), folder());
    let source = from.path().join("src");
    make_two(&source);
    let Some(mut passed) = Passed::new(behind.path(), 1000) else { return };
    let there = passed.path.clone();
    goes_on(&source, &there.join("same"), |_| ());
    goes_on(&source, &there.join("again"), |_| passed.mount_again(behind.path(), 5000));
}

#[test]
fn an_entry_that_has_the_name_of_a_temporary_gets_it_also_behind_fuse() {
    let (behind, from) = (folder(), folder());
    let source = from.path().join("src");
    make_two(&source);
    let Some(passed) = Passed::new(behind.path(), 1000) else { return };
    let target = passed.path.join("dst");
    goes_on(&source, &target, |left| {
        for path in left {
            let name = path.strip_prefix(&target).unwrap();
            fs::write(source.join(name), "an entry's").unwrap();
        }
        // Killed once more, before and behind the renaming.
        for threads in ["--threads=1", "--threads=2"] {
            killed(resume(&source, &target).tap(threads), &target);
        }
        for path in left {
            fs::remove_file(source.join(path.strip_prefix(&target).unwrap())).unwrap();
            if fs::read(path).is_ok_and(|held| held == b"an entry's") {
                fs::remove_file(path).unwrap();
            }
        }
    });
}

/// A command with one more argument, by value.
trait Tap {
    fn tap(self, arg: &str) -> Self;
}

impl Tap for Command {
    fn tap(mut self, arg: &str) -> Self {
        self.arg(arg);
        self
    }
}

#[test]
fn what_has_no_record_is_removed_and_what_is_none_of_ours_stays_behind_fuse() {
    let (behind, from) = (folder(), folder());
    let source = from.path().join("src");
    make_two(&source);
    let Some(passed) = Passed::new(behind.path(), 1000) else { return };
    let target = passed.path.join("dst");
    killed(resume(&source, &target), &target);
    let left = temporaries(&target);
    // Sources that are gone, and a stranger's file with a name that looks like a hidden one.
    let stranger = target.join("d/.aiocp-0123456789abcdef0123456789abcdef");
    fs::write(&stranger, "precious").unwrap();
    fs::remove_file(source.join("d/one")).unwrap();
    fs::remove_file(source.join("d/two")).unwrap();
    fs::write(source.join("d/three"), "three").unwrap();
    run(&mut resume(&source, &target), 0);
    assert!(left.iter().all(|path| !path.exists()), "{left:?}");
    assert_eq!(fs::read(&stranger).unwrap(), b"precious");
}

#[test]
fn half_copied_files_are_gone_on_with_on_an_overlay() {
    let Some(memory) = Mounted::memory("tmpfs", "size=64m") else { return };
    let at = |name: &str| memory.path.join(name);
    for name in ["lower", "upper", "work", "merged", "src"] {
        fs::create_dir(at(name)).unwrap();
    }
    let layers = ["lower", "upper", "work"].map(|name| at(name).display().to_string());
    let options = format!("lowerdir={},upperdir={},workdir={}", layers[0], layers[1], layers[2]);
    let mut mount = program("mount");
    let mounted = mount.args(["-t", "overlay", "-o", &options, "overlay"]).arg(at("merged"));
    if !mounted.stderr(Stdio::null()).status().unwrap().success() {
        return skip_for_kernel("the kernel has no overlays");
    }
    make_two(&at("src"));
    let result =
        std::panic::catch_unwind(|| goes_on(&at("src"), &at("merged").join("dst"), |_| ()));
    unmount(&at("merged"));
    result.unwrap();
}

/// NTFS through FUSE: a name that is removed from an open file stays until that is closed, under a
/// name of its own.
#[test]
fn ntfs() {
    for tool in ["ntfs-3g", "lowntfs-3g"] {
        let tools = [tool, "mkfs.ntfs"];
        if !can_mount_fuse() || !tools.into_iter().all(have) {
            return;
        }
        let folder = folder();
        let (image, mount) = (folder.path().join("image"), folder.path().join("m"));
        fs::File::create(&image).unwrap().set_len(100 << 20).unwrap();
        fs::create_dir(&mount).unwrap();
        must(program("mkfs.ntfs").args(["-q", "-F"]).arg(&image).stderr(Stdio::null()));
        must(program(tool).arg(&image).arg(&mount));
        let source = folder.path().join("src");
        make_two(&source);
        let result = std::panic::catch_unwind(|| {
            goes_on(&source, &mount.join("halves"), |_| ());
            knows_what_it_finished(&source, &mount.join("finished"));
        });
        unmount(&mount);
        result.unwrap();
    }
}

/// The run after one that could not do everything copies nothing again.
fn knows_what_it_finished(source: &Path, target: &Path) {
    for n in 0..20 {
        let path = source.join(format!("small{n}"));
        fs::write(&path, noise(100 * n, n as u64)).unwrap();
        set_times(&path, 1_000_000_000 + n as u64, 123_456_789);
    }
    // It is not copied, so that the journal stays.
    place::fifo(&source.join("fifo"));
    for finished in [0, 22] {
        let output = run(resume(source, target).arg("--stats"), 1);
        let text = stderr(&output);
        assert!(!text.contains("changed"), "{text}");
        let stats = String::from_utf8_lossy(&output.stdout);
        assert_eq!(figure(&stats, "finished earlier"), finished, "{stats}{text}");
    }
}

/// With a limit of the rate, each slice of time comes further than the one before, though what is
/// half-copied is read back first.
#[test]
fn a_rate_does_not_keep_slices_of_time_from_going_on() {
    let folder = folder();
    let (source, target) = (folder.path().join("src"), folder.path().join("dst"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("big"), noise(64 << 20, 3)).unwrap();
    set_times(&source.join("big"), 1_000_000_000, 5);
    fs::create_dir(&target).unwrap();
    let reached_bytes =
        || temporaries(&target).iter().map(|path| interrupted::data_bytes(path)).sum::<u64>();
    // A quarter of it comes fast. At the second rate, reading that back would take four minutes.
    for (rate, wanted_bytes) in [("16M", 16 << 20), ("64K", 0), ("64K", 0)] {
        let before_bytes = reached_bytes().max(wanted_bytes);
        let mut command = resume(&source, &target);
        let limit = format!("--bwlimit={rate}");
        let mut child = command.arg(limit).stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while reached_bytes() <= before_bytes && begun.elapsed() < Duration::from_secs(100) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        child.wait().unwrap();
        assert!(reached_bytes() > before_bytes, "{rate}: what was read back used the rate up");
    }
    let temporary = temporaries(&target).pop().unwrap();
    assert!(fs::metadata(&temporary).unwrap().size() > 0);
    run(&mut resume(&source, &target), 0);
    assert_equal_contents(&source, &target);
}
