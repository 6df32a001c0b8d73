//! cp's behaviour, flag by flag, and what each flag refuses.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;

use common::elsewhere::Elsewhere;
use common::place::{Place, fifo};
use common::*;

#[test]
fn n_and_update_decide_what_is_replaced() {
    let place = Place::with(&[("a", "new"), ("old", "old"), ("young", "young"), ("same", "same")]);
    let set = |name: &str, age| place.age(name, age);
    for (name, age) in [("a", 100), ("old", 99), ("young", 101), ("same", 100)] {
        set(name, age);
    }
    for flags in [&["-n"][..], &["--no-clobber"], &["--update=none"], &["-i", "-n"], &["-u", "-n"]]
    {
        let args = [flags, &["-v", "a", "old"]].concat();
        assert_eq!(place.cp(&args), "skipped 'old': it exists\n", "{flags:?}");
        assert_eq!(place.read("old"), "old");
    }
    assert!(
        place
            .refused(&["--update=none-fail", "a", "old"])
            .contains("cannot replace 'old': it exists")
    );
    place.cp(&["--update=none-fail", "a", "fresh"]);
    for flag in ["-u", "--update", "--update=older"] {
        for kept in ["young", "same"] {
            place.cp(&[flag, "a", kept]);
            assert_eq!(place.read(kept), kept, "{flag}");
        }
        fs::write(place.at("old"), "old").unwrap();
        set("old", 99);
        place.cp(&[flag, "a", "old"]);
        assert_eq!(place.read("old"), "new", "{flag}");
    }
    place.cp(&["--update=all", "a", "young"]);
    assert_eq!(place.read("young"), "new");
    assert_eq!(figure(&place.cp(&["--stats", "-n", "a", "young"]), "skipped"), 1);
}

#[test]
fn what_is_left_alone_is_not_read_and_directories_are_merged_all_the_same() {
    if !have_strace() {
        return;
    }
    let place = Place::with(&[("from/sub/f", "new"), ("from/sub/g", "new"), ("to/sub/f", "old")]);
    place.cp(&["-n", "-T", "from", "to"]);
    assert_eq!((place.read("to/sub/f"), place.read("to/sub/g")), ("old".into(), "new".into()));
    let trace = place.at("trace");
    let mut strace = program("strace");
    strace
        .args(["-f", "-e", "trace=pread64,read,io_submit", "-P"])
        .arg(place.at("from/sub/f"))
        .arg("-o")
        .arg(&trace);
    strace
        .arg(assert_cmd::cargo::cargo_bin!("aiocp"))
        .args(["-n", "-T", "from", "to"])
        .current_dir(place.at(""));
    run(&mut strace, 0);
    let calls = trace::calls(&trace);
    assert!(!calls.iter().any(|call| call.contains("read")), "its data is not read: {calls:?}");
}

#[test]
fn questions_are_asked_one_at_a_time_and_only_a_yes_replaces() {
    let place = Place::with(&[("a", "new"), ("b", "old")]);
    for (answer, text) in [
        ("n\n", "old"),
        ("", "old"),
        ("\n", "old"),
        ("no\n", "old"),
        ("y\n", "new"),
        ("Yes\n", "new"),
        ("y", "new"),
    ] {
        fs::write(place.at("b"), "old").unwrap();
        let output = place.answered(&["-n", "-i", "a", "b"], answer);
        assert_eq!(output.status.code(), Some(0), "{answer:?}");
        // Without an answer to end the line, the next message begins a new one.
        let end = if answer.is_empty() { "\n" } else { "" };
        assert_eq!(stderr(&output), format!("aiocp: overwrite 'b'? {end}"));
        assert_eq!(place.read("b"), text, "{answer:?}");
    }
    // A free name gives no question, and -n gives none at all.
    assert_eq!(stderr(&place.answered(&["-i", "a", "fresh"], "")), "");
    assert_eq!(stderr(&place.answered(&["-i", "-n", "a", "b"], "")), "");
    // Many workers ask many questions, and each answer belongs to one of them.
    for dir in ["from", "to"] {
        for n in 0..200 {
            let file = place.at(&format!("{dir}/{}/{n}", n % 7));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, dir).unwrap();
        }
    }
    let output = place.answered(&["-i", "-T", "from", "to"], &"y\nn\n".repeat(100));
    assert_eq!(output.status.code(), Some(0));
    let text = stderr(&output);
    let questions: Vec<_> = text.split_terminator("? ").collect();
    assert_eq!(questions.len(), 200);
    assert!(
        questions
            .iter()
            .all(|line| line.starts_with("aiocp: overwrite 'to/") && line.ends_with('\'')),
        "{text}"
    );
    let replaced = (0..200).filter(|n| place.read(&format!("to/{}/{n}", n % 7)) == "from").count();
    assert_eq!(replaced, 100);
}

