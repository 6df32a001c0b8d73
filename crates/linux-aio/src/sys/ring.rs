//! The completion ring that the kernel maps into the process, and its reading without a system
//! call.
//!
//! The layout is that of `struct aio_ring` in `fs/aio.c`: eight words, then the events. It has been
//! stable since Linux 2.6, and its magic and its feature words vouch for it. There is one reader,
//! the owner of the [`Ring`].

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;

use super::abi::{self, ContextId, IoEvent, Iocb};
use super::fork::process_number;
use super::signal::SignalMask;

const MAGIC: u32 = 0xa10a_10a1;
const HEADER_BYTES: u32 = 32;

/// The words at the start of the mapping.
#[repr(C)]
struct Header {
    _id: u32,
    /// Events that fit, more than were asked for.
    nr: u32,
    /// The next event to be read: written by the side that reaps.
    head: AtomicU32,
    /// The next event to be written: written by the kernel.
    tail: AtomicU32,
    magic: u32,
    _compat_features: u32,
    incompat_features: u32,
    header_bytes: u32,
}

const _: () = assert!(size_of::<Header>() == HEADER_BYTES as usize);

/// A context of the kernel. Its owner has to destroy it, after which its [`Reader`] is not used.
pub struct Ring {
    id: ContextId,
    /// The process that made it: a forked child has no context, and the mapping is not inherited.
    owner: u64,
    /// What io_destroy(2) has answered: whether nothing is in flight any more.
    destroyed: Option<Result<(), Errno>>,
}

/// The one who takes the events of a [`Ring`].
pub struct Reader {
    id: ContextId,
    /// How many events the mapping holds, if its layout is the one that we know.
    nr: Option<u32>,
}

fn header(id: ContextId) -> *const Header {
    id as *const Header
}

impl Ring {
    /// io_setup(2) for `capacity` operations. The mapping is kept from forked children
    /// (`MADV_DONTFORK`), who would otherwise steal events by moving its head.
    pub fn new(capacity: u32) -> io::Result<(Self, Reader)> {
        let id = abi::io_setup(capacity)?;
        let ring = Self { id, owner: process_number(), destroyed: None };
        let mut reader = Reader { id, nr: None };
        // SAFETY: the id of a context is the address of its mapping, which lives until io_destroy,
        // and so longer than this borrow. It begins with the header; only `head` and `tail` change,
        // and they are atomic.
        let words = unsafe { &*header(id) };
        let known = words.magic == MAGIC
            && words.incompat_features == 0
            && words.header_bytes == HEADER_BYTES;
        if known && words.nr > 0 {
            let bytes = HEADER_BYTES as usize + words.nr as usize * size_of::<IoEvent>();
            // SAFETY: the range is the ring's mapping, whose last page madvise(2) takes whole; the
            // advice changes only what a forked child sees of it.
            let advised =
                unsafe { libc::madvise(id as *mut libc::c_void, bytes, libc::MADV_DONTFORK) };
            // Without it a child could reach the ring, though no code here lets it; the system call
            // has no such danger.
            if advised == 0 {
                reader.nr = Some(words.nr);
            }
        }
        Ok((ring, reader))
    }

    /// Panics in a forked child, in which the context does not exist, and once it is destroyed.
    pub fn assert_owner(&self) {
        assert_eq!(self.owner, process_number(), "a forked child cannot use its parent's context");
        assert!(self.destroyed.is_none(), "the context has ended");
    }

    /// io_submit(2).
    ///
    /// # Safety
    /// That of [`abi::io_submit`].
    pub unsafe fn submit(&self, iocbs: &mut [*mut Iocb]) -> io::Result<usize> {
        // SAFETY: the caller vouches.
        unsafe { abi::io_submit(self.id, iocbs) }
    }

    /// io_cancel(2).
    ///
    /// # Safety
    /// That of [`abi::io_cancel`].
    pub unsafe fn cancel(&self, iocb: *mut Iocb) -> io::Result<()> {
        // SAFETY: the caller vouches.
        unsafe { abi::io_cancel(self.id, iocb) }
    }

    /// io_destroy(2): the kernel cancels all polls, and it blocks until nothing is in flight. Only
    /// the first call asks, since another context may get the id; later ones know the answer.
    ///
    /// In a forked child it is EPERM: the context is the parent's, another thread of which may have
    /// been changing what the child has a copy of, and whose device may still write there.
    pub fn destroy(&mut self) -> io::Result<()> {
        if self.owner != process_number() {
            return Err(Errno::PERM.into());
        }
        let id = self.id;
        let destroyed = self.destroyed.get_or_insert_with(|| {
            abi::io_destroy(id).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
        });
        (*destroyed).map_err(io::Error::from)
    }
}

impl Reader {
    /// Whether it can be read without a system call.
    pub fn is_readable(&self) -> bool {
        self.nr.is_some()
    }

    /// io_getevents(2), or with a mask io_pgetevents(2); it blocks until there are `min` events or
    /// `timeout` is over.
    pub fn wait(
        &mut self,
        min: usize,
        events: &mut [IoEvent],
        timeout: Option<Duration>,
        mask: Option<&SignalMask>,
    ) -> io::Result<usize> {
        match mask {
            None => abi::io_getevents(self.id, min, events, timeout),
            Some(mask) => abi::io_pgetevents(self.id, min, events, timeout, mask.as_raw()),
        }
    }

    /// Takes the events that are in the ring if there are at least `min`, without a system call.
    /// None if there are fewer or the ring cannot be read, and then nothing is taken.
    pub fn take(&mut self, min: usize, events: &mut [IoEvent]) -> Option<usize> {
        let nr = self.nr?;
        // SAFETY: as in `new`; the caller is the process that made the ring, see `assert_owner`.
        let words = unsafe { &*header(self.id) };
        // Relaxed: the kernel moves `head` only in io_getevents, and `&mut self` says that no
        // thread is in it.
        let head = words.head.load(Ordering::Relaxed);
        // Acquire: the kernel writes an event before it moves `tail` (smp_wmb in aio_complete), so
        // that what is read below is what it wrote.
        let tail = words.tail.load(Ordering::Acquire);
        // Both are below `nr` and wrap there: head 380, tail 2, nr 383 are 5 events.
        let ready = if tail >= head { tail - head } else { nr - head + tail };
        if head >= nr || tail >= nr || (ready as usize) < min {
            return None;
        }
        let count = (ready as usize).min(events.len());
        // SAFETY: the events follow the header in the mapping.
        let first = unsafe { header(self.id).add(1) }.cast::<IoEvent>();
        for (index, event) in events[..count].iter_mut().enumerate() {
            let at = (head as usize + index) % nr as usize;
            // SAFETY: `at` is below `nr`, the number of events in the mapping behind the header.
            let slot = unsafe { first.add(at) };
            // SAFETY: the kernel has written this event and does not touch it again until `head`
            // has passed it.
            *event = unsafe { slot.read() };
        }
        if count > 0 {
            let head = (head as usize + count) % nr as usize;
            // Release: the events have been copied before the kernel may write over them. It reads
            // `head` to see how many places are free, and an older value only makes it see fewer.
            words.head.store(head as u32, Ordering::Release);
        }
        Some(count)
    }
}
