//! Making files durable, also where fsync(2) is not available.

use std::io;
use std::os::fd::AsFd;

use crate::sys::call as fs;

use super::stat::stat;
use super::unavailable::is_unavailable;

/// fsync(2). Where that is not available, as of a folder on some filesystems, its whole filesystem
/// is synced.
pub fn sync_file(file: impl AsFd) -> io::Result<()> {
    Syncs::default().sync_file(file)
}

/// syncfs(2): all that was written to the filesystem of `file` becomes durable. Where that is not
/// available, sync(2) is, though it tells of no error.
pub fn sync_filesystem(file: impl AsFd) -> io::Result<()> {
    match fs::syncfs(file.as_fd()).map_err(io::Error::from) {
        Err(cause) if is_unavailable(&cause) => {
            fs::sync();
            Ok(())
        }
        synced => synced,
    }
}

/// Syncs of files all of which were written before the first of them.
#[derive(Default)]
pub struct Syncs {
    /// The devices of filesystems that were synced whole.
    whole: Vec<u64>,
}

impl Syncs {
    /// [`sync_file`]: each filesystem is synced whole once at most.
    pub fn sync_file(&mut self, file: impl AsFd) -> io::Result<()> {
        match fs::fsync(file.as_fd()).map_err(io::Error::from) {
            Err(cause) if is_unavailable(&cause) => {
                // A file that does not say where it is, is synced with all that is there.
                let device = stat(file.as_fd()).ok().map(|stat| stat.st_dev);
                if device.is_none_or(|device| !self.whole.contains(&device)) {
                    sync_filesystem(file)?;
                    self.whole.extend(device);
                }
                Ok(())
            }
            synced => synced,
        }
    }
}
