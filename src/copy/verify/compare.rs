//! Comparing what stands in the destination with the source, both read from their devices, and
//! mending it in place.

use std::ffi::OsStr;
use std::io;
use std::iter::Peekable;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::vec::IntoIter;

use crate::fs::call::{OFlags, readlinkat};

use super::blocks::{self, Resized};
use super::mend::Broken;
use super::pairs::{FilePair, NameCount, Other, PairTurn};
use super::readback::{Extent, Readings};
use super::service::Verify;
use crate::copy::entry::{At, Source, open_unleased, settle};
use crate::copy::events::{Counted, InHand, Mended, Ranges};
use crate::copy::stop::Stop;
use crate::digest::LeafHash;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileId, FileType, Identity, Moment, Node, Sameness, Seen, Settled, Stat};
use crate::pipeline::{Failure, LEAVES_MAX, Moved, Progress, route};
use crate::report::{Proof, Totals, What};
use crate::tree::{Entry, EntryKind, OpenDir};

/// What stands for the leaf of a block that is a hole on both sides. With it a root is no file's
/// hash, but equal on both sides if all leaves are.
const COMMON_HOLE: LeafHash = [0; 32];

/// A source and its counterpart, and what of both has to be compared.
struct Comparison {
    entry: Entry,
    source: Source,
    target: Source,
    counted: Counted,
    extent: Extent,
    /// Other names wait for this one.
    pair: Option<Box<FilePair>>,
}

/// What came of reading one of the two.
type Read = std::result::Result<(Moved, Proof), Failure>;

/// What is to be done about an entry.
enum NextStep {
    /// Its data is to be read.
    Read(Box<Comparison>),
    /// It is to be copied, since it is missing or has to be replaced.
    Copy(Entry),
    /// Another name of it is being compared.
    Wait,
    /// Nothing any more.
    Done,
}

/// What a comparison comes to.
enum Compared {
    /// Both are the same, or are by now.
    Same(Entry),
    /// It has to be replaced, and where it differs.
    Differs(Entry, Ranges),
    /// It was told what they are.
    Told,
}

/// A name that stands as it should, and of whose source there are others.
pub struct StandingName {
    pub entry: Entry,
    pub source: Seen,
}

/// What is left to do of a batch.
#[derive(Default)]
pub struct ToCopy {
    /// What missing names may be linked to.
    pub standing: Vec<StandingName>,
    /// What is missing, or has to be replaced.
    pub entries: Vec<Entry>,
    /// Further names of it elsewhere.
    pub others: Vec<Other>,
}

/// What stands where a directory has its counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirInTarget {
    Directory,
    /// Something else, which was told.
    InTheWay,
    Nothing,
}

