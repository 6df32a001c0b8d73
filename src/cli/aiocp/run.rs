//! A run of `aiocp`, from the command line to the exit code.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;

use super::args::{Args, command};
use super::command_line::CommandLine;
use super::habits;
use super::printer::{CopyPrinter, PrinterSetup, RunEnd, error_lines};
use super::words::command_line;
use crate::cli::exit;
use crate::cli::flags::config::Config;
use crate::cli::flags::seeing::SeeingArgs;
use crate::cli::flags::usage;
use crate::cli::output::json;
use crate::cli::output::summary::{self, Asked};
use crate::cli::page::{self, Deed, Page, Place};
use crate::cli::process;
use crate::cli::screen::progress::RunKind;
use crate::cli::screen::signals::{Received, stop_on_signals};
use crate::cli::screen::terminal::{write_err, write_out};
use crate::cli::screen::units::{self, count};
use crate::cli::screen::watch::{Sampling, Shown, Watched, Watcher};
use crate::copy::{self, Destination, Ended, EngineKind, Operands, Options, Reflink, Sparse};
use crate::error::{Cause, Error, Operation, quoted, reason};
use crate::fs;
use crate::report::{Event, Series, Sink, Totals, Unheeded};

/// How many sources the report names.
const PLACES_MAX: usize = 20;

/// Parses the process's arguments, copies, and answers with the exit code. An error is one that
/// kept the run from beginning or ending; failures of files have been printed by then.
pub fn run() -> anyhow::Result<u8> {
    let CommandLine { args, typed, matches, config } = CommandLine::read();
    let config_hint = config.as_ref().map(Config::hint);
    let refuse = |what: &str, hint: Option<String>| -> ! {
        usage::refuse("aiocp", what, hint.or(config_hint.clone()).as_deref())
    };
    if let Some(shell) = args.completions {
        write_out(crate::cli::completions(&mut command(), shell))?;
        return Ok(exit::DONE);
    }
    let (sources, destination) = match args.operands() {
        Ok(operands) => operands,
        Err(what) => refuse(&what, typed.missing_operand()),
    };
    if let Err(what) = args.check(&matches, sources.len()) {
        refuse(what, None);
    }
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let habits = habits::check(&words, &args, (&sources, &destination))
        .unwrap_or_else(|habits::Refused { what, hint }| refuse(&what, Some(hint)));
    let (mut selection, unreadable) = match args.selection.read(&matches) {
        Ok(selection) => (selection, None),
        Err(error) => (Default::default(), Some(error)),
    };
    let outside = std::mem::take(&mut selection.outside);
    let options = args.options(&matches, selection).unwrap_or_else(|what| refuse(&what, None));
    crate::fs::raise_open_files_limit();
    crate::sys::memory::at_end(crate::fs::remove_temporaries_at_once);
    let todo = Todo { args, config, options, sources, destination, outside };
    let kind = RunKind::Copy {
        syncs: todo.options.sync && (!todo.args.verify_only || todo.args.repair),
        verifies: todo.args.verify,
    };
    let watched = Arc::new(Watched::new("aiocp", kind, Arc::clone(&todo.options.stop)));
    let printer = match CopyPrinter::open(todo.printer_setup(&watched)) {
        Ok(printer) => printer,
        Err(error) => {
            write_err(&error_lines(&error))?;
            return Ok(exit::FAILED);
        }
    };
    // A command that does something else than it seems to is told of in any case.
    let is_told = |line: &String| !todo.args.seeing.quiet || line.starts_with("warning: ");
    for line in habits.into_iter().filter(is_told) {
        printer.note(write_err(&format!("aiocp: {line}\n")));
    }
    carry_out(&todo, unreadable, &printer, &watched)
}

/// What the command line asks for.
struct Todo {
    args: Args,
    /// The file with more options, if there is one.
    config: Option<Config>,
    options: Options,
    sources: Vec<PathBuf>,
    destination: Destination,
    /// Paths on a list that lead out of the source.
    outside: Vec<PathBuf>,
}

impl Todo {
    /// The destination's path.
    fn place(&self) -> &Path {
        self.destination.path()
    }

    fn printer_setup(&self, watched: &Watched) -> PrinterSetup<'_> {
        PrinterSetup {
            seeing: &self.args.seeing,
            manifest: self.args.manifest.as_deref(),
            destination: self.place(),
            sync: self.options.sync,
            name_end: self.args.selection.name_end(),
            screen: Arc::clone(&watched.screen),
            stop: Arc::clone(&self.options.stop),
        }
    }

    /// Whether the source is compared with something that is missing in a directory that exists, as
    /// after a copy that made the directory.
    fn is_one_level_off(&self) -> bool {
        match (&*self.sources, &self.destination) {
            ([source], Destination::Either(place)) => {
                let is_missing = |name| place.join(name).symlink_metadata().is_err();
                place.is_dir() && source.file_name().is_some_and(is_missing)
            }
            _ => false,
        }
    }
}

