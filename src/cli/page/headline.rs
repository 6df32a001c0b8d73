//! What happened, in a sentence and in a few large figures.

use super::data::{Deed, Page};
use super::units::{bytes, counted, duration, escaped, grouped, moment, named, per_second, rate};
use crate::cli::exit;
use crate::report::Totals;

/// How the run went.
struct Headline {
    /// The class that the style sheet knows.
    class: &'static str,
    /// The sign before the title.
    sign: char,
    title: String,
    /// What the exit code means.
    meaning: String,
}

fn headline(page: &Page<'_>) -> Headline {
    let (class, sign, title, meaning) = match (page.exit_code, page.deed) {
        (exit::DONE, Deed::Copy { durable: true }) => (
            "good",
            '✓',
            "Everything was copied and is durable",
            "all is on the device, and verified where that was asked for",
        ),
        (exit::DONE, Deed::Copy { durable: false }) => (
            "good",
            '✓',
            "Everything was copied",
            "all copied, but the device was not waited for (--no-sync)",
        ),
        (exit::DONE, Deed::Compare) => {
            ("good", '✓', "Both sides are the same", "no difference was found")
        }
        (exit::DONE, Deed::Plan) => {
            ("good", '✓', "This is what would be done", "a dry run, in which nothing was touched")
        }
        (exit::FAILED, Deed::Compare) => {
            ("bad", '✕', "Not everything was compared", "something could not be read")
        }
        (exit::FAILED, Deed::Plan) => (
            "bad",
            '✕',
            "Not everything would be copied",
            "a dry run, in which nothing was touched",
        ),
        (exit::FAILED, Deed::Copy { .. }) => (
            "bad",
            '✕',
            "Not everything was copied",
            "some file was not copied, or not with all its metadata",
        ),
        (exit::DIFFERS, _) => (
            "bad",
            '✕',
            "There are differences",
            "the verification found a difference that is still there",
        ),
        (code, _) => return ended_early(code),
    };
    Headline { class, sign, title: title.to_owned(), meaning: meaning.to_owned() }
}

/// The headline of a run that ended by a signal, or in an unknown way.
fn ended_early(code: u8) -> Headline {
    let (title, meaning) = match code.checked_sub(exit::SIGNAL) {
        Some(number @ 1..) => {
            let signal = match i32::from(number) {
                libc::SIGINT => "SIGINT".to_owned(),
                libc::SIGTERM => "SIGTERM".to_owned(),
                libc::SIGPIPE => "SIGPIPE: what was printed had no reader any more".to_owned(),
                _ => format!("signal {number}"),
            };
            (
                format!("Interrupted by {signal}"),
                "what is finished is whole, and the rest was not begun",
            )
        }
        _ => (format!("Ended with exit code {code}"), "the run came to no regular end"),
    };
    Headline { class: "cut", sign: '!', title, meaning: meaning.to_owned() }
}

/// The title in the browser's tab.
pub fn title(page: &Page<'_>) -> String {
    format!("{} – aiocp", headline(page).title)
}

/// The run in one sentence or more.
fn sentence(page: &Page<'_>) -> String {
    let of = |sum| Totals::get(sum);
    let totals = page.totals;
    let (took, files) = (duration(page.elapsed), counted(of(&totals.files), "file", "files"));
    let (read, written) = (of(&totals.meter.read_bytes), of(&totals.written_bytes));
    let on_average = |moved| rate(per_second(moved, page.elapsed));
    let moved = match page.deed {
        Deed::Copy { .. } => {
            format!(
                "{files} and {} written in {took}, {} on average.",
                bytes(written as f64),
                on_average(written)
            )
        }
        Deed::Compare => {
            let same = counted(of(&totals.verified_files), "file is", "files are");
            format!(
                "{same} the same; {} read in {took}, {} on average.",
                bytes(read as f64),
                on_average(read)
            )
        }
        Deed::Plan => format!(
            "{files} with {} would be copied; it took {took} to find out.",
            bytes(of(&totals.planned_bytes) as f64)
        ),
    };
    moved + &besides(page)
}

