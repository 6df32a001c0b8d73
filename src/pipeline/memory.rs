//! The memory for files that are read together, which readers borrow in turns.

use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::sizes::TOGETHER_BYTES;
use crate::aio::{Buffer, Pool};

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
    /// As many turns as there are cores, and no memory yet.
    pub fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (give, take) = bounded(cores.max(READERS_MIN));
        while give.try_send(()).is_ok() {}
        Self { pool: Mutex::new(None), give, take }
    }

    /// Waits for a turn. None if there is no memory.
    pub fn lend(&self) -> Option<(ReadTurn<'_>, Buffer)> {
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
