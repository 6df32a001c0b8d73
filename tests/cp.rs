//! The same command with GNU cp and with aiocp, on random trees, over random destinations, with random options: the trees that
//! result are the same, and so is whether the exit code is 0.

mod common;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::*;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, Uid, chownat};

/// What cp is given so that it does what aiocp does by default.
const CP_DEFAULTS: [&str; 3] = ["-r", "-d", "--preserve=mode,timestamps,links"];

/// Whether a case meets a difference, by what is asked and by what cp says.
type Meets = fn(&Case, &str) -> bool;

/// Every deliberate difference from cp, by the name that it has in the manual (man/aiocp.sections.roff, DIFFERENCES FROM CP), and which
/// cases meet it, by what is asked and by what cp says. These are left out; all others have to agree.
const DIFFERENCES: [(&str, Meets); 18] = [
    // cp writes into the file that stands there: through its other names, and through a link.
    ("replaced and not written into", |case, _| {
        let several_names = case.stands(|node| matches!(node, Node::Link(_) | Node::Hard(_)));
        let kept = case.options.iter().any(|option| option.starts_with("--no-preserve")) || case.stands_of_another();
        (several_names || (case.stands(|_| true) && kept)) && !case.replaces() && !case.links_instead()
    }),
    // cp waits for somebody to read from it.
    ("a FIFO is not overwritten", |case, _| case.stands(|node| matches!(node, Node::Fifo)) && !case.replaces()),
    // cp -r makes new ones.
    ("FIFOs, sockets and devices", |case, _| case.has(|node| matches!(node, Node::Fifo)) && !case.option("-a")),
    // cp gives them to a copy that belongs to somebody else.
    ("setuid and setgid are kept only where", |case, _| {
        let bits = |node: &Node| matches!(node, Node::File { mode, .. } | Node::Dir { mode } if mode & 0o6000 != 0);
        case.source.iter().any(|planted| planted.owner != 0) && case.has(bits) && !case.keeps_owners()
    }),
    // cp gives a directory those three bits of its source all the same.
    ("and takes none of the source's", |case, _| {
        let drops = case.option("--no-preserve=mode") || case.option("--no-preserve=all");
        drops && case.has(|node| matches!(node, Node::Dir { mode } if mode & 0o7000 != 0))
    }),
    // cp replaces a regular file that has other names, and a link, also without -f, but not with -L or -H.
    ("-l and -s replace", |case, _| case.links_instead() && !case.replaces() && case.stands(|_| true)),
    // cp fails: a link cannot be made where something stands.
    ("a symbolic link replaces", |case, _| {
        case.has(|node| matches!(node, Node::Link(_)))
            && case.stands(|_| true)
            && !case.replaces()
            && (case.option("-H") || case.option("--attributes-only"))
    }),
    // cp begins, and stops when it meets itself; through a followed link it does not notice.
    ("inside SOURCE is refused before", |_, said| said.contains("into itself") || said.contains("File name too long")),
    // cp leaves the folders that it made on the way to what it then cannot copy.
    ("leaves no folders", |case, said| case.option("--parents") && !said.is_empty()),
    // cp leaves these three bits of what stands there.
    ("the whole mode of its source", |case, _| {
        let special = |node: &Node| matches!(node, Node::File { mode, .. } | Node::Dir { mode } if mode & 0o7000 != 0);
        case.stands(special) || (case.operands.len() > 3 && case.has(special))
    }),
    // cp has removed the old one by then.
    ("A file that fails leaves the old one", |case, said| {
        case.stands(|_| true) && said.contains("relative symbolic links")
    }),
    // cp does not set them again when a later SOURCE goes there too.
    ("the last copy into them", |case, _| case.option("--parents") && case.operands.len() > 2),
    // cp 9.1 moves them from a directory that is named as DEST into the working directory.
    ("stand where the file is", |case, _| case.option("--backup=simple") && case.operands[0] != "-T"),
    // cp makes sure of that only where the source is a regular file.
    ("never takes the place of its source", |case, _| case.operands == ["src/a~", "src/a"] && case.replaces()),
    // cp links the next name of the source to it, also where it is a directory.
    ("-u leaves alone gets no further names", |case, _| {
        let several_names = case.has(|node| matches!(node, Node::Hard(_))) || case.operands.len() > 3;
        case.option("-u") && case.stands(|_| true) && (several_names || case.option("-L") || case.option("-H"))
    }),
    // cp refuses the second.
    ("reached in two ways is copied twice", |_, said| said.contains("will not create hard link")),
    // cp copies what it finds there in an order of its own.
    ("leads into DEST", |case, _| {
        case.has(|node| matches!(node, Node::Link("../dst/b"))) && (case.option("-L") || case.option("-H"))
    }),
    ("'..' in a SOURCE", |case, _| case.option("--parents") && case.operands.iter().any(|path| path.contains(".."))),
];

