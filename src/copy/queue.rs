//! What the workers take their work from: batches from the walker, and single entries that a worker
//! met in a batch.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::events::Counted;
use super::hardlinks::Claim;
use super::names::Admitted;
use crate::tree::{Batch, Dir};

/// Work for one worker.
pub enum Task {
    /// Entries of one directory.
    Batch(Batch),
    /// One entry by itself.
    Single(Single),
}

/// A file that goes through the pipeline, or a name that waited for another one and is to be copied
/// after all. It counts as one hold on the directory.
pub struct Single {
    /// Where.
    pub dir: Arc<Dir>,
    /// What.
    pub entry: Admitted,
    /// What others may wait for.
    pub claim: Option<Claim>,
    /// What was found of it, if it was met as a file before.
    pub counted: Option<Counted>,
}

/// Batches that wait before one more worker is woken for them.
const BATCHES_MIN: usize = 4;

#[derive(Default)]
struct QueueState {
    batches: VecDeque<Batch>,
    /// Big files: at most one batch a worker, since a worker takes these before the next batch.
    singles: VecDeque<Single>,
    walked: bool,
    /// A worker panicked: nothing is waited for any more, so that the panic gets out.
    broken: bool,
    busy: usize,
    /// Workers that wait for work, and whether the walker waits for room: waking costs a system
    /// call also where no worker sleeps.
    idle: usize,
    is_full: bool,
}

/// The queue between the walker and the workers.
pub struct Queue {
    /// Batches that wait at most; then the walker does. It bounds names and open directories,
    /// whatever the tree's size.
    batches_max: usize,
    state: Mutex<QueueState>,
    work: Condvar,
    room: Condvar,
}

/// Says that a worker is busy with a task, until it is dropped: also by a panic, which then does
/// not hang the others.
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
        if state.busy == 0 {
            if state.walked {
                self.0.work.notify_all();
            }
            self.0.room.notify_all();
        }
    }
}

impl Queue {
    /// An empty queue that holds up to `batches_max` batches, and any number of single entries.
    pub fn new(batches_max: usize) -> Self {
        Self { batches_max, state: Mutex::default(), work: Condvar::new(), room: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch, and blocks while too many wait.
    pub fn push_batch(&self, batch: Batch) {
        let mut state = self.lock();
        while state.batches.len() >= self.batches_max && !state.broken {
            state = self.wait_for_room(state);
        }
        state.batches.push_back(batch);
        // A worker that is awake comes back for it. Waking one for each batch takes the walker's
        // core away instead, and does little with it.
        if state.busy == 0 || state.batches.len() >= BATCHES_MIN {
            self.wake_worker(state);
        }
    }

    /// Wakes one, if one sleeps, when it can have the lock.
    fn wake_worker(&self, state: MutexGuard<'_, QueueState>) {
        let sleeps = state.idle > 0;
        drop(state);
        if sleeps {
            self.work.notify_one();
        }
    }

    fn wait_for_room<'a>(
        &self,
        mut state: MutexGuard<'a, QueueState>,
    ) -> MutexGuard<'a, QueueState> {
        state.is_full = true;
        let mut state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.is_full = false;
        state
    }

    /// Adds a single entry; never blocks, so that workers may call it.
    pub fn push_single(&self, single: Single) {
        let mut state = self.lock();
        state.singles.push_back(single);
        self.wake_worker(state);
    }

    /// Blocks until all that was pushed is done. Only the walker may call it.
    pub fn drain(&self) {
        self.work.notify_all();
        let mut state = self.lock();
        while !state.broken
            && (state.busy > 0 || !state.batches.is_empty() || !state.singles.is_empty())
        {
            state = self.wait_for_room(state);
        }
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
            let task = match state.singles.pop_front() {
                Some(single) => Some(Task::Single(single)),
                None => state.batches.pop_front().map(Task::Batch),
            };
            if let Some(task) = task {
                state.busy += 1;
                if state.is_full {
                    self.room.notify_one();
                }
                return Some((task, Busy(self)));
            }
            if state.walked && state.busy == 0 {
                return None;
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::tree::{Folder, OpenDirs};

    const LONG: Duration = Duration::from_secs(20);

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(begun.elapsed() < LONG, "never: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Two workers, of which the first is held with a batch until the other has one too. `act` gets
    /// a batch whenever it asks, and how many were taken.
    fn with_one_held(act: impl FnOnce(&Queue, &dyn Fn() -> Batch, &AtomicUsize)) {
        let folder = tempfile::tempdir().unwrap();
        let side = || Folder {
            file: File::open(folder.path()).unwrap().into(),
            path: folder.path().to_owned(),
        };
        let dir = Dir::root(side(), side(), &OpenDirs::new(1)).unwrap();
        let batch = || Batch { dir: Arc::clone(dir.dir()), entries: Vec::new() };
        let (queue, taken) = (Queue::new(64), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some((_task, _busy)) = queue.pop() {
                        taken.fetch_add(1, Ordering::Relaxed);
                        wait_until("another worker takes a batch", || {
                            taken.load(Ordering::Relaxed) > 1
                        });
                    }
                });
            }
            queue.push_batch(batch());
            wait_until("a worker takes the first batch", || taken.load(Ordering::Relaxed) == 1);
            act(&queue, &batch, &taken);
            queue.close();
        });
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_waits_behind_a_busy_worker_is_taken_by_another_when_the_end_is_waited_for() {
        with_one_held(|queue, batch, taken| {
            queue.push_batch(batch());
            queue.drain();
            assert_eq!(taken.load(Ordering::Relaxed), 2);
        });
        // The end itself.
        with_one_held(|queue, batch, _| queue.push_batch(batch()));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn another_worker_is_woken_when_several_batches_wait() {
        with_one_held(|queue, batch, taken| {
            (0..BATCHES_MIN).for_each(|_| queue.push_batch(batch()));
            wait_until("another worker is woken", || taken.load(Ordering::Relaxed) > 1);
        });
    }
}
