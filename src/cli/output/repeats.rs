//! What cannot be kept of any file is told of the first one, and counted.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::cli::screen::units::count;
use crate::error::{Cause, Error, Operation, reason};
use crate::report::{Event, Skip};

/// Failures and warnings that are like one that was told.
#[derive(Default)]
pub struct Repeats(Mutex<BTreeMap<Kind, u64>>);

/// What those have in common that are told once.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    /// How the line begins.
    prefix: &'static str,
    what: What,
    reason: String,
}

/// What happened to a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// There was no space for its copy.
    NoSpace,
    /// This could not be done.
    Cannot(&'static str),
    /// The user named it, and a filter leaves it out.
    Skipped,
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
            .map(|(Kind { prefix, what, reason }, more)| {
                let others = count(*more, "other", "others");
                match what {
                    What::Cannot(operation) => {
                        format!("{prefix}cannot {operation} {others} either: {reason}")
                    }
                    What::NoSpace => format!("{prefix}cannot copy {others} either: {reason}"),
                    What::Skipped => format!("{prefix}skipped {others} too: {reason}"),
                }
            })
            .collect()
    }

    /// Whether anything was not copied for want of space.
    pub fn lacked_space(&self) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.keys().any(|kind| kind.what == What::NoSpace)
    }

    /// Whether failures were counted instead of told.
    pub fn counts_failures(&self) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().any(|(kind, more)| kind.what == What::NoSpace && *more > 0)
    }
}

impl Kind {
    fn of(event: &Event) -> Option<Self> {
        let (prefix, error) = match event {
            Event::Failed(error) => ("", error),
            Event::Warning(error) => ("warning: ", error),
            Event::Skipped(_, why @ (Skip::Excluded | Skip::Size)) => {
                return Some(Self { prefix: "", what: What::Skipped, reason: why.to_string() });
            }
            _ => return None,
        };
        if let Some(reason) = reason_of_no_space(error) {
            return Some(Self { prefix, what: What::NoSpace, reason });
        }
        error.missing()?;
        // Names of attributes are many, and anybody's.
        let reason = match &error.cause {
            Cause::Attribute(_, cause) => reason(cause),
            cause => cause.to_string(),
        };
        Some(Self { prefix, what: What::Cannot(error.op.words()), reason })
    }
}

/// Why something was not copied, if its filesystem had no space or the user's quota none. What is
/// written at the end is told each time.
fn reason_of_no_space(error: &Error) -> Option<String> {
    use Operation::{
        FsyncJournal, OpenLog, ReadLinks, SetAcl, SetAttribute, SetDefaultAcl, Write, WriteJournal,
        WriteLog, WriteTo,
    };
    // With these a file is copied all the same.
    let is_of_copy = !matches!(
        error.op,
        FsyncJournal
            | OpenLog
            | ReadLinks
            | SetAcl
            | SetAttribute
            | SetDefaultAcl
            | Write
            | WriteJournal
            | WriteLog
            | WriteTo
    );
    match &error.cause {
        Cause::NoSpace { .. } | Cause::Full { .. } => Some(Cause::NO_SPACE.to_owned()),
        Cause::Os(cause) if is_of_copy => match cause.raw_os_error() {
            Some(libc::ENOSPC) => Some(Cause::NO_SPACE.to_owned()),
            Some(libc::EDQUOT) => Some(reason(cause)),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

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

    #[test]
    fn what_does_not_fit_is_told_once_whatever_could_not_be_done() {
        let repeats = Repeats::default();
        let no_space = || io::Error::from_raw_os_error(libc::ENOSPC).into();
        let failed = |op, cause: Cause| repeats.note(&Event::Failed(Error::new(op, "file", cause)));
        assert!(!repeats.lacked_space());
        let cause = Cause::NoSpace { needed_bytes: 4_000_000, left_bytes: 1_048_576 };
        assert_eq!(failed(Operation::AllocateSpace, cause), Telling::First);
        assert!(repeats.lacked_space() && !repeats.counts_failures());
        assert_eq!(failed(Operation::Create, no_space()), Telling::Again);
        assert_eq!(failed(Operation::CreateDirectory, no_space()), Telling::Again);
        assert_eq!(failed(Operation::Copy, Cause::Full { needed_bytes: 1 }), Telling::Again);
        // The manifest is no file of the copy.
        assert_eq!(failed(Operation::Write, no_space()), Telling::First);
        assert_eq!(failed(Operation::Write, no_space()), Telling::First);
        assert!(repeats.counts_failures());
        assert_eq!(repeats.lines(), ["cannot copy 3 others either: No space left on device"]);
    }
}
