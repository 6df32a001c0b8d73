//! Helpers of the tests of `--resume`: a small tree, interrupted runs, and what must hold after
//! each.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

pub const KIB: usize = 1 << 10;
pub const BIG_BYTES: usize = (3 << 20) + 5;

/// Small blocks and intervals give a small file many of them.
pub const TUNING: [&str; 3] = ["--block-size=64K", "--journal-interval=512K", "--queue-depth=4"];

/// A tree with all kinds of entries, and one file that is copied in parts.
pub fn make_small_tree(root: &Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    for n in 0..40 {
        fs::write(root.join(format!("a/b/{n}")), noise(n * 331, n as u64)).unwrap();
    }
    fs::write(root.join("a/big"), noise(BIG_BYTES, 77)).unwrap();
    let sparse = fs::File::create(root.join("a/sparse")).unwrap();
    sparse.set_len(2 << 20).unwrap();
    sparse.write_all_at(&noise(300 * KIB, 5), 900 << 10).unwrap();
    fs::hard_link(root.join("a/b/7"), root.join("again")).unwrap();
    symlink("a/big", root.join("link")).unwrap();
    set_times(&root.join("a/b"), 1_000_000_000, 7);
    set_times(&root.join("a"), 1_000_000_001, 8);
}

pub fn resume(source: &Path, target: &Path) -> Command {
    let mut command = aiocp();
    command.args(["--resume", "-T"]).args(TUNING).arg(source).arg(target);
    command
}

/// The journals in the destination's folder.
pub fn journals(folder: &Path) -> Vec<PathBuf> {
    litter(folder)
        .into_iter()
        .filter(|path| path.to_string_lossy().contains(".aiocp-journal-"))
        .collect()
}

/// Asserts that every file with its final name is whole.
pub fn no_file_is_partial(source: &Path, target: &Path) {
    if !target.exists() {
        return;
    }
    for entry in walkdir::WalkDir::new(target).into_iter().map(|entry| entry.unwrap()) {
        let is_temporary = entry.file_name().to_string_lossy().starts_with(".aiocp-");
        if entry.file_type().is_file() && !is_temporary {
            let original = source.join(entry.path().strip_prefix(target).unwrap());
            assert!(
                fs::read(entry.path()).unwrap() == fs::read(&original).unwrap(),
                "{:?} is partial",
                entry.path()
            );
        }
    }
}

/// Asserts that two trees are identical, and names only what differs.
pub fn are_identical(source: &Path, target: &Path) {
    let (wanted, found) = (describe(source), describe(target));
    let differing: Vec<_> = wanted
        .iter()
        .chain(&found)
        .filter(|(path, _)| wanted.get(*path) != found.get(*path))
        .collect();
    assert!(differing.is_empty(), "{differing:?}");
}

/// Resumes to the end: the trees are identical, the manifest is whole, and nothing is left over.
pub fn complete(source: &Path, target: &Path) -> String {
    let folder = target.parent().unwrap();
    let manifest = folder.join("manifest");
    let output = run(resume(source, target).arg("--stats").arg("--manifest").arg(&manifest), 0);
    are_identical(source, target);
    if target.is_dir() {
        check_manifest(&fs::read_to_string(&manifest).unwrap(), target);
    }
    assert!(litter(folder).is_empty(), "{:?}", litter(folder));
    if source.join("again").exists() {
        let ino = |name: &str| fs::metadata(target.join(name)).unwrap().ino();
        assert_eq!(ino("again"), ino("a/b/7"), "two names of one file");
    }
    String::from_utf8(output.stdout).unwrap()
}

pub fn written_bytes(stats: &str) -> u64 {
    super::figure(stats, "written bytes")
}

