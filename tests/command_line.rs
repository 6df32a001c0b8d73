//! The command line's help, version and error messages.

use std::fs;
use std::process::Command;

use common::{Mounted, aiocp, folder, have, noise, program, run, stderr, strace};

mod common;

fn aiosum() -> Command {
    Command::new(assert_cmd::cargo::cargo_bin!("aiosum"))
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap().replace('\r', "")
}

#[test]
fn help_into_a_pipe_has_every_flag() {
    for (mut command, mut table) in
        [(aiocp(), aiocp::cli::aiocp::command()), (aiosum(), aiocp::cli::aiosum::command())]
    {
        let help = text(run(command.arg("--help"), 0).stdout);
        table.build();
        let mut flags = 0;
        for arg in table.get_arguments().filter(|arg| !arg.is_positional()) {
            let flag = arg.get_long().map_or_else(
                || format!("-{}", arg.get_short().unwrap()),
                |long| format!("--{long}"),
            );
            let is_row = |line: &str| {
                line.starts_with("  ") && line.split([' ', ',', '[']).any(|word| word == flag)
            };
            assert!(help.lines().any(is_row), "{flag} is missing in {help}");
            flags += 1;
        }
        assert!(flags > 20, "flags were found");
    }
}

#[test]
fn the_helps_of_no_clobber_and_dry_run_name_each_other() {
    let help = text(run(aiocp().arg("--help"), 0).stdout);
    let row = |flag: &str| help.lines().find(|line| line.contains(flag)).unwrap();
    assert!(row("-n, --no-clobber").contains("--dry-run"));
    assert!(row("    --dry-run").contains("--no-clobber"));
}

#[test]
fn the_version_names_the_engines() {
    for mut command in [aiocp(), aiosum()] {
        let version = text(run(command.arg("--version"), 0).stdout);
        let (first, second) = version.trim_end().split_once('\n').unwrap();
        assert!(first.contains(env!("CARGO_PKG_VERSION")), "{version}");
        assert_eq!(second, "engines: kernel, posix, threads");
    }
}

/// Arguments, the message about them, and the hint.
const NONSENSE: [(&[&str], &str, &str); 23] = [
    (&["--exlude=x", "a", "b"], "unknown option '--exlude'", "did you mean '--exclude'?"),
    (&["-verify", "a", "b"], "unknown option '-verify'", "did you mean '--verify'?"),
    (&["a", "b", "-dry-run"], "unknown option '-dry-run'", "did you mean '--dry-run'?"),
    (&["-help"], "unknown option '-help'", "did you mean '--help'?"),
    (&["--verbsoe", "a", "b"], "unknown option '--verbsoe'", "did you mean '--verbose'?"),
    (&["--arhcive", "a", "b"], "unknown option '--arhcive'", "did you mean '--archive'?"),
    // It is near to no other one.
    (&["--silent", "a", "b"], "unknown option '--silent'", "'aiocp --help' lists all options"),
    (
        &["--log-file=-", "a", "b"],
        "--log-file needs a file; --verbose prints on stdout",
        "'aiocp --help' lists all options",
    ),
    // clap would suggest `-- -Z`, which almost no user means.
    (&["-Z", "a", "b"], "unknown option '-Z'", "'aiocp --help' lists all options"),
    (&["-aZ", "a", "b"], "unknown option '-Z'", "'aiocp --help' lists all options"),
    (
        &["--direct=perhaps", "a", "b"],
        "invalid value 'perhaps' for '--direct'",
        "expected one of: auto, always, never",
    ),
    (&["a", "b", "--direct"], "'--direct' needs a value", "expected one of: auto, always, never"),
    (
        &["--update=", "a", "b"],
        "'--update' needs a value",
        "expected one of: all, none, none-fail, older",
    ),
    (
        &["--verbose=3", "a", "b"],
        "'--verbose' takes no value, but got '3'",
        "'aiocp --help' lists all options",
    ),
    (
        &["-T", "-t", "d", "a"],
        "'--no-target-directory' does not go with '--target-directory'",
        "'aiocp --help' lists all options",
    ),
    (
        &["--verify-only", "-u", "a", "b"],
        "'--verify-only' does not go with '--interactive', '--no-clobber', '-u', '--update', \
         '--force', '--inplace', '--remove-destination', '-b', '--backup' or '--suffix'",
        "'aiocp --help' lists all options",
    ),
    (
        &["--inplace", "-l", "a", "b"],
        "'--inplace' does not go with '--link'",
        "'aiocp --help' lists all options",
    ),
    (
        &["--inplace", "-b", "a", "b"],
        "--inplace does not go with backups: the old file is the one that is written into; copy \
         it first",
        "'aiocp --help' lists all options",
    ),
    (
        &["--block-size=3K", "a", "b"],
        "invalid value '3K' for '--block-size': expected a power of two from 4K to 64M",
        "'aiocp --help' lists all options",
    ),
    (
        &["--bad\nline", "a", "b"],
        "unknown option '--bad\\nline'",
        "'aiocp --help' lists all options",
    ),
    (
        &["--manifest", "a", "b"],
        "a destination is missing after 'b'",
        "--manifest took 'a' as its FILE",
    ),
    (
        &["a"],
        "a destination is missing after 'a'",
        "the destination comes last, as in: aiocp a /backup/",
    ),
    (&["-v"], "a SOURCE is missing", "'aiocp --help' lists all options"),
];

