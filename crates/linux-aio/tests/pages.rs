//! The pages of the documentation have every call of the two interfaces, and an example of each.

use std::fs;
use std::path::Path;

/// The calls of libaio.h.
const LIBAIO: &[&str] = &[
    "io_setup",
    "io_queue_init",
    "io_destroy",
    "io_queue_release",
    "io_queue_run",
    "io_submit",
    "io_cancel",
    "io_getevents",
    "io_pgetevents",
    "io_set_callback",
    "io_set_eventfd",
    "io_prep_pread",
    "io_prep_pwrite",
    "io_prep_preadv",
    "io_prep_pwritev",
    "io_prep_preadv2",
    "io_prep_pwritev2",
    "io_prep_fsync",
    "io_prep_fdsync",
    "io_prep_poll",
    "io_fsync",
    "io_fdsync",
    "io_poll",
];

/// The calls of aio.h, its modes, and the ways to notify of sigevent(7).
const POSIX_AIO: &[&str] = &[
    "aio_read",
    "aio_write",
    "aio_fsync",
    "aio_error",
    "aio_return",
    "aio_suspend",
    "aio_cancel",
    "aio_init",
    "aio_reqprio",
    "lio_listio with LIO_WAIT",
    "lio_listio with LIO_NOWAIT",
    "SIGEV_NONE",
    "SIGEV_SIGNAL",
    "SIGEV_THREAD",
    "SIGEV_THREAD_ID",
];

/// What is not here has no example.
const LACKING: &str = "SIGEV_THREAD_ID";

/// The sections of a page: the heading of each, and its text.
fn sections(page: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(page);
    let text = fs::read_to_string(path).unwrap();
    let mut sections: Vec<(String, String)> = Vec::new();
    let mut is_code = false;
    for line in text.lines() {
        is_code ^= line.starts_with("```");
        match line.strip_prefix("# ") {
            // Hidden lines of an example begin so too.
            Some(heading) if !is_code => sections.push((heading.to_owned(), String::new())),
            _ => {
                if let Some((_, text)) = sections.last_mut() {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    sections
}

fn all_have_a_section_with_an_example(page: &str, calls: &[&str]) {
    let sections = sections(page);
    for call in calls {
        let is_its = |(heading, _): &&(String, String)| {
            heading == call || heading.split(", ").any(|name| name == *call)
        };
        let (_, text) = sections.iter().find(is_its).unwrap_or_else(|| panic!("{page}: {call}"));
        assert_eq!(text.contains("```"), *call != LACKING, "{page}: {call} has an example");
    }
    let examples = sections.iter().filter(|(_, text)| text.contains("```")).count();
    assert!(examples >= 15, "{page}: {examples} sections have an example");
}

#[test]
fn every_call_of_libaio_has_an_example() {
    all_have_a_section_with_an_example("libaio.md", LIBAIO);
}

#[test]
fn every_call_of_posix_aio_has_an_example() {
    all_have_a_section_with_an_example("posix_aio.md", POSIX_AIO);
}
