//! The flags of `aiocp`: one table, from which help, man page and completions are made.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, Parser};
use clap_complete::Shell;

use super::values::{EngineArg, ReflinkArg, SparseArg};
use super::words::with_destination;
use crate::cli::flags::abbreviations::abbreviated;
use crate::cli::flags::existing::ExistingArgs;
use crate::cli::flags::general::GeneralArgs;
use crate::cli::flags::order::last_of;
use crate::cli::flags::preserve::{self, Attribute};
use crate::cli::flags::seeing::SeeingArgs;
use crate::cli::flags::selection::{MANY_ON_STDIN, Selection, SelectionArgs};
use crate::cli::flags::tuning::{DirectArg, block_size, number};
use crate::cli::flags::{size, usage};
use crate::copy::{Action, Destination, EngineKind, Follow, Options};
use crate::error::{quoted, shown};

/// Copy files and trees at the speed of the device, durable when it is done.
///
/// Directories are copied whole. Modes with ACLs, times (in nanoseconds), symbolic links, hard
/// links and holes are kept. A file appears under its name only when it is complete, and exit code
/// 0 means that data and names are on the device.
#[derive(Debug, Parser)]
#[command(
    name = "aiocp",
    version = usage::VERSION,
    args_override_self = true,
    infer_long_args = true,
    disable_help_flag = true,
    disable_version_flag = true,
    next_help_heading = "Copying",
    override_usage = "aiocp [OPTION]... SOURCE DEST\n       \
                      aiocp [OPTION]... SOURCE... DIRECTORY\n       \
                      aiocp [OPTION]... -t DIRECTORY SOURCE...",
    after_long_help = "\
Examples:
  aiocp -a /srv /mnt/backup
      Copy a tree with all metadata, to /mnt/backup/srv
  aiocp --resume --verify -T data /mnt/data
      Read each copy back; after an interruption, the same command continues"
)]
pub struct Args {
    /// What to copy, and last where to
    #[arg(
        value_name = "SOURCE",
        value_hint = clap::ValueHint::AnyPath,
        value_parser = operand(),
        help_heading = None::<&str>
    )]
    pub paths: Vec<PathBuf>,

    /// Copy all SOURCEs into DIRECTORY
    #[arg(
        short = 't',
        long,
        value_name = "DIRECTORY",
        value_hint = clap::ValueHint::DirPath,
        conflicts_with = "no_target_directory"
    )]
    pub target_directory: Option<PathBuf>,

    /// Treat DEST as the copy's name, merge trees
    ///
    /// Without it, a DEST that is a directory gets the copy inside it.
    #[arg(short = 'T', long)]
    pub no_target_directory: bool,

    /// Accepted: directories are always recursive
    #[arg(short = 'r', short_alias = 'R', long)]
    pub recursive: bool,

    /// Preserve mode, times, owner and group
    ///
    /// The same as --preserve=mode,ownership,timestamps.
    #[arg(short = 'p', id = "preserve_default", help_heading = "Attributes")]
    pub preserve_default: bool,

    /// Preserve all: owners, xattrs, devices too
    ///
    /// Owners, extended attributes, ACLs and capabilities too, and FIFOs, sockets and devices as
    /// what they are.
    #[arg(short, long, help_heading = "Attributes")]
    pub archive: bool,

    /// Preserve mode, ownership, timestamps, links, context, xattr or all
    #[arg(
        long,
        help_heading = "Attributes",
        value_name = "LIST",
        value_enum,
        value_parser = abbreviated::<Attribute>(),
        hide_possible_values = true,
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_values = ["mode", "ownership", "timestamps"]
    )]
    pub preserve: Vec<Attribute>,

    /// Do not preserve these attributes
    #[arg(
        long,
        help_heading = "Attributes",
        value_name = "LIST",
        value_enum,
        value_parser = abbreviated::<Attribute>(),
        value_delimiter = ',',
        hide_possible_values = true
    )]
    pub no_preserve: Vec<Attribute>,

    /// Recreate SOURCE's leading directories under DIRECTORY
    #[arg(long, conflicts_with = "no_target_directory")]
    pub parents: bool,

    /// Remove trailing slashes from each SOURCE
    #[arg(long)]
    pub strip_trailing_slashes: bool,

    /// Follow all symbolic links in SOURCE
    #[arg(short = 'L', long, help_heading = "Symbolic links")]
    pub dereference: bool,

    /// Copy symbolic links as links, even as SOURCE (default)
    #[arg(short = 'P', long, help_heading = "Symbolic links")]
    pub no_dereference: bool,

    /// Follow symbolic links given as SOURCE
    #[arg(short = 'H', help_heading = "Symbolic links")]
    pub dereference_operands: bool,

    /// Same as -P --preserve=links
    #[arg(short = 'd', help_heading = "Symbolic links")]
    pub no_dereference_links: bool,

    /// Stay on each SOURCE's filesystem
    #[arg(short = 'x', long)]
    pub one_file_system: bool,

    /// Hard link files instead of copying
    #[arg(short = 'l', long)]
    pub link: bool,

    /// Make symbolic links instead of copying
    #[arg(short = 's', long, conflicts_with = "link")]
    pub symbolic_link: bool,

    /// Copy attributes only, no data
    #[arg(long)]
    pub attributes_only: bool,

    /// Do not wait for the device
    ///
    /// Without it exit code 0 means that data and names are on the device.
    #[arg(long, help_heading = "Data")]
    pub no_sync: bool,

    /// Holes: auto keeps them, always turns zeros into them, never fills them
    #[arg(
        long,
        help_heading = "Data",
        value_name = "WHEN",
        value_enum,
        value_parser = abbreviated::<SparseArg>(),
        hide_possible_values = true,
        default_value_t = SparseArg::Auto
    )]
    pub sparse: SparseArg,

    /// Clone files: auto, always, never
    ///
    /// A clone shares the data of its source.
    /// Without WHEN: always.
    #[arg(
        long,
        help_heading = "Data",
        value_name = "WHEN",
        value_enum,
        value_parser = abbreviated::<ReflinkArg>(),
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = ReflinkArg::Auto,
        default_missing_value = "always"
    )]
    pub reflink: ReflinkArg,

    #[command(flatten)]
    pub existing: ExistingArgs,

    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Write BLAKE3 hashes to FILE ("-": stdout)
    ///
    /// One b3sum line a file, sorted by path and relative to DEST.
    #[arg(
        long,
        value_name = "FILE",
        value_hint = clap::ValueHint::FilePath,
        help_heading = "Verification",
        conflicts_with_all = ["link", "symbolic_link", "attributes_only"]
    )]
    pub manifest: Option<PathBuf>,

    /// Read each copy back from the device
    ///
    /// Before it gets its name; what differs is written again.
    #[arg(
        long,
        help_heading = "Verification",
        group = "verification",
        conflicts_with_all = ["no_sync", "link", "symbolic_link", "attributes_only"]
    )]
    pub verify: bool,

    /// Continue an interrupted --resume copy
    ///
    /// It keeps a journal in case it is interrupted itself.
    #[arg(
        long,
        help_heading = "Copying",
        conflicts_with_all = [
            "no_sync",
            "link",
            "symbolic_link",
            "attributes_only",
            "verify_only",
            "dry_run"
        ]
    )]
    pub resume: bool,

    /// Compare DEST with SOURCE, and copy nothing
    ///
    /// Both are read from their devices.
    #[arg(
        long,
        help_heading = "Verification",
        group = "verification",
        conflicts_with_all = [
            "no_sync",
            "link",
            "symbolic_link",
            "attributes_only",
            "manifest",
            "ExistingArgs"
        ]
    )]
    pub verify_only: bool,

    /// Rewrite blocks that differ; with --verify-only also copy what is missing
    #[arg(long, help_heading = "Verification", requires = "verification")]
    pub repair: bool,

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

    /// I/O engine for big files [default: kernel, else threads]
    #[arg(
        help_heading = "Tuning",
        long,
        value_name = "ENGINE",
        value_enum,
        value_parser = abbreviated::<EngineArg>()
    )]
    pub engine: Option<EngineArg>,

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

    /// Worker threads, 1 to 1024
    #[arg(
        help_heading = "Tuning",
        long,
        value_name = "N",
        default_value_t = 32,
        value_parser = |text: &str| number(text, 1..=1024)
    )]
    pub threads: u16,

    /// Limit reading to RATE per second, in KiB without a unit; 0: no limit
    ///
    /// As in rsync. It holds for what is read of sources and for what is read back, together.
    #[arg(
        help_heading = "Tuning",
        long,
        value_name = "RATE",
        default_value = "0",
        value_parser = size::parse_rate
    )]
    pub bwlimit: u64,

    /// With --resume, bytes of a big file that may be copied twice
    #[arg(
        help_heading = "Tuning",
        long,
        value_name = "SIZE",
        default_value = "256MiB",
        value_parser = size::parse
    )]
    pub journal_interval: u64,

    #[command(flatten)]
    pub seeing: SeeingArgs,

    /// Print a completion script for bash, zsh, fish, elvish or powershell
    #[arg(
        long,
        value_name = "SHELL",
        value_enum,
        value_parser = abbreviated::<Shell>(),
        exclusive = true,
        hide_possible_values = true,
        help_heading = "General"
    )]
    pub completions: Option<Shell>,

    /// Ignore the file of options that AIOCP_CONFIG_PATH names
    #[arg(long, help_heading = "General")]
    pub no_config: bool,

    #[command(flatten)]
    pub general: GeneralArgs,
}

