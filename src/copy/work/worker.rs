//! What a worker does with its tasks: it opens the entries of a batch, and hands each to its kind.

use std::sync::Arc;

use super::finish::Written;
use super::services::Services;
use crate::copy::entry::{At, Source, settle};
use crate::copy::events::{Copying, Counted};
use crate::copy::hardlinks::Claim;
use crate::copy::names::Admitted;
use crate::copy::options::{Action, Reflink};
use crate::copy::queue::{Busy, Single, Task};
use crate::copy::verify::{Other, ToCopy};
use crate::error::{Cause, Operation, Result};
use crate::fs::Stat;
use crate::pipeline::{BatchFile, BatchWay, Failure, Outlook};
use crate::tree::{Batch, Entry, EntryKind, OpenDir};
use crate::workers::Work;

/// A small file that is opened, and how it is read.
struct Small {
    entry: Admitted,
    claim: Option<Claim>,
    source: Source,
    counted: Counted,
    way: BatchWay,
}

/// The small files of a batch that are opened so far.
struct Opened {
    small: Vec<Small>,
    outlook: Outlook,
}

impl Small {
    fn describe(&self) -> BatchFile<'_> {
        BatchFile {
            file: &self.source.file,
            order: self.source.stat.st_ino,
            size_bytes: self.source.size_bytes(),
            way: self.way,
        }
    }
}

impl<'a> Work for Services<'a> {
    type Task = (Task, Busy<'a>);

    fn take(&self) -> Option<Self::Task> {
        self.queue.pop()
    }

    fn carry_out(&self, (task, _busy): Self::Task, buffer: &mut [u8]) {
        match task {
            Task::Batch(batch) => self.carry_out_batch(batch, buffer),
            Task::Single(single) => self.carry_out_single(single, buffer),
        }
    }

    fn useful_max(&self) -> usize {
        self.data.clones.workers_max()
    }
}

impl Services<'_> {
    /// What is not begun when the run is to stop is only let go of, so that directories get their
    /// last sync.
    fn carry_out_batch(&self, Batch { dir, entries }: Batch, buffer: &mut [u8]) {
        if !self.options.stop.is_requested() {
            match dir.open() {
                Ok(open) => self.work_on_batch(&open, entries, buffer),
                Err(error) => {
                    let _met = self.events.in_hand(entries.len());
                    self.events.fail(error);
                }
            }
        }
        self.durable.release(dir);
    }

    fn carry_out_single(&self, single: Single, buffer: &mut [u8]) {
        let Single { dir, entry, claim, counted } = single;
        if self.options.stop.is_requested() {
            counted.into_iter().for_each(Counted::left_undone);
            self.pass_on(claim);
        } else {
            match dir.open() {
                Ok(open) => self.copy_single(&open, entry, claim, counted, buffer),
                Err(error) => {
                    drop(counted);
                    self.give_up(claim, error);
                }
            }
        }
        self.durable.release(dir);
    }

