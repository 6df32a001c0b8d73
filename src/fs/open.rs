//! Opening by name, each relative to a directory's descriptor.
//!
//! A name is a single component: no link that is swapped in can lead out of the directory.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::call::{self as fs, Mode, OFlags, ResolveFlags, SeekFrom};
use rustix::io::Errno;

use super::unavailable::{answers_nothing, is_no_answer};

/// Opens `name` in `dir`, never through a link and never outside of `dir`: openat2(2) with
/// `RESOLVE_BENEATH`, `RESOLVE_NO_SYMLINKS` and `RESOLVE_NO_MAGICLINKS`. Kernels and sandboxes
/// without openat2 get openat(2) with `O_NOFOLLOW`, which is as safe for the single component that
/// `name` is.
pub fn open_beneath(dir: impl AsFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    static NO_OPENAT2: AtomicBool = AtomicBool::new(false);
    if name.as_encoded_bytes().contains(&b'/') {
        return Err(Errno::INVAL.into());
    }
    // openat2 takes next to no flags beside O_PATH.
    let no_terminal = if flags.contains(OFlags::PATH) { OFlags::empty() } else { OFlags::NOCTTY };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | no_terminal;
    if !NO_OPENAT2.load(Ordering::Relaxed) {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // EAGAIN: a rename raced with the look-up and the kernel could not be sure, see openat2(2).
        for _ in 0..64 {
            match fs::openat2(dir.as_fd(), name, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(Errno::NOSYS) => {
                    NO_OPENAT2.store(true, Ordering::Relaxed);
                    break;
                }
                // A seccomp filter answers EPERM, but so does O_NOATIME on another user's file:
                // openat tells.
                Err(error) if answers_nothing(error) => break,
                other => return Ok(other?),
            }
        }
    }
    Ok(fs::openat(dir.as_fd(), name, flags, Mode::empty())?)
}

/// Opens a file to be read: it never waits for a FIFO's writer, and it leaves the access time alone
/// where it may.
pub fn open_to_read(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    open_without_trace(dir, name, OFlags::RDONLY | OFlags::NONBLOCK)
}

/// Opens a file to be read past the page cache, if its filesystem has that.
pub fn open_to_read_direct(dir: impl AsFd, name: &OsStr) -> io::Result<Option<OwnedFd>> {
    match open_without_trace(dir, name, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::DIRECT) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(None),
        opened => opened.map(Some),
    }
}

fn open_without_trace(dir: impl AsFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
    match open_beneath(dir.as_fd(), name, flags | OFlags::NOATIME) {
        // Only a file's owner may read it without a trace.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => open_beneath(dir, name, flags),
        other => other,
    }
}

/// Opens a file to be read that a symbolic link leads to.
pub fn open_to_read_behind(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    match fs::openat(dir.as_fd(), name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => Ok(fs::openat(dir, name, flags, Mode::empty())?),
        other => Ok(other?),
    }
}

