//! Where the events of a copy go: to the terminal, and to what else was asked for.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result, bail};

use super::question::{self, rights};
use crate::cli::flags::seeing::SeeingArgs;
use crate::cli::flags::selection::NameEnd;
use crate::cli::output::failures::Failures;
use crate::cli::output::file::{self, OutputFile};
use crate::cli::output::json;
use crate::cli::output::log::Log;
use crate::cli::output::planned::Planned;
use crate::cli::output::repeats::{Repeats, Telling};
use crate::cli::output::slowest::Slowest;
use crate::cli::screen::terminal::{Screen, is_unread, write_out};
use crate::cli::screen::units::count;
use crate::copy::{Appears, Operands, Options, Stop};
use crate::error::{Cause, Error, Operation, quoted, shown};
use crate::fs;
use crate::report::{Copied, Difference, Event, Made, Sink, Skip, Way};
use crate::sum::{Manifest, ManifestEnd};

/// What a printer needs to know of a run.
pub struct PrinterSetup<'a> {
    /// The flags about what is seen.
    pub seeing: &'a SeeingArgs,
    /// Where the manifest goes, if there is to be one.
    pub manifest: Option<&'a Path>,
    /// Where the copy goes.
    pub destination: &'a Path,
    /// Whether what is written at the end is made durable.
    pub sync: bool,
    /// How names in lists end.
    pub name_end: NameEnd,
    /// The terminal.
    pub screen: Arc<Screen>,
    /// Whether the run is to end early.
    pub stop: Arc<Stop>,
}

/// Whether a run did all that it was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// It did.
    Whole,
    /// A signal ended it.
    Interrupted,
}

/// Prints events, and collects what is written at the end.
pub struct CopyPrinter<'a> {
    seeing: &'a SeeingArgs,
    screen: Arc<Screen>,
    stop: Arc<Stop>,
    log: Option<Log>,
    /// Whether what is written at the end is made durable.
    sync: bool,
    manifest: Option<(OutputFile, Mutex<Manifest>)>,
    /// What failed.
    pub failures: Failures,
    failed_list: Option<OutputFile>,
    report: Option<OutputFile>,
    /// The files that the report names as the slowest.
    pub slowest: Slowest,
    /// How names in lists end.
    name_end: NameEnd,
    /// The hints that were printed already.
    hinted: Mutex<HashSet<&'static str>>,
    /// What is told once for many files.
    pub repeats: Repeats,
    /// What a dry run would do.
    planned: Planned,
    /// The reader of what is printed has gone.
    is_unread: AtomicBool,
    /// What the paths of the manifest are relative to.
    base: OnceLock<PathBuf>,
    /// Something that is written at the end would take the place of a file of the copy.
    is_refused: AtomicBool,
    /// The first failure of collecting. With it nothing is written at the end, and the run, which
    /// goes on to that, ends with an error.
    broken: Mutex<Option<anyhow::Error>>,
    /// The first failure of printing. It ends the run with an error when all is written.
    unprinted: Mutex<Option<anyhow::Error>>,
}

impl<'a> CopyPrinter<'a> {
    /// Opens what is written during the run and checks what is written after it, before anything
    /// is copied.
    pub fn open(setup: PrinterSetup<'a>) -> Result<Self, Error> {
        let PrinterSetup { seeing, manifest, destination, sync, name_end, screen, stop } = setup;
        let output = |what, path: Option<&Path>| {
            path.map(|path| OutputFile::check(what, path, destination)).transpose()
        };
        Ok(Self {
            seeing,
            screen,
            stop,
            log: seeing.log_file.as_deref().map(Log::check).transpose()?,
            sync,
            manifest: output("the manifest", manifest)?.map(|output| (output, Mutex::default())),
            failures: Failures::new(seeing.failed_list.is_some()),
            failed_list: output("the list of what failed", seeing.failed_list.as_deref())?,
            report: output("the report", seeing.report.as_deref())?,
            slowest: Slowest::default(),
            name_end,
            hinted: Mutex::default(),
            repeats: Repeats::default(),
            planned: Planned::default(),
            is_unread: AtomicBool::new(false),
            base: OnceLock::new(),
            is_refused: AtomicBool::new(false),
            broken: Mutex::default(),
            unprinted: Mutex::default(),
        })
    }

