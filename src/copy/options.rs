//! How to copy, as data: what the command line says, and what it implies.

use std::ffi::OsString;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::stop::Stop;
use crate::fs::{self, Stat};
use crate::pipeline::EngineKind;
use crate::pipeline::route::{self, DirectMode};
use crate::tree::{Dir, Filter, Follow, List, Preserve, Scope};

/// What is made of each entry that is not a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Action {
    /// A copy.
    #[default]
    Copy,
    /// A hard link to the source.
    HardLink,
    /// A symbolic link to the source, whose path has to be absolute unless the link is in the
    /// working directory.
    SymbolicLink,
    /// Attributes: an existing file keeps its data, a new one is empty.
    Attributes,
    /// Nothing: what stands there is compared, and mended with [`Options::repair`].
    Compare,
}

/// What is done about a file that stands there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExisting {
    /// It is replaced.
    #[default]
    Replace,
    /// [`Sink::confirm`](crate::report::Sink::confirm) is asked.
    Ask,
    /// It stays, and that is no failure.
    Skip,
    /// It stays, and that is a failure.
    Refuse,
}

/// How existing files are treated.
#[derive(Clone, Debug, Default)]
pub struct Existing {
    /// What is done about them.
    pub rule: OnExisting,
    /// Only those that were modified before the source are replaced.
    pub only_older: bool,
    /// How replaced ones are kept.
    pub backup: Option<Backup>,
    /// Links made instead of copies may replace them.
    pub force: bool,
    /// They may be FIFOs and devices, and a link that is named as destination is replaced instead
    /// of followed.
    pub remove: bool,
    /// Files are written into by copies of files, and not replaced. It goes with neither of
    /// `only_older`, `backup` and `remove`.
    pub in_place: bool,
}

impl Existing {
    /// Whether a link that is named as destination is itself what is replaced.
    pub(super) fn replaces_links(&self) -> bool {
        self.remove || self.backup.is_some()
    }

    /// Whether every file that is replaced gets a backup of its own.
    pub(super) fn keeps_all(&self) -> bool {
        self.backup.as_ref().is_some_and(|backup| match backup.names {
            BackupNames::Numbered => true,
            BackupNames::Simple | BackupNames::Existing => false,
        })
    }

    /// Whether what appears between decision and publishing may be replaced too.
    pub(super) fn is_plain(&self) -> bool {
        self.replaces_all() && self.backup.is_none()
    }

    /// Whether everything is replaced, with a backup or without.
    pub(super) fn replaces_all(&self) -> bool {
        self.rule == OnExisting::Replace && !self.only_older
    }
}

/// How the names of backups are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupNames {
    /// The name and the suffix; a backup that has it already is replaced.
    Simple,
    /// `NAME.~N~`, where N is one more than the highest there is; no backup is ever replaced.
    Numbered,
    /// Numbered for a file that has numbered backups, simple for others.
    Existing,
}

/// Whether and how replaced files are kept.
#[derive(Clone, Debug)]
pub struct Backup {
    /// How they are named.
    pub names: BackupNames,
    /// What simple backups end in.
    pub suffix: OsString,
}

/// What becomes of zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sparse {
    /// Holes stay holes.
    Auto,
    /// Every block of zeros becomes a hole.
    Always,
    /// The destination is allocated whole.
    Never,
}

/// Whether data is shared instead of copied, where the filesystem can (xfs, btrfs and others).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reflink {
    /// Where it is possible, and unless holes are to be made or filled.
    Auto,
    /// Or the file fails.
    Always,
    /// Every file gets data of its own.
    Never,
}

