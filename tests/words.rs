//! What README, manual and help say. Their commands are commands, their flags are flags, their
//! figures were measured, and their sentences are short. `tests/recipes.rs` runs the examples.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use aiocp::cli;
use reading::{Piece, markdown, roff, shell};
use serde_json::Value;

mod reading;

/// Words in a sentence.
const WORDS_MAX: usize = 30;

const README: &str = "README.md";
const PERFORMANCE: &str = "docs/performance.md";
/// One file for each filesystem. That of ext4 is shown at large.
const RESULTS: [&str; 4] = ["", "-btrfs", "-xfs", "-xfs-reflink"];
/// What the package of the library says to who uses it.
const LIBRARY: [&str; 5] = [
    "crates/linux-aio/README.md",
    "crates/linux-aio/docs/guide.md",
    "crates/linux-aio/docs/libaio.md",
    "crates/linux-aio/docs/other_crates.md",
    "crates/linux-aio/docs/posix_aio.md",
];
const MANUALS: [&str; 2] = ["man/aiocp.sections.roff", "man/aiosum.sections.roff"];

/// Units of what was measured, and with them the figures that need a source.
const UNITS: [&str; 17] = [
    "s", "ms", "seconds", "minutes", "hours", "×", "%", "MB", "GB", "KiB", "MiB", "GiB", "MB/s",
    "GB/s", "MiB/s", "GiB/s", "times",
];

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn programs() -> [clap::Command; 2] {
    [cli::aiocp::command(), cli::aiosum::command()]
}

/// What the help says of each flag, and of the command.
fn help() -> Vec<Piece> {
    let mut pieces = Vec::new();
    for mut command in programs() {
        command.build();
        let name = command.get_name().to_owned();
        let mut say = |flag: &str, text: String| {
            let place = format!("{name}: help of {flag}");
            let paragraphs = text.split("\n\n").map(|text| text.replace('\n', " "));
            pieces.extend(paragraphs.map(|text| Piece { place: place.clone(), text }));
        };
        say("all", command.get_long_about().map(ToString::to_string).unwrap_or_default());
        for arg in command.get_arguments() {
            let text = arg.get_long_help().or(arg.get_help());
            say(arg.get_id().as_str(), text.map(ToString::to_string).unwrap_or_default());
        }
    }
    pieces
}

/// All prose of README, manual and help.
fn prose() -> Vec<Piece> {
    let mut pieces = markdown::prose(README, &read(README));
    pieces.extend(MANUALS.iter().flat_map(|path| roff::prose(path, &read(path))));
    pieces.extend(help());
    pieces
}

/// Lines of code, and what is typed in prose.
fn typed() -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    for piece in prose() {
        let of = |text: &str| Piece { place: piece.place.clone(), text: text.to_owned() };
        pieces.extend(piece.typed().map(of));
    }
    for language in ["sh", "console"] {
        pieces.extend(markdown::code(README, &read(README), language).into_iter().filter_map(
            |Piece { place, text }| match language {
                "sh" => Some(Piece { place, text }),
                // The other lines are output.
                _ => text.strip_prefix("$ ").map(|text| Piece { place, text: text.to_owned() }),
            },
        ));
    }
    pieces
}

fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
}

/// The flags of both commands, as they are typed.
fn flags() -> BTreeSet<String> {
    let mut flags = BTreeSet::new();
    for mut command in programs() {
        command.build();
        for arg in command.get_arguments() {
            let shorts = arg.get_all_short_aliases().into_iter().flatten().chain(arg.get_short());
            flags.extend(shorts.map(|short| format!("-{short}")));
            let longs = arg.get_all_aliases().into_iter().flatten().chain(arg.get_long());
            flags.extend(longs.map(|long| format!("--{long}")));
        }
    }
    flags
}

