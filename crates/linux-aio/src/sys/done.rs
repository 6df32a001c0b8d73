//! An operation that is over.

use std::io;

use super::iobuf::IoBuf;
use super::op::{Op, OpKind, Part, PollFlags};
use super::ticket::Ticket;

#[cfg(doc)]
use super::buffer::Buffer;

/// An operation that is over, and how it ended: `struct io_event` of io_getevents(2), the answer of
/// aio_return(3).
///
/// ```
/// use linux_aio::Op;
/// use std::fs::File;
///
/// let done = Op::read(File::open("/dev/zero")?, vec![1; 3], 0).tag(7).perform();
/// assert_eq!((done.op.tag, done.result?), (7, 3));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Done {
    /// The operation, with its buffer.
    pub op: Op,
    /// Bytes moved (0 for a sync, the ready events for a poll), or the error: that of pread(2),
    /// pwrite(2) or fsync(2), or why it was refused. A wrong alignment with `O_DIRECT` is EINVAL.
    pub result: io::Result<usize>,
    /// By what [`Context::queue`](crate::Context::queue) named it; the other engines name none.
    pub ticket: Option<Ticket>,
}

impl Done {
    /// An operation with the system's answer. A count of more bytes than were asked for is an
    /// error.
    ///
    /// ```
    /// use linux_aio::{Done, Op};
    /// use std::fs::File;
    ///
    /// // What an engine of one's own says of an operation that it did.
    /// let op = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// assert_eq!(Done::new(op, Ok(2)).bytes(), Some(&[1, 1][..]));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(op: Op, result: io::Result<usize>) -> Self {
        let result = match op.kind.len_bytes() {
            Some(asked_bytes) => result.and_then(|count| believed(count, asked_bytes)),
            None => result,
        };
        Self { op, result, ticket: None }
    }

    /// The bytes that a read brought, or that a write wrote. None if it failed, and of what has not
    /// one buffer.
    ///
    /// ```
    /// use linux_aio::{Done, Op};
    /// use std::{fs::File, io};
    ///
    /// /// What a read brought, or why it failed.
    /// fn read(done: Done) -> io::Result<Vec<u8>> {
    ///     let Some(bytes) = done.bytes() else { return Err(done.result.unwrap_err()) };
    ///     Ok(bytes.to_vec())
    /// }
    ///
    /// let zeros = Op::read(File::open("/dev/zero")?, vec![1; 3], 0).perform();
    /// assert_eq!(read(zeros)?, [0, 0, 0]);
    /// let folder = Op::read(File::open("/")?, vec![1; 3], 0).perform();
    /// assert_eq!(read(folder).unwrap_err().kind(), io::ErrorKind::IsADirectory);
    /// # Ok::<(), io::Error>(())
    /// ```
    pub fn bytes(&self) -> Option<&[u8]> {
        let count = *self.result.as_ref().ok()?;
        match &self.op.kind {
            OpKind::Read(part) => part.bytes()?.get(..count),
            OpKind::Write(part) => part.bytes()?.get(..count),
            _ => None,
        }
    }

    /// The buffer of what has one, as the value that it was [made of](Buffer::new). It stays a
    /// completion if it has not one buffer, or one of another type, or other holds on it.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::Op;
    /// use std::{fs::File, os::fd::OwnedFd, sync::Arc};
    ///
    /// let file = Arc::new(OwnedFd::from(File::open("/dev/zero")?));
    /// let vector: Vec<u8> = Op::read(file, vec![1; 3], 0).perform().into_buffer().unwrap();
    /// assert_eq!(vector, [0, 0, 0]);
    /// # Ok(())
    /// # }
    /// ```
    // The completion is what a caller must not lose; it is as large as it is.
    #[allow(clippy::result_large_err)]
    pub fn into_buffer<B: IoBuf>(self) -> Result<B, Self> {
        let Self { op: Op { kind, file, offset_bytes, tag, flags, priority, eventfd }, .. } = self;
        let kind = match kind {
            OpKind::Read(Part { buffer, start, end }) => match buffer.into_inner() {
                Ok(value) => return Ok(value),
                Err(buffer) => OpKind::Read(Part { buffer, start, end }),
            },
            OpKind::Write(Part { buffer, start, end }) => match buffer.into_inner() {
                Ok(value) => return Ok(value),
                Err(buffer) => OpKind::Write(Part { buffer, start, end }),
            },
            kind => kind,
        };
        let op = Op { kind, file, offset_bytes, tag, flags, priority, eventfd };
        Err(Self { op, result: self.result, ticket: self.ticket })
    }

    /// What a short count left to do: the operation with the bytes that were not moved, at the
    /// place behind those that were. It stays a completion if nothing is left, and if it failed or
    /// moved nothing, as a read at the end of a file does.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// use linux_aio::Op;
    /// use std::{fs::File, os::fd::OwnedFd, sync::Arc};
    ///
    /// /// Reads until the buffer is full or the file ends.
    /// fn read_whole(mut op: Op) -> std::io::Result<Vec<u8>> {
    ///     loop {
    ///         match op.perform().rest() {
    ///             Ok(rest) => op = rest,
    ///             Err(done) => {
    ///                 done.result.as_ref().map_err(|error| error.kind())?;
    ///                 return Ok(done.into_buffer().expect("it was a vector"));
    ///             }
    ///         }
    ///     }
    /// }
    ///
    /// let file = Arc::new(OwnedFd::from(File::open("/proc/self/status")?));
    /// assert!(read_whole(Op::read(file, vec![0; 1 << 20], 0))?.starts_with(b"Name:"));
    /// # Ok(())
    /// # }
    /// ```
    // The completion is what a caller must not lose; it is as large as it is.
    #[allow(clippy::result_large_err)]
    pub fn rest(mut self) -> Result<Op, Self> {
        match (&self.result, self.op.kind.len_bytes()) {
            (&Ok(count), Some(asked_bytes)) if 0 < count && count < asked_bytes => {
                self.op.kind.skip(count);
                self.op.offset_bytes = self.op.offset_bytes.saturating_add(count as u64);
                Ok(self.op)
            }
            _ => Err(self),
        }
    }

    /// The events that a poll found. None if it failed, and of what is no poll.
    ///
    /// ```
    /// use linux_aio::{Context, Op, OpKind, PollFlags};
    /// use std::os::fd::OwnedFd;
    ///
    /// let (_reader, writer) = std::io::pipe()?;
    /// let mut context = Context::new(1)?;
    /// context.queue(Op::new(OwnedFd::from(writer), OpKind::Poll(PollFlags::OUT)))?;
    /// let mut done = Vec::new();
    /// while context.in_flight() > 0 {
    ///     context.submit_and_reap(1, None, &mut done)?;
    /// }
    /// assert_eq!(done[0].ready(), Some(PollFlags::OUT));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn ready(&self) -> Option<PollFlags> {
        match (&self.op.kind, &self.result) {
            // The kernel answers with the bits of poll(2), which are sixteen.
            (OpKind::Poll(_), Ok(events)) => Some(PollFlags::from_bits_retain(*events as _)),
            _ => None,
        }
    }
}

