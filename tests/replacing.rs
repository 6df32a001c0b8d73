//! What cp would write into, a copy takes the place of: it keeps the owner and the rights of what
//! it replaces, and says so where nothing can take the place.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};

use common::elsewhere::Elsewhere;
use common::hard::{acl, set_mode, set_xattr, xattr};
use common::*;

const USER: u32 = 12_345;
const GROUP: u32 = 4_242;
const ACL: &str = "system.posix_acl_access";

/// A new file of mode 0644, and an old one of another user's with this mode.
fn stage(owner: (u32, u32), mode: u32) -> Elsewhere {
    let folder = Elsewhere::new();
    fs::write(folder.path().join("new"), "new").unwrap();
    set_mode(&folder.path().join("new"), 0o644);
    fs::write(folder.path().join("old"), "old").unwrap();
    chown(folder.path().join("old"), Some(owner.0), Some(owner.1)).unwrap();
    set_mode(&folder.path().join("old"), mode);
    folder
}

fn copy(folder: &Path, args: &[&str], code: i32) -> String {
    stderr(&run(aiocp().args(args).current_dir(folder), code))
}

/// User, group, mode and contents.
fn state(path: &Path) -> (u32, u32, u32, String) {
    let meta = fs::metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.mode() & 0o7777, fs::read_to_string(path).unwrap())
}

#[test]
fn root_keeps_whose_a_file_is() {
    if !is_root("giving files away") {
        return;
    }
    for (args, owner, mode) in [
        (&[][..], (USER, GROUP), 0o644),
        (&["--verify"], (USER, GROUP), 0o644),
        (&["--resume"], (USER, GROUP), 0o644),
        (&["--preserve=mode"], (USER, GROUP), 0o644),
        (&["--no-preserve=mode"], (USER, GROUP), 0o600),
        (&["-p"], (0, 0), 0o644),
        (&["-a"], (0, 0), 0o644),
        (&["-b"], (0, 0), 0o644),
        (&["--remove-destination"], (0, 0), 0o644),
        (&["-b", "--no-preserve=mode"], (0, 0), 0o644),
    ] {
        let folder = stage((USER, GROUP), 0o600);
        let path = folder.path();
        copy(path, &[args, &["new", "old"]].concat(), 0);
        assert_eq!(state(&path.join("old")), (owner.0, owner.1, mode, "new".into()), "{args:?}");
        // The same in a tree.
        let folder = stage((USER, GROUP), 0o600);
        let path = folder.path();
        fs::create_dir_all(path.join("from")).unwrap();
        fs::create_dir_all(path.join("to")).unwrap();
        fs::rename(path.join("new"), path.join("from/x")).unwrap();
        fs::rename(path.join("old"), path.join("to/x")).unwrap();
        copy(path, &[args, &["-T", "from", "to"]].concat(), 0);
        assert_eq!(state(&path.join("to/x")), (owner.0, owner.1, mode, "new".into()), "{args:?}");
    }
}

#[test]
fn the_mode_of_a_private_file_stays_unless_modes_are_kept() {
    for mode in [0o600, 0o640, 0o400, 0o777] {
        let folder = folder();
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        for (len, name) in [(3, "small"), ((3 << 20) + 5, "big")] {
            fs::write(&new, noise(len, 1)).unwrap();
            fs::write(&old, "old").unwrap();
            set_mode(&old, mode);
            copy(folder.path(), &["--no-preserve=mode", "new", "old"], 0);
            assert_eq!(fs::metadata(&old).unwrap().mode() & 0o7777, mode, "{name}");
            assert_eq!(fs::read(&old).unwrap(), noise(len, 1));
            fs::remove_file(&old).unwrap();
        }
    }
}

