//! The sections of a manual that people write.

use super::Piece;

/// The prose. What is set in bold or italic stands in backquotes.
pub fn prose(path: &str, text: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut is_open, mut is_tag) = (false, false);
    for (line, number) in text.lines().zip(1..) {
        let (name, rest) = macro_of(line).unwrap_or(("", line));
        let text = match name {
            "PP" | "IP" | "TP" => {
                (is_open, is_tag) = (false, name == "TP");
                continue;
            }
            "SH" | "SS" => plain(rest),
            "" => plain(rest),
            _ => set(name, rest),
        };
        match pieces.last_mut() {
            Some(last) if is_open => last.text += &format!(" {text}"),
            _ => pieces.push(Piece { place: format!("{path}:{number}"), text }),
        }
        is_open = !["SH", "SS"].contains(&name) && !is_tag;
        is_tag = false;
    }
    pieces
}

/// The name of a line's macro, and what stands behind it.
fn macro_of(line: &str) -> Option<(&str, &str)> {
    let line = line.strip_prefix('.')?;
    Some(line.split_once(' ').unwrap_or((line, "")))
}

/// Words in one face, or in two by turns, as in `BR`.
fn set(name: &str, rest: &str) -> String {
    let faces: Vec<char> = name.chars().collect();
    let words = arguments(rest);
    if let [face] = faces[..] {
        return faced(face, &words.join(" "));
    }
    let by_turns = words.iter().enumerate();
    by_turns
        .map(|(number, word)| faced(faces[number % 2], word))
        .collect::<String>()
        .replace("``", "")
}

fn faced(face: char, text: &str) -> String {
    let text = plain(text);
    match face {
        'R' => text,
        _ if text.trim().is_empty() => text,
        _ => format!("`{text}`"),
    }
}

/// The words of a macro's line. Quotes hold blanks.
fn arguments(rest: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in rest.split('"').enumerate() {
        match number % 2 {
            1 => words.push(part.to_owned()),
            _ => words.extend(part.split_whitespace().map(str::to_owned)),
        }
    }
    words
}

fn plain(text: &str) -> String {
    let escapes =
        [("\\-", "-"), ("\\&", ""), ("\\e", "\\"), ("\\(aq", "'"), ("\\(dq", "\""), ("\\ ", " ")];
    escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macros_are_read() {
        let text = ".SH HEAD\nIt says\n.BR \\-\\-a \", \" b\nand more.\n\
                    .PP\nNext\n.B \\-x y .\n.TP\n\
                    .B 0\nFine.\n";
        let texts: Vec<_> = prose("x", text).into_iter().map(|piece| piece.text).collect();
        assert_eq!(
            texts,
            ["HEAD", "It says `--a`, `b` and more.", "Next `-x y .`", "`0`", "Fine."]
        );
    }
}
