//! Documents as a reader meets them: pieces of prose, in which what is typed stands in backquotes.

pub mod markdown;
pub mod roff;
pub mod shell;

/// A paragraph, an item, a heading, or a cell of a table.
#[derive(Debug, PartialEq, Eq)]
pub struct Piece {
    /// The document and the line, as in `README.md:12`.
    pub place: String,
    /// The text in one line.
    pub text: String,
}

impl Piece {
    /// What is typed.
    pub fn typed(&self) -> impl Iterator<Item = &str> {
        self.text.split('`').skip(1).step_by(2)
    }

    /// The sentences. What is typed is one word, and so is a list of it.
    pub fn sentences(&self) -> Vec<String> {
        let mut text: String = (self.text.split('`').enumerate())
            .map(|(number, part)| if number % 2 == 1 { TYPED } else { part })
            .collect();
        for joint in [", ", ", and ", ", or ", " and ", " or "] {
            let list = format!("{TYPED}{joint}{TYPED}");
            while text.contains(&list) {
                text = text.replace(&list, TYPED);
            }
        }
        let words: Vec<_> = text.split_whitespace().collect();
        let is_end = |word: &&str| word.trim_end_matches([')', '"']).ends_with(['.', '?', '!']);
        words.split_inclusive(is_end).map(|sentence| sentence.join(" ")).collect()
    }
}

/// Stands for what is typed.
const TYPED: &str = "`";

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<String> {
        Piece { place: String::new(), text: text.to_owned() }.sentences()
    }

    #[test]
    fn what_is_typed_is_one_word_and_so_is_a_list_of_it() {
        assert_eq!(
            sentences("With `-a -T`, all is kept. So it is."),
            ["With `, all is kept.", "So it is."]
        );
        assert_eq!(sentences("Use `-n`, `-i` or `-u` (`-f`)."), ["Use ` (`)."]);
        assert_eq!(sentences("It is `a`, or (`b c`, `d`)"), ["It is `, or (`)"]);
    }
}