/// Copies with signals handled and the progress shown, and answers with the exit code. Nothing is
/// copied if a list is `unreadable`.
fn carry_out(
    todo: &Todo,
    unreadable: Option<Error>,
    printer: &CopyPrinter<'_>,
    watched: &Arc<Watched>,
) -> anyhow::Result<u8> {
    let Todo { args, options, .. } = todo;
    printer.log(&format!("begun: {}", command_line()))?;
    if let Some(config) = &todo.config {
        let adds = config.summary();
        printer.log(&adds)?;
        if args.seeing.debug {
            printer.note(write_err(&format!("aiocp: {adds}\n")));
        }
    }
    let last_word = match (options.existing.in_place, options.resume) {
        (true, false) => {
            "aiocp: stopped at once; a file that was being written into is incomplete\n"
        }
        (true, true) => {
            "aiocp: stopped at once; a file that was being written into is incomplete; run the \
             same command again to continue with that file\n"
        }
        (false, true) => {
            "aiocp: stopped at once; run the same command again to continue from what is durable\n"
        }
        (false, false) => "aiocp: stopped at once; finished files are whole\n",
    };
    let received = stop_on_signals(Arc::clone(&options.stop), watched, last_word)
        .context("cannot watch for signals")?;
    let progress = match args.seeing.dry_run || args.seeing.quiet {
        true => Shown::Never,
        false => Shown::on_stderr(args.seeing.progress.progress),
    };
    let sampling = if args.seeing.report.is_some() { Sampling::On } else { Sampling::Off };
    if sampling == Sampling::On {
        watched.totals.meter.take_times();
    }
    let drawn = progress.unless_typed(&todo.sources);
    let watcher = Watcher::begin(watched, drawn, sampling).context("cannot watch the run")?;
    let run = CopyRun { args, options, printer, watched, received, progress };
    let copied = match unreadable {
        Some(error) => run.refuse(error),
        None => run.copy(todo),
    };
    // What the run was for is written before a message that could not be is told of.
    let (series, watched_to_the_end) = watcher.end();
    printer.note(watched_to_the_end);
    let ended = run.finish(copied, &series, todo).and_then(|code| printer.end().map(|()| code));
    match ended {
        // A difference is what the run was to find, whatever could not be written of it.
        Err(error) if run.has_differences() => {
            process::say_last("aiocp", &error);
            Ok(exit::DIFFERS)
        }
        ended => ended,
    }
}

/// One run, from its operands to its exit code.
struct CopyRun<'a> {
    args: &'a Args,
    options: &'a Options,
    printer: &'a CopyPrinter<'a>,
    watched: &'a Watched,
    /// The signal that has arrived.
    received: Received,
    /// How its progress is shown.
    progress: Shown,
}

