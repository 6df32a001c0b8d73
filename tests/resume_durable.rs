//! `--resume` after a sync that failed: what may not be on the device is on record as that, and the
//! next run makes it durable before it calls it finished. Here the filesystem has no journal, so
//! that files are synced once more when they have their names, or all at once at the end.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::interrupted::journals;
use common::*;

/// A filesystem without a journal, and a source of some directories with three files each, which
/// the worker itself syncs; 16 files at once would be a round of syncfs.
struct Place {
    mounted: Mounted,
    source: tempfile::TempDir,
}

impl Place {
    fn new(dirs: usize) -> Option<Self> {
        Self::with(|source| {
            for n in 0..dirs * 3 {
                let dir = source.join(format!("dir{}", n / 3));
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join(format!("file{n}")), noise(3000 + n, n as u64)).unwrap();
                set_times(&dir.join(format!("file{n}")), 1_000_000_000, 0);
            }
        })
    }

    fn with(fill: impl FnOnce(&Path)) -> Option<Self> {
        if !have_strace() {
            return None;
        }
        let mounted = Mounted::disk("ext4", &["-O", "^has_journal"], &["-o", "loop"], 40)?;
        let source = folder();
        fill(source.path());
        // A journal says nothing of what changed a moment ago.
        std::thread::sleep(std::time::Duration::from_secs(3));
        Some(Self { mounted, source })
    }

    fn target(&self) -> PathBuf {
        self.mounted.path.join("copy")
    }

    fn trace(&self) -> PathBuf {
        self.mounted.path.with_file_name("trace")
    }

    /// A run with `--resume` in which some calls fail. What it said, and its calls.
    fn run(&self, options: &[&str], faults: &[&str], code: i32) -> (String, Vec<String>) {
        let mut all = vec!["-y", "-e", "trace=fsync,syncfs,utimensat"];
        faults.iter().for_each(|fault| all.extend(["-e", fault]));
        let mut command: Command = strace(&all, &self.trace());
        command.args(["-r", "--resume", "-T"]).args(options);
        let output = run(command.arg(self.source.path()).arg(self.target()), code);
        (stderr(&output), trace::calls(&self.trace()))
    }
}

/// How often a call was made for a file with this name.
fn count(calls: &[String], call: &str, name: &Path) -> usize {
    let file = format!("{}>", name.display());
    let is_one = |line: &&String| trace::name_of(line) == call && line.contains(&file);
    calls.iter().filter(is_one).count()
}

#[test]
fn a_file_whose_second_sync_failed_is_written_and_synced_by_the_next_run() {
    // Where a kill would leave a stranger or make a backup of the copy, it is on record twice.
    let ways = [(&[][..], 5), (&["--no-preserve=timestamps"], 5), (&["--backup=simple"], 6)];
    for (options, when) in ways {
        let Some(place) = Place::new(1) else { return };
        // Three files are synced without their names, the journal with backups, and then the files
        // once more.
        let fault = format!("inject=fsync:error=EIO:when={when}");
        let (said, calls) = place.run(options, &[&fault], 1);
        let failed: Vec<&str> =
            said.lines().filter(|line| line.contains("copy/dir0/file")).collect();
        assert_eq!(failed.len(), 1, "{said}\n{calls:#?}");
        let name = failed[0].split('\'').nth(1).unwrap();
        assert_eq!(journals(&place.mounted.path).len(), 1);
        let (_, calls) = place.run(options, &[], 0);
        let made = |call| count(&calls, call, Path::new(name));
        assert!(made("utimensat") > 0 && made("fsync") > 0, "{name}: {calls:#?}");
        let others = (0..3).map(|n| place.target().join(format!("dir0/file{n}")));
        let synced = others.filter(|path| count(&calls, "fsync", path) > 0).count();
        assert_eq!(synced, 1, "the others were finished: {calls:#?}");
        assert!(journals(&place.mounted.path).is_empty());
    }
}

