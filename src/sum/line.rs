//! The lines of manifests, as `b3sum`, coreutils and `xxhsum` print and read them. Pure.

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::RangeInclusive;

use super::algorithm::Algorithm;
use crate::digest::Output;

/// Longer lines are malformed. Names are much shorter, unless a tree has tens of thousands of
/// levels. A stranger's line takes no more memory than this.
pub const LINE_BYTES_MAX: usize = 8 << 20;

/// The longest name that has a line, which may be escaped all over.
pub const NAME_BYTES_MAX: usize = LINE_BYTES_MAX / 2 - 4096;

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
    if memchr::memchr3(b'\\', b'\n', b'\r', &name).is_none() {
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

/// The hexadecimal digits of the wanted bytes, which have to fit into memory.
pub fn digits(part: OutputPart<'_>) -> String {
    chunks(part).map(|bytes| hex(&bytes)).collect()
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
        write!(out, "{} (", algorithm.tag_of(part.len_bytes))?;
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

/// Whether no check would have room for the line of this name.
pub fn is_too_long(name: &[u8]) -> bool {
    name.len() > NAME_BYTES_MAX
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

/// How the algorithm of a line is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// The line has a tag.
    Tag,
    /// One was asked for.
    Option,
    /// It is not: a line without a tag is taken for BLAKE3's.
    Default,
}

/// How the plain lines of a manifest part hash and name. coreutils take the first line's way for
/// that of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layout {
    /// No plain line was read yet.
    #[default]
    Open,
    /// Two characters: a blank, and a blank or an asterisk.
    Standard,
    /// One blank, as BSD's `md5 -r` has it.
    Reversed,
}

/// A line of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The algorithm of the hash.
    pub algorithm: Algorithm,
    /// How that is known.
    pub known_by: KnownBy,
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
    /// A tag that no algorithm here has.
    #[error("unknown algorithm '{0}'")]
    UnknownAlgorithm(String),
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
        /// How many bytes this hash has, if it is one, and no tag says of which algorithm.
        found_bytes: Option<usize>,
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

/// How the lines of a manifest are read.
pub struct Reader {
    /// The only algorithm that is accepted. Without one, tags decide, and plain lines are BLAKE3's.
    pub wanted: Option<Algorithm>,
    /// How lines end.
    pub end: LineEnd,
    /// How plain lines look, once one was read.
    pub layout: Layout,
}

/// The parts of a line. The name may have escapes.
struct Parts<'a> {
    algorithm: Algorithm,
    /// How many bytes the hash may have.
    lengths_bytes: RangeInclusive<usize>,
    known_by: KnownBy,
    digits: &'a [u8],
    name: &'a [u8],
}

impl Reader {
    /// Reads one line, without its end.
    pub fn parse(&mut self, line: &[u8]) -> Result<Line, Malformed> {
        let has_escapes = self.end == LineEnd::Newline;
        let line = if has_escapes { trim_carriage_returns(line) } else { line };
        if line.is_empty() {
            return Err(Malformed::Empty);
        }
        let line = if self.is_coreutils() { trim_blanks(line) } else { line };
        let (line, escaped) = match line {
            [b'\\', rest @ ..] if has_escapes => (rest, true),
            _ => (line, false),
        };
        let Parts { algorithm, lengths_bytes, known_by, digits, name } = match split_tagged(line)? {
            Some(parts) => parts,
            None => self.split_plain(line)?,
        };
        if let Some(wanted) = self.wanted.filter(|wanted| *wanted != algorithm) {
            return Err(Malformed::OtherAlgorithm { found: algorithm, wanted });
        }
        let hash = match unhex(digits) {
            Some(hash) if lengths_bytes.contains(&hash.len()) => hash,
            other => {
                let untagged = other.filter(|_| known_by != KnownBy::Tag);
                let (digits, found_bytes) =
                    (2 * lengths_bytes.end(), untagged.map(|hash| hash.len()));
                return Err(Malformed::Hash { algorithm, digits, found_bytes });
            }
        };
        let name = if escaped { unescape(name)? } else { name.to_owned() };
        if name.is_empty() {
            return Err(Malformed::NoName);
        }
        if name.contains(&0) {
            return Err(Malformed::Nul);
        }
        // Several files can be behind this name, see b3sum's own rules. Names in lines that end
        // with NUL are exact.
        if algorithm == Algorithm::Blake3
            && has_escapes
            && name.windows(3).any(|bytes| bytes == "\u{fffd}".as_bytes())
        {
            return Err(Malformed::Replacement);
        }
        Ok(Line { algorithm, known_by, name, hash })
    }

