//! What the journal of `--resume` says, as bytes. Pure: it opens nothing.
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

use std::io::{self, Read};

use super::manner::Manner;
use crate::digest::{Hash, LeafHash};
use crate::fs::Settled;
use crate::tree::Kept;

const FAMILY: &[u8] = b"aiocp journal ";
const MAGIC: [u8; 16] = *b"aiocp journal 3\n";

/// The bytes of a header.
pub const HEADER_BYTES: usize = 16 + 32 + 32 + 16;

/// Longer frames are none: the longest path and the leaves of a part have room in it, and reading
/// takes no more memory than this.
const FRAME_BYTES_MAX: u32 = 64 << 20;

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

/// What a journal is sealed with: 16 random bytes, and 16 that prove which file it was made in.
pub type JournalKey = [u8; 32];

/// What source, destination and options a journal belongs to.
pub type Binding = [u8; 32];

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

/// Whether a file that holds only these bytes is a header that was not written to its end.
pub fn is_torn_header(bytes: &[u8]) -> bool {
    bytes.len() < HEADER_BYTES && (MAGIC.starts_with(bytes) || bytes.starts_with(&MAGIC))
}

/// Why nothing of a journal can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is no journal, or its header is torn or changed.
    Damaged,
    /// Another version wrote it.
    OtherVersion,
    /// It speaks of other trees or of other options.
    OtherTrees,
}

/// The state of writing or reading: the key, and the last seal.
pub struct Chain {
    key: [u8; 32],
    last: Fingerprint,
}

impl Chain {
    /// A new journal under a random `key`, and its header.
    pub fn begin(key: JournalKey, binding: &Binding) -> (Self, Vec<u8>) {
        let last = seal(&key, &[0; 16], &[&MAGIC, binding]);
        (Self { key, last }, [&MAGIC[..], &key, binding, &last].concat())
    }

    /// Reads a header.
    pub fn open(header: &[u8], binding: &Binding) -> Result<Self, Unusable> {
        if let Some(version) = header.strip_prefix(FAMILY)
            && !MAGIC[FAMILY.len()..].starts_with(&version[..version.len().min(2)])
        {
            return Err(Unusable::OtherVersion);
        }
        let key =
            header.get(16..48).and_then(|key| key.try_into().ok()).ok_or(Unusable::Damaged)?;
        let stored: &Binding =
            header.get(48..80).and_then(|bytes| bytes.try_into().ok()).ok_or(Unusable::Damaged)?;
        let (chain, expected) = Self::begin(key, stored);
        match header {
            _ if header != expected => Err(Unusable::Damaged),
            _ if stored != binding => Err(Unusable::OtherTrees),
            _ => Ok(chain),
        }
    }

    /// What [`fingerprint`] needs.
    pub fn key(&self) -> JournalKey {
        self.key
    }

    /// Appends records to `out`, in one frame.
    pub fn append(&mut self, records: &[Record], out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        for record in records {
            let body = record.encode();
            payload.extend_from_slice(&length(&body));
            payload.extend_from_slice(&body);
        }
        let len = length(&payload);
        self.last = seal(&self.key, &self.last, &[&len, &payload]);
        out.extend_from_slice(&len);
        out.extend_from_slice(&payload);
        out.extend_from_slice(&self.last);
    }

    /// Reads the next frame of `journal`, of which `left_bytes` are left. Nothing at the end, and
    /// nothing from the first byte on that is not what was written.
    pub fn next(&mut self, journal: &mut impl Read, left_bytes: u64) -> io::Result<Option<Frame>> {
        const AROUND_BYTES: u64 = 4 + 16;
        if left_bytes < AROUND_BYTES {
            return Ok(None);
        }
        let mut len = [0; 4];
        journal.read_exact(&mut len)?;
        let len_bytes = AROUND_BYTES + u64::from(u32::from_le_bytes(len));
        if len_bytes > left_bytes || u32::from_le_bytes(len) > FRAME_BYTES_MAX {
            return Ok(None);
        }
        let mut payload = vec![0; u32::from_le_bytes(len) as usize];
        let mut stored = [0; 16];
        journal.read_exact(&mut payload)?;
        journal.read_exact(&mut stored)?;
        if seal(&self.key, &self.last, &[&len, &payload]) != stored {
            return Ok(None);
        }
        if records(&payload).any(|record| record.is_none()) {
            return Ok(None);
        }
        self.last = stored;
        Ok(Some(Frame { payload, len_bytes }))
    }
}

