//! The destination of a file while it is being made: without a name, with a name that no one takes
//! for the real one, or the file itself that stands there and is written into.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sys::call::{Mode, OFlags, openat};
use rustix::io::Errno;

use super::hidden::Mark;
use super::identity::FileId;
use super::io::close_last;
use super::names::{keeps_names, link_open};
use super::open::open_beneath;
use super::stat::{FileType, Stat, birth_at, stat};
use super::temporary::{Given, IfTaken, Temporary, Unpublished, swapped};
use super::unavailable::is_unavailable;

/// A file in the making, in the directory where it is to appear. It ends in
/// [`publish`](Self::publish), [`discard`](Self::discard) or [`leave`](Self::leave); dropped
/// before, it is gone. One that stood there before and is written into stays in any case.
pub struct Target {
    file: Arc<OwnedFd>,
    dir: Arc<OwnedFd>,
    naming: Naming,
    /// What its hidden names are marked with.
    mark: Option<Mark>,
}

/// What name a target has.
enum Naming {
    None,
    /// A temporary one: where the filesystem has no unnamed files, or where that was asked for.
    Hidden(Temporary),
    /// Its final one.
    InPlace(InPlace),
}

/// A target that stood there before.
struct InPlace {
    /// Whether it was mounted at the name from elsewhere.
    is_mounted: bool,
    /// Whether writing into it has begun, so that what it held is gone in part.
    is_begun: AtomicBool,
}

impl Target {
    /// Makes an empty file that only its owner may read: `O_TMPFILE` where the filesystem has it,
    /// so that not even SIGKILL leaves anything behind. Elsewhere it has a hidden name, made with
    /// `O_EXCL`.
    pub fn create(dir: &Arc<OwnedFd>, mark: Option<Mark>) -> io::Result<Self> {
        Self::create_with(dir, mark, OWNER_S)
    }

    /// Makes an empty file with this mode, less the umask, if it has no name by which others could
    /// find it. With a name, only its owner may read it.
    pub fn create_with(dir: &Arc<OwnedFd>, mark: Option<Mark>, mode: u32) -> io::Result<Self> {
        match create_unnamed(dir, Mode::from_raw_mode(mode)) {
            Some(file) => Ok(Self::new(dir, file, Naming::None, mark)),
            None => Self::create_excl(dir, mark),
        }
    }

    /// Whether it has a name.
    pub fn is_named(&self) -> bool {
        !matches!(self.naming, Naming::None)
    }

    /// Whether a name was refused to a file that had none, as some sandboxes and filesystems do.
    /// It has to be made once more: all that are made from then on have names.
    pub fn must_be_named() -> bool {
        UNLINKABLE.load(Ordering::Relaxed)
    }

    /// Makes an empty file that only its owner may read, and that has a hidden name in any case.
    pub fn create_named(dir: &Arc<OwnedFd>, mark: Option<Mark>) -> io::Result<Self> {
        if let Some(file) = create_unnamed(dir, Mode::from_raw_mode(OWNER_S))
            && let Ok(temporary) = Temporary::link(dir, mark, &file)
        {
            return Ok(Self::new(dir, file, Naming::Hidden(temporary), mark));
        }
        // Where nothing may be linked, as in some sandboxes.
        Self::create_excl(dir, mark)
    }

    fn create_excl(dir: &Arc<OwnedFd>, mark: Option<Mark>) -> io::Result<Self> {
        let (file, temporary) = Temporary::open(dir, mark)?;
        Ok(Self::new(dir, file, Naming::Hidden(temporary), mark))
    }

    /// A file that stands there, open to be written into.
    pub(super) fn in_place(dir: &Arc<OwnedFd>, file: OwnedFd, is_mounted: bool) -> Self {
        let in_place = InPlace { is_mounted, is_begun: AtomicBool::new(false) };
        Self::new(dir, file, Naming::InPlace(in_place), None)
    }

    fn new(dir: &Arc<OwnedFd>, file: OwnedFd, naming: Naming, mark: Option<Mark>) -> Self {
        Self { file: Arc::new(file), dir: Arc::clone(dir), naming, mark }
    }

    /// Gives what an earlier run left another hidden name, and leaves it there.
    pub fn hide_again(
        dir: &Arc<OwnedFd>,
        name: &OsStr,
        stat: &Stat,
        mark: Mark,
    ) -> io::Result<OsString> {
        let mut temporary = Temporary::at(dir, name.to_owned(), FileId::of(stat));
        temporary.keep_for_next_run();
        let hidden = mark.name_for(dir, birth_at(dir, name)?.ok_or_else(swapped)?)?;
        temporary.rename(&hidden, IfTaken::Refuse)?;
        Ok(hidden)
    }

