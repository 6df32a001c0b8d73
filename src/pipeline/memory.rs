//! The memory for files that are read together, which readers borrow in turns.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::budget::Budget;
use super::sizes::TOGETHER_BYTES;
use crate::aio::{Buffer, Pool};
use crate::report::Meter;

/// How many may read together at once: what keeps a device busy, or all cores.
const READERS_MIN: usize = 8;

/// A buffer for each of the turns.
pub struct Memory {
    /// Made when it is first needed.
    pool: Mutex<Option<Pool>>,
    /// A turn is a token in the channel.
    give: Sender<()>,
    take: Receiver<()>,
}

/// A turn with its buffer, whose parts have to be dropped before it.
pub struct ReadTurn<'a>(&'a Memory);

impl Memory {
    /// As many turns as there are cores, if the budget has memory for them; none is made yet.
    pub fn new(budget: Budget, meter: &Meter) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (give, take) = bounded(budget.turns(cores.max(READERS_MIN), meter));
        while give.try_send(()).is_ok() {}
        Self { pool: Mutex::new(None), give, take }
    }

    /// Waits for a turn. None if there is no memory.
    pub fn lend(&self) -> Option<(ReadTurn<'_>, Buffer)> {
        if self.take.capacity() == Some(0) {
            return None;
        }
        self.take.recv().expect("both ends are here");
        let turn = ReadTurn(self);
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.is_none() {
            *pool = Some(Pool::new(self.take.capacity().unwrap_or(1), TOGETHER_BYTES).ok()?);
        }
        let buffer = pool.as_ref().and_then(Pool::get)?;
        Some((turn, buffer))
    }
}

impl Drop for ReadTurn<'_> {
    fn drop(&mut self) {
        self.0.give.try_send(()).expect("there is room for each turn that was taken");
    }
}