    /// Whether plain lines are those of coreutils, which reads more than it prints. `b3sum` reads
    /// what it prints, and nothing else.
    fn is_coreutils(&self) -> bool {
        self.wanted.is_some_and(|algorithm| algorithm != Algorithm::Blake3)
    }

    /// Splits a line without a tag. The second of the two characters between hash and name is an
    /// asterisk in coreutils' binary mode.
    fn split_plain<'a>(&mut self, line: &'a [u8]) -> Result<Parts<'a>, Malformed> {
        let (algorithm, known_by) = match self.wanted {
            Some(wanted) => (wanted, KnownBy::Option),
            None => (Algorithm::Blake3, KnownBy::Default),
        };
        let is_coreutils = self.is_coreutils();
        let is_end = |&byte: &u8| byte == b' ' || (is_coreutils && byte == b'\t');
        let at = line.iter().position(is_end).ok_or(Malformed::Format)?;
        let (digits, behind) = (&line[..at], &line[at + 1..]);
        let (layout, name) = match (behind, self.layout) {
            (_, Layout::Reversed) => (Layout::Reversed, behind),
            ([b' ' | b'*', name @ ..], _) => (Layout::Standard, name),
            (_, Layout::Open) if is_coreutils => (Layout::Reversed, behind),
            _ => return Err(Malformed::Format),
        };
        let lengths_bytes = algorithm.lengths_bytes();
        if unhex(digits).is_some_and(|hash| lengths_bytes.contains(&hash.len())) {
            self.layout = layout;
        }
        Ok(Parts { algorithm, lengths_bytes, known_by, digits, name })
    }
}

/// Removes carriage returns, as `b3sum` does for manifests that passed through Windows. One that
/// belongs to a name is escaped.
fn trim_carriage_returns(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b'\r'] = line {
        line = rest;
    }
    line
}

/// Removes blanks at the beginning.
fn trim_blanks(mut line: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = line {
        line = rest;
    }
    line
}