    /// The open file.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Its hidden name, if it has one.
    pub fn hidden_name(&self) -> Option<&OsStr> {
        match &self.naming {
            Naming::Hidden(temporary) => Some(temporary.name()),
            Naming::None | Naming::InPlace(_) => None,
        }
    }

    /// Whether it stood there before.
    pub fn is_in_place(&self) -> bool {
        matches!(self.naming, Naming::InPlace(_))
    }

    /// Whether it lies on another mount than its directory, so that what makes that durable may
    /// not reach it.
    pub fn is_mounted(&self) -> bool {
        matches!(&self.naming, Naming::InPlace(in_place) if in_place.is_mounted)
    }

    /// Writing into it begins: if it stood there before, what it held is gone in part from now on.
    pub fn begin(&self) {
        if let Naming::InPlace(in_place) = &self.naming {
            in_place.is_begun.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it stood there before and was written into.
    pub fn is_begun_in_place(&self) -> bool {
        matches!(&self.naming, Naming::InPlace(in_place)
            if in_place.is_begun.load(Ordering::Relaxed))
    }

    /// A process that ends at once is to leave the file to the next run.
    pub fn keep_for_next_run(&mut self) {
        if let Naming::Hidden(temporary) = &mut self.naming {
            temporary.keep_for_next_run();
        }
    }

    /// Gives a file that has no name a hidden one before it is synced. Where there is no journal,
    /// what is synced without a name is deleted by fsck(8) after a power cut, whatever leads to it.
    /// An older btrfs keeps nothing of it.
    pub fn name_ahead(&mut self, mark: Option<Mark>) -> io::Result<()> {
        if matches!(self.naming, Naming::None) {
            let linked = Temporary::link(&self.dir, mark, &self.file);
            self.naming =
                Naming::Hidden(linked.inspect_err(|cause| note_refusal(&self.dir, cause))?);
        }
        Ok(())
    }

    /// Puts the file under its final name in one step. On failure nothing of the new file is left,
    /// and what has the name stands. An unnamed file is still open when it has its name. An error
    /// of close(2) would come too late, but what was synced gives none. What stood there before has
    /// its name already.
    pub fn publish(self, name: &OsStr, if_taken: IfTaken) -> Result<Given, Unpublished> {
        let Self { file, dir, naming, mark } = self;
        match naming {
            Naming::None => {}
            Naming::InPlace(_) => return Ok(Given::to(file)),
            Naming::Hidden(temporary) => {
                let temporary = match temporary.stands() {
                    Ok(true) => temporary,
                    // Another file has it, or none: this one gets a new name, if it has one yet.
                    Ok(false) => {
                        temporary.leave();
                        let linked = Temporary::link(&dir, mark, &file);
                        linked.map_err(|cause| match cause.kind() {
                            io::ErrorKind::NotFound => swapped(),
                            _ => cause,
                        })?
                    }
                    Err(cause) => return Err(temporary.fail(cause)),
                };
                return match close_last(file) {
                    Ok(()) => temporary.rename(name, if_taken),
                    Err(cause) => Err(temporary.fail(cause)),
                };
            }
        }
        match link_open(&file, &dir, name) {
            // Something stands there: a second name first, since only a rename replaces in one
            // step.
            Err(Errno::EXIST) if if_taken == IfTaken::Replace => {
                let linked = Temporary::link(&dir, mark, &file)
                    .inspect_err(|cause| note_refusal(&dir, cause));
                Ok(linked?.rename(name, if_taken)?.of(file))
            }
            linked => {
                linked.map_err(io::Error::from).inspect_err(|cause| note_refusal(&dir, cause))?;
                Ok(Given::to(file))
            }
        }
    }

    /// Throws the file away, unless it stood there before. It is closed first: some filesystems
    /// make a file that is closed after its name is gone once more.
    pub fn discard(self) -> io::Result<()> {
        let closed = close_last(self.file);
        if let Naming::Hidden(temporary) = self.naming {
            temporary.remove()?;
        }
        closed
    }

    /// Leaves the file under its temporary name for the next run.
    pub fn leave(self) -> io::Result<()> {
        if let Naming::Hidden(temporary) = self.naming {
            temporary.leave();
        }
        close_last(self.file)
    }
}

/// The mode of what only its owner may read and write.
const OWNER_S: u32 = 0o600;

/// Whether linkat(2) has been refused to a file without a name: then no more of them are made.
static UNLINKABLE: AtomicBool = AtomicBool::new(false);

/// Takes note of why a file without a name got none. Without /proc only its descriptor can be
/// linked, which takes a right. A folder that may not be written has no such file: EACCES is a
/// sandbox's word as well.
fn note_refusal(dir: &Arc<OwnedFd>, cause: &io::Error) {
    use io::ErrorKind::{NotFound, PermissionDenied};
    let is_refused = is_unavailable(cause) || matches!(cause.kind(), NotFound | PermissionDenied);
    // A folder that keeps every name refuses hidden ones, and no others.
    if is_refused && !keeps_names(dir) {
        UNLINKABLE.store(true, Ordering::Relaxed);
    }
}

/// A file without a name; nothing where none is to be had. What else is wrong shows when one with a
/// name is made.
fn create_unnamed(dir: &OwnedFd, mode: Mode) -> Option<OwnedFd> {
    if UNLINKABLE.load(Ordering::Relaxed) {
        return None;
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::TMPFILE;
    openat(dir, c".", flags, mode).ok()
}

/// What an earlier run left under a hidden name.
pub struct Leftover {
    file: Arc<OwnedFd>,
    dir: Arc<OwnedFd>,
    name: OsString,
    mark: Mark,
}

impl Leftover {
    /// Opens what stands there, if that is what an earlier run left. The caller has to look whether
    /// it is what is to be gone on with.
    pub fn find(dir: &Arc<OwnedFd>, name: &OsStr, mark: Mark) -> io::Result<Option<Self>> {
        match mark.find(dir, name)? {
            Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {}
            _ => return Ok(None),
        }
        let file = match open_beneath(dir, name, OFlags::RDWR | OFlags::NONBLOCK) {
            Ok(file) => file,
            Err(cause) => match cause.raw_os_error() {
                Some(libc::ENOENT | libc::ELOOP | libc::ENXIO) => return Ok(None),
                _ => return Err(cause),
            },
        };
        // What was opened is what was found.
        let opened = stat(&file)?;
        if mark.find(dir, name)?.is_none_or(|found| FileId::of(&found) != FileId::of(&opened)) {
            return Ok(None);
        }
        Ok(Some(Self { file: Arc::new(file), dir: Arc::clone(dir), name: name.to_owned(), mark }))
    }

    /// The open file.
    pub fn file(&self) -> &Arc<OwnedFd> {
        &self.file
    }

    /// Goes on with it as with a file that this run made. A process that ends at once leaves it.
    pub fn take_over(self) -> io::Result<Target> {
        let Self { file, dir, name, mark } = self;
        let mut temporary = Temporary::at(&dir, name, FileId::of(&stat(&file)?));
        temporary.keep_for_next_run();
        Ok(Target { file, dir, naming: Naming::Hidden(temporary), mark: Some(mark) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, read, read_dir, write};
    use std::mem::ManuallyDrop;

    use super::*;
    use crate::fs;

    type Create = fn(&Arc<OwnedFd>) -> io::Result<Target>;
    const BOTH: [Create; 2] =
        [|dir| Target::create(dir, None), |dir| Target::create_named(dir, None)];

    fn open(folder: &tempfile::TempDir) -> Arc<OwnedFd> {
        Arc::new(File::open(folder.path()).unwrap().into())
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_published_file_replaces_the_old_one_and_leaves_nothing_else() {
        for create in BOTH {
            let folder = tempfile::tempdir().unwrap();
            let dir = open(&folder);
            for contents in ["first", "second"] {
                let target = create(&dir).unwrap();
                rustix::io::write(target.file(), contents.as_bytes()).unwrap();
                target.publish(OsStr::new("name"), IfTaken::Replace).unwrap();
                assert_eq!(read(folder.path().join("name")).unwrap(), contents.as_bytes());
            }
            assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_is_dropped_discarded_or_cannot_be_published_leaves_nothing() {
        for create in BOTH {
            let folder = tempfile::tempdir().unwrap();
            let dir = open(&folder);
            write(folder.path().join("old"), "old").unwrap();
            std::fs::create_dir(folder.path().join("dir")).unwrap();
            drop(create(&dir).unwrap());
            create(&dir).unwrap().discard().unwrap();
            let publish = |name: &str, if_taken| {
                let error = create(&dir).unwrap().publish(OsStr::new(name), if_taken);
                error.unwrap_err().cause.raw_os_error()
            };
            assert_eq!(publish("dir", IfTaken::Replace), Some(libc::EISDIR));
            assert_eq!(publish("old", IfTaken::Refuse), Some(libc::EEXIST));
            assert_eq!(read_dir(folder.path()).unwrap().count(), 2);
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_file_in_the_making_is_its_owner_s_alone() {
        let folder = tempfile::tempdir().unwrap();
        let dir = open(&folder);
        for create in BOTH {
            let target = create(&dir).unwrap();
            assert_eq!(fs::stat(&**target.file()).unwrap().st_mode & 0o7777, 0o600);
        }
    }

    /// The only hidden name in a folder.
    fn hidden(folder: &tempfile::TempDir) -> Option<OsString> {
        let names = read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let mut hidden = names.filter(|name| name.as_encoded_bytes().starts_with(b".aiocp-"));
        let first = hidden.next();
        assert!(hidden.next().is_none());
        first
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_another_file_has_taken_is_neither_published_nor_removed() {
        for (is_lost, ends_in) in [(true, "error"), (false, "error"), (false, "discard")] {
            let folder = tempfile::tempdir().unwrap();
            let (dir, at) = (open(&folder), |name: &OsStr| folder.path().join(name));
            write(at(OsStr::new("name")), "old").unwrap();
            let target = Target::create_named(&dir, None).unwrap();
            rustix::io::write(target.file(), b"new").unwrap();
            let hidden = hidden(&folder).unwrap();
            // Without another name there is nothing that could get one once more.
            match is_lost {
                true => std::fs::remove_file(at(&hidden)).unwrap(),
                false => std::fs::rename(at(&hidden), at(OsStr::new("aside"))).unwrap(),
            }
            write(at(&hidden), "precious").unwrap();
            let (name, contents): (_, &[u8]) = (
                OsStr::new("name"),
                match (is_lost, ends_in) {
                    (false, "error") => b"new",
                    _ => b"old",
                },
            );
            let ended = match ends_in {
                "discard" => target.discard().is_ok(),
                _ => target.publish(name, IfTaken::Replace).is_ok(),
            };
            assert_eq!(ended, !is_lost, "{ends_in}");
            assert_eq!(read(at(name)).unwrap(), contents);
            assert_eq!(read(at(&hidden)).unwrap(), b"precious");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_is_found_is_left_alone_until_it_is_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let dir = open(&folder);
        let (earlier, later) = (Mark::new(1).unwrap(), Mark::new(1).unwrap());
        for create in [Target::create_named, Target::create_excl] {
            create(&dir, Some(earlier)).unwrap().leave().unwrap();
            let name = hidden(&folder).unwrap();
            let find = || Leftover::find(&dir, &name, later).unwrap();
            drop(find().expect("it was left"));
            assert!(folder.path().join(&name).exists());
            drop(find().expect("it stands").take_over().unwrap());
            assert!(find().is_none() && hidden(&folder).is_none());
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn what_stands_when_the_process_ends_is_removed_but_for_what_the_next_run_goes_on_with() {
        // In a process of its own, since no thread makes names any more then.
        let folder = tempfile::tempdir().unwrap();
        let dir = open(&folder);
        let kept = Mark::new(1).unwrap();
        if let Some(how) = std::env::var_os("AIOCP_REMOVES_TEMPORARIES") {
            // Nothing is unwound: a name that was dropped afterwards would wait for ever.
            let made = |mark| ManuallyDrop::new(Target::create_named(&dir, mark).unwrap());
            let (_stands, mut left) = (made(None), made(Some(kept)));
            left.keep_for_next_run();
            match how == "at once" {
                true => fs::remove_temporaries_at_once(),
                false => fs::remove_temporaries(),
            }
            assert_eq!(read_dir(folder.path()).unwrap().count(), 1);
            drop(folder);
            std::process::exit(0);
        }
        for how in ["in time", "at once"] {
            let mut test = std::process::Command::new(std::env::current_exe().unwrap());
            let name = "fs::target::tests::what_stands_when_the_process_ends";
            test.args(["--test-threads=1", name]).env("AIOCP_REMOVES_TEMPORARIES", how);
            let output = test.output().unwrap();
            assert!(output.status.success(), "{how}: {output:?}");
        }
    }
}
