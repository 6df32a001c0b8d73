//! The walk through a single directory: that of a copy, with nothing on its other side.
//!
//! Each directory is opened beneath its parent's descriptor, and closed and opened again as their
//! number demands.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::call::{CWD, Mode, OFlags};

use super::dir::{Counterpart, Dir, Folder, OpenDir, OpenDirs};
use super::entry::{Batch, Entry, EntryKind};
use super::visitor::{Scope, Visitor};
use super::walk::walk;
use crate::error::{Error, Operation, Result};

/// What a walk through a single directory meets.
pub enum WalkEvent {
    /// Some names in a directory that are no directories.
    Batch(Batch),
    /// The error of what cannot be listed.
    Failed(Error),
}

/// Walks the directory that the user named, and follows links on the way to it. Blocks until all of
/// it was met, or `is_stopped` says that no more is wanted. The walk does not meet what the scope's
/// filter excludes by name, and never opens an excluded directory.
pub fn walk_single(
    root: &Path,
    scope: &Scope<'_>,
    open_dirs: &Arc<OpenDirs>,
    is_stopped: &dyn Fn() -> bool,
    meet: &mut dyn FnMut(WalkEvent),
) {
    let top = match open_root(root, open_dirs) {
        Ok(top) => top,
        Err(error) => return meet(WalkEvent::Failed(error)),
    };
    let dir = Arc::clone(top.dir());
    drop(top);
    let entry = Entry {
        name: ".".into(),
        renamed: None,
        kind: EntryKind::File,
        ino: None,
        followed: true,
        is_stream: false,
    };
    walk(&dir, &entry, scope, &Met { meet: RefCell::new(meet), is_stopped });
}

/// The directory as one side of a pair. On the other side everything is only planned.
fn open_root(root: &Path, open_dirs: &Arc<OpenDirs>) -> Result<OpenDir> {
    let error = |cause: io::Error| Error::new(Operation::OpenDirectory, root, cause);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let file =
        crate::fs::call::openat(CWD, root, flags, Mode::empty()).map_err(|e| error(e.into()))?;
    let planned = Folder { file: file.try_clone().map_err(error)?, path: root.to_owned() };
    Dir::root(Folder { file, path: root.to_owned() }, planned, open_dirs).map_err(error)
}

/// Passes on what the walk finds.
struct Met<'a> {
    meet: RefCell<&'a mut dyn FnMut(WalkEvent)>,
    is_stopped: &'a dyn Fn() -> bool,
}

impl Visitor for Met<'_> {
    fn counterpart(&self, _parent: &OpenDir, _name: &OsStr) -> Result<Option<Counterpart>> {
        Ok(Some(Counterpart::Planned))
    }

    fn extra(&self, _path: PathBuf) {}

    fn batch(&self, batch: Batch) {
        (self.meet.borrow_mut())(WalkEvent::Batch(batch));
    }

    fn entered(&self, _dir: &OpenDir) {}

    fn release(&self, _dir: Arc<Dir>) {}

    fn failed(&self, error: Error) {
        (self.meet.borrow_mut())(WalkEvent::Failed(error));
    }

    fn is_stopped(&self) -> bool {
        (self.is_stopped)()
    }
}
