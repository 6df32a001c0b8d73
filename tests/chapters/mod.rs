//! What the book's pages are held against: each other, the code, and what the commands do.

use std::path::{Path, PathBuf};

pub mod events;
pub mod hints;
pub mod links;
pub mod transcript;

pub fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

/// The pages below `docs`, relative to it, without the list of them.
pub fn pages() -> Vec<String> {
    let files = walkdir::WalkDir::new(docs()).sort_by_file_name().into_iter();
    let files = files.map(|entry| entry.expect("docs can be listed").into_path());
    let names = files.map(|path| path.strip_prefix(docs()).unwrap().display().to_string());
    names.filter(|name| name.ends_with(".md") && name != "SUMMARY.md").collect()
}

/// A page with what stands between two marks replaced.
pub fn replaced(page: &str, marks: (&str, &str), text: &str) -> String {
    let (before, rest) = page.split_once(marks.0).unwrap_or_else(|| panic!("no {}", marks.0));
    let (_, after) = rest.split_once(marks.1).unwrap_or_else(|| panic!("no {}", marks.1));
    format!("{before}{}\n\n{text}\n{}{after}", marks.0, marks.1)
}
