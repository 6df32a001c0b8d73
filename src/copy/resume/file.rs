//! `--resume`: the journal as a file, and what it knows of a path.
//!
//! Something finished is recorded when its data is durable and it has its name. Should the record
//! outlive a power cut and the name not, the comparison with what stands there tells, so that no
//! record waits for a directory.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fs::call::{FlockOperation, flock};

use super::chain::{Chain, HEADER_BYTES, Unusable, fingerprint};
use super::format::{Begun, Fingerprint, Finished, Record, Standing, StatKey};
use super::identity::JournalIdentity;
use super::index::{Index, Window};
use super::known::{self, Known, Looked, Sides, temporary_number};
use super::leftovers::{leaving_times, leftovers, unlink_leaving_times};
use super::lock::{self, Opened, Placed, is_gone};
use super::manner::Manner;
use super::recovered::{Half, Manners, Recovered, index_of};
use crate::digest::Hash;
use crate::error::{Cause, Error, Operation, Result};
use crate::fs::{self, FileId, FileType, Mark, Numbers, Stat, Trust, Unpublished};
use crate::tree::Kept;

/// Bytes that are allocated ahead of the last record: on a full disk, of all places, what was under
/// way is to be recorded. It is room for 6,000 files.
const RESERVE_BYTES: u64 = 1 << 20;

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
    /// Names of this run that may not have become durable, whatever is recorded of them yet.
    doubted: HashSet<Fingerprint>,
}

/// The journal of a run, locked for as long as it lives.
pub struct Journal {
    identity: JournalIdentity,
    mark: Mark,
    has_predecessor: bool,
    place: usize,
    folder: OwnedFd,
    file_name: OsString,
    file: Arc<OwnedFd>,
    key: [u8; 32],
    /// Where the records of what an earlier run finished are, by the first halves of the names'
    /// prints.
    finished: Index,
    /// Up to which place what they say may not have become durable.
    doubted_bytes: u64,
    halves: Mutex<HashMap<Fingerprint, Half>>,
    /// Under which name a source that may have several was begun or finished, by its state.
    first_names: HashMap<StatKey, Fingerprint>,
    /// How earlier runs made what they recorded.
    manners: Manners,
    /// The modes of directories that were given more rights.
    modes: HashMap<Fingerprint, u32>,
    writer: Mutex<Writer>,
}

impl Journal {
    /// Opens the journal of an interrupted run, or begins one. Why what was found is not believed
    /// comes back beside it.
    pub fn open(identity: JournalIdentity) -> Result<(Self, Option<Error>)> {
        match lock::open(&identity)? {
            Opened::Found(placed, header) => {
                let path = placed.path(&identity);
                Self::take_up(identity, placed, &header)
                    .map_err(|cause| Error::new(Operation::ReadJournal, path, cause))
            }
            Opened::Made(placed, stranger) => {
                let path = placed.path(&identity);
                let mut journal = Self::begin_new(identity, placed)
                    .map_err(|cause| Error::new(Operation::WriteJournal, path, cause))?;
                journal.has_predecessor = stranger.is_some();
                let why = "it may be another user's, and stays; everything is copied again";
                let warning = stranger.map(|stranger| {
                    Error::new(Operation::ResumeFrom, stranger, Cause::NotResumed(why))
                });
                Ok((journal, warning))
            }
        }
    }

    /// Begins a journal that was just made. One that cannot be begun is removed: nothing is known
    /// by it.
    fn begin_new(identity: JournalIdentity, placed: Placed) -> io::Result<Self> {
        match write_header(&identity, &placed) {
            Ok(chain) => Self::begun(identity, placed, chain),
            Err(cause) => {
                let Placed { folder, name, file, .. } = &placed;
                let removed =
                    fs::stat(file).and_then(|stat| fs::unlink_if(folder, name, FileId::of(&stat)));
                Err(Unpublished { cause, left_behind: removed.err() }.into())
            }
        }
    }

    fn begun(identity: JournalIdentity, placed: Placed, chain: Chain) -> io::Result<Self> {
        let journal = Self::new(identity, placed, chain)?;
        reserve(&journal.file, &mut journal.writer());
        Ok(journal)
    }

