//! One source and where it goes. What can be refused is refused here.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use crate::fs::call::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::paths::{Named, Through, ends_with_slash, exact_target, split};
use crate::copy::options::{Action, Options};
use crate::copy::resume::JournalPlace;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileId, Sameness, Stat};
use crate::tree::{EntryKind, Follow, List};

/// One source and where it goes.
pub struct OperandPair {
    pub source: Named,
    pub target: Named,
    /// Of what is copied: of what the source leads to where it is a link that is followed.
    pub stat: Stat,
    pub followed: bool,
    /// It is named as what a process has open, and is a pipe or a terminal.
    pub is_stream: bool,
    /// The last folders of the source's path, which are made again below the destination.
    pub parents: Vec<OsString>,
}

impl OperandPair {
    /// The folder of the destination that is there before anything is copied.
    pub fn anchor(&self) -> &Path {
        let mut anchor = &*self.target.folder;
        for _ in &self.parents {
            anchor = anchor.parent().unwrap_or(anchor);
        }
        anchor
    }

    /// Where a journal may lie: beside the copy, so that it is no part of it. It lies in the copy
    /// where that is another filesystem, or where nothing may be made beside it.
    pub fn places(&self, anchor: &Path) -> Vec<JournalPlace> {
        let is_itself = self.target.name == ".";
        let beside =
            JournalPlace { folder: anchor.to_owned(), is_copied: is_itself, sources: Vec::new() };
        if !self.is_dir() || is_itself {
            return vec![beside];
        }
        let inside =
            JournalPlace { folder: self.target.path(), is_copied: true, sources: Vec::new() };
        let device = |path: &Path| {
            std::fs::metadata(if path.as_os_str().is_empty() { Path::new(".") } else { path })
                .map(|stat| stat.dev())
        };
        match (device(&inside.folder), device(anchor)) {
            (Ok(inside_device), Ok(beside_device)) if inside_device != beside_device => {
                vec![inside, beside]
            }
            _ => vec![beside, inside],
        }
    }

    /// Whether it is a directory whose entries are copied into this folder.
    pub fn fills(&self, folder: &Path) -> bool {
        let is_itself = self.target.name == "." && self.target.folder == folder;
        self.is_dir() && (is_itself || self.target.path() == folder)
    }

    pub fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }

    /// The source as a place, to be compared with others.
    fn open_source_path(&self) -> io::Result<OwnedFd> {
        let open = if self.followed { fs::open_path_behind } else { fs::open_path };
        open(&self.source.open_folder()?, &self.source.name)
    }

    /// A directory cannot be copied onto itself, nor anywhere below itself: climbs from the
    /// destination to the root. A source that is there once more where nothing shows it is found by
    /// the walk.
    fn refuse_own_inside(&self, named: &Path) -> Result<()> {
        let error =
            |cause: Cause| Error::new(Operation::CopyDirectoryTo, self.target.path(), cause);
        let io_error = |cause: io::Error| error(cause.into());
        let id = FileId::of(&self.stat);
        let is_source = |place: &OwnedFd| {
            let sameness = self.open_source_path().and_then(|source| fs::compare(source, place));
            sameness.map(Sameness::is_likely).map_err(io_error)
        };
        let mut folder = self.target.open_folder().map_err(io_error)?;
        let existing = fs::stat_at(&folder, &self.target.name).map_err(io_error)?;
        if existing.is_some_and(|existing| FileId::of(&existing) == id) {
            let existing = fs::open_path(&folder, &self.target.name).map_err(io_error)?;
            if is_source(&existing)? {
                return Err(error(Cause::SameFile));
            }
        }
        loop {
            let here = fs::stat(&folder).map_err(io_error)?;
            if FileId::of(&here) == id && is_source(&folder)? {
                return Err(error(Cause::IntoItself(named.to_owned())));
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let above = match crate::fs::call::openat(&folder, c"..", flags, Mode::empty()) {
                // A folder that this process may not look into is not gone through on the way down
                // either: nothing above it leads here.
                Err(Errno::ACCESS) => return Ok(()),
                above => above.map_err(|cause| io_error(cause.into()))?,
            };
            if fs::end_of_climb(&folder, &above).map_err(io_error)? {
                return Ok(());
            }
            folder = above;
        }
    }

    /// Whether this is the source of `earlier` once more, as far as that matters: backups keep what
    /// the second copy replaces.
    pub fn is_again(&self, earlier: &Self, options: &Options) -> bool {
        // It is left out in silence, so that it has to be shown. What cannot be opened any more
        // will be told when it is copied.
        let are_one = |one: io::Result<OwnedFd>, other: io::Result<OwnedFd>| {
            let sameness = one.and_then(|one| fs::compare(one, other?));
            sameness.is_ok_and(|sameness| sameness == Sameness::Same)
        };
        let same_folder = || are_one(self.source.open_folder(), earlier.source.open_folder());
        FileId::of(&self.stat) == FileId::of(&earlier.stat)
            && are_one(self.open_source_path(), earlier.open_source_path())
            && (self.is_dir()
                || (options.existing.backup.is_none()
                    && self.source.name == earlier.source.name
                    && same_folder()))
    }
}

