//! The same command with GNU cp and with aiocp, on random trees, over random destinations, with
//! random options: the trees that result are the same, and so is whether the exit code is 0.

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
use rustix::fs::{AtFlags, CWD, Gid, Timespec, Timestamps, Uid, chownat};

/// What cp is given so that it does what aiocp does by default.
const CP_DEFAULTS: [&str; 3] = ["-r", "-d", "--preserve=mode,timestamps,links"];

/// Whether a case meets a difference, by what is asked and by what cp says.
type Meets = fn(&Case, &str) -> bool;

/// What becomes of a case that meets a difference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// It is left out.
    Out,
    /// Modes are compared without setuid, setgid and sticky.
    NoSpecialBits,
    /// Times of directories are not compared.
    NoDirectoryTimes,
}
use Then::{NoDirectoryTimes, NoSpecialBits, Out};

/// Every deliberate difference from cp, by the name that it has in the manual
/// (man/aiocp.sections.roff, DIFFERENCES FROM CP), which cases meet it, by what is asked and by
/// what cp says, and what becomes of them. All others have to agree.
const DIFFERENCES: [(&str, Then, Meets); 20] = [
    // cp writes into the file that stands there: through its other names, and through a link.
    ("replaced and not written into", Out, |case, _| {
        let several_names = case.stands(|node| matches!(node, Node::Link(_) | Node::Hard(_)));
        let kept = case.options.iter().any(|option| option.starts_with("--no-preserve"))
            || case
                .standing()
                .into_iter()
                .any(|planted| planted.owner != 0 || planted.extra != Extra::Nothing);
        (several_names || (case.stands(|_| true) && kept))
            && !case.replaces()
            && !case.links_instead()
    }),
    // cp waits for somebody to read from it.
    ("a FIFO is not overwritten", Out, |case, _| {
        case.stands(|node| matches!(node, Node::Fifo)) && !case.replaces()
    }),
    // cp -r makes new ones.
    ("FIFOs, sockets and devices", Out, |case, _| {
        case.copies(|node| matches!(node, Node::Fifo)) && !case.option("-a")
    }),
    // cp gives them to a copy that belongs to somebody else, as what stands there may.
    ("setuid and setgid are kept only where", NoSpecialBits, |case, _| {
        let bits = |node: &Node| node.has_bits(0o6000);
        let mut all = case.source.iter().chain(&case.target);
        // Folders on the way to what is copied are made again too.
        let copies = case.copies(bits) || (case.option("--parents") && case.has(bits));
        all.any(|planted| planted.owner != 0) && copies && !case.keeps_owners()
    }),
    // cp gives a directory those three bits of its source all the same.
    ("and takes none of the source's", NoSpecialBits, |case, _| {
        let drops = case.option("--no-preserve=mode") || case.option("--no-preserve=all");
        drops && case.has(|node| matches!(node, Node::Dir { mode } if mode & 0o7000 != 0))
    }),
    // cp replaces a regular file that has other names, and a link, also without -f, but not with -L
    // or -H.
    ("-l and -s replace", Out, |case, _| {
        case.links_instead() && !case.replaces() && case.stands(|_| true)
    }),
    // cp fails: a link cannot be made where something stands.
    ("a symbolic link replaces", Out, |case, _| {
        case.has(|node| matches!(node, Node::Link(_)))
            && case.stands(|_| true)
            && !case.replaces()
            && (case.option("-H") || case.option("--attributes-only"))
    }),
    // cp begins, and stops when it meets itself, or before that something in its way; through a
    // followed link it does not notice.
    ("inside SOURCE is refused before", Out, |case, said| {
        let (sources, destination) = case.sources_and_destination();
        let inside = || sources.iter().any(|source| Path::new(destination).starts_with(source));
        said.contains("into itself")
            || said.contains("File name too long")
            || (said.contains("cannot overwrite non-directory") && inside())
    }),
    // cp leaves the folders that it made on the way to what it then cannot copy.
    ("leaves no folders", Out, |case, said| case.option("--parents") && !said.is_empty()),
    // cp leaves these three bits of what stands there.
    ("the whole mode of its source", NoSpecialBits, |case, _| {
        case.stands(|node| node.has_bits(0o7000))
    }),
    // cp has removed the old one by then.
    ("A file that fails leaves the old one", Out, |case, said| {
        case.stands(|_| true) && said.contains("relative symbolic links")
    }),
    // cp does not set them again when a later SOURCE goes there too.
    ("the last copy into them", NoDirectoryTimes, |case, _| {
        case.option("--parents") && case.operands.len() > 2
    }),
    // cp 9.1 moves them from a directory that is named as DEST into the working directory.
    ("stand where the file is", Out, |case, _| {
        case.option("--backup=simple") && case.operands[0] != "-T"
    }),
    // cp moves the old file over the copy, or the copy to a backup of its own, as they come.
    ("takes the place of no copy", Out, |case, _| {
        let goals = case.goals();
        let is_wanted = |planted: &Planted, root: &str| {
            let mut backup = Path::new(root).join(&planted.path).into_os_string();
            backup.push("~");
            goals.iter().any(|goal| goal.to == Path::new(&backup))
        };
        let simple = case.option("-b") || case.option("--backup=simple");
        let any_wanted = || {
            case.standing()
                .into_iter()
                .any(|planted| ["dst", "src"].iter().any(|root| is_wanted(planted, root)))
        };
        simple && any_wanted()
    }),
    // cp makes sure of that only where the source is a regular file.
    ("never takes the place of its source", Out, |case, _| {
        case.operands == ["src/a~", "src/a"] && case.replaces()
    }),
    // cp links the next name of the source to it, also where it is a directory.
    ("-u leaves alone gets no further names", Out, |case, _| {
        let several_names =
            case.has(|node| matches!(node, Node::Hard(_))) || case.operands.len() > 3;
        case.option("-u")
            && case.is_taken()
            && (several_names || case.option("-L") || case.option("-H"))
    }),
    // cp moves the first copy to its backup's name, and then cannot link to it.
    ("named again gets a backup", Out, |case, said| {
        case.option("--backup=numbered") && said.contains("cannot create hard link")
    }),
    // cp refuses the second.
    ("reached in two ways is copied twice", Out, |_, said| {
        said.contains("will not create hard link")
    }),
    // cp copies what it finds there in an order of its own.
    ("leads into DEST", Out, |case, _| {
        case.has(|node| matches!(node, Node::Link("../dst/b")))
            && (case.option("-L") || case.option("-H"))
    }),
    ("'..' in a SOURCE", Out, |case, _| {
        case.option("--parents") && case.operands.iter().any(|path| path.contains(".."))
    }),
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

impl Node {
    /// Whether it is a file or directory whose mode has any of `bits`.
    fn has_bits(&self, bits: u32) -> bool {
        matches!(self, Node::File { mode, .. } | Node::Dir { mode } if mode & bits != 0)
    }
}

#[derive(Clone, Debug)]
struct Planted {
    path: PathBuf,
    node: Node,
    age: i64,
    /// User and group.
    owner: u32,
    extra: Extra,
}

/// What a file or directory has besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    Nothing,
    Attribute,
    Acl,
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

    /// Whether a source, or anything below one, is this.
    fn copies(&self, what: impl Fn(&Node) -> bool) -> bool {
        let goals = self.goals();
        let copied = || {
            self.source.iter().filter(|planted| goals.iter().any(|goal| goal.from == planted.path))
        };
        // What a hard link has, the file has whose name it is.
        let anywhere =
            self.roams() || copied().any(|planted| matches!(planted.node, Node::Hard(_)));
        if anywhere { self.has(what) } else { copied().any(|planted| what(&planted.node)) }
    }

    /// Whether something stands where a copy may go, and is this.
    fn stands(&self, what: impl Fn(&Node) -> bool) -> bool {
        self.standing().into_iter().any(|planted| what(&planted.node))
    }

    fn sources_and_destination(&self) -> (Vec<&'static str>, &'static str) {
        let mut names: Vec<_> =
            self.operands.iter().copied().filter(|name| !name.starts_with('-')).collect();
        let destination = names.pop().expect("a command has operands");
        (names, destination)
    }

    /// Where copies may go: a DEST may be the copy's own name or a directory.
    fn goals(&self) -> Vec<Goal> {
        let (sources, destination) = self.sources_and_destination();
        let mut goals = Vec::new();
        for (operand, source) in sources.into_iter().enumerate() {
            let root = below_src(source);
            for path in self.source.iter().flat_map(|planted| planted.path.ancestors()) {
                let Ok(tail) = path.strip_prefix(&root) else { continue };
                let own = Path::new("src").join(&root);
                let mut to = vec![Path::new(destination).join(own.file_name().unwrap()).join(tail)];
                to.push(Path::new(destination).join(tail));
                to.push(Path::new(destination).join("src").join(path));
                goals.extend(to.into_iter().map(|to| Goal { operand, from: path.to_owned(), to }));
            }
        }
        goals
    }

    /// Whether links lead to where the operands do not say.
    fn roams(&self) -> bool {
        let link = |tree: &[Planted], path: &Path| {
            tree.iter().any(|planted| planted.path == path && matches!(planted.node, Node::Link(_)))
        };
        let (sources, destination) = self.sources_and_destination();
        let in_target =
            destination.strip_prefix("dst").map(|path| Path::new(path.trim_matches('/')));
        let through = |source: &str| {
            let path = below_src(source);
            path.ancestors()
                .skip(usize::from(!source.ends_with('/')))
                .any(|above| link(&self.source, above))
        };
        let follows = self.option("-L") || self.option("-H");
        (follows && self.has(|node| matches!(node, Node::Link(_))))
            || in_target.is_some_and(|path| link(&self.target, path))
            || (destination.starts_with("src") && link(&self.source, &below_src(destination)))
            || sources.into_iter().any(through)
    }

    /// Whether something stands where a copy may go, be it a folder on the way to something.
    fn is_taken(&self) -> bool {
        let folders = self.target.iter().flat_map(|planted| planted.path.ancestors());
        let folders: BTreeSet<_> = folders.map(|path| Path::new("dst").join(path)).collect();
        self.stands(|_| true)
            || self
                .goals()
                .iter()
                .any(|goal| goal.to != Path::new("dst") && folders.contains(&goal.to))
    }

    /// What stands where a copy may go, and all files of a tree with hard links if one of them
    /// does.
    fn standing(&self) -> Vec<&Planted> {
        let (goals, roams) = (self.goals(), self.roams());
        let met = |root: &str, planted: &Planted| {
            let path = Path::new(root).join(&planted.path);
            goals.iter().any(|goal| goal.to == path)
        };
        // An earlier SOURCE may have gone there.
        let twice = |planted: &Planted| {
            let own = goals.iter().filter(|goal| goal.from == planted.path);
            let is_other =
                |own: &Goal, goal: &Goal| own.to == goal.to && own.operand != goal.operand;
            own.into_iter().any(|own| goals.iter().any(|goal| is_other(own, goal)))
        };
        let in_source = self.operands.last().is_some_and(|last| last.starts_with("src"));
        let target = self.target.iter().filter(|planted| roams || met("dst", planted));
        let source = self
            .source
            .iter()
            .filter(|planted| twice(planted) || (in_source && (roams || met("src", planted))));
        let mut standing: Vec<_> = target.chain(source).collect();
        let is_file =
            |planted: &&Planted| matches!(planted.node, Node::File { .. } | Node::Hard(_));
        let all = || self.target.iter().chain(&self.source);
        if standing.iter().any(is_file)
            && all().any(|planted| matches!(planted.node, Node::Hard(_)))
        {
            standing.extend(all().filter(is_file));
        }
        standing
    }

    fn keeps_owners(&self) -> bool {
        let keeps = |option: &&str| {
            option.contains("ownership")
                || ["-a", "-p", "--preserve", "--preserve=all"].contains(option)
        };
        self.options.iter().any(keeps)
            && !self.options.iter().any(|option| option.starts_with("--no"))
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

    /// What becomes of it, by all the differences that it meets.
    fn then(&self, cp_said: &str) -> Vec<Then> {
        DIFFERENCES
            .iter()
            .filter(|(_, _, meets)| meets(self, cp_said))
            .map(|&(_, then, _)| then)
            .collect()
    }

    fn is_out(&self, cp_said: &str) -> bool {
        self.then(cp_said).contains(&Out)
    }
}

/// A name that a copy may take.
struct Goal {
    /// Which SOURCE, by its number.
    operand: usize,
    /// The path below `src`.
    from: PathBuf,
    /// The whole path.
    to: PathBuf,
}

/// The path of an operand below `src`.
fn below_src(operand: &str) -> PathBuf {
    Path::new(operand)
        .components()
        .filter(|part| !matches!(part.as_os_str().as_encoded_bytes(), b"." | b".." | b"src"))
        .collect()
}

fn path() -> impl Strategy<Value = PathBuf> {
    let names = select(&["a", "b", "c", "d", "a~", "odd \n\\", "-n"][..]);
    prop::collection::vec(names, 1..4).prop_map(|names| names.into_iter().collect())
}

/// Where symbolic links lead.
const LINKS: [&str; 10] =
    ["a", "../a", "b/c", "gone", ".", "..", "../../src/a", "../src/a", "../dst/b", "/gone"];

fn node() -> impl Strategy<Value = Node> {
    let mode = || select(&[0o644, 0o600, 0o755, 0o444, 0o4755, 0o2711, 0o1777][..]);
    let contents = select(&["", "one", "two", "three\n"][..]);
    let link = select(&LINKS[..]);
    prop_oneof![
        10 => (contents, prop::bool::weighted(0.1), mode())
            .prop_map(|(contents, hole, mode)| Node::File { contents, hole, mode }),
        6 => mode().prop_map(|mode| Node::Dir { mode }),
        4 => link.prop_map(Node::Link),
        2 => (0..3usize).prop_map(Node::Hard),
        1 => Just(Node::Fifo),
    ]
}

fn tree(sizes: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Planted>> {
    let owner = prop_oneof![4 => Just(0), 1 => Just(1234)];
    let extra =
        prop_oneof![6 => Just(Extra::Nothing), 1 => Just(Extra::Attribute), 1 => Just(Extra::Acl)];
    let planted = (path(), node(), 1_000..1_004i64, owner, extra);
    let planted = planted.prop_map(|(path, node, age, owner, extra)| Planted {
        path,
        node,
        age,
        owner,
        extra,
    });
    prop::collection::vec(planted, sizes)
}

/// Random options in random order, at most one of each row.
fn options() -> impl Strategy<Value = Vec<&'static str>> {
    let rows: [&'static [&'static str]; 14] = [
        &["-n", "-u", "-i", "-u", "-f", "--no-clobber"],
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
        &["--sparse=always", "--sparse=never", "--sparse=auto"],
        &["--reflink=auto", "--reflink=never"],
        &["-x", "-R"],
        &["-v"],
        &["-a", "-p", "-a", "--preserve=all", "--preserve=ownership", "--preserve=xattr"],
        &[
            "-a",
            "--no-preserve=mode",
            "--no-preserve=links",
            "--no-preserve=timestamps",
            "--no-preserve=all",
        ],
        &["--preserve=mode,ownership", "--preserve", "--no-preserve=ownership,links"],
    ];
    subsequence((0..rows.len()).collect::<Vec<_>>(), 0..5)
        .prop_flat_map(move |rows_used| {
            rows_used.into_iter().map(|row| select(rows[row])).collect::<Vec<_>>()
        })
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

fn any_case() -> impl Strategy<Value = Case> {
    (tree(1..14), tree(0..8), options(), select(&OPERANDS[..]), any::<bool>()).prop_map(
        |(source, target, mut options, operands, yes)| {
            let mut operands = operands.to_vec();
            if operands[0] == "--parents" {
                options.push(operands.remove(0));
            }
            Case { source, target, options, operands, yes }
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    any_case().prop_filter("a deliberate difference", |case| !case.is_out(""))
}

/// When the two trees themselves were changed last.
const SOURCE_AGE: i64 = 999;
const TARGET_AGE: i64 = 998;

fn set_age(path: &Path, age: i64) {
    let time = Timespec { tv_sec: age, tv_nsec: 123_456_789 };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Makes what can be made: a path that is taken, or leads through something that is no directory,
/// is left out.
fn plant(root: &Path, tree: &[Planted], age: i64) {
    fs::create_dir(root).unwrap();
    let mut files: Vec<PathBuf> = Vec::new();
    let mut made: Vec<(PathBuf, i64, Option<u32>)> = vec![(root.to_owned(), age, None)];
    for Planted { path, node, age, owner, extra } in tree {
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
                    fs::OpenOptions::new()
                        .write(true)
                        .open(&path)
                        .unwrap()
                        .write_all_at(b"end", 300_000)
                        .unwrap();
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
            Node::Fifo => {
                rustix::fs::mknodat(CWD, &path, rustix::fs::FileType::Fifo, 0o640.into(), 0)
                    .unwrap()
            }
        }
        let (user, group) = (Uid::from_raw(*owner), Gid::from_raw(*owner));
        chownat(CWD, &path, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).unwrap();
        match extra {
            Extra::Attribute if mode_after.is_some() => {
                hard::set_xattr(&path, "trusted.planted", b"value")
            }
            Extra::Acl if mode_after.is_some() => {
                hard::set_xattr(&path, hard::ACCESS, &hard::acl([6, 7, 5, 4, 7, 5]))
            }
            _ => {}
        }
        made.push((path, *age, mode_after));
    }
    for (path, age, mode) in made.into_iter().rev() {
        if let Some(mode) = mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        set_age(&path, age);
    }
}

/// Everything in a world, in words: kind, mode, time, contents, holes, and which names are one
/// file.
fn describe_world(root: &Path, destination: &Path, then: &[Then]) -> BTreeMap<PathBuf, String> {
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
            _ if kind.is_dir() && then.contains(&NoDirectoryTimes) => "any".into(),
            _ if kind.is_dir()
                && relative == destination
                && destination.components().count() > 1 =>
            {
                "any".into()
            }
            (seconds, _)
                if relative.components().count() == 1
                    && (seconds == own_age || seconds > 1_000_000) =>
            {
                "any".into()
            }
            (seconds, nanos) if seconds < 1_000_000 => format!("{seconds}.{nanos}"),
            _ => "now".to_owned(),
        };
        let first = first_names.entry(meta.ino()).or_insert_with(|| relative.clone()).clone();
        let same = if first == relative || meta.is_dir() {
            String::new()
        } else {
            format!(", the same as {first:?}")
        };
        let mode = meta.mode() & if then.contains(&NoSpecialBits) { !0o7000 } else { !0 };
        let has = |name: &&str| !kind.is_symlink() && hard::xattr(path, name).is_some();
        let extra: Vec<_> = ["trusted.planted", hard::ACCESS].into_iter().filter(has).collect();
        let owner = (meta.uid(), meta.gid());
        found.insert(
            relative,
            format!("{mode:o} of {owner:?}, {time}, {what}{same} {}", extra.join(" ")),
        );
    }
    found
}

fn answer(mut command: Command, yes: bool) -> Output {
    command.env_remove("VERSION_CONTROL").env_remove("SIMPLE_BACKUP_SUFFIX").env("LC_ALL", "C");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Who asks nothing may be gone before it is answered.
    let answered =
        child.stdin.take().unwrap().write_all("y\n".repeat(if yes { 100 } else { 0 }).as_bytes());
    assert!(
        answered.is_ok()
            || answered.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    );
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
        own.args(["--no-sync", "--threads=2"])
            .args(&case.options)
            .args(&case.operands)
            .current_dir(&ours);
        let (cp, own) = (answer(cp, case.yes), answer(own, case.yes));
        let (cp_said, own_said) =
            (String::from_utf8_lossy(&cp.stderr), String::from_utf8_lossy(&own.stderr));
        let then = case.then(&cp_said);
        if then.contains(&Out) {
            return Ok(());
        }
        let destination = Path::new(case.sources_and_destination().1);
        let said = || format!("cp: {cp_said}\naiocp: {own_said}");
        let (have, want) = (
            describe_world(&ours, destination, &then),
            describe_world(&theirs, destination, &then),
        );
        let paths: BTreeSet<_> = have.keys().chain(want.keys()).collect();
        let differ: Vec<String> = paths
            .into_iter()
            .filter(|path| have.get(*path) != want.get(*path))
            .map(|path| {
                format!("{path:?}\n  cp:    {:?}\n  aiocp: {:?}", want.get(path), have.get(path))
            })
            .collect();
        prop_assert!(differ.is_empty(), "{}\n{}", differ.join("\n"), said());
        prop_assert_eq!(
            own.status.success(),
            cp.status.success(),
            "whether it succeeds\n{}",
            said()
        );
        prop_assert!(own.status.code().is_some_and(|code| code < 3), "{:?}", own);
        count.fetch_add(1, Ordering::Relaxed);
        succeeded.fetch_add(usize::from(cp.status.success()), Ordering::Relaxed);
        Ok(())
    });
    let (count, succeeded) = (count.into_inner(), succeeded.into_inner());
    assert!(
        count >= 1_000 && succeeded > count / 3,
        "{succeeded} of {count} commands did something"
    );
}

