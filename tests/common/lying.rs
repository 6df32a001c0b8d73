//! A disk that lies: an image file on a FUSE filesystem of the test's own, with a real filesystem
//! mounted on it through a loop device. Data with a mark reaches the medium with one bit of the
//! mark flipped, and without an error. The page cache above holds the right byte. Such a disk can
//! also log what is written to it, and when it is flushed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyWrite, Request, WriteFlags,
};
use tempfile::TempDir;

/// The pattern to look for in all writes. It has to lie within one page of a file.
pub const MARK: &[u8; 16] = b"aiocp\x01turn\x02me\x03ov";
const TTL: Duration = Duration::from_secs(3600);
const IMAGE_INO: INodeNo = INodeNo(2);

/// The lies that the disk has told, and how many it will tell.
#[derive(Default)]
pub struct Lies {
    /// The number of marks flipped so far.
    pub told: AtomicUsize,
    /// The number of marks still to flip.
    pub left: AtomicUsize,
    /// Whether a rewritten page reaches the medium unchanged.
    pub once: AtomicBool,
    seen: Mutex<HashSet<[u8; 32]>>,
}

impl Lies {
    fn is_told_of(&self, page: &[u8]) -> bool {
        let is_new = self.seen.lock().unwrap().insert(*blake3::hash(page).as_bytes());
        let take = |left: usize| left.checked_sub(1);
        (is_new || !self.once.load(Ordering::SeqCst))
            && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }
}

/// What a disk was asked to do.
pub enum Done {
    /// These bytes were written at this offset.
    Write(u64, Vec<u8>),
    /// All that was written before is to outlive a power cut.
    Flush,
}

/// All that a disk was asked to do, in order.
pub type Log = Arc<Mutex<Vec<Done>>>;

/// A disk of the test's own, behind the file `image` of a FUSE filesystem.
pub struct Disk {
    image: File,
    size_bytes: u64,
    lies: Arc<Lies>,
    log: Option<Log>,
}

impl Disk {
    /// One of zeros upon `medium`, that appears in the folder `at`.
    pub fn spawn(
        medium: &Path,
        mib: u64,
        lies: &Arc<Lies>,
        log: Option<&Log>,
        at: &Path,
    ) -> BackgroundSession {
        let image = File::options().read(true).write(true).create(true).truncate(true).open(medium);
        let (image, size_bytes) = (image.unwrap(), mib << 20);
        image.set_len(size_bytes).unwrap();
        let disk = Self { image, size_bytes, lies: Arc::clone(lies), log: log.map(Arc::clone) };
        fuser::spawn_mount(disk, at, &Config::default()).unwrap()
    }

    fn record(&self, done: impl FnOnce() -> Done) {
        if let Some(log) = &self.log {
            log.lock().unwrap().push(done());
        }
    }

    fn attr(&self, ino: INodeNo) -> FileAttr {
        let is_image = ino == IMAGE_INO;
        FileAttr {
            ino,
            size: if is_image { self.size_bytes } else { 0 },
            blocks: if is_image { self.size_bytes / 512 } else { 0 },
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_image { FileType::RegularFile } else { FileType::Directory },
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// The bytes that reach the medium.
    fn lie(&self, data: &[u8]) -> Vec<u8> {
        let mut data = data.to_vec();
        let starts: Vec<usize> = memchr::memmem::find_iter(&data, MARK).collect();
        for start in starts {
            let page = start / 4096 * 4096;
            if self.lies.is_told_of(&data[page..data.len().min(page + 4096)]) {
                let told = self.lies.told.fetch_add(1, Ordering::SeqCst);
                // The flipped bit moves through the whole mark.
                let bit = told % (MARK.len() * 8);
                data[start + bit / 8] ^= 1 << (bit % 8);
            }
        }
        data
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match name == "image" {
            true => reply.entry(&TTL, &self.attr(IMAGE_INO), Generation(0)),
            false => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attr(ino));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // Bypasses the page cache, as a medium does.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut data = vec![0; (size as u64).min(self.size_bytes.saturating_sub(offset)) as usize];
        match self.image.read_exact_at(&mut data, offset) {
            Ok(()) => reply.data(&data),
            Err(error) => reply.error(error.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.image.write_all_at(&self.lie(data), offset) {
            Ok(()) => {
                self.record(|| Done::Write(offset, data.to_vec()));
                reply.written(data.len() as u32);
            }
            Err(error) => reply.error(error.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.record(|| Done::Flush);
        reply.ok();
    }
}

/// A filesystem on a lying disk, mounted until it is dropped.
pub struct LyingDisk {
    pub path: PathBuf,
    pub lies: Arc<Lies>,
    session: Option<BackgroundSession>,
    folder: TempDir,
}

impl LyingDisk {
    /// Makes and mounts a disk of `mib` MiB that is honest until [`Lies::left`] is set. `None`
    /// without FUSE, which is an error in CI.
    pub fn new(kind: &str, mib: u64) -> Option<Self> {
        if !super::can_mount_fuse() || !super::can_mount(kind) {
            return None;
        }
        let folder = super::folder();
        let (disk, path) = (folder.path().join("disk"), folder.path().join("mount"));
        for path in [&disk, &path] {
            std::fs::create_dir(path).unwrap();
        }
        let lies = Arc::new(Lies::default());
        let session = Disk::spawn(&folder.path().join("medium"), mib, &lies, None, &disk);
        let mounted = Self { path, lies, session: Some(session), folder };
        let quiet: &[&str] =
            if kind == "ext4" { &["-q", "-F", "-E", "nodiscard"] } else { &["-q", "-f", "-K"] };
        super::must(super::program(&format!("mkfs.{kind}")).args(quiet).arg(disk.join("image")));
        super::must(
            super::program("mount").args(["-o", "loop"]).arg(disk.join("image")).arg(&mounted.path),
        );
        Some(mounted)
    }
}

impl Drop for LyingDisk {
    fn drop(&mut self) {
        super::unmount(&self.path);
        if let Some(session) = self.session.take() {
            // The loop device lets go of the image a moment later.
            super::end_fuse(session, &self.folder.path().join("disk"));
        }
    }
}
