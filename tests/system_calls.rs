//! Which system calls a copy makes, and what happens when the kernel refuses one: observed and
//! injected with strace.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use common::*;

/// How many operations each submission that succeeded has handed in.
fn submissions(calls: &[String]) -> impl Iterator<Item = u64> {
    let calls = calls.iter().filter(|call| trace::name_of(call) == "io_submit");
    calls.filter_map(|call| call.rsplit_once("= ")?.1.trim().parse().ok())
}

/// How many of the calls strace has answered itself.
fn injected(calls: &[String]) -> usize {
    calls.iter().filter(|call| call.ends_with("(INJECTED)")).count()
}

#[test]
fn one_context_and_batches_of_operations() {
    if !have_strace() {
        return;
    }
    let Some(mounted) = Mounted::new("ext4", 512) else { return };
    let (source, target, trace) =
        (mounted.path.join("s"), mounted.path.join("t"), mounted.path.join("trace"));
    cold_file(&source, 128);
    let options = ["-e", "trace=io_setup,io_submit,pread64,pwrite64"];
    run(
        strace(&options, &trace)
            .arg("--manifest")
            .arg(mounted.path.join("m"))
            .arg(&source)
            .arg(&target),
        0,
    );
    let calls = trace::calls(&trace);
    let count = |name: &str| trace::count(&calls, name);
    let submitted: u64 = submissions(&calls).sum();
    assert_eq!(count("io_setup"), 1);
    assert!(submitted >= 2 * 129, "one read and one write per block: {submitted}");
    let batch = submitted as f64 / count("io_submit") as f64;
    assert!(batch >= 4.0, "{batch} operations per io_submit");
    assert!(count("pwrite64") == 0, "the data goes through the context");
}

#[test]
fn what_needs_no_context_makes_none() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("tree")).unwrap();
    (0..100).for_each(|n| fs::write(at("tree").join(n.to_string()), noise(n, 1)).unwrap());
    // A failed file keeps the journal.
    rustix::fs::mknodat(
        rustix::fs::CWD,
        at("tree/fifo"),
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let contexts = |program: &Path, args: &[&str], code| {
        let mut strace = common::program("strace");
        strace.args(["-f", "-e", "trace=io_setup", "-o", "trace"]).arg(program).args(args);
        run(strace.current_dir(folder.path()), code);
        trace::count(&trace::calls(&at("trace")), "io_setup")
    };
    let (aiocp, aiosum) =
        (assert_cmd::cargo::cargo_bin!("aiocp"), assert_cmd::cargo::cargo_bin!("aiosum"));
    // Destroying a context takes the kernel longer than any of these copies.
    assert_eq!(contexts(aiocp, &["tree/7", "copy"], 0), 0);
    assert_eq!(contexts(aiocp, &["--verify", "tree/7", "copy"], 0), 0);
    assert_eq!(contexts(aiosum, &["tree/7", "copy"], 0), 0);
    assert_eq!(
        contexts(aiocp, &["--engine=kernel", "tree/7", "copy"], 0),
        1,
        "the flag demands it"
    );
    // Syncs alone need no context either.
    fs::create_dir(at("few")).unwrap();
    (0..10).for_each(|n| fs::write(at("few").join(n.to_string()), noise(n, 1)).unwrap());
    assert_eq!(contexts(aiocp, &["-T", "few", "few copies"], 0), 0);
    contexts(aiocp, &["--resume", "-T", "tree", "tree copy"], 1);
    assert_eq!(contexts(aiocp, &["--resume", "-T", "tree", "tree copy"], 1), 0);
}

/// Makes a folder of 60 cold files of up to 20,000 bytes.
fn cold_folder(path: &Path) {
    fs::create_dir(path).unwrap();
    for n in 0..60 {
        let file = path.join(format!("{n}"));
        fs::write(&file, noise(1 + n * 331, n as u64)).unwrap();
        let file = fs::File::open(file).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    }
}