    /// All of a batch at once, unless the process may not have so many files open.
    fn work_on_batch(&self, dir: &OpenDir, mut entries: Vec<Entry>, buffer: &mut [u8]) {
        if self.options.changes_destination() && dir.is_closed() {
            self.resume.open_up(dir).unwrap_or_else(|error| self.events.fail(error));
        }
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(self.entries_max));
            let to_copy = match self.options.action {
                Action::Compare => self.verify.compare_batch(dir, entries),
                _ => ToCopy { entries, ..ToCopy::default() },
            };
            to_copy.standing.into_iter().for_each(|name| self.link_others_to(dir, name));
            self.copy_batch(dir, to_copy.entries, buffer);
            for Other { dir, entry } in to_copy.others {
                match dir.open() {
                    Ok(open) => self.copy_batch(&open, vec![entry], buffer),
                    Err(error) => {
                        let _met = self.events.in_hand(1);
                        self.events.fail(error);
                    }
                }
                self.durable.release(dir);
            }
            entries = rest;
        }
    }

    /// Opens all files of a batch before the first is read: the small ones are read together, or
    /// their data asked for, so that many neighbours are few requests for the device, instead of
    /// one after the other.
    fn copy_batch(&self, dir: &OpenDir, entries: Vec<Entry>, buffer: &mut [u8]) {
        let small = Vec::with_capacity(entries.len());
        let mut opened = Opened { small, outlook: self.data.outlook() };
        {
            let _met = self.events.in_hand(entries.len());
            let mut earlier = self.resume.earlier(dir);
            for entry in entries {
                if self.options.stop.is_requested() {
                    continue;
                }
                let entry = match &mut earlier {
                    Some(earlier) => self.unless_finished(dir, entry, earlier),
                    None => Some(entry),
                };
                let begun = entry.map_or(Ok(()), |entry| self.begin(dir, entry, &mut opened));
                begun.unwrap_or_else(|error| self.events.fail(error));
            }
        }
        let Opened { mut small, .. } = opened;
        let sources = small.iter_mut().map(|small| &mut small.source);
        settle(sources, |wait| self.options.stop.sleep(wait));
        let mut written = Vec::with_capacity(small.len());
        self.pipeline.read_batch(small, Small::describe, |small, contents| {
            written.extend(self.copy_small(dir, small, contents, buffer));
        });
        self.finish(dir, written);
    }

    /// Begins with one entry. A small file goes to those that are `opened`, a big one back to the
    /// queue; everything else is done at once.
    fn begin(&self, dir: &OpenDir, entry: Entry, opened: &mut Opened) -> Result<()> {
        if matches!(self.options.action, Action::HardLink | Action::SymbolicLink) {
            return self.link_instead(dir, entry);
        }
        if entry.kind != EntryKind::File {
            return self.copy_special(dir, entry);
        }
        let read_from = opened.outlook.read_from();
        let source = At::new(dir, &entry).open_source_for(&self.options.stop, read_from)?;
        let Some(entry) = self.names.admit(dir, entry, &source.stat)? else { return Ok(()) };
        if self.keeps_data(entry.spot) {
            return self.copy_attributes(dir, &entry, &source);
        }
        let Some((entry, claim)) = self.claim(dir, entry, &source.file, &source.seen()) else {
            return Ok(());
        };
        if self.options.dry_run {
            self.plan_file(dir, &entry, claim, &source.stat);
            return Ok(());
        }
        if let Err(error) = self.check_room(dir, &entry, &source.stat) {
            self.give_up(claim, error);
            return Ok(());
        }
        let counted = self.events.found(source.size_bytes());
        if entry.is_stream || self.options.is_small(source.size_bytes()) {
            let way = self.data.small_way(dir, &source, &mut opened.outlook);
            opened.small.push(Small { entry, claim, source, counted, way });
        } else {
            dir.hold();
            let (dir, counted) = (Arc::clone(dir.dir()), Some(counted));
            self.queue.push_single(Single { dir, entry, claim, counted });
        }
        Ok(())
    }

    /// An error for a file that holds something, when nothing fits any more. What is written into
    /// has space already, and a clone needs none.
    fn check_room(&self, dir: &OpenDir, entry: &Admitted, source: &Stat) -> Result<()> {
        let needs_none = source.st_size == 0 || entry.spot.in_place.is_some();
        let devices = dir.devices();
        let may_clone = || {
            self.options.reflink != Reflink::Never
                && devices.source == devices.target
                && !dir.never_clones()
        };
        match !needs_none && self.events.full.is_full(&*dir.target) && !may_clone() {
            true => {
                let cause = Cause::Full { needed_bytes: self.options.space_of(source) };
                Err(At::new(dir, entry).source_error(Operation::Copy, cause))
            }
            false => Ok(()),
        }
    }

    fn copy_small(
        &self,
        dir: &OpenDir,
        small: Small,
        contents: std::result::Result<Option<&[u8]>, Failure>,
        buffer: &mut [u8],
    ) -> Option<Written> {
        let Small { entry, claim, source, mut counted, .. } = small;
        if self.options.stop.is_requested() {
            counted.left_undone();
            self.pass_on(claim);
            return None;
        }
        let at = At::new(dir, &entry);
        self.events.totals.current.pass(|| at.source_path());
        let replaced = entry.spot.replaced;
        let copying = Copying { at, source: &source, replaced, counted: &counted };
        let filled = contents.map_err(|failure| at.data_error(failure)).and_then(|contents| {
            self.check_room(dir, &entry, &source.stat)?;
            let in_place = self.names.open_in_place(dir, &entry, &source.stat)?;
            self.data.copy_small(copying, in_place, contents, buffer)
        });
        counted.end(filled.as_ref().err().map(|error| &error.cause));
        match filled {
            Ok(filled) => Some(Written { entry, claim, filled, counted }),
            Err(error) => {
                drop(counted);
                self.give_up(claim, error);
                None
            }
        }
    }

    /// Copies a big file, or a name that waited for another one.
    fn copy_single(
        &self,
        dir: &OpenDir,
        entry: Admitted,
        claim: Option<Claim>,
        counted: Option<Counted>,
        buffer: &mut [u8],
    ) {
        if entry.kind != EntryKind::File {
            return self.copy_claimed_special(dir, entry, claim);
        }
        if self.options.dry_run {
            return match At::new(dir, &entry).open_source(&self.options.stop) {
                Ok(source) => self.plan_file(dir, &entry, claim, &source.stat),
                Err(error) => self.give_up(claim, error),
            };
        }
        // A name that waited for another one is met as a file only now.
        let mut counted = counted.unwrap_or_else(|| self.events.found(0));
        let at = At::new(dir, &entry);
        let mut current = None;
        let filled = at.open_source(&self.options.stop).and_then(|mut source| {
            self.opened_again(at, claim.as_ref(), &source.file, &source.stat);
            settle([&mut source].into_iter(), |wait| self.options.stop.sleep(wait));
            let size_bytes = source.size_bytes();
            self.events.found_more(&mut counted, size_bytes);
            let replaced = entry.spot.replaced;
            let copying = Copying { at, source: &source, replaced, counted: &counted };
            let in_place = self.names.open_in_place(dir, &entry, &source.stat)?;
            match entry.is_stream || self.options.is_small(size_bytes) {
                true => self.data.copy_small(copying, in_place, None, buffer),
                false => {
                    let (files, handled) = (&self.events.totals.current, counted.handled_bytes());
                    current = files.begin(size_bytes, handled, || at.source_path());
                    let _big = self.events.full.begin_big();
                    self.data.copy_big(copying, in_place)
                }
            }
        });
        counted.end(filled.as_ref().err().map(|error| &error.cause));
        match filled {
            Ok(filled) => self.finish(dir, vec![Written { entry, claim, filled, counted }]),
            Err(error) => {
                drop(counted);
                self.give_up(claim, error);
            }
        }
        // It is in hand until it is durable and proved.
        drop(current);
    }
}
