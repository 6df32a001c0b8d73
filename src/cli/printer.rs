//! Where the events of a copy go: to the terminal, and to whatever else was asked for.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};

use super::failures::Failures;
use super::json;
use super::log::Log;
use super::output::{self, Output};
use super::question;
use super::screen::Screen;
use super::seeing::SeeingArgs;
use super::slowest::Slowest;
use super::summary::count;
use crate::copy::{Operands, Stop};
use crate::error::{Error, shown};
use crate::report::{Copied, Difference, Event, Made, Sink, Skip, Way};
use crate::sum::Manifest;

/// Prints events, and collects what is written in the end.
pub(super) struct Printer<'a> {
    seeing: &'a SeeingArgs,
    screen: Arc<Screen>,
    stop: Arc<Stop>,
    log: Option<Log>,
    /// Whether what is written in the end is made durable.
    sync: bool,
    manifest: Option<(Output, Mutex<Manifest>)>,
    pub(super) failures: Failures,
    failed_list: Option<Output>,
    report: Option<Output>,
    /// For the report.
    pub(super) slowest: Slowest,
    /// Whether names in lists end in NUL.
    nul: bool,
    /// What the user was told already that can be done.
    hinted: Mutex<HashSet<&'static str>>,
    /// The first failure of printing or collecting, which ends the run with an error.
    broken: Mutex<Option<anyhow::Error>>,
}

impl<'a> Printer<'a> {
    /// Refuses before anything is copied what could not be written while or after it is.
    pub(super) fn open(
        seeing: &'a SeeingArgs,
        manifest: Option<&Path>,
        place: &Path,
        (sync, nul): (bool, bool),
        (screen, stop): (Arc<Screen>, Arc<Stop>),
    ) -> Result<Self, Error> {
        let output = |what, path: Option<&Path>| {
            path.map(|path| Output::check(what, path, place)).transpose()
        };
        Ok(Self {
            seeing,
            screen,
            stop,
            log: seeing.log_file.as_deref().map(Log::open).transpose()?,
            sync,
            manifest: output("the manifest", manifest)?.map(|output| (output, Mutex::default())),
            failures: Failures::new(seeing.failed_list.is_some()),
            failed_list: output("the list of what failed", seeing.failed_list.as_deref())?,
            report: output("the report", seeing.report.as_deref())?,
            slowest: Slowest::default(),
            nul,
            hinted: Mutex::default(),
            broken: Mutex::default(),
        })
    }

