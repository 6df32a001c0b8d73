//! Hidden names are private by custom alone: entries of SOURCE, and files in DEST, may have any of
//! them. They are copied like any other, no contents are lost for them, and after every end of a
//! run no hidden name is there that was not there before.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::held::{is_in, signal_until_it_ends, traced, wait_for, while_held};
use common::interrupted::{TUNING, journals, killed_in_the_middle, resume, signal_after};
use common::sandbox::without_unnamed_files;
use common::*;
use rustix::fs::{CWD, FileType, mknodat};
use rustix::process::Signal;

/// What makes a file durable, for strace.
const SYNCS: &str = "fsync,fdatasync,syncfs,io_submit";
const SYNC_CALLS: &[libc::c_long] =
    &[libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_syncfs, libc::SYS_io_submit];

const BIG_BYTES: usize = 3 << 20;

/// What an entry can be.
const KINDS: [&str; 8] = [
    "a file",
    "an empty file",
    "a big file",
    "a directory",
    "a link",
    "a FIFO",
    "a socket",
    "a device",
];

/// Makes one; nothing without the right to.
fn plant(path: &Path, kind: &str) -> bool {
    let node = |kind, device| mknodat(CWD, path, kind, 0o600.into(), device);
    match kind {
        "a file" => fs::write(path, "precious").unwrap(),
        "an empty file" => fs::write(path, "").unwrap(),
        "a big file" => fs::write(path, noise(2 << 20, 5)).unwrap(),
        "a directory" => {
            fs::create_dir(path).unwrap();
            fs::write(path.join("inside"), "precious").unwrap();
        }
        "a link" => symlink("precious", path).unwrap(),
        "a FIFO" => node(FileType::Fifo, 0).unwrap(),
        "a socket" => {
            // Its path has to be short.
            let here = tempfile::tempdir_in("/dev/shm").unwrap();
            drop(UnixListener::bind(here.path().join("s")).unwrap());
            node(FileType::Socket, 0).unwrap();
        }
        _ => return is_root("making a device") && node(FileType::CharacterDevice, 0x0103).is_ok(),
    }
    true
}

/// What there is below a folder, with contents, of every kind.
fn contents(root: &Path) -> BTreeMap<PathBuf, String> {
    let entries = walkdir::WalkDir::new(root).min_depth(1).into_iter().map(|entry| {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type());
        let what = match () {
            () if kind.is_dir() => "directory".to_owned(),
            () if kind.is_symlink() => format!("link to {:?}", fs::read_link(path).unwrap()),
            () if kind.is_file() => blake3::hash(&fs::read(path).unwrap()).to_string(),
            () => {
                let device = entry.metadata().unwrap().rdev();
                format!("FIFO {} socket {} of {device:x}", kind.is_fifo(), kind.is_socket())
            }
        };
        (path.strip_prefix(root).unwrap().to_owned(), what)
    });
    entries.collect()
}

/// A tree with a file that goes part by part, on two levels.
fn make_tree_with_big_files(root: &Path) {
    fs::create_dir_all(root.join("sub")).unwrap();
    for (n, folder) in [root.to_owned(), root.join("sub")].iter().enumerate() {
        fs::write(folder.join("big"), noise(BIG_BYTES, n as u64)).unwrap();
        fs::write(folder.join("small"), noise(1000, n as u64)).unwrap();
    }
}

/// Source and destination of a copy that was killed, its temporary and its journal.
struct Killed {
    folder: tempfile::TempDir,
    half: PathBuf,
    journal: PathBuf,
}