#[test]
fn what_makes_no_sense_gets_one_line_and_a_hint() {
    for (args, what, hint) in NONSENSE {
        let output = run(aiocp().args(args), 2);
        assert_eq!(stderr(&output), format!("aiocp: {what}\naiocp: hint: {hint}\n"), "{args:?}");
        assert!(output.stdout.is_empty());
    }
}

/// Arguments with the beginning of more than one thing, the message about them, and the hint.
const AMBIGUOUS: [(&[&str], &str, &str); 6] = [
    (&["--rep", "a", "b"], "ambiguous option '--rep'", "could be '--repair' or '--report'"),
    (
        &["--no=x", "a", "b"],
        "ambiguous option '--no'",
        "could be '--no-target-directory', '--no-preserve', '--no-dereference', '--no-sync', \
         '--no-clobber' or '--no-config'",
    ),
    (
        &["--ver", "a", "b"],
        "ambiguous option '--ver'",
        "could be '--verify', '--verify-only', '--verbose' or '--version'",
    ),
    (
        &["--update=n", "a", "b"],
        "ambiguous value 'n' for '--update'",
        "could be 'none' or 'none-fail'",
    ),
    (
        &["--preserve=mode,", "a", "b"],
        "'--preserve' needs a value",
        "expected one of: mode, ownership, timestamps, links, context, xattr, all",
    ),
    (
        &["--bac=n", "a", "b"],
        "ambiguous value 'n' for '--backup'",
        "could be 'none', 'numbered', 'nil' or 'never'",
    ),
];

#[test]
fn the_beginning_of_several_options_or_values_is_refused_with_all_of_them() {
    for (args, what, hint) in AMBIGUOUS {
        let output = run(aiocp().args(args), 2);
        assert_eq!(stderr(&output), format!("aiocp: {what}\naiocp: hint: {hint}\n"), "{args:?}");
    }
    let said = stderr(&run(aiocp().args(["--no-t", "a", "b"]), 2));
    let what =
        "'--no-t' is an option of rsync's, and the beginning of '--no-target-directory' here";
    assert_eq!(said, format!("aiocp: {what}\naiocp: hint: write the option in full\n"));
    // The beginning of an algorithm's name may be another one's whole name.
    for name in ["sha", "sha3", "md", "blake2", "xxh"] {
        let said = stderr(&run(aiosum().args(["--alg", name, "a"]), 2));
        let (what, hint) = said.split_once('\n').unwrap();
        let is_ambiguous = if name == "sha" { "ambiguous" } else { "invalid" };
        assert_eq!(what, format!("aiosum: {is_ambiguous} value '{name}' for '--algorithm'"));
        assert!(hint.contains("sha384"), "{said}");
    }
}