/// Reads any path. An empty one is refused later, like any other that is not there.
fn operand() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

impl Args {
    /// The options, or what makes no sense about them. The selection comes from files that may be
    /// missing, which is another matter.
    pub fn options(&self, matches: &ArgMatches, selection: Selection) -> Result<Options, String> {
        Ok(Options {
            existing: self.existing.read(matches)?,
            action: self.action(),
            follow: follow(matches),
            one_file_system: self.one_file_system,
            parents: self.parents,
            filter: selection.filter,
            list: selection.list,
            direct: self.direct.mode(),
            sparse: self.sparse.into(),
            reflink: self.reflink.into(),
            preserve: preserve::preserve(matches),
            hash: self.manifest.is_some() || self.resume,
            sync: !self.no_sync,
            dry_run: self.seeing.dry_run,
            verify: self.verify,
            repair: self.repair,
            engine: self.engine.map_or(EngineKind::Auto, EngineKind::from),
            queue_depth: self.queue_depth.into(),
            block_bytes: self.block_size,
            threads: self.threads(matches),
            rate_bytes_per_s: NonZeroU64::new(self.bwlimit),
            resume: self.resume,
            journal_interval_bytes: self.journal_interval,
            stop: Arc::default(),
        })
    }

    /// Answers that no person types may have been prepared in the order in which cp asks, which one
    /// worker keeps.
    fn threads(&self, matches: &ArgMatches) -> usize {
        let is_given = matches.value_source("threads") == Some(ValueSource::CommandLine);
        match self.existing.asks(matches) && !is_given && !io::stdin().is_terminal() {
            true => 1,
            false => self.threads.into(),
        }
    }

