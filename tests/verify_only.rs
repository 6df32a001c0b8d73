//! `--verify-only` and `--repair`: each difference is named, and what can be repaired is.

mod common;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use common::*;

/// One line for each difference that `make_differences` makes.
const DIFFERENCES: [&str; 15] = [
    "nested/size-9437184: 0..2097152 differs",
    "nested/size-9437184: 8388608..9437184 differs",
    "hole-big: 1048576..2097152 differs",
    "many/42: 0..294 differs",
    "longer: 100000..100004 differs",
    "block: 1048576..1048580 differs",
    "shorter: 2097157..3145728 differs",
    "cut: 0..5242880 differs",
    "many/7: missing",
    "lost-dir: missing",
    "other-dir: is a file, was a directory",
    "many/8: is a directory, was a file",
    "link: leads to 'elsewhere', not to 'nested/size-1'",
    "many/extra \\n: extra",
    "extra-dir: extra",
];

/// Makes a tree and its copy, with one difference of each kind. Returns the lines that name them.
fn make_differences(source: &Path, target: &Path) -> Vec<String> {
    make_tree(source);
    for name in ["lost-dir", "other-dir"] {
        fs::create_dir(source.join(name)).unwrap();
        fs::write(source.join(name).join("in it"), "x").unwrap();
    }
    for (name, len) in
        [("longer", 100_000), ("shorter", 3 << 20), ("cut", 5 << 20), ("block", 1 << 20)]
    {
        fs::write(source.join(name), noise(len, 5)).unwrap();
    }
    run(aiocp().arg(source).arg(target), 0);
    let write = |name: &str, at: u64, bytes: &[u8]| {
        use std::os::unix::fs::FileExt;
        fs::File::options()
            .write(true)
            .open(target.join(name))
            .unwrap()
            .write_all_at(bytes, at)
            .unwrap();
    };
    // The last byte of the first block and two in the next make one range.
    for at in [(1 << 20) - 1, 1 << 20, (2 << 20) - 1, (9 << 20) - 1] {
        write("nested/size-9437184", at, b"\0");
    }
    write("hole-big", 1 << 20, b"no hole");
    write("many/42", 7, b"?");
    write("longer", 100_000, b"more");
    write("block", 1 << 20, b"more");
    let set_len = |name: &str, len| {
        fs::File::options().write(true).open(target.join(name)).unwrap().set_len(len).unwrap()
    };
    set_len("shorter", (2 << 20) + 5);
    set_len("cut", 0);
    fs::remove_file(target.join("many/7")).unwrap();
    fs::remove_dir_all(target.join("lost-dir")).unwrap();
    fs::remove_dir_all(target.join("other-dir")).unwrap();
    fs::write(target.join("other-dir"), "a file").unwrap();
    fs::remove_file(target.join("many/8")).unwrap();
    fs::create_dir(target.join("many/8")).unwrap();
    fs::remove_file(target.join("link")).unwrap();
    std::os::unix::fs::symlink("elsewhere", target.join("link")).unwrap();
    fs::write(target.join("many/extra \n"), "x").unwrap();
    fs::create_dir(target.join("extra-dir")).unwrap();
    fs::write(target.join("extra-dir/in it"), "x").unwrap();
    DIFFERENCES.map(|line| format!("{}/{line}", target.display())).to_vec()
}

