//! What the user named: which source becomes which destination. Everything that can be refused is
//! refused here, before anything is touched.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags};

use super::Options;
use super::resume::{Bond, Place};
use super::worker::Run;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, Stat};
use crate::report::{Event, Skip};
use crate::tree::{self, Batch, Dir, Entry, EntryKind, Follow, List, OpenDir, OpenDirs, Visitor};

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

/// One source and where it goes.
struct Pair {
    source: Named,
    target: Named,
    /// Of what is copied: of what the source leads to where it is a link that is followed.
    stat: Stat,
    followed: bool,
    /// The last folders of the source's path, which are made again below the destination.
    parents: Vec<OsString>,
}

/// A name in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Named {
    folder: PathBuf,
    name: OsString,
}

impl Named {
    fn path(&self) -> PathBuf {
        if self.name == "." { self.folder.clone() } else { self.folder.join(&self.name) }
    }

    /// 32 bytes that stand for the name, however it is spelled; also if its folder is missing.
    fn print(&self) -> Result<[u8; 32]> {
        let folder = canonical(&self.folder)
            .or_else(|error| std::path::absolute(&self.folder).map_err(|_| error))?;
        let mut print = blake3::Hasher::new();
        print.update(&(folder.as_os_str().len() as u64).to_le_bytes());
        print.update(folder.as_os_str().as_bytes()).update(self.name.as_bytes());
        Ok(*print.finalize().as_bytes())
    }

    fn open_folder_with(&self, flags: OFlags) -> io::Result<OwnedFd> {
        fs::open_folder(&self.folder, flags)
    }

    /// The folder as a place to look names up in, which needs no right to list it.
    fn open_folder(&self) -> io::Result<OwnedFd> {
        self.open_folder_with(OFlags::PATH)
    }

    /// The folder as something that can be synced.
    fn open_folder_to_sync(&self) -> io::Result<OwnedFd> {
        self.open_folder_with(OFlags::RDONLY)
    }
}

/// What is to be copied where.
pub struct Operands {
    pairs: Vec<Pair>,
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
            && operands.bond(options)?.has_journal()
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
        let not_a_directory = |op, path: &PathBuf| {
            let is_there = path.symlink_metadata().is_ok();
            Err(Error::new(
                op,
                path,
                io::Error::from_raw_os_error(if is_there { libc::ENOTDIR } else { libc::ENOENT }),
            ))
        };
        let (target, into) = match destination {
            Destination::Exact(path) => (path, false),
            Destination::Directory(path) => {
                let stat = std::fs::metadata(path)
                    .map_err(|cause| Error::new(Operation::CopyInto, path, cause))?;
                if !stat.is_dir() {
                    return not_a_directory(Operation::CopyInto, path);
                }
                (path, true)
            }
            Destination::Either(path) => (path, path.is_dir()),
        };
        if target.as_os_str().is_empty() {
            return Err(Error::new(
                Operation::Create,
                target,
                io::Error::from_raw_os_error(libc::ENOENT),
            ));
        }
        if !into && sources.len() > 1 {
            return not_a_directory(Operation::CopySeveralFilesInto, target);
        }
        if !into && options.parents {
            return not_a_directory(Operation::CopyWithParentsInto, target);
        }
        let (mut pairs, mut refused, mut refused_sources) =
            (Vec::<Pair>::new(), Vec::new(), Vec::new());
        let mut by_target = HashMap::<PathBuf, Vec<usize>>::new();
        for source in sources {
            let pair = match resolve(source, target, into, options) {
                Ok(pair) => pair,
                Err(error) => {
                    refused.push(Event::Failed(error));
                    refused_sources.push(source.clone());
                    continue;
                }
            };
            let known = by_target.entry(pair.target.path()).or_default();
            if known.iter().any(|&index| pair.is_again(&pairs[index], options)) {
                refused.push(Event::Skipped(source.clone(), Skip::NamedTwice));
                continue;
            }
            known.push(pairs.len());
            pairs.push(pair);
        }
        let base = match pairs.first() {
            Some(pair) if !into && !pair.is_dir() => pair.target.folder.clone(),
            _ => target.clone(),
        };
        Ok((Self { pairs, refused: refused_sources, base }, refused))
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