#[test]
fn the_beginning_of_one_option_or_value_stands_for_it() {
    let folder = folder();
    let place = |name: &str| folder.path().join(name);
    fs::write(place("a"), "new").unwrap();
    fs::write(place("b"), "old").unwrap();
    let args = ["--backu=numb", "--preserve=timestamp", "--sp", "al", "--verb", "a", "b"];
    run(aiocp().current_dir(&folder).args(args), 0);
    assert_eq!(fs::read(place("b.~1~")).unwrap(), b"old");
    let kind = |kind: &str| {
        let mut command = aiocp();
        command.current_dir(&folder).env("VERSION_CONTROL", kind).args(["-b", "a", "b"]);
        command
    };
    run(&mut kind("nu"), 0);
    assert_eq!(fs::read(place("b.~2~")).unwrap(), b"new");
    run(&mut kind("n"), 2);
    // Behind `--` and as a value, no word is an option.
    fs::write(place("--verb"), "name").unwrap();
    run(aiocp().current_dir(&folder).args(["--ba=s", "--suff", "--verb", "--", "--verb", "b"]), 0);
    assert_eq!(fs::read(place("b--verb")).unwrap(), b"new");
    assert_eq!(fs::read(place("b")).unwrap(), b"name");
    let hash =
        text(run(aiosum().current_dir(&folder).args(["--alg=md5", "--no-n", "a"]), 0).stdout);
    assert_eq!(hash, "22af645d1859cb5ca6da0c484f1f37ea\n");
}

/// Every beginning of every long option means that option, or several.
#[test]
fn beginnings_mean_what_the_table_says() {
    for table in [aiocp::cli::aiocp::command(), aiocp::cli::aiosum::command()] {
        let mut built = table.clone();
        built.build();
        let longs: Vec<_> = built.get_arguments().filter_map(|arg| arg.get_long()).collect();
        let parsed = |word: String| {
            let words = [built.get_name(), &word, "operand"];
            table.clone().try_get_matches_from(words).map_err(|error| error.kind())
        };
        let mut abbreviations = 0;
        for (long, end) in longs.iter().flat_map(|long| (1..long.len()).map(move |end| (long, end)))
        {
            let beginning = &long[..end];
            let several = longs.iter().filter(|long| long.starts_with(beginning)).count() > 1;
            if longs.contains(&beginning) {
                continue;
            } else if several {
                let refused = parsed(format!("--{beginning}")).unwrap_err();
                assert_eq!(refused, clap::error::ErrorKind::UnknownArgument, "--{beginning}");
            } else {
                let (brief, whole) = (format!("--{beginning}"), format!("--{long}"));
                assert_eq!(parsed(brief), parsed(whole), "--{beginning}");
                abbreviations += 1;
            }
        }
        assert!(abbreviations > 100, "beginnings were tried");
    }
}

#[test]
fn help_that_cannot_be_written_is_no_success() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = run(aiocp().arg("--help").stdout(full), 1);
    assert!(stderr(&output).starts_with("aiocp: cannot write to stdout: "), "{output:?}");
}

/// The messages when this system call always fails with this error.
fn said_when(call: &str, error: &str, args: &[&str], place: &std::path::Path) -> String {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:error={error}"));
    let mut command = strace(&["-e", &trace, "-e", &inject], &place.join("trace"));
    stderr(&command.current_dir(place).args(args).output().unwrap())
}

