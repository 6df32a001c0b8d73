//! BLAKE3 of a file whose blocks arrive in any order. Pure: no I/O, no threads.
//!
//! BLAKE3 is a tree over 1 KiB chunks (BLAKE3 paper, section 2.1). An aligned block of a power of
//! two bytes is a whole subtree. So it can be hashed alone to its *chaining value*, by its bytes
//! and its offset. The chaining values are then merged to the root, which is the hash of the file.

use std::fmt;

use blake3::hazmat::{
    self, ChainingValue, HasherExt, merge_subtrees_non_root, merge_subtrees_root_xof,
};
use blake3::{Hasher, OutputReader};

/// The 32 bytes that `b3sum` prints.
pub type Hash = [u8; 32];

/// The smallest block: one BLAKE3 chunk.
pub const BLOCK_BYTES_MIN: u64 = 1024;

/// Which of BLAKE3's three functions (BLAKE3 paper, section 2.3).
#[derive(Clone, Default)]
pub enum Mode {
    /// The hash of the bytes alone.
    #[default]
    Hash,
    /// The hash under a key.
    Keyed([u8; 32]),
    /// A key derived from the bytes, in the context whose key this is; see
    /// [`derive_key`](Self::derive_key).
    DeriveKey([u8; 32]),
}

impl Mode {
    /// Key derivation in a context that is unique to its application.
    pub fn derive_key(context: &str) -> Self {
        Self::DeriveKey(hazmat::hash_derive_key_context(context))
    }

    /// A hasher for bytes from their first to their last.
    pub fn hasher(&self) -> Hasher {
        match self {
            Self::Hash => Hasher::new(),
            Self::Keyed(key) => Hasher::new_keyed(key),
            Self::DeriveKey(context) => Hasher::new_from_context_key(context),
        }
    }

    fn hazmat(&self) -> hazmat::Mode<'_> {
        match self {
            Self::Hash => hazmat::Mode::Hash,
            Self::Keyed(key) => hazmat::Mode::KeyedHash(key),
            Self::DeriveKey(context) => hazmat::Mode::DeriveKeyMaterial(context),
        }
    }
}

/// Without the key, which is a secret.
impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hash => "Hash",
            Self::Keyed(_) => "Keyed",
            Self::DeriveKey(_) => "DeriveKey",
        })
    }
}

/// A hash that has to see a file's bytes in their order.
pub trait Serial: Send {
    /// Takes the next bytes.
    fn update(&mut self, bytes: &[u8]);
    /// The hash of all bytes so far.
    fn finish(&self) -> Output;
}

/// How a file is hashed.
#[derive(Default)]
pub enum Hashing {
    /// Not at all.
    #[default]
    No,
    /// As a tree, block by block in any order.
    Tree(Mode),
    /// Block after block.
    Serial(Box<dyn Serial>),
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => f.write_str("No"),
            Self::Tree(mode) => f.debug_tuple("Tree").field(mode).finish(),
            Self::Serial(_) => f.write_str("Serial"),
        }
    }
}

/// What a whole file hashes to.
#[derive(Clone, Debug)]
pub enum Output {
    /// BLAKE3's 2^64 bytes, of which the first 32 are the hash.
    Extendable(OutputReader),
    /// The hash of another algorithm.
    Fixed(Vec<u8>),
}

impl Output {
    /// The output of a hasher that has seen all bytes.
    pub fn of(hasher: &Hasher) -> Self {
        Self::Extendable(hasher.finalize_xof())
    }

    /// The hash that `b3sum` prints.
    ///
    /// # Panics
    /// If it is of another algorithm.
    pub fn hash(&self) -> Hash {
        match self {
            Self::Extendable(_) => self.bytes(0, 32).try_into().expect("32 were asked for"),
            Self::Fixed(_) => panic!("the hash is BLAKE3's"),
        }
    }

    /// `len_bytes` of the output from byte `seek_bytes` on. A fixed output may have fewer.
    pub fn bytes(&self, seek_bytes: u64, len_bytes: usize) -> Vec<u8> {
        match self {
            Self::Extendable(reader) => {
                let mut reader = reader.clone();
                reader.set_position(seek_bytes);
                let mut out = vec![0; len_bytes];
                reader.fill(&mut out);
                out
            }
            Self::Fixed(bytes) => {
                bytes.iter().copied().skip(seek_bytes as usize).take(len_bytes).collect()
            }
        }
    }
}

/// A block's chaining value, or the hash if it is the file's only block.
pub type LeafHash = [u8; 32];

/// What one block contributes.
#[derive(Clone, Debug)]
pub enum Leaf {
    /// Its chaining value.
    Inner(ChainingValue),
    /// The whole output, as it is the file's only block.
    Whole(Box<Output>),
}

impl Leaf {
    /// That of a block of `len_bytes`, which its hasher has seen.
    fn of(hasher: &Hasher, len_bytes: u64, file_bytes: u64) -> Self {
        if len_bytes == file_bytes {
            Self::Whole(Box::new(Output::of(hasher)))
        } else {
            Self::Inner(hasher.finalize_non_root())
        }
    }
}

