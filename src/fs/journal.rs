//! What a filesystem keeps of the order in which it was changed, when the power fails.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use crate::sys::call::{major, minor};

use super::facts::{BTRFS_MAGIC, EXT4_MAGIC, RAMFS_MAGIC, TMPFS_MAGIC, XFS_MAGIC};
use super::facts::{filesystem_magic, kernel_is};
use super::stat;

/// What becomes durable with a directory that is synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// All that was done before the directory was last changed (ext4 with a journal, xfs); or
    /// nothing ever, since it is memory.
    Ordered,
    /// Its names, and what was made with them (btrfs). What was done to that later may not be.
    Names,
    /// The same, but of files that had a name when they were synced. The fsync of a file without a
    /// name keeps nothing of it (btrfs before Linux 6.16).
    Linked,
    /// Its names alone: what a new one leads to may still say that it has none. So it is on ext2,
    /// on ext4 without a journal, and on ext4 that does not show its journal.
    None,
    /// It is unknown what.
    Unknown,
}

impl Journal {
    /// Asks for the kind of the filesystem that holds `file`. Without an answer it is unknown.
    pub fn of(file: impl AsFd) -> Self {
        match filesystem_magic(file.as_fd()) {
            Ok(XFS_MAGIC | TMPFS_MAGIC | RAMFS_MAGIC) => Self::Ordered,
            // The kernel's commit 5e85262e542d. Where it came to an older one, this is only slower.
            Ok(BTRFS_MAGIC) if kernel_is(6, 16).unwrap_or(false) => Self::Names,
            Ok(BTRFS_MAGIC) => Self::Linked,
            Ok(EXT4_MAGIC) if has_journal(file).unwrap_or(false) => Self::Ordered,
            Ok(EXT4_MAGIC) => Self::None,
            _ => Self::Unknown,
        }
    }

    /// Whether the name of a file that was synced before it got that is kept with its directory,
    /// and the file with it.
    pub fn keeps_new_names(self) -> bool {
        matches!(self, Self::Ordered | Self::Names | Self::Linked)
    }
}

/// Whether the ext4 filesystem that holds `file` has a task that writes its journal.
fn has_journal(file: impl AsFd) -> io::Result<bool> {
    let device = stat(file)?.st_dev;
    let link = format!("/sys/dev/block/{}:{}", major(device), minor(device));
    let device = std::fs::read_link(link)?;
    let name = device.file_name().unwrap_or(OsStr::new(""));
    let task = Path::new("/sys/fs/ext4").join(name).join("journal_task");
    Ok(is_task(&std::fs::read_to_string(task)?))
}

/// The kernel says `<none>`, or the number of a task, which is 0 outside of its namespace.
fn is_task(text: &str) -> bool {
    text.trim_end().parse::<u32>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_number_is_a_task() {
        for (text, is) in [("257\n", true), ("0\n", true), ("<none>\n", false), ("", false)] {
            assert_eq!(is_task(text), is, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_filesystem_of_a_device_keeps_nothing_or_is_unknown() {
        let journal = |path| Journal::of(std::fs::File::open(path).unwrap());
        assert_eq!(journal("/proc"), Journal::Unknown);
        if std::fs::File::open("/dev/shm")
            .is_ok_and(|shm| filesystem_magic(shm).is_ok_and(|magic| magic == TMPFS_MAGIC))
        {
            assert_eq!(journal("/dev/shm"), Journal::Ordered);
        }
    }
}
