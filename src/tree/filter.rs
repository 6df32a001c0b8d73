//! Which entries of a tree are copied: rules as rsync(1) reads them, first match wins, and bounds
//! on the size of files.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use super::glob::Glob;
use crate::fs::FileType;

/// Which entries are copied.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    rules: Vec<Rule>,
    /// Regular files of fewer bytes are left out.
    min_bytes: Option<u64>,
    /// Regular files of more bytes are left out.
    max_bytes: Option<u64>,
}

/// What a rule does with the paths that match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Include,
    Exclude,
}

#[derive(Clone, Debug)]
struct Rule {
    effect: Effect,
    directories_only: bool,
    /// `None` matches nothing.
    glob: Option<Glob>,
    part: MatchedPart,
    /// The pattern begins with `**`, which also stands for nothing before a leading slash.
    slash_before: bool,
    /// The pattern ends with `***`, which matches a directory and what is in it.
    slash_after_directories: bool,
}

/// Which part of a path has to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MatchedPart {
    /// The last component.
    Name,
    /// All of it.
    Whole,
    /// This number of components at its end.
    Last(usize),
}

impl Filter {
    /// No rules, and these bounds.
    pub fn of_sizes(min_bytes: Option<u64>, max_bytes: Option<u64>) -> Self {
        Self { rules: Vec::new(), min_bytes, max_bytes }
    }

    /// Adds a rule that leaves out what matches. As in rsync, `+ ` before the pattern keeps it
    /// instead, and a lone `!` forgets all rules so far.
    pub fn exclude(&mut self, pattern: &[u8]) {
        self.add(pattern, Effect::Exclude);
    }

    /// Adds a rule that keeps what matches. As in rsync, `- ` before the pattern leaves it out
    /// instead, and a lone `!` forgets all rules so far.
    pub fn include(&mut self, pattern: &[u8]) {
        self.add(pattern, Effect::Include);
    }

    fn add(&mut self, pattern: &[u8], effect: Effect) {
        match pattern {
            b"!" => self.rules.clear(),
            [b'-', b' ', pattern @ ..] => self.rules.push(Rule::new(pattern, Effect::Exclude)),
            [b'+', b' ', pattern @ ..] => self.rules.push(Rule::new(pattern, Effect::Include)),
            pattern => self.rules.push(Rule::new(pattern, effect)),
        }
    }

    /// Whether there are rules on names, for which a path has to be put together.
    pub fn has_rules(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether the first rule that matches leaves `path`, relative to the operand's root, out.
    pub fn excludes(&self, path: &[u8], kind: FileType) -> bool {
        self.rules
            .iter()
            .find(|rule| rule.matches(path, kind == FileType::Directory))
            .is_some_and(|rule| rule.effect == Effect::Exclude)
    }

    /// Whether a walk from the operand's root would not get to `path`: it leaves out the path, or a
    /// directory on the way.
    pub fn leaves_out(&self, path: &Path, kind: FileType) -> bool {
        if !self.has_rules() {
            return false;
        }
        let mut below = Vec::new();
        let mut names = path.components().filter_map(|part| match part {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
            Component::ParentDir | Component::Normal(_) => Some(part.as_os_str()),
        });
        let mut next = names.next();
        while let Some(name) = next {
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend(name.as_bytes());
            next = names.next();
            let kind = if next.is_some() { FileType::Directory } else { kind };
            if self.excludes(&below, kind) {
                return true;
            }
        }
        false
    }

    /// Whether there are bounds on sizes, for which a file has to be looked at.
    pub fn has_sizes(&self) -> bool {
        self.min_bytes.is_some() || self.max_bytes.is_some()
    }

    /// Whether a regular file of this size is left out.
    pub fn excludes_size(&self, size_bytes: u64) -> bool {
        self.min_bytes.is_some_and(|min| size_bytes < min)
            || self.max_bytes.is_some_and(|max| size_bytes > max)
    }
}

impl Rule {
    fn new(pattern: &[u8], effect: Effect) -> Self {
        let (directories_only, pattern) = match pattern {
            [start @ .., b'/'] if !start.is_empty() => (true, start),
            pattern => (false, pattern),
        };
        let is_wild = pattern.iter().any(|byte| b"*?[".contains(byte));
        let has_star_star = pattern.windows(2).any(|pair| pair == b"**");
        let slash_before = pattern.starts_with(b"**");
        let slashes = pattern.iter().filter(|&&byte| byte == b'/').count();
        let (anchored, body) = match pattern {
            [b'/', body @ ..] => (true, body),
            body => (false, body),
        };
        let part = match (anchored, slashes) {
            (false, 0) if !has_star_star => MatchedPart::Name,
            (false, slashes) if !has_star_star => MatchedPart::Last(slashes + 1),
            _ => MatchedPart::Whole,
        };
        let glob = if is_wild { Glob::wild(body) } else { Some(Glob::literal(body)) };
        let begins_anywhere = !anchored && has_star_star && !slash_before;
        Self {
            effect,
            directories_only,
            glob: if begins_anywhere { glob.map(Glob::behind_any_slash) } else { glob },
            part,
            slash_before,
            slash_after_directories: has_star_star && pattern.ends_with(b"***"),
        }
    }

    fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        let Some(glob) = &self.glob else { return false };
        if self.directories_only && !is_directory {
            return false;
        }
        let after = self.slash_after_directories && is_directory;
        if self.slash_before || after {
            let (before, after): (&[u8], &[u8]) =
                (if self.slash_before { b"/" } else { b"" }, if after { b"/" } else { b"" });
            return self.reaches(glob, &[before, path, after].concat());
        }
        self.reaches(glob, path)
    }

    fn reaches(&self, glob: &Glob, path: &[u8]) -> bool {
        let mut slashes =
            path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        match self.part {
            MatchedPart::Whole => glob.matches(path),
            MatchedPart::Name => {
                glob.matches(slashes.next_back().map_or(path, |slash| &path[slash + 1..]))
            }
            MatchedPart::Last(count) => {
                let components = slashes.clone().count() + 1;
                let start = slashes.nth_back(count - 1).map_or(0, |slash| slash + 1);
                components >= count && glob.matches(&path[start..])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(patterns: &[&str], path: &str) -> bool {
        let mut filter = Filter::default();
        for pattern in patterns {
            filter.exclude(pattern.as_bytes());
        }
        let (path, kind) = match path.strip_suffix('/') {
            Some(path) => (path, FileType::Directory),
            None => (path, FileType::RegularFile),
        };
        filter.excludes(path.as_bytes(), kind)
    }

    #[test]
    fn patterns_reach_what_rsync_documents() {
        for (pattern, yes, no) in [
            ("foo", &["foo", "a/foo", "a/foo/"][..], &["foot", "foo/x"][..]),
            ("/foo", &["foo"], &["a/foo"]),
            ("foo/", &["foo/", "a/foo/"], &["foo"]),
            ("a/foo", &["a/foo", "x/a/foo"], &["xa/foo", "a/x/foo"]),
            ("foo/*/bar", &["foo/x/bar", "a/foo/x/bar"], &["foo/x/y/bar", "foo/bar"]),
            ("foo/**", &["foo/x", "a/foo/x/y"], &["foo/", "afoo/x"]),
            ("**/foo", &["foo", "a/b/foo"], &["afoo"]),
            ("foo/***", &["foo/", "foo/x/y"], &["foo"]),
            ("/*/", &["a/"], &["a", "a/b/"]),
            ("*.[ch]", &["a/x.c", "x.h"], &["x.o"]),
            ("back\\slash", &["back\\slash"], &["backslash"]),
        ] {
            for path in yes {
                assert!(excluded(&[pattern], path), "{pattern} leaves {path} out");
            }
            for path in no {
                assert!(!excluded(&[pattern], path), "{pattern} keeps {path}");
            }
        }
    }

    #[test]
    fn the_first_match_wins_and_prefixes_overrule() {
        assert!(!excluded(&["+ *.c", "*"], "x.c"));
        assert!(excluded(&["+ *.c", "*"], "x.o"));
        assert!(excluded(&["- x", "+ x"], "x"));
        assert!(!excluded(&["x", "!"], "x"));
    }

    #[test]
    fn sizes_are_bounds_that_belong_to_what_is_kept() {
        let filter = Filter::of_sizes(Some(2), Some(4));
        let kept: Vec<u64> = (0..7).filter(|&size| !filter.excludes_size(size)).collect();
        assert_eq!(kept, [2, 3, 4]);
    }
}