#[derive(Clone, Debug)]
enum Node {
    File {
        contents: &'static str,
        hole: bool,
        mode: u32,
    },
    Dir {
        mode: u32,
    },
    Link(&'static str),
    /// One more name of the file that comes so many files earlier, or a new one if there is none.
    Hard(usize),
    Fifo,
}

#[derive(Clone, Debug)]
struct Planted {
    path: PathBuf,
    node: Node,
    age: i64,
    owner: u32,
}

#[derive(Clone, Debug)]
struct Case {
    /// Below `src` and `dst`.
    source: Vec<Planted>,
    target: Vec<Planted>,
    options: Vec<&'static str>,
    operands: Vec<&'static str>,
    yes: bool,
}

impl Case {
    fn option(&self, name: &str) -> bool {
        self.options.contains(&name)
    }

    fn has(&self, what: impl Fn(&Node) -> bool) -> bool {
        self.source.iter().any(|planted| what(&planted.node))
    }

    fn stands(&self, what: impl Fn(&Node) -> bool) -> bool {
        let in_source = self.operands.last().is_some_and(|last| last.starts_with("src"));
        self.target.iter().any(|planted| what(&planted.node)) || (in_source && self.has(what))
    }

    fn keeps_owners(&self) -> bool {
        let keeps = |option: &&str| {
            option.contains("ownership") || ["-a", "-p", "--preserve", "--preserve=all"].contains(option)
        };
        self.options.iter().any(keeps) && !self.options.iter().any(|option| option.starts_with("--no"))
    }

    fn stands_of_another(&self) -> bool {
        let in_source = self.operands.last().is_some_and(|last| last.starts_with("src"));
        let mut standing = self.target.iter().chain(self.source.iter().filter(|_| in_source));
        standing.any(|planted| planted.owner != 0)
    }

    /// Whether cp, too, replaces instead of writing into.
    fn replaces(&self) -> bool {
        ["--remove-destination", "-b", "--backup=numbered", "--backup=simple", "-S.old"]
            .iter()
            .any(|name| self.option(name))
    }

    fn links_instead(&self) -> bool {
        self.option("-l") || self.option("-s")
    }

    fn is_deliberate(&self, cp_said: &str) -> bool {
        DIFFERENCES.iter().any(|(_, meets)| meets(self, cp_said))
    }
}

fn path() -> impl Strategy<Value = PathBuf> {
    let names = select(&["a", "b", "c", "d", "a~", "odd \n\\", "-n"][..]);
    prop::collection::vec(names, 1..4).prop_map(|names| names.into_iter().collect())
}

fn node() -> impl Strategy<Value = Node> {
    let mode = || select(&[0o644, 0o600, 0o755, 0o444, 0o4755, 0o2711, 0o1777][..]);
    let contents = select(&["", "one", "two", "three\n"][..]);
    let link = select(&["a", "../a", "b/c", "gone", ".", "..", "../../src/a", "../src/a", "../dst/b", "/gone"][..]);
    prop_oneof![
        5 => (contents, prop::bool::weighted(0.1), mode()).prop_map(|(contents, hole, mode)| Node::File { contents, hole, mode }),
        3 => mode().prop_map(|mode| Node::Dir { mode }),
        2 => link.prop_map(Node::Link),
        1 => (0..3usize).prop_map(Node::Hard),
        1 => Just(Node::Fifo),
    ]
}

fn tree(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Planted>> {
    let owner = prop_oneof![4 => Just(0), 1 => Just(1234)];
    let planted = (path(), node(), 1_000..1_004i64, owner);
    let planted = planted.prop_map(|(path, node, age, owner)| Planted { path, node, age, owner });
    prop::collection::vec(planted, sizes)
}

/// Random options in random order, at most one of each row.
fn options() -> impl Strategy<Value = Vec<&'static str>> {
    let rows: [&'static [&'static str]; 13] = [
        &["-n", "-u", "-i", "-u", "-f"],
        &["-f"],
        &[
            "-b",
            "--backup=numbered",
            "--backup=simple",
            "--backup=none",
            "-S.old",
            "--remove-destination",
            "--remove-destination",
        ],
        &["-L", "-P", "-H", "-d"],
        &["-l", "-s"],
        &["--attributes-only"],
        &["--strip-trailing-slashes"],
        &["--sparse=always", "--sparse=never"],
        &["-x"],
        &["-v"],
        &["-a", "-p", "-a", "--preserve=all", "--preserve=ownership"],
        &["-a", "--no-preserve=mode", "--no-preserve=links", "--no-preserve=timestamps", "--no-preserve=all"],
        &["--preserve=mode,ownership", "--preserve", "--no-preserve=ownership,links"],
    ];
    subsequence((0..rows.len()).collect::<Vec<_>>(), 0..5)
        .prop_flat_map(move |rows_used| rows_used.into_iter().map(|row| select(rows[row])).collect::<Vec<_>>())
        .prop_shuffle()
}

