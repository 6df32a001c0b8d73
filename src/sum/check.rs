//! Checks manifests: each line's file is hashed, many at once, and the verdicts come in the order
//! of the lines.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::algorithm::{Algorithm, Function};
use super::hash::{self, Done, Feeder, Hashed, Item, Options, Place, is_stdin};
use super::line::{self, Malformed};
use super::ordered::Ordered;
use super::sorter::Sorter;
use super::walk::{self, Met};
use crate::digest::Mode;
use crate::error::{Cause, Error, Operation, Result};
use crate::report::{Totals, Way};
use crate::tree::Filter;

/// Longer lines are malformed: room for a hash and a path of PATH_MAX bytes that are all escaped,
/// with as much to spare.
pub const LINE_BYTES_MAX: usize = 16 << 10;

/// What is to be checked.
pub struct Plan {
    /// Files with lines; `-` is standard input.
    pub manifests: Vec<PathBuf>,
    /// The only algorithm that is accepted; without one, tags decide, and plain lines are BLAKE3's.
    pub algorithm: Option<Algorithm>,
    /// BLAKE3's mode.
    pub mode: Mode,
    /// Whether lines end with NUL and have no escapes.
    pub zero: bool,
    /// A directory out of which no name may lead, and in which every file has to have a line.
    pub audit: Option<PathBuf>,
    /// What is left out of that.
    pub filter: Filter,
    /// Whether standard input may be read.
    pub stdin_is_free: bool,
}

/// What became of a line's file.
#[derive(Debug)]
pub enum Verdict {
    /// It has the hash.
    Matches,
    /// It has another hash.
    Differs,
    /// There is no such file.
    Missing(Error),
    /// It cannot be read.
    Unreadable(Error),
}

/// What is told, in the order of the manifests' lines.
#[derive(Debug)]
pub enum Told {
    /// A line was checked; the name is not escaped.
    Checked(Vec<u8>, Verdict),
    /// A line is none: of which manifest, its number from 1, and why.
    Malformed(PathBuf, u64, Malformed),
    /// A manifest cannot be read.
    Unread(Error),
    /// A manifest has not one line that is well formed.
    NoLines(PathBuf),
    /// A file in the audited directory has no line.
    Unlisted(PathBuf),
    /// The audited directory cannot be listed.
    Unlistable(Error),
}

/// Who hears of it.
pub trait Listener: Sync {
    /// One call after the other.
    fn told(&self, told: Told);
    /// The way that a file's data took; from many threads, in no order.
    fn way(&self, path: &Path, way: Way);
    /// Kernel AIO is not to be had, for this reason; threads do its work.
    fn no_kernel_aio(&self, reason: &str);
    /// Whether nobody listens any more.
    fn is_gone(&self) -> bool;
}

struct Ticket {
    place: u64,
    name: Vec<u8>,
    hash: Vec<u8>,
}

struct Check<'a, F> {
    plan: &'a Plan,
    listener: &'a dyn Listener,
    verdicts: Ordered<Told, F>,
}

/// Checks all manifests and blocks until the last verdict was told; `totals` says meanwhile how far
/// it is. The error is for what kept it from beginning, or for a temporary file of the audit.
pub fn check(
    plan: &Plan,
    options: &Options,
    listener: &dyn Listener,
    totals: &Totals,
) -> io::Result<()> {
    let mut audit = match plan.audit.as_deref().map(Audit::new).transpose() {
        Ok(audit) => audit,
        Err(error) => {
            listener.told(Told::Unlistable(error));
            return Ok(());
        }
    };
    let check = Check { plan, listener, verdicts: Ordered::new(|told| listener.told(told)) };
    hash::run(options, totals, &check, |feeder| {
        for path in &plan.manifests {
            match check.feed(path, audit.as_mut(), feeder) {
                Ok(true) => {}
                Ok(false) => check.tell(feeder, Told::NoLines(path.clone())),
                Err(error) => check.tell(feeder, Told::Unread(error)),
            }
        }
    })?;
    match audit {
        Some(audit) => audit.finish(plan, listener),
        None => Ok(()),
    }
}

