//! An operation, which owns all that it touches, and how it ended.

use std::ops::{Deref, Range};
use std::os::fd::OwnedFd;
use std::sync::Arc;

pub use rustix::event::PollFlags;
pub use rustix::io::ReadWriteFlags;

use super::buffer::{Buffer, SharedBuffer};
use super::iobuf::{IoBuf, IoBufMut};
use super::shared_fd::SharedFd;

/// A stretch of a buffer, in bytes: what is read into, or written from. One of several is what
/// `struct iovec` is to readv(2).
///
/// ```
/// use linux_aio::{Buffer, Op, OpKind, Part};
/// use std::fs::File;
///
/// // Zeros in the middle alone.
/// let part = Part::new(Buffer::new(vec![7; 6]), 2..4);
/// let done = Op::new(File::open("/dev/zero")?, OpKind::Read(part)).perform();
/// let vector: Vec<u8> = done.into_buffer().expect("it was a vector");
/// assert_eq!(vector, [7, 7, 0, 0, 7, 7]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Part<B> {
    /// The buffer.
    pub buffer: B,
    /// First byte of the buffer that is meant.
    pub start: usize,
    /// One past the last byte that is meant.
    pub end: usize,
}

impl<B: Deref<Target = [u8]>> Part<B> {
    /// Bytes `range` of a buffer. A range that is not within the buffer makes the operation fail
    /// with EINVAL.
    ///
    /// ```
    /// use linux_aio::{Buffer, Part};
    ///
    /// assert_eq!(Part::new(Buffer::new(vec![7; 6]), 2..4).bytes(), Some(&[7, 7][..]));
    /// assert_eq!(Part::new(Buffer::new(vec![7; 6]), 2..7).bytes(), None);
    /// ```
    pub fn new(buffer: B, range: Range<usize>) -> Self {
        Self { buffer, start: range.start, end: range.end }
    }

    /// All of a buffer.
    ///
    /// ```
    /// use linux_aio::{Buffer, Part};
    ///
    /// assert_eq!(Part::whole(Buffer::new(vec![7; 6])).end, 6);
    /// ```
    pub fn whole(buffer: B) -> Self {
        let end = buffer.len();
        Self { buffer, start: 0, end }
    }

    /// The bytes that are meant, or none if the range is not within the buffer.
    ///
    /// ```
    /// use linux_aio::{Part, SharedBuffer};
    ///
    /// let part = Part::new(SharedBuffer::new(&b"a long text"[..]), 2..6);
    /// assert_eq!(part.bytes(), Some(&b"long"[..]));
    /// ```
    pub fn bytes(&self) -> Option<&[u8]> {
        self.buffer.get(self.start..self.end)
    }
}

impl Part<Buffer> {
    /// The bytes that are meant, or none if the range is not within the buffer.
    ///
    /// ```
    /// use linux_aio::{Buffer, Part};
    ///
    /// let mut part = Part::new(Buffer::new(vec![0; 4]), 1..3);
    /// part.bytes_mut().expect("the range is within the buffer").fill(7);
    /// assert_eq!(&part.buffer[..], [0, 7, 7, 0]);
    /// ```
    pub fn bytes_mut(&mut self) -> Option<&mut [u8]> {
        self.buffer.get_mut(self.start..self.end)
    }
}

/// Buffers in one vectored operation: `UIO_MAXIOV` of the kernel. With more it fails with EINVAL.
pub const PARTS_MAX: usize = 1024;

