//! The algorithms, by the names that their tools print.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use sha2::Digest;
use xxhash_rust::xxh3::Xxh3Default;

use crate::digest::{Hashing, Mode, Output, Serial};

/// A hash algorithm that manifests come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// BLAKE3, as `b3sum` prints it.
    Blake3,
    /// BLAKE2b, as `b2sum` prints it.
    Blake2b,
    /// SHA-512, as `sha512sum` prints it.
    Sha512,
    /// SHA-384, as `sha384sum` prints it.
    Sha384,
    /// SHA-256, as `sha256sum` prints it.
    Sha256,
    /// SHA-224, as `sha224sum` prints it.
    Sha224,
    /// SHA-1, as `sha1sum` prints it.
    Sha1,
    /// MD5, as `md5sum` prints it.
    Md5,
    /// XXH3 with 128 bits, as `xxhsum -H128` prints it.
    Xxh128,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Blake3,
        Self::Sha512,
        Self::Sha384,
        Self::Sha256,
        Self::Sha224,
        Self::Sha1,
        Self::Md5,
        Self::Blake2b,
        Self::Xxh128,
    ];

    /// What the command line calls it.
    pub fn name(self) -> String {
        self.tag().to_ascii_lowercase()
    }

    /// What a tagged line begins with.
    pub fn tag(self) -> &'static str {
        match self {
            Self::Blake3 => "BLAKE3",
            Self::Blake2b => "BLAKE2b",
            Self::Sha512 => "SHA512",
            Self::Sha384 => "SHA384",
            Self::Sha224 => "SHA224",
            Self::Sha256 => "SHA256",
            Self::Sha1 => "SHA1",
            Self::Md5 => "MD5",
            Self::Xxh128 => "XXH128",
        }
    }

    /// The tag of a hash of this length: a short one of BLAKE2b has its bits in its tag.
    pub fn tag_of(self, hash_bytes: u64) -> Cow<'static, str> {
        match self {
            Self::Blake2b if hash_bytes != self.hash_bytes() as u64 => {
                format!("{}-{}", self.tag(), 8 * hash_bytes).into()
            }
            _ => self.tag().into(),
        }
    }

    /// The algorithm and the bytes of the hashes that have this tag.
    pub fn of_tag(tag: &[u8]) -> Option<(Self, usize)> {
        let named = Self::ALL.into_iter().find(|algorithm| algorithm.tag().as_bytes() == tag);
        named.map(|algorithm| (algorithm, algorithm.hash_bytes())).or_else(|| {
            let bits = std::str::from_utf8(tag).ok()?.strip_prefix("BLAKE2b-")?;
            let bits: usize = bits.parse().ok()?;
            let is_length = Self::Blake2b.lengths_bytes().contains(&(bits / 8));
            (bits.is_multiple_of(8) && is_length).then_some((Self::Blake2b, bits / 8))
        })
    }

    /// How many bytes its hash has, if no other length is asked for.
    pub fn hash_bytes(self) -> usize {
        match self {
            Self::Blake2b | Self::Sha512 => 64,
            Self::Sha384 => 48,
            Self::Blake3 | Self::Sha256 => 32,
            Self::Sha224 => 28,
            Self::Sha1 => 20,
            Self::Md5 | Self::Xxh128 => 16,
        }
    }

    /// How many bytes a hash in an untagged line may have.
    pub fn lengths_bytes(self) -> RangeInclusive<usize> {
        match self {
            Self::Blake2b => 1..=self.hash_bytes(),
            _ => self.hash_bytes()..=self.hash_bytes(),
        }
    }
}

/// An algorithm and its parameters.
#[derive(Clone, Debug)]
pub struct Function {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// How many bytes the hash has. BLAKE2b computes another hash for each length; of BLAKE3 any
    /// part can be had.
    pub hash_bytes: usize,
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
            Algorithm::Blake2b => {
                let mut parameters = blake2b_simd::Params::new();
                Box::new(parameters.hash_length(self.hash_bytes).to_state())
            }
            Algorithm::Sha512 => Box::new(Crypto(sha2::Sha512::new())),
            Algorithm::Sha384 => Box::new(Crypto(sha2::Sha384::new())),
            Algorithm::Sha256 => Box::new(Crypto(sha2::Sha256::new())),
            Algorithm::Sha224 => Box::new(Crypto(sha2::Sha224::new())),
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

impl Serial for blake2b_simd::State {
    fn update(&mut self, bytes: &[u8]) {
        blake2b_simd::State::update(self, bytes);
    }
    fn finish(&self) -> Output {
        Output::Fixed(self.finalize().as_bytes().to_vec())
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
