//! An inode number is not an identity: numbers are used again in a tree that changes, filesystems
//! behind one mount have equal ones, and some are others after the next mount.

mod common;

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::held::{wait_for, while_stopped};
use common::passing::Passed;
use common::*;

/// Two filesystems of their own below one folder, and that folder behind one FUSE mount. Files that
/// are made on both in one order have equal numbers.
struct Union {
    seen: Passed,
    branches: [PathBuf; 2],
    _mounts: [Unmounted; 2],
    _folder: tempfile::TempDir,
}

struct Unmounted(PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

impl Union {
    fn new() -> Option<Self> {
        if !can_mount("tmpfs") || !have_fuse() {
            return None;
        }
        let folder = folder();
        let branches = ["one", "two"].map(|name| folder.path().join(name));
        let mounts = branches.clone().map(|path| {
            fs::create_dir(&path).unwrap();
            must(program("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&path));
            Unmounted(path)
        });
        let seen = Passed::new(folder.path(), 0)?;
        Some(Self { seen, branches, _mounts: mounts, _folder: folder })
    }

    /// Runs `make` on both filesystems, which have the same numbers then.
    fn make(&self, make: impl Fn(&Path, u8)) {
        for (branch, letter) in self.branches.iter().zip([b'a', b'b']) {
            make(branch, letter);
        }
    }

    /// What `name` is on both, through the one mount.
    fn pair(&self, name: &str) -> [PathBuf; 2] {
        let pair = ["one", "two"].map(|branch| self.seen.path.join(branch).join(name));
        let numbers = pair.each_ref().map(|path| {
            let stat = path.symlink_metadata().unwrap();
            (stat.dev(), stat.ino())
        });
        assert_eq!(numbers[0], numbers[1], "two files of one number: {name}");
        pair
    }
}

/// One instant for all files, so that times show nothing either.
fn write_at_one_time(path: &Path, contents: &[u8]) {
    fs::write(path, contents).unwrap();
    set_times(path, 1_600_000_000, 0);
}

/// Which names below a folder are names of one file, by their contents.
fn linked_groups(root: &Path) -> Vec<Vec<PathBuf>> {
    let mut groups = HashMap::<(u64, u64), Vec<PathBuf>>::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let stat = entry.metadata().unwrap();
        if !stat.is_dir() {
            let name = entry.path().strip_prefix(root).unwrap().to_owned();
            groups.entry((stat.dev(), stat.ino())).or_default().push(name);
        }
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort();
    groups
}

fn assert_equal_contents(source: &Path, target: &Path) {
    for entry in walkdir::WalkDir::new(source) {
        let entry = entry.unwrap();
        let copy = target.join(entry.path().strip_prefix(source).unwrap());
        if entry.file_type().is_file() {
            let (wanted, found) = (fs::read(entry.path()).unwrap(), fs::read(&copy).unwrap());
            assert!(wanted == found, "{copy:?} has other contents");
        }
        if entry.file_type().is_symlink() {
            assert_eq!(fs::read_link(entry.path()).unwrap(), fs::read_link(&copy).unwrap());
        }
    }
}

#[test]
fn files_of_one_number_on_two_filesystems_behind_one_mount_are_copied_each() {
    let Some(union) = Union::new() else { return };
    union.make(|branch, letter| {
        for (name, len) in [("small", 100), ("big", 3 << 20), ("empty", 0)] {
            write_at_one_time(&branch.join(name), &vec![letter; len]);
            fs::hard_link(branch.join(name), branch.join(format!("{name}-again"))).unwrap();
        }
        fs::write(branch.join(format!("to-{}", letter as char)), [letter; 50]).unwrap();
        symlink(format!("to-{}", letter as char), branch.join("link")).unwrap();
        fs::hard_link(branch.join("link"), branch.join("link-again")).unwrap();
    });
    union.pair("small");
    union.pair("link");
    union.pair("big");
    let out = folder();
    run(
        aiocp().args(["-aT", "--dry-run"]).arg(&union.seen.path).arg(out.path().join("planned")),
        0,
    );
    assert!(!out.path().join("planned").exists());
    for (n, options) in
        [&["-a"][..], &["-a", "--verify"], &["-aL"], &["-a", "--resume"]].into_iter().enumerate()
    {
        for has_handles in [true, false] {
            let Some(mut command) = aiocp_with(has_handles) else { continue };
            let target = out.path().join(format!("{n}-{has_handles}"));
            let manifest = out.path().join("manifest");
            command.args(options).arg("--manifest").arg(&manifest).arg("-T");
            run(command.arg(&union.seen.path).arg(&target), 0);
            check_branches(&target, options);
            check_manifest(&fs::read_to_string(&manifest).unwrap(), &target);
        }
    }
}

/// The command, also where the filesystem may not be asked what it calls a file, as in some
/// sandboxes. `None` without what takes that away.
fn aiocp_with(has_handles: bool) -> Option<Command> {
    if has_handles {
        return Some(aiocp());
    }
    let refuse = ["-e", "trace=name_to_handle_at", "-e", "inject=name_to_handle_at:error=EPERM"];
    have_strace().then(|| strace(&refuse, Path::new("/dev/null")))
}

/// The names of each file are linked within a branch, and have its contents.
fn check_branches(target: &Path, options: &[&str]) {
    for (branch, letter) in [("one", b'a'), ("two", b'b')] {
        let root = target.join(branch);
        let linked = linked_groups(&root);
        for name in ["small", "big", "empty", "link"] {
            let names = [name.into(), format!("{name}-again").into()];
            let is_there = linked.iter().any(|group| names.iter().all(|n| group.contains(n)));
            assert!(is_there, "{options:?}: {linked:?}");
        }
        for name in ["small", "big", "small-again", "big-again", "link", "link-again"] {
            if name.starts_with("link") && *options != ["-aL"] {
                let to = format!("to-{}", letter as char);
                assert_eq!(fs::read_link(root.join(name)).unwrap(), PathBuf::from(to));
                continue;
            }
            let found = fs::read(root.join(name)).unwrap();
            assert!(found.iter().all(|&byte| byte == letter), "{options:?}: {branch}/{name}");
        }
    }
}

#[test]
fn a_comparison_reads_two_files_of_one_number() {
    let Some(union) = Union::new() else { return };
    union.make(|branch, letter| {
        fs::create_dir(branch.join("tree")).unwrap();
        write_at_one_time(&branch.join("tree/f"), &[letter; 5000]);
        fs::hard_link(branch.join("tree/f"), branch.join("tree/again")).unwrap();
    });
    let [one, two] = union.pair("tree");
    union.pair("tree/f");
    let output = run(aiocp().args(["--verify-only", "-T"]).arg(&one).arg(&two), 3);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.contains("tree/f: 0..5000 differs"), "{told}");
    let output = run(aiocp().args(["--verify-only", "--repair", "-T"]).arg(&one).arg(&two), 0);
    assert!(!output.stdout.is_empty());
    assert_equal_contents(&one, &two);
}

#[test]
fn equal_numbers_alone_refuse_nothing_and_skip_nothing() {
    let Some(union) = Union::new() else { return };
    union.make(|branch, letter| {
        fs::create_dir_all(branch.join("tree/below")).unwrap();
        write_at_one_time(&branch.join("tree/f"), &[letter; 3000]);
        write_at_one_time(&branch.join("tree/below/g"), &[letter; 10]);
        symlink(format!("to-{}", letter as char), branch.join("tree/link")).unwrap();
        write_at_one_time(&branch.join("twice"), &[letter; 7]);
        write_at_one_time(&branch.join("tree/h"), &[letter; 9]);
        fs::write(branch.join("tree/only").with_extension((letter as char).to_string()), "")
            .unwrap();
    });
    let [one, two] = union.pair("tree");
    union.pair("tree/f");
    union.pair("tree/link");
    // A link to a file of that number is no link that is there already.
    let [from, to] = union.pair("tree/h");
    let output = run(aiocp().arg("-lfT").arg(&from).arg(&to), 1);
    assert!(stderr(&output).contains("link"), "{output:?}");
    // Into a directory of the source's number, and below one.
    run(aiocp().arg("-aT").arg(&one).arg(&two), 0);
    assert_equal_contents(&one, &two);
    run(aiocp().arg("-aT").arg(&one).arg(two.join("below/new")), 0);
    assert_equal_contents(&one, &two.join("below/new"));
    // Two operands of one number are two: the second would take the name of the first.
    let out = folder();
    let [first, second] = union.pair("twice");
    let output = run(aiocp().arg(&first).arg(&second).arg(out.path()), 1);
    assert!(!stderr(&output).is_empty());
    assert_eq!(fs::read(out.path().join("twice")).unwrap(), [b'a'; 7]);
}

#[test]
fn protection_against_itself_stays_behind_fuse() {
    let Some(union) = Union::new() else { return };
    union.make(|branch, letter| {
        fs::create_dir_all(branch.join("tree/below")).unwrap();
        fs::write(branch.join("tree/f"), [letter; 3000]).unwrap();
        fs::hard_link(branch.join("tree/f"), branch.join("tree/again")).unwrap();
        symlink("..", branch.join("tree/below/up")).unwrap();
    });
    let [one, _] = union.pair("tree");
    for (source, target) in [
        (one.clone(), one.clone()),
        (one.clone(), one.join("below/new")),
        (one.join("f"), one.join("f")),
        (one.join("f"), one.join("again")),
    ] {
        let output = run(aiocp().arg("-aT").arg(&source).arg(&target), 1);
        let said = stderr(&output);
        assert!(said.contains("same file") || said.contains("inside the source"), "{said}");
    }
    let out = folder();
    let output = run(aiocp().arg("-aLT").arg(&one).arg(out.path().join("new")), 1);
    assert!(stderr(&output).contains("below/up"), "{output:?}");
    assert!(!out.path().join("new/below/up/below/up/below").exists());
    assert_eq!(fs::read(one.join("f")).unwrap(), [b'a'; 3000]);
}

/// Interrupts a copy with `--resume`, after some files.
fn interrupted(source: &Path, target: &Path) {
    let mut command = interrupted::resume(source, target);
    let mut child = command.arg("--bwlimit=2M").stderr(Stdio::null()).spawn().unwrap();
    let is_copy = |entry: &std::io::Result<fs::DirEntry>| {
        !entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')
    };
    wait_for("a hundred files are copied", || {
        fs::read_dir(target).map_or(0, |names| names.filter(is_copy).count()) >= 100
    });
    // A kill in the middle of a call would tear the record that is being written through FUSE.
    let pid = rustix::process::Pid::from_child(&child);
    let kill = || rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    while_stopped(&child, kill);
    assert!(!child.wait().unwrap().success());
}

#[test]
fn after_a_mount_with_other_numbers_a_run_goes_on() {
    let behind = folder();
    let root = behind.path();
    fs::create_dir_all(root.join("from")).unwrap();
    for n in 0..300 {
        fs::write(root.join(format!("from/{n:03}")), noise(20_000, n)).unwrap();
    }
    fs::write(root.join("from/000big"), noise(interrupted::BIG_BYTES, 7)).unwrap();
    let Some(mut passed) = Passed::new(root, 1000) else { return };
    let disk = folder();
    let here = disk.path().join("from");
    must(Command::new("cp").arg("-a").arg(root.join("from")).arg(&here));
    let there = passed.path.clone();
    for (n, (source, target)) in [
        (there.join("from"), there.join("to")),
        (there.join("from"), disk.path().join("to")),
        (here.clone(), there.join("to-2")),
    ]
    .into_iter()
    .enumerate()
    {
        interrupted(&source, &target);
        passed.mount_again(root, 5000 + 1000 * n as u64);
        let mut command = interrupted::resume(&source, &target);
        let output = run(command.arg("--stats"), 0);
        assert_eq!(stderr(&output), "", "{n}: nothing is copied again");
        let finished = figure(&String::from_utf8_lossy(&output.stdout), "finished earlier");
        assert!(finished >= 36, "{n}: {finished} of 100 files were known");
        assert_equal_contents(&source, &target);
        for folder in [root, disk.path()] {
            assert_eq!(litter(folder), Vec::<PathBuf>::new(), "{n}");
        }
    }
}

/// A tree whose first file is gone when the last ones are made, which get its number.
struct Reused {
    mounted: Mounted,
    first: PathBuf,
    last: PathBuf,
}

const WAITING_DIRS: usize = 150;

impl Reused {
    fn new(kind: &str) -> Option<Self> {
        let mounted = Mounted::new(kind, 400)?;
        let root = mounted.path.clone();
        fs::create_dir_all(root.join("src")).unwrap();
        fs::create_dir_all(root.join("out")).unwrap();
        for n in 0..WAITING_DIRS {
            fs::create_dir(root.join(format!("src/{n}"))).unwrap();
        }
        let order: Vec<_> =
            fs::read_dir(root.join("src")).unwrap().map(|entry| entry.unwrap().path()).collect();
        for dir in &order[1..WAITING_DIRS - 1] {
            for n in 0..64 {
                fs::write(dir.join(n.to_string()), noise(9000, n)).unwrap();
            }
        }
        let (first, last) = (order[0].clone(), order[WAITING_DIRS - 1].clone());
        Some(Self { mounted, first, last })
    }

    fn copy_of(&self, path: &Path) -> PathBuf {
        let root = &self.mounted.path;
        root.join("dst").join(path.strip_prefix(root.join("src")).unwrap())
    }

    /// Makes the last files. Answers how many took this number.
    fn take_again(&self, number: u64) -> usize {
        let mut taken = 0;
        for n in 0..5 {
            let new = self.last.join(format!("new{n}"));
            // Its size and time are those of the first.
            write_at_one_time(&new, format!("another mail, {n}\n").get(..16).unwrap().as_bytes());
            fs::hard_link(&new, self.mounted.path.join(format!("out/new{n}"))).unwrap();
            taken += usize::from(new.metadata().unwrap().ino() == number);
        }
        taken
    }

    /// Makes the first file; copies, and has its number used again by several before the copy is
    /// through. Answers how many took it.
    fn copy(&self, options: &[&str]) -> usize {
        let root = &self.mounted.path;
        let first = self.first.join("mail1");
        write_at_one_time(&first, b"mail number one\n");
        fs::hard_link(&first, root.join("out/mail1")).unwrap();
        let number = first.metadata().unwrap().ino();
        rustix::fs::sync();
        let manifest = root.join("manifest");
        let mut command = aiocp();
        command.args(["-T", "--bwlimit=8M", "--manifest"]).arg(&manifest).args(options);
        let mut child = command.arg(root.join("src")).arg(root.join("dst")).spawn().unwrap();
        wait_for("the first is copied", || self.copy_of(&first).exists());
        let taken = while_stopped(&child, || {
            fs::remove_file(&first).unwrap();
            fs::remove_file(root.join("out/mail1")).unwrap();
            self.take_again(number)
        });
        assert!(child.try_wait().unwrap().is_none(), "the copy goes on");
        assert!(child.wait().unwrap().success());
        for n in 0..5 {
            let new = self.last.join(format!("new{n}"));
            let (wanted, found) = (fs::read(&new).unwrap(), fs::read(self.copy_of(&new)).unwrap());
            assert!(
                wanted == found,
                "{options:?}: new{n} is {:?}",
                String::from_utf8_lossy(&found)
            );
        }
        check_manifest(&fs::read_to_string(&manifest).unwrap(), &root.join("dst"));
        taken
    }
}

#[test]
fn a_number_that_is_used_again_is_another_file_s() {
    let modes = [&["-a"][..], &["-a", "--verify"], &["-aL"], &["-a", "--resume"]];
    all_at_once(modes, |options| {
        let Some(reused) = Reused::new("ext4") else { return };
        let taken = reused.copy(options);
        // Words for a person who reads the log: without it the test shows nothing.
        let line = format!("{options:?}: {taken} files took the number\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        assert_eq!(taken, 1, "{options:?}: the number was not used again");
    });
}

/// Contents that say which names they belong to, of a length of their own or of one for all.
fn contents_of(file: usize, round: u64) -> Vec<u8> {
    let mut contents = format!("file {file:04} round {round:08}\n").into_bytes();
    if file.is_multiple_of(10) {
        contents.resize((1 << 20) + 100, file as u8);
    }
    contents
}

/// Removes all names of random files, and makes others anew, until the copy is through.
fn change_while(root: &Path, random: &mut fastrand::Rng, files: usize, is_over: impl Fn() -> bool) {
    let name = |file: usize, n: usize| root.join(format!("{}/{file}-{n}", file % 20));
    let mut round = 0;
    while !is_over() {
        round += 1;
        let gone: Vec<usize> = (0..5).map(|_| random.usize(..files)).collect();
        for &file in &gone {
            for n in 0..3 {
                let _may_be_gone = fs::remove_file(name(file, n));
            }
        }
        for &file in gone.iter().rev() {
            if name(file, 0).exists() {
                continue;
            }
            // It has its name when it is whole: half of it would be a copy of that moment.
            let new = root.join(format!("{}/new", file % 20));
            write_at_one_time(&new, &contents_of(file, round));
            fs::rename(new, name(file, 0)).unwrap();
            for n in 1..3 {
                fs::hard_link(name(file, 0), name(file, n)).unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(4));
    }
}

/// Whatever happens to a tree while it is copied: each copy has contents of its own name.
#[test]
fn in_a_tree_that_changes_no_copy_has_the_contents_of_another() {
    const FILES: usize = 400;
    if !is_root("mounting filesystems") {
        return;
    }
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for options in [&["-a"][..], &["-a", "--verify"], &["-aL"], &["-a", "--resume"]] {
        let Some(mounted) = Mounted::new("ext4", 400) else { continue };
        let (source, target) = (mounted.path.join("src"), mounted.path.join("dst"));
        (0..20).for_each(|n| fs::create_dir_all(source.join(n.to_string())).unwrap());
        for file in 0..FILES {
            let name = |n| source.join(format!("{}/{file}-{n}", file % 20));
            write_at_one_time(&name(0), &contents_of(file, 0));
            fs::hard_link(name(0), name(1)).unwrap();
            fs::hard_link(name(0), name(2)).unwrap();
        }
        let mut command = aiocp();
        command.args(options).args(["-T", "--bwlimit=20M"]).arg(&source).arg(&target);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        let child = std::cell::RefCell::new(&mut child);
        change_while(&source, &mut random, FILES, || {
            child.borrow_mut().try_wait().unwrap().is_some()
        });
        let mut count = 0;
        for entry in walkdir::WalkDir::new(&target).into_iter().map(|entry| entry.unwrap()) {
            let name = entry.file_name().to_string_lossy();
            if let Some((file, _)) = name.split_once('-').filter(|_| entry.file_type().is_file())
                && let Ok(file) = file.parse::<usize>()
            {
                let contents = fs::read(entry.path()).unwrap();
                let begin = String::from_utf8_lossy(&contents[..contents.len().min(26)]);
                let is_its = begin.starts_with(&format!("file {file:04} "));
                assert!(is_its, "seed {seed}, {options:?}: {name} has {begin:?}");
                assert_eq!(contents.len(), contents_of(file, 0).len(), "{name}");
                count += 1;
            }
        }
        assert!(count > FILES, "seed {seed}, {options:?}: {count} files were copied");
    }
}