/// What an operation does, with the memory that it needs. Offset and flags are the [`Op`]'s.
///
/// ```
/// use linux_aio::{Op, OpKind};
///
/// let file = tempfile::tempfile()?;
/// assert_eq!(Op::new(file, OpKind::Fdatasync).perform().result?, 0);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum OpKind {
    /// Read into one buffer; see pread(2). At the end of the file the count is short, and 0 beyond
    /// it.
    Read(Part<Buffer>),
    /// Write from one buffer; see pwrite(2). A short count leaves the rest to be written.
    Write(Part<SharedBuffer>),
    /// Read into several buffers, one after the other; see preadv(2). At most [`PARTS_MAX`].
    ReadVectored(Vec<Part<Buffer>>),
    /// Write from several buffers, one after the other; see pwritev(2). At most [`PARTS_MAX`].
    WriteVectored(Vec<Part<SharedBuffer>>),
    /// Data and metadata to the device; see fsync(2).
    Fsync,
    /// Data, and the metadata that is needed to find it, to the device; see fdatasync(2).
    Fdatasync,
    /// Complete once when one of the events is there; see poll(2). The result is the set of ready
    /// events. The kernel's engine alone has it, since Linux 4.19; elsewhere it is refused
    /// (EOPNOTSUPP).
    Poll(PollFlags),
}

impl OpKind {
    /// How many buffers it has.
    pub fn parts(&self) -> usize {
        match self {
            Self::Read(_) | Self::Write(_) => 1,
            Self::ReadVectored(parts) => parts.len(),
            Self::WriteVectored(parts) => parts.len(),
            Self::Fsync | Self::Fdatasync | Self::Poll(_) => 0,
        }
    }

    /// How many bytes it is to move, if it moves any.
    ///
    /// ```
    /// use linux_aio::{Op, OpKind};
    /// use std::fs::File;
    ///
    /// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// assert_eq!((read.kind.len_bytes(), OpKind::Fsync.len_bytes()), (Some(3), None));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn len_bytes(&self) -> Option<usize> {
        fn sum<B>(parts: &[Part<B>]) -> usize {
            parts
                .iter()
                .fold(0, |sum, part| sum.saturating_add(part.end.saturating_sub(part.start)))
        }
        match self {
            Self::Read(part) => Some(sum(std::slice::from_ref(part))),
            Self::Write(part) => Some(sum(std::slice::from_ref(part))),
            Self::ReadVectored(parts) => Some(sum(parts)),
            Self::WriteVectored(parts) => Some(sum(parts)),
            Self::Fsync | Self::Fdatasync | Self::Poll(_) => None,
        }
    }

    /// Leaves out the first `count` bytes. Buffers that are left out as a whole stay, empty.
    pub(super) fn skip(&mut self, count: usize) {
        fn skip<B>(parts: &mut [Part<B>], mut count: usize) {
            for part in parts {
                let skipped = count.min(part.end.saturating_sub(part.start));
                part.start += skipped;
                count -= skipped;
            }
        }
        match self {
            Self::Read(part) => skip(std::slice::from_mut(part), count),
            Self::Write(part) => skip(std::slice::from_mut(part), count),
            Self::ReadVectored(parts) => skip(parts, count),
            Self::WriteVectored(parts) => skip(parts, count),
            Self::Fsync | Self::Fdatasync | Self::Poll(_) => {}
        }
    }
}

/// The I/O priority of one operation; see ioprio_set(2). Only the kernel's engine has one, and only
/// some I/O schedulers heed it.
///
/// ```
/// use linux_aio::{Context, Op, kernel::Priority};
/// use std::fs::File;
///
/// let mut context = Context::new(1)?;
/// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0).priority(Priority::Idle);
/// context.queue(read)?;
/// let mut done = Vec::new();
/// while context.in_flight() > 0 {
///     context.submit_and_reap(1, None, &mut done)?;
/// }
/// assert_eq!(done[0].bytes(), Some(&[0, 0, 0][..]));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Priority {
    /// Before all others, 0 (first) to 7, else EINVAL; needs CAP_SYS_ADMIN or CAP_SYS_NICE, else
    /// EPERM.
    RealTime(u8),
    /// The usual class, 0 (first) to 7, else EINVAL; 4 without a wish.
    BestEffort(u8),
    /// Only when the device has nothing else to do.
    Idle,
}

