//! Blocks that are read where they are hashed, since memory holds them already.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use crate::digest::{Leaf, LeafHasher, Mode};
use crate::fs;

/// How much is read before it is hashed: what the caches of one core keep meanwhile.
const PIECE_BYTES: usize = 256 << 10;

thread_local! {
    /// Where a hasher reads.
    static PIECE: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE_BYTES]);
}

/// A block of a file.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    pub offset_bytes: u64,
    pub len_bytes: u64,
    /// The size of its file.
    pub file_bytes: u64,
}

/// The leaf of a block, unless memory does not hold all of it, or the filesystem does not say so.
/// Never waits for a device. Why a block cannot be read at all is found by who reads it next.
pub fn leaf(file: &OwnedFd, mode: &Mode, block: Block) -> Option<Leaf> {
    let Block { offset_bytes, len_bytes, file_bytes } = block;
    let mut hasher = LeafHasher::new(mode, offset_bytes, file_bytes);
    let mut done_bytes = 0;
    PIECE.with_borrow_mut(|piece| {
        while done_bytes < len_bytes {
            let len = (len_bytes - done_bytes).min(PIECE_BYTES as u64) as usize;
            let piece = &mut piece[..len];
            let count = fs::read_cached_at(file, piece, offset_bytes + done_bytes).ok()?;
            if count < len {
                return None;
            }
            hasher.update(piece);
            done_bytes += len as u64;
        }
        Some(hasher.finish(len_bytes))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::AsFd;

    use super::*;
    use crate::digest;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no preadv2")]
    fn a_block_in_memory_has_the_leaf_of_its_bytes_and_another_has_none() {
        let mut file = tempfile::tempfile_in(".").unwrap();
        let contents: Vec<u8> = (0..1_500_000u32).map(|n| (n / 7) as u8).collect();
        file.write_all(&contents).unwrap();
        file.sync_all().unwrap();
        let file: OwnedFd = File::into(file);
        if let Err(error) = fs::read_cached_at(&file, &mut [0], 0) {
            return eprintln!("SKIPPED: this filesystem does not read from memory alone: {error}");
        }
        let file_bytes = contents.len() as u64;
        for offset_bytes in [0, 1 << 20] {
            let len_bytes = (file_bytes - offset_bytes).min(1 << 20);
            let block = Block { offset_bytes, len_bytes, file_bytes };
            let bytes = &contents[offset_bytes as usize..][..len_bytes as usize];
            let wanted = digest::leaf(&Mode::Hash, bytes, offset_bytes, file_bytes);
            let found = leaf(&file, &Mode::Hash, block).expect("it was just written");
            assert_eq!(format!("{found:?}"), format!("{wanted:?}"));
        }
        let behind = Block { offset_bytes: 1 << 20, len_bytes: 1 << 20, file_bytes };
        assert!(leaf(&file, &Mode::Hash, behind).is_none(), "the file ends before");
        fs::drop_cache(&file);
        let first = Block { offset_bytes: 0, ..behind };
        // A filesystem may keep what it is advised to let go of.
        let is_gone = fs::cached_bytes(file.as_fd(), file_bytes) == Some(0);
        assert!(leaf(&file, &Mode::Hash, first).is_none() || !is_gone, "nothing is in memory");
    }
}