/// A further name that replaces a file has the copy recorded once more, before it is hidden.
#[test]
fn the_doubt_about_a_copy_outlives_its_further_names() {
    let place = Place::with(|source| {
        // One of the folders is gone through before the other.
        fs::create_dir(source.join("dir")).unwrap();
        for n in 0..3 {
            let name = source.join(format!("file{n}"));
            fs::write(&name, noise(3000 + n, n as u64)).unwrap();
            set_times(&name, 1_000_000_000, 0);
            fs::hard_link(name, source.join(format!("dir/further{n}"))).unwrap();
        }
    });
    let Some(place) = place else { return };
    fs::create_dir_all(place.target().join("dir")).unwrap();
    for n in 0..3 {
        for name in [format!("file{n}"), format!("dir/further{n}")] {
            fs::write(place.target().join(name), "old").unwrap();
        }
    }
    // Three files are synced without their names, and then once more.
    let (said, calls) = place.run(&["--threads=1"], &["inject=fsync:error=EIO:when=5"], 1);
    let failed: Vec<&str> = said.lines().filter(|line| line.contains("/copy/")).collect();
    assert_eq!(failed.len(), 1, "{said}\n{calls:#?}");
    let name = Path::new(failed[0].split('\'').nth(1).unwrap());
    assert_eq!(fs::metadata(name).unwrap().nlink(), 2, "{said}");
    let (_, calls) = place.run(&["--threads=1"], &[], 0);
    let made = |call| count(&calls, call, name);
    assert!(made("utimensat") > 0 && made("fsync") > 0, "{name:?}: {calls:#?}");
}

#[test]
fn after_a_last_sync_that_failed_the_next_run_writes_and_syncs_everything() {
    let Some(place) = Place::new(7) else { return };
    let (said, _) = place.run(&[], &["inject=syncfs:error=EIO"], 1);
    assert!(said.contains("cannot syncfs"), "{said}");
    let (_, calls) = place.run(&[], &[], 0);
    for n in 0..21 {
        let path = place.target().join(format!("dir{}/file{n}", n / 3));
        let made = |call| count(&calls, call, &path);
        assert!(made("utimensat") > 0 && made("fsync") > 0, "{path:?}: {calls:#?}");
    }
    assert!(journals(&place.mounted.path).is_empty());
    let count = walkdir::WalkDir::new(place.target()).into_iter().count();
    assert_eq!(count, 1 + 7 + 21, "there are no backups of copies");
}

/// Without a journal, a power cut may leave a link whose inode is on the device, with its length
/// and its times, and whose text is not.
#[test]
fn a_link_that_leads_elsewhere_is_made_again_whatever_its_times_say() {
    let mkfs = ["-O", "^has_journal"];
    let Some(mounted) = Mounted::disk("ext4", &mkfs, &["-o", "loop"], 40) else { return };
    let (place, image) = (&mounted.path, mounted.path.with_file_name("image"));
    let (text, lost) = ("right/".repeat(20), "wrong/".repeat(20));
    let folder = folder();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    std::os::unix::fs::symlink(&text, source.join("link")).unwrap();
    // It fails, so that the journal stays.
    must(Command::new("mkfifo").arg(source.join("fifo")));
    let copy = || {
        let mut command = aiocp();
        run(command.args(["--resume", "-rT"]).args([&source, &place.join("copy")]), 1);
    };
    let mount = || must(program("mount").args(["-o", "loop"]).args([&image, place]));
    copy();
    let before = fs::symlink_metadata(place.join("copy/link")).unwrap();
    unmount(place);
    let mut bytes = fs::read(&image).unwrap();
    let at = bytes.windows(text.len()).position(|part| part == text.as_bytes()).unwrap();
    bytes[at..at + lost.len()].copy_from_slice(lost.as_bytes());
    fs::write(&image, bytes).unwrap();
    mount();
    let after = fs::symlink_metadata(place.join("copy/link")).unwrap();
    assert_eq!(fs::read_link(place.join("copy/link")).unwrap(), Path::new(&lost));
    assert_eq!((after.ino(), after.ctime_nsec()), (before.ino(), before.ctime_nsec()));
    copy();
    assert_eq!(fs::read_link(place.join("copy/link")).unwrap(), Path::new(&text));
}
