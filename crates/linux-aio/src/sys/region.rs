//! Where buffers are: a mapping that is divided into slots, or a value that moved in. And the holds
//! on them, of which the last one frees.

use std::any::Any;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::iobuf::IoBuf;

/// 2 MiB: a huge page of x86-64 and of AArch64 with 4 KiB base pages.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// What a region's bytes are in.
enum Memory {
    /// A mapping, which begins here and has so many bytes.
    Mapping(NonNull<u8>, usize),
    /// A value that moved in, until it moves out; and whether its bytes may be changed.
    Value(Option<Box<dyn Any + Send>>, Access),
}

/// What may be done with the bytes of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// One mapping, divided into slots of one size; or the bytes of a value, as one slot.
pub struct Region {
    memory: Memory,
    /// The first huge-page boundary in the mapping, or the first byte of the value.
    base: NonNull<u8>,
    slot_bytes: usize,
    /// How many holds each slot of a mapping has beyond none: 0 is free. The holds on a value are
    /// counted by the region's `Arc`.
    holds: Box<[AtomicUsize]>,
    free: Mutex<Vec<usize>>,
}

// SAFETY: the raw pointers name a private mapping that lives as long as the region, or the bytes of
// a value that does, of which `IoBuf` promises that every thread may read them. A slot's bytes are
// reached only through its one `Buffer` or its read-only `SharedBuffer`s. A value may go to another
// thread. The free list is behind a mutex.
unsafe impl Send for Region {}
// SAFETY: as above; all shared state is atomic or locked, and a value is reached by the last owner
// of the region alone.
unsafe impl Sync for Region {}

impl Region {
    /// A mapping with `count` free slots of whole pages, which are there.
    pub fn map(count: usize, slot_bytes: usize) -> io::Result<Self> {
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
        let memory = Memory::Mapping(mapping, mapping_bytes);
        let region = Self { memory, base, slot_bytes, holds, free };
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
        Ok(region)
    }

    /// How many bytes each slot has.
    pub fn slot_bytes(&self) -> usize {
        self.slot_bytes
    }

    fn slot(&self, index: usize) -> NonNull<u8> {
        // SAFETY: `index` came off the free list, so it is below the slot count, and the slots fit
        // in the mapping. A value has the slot 0.
        unsafe { self.base.add(index * self.slot_bytes) }
    }

    fn release(&self, index: usize) {
        // Release by each holder, acquire by the last: all use of the slot happens before it is on
        // the list. The list's lock orders that before its next owner's use.
        let holds = self.holds.get(index);
        if holds.is_some_and(|holds| holds.fetch_sub(1, Ordering::AcqRel) == 1) {
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(index);
        }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let Memory::Mapping(mapping, mapping_bytes) = self.memory else { return };
        // SAFETY: nothing holds a slot any more (each hold owns an `Arc` of the region), and this
        // is what mmap gave.
        let result = unsafe { libc::munmap(mapping.as_ptr().cast(), mapping_bytes) };
        debug_assert_eq!(result, 0, "munmap of our own mapping");
    }
}

/// One hold on bytes `start..end` of one slot.
pub struct Hold {
    region: Arc<Region>,
    index: usize,
    start: usize,
    end: usize,
}

impl Hold {
    /// A hold on a free slot, or none when all are held.
    pub fn of_slot(region: &Arc<Region>) -> Option<Self> {
        let index = region.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        // Relaxed: the slot came off the list under its lock, where its last holder has put it, so
        // that this is the only hold.
        region.holds[index].store(1, Ordering::Relaxed);
        Some(Self { region: Arc::clone(region), index, start: 0, end: region.slot_bytes })
    }

    fn address(&self) -> *mut u8 {
        // SAFETY: `start` is at most the slot's length.
        unsafe { self.region.slot(self.index).add(self.start) }.as_ptr()
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the slot's bytes were written when the pool was made. While this hold exists,
        // those of its range are changed only through the exclusive `Buffer`. That is borrowed, or
        // does not exist, when this is called.
        unsafe { std::slice::from_raw_parts(self.address(), self.end - self.start) }
    }

    /// The bytes, to be changed.
    ///
    /// # Safety
    /// No other hold reaches any of them.
    pub unsafe fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and the caller vouches that no one else reads or changes them.
        unsafe { std::slice::from_raw_parts_mut(self.address(), self.end - self.start) }
    }

    /// One more hold on the same bytes.
    pub fn another(&self) -> Self {
        self.part(self.start, self.end)
    }

    /// A hold on the first `len_bytes`, which leave this one. There have to be as many.
    pub fn split_to(&mut self, len_bytes: usize) -> Self {
        let at = self.start + len_bytes;
        let first = self.part(self.start, at);
        self.start = at;
        first
    }

    /// One more hold on some of its bytes.
    fn part(&self, start: usize, end: usize) -> Self {
        assert!(
            self.start <= start && start <= end && end <= self.end,
            "a part is within the whole"
        );
        // Relaxed: a new hold is made from an existing one, which keeps the slot from being freed
        // meanwhile.
        if let Some(holds) = self.region.holds.get(self.index) {
            holds.fetch_add(1, Ordering::Relaxed);
        }
        Self { region: Arc::clone(&self.region), index: self.index, start, end }
    }
}

impl Hold {
    /// The bytes of a value that moves in.
    pub fn of_value<B: IoBuf>(
        mut value: Box<B>,
        address: fn(&mut B) -> *mut u8,
        access: Access,
    ) -> Self {
        let len_bytes = value.len_bytes();
        // The value is at its last place: what a box says of its bytes when it moves is said.
        let base = NonNull::new(address(&mut value)).expect("bytes have an address");
        let memory = Memory::Value(Some(value), access);
        let (holds, free) = (Box::default(), Mutex::default());
        let region = Arc::new(Region { memory, base, slot_bytes: len_bytes, holds, free });
        Self { region, index: 0, start: 0, end: len_bytes }
    }

    /// The value that moved in, if it is of this type and this is the last hold on it.
    pub fn into_value<B: IoBuf>(mut self) -> Result<B, Self> {
        if let Some(region) = Arc::get_mut(&mut self.region)
            && let Memory::Value(slot, _) = &mut region.memory
            && let Some(value) = slot.take()
        {
            match value.downcast::<B>() {
                // The region has no value any more, and nothing looks at its bytes again.
                Ok(value) => return Ok(*value),
                Err(value) => *slot = Some(value),
            }
        }
        Err(self)
    }

    /// Whether nothing else reaches its bytes, and they may be changed.
    pub fn is_exclusive(&mut self) -> bool {
        match self.region.holds.get(self.index) {
            // Acquire: what the other holders did with the slot happens before this. No more holds
            // can be made but from this one.
            Some(holds) => holds.load(Ordering::Acquire) == 1,
            None => Arc::get_mut(&mut self.region)
                .is_some_and(|region| matches!(region.memory, Memory::Value(_, Access::ReadWrite))),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.region.release(self.index);
    }
}