#[test]
fn every_deliberate_difference_stands_in_the_manual() {
    let sections =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man/aiocp.sections.roff"))
            .unwrap();
    let plain = |line: &str| {
        line.strip_prefix(".B ").or(line.strip_prefix(".BR ")).unwrap_or(line).replace('\\', "")
    };
    let manual = sections.lines().map(plain).collect::<Vec<_>>().join(" ");
    for (name, ..) in DIFFERENCES {
        assert!(manual.contains(name), "the manual says: {name}");
    }
}

/// Else random commands would be compared on empty trees and without options.
#[test]
fn no_deliberate_difference_swallows_many_cases() {
    let cases = AtomicUsize::new(0);
    let (out, by_name) = (AtomicUsize::new(0), DIFFERENCES.map(|_| AtomicUsize::new(0)));
    random::property(1_000, any_case, |case| {
        cases.fetch_add(1, Ordering::Relaxed);
        for ((_, then, meets), count) in DIFFERENCES.iter().zip(&by_name) {
            count.fetch_add(usize::from(*then == Out && meets(&case, "")), Ordering::Relaxed);
        }
        out.fetch_add(usize::from(case.is_out("")), Ordering::Relaxed);
        Ok(())
    });
    let (cases, out) = (cases.into_inner(), out.into_inner());
    let counts =
        DIFFERENCES.iter().zip(by_name).map(|((name, ..), count)| (*name, count.into_inner()));
    let many: Vec<_> = counts.filter(|(_, count)| *count > cases / 3).collect();
    assert!(many.is_empty(), "of {cases} cases: {many:?}");
    assert!(out < cases / 2, "{out} of {cases} cases");
}