impl<F: FnMut(Told) + Send> Check<'_, F> {
    /// Says something in its turn.
    fn tell(&self, feeder: &mut Feeder<'_, Ticket>, told: Told) {
        let place = self.verdicts.place(|| feeder.flush());
        self.verdicts.put(place, told);
    }

    /// Feeds all lines of a manifest; answers whether there was one that is well formed.
    fn feed(
        &self,
        path: &Path,
        mut audit: Option<&mut Audit>,
        feeder: &mut Feeder<'_, Ticket>,
    ) -> Result<bool> {
        let error = |op, cause: Cause| Error::new(op, path, cause);
        let mut reader: Box<dyn BufRead> = match is_stdin(path) {
            true if !self.plan.stdin_is_free => {
                return Err(error(Operation::Read, Cause::StdinInUse));
            }
            true => Box::new(BufReader::new(io::stdin())),
            false => Box::new(BufReader::new(
                File::open(path).map_err(|cause| error(Operation::Open, cause.into()))?,
            )),
        };
        let end = if self.plan.zero { 0 } else { b'\n' };
        let (mut well_formed, mut number) = (false, 0);
        while let Some(read) =
            next_line(&mut reader, end).map_err(|cause| error(Operation::Read, cause.into()))?
        {
            number += 1;
            if self.listener.is_gone() {
                return Ok(true);
            }
            // In coreutils' manifests a number sign begins a comment; b3sum has none.
            let has_comments =
                self.plan.algorithm.is_some_and(|algorithm| algorithm != Algorithm::Blake3);
            match read {
                Ok(line) if has_comments && line.starts_with(b"#") => {}
                Ok(line) => match line::parse(&line, self.plan.algorithm, self.plan.zero) {
                    Ok(line) => {
                        well_formed = true;
                        self.feed_line(line, audit.as_deref_mut(), feeder).map_err(|cause| {
                            Error::new(Operation::WriteAuditTemporary, path, cause)
                        })?;
                    }
                    Err(reason) => {
                        self.tell(feeder, Told::Malformed(path.to_owned(), number, reason))
                    }
                },
                Err(reason) => self.tell(feeder, Told::Malformed(path.to_owned(), number, reason)),
            }
        }
        Ok(well_formed)
    }

    fn feed_line(
        &self,
        line: line::Line,
        audit: Option<&mut Audit>,
        feeder: &mut Feeder<'_, Ticket>,
    ) -> io::Result<()> {
        let line::Line { algorithm, name, hash } = line;
        let path = PathBuf::from(std::ffi::OsString::from_vec(name.clone()));
        let refuse = |cause| {
            Told::Checked(
                name.clone(),
                Verdict::Unreadable(Error::new(Operation::Read, &path, cause)),
            )
        };
        let file = match audit {
            Some(audit) => match audit.relative(&path) {
                Some(relative) => {
                    audit.listed.push(relative.as_os_str().as_bytes().to_vec(), Vec::new())?;
                    Place::Beneath(Arc::clone(&audit.root), relative)
                }
                None => {
                    self.tell(feeder, refuse(Cause::LeadsOutside));
                    return Ok(());
                }
            },
            None if is_stdin(&path)
                && self.plan.stdin_is_free
                && !self.plan.manifests.iter().any(|m| is_stdin(m)) =>
            {
                Place::Stdin
            }
            None if is_stdin(&path) => {
                self.tell(feeder, refuse(Cause::StdinInUse));
                return Ok(());
            }
            None => Place::Listed(path),
        };
        let place = self.verdicts.place(|| feeder.flush());
        let function = Function { algorithm, mode: self.plan.mode.clone() };
        feeder.push(Item { place: file, function, ticket: Ticket { place, name, hash } });
        Ok(())
    }
}

impl<F: FnMut(Told) + Send> Done<Ticket> for Check<'_, F> {
    fn done(&self, file: Place, ticket: Ticket, result: Result<Hashed>) {
        let Ticket { place, name, hash } = ticket;
        let verdict = match result {
            Ok(Hashed { output, way }) => {
                self.listener.way(&file.path(), way);
                if output.bytes(0, hash.len()) == hash {
                    Verdict::Matches
                } else {
                    Verdict::Differs
                }
            }
            Err(error) if error.op == Operation::Open && error.errno() == Some(libc::ENOENT) => {
                Verdict::Missing(error)
            }
            Err(error) => Verdict::Unreadable(error),
        };
        self.verdicts.put(place, Told::Checked(name, verdict));
    }

    fn no_kernel_aio(&self, reason: &str) {
        self.listener.no_kernel_aio(reason);
    }

    fn panicked(&self) {
        self.verdicts.give_up();
    }
}

