//! The lines of manifests, as `b3sum`, coreutils and `xxhsum` print and read them. Pure.

use std::borrow::Cow;
use std::io::{self, Write};

use super::algorithm::Algorithm;
use crate::digest::Output;

/// Output bytes that become digits at a time.
const CHUNK_BYTES: usize = 16 << 10;

/// What a line looks like.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// `BLAKE3 (NAME) = HEX` instead of `HEX  NAME`.
    pub tag: bool,
    /// How it ends.
    pub end: LineEnd,
    /// With the name.
    pub names: bool,
}

/// How lines end, and whether their names have escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// With a newline. Names are escaped.
    Newline,
    /// With NUL. Names stand as they are.
    Nul,
}

impl LineEnd {
    /// The last byte of a line.
    pub fn byte(self) -> u8 {
        match self {
            Self::Newline => b'\n',
            Self::Nul => b'\0',
        }
    }
}

/// A name as it stands in a line.
pub struct PrintedName<'a> {
    /// The bytes.
    pub bytes: Cow<'a, [u8]>,
    /// Whether there are escapes in it. The line then begins with a backslash.
    pub is_escaped: bool,
}

/// A name as the algorithm's own tool prints it, with escapes for backslashes and line breaks.
///
/// `b3sum` prints U+FFFD for bytes that are not UTF-8, which no check accepts. The others print any
/// byte.
pub fn escape(name: &[u8], algorithm: Algorithm) -> PrintedName<'_> {
    let name = match (algorithm, String::from_utf8_lossy(name)) {
        (Algorithm::Blake3, Cow::Owned(lossy)) => Cow::Owned(lossy.into_bytes()),
        _ => Cow::Borrowed(name),
    };
    if !name.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r')) {
        return PrintedName { bytes: name, is_escaped: false };
    }
    let mut escaped = Vec::with_capacity(name.len() + 8);
    for &byte in name.iter() {
        match byte {
            b'\\' => escaped.extend(b"\\\\"),
            b'\n' => escaped.extend(b"\\n"),
            b'\r' => escaped.extend(b"\\r"),
            other => escaped.push(other),
        }
    }
    PrintedName { bytes: escaped.into(), is_escaped: true }
}

/// The wanted bytes of an output.
#[derive(Clone, Copy)]
pub struct OutputPart<'a> {
    /// The output.
    pub output: &'a Output,
    /// The first byte that is wanted.
    pub seek_bytes: u64,
    /// How many bytes are wanted.
    pub len_bytes: u64,
}

/// The bytes of a part, which may be more than memory holds. There are none beyond 2^64 bytes, the
/// end of all outputs.
fn chunks(part: OutputPart<'_>) -> impl Iterator<Item = Vec<u8>> + '_ {
    let OutputPart { output, seek_bytes, len_bytes } = part;
    let end = seek_bytes.saturating_add(len_bytes);
    let starts = (seek_bytes..end).step_by(CHUNK_BYTES);
    starts.map(move |start| output.bytes(start, (end - start).min(CHUNK_BYTES as u64) as usize))
}

/// Writes the wanted bytes as they are.
pub fn write_raw(out: &mut dyn Write, part: OutputPart<'_>) -> io::Result<()> {
    chunks(part).try_for_each(|bytes| out.write_all(&bytes))
}

/// Writes one line.
pub fn write(
    out: &mut dyn Write,
    style: Style,
    algorithm: Algorithm,
    name: &[u8],
    part: OutputPart<'_>,
) -> io::Result<()> {
    let PrintedName { bytes: name, is_escaped } = match style.end {
        LineEnd::Newline => escape(name, algorithm),
        LineEnd::Nul => PrintedName { bytes: Cow::Borrowed(name), is_escaped: false },
    };
    if is_escaped && style.names {
        out.write_all(b"\\")?;
    }
    if style.names && style.tag {
        write!(out, "{} (", algorithm.tag())?;
        out.write_all(&name)?;
        out.write_all(b") = ")?;
    }
    for bytes in chunks(part) {
        out.write_all(hex(&bytes).as_bytes())?;
    }
    if style.names && !style.tag {
        out.write_all(b"  ")?;
        out.write_all(&name)?;
    }
    out.write_all(&[style.end.byte()])
}

/// Whether a line with this name does not lead to the file. `b3sum` prints U+FFFD for bytes that
/// are not UTF-8, and its lines are what is printed here.
pub fn is_unprintable(algorithm: Algorithm, end: LineEnd, name: &[u8]) -> bool {
    algorithm == Algorithm::Blake3 && end == LineEnd::Newline && std::str::from_utf8(name).is_err()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[digit as usize]))
        .collect()
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// A line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The algorithm of the hash.
    pub algorithm: Algorithm,
    /// The name, unescaped.
    pub name: Vec<u8>,
    /// The hash that the file should have.
    pub hash: Vec<u8>,
}