/// What else there is to say of the run.
fn besides(page: &Page<'_>) -> String {
    let of = |sum| Totals::get(sum);
    let totals = page.totals;
    let mut text = String::new();
    if let (Deed::Copy { .. }, proved @ 1..) = (page.deed, of(&totals.verified_files)) {
        let memory = match of(&totals.verified_from_memory) {
            0 => String::new(),
            memory => format!(", {} of them from memory,", grouped(memory)),
        };
        text += &format!(
            " {} read back{memory} and found as written.",
            counted(proved, "file was", "files were")
        );
    }
    if let skipped @ 1.. = of(&totals.skipped) {
        text += &format!(" {} left alone.", counted(skipped, "entry was", "entries were"));
    }
    if let earlier @ 1.. = of(&totals.resumed) {
        text += &format!(
            " {} finished by an earlier run.",
            counted(earlier, "entry was", "entries were")
        );
    }
    if let rewritten @ 1.. = of(&totals.rewritten_bytes) {
        text += &format!(" {} differed and were written again.", bytes(rewritten as f64));
    }
    if page.failed > 0 {
        text += &format!(" {} below.", counted(page.failed, "failure is", "failures are"));
    }
    text
}

/// Everything above the charts.
pub fn header(page: &Page<'_>) -> String {
    let Headline { class, sign, title, meaning } = headline(page);
    let end = page.begun.checked_add(page.elapsed);
    let times = match (moment(page.begun), end.and_then(moment)) {
        (Some(begun), Some(ended)) => format!("{begun} to {ended}"),
        (Some(begun), None) => format!("from {begun}"),
        _ => "at a time that the clock did not know".to_owned(),
    };
    format!(
        "<header>\n<h1 class=\"{class}\">\
         <span class=\"sign\" aria-hidden=\"true\">{sign}</span> {title}</h1>\n\
         <p class=\"sentence\">{sentence}</p>\n<p class=\"code\">Exit code {code}: {meaning}.</p>\n\
         <pre class=\"command\"><code>{command}</code></pre>\n\
         <p class=\"when\">{times}</p>\n{tiles}</header>\n",
        title = escaped(&title),
        sentence = escaped(&sentence(page)),
        code = page.exit_code,
        command = named(&page.command),
        tiles = tiles(page),
    )
}

/// The large figures: what each is, the figure, and its exact value.
fn tiles(page: &Page<'_>) -> String {
    let of = |sum| Totals::get(sum);
    let totals = page.totals;
    let exact = |number: u64| counted(number, "byte", "bytes");
    let (read, written) = (of(&totals.meter.read_bytes), of(&totals.written_bytes));
    let (moved, way) =
        if page.deed == Deed::Compare { (read, "read") } else { (written, "written") };
    let (name, files) = match page.deed {
        Deed::Compare => ("files the same", of(&totals.verified_files)),
        _ => ("files", of(&totals.files)),
    };
    let others = [
        &totals.directories,
        &totals.links,
        &totals.hard_links,
        &totals.specials,
        &totals.given_attributes,
    ];
    let others = others.into_iter().map(of).sum::<u64>();
    let exact_seconds = match page.elapsed.as_secs() {
        0..60 => format!("{:.3} s", page.elapsed.as_secs_f64()),
        many => format!("{} s", grouped(many)),
    };
    let markup = [
        tile(name, &grouped(files), &counted(others, "other entry", "other entries")),
        tile("read", &bytes(read as f64), &exact(read)),
        tile("written", &bytes(written as f64), &exact(written)),
        tile("took", &duration(page.elapsed), &exact_seconds),
        tile("on average", &rate(per_second(moved, page.elapsed)), way),
        failed_tile(page.failed, of(&totals.differences)),
    ];
    format!("<dl class=\"tiles\">\n{}</dl>\n", markup.concat())
}

/// One large figure.
fn tile(name: &str, figure: &str, more: &str) -> String {
    format!(
        "<div><dt>{name}</dt><dd>{}</dd><dd class=\"more\">{}</dd></div>\n",
        escaped(figure),
        escaped(more)
    )
}

/// The last figure, with a link to the failures.
fn failed_tile(failed: u64, differences: u64) -> String {
    let differ = counted(differences, "difference", "differences");
    let (name, figure, more) = match (failed, differences) {
        (0, 0) => {
            return "<div><dt>failures</dt><dd>0</dd><dd class=\"more\">nothing failed</dd></div>\n"
                .to_owned();
        }
        (0, _) => ("differences", differences, "not set right".to_owned()),
        (_, 0) => ("failures", failed, "what failed".to_owned()),
        _ => ("failures", failed, format!("and {differ}")),
    };
    let figure = grouped(figure);
    format!(
        "<div class=\"bad\"><dt>{name}</dt><dd>{figure}</dd>\
         <dd class=\"more\"><a href=\"#failures\">{more}</a></dd></div>\n"
    )
}
