//! What was just made is not yet one's own: while strace holds the call that made it, somebody who
//! may write into the folder puts something else in its place.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use common::hard::{ACCESS, DEFAULT, acl, mknod, set_mode, set_xattr, xattr};
use common::held::{is_in, traced, while_held};
use common::*;
use rustix::fs::FileType;
use tempfile::TempDir;

const ATTACKER: u32 = 65_534;
/// How long a held system call waits, within which that is seen. Then it waits for the attack.
const HELD_S: u64 = 3;

/// A private source of root's, and a folder of the attacker's that it is copied into.
struct Stage {
    folder: TempDir,
}

impl Stage {
    fn new() -> Option<Self> {
        if !is_root("acting for an attacker") || !have_strace() {
            return None;
        }
        let stage = Self { folder: folder() };
        set_mode(stage.folder.path(), 0o755);
        fs::create_dir_all(stage.at("source/sub")).unwrap();
        fs::create_dir(stage.at("shared")).unwrap();
        chown(stage.at("shared"), Some(ATTACKER), Some(ATTACKER)).unwrap();
        for name in ["source/key", "source/sub/key"] {
            fs::write(stage.at(name), "secret").unwrap();
        }
        mknod(&stage.at("source/pipe"), FileType::Fifo, 0);
        set_mode(&stage.at("source"), 0o700);
        Some(stage)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Copies with the call held when it has made `name`, and attacks meanwhile.
    fn copy(&self, call: &str, args: &[&str], name: &str, attack: impl FnOnce(&Path)) -> Output {
        let inject = format!("inject={call}:delay_exit={}:when=1..2", HELD_S * 1_000_000);
        let trace = format!("trace={call}");
        let mut command = strace(&["-e", &trace, "-e", &inject], &self.at("trace"));
        command.args(args).current_dir(self.folder.path());
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let made = self.at(name);
        let number = match call {
            "mkdirat" => libc::SYS_mkdirat,
            "mknodat" => libc::SYS_mknodat,
            _ => panic!("a call of no attack: {call}"),
        };
        let is_held = || made.symlink_metadata().is_ok() && is_in(traced(&child), &[number]);
        while_held(&child, is_held, || attack(&made));
        child.wait_with_output().unwrap()
    }
}

/// What an attacker may put there: a directory of the attacker's own, or one of root's that stood
/// beside it, with something in it, since before the run.
fn put_own(made: &Path) {
    fs::rename(made, made.with_extension("away")).unwrap();
    fs::create_dir(made).unwrap();
    chown(made, Some(ATTACKER), Some(ATTACKER)).unwrap();
    set_mode(made, 0o777);
}

fn put_roots(made: &Path) {
    fs::rename(made, made.with_extension("away")).unwrap();
    fs::rename(made.with_file_name("private"), made).unwrap();
}

fn is_refused(output: &Output, path: &str) {
    let said = stderr(output);
    let wanted = format!("cannot create directory '{path}': it was replaced right after");
    assert!(said.contains(&wanted) && output.status.code() == Some(1), "{output:?}");
}

#[test]
fn an_exchanged_directory_gets_nothing() {
    let Some(stage) = Stage::new() else { return };
    chown(stage.at("source"), Some(7), Some(7)).unwrap();
    for put in [put_own, put_roots] {
        fs::create_dir(stage.at("shared/private")).unwrap();
        fs::write(stage.at("shared/private/diary"), "root's").unwrap();
        set_mode(&stage.at("shared/private/diary"), 0o644);
        set_mode(&stage.at("shared/private"), 0o700);
        // Kernels before 6.13 stamp what is made with the last tick.
        std::thread::sleep(Duration::from_millis(20));
        let args = ["-a", "-T", "source", "shared/out"];
        let output = stage.copy("mkdirat", &args, "shared/out", put);
        is_refused(&output, "shared/out");
        assert!(!stage.at("shared/out/key").exists(), "{output:?}");
        let meta = fs::metadata(stage.at("shared/out")).unwrap();
        assert!(meta.uid() != 7, "it has not the source's owner");
        fs::remove_dir_all(stage.at("shared")).unwrap();
        fs::create_dir(stage.at("shared")).unwrap();
    }
}

/// An empty directory of root's that takes the place of what was made is used, and ends like that:
/// with the rights of the source, whatever ACL it had.
#[test]
fn an_exchanged_empty_directory_keeps_no_acl() {
    let Some(stage) = Stage::new() else { return };
    set_mode(&stage.at("source"), 0o750);
    fs::create_dir(stage.at("shared/private")).unwrap();
    set_xattr(&stage.at("shared/private"), ACCESS, &acl([7, 7, 7, 7, 7, 7]));
    let output =
        stage.copy("mkdirat", &["-a", "-T", "source", "shared/out"], "shared/out", put_roots);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stage.at("shared/out.away").exists(), "it was exchanged");
    assert_eq!(xattr(&stage.at("shared/out"), ACCESS), None);
    assert_eq!(fs::metadata(stage.at("shared/out")).unwrap().mode() & 0o7777, 0o750);
}

