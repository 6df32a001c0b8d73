//! What makes operations that are awaited.

use std::any::TypeId;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::completions::{Buffered, Completions, Order};
use super::operation::Operation;
use super::shared::Link;
use crate::sys::{
    Buffer, Done, IoBuf, IoBufMut, Lent, Op, OpKind, Part, PollFlags, SharedBuffer, SharedFd,
};

/// What a transfer gives back: the bytes that were moved, or why not, and the buffer.
type Transferred<B> = (io::Result<usize>, B);

/// Makes operations that are awaited, and that its [`Driver`](super::Driver) or
/// [`PollableDriver`](super::PollableDriver) carries out. Clones are the same one, for any thread.
///
/// An operation owns its file and its buffer, and gives the buffer back, also when it failed. What
/// the errors are stands in the manual pages that each call names.
///
/// ```
/// use linux_aio::future::Driver;
/// use std::{fs::File, sync::Arc};
///
/// # fn main() -> std::io::Result<()> {
/// let mut driver = Driver::new(16)?;
/// let handle = driver.handle();
/// let file = Arc::new(File::open("/proc/self/exe")?);
/// let (result, buffer) = driver.block_on(handle.read(&file, vec![0; 4], 0))?;
/// assert_eq!((result?, &buffer[..]), (4, &b"\x7fELF"[..]));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct AsyncHandle(pub(super) Arc<Link>);

impl fmt::Debug for AsyncHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncHandle").finish_non_exhaustive()
    }
}

impl AsyncHandle {
    fn make<T>(&self, op: Op, finish: fn(Done) -> T) -> Operation<T> {
        Operation::new(Arc::clone(&self.0), op, finish)
    }

    /// Carries out any operation, and gives back how it ended.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let mut driver = linux_aio::future::Driver::new(4)?;
    /// use linux_aio::Op;
    ///
    /// let handle = driver.handle();
    /// let file = std::fs::File::open("/proc/self/exe")?;
    /// let done = driver.block_on(handle.op(Op::read(file, vec![0; 4], 0).tag(7)))?;
    /// assert_eq!((done.bytes(), done.op.tag), (Some(&b"\x7fELF"[..]), 7));
    /// # Ok(())
    /// # }
    /// ```
    pub fn op(&self, op: Op) -> Operation {
        self.make(op, |done| done)
    }

