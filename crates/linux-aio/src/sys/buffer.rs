//! Aligned buffers on huge pages, all made at once: the pool is the one limit on memory and on
//! depth.
//!
//! A [`Buffer`] is exclusive, as a read needs it; split, each part is. Frozen, it is a
//! [`SharedBuffer`], which a write and a hash may hold at the same time. Dropping the last hold
//! returns the slot to the pool. No borrow is ever lent to the kernel, so leaking any of these only
//! leaks memory.

use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// 2 MiB: a huge page of x86-64 and of AArch64 with 4 KiB base pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// One mapping, divided into slots of one size.
struct Region {
    mapping: NonNull<u8>,
    mapping_bytes: usize,
    /// The first huge-page boundary in the mapping.
    base: NonNull<u8>,
    slot_bytes: usize,
    /// How many holds each slot has beyond none: 0 is free.
    holds: Box<[AtomicUsize]>,
    free: Mutex<Vec<usize>>,
}

// SAFETY: the raw pointers name a private mapping that lives as long as the region. A slot's bytes
// are reached only through its one `Buffer` or its read-only `SharedBuffer`s. The free list is
// behind a mutex.
unsafe impl Send for Region {}
// SAFETY: as above; all shared state is atomic or locked.
unsafe impl Sync for Region {}

impl Region {
    fn slot(&self, index: usize) -> NonNull<u8> {
        // SAFETY: `index` came off the free list, so it is below the slot count, and the slots fit
        // in the mapping.
        unsafe { self.base.add(index * self.slot_bytes) }
    }

    fn release(&self, index: usize) {
        // Release by each holder, acquire by the last: all use of the slot happens before it is on
        // the list. The list's lock orders that before its next owner's use.
        if self.holds[index].fetch_sub(1, Ordering::AcqRel) == 1 {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(index);
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: nothing holds a slot any more (each hold owns an `Arc` of the region), and this
        // is what mmap gave.
        let result = unsafe { libc::munmap(self.mapping.as_ptr().cast(), self.mapping_bytes) };
        debug_assert_eq!(result, 0, "munmap of our own mapping");
    }
}

/// A fixed number of buffers of one size. Cheap to clone; the clones share the buffers. The memory
/// goes back (munmap(2)) with the last of pool and buffers.
#[derive(Clone)]
pub struct Pool(Arc<Region>);

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("buffer_bytes", &self.buffer_bytes()).finish_non_exhaustive()
    }
}

impl Pool {
    /// Maps and touches `count` buffers of `slot_bytes`, a multiple of 4096, in one stretch. Under
    /// `MADV_HUGEPAGE`, see madvise(2), a buffer is one or two segments for the device. Blocks
    /// while the kernel finds the pages; ENOMEM if there are none. A forked child finds zeros in
    /// them.
    ///
    /// # Panics
    /// If `count` is 0 or `slot_bytes` is not a multiple of 4096 above 0.
    pub fn new(count: usize, slot_bytes: usize) -> io::Result<Self> {
        assert!(
            count > 0 && slot_bytes > 0 && slot_bytes.is_multiple_of(4096),
            "a buffer is whole pages"
        );
        let too_large = || io::Error::from_raw_os_error(libc::ENOMEM);
        let wanted = count.checked_mul(slot_bytes).ok_or_else(too_large)?;
        // One huge page more than needed, so that an aligned stretch is in it wherever the mapping
        // begins. A mapping at 0x7f00_0010_0000 has its first 2 MiB boundary at 0x7f00_0020_0000.
        let mapping_bytes = wanted.checked_add(HUGE_PAGE_BYTES).ok_or_else(too_large)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing
        // memory.
        let mapping =
            unsafe { libc::mmap(std::ptr::null_mut(), mapping_bytes, protection, flags, -1, 0) };
        if mapping == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let mapping = NonNull::new(mapping.cast::<u8>()).ok_or_else(too_large)?;
        let skip = mapping.as_ptr().align_offset(HUGE_PAGE_BYTES);
        // SAFETY: `skip` is below one huge page, by which the mapping is longer than what is
        // wanted.
        let base = unsafe { mapping.add(skip) };
        let holds = (0..count).map(|_| AtomicUsize::new(0)).collect();
        // The lowest slot comes off first, so that a light load stays on few pages.
        let free = Mutex::new((0..count).rev().collect());
        let region = Region { mapping, mapping_bytes, base, slot_bytes, holds, free };
        // No huge pages in this kernel cost speed alone. WIPEONFORK: fork(2) would make the pages
        // copy-on-write. What a device reads into them could reach the child's copy instead of
        // ours, so a child finds zeros.
        for advice in [libc::MADV_HUGEPAGE, libc::MADV_WIPEONFORK] {
            // Miri knows neither.
            if !cfg!(miri) {
                // SAFETY: the range lies in our mapping, and neither advice changes what this
                // process finds in it. Either may be refused by an old kernel, so the answers
                // decide nothing.
                let _advice = unsafe { libc::madvise(base.as_ptr().cast(), wanted, advice) };
            }
        }
        // SAFETY: `wanted` bytes from `base` are ours alone. Writing them makes the pages present
        // now, not in io_submit.
        unsafe { base.as_ptr().write_bytes(0, wanted) };
        Ok(Self(Arc::new(region)))
    }

