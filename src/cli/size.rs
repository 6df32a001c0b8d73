//! Sizes as people write them.

/// Reads `4096`, `64K`, `1M`, `2GiB` (powers of 1,024) or `1MB` (powers of 1,000), as dd(1) and cp(1) do.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| format!("'{text}' does not begin with a whole number"))?;
    let unit = &text[digits..];
    let (power, base) = match unit.strip_suffix("iB").map(|u| (u, 1024)).or(unit.strip_suffix('B').map(|u| (u, 1000))) {
        Some(("", 1000)) => (0, 1000),
        Some((prefix, base)) => (exponent(prefix).ok_or_else(|| unknown(unit))?, base),
        None if unit.is_empty() => (0, 1024),
        None => (exponent(unit).ok_or_else(|| unknown(unit))?, 1024),
    };
    u64::checked_pow(base, power)
        .and_then(|factor| factor.checked_mul(number))
        .ok_or_else(|| format!("'{text}' is more than 16 EiB"))
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
    use super::parse;

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
        for text in ["", "K", "1X", "-1", "1.5M", "17E", "99999999999999999999", "1 K", "1iB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
