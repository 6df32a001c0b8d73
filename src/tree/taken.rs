//! The names that a run has taken in a directory of the destination, to be found by what stands
//! under another spelling of them. Pure.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::sync::Arc;

use crate::fs::{FileId, Stat};

/// More names than this that look alike are told apart by inode numbers alone.
const ALIKE_MAX: usize = 256;

/// Names, with the files that were found under them.
#[derive(Default)]
pub struct TakenNames {
    names: HashSet<Arc<OsStr>>,
    by_number: HashMap<FileId, Vec<Arc<OsStr>>>,
    /// Filesystems that make inode numbers up forget them when memory is short.
    by_likeness: HashMap<String, Vec<Arc<OsStr>>>,
}

impl TakenNames {
    /// Remembers a name under which something answers `stat`.
    pub fn add(&mut self, name: &OsStr, stat: &Stat) {
        let name: Arc<OsStr> = match self.names.get(name) {
            Some(known) => Arc::clone(known),
            None => {
                let name = Arc::<OsStr>::from(name);
                self.names.insert(Arc::clone(&name));
                let alike = self.by_likeness.entry(likeness(&name)).or_default();
                alike.push(Arc::clone(&name));
                name
            }
        };
        let numbered = self.by_number.entry(FileId::of(stat)).or_default();
        if !numbered.contains(&name) {
            numbered.push(name);
        }
    }

    /// The other names that may lead to what answers `stat` under `name`.
    pub fn others(&self, name: &OsStr, stat: &Stat) -> Vec<Arc<OsStr>> {
        let numbered = self.by_number.get(&FileId::of(stat)).into_iter().flatten();
        let alike = self.by_likeness.get(&likeness(name));
        let alike = alike.filter(|alike| alike.len() <= ALIKE_MAX).into_iter().flatten();
        numbered.chain(alike).filter(|other| &***other != name).cloned().collect()
    }
}

/// What of a name all spellings have in common that some filesystem takes for one: lower case,
/// without accents, and without the dots and spaces at its end.
pub fn likeness(name: &OsStr) -> String {
    let is_mark = |c: char| matches!(c, '\u{300}'..='\u{36f}');
    let name = name.to_string_lossy();
    let trimmed = name.trim_end_matches(['.', ' ']);
    let mut like = String::with_capacity(trimmed.len());
    for c in trimmed.chars() {
        match c {
            // The letter before it is composed with it elsewhere, and left out then.
            c if is_mark(c) => drop(like.pop()),
            '\u{c0}'..='\u{24f}' | '\u{1e00}'..='\u{1fff}' => {}
            c => like.extend(c.to_lowercase()),
        }
    }
    like
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat() -> Stat {
        crate::fs::stat(tempfile::tempfile().expect("a temporary file")).expect("an open file")
    }

    #[test]
    fn spellings_that_some_filesystem_takes_for_one_are_alike() {
        for (one, other) in [
            ("README", "readme"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("\u{c5}ngstr\u{f6}m", "a\u{30a}ngstro\u{308}m"),
            ("name", "name. ."),
            ("\u{414}\u{438}\u{440}", "\u{434}\u{418}\u{440}"),
        ] {
            assert_eq!(likeness(one.as_ref()), likeness(other.as_ref()), "{one} {other}");
        }
        assert_ne!(likeness("a".as_ref()), likeness("b".as_ref()));
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn a_name_is_found_by_number_or_by_likeness_and_never_itself() {
        let (mut taken, stat) = (TakenNames::default(), stat());
        let mut other = stat;
        other.st_ino += 1;
        for _ in 0..2 {
            taken.add("Name".as_ref(), &stat);
            taken.add("strange".as_ref(), &stat);
        }
        let others = |name: &str, stat: &Stat| -> Vec<String> {
            let others = taken.others(name.as_ref(), stat);
            others.iter().map(|name| name.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(others("Name", &stat), ["strange"]);
        assert_eq!(others("other", &stat), ["Name", "strange"]);
        assert_eq!(others("NAME", &other), ["Name"]);
        assert!(others("other", &other).is_empty());
    }

    #[test]
    #[cfg_attr(miri, ignore = "Miri has no fstat of everything")]
    fn of_too_many_names_that_are_alike_numbers_decide() {
        let (mut taken, stat) = (TakenNames::default(), stat());
        for dots in 0..=ALIKE_MAX {
            taken.add(format!("n{}", ".".repeat(dots)).as_ref(), &stat);
        }
        let mut other = stat;
        other.st_ino += 1;
        assert!(taken.others("N".as_ref(), &other).is_empty());
        assert_eq!(taken.others("N".as_ref(), &stat).len(), ALIKE_MAX + 1);
    }
}
