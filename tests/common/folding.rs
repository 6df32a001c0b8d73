//! A filesystem of another system, in memory through FUSE: it may take names for one that differ in
//! case or in the composition of their letters, and it stores times in steps of its own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};
use tempfile::TempDir;

/// Nothing is remembered by the kernel: each look asks.
const TTL: Duration = Duration::ZERO;

/// How it takes names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    Exact,
    /// As they are, but those are one that differ in case or in the composition of é.
    Folded,
    /// The same, and é is stored as a letter and an accent, as on a Mac.
    Decomposed,
}

/// How it stores times.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub step: Duration,
    /// Whether the change time is only the modification time once more.
    pub repeats: bool,
}

const NANOSECONDS: Times = Times { step: Duration::from_nanos(1), repeats: false };

struct Node {
    attr: FileAttr,
    data: Vec<u8>,
    /// Names by what they are folded to: as they are spelled, and their inodes.
    entries: BTreeMap<Vec<u8>, (OsString, u64)>,
}

struct Memory {
    names: Names,
    times: Times,
    /// A longer write is answered with a short count.
    write_bytes_max: usize,
    nodes: Mutex<BTreeMap<u64, Node>>,
}

impl Memory {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<u64, Node>> {
        self.nodes.lock().unwrap()
    }

    fn key(&self, name: &OsStr) -> Vec<u8> {
        match self.names {
            Names::Exact => name.as_bytes().to_vec(),
            _ => decomposed(name).to_lowercase().into_bytes(),
        }
    }

    fn cut(&self, time: SystemTime) -> SystemTime {
        let nanos = time.duration_since(UNIX_EPOCH).unwrap().as_nanos();
        UNIX_EPOCH + Duration::from_nanos((nanos - nanos % self.times.step.as_nanos()) as u64)
    }

    fn now(&self) -> SystemTime {
        self.cut(SystemTime::now())
    }

    fn touch(&self, attr: &mut FileAttr) {
        (attr.mtime, attr.ctime) = (self.now(), self.now());
    }

    fn add(
        &self,
        parent: INodeNo,
        name: &OsStr,
        kind: FileType,
        mode: u32,
    ) -> Result<FileAttr, Errno> {
        let (mut nodes, key, now) = (self.nodes(), self.key(name), self.now());
        let ino = nodes.last_key_value().unwrap().0 + 1;
        let dir = nodes.get_mut(&parent.0).ok_or(Errno::ENOENT)?;
        if dir.entries.contains_key(&key) {
            return Err(Errno::EEXIST);
        }
        let spelled = match self.names {
            Names::Decomposed => decomposed(name).into(),
            _ => name.to_owned(),
        };
        dir.entries.insert(key, (spelled, ino));
        self.touch(&mut dir.attr);
        let attr = attr(ino, kind, mode, now);
        nodes.insert(ino, Node { attr, data: Vec::new(), entries: BTreeMap::new() });
        Ok(attr)
    }

    fn find(&self, parent: INodeNo, name: &OsStr) -> Result<FileAttr, Errno> {
        let (nodes, key) = (self.nodes(), self.key(name));
        let dir = nodes.get(&parent.0).ok_or(Errno::ENOENT)?;
        let (_, ino) = dir.entries.get(&key).ok_or(Errno::ENOENT)?;
        Ok(nodes[ino].attr)
    }

    /// Takes a name away, and the inode with it unless that has another.
    fn take(&self, parent: INodeNo, name: &OsStr) -> Result<(), Errno> {
        let (mut nodes, key) = (self.nodes(), self.key(name));
        let dir = nodes.get_mut(&parent.0).ok_or(Errno::ENOENT)?;
        let (_, ino) = dir.entries.remove(&key).ok_or(Errno::ENOENT)?;
        self.touch(&mut dir.attr);
        // It stays in memory for who has it open.
        nodes.get_mut(&ino).unwrap().attr.nlink -= 1;
        Ok(())
    }

    fn rename(&self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr)) -> Result<(), Errno> {
        let ino = self.find(from.0, from.1)?.ino.0;
        if self.find(to.0, to.1).is_ok_and(|stands| stands.ino.0 != ino) {
            self.take(to.0, to.1)?;
        }
        let (mut nodes, keys) = (self.nodes(), (self.key(from.1), self.key(to.1)));
        nodes.get_mut(&from.0.0).unwrap().entries.remove(&keys.0);
        let spelled = match self.names {
            Names::Decomposed => decomposed(to.1).into(),
            _ => to.1.to_owned(),
        };
        nodes.get_mut(&to.0.0).unwrap().entries.insert(keys.1, (spelled, ino));
        nodes.get_mut(&ino).unwrap().attr.ctime = self.now();
        Ok(())
    }
}

/// With each é as a letter and an accent.
fn decomposed(name: &OsStr) -> String {
    name.to_str().unwrap().replace('\u{e9}', "e\u{301}").replace('\u{c9}', "E\u{301}")
}

