//! The command as a user meets it: what is copied where, what is refused and how, and that no file
//! is ever half there.

mod common;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::elsewhere::Elsewhere;
use common::*;

#[test]
fn a_tree_is_copied_faithfully_with_its_manifest() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_tree(&source);
    for options in [
        &["--direct=auto"][..],
        &["--direct=never"],
        &["--no-sync", "--threads=1", "--queue-depth=1"],
    ] {
        let output =
            run(aiocp().args(options).args(["--manifest", "-"]).arg(&source).arg(&target), 0);
        assert_eq!(describe(&source), describe(&target), "{options:?}");
        check_manifest(std::str::from_utf8(&output.stdout).unwrap(), &target);
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn access_times_are_kept_and_the_source_is_read_without_a_trace() {
    let folder = folder();
    let (source, target) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&source, "x").unwrap();
    set_times(&source, 7, 8);
    run(aiocp().arg(&source).arg(&target), 0);
    for path in [source, target] {
        let meta = fs::metadata(&path).unwrap();
        assert_eq!((meta.atime(), meta.atime_nsec()), (7, 8), "{path:?}");
    }
}

#[test]
fn destinations_are_read_as_cp_reads_them() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("dir/sub")).unwrap();
    fs::write(at("dir/sub/x"), "x").unwrap();
    fs::write(at("file"), "file").unwrap();
    fs::create_dir(at("into")).unwrap();
    let cp = |args: &[&str], code| run(aiocp().current_dir(folder.path()).args(args), code);
    cp(&["dir", "into"], 0);
    assert_eq!(fs::read(at("into/dir/sub/x")).unwrap(), b"x");
    cp(&["-T", "dir", "into"], 0);
    assert_eq!(fs::read(at("into/sub/x")).unwrap(), b"x");
    cp(&["file", "dir/", "-t", "into"], 0);
    assert_eq!(fs::read(at("into/file")).unwrap(), b"file");
    cp(&["-r", "dir/.", "merged"], 0);
    cp(&["dir/.", "merged"], 0);
    assert_eq!(fs::read(at("merged/sub/x")).unwrap(), b"x");
    assert!(!at("merged/dir").exists());
    cp(&["dir", "new/"], 0);
    assert_eq!(fs::read(at("new/sub/x")).unwrap(), b"x");
    cp(&["file", "none/"], 1);
    cp(&["file", "file/"], 1);
    // A named link to a file is written through; a link in a tree is replaced.
    symlink("file", at("link")).unwrap();
    fs::write(at("other"), "other").unwrap();
    cp(&["other", "link"], 0);
    assert_eq!(fs::read(at("file")).unwrap(), b"other");
    assert!(at("link").is_symlink());
    symlink("gone", at("dangling")).unwrap();
    let output = cp(&["other", "dangling"], 1);
    assert!(
        stderr(&output).contains("cannot write through dangling link 'dangling'"),
        "{output:?}"
    );
}

