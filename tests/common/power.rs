//! A power cut: what a disk keeps that promises nothing but what was written before it was flushed.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustix::fs::{FallocateFlags, fallocate};
use tempfile::TempDir;

use super::lying::{Disk, Done, Lies, Log};
use super::{can_mount_fuse, must, program, unmount};

/// A filesystem of a kind: how it is made and mounted, and what its repair is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    mkfs: &'static [&'static str],
    mib: u64,
    mount: &'static [&'static str],
    /// What brings it back after a power cut, where a mount is not enough.
    repair: Option<&'static str>,
}

impl Kind {
    const fn of_kernel(mkfs: &'static [&'static str], mib: u64) -> Self {
        Self { mkfs, mib, mount: &["mount", "-o", "loop"], repair: None }
    }

    const fn repaired(self) -> Self {
        Self { repair: Some("e2fsck"), ..self }
    }

    fn is_there(&self) -> bool {
        let is_exfat = self.mkfs[0] == "mkfs.exfat";
        let mounts = if is_exfat { "mount.exfat-fuse" } else { "mount" };
        let programs = [Some(self.mkfs[0]), Some(mounts), self.repair];
        programs.into_iter().flatten().all(super::have)
    }

    fn mount(&self, image: &Path, at: &Path) -> Mount {
        must(program(self.mount[0]).args(&self.mount[1..]).args([image, at]));
        Mount(at.to_owned())
    }

    /// mkfs(8). That of btrfs looks at all loop devices, and fails if one of another test goes
    /// meanwhile.
    fn make(&self, image: &Path) {
        let mkfs = || program(self.mkfs[0]).args(&self.mkfs[1..]).arg(image).output().unwrap();
        let is_made = (0..10).any(|_| mkfs().status.success());
        assert!(is_made, "{self:?}: {:?}", mkfs());
    }
}

pub const EXT2: Kind =
    Kind::of_kernel(&["mkfs.ext2", "-q", "-F", "-E", "nodiscard"], 40).repaired();
pub const EXT4_WITHOUT: Kind =
    Kind::of_kernel(&["mkfs.ext4", "-q", "-F", "-E", "nodiscard", "-O", "^has_journal"], 40)
        .repaired();
pub const EXT4: Kind = Kind::of_kernel(&["mkfs.ext4", "-q", "-F", "-E", "nodiscard"], 40);
pub const XFS: Kind = Kind::of_kernel(&["mkfs.xfs", "-q", "-f", "-K"], 320);
pub const BTRFS: Kind = Kind::of_kernel(&["mkfs.btrfs", "-q", "-f", "-K"], 160);
pub const EXFAT: Kind =
    Kind { mkfs: &["mkfs.exfat"], mib: 40, mount: &["sh", "-c", MOUNT_EXFAT], repair: None };
/// It mounts block devices alone. The loop device goes when it is unmounted.
const MOUNT_EXFAT: &str = r#"device=$(losetup -f --show "$0") && mount.exfat-fuse "$device" "$1"
code=$?; losetup -d "$device"; exit $code"#;

/// A filesystem whose disk remembers all that it was asked to do.
pub struct PowerDisk {
    pub path: PathBuf,
    kind: Kind,
    log: Log,
    folder: TempDir,
}

impl PowerDisk {
    /// Has `before` prepare a new filesystem, and `during` work on it; both get its folder. What
    /// was flushed before `during` began outlives every power cut. `None` without FUSE.
    pub fn run(
        kind: Kind,
        before: impl FnOnce(&Path),
        during: impl FnOnce(&Path),
    ) -> Option<(Self, Vec<Cut>)> {
        if !can_mount_fuse() || !kind.is_there() {
            return None;
        }
        let folder = super::folder();
        let (disk, path) = (folder.path().join("disk"), folder.path().join("mount"));
        for path in [&disk, &path] {
            std::fs::create_dir(path).unwrap();
        }
        let log = Arc::new(Mutex::new(Vec::new()));
        let lies = Arc::new(Lies::default());
        let session =
            Disk::spawn(&folder.path().join("medium"), kind.mib, &lies, Some(&log), &disk);
        let disk_mount = Mount(disk.clone());
        kind.make(&disk.join("image"));
        let mount = kind.mount(&disk.join("image"), &path);
        let len = || log.lock().unwrap().len();
        before(&path);
        must(Command::new("sync").arg("-f").arg(&path));
        let begun = len();
        during(&path);
        let ended = len();
        drop(mount);
        drop(disk_mount);
        session.join().unwrap();
        let is_flush = |at: &usize| matches!(log.lock().unwrap()[*at], Done::Flush);
        let flushes: Vec<usize> = (begun..ended).filter(is_flush).collect();
        let ends = flushes.iter().copied().skip(1).chain([ended]);
        let cuts = flushes.iter().zip(ends).map(|(&flush, end)| Cut { flush, end }).collect();
        Some((Self { path, kind, log, folder }, cuts))
    }

    /// Has `look` see what is there after a power cut: all that was written before the flush, and
    /// of what came after it what `luck` says.
    pub fn after(&self, cut: Cut, mut luck: impl FnMut() -> bool, look: impl FnOnce(&Path)) {
        let image = self.folder.path().join("after");
        let file = File::create(&image).unwrap();
        file.set_len(self.kind.mib << 20).unwrap();
        for (at, done) in self.log.lock().unwrap()[..cut.end].iter().enumerate() {
            if let Done::Write(offset, data) = done
                && (at < cut.flush || luck())
            {
                write(&file, *offset, data);
            }
        }
        if let Some(repair) = self.kind.repair {
            let output = program(repair).arg("-fy").arg(&image).output().unwrap();
            // 1: it found something to correct, and did.
            assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        }
        let mount = self.kind.mount(&image, &self.path);
        look(&self.path);
        drop(mount);
    }
}

/// A moment after a flush, and before the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    flush: usize,
    end: usize,
}

fn write(file: &File, offset: u64, data: &[u8]) {
    match data.iter().all(|&byte| byte == 0) {
        true => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(file, flags, offset, data.len() as u64).unwrap();
        }
        false => file.write_all_at(data, offset).unwrap(),
    }
}

/// Unmounted when it is dropped.
struct Mount(PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}