    /// Whether there is nothing to copy.
    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Hands everything to the run, one operand after the other. One that goes where an earlier one
    /// went waits until that is done, so that it finds there what cp would.
    pub(super) fn walk(&self, run: &Run<'_>) {
        let mut begun = BTreeSet::new();
        for pair in &self.pairs {
            if run.stop.is_requested() {
                return;
            }
            let path = pair.target.path();
            let below = begun
                .range(path.clone()..)
                .next()
                .is_some_and(|known: &PathBuf| known.starts_with(&path));
            if below || path.ancestors().any(|above| begun.contains(above)) {
                run.queue.drain();
            }
            begun.insert(path);
            if let Err(error) = pair.walk(run) {
                run.fail(error);
            }
        }
    }
}

impl Operands {
    /// What a journal of this copy belongs to: the paths of all sources, also of those that are
    /// missing today, and of the destination, all without links; the options on which it depends
    /// what a finished file is; and inodes, but not their devices, whose numbers may be others
    /// after a reboot. The source's inode counts where there is one source. Of several, one that is
    /// back or was exchanged does not make the others unknown; each entry is compared with its
    /// record anyway.
    pub(super) fn bond(&self, options: &Options) -> Result<Bond> {
        let refused = self.refused.iter().map(|source| split(source).0);
        let sources = self.pairs.iter().map(|pair| pair.source.clone()).chain(refused);
        let mut sources = sources.map(|source| source.print()).collect::<Result<Vec<_>>>()?;
        sources.sort_unstable();
        let (mut id, mut binding) = (blake3::Hasher::new(), blake3::Hasher::new());
        id.update(sources.as_flattened());
        let mut places = Vec::new();
        if let Some(pair) = self.pairs.first() {
            let target = canonical(pair.anchor())?;
            let mut stats = vec![(target.as_path(), OsStr::new("."))];
            let (mut below, source) = (pair.target.path(), canonical(&pair.source.folder)?);
            if sources.len() == 1 {
                below = below.strip_prefix(pair.anchor()).map(Path::to_owned).unwrap_or(below);
                stats.push((&source, &pair.source.name));
            } else {
                below = PathBuf::new();
            }
            for part in [target.as_os_str(), below.as_os_str()] {
                id.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
            }
            for (folder, name) in stats {
                let ino_and_birth = fs::open_folder(folder, OFlags::PATH)
                    .and_then(|open| fs::ino_and_birth(&open, name, pair.followed))
                    .map_err(|cause| Error::new(Operation::Stat, folder.join(name), cause))?;
                binding.update(&ino_and_birth);
            }
            places = pair.places(pair.anchor());
        }
        let id = id.finalize();
        binding
            .update(id.as_bytes())
            .update(format!("{:?} {}", options.preserve, options.verify).as_bytes());
        let id = u64::from_be_bytes(*id.as_bytes().first_chunk().expect("a hash has 32 bytes"));
        Ok(Bond { id, binding: *binding.finalize().as_bytes(), places, base: self.base.clone() })
    }
}

/// A path without links, dots and double slashes.
fn canonical(path: &Path) -> Result<PathBuf> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    path.canonicalize().map_err(|cause| Error::new(Operation::Resolve, path, cause))
}

impl Pair {
    /// The folder of the destination that is there before anything is copied.
    fn anchor(&self) -> &Path {
        let mut anchor = &*self.target.folder;
        for _ in &self.parents {
            anchor = anchor.parent().unwrap_or(anchor);
        }
        anchor
    }

