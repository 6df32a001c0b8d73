//! Power cuts after the end of a run, and at every moment before it, on filesystems with a journal
//! and without. The disk keeps what was written before its last flush, and of the rest what it
//! likes.
//!
//! `AIOCP_POWER_CUTS` says how many moments of each run are looked at, instead of a few.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use common::held::{is_in, traced, while_held};
use common::power::{self, Kind, PowerDisk};
use common::*;

/// Moments of a run that are looked at.
fn cuts_max() -> usize {
    std::env::var("AIOCP_POWER_CUTS").map_or(3, |count| count.parse().unwrap())
}

/// All that a copy can be of: many files in a directory, few, big ones, further names, and what is
/// no file. Of every second name there was an older copy.
struct Trees {
    folder: tempfile::TempDir,
}

impl Trees {
    fn new() -> Self {
        let trees = Self { folder: folder() };
        make(&trees.source(), 2, |_| true);
        make(&trees.old(), 1, |n| n % 2 == 0);
        trees
    }

    fn source(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn old(&self) -> PathBuf {
        self.folder.path().join("old")
    }
}

fn make(root: &Path, version: u64, has: impl Fn(u64) -> bool) {
    let seconds = 1_000_000_000 * version;
    for name in ["many", "few", "other/empty", "links"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let file = |name: String, n: u64, len: usize| {
        let path = root.join(name);
        fs::write(&path, noise(len, n * 10 + version)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640 + version as u32)).unwrap();
        set_times(&path, seconds + n, 7);
    };
    for n in (0..150).filter(|&n| has(n)) {
        file(format!("many/{n}"), n, 1 + n as usize * 50);
    }
    for n in (0..5).filter(|&n| has(n)) {
        file(format!("few/{n}"), n, 3000);
    }
    for n in (0..3).filter(|&n| has(n)) {
        file(format!("big{n}"), n, (1 << 20) + 70_000);
    }
    for n in (0..24).filter(|&n| has(n)) {
        // A long one has a block of its own.
        let to = format!("{version}-{}", "to/".repeat(if n % 3 == 0 { 60 } else { 1 }));
        symlink(to, root.join(format!("links/{n}"))).unwrap();
    }
    for n in (0..4).filter(|&n| has(n)) {
        let path = root.join(format!("links/special{n}"));
        let kind: &[&str] = if n < 2 { &["p"] } else { &["c", "1", "3"] };
        must(Command::new("mknod").arg(path).args(kind));
    }
    for n in (0..6).filter(|&n| has(n)) {
        fs::hard_link(root.join("few/0"), root.join(format!("other/name{n}"))).unwrap();
    }
    for (name, mode) in [("other/empty", 0o1710), ("other", 0o750), ("many", 0o755), ("few", 0o700)]
    {
        let path = root.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        set_times(&path, seconds + 1, 5);
    }
}

/// What is there, by its relative path; what is hidden is of no account.
fn look(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    if !root.exists() {
        return found;
    }
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        let meta = entry.metadata().unwrap();
        let kind = meta.file_type();
        let what = match kind {
            _ if kind.is_symlink() => format!("link {:?}", fs::read_link(entry.path()).unwrap()),
            _ if kind.is_dir() => "directory".to_owned(),
            _ if kind.is_fifo() || kind.is_char_device() => format!("special {}", meta.rdev()),
            _ => format!("{} bytes {}", meta.len(), blake3::hash(&fs::read(entry.path()).unwrap())),
        };
        let line = format!("{:o} {}.{:09} {what}", meta.mode(), meta.mtime(), meta.mtime_nsec());
        found.insert(entry.path().strip_prefix(root).unwrap().to_owned(), line);
    }
    found
}

/// One way to run the command, and what is there when it has ended.
struct Way {
    name: &'static str,
    options: &'static [&'static str],
    /// What is copied, and to where, relative to the trees.
    part: &'static str,
    wanted: fn(&Trees) -> BTreeMap<PathBuf, String>,
}

