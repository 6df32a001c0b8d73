//! What the journal of `--resume` says, as bytes; [`chain`](super::chain) seals it. Pure.
//!
//! ```text
//! header   "aiocp journal 3\n" · key (32 bytes) · binding (32) · seal (16)
//! frame    length of the records (u32) · records · seal (16)
//! record   length of the body (u32) · body
//! body     finished   1 · name (16) · source (53) · target (53) · standing (u8) · kept (u8)
//!                       · hash (32, or none)
//!          begun      2 · name (16) · source (53) · temporary (u64) · block size (u64) · path
//!          reached    3 · name (16) · first block (u64) · leaves (32 each)
//!          manner     4 · sparse, reflink, backups, replacing (u8 each) · suffix
//!          doubted    5
//!          opened     6 · name (16) · mode (u32)
//! ```
//!
//! What is finished was made in the manner that was recorded last before it, see [`Manner`].
//!
//! A frame is what is written at once. A seal is BLAKE3 under the journal's key over the seal
//! before it and what it seals, so that a frame that is torn, changed, moved or missing is noticed,
//! and nothing of it or behind it is believed. The key stands in the file: it keeps two journals
//! apart, and keeps out no one who may write the file. Such a one can have the contents of the
//! destination as well, and no record makes a copy touch anything outside of it.
//!
//! Paths of finished files are only ever compared, so that 16 bytes of BLAKE3 stand for them.
//! Numbers are little-endian.

use super::manner::Manner;
use crate::digest::{Hash, LeafHash};
use crate::fs::Settled;
use crate::tree::Kept;

/// What the record of a finished file takes at most, its length included.
pub const FINISHED_BYTES_MAX: usize = 4 + 1 + 16 + 2 * LOOK_BYTES + 2 + 32;

/// The bytes of a [`StatKey`].
pub const STAT_KEY_BYTES: usize = 52;

/// A file's stat as bytes: contents first, then mode and owner, then ctime. Comparing a prefix
/// ignores the later fields.
pub type StatKey = [u8; STAT_KEY_BYTES];

/// The bytes of a [`Look`].
const LOOK_BYTES: usize = STAT_KEY_BYTES + 1;

/// A look at a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// What was seen.
    pub key: StatKey,
    /// What that is worth.
    pub settled: Settled,
}

impl Look {
    fn encode(&self) -> [u8; LOOK_BYTES] {
        let mut bytes = [self.settled.to_byte(); LOOK_BYTES];
        bytes[..STAT_KEY_BYTES].copy_from_slice(&self.key);
        bytes
    }

    fn decode(body: &mut &[u8]) -> Option<Self> {
        let (key, [settled]) = (take(body)?, take(body)?);
        Some(Self { key, settled: Settled::from_byte(settled)? })
    }
}

/// A path, or a seal.
pub type Fingerprint = [u8; 16];

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Something stands under its final name and is durable.
    Finished(Finished),
    /// A big file has a temporary of its own.
    Begun(Begun),
    /// More blocks of the temporary are durable.
    Reached(Reached),
    /// How the run makes what is recorded from here on.
    Manner(Manner),
    /// What was finished until now may not have become durable: the last sync of all failed.
    Doubted,
    /// A directory's owner gets more rights in the next moment.
    Opened(DirOpened),
}

/// Something that needs no more copying while both sides are what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The path relative to the destination.
    pub name: Fingerprint,
    /// The source's state.
    pub source: Look,
    /// The destination's state.
    pub target: Look,
    /// What may yet become of the destination.
    pub standing: Standing,
    /// How much of its metadata is the source's and durable with its name. Where that is not all,
    /// the next run tries that again, and nothing else.
    pub kept: Kept,
    /// A regular file's hash.
    pub hash: Option<Hash>,
}

/// What may yet become of something finished, by which its change time changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing. Its change time is a part of its state, and only here.
    Settled,
    /// It may get more names. Its change time counts while it has a single one.
    Linked,
    /// It gets its name in the next moment. If something else is found there, it did not.
    Unnamed,
    /// What is missing of its metadata is tried once more in the next moment.
    Retried,
    /// It loses a name when it is closed, as some filesystems keep one that was removed until then;
    /// or it gets a hidden one, which becomes a further name or is removed.
    Closing,
}

