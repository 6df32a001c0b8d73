//! Checks manifests: each line's file is hashed, many at once, and the verdicts come in the order
//! of the lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::algorithm::{Algorithm, Function};
use super::hash::{self, Feeder, HashOptions, HashSink, Hashed, Item, Looked};
use super::left_out::LeftOut;
use super::line::{KnownBy, LINE_BYTES_MAX, Layout, Line, LineEnd, Malformed, Reader};
use super::location::{Location, is_dash};
use super::not_lines::{BeforeFirst, Extent, NoManifest, NotLines, Verdict};
use super::ordered::Ordered;
use super::sorter::{self, SortRecord, Sorter};
use crate::digest::Mode;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileType};
use crate::report::{Totals, Way};
use crate::tree::{self, Batch, Entry, EntryKind, Filter, Follow, Scope, WalkEvent};

/// What is to be checked.
pub struct CheckPlan {
    /// Files with lines; `-` is standard input.
    pub manifests: Vec<PathBuf>,
    /// The only algorithm that is accepted. Without one, tags decide, and plain lines are BLAKE3's.
    pub algorithm: Option<Algorithm>,
    /// BLAKE3's mode.
    pub mode: Mode,
    /// How lines end.
    pub line_end: LineEnd,
    /// A directory out of which no name may lead, and in which every file has to have a line.
    pub audit: Option<PathBuf>,
    /// What is not checked, and left out of the audit.
    pub filter: Filter,
    /// Whether standard input may be read.
    pub stdin_is_free: bool,
    /// What becomes of lines that are not well formed before the first that is.
    pub not_lines: NotLines,
}

/// The result of checking a line's file.
#[derive(Debug)]
pub enum LineVerdict {
    /// The file has the hash.
    Matches,
    /// The file has another hash.
    Differs,
    /// There is no such file.
    Missing(Error),
    /// The file cannot be read.
    Unreadable(Error),
}

/// What a check reports, in the order of the manifests' lines.
#[derive(Debug)]
pub enum CheckEvent {
    /// A line was checked.
    Checked {
        /// The name, without escapes.
        name: Vec<u8>,
        /// The result.
        verdict: LineVerdict,
        /// The line's algorithm.
        algorithm: Algorithm,
        /// How that is known.
        known_by: KnownBy,
    },
    /// The filter leaves a line's file out.
    LeftOut,
    /// A line is not well formed.
    Malformed {
        /// The manifest.
        manifest: PathBuf,
        /// The number of the line, from 1 on.
        line_number: u64,
        /// Why.
        reason: Malformed,
    },
    /// A manifest cannot be read.
    Unread(Error),
    /// A manifest has not one line that is well formed.
    NoManifest(NoManifest),
    /// All verdicts on the lines of a manifest are out.
    Ended,
    /// A file in the audited directory has no line.
    Unlisted(PathBuf),
    /// The audited directory cannot be listed.
    Unlistable(Error),
}

/// The receiver of what a check reports.
pub trait CheckListener: Sync {
    /// Takes an event; one call after the other.
    fn event(&self, event: CheckEvent);
    /// Takes the way of a file's data; from many threads, in no order.
    fn way(&self, path: &Path, way: Way);
    /// Takes the reason why kernel AIO is not available. Threads do its work.
    fn no_kernel_aio(&self, reason: &str);
    /// Whether the events have no receiver any more.
    fn is_gone(&self) -> bool;
}

struct CheckTicket {
    place: u64,
    line: Line,
}

struct Check<'a, F> {
    plan: &'a CheckPlan,
    /// Whether a line may still have standard input. What has one reader is empty for the next.
    stdin_is_free: AtomicBool,
    listener: &'a dyn CheckListener,
    events: Ordered<CheckEvent, F>,
}

/// Checks all manifests and blocks until the last verdict is out; `totals` says meanwhile how far
/// it is. The error is for what kept it from beginning, or for a temporary file of the audit.
pub fn check(
    plan: &CheckPlan,
    options: &HashOptions,
    listener: &dyn CheckListener,
    totals: &Totals,
) -> Result<()> {
    let mut audit = match plan.audit.as_deref().map(Audit::new).transpose() {
        Ok(audit) => audit,
        Err(error) => {
            listener.event(CheckEvent::Unlistable(error));
            return Ok(());
        }
    };
    let is_manifest = plan.manifests.iter().any(|manifest| fs::is_stdin(manifest));
    let check = Check {
        plan,
        stdin_is_free: AtomicBool::new(plan.stdin_is_free && !is_manifest),
        listener,
        events: Ordered::new(|event| listener.event(event)),
    };
    let left_out = LeftOut { sizes: Some(&plan.filter), output: None };
    hash::run(options, left_out, totals, &check, |feeder| {
        for path in &plan.manifests {
            let fed = check.feed(path, audit.as_mut(), feeder);
            let problem = fed.unwrap_or_else(|error| Some(CheckEvent::Unread(error)));
            problem.into_iter().for_each(|event| check.report(feeder, event));
            check.report(feeder, CheckEvent::Ended);
        }
    })
    .map_err(|cause| {
        let manifest = plan.manifests.first().cloned().unwrap_or_default();
        Error::new(Operation::BeginToCheck, manifest, cause)
    })?;
    match audit {
        Some(audit) => audit.finish(plan, listener).map_err(sorter::error),
        None => Ok(()),
    }
}

