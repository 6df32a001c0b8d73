//! What a copy keeps: everything with `-a`, each thing under its `--preserve`, on every filesystem,
//! and the messages where it cannot.

mod common;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use common::elsewhere::Elsewhere;
use common::hard::*;
use common::*;
use rustix::fs::FileType;

/// The changes that rsync would still make to turn `target` into `source`.
fn rsync_differences(source: &Path, target: &Path) -> String {
    let mut command = program("rsync");
    // xfs lists ACLs once more under its own names.
    command.arg("--filter=-x trusted.SGI_ACL_*");
    command.args([
        "-aHAX",
        "--specials",
        "--devices",
        "--checksum",
        "--dry-run",
        "--itemize-changes",
        "--delete",
    ]);
    let (from, to) = (format!("{}/", source.display()), format!("{}/", target.display()));
    String::from_utf8(run(command.args([from, to]), 0).stdout).unwrap()
}

fn everything_is_kept_on(kind: &str) {
    if !have("rsync") {
        return;
    }
    let Some(from) = Mounted::new("ext4", 256) else { return };
    let Some(to) = Mounted::new(kind, 512) else { return };
    let (source, target) = (from.path.join("source"), to.path.join("target"));
    make_hard_tree(&source);
    let manifest = to.path.join("manifest");
    let output =
        run(aiocp().args(["-a", "--manifest"]).arg(&manifest).arg(&source).arg(&target), 0);
    assert_eq!(
        stderr(&output),
        "aiocp: warning: 2 names in the manifest have bytes that b3sum does not print; \
         a check will not find them\n"
    );
    assert_eq!(rsync_differences(&source, &target), "", "on {kind}");
    check_manifest_names(&manifest, &target);
    for name in ["small", "big", "only"] {
        let meta = fs::metadata(target.join("holes").join(name)).unwrap();
        assert!(
            meta.blocks() * 512 < meta.len() / 2,
            "{name} on {kind} takes {} blocks",
            meta.blocks()
        );
    }
    // rsync compares no access times.
    let times = |root: &Path| {
        let meta = fs::symlink_metadata(root.join("times/far-link")).unwrap();
        (meta.atime(), meta.atime_nsec())
    };
    assert_eq!(times(&source), times(&target));
    assert_eq!(times(&target), (6_000_000_006, 987_654_321));
    // A second copy over the first keeps linked names linked, and leaves nothing beside them.
    run(aiocp().args(["-a", "-T"]).arg(&source).arg(&target), 0);
    assert_eq!(rsync_differences(&source, &target), "", "on {kind}, the second time");
}

/// Checks that the manifest has a line for each name, second names included.
fn check_manifest_names(manifest: &Path, root: &Path) {
    let lines = fs::read(manifest)
        .unwrap()
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .count();
    let files = walkdir::WalkDir::new(root)
        .into_iter()
        .filter(|e| e.as_ref().unwrap().file_type().is_file())
        .count();
    assert_eq!(lines, files);
}

#[test]
fn everything_is_kept_on_ext4() {
    everything_is_kept_on("ext4");
}

#[test]
fn everything_is_kept_on_xfs() {
    everything_is_kept_on("xfs");
}

#[test]
fn everything_is_kept_on_btrfs() {
    everything_is_kept_on("btrfs");
}

#[test]
fn everything_is_kept_on_tmpfs() {
    everything_is_kept_on("tmpfs");
}

