//! An open file that operations share with others.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

/// An open file that operations share with whom else it belongs to: an `Arc<File>` or an
/// `Arc<OwnedFd>`. It stays open until the last of them lets go. A socket or a pipe is an
/// [`OwnedFd`] first, and what belongs to others, such as standard input, is
/// [cloned](BorrowedFd::try_clone_to_owned). So is a `&File`, or the file is shared from its
/// opening on: what is borrowed might be closed while the kernel works.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use linux_aio::{Op, OpKind};
/// use std::{fs::File, io, os::fd::{AsFd, OwnedFd}, os::unix::net::UnixStream, sync::Arc};
///
/// let file = Arc::new(File::open("/dev/null")?);
/// let op = Op::new(&file, OpKind::Fsync);
/// assert_eq!(Arc::strong_count(&file), 2);
/// let (socket, _other_end) = UnixStream::pair()?;
/// let op = Op::read(OwnedFd::from(socket), vec![0; 100], 0);
/// let op = Op::read(io::stdin().as_fd().try_clone_to_owned()?, vec![0; 100], 0);
/// # Ok(())
/// # }
/// ```
// No `AsFd` of others: it may name another descriptor the next time, or one that is closed then.
#[derive(Clone)]
pub struct SharedFd(Owner);

#[derive(Clone)]
enum Owner {
    Fd(Arc<OwnedFd>),
    File(Arc<File>),
}

/// The number alone: a `File` would ask the system for its path.
impl fmt::Debug for SharedFd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedFd").field(&self.as_raw_fd()).finish()
    }
}

impl SharedFd {
    /// One more descriptor of the same open file: dup(2), with `FD_CLOEXEC`. EMFILE or ENFILE when
    /// there are too many.
    ///
    /// ```
    /// use linux_aio::SharedFd;
    /// use std::{fs::File, os::fd::AsRawFd};
    ///
    /// let file = SharedFd::from(File::open("/dev/null")?);
    /// assert_ne!(file.as_raw_fd(), file.try_clone()?.as_raw_fd());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(self.as_fd().try_clone_to_owned()?.into())
    }
}

impl AsFd for SharedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Owner::Fd(fd) => fd.as_fd(),
            Owner::File(file) => file.as_fd(),
        }
    }
}

impl AsRawFd for SharedFd {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl From<Arc<OwnedFd>> for SharedFd {
    fn from(fd: Arc<OwnedFd>) -> Self {
        Self(Owner::Fd(fd))
    }
}

impl From<Arc<File>> for SharedFd {
    fn from(file: Arc<File>) -> Self {
        Self(Owner::File(file))
    }
}

impl From<&Arc<OwnedFd>> for SharedFd {
    fn from(fd: &Arc<OwnedFd>) -> Self {
        Arc::clone(fd).into()
    }
}

impl From<&Arc<File>> for SharedFd {
    fn from(file: &Arc<File>) -> Self {
        Arc::clone(file).into()
    }
}

impl From<OwnedFd> for SharedFd {
    fn from(fd: OwnedFd) -> Self {
        Arc::new(fd).into()
    }
}

impl From<File> for SharedFd {
    fn from(file: File) -> Self {
        Arc::new(file).into()
    }
}