    /// Takes note of what is copied. An output that would take the place of a source or of its copy
    /// is refused.
    pub fn begin(&self, operands: &Operands, options: &Options) -> Result<(), Error> {
        let refuse = |output, path: &Path, file| {
            self.is_refused.store(true, Ordering::Relaxed);
            Err(Error::new(Operation::Write, path, Cause::IsCopied { output, file }))
        };
        if let Some(log) = &self.log {
            if let Some(file) = operands.has(log.place(), Appears::BeforeIt, options)? {
                log.refuse();
                return refuse("the log", log.path(), file);
            }
            log.open()?;
        }
        for output in self.outputs() {
            let Some(path) = output.path() else { continue };
            if let Some(file) = operands.has(path, Appears::BehindIt, options)? {
                return refuse(output.what, path, file);
            }
        }
        self.base.get_or_init(|| operands.base.clone());
        Ok(())
    }

    /// A path in the destination as the manifest has it.
    fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        self.base.get().and_then(|base| path.strip_prefix(base).ok()).unwrap_or(path)
    }

    /// Takes note of what could not be printed. Where its reader has gone, the run ends, as cp
    /// does, and says no more.
    pub fn note(&self, printed: Result<()>) {
        match printed {
            Ok(()) => {}
            Err(error) if is_unread(&error) => self.end_unread(),
            Err(error) => {
                let mut unprinted = self.unprinted.lock().unwrap_or_else(PoisonError::into_inner);
                unprinted.get_or_insert(error);
            }
        }
    }

    /// Ends the run, since the reader of what it prints has gone.
    pub fn end_unread(&self) {
        if !self.is_unread.swap(true, Ordering::Relaxed) {
            self.stop.request();
        }
    }

    /// Whether the reader of what is printed has gone.
    pub fn is_unread(&self) -> bool {
        self.is_unread.load(Ordering::Relaxed)
    }

    /// The first failure of printing, if any.
    pub fn end(&self) -> Result<()> {
        let mut unprinted = self.unprinted.lock().unwrap_or_else(PoisonError::into_inner);
        unprinted.take().map_or(Ok(()), Err)
    }

    /// Whether what is written at the end is whole, and takes the place of nothing else.
    pub fn may_write(&self) -> bool {
        let is_broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        !is_broken && !self.is_refused.load(Ordering::Relaxed)
    }

    /// The first failure of collecting, if any.
    pub fn collected(&self) -> Result<()> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }

    fn hinted(&self) -> MutexGuard<'_, HashSet<&'static str>> {
        self.hinted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn out(&self, line: &str) -> Result<()> {
        self.failures.bury();
        self.screen.out(line)
    }

    /// Keeps a line of a dry run until it has ended.
    fn plan(&self, path: &Path, line: &str) -> Result<()> {
        self.planned.add(path, line).with_context(|| {
            format!("cannot write a temporary file in {}", quoted(std::env::temp_dir()))
        })
    }

    /// Prints what a dry run would do.
    pub fn print_planned(&self) -> Result<()> {
        self.planned.take()?.try_for_each(|line| write_out(line?))
    }

    fn err(&self, line: &str) -> Result<()> {
        self.failures.bury();
        self.screen.err(line)
    }

    fn failed(&self, error: &Error) -> Result<()> {
        // A hint that helps a thousand files is printed once.
        let is_new = || error.remedy().is_none_or(|remedy| self.hinted().insert(remedy));
        self.screen.err(&if is_new() { error_lines(error) } else { format!("aiocp: {error}\n") })
    }

    fn warned(&self, error: &Error) -> Result<()> {
        // What was lost is no mere warning.
        if self.seeing.quiet && !matches!(error.cause, Cause::HalfWritten) {
            return Ok(());
        }
        let remedy = error.missing().and_then(|_| error.remedy());
        let remedy = remedy.filter(|remedy| self.hinted().insert(remedy));
        let hint = remedy.map(|remedy| format!("aiocp: hint: {remedy}\n")).unwrap_or_default();
        self.err(&format!("aiocp: warning: {error}\n{hint}"))
    }

    /// Says how often came again what was told once.
    pub fn tell_repeats(&self) -> Result<()> {
        // They bury no failure: they are a part of it.
        let lines = self.repeats.lines();
        lines
            .iter()
            .filter(|line| !(self.seeing.quiet && line.starts_with("warning: ")))
            .try_for_each(|line| self.screen.err(&format!("aiocp: {line}\n")))
    }

    fn made(&self, made: &Made) -> Result<()> {
        match self.seeing {
            SeeingArgs { json: true, .. } => Ok(()),
            SeeingArgs { dry_run: true, .. } => self.plan(
                &made.target,
                &format!(
                    "would make {} {}{}\n",
                    made.kind,
                    quoted(&made.target),
                    replacing(made.replaced)
                ),
            ),
            SeeingArgs { verbose: true, .. } => {
                self.arrow(&made.source, &made.target, made.backup.as_deref())
            }
            _ => Ok(()),
        }
    }

    fn arrow(&self, source: &Path, target: &Path, backup: Option<&Path>) -> Result<()> {
        let backup =
            backup.map(|backup| format!(" (backup: {})", quoted(backup))).unwrap_or_default();
        self.out(&format!("{} -> {}{backup}\n", quoted(source), quoted(target)))
    }

    fn skipped(&self, path: &Path, why: Skip) -> Result<()> {
        match self.seeing {
            SeeingArgs { json: true, .. } => Ok(()),
            SeeingArgs { dry_run: true, .. } => {
                self.plan(path, &format!("would skip {}: {why}\n", quoted(path)))
            }
            _ if why.is_of_source() => {
                self.err(&format!("aiocp: skipped {}: {why}\n", quoted(path)))
            }
            // Of what is up to date -v says nothing, as cp does.
            SeeingArgs { debug: false, .. } if why == Skip::NotOlder => Ok(()),
            SeeingArgs { verbose: true, .. } | SeeingArgs { debug: true, .. } => {
                self.out(&format!("skipped {}: {why}\n", quoted(path)))
            }
            _ => Ok(()),
        }
    }

    fn copied(&self, file: &Copied) -> Result<()> {
        if self.seeing.dry_run && self.seeing.json {
            return Ok(());
        }
        if self.seeing.dry_run {
            let verb = if file.route.write == Way::Linked { "link" } else { "copy" };
            let (source, target) = (quoted(&file.source), quoted(&file.target));
            let what = format!(
                "would {verb} {source} -> {target} ({})",
                count(file.size_bytes, "byte", "bytes")
            );
            let change = match file.in_place {
                true => ", writing into what is there",
                false => replacing(file.replaced),
            };
            return self.plan(&file.target, &format!("{what}{change}\n"));
        }
        if self.seeing.debug {
            let proof = file.proof.map(|proof| format!(", {proof}")).unwrap_or_default();
            self.err(&format!("{}: {}{proof}\n", shown(&file.target), file.route))?;
        }
        if self.seeing.verbose {
            self.arrow(&file.source, &file.target, file.backup.as_deref())?;
        }
        Ok(())
    }

    /// Takes what is written at the end. It comes before all printing, which may fail.
    fn collect(&self, event: &Event, telling: Telling) -> Result<()> {
        match event {
            Event::Failed(error) => self.failures.add(error, telling),
            Event::Differs(difference) => self.failures.add_difference(difference),
            _ if self.seeing.dry_run => {}
            Event::Copied(file) => {
                self.keep_apart(&file.source, &file.target)?;
                if self.report.is_some() {
                    self.slowest.add(file);
                }
            }
            Event::Made(made) => self.keep_apart(&made.source, &made.target)?,
            _ => {}
        }
        let Some((_, manifest)) = &self.manifest else { return Ok(()) };
        let mut manifest = manifest.lock().unwrap_or_else(PoisonError::into_inner);
        let backup =
            |path: &Option<PathBuf>| path.as_deref().map(|path| self.relative(path).into());
        let added = match event {
            Event::Copied(file) => match file.hash {
                Some(hash) => manifest.copied(&file.relative, hash, backup(&file.backup)),
                None => manifest.left_alone(&file.relative),
            },
            Event::Made(made) if made.replaced => {
                manifest.made(self.relative(&made.target), backup(&made.backup))
            }
            // The path is that of a source, which has no copy or one elsewhere.
            Event::Skipped(_, why) if why.is_of_source() => Ok(()),
            Event::Skipped(path, _) => manifest.left_alone(self.relative(path)),
            _ => Ok(()),
        };
        added.with_context(|| {
            let folder = std::env::temp_dir();
            format!("cannot write a temporary file of the manifest in {}", quoted(folder))
        })
    }

    /// Takes note of the first failure of collecting, and says it at once: what the end of the run
    /// will lack may be a reason to end it.
    fn lose(&self, error: anyhow::Error) {
        let mut broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        if broken.is_none() {
            self.note(self.err(&format!(
                "aiocp: warning: {error:#}; the copy continues, and writes no manifest, list or \
                 report\n"
            )));
            *broken = Some(error);
        }
    }

    fn differs(&self, difference: &Difference) -> Result<()> {
        if self.seeing.json {
            return Ok(());
        }
        let line = format!("{difference}\n");
        // Standard output may be the manifest's.
        let taken = self.outputs().any(OutputFile::is_stdout);
        // It buries no failure: it is itself one of the things to be seen at the end.
        if taken { self.screen.err(&line) } else { self.screen.out(&line) }
    }

    /// What is written at the end.
    fn outputs(&self) -> impl Iterator<Item = &OutputFile> {
        self.manifest.iter().map(|(output, _)| output).chain(&self.failed_list).chain(&self.report)
    }

    /// Makes sure that nothing that is written at the end takes the place of what was copied, or of
    /// its source.
    fn keep_apart(&self, source: &Path, target: &Path) -> Result<()> {
        for output in self.outputs() {
            for path in [source, target] {
                let there = output.is_at(path);
                if there.with_context(|| {
                    format!("cannot compare the place of {} with {}", output.what, quoted(path))
                })? {
                    bail!("{} would overwrite {}, and is not written", output.what, quoted(path));
                }
            }
        }
        let log = self.log.as_ref().filter(|log| log.place().file_name() == target.file_name());
        if let Some(log) = log
            && file::is_same_place(log.place(), target)
                .context("cannot find the place of the log")?
        {
            let path = quoted(log.path());
            bail!("the log {path} was replaced by a copy, and the rest of it is lost");
        }
        Ok(())
    }

    /// Tells of an event wherever it is to be told: what cannot be told in one place is in others.
    fn tell(&self, event: &Event, telling: Telling) {
        if self.seeing.json {
            self.note(self.print_json(event));
        }
        if let Some(log) = &self.log {
            self.note(log.event(event).map_err(Into::into));
        }
        if telling == Telling::First {
            self.note(self.print(event));
        }
    }

    fn print_json(&self, event: &Event) -> Result<()> {
        let path = match event {
            _ if !self.seeing.dry_run => None,
            Event::Copied(file) => Some(&file.target),
            Event::Made(made) => Some(&made.target),
            Event::Skipped(path, _) => Some(path),
            _ => None,
        };
        match path {
            Some(path) => self.plan(path, &json::line(event)),
            None => self.screen.out(&json::line(event)),
        }
    }

    fn print(&self, event: &Event) -> Result<()> {
        match event {
            Event::Copied(_) | Event::Made(_) | Event::Skipped(..) if self.seeing.quiet => Ok(()),
            Event::Copied(file) => self.copied(file),
            Event::Made(made) => self.made(made),
            Event::Skipped(path, why) => self.skipped(path, *why),
            Event::Failed(error) => self.failed(error),
            Event::Warning(error) => self.warned(error),
            Event::Same(path, proof) if self.seeing.debug => {
                self.err(&format!("{}: {proof}\n", shown(path)))
            }
            Event::Same(..) => Ok(()),
            Event::Differs(difference) => self.differs(difference),
            Event::NoKernelAio(reason) if self.seeing.debug => {
                self.err(&format!("kernel AIO: {reason}; threads do its work\n"))
            }
            Event::NoKernelAio(_) => Ok(()),
        }
    }

    /// Adds to the log, if there is one.
    pub fn log(&self, line: &str) -> Result<()> {
        self.log.as_ref().map_or(Ok(()), |log| Ok(log.line(line)?))
    }

    /// Writes the report that `page` makes, if there is to be one.
    pub fn write_report(&self, page: impl FnOnce() -> String) -> std::result::Result<(), Error> {
        let write =
            |output: &OutputFile| output.write(self.sync, |out| out.write_all(page().as_bytes()));
        self.report.as_ref().filter(|_| self.may_write()).map_or(Ok(()), write)
    }

    /// Writes the report once more, if it is a file, since the run has come to another end than it
    /// says.
    pub fn correct_report(&self, page: impl FnOnce() -> String) -> Result<()> {
        match self.report.as_ref().is_some_and(|report| report.path().is_some()) {
            true => Ok(self.write_report(page)?),
            false => Ok(()),
        }
    }

    /// Ends the log, if there is one, and makes it durable if it is to be. Where nothing could be
    /// copied, it begins here.
    pub fn end_log(&self, line: &str) -> Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        log.open()?;
        log.line(line)?;
        if self.sync { Ok(log.sync()?) } else { Ok(()) }
    }

    /// What could not be printed so far, as a line.
    pub fn unprinted(&self) -> Option<String> {
        let unprinted = self.unprinted.lock().unwrap_or_else(PoisonError::into_inner);
        unprinted.as_ref().map(|error| format!("{error:#}"))
    }

    /// Writes what was collected, and answers with what could not be written.
    ///
    /// Without `operands` nothing could be copied. An interrupted run has no manifest, since it
    /// would pass for the manifest of a whole run. Nothing is written unless it
    /// [may be](Self::may_write).
    pub fn finish(&self, operands: Option<&Operands>, end: RunEnd) -> Vec<Error> {
        if !self.may_write() {
            return Vec::new();
        }
        let (mut unwritten, mut manifest_end) = (Vec::new(), ManifestEnd::default());
        if let Some((output, lines)) = &self.manifest
            && let Some(operands) = operands
            && end == RunEnd::Whole
        {
            let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
            let written = output.write(self.sync, |mut out| {
                manifest_end = lines.write(&operands.base, &mut out)?;
                Ok(())
            });
            unwritten.extend(written.err());
        }
        if let Some(output) = &self.failed_list {
            unwritten.extend(self.failures.write(output, self.name_end, operands, self.sync));
        }
        self.note(self.warn_of_missing_lines(manifest_end));
        unwritten
    }

    /// Says what the manifest lacks.
    fn warn_of_missing_lines(&self, end: ManifestEnd) -> Result<()> {
        let ManifestEnd { unprintable, too_long, left_alone } = end;
        if self.seeing.quiet {
            return Ok(());
        }
        if unprintable > 0 {
            let names =
                count(unprintable, "name in the manifest has", "names in the manifest have");
            self.err(&format!(
                "aiocp: warning: {names} bytes that b3sum does not print; \
                 a check will not find them\n"
            ))?;
        }
        for (files, why) in [
            (too_long, "with longer names than a check reads"),
            (left_alone, "that already existed"),
        ] {
            if files > 0 {
                let files = count(files, "file", "files");
                self.err(&format!("aiocp: warning: the manifest lacks {files} {why}\n"))?;
            }
        }
        Ok(())
    }
}

