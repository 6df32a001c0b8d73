//! Which process this is, asked without a system call: a forked child has to notice that it is one,
//! at each use of what it inherited.
//!
//! A page under `MADV_WIPEONFORK` (madvise(2)) holds the process's number. The kernel gives a
//! forked child zeros in its place, however it was forked, and the child takes the next number. A
//! process id would cost a system call a look, and it is not unique. The first process of a PID
//! namespace has the id 1, and so has its child that is the first of the next namespace.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// The kernel takes a whole page, whatever its size is.
const PAGE_BYTES: usize = 4096;

/// The page, or none yet, or [`no_page`] where it cannot be had.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// The last number that was taken, by this process or by those that it comes from.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Stands for the page where it cannot be had. It is no address of a page, and is never
/// dereferenced.
fn no_page() -> *mut AtomicU64 {
    ptr::without_provenance_mut(align_of::<AtomicU64>())
}

/// The number of this process, not 0, which no process that it was forked from has.
pub fn process_number() -> u64 {
    // Acquire: with the release below, what the kernel mapped is there before it is read.
    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        page = publish(make_page());
    }
    if page == no_page() {
        return std::process::id().into();
    }
    // SAFETY: a page that was published is never unmapped; it is aligned, begins as zeros and is
    // reached only as this atomic.
    let number = unsafe { &*page };
    // Relaxed, here and below: nothing else is published with the number.
    match number.load(Ordering::Relaxed) {
        0 => {
            // A fork copies `LAST` as it stands, so that the child's next number is one that no
            // page had before the fork.
            let next = LAST.fetch_add(1, Ordering::Relaxed) + 1;
            // The second thread takes the number of the first.
            number
                .compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed)
                .map_or_else(|first| first, |_| next)
        }
        known => known,
    }
}

/// Makes the page that all threads use from now on. Without a lock: a fork would copy a lock that
/// another thread holds.
fn publish(made: *mut AtomicU64) -> *mut AtomicU64 {
    match PAGE.compare_exchange(ptr::null_mut(), made, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => made,
        Err(first) => {
            if made != no_page() {
                // SAFETY: this thread has mapped it, and no other one has seen it.
                let result = unsafe { libc::munmap(made.cast(), PAGE_BYTES) };
                debug_assert_eq!(result, 0, "munmap of our own mapping");
            }
            first
        }
    }
}

/// Maps a page that a forked child finds empty. Linux has these since 4.14; Miri has none.
fn make_page() -> *mut AtomicU64 {
    if cfg!(miri) {
        return no_page();
    }
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches no existing memory.
    let page = unsafe { libc::mmap(ptr::null_mut(), PAGE_BYTES, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return no_page();
    }
    // SAFETY: the range is the mapping just made, and the advice changes only what a forked child
    // finds in it.
    if unsafe { libc::madvise(page, PAGE_BYTES, libc::MADV_WIPEONFORK) } == 0 {
        return page.cast();
    }
    // SAFETY: no other thread knows the mapping.
    let result = unsafe { libc::munmap(page, PAGE_BYTES) };
    debug_assert_eq!(result, 0, "munmap of our own mapping");
    no_page()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_of_a_process_have_one_number() {
        let numbers = [(); 8]
            .map(|()| std::thread::spawn(process_number))
            .map(|thread| thread.join().unwrap());
        assert_eq!(numbers, [process_number(); 8]);
        assert_ne!(numbers[0], 0);
    }
}
