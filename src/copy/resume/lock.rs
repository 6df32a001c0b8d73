//! Finding, making and locking the journal's file: one run at a time. What is no journal of this
//! copy stays what it is, whatever its name.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crate::fs::call::{FlockOperation, Mode, OFlags, flock, openat};
use rustix::io::Errno;

use super::chain::{Chain, HEADER_BYTES, Unusable, is_torn_header};
use super::identity::{JournalIdentity, JournalPlace};
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileId, FileType};

/// A journal that is open and locked.
pub struct Placed {
    /// Which of the places of its identity it lies in.
    pub place: usize,
    /// That place.
    pub folder: OwnedFd,
    /// Its name there.
    pub name: OsString,
    /// The file.
    pub file: OwnedFd,
}

impl Placed {
    /// How a person would write its path.
    pub fn path(&self, identity: &JournalIdentity) -> PathBuf {
        identity.places[self.place].folder.join(&self.name)
    }
}

/// The journal of a run.
pub enum Opened {
    /// An earlier run left it, with this header.
    Found(Placed, Vec<u8>),
    /// It was made now. A file that is no journal of this copy may have a better name.
    Made(Placed, Option<PathBuf>),
}

/// Whether it is certain that no other run uses what was opened.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lock {
    Held,
    /// Another process has it.
    Refused,
    /// The filesystem has no locks (Lustre has to be asked for them), so that no run is kept from
    /// copying the same twice at once.
    Missing,
}

/// What has a name that the journal may have.
enum Occupant {
    Nothing,
    /// No journal of this copy.
    Stranger,
    /// A journal of this copy, with its header.
    Journal(OwnedFd, Vec<u8>, Lock),
}

fn in_use(path: PathBuf) -> Error {
    Error::new(Operation::UseJournal, path, Cause::JournalInUse)
}