#[test]
fn a_question_names_the_mode_that_would_be_overridden() {
    if !is_root("becoming another user") || !have("setpriv") {
        return;
    }
    let folder = Elsewhere::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(folder.path().join("a"), "new").unwrap();
    fs::write(folder.path().join("b"), "old").unwrap();
    fs::set_permissions(folder.path().join("b"), fs::Permissions::from_mode(0o444)).unwrap();
    let mut command = folder.as_user(65534);
    command.arg(folder.aiocp()).args(["-i", "a", "b"]);
    let output = run(command.stdin(Stdio::null()), 0);
    assert_eq!(stderr(&output), "aiocp: replace 'b', overriding mode 0444 (r--r--r--)? \n");
}

#[test]
fn one_file_is_not_copied_over_itself() {
    let place = Place::with(&[("a", "data")]);
    fs::hard_link(place.at("a"), place.at("b")).unwrap();
    symlink("a", place.at("l")).unwrap();
    for args in [
        &["a", "a"][..],
        &["a", "b"],
        &["a", "l"],
        &["l", "a"],
        &["-L", "l", "a"],
        &["-f", "a", "b"],
        &["-s", "a", "b"],
        &["--remove-destination", "a", "a"],
        &["-bL", "l", "a"],
    ] {
        let text = place.refused(args);
        assert!(text.contains("source and destination are the same file"), "{args:?}: {text}");
        assert_eq!(
            (place.read("a"), place.read("b"), place.read("l")),
            ("data".into(), "data".into(), "data".into())
        );
    }
    place.cp(&["-l", "a", "a"]);
    place.cp(&["-l", "a", "b"]);
    assert_eq!(place.inode("a"), place.inode("b"));
    place.cp(&["--remove-destination", "a", "b"]);
    assert_ne!(place.inode("a"), place.inode("b"));
    place.cp(&["--remove-destination", "a", "l"]);
    assert!(!place.at("l").is_symlink());
    fs::remove_file(place.at("b")).unwrap();
    fs::hard_link(place.at("a"), place.at("b")).unwrap();
    place.cp(&["-b", "a", "b"]);
    assert_eq!(place.inode("a"), place.inode("b~"));
}

#[test]
fn hard_links_can_be_made_instead() {
    let place = Place::with(&[("d/f", "f"), ("d/sub/g", "g"), ("other", "other")]);
    symlink("f", place.at("d/l")).unwrap();
    place.cp(&["-l", "d", "e"]);
    for name in ["f", "sub/g", "l"] {
        assert_eq!(place.inode(&format!("d/{name}")), place.inode(&format!("e/{name}")), "{name}");
    }
    place.cp(&["-l", "-T", "d", "e"]);
    assert!(litter(&place.at("e")).is_empty());
    place.cp(&["-lL", "d/l", "f2"]);
    assert_eq!(place.inode("f2"), place.inode("d/f"));
    assert!(
        place
            .refused(&["-l", "d/f", "other"])
            .contains("cannot replace 'other': it exists, and a link")
    );
    assert_eq!(place.read("other"), "other");
    place.cp(&["-lf", "d/f", "other"]);
    assert_eq!(place.inode("other"), place.inode("d/f"));
    let output = run(&mut place.command(&["-l", "-s", "a", "b"]), 2);
    assert!(stderr(&output).starts_with("aiocp: "));
}