#[test]
fn every_refusal_is_one_line_with_operation_path_and_reason() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("dir/sub")).unwrap();
    fs::create_dir_all(at("into/file")).unwrap();
    fs::write(at("file"), "file").unwrap();
    fs::write(at("dir/x"), "x").unwrap();
    fs::create_dir(at("blocked")).unwrap();
    fs::write(at("blocked/dir"), "in the way").unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    for (args, text) in [
        (&["missing", "new"][..], "cannot stat 'missing': No such file or directory"),
        (&["missing/x", "new"], "cannot open 'missing/x': No such file or directory"),
        (&["file", "none/new"], "cannot create 'none/new': No such file or directory"),
        (&["file", "dir", "file"], "cannot copy several files into 'file': Not a directory"),
        (
            &["file", "dir", "none"],
            "cannot copy several files into 'none': No such file or directory\n\
             aiocp: hint: the folder",
        ),
        (&["-t", "file", "dir"], "cannot copy into 'file': Not a directory"),
        (&["-t", "none", "dir"], "cannot copy into 'none': No such file or directory"),
        (
            &["dir", "dir"],
            "cannot copy directory to 'dir/dir': the destination lies inside the source, 'dir'",
        ),
        (&["dir", "dir/sub/new"], "the destination lies inside the source, 'dir'"),
        (
            &["-T", "dir", "dir"],
            "cannot copy directory to 'dir': source and destination are the same file",
        ),
        (&["file", "file"], "cannot replace 'file': source and destination are the same file"),
        (&["file", "."], "cannot replace './file': source and destination are the same file"),
        (
            &["file", "into"],
            "cannot replace 'into/file': a directory cannot be overwritten with a non-directory",
        ),
        (
            &["dir", "file"],
            "cannot create directory 'file': \
             a non-directory cannot be overwritten with a directory",
        ),
        (
            &["dir", "blocked"],
            "cannot create directory 'blocked/dir': a non-directory cannot be overwritten",
        ),
        (&["fifo", "new"], "cannot copy 'fifo': it is a FIFO, which is not copied"),
    ] {
        let output = run(aiocp().current_dir(folder.path()).args(args), 1);
        let lines = stderr(&output);
        assert!(lines.starts_with("aiocp: cannot ") && lines.contains(text), "{args:?}: {lines}");
        assert!(!at("new").exists(), "{args:?}");
    }
    assert_eq!(fs::read(at("file")).unwrap(), b"file");
    assert_eq!(fs::read(at("blocked/dir")).unwrap(), b"in the way");
}

#[test]
fn links_are_never_copied_over_what_they_lead_to() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let cp = |args: &[&str], code| run(aiocp().current_dir(folder.path()).args(args), code);
    fs::write(at("f"), "data").unwrap();
    symlink("f", at("l1")).unwrap();
    symlink("f", at("l2")).unwrap();
    assert!(
        stderr(&cp(&["l1", "f"], 1))
            .contains("cannot replace 'f': source and destination are the same file")
    );
    cp(&["l1", "l2"], 0);
    assert_eq!(fs::read_link(at("l2")).unwrap(), Path::new("f"));
    // The same rule applies inside a tree that is merged.
    fs::create_dir_all(at("from")).unwrap();
    fs::create_dir_all(at("to")).unwrap();
    fs::write(at("to/x"), "x").unwrap();
    symlink("../to/x", at("from/x")).unwrap();
    cp(&["-T", "from", "to"], 1);
    assert_eq!(fs::read(at("to/x")).unwrap(), b"x");
    assert_eq!(fs::read(at("f")).unwrap(), b"data");
}

#[test]
fn two_sources_of_one_name_are_refused_and_a_fifo_is_not_overwritten() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for name in ["a", "b", "into"] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("x"), name).unwrap();
    }
    let output = run(aiocp().current_dir(folder.path()).args(["a/x", "b/x", "into"]), 1);
    assert!(
        stderr(&output).contains("cannot copy 'b/x': another source has the same name there"),
        "{output:?}"
    );
    assert_eq!(fs::read(at("into/x")).unwrap(), b"a");
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    let output = run(aiocp().current_dir(folder.path()).args(["a/x", "fifo"]), 1);
    assert!(
        stderr(&output).contains("cannot replace 'fifo': a FIFO is not overwritten with a file"),
        "{output:?}"
    );
}

#[test]
fn senseless_command_lines_exit_with_2() {
    for args in [
        &[][..],
        &["one"],
        &["--no-such-flag", "a", "b"],
        &["--block-size=3K", "a", "b"],
        &["--queue-depth=0", "a", "b"],
        &["-T", "a", "b", "c"],
        &["-T", "-t", "d", "a"],
        &["--direct=perhaps", "a", "b"],
        &["--reflink", "--sparse=always", "a", "b"],
    ] {
        let output = run(aiocp().args(args), 2);
        // Without any word it says how it is called.
        let begin = if args.is_empty() { "Usage: aiocp " } else { "aiocp: " };
        assert!(stderr(&output).starts_with(begin), "{args:?}: {output:?}");
    }
}

