//! Backups of the files that a copy replaces.

mod common;

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::path::Path;

use common::place::{Place, fifo};
use common::*;

#[test]
fn backups_are_named_as_cp_names_them() {
    let place = Place::with(&[("a", "new"), ("b", "old")]);
    let reset = || {
        for name in place.list("") {
            fs::remove_file(place.at(&name)).unwrap();
        }
        fs::write(place.at("a"), "new").unwrap();
        fs::write(place.at("b"), "old").unwrap();
    };
    for (args, names) in [
        (&["-b"][..], &["b~"][..]),
        (&["--backup"], &["b~"]),
        (&["--backup=none"], &[]),
        (&["--backup=off"], &[]),
        (&["--backup=numbered"], &["b.~1~"]),
        (&["--backup=t"], &["b.~1~"]),
        (&["--backup=existing"], &["b~"]),
        (&["--backup=nil"], &["b~"]),
        (&["--backup=simple"], &["b~"]),
        (&["--backup=never"], &["b~"]),
        (&["-b", "-S", ".old"], &["b.old"]),
        (&["-S", ".old"], &["b.old"]),
        (&["-S", "../x"], &["b~"]),
        (&["-b", "-S", ""], &["b~"]),
    ] {
        reset();
        place.cp(&[args, &["a", "b"]].concat());
        assert_eq!(place.list(""), [&["a", "b"], names].concat(), "{args:?}");
        assert_eq!(place.read("b"), "new", "{args:?}");
        assert!(names.iter().all(|name| place.read(name) == "old"), "{args:?}");
    }
    reset();
    run(
        place
            .command(&["-b", "a", "b"])
            .env("VERSION_CONTROL", "t")
            .env("SIMPLE_BACKUP_SUFFIX", "-"),
        0,
    );
    run(
        place
            .command(&["--backup=simple", "a", "b"])
            .env("VERSION_CONTROL", "t")
            .env("SIMPLE_BACKUP_SUFFIX", "-"),
        0,
    );
    assert_eq!(place.list(""), ["a", "b", "b-", "b.~1~"]);
    let output = run(place.command(&["-b", "a", "b"]).env("VERSION_CONTROL", "sometimes"), 2);
    assert!(stderr(&output).contains("invalid value 'sometimes' of VERSION_CONTROL"));
    // Numbered backups continue where some exist.
    place.cp(&["-b", "a", "b"]);
    assert_eq!(place.list(""), ["a", "b", "b-", "b.~1~", "b.~2~"]);
    assert_eq!(place.cp(&["-v", "-b", "a", "b"]), "'a' -> 'b' (backup: 'b.~3~')\n");
}

#[test]
fn backups_keep_links_and_every_file_of_a_merged_tree() {
    let place = Place::with(&[("from/d/f", "new"), ("to/d/f", "old"), ("from/d/g", "g")]);
    symlink("new", place.at("from/l")).unwrap();
    symlink("old", place.at("to/l")).unwrap();
    fifo(&place.at("to/d/g"));
    place.cp(&["-b", "-T", "from", "to"]);
    assert_eq!(place.list("to"), ["d", "l", "l~"]);
    assert_eq!(place.list("to/d"), ["f", "f~", "g", "g~"]);
    assert_eq!(place.read("to/d/f~"), "old");
    assert!(fs::symlink_metadata(place.at("to/d/g~")).unwrap().file_type().is_fifo());
    assert_eq!(fs::read_link(place.at("to/l~")).unwrap(), Path::new("old"));
    assert_eq!(fs::read_link(place.at("to/l")).unwrap(), Path::new("new"));
}

