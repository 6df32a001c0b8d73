//! The command `aiosum`.

use std::io::{self, BufWriter, IsTerminal, Read, Stdout, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};

use super::progress::Work;
use super::signals::end_on_signals;
use super::sum_args::SumArgs;
pub use super::sum_args::command;
use super::summary::{FEW_THREADS, count};
use super::watch::{Shown, Watch, Watched};
use super::{exit, usage};
use crate::copy::Filter;
use crate::digest::{Mode, Output};
use crate::error::{Error, SpecialKind, shown};
use crate::report::{Totals, Way};
use crate::sum::check::{Plan, Told, Verdict, check};
use crate::sum::line::{self, Style};
use crate::sum::list::{Wanted, list};
use crate::sum::{Algorithm, Function, check, list};

/// Parses the process's arguments, hashes or checks, and answers with the exit code. An error is
/// one that kept the run from beginning or ending; failures of files have been printed by then.
pub fn run() -> anyhow::Result<u8> {
    let (mut args, matches) = SumArgs::read();
    if let Some(shell) = args.completions {
        io::stdout()
            .write_all(&super::completions(&mut command(), shell))
            .context("cannot write to stdout")?;
        return Ok(exit::DONE);
    }
    if let Some(what) = args.conflict() {
        usage::refuse("aiosum", what, None);
    }
    if args.paths.is_empty() {
        args.paths.push("-".into());
    }
    crate::fs::raise_open_files_limit();
    if args.num_threads > 0 {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(args.num_threads.into());
        threads.build_global().context("cannot start threads")?;
    }
    let mode = mode(&args)?;
    let filter = match args.filter.read(&matches) {
        Ok(filter) => filter,
        Err(error) => {
            writeln!(io::stderr(), "aiosum: {error}").context("cannot write to stderr")?;
            return Ok(exit::FAILED);
        }
    };
    let paths = std::mem::take(&mut args.paths);
    let watched = Arc::new(Watched::new("aiosum", Work::Hash, Arc::default()));
    end_on_signals(&watched).context("cannot watch for signals")?;
    let shown = Shown::on_stderr(args.progress.progress);
    let watch = Watch::begin(&watched, shown, false).context("cannot watch the run")?;
    let printer = Printer {
        watched,
        is_terminal: io::stdout().is_terminal(),
        out: Mutex::new(BufWriter::new(io::stdout())),
        is_broken: AtomicBool::new(false),
        broken: Mutex::default(),
        failed: AtomicU64::new(0),
        counts: Mutex::default(),
        args,
    };
    let ran = match printer.args.check {
        true => run_check(&printer, paths, mode, filter),
        false => run_list(&printer, &paths, mode, filter),
    };
    // Whatever is said next does not meet the line of progress.
    watch.end()?;
    ran?;
    printer.warn_unprintable();
    if Totals::get(&printer.watched.totals.meter.missing_threads) > 0 {
        printer.say(FEW_THREADS);
    }
    printer.lock().flush().context("cannot write to stdout")?;
    if let Some(error) = printer.broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    Ok(if printer.failed.into_inner() == 0 { exit::DONE } else { exit::FAILED })
}

fn mode(args: &SumArgs) -> anyhow::Result<Mode> {
    if let Some(context) = &args.derive_key {
        return Ok(Mode::derive_key(context));
    }
    if !args.keyed {
        return Ok(Mode::Hash);
    }
    let mut key = Vec::new();
    io::stdin().take(33).read_to_end(&mut key).context("cannot read the key from stdin")?;
    match <[u8; 32]>::try_from(&key[..]) {
        Ok(key) => Ok(Mode::Keyed(key)),
        Err(_) if key.len() < 32 => {
            bail!("cannot read the key from stdin: it has {} bytes and not 32", key.len())
        }
        Err(_) => bail!("cannot read the key from stdin: it has more than 32 bytes"),
    }
}

