//! Where the results of `aiosum` go: lines on standard output, messages on standard error.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::Context;

use super::args::SumArgs;
use super::counts::{Counts, Hint};
use super::json::{self, FunctionName, ModeName, Skipped};
use super::lines::{Flusher, Lines};
use crate::cli::exit;
use crate::cli::screen::units::count;
use crate::cli::screen::watch::Watched;
use crate::error::{Error, SpecialKind, quoted, shown};
use crate::fs;
use crate::report::Way;
use crate::sum::Algorithm;
use crate::sum::check::{CheckEvent, CheckListener, LineVerdict};
use crate::sum::line::{self, OutputPart, PrintedName, Style};
use crate::sum::list::ListListener;
use crate::sum::not_lines::NoManifest;

/// How many malformed lines are named before the first good one. A file with more of them is hardly
/// a manifest.
const MALFORMED_NAMED: u64 = 100;

/// Prints results, and counts failures.
pub struct SumPrinter {
    /// The command line.
    pub args: SumArgs,
    /// The run.
    pub watched: Arc<Watched>,
    is_terminal: bool,
    /// Lines that cannot be printed end the run. Messages that cannot be cost no line.
    lines: Arc<Lines>,
    /// What sees to it that no line waits for long, once there is one.
    flusher: OnceLock<Flusher>,
    /// The first failure of printing, which ends the run with an error.
    broken: Mutex<Option<anyhow::Error>>,
    failed: AtomicU64,
    counts: Mutex<Counts>,
    /// The hints that were printed already.
    hinted: Mutex<HashSet<String>>,
}

impl SumPrinter {
    /// Nothing is printed yet.
    pub fn new(args: SumArgs, watched: Arc<Watched>) -> Self {
        Self {
            args,
            watched,
            is_terminal: io::stdout().is_terminal(),
            lines: Lines::new(),
            flusher: OnceLock::new(),
            broken: Mutex::default(),
            failed: AtomicU64::new(0),
            counts: Mutex::default(),
            hinted: Mutex::default(),
        }
    }

