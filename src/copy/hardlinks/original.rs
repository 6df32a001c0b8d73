//! The first name of a copy.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use crate::digest::Hash;
use crate::fs::{Identity, Stat};
use crate::tree::{Dir, Kept, OpenDir};

/// The first name of a copy, which stands.
#[derive(Clone)]
pub struct Original {
    /// Where.
    pub dir: Arc<Dir>,
    /// Its name there.
    pub name: OsString,
    /// The copy; nothing in a dry run.
    pub copy: Option<Identity>,
    /// The copy's size.
    pub size_bytes: u64,
    /// The hash of its contents, if there is one.
    pub hash: Option<Hash>,
    /// How much of its metadata was kept.
    pub kept: Kept,
}

impl Original {
    /// A copy that stood before this run, and answered `stat` under this name.
    pub fn standing(dir: &OpenDir, name: &OsStr, stat: &Stat) -> Self {
        let copy = Some(Identity::at(&dir.target, name, stat, dir.target_trust().numbers));
        let (dir, name) = (Arc::clone(dir.dir()), name.to_owned());
        Self { dir, name, copy, size_bytes: stat.st_size as u64, hash: None, kept: Kept::All }
    }
}

/// The place of a file in the table; later files have greater ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place(pub u64);

/// A source file whose copy stands under its first name.
#[derive(Clone)]
pub struct MadeFile {
    /// Its place in the table.
    pub place: Place,
    /// The source.
    pub identity: Identity,
    /// The copy.
    pub original: Arc<Original>,
    /// How many other names it may still have.
    pub others_left: u64,
}