#[test]
fn numbered_backups_of_many_runs_at_once_lose_nothing() {
    let place = Place::with(&[("to/f", "0")]);
    for n in 1..=12 {
        fs::write(place.at(&format!("{n}")), n.to_string()).unwrap();
    }
    let children: Vec<_> = (1..=12)
        .map(|n| {
            place.command(&["--backup=numbered", "-T", &n.to_string(), "to/f"]).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let names = place.list("to");
    // Two runs may keep the same old file: each keeps what it saw, under a name of its own.
    assert_eq!(names.len(), 13, "{names:?}");
    assert!(names.iter().any(|name| place.read(&format!("to/{name}")) == "0"));
    assert!(litter(&place.at("to")).is_empty());
}

#[test]
fn the_old_file_never_lacks_its_name_while_it_is_backed_up() {
    if !have_strace() {
        return;
    }
    let place = Place::with(&[("a", "new"), ("b", "old")]);
    let trace = place.at("trace");
    let mut strace = program("strace");
    strace
        .args(["-f", "-e", "trace=link,linkat,rename,renameat,renameat2,unlink,unlinkat", "-o"])
        .arg(&trace);
    strace
        .arg(assert_cmd::cargo::cargo_bin!("aiocp"))
        .args(["-b", "a", "b"])
        .current_dir(place.at(""));
    run(&mut strace, 0);
    let calls = trace::calls(&trace);
    let moves_away = |call: &str| {
        call.contains("rename")
            && call.split("\"b\"").next().is_some_and(|start| !start.contains(".aiocp-"))
    };
    let of_the_old_file = || calls.iter().filter(|call| call.contains("\"b\""));
    assert!(!of_the_old_file().any(|call| moves_away(call)), "{calls:#?}");
    assert!(!of_the_old_file().any(|call| call.contains("unlink")), "{calls:#?}");
}

#[test]
fn backups_never_cost_the_source() {
    let place = Place::with(&[("a", "a"), ("a~", "source")]);
    let text = place.refused(&["--backup=simple", "a~", "a"]);
    assert!(
        text.contains("cannot replace 'a': its backup would take the place of the source"),
        "{text}"
    );
    assert_eq!((place.read("a"), place.read("a~")), ("a".into(), "source".into()));
    assert!(place.refused(&["-b", "a", "a"]).contains("source and destination are the same file"));
    // With -f, a copy becomes its own backup and stays the same file.
    let inode = place.inode("a");
    fs::hard_link(place.at("a"), place.at("second")).unwrap();
    for (flags, backup) in
        [(&["-b"][..], "a~"), (&["-b"], "a~"), (&["--backup=t"], "a.~1~"), (&["-b"], "a.~2~")]
    {
        place.cp(&[flags, &["-f", "a", "a"]].concat());
        assert_eq!((place.read("a"), place.read(backup)), ("a".into(), "a".into()));
        assert_eq!(place.inode("a"), inode, "{backup}");
        assert_ne!(place.inode(backup), inode, "{backup}");
    }
    assert_eq!(place.list(""), ["a", "a.~1~", "a.~2~", "a~", "second"]);
    assert_eq!(place.cp(&["-v", "-bf", "a", "a"]), "'a' -> 'a.~3~'\n");
    place.cp(&["-lf", "--backup=simple", "a", "a"]);
    assert_eq!(place.inode("a~"), inode, "with -l its backup is one more name");
}

/// The contents of a folder's files, sorted.
fn contents(place: &Place, folder: &str) -> Vec<String> {
    let path = |name: &String| format!("{folder}/{name}");
    let files = place.list(folder).into_iter().filter(|name| place.at(&path(name)).is_file());
    let mut contents: Vec<_> = files.map(|name| place.read(&path(&name))).collect();
    contents.sort();
    contents
}

#[test]
fn a_backup_takes_the_place_of_no_copy_and_no_copy_fails_for_one() {
    for (flag, backup) in
        [("-b", "f~"), ("--backup=simple", "f~"), ("-S.old", "f.old"), ("--backup=t", "f.~2~")]
    {
        let source = [("f", "new"), (backup, "kept"), ("f.~1~", "one")];
        let paths = source.map(|(name, text)| (format!("from/{name}"), text));
        let mut files: Vec<_> = paths.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        files.push(("to/f", "old"));
        let place = Place::with(&files);
        place.cp(&[flag, "-T", "from", "to"]);
        for (name, text) in source {
            assert_eq!(place.read(&format!("to/{name}")), text, "{flag}: {name}");
        }
        assert_eq!(contents(&place, "to"), ["kept", "new", "old", "one"], "{flag}");
        // With -u some files stay. The backup's name was free when the copy looked.
        let place = Place::with(&files);
        place.age("to/f", 1_000);
        place.cp(&[flag, "-u", "-T", "from", "to"]);
        assert_eq!(contents(&place, "to"), ["kept", "new", "old", "one"], "{flag}");
        assert_eq!(place.read(&format!("to/{backup}")), "kept", "{flag}");
    }
}

#[test]
fn a_backup_takes_the_place_of_no_copy_of_another_operand() {
    let place = Place::with(&[("a/d/f~", "kept"), ("b/d/f", "new"), ("to/d/f", "old")]);
    place.cp(&["-b", "a/d", "b/d", "to"]);
    assert_eq!((place.read("to/d/f"), place.read("to/d/f~")), ("new".into(), "kept".into()));
    assert_eq!(contents(&place, "to/d"), ["kept", "new", "old"]);
    // Many pairs at once: either of a pair may come first.
    const PAIRS: usize = 200;
    let names = |folder: &str, suffix: &str| {
        (0..PAIRS).map(|n| format!("{folder}/{n}{suffix}")).collect::<Vec<_>>()
    };
    let (new, kept, old) = (names("x", ""), names("y", "~"), names("z", ""));
    let files: Vec<_> = [(&new, "new"), (&kept, "kept"), (&old, "old")]
        .into_iter()
        .flat_map(|(paths, text)| paths.iter().map(move |path| (path.as_str(), text)))
        .collect();
    let place = Place::with(&files);
    let operands: Vec<_> =
        new.iter().zip(&kept).flat_map(|(new, kept)| [new.as_str(), kept]).collect();
    place.cp(&[&["-b"], &operands[..], &["z"]].concat());
    for n in 0..PAIRS {
        assert_eq!(
            (place.read(&format!("z/{n}")), place.read(&format!("z/{n}~"))),
            ("new".into(), "kept".into()),
            "{n}"
        );
    }
    let texts = contents(&place, "z");
    assert_eq!(texts.iter().filter(|text| *text == "old").count(), PAIRS);
    assert_eq!(texts.len(), 3 * PAIRS);
    // Three operands have one file in common; each replaces what the one before made.
    let place = Place::with(&[("a/d/f", "a"), ("b/d/f", "b"), ("c/d/f", "c"), ("to/d/f", "old")]);
    place.cp(&["-b", "a/d", "b/d", "c/d", "to"]);
    assert_eq!(
        (place.read("to/d/f"), contents(&place, "to/d")),
        ("c".into(), ["a", "b", "c", "old"].map(String::from).to_vec())
    );
    // A file is copied to the name of its own backup.
    let place = Place::with(&[("f", "f"), ("f~", "older"), ("x/f~", "x")]);
    place.cp(&["-bf", "--threads=1", "x/f~", "f", "."]);
    assert_eq!(contents(&place, "."), ["f", "f", "older", "x"]);
}

/// Neither second names nor renames that refuse, as exFAT has them behind FUSE.
#[test]
fn numbered_backups_need_neither_links_nor_flags_of_a_rename() {
    if !have_strace() {
        return;
    }
    let place = Place::with(&[("f", "3"), ("to/f", "2"), ("to/f.~1~", "1")]);
    for (link, rename) in [("EPERM", "EINVAL"), ("EOPNOTSUPP", "ENOSYS")] {
        let faults = [
            format!("inject=linkat:error={link}"),
            format!("inject=renameat2:error={rename}:when=1"),
            "inject=openat:error=EOPNOTSUPP:when=1".to_owned(),
        ];
        let options = faults.iter().flat_map(|fault| ["-e", fault]).collect::<Vec<_>>();
        let mut command = strace(&options, &place.at("trace"));
        command.arg("--backup=numbered").arg(place.at("f")).arg(place.at("to"));
        run(&mut command, 0);
    }
    let numbered = [1, 2, 3].map(|n| place.read(&format!("to/f.~{n}~")));
    assert_eq!((place.read("to/f"), numbered), ("3".into(), ["1", "2", "3"].map(String::from)));
    assert_eq!(place.list("to").len(), 4);
}

#[test]
fn a_copy_that_an_earlier_run_made_is_kept_too() {
    let place = Place::with(&[("from/f", "new"), ("from/f~", "kept"), ("to/f", "old")]);
    fifo(&place.at("from/fifo"));
    let args = ["--resume", "-b", "-T", "from", "to"];
    place.refused(&args);
    assert_eq!(contents(&place, "to"), ["kept", "new", "old"]);
    // The first file is copied again and makes a backup of the existing one.
    fs::write(place.at("from/f"), "newer").unwrap();
    run(&mut place.command(&args), 1);
    assert_eq!((place.read("to/f"), place.read("to/f~")), ("newer".into(), "kept".into()));
    assert_eq!(contents(&place, "to"), ["kept", "new", "newer", "old"]);
}

/// Where nothing can have a second name, the old file has become the backup when the new one fails
/// to get its name.
#[test]
fn a_copy_that_fails_gives_the_old_file_its_name_back() {
    if !have_strace() {
        return;
    }
    for control in ["--backup=simple", "--backup=numbered"] {
        for is_link in [false, true] {
            let place = Place::with(&[("new", "new"), ("old", "old")]);
            if is_link {
                std::fs::remove_file(place.at("new")).unwrap();
                std::os::unix::fs::symlink("somewhere", place.at("new")).unwrap();
            }
            // No second name for anything, and none for what is new: no link is made, and the
            // rename after that of the old file fails.
            let mut faults = vec!["-e", "inject=linkat,symlinkat:error=EPERM"];
            if !is_link {
                faults.extend(["-e", "inject=renameat2:error=EIO:when=2"]);
            }
            let mut copy = strace(&faults, &place.at("trace"));
            let output =
                run(copy.args(["-P", control]).args(["new", "old"].map(|n| place.at(n))), 1);
            let said = stderr(&output);
            assert!(said.contains("/old'"), "{said}");
            assert_eq!(place.read("old"), "old", "{control}: {said}");
            std::fs::remove_file(place.at("trace")).unwrap();
            assert_eq!(place.list("."), ["new", "old"], "{control}");
        }
    }
}
