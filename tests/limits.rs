//! Limits of the process and its own faults end in an error line, never in a signal.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::*;

/// Small files for all workers, and big ones for the pipeline.
fn tree(path: &Path) {
    fs::create_dir(path).unwrap();
    for n in 0..100 {
        fs::write(path.join(format!("small{n}")), noise(n * 211, n as u64)).unwrap();
    }
    for n in 0..2 {
        fs::write(path.join(format!("big{n}")), noise((5 << 20) + n, n as u64)).unwrap();
    }
}

/// The command under limits of the shell's, such as `ulimit -v 50000`.
fn limited(limits: &str, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("{limits} && exec \"$@\""), "sh"]).arg(command.get_program());
    limited.args(command.get_args());
    limited.env_remove("RUST_BACKTRACE").env_remove("AIOCP_CONFIG_PATH");
    limited
}

/// What a limit may do to a command: nothing, or one line for what it cannot do. Answers whether
/// all went well.
fn in_order(output: &Output, what: &str) -> bool {
    let text = stderr(output);
    for word in ["panicked", "internal error", "memory allocation of", "overflow"] {
        assert!(!text.contains(word), "{what}: {text}");
    }
    match output.status.code() {
        Some(0) => true,
        Some(1) => {
            assert!(text.contains(": cannot "), "{what}: no line says why: {text}");
            false
        }
        _ => panic!("{what}: {:?}: {text}", output.status),
    }
}

/// Copies under limits and looks at what is there then. Answers whether all of it is.
fn copy_under(limits: &str, options: &[&str], source: &Path, place: &Path) -> (bool, String) {
    let what = format!("{limits} {options:?}");
    let target = place.join("copy");
    if target.exists() {
        fs::remove_dir_all(&target).unwrap();
    }
    let mut command = aiocp();
    command.args(options).arg("-T").arg(source).arg(&target);
    let output = run_limited(&mut limited(limits, &command));
    let is_whole = in_order(&output, &what);
    let (copied, wanted) = match target.exists() {
        true => (describe(&target), describe(source)),
        false => Default::default(),
    };
    if is_whole {
        assert_eq!(copied, wanted, "{what}");
    }
    for (path, entry) in &copied {
        let is_dir = source.join(path).is_dir();
        assert!(is_dir || wanted.get(path) == Some(entry), "{what}: {path:?} is not whole");
    }
    assert!(litter(place).is_empty(), "{what}");
    (is_whole, stderr(&output))
}

#[test]
fn a_limit_of_file_sizes_is_an_error_of_the_files_beyond_it() {
    let folder = folder();
    let source = folder.path().join("source");
    tree(&source);
    for options in [&[][..], &["--reflink=never", "--sparse=never"], &["--engine=threads"]] {
        for (blocks, failures) in [(20_000, 0), (5_000, 2), (20, 53)] {
            let limits = format!("ulimit -f {blocks}");
            let (is_whole, text) = copy_under(&limits, options, &source, folder.path());
            assert_eq!(is_whole, failures == 0, "{limits}: {text}");
            let lines = text.lines().filter(|line| line.contains("cannot ")).count();
            assert!(lines <= failures && text.contains("File too large") != is_whole, "{text}");
        }
    }
    let sums = fs::File::create(folder.path().join("sums")).unwrap();
    let mut command = aiosum();
    command.arg(&source);
    let output = limited("ulimit -f 1", &command).stdout(sums).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("File too large"), "{output:?}");
}

#[test]
fn with_few_addresses_there_are_fewer_threads_and_buffers() {
    let folder = folder();
    let source = folder.path().join("source");
    tree(&source);
    let kib = |options: &[&str], kib: u64| {
        let limits = format!("ulimit -v {kib}");
        copy_under(&limits, options, &source, folder.path())
    };
    // The least with which the program can be loaded and says so itself.
    let starts = |kib: &u64| {
        let mut command = aiocp();
        command.arg("--version");
        limited(&format!("ulimit -v {kib}"), &command).output().unwrap().status.success()
    };
    let least = (1..200).map(|n| n * 1024).find(starts).unwrap();
    for more in [2, 4, 6, 8, 12, 20, 40, 100, 300, 900].map(|mib| mib << 10) {
        for options in [&[][..], &["--engine=posix"], &["--verify", "--block-size=4M"]] {
            let (is_whole, text) = kib(options, least + more);
            assert!(is_whole || more < 40 << 10, "{options:?} {more}: {text}");
        }
    }
    let (is_whole, text) = kib(&[], least + (40 << 10));
    assert!(is_whole, "{text}");
    assert_eq!(text.matches("warning: ").count(), 1, "{text}");
    assert!(text.contains("little memory"), "{text}");
    for more in [4, 10, 40, 900].map(|mib| mib << 10) {
        let mut command = aiosum();
        command.arg("--num-threads=0").arg(&source);
        let limits = format!("ulimit -v {}", least + more);
        let output = run_limited(&mut limited(&limits, &command));
        assert!(in_order(&output, &limits) || more < 40 << 10, "{limits}: {output:?}");
    }
}