fn sorted_lines(output: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> =
        std::str::from_utf8(output).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn each_kind_of_difference_is_named_and_what_can_be_mended_is() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let mut lines = make_differences(&source, &target);
    let before = describe(&target);
    let output = run(aiocp().args(["-T", "--verify-only"]).arg(&source).arg(&target), 3);
    lines.sort();
    assert_eq!(sorted_lines(&output.stdout), lines);
    assert!(
        stderr(&output).ends_with("aiocp: 15 differences, named above; 310 files are the same\n"),
        "{output:?}"
    );
    assert_eq!(describe(&target), before, "a comparison changes nothing");
    let output =
        run(aiocp().args(["-T", "--verify-only", "--repair"]).arg(&source).arg(&target), 3);
    let left = ["is a ", "leads to ", ": extra"];
    let is_left = |line: &String| left.iter().any(|what| line.contains(what));
    let mut wanted: Vec<String> = lines.clone();
    wanted.push(format!("{}/lost-dir/in it: missing", target.display()));
    for line in wanted.iter_mut().filter(|line| !is_left(line)) {
        *line = line
            .replace(" differs", " differed, written again")
            .replace(": missing", ": missing, copied");
    }
    wanted.sort();
    assert_eq!(sorted_lines(&output.stdout), wanted);
    let output = run(aiocp().args(["-T", "--verify-only"]).arg(&source).arg(&target), 3);
    assert_eq!(
        sorted_lines(&output.stdout),
        lines.iter().filter(|line| is_left(line)).cloned().collect::<Vec<_>>()
    );
    // A repaired file is what a copy would have made, with mode and times.
    let mended = describe(&target);
    for (name, what) in describe(&source) {
        let is_dir = what.ends_with("directory");
        let is_left = ["other-dir", "many/8", "link"].iter().any(|left| name.starts_with(left));
        assert!(
            is_dir || is_left || mended[&name] == what,
            "{name:?}: {} and {what}",
            mended[&name]
        );
    }
}

#[test]
fn the_filter_leaves_out_what_is_compared_too() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_differences(&source, &target);
    let excluded =
        ["nested", "hole-big", "many", "longer", "shorter", "cut", "block", "*-dir", "link"];
    let mut command = aiocp();
    command
        .args(["-T", "--verify-only"])
        .args(excluded.map(|name| format!("--exclude={name}")))
        .arg(&source)
        .arg(&target);
    assert!(run(&mut command, 0).stdout.is_empty());
    let mut command = aiocp();
    command
        .args(["-T", "--verify-only", "--max-size=1K", "--exclude=*-dir", "--exclude=link"])
        .arg(&source)
        .arg(&target);
    let lines = sorted_lines(&run(&mut command, 3).stdout);
    let wanted = [
        "many/42: 0..294 differs",
        "many/7: missing",
        "many/8: is a directory, was a file",
        "many/extra \\n: extra",
    ];
    assert_eq!(lines, wanted.map(|line| format!("{}/{line}", target.display())));
}

#[test]
fn what_is_left_is_named_again_below_what_was_mended() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for name in ["from", "to"] {
        fs::create_dir(at(name)).unwrap();
    }
    fs::write(at("to/extra"), "x").unwrap();
    for n in 0..200 {
        fs::write(at(&format!("from/{n}")), "x").unwrap();
    }
    let output =
        run(aiocp().args(["-T", "--verify-only", "--repair"]).arg(at("from")).arg(at("to")), 3);
    let end = format!(
        "aiocp: not mended: {}: extra\naiocp: 1 difference, named above; ",
        at("to/extra").display()
    );
    assert!(stderr(&output).starts_with(&end), "{output:?}");
}

/// The bytes written to the destination a second time, as `--stats` counts them.
fn written_again(output: &std::process::Output) -> u64 {
    figure(std::str::from_utf8(&output.stdout).unwrap(), "rewritten bytes")
}

#[test]
fn one_changed_block_of_a_huge_image_costs_one_block() {
    use std::os::unix::fs::FileExt;
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let file = fs::File::create(&source).unwrap();
    file.set_len(100 << 30).unwrap();
    for at in [0u64, 7 << 30, (100 << 30) - (4 << 20)] {
        file.write_all_at(&noise(4 << 20, at), at).unwrap();
    }
    file.sync_all().unwrap();
    // A hole is copied without being hashed.
    run(aiocp().arg(&source).arg(&target), 0);
    let copy = fs::File::options().write(true).open(&target).unwrap();
    copy.write_all_at(b"x", (7 << 30) + (1 << 20) + 77).unwrap();
    copy.sync_all().unwrap();
    let blocks = fs::metadata(&target).unwrap().blocks();
    let output = run(
        aiocp().args(["-T", "--verify-only", "--repair", "--stats"]).arg(&source).arg(&target),
        0,
    );
    let start = (7u64 << 30) + (1 << 20);
    let line =
        format!("{}: {start}..{} differed, written again\n", target.display(), start + (1 << 20));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(&line), "{output:?}");
    assert_eq!(written_again(&output), 1 << 20);
    assert_eq!(fs::metadata(&target).unwrap().blocks(), blocks, "the holes stay holes");
    let output = run(aiocp().args(["-T", "--verify-only"]).arg(&source).arg(&target), 0);
    assert!(output.stdout.is_empty());
}