impl Sink for CopyPrinter<'_> {
    fn event(&self, event: Event) {
        let SeeingArgs { verbose, debug, dry_run, json, quiet, .. } = *self.seeing;
        // All of these are told, or none.
        let is_whole = verbose || debug || dry_run || json || quiet;
        let telling = match event {
            Event::Skipped(..) if is_whole => Telling::First,
            _ => self.repeats.note(&event),
        };
        if let Err(error) = self.collect(&event, telling) {
            self.lose(error);
        }
        self.tell(&event, telling);
    }

    fn wants_files(&self) -> bool {
        let SeeingArgs { verbose, debug, dry_run, json, .. } = *self.seeing;
        let prints = verbose || debug || dry_run || json;
        prints || self.log.is_some() || self.outputs().next().is_some()
    }

    fn confirm(&self, path: &Path, overridden_mode: Option<u32>) -> io::Result<bool> {
        let question = match overridden_mode {
            None => format!("aiocp: overwrite {}? ", quoted(path)),
            Some(mode) => format!(
                "aiocp: replace {}, overriding mode {mode:04o} ({})? ",
                quoted(path),
                rights(mode)
            ),
        };
        self.screen.ask(|| {
            // The lock is held until there is an answer, so that one question is asked at a time.
            let stdin = fs::stdin()?.lock();
            // A run that was interrupted during another question asks no more of them.
            if self.stop.is_requested() {
                return Ok(false);
            }
            io::stderr().write_all(question.as_bytes())?;
            let answer = question::answer(&stdin, || self.stop.is_requested())?;
            if answer.is_none() {
                io::stderr().write_all(b"\n")?;
            }
            Ok(matches!(answer, Some(b'y' | b'Y')))
        })
    }
}

/// One line, and a second one where something can be done about it.
pub fn error_lines(error: &Error) -> String {
    let hint = error.hint().map(|hint| format!("aiocp: hint: {hint}\n")).unwrap_or_default();
    format!("aiocp: {error}\n{hint}")
}

fn replacing(replaced: bool) -> &'static str {
    if replaced { ", replacing what is there" } else { "" }
}