impl<F: FnMut(CheckEvent) + Send> Check<'_, F> {
    /// Reports something in the order of the lines.
    fn report(&self, feeder: &mut Feeder<'_, CheckTicket>, event: CheckEvent) {
        let place = self.events.place(0, || feeder.flush());
        self.events.put(place, event);
    }

    /// Feeds all lines of a manifest, and answers with what there is to say of it as a whole.
    fn feed(
        &self,
        path: &Path,
        audit: Option<&mut Audit>,
        feeder: &mut Feeder<'_, CheckTicket>,
    ) -> Result<Option<CheckEvent>> {
        let mut before = BeforeFirst::new(self.plan.not_lines, self.plan.line_end);
        let fed = self.feed_lines(path, audit, feeder, &mut before);
        if fed.is_err() {
            // Whether a good line would have come is not known.
            for (line_number, reason) in before.end() {
                let manifest = path.to_owned();
                self.report(feeder, CheckEvent::Malformed { manifest, line_number, reason });
            }
        }
        let problem = fed?.and_then(|(lines, extent)| before.conclude(path, lines, extent));
        Ok(problem.map(CheckEvent::NoManifest))
    }

    /// Feeds lines up to the end, and answers with how many were read, and how much that is of the
    /// manifest. Nothing where no one hears of it any more.
    fn feed_lines(
        &self,
        path: &Path,
        mut audit: Option<&mut Audit>,
        feeder: &mut Feeder<'_, CheckTicket>,
        before: &mut BeforeFirst,
    ) -> Result<Option<(u64, Extent)>> {
        let read_error = |cause: io::Error| Error::new(Operation::Read, path, cause);
        let mut reader = self.open(path)?;
        let CheckPlan { algorithm: wanted, line_end: end, .. } = *self.plan;
        let mut lines = Reader { wanted, end, layout: Layout::Open };
        let (mut number, mut extent) = (0, Extent::Whole);
        while let Some(read) = next_line(&mut reader, end.byte()).map_err(read_error)? {
            number += 1;
            if self.listener.is_gone() {
                return Ok(None);
            }
            // In coreutils' manifests a number sign begins a comment. b3sum's have no comments.
            let has_comments =
                self.plan.algorithm.is_some_and(|algorithm| algorithm != Algorithm::Blake3);
            if has_comments && read.bytes.starts_with(b"#") && !read.is_cut {
                continue;
            }
            let mut malformed = |(line_number, reason)| {
                let manifest = path.to_owned();
                self.report(feeder, CheckEvent::Malformed { manifest, line_number, reason });
            };
            match read.parse(&mut lines) {
                Ok(line) => {
                    before.end().into_iter().for_each(&mut malformed);
                    self.feed_line(line, audit.as_deref_mut(), feeder).map_err(sorter::error)?;
                }
                Err(reason) => match before.take(&read.bytes, number, reason) {
                    Verdict::Held => {}
                    Verdict::Told(reason) => malformed((number, reason)),
                    Verdict::NoManifest => {
                        let rest = reader.fill_buf().map_err(read_error)?;
                        extent = if rest.is_empty() { Extent::Whole } else { Extent::Beginning };
                        break;
                    }
                },
            }
            if read.is_cut {
                reader.skip_until(end.byte()).map_err(read_error)?;
            }
        }
        Ok(Some((number, extent)))
    }

    fn open(&self, path: &Path) -> Result<Box<dyn BufRead>> {
        let error = |op, cause: Cause| Error::new(op, path, cause);
        Ok(match fs::is_stdin(path) {
            true if !self.plan.stdin_is_free => {
                return Err(error(Operation::Read, Cause::StdinInUse));
            }
            true => Box::new(BufReader::new(
                fs::stdin().map_err(|cause| error(Operation::Read, cause.into()))?,
            )),
            false => Box::new(BufReader::new(
                File::open(path).map_err(|cause| error(Operation::Open, cause.into()))?,
            )),
        })
    }

    fn feed_line(
        &self,
        line: Line,
        audit: Option<&mut Audit>,
        feeder: &mut Feeder<'_, CheckTicket>,
    ) -> io::Result<()> {
        let path = PathBuf::from(std::ffi::OsString::from_vec(line.name.clone()));
        let refuse = |cause| CheckEvent::Checked {
            name: line.name.clone(),
            verdict: LineVerdict::Unreadable(Error::new(Operation::Read, &path, cause)),
            algorithm: line.algorithm,
            known_by: line.known_by,
        };
        let file = match audit {
            Some(audit) => match audit.relative(&path) {
                Some(relative) if self.leaves_out(&relative) => {
                    self.report(feeder, CheckEvent::LeftOut);
                    return Ok(());
                }
                Some(relative) => {
                    audit.listed.push(relative.as_os_str().as_bytes().to_vec(), Vec::new())?;
                    Location::Beneath(Arc::clone(&audit.root), relative)
                }
                None => {
                    self.report(feeder, refuse(Cause::LeadsOutside));
                    return Ok(());
                }
            },
            None if is_dash(&path) && self.stdin_is_free.swap(false, Ordering::Relaxed) => {
                Location::Stdin
            }
            None if is_dash(&path) => {
                self.report(feeder, refuse(Cause::StdinInUse));
                return Ok(());
            }
            None if self.leaves_out(&path) => {
                self.report(feeder, CheckEvent::LeftOut);
                return Ok(());
            }
            None => Location::Listed(path),
        };
        // The name is kept twice.
        let place = self.events.place(2 * line.name.len(), || feeder.flush());
        let (algorithm, hash_bytes) = (line.algorithm, line.hash.len());
        let function = Function { algorithm, hash_bytes, mode: self.plan.mode.clone() };
        feeder.push(Item { location: file, function, ticket: CheckTicket { place, line } });
        Ok(())
    }

    /// Whether the filter leaves out the file of a line, as it would in a walk from where the name
    /// begins.
    fn leaves_out(&self, path: &Path) -> bool {
        self.plan.filter.leaves_out(path, FileType::RegularFile)
    }
}

