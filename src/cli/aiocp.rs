//! The command `aiocp`.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{CommandFactory, Parser, ValueEnum};
use clap_complete::Shell;
use rustix::fs::Mode;

use super::{exit, size};
use crate::copy::{self, Destination, Operands, Options, Target};
use crate::error::{Error, shown};
use crate::report::{Copied, Event, Sink, Totals};
use crate::sum::Manifest;

/// Copy files and trees at the speed of the device, durable when it is done.
///
/// Directories are copied whole. Modes, times (in nanoseconds), symbolic links and holes are kept. A file appears under its
/// name only when it is complete, and exit code 0 means that data and names are on the device.
#[derive(Debug, Parser)]
#[command(
    name = "aiocp",
    version,
    override_usage = "aiocp [OPTION]... SOURCE DEST\n       aiocp [OPTION]... SOURCE... DIRECTORY\n       aiocp [OPTION]... -t DIRECTORY SOURCE..."
)]
pub struct Args {
    /// What to copy, and last where to
    #[arg(value_name = "SOURCE", value_hint = clap::ValueHint::AnyPath)]
    paths: Vec<PathBuf>,

    /// Copy all SOURCEs into DIRECTORY
    #[arg(short = 't', long, value_name = "DIRECTORY", value_hint = clap::ValueHint::DirPath, conflicts_with = "no_target_directory")]
    target_directory: Option<PathBuf>,

    /// Take DEST as the copy's own name, also if it is a directory
    #[arg(short = 'T', long)]
    no_target_directory: bool,

    /// Accepted for cp's sake: directories are always copied whole
    #[arg(short = 'r', visible_short_alias = 'R', long, overrides_with = "recursive")]
    recursive: bool,

    /// Print each file when it is done
    #[arg(short, long)]
    verbose: bool,

    /// Write one b3sum line a file, sorted by path and relative to DEST ("-": stdout)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    manifest: Option<PathBuf>,

    /// Do not wait until data and names are on the device
    #[arg(long)]
    no_sync: bool,

    /// What becomes of zeros: auto keeps holes, always makes them, never fills them
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Sparse::Auto)]
    sparse: Sparse,

    /// Whether to go past the page cache with O_DIRECT
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Direct::Auto)]
    direct: Direct,

    /// Blocks in flight, 1 to 4096
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=4096))]
    queue_depth: u16,

    /// Bytes a block, a power of two from 4K to 64M
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = block_size)]
    block_size: u64,

    /// Workers, 1 to 1024
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,

    /// Print a line a file: direct or buffered, and why
    #[arg(long)]
    debug: bool,

    /// Print what was done in the end
    #[arg(long)]
    stats: bool,

    /// Print the completion script for a shell
    #[arg(long, value_name = "SHELL", value_enum, exclusive = true)]
    completions: Option<Shell>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Sparse {
    Auto,
    Always,
    Never,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Direct {
    Auto,
    Always,
    Never,
}

const BLOCK_BYTES_MAX: u64 = 64 << 20;

fn block_size(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        bytes if bytes.is_power_of_two() && (4096..=BLOCK_BYTES_MAX).contains(&bytes) => Ok(bytes),
        _ => Err("it is not a power of two from 4K to 64M".to_owned()),
    }
}

impl Args {
    fn options(&self) -> Options {
        Options {
            direct: match self.direct {
                Direct::Auto => copy::Direct::Auto,
                Direct::Always => copy::Direct::Always,
                Direct::Never => copy::Direct::Never,
            },
            sparse: match self.sparse {
                Sparse::Auto => copy::Sparse::Auto,
                Sparse::Always => copy::Sparse::Always,
                Sparse::Never => copy::Sparse::Never,
            },
            hash: self.manifest.is_some(),
            sync: !self.no_sync,
            queue_depth: self.queue_depth.into(),
            block_bytes: self.block_size,
            threads: self.threads.into(),
        }
    }

    /// Sources and destination, or what is missing.
    fn operands(&self) -> Result<(&[PathBuf], Destination), String> {
        match (&self.target_directory, self.paths.as_slice()) {
            (_, []) => Err("a SOURCE is missing".to_owned()),
            (Some(directory), sources) => Ok((sources, Destination::Directory(directory.clone()))),
            (None, [source]) => Err(format!("a destination is missing after '{}'", shown(source))),
            (None, [sources @ .., last]) if self.no_target_directory => match sources {
                [_] => Ok((sources, Destination::Exact(last.clone()))),
                _ => Err(format!("'{}' is one operand too many for -T", shown(last))),
            },
            (None, [sources @ .., last]) => Ok((sources, Destination::Either(last.clone()))),
        }
    }
}

