//! What users of rsync and cp type out of habit. It works, or is refused with a word on what does
//! it here. Where it works and means something else than in rsync, a line says so.

mod common;

use common::place::Place;
use common::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

/// What comes of a command line.
enum Answer {
    /// The copy is made, with nothing on standard error, and the check holds.
    Works(fn(&Place)),
    /// It is made too, and standard error has this line.
    Says(&'static str, fn(&Place)),
    /// Exit code 2, nothing is touched, and the two lines are these.
    Refused(&'static str, &'static str),
}

use Answer::{Refused, Says, Works};

/// A is a tree, D an empty directory, E an older copy of A with other contents, and nothing has the
/// name B.
fn world() -> Place {
    let place = Place::with(&[
        ("A/f", "one"),
        ("A/sub/g", "two"),
        ("A/cache/x.tmp", "three"),
        ("D/", ""),
        ("E/f", "old"),
        ("list", "f\nsub/g\n"),
        ("host:file", "local"),
    ]);
    symlink("f", place.at("A/link")).unwrap();
    fs::hard_link(place.at("A/f"), place.at("A/again")).unwrap();
    set_times(&place.at("E/f"), 1_000_000, 0);
    place
}

/// B is A.
fn copied(place: &Place) {
    assert_eq!(describe(&place.at("A")), describe(&place.at("B")));
    let inode = |name: &str| fs::metadata(place.at(name)).unwrap().ino();
    assert_ne!(inode("A/f"), inode("B/f"), "a copy and no link");
    assert_eq!(inode("B/f"), inode("B/again"), "hard links are kept");
}

/// A is in D.
fn copied_into(place: &Place) {
    assert_eq!(describe(&place.at("A")), describe(&place.at("D/A")));
}

/// E is still as it was.
fn left(place: &Place) {
    assert_eq!(place.read("E/f"), "old");
    assert_eq!(place.read("E/sub/g"), "two");
}

fn nothing(place: &Place) {
    assert!(!place.at("B").exists());
}

const UNKNOWN: &str = "unknown option ";

/// Words, and what comes of them.
const HABITS: &[(&str, Answer)] = &[
    // Works as it is meant.
    ("-a A B", Works(copied)),
    ("--archive A B", Works(copied)),
    ("-av A B", Works(copied)),
    ("-r A B", Works(copied)),
    ("-R A B", Works(copied)),
    ("-rp A B", Works(copied)),
    ("-x A B", Works(copied)),
    ("-u A B", Works(copied)),
    ("--update=none -T A E", Works(left)),
    ("-n -T A E", Works(left)),
    ("--no-clobber -T A E", Works(left)),
    ("--dry-run -a A B", Works(nothing)),
    ("--stats A B", Works(copied)),
    ("--sparse=always A B", Works(copied)),
    ("--reflink=auto A B", Works(copied)),
    ("--bwlimit=10000 A B", Works(copied)),
    ("--inplace A B", Works(copied)),
    ("--backup --suffix=.bak -T A E", Works(|place| assert_eq!(place.read("E/f.bak"), "old"))),
    ("--no-preserve=ownership -a A B", Works(copied)),
    ("--one-file-system --max-size=1G A B", Works(copied)),
    ("--files-from=list A B", Works(|place| assert_eq!(place.read("B/sub/g"), "two"))),
    ("-L A B", Works(|place| assert!(fs::symlink_metadata(place.at("B/link")).unwrap().is_file()))),
    (
        "--exclude=*.tmp --exclude=/sub A B",
        Works(|place| assert!(place.at("B/f").exists() && !place.at("B/sub").exists())),
    ),
    (
        "--include=*/ --include=g --exclude=* A B",
        Works(|place| assert!(place.at("B/sub/g").exists() && !place.at("B/f").exists())),
    ),
    ("host:file B", Works(|place| assert_eq!(place.read("B"), "local"))),
    ("A/f ./new:name", Works(|place| assert_eq!(place.read("new:name"), "one"))),
    ("A/f D/12:30", Works(|place| assert_eq!(place.read("D/12:30"), "one"))),
    ("-t D A", Works(copied_into)),
    ("-vt D A/f", Works(|place| assert_eq!(place.read("D/f"), "one"))),
    ("-al A B", Works(|place| assert_eq!(fs::metadata(place.at("B/f")).unwrap().nlink(), 4))),
    // Works, and a line says what it is here.
    (
        "-avP A B",
        Says(
            "hint: -P is --no-dereference, as in cp; rsync's -P is --progress and --resume",
            copied,
        ),
    ),
    (
        "-avn A B",
        Says("warning: -n is --no-clobber, as in cp, and no dry run; --dry-run is one", copied),
    ),
    ("-anq A B", Works(copied)),
    (
        "-av -n A B",
        Says("warning: -n is --no-clobber, as in cp, and no dry run; --dry-run is one", copied),
    ),
    (
        "-aH A B",
        Says(
            "hint: -H follows links given as SOURCE, as in cp; hard links are kept without it",
            copied,
        ),
    ),
    (
        "-aR A/f D",
        Says("hint: -R is --recursive, as in cp; rsync's -R is --parents", |place| {
            assert_eq!(place.read("D/f"), "one")
        }),
    ),
    (
        "-rl A B",
        Says(
            "warning: -l makes hard links instead of copies, as in cp; symbolic links are kept \
             without it",
            |place| assert_eq!(fs::metadata(place.at("B/f")).unwrap().nlink(), 4),
        ),
    ),
    (
        "-rt D A",
        Says(
            "warning: -t names the directory to copy into: 'A' is copied into 'D'; times are kept \
             without -t",
            copied_into,
        ),
    ),
    (
        "-a A/ D",
        Says(
            "hint: 'A/' becomes 'D/A', as in cp; with -T its contents are merged into DEST",
            copied_into,
        ),
    ),
    // Would do something else than is meant.
    (
        "-rt A B",
        Refused(
            "'-rt' names 'A' as the directory to copy into, and there is no SOURCE 'B'",
            "leave out -t, which is --target-directory: times are kept without it",
        ),
    ),
    (
        "-at A/f E/f",
        Refused(
            "'-at' names 'A/f' as the directory to copy into, and 'A/f' is not a directory",
            "leave out -t, which is --target-directory: times are kept without it",
        ),
    ),
    (
        "-rtv A B",
        Refused(
            "'-rtv' names 'v' as the directory to copy into",
            "leave out -t, which is --target-directory: times are kept without it",
        ),
    ),
    (
        "-rlptgoD A B",
        Refused(
            "'-rlptgoD' names 'goD' as the directory to copy into",
            "leave out -t, which is --target-directory: times are kept without it",
        ),
    ),
    (
        "-aSv A B",
        Refused(
            "'-aSv' gives backups the suffix 'v'",
            "leave out -S, which is --suffix: holes are kept without it",
        ),
    ),
    (
        "-aS A B",
        Refused(
            "a destination is missing after 'B'",
            "-S took 'A' as the SUFFIX of backups; holes are kept without it",
        ),
    ),
    (
        "A user@host:dir",
        Refused(
            "'user@host:dir' names another machine, and aiocp copies on this one alone",
            "sshfs mounts it, and rsync copies over ssh; './user@host:dir' is a file here",
        ),
    ),
    (
        "-t host: A",
        Refused(
            "'host:' names another machine, and aiocp copies on this one alone",
            "sshfs mounts it, and rsync copies over ssh; './host:' is a file here",
        ),
    ),
    (
        "host:path B",
        Refused(
            "'host:path' names another machine, and aiocp copies on this one alone",
            "sshfs mounts it, and rsync copies over ssh; './host:path' is a file here",
        ),
    ),
    (
        "rsync://host/module B",
        Refused(
            "'rsync://host/module' is an address, and aiocp copies on this machine alone",
            "rsync copies from and to rsync://, and curl from most others",
        ),
    ),
    // What is not there.
    ("-z A B", Refused("'-z'", "leave it out: nothing goes over a network")),
    ("-avz A B", Refused("'-z'", "leave it out: nothing goes over a network")),
    ("--compress A B", Refused("'--compress'", "leave it out: nothing goes over a network")),
    ("--info=progress2 A B", Refused("'--info'", "--progress shows progress")),
    ("--partial A B", Refused("'--partial'", "--resume continues an interrupted copy")),
    ("--append A B", Refused("'--append'", "--resume continues an interrupted copy")),
    ("--links A B", Refused("'--links'", "leave it out: symbolic links are copied as links")),
    ("-c A B", Refused("'-c'", "not yet; --verify-only compares contents")),
    ("--checksum A B", Refused("'--checksum'", "not yet; --verify-only compares contents")),
    ("--ignore-existing A E", Refused("'--ignore-existing'", "-n, --no-clobber leaves")),
    ("--existing A E", Refused("'--existing'", "not yet: what DEST lacks")),
    ("--size-only A E", Refused("'--size-only'", "not yet; -u replaces")),
    ("--no-owner -a A B", Refused("'--no-owner'", "owners are kept by -p and -a alone")),
    ("--delete A E", Refused("'--delete'", "not yet: aiocp removes nothing from DEST")),
    ("--delete-after A E", Refused("'--delete-after'", "not yet: aiocp removes nothing")),
    ("--remove-source-files A B", Refused("'--remove-source-files'", "not yet: aiocp removes")),
    ("-aAX A B", Refused("'-A'", "leave it out: ACLs are kept with the mode")),
    ("-aX A B", Refused("'-X'", "-a or --preserve=xattr keeps extended attributes")),
    ("--hard-links A B", Refused("'--hard-links'", "leave it out: it is kept by default")),
    ("--human-readable A B", Refused("'--human-readable'", "leave it out")),
    ("--numeric-ids A B", Refused("'--numeric-ids'", "leave it out: -p and -a keep owners")),
    ("--backup-dir=old A E", Refused("'--backup-dir'", "not yet; -b keeps the replaced file")),
    ("--link-dest=../D A B", Refused("'--link-dest'", "not yet; 'aiocp -l' makes a tree")),
    ("-e ssh A B", Refused("'-e'", "aiocp copies on this machine alone")),
    ("--relative A D", Refused("'--relative'", "--parents recreates SOURCE's leading")),
    ("--copy-links A B", Refused("'--copy-links'", "-L follows all symbolic links")),
    ("--times A B", Refused("'--times'", "leave it out: it is kept by default")),
    ("-D A B", Refused("'-D'", "-a copies FIFOs, sockets and devices")),
    ("-W A B", Refused("'-W'", "leave it out: what is not left alone")),
    ("--mkpath A x/B", Refused("'--mkpath'", "not yet: mkdir -p makes DEST's folder")),
    ("--chown=me A B", Refused("'--chown'", "not yet: chmod and chown change the copy")),
    ("--itemize-changes A B", Refused("'--itemize-changes'", "-v prints each file")),
    ("--filter=-_x A B", Refused("'--filter'", "--exclude and --include take rsync's patterns")),
    ("--copy-contents A B", Refused("'--copy-contents'", "not yet: cat and dd do it")),
];

fn refused(place: &Place, typed: &str, (what, hint): (&str, &str)) {
    let before = describe(&place.at("."));
    let args: Vec<_> = typed.split(' ').collect();
    let output = run(&mut place.command(&args), 2);
    let said = stderr(&output);
    let what = match what.starts_with("'-") && !what.contains(' ') {
        true => format!("{UNKNOWN}{what}\n"),
        false => format!("{what}\n"),
    };
    let wanted = format!("aiocp: {what}aiocp: hint: {hint}");
    assert!(said.starts_with(&wanted) && said.lines().count() == 2, "{typed}: {said}");
    assert_eq!(describe(&place.at(".")), before, "{typed}");
    assert!(output.stdout.is_empty(), "{typed}: {output:?}");
}

#[test]
fn a_habit_works_or_gets_a_word() {
    for (typed, answer) in HABITS {
        let place = world();
        let works = || {
            let args: Vec<_> = typed.split(' ').collect();
            stderr(&run(&mut place.command(&args), 0))
        };
        match answer {
            Works(check) => {
                assert_eq!(works(), "", "{typed}");
                check(&place);
            }
            Says(line, check) => {
                assert_eq!(works(), format!("aiocp: {line}\n"), "{typed}");
                check(&place);
            }
            Refused(what, hint) => refused(&place, typed, (what, hint)),
        }
    }
    assert!(HABITS.len() >= 40);
}

#[test]
fn h_alone_is_help() {
    let output = run(aiocp().arg("-h"), 0);
    assert!(output.stdout.starts_with(b"Usage: aiocp"), "{output:?}");
}

#[test]
fn prepared_answers_meet_the_files_in_the_order_of_the_operands() {
    let names = ["h", "f", "g", "z", "a", "m"];
    for _ in 0..5 {
        let place = Place::with(&[("to/", "")]);
        for name in names {
            fs::write(place.at(name), "new").unwrap();
            fs::write(place.at("to").join(name), "old").unwrap();
        }
        let mut copy = place.command(&["-i"]);
        let output = run_with(copy.args(names).arg("to"), b"y\nn\ny\nn\nn\ny\n", 0);
        let asked = names.map(|name| format!("aiocp: overwrite 'to/{name}'? ")).concat();
        assert_eq!(stderr(&output), asked);
        for (name, wanted) in names.into_iter().zip(["new", "old", "new", "old", "old", "new"]) {
            assert_eq!(place.read(&format!("to/{name}")), wanted, "{name}");
        }
    }
}