/// A destination whose folder is missing, or is a file.
fn a_missing_folder_gets_a_hint(folder: &std::path::Path) {
    for (to, hint) in
        [("nowhere/", "aiocp: hint: a slash at the end"), ("tree/small/to", "aiocp: 1 failure")]
    {
        let said = stderr(&run(aiocp().current_dir(folder).args(["file", to]), 1));
        assert!(
            said.starts_with(&format!("aiocp: cannot create '{to}': Not a directory\n{hint}")),
            "{said}"
        );
    }
    let said = stderr(&run(aiocp().current_dir(folder).args(["file", "nowhere/to"]), 1));
    let hint = "the folder that it is to go into does not exist; mkdir -p makes it";
    assert!(said.starts_with(&format!(
        "aiocp: cannot create 'nowhere/to': No such file or directory\naiocp: hint: {hint}\n"
    )));
}

#[test]
fn a_failure_that_something_can_be_done_about_says_what() {
    if !have("strace") {
        return;
    }
    let folder = folder();
    fs::write(folder.path().join("file"), noise(3 << 20, 1)).unwrap();
    fs::create_dir(folder.path().join("tree")).unwrap();
    fs::write(folder.path().join("tree/small"), "small").unwrap();
    for (call, error, args, what, hint) in [
        (
            "openat2",
            "EMFILE",
            &["tree", "to"][..],
            "cannot open directory 'tree': Too many open files",
            "raise the limit of open files (ulimit -n)",
        ),
        (
            "pwrite64",
            "EIO",
            &["tree/small", "to"],
            "cannot write 'to' at byte 0: Input/output error",
            "the device failed; dmesg may say more",
        ),
        (
            "fallocate",
            "EFBIG",
            &["file", "to"],
            "cannot allocate space for 'to': File too large",
            "the filesystem, or ulimit -f, allows no file of this size",
        ),
        (
            "fallocate",
            "EDQUOT",
            &["file", "to"],
            "cannot allocate space for 'to': Disk quota exceeded",
            "free some of your quota on the destination; quota shows it",
        ),
    ] {
        let said = said_when(call, error, args, folder.path());
        assert!(said.starts_with(&format!("aiocp: {what}\naiocp: hint: {hint}\n")), "{said}");
    }
    let said = said_when("io_setup", "EAGAIN", &["--engine=kernel", "file", "to"], folder.path());
    let (what, hint) = said.split_once('\n').unwrap();
    assert!(what.starts_with("aiocp: cannot start the copy: io_setup for "), "{said}");
    assert!(what.contains("/proc/sys/fs/aio-max-nr ("), "{said}");
    assert_eq!(
        hint,
        "aiocp: hint: raise it with sysctl fs.aio-max-nr, or leave out --engine=kernel\n"
    );
    let said = said_when("io_setup", "EPERM", &["--engine=kernel", "file", "to"], folder.path());
    assert!(
        said.ends_with("\naiocp: hint: without --engine=kernel, threads do its work\n"),
        "{said}"
    );
    a_missing_folder_gets_a_hint(folder.path());
}

#[test]
fn a_full_disk_says_how_much_is_needed_and_a_read_only_one_that_it_is() {
    for kind in ["ext4", "tmpfs"] {
        let Some(mounted) = Mounted::new(kind, 24) else { continue };
        let folder = folder();
        fs::write(folder.path().join("big"), noise(40 << 20, 1)).unwrap();
        let said = stderr(&run(aiocp().arg(folder.path().join("big")).arg(&mounted.path), 1));
        let mut lines = said.lines();
        assert!(lines.next().unwrap().contains(": No space left on device"), "{said}");
        let hint = lines.next().unwrap();
        let left = hint
            .strip_prefix("aiocp: hint: this file needs 41.9 MB, ")
            .and_then(|left| left.strip_suffix(" MB free"))
            .unwrap_or_else(|| panic!("{hint}"));
        let left_bytes = left.parse::<f64>().unwrap() * 1e6;
        assert!((16_700_000.0..=25_200_000.0).contains(&left_bytes), "{kind}: {hint}");
    }
    let Some(mounted) = Mounted::new("tmpfs", 8) else { return };
    run(program("mount").args(["-o", "remount,ro"]).arg(&mounted.path), 0);
    let folder = folder();
    fs::write(folder.path().join("file"), "contents").unwrap();
    let said = stderr(&run(aiocp().arg(folder.path().join("file")).arg(&mounted.path), 1));
    let (what, rest) = said.split_once('\n').unwrap();
    assert!(
        what.starts_with("aiocp: cannot create ") && what.ends_with(": Read-only file system"),
        "{said}"
    );
    assert!(rest.starts_with("aiocp: hint: the filesystem is mounted read-only"), "{said}");
}

