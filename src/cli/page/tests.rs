use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;

use std::time::{Duration, SystemTime};

use super::*;
use crate::error::shown;
use crate::report::{Latencies, Route, Sample};

/// The data of a page, which tests change.
struct RunData {
    command: String,
    deed: Deed,
    elapsed: Duration,
    exit_code: u8,
    totals: Totals,
    samples: Vec<Sample>,
    latencies: Option<Latencies>,
    slowest: Vec<Slow>,
    failures: Vec<String>,
    failed: u64,
}

impl RunData {
    /// A run that did nothing at all.
    fn empty() -> Self {
        Self {
            command: "aiocp a b".to_owned(),
            deed: Deed::Copy { durable: true },
            elapsed: Duration::ZERO,
            exit_code: 0,
            totals: Totals::default(),
            samples: Vec::new(),
            latencies: None,
            slowest: Vec::new(),
            failures: Vec::new(),
            failed: 0,
        }
    }

    /// A run with something in every part of the page, in `count` intervals.
    fn full(elapsed: Duration, count: u32) -> Self {
        let sample = |n: u32| Sample {
            elapsed: elapsed / count * n,
            read_bytes: u64::from(n) * 210_000_000,
            written_bytes: u64::from(n) * 200_000_000,
            durable_bytes: u64::from(n / 10 * 10) * 200_000_000,
            depth: f64::from(n % 64),
        };
        let latencies = Latencies::default();
        (1..1000).for_each(|n| latencies.reads.record(Duration::from_nanos(n * n * 100)));
        (1..100).for_each(|n| latencies.writes.record(Duration::from_micros(n * n)));
        let run = Self {
            elapsed,
            exit_code: 1,
            samples: (1..=count).map(sample).collect(),
            latencies: Some(latencies),
            slowest: vec![slow("disk.img", 2), slow("other", 1)],
            failures: vec!["cannot open 'x': Permission denied".to_owned()],
            failed: 3,
            ..Self::empty()
        };
        for (n, (_, sum)) in (1..).zip(run.totals.fields()) {
            sum.store(n * 1_000_000, Ordering::Relaxed);
        }
        run
    }

    fn page(&self) -> String {
        render(&Page {
            command: self.command.clone(),
            host: "mars, Linux 6.18.0".to_owned(),
            places: &[
                Place { part: "from", path: self.command.clone().into(), mount: None },
                Place {
                    part: "to",
                    path: "b".into(),
                    mount: Some(Mount {
                        kind: "ext4".to_owned(),
                        device: self.command.clone().into(),
                        point: "/mnt".into(),
                    }),
                },
            ],
            version: "1.2.3 (abcdef)\nengines: kernel",
            deed: self.deed,
            begun: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
            elapsed: self.elapsed,
            exit_code: self.exit_code,
            totals: &self.totals,
            samples: &self.samples,
            latencies: self.latencies.as_ref(),
            slowest: &self.slowest,
            failures: &self.failures,
            failed: self.failed,
        })
    }
}

fn slow(path: impl AsRef<OsStr>, seconds: u64) -> Slow {
    let route = Route { read: Way::Buffered("it is in the page cache"), write: Way::Direct };
    Slow {
        path: path.as_ref().into(),
        size_bytes: 1 << 30,
        elapsed: Duration::from_secs(seconds),
        route,
    }
}

/// Reads the page as a parser of XML would, void elements apart, and answers with its tags and its
/// text. Panics where one is not closed.
fn parsed(page: &str) -> (Vec<String>, String) {
    const VOID: [&str; 1] = ["meta"];
    let (mut tags, mut text, mut open) = (Vec::new(), String::new(), Vec::new());
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("it is HTML 5");
    while let Some(begin) = rest.find('<') {
        text += &plain(&rest[..begin]);
        let mut quoted = false;
        let end = rest[begin..].find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let tag = &rest[begin + 1..begin + end.expect("a tag ends")];
        assert!(!tag.contains('<') && !quoted, "<{tag}>");
        rest = &rest[begin + tag.len() + 2..];
        let name = tag.trim_end_matches('/').split(' ').next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name), "</{name}>"),
            None if VOID.contains(&name) || tag.ends_with('/') => {}
            None => open.push(name),
        }
        if name == "style" {
            rest = &rest[rest.find("</style>").expect("the style sheet ends")..];
        }
        tags.push(tag.to_owned());
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} stay open, {rest:?} follows");
    (tags, text)
}

