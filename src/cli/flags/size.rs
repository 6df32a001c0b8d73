//! Sizes as people write them, and as rsync(1) reads them.

/// How a size of the flag is counted that has no unit.
#[derive(Clone, Copy)]
enum Unitless {
    Bytes,
    Kibibytes,
}

/// Reads `4096`, `64K`, `1.5m`, `2GiB` (powers of 1,024) or `1MB`, `1mb` (powers of 1,000). `+1` or
/// `-1` behind it is one byte more or less.
pub fn parse(text: &str) -> Result<u64, String> {
    read(text, Unitless::Bytes)
}

/// Reads a rate as rsync's `--bwlimit` does.
///
/// A number without a unit is in KiB. 0 is for no limit.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let bytes_per_s = read(text, Unitless::Kibibytes)?;
    if bytes_per_s == 0 && text.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        return Err(format!("'{text}' is less than a byte a second"));
    }
    Ok(bytes_per_s)
}

fn read(text: &str, unitless: Unitless) -> Result<u64, String> {
    let number_len = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_len);
    let (unit, more_bytes) = match unit.strip_suffix('1') {
        Some(unit) if unit.ends_with('+') => (&unit[..unit.len() - 1], 1),
        Some(unit) if unit.ends_with('-') => (&unit[..unit.len() - 1], -1),
        _ => (unit, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err("expected a number and a unit, such as 20M".to_owned());
    }
    let unit_bytes = match (unit, unitless) {
        ("", Unitless::Bytes) => 1,
        ("", Unitless::Kibibytes) => 1024,
        (unit, _) => unit_bytes(unit).ok_or_else(|| {
            format!("unknown unit '{unit}': expected K, M, G, T, KiB, MB and the like")
        })?,
    };
    let too_much = || format!("'{text}' is more than 16 EiB");
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_much())? };
    // A fraction's bytes are less than a unit. Eighteen of its digits say more than that.
    let fraction = &fraction[..fraction.len().min(18)];
    let part: u64 = fraction.parse().unwrap_or(0);
    let part_bytes = u128::from(part) * unit_bytes / 10_u128.pow(fraction.len() as u32);
    let bytes = u128::from(whole) * unit_bytes + part_bytes;
    let bytes =
        bytes.checked_add_signed(more_bytes).ok_or_else(|| format!("'{text}' is below zero"))?;
    u64::try_from(bytes).map_err(|_| too_much())
}

/// The bytes of a unit, in letters of either case: `b`, or a power of 1,024 such as `m` and `mib`,
/// or of 1,000 such as `mb`.
fn unit_bytes(unit: &str) -> Option<u128> {
    let unit = unit.to_ascii_lowercase();
    let power = "bkmgtpe".find(unit.chars().next()?)? as u32;
    match &unit[1..] {
        "" | "ib" => Some(1024_u128.pow(power)),
        "b" => Some(1000_u128.pow(power)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{parse, parse_rate};

    #[test]
    fn sizes_read_as_people_mean_them() {
        for (text, bytes) in [
            ("0", 0),
            ("17", 17),
            ("1K", 1024),
            ("1k", 1024),
            ("1KiB", 1024),
            ("1kib", 1024),
            ("3MB", 3_000_000),
            ("1mb", 1_000_000),
            ("1.5mb-1", 1_499_999),
            ("1.5M", 3 << 19),
            (".5k", 512),
            ("1.", 1),
            ("1.9", 1),
            ("5B", 5),
            ("5b", 5),
            ("5bb", 5),
            ("2G", 2 << 30),
            ("2g+1", (2 << 30) + 1),
            ("1+1", 2),
            ("16E-1", u64::MAX),
            ("0.00000000000000000000000001E", 0),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for (text, bytes) in [
            ("0", 0),
            ("100", 102_400),
            ("1.5m", 3 << 19),
            ("2MB", 2_000_000),
            ("0.5", 512),
            ("10B", 10),
            ("0.0k", 0),
        ] {
            assert_eq!(parse_rate(text), Ok(bytes), "{text}");
        }
        for text in ["", ".", "-1", "1.5.5", "1.x", "x", "1.-5m", "0.5B", "0.0005", "b"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        for text in [
            "",
            "K",
            "1X",
            "-1",
            "+1",
            "0-1",
            "1K+2",
            "1k+1x",
            "1kbb",
            "1ki",
            "17E",
            "16E",
            "99999999999999999999",
            "1 K",
            " 1K",
            "1iB",
            "1é",
            "1+",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
