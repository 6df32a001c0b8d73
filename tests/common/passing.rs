//! A filesystem that shows a folder as it is, as bindfs and sshfs do: whatever lies behind it is
//! one filesystem, with one device number. Inode numbers are those of the files behind it, so that
//! two filesystems mounted there have equal ones; or others at each mount.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    AccessFlags, BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType,
    Filesystem, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};
use tempfile::TempDir;

/// The kernel asks for attributes each time, so that it shows the numbers that it is told.
const NEVER: Duration = Duration::ZERO;
const LONG: Duration = Duration::from_secs(3600);

/// What the kernel calls the files: one node for each name, as most such filesystems have it.
#[derive(Default)]
struct Nodes {
    paths: Vec<PathBuf>,
    by_path: HashMap<PathBuf, u64>,
    open: HashMap<u64, File>,
    next_open: u64,
}

impl Nodes {
    fn node(&mut self, path: PathBuf) -> u64 {
        let next = self.paths.len() as u64 + 1;
        let node = *self.by_path.entry(path.clone()).or_insert(next);
        if node == next {
            self.paths.push(path);
        }
        node
    }

    fn moved(&mut self, from: &Path, to: &Path) {
        self.by_path.remove(to);
        for (at, path) in self.paths.iter_mut().enumerate() {
            if let Ok(below) = path.strip_prefix(from) {
                let moved = if below == Path::new("") { to.to_owned() } else { to.join(below) };
                if self.by_path.remove(path) == Some(at as u64 + 1) {
                    self.by_path.insert(moved.clone(), at as u64 + 1);
                }
                *path = moved;
            }
        }
    }

    fn opened(&mut self, file: File) -> FileHandle {
        self.next_open += 1;
        self.open.insert(self.next_open, file);
        FileHandle(self.next_open)
    }
}

struct Passing {
    nodes: Mutex<Nodes>,
    /// What is added to all numbers.
    shift: u64,
    refusal: Option<Refusal>,
}

/// An operation that such a filesystem refuses, and how. What setattr sets has names of its own:
/// `chmod`, `chown`, `truncate` and `utimens`.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    pub operation: &'static str,
    pub errno: i32,
    /// The only name that it is refused of, if there is one.
    pub only: Option<&'static str>,
}

type Answer<T> = Result<T, Errno>;

fn time(seconds: i64, nanos: i64) -> SystemTime {
    UNIX_EPOCH + Duration::new(seconds as u64, nanos as u32)
}

fn kind_of(kind: fs::FileType) -> FileType {
    match () {
        () if kind.is_dir() => FileType::Directory,
        () if kind.is_symlink() => FileType::Symlink,
        () if kind.is_fifo() => FileType::NamedPipe,
        () if kind.is_socket() => FileType::Socket,
        () => FileType::RegularFile,
    }
}

impl Passing {
    /// How an operation is refused, if it is.
    fn refuses(&self, operation: &str) -> Option<Errno> {
        self.refuses_of(operation, Path::new(""))
    }

    /// How an operation on this file is refused, if it is.
    fn refuses_of(&self, operation: &str, path: &Path) -> Option<Errno> {
        let is_of = |only: &str| path.file_name() == Some(OsStr::new(only));
        let refusal = self.refusal.filter(|refusal| refusal.operation == operation)?;
        refusal.only.is_none_or(is_of).then(|| Errno::from_i32(refusal.errno))
    }

    /// How an operation is refused that the filesystem does not have.
    fn lacks(&self, operation: &str) -> Errno {
        self.refuses(operation).unwrap_or(Errno::ENOSYS)
    }