fn as_source(trees: &Trees) -> BTreeMap<PathBuf, String> {
    look(&trees.source())
}

fn with_backups(trees: &Trees) -> BTreeMap<PathBuf, String> {
    let mut wanted = as_source(trees);
    for (path, what) in look(&trees.old()) {
        if !what.ends_with("directory") {
            wanted.insert(format!("{}~", path.display()).into(), what);
        }
    }
    wanted
}

/// The data of what stood there before, and the rest from the source. What is new is empty.
fn attributes(trees: &Trees) -> BTreeMap<PathBuf, String> {
    let old = look(&trees.old());
    let mut wanted = as_source(trees);
    for (path, what) in &mut wanted {
        if let Some((attributes, _)) = what.clone().split_once(" ").filter(|_| is_file(what)) {
            let (time, _) = what[attributes.len() + 1..].split_once(' ').unwrap();
            let nothing = format!("- - 0 bytes {}", blake3::hash(b""));
            let contents = old.get(path).unwrap_or(&nothing).splitn(3, ' ').nth(2).unwrap();
            *what = format!("{attributes} {time} {contents}");
        }
    }
    wanted
}

fn is_file(what: &str) -> bool {
    what.contains(" bytes ")
}

const WAYS: [Way; 7] = [
    Way { name: "all", options: &["-a"], part: "", wanted: as_source },
    Way { name: "backups", options: &["-ab"], part: "", wanted: with_backups },
    Way { name: "in place", options: &["-a", "--inplace"], part: "", wanted: as_source },
    Way { name: "resume", options: &["-a", "--resume"], part: "", wanted: as_source },
    Way { name: "attributes", options: &["-a", "--attributes-only"], part: "", wanted: attributes },
    Way {
        name: "few files",
        options: &["-a"],
        part: "few",
        wanted: |trees| look(&trees.source().join("few")),
    },
    Way {
        name: "one big file",
        options: &["-a"],
        part: "big1",
        wanted: |trees| look(&trees.source().join("big1")),
    },
];

fn copy(way: &Way, trees: &Trees, to: &Path) {
    let paths = [trees.source().join(way.part), to.join(way.part)];
    run(aiocp().args(way.options).arg("-T").args(paths), 0);
}

