//! The progress of a run on a terminal: a line with a bar, and a line for each of the largest files
//! in hand where there is room.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::progress::{Part, Rank, Snapshot, fitted, join};
use super::units;
use crate::error::shown;
use crate::report::{FileProgress, Look};

/// A terminal with fewer columns has one line.
const COLUMNS_MIN: usize = 60;
/// A terminal with fewer rows has one line.
const ROWS_MIN: usize = 12;
/// The part of the rows that is taken, and the most of them, for files.
const ROWS_PART: usize = 6;
const FILES_MAX: usize = 8;
/// The columns of a bar.
const BAR_MIN: usize = 8;
const BAR_MAX: usize = 30;

/// What a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Columns, of which the last stays free: some terminals go to the next line with it.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
    /// Whether colours are wanted.
    pub colours: bool,
    /// Whether all characters are there, and not those of ASCII alone.
    pub unicode: bool,
}

/// How text is shown.
#[derive(Clone, Copy)]
enum Ink {
    Done,
    Stopping,
    Faint,
}

impl Canvas {
    /// The columns that a line may have.
    fn width(&self) -> usize {
        self.columns.saturating_sub(1)
    }

    /// How many files get a line of their own.
    pub fn files_max(&self) -> usize {
        match self.columns >= COLUMNS_MIN && self.rows >= ROWS_MIN {
            true => (self.rows / ROWS_PART).min(FILES_MAX),
            false => 0,
        }
    }

    fn inked(&self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Done => "32",
            Ink::Stopping => "33",
            Ink::Faint => "2",
        };
        match self.colours && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    /// A bar as wide as `columns`.
    fn bar(&self, columns: usize, per_cent: u64) -> String {
        let (done, rest) = if self.unicode { ("━", "─") } else { ("=", "-") };
        let filled = columns * per_cent.min(100) as usize / 100;
        let done = self.inked(Ink::Done, &done.repeat(filled));
        done + &self.inked(Ink::Faint, &rest.repeat(columns - filled))
    }

