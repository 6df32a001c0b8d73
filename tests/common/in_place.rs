//! `--inplace`: copying with it, and what it leaves.

use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::{aiocp, run, stderr};

pub const BIG: usize = (3 << 20) + 5;

/// The sizes of what is copied: empty, small, small in several steps, and big.
pub const SIZES: [usize; 4] = [0, 3, 700_001, BIG];

/// What a copy says on stderr that ends with this exit code.
pub fn copy_in_place(folder: &Path, args: &[&str], code: i32) -> String {
    stderr(&run(aiocp().arg("--inplace").args(args).current_dir(folder), code))
}

pub fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

/// Asserts contents without printing them.
pub fn holds(path: &Path, wanted: &[u8], what: &dyn Debug) {
    let found = fs::read(path).unwrap();
    let first = found.iter().zip(wanted).position(|(one, other)| one != other);
    assert!(
        found == wanted,
        "{what:?}: {path:?} has {} bytes, not {}; the first that differs is {first:?}",
        found.len(),
        wanted.len()
    );
}
