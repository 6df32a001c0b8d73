//! Filesystems of the tests' own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::skip::{can_mount, program};

/// A folder on the disk that holds the build; /tmp may be in memory.
pub fn folder() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A filesystem of the test's own, unmounted on drop.
pub struct Mounted {
    mounts: Vec<PathBuf>,
    pub path: PathBuf,
    _folder: TempDir,
}

pub fn must(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

impl Mounted {
    fn empty() -> Self {
        let folder = folder();
        let path = folder.path().join("mount");
        fs::create_dir(&path).unwrap();
        Self { mounts: vec![path.clone()], path, _folder: folder }
    }

    /// Mounts a filesystem in memory with these options. `None` where [`can_mount`] says no.
    pub fn memory(kind: &str, options: &str) -> Option<Self> {
        if !can_mount(kind) {
            return None;
        }
        let mounted = Self::empty();
        must(program("mount").args(["-t", kind, "-o", options, kind]).arg(&mounted.path));
        Some(mounted)
    }

    /// Makes a filesystem of `mib` MiB with these further arguments of its `mkfs`, and mounts it
    /// with those of mount(8). `None` where [`can_mount`] says no.
    pub fn disk(kind: &str, mkfs: &[&str], mount: &[&str], mib: u64) -> Option<Self> {
        if !can_mount(kind) {
            return None;
        }
        let mounted = Self::empty();
        let image = mounted._folder.path().join("image");
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let force = if kind.starts_with("ext") { "-F" } else { "-f" };
        must(program(&format!("mkfs.{kind}")).args(["-q", force]).args(mkfs).arg(&image));
        must(program("mount").args(mount).arg(&image).arg(&mounted.path));
        Some(mounted)
    }

    /// Makes and mounts a filesystem of `mib` MiB: ext4, xfs, btrfs, tmpfs, ramfs (which has no
    /// attributes), or overlay (on ext4). `None` where [`can_mount`] says no.
    pub fn new(kind: &str, mib: u64) -> Option<Self> {
        if matches!(kind, "tmpfs" | "ramfs") {
            return Self::memory(kind, &format!("size={mib}M"));
        }
        let disk = if kind == "overlay" { "ext4" } else { kind };
        let mut mounted = Self::disk(disk, &[], &["-o", "loop"], mib)?;
        if kind == "overlay" {
            let part = |name: &str| {
                let path = mounted.path.join(name);
                fs::create_dir(&path).unwrap();
                path.display().to_string()
            };
            let options = format!(
                "lowerdir={},upperdir={},workdir={}",
                part("lower"),
                part("upper"),
                part("work")
            );
            let merged = PathBuf::from(part("merged"));
            must(program("mount").args(["-t", "overlay", "-o", &options, "overlay"]).arg(&merged));
            mounted.mounts.push(merged.clone());
            mounted.path = merged;
        }
        Some(mounted)
    }
}

impl Mounted {
    /// Does what a power cut does, for ext4 and xfs: loses everything that is not on the device,
    /// and stops all later writes.
    pub fn cut_power(&self) {
        must(program("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.path));
    }

    /// Mounts the filesystem again after a power cut.
    pub fn mount_again(&self) {
        unmount(&self.path);
        must(
            program("mount")
                .args(["-o", "loop"])
                .arg(self._folder.path().join("image"))
                .arg(&self.path),
        );
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for mount in self.mounts.iter().rev() {
            unmount(mount);
        }
    }
}

/// Runs umount(8), which has to succeed unless the test already failed.
pub fn unmount(mount: &Path) {
    let umount = || program("umount").arg(mount).output();
    let gone = |output: &std::io::Result<Output>| {
        output.as_ref().is_ok_and(|output| output.status.success())
    };
    let mut output = umount();
    // A child forked by another test's thread shares open files until it calls exec, which takes a
    // while on a busy machine.
    let begun = Instant::now();
    while !gone(&output) && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(50));
        output = umount();
    }
    assert!(gone(&output) || std::thread::panicking(), "umount {mount:?}: {output:?}");
}
