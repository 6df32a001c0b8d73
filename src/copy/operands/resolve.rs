//! What the user named: which source becomes which destination. Everything that can be refused is
//! refused here, before anything is touched.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::fs::call::OFlags;

use super::pair::{Naming, OperandPair, resolve};
use super::paths::{canonical, not_entered, split};
use crate::copy::options::Options;
use crate::copy::resume::{JournalIdentity, has_journal};
use crate::error::{Error, Operation, Result};
use crate::fs::{self, Name, Stat};
use crate::report::{Event, Skip};

/// How the destination is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A directory if it is one, else the copy's own name.
    Either(PathBuf),
    /// It must be a directory, and the copies go into it (`-t`).
    Directory(PathBuf),
    /// It is the copy's own name, also if it is a directory (`-T`).
    Exact(PathBuf),
}

impl Destination {
    /// Its path as the user wrote it.
    pub fn path(&self) -> &Path {
        match self {
            Self::Either(path) | Self::Directory(path) | Self::Exact(path) => path,
        }
    }
}

/// What is to be copied where.
pub struct Operands {
    pub(super) pairs: Vec<OperandPair>,
    /// Sources that are not there, or not to be copied to the destination.
    refused: Vec<PathBuf>,
    /// What reported paths are relative to: the destination, or its folder where it is a file.
    pub base: PathBuf,
}

impl Operands {
    /// Looks at sources and destination. Sources that are not copied come back as events beside the
    /// rest; a destination that cannot take any of them is the error. A directory that an
    /// interrupted copy made under its own name is not copied into, but gone on with.
    pub fn resolve(
        sources: &[PathBuf],
        destination: &Destination,
        options: &Options,
    ) -> Result<(Self, Vec<Event>)> {
        if let (Destination::Either(path), true) = (destination, options.resume)
            && let Ok((operands, refused)) =
                Self::resolve_as(sources, &Destination::Exact(path.clone()), options)
            && has_journal(&operands.journal_identity(options)?)?
        {
            return Ok((operands, refused));
        }
        Self::resolve_as(sources, destination, options)
    }

    fn resolve_as(
        sources: &[PathBuf],
        destination: &Destination,
        options: &Options,
    ) -> Result<(Self, Vec<Event>)> {
        let naming = naming(destination)?;
        if let Naming::As(target) = naming {
            refuse_for_one_name(target, sources, options)?;
        }
        let (mut pairs, mut events, mut refused) =
            (Vec::<OperandPair>::new(), Vec::new(), Vec::new());
        let mut by_target = HashMap::<PathBuf, Vec<usize>>::new();
        for source in sources {
            let pair = match resolve(source, naming, options) {
                Ok(pair) => pair,
                Err(error) => {
                    events.push(Event::Failed(error));
                    refused.push(source.clone());
                    continue;
                }
            };
            let known = by_target.entry(pair.target.path()).or_default();
            if known.iter().any(|&index| pair.is_again(&pairs[index], options)) {
                events.push(Event::Skipped(source.clone(), Skip::NamedTwice));
                continue;
            }
            let skip = pair.left_out(&options.filter);
            events.extend(skip.map(|why| Event::Skipped(source.clone(), why)));
            known.push(pairs.len());
            pairs.push(pair);
        }
        let base = match (naming, pairs.first()) {
            (Naming::As(_), Some(pair)) if !pair.is_dir() => pair.target.folder.clone(),
            (Naming::As(target) | Naming::Into(target), _) => target.to_owned(),
        };
        Ok((Self { pairs, refused, base }, events))
    }

