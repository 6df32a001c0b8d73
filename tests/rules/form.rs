//! Form: widths, lengths, parameters, `unsafe`, and names that belong at the top.

use super::syntax::{Form, Function};
use super::{Breach, House, Source};

pub const COLUMNS_MAX: usize = 100;
pub const FUNCTION_LINES_MAX: usize = 60;
pub const FILE_LINES_MAX: usize = 620;

/// Whether a file is written by people, and not generated, data or a licence.
pub fn is_written(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let by_extension = name.rsplit_once('.').is_some_and(|(_, extension)| {
        ["rs", "md", "py", "toml", "css", "sh", "yml", "yaml", "roff"].contains(&extension)
    });
    by_extension || ["Makefile", "justfile"].contains(&name) || path.starts_with(".ci/")
}

/// Lines over 100 columns.
pub fn wide_lines(house: &House) -> Vec<Breach> {
    let written = house.sources.iter().filter(|source| is_written(&source.path));
    written.flat_map(wide_lines_of).collect()
}

pub fn wide_lines_of(source: &Source) -> Vec<Breach> {
    let is_markdown = source.path.ends_with(".md");
    let lines = source.text.lines().zip(1..).filter_map(|(line, number)| {
        let columns = line.chars().count();
        let is_table = is_markdown && line.trim_start().starts_with('|');
        let what = || format!("{columns} columns");
        (columns > COLUMNS_MAX && !is_table && !is_link(line))
            .then(|| Breach::new(&source.path, number, what()))
    });
    lines.collect()
}

/// Whether a line is one address or one Markdown link, which nothing can break in two.
fn is_link(line: &str) -> bool {
    // The signs of a comment, of a list and of a quotation.
    let line =
        line.trim_start_matches(|c: char| c.is_whitespace() || "/!#*->".contains(c)).trim_end();
    let address = |text: &str| text.contains("://") && !text.contains(char::is_whitespace);
    let is_definition = line.starts_with('[')
        && line
            .split_once("]: ")
            .is_some_and(|(_, target)| address(target) || !target.contains(' '));
    let is_link = line.trim_start_matches('!').starts_with('[')
        && line.trim_end_matches(['.', ',', ';', ':']).ends_with(')')
        && line.matches("](").count() == 1;
    address(line) || is_definition || is_link
}

/// The functions that the rules hold for.
pub fn functions(form: &Form) -> impl Iterator<Item = &Function> {
    form.functions.iter().filter(|function| !function.is_test)
}

/// Functions of more than 60 lines of code.
pub fn long_functions(house: &House) -> Vec<Breach> {
    let all =
        house.forms.iter().flat_map(|form| functions(form).map(move |function| (form, function)));
    let long = all.filter(|(_, function)| function.code_lines > FUNCTION_LINES_MAX);
    long.map(|(form, function)| {
        let what = format!("fn {} has {} lines of code", function.name, function.code_lines);
        Breach::new(&form.path, function.line, what)
    })
    .collect()
}

/// Parameters that are a tuple or an array of more than two parts.
pub fn wide_parameters(house: &House) -> Vec<Breach> {
    let all =
        house.forms.iter().flat_map(|form| functions(form).map(move |function| (form, function)));
    all.flat_map(|(form, function)| {
        function.wide_parameters.iter().map(move |line| {
            let what = format!("fn {} takes more than two parts as one", function.name);
            Breach::new(&form.path, *line, what)
        })
    })
    .collect()
}

/// `unsafe` outside `src/sys`.
pub fn unsafe_code(house: &House) -> Vec<Breach> {
    let outside = house.forms.iter().filter(|form| !form.path.starts_with("src/sys/"));
    outside
        .flat_map(|form| {
            form.unsafe_lines.iter().map(|line| Breach::new(&form.path, *line, "unsafe"))
        })
        .collect()
}

/// Calls of rustix's file system outside `src/sys`, whose own are made again after a signal.
pub fn uncovered_calls(house: &House) -> Vec<Breach> {
    let outside = house.in_src().filter(|(path, _)| !path.starts_with("sys/"));
    outside
        .flat_map(|(_, source)| {
            let lines = source.text.lines().zip(1..);
            lines.filter(|(line, _)| line.contains("rustix::fs")).map(|(_, number)| {
                Breach::new(&source.path, number, "rustix::fs is reached through sys::call")
            })
        })
        .collect()
}

/// Files that are too long to be read.
pub fn long_files(house: &House) -> Vec<Breach> {
    let long = house.in_src().filter(|(_, source)| source.text.lines().count() > FILE_LINES_MAX);
    long.map(|(_, source)| {
        let lines = source.text.lines().count();
        Breach::new(&source.path, lines, format!("{lines} lines in one file"))
    })
    .collect()
}