/// How to copy.
#[derive(Clone, Debug)]
pub struct Options {
    /// Direct I/O.
    pub direct: DirectMode,
    /// Holes.
    pub sparse: Sparse,
    /// What becomes of files that stand in the destination.
    pub existing: Existing,
    /// What is made of each file.
    pub action: Action,
    /// Which symbolic links are followed in the source.
    pub follow: Follow,
    /// Whether directories on other filesystems than the one above are left empty.
    pub one_file_system: bool,
    /// Whether the folders in a source's path are made again in the destination, which has to be a
    /// directory then.
    pub parents: bool,
    /// What is left out.
    pub filter: Filter,
    /// What alone is copied below each source, if it is not everything.
    pub list: Option<List>,
    /// Clones.
    pub reflink: Reflink,
    /// What is kept besides the contents.
    pub preserve: Preserve,
    /// Whether to compute BLAKE3 hashes.
    pub hash: bool,
    /// Whether data and names are made durable.
    pub sync: bool,
    /// Whether nothing is made or changed, and the events tell what would be.
    pub dry_run: bool,
    /// Whether each file is read back from the device before it gets its name. It implies `hash`,
    /// and is worth nothing without `sync`.
    pub verify: bool,
    /// Whether what differs is written again: more than once with `verify`, and at all with
    /// [`Action::Compare`].
    pub repair: bool,
    /// Who moves the blocks.
    pub engine: EngineKind,
    /// Blocks in flight.
    pub queue_depth: usize,
    /// Bytes a block: a power of two, at least 4096.
    pub block_bytes: u64,
    /// How many bytes a second are read at most, from sources and in verification together.
    pub rate_bytes_per_s: Option<NonZeroU64>,
    /// Workers, each with one small file or one batch at a time.
    pub threads: usize,
    /// Whether to go on where an earlier run was interrupted, and to keep a journal for the next.
    /// It hashes and syncs, whatever else is asked for, and is of use for copies alone.
    pub resume: bool,
    /// How many bytes of a big file may have to be copied again after an interruption.
    pub journal_interval_bytes: u64,
    /// What ends the copy early.
    pub stop: Arc<Stop>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            direct: DirectMode::Auto,
            sparse: Sparse::Auto,
            existing: Existing::default(),
            action: Action::Copy,
            follow: Follow::Never,
            one_file_system: false,
            parents: false,
            filter: Filter::default(),
            list: None,
            reflink: Reflink::Auto,
            preserve: Preserve::default(),
            hash: false,
            sync: true,
            dry_run: false,
            verify: false,
            repair: false,
            engine: EngineKind::Auto,
            queue_depth: 32,
            block_bytes: 1 << 20,
            rate_bytes_per_s: None,
            threads: 32,
            resume: false,
            journal_interval_bytes: 256 << 20,
            stop: Arc::default(),
        }
    }
}

impl Options {
    pub(super) fn scope(&self) -> Scope<'_> {
        Scope {
            follow: self.follow,
            one_file_system: self.one_file_system,
            filter: &self.filter,
            list: self.list.as_ref(),
            extra: self.action == Action::Compare,
        }
    }

    /// With what the options imply.
    pub(super) fn complete(mut self) -> Self {
        let compares = self.action == Action::Compare;
        // What is missing and copied is proved like the rest.
        self.verify |= compares && self.repair;
        self.sync &= !compares || self.repair;
        // What changes nothing leaves nothing to be gone on with.
        self.resume &= self.action == Action::Copy && !self.dry_run;
        self.hash |= self.verify || self.resume;
        self.sync |= self.resume;
        self
    }

    /// Whether a regular file that is copied to a symbolic link takes the place of what the link
    /// leads to.
    pub(super) fn writes_through_links(&self) -> bool {
        matches!(self.action, Action::Copy | Action::Attributes) && !self.existing.replaces_links()
    }

    /// Whether symbolic links may lead to what is in this directory.
    pub(super) fn follows_links(&self, dir: &Dir) -> bool {
        match self.follow {
            Follow::Always => true,
            Follow::Operands => dir.parent().is_none(),
            Follow::Never => false,
        }
    }

    /// Whether anything in the destination may be made or changed.
    pub(super) fn changes_destination(&self) -> bool {
        !self.dry_run && (self.action != Action::Compare || self.repair)
    }

    /// Whether a file of this size is one worker's job.
    pub(super) fn is_small(&self, size_bytes: u64) -> bool {
        self.action == Action::Attributes || route::is_small(self.direct, size_bytes)
    }

    /// Whether copies are read back before they get their names.
    pub(super) fn proves(&self) -> bool {
        self.verify && self.action != Action::Attributes
    }

    /// Whether holes are left, or made, in the copy of a file.
    pub(super) fn is_sparse(&self, stat: &Stat) -> bool {
        match self.sparse {
            Sparse::Always => true,
            Sparse::Never => false,
            Sparse::Auto => fs::allocated_bytes(stat) < stat.st_size as u64,
        }
    }

    /// The bytes that the copy of a file takes.
    pub(super) fn space_of(&self, stat: &Stat) -> u64 {
        let size_bytes = stat.st_size as u64;
        match self.is_sparse(stat) {
            true => size_bytes.min(fs::allocated_bytes(stat)),
            false => size_bytes,
        }
    }
}
