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
    /// Nothing, or any bytes up to a slash: the pattern may begin behind any slash.
    Folders,
    /// `[...]`: one of these bytes, which never has `/` in it.
    Class(Box<[bool; 256]>),
}

impl Token {
    /// Whether it stands for this one byte.
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(want) => *want == byte,
            Self::Any => byte != b'/',
            Self::Class(class) => class[usize::from(byte)],
            Self::Star | Self::StarStar | Self::Folders => false,
        }
    }
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

    /// The same pattern, which may also begin behind any slash of the text.
    pub fn behind_any_slash(mut self) -> Self {
        self.0.insert(0, Token::Folders);
        self
    }

    /// Whether all of `text` matches.
    ///
    /// Most patterns are soon through with going back to the last star. A pattern of several stars
    /// may go back too often; its time is bounded by the product of the lengths then as well.
    pub fn matches(&self, text: &[u8]) -> bool {
        let steps_max = 16 * (self.0.len() + text.len() + 1);
        self.matches_within(text, steps_max).unwrap_or_else(|| self.simulate(text))
    }

    /// Whether all of `text` matches; `None` if that takes more steps.
    ///
    /// What a star took is lengthened byte by byte, the last star first. A later star can take what
    /// an earlier one of its kind could take instead. So one place to go back to is enough for each
    /// kind.
    fn matches_within(&self, text: &[u8], steps_max: usize) -> Option<bool> {
        let tokens = &self.0;
        let (mut at, mut token) = (0, 0);
        // Where to go on: the token after the star, and the byte after what it took.
        let (mut star, mut star_star) = (None, None);
        for _ in 0..steps_max {
            match (tokens.get(token), text.get(at)) {
                (None, None) => return Some(true),
                (Some(Token::Star), _) => {
                    token += 1;
                    star = Some((token, at));
                    continue;
                }
                (Some(Token::StarStar | Token::Folders), _) => {
                    token += 1;
                    (star, star_star) = (None, Some((token, at)));
                    continue;
                }
                (Some(one), Some(&byte)) if one.takes(byte) => {
                    (token, at) = (token + 1, at + 1);
                    continue;
                }
                _ => {}
            }
            let longer = star.filter(|&(_, end)| text.get(end).is_some_and(|&byte| byte != b'/'));
            (token, at) = match (longer, star_star) {
                (Some((after, end)), _) => (after, end + 1),
                (None, Some((after, end))) => {
                    let only_folders = tokens[after - 1] == Token::Folders;
                    let skipped =
                        text[end..].iter().position(|&byte| !only_folders || byte == b'/');
                    let Some(skipped) = skipped else { return Some(false) };
                    star_star = Some((after, end + skipped + 1));
                    (after, end + skipped + 1)
                }
                _ => return Some(false),
            };
            star = longer.map(|(after, end)| (after, end + 1));
        }
        None
    }

    /// Whether all of `text` matches, with all tokens at once that may be next: one step a token
    /// and byte, whatever the pattern is.
    fn simulate(&self, text: &[u8]) -> bool {
        let tokens = &self.0;
        let mut next = vec![false; tokens.len() + 1];
        next[0] = true;
        next[1.min(tokens.len())] |= tokens.first() == Some(&Token::Folders);
        self.pass_stars(&mut next);
        for &byte in text {
            let mut after = vec![false; tokens.len() + 1];
            for (token, one) in tokens.iter().enumerate().filter(|&(token, _)| next[token]) {
                match one {
                    Token::Star => after[token] |= byte != b'/',
                    Token::StarStar => after[token] = true,
                    Token::Folders => {
                        after[token] = true;
                        after[token + 1] |= byte == b'/';
                    }
                    one => after[token + 1] |= one.takes(byte),
                }
            }
            self.pass_stars(&mut after);
            next = after;
        }
        next[tokens.len()]
    }

    /// What follows a star may be next where the star may, since a star may take nothing.
    fn pass_stars(&self, next: &mut [bool]) {
        for (token, one) in self.0.iter().enumerate() {
            if next[token] && matches!(one, Token::Star | Token::StarStar) {
                next[token + 1] = true;
            }
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
                let byte = if byte == b'\\' { take(rest)? } else { byte };
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
    match take(rest)? {
        b'\\' => take(rest),
        byte => Some(byte),
    }
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, tail) = rest.split_first()?;
    *rest = tail;
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
            ("[\\\\]", &["\\"], &["]"]),
            ("[!\\\\]", &["a"], &["\\"]),
            ("[\\\\,]", &["\\", ","], &["]"]),
            ("[\\\\-^]", &["]", "^", "\\"], &["["]),
            ("[A-\\\\]", &["G", "\\"], &["]", "-"]),
            ("[\\a-c]", &["b"], &["\\"]),
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
        // A thread's own time passes no faster on a busy machine.
        let now = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime).tv_sec;
        let begun_s = now();
        let glob = Glob::wild(&b"*a**a".repeat(40)).unwrap();
        assert!(!glob.matches(&[b'a'; 4000].map(|byte| byte ^ 1)));
        assert!(!glob.matches(&[&[b'a'; 4000][..], b"b"].concat()));
        for pattern in ["**a*a*a*a*a*a*a*b", "a**a/**a*a*a*b/c", "x*/a*b**/*a*a*a*b", "a/**a/**a/b"]
        {
            let glob = Glob::wild(pattern.as_bytes()).unwrap().behind_any_slash();
            for text in [b"a".repeat(4000), b"aa/".repeat(1400), b"a/".repeat(2000)] {
                assert!(!glob.matches(&text), "{pattern}");
            }
        }
        assert!(now() - begun_s < 5, "{} s", now() - begun_s);
    }

    /// All that matches by the meaning of the tokens alone.
    fn matches_slowly(tokens: &[Token], text: &[u8]) -> bool {
        let Some((one, rest)) = tokens.split_first() else { return text.is_empty() };
        let lengthen = |fits: &dyn Fn(&[u8]) -> bool| {
            (0..=text.len()).any(|end| fits(&text[..end]) && matches_slowly(rest, &text[end..]))
        };
        match one {
            Token::Star => lengthen(&|taken| !taken.contains(&b'/')),
            Token::StarStar => lengthen(&|_| true),
            Token::Folders => lengthen(&|taken| taken.is_empty() || taken.ends_with(b"/")),
            one => text
                .first()
                .is_some_and(|&byte| one.takes(byte) && matches_slowly(rest, &text[1..])),
        }
    }

    #[test]
    fn both_ways_to_match_are_what_the_tokens_mean() {
        let (mut matched, seed) = (0, 7);
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..20_000 {
            let mut piece = |pieces: &[&str]| pieces[random.usize(..pieces.len())].to_owned();
            let pattern: String =
                (0..7).map(|_| piece(&["a", "b", "/", "*", "**", "?", "[!a]", ""])).collect();
            let text: String = (0..8).map(|_| piece(&["a", "b", "/", ""])).collect();
            let (mut glob, text) = (Glob::wild(pattern.as_bytes()).unwrap(), text.as_bytes());
            if round % 2 == 0 {
                glob = glob.behind_any_slash();
            }
            let expected = matches_slowly(&glob.0, text);
            let found = (glob.matches(text), glob.simulate(text), glob.matches_within(text, 9999));
            assert_eq!(
                found,
                (expected, expected, Some(expected)),
                "{pattern} {text:?}, seed {seed}"
            );
            matched += usize::from(expected);
        }
        assert!(matched > 1000, "{matched} matched");
    }
}
