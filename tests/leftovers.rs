//! A file in the making that does not get its name leaves nothing behind, whatever fails on the
//! way: strace fails one system call after the other.

mod common;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use common::held::{is_in, traced, while_held};
use common::*;

/// What a filesystem without unnamed files answers, so that a temporary has a name.
const NO_UNNAMED_FILES: &str = "inject=openat:error=EOPNOTSUPP:when=1";

/// The hidden names of a folder.
fn hidden(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with(".aiocp-")).collect()
}

/// Copies `new` over `old`, in a folder of their own, while system calls fail. The folder and what
/// was said come back.
fn copy_with(faults: &[&str], args: &[&str], code: i32) -> (tempfile::TempDir, String) {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("new"), "new").unwrap();
    fs::write(at("old"), "old").unwrap();
    let mut options =
        vec!["-e", "trace=openat,linkat,renameat2,renameat,pwrite64,fstatfs,newfstatat,fstat"];
    faults.iter().for_each(|fault| options.extend(["-e", fault]));
    let mut command = strace(&options, &at("trace"));
    let output = run(command.args(args).arg(at("new")).arg(at("old")), code);
    (folder, stderr(&output))
}

#[test]
fn a_backup_that_cannot_be_made_leaves_no_temporary() {
    if !have_strace() {
        return;
    }
    for control in ["--backup=simple", "--backup=numbered"] {
        let faults = [NO_UNNAMED_FILES, "inject=linkat:error=EACCES"];
        let (folder, said) = copy_with(&faults, &[control], 1);
        assert!(said.contains("cannot make a backup of"), "{said}");
        assert_eq!(hidden(folder.path()), [""; 0], "{control}");
        assert_eq!(fs::read(folder.path().join("old")).unwrap(), b"old");
    }
}

#[test]
fn a_full_disk_is_told_as_one_also_where_its_figures_cannot_be_had() {
    if !have_strace() {
        return;
    }
    let faults =
        [NO_UNNAMED_FILES, "inject=pwrite64:error=ENOSPC", "inject=fstatfs:error=EIO:when=2+"];
    let (folder, said) = copy_with(&faults, &[], 1);
    assert!(said.contains("No space left on device"), "{said}");
    assert_eq!(hidden(folder.path()), [""; 0]);
}

/// Each call between the making of the temporary and its name fails in turn.
#[test]
fn whatever_fails_before_a_file_has_its_name_no_temporary_stays() {
    if !have_strace() {
        return;
    }
    let (mut failed, mut whole) = (0, 0);
    for call in ["fstat", "newfstatat", "fstatfs", "pwrite64", "linkat", "renameat2", "renameat"] {
        for nth in 1..=6 {
            let fault = format!("inject={call}:error=EIO:when={nth}");
            for args in [&["-b"][..], &[]] {
                let folder = folder();
                let at = |name: &str| folder.path().join(name);
                fs::create_dir(at("tree")).unwrap();
                fs::write(at("tree/a"), "new").unwrap();
                fs::hard_link(at("tree/a"), at("tree/b")).unwrap();
                fs::create_dir(at("copy")).unwrap();
                fs::write(at("copy/a"), "old").unwrap();
                let options = ["-e", NO_UNNAMED_FILES, "-e", &fault];
                let mut command = strace(&options, &at("trace"));
                let output =
                    command.args(args).arg("-T").arg(at("tree")).arg(at("copy")).output().unwrap();
                let is_whole = output.status.success();
                if is_whole {
                    whole += 1
                } else {
                    failed += 1
                }
                assert_eq!(hidden(&at("copy")), [""; 0], "{fault}, {args:?}: {output:?}");
                let contents = fs::read(at("copy/a")).unwrap();
                let old = at("copy/a~");
                let is_kept = contents == b"old" || contents == b"new";
                assert!(is_kept, "{fault}, {args:?}: {contents:?}");
                if args == ["-b"] && contents == b"new" {
                    assert_eq!(fs::read(old).unwrap(), b"old", "{fault}");
                }
            }
        }
    }
    assert!(failed >= 10 && whole >= 10, "{failed} copies failed, {whole} did not");
}

