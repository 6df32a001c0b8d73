//! Neither memory nor open files grow with what a stranger's tree can hold: its depth, the names in
//! a directory, holes, and names that lie elsewhere.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Mounted, aiocp, aiosum, folder, noise, peak_of, run};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::process::{Pid, Signal, kill_process};

const KIB_MAX: u64 = 64 << 10;

/// The command with few open files, and its temporary files on the disk.
fn with_few_files(command: &Command, files_max: usize) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!(r#"ulimit -n {files_max}; exec "$0" "$@""#)]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.env("TMPDIR", env!("CARGO_TARGET_TMPDIR")).env_remove("AIOCP_CONFIG_PATH");
    limited
}

/// Directories in each other, each with a file that holds its level.
fn make_deep(root: &Path, name: &str, levels: u32) {
    fs::create_dir(root).unwrap();
    let mut dir: OwnedFd = File::open(root).unwrap().into();
    for level in 0..levels {
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let file = File::from(openat(&dir, "file", flags, Mode::RUSR).unwrap());
        file.write_all_at(&level.to_le_bytes(), 0).unwrap();
        mkdirat(&dir, name, Mode::RWXU).unwrap();
        dir = openat(&dir, name, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    }
}

#[test]
fn three_thousand_levels_need_few_open_files_and_little_memory() {
    const LEVELS: u32 = 3000;
    let Some(mounted) = Mounted::new("tmpfs", 512) else { return };
    let disk = folder();
    let (source, name) = (mounted.path.join("source"), "0123456789".repeat(4));
    make_deep(&source, &name, LEVELS);
    let sums = disk.path().join("sums");
    // Into a file, whose lines are looked at.
    let mut list = with_few_files(aiosum().arg(&source), 64);
    list.stdout(File::create(&sums).unwrap());
    run(&mut list, 0);
    let mut level = BufReader::new(File::open(&sums).unwrap()).lines().map(Result::unwrap);
    for wanted in (0..LEVELS).rev() {
        // The file of a level comes behind the directory beside it.
        let line = level.next().unwrap();
        let hash = blake3::hash(&wanted.to_le_bytes()).to_hex();
        assert_eq!(line[..64], hash[..], "level {wanted}");
        let below = format!("/{name}").repeat(wanted as usize);
        let path = format!("{}{below}/file", source.display());
        assert!(line[66..] == path, "level {wanted}: a path of {} bytes", line.len() - 66);
    }
    assert!(level.next().is_none());
    let target = mounted.path.join("target");
    let hold = |command: &Command, files_max, kib_max| {
        let peak = peak_of(&mut with_few_files(command, files_max), 0);
        assert!(peak < kib_max, "{command:?}: {peak} KiB");
    };
    hold(aiosum().arg(&source), 64, KIB_MAX);
    hold(aiosum().arg("--check").arg("--audit").arg(&source).arg(&sums), 64, KIB_MAX);
    hold(aiocp().args(["--no-sync", "--manifest=-", "-T"]).arg(&source).arg(&target), 256, KIB_MAX);
    // Each side has its own buffers.
    let mut compare = aiocp();
    hold(compare.arg("--verify-only").arg("-T").arg(&source).arg(&target), 256, 2 * KIB_MAX);
}

#[test]
fn hundreds_of_thousands_of_names_in_one_directory_are_sorted_in_little_memory() {
    const NAMES: usize = 300_000;
    let Some(mounted) = Mounted::new("tmpfs", 512) else { return };
    let source = mounted.path.join("source");
    fs::create_dir(&source).unwrap();
    // Few inodes, whose memory would be the kernel's.
    let name = |n: usize| source.join(format!("{:0250}", n * 7919 % NAMES));
    for n in 0..NAMES {
        match n % 1000 {
            0 => fs::write(name(n), n.to_le_bytes()).unwrap(),
            _ => fs::hard_link(name(n - n % 1000), name(n)).unwrap(),
        }
    }
    let peak = peak_of(&mut with_few_files(aiosum().arg(&source), 256), 0);
    assert!(peak < KIB_MAX, "{peak} KiB");
}

/// The hash of so many zeros, by the crate's own hasher.
fn hash_of_zeros(mut len: u64) -> String {
    let (mut hasher, zeros) = (blake3::Hasher::new(), vec![0; 1 << 20]);
    while len > 0 {
        let step = len.min(zeros.len() as u64);
        hasher.update(&zeros[..step as usize]);
        len -= step;
    }
    hasher.finalize().to_string()
}

#[test]
fn the_hash_of_a_hole_is_that_of_its_zeros_and_takes_no_memory_for_its_size() {
    const SIZE: u64 = (16 << 30) + 5;
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let (source, target) = (mounted.path.join("source"), mounted.path.join("target"));
    // Not written through the name of a target that exists.
    File::create(&source).unwrap().set_len(SIZE).unwrap();
    // The smallest blocks: there are 4 million.
    let peak = peak_of(aiosum().args(["--block-size=4K"]).arg(&source), 0);
    assert!(peak < KIB_MAX, "{peak} KiB");
    File::options().write(true).open(&source).unwrap().set_len((1 << 30) + 5).unwrap();
    let hash = hash_of_zeros((1 << 30) + 5);
    for block in ["--block-size=4K", "--block-size=1M", "--block-size=16M"] {
        let output = run(aiosum().arg(block).arg("--no-names").arg(&source), 0);
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), hash, "{block}");
        let mut copy = aiocp();
        copy.args([block, "--verify", "--manifest=-", "--reflink=never"]);
        let output = run(copy.arg("-T").arg(&source).arg(&target), 0);
        let manifest = String::from_utf8(output.stdout).unwrap();
        assert!(manifest.starts_with(&hash), "{block}: {manifest}");
        assert_eq!(fs::metadata(&target).unwrap().blocks(), 0, "{block}");
        run(aiocp().args([block, "--verify-only", "-T"]).arg(&source).arg(&target), 0);
        fs::remove_file(&target).unwrap();
    }
}