/// The flags in a word: one long one, or one or more short ones.
fn flags_in(word: &str) -> Vec<String> {
    let word = word.trim_matches(|c: char| "(),.;:[]'\"".contains(c));
    let name = word.split(['=', '[']).next().unwrap_or_default();
    match name.strip_prefix('-') {
        Some(long) if long.starts_with('-') => match long.len() {
            1 => Vec::new(),
            _ => vec![name.to_owned()],
        },
        Some(shorts) if shorts.starts_with(|c: char| c.is_ascii_alphabetic() || c == '0') => {
            shorts.chars().map(|short| format!("-{short}")).collect()
        }
        _ => Vec::new(),
    }
}

#[test]
fn every_command_is_understood() {
    let mut commands = 0;
    let mut breaches = Vec::new();
    for Piece { place, text } in typed() {
        for program in programs() {
            for words in shell::commands(&text, program.get_name()) {
                commands += 1;
                if let Err(error) = program.clone().try_get_matches_from(&words) {
                    breaches.push(format!("{place}: {words:?}: {error}"));
                }
            }
        }
    }
    assert_none(&breaches);
    assert!(commands > 40, "{commands} commands were found");
}

#[test]
fn every_flag_is_in_the_help() {
    let known = flags();
    let mut breaches = Vec::new();
    let mut found = 0;
    let prose_of_help = help();
    let own = |text: &str| text.starts_with('-');
    let typed = typed().into_iter().filter(|piece| own(&piece.text));
    for Piece { place, text } in typed.chain(prose_of_help) {
        for flag in text.split_whitespace().flat_map(flags_in) {
            found += 1;
            // The manual shows beginnings, which the commands take if they fit one flag.
            let fits = |known: &&String| flag.len() > 2 && known.starts_with(&flag);
            if !known.contains(&flag) && known.iter().filter(fits).count() != 1 {
                breaches.push(format!("{place}: {flag} is no flag"));
            }
        }
    }
    assert_none(&breaches);
    assert!(found > 100, "{found} flags were found");
}

#[test]
fn no_sentence_is_long() {
    let mut breaches = Vec::new();
    // The source package of the commands has no others.
    let is_there = |path: &&str| Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists();
    let pages = std::iter::once(PERFORMANCE).chain(LIBRARY.into_iter().filter(is_there));
    let pages = pages.flat_map(|path| markdown::prose(path, &read(path)));
    for piece in prose().into_iter().chain(pages) {
        for sentence in piece.sentences() {
            let words = sentence.split_whitespace().count();
            if words > WORDS_MAX {
                breaches.push(format!("{}: {words} words: {sentence}", piece.place));
            }
        }
    }
    assert_none(&breaches);
}

/// The figures in prose: each a number and its unit.
fn figures(pieces: &[Piece]) -> BTreeSet<String> {
    let mut figures = BTreeSet::new();
    for piece in pieces {
        let words: Vec<_> = piece.text.split_whitespace().collect();
        for pair in words.windows(2) {
            let number = pair[0].trim_start_matches('(');
            let unit = pair[1].trim_matches(|c: char| ".,;:)".contains(c));
            let is_number = number.starts_with(|c: char| c.is_ascii_digit())
                && number.chars().all(|c| c.is_ascii_digit() || c == '.' || c == ',');
            if is_number && UNITS.contains(&unit) {
                figures.insert(format!("{number} {unit}"));
            }
        }
    }
    figures
}

#[test]
fn every_figure_of_the_readme_is_among_the_measured_ones() {
    let of = |path: &str| figures(&markdown::prose(path, &read(path)));
    let (said, measured) = (of(README), of(PERFORMANCE));
    let missing: Vec<_> = said.difference(&measured).map(|f| format!("{README}: {f}")).collect();
    assert_none(&missing);
    assert!(!said.is_empty(), "figures were found");
}

/// What `benches/chart.py` writes between the comments of this name.
fn table(path: &str, name: &str) -> String {
    let text = read(path);
    let (_, rest) = text.split_once(&format!("<!-- {name} -->")).expect("it has a beginning");
    rest.split_once(&format!("<!-- /{name} -->")).expect("it has an end").0.to_owned()
}