/// What was just made under a hidden name is looked at before it is gone on with. Where that fails,
/// the name goes all the same.
#[test]
fn whatever_cannot_be_looked_at_leaves_no_temporary() {
    if !have_strace() {
        return;
    }
    let mut faults = Vec::new();
    for call in ["fstat", "newfstatat", "statx", "name_to_handle_at"] {
        faults.extend((1..=9).map(|nth| format!("inject={call}:error=EIO:when={nth}")));
    }
    for call in ["openat", "openat2"] {
        let twice = |nth| format!("inject={call}:error=EMFILE:when={nth}..{}", nth + 1);
        faults.extend((1..=12).map(twice));
    }
    let mut failed = 0;
    for fault in &faults {
        for args in [&["-b"][..], &["--resume"], &[]] {
            let folder = folder();
            let at = |name: &str| folder.path().join(name);
            fs::create_dir_all(at("tree")).unwrap();
            fs::create_dir_all(at("copy")).unwrap();
            fs::write(at("tree/a"), "new").unwrap();
            fs::write(at("copy/a"), "old").unwrap();
            std::os::unix::fs::symlink("to", at("tree/link")).unwrap();
            std::os::unix::fs::symlink("from", at("copy/link")).unwrap();
            let mut command = strace(&["-e", fault], &at("trace"));
            command.args(args).args(["--threads=1", "-T"]).arg(at("tree")).arg(at("copy"));
            let output = command.output().unwrap();
            failed += u32::from(!output.status.success());
            let mut hidden = hidden(&at("copy"));
            if args == ["--resume"] && !output.status.success() {
                hidden.retain(|name| !name.starts_with(".aiocp-journal"));
            }
            assert_eq!(hidden, [""; 0], "{fault}, {args:?}: {output:?}");
        }
    }
    assert!(failed >= 10, "{failed} copies failed");
}

/// Nothing was copied, and nothing could be gone on with.
#[test]
fn a_journal_that_cannot_be_begun_does_not_stay() {
    if !have_strace() {
        return;
    }
    let faults = [
        ("pwrite64:error=ENOSPC", 1),
        ("fsync:error=EIO:when=1", 1),
        ("fsync:error=EIO:when=2", 1),
        // There is another source of numbers that no one can guess.
        ("getrandom:error=ENOSYS", 0),
    ];
    for (fault, code) in faults {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("new"), "new").unwrap();
        fs::create_dir(at("to")).unwrap();
        let mut command = strace(&["-e", &format!("inject={fault}")], &at("trace"));
        let output = run(command.arg("--resume").arg(at("new")).arg(at("to")), code);
        assert_eq!(hidden(&at("to")), [""; 0], "{fault}: {output:?}");
    }
}

/// It has its name then, and is told as copied, but for the hidden name that is left.
#[test]
fn what_has_its_name_is_copied_whatever_fails_afterwards() {
    if !have_strace() {
        return;
    }
    let flagless = [NO_UNNAMED_FILES, "inject=renameat2:error=EINVAL"];
    for nth in 0..=9 {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("new"), "new").unwrap();
        let fault = match nth {
            0 => "inject=unlinkat:error=EIO".to_owned(),
            nth => format!("inject=newfstatat,fstat:error=EIO:when={nth}"),
        };
        let mut options = vec!["-e", &fault];
        if nth == 0 {
            flagless.iter().for_each(|flag| options.extend(["-e", flag]));
        }
        let mut command = strace(&options, &at("trace"));
        let output = command.args(["-n", "-v"]).arg(at("new")).arg(at("made")).output().unwrap();
        let (said, told) = (stderr(&output), String::from_utf8_lossy(&output.stdout));
        let is_made = at("made").exists();
        assert_eq!(is_made, told.contains("made"), "{fault}: {told}{said}");
        if nth == 0 {
            assert!(is_made && said.contains("cannot remove the temporary"), "{said}");
        }
    }
}

/// A name that is taken after it was found free stays, also where a rename cannot refuse it.
#[test]
fn n_replaces_nothing_where_there_are_neither_unnamed_files_nor_renames_that_refuse() {
    if !have_strace() {
        return;
    }
    for linkat in [None, Some("inject=linkat:error=EPERM")] {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("new"), "new").unwrap();
        let renameat2 = "inject=renameat2:error=EINVAL:delay_enter=1500000";
        let trace = "trace=openat,renameat2,renameat,linkat";
        let mut options = vec!["-e", trace, "-e", NO_UNNAMED_FILES, "-e", renameat2];
        linkat.iter().for_each(|fault| options.extend(["-e", fault]));
        let mut command = strace(&options, &at("trace"));
        command.arg("-n").arg(at("new")).arg(at("old"));
        let copy = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Its temporary shows that it found the name free. A call that is to fail has no number.
        let is_held = || !hidden(folder.path()).is_empty() && is_in(traced(&copy), &[-1]);
        while_held(&copy, is_held, || fs::write(at("old"), "precious").unwrap());
        let output = copy.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(fs::read(at("old")).unwrap(), b"precious", "with {linkat:?}");
        assert_eq!(hidden(folder.path()), [""; 0]);
    }
}

/// The working directory has a name in messages like any other.
#[test]
fn what_fails_in_the_working_directory_is_told_of_it() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    fs::write(folder.path().join("new"), "new").unwrap();
    let faults = ["-e", "trace=fsync", "-e", "inject=fsync:error=EIO"];
    let mut copy = strace(&faults, Path::new("trace"));
    let output = run(copy.args(["new", "copy"]).current_dir(&folder), 1);
    let said = stderr(&output);
    assert!(said.contains("cannot fsync directory '.'"), "{said}");
}