    /// A free buffer, or none when all are lent. Never blocks. The contents are whatever was last
    /// in it.
    pub fn get(&self) -> Option<Buffer> {
        let index = self.0.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        // Relaxed: the slot came off the list under its lock, where its last holder has put it, so
        // that this is the only hold.
        self.0.holds[index].store(1, Ordering::Relaxed);
        Some(Buffer(Hold { region: Arc::clone(&self.0), index, start: 0, end: self.0.slot_bytes }))
    }

    /// How many bytes each buffer has. Never blocks.
    pub fn buffer_bytes(&self) -> usize {
        self.0.slot_bytes
    }
}

/// One hold on bytes `start..end` of one slot.
struct Hold {
    region: Arc<Region>,
    index: usize,
    start: usize,
    end: usize,
}

impl Hold {
    fn address(&self) -> *mut u8 {
        // SAFETY: `start` is at most the slot's length.
        unsafe { self.region.slot(self.index).add(self.start) }.as_ptr()
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the slot's bytes were written when the pool was made. While this hold exists,
        // those of its range are changed only through the exclusive `Buffer`. That is borrowed, or
        // does not exist, when this is called.
        unsafe { std::slice::from_raw_parts(self.address(), self.end - self.start) }
    }

    /// One more hold on some of its bytes.
    fn part(&self, start: usize, end: usize) -> Self {
        debug_assert!(
            self.start <= start && start <= end && end <= self.end,
            "a part is within the whole"
        );
        // Relaxed: a new hold is made from an existing one, which keeps the slot from being freed
        // meanwhile.
        self.region.holds[self.index].fetch_add(1, Ordering::Relaxed);
        Self { region: Arc::clone(&self.region), index: self.index, start, end }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.region.release(self.index);
    }
}

/// A buffer that has one owner: readable and writable, what read(2) wants. Its address is a
/// multiple of 4096. Dropped, it goes back to its pool, which may wait for the pool's lock but for
/// nothing else.
pub struct Buffer(Hold);

/// The bytes are left out: they are many, and may be secret.
impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("len_bytes", &self.len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for SharedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuffer").field("len_bytes", &self.len()).finish_non_exhaustive()
    }
}

impl Buffer {
    /// Makes it read-only and shareable, what write(2) wants. Copies nothing and never blocks.
    pub fn freeze(self) -> SharedBuffer {
        SharedBuffer(self.0)
    }

