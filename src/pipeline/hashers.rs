//! The threads that hash blocks: rayon's.

use std::error::Error;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use super::budget::Budget;
use super::cached::{self, Block};
use super::job::HashBlock;
use super::message::{Mailbox, Message};
use super::shape::Shape;
use crate::digest::{self, Mode, Run, Serial};
use crate::report::{Meter, Totals};

/// The way to these threads. Their answers are sent to the loop. A buffer is let go of before that,
/// so that it is free when the loop wakes.
pub struct Hashers {
    budget: Budget,
    meter: Arc<Meter>,
    mailbox: Mailbox,
    /// Holes, and blocks that memory holds already, that are not back yet. They take no buffer.
    bufferless_out: usize,
}

impl Hashers {
    /// Those that answer to this mailbox.
    pub fn new(budget: Budget, meter: Arc<Meter>, mailbox: Mailbox) -> Self {
        Self { budget, meter, mailbox, bufferless_out: 0 }
    }

    /// Hashes a block that was read, as a part of the tree.
    pub fn hash(&self, job: usize, block: u64, part: HashBlock, mode: Mode, shape: &Shape) {
        let (offset_bytes, file_bytes) = (block * shape.block_bytes, shape.size_bytes);
        self.spawn(move || {
            let leaf = digest::leaf(&mode, part.bytes(), offset_bytes, file_bytes);
            drop(part);
            Message::Hashed { job, block, leaf }
        });
    }

    /// Hashes a file's next block.
    pub fn hash_in_order(&self, job: usize, mut hasher: Box<dyn Serial>, part: HashBlock) {
        self.spawn(move || {
            hasher.update(part.bytes());
            drop(part);
            Message::Updated { job, hasher }
        });
    }

    /// Whether they have enough of what no buffer limits. It keeps each of them busy, and what has
    /// a buffer waits for little.
    pub fn have_enough(&self) -> bool {
        self.bufferless_out >= 2 * threads(self.budget, &self.meter).max(1)
    }

    /// One thing is back that took no buffer.
    pub fn bufferless_back(&mut self) {
        self.bufferless_out -= 1;
    }

    /// Hashes the zeros of a hole. Their chunks count the place in the file, so that no two have
    /// one hash.
    pub fn hash_hole(&mut self, job: usize, hole: Run, mode: Mode, shape: &Shape) {
        self.bufferless_out += 1;
        let (block_bytes, file_bytes) = (shape.block_bytes, shape.size_bytes);
        let runs: Vec<(Run, u64)> =
            shape.leaf_runs(hole).map(|run| (run, shape.run_bytes(run))).collect();
        self.spawn(move || {
            let hash = |(run, len_bytes): (Run, u64)| {
                let offset_bytes = run.first * block_bytes;
                (run, digest::leaf_of_zeros(&mode, len_bytes, offset_bytes, file_bytes))
            };
            Message::HoleHashed { job, hole, leaves: runs.into_iter().map(hash).collect() }
        });
    }

    /// Reads a block from memory and hashes it, by one thread.
    pub fn hash_cached(
        &mut self,
        job: usize,
        block: u64,
        file: Arc<OwnedFd>,
        mode: Mode,
        shape: &Shape,
    ) {
        self.bufferless_out += 1;
        let (len_bytes, file_bytes) = (shape.block_len(block), shape.size_bytes);
        let place = Block { offset_bytes: block * shape.block_bytes, len_bytes, file_bytes };
        let meter = Arc::clone(&self.meter);
        self.spawn(move || {
            let leaf = cached::leaf(&file, &mode, place);
            if leaf.is_some() {
                // No device answered it, so that it has no time.
                meter.read(len_bytes, None);
            }
            // Who has the answer may close the file, and hear of what that says.
            drop(file);
            Message::CachedHashed { job, block, leaf }
        });
    }

    fn spawn(&self, work: impl FnOnce() -> Message + Send + 'static) {
        spawn(self.budget, &self.meter, self.mailbox.clone(), work);
    }
}

/// Has rayon's threads do something, whose answer is sent to the loop. A panic is one too: rayon
/// would end the process for it. The caller does the work itself where the threads cannot be made,
/// which rayon would panic about, and `meter` counts.
fn spawn(
    budget: Budget,
    meter: &Meter,
    mailbox: Mailbox,
    work: impl FnOnce() -> Message + Send + 'static,
) {
    let work = move || {
        mailbox.send(catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(Message::Panicked));
    };
    if threads(budget, meter) > 0 {
        rayon::spawn(work);
    } else {
        Totals::add(&meter.missing_threads, 1);
        work();
    }
}

/// How many threads there are; none if they cannot be made.
fn threads(budget: Budget, meter: &Meter) -> usize {
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        // 0 is as many as there are cores.
        let wanted = budget.hashers(meter).unwrap_or(0);
        match rayon::ThreadPoolBuilder::new().num_threads(wanted).build_global() {
            // That they are there has no further cause.
            Err(error) if error.source().is_some() => 0,
            _ => rayon::current_num_threads(),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use linux_aio::Wakeup;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no eventfd")]
    fn a_panic_is_an_answer() {
        let (mailbox, inbox) = Mailbox::new(Arc::new(Wakeup::new().unwrap()));
        for work in [|| panic!("of a test"), || Message::Stop] {
            spawn(Budget::default(), &Meter::default(), mailbox.clone(), work);
            match inbox.recv_timeout(Duration::from_secs(20)).unwrap() {
                Message::Panicked(panic) => {
                    assert_eq!(panic.downcast_ref(), Some(&"of a test"));
                }
                message => assert!(matches!(message, Message::Stop)),
            }
        }
    }
}
