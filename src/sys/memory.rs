//! Memory that may be refused: what an allocation's failure does to the process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The system's allocator, which ends the process with a line and exit code 1 where it has nothing
/// left: Rust would end it with SIGABRT. `zeroed` is answered instead.
pub struct Allocator {
    /// What is printed then.
    last_words: &'static [u8],
}

thread_local! {
    /// Whether this thread can live without the memory that it asks for.
    static MAY_FAIL: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread is the one that ends the process.
    static ENDS: Cell<bool> = const { Cell::new(false) };
}

/// What is done before the process ends for want of memory.
static AT_END: OnceLock<fn()> = OnceLock::new();

/// Whether some thread is about to end the process.
static IS_ENDING: AtomicBool = AtomicBool::new(false);

/// Has `act` called before the process ends for want of memory, by the thread that got none. The
/// first that is given counts.
///
/// It has to do without memory, and to wait for no lock for long: a thread that ends here may hold
/// it.
pub fn at_end(act: fn()) {
    AT_END.get_or_init(|| act);
}

/// Whether this thread is to end the process, and has not begun to. Another one that does already
/// goes on alone.
fn begins_end() -> bool {
    // What fails in what is done at the end is not to do it again.
    if ENDS.try_with(|ends| ends.replace(true)).unwrap_or(true) {
        return false;
    }
    if IS_ENDING.swap(true, Ordering::AcqRel) {
        loop {
            std::thread::sleep(Duration::MAX);
        }
    }
    true
}

impl Allocator {
    /// One for a command, which prints `last_words`.
    pub const fn new(last_words: &'static str) -> Self {
        Self { last_words: last_words.as_bytes() }
    }

    fn checked(&self, pointer: *mut u8) -> *mut u8 {
        // Where the thread has no variables any more, it can handle no failure either.
        if pointer.is_null() && !MAY_FAIL.try_with(Cell::get).unwrap_or(false) {
            if begins_end() {
                let words = self.last_words;
                // SAFETY: the bytes are static; write(2) only reads them.
                let _told = unsafe { libc::write(2, words.as_ptr().cast(), words.len()) };
                if let Some(act) = AT_END.get() {
                    act();
                }
            }
            // SAFETY: _exit(2) runs no code of this process and does not return.
            unsafe { libc::_exit(1) };
        }
        pointer
    }
}

// SAFETY: every call goes to the system's allocator with what the caller promises of its arguments.
// Its pointers come back unchanged, and nothing here allocates.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        self.checked(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        self.checked(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        self.checked(unsafe { System.realloc(pointer, layout, size) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Calls what can live without the memory that it asks for, and does not panic.
pub fn may_fail<R>(ask: impl FnOnce() -> R) -> R {
    MAY_FAIL.set(true);
    let answer = ask();
    MAY_FAIL.set(false);
    answer
}

/// `len_bytes` zeros, which cost no page before they are touched; ENOMEM where there is no memory.
pub fn zeroed(len_bytes: usize) -> io::Result<Box<[u8]>> {
    let too_large = || io::Error::from_raw_os_error(libc::ENOMEM);
    let layout = Layout::array::<u8>(len_bytes).map_err(|_| too_large())?;
    if len_bytes == 0 {
        return Ok(Box::default());
    }
    // SAFETY: the layout is not empty.
    let pointer = may_fail(|| unsafe { std::alloc::alloc_zeroed(layout) });
    if pointer.is_null() {
        return Err(too_large());
    }
    let bytes = std::ptr::slice_from_raw_parts_mut(pointer, len_bytes);
    // SAFETY: the memory is from the global allocator, with the layout of such a box, and zeroed.
    Ok(unsafe { Box::from_raw(bytes) })
}

/// Has all threads allocate from one heap, which has `reserve_bytes` of addresses from now on.
///
/// glibc gives each thread a heap of its own, up to eight a core, and each takes 64 MiB of
/// addresses, which `ulimit -v` counts. The stacks of threads, those that glibc makes among them,
/// could otherwise take what the next small allocation needs.
#[cfg(target_env = "gnu")]
pub fn share_one_heap(reserve_bytes: usize) {
    let pad = i32::try_from(reserve_bytes).unwrap_or(i32::MAX / 2);
    let settings = [
        (libc::M_ARENA_MAX, 1),
        (libc::M_TOP_PAD, pad),
        (libc::M_TRIM_THRESHOLD, pad.saturating_mul(2)),
    ];
    for (setting, value) in settings {
        // SAFETY: the call takes numbers, and only sets a number of glibc's.
        let _is_set = unsafe { libc::mallopt(setting, value) };
    }
    // More than the heap has and less than what gets a mapping of its own makes it grow.
    drop([zeroed(HEAP_STEP_BYTES), zeroed(HEAP_STEP_BYTES)]);
}

/// musl has one heap anyway.
#[cfg(not(target_env = "gnu"))]
pub fn share_one_heap(_reserve_bytes: usize) {}

/// Below glibc's `M_MMAP_THRESHOLD` of 128 KiB, and two of them above its first heap of 132 KiB.
#[cfg(target_env = "gnu")]
const HEAP_STEP_BYTES: usize = 100 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri allocates all of it and aborts")]
    fn memory_that_is_not_there_is_an_error() {
        assert_eq!(*zeroed(3).unwrap(), [0; 3]);
        assert!(zeroed(0).unwrap().is_empty());
        for len_bytes in [usize::MAX, isize::MAX as usize, 1 << 60] {
            assert_eq!(zeroed(len_bytes).unwrap_err().raw_os_error(), Some(libc::ENOMEM));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri starts no process")]
    fn a_process_without_memory_says_so_once_and_gives_back_what_it_has() {
        // In a process of its own, which ends.
        if std::env::var_os("AIOCP_HAS_NO_MEMORY").is_some() {
            static ALLOCATOR: Allocator = Allocator::new("no memory\n");
            fn act() {
                println!("given back");
                // It has no more than the rest of the process.
                ALLOCATOR.checked(std::ptr::null_mut());
                println!("not said");
            }
            at_end(act);
            assert!(may_fail(|| ALLOCATOR.checked(std::ptr::null_mut())).is_null());
            ALLOCATOR.checked(std::ptr::null_mut());
        }
        let mut test = std::process::Command::new(std::env::current_exe().unwrap());
        let name = "sys::memory::tests::a_process_without_memory";
        test.args(["--test-threads=1", "--nocapture", name]).env("AIOCP_HAS_NO_MEMORY", "1");
        let output = test.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!((out.matches("given back").count(), out.contains("not said")), (1, false));
        assert_eq!(err.matches("no memory").count(), 1, "{err}");
    }
}
