//! The signal that an operation is over, to who waits for its eventfd(2).

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{FileType, fstat};

/// An eventfd(2) that blocks no one, with a counter of 0.
pub fn make() -> io::Result<OwnedFd> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    Ok(rustix::io::retry_on_intr(|| eventfd(0, flags))?)
}

/// Signals an eventfd(2) of an operation that ends without the kernel, which would have done it.
///
/// Any descriptor may have been given for an eventfd, and the operation refused for it. What has a
/// place in a filesystem, is a pipe, a socket or a device, is none and is not written to.
pub fn signal(eventfd: &OwnedFd) {
    let is_file = fstat(eventfd)
        .map_or(true, |stat| FileType::from_raw_mode(stat.st_mode) != FileType::Unknown);
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut fds = [PollFd::new(eventfd, PollFlags::OUT)];
    // One whose counter is full is readable already; writing to it would block.
    let mut has_room = || matches!(poll(&mut fds, Some(&now)), Ok(1));
    if !is_file && has_room() {
        // The kernel does not say either that it could not signal.
        let write = || rustix::io::write(eventfd, &1u64.to_ne_bytes());
        let _written = rustix::io::retry_on_intr(write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri knows no pipe's kind")]
    fn an_eventfd_is_signalled_and_nothing_else_is_written_to() {
        let count = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        signal(&count);
        signal(&count);
        let mut bytes = [0; 8];
        assert_eq!(rustix::io::read(&count, &mut bytes), Ok(8));
        assert_eq!(u64::from_ne_bytes(bytes), 2);
        // A full counter would block.
        let full = eventfd(0, EventfdFlags::CLOEXEC).unwrap();
        assert_eq!(rustix::io::write(&full, &(u64::MAX - 1).to_ne_bytes()), Ok(8));
        signal(&full);

        let mut file = tempfile::tempfile().unwrap();
        signal(&file.try_clone().unwrap().into());
        assert_eq!(std::io::Seek::stream_position(&mut file).unwrap(), 0);
        let (reader, writer) = std::io::pipe().unwrap();
        signal(&writer.into());
        assert_eq!(rustix::io::ioctl_fionread(&reader), Ok(0), "the pipe is empty");
        signal(&std::fs::File::open("/dev/null").unwrap().into());
    }
}
