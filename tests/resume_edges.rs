//! Hard cases of `--resume`: a full disk, two runs at once, a filesystem without locks, a missing
//! source.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use common::interrupted::*;
use common::*;

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

/// Of 1 MiB behind the last record, what is under way is recorded on a full disk.
#[test]
fn a_run_that_finds_all_as_it_was_leaves_the_journal_as_it_is() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_small_tree(&source);
    // It fails, so that the journal stays.
    run(Command::new("mkfifo").arg(source.join("fifo")), 0);
    let journal = |options: &[&str]| {
        run(resume(&source, &target).args(options), 1);
        let journal = &litter(folder.path())[0];
        (fs::read(journal).unwrap(), fs::metadata(journal).unwrap().blocks() * 512)
    };
    let (first, _) = journal(&[]);
    for _ in 0..3 {
        let (same, allocated_bytes) = journal(&[]);
        assert!(same == first, "{} bytes were {}", same.len(), first.len());
        assert!(allocated_bytes >= same.len() as u64 + (1 << 20), "{allocated_bytes}");
    }
    let (other, _) = journal(&["--sparse=never"]);
    assert!(other.starts_with(&first) && other.len() > first.len(), "a manner of its own");
    assert!(journal(&["--sparse=never"]).0 == other);
    assert!(journal(&[]).0.len() > other.len(), "the last manner counts");
}

#[test]
fn of_two_that_begin_at_once_only_one_is_at_work() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_small_tree(&source);
    let (mut refused, mut both) = (0, 0);
    for round in 0.. {
        assert!(round < 1000, "no runs met; {both} pairs ran one after the other");
        if round >= 40 && refused > 0 {
            break;
        }
        // In a merge into an existing folder, the journal could also lie inside it.
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
        let Some(mounted) = Mounted::new(kind, mib) else { continue };
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
    // A copy that is killed when everything is done leaves its journal.
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
    let calls = trace::calls(&trace);
    let inside = [&source, &target].map(|tree| tree.to_str().unwrap().to_owned());
    let is_inside = |call: &str| inside.iter().any(|tree| call.contains(tree));
    let is_dir = |call: &str| call.contains("O_DIRECTORY") || call.contains("O_PATH");
    let opened: Vec<_> = calls.iter().filter(|call| is_inside(call) && !is_dir(call)).collect();
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

/// The link to a further name is hidden first, which changes the change time of the copy. What was
/// seen of that before is no longer so, and is no change by others.
#[test]
fn a_further_name_that_fails_changes_nothing_of_the_copy() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for options in [&[][..], &["--backup=simple"]] {
        fs::create_dir_all(at("source")).unwrap();
        fs::write(at("source/a"), "new").unwrap();
        fs::hard_link(at("source/a"), at("source/b")).unwrap();
        set_times(&at("source/a"), 1_000_000_000, 1);
        fs::create_dir(at("target")).unwrap();
        let names = ["target/a", "target/b"];
        names.iter().for_each(|name| fs::write(at(name), "old").unwrap());
        // The first name replaces a file, and the other does not. Backups are renamed too.
        let nth = if options.is_empty() { 2 } else { 4 };
        let fault = format!("inject=renameat,renameat2:error=EIO:when={nth}+");
        let mut command = strace(&["-e", "trace=renameat,renameat2", "-e", &fault], &at("trace"));
        let arguments = |command: &mut Command| {
            command.args(["-r", "--resume", "-T", "--threads=1", "--stats"]).args(options);
            command.arg(at("source")).arg(at("target"));
        };
        arguments(&mut command);
        let said = stderr(&run(&mut command, 1));
        assert!(said.contains("cannot link "), "{said}");
        let read = |name: &str| fs::read_to_string(at(name)).unwrap();
        let first = names.iter().find(|name| read(name) == "new").expect("it has its name");
        let ino = || fs::metadata(at(first)).unwrap().ino();
        let before = ino();
        let mut command = aiocp();
        arguments(&mut command);
        let output = run(&mut command, 0);
        assert_eq!((stderr(&output).as_str(), ino()), ("", before), "it is not copied again");
        assert_eq!(names.map(read), ["new"; 2]);
        assert_eq!(fs::metadata(at(names[0])).unwrap().nlink(), 2);
        if !options.is_empty() {
            assert_eq!(["target/a~", "target/b~"].map(read), ["old"; 2]);
        }
        for name in ["source", "target"] {
            fs::remove_dir_all(at(name)).unwrap();
        }
    }
}

/// Whether the copy was interrupted cannot be found out: it must not go into itself instead.
#[test]
fn a_journal_that_cannot_be_looked_at_is_an_error() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_small_tree(&source);
    kill_at_the_end(&source, &target);
    let journal = journals(folder.path()).pop().unwrap();
    let name = journal.file_name().unwrap().to_str().unwrap();
    let error = "inject=openat,openat2:error=EIO:when=1";
    let faults = ["-P", name, "-e", "trace=openat,openat2", "-e", error];
    let mut again = strace(&faults, &folder.path().join("trace"));
    let output = run(again.arg("--resume").args(TUNING).args([&source, &target]), 1);
    assert!(stderr(&output).contains("Input/output error"), "{output:?}");
    assert!(!target.join("source").exists(), "it was copied into the copy");
    are_identical(&source, &target);
}

/// The worker's fourth sync is the journal's second one beside a part of the file.
#[test]
fn a_journal_that_cannot_be_synced_costs_no_big_file() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::write(&source, noise(BIG_BYTES, 3)).unwrap();
    let faults = ["-e", "trace=fsync", "-e", "inject=fsync:error=EIO:when=4"];
    let mut copy = strace(&faults, &folder.path().join("trace"));
    let output = run(copy.args(["--resume", "-T"]).args(TUNING).args([&source, &target]), 1);
    let said = stderr(&output);
    assert!(said.contains("cannot fsync the journal") && !said.contains("target'"), "{said}");
    assert!(fs::read(&target).unwrap() == noise(BIG_BYTES, 3));
    complete(&source, &target);
}