#[test]
fn a_repair_that_is_killed_goes_on_with_the_next_one() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::write(&source, noise((60 << 20) + 5, 1)).unwrap();
    fs::write(&target, noise((60 << 20) + 1000, 2)).unwrap();
    let mut killed = 0;
    for submission in [1, 2, 4, 8, 16, 32, 64] {
        let mut command = program("strace");
        command
            .args(["-f", "-qq", "-o", "/dev/null", "-e"])
            .arg(format!("inject=pwrite64,io_submit:signal=KILL:when={submission}"));
        // With two operations at most in a submission there are enough of those.
        command.arg(assert_cmd::cargo::cargo_bin!("aiocp")).args([
            "-T",
            "--verify-only",
            "--repair",
            "--queue-depth=2",
        ]);
        let output = command.arg(&source).arg(&target).output().unwrap();
        killed += usize::from(output.status.code() != Some(0));
    }
    assert!(killed > 3, "{killed} were killed");
    run(aiocp().args(["-T", "--verify-only", "--repair"]).arg(&source).arg(&target), 0);
    assert_eq!(fs::read(&source).unwrap(), fs::read(&target).unwrap());
    assert!(litter(folder.path()).is_empty());
}

#[test]
fn a_file_that_changes_while_it_is_compared_is_an_error() {
    use std::sync::atomic::AtomicBool;
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    for changing in [&source, &target] {
        for path in [&source, &target] {
            fs::write(path, noise(40 << 20, 1)).unwrap();
        }
        let stop = AtomicBool::new(false);
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                let file = fs::File::options().append(true).open(changing).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    for len in [40 << 20, 30 << 20, 41 << 20] {
                        file.set_len(len).unwrap();
                    }
                }
            });
            let compare = || {
                aiocp().args(["-T", "--verify-only"]).arg(&source).arg(&target).output().unwrap()
            };
            let failed = (0..50).map(|_| compare()).find(|output| output.status.code() == Some(1));
            stop.store(true, Ordering::Relaxed);
            failed.expect("one of the comparisons meets a change")
        });
        let said = stderr(&output);
        let is_named = |line: &str| line.contains(&format!("'{}'", changing.display()));
        assert!(
            said.lines().any(
                |line| is_named(line) && line.ends_with(": it changed while it was being read")
            ),
            "{said}"
        );
    }
    fs::remove_file(&source).unwrap();
    let output = run(aiocp().args(["-T", "--verify-only"]).arg(&source).arg(&target), 1);
    assert!(stderr(&output).contains("No such file or directory"), "{output:?}");
}

#[test]
fn a_comparison_one_level_off_says_so() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_tree(&source);
    run(aiocp().arg(&source).arg(&target), 0);
    let output = run(aiocp().arg("--verify-only").arg(&source).arg(&target), 3);
    assert_eq!(
        sorted_lines(&output.stdout),
        [format!("{}: missing", target.join("source").display())]
    );
    assert!(
        stderr(&output).contains(&format!("hint: -T compares with '{}' itself", target.display())),
        "{output:?}"
    );
    // A file as DEST, a file in DEST, and several operands are found where a copy would have put
    // them.
    fs::write(folder.path().join("one"), "1").unwrap();
    fs::write(folder.path().join("two"), "2").unwrap();
    for args in [&["one", "copy"][..], &["one", "two", "target"]] {
        run(aiocp().current_dir(&folder).args(args), 0);
        run(aiocp().current_dir(&folder).arg("--verify-only").args(args), 0);
    }
    fs::write(folder.path().join("target/two"), "3").unwrap();
    let output =
        run(aiocp().current_dir(&folder).args(["--verify-only", "-t", "target", "one", "two"]), 3);
    assert_eq!(output.stdout, b"target/two: 0..1 differs\n");
}