    fn new(identity: JournalIdentity, placed: Placed, chain: Chain) -> io::Result<Self> {
        let Placed { place, folder, name, file } = placed;
        let mark = Mark::new(identity.id)?;
        let key = chain.key();
        let writer = Writer {
            chain,
            end_bytes: HEADER_BYTES as u64,
            reserved_bytes: 0,
            broken: false,
            unsynced_bytes: 0,
            doubted: HashSet::new(),
        };
        Ok(Self {
            identity,
            mark,
            has_predecessor: false,
            place,
            folder,
            file_name: name,
            file: Arc::new(file),
            key,
            finished: Index::default(),
            doubted_bytes: 0,
            halves: Mutex::default(),
            first_names: HashMap::new(),
            manners: Manners::default(),
            modes: HashMap::new(),
            writer: Mutex::new(writer),
        })
    }

    /// Reads a journal that is locked. One that cannot be believed is begun anew.
    fn take_up(
        identity: JournalIdentity,
        placed: Placed,
        header: &[u8],
    ) -> io::Result<(Self, Option<Error>)> {
        let path = placed.path(&identity);
        let not_resumed = |op, why| Error::new(op, &path, Cause::NotResumed(why));
        let why = match Chain::open(header, &identity.binding) {
            Ok(chain) => {
                let file = File::from(placed.file.try_clone()?);
                let size_bytes = fs::stat(&file)?.st_size as u64;
                let mut journal = Self::new(identity, placed, chain)?;
                journal.has_predecessor = true;
                let torn = journal.load(&file, size_bytes)?;
                // The run before may have left room behind its last record.
                let room_bytes = fs::allocated_bytes(&fs::stat(&file)?);
                journal.writer().reserved_bytes = room_bytes;
                reserve(&journal.file, &mut journal.writer());
                let why = "it is truncated or was modified; what is missing is copied again";
                let warning = torn.then(|| not_resumed(Operation::BelieveAll, why));
                return Ok((journal, warning));
            }
            Err(Unusable::Damaged) => "it is damaged; everything is copied again",
            Err(Unusable::OtherVersion) => "another version wrote it; everything is copied again",
            Err(Unusable::OtherTrees) => {
                "it belongs to other trees or other options; everything is copied again"
            }
        };
        cut(&placed.file, 0)?;
        let chain = write_header(&identity, &placed)?;
        let mut journal = Self::begun(identity, placed, chain)?;
        journal.has_predecessor = true;
        Ok((journal, Some(not_resumed(Operation::ResumeFrom, why))))
    }

    /// Reads all records, and cuts off what cannot be believed. True if there was something to cut.
    fn load(&mut self, file: &File, size_bytes: u64) -> io::Result<bool> {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut reader = BufReader::with_capacity(1 << 18, file);
        reader.seek(io::SeekFrom::Start(writer.end_bytes))?;
        let mut recovered = Recovered::default();
        let Writer { chain, end_bytes, .. } = writer;
        let left_bytes = size_bytes - *end_bytes;
        chain.read(&mut reader, left_bytes, |frame| {
            for (place, record) in frame.records {
                recovered.add(*end_bytes + place, record);
            }
            *end_bytes += frame.len_bytes;
        })?;
        let torn = writer.end_bytes < size_bytes;
        if torn {
            cut(file, writer.end_bytes)?;
        }
        self.finished = Index::new(recovered.finished);
        self.doubted_bytes = recovered.doubted_bytes;
        self.halves = Mutex::new(recovered.halves);
        self.first_names = recovered.first_names;
        self.manners = recovered.manners;
        self.modes = recovered.modes;
        Ok(torn)
    }