    fn hinted(&self) -> MutexGuard<'_, HashSet<&'static str>> {
        self.hinted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn out(&self, line: &str) -> Result<()> {
        self.failures.bury();
        self.screen.out(line)
    }

    fn err(&self, line: &str) -> Result<()> {
        self.failures.bury();
        self.screen.err(line)
    }

    fn failed(&self, error: &Error) -> Result<()> {
        self.failures.add(error);
        // What helps a thousand files need be said once.
        let is_new = || error.remedy().is_none_or(|remedy| self.hinted().insert(remedy));
        self.screen.err(&if is_new() { error_lines(error) } else { format!("aiocp: {error}\n") })
    }

    fn made(&self, made: &Made) -> Result<()> {
        if !self.seeing.dry_run {
            self.keep_apart(&made.source, &made.target)?;
        }
        match self.seeing {
            SeeingArgs { json: true, .. } => Ok(()),
            SeeingArgs { dry_run: true, .. } => self.out(&format!(
                "would make {} '{}'{}\n",
                made.kind,
                shown(&made.target),
                replacing(made.replaced)
            )),
            SeeingArgs { verbose: true, .. } => {
                self.arrow(&made.source, &made.target, made.backup.as_deref())
            }
            _ => Ok(()),
        }
    }

    fn arrow(&self, source: &Path, target: &Path, backup: Option<&Path>) -> Result<()> {
        let backup =
            backup.map(|backup| format!(" (backup: '{}')", shown(backup))).unwrap_or_default();
        self.out(&format!("'{}' -> '{}'{backup}\n", shown(source), shown(target)))
    }

    fn skipped(&self, path: &Path, why: Skip) -> Result<()> {
        match self.seeing {
            SeeingArgs { json: true, .. } => Ok(()),
            SeeingArgs { dry_run: true, .. } => {
                self.out(&format!("would skip '{}': {why}\n", shown(path)))
            }
            _ if why == Skip::NamedTwice => {
                self.err(&format!("aiocp: skipped '{}': {why}\n", shown(path)))
            }
            SeeingArgs { verbose: true, .. } => {
                self.out(&format!("skipped '{}': {why}\n", shown(path)))
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
            let (source, target) = (shown(&file.source), shown(&file.target));
            let what = format!(
                "would {verb} '{source}' -> '{target}' ({})",
                count(file.size_bytes, "byte", "bytes")
            );
            return self.out(&format!("{what}{}\n", replacing(file.replaced)));
        }
        if self.seeing.debug {
            let proof = file.proof.map(|proof| format!(", {proof}")).unwrap_or_default();
            self.err(&format!("{}: {}{proof}\n", shown(&file.target), file.route))?;
        }
        if self.seeing.verbose {
            self.arrow(&file.source, &file.target, file.backup.as_deref())?;
        }
        self.keep_apart(&file.source, &file.target)?;
        if self.report.is_some() {
            self.slowest.add(file);
        }
        if let (Some((_, manifest)), Some(hash)) = (&self.manifest, file.hash) {
            let mut manifest = manifest.lock().unwrap_or_else(PoisonError::into_inner);
            manifest
                .push(file.relative.clone(), hash)
                .context("cannot write a temporary file of the manifest")?;
        }
        Ok(())
    }

    fn differs(&self, difference: &Difference) -> Result<()> {
        self.failures.add_difference(difference);
        if self.seeing.json {
            return Ok(());
        }
        let line = format!("{difference}\n");
        // Standard output may be the manifest's.
        let taken = self.outputs().any(Output::is_stdout);
        // It buries no failure: it is one of the things to be seen in the end.
        if taken { self.screen.err(&line) } else { self.screen.out(&line) }
    }

    /// What is written in the end.
    fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.manifest.iter().map(|(output, _)| output).chain(&self.failed_list).chain(&self.report)
    }

    /// Sees that nothing that is written in the end takes the place of what was copied, or of its
    /// source.
    fn keep_apart(&self, source: &Path, target: &Path) -> Result<()> {
        for output in self.outputs() {
            for path in [source, target] {
                let there = output.is_at(path);
                if there.with_context(|| {
                    format!("cannot compare the place of {} with '{}'", output.what, shown(path))
                })? {
                    bail!("{} would overwrite '{}', and is not written", output.what, shown(path));
                }
            }
        }
        let log =
            self.log.as_ref().map(Log::path).filter(|log| log.file_name() == target.file_name());
        if let Some(log) = log
            && output::is_same_place(log, target).context("cannot find the place of the log")?
        {
            bail!("the log '{}' was replaced by a copy, and the rest of it is lost", shown(log));
        }
        Ok(())
    }

    fn take(&self, event: &Event) -> Result<()> {
        if self.seeing.json {
            self.screen.out(&json::line(event))?;
        }
        if let Some(log) = &self.log {
            log.event(event)?;
        }
        match event {
            Event::Copied(file) => self.copied(file),
            Event::Made(made) => self.made(made),
            Event::Skipped(path, why) => self.skipped(path, *why),
            Event::Failed(error) => self.failed(error),
            Event::Warning(error) => self.err(&format!("aiocp: warning: {error}\n")),
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
    pub(super) fn log(&self, line: &str) -> Result<()> {
        self.log.as_ref().map_or(Ok(()), |log| Ok(log.line(line)?))
    }

    /// Writes the report that `page` makes, if there is to be one.
    pub(super) fn write_report(
        &self,
        page: impl FnOnce() -> String,
    ) -> std::result::Result<(), Error> {
        let write =
            |output: &Output| output.write(self.sync, |out| out.write_all(page().as_bytes()));
        self.report.as_ref().map_or(Ok(()), write)
    }

    /// Ends the log, if there is one, and makes it durable if it is to be.
    pub(super) fn end_log(&self, line: &str) -> Result<()> {
        self.log(line)?;
        match &self.log {
            Some(log) if self.sync => Ok(log.sync()?),
            _ => Ok(()),
        }
    }

    /// Writes what was collected; `operands` are missing where nothing could be copied, and there
    /// is no manifest of a run that is not `whole`, since it would be taken for one that is. What
    /// could not be written comes back. The error is the first failure of printing or collecting,
    /// and then nothing is written.
    pub(super) fn finish(&self, operands: Option<&Operands>, whole: bool) -> Result<Vec<Error>> {
        if let Some(error) = self.broken.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let mut written = Vec::new();
        if let Some((output, lines)) = &self.manifest
            && operands.is_some()
            && whole
        {
            let lines = std::mem::take(&mut *lines.lock().unwrap_or_else(PoisonError::into_inner));
            let mut unprintable = 0;
            written.push(output.write(self.sync, |mut out| {
                unprintable = lines.write(&mut out)?;
                Ok(())
            }));
            if unprintable > 0 {
                let names =
                    count(unprintable, "name in the manifest has", "names in the manifest have");
                self.err(&format!(
                    "aiocp: warning: {names} bytes that b3sum does not print; a check will not find them\n"
                ))?;
            }
        }
        if let Some(output) = &self.failed_list {
            written.push(self.failures.write(output, self.nul, operands, self.sync));
        }
        Ok(written.into_iter().filter_map(std::result::Result::err).collect())
    }
}

impl Sink for Printer<'_> {
    fn event(&self, event: Event) {
        if let Err(error) = self.take(&event) {
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    fn wants_files(&self) -> bool {
        let SeeingArgs { verbose, debug, dry_run, json, .. } = *self.seeing;
        let prints = verbose || debug || dry_run || json;
        prints || self.log.is_some() || self.outputs().next().is_some()
    }

    fn confirm(&self, path: &Path, overridden_mode: Option<u32>) -> io::Result<bool> {
        let question = match overridden_mode {
            None => format!("aiocp: overwrite '{}'? ", shown(path)),
            Some(mode) => format!(
                "aiocp: replace '{}', overriding mode {mode:04o} ({})? ",
                shown(path),
                rights(mode)
            ),
        };
        self.screen.ask(|| {
            // Held until there is an answer, so that one question is asked at a time.
            let stdin = io::stdin().lock();
            // Whoever interrupted the run while another question stood wants no more of them.
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
pub(super) fn error_lines(error: &Error) -> String {
    let hint = error.hint().map(|hint| format!("aiocp: hint: {hint}\n")).unwrap_or_default();
    format!("aiocp: {error}\n{hint}")
}

fn replacing(replaced: bool) -> &'static str {
    if replaced { ", replacing what is there" } else { "" }
}

/// The nine rights in a mode, as ls(1) shows them.
fn rights(mode: u32) -> String {
    let right =
        |bit: u32| if mode & (1 << bit) != 0 { ['x', 'w', 'r'][bit as usize % 3] } else { '-' };
    (0..9).rev().map(right).collect()
}