impl Standing {
    const ALL: [Self; 5] =
        [Self::Settled, Self::Linked, Self::Unnamed, Self::Retried, Self::Closing];
}

/// The temporary of a big file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// The path relative to the destination.
    pub name: Fingerprint,
    /// The source's state.
    pub source: Look,
    /// The number that the temporary is known by: of its inode, or of its hidden name.
    pub temporary: u64,
    /// Bytes a block.
    pub block_bytes: u64,
    /// The path once more, in case no entry asks for the file.
    pub path: Vec<u8>,
}

/// Blocks of a temporary that are durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// The path relative to the destination.
    pub name: Fingerprint,
    /// The first of them, which is the next after those that were reached before.
    pub first_block: u64,
    /// Their chaining values.
    pub leaves: Vec<LeafHash>,
}

/// A directory whose owner has more rights for the time of the work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirOpened {
    /// The path relative to the destination.
    pub name: Fingerprint,
    /// Its mode before.
    pub mode: u32,
}

impl Record {
    /// Its body.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Finished(Finished { name, source, target, standing, kept, hash }) => {
                let hash = hash.as_ref().map_or(&[][..], |hash| hash);
                let (source, target) = (source.encode(), target.encode());
                let flags = [*standing as u8, u8::from(*kept == Kept::All)];
                [&[1][..], name, &source, &target, &flags, hash].concat()
            }
            Self::Begun(Begun { name, source, temporary, block_bytes, path }) => {
                let (number, block_bytes) = (temporary.to_le_bytes(), block_bytes.to_le_bytes());
                [&[2][..], name, &source.encode(), &number, &block_bytes, path].concat()
            }
            Self::Reached(Reached { name, first_block, leaves }) => {
                [&[3][..], name, &first_block.to_le_bytes(), leaves.as_flattened()].concat()
            }
            Self::Manner(manner) => [&[4][..], &manner.encode()].concat(),
            Self::Doubted => vec![5],
            Self::Opened(DirOpened { name, mode }) => {
                [&[6][..], name, &mode.to_le_bytes()].concat()
            }
        }
    }

    /// Nothing if it is none of ours.
    pub fn decode(body: &[u8]) -> Option<Self> {
        let mut body = body;
        let [kind] = take(&mut body)?;
        if kind == 4 {
            return Manner::decode(body).map(Self::Manner);
        }
        if kind == 5 {
            return body.is_empty().then_some(Self::Doubted);
        }
        let name = take(&mut body)?;
        match kind {
            1 => {
                let (source, target) = (Look::decode(&mut body)?, Look::decode(&mut body)?);
                let [standing, kept] = take(&mut body)?;
                let standing = *Standing::ALL.get(usize::from(standing))?;
                let kept = [Kept::Part, Kept::All].get(usize::from(kept)).copied()?;
                let hash = if body.is_empty() { None } else { Some(take(&mut body)?) };
                body.is_empty().then_some(Self::Finished(Finished {
                    name,
                    source,
                    target,
                    standing,
                    kept,
                    hash,
                }))
            }
            2 => {
                let source = Look::decode(&mut body)?;
                let (temporary, block_bytes) =
                    (u64::from_le_bytes(take(&mut body)?), u64::from_le_bytes(take(&mut body)?));
                let path = body.to_vec();
                Some(Self::Begun(Begun { name, source, temporary, block_bytes, path }))
            }
            3 => {
                let first_block = u64::from_le_bytes(take(&mut body)?);
                let (leaves, rest) = body.as_chunks();
                rest.is_empty()
                    .then(|| Self::Reached(Reached { name, first_block, leaves: leaves.to_vec() }))
            }
            6 => {
                let mode = u32::from_le_bytes(take(&mut body)?);
                body.is_empty().then_some(Self::Opened(DirOpened { name, mode }))
            }
            _ => None,
        }
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}
