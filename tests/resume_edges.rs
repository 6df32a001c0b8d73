//! `--resume` where it is hard: killed at each system call, with hard links, on a full disk, begun
//! twice at once, and against journals and temporaries that somebody else made.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::interrupted::*;
use common::*;

/// What changes anything that outlives the process. Between two of these all moments are alike.
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

/// A tree with little of everything, and the same at an earlier time.
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

/// Every file that has its final name is whole: the new one, or the one that stood there.
fn all_are_whole(source: &Path, old: &Path, target: &Path) {
    let (new, old) = (describe(source), describe(old));
    for (path, what) in describe(target) {
        let contents = |line: &str| line.splitn(3, ' ').nth(2).unwrap().to_owned();
        let is = |tree: &BTreeMap<PathBuf, String>, name: &str| {
            tree.get(Path::new(name)).is_some_and(|line| contents(line) == contents(&what))
        };
        let name = path.to_str().unwrap();
        let is_whole = match name.strip_suffix('~') {
            // Killed between making a link where nothing stood and recording it, a run has left
            // what the next one takes for an older one.
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

/// Runs are killed at each system call in turn, and every second time the next run at some call
/// too; with `replaces`, what they copy stands there already.
fn kill_at_each_system_call(replaces: bool) {
    // In memory: what is killed leaves the page cache as it is, and a thousand runs that wait for a
    // device would take minutes.
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
            // Without a journal, and with what only the new tree has, it was killed when everything
            // was done.
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
            // The manifest is written beside its place first, under a name of its own.
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

/// Both trees are the same, and what was replaced stands as its backup, which is taken away.
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
    // What was taken away has changed the times of its folder.
    for folder in [target, &target.join("d"), source, &source.join("d")] {
        set_times(folder, 1, 1);
    }
    are_identical(source, target);
    let ino = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
    assert_eq!(ino("twice"), ino("d/1"), "two names of one file");
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
    assert!(
        stats.stderr.is_empty() && written_bytes(&String::from_utf8(stats.stdout).unwrap()) == 0
    );
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

#[test]
fn nothing_to_copy_is_an_error_and_leaves_no_journal() {
    let folder = folder();
    let output = run(aiocp().current_dir(&folder).args(["--resume", "missing", "target"]), 1);
    assert!(
        stderr(&output).contains("cannot stat 'missing': No such file or directory"),
        "{output:?}"
    );
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn of_two_that_begin_at_once_only_one_is_at_work() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_small_tree(&source);
    let (mut refused, mut both) = (0, 0);
    for _ in 0..40 {
        // Merged into what is there, the journal could lie in it, too.
        fs::create_dir(&target).unwrap();
        let start = || resume(&source, &target).stderr(Stdio::piped()).spawn().unwrap();
        let children = [start(), start()];
        let outputs = children.map(|child| child.wait_with_output().unwrap());
        for output in &outputs {
            let is_refused = stderr(output).contains("another aiocp is at work on this copy");
            assert_eq!(output.status.code(), Some(i32::from(is_refused)), "{output:?}");
            refused += u32::from(is_refused);
        }
        both += u32::from(outputs.iter().all(|output| output.status.success()));
        are_identical(&source, &target);
        assert!(litter(folder.path()).is_empty(), "{:?}", litter(folder.path()));
        fs::remove_dir_all(&target).unwrap();
    }
    assert!(refused > 0, "some met the other; {both} came one after the other");
}

#[test]
fn a_journal_that_cannot_be_locked_is_one_all_the_same() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_small_tree(&source);
    for error in ["ENOSYS", "EOPNOTSUPP", "ENOLCK"] {
        let lockless = format!("inject=flock:error={error}");
        let mut command =
            strace(&["-e", "trace=flock", "-e", &lockless], &folder.path().join("trace"));
        run(command.args(["--resume", "-T"]).args(TUNING).arg(&source).arg(&target), 0);
        are_identical(&source, &target);
        assert!(litter(folder.path()).is_empty());
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn what_was_finished_on_a_full_disk_is_on_record() {
    if !is_root("mounting a small filesystem") {
        return;
    }
    let folder = folder();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    for n in 0..3000 {
        fs::write(source.join(format!("{n}")), noise(10_000, n)).unwrap();
    }
    for (kind, mib) in [("ext4", 48), ("xfs", 320)] {
        let mounted = Mounted::new(kind, mib);
        let (target, filler) = (mounted.path.join("target"), mounted.path.join("filler"));
        fs::write(&filler, "").unwrap();
        let free =
            Command::new("df").args(["--output=avail", "-B1"]).arg(&filler).output().unwrap();
        let free: u64 =
            String::from_utf8(free.stdout).unwrap().lines().last().unwrap().trim().parse().unwrap();
        fs::write(&filler, vec![1; (free - (20 << 20)) as usize]).unwrap();
        let output = run(&mut resume(&source, &target), 1);
        let said = stderr(&output);
        assert!(
            said.contains("No space left on device") && !said.contains("journal"),
            "on {kind}: {said}"
        );
        let copied = fs::read_dir(&target).unwrap().count();
        assert!((500..3000).contains(&copied), "on {kind}: {copied} files fitted");
        fs::remove_file(filler).unwrap();
        let stats = complete(&source, &target);
        assert_eq!(figure(&stats, "finished earlier"), copied as u64, "on {kind}: {stats}");
        assert!(written_bytes(&stats) == (3000 - copied as u64) * 10_000, "on {kind}: {stats}");
    }
}

/// Interrupts copies of `source` until one leaves a half of a big file with at least this much in
/// it. Its temporary.
fn leave_half(source: &Path, target: &Path, bytes: u64, more: &[&str]) -> PathBuf {
    for _ in 0..200 {
        for n in 1..40 {
            let mut command = resume(source, target);
            command.arg("--threads=1").args(more).stderr(Stdio::null()).stdout(Stdio::null());
            assert!(
                tracer::kill_at(&mut command, &[libc::SYS_pwrite64], n),
                "it is killed before it is done"
            );
            let temporaries = litter(target.parent().unwrap());
            let half =
                temporaries.into_iter().find(|path| !path.to_string_lossy().contains("journal"));
            if let Some(half) = half.filter(|half| data_bytes(half) >= bytes) {
                return half;
            }
        }
    }
    panic!("no half is left");
}

#[test]
fn the_half_of_a_file_with_two_names_is_gone_on_with_under_either() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    for name in ["a", "b"] {
        fs::create_dir_all(source.join(name)).unwrap();
    }
    fs::write(source.join("a/1"), noise(8 << 20, 1)).unwrap();
    fs::hard_link(source.join("a/1"), source.join("b/2")).unwrap();
    // One of the two is met first, whichever it is, and the half is that of the other one in one of
    // the rounds.
    for (first, other) in [("a/1", "b/2"), ("b/2", "a/1")] {
        let (first_alone, other_alone) =
            (format!("--exclude=/{other}"), format!("--exclude=/{first}"));
        let written = |more: &[&str]| {
            let output =
                run(resume(&source, &target).args(["--threads=1", "--stats"]).args(more), 0);
            assert!(output.stderr.is_empty(), "{output:?}");
            assert!(litter(folder.path()).is_empty(), "{:?}", litter(folder.path()));
            written_bytes(&String::from_utf8(output.stdout).unwrap())
        };
        let before = data_bytes(&leave_half(&source, &target, 3 << 20, &[&first_alone]));
        let bytes = written(&[]);
        assert!(
            bytes <= (8 << 20) - before + (1 << 20),
            "{bytes} bytes were written, and {before} were there"
        );
        are_identical(&source, &target);
        let ino = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
        assert_eq!(ino(first), ino(other));
        fs::remove_dir_all(&target).unwrap();

        // And if the first name is left out now, the other one is copied.
        leave_half(&source, &target, 3 << 20, &[&first_alone]);
        assert_eq!(written(&[&other_alone]), 8 << 20);
        assert!(fs::read(source.join(other)).unwrap() == fs::read(target.join(other)).unwrap());
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn the_first_half_of_the_source_is_not_read_again() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let (trace, manifest) = (folder.path().join("trace"), folder.path().join("manifest"));
    fs::write(&source, noise(8 << 20, 1)).unwrap();
    leave_half(&source, &target, 4 << 20, &[]);
    let mut command = strace(&["-e", "trace=pread64", "-P", source.to_str().unwrap()], &trace);
    command.args(["--resume", "-T", "--engine=threads", "--manifest"]).arg(&manifest).args(TUNING);
    run(command.arg(&source).arg(&target), 0);
    let trace = fs::read_to_string(trace).unwrap();
    // pread64(5, BUFFER, LENGTH, OFFSET) = READ, or the end of such a line.
    let offset = |line: &str| -> u64 {
        line.rsplit_once(") = ").unwrap().0.rsplit_once(", ").unwrap().1.parse().unwrap()
    };
    let offsets: Vec<u64> =
        trace.lines().filter(|line| line.contains(") = ")).map(offset).collect();
    // What was written and not yet on record is read again.
    let first = *offsets.iter().min().unwrap();
    assert!(first >= (4 << 20) - (512 << 10), "the source is read from byte {first} on");
    assert!(
        fs::read_to_string(manifest)
            .unwrap()
            .starts_with(blake3::hash(&fs::read(&source).unwrap()).to_hex().as_str())
    );
}

#[test]
fn an_interrupted_comparison_says_what_it_has_compared() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::write(&source, noise(20 << 20, 1)).unwrap();
    fs::copy(&source, &target).unwrap();
    let mut command = strace(
        &["-e", "trace=io_setup", "-e", "inject=io_setup:signal=SIGINT:when=1"],
        Path::new("/dev/null"),
    );
    let output = run(
        command.args(["--verify-only", "--direct=always", "-T"]).arg(&source).arg(&target),
        130,
    );
    assert_eq!(
        stderr(&output),
        "aiocp: interrupted: 0 files are the same; the rest is not begun\n"
    );
}

#[test]
fn a_half_whose_source_changed_is_copied_anew() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::write(&source, noise(8 << 20, 1)).unwrap();
    leave_half(&source, &target, 3 << 20, &[]);
    // In what was copied already; the size and the time stay.
    let modified = fs::metadata(&source).unwrap().modified().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&source).unwrap();
    file.write_all_at(b"changed", 5000).unwrap();
    file.set_modified(modified).unwrap();
    let output = run(&mut resume(&source, &target), 0);
    assert!(
        stderr(&output)
            .contains("the source changed since it was begun; it is copied from the start")
    );
    assert!(fs::read(&source).unwrap() == fs::read(&target).unwrap());
    assert!(litter(folder.path()).is_empty());
}

#[test]
fn a_temporary_that_was_exchanged_is_neither_believed_nor_followed() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let precious = folder.path().join("precious");
    fs::write(&source, noise(8 << 20, 1)).unwrap();
    type Exchange<'a> = (&'a str, &'a dyn Fn(&Path));
    let exchanges: [Exchange<'_>; 4] = [
        ("another file", &|half| {
            let contents = fs::read(half).unwrap();
            fs::remove_file(half).unwrap();
            // The inode of what was removed must not be had again.
            fs::write(folder.path().join("other"), "").unwrap();
            fs::write(half, contents).unwrap();
        }),
        ("a file with another name", &|half| fs::hard_link(half, &precious).unwrap()),
        ("a link", &|half| {
            fs::rename(half, &precious).unwrap();
            symlink(&precious, half).unwrap();
        }),
        ("a FIFO", &|half| {
            fs::remove_file(half).unwrap();
            rustix::fs::mknodat(rustix::fs::CWD, half, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .unwrap();
        }),
    ];
    for (what, exchange) in exchanges {
        let half = leave_half(&source, &target, 3 << 20, &[]);
        exchange(&half);
        let before = fs::read(&precious).ok();
        let output = run(resume(&source, &target).arg("--stats"), 0);
        assert_eq!(written_bytes(&String::from_utf8(output.stdout).unwrap()), 8 << 20, "{what}");
        assert!(fs::read(&source).unwrap() == fs::read(&target).unwrap(), "{what}");
        assert!(before == fs::read(&precious).ok(), "{what}: nothing was written through it");
        assert!(litter(folder.path()).is_empty(), "{what}: {:?}", litter(folder.path()));
        for name in [&target, &precious] {
            let _gone = fs::remove_file(name);
        }
    }
}

/// A seal as the journal's own description has it.
fn seal(key: &[u8; 32], before: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(before);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    hasher.finalize().as_bytes()[..16].to_vec()
}

#[test]
fn a_journal_that_was_forged_with_its_own_key_reaches_nothing_outside() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let (source, target) = (at("source"), at("target"));
    fs::create_dir_all(at("outside")).unwrap();
    fs::create_dir(&source).unwrap();
    fs::write(source.join("small"), "small").unwrap();
    fs::write(source.join("big"), noise(8 << 20, 1)).unwrap();
    let half = leave_half(&source, &target, 3 << 20, &[]);
    let temporary = half.file_name().unwrap();
    symlink(at("outside"), target.join("way")).unwrap();
    let journal = journals(folder.path()).pop().unwrap();
    let bytes = fs::read(&journal).unwrap();
    let key: &[u8; 32] = bytes[16..48].try_into().unwrap();
    let (mut last, mut pos) = (bytes[80..96].to_vec(), 96);
    let mut reached = None;
    while pos < bytes.len() {
        let len = u32::from_le_bytes(bytes[pos..pos + 4].try_into().unwrap()) as usize;
        let body = &bytes[pos + 4..pos + 4 + len];
        let stored = &bytes[pos + 4 + len..pos + 20 + len];
        assert_eq!(
            seal(key, &last, &[&bytes[pos..pos + 4], body]),
            stored,
            "the seals are as they are described"
        );
        (last, pos) = (stored.to_vec(), pos + 20 + len);
        // A frame of one record, behind its own length.
        if body[4] == 3 {
            reached = Some(body[4..].to_vec());
        }
    }
    let mut forged = bytes.clone();
    let mut add = |body: &[u8]| {
        let length = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
        let records = [&length(body), body].concat();
        let len = length(&records);
        last = seal(key, &last, &[&len, &records]);
        forged.extend([&len[..], &records, &last].concat());
    };
    // Temporaries to be removed, with the inode of a file outside that has the very name.
    for path in ["../outside/big", "way/big", at("outside/big").to_str().unwrap()] {
        let precious = at("outside").join(temporary);
        fs::write(&precious, "precious").unwrap();
        let ino = fs::metadata(&precious).unwrap().ino();
        let name = blake3::hash(path.as_bytes());
        let head = [
            &[2][..],
            &name.as_bytes()[..16],
            &[0; 52],
            &ino.to_le_bytes(),
            &65536u64.to_le_bytes(),
        ]
        .concat();
        add(&[&head, path.as_bytes()].concat());
    }
    // More blocks of the file than it has.
    let reached = reached.unwrap();
    let first =
        u64::from_le_bytes(reached[17..25].try_into().unwrap()) + (reached.len() as u64 - 25) / 32;
    add(&[&reached[..17], &first.to_le_bytes(), &[7; 32 * 500]].concat());
    fs::write(&journal, &forged).unwrap();
    let output = run(&mut resume(&source, &target), 0);
    assert!(stderr(&output).contains("a part of it is not what the journal says"), "{output:?}");
    assert!(fs::read(at("outside").join(temporary)).unwrap() == b"precious");
    assert!(fs::read(source.join("big")).unwrap() == fs::read(target.join("big")).unwrap());
    assert!(journals(folder.path()).is_empty());

    // A record that says it has 4 GiB, in a file that has.
    leave_half(&source, &target, 3 << 20, &[]);
    let journal = journals(folder.path()).pop().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&journal).unwrap();
    let end = file.metadata().unwrap().len();
    file.write_all_at(&u32::MAX.to_le_bytes(), end).unwrap();
    file.set_len(end + (5 << 30)).unwrap();
    let output = run(
        Command::new("sh")
            .args(["-c", "ulimit -v 2000000; exec \"$0\" \"$@\""])
            .arg(assert_cmd::cargo::cargo_bin!("aiocp"))
            .args(["--resume", "-T"])
            .args(TUNING)
            .arg(&source)
            .arg(&target),
        0,
    );
    assert!(stderr(&output).contains("it is torn or was changed"), "{output:?}");
}

