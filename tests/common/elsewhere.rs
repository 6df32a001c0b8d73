//! Where a test works that changes its user, who may not reach the folder of the build if that is
//! below /root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::hard::set_mode;
use super::{copy_program, program};

/// A folder that every user can reach, and aiocp beside it.
pub struct Elsewhere {
    folder: PathBuf,
    aiocp: PathBuf,
    _root: TempDir,
}

impl Elsewhere {
    pub fn new() -> Self {
        let built = assert_cmd::cargo::cargo_bin!("aiocp");
        let is_reachable = is_reachable(built) && is_reachable(super::folder().path());
        // /tmp may be in memory.
        let root = match is_reachable {
            true => super::folder(),
            false => tempfile::tempdir_in("/var/tmp").unwrap(),
        };
        let (folder, aiocp) = (root.path().join("folder"), root.path().join("aiocp"));
        match is_reachable {
            true => symlink(built, &aiocp).unwrap(),
            false => copy_program(built, &aiocp),
        }
        fs::create_dir(&folder).unwrap();
        for path in [root.path(), &folder] {
            set_mode(path, 0o755);
        }
        Self { folder, aiocp, _root: root }
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// The program, in a place that every user can reach.
    pub fn aiocp(&self) -> &Path {
        &self.aiocp
    }

    /// setpriv(1) in this folder, for a user and the group of that number. What it runs is added.
    pub fn as_user(&self, user: u32) -> Command {
        let mut command = program("setpriv");
        command.args([format!("--reuid={user}"), format!("--regid={user}")]);
        command.arg("--clear-groups").current_dir(&self.folder);
        command
    }
}

/// Whether every user may search all folders above a path.
fn is_reachable(path: &Path) -> bool {
    let may_search = |above: &Path| fs::metadata(above).unwrap().permissions().mode() & 1 == 1;
    path.ancestors().skip(1).all(may_search)
}
