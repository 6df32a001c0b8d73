//! The threads that copy or hash: as many as are needed, up to as many as may be.

use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, Scope};

use super::small::STEP_BYTES;
use crate::report::{Meter, Totals};

/// What the threads of a [`Crew`] do. Each has its own clone.
pub trait Work: Clone + Send {
    /// A part of it.
    type Task;
    /// Waits for the next task; none will come after the first none.
    fn take(&self) -> Option<Self::Task>;
    /// Carries a task out, with [`STEP_BYTES`] of memory.
    fn carry_out(&self, task: Self::Task, buffer: &mut [u8]);
}

/// Threads that are made when the last one that waited has found something to do: to make and to
/// end 32 of them takes 6 ms, as long as copying one file.
pub struct Crew {
    name: &'static str,
    size_max: usize,
    meter: Arc<Meter>,
    size: AtomicUsize,
    /// Threads without a task, those that have not begun among them.
    waiting: AtomicUsize,
}

impl Crew {
    /// Nobody yet, and at most `size_max`. `meter` counts those that cannot be made.
    pub fn new(name: &'static str, size_max: usize, meter: Arc<Meter>) -> Self {
        Self { name, size_max, meter, size: AtomicUsize::new(0), waiting: AtomicUsize::new(0) }
    }

    /// Has one more thread do such work, which will find others as they are needed; nothing happens
    /// if there are as many as may be.
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
        let spawned = thread.spawn_scoped(scope, move || self.serve(scope, work)).map(drop);
        if spawned.is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.size.fetch_sub(1, Ordering::Relaxed);
        }
        spawned
    }

    fn serve<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, work: impl Work + 'scope) {
        let buffer = &mut vec![0; STEP_BYTES][..];
        while let Some(task) = work.take() {
            if self.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
                // If there can be no more, those that are there do it all.
                let hired = self.hire(scope, work.clone());
                Totals::add(&self.meter.missing_threads, hired.is_err().into());
            }
            work.carry_out(task, buffer);
            self.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Has rayon's threads do something. The caller does it itself where they cannot be made, which
/// rayon would panic about, and `meter` counts.
pub fn spawn(meter: &Meter, work: impl FnOnce() + Send + 'static) {
    static HAS_THREADS: OnceLock<bool> = OnceLock::new();
    let make = || match rayon::ThreadPoolBuilder::new().build_global() {
        Ok(()) => true,
        // That they are there has no further cause.
        Err(error) => error.source().is_none(),
    };
    if *HAS_THREADS.get_or_init(make) {
        rayon::spawn(work);
    } else {
        Totals::add(&meter.missing_threads, 1);
        work();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use crossbeam_channel::{Receiver, unbounded};

    use super::*;

    /// Tasks that end only when as many threads have one.
    #[derive(Clone)]
    struct Meeting<'a>(Receiver<()>, &'a Barrier);

    impl Work for Meeting<'_> {
        type Task = ();
        fn take(&self) -> Option<()> {
            self.0.recv().ok()
        }
        fn carry_out(&self, (): (), _: &mut [u8]) {
            self.1.wait();
        }
    }

    #[test]
    fn there_are_as_many_as_are_needed_and_no_more_than_may_be() {
        for (tasks, size_max, size) in [(0, 4, 1), (1, 4, 2), (3, 4, 4), (4, 4, 4), (20, 5, 5)] {
            let (crew, (send, receive)) =
                (Crew::new("test", size_max, Arc::default()), unbounded());
            let meeting = Barrier::new(tasks.clamp(1, size_max));
            std::thread::scope(|scope| {
                crew.hire(scope, Meeting(receive, &meeting)).unwrap();
                (0..tasks).for_each(|_| send.send(()).unwrap());
                drop(send);
            });
            assert_eq!(
                (crew.size.into_inner(), crew.waiting.into_inner()),
                (size, size),
                "{tasks} tasks"
            );
        }
    }
}
