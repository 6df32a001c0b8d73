//! The page of a run, for `--report`: one HTML file that asks for nothing else. It is made from
//! data alone, and the same data makes the same page.
//!
//! Charts are drawn here and not in the browser, so that there is no script. What the pointer shows
//! is part of the page, and the style sheet uncovers it. Every text from outside goes through
//! [`units::named`] or [`units::escaped`].

mod axis;
mod chart;
mod data;
mod headline;
mod latency;
mod progress;
#[cfg(test)]
mod tests;
mod units;

use std::fmt::Write;

pub use data::{Deed, Page, Place, Slow};

use crate::fs::Mount;
use crate::report::{Totals, Way};
use units::{bytes, counted, duration, escaped, grouped, named, per_second, percent, rate, share};

/// The style sheet.
const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn render(page: &Page<'_>) -> String {
    let failed = failures(page);
    // What went wrong is what the reader looks for.
    let is_bad = page.failed > 0 || Totals::get(&page.totals.differences) > 0;
    let (first, last) = if is_bad { (&*failed, "") } else { ("", &*failed) };
    let sections = [
        headline::header(page),
        "<main>\n".to_owned(),
        first.to_owned(),
        progress::charts(page),
        latency::section(page.latencies),
        shares(page.totals),
        slowest(page.slowest),
        last.to_owned(),
        places(page),
        counts(page.totals),
        "</main>\n".to_owned(),
        footer(page),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" \
         content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n{body}</body>\n</html>\n",
        title = escaped(&headline::title(page)),
        body = sections.concat(),
    )
}

/// A bar of parts, each a class and a number, with a legend beneath it.
fn bar(caption: &str, parts: &[(&str, u64)]) -> String {
    let whole = parts.iter().map(|(_, part)| *part).fold(0, u64::saturating_add);
    let (mut pieces, mut legend) = (String::new(), String::new());
    for (name, part) in parts {
        let width = share(*part as f64, whole as f64) * 100.0;
        if *part > 0 {
            _ = write!(pieces, "<i class=\"{name}\" style=\"width:{width:.3}%\"></i>");
        }
        let (size, percent) = (bytes(*part as f64), percent(*part, whole));
        _ = write!(
            legend,
            "<li><i class=\"patch {name}\"></i> {name} \
             <span class=\"figure\">{size}, {percent}</span></li>"
        );
    }
    format!(
        "<h3>{caption}</h3>\n<div class=\"bar\" aria-hidden=\"true\">{pieces}</div>\n\
         <ul class=\"legend\">{legend}</ul>\n"
    )
}

/// The ways by which the contents of the files got to their place.
fn shares(totals: &Totals) -> String {
    let [written, direct, cloned, holes] =
        [&totals.written_bytes, &totals.direct_bytes, &totals.cloned_bytes, &totals.hole_bytes]
            .map(Totals::get);
    let mut content = String::new();
    if written > 0 {
        content += &bar(
            "Of the bytes written",
            &[("direct", direct.min(written)), ("buffered", written.saturating_sub(direct))],
        );
    }
    if cloned > 0 || holes > 0 {
        content += &bar(
            "Of all bytes of the files",
            &[("written", written), ("cloned", cloned), ("holes", holes)],
        );
    }
    if content.is_empty() {
        content.push_str("<p>No byte was written.</p>\n");
    } else {
        content.push_str(
            "<p class=\"note\">Direct: straight to the device, past the page cache. Buffered: \
             through the page cache, as most programs write. Cloned bytes are shared with the \
             source, and holes take no space; neither is written.</p>\n",
        );
    }
    format!("<section class=\"card half\">\n<h2>How it was written</h2>\n{content}</section>\n")
}