/// The command line as clap knows it: what help, man page and completions are made from.
pub fn command() -> clap::Command {
    Args::command()
}

/// Parses the process's arguments, copies, and answers with the exit code. An error is one that kept the run from
/// beginning or ending; failures of files have been printed by then.
pub fn run() -> anyhow::Result<u8> {
    let args = Args::parse();
    if let Some(shell) = args.completions {
        io::stdout().write_all(&super::completions(&mut command(), shell)).context("cannot write to stdout")?;
        return Ok(exit::DONE);
    }
    let (sources, destination) = match args.operands() {
        Ok(operands) => operands,
        Err(what) => command().error(clap::error::ErrorKind::MissingRequiredArgument, what).exit(),
    };
    if args.verbose && args.manifest.as_deref() == Some(Path::new("-")) {
        let what = "--verbose and --manifest=- would both write to stdout";
        command().error(clap::error::ErrorKind::ArgumentConflict, what).exit();
    }
    crate::sys::fs::raise_open_files_limit();
    let begun = Instant::now();
    let (Destination::Either(place) | Destination::Directory(place) | Destination::Exact(place)) = &destination;
    let manifest = match args.manifest.as_deref().map(|path| ManifestFile::check(path, place)).transpose() {
        Ok(manifest) => manifest,
        Err(error) => {
            print_error(&error).context("cannot write to stderr")?;
            return Ok(exit::FAILED);
        }
    };
    let printer = Printer {
        verbose: args.verbose,
        debug: args.debug,
        manifest: manifest.map(|file| (file, Mutex::default())),
        broken: Mutex::default(),
    };
    let totals = Totals::default();
    match Operands::resolve(sources, &destination) {
        Ok((operands, errors)) => {
            for error in errors {
                Totals::add(&totals.failed, 1);
                printer.event(Event::Failed(error));
            }
            copy::copy(&operands, &args.options(), &printer, &totals).context("cannot start the copy")?;
        }
        Err(error) => {
            printer.event(Event::Failed(error));
            return Ok(exit::FAILED);
        }
    }
    if let Some(error) = printer.broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    if let Some((file, lines)) = printer.manifest
        && let Err(error) = file.write(lines.into_inner().unwrap_or_else(PoisonError::into_inner), !args.no_sync)
    {
        print_error(&error).context("cannot write to stderr")?;
        return Ok(exit::FAILED);
    }
    if args.stats {
        print_stats(&totals, begun).context("cannot write to stdout")?;
    }
    match Totals::get(&totals.failed) {
        0 => Ok(exit::DONE),
        failed => {
            let failures = if failed == 1 { "failure" } else { "failures" };
            let copied = match Totals::get(&totals.files) {
                1 => "1 file was copied".to_owned(),
                files => format!("{files} files were copied"),
            };
            bail!("{failed} {failures}, named above; {copied}")
        }
    }
}

fn print_stats(totals: &Totals, begun: Instant) -> io::Result<()> {
    let seconds = begun.elapsed().as_secs_f64();
    let (files, written) = (Totals::get(&totals.files), Totals::get(&totals.written_bytes));
    writeln!(
        io::stdout(),
        "{files} files ({} direct), {} directories, {} links, {written} bytes written, {} bytes of holes, \
         {seconds:.2} s, {:.1} MB/s",
        Totals::get(&totals.direct_files),
        Totals::get(&totals.directories),
        Totals::get(&totals.links),
        Totals::get(&totals.hole_bytes),
        written as f64 / 1e6 / seconds,
    )
}

/// Prints events, and collects the manifest.
struct Printer {
    verbose: bool,
    debug: bool,
    manifest: Option<(ManifestFile, Mutex<Manifest>)>,
    /// The first failure of printing or collecting, which ends the run with an error.
    broken: Mutex<Option<anyhow::Error>>,
}