    /// Prints what comes after the lines, and answers whether nothing failed. The error is the
    /// first failure of printing.
    pub fn end(self) -> anyhow::Result<bool> {
        self.warn_unprintable();
        if !self.args.status && !self.args.is_without_notes() {
            self.keep(self.watched.warn_of_few_threads());
        }
        if self.args.json {
            let (failed, elapsed) =
                (self.failed.load(Ordering::Relaxed), self.watched.begun.elapsed());
            let exit_code = if failed == 0 { exit::DONE } else { exit::FAILED };
            let end = json::End { exit_code, failed, elapsed };
            self.print_text(&json::summary(&end, &self.watched.totals, &self.lock_counts()));
        }
        drop(self.flusher);
        self.lines.lock().flush().context("cannot write to stdout")?;
        match self.broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(self.failed.into_inner() == 0),
        }
    }

    fn lock_counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    /// Prints to stdout. On a terminal each line is there at once, and a name moves no cursor.
    fn print(&self, print: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if !self.lines.is_broken() {
            let mut out = self.lines.lock();
            let printed = self.watched.screen.around_out(|| {
                fs::stdout()?;
                if !self.is_terminal || self.args.raw || self.args.json {
                    print(&mut *out)?;
                } else {
                    let mut lines = Vec::new();
                    print(&mut lines)?;
                    out.write_all(&for_terminal(&lines))?;
                }
                if self.is_terminal { out.flush() } else { Ok(()) }
            });
            drop(out);
            self.lines.note(&printed);
            if !self.is_terminal {
                self.flusher.get_or_init(|| Flusher::begin(&self.lines));
            }
            self.keep(printed.context("cannot write to stdout"));
        }
    }

    fn print_text(&self, text: &str) {
        self.print(|out| out.write_all(text.as_bytes()));
    }

    /// Prints an object with --json.
    fn tell(&self, object: impl FnOnce() -> String) {
        if self.args.json {
            self.print_text(&object());
        }
    }

    /// What JSON calls the function that a file was hashed with.
    fn function(&self, algorithm: Algorithm) -> FunctionName {
        let mode = match (self.args.keyed, &self.args.derive_key) {
            (true, _) => Some(ModeName::Keyed),
            (_, Some(_)) => Some(ModeName::DeriveKey),
            _ => None,
        };
        FunctionName { algorithm, mode }
    }

    /// Prints on stderr. With --status the exit code says it alone.
    fn say(&self, text: &str) {
        self.say_as_it_is(&format!("aiosum: {text}\n"));
    }

    fn say_as_it_is(&self, lines: &str) {
        if !self.args.status {
            self.keep(self.watched.screen.err(lines));
        }
    }

    /// Says what is no error.
    fn note(&self, text: &str) {
        if !self.args.is_without_notes() {
            self.say(text);
        }
    }

    fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn print_error(&self, error: &Error) {
        self.fail();
        self.tell(|| json::failed(error));
        self.say(&error.to_string());
        let mut hinted = self.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hint) = error.hint()
            && hinted.insert(hint.clone())
        {
            self.say(&format!("hint: {hint}"));
        }
    }

    fn print_way(&self, path: &Path, way: Way) {
        if self.args.debug {
            self.say_as_it_is(&format!("{}: {way}\n", shown(path)));
        }
    }

    fn print_no_kernel_aio(&self, reason: &str) {
        let what = format!("kernel AIO: {reason}; threads do its work");
        if !self.args.is_without_notes() {
            self.tell(|| json::notice(&what));
        }
        if self.args.debug {
            self.say(&what);
        }
    }

    fn print_skipped(&self, path: &Path, why: Skipped) {
        self.lock_counts().skipped += 1;
        if !self.args.is_without_notes() {
            self.tell(|| json::skipped(path, why));
        }
        self.note(&match why {
            Skipped::Special(kind) => {
                format!("skipped {}: it is a {kind}, which has no contents to hash", quoted(path))
            }
            Skipped::Output => format!("skipped {}: the lines are written to it", quoted(path)),
        });
    }

    /// Prints the verdict on one name, in one line whatever bytes the name has.
    fn print_verdict(&self, name: &[u8], verdict: &str) {
        if !self.args.status && !self.args.json {
            // Any other algorithm than BLAKE3 prints the bytes as they are.
            let PrintedName { bytes, is_escaped } = line::escape(name, Algorithm::Sha256);
            let sign: &[u8] = if is_escaped { b"\\" } else { b"" };
            let line = [sign, &bytes, b": ", verdict.as_bytes(), b"\n"].concat();
            self.print(|out| out.write_all(&line));
        }
    }

    fn print_checked(
        &self,
        counts: &mut Counts,
        name: &[u8],
        verdict: &LineVerdict,
        algorithm: Algorithm,
    ) {
        if self.args.ignore_missing && matches!(verdict, LineVerdict::Missing(_)) {
            counts.missing += 1;
            return;
        }
        counts.checked += 1;
        match verdict {
            LineVerdict::Matches => {}
            LineVerdict::Differs => counts.differing += 1,
            LineVerdict::Missing(_) | LineVerdict::Unreadable(_) => counts.unreadable += 1,
        }
        let is_match = matches!(verdict, LineVerdict::Matches);
        if !is_match {
            self.fail();
        }
        if !is_match || !self.args.quiet {
            self.tell(|| json::checked(name, self.function(algorithm), verdict));
            self.print_verdict(name, &words(verdict));
        }
    }

    /// Says what may be wrong with a whole manifest.
    fn print_hint(&self, hint: &Hint) {
        let has_key = self.args.keyed || self.args.derive_key.is_some();
        match hint {
            Hint::Alike(_) if has_key => {
                self.say("hint: these hashes may have another key or context");
            }
            hint => self.say(&format!("hint: {hint}")),
        }
    }

    /// Warns of lines that look as b3sum's do, and that no check accepts.
    fn warn_unprintable(&self) {
        let unprintable = self.lock_counts().unprintable;
        if unprintable > 0 {
            let names = count(unprintable, "name has", "names have");
            self.note(&format!(
                "WARNING: {names} bytes that b3sum does not print; --zero keeps them"
            ));
        }
    }

    /// Prints what there is to know beside the lines, as cksum says it.
    pub fn print_summary(&self) {
        let counts = self.lock_counts();
        if counts.checked == 0 && counts.missing + counts.left_out > 0 {
            self.fail();
            self.say(match counts.missing {
                0 => "cannot check: the filter leaves out every file",
                _ => "cannot check: no file was there to be verified",
            });
        }
        let warn = |count: u64, one: &str, many: &str| {
            if count > 0 {
                self.say(&format!("WARNING: {count} {}", if count == 1 { one } else { many }));
            }
        };
        if counts.left_out > 0 {
            let lines = count(counts.left_out, "line was", "lines were");
            self.say(&format!("{lines} not checked: the filter leaves the files out"));
        }
        if counts.unnamed > 0 {
            let more = count(counts.unnamed, "more such line is", "more such lines are");
            self.say(&format!("{more} not named; --warn names all"));
        }
        warn(counts.malformed, "line is improperly formatted", "lines are improperly formatted");
        warn(counts.unreadable, "listed file could not be read", "listed files could not be read");
        warn(
            counts.differing,
            "computed checksum did NOT match",
            "computed checksums did NOT match",
        );
        warn(counts.unlisted, "file is in no manifest", "files are in no manifest");
        counts.hints.iter().for_each(|hint| self.print_hint(hint));
    }
}

