//! Backups: the old file gets a second name before the new one takes its first, so that it is never
//! without one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::Arc;

use crate::fs::call::{AtFlags, linkat};
use rustix::io::Errno;

use crate::copy::options::{Backup, BackupNames};
use crate::fs::{self, IfTaken, Mark, Temporary};

/// The longest name that common filesystems have.
const NAME_BYTES_MAX: usize = 255;

/// Whether what has a name must not be replaced by a backup.
type IsKept<'a> = &'a dyn Fn(&OsStr) -> io::Result<bool>;

impl Backup {
    /// The name of a simple backup. Where it would be too long, it ends in a tilde alone, as cp's
    /// does.
    pub fn simple_name(&self, name: &OsStr) -> OsString {
        let (suffix, tilde) = (self.suffix.as_bytes(), b"~");
        let fits = name.len() + suffix.len() <= NAME_BYTES_MAX;
        with_suffix(name, if fits { suffix } else { tilde })
    }

    /// Whether a simple backup may have this name.
    pub fn may_be(&self, name: &OsStr) -> bool {
        // A shortened name ends in the middle of a character at worst.
        let is_shortened = name.len() + 4 > NAME_BYTES_MAX && name.as_bytes().ends_with(b"~");
        let has_suffix = name.as_bytes().ends_with(self.suffix.as_bytes());
        match self.names {
            BackupNames::Simple | BackupNames::Existing => has_suffix || is_shortened,
            BackupNames::Numbered => false,
        }
    }

    /// The number of the next backup, if it is to have one: also a simple one, if something
    /// `is_kept` that has its name.
    fn next_number(
        &self,
        dir: impl AsFd,
        name: &OsStr,
        is_kept: IsKept,
    ) -> io::Result<Option<u64>> {
        let is_kept = || is_kept(&self.simple_name(name));
        let next = || Ok(Some(highest_number(&dir, name)? + 1));
        match self.names {
            BackupNames::Numbered => next(),
            BackupNames::Simple => {
                if is_kept()? {
                    next()
                } else {
                    Ok(None)
                }
            }
            BackupNames::Existing => match highest_number(&dir, name)? {
                0 if !is_kept()? => Ok(None),
                highest => Ok(Some(highest + 1)),
            },
        }
    }

    /// The name of the next backup, and what becomes of what has it.
    pub fn next_name(
        &self,
        dir: impl AsFd,
        name: &OsStr,
        is_kept: IsKept,
    ) -> io::Result<(OsString, IfTaken)> {
        Ok(match self.next_number(dir, name, is_kept)? {
            Some(number) => (numbered_name(name, number), IfTaken::Refuse),
            None => (self.simple_name(name), IfTaken::Replace),
        })
    }

    /// Gives what stands at `name` in `dir` its backup name as well, and answers with that: a
    /// number, if something `is_kept` that has the simple name. A simple one has a hidden name for
    /// a moment.
    pub fn keep(
        &self,
        dir: &Arc<OwnedFd>,
        name: &OsStr,
        mark: Option<Mark>,
        is_kept: IsKept,
    ) -> io::Result<OsString> {
        if fs::keeps_names(dir) {
            // Nothing could take the place of what stands there.
            return Err(Errno::PERM.into());
        }
        match self.next_number(dir, name, is_kept)? {
            Some(number) => keep_numbered(dir, name, number),
            None => {
                let backup = self.simple_name(name);
                keep_simple(dir, name, &backup, mark)?;
                Ok(backup)
            }
        }
    }
}

/// The name, or as much of it as leaves room, and the suffix.
fn with_suffix(name: &OsStr, suffix: &[u8]) -> OsString {
    let room = NAME_BYTES_MAX.saturating_sub(suffix.len());
    let mut kept = name.len().min(room);
    // Some filesystems take no half of a character.
    while name.to_str().is_some_and(|text| !text.is_char_boundary(kept)) {
        kept -= 1;
    }
    OsString::from_vec([&name.as_bytes()[..kept], suffix].concat())
}

fn numbered_name(name: &OsStr, number: u64) -> OsString {
    with_suffix(name, format!(".~{number}~").as_bytes())
}