/// The line of a table that begins with one of these, with all figures in it.
fn has_figures(table: &str, beginnings: &[String], figures: &[(&str, f64)]) {
    let is_its = |line: &&str| beginnings.iter().any(|it| line.starts_with(it));
    let line = table.lines().find(is_its);
    let line = line.unwrap_or_else(|| panic!("{beginnings:?} has no row in\n{table}"));
    for (key, figure) in figures {
        let figure = format!(" {figure:.2}");
        assert!(line.contains(&figure), "{beginnings:?}: {key} is not {figure} in {line}");
    }
}

#[test]
fn the_tables_show_the_runs_whose_data_is_kept() {
    let (readme, rows) = (table(README, "speed"), table(PERFORMANCE, "rows"));
    assert_eq!(readme, table(PERFORMANCE, "speed"), "benches/chart.py writes both");
    let figure = |row: &Value, key| row[key].as_f64().unwrap();
    for filesystem in RESULTS {
        let path = format!("benches/results/rivals{filesystem}.json");
        let results: Value = serde_json::from_str(&read(&path)).unwrap();
        for (name, case) in results["cases"].as_object().unwrap() {
            let tools = case["tools"].as_object().unwrap();
            let ours = tools.get("aiocp").unwrap_or_else(|| &tools["aiosum"]);
            let figures = ["wall_s", "cpu_s"].map(|key| (key, figure(ours, key)));
            let kind = results["kind"].as_str().unwrap();
            let row = format!("| {}, {kind} |", case["name"].as_str().unwrap());
            has_figures(&rows, &[row], &figures);
            if kind != "ext4" || !["big", "tree"].contains(&name.as_str()) {
                continue;
            }
            for tool in results["versions"].as_object().unwrap().keys() {
                let Some(row) = tools.get(tool) else { continue };
                let keys = ["wall_s", "cpu_s_per_gb", "ratio"];
                let figures = keys.map(|key| (key, figure(row, key)));
                has_figures(&readme, &[format!("| {tool} "), format!("| {tool},")], &figures);
            }
        }
    }
}

/// What of the code may be printed: its lines but for comments and tests.
fn printed(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let (code, _) = code.split_once("#[cfg(test)]").unwrap_or((code, ""));
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    code.lines().enumerate().filter(move |(_, line)| !is_comment(line))
}

/// The page is HTML, and the picture asks the locale.
const IN_UNICODE: [&str; 2] = ["src/cli/page/", "src/cli/screen/picture.rs"];

#[test]
fn what_any_locale_has_to_show_is_ascii() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut breaches, mut files) = (Vec::new(), 0);
    for file in walkdir::WalkDir::new(root.join("src")).into_iter().map(Result::unwrap) {
        let path = file.path().strip_prefix(root).unwrap().to_str().unwrap();
        if !path.ends_with(".rs") || IN_UNICODE.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        files += 1;
        let code = read(path);
        let lines = printed(&code).filter(|(_, line)| !line.is_ascii());
        breaches.extend(lines.map(|(index, line)| format!("{path}:{}: {line}", index + 1)));
    }
    assert!(files > 100, "{files}");
    for path in ["man/aiocp.1", "man/aiosum.1"] {
        let page = read(path);
        let lines = page.lines().enumerate().filter(|(_, line)| !line.is_ascii());
        breaches.extend(lines.map(|(index, line)| format!("{path}:{}: {line}", index + 1)));
    }
    assert_none(&breaches);
    let found: Vec<_> = printed("// …\nlet a = \"…\";\n#[cfg(test)]\n\"…\"").collect();
    assert_eq!(found, [(1, "let a = \"…\";")]);
}

#[test]
fn breaches_are_found() {
    assert_eq!(flags_in("-ub"), ["-u", "-b"]);
    assert_eq!(flags_in("(--update=none),"), ["--update"]);
    assert_eq!(flags_in("-1"), Vec::<String>::new());
    assert!(!flags().contains("--no-such-flag"));
    let piece = Piece { place: String::new(), text: "It took 1.5 s, 3 times, 7 files.".to_owned() };
    assert_eq!(figures(&[piece]), BTreeSet::from(["1.5 s".to_owned(), "3 times".to_owned()]));
}