#[test]
fn one_failing_file_does_not_stop_the_others() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_tree(&source);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        source.join("many/fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let output = run(aiocp().arg(&source).arg(&target), 1);
    assert!(
        stderr(&output).ends_with("aiocp: 1 failure, named above; 315 files were copied\n"),
        "{output:?}"
    );
    fs::remove_file(source.join("many/fifo")).unwrap();
    let (have, want) = (describe(&target), describe(&source));
    let differ: Vec<_> = want.iter().filter(|(path, line)| have.get(*path) != Some(line)).collect();
    // The removal changed the directory's time; nothing else differs.
    assert_eq!(
        differ.iter().map(|(path, _)| path.as_path()).collect::<Vec<_>>(),
        [Path::new("many")]
    );
}

#[test]
fn an_unreadable_file_is_named() {
    if !is_root("becoming another user") || !have("setpriv") {
        return;
    }
    let folder = Elsewhere::new();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // Like many a /home, this directory can be passed through but not listed.
    fs::create_dir(folder.path().join("passage")).unwrap();
    fs::create_dir(folder.path().join("passage/own")).unwrap();
    fs::set_permissions(folder.path().join("passage"), fs::Permissions::from_mode(0o711)).unwrap();
    fs::set_permissions(folder.path().join("passage/own"), fs::Permissions::from_mode(0o777))
        .unwrap();
    fs::create_dir(folder.path().join("source")).unwrap();
    fs::create_dir(folder.path().join("source/closed")).unwrap();
    fs::write(folder.path().join("source/secret"), "s").unwrap();
    fs::write(folder.path().join("source/open"), "o").unwrap();
    fs::set_permissions(folder.path().join("source/open"), fs::Permissions::from_mode(0o4755))
        .unwrap();
    fs::set_permissions(folder.path().join("source/secret"), fs::Permissions::from_mode(0o600))
        .unwrap();
    fs::set_permissions(folder.path().join("source/closed"), fs::Permissions::from_mode(0o700))
        .unwrap();
    let nobody =
        |args: [&str; 2], code| run(folder.as_user(65534).arg(folder.aiocp()).args(args), code);
    let output = nobody(["source", "target"], 1);
    let text = stderr(&output);
    assert!(text.contains("cannot open 'source/secret': Permission denied"), "{text}");
    assert!(text.contains("cannot open directory 'source/closed': Permission denied"), "{text}");
    let copied = fs::metadata(folder.path().join("target/open")).unwrap();
    assert_eq!(copied.mode() & 0o7777, 0o755, "a file with another owner gets no setuid");
    assert_eq!(copied.uid(), 65534);
    nobody(["target", "passage/own/copy"], 0);
    assert_eq!(fs::read(folder.path().join("passage/own/copy/open")).unwrap(), b"o");
}

#[test]
fn a_source_that_changes_is_an_error() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    for len in [300_000, 40 << 20] {
        fs::write(&source, noise(len, 1)).unwrap();
        fs::write(&target, "old").unwrap();
        let stop = AtomicBool::new(false);
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    // A change of mode updates the change time, and so does every write.
                    for mode in [0o600, 0o640] {
                        fs::set_permissions(&source, fs::Permissions::from_mode(mode)).unwrap();
                    }
                    let mut file = fs::OpenOptions::new().append(true).open(&source).unwrap();
                    std::io::Write::write_all(&mut file, b"more").unwrap();
                }
            });
            std::thread::sleep(Duration::from_millis(20));
            // The kernel's clock for change times ticks. A copy within one tick sees no change, so
            // several are made.
            let outputs = (0..50).map(|_| aiocp().arg(&source).arg(&target).output().unwrap());
            let failed = outputs.into_iter().find(|output| !output.status.success());
            stop.store(true, Ordering::Relaxed);
            failed.expect("one of the copies meets a change")
        });
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("the source changed while it was being copied"),
            "{output:?}"
        );
        assert!(litter(folder.path()).is_empty());
    }
}