/// Two runs come by one directory that neither found. The second one is through with it before the
/// first has opened it.
#[test]
fn what_another_run_has_put_into_a_new_directory_is_no_exchange() {
    let Some(stage) = Stage::new() else { return };
    if fs::metadata(stage.at("shared")).unwrap().created().is_err() {
        return skip_for_kernel("there are no birth times here");
    }
    let args = ["--parents", "source/sub/key", "shared"];
    let output = stage.copy("mkdirat", &args, "shared/source", |_| {
        let mut second = aiocp();
        second.args(["--parents", "source/key", "shared"]).current_dir(stage.folder.path());
        run(&mut second, 0);
    });
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for name in ["key", "sub/key"] {
        assert_eq!(fs::read(stage.at("shared/source").join(name)).unwrap(), b"secret");
    }
    let mode = |name: &str| fs::metadata(stage.at(name)).unwrap().mode();
    assert_eq!(mode("shared/source"), mode("source"));
}

#[test]
fn neither_do_folders_on_the_way_nor_what_a_comparison_mends() {
    let Some(stage) = Stage::new() else { return };
    let output =
        stage.copy("mkdirat", &["--parents", "source/sub", "shared"], "shared/source", put_own);
    is_refused(&output, "shared/source");
    assert_eq!(fs::read_dir(stage.at("shared/source")).unwrap().count(), 0);
    fs::create_dir(stage.at("shared/copy")).unwrap();
    let args = ["--verify-only", "--repair", "-T", "source", "shared/copy"];
    let output = stage.copy("mkdirat", &args, "shared/copy/sub", put_own);
    is_refused(&output, "shared/copy/sub");
    assert_eq!(fs::read_dir(stage.at("shared/copy/sub")).unwrap().count(), 0);
}

/// A FIFO that keeps its owner would be one that the attacker reads.
#[test]
fn an_exchanged_fifo_gets_nothing() {
    let Some(stage) = Stage::new() else { return };
    chown(stage.at("source/pipe"), Some(7), Some(7)).unwrap();
    let args = ["-a", "source/pipe", "shared/pipe"];
    let output = stage.copy("mknodat", &args, "shared/pipe", |made| {
        fs::rename(made, made.with_extension("away")).unwrap();
        mknod(made, FileType::Fifo, 0);
        chown(made, Some(ATTACKER), Some(ATTACKER)).unwrap();
    });
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let kept = fs::symlink_metadata(stage.at("shared/pipe"));
    assert!(!kept.is_ok_and(|meta| meta.uid() == 7), "{output:?}");
}

