//! Flags about how data is read, which both commands have.

use std::ops::RangeInclusive;

use clap::ValueEnum;

use super::size;
use crate::copy::DirectMode;

/// The values of `--direct`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DirectArg {
    Auto,
    Always,
    Never,
}

impl DirectArg {
    /// The mode that the flag asks for.
    pub fn mode(self) -> DirectMode {
        match self {
            Self::Auto => DirectMode::Auto,
            Self::Always => DirectMode::Always,
            Self::Never => DirectMode::Never,
        }
    }
}

const BLOCK_BYTES_MAX: u64 = 64 << 20;

/// Reads the bytes of a block.
pub fn block_size(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        bytes if bytes.is_power_of_two() && (4096..=BLOCK_BYTES_MAX).contains(&bytes) => Ok(bytes),
        _ => Err("expected a power of two from 4K to 64M".to_owned()),
    }
}

/// Reads a number of the range.
pub fn number(text: &str, range: RangeInclusive<u16>) -> Result<u16, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("expected {} to {}", range.start(), range.end()))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn a_number_out_of_its_range_is_answered_with_the_range() {
        for text in ["0", "4097", "-1", "3K", "", "99999999", "1.5"] {
            assert_eq!(number(text, 1..=4096), Err("expected 1 to 4096".to_owned()), "{text}");
        }
        assert_eq!(number("1", 1..=4096), Ok(1));
        assert_eq!(number("4096", 1..=4096), Ok(4096));
    }
}