/// A memory cgroup below the one that this process is in; none where it cannot be made.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(bytes: u64) -> Option<Self> {
        let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap();
        let path = |line: &str, root: &str| {
            let path = line.rsplit(':').next().unwrap().trim_start_matches('/');
            Path::new(root).join(path).join(format!("aiocp-test-{}", std::process::id()))
        };
        for line in cgroups.lines() {
            let (path, file) = match line.split(':').nth(1) {
                Some("") => (path(line, "/sys/fs/cgroup"), "memory.max"),
                Some("memory") => (path(line, "/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
                _ => continue,
            };
            if fs::create_dir(&path).is_err() {
                continue;
            }
            let cgroup = Self(path);
            if fs::write(cgroup.0.join(file), bytes.to_string()).is_ok() {
                return Some(cgroup);
            }
        }
        None
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).unwrap();
    }
}

#[test]
fn a_small_cgroup_is_enough() {
    let folder = folder();
    let source = folder.path().join("source");
    tree(&source);
    for mib in [32, 16] {
        let Some(cgroup) = Cgroup::new(mib << 20) else {
            return common::skip_for_kernel("no cgroup with a limit of memory can be made here");
        };
        let enter = format!("echo $$ >'{}'", cgroup.0.join("cgroup.procs").display());
        for options in [&[][..], &["--verify"], &["--block-size=8M", "--queue-depth=64"]] {
            let (is_whole, text) = copy_under(&enter, options, &source, folder.path());
            assert!(is_whole, "{mib} MiB {options:?}: {text}");
        }
    }
}

#[test]
fn where_no_thread_can_be_made_every_engine_ends() {
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    if !is_root("a user of its own") || !have("setpriv") || !have("prlimit") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (source, program) = (folder.path().join("source"), folder.path().join("aiocp"));
    fs::write(&source, noise(1_300_000, 3)).unwrap();
    // The user may not search the folder of the build.
    copy_program(aiocp().get_program(), &program);
    for path in [folder.path(), &program] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(path, mode).unwrap();
    }
    for engine in ["--engine=posix", "--engine=threads", "--direct=auto"] {
        for threads in [1, 3, 5, 6, 8, 10, 16] {
            let target = folder.path().join("target");
            let limit = format!("--nproc={threads}");
            let mut command = common::program("setpriv");
            command.args(user).args(["prlimit", &limit]).arg(&program).env_remove("RUST_BACKTRACE");
            command.args(["--no-sync", "--block-size=4K", engine]);
            let output = run_limited(command.arg(&source).arg(&target));
            let what = format!("{engine} with {threads} threads");
            if in_order(&output, &what) {
                assert!(fs::read(&source).unwrap() == fs::read(&target).unwrap(), "{what}");
                fs::remove_file(&target).unwrap();
            }
            assert!(litter(folder.path()).is_empty(), "{what}");
        }
    }
}

#[test]
fn a_panic_is_one_line_and_leaves_nothing_half_done() {
    if !have_strace() {
        return;
    }
    let folder = folder();
    let (source, target) = (folder.path().join("source"), folder.path().join("copy"));
    tree(&source);
    // The kernel claims to have written more events than there is room for.
    for (when, options) in [("1", &[][..]), ("2+", &["--verify"]), ("3", &["--resume"])] {
        let options: Vec<_> = options.iter().map(OsStr::new).collect();
        let inject = format!("inject=io_getevents:retval=999999:when={when}");
        let mut command =
            common::strace(&["-e", "trace=io_getevents", "-e", &inject], Path::new("/dev/null"));
        command
            .args(["--reflink=never", "--threads=1"])
            .args(options)
            .arg("-T")
            .arg(&source)
            .arg(&target);
        let output = run_limited(command.env_remove("RUST_BACKTRACE"));
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert_eq!(text.matches("internal error").count(), 1, "{text}");
        let error = "aiocp: cannot go on: internal error at crates/linux-aio/src/sys/context.rs:";
        assert!(text.contains(error), "{text}");
        assert!(!text.contains("backtrace") && !text.contains("panicked"), "{text}");
        for (path, entry) in describe(&target) {
            let is_dir = path == Path::new("");
            assert!(is_dir || describe(&source)[&path] == entry, "{path:?} is not whole");
        }
        let resumed = aiocp().arg("--resume").arg("-T").arg(&source).arg(&target).output().unwrap();
        assert!(resumed.status.success(), "{resumed:?}");
        assert_eq!(describe(&source), describe(&target));
        assert!(litter(folder.path()).is_empty());
        fs::remove_dir_all(&target).unwrap();
    }
}