    /// Where a journal may lie: beside the copy, so that it is no part of it; in it where that is
    /// another filesystem, or where nothing may be made beside it.
    fn places(&self, anchor: &Path) -> Vec<Place> {
        let is_itself = self.target.name == ".";
        let beside = Place { folder: anchor.to_owned(), is_copied: is_itself };
        if !self.is_dir() || is_itself {
            return vec![beside];
        }
        let inside = Place { folder: self.target.path(), is_copied: true };
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

    fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode) == FileType::Directory
    }

    /// Whether this is the source of `earlier` once more, as far as that matters: backups keep what
    /// the second copy replaces.
    fn is_again(&self, earlier: &Self, options: &Options) -> bool {
        let same_folder = || match (self.source.open_folder(), earlier.source.open_folder()) {
            (Ok(one), Ok(other)) => {
                matches!((fs::stat(one), fs::stat(other)), (Ok(one), Ok(other)) if fs::same_file(&one, &other))
            }
            // What cannot be opened any more will be told when it is copied.
            _ => false,
        };
        fs::same_file(&self.stat, &earlier.stat)
            && (self.is_dir()
                || (options.existing.backup.is_none()
                    && self.source.name == earlier.source.name
                    && same_folder()))
    }

    fn walk(&self, run: &Run<'_>) -> Result<()> {
        let scope = run.options.scope();
        let root = self.open_root(&run.open_dirs)?;
        run.begin_syncs(&root);
        let mut dir = Arc::clone(root.dir());
        drop(root);
        for name in &self.parents {
            let entered = tree::enter(&dir, name, &scope, run);
            run.release_dir(dir);
            let Some(entered) = entered? else { return Ok(()) };
            run.entered(&entered);
            dir = Arc::clone(entered.dir());
        }
        let Self { source, target, stat, followed, .. } = self;
        let renamed = (source.name != target.name).then(|| target.name.clone());
        let kind = EntryKind::of_mode(FileType::from_raw_mode(stat.st_mode));
        let entry = Entry {
            name: source.name.clone(),
            renamed,
            kind,
            ino: (!followed).then_some(stat.st_ino),
            followed: *followed,
        };
        if self.is_dir() {
            tree::walk(&dir, &entry, &scope, run);
        } else if !run.options.filter.excludes(source.name.as_bytes(), false)
            && run.options.list.as_ref().is_none_or(List::is_everything)
        {
            dir.hold();
            run.batch(Batch { dir: dir.clone(), entries: vec![entry] });
        }
        run.release_dir(dir);
        Ok(())
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
        let source_fd = source
            .open_folder()
            .map_err(|cause| Error::new(Operation::OpenDirectory, &source.folder, cause))?;
        let target_fd = target
            .open_folder_to_sync()
            .map_err(|cause| Error::new(Operation::OpenDirectory, &target.folder, cause))?;
        let (source_path, target_path) = (source.folder.clone(), target.folder);
        Dir::root(source_fd, target_fd, (source_path, target_path), open_dirs)
            .map_err(|cause| Error::new(Operation::Stat, &source.folder, cause))
    }
}

fn resolve(source: &Path, target: &Path, into: bool, options: &Options) -> Result<Pair> {
    let missing = || io::Error::from_raw_os_error(libc::ENOENT);
    let stat_error = |cause| Error::new(Operation::Stat, source, cause);
    let open_error = |cause: io::Error| Error::new(Operation::Open, source, cause);
    if source.as_os_str().is_empty() {
        return Err(stat_error(missing()));
    }
    let (from, last) = split(source);
    let folder = from.open_folder().map_err(open_error)?;
    let mut stat = fs::stat_at(&folder, &from.name)
        .and_then(|stat| stat.ok_or_else(missing))
        .map_err(stat_error)?;
    let followed = options.follow != Follow::Never
        && FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
    if followed {
        stat = fs::stat_following(&folder, &from.name).map_err(stat_error)?;
    }
    let kind = FileType::from_raw_mode(stat.st_mode);
    let is_dir = kind == FileType::Directory;
    if !is_dir && ends_with_slash(source) {
        return Err(open_error(io::Error::from_raw_os_error(libc::ENOTDIR)));
    }
    if !is_dir && options.list.as_ref().is_some_and(List::has_names_below) {
        return Err(Error::new(
            Operation::CopyFromListBelow,
            source,
            io::Error::from_raw_os_error(libc::ENOTDIR),
        ));
    }
    let mut pair =
        Pair { source: from, target: Named::default(), stat, followed, parents: Vec::new() };
    pair.target = match into {
        true if options.parents => return pair.with_parents(source, target),
        true => Named { folder: target.to_owned(), name: last },
        false => {
            let through = kind == FileType::RegularFile && options.writes_through_links();
            exact_target(target, is_dir, through)?
        }
    };
    if is_dir {
        refuse_own_inside(source, &pair.stat, &pair.target)?;
    }
    Ok(pair)
}

