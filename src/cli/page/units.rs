//! Text and numbers for a page: names that cannot leave their element, and figures of three digits
//! whose unit is not torn off.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cli::screen::units::{self, three_digits};
use crate::error::shown;

/// Text that can stand in an element or between the quotes of an attribute, and cannot leave it.
pub fn escaped(text: &str) -> String {
    let mut markup = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => markup.push_str("&amp;"),
            '<' => markup.push_str("&lt;"),
            '>' => markup.push_str("&gt;"),
            '"' => markup.push_str("&quot;"),
            '\'' => markup.push_str("&#39;"),
            other => markup.push(other),
        }
    }
    markup
}

/// A name from outside: on one line, and isolated, so that it cannot turn the direction of the text
/// around it.
pub fn named(name: impl AsRef<Path>) -> String {
    format!("<bdi>{}</bdi>", escaped(&shown(name)))
}

/// `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 file` or `1,234 files`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// `part` of `whole`, 0 to 1, and 0 of nothing.
pub fn share(part: f64, whole: f64) -> f64 {
    let share = if whole > 0.0 { part / whole } else { 0.0 };
    if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
}

/// A share as `12.3 %`. What is neither nothing nor all is not rounded to it.
pub fn percent(part: u64, whole: u64) -> String {
    match share(part as f64, whole as f64) * 100.0 {
        _ if part == 0 || whole == 0 => "0\u{a0}%".to_owned(),
        _ if part >= whole => "100\u{a0}%".to_owned(),
        small if small < 0.1 => "under 0.1\u{a0}%".to_owned(),
        large if large > 99.9 => "over 99.9\u{a0}%".to_owned(),
        other => format!("{other:.1}\u{a0}%"),
    }
}

/// Bytes a second, and 0 if no time went by.
pub fn per_second(bytes: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 }
}

/// `1.23 GB`.
pub fn bytes(bytes: f64) -> String {
    units::bytes(bytes).replace(' ', "\u{a0}")
}

/// `123 MB/s`.
pub fn rate(bytes_per_second: f64) -> String {
    units::rate(bytes_per_second).replace(' ', "\u{a0}")
}

/// `850 ns`, `12.3 ms`, `1.50 s`, `2 min 5 s`, `3 h 20 min`, `2 d 4 h`.
pub fn duration(duration: Duration) -> String {
    let nanos = duration.as_nanos() as f64;
    match nanos {
        0.0 => "0\u{a0}s".to_owned(),
        few if few < 999.5 => format!("{few:.0}\u{a0}ns"),
        micros if micros < 999.5e3 => format!("{}\u{a0}µs", three_digits(micros / 1e3)),
        millis if millis < 999.5e6 => format!("{}\u{a0}ms", three_digits(millis / 1e6)),
        seconds if seconds < 59.95e9 => format!("{}\u{a0}s", three_digits(seconds / 1e9)),
        _ => long_duration(nanos / 1e9),
    }
}

/// A minute or more, in two units.
fn long_duration(seconds: f64) -> String {
    let in_two = |unit: f64, name: &str, per: u64, smaller: &str| {
        let count = (seconds / unit).round() as u64;
        match (count / per, count % per) {
            (large, 0) => format!("{}\u{a0}{name}", grouped(large)),
            (large, small) => format!("{}\u{a0}{name} {small}\u{a0}{smaller}", grouped(large)),
        }
    };
    match seconds {
        minutes if minutes < 3599.5 => in_two(1.0, "min", 60, "s"),
        hours if hours < 86_370.0 => in_two(60.0, "h", 60, "min"),
        _ => in_two(3600.0, "d", 24, "h"),
    }
}

/// A moment to the second, if it has a year of four digits.
pub fn moment(time: SystemTime) -> Option<String> {
    const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    // humantime panics at later years.
    (since < YEAR_10000).then(|| {
        let machine = humantime::format_rfc3339_seconds(time).to_string();
        let person = machine.replace('T', " ").replace('Z', "\u{a0}UTC");
        format!("<time datetime=\"{machine}\">{person}</time>")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: String) -> String {
        text.replace('\u{a0}', " ")
    }

    #[test]
    fn sizes_have_three_digits_and_never_a_thousand_of_a_unit() {
        for (number, text) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1000.0, "1.00 kB"),
            (9.996e6, "10.0 MB"),
            (99.96e6, "100 MB"),
            (999.6e6, "1.00 GB"),
            (1.234e12, "1.23 TB"),
            (u64::MAX as f64, "18.4 EB"),
        ] {
            assert_eq!(plain(bytes(number)), text);
        }
        assert_eq!(grouped(0), "0");
        assert_eq!(counted(1_234_567, "file", "files"), "1,234,567 files");
        assert_eq!(counted(1, "file", "files"), "1 file");
    }

    #[test]
    fn durations_read_from_nanoseconds_to_years() {
        for (nanos, text) in [
            (0, "0 s"),
            (850, "850 ns"),
            (999_700, "1.00 ms"),
            (12_300_000, "12.3 ms"),
            (1_500_000_000, "1.50 s"),
            (59_990_000_000, "1 min"),
            (125_000_000_000, "2 min 5 s"),
            (3_599_600_000_000, "1 h"),
            (12_000_000_000_000, "3 h 20 min"),
            (86_399_000_000_000, "1 d"),
            (187_200_000_000_000, "2 d 4 h"),
        ] {
            assert_eq!(plain(duration(Duration::from_nanos(nanos))), text);
        }
        assert_eq!(plain(duration(Duration::MAX)), "213,503,982,334,601 d 7 h");
    }

    #[test]
    fn shares_are_of_something_and_are_all_or_nothing_only_if_they_are() {
        assert_eq!((share(1.0, 0.0), share(f64::NAN, 1.0), share(3.0, 2.0)), (0.0, 0.0, 1.0));
        for (part, whole, text) in [
            (0, 0, "0 %"),
            (0, 7, "0 %"),
            (1, 10_000, "under 0.1 %"),
            (1, 8, "12.5 %"),
            (9_999, 10_000, "over 99.9 %"),
            (7, 7, "100 %"),
        ] {
            assert_eq!(plain(percent(part, whole)), text);
        }
    }

    #[test]
    fn moments_that_have_no_four_digit_year_are_left_out() {
        let epoch = SystemTime::UNIX_EPOCH;
        let told = "<time datetime=\"1970-01-01T00:00:01Z\">1970-01-01 00:00:01\u{a0}UTC</time>";
        assert_eq!(moment(epoch + Duration::from_secs(1)).as_deref(), Some(told));
        assert_eq!(moment(epoch - Duration::from_secs(1)), None);
        assert_eq!(moment(epoch + Duration::from_secs(300_000_000_000)), None);
    }
}
