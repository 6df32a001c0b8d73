//! The end of files that are written: sync, prove, name, record, tell.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::services::Services;
use crate::copy::data::{Fate, Filled};
use crate::copy::durable::{Named, NamedAhead};
use crate::copy::entry::At;
use crate::copy::events::{Counted, Outcome, Published};
use crate::copy::hardlinks::{Claim, Original};
use crate::copy::names::Admitted;
use crate::copy::queue::Single;
use crate::copy::resume::{Records, Unnamed};
use crate::copy::verify::ToProve;
use crate::error::{Cause, Error, Operation};
use crate::fs::{self, Identity, Target};
use crate::report::{Proof, Totals};
use crate::tree::OpenDir;

/// A file that is written, but without its name.
pub(super) struct Written {
    pub entry: Admitted,
    pub claim: Option<Claim>,
    pub filled: Filled,
    pub counted: Counted,
}

impl Services<'_> {
    /// Makes written files durable, proves them if that is wanted, and gives them their names. A
    /// failed fsync is final for a file: the kernel has marked its pages clean, so that a second
    /// one would find nothing wrong.
    pub(super) fn finish(&self, dir: &OpenDir, written: Vec<Written>) {
        let written = self.made_alike(dir, written);
        let written = self.name_ahead(dir, written);
        let synced = self.sync(dir, &written);
        let mut durable = Vec::with_capacity(written.len());
        for (file, synced) in written.into_iter().zip(synced) {
            let target = &file.filled.target;
            let is_elsewhere = synced.is_ok() && target.is_mounted();
            match if is_elsewhere { self.durable.sync_mounted(target.file()) } else { synced } {
                Ok(()) => durable.push(file),
                Err(cause) => {
                    let at = At::new(dir, &file.entry);
                    let error = at.target_error(Operation::Fsync, cause);
                    self.reject(dir, file, error);
                }
            }
        }
        let mut proved = self.prove(dir, durable);
        if let [(file, _)] = &mut *proved {
            file.filled.took = None;
        }
        self.resume.record_unnamed(proved.iter().map(|(file, _)| unnamed(dir, file)));
        let mut records = Records::default();
        let mut named = Vec::new();
        let owes_names = self.durable.owes_names(dir, proved.len());
        let turn = (proved.len() > 1).then(|| dir.naming_turn());
        for (file, proof) in proved {
            if owes_names {
                let name = file.entry.target_name().to_owned();
                named.push(Named { name, file: Arc::clone(file.filled.target.file()) });
            }
            self.publish(dir, file, proof, &mut records);
        }
        drop(turn);
        let failed = self.durable.sync_named(dir, named);
        self.resume.doubt(dir, &failed, &mut records);
        self.durable.let_old_go();
        self.resume.append(records);
    }

    /// Makes written files durable, but for those that become so with their names.
    fn sync(&self, dir: &OpenDir, written: &[Written]) -> Vec<io::Result<()>> {
        let has_bare = written.iter().any(|file| !file.filled.has_own_data());
        let comes_with_name = has_bare && self.durable.comes_with_name(dir);
        let needs_sync = |file: &Written| !comes_with_name || file.filled.has_own_data();
        let to_sync = written.iter().filter(|file| needs_sync(file));
        let files: Vec<_> = to_sync.map(|file| Arc::clone(file.filled.target.file())).collect();
        let synced = if files.is_empty() { Vec::new() } else { self.durable.sync(dir, files) };
        let mut synced = synced.into_iter();
        let answer = |file| match needs_sync(file) {
            true => synced.next().expect("each file has its answer"),
            false => Ok(()),
        };
        written.iter().map(answer).collect()
    }

    /// Has files copied again that were made as another in a directory that was changed since: they
    /// may have another group, or an ACL.
    fn made_alike(&self, dir: &OpenDir, written: Vec<Written>) -> Vec<Written> {
        let is_as_another = |file: &Written| file.filled.is_made_as_another;
        if !written.iter().any(is_as_another) || dir.still_makes_files_alike() {
            return written;
        }
        let (as_others, written): (Vec<_>, _) = written.into_iter().partition(is_as_another);
        as_others.into_iter().for_each(|file| self.discard_and_copy_again(dir, file));
        written
    }

    fn discard_and_copy_again(&self, dir: &OpenDir, file: Written) {
        let Written { entry, claim, filled, counted: _counted } = file;
        self.data.end_target(At::new(dir, &entry), filled.target, Fate::Discard);
        self.copy_again(dir, entry, claim, None);
    }

    /// Gives files a hidden name before they are synced, where a file without a name would not
    /// outlive a power cut. What cannot have one is thrown away and told.
    fn name_ahead(&self, dir: &OpenDir, written: Vec<Written>) -> Vec<Written> {
        let ahead = self.durable.named_ahead(dir);
        let needs_name = |file: &Written| match ahead {
            _ if file.filled.target.is_in_place() => false,
            NamedAhead::Nothing => false,
            NamedAhead::WhatReplaces => file.entry.spot.occupied,
            NamedAhead::All => true,
        };
        if !written.iter().any(needs_name) {
            return written;
        }
        let name = |mut file: Written| {
            if needs_name(&file) {
                let mark = self.resume.mark();
                if let Err(cause) = file.filled.target.name_ahead(mark) {
                    if Target::must_be_named() {
                        self.discard_and_copy_again(dir, file);
                        return None;
                    }
                    let error = At::new(dir, &file.entry).target_error(Operation::Publish, cause);
                    self.reject(dir, file, error);
                    return None;
                }
            }
            Some(file)
        };
        written.into_iter().filter_map(name).collect()
    }

    /// What is not proved is thrown away and told; the others come back with their proofs.
    fn prove(&self, dir: &OpenDir, mut files: Vec<Written>) -> Vec<(Written, Option<Proof>)> {
        let to_prove = files.iter_mut().map(|file| {
            let Written { entry, filled, counted, .. } = file;
            ToProve { at: At::new(dir, entry), filled, counted }
        });
        let results = self.verify.prove(to_prove.collect());
        let mut proved = Vec::with_capacity(files.len());
        for (file, result) in files.into_iter().zip(results) {
            match result {
                Ok(proof) => proved.push((file, proof)),
                Err(error) => self.reject(dir, file, error),
            }
        }
        proved
    }

    fn publish(&self, dir: &OpenDir, file: Written, proof: Option<Proof>, records: &mut Records) {
        let Written { entry, claim, filled, counted: _counted } = file;
        let at = At::new(dir, &entry);
        let Filled { moved, cloned_bytes, size_bytes, route, begun, took, source, .. } = filled;
        let (target, kept) = (filled.target, filled.kept);
        let hash = moved.root();
        let copy = match claim.as_ref().map(|_| identity(dir, &target)).transpose() {
            Ok(copy) => copy,
            Err(cause) => {
                self.data.end_target(at, target, Fate::Discard);
                return self.give_up(claim, at.target_error(Operation::Stat, cause));
            }
        };
        let (in_place, is_named) = (target.is_in_place(), target.is_named());
        let published = self.publish_name(dir, &entry, Operation::Publish, |if_taken| {
            target.publish(entry.target_name(), if_taken)
        });
        match published {
            Ok(None) => self.pass_on(claim),
            Ok(Some(published)) => {
                let published = Published { in_place, ..published };
                self.resume.record(at, &source, published.stat.as_ref(), kept, hash, records);
                Totals::add(&self.events.totals.cloned_bytes, cloned_bytes);
                let elapsed = begun.elapsed();
                let waited = took.map_or(Duration::ZERO, |took| elapsed.saturating_sub(took));
                let outcome = Outcome { size_bytes, hash, route, proof, elapsed, waited };
                self.events.moved(at, published, &moved, outcome);
                let (dir, name) = (Arc::clone(dir.dir()), entry.target_name().to_owned());
                if claim.is_some() {
                    // What is recorded of it when it gets further names comes later.
                    self.resume.append_now(records);
                }
                self.keep_claim(claim, || Original { dir, name, copy, size_bytes, hash, kept });
            }
            Err(_) if !is_named && Target::must_be_named() => {
                self.copy_again(dir, entry, claim, proof);
            }
            Err(error) => self.give_up(claim, error),
        }
    }

    /// Has a file copied once more that was made without a name, and could get none: this time
    /// under a name from the beginning. Or one that may have been made otherwise than was taken for
    /// granted.
    fn copy_again(
        &self,
        dir: &OpenDir,
        entry: Admitted,
        claim: Option<Claim>,
        proof: Option<Proof>,
    ) {
        proof.into_iter().for_each(|proof| self.events.not_proved(proof));
        dir.hold();
        let dir = Arc::clone(dir.dir());
        self.queue.push_single(Single { dir, entry, claim, counted: None });
    }

    /// Throws away a file that may not get its name. One that was merely interrupted stays for the
    /// next run, if that can find it.
    fn reject(&self, dir: &OpenDir, file: Written, error: Error) {
        let Written { entry, claim, filled, mut counted } = file;
        counted.end(Some(&error.cause));
        let stays = filled.is_partial && matches!(error.cause, Cause::Interrupted);
        let left_bytes = if stays { filled.size_bytes } else { 0 };
        Totals::add(&self.events.totals.left_bytes, left_bytes);
        let fate = if stays { Fate::Leave } else { Fate::Discard };
        self.data.end_target(At::new(dir, &entry), filled.target, fate);
        self.give_up(claim, error);
    }
}

fn unnamed<'a>(dir: &'a OpenDir, file: &'a Written) -> Unnamed<'a> {
    let Filled { target, source, kept, moved, is_partial, .. } = &file.filled;
    Unnamed {
        at: At::new(dir, &file.entry),
        file: target.file(),
        source,
        kept: *kept,
        hash: moved.root(),
        is_partial: *is_partial,
    }
}

fn identity(dir: &OpenDir, target: &Target) -> io::Result<Identity> {
    let file = &**target.file();
    Ok(Identity::of(file, &fs::stat(file)?, dir.target_trust().numbers))
}
