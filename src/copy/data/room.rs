//! Room for the data of a file, before any of it is written.

use std::io;

use crate::fs::{self, Target};

/// What is to be written into a target.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    pub size_bytes: u64,
    /// Whether zeros are left out of it.
    pub sparse: bool,
}

impl Room {
    /// Sets the size first, so that no write extends the file, and takes the space, so that a full
    /// disk is known before a byte is moved.
    ///
    /// What is written into keeps what it has until all the space is there. Only where zeros are
    /// left out it is emptied: what is left out has to be a hole.
    pub fn make(self, target: &Target) -> io::Result<()> {
        let (file, Self { size_bytes, sparse }) = (&**target.file(), self);
        if !target.is_in_place() {
            return self.extend(target);
        }
        let was_bytes = fs::stat(file)?.st_size as u64;
        if sparse {
            target.begin();
            fs::set_size(file, 0)?;
            return fs::set_size(file, size_bytes);
        }
        if was_bytes < size_bytes
            && let Err(cause) = self.extend(target)
        {
            if fs::set_size(file, was_bytes).is_err() {
                target.begin();
            }
            return Err(cause);
        }
        target.begin();
        Ok(())
    }

    fn extend(self, target: &Target) -> io::Result<()> {
        let file = &**target.file();
        if !self.sparse && fs::preallocation_helps(file) {
            return fs::preallocate(file, self.size_bytes);
        }
        fs::set_size(file, self.size_bytes)
    }
}