impl Priority {
    /// As the kernel has it: the class from bit 13 on, the level in the lowest three. None for a
    /// level above 7. The bits between are hints of another meaning, and the kernel would take an 8
    /// for the very first level.
    pub(super) fn bits(self) -> Option<i16> {
        let (class, level) = match self {
            Self::RealTime(level) => (1, level),
            Self::BestEffort(level) => (2, level),
            Self::Idle => (3, 0),
        };
        (level < 8).then_some(class << 13 | i16::from(level))
    }
}

/// One operation, as `struct iocb` of io_submit(2) and `struct aiocb` of aio(7) describe one: it
/// owns all that it touches. Making one never blocks.
///
/// ```
/// use linux_aio::Op;
/// use std::fs::File;
///
/// let read = Op::read(File::open("/dev/zero")?, vec![1; 512], 4096).tag(7);
/// assert_eq!((read.offset_bytes, read.tag, read.kind.len_bytes()), (4096, 7, Some(512)));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Op {
    /// What to do.
    pub kind: OpKind,
    /// The open file. The kernel takes its own reference, but the owner gets this one back.
    pub file: SharedFd,
    /// Where in the file, in bytes; no more than an `i64` has, else EINVAL. Pipes and sockets have
    /// no places: that of a pipe is not looked at, and a socket's is 0, else ESPIPE. 0 for syncs
    /// and polls too, else EINVAL.
    pub offset_bytes: u64,
    /// Whatever the submitter needs to know it again.
    pub tag: u64,
    /// `RWF_*` of reads and writes; see preadv2(2). One that the kernel, or the file, does not know
    /// is refused (EOPNOTSUPP), and so is any by [`Posix`](crate::Posix).
    pub flags: ReadWriteFlags,
    /// Its I/O priority; none is the thread's own. The kernel's engine alone has it, elsewhere it
    /// is refused (EOPNOTSUPP).
    pub priority: Option<Priority>,
    /// An eventfd(2) whose counter goes up by one when the operation is over, to join another loop.
    /// The kernel's engine alone has it, elsewhere it is refused (EOPNOTSUPP).
    pub eventfd: Option<Arc<OwnedFd>>,
}

