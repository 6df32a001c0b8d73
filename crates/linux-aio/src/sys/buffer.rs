//! Aligned buffers on huge pages, all made at once: the pool is the one limit on memory and on
//! depth.
//!
//! A [`Buffer`] is exclusive, as a read needs it; split, each part is. Frozen, it is a
//! [`SharedBuffer`], which a write and a hash may hold at the same time. Dropping the last hold
//! returns the slot to the pool. No borrow is ever lent to the kernel, so leaking any of these only
//! leaks memory.
//!
//! Both also hold memory of other owners, which moves in as a whole.

use std::any::{Any, TypeId};
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::iobuf::{IoBuf, IoBufMut};
use super::region::{Access, Hold, Region};

/// A fixed number of buffers of one size. Cheap to clone; the clones share the buffers. The memory
/// goes back (munmap(2)) with the last of pool and buffers.
///
/// ```
/// let pool = linux_aio::Pool::new(2, 1 << 20)?;
/// let (first, second) = (pool.get().unwrap(), pool.get().unwrap());
/// assert_eq!((first.len(), first.as_ptr() as usize % 4096), (1 << 20, 0));
/// assert!(pool.get().is_none(), "all are lent");
/// drop(second);
/// assert!(pool.get().is_some());
/// # Ok::<(), std::io::Error>(())
/// ```
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
    /// while the kernel finds the pages; ENOMEM if there are none. EINVAL if `count` is 0, or
    /// `slot_bytes` is no multiple of 4096 above 0. A forked child finds zeros in them.
    ///
    /// ```
    /// use linux_aio::Pool;
    ///
    /// assert!(Pool::new(16, 8192).is_ok());
    /// assert_eq!(Pool::new(16, 1000).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    /// ```
    pub fn new(count: usize, slot_bytes: usize) -> io::Result<Self> {
        if count == 0 || slot_bytes == 0 || !slot_bytes.is_multiple_of(4096) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(Self(Arc::new(Region::map(count, slot_bytes)?)))
    }

    /// A free buffer, or none when all are lent. Never blocks. The contents are whatever was last
    /// in it.
    ///
    /// ```
    /// use linux_aio::{Op, Pool};
    /// use std::{fs::File, sync::Arc};
    ///
    /// let file = Arc::new(File::open("/dev/zero")?);
    /// let pool = Pool::new(3, 4096)?;
    /// // As many reads as there are buffers.
    /// let reads: Vec<Op> =
    ///     std::iter::from_fn(|| Some(Op::read(&file, pool.get()?, 0))).collect();
    /// assert_eq!(reads.len(), 3);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn get(&self) -> Option<Buffer> {
        Hold::of_slot(&self.0).map(Buffer)
    }

    /// How many bytes each buffer has. Never blocks.
    pub fn buffer_bytes(&self) -> usize {
        self.0.slot_bytes()
    }
}

/// A value as what it is, if it is of that type.
fn same<A: 'static, B: 'static>(value: A) -> Result<B, A> {
    let mut slot = Some(value);
    match (&mut slot as &mut dyn Any).downcast_mut::<Option<B>>() {
        Some(same) => Ok(same.take().expect("it was just put in")),
        None => Err(slot.expect("nothing took it")),
    }
}

