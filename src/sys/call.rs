//! The calls of [`rustix::fs`], made again when a signal handler interrupts them.
//!
//! A handler without `SA_RESTART`, a debugger and some filesystems (FUSE, NFS) end a call with
//! EINTR. Nothing was done then, see signal(7). What is not defined here is never interrupted, or
//! is no call; it is passed on as it is.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::ffi::CString;
use rustix::fs as raw;
use rustix::io::{Result, retry_on_intr};
use rustix::path::Arg;

pub use rustix::fs::*;

/// A call of this room's own, made again when a signal handler interrupts it.
pub(super) fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// A path without links, dots and double slashes: realpath(3), which asks faccessat2(2) about a
/// name that ends in a slash.
pub fn realpath(path: &Path) -> io::Result<PathBuf> {
    retried(|| path.canonicalize())
}

/// Defines each call as the one of the same name that is made again.
macro_rules! again {
    ($($name:ident($($parameter:ident: $type:ty),*) -> $answer:ty = ($($argument:expr),*);)*) => {
        $(
            #[doc = concat!("`", stringify!($name), "` of [`rustix::fs`].")]
            #[inline]
            pub fn $name($($parameter: $type),*) -> Result<$answer> {
                retry_on_intr(|| raw::$name($($argument),*))
            }
        )*
    };
}

again! {
    openat(
        dir: impl AsFd,
        path: impl Arg + Copy,
        flags: OFlags,
        mode: Mode
    ) -> OwnedFd = (dir.as_fd(), path, flags, mode);
    openat2(
        dir: impl AsFd,
        path: impl Arg + Copy,
        flags: OFlags,
        mode: Mode,
        resolve: ResolveFlags
    ) -> OwnedFd = (dir.as_fd(), path, flags, mode, resolve);
    open(path: impl Arg + Copy, flags: OFlags, mode: Mode) -> OwnedFd = (path, flags, mode);
    statat(
        dir: impl AsFd,
        path: impl Arg + Copy,
        flags: AtFlags
    ) -> Stat = (dir.as_fd(), path, flags);
    statx(
        dir: impl AsFd,
        path: impl Arg + Copy,
        flags: AtFlags,
        mask: StatxFlags
    ) -> Statx = (dir.as_fd(), path, flags, mask);
    fstat(file: impl AsFd) -> Stat = (file.as_fd());
    fstatfs(file: impl AsFd) -> StatFs = (file.as_fd());
    fstatvfs(file: impl AsFd) -> StatVfs = (file.as_fd());
    accessat(
        dir: impl AsFd,
        path: impl Arg + Copy,
        access: Access,
        flags: AtFlags
    ) -> () = (dir.as_fd(), path, access, flags);
    mkdirat(dir: impl AsFd, path: impl Arg + Copy, mode: Mode) -> () = (dir.as_fd(), path, mode);
    mknodat(
        dir: impl AsFd,
        path: impl Arg + Copy,
        kind: FileType,
        mode: Mode,
        device: Dev
    ) -> () = (dir.as_fd(), path, kind, mode, device);
    symlinkat(
        to: impl Arg + Copy,
        dir: impl AsFd,
        path: impl Arg + Copy
    ) -> () = (to, dir.as_fd(), path);
    unlinkat(
        dir: impl AsFd,
        path: impl Arg + Copy,
        flags: AtFlags
    ) -> () = (dir.as_fd(), path, flags);
    linkat(
        dir: impl AsFd,
        path: impl Arg + Copy,
        to_dir: impl AsFd,
        to: impl Arg + Copy,
        flags: AtFlags
    ) -> () = (dir.as_fd(), path, to_dir.as_fd(), to, flags);
    renameat(
        dir: impl AsFd,
        path: impl Arg + Copy,
        to_dir: impl AsFd,
        to: impl Arg + Copy
    ) -> () = (dir.as_fd(), path, to_dir.as_fd(), to);
    renameat_with(
        dir: impl AsFd,
        path: impl Arg + Copy,
        to_dir: impl AsFd,
        to: impl Arg + Copy,
        flags: RenameFlags
    ) -> () = (dir.as_fd(), path, to_dir.as_fd(), to, flags);
    readlinkat(dir: impl AsFd, path: impl Arg + Copy) -> CString = (dir.as_fd(), path, Vec::new());
    fchmod(file: impl AsFd, mode: Mode) -> () = (file.as_fd(), mode);
    chmodat(
        dir: impl AsFd,
        path: impl Arg + Copy,
        mode: Mode,
        flags: AtFlags
    ) -> () = (dir.as_fd(), path, mode, flags);
    fchown(
        file: impl AsFd,
        user: Option<Uid>,
        group: Option<Gid>
    ) -> () = (file.as_fd(), user, group);
    chownat(
        dir: impl AsFd,
        path: impl Arg + Copy,
        user: Option<Uid>,
        group: Option<Gid>,
        flags: AtFlags
    ) -> () = (dir.as_fd(), path, user, group, flags);
    futimens(file: impl AsFd, times: &Timestamps) -> () = (file.as_fd(), times);
    utimensat(
        dir: impl AsFd,
        path: impl Arg + Copy,
        times: &Timestamps,
        flags: AtFlags
    ) -> () = (dir.as_fd(), path, times, flags);
    fallocate(
        file: impl AsFd,
        flags: FallocateFlags,
        from: u64,
        len: u64
    ) -> () = (file.as_fd(), flags, from, len);
    ftruncate(file: impl AsFd, size_bytes: u64) -> () = (file.as_fd(), size_bytes);
    ioctl_ficlone(target: impl AsFd, source: impl AsFd) -> () = (target.as_fd(), source.as_fd());
    ioctl_getflags(file: impl AsFd) -> IFlags = (file.as_fd());
    seek(file: impl AsFd, to: SeekFrom) -> u64 = (file.as_fd(), to);
    fcntl_getfl(file: impl AsFd) -> OFlags = (file.as_fd());
    fcntl_setfl(file: impl AsFd, flags: OFlags) -> () = (file.as_fd(), flags);
    flock(file: impl AsFd, operation: FlockOperation) -> () = (file.as_fd(), operation);
    fsync(file: impl AsFd) -> () = (file.as_fd());
    syncfs(file: impl AsFd) -> () = (file.as_fd());
    fsetxattr(
        file: impl AsFd,
        name: impl Arg + Copy,
        value: &[u8],
        flags: XattrFlags
    ) -> () = (file.as_fd(), name, value, flags);
    setxattr(
        path: impl Arg + Copy,
        name: impl Arg + Copy,
        value: &[u8],
        flags: XattrFlags
    ) -> () = (path, name, value, flags);
    fremovexattr(file: impl AsFd, name: impl Arg + Copy) -> () = (file.as_fd(), name);
    removexattr(path: impl Arg + Copy, name: impl Arg + Copy) -> () = (path, name);
}