/// There are more blocks than leaves that are kept: each stands for two blocks. So a difference is
/// told and mended in pieces of 8 KiB, and a half-copied file goes on behind one.
#[test]
fn what_differs_in_a_file_of_many_blocks_is_found_in_larger_pieces() {
    const SIZE: u64 = (520 << 20) + 777;
    const BAD: u64 = (100 << 20) + 5000;
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let file = File::create(&source).unwrap();
    file.set_len(SIZE).unwrap();
    for at in [0, BAD - 100_000, SIZE - 300_000] {
        file.write_all_at(&noise(200_000, at), at).unwrap();
    }
    let aiocp = |options: &[&str], code| {
        let mut command = aiocp();
        command.arg("--block-size=4K").args(options).arg("-T").arg(&source).arg(&target);
        String::from_utf8(run(&mut command, code).stdout).unwrap()
    };
    let is_same = || fs::read(&source).unwrap() == fs::read(&target).unwrap();
    let hash = blake3::hash(&fs::read(&source).unwrap()).to_hex().to_string();
    assert!(aiocp(&["--verify", "--manifest=-"], 0).starts_with(&hash));
    let copy = File::options().write(true).open(&target).unwrap();
    copy.write_all_at(b"another", BAD).unwrap();
    let piece = BAD / 8192 * 8192;
    let told = format!("target: {piece}..{} differ", piece + 8192);
    assert!(aiocp(&["--verify-only"], 3).contains(&told));
    // Cut, and longer than the source.
    for len in [SIZE, 500 << 20, 1000, 600 << 20] {
        copy.set_len(len).unwrap();
        let text = aiocp(&["--verify-only", "--repair"], 0);
        assert!(text.contains("differed, written again"), "{len}: {text}");
        assert!(is_same(), "{len}");
    }
    fs::remove_file(&target).unwrap();
    // A part is durable when the next file size is refused.
    let mut half = Command::new("sh");
    half.args(["-c", r#"ulimit -f $((100 << 11)); exec "$0" "$@""#])
        .arg(common::aiocp().get_program())
        .env_remove("AIOCP_CONFIG_PATH");
    half.args(["--block-size=4K", "--resume", "--journal-interval=16M", "--sparse=never", "-T"]);
    run(half.arg(&source).arg(&target), 1);
    let manifest = aiocp(&["--resume", "--journal-interval=16M", "--manifest=-"], 0);
    assert!(manifest.starts_with(&hash) && is_same());
}

/// What stands below a folder, with its size.
fn sizes(folder: &Path) -> BTreeMap<String, u64> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(Result::unwrap);
    let sized = |entry: fs::DirEntry| Some((entry.file_name(), entry.metadata().ok()?.len()));
    entries.filter_map(sized).map(|(name, len)| (name.into_string().unwrap(), len)).collect()
}

/// Hashing the hole takes hours. Everything else is copied meanwhile, and a signal ends it.
#[test]
fn a_vast_hole_keeps_no_other_file_waiting() {
    const FILES: usize = 40;
    let Some(mounted) = Mounted::new("tmpfs", 512) else { return };
    let (source, target) = (mounted.path.join("source"), mounted.path.join("target"));
    fs::create_dir(&source).unwrap();
    for n in 0..FILES {
        fs::write(source.join(format!("big{n}")), noise((2 << 20) + n, n as u64)).unwrap();
        fs::write(source.join(format!("small{n}")), noise(n, n as u64)).unwrap();
        if n == 20 {
            let hole = File::create(source.join("hole")).unwrap();
            hole.set_len(100 << 40).unwrap();
        }
    }
    let mut copy = aiocp();
    copy.args(["--manifest=/dev/null", "--reflink=never", "--no-sync", "-T"]);
    let mut child = copy.arg(&source).arg(&target).spawn().unwrap();
    let (begun, mut wanted) = (Instant::now(), sizes(&source));
    wanted.remove("hole");
    while sizes(&target) != wanted && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let (copied, is_over) = (sizes(&target), child.try_wait().unwrap().is_some());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let stopped = Instant::now();
    while child.try_wait().unwrap().is_none() && stopped.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let has_stopped = child.try_wait().unwrap().is_some();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(copied, wanted);
    assert!(!is_over && has_stopped, "a signal ends it: {is_over}, {has_stopped}");
}

/// What is measured until one of it is right, four times at most.
fn until_one<T: Copy>(measured: impl Iterator<Item = T>, is_right: impl Fn(T) -> bool) -> Vec<T> {
    let mut all = Vec::new();
    for found in measured.take(4) {
        all.push(found);
        if is_right(found) {
            break;
        }
    }
    all
}

/// Files with a name in the tree and one outside, and as many without the one outside.
#[test]
fn names_that_never_come_take_little_memory() {
    const FILES: usize = 60_000;
    let Some(mounted) = Mounted::new("tmpfs", 900) else { return };
    let Some(target) = Mounted::new("tmpfs", 900) else { return };
    let at = |name: &str| mounted.path.join(name);
    for name in ["alone", "linked", "outside"] {
        fs::create_dir(at(name)).unwrap();
    }
    for n in 0..FILES {
        if n % 100 == 0 {
            for name in ["alone", "linked"] {
                fs::create_dir(at(name).join(n.to_string())).unwrap();
            }
        }
        let name = format!("{}/{n}", n - n % 100);
        fs::write(at("alone").join(&name), "x").unwrap();
        fs::write(at("linked").join(&name), "x").unwrap();
        fs::hard_link(at("linked").join(&name), at("outside").join(n.to_string())).unwrap();
    }
    let peak = |options: &[&str], source: &str, to: &str| {
        let mut command = with_few_files(aiocp().args(options), 1024);
        peak_of(command.arg("-T").arg(at(source)).arg(target.path.join(to)), 0)
    };
    let peak_of_copy = |options: &[&str], source: &str| {
        let found = peak(options, source, "copy");
        fs::remove_dir_all(target.path.join("copy")).unwrap();
        found
    };
    // What is kept in memory of the last ones, and 64 bytes for each.
    let kib_more = (4 << 10) + FILES as u64 * 64 / 1024;
    let copy = ["-a", "--no-sync", "--manifest=/dev/null"];
    let followed = [&copy[..], &["-L"]].concat();
    for (options, source) in [(&copy[..], "linked"), (&followed, "alone")] {
        // How many buffers and stacks are had at once depends on the machine's load. What names
        // take is taken each time.
        let measured = std::iter::repeat_with(|| {
            (peak_of_copy(&copy, "alone"), peak_of_copy(options, source))
        });
        let measured = until_one(measured, |(alone, found)| found < alone + kib_more);
        let is_little = measured.last().is_some_and(|(alone, found)| *found < alone + kib_more);
        assert!(is_little, "{options:?}, KiB without other names and with them: {measured:?}");
    }
    peak(&copy, "alone", "alone");
    peak(&copy, "linked", "linked");
    // A comparison remembers pairs of which both have other names, and each side has its buffers.
    let linked = target.path.join("linked");
    for n in 0..FILES {
        let name = format!("{}/{n}", n - n % 100);
        let outside = target.path.join(format!("outside-{n}"));
        fs::hard_link(linked.join(name), outside).unwrap();
    }
    let compare = ["--verify-only"];
    let measured =
        std::iter::repeat_with(|| ["alone", "linked"].map(|name| peak(&compare, name, name)));
    let measured = until_one(measured, |[alone, found]| found < alone + kib_more);
    let is_little = measured.last().is_some_and(|[alone, found]| *found < alone + kib_more);
    assert!(is_little, "KiB without other names and with them: {measured:?}");
}

/// The first names of all files come before the second ones, in another order.
#[test]
fn names_that_come_late_are_linked_all_the_same() {
    const FILES: usize = 9000;
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    for name in ["first/one", "first/two", "then"] {
        fs::create_dir_all(source.join(name)).unwrap();
    }
    let first = |n: usize| format!("first/{}/{n}", ["one", "two"][n % 2]);
    let second = |n: usize| format!("then/{}", n * 7919 % FILES);
    for n in 0..FILES {
        fs::write(source.join(first(n)), n.to_le_bytes()).unwrap();
        fs::hard_link(source.join(first(n)), source.join(second(n))).unwrap();
    }
    for options in [&["-a"][..], &["-a", "--verify", "--resume"]] {
        let output = run(aiocp().args(options).arg("-T").arg(&source).arg(&target), 0);
        assert!(output.stderr.is_empty(), "{output:?}");
        for n in 0..FILES {
            let look = |name: String| fs::metadata(target.join(name)).unwrap();
            let (one, other) = (look(first(n)), look(second(n)));
            assert_eq!((one.ino(), one.nlink()), (other.ino(), 2), "{n} with {options:?}");
            assert_eq!(fs::read(target.join(second(n))).unwrap(), n.to_le_bytes());
        }
        run(aiocp().args(["-a", "--verify-only", "-T"]).arg(&source).arg(&target), 0);
        fs::remove_dir_all(&target).unwrap();
    }
}
