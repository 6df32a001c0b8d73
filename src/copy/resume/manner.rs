//! How a run makes its copies, as far as that shows in them and no journal depends on it: what is
//! finished stays as it was made.

use crate::copy::options::{BackupNames, Existing, Options, Reflink, Sparse};
use crate::report::Unheeded;

/// The options of a run that change what a copy is, or what became of the file before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manner {
    sparse: Sparse,
    reflink: Reflink,
    /// How backups are named, and what simple ones end in.
    backup: Option<(BackupNames, Vec<u8>)>,
    replacing: Replacing,
}

/// What is done to a file that stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replacing {
    /// It is replaced, and the copy keeps what it would keep if it was written into.
    Usual,
    Removed,
    WrittenInto,
}

const SPARSE: [Sparse; 3] = [Sparse::Auto, Sparse::Always, Sparse::Never];
const REFLINK: [Reflink; 3] = [Reflink::Auto, Reflink::Always, Reflink::Never];
const BACKUPS: [Option<BackupNames>; 4] =
    [None, Some(BackupNames::Simple), Some(BackupNames::Numbered), Some(BackupNames::Existing)];
const REPLACING: [Replacing; 3] = [Replacing::Usual, Replacing::Removed, Replacing::WrittenInto];

impl Manner {
    pub fn of(options: &Options) -> Self {
        let Options { sparse, reflink, existing, .. } = options;
        let Existing { backup, remove, in_place, .. } = existing;
        Self {
            sparse: *sparse,
            reflink: *reflink,
            backup: backup
                .as_ref()
                .map(|backup| (backup.names, backup.suffix.as_encoded_bytes().to_vec())),
            replacing: match (remove, in_place) {
                (true, _) => Replacing::Removed,
                (_, true) => Replacing::WrittenInto,
                _ => Replacing::Usual,
            },
        }
    }

    /// As the journal has it.
    pub fn encode(&self) -> Vec<u8> {
        let (names, suffix) = match &self.backup {
            Some((names, suffix)) => (Some(*names), &suffix[..]),
            None => (None, &[][..]),
        };
        let numbers = [
            number(&SPARSE, &self.sparse),
            number(&REFLINK, &self.reflink),
            number(&BACKUPS, &names),
            number(&REPLACING, &self.replacing),
        ];
        [&numbers[..], suffix].concat()
    }

    /// Nothing if it is none of ours.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[sparse, reflink, backup, replacing], suffix) = bytes.split_first_chunk()?;
        Some(Self {
            sparse: *SPARSE.get(usize::from(sparse))?,
            reflink: *REFLINK.get(usize::from(reflink))?,
            backup: BACKUPS.get(usize::from(backup))?.map(|names| (names, suffix.to_vec())),
            replacing: *REPLACING.get(usize::from(replacing))?,
        })
    }

    /// What a run of this manner asks for that what a run of an `earlier` one made is not.
    pub fn unheeded(&self, earlier: &Self) -> impl Iterator<Item = Unheeded> {
        let is = |replacing, manner: &Self| manner.replacing == replacing;
        let differs = |replacing| is(replacing, self) != is(replacing, earlier);
        let all = [
            (self.sparse != earlier.sparse, Unheeded::Sparse),
            (self.reflink != earlier.reflink, Unheeded::Reflink),
            (self.backup != earlier.backup, Unheeded::Backup),
            (differs(Replacing::Removed), Unheeded::RemoveDestination),
            (differs(Replacing::WrittenInto), Unheeded::InPlace),
        ];
        all.into_iter().filter_map(|(is_so, what)| is_so.then_some(what))
    }
}

/// The place of a value among all of its kind.
fn number<T: PartialEq>(all: &[T], value: &T) -> u8 {
    let place = all.iter().position(|one| one == value).expect("every value has a place");
    u8::try_from(place).expect("there are few")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::options::Backup;

    fn all() -> Vec<Manner> {
        let mut all = Vec::new();
        for (sparse, reflink) in SPARSE.into_iter().flat_map(|one| REFLINK.map(|two| (one, two))) {
            for names in BACKUPS {
                for (remove, in_place) in [(false, false), (true, false), (false, true)] {
                    let backup = names.map(|names| Backup { names, suffix: ".old".into() });
                    let existing = Existing { backup, remove, in_place, ..Existing::default() };
                    let options = Options { sparse, reflink, existing, ..Options::default() };
                    all.push(Manner::of(&options));
                }
            }
        }
        all
    }

    #[test]
    fn what_is_written_is_read_and_no_two_are_one() {
        let all = all();
        for (n, one) in all.iter().enumerate() {
            assert_eq!(Manner::decode(&one.encode()).as_ref(), Some(one));
            for other in &all[n + 1..] {
                assert_ne!(one.encode(), other.encode());
                assert!(one.unheeded(other).count() > 0, "{one:?} {other:?}");
            }
            assert_eq!(one.unheeded(one).count(), 0);
        }
        assert_eq!(Manner::decode(&[0, 0, 0]), None);
        assert_eq!(Manner::decode(&[0, 3, 0, 0]), None);
    }
}
