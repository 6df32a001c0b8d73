//! The budget of system calls for a small file, counted with strace.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::hard::{ACCESS, DEFAULT, acl, set_mode, set_xattr, xattr};
use common::sandbox::without_unnamed;
use common::*;

const FOLDERS: usize = 8;
/// Files in a folder, of the smaller tree and of the larger one.
const FILES_EACH: [usize; 2] = [64, 256];

/// Calls that are no single file's: of threads, memory and signals, of whole batches and rounds.
const SHARED: [&str; 27] = [
    "brk",
    "clone3",
    "exit",
    "fdatasync",
    "fsync",
    "futex",
    "io_getevents",
    "io_submit",
    "madvise",
    "mmap",
    "mprotect",
    "munmap",
    "poll",
    "ppoll",
    "prctl",
    "read",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_setaffinity",
    "sched_yield",
    "set_robust_list",
    "sigaltstack",
    "syncfs",
    "write",
];

/// Folders of small files, neighbours that are read in one submission if they are cold.
fn make_files(root: &Path, files_each: usize) {
    for folder in 0..FOLDERS {
        let folder = root.join(folder.to_string());
        fs::create_dir_all(&folder).unwrap();
        for n in 0..files_each {
            fs::write(folder.join(n.to_string()), noise(1 + n * 97, n as u64)).unwrap();
        }
    }
}

/// Has the page cache hold all of the files, or writes them out and drops them from it.
fn warm_or_cool(root: &Path, is_cold: bool) {
    rustix::fs::syncfs(fs::File::open(root).unwrap()).unwrap();
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let file = fs::File::open(entry.path()).unwrap();
            match is_cold {
                true => {
                    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
                }
                false => drop(fs::read(entry.path()).unwrap()),
            }
        }
    }
}

type Counts = BTreeMap<String, usize>;