#[test]
fn what_is_finished_is_not_opened_again() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target, trace) =
        (folder.path().join("source"), folder.path().join("target"), folder.path().join("trace"));
    make_small_tree(&source);
    fs::create_dir(source.join("other")).unwrap();
    // The journal is left by a copy that was killed when everything was done.
    let killed = "inject=unlinkat:signal=SIGKILL";
    strace(&["-e", "trace=unlinkat", "-e", killed], &trace)
        .args(["--resume", "-T"])
        .args(TUNING)
        .arg(&source)
        .arg(&target)
        .output()
        .unwrap();
    assert_eq!(journals(folder.path()).len(), 1);
    let mut command =
        strace(&["-e", "trace=openat,openat2,pwrite64,pread64,read,io_submit", "-y"], &trace);
    let output = run(
        command
            .args(["--resume", "-T", "--manifest"])
            .arg(folder.path().join("manifest"))
            .args(TUNING)
            .arg(&source)
            .arg(&target),
        0,
    );
    assert!(output.stderr.is_empty(), "{output:?}");
    let trace = fs::read_to_string(trace).unwrap();
    let inside = [&source, &target].map(|tree| tree.to_str().unwrap().to_owned());
    let is_inside = |line: &&str| inside.iter().any(|tree| line.contains(tree));
    let is_dir = |line: &&str| line.contains("O_DIRECTORY") || line.contains("O_PATH");
    let opened: Vec<_> = trace.lines().filter(|line| is_inside(line) && !is_dir(line)).collect();
    assert!(opened.is_empty(), "{opened:#?}");
    check_manifest(&fs::read_to_string(folder.path().join("manifest")).unwrap(), &target);
    are_identical(&source, &target);
}