fn run_list(
    printer: &Printer,
    paths: &[PathBuf],
    mode: Mode,
    filter: Filter,
) -> anyhow::Result<()> {
    let args = &printer.args;
    let algorithm = args.algorithm().unwrap_or(Algorithm::Blake3);
    let len_bytes =
        if algorithm == Algorithm::Blake3 { args.length } else { algorithm.hash_bytes() as u64 };
    let function = Function { algorithm, mode };
    let wanted =
        Wanted { function, seek_bytes: args.seek, len_bytes, filter, stdin_is_free: !args.keyed };
    list(paths, &wanted, &args.options(), printer, &printer.watched.totals).context("cannot hash")
}

fn run_check(
    printer: &Printer,
    manifests: Vec<PathBuf>,
    mode: Mode,
    filter: Filter,
) -> anyhow::Result<()> {
    let args = &printer.args;
    // A line of another algorithm would be checked without the key.
    let keyed = args.keyed || args.derive_key.is_some();
    let algorithm = args.algorithm().or(keyed.then_some(Algorithm::Blake3));
    let (zero, audit) = (args.zero, args.audit.clone());
    let plan = Plan { manifests, algorithm, mode, zero, audit, filter, stdin_is_free: !args.keyed };
    check(&plan, &args.options(), printer, &printer.watched.totals).context("cannot check")?;
    printer.print_summary();
    Ok(())
}

/// So many malformed lines are named before the first good one: beyond them it is hardly a
/// manifest.
const MALFORMED_NAMED: u64 = 100;

/// What a check counted.
#[derive(Default)]
struct Counts {
    checked: u64,
    differing: u64,
    unreadable: u64,
    malformed: u64,
    /// Of them those that were not named.
    unnamed: u64,
    missing: u64,
    unlisted: u64,
    /// Lines that were printed and lead nobody to their file.
    unprintable: u64,
}

/// Prints results, and counts failures.
struct Printer {
    args: SumArgs,
    watched: Arc<Watched>,
    is_terminal: bool,
    out: Mutex<BufWriter<Stdout>>,
    /// The first failure of printing, which ends the run with an error.
    broken: Mutex<Option<anyhow::Error>>,
    is_broken: AtomicBool,
    failed: AtomicU64,
    counts: Mutex<Counts>,
}

impl Printer {
    fn lock(&self) -> MutexGuard<'_, BufWriter<Stdout>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            self.is_broken.store(true, Ordering::Relaxed);
        }
    }

    /// Prints to stdout; a person sees each line at once.
    fn print(&self, print: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if !self.is_broken.load(Ordering::Relaxed) {
            let mut out = self.lock();
            let printed = self.watched.screen.around_out(|| {
                print(&mut *out).and_then(|()| if self.is_terminal { out.flush() } else { Ok(()) })
            });
            drop(out);
            self.keep(printed.context("cannot write to stdout"));
        }
    }

    fn say(&self, text: &str) {
        self.keep(self.watched.screen.err(&format!("aiosum: {text}\n")));
    }

    fn fail(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    fn print_error(&self, error: &Error) {
        self.fail();
        self.say(&error.to_string());
        if let Some(hint) = error.hint() {
            self.say(&format!("hint: {hint}"));
        }
    }

    fn print_way(&self, path: &Path, way: Way) {
        if self.args.debug {
            self.keep(self.watched.screen.err(&format!("{}: {way}\n", shown(path))));
        }
    }

    fn print_no_kernel_aio(&self, reason: &str) {
        if self.args.debug {
            self.say(&format!("kernel AIO: {reason}; threads do its work"));
        }
    }

    /// One line a name, whatever bytes it has.
    fn print_verdict(&self, name: &[u8], verdict: &str) {
        if !self.args.status {
            // Any other algorithm than BLAKE3, since the bytes are to be seen.
            let (name, escaped) = line::escape(name, Algorithm::Sha256);
            let line =
                [if escaped { &b"\\"[..] } else { b"" }, &name, b": ", verdict.as_bytes(), b"\n"]
                    .concat();
            self.print(|out| out.write_all(&line));
        }
    }

    fn print_checked(&self, counts: &mut Counts, name: &[u8], verdict: Verdict) {
        counts.checked += 1;
        match verdict {
            Verdict::Matches if self.args.quiet => return,
            Verdict::Matches => return self.print_verdict(name, "OK"),
            Verdict::Missing(_) if self.args.ignore_missing => {
                counts.checked -= 1;
                counts.missing += 1;
                return;
            }
            Verdict::Differs => {
                counts.differing += 1;
                self.print_verdict(name, "FAILED");
            }
            Verdict::Missing(error) | Verdict::Unreadable(error) => {
                counts.unreadable += 1;
                let reason = match error.offset_bytes {
                    Some(offset_bytes) => format!("at byte {offset_bytes}: {}", error.cause),
                    None => error.cause.to_string(),
                };
                self.print_verdict(name, &format!("FAILED ({reason})"));
            }
        }
        self.fail();
    }

    /// Lines that look as b3sum's do, and cannot be checked by anybody.
    fn warn_unprintable(&self) {
        let unprintable = self.lock_counts().unprintable;
        if unprintable > 0 {
            let names = count(unprintable, "name has", "names have");
            self.say(&format!(
                "WARNING: {names} bytes that b3sum does not print; --zero keeps them"
            ));
        }
    }

    /// What is to be known beside the lines, as cksum says it.
    fn print_summary(&self) {
        let counts = self.lock_counts();
        if self.args.ignore_missing && counts.missing > 0 && counts.checked == 0 {
            self.fail();
            self.say("cannot check: no file was there to be verified");
        }
        if self.args.status {
            return;
        }
        let warn = |count: u64, one: &str, many: &str| {
            if count > 0 {
                self.say(&format!("WARNING: {count} {}", if count == 1 { one } else { many }));
            }
        };
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
    }
}