    fn path(&self, node: INodeNo) -> PathBuf {
        self.nodes.lock().unwrap().paths[node.0 as usize - 1].clone()
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> PathBuf {
        self.path(parent).join(name)
    }

    fn attr(&self, ino: u64, stat: &Metadata) -> FileAttr {
        FileAttr {
            ino: INodeNo(ino),
            size: stat.size(),
            blocks: stat.blocks(),
            atime: time(stat.atime(), stat.atime_nsec()),
            mtime: time(stat.mtime(), stat.mtime_nsec()),
            ctime: time(stat.ctime(), stat.ctime_nsec()),
            crtime: UNIX_EPOCH,
            kind: kind_of(stat.file_type()),
            perm: stat.mode() as u16 & 0o7777,
            nlink: stat.nlink() as u32,
            uid: stat.uid(),
            gid: stat.gid(),
            rdev: stat.rdev() as u32,
            blksize: 4096,
            flags: 0,
        }
    }

    /// An entry, whose attributes have the node's number until they are asked for.
    fn entry(&self, path: PathBuf) -> Answer<FileAttr> {
        let stat = path.symlink_metadata()?;
        let node = self.nodes.lock().unwrap().node(path);
        Ok(self.attr(node, &stat))
    }

    fn now(&self, node: INodeNo) -> Answer<FileAttr> {
        let stat = self.path(node).symlink_metadata()?;
        Ok(self.attr(stat.ino() + self.shift, &stat))
    }

    fn with_file<T>(
        &self,
        handle: FileHandle,
        act: impl FnOnce(&File) -> io::Result<T>,
    ) -> Answer<T> {
        let file = self.nodes.lock().unwrap().open[&handle.0].try_clone()?;
        Ok(act(&file)?)
    }
}

fn entry_or_error(answer: Answer<FileAttr>, reply: ReplyEntry) {
    match answer {
        Ok(attr) => reply.entry_with_ttls(&NEVER, &LONG, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn empty_or_error(answer: io::Result<()>, reply: ReplyEmpty) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error.into()),
    }
}

fn timespec(time: Option<TimeOrNow>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(TimeOrNow::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(UNIX_EPOCH).unwrap();
            Timespec { tv_sec: since.as_secs() as i64, tv_nsec: since.subsec_nanos().into() }
        }
    }
}