/// The next line without its end, or that it is too long, in which case it was skipped; none at the
/// end.
fn next_line(
    reader: &mut impl BufRead,
    end: u8,
) -> io::Result<Option<std::result::Result<Vec<u8>, Malformed>>> {
    let mut line = Vec::new();
    reader.by_ref().take(LINE_BYTES_MAX as u64 + 1).read_until(end, &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() == Some(&end) {
        line.pop();
    } else if line.len() > LINE_BYTES_MAX {
        reader.skip_until(end)?;
        return Ok(Some(Err(Malformed::TooLong(LINE_BYTES_MAX))));
    }
    Ok(Some(Ok(line)))
}

/// What an audit knows beside the verdicts.
struct Audit {
    path: PathBuf,
    root: Arc<OwnedFd>,
    cwd: PathBuf,
    /// The directory as the user wrote it and as it really is, both absolute.
    prefixes: [PathBuf; 2],
    /// The names in the manifests, relative to the directory.
    listed: Sorter,
}

impl Audit {
    fn new(path: &Path) -> Result<Self> {
        let error = |cause: io::Error| Error::new(Operation::Audit, path, cause);
        let flags =
            rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, rustix::fs::Mode::empty())
            .map_err(|cause| error(cause.into()))?;
        let cwd = std::env::current_dir().map_err(error)?;
        let prefixes = [cwd.join(path), path.canonicalize().map_err(error)?];
        Ok(Self {
            path: path.to_owned(),
            root: Arc::new(root),
            cwd,
            prefixes,
            listed: Sorter::default(),
        })
    }

    /// A name of a manifest, relative to the directory; none if it leads outside. What `..` means
    /// depends on the links before it, so that no name may have it.
    fn relative(&self, name: &Path) -> Option<PathBuf> {
        if name.components().any(|part| part == Component::ParentDir) {
            return None;
        }
        let name = self.cwd.join(name);
        let relative = self.prefixes.iter().find_map(|prefix| name.strip_prefix(prefix).ok())?;
        // By components, so that the bytes of one file are the same however the manifest writes it.
        let plain: PathBuf = relative.components().collect();
        Some(if plain.as_os_str().is_empty() { ".".into() } else { plain })
    }

    /// Tells of the files in the directory that have no line. The manifests themselves need none.
    fn finish(self, plan: &Plan, listener: &dyn Listener) -> io::Result<()> {
        let mut found = Sorter::default();
        let mut kept = Ok(());
        walk::walk(&self.path, &plan.filter, &mut |met| match met {
            Met::File(dir, name) => {
                let path = dir.path.join(name);
                let relative = path.strip_prefix(&self.path).unwrap_or(&path);
                if kept.is_ok() {
                    kept = found.push(relative.as_os_str().as_bytes().to_vec(), Vec::new());
                }
            }
            Met::Failed(error) => listener.told(Told::Unlistable(error)),
            Met::DirEnd | Met::Special(..) => {}
        });
        kept?;
        let identity = |path: &Path| path.metadata().map(|stat| (stat.dev(), stat.ino()));
        let manifests: HashSet<_> =
            plan.manifests.iter().filter_map(|path| identity(path).ok()).collect();
        let mut listed = self.listed.sorted().peekable();
        for record in found.sorted() {
            let (name, _) = record?;
            let is_before = |listed: &io::Result<(Vec<u8>, Vec<u8>)>| {
                listed.as_ref().is_ok_and(|(key, _)| *key < name)
            };
            while listed.next_if(is_before).is_some() {}
            match listed.peek() {
                Some(Ok((key, _))) if *key == name => continue,
                Some(Err(_)) => return listed.next().map_or(Ok(()), |record| record.map(drop)),
                _ => {}
            }
            let path = self.path.join(Path::new(std::ffi::OsStr::from_bytes(&name)));
            if !identity(&path).is_ok_and(|file| manifests.contains(&file)) {
                listener.told(Told::Unlisted(path));
            }
        }
        Ok(())
    }
}
