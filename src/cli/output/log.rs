//! `--log-file`: what happened, a line each, with the time.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cli::screen::units::count;
use crate::error::{Error, Operation, Result, shown};
use crate::report::{Copied, Event, Made, Way};

/// A file to which lines are added.
pub struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the file, and makes it if there is none. What stands in it stays.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options().append(true).create(true).open(path);
        let file = file.map_err(|cause| Error::new(Operation::OpenLog, path, cause))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Where it is, as the user would write it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line. It goes out in one write(2), so that lines of several runs do not mix.
    pub fn line(&self, text: &str) -> Result<()> {
        let line = format!("{} {text}\n", humantime::format_rfc3339_millis(SystemTime::now()));
        (&self.file).write_all(line.as_bytes()).map_err(|cause| self.error(cause))
    }

    /// Adds a line about an event.
    pub fn event(&self, event: &Event) -> Result<()> {
        self.line(&sentence(event))
    }

    /// Makes it durable.
    pub fn sync(&self) -> Result<()> {
        match self.file.sync_all() {
            // A FIFO or a terminal, see fsync(2).
            Err(cause) if cause.raw_os_error() == Some(libc::EINVAL) => Ok(()),
            synced => synced.map_err(|cause| self.error(cause)),
        }
    }

    fn error(&self, cause: io::Error) -> Error {
        Error::new(Operation::WriteLog, &self.path, cause)
    }
}

fn sentence(event: &Event) -> String {
    match event {
        Event::Copied(file) => copied(file),
        Event::Made(made) => self::made(made),
        Event::Skipped(path, why) => format!("skipped '{}': {why}", shown(path)),
        Event::Failed(error) => format!("failed: {error}"),
        Event::Warning(error) => format!("warning: {error}"),
        Event::Differs(difference) => format!("differs: {difference}"),
        Event::Same(path, proof) => format!("same '{}': {proof}", shown(path)),
        Event::NoKernelAio(reason) => format!("kernel AIO: {reason}; threads do its work"),
    }
}

fn copied(file: &Copied) -> String {
    let verb = match file.route.write {
        Way::Linked => "linked",
        Way::Planned => "would copy",
        _ => "copied",
    };
    let mut line = format!("{verb} '{}' -> '{}'", shown(&file.source), shown(&file.target));
    line += &format!(" ({}, {}", count(file.size_bytes, "byte", "bytes"), file.route);
    line.extend(file.proof.map(|proof| format!(", {proof}")));
    line.extend(
        file.hash.map(|hash| format!(", blake3 {}", blake3::Hash::from_bytes(hash).to_hex())),
    );
    line.extend(file.backup.as_ref().map(|backup| format!(", backup '{}'", shown(backup))));
    line + ")"
}

fn made(made: &Made) -> String {
    let backup = made
        .backup
        .as_ref()
        .map(|backup| format!(" (backup '{}')", shown(backup)))
        .unwrap_or_default();
    format!("made {} '{}'{backup}", made.kind, shown(&made.target))
}