#[test]
fn a_killed_copy_leaves_only_whole_files_under_final_names() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_tree(&source);
    let whole = describe(&source);
    let contents = |line: &str| line.rsplit(' ').next().unwrap().to_owned();
    let mut killed = 0;
    for n in 0..40u64 {
        let mut child = aiocp().arg("-T").arg(&source).arg(&target).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(500 * n));
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());
        if !target.exists() {
            continue;
        }
        for (path, line) in describe(&target) {
            // Directories may lack their modes and times yet; a file is already final.
            if fs::symlink_metadata(target.join(&path)).unwrap().is_file()
                && !litter(&target).contains(&target.join(&path))
            {
                assert_eq!(contents(&line), contents(&whole[&path]), "{path:?} after {n}");
            }
        }
    }
    assert!(killed > 0, "no copy was slow enough to be killed");
    // Replacing in one step briefly takes a second name, which a kill at that moment leaves. On a
    // busy machine no run may have come this far.
    if target.exists() {
        litter(&target).into_iter().for_each(|path| fs::remove_file(path).unwrap());
    }
    run(aiocp().arg("-T").arg(&source).arg(&target), 0);
    assert!(describe(&target) == whole, "a copy over the remains is whole");
}

#[test]
fn names_of_any_bytes_and_long_paths_are_copied() {
    let folder = folder();
    let source = folder.path().join("source");
    fs::create_dir(&source).unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe\n'\"\\");
    fs::write(source.join(odd), "odd").unwrap();
    fs::write(source.join("n".repeat(255)), "long").unwrap();
    // A path longer than PATH_MAX can only be made step by step.
    let mut dir = std::fs::File::open(&source).unwrap();
    let name = "d".repeat(200);
    for _ in 0..30 {
        rustix::fs::mkdirat(&dir, &name, 0o755.into()).unwrap();
        dir = rustix::fs::openat(&dir, &name, rustix::fs::OFlags::DIRECTORY, 0.into())
            .unwrap()
            .into();
    }
    let make = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    rustix::fs::openat(&dir, "deep", make, 0o644.into()).unwrap();
    let target = folder.path().join("target");
    let output = run(aiocp().args(["--stats"]).arg(&source).arg(&target), 0);
    let stats = String::from_utf8_lossy(&output.stdout);
    let figures =
        ["files", "direct files", "directories", "written bytes"].map(|name| figure(&stats, name));
    assert_eq!(figures, [3, 0, 31, 7], "{stats}");
    assert_eq!(fs::read(target.join(odd)).unwrap(), b"odd");
    let mut dir = std::fs::File::open(&target).unwrap();
    for _ in 0..30 {
        dir = rustix::fs::openat(&dir, &name, rustix::fs::OFlags::DIRECTORY, 0.into())
            .unwrap()
            .into();
    }
    assert!(rustix::fs::statat(&dir, "deep", rustix::fs::AtFlags::empty()).is_ok());
}

#[test]
fn a_manifest_that_cannot_be_written_costs_no_copy() {
    let folder = folder();
    fs::write(folder.path().join("a"), "a").unwrap();
    let output =
        run(aiocp().current_dir(folder.path()).args(["--manifest", "none/m", "a", "b"]), 1);
    assert_eq!(stderr(&output), "aiocp: cannot write 'none/m': No such file or directory\n");
    assert!(!folder.path().join("b").exists());
    fs::create_dir(folder.path().join("dir")).unwrap();
    let output = run(aiocp().current_dir(folder.path()).args(["--manifest", "dir", "a", "b"]), 1);
    assert_eq!(stderr(&output), "aiocp: cannot write 'dir': Is a directory\n");
    run(aiocp().args(["-v", "--manifest", "-", "a", "b"]), 2);
}

#[test]
fn a_manifest_overwrites_no_file_of_the_copy_and_is_no_part_of_it() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let cp = |args: &[&str], code| run(aiocp().current_dir(folder.path()).args(args), code);
    fs::create_dir(at("dir")).unwrap();
    fs::write(at("dir/f"), "f").unwrap();
    for args in [
        &["--manifest", "dir/f", "dir/f", "g"][..],
        &["--manifest=g", "dir/f", "g"],
        &["--manifest=d2/f", "dir", "d2"],
    ] {
        let output = cp(args, 1);
        assert!(stderr(&output).contains("the manifest would overwrite"), "{output:?}");
        assert_eq!(fs::read(at("dir/f")).unwrap(), b"f");
    }
    assert!(!at("d2").exists() && !at("g").exists(), "it is refused before anything is copied");
    // The manifest lies inside the source, or inside a destination that the copy makes.
    cp(&["--manifest=dir/sums", "dir", "d3"], 0);
    assert!(!at("d3/sums").exists() && litter(&at("d3")).is_empty());
    cp(&["--manifest=d4/list", "dir", "d4"], 0);
    let manifest = fs::read_to_string(at("d4/list")).unwrap();
    assert_eq!(manifest.lines().map(|line| &line[66..]).collect::<Vec<_>>(), ["f", "sums"]);
}

