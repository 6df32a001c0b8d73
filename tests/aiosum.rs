//! `aiosum` against the official vectors, against the tools whose lines it prints and reads, and
//! against hostile manifests.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::*;

fn stdout(output: &std::process::Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Names with every byte that a name may have: those that are UTF-8, and the others.
fn odd_names() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let mut utf8: Vec<Vec<u8>> =
        (1..128u8).filter(|byte| *byte != b'/').map(|byte| vec![b'n', byte, b'e']).collect();
    for name in [
        " lead",
        "trail ",
        "two  spaces",
        "*star",
        "#hash",
        "-dash",
        ") = x",
        "MD5 (x) = y",
        "ä€😀",
        "back\\\\n",
    ] {
        utf8.push(name.into());
    }
    let raw = (128..=255u8).map(|byte| vec![b'n', byte, b'e']).collect();
    (utf8, raw)
}

fn make_odd(root: &Path, names: &[Vec<u8>]) {
    for (n, name) in names.iter().enumerate() {
        fs::write(root.join(OsStr::from_bytes(name)), noise(n, n as u64)).unwrap();
    }
}

/// `./NAME` for each name, so that none looks like an option.
fn operands(names: &[Vec<u8>]) -> Vec<PathBuf> {
    names.iter().map(|name| Path::new(".").join(OsStr::from_bytes(name))).collect()
}

#[test]
fn the_official_vectors_hold_at_every_block_size_on_both_roads() {
    let text = include_str!("data/blake3_test_vectors.json");
    let vectors: serde_json::Value = serde_json::from_str(text).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    let (key, context) =
        (vectors["key"].as_str().unwrap(), vectors["context_string"].as_str().unwrap());
    assert!(cases.len() >= 35 && key.len() == 32);
    let mounted = Mounted::new("ext4", 64);
    let other = folder();
    let root = mounted.as_ref().map_or(other.path(), |mounted| &mounted.path);
    let mut names = Vec::new();
    for case in cases {
        let len = case["input_len"].as_u64().unwrap();
        let name = format!("input-{len}");
        fs::write(root.join(&name), (0..251u8).cycle().take(len as usize).collect::<Vec<_>>())
            .unwrap();
        names.push(name);
    }
    let roads =
        if mounted.is_some() { &["always", "never", "auto"][..] } else { &["never", "auto"] };
    // All allowed sizes; the smallest makes 25 blocks of the longest input.
    let blocks = || (12..=26).map(|power| 1u64 << power);
    for (road, block) in roads.iter().flat_map(|road| blocks().map(move |block| (road, block))) {
        for (mode, input, field) in [
            (&[][..], "", "hash"),
            (&["--keyed"], key, "keyed_hash"),
            (&["--derive-key", context], "", "derive_key"),
        ] {
            let mut command = aiosum();
            command
                .current_dir(root)
                .args(["--no-names", "--length=131", "--queue-depth=2"])
                .args(&names)
                .args(mode);
            command.args([format!("--direct={road}"), format!("--block-size={block}")]);
            let output = stdout(&run_with(&mut command, input.as_bytes(), 0));
            let want: Vec<&str> = cases.iter().map(|case| case[field].as_str().unwrap()).collect();
            assert_eq!(
                output.lines().collect::<Vec<_>>(),
                want,
                "{field}, --direct={road}, blocks of {block}"
            );
        }
    }
}

