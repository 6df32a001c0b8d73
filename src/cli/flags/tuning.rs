//! Flags about how data is read, which both commands have.

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
        _ => Err("it is not a power of two from 4K to 64M".to_owned()),
    }
}