#[test]
fn few_threads_are_enough() {
    if !is_root("a limit of processes for another user") || !have("setpriv") {
        return;
    }
    let folder = Elsewhere::new();
    let at = |name: &str| folder.path().join(name);
    for program in [assert_cmd::cargo::cargo_bin!("aiocp"), assert_cmd::cargo::cargo_bin!("aiosum")]
    {
        copy_program(program, at(program.file_name().unwrap().to_str().unwrap()));
    }
    fs::create_dir(at("s")).unwrap();
    (0..12).for_each(|n| fs::write(at("s").join(n.to_string()), noise(n, 1)).unwrap());
    fs::write(at("s/big"), noise(5 << 20, 2)).unwrap();
    must(std::process::Command::new("chown").args(["-R", "61234"]).arg(folder.path()));
    // The limit covers the signal thread, the watching thread, the loop and one worker. It leaves
    // none for syncs and hashes.
    for script in [
        "./aiocp --verify --manifest=m -T s t",
        "./aiosum s/big > b",
        "cd t && ../aiosum --check ../m",
    ] {
        let mut command = folder.as_user(61234);
        run(command.args(["bash", "-c", &format!("ulimit -u 7 && {script}")]), 0);
    }
    assert_eq!(describe(&at("s")), describe(&at("t")));
    let hash = blake3::hash(&noise(5 << 20, 2)).to_hex();
    assert_eq!(fs::read_to_string(at("b")).unwrap(), format!("{hash}  s/big\n"));
}

#[test]
fn few_open_files_are_enough() {
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_tree(&source);
    fs::create_dir(source.join("more files")).unwrap();
    (0..200).for_each(|n| {
        fs::write(source.join("more files").join(n.to_string()), noise(n, 1)).unwrap()
    });
    let (aiocp, aiosum) =
        (assert_cmd::cargo::cargo_bin!("aiocp"), assert_cmd::cargo::cargo_bin!("aiosum"));
    for limit in [48, 64, 128] {
        let sh = |program: &Path, flags: &[&str], operands: &[&Path]| {
            let mut command = std::process::Command::new("sh");
            command
                .args(["-c", &format!(r#"ulimit -n {limit}; exec "$0" "$@""#)])
                .arg(program)
                .args(flags)
                .env_remove("AIOCP_CONFIG_PATH");
            run(command.args(operands), 0)
        };
        sh(aiocp, &["-T"], &[&source, &target]);
        assert_eq!(describe(&source), describe(&target), "{limit}");
        sh(aiocp, &["-T", "--verify-only"], &[&source, &target]);
        assert!(!sh(aiosum, &[], &[&source]).stdout.is_empty());
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn each_engine_copies_the_same_tree_to_the_same_hashes() {
    let folder = folder();
    let source = folder.path().join("source");
    make_tree(&source);
    // Cold and large files go through the engine and not through a worker.
    for n in 0..3 {
        let file = fs::File::create(source.join(format!("big{n}"))).unwrap();
        file.write_all_at(&noise((9 << 20) + n, n as u64), 0).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
    let mut manifests = Vec::new();
    for engine in ["kernel", "posix", "threads"] {
        let (target, manifest) =
            (folder.path().join(engine), folder.path().join(format!("{engine}.b3")));
        let mut command = aiocp();
        command
            .arg(format!("--engine={engine}"))
            .arg("--manifest")
            .arg(&manifest)
            .arg(&source)
            .arg(&target);
        run(&mut command, 0);
        assert_eq!(describe(&source), describe(&target), "{engine}");
        manifests.push(std::fs::read_to_string(manifest).unwrap());
        check_manifest(&manifests[0], &target);
    }
    assert!(manifests.iter().all(|manifest| *manifest == manifests[0]));
}
