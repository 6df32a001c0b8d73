//! Many small files made durable at once by syncfs, and the fallback where syncfs fails.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::held::wait_for;
use common::*;

/// Makes files `0`, `1` and so on with different contents.
fn make(folder: &Path, count: u64, bytes: usize) {
    fs::create_dir(folder).unwrap();
    for n in 0..count {
        fs::write(folder.join(n.to_string()), noise(bytes, n)).unwrap();
    }
}

/// A command that sees no more than so much of the page cache to be written, whatever other
/// programs write: with much of it, aiocp avoids syncfs.
fn among_others(command: &Command, place: &Path, dirty_kib: u64) -> Command {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap();
    let told = meminfo.lines().map(|line| match line.split_once(':').unwrap() {
        ("Dirty", _) => format!("Dirty: {dirty_kib} kB\n"),
        ("Writeback", _) => "Writeback: 0 kB\n".to_owned(),
        _ => format!("{line}\n"),
    });
    fs::write(place.join("meminfo"), told.collect::<String>()).unwrap();
    let script = "mount --bind \"$0\" /proc/meminfo && exec \"$@\"";
    let mut shell = program("unshare");
    shell.args(["-m", "sh", "-c", script]).arg(place.join("meminfo"));
    shell.arg(command.get_program()).args(command.get_args()).current_dir(place);
    shell
}

/// The number of syncfs calls of a copy of these files, with strace's `inject`.
fn syncfs_calls(place: &Path, source: &str, inject: &[&str], dirty_kib: u64) -> usize {
    let trace = place.join("trace");
    let mut command = strace(&[&["-e", "trace=syncfs"], inject].concat(), &trace);
    // Clones need no round.
    command.args(["--reflink=never", "-T", source, "copy"]);
    let said = stderr(&run(&mut among_others(&command, place, dirty_kib), 0));
    let warning = "aiocp: warning: cannot syncfs 'copy': Input/output error\n";
    assert_eq!(
        said.matches(warning).count(),
        said.lines().filter(|line| !line.contains("hint: ")).count(),
        "{said}"
    );
    are_same(&place.join(source), &place.join("copy"));
    fs::remove_dir_all(place.join("copy")).unwrap();
    trace::count(&trace::calls(&trace), "syncfs")
}

fn are_same(source: &Path, target: &Path) {
    must(Command::new("diff").arg("-r").args([source, target]));
}

#[test]
fn many_files_take_a_few_calls_and_after_an_error_each_file_has_its_own() {
    if !have_strace() || !is_root("mounting filesystems") || !have("unshare") {
        return;
    }
    for kind in ["ext4", "xfs", "btrfs", "tmpfs"] {
        let Some(mounted) = Mounted::new(kind, 400) else { continue };
        let place = &mounted.path;
        make(&place.join("many"), 1000, 3000);
        make(&place.join("few"), 10, 3000);
        let calls = syncfs_calls(place, "many", &[], 0);
        assert_eq!((1..=40).contains(&calls), kind != "tmpfs", "on {kind}: {calls} calls");
        assert_eq!(syncfs_calls(place, "few", &[], 0), 0, "on {kind}: fsync is less work");
        let calls = syncfs_calls(place, "many", &["-e", "inject=syncfs:error=EIO"], 0);
        assert_eq!(calls, usize::from(kind != "tmpfs"), "on {kind}: fsync finds nothing wrong");
        if kind == "ext4" {
            let calls = syncfs_calls(place, "many", &[], 1 << 20);
            assert_eq!(calls, 0, "others have much to write");
        }
    }
}

