//! Hashes what the user names: files in the order of the operands, and what is in a directory
//! sorted by path.

use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::algorithm::Function;
use super::hash::{self, Feeder, HashOptions, HashSink, Hashed, Item, Looked};
use super::left_out::{LeftOut, Reason};
use super::line::{self, OutputPart};
use super::location::{Location, is_dash};
use super::ordered::Ordered;
use super::sorter::{self, SortRecord, Sorter};
use crate::digest::Output;
use crate::error::{Cause, Error, Operation, Result, SpecialKind};
use crate::fs::{self, FileId, FileType};
use crate::report::{Totals, Way};
use crate::tree::{self, Batch, EntryKind, Filter, Follow, Scope, WalkEvent};

/// The most output bytes that are kept for each file of a directory until they are sorted.
pub const DIRECTORY_OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// What is to be computed of each file.
pub struct ListPlan {
    /// The function.
    pub function: Function,
    /// The first byte of its output that is wanted.
    pub seek_bytes: u64,
    /// How many bytes of its output are wanted.
    pub len_bytes: u64,
    /// What is left out of directories, and of the files that are named.
    pub filter: Filter,
    /// Where the lines go: a file that is no part of them.
    pub output: Option<FileId>,
    /// Whether standard input may be hashed.
    pub stdin_is_free: bool,
}

/// The receiver of the results. All methods but [`hashed`](Self::hashed) are called from many
/// threads, in no order.
pub trait ListListener: Sync {
    /// Takes the wanted part of a file's output; one call after the other, in the order of the
    /// list.
    fn hashed(&self, name: &[u8], part: OutputPart<'_>);
    /// Takes the error of a file that cannot be hashed, or of a directory that cannot be listed.
    fn failed(&self, error: Error);
    /// Takes something in a directory that has no contents.
    fn skipped(&self, path: &Path, kind: SpecialKind);
    /// Takes the name of the file that the lines go to, which is not hashed.
    fn left_out_output(&self, path: &Path);
    /// Takes the way of a file's data.
    fn way(&self, path: &Path, way: Way);
    /// Takes the reason why kernel AIO is not available. Threads do its work.
    fn no_kernel_aio(&self, reason: &str);
    /// Whether the results have no receiver any more, so that nothing more has to be hashed.
    fn is_gone(&self) -> bool;
}

/// Where a result goes.
enum ListTicket {
    /// It leaves when the operands before it have left.
    Now(u64),
    /// It is sorted with everything from the first directory on: by operand, then by path.
    Sorted(u64),
}

/// A file's name and its output.
struct NamedOutput {
    name: Vec<u8>,
    output: Output,
}

/// The outputs from the first directory on.
struct SortedOutputs {
    sorter: Sorter,
    /// The first failure of keeping one.
    kept: io::Result<()>,
}

struct ListRun<'a, F> {
    plan: &'a ListPlan,
    listener: &'a dyn ListListener,
    now: Ordered<Option<NamedOutput>, F>,
    sorted: Mutex<SortedOutputs>,
}

/// Hashes all operands and blocks until the last result is out; `totals` says meanwhile how far it
/// is. The error is for what kept it from beginning (threads, descriptors), or for a temporary file
/// that cannot be written or read.
pub fn list(
    operands: &[PathBuf],
    plan: &ListPlan,
    options: &HashOptions,
    listener: &dyn ListListener,
    totals: &Totals,
) -> Result<()> {
    let leave = |hashed: Option<NamedOutput>| {
        if let Some(NamedOutput { name, output }) = hashed {
            let ListPlan { seek_bytes, len_bytes, .. } = *plan;
            listener.hashed(&name, OutputPart { output: &output, seek_bytes, len_bytes });
        }
    };
    let list = ListRun {
        plan,
        listener,
        now: Ordered::new(leave),
        sorted: Mutex::new(SortedOutputs { sorter: Sorter::default(), kept: Ok(()) }),
    };
    let left_out = LeftOut { sizes: Some(&plan.filter), output: plan.output };
    hash::run(options, left_out, totals, &list, |feeder| list.feed(operands, feeder)).map_err(
        |cause| {
            Error::new(Operation::BeginToHash, operands.first().cloned().unwrap_or_default(), cause)
        },
    )?;
    let SortedOutputs { sorter, kept } =
        list.sorted.into_inner().unwrap_or_else(PoisonError::into_inner);
    kept.map_err(sorter::error)?;
    for record in sorter.sorted().map_err(sorter::error)? {
        let SortRecord { key, value } = record.map_err(sorter::error)?;
        let len_bytes = value.len() as u64;
        let part = OutputPart { output: &Output::Fixed(value), seek_bytes: 0, len_bytes };
        listener.hashed(&key[size_of::<u64>()..], part);
    }
    Ok(())
}