impl Killed {
    fn new() -> Self {
        let folder = folder();
        make_tree_with_big_files(&folder.path().join("source"));
        let mut command = resume(&folder.path().join("source"), &folder.path().join("target"));
        command.args(["-a", "--threads=1"]);
        let half = killed_in_the_middle(command, folder.path(), 1 << 20);
        let journal = journals(folder.path()).pop().unwrap();
        Self { folder, half, journal }
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    /// The half's name in the source.
    fn half_in_source(&self) -> PathBuf {
        self.source().join(self.half.strip_prefix(self.target()).unwrap())
    }

    fn resume(&self, more: &[&str]) -> Command {
        let mut command = resume(&self.source(), &self.target());
        command.arg("-a").args(more);
        command
    }
}

type Limit = fn(Command) -> Command;

/// Runs it with unnamed files and without.
const WAYS: [(&str, Limit); 2] =
    [("with unnamed files", |command| command), ("without unnamed files", without_unnamed_files)];

/// Names as this version and others made them, of temporaries and of journals.
const NAMES: [&str; 4] = [
    ".aiocp-0123456789abcdef",
    ".aiocp-0123456789abcdef0123456789abcdef",
    ".aiocp-journal-0123456789abcdef",
    ".aiocp-journal-0123456789abcdef-1",
];

#[test]
fn an_entry_of_any_kind_with_a_hidden_name_is_copied_like_any_other() {
    let options: [&[&str]; 5] =
        [&[], &["--resume"], &["-b"], &["--resume", "-b"], &["--resume", "--backup=numbered"]];
    for (way, limit) in WAYS {
        for options in options {
            let folder = folder();
            let (source, target) = (folder.path().join("source"), folder.path().join("target"));
            make_tree_with_big_files(&source);
            for (n, kind) in KINDS.iter().enumerate() {
                for below in ["", "sub"] {
                    let name = format!("{}{n}", NAMES[n % NAMES.len()]);
                    plant(&source.join(below).join(name), kind);
                }
            }
            let wanted = contents(&source);
            // Once into nothing, and once over what is there by then.
            for round in 0..2 {
                let mut command = aiocp();
                command.args(["-a", "-T"]).args(TUNING).args(options).arg(&source).arg(&target);
                run(&mut limit(command), 0);
                let mut found = contents(&target);
                if round == 1 {
                    found.retain(|path, _| !path.to_string_lossy().ends_with('~'));
                }
                assert_eq!(found, wanted, "{way}, {options:?}, {round}");
            }
            assert_eq!(contents(&source), wanted);
            assert!(
                journals(folder.path())
                    .iter()
                    .all(|path| path.starts_with(&source) || path.starts_with(&target))
            );
        }
    }
}

/// What the killed run left is gone on with or removed, and the entry has its copy under the name.
#[test]
fn an_entry_with_the_name_of_what_a_killed_run_left_is_copied_beside_what_is_gone_on_with() {
    let options: [&[&str]; 4] = [&[], &["-b"], &["--threads=1"], &["--verify"]];
    for (n, kind) in KINDS.iter().enumerate() {
        let killed = Killed::new();
        if !plant(&killed.half_in_source(), kind) {
            continue;
        }
        let wanted = contents(&killed.source());
        let (way, limit) = WAYS[n % 2];
        for again in 0..2 {
            run(&mut limit(killed.resume(options[n % 4])), 0);
            let mut found = contents(&killed.target());
            if again == 1 {
                found.retain(|path, _| !path.to_string_lossy().ends_with('~'));
            }
            assert_eq!(found, wanted, "{kind}, {way}");
        }
        assert!(journals(killed.folder.path()).is_empty());
    }
}

/// The entry's copy stands under the name, or is being made, when the next run is killed too.
#[test]
fn killed_again_and_again_no_run_takes_the_copy_of_an_entry_for_its_own() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for (way, limit) in WAYS {
        let killed = Killed::new();
        let mut planted = 0;
        for round in 0..12 {
            // Whatever is hidden in the destination now becomes an entry too.
            for path in litter(&killed.target()) {
                let entry = killed.source().join(path.strip_prefix(killed.target()).unwrap());
                if !entry.exists() {
                    plant(&entry, KINDS[round % 4]);
                    planted += 1;
                }
            }
            let mut command = killed.resume(&["--threads=2", "--bwlimit=24M"]);
            command.stdout(Stdio::null());
            let delay = Duration::from_millis(random.u64(20..250));
            signal_after(limit(command), &[Signal::KILL], delay);
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = run(&mut limit(killed.resume(&[])), 0);
        assert_eq!(contents(&killed.target()), contents(&killed.source()), "{way}: {output:?}");
        assert!(planted > 0 && journals(killed.folder.path()).is_empty());
    }
}

#[test]
fn what_others_put_in_the_place_of_a_half_or_of_a_journal_stays() {
    for kind in KINDS {
        for takes_journal in [false, true] {
            let killed = Killed::new();
            let place = if takes_journal { &killed.journal } else { &killed.half };
            fs::remove_file(place).unwrap();
            // The birth of what was removed must not be had again.
            std::thread::sleep(Duration::from_millis(20));
            if !plant(place, kind) {
                continue;
            }
            let ino = || place.symlink_metadata().unwrap().ino();
            let (before, known) = (ino(), contents(killed.folder.path()));
            let relative =
                |path: &Path| path.strip_prefix(killed.folder.path()).unwrap().to_owned();
            run(&mut killed.resume(&[]), 0);
            assert_eq!(ino(), before, "{kind}, the journal's place: {takes_journal}");
            let found = contents(killed.folder.path());
            let below = |path: &PathBuf| path.starts_with(relative(place));
            for (path, what) in known.iter().filter(|(path, _)| below(path)) {
                assert_eq!(found.get(path), Some(what), "{kind}: {path:?}");
            }
            for (path, what) in contents(&killed.source()) {
                assert_eq!(found.get(&Path::new("target").join(path)), Some(&what), "{kind}");
            }
            let hidden = litter(killed.folder.path());
            assert!(hidden.iter().all(|path| path.starts_with(place)), "{kind}: {hidden:?}");
        }
    }
}

/// The journal lies in the destination, where the copies of the source's entries are.
#[test]
fn an_entry_with_the_journal_s_own_name_has_it() {
    if !is_root("mounting a filesystem") {
        return;
    }
    for kind in KINDS {
        let folder = folder();
        let Some(mounted) = Mounted::new("ext4", 64) else { continue };
        let source = folder.path().join("source");
        make_tree_with_big_files(&source);
        fs::remove_dir(mounted.path.join("lost+found")).unwrap();
        let command = || {
            let mut command = resume(&source, &mounted.path);
            command.args(["-a", "--threads=1"]);
            command
        };
        killed_in_the_middle(command(), &mounted.path, 1 << 20);
        let journal = journals(&mounted.path).pop().unwrap();
        let name = journal.file_name().unwrap();
        // Of all entries, the journal itself, as a restored backup may have it.
        match kind {
            "a file" => _ = fs::copy(&journal, source.join(name)).unwrap(),
            kind if plant(&source.join(name), kind) => {}
            _ => continue,
        }
        let wanted = contents(&source);
        killed_in_the_middle(command(), &mounted.path, 2 << 20);
        run(&mut command(), 0);
        assert_eq!(contents(&mounted.path), wanted, "{kind}");
        run(&mut command(), 0);
        assert_eq!(contents(&mounted.path), wanted, "{kind}, once more");
    }
}

#[test]
fn without_locks_a_journal_that_may_be_another_run_s_is_left_alone() {
    if !have_strace() {
        return;
    }
    let killed = Killed::new();
    for contents in [&b""[..], b"aiocp journal 2\n", b"precious"] {
        fs::write(&killed.journal, contents).unwrap();
        let trace = killed.folder.path().join("trace");
        let options = ["-e", "trace=flock", "-e", "inject=flock:error=ENOSYS"];
        let mut command = strace(&options, &trace);
        command.args(["--resume", "-a", "-T"]).args(TUNING);
        run(command.arg(killed.source()).arg(killed.target()), 0);
        assert_eq!(fs::read(&killed.journal).unwrap(), contents);
        assert_eq!(litter(killed.folder.path()), std::slice::from_ref(&killed.journal));
    }
}

/// Between the making of a temporary and its renaming another process takes its name.
#[test]
fn what_is_exchanged_before_it_is_renamed_is_never_published_in_silence() {
    if !have_strace() {
        return;
    }
    let held: [(&str, &[libc::c_long]); 2] =
        [("renameat2", &[libc::SYS_renameat2]), (SYNCS, SYNC_CALLS)];
    for (n, (names, calls)) in held.into_iter().enumerate() {
        let place = place::Place::with(&[("new", "new"), ("old", "old")]);
        let hidden = || litter(&place.at("")).pop();
        let trace = format!("trace=openat,renameat2,{SYNCS}");
        let no_unnamed = "inject=openat:error=EOPNOTSUPP:when=1";
        let hold = format!("inject={names}:delay_enter=2000000");
        let options = ["-e", &trace, "-e", no_unnamed, "-e", &hold];
        let mut command = strace(&options, &place.at("trace"));
        command.arg(place.at("new")).arg(place.at("old")).stderr(Stdio::piped());
        let copy = command.spawn().unwrap();
        // It has been written by then.
        let is_held = || hidden().is_some() && is_in(traced(&copy), calls);
        let name = while_held(&copy, is_held, || {
            let name = hidden().unwrap();
            fs::write(place.at("precious"), "precious").unwrap();
            fs::rename(place.at("precious"), &name).unwrap();
            name
        });
        let output = copy.wait_with_output().unwrap();
        let standing = fs::read_to_string(place.at("old")).unwrap();
        assert!(
            output.status.code() == Some(1) || standing == "new",
            "{n}: {standing}, and {output:?}"
        );
        // Looked at before the rename, it is not published at all.
        if n == 1 {
            assert_eq!(standing, "old");
            assert_eq!(fs::read(&name).unwrap(), b"precious", "and not removed");
        }
    }
}

/// Of most filesystems no more is known than that a number is one file's for as long as that is
/// there. What has taken a hidden name is not taken for the copy there either.
#[test]
fn on_a_filesystem_of_which_little_is_known_another_number_is_another_file() {
    if !have_strace() {
        return;
    }
    let Some(mounted) = Mounted::new("ramfs", 64) else { return };
    let source = folder();
    let big = source.path().join("big");
    fs::write(&big, noise(2 << 20, 1)).unwrap();
    let at = |name: &str| mounted.path.join(name);
    fs::create_dir(at("copy")).unwrap();
    let is_journal = |path: &PathBuf| path.to_string_lossy().contains("journal");
    let hidden = || litter(&at("copy")).into_iter().find(|path| !is_journal(path));
    // It has a hidden name from the start, and is moved for some time.
    let trace = mounted.path.with_file_name("trace");
    let slow = ["-e", "trace=fsync", "-e", "inject=fsync:delay_enter=500000"];
    let mut command = strace(&slow, &trace);
    command.args(["--verify", "--resume", "-T"]).args(TUNING).args([&big, &at("copy/big")]);
    let copy = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let is_held = || hidden().is_some() && is_in(traced(&copy), &[libc::SYS_fsync]);
    let name = while_held(&copy, is_held, || {
        let name = hidden().unwrap();
        fs::rename(&name, at("aside")).unwrap();
        fs::write(&name, "precious").unwrap();
        name
    });
    let output = copy.wait_with_output().unwrap();
    assert_eq!(fs::read(&name).unwrap(), b"precious", "{output:?}");
    if output.status.success() {
        assert!(fs::read(at("copy/big")).unwrap() == noise(2 << 20, 1), "{output:?}");
    }
}

/// A copy has its name, and in the next moment another process puts a file of its own there. The
/// journal speaks of the copy, so that the next run makes it again.
#[test]
fn what_takes_the_name_of_a_copy_is_not_recorded_as_that_copy() {
    if !have_strace() {
        return;
    }
    // The second file is one more name of the first.
    for (name, nth) in [("first", 1), ("second", 2)] {
        let place = place::Place::with(&[("source/first", "source's")]);
        fs::hard_link(place.at("source/first"), place.at("source/second")).unwrap();
        // It is not copied without being asked for, so that the journal stays.
        mknodat(CWD, place.at("source/pipe"), FileType::Fifo, 0o600.into(), 0).unwrap();
        fs::write(place.at("stranger"), "another's").unwrap();
        let held = format!("inject=linkat:delay_exit=2000000:when={nth}");
        let mut command = strace(&["-e", "trace=linkat", "-e", &held], &place.at("trace"));
        let resume = ["--resume", "--threads=1", "-T"];
        command.args(resume).arg(place.at("source")).arg(place.at("copy"));
        let copy = place.at("copy").join(name);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let is_held = || copy.exists() && is_in(traced(&child), &[libc::SYS_linkat]);
        while_held(&child, is_held, || fs::rename(place.at("stranger"), &copy).unwrap());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(fs::read(&copy).unwrap(), b"another's", "{output:?}");
        fs::remove_file(place.at("source/pipe")).unwrap();
        let mut again = aiocp();
        run(again.args(resume).arg(place.at("source")).arg(place.at("copy")), 0);
        assert_eq!(fs::read(&copy).unwrap(), b"source's", "{name}");
    }
}

/// cp writes into what stands in a folder that keeps every name; nothing can take its place there.
#[test]
fn an_append_only_folder_keeps_no_hidden_name() {
    if !is_root("chattr") || !have("chattr") {
        return;
    }
    let options: [&[&str]; 6] = [
        &[],
        &["-b"],
        &["--backup=numbered"],
        &["--resume"],
        &["-p", "-f"],
        &["--remove-destination"],
    ];
    for (way, limit) in WAYS {
        for options in options {
            for size_bytes in [3, BIG_BYTES] {
                let place =
                    place::Place::with(&[("worm/f", "old"), ("from/f", ""), ("from/g", "")]);
                for name in ["f", "g"] {
                    fs::write(place.at("from").join(name), noise(size_bytes, 1)).unwrap();
                }
                let worm = place.at("worm");
                must(program("chattr").arg("+a").arg(&worm));
                let mut command = place.command(&["-T"]);
                command.args(TUNING).args(options).args(["from", "worm"]);
                let output = limit(command).output().unwrap();
                must(program("chattr").arg("-a").arg(&worm));
                let names: Vec<_> = contents(&place.at("")).into_keys().collect();
                // A run that failed leaves its journal beside the copy, for the next.
                let is_journal = |path: &PathBuf| path.parent() == Some(&*place.at(""));
                let mut hidden = litter(&place.at(""));
                hidden.retain(|path| !options.contains(&"--resume") || !is_journal(path));
                assert!(hidden.is_empty(), "{way}, {options:?}: {hidden:?}");
                assert!(
                    names.len() <= 6 + usize::from(options.contains(&"--resume")),
                    "{way}, {options:?}: no useless backup, {names:?}"
                );
                assert_eq!(fs::read(worm.join("f")).unwrap(), b"old");
                assert_eq!(output.status.code(), Some(1), "{output:?}");
                // What stands nowhere yet has a name at once.
                if way == "with unnamed files" {
                    assert!(fs::read(worm.join("g")).unwrap() == noise(size_bytes, 1));
                }
            }
        }
    }
}

#[test]
fn a_name_that_leaves_no_room_for_a_suffix_has_a_backup_all_the_same() {
    for backup in ["simple", "numbered", "existing"] {
        for len in [250, 252, 254, 255] {
            let name = "n".repeat(len);
            let place = place::Place::with(&[(&name, "1"), (&format!("from/{name}"), "2")]);
            let from = format!("from/{name}");
            for contents in ["2", "3"] {
                fs::write(place.at(&from), contents).unwrap();
                place.cp(&[&format!("--backup={backup}"), &from, "."]);
                assert_eq!(place.read(&name), contents);
            }
            assert!(litter(&place.at("")).is_empty());
            let entries = fs::read_dir(place.at("")).unwrap().map(|entry| entry.unwrap().path());
            let files = entries.filter(|path| path.is_file());
            let mut found: Vec<_> = files.map(|path| fs::read_to_string(path).unwrap()).collect();
            found.sort_unstable();
            let wanted: &[&str] = if backup == "numbered" { &["1", "2", "3"] } else { &["2", "3"] };
            assert_eq!(found, wanted, "{backup}, {len} bytes");
        }
    }
}

/// A file waits for its sync under a hidden name when the second signal comes.
#[test]
fn a_second_signal_leaves_no_hidden_name() {
    if !have_strace() {
        return;
    }
    for options in [&[][..], &["--resume"]] {
        let place = place::Place::with(&[("new", "new"), ("old", "old")]);
        let slow = format!("inject={SYNCS}:delay_enter=6000000");
        let trace = format!("trace=openat,{SYNCS}");
        let no_unnamed = "inject=openat:error=EOPNOTSUPP:when=1";
        let strace_options = ["-e", &trace, "-e", no_unnamed, "-e", &slow];
        let mut command = strace(&strace_options, &place.at("trace"));
        command.args(options).arg(place.at("new")).arg(place.at("old"));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let is_temporary = |path: &PathBuf| !path.to_string_lossy().contains("journal");
        let is_there = || litter(&place.at("")).iter().any(is_temporary);
        wait_for("it waits", || is_there() && is_in(traced(&child), SYNC_CALLS));
        let copy = traced(&child).unwrap();
        let status = signal_until_it_ends(&mut child, copy, Signal::INT);
        assert_eq!(status.code(), Some(130));
        let hidden: Vec<_> = litter(&place.at("")).into_iter().filter(is_temporary).collect();
        assert!(hidden.is_empty(), "{options:?}: {hidden:?}");
        assert_eq!(place.read("old"), "old");
    }
}

/// Some filesystems make a file that is closed after its name is gone once more.
#[test]
fn what_is_thrown_away_is_closed_before_its_name_goes() {
    if !have_strace() {
        return;
    }
    let place = place::Place::with(&[("new", "new")]);
    let no_unnamed = "inject=openat:error=EOPNOTSUPP:when=1";
    let full = "inject=pwrite64:error=ENOSPC";
    let trace = "trace=openat,pwrite64,close,unlinkat";
    let options = ["-e", trace, "-e", no_unnamed, "-e", full];
    let mut command = strace(&options, &place.at("trace"));
    run(command.arg(place.at("new")).arg(place.at("copy")), 1);
    let calls = trace::calls(&place.at("trace"));
    let made = calls.iter().find(|call| call.contains("O_EXCL")).unwrap();
    // The thread that made it throws it away: the calls of one thread are in order.
    let is_its = |call: &&String| trace::thread_of(call) == trace::thread_of(made);
    let mut its = calls.iter().filter(is_its).skip_while(|call| *call != made).skip(1);
    let number = made.rsplit(' ').next().unwrap();
    let close = format!("close({number}");
    let first = its.find(|call| call.contains(&close) || call.contains("unlinkat")).unwrap();
    assert!(first.contains(&close), "{calls:#?}");
    assert!(its.any(|call| call.contains("unlinkat") && call.contains(".aiocp-")), "{calls:#?}");
    assert!(litter(&place.at("")).is_empty());
}