#[test]
fn symbolic_links_can_be_made_instead() {
    let place = Place::with(&[("d/f", "f"), ("d/sub/g", "g"), ("other", "other")]);
    let root = fs::canonicalize(place.at("")).unwrap();
    place.cp(&["-s", "d/f", "l"]);
    assert_eq!(fs::read_link(place.at("l")).unwrap(), Path::new("d/f"));
    place.cp(&["-s", "d/f", "."]);
    assert_eq!(fs::read_link(place.at("f")).unwrap(), Path::new("d/f"));
    let text = place.refused(&["-s", "d/f", "d/f2"]);
    assert!(text.contains("cannot create symbolic link 'd/f2': relative symbolic links"), "{text}");
    assert!(!place.at("d/f2").is_symlink());
    place.cp(&["-s", root.join("d").to_str().unwrap(), "e"]);
    assert_eq!(fs::read_link(place.at("e/sub/g")).unwrap(), root.join("d/sub/g"));
    assert!(place.refused(&["-s", "d/f", "other"]).contains("it exists"));
    place.cp(&["-sf", "d/f", "other"]);
    assert_eq!(fs::read_link(place.at("other")).unwrap(), Path::new("d/f"));
    assert_eq!(place.read("d/f"), "f");
}

#[test]
fn links_are_followed_as_told() {
    let place = Place::with(&[("d/f", "f"), ("t/g", "g")]);
    symlink("f", place.at("d/l")).unwrap();
    symlink("../t", place.at("d/dir")).unwrap();
    symlink("d", place.at("named")).unwrap();
    place.cp(&["-L", "named", "all"]);
    assert!(
        !place.at("all").is_symlink()
            && !place.at("all/l").is_symlink()
            && !place.at("all/dir").is_symlink()
    );
    assert_eq!((place.read("all/l"), place.read("all/dir/g")), ("f".into(), "g".into()));
    place.cp(&["-H", "named", "operand"]);
    assert!(!place.at("operand").is_symlink() && place.at("operand/l").is_symlink());
    for flags in [&["-P"][..], &["-d"], &["-L", "-P"], &["-H", "-d"], &[]] {
        place.cp(&[flags, &["-T", "named", "link"]].concat());
        assert_eq!(fs::read_link(place.at("link")).unwrap(), Path::new("d"), "{flags:?}");
    }
    place.cp(&["-P", "-L", "d/l", "last"]);
    assert!(!place.at("last").is_symlink());
    symlink("gone", place.at("d/dangling")).unwrap();
    let text = place.refused(&["-L", "d", "most"]);
    assert!(text.contains("cannot follow link 'd/dangling': No such file or directory"), "{text}");
    assert_eq!(place.read("most/l"), "f");
    assert!(
        place
            .refused(&["-L", "d/dangling", "x"])
            .contains("cannot stat 'd/dangling': No such file or directory")
    );
}

/// Where a link leads matters only if that is what stands in its copy's place.
#[test]
fn a_link_that_cannot_be_followed_is_copied_again_and_over_a_file() {
    let long = "x".repeat(256);
    let most = "x/".repeat(2047);
    for to in [&long, &most, "l", "f/below", "nowhere", "/proc/self/map_files/0-1", "loop/loop"] {
        for options in [&[][..], &["-a"], &["-b"], &["-u"], &["--resume"], &["-f"]] {
            let place = Place::with(&[("s/f", "f"), ("t/l", "stands")]);
            set_times(&place.at("t/l"), 1, 0);
            symlink(to, place.at("s/l")).unwrap();
            symlink("loop", place.at("s/loop")).unwrap();
            for _ in 0..2 {
                place.cp(&[options, &["-rT", "s", "t"]].concat());
                assert_eq!(fs::read_link(place.at("t/l")).unwrap(), Path::new(to), "{options:?}");
            }
        }
    }
}

