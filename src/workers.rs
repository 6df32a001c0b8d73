//! The threads that copy or hash: as many as are needed, up to a limit.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{Builder, Scope};

use crate::report::{Meter, Totals};
use crate::sys::memory;

/// The memory of each worker: what it reads at once stays in the core's cache between read, hash
/// and write.
pub const BUFFER_BYTES: usize = 256 << 10;

/// What [`Workers`] do. Each has its own clone.
pub trait Work: Clone + Send {
    /// What a worker carries out at once.
    type Task;
    /// Waits for the next task; none will come after the first none.
    fn take(&self) -> Option<Self::Task>;
    /// Carries a task out, with [`BUFFER_BYTES`] of memory.
    fn carry_out(&self, task: Self::Task, buffer: &mut [u8]);
    /// How many threads are of use, as far as is known now.
    fn useful_max(&self) -> usize {
        usize::MAX
    }
}

/// Threads that are made when the last one that waited has found something to do. To make and end
/// 32 of them takes 6 ms, as long as copying one file.
pub struct Workers {
    name: &'static str,
    size_max: usize,
    meter: Arc<Meter>,
    size: AtomicUsize,
    /// Threads without a task, those that have not begun among them.
    waiting: AtomicUsize,
}

impl Workers {
    /// No thread yet, and at most `size_max` later. `meter` counts those that cannot be made.
    pub fn new(name: &'static str, size_max: usize, meter: Arc<Meter>) -> Self {
        Self { name, size_max, meter, size: AtomicUsize::new(0), waiting: AtomicUsize::new(0) }
    }

    /// Has one more thread do such work. It makes others as they are needed. At the limit nothing
    /// happens. ENOMEM without memory for its buffer, EAGAIN without a thread.
    pub fn hire<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        work: impl Work + 'scope,
    ) -> io::Result<()> {
        // Relaxed, here and below: these are only numbers, and what the threads share is shared by
        // their work.
        let one_more = |size| (size < self.size_max).then_some(size + 1);
        let Ok(number) = self.size.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
        else {
            return Ok(());
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let thread = Builder::new().name(format!("{}-{number}", self.name));
        let spawned = memory::zeroed(BUFFER_BYTES).and_then(|buffer| {
            let serve = move || self.serve(scope, work, buffer);
            thread.spawn_scoped(scope, serve).map(drop)
        });
        if spawned.is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.size.fetch_sub(1, Ordering::Relaxed);
        }
        spawned
    }

    fn serve<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        work: impl Work + 'scope,
        mut buffer: Box<[u8]>,
    ) {
        while let Some(task) = work.take() {
            let is_last = self.waiting.fetch_sub(1, Ordering::Relaxed) == 1;
            if is_last && self.size.load(Ordering::Relaxed) < work.useful_max() {
                // If there can be no more, those that are there do it all.
                let hired = self.hire(scope, work.clone());
                Totals::add(&self.meter.missing_threads, hired.is_err().into());
            }
            work.carry_out(task, &mut buffer);
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use crossbeam_channel::{Receiver, unbounded};

    use super::*;

    /// Tasks that end only when as many threads have one, and how many threads are of use.
    #[derive(Clone)]
    struct Meeting<'a>(Receiver<()>, &'a Barrier, usize);

    impl Work for Meeting<'_> {
        type Task = ();
        fn take(&self) -> Option<()> {
            self.0.recv().ok()
        }
        fn carry_out(&self, (): (), _: &mut [u8]) {
            self.1.wait();
        }
        fn useful_max(&self) -> usize {
            self.2
        }
    }

    #[test]
    fn there_are_as_many_as_are_needed_and_no_more_than_may_be() {
        const ANY: usize = usize::MAX;
        for (tasks, size_max, useful_max, size) in [
            (0, 4, ANY, 1),
            (1, 4, ANY, 2),
            (3, 4, ANY, 4),
            (4, 4, ANY, 4),
            (20, 5, ANY, 5),
            (20, 5, 2, 2),
            (20, 2, 5, 2),
        ] {
            let (workers, (send, receive)) =
                (Workers::new("test", size_max, Arc::default()), unbounded());
            let meeting = Barrier::new(tasks.clamp(1, size_max.min(useful_max)));
            std::thread::scope(|scope| {
                workers.hire(scope, Meeting(receive, &meeting, useful_max)).unwrap();
                (0..tasks).for_each(|_| send.send(()).unwrap());
                drop(send);
            });
            assert_eq!(
                (workers.size.into_inner(), workers.waiting.into_inner()),
                (size, size),
                "{tasks} tasks"
            );
        }
    }
}