/// Why a line is not well formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Nothing in it.
    #[error("the line is empty")]
    Empty,
    /// Longer than any name can be.
    #[error("the line is longer than {0} bytes")]
    TooLong(usize),
    /// Neither `HEX  NAME` nor `TAG (NAME) = HEX`.
    #[error("it is neither 'HASH  NAME' nor 'TAG (NAME) = HASH'")]
    Format,
    /// A tag of another algorithm than the one that was asked for.
    #[error("it is a line of {}, and {} is asked for", .found.tag(), .wanted.tag())]
    OtherAlgorithm {
        /// What the tag says.
        found: Algorithm,
        /// What was asked for.
        wanted: Algorithm,
    },
    /// The hash does not have the algorithm's length, or has other characters than digits.
    #[error(
        "the hash is not the {digits} hexadecimal digits of {} (see --algorithm)",
        .algorithm.tag()
    )]
    Hash {
        /// The algorithm.
        algorithm: Algorithm,
        /// How many digits its hash has.
        digits: usize,
    },
    /// A backslash with something else than `\`, `n` or `r` after it in an escaped line.
    #[error("a backslash in the name begins no escape")]
    Escape,
    /// No name.
    #[error("the name is empty")]
    NoName,
    /// NUL, which no name has.
    #[error("there is a NUL in the name (see --zero)")]
    Nul,
    /// The character that `b3sum` prints for what it cannot print.
    #[error("the name has bytes that b3sum could not print")]
    Replacement,
}

/// Reads one line, without its end. Tags decide the algorithm unless one is `wanted`; without
/// either it is BLAKE3.
pub fn parse(line: &[u8], wanted: Option<Algorithm>, end: LineEnd) -> Result<Line, Malformed> {
    let has_escapes = end == LineEnd::Newline;
    let line = if has_escapes { trim_carriage_returns(line) } else { line };
    if line.is_empty() {
        return Err(Malformed::Empty);
    }
    let (line, escaped) = match line {
        [b'\\', rest @ ..] if has_escapes => (rest, true),
        _ => (line, false),
    };
    let (algorithm, digits, name) = match split_tagged(line) {
        Some(parts) => parts,
        None => split_plain(line)
            .map(|(digits, name)| (wanted.unwrap_or(Algorithm::Blake3), digits, name))?,
    };
    if let Some(wanted) = wanted.filter(|wanted| *wanted != algorithm) {
        return Err(Malformed::OtherAlgorithm { found: algorithm, wanted });
    }
    let hash = unhex(digits).filter(|hash| hash.len() == algorithm.hash_bytes());
    let hash = hash.ok_or(Malformed::Hash { algorithm, digits: 2 * algorithm.hash_bytes() })?;
    let name = if escaped { unescape(name)? } else { name.to_owned() };
    if name.is_empty() {
        return Err(Malformed::NoName);
    }
    if name.contains(&0) {
        return Err(Malformed::Nul);
    }
    // Several files can be behind this name, see b3sum's own rules. Names in lines that end with
    // NUL are exact.
    if algorithm == Algorithm::Blake3
        && has_escapes
        && name.windows(3).any(|bytes| bytes == "\u{fffd}".as_bytes())
    {
        return Err(Malformed::Replacement);
    }
    Ok(Line { algorithm, name, hash })
}

/// Removes carriage returns, as `b3sum` does for manifests that passed through Windows. One that
/// belongs to a name is escaped.
fn trim_carriage_returns(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r'] = line {
        line = rest;
    }
    line
}

/// Splits a line with a tag at the last `) = `, since the name may hold another. No plain line
/// begins with a tag, as no tag is made of digits.
fn split_tagged(line: &[u8]) -> Option<(Algorithm, &[u8], &[u8])> {
    let (algorithm, rest) = Algorithm::ALL.into_iter().find_map(|algorithm| {
        let rest = line.strip_prefix(algorithm.tag().as_bytes())?;
        Some((algorithm, rest.strip_prefix(b" (")?))
    })?;
    let at = rest.windows(4).rposition(|bytes| bytes == b") = ")?;
    Some((algorithm, &rest[at + 4..], &rest[..at]))
}

/// Splits a line without a tag. The second of the two characters between hash and name is an
/// asterisk in coreutils' binary mode.
fn split_plain(line: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let at = line.iter().position(|&byte| byte == b' ').ok_or(Malformed::Format)?;
    match &line[at + 1..] {
        [b' ' | b'*', name @ ..] => Ok((&line[..at], name)),
        _ => Err(Malformed::Format),
    }
}

