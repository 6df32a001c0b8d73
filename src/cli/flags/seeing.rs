//! Flags about what is seen of a run.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::abbreviations::abbreviated;

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub struct SeeingArgs {
    /// Print each file when it is done
    ///
    /// And what is left alone, and why. Files are copied side by side, and the lines come in the
    /// order in which they are done.
    #[arg(short, long)]
    pub verbose: bool,

    /// Print errors only
    ///
    /// No progress, no summary and no warnings; the exit code says how it went.
    #[arg(
        short,
        long,
        overrides_with_all = ["verbose", "progress"],
        conflicts_with_all = ["debug", "stats"]
    )]
    pub quiet: bool,

    #[command(flatten)]
    pub progress: ProgressArgs,

    /// Print for each file whether I/O was direct, and why
    #[arg(long)]
    pub debug: bool,

    /// Print totals at the end
    #[arg(long)]
    pub stats: bool,

    /// Print events and a summary as JSON lines on stdout
    #[arg(long, conflicts_with_all = ["verbose", "stats"])]
    pub json: bool,

    /// Append events to FILE, one per line
    ///
    /// With the time, and what has no other place: each file with its route and its hash.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub log_file: Option<PathBuf>,

    /// Write the paths that failed, for --files-from ("-": stdout)
    #[arg(
        long,
        value_name = "FILE",
        value_hint = clap::ValueHint::FilePath,
        conflicts_with = "parents"
    )]
    pub failed_list: Option<PathBuf>,

    /// Write an HTML report: rates, latencies, slow files, failures
    ///
    /// One HTML file that needs nothing else.
    #[arg(long, value_name = "FILE.html", value_hint = clap::ValueHint::FilePath)]
    pub report: Option<PathBuf>,

    /// Show what it would do (-n is --no-clobber)
    ///
    /// Nothing is changed. The lines are in the order of the paths.
    /// rsync's -n has only this long name here, since -n is what it is in cp.
    #[arg(
        long,
        help_heading = "Copying",
        conflicts_with_all = ["interactive", "manifest", "verify", "verify_only"]
    )]
    pub dry_run: bool,
}

/// The flag that both commands have.
#[derive(Debug, Args)]
pub struct ProgressArgs {
    /// Show progress: auto, always, never
    ///
    /// auto: on a terminal, after a second. always: from the start, and a line a second where a
    /// line cannot be changed. Without WHEN: always. SIGUSR1 prints the same line.
    #[arg(
        help_heading = "Output",
        long,
        value_name = "WHEN",
        value_enum,
        value_parser = abbreviated::<ShowProgress>(),
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        default_value_t = ShowProgress::Auto,
        default_missing_value = "always"
    )]
    pub progress: ShowProgress,
}

/// When the line of progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShowProgress {
    Auto,
    Always,
    Never,
}

impl SeeingArgs {
    /// What makes no sense together with a manifest in this place.
    pub fn check(&self, manifest: Option<&Path>) -> Result<(), &'static str> {
        let is_stdout = |path: Option<&Path>| path == Some(Path::new("-"));
        match is_stdout(manifest) {
            true if self.verbose => {
                return Err("--verbose and --manifest=- would both write to stdout");
            }
            true if self.json => return Err("--json and --manifest=- would both write to stdout"),
            true if self.stats => {
                return Err("--stats and --manifest=- would both write to stdout");
            }
            _ => {}
        }
        if is_stdout(self.log_file.as_deref()) {
            return Err("--log-file needs a file; --verbose prints on stdout");
        }
        if is_stdout(self.report.as_deref()) {
            let prints = self.verbose || self.json || self.stats || self.dry_run;
            if prints || is_stdout(manifest) || is_stdout(self.failed_list.as_deref()) {
                return Err("--report=- needs stdout for itself");
            }
        }
        match is_stdout(self.failed_list.as_deref()) {
            true if self.verbose => Err("--verbose and --failed-list=- would both write to stdout"),
            true if self.json => Err("--json and --failed-list=- would both write to stdout"),
            true if self.stats => Err("--stats and --failed-list=- would both write to stdout"),
            _ => Ok(()),
        }
    }
}