fn differences(found: &BTreeMap<PathBuf, String>, wanted: &BTreeMap<PathBuf, String>) -> String {
    let paths = found.keys().chain(wanted.keys());
    let differing = paths.filter(|path| found.get(*path) != wanted.get(*path));
    let lines: BTreeSet<String> = differing
        .map(|path| format!("{path:?}: {:?}, not {:?}", found.get(path), wanted.get(path)))
        .collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

/// What a power cut may not do to a run that has not ended: a name leads to what stood there or to
/// the copy, both whole. Without a journal it may lead nowhere.
fn names_are_whole(
    found: &BTreeMap<PathBuf, String>,
    [old, new]: [&BTreeMap<PathBuf, String>; 2],
    has_journal: bool,
) -> String {
    let mut wrong = Vec::new();
    for (path, what) in found {
        let may_be = [old, new].map(|side| side.get(path));
        let is_known = may_be.iter().any(Option::is_some);
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
        let is_whole = match is_file(what) {
            true => {
                may_be.contains(&Some(what))
                    || (!has_journal && is_no_file(may_be) && old.values().any(|old| old == what))
            }
            // Its metadata is kept when it has its name.
            false => {
                may_be.into_iter().flatten().any(|may_be| kind(may_be) == kind(what))
                    || (!has_journal && is_of_freed_inode(what, [old, new]))
            }
        };
        if !is_whole && (is_known || !is_hidden) {
            wrong.push(format!("{path:?}: {what}, not {may_be:?}"));
        }
    }
    let lost = old.keys().filter(|path| has_journal && !found.contains_key(*path));
    wrong.extend(lost.map(|path| format!("{path:?} is lost")));
    wrong.join("\n")
}

/// Whether a name is a link's or a special file's. Without a journal it may lead to an old file for
/// the same reason as to [another link](is_of_freed_inode).
fn is_no_file(may_be: [Option<&String>; 2]) -> bool {
    may_be.into_iter().flatten().any(|may_be| !is_file(may_be))
}

/// Whether it is another link or special file of the run. Nothing syncs the inode of such a one but
/// a sync of the filesystem, and without a journal its name may be on the device before that: it
/// leads to what had the inode before, until the run ends.
fn is_of_freed_inode(what: &str, sides: [&BTreeMap<PathBuf, String>; 2]) -> bool {
    let others = sides.into_iter().flat_map(BTreeMap::values);
    others.into_iter().any(|other| !is_file(other) && kind(other) == kind(what))
}

/// Files that stood there and are under no name: without a journal that may be, but fsck has to
/// find one of both, which it puts into lost+found, or under the hidden name of the copy.
fn lost(
    at: &Path,
    found: &BTreeMap<PathBuf, String>,
    [old, new]: [&BTreeMap<PathBuf, String>; 2],
) -> String {
    let everything: BTreeSet<String> =
        look(at).values().map(|what| kind(what).to_owned()).collect();
    let is_lost = |(path, what): &(&PathBuf, &String)| {
        let sides = [Some(*what), new.get(*path)];
        is_file(what)
            && !found.contains_key(*path)
            && !sides.into_iter().flatten().any(|what| everything.contains(kind(what)))
    };
    let lines = old.iter().filter(is_lost).map(|(path, _)| format!("{path:?} is lost"));
    lines.collect::<Vec<_>>().join("\n")
}

/// All that is there without modes and times, which are all the same instead.
fn contents(all: &BTreeMap<PathBuf, String>) -> BTreeMap<PathBuf, String> {
    all.iter().map(|(path, what)| (path.clone(), format!("- - {}", kind(what)))).collect()
}

/// What is there without its mode and times.
fn kind(what: &str) -> &str {
    what.splitn(3, ' ').nth(2).unwrap()
}

/// The moments to be looked at are chosen by a seed, which is printed.
fn begin() -> Option<(fastrand::Rng, Trees)> {
    let seed = std::env::var("AIOCP_SEED").map_or(fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("AIOCP_SEED={seed}");
    can_mount_fuse().then(|| (fastrand::Rng::with_seed(seed), Trees::new()))
}

fn power_is_cut(kind: Kind, has_journal: bool) {
    let Some((mut random, trees)) = begin() else { return };
    for way in &WAYS {
        let before = |at: &Path| {
            must(Command::new("cp").arg("-a").args([trees.old(), at.join("copy")]));
        };
        let run = PowerDisk::run(kind, before, |at| copy(way, &trees, &at.join("copy")));
        let Some((disk, mut cuts)) = run else { return };
        let wanted = (way.wanted)(&trees);
        let last = cuts.pop().expect("nothing was flushed");
        for luck in [false, true] {
            disk.after(
                last,
                || luck && random.bool(),
                |at| {
                    let found = look(&at.join("copy").join(way.part));
                    let wrong = differences(&found, &wanted);
                    assert!(wrong.is_empty(), "{kind:?}, {}, after the end:\n{wrong}", way.name);
                },
            );
        }
        let (old, new) = (look(&trees.old().join(way.part)), &wanted);
        println!("{}: {} moments", way.name, cuts.len());
        random.shuffle(&mut cuts);
        for cut in cuts.into_iter().take(cuts_max()) {
            let is_lucky = random.bool();
            disk.after(
                cut,
                || is_lucky && random.bool(),
                |at| {
                    let found = look(&at.join("copy").join(way.part));
                    let sides = [&old, new];
                    // What is written into is neither the old file nor the copy meanwhile.
                    if way.name != "in place" {
                        let (found, sides) = match way.name == "attributes" {
                            // They are set one after the other on what stands there.
                            true => (contents(&found), sides.map(contents)),
                            false => (found.clone(), sides.map(Clone::clone)),
                        };
                        let sides = sides.each_ref();
                        let wrong =
                            names_are_whole(&found, sides, has_journal) + &lost(at, &found, sides);
                        assert!(wrong.is_empty(), "{kind:?}, {}, at {cut:?}:\n{wrong}", way.name);
                    }
                    // A second run would make backups of what the first one copied, and has no data
                    // for a name that the filesystem lost with its directory.
                    let is_without_data = way.name == "attributes"
                        && old.keys().any(|path| !found.contains_key(path));
                    if way.name == "backups" || is_without_data {
                        return;
                    }
                    copy(way, &trees, &at.join("copy"));
                    let again = look(&at.join("copy").join(way.part));
                    let is_all = new.iter().all(|(path, what)| again.get(path) == Some(what));
                    assert!(is_all, "{}", differences(&again, new));
                },
            );
        }
    }
}

#[test]
fn on_ext2() {
    power_is_cut(power::EXT2, false);
}

#[test]
fn on_ext4_without_a_journal() {
    power_is_cut(power::EXT4_WITHOUT, false);
}

#[test]
fn on_ext4() {
    power_is_cut(power::EXT4, true);
}

#[test]
fn on_xfs() {
    power_is_cut(power::XFS, true);
}

#[test]
fn on_btrfs() {
    power_is_cut(power::BTRFS, true);
}

/// Says that something is over when this goes, also by a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Clones get their names before anything of them is synced, in a new directory and in the place of
/// older files. Their source was just written, and not synced either. Others commit meanwhile what
/// is there, or no one does.
#[test]
fn clones_are_whole_where_they_have_names() {
    let Some((mut random, trees)) = begin() else { return };
    for kind in [power::XFS, power::BTRFS] {
        for (part, do_others_commit) in [("", true), ("few", false)] {
            clones_are_whole(kind, &trees, part, do_others_commit, &mut random);
        }
    }
}

fn clones_are_whole(
    kind: Kind,
    trees: &Trees,
    part: &str,
    do_others_commit: bool,
    random: &mut fastrand::Rng,
) {
    let [old, new] = [trees.old(), trees.source()].map(|tree| look(&tree.join(part)));
    let before = |at: &Path| {
        must(Command::new("cp").arg("-a").args([trees.old().join(part), at.join("copy")]));
    };
    let during = |at: &Path| {
        let (from, source) = (trees.source().join(part), at.join("source"));
        must(Command::new("cp").args(["-a", "--reflink=never"]).args([&from, &source]));
        let is_over = AtomicBool::new(!do_others_commit);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    must(Command::new("sync").arg("-f").arg(at));
                }
            });
            let _end = Over(&is_over);
            for to in ["new", "copy"] {
                let clone = ["-a", "--reflink=always", "-T"];
                run(aiocp().args(clone).args([&source, &at.join(to)]), 0);
            }
        });
    };
    let Some((disk, mut cuts)) = PowerDisk::run(kind, before, during) else { return };
    let last = cuts.pop().expect("nothing was flushed");
    println!("{kind:?}, {part:?}: {} moments", cuts.len());
    random.shuffle(&mut cuts);
    cuts.truncate(4 * cuts_max());
    for cut in std::iter::once(last).chain(cuts) {
        let is_lucky = random.bool();
        let see = |at: &Path| {
            for (name, old) in [("new", &BTreeMap::new()), ("copy", &old)] {
                let found = look(&at.join(name));
                let wrong = match cut == last {
                    true => differences(&found, &new),
                    false => names_are_whole(&found, [old, &new], true),
                };
                assert!(wrong.is_empty(), "{kind:?}, {name}, at {cut:?}:\n{wrong}");
            }
        };
        disk.after(cut, || is_lucky && random.bool(), see);
    }
}

