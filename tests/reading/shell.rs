//! Command lines, as far as documents have them.

/// The commands of a line that begin with this program, each as its words.
pub fn commands(line: &str, program: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    for word in words(line) {
        match word {
            Word::End => commands.push(Vec::new()),
            Word::Plain(word) => commands.last_mut().expect("there is one").push(word),
        }
    }
    let begins = |words: Vec<String>| {
        let at = words.iter().position(|word| word == program)?;
        Some(words[at..].to_vec())
    };
    commands.into_iter().filter_map(begins).collect()
}

enum Word {
    Plain(String),
    /// Of a command.
    End,
}

/// The words without redirections and comments.
fn words(line: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let (mut word, mut is_word, mut quote) = (String::new(), false, None);
    for c in line.chars().chain([' ']) {
        match (quote, c) {
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => word.push(c),
            (None, '\'' | '"') => (quote, is_word) = (Some(c), true),
            (None, '#') if !is_word => break,
            (None, ' ' | '|' | '&' | ';' | '(' | ')' | '>' | '<') => {
                if is_word {
                    words.push(Word::Plain(std::mem::take(&mut word)));
                }
                is_word = false;
                if c != ' ' {
                    words.push(Word::End);
                }
            }
            (None, _) => {
                word.push(c);
                is_word = true;
            }
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_in_a_line() {
        let line = "(cd a && aiocp -x 'b c' d) | sort > aiocp  # aiocp e";
        assert_eq!(commands(line, "aiocp"), [vec!["aiocp", "-x", "b c", "d"], vec!["aiocp"]]);
        assert!(commands("cp a b", "aiocp").is_empty());
    }
}
