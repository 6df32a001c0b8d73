//! `--resume`: the journal as a file, and what it knows of a path.
//!
//! Something finished is recorded when its data is durable and it has its name. Should the record
//! outlive a power cut and the name not, the comparison with what stands there tells, so that no
//! record waits for a directory.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, openat, unlinkat};
use rustix::io::Errno;

use super::journal::{
    Begun, Binding, Chain, Finished, HEADER_BYTES, Print, Reached, Record, STATE_BYTES, Standing,
    State, Unusable, print,
};
use super::lookup::{Index, Window};
use crate::digest::{Hash, LeafHash};
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileType, Node, Stat};

/// Bytes that are allocated ahead of the last record: on a full disk, of all places, what was under
/// way is to be recorded. It is room for 6,000 files.
const RESERVE_BYTES: u64 = 1 << 20;

/// What a journal belongs to, and where it may lie.
pub struct Bond {
    /// Stands in the names of the journal and of temporaries, so that other copies into the same
    /// folder have theirs.
    pub id: u64,
    /// Source, destination and options.
    pub binding: Binding,
    /// The folders where the journal may lie, the best first.
    pub places: Vec<Place>,
    /// What recorded paths are relative to.
    pub base: PathBuf,
}

/// A folder where the journal may lie.
pub struct Place {
    /// The folder.
    pub folder: PathBuf,
    /// Whether the copy sets the folder's times, which the journal's removal must not change then.
    pub is_copied: bool,
}

/// A big file of which a part is durable.
#[derive(Debug)]
pub struct Half {
    /// What it was begun with.
    pub begun: Begun,
    /// The chaining values of its first blocks, which are durable.
    pub leaves: Vec<LeafHash>,
}

/// What the journal says of a path.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing.
    Nothing,
    /// It was finished with this hash, and nothing has changed since.
    Finished(Option<Hash>),
    /// The same, but that not all of its metadata could be kept.
    FinishedWithLoss(Option<Hash>),
    /// It was finished, but not what stands there now.
    Changed(&'static str),
}

/// Where the next record goes.
struct Writer {
    chain: Chain,
    end_bytes: u64,
    /// Up to where there is room on the device.
    reserved_bytes: u64,
    /// A record could not be written, so that nothing behind it would be believed.
    broken: bool,
    /// Bytes of finished files whose records are not durable.
    unsynced_bytes: u64,
}

/// The journal of a run, locked for as long as it lives.
pub struct Journal {
    bond: Bond,
    place: usize,
    folder: OwnedFd,
    file: Arc<OwnedFd>,
    key: [u8; 32],
    /// Where the records of what an earlier run finished are, by the first halves of the names'
    /// prints.
    finished: Index,
    halves: Mutex<HashMap<Print, Half>>,
    /// Under which name a source that may have several was begun or finished, by its state.
    first_names: HashMap<State, Print>,
    writer: Mutex<Writer>,
}

impl Bond {
    fn journal_name(&self) -> OsString {
        format!(".aiocp-journal-{:016x}", self.id).into()
    }

    fn path(&self, place: usize) -> PathBuf {
        self.places[place].folder.join(self.journal_name())
    }

    /// Whether a run was interrupted here.
    pub fn has_journal(&self) -> bool {
        (0..self.places.len()).any(|place| self.path(place).symlink_metadata().is_ok())
    }

    /// The name of the temporary of a big file, which the next run finds again.
    fn temporary_name(&self, name: &OsStr) -> OsString {
        let hash =
            blake3::Hasher::new().update(&self.id.to_le_bytes()).update(name.as_bytes()).finalize();
        let first = hash.as_bytes().first_chunk().expect("a hash has 32 bytes");
        format!(".aiocp-{:016x}", u64::from_be_bytes(*first)).into()
    }
}

impl Journal {
    /// Opens the journal of an interrupted run, or begins one. Why what was found is not believed
    /// comes back beside it.
    pub fn open(bond: Bond) -> Result<(Self, Option<Error>)> {
        loop {
            if let Some((place, folder, file)) = find(&bond)? {
                let path = bond.path(place);
                return Self::take_up(bond, place, folder, file)
                    .map_err(|cause| Error::new(Operation::ReadJournal, path, cause));
            }
            if let Some((place, folder, file)) = make(&bond)? {
                let path = bond.path(place);
                let journal = Self::begin(bond, place, folder, file);
                return Ok((
                    journal.map_err(|cause| Error::new(Operation::WriteJournal, path, cause))?,
                    None,
                ));
            }
            // Another run has made one between the two: it is looked at now, and not gone around by
            // way of the next place.
        }
    }