impl<F: FnMut(Option<NamedOutput>) + Send> ListRun<'_, F> {
    fn feed(&self, operands: &[PathBuf], feeder: &mut Feeder<'_, ListTicket>) {
        let mut sorting = false;
        for (number, path) in operands.iter().enumerate() {
            if self.listener.is_gone() {
                return;
            }
            let number = number as u64;
            let location = match path {
                _ if !self.plan.stdin_is_free && fs::is_stdin(path) => {
                    self.listener.failed(Error::new(Operation::Read, path, Cause::StdinInUse));
                    continue;
                }
                _ if is_dash(path) => Location::Stdin,
                _ if path.is_dir() => {
                    sorting = true;
                    self.walk(number, path, feeder);
                    continue;
                }
                _ if self.is_left_out(path) => continue,
                _ => Location::Named(path.clone()),
            };
            let ticket = match sorting {
                true => ListTicket::Sorted(number),
                false => ListTicket::Now(self.now.place(0, || feeder.flush())),
            };
            feeder.push(Item { location, function: self.plan.function.clone(), ticket });
        }
    }

    /// Whether the filter leaves out a file that was named, by its name as a copy does.
    fn is_left_out(&self, path: &Path) -> bool {
        let name = path.file_name().unwrap_or(path.as_os_str());
        self.plan.filter.excludes(name.as_bytes(), FileType::RegularFile)
    }

    fn walk(&self, number: u64, root: &Path, feeder: &mut Feeder<'_, ListTicket>) {
        if self.plan.len_bytes > DIRECTORY_OUTPUT_BYTES_MAX {
            let cause = Cause::LongOutput(DIRECTORY_OUTPUT_BYTES_MAX);
            return self.listener.failed(Error::new(Operation::HashDirectory, root, cause));
        }
        let (open_dirs, is_gone) = (feeder.open_dirs(), || self.listener.is_gone());
        let scope = Scope::all(Follow::Never, &self.plan.filter);
        tree::walk_single(root, &scope, &open_dirs, &is_gone, &mut |event| match event {
            WalkEvent::Batch(batch) => self.feed_batch(number, batch, feeder),
            WalkEvent::Failed(error) => self.listener.failed(error),
        });
    }

    fn feed_batch(&self, number: u64, batch: Batch, feeder: &mut Feeder<'_, ListTicket>) {
        let Batch { dir, entries } = batch;
        for entry in entries {
            match entry.kind {
                EntryKind::File => {
                    let location = Location::In(Arc::clone(&dir), entry.name);
                    let function = self.plan.function.clone();
                    feeder.push(Item { location, function, ticket: ListTicket::Sorted(number) });
                }
                EntryKind::Link => {}
                EntryKind::Special(kind) => {
                    self.listener.skipped(&dir.source_path(&entry.name), kind);
                }
            }
        }
        feeder.flush();
    }

    fn keep(&self, number: u64, name: Vec<u8>, output: &Output) {
        let key = [&number.to_be_bytes(), &name[..]].concat();
        let len_bytes = usize::try_from(self.plan.len_bytes).unwrap_or(usize::MAX);
        let value = output.bytes(self.plan.seek_bytes, len_bytes);
        let mut sorted = self.sorted.lock().unwrap_or_else(PoisonError::into_inner);
        if sorted.kept.is_ok() {
            sorted.kept = sorted.sorter.push(key, value);
        }
    }
}

impl<F: FnMut(Option<NamedOutput>) + Send> HashSink<ListTicket> for ListRun<'_, F> {
    fn done(&self, location: Location, ticket: ListTicket, result: Result<Looked>) {
        let path = location.path();
        let hashed = match result {
            Ok(Looked::Hashed(_)) if line::is_too_long(path.as_os_str().as_bytes()) => {
                let cause = Cause::LongName(line::NAME_BYTES_MAX);
                self.listener.failed(Error::new(Operation::List, path, cause));
                None
            }
            Ok(Looked::Hashed(Hashed { output, way })) => {
                self.listener.way(&path, way);
                Some(NamedOutput { name: path.into_os_string().into_vec(), output })
            }
            Ok(Looked::LeftOut(reason)) => {
                if reason == Reason::IsOutput {
                    self.listener.left_out_output(&path);
                }
                None
            }
            Err(error) => {
                self.listener.failed(error);
                None
            }
        };
        match (ticket, hashed) {
            (ListTicket::Now(place), hashed) => self.now.put(place, hashed),
            (ListTicket::Sorted(number), Some(NamedOutput { name, output })) => {
                self.keep(number, name, &output);
            }
            (ListTicket::Sorted(_), None) => {}
        }
    }

    fn no_kernel_aio(&self, reason: &str) {
        self.listener.no_kernel_aio(reason);
    }

    fn panicked(&self) {
        self.now.give_up();
    }
}