/// The operations in the largest submission, and the number of files read one by one.
fn submitted_and_read(calls: &[String]) -> (u64, usize) {
    // The loader reads its libraries with pread64 too; their first bytes tell.
    let is_read = |call: &&String| call.contains("pread") && !call.contains("ELF");
    (submissions(calls).max().unwrap_or(0), calls.iter().filter(is_read).count())
}

#[test]
fn cold_small_files_are_read_and_read_back_in_one_submission_and_hot_ones_from_memory() {
    if !have_strace() {
        return;
    }
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let at = |name: &str| mounted.path.join(name);
    let options = ["-e", "trace=io_submit,pread64"];
    cold_folder(&at("s"));
    run(strace(&options, &at("trace")).args(["--verify", "-T"]).args([at("s"), at("t")]), 0);
    assert_eq!(describe(&at("s")), describe(&at("t")));
    let (submitted, read) = submitted_and_read(&trace::calls(&at("trace")));
    assert!(submitted >= 30 && read < 20, "{submitted} at once, {read} one by one");
    // Inspecting the files brought them into memory.
    fs::remove_dir_all(at("t")).unwrap();
    run(strace(&options, &at("trace")).args(["--no-sync", "-T"]).args([at("s"), at("t")]), 0);
    let (submitted, read) = submitted_and_read(&trace::calls(&at("trace")));
    assert!(submitted < 30 && read >= 60, "{submitted} at once, {read} one by one");
}

/// What is found of some files is expected of their neighbours, which may be unlike.
#[test]
fn neighbours_that_are_cold_cached_changed_and_empty_are_copied_whole() {
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let at = |name: &str| mounted.path.join(name);
    for warm_one_in in [1, 2, 5, 11] {
        cold_folder(&at("s"));
        for n in (0..60).filter(|n| n % warm_one_in == 0) {
            let file = at("s").join(n.to_string());
            match n % 3 {
                0 => drop(fs::read(&file).unwrap()),
                1 => fs::write(&file, noise(n * 57, 1)).unwrap(),
                _ => fs::write(&file, "").unwrap(),
            }
        }
        run(aiocp().args(["-aT", "--manifest"]).args([at("m"), at("s"), at("t")]), 0);
        check_manifest(&fs::read_to_string(at("m")).unwrap(), &at("t"));
        assert_eq!(describe(&at("s")), describe(&at("t")), "one in {warm_one_in}");
        fs::remove_dir_all(at("s")).unwrap();
        fs::remove_dir_all(at("t")).unwrap();
    }
}

/// Where only contents show that two names are one file's, they are compared as they lie.
#[test]
fn names_of_cold_files_are_linked_where_contents_have_to_show_it() {
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let at = |name: &str| mounted.path.join(name);
    cold_folder(&at("s"));
    for n in 20..40 {
        fs::hard_link(at("s").join(n.to_string()), at("s").join(format!("{n} again"))).unwrap();
    }
    let mut command = aiocp();
    sandbox::refuse(&mut command, &[libc::SYS_name_to_handle_at], libc::EPERM);
    run(command.arg("-aT").args([at("s"), at("t")]), 0);
    assert_eq!(describe(&at("s")), describe(&at("t")));
    let inode = |name: String| fs::metadata(at("t").join(name)).unwrap().ino();
    for n in 20..40 {
        assert_eq!(inode(n.to_string()), inode(format!("{n} again")), "{n}");
    }
}