/// What was written at once.
#[derive(Debug)]
pub struct Frame {
    payload: Vec<u8>,
    /// What all of it takes.
    pub len_bytes: u64,
}

impl Frame {
    /// The records, each with the place in the frame where its length stands.
    pub fn records(&self) -> impl Iterator<Item = (u64, Record)> {
        records(&self.payload).flatten()
    }
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len())
        .expect("what is written at once is far smaller than 4 GiB")
        .to_le_bytes()
}

/// The records of a frame, with their places in it, and nothing from the first on that is none of
/// ours.
fn records(payload: &[u8]) -> impl Iterator<Item = Option<(u64, Record)>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        // Behind the frame's own length.
        let at = 4 + payload.len() - rest.len();
        let (body, behind) = split_record(rest).unwrap_or_default();
        rest = behind;
        Some(Record::decode(body).map(|record| (at as u64, record)))
    })
}

fn split_record(mut bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = u32::from_le_bytes(take(&mut bytes)?);
    bytes.split_at_checked(len as usize)
}

/// 16 bytes that stand for `parts` in the journal with this key.
pub fn fingerprint(key: &[u8; 32], parts: &[&[u8]]) -> Fingerprint {
    seal(key, b"what is compared", parts)
}

/// The first half of BLAKE3 under `key`; the parts are kept apart by their lengths.
fn seal(key: &[u8; 32], before: &Fingerprint, parts: &[&[u8]]) -> Fingerprint {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(before);
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
    }
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}

impl Record {
    fn encode(&self) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::options::Options;

    const BINDING: Binding = [9; 32];

    fn records() -> Vec<Record> {
        let name = [1; 16];
        let finished = |standing, kept, hash| {
            Record::Finished(Finished {
                name,
                source: Look { key: [2; STAT_KEY_BYTES], settled: Settled::LONG },
                target: Look { key: [3; STAT_KEY_BYTES], settled: Settled::NEVER },
                standing,
                kept,
                hash,
            })
        };
        vec![
            finished(Standing::Settled, Kept::All, Some([4; 32])),
            Record::Begun(Begun {
                name,
                source: Look { key: [5; STAT_KEY_BYTES], settled: Settled::LONG },
                temporary: u64::MAX,
                block_bytes: 1 << 20,
                path: b"a/\xff\n".into(),
            }),
            Record::Reached(Reached { name, first_block: 7, leaves: vec![[8; 32]; 3] }),
            finished(Standing::Linked, Kept::Part, None),
            finished(Standing::Unnamed, Kept::All, Some([6; 32])),
            Record::Manner(Manner::of(&Options::default())),
            Record::Reached(Reached { name, first_block: 10, leaves: Vec::new() }),
            Record::Doubted,
            Record::Opened(DirOpened { name, mode: 0o2555 }),
        ]
    }

    /// Some frames have one record, some have two, and one has none.
    fn journal() -> Vec<u8> {
        let (mut chain, mut bytes) = Chain::begin([7; 32], &BINDING);
        let records = records();
        for frame in [0..1, 1..3, 3..3, 3..4, 4..5, 5..7, 7..9] {
            chain.append(&records[frame], &mut bytes);
        }
        bytes
    }

    /// What is believed of a journal, and up to which byte.
    fn read(bytes: &[u8]) -> Result<(Vec<Record>, usize), Unusable> {
        let header = &bytes[..bytes.len().min(HEADER_BYTES)];
        let mut chain = Chain::open(header, &BINDING)?;
        let (mut rest, mut at, mut found) = (&bytes[HEADER_BYTES..], HEADER_BYTES, Vec::new());
        while let Some(frame) = chain.next(&mut rest, (bytes.len() - at) as u64).unwrap() {
            for (place, record) in frame.records() {
                let body = &bytes[at + place as usize..][..4 + record.encode().len()];
                assert_eq!(body[4..], record.encode(), "where it is said to stand");
                found.push(record);
            }
            at += frame.len_bytes as usize;
            rest = &bytes[at..];
        }
        Ok((found, at))
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = journal();
        assert_eq!(read(&bytes), Ok((records(), bytes.len())));
    }

