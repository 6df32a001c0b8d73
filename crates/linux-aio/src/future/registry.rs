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
use crate::sys::{self, Done, Op};

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
#[derive(Debug, Default)]
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
    /// How many entries it has: what is in line, and what the context has.
    entries_count: usize,
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
fn cancelled(op: Op) -> Done {
    Done::new(op, Err(io::Error::from_raw_os_error(libc::ECANCELED)))
}

/// Ends an operation that is in no registry, and signals its eventfd.
pub fn end_unrun(op: Op) -> Done {
    if let Some(eventfd) = &op.eventfd {
        sys::signal(eventfd);
    }
    cancelled(op)
}

impl Registry {
    /// Puts an operation in line, and says whether it is the only one there. Without a driver both
    /// come back: to drop the owner's waker is to call code of others.
    // The operation is what the owner must not lose; it is as large as it is.
    #[allow(clippy::result_large_err)]
    pub fn insert(&mut self, op: Op, owner: Owner) -> Result<(Id, bool), (Op, Owner)> {
        if self.is_closed {
            return Err((op, owner));
        }
        if let Owner::Lane(lane, _) = owner {
            self.lanes[lane].entries_count += 1;
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
                lane.entries_count -= 1;
                outbox.wakers.extend(lane.waker.take());
                self.release(id);
            }
        }
    }

    /// Hands an operation that never ran to its owner. Its eventfd is signalled as that of any that
    /// ends.
    fn settle_unrun(&mut self, id: Id, op: Op, outbox: &mut Outbox) {
        outbox.eventfds.extend(op.eventfd.clone());
        self.settle(id, cancelled(op), outbox);
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
                lane.entries_count -= 1;
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
                self.settle_unrun(id, op, outbox);
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
        let Lane { over, waker, mut entries_count, .. } = std::mem::take(&mut self.lanes[lane]);
        // Without any, as at a stream's end, none is looked at: there may once have been many.
        let mut ids = 0..self.entries.len();
        while entries_count > 0
            && let Some(id) = ids.next()
        {
            if matches!(self.entries[id].owner, Owner::Lane(its, _) if its == lane) {
                self.abandon(id, outbox);
                entries_count -= 1;
            }
        }
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
                Stage::Waiting(op) => self.settle_unrun(id, op, outbox),
                Stage::Running => self.lose(id, outbox),
                stage => self.entries[id].stage = stage,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::task::Waker;

    use super::*;
    use crate::sys::OpKind;

    fn op(file: &Arc<OwnedFd>, tag: u64) -> Op {
        Op::new(file, OpKind::Fsync).tag(tag)
    }

    fn null() -> Arc<OwnedFd> {
        Arc::new(File::open("/dev/null").unwrap().into())
    }

    fn task() -> Owner {
        Owner::Task(Some(Waker::noop().clone()))
    }

    fn over(mut op: Op, id: Id) -> Done {
        op.tag = id as u64;
        Done::new(op, Ok(0))
    }

    #[test]
    fn those_that_leave_the_line_do_not_pile_up_and_no_one_takes_their_turn() {
        let (mut registry, null) = (Registry::default(), null());
        let mut outbox = Outbox::default();
        let first = registry.insert(op(&null, 0), task()).unwrap();
        assert_eq!(first, (0, true));
        for tag in 1..1000 {
            let (id, is_only) = registry.insert(op(&null, tag), task()).unwrap();
            assert!(!is_only && registry.line.len() < 5 && registry.entries.len() < 3);
            registry.abandon(id, &mut outbox);
        }
        let (last, _) = registry.insert(op(&null, 1000), task()).unwrap();
        let mut started = Vec::new();
        while registry.start(None, |id, _| started.push(id)) {}
        assert_eq!(started, [0, last]);
        assert!(!registry.has_work(1));
        assert_eq!(outbox.withdrawn.len(), 999);
    }

    #[test]
    fn what_is_unwanted_is_cancelled_once_and_not_who_has_its_number_next() {
        let (mut registry, null) = (Registry::default(), null());
        let mut outbox = Outbox::default();
        let (id, _) = registry.insert(op(&null, 7), task()).unwrap();
        let mut running = None;
        assert!(registry.start(None, |_, op| running = Some(op)));
        registry.cancel(id, &mut outbox);
        registry.cancel(id, &mut outbox);
        assert_eq!(registry.unwanted, [id]);
        registry.finish(over(running.take().unwrap(), id), &mut outbox);
        assert_eq!((outbox.wakers.len(), registry.take(id).unwrap().op.tag), (1, 7));
        assert_eq!(registry.insert(op(&null, 8), task()).unwrap(), (id, true));
        assert!(registry.start(None, |_, _| {}));
        assert!(registry.take_unwanted().is_empty());
    }

    /// Random operations of futures and of two streams, driven, cancelled and dropped at random:
    /// each is given back or handed out once.
    #[test]
    fn each_operation_is_given_back_once() {
        for seed in 0..if cfg!(miri) { 3 } else { 200 } {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut registry, null) = (Registry::default(), null());
            let mut outbox = Outbox::default();
            let lanes = [registry.open_lane(), registry.open_lane()];
            let (mut futures, mut running) = (Vec::new(), Vec::new());
            let (mut inserted, mut seen) = (0_u64, Vec::new());
            for _ in 0..300 {
                match random.u8(..6) {
                    0 | 1 => {
                        let owner = match random.usize(..3) {
                            2 => task(),
                            lane => Owner::Lane(lanes[lane], inserted),
                        };
                        let is_task = matches!(owner, Owner::Task(_));
                        let (id, _) = registry.insert(op(&null, inserted), owner).unwrap();
                        futures.extend(is_task.then_some(id));
                        inserted += 1;
                    }
                    2 => drop(registry.start(None, |id, op| running.push((id, op)))),
                    3 if !running.is_empty() => {
                        let (id, op) = running.swap_remove(random.usize(..running.len()));
                        registry.finish(over(op, id), &mut outbox);
                    }
                    4 if !futures.is_empty() => {
                        let id = futures.swap_remove(random.usize(..futures.len()));
                        registry.abandon(id, &mut outbox);
                    }
                    5 if !futures.is_empty() => {
                        registry.cancel(futures[random.usize(..futures.len())], &mut outbox);
                    }
                    _ => {}
                }
                futures.retain(|&id| match registry.take(id) {
                    Ok(done) => {
                        seen.push(done.op.tag);
                        false
                    }
                    Err(_) => true,
                });
            }
            seen.extend(registry.lane(lanes[0]).over.drain(..).map(|(_, done)| done.op.tag));
            registry.close_lane(lanes[0], &mut outbox);
            for (id, op) in running {
                registry.finish(over(op, id), &mut outbox);
            }
            registry.close(&mut outbox);
            assert!(registry.insert(op(&null, 0), task()).is_err());
            for id in futures {
                seen.push(registry.take(id).unwrap().op.tag);
            }
            registry.close_lane(lanes[1], &mut outbox);
            seen.extend(outbox.unwanted.iter().map(|done| done.op.tag));
            seen.extend(outbox.withdrawn.iter().map(|op| op.tag));
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..inserted), "seed {seed}");
            assert_eq!(registry.free.len(), registry.entries.len());
        }
    }
}