/// Opens a directory to be listed that a symbolic link leads to.
pub fn open_dir_behind(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(fs::openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The longest path that one call takes, with its end; see path_resolution(7).
const PATH_BYTES_MAX: usize = libc::PATH_MAX as usize;

/// A path in two: what one call takes of it, and the rest. `None` if one call takes all of it, or
/// if no slash is where it could be parted.
fn parted(path: &Path) -> Option<(&Path, &Path)> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() < PATH_BYTES_MAX {
        return None;
    }
    let slash = bytes[..PATH_BYTES_MAX - 1].iter().rposition(|&byte| byte == b'/')?;
    let rest = slash + bytes[slash..].iter().position(|&byte| byte != b'/')?;
    Some((
        Path::new(OsStr::from_bytes(&bytes[..=slash])),
        Path::new(OsStr::from_bytes(&bytes[rest..])),
    ))
}

/// Opens a path as open(2) does, from the working directory on and through links, however long it
/// is.
pub fn open_any_length(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let (mut rest, mut dir) = (path, None::<OwnedFd>);
    while let Some((folders, names)) = parted(rest) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let from = dir.as_ref().map_or(fs::CWD, AsFd::as_fd);
        dir = Some(fs::openat(from, folders, flags, Mode::empty())?);
        rest = names;
    }
    let from = dir.as_ref().map_or(fs::CWD, AsFd::as_fd);
    Ok(fs::openat(from, rest, flags | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a relative path beneath `root`, out of which neither `..` nor any link leads: openat2(2)
/// with `RESOLVE_BENEATH`, EXDEV where something would. Without openat2 no link on the path is
/// followed at all.
///
/// A path of more than PATH_MAX bytes is opened in parts, out of each of which nothing leads.
pub fn open_path_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let (mut rest, mut dir) = (path, None::<OwnedFd>);
    while let Some((folders, names)) = parted(rest) {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let from = dir.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        dir = Some(open_short_beneath(from, folders, flags)?);
        rest = names;
    }
    open_short_beneath(dir.as_ref().map_or(root.as_fd(), AsFd::as_fd), rest, flags)
}

fn open_short_beneath(root: impl AsFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..64 {
        match fs::openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
            // A rename raced with the look-up and the kernel could not be sure.
            Err(Errno::AGAIN) => {}
            Err(error) if answers_nothing(error) => break,
            other => return Ok(other?),
        }
    }
    let mut parts = path.components().peekable();
    let mut dir: Option<OwnedFd> = None;
    while let Some(part) = parts.next() {
        let Component::Normal(name) = part else { return Err(Errno::XDEV.into()) };
        let flags = if parts.peek().is_some() { OFlags::PATH | OFlags::DIRECTORY } else { flags };
        dir = Some(match dir {
            None => open_beneath(root.as_fd(), name, flags)?,
            Some(dir) => open_beneath(dir, name, flags)?,
        });
    }
    dir.ok_or_else(|| Errno::NOENT.into())
}

/// Opens a directory that is to be listed or written into.
pub fn open_dir(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    open_beneath(dir, name, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens a directory that is to be written into. One that may not be listed is opened as a place
/// alone, which is enough to make names in it; see [`NameSync`](super::NameSync).
pub fn open_dir_to_fill(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    match open_dir(dir.as_fd(), name) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            open_beneath(dir, name, OFlags::PATH | OFlags::DIRECTORY)
        }
        other => other,
    }
}

/// Opens a folder that is to be written into, by a path that the user wrote. One that may not be
/// listed is opened as a place alone.
pub fn open_folder_to_fill(path: &Path) -> io::Result<OwnedFd> {
    match open_folder(path, OFlags::RDONLY) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => open_folder(path, OFlags::PATH),
        other => other,
    }
}

/// A path without links, dots and double slashes, as realpath(3) has it; also below a folder that
/// may not be searched. realpath(3) looks at every folder from the root on, and what is reached
/// from the working directory needs no right to them.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    fs::realpath(path).or_else(|cause| {
        if cause.kind() != io::ErrorKind::PermissionDenied && !is_no_answer(&cause) {
            return Err(cause);
        }
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let place = fs::openat(fs::CWD, path, flags, Mode::empty())?;
        std::fs::read_link(format!("/proc/self/fd/{}", place.as_raw_fd()))
    })
}

/// Whether a file is open with `O_PATH`, so that it can neither be listed nor synced.
pub fn is_path_only(file: impl AsFd) -> io::Result<bool> {
    Ok(open_flags(file)?.contains(OFlags::PATH))
}

/// How a file is open: fcntl(2), or what /proc says where that gives no answer.
pub(super) fn open_flags(file: impl AsFd) -> io::Result<OFlags> {
    match fs::fcntl_getfl(file.as_fd()) {
        Ok(flags) => Ok(flags),
        Err(error) => flags_in_proc(file).ok_or_else(|| error.into()),
    }
}

/// The flags of an open file, as proc_pid_fdinfo(5) has them.
fn flags_in_proc(file: impl AsFd) -> Option<OFlags> {
    let path = format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd());
    let text = std::fs::read_to_string(path).ok()?;
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
    u32::from_str_radix(flags.trim(), 8).ok().map(OFlags::from_bits_retain)
}

/// Opens a folder by a path that the user wrote, which may lead through links.
pub fn open_folder(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    Ok(fs::openat(fs::CWD, path, flags | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens anything, also a symbolic link or a device, as a place whose metadata can be reached:
/// `O_PATH`, which calls no driver and waits for nothing.
pub fn open_path(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    open_beneath(dir, name, OFlags::PATH)
}

/// The same through a symbolic link.
pub fn open_path_behind(dir: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    Ok(fs::openat(dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens the directory above. It may be any by now, so that the caller has to look whether it is
/// the one that was meant.
pub fn open_above(dir: impl AsFd) -> io::Result<OwnedFd> {
    Ok(fs::openat(dir, c"..", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens the names in a directory from a position on, 0 for all of them, leaving its access time
/// alone where that is allowed.
pub fn list(dir: impl AsFd, position: i64) -> io::Result<fs::Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let listing = match open_beneath(dir.as_fd(), OsStr::new("."), flags | OFlags::NOATIME) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            open_beneath(dir, OsStr::new("."), flags)?
        }
        other => other?,
    };
    if position != 0 {
        fs::seek(&listing, SeekFrom::Start(position as u64))?;
    }
    Ok(fs::Dir::new(listing)?)
}