/// Splits a line with a tag at the last `)`, since the name may hold another: `TAG (NAME) = HASH`,
/// where each of the three spaces may be missing, as OpenSSL has it. No plain line begins with a
/// tag, as no tag is made of digits.
fn split_tagged(line: &[u8]) -> Result<Option<Parts<'_>>, Malformed> {
    let is_tag = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_/".contains(byte);
    let tag_len = line.iter().position(|byte| !is_tag(byte)).unwrap_or(line.len());
    let (tag, rest) = line.split_at(tag_len);
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let Some(rest) = rest.strip_prefix(b"(") else { return Ok(None) };
    let Some(at) = rest.iter().rposition(|&byte| byte == b')') else { return Ok(None) };
    let (name, rest) = (&rest[..at], trim_blanks(&rest[at + 1..]));
    let Some(rest) = rest.strip_prefix(b"=") else { return Ok(None) };
    let digits = trim_blanks(rest);
    match Algorithm::of_tag(tag) {
        Some((algorithm, hash_bytes)) => {
            let lengths_bytes = hash_bytes..=hash_bytes;
            Ok(Some(Parts { algorithm, lengths_bytes, known_by: KnownBy::Tag, digits, name }))
        }
        None if (1..=32).contains(&tag_len) && !digits.is_empty() && unhex(digits).is_some() => {
            let tag = String::from_utf8_lossy(tag).into_owned();
            Err(Malformed::UnknownAlgorithm(tag))
        }
        None => Ok(None),
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

    fn parse(line: &[u8], wanted: Option<Algorithm>, end: LineEnd) -> Result<Line, Malformed> {
        Reader { wanted, end, layout: Layout::Open }.parse(line)
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
                let mut reader = Reader { wanted, end, layout: Layout::Open };
                let read = reader.parse(&text[..text.len() - 1]);
                if algorithm == Algorithm::Blake3 && !zero && std::str::from_utf8(name).is_err() {
                    assert_eq!(read, Err(Malformed::Replacement));
                } else {
                    assert_eq!(
                        read,
                        Ok(Line {
                            algorithm,
                            known_by: if tag { KnownBy::Tag } else { KnownBy::Option },
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
        let bad_hash = |algorithm: Algorithm, found_bytes| Malformed::Hash {
            algorithm,
            digits: 2 * algorithm.hash_bytes(),
            found_bytes,
        };
        assert_eq!(read(""), Err(Malformed::Empty));
        assert_eq!(read("\r"), Err(Malformed::Empty));
        assert_eq!(read("\\"), Err(Malformed::Format));
        assert_eq!(read("nonsense"), Err(Malformed::Format));
        assert_eq!(read(&format!("{zeros} x")), Err(Malformed::Format));
        assert_eq!(read(&zeros), Err(Malformed::Format));
        assert_eq!(read(&format!("{zeros}  ")), Err(Malformed::NoName));
        assert_eq!(read(&format!("{zeros}00  x")), Err(bad_hash(Algorithm::Blake3, Some(33))));
        assert_eq!(read(&format!("{}  x", &zeros[1..])), Err(bad_hash(Algorithm::Blake3, None)));
        assert_eq!(read(&format!("g{}  x", &zeros[1..])), Err(bad_hash(Algorithm::Blake3, None)));
        assert_eq!(read("MD5 (x) = 00"), Err(bad_hash(Algorithm::Md5, None)));
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

    #[test]
    fn what_coreutils_reads_is_read() {
        let zeros = "00".repeat(32);
        let sha256 = Some(Algorithm::Sha256);
        for (text, name) in [
            (format!("{zeros} x"), "x"),
            (format!("{zeros}\tx"), "x"),
            (format!("{zeros}\t x"), "x"),
            (format!("  \t{zeros}  x"), "x"),
            (format!(" \\{zeros}  a\\\\b"), "a\\b"),
            (format!("{zeros} *x"), "x"),
            (format!("SHA256(x)= {zeros}"), "x"),
            (format!("SHA256 (x)={zeros}"), "x"),
            (format!("SHA256(a) = b)=\t{zeros}"), "a) = b"),
            (format!(" SHA256 (x) = {zeros}"), "x"),
        ] {
            let read = parse(text.as_bytes(), sha256, LineEnd::Newline);
            assert_eq!(read.map(|line| line.name), Ok(name.into()), "{text}");
        }
        // The first line says how all look.
        let mut reader = Reader { wanted: sha256, end: LineEnd::Newline, layout: Layout::Open };
        let mut read = |text: String| reader.parse(text.as_bytes()).map(|line| line.name);
        assert_eq!(read(format!("{zeros} x")), Ok(b"x".to_vec()));
        assert_eq!(read(format!("{zeros}  x")), Ok(b" x".to_vec()));
        reader.layout = Layout::Standard;
        assert_eq!(reader.parse(format!("{zeros} x").as_bytes()), Err(Malformed::Format));
        // b3sum reads none of them.
        for text in [format!("{zeros}\tx"), format!(" {zeros}  x")] {
            assert!(parse(text.as_bytes(), None, LineEnd::Newline).is_err(), "{text}");
        }
        let text = format!("SM3 (x) = {zeros}");
        let unknown = Malformed::UnknownAlgorithm("SM3".to_owned());
        assert_eq!(parse(text.as_bytes(), None, LineEnd::Newline), Err(unknown));
    }
}