#[test]
fn small_files_whose_direct_read_is_refused_are_read_through_the_page_cache() {
    if !have_strace() {
        return;
    }
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let at = |name: &str| mounted.path.join(name);
    for errno in ["EINVAL", "EIO", "EAGAIN"] {
        fs::create_dir(at("s")).unwrap();
        (0..6).for_each(|n| cold_folder(&at("s").join(n.to_string())));
        // strace counts each thread by itself. The loop submits the files of one folder after those
        // of the other, since one worker hands them in.
        let inject = format!("inject=io_submit:error={errno}:when=2..4");
        let options = ["-e", "trace=io_submit,pread64", "-e", &inject];
        run(
            strace(&options, &at("trace"))
                .args(["--no-sync", "--threads=1", "-T"])
                .args([at("s"), at("t")]),
            0,
        );
        let calls = trace::calls(&at("trace"));
        let (injected, (_, read)) = (injected(&calls), submitted_and_read(&calls));
        // EAGAIN does not refuse the operation.
        assert!(
            injected == 3 && (read >= 1 || errno == "EAGAIN"),
            "{errno}: {injected} refused, {read} read one by one"
        );
        assert_eq!(describe(&at("s")), describe(&at("t")), "{errno}");
        fs::remove_dir_all(at("s")).unwrap();
        fs::remove_dir_all(at("t")).unwrap();
    }
    // Files too few for a submission are read by the worker that needs them.
    let few = at("few");
    fs::create_dir(&few).unwrap();
    cold_file(&few.join("one"), 0);
    let one = few.join("one");
    let options = [
        "-P",
        one.to_str().unwrap(),
        "-e",
        "trace=pread64",
        "-e",
        "inject=pread64:error=EIO:when=1",
    ];
    run(strace(&options, &at("trace")).arg("-T").args([&few, &at("t")]), 0);
    let calls = trace::calls(&at("trace"));
    assert_eq!((trace::count(&calls, "pread64"), injected(&calls)), (2, 1), "{calls:#?}");
    assert_eq!(describe(&few), describe(&at("t")));
}

#[test]
fn without_kernel_aio_threads_do_the_work() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_tree(&source);
    cold_file(&source.join("cold"), 20);
    for (errno, text) in
        [("EAGAIN", "/proc/sys/fs/aio-max-nr"), ("ENOSYS", "ENOSYS"), ("EPERM", "EPERM")]
    {
        let inject = format!("inject=io_setup:error={errno}");
        let manifest = folder.path().join("manifest");
        let mut command =
            strace(&["-e", "trace=io_setup", "-e", &inject], &folder.path().join("trace"));
        let output = run(
            command.args(["--debug", "--manifest"]).arg(&manifest).arg(&source).arg(&target),
            0,
        );
        let debug = stderr(&output);
        let line = debug.lines().find(|line| line.starts_with("kernel AIO: ")).unwrap_or_default();
        assert!(line.contains(text) && line.ends_with("; threads do its work"), "{debug}");
        assert_eq!(describe(&source), describe(&target), "{errno}");
        check_manifest(&fs::read_to_string(&manifest).unwrap(), &target);
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn without_openat2_every_file_is_still_opened() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    make_tree(&source);
    for errno in ["ENOSYS", "EPERM", "EAGAIN:when=1..900+3"] {
        let inject = format!("inject=openat2:error={errno}");
        let mut command =
            strace(&["-e", "trace=openat2", "-e", &inject], &folder.path().join("trace"));
        run(command.arg(&source).arg(&target), 0);
        assert_eq!(describe(&source), describe(&target), "{errno}");
        fs::remove_dir_all(&target).unwrap();
    }
}

#[test]
fn an_error_at_any_step_fails_the_file_and_leaves_the_old_one() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target, trace) =
        (folder.path().join("s"), folder.path().join("t"), folder.path().join("trace"));
    for (len, inject, text) in [
        (100_000, "pread64:error=EIO", "cannot read"),
        (100_000, "pwrite64:error=EIO", "cannot write"),
        (100_000, "linkat:error=EIO", "cannot move the finished copy to"),
        (100_000, "renameat2:error=EIO", "cannot move the finished copy to"),
        (5 << 20, "fallocate:error=ENOSPC", "cannot allocate space for"),
        (5 << 20, "ftruncate:error=EIO", "cannot set the size of"),
    ] {
        fs::write(&source, noise(len + 1, 2)).unwrap();
        fs::write(&target, "old").unwrap();
        let name = inject.split(':').next().unwrap();
        let (which, what) = (format!("trace={name}"), format!("inject={inject}"));
        let mut options = vec!["-e", &which, "-e", &what];
        if name == "pread64" {
            // The loader calls it for its libraries too, and has to be left alone.
            options.extend(["-P", source.to_str().unwrap()]);
        }
        // ftruncate follows only where a direct write was rounded up, so the file has an odd size.
        let output = run(strace(&options, &trace).arg(&source).arg(&target), 1);
        assert!(stderr(&output).contains(text), "{inject}: {output:?}");
        assert_eq!(fs::read(&target).unwrap(), b"old", "{inject}");
        assert!(litter(folder.path()).is_empty(), "{inject}");
    }
}

