//! The deliberate differences from cp: which cases they affect, and how such a case is compared.

use std::path::Path;

use super::{Case, Extra, Node, Planted};

/// Whether a difference affects a case, judged by the command and by cp's messages.
pub type Meets = fn(&Case, &str) -> bool;

/// How to treat a case that a difference affects.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The case is left out.
    Out,
    /// Modes are compared without setuid, setgid and sticky.
    NoSpecialBits,
    /// The times of directories are not compared.
    NoDirectoryTimes,
}

use Then::{NoDirectoryTimes, NoSpecialBits, Out};

/// Every deliberate difference from cp, by its name in the manual (man/aiocp.sections.roff,
/// DIFFERENCES FROM CP). Each has a treatment and a test of which cases it affects, judged by the
/// command and by cp's messages. All other cases have to agree.
pub const DIFFERENCES: [(&str, Then, Meets); 20] = [
    // cp writes into the existing file: through its other names, and through a link.
    ("replaced and not written into", Out, |case, _| {
        let several_names = case.stands(|node| matches!(node, Node::Link(_) | Node::Hard(_)));
        let kept = case.standing().into_iter().any(|planted| planted.extra != Extra::Nothing);
        (several_names || (case.stands(|_| true) && kept))
            && !case.replaces()
            && !case.links_instead()
    }),
    // cp waits until something reads from the FIFO.
    ("a FIFO is not overwritten", Out, |case, _| {
        case.stands(|node| matches!(node, Node::Fifo)) && !case.replaces()
    }),
    // cp -r makes new ones.
    ("FIFOs, sockets and devices", Out, |case, _| {
        case.copies(|node| matches!(node, Node::Fifo)) && !case.option("-a")
    }),
    // cp sets these bits on a copy with another owner, which an existing file may have.
    ("setuid and setgid are kept only where", NoSpecialBits, |case, _| {
        let bits = |node: &Node| node.has_bits(0o6000);
        let mut all = case.source.iter().chain(&case.target);
        // --parents makes the folders on the way again too.
        let copies = case.copies(bits) || (case.option("--parents") && case.has(bits));
        all.any(|planted| planted.owner != 0) && copies && !case.keeps_owners()
    }),
    // cp gives a directory those three bits of its source anyway.
    ("and takes none of the source's", NoSpecialBits, |case, _| {
        let drops = case.option("--no-preserve=mode") || case.option("--no-preserve=all");
        drops && case.has(|node| matches!(node, Node::Dir { mode } if mode & 0o7000 != 0))
    }),
    // cp replaces a regular file that has other names, and a link, even without -f, but not with -L
    // or -H.
    ("-l and -s replace", Out, |case, _| {
        case.links_instead() && !case.replaces() && case.stands(|_| true)
    }),
    // cp fails: it cannot make a link where something exists.
    ("a symbolic link replaces", Out, |case, _| {
        case.has(|node| matches!(node, Node::Link(_)))
            && case.stands(|_| true)
            && !case.replaces()
            && (case.option("-H") || case.option("--attributes-only"))
    }),
    // cp begins, and stops when it reaches itself or an obstacle before that. It does not notice a
    // followed link.
    ("inside SOURCE is refused before", Out, |case, said| {
        let (sources, destination) = case.sources_and_destination();
        let inside = || sources.iter().any(|source| Path::new(destination).starts_with(source));
        said.contains("into itself")
            || said.contains("File name too long")
            || (said.contains("cannot overwrite non-directory") && inside())
    }),
    // cp leaves the folders that it made on the way to a source that it then cannot copy.
    ("leaves no folders", Out, |case, said| case.option("--parents") && !said.is_empty()),
    // cp leaves these three bits of the existing file.
    ("the whole mode of its source", NoSpecialBits, |case, _| {
        case.stands(|node| node.has_bits(0o7000))
    }),
    // cp has already removed the old file.
    ("A file that fails leaves the old one", Out, |case, said| {
        case.stands(|_| true) && said.contains("relative symbolic links")
    }),
    // cp does not set them again when a later SOURCE goes into the same folders.
    ("the last copy into them", NoDirectoryTimes, |case, _| {
        case.option("--parents") && case.operands.len() > 2
    }),
    // cp 9.1 moves backups from a directory named as DEST into the working directory.
    ("stand where the file is", Out, |case, _| {
        case.option("--backup=simple") && case.operands[0] != "-T"
    }),
    // Depending on the order, cp moves the old file over the copy, or the copy to a backup.
    ("never overwrites a copy of this run", Out, |case, _| {
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
    // cp checks that only if the source is a regular file.
    ("never takes the place of its source", Out, |case, _| {
        case.operands == ["src/a~", "src/a"] && case.replaces()
    }),
    // cp links the source's next name to the old file, even where that is a directory.
    ("-u leaves alone gets no further names", Out, |case, _| {
        let several_names =
            case.has(|node| matches!(node, Node::Hard(_))) || case.operands.len() > 3;
        case.option("-u")
            && case.is_taken()
            && (several_names || case.option("-L") || case.option("-H"))
    }),
    // cp moves the first copy to the backup's name, and then cannot link to it.
    ("named again gets a backup", Out, |case, said| {
        case.option("--backup=numbered") && said.contains("cannot create hard link")
    }),
    // cp refuses the second way.
    ("reached in two ways is copied twice", Out, |_, said| {
        said.contains("will not create hard link")
    }),
    // cp copies what it finds there in its own order.
    ("leads into DEST", Out, |case, _| {
        case.has(|node| matches!(node, Node::Link("../dst/b")))
            && (case.option("-L") || case.option("-H"))
    }),
    ("'..' in a SOURCE", Out, |case, _| {
        case.option("--parents") && case.operands.iter().any(|path| path.contains(".."))
    }),
];

impl Case {
    /// The treatments of all differences that affect the case.
    pub fn then(&self, cp_said: &str) -> Vec<Then> {
        DIFFERENCES
            .iter()
            .filter(|(_, _, meets)| meets(self, cp_said))
            .map(|&(_, then, _)| then)
            .collect()
    }

    pub fn is_out(&self, cp_said: &str) -> bool {
        self.then(cp_said).contains(&Out)
    }
}
