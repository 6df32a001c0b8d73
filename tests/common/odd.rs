//! A FUSE filesystem whose files hold less than their size says, or more, give a few bytes at once,
//! or grow while they are read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry,
    ReplyOpen, Request,
};
use tempfile::TempDir;

/// Nothing is remembered by the kernel.
const TTL: Duration = Duration::ZERO;

/// A file and how it behaves.
#[derive(Clone, Debug)]
pub struct Odd {
    pub contents: Vec<u8>,
    /// What it says that it holds.
    pub size_bytes: u64,
    /// The blocks that it says it takes.
    pub blocks: u64,
    /// How much it gives at once.
    pub piece_bytes: usize,
    /// Whether reads go past the page cache. Where they do not, the kernel takes the end of a short
    /// one for the file's.
    pub is_direct: bool,
    /// What it holds, and says that it does, once it was read.
    pub after: Option<Vec<u8>>,
}

impl Odd {
    /// A file that says the truth, and gives whatever it is asked for.
    pub fn plain(contents: Vec<u8>) -> Self {
        Self {
            size_bytes: contents.len() as u64,
            blocks: (contents.len() as u64).div_ceil(512),
            contents,
            piece_bytes: usize::MAX,
            is_direct: true,
            after: None,
        }
    }

    fn attr(&self, ino: INodeNo) -> FileAttr {
        attr(ino, FileType::RegularFile, self.size_bytes, self.blocks)
    }
}

fn attr(ino: INodeNo, kind: FileType, size: u64, blocks: u64) -> FileAttr {
    FileAttr {
        ino,
        size,
        blocks,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// The files by name; the inode numbers follow from their order.
struct Files(Vec<(String, Mutex<Odd>)>);

impl Files {
    fn get(&self, ino: INodeNo) -> Option<&Mutex<Odd>> {
        self.0.get((ino.0 as usize).checked_sub(2)?).map(|(_, odd)| odd)
    }
}

impl Filesystem for Files {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.0.iter().position(|(known, _)| OsStr::new(known) == name) {
            Some(n) => {
                let attr = self.0[n].1.lock().unwrap().attr(INodeNo(n as u64 + 2));
                reply.entry(&TTL, &attr, Generation(0));
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let attr = match self.get(ino) {
            Some(odd) => odd.lock().unwrap().attr(ino),
            None => attr(ino, FileType::Directory, 0, 0),
        };
        reply.attr(&TTL, &attr);
    }

    fn readdir(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        for (n, (name, _)) in self.0.iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(n as u64 + 2), n as u64 + 1, FileType::RegularFile, name) {
                break;
            }
        }
        reply.ok();
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let is_direct = self.get(ino).is_some_and(|odd| odd.lock().unwrap().is_direct);
        let flags = if is_direct { FopenFlags::FOPEN_DIRECT_IO } else { FopenFlags::empty() };
        reply.opened(FileHandle(0), flags);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut odd = self.get(ino).expect("a file").lock().unwrap();
        let from = odd.contents.len().min(offset as usize);
        let to = odd.contents.len().min(from + (size as usize).min(odd.piece_bytes));
        reply.data(&odd.contents[from..to]);
        if let Some(contents) = odd.after.take() {
            odd.size_bytes = contents.len() as u64;
            odd.contents = contents;
        }
    }
}

/// Such a filesystem, mounted until it is dropped.
pub struct OddFiles {
    pub path: PathBuf,
    session: Option<BackgroundSession>,
    _folder: TempDir,
}

impl OddFiles {
    /// Mounts one. `None` without FUSE, which in CI may not be left out.
    pub fn mount(files: BTreeMap<String, Odd>) -> Option<Self> {
        if !super::can_mount_fuse() {
            return None;
        }
        let folder = super::folder();
        let path = folder.path().join("mount");
        std::fs::create_dir(&path).unwrap();
        let files = files.into_iter().map(|(name, odd)| (name, Mutex::new(odd))).collect();
        let session = fuser::spawn_mount(Files(files), &path, &Config::default()).unwrap();
        Some(Self { path, session: Some(session), _folder: folder })
    }
}

impl Drop for OddFiles {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            super::end_fuse(session, &self.path);
        }
    }
}