/// Has a copy end that `during` makes, and then the power. What is there then has to be `wanted`.
fn power_is_cut_at_the_end(
    kind: Kind,
    [before, during]: [&dyn Fn(&Path); 2],
    wanted: &dyn Fn(&Path) -> String,
) {
    let Some((disk, mut cuts)) = PowerDisk::run(kind, before, during) else { return };
    let last = cuts.pop().expect("nothing was flushed");
    disk.after(
        last,
        || false,
        |at| {
            let wrong = wanted(at);
            assert!(wrong.is_empty(), "{kind:?}:\n{wrong}");
        },
    );
}

#[test]
fn on_an_overlay_without_a_journal_below() {
    if !can_mount_fuse() {
        return;
    }
    let trees = Trees::new();
    let before = |at: &Path| {
        for part in ["lower", "upper", "work", "merged"] {
            fs::create_dir(at.join(part)).unwrap();
        }
        must(Command::new("cp").arg("-a").args([trees.old(), at.join("upper/copy")]));
    };
    for way in &WAYS {
        let during = |at: &Path| {
            let part = |name: &str| at.join(name).display().to_string();
            let parts = ["lower", "upper", "work"].map(|name| format!("{name}dir={}", part(name)));
            let mount = ["-t", "overlay", "-o", &parts.join(","), "overlay"];
            must(program("mount").args(mount).arg(at.join("merged")));
            copy(way, &trees, &at.join("merged/copy"));
            unmount(&at.join("merged"));
        };
        let wanted = |at: &Path| {
            let found = look(&at.join("upper/copy").join(way.part));
            differences(&found, &(way.wanted)(&trees))
        };
        power_is_cut_at_the_end(power::EXT4_WITHOUT, [&before, &during], &wanted);
    }
}

