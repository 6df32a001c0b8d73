//! A file with more names than the destination's filesystem lets one have.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use common::{aiocp, can_mount, folder, litter, must, program, run, skip, stderr};

/// A btrfs in which a directory has room for some fifteen long names of one file; unmounted on
/// drop.
struct Narrow(tempfile::TempDir);

impl Narrow {
    fn new() -> Option<Self> {
        if !can_mount("btrfs") {
            return None;
        }
        let folder = folder();
        let image = folder.path().join("image");
        fs::File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let mut make = program("mkfs.btrfs");
        make.args(["-q", "-f", "-n", "4096", "-O", "^extref"]).arg(&image);
        if !make.output().unwrap().status.success() {
            skip("this mkfs.btrfs makes no filesystem without extref");
            return None;
        }
        fs::create_dir(folder.path().join("mount")).unwrap();
        let mut mount = program("mount");
        must(mount.args(["-o", "loop"]).arg(&image).arg(folder.path().join("mount")));
        Some(Self(folder))
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("mount")
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        must(program("umount").arg(self.path()));
    }
}

/// How many names below a folder lead to each inode.
fn names_of_inodes(folder: &Path) -> BTreeMap<u64, usize> {
    let mut names = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder) {
        let entry = entry.unwrap();
        if !entry.file_type().is_dir() {
            *names.entry(entry.metadata().unwrap().ino()).or_default() += 1;
        }
    }
    names
}

/// A file with 60 long names and a FIFO with 41.
fn source(source: &Path) {
    fs::create_dir_all(source.join("other")).unwrap();
    fs::write(source.join(name(0)), "contents").unwrap();
    must(Command::new("mkfifo").arg(source.join("other/fifo")));
    for n in 1..60 {
        fs::hard_link(source.join(name(0)), source.join(name(n))).unwrap();
    }
    for n in 0..40 {
        fs::hard_link(source.join("other/fifo"), source.join("other").join(name(n))).unwrap();
    }
}

fn name(n: usize) -> String {
    format!("{n:03}{}", "n".repeat(240))
}

#[test]
fn what_an_earlier_run_made_of_them_stays() {
    let Some(narrow) = Narrow::new() else { return };
    let (folder, target) = (folder(), narrow.path().join("copy"));
    let from = folder.path().join("source");
    source(&from);
    // What keeps the first run from ending well, and its journal there.
    fs::write(from.join("clash"), "").unwrap();
    fs::create_dir_all(target.join("clash/not empty")).unwrap();
    let mut counts = BTreeMap::new();
    for round in 0..3 {
        let output = run(aiocp().args(["-a", "--resume", "-T"]).arg(&from).arg(&target), 1);
        let text = stderr(&output);
        let failures = text.lines().filter(|line| line.starts_with("aiocp: cannot "));
        assert!(failures.clone().all(|line| line.contains("clash")), "{text}");
        let now = names_of_inodes(&target);
        assert!(round == 0 || now == counts, "{text}");
        counts = now;
    }
}

#[test]
fn what_does_not_fit_on_one_copy_is_linked_to_the_next() {
    let Some(narrow) = Narrow::new() else { return };
    let folder = folder();
    let from = folder.path().join("source");
    source(&from);
    for options in [&["-a"][..], &["-a", "--threads=1"], &["-a", "--resume"]] {
        let target = narrow.path().join("copy");
        for round in 0..2 {
            let output = run(aiocp().args(options).arg("-T").arg(&from).arg(&target), 0);
            let text = stderr(&output);
            assert!(round > 0 || text.contains("allows no more hard links to one file"), "{text}");
        }
        for n in 0..60 {
            let copy = fs::read(target.join(name(n))).unwrap();
            assert_eq!(copy, b"contents", "{n}");
        }
        let counts = names_of_inodes(&target);
        assert!(counts.len() < 24, "{options:?}: {counts:?}");
        assert!(litter(&target).is_empty());
        fs::remove_dir_all(&target).unwrap();
    }
}