#[test]
fn five_thousand_levels_and_a_terabyte_of_hole_need_few_descriptors() {
    const LEVELS: usize = 5000;
    let Some(from) = Mounted::new("ext4", 256) else { return };
    let source = from.path.join("source");
    make_chain(&source, LEVELS);
    fs::File::create(source.join("hole")).unwrap().set_len(1 << 40).unwrap();
    let bottom = "d/".repeat(LEVELS);
    // With few descriptors there are few workers, and each waits for the device once a level. One
    // such run is enough for this test.
    let runs = [
        ("ext4", 128, &[][..]),
        ("xfs", 1024, &["--no-sync"]),
        ("btrfs", 256, &["--no-sync"]),
        ("tmpfs", 128, &[]),
    ];
    all_at_once(runs, |(kind, limit, sync)| {
        let Some(to) = Mounted::new(kind, 512) else { return };
        let target = to.path.join("target");
        let mut command = Command::new("sh");
        command.args(["-c", &format!(r#"ulimit -n {limit}; exec "$0" "$@""#)]);
        run(
            command
                .arg(assert_cmd::cargo::cargo_bin!("aiocp"))
                .env_remove("AIOCP_CONFIG_PATH")
                .arg("-a")
                .args(sync)
                .arg(&source)
                .arg(&target),
            0,
        );
        let hole = fs::metadata(target.join("hole")).unwrap();
        assert_eq!((hole.len(), hole.blocks()), (1 << 40, 0), "on {kind}");
        fs::remove_file(target.join("hole")).unwrap();
        // The removal changed the directory.
        assert_eq!(
            describe_chain(&source.join("d")),
            describe_chain(&target.join("d")),
            "on {kind}"
        );
    });
    // An error at the bottom shows the whole path, which no system call takes.
    let mut dir: std::os::fd::OwnedFd = fs::File::open(&source).unwrap().into();
    for _ in 0..LEVELS {
        dir = rustix::fs::openat(&dir, "d", rustix::fs::OFlags::DIRECTORY, 0.into()).unwrap();
    }
    rustix::fs::mknodat(&dir, "fifo", FileType::Fifo, 0o600.into(), 0).unwrap();
    let output = run(aiocp().arg("--no-sync").arg(&source).arg(from.path.join("copy")), 1);
    let path = format!("{}/{bottom}fifo", source.display());
    assert!(
        stderr(&output).starts_with(&format!("aiocp: cannot copy '{path}': it is a FIFO")),
        "{output:?}"
    );
}

#[test]
fn a_file_that_claims_exabytes_costs_no_more_than_its_data() {
    if !is_root("mounting filesystems") {
        return;
    }
    const EIB: u64 = 1 << 60;
    for kind in ["xfs", "btrfs", "tmpfs"] {
        let Some(mounted) = Mounted::new(kind, 512) else { continue };
        let at = |name: &str| mounted.path.join(name);
        fs::create_dir(at("source")).unwrap();
        fs::write(at("source/other"), "other").unwrap();
        // A file of the largest size, all hole, and one with islands of data.
        fs::File::create(at("source/hole")).unwrap().set_len(i64::MAX as u64).unwrap();
        let file = fs::File::create(at("source/islands")).unwrap();
        let islands = [(0, 5), (EIB - 1, (2 << 20) + 7), (3 * EIB + 4095, 2)]
            .map(|(at, len)| (at, noise(len, at)));
        islands.iter().for_each(|(at, data)| file.write_all_at(data, *at).unwrap());
        for reflink in ["--reflink=never", "--reflink=auto"] {
            run(aiocp().args(["-a", reflink]).arg(at("source")).arg(at("target")), 0);
            let hole = fs::metadata(at("target/hole")).unwrap();
            assert_eq!((hole.len(), hole.blocks()), (i64::MAX as u64, 0), "on {kind}");
            let copy = fs::File::open(at("target/islands")).unwrap();
            assert_eq!(copy.metadata().unwrap().len(), 3 * EIB + 4097, "on {kind}");
            assert!(copy.metadata().unwrap().blocks() * 512 < 8 << 20, "on {kind}");
            for (at, data) in &islands {
                let mut found = vec![0; data.len()];
                copy.read_exact_at(&mut found, *at).unwrap();
                assert!(found == *data, "at {at} on {kind}");
            }
            fs::remove_dir_all(at("target")).unwrap();
        }
        // A hash of it would take ages and all memory; the other files are unaffected.
        let output = run(aiocp().arg("--manifest=-").arg(at("source")).arg(at("target")), 1);
        let text = format!(
            "cannot hash '{}' at byte 0: it has too many blocks",
            at("source/hole").display()
        );
        assert!(stderr(&output).contains(&text), "{output:?}");
        assert_eq!(fs::read(at("target/other")).unwrap(), b"other");
        run(aiosum().arg(at("source/hole")), 1);
    }
}

#[test]
fn each_thing_is_kept_under_its_own_name() {
    if !is_root("giving files away") {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "x").unwrap();
    chown(at("file"), Some(3), Some(4)).unwrap();
    set_mode(&at("file"), 0o6751);
    set_xattr(&at("file"), "user.x", b"x");
    set_times(&at("file"), 1_000_000_000, 1);
    fs::hard_link(at("file"), at("second")).unwrap();
    for (args, mode, owner, old, attribute, linked) in [
        (&[][..], 0o751, 0, true, false, true),
        (&["-p"], 0o6751, 3, true, false, true),
        (&["--preserve=ownership"], 0o6751, 3, true, false, true),
        (&["--preserve=xattr"], 0o751, 0, true, true, true),
        (&["-a"], 0o6751, 3, true, true, true),
        (&["-a", "--no-preserve=ownership"], 0o751, 0, true, true, true),
        (&["--preserve=all", "--no-preserve=links,timestamps"], 0o6751, 3, false, true, false),
        (&["-a", "--no-preserve=mode,xattr"], 0o640, 3, true, false, true),
        (&["--no-preserve=all"], 0o640, 0, false, false, false),
    ] {
        fs::create_dir(at("to")).unwrap();
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"umask 027; exec "$0" "$@""#])
            .arg(assert_cmd::cargo::cargo_bin!("aiocp"))
            .env_remove("AIOCP_CONFIG_PATH");
        run(command.args(args).args(["file", "second", "to"]).current_dir(folder.path()), 0);
        let meta = fs::metadata(at("to/file")).unwrap();
        assert_eq!(meta.mode() & 0o7777, mode, "{args:?}");
        assert_eq!((meta.uid(), meta.gid()), (owner, if owner == 3 { 4 } else { 0 }), "{args:?}");
        assert_eq!(meta.mtime() == 1_000_000_000, old, "{args:?}");
        assert_eq!(xattr(&at("to/file"), "user.x").is_some(), attribute, "{args:?}");
        assert_eq!(meta.ino() == fs::metadata(at("to/second")).unwrap().ino(), linked, "{args:?}");
        fs::remove_dir_all(at("to")).unwrap();
    }
}

#[test]
fn a_default_acl_of_the_destination_widens_nothing() {
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let at = |name: &str| mounted.path.join(name);
    fs::create_dir_all(at("source/dir")).unwrap();
    fs::write(at("source/file"), "x").unwrap();
    fs::write(at("source/dir/file"), "x").unwrap();
    set_mode(&at("source/file"), 0o664);
    set_mode(&at("source/dir"), 0o775);
    fs::create_dir(at("open")).unwrap();
    set_xattr(&at("open"), DEFAULT, &acl([7, 7, 7, 7, 7, 7]));
    for args in [&["-a"][..], &[], &["--no-preserve=mode"]] {
        run(aiocp().args(args).arg(at("source")).arg(at("open/target")), 0);
        for name in ["file", "dir", "dir/file", ""] {
            assert_eq!(xattr(&at("open/target").join(name), ACCESS), None, "{args:?} {name}");
        }
        for name in ["dir", ""] {
            assert_eq!(xattr(&at("open/target").join(name), DEFAULT), None, "{args:?} {name}");
        }
        fs::remove_dir_all(at("open/target")).unwrap();
    }
}

#[test]
fn what_the_filesystem_cannot_hold_is_a_warning_unless_it_was_demanded() {
    let Some(from) = Mounted::new("ext4", 64) else { return };
    let Some(to) = Mounted::new("ramfs", 64) else { return };
    let at = |name: &str| from.path.join(name);
    for name in ["attribute", "acl"] {
        fs::write(at(name), name).unwrap();
    }
    set_xattr(&at("attribute"), "user.x", b"x");
    set_xattr(&at("acl"), ACCESS, &acl([6, 6, 0, 0, 6, 0]));
    for (args, name, code, text) in [
        (&["-a"][..], "attribute", 0, "aiocp: warning: cannot set attribute of"),
        (&["--preserve=all"], "attribute", 0, "aiocp: warning: cannot set attribute of"),
        (&["--preserve=xattr"], "attribute", 1, "aiocp: cannot set attribute of"),
        (&[], "attribute", 0, ""),
        (&["-a"], "acl", 0, "aiocp: warning: cannot set ACL of"),
        (&[], "acl", 0, "aiocp: warning: cannot set ACL of"),
        (&["-p"], "acl", 1, "aiocp: cannot set ACL of"),
    ] {
        let output = run(aiocp().args(args).arg(at(name)).arg(&to.path), code);
        assert!(stderr(&output).starts_with(text), "{args:?}: {output:?}");
        assert_eq!(text.is_empty(), output.stderr.is_empty(), "{args:?}: {output:?}");
        assert_eq!(fs::read_to_string(to.path.join(name)).unwrap(), name, "the data is copied");
    }
    let mode = fs::metadata(to.path.join("acl")).unwrap().mode() & 0o7777;
    assert_eq!(mode, 0o600, "the lost ACL's mask does not become the group's permission");
}

#[test]
fn a_time_that_the_filesystem_cannot_hold_is_named() {
    let Some(from) = Mounted::new("btrfs", 256) else { return };
    let Some(to) = Mounted::new("ext4", 64) else { return };
    let source = from.path.join("file");
    fs::write(&source, "x").unwrap();
    let time = rustix::fs::Timespec { tv_sec: 1 << 40, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::futimens(fs::File::open(&source).unwrap(), &times).unwrap();
    let output = run(aiocp().arg(&source).arg(&to.path), 1);
    assert!(stderr(&output).contains("cannot set times of"), "{output:?}");
    assert_eq!(fs::read(to.path.join("file")).unwrap(), b"x");
}

#[test]
fn hard_links_are_kept_across_directories_and_operands_and_listed() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for name in ["a/deep", "b", "to"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    let mut names = Vec::new();
    for n in 0..100 {
        let len = if n % 10 == 0 { (1 << 20) + n } else { n };
        fs::write(at(&format!("a/{n}")), noise(len, n as u64)).unwrap();
        for other in [format!("b/{n}"), format!("a/deep/{n}")] {
            fs::hard_link(at(&format!("a/{n}")), at(&other)).unwrap();
            names.push((format!("a/{n}"), other));
        }
    }
    for threads in ["1", "32"] {
        let args = ["--threads", threads, "--manifest", "-", "--debug", "a", "b", "to"];
        let output = run(aiocp().current_dir(folder.path()).args(args), 0);
        for (one, other) in &names {
            let ino = |name: &str| fs::metadata(at("to").join(name)).unwrap().ino();
            assert_eq!(ino(one), ino(other), "{one} and {other}");
        }
        check_manifest(std::str::from_utf8(&output.stdout).unwrap(), &at("to"));
        assert_eq!(stderr(&output).lines().filter(|line| line.ends_with(": linked")).count(), 200);
    }
    assert!(litter(&at("to")).is_empty());
    // A file that became linked, and one that is no longer linked.
    let distinct: HashSet<u64> =
        (0..100).map(|n| fs::metadata(at(&format!("to/a/{n}"))).unwrap().ino()).collect();
    assert_eq!(distinct.len(), 100);
    fs::remove_file(at("b/0")).unwrap();
    fs::write(at("b/0"), "alone").unwrap();
    run(aiocp().current_dir(folder.path()).args(["a", "b", "to"]), 0);
    assert_eq!(fs::read(at("to/b/0")).unwrap(), b"alone");
    assert_eq!(fs::metadata(at("to/a/0")).unwrap().nlink(), 2);
}

#[test]
fn a_second_name_is_copied_when_the_first_one_fails() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for kind in ["file", "symlink"] {
        fs::create_dir_all(at("from")).unwrap();
        match kind {
            "file" => fs::write(at("from/x1"), "data").unwrap(),
            _ => symlink("data", at("from/x1")).unwrap(),
        }
        for n in 2..6 {
            fs::hard_link(at("from/x1"), at(&format!("from/x{n}"))).unwrap();
        }
        let call = if kind == "file" { "linkat" } else { "symlinkat" };
        let mut command = program("strace");
        command.args(["-f", "-o"]).arg(at("trace")).args(["-e", &format!("trace={call}")]);
        command
            .args(["-e", &format!("inject={call}:error=EIO:when=1")])
            .arg(assert_cmd::cargo::cargo_bin!("aiocp"));
        let output = run(command.args(["--threads=1", "from", "to"]).current_dir(folder.path()), 1);
        assert!(stderr(&output).contains("1 failure, named above"), "{output:?}");
        let copies: Vec<_> =
            fs::read_dir(at("to")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(copies.len(), 4, "{output:?}");
        let inodes: HashSet<u64> =
            copies.iter().map(|path| fs::symlink_metadata(path).unwrap().ino()).collect();
        assert_eq!(inodes.len(), 1, "the others are one file");
        fs::remove_dir_all(at("to")).unwrap();
        fs::remove_dir_all(at("from")).unwrap();
    }
}

#[test]
fn somebody_else_s_tree_is_copied_by_nobody_as_far_as_nobody_may() {
    if !is_root("becoming another user") || !have("setpriv") {
        return;
    }
    let folder = Elsewhere::new();
    let at = |name: &str| folder.path().join(name);
    set_mode(folder.path(), 0o777);
    fs::create_dir_all(at("source/read-only/below")).unwrap();
    fs::write(at("source/read-only/below/file"), "f").unwrap();
    fs::write(at("source/setuid"), "s").unwrap();
    fs::hard_link(at("source/setuid"), at("source/read-only/again")).unwrap();
    mknod(&at("source/fifo"), FileType::Fifo, 0);
    set_mode(&at("source/fifo"), 0o644);
    set_mode(&at("source/setuid"), 0o6755);
    set_mode(&at("source/read-only/below"), 0o555);
    set_mode(&at("source/read-only"), 0o555);
    set_times(&at("source/read-only"), 5, 6);
    for args in [&["-a"][..], &["-p", "-a"]] {
        let mut command = folder.as_user(65534);
        command.arg(folder.aiocp()).args(args);
        let output = run(command.args(["source", "target"]), 0);
        assert!(output.stderr.is_empty(), "{output:?}");
        let meta = |name: &str| fs::metadata(at("target").join(name)).unwrap();
        assert_eq!(meta("setuid").mode() & 0o7777, 0o755, "no setuid without the owner");
        assert_eq!(meta("setuid").ino(), meta("read-only/again").ino());
        assert_eq!(meta("read-only").mode() & 0o7777, 0o555);
        assert_eq!((meta("read-only").mtime(), meta("read-only").mtime_nsec()), (5, 6));
        assert_eq!(fs::read(at("target/read-only/below/file")).unwrap(), b"f");
        fs::remove_dir_all(at("target")).unwrap();
    }
}

/// The kernel lets those set attributes who may write the file.
#[test]
fn attributes_are_given_to_what_its_owner_may_only_read_and_no_untrue_hint_to_others() {
    if !is_root("becoming another user") || !have("setpriv") {
        return;
    }
    const USER: u32 = 65534;
    let folder = Elsewhere::new();
    let at = |name: &str| folder.path().join(name);
    for name in ["source", "target"] {
        fs::create_dir_all(at(name).join("dir")).unwrap();
        fs::write(at(name).join("file"), "").unwrap();
    }
    for name in ["dir", "file"] {
        set_xattr(&at("source").join(name), "user.note", b"kept");
        for (tree, mode) in [("source", 0o555), ("target", 0o511)] {
            let path = at(tree).join(name);
            set_mode(&path, mode);
            chown(path, Some(USER), Some(USER)).unwrap();
        }
    }
    for tree in ["", "source", "target"] {
        chown(at(tree), Some(USER), Some(USER)).unwrap();
    }
    let copy = |options: &[&str], code| {
        let mut command = folder.as_user(USER);
        command.arg(folder.aiocp()).args(options).args(["-T", "source", "target"]);
        stderr(&run(&mut command, code))
    };
    let mode = |name: &str| fs::metadata(at("target").join(name)).unwrap().mode() & 0o7777;
    for (options, kept) in
        [(&["-r", "--preserve=xattr", "--no-preserve=mode"][..], 0o511), (&["-a"], 0o555)]
    {
        assert_eq!(copy(&[options, &["--attributes-only"]].concat(), 0), "");
        for name in ["dir", "file"] {
            assert_eq!(xattr(&at("target").join(name), "user.note").as_deref(), Some(&b"kept"[..]));
            assert_eq!(mode(name), kept, "{options:?}: {name}");
            rustix::fs::removexattr(at("target").join(name), "user.note").unwrap();
        }
    }
    chown(at("target/file"), Some(0), Some(0)).unwrap();
    let said = copy(&["-r", "--preserve=xattr", "--attributes-only"], 1);
    assert!(said.contains("user.note: Permission denied"), "{said}");
    assert!(said.contains("hint: they are not allowed here; --no-preserve=xattr"), "{said}");
}

/// The security context is kept with the attributes, and by itself.
#[test]
fn a_context_that_cannot_be_kept_is_left_out_as_the_hint_says() {
    if !is_root("a security context") {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("source"), "").unwrap();
    set_xattr(&at("source"), "security.selinux", b"a context");
    let copy = |options: &[&str]| {
        let mut command = aiocp();
        command.arg("-a").args(options).arg(at("source")).arg(at("target"));
        let calls = [libc::SYS_fsetxattr, libc::SYS_setxattr];
        sandbox::refuse(&mut command, &calls, libc::EOPNOTSUPP);
        stderr(&run(&mut command, 0))
    };
    for options in [&[][..], &["--no-preserve=xattr"], &["--no-preserve=context"]] {
        let said = copy(options);
        assert!(
            said.contains("; --no-preserve=xattr,context leaves it out"),
            "{options:?}: {said}"
        );
    }
    assert_eq!(copy(&["--no-preserve=xattr,context"]), "");
}

#[test]
fn directories_are_let_go_without_sync_too() {
    let folder = folder();
    for n in 0..300 {
        fs::create_dir_all(folder.path().join(format!("from/{n}"))).unwrap();
        fs::File::create(folder.path().join(format!("from/{n}/x")))
            .unwrap()
            .write_all_at(b"x", 0)
            .unwrap();
    }
    let mut command = Command::new("sh");
    command
        .args(["-c", r#"ulimit -n 128; exec "$0" "$@""#])
        .arg(assert_cmd::cargo::cargo_bin!("aiocp"))
        .env_remove("AIOCP_CONFIG_PATH");
    run(command.args(["--no-sync", "from", "to"]).current_dir(folder.path()), 0);
    assert_eq!(fs::read_dir(folder.path().join("to")).unwrap().count(), 300);
}

#[test]
fn memory_does_not_grow_with_the_entries_of_a_directory() {
    const ENTRIES: usize = 1_000_000;
    let Some(mounted) = Mounted::new("tmpfs", 512) else { return };
    let (source, target) = (mounted.path.join("source"), mounted.path.join("target"));
    fs::create_dir(&source).unwrap();
    // The longest names, all of a few inodes: a million inodes would fill the kernel's memory.
    let name = |n: usize| source.join(format!("{n:0255}"));
    for n in 0..ENTRIES {
        match n % 1000 {
            0 => drop(fs::File::create(name(n)).unwrap()),
            _ => fs::hard_link(name(n - n % 1000), name(n)).unwrap(),
        }
    }
    // Below this directory, the walker has to leave the listing of the many entries without
    // remembering the rest of it.
    fs::create_dir_all(source.join("d/".repeat(40))).unwrap();
    let manifest = mounted.path.join("manifest");
    let mut command = aiocp();
    let peak =
        peak_of(command.args(["-a", "--manifest"]).arg(&manifest).arg(&source).arg(&target), 0);
    assert_eq!(fs::read_dir(&target).unwrap().count(), ENTRIES + 1);
    assert!((1..64 << 10).contains(&peak), "{peak} KiB");
}
