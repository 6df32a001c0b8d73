//! The frames of a journal, each sealed over the one before it; [`format`](super::format) says what
//! stands in them. Pure: it opens nothing.

use std::io::{self, Read};

use super::format::{Fingerprint, Record};

const FAMILY: &[u8] = b"aiocp journal ";
const MAGIC: [u8; 16] = *b"aiocp journal 3\n";

/// The bytes of a header.
pub const HEADER_BYTES: usize = 16 + 32 + 32 + 16;

/// What a frame takes around its records.
const AROUND_BYTES: u64 = 4 + 16;

/// What stands before a frame's records where its seal is made: the seal before, and two lengths
/// with their own.
const SEALED_BEFORE_BYTES: usize = 16 + 8 + 4 + 8;

/// Longer frames are none: the longest path and the leaves of a part have room in it.
const FRAME_BYTES_MAX: u32 = 64 << 20;

/// What a journal is sealed with: 16 random bytes, and 16 that prove which file it was made in.
pub type JournalKey = [u8; 32];

/// What source, destination and options a journal belongs to.
pub type Binding = [u8; 32];

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

    /// Reads the frames of `journal`, of which `left_bytes` are left, and gives each to `found`. It
    /// ends before the first byte that is not what was written.
    pub fn read(
        &mut self,
        journal: &mut impl Read,
        mut left_bytes: u64,
        mut found: impl FnMut(Frame),
    ) -> io::Result<()> {
        while let Some(sealed) = Sealed::read(journal, left_bytes, &self.last)? {
            let Some(frame) = sealed.open(&self.key) else { break };
            self.last = sealed.seal;
            left_bytes -= frame.len_bytes;
            found(frame);
        }
        Ok(())
    }
}

/// A frame as it stands in the journal.
struct Sealed {
    /// What the seal is made of: the seal before, and the parts with their lengths, see [`seal`].
    /// It is one piece, so that BLAKE3 hashes its chunks side by side.
    sealed: Vec<u8>,
    seal: Fingerprint,
}

impl Sealed {
    /// Reads the next one, which the seal `before` stands in front of, unless what is left cannot
    /// be one.
    fn read(
        journal: &mut impl Read,
        left_bytes: u64,
        before: &Fingerprint,
    ) -> io::Result<Option<Self>> {
        if left_bytes < AROUND_BYTES {
            return Ok(None);
        }
        let mut len = [0; 4];
        journal.read_exact(&mut len)?;
        let payload_bytes = u32::from_le_bytes(len);
        if AROUND_BYTES + u64::from(payload_bytes) > left_bytes || payload_bytes > FRAME_BYTES_MAX {
            return Ok(None);
        }
        let mut sealed = Vec::with_capacity(SEALED_BEFORE_BYTES + payload_bytes as usize);
        sealed.extend_from_slice(before);
        sealed.extend_from_slice(&(len.len() as u64).to_le_bytes());
        sealed.extend_from_slice(&len);
        sealed.extend_from_slice(&u64::from(payload_bytes).to_le_bytes());
        sealed.resize(SEALED_BEFORE_BYTES + payload_bytes as usize, 0);
        journal.read_exact(&mut sealed[SEALED_BEFORE_BYTES..])?;
        let mut seal = [0; 16];
        journal.read_exact(&mut seal)?;
        Ok(Some(Self { sealed, seal }))
    }

    fn payload(&self) -> &[u8] {
        &self.sealed[SEALED_BEFORE_BYTES..]
    }

    /// What it holds, if it was written behind what has the seal that it was read behind.
    fn open(&self, key: &JournalKey) -> Option<Frame> {
        let is_whole = blake3::keyed_hash(key, &self.sealed).as_bytes()[..16] == self.seal;
        let records = if is_whole { records(self.payload()).collect() } else { None };
        let len_bytes = AROUND_BYTES + self.payload().len() as u64;
        records.map(|records| Frame { records, len_bytes })
    }
}

