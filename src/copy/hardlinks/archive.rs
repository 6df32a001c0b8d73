//! Files that were copied and may have further names, in a temporary file.
//!
//! The other names of a file may lie outside of what is copied, so that they never come. In memory
//! such a file takes the place of its record alone: 16 bytes, of a table that is at most half empty
//! after it has grown.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, Error, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::original::{MadeFile, Original, Place};
use crate::fs::call::OFlags;
use crate::fs::{self, FileId, Identity, IdentityBytes};
use crate::tree::{Dir, Folder, Kept};

/// Bytes that are written at once.
const BUFFER_BYTES: usize = 64 << 10;

/// No record has this place: the first is the name of a directory.
const NOTHING: u64 = 0;

/// What is not in memory any more.
#[derive(Default)]
pub struct Archive {
    file: Option<File>,
    /// What is written to the file, and what is not yet.
    written_bytes: u64,
    unwritten: Vec<u8>,
    /// The place of the last record of the files whose numbers have one hash.
    last: HashMap<u64, u64>,
    hasher: RandomState,
    /// The folders that operands go into.
    roots: Vec<Arc<Dir>>,
    /// The directory of the last file that was put in, and of the last that was taken out, with the
    /// places of their records.
    put_last: Option<(Arc<Dir>, u64)>,
    taken_last: Option<(Arc<Dir>, u64)>,
}

impl Archive {
    /// Takes a file. May write to the temporary file, and fails when that does: nothing is taken
    /// then.
    pub fn put(&mut self, made: &MadeFile) -> io::Result<()> {
        let dir_at = self.put_dir(&made.original.dir)?;
        let key = self.hasher.hash_one(made.identity.id());
        let previous = self.last.get(&key).copied().unwrap_or(NOTHING);
        let record = FileRecord { previous, dir_at, made }.to_bytes();
        let at = self.append(&record)?;
        self.last.insert(key, at);
        Ok(())
    }

    /// How many hashes of numbers there are files of.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// The place of a directory's record.
    fn put_dir(&mut self, dir: &Arc<Dir>) -> io::Result<u64> {
        if let Some((last, at)) = &self.put_last
            && Arc::ptr_eq(last, dir)
        {
            return Ok(*at);
        }
        let mut root = dir;
        while let Some(above) = root.parent() {
            root = above;
        }
        let (nothing, path) = (OsStr::new(""), dir.target_path(OsStr::new("")));
        let path = match dir.planned {
            // Nothing is looked for in what is only planned.
            true => Path::new(""),
            false => path.strip_prefix(root.target_path(nothing)).unwrap_or(&path),
        };
        let number = match self.roots.iter().rposition(|known| Arc::ptr_eq(known, root)) {
            Some(number) => number,
            None => {
                self.roots.push(Arc::clone(root));
                self.roots.len() - 1
            }
        };
        let record = [&(number as u64).to_le_bytes(), path.as_os_str().as_bytes()].concat();
        let at = self.append(&record)?;
        self.put_last = Some((Arc::clone(dir), at));
        Ok(at)
    }

    /// Takes files out, among them all whose numbers these are.
    pub fn take(&mut self, id: FileId) -> io::Result<Vec<MadeFile>> {
        let Some(mut at) = self.last.remove(&self.hasher.hash_one(id)) else {
            return Ok(Vec::new());
        };
        let mut files = Vec::new();
        while at != NOTHING {
            let record = self.read(at)?;
            let found = RecordedFile::of_bytes(&record).ok_or_else(torn)?;
            let dir = self.take_dir(found.dir_at)?;
            at = found.previous;
            files.push(found.of_dir(dir));
        }
        Ok(files)
    }

    /// The directory that has a record, opened by its way from the folder that its operand went
    /// into. Its files are looked at before anything is linked to them.
    fn take_dir(&mut self, at: u64) -> io::Result<Arc<Dir>> {
        for (dir, known) in self.put_last.iter().chain(&self.taken_last) {
            if *known == at {
                return Ok(Arc::clone(dir));
            }
        }
        let record = self.read(at)?;
        let (number, path) = record.split_first_chunk().ok_or_else(torn)?;
        let root = self.roots.get(u64::from_le_bytes(*number) as usize).ok_or_else(torn)?;
        if path.is_empty() {
            return Ok(Arc::clone(root));
        }
        let open = root.open().map_err(Error::other)?;
        let way = Path::new(OsStr::from_bytes(path));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let file = fs::open_path_beneath(&open.target, way, flags)?;
        let path = root.target_path(OsStr::new("")).join(way);
        let side = |file| Folder { file, path: path.clone() };
        let pair = Dir::root(side(file.try_clone()?), side(file), root.open_dirs())?;
        let dir = Arc::clone(pair.dir());
        self.taken_last = Some((Arc::clone(&dir), at));
        Ok(dir)
    }

