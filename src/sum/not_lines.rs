//! Lines of a manifest that are not well formed are held back until one is: a file without any is
//! told as that, and not line by line. Pure.

use std::path::Path;

use super::line::{LineEnd, Malformed};
use crate::error::{Cause, Error, Operation};

/// After so many lines without a good one, no more is read.
const LINES_MAX: usize = 1000;

/// What becomes of lines that are not well formed before the first that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLines {
    /// They are held back, and told when a good line comes. What has none is read only in part.
    HeldBack,
    /// Each is told at once, and all is read.
    Told,
}

/// How much of a manifest was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// There is more.
    Beginning,
}

/// A file without a good line.
#[derive(Debug)]
pub struct NoManifest {
    /// The error, with what its first line is.
    pub error: Error,
    /// Why the lines that were held back are not well formed.
    pub reasons: Vec<Malformed>,
}

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is held back.
    Held,
    /// It is to be told.
    Told(Malformed),
    /// No good line is expected any more.
    NoManifest,
}

/// A malformed line, by its number from 1 on.
pub type NumberedLine = (u64, Malformed);

/// The lines before the first good one.
pub struct BeforeFirst {
    not_lines: NotLines,
    end: LineEnd,
    has_good_line: bool,
    held: Vec<NumberedLine>,
}

impl BeforeFirst {
    /// Nothing was read yet of lines that end so.
    pub fn new(not_lines: NotLines, end: LineEnd) -> Self {
        Self { not_lines, end, has_good_line: false, held: Vec::new() }
    }

    /// Takes a line that is not well formed. One with a NUL is none of a text.
    pub fn take(&mut self, line: &[u8], number: u64, reason: Malformed) -> Verdict {
        if self.has_good_line || self.not_lines == NotLines::Told {
            return Verdict::Told(reason);
        }
        self.held.push((number, reason));
        let is_binary = self.end == LineEnd::Newline && line.contains(&0);
        match is_binary || self.held.len() >= LINES_MAX {
            true => Verdict::NoManifest,
            false => Verdict::Held,
        }
    }

    /// Notes a good line, and answers with what was held back.
    pub fn end(&mut self) -> Vec<NumberedLine> {
        self.has_good_line = true;
        std::mem::take(&mut self.held)
    }

    /// What there is to say of a manifest of which so many lines were read.
    pub fn conclude(self, path: &Path, lines: u64, extent: Extent) -> Option<NoManifest> {
        if self.has_good_line {
            return None;
        }
        let first = match (self.held.first(), extent) {
            (None, _) => String::new(),
            (Some((number, reason)), _) if lines == 1 => format!("; line {number}: {reason}"),
            (Some((number, reason)), Extent::Whole) => {
                format!("; line {number} of {lines}: {reason}")
            }
            (Some((number, reason)), Extent::Beginning) => {
                format!("; line {number} of the first {lines}: {reason}")
            }
        };
        let cause = Cause::NoGoodLine { first, is_cut: extent == Extent::Beginning };
        let error = Error::new(Operation::Check, path, cause);
        let reasons = self.held.into_iter().map(|(_, reason)| reason).collect();
        Some(NoManifest { error, reasons })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a manifest with these lines, none of which is good.
    fn said(lines: &[&str], end: LineEnd, extent: Extent) -> Option<String> {
        let mut before = BeforeFirst::new(NotLines::HeldBack, end);
        for (index, line) in lines.iter().enumerate() {
            before.take(line.as_bytes(), index as u64 + 1, Malformed::Empty);
        }
        let problem = before.conclude(Path::new("f"), lines.len() as u64, extent)?;
        assert_eq!(problem.reasons.len(), lines.len());
        Some(problem.error.to_string())
    }

    #[test]
    fn a_file_without_a_good_line_is_told_by_its_first() {
        let none = "cannot check 'f': no line in it is properly formatted";
        for (lines, extent, wanted) in [
            (0, Extent::Whole, ""),
            (1, Extent::Whole, "; line 1: the line is empty"),
            (1, Extent::Beginning, "; line 1: the line is empty"),
            (1200, Extent::Whole, "; line 1 of 1200: the line is empty"),
            (7, Extent::Beginning, "; line 1 of the first 7: the line is empty"),
        ] {
            let said = said(&vec![""; lines], LineEnd::Newline, extent);
            assert_eq!(said, Some(format!("{none}{wanted}")));
        }
    }

    #[test]
    fn lines_are_held_back_until_a_good_one_comes_or_none_is_expected() {
        let mut before = BeforeFirst::new(NotLines::HeldBack, LineEnd::Newline);
        assert_eq!(before.take(b"x", 1, Malformed::Empty), Verdict::Held);
        assert_eq!(before.end(), [(1, Malformed::Empty)]);
        assert_eq!(before.end(), []);
        assert_eq!(before.take(b"\0", 3, Malformed::Nul), Verdict::Told(Malformed::Nul));
        assert!(before.conclude(Path::new("f"), 3, Extent::Whole).is_none());
        let verdicts = |not_lines, end, line: &[u8]| {
            let mut before = BeforeFirst::new(not_lines, end);
            (1..).position(|number| before.take(line, number, Malformed::Empty) != Verdict::Held)
        };
        assert_eq!(verdicts(NotLines::HeldBack, LineEnd::Newline, b"a"), Some(LINES_MAX - 1));
        assert_eq!(verdicts(NotLines::HeldBack, LineEnd::Newline, b"a\0"), Some(0));
        assert_eq!(verdicts(NotLines::HeldBack, LineEnd::Nul, b"a\0"), Some(LINES_MAX - 1));
        assert_eq!(verdicts(NotLines::Told, LineEnd::Newline, b"a\0"), Some(0));
    }
}
