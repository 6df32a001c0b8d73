//! Hashes what the user names: files in the order of the operands, and what is in a directory
//! sorted by path.

use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::algorithm::Function;
use super::hash::{self, Done, Feeder, Hashed, Item, Options, Place, is_stdin};
use super::ordered::Ordered;
use super::sorter::Sorter;
use super::walk::{self, Met};
use crate::digest::Output;
use crate::error::{Cause, Error, Operation, Result, SpecialKind};
use crate::report::{Totals, Way};
use crate::tree::Filter;

/// The most output bytes that are kept for each file of a directory until they are sorted.
pub const DIRECTORY_OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// What is to be computed of each file.
pub struct Wanted {
    /// The function.
    pub function: Function,
    /// The first byte of its output.
    pub seek_bytes: u64,
    /// How many bytes of its output.
    pub len_bytes: u64,
    /// What is left out of directories.
    pub filter: Filter,
    /// Whether standard input may be hashed.
    pub stdin_is_free: bool,
}

/// Who hears of the results. All but [`hashed`](Self::hashed) are called from many threads, in no
/// order.
pub trait Listener: Sync {
    /// A file's output, of which `len_bytes` from `seek_bytes` on are wanted; one call after the
    /// other, in the order of the list.
    fn hashed(&self, name: &[u8], output: &Output, seek_bytes: u64, len_bytes: u64);
    /// A file cannot be hashed, or a directory not be listed.
    fn failed(&self, error: Error);
    /// Something in a directory has no contents.
    fn skipped(&self, path: &Path, kind: SpecialKind);
    /// The way that a file's data took.
    fn way(&self, path: &Path, way: Way);
    /// Kernel AIO is not to be had, for this reason; threads do its work.
    fn no_kernel_aio(&self, reason: &str);
    /// Whether nobody listens any more, so that nothing more has to be hashed.
    fn is_gone(&self) -> bool;
}

/// Where a result goes.
enum Ticket {
    /// It leaves when the operands before it have left.
    Now(u64),
    /// It is sorted with everything from the first directory on: by operand, then by path.
    Sorted(u64),
}

type Line = Option<(Vec<u8>, Output)>;

struct List<'a, F> {
    wanted: &'a Wanted,
    listener: &'a dyn Listener,
    now: Ordered<Line, F>,
    sorted: Mutex<(Sorter, io::Result<()>)>,
}

/// Hashes all operands and blocks until the last was heard of; `totals` says meanwhile how far it
/// is. The error is for what kept it from beginning, or for a temporary file that cannot be written
/// or read.
pub fn list(
    operands: &[PathBuf],
    wanted: &Wanted,
    options: &Options,
    listener: &dyn Listener,
    totals: &Totals,
) -> io::Result<()> {
    let leave = |line: Line| {
        if let Some((name, output)) = line {
            listener.hashed(&name, &output, wanted.seek_bytes, wanted.len_bytes);
        }
    };
    let list = List {
        wanted,
        listener,
        now: Ordered::new(leave),
        sorted: Mutex::new((Sorter::default(), Ok(()))),
    };
    hash::run(options, totals, &list, |feeder| list.feed(operands, feeder))?;
    let (sorter, kept) = list.sorted.into_inner().unwrap_or_else(PoisonError::into_inner);
    kept?;
    for record in sorter.sorted() {
        let (key, bytes) = record?;
        let len_bytes = bytes.len() as u64;
        listener.hashed(&key[size_of::<u64>()..], &Output::Fixed(bytes), 0, len_bytes);
    }
    Ok(())
}

impl<F: FnMut(Line) + Send> List<'_, F> {
    fn feed(&self, operands: &[PathBuf], feeder: &mut Feeder<'_, Ticket>) {
        let mut sorting = false;
        for (number, path) in operands.iter().enumerate() {
            if self.listener.is_gone() {
                return;
            }
            let number = number as u64;
            let place = match is_stdin(path) {
                true if !self.wanted.stdin_is_free => {
                    self.listener.failed(Error::new(Operation::Read, path, Cause::StdinInUse));
                    continue;
                }
                true => Place::Stdin,
                false if path.is_dir() => {
                    sorting = true;
                    self.walk(number, path, feeder);
                    continue;
                }
                false => Place::Named(path.clone()),
            };
            let ticket = match sorting {
                true => Ticket::Sorted(number),
                false => Ticket::Now(self.now.place(|| feeder.flush())),
            };
            feeder.push(Item { place, function: self.wanted.function.clone(), ticket });
        }
    }

    fn walk(&self, number: u64, root: &Path, feeder: &mut Feeder<'_, Ticket>) {
        if self.wanted.len_bytes > DIRECTORY_OUTPUT_BYTES_MAX {
            let cause = Cause::LongOutput(DIRECTORY_OUTPUT_BYTES_MAX);
            return self.listener.failed(Error::new(Operation::HashDirectory, root, cause));
        }
        walk::walk(root, &self.wanted.filter, &mut |met| match met {
            Met::File(dir, name) => {
                let function = self.wanted.function.clone();
                feeder.push(Item {
                    place: Place::In(dir, name),
                    function,
                    ticket: Ticket::Sorted(number),
                });
            }
            Met::DirEnd => feeder.flush(),
            Met::Special(path, kind) => self.listener.skipped(&path, kind),
            Met::Failed(error) => self.listener.failed(error),
        });
    }

    fn keep(&self, number: u64, name: Vec<u8>, output: &Output) {
        let key = [&number.to_be_bytes(), &name[..]].concat();
        let len_bytes = usize::try_from(self.wanted.len_bytes).unwrap_or(usize::MAX);
        let value = output.bytes(self.wanted.seek_bytes, len_bytes);
        let mut sorted = self.sorted.lock().unwrap_or_else(PoisonError::into_inner);
        let (sorter, kept) = &mut *sorted;
        if kept.is_ok() {
            *kept = sorter.push(key, value);
        }
    }
}

impl<F: FnMut(Line) + Send> Done<Ticket> for List<'_, F> {
    fn done(&self, place: Place, ticket: Ticket, result: Result<Hashed>) {
        let path = place.path();
        let hashed = match result {
            Ok(Hashed { output, way }) => {
                self.listener.way(&path, way);
                Some((path.into_os_string().into_vec(), output))
            }
            Err(error) => {
                self.listener.failed(error);
                None
            }
        };
        match (ticket, hashed) {
            (Ticket::Now(place), line) => self.now.put(place, line),
            (Ticket::Sorted(number), Some((name, output))) => self.keep(number, name, &output),
            (Ticket::Sorted(_), None) => {}
        }
    }

    fn no_kernel_aio(&self, reason: &str) {
        self.listener.no_kernel_aio(reason);
    }

    fn panicked(&self) {
        self.now.give_up();
    }
}
