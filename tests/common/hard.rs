//! A tree of everything that is hard to copy, and a description of what rsync cannot check.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};

use super::{noise, set_times};

pub const ACCESS: &str = "system.posix_acl_access";
pub const DEFAULT: &str = "system.posix_acl_default";

/// An ACL in the kernel's format, from the permissions of the owner, user 1, the owning group,
/// group 2, the mask and others. See acl(5).
pub fn acl(bits: [u16; 6]) -> Vec<u8> {
    let entries = [
        (0x01, u32::MAX),
        (0x02, 1),
        (0x04, u32::MAX),
        (0x08, 2),
        (0x10, u32::MAX),
        (0x20, u32::MAX),
    ];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for ((tag, id), bits) in entries.into_iter().zip(bits) {
        bytes.extend(u16::to_le_bytes(tag));
        bytes.extend(bits.to_le_bytes());
        bytes.extend(u32::to_le_bytes(id));
    }
    bytes
}

pub fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|e| panic!("{path:?} {name}: {e}"));
}

pub fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(1 << 16);
    match rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value)) {
        Ok(_) => Some(value),
        Err(rustix::io::Errno::NODATA) => None,
        Err(error) => panic!("{path:?} {name}: {error}"),
    }
}

fn set_link_times(path: &Path, seconds: i64, nanos: i64) {
    let time = |tv_sec| Timespec { tv_sec, tv_nsec: nanos as _ };
    // A read updates an access time that is not later than the modification time.
    let times = Timestamps { last_access: time(seconds + 1), last_modification: time(seconds) };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub fn mknod(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o640), device).unwrap();
}

/// Makes everything of a hard tree that rsync can check. Needs root, and a filesystem with
/// attributes and ACLs.
pub fn make_hard_tree(root: &Path) {
    let at = |name: &str| root.join(name);
    fs::create_dir(root).unwrap();
    for name in
        ["modes", "times", "links", "links/a", "links/b", "attributes", "special", "names", "holes"]
    {
        fs::create_dir(at(name)).unwrap();
    }
    for (n, mode) in
        [0o4755u32, 0o2755, 0o6711, 0o1644, 0o400, 0o000, 0o777].into_iter().enumerate()
    {
        let path = at(&format!("modes/{mode:o}"));
        fs::write(&path, noise(1000 + n, n as u64)).unwrap();
        chown(&path, Some(n as u32), Some(100 + n as u32)).unwrap();
        set_mode(&path, mode);
    }
    for (name, seconds) in
        [("before", -1_000_000_000), ("just-before", -1), ("far", 6_000_000_000), ("epoch", 0)]
    {
        fs::write(at("times").join(name), name).unwrap();
        symlink(name, at("times").join(format!("{name}-link"))).unwrap();
        set_link_times(&at("times").join(name), seconds, 123_456_789);
        set_link_times(&at("times").join(format!("{name}-link")), seconds + 5, 987_654_321);
    }
    make_links(root);
    make_attributes(root);
    make_special(root);
    make_names_and_holes(root);
    make_dirs(root);
    set_times(root, 1_111_111_111, 999_999_999);
}