/// The highest N of the backups `NAME.~N~`, 0 if there is none.
fn highest_number(dir: impl AsFd, name: &OsStr) -> io::Result<u64> {
    let listing = match fs::list(dir.as_fd(), 0) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            return last_in_a_row(dir, name);
        }
        listing => listing?,
    };
    let mut highest = 0;
    for entry in listing {
        highest =
            highest.max(number_of(entry?.file_name().to_bytes(), name.as_bytes()).unwrap_or(0));
    }
    Ok(highest)
}

/// The last number before the first that is free: all that a folder says that may not be listed.
fn last_in_a_row(dir: impl AsFd, name: &OsStr) -> io::Result<u64> {
    let mut number = 0;
    while fs::stat_at(dir.as_fd(), &numbered_name(name, number + 1))?.is_some() {
        number += 1;
    }
    Ok(number)
}

/// The N of a backup `NAME.~N~`.
fn number_of(backup: &[u8], name: &[u8]) -> Option<u64> {
    let before = backup.strip_suffix(b"~")?;
    let start = before.iter().rposition(|byte| !byte.is_ascii_digit())? + 1;
    let digits = &before[start..];
    if digits.is_empty() || digits[0] == b'0' {
        return None;
    }
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let is_backup = || numbered_name(OsStr::from_bytes(name), number).as_bytes() == backup;
    (number < u64::MAX && is_backup()).then_some(number)
}