impl Filesystem for Passing {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let path = self.child(parent, name);
        if let Some(errno) = self.refuses_of("lookup", &path) {
            return reply.error(errno);
        }
        entry_or_error(self.entry(path), reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        if let Some(errno) = self.refuses_of("getattr", &self.path(ino)) {
            return reply.error(errno);
        }
        match self.now(ino) {
            Ok(attr) => reply.attr(&NEVER, &attr),
            Err(error) => reply.error(error),
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
        let parts = [
            ("chmod", mode.is_some()),
            ("chown", uid.is_some() || gid.is_some()),
            ("truncate", size.is_some()),
            ("utimens", atime.is_some() || mtime.is_some()),
        ];
        let refused = parts.iter().find_map(|&(part, is)| self.refuses(part).filter(|_| is));
        if let Some(errno) = refused {
            return reply.error(errno);
        }
        let set = || -> Answer<FileAttr> {
            let path = self.path(ino);
            if uid.is_some() || gid.is_some() {
                std::os::unix::fs::lchown(&path, uid, gid)?;
            }
            if let Some(mode) = mode {
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))?;
            }
            if let Some(size) = size {
                OpenOptions::new().write(true).open(&path)?.set_len(size)?;
            }
            let times =
                Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) };
            rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(io::Error::from)?;
            self.now(ino)
        };
        match set() {
            Ok(attr) => reply.attr(&NEVER, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        if let Some(errno) = self.refuses("readlink") {
            return reply.error(errno);
        }
        match fs::read_link(self.path(ino)) {
            Ok(target) => reply.data(target.as_os_str().as_bytes()),
            Err(error) => reply.error(error.into()),
        }
    }

    fn mkdir(&self, _: &Request, at: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        if let Some(errno) = self.refuses("mkdir") {
            return reply.error(errno);
        }
        let path = self.child(at, name);
        let made = fs::create_dir(&path).map_err(Errno::from);
        entry_or_error(made.and_then(|()| self.entry(path)), reply);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        if let Some(errno) = self.refuses("unlink") {
            return reply.error(errno);
        }
        let path = self.child(parent, name);
        let removed = fs::remove_file(&path);
        self.nodes.lock().unwrap().by_path.remove(&path);
        empty_or_error(removed, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        if let Some(errno) = self.refuses("rmdir") {
            return reply.error(errno);
        }
        let path = self.child(parent, name);
        let removed = fs::remove_dir(&path);
        self.nodes.lock().unwrap().by_path.remove(&path);
        empty_or_error(removed, reply);
    }

    fn symlink(&self, _: &Request, at: INodeNo, name: &OsStr, to: &Path, reply: ReplyEntry) {
        if let Some(errno) = self.refuses("symlink") {
            return reply.error(errno);
        }
        let path = self.child(at, name);
        let made = symlink(to, &path).map_err(Errno::from);
        entry_or_error(made.and_then(|()| self.entry(path)), reply);
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
        if let Some(errno) = self.refuses("rename") {
            return reply.error(errno);
        }
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let (from, to) = (self.child(parent, name), self.child(new_parent, new_name));
        let moved = fs::rename(&from, &to);
        if moved.is_ok() {
            self.nodes.lock().unwrap().moved(&from, &to);
        }
        empty_or_error(moved, reply);
    }

    fn link(&self, _: &Request, ino: INodeNo, at: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if let Some(errno) = self.refuses("link") {
            return reply.error(errno);
        }
        let path = self.child(at, name);
        let made = fs::hard_link(self.path(ino), &path).map_err(Errno::from);
        entry_or_error(made.and_then(|()| self.entry(path)), reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if let Some(errno) = self.refuses_of("open", &self.path(ino)) {
            return reply.error(errno);
        }
        let write = flags.0 & libc::O_ACCMODE != libc::O_RDONLY;
        match OpenOptions::new().read(true).write(write).open(self.path(ino)) {
            Ok(file) => {
                let handle = self.nodes.lock().unwrap().opened(file);
                reply.opened(handle, FopenFlags::empty());
            }
            Err(error) => reply.error(error.into()),
        }
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
        if let Some(errno) = self.refuses("create") {
            return reply.error(errno);
        }
        let path = self.child(parent, name);
        let create = || -> Answer<(FileAttr, File)> {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).mode(mode);
            let file = options.open(&path)?;
            Ok((self.entry(path)?, file))
        };
        match create() {
            Ok((attr, file)) => {
                let handle = self.nodes.lock().unwrap().opened(file);
                reply.created(&NEVER, &attr, Generation(0), handle, FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        if let Some(errno) = self.refuses_of("read", &self.path(ino)) {
            return reply.error(errno);
        }
        let mut bytes = vec![0; size as usize];
        match self.with_file(handle, |file| file.read_at(&mut bytes, offset)) {
            Ok(count) => reply.data(&bytes[..count]),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        if let Some(errno) = self.refuses("write") {
            return reply.error(errno);
        }
        match self.with_file(handle, |file| file.write_all_at(data, offset)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        if let Some(errno) = self.refuses("flush") {
            return reply.error(errno);
        }
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        if let Some(errno) = self.refuses("release") {
            return reply.error(errno);
        }
        self.nodes.lock().unwrap().open.remove(&handle.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if let Some(errno) = self.refuses("fsync") {
            return reply.error(errno);
        }
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        if let Some(errno) = self.refuses("fsyncdir") {
            return reply.error(errno);
        }
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        if let Some(errno) = self.refuses_of("readdir", &self.path(ino)) {
            return reply.error(errno);
        }
        let Ok(listing) = fs::read_dir(self.path(ino)) else { return reply.error(Errno::EIO) };
        let mut names: Vec<_> = listing.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for (at, name) in (1..).zip(&names).skip(offset as usize) {
            let Ok(stat) = self.child(ino, name).symlink_metadata() else { continue };
            let number = INodeNo(stat.ino() + self.shift);
            if reply.add(number, at, kind_of(stat.file_type()), name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.refuses("statfs") {
            Some(errno) => reply.error(errno),
            None => reply.statfs(0, 0, 0, 0, 0, 512, 255, 0),
        }
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(self.lacks("getxattr"));
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(self.lacks("listxattr"));
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(self.lacks("removexattr"));
    }

    fn access(&self, _: &Request, _: INodeNo, _: AccessFlags, reply: ReplyEmpty) {
        reply.error(self.lacks("access"));
    }

    fn fallocate(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(self.lacks("fallocate"));
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(self.lacks("lseek"));
    }
}

/// A folder behind such a filesystem, mounted until this is dropped.
pub struct Passed {
    pub path: PathBuf,
    session: Option<BackgroundSession>,
    _folder: TempDir,
}

impl Passed {
    /// Shows `root` with its files' numbers, each so much greater. `None` without FUSE, which in
    /// CI may not be left out.
    pub fn new(root: &Path, shift: u64) -> Option<Self> {
        Self::refusing(root, shift, None)
    }

    /// One that refuses an operation.
    pub fn refusing(root: &Path, shift: u64, refusal: Option<Refusal>) -> Option<Self> {
        if !super::have_fuse() {
            return None;
        }
        let folder = super::folder();
        let path = folder.path().join("mount");
        fs::create_dir(&path).unwrap();
        let mut passed = Self { path, session: None, _folder: folder };
        passed.mount(root, shift, refusal);
        Some(passed)
    }

    /// Takes it away, and shows the folder once more with other numbers.
    pub fn mount_again(&mut self, root: &Path, shift: u64) {
        self.end();
        self.mount(root, shift, None);
    }

    fn mount(&mut self, root: &Path, shift: u64, refusal: Option<Refusal>) {
        let mut nodes = Nodes::default();
        nodes.node(root.to_owned());
        let passing = Passing { nodes: Mutex::new(nodes), shift, refusal };
        self.session = Some(fuser::spawn_mount(passing, &self.path, &Config::default()).unwrap());
    }

    fn end(&mut self) {
        if let Some(session) = self.session.take() {
            super::end_fuse(session, &self.path);
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        self.end();
    }
}