fn unescape(name: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(match (byte, byte == b'\\') {
            (byte, false) => byte,
            (_, true) => match bytes.next() {
                Some(b'\\') => b'\\',
                Some(b'n') => b'\n',
                Some(b'r') => b'\r',
                _ => return Err(Malformed::Escape),
            },
        });
    }
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(style: Style, algorithm: Algorithm, name: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let hash = Output::Fixed(vec![0xa5; algorithm.hash_bytes()]);
        let len_bytes = algorithm.hash_bytes() as u64;
        let part = OutputPart { output: &hash, seek_bytes: 0, len_bytes };
        write(&mut out, style, algorithm, name, part).unwrap();
        out
    }

    const PLAIN: Style = Style { tag: false, end: LineEnd::Newline, names: true };

    #[test]
    fn every_name_comes_back_from_every_style_but_what_b3sum_cannot_print() {
        let odd: [&[u8]; 9] = [
            b"a",
            b" a  b ",
            b"a\\b\nc\rd",
            b"*x",
            b") = ",
            b"\\",
            b"BLAKE3 (x) = y",
            "ä\u{1}".as_bytes(),
            b"\xff\xfe",
        ];
        for algorithm in Algorithm::ALL {
            for (tag, end, name) in
                odd.into_iter().flat_map(|name| [false, true].map(|tag| (tag, name))).flat_map(
                    |(tag, name)| [LineEnd::Newline, LineEnd::Nul].map(|end| (tag, end, name)),
                )
            {
                let zero = end == LineEnd::Nul;
                let text = line(Style { tag, end, names: true }, algorithm, name);
                assert_eq!(text.last(), Some(if zero { &0 } else { &b'\n' }));
                let wanted = if tag { None } else { Some(algorithm) };
                let read = parse(&text[..text.len() - 1], wanted, end);
                if algorithm == Algorithm::Blake3 && !zero && std::str::from_utf8(name).is_err() {
                    assert_eq!(read, Err(Malformed::Replacement));
                } else {
                    assert_eq!(
                        read,
                        Ok(Line {
                            algorithm,
                            name: name.into(),
                            hash: vec![0xa5; algorithm.hash_bytes()]
                        })
                    );
                }
            }
        }
    }

    #[test]
    fn odd_names_are_escaped_like_b3sum_does() {
        let a5 = "a5".repeat(32);
        let text = |name: &[u8]| String::from_utf8(line(PLAIN, Algorithm::Blake3, name)).unwrap();
        assert_eq!(text(b"a\\b\nc\rd"), format!("\\{a5}  a\\\\b\\nc\\rd\n"));
        assert_eq!(text(b" x"), format!("{a5}   x\n"));
        assert_eq!(text(b"y\xffy"), format!("{a5}  y\u{fffd}y\n"));
    }

    #[test]
    fn what_is_no_line_is_told_apart() {
        let zeros = "00".repeat(32);
        let read =
            |text: &str| parse(text.as_bytes(), None, LineEnd::Newline).map(|line| line.name);
        let bad_hash = |algorithm: Algorithm| Malformed::Hash {
            algorithm,
            digits: 2 * algorithm.hash_bytes(),
        };
        assert_eq!(read(""), Err(Malformed::Empty));
        assert_eq!(read("\r"), Err(Malformed::Empty));
        assert_eq!(read("\\"), Err(Malformed::Format));
        assert_eq!(read("nonsense"), Err(Malformed::Format));
        assert_eq!(read(&format!("{zeros} x")), Err(Malformed::Format));
        assert_eq!(read(&zeros), Err(Malformed::Format));
        assert_eq!(read(&format!("{zeros}  ")), Err(Malformed::NoName));
        assert_eq!(read(&format!("{zeros}00  x")), Err(bad_hash(Algorithm::Blake3)));
        assert_eq!(read(&format!("{}  x", &zeros[1..])), Err(bad_hash(Algorithm::Blake3)));
        assert_eq!(read(&format!("g{}  x", &zeros[1..])), Err(bad_hash(Algorithm::Blake3)));
        assert_eq!(read("MD5 (x) = 00"), Err(bad_hash(Algorithm::Md5)));
        assert_eq!(read(&format!("\\{zeros}  a\\tb")), Err(Malformed::Escape));
        assert_eq!(read(&format!("\\{zeros}  a\\")), Err(Malformed::Escape));
        assert_eq!(read(&format!("{zeros}  a\0b")), Err(Malformed::Nul));
        assert_eq!(read(&format!("{zeros}  a\\tb\r")), Ok(b"a\\tb".to_vec()));
        assert_eq!(read(&format!("{zeros} *x")), Ok(b"x".to_vec()));
        let tagged = format!("SHA256 (x) = {zeros}");
        assert!(
            parse(tagged.as_bytes(), Some(Algorithm::Blake3), LineEnd::Newline).is_err(),
            "no weaker hash is slipped in"
        );
    }
}
