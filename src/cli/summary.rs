//! What was done, in the end.

use std::time::Duration;

use super::units;
use crate::report::Totals;

/// The long form, for `--stats`.
pub(super) fn stats(totals: &Totals, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let (files, written) = (Totals::get(&totals.files), Totals::get(&totals.written_bytes));
    let kept = match Totals::get(&totals.meter.kept_bytes) {
        0 => String::new(),
        kept => format!("{kept} bytes of half-copied files kept, "),
    };
    let earlier = match Totals::get(&totals.resumed) {
        0 => String::new(),
        resumed => format!("{resumed} finished earlier, "),
    };
    format!(
        "{files} files ({} direct), {} hard links, {} directories, {} links, {} special files, {written} bytes written, {kept}\
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

/// The short form, for the end of a run that somebody watched.
pub(super) fn brief(totals: &Totals, elapsed: Duration, compared: bool) -> String {
    let seconds = elapsed.as_secs_f64();
    let (written, direct) = (Totals::get(&totals.written_bytes), Totals::get(&totals.direct_bytes));
    let (files, moved) = match compared {
        true => (
            count(Totals::get(&totals.verified_files), "file is the same", "files are the same"),
            Totals::get(&totals.meter.proved_bytes),
        ),
        false => (count(Totals::get(&totals.files), "file", "files"), written),
    };
    let bytes = |bytes: u64| units::bytes(bytes as f64);
    let mut line = format!("{files}, {} in {seconds:.2} s, {}", bytes(moved), units::rate(moved as f64 / seconds));
    let mut add = |sum: u64, what: &str| {
        if sum > 0 {
            line += &format!(", {} {what}", bytes(sum));
        }
    };
    add(direct, "direct");
    add(written.saturating_sub(direct), "buffered");
    add(Totals::get(&totals.cloned_bytes), "cloned");
    add(Totals::get(&totals.hole_bytes), "of holes");
    add(Totals::get(&totals.rewritten_bytes), "written again");
    add(Totals::get(&totals.meter.kept_bytes), "copied earlier");
    match Totals::get(&totals.resumed) {
        0 => line,
        resumed => line + &format!(", {} finished earlier", count(resumed, "file", "files")),
    }
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