#[test]
fn it_prints_what_b3sum_prints() {
    let Some(b3sum) = tool("b3sum") else { return };
    let folder = folder();
    let (utf8, raw) = odd_names();
    let names: Vec<Vec<u8>> = [utf8, raw].concat();
    make_odd(folder.path(), &names);
    fs::write(folder.path().join("big"), noise((9 << 20) + 77, 1)).unwrap();
    symlink("big", folder.path().join("link")).unwrap();
    let mut paths = operands(&names);
    paths.extend(["big".into(), "link".into(), "missing".into(), "big".into()]);
    let key = noise(32, 2);
    for flags in [
        &[][..],
        &["--tag"],
        &["--no-names"],
        &["--length=7"],
        &["-l", "1000", "--seek", "12345678901"],
        &["--seek=63", "--tag"],
        &["--length=0"],
        &["--keyed"],
        &["--derive-key", "a context", "--length", "65"],
        &["--no-mmap", "--num-threads=2"],
    ] {
        let input = if flags.contains(&"--keyed") { &key[..] } else { b"" };
        let say = |command: &mut Command| {
            run_with(command.current_dir(folder.path()).args(flags).args(&paths), input, 1).stdout
        };
        let (ours, theirs) = (say(&mut aiosum()), say(&mut Command::new(&b3sum)));
        assert!(ours == theirs, "{flags:?}:\n{}", String::from_utf8_lossy(&ours));
    }
    for flags in [&["--raw"][..], &["--raw", "--length=100000", "--seek=5"]] {
        let say = |command: &mut Command| {
            run(command.current_dir(folder.path()).args(flags).arg("big"), 0).stdout
        };
        assert!(say(&mut aiosum()) == say(&mut Command::new(&b3sum)), "{flags:?}");
    }
    let say = |command: &mut Command, args: &[&str]| {
        run_with(command.args(args), b"some input", 0).stdout
    };
    for args in [&[][..], &["-"], &["--tag", "-"]] {
        assert_eq!(say(&mut aiosum(), args), say(&mut Command::new(&b3sum), args));
    }
    // b3sum hashes the nothing that is left for the second, and says no word of it.
    run_with(aiosum().args(["-", "-"]), b"some input", 2);
}

/// The names that a tool can print and read. b3sum prints only names in UTF-8. xxhsum 0.8.1 escapes
/// nothing, so it gets only names that need no escape.
fn names_for(tool: &str, utf8: &[Vec<u8>], raw: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let needs_escape = |name: &Vec<u8>| name.iter().any(|byte| b"\\\r\n".contains(byte));
    match tool {
        "b3sum" => utf8.to_vec(),
        "xxhsum" => [utf8, raw].concat().into_iter().filter(|name| !needs_escape(name)).collect(),
        _ => [utf8, raw].concat(),
    }
}

#[test]
fn manifests_go_both_ways_on_names_of_every_byte() {
    let (utf8, raw) = odd_names();
    for (name, algorithm, tags) in [
        ("b3sum", "blake3", true),
        ("b2sum", "blake2b", true),
        ("sha512sum", "sha512", true),
        ("sha384sum", "sha384", true),
        ("sha256sum", "sha256", true),
        ("sha224sum", "sha224", true),
        ("sha1sum", "sha1", true),
        ("md5sum", "md5", true),
        ("xxhsum", "xxh128", false),
    ] {
        let Some(tool) = tool(name) else { continue };
        let folder = folder();
        let names = names_for(name, &utf8, &raw);
        make_odd(folder.path(), &names);
        let theirs = || {
            let mut command = Command::new(&tool);
            command.current_dir(folder.path());
            if name == "xxhsum" {
                command.arg("-H128");
            }
            command
        };
        let ours = || {
            let mut command = aiosum();
            command.current_dir(folder.path()).args(["--algorithm", algorithm]);
            command
        };
        for tagged in [&[][..], &["--tag"]].into_iter().take(if tags { 2 } else { 1 }) {
            let lines = run(ours().args(tagged).args(operands(&names)), 0).stdout;
            let same = run(theirs().args(tagged).args(operands(&names)), 0).stdout;
            assert!(lines == same, "{name} {tagged:?}:\n{}", String::from_utf8_lossy(&lines));
            fs::write(folder.path().join("sums"), &lines).unwrap();
            // b3sum takes two spaces in a name for the end of a hash, even in its own tagged lines.
            let is_read = name != "b3sum" || tagged.is_empty();
            let output = theirs().args(["--check", "sums"]).output().unwrap();
            assert_eq!(output.status.success(), is_read, "{name} checks {tagged:?}: {output:?}");
            let output = run(ours().args(["--check", "sums"]), 0);
            assert_eq!(output.stdout.split(|byte| *byte == b'\n').count() - 1, names.len());
            assert!(output.stderr.is_empty(), "{output:?}");
            if !tagged.is_empty() {
                run(aiosum().current_dir(folder.path()).args(["--check", "sums"]), 0);
            }
        }
        if name.starts_with("sha") || matches!(name, "md5sum" | "b2sum") {
            let zero = run(theirs().arg("--zero").args(operands(&names)), 0).stdout;
            assert!(zero == run(ours().arg("--zero").args(operands(&names)), 0).stdout);
        }
        // Every second file changes, and both tools find exactly these.
        for name in names.iter().step_by(2) {
            fs::write(folder.path().join(OsStr::from_bytes(name)), "other").unwrap();
        }
        let output = run(ours().args(["--check", "sums"]), 1).stdout;
        let failed =
            output.split(|byte| *byte == b'\n').filter(|line| line.ends_with(b": FAILED")).count();
        assert_eq!(failed, names.len().div_ceil(2), "{name}");
    }
}