/// The count that the system answers of a transfer. More than was asked for is no count: what the
/// buffer holds is not known then, and an error.
fn believed(count: usize, asked_bytes: usize) -> io::Result<usize> {
    match count <= asked_bytes {
        true => Ok(count),
        false => Err(io::Error::other("the system answered with more bytes than were asked for")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::sync::Arc;

    use super::super::buffer::Buffer;
    use super::*;
    use crate::sys::{Pool, SharedBuffer};

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no madvise")]
    fn a_count_beyond_what_was_asked_for_is_an_error() {
        let pool = Pool::new(2, 4096).unwrap();
        let file = || Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let read = || Op::new(file(), OpKind::Read(Part::new(pool.get().unwrap(), 0..100)));
        for (count, is_believed) in [(0, true), (100, true), (101, false), (usize::MAX, false)] {
            assert_eq!(Done::new(read(), Ok(count)).result.is_ok(), is_believed, "{count}");
        }
        // The answer of a poll is no count.
        let poll = Op::new(file(), OpKind::Poll(PollFlags::IN));
        assert_eq!(Done::new(poll, Ok(4096)).result.unwrap(), 4096);
    }

    #[test]
    fn a_short_count_leaves_the_rest_and_keeps_every_buffer() {
        let file = || Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let part = |len_bytes: usize| Part::whole(Buffer::new(vec![0; len_bytes]));
        let vectored = || Op::new(file(), OpKind::ReadVectored([2, 0, 3].map(part).into())).at(10);
        let rest = Done::new(vectored(), Ok(3)).rest().unwrap();
        let OpKind::ReadVectored(parts) = &rest.kind else { panic!("it is still vectored") };
        let ranges: Vec<_> = parts.iter().map(|part| (part.start, part.end)).collect();
        assert_eq!((rest.offset_bytes, ranges), (13, vec![(2, 2), (0, 0), (1, 3)]));
        let rest = Done::new(rest, Ok(1)).rest().unwrap();
        assert_eq!((rest.offset_bytes, rest.kind.len_bytes()), (14, Some(1)));
        assert!(Done::new(rest, Ok(1)).rest().is_err(), "nothing is left");
        assert!(Done::new(vectored(), Ok(0)).rest().is_err(), "the file has ended");
        assert!(Done::new(vectored(), Err(io::ErrorKind::Other.into())).rest().is_err());
        assert!(Done::new(Op::new(file(), OpKind::Fsync), Ok(0)).rest().is_err());
        let write = Op::write(file(), vec![1, 2, 3], 1 << 40).tag(5);
        let rest = Done::new(write, Ok(2)).rest().unwrap();
        assert_eq!((rest.offset_bytes, rest.tag), ((1 << 40) + 2, 5));
        let done = Done::new(rest, Ok(1));
        assert_eq!(done.bytes(), Some(&[3][..]));
        assert_eq!(done.into_buffer::<Vec<u8>>().unwrap(), [1, 2, 3]);
    }

    #[test]
    fn a_completion_gives_its_buffer_as_what_it_was_or_stays_whole() {
        let file = || Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let done = Done::new(Op::read(file(), vec![7; 3], 9).tag(4), Ok(2));
        assert_eq!(done.bytes(), Some(&[7, 7][..]));
        let done = done.into_buffer::<Box<[u8]>>().unwrap_err();
        assert_eq!((done.op.tag, done.op.offset_bytes, *done.result.as_ref().unwrap()), (4, 9, 2));
        assert_eq!(*done.into_buffer::<SharedBuffer>().unwrap(), [7, 7, 7]);
        let shared = SharedBuffer::new(vec![1]);
        let done = Done::new(Op::write(file(), shared.clone(), 0), Ok(1));
        let done = done.into_buffer::<Vec<u8>>().expect_err("there is another hold");
        drop(shared);
        assert_eq!(done.into_buffer::<Vec<u8>>().unwrap(), [1]);
        let failed = Done::new(Op::read(file(), vec![7], 0), Err(io::ErrorKind::Other.into()));
        assert_eq!((failed.bytes(), failed.ready()), (None, None));
        assert_eq!(failed.into_buffer::<Vec<u8>>().unwrap(), [7]);
        assert!(Done::new(Op::new(file(), OpKind::Fsync), Ok(0)).into_buffer::<Buffer>().is_err());
    }
}
