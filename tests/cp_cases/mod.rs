//! A case: two trees and a command, and which of their files the command reaches.

pub mod differences;
pub mod strategies;
pub mod world;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub enum Node {
    File {
        contents: &'static str,
        hole: bool,
        mode: u32,
    },
    Dir {
        mode: u32,
    },
    Link(&'static str),
    /// Another name of an earlier file, counted back by this number; a new file if there is none.
    Hard(usize),
    Fifo,
}

impl Node {
    /// Whether this is a file or directory whose mode has any of `bits`.
    pub fn has_bits(&self, bits: u32) -> bool {
        matches!(self, Node::File { mode, .. } | Node::Dir { mode } if mode & bits != 0)
    }
}

#[derive(Clone, Debug)]
pub struct Planted {
    pub path: PathBuf,
    pub node: Node,
    pub age: i64,
    /// The id of both user and group.
    pub owner: u32,
    pub extra: Extra,
}

/// What a file or directory has besides data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    Nothing,
    Attribute,
    Acl,
}

#[derive(Clone, Debug)]
pub struct Case {
    /// The trees below `src` and `dst`.
    pub source: Vec<Planted>,
    pub target: Vec<Planted>,
    pub options: Vec<&'static str>,
    pub operands: Vec<&'static str>,
    pub yes: bool,
}

impl Case {
    pub fn option(&self, name: &str) -> bool {
        self.options.contains(&name)
    }

    pub fn has(&self, what: impl Fn(&Node) -> bool) -> bool {
        self.source.iter().any(|planted| what(&planted.node))
    }

    /// Whether `what` holds for a source, or for anything below one.
    pub fn copies(&self, what: impl Fn(&Node) -> bool) -> bool {
        let goals = self.goals();
        let copied = || {
            self.source.iter().filter(|planted| goals.iter().any(|goal| goal.from == planted.path))
        };
        // A hard link shares its file's properties.
        let anywhere =
            self.roams() || copied().any(|planted| matches!(planted.node, Node::Hard(_)));
        if anywhere { self.has(what) } else { copied().any(|planted| what(&planted.node)) }
    }

    /// Whether `what` holds for something that exists where a copy may go.
    pub fn stands(&self, what: impl Fn(&Node) -> bool) -> bool {
        self.standing().into_iter().any(|planted| what(&planted.node))
    }

    pub fn sources_and_destination(&self) -> (Vec<&'static str>, &'static str) {
        let mut names: Vec<_> =
            self.operands.iter().copied().filter(|name| !name.starts_with('-')).collect();
        let destination = names.pop().expect("a command has operands");
        (names, destination)
    }

    /// The names that copies may take: DEST may be the copy's own name or a directory.
    pub fn goals(&self) -> Vec<Goal> {
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

    /// Whether links lead to places that the operands do not name.
    pub fn roams(&self) -> bool {
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

    /// Whether something exists where a copy may go, folders on the way included.
    pub fn is_taken(&self) -> bool {
        let folders = self.target.iter().flat_map(|planted| planted.path.ancestors());
        let folders: BTreeSet<_> = folders.map(|path| Path::new("dst").join(path)).collect();
        self.stands(|_| true)
            || self
                .goals()
                .iter()
                .any(|goal| goal.to != Path::new("dst") && folders.contains(&goal.to))
    }

    /// Everything that exists where a copy may go. With hard links, all files of the tree count if
    /// one of them does.
    pub fn standing(&self) -> Vec<&Planted> {
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

    pub fn keeps_owners(&self) -> bool {
        let keeps = |option: &&str| {
            option.contains("ownership")
                || ["-a", "-p", "--preserve", "--preserve=all"].contains(option)
        };
        self.options.iter().any(keeps)
            && !self.options.iter().any(|option| option.starts_with("--no"))
    }

    /// Whether cp, too, replaces the file rather than writing into it.
    pub fn replaces(&self) -> bool {
        ["--remove-destination", "-b", "--backup=numbered", "--backup=simple", "-S.old"]
            .iter()
            .any(|name| self.option(name))
    }

    pub fn links_instead(&self) -> bool {
        self.option("-l") || self.option("-s")
    }
}

/// A name that a copy may take.
pub struct Goal {
    /// The SOURCE's number.
    pub operand: usize,
    /// The path below `src`.
    pub from: PathBuf,
    /// The whole path.
    pub to: PathBuf,
}

/// The path of an operand below `src`.
fn below_src(operand: &str) -> PathBuf {
    Path::new(operand)
        .components()
        .filter(|part| !matches!(part.as_os_str().as_encoded_bytes(), b"." | b".." | b"src"))
        .collect()
}
