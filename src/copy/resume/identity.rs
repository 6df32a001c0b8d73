//! Which copy a journal belongs to, and where it may lie.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::format::Binding;

/// What a journal belongs to, and where it may lie.
pub struct JournalIdentity {
    /// Stands in the names of the journal and of temporaries, so that other copies into the same
    /// folder have theirs.
    pub id: u64,
    /// Source, destination and options.
    pub binding: Binding,
    /// The folders where the journal may lie, the best first.
    pub places: Vec<JournalPlace>,
    /// What recorded paths are relative to.
    pub base: PathBuf,
}

/// A folder where the journal may lie.
pub struct JournalPlace {
    /// The folder.
    pub folder: PathBuf,
    /// Whether the copy sets the folder's times, which the journal's removal must not change then.
    pub is_copied: bool,
}

impl JournalIdentity {
    /// The name of the journal.
    pub fn journal_name(&self) -> OsString {
        format!(".aiocp-journal-{:016x}", self.id).into()
    }

    /// Where the journal lies in one of the places.
    pub fn path(&self, place: usize) -> PathBuf {
        self.places[place].folder.join(self.journal_name())
    }

    /// Whether a run was interrupted here.
    pub fn has_journal(&self) -> bool {
        (0..self.places.len()).any(|place| self.path(place).symlink_metadata().is_ok())
    }

    /// The name of the temporary of a big file, which the next run finds again.
    pub fn temporary_name(&self, name: &OsStr) -> OsString {
        let hash =
            blake3::Hasher::new().update(&self.id.to_le_bytes()).update(name.as_bytes()).finalize();
        let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        format!(".aiocp-{:016x}", u64::from_be_bytes(*first)).into()
    }
}
