//! `--log-file`: what happened, a line each, with the time.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use super::standing::folder_of;
use crate::cli::screen::units::count;
use crate::error::{Error, Operation, Result, quoted};
use crate::fs::{self, call::CWD};
use crate::report::{Copied, Event, Made, Way};

/// A file to which lines are added, once it is known to be none of the copy's.
pub struct Log {
    path: PathBuf,
    /// Where a link led to at first.
    place: PathBuf,
    /// It takes no lines, since it is one of the copy's.
    is_refused: AtomicBool,
    /// The file that stands there, until it is written to.
    found: Mutex<Option<File>>,
    file: OnceLock<File>,
    /// Lines from before that.
    held: Mutex<Vec<u8>>,
}

impl Log {
    /// Finds the place, and refuses one that cannot be written. Nothing is made or written yet.
    pub fn check(path: &Path) -> Result<Self> {
        let found = match File::options().append(true).open(path) {
            Ok(file) => Ok(Some(file)),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => may_appear(path),
            Err(cause) => Err(cause),
        };
        let found = found.map_err(|cause| Error::new(Operation::OpenLog, path, cause))?;
        Ok(Self {
            path: path.to_owned(),
            place: fs::canonical(path).unwrap_or_else(|_| path.to_owned()),
            is_refused: AtomicBool::new(false),
            found: Mutex::new(found),
            file: OnceLock::new(),
            held: Mutex::default(),
        })
    }

    /// Has it take no lines: it is one of the copy's files.
    pub fn refuse(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }

    /// Where it is, behind a link that its path may be.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Makes the file if there is none, and adds the lines that were held back. What stands in it
    /// stays.
    pub fn open(&self) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if self.file.get().is_some() || self.is_refused.load(Ordering::Relaxed) {
            return Ok(());
        }
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner).take();
        let file = match found {
            Some(file) => Ok(file),
            None => File::options().append(true).create(true).open(&self.path),
        };
        let opened = file
            .map_err(|cause| Error::new(Operation::OpenLog, &self.path, cause))
            .and_then(|file| self.add(&file, &std::mem::take(&mut *held)).map(|()| file));
        match opened {
            Ok(file) => _ = self.file.set(file),
            Err(error) => {
                // What could not be begun is an error once.
                self.refuse();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Where it is, as the user would write it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line. It goes out in one write(2), so that lines of several runs do not mix.
    pub fn line(&self, text: &str) -> Result<()> {
        let line = format!("{} {text}\n", humantime::format_rfc3339_millis(SystemTime::now()));
        if self.file.get().is_none() {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            if self.file.get().is_none() {
                held.extend(line.into_bytes());
                return Ok(());
            }
        }
        self.file.get().map_or(Ok(()), |file| self.add(file, line.as_bytes()))
    }

    /// Adds a line about an event.
    pub fn event(&self, event: &Event) -> Result<()> {
        self.line(&sentence(event))
    }

    /// Makes it durable.
    pub fn sync(&self) -> Result<()> {
        match self.file.get().map_or(Ok(()), File::sync_all) {
            // A FIFO or a terminal, see fsync(2).
            Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            synced => synced.map_err(|cause| self.error(cause)),
        }
    }

    fn add(&self, mut file: &File, lines: &[u8]) -> Result<()> {
        file.write_all(lines).map_err(|cause| self.error(cause))
    }

    fn error(&self, cause: io::Error) -> Error {
        Error::new(Operation::WriteLog, &self.path, cause)
    }
}

/// Whether a file that is missing can be made, without making it.
fn may_appear(path: &Path) -> io::Result<Option<File>> {
    let folder = fs::open_path_behind(CWD, folder_of(path).as_os_str())?;
    fs::may_make(folder)?;
    Ok(None)
}

fn sentence(event: &Event) -> String {
    match event {
        Event::Copied(file) => copied(file),
        Event::Made(made) => self::made(made),
        Event::Skipped(path, why) => format!("skipped {}: {why}", quoted(path)),
        Event::Failed(error) => format!("failed: {error}"),
        Event::Warning(error) => format!("warning: {error}"),
        Event::Differs(difference) => format!("differs: {difference}"),
        Event::Same(path, proof) => format!("same {}: {proof}", quoted(path)),
        Event::NoKernelAio(reason) => format!("kernel AIO: {reason}; threads do its work"),
    }
}

fn copied(file: &Copied) -> String {
    let verb = match file.route.write {
        Way::Linked => "linked",
        Way::Planned => "would copy",
        _ => "copied",
    };
    let mut line = format!("{verb} {} -> {}", quoted(&file.source), quoted(&file.target));
    line += &format!(" ({}, {}", count(file.size_bytes, "byte", "bytes"), file.route);
    line.extend(file.proof.map(|proof| format!(", {proof}")));
    line.extend(
        file.hash.map(|hash| format!(", blake3 {}", blake3::Hash::from_bytes(hash).to_hex())),
    );
    line.extend(file.backup.as_ref().map(|backup| format!(", backup {}", quoted(backup))));
    line + ")"
}

fn made(made: &Made) -> String {
    let backup = made
        .backup
        .as_ref()
        .map(|backup| format!(" (backup {})", quoted(backup)))
        .unwrap_or_default();
    format!("made {} {}{backup}", made.kind, quoted(&made.target))
}