/// The slowest files as a table.
fn slowest(files: &[Slow]) -> String {
    let longest = files.iter().map(|file| file.elapsed).max().unwrap_or_default().as_secs_f64();
    let mut rows = String::new();
    for Slow { path, size_bytes, elapsed, route } in files {
        let moved = matches!(route.write, Way::Direct | Way::Buffered(_)) && !elapsed.is_zero();
        _ = writeln!(
            rows,
            "<tr><td class=\"name\">{}</td><td>{}</td>\
             <td class=\"time\">{}<i style=\"width:{:.1}%\"></i></td>\
             <td>{}</td><td class=\"road\">{}</td></tr>",
            named(path),
            bytes(*size_bytes as f64),
            duration(*elapsed),
            share(elapsed.as_secs_f64(), longest) * 100.0,
            if moved { rate(per_second(*size_bytes, *elapsed)) } else { "–".to_owned() },
            escaped(&route.to_string()),
        );
    }
    let content = if rows.is_empty() {
        "<p>No file was timed.</p>\n".to_owned()
    } else {
        format!(
            "<p class=\"note\">By the time that each took by itself. That small files become \
             durable together, and wait for each other, is left out.</p>\n\
             <table class=\"files\">\n<thead><tr><th scope=\"col\" class=\"name\">file</th>\
             <th scope=\"col\">size</th><th scope=\"col\">took</th>\
             <th scope=\"col\">rate</th><th scope=\"col\" class=\"road\">how</th></tr></thead>\n\
             <tbody>\n{rows}</tbody>\n</table>\n"
        )
    };
    format!("<section class=\"card wide\">\n<h2>Slowest files</h2>\n{content}</section>\n")
}

/// The machine, and the filesystem of each operand.
fn places(page: &Page<'_>) -> String {
    let mut rows = String::new();
    for Place { part, path, mount } in page.places {
        let on = mount.as_ref().map(|Mount { kind, device, point }| {
            format!("{}, {} on {}", escaped(kind), named(device), named(point))
        });
        _ = writeln!(
            rows,
            "<tr><th scope=\"row\">{part}</th><td class=\"name\">{}</td><td>{}</td></tr>",
            named(path),
            on.unwrap_or_else(|| "unknown".to_owned()),
        );
    }
    let host = escaped(&page.host);
    format!(
        "<section class=\"card wide\">\n<h2>Machine and filesystems</h2>\n<p>{host}</p>\n\
         <table class=\"places\">\n<tbody>\n{rows}</tbody>\n</table>\n</section>\n"
    )
}

/// What failed.
fn failures(page: &Page<'_>) -> String {
    let mut content = String::new();
    for line in page.failures {
        _ = writeln!(content, "<li>{}</li>", named(line));
    }
    if !content.is_empty() {
        content = format!("<ol class=\"failures\">\n{content}</ol>\n");
    }
    match page.failed.saturating_sub(page.failures.len() as u64) {
        0 if content.is_empty() => content.push_str("<p>Nothing failed.</p>\n"),
        0 => {}
        more if content.is_empty() => {
            _ = writeln!(content, "<p>{}.</p>", counted(more, "failure", "failures"))
        }
        more => _ = writeln!(content, "<p>And {} more.</p>", grouped(more)),
    }
    let differences = Totals::get(&page.totals.differences);
    if differences > 0 {
        let found = counted(differences, "difference was", "differences were");
        _ = writeln!(
            content,
            "<p>{found} found between source and copy; standard output had them.</p>"
        );
    }
    format!(
        "<section class=\"card wide\" id=\"failures\">\n<h2>Failures</h2>\n{content}</section>\n"
    )
}

/// Every sum, under the name that `--json` gives it.
fn counts(totals: &Totals) -> String {
    let mut rows = String::new();
    for (name, sum) in totals.fields() {
        _ = writeln!(rows, "<div><dt>{name}</dt><dd>{}</dd></div>", grouped(Totals::get(sum)));
    }
    format!(
        "<details class=\"card wide\">\n<summary>All counts, named as in --json</summary>\n\
         <dl class=\"counts\">\n{rows}</dl>\n</details>\n"
    )
}

fn footer(page: &Page<'_>) -> String {
    let version: Vec<&str> = page.version.lines().collect();
    format!("<footer>aiocp {}</footer>\n", escaped(&version.join(", ")))
}
