//! A destination that is full: one hint, one line for all the rest, and the same command continues.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::*;

const FILES: u64 = 400;
const FILE_BYTES: usize = 60_000;

/// Makes 400 files in 4 directories, 24 MB.
fn source() -> tempfile::TempDir {
    let from = folder();
    for n in 0..FILES {
        let dir = from.path().join(format!("d{}", n % 4));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{n}")), noise(FILE_BYTES, n)).unwrap();
    }
    from
}

/// The files below a directory, by their paths in it.
fn files_below(root: &Path) -> BTreeSet<String> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    let files = entries.filter(|entry| entry.file_type().is_file());
    let path = |entry: walkdir::DirEntry| entry.path().strip_prefix(root).unwrap().to_owned();
    files.map(|entry| path(entry).into_os_string().into_string().unwrap()).collect()
}

#[test]
fn a_full_disk_gets_one_hint_and_the_same_command_continues() {
    if !is_root("mounting filesystems") {
        return;
    }
    let from = source();
    for kind in ["ext4", "tmpfs"] {
        let Some(to) = Mounted::new(kind, 12) else { continue };
        let list = folder();
        let (target, list) = (to.path.join("t"), list.path().join("list"));
        let mut command = aiocp();
        command.args(["--resume", "--json", "--failed-list"]).arg(&list);
        command.arg("-T").arg(from.path()).arg(&target);
        let output = run(&mut command, 1);
        let said = stderr(&output);
        let lines: Vec<_> = said.lines().collect();
        let [first, hint, others, last] = lines[..] else { panic!("{kind}: {said}") };
        assert!(first.ends_with(": No space left on device"), "{said}");
        assert!(hint.starts_with("aiocp: hint: "), "{said}");
        assert!(
            others.starts_with("aiocp: cannot copy ")
                && others.ends_with(" others either: No space left on device"),
            "{said}"
        );
        assert!(
            last.contains(" failures, named or counted above; ")
                && last.contains(" files were copied; ")
                && last.ends_with("; free some space: the same command continues"),
            "{said}"
        );
        // What was not copied is on the list, by itself or by its directory.
        let (all, copied) = (files_below(from.path()), files_below(&target));
        assert!(copied.len() > 50 && copied.len() < all.len(), "{kind}: {}", copied.len());
        // What is missing is known, unless a name found no room.
        let missing_bytes = (all.len() - copied.len()) * FILE_BYTES;
        let need = format!("; what did not fit needs {:.1} MB; ", missing_bytes as f64 / 1e6);
        assert!(last.contains(&need) || kind == "ext4" && !last.contains(" needs "), "{said}");
        let listed = fs::read_to_string(&list).unwrap();
        for file in all.difference(&copied) {
            let is_listed = |line: &str| line == "." || Path::new(file).starts_with(line);
            assert!(listed.lines().any(is_listed), "{kind}: {file}: {listed}");
        }
        for file in &copied {
            assert!(!listed.lines().any(|line| line == file), "{kind}: {file}");
        }
        // When nothing fits any more, nothing is tried.
        let json = String::from_utf8(output.stdout).unwrap();
        assert!(json.contains("No space left on device; it was not tried"), "{kind}: {json}");
        if kind == "tmpfs" {
            must(program("mount").args(["-o", "remount,size=64m"]).arg(&to.path));
            run(&mut command, 0);
            assert_eq!(files_below(&target), all);
        }
    }
}

#[test]
fn a_file_that_is_too_large_stops_no_other() {
    let from = folder();
    let Some(to) = Mounted::new("tmpfs", 16) else { return };
    for n in 0..20 {
        fs::write(from.path().join(format!("large{n}")), noise(18 << 20, n)).unwrap();
        fs::write(from.path().join(format!("small{n}")), noise(10_000, n)).unwrap();
    }
    let target = to.path.join("t");
    let said = stderr(&run(aiocp().arg("-T").arg(from.path()).arg(&target), 1));
    assert!(said.contains("hint: this file needs 18.9 MB, "), "{said}");
    assert!(said.contains("cannot copy 19 others either: No space left on device\n"), "{said}");
    let last = "20 failures, named or counted above; 20 files were copied; what did not fit needs \
                377 MB\n";
    assert!(said.ends_with(last), "{said}");
    assert_eq!(files_below(&target).len(), 20);
}

#[test]
fn the_space_that_several_names_share_is_not_added_up() {
    let from = folder();
    let Some(to) = Mounted::new("tmpfs", 16) else { return };
    fs::write(from.path().join("a"), noise(18 << 20, 1)).unwrap();
    for name in ["b", "c"] {
        fs::hard_link(from.path().join("a"), from.path().join(name)).unwrap();
    }
    let mut command = aiocp();
    command.args(["-a", "-T"]).arg(from.path()).arg(to.path.join("t"));
    let said = stderr(&run(&mut command, 1));
    assert!(said.contains("hint: this file needs 18.9 MB, "), "{said}");
    assert!(said.ends_with("3 failures, named or counted above; 0 files were copied\n"), "{said}");
}

/// What is replaced gives its space back when the new file has its name.
#[test]
fn a_directory_that_gave_space_back_is_tried_again() {
    const DIRS: u64 = 8;
    const FILES_EACH: u64 = 40;
    let from = folder();
    let Some(to) = Mounted::new("tmpfs", 4) else { return };
    for n in 0..DIRS * FILES_EACH {
        for (root, seed) in [(from.path(), n), (&to.path, n + 1_000)] {
            let dir = root.join(format!("d{}", n / FILES_EACH));
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(format!("f{n}")), noise(8192, seed)).unwrap();
        }
    }
    // Room for a dozen.
    let free = rustix::fs::statvfs(&to.path).unwrap();
    let free_bytes = free.f_bavail * free.f_frsize;
    fs::write(to.path.join("ballast"), vec![1; free_bytes as usize - 100_000]).unwrap();
    run(aiocp().args(["--threads=1", "-T"]).arg(from.path()).arg(&to.path), 1);
    for dir in 0..DIRS {
        let files = fs::read_dir(from.path().join(format!("d{dir}"))).unwrap();
        let is_copied = |file: std::io::Result<fs::DirEntry>| {
            let path = file.unwrap().path();
            let copy = to.path.join(path.strip_prefix(from.path()).unwrap());
            fs::read(copy).unwrap() == fs::read(path).unwrap()
        };
        assert!(files.map(is_copied).filter(|is| *is).count() > 5, "d{dir}");
    }
}
