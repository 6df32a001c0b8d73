//! What is neither a file, nor a directory, nor a symbolic link.

use std::fmt;

/// The kind of a special file, see inode(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpecialKind {
    /// A named pipe.
    Fifo,
    /// A socket of a Unix domain.
    Socket,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
    /// A socket or a device: open(2) refused it and tells no more.
    SocketOrDevice,
    /// A kind that this program does not know.
    Unknown,
}

impl SpecialKind {
    /// What it is called in a message.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fifo => "FIFO",
            Self::Socket => "socket",
            Self::BlockDevice => "block device",
            Self::CharacterDevice => "character device",
            Self::SocketOrDevice => "socket or device",
            Self::Unknown => "file of unknown kind",
        }
    }
}

impl fmt::Display for SpecialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
