//! Finding the zeros that a sparse copy leaves out.

use std::ops::Range;

/// Zeros are sought in grains of this size, the usual block of a filesystem.
pub const ZERO_GRAIN_BYTES: usize = 4096;

/// The first run of grains of `grain_bytes` that are not all zero at or after `from`, a multiple of
/// the grain, as a range of `bytes`.
pub fn next_data_run(bytes: &[u8], from: usize, grain_bytes: usize) -> Option<Range<usize>> {
    const ZEROS: [u8; ZERO_GRAIN_BYTES] = [0; ZERO_GRAIN_BYTES];
    let is_zero = |grain: &[u8]| grain.chunks(ZEROS.len()).all(|part| part == &ZEROS[..part.len()]);
    let grains = |from: usize| bytes[from..].chunks(grain_bytes);
    let from = from.min(bytes.len());
    let start = from + grain_bytes * grains(from).position(|grain| !is_zero(grain))?;
    let end =
        grains(start).position(is_zero).map_or(bytes.len(), |count| start + grain_bytes * count);
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_data_are_found_between_zeros_and_end_with_the_bytes() {
        let mut bytes = vec![0; 5 * 4096 + 100];
        assert_eq!(next_data_run(&bytes, 0, 4096), None);
        bytes[4096] = 1;
        bytes[3 * 4096 - 1] = 1;
        bytes[5 * 4096 + 99] = 1;
        assert_eq!(next_data_run(&bytes, 0, 4096), Some(4096..3 * 4096));
        assert_eq!(next_data_run(&bytes, 2 * 4096, 4096), Some(2 * 4096..3 * 4096));
        assert_eq!(next_data_run(&bytes, 3 * 4096, 4096), Some(5 * 4096..5 * 4096 + 100));
        assert_eq!(next_data_run(&bytes, 0, 8192), Some(0..bytes.len()));
        assert_eq!(next_data_run(&bytes, 6 * 4096, 4096), None);
    }
}
