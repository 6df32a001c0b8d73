//! The manifest of a copy, sorted by path, of any number of files in bounded memory.

use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::fs::call::OFlags;
use itertools::Itertools;

use super::algorithm::Algorithm;
use super::line::{self, LineEnd, OutputPart, Style};
use super::sorter::{SortRecord, Sorter};
use crate::digest::{Hash, Output};
use crate::fs::{self, FileType};

/// What became of a name, one thing after the other.
#[derive(Debug, PartialEq, Eq)]
enum Deed {
    /// A file with this hash got it.
    Copied(Hash),
    /// Something that has no line got it.
    Made,
    /// What stood there stayed.
    LeftAlone,
}

/// A deed, and the name that a backup of what stood there got before it.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    deed: Deed,
    backup: Option<PathBuf>,
}

/// Collects BLAKE3 hashes in any order and writes them as `b3sum`'s lines, sorted by the bytes of
/// their paths: one line a file, that of the copy which stands there in the end.
#[derive(Default)]
pub struct Manifest {
    changes: Sorter,
    /// Changes so far, by whose number those of one name are told apart.
    count: u64,
    /// Backups were made, so that lines may move to other names.
    has_backups: bool,
}

/// What there is to say of a manifest that was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ManifestEnd {
    /// How many lines do not lead to their file, see [`line::is_unprintable`].
    pub unprintable: u64,
    /// How many names have no line, since no check would read it, see [`line::is_too_long`].
    pub too_long: u64,
    /// How many regular files were left alone, and have no line.
    pub left_alone: u64,
}

impl Manifest {
    /// Adds a file that was copied; `backup` is the name that what it replaced has now. May write
    /// to a temporary file, and fails when that does. All paths are relative to one folder.
    pub fn copied(&mut self, path: &Path, hash: Hash, backup: Option<PathBuf>) -> io::Result<()> {
        self.push(path, Change { deed: Deed::Copied(hash), backup })
    }

    /// Takes note of something without a line that has replaced a file.
    pub fn made(&mut self, path: &Path, backup: Option<PathBuf>) -> io::Result<()> {
        self.push(path, Change { deed: Deed::Made, backup })
    }

    /// Takes note of a name at which something was left alone.
    pub fn left_alone(&mut self, path: &Path) -> io::Result<()> {
        self.push(path, Change { deed: Deed::LeftAlone, backup: None })
    }

    fn push(&mut self, path: &Path, change: Change) -> io::Result<()> {
        self.count += 1;
        self.has_backups |= change.backup.is_some();
        self.changes.push(path.as_os_str().as_bytes().to_vec(), change.to_bytes(self.count))
    }

    /// Writes all lines. `folder` is what the paths are relative to.
    pub fn write(mut self, folder: &Path, out: &mut impl Write) -> io::Result<ManifestEnd> {
        while self.has_backups {
            self = self.move_to_backups()?;
        }
        let mut end = ManifestEnd::default();
        let style = Style { tag: false, end: LineEnd::Newline, names: true };
        for name in names(self.changes)? {
            let (path, changes) = name?;
            match standing(&changes) {
                Some(Deed::Copied(_)) if line::is_too_long(&path) => end.too_long += 1,
                Some(Deed::Copied(hash)) => {
                    let is_unprintable = line::is_unprintable(Algorithm::Blake3, style.end, &path);
                    end.unprintable += u64::from(is_unprintable);
                    let (output, len_bytes) = (&Output::Fixed(hash.to_vec()), hash.len() as u64);
                    let part = OutputPart { output, seek_bytes: 0, len_bytes };
                    line::write(out, style, Algorithm::Blake3, &path, part)?;
                }
                Some(Deed::LeftAlone) => {
                    end.left_alone += u64::from(is_file(&folder.join(path_of(path))));
                }
                Some(Deed::Made) | None => {}
            }
        }
        Ok(end)
    }

    /// The same manifest, in which copies that have become backups have lines under their new
    /// names. Another turn is needed if there were any: such a backup may have become another one
    /// later.
    fn move_to_backups(self) -> io::Result<Self> {
        let mut moved = Self { count: self.count, ..Self::default() };
        for name in names(self.changes)? {
            let (path, changes) = name?;
            let mut stands: Option<Hash> = None;
            for (number, Change { deed, mut backup }) in changes {
                if let (Some(hash), Some(name)) = (stands, backup.take_if(|_| stands.is_some())) {
                    let copied = Change { deed: Deed::Copied(hash), backup: None };
                    let name = name.into_os_string().into_vec();
                    moved.changes.push(name, copied.to_bytes(number))?;
                    moved.has_backups = true;
                }
                match deed {
                    Deed::Copied(hash) => stands = Some(hash),
                    Deed::Made => stands = None,
                    Deed::LeftAlone => {}
                }
                moved.changes.push(path.clone(), Change { deed, backup }.to_bytes(number))?;
            }
        }
        Ok(moved)
    }
}