/// A buffer that has one owner: readable and writable, what read(2) wants.
///
/// One of a [`Pool`] has an address that is a multiple of 4096, as `O_DIRECT` needs it. Dropped, it
/// goes back to its pool, which may wait for the pool's lock but for nothing else. Others are made
/// [of any value](Self::new) that owns bytes.
///
/// ```
/// let mut buffer = linux_aio::Pool::new(1, 4096)?.get().expect("a new pool has buffers");
/// buffer[..5].copy_from_slice(b"hello");
/// assert!(buffer.starts_with(b"hello"));
/// # Ok::<(), std::io::Error>(())
/// ```
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
    /// The bytes of a value: a `Vec<u8>`, a `Box<[u8]>`, or an [`IoBufMut`] of one's own. A
    /// [`Buffer`] stays what it is. Copies nothing and never blocks.
    ///
    /// ```
    /// let mut buffer = linux_aio::Buffer::new(vec![0; 100]);
    /// buffer[0] = 1;
    /// let vector: Vec<u8> = buffer.into_inner().expect("it was made of a vector");
    /// assert_eq!(vector[..2], [1, 0]);
    /// ```
    pub fn new<B: IoBufMut>(value: B) -> Self {
        same(value).unwrap_or_else(|value: B| {
            Self(Hold::of_value(Box::new(value), B::stable_mut_ptr, Access::ReadWrite))
        })
    }

    /// The value that it was [made of](Self::new), or a [`SharedBuffer`]. It stays what it is if it
    /// was made of something else, or if parts that were split off it are still there.
    ///
    /// ```
    /// use linux_aio::Buffer;
    ///
    /// let buffer = Buffer::new(vec![7; 3]);
    /// // It is no box, and stays a buffer.
    /// let buffer = buffer.into_inner::<Box<[u8]>>().unwrap_err();
    /// assert_eq!(buffer.into_inner::<Vec<u8>>().unwrap(), [7, 7, 7]);
    /// ```
    pub fn into_inner<B: IoBuf>(self) -> Result<B, Self> {
        let buffer = match same(self) {
            Ok(buffer) => return Ok(buffer),
            Err(buffer) => buffer,
        };
        if TypeId::of::<B>() == TypeId::of::<SharedBuffer>() {
            return same(buffer.freeze()).map_err(|shared: SharedBuffer| Self(shared.0));
        }
        buffer.0.into_value().map_err(Self)
    }

    /// Makes it read-only and shareable, what write(2) wants. Copies nothing and never blocks.
    ///
    /// ```
    /// let mut buffer = linux_aio::Buffer::new(vec![0; 2]);
    /// buffer[0] = 1;
    /// let shared = buffer.freeze();
    /// let another = shared.clone();
    /// assert_eq!((&shared[..], &another[..]), (&[1, 0][..], &[1, 0][..]));
    /// ```
    pub fn freeze(self) -> SharedBuffer {
        SharedBuffer(self.0)
    }

    /// Takes the first `len_bytes` away as a buffer of its own, so that several reads can fill one
    /// slot at once. The slot is free again when the last of its parts is dropped. Copies nothing
    /// and never blocks. EINVAL if `len_bytes` is no multiple of 4096 (what is left has to begin at
    /// one too), or more than there is.
    ///
    /// ```
    /// let mut rest = linux_aio::Pool::new(1, 16384)?.get().expect("a new pool has buffers");
    /// let first = rest.split_to(4096)?;
    /// assert_eq!((first.len(), rest.len()), (4096, 12288));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn split_to(&mut self, len_bytes: usize) -> io::Result<Self> {
        if !len_bytes.is_multiple_of(4096) || len_bytes > self.len() {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(Self(self.0.split_to(len_bytes)))
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
        unsafe { self.0.bytes_mut() }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self
    }
}

/// A buffer that cannot be changed any more. Clones are holds on the same bytes, so that it can be
/// written and hashed at once. Dropping the last one returns it to its pool.
///
/// ```
/// use linux_aio::{Op, SharedBuffer};
/// use std::sync::Arc;
///
/// let file = Arc::new(tempfile::tempfile()?);
/// let text = SharedBuffer::new(b"twice ".to_vec());
/// let writes = [0, 6].map(|offset_bytes| Op::write(&file, text.clone(), offset_bytes));
/// for write in writes {
///     assert_eq!(write.perform().result?, 6);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct SharedBuffer(Hold);

impl SharedBuffer {
    /// The bytes of a value: a `Vec<u8>`, a `Box<[u8]>`, an `Arc<[u8]>`, a `&'static [u8]`, or an
    /// [`IoBuf`] of one's own. A [`Buffer`] is [frozen](Buffer::freeze), and a [`SharedBuffer`]
    /// stays what it is. Copies nothing and never blocks.
    ///
    /// ```
    /// use linux_aio::SharedBuffer;
    /// use std::sync::Arc;
    ///
    /// let shared: Arc<[u8]> = Arc::from(&b"shared"[..]);
    /// let buffers = [SharedBuffer::new(&b"static"[..]), SharedBuffer::new(shared)];
    /// assert_eq!((&buffers[0][..], &buffers[1][..]), (&b"static"[..], &b"shared"[..]));
    /// ```
    pub fn new<B: IoBuf>(value: B) -> Self {
        let own = |value: B| {
            // It is never written: the access says so.
            let address = |value: &mut B| value.stable_ptr().cast_mut();
            Self(Hold::of_value(Box::new(value), address, Access::ReadOnly))
        };
        same(value).or_else(|value: B| same(value).map(Buffer::freeze)).unwrap_or_else(own)
    }