#[test]
fn metadata_that_cannot_be_kept_is_named_and_costs_no_data() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target, trace) =
        (folder.path().join("s"), folder.path().join("t"), folder.path().join("trace"));
    fs::write(&source, "new").unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&source, Some(1), Some(1)).unwrap();
    }
    fs::set_permissions(&source, fs::Permissions::from_mode(0o4755)).unwrap();
    for (inject, preserve, text) in [
        ("fchmod:error=EPERM", "-a", "cannot set mode of"),
        ("utimensat:error=EPERM", "-a", "cannot set times of"),
        ("fchown:error=EIO", "-a", "cannot set owner of"),
        ("flistxattr:error=EIO", "-a", "cannot list attributes of"),
        // With a list, only an ACL that it names is read.
        ("fgetxattr:error=EIO", "-p", "cannot read ACL of"),
    ] {
        fs::write(&target, "old").unwrap();
        let (which, what) =
            (format!("trace={}", inject.split(':').next().unwrap()), format!("inject={inject}"));
        let output = run(
            strace(&["-e", &which, "-e", &what], &trace).arg(preserve).arg(&source).arg(&target),
            1,
        );
        assert!(stderr(&output).contains(text), "{inject}: {output:?}");
        assert_eq!(fs::read(&target).unwrap(), b"new", "{inject}");
        let mode = fs::metadata(&target).unwrap().mode() & 0o7777;
        match inject {
            "fchmod:error=EPERM" => assert_eq!(mode, 0o600, "no other user may read it"),
            "fchown:error=EIO" if root => assert_eq!(mode, 0o755, "no setuid for another owner"),
            "fgetxattr:error=EIO" => {
                assert_eq!(mode, 0o4705, "an ACL may have given the group less")
            }
            _ => assert_eq!(mode, 0o4755),
        }
    }
}

#[test]
fn direct_io_that_is_accepted_and_then_refused_gives_way_to_the_page_cache() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target, trace) =
        (folder.path().join("s"), folder.path().join("t"), folder.path().join("trace"));
    cold_file(&source, 5);
    // The first io_submit carries the wakeup's poll; a worker's file comes after it.
    let options = ["-e", "trace=io_submit", "-e", "inject=io_submit:error=EINVAL:when=2"];
    run(strace(&options, &trace).arg(&source).arg(&target), 0);
    assert!(
        fs::read(&source).unwrap() == fs::read(&target).unwrap(),
        "the size is the source's too"
    );
}

#[test]
fn one_refusal_at_any_submission_does_not_hang() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target, trace) =
        (folder.path().join("s"), folder.path().join("t"), folder.path().join("trace"));
    for when in 1..9 {
        cold_file(&source, 3);
        let inject = format!("inject=io_submit:error=EAGAIN:when={when}");
        let options = ["-e", "trace=io_submit", "-e", &inject];
        run(strace(&options, &trace).arg("--queue-depth=1").arg(&source).arg(&target), 0);
        assert!(fs::read(&source).unwrap() == fs::read(&target).unwrap(), "{when}");
    }
}

#[test]
fn a_full_ring_and_an_interrupted_wait_lose_nothing() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target, trace) =
        (folder.path().join("s"), folder.path().join("t"), folder.path().join("trace"));
    cold_file(&source, 30);
    for inject in [
        "io_submit:error=EAGAIN:when=2+2",
        "io_getevents:error=EINTR:when=1+2",
        "io_submit:error=EINTR:when=1+2",
    ] {
        let name = inject.split(':').next().unwrap();
        let options = ["-e", &format!("trace={name}"), "-e", &format!("inject={inject}")];
        run(strace(&options, &trace).arg(&source).arg(&target), 0);
        assert!(fs::read(&source).unwrap() == fs::read(&target).unwrap(), "{inject}");
        fs::remove_file(&target).unwrap();
        cold_file(&source, 30);
    }
}