#[test]
fn a_followed_link_that_leads_back_is_refused_with_one_line() {
    let place = Place::with(&[("d/sub/f", "f"), ("e/x", "x")]);
    symlink("../..", place.at("d/sub/up")).unwrap();
    symlink(".", place.at("d/here")).unwrap();
    let text = place.refused(&["-L", "d", "copy"]);
    assert!(
        text.contains(
            "cannot copy directory 'd/here': a symbolic link leads back to a directory above it"
        ),
        "{text}"
    );
    assert_eq!(place.read("copy/sub/f"), "f");
    assert_eq!(place.read("copy/sub/up/e/x"), "x");
    assert!(
        text.contains("cannot copy directory 'd/sub/up/d': a symbolic link leads back"),
        "{text}"
    );
    assert!(!place.at("copy/sub/up/copy/sub").exists(), "the copy is not copied into itself");
}

#[test]
fn parents_are_made_again_with_what_they_are() {
    let place = Place::with(&[("a/b/c", "c"), ("a/b/d/e", "e"), ("to/", "")]);
    fs::set_permissions(place.at("a/b"), fs::Permissions::from_mode(0o751)).unwrap();
    place.age("a/b", 1000);
    place.age("a", 2000);
    assert_eq!(
        place.cp(&["-v", "--parents", "a/b/c", "to"]),
        "'a' -> 'to/a'\n'a/b' -> 'to/a/b'\n'a/b/c' -> 'to/a/b/c'\n"
    );
    let meta = |name: &str| fs::metadata(place.at(name)).unwrap();
    assert_eq!(
        (meta("to/a/b").mode() & 0o7777, meta("to/a/b").mtime(), meta("to/a").mtime()),
        (0o751, 1000, 2000)
    );
    place.cp(&["--parents", "./a//b/d/", place.at("a/b/c").to_str().unwrap(), "to"]);
    assert_eq!(place.read("to/a/b/d/e"), "e");
    let absolute = place.at("a/b/c");
    assert_eq!(fs::read(place.at("to").join(absolute.strip_prefix("/").unwrap())).unwrap(), b"c");
    place.cp(&["--parents", "a/b/c", "a/b/d", "a", "to"]);
    assert_eq!(place.list("to/a/b"), ["c", "d"]);
    assert!(
        place
            .refused(&["--parents", "a/b/c", "new"])
            .contains("cannot copy with parents into 'new': No such file or directory")
    );
    assert!(place.refused(&["--parents", "a/../a/b/c", "to"]).contains("'..' would lead outside"));
    assert!(
        place
            .refused(&["--parents", "a/none/c", "to"])
            .contains("cannot open 'a/none/c': No such file")
    );
    fs::remove_dir_all(place.at("to")).unwrap();
    fs::create_dir(place.at("to")).unwrap();
    fs::write(place.at("to/a"), "in the way").unwrap();
    assert!(
        place.refused(&["--parents", "a/b/c", "to"]).contains("cannot create directory 'to/a'")
    );
}

#[test]
fn attributes_alone_leave_data_alone() {
    let place = Place::with(&[("a", "data"), ("b", "other data"), ("dir/f", "f")]);
    fs::set_permissions(place.at("a"), fs::Permissions::from_mode(0o741)).unwrap();
    place.age("a", 1000);
    let inode = place.inode("b");
    place.cp(&["--attributes-only", "a", "b"]);
    place.cp(&["--attributes-only", "a", "fresh"]);
    for (name, contents) in [("b", "other data"), ("fresh", "")] {
        let meta = fs::metadata(place.at(name)).unwrap();
        assert_eq!(
            (place.read(name).as_str(), meta.mode() & 0o7777, meta.mtime()),
            (contents, 0o741, 1000)
        );
    }
    assert_eq!(place.inode("b"), inode);
    place.cp(&["--attributes-only", "-n", "dir/f", "b"]);
    assert_eq!(fs::metadata(place.at("b")).unwrap().mtime(), 1000);
    place.cp(&["--attributes-only", "-b", "a", "b"]);
    assert_eq!((place.read("b"), place.read("b~")), (String::new(), "other data".into()));
    place.cp(&["--attributes-only", "dir", "tree"]);
    assert_eq!(place.read("tree/f"), "");
}

