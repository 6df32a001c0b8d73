//! What the loop hears from other threads.

use std::any::Any;
use std::io;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::engines::Polled;
use super::outcome::{Failure, Moved};
use super::transfer::Transfer;
use crate::digest::{Leaf, Run, Serial};
use linux_aio::{Done, Op, Wakeup};

/// One of the loop's messages.
pub enum Message {
    /// A context for what is direct.
    Context(Box<Polled>),
    /// A file to be moved, and where the answer goes.
    Transfer(Transfer, Sender<Result<Moved, Failure>>),
    /// Operations to be carried out, and where all of them go when they are over.
    Ops(Vec<Op>, Sender<io::Result<Vec<Done>>>),
    /// No more blocks are to be started.
    Stop,
    /// A block's leaf is known.
    Hashed {
        /// Index of the job in the loop's slab.
        job: usize,
        /// Index of the block in the file.
        block: u64,
        /// Its leaf.
        leaf: Leaf,
    },
    /// The zeros of a hole are hashed.
    HoleHashed {
        /// Index of the job in the loop's slab.
        job: usize,
        /// The hole.
        hole: Run,
        /// The leaves of its parts.
        leaves: Vec<(Run, Leaf)>,
    },
    /// A block was read and hashed by one thread, or has to be read as others are.
    CachedHashed {
        /// Index of the job in the loop's slab.
        job: usize,
        /// Index of the block in the file.
        block: u64,
        /// Its leaf; none if memory did not hold all of it.
        leaf: Option<Leaf>,
    },
    /// A file's hasher is back from a block.
    Updated {
        /// Index of the job in the loop's slab.
        job: usize,
        /// The hasher.
        hasher: Box<dyn Serial>,
    },
    /// A hasher panicked with this, and the loop is to as well.
    Panicked(Box<dyn Any + Send>),
    /// Nothing more will come.
    Close,
}

/// The way to the loop, for any thread.
#[derive(Clone)]
pub struct Mailbox {
    messages: Sender<Message>,
    wakeup: Arc<Wakeup>,
}

impl Mailbox {
    /// A way to the loop that this wakeup wakes, and the loop's end of it.
    pub fn new(wakeup: Arc<Wakeup>) -> (Self, Receiver<Message>) {
        let (messages, inbox) = unbounded();
        (Self { messages, wakeup }, inbox)
    }

    /// Puts a message in, and wakes the loop. Never blocks.
    ///
    /// The loop holds the other end for as long as it runs. A panic alone ends it early, and then
    /// the reply's sender is gone with it, which is what a waiting thread hears.
    pub fn send(&self, message: Message) {
        if self.messages.send(message).is_ok() {
            self.wakeup.wake();
        }
    }

    /// What wakes the loop.
    pub fn wakeup(&self) -> &Arc<Wakeup> {
        &self.wakeup
    }
}
