//! Blocks that are read where they are hashed, since memory holds them already.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use super::outcome::Failure;
use crate::digest::{Leaf, LeafHasher, Mode};
use crate::error::{Cause, Operation};
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

/// The leaf of a block, and whether the page cache held all of it. What it did not hold is waited
/// for.
pub fn leaf(file: &OwnedFd, mode: &Mode, block: Block) -> Result<(Leaf, bool), Failure> {
    let Block { offset_bytes, len_bytes, file_bytes } = block;
    let failure = |cause| Failure::source(Operation::Read, offset_bytes, cause);
    let mut hasher = LeafHasher::new(mode, offset_bytes, file_bytes);
    let (mut done_bytes, mut was_cached) = (0, true);
    PIECE.with_borrow_mut(|piece| {
        while done_bytes < len_bytes {
            let len = (len_bytes - done_bytes).min(PIECE_BYTES as u64) as usize;
            let (piece, at) = (&mut piece[..len], offset_bytes + done_bytes);
            let mut count = fs::read_cached_at(file, piece, at).unwrap_or(0);
            if count < len {
                was_cached = false;
                let rest = fs::read_full_at(file, &mut piece[count..], at + count as u64);
                count += rest.map_err(|cause| failure(cause.into()))?;
            }
            if count < len {
                return Err(failure(Cause::SourceChanged));
            }
            hasher.update(piece);
            done_bytes += len as u64;
        }
        Ok((hasher.finish(len_bytes), was_cached))
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;
    use crate::digest;

    #[test]
    fn a_block_has_the_leaf_of_its_bytes_wherever_memory_holds_them() {
        let mut file = tempfile::tempfile_in(".").unwrap();
        let contents: Vec<u8> = (0..1_500_000u32).map(|n| (n / 7) as u8).collect();
        file.write_all(&contents).unwrap();
        file.sync_all().unwrap();
        let file: OwnedFd = File::into(file);
        let file_bytes = contents.len() as u64;
        for offset_bytes in [0, 1 << 20] {
            let len_bytes = (file_bytes - offset_bytes).min(1 << 20);
            let block = Block { offset_bytes, len_bytes, file_bytes };
            let bytes = &contents[offset_bytes as usize..][..len_bytes as usize];
            let wanted = digest::leaf(&Mode::Hash, bytes, offset_bytes, file_bytes);
            fs::drop_cache(&file);
            for _ in 0..2 {
                let (leaf, _) = leaf(&file, &Mode::Hash, block).unwrap();
                assert_eq!(format!("{leaf:?}"), format!("{wanted:?}"));
            }
            let behind = Block { len_bytes: len_bytes + 1, ..block };
            let failed = leaf(&file, &Mode::Hash, behind).is_err();
            assert_eq!(failed, offset_bytes > 0, "only the end of the file is one");
        }
    }
}
