//! What ARCHITECTURE.md points at: its links, and the names that it says stand in a file.

use super::{Breach, House};

const FILE: &str = "ARCHITECTURE.md";

/// Links below `src` that lead nowhere, and names that the file beside them does not have.
pub fn broken(house: &House) -> Vec<Breach> {
    let Some(source) = house.source(FILE) else {
        return vec![Breach::new(FILE, 1, "it is missing")];
    };
    let mut breaches = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        for (before, path) in links(line).filter(|(_, path)| path.starts_with("src/")) {
            let breach = |what: String| Breach::new(FILE, number, what);
            let file = match text(house, path) {
                Some(text) => text,
                None if is_folder(house, path) => continue,
                None => {
                    breaches.push(breach(format!("{path} is no file")));
                    continue;
                }
            };
            if let Some(name) = name_in(before).filter(|name| !file.contains(name)) {
                breaches.push(breach(format!("{path} does not have {name}")));
            }
        }
    }
    breaches
}

/// The text of a file, or of a folder's own module.
fn text<'a>(house: &'a House, path: &str) -> Option<&'a str> {
    let found = house.source(path).or_else(|| house.source(&format!("{path}/mod.rs")));
    found.map(|source| &*source.text)
}

fn is_folder(house: &House, path: &str) -> bool {
    let below = format!("{path}/");
    house.sources.iter().any(|source| source.path.starts_with(&below))
}

/// The targets of a line's links, each with what stands before it.
fn links(line: &str) -> impl Iterator<Item = (&str, &str)> {
    line.match_indices("](").filter_map(|(at, _)| {
        let (before, target) = (&line[..at], &line[at + 2..]);
        let path = target.split_once(')')?.0;
        Some((&before[..before.rfind('[')?], path))
    })
}

/// The name of "`name` in " at the end of a text.
fn name_in(before: &str) -> Option<&str> {
    before.strip_suffix("` in ")?.rsplit('`').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_and_names_that_moved_are_found() {
        let text = "see [a](src/a.rs), [b](src/b.rs)\n`Here` in [a](src/a.rs)\n\
                    `Gone` in [a](src/a.rs), [c](src/c) and [d](docs/d.md)\n";
        let house = House::example(&[
            (FILE, text),
            ("src/a.rs", "struct Here;"),
            ("src/c/x.rs", "struct X;"),
        ]);
        let found: Vec<String> = broken(&house).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "ARCHITECTURE.md:1: src/b.rs is no file",
                "ARCHITECTURE.md:3: src/a.rs does not have Gone"
            ]
        );
    }
}
