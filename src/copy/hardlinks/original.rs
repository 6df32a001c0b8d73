//! The first name of a copy.

use std::ffi::OsString;
use std::sync::Arc;

use crate::digest::Hash;
use crate::fs::Identity;
use crate::tree::Dir;

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
    /// Whether all of its metadata was kept.
    pub kept: bool,
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
