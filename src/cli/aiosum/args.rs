//! The flags of `aiosum`: one table, from which help, man page and completions are made.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, ValueEnum};
use clap_complete::Shell;

use crate::cli::flags::abbreviations::abbreviated;
use crate::cli::flags::general::GeneralArgs;
use crate::cli::flags::seeing::{ProgressArgs, ShowProgress};
use crate::cli::flags::selection::{FilterArgs, MANY_ON_STDIN};
use crate::cli::flags::tuning::{DirectArg, block_size, number};
use crate::cli::flags::usage;
use crate::fs::is_stdin;
use crate::sum::Algorithm;
use crate::sum::hash::HashOptions;
use crate::sum::line::LineEnd;
use crate::sum::list::DIRECTORY_OUTPUT_BYTES_MAX;

/// Hash files and trees at the speed of the device, and check manifests.
///
/// It prints and reads the lines of b3sum, b2sum, sha512sum, sha256sum, sha1sum, md5sum, xxhsum and
/// others.
/// Directories are walked, and their files sorted by path. What is not in memory is read past the
/// page cache, many blocks at once.
#[derive(Debug, Parser)]
#[command(
    name = "aiosum",
    version = usage::VERSION,
    infer_long_args = true,
    disable_help_flag = true,
    disable_version_flag = true,
    next_help_heading = "Hashing",
    override_usage = "aiosum [OPTION]... [FILE|DIRECTORY]...\n       \
                      aiosum --check [OPTION]... [MANIFEST]...",
    after_long_help = "\
Examples:
  aiosum dataset > sums.b3
      Hash a tree
  aiosum --check sums.b3
      Check it; prints OK or FAILED for each file"
)]
pub struct SumArgs {
    /// What to hash, or the manifests to check (none, or "-": standard input)
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::AnyPath, help_heading = None::<&str>)]
    pub paths: Vec<PathBuf>,

    /// Change to DIRECTORY before doing anything
    ///
    /// Several are entered one after the other. All other paths start from there.
    #[arg(short = 'C', long, value_name = "DIRECTORY", value_hint = clap::ValueHint::DirPath)]
    pub directory: Vec<PathBuf>,

    /// Use NAME instead of BLAKE3
    ///
    /// In a check, lines of another are not accepted. The name is not abbreviated.
    // The beginning of one algorithm's name may be the name of another: sha3 is no sha384.
    #[arg(short, long, value_name = "NAME", value_enum)]
    pub algorithm: Option<AlgorithmArg>,

    /// Read hashes from the FILEs and check them
    #[arg(
        help_heading = "Checking",
        short,
        long,
        conflicts_with_all = ["length", "seek", "raw", "tag", "no_names"]
    )]
    pub check: bool,

    /// Also report files in DIRECTORY that no line names
    ///
    /// Also refuses lines whose names lead out of DIRECTORY.
    #[arg(
        help_heading = "Checking",
        long,
        value_name = "DIRECTORY",
        value_hint = clap::ValueHint::DirPath,
        requires = "check"
    )]
    pub audit: Option<PathBuf>,

    /// Print no OK for verified files, and no notes
    ///
    /// Without --check, only lines and errors are printed.
    #[arg(help_heading = "Output", short, long)]
    pub quiet: bool,

    /// No output; use the exit status
    #[arg(help_heading = "Checking", long, requires = "check")]
    pub status: bool,

    /// Skip files that do not exist
    #[arg(help_heading = "Checking", long, requires = "check")]
    pub ignore_missing: bool,

    /// Accepted for compatibility: malformed lines always fail
    #[arg(help_heading = "Checking", long, requires = "check")]
    pub strict: bool,

    /// Report every malformed line
    #[arg(help_heading = "Checking", short, long, requires = "check")]
    pub warn: bool,

    /// Print BSD-style lines: BLAKE3 (FILE) = HASH
    #[arg(help_heading = "Output", long)]
    pub tag: bool,

    /// End lines with NUL; do not escape names
    ///
    /// Nothing is escaped then.
    #[arg(help_heading = "Output", short, long)]
    pub zero: bool,

    /// Print hashes only, without names
    #[arg(help_heading = "Output", long)]
    pub no_names: bool,

    /// Print results and a summary as JSON lines on stdout
    #[arg(
        help_heading = "Output",
        long,
        conflicts_with_all = ["tag", "no_names", "raw", "status"]
    )]
    pub json: bool,

    /// Print the hash of one file as raw bytes
    #[arg(help_heading = "Output", long)]
    pub raw: bool,

    /// Hash length in bytes (BLAKE3: 32, BLAKE2b: 64)
    #[arg(short, long, value_name = "N")]
    pub length: Option<u64>,

    /// Offset of the first BLAKE3 output byte
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seek: u64,

    /// Read a 32-byte key from standard input
    ///
    /// This is BLAKE3's keyed mode.
    #[arg(long, requires = "paths")]
    pub keyed: bool,

    /// Use BLAKE3's key derivation mode
    #[arg(long, value_name = "CONTEXT", conflicts_with = "keyed")]
    pub derive_key: Option<String>,

    /// Number of threads that read and hash
    ///
    /// With 0, 32 read, and as many hash as there are cores.
    #[arg(
        help_heading = "Tuning",
        long,
        value_name = "N",
        default_value_t = 0,
        value_parser = |text: &str| number(text, 0..=1024)
    )]
    pub num_threads: u16,

    /// Accepted for compatibility: files are never memory-mapped
    #[arg(help_heading = "Tuning", long)]
    pub no_mmap: bool,

    /// Bypass the page cache with O_DIRECT: auto, always, never
    #[arg(
        help_heading = "Tuning",
        long,
        value_name = "WHEN",
        value_enum,
        value_parser = abbreviated::<DirectArg>(),
        hide_possible_values = true,
        default_value_t = DirectArg::Auto
    )]
    pub direct: DirectArg,

    /// Blocks in flight, 1 to 4096
    #[arg(
        help_heading = "Tuning",
        long,
        value_name = "N",
        default_value_t = 32,
        value_parser = |text: &str| number(text, 1..=4096)
    )]
    pub queue_depth: u16,

    /// Block size, a power of two from 4K to 64M
    #[arg(
        help_heading = "Tuning",
        long,
        value_name = "SIZE",
        default_value = "1MiB",
        value_parser = block_size
    )]
    pub block_size: u64,

    #[command(flatten)]
    pub progress: ProgressArgs,

    #[command(flatten)]
    pub filter: FilterArgs,

    /// Print for each file how it was read, and why
    ///
    /// Whether it was read directly or through the page cache.
    #[arg(long, help_heading = "Output")]
    pub debug: bool,

    /// Print a completion script for SHELL
    #[arg(
        long,
        value_name = "SHELL",
        value_enum,
        value_parser = abbreviated::<Shell>(),
        exclusive = true,
        help_heading = "General"
    )]
    pub completions: Option<Shell>,

    #[command(flatten)]
    pub general: GeneralArgs,
}