impl Change {
    /// As the value of a record: its number first, so that those of one name are in their order.
    fn to_bytes(&self, number: u64) -> Vec<u8> {
        let mut bytes = number.to_be_bytes().to_vec();
        match &self.deed {
            Deed::Copied(hash) => {
                bytes.push(0);
                bytes.extend(hash);
            }
            Deed::Made => bytes.push(1),
            Deed::LeftAlone => bytes.push(2),
        }
        if let Some(backup) = &self.backup {
            bytes.extend(backup.as_os_str().as_bytes());
        }
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) made.
    fn of_bytes(bytes: &[u8]) -> Option<(u64, Self)> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (deed, backup) = match rest.split_first()? {
            (0, rest) => {
                let (hash, backup) = rest.split_first_chunk()?;
                (Deed::Copied(*hash), backup)
            }
            (1, backup) => (Deed::Made, backup),
            (_, backup) => (Deed::LeftAlone, backup),
        };
        let backup = (!backup.is_empty()).then(|| path_of(backup.to_vec()));
        Some((u64::from_be_bytes(*number), Self { deed, backup }))
    }
}

/// A name and all that became of it, in order.
type Name = (Vec<u8>, Vec<(u64, Change)>);

/// The changes by name.
fn names(changes: Sorter) -> io::Result<impl Iterator<Item = io::Result<Name>>> {
    let mut records = changes.sorted()?.peekable();
    Ok(std::iter::from_fn(move || {
        let SortRecord { key, value } = match records.next()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        let is_its_own =
            |record: &io::Result<SortRecord>| record.as_ref().is_ok_and(|more| more.key == key);
        let more = records.peeking_take_while(is_its_own).flatten().map(|record| record.value);
        let changes = std::iter::once(value).chain(more);
        let changes: Option<Vec<_>> = changes.map(|value| Change::of_bytes(&value)).collect();
        Some(changes.map(|changes| (key, changes)).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "a record of the manifest is torn")
        }))
    }))
}

/// The deed that says what has a name in the end.
fn standing(changes: &[(u64, Change)]) -> Option<&Deed> {
    let deeds = || changes.iter().rev().map(|(_, change)| &change.deed);
    deeds().find(|deed| **deed != Deed::LeftAlone).or_else(|| deeds().next())
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    std::ffi::OsString::from_vec(bytes).into()
}

fn is_file(path: &Path) -> bool {
    let stat = fs::open_any_length(path, OFlags::PATH | OFlags::NOFOLLOW).and_then(fs::stat);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(manifest: Manifest, folder: &Path) -> (String, ManifestEnd) {
        let mut out = Vec::new();
        let end = manifest.write(folder, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), end)
    }

    fn line(seed: u8, name: &str) -> String {
        format!("{}  {name}\n", format!("{seed:02x}").repeat(32))
    }

    #[test]
    fn a_name_has_the_line_of_what_got_it_last() {
        let mut manifest = Manifest::default();
        for seed in [1, 2] {
            manifest.copied(Path::new("b"), [seed; 32], None).unwrap();
            manifest.copied(Path::new("a"), [seed; 32], None).unwrap();
        }
        manifest.left_alone(Path::new("a")).unwrap();
        manifest.made(Path::new("c"), None).unwrap();
        manifest.copied(Path::new("d"), [1; 32], None).unwrap();
        manifest.made(Path::new("d"), None).unwrap();
        let (text, end) = written(manifest, Path::new("/"));
        assert_eq!((text, end), (line(2, "a") + &line(2, "b"), ManifestEnd::default()));
    }

    #[test]
    fn a_line_follows_its_file_to_the_names_of_backups() {
        let mut manifest = Manifest::default();
        let copied = |manifest: &mut Manifest, name: &str, seed, backup: Option<&str>| {
            manifest.copied(Path::new(name), [seed; 32], backup.map(PathBuf::from)).unwrap();
        };
        // What the first replaces is no copy.
        copied(&mut manifest, "a", 1, Some("a~"));
        copied(&mut manifest, "a", 2, Some("a.~1~"));
        copied(&mut manifest, "a", 3, Some("a.~2~"));
        // The name of a backup is itself replaced, and kept.
        copied(&mut manifest, "a.~1~", 4, Some("a.~1~~"));
        manifest.made(Path::new("a"), Some("a.~3~".into())).unwrap();
        let (text, _) = written(manifest, Path::new("/"));
        let lines = [(4, "a.~1~"), (1, "a.~1~~"), (2, "a.~2~"), (3, "a.~3~")];
        assert_eq!(text, lines.map(|(seed, name)| line(seed, name)).concat());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn files_that_were_left_alone_are_counted_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", folder.path().join("link")).unwrap();
        let mut manifest = Manifest::default();
        for name in ["file", "link", "file", "gone"] {
            manifest.left_alone(Path::new(name)).unwrap();
        }
        let end = ManifestEnd { left_alone: 1, ..ManifestEnd::default() };
        assert_eq!(written(manifest, folder.path()), (String::new(), end));
    }
}
