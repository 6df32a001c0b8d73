//! Arrows: rooms import what the table of ARCHITECTURE.md lets them, and so do the entries of a
//! folder that has rows in its second table.

use std::collections::{BTreeMap, BTreeSet};

use super::circles::entry;
use super::table::{Row, rows};
use super::uses::{Kind, Use};
use super::{Breach, House};

const DOCUMENT: &str = "ARCHITECTURE.md";

/// Entries of a folder beside each other, each with its place in the table and what it may import.
struct Level {
    /// The folder, below `src`.
    above: Vec<String>,
    /// The entries in the table: where it names them, and how many rows stand above.
    named: BTreeMap<String, (usize, usize)>,
    may_import: BTreeMap<String, BTreeSet<String>>,
    breaches: Vec<Breach>,
}

/// What is wrong with the tables themselves.
pub fn in_tables(house: &House) -> Vec<Breach> {
    let Some(levels) = levels(house) else {
        return vec![Breach::new(DOCUMENT, 1, "there is no table of rooms: room ... may import")];
    };
    levels.into_iter().flat_map(|level| level.breaches).collect()
}

/// Imports that the tables do not allow.
pub fn back(house: &House) -> Vec<Breach> {
    let mut breaches: Vec<Breach> = (levels(house).iter().flatten())
        .flat_map(|level| house.uses.iter().filter_map(|used| level.forbids(used)))
        .collect();
    breaches.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
    breaches.dedup_by(|one, other| {
        (&one.file, one.line, &one.what) == (&other.file, other.line, &other.what)
    });
    breaches
}

/// How many imports between rooms the table was asked about.
pub fn checked(house: &House) -> usize {
    let rooms = |level: &&Level| level.above.is_empty();
    levels(house)
        .iter()
        .flatten()
        .find(rooms)
        .map_or(0, |level| house.uses.iter().filter(|used| level.step(used).is_some()).count())
}

fn levels(house: &House) -> Option<Vec<Level>> {
    let text = &house.source(DOCUMENT)?.text;
    let rooms = rows(text, "room")?;
    let mut levels = vec![Level::new(house, Vec::new(), &rooms)];
    let folders = rows(text, "folder").unwrap_or_default();
    let mut by_folder: BTreeMap<Vec<String>, Vec<Row>> = BTreeMap::new();
    for row in &folders {
        for path in &row.entries {
            let mut above: Vec<String> = path.split('/').map(str::to_owned).collect();
            above.pop();
            let rows = by_folder.entry(above).or_default();
            rows.push(Row {
                line: row.line,
                entries: vec![path.clone()],
                may_import: row.may_import.clone(),
            });
        }
    }
    levels.extend(by_folder.into_iter().map(|(above, rows)| Level::new(house, above, &rows)));
    Some(levels)
}

impl Level {
    fn new(house: &House, above: Vec<String>, rows: &[Row]) -> Self {
        let prefix: String = above.iter().map(|part| format!("{part}/")).collect();
        let short = |name: &String| name.strip_prefix(&prefix).unwrap_or(name).to_owned();
        let existing = existing(house, &prefix);
        let mut level = Self {
            above,
            named: BTreeMap::new(),
            may_import: BTreeMap::new(),
            breaches: Vec::new(),
        };
        for (place, row) in rows.iter().enumerate() {
            for name in row.entries.iter().map(short) {
                if !existing.contains_key(&name) {
                    let what = format!("src/{prefix}{name} is named and does not exist");
                    level.breaches.push(Breach::new(DOCUMENT, row.line, what));
                }
                if level.named.insert(name.clone(), (row.line, place)).is_some() {
                    let what = format!("src/{prefix}{name} is named twice");
                    level.breaches.push(Breach::new(DOCUMENT, row.line, what));
                }
                level.may_import.insert(name, row.may_import.iter().map(short).collect());
            }
        }
        for (name, file) in existing {
            if !level.named.contains_key(&name) {
                let what = format!("{DOCUMENT} does not name src/{prefix}{name} in a table");
                level.breaches.push(Breach::new(&file, 1, what));
            }
        }
        level.hold_order(&prefix);
        level
    }

    /// Each entry imports only what stands in rows above its own, so that no two import each other.
    fn hold_order(&mut self, prefix: &str) {
        for (name, imports) in &self.may_import {
            let (line, place) = self.named[name];
            for import in imports {
                let what = match self.named.get(import) {
                    None => format!("{prefix}{name} may import {import}, which no row names"),
                    Some((_, above)) if *above >= place => {
                        format!("{prefix}{name} may import {import}, which stands no row above it")
                    }
                    Some(_) => continue,
                };
                self.breaches.push(Breach::new(DOCUMENT, line, what));
            }
        }
    }

    /// From which entry to which other one a use leads, by the path as it is written. The module of
    /// the folder itself stands above its entries and may import them all.
    fn step<'a>(&'a self, used: &'a Use) -> Option<(&'a str, &'a str)> {
        let depth = self.above.len();
        let below = |module: &[String]| module.starts_with(&self.above);
        if used.kind == Kind::Called || !below(&used.module) {
            return None;
        }
        // A module within a file is a part of that file.
        let entry_of = |module: &'a [String]| {
            let name = entry(module, depth);
            if self.named.contains_key(name) || module.len() > depth + 1 { name } else { "mod" }
        };
        let from = entry_of(&used.module);
        let end = used.to.as_ref().map(|(_, module)| &**module).into_iter();
        let ends_above = end.filter(|module| module.len() == depth);
        let passed = used.via.iter().map(|module| &**module).filter(|module| module.len() > depth);
        let to = passed
            .chain(ends_above)
            .filter(|module| below(module))
            .map(entry_of)
            .find(|to| *to != from)?;
        (from != "mod" && !(depth == 0 && from == "bin")).then_some((from, to))
    }

    fn forbids(&self, used: &Use) -> Option<Breach> {
        let (from, to) = self.step(used)?;
        let allowed = self.may_import.get(from).is_some_and(|allowed| allowed.contains(to));
        let place = ["src"].into_iter().chain(self.above.iter().map(|part| &**part));
        let place = place.collect::<Vec<_>>().join("/");
        let what = format!("{place}: {from} imports {to} by {}", used.name);
        (!allowed).then(|| Breach::new(&used.file, used.line, what))
    }
}