    /// The end of a name, in at most `columns`: it says more than its beginning.
    fn end_of<'t>(&self, name: &'t str, columns: usize) -> (&'static str, &'t str) {
        if name.width() <= columns {
            return ("", name);
        }
        let dots = if self.unicode { "…" } else { "..." };
        let mut room = columns.saturating_sub(dots.width());
        let fits = |&(_, c): &(usize, char)| {
            let taken = c.width().unwrap_or(0);
            let has_room = taken <= room;
            room -= taken.min(room);
            has_room
        };
        let start = name.char_indices().rev().take_while(fits).last();
        (dots, start.map_or("", |(start, _)| &name[start..]))
    }

    /// The picture, a string for each line.
    pub fn lines(&self, now: &Snapshot, rate: Option<f64>, look: &Look) -> Vec<String> {
        let mut lines = vec![self.first_line(now, rate)];
        let files_max = self.files_max();
        lines.extend(look.files.iter().take(files_max).map(|file| self.file_line(file)));
        if let Some(name) = &look.name
            && lines.len() <= files_max
        {
            lines.push(self.name_line(["", ""], &shown(name)));
        }
        lines
    }

    /// The share, a bar, and whatever else fits. In a narrow terminal rate and time come before
    /// bytes, which the bar shows.
    fn first_line(&self, now: &Snapshot, rate: Option<f64>) -> String {
        let mut parts = now.parts(rate);
        let per_cent = now.per_cent().filter(|_| !now.stopping);
        let Some(per_cent) = per_cent else {
            let parts = fitted(parts, Some(self.width()));
            let text = join(&parts);
            return match parts.first() {
                Some(Part { rank: Rank::Share, text: head }) => {
                    self.inked(Ink::Stopping, head) + &text[head.len()..]
                }
                _ => text,
            };
        };
        if self.columns < COLUMNS_MIN {
            let is_handled = |part: &Part| part.rank == Rank::Handled;
            parts
                .iter_mut()
                .filter(|part| is_handled(part))
                .for_each(|part| part.rank = Rank::Files);
        }
        // " 7 %" is as wide as "77 %", so that nothing moves.
        let head = match now.about() {
            "" => format!("{per_cent:>2} %"),
            about => format!("{:>5}", format!("{about}{per_cent} %")),
        };
        let room = self.width().saturating_sub(BAR_MIN + 1);
        let parts = fitted(parts, Some(room));
        let rest: Vec<_> = parts.into_iter().filter(|part| part.rank != Rank::Share).collect();
        let rest = join(&rest);
        let left = self.width().saturating_sub(head.len() + rest.len() + 2);
        match left {
            _ if head.len() > self.width() => String::new(),
            0..BAR_MIN if rest.is_empty() => head,
            0..BAR_MIN => format!("{head}, {rest}"),
            _ => {
                let bar = self.bar(left.min(BAR_MAX), per_cent);
                format!("{head} {bar} {rest}").trim_end().to_owned()
            }
        }
    }

    /// How far a file is, its size and its name.
    fn file_line(&self, file: &FileProgress) -> String {
        let &FileProgress { ref path, size_bytes, handled_bytes } = file;
        let state = match handled_bytes >= size_bytes {
            true => "finishing".to_owned(),
            false => {
                let share = u128::from(handled_bytes) * 100 / u128::from(size_bytes.max(1));
                format!("{share} %")
            }
        };
        self.name_line([&state, &units::bytes(size_bytes as f64)], &shown(path))
    }

    fn name_line(&self, [state, size]: [&str; 2], name: &str) -> String {
        let head = format!("{state:>9}  {size:>7}  ");
        let (dots, end) = self.end_of(name, self.width().saturating_sub(head.len()));
        self.inked(Ink::Faint, &head) + dots + end
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::screen::progress::Awaited;

    fn canvas(columns: usize, rows: usize) -> Canvas {
        Canvas { columns, rows, colours: false, unicode: true }
    }

    fn now() -> Snapshot {
        Snapshot {
            elapsed: Duration::from_secs(10),
            found_bytes: 4_290_000_000,
            awaited: Awaited::None,
            handled_bytes: 1_930_000_000,
            written_bytes: 1_930_000_000,
            files: 120,
            ..Snapshot::default()
        }
    }

    fn file(path: &str, size_bytes: u64, handled_bytes: u64) -> FileProgress {
        FileProgress { path: path.into(), size_bytes, handled_bytes }
    }

    #[test]
    fn a_bar_takes_what_the_words_leave() {
        let first = |columns, now: &Snapshot| canvas(columns, 24).first_line(now, Some(812e6));
        assert_eq!(
            first(80, &now()),
            "44 % ━━━━━━───────── 1.93 GB of 4.29 GB written, 120 files, 812 MB/s, 0:03 left"
        );
        assert_eq!(
            first(200, &now()),
            "44 % ━━━━━━━━━━━━━───────────────── 1.93 GB of 4.29 GB written, 120 files, 812 MB/s, \
             0:03 left"
        );
        assert_eq!(first(40, &now()), "44 % ━━━━━━──────── 812 MB/s, 0:03 left");
        assert_eq!(first(12, &now()), "44 %");
        let searching = Snapshot { awaited: Awaited::Unknown, ..now() };
        assert_eq!(first(80, &searching), "1.93 GB of 4.29 GB+ written, 120 files, 812 MB/s");
        let listed = Snapshot { awaited: Awaited::About(42_900_000_000), ..now() };
        assert_eq!(
            first(80, &listed),
            " ~4 % ──────────── 1.93 GB of ~47.2 GB written, 120 files, 812 MB/s, ~0:56 left"
        );
        let stopping = Snapshot { stopping: true, ..now() };
        let coloured = Canvas { colours: true, ..canvas(60, 24) };
        assert_eq!(
            coloured.first_line(&stopping, None),
            "\u{1b}[33mstopping (again: at once)\u{1b}[0m, 1.93 GB of 4.29 GB written"
        );
        for columns in 0..200 {
            for now in [&now(), &searching, &listed, &stopping] {
                let line = first(columns, now);
                assert!(line.width() <= columns.saturating_sub(1), "{columns}: {line}");
            }
        }
    }

    #[test]
    fn the_largest_files_have_lines_of_their_own_where_there_is_room() {
        let look = Look {
            files: vec![
                file("vm/disk.img", 2_000_000_000, 1_240_000_000),
                file("photos/été/写真.raw", 50_000_000, 50_000_000),
            ],
            name: Some("src/a\\nb".into()),
        };
        let below = |canvas: Canvas| canvas.lines(&now(), None, &look).split_off(1);
        assert_eq!(
            below(canvas(80, 24)),
            [
                "     62 %  2.00 GB  vm/disk.img",
                "finishing  50.0 MB  photos/été/写真.raw",
                "                    src/a\\nb",
            ]
        );
        let coloured = Canvas { colours: true, unicode: false, ..canvas(80, 12) };
        let lines = coloured.lines(&now(), None, &look);
        assert_eq!(
            lines[0],
            "44 % \u{1b}[32m=============\u{1b}[0m\u{1b}[2m-----------------\u{1b}[0m \
             1.93 GB of 4.29 GB written, 120 files"
        );
        assert_eq!(lines[1], "\u{1b}[2m     62 %  2.00 GB  \u{1b}[0mvm/disk.img");
        assert_eq!(lines.len(), 3, "of 12 rows two are for files");
        for (columns, rows) in [(40, 50), (59, 50), (200, 8)] {
            assert_eq!(below(canvas(columns, rows)), [""; 0]);
        }
    }

    #[test]
    fn of_a_long_name_the_end_is_shown() {
        let end = |name, columns| {
            let (dots, end) = canvas(80, 24).end_of(name, columns);
            format!("{dots}{end}")
        };
        assert_eq!(end("a/b/c", 5), "a/b/c");
        assert_eq!(end("a/b/cd", 5), "…b/cd");
        // Half of a wide character is none.
        assert_eq!(end("a/写真.raw", 8), "…真.raw");
        assert_eq!(end("a/写真.raw", 7), "…真.raw");
        assert_eq!(end("a/写真.raw", 6), "….raw");
        assert_eq!(end("abc", 1), "…");
        assert_eq!(end("abc", 0), "…");
    }
}
