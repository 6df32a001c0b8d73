//! All operations of the futures and streams of one driver: those in line for a place, those that
//! the context has, and those that are over and were not taken.
//!
//! It calls no code of others, since it is used under a lock: what is to be woken or dropped is
//! handed out.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Waker;

use super::outbox::Outbox;
use crate::sys::{Done, Op};

/// The number of an entry, which the context carries as the operation's tag.
pub type Id = usize;
/// The number of a lane.
pub type LaneId = usize;

/// Where an operation is.
#[derive(Default)]
enum Stage {
    #[default]
    Free,
    /// In line for a place.
    Waiting(Op),
    /// The context has it.
    Running,
    /// Over and not taken.
    Over(Done),
    /// It went with its context, which the kernel did not give back.
    Lost,
}

/// Who gets an operation that is over.
#[derive(Default)]
pub enum Owner {
    /// It was dropped.
    #[default]
    Gone,
    /// A future, and how its task is woken.
    Task(Option<Waker>),
    /// A stream, and at which place of it.
    Lane(LaneId, u64),
}

/// What the submitter set, while the operation carries values of this side.
#[derive(Default)]
struct Kept {
    tag: u64,
    eventfd: Option<Arc<OwnedFd>>,
}

#[derive(Default)]
struct Entry {
    stage: Stage,
    owner: Owner,
    kept: Kept,
    /// Its number in line.
    number: u64,
    /// Whether it is to be cancelled.
    is_unwanted: bool,
}

impl Entry {
    fn is_in_line(&self, number: u64) -> bool {
        self.number == number && matches!(self.stage, Stage::Waiting(_))
    }
}

/// What is over of one stream, each with its place.
#[derive(Default)]
pub struct Lane {
    pub over: VecDeque<(u64, Done)>,
    pub waker: Option<Waker>,
    /// Whether one went with its context.
    pub has_lost: bool,
}

/// See [the module](self).
#[derive(Default)]
pub struct Registry {
    entries: Vec<Entry>,
    free: Vec<Id>,
    /// The numbers of those without a place, in the order of their arrival. One that has left stays
    /// here, and names nothing.
    line: VecDeque<(u64, Id)>,
    /// How many such there are.
    left: usize,
    next_number: u64,
    /// Those with the context that are to be cancelled.
    unwanted: Vec<Id>,
    lanes: Vec<Lane>,
    free_lanes: Vec<LaneId>,
    is_closed: bool,
}

/// An operation that never ran.
pub fn cancelled(op: Op) -> Done {
    Done::new(op, Err(io::Error::from_raw_os_error(libc::ECANCELED)))
}

