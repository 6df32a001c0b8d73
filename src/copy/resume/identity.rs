//! Which copy a journal belongs to, and where it may lie.

use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::chain::{Binding, JournalKey};
use crate::fs::{self, Birth, HIDDEN_PREFIX};

/// How many names the journal may have in a place.
const NAMES_MAX: usize = 8;

/// Where in the header the second half of the key is.
const PROOF: Range<usize> = 32..48;

/// Bits of it that may have been changed. Of two files, half of the 128 differ.
const CHANGED_BITS_MAX: u32 = 16;

/// What a journal belongs to, and where it may lie.
pub struct JournalIdentity {
    /// Stands in the name of the journal and marks those of temporaries, so that other copies into
    /// the same folder have theirs.
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
    /// The directories whose entries are copied into it.
    pub sources: Vec<PathBuf>,
}

impl JournalIdentity {
    /// The names that the journal may have in one of the places, the best first. It has another
    /// where a file has one that is no journal of this copy.
    pub fn journal_names(&self) -> impl Iterator<Item = OsString> {
        let first = format!("{HIDDEN_PREFIX}journal-{:016x}", self.id);
        (0..NAMES_MAX).map(move |n| match n {
            0 => first.clone().into(),
            n => format!("{first}-{n}").into(),
        })
    }

    /// Whether an entry of the source is to have its copy under this name in this place.
    pub fn is_entry(&self, place: usize, name: &OsStr) -> bool {
        let JournalPlace { sources, .. } = &self.places[place];
        sources.iter().any(|source| source.join(name).symlink_metadata().is_ok())
    }

    /// The key of a new journal, which proves that its file was made for it: a copy of a journal
    /// has the contents of one, but is another file.
    pub fn new_key(&self, file: &Birth) -> io::Result<JournalKey> {
        let mut key = [0; 32];
        for part in key[..16].chunks_mut(8) {
            part.copy_from_slice(&fs::random()?.to_ne_bytes());
        }
        key[16..].copy_from_slice(&self.proof(file));
        Ok(key)
    }

    /// Whether this file was made for a journal of this copy that began with these bytes. Some of
    /// their bits may have been changed.
    pub fn is_proved(&self, header: &[u8], file: &Birth) -> bool {
        let Some(stored) = header.get(PROOF) else { return false };
        let proof = self.proof(file);
        let differing = stored.iter().zip(&proof).map(|(one, other)| (one ^ other).count_ones());
        differing.sum::<u32>() <= CHANGED_BITS_MAX
    }

    fn proof(&self, file: &Birth) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_derive_key("aiocp: the file of a journal");
        hasher.update(&self.id.to_le_bytes()).update(file.as_bytes());
        *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(id: u64, sources: Vec<PathBuf>) -> JournalIdentity {
        let place = JournalPlace { folder: PathBuf::new(), is_copied: true, sources };
        JournalIdentity { id, binding: [1; 32], places: vec![place], base: PathBuf::new() }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no statx")]
    fn a_journal_is_proved_by_the_file_that_it_was_made_in_also_where_a_byte_was_changed() {
        let birth = || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            fs::birth(tempfile::tempfile().unwrap()).unwrap()
        };
        let (own, other) = (birth(), birth());
        let one = identity(1, Vec::new());
        let header = |key: JournalKey| [&[0; 16][..], &key, &[0; 48]].concat();
        let bytes = header(one.new_key(&own).unwrap());
        assert!(one.is_proved(&bytes, &own));
        assert!(!one.is_proved(&bytes, &other));
        assert!(!identity(2, Vec::new()).is_proved(&bytes, &own));
        assert!(!one.is_proved(&bytes[..47], &own));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0xff;
            assert!(one.is_proved(&changed, &own), "byte {at}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no statx")]
    fn a_name_that_an_entry_of_the_source_has_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let identity = identity(1, vec![folder.path().to_owned()]);
        let names: Vec<_> = identity.journal_names().collect();
        let first = ".aiocp-journal-0000000000000001";
        assert_eq!(names[..2], [first, &format!("{first}-1")]);
        assert!(!identity.is_entry(0, &names[0]));
        std::os::unix::fs::symlink("nowhere", folder.path().join(first)).unwrap();
        assert!(identity.is_entry(0, &names[0]) && !identity.is_entry(0, &names[1]));
    }
}