/// A verdict as it stands after the name.
fn words(verdict: &LineVerdict) -> Cow<'static, str> {
    match verdict {
        LineVerdict::Matches => "OK".into(),
        LineVerdict::Differs => "FAILED".into(),
        LineVerdict::Missing(error) | LineVerdict::Unreadable(error) => {
            let place = error.offset_bytes.map(|offset_bytes| format!("at byte {offset_bytes}: "));
            format!("FAILED ({}{})", place.unwrap_or_default(), error.cause).into()
        }
    }
}

/// Lines as a terminal may have them: what is not seen is escaped, but for their ends.
fn for_terminal(lines: &[u8]) -> Vec<u8> {
    let mut shown_lines = Vec::with_capacity(lines.len());
    for line in lines.split_inclusive(|byte| b"\n\0".contains(byte)) {
        let text = line.strip_suffix(b"\n").or(line.strip_suffix(b"\0")).unwrap_or(line);
        shown_lines.extend(shown(OsStr::from_bytes(text)).into_bytes());
        shown_lines.extend(&line[text.len()..]);
    }
    shown_lines
}

impl ListListener for SumPrinter {
    fn hashed(&self, name: &[u8], part: OutputPart<'_>) {
        let SumArgs { tag, no_names, raw, .. } = self.args;
        let algorithm = self.args.algorithm().unwrap_or(Algorithm::Blake3);
        let style = Style { tag, end: self.args.line_end(), names: !no_names };
        if !raw && !no_names && !self.args.json && line::is_unprintable(algorithm, style.end, name)
        {
            self.lock_counts().unprintable += 1;
        }
        if self.args.json {
            return self.print_text(&json::hashed(name, self.function(algorithm), part));
        }
        self.print(|out| match raw {
            true => line::write_raw(out, part),
            false => line::write(out, style, algorithm, name, part),
        });
    }

    fn failed(&self, error: Error) {
        self.print_error(&error);
    }

    fn skipped(&self, path: &Path, kind: SpecialKind) {
        self.print_skipped(path, Skipped::Special(kind));
    }

    fn left_out_output(&self, path: &Path) {
        self.print_skipped(path, Skipped::Output);
    }

    fn way(&self, path: &Path, way: Way) {
        self.print_way(path, way);
    }

    fn no_kernel_aio(&self, reason: &str) {
        self.print_no_kernel_aio(reason);
    }

    fn is_gone(&self) -> bool {
        self.lines.is_broken()
    }
}

impl CheckListener for SumPrinter {
    fn event(&self, event: CheckEvent) {
        let mut counts = self.lock_counts();
        match event {
            CheckEvent::Checked { name, verdict, algorithm, known_by } => {
                counts.manifest.add(&name, algorithm, known_by, &verdict);
                self.print_checked(&mut counts, &name, &verdict, algorithm);
            }
            CheckEvent::LeftOut => counts.left_out += 1,
            CheckEvent::Malformed { manifest, line_number, reason } => {
                counts.malformed += 1;
                counts.manifest.add_malformed(&reason);
                self.fail();
                let is_none_good = counts.checked + counts.missing == 0;
                if is_none_good && counts.malformed > MALFORMED_NAMED && !self.args.warn {
                    counts.unnamed += 1;
                } else {
                    self.tell(|| json::malformed(&manifest, line_number, &reason));
                    self.say(&format!(
                        "cannot read line {line_number} of {}: {reason}",
                        quoted(&manifest)
                    ));
                }
            }
            CheckEvent::NoManifest(NoManifest { error, reasons }) => {
                counts.in_no_manifest += reasons.len() as u64;
                reasons.iter().for_each(|reason| counts.manifest.add_malformed(reason));
                self.print_error(&error);
            }
            CheckEvent::Unread(error) | CheckEvent::Unlistable(error) => self.print_error(&error),
            CheckEvent::Ended => {
                let hint = std::mem::take(&mut counts.manifest).hint();
                if let Some(hint) = hint.filter(|hint| !counts.hints.contains(hint)) {
                    counts.hints.push(hint);
                }
            }
            CheckEvent::Unlisted(path) => {
                counts.unlisted += 1;
                self.fail();
                self.tell(|| json::unlisted(&path));
                self.print_verdict(path.as_os_str().as_bytes(), "FAILED (no manifest names it)");
            }
        }
    }

    fn way(&self, path: &Path, way: Way) {
        self.print_way(path, way);
    }

    fn no_kernel_aio(&self, reason: &str) {
        self.print_no_kernel_aio(reason);
    }

    fn is_gone(&self) -> bool {
        self.lines.is_broken()
    }
}