/// The characters that markup stands for.
fn plain(markup: &str) -> String {
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("\u{a0}", " ")];
    let known = markup.matches('&').count();
    let found: usize = entities.iter().map(|(entity, _)| markup.matches(entity).count()).sum();
    let spaces = markup.matches('\u{a0}').count();
    assert_eq!(known, found - spaces + markup.matches("&amp;").count(), "{markup}");
    assert!(!markup.contains('>'), "{markup}");
    entities
        .iter()
        .fold(markup.to_owned(), |text, (entity, c)| text.replace(entity, c))
        .replace("&amp;", "&")
}

/// Asserts what holds for each page, and answers with its text.
fn checked(run: &RunData) -> String {
    let page = run.page();
    assert_eq!(page, run.page(), "the same data makes the same page");
    for outside in ["://", "<script", "<link", "src=", "url(", "@import"] {
        assert!(!page.contains(outside), "{outside}");
    }
    let words = || page.split(|c: char| !c.is_ascii_alphanumeric());
    assert!(
        words().all(|word| !["NaN", "inf", "infinity"].contains(&word)),
        "every figure is a number"
    );
    assert!(!page.contains("width:-") && !page.contains(":-0"), "nothing is narrower than nothing");
    parsed(&page).1
}

#[test]
fn whatever_happened_there_is_a_page_that_needs_nothing_else() {
    let times = [
        Duration::from_nanos(1),
        Duration::from_millis(300),
        Duration::from_secs(5),
        Duration::from_secs(432_000),
    ];
    for elapsed in times.into_iter().chain([Duration::MAX]) {
        for count in [1, 2, 121] {
            for deed in [
                Deed::Copy { durable: true },
                Deed::Copy { durable: false },
                Deed::Compare,
                Deed::Plan,
            ] {
                checked(&RunData { deed, ..RunData::full(elapsed, count) });
            }
        }
        checked(&RunData { elapsed, ..RunData::empty() });
    }
    checked(&RunData::full(Duration::from_secs(5_000), 1000));
    for exit_code in 0..=u8::MAX {
        checked(&RunData { exit_code, ..RunData::empty() });
    }
}

#[test]
fn a_run_that_did_nothing_says_so() {
    let text = checked(&RunData::empty());
    for told in [
        "0 files and 0 B written in 0 s, 0 B/s on average.",
        "The run was over before it could be looked at.",
        "No times were taken.",
        "No byte was written.",
        "No file was timed.",
        "Nothing failed.",
    ] {
        assert!(text.contains(told), "{told}");
    }
    let samples = vec![Sample { elapsed: Duration::from_secs(1), ..Sample::default() }; 3];
    let text =
        checked(&RunData { samples, latencies: Some(Latencies::default()), ..RunData::empty() });
    assert!(
        text.contains("No byte was read or written.")
            && text.contains("Nothing was read or written.")
    );
}

#[test]
fn what_happened_is_told_in_a_sentence() {
    let text = checked(&RunData::full(Duration::from_secs(5), 20));
    for told in [
        "Not everything was copied",
        "Exit code 1: some file was not copied, or not with all its metadata.",
        "1,000,000 files and 11.0 MB written in 5.00 s, 2.20 MB/s on average.",
        "15,000,000 files were read back, 16,000,000 of them from memory, and found as written.",
        "3 failures are below.",
        "2023-11-14 22:13:20 UTC to 2023-11-14 22:13:25 UTC",
        "cannot open 'x': Permission denied",
        "And 2 more.",
        "aiocp 1.2.3 (abcdef), engines: kernel",
    ] {
        assert!(text.contains(told), "{told}");
    }
    for (exit_code, deed, told) in [
        (0, Deed::Copy { durable: true }, "Everything was copied and is durable"),
        (0, Deed::Copy { durable: false }, "the device was not waited for"),
        (0, Deed::Compare, "Both sides are the same"),
        (0, Deed::Plan, "This is what would be done"),
        (3, Deed::Compare, "There are differences"),
        (130, Deed::Copy { durable: true }, "Interrupted by SIGINT"),
        (143, Deed::Copy { durable: true }, "Interrupted by SIGTERM"),
        (7, Deed::Copy { durable: true }, "Ended with exit code 7"),
    ] {
        assert!(checked(&RunData { exit_code, deed, ..RunData::empty() }).contains(told), "{told}");
    }
}