/// What was written at once.
#[derive(Debug)]
pub struct Frame {
    /// The records, each with the place in the frame where its length stands.
    pub records: Vec<(u64, Record)>,
    /// What all of it takes.
    pub len_bytes: u64,
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

fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, bytes) = bytes.split_first_chunk()?;
    bytes.split_at_checked(u32::from_le_bytes(*len) as usize)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::options::Options;
    use crate::copy::resume::format::{
        Begun, DirOpened, Finished, Look, Reached, STAT_KEY_BYTES, Standing,
    };
    use crate::copy::resume::manner::Manner;
    use crate::fs::Settled;
    use crate::tree::Kept;

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
        let left_bytes = rest.len() as u64;
        let each = |frame: Frame| {
            for (place, record) in frame.records {
                let body = &bytes[at + place as usize..][..4 + record.encode().len()];
                assert_eq!(body[4..], record.encode(), "where it is said to stand");
                found.push(record);
            }
            at += frame.len_bytes as usize;
        };
        chain.read(&mut rest, left_bytes, each).unwrap();
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

    /// Some 200 frames, of 16 kB each.
    #[test]
    fn of_many_frames_those_before_the_first_changed_or_torn_one_are_believed() {
        let (mut chain, mut bytes) = Chain::begin([7; 32], &BINDING);
        let long =
            Record::Reached(Reached { name: [1; 16], first_block: 0, leaves: vec![[8; 32]; 500] });
        let frames = (3 << 20) / long.encode().len();
        let mut starts = Vec::new();
        for _ in 0..frames {
            starts.push(bytes.len());
            chain.append(std::slice::from_ref(&long), &mut bytes);
        }
        assert_eq!(read(&bytes), Ok((vec![long.clone(); frames], bytes.len())));
        for changed in (0..frames).step_by(7) {
            bytes[starts[changed] + 100] ^= 1;
            let (found, end) = read(&bytes).unwrap();
            assert_eq!((found.len(), end), (changed, starts[changed]));
            bytes[starts[changed] + 100] ^= 1;
        }
        starts.push(bytes.len());
        for whole in (0..frames).step_by(29) {
            for torn in [0, 1, AROUND_BYTES as usize - 1, AROUND_BYTES as usize, 10_000] {
                let (found, end) = read(&bytes[..starts[whole] + torn]).unwrap();
                assert_eq!((found.len(), end), (whole, starts[whole]), "{torn}");
            }
        }
    }

    #[test]
    fn a_frame_of_the_greatest_length_is_believed_and_no_longer_one() {
        for (too_long, believed) in [(0, 2), (1, 0)] {
            let mut records = records();
            let Record::Begun(begun) = &mut records[1] else { panic!("its path fills a frame") };
            begun.path.clear();
            let rest_bytes = 4 + records[1].encode().len();
            let Record::Begun(begun) = &mut records[1] else { unreachable!() };
            begun.path.resize(FRAME_BYTES_MAX as usize - rest_bytes + too_long, b'/');
            let (mut chain, header) = Chain::begin([7; 32], &BINDING);
            let mut frames = Vec::new();
            chain.append(&records[1..2], &mut frames);
            chain.append(&records[..1], &mut frames);
            let mut reading = Chain::open(&header, &BINDING).unwrap();
            let (mut rest, left_bytes, mut found) = (&frames[..], frames.len() as u64, 0);
            reading.read(&mut rest, left_bytes, |frame| found += frame.records.len()).unwrap();
            assert_eq!(found, believed);
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
        let mut found = 0;
        reading.read(&mut reader, left_bytes, |_| found += 1).unwrap();
        assert_eq!(found, 1);
        let len = length(&[9; 40]);
        let forged = [&len[..], &[9; 40], &seal(&[7; 32], &chain.last, &[&len, &[9; 40]])].concat();
        reading.read(&mut &forged[..], forged.len() as u64, |_| found += 1).unwrap();
        assert_eq!(found, 1, "it is none of ours");
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