impl Verify<'_> {
    /// Finds the counterpart of a directory.
    pub fn find_dir(&self, parent: &OpenDir, target_name: &OsStr) -> Result<DirInTarget> {
        let path = || parent.target_path(target_name);
        let stands = fs::stat_at(&*parent.target, target_name)
            .map_err(|cause| Error::new(Operation::Stat, path(), cause))?;
        Ok(match stands.map(|stat| FileType::from_raw_mode(stat.st_mode)) {
            Some(FileType::Directory) => DirInTarget::Directory,
            Some(kind) => {
                let what = What::Kind { is: kind_name(kind), was: "directory" };
                self.events.differs(path(), what, Mended::No);
                DirInTarget::InTheWay
            }
            None => DirInTarget::Nothing,
        })
    }

    /// Compares the entries of a batch: all big files are being read before the first is waited
    /// for, and the small ones of each side are read together.
    pub fn compare_batch(&self, dir: &OpenDir, entries: Vec<Entry>) -> ToCopy {
        let mut to_copy = ToCopy::default();
        let mut in_hand = self.events.in_hand(entries.len());
        let mut to_read = Vec::new();
        for entry in entries {
            if self.options.stop.is_requested() {
                continue;
            }
            match self.begin(dir, entry) {
                Ok(NextStep::Read(comparison)) => to_read.push(*comparison),
                Ok(NextStep::Copy(entry)) => to_copy.entries.push(entry),
                Ok(NextStep::Wait) => in_hand.pass_on(1),
                Ok(NextStep::Done) => {}
                Err(error) => self.events.fail(error),
            }
        }
        // What is to be copied is met by the copy, and what waits when it is over.
        in_hand.pass_on(to_copy.entries.len());
        drop(in_hand);
        // As their sources were made, which is how they lie on the device more often than how a
        // directory lists them.
        to_read.sort_unstable_by_key(|comparison| comparison.source.stat.st_ino);
        let mut to_read = to_read.into_iter().peekable();
        while to_read.peek().is_some() {
            self.compare(dir, take_light(&mut to_read), &mut to_copy);
        }
        if !to_copy.entries.is_empty() {
            self.durable.begin_mending(dir);
        }
        to_copy.others.iter().for_each(|other| self.durable.begin_mending(&other.dir));
        to_copy
    }

    /// Reads both sides of all, and ends each comparison.
    fn compare(&self, dir: &OpenDir, mut all: Vec<Comparison>, to_copy: &mut ToCopy) {
        let both = all.iter_mut().flat_map(|comparison| {
            let Comparison { source, target, .. } = comparison;
            [source, target]
        });
        settle(both, |wait| self.options.stop.sleep(wait));
        let current = &self.events.totals.current;
        let in_hand = |Comparison { source, entry, counted, .. }: &Comparison| {
            let path = || dir.source_path(&entry.name);
            if self.options.is_small(source.size_bytes()) {
                current.pass(path);
                return None;
            }
            current.begin(source.size_bytes(), counted.handled_bytes(), path)
        };
        let _in_hand: Vec<_> = all.iter().filter_map(in_hand).collect();
        let (mut sources, mut targets) = (Readings::default(), Readings::default());
        for Comparison { source, target, counted, extent, .. } in &all {
            let handled = Progress::Handled(Arc::clone(counted.handled_bytes()));
            let reader = self.reader(self.readers.source, handled);
            sources.push(reader, &source.file, extent.clone());
            let reader = self.reader(self.readers.target, Progress::Proved);
            targets.push(reader, &target.file, extent.clone());
        }
        // Both are waited for, also if one fails: nothing is read any more when the files are
        // closed.
        let read = sources.finish().into_iter().zip(targets.finish());
        for (mut comparison, (wanted, found)) in all.into_iter().zip(read) {
            let (pair, source) = (comparison.pair.as_deref().copied(), comparison.source.seen());
            let [wanted, found] = self.again_if_short(&mut comparison, wanted, found);
            let compared = self.finish(dir, comparison, wanted, found);
            let compared = compared.unwrap_or_else(|error| {
                self.events.fail(error);
                Compared::Told
            });
            let (entry, ranges) = match compared {
                Compared::Differs(entry, ranges) => {
                    // The copy meets it once more.
                    Totals::add(&self.events.totals.listed, 1);
                    (Some(entry), Some(ranges))
                }
                Compared::Same(entry) if self.options.repair && source.stat.st_nlink > 1 => {
                    to_copy.standing.push(StandingName { entry, source });
                    (None, None)
                }
                Compared::Same(_) | Compared::Told => (None, None),
            };
            if let Some(pair) = pair {
                to_copy.others.extend(self.end_pair(pair, ranges));
            }
            to_copy.entries.extend(entry);
        }
    }

    /// Reads both sides once more if one of them ended before its size, though nothing changed it:
    /// as much as they hold.
    fn again_if_short(&self, comparison: &mut Comparison, wanted: Read, found: Read) -> [Read; 2] {
        let Comparison { source, target, .. } = comparison;
        match [measure_if_short(source, &wanted), measure_if_short(target, &found)] {
            [Ok(false), Ok(false)] => return [wanted, found],
            [Err(failure), _] => return [Err(failure), found],
            [_, Err(failure)] => return [wanted, Err(failure)],
            _ => {}
        }
        let extent = self.extent(source, target);
        let read = |pipeline, file: &Source| {
            let mut readings = Readings::default();
            let reader = self.reader(pipeline, Progress::Nothing);
            readings.push(reader, &file.file, extent.clone());
            readings.finish().pop().expect("one file, one answer")
        };
        [read(self.readers.source, source), read(self.readers.target, target)]
    }

    fn begin(&self, dir: &OpenDir, entry: Entry) -> Result<NextStep> {
        if let EntryKind::Special(_) = entry.kind
            && !self.metadata.preserve().specials
        {
            return Ok(NextStep::Done);
        }
        let at = At::new(dir, &entry);
        let source = match entry.kind {
            EntryKind::File => Some(at.open_source(&self.options.stop)?),
            _ => None,
        };
        // A file that the filter leaves out by its size is not missed.
        let is_left_out = |source: &Source| self.options.filter.excludes_size(source.size_bytes());
        if source.as_ref().is_some_and(is_left_out) {
            return Ok(NextStep::Done);
        }
        let stands = if dir.fresh { Ok(None) } else { at.stat_target() };
        let stands = stands.map_err(|cause| at.target_error(Operation::Stat, cause))?;
        let Some(stands) = stands else {
            if self.options.repair {
                return Ok(NextStep::Copy(entry));
            }
            self.events.differs(at.target_path(), What::Missing, Mended::No);
            return Ok(NextStep::Done);
        };
        let other = dir.take_name(at.target_name(), &stands);
        let other = other.map_err(|cause| at.target_error(Operation::Stat, cause))?;
        if let Some(other) = other {
            return Err(dir.clash(Operation::Compare, &entry.name, &other));
        }
        let is = FileType::from_raw_mode(stands.st_mode);
        if EntryKind::of_mode(is) != entry.kind || is == FileType::Directory {
            let what = What::Kind { is: kind_name(is), was: entry.kind.name() };
            self.events.differs(at.target_path(), what, Mended::No);
            return Ok(NextStep::Done);
        }
        match source {
            Some(source) => self.find_extent(dir, entry, source),
            None => self.compare_unread(at, &stands).map(|()| NextStep::Done),
        }
    }

    /// Compares links by where they lead, devices by their numbers.
    fn compare_unread(&self, at: At<'_>, stands: &Stat) -> Result<()> {
        let (dir, entry) = (at.dir, at.entry);
        if entry.kind == EntryKind::Link {
            let op = Operation::ReadLink;
            let source = read_link(&dir.source, &entry.name);
            let source = source.map_err(|cause| at.source_error(op, cause))?;
            let to = read_link(&dir.target, at.target_name());
            let to = to.map_err(|cause| at.target_error(op, cause))?;
            if to.as_os_str() != source.as_os_str() {
                self.events.differs(at.target_path(), What::Link { to, source }, Mended::No);
            }
            return Ok(());
        }
        let source = fs::stat_at(&*dir.source, &entry.name)
            .and_then(|stat| stat.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT)))
            .map_err(|cause| at.source_error(Operation::Stat, cause))?;
        if source.st_rdev != stands.st_rdev {
            self.events.differs(at.target_path(), What::Device, Mended::No);
        }
        Ok(())
    }

    fn find_extent(&self, dir: &OpenDir, entry: Entry, mut source: Source) -> Result<NextStep> {
        let at = At::new(dir, &entry);
        let mut target = open_target(&self.options.stop, at, OFlags::RDONLY)?;
        // Numbers alone do not say that there is nothing to compare.
        if FileId::of(&source.stat) == FileId::of(&target.stat)
            && fs::compare(&*source.file, &*target.file)
                .map_err(|cause| at.target_error(Operation::Stat, cause))?
                == Sameness::Same
        {
            return Ok(NextStep::Done);
        }
        measure_if_doubtful(at, &mut source, &mut target)?;
        // What one of them has more differs without being read, and what is a hole in both is the
        // same.
        let extent = self.extent(&source, &target);
        let known = self.common_holes(&source.file, &target.file, &extent);
        let (entry, pair) = match self.claim(dir, entry, &source, &target) {
            PairTurn::Compare(entry, pair) => (entry, pair),
            PairTurn::Differs(entry, ranges) => {
                let path = dir.target_path(entry.target_name());
                self.events.differs_until_replaced(path, ranges);
                return Ok(NextStep::Copy(entry));
            }
            PairTurn::Waits => return Ok(NextStep::Wait),
            PairTurn::Done => return Ok(NextStep::Done),
        };
        let extent = Extent { known, ..extent };
        let mut counted = self.events.found(source.size_bytes());
        // Its counterpart is read now, and counted then.
        counted.was_read_back();
        let comparison = Comparison { entry, source, target, counted, extent, pair };
        Ok(NextStep::Read(Box::new(comparison)))
    }

    /// Stand-ins for the leaves of what is hole in both files, so that its zeros are not hashed.
    fn common_holes(
        &self,
        source: &OwnedFd,
        target: &OwnedFd,
        extent: &Extent,
    ) -> Arc<[Option<LeafHash>]> {
        let &Extent { size_bytes, leaf_bytes, .. } = extent;
        let data = |file| route::data_blocks_of(file, size_bytes, leaf_bytes);
        let (Some(source), Some(target)) = (data(source), data(target)) else {
            return Arc::default();
        };
        let count = size_bytes.div_ceil(leaf_bytes);
        let hole = |block| !source.has(block) && !target.has(block);
        (0..count).map(|block| (count > 1 && hole(block)).then_some(COMMON_HOLE)).collect()
    }

    /// What is to be done under a name with this source and counterpart.
    fn claim(&self, dir: &OpenDir, entry: Entry, source: &Source, target: &Source) -> PairTurn {
        if source.stat.st_nlink == 1 && !self.options.follows_links(dir) {
            return PairTurn::Compare(entry, None);
        }
        let pair = FilePair {
            source: At::new(dir, &entry).identify(&source.file, &source.stat),
            target: Identity::of(&*target.file, &target.stat, dir.target_trust().numbers),
        };
        let names = if target.stat.st_nlink > 1 { NameCount::Several } else { NameCount::One };
        self.pairs.claim(pair, names, dir.dir(), entry)
    }

    /// Ends the comparison of two files. If they differ, the names that waited for it come back, to
    /// be linked to a copy. Otherwise those names are done with.
    fn end_pair(&self, pair: FilePair, differs: Option<Ranges>) -> Vec<Other> {
        let others = self.pairs.end(pair, differs.clone());
        if let Some(ranges) = differs {
            for Other { dir, entry } in &others {
                let path = dir.target_path(entry.target_name());
                self.events.differs_until_replaced(path, ranges.clone());
            }
            return others;
        }
        let _met: InHand<'_> = self.events.in_hand(others.len());
        others.into_iter().for_each(|other| self.durable.release(other.dir));
        Vec::new()
    }

    /// What two files have in common, with the leaves of the source.
    fn extent(&self, source: &Source, target: &Source) -> Extent {
        let leaf_bytes = self.leaf_bytes(source.size_bytes());
        Extent { leaf_bytes, ..self.whole(common_bytes(source, target)) }
    }

    /// Tells what came of it, or mends it. A copy that has to be replaced comes back with what
    /// differs.
    fn finish(
        &self,
        dir: &OpenDir,
        comparison: Comparison,
        wanted: Read,
        found: Read,
    ) -> Result<Compared> {
        let Comparison { entry, source, target, mut counted, .. } = comparison;
        let failed = wanted.as_ref().err().or(found.as_ref().err());
        counted.end(failed.map(|failure| &failure.cause));
        let at = At::new(dir, &entry);
        let (wanted, _) = wanted.map_err(|failure| failure.of(at.source_path()))?;
        let (found, proof) = found.map_err(|Failure { op, offset_bytes, cause, .. }| {
            at.target_error(op, cause).at(offset_bytes)
        })?;
        for (file, path) in [(&source, at.source_path()), (&target, at.target_path())] {
            let is_unchanged = file.is_unchanged();
            if !is_unchanged.map_err(|cause| Error::new(Operation::Stat, &path, cause))? {
                return Err(Error::new(Operation::Compare, path, Cause::ChangedWhileRead));
            }
        }
        let ranges = self.differing(&source, &target, &wanted, &found);
        if ranges.is_empty() {
            self.events.same(at.target_path(), proof);
            return Ok(Compared::Same(entry));
        }
        if !self.options.repair {
            self.events.differs_in(&at.target_path(), &ranges, Mended::No);
            return Ok(Compared::Told);
        }
        if target.stat.st_nlink > 1 {
            self.events.differs_until_replaced(at.target_path(), ranges.clone());
            return Ok(Compared::Differs(entry, ranges));
        }
        let read = ReadSides { source: &source, target: &target, wanted, found };
        let proof = self.repair(at, read, ranges)?;
        let is_unchanged = source.is_unchanged();
        if !is_unchanged.map_err(|cause| at.source_error(Operation::Stat, cause))? {
            return Err(at.source_error(Operation::RepairFrom, Cause::ChangedWhileRead));
        }
        self.events.same(at.target_path(), proof);
        Ok(Compared::Same(entry))
    }

    /// Where two files differ; what one of them has more differs unread.
    fn differing(&self, source: &Source, target: &Source, wanted: &Moved, found: &Moved) -> Ranges {
        let common_bytes = common_bytes(source, target);
        let bad = blocks::differing(&found.leaves, &wanted.leaves);
        let leaf_bytes = self.leaf_bytes(source.size_bytes());
        let mut ranges = blocks::ranges(&bad, common_bytes, leaf_bytes);
        blocks::push(&mut ranges, common_bytes..source.size_bytes().max(target.size_bytes()));
        ranges
    }

    /// Writes in place what differs, and gives the file the size of its source.
    fn repair(&self, at: At<'_>, read: ReadSides<'_>, ranges: Ranges) -> Result<Proof> {
        let ReadSides { source, target, wanted, found } = read;
        // What differs is told, also where it cannot be mended.
        let tell = || self.events.differs_in(&at.target_path(), &ranges, Mended::No);
        let open = open_to_mend(&self.options.stop, at, target).inspect_err(|_| tell())?;
        // Another file may have been put there meanwhile, or this one got another name.
        let sameness = fs::compare(&*open.file, &*target.file)
            .map_err(|cause| at.target_error(Operation::Stat, cause))?;
        let is_same = sameness.is_likely();
        if !is_same || open.stat.st_nlink > 1 {
            tell();
            let cause = if is_same { Cause::ChangedWhileRead } else { Cause::Swapped };
            return Err(at.target_error(Operation::Open, cause));
        }
        let size_bytes = source.size_bytes();
        if size_bytes != target.size_bytes() {
            fs::set_size(&*open.file, size_bytes)
                .map_err(|cause| at.target_error(Operation::SetSize, cause))?;
        }
        let grown = Resized { size_bytes, was_bytes: target.size_bytes() };
        let leaf_bytes = self.leaf_bytes(size_bytes);
        let bad = blocks::to_rewrite(&wanted.leaves, &found.leaves, grown, leaf_bytes);
        let padded = |mut leaves: Vec<_>| {
            leaves.resize(bad.len(), [0; 32]);
            leaves
        };
        let hash = wanted.root().filter(|_| size_bytes <= target.size_bytes());
        let (wanted, found) = (padded(wanted.leaves), padded(found.leaves));
        let target = &open.file;
        self.mend(Broken { at, source, target, size_bytes, hash, wanted, found, bad, ranges })
    }
}