    /// Adds a record, and says where.
    fn append(&mut self, record: &[u8]) -> io::Result<u64> {
        let len = u32::try_from(record.len()).map_err(Error::other)?;
        let before = self.unwritten.len();
        // The first place is no record's.
        let at = (self.written_bytes + before as u64).max(1);
        if at == 1 {
            self.unwritten.push(0);
        }
        self.unwritten.extend(len.to_le_bytes());
        self.unwritten.extend(record);
        if self.unwritten.len() >= BUFFER_BYTES
            && let Err(error) = self.write()
        {
            self.unwritten.truncate(before);
            return Err(error);
        }
        Ok(at)
    }

    fn write(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.write_all_at(&self.unwritten, self.written_bytes)?;
        self.written_bytes += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    fn read(&mut self, at: u64) -> io::Result<Vec<u8>> {
        if let Some(start) = at.checked_sub(self.written_bytes) {
            let record = &self.unwritten[start as usize..];
            let (len, record) = record.split_first_chunk().ok_or_else(torn)?;
            return Ok(record[..u32::from_le_bytes(*len) as usize].to_vec());
        }
        let file = self.file.as_ref().ok_or_else(torn)?;
        let mut len = [0; 4];
        file.read_exact_at(&mut len, at)?;
        let mut record = vec![0; u32::from_le_bytes(len) as usize];
        file.read_exact_at(&mut record, at + len.len() as u64)?;
        Ok(record)
    }
}

fn torn() -> Error {
    Error::new(ErrorKind::InvalidData, "a record of hard links is torn")
}

/// A file as it is put in.
struct FileRecord<'a> {
    previous: u64,
    dir_at: u64,
    made: &'a MadeFile,
}

impl FileRecord<'_> {
    fn to_bytes(&self) -> Vec<u8> {
        let Self { previous, dir_at, made } = self;
        let MadeFile { place, identity, original, others_left } = made;
        let Original { name, copy, size_bytes, hash, kept, .. } = &**original;
        let numbers = [*previous, *dir_at, place.0, *others_left, *size_bytes];
        let known = u8::from(*kept == Kept::All)
            | u8::from(copy.is_some()) << 1
            | u8::from(hash.is_some()) << 2;
        let mut bytes = numbers.map(u64::to_le_bytes).as_flattened().to_vec();
        bytes.push(known);
        bytes.extend(identity.to_bytes());
        copy.iter().for_each(|copy| bytes.extend(copy.to_bytes()));
        hash.iter().for_each(|hash| bytes.extend(hash));
        bytes.extend(name.as_bytes());
        bytes
    }
}

/// A file as it is taken out.
struct RecordedFile {
    previous: u64,
    dir_at: u64,
    place: Place,
    identity: Identity,
    others_left: u64,
    name: OsString,
    copy: Option<Identity>,
    size_bytes: u64,
    hash: Option<[u8; 32]>,
    kept: Kept,
}

impl RecordedFile {
    fn of_bytes(mut bytes: &[u8]) -> Option<Self> {
        let mut number = || {
            let (number, rest) = bytes.split_first_chunk()?;
            bytes = rest;
            Some(u64::from_le_bytes(*number))
        };
        let (previous, dir_at, place) = (number()?, number()?, Place(number()?));
        let (others_left, size_bytes) = (number()?, number()?);
        let (&known, rest) = bytes.split_first()?;
        let (identity, mut rest) = rest.split_first_chunk::<{ size_of::<IdentityBytes>() }>()?;
        let (mut copy, mut hash) = (None, None);
        if known & 2 != 0 {
            let (bytes, left) = rest.split_first_chunk()?;
            (copy, rest) = (Some(Identity::of_bytes(bytes)), left);
        }
        if known & 4 != 0 {
            let (bytes, left) = rest.split_first_chunk()?;
            (hash, rest) = (Some(*bytes), left);
        }
        let identity = Identity::of_bytes(identity);
        let kept = if known & 1 != 0 { Kept::All } else { Kept::Part };
        let name = OsString::from_vec(rest.to_vec());
        Some(Self {
            previous,
            dir_at,
            place,
            identity,
            others_left,
            name,
            copy,
            size_bytes,
            hash,
            kept,
        })
    }

    fn of_dir(self, dir: Arc<Dir>) -> MadeFile {
        let Self { place, identity, others_left, name, copy, size_bytes, hash, kept, .. } = self;
        let original = Arc::new(Original { dir, name, copy, size_bytes, hash, kept });
        MadeFile { place, identity, original, others_left }
    }
}