/// A missing name of a file with several is a name of its copy, wherever both lie.
#[test]
fn a_missing_name_of_a_hard_link_is_linked_again() {
    use std::os::unix::fs::MetadataExt;
    let names = ["a", "b", "d/c", "e/f/g"];
    for missing in
        [&["b"][..], &["a"], &["d/c"], &["a", "b", "d/c"], &["e"], &["b", "d", "e"], &names]
    {
        for changed in [None, Some(0), Some(1)] {
            let folder = folder();
            let (source, target) = (folder.path().join("s"), folder.path().join("t"));
            fs::create_dir_all(source.join("d")).unwrap();
            fs::create_dir_all(source.join("e/f")).unwrap();
            fs::write(source.join("a"), noise(3000, 1)).unwrap();
            for name in &names[1..] {
                fs::hard_link(source.join("a"), source.join(name)).unwrap();
            }
            run(aiocp().arg("-aT").args([&source, &target]), 0);
            for name in missing {
                must(std::process::Command::new("rm").arg("-r").arg(target.join(name)));
            }
            let standing = || names.iter().map(|name| target.join(name)).find(|at| at.exists());
            if let (Some(changed), Some(standing)) = (changed, standing()) {
                // Of the same size or of another.
                fs::write(standing, noise(3000 + changed, 2)).unwrap();
            }
            let repair = ["-T", "-a", "--verify-only", "--repair"];
            let output = run(aiocp().args(repair).args([&source, &target]), 0);
            let inodes: std::collections::HashSet<_> =
                names.iter().map(|name| fs::metadata(target.join(name)).unwrap().ino()).collect();
            assert_eq!(inodes.len(), 1, "{missing:?}, {changed:?}: {output:?}");
            assert_eq!(fs::read(target.join("e/f/g")).unwrap(), noise(3000, 1));
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(missing.iter().all(|name| text.contains(&format!("t/{name}"))), "{text}");
            let output = run(aiocp().args(["-T", "--verify-only"]).args([&source, &target]), 0);
            assert!(output.stdout.is_empty(), "{output:?}");
        }
    }
}

#[test]
fn what_differs_and_cannot_be_mended_is_told_all_the_same() {
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let folder = folder();
    let source = folder.path().join("s");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), noise(3000, 1)).unwrap();
    let target = mounted.path.join("t");
    run(aiocp().arg("-T").args([&source, &target]), 0);
    fs::write(target.join("file"), noise(3000, 2)).unwrap();
    must(program("mount").args(["-o", "remount,ro"]).arg(&mounted.path));
    let output = run(aiocp().args(["--verify-only", "--repair", "-T"]).args([&source, &target]), 3);
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert!(said.contains("0..3000") && said.contains("cannot open"), "{said}");
}

#[test]
fn a_folder_into_which_many_operands_lead_keeps_its_times() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("s/d")).unwrap();
    fs::create_dir(at("t")).unwrap();
    let names: Vec<_> = (0..400).map(|n| format!("s/d/{n}")).collect();
    names.iter().for_each(|name| fs::write(at(name), name).unwrap());
    let command = |flags: &[&str]| {
        let mut command = aiocp();
        command.current_dir(folder.path()).args(flags).args(["--parents", "-t", "t"]).args(&names);
        command
    };
    run(&mut command(&[]), 0);
    for _ in 0..5 {
        names.iter().for_each(|name| fs::remove_file(at("t").join(name)).unwrap());
        set_times(&at("t/s/d"), 1_000, 5);
        run(&mut command(&["--verify-only", "--repair"]), 0);
        assert_eq!(fs::metadata(at("t/s/d")).unwrap().mtime(), 1_000);
    }
}