impl<F: FnMut(CheckEvent) + Send> HashSink<CheckTicket> for Check<'_, F> {
    fn done(&self, file: Location, ticket: CheckTicket, result: Result<Looked>) {
        let CheckTicket { place, line } = ticket;
        let Line { name, hash, algorithm, known_by } = line;
        let verdict = match result {
            Ok(Looked::LeftOut(_)) => return self.events.put(place, CheckEvent::LeftOut),
            Ok(Looked::Hashed(Hashed { output, way })) => {
                self.listener.way(&file.path(), way);
                if output.bytes(0, hash.len()) == hash {
                    LineVerdict::Matches
                } else {
                    LineVerdict::Differs
                }
            }
            Err(error) if error.op == Operation::Open && error.errno() == Some(libc::ENOENT) => {
                LineVerdict::Missing(error)
            }
            Err(error) => LineVerdict::Unreadable(error),
        };
        self.events.put(place, CheckEvent::Checked { name, verdict, algorithm, known_by });
    }

    fn no_kernel_aio(&self, reason: &str) {
        self.listener.no_kernel_aio(reason);
    }

    fn panicked(&self) {
        self.events.give_up();
    }
}

/// A line as it was read.
struct RawLine {
    /// Without its end.
    bytes: Vec<u8>,
    /// It is too long, and the rest of it was not read.
    is_cut: bool,
}

impl RawLine {
    fn parse(&self, lines: &mut Reader) -> std::result::Result<Line, Malformed> {
        match self.is_cut {
            true => Err(Malformed::TooLong(LINE_BYTES_MAX)),
            false => lines.parse(&self.bytes),
        }
    }
}

/// The next line; none at the end.
fn next_line(reader: &mut impl BufRead, end: u8) -> io::Result<Option<RawLine>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(end, &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let has_end = bytes.last() == Some(&end);
    if has_end {
        bytes.pop();
    }
    let is_cut = !has_end && bytes.len() > LINE_BYTES_MAX;
    Ok(Some(RawLine { bytes, is_cut }))
}

/// What an audit knows beside the verdicts.
struct Audit {
    path: PathBuf,
    root: Arc<OwnedFd>,
    cwd: PathBuf,
    /// The directory's path as the user wrote it and its canonical path, both absolute.
    prefixes: [PathBuf; 2],
    /// The names in the manifests, relative to the directory.
    listed: Sorter,
}