    /// Where a path of a source or of its copy lies below the source; `.` for that itself. Nothing
    /// if it lies below neither, and more than one answer if source and destination lie in each
    /// other.
    pub fn below_source(&self, path: &Path) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> = Vec::new();
        for pair in &self.pairs {
            for root in [pair.source.path(), pair.target.path()] {
                let below = path.strip_prefix(root);
                found.extend(below.map(|path| {
                    if path.as_os_str().is_empty() { ".".into() } else { path.to_owned() }
                }));
            }
        }
        found
    }

    /// The paths of all sources, with what these answered.
    pub(in crate::copy) fn sources(&self) -> Vec<(PathBuf, Stat)> {
        self.pairs.iter().map(|pair| (pair.source.path(), pair.stat)).collect()
    }

    /// Whether there is nothing to copy.
    pub(in crate::copy) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// What a journal of this copy belongs to: paths, options and inodes. The paths are those of
    /// the destination and of all sources, also of missing ones, without links. The options are
    /// those that decide what a finished file is. Devices do not count, since a reboot may number
    /// them anew. The source's inode counts where there is one source. Of several, one that is back
    /// or was exchanged leaves the others known: each entry is compared with its record anyway.
    pub(in crate::copy) fn journal_identity(&self, options: &Options) -> Result<JournalIdentity> {
        let refused = self.refused.iter().map(|source| split(source).0);
        let sources = self.pairs.iter().map(|pair| pair.source.clone()).chain(refused);
        let mut sources = sources.map(|source| source.fingerprint()).collect::<Result<Vec<_>>>()?;
        sources.sort_unstable();
        let (mut id, mut binding) = (blake3::Hasher::new(), blake3::Hasher::new());
        id.update(sources.as_flattened());
        let mut places = Vec::new();
        if let Some(pair) = self.pairs.first() {
            identify_target(pair, sources.len(), &mut id, &mut binding)?;
            places = pair.places(pair.anchor());
            for place in &mut places {
                let into = self.pairs.iter().filter(|pair| pair.fills(&place.folder));
                place.sources = into.map(|pair| pair.source.path()).collect();
            }
        }
        let id = id.finalize();
        let chosen = format!("{:?} {}", options.preserve, options.verify);
        binding.update(id.as_bytes()).update(chosen.as_bytes());
        let id = u64::from_be_bytes(*id.as_bytes().first_chunk().expect("a hash has 32 bytes"));
        let (binding, base) = (*binding.finalize().as_bytes(), self.base.clone());
        Ok(JournalIdentity { id, binding, places, base })
    }
}

/// Whether the destination is a directory to copy into, or a name.
fn naming(destination: &Destination) -> Result<Naming<'_>> {
    let naming = match destination {
        Destination::Exact(path) => Naming::As(path),
        Destination::Either(path) if path.is_dir() => Naming::Into(path),
        Destination::Either(path) => Naming::As(path),
        Destination::Directory(path) => {
            let stat = std::fs::metadata(path)
                .map_err(|cause| not_entered(Operation::CopyInto, path, cause))?;
            if !stat.is_dir() {
                return Err(not_a_directory(Operation::CopyInto, path));
            }
            Naming::Into(path)
        }
    };
    let (Naming::Into(target) | Naming::As(target)) = naming;
    if target.as_os_str().is_empty() {
        let cause = io::Error::from_raw_os_error(libc::ENOENT);
        return Err(Error::new(Operation::Create, target, cause));
    }
    Ok(naming)
}

/// Several sources, and sources with their parents, need a directory.
fn refuse_for_one_name(target: &Path, sources: &[PathBuf], options: &Options) -> Result<()> {
    if sources.len() > 1 {
        return Err(not_a_directory(Operation::CopySeveralFilesInto, target));
    }
    if options.parents {
        return Err(not_a_directory(Operation::CopyWithParentsInto, target));
    }
    Ok(())
}

fn not_a_directory(op: Operation, path: &Path) -> Error {
    let is_there = path.symlink_metadata().is_ok();
    let errno = if is_there { libc::ENOTDIR } else { libc::ENOENT };
    not_entered(op, path, io::Error::from_raw_os_error(errno))
}

/// Adds the destination of the first pair, and the inodes that have to stay.
fn identify_target(
    pair: &OperandPair,
    sources: usize,
    id: &mut blake3::Hasher,
    binding: &mut blake3::Hasher,
) -> Result<()> {
    let (target, path) = (canonical(pair.anchor())?, pair.target.path());
    // Looked at by the way that the user wrote: the one from the root may be shut.
    let mut stats = vec![(pair.anchor(), OsStr::new("."))];
    let mut below = Path::new("");
    if sources == 1 {
        below = path.strip_prefix(pair.anchor()).unwrap_or(&path);
        stats.push((&pair.source.folder, &pair.source.name));
    }
    for part in [target.as_os_str(), below.as_os_str()] {
        id.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    for (folder, name) in stats {
        let ino_and_birth = fs::open_folder(folder, OFlags::PATH)
            .and_then(|dir| fs::ino_and_birth(Name { dir: &dir, name, is_followed: pair.followed }))
            .map_err(|cause| Error::new(Operation::Stat, folder.join(name), cause))?;
        binding.update(&ino_and_birth);
    }
    Ok(())
}
