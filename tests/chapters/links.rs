//! Links between the pages, and from the documents at the top.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// What a document leads to within the repository: the line of each link, and its target.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (line, number) in without_code(text) {
        for (at, _) in line.match_indices("](") {
            let Some((target, _)) = line[at + 2..].split_once(')') else { continue };
            if !target.contains("://") {
                links.push((number, target));
            }
        }
        let definition = line.strip_prefix('[').and_then(|rest| rest.split_once("]: "));
        if let Some((_, target)) = definition.filter(|(_, target)| !target.contains("://")) {
            links.push((number, target));
        }
    }
    links
}

/// The lines outside of blocks of code, with their numbers.
fn without_code(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut is_code = false;
    text.lines().zip(1..).filter(move |(line, _)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The anchors of a document: its headings as GitHub and mdBook name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = without_code(text).filter_map(|(line, _)| {
        let heading = line.trim_start_matches('#');
        (heading.len() < line.len()).then(|| heading.trim())
    });
    let mut anchors = BTreeSet::new();
    for heading in headings {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let anchor: String = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let again = (1..).map(|number| format!("{anchor}-{number}"));
        let free =
            std::iter::once(anchor.clone()).chain(again).find(|name| !anchors.contains(name));
        anchors.extend(free);
    }
    anchors
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut done, part| {
        match part {
            Component::ParentDir => {
                done.pop();
            }
            Component::CurDir => {}
            part => done.push(part),
        }
        done
    })
}

/// The links of a document that lead nowhere. A page of the book may lead to nothing outside of it.
pub fn broken(root: &Path, document: &str) -> Vec<String> {
    let text = fs::read_to_string(root.join(document)).unwrap();
    let is_page = document.starts_with("docs/");
    let mut broken = Vec::new();
    for (line, target) in links(&text) {
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = match path {
            "" => PathBuf::from(document),
            path => normal(&Path::new(document).parent().unwrap().join(path)),
        };
        let is_there = root.join(&file).exists();
        let has_anchor = || match fs::read_to_string(root.join(&file)) {
            Ok(text) => anchors(&text).contains(anchor),
            Err(_) => false,
        };
        if !is_there || (!anchor.is_empty() && !has_anchor()) {
            broken.push(format!("{document}:{line}: {target} leads nowhere"));
        } else if is_page && !file.starts_with("docs") {
            broken.push(format!("{document}:{line}: {target} leads out of the book"));
        }
    }
    broken
}

#[test]
fn broken_links_are_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("docs")).unwrap();
    let page = "# A page\n[a](b.md) [b](#a-page) [c](#none) [d](../README.md)\n\
                ```sh\n[e](gone.md)\n```\n[f](https://x.example/gone)\n[g](b.md#two-words-1)\n\
                [h](b.md#two-words-2)\n[i]: gone.md\n";
    fs::write(folder.path().join("docs/a.md"), page).unwrap();
    fs::write(folder.path().join("docs/b.md"), "## Two words\n### `Two` words?\n").unwrap();
    fs::write(folder.path().join("README.md"), "").unwrap();
    let wanted = [
        "2: #none leads nowhere",
        "2: ../README.md leads out of the book",
        "8: b.md#two-words-2 leads nowhere",
        "9: gone.md leads nowhere",
    ];
    assert_eq!(broken(folder.path(), "docs/a.md"), wanted.map(|line| format!("docs/a.md:{line}")));
}
