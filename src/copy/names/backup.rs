//! Backups: the old file gets a second name before the new one takes its first, so that it is never
//! without one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::{AtFlags, RenameFlags, linkat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use crate::copy::options::{Backup, BackupNames};
use crate::fs::{self, IfTaken, Temporary};

/// Whether what has a name must not be replaced by a backup.
type IsKept<'a> = &'a dyn Fn(&OsStr) -> io::Result<bool>;

impl Backup {
    /// The name of a simple backup.
    pub fn simple_name(&self, name: &OsStr) -> OsString {
        with_suffix(name, &self.suffix)
    }

    /// Whether a simple backup may have this name.
    pub fn may_be(&self, name: &OsStr) -> bool {
        self.names != BackupNames::Numbered && name.as_bytes().ends_with(self.suffix.as_bytes())
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
        if self.names == BackupNames::Simple && !is_kept()? {
            return Ok(None);
        }
        let highest = highest_number(dir, name)?;
        let is_numbered = self.names != BackupNames::Existing || highest > 0 || is_kept()?;
        Ok(is_numbered.then_some(highest + 1))
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
    /// number, if something `is_kept` that has the simple name. A simple one has the `temporary`
    /// name for a moment, or a random one.
    pub fn keep(
        &self,
        dir: &Arc<OwnedFd>,
        name: &OsStr,
        temporary: Option<&OsStr>,
        is_kept: IsKept,
    ) -> io::Result<OsString> {
        match self.next_number(dir, name, is_kept)? {
            Some(number) => {
                // A run that was killed may have left it when the backup was to be a simple one.
                if let Some(temporary) = temporary {
                    remove(dir, temporary)?;
                }
                keep_numbered(dir, name, number)
            }
            None => {
                let backup = self.simple_name(name);
                keep_simple(dir, name, &backup, temporary)?;
                Ok(backup)
            }
        }
    }
}

fn with_suffix(name: &OsStr, suffix: impl AsRef<OsStr>) -> OsString {
    let mut name = name.to_owned();
    name.push(suffix);
    name
}

fn numbered_name(name: &OsStr, number: u64) -> OsString {
    with_suffix(name, format!(".~{number}~"))
}

/// The highest N of the backups `NAME.~N~`, 0 if there is none.
fn highest_number(dir: impl AsFd, name: &OsStr) -> io::Result<u64> {
    let mut highest = 0;
    for entry in fs::list(dir, 0)? {
        highest =
            highest.max(number_of(entry?.file_name().to_bytes(), name.as_bytes()).unwrap_or(0));
    }
    Ok(highest)
}

/// The N of a backup `NAME.~N~`.
fn number_of(backup: &[u8], name: &[u8]) -> Option<u64> {
    let digits = backup.strip_prefix(name)?.strip_prefix(b".~")?.strip_suffix(b"~")?;
    if digits.is_empty() || digits[0] == b'0' || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|&number| number < u64::MAX)
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
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {
                match renameat_with(dir, name, dir, &*backup, RenameFlags::NOREPLACE) {
                    Err(Errno::EXIST) => number += 1,
                    other => return Ok(other.map(|()| backup)?),
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Removes a name, if it is there.
fn remove(dir: impl AsFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The old backup stands until the new one takes its name.
fn keep_simple(
    dir: &Arc<OwnedFd>,
    name: &OsStr,
    backup: &OsStr,
    known: Option<&OsStr>,
) -> io::Result<()> {
    let link = |temporary: &OsStr| linkat(dir, name, dir, temporary, AtFlags::empty());
    match Temporary::make(dir, known, link) {
        Ok(((), temporary)) => {
            let renamed = renameat(dir, temporary.name(), dir, backup);
            // rename(2) does nothing where both names are one file already, and leaves both.
            let removed = temporary.remove();
            renamed?;
            removed
        }
        Err(error) => match error.raw_os_error() {
            Some(libc::EPERM | libc::EOPNOTSUPP | libc::EMLINK) => {
                Ok(renameat(dir, name, dir, backup)?)
            }
            _ => Err(error),
        },
    }
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