/// Both files of a comparison, and what was read of them.
struct ReadSides<'a> {
    source: &'a Source,
    target: &'a Source,
    wanted: Moved,
    found: Moved,
}

/// The next files whose leaves may be in memory together, one at least.
fn take_light(left: &mut Peekable<IntoIter<Comparison>>) -> Vec<Comparison> {
    let (mut light, mut leaves) = (Vec::new(), 0);
    while let Some(next) = left.next_if(|next| {
        leaves += next.extent.leaf_count();
        light.is_empty() || leaves <= LEAVES_MAX
    }) {
        light.push(next);
    }
    light
}

fn open_target(stop: &Stop, at: At<'_>, access: OFlags) -> Result<Source> {
    let (target, name) = (&*at.dir.target, at.target_name());
    let opened = open_unleased(stop, || match access {
        OFlags::RDONLY => fs::open_to_read(target, name),
        access => fs::open_beneath(target, name, access | OFlags::NONBLOCK),
    });
    let file = opened.map_err(|cause| at.target_error(Operation::Open, cause))?;
    let stat = fs::stat(&file).map_err(|cause| at.target_error(Operation::Stat, cause))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(at.target_error(Operation::Open, Cause::Swapped));
    }
    let settled = Settled::at(&stat, Moment::now(), || at.dir.target_clock());
    Ok(Source::new(file, stat, settled))
}