/// Types that are named outside the files that may: pairs of a type, and of paths below `src`, of
/// which those that end in `/` are folders.
pub fn below_the_top(house: &House, only_at_the_top: &[(&str, &[&str])]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (name, files) in only_at_the_top {
        let namers = house
            .forms
            .iter()
            .filter_map(|form| Some((form.path.strip_prefix("src/")?, form.types.get(*name)?)));
        let namers: Vec<(&str, &usize)> = namers.collect();
        if namers.is_empty() {
            breaches.push(Breach::new("tests/house.rs", 1, format!("no file names {name}")));
        }
        for (path, line) in namers {
            let may = files
                .iter()
                .any(|file| path == *file || (file.ends_with('/') && path.starts_with(*file)));
            if !may {
                let what = format!("{name} may be named in {} alone", files.join(", "));
                breaches.push(Breach::new(&format!("src/{path}"), *line, what));
            }
        }
    }
    breaches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(breaches: &[Breach]) -> Vec<String> {
        breaches.iter().map(ToString::to_string).collect()
    }

    fn in_lib(text: &str) -> House {
        House::example(&[("src/lib.rs", text)])
    }

    #[test]
    fn a_wide_line_is_reported_in_what_people_write() {
        let ä = "ä".repeat(100);
        let wide = format!("{ä}\n x{ä}\n");
        for path in ["a.md", ".ci/run", "Makefile", "man/a.sections.roff", "benches/a.py"] {
            let house = House::example(&[(path, &wide)]);
            assert_eq!(said(&wide_lines(&house)), [format!("{path}:2: 102 columns")]);
        }
        for path in ["a.json", "Cargo.lock", "completions/a.bash", "man/a.1", "LICENSE-MIT"] {
            assert!(wide_lines(&House::example(&[(path, &wide)])).is_empty(), "{path}");
        }
    }

    #[test]
    fn tables_and_addresses_may_be_wide() {
        let long = "x".repeat(100);
        for line in [
            format!("| {long} | b |"),
            format!("- https://example.org/{long}"),
            format!("[`name` of it]: https://example.org/{long}"),
            format!("[a few words](docs/{long}.md)."),
        ] {
            assert!(wide_lines(&House::example(&[("a.md", &line)])).is_empty(), "{line}");
        }
        for line in [format!("see https://example.org/{long}"), format!("[a](b) {long} [c](d)")] {
            assert_eq!(wide_lines(&House::example(&[("a.md", &line)])).len(), 1, "{line}");
        }
        let code = format!("//! | {long} |\n");
        assert_eq!(wide_lines(&in_lib(&code)).len(), 1, "tables are Markdown's");
    }

    #[test]
    fn a_function_is_as_long_as_its_lines_of_code() {
        let body = |lines: usize| {
            let line = "    // why\n\n    /* and\n how */\n    f(\"}\", '}', r#\"}\n\"}\"#);\n";
            format!("\nfn long<'a>() {{\n{}}}\n", line.repeat(lines))
        };
        // The string takes two lines; the first and the last are the function's own.
        assert!(long_functions(&in_lib(&body(29))).is_empty());
        let long = said(&long_functions(&in_lib(&body(30))));
        assert_eq!(long, ["src/lib.rs:2: fn long has 62 lines of code"]);
        let method = format!("impl A {{ {} }}", body(30));
        assert_eq!(long_functions(&in_lib(&method)).len(), 1);
        let test = format!("#[cfg(test)]\nmod tests {{ {} }}", body(30));
        assert!(long_functions(&in_lib(&test)).is_empty(), "tests may be long");
    }

    #[test]
    fn a_parameter_of_three_parts_is_reported() {
        for text in [
            "fn f(\n    (a, b, c): (A, B, C),\n) {}",
            "fn f(\n    [a, b, c]: [A; 3],\n) {}",
            "trait T { fn f(&self,\n    (a, (b, c, d)): (A, B)) {} }",
        ] {
            let wide = said(&wide_parameters(&in_lib(text)));
            assert_eq!(wide, ["src/lib.rs:2: fn f takes more than two parts as one"]);
        }
        let two = "fn f((a, b): (A, B), Point { x, y, z }: Point) {}";
        assert!(wide_parameters(&in_lib(two)).is_empty());
    }

    #[test]
    fn unsafe_outside_sys_is_reported() {
        let text = "// unsafe\nconst A: &str = \"unsafe \";\nfn f() { unsafe { g() } }\n";
        let house = House::example(&[("src/sys/a.rs", text), ("src/b.rs", text)]);
        assert_eq!(said(&unsafe_code(&house)), ["src/b.rs:3: unsafe"]);
        let hidden = in_lib("m! { unsafe\n{ g() } }");
        assert_eq!(unsafe_code(&hidden).len(), 1, "in a macro too");
    }

    #[test]
    fn calls_that_are_not_made_again_are_reported() {
        let text = "use rustix::fs::openat;\nuse rustix::io::read;\n";
        let house = House::example(&[("src/sys/call.rs", text), ("src/fs/a.rs", text)]);
        let found = said(&uncovered_calls(&house));
        assert_eq!(found, ["src/fs/a.rs:1: rustix::fs is reached through sys::call"]);
    }

    #[test]
    fn a_long_file_is_reported() {
        let text = "//! x\n".repeat(FILE_LINES_MAX);
        assert!(long_files(&in_lib(&text)).is_empty());
        let longer = in_lib(&(text + "//! x\n"));
        assert_eq!(said(&long_files(&longer)), ["src/lib.rs:621: 621 lines in one file"]);
    }

    #[test]
    fn a_type_of_the_top_is_reported_below_it() {
        let house = House::example(&[
            ("src/copy/mod.rs", "pub struct Services;"),
            ("src/copy/work/a.rs", "use super::super::Services;"),
            ("src/copy/names.rs", "// Services\n\nfn f(s: &crate::copy::Services) {}"),
        ]);
        let top: &[&str] = &["copy/mod.rs", "copy/work/"];
        assert_eq!(
            said(&below_the_top(&house, &[("Services", top)])),
            ["src/copy/names.rs:3: Services may be named in copy/mod.rs, copy/work/ alone"]
        );
        assert_eq!(below_the_top(&house, &[("Gone", top)]).len(), 1, "a rule that holds nothing");
    }
}