#[test]
fn a_folder_into_which_something_missing_was_copied_keeps_its_times() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for name in ["s/d/e", "s/empty"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    for n in 0..200 {
        fs::write(at("s/d").join(n.to_string()), noise(n, 1)).unwrap();
    }
    fs::write(at("s/d/e/f"), "f").unwrap();
    run(aiocp().arg("-T").args([at("s"), at("t")]), 0);
    let times = |name: &str| {
        (
            fs::metadata(at(name)).unwrap().modified().unwrap(),
            fs::metadata(at(name)).unwrap().accessed().unwrap(),
        )
    };
    // Folders of many missing files, of a missing folder, and of both.
    (0..150).for_each(|n| fs::remove_file(at("t/d").join(n.to_string())).unwrap());
    fs::remove_dir_all(at("t/d/e")).unwrap();
    fs::remove_dir_all(at("t/empty")).unwrap();
    for name in ["t", "t/d"] {
        set_times(&at(name), 1_000, 5);
    }
    let before = ["t", "t/d"].map(times);
    let output = run(
        aiocp().args(["--verify-only", "--repair", "--stats", "-T"]).args([at("s"), at("t")]),
        0,
    );
    let stats = String::from_utf8_lossy(&output.stdout);
    assert_eq!(["t", "t/d"].map(times), before);
    assert_eq!(times("t/d/e").0, times("s/d/e").0, "a new folder has its source's times");
    assert_eq!(describe(&at("s/d/e")), describe(&at("t/d/e")));
    assert_eq!(figure(&stats, "verified files"), 200 + 1, "{stats}");
    assert_eq!(figure(&stats, "compared bytes"), (0..200).sum::<u64>() + 1, "{stats}");
}

#[test]
fn an_interrupted_comparison_says_what_it_has_compared() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    fs::write(&source, noise(20 << 20, 1)).unwrap();
    fs::copy(&source, &target).unwrap();
    let mut command = strace(
        &["-e", "trace=io_setup", "-e", "inject=io_setup:signal=SIGINT:when=1"],
        Path::new("/dev/null"),
    );
    let output = run(
        command.args(["--verify-only", "--direct=always", "-T"]).arg(&source).arg(&target),
        130,
    );
    assert_eq!(
        stderr(&output),
        "aiocp: interrupted: 0 files are the same; the rest was not begun\n"
    );
}

/// A difference is what the run was to find: the exit code says so whatever cannot be written, and
/// standard error has what standard output has not taken.
#[test]
fn a_difference_that_cannot_be_printed_is_still_the_exit_code() {
    let folder = folder();
    for (name, contents) in [("a", "one"), ("b", "two")] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("f"), contents).unwrap();
    }
    let full = || fs::File::options().write(true).open("/dev/full").unwrap();
    let compare = |options: &[&str]| {
        let mut command = aiocp();
        command.current_dir(&folder).args(["-T", "--verify-only", "a", "b"]).args(options);
        command
    };
    let output = run(compare(&[]).stdout(full()), 3);
    assert_eq!(
        stderr(&output),
        "aiocp: b/f: 0..3 differs\n\
         aiocp: 1 difference, named above; 0 files are the same\n\
         aiocp: cannot write to stdout: No space left on device (os error 28)\n"
    );
    for options in [&["--json"][..], &["--stats"], &["--report", "/dev/full"]] {
        run(compare(options).stdout(full()), 3);
    }
    let log = folder.path().join("log");
    run(compare(&["--log-file", "log"]).stdout(full()), 3);
    assert!(fs::read_to_string(log).unwrap().contains("ended with exit code 3: "));
    // Without a difference it is a failure like any other.
    fs::write(folder.path().join("b/f"), "one").unwrap();
    run(compare(&["--json"]).stdout(full()), 1);
    run(&mut compare(&[]), 0);
}
