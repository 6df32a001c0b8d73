//! What a check counts, and what it concludes where a whole manifest fails. Pure.

use std::fmt;

use crate::sum::Algorithm;
use crate::sum::check::LineVerdict;
use crate::sum::line::{KnownBy, Malformed};

/// What a check counted.
#[derive(Default)]
pub struct Counts {
    pub checked: u64,
    pub differing: u64,
    pub unreadable: u64,
    pub malformed: u64,
    /// Malformed lines that were not named.
    pub unnamed: u64,
    /// Lines of files that have no good one, and are named as a whole.
    pub in_no_manifest: u64,
    pub missing: u64,
    pub unlisted: u64,
    /// What was found in directories and has no contents, or is the output.
    pub skipped: u64,
    /// Lines that were printed and do not lead to their file.
    pub unprintable: u64,
    /// Lines whose files the filter leaves out.
    pub left_out: u64,
    /// What may be wrong with whole manifests, each once.
    pub hints: Vec<Hint>,
    /// What was counted of the manifest that is being checked.
    pub manifest: ManifestCounts,
}

/// Lines of which the files were hashed.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    matching: u64,
    differing: u64,
}

impl Tally {
    fn all_differ(self) -> bool {
        self.differing > 0 && self.matching == 0
    }
}

/// What was counted of one manifest.
#[derive(Debug, Default)]
pub struct ManifestCounts {
    /// Lines that were taken for BLAKE3's, since nothing says otherwise.
    assumed: Tally,
    /// Lines of the algorithm that was asked for, and that algorithm.
    asked: Tally,
    wanted: Option<Algorithm>,
    tagged: Tally,
    /// Files that are not there, and whose names start from the working directory.
    missing_here: u64,
    /// Other files that could not be read.
    unreadable: u64,
    lengths: Lengths,
}

/// The bytes of the hashes that have the length of another algorithm.
#[derive(Clone, Copy, Debug, Default)]
enum Lengths {
    #[default]
    None,
    One(usize),
    Many,
}

impl ManifestCounts {
    /// Takes the verdict on a line.
    pub fn add(
        &mut self,
        name: &[u8],
        algorithm: Algorithm,
        known_by: KnownBy,
        verdict: &LineVerdict,
    ) {
        let tally = match known_by {
            KnownBy::Tag => &mut self.tagged,
            KnownBy::Option => &mut self.asked,
            KnownBy::Default => &mut self.assumed,
        };
        if known_by == KnownBy::Option {
            self.wanted = Some(algorithm);
        }
        match verdict {
            LineVerdict::Matches => tally.matching += 1,
            LineVerdict::Differs => tally.differing += 1,
            LineVerdict::Missing(_) if !name.starts_with(b"/") => self.missing_here += 1,
            LineVerdict::Missing(_) | LineVerdict::Unreadable(_) => self.unreadable += 1,
        }
    }

    /// Takes a line that is not well formed.
    pub fn add_malformed(&mut self, reason: &Malformed) {
        if let Malformed::Hash { found_bytes: Some(found_bytes), .. } = *reason {
            self.lengths = match self.lengths {
                Lengths::None => Lengths::One(found_bytes),
                Lengths::One(other) if other == found_bytes => Lengths::One(other),
                _ => Lengths::Many,
            };
        }
    }

    /// What may have gone wrong where nothing in the manifest is right.
    pub fn hint(&self) -> Option<Hint> {
        let Self { assumed, asked, wanted, tagged, missing_here, unreadable, lengths } = *self;
        let matching = assumed.matching + asked.matching + tagged.matching;
        let differing = assumed.differing + asked.differing + tagged.differing;
        if assumed.all_differ() {
            return Some(Hint::Assumed);
        }
        // One file alone may be damaged.
        if asked.all_differ() && asked.differing > 1 {
            let alike = wanted.and_then(|wanted| as_long(wanted.hash_bytes(), Some(wanted)));
            return alike.map(Hint::Alike);
        }
        match lengths {
            Lengths::One(bytes) if matching + differing + missing_here + unreadable == 0 => {
                as_long(bytes, None).map(Hint::Alike)
            }
            _ if matching + unreadable > 0 => None,
            _ if differing == 0 && missing_here > 0 => Some(Hint::NoneHere),
            _ if missing_here == 0 && tagged.differing > 1 => Some(Hint::Elsewhere),
            _ => None,
        }
    }
}

/// The algorithms whose hashes have this many bytes, but for one of them; none if there are none.
fn as_long(hash_bytes: usize, but: Option<Algorithm>) -> Option<Vec<Algorithm>> {
    let is_as_long = |algorithm: &Algorithm| algorithm.hash_bytes() == hash_bytes;
    let algorithms = Algorithm::ALL.into_iter().filter(is_as_long);
    let others: Vec<_> = algorithms.filter(|&algorithm| Some(algorithm) != but).collect();
    (!others.is_empty()).then_some(others)
}

