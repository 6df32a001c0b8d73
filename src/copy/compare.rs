//! Comparing what stands in the destination with the source, both read from their devices, and
//! mending it in place.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{OFlags, readlinkat};

use super::blocks;
use super::file::Source;
use super::pairs::{Met, Other, Pair, Ranges};
use super::readback::{Extent, Readings};
use super::verify::Broken;
use super::worker::Run;
use crate::digest::LeafHash;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileType, Stat};
use crate::pipeline::{Failure, Moved, Progress, route};
use crate::report::{Event, Proof, Totals, What};
use crate::tree::{Counterpart, Entry, EntryKind, OpenDir};

/// What stands for the leaf of a block that is a hole on both sides. With it a root is no file's
/// hash, but equal on both sides if all leaves are.
const COMMON_HOLE: LeafHash = [0; 32];

/// A source and its counterpart, and what of both has to be compared.
struct Comparison {
    entry: Entry,
    source: Source,
    target: Source,
    extent: Extent,
    /// Other names wait for this one.
    pair: Option<Pair>,
}

/// What came of reading one of the two.
type Read = std::result::Result<(Moved, Proof), Failure>;

/// What is to be done about an entry.
enum Found {
    /// Its data is to be read.
    ToRead(Box<Comparison>),
    /// It is to be copied, since it is missing or has to be replaced.
    ToCopy(Entry),
    /// Another name of it is being compared.
    Waits,
    /// Nothing any more.
    Done,
}