    /// The value that it was [made of](Self::new), or that the buffer was made of that was frozen.
    /// It stays what it is if it was made of something else, or has other holds.
    ///
    /// ```
    /// use linux_aio::SharedBuffer;
    ///
    /// let shared = SharedBuffer::new(vec![7; 3]);
    /// let another = shared.clone();
    /// let shared = shared.into_inner::<Vec<u8>>().expect_err("there is another hold");
    /// drop(another);
    /// assert_eq!(shared.into_inner::<Vec<u8>>().unwrap(), [7, 7, 7]);
    /// ```
    pub fn into_inner<B: IoBuf>(self) -> Result<B, Self> {
        let shared = match same(self) {
            Ok(shared) => return Ok(shared),
            Err(shared) => shared,
        };
        if TypeId::of::<B>() == TypeId::of::<Buffer>() {
            return shared.thaw().and_then(|buffer| same(buffer).map_err(Buffer::freeze));
        }
        shared.0.into_value().map_err(Self)
    }

    /// Makes what was [frozen](Buffer::freeze) a buffer with one owner again, that can be read
    /// into. It stays what it is if it has other holds, if other parts of the same slot are in use,
    /// or if it was made [of a value](Self::new). Copies nothing and never blocks.
    ///
    /// ```
    /// use linux_aio::Buffer;
    ///
    /// let mut buffer = Buffer::new(vec![0; 3]).freeze().thaw().expect("it has one hold");
    /// buffer[0] = 1;
    /// let shared = buffer.freeze();
    /// let _another = shared.clone();
    /// assert!(shared.thaw().is_err());
    /// ```
    pub fn thaw(mut self) -> Result<Buffer, Self> {
        match self.0.is_exclusive() {
            true => Ok(Buffer(self.0)),
            false => Err(self),
        }
    }
}

impl AsRef<[u8]> for SharedBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Clone for SharedBuffer {
    fn clone(&self) -> Self {
        Self(self.0.another())
    }
}

impl Deref for SharedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.bytes()
    }
}

// SAFETY: the bytes are a part of a region that the buffer holds, and does not move with it.
unsafe impl IoBuf for Buffer {
    fn stable_ptr(&self) -> *const u8 {
        self.as_ptr()
    }
    fn len_bytes(&self) -> usize {
        self.len()
    }
}

// SAFETY: as above, and a `Buffer` is the only hold on its bytes.
unsafe impl IoBufMut for Buffer {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut_ptr()
    }
}