#[test]
fn a_destination_can_be_removed_instead_of_followed() {
    let place = Place::with(&[("a", "new"), ("kept", "kept"), ("d/x", "")]);
    symlink("kept", place.at("l")).unwrap();
    symlink("gone", place.at("dangling")).unwrap();
    symlink("kept", place.at("backed-up")).unwrap();
    place.cp(&["-b", "a", "backed-up"]);
    assert_eq!((place.read("backed-up"), place.read("kept")), ("new".into(), "kept".into()));
    assert_eq!(fs::read_link(place.at("backed-up~")).unwrap(), Path::new("kept"));
    fifo(&place.at("fifo"));
    for flags in [&[][..], &["-f"], &["-n"]] {
        let text = place.refused(&[flags, &["a", "dangling"]].concat());
        assert!(text.contains("cannot write through dangling link 'dangling'"), "{text}");
    }
    let text = place.refused(&["a", "fifo"]);
    assert!(
        text.contains("a FIFO is not overwritten with a file\naiocp: hint: --remove-destination"),
        "{text}"
    );
    for target in ["l", "dangling", "fifo"] {
        place.cp(&["--remove-destination", "a", target]);
        assert!(fs::symlink_metadata(place.at(target)).unwrap().is_file());
        assert_eq!(place.read(target), "new");
    }
    assert_eq!(place.read("kept"), "kept");
    assert!(
        place
            .refused(&["--remove-destination", "-T", "a", "d"])
            .contains("a directory cannot be overwritten")
    );
}

#[test]
fn devices_are_not_overwritten() {
    if !is_root("making a device") {
        return;
    }
    let place = Place::with(&[("a", "new")]);
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.at("null"),
        rustix::fs::FileType::CharacterDevice,
        0o666.into(),
        null,
    )
    .unwrap();
    let text = place.refused(&["a", "null"]);
    assert_eq!(
        text,
        "aiocp: cannot replace 'null': a character device is not overwritten with a file\n\
         aiocp: hint: not yet: cat or dd write into a device\n\
         aiocp: 1 failure, named above; 0 files were copied\n"
    );
}

#[test]
fn sources_of_one_name_never_cost_each_other() {
    let place = Place::with(&[("a/x", "a"), ("b/x", "b"), ("to/", "")]);
    let text = place.refused(&["a/x", "b/x", "to"]);
    assert!(text.contains("cannot copy 'b/x': another source has the same name there"), "{text}");
    assert_eq!(place.read("to/x"), "a");
    // The existing file comes from no source, and -n leaves the first file alone without a failure.
    place.cp(&["-n", "a/x", "b/x", "to"]);
    place.cp(&["--backup=numbered", "a/x", "b/x", "to"]);
    assert_eq!(
        (place.read("to/x"), place.read("to/x.~1~"), place.read("to/x.~2~")),
        ("b".into(), "a".into(), "a".into())
    );
    // The same file twice is a warning, and so is the same directory.
    let output = run(&mut place.command(&["a/x", "./a/x", "a", "a/", "to"]), 0);
    assert_eq!(
        stderr(&output),
        "aiocp: skipped './a/x': the source is named more than once\n\
         aiocp: skipped 'a/': the source is named more than once\n"
    );
}

#[test]
fn directories_of_one_name_are_merged_in_the_order_of_the_command_line() {
    let place = Place::with(&[("b/d/only-b", "b"), ("to/", "")]);
    for n in 0..300 {
        for dir in ["a", "b"] {
            let file = place.at(&format!("{dir}/d/{}/{n}", n % 3));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, dir).unwrap();
        }
    }
    place.cp(&["a/d", "b/d", "to"]);
    assert!((0..300).all(|n| place.read(&format!("to/d/{}/{n}", n % 3)) == "b"));
    assert_eq!(place.read("to/d/only-b"), "b");
    place.cp(&["-n", "a/d", "b/d", "-t", "to"]);
    assert_eq!(place.read("to/d/1/1"), "b");
    fs::write(place.at("d"), "file").unwrap();
    assert!(
        place
            .refused(&["a/d", "d", "to"])
            .contains("a directory cannot be overwritten with a non-directory")
    );
}