#[test]
fn a_source_that_is_back_is_copied_and_the_others_are_not_copied_again() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("target")).unwrap();
    for name in ["one", "two", "three"] {
        fs::write(at(name), noise(100_000, name.len() as u64)).unwrap();
    }
    fs::rename(at("one"), at("away")).unwrap();
    let command = || {
        let mut command = aiocp();
        command.current_dir(&folder).args(["--resume", "--stats", "one", "two", "three", "target"]);
        command
    };
    run(&mut command(), 1);
    assert_eq!(journals(folder.path()).len(), 1);
    fs::rename(at("away"), at("one")).unwrap();
    let output = run(&mut command(), 0);
    assert!(output.stderr.is_empty(), "{output:?}");
    assert_eq!(written_bytes(&String::from_utf8(output.stdout).unwrap()), 100_000);
    assert!(litter(folder.path()).is_empty());
}

#[test]
fn a_half_that_nobody_asks_for_is_removed_without_a_trace_in_its_folder() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("big"), noise(8 << 20, 1)).unwrap();
    leave_half(&source, &target, 3 << 20, &[]);
    fs::remove_file(source.join("big")).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(&source).unwrap().set_times(fs::FileTimes::new().set_modified(old)).unwrap();
    run(&mut resume(&source, &target), 0);
    assert_eq!(fs::metadata(&target).unwrap().modified().unwrap(), old);
    assert!(litter(folder.path()).is_empty() && fs::read_dir(&target).unwrap().next().is_none());
}