    fn action(&self) -> Action {
        match () {
            () if self.verify_only => Action::Compare,
            () if self.link => Action::HardLink,
            () if self.symbolic_link => Action::SymbolicLink,
            () if self.attributes_only => Action::Attributes,
            () => Action::Copy,
        }
    }

    /// What makes no sense together, beyond what clap knows of.
    pub fn check(&self, matches: &ArgMatches, sources: usize) -> Result<(), &'static str> {
        let readers = self.selection.lists_on_stdin() + usize::from(self.existing.asks(matches));
        if readers > 1 {
            return Err(MANY_ON_STDIN);
        }
        // A clone has the holes of its source, neither more nor fewer.
        if let (ReflinkArg::Always, SparseArg::Always | SparseArg::Never) =
            (self.reflink, self.sparse)
        {
            return Err("--reflink=always goes with --sparse=auto alone");
        }
        if self.seeing.failed_list.is_some() && sources > 1 {
            return Err("--failed-list goes with one SOURCE, since --files-from does");
        }
        self.seeing.check(self.manifest.as_deref())
    }

    /// Sources and destination, or what is missing.
    pub fn operands(&self) -> Result<(Vec<PathBuf>, Destination), String> {
        let (sources, destination) = self.named()?;
        if let [_, second, ..] = sources
            && self.selection.has_list()
        {
            return Err(format!("{} is one SOURCE too many for --files-from", quoted(second)));
        }
        let strip = |path: &PathBuf| {
            if self.strip_trailing_slashes { without_slashes(path) } else { path.clone() }
        };
        Ok((sources.iter().map(strip).collect(), destination))
    }

    /// What helps where an operand is missing.
    pub fn missing_operand(&self) -> Option<String> {
        let has_source = self.paths.len() == 1 && self.target_directory.is_none();
        let example = || format!("the destination comes last, as in: {}", with_destination());
        self.swallowed().or_else(|| has_source.then(example))
    }

    /// Where a missing operand may have gone: a flag took it for its value.
    fn swallowed(&self) -> Option<String> {
        let words: Vec<_> = std::env::args_os().collect();
        let flags = ["--manifest", "--log-file", "--failed-list", "--report"];
        let takes = |pair: &&[OsString]| flags.iter().any(|flag| pair[0] == *flag);
        let taken = words.windows(2).find(takes);
        if let Some([flag, file]) = taken {
            return Some(format!("{} took {} as its FILE", shown(flag), quoted(file)));
        }
        match (&self.target_directory, self.existing.suffix()) {
            _ if self.paths.len() > 1 => None,
            (Some(directory), _) => Some(format!(
                "-t took {} as the DIRECTORY; each SOURCE follows it",
                quoted(directory)
            )),
            (None, Some(suffix)) => Some(format!(
                "-S took {} as the SUFFIX of backups; holes are kept without it",
                quoted(suffix)
            )),
            (None, None) => None,
        }
    }

    fn named(&self) -> Result<(&[PathBuf], Destination), String> {
        match (&self.target_directory, self.paths.as_slice()) {
            (_, []) => Err("a SOURCE is missing".to_owned()),
            (Some(directory), sources) => Ok((sources, Destination::Directory(directory.clone()))),
            (None, [source]) => Err(format!("a destination is missing after {}", quoted(source))),
            (None, [sources @ .., last]) if self.no_target_directory => match sources {
                [_] => Ok((sources, Destination::Exact(last.clone()))),
                _ => Err(format!("{} is one operand too many for -T", quoted(last))),
            },
            (None, [sources @ .., last]) => Ok((sources, Destination::Either(last.clone()))),
        }
    }
}