impl Registry {
    /// Puts an operation in line, and says whether it is the only one there. Without a driver it is
    /// over.
    // The completion is what the owner must not lose; it is as large as it is.
    #[allow(clippy::result_large_err)]
    pub fn insert(&mut self, op: Op, owner: Owner) -> Result<(Id, bool), Done> {
        if self.is_closed {
            return Err(cancelled(op));
        }
        let number = self.next_number;
        self.next_number += 1;
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            self.entries.len() - 1
        });
        let entry = &mut self.entries[id];
        (entry.stage, entry.owner, entry.number) = (Stage::Waiting(op), owner, number);
        self.line.push_back((number, id));
        Ok((id, self.line.len() == 1))
    }

    /// Takes an operation out of the line, which is not the first one.
    fn leave_line(&mut self) {
        self.left += 1;
        // The numbers that name nothing are left out when they are most of the line, so that each
        // costs little, and they do not pile up.
        if self.left > self.line.len() / 2 {
            let entries = &self.entries;
            self.line.retain(|&(number, id)| entries[id].is_in_line(number));
            self.left = 0;
        }
    }

    /// Whether the context has something to do: with this many free places, or to cancel.
    pub fn has_work(&self, places: usize) -> bool {
        !self.unwanted.is_empty() || (places > 0 && !self.line.is_empty())
    }

    /// Gives the first in line to the context, whose operations signal `eventfd` if there is one.
    /// False if there is none.
    pub fn start(&mut self, eventfd: Option<&Arc<OwnedFd>>, queue: impl FnOnce(Id, Op)) -> bool {
        while let Some((number, id)) = self.line.pop_front() {
            let entry = &mut self.entries[id];
            if !entry.is_in_line(number) {
                self.left -= 1;
                continue;
            }
            if let Stage::Waiting(mut op) = std::mem::replace(&mut entry.stage, Stage::Running) {
                entry.kept.tag = std::mem::replace(&mut op.tag, id as u64);
                if eventfd.is_some() {
                    entry.kept.eventfd = op.eventfd.take();
                }
                queue(id, op);
            }
            return true;
        }
        false
    }

    /// Those with the context that are to be cancelled.
    pub fn take_unwanted(&mut self) -> Vec<Id> {
        let mut ids = std::mem::take(&mut self.unwanted);
        // Another operation may have the entry meanwhile.
        ids.retain(|&id| {
            matches!(self.entries[id], Entry { stage: Stage::Running, is_unwanted: true, .. })
        });
        ids
    }

    /// Notes that the context has given an operation back.
    pub fn finish(&mut self, mut done: Done, outbox: &mut Outbox) {
        let id = done.op.tag as Id;
        let kept = &mut self.entries[id].kept;
        done.op.tag = kept.tag;
        if let Some(eventfd) = kept.eventfd.take() {
            outbox.eventfds.push(Arc::clone(&eventfd));
            done.op.eventfd = Some(eventfd);
        }
        self.settle(id, done, outbox);
    }

    /// Hands an operation that is over to its owner.
    #[inline]
    fn settle(&mut self, id: Id, done: Done, outbox: &mut Outbox) {
        let entry = &mut self.entries[id];
        match &mut entry.owner {
            Owner::Gone => {
                outbox.unwanted.push(done);
                self.release(id);
            }
            Owner::Task(waker) => {
                outbox.wakers.extend(waker.take());
                entry.stage = Stage::Over(done);
            }
            &mut Owner::Lane(lane, place) => {
                let lane = &mut self.lanes[lane];
                lane.over.push_back((place, done));
                outbox.wakers.extend(lane.waker.take());
                self.release(id);
            }
        }
    }

    /// Tells its owner that an operation is lost.
    fn lose(&mut self, id: Id, outbox: &mut Outbox) {
        let entry = &mut self.entries[id];
        match &mut entry.owner {
            Owner::Gone => self.release(id),
            Owner::Task(waker) => {
                outbox.wakers.extend(waker.take());
                entry.stage = Stage::Lost;
            }
            &mut Owner::Lane(lane, _) => {
                let lane = &mut self.lanes[lane];
                lane.has_lost = true;
                outbox.wakers.extend(lane.waker.take());
                self.release(id);
            }
        }
    }

    fn release(&mut self, id: Id) {
        let entry = &mut self.entries[id];
        (entry.stage, entry.owner, entry.is_unwanted) = (Stage::Free, Owner::Gone, false);
        self.free.push(id);
    }

    /// An operation that is over, for its future; or else the place of the future's waker.
    ///
    /// # Panics
    /// If the operation is lost.
    // The waker's place is the answer in most cases.
    #[allow(clippy::result_large_err)]
    pub fn take(&mut self, id: Id) -> Result<Done, &mut Option<Waker>> {
        if matches!(self.entries[id].stage, Stage::Over(_)) {
            let stage = std::mem::replace(&mut self.entries[id].stage, Stage::Free);
            self.release(id);
            let Stage::Over(done) = stage else { unreachable!("it was looked at") };
            return Ok(done);
        }
        let entry = &mut self.entries[id];
        assert!(!matches!(entry.stage, Stage::Lost), "the kernel did not give an operation back");
        match &mut entry.owner {
            Owner::Task(waker) => Err(waker),
            _ => unreachable!("a future has the entry"),
        }
    }

    /// Ends an operation that is in line, and has one with the context cancelled.
    pub fn cancel(&mut self, id: Id, outbox: &mut Outbox) {
        let entry = &mut self.entries[id];
        match std::mem::replace(&mut entry.stage, Stage::Free) {
            Stage::Waiting(op) => {
                self.settle(id, cancelled(op), outbox);
                self.leave_line();
            }
            stage => {
                let is_running = matches!(stage, Stage::Running);
                entry.stage = stage;
                if is_running && !std::mem::replace(&mut entry.is_unwanted, true) {
                    self.unwanted.push(id);
                }
            }
        }
    }

    /// Notes that an operation's owner is gone: it leaves the line, or is left to the context,
    /// which is to cancel it.
    pub fn abandon(&mut self, id: Id, outbox: &mut Outbox) {
        let entry = &mut self.entries[id];
        if let Owner::Task(Some(waker)) = std::mem::replace(&mut entry.owner, Owner::Gone) {
            outbox.unused.push(waker);
        }
        match std::mem::replace(&mut entry.stage, Stage::Free) {
            Stage::Waiting(op) => {
                outbox.withdrawn.push(op);
                self.release(id);
                self.leave_line();
            }
            Stage::Running => {
                entry.stage = Stage::Running;
                if !std::mem::replace(&mut entry.is_unwanted, true) {
                    self.unwanted.push(id);
                }
            }
            Stage::Over(done) => {
                outbox.unwanted.push(done);
                self.release(id);
            }
            Stage::Free | Stage::Lost => self.release(id),
        }
    }

    /// A lane for a new stream.
    pub fn open_lane(&mut self) -> LaneId {
        self.free_lanes.pop().unwrap_or_else(|| {
            self.lanes.push(Lane::default());
            self.lanes.len() - 1
        })
    }

    /// A stream's lane.
    pub fn lane(&mut self, id: LaneId) -> &mut Lane {
        &mut self.lanes[id]
    }

    /// Notes that a stream is gone, and its operations with it.
    pub fn close_lane(&mut self, lane: LaneId, outbox: &mut Outbox) {
        for id in 0..self.entries.len() {
            if matches!(self.entries[id].owner, Owner::Lane(its, _) if its == lane) {
                self.abandon(id, outbox);
            }
        }
        let Lane { over, waker, .. } = std::mem::take(&mut self.lanes[lane]);
        outbox.unwanted.extend(over.into_iter().map(|(_, done)| done));
        outbox.unused.extend(waker);
        self.free_lanes.push(lane);
    }

    /// Notes that the context is gone: whatever is not over ends now.
    pub fn close(&mut self, outbox: &mut Outbox) {
        self.is_closed = true;
        self.line.clear();
        for id in 0..self.entries.len() {
            match std::mem::replace(&mut self.entries[id].stage, Stage::Free) {
                Stage::Waiting(op) => self.settle(id, cancelled(op), outbox),
                Stage::Running => self.lose(id, outbox),
                stage => self.entries[id].stage = stage,
            }
        }
    }
}
