//! The wildcards of rsync(1)'s patterns, on bytes.
//!
//! No crate has them: `globset` and its like give `**` a meaning only between slashes, read braces,
//! and have no classes such as `[[:digit:]]`.

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`: any byte but `/`.
    Any,
    /// `*`: any bytes but `/`.
    Star,
    /// `**`: any bytes.
    StarStar,
    /// `[...]`: one of these bytes, which never has `/` in it.
    Class(Box<[bool; 256]>),
}

/// A pattern that was read.
#[derive(Clone, Debug)]
pub struct Glob(Vec<Token>);

impl Glob {
    /// Reads a pattern with wildcards, in which `\` makes the next byte plain.
    ///
    /// `None` where a class has no end or an unknown name: rsync lets such a pattern match nothing.
    pub fn wild(pattern: &[u8]) -> Option<Self> {
        let mut tokens = Vec::new();
        let mut rest = pattern;
        while let [first, tail @ ..] = rest {
            rest = tail;
            tokens.push(match first {
                b'?' => Token::Any,
                b'*' => {
                    let more = rest.iter().take_while(|&&byte| byte == b'*').count();
                    rest = &rest[more..];
                    if more == 0 { Token::Star } else { Token::StarStar }
                }
                b'[' => Token::Class(class(&mut rest)?),
                b'\\' => {
                    let (byte, tail) = rest.split_first()?;
                    rest = tail;
                    Token::Byte(*byte)
                }
                byte => Token::Byte(*byte),
            });
        }
        Some(Self(tokens))
    }

    /// A pattern that stands for itself.
    pub fn literal(pattern: &[u8]) -> Self {
        Self(pattern.iter().map(|&byte| Token::Byte(byte)).collect())
    }

    /// Whether all of `text` matches.
    ///
    /// What a star took is lengthened byte by byte, the last star first. A later star can take what
    /// an earlier one of its kind could take instead. One place to go back to of each kind is
    /// therefore enough, and the time is at most the product of the lengths.
    pub fn matches(&self, text: &[u8]) -> bool {
        let tokens = &self.0;
        let (mut at, mut token) = (0, 0);
        // Where to go on: the token after the star, and the byte after what it took.
        let (mut star, mut star_star) = (None, None);
        loop {
            match (tokens.get(token), text.get(at)) {
                (None, None) => return true,
                (Some(Token::Star), _) => {
                    token += 1;
                    star = Some((token, at));
                    continue;
                }
                (Some(Token::StarStar), _) => {
                    token += 1;
                    (star, star_star) = (None, Some((token, at)));
                    continue;
                }
                (Some(Token::Byte(want)), Some(byte)) if want == byte => {
                    (token, at) = (token + 1, at + 1);
                    continue;
                }
                (Some(Token::Any), Some(byte)) if *byte != b'/' => {
                    (token, at) = (token + 1, at + 1);
                    continue;
                }
                (Some(Token::Class(class)), Some(byte)) if class[usize::from(*byte)] => {
                    (token, at) = (token + 1, at + 1);
                    continue;
                }
                _ => {}
            }
            let longer = star.filter(|&(_, end)| text.get(end).is_some_and(|&byte| byte != b'/'));
            (token, at) = match (longer, star_star) {
                (Some((after, end)), _) => (after, end + 1),
                (None, Some((after, end))) if end < text.len() => {
                    star_star = Some((after, end + 1));
                    (after, end + 1)
                }
                _ => return false,
            };
            star = longer.map(|(after, end)| (after, end + 1));
        }
    }
}

/// Reads a class up to its `]`; `rest` begins after its `[`.
fn class(rest: &mut &[u8]) -> Option<Box<[bool; 256]>> {
    let mut class = Box::new([false; 256]);
    let negated = matches!(rest.first(), Some(b'!' | b'^'));
    *rest = &rest[usize::from(negated)..];
    let mut previous = None;
    let mut first = true;
    loop {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        previous = match byte {
            b']' if !first => break,
            b'-' if previous.is_some() && !matches!(rest.first(), None | Some(b']')) => {
                let end = plain(rest)?;
                for byte in previous.unwrap_or(end)..=end {
                    class[usize::from(byte)] = true;
                }
                None
            }
            b'[' if rest.first() == Some(&b':') && named(rest).is_some() => {
                let (name, tail) = named(rest)?;
                let is_member = member_test(name)?;
                for byte in 0..=u8::MAX {
                    class[usize::from(byte)] |= is_member(&byte);
                }
                *rest = tail;
                None
            }
            byte => {
                let byte = if byte == b'\\' { plain(rest)? } else { byte };
                class[usize::from(byte)] = true;
                Some(byte)
            }
        };
        first = false;
    }
    for member in class.iter_mut() {
        *member ^= negated;
    }
    class[usize::from(b'/')] = false;
    Some(class)
}

/// The next byte, which `\` may precede.
fn plain(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, tail) = rest.split_first()?;
    *rest = tail;
    if byte == b'\\' {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        return Some(byte);
    }
    Some(byte)
}

/// The name in `:name:]`, and what follows it.
fn named(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = rest.iter().position(|&byte| byte == b']')?;
    let name = rest[1..end].strip_suffix(b":")?;
    Some((name, &rest[end + 1..]))
}

fn member_test(name: &[u8]) -> Option<fn(&u8) -> bool> {
    Some(match name {
        b"alnum" => u8::is_ascii_alphanumeric,
        b"alpha" => u8::is_ascii_alphabetic,
        b"blank" => |byte| matches!(byte, b' ' | b'\t'),
        b"cntrl" => u8::is_ascii_control,
        b"digit" => u8::is_ascii_digit,
        b"graph" => u8::is_ascii_graphic,
        b"lower" => u8::is_ascii_lowercase,
        b"print" => |byte| byte.is_ascii_graphic() || *byte == b' ',
        b"punct" => u8::is_ascii_punctuation,
        b"space" => |byte| byte.is_ascii_whitespace() || *byte == 0x0b,
        b"upper" => u8::is_ascii_uppercase,
        b"xdigit" => u8::is_ascii_hexdigit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_what_rsync_documents() {
        for (pattern, yes, no) in [
            ("a?c", &["abc"][..], &["a/c", "ac", "abcd"][..]),
            ("*.o", &["x.o", ".o"], &["x.oo", "d/x.o"]),
            ("a*b*c", &["abc", "axbxbxc"], &["ab/c", "abcd"]),
            ("**/c", &["a/c", "a/b/c"], &["c"]),
            ("a**c", &["ac", "a/b/c"], &["a/b/d"]),
            ("**x*y/z", &["xy/z", "x/xy/z", "a/x.y/z"], &["x/y/z"]),
            ("[a-c]", &["a", "c"], &["d", "-"]),
            ("[!a-c]", &["d"], &["a", "/"]),
            ("[]x]", &["]", "x"], &["a"]),
            ("[a-]", &["-", "a"], &["b"]),
            ("[[:digit:]x]", &["7", "x"], &["a", ":"]),
            ("[\\]]", &["]"], &["\\"]),
            ("\\*", &["*"], &["a"]),
        ] {
            let glob = Glob::wild(pattern.as_bytes()).unwrap();
            for text in yes {
                assert!(glob.matches(text.as_bytes()), "{pattern} matches {text}");
            }
            for text in no {
                assert!(!glob.matches(text.as_bytes()), "{pattern} does not match {text}");
            }
        }
        for pattern in ["[a", "[", "a\\", "[[:none:]]"] {
            assert!(Glob::wild(pattern.as_bytes()).is_none(), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_takes_no_time() {
        let glob = Glob::wild(&b"*a**a".repeat(40)).unwrap();
        assert!(!glob.matches(&[b'a'; 4000].map(|byte| byte ^ 1)));
        assert!(!glob.matches(&[&[b'a'; 4000][..], b"b"].concat()));
    }
}
