//! Hidden names that say which file they were made for. A later run of the same copy knows by them
//! what a killed one left, and takes nothing else for it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use super::stat::{Birth, FileType, Stat, birth_at, stat_at};

/// What every hidden name begins with.
pub const HIDDEN_PREFIX: &str = ".aiocp-";

/// What a name was made for.
#[derive(Clone, Copy)]
enum For<'a> {
    /// This one file.
    File(&'a Birth),
    /// Something that was to be made under it, and that holds no data yet.
    New,
}

/// What the hidden names of one run of a copy have in common.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    copy: u64,
    run: u32,
}

impl Mark {
    /// For a run of the copy with this number, which all its runs have.
    pub fn new(copy: u64) -> io::Result<Self> {
        Ok(Self { copy, run: random()? as u32 })
    }

    /// A name for this file alone. Where files have nothing that outlives a mount, the name speaks
    /// for whatever has it: who can give it to another file could have removed that too.
    pub(super) fn name_for(self, dir: impl AsFd, file: Birth) -> io::Result<OsString> {
        Ok(self.name(For::File(&file.lasting(dir)?), random()? as u32).into())
    }

    /// A name for something that is yet to be made.
    fn name_for_new(self) -> io::Result<OsString> {
        Ok(self.name(For::New, random()? as u32).into())
    }

    fn name(self, what: For<'_>, salt: u32) -> String {
        let Self { copy, run } = self;
        let mut hasher = blake3::Hasher::new_derive_key("aiocp: hidden names");
        hasher.update(&copy.to_le_bytes()).update(&run.to_le_bytes()).update(&salt.to_le_bytes());
        if let For::File(birth) = what {
            hasher.update(birth.as_bytes());
        }
        let first = hasher.finalize().as_bytes()[..8].try_into().expect("a hash has 32 bytes");
        format!("{HIDDEN_PREFIX}{run:08x}{salt:08x}{:016x}", u64::from_be_bytes(first))
    }

    /// Whether it is this run that made a name.
    pub fn is_new(self, name: &OsStr) -> bool {
        run_and_salt(name).is_some_and(|(run, _)| run == self.run)
    }

    /// Whether a run of this copy made what has a name, and nothing is lost with that name: what it
    /// answers to stat then.
    pub fn find(self, dir: &OwnedFd, name: &OsStr) -> io::Result<Option<Stat>> {
        let Some((run, salt)) = run_and_salt(name) else { return Ok(None) };
        let made = Self { run, ..self };
        let is = |what: For<'_>| made.name(what, salt).as_bytes() == name.as_bytes();
        let Some(stat) = stat_at(dir, name)? else { return Ok(None) };
        let is_ours = match is(For::New) {
            true => is_worthless(&stat),
            false => match birth_at(dir, name)? {
                Some(birth) => is(For::File(&birth.lasting(dir)?)),
                None => false,
            },
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_owned = stat.st_uid == rustix::process::geteuid().as_raw();
        Ok((is_ours && !is_directory && (is_owned || stat.st_nlink > 1)).then_some(stat))
    }
}

/// A hidden name for something that is yet to be made.
pub(super) fn name_for_new(mark: Option<Mark>) -> io::Result<OsString> {
    match mark {
        Some(mark) => mark.name_for_new(),
        None => Ok(format!("{HIDDEN_PREFIX}{:016x}", random()?).into()),
    }
}

/// Whether no data goes with one name of this.
fn is_worthless(stat: &Stat) -> bool {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    !is_file || stat.st_size == 0 || stat.st_nlink > 1
}

/// Of a name as a [`Mark`] makes them.
fn run_and_salt(name: &OsStr) -> Option<(u32, u32)> {
    let digits = name.to_str()?.strip_prefix(HIDDEN_PREFIX)?;
    let part = |from: usize| u32::from_str_radix(digits.get(from..from + 8)?, 16).ok();
    (digits.len() == 32).then_some(())?;
    Some((part(0)?, part(8)?))
}

/// The number that tells the hidden name of one temporary from those of all others.
pub fn hidden_number(name: &OsStr) -> Option<u64> {
    run_and_salt(name).map(|(run, salt)| u64::from(run) << 32 | u64::from(salt))
}

/// A number that no one can guess: getrandom(2), or /dev/urandom without that.
pub fn random() -> io::Result<u64> {
    let mut random = [0; 8];
    let flags = rustix::rand::GetRandomFlags::empty();
    if rustix::rand::getrandom(&mut random[..], flags) != Ok(random.len()) {
        File::open("/dev/urandom")?.read_exact(&mut random)?;
    }
    Ok(u64::from_ne_bytes(random))
}

#[cfg(test)]
mod tests {
    use std::fs::{hard_link, remove_file, rename, write};

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no statx")]
    fn a_name_is_believed_of_the_file_that_it_was_made_for_alone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &OsStr| folder.path().join(name);
        let dir = OwnedFd::from(File::open(folder.path()).unwrap());
        let (one, other) = (Mark::new(1).unwrap(), Mark::new(2).unwrap());
        let later = Mark::new(1).unwrap();
        write(at(OsStr::new("file")), "data").unwrap();
        let birth = birth_at(&dir, OsStr::new("file")).unwrap().unwrap();
        let name = one.name_for(&dir, birth).unwrap();
        let finds = |mark: Mark, name: &OsStr| mark.find(&dir, name).unwrap().is_some();
        assert!(!finds(later, &name), "nothing stands there");
        rename(at(OsStr::new("file")), at(&name)).unwrap();
        assert!(finds(later, &name) && !finds(other, &name));
        assert!(one.is_new(&name) && !later.is_new(&name));
        let again = one.name_for(&dir, birth).unwrap();
        assert_ne!(name, again);
        // Another file under the name, with the same data.
        remove_file(at(&name)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        write(at(&name), "data").unwrap();
        assert!(!finds(later, &name));
        for other in ["file", ".aiocp-", ".aiocp-0123456789abcdef", ".aiocp-é0123456789abcde"] {
            write(at(OsStr::new(other)), "").unwrap();
            assert!(!finds(later, OsStr::new(other)), "{other}");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no statx")]
    fn what_had_no_data_when_it_was_made_is_given_up_only_where_no_data_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &OsStr| folder.path().join(name);
        let dir = OwnedFd::from(File::open(folder.path()).unwrap());
        let later = Mark::new(1).unwrap();
        let name = Mark::new(1).unwrap().name_for_new().unwrap();
        for (contents, is_found) in [("", true), ("data", false)] {
            write(at(&name), contents).unwrap();
            assert_eq!(later.find(&dir, &name).unwrap().is_some(), is_found, "{contents:?}");
        }
        hard_link(at(&name), at(OsStr::new("second"))).unwrap();
        assert!(later.find(&dir, &name).unwrap().is_some(), "it has another name");
        remove_file(at(&name)).unwrap();
        std::fs::create_dir(at(&name)).unwrap();
        assert!(later.find(&dir, &name).unwrap().is_none(), "a directory is none of ours");
    }
}
