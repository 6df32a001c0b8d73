//! Walks through the operands, one after the other.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::call::FileType;

use super::pair::OperandPair;
use super::resolve::Operands;
use crate::copy::work::Visit;
use crate::error::{Error, Operation, Result};
use crate::report::Skip;
use crate::tree::{
    self, Batch, Dir, Entry, EntryKind, Filter, Folder, List, OpenDir, OpenDirs, Visitor,
};

impl Operands {
    /// Hands everything to the workers. An operand that goes where an earlier one went waits until
    /// that is done, so that it finds there what cp would.
    pub(in crate::copy) fn walk(&self, visit: &Visit<'_>, open_dirs: &Arc<OpenDirs>) {
        let mut begun = BTreeSet::new();
        for pair in &self.pairs {
            if visit.is_stopped() {
                return;
            }
            let path = pair.target.path();
            let next = begun.range(path.clone()..).next();
            let is_above = next.is_some_and(|known: &PathBuf| known.starts_with(&path));
            if is_above || path.ancestors().any(|above| begun.contains(above)) {
                visit.drain();
            }
            begun.insert(path);
            let names =
                if self.pairs.len() == 1 { OperandCount::One } else { OperandCount::Several };
            if let Err(error) = pair.walk(visit, open_dirs, names) {
                visit.failed(error);
            }
        }
    }
}

/// How many operands there are: a single one takes a single name in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OperandCount {
    One,
    Several,
}

impl OperandPair {
    fn walk(
        &self,
        visit: &Visit<'_>,
        open_dirs: &Arc<OpenDirs>,
        names: OperandCount,
    ) -> Result<()> {
        let options = visit.options();
        let scope = options.scope();
        let root = self.open_root(open_dirs)?;
        if names == OperandCount::One {
            root.takes_one_name();
        }
        visit.begin_root(&root);
        if !self.is_dir() {
            visit.tidy_root(&root);
        }
        let mut dir = Arc::clone(root.dir());
        drop(root);
        for name in &self.parents {
            let entered = tree::enter(&dir, name, &scope, visit);
            visit.release(dir);
            let Some(entered) = entered? else { return Ok(()) };
            visit.entered(&entered);
            dir = Arc::clone(entered.dir());
        }
        let entry = self.entry();
        if self.is_dir() {
            tree::walk(&dir, &entry, &scope, visit);
        } else if self.left_out(&options.filter).is_none()
            && options.list.as_ref().is_none_or(List::is_everything)
        {
            dir.hold();
            visit.batch(Batch { dir: Arc::clone(&dir), entries: vec![entry] });
        }
        visit.release(dir);
        Ok(())
    }

    /// Why a filter leaves this operand out, if it does. A directory is the root of its paths, and
    /// no filter concerns it.
    pub fn left_out(&self, filter: &Filter) -> Option<Skip> {
        let kind = FileType::from_raw_mode(self.stat.st_mode);
        let is_file = self.is_stream || kind == FileType::RegularFile;
        match () {
            () if self.is_dir() => None,
            () if filter.excludes(self.source.name.as_bytes(), kind) => Some(Skip::Excluded),
            () if is_file && filter.excludes_size(self.stat.st_size as u64) => Some(Skip::Size),
            () => None,
        }
    }

    fn entry(&self) -> Entry {
        let Self { source, target, stat, followed, is_stream, .. } = self;
        let kind = EntryKind::of_mode(FileType::from_raw_mode(stat.st_mode));
        Entry {
            name: source.name.clone(),
            renamed: (source.name != target.name).then(|| target.name.clone()),
            kind: if *is_stream { EntryKind::File } else { kind },
            ino: (!followed).then_some(stat.st_ino),
            followed: *followed,
            is_stream: *is_stream,
        }
    }

    /// The pair of folders from which this operand is reached.
    fn open_root(&self, open_dirs: &Arc<OpenDirs>) -> Result<OpenDir> {
        let (mut source, mut target) = (self.source.clone(), self.target.clone());
        for _ in &self.parents {
            for named in [&mut source, &mut target] {
                let above = named.folder.parent().map(Path::to_owned);
                named.folder = above.unwrap_or_default();
            }
        }
        let op = Operation::OpenDirectory;
        let source_fd =
            source.open_folder().map_err(|cause| Error::new(op, &source.folder, cause))?;
        let target_fd =
            target.open_folder_to_fill().map_err(|cause| Error::new(op, &target.folder, cause))?;
        let from = Folder { file: source_fd, path: source.folder.clone() };
        let to = Folder { file: target_fd, path: target.folder };
        Dir::root(from, to, open_dirs)
            .map_err(|cause| Error::new(Operation::Stat, &source.folder, cause))
    }
}
