//! Tests leave things out in one way. They call programs in one way, and `.ci/run` installs those.

use std::collections::BTreeSet;

use super::{Breach, House, Source, in_package};

/// Where a test says what it leaves out, and calls programs that can be missing.
const THE_WAY: &str = "tests/common/skip.rs";

/// What tries that way.
const ITS_TEST: &str = "tests/repository.rs";

/// What installs the programs that tests call. A source package does not have it.
const CI: &str = ".ci/run";

/// Programs of packages that every Debian has.
const ESSENTIAL: [&str; 15] = [
    "/bin/cp", "bash", "chown", "cp", "df", "diff", "mkdir", "mkfifo", "mknod", "rm", "sh",
    "sleep", "sync", "tail", "touch",
];

/// How a test names a program that it calls or cannot do without.
const CALLS: [&str; 4] = [NEW_CALL, "have(\"", "tool(\"", "program(\""];

/// How a program is called that cannot be missing.
const NEW_CALL: &str = "Command::new(\"";

/// The tests of all packages, without the rules.
pub fn tests(house: &House) -> impl Iterator<Item = &Source> {
    let is_test = |path: &str| in_package(path).starts_with("tests/") && path.ends_with(".rs");
    let is_rule = |path: &str| path.starts_with("tests/rules/");
    house.sources.iter().filter(move |source| is_test(&source.path) && !is_rule(&source.path))
}

/// Tests that say by themselves what they leave out, or ask whether they run in CI.
pub fn of_their_own(house: &House) -> Vec<Breach> {
    let others =
        tests(house).filter(|source| ![THE_WAY, ITS_TEST].contains(&in_package(&source.path)));
    let breaches = others.flat_map(|source| {
        let lines = source.text.lines().zip(1..);
        let own = lines.filter(|(line, _)| line.contains("SKIPPED") || line.contains("(\"CI\")"));
        own.map(|(_, line)| Breach::new(&source.path, line, format!("{THE_WAY} says it")))
    });
    breaches.collect()
}

/// Programs that can be missing, and that a test calls by itself.
pub fn called_alone(house: &House) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for source in tests(house).filter(|source| in_package(&source.path) != THE_WAY) {
        for (line, number) in source.text.lines().zip(1..) {
            let named = line.split(NEW_CALL).skip(1).filter_map(|rest| rest.split('"').next());
            let made = line.contains("Command::new(format!").then_some("what is formatted");
            for program in named.filter(|name| !ESSENTIAL.contains(name)).chain(made) {
                let what = format!("{THE_WAY} has `program` to call {program}");
                breaches.push(Breach::new(&source.path, number, what));
            }
        }
    }
    breaches
}

/// Programs that a test calls and that `.ci/run` does not install.
pub fn not_installed(house: &House) -> Vec<Breach> {
    let Some(ci) = house.source(CI) else { return Vec::new() };
    let installed: BTreeSet<&str> = (ci.text.lines())
        .filter_map(|line| {
            let rest = line.strip_prefix("need ").or_else(|| line.strip_prefix("command -v "))?;
            rest.split_whitespace().next()
        })
        .chain(ESSENTIAL)
        .collect();
    let mut breaches = Vec::new();
    for source in tests(house) {
        for (line, number) in source.text.lines().zip(1..) {
            for program in programs(line).filter(|program| !installed.contains(program)) {
                let what = format!("{CI} does not install {program}");
                breaches.push(Breach::new(&source.path, number, what));
            }
        }
    }
    breaches
}

/// The programs that a line names: those that it calls, and those that make or mount filesystems.
fn programs(line: &str) -> impl Iterator<Item = &str> {
    let named = |start: usize| line[start..].split_once('"').map(|(program, _)| program);
    let called = CALLS.iter().flat_map(move |call| {
        line.match_indices(call).filter_map(move |(at, _)| named(at + call.len()))
    });
    let quoted = line.match_indices('"').filter_map(move |(at, _)| named(at + 1));
    let of_filesystems = quoted.filter(|word| {
        let kind = ["mkfs.", "mount.", "fsck."].iter().find_map(|start| word.strip_prefix(start));
        kind.is_some_and(|kind| !kind.contains(|c: char| c.is_whitespace() || c == '{'))
    });
    called.chain(of_filesystems)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(breaches: Vec<Breach>) -> Vec<String> {
        breaches.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_test_that_leaves_out_in_a_way_of_its_own_is_found() {
        let house = House::example(&[
            (THE_WAY, "var_os(\"CI\"); \"SKIPPED: {what}\""),
            ("tests/a.rs", "// CI\neprintln!(\"SKIPPED: no zram\");\nvar_os(\"CI\")"),
            ("crates/b/tests/a.rs", "\"SKIPPED\""),
            ("src/a.rs", "// SKIPPED"),
        ]);
        let wanted = [("tests/a.rs", 2), ("tests/a.rs", 3), ("crates/b/tests/a.rs", 1)]
            .map(|(file, line)| format!("{file}:{line}: {THE_WAY} says it"));
        assert_eq!(said(of_their_own(&house)), wanted);
    }

    #[test]
    fn a_program_that_is_called_past_the_way_is_found() {
        let text = "Command::new(\"cp\"); program(\"strace\")\n\
                    process::Command::new(\"strace\")\nCommand::new(format!(\"mkfs.{kind}\"))\n";
        let house =
            House::example(&[("tests/a.rs", text), (THE_WAY, text), ("tests/rules/a.rs", text)]);
        let wanted = [(2, "strace"), (3, "what is formatted")].map(|(line, name)| {
            format!("tests/a.rs:{line}: {THE_WAY} has `program` to call {name}")
        });
        assert_eq!(said(called_alone(&house)), wanted);
    }

    #[test]
    fn a_program_that_nothing_installs_is_found() {
        let text = "program(\"rsync\"), have(\"fish\")\ntool(\"b3sum\"); have(\"mandoc\")\n\
                    &[\"mkfs.exfat\", \"-q\"], \"mkfs.{kind}\", Command::new(\"cp\")\n";
        let ci = "need rsync rsync\nneed fish fish\ncommand -v b3sum >/dev/null || cargo install\n";
        let house = House::example(&[("tests/a.rs", text), (CI, ci)]);
        let wanted = [(2, "mandoc"), (3, "mkfs.exfat")]
            .map(|(line, name)| format!("tests/a.rs:{line}: {CI} does not install {name}"));
        assert_eq!(said(not_installed(&house)), wanted);
        let package = House::example(&[("tests/a.rs", text)]);
        assert!(not_installed(&package).is_empty(), "a source package has no {CI}");
    }
}
