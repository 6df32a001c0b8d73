//! How long single reads and writes took: a table, and the same as a picture.

use std::fmt::Write;
use std::time::Duration;

use super::units::{duration, grouped, share};
use crate::report::{Histogram, Latencies};

/// The quantiles of each histogram that the page names.
const QUANTILES: [(f64, &str); 5] =
    [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")];

/// The quantiles of a histogram that is not empty.
struct Row {
    name: &'static str,
    /// The class that gives the row its colour.
    flow: &'static str,
    count: u64,
    quantiles: [Duration; QUANTILES.len()],
}

impl Row {
    fn of(name: &'static str, flow: &'static str, histogram: &Histogram) -> Option<Self> {
        let quantiles = QUANTILES.map(|(share, _)| histogram.quantile(share).unwrap_or_default());
        Some(Self { name, flow, count: histogram.count(), quantiles }).filter(|row| row.count > 0)
    }
}

/// The section.
pub fn section(latencies: Option<&Latencies>) -> String {
    let rows: Vec<Row> = latencies
        .into_iter()
        .flat_map(|latencies| {
            [
                Row::of("reads", "read", &latencies.reads),
                Row::of("writes", "written", &latencies.writes),
            ]
        })
        .flatten()
        .collect();
    let content = match (latencies, &*rows) {
        (None, _) => "<p>No times were taken.</p>\n".to_owned(),
        (_, []) => "<p>Nothing was read or written.</p>\n".to_owned(),
        (_, rows) => table(rows) + &picture(rows),
    };
    format!("<section class=\"card half\">\n<h2>Latency</h2>\n{content}</section>\n")
}

fn table(rows: &[Row]) -> String {
    let heads: String =
        QUANTILES.iter().map(|(_, name)| format!("<th scope=\"col\">{name}</th>")).collect();
    let mut markup = format!(
        "<table class=\"figures\">\n<thead><tr><td></td>\
         <th scope=\"col\">count</th>{heads}</tr></thead>\n<tbody>\n"
    );
    for row in rows {
        let cells: String =
            row.quantiles.iter().map(|&time| format!("<td>{}</td>", duration(time))).collect();
        let (name, count) = (row.name, grouped(row.count));
        _ = writeln!(markup, "<tr><th scope=\"row\">{name}</th><td>{count}</td>{cells}</tr>");
    }
    markup.push_str("</tbody>\n</table>\n");
    markup
}

/// Powers of ten of nanoseconds, between which everything lies.
struct Decades {
    first: u32,
    last: u32,
}

impl Decades {
    fn around(rows: &[Row]) -> Self {
        let nanos = |time: &Duration| (time.as_nanos() as f64).max(1.0).log10();
        let all = || rows.iter().flat_map(|row| &row.quantiles).map(nanos);
        let first = all().fold(f64::INFINITY, f64::min).floor() as u32;
        let last = all().fold(0.0, f64::max).ceil() as u32;
        Self { first, last: last.max(first + 1) }
    }

    /// Where a time is, in percent.
    fn place(&self, time: Duration) -> f64 {
        let power = (time.as_nanos() as f64).max(1.0).log10();
        share(power - f64::from(self.first), f64::from(self.last - self.first)) * 100.0
    }
}

/// A bar for each row. Half of the times lie to the left of where it begins. It gets thinner at p90
/// and p99, and ends with the longest.
fn picture(rows: &[Row]) -> String {
    let decades = Decades::around(rows);
    let mut markup =
        "<div class=\"spread\" aria-hidden=\"true\">\n<div class=\"times\">".to_owned();
    for power in decades.first..=decades.last {
        let nanos = 10u64.saturating_pow(power);
        let place = decades.place(Duration::from_nanos(nanos));
        let label = decade(power);
        _ = write!(markup, "<span style=\"left:{place:.2}%\">{label}</span>");
    }
    markup.push_str("</div>");
    for row in rows {
        let [p50, p90, p99, _, longest] = row.quantiles.map(|time| decades.place(time));
        _ = write!(markup, "\n<div class=\"range {}\">", row.flow);
        for (class, from, to) in [("all", p50, longest), ("most", p50, p99), ("body", p50, p90)] {
            _ = write!(
                markup,
                "<i class=\"{class}\" style=\"left:{from:.2}%;width:{:.2}%\"></i>",
                to - from
            );
        }
        _ = write!(
            markup,
            "<span class=\"name\" style=\"left:{p50:.2}%\">{}</span></div>",
            row.name
        );
    }
    markup.push_str("\n</div>\n");
    markup.push_str(
        "<p class=\"note\">How long single reads and writes took. p99 is the time within which 99 \
         of 100 were done. Each bar begins at the median, is thinner from p90 and a line from p99 \
         to the longest. A block of a big file counts with the time that it waited for its \
         turn.</p>\n",
    );
    markup
}

/// `1 µs`, `10 µs` and so on for the powers of ten of a nanosecond.
fn decade(power: u32) -> String {
    let unit = ["ns", "µs", "ms", "s"][(power as usize / 3).min(3)];
    format!("{} {unit}", 10u64.saturating_pow(power - (power / 3).min(3) * 3))
}
