//! `--inplace`: what stands there is written into and stays the file that it was, and what came to
//! nothing is told.

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use common::elsewhere::Elsewhere;
use common::hard::{acl, set_mode, set_xattr, xattr};
use common::in_place::{BIG, SIZES, copy_in_place, holds, inode};
use common::place::fifo;
use common::*;
use rustix::process::{Pid, Signal, kill_process};

const USER: u32 = 12_345;
const ACL: &str = "system.posix_acl_access";
const WAYS: [&[&str]; 8] = [
    &[],
    &["--verify"],
    &["-a"],
    &["--resume"],
    &["--direct=never"],
    &["--direct=always"],
    &["--sparse=always"],
    &["--manifest=sums"],
];

/// The command as an ordinary user.
fn as_user(folder: &Elsewhere, args: &[&str]) -> Command {
    let mut command = folder.as_user(USER);
    command.arg(folder.aiocp()).args(args);
    command
}

fn may_act_for_a_user() -> bool {
    can_mount("tmpfs") && have("setpriv")
}

#[test]
fn what_stands_there_stays_the_file_that_it_was() {
    for args in WAYS {
        for len in SIZES {
            let old_lens: &[_] = match args.is_empty() {
                true => &[0, 5, len, len + 100_000],
                false => &[5, len + 100_000],
            };
            for &old_len in old_lens {
                let what = (args, len, old_len);
                let folder = folder();
                let at = |name: &str| folder.path().join(name);
                fs::write(at("new"), noise(len, 1)).unwrap();
                set_mode(&at("new"), 0o640);
                set_times(&at("new"), 1_000_000_000, 7);
                fs::write(at("old"), noise(old_len, 2)).unwrap();
                fs::hard_link(at("old"), at("other")).unwrap();
                set_xattr(&at("old"), "user.kept", b"value");
                let before = inode(&at("old"));
                let said = copy_in_place(folder.path(), &[args, &["new", "old"]].concat(), 0);
                assert_eq!(said, "", "{what:?}");
                holds(&at("old"), &noise(len, 1), &what);
                holds(&at("other"), &noise(len, 1), &what);
                let meta = fs::metadata(at("old")).unwrap();
                assert_eq!((meta.ino(), meta.nlink()), (before, 2), "{what:?}");
                assert_eq!(meta.mode() & 0o7777, 0o640, "{what:?}");
                assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000_000_000, 7), "{what:?}");
                assert_eq!(xattr(&at("old"), "user.kept").as_deref(), Some(&b"value"[..]));
                assert_eq!(litter(folder.path()), [] as [PathBuf; 0], "{what:?}");
            }
        }
    }
}

#[test]
fn a_tree_is_written_into_and_what_is_not_there_is_made() {
    for args in WAYS {
        let folder = folder();
        let (source, target) = (folder.path().join("s"), folder.path().join("d"));
        make_tree(&source);
        fs::create_dir_all(source.join("in")).unwrap();
        for (n, len) in SIZES.into_iter().enumerate() {
            fs::write(source.join(format!("in/{n}")), noise(len, n as u64)).unwrap();
        }
        must(Command::new("cp").args(["-a", "s/in", "d"]).current_dir(folder.path()));
        fs::create_dir(target.join("in")).unwrap();
        let old = |n: usize| target.join(format!("in/{n}"));
        for n in 0..SIZES.len() {
            fs::write(old(n), noise(100_000 * n, 9)).unwrap();
        }
        let inodes: Vec<_> = (0..SIZES.len()).map(|n| inode(&old(n))).collect();
        fs::rename(target.join("in"), folder.path().join("kept")).unwrap();
        fs::remove_dir_all(&target).unwrap();
        fs::create_dir(&target).unwrap();
        fs::rename(folder.path().join("kept"), target.join("in")).unwrap();
        let args = [args, &["-T", "s", "d"]].concat();
        assert_eq!(copy_in_place(folder.path(), &args, 0), "", "{args:?}");
        assert_eq!(describe(&source), describe(&target), "{args:?}");
        let now: Vec<_> = (0..SIZES.len()).map(|n| inode(&old(n))).collect();
        assert_eq!(now, inodes, "{args:?}");
    }
}