impl CopyRun<'_> {
    fn totals(&self) -> &Totals {
        &self.watched.totals
    }

    fn tell(&self, event: Event) {
        match event {
            Event::Failed(_) => Totals::add(&self.totals().failed, 1),
            Event::Skipped(..) => Totals::add(&self.totals().skipped, 1),
            _ => {}
        }
        self.printer.event(event);
    }

    /// Counts and prints an error that keeps everything from being copied.
    fn refuse(&self, error: Error) -> Option<(Operands, Ended)> {
        self.tell(Event::Failed(error));
        None
    }

    /// Copies, and answers with what was to be copied, or with nothing if that could not begin.
    fn copy(&self, todo: &Todo) -> Option<(Operands, Ended)> {
        let Todo { sources, destination, outside, .. } = todo;
        let (operands, refused) = match Operands::resolve(sources, destination, self.options) {
            Ok(resolved) => resolved,
            Err(error) => return self.refuse(error),
        };
        if let Err(error) = self.printer.begin(&operands, self.options) {
            return self.refuse(error);
        }
        let outside = outside
            .iter()
            .map(|path| Error::new(Operation::Copy, sources[0].join(path), Cause::LeadsUp));
        outside.map(Event::Failed).chain(refused).for_each(|event| self.tell(event));
        match copy::copy(&operands, self.options, self.printer, self.totals()) {
            Ok(ended) => Some((operands, ended)),
            Err(cause) => {
                self.printer.note(tell_no_start(&cause, self.options.engine));
                None
            }
        }
    }

    /// Writes what comes at the end, and answers with the exit code.
    fn finish(
        &self,
        copied: Option<(Operands, Ended)>,
        series: &Series,
        todo: &Todo,
    ) -> anyhow::Result<u8> {
        let unread = self.printer.is_unread().then_some(exit::UNREAD);
        let interrupted = self.received.exit_code().or(unread);
        let began = copied.is_some();
        let operands = copied.as_ref().map(|(operands, _)| operands);
        let end = if interrupted.is_some() { RunEnd::Interrupted } else { RunEnd::Whole };
        let unwritten = self.printer.finish(operands, end);
        for error in unwritten {
            match error.op == Operation::WriteTo && error.errno() == Some(libc::EPIPE) {
                true => self.printer.end_unread(),
                false => self.tell(Event::Failed(error)),
            }
        }
        let differences = Totals::get(&self.totals().differences);
        let failed = Totals::get(&self.totals().failed);
        let of_totals = || match (interrupted, failed, differences, began) {
            // A reader that has seen enough has not seen fewer differences.
            (Some(exit::UNREAD), _, 1.., _) => exit::DIFFERS,
            (Some(code), ..) => code,
            (_, _, 1.., _) => exit::DIFFERS,
            (_, 0, 0, true) if self.printer.may_write() => exit::DONE,
            _ => exit::FAILED,
        };
        let code = self.unprinted_code().unwrap_or_else(of_totals);
        // The journal goes last, so that the next run still has it if anything cannot be written.
        let ended =
            self.printer.write_report(|| self.page(code, series, todo)).and_then(
                |()| match copied {
                    Some((_, ended)) if code == exit::DONE => ended.finish(),
                    _ => Ok(()),
                },
            );
        let mut known = code;
        if let Err(error) = ended {
            self.tell(Event::Failed(error));
            known = if code == exit::DONE { exit::FAILED } else { code };
        }
        self.printer.note(self.sum_up(known, began));
        self.printer.note(self.tell_level(todo));
        if let Some(failed) = self.unprinted_code() {
            known = failed;
        } else if self.printer.is_unread() && known == exit::DONE {
            known = exit::UNREAD;
        }
        if known != code {
            self.printer.note(self.printer.correct_report(|| self.page(known, series, todo)));
        }
        self.printer.note(self.end_log(known));
        self.printer.collected()?;
        Ok(known)
    }

    fn has_differences(&self) -> bool {
        Totals::get(&self.totals().differences) > 0
    }

    /// The exit code if something could not be printed.
    fn unprinted_code(&self) -> Option<u8> {
        let code = if self.has_differences() { exit::DIFFERS } else { exit::FAILED };
        self.printer.unprinted().map(|_| code)
    }

    /// Adds to the log what nothing else could be told, and how the run ended.
    fn end_log(&self, code: u8) -> anyhow::Result<()> {
        if let Some(error) = self.printer.unprinted() {
            self.printer.log(&format!("failed: {error}"))?;
        }
        let (elapsed, verify_only) = (self.watched.begun.elapsed(), self.args.verify_only);
        let figures = summary::figures(self.totals(), elapsed, verify_only)
            .into_iter()
            .map(|(name, number)| format!("{name} {number}"));
        let figures = figures.collect::<Vec<_>>().join(", ");
        self.printer.end_log(&format!("ended with exit code {code}: {figures}"))
    }

    /// Says what helps where everything is missing one level too high.
    fn tell_level(&self, todo: &Todo) -> anyhow::Result<()> {
        match self.args.verify_only && todo.is_one_level_off() {
            true => write_err(&format!(
                "aiocp: hint: -T compares with {} itself\n",
                quoted(todo.place())
            )),
            false => Ok(()),
        }
    }

    /// The page that `--report` writes.
    fn page(&self, exit_code: u8, series: &Series, todo: &Todo) -> String {
        let (seeing, totals) = (&self.args.seeing, self.totals());
        page::render(&Page {
            command: command_line(),
            host: host(),
            places: &self.places(todo),
            version: usage::VERSION,
            deed: match () {
                () if seeing.dry_run => Deed::Plan,
                () if self.args.verify_only => Deed::Compare,
                () => Deed::Copy { durable: self.options.sync },
            },
            begun: self.watched.begun_at,
            elapsed: self.watched.begun.elapsed(),
            exit_code,
            totals,
            samples: series.samples(),
            latencies: totals.meter.latencies(),
            slowest: &self.printer.slowest.all(),
            failures: &self.printer.failures.first(),
            failed: Totals::get(&totals.failed),
        })
    }

    /// The operands, and what they are on.
    fn places(&self, todo: &Todo) -> Vec<Place> {
        let sources = todo.sources.iter().take(PLACES_MAX).map(|source| ("from", &**source));
        let places = sources.chain([("to", todo.place())]).map(|(part, path)| Place {
            part,
            path: path.to_owned(),
            // A page lacks what cannot be known.
            mount: fs::mount_of(path).unwrap_or(None),
        });
        places.collect()
    }

    /// Prints what there is to say of the run as a whole.
    fn sum_up(&self, code: u8, began: bool) -> anyhow::Result<()> {
        let (args, totals) = (self.args, self.totals());
        let elapsed = self.watched.begun.elapsed();
        if args.seeing.dry_run {
            self.printer.print_planned()?;
        }
        match args.seeing {
            _ if self.printer.is_unread() => return Ok(()),
            SeeingArgs { json: true, dry_run, .. } => {
                write_out(json::summary(totals, elapsed, code, dry_run))?
            }
            SeeingArgs { quiet: true, .. } => {}
            SeeingArgs { dry_run: true, .. } => write_out(summary::plan(totals))?,
            SeeingArgs { stats: true, .. } => {
                write_out(summary::stats(totals, elapsed, args.verify_only))?
            }
            _ if code == exit::DONE && self.progress != Shown::Never => {
                write_err(&format!("aiocp: {}\n", summary::brief(totals, elapsed, self.asked())))?;
            }
            _ => {}
        }
        self.printer.tell_repeats()?;
        if !args.seeing.quiet {
            self.tell_from_memory()?;
            self.tell_what_stays()?;
            self.watched.warn_of_few_threads()?;
        }
        let (failed, differences) = (Totals::get(&totals.failed), Totals::get(&totals.differences));
        if self.received.exit_code().is_some() {
            self.tell_interrupted()
        } else if began && (failed > 0 || differences > 0) {
            self.name_failures(failed, differences)
        } else {
            Ok(())
        }
    }

    /// What the files of the run were to be.
    fn asked(&self) -> Asked {
        match self.args {
            Args { verify_only: true, .. } => Asked::Compare,
            Args { verify: true, .. } => Asked::CopyAndVerify,
            _ => Asked::Copy,
        }
    }

    /// Warns of copies that were not read back from the device.
    fn tell_from_memory(&self) -> anyhow::Result<()> {
        match Totals::get(&self.totals().verified_from_memory) {
            0 => Ok(()),
            from_memory => {
                let files = count(from_memory, "file was", "files were");
                write_err(&format!(
                    "aiocp: warning: {files} verified from memory; --debug says why\n"
                ))
            }
        }
    }

    /// Says which options change nothing of what an earlier run had finished, and of how much.
    fn tell_what_stays(&self) -> anyhow::Result<()> {
        for (what, files) in Unheeded::ALL.into_iter().zip(&self.totals().unheeded) {
            let files = Totals::get(files);
            if files > 0 {
                let files = count(files, "file was", "files were");
                let flag = what.flag();
                let option = match self.asks_for(what) {
                    true => flag.to_owned(),
                    false => format!("leaving out {flag}"),
                };
                write_err(&format!(
                    "aiocp: {files} finished by an earlier run: {option} changes nothing of what \
                     that made\n"
                ))?;
            }
        }
        Ok(())
    }

    /// Whether an option is given, to another effect than none.
    fn asks_for(&self, what: Unheeded) -> bool {
        let Options { sparse, reflink, existing, .. } = self.options;
        match what {
            Unheeded::Sparse => *sparse != Sparse::Auto,
            Unheeded::Reflink => *reflink != Reflink::Auto,
            Unheeded::Backup => existing.backup.is_some(),
            Unheeded::RemoveDestination => existing.remove,
            Unheeded::InPlace => existing.in_place,
        }
    }

    /// Prints a line about a run that a signal ended.
    fn tell_interrupted(&self) -> anyhow::Result<()> {
        let next = match (self.options.resume, Totals::get(&self.totals().left_bytes)) {
            _ if self.args.verify_only || self.args.seeing.dry_run => {
                "; the rest was not begun".to_owned()
            }
            (false, _) if self.options.existing.in_place => {
                "; run the same command again to write into the rest".to_owned()
            }
            (false, _) => "; unfinished files were removed (a copy that was begun with --resume \
                           can be continued)"
                .to_owned(),
            (true, 0) if self.options.existing.in_place => {
                "; run the same command again to continue; a file that was being written into is \
                 incomplete until then"
                    .to_owned()
            }
            (true, 0) => "; run the same command again to continue".to_owned(),
            (true, left) => {
                format!(
                    ", {} of unfinished files kept; run the same command again to continue",
                    units::bytes(left as f64)
                )
            }
        };
        let done = match (self.args.verify_only, Totals::get(&self.totals().files)) {
            (true, _) => count(
                Totals::get(&self.totals().verified_files),
                "file is the same",
                "files are the same",
            ),
            (false, 0) => "no file copied".to_owned(),
            (false, files) => count(files, "file copied", "files copied"),
        };
        write_err(&format!("aiocp: interrupted: {done}{next}\n"))
    }

    /// Prints a line about what went wrong. The failures come before it once more, if something
    /// else was printed after them.
    fn name_failures(&self, failed: u64, differences: u64) -> anyhow::Result<()> {
        let repeated = self.printer.failures.to_repeat();
        // Where copies are proved, each that is not is a failure as well.
        let differences_left = match (self.args.verify_only, self.printer.unprinted()) {
            (true, None) => {
                let lines = self.printer.failures.differences_to_repeat();
                lines.iter().map(|line| format!("not mended: {line}")).collect()
            }
            // Standard output has not taken them.
            (true, Some(_)) => self.printer.failures.differences(),
            (false, _) => Vec::new(),
        };
        for line in repeated.iter().cloned().chain(differences_left) {
            write_err(&format!("aiocp: {line}\n"))?;
        }
        let (failures, others) =
            (count(failed, "failure", "failures"), count(differences, "difference", "differences"));
        let what = match (failed, differences) {
            (_, 0) => failures,
            (0, _) => others,
            _ => format!("{failures} and {others}"),
        };
        let named = match repeated.len() as u64 {
            _ if self.printer.repeats.counts_failures() => "named or counted above".to_owned(),
            shown if 0 < shown && shown < failed => format!("the first {shown} named above again"),
            _ => "named above".to_owned(),
        };
        let (files, same) =
            (Totals::get(&self.totals().files), Totals::get(&self.totals().verified_files));
        let rest = match self.args {
            Args { verify_only: true, .. } => count(same, "file is the same", "files are the same"),
            Args { seeing: SeeingArgs { dry_run: true, .. }, .. } => {
                format!("{} would be copied", count(files, "file", "files"))
            }
            _ => count(files, "file was copied", "files were copied"),
        };
        let need = self.unfit_bytes().filter(|_| failed > 1).map_or_else(String::new, |bytes| {
            format!("; what did not fit needs {}", units::bytes(bytes as f64))
        });
        let next = match self.options.resume && self.printer.repeats.lacked_space() {
            true => "; free some space: the same command continues",
            false => "",
        };
        write_err(&format!("aiocp: {what}, {named}; {rest}{need}{next}\n"))
    }

    /// What the files that did not fit still need, if it is known of all that failed so.
    fn unfit_bytes(&self) -> Option<u64> {
        let Totals { unfit_bytes, unfit_names, left_bytes, .. } = self.totals();
        let bytes = Totals::get(unfit_bytes).saturating_sub(Totals::get(left_bytes));
        (Totals::get(unfit_names) == 0 && bytes > 0).then_some(bytes)
    }
}