impl list::Listener for Printer {
    fn hashed(&self, name: &[u8], output: &Output, seek_bytes: u64, len_bytes: u64) {
        let SumArgs { tag, zero, no_names, raw, .. } = self.args;
        let algorithm = self.args.algorithm().unwrap_or(Algorithm::Blake3);
        let wanted = (output, seek_bytes, len_bytes);
        if !raw && !no_names && line::is_unprintable(algorithm, zero, name) {
            self.lock_counts().unprintable += 1;
        }
        self.print(|out| match raw {
            true => line::write_raw(out, wanted),
            false => {
                line::write(out, Style { tag, zero, names: !no_names }, algorithm, name, wanted)
            }
        });
    }

    fn failed(&self, error: Error) {
        self.print_error(&error);
    }

    fn skipped(&self, path: &Path, kind: SpecialKind) {
        self.say(&format!(
            "skipped '{}': it is a {kind}, which has no contents to hash",
            shown(path)
        ));
    }

    fn way(&self, path: &Path, way: Way) {
        self.print_way(path, way);
    }

    fn no_kernel_aio(&self, reason: &str) {
        self.print_no_kernel_aio(reason);
    }

    fn is_gone(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }
}

impl check::Listener for Printer {
    fn told(&self, told: Told) {
        let mut counts = self.lock_counts();
        match told {
            Told::Checked(name, verdict) => self.print_checked(&mut counts, &name, verdict),
            Told::Malformed(manifest, number, reason) => {
                counts.malformed += 1;
                self.fail();
                let is_none_good = counts.checked + counts.missing == 0;
                if is_none_good && counts.malformed > MALFORMED_NAMED && !self.args.warn {
                    counts.unnamed += 1;
                } else if !self.args.status {
                    self.say(&format!(
                        "cannot read line {number} of '{}': {reason}",
                        shown(&manifest)
                    ));
                }
            }
            Told::Unread(error) | Told::Unlistable(error) => self.print_error(&error),
            Told::NoLines(manifest) => {
                self.fail();
                self.say(&format!(
                    "cannot check '{}': no line in it is properly formatted",
                    shown(&manifest)
                ));
            }
            Told::Unlisted(path) => {
                counts.unlisted += 1;
                self.fail();
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
        self.is_broken.load(Ordering::Relaxed)
    }
}
