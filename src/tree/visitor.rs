//! What a walk looks at, and who takes what it finds.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

use super::dir::{Counterpart, Dir, OpenDir};
use super::entry::Batch;
use super::filter::Filter;
use super::list::List;
use crate::error::Error;

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follow {
    /// None: links are copied.
    #[default]
    Never,
    /// Those that the user named.
    Operands,
    /// All.
    Always,
}

/// What the walker looks at.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Which links it follows.
    pub follow: Follow,
    /// Whether it stays out of directories on other filesystems than the one above.
    pub one_file_system: bool,
    /// What it leaves out.
    pub filter: &'a Filter,
    /// The only paths below the operand that it looks at, if the user gave a list.
    pub list: Option<&'a List>,
    /// Whether it reports what stands in the destination alone.
    pub extra: bool,
}

impl<'a> Scope<'a> {
    /// All that a filter does not leave out, on all filesystems.
    pub fn all(follow: Follow, filter: &'a Filter) -> Self {
        Self { follow, one_file_system: false, filter, list: None, extra: false }
    }
}

/// The receiver of what the walker finds.
pub trait Visitor {
    /// Makes the counterpart of a directory, finds it or plans it. Without one, the walker looks at
    /// nothing in the directory.
    fn counterpart(
        &self,
        parent: &OpenDir,
        target_name: &OsStr,
    ) -> Result<Option<Counterpart>, Error>;
    /// Takes something that stands in the destination and has no counterpart in the source. The
    /// [`Scope`] has to ask for it.
    fn extra(&self, path: PathBuf);
    /// Takes a batch. It may block until there is room.
    fn batch(&self, batch: Batch);
    /// Takes a directory that was made or found in the destination, before anything in it.
    fn entered(&self, dir: &OpenDir);
    /// Takes over the walker's hold on a directory.
    fn release(&self, dir: Arc<Dir>);
    /// Takes the error of something that cannot be listed or made.
    fn failed(&self, error: Error);
    /// Whether the walk is to end early: it enters nothing more, and releases what is open.
    fn is_stopped(&self) -> bool;
}
