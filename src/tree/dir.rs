//! A directory of the source and its counterpart in the destination, both open.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::sys::fs::Stat;

/// Where a pair of directories stands.
pub enum Operand {
    /// The folders that hold the user's operand and its copy. They are not copied themselves.
    Root {
        /// How the user wrote the source's folder; empty for the working directory.
        source: PathBuf,
        /// The same for the destination's.
        target: PathBuf,
    },
    /// A directory that is copied.
    Child {
        /// The directories above.
        parent: Arc<Dir>,
        /// Its name in the source.
        source_name: OsString,
        /// Its name in the destination.
        target_name: OsString,
        /// What the source had when it was opened.
        stat: Box<Stat>,
    },
}

/// A directory of the source and its counterpart. Everything in them is reached through these two descriptors.
pub struct Dir {
    /// The source, open for listing.
    pub source: OwnedFd,
    /// The destination, shared with the fsync in flight.
    pub target: Arc<OwnedFd>,
    /// Whether the copy itself made the destination, so that nothing can stand in its way there.
    pub fresh: bool,
    /// Where it stands.
    pub operand: Operand,
    /// Holds: the walker's, one a batch, one a child directory.
    pending: AtomicUsize,
}

impl Dir {
    /// A pair with one hold, the caller's.
    pub fn new(source: OwnedFd, target: OwnedFd, fresh: bool, operand: Operand) -> Arc<Self> {
        Arc::new(Self { source, target: Arc::new(target), fresh, operand, pending: AtomicUsize::new(1) })
    }

    /// One more thing is to be done in this directory.
    pub fn hold(&self) {
        // Relaxed: whoever adds a hold has one.
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// One thing less is to be done; true if it was the last, and the directory can be finished.
    #[must_use]
    pub fn release(&self) -> bool {
        // AcqRel: everything done under the other holds happens before the finishing.
        self.pending.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// The directory above, if it is part of the copy.
    pub fn parent(&self) -> Option<&Arc<Dir>> {
        match &self.operand {
            Operand::Root { .. } => None,
            Operand::Child { parent, .. } => Some(parent),
        }
    }

    /// The source's path of `name` in this directory.
    pub fn source_path(&self, name: &OsStr) -> PathBuf {
        self.path(name, |dir| match &dir.operand {
            Operand::Root { source, .. } => source,
            Operand::Child { source_name, .. } => Path::new(source_name),
        })
    }

    /// The destination's path of `name` in this directory.
    pub fn target_path(&self, name: &OsStr) -> PathBuf {
        self.path(name, |dir| match &dir.operand {
            Operand::Root { target, .. } => target,
            Operand::Child { target_name, .. } => Path::new(target_name),
        })
    }

    fn path<'a>(&'a self, name: &OsStr, part: impl Fn(&'a Dir) -> &'a Path) -> PathBuf {
        let mut parts = Vec::new();
        let mut dir = Some(self);
        while let Some(here) = dir {
            parts.push(part(here));
            dir = here.parent().map(|parent| &**parent);
        }
        let mut path: PathBuf = parts.into_iter().rev().collect();
        if !name.is_empty() {
            path.push(name);
        }
        path
    }
}
