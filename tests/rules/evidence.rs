//! The tests that documents name exist.

use std::collections::{BTreeMap, BTreeSet};

use super::{Breach, House, Source, in_package};

/// What documents may name.
struct Tests<'a> {
    /// The tests of each file below `tests`, of all packages.
    of_files: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// The tests below `src` as `cargo test --lib` knows them.
    of_lib: BTreeSet<String>,
}

impl<'a> Tests<'a> {
    fn of(house: &'a House) -> Self {
        let of_files = house.sources.iter().filter_map(|source| {
            let name = in_package(&source.path).strip_prefix("tests/")?.strip_suffix(".rs")?;
            Some((name, names(&source.text).collect()))
        });
        let in_src = |source: &'a Source| {
            let path = in_package(&source.path).strip_prefix("src/")?;
            path.ends_with(".rs").then_some((path, source))
        };
        let of_lib = house.sources.iter().filter_map(in_src).flat_map(|(path, source)| {
            let module = path.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
            // They live in the file itself or in its module `tests`.
            let of_module =
                move |name| [format!("{module}::{name}"), format!("{module}::tests::{name}")];
            names(&source.text).flat_map(of_module)
        });
        Self { of_files: of_files.collect(), of_lib: of_lib.collect() }
    }

    /// Whether cargo would find a test of this file by these words.
    fn has(&self, file: &str, words: &[&str]) -> bool {
        let Some(tests) = self.of_files.get(file) else { return false };
        words.iter().all(|word| tests.iter().any(|test| test.contains(word)))
    }

    fn lib_has(&self, words: &[&str]) -> bool {
        words.iter().all(|word| self.of_lib.iter().any(|test| test.contains(word)))
    }

    /// Whether there is what an invariant names: a file, a file's test, or tests of the library.
    fn hold(&self, name: &str) -> bool {
        let of_file = match name.split_once("::") {
            Some((file, test)) => self.has(file, &[test]),
            None => self.has(name, &[]),
        };
        of_file || self.lib_has(&[name])
    }
}

/// The names of the functions that follow `#[test]`.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split("#[test]").skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once("fn ")?.1.split_once('(')?;
        Some(name)
    })
}

/// Commands and invariants in documents that name a test that is not there.
pub fn missing(house: &House) -> Vec<Breach> {
    let tests = Tests::of(house);
    let documents = house.sources.iter().filter(|source| {
        let is_ours = source.path.starts_with("docs/") || !source.path.contains('/');
        is_ours && source.path.ends_with(".md")
    });
    documents.flat_map(|source| missing_in(source, &tests)).collect()
}

fn missing_in(source: &Source, tests: &Tests) -> Vec<Breach> {
    let (mut breaches, mut is_invariant) = (Vec::new(), false);
    for (line, number) in source.text.lines().zip(1..) {
        if let Some(heading) = line.strip_prefix("## ") {
            is_invariant = heading == "Invariants";
        }
        for quoted in line.split('`').skip(1).step_by(2) {
            let is_there = match command(quoted) {
                Some((Some(file), words)) => tests.has(file, &words),
                Some((None, words)) => tests.lib_has(&words),
                None if is_invariant && is_name(quoted) => tests.hold(quoted),
                None => true,
            };
            if !is_there {
                breaches.push(Breach::new(&source.path, number, format!("no test is {quoted}")));
            }
        }
    }
    breaches
}

/// The file of tests that a command of cargo's runs, none for the library, and the words that
/// choose among its tests.
fn command(quoted: &str) -> Option<(Option<&str>, Vec<&str>)> {
    let mut words = quoted.split_whitespace();
    let target = words.find(|word| ["--test", "--lib"].contains(word))?;
    let file = if target == "--test" { Some(words.next()?) } else { None };
    Some((file, words.take_while(|word| is_name(word)).collect()))
}

/// Whether a word may name a test or a file of tests, and not a flag or a path.
fn is_name(word: &str) -> bool {
    word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_that_are_not_there_are_found_in_commands_and_invariants() {
        let code = "#[test]\nfn it_holds() {}\nfn helper() {}\n";
        let document = "`cargo test --test a it_holds`, `cargo test --test a helper`\n\
                        `--test a` `--test b`, `AIOCP_SEED=1 cargo test --lib file::tests::it`\n\
                        `cargo test --lib elsewhere`\n## Invariants\n\
                        1. (`a::it_holds`, `a`, `.ci/x`)\n\
                        2. `--flag` (`room::file`, `a::gone`, `b`)\n## Where\n`b`\n";
        let house = House::example(&[
            ("docs/x.md", document),
            ("tests/a.rs", code),
            ("src/room/file.rs", code),
        ]);
        let found: Vec<_> = missing(&house).iter().map(ToString::to_string).collect();
        let wanted = [
            "1: no test is cargo test --test a helper",
            "2: no test is --test b",
            "3: no test is cargo test --lib elsewhere",
            "6: no test is a::gone",
            "6: no test is b",
        ];
        assert_eq!(found, wanted.map(|line| format!("docs/x.md:{line}")));
    }
}
