//! The name of an operation in a context.

/// Names an operation in a context, to cancel it; see io_cancel(2). It stays valid, and names
/// nothing, when the operation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Ticket {
    /// As the kernel carries it, in `data` of iocb and event.
    pub(super) fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.slot)
    }

    pub(super) fn unpack(data: u64) -> Self {
        Self { slot: data as u32, generation: (data >> 32) as u32 }
    }
}

/// What came of an attempt to cancel; see io_cancel(2). In no case is a buffer free before its
/// operation comes back.
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
    /// The ticket's operation has come back before.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_survives_the_way_through_the_kernel() {
        for ticket in [(0, 0), (u32::MAX, 0), (0, u32::MAX), (7, 9)] {
            let ticket = Ticket { slot: ticket.0, generation: ticket.1 };
            assert_eq!(Ticket::unpack(ticket.pack()), ticket);
        }
    }
}