impl Run<'_> {
    /// Finds the counterpart of a directory, and makes one that is missing if everything is to be
    /// mended.
    pub fn find_counterpart(
        &self,
        parent: &OpenDir,
        target_name: &OsStr,
    ) -> Result<Option<Counterpart>> {
        let path = parent.target_path(target_name);
        let stands = fs::stat_at(&*parent.target, target_name)
            .map_err(|cause| Error::new(Operation::Stat, &path, cause))?;
        match stands.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Some(FileType::Directory) => Ok(Some(Counterpart::Found)),
            Some(kind) => {
                self.tell_difference(
                    path,
                    What::Kind { is: kind_name(kind), was: "directory" },
                    false,
                );
                Ok(None)
            }
            None if self.options.repair => {
                self.begin_mending(parent);
                let made = self.make_dir(parent, target_name)?;
                self.tell_difference(path, What::Missing, true);
                Ok(Some(made))
            }
            None => {
                self.tell_difference(path, What::Missing, false);
                Ok(None)
            }
        }
    }

    /// Compares the entries of a batch: all big files are being read before the first is waited
    /// for, and the small ones of each side are read together. What is to be copied comes back, and
    /// further names of it elsewhere.
    pub fn compare_batch(&self, dir: &OpenDir, entries: Vec<Entry>) -> (Vec<Entry>, Vec<Other>) {
        let (mut found, mut to_copy, mut others) = (Vec::new(), Vec::new(), Vec::new());
        let mut met = entries.len();
        for entry in entries {
            if self.stop.is_requested() {
                continue;
            }
            match self.begin_comparing(dir, entry) {
                Ok(Found::ToRead(comparison)) => found.push(comparison),
                Ok(Found::ToCopy(entry)) => to_copy.push(entry),
                Ok(Found::Waits) => met -= 1,
                Ok(Found::Done) => {}
                Err(error) => self.fail(error),
            }
        }
        // As their sources were made, which is how they lie on the device more often than how a
        // directory lists them.
        found.sort_unstable_by_key(|comparison| comparison.source.stat.st_ino);
        let (mut sources, mut targets) = (Readings::default(), Readings::default());
        for Comparison { source, target, extent, .. } in
            found.iter().map(|comparison| &**comparison)
        {
            let reader = self.reader(Progress::Handled(Arc::clone(&source.handled_bytes)));
            sources.push(reader, &source.file, extent.clone());
            let reader = self.reader_through(self.target_pipeline, Progress::Proved);
            targets.push(reader, &target.file, extent.clone());
        }
        // Both are waited for, also if one fails: nothing is read any more when the files are
        // closed.
        let read = sources.finish().into_iter().zip(targets.finish());
        for (comparison, read) in found.into_iter().zip(read) {
            let pair = comparison.pair;
            let replaced = self.finish_comparing(dir, *comparison, read).unwrap_or_else(|error| {
                self.fail(error);
                None
            });
            let (entry, ranges) = replaced.unzip();
            others.extend(pair.into_iter().flat_map(|pair| self.end_pair(pair, ranges.as_ref())));
            to_copy.extend(entry);
        }
        if !to_copy.is_empty() {
            self.begin_mending(dir);
        }
        others.iter().for_each(|other| self.begin_mending(&other.dir));
        // What is to be copied is met by the copy, and what waits when it is over.
        Totals::add(&self.totals.met, (met - to_copy.len()) as u64);
        (to_copy, others)
    }

    fn begin_comparing(&self, dir: &OpenDir, entry: Entry) -> Result<Found> {
        if let EntryKind::Special(_) = entry.kind
            && !self.keeper.preserve().specials
        {
            return Ok(Found::Done);
        }
        let name = entry.target_name();
        let path = || dir.target_path(name);
        // A file that the filter leaves out by its size is not missed.
        let source = match entry.kind {
            EntryKind::File => Some(self.open_source(dir, &entry)?),
            _ => None,
        };
        if source
            .as_ref()
            .is_some_and(|source| self.options.filter.excludes_size(source.stat.st_size as u64))
        {
            return Ok(Found::Done);
        }
        let stands = if dir.fresh { Ok(None) } else { fs::stat_at(&*dir.target, name) };
        let Some(stands) = stands.map_err(|cause| Error::new(Operation::Stat, path(), cause))?
        else {
            if self.options.repair {
                return Ok(Found::ToCopy(entry));
            }
            self.tell_difference(path(), What::Missing, false);
            return Ok(Found::Done);
        };
        let is = FileType::from_raw_mode(stands.st_mode);
        if EntryKind::of_mode(is) != entry.kind || is == FileType::Directory {
            self.tell_difference(
                path(),
                What::Kind { is: kind_name(is), was: entry.kind.name() },
                false,
            );
            return Ok(Found::Done);
        }
        match source {
            Some(source) => self.find_extent(dir, entry, source),
            None => self.compare_unread(dir, &entry, &stands).map(|()| Found::Done),
        }
    }

    /// Links by where they lead, devices by their numbers.
    fn compare_unread(&self, dir: &OpenDir, entry: &Entry, stands: &Stat) -> Result<()> {
        let name = entry.target_name();
        let source_error =
            |cause: io::Error| Error::new(Operation::ReadLink, dir.source_path(&entry.name), cause);
        let target_error =
            |cause: io::Error| Error::new(Operation::ReadLink, dir.target_path(name), cause);
        if entry.kind == EntryKind::Link {
            let read = |dir: &OwnedFd, name: &OsStr| -> io::Result<PathBuf> {
                use std::os::unix::ffi::OsStringExt;
                let contents = readlinkat(dir, name, Vec::new())?;
                Ok(PathBuf::from(std::ffi::OsString::from_vec(contents.into_bytes())))
            };
            let source = read(&dir.source, &entry.name).map_err(source_error)?;
            let to = read(&dir.target, name).map_err(target_error)?;
            if to.as_os_str() != source.as_os_str() {
                self.tell_difference(dir.target_path(name), What::Link { to, source }, false);
            }
            return Ok(());
        }
        let source = fs::stat_at(&*dir.source, &entry.name)
            .and_then(|stat| stat.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
            .map_err(|cause| Error::new(Operation::Stat, dir.source_path(&entry.name), cause))?;
        if source.st_rdev != stands.st_rdev {
            self.tell_difference(dir.target_path(name), What::Device, false);
        }
        Ok(())
    }

    fn find_extent(&self, dir: &OpenDir, entry: Entry, source: Source) -> Result<Found> {
        let target = self.open_target(dir, &entry, OFlags::RDONLY)?;
        if fs::same_file(&source.stat, &target.stat) {
            return Ok(Found::Done);
        }
        // What one of them has more differs without being read, and what is a hole in both is the
        // same.
        let size_bytes = common_bytes(&source, &target);
        let known = self
            .common_holes(&source.file, &target.file, size_bytes)
            .map_err(|cause| Error::new(Operation::Seek, dir.source_path(&entry.name), cause))?;
        let (entry, pair) = match self.meet_pair(dir, entry, [&source.stat, &target.stat]) {
            Met::Compare(entry, pair) => (entry, pair),
            Met::Differs(entry, ranges) => {
                self.replace_later(dir, &entry, ranges);
                return Ok(Found::ToCopy(entry));
            }
            Met::Waits => return Ok(Found::Waits),
            Met::Done => return Ok(Found::Done),
        };
        let extent = Extent { size_bytes, known };
        Totals::add(&self.totals.found_bytes, source.size_bytes());
        Ok(Found::ToRead(Box::new(Comparison { entry, source, target, extent, pair })))
    }

    /// Stand-ins for the leaves of the blocks that are holes in both files, so that nobody hashes
    /// their zeros.
    fn common_holes(
        &self,
        source: &OwnedFd,
        target: &OwnedFd,
        size_bytes: u64,
    ) -> io::Result<Vec<Option<LeafHash>>> {
        let block_bytes = self.options.block_bytes;
        let data = |file| route::data_blocks_of(file, size_bytes, block_bytes);
        let (Some(source), Some(target)) = (data(source)?, data(target)?) else {
            return Ok(Vec::new());
        };
        let count = size_bytes.div_ceil(block_bytes);
        let is_data =
            |bits: &[u64], block: u64| bits[(block / 64) as usize] >> (block % 64) & 1 == 1;
        let hole = |block| !is_data(&source, block) && !is_data(&target, block);
        Ok((0..count).map(|block| (count > 1 && hole(block)).then_some(COMMON_HOLE)).collect())
    }

    fn open_target(&self, dir: &OpenDir, entry: &Entry, access: OFlags) -> Result<Source> {
        let name = entry.target_name();
        let error = |op, cause: io::Error| Error::new(op, dir.target_path(name), cause);
        let opened = match access {
            OFlags::RDONLY => fs::open_to_read(&*dir.target, name),
            access => fs::open_beneath(&*dir.target, name, access | OFlags::NONBLOCK),
        };
        let file = opened.map_err(|cause| error(Operation::Open, cause))?;
        let stat = fs::stat(&file).map_err(|cause| error(Operation::Stat, cause))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::new(Operation::Open, dir.target_path(name), Cause::Swapped));
        }
        Ok(Source::new(file, stat))
    }

    /// Tells what came of it, or mends it. A copy that has to be replaced comes back with what
    /// differs.
    fn finish_comparing(
        &self,
        dir: &OpenDir,
        comparison: Comparison,
        (wanted, found): (Read, Read),
    ) -> Result<Option<(Entry, Ranges)>> {
        let Comparison { entry, source, target, .. } = comparison;
        self.over(source.size_bytes(), &source.handled_bytes);
        let (wanted, _) = wanted.map_err(|failure| source_error(dir, &entry, failure))?;
        let (found, proof) = found.map_err(|failure| target_error(dir, &entry, failure))?;
        let changed = |op, path| Error::new(op, path, Cause::ChangedWhileRead);
        for (file, path) in [
            (&source, dir.source_path(&entry.name)),
            (&target, dir.target_path(entry.target_name())),
        ] {
            if !file.is_unchanged().map_err(|cause| Error::new(Operation::Stat, &path, cause))? {
                return Err(changed(Operation::Compare, path));
            }
        }
        let (common_bytes, sizes) =
            (common_bytes(&source, &target), [source.size_bytes(), target.size_bytes()]);
        let bad = blocks::differing(&found.leaves, &wanted.leaves);
        let mut ranges = blocks::ranges(&bad, common_bytes, self.options.block_bytes);
        blocks::push(&mut ranges, common_bytes..sizes[0].max(sizes[1]));
        if ranges.is_empty() {
            self.tell_same(dir, &entry, proof);
            return Ok(None);
        }
        if !self.options.repair {
            self.tell_ranges(dir, &entry, &ranges, false);
            return Ok(None);
        }
        if target.stat.st_nlink > 1 {
            self.replace_later(dir, &entry, ranges.clone());
            return Ok(Some((entry, ranges)));
        }
        let proof = self.repair(dir, &entry, (&source, &target), (wanted, found), ranges)?;
        if !source
            .is_unchanged()
            .map_err(|cause| Error::new(Operation::Stat, dir.source_path(&entry.name), cause))?
        {
            return Err(changed(Operation::RepairFrom, dir.source_path(&entry.name)));
        }
        self.tell_same(dir, &entry, proof);
        Ok(None)
    }

    fn tell_same(&self, dir: &OpenDir, entry: &Entry, proof: Proof) {
        self.count_proof(proof);
        if self.sink.wants_files() {
            self.sink.event(Event::Same(dir.target_path(entry.target_name()), proof));
        }
    }

    /// Writes in place what differs, and gives the file the size of its source.
    fn repair(
        &self,
        dir: &OpenDir,
        entry: &Entry,
        (source, target): (&Source, &Source),
        (wanted, found): (Moved, Moved),
        ranges: Vec<std::ops::Range<u64>>,
    ) -> Result<Proof> {
        // What differs is told, also where it cannot be mended.
        let open = self.open_target(dir, entry, OFlags::RDWR);
        let open = open.inspect_err(|_| self.tell_ranges(dir, entry, &ranges, false))?;
        // Somebody may have put another file there meanwhile, or given this one another name.
        let is_same = fs::same_file(&open.stat, &target.stat);
        if !is_same || open.stat.st_nlink > 1 {
            self.tell_ranges(dir, entry, &ranges, false);
            let cause = if is_same { Cause::ChangedWhileRead } else { Cause::Swapped };
            return Err(Error::new(Operation::Open, dir.target_path(entry.target_name()), cause));
        }
        let (size_bytes, common_bytes) = (source.size_bytes(), common_bytes(source, target));
        let resized = size_bytes != target.size_bytes();
        if resized {
            fs::set_size(&*open.file, size_bytes).map_err(|cause| {
                Error::new(Operation::SetSize, dir.target_path(entry.target_name()), cause)
            })?;
        }
        let block_bytes = self.options.block_bytes;
        let count = size_bytes.div_ceil(block_bytes).max(1);
        // A file of one block has no leaf of a part; and of one that grows only whole blocks are
        // known to be right.
        let grows = size_bytes > common_bytes;
        let is_whole =
            |block: u64| (block + 1) * block_bytes <= common_bytes && common_bytes > block_bytes;
        let trusted = |block: u64| !resized || (count > 1 && (!grows || is_whole(block)));
        let is_bad = |block: u64| {
            let leaf = |moved: &Moved| moved.leaves.get(block as usize).copied();
            !trusted(block) || leaf(&wanted) != leaf(&found)
        };
        let bad = (0..count).map(is_bad).collect();
        let padded = |mut leaves: Vec<_>| {
            leaves.resize(count as usize, [0; 32]);
            leaves
        };
        let hash = if grows { None } else { wanted.root() };
        let (wanted, found) = (padded(wanted.leaves), padded(found.leaves));
        self.mend(Broken {
            dir,
            entry,
            source,
            target: &open.file,
            size_bytes,
            hash,
            wanted,
            found,
            bad,
            ranges,
        })
    }
}

fn common_bytes(source: &Source, target: &Source) -> u64 {
    source.size_bytes().min(target.size_bytes())
}

fn source_error(dir: &OpenDir, entry: &Entry, failure: Failure) -> Error {
    failure.of(dir.source_path(&entry.name))
}

fn target_error(
    dir: &OpenDir,
    entry: &Entry,
    Failure { op, offset_bytes, cause, .. }: Failure,
) -> Error {
    Error::new(op, dir.target_path(entry.target_name()), cause).at(offset_bytes)
}

fn kind_name(kind: FileType) -> &'static str {
    if kind == FileType::Directory { "directory" } else { EntryKind::of_mode(kind).name() }
}
