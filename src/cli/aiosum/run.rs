//! A run of `aiosum`, from the command line to the exit code.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::ArgMatches;

use super::args::{SumArgs, command};
use super::printer::SumPrinter;
use crate::cli::exit;
use crate::cli::flags::usage;
use crate::cli::screen::progress::RunKind;
use crate::cli::screen::signals::end_on_signals;
use crate::cli::screen::terminal::{write_err, write_out};
use crate::cli::screen::watch::{Sampling, Shown, Watched, Watcher, is_typed};
use crate::copy::Filter;
use crate::digest::Mode;
use crate::error::{Error, Operation};
use crate::fs::{self, FileId};
use crate::sum::check::{CheckPlan, check};
use crate::sum::list::{ListPlan, list};
use crate::sum::not_lines::NotLines;
use crate::sum::{Algorithm, Function};

/// What a command that names no file waits for, on a terminal where nothing else shows it.
const WAITS_FOR_DATA: &str =
    "aiosum: hint: reading standard input; ^D ends it, 'aiosum FILE' hashes a file\n";
const WAITS_FOR_LINES: &str =
    "aiosum: hint: reading standard input; ^D ends it, 'aiosum -c FILE' reads a file\n";

/// Parses the process's arguments, hashes or checks, and answers with the exit code. An error is
/// one that kept the run from beginning or ending; failures of files have been printed by then.
pub fn run() -> anyhow::Result<u8> {
    let (args, matches) = SumArgs::read();
    if let Some(shell) = args.completions {
        write_out(crate::cli::completions(&mut command(), shell))?;
        return Ok(exit::DONE);
    }
    let is_silent = args.status;
    match hash_or_check(args, &matches) {
        // With --status, the exit code alone says it.
        Err(_) if is_silent => Ok(exit::FAILED),
        ended => ended,
    }
}

fn hash_or_check(mut args: SumArgs, matches: &ArgMatches) -> anyhow::Result<u8> {
    change_directory(&args.directory)?;
    let names_nothing = args.paths.is_empty();
    if names_nothing {
        args.paths.push("-".into());
    }
    if let Some(what) = args.conflict() {
        usage::refuse("aiosum", what, None);
    }
    crate::fs::raise_open_files_limit();
    let mode = mode(&args)?;
    let filter = args.filter.read(matches)?;
    let paths = std::mem::take(&mut args.paths);
    let watched = Arc::new(Watched::new("aiosum", RunKind::Hash, Arc::default()));
    end_on_signals(&watched).context("cannot watch for signals")?;
    if names_nothing && is_typed(&paths) && !args.quiet && !args.status {
        write_err(if args.check { WAITS_FOR_LINES } else { WAITS_FOR_DATA })?;
    }
    let shown = Shown::on_stderr(args.progress()).unless_typed(&paths);
    let watcher = Watcher::begin(&watched, shown, Sampling::Off).context("cannot watch the run")?;
    let printer = SumPrinter::new(args, watched);
    let ran = match printer.args.check {
        true => run_check(&printer, paths, mode, filter),
        false => run_list(&printer, &paths, mode, filter),
    };
    // The line of progress goes before anything else is printed.
    let (_, shown) = watcher.end();
    ran?;
    let is_done = printer.end()?;
    shown?;
    Ok(if is_done { exit::DONE } else { exit::FAILED })
}

/// Enters these directories, each from the one before it.
fn change_directory(directories: &[PathBuf]) -> Result<(), Error> {
    directories.iter().try_for_each(|directory| {
        let changed = std::env::set_current_dir(directory);
        changed.map_err(|cause| Error::new(Operation::ChangeTo, directory, cause))
    })
}

fn mode(args: &SumArgs) -> anyhow::Result<Mode> {
    if let Some(context) = &args.derive_key {
        return Ok(Mode::derive_key(context));
    }
    if !args.keyed {
        return Ok(Mode::Hash);
    }
    let mut key = Vec::new();
    fs::stdin()
        .and_then(|stdin| stdin.take(33).read_to_end(&mut key))
        .context("cannot read the key from stdin")?;
    match <[u8; 32]>::try_from(&key[..]) {
        Ok(key) => Ok(Mode::Keyed(key)),
        Err(_) if key.len() < 32 => {
            bail!("cannot read the key from stdin: it has {} bytes and not 32", key.len())
        }
        Err(_) => bail!("cannot read the key from stdin: it has more than 32 bytes"),
    }
}

fn run_list(
    printer: &SumPrinter,
    paths: &[PathBuf],
    mode: Mode,
    filter: Filter,
) -> anyhow::Result<()> {
    let args = &printer.args;
    let algorithm = args.algorithm().unwrap_or(Algorithm::Blake3);
    let len_bytes = args.length.unwrap_or(algorithm.hash_bytes() as u64);
    let hash_bytes = usize::try_from(len_bytes).unwrap_or(usize::MAX);
    let function = Function { algorithm, hash_bytes, mode };
    let plan = ListPlan {
        function,
        seek_bytes: args.seek,
        len_bytes,
        filter,
        output: fs::stdout_file().map(|stat| FileId::of(&stat)),
        stdin_is_free: args.stdin_is_free(),
    };
    list(paths, &plan, &args.options(), printer, &printer.watched.totals)?;
    Ok(())
}

fn run_check(
    printer: &SumPrinter,
    manifests: Vec<PathBuf>,
    mode: Mode,
    filter: Filter,
) -> anyhow::Result<()> {
    let args = &printer.args;
    // A line of another algorithm would be checked without the key.
    let keyed = args.keyed || args.derive_key.is_some();
    let algorithm = args.algorithm().or(keyed.then_some(Algorithm::Blake3));
    let plan = CheckPlan {
        manifests,
        algorithm,
        mode,
        line_end: args.line_end(),
        audit: args.audit.clone(),
        filter,
        stdin_is_free: args.stdin_is_free(),
        not_lines: if args.warn { NotLines::Told } else { NotLines::HeldBack },
    };
    check(&plan, &args.options(), printer, &printer.watched.totals)?;
    printer.print_summary();
    Ok(())
}
