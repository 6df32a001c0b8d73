//! Sums up what a run did.

use std::time::Duration;

use crate::cli::screen::units::{self, count};
use crate::report::Totals;

/// The figures of a run, each a name and a number: what there was any of, and what the run was to
/// do.
pub fn figures(totals: &Totals, elapsed: Duration, compared: bool) -> Vec<(String, String)> {
    let kept = ("bytes of half-copied files kept", &totals.meter.kept_bytes);
    let read = compared.then_some(("compared bytes", &totals.meter.proved_bytes));
    let (wanted, moved_bytes) = match compared {
        true => (["verified_files", "compared bytes"], &totals.meter.proved_bytes),
        false => (["files", "written_bytes"], &totals.written_bytes),
    };
    let sums = totals
        .fields()
        .into_iter()
        .chain([kept])
        .chain(read)
        .map(|(name, sum)| (name, Totals::get(sum)));
    let any = sums.filter(|&(name, sum)| sum > 0 || wanted.contains(&name));
    let mut figures: Vec<_> = any
        .map(|(name, sum)| match name.contains("bytes") && sum >= 1000 {
            true => (name.replace('_', " "), format!("{sum} ({})", units::bytes(sum as f64))),
            false => (name.replace('_', " "), sum.to_string()),
        })
        .collect();
    let seconds = elapsed.as_secs_f64();
    figures.push(("seconds".to_owned(), format!("{seconds:.2}")));
    figures.push(("rate".to_owned(), units::rate(Totals::get(moved_bytes) as f64 / seconds)));
    figures
}

/// The long form, for `--stats`: the figures below each other.
pub fn stats(totals: &Totals, elapsed: Duration, compared: bool) -> String {
    let figures = figures(totals, elapsed, compared);
    let width = figures.iter().map(|(name, _)| name.len() + 1).max().unwrap_or_default();
    figures
        .iter()
        .map(|(name, number)| format!("{:width$} {number}\n", format!("{name}:")))
        .collect()
}

/// What a run was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// To copy.
    Copy,
    /// To read each copy back, too.
    CopyAndVerify,
    /// To compare what is there.
    Compare,
}

/// The short form, for the end of a run whose progress was shown. How the data went is for
/// `--stats`.
pub fn brief(totals: &Totals, elapsed: Duration, asked: Asked) -> String {
    let seconds = elapsed.as_secs_f64();
    let of = |sum| Totals::get(sum);
    let bytes = |bytes: u64| units::bytes(bytes as f64);
    let (files, moved) = match asked {
        Asked::Compare => (
            count(of(&totals.verified_files), "file is the same", "files are the same"),
            of(&totals.meter.proved_bytes),
        ),
        _ => (count(of(&totals.files), "file", "files"), of(&totals.written_bytes)),
    };
    let mut line = format!("{files}, {} in {seconds:.2} s", bytes(moved));
    if moved > 0 {
        line += &format!(", {}", units::rate(moved as f64 / seconds));
    }
    for (sum, what) in [
        (&totals.cloned_bytes, "shared with the source"),
        (&totals.hole_bytes, "empty and not written"),
        (&totals.rewritten_bytes, "written again"),
        (&totals.meter.kept_bytes, "copied earlier"),
    ] {
        if of(sum) > 0 {
            line += &format!(", {} {what}", bytes(of(sum)));
        }
    }
    if of(&totals.resumed) > 0 {
        line += &format!(", {} finished earlier", count(of(&totals.resumed), "file", "files"));
    }
    if of(&totals.skipped) > 0 {
        line += &format!(", {} skipped", of(&totals.skipped));
    }
    match (asked, of(&totals.verified_files), of(&totals.files)) {
        (Asked::CopyAndVerify, verified @ 1.., files) if verified == files => {
            line + ", all verified"
        }
        (Asked::CopyAndVerify, verified @ 1.., _) => line + &format!(", {verified} verified"),
        _ => line,
    }
}

/// What a dry run found.
pub fn plan(totals: &Totals) -> String {
    let of = |sum, one, many| match Totals::get(sum) {
        0 => None,
        number => Some(count(number, one, many)),
    };
    let bytes = units::bytes(Totals::get(&totals.planned_bytes) as f64);
    let copied = of(&totals.files, "file", "files").map(|files| format!("copy {files} ({bytes})"));
    let made = [
        of(&totals.made_directories, "directory", "directories"),
        of(&totals.links, "link", "links"),
        of(&totals.hard_links, "hard link", "hard links"),
        of(&totals.specials, "special file", "special files"),
    ];
    let made = made.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let made = Some(made).filter(|made| !made.is_empty()).map(|made| format!("make {made}"));
    let given = of(&totals.given_attributes, "file", "files")
        .map(|files| format!("give attributes to {files}"));
    let skipped = Some(Totals::get(&totals.skipped))
        .filter(|&skipped| skipped > 0)
        .map(|skipped| format!("skip {skipped}"));
    let all: Vec<_> = [copied, made, given, skipped].into_iter().flatten().collect();
    if all.is_empty() {
        "would do nothing\n".to_owned()
    } else {
        format!("would {}\n", all.join("; "))
    }
}