    #[test]
    fn cut_at_any_byte_the_whole_frames_before_it_are_believed() {
        let bytes = journal();
        for cut in 0..bytes.len() {
            match read(&bytes[..cut]) {
                Ok((found, end)) => {
                    assert!(
                        found == records()[..found.len()]
                            && end <= cut
                            && found.len() < records().len(),
                        "{cut}"
                    )
                }
                Err(why) => {
                    assert!(cut < HEADER_BYTES && why == Unusable::Damaged, "{cut}: {why:?}")
                }
            }
        }
    }

    #[test]
    fn nothing_behind_a_changed_bit_is_believed() {
        let bytes = journal();
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            match read(&changed) {
                Ok((found, end)) => {
                    assert!(found == records()[..found.len()] && end <= bit / 8, "bit {bit}")
                }
                Err(why) => assert!(
                    bit / 8 < HEADER_BYTES && why != Unusable::OtherTrees,
                    "bit {bit}: {why:?}"
                ),
            }
        }
    }

    #[test]
    fn frames_of_another_journal_or_in_another_order_are_noticed() {
        let bytes = journal();
        let (mut other, mut header) = Chain::begin([8; 32], &BINDING);
        header.extend_from_slice(&bytes[HEADER_BYTES..]);
        assert_eq!(read(&header), Ok((Vec::new(), HEADER_BYTES)));
        other.append(&records()[..1], &mut header);
        let (_, first) = read(&bytes[..bytes.len() - 1]).unwrap();
        let without_first = [&bytes[..HEADER_BYTES], &bytes[first..]].concat();
        assert_eq!(read(&without_first).unwrap().0, []);
    }

    #[test]
    fn what_follows_a_sealed_frame_that_is_none_of_ours_is_sealed_over_what_came_before() {
        let (mut chain, mut bytes) = Chain::begin([7; 32], &BINDING);
        chain.append(&records()[..1], &mut bytes);
        let whole = bytes.len();
        let bodies: [&[u8]; 4] = [&[9; 40], &[1, 0, 0, 0, 9], &[255; 4], &[0; 3]];
        for payload in bodies {
            let len = length(payload);
            let forged =
                [&len[..], payload, &seal(&[7; 32], &chain.last, &[&len, payload])].concat();
            let forged = [&bytes[..], &forged].concat();
            assert_eq!(read(&forged), Ok((records()[..1].to_vec(), whole)), "{payload:?}");
        }
        let mut reader = &bytes[HEADER_BYTES..];
        let mut reading = Chain::open(&bytes[..HEADER_BYTES], &BINDING).unwrap();
        let left_bytes = reader.len() as u64;
        assert!(reading.next(&mut reader, left_bytes).unwrap().is_some());
        let len = length(&[9; 40]);
        let forged = [&len[..], &[9; 40], &seal(&[7; 32], &chain.last, &[&len, &[9; 40]])].concat();
        assert!(reading.next(&mut &forged[..], forged.len() as u64).unwrap().is_none());
        reading.append(&records()[1..2], &mut bytes);
        assert_eq!(read(&bytes).unwrap().0, records()[..2]);
    }

    #[test]
    fn other_trees_and_other_versions_are_told_apart() {
        let bytes = journal();
        assert_eq!(Chain::open(&bytes[..HEADER_BYTES], &[1; 32]).err(), Some(Unusable::OtherTrees));
        for version in [b'2', b'4'] {
            let mut other = bytes.clone();
            other[FAMILY.len()] = version;
            assert_eq!(read(&other).err(), Some(Unusable::OtherVersion));
        }
        assert_eq!(read(b"").err(), Some(Unusable::Damaged));
    }
}