// SAFETY: as for `Buffer`; bytes that are shared cannot be changed.
unsafe impl IoBuf for SharedBuffer {
    fn stable_ptr(&self) -> *const u8 {
        self.as_ptr()
    }
    fn len_bytes(&self) -> usize {
        self.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

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
        let split = |len_bytes| rest.split_to(len_bytes).unwrap();
        let mut parts: Vec<_> = [4096, 8192, 0].into_iter().map(split).collect();
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
    fn a_size_that_is_wrong_is_an_error() {
        let is_invalid = |error: io::Error| error.raw_os_error() == Some(libc::EINVAL);
        for (count, slot_bytes) in [(0, 4096), (1, 0), (1, 512), (1, 4097)] {
            assert!(Pool::new(count, slot_bytes).is_err_and(is_invalid), "{count} {slot_bytes}");
        }
        let too_many = Pool::new(usize::MAX, 4096).unwrap_err();
        assert_eq!(too_many.raw_os_error(), Some(libc::ENOMEM));
        let mut buffer = Pool::new(1, 8192).unwrap().get().unwrap();
        for len_bytes in [512, 12288] {
            assert!(buffer.split_to(len_bytes).is_err_and(is_invalid), "{len_bytes}");
        }
        assert_eq!(buffer.len(), 8192);
    }

    /// A value that says when it is dropped, and in which thread.
    #[derive(Debug)]
    struct Watched(Box<[u8]>, Arc<Mutex<u32>>);

    impl Drop for Watched {
        fn drop(&mut self) {
            *self.1.lock().unwrap() += 1;
        }
    }

    // SAFETY: the bytes are the box's, which is at its last place when it is asked.
    unsafe impl IoBuf for Watched {
        fn stable_ptr(&self) -> *const u8 {
            self.0.as_ptr()
        }
        fn len_bytes(&self) -> usize {
            self.0.len()
        }
    }

    // SAFETY: as above; the box has one owner.
    unsafe impl IoBufMut for Watched {
        fn stable_mut_ptr(&mut self) -> *mut u8 {
            self.0.as_mut_ptr()
        }
    }

    #[test]
    fn a_value_moves_in_and_out_and_is_dropped_once() {
        let drops = Arc::new(Mutex::new(0));
        let watched = || Watched(vec![0; 8192].into(), Arc::clone(&drops));
        let mut buffer = Buffer::new(watched());
        buffer[8191] = 7;
        // Another type is not given, and parts keep it whole.
        let mut buffer = buffer.into_inner::<Vec<u8>>().unwrap_err();
        let part = buffer.split_to(4096).unwrap();
        let buffer = buffer.into_inner::<Watched>().unwrap_err();
        assert_eq!((part.len(), buffer.len(), buffer[4095]), (4096, 4096, 7));
        drop(part);
        let watched_again = buffer.into_inner::<Watched>().unwrap();
        assert_eq!((watched_again.0[8191], *drops.lock().unwrap()), (7, 0));
        drop(watched_again);
        assert_eq!(*drops.lock().unwrap(), 1);
        // The last hold drops it, in its own thread.
        let shared = SharedBuffer::new(watched());
        let other = shared.clone();
        let thread = std::thread::spawn(move || (other.len(), drop(other)));
        drop(shared);
        assert_eq!((thread.join().unwrap().0, *drops.lock().unwrap()), (8192, 2));
    }

    #[test]
    fn every_kind_of_value_comes_back_as_what_it_was() {
        let vector = Buffer::new(vec![1, 2, 3]);
        assert_eq!(vector.freeze().into_inner::<Vec<u8>>().unwrap(), [1, 2, 3]);
        let boxed: Box<[u8]> = [4, 5].into();
        let mut boxed = Buffer::new(boxed);
        boxed[0] = 9;
        assert_eq!(*boxed.into_inner::<Box<[u8]>>().unwrap(), [9, 5]);
        let counted: Arc<[u8]> = [6].into();
        let shared = SharedBuffer::new(Arc::clone(&counted));
        assert_eq!((shared.as_ref(), Arc::strong_count(&counted)), (&[6][..], 2));
        assert!(Arc::ptr_eq(&shared.into_inner::<Arc<[u8]>>().unwrap(), &counted));
        let fixed: &'static [u8] = b"fixed";
        assert_eq!(SharedBuffer::new(fixed).into_inner::<&'static [u8]>().unwrap(), fixed);
        let empty = SharedBuffer::new(Vec::new());
        assert!(empty.is_empty() && empty.into_inner::<Vec<u8>>().is_ok());
        let slot = SharedBuffer::new(Pool::new(1, 4096).unwrap().get().unwrap());
        assert_eq!(slot.into_inner::<Buffer>().unwrap().len(), 4096);
    }

    #[test]
    fn what_is_shared_thaws_when_one_hold_is_left() {
        let pool = Pool::new(1, 8192).unwrap();
        for buffer in [pool.get().unwrap(), Buffer::new(vec![0; 8192])] {
            let shared = buffer.freeze();
            let other = shared.clone();
            let shared = shared.thaw().unwrap_err();
            let reader = std::thread::spawn(move || other[0]);
            let mut shared = Some(shared);
            let mut buffer = loop {
                match shared.take().unwrap().thaw() {
                    Ok(buffer) => break buffer,
                    Err(back) => shared = Some(back),
                }
                std::thread::yield_now();
            };
            // Miri sees a race with the reader here if the counts order too little. It is not
            // joined before: that would order what the counts have to.
            buffer.fill(1);
            assert_eq!(reader.join().unwrap(), 0);
            let first = buffer.split_to(4096).unwrap().freeze();
            assert!(first.thaw().is_err(), "another part of the slot is in use");
        }
        let fixed: &'static [u8] = b"fixed";
        let fixed = SharedBuffer::new(fixed).thaw().expect_err("nothing may change it");
        assert!(SharedBuffer::new(vec![1]).thaw().is_err() && *fixed == *b"fixed");
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