/// What may have gone wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hint {
    /// The lines are of another algorithm than BLAKE3.
    Assumed,
    /// The lines are of one of these algorithms, whose hashes are as long.
    Alike(Vec<Algorithm>),
    /// The names start from another directory.
    NoneHere,
    /// The files of another directory are meant.
    Elsewhere,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assumed => f.write_str(
                "lines without a tag are taken for BLAKE3's; --algorithm says otherwise, such as \
                 --algorithm sha256",
            ),
            Self::Alike(algorithms) => {
                let names: Vec<_> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
                let digits = 2 * algorithms.first().map_or(0, |algorithm| algorithm.hash_bytes());
                let names = names.join(" or ");
                write!(f, "hashes of {digits} digits may be those of --algorithm {names}")
            }
            Self::NoneHere => f.write_str(
                "none of the files is here; -C DIRECTORY enters the one that the names start from",
            ),
            Self::Elsewhere => {
                f.write_str("no file is as its line says; -C DIRECTORY checks those of another one")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Operation};

    fn missing() -> LineVerdict {
        let cause = std::io::Error::from_raw_os_error(libc::ENOENT);
        LineVerdict::Missing(Error::new(Operation::Open, "x", cause))
    }

    /// What is concluded from lines of these algorithms, each known in this way.
    fn concluded(
        known_by: KnownBy,
        algorithm: Algorithm,
        verdicts: &[LineVerdict],
    ) -> Option<Hint> {
        let mut counts = ManifestCounts::default();
        for verdict in verdicts {
            counts.add(b"x", algorithm, known_by, verdict);
        }
        counts.hint()
    }

    #[test]
    fn where_nothing_is_right_something_is_concluded() {
        use Algorithm::{Blake2b, Blake3, Md5, Sha1, Sha256, Sha512, Xxh128};
        use KnownBy::{Default, Option, Tag};
        use LineVerdict::{Differs, Matches};
        let alike = |algorithm| Some(Hint::Alike(vec![algorithm]));
        assert_eq!(concluded(Default, Blake3, &[Differs]), Some(Hint::Assumed));
        assert_eq!(concluded(Default, Blake3, &[Differs, Matches]), None);
        assert_eq!(concluded(Default, Blake3, &[Differs, missing()]), Some(Hint::Assumed));
        for (algorithm, other) in [
            (Blake3, alike(Sha256)),
            (Sha256, alike(Blake3)),
            (Sha512, alike(Blake2b)),
            (Md5, alike(Xxh128)),
            (Sha1, None),
        ] {
            assert_eq!(concluded(Option, algorithm, &[Differs, Differs]), other);
            assert_eq!(concluded(Option, algorithm, &[Differs, Matches]), None);
            assert_eq!(concluded(Option, algorithm, &[Differs]), None, "it is damaged");
        }
        assert_eq!(concluded(Tag, Sha1, &[Differs, Differs]), Some(Hint::Elsewhere));
        assert_eq!(concluded(Tag, Sha1, &[Differs]), None, "it is damaged");
        assert_eq!(concluded(Tag, Sha1, &[Differs, missing()]), None);
        for known_by in [Default, Option, Tag] {
            assert_eq!(concluded(known_by, Blake3, &[missing()]), Some(Hint::NoneHere));
            assert_eq!(concluded(known_by, Blake3, &[missing(), Matches]), None);
            assert_eq!(concluded(known_by, Blake3, &[]), None);
        }
    }

    #[test]
    fn hashes_of_one_length_name_the_algorithms_that_have_it() {
        let of_lengths = |lengths: &[usize]| {
            let mut counts = ManifestCounts::default();
            for &bytes in lengths {
                let (algorithm, found_bytes) = (Algorithm::Blake3, Some(bytes));
                counts.add_malformed(&Malformed::Hash { algorithm, digits: 64, found_bytes });
            }
            counts.add_malformed(&Malformed::Empty);
            counts.hint().map(|hint| hint.to_string())
        };
        let hint = |text: &str| Some(text.to_owned());
        let of_64 = hint("hashes of 128 digits may be those of --algorithm sha512 or blake2b");
        assert_eq!(of_lengths(&[64, 64]), of_64);
        let of_20 = hint("hashes of 40 digits may be those of --algorithm sha1");
        assert_eq!(of_lengths(&[20]), of_20);
        assert_eq!(of_lengths(&[64, 20]), None);
        assert_eq!(of_lengths(&[5]), None);
        assert_eq!(of_lengths(&[]), None);
    }
}