impl Printer {
    fn copied(&self, file: Copied) -> anyhow::Result<()> {
        if self.debug {
            writeln!(io::stderr(), "{}: {}", shown(&file.target), file.road).context("cannot write to stderr")?;
        }
        if self.verbose {
            writeln!(io::stdout(), "'{}' -> '{}'", shown(&file.source), shown(&file.target))
                .context("cannot write to stdout")?;
        }
        if let (Some((place, manifest)), Some(hash)) = (&self.manifest, file.hash) {
            for path in [&file.source, &file.target] {
                let there = place.is_at(path);
                if there.with_context(|| format!("cannot compare the manifest's place with '{}'", shown(path)))? {
                    bail!("the manifest would overwrite '{}', and is not written", shown(path));
                }
            }
            let mut manifest = manifest.lock().unwrap_or_else(PoisonError::into_inner);
            manifest.push(file.relative, hash).context("cannot write a temporary file of the manifest")?;
        }
        Ok(())
    }
}

impl Sink for Printer {
    fn event(&self, event: Event) {
        let result = match event {
            Event::Copied(file) => self.copied(file),
            Event::Failed(error) => print_error(&error).context("cannot write to stderr"),
            Event::NoKernelAio(reason) if self.debug => {
                writeln!(io::stderr(), "kernel AIO: {reason}; threads do its work").context("cannot write to stderr")
            }
            Event::NoKernelAio(_) => Ok(()),
        };
        if let Err(error) = result {
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
    }

    fn wants_files(&self) -> bool {
        self.debug || self.verbose || self.manifest.is_some()
    }
}

/// One line, and a second one where something can be done about it.
fn print_error(error: &Error) -> io::Result<()> {
    let mut text = format!("aiocp: {error}\n");
    if let Some(hint) = error.hint() {
        text += &format!("aiocp: hint: {hint}\n");
    }
    io::stderr().write_all(text.as_bytes())
}

/// Where the manifest goes when the copy is over.
struct ManifestFile {
    /// None for stdout.
    path: Option<PathBuf>,
}

impl ManifestFile {
    /// Refuses before anything is copied what could not be written after it. The folder may be one that the copy makes.
    fn check(path: &Path, destination: &Path) -> Result<Self, Error> {
        if path.as_os_str().as_bytes() == b"-" {
            return Ok(Self { path: None });
        }
        let refuse = |errno| Err(Error::new("write", path, io::Error::from_raw_os_error(errno)));
        if path.is_dir() || path.file_name().is_none() {
            return refuse(libc::EISDIR);
        }
        if !folder_of(path).is_dir() && !path.starts_with(destination) {
            return refuse(libc::ENOENT);
        }
        Ok(Self { path: Some(path.to_owned()) })
    }

    /// Whether `file`, a path of the copy, is where the manifest would go. A folder that cannot be resolved is an error, since
    /// the answer "no" could cost a file.
    fn is_at(&self, file: &Path) -> io::Result<bool> {
        let Some(path) = self.path.as_deref().filter(|path| path.file_name() == file.file_name()) else {
            return Ok(false);
        };
        match folder_of(path).canonicalize() {
            Ok(folder) => Ok(folder == folder_of(file).canonicalize()?),
            // The file's folder is there, so that one that is not there is another.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write(&self, lines: Manifest, sync: bool) -> Result<(), Error> {
        match &self.path {
            None => {
                let mut out = io::BufWriter::new(io::stdout().lock());
                let written = lines.write(&mut out).and_then(|()| out.flush());
                written.map_err(|cause| Error::new("write the manifest to", "stdout", cause))
            }
            Some(path) => write_file(path, lines, sync).map_err(|cause| Error::new("write", path, cause)),
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Writes the lines to a file that appears whole, like the files that were copied.
fn write_file(path: &Path, lines: Manifest, sync: bool) -> io::Result<()> {
    let folder = std::fs::File::open(folder_of(path))?;
    let name = path.file_name().ok_or_else(|| io::Error::from_raw_os_error(libc::EISDIR))?;
    let target = Target::create(&folder)?;
    let fill = || {
        let file = std::fs::File::from(target.file().try_clone()?);
        let mut out = io::BufWriter::new(&file);
        lines.write(&mut out)?;
        out.flush()?;
        drop(out);
        // What open(2) would have given a new file. No other thread is left that could make one meanwhile.
        let mask = rustix::process::umask(Mode::empty());
        rustix::process::umask(mask);
        rustix::fs::fchmod(&file, Mode::from_raw_mode(0o666) - mask)?;
        if sync { file.sync_all() } else { Ok(()) }
    };
    if let Err(error) = fill() {
        target.discard(&folder)?;
        return Err(error);
    }
    target.publish(&folder, name, true)?;
    if sync { folder.sync_all() } else { Ok(()) }
}