/// The shapes of a command.
const OPERANDS: [&[&str]; 25] = [
    &["src", "dst"],
    &["-T", "src", "dst"],
    &["-T", "src", "dst"],
    &["-T", "src", "dst"],
    &["src/.", "dst"],
    &["src", "new"],
    &["src/a", "dst/a"],
    &["src/a", "dst/b"],
    &["src/a", "src/b", "src/c", "dst"],
    &["src/a", "src/b", "-t", "dst"],
    &["src/a", "src/b/a", "src/c/a", "dst"],
    &["src/a", "src/a", "./src/a", "dst"],
    &["src/a/", "src/b/", "dst"],
    &["src/a", "new"],
    &["src/a", "new/"],
    &["src/a", "src/b"],
    &["src/a", "src/a"],
    &["src/a", "src/a~"],
    &["src/a~", "src/a"],
    &["src", "src/d"],
    &["--parents", "src/a", "src/b/c", "dst"],
    &["--parents", "src/a/b", "./src//a", "src/b/", "dst"],
    &["--parents", "src/../src/a", "dst"],
    &["--parents", "src/a/b", "dst"],
    &["--parents", "./src//a/", "dst"],
];

fn case() -> impl Strategy<Value = Case> {
    (tree(1..14), tree(0..8), options(), select(&OPERANDS[..]), any::<bool>())
        .prop_map(|(source, target, mut options, operands, yes)| {
            let mut operands = operands.to_vec();
            if operands[0] == "--parents" {
                options.push(operands.remove(0));
            }
            Case { source, target, options, operands, yes }
        })
        .prop_filter("a deliberate difference", |case| !case.is_deliberate(""))
}

/// When the two trees themselves were changed last.
const SOURCE_AGE: i64 = 999;
const TARGET_AGE: i64 = 998;

fn set_age(path: &Path, age: i64) {
    let time = Timespec { tv_sec: age, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Makes what can be made: a path that is taken, or leads through something that is no directory, is left out.
fn plant(root: &Path, tree: &[Planted], age: i64) {
    fs::create_dir(root).unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    let mut made: Vec<(PathBuf, i64, Option<u32>)> = vec![(root.to_owned(), age, None)];
    for Planted { path, node, age, owner } in tree {
        let path = root.join(path);
        let mut above = root.to_owned();
        let free = path.parent().unwrap().strip_prefix(root).unwrap().components().all(|name| {
            above.push(name);
            match fs::symlink_metadata(&above) {
                Ok(meta) => meta.is_dir(),
                Err(_) => {
                    fs::create_dir(&above).unwrap();
                    made.push((above.clone(), *age, None));
                    true
                }
            }
        });
        if !free || path.symlink_metadata().is_ok() {
            continue;
        }
        let mut mode_after = None;
        match node {
            Node::File { contents, hole, mode } => {
                fs::write(&path, contents).unwrap();
                if *hole {
                    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"end", 300_000).unwrap();
                }
                mode_after = Some(*mode);
                files.push(path.clone());
            }
            Node::Dir { mode } => {
                fs::create_dir(&path).unwrap();
                mode_after = Some(*mode);
            }
            Node::Link(text) => symlink(text, &path).unwrap(),
            Node::Hard(back) => match files.len().checked_sub(1 + back) {
                Some(index) => fs::hard_link(&files[index], &path).unwrap(),
                None => fs::write(&path, "alone").unwrap(),
            },
            Node::Fifo => rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, 0o640.into(), 0).unwrap(),
        }
        chownat(CWD, &path, Some(Uid::from_raw(*owner)), None, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        made.push((path, *age, mode_after));
    }
    for (path, age, mode) in made.into_iter().rev() {
        if let Some(mode) = mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        set_age(&path, age);
    }
}

/// Everything in a world, in words: kind, mode, time, contents, holes, and which names are one file.
fn describe_world(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut first_names: HashMap<u64, PathBuf> = HashMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let (path, meta) = (entry.path(), entry.metadata().unwrap());
        let relative = path.strip_prefix(root).unwrap().to_owned();
        let kind = meta.file_type();
        let what = if kind.is_symlink() {
            format!("link to {:?}", fs::read_link(path).unwrap())
        } else if kind.is_dir() {
            "directory".to_owned()
        } else if kind.is_fifo() {
            "FIFO".to_owned()
        } else {
            let contents = fs::read(path).unwrap();
            let sparse = meta.blocks() * 512 < meta.len() / 2;
            format!(
                "{} bytes{}, {}",
                meta.len(),
                if sparse { ", sparse" } else { "" },
                blake3::hash(&contents).to_hex()
            )
        };
        // To replace a file changes the directory that it is in, and to write into it does not.
        let own_age = if relative == Path::new("src") { SOURCE_AGE } else { TARGET_AGE };
        let time = match (meta.mtime(), meta.mtime_nsec()) {
            (seconds, _) if relative.components().count() == 1 && (seconds == own_age || seconds > 1_000_000) => {
                "any".into()
            }
            (seconds, nanos) if seconds < 1_000_000 => format!("{seconds}.{nanos}"),
            _ => "now".to_owned(),
        };
        let first = first_names.entry(meta.ino()).or_insert_with(|| relative.clone()).clone();
        let same = if first == relative || meta.is_dir() { String::new() } else { format!(", the same as {first:?}") };
        found.insert(relative, format!("{:o} of {}, {time}, {what}{same}", meta.mode(), meta.uid()));
    }
    found
}