/// Makes FIFOs, sockets and devices, with owners, modes and attributes.
fn make_special(root: &Path) {
    let at = |name: &str| root.join(name);
    for (name, kind, device) in [
        ("fifo", FileType::Fifo, 0),
        ("socket", FileType::Socket, 0),
        ("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        ("disk", FileType::BlockDevice, rustix::fs::makedev(259, 200_000)),
    ] {
        let path = at("special").join(name);
        mknod(&path, kind, device);
        chown(&path, Some(5), Some(6)).unwrap();
        set_mode(&path, 0o4751);
        set_xattr(&path, "trusted.special", name.as_bytes());
        set_link_times(&path, 1_000_000_000, 1);
    }
}

/// Makes files with odd names, and files with holes.
fn make_names_and_holes(root: &Path) {
    let at = |name: &str| root.join(name);
    for name in [
        &b"\xff\xfe\n'\"\\"[..],
        b" ",
        b"-rf",
        b"\x01\x7f",
        &[b'n'; 255],
        &[0xe9; 255],
        b".hidden",
        b"*",
    ] {
        fs::write(at("names").join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    for (name, data_at, len) in
        [("small", 40_960, 65_536), ("big", 5 << 20, 12 << 20), ("only", 0, 7 << 20)]
    {
        let file = fs::File::create(at("holes").join(name)).unwrap();
        file.set_len(len).unwrap();
        if data_at > 0 {
            file.write_all_at(b"data", data_at).unwrap();
        }
    }
}

/// Makes directories that are closed, read-only, or setgid and sticky.
fn make_dirs(root: &Path) {
    let at = |name: &str| root.join(name);
    for (name, mode) in [("closed", 0o000), ("read-only", 0o555), ("shared", 0o3777)] {
        fs::create_dir_all(at("dirs").join(name).join("below")).unwrap();
        fs::write(at("dirs").join(name).join("below/file"), name).unwrap();
        chown(at("dirs").join(name), Some(7), Some(8)).unwrap();
        set_mode(&at("dirs").join(name), mode);
        set_times(&at("dirs").join(name), 1_234_567_890, 5);
    }
    set_times(&at("dirs"), 999_999_999, 42);
}

/// Makes hard links in one directory and across several: to small and big files, links and special
/// files.
fn make_links(root: &Path) {
    let (a, b) = (root.join("links/a"), root.join("links/b"));
    for n in 0..200 {
        let first = a.join(format!("file-{n}"));
        fs::write(&first, noise(n * 10, n as u64)).unwrap();
        fs::hard_link(&first, b.join(format!("other-{n}"))).unwrap();
        if n % 3 == 0 {
            fs::hard_link(&first, a.join(format!("third-{n}"))).unwrap();
        }
    }
    fs::write(a.join("big"), noise(9 << 20, 1)).unwrap();
    symlink("nowhere", a.join("symlink")).unwrap();
    mknod(&a.join("fifo"), FileType::Fifo, 0);
    for name in ["big", "symlink", "fifo"] {
        rustix::fs::linkat(CWD, a.join(name), CWD, b.join(name), AtFlags::empty()).unwrap();
        rustix::fs::linkat(CWD, a.join(name), CWD, root.join("links").join(name), AtFlags::empty())
            .unwrap();
    }
    // One of its names lies outside the copy.
    fs::write(root.with_file_name("outside"), "x").unwrap();
    fs::hard_link(root.with_file_name("outside"), b.join("outside")).unwrap();
}

fn make_attributes(root: &Path) {
    let at = |name: &str| root.join("attributes").join(name);
    for name in ["file", "acl", "capable", "long"] {
        fs::write(at(name), name).unwrap();
    }
    set_xattr(&at("file"), "user.one", b"1");
    set_xattr(&at("file"), "user.empty", b"");
    set_xattr(&at("file"), "user.bytes", b"\0\xff\n");
    set_xattr(&at("file"), "trusted.secret", b"t");
    set_xattr(&at("file"), "security.made-up", b"s");
    set_xattr(&at("long"), &format!("user.{}", "n".repeat(250)), &noise(700, 1));
    set_xattr(&at("acl"), ACCESS, &acl([6, 7, 4, 2, 6, 0]));
    // VFS_CAP_REVISION_2 with CAP_NET_RAW, effective and permitted; see capabilities(7).
    let capability = [0x0200_0001u32, 1 << 13, 0, 0, 0].map(u32::to_le_bytes).concat();
    chown(at("capable"), Some(3), Some(3)).unwrap();
    set_xattr(&at("capable"), "security.capability", &capability);
    symlink("file", at("link")).unwrap();
    chown_link(&at("link"), 9, 10);
    set_xattr(&at("link"), "trusted.link", b"on the link itself");
    fs::create_dir(at("dir")).unwrap();
    set_xattr(&at("dir"), "user.dir", b"d");
    set_xattr(&at("dir"), ACCESS, &acl([7, 5, 5, 0, 5, 0]));
    set_xattr(&at("dir"), DEFAULT, &acl([7, 7, 5, 4, 7, 5]));
    fs::write(at("dir/inherits"), "x").unwrap();
    fs::write(at("dir/plain"), "x").unwrap();
    rustix::fs::removexattr(at("dir/plain"), ACCESS).unwrap();
    set_mode(&at("dir/plain"), 0o644);
}

fn chown_link(path: &Path, user: u32, group: u32) {
    std::os::unix::fs::lchown(path, Some(user), Some(group)).unwrap();
}

fn open_dir(dir: &OwnedFd, name: &[u8]) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    rustix::fs::openat(dir, name, flags, Mode::empty()).unwrap()
}

/// Makes a chain of `levels` directories. Each has a file before or after the next directory in the
/// listing, and every 1,000th has a big one.
pub fn make_chain(root: &Path, levels: usize) {
    fs::create_dir(root).unwrap();
    let mut dir: OwnedFd = fs::File::open(root).unwrap().into();
    let make = OFlags::CREATE | OFlags::WRONLY;
    for level in 0..levels {
        let file =
            rustix::fs::openat(&dir, format!("file-{level}"), make, Mode::from_raw_mode(0o640))
                .unwrap();
        let len = if level % 1000 == 999 { (2 << 20) + 7 } else { level };
        fs::File::from(file).write_all_at(&noise(len, level as u64), 0).unwrap();
        // The directory becomes read-only when it is done, like a store's.
        rustix::fs::mkdirat(&dir, "d", Mode::RWXU).unwrap();
        let next = open_dir(&dir, b"d");
        let times = |stat: Timespec| Timestamps { last_access: stat, last_modification: stat };
        rustix::fs::fchmod(&dir, Mode::from_raw_mode(0o555)).unwrap();
        rustix::fs::futimens(&dir, &times(Timespec { tv_sec: level as _, tv_nsec: 7 })).unwrap();
        dir = next;
    }
}

/// One line for each directory and file of a chain: mode, time, size and hash.
pub fn describe_chain(root: &Path) -> Vec<String> {
    let mut dir: OwnedFd = fs::File::open(root).unwrap().into();
    let mut lines = Vec::new();
    loop {
        let stat = rustix::fs::fstat(&dir).unwrap();
        lines.push(format!("{:o} {}.{:09}", stat.st_mode, stat.st_mtime, stat.st_mtime_nsec));
        let mut next = None;
        for entry in Dir::read_from(&dir).unwrap() {
            let entry = entry.unwrap();
            match entry.file_name().to_bytes() {
                b"." | b".." => {}
                b"d" => next = Some(open_dir(&dir, b"d")),
                name => {
                    let file =
                        rustix::fs::openat(&dir, name, OFlags::RDONLY, Mode::empty()).unwrap();
                    let stat = rustix::fs::fstat(&file).unwrap();
                    let mut contents = Vec::new();
                    fs::File::from(file).read_to_end(&mut contents).unwrap();
                    let hash = blake3::hash(&contents);
                    lines.push(format!(
                        "{name:?} {:o} {} {} {hash}",
                        stat.st_mode, stat.st_size, stat.st_mtime
                    ));
                }
            }
        }
        match next {
            Some(next) => dir = next,
            None => return lines,
        }
    }
}