impl Op {
    /// An operation at offset 0 with tag 0 and nothing special. It takes what a [`SharedFd`] is
    /// made of: an `Arc` of a file, a reference to that `Arc`, or the file itself, but no `&File`.
    ///
    /// ```
    /// use linux_aio::{Op, OpKind};
    /// use std::sync::Arc;
    ///
    /// // A file that is shared, or one that is given away.
    /// let file = Arc::new(tempfile::tempfile()?);
    /// assert!(Op::new(&file, OpKind::Fsync).perform().result.is_ok());
    /// assert!(Op::new(file, OpKind::Fsync).perform().result.is_ok());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn new(file: impl Into<SharedFd>, kind: OpKind) -> Self {
        let (file, flags) = (file.into(), ReadWriteFlags::empty());
        Self { kind, file, offset_bytes: 0, tag: 0, flags, priority: None, eventfd: None }
    }

    /// Reads into all of `buffer` at an offset in bytes: pread(2), `io_prep_pread`.
    ///
    /// ```
    /// use linux_aio::Op;
    /// use std::fs::File;
    ///
    /// let done = Op::read(File::open("/proc/self/comm")?, vec![0; 100], 0).perform();
    /// assert!(done.bytes().unwrap().ends_with(b"\n"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn read<B: IoBufMut>(file: impl Into<SharedFd>, buffer: B, offset_bytes: u64) -> Self {
        Self::new(file, OpKind::Read(Part::whole(Buffer::new(buffer)))).at(offset_bytes)
    }

    /// Writes all of `buffer` at an offset in bytes: pwrite(2), `io_prep_pwrite`.
    ///
    /// ```
    /// use linux_aio::Op;
    ///
    /// assert_eq!(Op::write(tempfile::tempfile()?, b"hello".to_vec(), 0).perform().result?, 5);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn write<B: IoBuf>(file: impl Into<SharedFd>, buffer: B, offset_bytes: u64) -> Self {
        Self::new(file, OpKind::Write(Part::whole(SharedBuffer::new(buffer)))).at(offset_bytes)
    }

    /// Sets the offset, in bytes.
    ///
    /// ```
    /// use linux_aio::{Buffer, Op, OpKind, Part};
    /// use std::fs::File;
    ///
    /// let parts = vec![Part::whole(Buffer::new(vec![1; 10]))];
    /// let read = Op::new(File::open("/dev/zero")?, OpKind::ReadVectored(parts)).at(4096);
    /// assert_eq!(read.offset_bytes, 4096);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn at(self, offset_bytes: u64) -> Self {
        Self { offset_bytes, ..self }
    }

    /// Sets the tag.
    ///
    /// ```
    /// use linux_aio::Op;
    /// use std::fs::File;
    ///
    /// let done = Op::read(File::open("/dev/zero")?, vec![1; 3], 0).tag(7).perform();
    /// assert_eq!(done.op.tag, 7);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn tag(self, tag: u64) -> Self {
        Self { tag, ..self }
    }

    /// Sets what is special about a read or write, `RWF_*`; see preadv2(2).
    ///
    /// ```
    /// use linux_aio::{Op, ReadWriteFlags};
    ///
    /// // It is over when the data is on the device.
    /// let write = Op::write(tempfile::tempfile()?, vec![7; 10], 0).flags(ReadWriteFlags::DSYNC);
    /// assert_eq!(write.perform().result?, 10);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn flags(self, flags: ReadWriteFlags) -> Self {
        Self { flags, ..self }
    }

    /// Sets the I/O priority, `IOCB_FLAG_IOPRIO`.
    ///
    /// ```
    /// use linux_aio::{Op, kernel::Priority};
    /// use std::fs::File;
    ///
    /// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0).priority(Priority::Idle);
    /// assert_eq!(read.priority, Some(Priority::Idle));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority: Some(priority), ..self }
    }

    /// Sets the eventfd(2) that is signalled at the end, `io_set_eventfd`.
    ///
    /// ```
    /// use linux_aio::{Context, Op};
    /// use rustix::event::{EventfdFlags, eventfd};
    /// use std::{fs::File, sync::Arc};
    ///
    /// let counter = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
    /// let mut context = Context::new(1)?;
    /// let read = Op::read(File::open("/dev/zero")?, vec![1; 3], 0);
    /// context.queue(read.eventfd(Arc::clone(&counter)))?;
    /// context.submit();
    /// let mut bytes = [0; 8];
    /// rustix::io::read(&*counter, &mut bytes)?;
    /// assert_eq!(u64::from_ne_bytes(bytes), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn eventfd(self, eventfd: Arc<OwnedFd>) -> Self {
        Self { eventfd: Some(eventfd), ..self }
    }
}

/// What became of the operations that were queued when they were submitted: how many, and where
/// they are now. See io_submit(2).
///
/// ```
/// use linux_aio::{Context, Op, Submitted};
/// use std::fs::File;
///
/// # fn main() -> std::io::Result<()> {
/// let mut context = Context::new(1)?;
/// context.queue(Op::read(File::open("/dev/zero")?, vec![1; 100], 0))?;
/// assert_eq!(context.submit(), Submitted::default().accepted(1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Submitted {
    /// The engine carries them out.
    pub accepted: usize,
    /// They were refused, each with its own error, and come back through `reap` like those that are
    /// over.
    pub refused: usize,
    /// They are still queued: there is no room until something has been reaped.
    pub waiting: usize,
}

impl Submitted {
    /// Sets how many are carried out.
    pub fn accepted(self, accepted: usize) -> Self {
        Self { accepted, ..self }
    }

    /// Sets how many were refused.
    pub fn refused(self, refused: usize) -> Self {
        Self { refused, ..self }
    }

    /// Sets how many are still queued.
    pub fn waiting(self, waiting: usize) -> Self {
        Self { waiting, ..self }
    }
}
