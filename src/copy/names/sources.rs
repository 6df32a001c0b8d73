//! The files of SOURCE, to be known by another of their names: writing into one of them would
//! change what is still to be copied, or was.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::error::{Cause, Error};
use crate::fs::{self, FileId, FileType, Stands, Stat};
use crate::tree::{self, Batch, EntryKind, Filter, Follow, OpenDirs, Scope, WalkEvent};

/// Pairs of directories that are kept open on the way.
const OPEN_DIRS_MAX: usize = 8;

/// What the user named, and all below it, whatever is copied of that.
pub struct SourceFiles {
    /// The paths of what was named, and what that answered.
    roots: Vec<(PathBuf, Stat)>,
    follow: Follow,
    /// Those that have several names.
    shared: OnceLock<Found>,
}

/// Some of these files.
struct Found {
    ids: HashSet<FileId>,
    /// Whether all were looked at.
    is_complete: bool,
}

impl Found {
    /// In doubt a file is one of them.
    fn may_have(&self, stat: &Stat) -> bool {
        !self.is_complete || self.ids.contains(&FileId::of(stat))
    }
}

impl SourceFiles {
    pub fn new(roots: Vec<(PathBuf, Stat)>, follow: Follow) -> Self {
        Self { roots, follow, shared: OnceLock::new() }
    }

    /// Whether several things were named, so that one may lead to what the copy of another made.
    pub fn are_several(&self) -> bool {
        self.roots.len() > 1
    }

    /// Whether a file that has further names, or is mounted where it stands, may be one of them.
    /// What was named is gone through for it: once for all that have several names, and once for
    /// each that is mounted.
    pub fn may_have(&self, stands: &Stands) -> bool {
        let stat = stands.stat();
        match stat.st_nlink > 1 {
            true => self.shared.get_or_init(|| self.find(|stat| stat.st_nlink > 1)).may_have(stat),
            false => self.find(|found| FileId::of(found) == FileId::of(stat)).may_have(stat),
        }
    }

    /// Goes through everything.
    fn find(&self, is_wanted: impl Fn(&Stat) -> bool) -> Found {
        let mut found = Found { ids: HashSet::new(), is_complete: true };
        let (filter, open_dirs) = (Filter::default(), OpenDirs::new(OPEN_DIRS_MAX));
        let scope = Scope::all(self.follow, &filter);
        for (path, stat) in &self.roots {
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let meet = &mut |event| match event {
                        WalkEvent::Batch(batch) => found.add_batch(batch, &is_wanted),
                        // What a link leads back to is gone through already.
                        WalkEvent::Failed(Error { cause: Cause::Cycle, .. }) => {}
                        WalkEvent::Failed(_) => found.is_complete = false,
                    };
                    tree::walk_single(path, &scope, &open_dirs, &|| false, meet);
                }
                _ => drop(found.ids.insert(FileId::of(stat))),
            }
        }
        found
    }
}

impl Found {
    fn add(&mut self, stat: &Stat, is_wanted: impl Fn(&Stat) -> bool) {
        if is_wanted(stat) {
            self.ids.insert(FileId::of(stat));
        }
    }

    fn add_batch(&mut self, Batch { dir, entries }: Batch, is_wanted: impl Fn(&Stat) -> bool) {
        let Ok(open) = dir.open() else {
            self.is_complete = false;
            return;
        };
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::File) {
            let stat = match entry.followed {
                true => fs::stat_behind(&open.source, &entry.name),
                false => fs::stat_at(&open.source, &entry.name),
            };
            match stat {
                Ok(Some(stat)) => self.add(&stat, &is_wanted),
                // What is gone is no file of it any more.
                Ok(None) => {}
                Err(_) => self.is_complete = false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, create_dir, hard_link, write};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no openat")]
    fn a_file_of_a_source_is_known_by_another_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["tree", "tree/sub", "elsewhere", "copy"] {
            create_dir(at(name)).unwrap();
        }
        for name in ["tree/sub/inside", "named", "elsewhere/behind", "elsewhere/other"] {
            write(at(name), name).unwrap();
        }
        symlink("../elsewhere/behind", at("tree/link")).unwrap();
        symlink("..", at("tree/sub/up")).unwrap();
        let root = |name: &str| {
            let path = at(name);
            let stat = fs::stat(File::open(&path).unwrap()).unwrap();
            (path, stat)
        };
        let dir = OwnedFd::from(File::open(at("copy")).unwrap());
        for (follow, behind) in [(Follow::Never, false), (Follow::Always, true)] {
            let sources = SourceFiles::new(vec![root("tree"), root("named")], follow);
            for (name, known) in [
                ("tree/sub/inside", true),
                ("named", true),
                ("elsewhere/behind", behind),
                ("elsewhere/other", false),
            ] {
                let link = at("copy").join(name.replace('/', "-"));
                if !link.exists() {
                    hard_link(at(name), &link).unwrap();
                }
                let stands = Stands::look(&dir, link.file_name().unwrap()).unwrap();
                assert_eq!(sources.may_have(&stands), known, "{name} {follow:?}");
            }
        }
    }
}
