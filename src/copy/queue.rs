//! What the workers take their work from: batches from the walker, and big files that a worker met in a batch.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::tree::{Batch, Dir, Entry};

/// Batches that wait at most; then the walker does. It bounds names and open directories, whatever the tree's size.
const BATCHES_MAX: usize = 64;

/// Work for one worker.
pub enum Task {
    /// Entries of one directory.
    Batch(Batch),
    /// A file that goes through the pipeline. It counts as one hold on the directory.
    Big(Arc<Dir>, Entry),
}

#[derive(Default)]
struct State {
    batches: VecDeque<Batch>,
    /// At most one batch a worker, since a worker takes these before the next batch.
    big: VecDeque<(Arc<Dir>, Entry)>,
    walked: bool,
    /// A worker panicked: nothing is waited for any more, so that the panic gets out.
    broken: bool,
    busy: usize,
}

/// The queue between the walker and the workers.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    work: Condvar,
    room: Condvar,
}

/// Says that a worker is busy with a task, until it is dropped: also by a panic, which then does not hang the others.
pub struct Busy<'a>(&'a Queue);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.busy -= 1;
        if std::thread::panicking() {
            state.broken = true;
            self.0.work.notify_all();
            self.0.room.notify_all();
        }
        if state.busy == 0 && state.walked {
            self.0.work.notify_all();
        }
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch, and blocks while too many wait.
    pub fn push_batch(&self, batch: Batch) {
        let mut state = self.lock();
        while state.batches.len() >= BATCHES_MAX && !state.broken {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.batches.push_back(batch);
        self.work.notify_one();
    }

    /// Adds a big file; never blocks, so that workers may call it.
    pub fn push_big(&self, dir: Arc<Dir>, entry: Entry) {
        self.lock().big.push_back((dir, entry));
        self.work.notify_one();
    }

    /// No more batches will come.
    pub fn close(&self) {
        self.lock().walked = true;
        self.work.notify_all();
    }

    /// The next task; blocks until there is one, and answers none when there will never be another.
    pub fn pop(&self) -> Option<(Task, Busy<'_>)> {
        let mut state = self.lock();
        loop {
            if state.broken {
                return None;
            }
            let task = match state.big.pop_front() {
                Some((dir, entry)) => Some(Task::Big(dir, entry)),
                None => state.batches.pop_front().map(Task::Batch),
            };
            if let Some(task) = task {
                state.busy += 1;
                self.room.notify_one();
                return Some((task, Busy(self)));
            }
            if state.walked && state.busy == 0 {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
