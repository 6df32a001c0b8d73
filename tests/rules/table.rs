//! The tables of ARCHITECTURE.md that say who may import whom.

/// One row: some entries, and what each of them may import.
pub struct Row {
    pub line: usize,
    /// Paths below `src`, without an extension.
    pub entries: Vec<String>,
    pub may_import: Vec<String>,
}

/// The rows of the table whose first column has a heading, if there is one.
pub fn rows(text: &str, heading: &str) -> Option<Vec<Row>> {
    let mut lines = text.lines().zip(1..).skip_while(|(line, _)| {
        let cells = cells(line);
        cells.first() != Some(&heading) || cells.last() != Some(&"may import")
    });
    lines.next()?;
    let rows = lines.skip(1).take_while(|(line, _)| line.trim_start().starts_with('|'));
    Some(
        rows.map(|(line, number)| {
            let cells = cells(line);
            Row {
                line: number,
                entries: names(cells.first().unwrap_or(&"")),
                may_import: names(cells.last().unwrap_or(&"")),
            }
        })
        .collect(),
    )
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// The names in a cell: separated by commas, perhaps as code or as links, `nothing` for none.
fn names(cell: &str) -> Vec<String> {
    let name = |name: &str| {
        let name = name.trim().trim_start_matches('[');
        let name = name.split("](").next().unwrap_or(name);
        let name = name.trim_matches('`').trim_end_matches('/').trim_end_matches(".rs");
        name.trim_start_matches("src/").to_owned()
    };
    cell.split(',').map(name).filter(|name| !name.is_empty() && name != "nothing").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_with_its_code_links_and_lists() {
        let text = "\n| room | what | may import |\n| --- | --- | --- |\n\
                    | `a`, [`b`](src/b/) | x | nothing |\n| src/c.rs | x | a, `b` |\n\n| d | x | |";
        let rows = rows(text, "room").unwrap();
        let read: Vec<_> =
            rows.iter().map(|row| (row.line, &row.entries, &row.may_import)).collect();
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (ab, none, c): (Vec<String>, Vec<String>, Vec<String>) =
            (list(&["a", "b"]), list(&[]), list(&["c"]));
        assert_eq!(read, [(4, &ab, &none), (5, &c, &ab)]);
    }
}
