//! One place of a context: the operation in it, where that is, and how many are where.

use super::op::{Op, OpKind};

/// Where the operation of a place is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Empty,
    /// Not yet with the kernel.
    Queued,
    /// The kernel cannot be told of it: it is refused when it is submitted.
    Impossible,
    /// On its way to the kernel, which may have it already.
    Submitting,
    /// On its way to the kernel, and to be cancelled there.
    Cancelling,
    /// With the kernel.
    Submitted,
}

impl Stage {
    /// Those in which the kernel may have the operation.
    pub const LENT: [Self; 3] = [Self::Submitting, Self::Cancelling, Self::Submitted];
}

/// A place for one operation, with what is called at its end, if anything is.
pub struct Slot<C> {
    pub stage: Stage,
    pub op: Option<Op>,
    pub callback: Option<C>,
    /// How many operations it had before, so that an old ticket names nothing.
    pub generation: u64,
    /// What a vectored operation's iocb points to.
    pub iovecs: Vec<libc::iovec>,
}

impl<C> Slot<C> {
    pub fn is_poll(&self) -> bool {
        matches!(self.op, Some(Op { kind: OpKind::Poll(_), .. }))
    }
}

/// How an operation that is over is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is handed over.
    Plain = 0,
    /// Its callback is called.
    Callback = 1,
}

/// How many operations there are, by the way in which they are taken.
#[derive(Default)]
pub struct Tally {
    pub all: [usize; 2],
    /// Those among them that may stay for ever.
    pub polls: [usize; 2],
}

impl Tally {
    fn of<C>(slot: &Slot<C>) -> (usize, bool) {
        let way = if slot.callback.is_some() { Way::Callback } else { Way::Plain };
        (way as usize, slot.is_poll())
    }

    pub fn add<C>(&mut self, slot: &Slot<C>) {
        let (way, is_poll) = Self::of(slot);
        self.all[way] += 1;
        self.polls[way] += usize::from(is_poll);
    }

    pub fn remove<C>(&mut self, slot: &Slot<C>) {
        let (way, is_poll) = Self::of(slot);
        self.all[way] -= 1;
        self.polls[way] -= usize::from(is_poll);
    }

    pub fn all(&self) -> usize {
        self.all[0] + self.all[1]
    }

    pub fn all_polls(&self) -> usize {
        self.polls[0] + self.polls[1]
    }
}