    /// Reads into all of `buffer` at an offset in bytes: pread(2).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let mut driver = linux_aio::future::Driver::new(4)?;
    /// let handle = driver.handle();
    /// let file = std::fs::File::open("/proc/self/exe")?;
    /// let (result, buffer) = driver.block_on(handle.read(file, vec![0; 3], 1))?;
    /// assert_eq!((result?, &buffer[..]), (3, &b"ELF"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn read<B: IoBufMut>(
        &self,
        file: impl Into<SharedFd>,
        buffer: B,
        offset_bytes: u64,
    ) -> Operation<Transferred<B>> {
        self.make(Op::read(file, buffer, offset_bytes), |done| with_buffer(done, |buffer| buffer))
    }

    /// Writes all of `buffer` at an offset in bytes: pwrite(2).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let mut driver = linux_aio::future::Driver::new(4)?;
    /// let handle = driver.handle();
    /// let file = std::fs::File::options().write(true).open("/dev/null")?;
    /// let (result, _text) = driver.block_on(handle.write(file, &b"text"[..], 0))?;
    /// assert_eq!(result?, 4);
    /// # Ok(())
    /// # }
    /// ```
    pub fn write<B: IoBuf>(
        &self,
        file: impl Into<SharedFd>,
        buffer: B,
        offset_bytes: u64,
    ) -> Operation<Transferred<B>> {
        if is_buffer::<B>() {
            let op = Op::write(file, Lent(buffer), offset_bytes);
            return self.make(op, |done| with_buffer(done, |Lent(buffer)| buffer));
        }
        self.make(Op::write(file, buffer, offset_bytes), |done| with_buffer(done, |buffer| buffer))
    }

    /// Reads into several buffers, one after the other: preadv(2).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let mut driver = linux_aio::future::Driver::new(4)?;
    /// let handle = driver.handle();
    /// let file = std::fs::File::open("/proc/self/exe")?;
    /// let read = handle.read_vectored(file, vec![vec![0; 1], vec![0; 3]], 0);
    /// let (result, buffers) = driver.block_on(read)?;
    /// assert_eq!((result?, &buffers[1][..]), (4, &b"ELF"[..]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn read_vectored<B: IoBufMut>(
        &self,
        file: impl Into<SharedFd>,
        buffers: Vec<B>,
        offset_bytes: u64,
    ) -> Operation<Transferred<Vec<B>>> {
        let parts = buffers.into_iter().map(|buffer| Part::whole(Buffer::new(buffer)));
        let op = Op::new(file, OpKind::ReadVectored(parts.collect())).at(offset_bytes);
        self.make(op, |mut done| {
            let result = std::mem::replace(&mut done.result, Ok(0));
            let OpKind::ReadVectored(parts) = done.op.kind else { unreachable!("it read") };
            let buffer = |part: Part<Buffer>| part.buffer.into_inner().expect(CAME_BACK);
            (result, parts.into_iter().map(buffer).collect())
        })
    }

    /// Writes from several buffers, one after the other: pwritev(2).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let mut driver = linux_aio::future::Driver::new(4)?;
    /// let handle = driver.handle();
    /// let file = std::fs::File::options().write(true).open("/dev/null")?;
    /// let texts = vec![&b"some"[..], b"more"];
    /// let (result, _texts) = driver.block_on(handle.write_vectored(file, texts, 0))?;
    /// assert_eq!(result?, 8);
    /// # Ok(())
    /// # }
    /// ```
    pub fn write_vectored<B: IoBuf>(
        &self,
        file: impl Into<SharedFd>,
        buffers: Vec<B>,
        offset_bytes: u64,
    ) -> Operation<Transferred<Vec<B>>> {
        let parts = buffers.into_iter().map(|buffer| Part::whole(SharedBuffer::new(Lent(buffer))));
        let op = Op::new(file, OpKind::WriteVectored(parts.collect())).at(offset_bytes);
        self.make(op, |mut done| {
            let result = std::mem::replace(&mut done.result, Ok(0));
            let OpKind::WriteVectored(parts) = done.op.kind else { unreachable!("it wrote") };
            let buffer = |part: Part<SharedBuffer>| {
                let Lent(buffer) = part.buffer.into_inner().expect(CAME_BACK);
                buffer
            };
            (result, parts.into_iter().map(buffer).collect())
        })
    }

    /// Data and metadata to the device: fsync(2).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let mut driver = linux_aio::future::Driver::new(4)?;
    /// let handle = driver.handle();
    /// let file = tempfile::tempfile()?;
    /// driver.block_on(handle.fsync(file))??;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fsync(&self, file: impl Into<SharedFd>) -> Operation<io::Result<()>> {
        self.make(Op::new(file, OpKind::Fsync), |done| done.result.map(drop))
    }

    /// Data, and the metadata that is needed to find it, to the device: fdatasync(2).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let mut driver = linux_aio::future::Driver::new(4)?;
    /// let handle = driver.handle();
    /// let file = tempfile::tempfile()?;
    /// driver.block_on(handle.fdatasync(file))??;
    /// # Ok(())
    /// # }
    /// ```
    pub fn fdatasync(&self, file: impl Into<SharedFd>) -> Operation<io::Result<()>> {
        self.make(Op::new(file, OpKind::Fdatasync), |done| done.result.map(drop))
    }

    /// Waits until one of the events is there, and gives back those that are: poll(2).
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let mut driver = linux_aio::future::Driver::new(4)?;
    /// use linux_aio::PollFlags;
    /// use std::os::fd::OwnedFd;
    ///
    /// let handle = driver.handle();
    /// let (_reader, writer) = std::io::pipe()?;
    /// let ready = driver.block_on(handle.poll(OwnedFd::from(writer), PollFlags::OUT))??;
    /// assert!(ready.contains(PollFlags::OUT));
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll(
        &self,
        file: impl Into<SharedFd>,
        events: PollFlags,
    ) -> Operation<io::Result<PollFlags>> {
        self.make(Op::new(file, OpKind::Poll(events)), |done| {
            let ready = done.ready();
            // Cancelled, it finds none and that is its answer.
            done.result.map(|_| ready.unwrap_or(PollFlags::empty()))
        })
    }

    /// A stream of operations that are pushed one after the other.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let mut driver = linux_aio::future::Driver::new(4)?;
    /// use linux_aio::{Op, future::Order};
    /// use std::{fs::File, sync::Arc};
    ///
    /// let file = Arc::new(File::open("/proc/self/exe")?);
    /// let mut reads = driver.handle().completions(Order::Pushed);
    /// reads.push(Op::read(&file, vec![0; 1], 0));
    /// reads.push(Op::read(&file, vec![0; 3], 1));
    /// driver.block_on(async {
    ///     assert_eq!(reads.next().await.unwrap().bytes(), Some(&b"\x7f"[..]));
    ///     assert_eq!(reads.next().await.unwrap().bytes(), Some(&b"ELF"[..]));
    ///     assert!(reads.next().await.is_none());
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn completions(&self, order: Order) -> Completions {
        Completions::new(Arc::clone(&self.0), order)
    }

    /// A stream of all operations of an iterator, of which `depth` at a time are under way. An
    /// operation is under way until the stream has given it back, and at least one is at a time.
    ///
    /// The iterator is asked again after it had none, for as long as an operation is under way. So
    /// it may say that there is none now, such as for want of a buffer. The stream ends when there
    /// is none and nothing is under way. Of two streams over one pool, one may so end before its
    /// iterator: when the other has all buffers. Give each a pool of its own.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let mut driver = linux_aio::future::Driver::new(4)?;
    /// use linux_aio::{Op, Pool, future::Order};
    /// use std::{fs::File, sync::Arc};
    ///
    /// let file = Arc::new(File::open("/dev/zero")?);
    /// let pool = Pool::new(4, 4096)?;
    /// let mut offsets = (0..100).map(|n| n * 4096);
    /// let ops = std::iter::from_fn(|| {
    ///     let buffer = pool.get()?;
    ///     Some(Op::read(&file, buffer, offsets.next()?))
    /// });
    /// let mut reads = driver.handle().buffered(Order::Pushed, 4, ops);
    /// let total: usize = driver.block_on(async {
    ///     let mut total = 0;
    ///     while let Some(done) = reads.next().await {
    ///         total += done.result?;
    ///     }
    ///     Ok::<_, std::io::Error>(total)
    /// })??;
    /// assert_eq!(total, 100 * 4096);
    /// # Ok(())
    /// # }
    /// ```
    pub fn buffered<I>(&self, order: Order, depth: usize, ops: I) -> Buffered<I::IntoIter>
    where
        I: IntoIterator<Item = Op>,
    {
        Buffered::new(self.completions(order), depth, ops.into_iter())
    }

    /// Ends one wait of the driver early: the present one, or else the next. With it an executor on
    /// the driver's thread is woken for a task that does not wait for an operation.
    ///
    /// ```
    /// # fn main() -> std::io::Result<()> {
    /// # let mut driver = linux_aio::future::Driver::new(4)?;
    /// let handle = driver.handle();
    /// let other = std::thread::spawn(move || handle.wake());
    /// assert_eq!(driver.turn(None)?, 0);
    /// # other.join().expect("no panic");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// In a forked child.
    pub fn wake(&self) {
        drop(self.0.0.lock());
        self.0.0.rouse();
    }
}

/// Why a buffer is the one that went in.
const CAME_BACK: &str = "a buffer comes back as what went in";

/// A pool's buffer that is frozen is not always one again: others may hold parts of its slot.
fn is_buffer<B: 'static>() -> bool {
    TypeId::of::<B>() == TypeId::of::<Buffer>()
}

/// What came of a transfer, and the buffer out of what it was lent as.
fn with_buffer<L: IoBuf, B>(mut done: Done, buffer: fn(L) -> B) -> Transferred<B> {
    let result = std::mem::replace(&mut done.result, Ok(0));
    (result, buffer(done.into_buffer().expect(CAME_BACK)))
}