fn without_slashes(path: &Path) -> PathBuf {
    let bytes = path.as_os_str().as_bytes();
    let end =
        bytes.iter().rposition(|&byte| byte != b'/').map_or(1.min(bytes.len()), |last| last + 1);
    PathBuf::from(OsStr::from_bytes(&bytes[..end]))
}

/// Which links are followed: the last of these flags counts.
fn follow(matches: &ArgMatches) -> Follow {
    let flags = [
        "dereference",
        "no_dereference",
        "dereference_operands",
        "no_dereference_links",
        "archive",
    ];
    match last_of(matches, &flags) {
        Some("dereference") => Follow::Always,
        Some("dereference_operands") => Follow::Operands,
        _ => Follow::Never,
    }
}

/// The command line as clap knows it: what help, man page and completions are made from.
pub fn command() -> clap::Command {
    Args::command()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::Preserve;

    #[test]
    fn the_last_word_counts() {
        let read = |args: &[&str]| {
            let args = ["aiocp"].iter().chain(args).chain(&["a", "b"]);
            preserve::preserve(&command().try_get_matches_from(args).unwrap())
        };
        let default = Preserve::default();
        assert_eq!(read(&[]), default);
        let demanded = Preserve { mode_demanded: true, timestamps_demanded: true, ..default };
        let p = Preserve { ownership: true, acls_demanded: true, ..demanded };
        assert_eq!(read(&["-p"]), p);
        assert_eq!(read(&["--preserve"]), p);
        assert_eq!(read(&["--preserve=mode,ownership,timestamps"]), p);
        let a = Preserve {
            mode: true,
            ownership: true,
            timestamps: true,
            links: true,
            xattr: true,
            context: true,
            specials: true,
            links_demanded: true,
            ..demanded
        };
        assert_eq!(read(&["-a"]), a);
        assert_eq!(read(&["-a", "--no-preserve=ownership"]), Preserve { ownership: false, ..a });
        assert_eq!(read(&["--no-preserve=ownership", "-a"]), a);
        assert_eq!(read(&["-a", "--preserve=xattr"]), Preserve { xattr_demanded: true, ..a });
        assert_eq!(
            read(&["--preserve=all"]),
            Preserve { acls_demanded: true, timestamps_demanded: true, specials: false, ..a }
        );
        let none = Preserve { mode: false, timestamps: false, links: false, ..default };
        assert_eq!(read(&["--no-preserve=all"]), none);
        assert_eq!(
            read(&["-p", "--no-preserve=all", "--preserve=links"]),
            Preserve { links: true, links_demanded: true, ..none }
        );
    }
}
