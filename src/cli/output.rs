//! Files that are written when the copy is over, and appear whole like the files that were copied.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use crate::copy::Target;
use crate::error::{Error, Result};
use crate::sys::fs::umask;

/// Where something goes when the copy is over.
pub(super) struct Output {
    /// What it is, as in "the manifest".
    pub(super) what: &'static str,
    /// None for stdout.
    path: Option<PathBuf>,
}

impl Output {
    /// Refuses before anything is copied what could not be written after it. The folder may be one that the copy makes.
    pub(super) fn check(what: &'static str, path: &Path, destination: &Path) -> Result<Self> {
        if path.as_os_str().as_bytes() == b"-" {
            return Ok(Self { what, path: None });
        }
        let refuse = |errno| Err(Error::new("write", path, io::Error::from_raw_os_error(errno)));
        if path.is_dir() || path.file_name().is_none() {
            return refuse(libc::EISDIR);
        }
        if !folder_of(path).is_dir() && !path.starts_with(destination) {
            return refuse(libc::ENOENT);
        }
        Ok(Self { what, path: Some(path.to_owned()) })
    }

    /// Whether it goes to stdout.
    pub(super) fn is_stdout(&self) -> bool {
        self.path.is_none()
    }

    /// Whether `file`, a path of the copy, is where this would go.
    pub(super) fn is_at(&self, file: &Path) -> io::Result<bool> {
        let Some(path) = self.path.as_deref().filter(|path| path.file_name() == file.file_name()) else {
            return Ok(false);
        };
        is_same_place(path, file)
    }

    /// Has `fill` write it, and makes it durable if it is to be.
    pub(super) fn write(&self, sync: bool, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        match &self.path {
            None => {
                let mut out = io::BufWriter::new(io::stdout().lock());
                let written = fill(&mut out).and_then(|()| out.flush());
                written.map_err(|cause| Error::new("write to", "stdout", cause))
            }
            Some(path) => write_file(path, sync, fill).map_err(|cause| Error::new("write", path, cause)),
        }
    }
}

/// Whether `path` is in the folder of `file`, which is there. A folder that cannot be resolved is an error, since the answer "no" could cost a file.
pub(super) fn is_same_place(path: &Path, file: &Path) -> io::Result<bool> {
    match folder_of(path).canonicalize() {
        Ok(folder) => Ok(folder == folder_of(file).canonicalize()?),
        // The file's folder is there, so that one that is not there is another.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn write_file(path: &Path, sync: bool, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    // /dev/null, /dev/stdout or a FIFO is written into; it would be a bad joke to put a file in its place.
    if path.metadata().is_ok_and(|stat| !stat.is_file()) {
        let mut out = io::BufWriter::new(std::fs::File::options().write(true).open(path)?);
        fill(&mut out)?;
        return out.flush();
    }
    let is_link = path.symlink_metadata().is_ok_and(|stat| stat.is_symlink());
    let path = &if is_link { path.canonicalize()? } else { path.to_owned() };
    let folder = std::fs::File::open(folder_of(path))?;
    let name = path.file_name().ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR))?;
    let target = Target::create(&folder, None)?;
    let fill = || {
        let file = std::fs::File::from(target.file().try_clone()?);
        let mut out = io::BufWriter::new(&file);
        fill(&mut out)?;
        out.flush()?;
        drop(out);
        // What open(2) would have given a new file. No thread is left that makes files meanwhile.
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o666 & !umask()))?;
        if sync { file.sync_all() } else { Ok(()) }
    };
    if let Err(error) = fill() {
        target.discard(&folder)?;
        return Err(error);
    }
    target.publish(&folder, name, true, None)?;
    if sync { folder.sync_all() } else { Ok(()) }
}