/// Takes the first number from `number` on that is free at the moment of taking it.
fn keep_numbered(dir: impl AsFd, name: &OsStr, mut number: u64) -> io::Result<OsString> {
    let dir = dir.as_fd();
    loop {
        let backup = numbered_name(name, number);
        match linkat(dir, name, dir, &*backup, AtFlags::empty()) {
            Ok(()) => return Ok(backup),
            Err(Errno::EXIST) => number += 1,
            // A filesystem or a file that has no second names: it is without its first for the
            // moment until the new one takes it.
            Err(error) if has_no_second_names(&error.into()) => {
                match fs::rename_unless_taken(dir, name, &backup) {
                    Err(Errno::EXIST) => number += 1,
                    other => return Ok(other.map(|_| backup)?),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Gives what became a backup its name back, if nothing has that. So it is where no second name
/// could be had, and the new file did not get the name either.
pub fn put_back(dir: impl AsFd, backup: &OsStr, name: &OsStr) -> io::Result<()> {
    let dir = dir.as_fd();
    if fs::stat_at(dir, name)?.is_some() {
        return Ok(());
    }
    match fs::rename_unless_taken(dir, backup, name) {
        Err(Errno::EXIST) => Ok(()),
        Ok(None) => Ok(()),
        // The backup's name stays beside the old one.
        Ok(Some(cause)) | Err(cause) => Err(cause.into()),
    }
}

/// The old backup stands until the new one takes its name.
fn keep_simple(
    dir: &Arc<OwnedFd>,
    name: &OsStr,
    backup: &OsStr,
    mark: Option<Mark>,
) -> io::Result<()> {
    let link = |temporary: &OsStr| linkat(dir, name, dir, temporary, AtFlags::empty());
    match Temporary::make(dir, mark, None, link) {
        // rename(2) does nothing where both names are one file already, and leaves both: the
        // hidden one is removed.
        Ok(((), temporary)) => {
            let given = temporary.rename(backup, IfTaken::Replace)?;
            given.left_behind.map_or(Ok(()), Err)
        }
        Err(error) if has_no_second_names(&error) => Ok(fs::rename(dir, name, backup)?),
        Err(error) => Err(error),
    }
}

/// Whether linkat(2) failed for a filesystem, a file or a sandbox that has no second names.
fn has_no_second_names(error: &io::Error) -> bool {
    fs::is_unavailable(error) || error.raw_os_error() == Some(libc::EMLINK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{File, hard_link, read, read_dir, write};

    const FREE: IsKept = &|_| Ok(false);

    fn backup(names: BackupNames) -> Backup {
        Backup { names, suffix: "~".into() }
    }

    #[test]
    fn numbers_are_read_from_names() {
        for (name, number) in [
            ("f.~1~", Some(1)),
            ("f.~12~", Some(12)),
            ("f.~~", None),
            ("f.~01~", None),
            ("f~", None),
            ("g.~1~", None),
        ] {
            assert_eq!(number_of(name.as_bytes(), b"f"), number, "{name}");
        }
    }

    #[test]
    fn a_name_that_would_be_too_long_is_shortened() {
        let long = |len: usize| OsString::from("n".repeat(len));
        let simple = |name: &OsStr, suffix: &str| {
            Backup { names: BackupNames::Simple, suffix: suffix.into() }.simple_name(name)
        };
        for (len, suffix, kept, ends_in) in [
            (250, ".orig", 250, ".orig"),
            (251, ".orig", 251, "~"),
            (254, "~", 254, "~"),
            (255, "~", 254, "~"),
            (255, ".orig", 254, "~"),
        ] {
            let wanted = with_suffix(&long(kept), ends_in.as_bytes());
            assert_eq!(simple(&long(len), suffix), wanted, "{len} bytes and {suffix}");
        }
        for (len, kept) in [(250, 250), (252, 249), (255, 249)] {
            let backup = numbered_name(&long(len), 123);
            assert_eq!(backup, with_suffix(&long(kept), b".~123~"));
            assert_eq!(number_of(backup.as_bytes(), long(len).as_bytes()), Some(123));
        }
        let wide = OsString::from("\u{e9}".repeat(127) + "n");
        let shortened = simple(&wide, "~");
        assert_eq!(shortened, OsString::from("\u{e9}".repeat(127) + "~"));
        let cut = simple(&OsString::from("n".to_owned() + &"\u{e9}".repeat(127)), "~");
        assert_eq!(cut, OsString::from("n".to_owned() + &"\u{e9}".repeat(126) + "~"));
        assert!(backup(BackupNames::Simple).may_be(&cut));
    }

    #[test]
    fn the_old_file_keeps_its_name_and_gets_another() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let name = OsStr::new("f");
        let at = |name: &str| folder.path().join(name);
        write(at("f"), "1").unwrap();
        assert_eq!(backup(BackupNames::Existing).keep(&dir, name, None, FREE).unwrap(), "f~");
        assert_eq!(backup(BackupNames::Numbered).keep(&dir, name, None, FREE).unwrap(), "f.~1~");
        assert_eq!(backup(BackupNames::Existing).keep(&dir, name, None, FREE).unwrap(), "f.~2~");
        write(at("f.~7~"), "7").unwrap();
        assert_eq!(backup(BackupNames::Numbered).keep(&dir, name, None, FREE).unwrap(), "f.~8~");
        for backup in ["f", "f~", "f.~1~", "f.~2~", "f.~8~"] {
            assert_eq!(read(at(backup)).unwrap(), b"1", "{backup}");
        }
        let kept: IsKept = &|backup| Ok(backup == "f~");
        assert_eq!(backup(BackupNames::Simple).keep(&dir, name, None, kept).unwrap(), "f.~9~");
        // Once more, where the backup is a second name of the file already.
        assert_eq!(backup(BackupNames::Simple).keep(&dir, name, None, FREE).unwrap(), "f~");
        assert_eq!(read_dir(folder.path()).unwrap().count(), 7);
    }

    #[test]
    fn numbered_backups_made_at_once_never_meet() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        write(folder.path().join("f"), "old").unwrap();
        let names = std::thread::scope(|scope| {
            let keep =
                || backup(BackupNames::Numbered).keep(&dir, OsStr::new("f"), None, FREE).unwrap();
            let threads: Vec<_> = (0..20).map(|_| scope.spawn(keep)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect::<std::collections::BTreeSet<_>>()
        });
        assert_eq!(names.len(), 20);
    }

    #[test]
    fn a_simple_backup_replaces_the_last_one() {
        let folder = tempfile::tempdir().unwrap();
        let dir = Arc::new(OwnedFd::from(File::open(folder.path()).unwrap()));
        let at = |name: &str| folder.path().join(name);
        write(at("f"), "new").unwrap();
        write(at("f~"), "old").unwrap();
        hard_link(at("f~"), at("other")).unwrap();
        backup(BackupNames::Simple).keep(&dir, OsStr::new("f"), None, FREE).unwrap();
        assert_eq!(
            (read(at("f~")).unwrap(), read(at("other")).unwrap()),
            (b"new".into(), b"old".into())
        );
        assert_eq!(read_dir(folder.path()).unwrap().count(), 3);
    }
}