    /// Takes the first `len_bytes` away as a buffer of its own, so that several reads can fill one
    /// slot at once. The slot is free again when the last of its parts is dropped. Copies nothing
    /// and never blocks.
    ///
    /// # Panics
    /// If `len_bytes` is no multiple of 4096 (what is left has to begin at one too), or more than
    /// there is.
    pub fn split_to(&mut self, len_bytes: usize) -> Self {
        assert!(
            len_bytes.is_multiple_of(4096) && len_bytes <= self.len(),
            "a part is whole pages of the buffer"
        );
        let at = self.0.start + len_bytes;
        let first = self.0.part(self.0.start, at);
        self.0.start = at;
        Self(first)
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: a `Buffer` is the only hold on these bytes of its slot. It cannot be cloned,
        // freezing consumes it, and what is split off it leaves it.
        unsafe { std::slice::from_raw_parts_mut(self.0.address(), self.0.end - self.0.start) }
    }
}

/// A buffer that cannot be changed any more. Clones are holds on the same bytes, so that it can be
/// written and hashed at once. Dropping the last one returns it to its pool.
pub struct SharedBuffer(Hold);

impl Clone for SharedBuffer {
    fn clone(&self) -> Self {
        Self(self.0.part(self.0.start, self.0.end))
    }
}

impl Deref for SharedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_when_its_last_hold_is_dropped() {
        let pool = Pool::new(2, 8192).unwrap();
        let mut first = pool.get().unwrap();
        let _second = pool.get().unwrap();
        assert!(pool.get().is_none());
        first.fill(7);
        assert_eq!(first.as_ptr() as usize % 4096, 0);
        let shared = first.freeze();
        let other = shared.clone();
        drop(shared);
        assert!(pool.get().is_none());
        assert!(other.iter().all(|&byte| byte == 7));
        drop(other);
        assert!(pool.get().is_some());
    }

    #[test]
    fn parts_share_a_slot_and_no_byte() {
        let pool = Pool::new(1, 16384).unwrap();
        let mut rest = pool.get().unwrap();
        let mut parts: Vec<_> =
            [4096, 8192, 0].into_iter().map(|len_bytes| rest.split_to(len_bytes)).collect();
        parts.push(rest);
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [4096, 8192, 0, 4096]);
        // Each from a thread of its own: Miri sees a race here if they overlap.
        let fill = |(n, mut part): (usize, Buffer)| {
            std::thread::spawn(move || {
                part.fill(n as u8);
                part
            })
        };
        let threads: Vec<_> = parts.into_iter().enumerate().map(fill).collect();
        let parts: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        for (n, part) in parts.iter().enumerate() {
            assert!(part.iter().all(|&byte| byte == n as u8));
        }
        for part in parts {
            assert!(pool.get().is_none());
            drop(part);
        }
        assert_eq!(pool.get().unwrap().len(), 16384);
    }

    #[test]
    #[should_panic = "whole pages"]
    fn a_part_of_a_page_is_none() {
        Pool::new(1, 8192).unwrap().get().unwrap().split_to(512);
    }

    /// Miri and the thread sanitizer see a race here if the counts order too little.
    #[test]
    fn a_slot_goes_from_thread_to_thread() {
        let pool = Pool::new(1, 4096).unwrap();
        for round in 0..10u8 {
            let mut buffer = loop {
                match pool.get() {
                    Some(buffer) => break buffer,
                    None => std::thread::yield_now(),
                }
            };
            buffer[0] = round;
            let shared = buffer.freeze();
            let reader = |shared: SharedBuffer| move || assert_eq!(shared[0], round);
            // They are not joined: that would order what the counts have to.
            drop([std::thread::spawn(reader(shared.clone())), std::thread::spawn(reader(shared))]);
        }
        // At the end everything is waited for, so that a failure is not lost.
        while pool.get().is_none() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn holds_outlive_the_pool_and_cross_threads() {
        let pool = Pool::new(4, 4096).unwrap();
        let shared: Vec<_> = (0..4u8)
            .map(|n| {
                let mut buffer = pool.get().unwrap();
                buffer.fill(n);
                buffer.freeze()
            })
            .collect();
        drop(pool);
        let threads: Vec<_> =
            shared.into_iter().map(|s| std::thread::spawn(move || s[4095])).collect();
        let read: Vec<u8> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(read, [0, 1, 2, 3]);
    }
}