/// Whether a run was interrupted here. Where that cannot be found out, it is an error: the copy
/// would go to another place than the one that was interrupted.
pub fn has_journal(identity: &JournalIdentity) -> Result<bool> {
    for JournalPlace { folder: path, .. } in &identity.places {
        let folder = match fs::open_folder_to_fill(path) {
            Ok(folder) => folder,
            // The copy itself may not be there yet, or be no directory.
            Err(cause) if is_gone(&cause) => continue,
            Err(cause) => return Err(Error::new(Operation::OpenJournal, path, cause)),
        };
        for name in identity.journal_names() {
            let examined = examine(&folder, &name, identity)
                .map_err(|cause| Error::new(Operation::OpenJournal, path.join(&name), cause))?;
            if matches!(examined, Occupant::Journal(..)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What was found in a place.
struct Look {
    /// The first name that is free, and that of no entry of the source.
    free: Option<OsString>,
    journal: Option<(OsString, OwnedFd, Vec<u8>)>,
}

/// Opens and locks the journal that an earlier run left, or makes one in the first place that takes
/// it.
pub fn open(identity: &JournalIdentity) -> Result<Opened> {
    loop {
        let (mut free, mut stranger, mut refused) = (Vec::new(), None, None);
        for (place, JournalPlace { folder: path, .. }) in identity.places.iter().enumerate() {
            let folder = match fs::open_folder_to_fill(path) {
                Ok(folder) => folder,
                Err(cause) => {
                    let error = Error::new(Operation::CreateJournal, path, cause);
                    refused.get_or_insert(error);
                    continue;
                }
            };
            let look = look(identity, place, &folder, &mut stranger)?;
            match (look.journal, look.free) {
                (Some((name, file, header)), free) => {
                    let error = |cause| Error::new(Operation::OpenJournal, path.join(&name), cause);
                    let name = match free.filter(|_| identity.is_entry(place, &name)) {
                        // The entry has its name.
                        Some(free) => rename(&folder, &name, free).map_err(error)?,
                        None => name,
                    };
                    let placed = Placed { place, folder, name, file };
                    return Ok(Opened::Found(placed, header));
                }
                (None, Some(name)) => free.push((place, folder, name)),
                (None, None) => {}
            }
        }
        if let Some(placed) = make(identity, free, refused)? {
            return Ok(Opened::Made(placed, stranger));
        }
        // Another run has made one between the two: it is looked at now, and not gone around by way
        // of the next place.
    }
}

/// Looks at all names that the journal may have in a place.
fn look(
    identity: &JournalIdentity,
    place: usize,
    folder: &OwnedFd,
    stranger: &mut Option<PathBuf>,
) -> Result<Look> {
    let mut look = Look { free: None, journal: None };
    for name in identity.journal_names() {
        let path = identity.places[place].folder.join(&name);
        let examined = examine(folder, &name, identity)
            .map_err(|cause| Error::new(Operation::OpenJournal, &path, cause))?;
        match examined {
            Occupant::Journal(_, _, Lock::Refused) => return Err(in_use(path)),
            Occupant::Journal(file, header, _) => {
                look.journal.get_or_insert((name, file, header));
            }
            _ if identity.is_entry(place, &name) => {}
            Occupant::Nothing => _ = look.free.get_or_insert(name),
            Occupant::Stranger => _ = stranger.get_or_insert(path),
        }
    }
    Ok(look)
}

/// Gives the journal another name, unless something has that.
fn rename(folder: &OwnedFd, name: &OsStr, other: OsString) -> io::Result<OsString> {
    match fs::rename_unless_taken(folder, name, &other)? {
        None => Ok(other),
        // No journal has two names.
        Some(cause) => Err(cause.into()),
    }
}

/// Makes a journal in the first place that takes it; nothing if something has its name now.
fn make(
    identity: &JournalIdentity,
    free: Vec<(usize, OwnedFd, OsString)>,
    mut refused: Option<Error>,
) -> Result<Option<Placed>> {
    for (place, folder, name) in free {
        let path = identity.places[place].folder.join(&name);
        match create(&folder, &name) {
            Ok(file) => return Ok(Some(Placed { place, folder, name, file })),
            Err(cause) if cause.raw_os_error() == Some(libc::EEXIST) => return Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => return Err(in_use(path)),
            Err(cause) => {
                let cause = fs::why_not_made(&folder, cause);
                refused.get_or_insert(Error::new(Operation::CreateJournal, path, cause));
            }
        }
    }
    let first = || identity.places[0].folder.clone();
    let taken = || Error::new(Operation::CreateJournal, first(), io::Error::from(Errno::EXIST));
    Err(refused.unwrap_or_else(taken))
}

/// Makes and locks an empty journal: `WouldBlock` if another process was faster to lock it.
fn create(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    if fs::is_append_only(folder) {
        // It could never be removed again.
        return Err(Errno::PERM.into());
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
    let is_ours = lock(&file).and_then(|lock| match lock {
        // Empty as it was, another process has taken it for its own.
        Lock::Refused => Ok(false),
        Lock::Missing => Ok(true),
        Lock::Held => stands(folder, name, &file),
    });
    match is_ours {
        Ok(true) => Ok(file),
        Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
        Err(cause) => {
            // The journal may come to another place, and then nothing would remove this one.
            fs::unlink_if(folder, name, FileId::of(&fs::stat(&file)?))?;
            Err(cause)
        }
    }
}

fn lock(file: &OwnedFd) -> io::Result<Lock> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock::Held),
        Err(Errno::WOULDBLOCK) => Ok(Lock::Refused),
        Err(Errno::NOLCK) => Ok(Lock::Missing),
        Err(error) => match io::Error::from(error) {
            cause if fs::is_no_answer(&cause) => Ok(Lock::Missing),
            cause => Err(cause),
        },
    }
}

/// Whether it is this file that has the name.
fn stands(folder: &OwnedFd, name: &OsStr, file: &OwnedFd) -> io::Result<bool> {
    let stat = fs::stat(file)?;
    Ok(fs::stat_at(folder, name)?.is_some_and(|there| FileId::of(&there) == FileId::of(&stat)))
}

/// Looks at what has a name, opens it if it can be a journal, and locks it if it is one.
fn examine(folder: &OwnedFd, name: &OsStr, identity: &JournalIdentity) -> io::Result<Occupant> {
    loop {
        match fs::stat_at(folder, name)? {
            None => return Ok(Occupant::Nothing),
            Some(stat) if can_be_journal(&stat) => {}
            Some(_) => return Ok(Occupant::Stranger),
        }
        let file = match fs::open_beneath(folder, name, OFlags::RDWR | OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(cause) if is_gone(&cause) => continue,
            Err(cause) => return Err(cause),
        };
        let lock = lock(&file)?;
        // The run that had it may have removed it in between.
        if !stands(folder, name, &file)? {
            continue;
        }
        let mut header = Vec::new();
        File::from(file.try_clone()?).take(HEADER_BYTES as u64).read_to_end(&mut header)?;
        return Ok(match is_own(identity, &file, &header, lock)? {
            true => Occupant::Journal(file, header, lock),
            false => Occupant::Stranger,
        });
    }
}

/// Whether a file of this kind, owner and number of names can be a journal that this user's run
/// made.
fn can_be_journal(stat: &fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_nlink == 1
        && stat.st_uid == rustix::process::geteuid().as_raw()
}

/// Whether a file was made for a journal of this copy. One that has no more than a part of a
/// header has nothing to lose; but where there are no locks, another run may be writing it.
fn is_own(
    identity: &JournalIdentity,
    file: &OwnedFd,
    header: &[u8],
    lock: Lock,
) -> io::Result<bool> {
    let stat = fs::stat(file)?;
    if !can_be_journal(&stat) {
        return Ok(false);
    }
    let birth = fs::birth(file)?;
    let is_begun = || stat.st_mode & 0o7777 == 0o600 && is_torn_header(header);
    if identity.is_proved(header, &birth) || (lock != Lock::Missing && is_begun()) {
        return Ok(true);
    }
    // Where files have no lasting number, nothing but the contents can speak for them.
    let is_whole = || {
        !matches!(
            Chain::open(header, &identity.binding),
            Err(Unusable::Damaged | Unusable::OtherVersion)
        )
    };
    Ok(!birth.is_lasting(file)? && is_whole())
}

/// Whether there is nothing of this name, on the way that was taken.
pub fn is_gone(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}