/// Hashes one block that starts at `offset_bytes` of a file of `file_bytes`.
///
/// The offset is a multiple of the block size, which is a power of two of at least
/// [`BLOCK_BYTES_MIN`]. Only the file's last block may be short, and only an empty file has an
/// empty one. Takes as long as hashing takes: 0.1 to 0.4 ms a MiB.
pub fn leaf(mode: &Mode, block: &[u8], offset_bytes: u64, file_bytes: u64) -> Leaf {
    let mut hasher = mode.hasher();
    hasher.set_input_offset(offset_bytes).update(block);
    Leaf::of(&hasher, block.len() as u64, file_bytes)
}

/// The [`leaf`] of a block of `len_bytes` zeros, without a buffer of that size.
pub fn leaf_of_zeros(mode: &Mode, len_bytes: u64, offset_bytes: u64, file_bytes: u64) -> Leaf {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut hasher = mode.hasher();
    hasher.set_input_offset(offset_bytes);
    let mut left = len_bytes;
    while left > 0 {
        let step = left.min(ZEROS.len() as u64);
        hasher.update(&ZEROS[..step as usize]);
        left -= step;
    }
    Leaf::of(&hasher, len_bytes, file_bytes)
}

/// The leaves of one file, taken in any order.
#[derive(Debug)]
pub struct Tree {
    mode: Mode,
    values: Vec<ChainingValue>,
    whole: Option<Box<Output>>,
}

impl Tree {
    /// A tree of this many blocks. It takes 32 bytes a block.
    pub fn new(mode: Mode, block_count: u64) -> Self {
        Self { mode, values: vec![[0; 32]; block_count as usize], whole: None }
    }

    /// Which function it computes.
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// Takes one block's leaf.
    pub fn put(&mut self, block: u64, leaf: Leaf) {
        match leaf {
            Leaf::Inner(value) => self.values[block as usize] = value,
            Leaf::Whole(output) => self.whole = Some(output),
        }
    }

    /// The leaves in the file's order. One that was never put is all zero.
    pub fn leaves(&self) -> Vec<LeafHash> {
        self.whole.as_ref().map_or_else(|| self.values.clone(), |output| vec![output.hash()])
    }

    /// Merges the leaves of all blocks.
    ///
    /// # Panics
    /// With one block whose leaf was never put.
    pub fn output(self) -> Output {
        let Self { mode, values, whole } = self;
        if let Some(output) = whole {
            return *output;
        }
        assert!(values.len() > 1, "the one leaf of a file was put");
        let (left, right) = values.split_at(left_count(values.len()));
        Output::Extendable(merge_subtrees_root_xof(
            &subtree(left, &mode),
            &subtree(right, &mode),
            mode.hazmat(),
        ))
    }
}

fn subtree(values: &[ChainingValue], mode: &Mode) -> ChainingValue {
    match values {
        [only] => *only,
        _ => {
            let (left, right) = values.split_at(left_count(values.len()));
            merge_subtrees_non_root(&subtree(left, mode), &subtree(right, mode), mode.hazmat())
        }
    }
}

/// The left side of a node is full: the largest power of two below `count`. For 5 leaves it is 4,
/// for 8 it is 4.
fn left_count(count: usize) -> usize {
    count.next_power_of_two() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..251u8).cycle().take(len).collect()
    }

    fn modes() -> [Mode; 3] {
        [Mode::Hash, Mode::Keyed([7; 32]), Mode::derive_key("aiocp 2026 a test")]
    }

    #[test]
    fn blocks_of_any_size_give_the_output_of_the_whole() {
        for len in [0, 1, 1023, 1024, 1025, 2048, 4096, 5000, 8192, 12_345, 65_536, 65_537, 102_400]
        {
            // Miri needs a second a KiB.
            if cfg!(miri) && !matches!(len, 0 | 1025) {
                continue;
            }
            let file = bytes(len);
            for (block, mode) in [1024, 2048, 4096, 65_536, 1 << 20]
                .into_iter()
                .flat_map(|b| modes().map(|m| (b, m)))
            {
                if cfg!(miri) && block > 1024 {
                    break;
                }
                let mut want = [0; 200];
                let mut reader = mode.hasher().update(&file).finalize_xof();
                reader.set_position(77);
                reader.fill(&mut want);
                let mut offsets: Vec<usize> = (0..len.max(1)).step_by(block).collect();
                offsets.reverse();
                let mut tree = Tree::new(mode.clone(), offsets.len() as u64);
                for offset in offsets {
                    let part = &file[offset..len.min(offset + block)];
                    tree.put((offset / block) as u64, leaf(&mode, part, offset as u64, len as u64));
                }
                let output = tree.output();
                assert_eq!(
                    output.bytes(77, 200),
                    want,
                    "{len} bytes in blocks of {block}, {mode:?}"
                );
                assert_eq!(output.hash(), *mode.hasher().update(&file).finalize().as_bytes());
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri takes minutes for a MiB")]
    fn zeros_hash_like_a_buffer_of_zeros() {
        let value = |leaf| match leaf {
            Leaf::Inner(value) => value,
            Leaf::Whole(output) => output.hash(),
        };
        for (len, offset, file) in [
            (0, 0, 0),
            (5, 0, 5),
            (65_536, 0, 65_537),
            (1 << 20, 1 << 20, 5 << 20),
            (7, 1 << 20, (1 << 20) + 7),
        ] {
            for mode in modes() {
                let zeros = leaf(&mode, &vec![0; len as usize], offset, file);
                assert_eq!(value(leaf_of_zeros(&mode, len, offset, file)), value(zeros));
            }
        }
    }
}