/// Such a filesystem's owner is nobody who copies, and its modes are not those that were asked for.
#[test]
fn where_the_filesystem_gives_owners_and_modes_directories_are_made_all_the_same() {
    let tools = ["mkfs.exfat", "mount.exfat-fuse", "losetup"];
    if !can_mount_fuse() || !tools.into_iter().all(have) {
        return;
    }
    let (folder, mount) = (folder(), folder());
    make_tree_of_files(folder.path());
    let image = folder.path().join("image");
    fs::File::create(&image).unwrap().set_len(32 << 20).unwrap();
    must(program("mkfs.exfat").arg(&image).stdout(Stdio::null()));
    let device = program("losetup").args(["-f", "--show"]).arg(&image).output().unwrap();
    let device = String::from_utf8(device.stdout).unwrap();
    must(
        program("mount.exfat-fuse")
            .args(["-o", "uid=77,gid=77,fmask=022,dmask=022", device.trim()])
            .arg(mount.path()),
    );
    let copied = aiocp()
        .args(["--no-preserve=mode,timestamps", "-T"])
        .args([folder.path().join("tree"), mount.path().join("tree")])
        .output()
        .unwrap();
    let read = fs::read(mount.path().join("tree/below/deep/file"));
    let owner = fs::metadata(mount.path().join("tree/below")).map(|meta| meta.uid());
    unmount(mount.path());
    must(program("losetup").args(["-d", device.trim()]));
    assert!(copied.status.success(), "{copied:?}");
    assert_eq!((read.unwrap().as_slice(), owner.unwrap()), (&b"contents"[..], 77));
}

fn make_tree_of_files(root: &Path) {
    fs::create_dir_all(root.join("tree/below/deep")).unwrap();
    fs::write(root.join("tree/below/deep/file"), "contents").unwrap();
}

/// Each new directory is looked at with one listing, and that is all.
#[test]
fn looking_costs_two_calls_a_directory() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let source = folder.path().join("source");
    for n in 0..50 {
        fs::create_dir_all(source.join(n.to_string())).unwrap();
    }
    let trace = folder.path().join("trace");
    let mut command = strace(&["-e", "trace=getdents64,fcntl,fchmod"], &trace);
    run(command.args(["--no-preserve=mode", "-T"]).args([&source, &folder.path().join("t")]), 0);
    let calls = trace::calls(&trace);
    let count = |name: &str| trace::count(&calls, name);
    // Two for the listing of each source, and two for the look.
    // And a few that have nothing to do with it.
    assert!(count("getdents64") <= 51 * 4 + 4, "{}", count("getdents64"));
    assert!(count("fchmod") <= 51 + 1, "{}", count("fchmod"));
}

/// Copies a tree of 200 files with `-a`, and has the folder of the copy changed by its owner when
/// its first file gets its name, which waits for that.
fn copy_and_change(folder: &Path, change: impl Fn(&Path)) {
    let at = |name: &str| folder.join(name);
    let options = ["-e", "trace=linkat", "-e", "inject=linkat:delay_enter=1000000:when=1"];
    let mut command = strace(&options, &at("trace"));
    command.args(["-a", "--threads=1", "-T"]).args([at("source"), at("copy")]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let is_held = || is_in(traced(&child), &[libc::SYS_linkat]);
    while_held(&child, is_held, || {
        assert!(fs::read_dir(at("copy")).unwrap().count() < 100);
        change(&at("copy"));
    });
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// The user, or root, changes the destination while it is filled.
#[test]
fn what_a_folder_passes_on_may_change_between_two_files() {
    if !is_root("another group") || !have_strace() {
        return;
    }
    let pass_on = |copy: &Path| set_xattr(copy, DEFAULT, &acl([7, 7, 7, 7, 7, 7]));
    let give_group = |copy: &Path| {
        chown(copy, None, Some(7)).unwrap();
        set_mode(copy, 0o2700);
    };
    for (change, is_fresh) in
        [(&pass_on as &dyn Fn(&Path), true), (&pass_on, false), (&give_group, true)]
    {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("source")).unwrap();
        for n in 0..200 {
            fs::write(at(&format!("source/{n}")), "text").unwrap();
            set_mode(&at(&format!("source/{n}")), 0o644);
        }
        if !is_fresh {
            fs::create_dir(at("copy")).unwrap();
        }
        copy_and_change(folder.path(), change);
        let mut copies: Vec<PathBuf> = (0..200).map(|n| at(&format!("copy/{n}"))).collect();
        copies.push(at("copy"));
        for copy in copies {
            let meta = fs::metadata(&copy).unwrap();
            let is_dir = meta.is_dir();
            let mode = if is_dir { 0o755 } else { 0o644 };
            assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (mode, 0, 0), "{copy:?}");
            assert_eq!(xattr(&copy, ACCESS), None, "{copy:?}");
            assert_eq!(xattr(&copy, DEFAULT), None, "{copy:?}");
        }
    }
}