/// The machine and its kernel, as far as /proc tells; see uname(2).
fn host() -> String {
    let [node, system, release] = ["hostname", "ostype", "osrelease"].map(|name| {
        let text = std::fs::read_to_string(Path::new("/proc/sys/kernel").join(name));
        text.map_or_else(|_| "unknown".to_owned(), |text| text.trim_end().to_owned())
    });
    format!("{node}, {system} {release}")
}

/// Prints why nothing was copied at all, and what can be done.
fn tell_no_start(cause: &io::Error, engine: EngineKind) -> anyhow::Result<()> {
    let hint = remedy_of_a_copy_that_cannot_start(cause.kind(), engine);
    write_err(&format!("aiocp: cannot start the copy: {}\naiocp: hint: {hint}\n", reason(cause)))
}

/// What helps where nothing could be copied at all.
fn remedy_of_a_copy_that_cannot_start(kind: io::ErrorKind, engine: EngineKind) -> &'static str {
    match (engine, kind) {
        (EngineKind::Kernel, io::ErrorKind::WouldBlock) => {
            "raise it with sysctl fs.aio-max-nr, or leave out --engine=kernel"
        }
        (EngineKind::Kernel, _) => "without --engine=kernel, threads do its work",
        (_, io::ErrorKind::WouldBlock) => {
            "raise the limit of processes (ulimit -u) or of memory (ulimit -v)"
        }
        (_, io::ErrorKind::OutOfMemory) => "use a smaller --queue-depth or --block-size",
        _ => "--debug may say more",
    }
}
