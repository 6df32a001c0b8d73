//! What memory an operation may own, besides the buffers of a pool.

use std::sync::Arc;

/// A value that owns bytes which can be written from, while this package owns the value:
/// `Vec<u8>`, `Box<[u8]>`, `Arc<[u8]>`, `&'static [u8]`, the buffers of a pool, or a type of one's
/// own.
///
/// ```
/// use linux_aio::IoBuf;
///
/// /// A page that something else has mapped.
/// struct Page(&'static [u8; 4096]);
///
/// // SAFETY: the page is initialized, is never changed, and stands where it is for ever.
/// unsafe impl IoBuf for Page {
///     fn stable_ptr(&self) -> *const u8 {
///         self.0.as_ptr()
///     }
///     fn len_bytes(&self) -> usize {
///         self.0.len()
///     }
/// }
///
/// let shared = linux_aio::SharedBuffer::new(Page(&[7; 4096]));
/// assert_eq!(shared[4095], 7);
/// ```
///
/// # Safety
/// [`stable_ptr`](Self::stable_ptr) is not null, and valid for reads of
/// [`len_bytes`](Self::len_bytes) initialized bytes, on every thread, from when it is called until
/// the value is dropped or any other of its methods is called. So it names no memory inside of the
/// value, which may be moved. Nothing changes or frees that memory meanwhile, whatever else reaches
/// it. The length is at most `isize::MAX`.
pub unsafe trait IoBuf: Send + 'static {
    /// Where the bytes begin.
    fn stable_ptr(&self) -> *const u8;

    /// How many bytes there are.
    fn len_bytes(&self) -> usize;
}

/// A value that owns bytes which can be read into, while this package owns the value: `Vec<u8>`
/// (as many bytes as its length), `Box<[u8]>`, the buffers of a pool, or a type of one's own.
///
/// ```
/// use linux_aio::{Buffer, IoBuf, IoBufMut};
///
/// /// A vector that says how long its owner wants it to be.
/// struct Block(Vec<u8>);
///
/// // SAFETY: a vector's bytes are its own allocation, and stay where they are when it is moved.
/// unsafe impl IoBuf for Block {
///     fn stable_ptr(&self) -> *const u8 {
///         self.0.as_ptr()
///     }
///     fn len_bytes(&self) -> usize {
///         self.0.len()
///     }
/// }
///
/// // SAFETY: as above, and a vector has one owner.
/// unsafe impl IoBufMut for Block {
///     fn stable_mut_ptr(&mut self) -> *mut u8 {
///         self.0.as_mut_ptr()
///     }
/// }
///
/// let block: Block = Buffer::new(Block(vec![7; 3])).into_inner().expect("it was made of one");
/// assert_eq!(block.0, [7, 7, 7]);
/// ```
///
/// # Safety
/// [`stable_mut_ptr`](Self::stable_mut_ptr) is what [`IoBuf`] says of
/// [`stable_ptr`](IoBuf::stable_ptr), and it is valid for writes as well. Nothing else reads or
/// writes that memory meanwhile.
pub unsafe trait IoBufMut: IoBuf {
    /// Where the bytes begin.
    fn stable_mut_ptr(&mut self) -> *mut u8;
}

/// A value that is lent as a whole, and comes back as what it was. A pool's buffer that is frozen
/// does not always: others may hold parts of its slot.
#[cfg(feature = "async")]
pub struct Lent<B>(pub B);

// SAFETY: the bytes are those of the value inside, whose promise this passes on.
#[cfg(feature = "async")]
unsafe impl<B: IoBuf> IoBuf for Lent<B> {
    fn stable_ptr(&self) -> *const u8 {
        self.0.stable_ptr()
    }
    fn len_bytes(&self) -> usize {
        self.0.len_bytes()
    }
}

// SAFETY: a vector's bytes are its own allocation, up to its length they are initialized, and they
// stay where they are when the vector is moved.
unsafe impl IoBuf for Vec<u8> {
    fn stable_ptr(&self) -> *const u8 {
        self.as_ptr()
    }
    fn len_bytes(&self) -> usize {
        self.len()
    }
}

// SAFETY: as above, and a vector has one owner.
unsafe impl IoBufMut for Vec<u8> {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut_ptr()
    }
}

// SAFETY: the bytes are an allocation of the box's own, and initialized. This package puts the box
// at its last place before it asks for the address, and moves it out only when it is over: a box
// that moves says of its bytes that it alone reaches them.
unsafe impl IoBuf for Box<[u8]> {
    fn stable_ptr(&self) -> *const u8 {
        self.as_ptr()
    }
    fn len_bytes(&self) -> usize {
        self.len()
    }
}

// SAFETY: as above, and a box has one owner.
unsafe impl IoBufMut for Box<[u8]> {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.as_mut_ptr()
    }
}

// SAFETY: the bytes outlive the count, and no owner can change them as long as this one exists.
unsafe impl IoBuf for Arc<[u8]> {
    fn stable_ptr(&self) -> *const u8 {
        self.as_ptr()
    }
    fn len_bytes(&self) -> usize {
        self.len()
    }
}

// SAFETY: the bytes are borrowed for ever, so that nothing changes or frees them.
unsafe impl IoBuf for &'static [u8] {
    fn stable_ptr(&self) -> *const u8 {
        self.as_ptr()
    }
    fn len_bytes(&self) -> usize {
        self.len()
    }
}
