//! A list of paths to copy instead of a whole tree.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// Paths below an operand, each once and sorted by component, so that each directory is entered
/// once.
#[derive(Clone, Debug, Default)]
pub struct List(Vec<Vec<OsString>>);

impl List {
    /// Reads paths as they are written in a list: slashes at their beginning count for nothing.
    /// Paths that go up with `..` come back beside the list.
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

    /// Whether a path below the operand is on it, or below what is.
    pub fn covers(&self, path: &Path) -> bool {
        let Some(names) = components(path) else { return false };
        self.0.iter().any(|listed| names.starts_with(listed))
    }

    /// The paths in their order, each as its names.
    pub(super) fn paths(&self) -> &[Vec<OsString>] {
        &self.0
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