    fn begin(bond: Bond, place: usize, folder: OwnedFd, file: OwnedFd) -> io::Result<Self> {
        let mut key = [0; 32];
        rustix::rand::getrandom(&mut key[..], rustix::rand::GetRandomFlags::empty())?;
        let (chain, header) = Chain::begin(key, &bond.binding);
        let file = File::from(file);
        file.write_all_at(&header, 0)?;
        file.sync_all()?;
        fs::sync_folder(&folder)?;
        let journal = Self::new(bond, place, folder, file, chain, HEADER_BYTES as u64);
        reserve(&journal.file, &mut journal.writer());
        Ok(journal)
    }

    fn new(
        bond: Bond,
        place: usize,
        folder: OwnedFd,
        file: File,
        chain: Chain,
        end_bytes: u64,
    ) -> Self {
        let key = chain.key();
        let writer =
            Writer { chain, end_bytes, reserved_bytes: 0, broken: false, unsynced_bytes: 0 };
        let (finished, first_names, halves) = (Index::default(), HashMap::new(), Mutex::default());
        let file = Arc::new(file.into());
        Self {
            bond,
            place,
            folder,
            file,
            key,
            finished,
            halves,
            first_names,
            writer: Mutex::new(writer),
        }
    }

    /// Reads a journal that is locked. One that cannot be believed makes place for another.
    fn take_up(
        bond: Bond,
        place: usize,
        folder: OwnedFd,
        file: OwnedFd,
    ) -> io::Result<(Self, Option<Error>)> {
        let stat = fs::stat(&file)?;
        let ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_nlink == 1
            && stat.st_uid == rustix::process::geteuid().as_raw();
        let file = File::from(file);
        let mut header = Vec::new();
        (&file).take(HEADER_BYTES as u64).read_to_end(&mut header)?;
        let path = bond.path(place);
        let why = match Chain::open(&header, &bond.binding) {
            Ok(chain) if ours => {
                let mut journal = Self::new(bond, place, folder, file, chain, HEADER_BYTES as u64);
                let torn = journal.load(stat.st_size as u64)?;
                return Ok((
                    journal,
                    torn.then(|| {
                        Error::new(
                            Operation::BelieveAll,
                            path,
                            Cause::NotResumed(
                                "it is torn or was changed; what is missing is copied again",
                            ),
                        )
                    }),
                ));
            }
            Ok(_) => "it may be somebody else's; everything is copied again",
            Err(Unusable::Damaged) => "it is damaged; everything is copied again",
            Err(Unusable::OtherVersion) => "another version wrote it; everything is copied again",
            Err(Unusable::OtherTrees) => {
                "it belongs to other trees or other options; everything is copied again"
            }
        };
        let name = bond.journal_name();
        unlinkat(&folder, &name, AtFlags::empty())?;
        let file = create(&folder, &name)?;
        let warning = Error::new(Operation::ResumeFrom, path, Cause::NotResumed(why));
        Ok((Self::begin(bond, place, folder, file)?, Some(warning)))
    }

