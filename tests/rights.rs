//! Rights that the work does not need: folders that may be written and not listed, searched and not
//! read, or not even searched from above; umasks of every kind; and read-only directories that are
//! the user's own.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::elsewhere::Elsewhere;
use common::hard::{set_mode, set_xattr, xattr};
use common::held::{signal_until_it_ends, traced, wait_for};
use common::interrupted::data_bytes;
use common::*;
use rustix::process::Signal;

const USER: u32 = 12_345;

/// A folder into which every user may look, and which the user owns.
struct Home {
    folder: Elsewhere,
}

impl Home {
    /// Nothing where this process may not act for another user.
    fn new(what: &str) -> Option<Self> {
        if !is_root(what) || !have("setpriv") {
            return None;
        }
        let folder = Elsewhere::new();
        chown(folder.path(), Some(USER), Some(USER)).unwrap();
        Some(Self { folder })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// aiocp by the user, below this umask.
    fn command(&self, umask: u32) -> Command {
        let mut command = self.folder.as_user(USER);
        command.args(["sh", "-c", &format!("umask {umask:04o}; exec \"$0\" \"$@\"")]);
        command.arg(self.folder.aiocp());
        command
    }

    fn copy(&self, args: &[&str], code: i32) -> String {
        stderr(&run(self.command(0o022).args(args), code))
    }

    /// Gives everything below a name to the user.
    fn give(&self, name: &str) {
        for entry in walkdir::WalkDir::new(self.at(name)) {
            std::os::unix::fs::lchown(entry.unwrap().path(), Some(USER), Some(USER)).unwrap();
        }
    }

    fn make_source(&self) {
        let source = self.at("source");
        fs::create_dir_all(source.join("sub/below")).unwrap();
        fs::write(source.join("small"), "small").unwrap();
        fs::write(source.join("sub/big"), noise((2 << 20) + 77, 3)).unwrap();
        fs::write(source.join("sub/below/file"), "below").unwrap();
        std::os::unix::fs::symlink("small", source.join("link")).unwrap();
        fs::hard_link(source.join("small"), source.join("sub/again")).unwrap();
        self.give("source");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_folder_that_may_be_written_and_not_listed_takes_everything() {
    let Some(home) = Home::new("a folder of root's") else { return };
    home.make_source();
    for args in [&[][..], &["--resume"], &["--verify"], &["--no-sync"], &["-b"]] {
        for (bits, owner) in [(0o1733, 0), (0o333, USER)] {
            let folder = home.at("folder");
            fs::create_dir(&folder).unwrap();
            chown(&folder, Some(owner), Some(owner)).unwrap();
            set_mode(&folder, bits);
            // The second time, backups would be beside the copies.
            for _ in 0..if args == ["-b"] { 1 } else { 2 } {
                home.copy(&[args, &["-f", "source/small", "source", "folder"]].concat(), 0);
            }
            home.copy(&["--manifest", "folder/sums", "source/sub/big", "folder/big"], 0);
            assert_eq!(describe(&home.at("source")), describe(&folder.join("source")), "{args:?}");
            assert_eq!(fs::read(folder.join("small")).unwrap(), b"small");
            assert!(folder.join("sums").exists() && mode(&folder) == bits, "{args:?}");
            assert_eq!(litter(&folder), [] as [PathBuf; 0], "{args:?}");
            fs::remove_dir_all(&folder).unwrap();
        }
    }
}

/// The name of a copy is a directory when the run goes on. By the journal beside it, nothing is to
/// be copied into that.
#[test]
fn an_interrupted_copy_in_an_unlisted_folder_is_gone_on_with() {
    let Some(home) = Home::new("acting for a user") else { return };
    home.make_source();
    fs::create_dir(home.at("drop")).unwrap();
    set_mode(&home.at("drop"), 0o300);
    home.give("drop");
    let args = ["-r", "--resume", "source", "drop/copy"];
    // A file that cannot be read keeps the journal.
    set_mode(&home.at("source/sub/big"), 0);
    home.copy(&args, 1);
    set_mode(&home.at("source/sub/big"), 0o644);
    assert_eq!(home.copy(&args, 0), "");
    assert!(!home.at("drop/copy/source").exists(), "it was copied into the copy");
    assert_eq!(fs::read(home.at("drop/copy/sub/big")).unwrap(), noise((2 << 20) + 77, 3));
    assert_eq!(litter(&home.at("drop")), [] as [PathBuf; 0]);
}

/// What an earlier run left there has no name that could be found, and stays; all else goes well.
#[test]
fn an_interrupted_run_is_gone_on_with_in_a_folder_that_may_not_be_listed() {
    let Some(home) = Home::new("acting for a user") else { return };
    home.make_source();
    for (source, target) in [("source/.", "drop"), ("source", "drop")] {
        fs::create_dir(home.at("drop")).unwrap();
        set_mode(&home.at("drop"), 0o300);
        home.give("drop");
        // It cannot be read, so that the journal stays.
        set_mode(&home.at("source/sub/big"), 0);
        let args = ["--resume", "--no-preserve=mode", source, target];
        home.copy(&args, 1);
        set_mode(&home.at("source/sub/big"), 0o644);
        assert_eq!(home.copy(&args, 0), "", "{source}");
        assert_eq!(litter(&home.at("drop")), [] as [PathBuf; 0], "{source}");
        let copy = home.at("drop").join(if source == "source" { "source" } else { "" });
        assert_eq!(fs::read(copy.join("sub/big")).unwrap(), noise((2 << 20) + 77, 3));
        assert_eq!(mode(&home.at("drop")), 0o300);
        fs::remove_dir_all(home.at("drop")).unwrap();
    }
}

/// Half of a file is left there by a killed run, and its source is gone then.
#[test]
fn what_cannot_be_found_in_an_unlisted_folder_fails_no_resumed_run() {
    let Some(home) = Home::new("acting for a user") else { return };
    home.make_source();
    fs::write(home.at("source/sub/huge"), noise(24 << 20, 7)).unwrap();
    home.give("source");
    fs::create_dir_all(home.at("drop/sub")).unwrap();
    home.give("drop");
    set_mode(&home.at("drop/sub"), 0o300);
    let args = ["--resume", "--no-preserve=mode", "-T", "source", "drop"];
    let mut first = home.command(0o022);
    first.args(["--bwlimit=4M", "--journal-interval=1M"]).args(args);
    let mut first = first.spawn().unwrap();
    // Some of it is on record by then.
    wait_for("it is half-copied", || {
        litter(&home.at("drop/sub")).iter().any(|half| data_bytes(half) > 6 << 20)
    });
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(!litter(&home.at("drop/sub")).is_empty(), "it was half-copied");
    fs::remove_file(home.at("source/sub/huge")).unwrap();
    assert_eq!(home.copy(&args, 0), "");
    assert_eq!(mode(&home.at("drop/sub")), 0o300);
}

#[test]
fn numbered_backups_need_no_listing() {
    let Some(home) = Home::new("a folder of root's") else { return };
    fs::create_dir(home.at("folder")).unwrap();
    set_mode(&home.at("folder"), 0o333);
    home.give("folder");
    for n in 1..=4 {
        fs::write(home.at("file"), n.to_string()).unwrap();
        home.copy(&["--backup=numbered", "file", "folder"], 0);
    }
    let read = |name: &str| fs::read_to_string(home.at("folder").join(name)).unwrap();
    let all = ["file", "file.~1~", "file.~2~", "file.~3~"].map(read);
    assert_eq!(all, ["4", "1", "2", "3"]);
}

/// Without a descriptor that can be synced, the filesystem is.
#[test]
fn names_in_an_unlisted_folder_are_made_durable() {
    let Some(home) = Home::new("a folder of root's") else { return };
    if !have_strace() {
        return;
    }
    home.make_source();
    for bits in [0o1733, 0o1777] {
        let (folder, trace) = (home.at("folder"), home.at("trace"));
        fs::create_dir(&folder).unwrap();
        set_mode(&folder, bits);
        fs::write(&trace, "").unwrap();
        chown(&trace, Some(USER), Some(USER)).unwrap();
        let mut command = home.folder.as_user(USER);
        command.args(["strace", "-f", "-y", "-o"]).arg(&trace);
        command.args(["-e", "trace=linkat,io_submit,fsync,fdatasync,syncfs"]);
        command.arg(home.folder.aiocp());
        run(command.args(["source/small", "folder"]), 0);
        let calls = trace::calls(&trace);
        // One worker makes the name, and has it made durable when it has.
        let mut after = calls.iter().skip_while(|call| trace::name_of(call) != "linkat");
        let is_synced = after.any(|call| match trace::name_of(call) {
            "syncfs" => true,
            "fsync" => bits != 0o1733,
            _ => bits != 0o1733 && call.contains("FSYNC"),
        });
        assert!(is_synced, "{bits:o}: {calls:#?}");
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_folder_above_the_destination_need_not_be_read() {
    let Some(home) = Home::new("a folder of root's") else { return };
    home.make_source();
    for bits in [0o711, 0o111] {
        fs::create_dir_all(home.at("above/mine")).unwrap();
        chown(home.at("above/mine"), Some(USER), Some(USER)).unwrap();
        set_mode(&home.at("above"), bits);
        for args in [&[][..], &["--resume"], &["-b"], &["--manifest", "above/mine/sums"]] {
            home.copy(&[args, &["-T", "source", "above/mine"]].concat(), 0);
        }
        fs::remove_file(home.at("above/mine/sums")).unwrap();
        home.copy(&["source/small", "above/mine/small"], 0);
        home.copy(&["--verify-only", "-T", "source", "above/mine"], 3);
        home.copy(&["-T", "source", "above/mine"], 0);
        fs::remove_dir_all(home.at("above")).unwrap();
    }
}

#[test]
fn a_folder_further_up_need_not_be_searched() {
    let Some(home) = Home::new("a folder of root's") else { return };
    home.make_source();
    fs::create_dir_all(home.at("shut/work/there")).unwrap();
    fs::rename(home.at("source"), home.at("shut/work/source")).unwrap();
    home.give("shut/work");
    set_mode(&home.at("shut"), 0o700);
    chown(home.at("shut"), Some(0), Some(0)).unwrap();
    let work = home.at("shut/work");
    let copy = |args: &[&str], code| {
        let output = run(home.command(0o022).current_dir(&work).args(args), code);
        stderr(&output)
    };
    copy(&["source", "copy"], 0);
    copy(&["--resume", "--verify", "source", "again"], 0);
    copy(&["--manifest", "sums", "source", "there/"], 0);
    copy(&["-a", "-T", "./source/.", "there"], 0);
    copy(&["-l", "source", "linked"], 0);
    for name in ["copy", "again", "there/source"] {
        assert_eq!(describe(&work.join("source")), describe(&work.join(name)), "{name}");
    }
    assert_eq!(fs::read_to_string(work.join("sums")).unwrap().lines().count(), 4);
    // What can be seen of the way up is still compared.
    let refused = copy(&["source", "source/sub/inside"], 1);
    assert!(refused.contains("inside the source"), "{refused}");
}

#[test]
fn any_umask_will_do() {
    let Some(home) = Home::new("acting for a user") else { return };
    home.make_source();
    for umask in [0o077, 0o177, 0o277, 0o377, 0o477, 0o577, 0o777] {
        for args in [&[][..], &["--verify"], &["--threads=1", "--resume"]] {
            run(home.command(umask).args(args).args(["-T", "source", "copy"]), 0);
            assert_eq!(describe(&home.at("source")), describe(&home.at("copy")), "{umask:o}");
            assert_eq!(litter(&home.at("")), [] as [PathBuf; 0]);
            fs::remove_dir_all(home.at("copy")).unwrap();
        }
        run(home.command(umask).args(["--no-preserve=mode", "-T", "source", "copy"]), 0);
        for (name, all) in [("copy/sub", 0o777), ("copy/sub/big", 0o666)] {
            assert_eq!(mode(&home.at(name)), all & !umask, "{umask:o} {name}");
        }
        fs::remove_dir_all(home.at("copy")).unwrap();
    }
}

#[test]
fn a_new_directory_keeps_the_setgid_that_it_inherits() {
    let Some(home) = Home::new("a group of its own") else { return };
    home.make_source();
    for (args, with) in [(&["--no-preserve=mode"][..], 0o2000), (&[], 0)] {
        fs::create_dir(home.at("shared")).unwrap();
        chown(home.at("shared"), Some(USER), Some(USER)).unwrap();
        set_mode(&home.at("shared"), 0o2775);
        home.copy(&[args, &["source", "shared/"]].concat(), 0);
        for name in ["shared/source", "shared/source/sub", "shared/source/sub/below"] {
            assert_eq!(mode(&home.at(name)), 0o755 | with, "{name} {args:?}");
        }
        assert_eq!(mode(&home.at("shared/source/small")), 0o644, "{args:?}");
        fs::remove_dir_all(home.at("shared")).unwrap();
    }
}

/// Every mode that an own directory of the destination can have, and every way to go on in it.
#[test]
fn own_directories_are_made_writable_for_the_time() {
    let Some(home) = Home::new("acting for a user") else { return };
    home.make_source();
    for owner in 0..8 {
        let bits = owner << 6 | 0o055;
        let begin = || {
            if home.at("copy").exists() {
                fs::remove_dir_all(home.at("copy")).unwrap();
            }
            home.copy(&["-T", "source", "copy"], 0);
            fs::remove_file(home.at("copy/sub/big")).unwrap();
            fs::remove_dir_all(home.at("copy/sub/below")).unwrap();
            set_times(&home.at("copy/sub"), 1_000_000_000, 7);
            set_mode(&home.at("copy/sub"), bits);
        };
        fs::write(home.at("list"), "sub/big\nsub/below/file\n").unwrap();
        for (args, keeps) in [
            (&[][..], false),
            (&["--files-from", "list"], false),
            (&["--resume"], false),
            (&["--no-preserve=mode"], true),
        ] {
            begin();
            home.copy(&[args, &["-T", "source", "copy"]].concat(), 0);
            let wanted = if keeps { bits } else { 0o755 };
            assert_eq!(mode(&home.at("copy/sub")), wanted, "{bits:o} {args:?}");
            set_mode(&home.at("copy/sub"), 0o755);
            if !keeps {
                assert_eq!(describe(&home.at("source")), describe(&home.at("copy")), "{bits:o}");
            }
        }
        // A comparison lists both sides.
        if owner & 5 == 5 {
            begin();
            home.copy(&["--verify-only", "--repair", "-T", "source", "copy"], 0);
            let sub = fs::metadata(home.at("copy/sub")).unwrap();
            assert_eq!((sub.mode() & 0o777, sub.mtime()), (bits, 1_000_000_000), "{bits:o}");
            assert!(home.at("copy/sub/below/file").exists());
        }
        begin();
        home.copy(&["--dry-run", "-T", "source", "copy"], if owner & 1 == 1 { 0 } else { 1 });
        home.copy(&["--verify-only", "-T", "source", "copy"], if owner & 1 == 1 { 3 } else { 1 });
        assert_eq!(mode(&home.at("copy/sub")), bits, "what only looks changes nothing");
    }
}

#[test]
fn what_failed_in_a_read_only_directory_can_be_copied_later() {
    let Some(home) = Home::new("acting for a user") else { return };
    home.make_source();
    set_mode(&home.at("source/sub"), 0o555);
    for list in [true, false] {
        set_mode(&home.at("source/sub/big"), 0);
        let first: &[&str] = if list { &["--failed-list", "todo"] } else { &["--resume"] };
        let then: &[&str] = if list { &["--files-from", "todo"] } else { &["--resume"] };
        home.copy(&[first, &["-T", "source", "copy"]].concat(), 1);
        assert_eq!(mode(&home.at("copy/sub")), 0o555);
        set_mode(&home.at("source/sub/big"), 0o644);
        home.copy(&[then, &["-T", "source", "copy"]].concat(), 0);
        assert_eq!(describe(&home.at("source")), describe(&home.at("copy")));
        fs::remove_dir_all(home.at("copy")).unwrap();
    }
}

#[test]
fn own_read_only_files_are_mended_in_place() {
    let Some(home) = Home::new("acting for a user") else { return };
    home.make_source();
    for bits in [0o444, 0o400, 0o555] {
        set_mode(&home.at("source/sub/big"), bits);
        home.copy(&["-T", "source", "copy"], 0);
        let big = home.at("copy/sub/big");
        set_mode(&big, 0o644);
        fs::write(&big, noise((2 << 20) + 77, 4)).unwrap();
        set_mode(&big, bits);
        let inode = fs::metadata(&big).unwrap().ino();
        home.copy(&["--verify-only", "--repair", "-T", "source", "copy"], 0);
        assert_eq!(describe(&home.at("source")), describe(&home.at("copy")), "{bits:o}");
        assert_eq!(fs::metadata(&big).unwrap().ino(), inode);
    }
}

/// SIGKILL at any moment leaves a directory writable; the next run sets its mode again.
#[test]
fn a_killed_run_is_made_good_by_the_next() {
    let Some(home) = Home::new("acting for a user") else { return };
    home.make_source();
    set_mode(&home.at("source/sub"), 0o555);
    home.copy(&["-T", "source", "copy"], 0);
    set_mode(&home.at("copy/sub"), 0o755);
    fs::write(home.at("copy/sub/below/file"), "wrong").unwrap();
    fs::remove_file(home.at("copy/sub/big")).unwrap();
    set_times(&home.at("copy/sub"), 5, 5);
    home.copy(&["--verify-only", "--repair", "-T", "source", "copy"], 0);
    assert_eq!(describe(&home.at("source")), describe(&home.at("copy")));
    set_mode(&home.at("copy/sub"), 0o755);
    home.copy(&["--resume", "-T", "source", "copy"], 0);
    assert_eq!(describe(&home.at("source")), describe(&home.at("copy")));
}

/// What the source's mode does not decide is what it was before the first of the runs.
#[test]
fn a_mode_that_is_not_copied_outlives_killed_runs() {
    let Some(home) = Home::new("acting for a user") else { return };
    home.make_source();
    fs::write(home.at("source/sub/huge"), noise(8 << 20, 7)).unwrap();
    home.give("source");
    for bits in [0o555, 0o2511, 0o055] {
        fs::create_dir_all(home.at("copy/sub")).unwrap();
        home.give("copy");
        set_mode(&home.at("copy/sub"), bits);
        let args = ["--resume", "--no-preserve=mode", "-T", "source", "copy"];
        for _ in 0..2 {
            let mut command = home.command(0o022);
            // It takes long enough to be killed in the middle.
            let mut first = command.arg("--bwlimit=100K").args(args).spawn().unwrap();
            wait_for("it is writable", || mode(&home.at("copy/sub")) == bits | 0o700);
            std::thread::sleep(Duration::from_millis(500));
            first.kill().unwrap();
            first.wait().unwrap();
            assert_eq!(mode(&home.at("copy/sub")), bits | 0o700, "it was killed in the middle");
        }
        home.copy(&args, 0);
        assert_eq!(mode(&home.at("copy/sub")), bits, "{bits:o}");
        fs::remove_dir_all(home.at("copy")).unwrap();
    }
}

/// The first signal waits for a sync, and the second for nothing.
#[test]
fn a_second_signal_leaves_directories_their_modes() {
    let Some(home) = Home::new("acting for a user") else { return };
    if !have_strace() {
        return;
    }
    home.make_source();
    fs::create_dir_all(home.at("copy/sub")).unwrap();
    home.give("copy");
    set_mode(&home.at("copy/sub"), 0o555);
    let mut command = home.folder.as_user(USER);
    command.args(["strace", "-f", "-o"]).arg(home.at("trace"));
    let slow = "inject=fsync,fdatasync,syncfs,io_submit:delay_enter=6000000";
    command.args(["-e", "trace=fsync,fdatasync,syncfs,io_submit", "-e", slow]);
    command.arg(home.folder.aiocp());
    let mut child = command.args(["-T", "source", "copy"]).spawn().unwrap();
    wait_for("it is writable", || mode(&home.at("copy/sub")) == 0o755);
    let copy = traced(&child).unwrap();
    let status = signal_until_it_ends(&mut child, copy, Signal::INT);
    assert_eq!(status.code(), Some(130));
    assert_eq!(mode(&home.at("copy/sub")), 0o555);
}

/// The folder that a file goes into is the user's own affair, as with cp.
#[test]
fn a_folder_that_is_named_is_not_made_writable() {
    let Some(home) = Home::new("acting for a user") else { return };
    home.make_source();
    fs::create_dir(home.at("folder")).unwrap();
    home.give("folder");
    set_mode(&home.at("folder"), 0o555);
    home.copy(&["source/small", "folder/"], 1);
    assert_eq!(mode(&home.at("folder")), 0o555);
    assert_eq!(fs::read_dir(home.at("folder")).unwrap().count(), 0);
}

/// Where there are no unnamed files, what makes names durable has a name itself for a moment, and
/// that changes the folder.
#[test]
fn an_unlisted_folder_without_unnamed_files_keeps_the_times_that_it_was_given() {
    let Some(home) = Home::new("mounting filesystems") else { return };
    let tools = ["mkfs.exfat", "mount.exfat-fuse", "losetup"];
    if !can_mount_fuse() || !tools.into_iter().all(have) {
        return;
    }
    fs::create_dir_all(home.at("source/sub")).unwrap();
    fs::create_dir(home.at("mount")).unwrap();
    fs::write(home.at("source/sub/file"), "contents").unwrap();
    set_times(&home.at("source/sub"), 1_600_000_000, 0);
    let image = home.at("image");
    fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    must(program("mkfs.exfat").arg(&image));
    let device = run(program("losetup").args(["-f", "--show"]).arg(&image), 0);
    let device = String::from_utf8(device.stdout).unwrap().trim().to_owned();
    let options = format!("allow_other,uid={USER},gid={USER},dmask=0477");
    let mount = ["-o", &options, &device];
    must(program("mount.exfat-fuse").args(mount).arg(home.at("mount")));
    let copied = ["", "--resume"].map(|resume| {
        let options = ["-r", "--no-preserve=mode", resume].into_iter().filter(|o| !o.is_empty());
        let mut copy = home.command(0o022);
        let target = format!("mount/dest{resume}");
        fs::create_dir_all(home.at(&target).join("sub")).unwrap();
        let output = copy.args(options).args(["-T", "source", &target]).output().unwrap();
        let modified = fs::metadata(home.at(&target).join("sub")).map(|meta| meta.mtime());
        let names = fs::read_dir(home.at(&target).join("sub")).map(Iterator::count);
        (output, modified.ok(), names.ok())
    });
    unmount(&home.at("mount"));
    must(program("losetup").args(["-d", &device]));
    for (output, modified, names) in copied {
        assert!(output.status.success(), "{output:?}");
        assert_eq!((modified, names), (Some(1_600_000_000), Some(1)), "{output:?}");
    }
}

/// Setting an attribute of one's own takes the right to write the file, which its mode may lack.
#[test]
fn own_read_only_files_keep_their_attributes() {
    if !is_root("becoming another user") || !have("setpriv") {
        return;
    }
    let folder = Elsewhere::new();
    let at = |name: &str| folder.path().join(name);
    set_mode(folder.path(), 0o777);
    fs::create_dir(at("source")).unwrap();
    for mode in [0o444, 0o400, 0o555, 0o644] {
        let file = at(&format!("source/{mode:o}"));
        fs::write(&file, "data").unwrap();
        set_xattr(&file, "user.note", b"a note");
        set_mode(&file, mode);
    }
    let mut own = Command::new("chown");
    must(own.args(["-R", "65534:65534"]).arg(at("source")));
    let mut command = folder.as_user(65534);
    command.arg(folder.aiocp()).args(["-a", "source", "target"]);
    assert_eq!(stderr(&run(&mut command, 0)), "");
    for mode in [0o444, 0o400, 0o555, 0o644] {
        let file = at(&format!("target/{mode:o}"));
        assert_eq!(xattr(&file, "user.note").as_deref(), Some(&b"a note"[..]), "{mode:o}");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, mode);
    }
}