#[test]
fn names_of_any_bytes_go_through_nul_ended_lines() {
    let folder = folder();
    let (utf8, raw) = odd_names();
    let names: Vec<Vec<u8>> = [utf8, raw].concat();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    make_odd(&tree, &names);
    for flags in [&["-z"][..], &["-z", "--tag"]] {
        let lines = run(aiosum().current_dir(folder.path()).args(flags).arg("tree"), 0).stdout;
        assert_eq!(lines.iter().filter(|byte| **byte == 0).count(), names.len());
        let output = run_with(
            aiosum().current_dir(folder.path()).args(["-zc", "--audit", "tree"]),
            &lines,
            0,
        );
        assert_eq!(output.stdout.split(|byte| *byte == b'\n').count() - 1, names.len());
    }
    // Without -z, a name that is not UTF-8 stands for many names, and a check never accepts it.
    let lines = run(aiosum().current_dir(folder.path()).arg("tree"), 0).stdout;
    let output =
        run_with(aiosum().current_dir(folder.path()).args(["--check", "--warn"]), &lines, 1);
    assert_eq!(stderr(&output).matches("bytes that b3sum could not print").count(), 128);
}

#[test]
fn trees_are_sorted_and_the_same_from_run_to_run() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    make_tree(&at("tree"));
    fs::write(at("first"), "z").unwrap();
    symlink("tree", at("way")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("tree/fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let list = |args: &[&str]| run(aiosum().current_dir(folder.path()).args(args), 0);
    let output = list(&["tree"]);
    let text = stdout(&output);
    let skipped = "aiosum: skipped 'tree/fifo': it is a FIFO, which has no contents to hash\n";
    assert_eq!(stderr(&output), skipped);
    fs::remove_file(at("tree/fifo")).unwrap();
    check_manifest(&stdout(&run(aiosum().current_dir(at("tree")).arg("."), 0)), &at("tree"));
    for _ in 0..3 {
        assert_eq!(stdout(&list(&["tree"])), text);
    }
    // Operands keep their order. A named link to a directory is followed, and a trailing slash is
    // not doubled.
    let lines = stdout(&list(&["way/", "first", "tree/empty", "tree/nested"]));
    let names: Vec<&str> = lines.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    let first = names.iter().position(|name| *name == "first").unwrap();
    assert!(
        names[..first].is_sorted() && names[..first].iter().all(|name| name.starts_with("way/"))
    );
    assert!(
        names[first + 1..].is_sorted()
            && names[first + 1..].iter().all(|name| name.starts_with("tree/nested/"))
    );
    assert_eq!(first, text.lines().count());
}

#[test]
fn a_file_whose_path_no_system_call_takes_is_hashed() {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    let folder = folder();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let mut dir: std::os::fd::OwnedFd = fs::File::open(&tree).unwrap().into();
    let name = "d".repeat(200);
    for _ in 0..30 {
        mkdirat(&dir, &name, Mode::RWXU).unwrap();
        dir = openat(&dir, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let file = openat(&dir, "deep", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    fs::File::from(file).write_all(b"deep").unwrap();
    let output = run(aiosum().current_dir(folder.path()).arg("tree"), 0);
    let path = format!("tree/{}deep", format!("{name}/").repeat(30));
    assert!(path.len() > libc::PATH_MAX as usize);
    let sum = blake3::hash(b"deep").to_hex();
    assert_eq!(stdout(&output), format!("{sum}  {path}\n"));
}

#[test]
fn big_files_are_read_whole_on_every_road() {
    let mounted = Mounted::new("ext4", 256);
    let other = folder();
    let root = mounted.as_ref().map_or(other.path(), |mounted| &mounted.path);
    let names = ["dense", "holes", "end-hole", "all-hole"];
    fs::write(root.join("dense"), noise((5 << 20) + 4097, 1)).unwrap();
    for (name, at, len) in
        [("holes", 7 << 20, 20 << 20), ("end-hole", 0, (9 << 20) + 1), ("all-hole", 0, 12 << 20)]
    {
        let file = fs::File::create(root.join(name)).unwrap();
        file.set_len(len).unwrap();
        if name != "all-hole" {
            file.write_all_at(&noise(70_000, 3), at).unwrap();
        }
    }
    let cool = || {
        for name in names {
            let file = fs::File::open(root.join(name)).unwrap();
            file.sync_all().unwrap();
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        }
    };
    let want: String = names
        .iter()
        .map(|name| format!("{}  {name}\n", blake3::hash(&fs::read(root.join(name)).unwrap())))
        .collect();
    for flags in [
        &["--direct=auto"][..],
        &["--direct=never", "--block-size=64K"],
        &["--queue-depth=1", "--block-size=4K"],
        &["--queue-depth=3", "--num-threads=1"],
    ] {
        cool();
        let output = run(aiosum().current_dir(root).arg("--debug").args(flags).args(names), 0);
        assert_eq!(stdout(&output), want, "{flags:?}");
        if mounted.is_some() && flags[0] != "--direct=never" {
            assert_eq!(
                stderr(&output).lines().filter(|line| line.ends_with(": direct")).count(),
                4,
                "{output:?}"
            );
        }
    }
    for (algorithm, tool) in [
        ("sha256", "sha256sum"),
        ("md5", "md5sum"),
        ("sha1", "sha1sum"),
        ("sha512", "sha512sum"),
        ("blake2b", "b2sum"),
    ] {
        if !have(tool) {
            continue;
        }
        let want = run(program(tool).current_dir(root).args(names), 0).stdout;
        for flags in
            [&["--direct=auto"][..], &["--queue-depth=1"], &["--queue-depth=9", "--block-size=64K"]]
        {
            cool();
            let output = run(
                aiosum().current_dir(root).args(["--algorithm", algorithm]).args(flags).args(names),
                0,
            );
            assert!(output.stdout == want, "{algorithm} {flags:?}: {output:?}");
        }
    }
}

/// A key has 32 bytes and is alone on standard input; a length has a limit.
fn keys_and_lengths_are_checked(folder: &Path) {
    for (key, text) in [(31, "it has 31 bytes and not 32"), (33, "it has more than 32 bytes")] {
        let output =
            run_with(aiosum().current_dir(folder).args(["--keyed", "file"]), &noise(key, 1), 1);
        assert_eq!(stderr(&output), format!("aiosum: cannot read the key from stdin: {text}\n"));
    }
    // Standard input is the key's.
    let output = run_with(aiosum().current_dir(folder).args(["--keyed", "-"]), &noise(32, 1), 2);
    assert!(stderr(&output).contains("standard input can be read only once"), "{output:?}");
    let output = run(aiosum().current_dir(folder).args(["--length=-2", "dir"]), 2);
    assert!(stderr(&output).contains("invalid value '-2' for '--length'"), "{output:?}");
    let output = run(aiosum().current_dir(folder).args(["--length=2000000", "dir"]), 1);
    assert!(
        stderr(&output).contains("cannot hash directory 'dir': outputs of more than 1048576 bytes"),
        "{output:?}"
    );
}

#[test]
fn what_cannot_be_hashed_is_one_line_and_stops_nothing_else() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "x").unwrap();
    fs::create_dir(at("dir")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let output =
        run(aiosum().current_dir(folder.path()).args(["none", "dangling", "socket", "file"]), 1);
    assert_eq!(stdout(&output), format!("{}  file\n", blake3::hash(b"x")));
    let mut lines: Vec<String> = stderr(&output).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "aiosum: cannot open 'dangling': No such file or directory",
            "aiosum: cannot open 'none': No such file or directory",
            "aiosum: cannot open 'socket': it is a socket or device, and no regular file",
        ]
    );
    for args in [
        &["--raw", "file", "file"][..],
        &["--raw", "dir"],
        &["--check", "--tag", "file"],
        &["--check", "--length=5", "file"],
        &["--audit", "dir", "file"],
        &["--keyed"],
        &["--keyed", "--derive-key=x", "file"],
        &["--algorithm=md5", "--seek=1", "file"],
        &["--algorithm=md5", "--keyed", "file"],
        &["--block-size=5000", "file"],
        &["--algorithm=crc", "file"],
    ] {
        let output = run(aiosum().current_dir(folder.path()).args(args), 2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{args:?}");
    }
    keys_and_lengths_are_checked(folder.path());
    // /dev/full takes no output: the run ends with an error and without a panic.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = aiosum().arg(at("file")).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr(&output),
        "aiosum: cannot write to stdout: No space left on device (os error 28)\n"
    );
}

#[test]
fn streams_are_hashed_to_their_end() {
    let folder = folder();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let bytes = noise(3_000_000, 4);
    let output = std::thread::scope(|scope| {
        scope.spawn(|| fs::write(&fifo, &bytes).unwrap());
        run(aiosum().arg("--no-names").arg(&fifo), 0)
    });
    assert_eq!(stdout(&output), format!("{}\n", blake3::hash(&bytes)));
    // One writer feeds one FIFO after the other. aiosum must read each to its end before it waits
    // for the next.
    let second = folder.path().join("second");
    rustix::fs::mknodat(rustix::fs::CWD, &second, rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(|| [&fifo, &second].map(|path| fs::write(path, &bytes).unwrap()));
        run(aiosum().arg("--no-names").args([&fifo, &second]), 0)
    });
    assert_eq!(stdout(&output), format!("{0}\n{0}\n", blake3::hash(&bytes)));
    let version = fs::read("/proc/version").unwrap();
    let output = run(aiosum().args(["--no-names", "/proc/version"]), 0);
    assert_eq!(stdout(&output), format!("{}\n", blake3::hash(&version)));
}

