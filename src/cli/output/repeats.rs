//! What cannot be kept of any file is told of the first one, and counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::cli::screen::units::count;
use crate::error::{Cause, reason};
use crate::report::Event;

/// Failures and warnings that are like one that was told.
#[derive(Default)]
pub struct Repeats(Mutex<BTreeMap<Kind, u64>>);

/// What those have in common that are told once.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    /// How the line begins.
    prefix: &'static str,
    operation: &'static str,
    reason: String,
}

/// Whether an event is one of many that are told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Telling {
    /// It is the first of them, or like no other.
    First,
    /// It is only counted.
    Again,
}

impl Repeats {
    /// Takes note of an event, and says whether something like it was told before.
    pub fn note(&self, event: &Event) -> Telling {
        let Some(kind) = Kind::of(event) else { return Telling::First };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&kind) {
            Some(more) => {
                *more += 1;
                Telling::Again
            }
            None => {
                counts.insert(kind, 0);
                Telling::First
            }
        }
    }

    /// A line for each that came again, and how often.
    pub fn lines(&self) -> Vec<String> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let again = counts.iter().filter(|(_, more)| **more > 0);
        again
            .map(|(Kind { prefix, operation, reason }, more)| {
                let others = count(*more, "other", "others");
                format!("{prefix}cannot {operation} {others} either: {reason}")
            })
            .collect()
    }
}

impl Kind {
    fn of(event: &Event) -> Option<Self> {
        let (prefix, error) = match event {
            Event::Failed(error) => ("", error),
            Event::Warning(error) => ("warning: ", error),
            _ => return None,
        };
        error.missing()?;
        // Names of attributes are many, and anybody's.
        let reason = match &error.cause {
            Cause::Attribute(_, cause) => reason(cause),
            cause => cause.to_string(),
        };
        Some(Self { prefix, operation: error.op.words(), reason })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::{Error, Operation};

    #[test]
    fn what_cannot_be_had_is_told_once_and_all_else_each_time() {
        let repeats = Repeats::default();
        let error = |op, errno| Error::new(op, "file", io::Error::from_raw_os_error(errno));
        let warned = |op, errno| repeats.note(&Event::Warning(error(op, errno)));
        let failed = |op, errno| repeats.note(&Event::Failed(error(op, errno)));
        assert_eq!(warned(Operation::SetTimes, libc::EPERM), Telling::First);
        for _ in 0..2 {
            assert_eq!(warned(Operation::SetTimes, libc::EPERM), Telling::Again);
        }
        for (telling, _) in [(Telling::First, 1), (Telling::Again, 2)] {
            assert_eq!(failed(Operation::SetTimes, libc::EPERM), telling);
            assert_eq!(failed(Operation::SetOwner, libc::ENOSYS), telling);
            assert_eq!(failed(Operation::SetTimes, libc::EIO), Telling::First);
            assert_eq!(failed(Operation::Read, libc::EPERM), Telling::First);
        }
        let lines = repeats.lines();
        assert_eq!(
            lines,
            [
                "cannot set owner of 1 other either: Function not implemented",
                "cannot set times of 1 other either: Operation not permitted",
                "warning: cannot set times of 2 others either: Operation not permitted",
            ]
        );
    }
}
