//! Markdown: prose, and blocks of code.

use super::Piece;

/// The prose: everything outside of blocks of code and comments.
pub fn prose(path: &str, text: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut is_code, mut is_open) = (false, false);
    for (line, number) in text.lines().zip(1..) {
        let place = || format!("{path}:{number}");
        let line = line.trim();
        if line.starts_with("```") {
            (is_code, is_open) = (!is_code, false);
        } else if is_code || line.starts_with("<!--") || line.is_empty() || is_definition(line) {
            is_open = false;
        } else if let Some(row) = line.strip_prefix('|') {
            let cells = row.trim_end_matches('|').split(" | ").map(str::trim);
            let cells = cells.filter(|cell| !cell.is_empty() && !cell.starts_with("---"));
            pieces.extend(cells.map(|cell| Piece { place: place(), text: bare(cell) }));
            is_open = false;
        } else if let (true, Some(last), false) = (is_open, pieces.last_mut(), begins(line)) {
            last.text += &format!(" {}", bare(line));
        } else {
            is_open = !line.starts_with('#');
            let text = line.trim_start_matches(['#', '-', '>', ' ']);
            pieces.push(Piece { place: place(), text: bare(text) });
        }
    }
    pieces.iter_mut().for_each(|piece| piece.text = without_links(&piece.text));
    pieces
}

/// The lines of the blocks of code of this language, continued ones as one.
pub fn code(path: &str, text: &str, language: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut is_code, mut is_continued) = (false, false);
    for (line, number) in text.lines().zip(1..) {
        if let Some(fence) = line.strip_prefix("```") {
            is_code = !is_code && fence == language;
            continue;
        }
        if !is_code {
            continue;
        }
        let (line, goes_on) = line.strip_suffix('\\').map_or((line, false), |start| (start, true));
        match pieces.last_mut() {
            Some(last) if is_continued => last.text += line.trim_start(),
            _ => pieces.push(Piece { place: format!("{path}:{number}"), text: line.to_owned() }),
        }
        is_continued = goes_on;
    }
    pieces
}

/// Whether a line begins an item or a heading, even without an empty line before it.
fn begins(line: &str) -> bool {
    ["- ", "# ", "## ", "### ", "> "].iter().any(|start| line.starts_with(start))
}

/// Whether a line says where a link leads that is made elsewhere.
fn is_definition(line: &str) -> bool {
    line.starts_with('[') && line.split_once("]: ").is_some_and(|(_, to)| !to.contains(' '))
}

fn bare(text: &str) -> String {
    text.replace("**", "").replace("\\|", "|")
}

/// Links and pictures as their texts.
fn without_links(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    while let Some((before, after)) = rest.split_once("](") {
        match (before.rfind('['), after.split_once(')')) {
            (Some(at), Some((_, end))) => {
                kept += before[..at].trim_end_matches('!');
                kept += &before[at + 1..];
                rest = end;
            }
            _ => {
                kept += before;
                rest = after;
            }
        }
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Head\n\nA [link](to.md) and\nmore.\n\n- item `x`\n- another\n\n\
                        | a | b c |\n| --- | --- |\n\n```sh\na \\\n  b\n```\nEnd.\n\n[a]: b.c\n";

    #[test]
    fn prose_is_in_pieces() {
        let texts: Vec<_> = prose("x", TEXT).into_iter().map(|piece| piece.text).collect();
        assert_eq!(texts, ["Head", "A link and more.", "item `x`", "another", "a", "b c", "End."]);
        assert_eq!(prose("x", TEXT)[1].place, "x:3");
    }

    #[test]
    fn code_is_in_lines() {
        assert_eq!(
            code("x", TEXT, "sh"),
            [Piece { place: "x:13".to_owned(), text: "a b".to_owned() }]
        );
        assert!(code("x", TEXT, "console").is_empty());
    }
}
