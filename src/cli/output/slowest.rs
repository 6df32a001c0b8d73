//! The files of a run that took longest by themselves.

use std::sync::{Mutex, PoisonError};

use crate::cli::page::Slow;
use crate::report::Copied;

/// How many are kept.
const KEPT_MAX: usize = 20;

/// The slowest so far, the slowest first.
#[derive(Default)]
pub struct Slowest(Mutex<Vec<Slow>>);

impl Slowest {
    /// Keeps a file if it is one of the slowest. That it waited for others does not count.
    pub fn add(&self, file: &Copied) {
        let elapsed = file.elapsed.saturating_sub(file.waited);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.partition_point(|slow| slow.elapsed >= elapsed);
        if place < KEPT_MAX && !elapsed.is_zero() {
            kept.truncate(KEPT_MAX - 1);
            let Copied { target, size_bytes, route, .. } = file;
            kept.insert(
                place,
                Slow { path: target.clone(), size_bytes: *size_bytes, elapsed, route: *route },
            );
        }
    }

    /// All that are kept.
    pub fn all(&self) -> Vec<Slow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::Route;

    #[test]
    fn the_twenty_slowest_stay_in_their_order() {
        let slowest = Slowest::default();
        // 7 and 101 have no common divisor, so that each of 1 to 100 comes once, and 0 at last.
        for n in 1..=101u64 {
            slowest.add(&Copied {
                source: "s".into(),
                target: "t".into(),
                replaced: false,
                in_place: false,
                backup: None,
                relative: "t".into(),
                size_bytes: n,
                hash: None,
                route: Route::CLONED,
                proof: None,
                elapsed: Duration::from_secs(n * 7 % 101 + n),
                waited: Duration::from_secs(n),
            });
        }
        let kept: Vec<_> = slowest.all().iter().map(|slow| slow.elapsed.as_secs()).collect();
        assert_eq!(kept, (81..=100).rev().collect::<Vec<_>>());
    }
}
