//! Files that are written when the copy is over. They appear whole, like the files that were
//! copied.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::fs::call::CWD;

use super::standing::{Writing, folder_of, foresee, give_rights, open_over};
use crate::error::{Error, Operation, Result};
use crate::fs::{self, FileType, IfTaken, Target};

/// Where something goes when the copy is over.
pub struct OutputFile {
    /// What it is, as in "the manifest".
    pub what: &'static str,
    to: To,
}

/// What the path led to before anything was copied. No link that the copy makes may lead it
/// elsewhere.
enum To {
    /// Standard output.
    Stdout,
    /// A file of its own.
    File(PathBuf, Writing),
    /// A device, a FIFO or an open file of the process. It is written into: nothing may take the
    /// place of /dev/null.
    Into(PathBuf),
}

impl OutputFile {
    /// Finds the place before anything is copied, and refuses one that could not be written after
    /// it. The folder may be one that the copy makes.
    pub fn check(what: &'static str, path: &Path, destination: &Path) -> Result<Self> {
        if path.as_os_str().as_bytes() == b"-" {
            return Ok(Self { what, to: To::Stdout });
        }
        let to = find(path, destination);
        Ok(Self { what, to: to.map_err(|cause| Error::new(Operation::Write, path, cause))? })
    }

    /// Whether it goes to stdout.
    pub fn is_stdout(&self) -> bool {
        matches!(self.to, To::Stdout)
    }

    /// Where it is a file of its own, if it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.to {
            To::File(path, _) => Some(path),
            To::Stdout | To::Into(_) => None,
        }
    }

    /// Whether `file`, a path of the copy, is where this would go.
    pub fn is_at(&self, file: &Path) -> io::Result<bool> {
        match &self.to {
            To::File(path, _) if path.file_name() == file.file_name() => is_same_place(path, file),
            _ => Ok(false),
        }
    }

    /// Writes it with `fill`, and makes it durable if `sync` says so.
    pub fn write(
        &self,
        sync: bool,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        match &self.to {
            To::Stdout => {
                let written = fs::stdout().and_then(|out| {
                    let mut out = io::BufWriter::new(out.lock());
                    fill(&mut out)?;
                    out.flush()
                });
                written.map_err(|cause| Error::new(Operation::WriteTo, "stdout", cause))
            }
            To::Into(path) => {
                write_into(path, fill).map_err(|cause| Error::new(Operation::Write, path, cause))
            }
            To::File(path, writing) => match writing {
                Writing::Replace => write_file(path, sync, fill),
                Writing::Over => write_over(path, sync, fill),
            }
            .map_err(|cause| Error::new(Operation::Write, path, cause)),
        }
    }
}

/// Where what is written to `path` goes: a link is followed now.
fn find(path: &Path, destination: &Path) -> io::Result<To> {
    let is_link = path.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
    let stat = match fs::stat_following(CWD, path.as_os_str()) {
        // A link that leads nowhere is an error now and not after hours.
        Err(cause) if is_link => return Err(cause),
        Err(_) => return Ok(To::File(path.to_owned(), foresee(path, destination)?)),
        Ok(stat) => stat,
    };
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::Directory {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    if is_link
        && fs::compare(io::stdout(), fs::open_path_behind(CWD, path.as_os_str())?)?.is_likely()
    {
        return Ok(To::Stdout);
    }
    if kind != FileType::RegularFile || fs::call::realpath(folder_of(path))?.starts_with("/proc") {
        return Ok(To::Into(path.to_owned()));
    }
    let path = if is_link { fs::canonical(path)? } else { path.to_owned() };
    let writing = foresee(&path, destination)?;
    Ok(To::File(path, writing))
}

fn write_into(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = io::BufWriter::new(std::fs::File::options().append(true).open(path)?);
    fill(&mut out)?;
    out.flush()
}

/// Whether `path` is in the folder of `file`, which exists. A folder that cannot be resolved is an
/// error, since the answer "no" could cost a file.
pub fn is_same_place(path: &Path, file: &Path) -> io::Result<bool> {
    match fs::canonical(folder_of(path)) {
        Ok(folder) => Ok(folder == fs::canonical(folder_of(file))?),
        // The file's folder exists, so that one that does not is another.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_over(
    path: &Path,
    sync: bool,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let file = open_over(path)?;
    file.set_len(0)?;
    let mut out = io::BufWriter::new(&file);
    fill(&mut out)?;
    out.flush()?;
    if sync { file.sync_all() } else { Ok(()) }
}

fn write_file(
    path: &Path,
    sync: bool,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let folder = Arc::new(fs::open_folder_to_fill(folder_of(path))?);
    let name = path.file_name().ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR))?;
    let target = Target::create(&folder, None)?;
    let file = Arc::clone(target.file());
    let complete = |file: &File| {
        give_rights(file, &folder, name)?;
        if sync { fs::sync_file(file) } else { Ok(()) }
    };
    let given = match filled(target, fill, complete)?.publish(name, IfTaken::Replace) {
        // What cannot be linked is written once more, under a name.
        Err(_) if Target::must_be_named() => {
            let copy = |out: &mut dyn Write| copy_all(&file, out);
            let named = filled(Target::create(&folder, None)?, copy, complete)?;
            named.publish(name, IfTaken::Replace)?
        }
        published => published?,
    };
    if sync {
        // Without a journal the file is not kept as one that has a name before it is synced again.
        fs::sync_file(&*file)?;
        fs::sync_folder(&folder)?;
    }
    drop(file);
    given.close()
}

/// Fills and completes a file that has no final name yet, or throws it away.
fn filled(
    target: Target,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    complete: impl Fn(&File) -> io::Result<()>,
) -> io::Result<Target> {
    let fill = || {
        let file = File::from(target.file().try_clone()?);
        let mut out = io::BufWriter::new(&file);
        fill(&mut out)?;
        out.flush()?;
        drop(out);
        complete(&file)
    };
    match fill() {
        Ok(()) => Ok(target),
        Err(error) => {
            target.discard()?;
            Err(error)
        }
    }
}

/// Writes what a file holds.
fn copy_all(file: &OwnedFd, out: &mut dyn Write) -> io::Result<()> {
    let mut file = File::from(file.try_clone()?);
    file.rewind()?;
    io::copy(&mut file, out).map(drop)
}