#[test]
fn help_is_a_line_or_two_a_flag_and_the_brief_one_is_shorter() {
    let text = |flag: &str| String::from_utf8(run(aiocp().arg(flag), 0).stdout).unwrap();
    let (brief, full) = (text("-h"), text("--help"));
    assert!(brief.lines().count() + 25 < full.lines().count(), "{full}");
    let (mut others, mut more) = (0, 0);
    for line in full
        .lines()
        .chain(String::from_utf8(run(aiosum().arg("--help"), 0).stdout).unwrap().lines())
    {
        let is_flag = line.trim_start().starts_with('-');
        more = if line.starts_with("          ") { more + 1 } else { 0 };
        others += usize::from(!is_flag && more == 0);
        assert!(line.len() <= 80 && more < 2, "{line}");
    }
    assert!(others < 60, "usage, headings and examples beside the flags: {full}");
    assert!(
        brief.contains("--archive")
            && !brief.contains("--queue-depth")
            && full.contains("--queue-depth")
    );
    for heading in
        ["Copying:", "Existing files:", "Selection:", "Verification:", "Tuning:", "Output:"]
    {
        assert!(full.lines().any(|line| line == heading), "{heading}");
    }
}

/// Runs the command with standard error going to a pipe without a reader.
fn with_closed_stderr(command: &mut Command) -> Option<i32> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stderr(writer).stdout(std::process::Stdio::null()).status().unwrap().code()
}

#[test]
fn closed_standard_error_changes_no_exit_code_of_a_failure() {
    let folder = folder();
    assert_eq!(with_closed_stderr(aiocp().current_dir(&folder).args(["missing", "b"])), Some(1));
    assert_eq!(with_closed_stderr(aiosum().current_dir(&folder).arg("missing")), Some(1));
    assert_eq!(with_closed_stderr(aiocp().arg("--no-such-option")), Some(2));
    fs::write(folder.path().join("a"), "x").unwrap();
    assert_eq!(
        with_closed_stderr(aiocp().current_dir(&folder).args(["--progress", "a", "b"])),
        Some(1)
    );
    assert_eq!(fs::read(folder.path().join("b")).unwrap(), b"x");
}

#[test]
fn what_helps_many_files_is_said_once() {
    let folder = folder();
    let place = |name: &str| folder.path().join(name);
    fs::create_dir(place("from")).unwrap();
    for name in ["a", "b", "c"] {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place("from").join(name),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
    }
    let said = stderr(&run(aiocp().arg(place("from")).arg(place("to")), 1));
    assert_eq!(said.matches("cannot copy").count(), 3, "{said}");
    assert_eq!(said.matches("hint: -a copies it as what it is").count(), 1, "{said}");
}

#[test]
fn what_is_missing_is_named_with_what_needs_it() {
    let said = stderr(&run(aiocp().args(["--repair", "a", "b"]), 2));
    assert!(said.starts_with("aiocp: '--repair' needs '--verify' or '--verify-only'\n"), "{said}");
    let said = stderr(&run(aiosum().args(["--audit", "dir", "sums"]), 2));
    assert!(said.starts_with("aiosum: '--check' is missing: '--audit'"), "{said}");
}
