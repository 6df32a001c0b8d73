//! What was done, in the end.

use std::time::Duration;

use crate::report::Totals;

/// The long form, for `--stats`.
pub(super) fn stats(totals: &Totals, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let (files, written) = (Totals::get(&totals.files), Totals::get(&totals.written_bytes));
    let earlier = match Totals::get(&totals.resumed) {
        0 => String::new(),
        resumed => format!("{resumed} finished earlier, "),
    };
    format!(
        "{files} files ({} direct), {} hard links, {} directories, {} links, {} special files, {written} bytes written, \
         {} bytes cloned, {} bytes of holes, {} skipped, {} files verified ({} from memory), {} bytes written again, \
         {earlier}{seconds:.2} s, {:.1} MB/s\n",
        Totals::get(&totals.direct_files),
        Totals::get(&totals.hard_links),
        Totals::get(&totals.directories),
        Totals::get(&totals.links),
        Totals::get(&totals.specials),
        Totals::get(&totals.cloned_bytes),
        Totals::get(&totals.hole_bytes),
        Totals::get(&totals.skipped),
        Totals::get(&totals.verified_files),
        Totals::get(&totals.verified_from_memory),
        Totals::get(&totals.rewritten_bytes),
        written as f64 / 1e6 / seconds,
    )
}

/// What a dry run found.
pub(super) fn plan(totals: &Totals) -> String {
    let bytes = Totals::get(&totals.planned_bytes);
    let of = |sum, one, many| count(Totals::get(sum), one, many);
    format!(
        "would copy {} ({bytes} bytes) and make {}, {}, {} and {}; {} skipped\n",
        of(&totals.files, "file", "files"),
        of(&totals.made_directories, "directory", "directories"),
        of(&totals.links, "link", "links"),
        of(&totals.hard_links, "hard link", "hard links"),
        of(&totals.specials, "special file", "special files"),
        Totals::get(&totals.skipped),
    )
}

/// `1 file` or `2 files`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}
