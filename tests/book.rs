//! What the book in `docs` promises: its commands print what it shows, its tables are those of the
//! code, and its links lead somewhere. With AIOCP_UPDATE=1, transcripts and tables are written
//! instead of compared.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chapters::{docs, events, hints, links, pages, replaced, transcript};

mod chapters;
mod common;

const EVENTS: (&str, &str) =
    ("<!-- events: written by tests/book.rs -->", "<!-- end of events -->");
const EVENTS_OF_SUMS: (&str, &str) =
    ("<!-- events of aiosum: written by tests/book.rs -->", "<!-- end of aiosum's events -->");
const HINTS: (&str, &str) = ("<!-- hints: written by tests/book.rs -->", "<!-- end of hints -->");

fn page(name: &str) -> String {
    fs::read_to_string(docs().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Pages are written by one test at a time, since several may write one.
fn alone() -> MutexGuard<'static, ()> {
    static WRITING: Mutex<()> = Mutex::new(());
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Compares a page with what it has to be.
fn is_current(name: &str, wanted: &str) {
    if std::env::var_os("AIOCP_UPDATE").is_some() {
        fs::write(docs().join(name), wanted).unwrap();
    }
    let current = page(name);
    let differing = current.lines().zip(wanted.lines()).find(|(is, wanted)| is != wanted);
    assert!(
        current == wanted,
        "docs/{name} is stale: AIOCP_UPDATE=1 cargo test --test book\n{differing:#?}"
    );
}

#[test]
fn commands_print_what_the_pages_show() {
    let _alone = alone();
    let mut count = 0;
    for name in pages() {
        let text = page(&name);
        if text.contains("```console") {
            is_current(&name, &transcript::with_output(&text));
            count += 1;
        }
    }
    assert!(count > 4, "the transcripts were found");
}

#[test]
fn troubleshooting_has_every_hint_of_the_code() {
    let _alone = alone();
    let table = hints::table(Path::new(env!("CARGO_MANIFEST_DIR")));
    let name = "troubleshooting.md";
    is_current(name, &replaced(&page(name), HINTS, &table));
}

#[test]
fn the_page_about_json_has_every_event_of_the_schemas() {
    let _alone = alone();
    for (schema, marks) in [("aiocp.schema.json", EVENTS), ("aiosum.schema.json", EVENTS_OF_SUMS)] {
        let sections = events::sections(&page(schema));
        is_current("json.md", &replaced(&page("json.md"), marks, &sections));
    }
}

#[test]
fn the_summary_names_every_page_once() {
    let _alone = alone();
    let summary = page("SUMMARY.md");
    for name in pages() {
        assert_eq!(summary.matches(&format!("]({name})")).count(), 1, "docs/SUMMARY.md: {name}");
    }
}

#[test]
fn the_summary_has_the_titles_of_the_decisions() {
    let _alone = alone();
    let mut summary = String::new();
    for line in page("SUMMARY.md").lines().filter(|line| !line.starts_with("  - [0")) {
        summary.push_str(&format!("{line}\n"));
        if line.ends_with("(decisions/README.md)") {
            for name in pages().iter().filter(|name| name.starts_with("decisions/0")) {
                let text = page(name);
                let title = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap();
                summary.push_str(&format!("  - [{title}]({name})\n"));
            }
        }
    }
    is_current("SUMMARY.md", &summary);
}

#[test]
fn links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let at_the_top = fs::read_dir(root).unwrap();
    let at_the_top = at_the_top.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let documents = at_the_top
        .filter(|name| name.ends_with(".md"))
        .chain(pages().into_iter().map(|name| format!("docs/{name}")))
        .chain(["docs/SUMMARY.md".to_owned()]);
    let broken: Vec<_> = documents.flat_map(|document| links::broken(root, &document)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}