#[test]
fn holes_are_holes_and_nothing_old_shines_through_them() {
    for len in [600_000, BIG] {
        for args in [&[][..], &["--verify"], &["--sparse=always"], &["--sparse=never"]] {
            let folder = folder();
            let at = |name: &str| folder.path().join(name);
            let new = fs::File::create(at("new")).unwrap();
            new.set_len(len as u64).unwrap();
            new.write_all_at(&noise(70_000, 1), 200_000).unwrap();
            for old_len in [1000, len, len + 300_000] {
                fs::write(at("old"), noise(old_len, 2)).unwrap();
                let before = inode(&at("old"));
                copy_in_place(folder.path(), &[args, &["new", "old"]].concat(), 0);
                holds(&at("old"), &fs::read(at("new")).unwrap(), &(len, args, old_len));
                assert_eq!(inode(&at("old")), before);
                let allocated = fs::metadata(at("old")).unwrap().blocks() * 512;
                let is_whole = args == ["--sparse=never"];
                assert_eq!(allocated >= len as u64, is_whole, "{allocated} of {len} {args:?}");
            }
        }
    }
}

#[test]
fn random_files_are_written_over_random_files() {
    let seed = std::env::var("AIOCP_SEED").map_or(fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("AIOCP_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = folder();
    let at = |name: String| folder.path().join(name);
    for name in ["s", "d"] {
        fs::create_dir(at(name.into())).unwrap();
    }
    for n in 0..40 {
        for side in ["s", "d"] {
            let file = fs::File::create(at(format!("{side}/{n}"))).unwrap();
            for _ in 0..random.usize(0..4) {
                let place = random.u64(0..4 << 20);
                file.write_all_at(&noise(random.usize(0..300_000), n), place).unwrap();
            }
        }
    }
    let options = ["--sparse=always", "--sparse=never", "--direct=always", "--verify", "-a"];
    for _ in 0..3 {
        let inodes: Vec<_> = (0..40).map(|n| inode(&at(format!("d/{n}")))).collect();
        let option = options[random.usize(..options.len())];
        copy_in_place(folder.path(), &[option, "-T", "s", "d"], 0);
        for (n, before) in inodes.into_iter().enumerate() {
            let wanted = fs::read(at(format!("s/{n}"))).unwrap();
            holds(&at(format!("d/{n}")), &wanted, &(n, option));
            assert_eq!(inode(&at(format!("d/{n}"))), before);
            if random.bool() {
                let len = random.usize(0..2 << 20);
                fs::write(at(format!("d/{n}")), noise(len, 77)).unwrap();
            }
        }
    }
}

/// A new file of this size, and an old one that everyone may write and only root owns.
fn stage(len: usize) -> Elsewhere {
    let folder = Elsewhere::new();
    fs::write(folder.path().join("new"), noise(len, 1)).unwrap();
    set_mode(&folder.path().join("new"), 0o644);
    fs::write(folder.path().join("old"), noise(100_000, 2)).unwrap();
    set_mode(&folder.path().join("old"), 0o666);
    folder
}

/// A mount point, a folder that may not be written, and one that keeps what is others'.
#[test]
fn what_may_only_be_written_into_is() {
    if !may_act_for_a_user() {
        return;
    }
    for len in SIZES {
        for args in [&[][..], &["--verify"], &["--sparse=always"]] {
            let what = (len, args);
            let folder = stage(len);
            let (path, old) = (folder.path(), folder.path().join("old"));
            let all = [&["--inplace"][..], args, &["new", "old"]].concat();
            for mode in [0o755, 0o1777] {
                set_mode(path, mode);
                fs::write(&old, noise(100_000, 2)).unwrap();
                let said = stderr(&run(&mut as_user(&folder, &all), 0));
                holds(&old, &noise(len, 1), &what);
                let meta = fs::metadata(&old).unwrap();
                assert_eq!((meta.uid(), meta.mode() & 0o7777), (0, 0o666), "{what:?}");
                let mut lines = said.lines().filter(|line| !line.starts_with("aiocp: hint: "));
                assert!(lines.all(|line| line.contains(" warning: cannot set ")), "{said}");
            }
            fs::write(path.join("host"), "host").unwrap();
            must(program("mount").arg("--bind").args([path.join("host"), old.clone()]));
            let output = aiocp().args(&all).current_dir(path).output().unwrap();
            let found = fs::read(&old).unwrap();
            unmount(&old);
            assert!(output.status.success() && output.stderr.is_empty(), "{what:?} {output:?}");
            assert!(found == noise(len, 1), "{what:?}");
            holds(&path.join("host"), &noise(len, 1), &what);
            assert_eq!(litter(path), [] as [PathBuf; 0]);
        }
    }
}

#[test]
fn an_answer_names_it_where_it_would_do() {
    if !may_act_for_a_user() {
        return;
    }
    let folder = stage(3);
    let said = stderr(&run(&mut as_user(&folder, &["new", "old"]), 1));
    assert!(said.contains("hint: ") && said.contains("--inplace"), "{said}");
    set_mode(&folder.path().join("old"), 0o644);
    let said = stderr(&run(&mut as_user(&folder, &["new", "old"]), 1));
    assert_eq!(
        said,
        "aiocp: cannot create 'old': Permission denied\n\
         aiocp: hint: the folder's owner can let you write there (chmod), and root may (sudo)\n\
         aiocp: 1 failure, named above; 0 files were copied\n"
    );
}

#[test]
fn what_only_its_owner_may_change_is_a_failure_where_it_is_demanded() {
    if !may_act_for_a_user() {
        return;
    }
    for (args, code) in [
        (&["-p"][..], 1),
        (&["-a"], 1),
        (&["--preserve=timestamps"], 1),
        (&["--preserve=mode"], 1),
        (&["--no-preserve=mode,timestamps"], 0),
        (&[], 0),
    ] {
        let folder = stage(3);
        let all = [&["--inplace"][..], args, &["new", "old"]].concat();
        let said = stderr(&run(&mut as_user(&folder, &all), code));
        assert_eq!(said.is_empty(), args.first() == Some(&"--no-preserve=mode,timestamps"));
        holds(&folder.path().join("old"), &noise(3, 1), &args);
    }
}

#[test]
fn owner_and_acl_stay_and_setuid_goes() {
    if !is_root("giving files away") {
        return;
    }
    let wanted = acl([6, 7, 4, 5, 7, 0]);
    for (args, owner, keeps_acl) in [
        (&[][..], USER, true),
        (&["--no-preserve=mode"], USER, true),
        (&["--preserve=mode"], USER, false),
        (&["-a"], 0, false),
    ] {
        for len in SIZES {
            let folder = stage(len);
            let old = folder.path().join("old");
            chown(&old, Some(USER), Some(4242)).unwrap();
            set_mode(&old, 0o6755);
            set_xattr(&old, ACL, &wanted);
            copy_in_place(folder.path(), &[args, &["new", "old"]].concat(), 0);
            let meta = fs::metadata(&old).unwrap();
            assert_eq!(meta.uid(), owner, "{args:?} {len}");
            assert_eq!(meta.mode() & 0o6000, 0, "{args:?} {len}");
            assert_eq!(xattr(&old, ACL).is_some(), keeps_acl, "{args:?} {len}");
        }
    }
}

#[test]
fn what_may_not_be_written_is_an_error_that_says_what_to_do() {
    if !may_act_for_a_user() {
        return;
    }
    let folder = stage(3);
    let (path, old) = (folder.path(), folder.path().join("old"));
    set_mode(&old, 0o444);
    let all = ["--inplace", "new", "old"];
    // In a folder that may not be written either, nothing would help.
    let said = stderr(&run(&mut as_user(&folder, &all), 1));
    assert!(said.contains("cannot write into 'old': Permission denied"), "{said}");
    assert!(!said.contains("hint"), "{said}");
    chown(path, Some(USER), Some(USER)).unwrap();
    for args in [&all[..], &["--inplace", "--dry-run", "new", "old"]] {
        let said = stderr(&run(&mut as_user(&folder, args), 1));
        assert!(said.contains("cannot write into 'old': Permission denied"), "{said}");
        assert!(said.contains("hint: ") && said.contains("without --inplace"), "{said}");
    }
    holds(&old, &noise(100_000, 2), &"it was not touched");
    // A program that runs.
    let program = path.join("old");
    fs::remove_file(&program).unwrap();
    copy_program(Path::new("/bin/sleep"), &program);
    let mut sleep = Command::new(&program).arg("60").spawn().unwrap();
    let said = copy_in_place(path, &["new", "old"], 1);
    sleep.kill().unwrap();
    sleep.wait().unwrap();
    assert!(said.contains("Text file busy") && said.contains("without --inplace"), "{said}");
    holds(&program, &fs::read("/bin/sleep").unwrap(), &"it was not touched");
}

#[test]
fn nothing_but_a_regular_file_is_written_into_and_no_link_is_followed() {
    for args in [&[][..], &["-a"]] {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        for name in ["s", "d", "s/link"] {
            fs::create_dir(at(name)).unwrap();
        }
        fs::remove_dir(at("s/link")).unwrap();
        for name in ["s/to_file", "s/to_pipe", "s/over_link", "victim", "d/replaced"] {
            fs::write(at(name), name).unwrap();
        }
        symlink("../victim", at("d/over_link")).unwrap();
        symlink("to_file", at("s/replaced")).unwrap();
        fs::create_dir(at("d/to_file")).unwrap();
        fifo(&at("d/to_pipe"));
        let said = copy_in_place(folder.path(), &[args, &["-T", "s", "d"]].concat(), 1);
        assert_eq!(said.lines().filter(|line| line.contains("cannot replace 'd/to_")).count(), 2);
        assert_eq!(fs::read_to_string(at("victim")).unwrap(), "victim");
        assert!(fs::symlink_metadata(at("d/over_link")).unwrap().is_file());
        assert_eq!(fs::read_to_string(at("d/over_link")).unwrap(), "s/over_link");
        assert_eq!(fs::read_link(at("d/replaced")).unwrap(), Path::new("to_file"));
    }
}

#[test]
fn what_makes_no_sense_together_is_refused_in_one_line() {
    for args in [
        &["-b"][..],
        &["--backup=numbered"],
        &["-S", ".old"],
        &["-u"],
        &["--update=older"],
        &["--remove-destination"],
        &["-l"],
        &["-s"],
        &["--attributes-only"],
        &["--verify-only"],
    ] {
        let folder = stage(3);
        let said = copy_in_place(folder.path(), &[args, &["new", "old"]].concat(), 2);
        assert!(said.contains("does not go with") && said.contains("--inplace"), "{said}");
        assert!(said.lines().filter(|line| line.starts_with("aiocp: ")).count() >= 1, "{said}");
        holds(&folder.path().join("old"), &noise(100_000, 2), &args);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
    // None of them is one.
    let folder = stage(3);
    copy_in_place(folder.path(), &["--backup=none", "--update=all", "-f", "new", "old"], 0);
    holds(&folder.path().join("old"), &noise(3, 1), &"it is allowed");
}

#[test]
fn the_rules_of_existing_files_hold() {
    let folder = stage(3);
    let (path, old) = (folder.path(), folder.path().join("old"));
    let is_old = |what: &str| holds(&old, &noise(100_000, 2), &what);
    for args in [["-n"], ["--update=none"]] {
        assert_eq!(copy_in_place(path, &[&args[..], &["new", "old"]].concat(), 0), "");
        is_old(args[0]);
    }
    copy_in_place(path, &["--update=none-fail", "new", "old"], 1);
    is_old("none-fail");
    let output = run(aiocp().args(["--inplace", "--dry-run", "new", "old"]).current_dir(path), 0);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("would copy 'new' -> 'old' (3 bytes), writing into what is"), "{said}");
    is_old("a dry run");
    let before = inode(&old);
    for (answer, len) in [("n\n", 100_000), ("y\n", 3)] {
        let mut command = aiocp();
        command.args(["--inplace", "-i", "new", "old"]).current_dir(path);
        let output = run_with(&mut command, answer.as_bytes(), 0);
        assert!(stderr(&output).contains("overwrite 'old'?"), "{output:?}");
        assert_eq!(fs::metadata(&old).unwrap().len(), len);
    }
    assert_eq!(inode(&old), before);
    let output = run(aiocp().args(["--inplace", "--json", "new", "old"]).current_dir(path), 0);
    assert!(String::from_utf8(output.stdout).unwrap().contains("\"in_place\":true"));
}

#[test]
fn a_stream_ends_where_it_ends() {
    for len in SIZES {
        let folder = stage(3);
        let old = folder.path().join("old");
        fs::write(&old, noise(len + 9, 2)).unwrap();
        let before = inode(&old);
        let mut command = aiocp();
        command.args(["--inplace", "/dev/stdin", "old"]).current_dir(folder.path());
        command.stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(&noise(len, 1)).unwrap();
        assert!(child.wait().unwrap().success());
        holds(&old, &noise(len, 1), &len);
        assert_eq!(inode(&old), before);
    }
}

#[test]
fn a_full_disk_costs_nothing_of_what_stands_there() {
    for kind in ["ext4", "xfs"] {
        for (old_len, new_len) in [(1000, 900_000), (BIG, 12 << 20)] {
            let Some(disk) = Mounted::new(kind, 320) else { continue };
            let folder = folder();
            let (new, old) = (folder.path().join("new"), disk.path.join("old"));
            fs::write(&new, noise(new_len, 1)).unwrap();
            fs::write(&old, noise(old_len, 2)).unwrap();
            let filler = fs::File::create(disk.path.join("filler")).unwrap();
            let mut at_bytes = 0;
            // What the filesystem keeps back comes free when all is written.
            for _ in 0..3 {
                rustix::fs::syncfs(&filler).unwrap();
                let mut step = 64 << 20;
                while step >= 4096 {
                    let flags = rustix::fs::FallocateFlags::empty();
                    match rustix::fs::fallocate(&filler, flags, at_bytes, step) {
                        Ok(()) => at_bytes += step,
                        Err(_) => step /= 2,
                    }
                }
            }
            let args: Vec<&str> = vec![new.to_str().unwrap(), old.to_str().unwrap()];
            let said = copy_in_place(folder.path(), &args, 1);
            assert!(said.contains("No space left"), "{kind}: {said}");
            holds(&old, &noise(old_len, 2), &(kind, old_len));
            drop(filler);
            fs::remove_file(disk.path.join("filler")).unwrap();
            copy_in_place(folder.path(), &args, 0);
            holds(&old, &noise(new_len, 1), &(kind, new_len));
        }
    }
}

/// A run that is stopped in the middle of a file says that it is half-written; one that is killed
/// cannot. The same command makes it whole, with `--resume` too, which copies the rest no more.
#[test]
fn what_was_cut_short_is_made_whole_by_the_same_command() {
    for signal in [Signal::KILL, Signal::INT] {
        for args in [&[][..], &["--resume"], &["--verify"], &["--sparse=always"]] {
            let what = (signal, args);
            let folder = folder();
            let at = |name: &str| folder.path().join(name);
            for name in ["s", "d"] {
                fs::create_dir(at(name)).unwrap();
                fs::write(at(name).join("big"), noise(8 << 20, name.len() as u64 + 6)).unwrap();
                fs::write(at(name).join("small"), name).unwrap();
            }
            fs::write(at("d/big"), noise(9 << 20, 5)).unwrap();
            let before = inode(&at("d/big"));
            let all = [&["--inplace", "--block-size=64K"][..], args, &["-T", "s", "d"]].concat();
            let mut command = aiocp();
            command.args(&all).arg("--bwlimit=2M").current_dir(folder.path());
            let child = command.stderr(Stdio::piped()).spawn().unwrap();
            let old = noise(9 << 20, 5);
            let is_begun = || {
                let mut start = vec![0; 4096];
                fs::File::open(at("d/big")).unwrap().read_exact_at(&mut start, 0).is_err()
                    || start != old[..4096]
            };
            while !is_begun() {
                std::thread::sleep(Duration::from_millis(5));
            }
            kill_process(Pid::from_child(&child), signal).unwrap();
            let output = child.wait_with_output().unwrap();
            assert!(!output.status.success());
            if signal == Signal::INT {
                let said = stderr(&output);
                let lost = "cannot finish 'd/big': it is only partly written";
                assert!(said.contains(lost), "{what:?}: {said}");
                let goes_on = said.lines().any(|line| line.contains("the same command"));
                assert!(goes_on && !said.contains("were removed"), "{what:?}: {said}");
            }
            assert_ne!(fs::read(at("d/big")).unwrap(), fs::read(at("s/big")).unwrap());
            assert_eq!(copy_in_place(folder.path(), &all, 0), "", "{what:?}");
            assert_eq!(inode(&at("d/big")), before, "{what:?}");
            for name in ["big", "small"] {
                let wanted = fs::read(at("s").join(name)).unwrap();
                holds(&at("d").join(name), &wanted, &what);
            }
            assert_eq!(litter(folder.path()), [] as [PathBuf; 0], "{what:?}");
        }
    }
}

#[test]
fn a_failure_half_way_says_that_the_old_contents_are_gone() {
    if !have_strace() {
        return;
    }
    for (len, call) in [(700_001, "pread64"), (BIG, "fsync,fdatasync")] {
        let folder = stage(len);
        let trace = folder.path().join("trace");
        let inject = format!("inject={call}:error=EIO:when={}", if len == BIG { 1 } else { 2 });
        let options = ["-P", "new", "-P", "old", "-e", &format!("trace={call}"), "-e", &inject];
        let mut command = strace(&options, &trace);
        command.args(["--inplace", "--engine=threads", "--direct=never", "new", "old"]);
        let said = stderr(&run(command.current_dir(folder.path()), 1));
        let lost = "warning: cannot finish 'old': it is only partly written";
        assert!(said.contains(lost) && said.contains("Input/output error"), "{said}");
        assert_eq!(said.matches("cannot finish").count(), 1, "{said}");
        copy_in_place(folder.path(), &["new", "old"], 0);
        holds(&folder.path().join("old"), &noise(len, 1), &len);
    }
}

/// Many files that are mounted into one folder from another filesystem: what makes those of the
/// folder durable at once does not reach them.
#[test]
fn what_is_mounted_from_elsewhere_is_synced_by_itself() {
    if !have_strace() {
        return;
    }
    let Some(disk) = Mounted::new("ext4", 64) else { return };
    let folder = folder();
    let at = |name: String| folder.path().join(name);
    for name in ["s", "d"] {
        fs::create_dir(at(name.into())).unwrap();
    }
    let count = 24;
    for n in 0..count {
        fs::write(at(format!("s/{n}")), noise(3000, n)).unwrap();
        fs::write(at(format!("d/{n}")), "under").unwrap();
        fs::write(disk.path.join(n.to_string()), "old").unwrap();
        let paths = [disk.path.join(n.to_string()), at(format!("d/{n}"))];
        must(program("mount").arg("--bind").args(paths));
    }
    let trace = at("trace".into());
    let mut command = strace(&["-y", "-e", "trace=fsync,io_submit"], &trace);
    command.args(["--inplace", "--engine=threads", "-T", "s", "d"]).current_dir(folder.path());
    let output = command.output().unwrap();
    let found: Vec<_> = (0..count).map(|n| fs::read(at(format!("d/{n}"))).unwrap()).collect();
    for n in 0..count {
        unmount(&at(format!("d/{n}")));
    }
    assert!(output.status.success(), "{output:?}");
    let calls = trace::calls(&trace);
    for (n, found) in (0..count).zip(found) {
        assert!(found == noise(3000, n), "{n}");
        let is_it = |call: &String| call.contains(&format!("/d/{n}>"));
        let is_synced = calls.iter().any(|call| trace::name_of(call) == "fsync" && is_it(call));
        assert!(is_synced, "{n} was not synced:\n{calls:#?}");
    }
}

#[test]
fn a_clone_is_made_where_it_is_demanded_alone() {
    for kind in ["xfs", "btrfs"] {
        let Some(disk) = Mounted::new(kind, 512) else { continue };
        let (new, old) = (disk.path.join("new"), disk.path.join("old"));
        for len in [700_001, BIG] {
            for old_len in [3, len + 100_001] {
                for more in [&[][..], &["--verify"], &["--manifest=/dev/null"]] {
                    fs::write(&new, noise(len, 1)).unwrap();
                    for (reflink, is_cloned) in [("--reflink", true), ("--reflink=auto", false)] {
                        fs::write(&old, noise(old_len, 2)).unwrap();
                        let before = inode(&old);
                        let mut command = aiocp();
                        command.args(["--inplace", "--stats", reflink]).args(more);
                        let output = run(command.args([&new, &old]), 0);
                        let what = (kind, len, old_len, more, reflink);
                        holds(&old, &noise(len, 1), &what);
                        assert_eq!(inode(&old), before, "{what:?}");
                        let said = String::from_utf8(output.stdout).unwrap();
                        let cloned = figure(&said, "cloned bytes") > 0;
                        assert_eq!(cloned, is_cloned, "{what:?}: {said}");
                    }
                }
            }
        }
    }
}
