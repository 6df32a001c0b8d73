//! What `aiosum --json` prints: one object a line.
//!
//! `docs/aiosum.schema.json` says what each may hold, and the manual what it means.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::counts::Counts;
use crate::cli::output::object::Object;
use crate::error::{Error, SpecialKind};
use crate::report::Totals;
use crate::sum::Algorithm;
use crate::sum::check::LineVerdict;
use crate::sum::line::{self, Malformed, OutputPart};

/// How BLAKE3 was used, if not as a plain hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModeName {
    Keyed,
    DeriveKey,
}

impl ModeName {
    fn name(self) -> &'static str {
        match self {
            Self::Keyed => "keyed",
            Self::DeriveKey => "derive_key",
        }
    }
}

/// Which function made a hash.
#[derive(Clone, Copy, Debug)]
pub struct FunctionName {
    pub algorithm: Algorithm,
    pub mode: Option<ModeName>,
}

/// A file has a hash.
pub fn hashed(name: &[u8], function: FunctionName, part: OutputPart<'_>) -> String {
    let seek_bytes = Some(part.seek_bytes).filter(|&seek_bytes| seek_bytes > 0);
    let object = Object::new("hash")
        .name("path", Path::new(OsStr::from_bytes(name)))
        .with("algorithm", function.algorithm.name())
        .with_some("mode", function.mode.map(ModeName::name))
        .with_some("seek_bytes", seek_bytes);
    object.with("hash", line::digits(part)).line()
}

/// A line of a manifest was checked.
pub fn checked(name: &[u8], function: FunctionName, verdict: &LineVerdict) -> String {
    let (result, error) = match verdict {
        LineVerdict::Matches => ("matches", None),
        LineVerdict::Differs => ("differs", None),
        LineVerdict::Missing(error) => ("missing", Some(error)),
        LineVerdict::Unreadable(error) => ("unreadable", Some(error)),
    };
    let object = Object::new("checked")
        .name("path", Path::new(OsStr::from_bytes(name)))
        .with("algorithm", function.algorithm.name())
        .with_some("mode", function.mode.map(ModeName::name))
        .with("result", result);
    match error {
        Some(error) => object.error(error),
        None => object,
    }
    .line()
}

/// A line of a manifest is not well formed.
pub fn malformed(manifest: &Path, line_number: u64, reason: &Malformed) -> String {
    Object::new("malformed")
        .name("manifest", manifest)
        .with("line", line_number)
        .with("reason", reason.to_string())
        .line()
}

/// A file in the audited directory has no line.
pub fn unlisted(path: &Path) -> String {
    Object::new("unlisted").name("path", path).line()
}

/// Something could not be opened, listed or read.
pub fn failed(error: &Error) -> String {
    Object::failed("failed", error).line()
}

/// Why something in a directory was not hashed.
#[derive(Clone, Copy, Debug)]
pub enum Skipped {
    /// It has no contents.
    Special(SpecialKind),
    /// The lines are written to it.
    Output,
}

/// Something was not hashed, which is no failure.
pub fn skipped(path: &Path, why: Skipped) -> String {
    let object = Object::new("skipped").name("path", path);
    match why {
        Skipped::Special(kind) => object.with("reason", "special").with("kind", kind.to_string()),
        Skipped::Output => object.with("reason", "output"),
    }
    .line()
}

/// The run goes on in another way than usual.
pub fn notice(message: &str) -> String {
    Object::new("notice").with("message", message).line()
}

/// How a run ended.
pub struct End {
    pub exit_code: u8,
    /// Failures of all kinds.
    pub failed: u64,
    pub elapsed: Duration,
}

/// The last line of a run.
pub fn summary(end: &End, totals: &Totals, counts: &Counts) -> String {
    Object::new("summary")
        .with("exit_code", end.exit_code)
        .with("files", Totals::get(&totals.files))
        .with("bytes", Totals::get(&totals.meter.handled_bytes))
        .with("skipped", counts.skipped)
        .with("checked", counts.checked)
        .with("differing", counts.differing)
        .with("unreadable", counts.unreadable)
        .with("missing", counts.missing)
        .with("malformed", counts.malformed + counts.in_no_manifest)
        .with("unlisted", counts.unlisted)
        .with("left_out", counts.left_out)
        .with("failed", end.failed)
        .seconds(end.elapsed)
        .line()
}
