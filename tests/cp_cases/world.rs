//! Trees on disk: made from a case, and described after a command.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid, chownat};

use super::differences::Then;
use super::differences::Then::{NoDirectoryTimes, NoSpecialBits};
use super::{Extra, Node, Planted};
use crate::common::hard;

/// The modification times of the two trees' roots.
pub const SOURCE_AGE: i64 = 999;
pub const TARGET_AGE: i64 = 998;

fn set_age(path: &Path, age: i64) {
    let time = Timespec { tv_sec: age, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Something that was made. Its mode and age are set after everything inside exists.
struct Made {
    path: PathBuf,
    age: i64,
    mode: Option<u32>,
}

/// Makes as much of a tree as possible. A path that exists, or that leads through something other
/// than a directory, is left out.
pub fn plant(root: &Path, tree: &[Planted], age: i64) {
    fs::create_dir(root).unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    let mut made = vec![Made { path: root.to_owned(), age, mode: None }];
    for planted in tree {
        let path = root.join(&planted.path);
        if !make_folders_above(&path, root, planted.age, &mut made)
            || path.symlink_metadata().is_ok()
        {
            continue;
        }
        let mode = make_node(&path, &planted.node, &mut files);
        let (user, group) = (Uid::from_raw(planted.owner), Gid::from_raw(planted.owner));
        chownat(CWD, &path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).unwrap();
        match planted.extra {
            Extra::Attribute if mode.is_some() => {
                hard::set_xattr(&path, "trusted.planted", b"value")
            }
            Extra::Acl if mode.is_some() => {
                hard::set_xattr(&path, hard::ACCESS, &hard::acl([6, 7, 5, 4, 7, 5]))
            }
            _ => {}
        }
        made.push(Made { path, age: planted.age, mode });
    }
    for Made { path, age, mode } in made.into_iter().rev() {
        if let Some(mode) = mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        set_age(&path, age);
    }
}

/// Makes the missing folders between `root` and `path`. False if something else is in the way.
fn make_folders_above(path: &Path, root: &Path, age: i64, made: &mut Vec<Made>) -> bool {
    let mut above = root.to_owned();
    path.parent().unwrap().strip_prefix(root).unwrap().components().all(|name| {
        above.push(name);
        match fs::symlink_metadata(&above) {
            Ok(meta) => meta.is_dir(),
            Err(_) => {
                fs::create_dir(&above).unwrap();
                made.push(Made { path: above.clone(), age, mode: None });
                true
            }
        }
    })
}

/// Makes a node, and returns the mode that a file or directory gets at the end. Hard links refer to
/// `files`, the files made before.
fn make_node(path: &Path, node: &Node, files: &mut Vec<PathBuf>) -> Option<u32> {
    match node {
        Node::File { contents, hole, mode } => {
            fs::write(path, contents).unwrap();
            if *hole {
                let file = fs::OpenOptions::new().write(true).open(path).unwrap();
                file.write_all_at(b"end", 300_000).unwrap();
            }
            files.push(path.to_owned());
            return Some(*mode);
        }
        Node::Dir { mode } => {
            fs::create_dir(path).unwrap();
            return Some(*mode);
        }
        Node::Link(text) => symlink(text, path).unwrap(),
        Node::Hard(back) => match files.len().checked_sub(1 + back) {
            Some(index) => fs::hard_link(&files[index], path).unwrap(),
            None => fs::write(path, "alone").unwrap(),
        },
        Node::Fifo => {
            rustix::fs::mknodat(CWD, path, rustix::fs::FileType::Fifo, 0o640.into(), 0).unwrap()
        }
    }
    None
}

/// Describes everything in a world: kind, mode, time, contents, holes, and which names share a
/// file.
pub fn describe_world(root: &Path, destination: &Path, then: &[Then]) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut first_names: HashMap<u64, PathBuf> = HashMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        let relative = path.strip_prefix(root).unwrap().to_owned();
        let kind = meta.file_type();
        let what = if kind.is_symlink() {
            format!("link to {:?}", fs::read_link(path).unwrap())
        } else if kind.is_dir() {
            "directory".to_owned()
        } else if kind.is_fifo() {
            "FIFO".to_owned()
        } else {
            let contents = fs::read(path).unwrap();
            let sparse = meta.blocks() * 512 < meta.len() / 2;
            format!(
                "{} bytes{}, {}",
                meta.len(),
                if sparse { ", sparse" } else { "" },
                blake3::hash(&contents).to_hex()
            )
        };
        // Replacing a file changes its directory's time; writing into the file does not.
        let own_age = if relative == Path::new("src") { SOURCE_AGE } else { TARGET_AGE };
        let time = match (meta.mtime(), meta.mtime_nsec()) {
            _ if kind.is_dir() && then.contains(&NoDirectoryTimes) => "any".into(),
            _ if kind.is_dir()
                && relative == destination
                && destination.components().count() > 1 =>
            {
                "any".into()
            }
            (seconds, _)
                if relative.components().count() == 1
                    && (seconds == own_age || seconds > 1_000_000) =>
            {
                "any".into()
            }
            (seconds, nanos) if seconds < 1_000_000 => format!("{seconds}.{nanos}"),
            _ => "now".to_owned(),
        };
        let first = first_names.entry(meta.ino()).or_insert_with(|| relative.clone()).clone();
        let same = if first == relative || meta.is_dir() {
            String::new()
        } else {
            format!(", the same as {first:?}")
        };
        let mode = meta.mode() & if then.contains(&NoSpecialBits) { !0o7000 } else { !0 };
        let has = |name: &&str| !kind.is_symlink() && hard::xattr(path, name).is_some();
        let extra: Vec<_> = ["trusted.planted", hard::ACCESS].into_iter().filter(has).collect();
        let owner = (meta.uid(), meta.gid());
        found.insert(
            relative,
            format!("{mode:o} of {owner:?}, {time}, {what}{same} {}", extra.join(" ")),
        );
    }
    found
}