/// Runs a command and sends signals after a delay. Returns how it ended.
pub fn signal_after(
    mut command: Command,
    signals: &[rustix::process::Signal],
    delay: Duration,
) -> std::process::ExitStatus {
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    std::thread::sleep(delay);
    for &signal in signals {
        if child.try_wait().unwrap().is_some() {
            break;
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
    }
    child.wait().unwrap()
}

/// Runs a command slowly and kills it when a big file's temporary holds more than `bytes` bytes of
/// data. Returns the temporary.
pub fn killed_in_the_middle(mut command: Command, folder: &Path, bytes: u64) -> PathBuf {
    let mut child =
        command.arg("--bwlimit=16M").stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    loop {
        let half =
            litter(folder).into_iter().find(|path| !path.to_string_lossy().contains("journal"));
        if let Some(half) = half.filter(|half| data_bytes(half) > bytes) {
            child.kill().unwrap();
            child.wait().unwrap();
            return half;
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Random moments of a run. The length of a run depends on the machine's load, so the estimate is
/// corrected all the time.
pub struct Moments {
    pub random: fastrand::Rng,
    whole: Duration,
}

impl Moments {
    /// For runs that take about this long. Prints the seed.
    pub fn of(whole: Duration) -> Self {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        Self { random: fastrand::Rng::with_seed(seed), whole }
    }

    pub fn next(&mut self) -> Duration {
        self.whole.mul_f64(self.random.f64() * 1.1)
    }

    /// Corrects the estimate by whether the moment came before the end of the run.
    pub fn came(&mut self, in_time: bool) {
        self.whole = self.whole.mul_f64(if in_time { 1.02 } else { 0.9 });
    }
}

/// Kills a copy when everything is done, so that its journal stays.
pub fn kill_at_the_end(source: &Path, target: &Path) {
    let folder = target.parent().unwrap();
    let trace = folder.join("trace");
    let mut command =
        strace(&["-e", "trace=unlinkat", "-e", "inject=unlinkat:signal=SIGKILL"], &trace);
    command.args(["--resume"]).args(TUNING).arg(source).arg(target).output().unwrap();
    assert_eq!(journals(folder).len(), 1);
}

/// The duration of an undisturbed run.
pub fn duration(source: &Path, target: &Path) -> Duration {
    let begun = Instant::now();
    run(&mut resume(source, target), 0);
    fs::remove_dir_all(target).unwrap();
    begun.elapsed()
}

/// The number of data bytes in a file, without holes.
pub fn data_bytes(path: &Path) -> u64 {
    use rustix::fs::{SeekFrom, seek};
    let file = fs::File::open(path).unwrap();
    let (mut at, mut sum) = (0, 0);
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        sum += at - start;
    }
    sum
}

/// Options for a copy in this process.
pub fn options() -> aiocp::copy::Options {
    aiocp::copy::Options {
        resume: true,
        block_bytes: 256 << 10,
        journal_interval_bytes: 1 << 20,
        queue_depth: 4,
        threads: 4,
        // The kernel takes long to destroy a context, which would add up over a thousand runs.
        engine: aiocp::copy::EngineKind::Threads,
        ..aiocp::copy::Options::default()
    }
}

/// Copies in this process and keeps the journal, as a kill at the last moment would. Big files stop
/// somewhere in the middle.
pub fn leave_journal(source: &Path, target: &Path) -> PathBuf {
    use aiocp::copy::{Destination, Operands, Stop, copy};
    use aiocp::report::{Event, Sink, Totals};
    struct StopSoon(std::sync::Arc<Stop>);
    impl Sink for StopSoon {
        fn event(&self, event: Event) {
            match event {
                Event::Copied(_) => self.0.request(),
                Event::Failed(error) | Event::Warning(error) => panic!("{error}"),
                _ => {}
            }
        }
        fn wants_files(&self) -> bool {
            true
        }
    }
    let options = options();
    let destination = Destination::Exact(target.to_owned());
    let (operands, _) = Operands::resolve(&[source.to_owned()], &destination, &options).unwrap();
    drop(copy(&operands, &options, &StopSoon(options.stop.clone()), &Totals::default()).unwrap());
    journals(target.parent().unwrap()).pop().unwrap()
}

/// Resumes in this process to the end. Returns the warnings.
pub fn complete_here(source: &Path, target: &Path) -> Vec<String> {
    use aiocp::copy::{Destination, Operands, copy};
    use aiocp::report::{Event, Sink, Totals};
    #[derive(Default)]
    struct Warnings(std::sync::Mutex<Vec<String>>);
    impl Sink for Warnings {
        fn event(&self, event: Event) {
            match event {
                Event::Failed(error) => panic!("{error}"),
                Event::Warning(error) => self.0.lock().unwrap().push(error.to_string()),
                _ => {}
            }
        }
        fn wants_files(&self) -> bool {
            false
        }
    }
    let options = options();
    let destination = Destination::Exact(target.to_owned());
    let (operands, _) = Operands::resolve(&[source.to_owned()], &destination, &options).unwrap();
    let warnings = Warnings::default();
    copy(&operands, &options, &warnings, &Totals::default()).unwrap().finish().unwrap();
    warnings.0.into_inner().unwrap()
}