#[test]
fn on_exfat() {
    if !can_mount_fuse() {
        return;
    }
    let trees = Trees::new();
    let copy_contents = |from: PathBuf, at: &Path| {
        for part in ["many", "few", "big0"] {
            let paths = [from.join(part), at.join(part)];
            run(aiocp().args(["-r", "--no-preserve=mode", "-T"]).args(paths), 0);
        }
    };
    let contents = |root: &Path| -> BTreeMap<PathBuf, String> {
        let all = look(root).into_iter().filter(|(path, what)| {
            is_file(what) && ["many", "few", "big0"].iter().any(|part| path.starts_with(part))
        });
        all.map(|(path, what)| (path, kind(&what).to_owned())).collect()
    };
    let before = |at: &Path| copy_contents(trees.old(), at);
    let during = |at: &Path| copy_contents(trees.source(), at);
    let wanted = |at: &Path| differences(&contents(at), &contents(&trees.source()));
    power_is_cut_at_the_end(power::EXFAT, [&before, &during], &wanted);
}

/// A commit of the filesystem, such as another worker's, falls between the making of a link and its
/// metadata: what is synced with the directory later has to include that.
#[test]
fn what_is_set_after_a_commit_is_kept() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, trace) = (folder.path().join("source"), folder.path().join("trace"));
    fs::create_dir(&source).unwrap();
    symlink("somewhere", source.join("link")).unwrap();
    let past = ["-h", "-d", "2001-02-03 04:05:06"];
    must(Command::new("touch").args(past).arg(source.join("link")));
    let before = |at: &Path| fs::create_dir(at.join("copy")).unwrap();
    for kind in [power::BTRFS, power::XFS, power::EXT4, power::EXT4_WITHOUT] {
        // As an operand, and as an entry of a directory.
        for (from, to) in [("link", "copy/link"), ("", "copy")] {
            let during = |at: &Path| {
                let delay = ["-e", "trace=utimensat", "-e", "inject=utimensat:delay_enter=300000"];
                let mut copy = strace(&delay, &trace);
                let mut child =
                    copy.arg("-aT").args([source.join(from), at.join(to)]).spawn().unwrap();
                let is_made = || at.join("copy/link").is_symlink();
                let is_held = || is_made() && is_in(traced(&child), &[libc::SYS_utimensat]);
                while_held(&child, is_held, || must(Command::new("sync").arg("-f").arg(at)));
                assert!(child.wait().unwrap().success());
            };
            let wanted = |at: &Path| {
                let part =
                    |root: PathBuf| look(&if from.is_empty() { root } else { root.join(from) });
                differences(&part(at.join("copy")), &part(source.clone()))
            };
            power_is_cut_at_the_end(kind, [&before, &during], &wanted);
        }
    }
}