#[test]
fn empty_operands_and_the_folder_above_are_refused_as_they_are_named() {
    let place = Place::with(&[("big", "big"), ("m/", ""), ("in/m/", "")]);
    assert!(place.refused(&["big", ""]).contains("cannot create '': No such file or directory"));
    assert!(place.refused(&["", "m"]).contains("cannot stat '': No such file or directory"));
    let output = run(aiocp().current_dir(place.at("in")).args(["..", "m/"]), 1);
    let text = stderr(&output);
    assert!(
        text.contains(
            "cannot copy directory to 'm/': the destination lies inside the source, '..'"
        ),
        "{text}"
    );
    assert!(place.list("in/m").is_empty());
}

#[test]
fn slashes_at_the_end_of_a_source_can_be_stripped() {
    let place = Place::with(&[("d/f", "f"), ("f", "f")]);
    symlink("d", place.at("l")).unwrap();
    place.cp(&["l/", "followed"]);
    assert_eq!(place.read("followed/f"), "f");
    assert!(!place.at("followed").is_symlink());
    place.cp(&["--strip-trailing-slashes", "l//", "link"]);
    assert!(place.at("link").is_symlink());
    assert!(place.refused(&["f/", "x"]).contains("cannot open 'f/': Not a directory"));
    place.cp(&["--strip-trailing-slashes", "f/", "x"]);
    assert_eq!(place.read("x"), "f");
}

#[test]
fn other_filesystems_are_left_out() {
    let Some(mounted) = Mounted::new("tmpfs", 16) else { return };
    let outer = mounted.path.parent().unwrap();
    fs::write(mounted.path.join("inside"), "x").unwrap();
    let target = folder();
    run(aiocp().arg("-x").arg(outer).arg(target.path().join("copy")), 0);
    assert_eq!(fs::read_dir(target.path().join("copy/mount")).unwrap().count(), 0);
    // A named source is copied, whatever filesystem it is on.
    run(aiocp().arg("-x").arg(&mounted.path).arg(target.path().join("named")), 0);
    assert!(target.path().join("named/inside").exists());
    run(aiocp().arg(outer).arg(target.path().join("all")), 0);
    assert!(target.path().join("all/mount/inside").exists());
}

#[test]
fn verbose_prints_a_line_for_everything_that_was_made() {
    let place = Place::with(&[("d/sub/f", "f")]);
    symlink("f", place.at("d/l")).unwrap();
    let text = place.cp(&["-v", "d", "e"]);
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort();
    assert_eq!(
        lines,
        ["'d' -> 'e'", "'d/l' -> 'e/l'", "'d/sub' -> 'e/sub'", "'d/sub/f' -> 'e/sub/f'"]
    );
}

#[test]
fn senseless_combinations_are_told_before_anything_is_touched() {
    let place = Place::with(&[("a", "a")]);
    for args in [
        &["-b", "-n", "a", "b"][..],
        &["--backup=perhaps", "a", "b"],
        &["--update=never", "a", "b"],
        &["-l", "-s", "a", "b"],
        &["--parents", "-T", "a", "b"],
    ] {
        let output = run(&mut place.command(args), 2);
        assert!(stderr(&output).starts_with("aiocp: "), "{args:?}: {output:?}");
        assert_eq!(place.list(""), ["a"]);
    }
}

#[test]
fn a_link_is_no_backup_of_itself_and_a_dot_is_no_part_of_a_path() {
    let place = Place::with(&[("d/a", "a"), ("d/other", "other")]);
    symlink("other", place.at("d/a~")).unwrap();
    for flags in [&["-b", "-L"][..], &["-b"]] {
        let text = place.refused(&[flags, &["d/a~", "d/a"]].concat());
        assert!(text.contains("its backup would take the place of the source"), "{text}");
        assert!(place.at("d/a~").is_symlink());
    }
    assert!(place.cp(&["-v", "d/.", "e"]).contains("'d/./a' -> 'e/a'\n"));
}
