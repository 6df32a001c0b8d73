//! The rules of the house: each is a function from the repository's files to its breaches, so that
//! a test can hold it against the repository and against a small example that breaks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

pub mod arrows;
pub mod circles;
pub mod evidence;
pub mod figures;
pub mod form;
pub mod modules;
pub mod pointers;
pub mod shown;
pub mod skips;
pub mod syntax;
pub mod table;
pub mod traces;
pub mod types;
pub mod uses;

use syntax::Form;
use uses::Use;

/// A text file of the repository.
pub struct Source {
    /// Relative to the repository.
    pub path: String,
    pub text: String,
}

/// A place where a rule is broken.
pub struct Breach {
    pub file: String,
    pub line: usize,
    pub what: String,
}

impl Breach {
    pub fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// All that the rules look at. It is plain data, since syntax trees cannot be shared by threads.
pub struct House {
    pub sources: Vec<Source>,
    /// The form of each Rust file outside `tests`.
    pub forms: Vec<Form>,
    /// What the modules below `src` name of each other.
    pub uses: Vec<Use>,
    /// The files below `src` that a crate's root or a `mod` declaration leads to.
    declared: BTreeSet<String>,
}

impl House {
    pub fn new(sources: Vec<Source>) -> Self {
        let code = |source: &&Source| syntax::is_code(&source.path);
        let parsed: BTreeMap<&str, syntax::Parsed> = (sources.iter().filter(code))
            .map(|source| (&*source.path, syntax::Parsed::new(source)))
            .collect();
        let forms = parsed.iter().map(|(path, parsed)| parsed.form(path)).collect();
        let (uses, declared) =
            uses::all(&parsed.iter().map(|(path, parsed)| (*path, &parsed.tree)).collect());
        Self { sources, forms, uses, declared }
    }

    /// An example: pairs of a path and a text.
    pub fn example(files: &[(&str, &str)]) -> Self {
        let source =
            |(path, text): &(&str, &str)| Source { path: (*path).into(), text: (*text).into() };
        Self::new(files.iter().map(source).collect())
    }

    /// What people have written in the repository.
    pub fn repository(root: &Path) -> Self {
        let source = |path: String| match fs::read_to_string(root.join(&path)) {
            Ok(text) => Some(Source { path, text }),
            // Git names a file that was deleted until that is committed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{path}: {error}"),
        };
        let written = listed(root).into_iter().filter(|path| form::is_written(path));
        Self::new(written.filter_map(source).collect())
    }

    pub fn source(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.path == path)
    }

    /// The Rust files below `src`, without that prefix.
    pub fn in_src(&self) -> impl Iterator<Item = (&str, &Source)> {
        let below_src = |source| Some((below_src(source)?, source));
        self.sources.iter().filter_map(below_src)
    }
}

/// Files that no module declares, or by a way that the rules do not know: they would see nothing of
/// what such a file needs.
pub fn unread_files(house: &House) -> Vec<Breach> {
    let unread = house.in_src().filter(|(_, source)| !house.declared.contains(&source.path));
    unread.map(|(_, source)| Breach::new(&source.path, 1, "no module declares it")).collect()
}

/// A path in the package that it belongs to: those of the workspace lie below `crates`.
pub fn in_package(path: &str) -> &str {
    let below = path.strip_prefix("crates/").and_then(|path| path.split_once('/'));
    below.map_or(path, |(_, path)| path)
}

fn below_src(source: &Source) -> Option<&str> {
    source.path.strip_prefix("src/").filter(|path| path.ends_with(".rs"))
}

/// The room that a path below `src` belongs to.
pub fn room(below_src: &str) -> &str {
    below_src.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// What git tracks or would track. A source package has no git, but no other files either.
fn listed(root: &Path) -> Vec<String> {
    let list = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    match Command::new("git").arg("-C").arg(root).args(list).output() {
        Ok(output) if output.status.success() => {
            let list = String::from_utf8(output.stdout).expect("names are UTF-8");
            list.split_terminator('\0').map(str::to_owned).collect()
        }
        _ => walked(root),
    }
}

fn walked(root: &Path) -> Vec<String> {
    walkdir::WalkDir::new(root)
        .into_iter()
        .filter_entry(|entry| entry.file_name() != "target" && entry.file_name() != ".git")
        .map(|entry| entry.expect("the repository can be listed"))
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            let path = entry.path().strip_prefix(root).expect("it lies below");
            path.to_str().expect("names are UTF-8").to_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_no_module_declares_is_reported() {
        let files = [("src/lib.rs", "mod a;"), ("src/a.rs", "mod b;"), ("src/a/b.rs", "")];
        assert!(unread_files(&House::example(&files)).is_empty());
        let orphan = [&files[..], &[("src/c.rs", "")]].concat();
        let breaches = unread_files(&House::example(&orphan));
        let said: Vec<_> = breaches.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["src/c.rs:1: no module declares it"]);
    }

    #[test]
    fn a_package_without_git_is_listed_as_well() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("target/debug")).unwrap();
        fs::create_dir(root.path().join(".ci")).unwrap();
        for file in ["target/debug/a.rs", ".ci/run", "README.md"] {
            fs::write(root.path().join(file), "").unwrap();
        }
        let mut found = walked(root.path());
        found.sort();
        assert_eq!(found, [".ci/run", "README.md"]);
    }
}
