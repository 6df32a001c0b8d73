//! Numbers and spans of time as people read them.

/// The bytes in each unit, counted as makers of devices do, and its name.
const BYTES: [(f64, &str); 7] =
    [(1.0, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB"), (1e12, "TB"), (1e15, "PB"), (1e18, "EB")];

/// The largest unit of which `bytes`, rounded, are at least one.
pub fn unit_of_bytes(bytes: f64) -> (f64, &'static str) {
    // 999.6 MB would be shown as 1000 MB: it is 1.00 GB.
    BYTES.into_iter().rev().find(|(unit, _)| bytes >= unit * 0.9995).unwrap_or(BYTES[0])
}

/// `999 B`, `1.23 GB`.
pub fn bytes(bytes: f64) -> String {
    match unit_of_bytes(bytes) {
        (1.0, name) => format!("{bytes:.0} {name}"),
        (unit, name) => format!("{} {name}", three_digits(bytes / unit)),
    }
}

/// `123 MB/s`.
pub fn rate(bytes_per_second: f64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

/// `1.23`, `12.3`, `123`.
pub fn three_digits(value: f64) -> String {
    match value {
        small if small < 9.995 => format!("{small:.2}"),
        middle if middle < 99.95 => format!("{middle:.1}"),
        large => format!("{large:.0}"),
    }
}

/// Seconds as a clock shows them: `0:05`, `12:40`, `3:07:00`.
pub fn clock(seconds: f64) -> String {
    let seconds = seconds.ceil() as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

/// `1 file` or `2 files`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_and_times_are_clocks() {
        for (number, text) in [
            (0.0, "0 B"),
            (999.0, "999 B"),
            (1000.0, "1.00 kB"),
            (9_994.0, "9.99 kB"),
            (9_996.0, "10.0 kB"),
            (999_499.0, "999 kB"),
            (999_500.0, "1.00 MB"),
            (43.12e9, "43.1 GB"),
            (u64::MAX as f64, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        for (seconds, text) in
            [(0.0, "0:00"), (4.2, "0:05"), (760.0, "12:40"), (11_220.0, "3:07:00")]
        {
            assert_eq!(clock(seconds), text);
        }
    }
}