fn answer(mut command: Command, yes: bool) -> Output {
    command.env_remove("VERSION_CONTROL").env_remove("SIMPLE_BACKUP_SUFFIX").env("LC_ALL", "C");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who asks nothing may be gone before it is answered.
    let answered = child.stdin.take().unwrap().write_all("y\n".repeat(if yes { 100 } else { 0 }).as_bytes());
    assert!(answered.is_ok() || answered.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe));
    child.wait_with_output().unwrap()
}

#[test]
fn random_commands_do_what_cp_does() {
    if !is_root("mounting memory, and giving every mode") {
        return;
    }
    let mounted = Mounted::new("tmpfs", 512);
    let (count, succeeded) = (AtomicUsize::new(0), AtomicUsize::new(0));
    random::property(1_300, case, |case| {
        let world = tempfile::tempdir_in(&mounted.path).unwrap();
        let (theirs, ours) = (world.path().join("cp"), world.path().join("aiocp"));
        for side in [&theirs, &ours] {
            fs::create_dir(side).unwrap();
            plant(&side.join("src"), &case.source, SOURCE_AGE);
            plant(&side.join("dst"), &case.target, TARGET_AGE);
        }
        let mut cp = Command::new("/bin/cp");
        cp.args(CP_DEFAULTS).args(&case.options).args(&case.operands).current_dir(&theirs);
        let mut own = aiocp();
        own.args(["--no-sync", "--threads=2"]).args(&case.options).args(&case.operands).current_dir(&ours);
        let (cp, own) = (answer(cp, case.yes), answer(own, case.yes));
        let (cp_said, own_said) = (String::from_utf8_lossy(&cp.stderr), String::from_utf8_lossy(&own.stderr));
        if case.is_deliberate(&cp_said) {
            return Ok(());
        }
        let said = || format!("cp: {cp_said}\naiocp: {own_said}");
        let (have, want) = (describe_world(&ours), describe_world(&theirs));
        let paths: BTreeSet<_> = have.keys().chain(want.keys()).collect();
        let differ: Vec<String> = paths
            .into_iter()
            .filter(|path| have.get(*path) != want.get(*path))
            .map(|path| format!("{path:?}\n  cp:    {:?}\n  aiocp: {:?}", want.get(path), have.get(path)))
            .collect();
        prop_assert!(differ.is_empty(), "{}\n{}", differ.join("\n"), said());
        prop_assert_eq!(own.status.success(), cp.status.success(), "whether it succeeds\n{}", said());
        prop_assert!(own.status.code().is_some_and(|code| code < 3), "{:?}", own);
        count.fetch_add(1, Ordering::Relaxed);
        succeeded.fetch_add(usize::from(cp.status.success()), Ordering::Relaxed);
        Ok(())
    });
    let (count, succeeded) = (count.into_inner(), succeeded.into_inner());
    assert!(count >= 1_000 && succeeded > count / 3, "{succeeded} of {count} commands did something");
}

#[test]
fn every_deliberate_difference_stands_in_the_manual() {
    let sections = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/aiocp.sections.roff")).unwrap();
    let plain = |line: &str| line.strip_prefix(".B ").or(line.strip_prefix(".BR ")).unwrap_or(line).replace('\\', "");
    let manual = sections.lines().map(plain).collect::<Vec<_>>().join(" ");
    for (name, _) in DIFFERENCES {
        assert!(manual.contains(name), "the manual says: {name}");
    }
}