impl Pair {
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
            refuse_own_inside(source, &self.stat, &self.target)?;
        }
        if !names.is_empty() {
            self.target.folder.push(below);
        }
        self.parents = names;
        Ok(self)
    }
}

/// The destination as a name in a folder. With `through`, a link is followed, as the user named it,
/// and refused if it leads nowhere; otherwise the copy takes the place of the link itself.
fn exact_target(target: &Path, source_is_dir: bool, through: bool) -> Result<Named> {
    let error = |cause: io::Error| Error::new(Operation::Create, target, cause);
    if ends_with_slash(target) && !source_is_dir {
        return Err(error(io::Error::from_raw_os_error(libc::ENOTDIR)));
    }
    let is_link = target.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
    let followed = match is_link && through {
        true => target
            .canonicalize()
            .map_err(|cause| Error::new(Operation::WriteThroughDanglingLink, target, cause))?,
        false => target.to_owned(),
    };
    let (named, _) = split(&followed);
    // A folder that is missing is told before anything is copied.
    named.open_folder().map_err(error)?;
    Ok(named)
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

/// A path as a name in a folder, and the name that a copy of it has in another folder. What ends in
/// `.`, `..` or `/`-after-a-link is the directory itself: `.` in it, and a copy of `dir/.` is
/// merged into the destination, as in `cp`.
fn split(path: &Path) -> (Named, OsString) {
    let bytes = path.as_os_str().as_bytes();
    let end = bytes.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    let trimmed = Path::new(OsStr::from_bytes(&bytes[..end]));
    let (folder, name) = match bytes[..end].iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&bytes[..=slash], &bytes[slash + 1..end]),
        None => (&bytes[..0], &bytes[..end]),
    };
    let name = OsStr::from_bytes(name).to_owned();
    let is_dots = matches!(name.as_bytes(), b"" | b"." | b"..");
    let followed =
        end < bytes.len() && trimmed.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
    if is_dots {
        (Named { folder: path.to_owned(), name: ".".into() }, ".".into())
    } else if followed {
        (Named { folder: path.to_owned(), name: ".".into() }, name)
    } else {
        (Named { folder: PathBuf::from(OsStr::from_bytes(folder)), name: name.clone() }, name)
    }
}

/// A directory cannot be copied onto itself, nor anywhere below itself: climbs from the destination
/// to the root.
fn refuse_own_inside(source: &Path, stat: &Stat, target: &Named) -> Result<()> {
    let error = |cause: Cause| Error::new(Operation::CopyDirectoryTo, target.path(), cause);
    let io_error = |cause: io::Error| error(cause.into());
    let mut folder = target.open_folder().map_err(io_error)?;
    let existing = fs::stat_at(&folder, &target.name).map_err(io_error)?;
    if existing.is_some_and(|existing| fs::same_file(&existing, stat)) {
        return Err(error(Cause::SameFile));
    }
    let mut here = fs::stat(&folder).map_err(io_error)?;
    loop {
        if fs::same_file(&here, stat) {
            return Err(error(Cause::IntoItself(source.to_owned())));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        folder = rustix::fs::openat(&folder, c"..", flags, Mode::empty())
            .map_err(|cause| io_error(cause.into()))?;
        let above = fs::stat(&folder).map_err(io_error)?;
        if fs::same_file(&above, &here) {
            return Ok(());
        }
        here = above;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn paths_split_into_folder_and_name() {
        let named = |folder: &str, name: &str| Named { folder: folder.into(), name: name.into() };
        for (path, folder, name, last) in [
            ("a", "", "a", "a"),
            ("a/b//", "a/", "b", "b"),
            ("/a", "/", "a", "a"),
            ("/", "/", ".", "."),
            (".", ".", ".", "."),
            ("a/.", "a/.", ".", "."),
            ("a/..", "a/..", ".", "."),
        ] {
            assert_eq!(split(Path::new(path)), (named(folder, name), last.into()), "{path}");
        }
    }
}