#[test]
fn a_file_that_changes_while_it_is_read_has_no_hash() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    for len in [3000, 3 << 20] {
        let path = folder.path().join("file");
        fs::write(&path, noise(len, 1)).unwrap();
        let mut command = program("strace");
        command.args([
            "-f",
            "-o",
            "/dev/null",
            "-e",
            "trace=pread64",
            "-e",
            "inject=pread64:retval=0",
        ]);
        command.args(["-P"]).arg(&path).arg(assert_cmd::cargo::cargo_bin!("aiosum"));
        let output = run(command.arg("--direct=never").arg(&path), 1);
        assert!(output.stdout.is_empty());
        // Any of the blocks may be the first that is missing.
        let places = if len > 1 << 20 {
            &[" at byte 0", " at byte 1048576", " at byte 2097152"][..]
        } else {
            &[""]
        };
        let line = |place| {
            format!(
                "aiosum: cannot read '{}'{place}: it changed while it was being read\n",
                path.display()
            )
        };
        assert!(places.iter().any(|place| stderr(&output) == line(place)), "{output:?}");
    }
}

#[test]
fn filters_leave_out_names_sizes_and_whole_directories() {
    let folder = folder();
    let tree = folder.path().join("tree");
    fs::create_dir_all(tree.join("cache/deep")).unwrap();
    fs::create_dir_all(tree.join("src")).unwrap();
    for (name, len) in [
        ("cache/deep/a.txt", 1),
        ("src/a.txt", 10),
        ("src/a.log", 10),
        ("src/big.txt", 5000),
        ("b.log", 1),
    ] {
        fs::write(tree.join(name), noise(len, 1)).unwrap();
    }
    let names = |flags: &[&str]| {
        let output = run(aiosum().current_dir(folder.path()).args(flags).arg("tree"), 0);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.split_once("  ").unwrap().1.to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&["--exclude=cache", "--exclude=*.log"]),
        ["tree/src/a.txt", "tree/src/big.txt"]
    );
    assert_eq!(
        names(&["--include=/b.log", "--exclude=*.log", "--exclude=cache/"]),
        ["tree/b.log", "tree/src/a.txt", "tree/src/big.txt"]
    );
    assert_eq!(names(&["--min-size=11"]), ["tree/src/big.txt"]);
    assert_eq!(names(&["--max-size=9"]), ["tree/b.log", "tree/cache/deep/a.txt"]);
    // An audit needs no line for what is excluded.
    let sums = run(aiosum().current_dir(&tree).args(["--exclude=*.log", "."]), 0).stdout;
    fs::write(folder.path().join("sums"), sums).unwrap();
    let audit = |flags: &[&str], code| {
        run(
            aiosum()
                .current_dir(&tree)
                .args(["--check", "--quiet", "--audit=."])
                .args(flags)
                .arg("../sums"),
            code,
        )
    };
    audit(&["--exclude=*.log"], 0);
    audit(&[], 1);
    // An excluded directory is not even opened.
    fs::set_permissions(tree.join("cache"), std::os::unix::fs::PermissionsExt::from_mode(0o0))
        .unwrap();
    assert_eq!(names(&["--exclude=cache", "--max-size=9"]), ["tree/b.log"]);
    let missing = run(aiosum().arg("--exclude-from=/nowhere").arg(&tree), 1);
    assert_eq!(stderr(&missing), "aiosum: cannot read '/nowhere': No such file or directory\n");
}

#[test]
fn a_line_that_nobody_can_check_is_warned_of() {
    let folder = folder();
    let name = OsStr::from_bytes(b"\xff\xfebad");
    fs::create_dir(folder.path().join("from")).unwrap();
    fs::write(folder.path().join("from").join(name), "x").unwrap();
    let said =
        |command: &mut std::process::Command| stderr(&run(command.current_dir(folder.path()), 0));
    let warning =
        "aiosum: WARNING: 1 name has bytes that b3sum does not print; --zero keeps them\n";
    assert_eq!(said(aiosum().arg("from")), warning);
    for flags in [&["--zero"][..], &["--no-names"], &["--algorithm=md5"]] {
        assert_eq!(said(aiosum().args(flags).arg("from")), "", "{flags:?}");
    }
    let warning = "aiocp: warning: 1 name in the manifest has bytes that b3sum does not print; \
                   a check will not find them\n";
    assert_eq!(said(aiocp().args(["--manifest=m", "from", "to"])), warning);
    assert_eq!(said(aiocp().args(["from", "two"])), "");
}