    fn write_at(&self, bytes: &[u8], at_bytes: u64) -> rustix::io::Result<usize> {
        rustix::io::pwrite(&*self.file, bytes, at_bytes)
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn halves(&self) -> MutexGuard<'_, HashMap<Fingerprint, Half>> {
        self.halves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a person would write its path.
    pub fn path(&self) -> PathBuf {
        self.identity.places[self.place].folder.join(&self.file_name)
    }

    /// What the hidden names of this run are marked with.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// Whether something had its name before it, so that an earlier run may have left more.
    pub fn has_predecessor(&self) -> bool {
        self.has_predecessor
    }

    /// The open journal, for a sync.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// What stands for a path relative to the destination.
    pub fn name(&self, relative: &Path) -> Fingerprint {
        fingerprint(&self.key, &[relative.as_os_str().as_bytes()])
    }

    /// A record for something that is durable, as far as its metadata was kept.
    pub fn finished(
        &self,
        relative: &Path,
        Looked { source, target }: Looked,
        standing: Standing,
        kept: Kept,
        hash: Option<Hash>,
    ) -> Record {
        Record::Finished(Finished {
            name: self.name(relative),
            source,
            target,
            standing,
            kept,
            hash,
        })
    }

    /// What a record says now that the two sides are these.
    pub fn known(&self, record: &Finished, sides: &Sides) -> Known {
        known::judge(record, sides, || self.halves().contains_key(&record.name))
    }

    /// The last record of a path, if there is one, for which neither side is looked at; and how
    /// what it speaks of was made, if that is on record.
    pub fn find(
        &self,
        relative: &Path,
        window: &mut Window,
    ) -> io::Result<Option<(Finished, Option<&Manner>)>> {
        let name = self.name(relative);
        for at in self.finished.places(index_of(&name)) {
            let (len, body) = window.at(&self.file, at)?.split_first_chunk().expect("four bytes");
            if let Some(Record::Finished(mut record)) =
                body.get(..u32::from_le_bytes(*len) as usize).and_then(Record::decode)
                && record.name == name
            {
                if at < self.doubted_bytes {
                    record.kept = Kept::Part;
                }
                return Ok(Some((record, self.manners.at(at))));
            }
        }
        Ok(None)
    }

    /// How the run before made what it recorded last.
    pub fn last_manner(&self) -> Option<&Manner> {
        self.manners.last()
    }

    /// Whether no other name of this source is the one to be copied, to which the others are linked
    /// then: a copy of another one would begin anew.
    pub fn is_first_name(&self, relative: &Path, source: &StatKey) -> bool {
        self.first_names.get(source).is_none_or(|first| *first == self.name(relative))
    }

    /// Whether any name is known to be the first one of its source.
    pub fn has_first_names(&self) -> bool {
        !self.first_names.is_empty()
    }

    /// The mode that a directory had when an earlier run gave it more rights.
    pub fn mode_before(&self, relative: &Path) -> Option<u32> {
        if self.modes.is_empty() { None } else { self.modes.get(&self.name(relative)).copied() }
    }

    /// Takes what is known of a half-copied file.
    pub fn take_half(&self, name: &Fingerprint) -> Option<Half> {
        self.halves().remove(name)
    }

    /// Remembers the hidden name of what is half-copied in this directory of the destination, by
    /// the number of the temporary. False if nothing half-copied is known by it.
    pub fn keep_half(&self, dir: &Path, temporary: u64, hidden: &OsStr) -> bool {
        let mut halves = self.halves();
        let is_it = |path: &Path| match path.as_os_str().is_empty() {
            true => dir == Path::new("."),
            false => path == dir,
        };
        let is_meant = |half: &&mut Half| {
            half.begun.temporary == temporary
                && self.identity.base.join(half.path()).parent().is_some_and(is_it)
        };
        let half = halves.values_mut().find(is_meant);
        half.map(|half| half.hidden = Some(hidden.to_owned())).is_some()
    }

    /// A name may not be durable, which no record of this run contradicts from now on.
    pub fn doubt(&self, name: Fingerprint) {
        self.writer().doubted.insert(name);
    }

    /// Writes records, and counts the bytes of the files that they speak of. Once it has failed
    /// nothing more is written, and that is no second error.
    pub fn append(&self, records: &mut [Record], files_bytes: u64) -> Result<()> {
        let mut writer = self.writer();
        if records.is_empty() || writer.broken {
            return Ok(());
        }
        for record in &mut *records {
            if let Record::Finished(finished) = record
                && writer.doubted.contains(&finished.name)
            {
                finished.kept = Kept::Part;
            }
        }
        let mut bytes = Vec::new();
        writer.chain.append(records, &mut bytes);
        let Writer { end_bytes, unsynced_bytes, broken, .. } = &mut *writer;
        let written = fs::write_all(&bytes, *end_bytes, |bytes, at| self.write_at(bytes, at));
        if let Err((_, cause)) = written {
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

    /// Removes the journal, after everything succeeded, and the temporaries that no entry asked for
    /// because their sources are gone.
    pub fn remove(self) -> Result<()> {
        for half in self.halves().values() {
            let path = half.path();
            self.remove_temporary(half).map_err(|cause| {
                Error::new(Operation::RemoveTemporary, self.identity.base.join(path), cause)
            })?;
        }
        self.unlink().map_err(|cause| Error::new(Operation::RemoveJournal, self.path(), cause))
    }

    fn unlink(&self) -> io::Result<()> {
        let own = fs::stat(&*self.file)?;
        let name = &self.file_name;
        // An entry of the source may have come by the name, and have its copy there by now.
        if !fs::stat_at(&self.folder, name)?
            .is_some_and(|stands| FileId::of(&stands) == FileId::of(&own))
        {
            return Ok(());
        }
        let unlink = || {
            fs::unlink_if(&self.folder, name, FileId::of(&own))?;
            fs::sync_folder(&self.folder)
        };
        match self.identity.places[self.place].is_copied {
            true => leaving_times(&self.folder, unlink),
            false => unlink(),
        }
    }

    /// Goes down from the destination by plain names alone, never through a link, to the temporary
    /// of what is half-copied, if it is there.
    fn remove_temporary(&self, half: &Half) -> io::Result<()> {
        let mut names = Vec::new();
        for component in half.path().components() {
            match component {
                Component::Normal(name) => names.push(name),
                _ => return Ok(()),
            }
        }
        if names.pop().is_none() {
            return Ok(());
        }
        let mut folder = fs::open_folder_to_fill(&self.identity.base)?;
        for name in names {
            folder = match fs::open_dir_to_fill(&folder, name) {
                Ok(folder) => folder,
                Err(cause) if is_gone(&cause) => return Ok(()),
                Err(cause) => return Err(cause),
            };
        }
        let trust = fs::trust(&folder);
        let found = match leftovers(&folder, self.mark) {
            // What may not be listed is gone without.
            Err(cause) if cause.raw_os_error() == Some(libc::EACCES) => return Ok(()),
            found => found?,
        };
        for (name, stat) in found {
            let is_its_name = || {
                half.hidden.as_ref() == Some(&name)
                    || temporary_number(&stat, &name, trust) == Some(half.begun.temporary)
            };
            if is_as_begun(&stat, &half.begun, trust) && is_its_name() {
                unlink_leaving_times(&folder, &name, &stat)?;
            }
        }
        Ok(())
    }
}

impl Drop for Journal {
    /// Gives the lock back also where a child that was forked this moment has the descriptor too.
    /// Closing does it otherwise, so that the answer decides nothing.
    fn drop(&mut self) {
        let _closed_next = flock(&*self.file, FlockOperation::Unlock);
    }
}

/// Writes the first bytes of a journal, and makes it durable.
fn write_header(identity: &JournalIdentity, placed: &Placed) -> io::Result<Chain> {
    let Placed { folder, file, .. } = placed;
    let key = identity.new_key(&fs::birth(file)?)?;
    let (chain, header) = Chain::begin(key, &identity.binding);
    let written = fs::write_all(&header, 0, |bytes, at| rustix::io::pwrite(file, bytes, at));
    written.map_err(|(_, cause)| cause)?;
    fs::sync_file(file)?;
    fs::sync_folder(folder)?;
    Ok(chain)
}

/// Whether a temporary can be the one that was begun, by what it answers alone.
pub fn is_as_begun(stat: &Stat, begun: &Begun, trust: Trust) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && (trust.numbers == Numbers::Fleeting || stat.st_ino == begun.temporary)
        && stat.st_nlink == 1
        && stat.st_uid == rustix::process::geteuid().as_raw()
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
/// Cuts what is not believed off a journal. Where that is not available it stays, and is no more
/// believed than before: what follows is chained to what is written now.
fn cut(file: impl AsFd, size_bytes: u64) -> io::Result<()> {
    match fs::truncate(file, size_bytes) {
        Err(cause) if fs::is_unavailable(&cause) => Ok(()),
        cut => cut,
    }
}