/// Opens a copy to be written into. One that its own owner may not write gets that right for the
/// moment of opening.
fn open_to_mend(stop: &Stop, at: At<'_>, target: &Source) -> Result<Source> {
    let refused = match open_target(stop, at, OFlags::RDWR) {
        Err(refused) if refused.errno() == Some(libc::EACCES) => refused,
        opened => return opened,
    };
    let (node, mode) = (Node::open(&*target.file), target.stat.st_mode & 0o7777);
    if node.set_mode(mode | 0o600).is_err() {
        return Err(refused);
    }
    let opened = open_target(stop, at, OFlags::RDWR);
    node.set_mode(mode).map_err(|cause| at.target_error(Operation::SetMode, cause))?;
    opened
}

fn read_link(dir: &OwnedFd, name: &OsStr) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let contents = readlinkat(dir, name)?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(contents.into_bytes())))
}

/// Finds out how much a file holds whose reading ended before its size, though nothing changed it.
/// False if that is not so.
fn measure_if_short(file: &mut Source, read: &Read) -> std::result::Result<bool, Failure> {
    let is_short = matches!(read, Err(Failure { cause: Cause::ChangedWhileRead, .. }));
    // Without an answer, the end of the comparison says why.
    let may_be_so = is_short && !fs::size_is_believed(&file.stat);
    if !may_be_so || !file.is_unchanged().unwrap_or(false) {
        return Ok(false);
    }
    file.measure().map(|()| true)
}

/// Finds out how much two files hold that may not hold what their sizes say.
fn measure_if_doubtful(at: At<'_>, source: &mut Source, target: &mut Source) -> Result<()> {
    let sizes_bytes = [target.size_bytes(), source.size_bytes()];
    let sides = [(source, at.source_path()), (target, at.target_path())];
    for ((file, path), other_bytes) in sides.into_iter().zip(sizes_bytes) {
        if !file.seems_as_stated(other_bytes) {
            file.measure().map_err(|failure| failure.of(path))?;
        }
    }
    Ok(())
}

fn common_bytes(source: &Source, target: &Source) -> u64 {
    source.size_bytes().min(target.size_bytes())
}

fn kind_name(kind: FileType) -> &'static str {
    if kind == FileType::Directory { "directory" } else { EntryKind::of_mode(kind).name() }
}
