//! A list of paths to copy instead of a whole tree.

use std::ffi::{OsStr, OsString};
use std::path::{Component, Path, PathBuf};

use super::list::Listed;
use super::walk::{Visitor, Walk};
use crate::error::{Error, Operation};
use crate::fs;

/// Paths below an operand, each once and sorted by component, so that each directory is entered
/// once.
#[derive(Clone, Debug, Default)]
pub struct List(Vec<Vec<OsString>>);

impl List {
    /// Reads paths as they are written in a list: slashes at their beginning count for nothing.
    /// Those that go up with `..` come back beside it.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> (Self, Vec<PathBuf>) {
        let (mut list, mut refused) = (Vec::new(), Vec::new());
        for path in paths {
            match components(&path) {
                Some(names) => list.push(names),
                None => refused.push(path),
            }
        }
        list.sort();
        list.dedup();
        (Self(list), refused)
    }

    /// Whether it names anything but the operand itself.
    pub fn has_names_below(&self) -> bool {
        self.0.last().is_some_and(|names| !names.is_empty())
    }

    /// Whether the operand itself is on it.
    pub fn is_everything(&self) -> bool {
        self.0.first().is_some_and(Vec::is_empty)
    }
}

fn components(path: &Path) -> Option<Vec<OsString>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_owned()),
            Component::ParentDir => return None,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(names)
}

impl<V: Visitor> Walk<'_, V> {
    /// Hands out what is on the list, below the directory that was just entered.
    pub(super) fn walk_listed(&mut self, list: &List) {
        let mut open: &[OsString] = &[];
        // A directory that is copied whole, or could not be entered, which has been told.
        let mut settled: Option<&[OsString]> = None;
        for path in &list.0 {
            if self.visitor.is_stopped() {
                return;
            }
            if settled.is_some_and(|settled| path.starts_with(settled)) {
                continue;
            }
            let Some((last, above)) = path.split_last() else { continue };
            let common = open.iter().zip(above).take_while(|(one, other)| one == other).count();
            self.finish_to(1 + common);
            open = &above[..common];
            while open.len() < above.len()
                && self.look_up(&above[open.len()]).is_some_and(|dir| self.enter_unlisted(dir))
            {
                open = &above[..open.len() + 1];
            }
            if open.len() < above.len() {
                settled = Some(&above[..open.len() + 1]);
            } else if let Some(listed) = self.look_up(last)
                && self.found(listed)
            {
                settled = Some(path);
            }
        }
    }

    /// A name as a listing of the last level would have it.
    fn look_up(&self, name: &OsStr) -> Option<Listed> {
        let level = self.levels.last()?;
        let stat = level.dir.open().and_then(|open| {
            fs::stat_at(&open.source, name)
                .and_then(|stat| {
                    stat.ok_or_else(|| std::io::Error::from_raw_os_error(libc::ENOENT))
                })
                .map_err(|cause| Error::new(Operation::Stat, open.source_path(name), cause))
        });
        match stat {
            Ok(stat) => {
                let kind = fs::FileType::from_raw_mode(stat.st_mode);
                Some(Listed { name: name.to_owned(), kind, ino: stat.st_ino })
            }
            Err(error) => {
                self.visitor.failed(error);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_sorted_and_holds_nothing_twice_or_outside() {
        let lines = [
            "b/c",
            "a//x",
            "/etc/passwd",
            "b",
            "a/./x",
            "../up",
            "b/../../up",
            "bc",
            "a-b",
            "./#odd",
            "a/x/",
        ];
        let (list, refused) = List::new(lines.map(PathBuf::from));
        let paths: Vec<PathBuf> = list.0.iter().map(|path| path.iter().collect()).collect();
        assert_eq!(
            paths,
            ["#odd", "a/x", "a-b", "b", "b/c", "bc", "etc/passwd"].map(PathBuf::from)
        );
        assert_eq!(refused, ["../up", "b/../../up"].map(PathBuf::from));
        let (all, _) = List::new([PathBuf::from("x"), PathBuf::from("./")]);
        assert!(all.is_everything() && !list.is_everything());
    }
}