    /// Reads all records, and cuts off what cannot be believed. True if there was something to cut.
    fn load(&mut self, size_bytes: u64) -> io::Result<bool> {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        let halves = self.halves.get_mut().unwrap_or_else(PoisonError::into_inner);
        let file = File::from(self.file.try_clone()?);
        let mut reader = BufReader::with_capacity(1 << 18, &file);
        reader.seek(io::SeekFrom::Start(writer.end_bytes))?;
        let mut finished = Vec::new();
        while let Some(frame) = writer.chain.next(&mut reader, size_bytes - writer.end_bytes)? {
            for (place, record) in frame.records() {
                match record {
                    Record::Finished(Finished { name, source, standing, .. }) => {
                        finished.push((index_of(&name), writer.end_bytes + place));
                        if standing != Standing::Unnamed {
                            halves.remove(&name);
                        }
                        match standing {
                            Standing::Settled => {}
                            Standing::Linked => drop(self.first_names.insert(source, name)),
                            // It may be that it was to be linked to the first one.
                            Standing::Unnamed => _ = self.first_names.entry(source).or_insert(name),
                        }
                    }
                    Record::Begun(begun) => {
                        self.first_names.insert(begun.source, begun.name);
                        halves.insert(begun.name, Half { begun, leaves: Vec::new() });
                    }
                    Record::Reached(Reached { name, first_block, leaves }) => {
                        if let Some(half) = halves
                            .get_mut(&name)
                            .filter(|half| half.leaves.len() as u64 == first_block)
                        {
                            half.leaves.extend(leaves);
                        }
                    }
                }
            }
            writer.end_bytes += frame.len_bytes;
        }
        self.finished = Index::new(finished);
        let torn = writer.end_bytes < size_bytes;
        if torn {
            file.set_len(writer.end_bytes)?;
        }
        Ok(torn)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn halves(&self) -> MutexGuard<'_, HashMap<Print, Half>> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a person would write its path.
    pub fn path(&self) -> PathBuf {
        self.bond.path(self.place)
    }

    /// The open journal, for a sync.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// What stands for a path relative to the destination.
    pub fn name(&self, relative: &Path) -> Print {
        print(&self.key, &[relative.as_os_str().as_bytes()])
    }

    /// A record for something that is durable, and says whether all of its metadata was kept.
    pub fn finished(
        &self,
        relative: &Path,
        [source, target]: [&Stat; 2],
        (standing, kept): (Standing, bool),
        hash: Option<Hash>,
    ) -> Record {
        let (name, source, target) = (self.name(relative), state(source), state(target));
        Record::Finished(Finished { name, source, target, standing, kept, hash })
    }

    /// What a record says now that the two sides are these.
    pub fn known(&self, record: &Finished, source: &Stat, target: &Stat) -> Known {
        let same_source = record.source == state(source);
        let lasting_bytes = lasting_bytes(record.standing, record.kept);
        match record.target[..lasting_bytes] == state(target)[..lasting_bytes] {
            true if same_source && record.kept => Known::Finished(record.hash),
            true if same_source => Known::FinishedWithLoss(record.hash),
            // It never got its name, or was begun once more since then.
            _ if record.standing == Standing::Unnamed
                || self.halves().contains_key(&record.name) =>
            {
                Known::Nothing
            }
            _ if !same_source => {
                Known::Changed("the source changed since it was copied; it is copied again")
            }
            _ => Known::Changed("the copy changed since it was made; it is copied again"),
        }
    }

    /// The last record of a path, if there is one, for which neither side is looked at.
    pub fn find(&self, relative: &Path, window: &mut Window) -> io::Result<Option<Finished>> {
        let name = self.name(relative);
        for at in self.finished.places(index_of(&name)) {
            let (len, body) = window.at(&self.file, at)?.split_first_chunk().expect("four bytes");
            if let Some(Record::Finished(record)) =
                body.get(..u32::from_le_bytes(*len) as usize).and_then(Record::decode)
                && record.name == name
            {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Whether no other name of this source is the one to be copied, to which the others are linked
    /// then: a copy of another one would begin anew.
    pub fn is_first_name(&self, relative: &Path, source: &Stat) -> bool {
        self.first_names.is_empty()
            || self
                .first_names
                .get(&state(source))
                .is_none_or(|first| *first == self.name(relative))
    }

    /// Takes what is known of a half-copied file.
    pub fn take_half(&self, name: &Print) -> Option<Half> {
        self.halves().remove(name)
    }

    /// The name of the temporary of a big file.
    pub fn temporary_name(&self, name: &OsStr) -> OsString {
        self.bond.temporary_name(name)
    }

    /// Writes records, and counts the bytes of the files that they speak of. Once it has failed
    /// nothing more is written, and that is no second error.
    pub fn append(&self, records: &[Record], files_bytes: u64) -> Result<()> {
        let mut writer = self.writer();
        if records.is_empty() || writer.broken {
            return Ok(());
        }
        let mut bytes = Vec::new();
        writer.chain.append(records, &mut bytes);
        let Writer { end_bytes, unsynced_bytes, broken, .. } = &mut *writer;
        if let Err((_, cause)) = fs::write_all(&bytes, *end_bytes, |bytes, at| {
            rustix::io::pwrite(&*self.file, bytes, at)
        }) {
            *broken = true;
            return Err(Error::new(Operation::WriteJournal, self.path(), cause));
        }
        *end_bytes += bytes.len() as u64;
        *unsynced_bytes += files_bytes;
        reserve(&self.file, &mut writer);
        Ok(())
    }

    /// Whether records of so many bytes of files wait for a sync that it is time for one, which the
    /// caller does now.
    pub fn is_due(&self, files_bytes: u64) -> bool {
        let unsynced_bytes = &mut self.writer().unsynced_bytes;
        let due = *unsynced_bytes >= files_bytes;
        if due {
            *unsynced_bytes = 0;
        }
        due
    }

    /// Removes the journal, after everything succeeded, and the temporaries that nobody asked for
    /// because their sources are gone.
    pub(super) fn remove(self) -> Result<()> {
        for half in self.halves().values() {
            let path = Path::new(OsStr::from_bytes(&half.begun.path));
            self.remove_temporary(path, half.begun.ino).map_err(|cause| {
                Error::new(Operation::RemoveTemporary, self.bond.base.join(path), cause)
            })?;
        }
        self.unlink().map_err(|cause| Error::new(Operation::RemoveJournal, self.path(), cause))
    }

    fn unlink(&self) -> io::Result<()> {
        let name = self.bond.journal_name();
        match self.bond.places[self.place].is_copied {
            true => unlink_leaving_times(&self.folder, &name)?,
            false => unlinkat(&self.folder, &name, AtFlags::empty())?,
        }
        fs::sync_folder(&self.folder)
    }

    /// Goes down from the destination by plain names alone, never through a link, to a temporary
    /// with this inode number.
    fn remove_temporary(&self, path: &Path, ino: u64) -> io::Result<()> {
        let mut names = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => names.push(name),
                _ => return Ok(()),
            }
        }
        let Some(last) = names.pop() else { return Ok(()) };
        let mut folder = fs::open_folder(&self.bond.base, OFlags::RDONLY)?;
        for name in names {
            folder = match fs::open_dir(&folder, name) {
                Ok(folder) => folder,
                Err(cause) if is_gone(&cause) => return Ok(()),
                Err(cause) => return Err(cause),
            };
        }
        let name = self.temporary_name(last);
        match fs::stat_at(&folder, &name)? {
            Some(stat) if stat.st_ino == ino => unlink_leaving_times(&folder, &name),
            _ => Ok(()),
        }
    }
}

impl Drop for Journal {
    /// Gives the lock back also where a child that was forked this moment has the descriptor too.
    /// Closing does it otherwise, so that the answer decides nothing.
    fn drop(&mut self) {
        let _closed_next = flock(&*self.file, FlockOperation::Unlock);
    }
}

/// Removes a name from a folder that has its source's times already.
fn unlink_leaving_times(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    let before = fs::stat(folder)?;
    unlinkat(folder, name, AtFlags::empty())?;
    match Node::open(folder).set_times(&before) {
        // Who may not set the folder's times has not given it the source's either.
        Err(cause) if cause.raw_os_error() == Some(libc::EPERM) => Ok(()),
        other => other,
    }
}

fn is_gone(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

/// What stands for a file, source or destination.
pub fn state(stat: &Stat) -> State {
    let numbers = [stat.st_ino, stat.st_size as u64, stat.st_mtime as u64].map(u64::to_le_bytes);
    let small =
        [stat.st_mtime_nsec as u32, stat.st_mode, stat.st_uid, stat.st_gid].map(u32::to_le_bytes);
    let changed = (stat.st_ctime as u64).to_le_bytes();
    let parts = [
        numbers.as_flattened(),
        small.as_flattened(),
        &changed,
        &(stat.st_ctime_nsec as u32).to_le_bytes(),
    ];
    parts.concat().try_into().expect("the parts of a state")
}

/// How much of a destination's state has to stay what it was: not its change time where it may get
/// a further name, nor then its mode and owner, if not all of its metadata was kept.
fn lasting_bytes(standing: Standing, kept: bool) -> usize {
    match standing {
        Standing::Settled => STATE_BYTES,
        Standing::Linked | Standing::Unnamed if kept => STATE_BYTES - 12,
        Standing::Linked | Standing::Unnamed => STATE_BYTES - 12 - 12,
    }
}

fn index_of(name: &Print) -> u64 {
    u64::from_le_bytes(*name.first_chunk().expect("a print has 16 bytes"))
}

/// Sees that the next records have room. Where there is none left, they may still find some when
/// they are written.
fn reserve(file: &OwnedFd, writer: &mut Writer) {
    let wanted_bytes = writer.end_bytes + RESERVE_BYTES;
    if writer.reserved_bytes < wanted_bytes
        && fs::reserve(file, wanted_bytes + RESERVE_BYTES).is_ok()
    {
        writer.reserved_bytes = wanted_bytes + RESERVE_BYTES;
    }
}

/// Which of the places a journal lies in, that place and the file.
type Placed = (usize, OwnedFd, OwnedFd);

fn in_use(path: PathBuf) -> Error {
    Error::new(Operation::UseJournal, path, Cause::JournalInUse)
}

/// Opens and locks the journal that an earlier run left.
fn find(bond: &Bond) -> Result<Option<Placed>> {
    for (place, Place { folder, .. }) in bond.places.iter().enumerate() {
        match lock_existing(folder, &bond.journal_name()) {
            Ok(None) => {}
            Ok(Some((folder, file))) => return Ok(Some((place, folder, file))),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                return Err(in_use(bond.path(place)));
            }
            Err(cause) => return Err(Error::new(Operation::OpenJournal, bond.path(place), cause)),
        }
    }
    Ok(None)
}

/// Makes a journal in the first place that takes it; nothing if there is one now.
fn make(bond: &Bond) -> Result<Option<Placed>> {
    let mut refused = None;
    for (place, Place { folder, .. }) in bond.places.iter().enumerate() {
        let made = fs::open_folder(folder, OFlags::RDONLY)
            .and_then(|folder| Ok((create(&folder, &bond.journal_name())?, folder)));
        match made {
            Ok((file, folder)) => return Ok(Some((place, folder, file))),
            Err(cause) if cause.raw_os_error() == Some(libc::EEXIST) => return Ok(None),
            Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => {
                return Err(in_use(bond.path(place)));
            }
            Err(cause) => drop(refused.get_or_insert(Error::new(
                Operation::CreateJournal,
                bond.path(place),
                cause,
            ))),
        }
    }
    Err(refused.expect("there is a place for the journal"))
}

/// Makes and locks an empty journal: `WouldBlock` if another process was faster to lock it.
fn create(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?;
    lock(&file)?;
    match stands(folder, name, &file)? {
        true => Ok(file),
        // Empty as it was, another process has taken it for a damaged one and put its own in its
        // place.
        false => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// Where the filesystem has no locks (Lustre has to be asked for them), nobody is kept from copying
/// the same twice at once.
fn lock(file: &OwnedFd) -> io::Result<()> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::NOSYS | Errno::OPNOTSUPP | Errno::NOLCK) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether it is this file that has the name.
fn stands(folder: &OwnedFd, name: &OsStr, file: &OwnedFd) -> io::Result<bool> {
    let stat = fs::stat(file)?;
    Ok(fs::stat_at(folder, name)?.is_some_and(|there| fs::same_file(&there, &stat)))
}

/// Opens and locks a journal, if there is one: `WouldBlock` if another process has it.
fn lock_existing(folder: &Path, name: &OsStr) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
    let folder = match fs::open_folder(folder, OFlags::RDONLY) {
        Ok(folder) => folder,
        Err(cause) if is_gone(&cause) => return Ok(None),
        Err(cause) => return Err(cause),
    };
    loop {
        let file = match fs::open_beneath(&folder, name, OFlags::RDWR | OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(cause) if cause.raw_os_error() == Some(libc::ENOENT) => return Ok(None),
            Err(cause) => return Err(cause),
        };
        lock(&file)?;
        // Whoever had it may have removed it in between.
        if stands(&folder, name, &file)? {
            return Ok(Some((folder, file)));
        }
    }
}