/// The calls that began, by name, but those that are no single file's.
fn count(trace: &Path) -> Counts {
    let mut counts = Counts::new();
    for call in trace::calls(trace) {
        let name = trace::name_of(&call);
        // The standard library asks whether a descriptor is open, in builds with assertions.
        let is_assertion = name == "fcntl" && call.contains("F_GETFD");
        if !is_assertion && !SHARED.contains(&name) {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// What one file more costs in each of the folders, whatever the run and its folders cost.
fn calls_each(root: &Path, options: &[&str], is_cold: bool) -> (f64, String) {
    let at = |name: &str| root.join(name);
    calls_of_each(root, is_cold, |source| {
        let mut command = strace(&[], &at("trace"));
        run(command.args(options).arg("-rT").args([source, &at("target")]), 0);
        fs::remove_dir_all(at("target")).unwrap();
    })
}

/// The same of a command that is traced, and gets the tree.
fn calls_of_each(root: &Path, is_cold: bool, run_traced: impl Fn(&Path)) -> (f64, String) {
    let [few, many] = FILES_EACH.map(|files_each| {
        let source = root.join(files_each.to_string());
        warm_or_cool(&source, is_cold);
        run_traced(&source);
        count(&root.join("trace"))
    });
    let more = (FOLDERS * (FILES_EACH[1] - FILES_EACH[0])) as f64;
    let each = |(name, count): (&String, &usize)| {
        (name.clone(), (*count as f64 - *few.get(name).unwrap_or(&0) as f64) / more)
    };
    let each: Vec<_> = many.iter().map(each).collect();
    let told = each.iter().filter(|(_, calls)| *calls > 0.005);
    let told: Vec<_> = told.map(|(name, calls)| format!("{name} {calls:.2}")).collect();
    (each.iter().map(|(_, calls)| calls).sum(), told.join(", "))
}

#[test]
fn a_small_file_costs_a_sum_no_more_calls_than_it_needs() {
    if !have_strace() {
        return;
    }
    let Some(mounted) = Mounted::new("ext4", 256) else { return };
    let root = &mounted.path;
    for files_each in FILES_EACH {
        make_files(&root.join(files_each.to_string()), files_each);
    }
    // To open it, look at it, read it, look once more and close it; cold ones are read together.
    for (is_cold, calls_max) in [(true, 4.5), (false, 5.5)] {
        let (calls, told) = calls_of_each(root, is_cold, |source| {
            let mut command = program("strace");
            command.args(["-f", "-o"]).arg(root.join("trace"));
            run(command.arg(assert_cmd::cargo::cargo_bin!("aiosum")).arg(source), 0);
        });
        println!("cold: {is_cold}: {calls:.2} calls: {told}");
        assert!(calls <= calls_max, "cold: {is_cold}: {calls:.2} calls: {told}");
    }
}

/// Mode, owner, group and ACLs of everything in a tree.
fn rights(root: &Path) -> BTreeMap<PathBuf, String> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| entry.unwrap().into_path());
    let described = entries.map(|path| {
        let found = fs::symlink_metadata(&path).unwrap();
        let default = if found.is_dir() { xattr(&path, DEFAULT) } else { None };
        let acls = (xattr(&path, ACCESS), default);
        let line = format!("{:o} {}:{} {acls:?}", found.mode(), found.uid(), found.gid());
        (path.strip_prefix(root).unwrap().to_owned(), line)
    });
    described.collect()
}

/// What is made with its mode, and known to have its owner and no ACL, ends like what is made for
/// its owner alone, under a hidden name, and asked and given everything.
#[test]
fn what_creating_a_copy_gave_it_is_not_given_again_and_had_all_the_same() {
    if !is_root("giving files away") {
        return;
    }
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let at = |name: &str| mounted.path.join(name);
    let modes = [0o644, 0o600, 0o755, 0o666, 0o444, 0, 0o4755, 0o2755, 0o1644, 0o640, 0o777];
    for owner in [0, 1] {
        let folder = at("source").join(owner.to_string());
        fs::create_dir_all(&folder).unwrap();
        for (mode, n) in modes.iter().flat_map(|mode| (0..3).map(move |n| (*mode, n))) {
            let file = folder.join(format!("{mode:o} {n}"));
            fs::write(&file, "data").unwrap();
            chown(&file, Some(owner), Some(owner)).unwrap();
            set_mode(&file, mode);
            if mode == 0o640 && n == 1 {
                set_xattr(&file, ACCESS, &acl([6, 4, 4, 4, 5, 0]));
            }
        }
        chown(&folder, Some(owner), Some(2)).unwrap();
        set_mode(&folder, 0o2751);
    }
    let inherited = acl([7, 7, 5, 5, 7, 5]);
    let make_target = |(user, mode, default): (u32, u32, Option<&[u8]>)| {
        fs::create_dir(at("target")).unwrap();
        chown(at("target"), Some(user), Some(3)).unwrap();
        set_mode(&at("target"), mode);
        default.iter().for_each(|acl| set_xattr(&at("target"), DEFAULT, acl));
    };
    let kinds = [
        (0, 0o755, None),
        (0, 0o2755, None),
        (0, 0o2755, Some(&inherited[..])),
        (4, 0o2777, None),
        (4, 0o777, Some(&inherited)),
    ];
    for (kind, umask) in kinds.iter().flat_map(|kind| [0, 0o22, 0o77].map(|umask| (*kind, umask))) {
        for options in [&["-r"][..], &["-a"], &["-rp"], &["-r", "--no-preserve=mode"]] {
            let copy = |is_named: bool| {
                make_target(kind);
                let mut command = Command::new("sh");
                command.args(["-c", &format!("umask {umask:o}; exec \"$0\" \"$@\"")]);
                command.arg(assert_cmd::cargo::cargo_bin!("aiocp")).args(options);
                command.arg("-T").args([at("source"), at("target")]);
                if is_named {
                    without_unnamed(&mut command, libc::EOPNOTSUPP);
                }
                run(&mut command, 0);
                let rights = rights(&at("target"));
                fs::remove_dir_all(at("target")).unwrap();
                rights
            };
            let (made, named) = (copy(false), copy(true));
            assert_eq!(made, named, "{kind:?}, umask {umask:o}, {options:?}");
            if options == ["-a"] {
                assert_eq!(made, rights(&at("source")), "{kind:?}, umask {umask:o}");
            }
        }
    }
}

#[test]
fn a_clone_costs_no_more_calls_than_it_needs() {
    if !have_strace() {
        return;
    }
    let Some(mounted) = Mounted::new("btrfs", 512) else { return };
    for files_each in FILES_EACH {
        make_files(&mounted.path.join(files_each.to_string()), files_each);
    }
    for options in [&[][..], &["-a"]] {
        let (calls, told) = calls_each(&mounted.path, options, true);
        println!("{options:?}: {calls:.2} calls: {told}");
        assert!(calls <= 11.5, "{options:?}: {calls:.2} calls: {told}");
        assert!(told.contains("ioctl 1.00") && !told.contains("pread"), "{told}");
    }
}

/// Some files of a batch are asked for what the others are taken to answer too: that is the part
/// of a call that is left.
#[test]
fn a_small_file_costs_no_more_calls_than_it_needs() {
    if !have_strace() {
        return;
    }
    let states = [(false, 11.5), (true, 10.5)];
    let on_disk = Mounted::new("ext4", 256).map(|mounted| (mounted, &states[..]));
    // Nothing there is ever cold.
    let in_memory = Mounted::memory("tmpfs", "size=256m").map(|mounted| (mounted, &states[..1]));
    for (mounted, states) in on_disk.into_iter().chain(in_memory) {
        judge_small_files(&mounted.path, states);
    }
}

/// The files of a tree, cold or not, take so many calls at most.
fn judge_small_files(root: &Path, states: &[(bool, f64)]) {
    for files_each in FILES_EACH {
        make_files(&root.join(files_each.to_string()), files_each);
    }
    for options in [&[][..], &["-a"]] {
        for &(is_cold, calls_max) in states {
            let (calls, told) = calls_each(root, options, is_cold);
            println!("{options:?}, cold: {is_cold}: {calls:.2} calls: {told}");
            assert!(calls <= calls_max, "{options:?}, cold: {is_cold}: {calls:.2} calls: {told}");
        }
    }
}
