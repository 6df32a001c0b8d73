//! The name of an operation in a context.

/// Names an operation in a context, to cancel it; see io_cancel(2). It stays valid, and names
/// nothing, when the operation is over. It names nothing in another context either.
///
/// Tickets compare and hash, so that they can be keys; their order means nothing.
///
/// ```
/// use linux_aio::{Op, OpKind, PollFlags, kernel::{Cancel, Context}};
///
/// # fn main() -> std::io::Result<()> {
/// let (reader, _writer) = std::io::pipe()?;
/// let reader = std::sync::Arc::new(std::os::fd::OwnedFd::from(reader));
/// let [mut context, mut other] = [Context::new(1)?, Context::new(1)?];
/// let ticket = context.queue(Op::new(&reader, OpKind::Poll(PollFlags::IN)))?;
/// other.queue(Op::new(&reader, OpKind::Poll(PollFlags::IN)))?;
/// assert_eq!(other.cancel(ticket)?, Cancel::Unknown);
/// assert_eq!(context.cancel(ticket)?, Cancel::Withdrawn);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The number of the context, which no other one of the process has.
    pub(super) context: u64,
    pub(super) slot: u32,
    /// How many operations the slot had before.
    pub(super) generation: u64,
}

/// What the kernel carries of a ticket, in `data` of iocb and event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub slot: u32,
    /// The lower half of the generation: the kernel has one operation of a slot at a time.
    pub generation: u32,
}

impl Mark {
    pub fn of(slot: u32, generation: u64) -> Self {
        Self { slot, generation: generation as u32 }
    }

    pub fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub fn unpack(data: u64) -> Self {
        Self { slot: data as u32, generation: (data >> 32) as u32 }
    }
}

/// What came of an attempt to cancel; see io_cancel(2). In no case is a buffer free before its
/// operation comes back.
///
/// ```
/// use linux_aio::{Context, Op, OpKind, kernel::Cancel};
///
/// let mut context = Context::new(1)?;
/// let ticket = context.queue(Op::new(tempfile::tempfile()?, OpKind::Fsync))?;
/// match context.cancel(ticket)? {
///     Cancel::Withdrawn => println!("it comes back without having begun"),
///     other => panic!("it was not submitted: {other:?}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancel {
    /// It had not been submitted: it comes back with ECANCELED.
    Withdrawn,
    /// The kernel cancels it; it comes back like any other, with whatever result the kernel gives
    /// (a poll: no events).
    InProgress,
    /// The kernel cannot cancel this operation, as with every read and write of a disk, or it is
    /// over already (EINVAL).
    NotCancelled,
    /// Another thread is handing it over just now. The kernel is asked as soon as it has the
    /// operation, which comes back like any other; one that is refused room is withdrawn.
    Deferred,
    /// The ticket's operation has come back before, or is another context's.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_way_through_the_kernel() {
        for (slot, generation) in [(0, 0), (u32::MAX, 0), (0, u64::MAX), (7, 9), (1, 1 << 32)] {
            let mark = Mark::of(slot, generation);
            assert_eq!(Mark::unpack(mark.pack()), mark);
        }
    }
}