fn attr(ino: u64, kind: FileType, mode: u32, now: SystemTime) -> FileAttr {
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind,
        perm: (mode & 0o7777) as u16,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn answer(reply: ReplyEntry, found: Result<FileAttr, Errno>) {
    match found {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(errno) => reply.error(errno),
    }
}

fn done(reply: ReplyEmpty, result: Result<(), Errno>) {
    match result {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

impl Filesystem for Memory {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer(reply, self.find(parent, name));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.nodes().get(&ino.0) {
            Some(node) => reply.attr(&TTL, &node.attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut nodes = self.nodes();
        let Some(node) = nodes.get_mut(&ino.0) else { return reply.error(Errno::ENOENT) };
        let time = |time| match time {
            TimeOrNow::SpecificTime(time) => self.cut(time),
            TimeOrNow::Now => self.now(),
        };
        let attr = &mut node.attr;
        attr.ctime = self.now();
        if let Some(size) = size {
            node.data.resize(size as usize, 0);
            (attr.size, attr.mtime) = (size, self.now());
        }
        attr.perm = mode.map_or(attr.perm, |mode| (mode & 0o7777) as u16);
        (attr.uid, attr.gid) = (uid.unwrap_or(attr.uid), gid.unwrap_or(attr.gid));
        attr.atime = atime.map_or(attr.atime, time);
        attr.mtime = mtime.map_or(attr.mtime, time);
        if self.times.repeats {
            attr.ctime = attr.mtime;
        }
        reply.attr(&TTL, attr);
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        reply.data(&self.nodes()[&ino.0].data);
    }

    fn mknod(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        let is_fifo = mode & libc::S_IFMT == libc::S_IFIFO;
        let kind = if is_fifo { FileType::NamedPipe } else { FileType::RegularFile };
        answer(reply, self.add(parent, name, kind, mode));
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        answer(reply, self.add(parent, name, FileType::Directory, mode));
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.take(parent, name));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.take(parent, name));
    }

    fn symlink(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let target = target.as_os_str().as_bytes();
        let added = self.add(parent, name, FileType::Symlink, 0o777).map(|mut attr| {
            attr.size = target.len() as u64;
            let mut nodes = self.nodes();
            let node = nodes.get_mut(&attr.ino.0).unwrap();
            (node.data, node.attr) = (target.to_vec(), attr);
            attr
        });
        answer(reply, added);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        done(reply, self.rename((parent, name), (new_parent, new_name)));
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        let (mut nodes, key) = (self.nodes(), self.key(new_name));
        let dir = nodes.get_mut(&new_parent.0).unwrap();
        if dir.entries.contains_key(&key) {
            return reply.error(Errno::EEXIST);
        }
        dir.entries.insert(key, (new_name.to_owned(), ino.0));
        let attr = &mut nodes.get_mut(&ino.0).unwrap().attr;
        (attr.nlink, attr.ctime) = (attr.nlink + 1, self.now());
        reply.entry(&TTL, attr, Generation(0));
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.add(parent, name, FileType::RegularFile, mode) {
            Ok(attr) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&TTL, &attr, Generation(0), FileHandle(0), flags);
            }
            Err(errno) => reply.error(errno),
        }
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
        let nodes = self.nodes();
        let data = &nodes[&ino.0].data;
        let start = data.len().min(offset as usize);
        reply.data(&data[start..data.len().min(start + size as usize)]);
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let data = &data[..data.len().min(self.write_bytes_max)];
        let mut nodes = self.nodes();
        let Node { attr, data: stored, .. } = nodes.get_mut(&ino.0).unwrap();
        let end = offset as usize + data.len();
        stored.resize(stored.len().max(end), 0);
        stored[offset as usize..end].copy_from_slice(data);
        attr.size = stored.len() as u64;
        self.touch(attr);
        reply.written(data.len() as u32);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let nodes = self.nodes();
        for (place, (name, ino)) in nodes[&ino.0].entries.values().enumerate().skip(offset as usize)
        {
            if reply.add(INodeNo(*ino), place as u64 + 1, nodes[ino].attr.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        reply.ok();
    }
}

/// Such a filesystem, mounted until it is dropped.
pub struct Foreign {
    pub path: PathBuf,
    session: Option<BackgroundSession>,
    _folder: TempDir,
}

impl Foreign {
    /// Mounts an empty one. `None` without FUSE, which is an error in CI.
    pub fn new(names: Names, times: Times) -> Option<Self> {
        Self::mount(names, times, usize::MAX)
    }

    /// One whose writes are short, and that is like ours in everything else.
    pub fn with_short_writes(write_bytes_max: usize) -> Option<Self> {
        Self::mount(Names::Exact, NANOSECONDS, write_bytes_max)
    }

    fn mount(names: Names, times: Times, write_bytes_max: usize) -> Option<Self> {
        if !super::can_mount_fuse() {
            return None;
        }
        let folder = super::folder();
        let path = folder.path().join("mount");
        std::fs::create_dir(&path).unwrap();
        let memory = Memory { names, times, write_bytes_max, nodes: Mutex::default() };
        let root = attr(1, FileType::Directory, 0o755, memory.now());
        let root = Node { attr: root, data: Vec::new(), entries: BTreeMap::new() };
        memory.nodes().insert(1, root);
        let session = fuser::spawn_mount(memory, &path, &Config::default()).unwrap();
        Some(Self { path, session: Some(session), _folder: folder })
    }

    /// One that folds names, and stores nanoseconds.
    pub fn folding(names: Names) -> Option<Self> {
        Self::new(names, NANOSECONDS)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            super::end_fuse(session, &self.path);
        }
    }
}