#[test]
fn setuid_does_not_pass_to_new_contents() {
    let folder = folder();
    fs::write(folder.path().join("new"), "new").unwrap();
    fs::write(folder.path().join("old"), "old").unwrap();
    set_mode(&folder.path().join("old"), 0o6755);
    copy(folder.path(), &["--no-preserve=mode", "new", "old"], 0);
    assert_eq!(fs::metadata(folder.path().join("old")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn its_acl_stays_where_the_source_has_none_and_modes_are_not_demanded() {
    let wanted = acl([6, 7, 4, 5, 7, 0]);
    for (args, keeps) in [
        (&[][..], true),
        (&["--no-preserve=mode"], true),
        (&["--preserve=mode"], false),
        (&["-p"], false),
        (&["-a"], false),
        (&["-b"], false),
    ] {
        let folder = stage_own();
        set_xattr(&folder.path().join("old"), ACL, &wanted);
        copy(folder.path(), &[args, &["new", "old"]].concat(), 0);
        let old = folder.path().join("old");
        assert_eq!(xattr(&old, ACL).is_some(), keeps, "{args:?}");
        let mode = fs::metadata(&old).unwrap().mode() & 0o777;
        // Under an ACL the group's bits are its mask.
        let unlimited = args == ["--no-preserve=mode"];
        assert_eq!(mode, if unlimited { 0o670 } else { 0o640 }, "{args:?}");
    }
}

/// What an ACL cannot be read by, and whether the copy has it all the same.
#[test]
fn an_acl_that_cannot_be_read_widens_nothing() {
    let wanted = acl([6, 6, 0, 0, 6, 0]);
    // Without /proc, or where it does not answer, a file that may be read says it.
    let without_proc = ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /proc; exec \"$@\"", "-"];
    let refused = ["strace", "-f", "-o", "trace", "-e", "inject=lgetxattr:error=EIO"];
    let user = format!("setpriv --reuid={USER} --regid={USER} --clear-groups");
    let user: Vec<&str> = user.split(' ').chain(refused).collect();
    let tools = ["strace", "setpriv", "unshare", "mount"];
    if !is_root("unshare") || !tools.into_iter().all(have) {
        return;
    }
    for (way, old_mode, is_kept) in
        [(&without_proc[..], 0o660, true), (&refused, 0o660, true), (&user, 0o260, false)]
    {
        for args in [&["--no-preserve=mode"][..], &[]] {
            let folder = stage_own();
            let old = folder.path().join("old");
            set_xattr(&old, ACL, &wanted);
            set_mode(&old, old_mode);
            for path in [&old, &folder.path().join("new"), folder.path()] {
                chown(path, Some(USER), Some(USER)).unwrap();
            }
            let mut command = program(way[0]);
            command.args(&way[1..]).arg(folder.aiocp()).args(args);
            command.args(["new", "old"]).current_dir(folder.path());
            let output = run(&mut command, i32::from(!is_kept));
            assert_eq!(xattr(&old, ACL).is_some(), is_kept, "{way:?} {args:?}: {output:?}");
            let said = stderr(&output);
            assert_eq!(said.contains("cannot read ACL of 'old'"), !is_kept, "{said}");
            // A mode that is kept is the new file's.
            let group = if args.is_empty() { 0o40 } else { 0o60 };
            let lost = if args.is_empty() { 0o40 } else { 0 };
            let mode = fs::metadata(&old).unwrap().mode() & 0o70;
            assert_eq!(mode, if is_kept { group } else { lost }, "{way:?} {args:?}");
        }
    }
}

fn stage_own() -> Elsewhere {
    let folder = Elsewhere::new();
    fs::write(folder.path().join("new"), "new").unwrap();
    set_mode(&folder.path().join("new"), 0o640);
    fs::write(folder.path().join("old"), "old").unwrap();
    folder
}

/// In a shared folder anybody may plant a file: it is replaced, and its owner gets nothing.
#[test]
fn a_planted_file_gets_nothing() {
    if !is_root("giving files away") {
        return;
    }
    let folder = stage((USER, GROUP), 0o666);
    set_mode(folder.path(), 0o1777);
    set_mode(&folder.path().join("new"), 0o600);
    copy(folder.path(), &["new", "old"], 0);
    assert_eq!(state(&folder.path().join("old")), (0, 0, 0o600, "new".into()));
}

#[test]
fn a_user_keeps_the_group_that_the_user_may_give() {
    if !is_root("acting for a user") || !have("setpriv") {
        return;
    }
    let folder = stage((USER, GROUP), 0o660);
    chown(folder.path(), Some(USER), Some(USER)).unwrap();
    for (group, kept) in [(GROUP, GROUP), (99, USER)] {
        chown(folder.path().join("old"), Some(USER), Some(group)).unwrap();
        let mut command = program("setpriv");
        let ids = [format!("--reuid={USER}"), format!("--regid={USER}")];
        command.args(ids).arg(format!("--groups={GROUP}"));
        command.arg(folder.aiocp()).args(["new", "old"]);
        let output = run(command.current_dir(folder.path()), 0);
        assert!(output.stderr.is_empty(), "{output:?}");
        assert_eq!(fs::metadata(folder.path().join("old")).unwrap().gid(), kept);
    }
}

/// What may be written and not replaced, by name: a mount point, a folder that may not be written,
/// a folder that keeps what is others', and one in which nothing changes.
#[test]
fn what_may_only_be_written_into_is_told_as_that() {
    if !can_mount("tmpfs") || !have("setpriv") {
        return;
    }
    let folder = stage((0, 0), 0o666);
    let (path, old) = (folder.path(), folder.path().join("old"));
    let user = |args: &[&str]| stderr(&run(folder.as_user(USER).arg(folder.aiocp()).args(args), 1));
    let refused = |said: String, dry: String, why: &str| {
        assert!(said.contains(why) && said.contains("hint: ") && said.contains("cat "), "{said}");
        assert!(dry.contains(why), "a dry run says so too: {dry}");
        assert_eq!(litter(path), [] as [PathBuf; 0]);
    };
    fs::write(path.join("host"), "host").unwrap();
    must(program("mount").arg("--bind").args([path.join("host"), old.clone()]));
    let said = [&["new", "old"][..], &["--dry-run", "new", "old"]].map(|args| {
        let output = aiocp().args(args).current_dir(path).output().unwrap();
        (output.status.code(), stderr(&output))
    });
    unmount(&old);
    let [(Some(1), said), (Some(1), dry)] = said else { panic!("{said:?}") };
    refused(said, dry, "busy");
    refused(user(&["new", "old"]), user(&["--dry-run", "new", "old"]), "Permission denied");
    set_mode(path, 0o1777);
    refused(user(&["new", "old"]), user(&["--dry-run", "new", "old"]), "not permitted");
    // --inplace is no answer where it may not be written either.
    set_mode(path, 0o755);
    set_mode(&old, 0o644);
    assert_eq!(
        user(&["new", "old"]),
        "aiocp: cannot create 'old': Permission denied\n\
         aiocp: hint: the folder's owner can let you write there (chmod), and root may (sudo)\n\
         aiocp: 1 failure, named above; 0 files were copied\n"
    );
    assert_eq!(fs::read_to_string(&old).unwrap(), "old");
}

#[test]
fn a_dry_run_promises_no_directory_that_cannot_be_made() {
    if !is_root("acting for a user") || !have("setpriv") {
        return;
    }
    let folder = stage((0, 0), 0o666);
    fs::create_dir_all(folder.path().join("tree/sub")).unwrap();
    let mut command = folder.as_user(USER);
    command.arg(folder.aiocp()).args(["--dry-run", "tree", "copy"]);
    let said = stderr(&run(&mut command, 1));
    assert!(said.contains("cannot create directory 'copy': Permission denied"), "{said}");
}