#[test]
fn no_name_leaves_its_element() {
    let with = |name: &[u8]| {
        let mut run = RunData::full(Duration::from_secs(5), 20);
        run.slowest = vec![slow(OsStr::from_bytes(name), 1)];
        run.command = shown(OsStr::from_bytes(name));
        run.failures = vec![String::from_utf8_lossy(name).into_owned()];
        run
    };
    let harmless = parsed(&with(b"name").page());
    for (name, told) in [
        (&b"</bdi></td><script>alert(1)</script>"[..], "</bdi></td><script>alert(1)</script>"),
        (b"\" onmouseover=\"alert(1)' x='", "\" onmouseover=\"alert(1)' x='"),
        (b"<!--", "<!--"),
        (b"]]></style><style>*{display:none}", "]]></style><style>*{display:none}"),
        (b"&lt;script&gt; &amp; &#0;", "&lt;script&gt; &amp; &#0;"),
        (b"two\nlines\0\x1b[31m", "two\\nlines\\u{0}\\u{1b}[31m"),
        (b"not \xff UTF-8", "not \\xff UTF-8"),
    ] {
        let run = with(name);
        checked(&run);
        let (tags, text) = parsed(&run.page());
        assert_eq!(tags, harmless.0, "{told}: its characters are text");
        assert_eq!(
            text.matches(told).count(),
            if name.contains(&0xff) { 4 } else { 5 },
            "{told}: all of it is shown"
        );
    }
}

#[test]
fn a_large_file_that_becomes_durable_at_once_leaves_the_rest_to_be_seen() {
    let mut run = RunData::full(Duration::from_secs(100), 100);
    run.samples.iter_mut().for_each(|sample| sample.durable_bytes = 0);
    run.samples[99].durable_bytes = run.samples[99].written_bytes;
    let text = checked(&run);
    assert!(
        text.contains("durable up to 20.0 GB/s")
            && text.contains("What leaves the frame goes on above it.")
    );
    assert!(text.contains("MB/s0100200300"), "the axis is that of the other lines");
}

#[test]
fn a_sample_on_the_heels_of_another_makes_no_peak() {
    let mut run = RunData::full(Duration::from_secs(10), 10);
    let last = run.samples[9];
    let elapsed = last.elapsed + Duration::from_millis(1);
    run.samples.push(Sample { elapsed, written_bytes: last.written_bytes + 100_000_000, ..last });
    // Nor do two of one moment, or one from the past.
    run.samples.extend([
        Sample { elapsed, ..Sample::default() },
        Sample { depth: f64::NAN, ..Sample::default() },
    ]);
    assert!(checked(&run).contains("written up to 300 MB/s"));
}

#[test]
fn shares_are_those_of_what_was_written() {
    let run = RunData::empty();
    for (sum, bytes) in [(&run.totals.written_bytes, 4_000), (&run.totals.direct_bytes, 3_000)] {
        sum.store(bytes, Ordering::Relaxed);
    }
    let text = checked(&run);
    assert!(text.contains("direct 3.00 kB, 75.0 %") && text.contains("buffered 1.00 kB, 25.0 %"));
    assert!(!text.contains("Of all bytes of the files"));
    run.totals.hole_bytes.store(12_000, Ordering::Relaxed);
    assert!(checked(&run).contains("holes 12.0 kB, 75.0 %"));
}
