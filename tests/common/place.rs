//! A folder to run the command in, for tests that describe it before and after.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use super::*;

/// A folder to work in.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(folder())
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes files with their contents; a name with a trailing slash is a directory.
    pub fn with(files: &[(&str, &str)]) -> Self {
        let place = Self::new();
        for (name, contents) in files {
            if name.ends_with('/') {
                fs::create_dir_all(place.at(name)).unwrap();
            } else {
                fs::create_dir_all(place.at(name).parent().unwrap()).unwrap();
                fs::write(place.at(name), contents).unwrap();
            }
        }
        place
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = aiocp();
        command
            .current_dir(self.0.path())
            .args(args)
            .env_remove("VERSION_CONTROL")
            .env_remove("SIMPLE_BACKUP_SUFFIX");
        command
    }

    pub fn cp(&self, args: &[&str]) -> String {
        String::from_utf8(run(&mut self.command(args), 0).stdout).unwrap()
    }

    /// Runs a command that has to fail, and returns its one line.
    pub fn refused(&self, args: &[&str]) -> String {
        let text = stderr(&run(&mut self.command(args), 1));
        assert!(text.starts_with("aiocp: cannot "), "{args:?}: {text}");
        text
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The names in a directory, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.at(name))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub fn age(&self, name: &str, seconds: u64) {
        set_times(&self.at(name), seconds, 0);
    }

    pub fn inode(&self, name: &str) -> u64 {
        fs::symlink_metadata(self.at(name)).unwrap().ino()
    }

    pub fn answered(&self, args: &[&str], answers: &str) -> Output {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }
}

pub fn fifo(path: &Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
}