/// One way in which the loop's waiting or waking fails: the engine, the options of strace that make
/// it fail, and the system call's error in words.
struct Fault {
    engine: &'static str,
    options: Vec<String>,
    reason: &'static str,
}

impl Fault {
    /// Errors of what the loop itself depends on, from its first call on or later.
    fn all() -> Vec<Self> {
        let on_eventfd = |call: &'static str| (call, "EIO", "Input/output error", true);
        let wait = ("io_getevents", "EIO", "Input/output error", false);
        let poll = ("ppoll", "ENOMEM", "Cannot allocate memory", false);
        let mut faults = Vec::new();
        for (engine, wait) in [("kernel", wait), ("posix", poll), ("threads", poll)] {
            for (call, errno, reason, of_eventfd) in [wait, on_eventfd("read"), on_eventfd("write")]
            {
                for when in ["1", "3", "1+"] {
                    let mut options = vec!["-e".to_owned(), format!("trace={call}")];
                    options.extend([
                        "-e".to_owned(),
                        format!("inject={call}:error={errno}:when={when}"),
                    ]);
                    if of_eventfd {
                        options.extend(["-P", "anon_inode:[eventfd]"].map(str::to_owned));
                    }
                    faults.push(Self { engine, options, reason });
                }
            }
        }
        faults
    }
}

/// What a command said that had a fault: whether it failed. It has named each file once.
fn failed_orderly(output: &std::process::Output, fault: &Fault, what: &str) -> bool {
    let text = stderr(output);
    let words = ["panicked", "backtrace", "internal thread", "SIGABRT"];
    assert!(!words.iter().any(|word| text.contains(word)), "{what}: {text}");
    // The lines of failures, and those of `aiosum --check`.
    let said = text.lines().filter(|line| line.contains(": cannot "));
    let checked = String::from_utf8(output.stdout.clone()).unwrap();
    let mut lines: Vec<_> =
        said.chain(checked.lines().filter(|line| line.contains(": FAILED "))).collect();
    let count = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), count, "{what}: {text}");
    match output.status.code() {
        Some(0) => assert_eq!(count, 0, "{what}: {text}"),
        Some(1) => assert!(
            count > 0 && lines.iter().all(|line| line.contains(fault.reason)),
            "{what}: {text}"
        ),
        code => panic!("{what}: {code:?}: {text}"),
    }
    count > 0
}

/// A tree with small and big files that memory has nothing of.
fn cold_tree(path: &Path) {
    cold_folder(path);
    for n in 0..2 {
        cold_file(&path.join(format!("big{n}")), 3);
    }
}

#[test]
fn a_loop_that_cannot_wait_or_be_woken_fails_its_files_and_nothing_hangs() {
    if !have_strace() {
        return;
    }
    let Some(mounted) = Mounted::new("ext4", 256) else { return };
    let at = |name: &str| mounted.path.join(name);
    let (mut failed, mut runs) = (0, 0);
    for verify in [false, true] {
        for fault in Fault::all() {
            cold_tree(&at("s"));
            let options: Vec<_> = fault.options.iter().map(String::as_str).collect();
            let mut command = strace(&options, &at("trace"));
            command.arg(format!("--engine={}", fault.engine));
            command.args(verify.then_some("--verify")).arg("-T").args([at("s"), at("t")]);
            let output = run_limited(&mut command);
            let what = format!("{} {:?} {verify}", fault.engine, fault.options);
            let has_failed = failed_orderly(&output, &fault, &what);
            assert!(litter(&mounted.path).is_empty(), "{what}");
            let (source, target) = (describe(&at("s")), describe(&at("t")));
            assert!(has_failed || source == target, "{what}: what is not told of is there");
            // The directory has its times in the end.
            let is_whole = |(path, line): (&std::path::PathBuf, &String)| {
                path.as_os_str().is_empty() || source.get(path) == Some(line)
            };
            assert!(target.iter().all(is_whole), "{what}: what is there is whole");
            (failed, runs) = (failed + u32::from(has_failed), runs + 1);
            fs::remove_dir_all(at("s")).unwrap();
            fs::remove_dir_all(at("t")).unwrap();
        }
    }
    assert!(failed >= runs / 2, "{failed} of {runs}: the faults are met");
}

