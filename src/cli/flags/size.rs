//! Sizes as people write them.

/// Reads `4096`, `64K`, `1M`, `2GiB` (powers of 1,024) or `1MB` (powers of 1,000), as dd(1) and
/// cp(1) do.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits]
        .parse()
        .map_err(|_| format!("'{text}' does not begin with a whole number"))?;
    let unit = &text[digits..];
    let (power, base) = match unit
        .strip_suffix("iB")
        .map(|u| (u, 1024))
        .or(unit.strip_suffix('B').map(|u| (u, 1000)))
    {
        Some(("", 1000)) => (0, 1000),
        Some((prefix, base)) => (exponent(prefix).ok_or_else(|| unknown(unit))?, base),
        None if unit.is_empty() => (0, 1024),
        None => (exponent(unit).ok_or_else(|| unknown(unit))?, 1024),
    };
    u64::checked_pow(base, power)
        .and_then(|factor| factor.checked_mul(number))
        .ok_or_else(|| format!("'{text}' is more than 16 EiB"))
}

/// Reads a rate as rsync's `--bwlimit` does.
///
/// A number without a unit is in KiB, and it may have a fraction, as in `1.5m`. 0 is for no limit.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 =
        number.parse().map_err(|_| format!("'{text}' does not begin with a number"))?;
    let unit_bytes = parse(&format!("1{}", if unit.is_empty() { "K" } else { unit }))?;
    if number > 0.0 && number * (unit_bytes as f64) < 1.0 {
        return Err(format!("'{text}' is less than a byte a second"));
    }
    // Sixteen digits are enough for a rate. One that is larger than all numbers is the largest.
    Ok((number * unit_bytes as f64) as u64)
}

fn exponent(prefix: &str) -> Option<u32> {
    const PREFIXES: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    let index = PREFIXES.iter().position(|known| prefix.eq_ignore_ascii_case(known))?;
    Some(index as u32 + 1)
}

fn unknown(unit: &str) -> String {
    format!("'{unit}' is no unit; known are K, M, G, T, KiB, MB and their like")
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
            ("3MB", 3_000_000),
            ("5B", 5),
            ("2G", 2 << 30),
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
        ] {
            assert_eq!(parse_rate(text), Ok(bytes), "{text}");
        }
        for text in ["", ".", "-1", "1.5.5", "1.x", "x", "1.-5m", "0.5B", "0.0005"] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
        for text in ["", "K", "1X", "-1", "1.5M", "17E", "99999999999999999999", "1 K", "1iB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