impl Audit {
    fn new(path: &Path) -> Result<Self> {
        let error = |cause: io::Error| Error::new(Operation::Audit, path, cause);
        let flags = crate::fs::call::OFlags::PATH
            | crate::fs::call::OFlags::DIRECTORY
            | crate::fs::call::OFlags::CLOEXEC;
        let root = crate::fs::call::open(path, flags, crate::fs::call::Mode::empty())
            .map_err(|cause| error(cause.into()))?;
        let cwd = std::env::current_dir().map_err(error)?;
        let prefixes = [cwd.join(path), crate::fs::call::realpath(path).map_err(error)?];
        Ok(Self {
            path: path.to_owned(),
            root: Arc::new(root),
            cwd,
            prefixes,
            listed: Sorter::default(),
        })
    }

    /// A name of a manifest, relative to the directory; none if it leads outside. No name may have
    /// `..` in it, whose meaning depends on the links before it.
    fn relative(&self, name: &Path) -> Option<PathBuf> {
        if name.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        let name = self.cwd.join(name);
        let relative = self.prefixes.iter().find_map(|prefix| name.strip_prefix(prefix).ok())?;
        // Joined by components, one file has one name however the manifest writes it.
        let plain: PathBuf = relative.components().collect();
        Some(if plain.as_os_str().is_empty() { ".".into() } else { plain })
    }

    /// Reports the files in the directory that have no line. The manifests themselves need none.
    fn finish(self, plan: &CheckPlan, listener: &dyn CheckListener) -> io::Result<()> {
        let mut found = Sorter::default();
        let mut kept = Ok(());
        let (open_dirs, is_gone) = (hash::open_dirs(), || listener.is_gone());
        let scope = Scope::all(Follow::Never, &plan.filter);
        tree::walk_single(&self.path, &scope, &open_dirs, &is_gone, &mut |event| match event {
            WalkEvent::Batch(batch) if kept.is_ok() => {
                let failed = |error| listener.event(CheckEvent::Unlistable(error));
                kept = self.add_found(&batch, &plan.filter, &mut found, &failed);
            }
            WalkEvent::Batch(_) => {}
            WalkEvent::Failed(error) => listener.event(CheckEvent::Unlistable(error)),
        });
        kept?;
        let open: Vec<_> = plan.manifests.iter().filter_map(|path| reach(path).ok()).collect();
        let is_manifest = |path: &Path| {
            let is = |file: &OwnedFd, manifest: &OwnedFd| {
                fs::compare(manifest, file).is_ok_and(fs::Sameness::is_likely)
            };
            reach(path).is_ok_and(|file| open.iter().any(|manifest| is(&file, manifest)))
        };
        let mut listed = self.listed.sorted()?.peekable();
        for record in found.sorted()? {
            let SortRecord { key: name, .. } = record?;
            let is_before = |listed: &io::Result<SortRecord>| {
                listed.as_ref().is_ok_and(|listed| listed.key < name)
            };
            while listed.next_if(is_before).is_some() {}
            match listed.peek() {
                Some(Ok(listed)) if listed.key == name => continue,
                Some(Err(_)) => return listed.next().map_or(Ok(()), |record| record.map(drop)),
                _ => {}
            }
            let path = self.path.join(Path::new(std::ffi::OsStr::from_bytes(&name)));
            if !is_manifest(&path) {
                listener.event(CheckEvent::Unlisted(path));
            }
        }
        Ok(())
    }

    /// Adds the files of a batch, relative to the directory.
    fn add_found(
        &self,
        batch: &Batch,
        filter: &Filter,
        found: &mut Sorter,
        failed: &dyn Fn(Error),
    ) -> io::Result<()> {
        let Batch { dir, entries } = batch;
        for Entry { name, .. } in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            let path = dir.source_path(name);
            if filter.has_sizes() {
                let stat = dir.open().and_then(|dir| {
                    let stat = fs::stat_at(&dir.source, name);
                    stat.map_err(|cause| Error::new(Operation::Stat, &path, cause))
                });
                match stat {
                    Ok(Some(stat)) if !filter.excludes_size(stat.st_size as u64) => {}
                    Ok(_) => continue,
                    Err(error) => {
                        failed(error);
                        continue;
                    }
                }
            }
            let relative = path.strip_prefix(&self.path).unwrap_or(&path);
            found.push(relative.as_os_str().as_bytes().to_vec(), Vec::new())?;
        }
        Ok(())
    }
}

/// A manifest, or a file that may be one, as a place to look at.
fn reach(path: &Path) -> io::Result<OwnedFd> {
    match fs::is_stdin(path) {
        true => fs::stdin()?.as_fd().try_clone_to_owned(),
        false => fs::open_any_length(path, crate::fs::call::OFlags::PATH),
    }
}
