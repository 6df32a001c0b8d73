//! How a message shows a path.

use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Characters that are not seen and change how others are: marks of direction, joiners, tags, and
/// what breaks lines (Unicode's classes Cf, Zl and Zp, but for signs that enclose numbers).
const UNSEEN: [RangeInclusive<char>; 14] = [
    '\u{ad}'..='\u{ad}',
    '\u{61c}'..='\u{61c}',
    '\u{70f}'..='\u{70f}',
    '\u{180e}'..='\u{180e}',
    '\u{200b}'..='\u{200f}',
    '\u{2028}'..='\u{202e}',
    '\u{2060}'..='\u{206f}',
    '\u{3164}'..='\u{3164}',
    '\u{feff}'..='\u{feff}',
    '\u{fff9}'..='\u{fffb}',
    '\u{13430}'..='\u{1343f}',
    '\u{1bca0}'..='\u{1bca3}',
    '\u{1d173}'..='\u{1d17a}',
    '\u{e0000}'..='\u{e007f}',
];

fn is_unseen(c: char) -> bool {
    c.is_control() || (!c.is_ascii() && UNSEEN.iter().any(|range| range.contains(&c)))
}

/// A path as one printable line. Control characters, marks of direction and all that is not seen
/// are escaped. So a name can neither forge a second message nor look like another.
pub fn shown(path: impl AsRef<Path>) -> String {
    let bytes: &OsStr = path.as_ref().as_os_str();
    let mut line = String::new();
    for chunk in bytes.as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_unseen(c) { line.extend(c.escape_default()) } else { line.push(c) }
        }
        for byte in chunk.invalid() {
            line.push_str(&format!("\\x{byte:02x}"));
        }
    }
    line
}

/// A path in quotes, for a message. A shell reads it as the name, unless a character in it had to
/// be escaped.
///
/// As in GNU's programs, double quotes hold an apostrophe where nothing else in the name has a
/// meaning between them.
pub fn quoted(path: impl AsRef<Path>) -> String {
    let line = shown(path);
    if !line.contains('\'') {
        format!("'{line}'")
    } else if line.contains(['"', '$', '`', '\\', '!']) {
        format!("'{}'", line.replace('\'', r"'\''"))
    } else {
        format!("\"{line}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_escaped_and_all_else_stands() {
        for (name, wanted) in [
            ("photo\u{202e}gpj.exe", "photo\\u{202e}gpj.exe"),
            ("\u{2066}a\u{2069}\u{200b}\u{feff}", "\\u{2066}a\\u{2069}\\u{200b}\\u{feff}"),
            ("a\u{2028}b\u{85}", "a\\u{2028}b\\u{85}"),
            ("\u{e0041}", "\\u{e0041}"),
            ("Größe 写真 عربى עברית é 🦀\u{fe0f}", "Größe 写真 عربى עברית é 🦀\u{fe0f}"),
        ] {
            assert_eq!(shown(name), wanted);
        }
    }

    #[test]
    fn a_quoted_name_is_what_a_shell_reads() {
        for (name, wanted) in [
            ("plain", "'plain'"),
            ("two words", "'two words'"),
            ("$HOME \\", "'$HOME \\'"),
            ("it's", "\"it's\""),
            ("it's $5", r"'it'\''s $5'"),
            ("'", "\"'\""),
            ("a\nb", "'a\\nb'"),
            ("it's\nb", r"'it'\''s\nb'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(name), wanted);
        }
    }
}
