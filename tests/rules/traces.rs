//! Tests read what strace has written in one way, which knows whole calls.

use super::skips::tests;
use super::{Breach, House, in_package};

/// What reads a trace.
const THE_WAY: &str = "tests/common/trace.rs";

/// What tries that way.
const ITS_TEST: &str = "tests/traces.rs";

/// Tests that read a trace by its lines, of which a call can have two.
pub fn read_by_lines(house: &House) -> Vec<Breach> {
    let others =
        tests(house).filter(|source| ![THE_WAY, ITS_TEST].contains(&in_package(&source.path)));
    let breaches = others.flat_map(|source| {
        let lines = source.text.lines().zip(1..);
        let own = lines.filter(|(line, _)| reads_lines(line));
        own.map(|(_, line)| Breach::new(&source.path, line, format!("{THE_WAY} has `calls`")))
    });
    breaches.collect()
}

fn reads_lines(line: &str) -> bool {
    let reads = |call: &str| {
        line.split_once(call).is_some_and(|(_, what)| what.to_ascii_lowercase().contains("trace"))
    };
    reads("read_to_string(")
        || reads("fs::read(")
        || reads("File::open(")
        || ["<unfinished", "resumed>"].iter().any(|mark| line.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_reads_a_trace_by_its_lines_is_found() {
        let text = "let calls = trace::calls(&trace);\nlet text = fs::read_to_string(trace);\n\
                    fs::read_to_string(at(\"trace\"))\nline.contains(\" resumed>\")\n\
                    fs::read(file)\n.replace(\" <unfinished ...>\", \")\")\n";
        let house =
            House::example(&[("tests/a.rs", text), (THE_WAY, text), ("tests/rules/a.rs", text)]);
        let said: Vec<_> = read_by_lines(&house).iter().map(ToString::to_string).collect();
        let wanted = [2, 3, 4, 6].map(|line| format!("tests/a.rs:{line}: {THE_WAY} has `calls`"));
        assert_eq!(said, wanted);
    }
}
