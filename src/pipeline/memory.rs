//! The memory for files that are read together, which readers borrow in turns.

use std::sync::{Arc, OnceLock};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::budget::Budget;
use super::sizes::TOGETHER_BYTES;
use crate::report::Meter;
use linux_aio::{Buffer, Pool};

/// How many may read together at once: what keeps a device busy, or all cores.
const READERS_MIN: usize = 8;

/// A buffer for each of the turns.
pub struct Memory {
    budget: Budget,
    meter: Arc<Meter>,
    /// Made when it is first needed. None if there is no memory.
    turns: OnceLock<Option<Turns>>,
}

struct Turns {
    pool: Pool,
    /// A turn is a token in the channel.
    give: Sender<()>,
    take: Receiver<()>,
}

/// A turn with its buffer, whose parts have to be dropped before it.
pub struct ReadTurn<'a>(&'a Turns);

impl Memory {
    /// What the budget has memory for; none is made yet.
    pub fn new(budget: Budget, meter: Arc<Meter>) -> Self {
        Self { budget, meter, turns: OnceLock::new() }
    }

    /// Waits for a turn. None if there is no memory.
    pub fn lend(&self) -> Option<(ReadTurn<'_>, Buffer)> {
        let make = || Turns::make(self.budget, &self.meter);
        self.turns.get_or_init(make).as_ref()?.lend()
    }
}

impl Turns {
    /// As many as there are cores, if the budget has memory for them.
    fn make(budget: Budget, meter: &Meter) -> Option<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = budget.turns(cores.max(READERS_MIN), meter);
        if count == 0 {
            return None;
        }
        let pool = Pool::new(count, TOGETHER_BYTES).ok()?;
        let (give, take) = bounded(count);
        while give.try_send(()).is_ok() {}
        Some(Self { pool, give, take })
    }

    fn lend(&self) -> Option<(ReadTurn<'_>, Buffer)> {
        self.take.recv().expect("both ends are here");
        let turn = ReadTurn(self);
        let buffer = self.pool.get()?;
        Some((turn, buffer))
    }
}

impl Drop for ReadTurn<'_> {
    fn drop(&mut self) {
        self.0.give.try_send(()).expect("there is room for each turn that was taken");
    }
}