/// Copies into a folder with `--resume`, is killed when all is done but for the sync of the whole
/// filesystem at the end, and then runs once more to its end.
fn killed_and_resumed(sources: [&Path; 2], to: &Path, trace: &Path) {
    let args = ["-rd", "--preserve=mode,timestamps,links", "--resume"];
    let kill = ["-e", "trace=syncfs", "-e", "inject=syncfs:signal=SIGKILL"];
    let killed = strace(&kill, trace).args(args).args(sources).arg(to).output().unwrap();
    assert!(!killed.status.success(), "it ended before it was killed");
    let output = run(aiocp().args(args).arg("--json").args(sources).arg(to), 0);
    let told = String::from_utf8(output.stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert!(summary["finished_earlier"].as_u64().unwrap() > 30, "{summary}");
}

/// What a killed run made is told as finished by the next one, which has to make it as durable as
/// if it had made it itself.
#[test]
fn what_a_killed_run_made_is_durable_when_the_next_one_ends() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for root in ["all", "files"].map(at) {
        // More files in a batch, with the directories that wait, would be a round of syncfs.
        for n in 0..30 {
            let dir = root.join(format!("deep{}", n / 6));
            fs::create_dir_all(&dir).unwrap();
            let file = dir.join(n.to_string());
            fs::write(&file, noise(900 + n, n as u64)).unwrap();
            set_times(&file, 1_000_000_000, 0);
        }
    }
    for n in 0..30 {
        let dir = at("all").join(format!("deep{}", n / 6));
        symlink(format!("{n}-{}", "to/".repeat(60)), dir.join(format!("link{n}"))).unwrap();
        // The next folder has so few more that they are no round, whichever name comes first.
        if n % 3 == 0 {
            let other = at("all").join(format!("deep{}", (n / 6 + 1) % 5));
            fs::create_dir_all(&other).unwrap();
            fs::hard_link(dir.join(n.to_string()), other.join(format!("name{n}"))).unwrap();
        }
    }
    symlink("somewhere", at("link")).unwrap();
    let past = ["-h", "-d", "2001-02-03 04:05:06"];
    must(Command::new("touch").args(past).arg(at("link")));
    for root in ["all", "files"].map(at) {
        set_times(&root, 1_000_000_000, 0);
    }
    // A journal says nothing of what changed a moment ago.
    std::thread::sleep(std::time::Duration::from_secs(3));
    let before = |at: &Path| fs::create_dir(at.join("copy")).unwrap();
    for kind in [power::EXT2, power::EXT4_WITHOUT, power::EXT4, power::XFS, power::BTRFS] {
        let during = |to: &Path| {
            killed_and_resumed([&at("all"), &at("link")], &to.join("copy"), &at("trace"))
        };
        let wanted = |to: &Path| {
            let sides =
                |name: &str| differences(&look(&to.join("copy").join(name)), &look(&at(name)));
            sides("all") + &sides("link")
        };
        power_is_cut_at_the_end(kind, [&before, &during], &wanted);
    }
    let contents = |root: &Path| -> BTreeMap<PathBuf, String> {
        let files = look(root).into_iter().filter(|(_, what)| is_file(what));
        files.map(|(path, what)| (path, kind(&what).to_owned())).collect()
    };
    let during = |to: &Path| {
        killed_and_resumed([&at("files"), &at("files/deep1")], &to.join("copy"), &at("trace"))
    };
    let wanted =
        |to: &Path| differences(&contents(&to.join("copy/files")), &contents(&at("files")));
    power_is_cut_at_the_end(power::EXFAT, [&before, &during], &wanted);
}
