//! The algorithms, by the names that their tools print.

use sha2::Digest;
use xxhash_rust::xxh3::Xxh3Default;

use crate::digest::{Hashing, Mode, Output, Serial};

/// A hash algorithm that manifests come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// BLAKE3, as `b3sum` prints it.
    Blake3,
    /// SHA-256, as `sha256sum` prints it.
    Sha256,
    /// SHA-1, as `sha1sum` prints it.
    Sha1,
    /// MD5, as `md5sum` prints it.
    Md5,
    /// XXH3 with 128 bits, as `xxhsum -H128` prints it.
    Xxh128,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Blake3, Self::Sha256, Self::Sha1, Self::Md5, Self::Xxh128];

    /// What a tagged line begins with.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Blake3 => "BLAKE3",
            Self::Sha256 => "SHA256",
            Self::Sha1 => "SHA1",
            Self::Md5 => "MD5",
            Self::Xxh128 => "XXH128",
        }
    }

    /// How many bytes its hash has.
    pub fn hash_bytes(self) -> usize {
        match self {
            Self::Blake3 | Self::Sha256 => 32,
            Self::Sha1 => 20,
            Self::Md5 | Self::Xxh128 => 16,
        }
    }
}

/// An algorithm, and for BLAKE3 the mode.
#[derive(Clone, Debug)]
pub struct Function {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The mode of BLAKE3. Other algorithms have none.
    pub mode: Mode,
}

impl Function {
    /// How the pipeline computes it.
    pub fn hashing(&self) -> Hashing {
        match self.algorithm {
            Algorithm::Blake3 => Hashing::Tree(self.mode.clone()),
            _ => Hashing::Serial(self.serial()),
        }
    }

    /// A hasher for bytes from their first to their last.
    pub fn serial(&self) -> Box<dyn Serial> {
        match self.algorithm {
            Algorithm::Blake3 => Box::new(self.mode.hasher()),
            Algorithm::Sha256 => Box::new(Crypto(sha2::Sha256::new())),
            Algorithm::Sha1 => Box::new(Crypto(sha1::Sha1::new())),
            Algorithm::Md5 => Box::new(Crypto(md5::Md5::new())),
            Algorithm::Xxh128 => Box::new(Xxh3Default::new()),
        }
    }
}

impl Serial for blake3::Hasher {
    fn update(&mut self, bytes: &[u8]) {
        blake3::Hasher::update(self, bytes);
    }
    fn finish(&self) -> Output {
        Output::of(self)
    }
}

struct Crypto<D>(D);

impl<D: Digest + Clone + Send> Serial for Crypto<D> {
    fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn finish(&self) -> Output {
        Output::Fixed(self.0.clone().finalize().to_vec())
    }
}

impl Serial for Xxh3Default {
    fn update(&mut self, bytes: &[u8]) {
        Xxh3Default::update(self, bytes);
    }
    /// In the canonical form, which is big-endian.
    fn finish(&self) -> Output {
        Output::Fixed(self.digest128().to_be_bytes().to_vec())
    }
}