/// The values of `--algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AlgorithmArg {
    Blake3,
    Blake2b,
    Sha512,
    Sha384,
    Sha256,
    Sha224,
    Sha1,
    Md5,
    Xxh128,
}

/// What `-h` shows, by id. It fits a terminal of 80 columns and 24 lines.
const COMMON: [&str; 11] = [
    "check",
    "audit",
    "quiet",
    "ignore_missing",
    "directory",
    "algorithm",
    "tag",
    "zero",
    "exclude",
    "progress",
    "help",
];

impl SumArgs {
    /// Reads the process's command line. The process ends here if it makes no sense, or asks for
    /// `--help`.
    pub fn read() -> (Self, ArgMatches) {
        let words: Vec<_> = std::env::args_os().collect();
        let matches = usage::matches(&mut command(), &words, &COMMON);
        let args = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        (args, matches)
    }

    /// How to hash.
    pub fn options(&self) -> HashOptions {
        let threads = match self.num_threads {
            0 => HashOptions::default().threads,
            threads => threads.into(),
        };
        HashOptions {
            direct: self.direct.mode(),
            queue_depth: self.queue_depth.into(),
            block_bytes: self.block_size,
            threads,
            hashers: NonZeroUsize::new(self.num_threads.into()),
        }
    }

    /// When progress is shown. A run that is to be quiet shows it only if it was asked to.
    pub fn progress(&self) -> ShowProgress {
        match self.progress.progress {
            _ if self.status => ShowProgress::Never,
            ShowProgress::Auto if self.quiet => ShowProgress::Never,
            progress => progress,
        }
    }

    /// Whether only lines and errors are printed. A check has its verdicts and warnings for lines.
    pub fn is_without_notes(&self) -> bool {
        self.quiet && !self.check
    }

    /// The algorithm that was asked for.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm.map(|algorithm| match algorithm {
            AlgorithmArg::Blake3 => Algorithm::Blake3,
            AlgorithmArg::Blake2b => Algorithm::Blake2b,
            AlgorithmArg::Sha512 => Algorithm::Sha512,
            AlgorithmArg::Sha384 => Algorithm::Sha384,
            AlgorithmArg::Sha224 => Algorithm::Sha224,
            AlgorithmArg::Sha256 => Algorithm::Sha256,
            AlgorithmArg::Sha1 => Algorithm::Sha1,
            AlgorithmArg::Md5 => Algorithm::Md5,
            AlgorithmArg::Xxh128 => Algorithm::Xxh128,
        })
    }

    /// How lines end.
    pub fn line_end(&self) -> LineEnd {
        if self.zero { LineEnd::Nul } else { LineEnd::Newline }
    }

    /// Whether neither a key nor a list is read from standard input.
    pub fn stdin_is_free(&self) -> bool {
        !self.keyed && self.filter.lists_on_stdin() == 0
    }

    /// What makes no sense together, beyond what the table says.
    pub fn conflict(&self) -> Option<&'static str> {
        let algorithm = self.algorithm().unwrap_or(Algorithm::Blake3);
        let has_mode = self.keyed || self.derive_key.is_some();
        if algorithm != Algorithm::Blake3 && (has_mode || self.seek != 0) {
            return Some("--seek, --keyed and --derive-key are BLAKE3's");
        }
        match (algorithm, self.length) {
            (Algorithm::Blake3, _) | (Algorithm::Blake2b, Some(1..=64)) | (_, None) => {}
            (Algorithm::Blake2b, _) => return Some("--length of BLAKE2b is 1 to 64"),
            _ => return Some("--length is BLAKE3's and BLAKE2b's"),
        }
        if self.json && self.zero && !self.check {
            return Some("--json ends its lines with newlines; leave out --zero");
        }
        if self.json && self.length.is_some_and(|bytes| bytes > DIRECTORY_OUTPUT_BYTES_MAX) {
            return Some("--json is for outputs of at most 1048576 bytes");
        }
        let named = self.paths.iter().filter(|path| is_stdin(path)).count();
        if named + usize::from(self.keyed) + self.filter.lists_on_stdin() > 1 {
            return Some(MANY_ON_STDIN);
        }
        if self.raw && (self.paths.len() > 1 || self.paths.iter().any(|path| path.is_dir())) {
            return Some("--raw is for one file");
        }
        None
    }
}

/// The table of flags, from which man page and completions are made.
pub fn command() -> clap::Command {
    SumArgs::command()
}