/// The entries of a folder that hold code, each with its first file. The roots of crates are no
/// rooms, and a folder's own module is no entry.
fn existing(house: &House, prefix: &str) -> BTreeMap<String, String> {
    let mut existing = BTreeMap::new();
    for (path, source) in house.in_src() {
        let Some(rest) = path.strip_prefix(prefix) else { continue };
        let name = super::room(rest);
        let is_root = prefix.is_empty() && ["lib", "main", "bin"].contains(&name);
        if !is_root && name != "mod" {
            existing.entry(name.to_owned()).or_insert_with(|| source.path.clone());
        }
    }
    existing
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "| room | what lives there | may import |\n| --- | --- | --- |\n\
                         | `low` | x | nothing |\n| `high` | x | low |\n";

    fn said(breaches: &[Breach]) -> Vec<String> {
        breaches.iter().map(ToString::to_string).collect()
    }

    fn example(table: &str, low: &str, high: &str) -> House {
        House::example(&[
            (DOCUMENT, table),
            ("src/lib.rs", "mod low;\nmod high;\n"),
            ("src/low.rs", low),
            ("src/high/mod.rs", "mod part;\npub use part::Thing;\n"),
            ("src/high/part.rs", high),
        ])
    }

    #[test]
    fn an_arrow_down_is_allowed_and_one_back_up_is_reported() {
        let house =
            example(TABLE, "pub struct Low;\n", "use crate::low::Low;\npub struct Thing;\n");
        assert!(in_tables(&house).is_empty() && back(&house).is_empty());
        assert_eq!(checked(&house), 1);
        let passed_on = "pub use std::fs::File;\npub struct Thing;";
        let outside = example(TABLE, "use crate::high::part::File;", passed_on);
        assert_eq!(back(&outside).len(), 1, "also for what another crate defines");
        for (low, name) in [
            ("\nuse crate::high::Thing;\n", "crate::high::Thing"),
            ("\nuse super::high;\n", "super::high"),
            ("\nfn f() { super::high::part::f() }\n", "super::high::part::f"),
            ("\nfn f() { print!(\"{:?}\", matches!(x, crate::high::A if y)) }\n", "crate::high::A"),
            ("\n#[cfg(test)] mod tests { use crate::high::Thing; }\n", "crate::high::Thing"),
            ("\n#[command(version = crate::high::V)] struct A;\n", "crate::high::V"),
        ] {
            let house = example(TABLE, low, "pub struct Thing;\n");
            let expected = format!("src/low.rs:2: src: low imports high by {name}");
            assert_eq!(said(&back(&house)), [expected]);
        }
    }

    #[test]
    fn a_room_that_no_row_names_and_a_row_without_a_room_are_reported() {
        let other = TABLE.replace("`high`", "`tall`");
        assert_eq!(
            said(&in_tables(&example(&other, "", "pub struct Thing;"))),
            [
                "ARCHITECTURE.md:4: src/tall is named and does not exist",
                "src/high/mod.rs:1: ARCHITECTURE.md does not name src/high in a table",
            ]
        );
        let none = example("# Rooms\n", "", "pub struct Thing;");
        assert_eq!(in_tables(&none).len(), 1);
        let unknown = TABLE.replace("| low |", "| low, deep |");
        assert_eq!(
            said(&in_tables(&example(&unknown, "", "pub struct Thing;"))),
            ["ARCHITECTURE.md:4: high may import deep, which no row names"]
        );
    }

    #[test]
    fn two_rooms_that_import_each_other_are_reported() {
        let both = TABLE.replace("nothing", "high");
        assert_eq!(
            said(&in_tables(&example(&both, "", "pub struct Thing;"))),
            ["ARCHITECTURE.md:3: low may import high, which stands no row above it"]
        );
    }

    #[test]
    fn folders_are_held_to_their_own_table() {
        let table = format!(
            "{TABLE}\n| folder | what lives there | may import |\n| --- | --- | --- |\n\
             | `high/base` | x | nothing |\n| `high/part` | x | base |\n"
        );
        let house = |base: &str, part: &str| {
            House::example(&[
                (DOCUMENT, &table),
                ("src/lib.rs", "mod low;\nmod high;\n"),
                ("src/low.rs", ""),
                ("src/high/mod.rs", "mod base;\nmod part;\npub struct Top;\nuse base::Base;\n"),
                ("src/high/base.rs", base),
                ("src/high/part/mod.rs", part),
            ])
        };
        let good = house("pub struct Base;", "use super::Base;");
        assert!(in_tables(&good).is_empty() && back(&good).is_empty());
        let up = house("pub struct Base;\nuse super::part::Part;", "pub struct Part;");
        assert_eq!(
            said(&back(&up)),
            ["src/high/base.rs:2: src/high: base imports part by super::part::Part"]
        );
        let top = house("pub struct Base;", "use super::Top;");
        assert_eq!(
            said(&back(&top)),
            ["src/high/part/mod.rs:1: src/high: part imports mod by super::Top"]
        );
    }
}