#[test]
fn a_sum_whose_loop_cannot_wait_or_be_woken_fails_its_files_and_nothing_hangs() {
    if !have_strace() {
        return;
    }
    let Some(mounted) = Mounted::new("ext4", 64) else { return };
    let at = |name: &str| mounted.path.join(name);
    cold_tree(&at("s"));
    let sums = run(aiosum().arg(at("s")), 0).stdout;
    fs::write(at("sums"), &sums).unwrap();
    fs::remove_dir_all(at("s")).unwrap();
    let mut failed = 0;
    for check in [false, true] {
        // It has no other engine where there is kernel AIO.
        for fault in Fault::all().into_iter().filter(|fault| fault.engine == "kernel") {
            cold_tree(&at("s"));
            let mut command = program("strace");
            command.args(["-f", "-o"]).arg(at("trace")).args(&fault.options);
            command.arg(assert_cmd::cargo::cargo_bin!("aiosum"));
            match check {
                true => command.arg("--check").arg(at("sums")),
                false => command.arg(at("s")),
            };
            let output = run_limited(&mut command);
            let what = format!("{:?} {check}", fault.options);
            let has_failed = failed_orderly(&output, &fault, &what);
            assert!(check || has_failed || output.stdout == sums, "{what}");
            failed += u32::from(has_failed);
            fs::remove_dir_all(at("s")).unwrap();
        }
    }
    assert!(failed >= 8, "{failed}: the faults are met");
}

#[test]
fn a_poll_that_is_always_refused_ends_the_loop_instead_of_having_it_spin() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    for n in 0..5 {
        fs::create_dir_all(at("s").join(n.to_string())).unwrap();
        (0..5).for_each(|m| fs::write(at("s").join(format!("{n}/{m}")), noise(50_000, m)).unwrap());
    }
    // One worker reads a folder a second, and syncs it; the loop has nothing to do in between. The
    // first folder's syncs are submitted, with a poll that the second folder's use up.
    let options = ["-e", "trace=io_submit", "-e", "inject=io_submit:error=EIO:when=2+"];
    let mut command = strace(&options, &at("trace"));
    command.args(["--engine=kernel", "--bwlimit=250K", "--threads=1", "-T"]);
    let output = run_limited(command.args([at("s"), at("t")]));
    let injected = injected(&trace::calls(&at("trace")));
    assert!(injected < 100, "{injected} submissions");
    let text = stderr(&output);
    assert_eq!(text.matches(": cannot fsync '").count(), 20, "{text}");
    assert!(output.status.code() == Some(1) && !text.contains("panicked"), "{text}");
    assert!(litter(folder.path()).is_empty());
}

#[test]
fn a_callback_for_which_glibc_finds_no_thread_is_no_reason_to_wait_for_ever() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    cold_file(&at("s"), 20);
    // strace counts for each thread: those of the command itself make fewer.
    let options = ["-e", "trace=clone3", "-e", "inject=clone3:error=EAGAIN:when=5+"];
    let mut command = strace(&options, &at("trace"));
    command.args(["--engine=posix", "--queue-depth=2"]).args([at("s"), at("t")]);
    let output = run_limited(&mut command);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(fs::read(at("s")).unwrap() == fs::read(at("t")).unwrap());
    let injected = injected(&trace::calls(&at("trace")));
    assert!(injected > 10, "{injected} threads were not made");
}