#[test]
fn where_syncfs_proves_nothing_it_has_data_written_at_once() {
    if !have_strace() || !have("unshare") {
        return;
    }
    let Some(mounted) = Mounted::new("overlay", 400) else { return };
    let place = &mounted.path;
    make(&place.join("many"), 1000, 3000);
    let trace = place.join("trace");
    let calls = |inject: &[&str], code: i32| {
        let options = [&["-e", "trace=syncfs,fsync"], inject].concat();
        let mut command = strace(&options, &trace);
        // Threads alone, so that each fsync is a system call.
        command.args(["--engine=threads", "-T", "many", "copy"]);
        let said = stderr(&run(&mut among_others(&command, place, 0), code));
        are_same(&place.join("many"), &place.join("copy"));
        fs::remove_dir_all(place.join("copy")).unwrap();
        let calls = trace::calls(&trace);
        assert!(trace::count(&calls, "fsync") >= 1000, "each file has its own");
        (trace::count(&calls, "syncfs"), said)
    };
    let (count, said) = calls(&[], 0);
    assert!((2..=40).contains(&count) && said.is_empty(), "{count} calls: {said}");
    let warning = "aiocp: warning: cannot syncfs 'copy': Input/output error\n";
    let error = "aiocp: cannot syncfs '.': Input/output error\n";
    let (count, said) = calls(&["-e", "inject=syncfs:error=EIO"], 1);
    assert_eq!(count, 2, "there are no more rounds, but the one at the end: {said}");
    assert!(said.contains(warning) && said.contains(error), "{said}");
    let (count, said) = calls(&["-e", "inject=syncfs:error=ENOSYS"], 0);
    assert!((2..=40).contains(&count) && said.is_empty(), "{count} calls: {said}");
}

/// A block device of 400 MiB that accepts 40 of them, and then fails whole requests.
struct Failing {
    number: String,
    path: PathBuf,
}

impl Failing {
    fn new(folder: &Path) -> Option<Self> {
        let Ok(number) = fs::read_to_string("/sys/class/zram-control/hot_add") else {
            skip_for_kernel("this kernel has no zram");
            return None;
        };
        let number = number.trim().to_owned();
        let device = Path::new("/sys/block").join(format!("zram{number}"));
        fs::write(device.join("disksize"), "400M").unwrap();
        fs::write(device.join("mem_limit"), "40M").unwrap();
        let path = folder.join("device");
        let numbers = fs::read_to_string(device.join("dev")).unwrap();
        let (major, minor) = numbers.trim().split_once(':').unwrap();
        must(Command::new("mknod").arg(&path).args(["b", major, minor]));
        Some(Self { number, path })
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // The device is removed after a failed test too.
        unmount(&self.path);
        let remove = || fs::write("/sys/class/zram-control/hot_remove", &self.number);
        // A child that another thread forks has the device until its exec.
        match std::thread::panicking() {
            true => drop(remove()),
            false => wait_for("nothing has the device any more", || remove().is_ok()),
        }
    }
}

#[test]
fn what_the_device_did_not_take_has_no_name() {
    if !can_mount("ext4") {
        return;
    }
    let folder = folder();
    let Some(device) = Failing::new(folder.path()) else { return };
    let mount = folder.path().join("mount");
    fs::create_dir(&mount).unwrap();
    let no_trim = "lazy_itable_init=1,nodiscard";
    must(
        program("mkfs.ext4")
            .args(["-q", "-F", "-O", "^has_journal", "-E", no_trim])
            .arg(&device.path),
    );
    must(program("mount").arg(&device.path).arg(&mount));
    let (from, copy) = (folder.path().join("from"), mount.join("copy"));
    make(&from, 1000, 80_000);
    rustix::fs::sync();
    let output = run(aiocp().arg("-T").args([&from, &copy]), 1);
    let said = stderr(&output);
    // The device fails a file's data, or a block of the directory that linkat(2) reads.
    let failed = said.lines().filter_map(|line| {
        let line = line.strip_prefix("aiocp: cannot ")?;
        let path =
            line.strip_prefix("fsync '").or(line.strip_prefix("move the finished copy to '"))?;
        path.split_once("': ")
    });
    let failed: BTreeSet<&str> = failed.map(|(path, _)| path).collect();
    // A direct read bypasses the page cache, which still has the lost data.
    let compared =
        run(aiocp().args(["-T", "--verify-only", "--direct=always"]).args([&from, &copy]), 3);
    let lines = String::from_utf8(compared.stdout).unwrap();
    let missing: BTreeSet<&str> =
        lines.lines().filter_map(|line| line.strip_suffix(": missing")).collect();
    assert_eq!(
        lines.lines().count(),
        missing.len(),
        "files with their names are on the device: {lines}"
    );
    assert!((100..900).contains(&missing.len()), "{lines}");
    let differ: Vec<_> = failed.symmetric_difference(&missing).collect();
    assert!(differ.is_empty(), "each failure is named: {differ:?}\n{said}");
}