/// How a destination names a copy.
#[derive(Clone, Copy, Debug)]
pub enum Naming<'a> {
    /// It is a directory, and the copy has its source's name there.
    Into(&'a Path),
    /// It is the copy's own name.
    As(&'a Path),
}

/// Looks at one source, and finds the name of its copy.
pub fn resolve(source: &Path, naming: Naming<'_>, options: &Options) -> Result<OperandPair> {
    let stat_error = |cause| Error::new(Operation::Stat, source, cause);
    let no_source = || Error::new(Operation::Stat, source, Cause::NoSource);
    if source.as_os_str().is_empty() {
        return Err(stat_error(io::Error::from_raw_os_error(libc::ENOENT)));
    }
    let (from, last) = split(source);
    let folder = from.open_folder().map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => Error::new(Operation::Open, source, Cause::NoSource),
        _ => Error::new(Operation::Open, source, cause),
    })?;
    let stat = fs::stat_at(&folder, &from.name).map_err(stat_error)?;
    let mut stat = stat.ok_or_else(no_source)?;
    let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    let is_magic = is_link
        && matches!(options.action, Action::Copy | Action::Attributes | Action::Compare)
        && fs::is_magic_link(&folder, &from.name).map_err(stat_error)?;
    let followed = is_magic || (is_link && options.follow != Follow::Never);
    if followed {
        stat = fs::stat_following(&folder, &from.name).map_err(stat_error)?;
    }
    let kind = FileType::from_raw_mode(stat.st_mode);
    let is_stream = is_magic && matches!(kind, FileType::Fifo | FileType::CharacterDevice);
    // A socket has to be spoken to, and a stream that is compared is gone.
    if let EntryKind::Special(special) = EntryKind::of_mode(kind)
        && ((is_magic && kind == FileType::Socket)
            || (is_stream && options.action == Action::Compare))
    {
        return Err(Error::new(Operation::Read, source, Cause::NotRegular(special)));
    }
    if kind != FileType::Directory {
        refuse_what_needs_a_directory(source, options)?;
    }
    let (target, parents) = (Named::default(), Vec::new());
    let mut pair = OperandPair { source: from, target, stat, followed, is_stream, parents };
    pair.target = match naming {
        Naming::Into(target) if options.parents => return pair.with_parents(source, target),
        Naming::Into(target) => Named { folder: target.to_owned(), name: last },
        Naming::As(target) => {
            let writes_through = kind == FileType::RegularFile && options.writes_through_links();
            let through = if writes_through { Through::Links } else { Through::Nothing };
            exact_target(target, kind, through)?
        }
    };
    if pair.is_dir() {
        pair.refuse_own_inside(source)?;
    }
    Ok(pair)
}

fn refuse_what_needs_a_directory(source: &Path, options: &Options) -> Result<()> {
    let refuse = |op| Err(Error::new(op, source, io::Error::from_raw_os_error(libc::ENOTDIR)));
    if ends_with_slash(source) {
        return refuse(Operation::Open);
    }
    if options.list.as_ref().is_some_and(List::has_names_below) {
        return refuse(Operation::CopyFromListBelow);
    }
    Ok(())
}

impl OperandPair {
    /// The pair whose source keeps its folders below `target`.
    fn with_parents(mut self, source: &Path, target: &Path) -> Result<Self> {
        let mut names = Vec::new();
        for component in source.components() {
            match component {
                Component::Normal(name) => names.push(name.to_owned()),
                Component::ParentDir => {
                    return Err(Error::new(Operation::CopyWithParents, source, Cause::LeadsUp));
                }
                Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            }
        }
        // The source is a root or a working directory: its contents go into the destination itself.
        let name = names.pop().unwrap_or_else(|| ".".into());
        let below: PathBuf = names.iter().collect();
        if name != "." {
            let root = if source.is_absolute() { "/" } else { "" };
            // With a slash at its end, a link was followed.
            self.followed |= self.source.name == ".";
            self.source = Named { folder: Path::new(root).join(&below), name: name.clone() };
        }
        self.target = Named { folder: target.to_owned(), name };
        if self.is_dir() {
            self.refuse_own_inside(source)?;
        }
        if !names.is_empty() {
            self.target.folder.push(below);
        }
        self.parents = names;
        Ok(self)
    }
}
